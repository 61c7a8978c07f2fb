//! kafka-console-consumer.sh.

use clap::{ArgGroup, Parser};
use corelane_core::client::StartOffset;

use super::{Bootstrap, number, properties, unknown_property};
use crate::arguments::parse_pair;
use crate::console_format::ConsoleFormat;
use crate::consume::{Consume, Isolation, parse_offset};
use crate::failure::Failure;
use crate::format::Format;
use corelane_perf::report::wall_clock;

/// Print the records of topics.
#[derive(Debug, Parser)]
#[command(max_term_width = 100, group(ArgGroup::new("topics").required(true).args(["topic", "include"])))]
pub(super) struct ConsoleConsumer {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Topic to read.
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Read the topics that there are now and whose names match a regular expression.
    #[arg(long, value_name = "REGEX", conflicts_with = "partition")]
    include: Option<String>,
    /// Group to read in; one of its own if none is named.
    #[arg(long, value_name = "GROUP", conflicts_with = "partition")]
    group: Option<String>,
    /// Partition to read.
    #[arg(long, value_name = "NUMBER")]
    partition: Option<i32>,
    /// Where to begin in the partition: an offset, earliest or latest.
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset, requires = "partition")]
    offset: Option<StartOffset>,
    /// Begin with the first record there is.
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,
    /// Stop after so many records.
    #[arg(long, value_name = "COUNT")]
    max_messages: Option<u64>,
    /// Stop when no record has come for so long.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// Which records to print.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "read_uncommitted")]
    isolation_level: Isolation,
    /// What to print of a record: print.timestamp, print.partition, print.offset, print.epoch, print.headers, print.key,
    /// print.value, key.separator, headers.separator, line.separator, null.literal.
    #[arg(long, alias = "property", value_name = "NAME=VALUE", value_parser = parse_pair)]
    formatter_property: Vec<(String, String)>,
    /// Properties of the consumer: group.id, group.instance.id, client.id, auto.offset.reset, isolation.level,
    /// session.timeout.ms.
    #[arg(long, alias = "consumer-property", value_name = "NAME=VALUE", value_parser = parse_pair)]
    command_property: Vec<(String, String)>,
}

const PROPERTIES: &[&str] =
    &["group.id", "group.instance.id", "client.id", "auto.offset.reset", "isolation.level", "session.timeout.ms"];

impl ConsoleConsumer {
    /// Prints the records.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut format = ConsoleFormat::default();
        for (name, value) in properties(&self.formatter_property) {
            format.set(name, value).map_err(|why| Failure::new(format!("--formatter-property: {why}")))?;
        }
        let mut consume = Consume::with_format(Format::Console(format));
        consume.topic = self.topic.iter().cloned().collect();
        consume.include.clone_from(&self.include);
        consume.group.clone_from(&self.group);
        consume.partition = self.partition.into_iter().collect();
        consume.offset = self.offset;
        consume.from_beginning = self.from_beginning;
        consume.max_messages = self.max_messages;
        consume.timeout_ms = self.timeout_ms;
        consume.isolation_level = self.isolation_level;
        consume.reports_count = true;
        let option = "--command-property";
        let mut cluster = self.bootstrap.cluster()?;
        for (name, value) in properties(&self.command_property) {
            let one_of = |names: &str| Failure::new(format!("{option}: {name}={value}: it is one of {names}"));
            match (name, value) {
                ("group.id", group) if consume.partition.is_empty() => consume.group = Some(group.to_owned()),
                ("group.id", _) => {}
                ("group.instance.id", name) => consume.group_instance_id = Some(name.to_owned()),
                ("client.id", name) => cluster = cluster.client_id(name.to_owned()),
                ("session.timeout.ms", _) => consume.session_timeout_ms = number(option, name, value)?,
                ("auto.offset.reset", "earliest") => consume.from_beginning = consume.offset.is_none(),
                ("auto.offset.reset", "latest") => consume.from_beginning = self.from_beginning,
                ("auto.offset.reset", _) => return Err(one_of("earliest, latest")),
                ("isolation.level", "read_committed") => consume.isolation_level = Isolation::ReadCommitted,
                ("isolation.level", "read_uncommitted") => consume.isolation_level = Isolation::ReadUncommitted,
                ("isolation.level", _) => return Err(one_of("read_uncommitted, read_committed")),
                _ => return Err(unknown_property(option, name, PROPERTIES)),
            }
        }
        consume.cluster = cluster;
        if consume.group.is_none() && consume.group_instance_id.is_some() {
            // As with Kafka's tool, which makes up a group for each run.
            consume.group = Some(format!("console-consumer-{}", wall_clock().0 % 100_000));
        }
        consume.run()
    }
}
