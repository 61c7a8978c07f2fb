//! `corelane perf end-to-end`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use corelane_core::client::ConsumerOptions;
use corelane_perf::end_to_end::{self, EndToEndLoad, NUMBER_BYTES};

use super::outcome::{HgrmArguments, SloArguments};
use super::sending::{JsonReport, Rate, SendingArguments, parse_rate};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;

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
    #[arg(long, value_name = "RATE", default_value = "-1", value_parser = parse_rate, allow_hyphen_values = true)]
    throughput: Rate,
    #[command(flatten)]
    sending: SendingArguments,
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
            rate: self.throughput.0,
            producer: self.sending.options(),
            consumer: ConsumerOptions::default(),
            patience: Duration::from_millis(self.timeout),
        };
        let report = end_to_end::run(&load).map_err(|error| Failure::new(format!("topic {}: {error}", self.topic)))?;
        self.hgrm.write(&report.latency_us)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", JsonReport::line(&self.topic, &report)?)?;
            return self.slo.check(&report);
        }
        let ms = |quantile| report.latency_ms(quantile);
        // The first two lines are those of Kafka's tool, which knows whole milliseconds only.
        writeln!(out, "Avg latency: {:.4} ms", report.mean_ms())?;
        let whole = [0.5, 0.99, 0.999].map(|quantile| ms(quantile) as u64);
        writeln!(out, "Percentiles: 50th = {}, 99th = {}, 99.9th = {}", whole[0], whole[1], whole[2])?;
        writeln!(
            out,
            "{:.3} ms 50th, {:.3} ms 95th, {:.3} ms 99th, {:.3} ms 99.9th, {:.3} ms 99.99th, {:.3} ms max",
            ms(0.5),
            ms(0.95),
            ms(0.99),
            ms(0.999),
            ms(0.9999),
            ms(1.0)
        )?;
        self.slo.check(&report)
    }
}
