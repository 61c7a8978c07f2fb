//! The rows that DescribeConfigs answers.

use super::broker::BrokerConfig;
use super::broker_table::BROKER;
use super::definition::{ConfigType, Definition, Dynamic, find};
use super::group_table::{GROUP, GroupOverrides};
use super::topic::{TopicOverrides, effective};
use super::topic_table::TOPIC;

/// Where a value comes from; the numbers are those that DescribeConfigs carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set on this broker while it ran.
    DynamicBroker = 2,
    /// Set on all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// Set in the broker's file or on its command line.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

/// Who may set a broker setting, the strongest first.
pub(super) const SET_BY: [ConfigSource; 3] =
    [ConfigSource::DynamicBroker, ConfigSource::DynamicDefaultBroker, ConfigSource::StaticBroker];

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
            let own = overrides.get(name).map(|value| {
                let value = Some(value.clone());
                ConfigSynonym { name, value, source: ConfigSource::Topic }
            });
            let synonyms: Vec<_> = own.into_iter().chain(broker_synonyms(broker, definition.inherits)).collect();
            ConfigRow {
                name,
                value: effective(broker, overrides, name),
                source: source_of(&synonyms),
                is_sensitive: false,
                read_only: false,
                kind: definition.kind,
                synonyms,
            }
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
            let synonyms = broker_synonyms(broker, chain_from(&name));
            ConfigRow {
                name,
                value: broker.value(name).filter(|_| !is_sensitive).map(str::to_owned),
                source: source_of(&synonyms),
                is_sensitive,
                read_only: definition.dynamic == Dynamic::No,
                kind: definition.kind,
                synonyms,
            }
        })
        .collect()
}

/// Rows of what was set at run time on all brokers: all of them, or those of `wanted`.
#[must_use]
pub fn describe_all_brokers(broker: &BrokerConfig, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
    let set = |name: &str| broker.set_by(ConfigSource::DynamicDefaultBroker, name).is_some();
    describe_broker(broker, wanted)
        .into_iter()
        .filter(|row| set(row.name))
        .map(|mut row| {
            row.synonyms.retain(|synonym| synonym.source == ConfigSource::DynamicDefaultBroker);
            row.source = ConfigSource::DynamicDefaultBroker;
            row.value = row.synonyms.first().and_then(|synonym| synonym.value.clone());
            row
        })
        .collect()
}

/// Rows of a group, which may not exist. What is not set on it is the broker's, whose names are the same behind `group.`.
#[must_use]
pub fn describe_group(broker: &BrokerConfig, overrides: &GroupOverrides, wanted: Option<&[&str]>) -> Vec<ConfigRow> {
    shown(GROUP, wanted)
        .map(|definition| {
            let value = definition.default.map(str::to_owned);
            let own = || vec![ConfigSynonym { name: definition.name, value, source: ConfigSource::Default }];
            let inherits = find(BROKER, &format!("group.{}", definition.name));
            let set = overrides.get(definition.name).map(|value| {
                let value = Some(value.clone());
                ConfigSynonym { name: definition.name, value, source: ConfigSource::Group }
            });
            let inherited = inherits.map_or_else(own, |inherits| broker_synonyms(broker, &[inherits.name]));
            let synonyms: Vec<_> = set.into_iter().chain(inherited).collect();
            ConfigRow {
                name: definition.name,
                value: synonyms.first().and_then(|synonym| synonym.value.clone()),
                source: source_of(&synonyms),
                is_sensitive: false,
                read_only: false,
                kind: definition.kind,
                synonyms,
            }
        })
        .collect()
}

/// A broker setting and those that it falls back to: what a topic configuration inherits from, from that name on.
fn chain_from<'a>(name: &'a &'static str) -> &'a [&'static str] {
    let chains = TOPIC.iter().map(|definition| definition.inherits);
    let rest =
        |chain: &'static [&'static str]| chain.iter().position(|link| link == name).and_then(|at| chain.get(at..));
    chains.into_iter().find_map(rest).unwrap_or(std::slice::from_ref(name))
}

/// The values of a chain of broker settings, set ones before defaults, and none at all unless the first of the chain
/// has one: so Kafka answers, and tools compare its answers.
fn broker_synonyms(broker: &BrokerConfig, chain: &[&'static str]) -> Vec<ConfigSynonym> {
    let definitions = || chain.iter().filter_map(|name| find(BROKER, name));
    let synonym = |definition: &Definition, value: &str, source| {
        let value = (definition.kind != ConfigType::Password).then(|| value.to_owned());
        ConfigSynonym { name: definition.name, value, source }
    };
    let set = SET_BY.into_iter().flat_map(|source| {
        definitions()
            .filter_map(move |definition| Some(synonym(definition, broker.set_by(source, definition.name)?, source)))
    });
    let defaults =
        definitions().filter_map(|definition| Some(synonym(definition, definition.default?, ConfigSource::Default)));
    set.chain(defaults).skip_while(|synonym| chain.first() != Some(&synonym.name)).collect()
}

/// Who set the value that holds.
fn source_of(synonyms: &[ConfigSynonym]) -> ConfigSource {
    synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source)
}
