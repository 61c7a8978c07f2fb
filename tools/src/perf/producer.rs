//! `corelane perf producer`.

use std::io::Write;

use clap::Args;
use corelane_perf::producer::{self, LoadError, ProducerLoad};
use corelane_perf::report::Report;
use corelane_perf::slo::Measured;

use super::outcome::{HgrmArguments, SloArguments};
use super::sending::{JsonReport, Rate, SendingArguments, parse_rate};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;

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
    #[arg(long, value_name = "RATE", default_value = "-1", value_parser = parse_rate, allow_hyphen_values = true)]
    throughput: Rate,
    /// How many of the records come before the steady state, which is reported on a line of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    warmup_records: u64,
    /// Milliseconds between two lines about what was sent since.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
    #[command(flatten)]
    sending: SendingArguments,
    #[command(flatten)]
    slo: SloArguments,
    #[command(flatten)]
    hgrm: HgrmArguments,
    /// Print the result, of the steady state if there is a warm-up, as a JSON object; latencies in milliseconds.
    #[arg(long, short = 'J')]
    json: bool,
}

impl ProducerArguments {
    /// Puts the load on and reports.
    pub(super) fn run(&self) -> Result<(), Failure> {
        if self.warmup_records >= self.num_records {
            return Err(Failure::new(format!("--warmup-records {}: no record is left to report", self.warmup_records))
                .remedy("Use fewer than --num-records."));
        }
        let mut driver = self.cluster.driver(true);
        let load = ProducerLoad {
            topic: self.topic.clone(),
            records: self.num_records,
            warmup_records: self.warmup_records,
            report_interval_ms: self.reporting_interval,
            record_bytes: self.record_size,
            rate: self.throughput.0,
            options: self.sending.options(),
        };
        let reports = producer::run(&mut driver, &load, |window| {
            if self.json || window.is_empty() {
                return;
            }
            // Nobody reading the interim lines is no reason to stop.
            let _ = writeln!(
                std::io::stdout().lock(),
                "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
                window.records,
                window.records_rate(),
                window.megabytes_rate(),
                window.mean_ms(),
                window.latency_ms(1.0)
            );
        });
        let (total, steady) = reports.map_err(|error| match error {
            LoadError::Cluster(error) => error.into(),
            LoadError::Topic(code) => Failure::of_topic(&self.topic, code, ""),
            other => Failure::new(other.to_string()),
        })?;
        let counted = if self.warmup_records > 0 { &steady } else { &total };
        self.hgrm.write(&counted.latency_us)?;
        if self.json {
            writeln!(std::io::stdout().lock(), "{}", JsonReport::line(&self.topic, counted)?)?;
        } else {
            write_report(&total, "")?;
            if self.warmup_records > 0 {
                write_report(&steady, "steady state ")?;
            }
        }
        self.slo.check(counted)
    }
}

fn write_report(report: &Report, of: &str) -> std::io::Result<()> {
    writeln!(
        std::io::stdout().lock(),
        "{} {of}records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, \
         {:.2} ms 50th, {:.2} ms 95th, {:.2} ms 99th, {:.2} ms 99.9th.",
        report.records,
        report.records_rate(),
        report.megabytes_rate(),
        report.mean_ms(),
        report.latency_ms(1.0),
        report.latency_ms(0.5),
        report.latency_ms(0.95),
        report.latency_ms(0.99),
        report.latency_ms(0.999)
    )
}
