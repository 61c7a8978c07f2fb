//! A producer that sends as fast as it is told, and the latency of each record.
//!
//! With a rate, load is open: a record is due at its time whether or not those before it were acknowledged, and its
//! latency counts from then, so that a stall of the broker is charged for everything that piled up behind it. Without a
//! rate, records are due when there is room for them.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use corelane_core::base::Monotonic;
use corelane_core::client::{
    AppendError, Delivery, DeliveryError, ErrorCode, Producer, ProducerOptions, RecordToSend, RequestError,
};

use crate::driver::Driver;
use crate::report::{Report, pace, wall_clock};

/// Time that a topic which is not there has to appear: a broker may create it when it is named.
const TOPIC_APPEARS_MS: u64 = 5_000;
/// Records that are made in one go before the sockets are looked at.
const BURST_RECORDS_MAX: u64 = 1_000;

/// What to send.
#[derive(Clone, Debug)]
pub struct ProducerLoad {
    /// The topic.
    pub topic: String,
    /// Records in all.
    pub records: u64,
    /// How many of them come before what is reported as the steady state.
    pub warmup_records: u64,
    /// Milliseconds between two interim reports.
    pub report_interval_ms: u64,
    /// Bytes of each value.
    pub record_bytes: usize,
    /// Records a second; `None` is as fast as possible.
    pub rate: Option<u64>,
    /// How to send.
    pub options: ProducerOptions,
}

/// Why a load did not get to its end.
#[derive(Clone, Debug)]
pub enum LoadError {
    /// The cluster cannot be reached, or does not answer.
    Cluster(RequestError),
    /// The topic is not there and does not appear.
    Topic(ErrorCode),
    /// A record was refused before it was sent.
    Record(AppendError),
    /// Records were not acknowledged. A figure without them would be a lie.
    Delivery(DeliveryError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(error) => error.fmt(f),
            Self::Topic(code) => code.fmt(f),
            Self::Record(error) => error.fmt(f),
            Self::Delivery(error) => write!(f, "records were not acknowledged: {error}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// A record on its way: its id, its place in the load, and when it was due.
struct Underway {
    id: u64,
    number: u64,
    due: Monotonic,
}

/// Sends the whole load, calling `interim` now and then with what was acknowledged since the last time; gives the report
/// of all of it, and that of what came after the warm-up.
///
/// # Errors
/// What kept a record from being acknowledged.
pub fn run(
    driver: &mut Driver,
    load: &ProducerLoad,
    mut interim: impl FnMut(&Report),
) -> Result<(Report, Report), LoadError> {
    wait_for_topic(driver, &load.topic)?;
    let payload = payload(load.record_bytes);
    let mut producer = Producer::new(load.options);
    let mut underway: VecDeque<Underway> = VecDeque::new();
    let (mut total, mut steady, mut window) = (Report::new(), Report::new(), Report::new());
    let mut steady_start = None;
    let start = driver.now();
    let mut window_start = start;
    let mut sent = 0;
    loop {
        let now = driver.now();
        let mut burst = 0;
        while sent < load.records && burst < BURST_RECORDS_MAX {
            let due = load.rate.map_or(now, |rate| due_at(start, sent, rate));
            if due > now {
                break;
            }
            let record = RecordToSend { timestamp: wall_clock(), key: None, value: Some(&payload), headers: &[] };
            // Any bits do for spreading records over partitions.
            let random = (now.0 >> 10) as u32 ^ sent as u32;
            match producer.append(now, &driver.client, &load.topic, None, &record, random) {
                Ok(id) => underway.push_back(Underway { id: id.0, number: sent, due }),
                Err(AppendError::BufferFull | AppendError::TopicUnknown) => break,
                Err(AppendError::Topic(code)) if code.is_retriable() => break,
                Err(error) => return Err(LoadError::Record(error)),
            }
            sent += 1;
            burst += 1;
        }
        if sent == load.records {
            producer.flush();
        }
        producer.advance(driver.now(), &mut driver.client);
        while let Some((id, result)) = driver.poll_answer() {
            let _ = producer.handle_answer(driver.now(), &mut driver.client, id, result);
        }
        while let Some(Delivery { records, result, .. }) = producer.poll_delivery() {
            result.map_err(LoadError::Delivery)?;
            let now = driver.now();
            for id in records {
                let Some(at) = underway.iter().position(|record| record.id == id.0) else { continue };
                let Some(record) = underway.swap_remove_front(at) else { continue };
                let latency = Duration::from_nanos(now.since_ns(record.due));
                total.add(load.record_bytes, latency);
                window.add(load.record_bytes, latency);
                if record.number >= load.warmup_records {
                    steady_start = Some(steady_start.map_or(record.due, |first: Monotonic| first.min(record.due)));
                    steady.add(load.record_bytes, latency);
                }
            }
        }
        let now = driver.now();
        if now.since_ns(window_start) > load.report_interval_ms * 1_000_000 {
            window.seconds = now.since_ns(window_start) as f64 / 1e9;
            interim(&window);
            window = Report::new();
            window_start = now;
        }
        if sent == load.records && producer.is_idle() {
            total.seconds = now.since_ns(start) as f64 / 1e9;
            steady.seconds = steady_start.map_or(0.0, |begun| now.since_ns(begun) as f64 / 1e9);
            return Ok((total, steady));
        }
        producer.advance(now, &mut driver.client);
        let next_due = load.rate.filter(|_| sent < load.records).map(|rate| due_at(start, sent, rate));
        let more_now = load.rate.is_none() && burst == BURST_RECORDS_MAX;
        let wake = [producer.poll_timeout(now), next_due, more_now.then_some(now)].into_iter().flatten().min();
        driver.turn(wake);
    }
}

/// When record number `sent` is due.
fn due_at(start: Monotonic, sent: u64, rate: u64) -> Monotonic {
    Monotonic(start.0.saturating_add(u64::try_from(pace(sent, rate).as_nanos()).unwrap_or(u64::MAX)))
}

/// Printable bytes in which no codec finds much to save.
fn payload(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'A' + (state % 26) as u8
    };
    (0..bytes).map(letter).collect()
}

fn wait_for_topic(driver: &mut Driver, topic: &str) -> Result<(), LoadError> {
    driver.client.want_topic(topic);
    let deadline = driver.now().plus_ms(TOPIC_APPEARS_MS);
    loop {
        driver.turn(Some(deadline));
        while driver.poll_answer().is_some() {}
        if let Some(error) = driver.client.metadata_failure() {
            return Err(LoadError::Cluster(error.clone()));
        }
        match driver.client.cluster().topic(topic) {
            Some(Ok(_)) => return Ok(()),
            Some(Err(code)) if !code.is_retriable() || driver.now() >= deadline => return Err(LoadError::Topic(*code)),
            _ => {}
        }
    }
}
