//! Consumers that read as fast as they can, as members of a group, and what that came to.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corelane_core::client::{ConsumerOptions, FetchedBatch, MemberOptions, StartOffset};

use crate::crew::{self, Placement, PlacementError, Slot, Watch};
use crate::driver::{Cluster, Traffic};
use crate::payload::Text;
use crate::reader::{GroupReader, ReadError};
use crate::report::{Report, Window};
use crate::slo::Measured;

/// Milliseconds after which a consumer looks whether the others have read the rest.
const LOOK_MS: u64 = 100;
/// Bytes of a value that can be checked.
const CHECKED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Milliseconds for the last commit and the goodbye.
const LEAVE_MS: u64 = 10_000;

/// What to read.
#[derive(Clone, Debug)]
pub struct ConsumerLoad {
    /// How to reach the cluster.
    pub cluster: Cluster,
    /// How each consumer takes part in the group; the topics are those that the member wants.
    pub member: MemberOptions,
    /// How many consumers share the topics, each with connections and a thread of its own.
    pub consumers: usize,
    /// Where those run.
    pub placement: Placement,
    /// How they fetch.
    pub options: ConsumerOptions,
    /// Where to begin where the group has committed nothing.
    pub start: StartOffset,
    /// Records to read.
    pub records: u64,
    /// Milliseconds without a record after which a consumer gives up.
    pub patience_ms: u64,
    /// Time between two interim reports.
    pub interval: Duration,
    /// Values have to be those that a producer made from this seed.
    pub check: Option<u64>,
}

/// Why a load did not begin, or ended early.
#[derive(Clone, Debug)]
pub enum ConsumerLoadError {
    /// The group or a partition is lost.
    Read(ReadError),
    /// The cluster cannot be reached.
    Cluster(String),
    /// A value is not as it was sent: topic, partition and offset.
    Changed(String, i32, i64),
    /// A consumer cannot run where it was told to.
    Placement(PlacementError),
}

impl fmt::Display for ConsumerLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Cluster(error) => f.write_str(error),
            Self::Changed(topic, partition, offset) => write!(
                f,
                "topic {topic}, partition {partition}, offset {offset}: the value is none that a producer with this seed makes"
            ),
            Self::Placement(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConsumerLoadError {}

impl From<ReadError> for ConsumerLoadError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<PlacementError> for ConsumerLoadError {
    fn from(error: PlacementError) -> Self {
        Self::Placement(error)
    }
}

/// What was read in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Length of the time in seconds.
    pub seconds: f64,
    /// Of it, seconds in which the group gave it no partitions.
    pub rebalance_seconds: f64,
}

impl Consumed {
    /// Megabytes (of 1,048,576 bytes, as kafka-consumer-perf-test counts).
    #[must_use]
    pub fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1_048_576.0
    }

    /// As a report, which has no latencies.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report::new();
        (report.records, report.bytes, report.seconds) = (self.records, self.bytes, self.fetch_seconds());
        report
    }

    /// Seconds in which it could fetch.
    #[must_use]
    pub fn fetch_seconds(&self) -> f64 {
        self.seconds - self.rebalance_seconds
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            records: self.records - before.records,
            bytes: self.bytes - before.bytes,
            seconds: self.seconds - before.seconds,
            rebalance_seconds: self.rebalance_seconds - before.rebalance_seconds,
        }
    }
}

impl Measured for Consumed {
    fn latency_us(&self, _quantile: f64) -> Option<f64> {
        None
    }

    fn mean_us(&self) -> Option<f64> {
        None
    }

    fn bytes_rate(&self) -> f64 {
        self.bytes as f64 / self.fetch_seconds().max(f64::MIN_POSITIVE)
    }

    fn records_rate(&self) -> f64 {
        self.records as f64 / self.fetch_seconds().max(f64::MIN_POSITIVE)
    }
}

/// What the consumers of a load share.
struct Shared<'a> {
    load: &'a ConsumerLoad,
    text: Option<Text>,
    /// Records that are still to be read. Whoever takes the last ones ends the load.
    left: AtomicU64,
    /// The longest time that one of them has been without partitions.
    rebalance_ns: AtomicU64,
}

impl Shared<'_> {
    fn is_over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn consumed(&self, report: &Report) -> Consumed {
        let rebalance_seconds = self.rebalance_ns.load(Ordering::Relaxed) as f64 / 1e9;
        Consumed { records: report.records, bytes: report.bytes, seconds: report.seconds, rebalance_seconds }
    }
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Read {
    /// All of it. Its time goes to the last record, not to the last goodbye.
    pub total: Consumed,
    /// Piece by piece.
    pub windows: Vec<Window>,
    /// What has gone through the sockets.
    pub traffic: Traffic,
}

/// Reads until all records were, or none has come for too long, calling `interim` now and then with what was read in all
/// and since the last time. What was read is committed before this returns.
///
/// # Errors
/// The group or a partition was lost, the cluster cannot be reached, or a value is not as it was sent.
pub fn run(load: &ConsumerLoad, mut interim: impl FnMut(&Consumed, &Consumed)) -> Result<Read, ConsumerLoadError> {
    let shared = Shared {
        load,
        text: load.check.map(|seed| Text::new(seed, CHECKED_BYTES_MAX)),
        left: AtomicU64::new(load.records),
        rebalance_ns: AtomicU64::new(0),
    };
    let begun = Instant::now();
    let (mut so_far, mut told) = (Report::new(), Consumed::default());
    let watch = Watch::new(load.interval, |report: &Report| {
        so_far.append(report);
        let total = shared.consumed(&so_far);
        interim(&total, &total.since(&told));
        told = total;
    });
    let (course, ends) = crew::run(&load.placement, load.consumers, watch, |slot| consume(&shared, slot))?;
    let mut traffic = Traffic::default();
    ends.iter().for_each(|(_, its_traffic)| traffic.add(its_traffic));
    let last_at = ends.iter().map(|(read_until, _)| *read_until).max().unwrap_or(begun);
    let total = Consumed { seconds: (last_at - begun).as_secs_f64(), ..shared.consumed(&course.total) };
    Ok(Read { total, windows: course.windows, traffic })
}

/// Reads as one member; gives when it had done with reading, and what has gone through its sockets.
fn consume(shared: &Shared<'_>, slot: &Slot<'_>) -> Result<(Instant, Traffic), ConsumerLoadError> {
    let load = shared.load;
    let mut driver = load.cluster.driver();
    let begun = driver.now();
    let mut reader = GroupReader::new(load.member.clone(), load.options, load.start, begun);
    let mut last_record = begun;
    while !shared.is_over() && !slot.is_over() {
        reader.step(&mut driver);
        while let Some(batch) = reader.poll_batch()? {
            last_record = driver.now();
            take(shared, slot, &mut reader, &batch)?;
        }
        shared.rebalance_ns.fetch_max(reader.rebalancing_ns(), Ordering::Relaxed);
        if let Some(error) = driver.client.metadata_failure() {
            return Err(ConsumerLoadError::Cluster(error.to_string()));
        }
        let (now, gives_up) = (driver.now(), last_record.plus_ms(load.patience_ms));
        if now >= gives_up {
            break;
        }
        if !shared.is_over() {
            reader.wait(&mut driver, Some(gives_up.min(now.plus_ms(LOOK_MS))));
        }
    }
    let read_until = Instant::now();
    let deadline = driver.now().plus_ms(LEAVE_MS);
    reader.leave(&mut driver, deadline)?;
    Ok((read_until, driver.traffic()))
}

/// Counts the records of a batch, as many as are still to be read.
fn take(
    shared: &Shared<'_>,
    slot: &Slot<'_>,
    reader: &mut GroupReader,
    batch: &FetchedBatch,
) -> Result<(), ConsumerLoadError> {
    let (mut records, mut bytes) = (0, 0);
    let mut next = None;
    // Taken before they are read, so that two consumers never count the same last ones.
    let count = batch.records().count() as u64;
    let taken = shared.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(count)));
    let wanted = taken.unwrap_or_else(|left| left).min(count);
    for (offset, _, record) in batch.records().take(usize::try_from(wanted).unwrap_or(usize::MAX)) {
        let value = record.value.unwrap_or_default();
        if shared.text.as_ref().is_some_and(|text| !text.contains(value)) {
            return Err(ConsumerLoadError::Changed(batch.topic.to_string(), batch.partition.0, offset.0));
        }
        records += 1;
        bytes += (record.key.map_or(0, <[u8]>::len) + value.len()) as u64;
        next = Some(offset.plus(1));
    }
    slot.count(records, bytes);
    if let Some(next) = next {
        reader.consumed(batch, next);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_since_the_last_time_is_told_apart() {
        let before = Consumed { records: 10, bytes: 1_048_576, seconds: 3.0, rebalance_seconds: 2.0 };
        let after = Consumed { records: 30, bytes: 3 * 1_048_576, seconds: 4.0, rebalance_seconds: 2.0 };
        let since = after.since(&before);
        assert_eq!((since.records, since.megabytes(), since.fetch_seconds()), (20, 2.0, 1.0));
    }
}
