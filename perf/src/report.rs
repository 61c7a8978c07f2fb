//! What a load came to, and when its records are due.

use std::time::Duration;

use corelane_core::base::Timestamp;
use hdrhistogram::Histogram;

use crate::slo::Measured;

/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Records of some time, and their latencies.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Length of the time in seconds.
    pub seconds: f64,
    /// Latencies in microseconds, each from when its record was due.
    pub latency_us: Histogram<u64>,
}

impl Report {
    pub(crate) fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds and digits are in range");
        Self { records: 0, bytes: 0, seconds: 0.0, latency_us }
    }

    pub(crate) fn add(&mut self, bytes: usize, latency: Duration) {
        self.records += 1;
        self.bytes += bytes as u64;
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn clear(&mut self) {
        (self.records, self.bytes, self.seconds) = (0, 0, 0.0);
        self.latency_us.reset();
    }

    /// Adds what another thread did in the same time.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.seconds = self.seconds.max(other.seconds);
        // Both have the same bounds.
        let _ = self.latency_us.add(&other.latency_us);
    }

    /// Adds what was done after it.
    pub(crate) fn append(&mut self, later: &Self) {
        let seconds = self.seconds + later.seconds;
        self.merge(later);
        self.seconds = seconds;
    }

    /// Whether there was any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Megabytes (of 1,048,576 bytes, as Kafka's tools count) a second.
    #[must_use]
    pub fn megabytes_rate(&self) -> f64 {
        self.bytes_rate() / 1_048_576.0
    }

    /// The mean latency in milliseconds.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        self.latency_us.mean() / 1e3
    }

    /// A quantile of the latency in milliseconds; 1 is the largest.
    #[must_use]
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1e3
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
        self.records as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// One piece of a load's time, for plots.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Seconds from the start of the load to the end of the window.
    pub end_seconds: f64,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Records that were done in it.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Median of their latencies, in microseconds.
    pub p50_us: u64,
    /// Quantile 0.99 of their latencies, in microseconds.
    pub p99_us: u64,
    /// The largest of their latencies, in microseconds.
    pub max_us: u64,
}

impl Window {
    pub(crate) fn of(report: &Report, end_seconds: f64) -> Self {
        Self {
            end_seconds,
            seconds: report.seconds,
            records: report.records,
            bytes: report.bytes,
            p50_us: report.latency_us.value_at_quantile(0.5),
            p99_us: report.latency_us.value_at_quantile(0.99),
            max_us: report.latency_us.max(),
        }
    }
}

/// Time from the first record's turn to that of record `number`, at `rate` records a second.
pub(crate) fn pace(number: u64, rate: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX)
}

/// Now, as records say it.
pub fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_an_even_pace() {
        assert_eq!(pace(0, 1_000.0), Duration::ZERO);
        assert_eq!(pace(1, 1_000.0), Duration::from_millis(1));
        assert_eq!(pace(2_500, 1_000.0), Duration::from_millis(2_500));
        assert_eq!(pace(3, 0.5), Duration::from_secs(6));
    }

    #[test]
    fn reports_of_threads_are_merged_and_those_of_times_appended() {
        let report = |records, seconds, ms| {
            let mut report = Report::new();
            (0..records).for_each(|_| report.add(10, Duration::from_millis(ms)));
            report.seconds = seconds;
            report
        };
        let mut sum = report(10, 2.0, 1);
        sum.merge(&report(30, 1.5, 5));
        assert_eq!((sum.records, sum.bytes, sum.seconds, sum.latency_us.len()), (40, 400, 2.0, 40));
        sum.append(&report(1, 1.0, 9));
        assert_eq!((sum.records, sum.seconds), (41, 3.0));
        let window = Window::of(&sum, 7.0);
        assert_eq!((window.end_seconds, window.seconds, window.records), (7.0, 3.0, 41));
        assert!(window.p50_us.abs_diff(5_000) < 10 && window.max_us.abs_diff(9_000) < 10);
    }

    #[test]
    fn a_report_tells_rates_and_quantiles() {
        let mut report = Report::new();
        for ms in 1..=100 {
            report.add(1_048_576, Duration::from_millis(ms));
        }
        report.seconds = 2.0;
        assert_eq!((report.records_rate(), report.megabytes_rate()), (50.0, 50.0));
        assert!((report.latency_ms(0.5) - 50.0).abs() < 0.1);
        assert!((report.latency_ms(1.0) - 100.0).abs() < 0.1);
    }
}
