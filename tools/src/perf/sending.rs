//! How loads send, and how their latencies are told.

use clap::Args;
use corelane_core::client::{Acks, ProducerOptions};
use corelane_core::record::Compression;
use corelane_perf::report::Report;
use serde::Serialize;

use crate::produce::{CodecName, parse_acks};

/// How a load sends.
#[derive(Args, Debug)]
pub(super) struct SendingArguments {
    /// Codec of the batches.
    #[arg(long, short = 'z', value_enum, value_name = "CODEC", default_value = "none")]
    codec: CodecName,
    /// Whose word to wait for: nobody's (0), the leader's (1) or that of all replicas in sync.
    #[arg(
        long,
        alias = "producer-acks",
        value_name = "0|1|all",
        default_value = "all",
        value_parser = parse_acks,
        allow_hyphen_values = true
    )]
    acks: Acks,
    /// Milliseconds that a batch waits for more records.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    linger_ms: u64,
    /// Bytes of a batch, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    batch_size: usize,
}

impl SendingArguments {
    pub(super) fn options(&self) -> ProducerOptions {
        ProducerOptions {
            acks: self.acks,
            compression: Compression { codec: self.codec.codec(), level: None },
            linger_ms: self.linger_ms,
            batch_bytes_max: self.batch_size,
            ..ProducerOptions::default()
        }
    }
}

/// Records a second; none is no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate(pub(super) Option<u64>);

/// A rate as Kafka's tools take it, where -1 is no limit.
pub(super) fn parse_rate(text: &str) -> Result<Rate, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(Rate(None)),
        Ok(rate) if rate > 0 => Ok(Rate(Some(rate.unsigned_abs()))),
        _ => Err("it is a number of records a second from 1 on, or -1 for no limit".to_owned()),
    }
}

/// A report as JSON, with stable names; latencies in milliseconds.
#[derive(Serialize)]
pub(super) struct JsonReport<'a> {
    topic: &'a str,
    records: u64,
    bytes: u64,
    seconds: f64,
    avg_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    p9999_ms: f64,
    max_ms: f64,
}

impl<'a> JsonReport<'a> {
    pub(super) fn line(topic: &'a str, report: &Report) -> std::io::Result<String> {
        let ms = |quantile| report.latency_ms(quantile);
        let json = JsonReport {
            topic,
            records: report.records,
            bytes: report.bytes,
            seconds: report.seconds,
            avg_ms: report.mean_ms(),
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            p9999_ms: ms(0.9999),
            max_ms: ms(1.0),
        };
        serde_json::to_string(&json).map_err(std::io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_or_none() {
        assert_eq!(parse_rate("-1").unwrap().0, None);
        assert_eq!(parse_rate("5000").unwrap().0, Some(5_000));
        for bad in ["0", "-2", "fast", ""] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
