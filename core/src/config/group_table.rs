//! Kafka's configurations of groups and of client metrics. Those of groups of the consumer protocol act.

use std::collections::BTreeMap;
use std::fmt;

use super::broker::BrokerConfig;
use super::definition::{Definition, Effect, boolean, find, int, list, long, normalize, string};

/// What was set for one group, by name.
pub type GroupOverrides = BTreeMap<String, String>;

/// Why a group configuration is refused; goes to the client with INVALID_CONFIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidGroupConfig(String);

impl fmt::Display for InvalidGroupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidGroupConfig {}

/// Every group configuration, sorted by name.
pub static GROUP: &[Definition] = &[
    int("consumer.assignment.interval.ms").default("1000").at_least(0).acts(),
    boolean("consumer.assignor.offload.enable").default("true").internal().since_4_4(),
    int("consumer.heartbeat.interval.ms").default("5000").at_least(1).acts(),
    int("consumer.session.timeout.ms").default("45000").at_least(1).acts(),
    boolean("errors.deadletterqueue.copy.record.enable").default("false").since_4_4(),
    string("errors.deadletterqueue.topic.name").default("").since_4_4(),
    int("share.assignment.interval.ms").default("1000").at_least(0),
    boolean("share.assignor.offload.enable").default("true").internal().since_4_4(),
    string("share.auto.offset.reset").default("latest").offset_reset(),
    int("share.delivery.count.limit").default("5").at_least(2),
    int("share.heartbeat.interval.ms").default("5000").at_least(1),
    string("share.isolation.level").default("read_uncommitted").one_of(&["read_committed", "read_uncommitted"]),
    int("share.partition.max.record.locks").default("2000").at_least(100),
    int("share.record.lock.duration.ms").default("30000").at_least(1000),
    boolean("share.renew.acknowledge.enable").default("true"),
    int("share.session.timeout.ms").default("45000").at_least(1),
    long("streams.acceptable.recovery.lag").default("10000").at_least(0).internal().since_4_4(),
    int("streams.assignment.interval.ms").default("1000").at_least(0),
    string("streams.assignor.name").since_4_4(),
    boolean("streams.assignor.offload.enable").default("true").internal().since_4_4(),
    int("streams.heartbeat.interval.ms").default("5000").at_least(1),
    int("streams.initial.rebalance.delay.ms").default("3000").at_least(0),
    int("streams.num.standby.replicas").default("0").at_least(0),
    int("streams.num.warmup.replicas").default("2").at_least(0).internal().since_4_4(),
    list("streams.rack.aware.assignment.tags").default("").since_4_4(),
    int("streams.session.timeout.ms").default("45000").at_least(1),
    int("streams.task.offset.interval.ms").default("60000").at_least(1).internal().since_4_4(),
];

/// Every client-metrics configuration, sorted by name.
pub static CLIENT_METRICS: &[Definition] =
    &[int("interval.ms").default("300000"), list("match").default(""), list("metrics").default("")];

/// Checks the settings that a group is to have: each of them, and that they go together. What the broker allows bounds them.
///
/// # Errors
/// A name is unknown, a value does not fit, or a setting does not act yet.
pub fn validate_group_configs(broker: &BrokerConfig, all: &GroupOverrides) -> Result<(), InvalidGroupConfig> {
    for (name, value) in all {
        validate_group_config(broker, name, value).map_err(InvalidGroupConfig)?;
    }
    let in_force = |name: &str| -> Option<i64> {
        let value = all.get(name).map(String::as_str).or_else(|| broker.value(&format!("group.{name}")))?;
        value.trim().parse().ok()
    };
    let (session, heartbeat) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    if in_force(session) <= in_force(heartbeat) {
        return Err(InvalidGroupConfig(format!("{session} must be greater than {heartbeat}")));
    }
    Ok(())
}

fn validate_group_config(broker: &BrokerConfig, name: &str, value: &str) -> Result<(), String> {
    let known = find(GROUP, name).filter(|definition| !definition.since_4_4);
    let definition = known.ok_or_else(|| format!("Unknown group config name: {name}"))?;
    let value = definition
        .check(value)
        .map_err(|expected| format!("Invalid value {value} for configuration {name}: must be {expected}"))?;
    if definition.effect != Effect::Acts {
        let default = definition.default.unwrap_or("null");
        let at_default = normalize(definition, default) == value;
        return if at_default {
            Ok(())
        } else {
            Err(format!(
                "Configuration {name} does not act in this version of the broker; only its default {default} is accepted"
            ))
        };
    }
    // `consumer.x` is bounded by `group.consumer.min.x` and `group.consumer.max.x`.
    let Some((protocol, rest)) = name.split_once('.') else { return Ok(()) };
    let number = |text: &str| text.trim().parse::<i64>().ok();
    for (bound, is_within, word) in
        [("min", i64::ge as fn(&i64, &i64) -> bool, "greater"), ("max", i64::le as fn(&i64, &i64) -> bool, "less")]
    {
        let limit = format!("group.{protocol}.{bound}.{rest}");
        if let (Some(value), Some(allowed)) = (number(&value), broker.value(&limit).and_then(number))
            && !is_within(&value, &allowed)
        {
            return Err(format!("{name} must be {word} than or equal to {limit}, which is {allowed}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_group_are_within_what_the_broker_allows() {
        let check = |all: &[(&str, &str)]| {
            let all = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            validate_group_configs(&BrokerConfig::default(), &all).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(
            check(&[("consumer.session.timeout.ms", "50000"), ("consumer.heartbeat.interval.ms", "6000")]),
            Ok(())
        );
        assert_eq!(check(&[("share.delivery.count.limit", "5")]), Ok(()), "its default");
        for (refused, why) in [
            (
                ("consumer.session.timeout.ms", "44999"),
                "greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (("consumer.session.timeout.ms", "60001"), "less than or equal to group.consumer.max.session.timeout.ms"),
            (("consumer.heartbeat.interval.ms", "four"), "Invalid value four"),
            (("consumer.nothing", "1"), "Unknown group config name: consumer.nothing"),
            (("share.delivery.count.limit", "6"), "does not act"),
        ] {
            let error = check(&[refused]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
