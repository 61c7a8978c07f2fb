//! A consumer that reads as fast as it can, as a member of a group, and what that came to.

use std::fmt;

use corelane_core::base::Monotonic;
use corelane_core::client::{ConsumerOptions, MemberOptions, StartOffset};

use crate::driver::Driver;
use crate::reader::{GroupReader, ReadError};
use crate::slo::Measured;

/// Milliseconds for the last commit and the goodbye.
const LEAVE_MS: u64 = 10_000;

/// What to read.
#[derive(Clone, Debug)]
pub struct ConsumerLoad {
    /// How it takes part in its group; the topic is one of those that the member wants.
    pub member: MemberOptions,
    /// How it fetches.
    pub options: ConsumerOptions,
    /// Where to begin where the group has committed nothing.
    pub start: StartOffset,
    /// Records to read.
    pub records: u64,
    /// Milliseconds without a record after which it gives up.
    pub patience_ms: u64,
    /// Milliseconds between two interim reports.
    pub report_interval_ms: u64,
}

/// Why a load did not begin, or ended early.
#[derive(Clone, Debug)]
pub enum ConsumerLoadError {
    /// The group or a partition is lost.
    Read(ReadError),
    /// The cluster cannot be reached.
    Cluster(String),
}

impl fmt::Display for ConsumerLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Cluster(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for ConsumerLoadError {}

impl From<ReadError> for ConsumerLoadError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
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

/// Reads until all records were, or none has come for too long, calling `interim` now and then with what was read in all
/// and since the last time. What was read is committed before this returns.
///
/// # Errors
/// The group or a partition was lost, or the cluster cannot be reached.
pub fn run(
    driver: &mut Driver,
    load: &ConsumerLoad,
    mut interim: impl FnMut(&Consumed, &Consumed),
) -> Result<Consumed, ConsumerLoadError> {
    let begun = driver.now();
    let mut reader = GroupReader::new(load.member.clone(), load.options, load.start, begun);
    let (mut total, mut told) = (Consumed::default(), Consumed::default());
    let mut last_record = begun;
    let mut next_report = begun.plus_ms(load.report_interval_ms);
    while total.records < load.records {
        reader.step(driver);
        while let Some(batch) = reader.poll_batch()? {
            last_record = driver.now();
            for (offset, _, record) in batch.records() {
                if total.records == load.records {
                    break;
                }
                total.records += 1;
                total.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
                reader.consumed(&batch, offset.plus(1));
            }
        }
        let now = driver.now();
        stamp(&mut total, &reader, begun, now);
        if now >= next_report {
            interim(&total, &total.since(&told));
            told = total;
            next_report = now.plus_ms(load.report_interval_ms);
        }
        if let Some(error) = driver.client.metadata_failure() {
            return Err(ConsumerLoadError::Cluster(error.to_string()));
        }
        let gives_up = last_record.plus_ms(load.patience_ms);
        if now >= gives_up {
            break;
        }
        if total.records < load.records {
            reader.wait(driver, Some(gives_up.min(next_report)));
        }
    }
    stamp(&mut total, &reader, begun, driver.now());
    let deadline = driver.now().plus_ms(LEAVE_MS);
    reader.leave(driver, deadline)?;
    Ok(total)
}

fn stamp(total: &mut Consumed, reader: &GroupReader, begun: Monotonic, now: Monotonic) {
    total.seconds = now.since_ns(begun) as f64 / 1e9;
    total.rebalance_seconds = reader.rebalancing_ns() as f64 / 1e9;
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
