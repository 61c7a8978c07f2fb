//! `corelane perf end-to-end`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use corelane_core::client::{ConsumerOptions, ProducerOptions};
use corelane_perf::end_to_end::{self, Arrived, EndToEndLoad, NUMBER_BYTES, READERS_MAX};
use corelane_perf::report::wall_clock;
use corelane_perf::run_file::{Run, Settings};
use corelane_perf::slo::Measured;

use super::outcome::{HgrmArguments, JsonReport, OutcomeArguments, quantiles};
use super::properties::PropertyArguments;
use super::sending::{
    HeaderArguments, PlacementArguments, Rate, SendingArguments, parse_rate, producer_settings, setting,
};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;

/// Time between two lines about how it goes.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

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
    /// Bytes of each record's key; 0 is no key.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    record_key_size: usize,
    #[command(flatten)]
    headers: HeaderArguments,
    /// Readers, each of which reads everything; each arrival counts.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = parse_readers)]
    readers: usize,
    #[command(flatten)]
    sending: SendingArguments,
    /// Milliseconds without an arrival after which it gives up.
    #[arg(long, value_name = "MS", default_value_t = 60_000)]
    timeout: u64,
    #[command(flatten)]
    placement: PlacementArguments,
    #[command(flatten)]
    properties: PropertyArguments,
    #[command(flatten)]
    outcome: OutcomeArguments,
    #[command(flatten)]
    hgrm: HgrmArguments,
    /// Print the result as a JSON object; latencies in milliseconds.
    #[arg(long, short = 'J')]
    json: bool,
}

fn parse_readers(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=READERS_MAX).contains(count));
    count.ok_or_else(|| format!("it is a number from 1 to {READERS_MAX}"))
}

impl EndToEndArguments {
    /// Puts the load on and reports.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let load = self.load()?;
        crate::consume::wait_for_topic(&mut load.cluster.driver(), &self.topic)?;
        let began = wall_clock();
        let shows_progress = self.outcome.shows_progress();
        let arrived = end_to_end::run(&load, |window| {
            if shows_progress && !window.is_empty() {
                // Nobody reading the interim lines is no reason to stop.
                let (records, rate) = (window.records, window.records_rate());
                let line = format!("{records} records arrived, {rate:.1} records/sec, {}.", quantiles(window));
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
        });
        let Arrived { course, steady } =
            arrived.map_err(|error| Failure::new(format!("topic {}: {error}", self.topic)))?;
        self.hgrm.write(&steady.latency_us)?;
        if self.json {
            writeln!(std::io::stdout().lock(), "{}", JsonReport::line(&self.topic, &steady)?)?;
        } else {
            let mut out = std::io::stdout().lock();
            // The first two lines are those of Kafka's tool, which knows whole milliseconds only.
            writeln!(out, "Avg latency: {:.4} ms", steady.mean_ms())?;
            let whole = [0.5, 0.99, 0.999].map(|quantile| steady.latency_ms(quantile) as u64);
            writeln!(out, "Percentiles: 50th = {}, 99th = {}, 99.9th = {}", whole[0], whole[1], whole[2])?;
            writeln!(out, "{}", quantiles(&steady))?;
        }
        let checked = self.outcome.check(&steady);
        let run = Run::here("end-to-end", began.0, course.total, Some(steady), course.windows);
        self.outcome.keep(run, self.settings(&load), &load.cluster)?;
        checked
    }

    fn load(&self) -> Result<EndToEndLoad, Failure> {
        if self.record_size < NUMBER_BYTES {
            return Err(Failure::new(format!("--record-size {}: a value begins with its number", self.record_size))
                .remedy(format!("Use {NUMBER_BYTES} or more.")));
        }
        let mut properties = self.properties.read()?;
        let mut consumer = ConsumerOptions::default();
        properties.consumer(&mut consumer)?;
        // As Kafka's tool: a record goes at once.
        let producer = ProducerOptions { linger_ms: 0, ..ProducerOptions::default() };
        let load = EndToEndLoad {
            cluster: properties.cluster(&self.cluster, true)?,
            topic: self.topic.clone(),
            records: self.num_records,
            warmup_records: self.warmup_records,
            record_bytes: self.record_size,
            key_bytes: self.record_key_size,
            headers: self.headers.headers()?,
            readers: self.readers,
            placement: self.placement.placement(),
            interval: PROGRESS_INTERVAL,
            rate: self.throughput.0,
            producer: self.sending.options(&mut properties, producer)?,
            consumer,
            patience: Duration::from_millis(self.timeout),
        };
        properties.finish()?;
        Ok(load)
    }

    fn settings(&self, load: &EndToEndLoad) -> Settings {
        let mut settings = vec![
            setting("topic", &self.topic),
            setting("num-records", self.num_records),
            setting("warmup-records", self.warmup_records),
            setting("throughput", self.throughput),
            setting("record-size", self.record_size),
            setting("record-key-size", self.record_key_size),
            setting("readers", self.readers),
        ];
        settings.extend(producer_settings(&load.producer));
        settings.push(setting("fetch.min.bytes", load.consumer.bytes_min));
        settings.push(setting("fetch.max.wait.ms", load.consumer.wait_ms_max));
        settings
    }
}
