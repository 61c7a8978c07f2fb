//! Broker settings that change while the broker runs: which may, and what they may be.
//!
//! Kafka keeps them in the metadata log, for one broker or for all of them. Of those that it lets change, the ones that
//! act here are taken over at once; the others are refused by name, so that nobody waits for an effect.

use super::broker::BrokerConfig;
use super::broker_table::BROKER;
use super::definition::{Definition, Dynamic, Effect, find, normalize};
use std::fmt;

/// Why a broker setting cannot be changed at run time; goes to the client with INVALID_REQUEST, as Kafka has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidBrokerConfig(String);

impl fmt::Display for InvalidBrokerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidBrokerConfig {}

/// A setting that acts, and acts on at run time.
pub(super) fn acting(name: &str) -> Option<&'static Definition> {
    find(BROKER, name).filter(|row| row.effect == Effect::Acts && row.dynamic == Dynamic::ClusterWide)
}

/// Checks a setting of `broker` that a client sets while it runs. `for_all` says that it is to hold for every broker.
///
/// # Errors
/// The name is unknown or cannot change at run time, the value does not fit, or the setting does nothing here.
pub fn validate_broker_config(
    broker: &BrokerConfig,
    name: &str,
    value: &str,
    for_all: bool,
) -> Result<(), InvalidBrokerConfig> {
    let refuse = |message: String| Err(InvalidBrokerConfig(message));
    let Some(definition) = find(BROKER, name).filter(|definition| !definition.since_4_4) else {
        return refuse(format!("Cannot update {name} dynamically: there is no broker setting of this name"));
    };
    match definition.dynamic {
        Dynamic::No => {
            return refuse(format!("Cannot update {name} dynamically: set it in the broker's file and restart"));
        }
        Dynamic::PerBroker if for_all => {
            return refuse(format!("Cannot update {name} at default cluster level: it belongs to one broker"));
        }
        Dynamic::PerBroker | Dynamic::ClusterWide => {}
    }
    let value = definition.check(value).map_err(|expected| {
        InvalidBrokerConfig(format!("Invalid value {value} for configuration {name}: must be {expected}"))
    })?;
    if acting(name).is_some() {
        return check_bounds(broker, name, &value);
    }
    let at_default = definition.default.is_some_and(|default| normalize(definition, default) == value);
    match definition.effect {
        Effect::Acts => refuse(format!("{name} cannot change while this broker runs; set it in its file and restart")),
        Effect::Idle(reason) => refuse(format!("{name} does nothing in this broker: {reason}")),
        Effect::DefaultOnly if at_default => Ok(()),
        Effect::DefaultOnly => refuse(format!(
            "{name} does not act in this version of the broker; only its default {} is accepted",
            definition.default.unwrap_or("null")
        )),
    }
}

/// Checks a value against the settings that bound it, which are the file's.
fn check_bounds(broker: &BrokerConfig, name: &str, value: &str) -> Result<(), InvalidBrokerConfig> {
    const INTERVAL: &str = "group.consumer.assignment.interval.ms";
    if name != INTERVAL {
        return Ok(());
    }
    let (min, max) = ("group.consumer.min.assignment.interval.ms", "group.consumer.max.assignment.interval.ms");
    let bound = |name: &str| -> i64 { broker.value(name).and_then(|text| text.parse().ok()).unwrap_or_default() };
    let (least, most) = (bound(min), bound(max));
    if value.parse().is_ok_and(|value: i64| (least..=most).contains(&value)) {
        return Ok(());
    }
    Err(InvalidBrokerConfig(format!("{name} must be from {least} ({min}) to {most} ({max})")))
}
