//! What a topic is: its partitions, who leads and keeps them, and what it was set to. The layout is kafka-topics.sh's.

use std::collections::BTreeMap;

use corelane_core::base::Uuid;
use corelane_core::client::{Destination, RequestError};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::describe_configs_request::DescribeConfigsResource;
use corelane_core::protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use corelane_core::protocol::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition as Partition, DescribeTopicPartitionsResponseTopic as Topic,
};
use corelane_core::protocol::messages::{DescribeConfigsRequest, DescribeTopicPartitionsRequest};
use serde::Serialize;

use super::outcome;
use crate::admin::Admin;
use crate::failure::{Failure, first_of};
use crate::output::{line, print_json};

/// Number of the resource type "topic" in DescribeConfigs.
const TOPIC_RESOURCE: i8 = 2;
/// Number of the source "nobody has set it" in DescribeConfigs.
const DEFAULT_SOURCE: i8 = 5;

/// Settings and their values, in the broker's order.
type Settings = Vec<(String, String)>;

/// Which partitions to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All.
    All,
    /// Those with a replica that is not in sync.
    UnderReplicated,
    /// Those without a leader.
    Unavailable,
    /// None, but the topics that were set to something.
    WithOverrides,
}

impl Filter {
    fn admits(self, partition: &Partition) -> bool {
        match self {
            Self::All => true,
            Self::UnderReplicated => partition.isr_nodes.len() < partition.replica_nodes.len(),
            Self::Unavailable => partition.leader_id < 0,
            Self::WithOverrides => false,
        }
    }
}

/// Topics with their partitions, in the order of their names.
fn ask(admin: &mut Admin, names: &[String]) -> Result<Vec<Topic>, Failure> {
    let mut found: BTreeMap<String, Topic> = BTreeMap::new();
    let mut cursor: Option<Cursor> = None;
    let mut names = names.to_vec();
    names.sort();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    loop {
        let from = cursor.as_ref().map_or_else(String::new, |cursor| cursor.topic_name.to_string());
        let wanted = names.iter().filter(|name| **name >= from);
        let request = DescribeTopicPartitionsRequest {
            topics: wanted.map(|name| TopicRequest { name: KafkaString::copied(name) }).collect(),
            cursor: cursor.clone(),
            ..DescribeTopicPartitionsRequest::default()
        };
        let response = match admin.call(Destination::Any, request) {
            // Brokers before Kafka 3.7.
            Err(RequestError::Unsupported(_)) => return ask_old(admin, &names),
            other => other?,
        };
        for topic in response.topics {
            let name = topic.name.as_ref().map_or_else(String::new, ToString::to_string);
            match found.get_mut(&name) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => drop(found.insert(name, topic)),
            }
        }
        let next = response
            .next_cursor
            .map(|next| Cursor { topic_name: next.topic_name, partition_index: next.partition_index });
        // A cursor that stands still would be asked about for ever.
        if next.is_none() || next == cursor {
            return Ok(found.into_values().collect());
        }
        cursor = next;
    }
}

/// The same as Metadata tells it: without eligible leaders.
fn ask_old(admin: &mut Admin, names: &[String]) -> Result<Vec<Topic>, Failure> {
    let partition =
        |partition: corelane_core::protocol::messages::metadata_response::MetadataResponsePartition| Partition {
            partition_index: partition.partition_index,
            leader_id: partition.leader_id,
            replica_nodes: partition.replica_nodes,
            isr_nodes: partition.isr_nodes,
            ..Partition::default()
        };
    let topics = admin.topics(Some(names))?.into_iter().map(|topic| Topic {
        error_code: topic.error_code,
        name: topic.name,
        topic_id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions: topic.partitions.into_iter().map(partition).collect(),
        ..Topic::default()
    });
    Ok(topics.collect())
}

/// What was set on each topic, or for all of them on its broker, in the order of the topics.
fn settings(admin: &mut Admin, names: &[KafkaString]) -> Result<Vec<Settings>, Failure> {
    let resource = |name: &KafkaString| DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: name.clone(),
        configuration_keys: None,
    };
    let request =
        DescribeConfigsRequest { resources: names.iter().map(resource).collect(), ..DescribeConfigsRequest::default() };
    let response = match admin.call(Destination::Any, request) {
        Ok(response) => response,
        // A broker may not serve configurations at all; the partitions are worth seeing without them.
        Err(RequestError::Unsupported(_)) => return Ok(vec![Settings::new(); names.len()]),
        Err(error) => return Err(error.into()),
    };
    let of_topic = |name: &KafkaString| {
        let result = response.results.iter().find(|result| result.resource_name == *name);
        let set =
            result.into_iter().flat_map(|result| &result.configs).filter(|row| row.config_source != DEFAULT_SOURCE);
        set.map(|row| (row.name.to_string(), row.value.as_ref().map_or_else(String::new, ToString::to_string)))
            .collect()
    };
    Ok(names.iter().map(of_topic).collect())
}

#[derive(Serialize)]
struct TopicRow {
    topic: String,
    id: String,
    is_internal: bool,
    replication_factor: usize,
    configs: BTreeMap<String, String>,
    partitions: Vec<PartitionRow>,
}

#[derive(Serialize)]
struct PartitionRow {
    partition: i32,
    leader: Option<i32>,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
}

/// Prints topics; fails in the end if one of them is not there.
pub(crate) fn describe(admin: &mut Admin, names: &[String], filter: Filter, json: bool) -> Result<(), Failure> {
    let mut known = Vec::new();
    let mut failures = Vec::new();
    for mut topic in ask(admin, names)? {
        let name = topic.name.clone().unwrap_or_default();
        match outcome(&name, topic.error_code, None, None) {
            Ok(()) => {
                topic.partitions.sort_by_key(|partition| partition.partition_index);
                known.push((name, topic));
            }
            Err(failure) => failures.push(failure),
        }
    }
    let names: Vec<KafkaString> = known.iter().map(|(name, _)| name.clone()).collect();
    let configs = if names.is_empty() { Vec::new() } else { settings(admin, &names)? };
    for ((name, topic), configs) in known.into_iter().zip(configs) {
        match json {
            true => print_json([row(&name, topic, configs)])?,
            false => print(&name, &topic, &configs, filter)?,
        }
    }
    first_of(failures)
}

fn row(name: &str, topic: Topic, configs: Settings) -> TopicRow {
    TopicRow {
        topic: name.to_owned(),
        id: Uuid(topic.topic_id).to_string(),
        is_internal: topic.is_internal,
        replication_factor: topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len()),
        configs: configs.into_iter().collect(),
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| PartitionRow {
                partition: partition.partition_index,
                leader: (partition.leader_id >= 0).then_some(partition.leader_id),
                replicas: partition.replica_nodes,
                in_sync: partition.isr_nodes,
            })
            .collect(),
    }
}

fn print(name: &str, topic: &Topic, configs: &Settings, filter: Filter) -> Result<(), Failure> {
    if matches!(filter, Filter::All) || (filter == Filter::WithOverrides && !configs.is_empty()) {
        let replicas = topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
        let configs: Vec<String> = configs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        line(format!(
            "Topic: {name}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}",
            Uuid(topic.topic_id),
            topic.partitions.len(),
            configs.join(",")
        ))?;
    }
    for partition in topic.partitions.iter().filter(|partition| filter.admits(partition)) {
        let leader = if partition.leader_id < 0 { "none".to_owned() } else { partition.leader_id.to_string() };
        line(format!(
            "\tTopic: {name}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: {}\tLastKnownElr: {}",
            partition.partition_index,
            ids(Some(&partition.replica_nodes)),
            ids(Some(&partition.isr_nodes)),
            ids(partition.eligible_leader_replicas.as_ref()),
            ids(partition.last_known_elr.as_ref()),
        ))?;
    }
    Ok(())
}

/// Ids with commas between; the broker may not tell of some.
fn ids(nodes: Option<&Vec<i32>>) -> String {
    nodes.map_or_else(|| "N/A".to_owned(), |nodes| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
