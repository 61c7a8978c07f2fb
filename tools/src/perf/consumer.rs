//! `corelane perf consumer`.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::{ArgGroup, Args};
use corelane_core::base::Timestamp;
use corelane_core::client::{ConsumerOptions, MemberOptions, StartOffset};
use corelane_perf::consumer::{self, Consumed, ConsumerLoad, Read};
use corelane_perf::driver::{Cluster, SocketBuffers};
use corelane_perf::report::wall_clock;
use corelane_perf::run_file::{Run, Settings};
use corelane_perf::slo::Measured;
use jiff::Zoned;
use serde::Serialize;

use super::date_format::DateFormat;
use super::outcome::{OutcomeArguments, print_metrics};
use super::properties::PropertyArguments;
use super::sending::{PlacementArguments, parse_threads, setting};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::name_pattern::included_topics;

/// As kafka-consumer-perf-test asks for.
const RECEIVE_BUFFER_BYTES: usize = 2_097_152;
const HEADER: &str = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                      rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";
const DETAILED_HEADER: &str = "time, threadId, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                               rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";

/// Arguments of `corelane perf consumer`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("topics").required(true).args(["topic", "include"])))]
pub(crate) struct ConsumerArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Topic to read, or several, separated by commas.
    #[arg(long, short = 't', value_name = "TOPIC", value_delimiter = ',')]
    topic: Vec<String>,
    /// Read the topics that there are now and whose names match a regular expression.
    #[arg(long, value_name = "REGEX")]
    include: Option<String>,
    /// Records to read.
    #[arg(long, alias = "messages", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: u64,
    /// Group to read in. By default a new one.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Begin behind the last record where the group has committed nothing. The default is to begin with the first.
    #[arg(long)]
    from_latest: bool,
    /// Consumers that share the topics, each with connections and a thread of its own.
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = parse_threads)]
    consumers: usize,
    /// Bytes of one partition in an answer (max.partition.fetch.bytes) [default: 1048576].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(1..))]
    fetch_size: Option<i32>,
    /// Bytes that the system keeps of what has come in (receive.buffer.bytes) [default: 2097152].
    #[arg(long, value_name = "BYTES")]
    socket_buffer_size: Option<usize>,
    /// Milliseconds without a record after which it gives up.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    timeout: u64,
    /// Tell what was read in each interval, instead of once in the end.
    #[arg(long)]
    show_detailed_stats: bool,
    /// Milliseconds of such an interval.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    reporting_interval: u64,
    /// Leave the names of the columns out.
    #[arg(long)]
    hide_header: bool,
    /// How times are written, in letters of Java's SimpleDateFormat.
    #[arg(long, value_name = "FORMAT", default_value = "yyyy-MM-dd HH:mm:ss:SSS")]
    date_format: DateFormat,
    /// Take only values that `corelane perf producer` made from this seed, and name the first that is none of them.
    #[arg(long, value_name = "SEED")]
    check_values: Option<u64>,
    #[command(flatten)]
    placement: PlacementArguments,
    #[command(flatten)]
    properties: PropertyArguments,
    #[command(flatten)]
    outcome: OutcomeArguments,
    /// Print the result as a JSON object.
    #[arg(long, short = 'J', conflicts_with = "show_detailed_stats")]
    json: bool,
}

/// The result, with stable names.
#[derive(Serialize)]
struct Outcome<'a> {
    topic: &'a str,
    group: &'a str,
    start_ms: i64,
    end_ms: i64,
    records: u64,
    bytes: u64,
    seconds: f64,
    rebalance_seconds: f64,
}

impl ConsumerArguments {
    /// Reads and reports.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let began = wall_clock();
        let load = self.load(began)?;
        let group = &load.member.group;
        for topic in &load.member.topics {
            crate::consume::wait_for_topic(&mut load.cluster.driver(), topic)?;
        }
        let time = |at| self.date_format.write(&zoned(at));
        if !self.hide_header && !self.json {
            let header = if self.show_detailed_stats { DETAILED_HEADER } else { HEADER };
            writeln!(std::io::stdout().lock(), "{header}")?;
        }
        let shows_progress = !self.show_detailed_stats && self.outcome.shows_progress();
        let result = consumer::run(&load, |total, window| {
            // Nobody reading the interim lines is no reason to stop.
            if self.show_detailed_stats {
                let columns = columns(total, window, window.seconds);
                let _ = writeln!(std::io::stdout().lock(), "{}, 0, {columns}", time(wall_clock()));
            } else if shows_progress {
                let megabytes = window.bytes_rate() / 1_048_576.0;
                let (records, rate) = (total.records, window.records_rate());
                let line = format!("{records} records read, {rate:.1} records/sec ({megabytes:.2} MB/sec).");
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
        });
        let Read { total, windows, traffic } =
            result.map_err(|error| Failure::new(format!("group {group}: {error}")))?;
        let ended = wall_clock();
        let mut out = std::io::stdout().lock();
        let topic = load.member.topics.iter().cloned().collect::<Vec<_>>().join(",");
        if self.json {
            let result = Outcome {
                topic: &topic,
                group,
                start_ms: began.0,
                end_ms: ended.0,
                records: total.records,
                bytes: total.bytes,
                seconds: total.seconds,
                rebalance_seconds: total.rebalance_seconds,
            };
            writeln!(out, "{}", serde_json::to_string(&result).map_err(std::io::Error::other)?)?;
        } else if !self.show_detailed_stats {
            let row = columns(&total, &total, total.seconds);
            writeln!(out, "{}, {}, {row}", time(began), time(ended))?;
        }
        drop(out);
        if self.properties.print_metrics {
            let records = ("records-consumed-total", total.records);
            print_metrics("consumer", &load.cluster.client.client_id, &traffic, records, total.seconds)?;
        }
        if total.records < self.num_records {
            let (missing, ms) = (self.num_records - total.records, self.timeout);
            return Err(Failure::new(format!("{missing} records did not come: nothing did for {ms} ms"))
                .remedy("Read fewer with --num-records, or wait longer with --timeout."));
        }
        let checked = self.outcome.check(&total);
        let run = Run::here("consumer", began.0, total.report(), None, windows);
        self.outcome.keep(run, self.settings(&load, &topic), &load.cluster)?;
        checked
    }

    fn load(&self, began: Timestamp) -> Result<ConsumerLoad, Failure> {
        let mut properties = self.properties.read()?;
        let mut cluster = properties.cluster(&self.cluster, false)?;
        let SocketBuffers { receive_bytes, .. } = &mut cluster.buffers;
        *receive_bytes = self.socket_buffer_size.or(*receive_bytes).or(Some(RECEIVE_BUFFER_BYTES));
        let mut start = StartOffset::Earliest;
        let mut member = MemberOptions::new(&format!("perf-consumer-{}", began.0), self.topics(&cluster)?);
        properties.member(&mut member, &mut start)?;
        if let Some(group) = &self.group {
            member.group.clone_from(group);
        }
        if self.from_latest {
            start = StartOffset::Latest;
        }
        let mut options = ConsumerOptions::default();
        properties.consumer(&mut options)?;
        options.partition_bytes_max = self.fetch_size.unwrap_or(options.partition_bytes_max);
        options.reset = Some(start);
        properties.finish()?;
        Ok(ConsumerLoad {
            cluster,
            member,
            consumers: self.consumers,
            placement: self.placement.placement(),
            options,
            start,
            records: self.num_records,
            patience_ms: self.timeout,
            interval: Duration::from_millis(self.reporting_interval),
            check: self.check_values,
        })
    }

    fn topics(&self, cluster: &Cluster) -> Result<BTreeSet<String>, Failure> {
        match &self.include {
            Some(include) => included_topics(include, cluster.driver()),
            None => Ok(self.topic.iter().cloned().collect()),
        }
    }

    fn settings(&self, load: &ConsumerLoad, topic: &str) -> Settings {
        vec![
            setting("topic", topic),
            setting("num-records", self.num_records),
            setting("consumers", self.consumers),
            setting("fetch.min.bytes", load.options.bytes_min),
            setting("fetch.max.wait.ms", load.options.wait_ms_max),
            setting("fetch.max.bytes", load.options.bytes_max),
            setting("max.partition.fetch.bytes", load.options.partition_bytes_max),
            setting("check.crcs", load.options.check_crc),
        ]
    }
}

/// The columns behind the time: totals, with the rates of `window`.
fn columns(total: &Consumed, window: &Consumed, seconds: f64) -> String {
    let per = |amount: f64, seconds: f64| amount / seconds.max(f64::MIN_POSITIVE);
    let fetch = window.fetch_seconds();
    format!(
        "{:.4}, {:.4}, {}, {:.4}, {:.0}, {:.0}, {:.4}, {:.4}",
        total.megabytes(),
        per(window.megabytes(), seconds),
        total.records,
        per(window.records as f64, seconds),
        window.rebalance_seconds * 1e3,
        fetch * 1e3,
        per(window.megabytes(), fetch),
        per(window.records as f64, fetch),
    )
}

/// A time in the machine's own zone.
fn zoned(at: Timestamp) -> Zoned {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    Zoned::new(at, jiff::tz::TimeZone::system())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_kafkas_tool() {
        let total = Consumed { records: 1_000, bytes: 10_485_760, seconds: 2.5, rebalance_seconds: 0.5 };
        assert_eq!(columns(&total, &total, 2.5), "10.0000, 4.0000, 1000, 400.0000, 500, 2000, 5.0000, 500.0000");
        assert_eq!(HEADER.split(", ").count(), 2 + columns(&total, &total, 2.5).split(", ").count());
    }
}
