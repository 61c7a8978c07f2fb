//! `corelane perf producer`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use corelane_core::client::ProducerOptions;
use corelane_perf::producer::{self, LoadError, Produced, ProducerLoad};
use corelane_perf::report::{Report, wall_clock};
use corelane_perf::run_file::{Run, Settings};
use corelane_perf::slo::Measured;

use super::outcome::{HgrmArguments, JsonReport, OutcomeArguments, print_metrics};
use super::properties::{PropertyArguments, no_transactions};
use super::sending::{
    PlacementArguments, Rate, RecordArguments, SendingArguments, parse_rate, parse_threads, producer_settings, setting,
};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;

/// Arguments of `corelane perf producer`.
#[derive(Args, Debug)]
pub(crate) struct ProducerArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Topic to write to; with several, separated by commas, records go to each in turn. The broker may create them.
    #[arg(long, short = 't', value_name = "TOPIC", required = true, value_delimiter = ',')]
    topic: Vec<String>,
    /// Records to send.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: u64,
    #[command(flatten)]
    records: RecordArguments,
    /// Records a second; -1 is as many as possible. Latency counts from when a record was due.
    #[arg(long, value_name = "RATE", default_value = "-1", value_parser = parse_rate, allow_hyphen_values = true)]
    throughput: Rate,
    /// How many of the records come before the steady state, which is reported on a line of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    warmup_records: u64,
    /// Milliseconds between two lines about what was sent since.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
    /// Producers that share the records, each with connections and a thread of its own.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = parse_threads)]
    producers: usize,
    /// Records of each producer that may wait for their acknowledgement; 1 sends one at a time.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    unacknowledged: Option<u64>,
    #[command(flatten)]
    sending: SendingArguments,
    #[command(flatten)]
    placement: PlacementArguments,
    #[command(flatten)]
    properties: PropertyArguments,
    #[command(flatten)]
    outcome: OutcomeArguments,
    #[command(flatten)]
    hgrm: HgrmArguments,
    /// Print the result, of the steady state if there is a warm-up, as a JSON object; latencies in milliseconds.
    #[arg(long, short = 'J')]
    json: bool,
    // Known, so that they are refused for what they are.
    #[arg(long, hide = true)]
    transactional_id: Option<String>,
    #[arg(long, hide = true)]
    transaction_duration_ms: Option<String>,
}

impl ProducerArguments {
    /// Puts the load on and reports.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let load = self.load()?;
        let shows_progress = !self.json || self.outcome.shows_progress();
        let began = wall_clock();
        let produced = producer::run(&load, |window| {
            if !shows_progress || window.is_empty() {
                return;
            }
            let line = format!(
                "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
                window.records,
                window.records_rate(),
                window.megabytes_rate(),
                window.mean_ms(),
                window.latency_ms(1.0)
            );
            // Nobody reading the interim lines is no reason to stop.
            let _ = match self.json {
                true => writeln!(std::io::stderr().lock(), "{line}"),
                false => writeln!(std::io::stdout().lock(), "{line}"),
            };
        });
        let Produced { course, steady, traffic } = produced.map_err(|error| match error {
            LoadError::Cluster(error) => error.into(),
            LoadError::Topic(topic, code) => Failure::of_topic(&topic, code, ""),
            other => Failure::new(other.to_string()),
        })?;
        let steady = (self.warmup_records > 0).then_some(steady);
        let counted = steady.as_ref().unwrap_or(&course.total);
        self.hgrm.write(&counted.latency_us)?;
        if self.json {
            writeln!(std::io::stdout().lock(), "{}", JsonReport::line(&self.topic.join(","), counted)?)?;
        } else {
            write_report(&course.total, "")?;
            if let Some(steady) = &steady {
                write_report(steady, "steady state ")?;
            }
        }
        if self.properties.print_metrics {
            let total = &course.total;
            let records = ("record-send-total", total.records);
            print_metrics("producer", &load.cluster.client.client_id, &traffic, records, total.seconds)?;
        }
        let checked = self.outcome.check(counted);
        let run = Run::here("producer", began.0, course.total, steady, course.windows);
        self.outcome.keep(run, self.settings(&load), &load.cluster)?;
        checked
    }

    fn load(&self) -> Result<ProducerLoad, Failure> {
        if self.warmup_records >= self.num_records {
            return Err(Failure::new(format!("--warmup-records {}: no record is left to report", self.warmup_records))
                .remedy("Use fewer than --num-records."));
        }
        for (name, value) in [
            ("--transactional-id", &self.transactional_id),
            ("--transaction-duration-ms", &self.transaction_duration_ms),
        ] {
            if value.is_some() {
                return Err(no_transactions(name));
            }
        }
        let mut properties = self.properties.read()?;
        let load = ProducerLoad {
            cluster: properties.cluster(&self.cluster, true)?,
            topics: self.topic.clone(),
            producers: self.producers as u64,
            placement: self.placement.placement(),
            records: self.num_records,
            warmup_records: self.warmup_records,
            interval: Duration::from_millis(self.reporting_interval),
            spec: self.records.spec()?,
            rate: self.throughput.0,
            unacknowledged_max: self.unacknowledged.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            options: self.sending.options(&mut properties, ProducerOptions::default())?,
        };
        properties.finish()?;
        Ok(load)
    }

    fn settings(&self, load: &ProducerLoad) -> Settings {
        let mut settings = vec![
            setting("topic", self.topic.join(",")),
            setting("num-records", self.num_records),
            setting("warmup-records", self.warmup_records),
            setting("throughput", self.throughput),
            setting("producers", self.producers),
        ];
        settings.extend(self.unacknowledged.map(|count| setting("unacknowledged", count)));
        settings.extend(self.records.settings());
        settings.extend(producer_settings(&load.options));
        settings
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
