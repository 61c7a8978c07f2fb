//! `corelane topics`: list, create, describe, alter and delete.

mod describe;

use clap::{Args, Subcommand};
use corelane_core::base::Uuid;
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use corelane_core::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use corelane_core::protocol::messages::delete_topics_request::DeleteTopicState;
use corelane_core::protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};
use serde::Serialize;

pub(crate) use describe::{Filter, describe};

use crate::admin::{Admin, CHANGE_TIMEOUT_MS};
use crate::arguments::{ClusterArguments, parse_pair};
use crate::failure::{Failure, first_of};
use crate::output::{OutputArguments, line, print_json};

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
        #[command(flatten)]
        output: OutputArguments,
        /// Leave out the topics that brokers use for themselves.
        #[arg(long)]
        exclude_internal: bool,
    },
    /// Create topics.
    Create {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
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
        output: OutputArguments,
        #[command(flatten)]
        names: Names,
    },
    /// Give topics more partitions.
    Alter {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
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
        output: OutputArguments,
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
            Action::List { cluster, output, exclude_internal } => {
                list(&mut cluster.admin(), *exclude_internal, output.json)
            }
            Action::Create { cluster, output, names, partitions, replication_factor, config, if_not_exists } => {
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
                create(&mut cluster.admin(), &names.at_least_one()?, &template, *if_not_exists)?.tell("created", output)
            }
            Action::Describe { cluster, output, names } => {
                let admin = &mut cluster.admin();
                let mut names = names.all();
                if names.is_empty() {
                    names = admin
                        .topics(None)?
                        .into_iter()
                        .filter_map(|topic| topic.name)
                        .map(|name| name.to_string())
                        .collect();
                }
                describe(admin, &names, Filter::All, output.json)
            }
            Action::Alter { cluster, output, names, partitions } => {
                alter(&mut cluster.admin(), &names.at_least_one()?, *partitions)?.tell("changed", output)
            }
            Action::Delete { cluster, output, names, if_exists } => {
                delete(&mut cluster.admin(), &names.at_least_one()?, *if_exists)?.tell("deleted", output)
            }
        }
    }
}

fn list(admin: &mut Admin, exclude_internal: bool, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        topic: String,
        id: String,
        is_internal: bool,
        partitions: usize,
    }
    let topics = admin.topics(None)?.into_iter().filter(|topic| !(exclude_internal && topic.is_internal));
    if json {
        return print_json(topics.map(|topic| Row {
            topic: topic.name.map_or_else(String::new, |name| name.to_string()),
            id: Uuid(topic.topic_id).to_string(),
            is_internal: topic.is_internal,
            partitions: topic.partitions.len(),
        }));
    }
    topics.filter_map(|topic| topic.name).try_for_each(line)
}

/// How a change of several topics went.
pub(crate) struct Changed {
    names: Vec<String>,
    failures: Vec<Failure>,
}

impl Changed {
    fn of(outcomes: impl Iterator<Item = (String, Result<(), Failure>)>) -> Self {
        let (mut names, mut failures) = (Vec::new(), Vec::new());
        for (name, outcome) in outcomes {
            match outcome {
                Ok(()) => names.push(name),
                Err(failure) => failures.push(failure),
            }
        }
        Self { names, failures }
    }

    /// The names of all, if all succeeded; tells of those that did not.
    pub(crate) fn all(self) -> Result<Vec<String>, Failure> {
        first_of(self.failures)?;
        Ok(self.names)
    }

    /// Tells which topics were created, changed or deleted, and which were not.
    fn tell(self, done: &'static str, output: &OutputArguments) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Row {
            topic: String,
            outcome: &'static str,
        }
        match output.json {
            true => print_json(self.names.into_iter().map(|topic| Row { topic, outcome: done }))?,
            false => self.names.iter().try_for_each(|name| line(format!("{done} {name}")))?,
        }
        first_of(self.failures)
    }
}

fn outcome(name: &str, code: i16, message: Option<&KafkaString>, tolerated: Option<ErrorCode>) -> Result<(), Failure> {
    let code = ErrorCode(code);
    if code.is_none() || Some(code) == tolerated {
        return Ok(());
    }
    Err(Failure::of_topic(name, code, message.map_or("", |text| text.as_str())))
}

/// Creates topics that are like `template`; yields the names of all that are there now.
pub(crate) fn create(
    admin: &mut Admin,
    names: &[String],
    template: &CreatableTopic,
    if_not_exists: bool,
) -> Result<Changed, Failure> {
    let topic = |name: &String| CreatableTopic { name: KafkaString::copied(name), ..template.clone() };
    let request = CreateTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: CHANGE_TIMEOUT_MS,
        validate_only: false,
    };
    let response = admin.call(Destination::Controller, request)?;
    let tolerated = if_not_exists.then_some(ErrorCode::TOPIC_ALREADY_EXISTS);
    Ok(Changed::of(response.topics.iter().map(|topic| {
        (topic.name.to_string(), outcome(&topic.name, topic.error_code, topic.error_message.as_ref(), tolerated))
    })))
}

/// Deletes topics.
pub(crate) fn delete(admin: &mut Admin, names: &[String], if_exists: bool) -> Result<Changed, Failure> {
    let topic =
        |name: &String| DeleteTopicState { name: Some(KafkaString::copied(name)), ..DeleteTopicState::default() };
    // Versions before 6 have a plain list of names.
    let request = DeleteTopicsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: CHANGE_TIMEOUT_MS,
        ..DeleteTopicsRequest::default()
    };
    let response = admin.call(Destination::Controller, request)?;
    let tolerated = if_exists.then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    Ok(Changed::of(response.responses.iter().map(|topic| {
        let name = topic.name.as_ref().map_or(String::new(), ToString::to_string);
        let outcome = outcome(&name, topic.error_code, topic.error_message.as_ref(), tolerated);
        (name, outcome)
    })))
}

/// Gives topics so many partitions in all.
pub(crate) fn alter(admin: &mut Admin, names: &[String], partitions: i32) -> Result<Changed, Failure> {
    let topic =
        |name: &String| CreatePartitionsTopic { name: KafkaString::copied(name), count: partitions, assignments: None };
    let request = CreatePartitionsRequest {
        topics: names.iter().map(topic).collect(),
        timeout_ms: CHANGE_TIMEOUT_MS,
        validate_only: false,
    };
    let response = admin.call(Destination::Controller, request)?;
    Ok(Changed::of(response.results.iter().map(|topic| {
        (topic.name.to_string(), outcome(&topic.name, topic.error_code, topic.error_message.as_ref(), None))
    })))
}
