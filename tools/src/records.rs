//! `corelane records`: deletes what is before an offset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::DeleteRecordsRequest;
use corelane_core::protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use serde::{Deserialize, Serialize};

use crate::admin::{Admin, CHANGE_TIMEOUT_MS, TopicPartition, by_topic};
use crate::arguments::ClusterArguments;
use crate::failure::{Failure, first_of};
use crate::output::{OutputArguments, line, print_json};

/// Arguments of `corelane records`.
#[derive(Args, Debug)]
pub(crate) struct Records {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Delete the records before an offset. They do not come back.
    Delete {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// The topic.
        #[arg(
            long,
            short = 't',
            value_name = "TOPIC",
            requires = "offset",
            required_unless_present = "offset_json_file"
        )]
        topic: Option<String>,
        /// The partition.
        #[arg(long, short = 'p', value_name = "NUMBER", default_value_t = 0, requires = "topic")]
        partition: i32,
        /// The first record that stays; -1 deletes all there are.
        #[arg(long, short = 'o', value_name = "OFFSET", allow_negative_numbers = true, requires = "topic")]
        offset: Option<i64>,
        /// Several partitions: {"partitions": [{"topic": "orders", "partition": 0, "offset": 5}], "version": 1}.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["topic", "offset"])]
        offset_json_file: Option<PathBuf>,
    },
}

impl Records {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Action::Delete { cluster, output, topic, partition, offset, offset_json_file } = &self.action;
        let wanted = match (topic, offset, offset_json_file) {
            (_, _, Some(file)) => parse_file(file)?,
            (Some(topic), Some(offset), _) => BTreeMap::from([(TopicPartition::new(topic, *partition), *offset)]),
            _ => return Err(Failure::new("say what: --topic and --offset, or --offset-json-file")),
        };
        let outcomes = delete(&mut cluster.admin(), &wanted)?;
        match output.json {
            true => report_json(&outcomes),
            false => report(&outcomes),
        }
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    version: Option<i64>,
    partitions: Vec<FilePartition>,
}

#[derive(Deserialize)]
struct FilePartition {
    topic: String,
    partition: i32,
    offset: i64,
}

/// Reads what is to be deleted from a file as kafka-delete-records.sh has it.
pub(crate) fn parse_file(path: &std::path::Path) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let named = |failure: Failure| failure.during(&path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|error| named(error.into()))?;
    let file: File = serde_json::from_str(&text).map_err(|error| {
        let example = r#"{"partitions": [{"topic": "orders", "partition": 0, "offset": 5}], "version": 1}"#;
        named(Failure::new(error.to_string())).remedy(format!("It is to look like {example}"))
    })?;
    if let Some(version) = file.version.filter(|version| *version != 1) {
        return Err(named(Failure::new(format!("version {version} is not known, only 1 is"))));
    }
    let mut wanted = BTreeMap::new();
    for FilePartition { topic, partition, offset } in file.partitions {
        let at = TopicPartition { topic, partition };
        if wanted.contains_key(&at) {
            return Err(named(Failure::new(format!("{at} is listed twice"))));
        }
        wanted.insert(at, offset);
    }
    Ok(wanted)
}

/// Asks each leader; yields where each log begins now.
pub(crate) fn delete(
    admin: &mut Admin,
    wanted: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, Result<i64, ErrorCode>>, Failure> {
    let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
    let (led, leaderless) = admin.by_leader(&partitions)?;
    let mut outcomes: BTreeMap<TopicPartition, Result<i64, ErrorCode>> =
        leaderless.into_iter().map(|(at, code)| (at, Err(code))).collect();
    for (node, partitions) in led {
        let offset = |at: &TopicPartition| wanted.get(at).copied().unwrap_or(0);
        let topic = |(name, partitions): (&str, Vec<(i32, i64)>)| DeleteRecordsTopic {
            name: KafkaString::copied(name),
            partitions: partitions
                .into_iter()
                .map(|(partition_index, offset)| DeleteRecordsPartition { partition_index, offset })
                .collect(),
        };
        let topics = by_topic(partitions.iter().map(|at| (at, offset(at)))).into_iter().map(topic).collect();
        let request = DeleteRecordsRequest { topics, timeout_ms: CHANGE_TIMEOUT_MS };
        for topic in admin.call(Destination::Node(node), request)?.topics {
            for part in topic.partitions {
                let code = ErrorCode(part.error_code);
                let outcome = if code.is_none() { Ok(part.low_watermark) } else { Err(code) };
                outcomes.insert(TopicPartition::new(&topic.name, part.partition_index), outcome);
            }
        }
    }
    Ok(outcomes)
}

/// Tells how that went, in the words of kafka-delete-records.sh.
pub(crate) fn report(outcomes: &BTreeMap<TopicPartition, Result<i64, ErrorCode>>) -> Result<(), Failure> {
    line("Executing records delete operation")?;
    line("Records delete operation completed:")?;
    let mut failures = Vec::new();
    for (at, outcome) in outcomes {
        match outcome {
            Ok(low_watermark) => line(format!("partition: {at}\tlow_watermark: {low_watermark}"))?,
            Err(code) => {
                line(format!("partition: {at}\terror: {}", code.message()))?;
                let failure = Failure::of_topic(&at.topic, *code, "").during(&at.to_string());
                failures.push(match *code {
                    ErrorCode::OFFSET_OUT_OF_RANGE => {
                        failure.remedy(format!("`corelane offsets {}` prints where it ends.", at.topic))
                    }
                    _ => failure,
                });
            }
        }
    }
    first_of(failures)
}

fn report_json(outcomes: &BTreeMap<TopicPartition, Result<i64, ErrorCode>>) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row<'a> {
        topic: &'a str,
        partition: i32,
        low_watermark: Option<i64>,
        error: Option<&'static str>,
    }
    print_json(outcomes.iter().map(|(at, outcome)| Row {
        topic: &at.topic,
        partition: at.partition,
        low_watermark: outcome.ok(),
        error: outcome.err().map(|code| code.name()),
    }))?;
    first_of(
        outcomes
            .iter()
            .filter_map(|(at, outcome)| outcome.err().map(|code| Failure::of_topic(&at.topic, code, "")))
            .collect(),
    )
}
