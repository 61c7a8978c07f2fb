//! From the producer's hand to the consumer's: the time that a record takes through the broker.
//!
//! A thread with a client of its own reads what the other one writes, so that neither waits for the other's socket. Each
//! value begins with the number of its record, which is how it is known again; everything else of it is compared too.
//!
//! Without a rate, a record is sent when the one before it has arrived, as kafka-e2e-latency does it. With one, load is
//! open: a record is due at its time whatever became of those before it, and its latency counts from then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use corelane_core::base::Monotonic;
use corelane_core::client::{
    AppendError, Client, ClientConfig, Consumer, ConsumerOptions, DeliveryError, Producer, ProducerOptions,
    RecordToSend, StartOffset,
};

use crate::driver::{Driver, Waker};
use crate::report::{Report, pace, wall_clock};

/// Bytes that the number of a record takes at the start of its value.
pub const NUMBER_BYTES: usize = 8;
/// Milliseconds after which the reader looks whether it is still wanted.
const LOOK_MS: u64 = 100;

/// What to send and to wait for.
#[derive(Clone, Debug)]
pub struct EndToEndLoad {
    /// How to reach the cluster.
    pub cluster: ClientConfig,
    /// The topic, which is there.
    pub topic: String,
    /// Records that count.
    pub records: u64,
    /// Records before them that do not.
    pub warmup_records: u64,
    /// Bytes of each value, at least [`NUMBER_BYTES`].
    pub record_bytes: usize,
    /// Records a second; none is one after the other.
    pub rate: Option<u64>,
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
    /// It knows where to begin.
    Ready,
    /// A record, by its number, when it came, and whether it is as it was sent.
    Record(u64, Instant, bool),
    /// It cannot go on.
    Failed(String),
}

/// Sends and awaits all records; the report is of those that count, and its time goes from when the first of them was due to
/// when the last one had arrived.
///
/// # Errors
/// A record was refused, lost or changed, or the cluster cannot be reached.
pub fn run(load: &EndToEndLoad) -> Result<Report, EndToEndError> {
    let mut driver = Driver::new(Client::new(load.cluster.clone()));
    let (sender, arrivals) = channel();
    let waker = driver.waker();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = read(load, &sender, &waker, &is_over) {
                let _ = sender.send(Arrival::Failed(error));
                waker.wake();
            }
        });
        let outcome = write(load, &mut driver, &arrivals);
        is_over.store(true, Ordering::Release);
        outcome
    })
}

/// Reads from the end on, until it is over.
fn read(load: &EndToEndLoad, sender: &Sender<Arrival>, waker: &Waker, is_over: &AtomicBool) -> Result<(), String> {
    let mut driver = Driver::new(Client::new(load.cluster.clone()));
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
        let mut any = false;
        while let Some(batch) = consumer.poll_batch() {
            let now = Instant::now();
            for (_, _, record) in batch.records() {
                let value = record.value.unwrap_or_default();
                let number = value.first_chunk().map_or(u64::MAX, |number| u64::from_be_bytes(*number));
                let is_whole = value.get(NUMBER_BYTES..) == expected.get(NUMBER_BYTES..);
                // Nobody listens any more when it is over.
                let _ = sender.send(Arrival::Record(number, now, is_whole));
                any = true;
            }
        }
        if !is_ready && let Some(Ok(topic)) = driver.client.cluster().topic(&load.topic) {
            is_ready = topic.partitions.iter().all(|each| consumer.position(&load.topic, each.index).is_some());
            if is_ready {
                let _ = sender.send(Arrival::Ready);
                any = true;
            }
        }
        if any {
            waker.wake();
        }
        consumer.advance(driver.now(), &mut driver.client);
        let now = driver.now();
        let due = [consumer.poll_timeout(now), Some(now.plus_ms(LOOK_MS))];
        driver.turn(due.into_iter().flatten().min());
    }
    Ok(())
}

/// Sends the records and takes note of when they come.
fn write(load: &EndToEndLoad, driver: &mut Driver, arrivals: &Receiver<Arrival>) -> Result<Report, EndToEndError> {
    let mut report = Report::new();
    let mut producer = Producer::new(load.producer);
    driver.client.want_topic(&load.topic);
    let all = load.warmup_records + load.records;
    let (mut sent, mut arrived) = (0, 0);
    let mut due: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut begun: Option<Instant> = None;
    let (mut first_due, mut last_at): (Option<Instant>, Option<Instant>) = (None, None);
    let mut last_sign = Instant::now();
    let mut value = value(0, load.record_bytes);
    while arrived < all {
        while let Ok(arrival) = arrivals.try_recv() {
            last_sign = Instant::now();
            match arrival {
                Arrival::Ready => begun = Some(Instant::now()),
                Arrival::Failed(error) => return Err(EndToEndError::Cluster(error)),
                Arrival::Record(number, at, is_whole) => {
                    let was_due = due.remove(&number).filter(|_| is_whole).ok_or(EndToEndError::Changed(number))?;
                    arrived += 1;
                    if number >= load.warmup_records {
                        first_due = Some(first_due.map_or(was_due, |first| first.min(was_due)));
                        last_at = Some(last_at.map_or(at, |last| last.max(at)));
                        report.add(load.record_bytes, at.saturating_duration_since(was_due));
                    }
                }
            }
        }
        let mut next_due = None;
        while let Some(begun) = begun.filter(|_| sent < all) {
            let now = Instant::now();
            let at = match load.rate {
                Some(rate) => begun + pace(sent, rate),
                None if arrived < sent => break,
                None => now,
            };
            if at > now {
                next_due = Some(at - now);
                break;
            }
            value.splice(..NUMBER_BYTES, sent.to_be_bytes());
            let record = RecordToSend { timestamp: wall_clock(), key: None, value: Some(&value), headers: &[] };
            match producer.append(driver.now(), &driver.client, &load.topic, None, &record, sent as u32) {
                Ok(_) => due.insert(sent, at),
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
        if last_sign.elapsed() > load.patience {
            return Err(EndToEndError::Lost(arrived, all));
        }
        producer.advance(driver.now(), &mut driver.client);
        if arrived < all {
            let now = driver.now();
            let paced = next_due.map(|wait| {
                let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
                Monotonic(now.0.saturating_add(wait_ns))
            });
            let look = now.plus_ms(LOOK_MS);
            driver.turn([producer.poll_timeout(now), paced, Some(look)].into_iter().flatten().min());
        }
    }
    report.seconds = first_due.zip(last_at).map_or(0.0, |(first, last)| (last - first).as_secs_f64());
    Ok(report)
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
