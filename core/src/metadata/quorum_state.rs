//! The file `quorum-state` beside the metadata log: who leads it in which epoch, as far as this node knows.
//!
//! JSON, as Kafka writes and reads it. It must be on disk before the first batch of a new epoch, so that an epoch is
//! never used twice whatever is lost. Version 1 goes with voters that are in the log itself; version 0, with voters from
//! the configuration, is only read.

use std::fmt;

use crate::base::{LeaderEpoch, NodeId, Uuid};

/// Contents of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// Latest epoch.
    pub epoch: LeaderEpoch,
    /// Its leader, if known.
    pub leader: Option<NodeId>,
    /// Whom this node voted for in that epoch, if anybody.
    pub voted: Option<(NodeId, Uuid)>,
}

/// Why a file is no quorum state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStateError(String);

impl fmt::Display for QuorumStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "quorum-state: {}", self.0)
    }
}

impl std::error::Error for QuorumStateError {}

impl QuorumState {
    /// The contents for a node that leads alone.
    #[must_use]
    pub fn leading(leader: NodeId, epoch: LeaderEpoch) -> Self {
        Self { epoch, leader: Some(leader), voted: None }
    }

    /// The file's text, version 1.
    #[must_use]
    pub fn to_text(&self) -> String {
        let leader = self.leader.map_or(-1, |id| id.0);
        let (voted, directory) = self.voted.map_or((-1, Uuid::ZERO), |(id, directory)| (id.0, directory));
        format!(
            r#"{{"leaderId":{leader},"leaderEpoch":{},"votedId":{voted},"votedDirectoryId":"{directory}","data_version":1}}"#,
            self.epoch
        )
    }

    /// Reads either version. Fields that say nothing about epoch and vote are passed over.
    ///
    /// # Errors
    /// What is missing or not JSON.
    pub fn parse(text: &str) -> Result<Self, QuorumStateError> {
        let fields = Json { rest: text }.object().ok_or_else(|| QuorumStateError("not one JSON object".to_owned()))?;
        let find = |name: &str| fields.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let number = |name: &str| {
            let value = find(name).ok_or_else(|| QuorumStateError(format!("{name} is missing")))?;
            value.parse::<i32>().map_err(|_| QuorumStateError(format!("{name} {value} is not a number")))
        };
        let version = number("data_version")?;
        if !(0..=1).contains(&version) {
            return Err(QuorumStateError(format!("data_version {version} is not known, only 0 and 1 are")));
        }
        let epoch = number("leaderEpoch")?;
        if epoch < 0 {
            return Err(QuorumStateError(format!("leaderEpoch {epoch} is negative")));
        }
        let node = |id: i32| (id >= 0).then_some(NodeId(id));
        let directory = find("votedDirectoryId").and_then(|quoted| Uuid::parse(quoted.trim_matches('"')));
        let voted = node(number("votedId")?).map(|id| (id, directory.unwrap_or(Uuid::ZERO)));
        Ok(Self { epoch: LeaderEpoch(epoch), leader: node(number("leaderId")?), voted })
    }
}

/// Just enough of JSON to find the fields of one object; nested values are kept as text.
struct Json<'a> {
    rest: &'a str,
}

impl<'a> Json<'a> {
    fn object(mut self) -> Option<Vec<(&'a str, &'a str)>> {
        let mut fields = Vec::new();
        self.symbol('{')?;
        if self.symbol('}').is_none() {
            loop {
                let key = self.value()?.strip_prefix('"')?.strip_suffix('"')?;
                self.symbol(':')?;
                fields.push((key, self.value()?));
                if self.symbol(',').is_none() {
                    self.symbol('}')?;
                    break;
                }
            }
        }
        self.rest.trim().is_empty().then_some(fields)
    }

    fn symbol(&mut self, symbol: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(symbol)?;
        Some(())
    }

    /// The text of the next value, up to the comma, colon or bracket after it.
    fn value(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        let end = self.rest.char_indices().find(|&(_, c)| {
            match (quoted, c) {
                (true, _) if escaped => escaped = false,
                (true, '\\') => escaped = true,
                (_, '"') => quoted = !quoted,
                (true, _) => {}
                (false, '{' | '[') => depth += 1,
                (false, '}' | ']') if depth > 0 => depth -= 1,
                (false, '}' | ']' | ',' | ':') if depth == 0 => return true,
                _ => {}
            }
            false
        });
        let (value, rest) = self.rest.split_at_checked(end?.0)?;
        self.rest = rest;
        let value = value.trim_end();
        (!value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_kafka_are_read() {
        let dynamic = r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        let leading = QuorumState::leading(NodeId(1), LeaderEpoch(2));
        assert_eq!(QuorumState::parse(dynamic), Ok(leading));
        assert_eq!(leading.to_text(), dynamic);
        let fixed = r#"{"clusterId":"","leaderId":-1,"leaderEpoch":3,"votedId":7,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":7}],"data_version":0}"#;
        let voted = QuorumState { epoch: LeaderEpoch(3), leader: None, voted: Some((NodeId(7), Uuid::ZERO)) };
        assert_eq!(QuorumState::parse(fixed), Ok(voted));
    }

    #[test]
    fn every_state_comes_back() {
        for leader in [None, Some(NodeId(0)), Some(NodeId(i32::MAX))] {
            for voted in [None, Some((NodeId(3), Uuid([9; 16])))] {
                let state = QuorumState { epoch: LeaderEpoch(i32::MAX), leader, voted };
                assert_eq!(QuorumState::parse(&state.to_text()), Ok(state));
            }
        }
    }

    #[test]
    fn what_is_no_state_is_refused() {
        let whole = QuorumState::leading(NodeId(1), LeaderEpoch(2)).to_text();
        for cut in 0..whole.len() {
            assert!(QuorumState::parse(&whole[..cut]).is_err(), "{}", &whole[..cut]);
        }
        for bad in [
            "[]",
            "{}",
            r#"{"leaderId":1}"#,
            r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"data_version":2}"#,
            r#"{"leaderId":1,"leaderEpoch":-2,"votedId":-1,"data_version":1}"#,
            r#"{"leaderId":"x","leaderEpoch":2,"votedId":-1,"data_version":1}"#,
            r#"{"leaderId":99999999999,"leaderEpoch":2,"votedId":-1,"data_version":1}"#,
            r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"data_version":1} trailing"#,
            r#"{"leaderId":1,"leaderEpoch":2,"votedId":-1,"data_version":1,"open":[{"#,
        ] {
            assert!(QuorumState::parse(bad).is_err(), "{bad}");
        }
    }
}
