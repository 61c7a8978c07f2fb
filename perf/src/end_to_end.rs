//! From the producer's hand to the consumer's: the time that a record takes through the broker.
//!
//! A thread with a client of its own reads what the other one writes, so that neither waits for the other's socket. Each
//! value begins with the number of its record, which is how it is known again; everything else of it is compared too.
//!
//! Without a rate, a record is sent when the one before it has arrived, as kafka-e2e-latency does it. With one, load is
//! open: a record is due at its time whatever became of those before it, and its latency counts from then. With several
//! readers, each of them reads everything, and each arrival counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use corelane_core::base::Monotonic;
use corelane_core::client::{
    AppendError, Consumer, ConsumerOptions, DeliveryError, Producer, ProducerOptions, RecordToSend, StartOffset,
};

use crate::crew::{Course, Placement, Watch};
use crate::driver::{Cluster, Driver, Waker};
use crate::payload::RecordHeaders;
use crate::report::{Report, pace, wall_clock};

/// Bytes that the number of a record takes at the start of its value.
pub const NUMBER_BYTES: usize = 8;
/// Readers that a load can have.
pub const READERS_MAX: usize = 64;
/// Milliseconds after which the reader looks whether it is still wanted.
const LOOK_MS: u64 = 100;

/// What to send and to wait for.
#[derive(Clone, Debug)]
pub struct EndToEndLoad {
    /// How to reach the cluster.
    pub cluster: Cluster,
    /// The topic, which is there.
    pub topic: String,
    /// Records that count.
    pub records: u64,
    /// Records before them that do not.
    pub warmup_records: u64,
    /// Bytes of each value, at least [`NUMBER_BYTES`].
    pub record_bytes: usize,
    /// Bytes of each key; none is no key.
    pub key_bytes: usize,
    /// Headers of each record.
    pub headers: RecordHeaders,
    /// Readers, at most [`READERS_MAX`].
    pub readers: usize,
    /// Where the writer and the readers run.
    pub placement: Placement,
    /// Time between two interim reports.
    pub interval: Duration,
    /// Records a second; none is one after the other.
    pub rate: Option<f64>,
    /// How to send.
    pub producer: ProducerOptions,
    /// How to read; where to begin is not asked for.
    pub consumer: ConsumerOptions,
    /// Time without an arrival after which it gives up.
    pub patience: Duration,
}

/// Why a load did not get to its end.
#[derive(Clone, Debug)]
pub enum EndToEndError {
    /// The cluster cannot be reached, or the reader failed.
    Cluster(String),
    /// A record was refused before it was sent.
    Record(AppendError),
    /// A record was not acknowledged.
    Delivery(DeliveryError),
    /// Records did not arrive in time: how many had, and how many there are.
    Lost(u64, u64),
    /// A record came with another content than it was sent with, or for a second time.
    Changed(u64),
}

impl fmt::Display for EndToEndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(error) => f.write_str(error),
            Self::Record(error) => error.fmt(f),
            Self::Delivery(error) => write!(f, "a record was not acknowledged: {error}"),
            Self::Lost(arrived, all) => write!(f, "{arrived} of {all} records arrived, and no other for too long"),
            Self::Changed(number) => write!(f, "record {number} arrived twice, or not as it was sent"),
        }
    }
}

impl std::error::Error for EndToEndError {}

/// What the reader has to say.
enum Arrival {
    /// A reader knows where to begin.
    Ready,
    /// A record, by its number, when it came to which reader, and whether it is as it was sent.
    Record(u64, Instant, usize, bool),
    /// It cannot go on.
    Failed(String),
}

/// What a load came to: all of it over time, and the report of the records that count, its time from when the first of
/// them was due to when the last one had arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// All of it over time.
    pub course: Course,
    /// Arrivals after the warm-up.
    pub steady: Report,
}

/// Sends and awaits all records, calling `interim` now and then with what has arrived since the last time.
///
/// # Errors
/// A record was refused, lost or changed, or the cluster cannot be reached.
pub fn run(load: &EndToEndLoad, interim: impl FnMut(&Report)) -> Result<Arrived, EndToEndError> {
    let mut driver = load.cluster.driver();
    let (sender, arrivals) = channel();
    let waker = driver.waker();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for index in 0..load.readers {
            let (sender, waker, is_over) = (sender.clone(), &waker, &is_over);
            scope.spawn(move || {
                let settled = load.placement.settle(index + 1).map_err(|error| error.to_string());
                if let Err(error) = settled.and_then(|()| read(load, index, &sender, waker, is_over)) {
                    let _ = sender.send(Arrival::Failed(error));
                    waker.wake();
                }
            });
        }
        let outcome = match load.placement.settle(0) {
            Ok(()) => write(load, &mut driver, &arrivals, Watch::new(load.interval, interim)),
            Err(error) => Err(EndToEndError::Cluster(error.to_string())),
        };
        is_over.store(true, Ordering::Release);
        outcome
    })
}

/// Reads from the end on, until it is over.
fn read(
    load: &EndToEndLoad,
    index: usize,
    sender: &Sender<Arrival>,
    waker: &Waker,
    is_over: &AtomicBool,
) -> Result<(), String> {
    let mut driver = load.cluster.driver();
    driver.client.want_topic(&load.topic);
    let mut consumer = Consumer::new(load.consumer);
    let mut is_ready = false;
    let expected = value(0, load.record_bytes);
    while !is_over.load(Ordering::Acquire) {
        if consumer.partition_count() == 0
            && let Some(Ok(topic)) = driver.client.cluster().topic(&load.topic)
        {
            for partition in &topic.partitions {
                consumer.assign(&load.topic, partition.index, StartOffset::Latest);
            }
        }
        consumer.advance(driver.now(), &mut driver.client);
        while let Some((id, result)) = driver.poll_answer() {
            let _ = consumer.handle_answer(driver.now(), &mut driver.client, id, result);
        }
        if let Some(error) = driver.client.metadata_failure() {
            return Err(error.to_string());
        }
        if let Some((_, partition, error)) = consumer.poll_error() {
            return Err(format!("partition {partition}: {error}"));
        }
        let mut is_awaited = false;
        while let Some(batch) = consumer.poll_batch() {
            let now = Instant::now();
            for (_, _, record) in batch.records() {
                let value = record.value.unwrap_or_default();
                let number = value.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
                let is_whole = value.get(NUMBER_BYTES..) == expected.get(NUMBER_BYTES..);
                // Nobody listens any more when it is over.
                let _ = sender.send(Arrival::Record(number, now, index, is_whole));
                // With a rate, nothing is sent because of it.
                is_awaited |= load.rate.is_none() || !is_whole;
            }
        }
        if !is_ready && let Some(Ok(topic)) = driver.client.cluster().topic(&load.topic) {
            is_ready = topic.partitions.iter().all(|each| consumer.position(&load.topic, each.index).is_some());
            if is_ready {
                let _ = sender.send(Arrival::Ready);
                is_awaited = true;
            }
        }
        if is_awaited {
            waker.wake();
        }
        consumer.advance(driver.now(), &mut driver.client);
        let now = driver.now();
        let due = [consumer.poll_timeout(now), Some(now.plus_ms(LOOK_MS))];
        driver.turn(due.into_iter().flatten().min());
    }
    Ok(())
}

/// A record that has not come to all readers.
struct Awaited {
    due: Instant,
    /// Readers that it has not come to, a bit each.
    readers: u64,
}

/// What has come of the load.
struct Arrivals<'a> {
    load: &'a EndToEndLoad,
    ready_readers: usize,
    /// Set when all readers are ready.
    begun: Option<Instant>,
    awaited: BTreeMap<u64, Awaited>,
    count: u64,
    last_sign: Instant,
    /// Since the last look.
    window: Report,
    steady: Report,
    /// When the first record that counts was due, and when the last one came.
    span: Option<(Instant, Instant)>,
}

impl Arrivals<'_> {
    fn take(&mut self, arrival: Arrival) -> Result<(), EndToEndError> {
        self.last_sign = Instant::now();
        let (number, at, reader, is_whole) = match arrival {
            Arrival::Failed(error) => return Err(EndToEndError::Cluster(error)),
            Arrival::Ready => {
                self.ready_readers += 1;
                if self.ready_readers == self.load.readers {
                    self.begun = Some(self.last_sign);
                }
                return Ok(());
            }
            Arrival::Record(number, at, reader, is_whole) => (number, at, reader, is_whole),
        };
        let bit = 1 << reader;
        let awaited = self.awaited.get_mut(&number).filter(|awaited| is_whole && awaited.readers & bit != 0);
        let awaited = awaited.ok_or(EndToEndError::Changed(number))?;
        awaited.readers &= !bit;
        let due = awaited.due;
        if awaited.readers == 0 {
            self.awaited.remove(&number);
        }
        self.count += 1;
        let latency = at.saturating_duration_since(due);
        self.window.add(self.load.record_bytes, latency);
        if number >= self.load.warmup_records {
            let (first, last) = self.span.unwrap_or((due, at));
            self.span = Some((first.min(due), last.max(at)));
            self.steady.add(self.load.record_bytes, latency);
        }
        Ok(())
    }
}

/// Sends the records and takes note of when they come.
fn write(
    load: &EndToEndLoad,
    driver: &mut Driver,
    arrivals: &Receiver<Arrival>,
    mut watch: Watch<impl FnMut(&Report)>,
) -> Result<Arrived, EndToEndError> {
    let mut producer = Producer::new(load.producer);
    driver.client.want_topic(&load.topic);
    let all = load.warmup_records + load.records;
    let expected = all * load.readers as u64;
    let mut come = Arrivals {
        load,
        ready_readers: 0,
        begun: None,
        awaited: BTreeMap::new(),
        count: 0,
        last_sign: Instant::now(),
        window: Report::new(),
        steady: Report::new(),
        span: None,
    };
    let readers = u64::MAX >> (64 - load.readers.clamp(1, READERS_MAX));
    let mut value = value(0, load.record_bytes);
    let key = vec![b'k'; load.key_bytes];
    let key = Some(&*key).filter(|key| !key.is_empty());
    let headers = load.headers.list();
    let mut sent = 0;
    while come.count < expected {
        while let Ok(arrival) = arrivals.try_recv() {
            come.take(arrival)?;
        }
        if Instant::now() >= watch.due() {
            watch.look(std::mem::replace(&mut come.window, Report::new()));
        }
        let mut next_due = None;
        while let Some(begun) = come.begun.filter(|_| sent < all) {
            let now = Instant::now();
            let due = match load.rate {
                Some(rate) => begun + pace(sent, rate),
                None if !come.awaited.is_empty() => break,
                None => now,
            };
            if due > now {
                next_due = Some(due - now);
                break;
            }
            value.splice(..NUMBER_BYTES, sent.to_be_bytes());
            let record = RecordToSend { timestamp: wall_clock(), key, value: Some(&value), headers: &headers };
            match producer.append(driver.now(), &driver.client, &load.topic, None, &record, sent as u32) {
                Ok(_) => come.awaited.insert(sent, Awaited { due, readers }),
                Err(AppendError::BufferFull | AppendError::TopicUnknown) => break,
                Err(AppendError::Topic(code)) if code.is_retriable() => break,
                Err(error) => return Err(EndToEndError::Record(error)),
            };
            sent += 1;
        }
        producer.advance(driver.now(), &mut driver.client);
        while let Some((id, result)) = driver.poll_answer() {
            let _ = producer.handle_answer(driver.now(), &mut driver.client, id, result);
        }
        while let Some(delivery) = producer.poll_delivery() {
            delivery.result.map_err(EndToEndError::Delivery)?;
        }
        if let Some(error) = driver.client.metadata_failure() {
            return Err(EndToEndError::Cluster(error.to_string()));
        }
        if come.last_sign.elapsed() > load.patience {
            return Err(EndToEndError::Lost(come.count, expected));
        }
        producer.advance(driver.now(), &mut driver.client);
        if come.count < expected {
            let now = driver.now();
            let paced = next_due.map(|wait| {
                let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                Monotonic(now.0.saturating_add(wait_ns))
            });
            // The last arrivals of an open load wake nobody.
            let look = now.plus_ms(if sent < all { LOOK_MS } else { 1 });
            driver.turn([producer.poll_timeout(now), paced, Some(look)].into_iter().flatten().min());
        }
    }
    let Arrivals { window, mut steady, span, .. } = come;
    steady.seconds = span.map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    Ok(Arrived { course: watch.end(window), steady })
}

/// The value of a record: its number, and bytes that tell a cut or shifted value.
fn value(number: u64, bytes: usize) -> Vec<u8> {
    let rest = (NUMBER_BYTES..bytes).map(|at| b'A' + (at % 23) as u8);
    number.to_be_bytes().into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_number_and_length() {
        assert_eq!(value(7, 8), 7_u64.to_be_bytes());
        assert_eq!(value(7, 100).len(), 100);
        assert_ne!(value(7, 100)[8..], value(7, 101)[8..]);
    }
}
