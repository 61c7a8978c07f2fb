//! `corelane perf end-to-end`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use corelane_core::client::{Acks, ConsumerOptions, ProducerOptions};
use corelane_core::record::Compression;
use corelane_perf::end_to_end::{self, EndToEndLoad, NUMBER_BYTES};
use serde::Serialize;

use super::outcome::{HgrmArguments, SloArguments};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::produce::{CodecName, parse_acks};

/// Arguments of `corelane perf end-to-end`.
#[derive(Args, Debug)]
pub(crate) struct EndToEndArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Topic to write to and read from. Nobody else may write to it meanwhile.
    #[arg(long, short = 't', value_name = "TOPIC")]
    topic: String,
    /// Records to send.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: u64,
    /// Records before them that do not count.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    warmup_records: u64,
    /// Bytes of each record's value, at least 8.
    #[arg(long, value_name = "BYTES")]
    record_size: usize,
    /// Records a second, whatever becomes of those before; latency counts from when a record was due. -1 is one after the
    /// other, as kafka-e2e-latency does it.
    #[arg(long, value_name = "RATE", default_value_t = -1, allow_hyphen_values = true)]
    throughput: i64,
    /// Whose word the producer waits for: nobody's (0), the leader's (1) or that of all replicas in sync.
    #[arg(
        long,
        alias = "producer-acks",
        value_name = "0|1|all",
        default_value = "all",
        value_parser = parse_acks,
        allow_hyphen_values = true
    )]
    acks: Acks,
    /// Codec of the batches.
    #[arg(long, short = 'z', value_enum, value_name = "CODEC", default_value = "none")]
    codec: CodecName,
    /// Milliseconds that a batch waits for more records.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    linger_ms: u64,
    /// Milliseconds without an arrival after which it gives up.
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    timeout: u64,
    #[command(flatten)]
    slo: SloArguments,
    #[command(flatten)]
    hgrm: HgrmArguments,
    /// Print the result as a JSON object; latencies in milliseconds.
    #[arg(long, short = 'J')]
    json: bool,
}

/// The result, with stable names.
#[derive(Serialize)]
struct Outcome<'a> {
    topic: &'a str,
    records: u64,
    avg_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    p9999_ms: f64,
    max_ms: f64,
}

impl EndToEndArguments {
    /// Puts the load on and reports.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.record_size < NUMBER_BYTES {
            return Err(Failure::new(format!("--record-size {}: a value begins with its number", self.record_size))
                .remedy(format!("Use {NUMBER_BYTES} or more.")));
        }
        crate::consume::wait_for_topic(&mut self.cluster.driver(true), &self.topic)?;
        let load = EndToEndLoad {
            cluster: self.cluster.config(false),
            topic: self.topic.clone(),
            records: self.num_records,
            warmup_records: self.warmup_records,
            record_bytes: self.record_size,
            rate: u64::try_from(self.throughput).ok().filter(|rate| *rate > 0),
            producer: ProducerOptions {
                acks: self.acks,
                compression: Compression { codec: self.codec.codec(), level: None },
                linger_ms: self.linger_ms,
                ..ProducerOptions::default()
            },
            consumer: ConsumerOptions::default(),
            patience: Duration::from_millis(self.timeout),
        };
        let report = end_to_end::run(&load).map_err(|error| Failure::new(format!("topic {}: {error}", self.topic)))?;
        let latency_us = &report.latency_us;
        self.hgrm.write(latency_us)?;
        let ms = |quantile: f64| latency_us.value_at_quantile(quantile) as f64 / 1e3;
        let outcome = Outcome {
            topic: &self.topic,
            records: self.num_records,
            avg_ms: latency_us.mean() / 1e3,
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            p9999_ms: ms(0.9999),
            max_ms: ms(1.0),
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&outcome).map_err(std::io::Error::other)?)?;
            return self.slo.check(&report);
        }
        let Outcome { avg_ms, p50_ms, p95_ms, p99_ms, p999_ms, p9999_ms, max_ms, .. } = outcome;
        // The first two lines are those of Kafka's tool, which knows whole milliseconds only.
        writeln!(out, "Avg latency: {avg_ms:.4} ms")?;
        writeln!(out, "Percentiles: 50th = {}, 99th = {}, 99.9th = {}", p50_ms as u64, p99_ms as u64, p999_ms as u64)?;
        writeln!(
            out,
            "{p50_ms:.3} ms 50th, {p95_ms:.3} ms 95th, {p99_ms:.3} ms 99th, {p999_ms:.3} ms 99.9th, \
             {p9999_ms:.3} ms 99.99th, {max_ms:.3} ms max"
        )?;
        self.slo.check(&report)
    }
}
