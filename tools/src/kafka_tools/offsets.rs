//! kafka-get-offsets.sh and kafka-delete-records.sh.

use std::path::PathBuf;

use clap::Parser;

use super::Bootstrap;
use crate::admin::TopicPartition;
use crate::failure::Failure;
use crate::name_pattern::NamePattern;
use crate::offsets::Query;
use crate::records;

/// Print where partitions begin and end, and where a time is in them.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct GetOffsets {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// A regular expression for topics; all of them by default.
    #[arg(long, value_name = "PATTERN", conflicts_with = "topic_partitions")]
    topic: Option<String>,
    /// Topics and their partitions, as a:0,b:1-3,c:5-: numbers, or ranges whose end is left out.
    #[arg(long, value_name = "LIST", conflicts_with = "partitions")]
    topic_partitions: Option<String>,
    #[command(flatten)]
    query: Query,
}

impl GetOffsets {
    /// Prints them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let filters = match (&self.topic_partitions, &self.topic) {
            (Some(list), _) => list.split(',').map(PartitionFilter::parse).collect::<Result<Vec<_>, _>>()?,
            (None, Some(topic)) => {
                vec![PartitionFilter { topic: Some(NamePattern::of_list(topic)?), from: 0, below: i32::MAX }]
            }
            (None, None) => vec![PartitionFilter { topic: None, from: 0, below: i32::MAX }],
        };
        let admin = &mut self.bootstrap.admin()?;
        let topics = admin.topics(None)?;
        self.query.print(admin, &topics, |at| filters.iter().any(|filter| filter.matches(at)), false)
    }
}

struct PartitionFilter {
    topic: Option<NamePattern>,
    from: i32,
    below: i32,
}

impl PartitionFilter {
    /// `topic`, `topic:3`, `topic:3-5` (without 5), `topic:3-`, `topic:-5`, or the same without a topic.
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::new(format!("--topic-partitions: `{text}` is not like topic:0, topic:1-3 or topic:5-"));
        let (topic, range) = text.split_once(':').unwrap_or((text, ""));
        let topic = if topic.is_empty() { None } else { Some(NamePattern::of_list(topic)?) };
        let bound =
            |text: &str, default: i32| if text.is_empty() { Ok(default) } else { text.parse().map_err(|_| wrong()) };
        let (from, below) = match range.split_once('-') {
            Some((from, below)) => (bound(from, 0)?, bound(below, i32::MAX)?),
            None if range.is_empty() => (0, i32::MAX),
            None => {
                let number = bound(range, 0)?;
                (number, number.saturating_add(1))
            }
        };
        Ok(Self { topic, from, below })
    }

    fn matches(&self, at: &TopicPartition) -> bool {
        self.topic.as_ref().is_none_or(|topic| topic.matches(&at.topic))
            && (self.from..self.below).contains(&at.partition)
    }
}

/// Delete the records before offsets.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct DeleteRecords {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// {"partitions": [{"topic": "orders", "partition": 0, "offset": 5}], "version": 1}
    #[arg(long, value_name = "FILE")]
    offset_json_file: PathBuf,
}

impl DeleteRecords {
    /// Deletes them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let wanted = records::parse_file(&self.offset_json_file)?;
        records::report(&records::delete(&mut self.bootstrap.admin()?, &wanted)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_before_their_second_number() {
        let matches = |text: &str, topic: &str, partition: i32| {
            PartitionFilter::parse(text).unwrap().matches(&TopicPartition::new(topic, partition))
        };
        assert!(matches("a", "a", 7) && !matches("a", "b", 7));
        assert!(matches("a:1-3", "a", 2) && !matches("a:1-3", "a", 3) && !matches("a:1-3", "a", 0));
        assert!(matches("a:5-", "a", 9) && matches("a:-2", "a", 1) && matches(":4", "x", 4) && !matches(":4", "x", 5));
        assert!(PartitionFilter::parse("a:x").is_err());
    }
}
