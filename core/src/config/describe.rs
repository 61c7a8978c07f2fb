//! The rows that DescribeConfigs answers.

use super::broker::BrokerConfig;
use super::broker_table::BROKER;
use super::definition::{ConfigType, Definition, Dynamic, find};
use super::group_table::GROUP;
use super::topic::{TopicOverrides, effective, inherited};
use super::topic_table::TOPIC;

/// Where a value comes from; the numbers are those that DescribeConfigs carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set in the broker's file or on its command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

/// One value that a row's value was chosen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// Name of the setting.
    pub name: &'static str,
    /// Its value; none if it is null or must not be shown.
    pub value: Option<String>,
    /// Who set it.
    pub source: ConfigSource,
}

/// One row of an answer to DescribeConfigs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigRow {
    /// Name of the setting.
    pub name: &'static str,
    /// Its value; none if it is null or must not be shown.
    pub value: Option<String>,
    /// Who set it.
    pub source: ConfigSource,
    /// The value must not be shown.
    pub is_sensitive: bool,
    /// It cannot be changed while the broker runs.
    pub read_only: bool,
    /// Type of the value.
    pub kind: ConfigType,
    /// Values that it was chosen from, the strongest first.
    pub synonyms: Vec<ConfigSynonym>,
}

fn shown(table: &'static [Definition], wanted: Option<&[&str]>) -> impl Iterator<Item = &'static Definition> {
    let wanted: Option<Vec<String>> = wanted.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    table
        .iter()
        .filter(|definition| !definition.internal && !definition.since_4_4)
        .filter(move |definition| wanted.as_ref().is_none_or(|names| names.iter().any(|name| name == definition.name)))
}

/// Rows of a topic: all of them, or those of `wanted` that exist.
#[must_use]
pub fn describe_topic(broker: &BrokerConfig, overrides: &TopicOverrides, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
    shown(TOPIC, wanted)
        .map(|definition| {
            let name = definition.name;
            let mut synonyms = Vec::new();
            if let Some(value) = overrides.get(name) {
                synonyms.push(ConfigSynonym { name, value: Some(value.clone()), source: ConfigSource::Topic });
            }
            for synonym in definition.inherits {
                synonyms.extend(broker_synonyms(broker, synonym));
            }
            let source = match (overrides.contains_key(name), inherited(broker, name)) {
                (true, _) => ConfigSource::Topic,
                (false, Some(_)) => ConfigSource::StaticBroker,
                (false, None) => ConfigSource::Default,
            };
            let value = effective(broker, overrides, name);
            ConfigRow { name, value, source, is_sensitive: false, read_only: false, kind: definition.kind, synonyms }
        })
        .collect()
}

/// Rows of this broker: all of them, or those of `wanted` that exist.
#[must_use]
pub fn describe_broker(broker: &BrokerConfig, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
    shown(BROKER, wanted)
        .map(|definition| {
            let name = definition.name;
            let is_sensitive = definition.kind == ConfigType::Password;
            let source = if broker.set(name).is_some() { ConfigSource::StaticBroker } else { ConfigSource::Default };
            ConfigRow {
                name,
                value: broker.value(name).filter(|_| !is_sensitive).map(str::to_owned),
                source,
                is_sensitive,
                read_only: definition.dynamic == Dynamic::No,
                kind: definition.kind,
                synonyms: broker_synonyms(broker, name),
            }
        })
        .collect()
}

/// Rows of a group, which may not exist: nothing can be set on one yet.
#[must_use]
pub fn describe_group(wanted: Option<&[&str]>) -> Vec<ConfigRow> {
    shown(GROUP, wanted)
        .map(|definition| ConfigRow {
            name: definition.name,
            value: definition.default.map(str::to_owned),
            source: ConfigSource::Default,
            is_sensitive: false,
            read_only: false,
            kind: definition.kind,
            synonyms: Vec::new(),
        })
        .collect()
}

/// A broker setting with those that it falls back to, as far as they have values.
fn broker_synonyms(broker: &BrokerConfig, name: &'static str) -> Vec<ConfigSynonym> {
    let Some(definition) = find(BROKER, name) else { return Vec::new() };
    let hidden = definition.kind == ConfigType::Password;
    let synonym = |value: &str, source| ConfigSynonym { name, value: (!hidden).then(|| value.to_owned()), source };
    let set = broker.set(name).map(|value| synonym(value, ConfigSource::StaticBroker));
    let default = definition.default.map(|value| synonym(value, ConfigSource::Default));
    set.into_iter().chain(default).collect()
}
