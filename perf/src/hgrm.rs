//! Latencies as a text file that HdrHistogram's plotters read (`.hgrm`).

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to the whole.
const TICKS: u32 = 5;

/// The distribution, microseconds printed as milliseconds.
#[must_use]
pub fn write(latency_us: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let total = latency_us.len();
    let mut count = 0;
    for step in latency_us.iter_quantiles(TICKS) {
        count += step.count_since_last_iteration();
        let (value_ms, quantile) = (step.value_iterated_to() as f64 / 1e3, step.quantile_iterated_to());
        // A string takes whatever is written to it.
        let _ = if count < total {
            writeln!(text, "{value_ms:>12.3} {quantile:>2.12} {count:>10} {:>14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value_ms:>12.3} {quantile:>2.12} {count:>10}")
        };
        if count >= total {
            break;
        }
    }
    let (mean, deviation) = (latency_us.mean() / 1e3, latency_us.stdev() / 1e3);
    let _ = writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
    let _ = writeln!(text, "#[Max     = {:>12.3}, Total count    = {total:>12}]", latency_us.max() as f64 / 1e3);
    let (buckets, sub_buckets) = (latency_us.buckets(), 2048);
    let _ = writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_is_counted_once() {
        let mut latency_us = Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap();
        for ms in 1..=1_000_u64 {
            latency_us.record(ms * 1_000).unwrap();
        }
        let text = write(&latency_us);
        let rows: Vec<Vec<&str>> = text.lines().skip(2).map(|line| line.split_whitespace().collect()).collect();
        let rows: Vec<_> = rows.iter().take_while(|row| row[0] != "#[Mean").collect();
        let counts: Vec<u64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
        assert!(counts.is_sorted() && counts.last() == Some(&1_000), "{text}");
        let half = rows.iter().find(|row| row[1].starts_with("0.500")).unwrap();
        assert!((half[0].parse::<f64>().unwrap() - 500.0).abs() < 1.0 && half[3] == "2.00", "{text}");
        assert!(text.contains("#[Max     =     1000.447, Total count    =         1000]"), "{text}");
    }
}
