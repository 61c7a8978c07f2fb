//! Configuration: every name that Kafka knows with its type, default and range; what of it acts here; the values that
//! result from topic overrides, the broker's file and the defaults; and the rows that DescribeConfigs answers.
//!
//! A setting never fails to act in silence. One that acts is applied; one that promises something which is not there
//! yet is refused unless it asks for the default; one that only tunes machinery of Kafka's own is accepted with a
//! notice at start.

mod broker;
mod broker_table;
mod definition;
mod describe;
mod dynamic;
mod group_table;
mod listener;
mod log_care;
mod log_levels;
mod properties;
mod topic;
mod topic_table;

pub use broker::{AppendEngine, BrokerConfig, CORE_DIRECT_NODE_ID_MAX, ConfigError, FetchPath, Notice};
pub use broker_table::BROKER;
pub use definition::{Allowed, ConfigType, Definition, Dynamic, Effect, elements as list_elements, find, normalize};
pub use describe::{
    ConfigRow, ConfigSource, ConfigSynonym, describe_all_brokers, describe_broker, describe_group, describe_topic,
};
pub use dynamic::{InvalidBrokerConfig, validate_broker_config};
pub use group_table::{CLIENT_METRICS, GROUP, GroupOverrides, InvalidGroupConfig, validate_group_configs};
pub use listener::Listener;
pub use log_care::LogCare;
pub use log_levels::{LogLevel, LogLevelChange, LogLevels, ROOT_LOGGER};
pub use properties::{Place, Setting, parse_override, parse_properties};
pub use topic::{InvalidTopicConfig, TopicConfig, TopicOverrides, validate_topic_config, validate_topic_configs};
pub use topic_table::TOPIC;

#[cfg(test)]
mod tests;
