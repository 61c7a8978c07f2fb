//! `corelane produce`: sends lines of the standard input as records.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use corelane_core::base::{PartitionIndex, Timestamp};
use corelane_core::client::{Acks, AppendError, Delivery, DeliveryError, Producer, ProducerOptions, RecordToSend};
use corelane_core::record::{Codec, Compression, Header};

use crate::arguments::{ClusterArguments, parse_pair};
use crate::failure::Failure;
use corelane_perf::driver::{Driver, Waker};

/// Lines that are read ahead at once, and how many times that.
const LINES_MAX: usize = 512;
const CHUNKS_MAX: usize = 8;
/// Bytes that are read from the standard input at once.
const INPUT_BYTES: usize = 64 * 1024;
/// Milliseconds that a topic which is not there has to appear: a broker may create it by itself when it is named.
const TOPIC_APPEARS_MS: u64 = 5_000;

/// Arguments of `corelane produce`.
#[derive(Args, Debug)]
pub(crate) struct Produce {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Topic to write to. The broker may create it.
    #[arg(long, short = 't', value_name = "TOPIC")]
    topic: String,
    /// Partition to write to; by default the one that the key says, or any.
    #[arg(long, short = 'p', value_name = "NUMBER")]
    partition: Option<i32>,
    /// What parts key and value in a line; a line without it has no key. By default lines have no keys.
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of every record; may be given several times.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = parse_pair)]
    header: Vec<(String, String)>,
    /// A key or value that is this text is null.
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// Time of every record, in milliseconds since 1970 UTC; by default when its line was read.
    #[arg(long, value_name = "MS")]
    timestamp: Option<i64>,
    /// Codec of the batches.
    #[arg(long, short = 'z', alias = "compression-codec", value_enum, value_name = "CODEC", default_value = "none")]
    codec: CodecName,
    /// Level of the codec; its own default if not given.
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    codec_level: Option<i32>,
    /// Whose word to wait for: nobody's (0), the leader's (1) or that of all replicas in sync.
    #[arg(long, alias = "request-required-acks", value_name = "0|1|all", default_value = "all", value_parser = parse_acks, allow_hyphen_values = true)]
    acks: Acks,
    /// Milliseconds that a batch waits for more lines.
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger_ms: u64,
    /// Bytes of a batch, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    batch_size: usize,
    /// Milliseconds after which a record that could not be delivered counts as failed.
    #[arg(long, value_name = "MS", default_value_t = 120_000)]
    delivery_timeout_ms: u64,
    /// Print partition and offset of each record once it is acknowledged.
    #[arg(long)]
    print_offsets: bool,
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

/// Lines without their ends, in order; or why reading stopped.
type Chunk = io::Result<Vec<Vec<u8>>>;

impl Produce {
    /// Sends every line, and waits for the broker's word on all of them.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut driver = self.cluster.driver(true);
        self.wait_for_topic(&mut driver)?;
        let lines = read_lines(driver.waker());
        let mut run =
            Run { produce: self, producer: Producer::new(self.options()), appended: 0, lines_of: BTreeMap::new() };
        let mut waiting: std::vec::IntoIter<Vec<u8>> = Vec::new().into_iter();
        let mut held: Option<Vec<u8>> = None;
        let mut is_read = false;
        loop {
            let now = driver.now();
            // Takes lines until there is none or the producer is full.
            loop {
                let line = match held.take().or_else(|| waiting.next()) {
                    Some(line) => line,
                    None if is_read => break,
                    None => match lines.try_recv() {
                        Ok(chunk) => {
                            waiting = chunk.map_err(|error| Failure::from(error).during("standard input"))?.into_iter();
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
            run.producer.advance(now, &mut driver.client);
            while let Some((id, result)) = driver.poll_answer() {
                let _ = run.producer.handle_answer(driver.now(), &mut driver.client, id, result);
            }
            while let Some(delivery) = run.producer.poll_delivery() {
                run.report(delivery)?;
            }
            if is_read && held.is_none() && run.producer.is_idle() {
                return Ok(());
            }
            run.producer.advance(driver.now(), &mut driver.client);
            let wake = run.producer.poll_timeout(driver.now());
            driver.turn(wake);
        }
    }

    fn options(&self) -> ProducerOptions {
        ProducerOptions {
            acks: self.acks,
            compression: Compression { codec: self.codec.codec(), level: self.codec_level },
            linger_ms: self.linger_ms,
            batch_bytes_max: self.batch_size,
            delivery_timeout_ms: self.delivery_timeout_ms,
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
        let Produce { topic, partition, key_separator, header, null_marker, timestamp, .. } = self.produce;
        let (key, value) = match key_separator.as_ref().and_then(|separator| split_at(line, separator.as_bytes())) {
            Some((key, value)) => (Some(key), value),
            None => (None, line),
        };
        let not_null = |bytes: &&[u8]| null_marker.as_ref().is_none_or(|marker| *bytes != marker.as_bytes());
        let headers: Vec<Header<'_>> =
            header.iter().map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) }).collect();
        let record = RecordToSend {
            timestamp: timestamp.map_or_else(wall_clock, Timestamp),
            key: key.filter(not_null),
            value: Some(value).filter(not_null),
            headers: &headers,
        };
        let now = driver.now();
        // Any bits do for spreading records without keys over partitions.
        let random = u32::try_from(now.0 >> 10 & 0xffff_ffff).unwrap_or_default();
        let number = self.appended + 1;
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

fn split_at<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len().max(1)).position(|window| window == separator)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Reads the standard input on a thread of its own. The channel ends where the input does.
fn read_lines(waker: Waker) -> Receiver<Chunk> {
    let (sender, receiver) = sync_channel(CHUNKS_MAX);
    thread::spawn(move || {
        let outcome = send_lines(&sender, &waker);
        if let Err(error) = outcome {
            let _ = sender.send(Err(error));
        }
        drop(sender);
        waker.wake();
    });
    receiver
}

fn send_lines(sender: &SyncSender<Chunk>, waker: &Waker) -> io::Result<()> {
    let mut input = io::BufReader::with_capacity(INPUT_BYTES, io::stdin().lock());
    loop {
        let mut lines = Vec::new();
        // What is at hand goes at once: a line typed at a terminal must not wait for the next one.
        while lines.len() < LINES_MAX {
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            lines.push(line);
            if input.buffer().is_empty() {
                break;
            }
        }
        if lines.is_empty() || sender.send(Ok(lines)).is_err() {
            return Ok(());
        }
        waker.wake();
    }
}
