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

/// Time from the first record's turn to that of record `number`, at `rate` records a second.
pub(crate) fn pace(number: u64, rate: u64) -> Duration {
    let ns = u128::from(number) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
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
        assert_eq!(pace(0, 1_000), Duration::ZERO);
        assert_eq!(pace(1, 1_000), Duration::from_millis(1));
        assert_eq!(pace(2_500, 1_000), Duration::from_millis(2_500));
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
