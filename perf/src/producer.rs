//! A producer that sends as fast as it is told, and the latency of each record.
//!
//! With a rate, load is open: a record is due at its time whether or not those before it were acknowledged, and its
//! latency counts from then, so that a stall of the broker is charged for everything that piled up behind it. Without a
//! rate, records are due when there is room for them.

use std::collections::VecDeque;
use std::fmt;

use corelane_core::base::{Monotonic, Timestamp};
use corelane_core::client::{
    AppendError, Delivery, DeliveryError, ErrorCode, Producer, ProducerOptions, RecordToSend, RequestError,
};
use hdrhistogram::Histogram;

use crate::driver::Driver;
use crate::slo::Measured;

/// Time that a topic which is not there has to appear: a broker may create it when it is named.
const TOPIC_APPEARS_MS: u64 = 5_000;
/// Records that are made in one go before the sockets are looked at.
const BURST_RECORDS_MAX: u64 = 1_000;
/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;

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

/// Records acknowledged in some time, and their latencies.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Length of the time in seconds.
    pub seconds: f64,
    /// Latencies in microseconds, from when each record was due to its acknowledgement.
    pub latency_us: Histogram<u64>,
}

impl Report {
    fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds and digits are in range");
        Self { records: 0, bytes: 0, seconds: 0.0, latency_us }
    }

    /// Acknowledged records a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// Acknowledged megabytes (of 1,048,576 bytes, as kafka-producer-perf-test counts) a second.
    #[must_use]
    pub fn megabytes_rate(&self) -> f64 {
        self.bytes as f64 / 1_048_576.0 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// A quantile of the latency in milliseconds; 1 is the largest.
    #[must_use]
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1e3
    }

    /// Whether anything was acknowledged in that time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn add(&mut self, bytes: usize, latency_ns: u64) {
        self.records += 1;
        self.bytes += bytes as u64;
        self.latency_us.saturating_record(latency_ns / 1_000);
    }
}

impl Measured for Report {
    fn latency_us(&self, quantile: f64) -> Option<f64> {
        Some(self.latency_us.value_at_quantile(quantile) as f64)
    }

    fn mean_us(&self) -> Option<f64> {
        Some(self.latency_us.mean())
    }

    fn bytes_rate(&self) -> f64 {
        self.bytes as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn records_rate(&self) -> f64 {
        self.rate()
    }
}

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
            let due = load.rate.map_or(now, |rate| start_of(start, sent, rate));
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
                let latency_ns = now.since_ns(record.due);
                total.add(load.record_bytes, latency_ns);
                window.add(load.record_bytes, latency_ns);
                if record.number >= load.warmup_records {
                    steady_start.get_or_insert(record.due);
                    steady.add(load.record_bytes, latency_ns);
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
        let next_due = load.rate.filter(|_| sent < load.records).map(|rate| start_of(start, sent, rate));
        let more_now = load.rate.is_none() && burst == BURST_RECORDS_MAX;
        let wake = [producer.poll_timeout(now), next_due, more_now.then_some(now)].into_iter().flatten().min();
        driver.turn(wake);
    }
}

/// When record number `sent` is due.
fn start_of(start: Monotonic, sent: u64, rate: u64) -> Monotonic {
    let ns = u128::from(sent) * 1_000_000_000 / u128::from(rate.max(1));
    Monotonic(start.0.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX)))
}

fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_an_even_pace() {
        let start = Monotonic(7);
        assert_eq!(start_of(start, 0, 1_000), start);
        assert_eq!(start_of(start, 1, 1_000), start.plus_ms(1));
        assert_eq!(start_of(start, 2_500, 1_000), start.plus_ms(2_500));
    }

    #[test]
    fn a_report_tells_rates_and_quantiles() {
        let mut report = Report::new();
        for ms in 1..=100 {
            report.add(1_048_576, ms * 1_000_000);
        }
        report.seconds = 2.0;
        assert_eq!((report.rate(), report.megabytes_rate()), (50.0, 50.0));
        assert!((report.latency_ms(0.5) - 50.0).abs() < 0.1);
        assert!((report.latency_ms(1.0) - 100.0).abs() < 0.1);
    }
}
