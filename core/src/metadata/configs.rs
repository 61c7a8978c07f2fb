//! Changing settings of topics and brokers: what is asked, what the image says, and the records that follow.
//!
//! Both requests end here: AlterConfigs, which says all that shall be set, and IncrementalAlterConfigs (KIP-339), which
//! says what changes. Checks come in Kafka's order. Only what is changed is checked: a setting that another broker left
//! in the directory does not stand in the way of its neighbours.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{ConfigOverrides, ConfigResource, ConfigResourceKind, MetadataImage};
use super::records::MetadataRecord;
use super::refusal::{Refusal, RefusalKind};
use super::topics::{Decision, repeated, too_many_records};
use crate::base::NodeId;
use crate::config::{
    BROKER, BrokerConfig, ConfigType, Definition, GROUP, TOPIC, find, list_elements, validate_broker_config,
    validate_group_configs, validate_topic_config, validate_topic_configs,
};
use crate::limits::CONFIG_TEXT_BYTES_MAX;

/// What is to become of one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigOperation<'a> {
    /// It gets this value.
    Set(Option<&'a str>),
    /// It gets its default again.
    Delete,
    /// These elements are added to its list.
    Append(Option<&'a str>),
    /// These elements are taken from its list.
    Subtract(Option<&'a str>),
    /// An operation of that number, which is none.
    Unknown(i8),
}

impl<'a> ConfigOperation<'a> {
    /// By the number that IncrementalAlterConfigs carries.
    #[must_use]
    pub fn from_number(number: i8, value: Option<&'a str>) -> Self {
        match number {
            0 => Self::Set(value),
            1 => Self::Delete,
            2 => Self::Append(value),
            3 => Self::Subtract(value),
            other => Self::Unknown(other),
        }
    }

    fn lacks_value(&self) -> bool {
        matches!(self, Self::Set(None) | Self::Append(None) | Self::Subtract(None))
    }
}

/// What is to become of the settings of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigAlteration<'a> {
    /// Whose settings.
    pub resource: ConfigResource,
    /// Settings by name.
    pub operations: Vec<(&'a str, ConfigOperation<'a>)>,
    /// Settings that are not named keep their values; else they get their defaults.
    pub incremental: bool,
}

/// Decides a request to alter settings; one answer for each resource, in the order of the request.
///
/// `broker` has the settings that this broker, the only one, was started with.
pub fn alter_configs(
    image: &MetadataImage,
    wanted: &[ConfigAlteration<'_>],
    validate_only: bool,
    broker: &BrokerConfig,
) -> Decision<Result<(), Refusal>> {
    let twice = repeated(wanted.iter().map(|alteration| &alteration.resource));
    let mut records = Vec::new();
    let mut answers: Vec<_> = wanted
        .iter()
        .map(|alteration| {
            if twice.contains(&alteration.resource) {
                return Err(invalid_request("the request names this resource more than once"));
            }
            records.extend(alter(image, alteration, broker)?);
            Ok(())
        })
        .collect();
    if let Some(refusal) = too_many_records(&records) {
        records.clear();
        answers.iter_mut().filter(|answer| answer.is_ok()).for_each(|answer| *answer = Err(refusal.clone()));
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answers }
}

fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::InvalidRequest, message)
}

fn invalid_config(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::InvalidConfig, message)
}

fn alter(
    image: &MetadataImage,
    alteration: &ConfigAlteration<'_>,
    broker: &BrokerConfig,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let ConfigAlteration { resource, operations, incremental } = alteration;
    if let Some(name) = repeated(operations.iter().map(|(name, _)| *name)).first() {
        return Err(invalid_request(format!("the setting {name} is named more than once")));
    }
    if let Some((name, _)) = operations.iter().find(|(_, operation)| operation.lacks_value()) {
        return Err(invalid_request(format!("the setting {name} is given no value; delete it to have its default")));
    }
    check_resource(image, resource, broker.node_id)?;
    let none = ConfigOverrides::new();
    let present = image.config(resource).map_or(&none, |overrides| overrides);
    let mut changes: BTreeMap<&str, Option<String>> = BTreeMap::new();
    if !incremental {
        changes.extend(present.keys().map(|name| (name.as_str(), None)));
    }
    for (name, operation) in operations {
        let old = present.get(*name).map(String::as_str);
        let value = new_value(resource.kind, name, *operation, old, broker)?;
        if let Some(value) = &value {
            check(resource, name, value, broker)?;
        }
        changes.insert(name, value);
    }
    if matches!(resource.kind, ConfigResourceKind::GROUP | ConfigResourceKind::TOPIC) {
        let mut all = present.clone();
        for (name, value) in &changes {
            match value {
                Some(value) => drop(all.insert((*name).to_owned(), value.clone())),
                None => drop(all.remove(*name)),
            }
        }
        let checked = match resource.kind {
            ConfigResourceKind::GROUP => validate_group_configs(broker, &all).map_err(|error| error.to_string()),
            _ => validate_topic_configs(broker, &all).map_err(|error| error.to_string()),
        };
        checked.map_err(invalid_config)?;
    }
    let changed = changes.into_iter().filter(|(name, value)| present.get(*name) != value.as_ref());
    let record = |(name, value): (&str, Option<String>)| MetadataRecord::Config {
        resource: resource.clone(),
        name: name.to_owned(),
        value,
    };
    Ok(changed.map(record).collect())
}

fn check_resource(image: &MetadataImage, resource: &ConfigResource, node: NodeId) -> Result<(), Refusal> {
    let name = &resource.name;
    match resource.kind {
        ConfigResourceKind::TOPIC if image.topic(name).is_none() => {
            Err(Refusal::new(RefusalKind::UnknownTopicOrPartition, format!("there is no topic {name}")))
        }
        ConfigResourceKind::TOPIC => Ok(()),
        ConfigResourceKind::BROKER if name.is_empty() || *name == node.to_string() => Ok(()),
        ConfigResourceKind::BROKER => Err(invalid_request(format!(
            "this is broker {node}; name it, or all brokers by an empty name, instead of {name:?}"
        ))),
        ConfigResourceKind::BROKER_LOGGER => Err(invalid_request(
            "the levels of loggers are changed one by one, with IncrementalAlterConfigs".to_owned(),
        )),
        ConfigResourceKind::GROUP if name.is_empty() => {
            Err(invalid_request("settings belong to one group; name it, there are none for all groups"))
        }
        ConfigResourceKind::GROUP => Ok(()),
        kind @ ConfigResourceKind::CLIENT_METRICS => {
            Err(invalid_request(format!("settings of a {kind:?} cannot be changed in this version of the broker")))
        }
        kind => Err(invalid_request(format!("{kind:?} is unknown"))),
    }
}

fn definition(kind: ConfigResourceKind, name: &str) -> Option<&'static Definition> {
    let table = match kind {
        ConfigResourceKind::TOPIC => TOPIC,
        ConfigResourceKind::GROUP => GROUP,
        _ => BROKER,
    };
    find(table, name)
}

/// The value that an operation results in; `None` is the default.
fn new_value(
    kind: ConfigResourceKind,
    name: &str,
    operation: ConfigOperation<'_>,
    old: Option<&str>,
    broker: &BrokerConfig,
) -> Result<Option<String>, Refusal> {
    let elements = match operation {
        ConfigOperation::Set(value) => return Ok(value.map(str::to_owned)),
        ConfigOperation::Delete => return Ok(None),
        ConfigOperation::Unknown(number) => {
            return Err(invalid_request(format!(
                "{number} is no operation on a setting (0 set, 1 delete, 2 append, 3 subtract)"
            )));
        }
        ConfigOperation::Append(elements) | ConfigOperation::Subtract(elements) => elements.unwrap_or_default(),
    };
    let list = definition(kind, name).filter(|definition| definition.kind == ConfigType::List);
    let list = list.ok_or_else(|| {
        invalid_config(format!("the setting {name} is no list; nothing can be appended to it or subtracted from it"))
    })?;
    // What a list has that nobody has changed: the broker's own, or the default.
    let inherited = || list.inherits.iter().find_map(|name| broker.set(name)).or(list.default);
    let own = if kind == ConfigResourceKind::BROKER { broker.value(name) } else { inherited() };
    let mut result: Vec<&str> = list_elements(old.or(own).unwrap_or_default()).collect();
    match operation {
        ConfigOperation::Append(_) => {
            for element in list_elements(elements) {
                if !result.contains(&element) {
                    result.push(element);
                }
            }
        }
        _ => {
            let gone: BTreeSet<&str> = list_elements(elements).collect();
            result.retain(|element| !gone.contains(element));
        }
    }
    Ok(Some(result.join(",")))
}

fn check(resource: &ConfigResource, name: &str, value: &str, broker: &BrokerConfig) -> Result<(), Refusal> {
    // Kafka reads no longer text from its metadata log.
    if name.len().max(value.len()) > CONFIG_TEXT_BYTES_MAX {
        return Err(invalid_config(format!("a setting is longer than {CONFIG_TEXT_BYTES_MAX} bytes")));
    }
    match resource.kind {
        ConfigResourceKind::TOPIC => {
            validate_topic_config(name, value).map_err(|error| invalid_config(error.to_string()))
        }
        // Together, when all of them are known.
        ConfigResourceKind::GROUP => Ok(()),
        _ => {
            let for_all = resource.name.is_empty();
            validate_broker_config(broker, name, value, for_all).map_err(|error| invalid_request(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests;
