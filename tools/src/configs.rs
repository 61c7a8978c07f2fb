//! `corelane configs`: what topics, brokers and groups are set to, and changing it.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use corelane_core::base::NodeId;
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::describe_configs_request::DescribeConfigsResource;
use corelane_core::protocol::messages::describe_configs_response::DescribeConfigsResourceResult as ConfigRow;
use corelane_core::protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use corelane_core::protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use serde::Serialize;

use crate::admin::Admin;
use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::output::{OutputArguments, line, print_json};

/// Numbers of resource types.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const GROUP: i8 = 32;
/// Operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// The source of what nobody has set.
const DEFAULT_SOURCE: i8 = 5;
/// Where a value can come from, by number.
const SOURCES: &[(i8, &str)] = &[
    (1, "DYNAMIC_TOPIC_CONFIG"),
    (2, "DYNAMIC_BROKER_CONFIG"),
    (3, "DYNAMIC_DEFAULT_BROKER_CONFIG"),
    (4, "STATIC_BROKER_CONFIG"),
    (5, "DEFAULT_CONFIG"),
    (6, "DYNAMIC_BROKER_LOGGER_CONFIG"),
    (7, "DYNAMIC_CLIENT_METRICS_CONFIG"),
    (8, "DYNAMIC_GROUP_CONFIG"),
];

/// Arguments of `corelane configs`.
#[derive(Args, Debug)]
pub(crate) struct Configs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what topics, brokers or groups were set to.
    Describe {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        #[command(flatten)]
        entity: EntityArguments,
        /// Print everything, also defaults and what stands in the broker's file.
        #[arg(long)]
        all: bool,
    },
    /// Change what a topic, broker or group is set to; what is not named stays.
    Alter {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        entity: EntityArguments,
        #[command(flatten)]
        changes: Changes,
    },
}

/// What is described or changed; the same words as kafka-configs.sh has.
#[derive(Args, Debug)]
pub(crate) struct EntityArguments {
    /// What kind of thing.
    #[arg(long, value_enum, value_name = "KIND")]
    entity_type: Option<EntityType>,
    /// Name of the topic or group, or id of the broker; may be left out to describe all of them, of groups those for
    /// which something is set.
    #[arg(long, value_name = "NAME", group = "named", requires = "entity_type")]
    entity_name: Option<String>,
    /// What all brokers have that are set to nothing else.
    #[arg(long, group = "named", requires = "entity_type")]
    entity_default: bool,
    /// The same as --entity-type topics --entity-name.
    #[arg(long, short = 't', value_name = "TOPIC", conflicts_with_all = ["entity_type", "broker", "group"])]
    topic: Option<String>,
    /// The same as --entity-type brokers --entity-name.
    #[arg(long, value_name = "ID", conflicts_with_all = ["entity_type", "group"])]
    broker: Option<String>,
    /// The same as --entity-type groups --entity-name.
    #[arg(long, value_name = "GROUP", conflicts_with = "entity_type")]
    group: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EntityType {
    Topics,
    Brokers,
    BrokerLoggers,
    Groups,
}

/// What is changed.
#[derive(Args, Debug)]
pub(crate) struct Changes {
    /// Settings and their values, as a=1,b=[x,y]; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    add_config: Vec<String>,
    /// Settings that go back to their defaults, separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    delete_config: Vec<String>,
}

/// A thing with settings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entity {
    Topic(String),
    Broker(i32),
    Loggers(i32),
    AllBrokers,
    Group(String),
}

impl Entity {
    fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => TOPIC,
            Self::Loggers(_) => BROKER_LOGGER,
            Self::Broker(_) | Self::AllBrokers => BROKER,
            Self::Group(_) => GROUP,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Topic(name) | Self::Group(name) => name.clone(),
            Self::Broker(id) | Self::Loggers(id) => id.to_string(),
            Self::AllBrokers => String::new(),
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Topic(_) => "topics",
            Self::Loggers(_) => "broker-loggers",
            Self::Broker(_) | Self::AllBrokers => "brokers",
            Self::Group(_) => "groups",
        }
    }

    /// Who can answer: a broker's own settings, that broker.
    fn destination(&self, admin: &mut Admin) -> Result<Destination, Failure> {
        let (Self::Broker(id) | Self::Loggers(id)) = self else { return Ok(Destination::Any) };
        let brokers = admin.brokers()?;
        if brokers.contains(&NodeId(*id)) {
            return Ok(Destination::Node(NodeId(*id)));
        }
        let there: Vec<String> = brokers.iter().map(ToString::to_string).collect();
        Err(Failure::new(format!("there is no broker {id}; there are {}", there.join(", "))))
    }

    /// Number of the source of what was set on it.
    fn own_source(&self) -> i8 {
        match self {
            Self::Topic(_) => 1,
            Self::Broker(_) => 2,
            Self::AllBrokers => 3,
            Self::Loggers(_) => 6,
            Self::Group(_) => 8,
        }
    }

    fn failure(&self, code: ErrorCode, message: Option<&str>) -> Failure {
        match self {
            Self::Topic(name) => Failure::of_topic(name, code, message.unwrap_or_default()),
            _ => {
                let text = message.filter(|text| !text.is_empty()).unwrap_or(code.message());
                Failure::new(format!("{self}: {text} ({})", code.name()))
            }
        }
    }
}

impl std::fmt::Display for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Loggers(id) => write!(f, "broker-logger {id}"),
            Self::AllBrokers => f.write_str("brokers in the cluster"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

impl EntityArguments {
    /// The things that are meant: all of a kind if none is named.
    fn resolve(&self, admin: &mut Admin) -> Result<Vec<Entity>, Failure> {
        let broker = |text: &String| {
            let id = text.parse().map_err(|_| Failure::new(format!("`{text}` is no broker id; it is a number")))?;
            Ok(vec![Entity::Broker(id)])
        };
        match (&self.topic, &self.broker, self.entity_type, &self.entity_name) {
            (Some(topic), ..) => Ok(vec![Entity::Topic(topic.clone())]),
            (_, Some(id), ..) => broker(id),
            _ if self.group.is_some() => Ok(self.group.iter().cloned().map(Entity::Group).collect()),
            (_, _, Some(EntityType::Groups), _) if self.entity_default => {
                Err(Failure::new("groups have no common settings: they have those of their brokers")
                    .remedy("See --entity-type brokers, group.consumer.*."))
            }
            (_, _, Some(EntityType::Groups), Some(group)) => Ok(vec![Entity::Group(group.clone())]),
            (_, _, Some(EntityType::Groups), None) => groups_with_settings(admin),
            (_, _, Some(EntityType::Topics), _) if self.entity_default => {
                Err(Failure::new("topics have no common settings: they have those of their brokers")
                    .remedy("See --entity-type brokers --entity-default."))
            }
            (_, _, Some(EntityType::Topics), Some(topic)) => Ok(vec![Entity::Topic(topic.clone())]),
            (_, _, Some(EntityType::Brokers), Some(id)) => broker(id),
            (_, _, Some(EntityType::BrokerLoggers), Some(id)) => {
                let brokers = broker(id)?;
                let loggers = |entity| if let Entity::Broker(id) = entity { Entity::Loggers(id) } else { entity };
                Ok(brokers.into_iter().map(loggers).collect())
            }
            (_, _, Some(EntityType::BrokerLoggers), None) => {
                Err(Failure::new("loggers are those of one broker: name it with --entity-name"))
            }
            (_, _, Some(EntityType::Brokers), None) if self.entity_default => Ok(vec![Entity::AllBrokers]),
            (_, _, Some(EntityType::Topics), None) => {
                let names = admin.topics(None)?.into_iter().filter_map(|topic| topic.name);
                Ok(names.map(|name| Entity::Topic(name.to_string())).collect())
            }
            (_, _, Some(EntityType::Brokers), None) => Ok(admin
                .brokers()?
                .into_iter()
                .map(|node| Entity::Broker(node.0))
                .chain([Entity::AllBrokers])
                .collect()),
            (None, None, None, _) => Err(Failure::new(
                "say what: --topic NAME, --broker ID, --group NAME, or --entity-type topics|brokers|broker-loggers|groups",
            )),
        }
    }
}

fn groups_with_settings(admin: &mut Admin) -> Result<Vec<Entity>, Failure> {
    let request = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    let response = admin.call(Destination::Any, request)?;
    match ErrorCode(response.error_code) {
        ErrorCode::NONE => {}
        code => return Err(Failure::new(format!("groups with settings: {} ({})", code.message(), code.name()))),
    }
    // Brokers before version 1 know of client metrics only.
    let groups = response.config_resources.into_iter().filter(|each| each.resource_type == GROUP);
    Ok(groups.map(|each| Entity::Group(each.resource_name.to_string())).collect())
}

impl Configs {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::Describe { cluster, output, entity, all } => {
                describe(&mut cluster.admin(), entity, *all, output.json)
            }
            Action::Alter { cluster, entity, changes } => alter(&mut cluster.admin(), entity, changes),
        }
    }
}

fn source_name(number: i8) -> &'static str {
    SOURCES.iter().find(|(source, _)| *source == number).map_or("UNKNOWN", |(_, name)| name)
}

fn ask(admin: &mut Admin, entity: &Entity) -> Result<Vec<ConfigRow>, Failure> {
    let destination = entity.destination(admin)?;
    let resource = DescribeConfigsResource {
        resource_type: entity.kind(),
        resource_name: KafkaString::from(entity.name()),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, ..Default::default() };
    let response = admin.call(destination, request)?;
    let Some(result) = response.results.into_iter().next() else {
        return Err(Failure::new(format!("{entity}: the broker says nothing about it")));
    };
    match ErrorCode(result.error_code) {
        ErrorCode::NONE => {
            let mut rows = result.configs;
            rows.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(rows)
        }
        code => Err(entity.failure(code, result.error_message.as_deref())),
    }
}

/// What the broker that is asked first is set to, where it differs from the defaults. Secrets are left out.
pub(crate) fn broker_settings(admin: &mut Admin) -> Result<Vec<(String, String)>, Failure> {
    let Some(broker) = admin.brokers()?.first().copied() else { return Ok(Vec::new()) };
    let rows = ask(admin, &Entity::Broker(broker.0))?;
    let rows = rows.into_iter().filter(|row| row.config_source != DEFAULT_SOURCE && !row.is_sensitive);
    Ok(rows.map(|row| (row.name.to_string(), row.value.map_or_else(String::new, |value| value.to_string()))).collect())
}

#[derive(Serialize)]
struct Row {
    entity_type: &'static str,
    entity_name: String,
    name: String,
    value: Option<String>,
    source: &'static str,
    is_sensitive: bool,
    is_read_only: bool,
}

/// Prints settings: those that were set on each thing itself, or all that it has.
pub(crate) fn describe(admin: &mut Admin, wanted: &EntityArguments, all: bool, json: bool) -> Result<(), Failure> {
    for entity in wanted.resolve(admin)? {
        let mut rows = ask(admin, &entity)?;
        rows.retain(|row| all || row.config_source == entity.own_source());
        if json {
            print_json(rows.into_iter().map(|row| Row {
                entity_type: entity.type_name(),
                entity_name: entity.name(),
                name: row.name.to_string(),
                value: row.value.map(|value| value.to_string()),
                source: source_name(row.config_source),
                is_sensitive: row.is_sensitive,
                is_read_only: row.read_only,
            }))?;
            continue;
        }
        let what = match (&entity, all) {
            (Entity::AllBrokers, false) => "Default configs for",
            (_, true) => "All configs for",
            (_, false) => "Dynamic configs for",
        };
        line(format!("{what} {entity} are:"))?;
        for row in rows {
            let value = |value: Option<&KafkaString>| value.map_or_else(|| "null".to_owned(), ToString::to_string);
            let synonyms: Vec<String> = row
                .synonyms
                .iter()
                .map(|each| format!("{}:{}={}", source_name(each.source), each.name, value(each.value.as_ref())))
                .collect();
            let (name, own, sensitive) = (&row.name, value(row.value.as_ref()), row.is_sensitive);
            line(format!("  {name}={own} sensitive={sensitive} synonyms={{{}}}", synonyms.join(", ")))?;
        }
    }
    Ok(())
}

/// Takes `a=1,b=[x,y]` apart: brackets keep the commas of a list.
fn parse_additions(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut additions = BTreeMap::new();
    for text in texts {
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let wrong = || Failure::new(format!("--add-config: `{rest}` is not NAME=VALUE"));
            let (name, behind) = rest.split_once('=').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(wrong)?;
            let (value, next) = match behind.strip_prefix('[') {
                Some(list) => {
                    let (value, next) = list.split_once(']').ok_or_else(|| {
                        Failure::new(format!("--add-config: the bracket of `{behind}` is not closed"))
                    })?;
                    match next.strip_prefix(',') {
                        Some(next) => (value, next),
                        None if next.is_empty() => (value, next),
                        None => return Err(Failure::new(format!("--add-config: `{next}` stands behind a bracket"))),
                    }
                }
                None => behind.split_once(',').unwrap_or((behind, "")),
            };
            additions.insert(name.trim().to_owned(), value.to_owned());
            rest = next;
        }
    }
    Ok(additions)
}

/// Changes the settings of one thing.
pub(crate) fn alter(admin: &mut Admin, wanted: &EntityArguments, changes: &Changes) -> Result<(), Failure> {
    let entities = match wanted {
        EntityArguments {
            topic: None, broker: None, group: None, entity_name: None, entity_default: false, ..
        } => {
            return Err(Failure::new(
                "name the one thing that is to be changed: --topic, --broker, --group, --entity-name or --entity-default",
            ));
        }
        named => named.resolve(admin)?,
    };
    let [entity] = &entities[..] else { return Err(Failure::new("name the one thing that is to be changed")) };
    if changes.add_config.is_empty() && changes.delete_config.is_empty() {
        return Err(Failure::new("say what to change: --add-config NAME=VALUE or --delete-config NAME"));
    }
    let additions = parse_additions(&changes.add_config)?;
    if !changes.delete_config.is_empty() {
        let set = ask(admin, entity)?;
        let is_set = |name: &&String| {
            set.iter().any(|row| row.name == name.as_str() && row.config_source == entity.own_source())
        };
        let missing: Vec<&str> =
            changes.delete_config.iter().filter(|name| !is_set(name)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(Failure::new(format!("{entity}: not set and so not to be deleted: {}", missing.join(", ")))
                .remedy("`corelane configs describe` prints what is set."));
        }
    }
    let set = additions.iter().map(|(name, value)| AlterableConfig {
        name: KafkaString::copied(name),
        config_operation: SET,
        value: Some(KafkaString::copied(value)),
    });
    let delete = changes.delete_config.iter().map(|name| AlterableConfig {
        name: KafkaString::copied(name),
        config_operation: DELETE,
        value: None,
    });
    let resource = AlterConfigsResource {
        resource_type: entity.kind(),
        resource_name: KafkaString::from(entity.name()),
        configs: set.chain(delete).collect(),
    };
    let destination = entity.destination(admin)?;
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    for result in admin.call(destination, request)?.responses {
        let code = ErrorCode(result.error_code);
        if !code.is_none() {
            return Err(entity.failure(code, result.error_message.as_deref()));
        }
    }
    match entity {
        Entity::AllBrokers => line("Completed updating default config for brokers in the cluster."),
        entity => line(format!("Completed updating config for {entity}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_keep_the_commas_of_a_list() {
        let parsed = |text: &str| parse_additions(&[text.to_owned()]).map(|map| map.into_iter().collect::<Vec<_>>());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(parsed("a=1,b=[x,y],c=").unwrap(), [pair("a", "1"), pair("b", "x,y"), pair("c", "")]);
        assert_eq!(parsed("a=x=y").unwrap(), [pair("a", "x=y")]);
        for bad in ["a", "=1", "a=[x", "a=[x]y", "a=1,b"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
