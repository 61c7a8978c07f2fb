//! kafka-topics.sh.

use clap::{ArgGroup, Parser};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};

use super::Bootstrap;
use crate::admin::Admin;
use crate::arguments::parse_pair;
use crate::failure::Failure;
use crate::name_pattern::NamePattern;
use crate::output::line;
use crate::topics::{self, Filter};

/// Create, list, describe, change and delete topics.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
#[command(group(ArgGroup::new("action").required(true).args(["create", "list", "describe", "alter", "delete"])))]
pub(super) struct Topics {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Create a topic.
    #[arg(long)]
    create: bool,
    /// Print the names of topics.
    #[arg(long)]
    list: bool,
    /// Print partitions, leaders and settings of topics.
    #[arg(long)]
    describe: bool,
    /// Give topics more partitions.
    #[arg(long)]
    alter: bool,
    /// Delete topics.
    #[arg(long)]
    delete: bool,
    /// The topic; but to create one, a regular expression.
    #[arg(long, value_name = "TOPIC", required_if_eq_any = [("create", "true"), ("alter", "true"), ("delete", "true")])]
    topic: Option<String>,
    /// Number of partitions.
    #[arg(long, value_name = "COUNT", required_if_eq("alter", "true"))]
    partitions: Option<i32>,
    /// Copies of each partition.
    #[arg(long, value_name = "COUNT", requires = "create")]
    replication_factor: Option<i16>,
    /// Brokers of each partition: those of one with colons between, partitions with commas.
    #[arg(long, value_name = "BROKER:BROKER,…", requires = "create", conflicts_with_all = ["partitions", "replication_factor"])]
    replica_assignment: Option<String>,
    /// A setting of the topic; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair, requires = "create")]
    config: Vec<(String, String)>,
    /// Do nothing where the topic is not there.
    #[arg(long)]
    if_exists: bool,
    /// Do nothing if the topic is there.
    #[arg(long, requires = "create")]
    if_not_exists: bool,
    /// Leave out the topics that brokers use for themselves.
    #[arg(long)]
    exclude_internal: bool,
    /// Only partitions with a replica that is not in sync.
    #[arg(long, requires = "describe", group = "filter")]
    under_replicated_partitions: bool,
    /// Only partitions without a leader.
    #[arg(long, requires = "describe", group = "filter")]
    unavailable_partitions: bool,
    /// Only topics that were set to something, without their partitions.
    #[arg(long, requires = "describe", group = "filter")]
    topics_with_overrides: bool,
}

impl Topics {
    /// Does what is asked.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let admin = &mut self.bootstrap.admin()?;
        if self.create {
            return self.create(admin);
        }
        let names = self.matching(admin)?;
        if self.list {
            return names.iter().try_for_each(line);
        }
        let missing = |topic: &String| {
            Failure::new(format!("Topic '{topic}' does not exist as expected"))
                .remedy("--list prints the topics that there are; with --if-exists this is no error.")
        };
        match (&self.topic, &names[..]) {
            (Some(_), []) if self.if_exists => return Ok(()),
            (Some(topic), []) => return Err(missing(topic)),
            (_, []) => return Ok(()),
            _ => {}
        }
        match self.partitions {
            Some(partitions) if self.alter => topics::alter(admin, &names, partitions)?.all().map(drop),
            _ if self.delete => topics::delete(admin, &names, self.if_exists)?.all().map(drop),
            _ => {
                let filter =
                    match (self.under_replicated_partitions, self.unavailable_partitions, self.topics_with_overrides) {
                        (true, ..) => Filter::UnderReplicated,
                        (_, true, _) => Filter::Unavailable,
                        (.., true) => Filter::WithOverrides,
                        _ => Filter::All,
                    };
                topics::describe(admin, &names, filter, false)
            }
        }
    }

    /// The topics that `--topic` means, or all.
    fn matching(&self, admin: &mut Admin) -> Result<Vec<String>, Failure> {
        let pattern = self.topic.as_deref().map(NamePattern::of_list).transpose()?;
        let all = admin.topics(None)?.into_iter();
        let wanted = all.filter(|topic| !(self.exclude_internal && topic.is_internal)).filter_map(|topic| topic.name);
        let names = wanted.map(|name| name.to_string());
        Ok(names.filter(|name| pattern.as_ref().is_none_or(|pattern| pattern.matches(name))).collect())
    }

    fn create(&self, admin: &mut Admin) -> Result<(), Failure> {
        let name = self.topic.clone().unwrap_or_default();
        if name.contains(['.', '_']) {
            line(
                "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. \
                 To avoid issues it is best to use either, but not both.",
            )?;
        }
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: KafkaString::copied(name),
            value: Some(KafkaString::copied(value)),
        };
        let assignments = match &self.replica_assignment {
            None => Vec::new(),
            Some(text) => assignments(text)?,
        };
        let template = CreatableTopic {
            num_partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments,
            configs: self.config.iter().map(config).collect(),
            ..CreatableTopic::default()
        };
        let created = topics::create(admin, std::slice::from_ref(&name), &template, self.if_not_exists)?.all()?;
        match created.is_empty() {
            true => Ok(()),
            false => line(format!("Created topic {name}.")),
        }
    }
}

/// Takes `1:2,2:3` apart: the brokers of partition 0, of partition 1.
fn assignments(text: &str) -> Result<Vec<CreatableReplicaAssignment>, Failure> {
    let of_partition = |(partition_index, brokers): (i32, &str)| {
        let ids: Result<Vec<i32>, _> = brokers.split(':').map(|id| id.trim().parse()).collect();
        let broker_ids =
            ids.map_err(|_| Failure::new(format!("--replica-assignment: `{brokers}` is not like 1:2:3")))?;
        Ok(CreatableReplicaAssignment { partition_index, broker_ids })
    };
    (0..).zip(text.split(',')).map(of_partition).collect()
}
