//! `corelane consume`: prints the records of a topic, by itself or as a member of a group.

mod group;
mod interrupt;

use std::io::{BufWriter, Write};

use clap::{ArgGroup, Args, ValueEnum};
use corelane_core::base::{Offset, PartitionIndex, Timestamp};
use corelane_core::client::{Consumer, ConsumerOptions, FetchedBatch, IsolationLevel, StartOffset, TopicMetadata};

use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::format::{Format, PlacedRecord};
use crate::name_pattern::included_topics;
use crate::output::note;
use corelane_perf::driver::Driver;

/// Bytes that are collected before they are written while more records are at hand.
const OUTPUT_BYTES: usize = 256 * 1024;

/// Arguments of `corelane consume`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("topics").required(true).args(["topic", "include"])))]
pub(crate) struct Consume {
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// Topic to read, or several, separated by commas.
    #[arg(long, short = 't', value_name = "TOPIC", value_delimiter = ',')]
    pub(crate) topic: Vec<String>,
    /// Read the topics that there are now and whose names match a regular expression.
    #[arg(long, value_name = "REGEX", conflicts_with = "partition")]
    pub(crate) include: Option<String>,
    /// Read as a member of this group: it shares the partitions with the other members, begins where the group has got to,
    /// and commits what it has printed.
    #[arg(long, short = 'g', value_name = "GROUP", conflicts_with_all = ["partition", "offset", "timestamp"])]
    pub(crate) group: Option<String>,
    /// Name in the group that outlives a restart: a member that comes back in time keeps its partitions.
    #[arg(long, value_name = "NAME", requires = "group")]
    pub(crate) group_instance_id: Option<String>,
    /// Milliseconds without a sign of life after which the group shares out this member's partitions.
    #[arg(long, value_name = "MS", default_value_t = 45_000, requires = "group")]
    pub(crate) session_timeout_ms: u32,
    /// Partition to read; may be given several times. All of them by default.
    #[arg(long, short = 'p', value_name = "NUMBER", value_delimiter = ',')]
    pub(crate) partition: Vec<i32>,
    /// Begin with the first record there is. The default is to print what comes from now on. In a group it is for
    /// partitions in which the group has committed nothing.
    #[arg(long, conflicts_with_all = ["offset", "timestamp"])]
    pub(crate) from_beginning: bool,
    /// Begin here: an offset, `earliest`, `latest`, or -N for the last N records of each partition.
    #[arg(
        long,
        short = 'o',
        value_name = "OFFSET",
        value_parser = parse_offset,
        allow_hyphen_values = true,
        conflicts_with = "timestamp"
    )]
    pub(crate) offset: Option<StartOffset>,
    /// Begin with the first record of this time or later, in milliseconds since 1970 UTC.
    #[arg(long, value_name = "MS")]
    pub(crate) timestamp: Option<i64>,
    /// Stop after so many records.
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(crate) max_messages: Option<u64>,
    /// Stop at the end of the partitions instead of waiting for more.
    #[arg(long, short = 'e')]
    pub(crate) exit: bool,
    /// Wait for more at the end of the partitions. This is the default.
    #[arg(long, conflicts_with = "exit")]
    pub(crate) follow: bool,
    /// Stop when no record has come for so long.
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u64>,
    /// What to print for each record: %t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %s
    /// value, %S its length, %h headers, and \n \t \r \0 \\ \xHH.
    #[arg(
        long,
        short = 'f',
        value_name = "PATTERN",
        default_value = "%s\\n",
        value_parser = Format::parse,
        conflicts_with = "json"
    )]
    pub(crate) format: Format,
    /// Print each record as a JSON object on a line of its own.
    #[arg(long, short = 'J')]
    pub(crate) json: bool,
    /// Which records to print.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "read_uncommitted")]
    pub(crate) isolation_level: Isolation,
    /// Say in the end how many records were printed, as Kafka's console consumer does.
    #[arg(skip)]
    pub(crate) reports_count: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Isolation {
    /// All of them.
    ReadUncommitted,
    /// Not those of transactions that are open or were aborted.
    ReadCommitted,
}

pub(crate) fn parse_offset(text: &str) -> Result<StartOffset, String> {
    match text {
        "earliest" | "beginning" => return Ok(StartOffset::Earliest),
        "latest" | "end" => return Ok(StartOffset::Latest),
        _ => {}
    }
    match text.parse::<i64>() {
        Ok(offset) if offset >= 0 => Ok(StartOffset::At(Offset(offset))),
        Ok(before_end) => Ok(StartOffset::BeforeEnd(before_end.saturating_neg())),
        Err(_) => Err("it is neither a number nor earliest or latest".to_owned()),
    }
}

impl Consume {
    /// All of what is named later from now on, with the defaults of the flags.
    pub(crate) fn with_format(format: Format) -> Self {
        Self {
            cluster: ClusterArguments::of(Vec::new()),
            topic: Vec::new(),
            include: None,
            group: None,
            group_instance_id: None,
            session_timeout_ms: 45_000,
            partition: Vec::new(),
            from_beginning: false,
            offset: None,
            timestamp: None,
            max_messages: None,
            exit: false,
            follow: false,
            timeout_ms: None,
            format,
            json: false,
            isolation_level: Isolation::ReadUncommitted,
            reports_count: false,
        }
    }

    /// Prints records until enough have come.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut driver = self.cluster.driver(false);
        let names = match &self.include {
            Some(include) => included_topics(include, self.cluster.driver(false))?,
            None => self.topic.iter().cloned().collect(),
        };
        if names.len() > 1 && !self.partition.is_empty() {
            return Err(Failure::new("--partition is of one topic, and several were named"));
        }
        let topics = names.iter().map(|name| wait_for_topic(&mut driver, name)).collect::<Result<Vec<_>, _>>()?;
        let mut printed = 0;
        let outcome = match &self.group {
            Some(group) => group::read(self, group, names, &mut driver, &mut printed),
            None => self.read(&topics, &mut driver, &mut printed),
        };
        if self.reports_count {
            note(format!("Processed a total of {printed} messages"));
        }
        outcome
    }

    /// Reads all partitions that are wanted, from where it was told.
    fn read(&self, topics: &[TopicMetadata], driver: &mut Driver, printed: &mut u64) -> Result<(), Failure> {
        let mut consumer = self.consumer(topics);
        let mut out = BufWriter::with_capacity(OUTPUT_BYTES, std::io::stdout().lock());
        let mut last_record = driver.now();
        while self.max_messages.is_none_or(|max| *printed < max) {
            let now = driver.now();
            consumer.advance(now, &mut driver.client);
            while let Some((id, result)) = driver.poll_answer() {
                // Answers that are not the consumer's are the client's own and were taken already.
                let _ = consumer.handle_answer(now, &mut driver.client, id, result);
            }
            if let Some((topic, partition, error)) = consumer.poll_error() {
                out.flush()?;
                return Err(Failure::new(format!("topic {topic}, partition {partition}: {error}")));
            }
            if let Some(batch) = consumer.poll_batch() {
                last_record = now;
                self.print(&mut out, &batch, printed)?;
                continue;
            }
            out.flush()?;
            if self.exit && consumer.is_at_end() {
                break;
            }
            let gives_up = self.timeout_ms.map(|ms| last_record.plus_ms(ms));
            if gives_up.is_some_and(|at| at <= now) {
                break;
            }
            consumer.advance(now, &mut driver.client);
            let wake = [consumer.poll_timeout(now), gives_up].into_iter().flatten().min();
            driver.turn(wake);
        }
        out.flush()?;
        Ok(())
    }

    /// Prints the records of a batch, up to as many as are wanted; yields the offset to go on from.
    fn print(&self, out: &mut impl Write, batch: &FetchedBatch, printed: &mut u64) -> Result<Offset, Failure> {
        let format = if self.json { &Format::Json } else { &self.format };
        let timestamp_type = batch.batch.header().attributes().timestamp_type();
        for (offset, timestamp, record) in batch.records() {
            if self.max_messages.is_some_and(|max| *printed >= max) {
                return Ok(offset);
            }
            let (topic, partition, record) = (&*batch.topic, batch.partition, &record);
            let epoch = batch.batch.header().leader_epoch();
            let placed = PlacedRecord { topic, partition, offset, timestamp, timestamp_type, epoch, record };
            format.print(out, &placed)?;
            *printed += 1;
        }
        Ok(batch.batch.header().last_offset().plus(1))
    }

    fn isolation(&self) -> IsolationLevel {
        match self.isolation_level {
            Isolation::ReadUncommitted => IsolationLevel::ReadUncommitted,
            Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
        }
    }

    fn consumer(&self, topics: &[TopicMetadata]) -> Consumer {
        let start = match (self.from_beginning, self.offset, self.timestamp) {
            (true, _, _) => StartOffset::Earliest,
            (_, Some(offset), _) => offset,
            (_, _, Some(timestamp)) => StartOffset::Time(Timestamp(timestamp)),
            _ => StartOffset::Latest,
        };
        let isolation = self.isolation();
        // An offset that was asked for by number and is not there must not become another one in silence.
        let reset = (!matches!(start, StartOffset::At(_))).then_some(StartOffset::Earliest);
        let mut consumer = Consumer::new(ConsumerOptions { isolation, reset, ..ConsumerOptions::default() });
        for topic in topics {
            if self.partition.is_empty() {
                topic.partitions.iter().for_each(|partition| consumer.assign(&topic.name, partition.index, start));
            } else {
                self.partition.iter().for_each(|index| consumer.assign(&topic.name, PartitionIndex(*index), start));
            }
        }
        consumer
    }
}

/// What the cluster knows of a topic, once it answers.
pub(crate) fn wait_for_topic(driver: &mut Driver, name: &str) -> Result<TopicMetadata, Failure> {
    driver.client.want_topic(name);
    loop {
        driver.turn(None);
        while driver.poll_answer().is_some() {}
        if let Some(error) = driver.client.metadata_failure() {
            return Err(error.clone().into());
        }
        match driver.client.cluster().topic(name) {
            Some(Ok(topic)) => return Ok(topic.clone()),
            Some(Err(code)) => return Err(Failure::of_topic(name, *code, "")),
            None => {}
        }
    }
}
