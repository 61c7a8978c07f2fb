//! `corelane topics`: list, create, describe, alter and delete.

use std::io::Write;

use clap::{Args, Subcommand};
use corelane_core::base::Uuid;
use corelane_core::client::{ErrorCode, RequestError, Target};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use corelane_core::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use corelane_core::protocol::messages::delete_topics_request::DeleteTopicState;
use corelane_core::protocol::messages::describe_configs_request::DescribeConfigsResource;
use corelane_core::protocol::messages::metadata_request::MetadataRequestTopic;
use corelane_core::protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use corelane_core::protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest, MetadataRequest,
};

use crate::arguments::{ClusterArguments, parse_pair};
use crate::failure::Failure;
use corelane_perf::driver::Driver;

/// Milliseconds that the broker may take for a change.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
/// Number of the resource type "topic" in DescribeConfigs.
const TOPIC_RESOURCE: i8 = 2;
/// Number of the source "set on the topic" in DescribeConfigs.
const TOPIC_SOURCE: i8 = 1;

/// Arguments of `corelane topics`.
#[derive(Args, Debug)]
pub(crate) struct Topics {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the name of every topic.
    List {
        #[command(flatten)]
        cluster: ClusterArguments,
        /// Leave out the topics that brokers use for themselves.
        #[arg(long)]
        exclude_internal: bool,
    },
    /// Create topics.
    Create {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        names: Names,
        /// Partitions; as the broker is set up by default.
        #[arg(long, value_name = "COUNT")]
        partitions: Option<i32>,
        /// Copies of each partition; as the broker is set up by default.
        #[arg(long, value_name = "COUNT")]
        replication_factor: Option<i16>,
        /// A configuration of the topic; may be given several times.
        #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
        config: Vec<(String, String)>,
        /// Succeed if the topic is there already.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Print partitions, leaders and configuration of topics; of all of them if none is named.
    Describe {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        names: Names,
    },
    /// Give topics more partitions.
    Alter {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        names: Names,
        /// How many there are to be in all.
        #[arg(long, value_name = "COUNT")]
        partitions: i32,
    },
    /// Delete topics with all their records.
    Delete {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        names: Names,
        /// Succeed if the topic is not there.
        #[arg(long)]
        if_exists: bool,
    },
}

/// Topics, named plainly or with `--topic` as kafka-topics.sh wants it.
#[derive(Args, Debug)]
struct Names {
    /// Topics.
    #[arg(value_name = "TOPIC")]
    plain: Vec<String>,
    /// The same as naming the topic plainly.
    #[arg(long = "topic", value_name = "TOPIC", value_delimiter = ',')]
    flagged: Vec<String>,
}

impl Names {
    fn all(&self) -> Vec<String> {
        self.plain.iter().chain(&self.flagged).cloned().collect()
    }

    fn at_least_one(&self) -> Result<Vec<String>, Failure> {
        let names = self.all();
        if names.is_empty() { Err(Failure::new("name a topic")) } else { Ok(names) }
    }
}

impl Topics {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::List { cluster, exclude_internal } => list(&mut cluster.driver(false), *exclude_internal),
            Action::Create { cluster, names, partitions, replication_factor, config, if_not_exists } => {
                let configs = config
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: KafkaString::copied(name),
                        value: Some(KafkaString::copied(value)),
                    })
                    .collect();
                let template = CreatableTopic {
                    num_partitions: partitions.unwrap_or(-1),
                    replication_factor: replication_factor.unwrap_or(-1),
                    configs,
                    ..CreatableTopic::default()
                };
                create(&mut cluster.driver(false), &names.at_least_one()?, &template, *if_not_exists)
            }
            Action::Describe { cluster, names } => describe(&mut cluster.driver(false), &names.all()),
            Action::Alter { cluster, names, partitions } => {
                alter(&mut cluster.driver(false), &names.at_least_one()?, *partitions)
            }
            Action::Delete { cluster, names, if_exists } => {
                delete(&mut cluster.driver(false), &names.at_least_one()?, *if_exists)
            }
        }
    }
}

/// Topics by name, or all of them.
fn metadata(driver: &mut Driver, names: Option<&[String]>) -> Result<Vec<MetadataResponseTopic>, Failure> {
    let wanted = |name: &String| MetadataRequestTopic {
        name: Some(KafkaString::copied(name)),
        ..MetadataRequestTopic::default()
    };
    let request = MetadataRequest {
        topics: names.map(|names| names.iter().map(wanted).collect()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    let mut topics = driver.call(Target::Any, request)?.topics;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

fn list(driver: &mut Driver, exclude_internal: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for topic in metadata(driver, None)? {
        if let Some(name) = topic.name.filter(|_| !(exclude_internal && topic.is_internal)) {
            writeln!(out, "{name}")?;
        }
    }
    Ok(())
}

/// Fails with the first of several outcomes that failed, after all are reported.
fn report(outcomes: Vec<(String, Result<(), Failure>)>, done: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let mut first_failure = None;
    for (name, outcome) in outcomes {
        match outcome {
            Ok(()) => writeln!(out, "{done} {name}")?,
            Err(failure) if first_failure.is_none() => first_failure = Some(failure),
            Err(failure) => writeln!(std::io::stderr().lock(), "corelane: {failure}")?,
        }
    }
    first_failure.map_or(Ok(()), Err)
}

fn outcome(name: &str, code: i16, message: Option<&KafkaString>, tolerated: Option<ErrorCode>) -> Result<(), Failure> {
    let code = ErrorCode(code);
    if code.is_none() || Some(code) == tolerated {
        return Ok(());
    }
    Err(Failure::of_topic(name, code, message.map_or("", |text| text.as_str())))
}

fn create(
    driver: &mut Driver,
    names: &[String],
    template: &CreatableTopic,
    if_not_exists: bool,
) -> Result<(), Failure> {
    let topic = |name: &String| CreatableTopic { name: KafkaString::copied(name), ..template.clone() };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: CHANGE_TIMEOUT_MS,
        validate_only: false,
    };
    let response = driver.call(Target::Controller, request)?;
    let tolerated = if_not_exists.then_some(ErrorCode::TOPIC_ALREADY_EXISTS);
    let outcomes = response.topics.iter().map(|topic| {
        (topic.name.to_string(), outcome(&topic.name, topic.error_code, topic.error_message.as_ref(), tolerated))
    });
    report(outcomes.collect(), "created")
}

fn delete(driver: &mut Driver, names: &[String], if_exists: bool) -> Result<(), Failure> {
    let topic =
        |name: &String| DeleteTopicState { name: Some(KafkaString::copied(name)), ..DeleteTopicState::default() };
    let request = DeleteTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: CHANGE_TIMEOUT_MS,
        ..DeleteTopicsRequest::default()
    };
    let response = driver.call(Target::Controller, request)?;
    let tolerated = if_exists.then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let outcomes = response.responses.iter().map(|topic| {
        let name = topic.name.as_ref().map_or(String::new(), ToString::to_string);
        let outcome = outcome(&name, topic.error_code, topic.error_message.as_ref(), tolerated);
        (name, outcome)
    });
    report(outcomes.collect(), "deleted")
}

fn alter(driver: &mut Driver, names: &[String], partitions: i32) -> Result<(), Failure> {
    let topic =
        |name: &String| CreatePartitionsTopic { name: KafkaString::copied(name), count: partitions, assignments: None };
    let request = CreatePartitionsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: CHANGE_TIMEOUT_MS,
        validate_only: false,
    };
    let response = driver.call(Target::Controller, request)?;
    let outcomes = response.results.iter().map(|topic| {
        (topic.name.to_string(), outcome(&topic.name, topic.error_code, topic.error_message.as_ref(), None))
    });
    report(outcomes.collect(), "changed")
}

/// What was set on each topic, as `name=value` pairs in the order of the topics.
fn own_configs(driver: &mut Driver, names: &[KafkaString]) -> Result<Vec<String>, Failure> {
    let resource = |name: &KafkaString| DescribeConfigsResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: name.clone(),
        configuration_keys: None,
    };
    let request =
        DescribeConfigsRequest { resources: names.iter().map(resource).collect(), ..DescribeConfigsRequest::default() };
    let response = match driver.call(Target::Any, request) {
        Ok(response) => response,
        // A broker may not serve configurations at all; the partitions are worth seeing without them.
        Err(RequestError::Unsupported(_)) => return Ok(vec![String::new(); names.len()]),
        Err(error) => return Err(error.into()),
    };
    let of_topic = |name: &KafkaString| {
        let result = response.results.iter().find(|result| result.resource_name == *name);
        let set = result.into_iter().flat_map(|result| &result.configs).filter(|row| row.config_source == TOPIC_SOURCE);
        let pairs = set.map(|row| format!("{}={}", row.name, row.value.as_ref().map_or("", |value| value.as_str())));
        pairs.collect::<Vec<_>>().join(",")
    };
    Ok(names.iter().map(of_topic).collect())
}

/// Prints what kafka-topics.sh prints, so that scripts which read that can read this.
fn describe(driver: &mut Driver, names: &[String]) -> Result<(), Failure> {
    let topics = metadata(driver, (!names.is_empty()).then_some(names))?;
    let mut known = Vec::new();
    let mut failures = Vec::new();
    for topic in topics {
        let name = topic.name.clone().unwrap_or_default();
        match outcome(&name, topic.error_code, None, None) {
            Ok(()) => known.push(topic),
            Err(failure) => failures.push((name.to_string(), Err(failure))),
        }
    }
    if !known.is_empty() {
        let names: Vec<KafkaString> = known.iter().filter_map(|topic| topic.name.clone()).collect();
        let configs = own_configs(driver, &names)?;
        let mut out = std::io::stdout().lock();
        for (topic, configs) in known.into_iter().zip(configs) {
            print_topic(&mut out, topic, &configs)?;
        }
    }
    report(failures, "")
}

fn print_topic(out: &mut impl Write, mut topic: MetadataResponseTopic, configs: &str) -> Result<(), Failure> {
    let name = topic.name.take().unwrap_or_default();
    topic.partitions.sort_by_key(|partition| partition.partition_index);
    let replicas = topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
    writeln!(
        out,
        "Topic: {name}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {configs}",
        Uuid(topic.topic_id),
        topic.partitions.len(),
    )?;
    for MetadataResponsePartition { partition_index, leader_id, replica_nodes, isr_nodes, .. } in &topic.partitions {
        let leader = if *leader_id < 0 { "none".to_owned() } else { leader_id.to_string() };
        writeln!(
            out,
            "\tTopic: {name}\tPartition: {partition_index}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
            ids(replica_nodes),
            ids(isr_nodes),
        )?;
    }
    Ok(())
}

fn ids(nodes: &[i32]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
