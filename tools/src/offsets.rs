//! `corelane offsets`: where partitions begin and end, and where a time is in them.

use std::collections::BTreeMap;

use clap::Args;

use crate::admin::{Admin, TopicPartition};
use crate::arguments::ClusterArguments;
use crate::failure::{Failure, first_of};
use crate::output::{OutputArguments, line, print_json};
use corelane_core::protocol::messages::metadata_response::MetadataResponseTopic;
use serde::Serialize;

/// Special times, by name.
const TIMES: &[(&str, i64)] = &[
    ("latest", -1),
    ("earliest", -2),
    ("max-timestamp", -3),
    ("earliest-local", -4),
    ("latest-tiered", -5),
    ("earliest-pending-upload", -6),
];

/// Arguments of `corelane offsets`.
#[derive(Args, Debug)]
pub(crate) struct Offsets {
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Topics; all of them if none is named.
    #[arg(value_name = "TOPIC")]
    plain: Vec<String>,
    /// The same as naming the topic plainly.
    #[arg(long = "topic", short = 't', value_name = "TOPIC")]
    flagged: Vec<String>,
    #[command(flatten)]
    query: Query,
}

/// Which partitions, and where in them; the same words as kafka-get-offsets.sh has.
#[derive(Args, Debug)]
pub(crate) struct Query {
    /// Only these partitions.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// Where: latest, earliest, max-timestamp, or a time in milliseconds since 1970 UTC.
    #[arg(long, value_name = "TIME", default_value = "latest", value_parser = parse_time, allow_hyphen_values = true)]
    time: i64,
    /// Leave out the topics that brokers use for themselves.
    #[arg(long)]
    exclude_internal_topics: bool,
}

/// A time by name or number.
fn parse_time(text: &str) -> Result<i64, String> {
    if let Some((_, time)) = TIMES.iter().find(|(name, _)| *name == text) {
        return Ok(*time);
    }
    match text.parse() {
        Ok(time) if time >= -6 => Ok(time),
        _ => {
            let names: Vec<&str> = TIMES.iter().map(|(name, _)| *name).collect();
            Err(format!("it is neither milliseconds since 1970 nor one of {}", names.join(", ")))
        }
    }
}

impl Offsets {
    /// Prints them.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let admin = &mut self.cluster.admin();
        let names: Vec<String> = self.plain.iter().chain(&self.flagged).cloned().collect();
        let topics = admin.topics((!names.is_empty()).then_some(&names))?;
        if let Some(topic) = topics.iter().find(|topic| topic.error_code != 0) {
            let code = corelane_core::client::ErrorCode(topic.error_code);
            return Err(Failure::of_topic(topic.name.as_deref().unwrap_or_default(), code, ""));
        }
        self.query.print(admin, &topics, |_| true, self.output.json)
    }
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    offset: Option<i64>,
    timestamp: Option<i64>,
    error: Option<&'static str>,
}

impl Query {
    /// Prints the offset of each partition of these topics that is wanted; a lack of any is a failure.
    pub(crate) fn print(
        &self,
        admin: &mut Admin,
        topics: &[MetadataResponseTopic],
        is_wanted: impl Fn(&TopicPartition) -> bool,
        json: bool,
    ) -> Result<(), Failure> {
        let mut wanted = BTreeMap::new();
        for topic in topics.iter().filter(|topic| !(self.exclude_internal_topics && topic.is_internal)) {
            for partition in &topic.partitions {
                let at = TopicPartition::new(topic.name.as_deref().unwrap_or_default(), partition.partition_index);
                if is_wanted(&at) && (self.partitions.is_empty() || self.partitions.contains(&at.partition)) {
                    wanted.insert(at, self.time);
                }
            }
        }
        if wanted.is_empty() {
            return Err(Failure::new("no partition is what was asked for")
                .remedy("`corelane topics describe` prints topics and their partitions."));
        }
        let found = admin.list_offsets(&wanted)?;
        if json {
            return print_json(found.iter().map(|(at, found)| Row {
                topic: &at.topic,
                partition: at.partition,
                offset: found.ok().and_then(|found| found.offset).map(|offset| offset.0),
                timestamp: found.ok().map(|found| found.timestamp.0).filter(|timestamp| *timestamp >= 0),
                error: found.err().map(|code| code.name()),
            }));
        }
        let mut failures = Vec::new();
        for (TopicPartition { topic, partition }, found) in found {
            match found {
                // Where no record is that young there is nothing to print, as in Kafka's tool.
                Ok(found) => {
                    if let Some(offset) = found.offset {
                        line(format!("{topic}:{partition}:{offset}"))?;
                    }
                }
                Err(code) => failures.push(Failure::of_topic(&topic, code, "").during(&format!("{topic}-{partition}"))),
            }
        }
        first_of(failures)
    }
}
