//! `.kafka_cleanshutdown`: everything in the data directory was synced, a start may skip recovery.
//!
//! Written last at a stop, removed before the first write after a start. A file that cannot be read says nothing, and
//! nothing means that the stop was not clean.

/// Content of `.kafka_cleanshutdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// Epoch of the broker's registration when it stopped; −1 is none. A controller that sees it knows that the
    /// replicas here lost nothing (KIP-966).
    pub broker_epoch: i64,
}

impl CleanShutdown {
    /// Reads the text of the file; `None` if it is not ours or Kafka's.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fields = text.trim().strip_prefix('{')?.strip_suffix('}')?;
        let (mut version, mut broker_epoch) = (None, None);
        for field in fields.split(',') {
            let (name, value) = field.split_once(':')?;
            let value: i64 = value.trim().parse().ok()?;
            match name.trim() {
                "\"version\"" if version.is_none() => version = Some(value),
                "\"brokerEpoch\"" if broker_epoch.is_none() => broker_epoch = Some(value),
                _ => return None,
            }
        }
        (version? == 0).then_some(Self { broker_epoch: broker_epoch? })
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{{\"version\":0,\"brokerEpoch\":{}}}", self.broker_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas_and_comes_back() {
        let clean = CleanShutdown { broker_epoch: 42 };
        assert_eq!(clean.to_text(), r#"{"version":0,"brokerEpoch":42}"#);
        assert_eq!(CleanShutdown::parse(&clean.to_text()), Some(clean));
        assert_eq!(
            CleanShutdown::parse("{ \"brokerEpoch\" : -1 , \"version\" : 0 }\n"),
            Some(CleanShutdown { broker_epoch: -1 })
        );
        for broken in
            ["", "{}", r#"{"version":0}"#, r#"{"version":1,"brokerEpoch":42}"#, r#"{"version":0,"brokerEpoch":4"#]
        {
            assert_eq!(CleanShutdown::parse(broken), None, "{broken}");
        }
    }
}
