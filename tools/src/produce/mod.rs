//! `corelane produce`: sends lines of the standard input or of files as records.

mod input;
mod syntax;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::TryRecvError;

use clap::{Args, ValueEnum};
use corelane_core::base::{PartitionIndex, Timestamp};
use corelane_core::client::{Acks, AppendError, Delivery, DeliveryError, Producer, ProducerOptions, RecordToSend};
use corelane_core::record::{Codec, Compression, Header};

use crate::arguments::{ClusterArguments, parse_pair};
use crate::failure::Failure;
use corelane_perf::driver::Driver;
use corelane_perf::report::wall_clock;

pub(crate) use syntax::{HeaderSyntax, LineSyntax};

use input::{Source, read_lines};

/// Milliseconds that a topic which is not there has to appear: a broker may create it by itself when it is named.
const TOPIC_APPEARS_MS: u64 = 5_000;

/// Arguments of `corelane produce`.
#[derive(Args, Debug)]
pub(crate) struct Produce {
    #[command(flatten)]
    pub(crate) cluster: ClusterArguments,
    /// Files whose lines are sent, one after the other; the standard input by default, and for `-`.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Send each file as one record, and the standard input too.
    #[arg(long, short = 'w')]
    pub(crate) whole_file: bool,
    /// Topic to write to. The broker may create it.
    #[arg(long, short = 't', value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Partition to write to; by default the one that the key says, or any.
    #[arg(long, short = 'p', value_name = "NUMBER")]
    pub(crate) partition: Option<i32>,
    #[command(flatten)]
    pub(crate) syntax: LineSyntax,
    /// A header of every record; may be given several times.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) header: Vec<(String, String)>,
    /// Time of every record, in milliseconds since 1970 UTC; by default when its line was read.
    #[arg(long, value_name = "MS")]
    pub(crate) timestamp: Option<i64>,
    /// Codec of the batches.
    #[arg(long, short = 'z', alias = "compression-codec", value_enum, value_name = "CODEC", default_value = "none")]
    pub(crate) codec: CodecName,
    /// Level of the codec; its own default if not given.
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    pub(crate) codec_level: Option<i32>,
    /// Whose word to wait for: nobody's (0), the leader's (1) or that of all replicas in sync.
    #[arg(long, alias = "request-required-acks", value_name = "0|1|all", default_value = "all", value_parser = parse_acks, allow_hyphen_values = true)]
    pub(crate) acks: Acks,
    /// Milliseconds that a batch waits for more lines.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    pub(crate) linger_ms: u64,
    /// Bytes of a batch, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    pub(crate) batch_size: usize,
    /// Milliseconds after which a record that could not be delivered counts as failed.
    #[arg(long, value_name = "MS", default_value_t = 120_000)]
    pub(crate) delivery_timeout_ms: u64,
    /// Print partition and offset of each record once it is acknowledged.
    #[arg(long)]
    pub(crate) print_offsets: bool,
    /// Send the next line when the last one is acknowledged.
    #[arg(skip)]
    pub(crate) in_turn: bool,
    /// Whether sequence numbers keep repeated batches out; by default where `acks` allows it.
    #[arg(skip)]
    pub(crate) is_idempotent: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CodecName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CodecName {
    pub(crate) const fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

pub(crate) fn parse_acks(text: &str) -> Result<Acks, String> {
    match text {
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        "all" | "-1" => Ok(Acks::All),
        _ => Err("it is one of 0, 1 and all".to_owned()),
    }
}

impl Produce {
    /// Sends every line, and waits for the broker's word on all of them.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // A file that cannot be read is told before anything is sent.
        self.sources().iter().try_for_each(Source::check)?;
        let mut driver = self.cluster.driver(true);
        self.wait_for_topic(&mut driver)?;
        let lines = read_lines(driver.waker(), self.sources(), self.whole_file);
        let mut run =
            Run { produce: self, producer: Producer::new(self.options()), appended: 0, lines_of: BTreeMap::new() };
        let mut waiting: std::vec::IntoIter<Vec<u8>> = Vec::new().into_iter();
        let mut held: Option<Vec<u8>> = None;
        let mut is_read = false;
        loop {
            let now = driver.now();
            // Takes lines until there is none or the producer is full.
            while !(self.in_turn && held.is_none() && !run.producer.is_idle()) {
                let line = match held.take().or_else(|| waiting.next()) {
                    Some(line) => line,
                    None if is_read => break,
                    None => match lines.try_recv() {
                        Ok(chunk) => {
                            waiting = chunk?.into_iter();
                            continue;
                        }
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            is_read = true;
                            run.producer.flush();
                            break;
                        }
                    },
                };
                if !run.append(&mut driver, &line)? {
                    held = Some(line);
                    break;
                }
            }
            let waits_its_turn = self.in_turn && !run.producer.is_idle();
            run.producer.advance(now, &mut driver.client);
            while let Some((id, result)) = driver.poll_answer() {
                let _ = run.producer.handle_answer(driver.now(), &mut driver.client, id, result);
            }
            while let Some(delivery) = run.producer.poll_delivery() {
                run.report(delivery)?;
            }
            if is_read && held.is_none() && run.producer.is_idle() {
                return if self.acks == Acks::None { self.wait_until_taken(&mut driver) } else { Ok(()) };
            }
            if waits_its_turn && run.producer.is_idle() {
                continue;
            }
            run.producer.advance(driver.now(), &mut driver.client);
            let wake = run.producer.poll_timeout(driver.now());
            driver.turn(wake);
        }
    }

    /// Lines of the standard input for this topic, with the defaults of the flags.
    pub(crate) fn to_topic(topic: &str) -> Self {
        Self {
            cluster: ClusterArguments::of(Vec::new()),
            files: Vec::new(),
            whole_file: false,
            topic: topic.to_owned(),
            partition: None,
            syntax: LineSyntax::default(),
            header: Vec::new(),
            timestamp: None,
            codec: CodecName::None,
            codec_level: None,
            acks: Acks::All,
            linger_ms: 5,
            batch_size: 65_536,
            delivery_timeout_ms: 120_000,
            print_offsets: false,
            in_turn: false,
            is_idempotent: None,
        }
    }

    fn wait_until_taken(&self, driver: &mut Driver) -> Result<(), Failure> {
        let taken = driver.wait_until_taken(std::slice::from_ref(&self.topic));
        taken.map_err(|error| Failure::from(error).during("the broker may not have taken the last records"))
    }

    fn sources(&self) -> Vec<Source> {
        match &self.files[..] {
            [] => vec![Source::StandardInput],
            files => files.iter().map(|file| Source::of(file)).collect(),
        }
    }

    fn options(&self) -> ProducerOptions {
        ProducerOptions {
            acks: self.acks,
            compression: Compression { codec: self.codec.codec(), level: self.codec_level },
            linger_ms: self.linger_ms,
            batch_bytes_max: self.batch_size,
            delivery_timeout_ms: self.delivery_timeout_ms,
            is_idempotent: self.is_idempotent.unwrap_or(self.acks == Acks::All),
            ..ProducerOptions::default()
        }
    }

    /// Waits until the topic can be written to, so that a wrong address or name is told at once.
    fn wait_for_topic(&self, driver: &mut Driver) -> Result<(), Failure> {
        driver.client.want_topic(&self.topic);
        let deadline = driver.now().plus_ms(TOPIC_APPEARS_MS);
        loop {
            driver.turn(Some(deadline));
            while driver.poll_answer().is_some() {}
            if let Some(error) = driver.client.metadata_failure() {
                return Err(error.clone().into());
            }
            match driver.client.cluster().topic(&self.topic) {
                Some(Ok(_)) => return Ok(()),
                Some(Err(code)) if !code.is_retriable() || driver.now() >= deadline => {
                    return Err(Failure::of_topic(&self.topic, *code, ""));
                }
                _ => {}
            }
        }
    }
}

struct Run<'a> {
    produce: &'a Produce,
    producer: Producer,
    /// Lines that were taken.
    appended: u64,
    /// Number of the line that each record came from, counted from 1.
    lines_of: BTreeMap<u64, u64>,
}

impl Run<'_> {
    /// Takes a line; false if there is no room for it now.
    fn append(&mut self, driver: &mut Driver, line: &[u8]) -> Result<bool, Failure> {
        let Produce { topic, partition, header, timestamp, syntax, .. } = self.produce;
        let number = self.appended + 1;
        let parsed = syntax.parse(line).map_err(|why| Failure::new(format!("line {number}: {why}")))?;
        let mut headers: Vec<Header<'_>> =
            header.iter().map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) }).collect();
        headers.extend(parsed.headers.iter().map(|(key, value)| Header { key, value: *value }));
        let record = RecordToSend {
            timestamp: timestamp.map_or_else(wall_clock, Timestamp),
            key: parsed.key,
            value: parsed.value,
            headers: &headers,
        };
        let now = driver.now();
        // Any bits do for spreading records without keys over partitions.
        let random = u32::try_from(now.0 >> 10 & 0xffff_ffff).unwrap_or_default();
        match self.producer.append(now, &driver.client, topic, partition.map(PartitionIndex), &record, random) {
            Ok(id) => {
                self.appended = number;
                self.lines_of.insert(id.0, number);
                Ok(true)
            }
            Err(AppendError::BufferFull | AppendError::TopicUnknown) => Ok(false),
            Err(AppendError::Topic(code)) if code.is_retriable() => Ok(false),
            Err(error) => Err(Failure::new(format!("line {number}: {error}"))),
        }
    }

    fn report(&mut self, delivery: Delivery) -> Result<(), Failure> {
        let lines: Vec<u64> = delivery.records.iter().filter_map(|id| self.lines_of.remove(&id.0)).collect();
        let base = match delivery.result {
            Ok(base) => base,
            Err(error) => return Err(self.refused(&lines, delivery.partition, &error)),
        };
        if self.produce.print_offsets {
            let mut out = io::stdout().lock();
            for (index, _) in (0..).zip(&lines) {
                let offset = if base.0 < 0 { base } else { base.plus(index) };
                writeln!(out, "{}\t{offset}", delivery.partition)?;
            }
            out.flush()?;
        }
        Ok(())
    }

    fn refused(&self, lines: &[u64], partition: PartitionIndex, error: &DeliveryError) -> Failure {
        let which = match lines {
            [] => "records".to_owned(),
            [line] => format!("line {line}"),
            [first, .., last] => format!("{} lines from {first} to {last}", lines.len()),
        };
        Failure::new(format!("{which} for topic {}, partition {partition}: {error}", self.produce.topic))
    }
}
