//! `corelane perf producer`.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use corelane_core::client::{Acks, ProducerOptions};
use corelane_perf::producer::{self, LoadError, Produced, ProducerLoad, TransactionLoad};
use corelane_perf::report::{Report, wall_clock};
use corelane_perf::run_file::{Run, Settings};
use corelane_perf::slo::Measured;

use super::outcome::{HgrmArguments, JsonReport, OutcomeArguments, print_metrics};
use super::properties::{Properties, PropertyArguments};
use super::sending::{
    PlacementArguments, Rate, RecordArguments, SendingArguments, parse_rate, parse_threads, producer_settings, setting,
};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;

/// Time of a transaction if none is given; Kafka's tool has the same.
const TRANSACTION_DURATION_MS: u64 = 3_000;

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
    /// Producers that share the records, each with connections of its own.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = parse_threads)]
    producers: usize,
    /// Threads that the producers are spread over; by default as many as there are processors, at most one for each.
    #[arg(long, value_name = "COUNT", value_parser = parse_threads)]
    threads: Option<usize>,
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
    /// Write in transactions, under this transactional id; with several producers each has its number behind.
    #[arg(long, value_name = "ID")]
    transactional_id: Option<String>,
    /// Milliseconds from the first record of a transaction to its commit (3000 where there are transactions).
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    transaction_duration_ms: Option<u64>,
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
        let mut properties = self.properties.read()?;
        let transactions = self.transactions(&mut properties)?;
        let load = ProducerLoad {
            cluster: properties.cluster(&self.cluster, true)?,
            topics: self.topic.clone(),
            producers: self.producers as u64,
            threads: self.threads(),
            placement: self.placement.placement(),
            records: self.num_records,
            warmup_records: self.warmup_records,
            interval: Duration::from_millis(self.reporting_interval),
            spec: self.records.spec()?,
            rate: self.throughput.0,
            unacknowledged_max: self.unacknowledged.map(|count| usize::try_from(count).unwrap_or(usize::MAX)),
            options: self.sending.options(&mut properties, ProducerOptions::default())?,
            transactions,
        };
        if load.transactions.is_some() && load.options.acks != Acks::All {
            return Err(Failure::new("acks: a transaction needs the acknowledgement of all replicas")
                .remedy("Leave acks out, or set it to all."));
        }
        properties.finish()?;
        Ok(load)
    }

    fn threads(&self) -> usize {
        let processors = match self.placement.cpus.len() {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            pinned_to => pinned_to,
        };
        self.threads.unwrap_or(processors).min(self.producers)
    }

    fn transactions(&self, properties: &mut Properties) -> Result<Option<TransactionLoad>, Failure> {
        let (of_properties, timeout_ms) = properties.transactions()?;
        let transactional_id = self.transactional_id.clone().or(of_properties);
        let duration_ms = self.transaction_duration_ms;
        if transactional_id.is_none() && duration_ms.is_none() {
            return Ok(None);
        }
        let anonymous = || format!("performance-producer-{}-{}", std::process::id(), wall_clock().0);
        Ok(Some(TransactionLoad {
            transactional_id: transactional_id.unwrap_or_else(anonymous),
            duration: Duration::from_millis(duration_ms.unwrap_or(TRANSACTION_DURATION_MS)),
            timeout_ms,
        }))
    }

    fn settings(&self, load: &ProducerLoad) -> Settings {
        let mut settings = vec![
            setting("topic", self.topic.join(",")),
            setting("num-records", self.num_records),
            setting("warmup-records", self.warmup_records),
            setting("throughput", self.throughput),
            setting("producers", self.producers),
            setting("threads", load.threads),
        ];
        settings.extend(self.unacknowledged.map(|count| setting("unacknowledged", count)));
        if let Some(transactions) = &load.transactions {
            settings.push(setting("transaction-duration-ms", transactions.duration.as_millis()));
        }
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
