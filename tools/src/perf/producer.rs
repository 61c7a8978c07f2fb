//! `corelane perf producer`.

use std::io::Write;

use clap::Args;
use corelane_core::client::{Acks, ProducerOptions};
use corelane_core::record::Compression;
use corelane_perf::producer::{self, LoadError, ProducerLoad, Report};

use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::produce::{CodecName, parse_acks};

/// Arguments of `corelane perf producer`.
#[derive(Args, Debug)]
pub(super) struct ProducerArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Topic to write to. The broker may create it.
    #[arg(long, short = 't', value_name = "TOPIC")]
    topic: String,
    /// Records to send.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: u64,
    /// Bytes of each record's value.
    #[arg(long, value_name = "BYTES")]
    record_size: usize,
    /// Records a second; -1 is as many as possible. Latency counts from when a record was due.
    #[arg(long, value_name = "RATE", default_value_t = -1, allow_hyphen_values = true)]
    throughput: i64,
    /// Codec of the batches.
    #[arg(long, short = 'z', value_enum, value_name = "CODEC", default_value = "none")]
    codec: CodecName,
    /// Whose word to wait for: nobody's (0), the leader's (1) or that of all replicas in sync.
    #[arg(long, value_name = "0|1|all", default_value = "all", value_parser = parse_acks, allow_hyphen_values = true)]
    acks: Acks,
    /// Milliseconds that a batch waits for more records.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    linger_ms: u64,
    /// Bytes of a batch, before compression.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    batch_size: usize,
}

impl ProducerArguments {
    /// Puts the load on and reports.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut driver = self.cluster.driver(true);
        let load = ProducerLoad {
            topic: self.topic.clone(),
            records: self.num_records,
            record_bytes: self.record_size,
            rate: u64::try_from(self.throughput).ok().filter(|rate| *rate > 0),
            options: ProducerOptions {
                acks: self.acks,
                compression: Compression { codec: self.codec.codec(), level: None },
                linger_ms: self.linger_ms,
                batch_bytes_max: self.batch_size,
                ..ProducerOptions::default()
            },
        };
        let report = producer::run(&mut driver, &load, |window| {
            // Nobody reading the interim lines is no reason to stop.
            let _ = writeln!(
                std::io::stdout().lock(),
                "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
                window.records,
                window.rate(),
                window.megabytes_rate(),
                window.latency_us.mean() / 1e3,
                window.latency_ms(1.0)
            );
        });
        let report = report.map_err(|error| match error {
            LoadError::Cluster(error) => error.into(),
            LoadError::Topic(code) => Failure::of_topic(&self.topic, code, ""),
            other => Failure::new(other.to_string()),
        })?;
        write_report(&report)?;
        Ok(())
    }
}

fn write_report(report: &Report) -> std::io::Result<()> {
    writeln!(
        std::io::stdout().lock(),
        "{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, \
         {:.2} ms 50th, {:.2} ms 95th, {:.2} ms 99th, {:.2} ms 99.9th.",
        report.records,
        report.rate(),
        report.megabytes_rate(),
        report.latency_us.mean() / 1e3,
        report.latency_ms(1.0),
        report.latency_ms(0.5),
        report.latency_ms(0.95),
        report.latency_ms(0.99),
        report.latency_ms(0.999)
    )
}
