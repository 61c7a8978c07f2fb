//! `corelane perf consumer`.

use std::io::Write;

use clap::Args;
use corelane_core::base::Timestamp;
use corelane_core::client::{ConsumerOptions, StartOffset};
use corelane_perf::consumer::{self, Consumed, ConsumerLoad};
use corelane_perf::reader::GroupReader;
use jiff::Zoned;
use serde::Serialize;

use super::outcome::SloArguments;
use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use corelane_perf::report::wall_clock;

const HEADER: &str = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                      rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";
const DETAILED_HEADER: &str = "time, threadId, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                               rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";

/// Arguments of `corelane perf consumer`.
#[derive(Args, Debug)]
pub(crate) struct ConsumerArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Topic to read.
    #[arg(long, short = 't', value_name = "TOPIC")]
    topic: String,
    /// Records to read.
    #[arg(long, alias = "messages", value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    num_records: u64,
    /// Group to read in. By default a new one.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Begin behind the last record where the group has committed nothing. The default is to begin with the first.
    #[arg(long)]
    from_latest: bool,
    /// Bytes of one partition in an answer.
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = clap::value_parser!(i32).range(1..))]
    fetch_size: i32,
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
    #[command(flatten)]
    slo: SloArguments,
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
        let mut driver = self.cluster.driver(false);
        let begun = wall_clock();
        let group = self.group.clone().unwrap_or_else(|| format!("perf-consumer-{}", begun.0));
        let start = if self.from_latest { StartOffset::Latest } else { StartOffset::Earliest };
        let load = ConsumerLoad {
            member: GroupReader::member_of(&group, &self.topic),
            options: ConsumerOptions {
                partition_bytes_max: self.fetch_size,
                reset: Some(start),
                ..ConsumerOptions::default()
            },
            start,
            records: self.num_records,
            patience_ms: self.timeout,
            report_interval_ms: self.reporting_interval,
        };
        crate::consume::wait_for_topic(&mut driver, &self.topic)?;
        if !self.hide_header && !self.json {
            let header = if self.show_detailed_stats { DETAILED_HEADER } else { HEADER };
            writeln!(std::io::stdout().lock(), "{header}")?;
        }
        let total = consumer::run(&mut driver, &load, |total, window| {
            if self.show_detailed_stats {
                // Nobody reading the interim lines is no reason to stop.
                let _ = writeln!(
                    std::io::stdout().lock(),
                    "{}, 0, {}",
                    local_time(wall_clock()),
                    columns(total, window, window.seconds)
                );
            }
        });
        let total = total.map_err(|error| Failure::new(format!("group {group}: {error}")))?;
        let ended = wall_clock();
        let mut out = std::io::stdout().lock();
        if self.json {
            let result = Outcome {
                topic: &self.topic,
                group: &group,
                start_ms: begun.0,
                end_ms: ended.0,
                records: total.records,
                bytes: total.bytes,
                seconds: total.seconds,
                rebalance_seconds: total.rebalance_seconds,
            };
            writeln!(out, "{}", serde_json::to_string(&result).map_err(std::io::Error::other)?)?;
        } else if !self.show_detailed_stats {
            let row = columns(&total, &total, total.seconds);
            writeln!(out, "{}, {}, {row}", local_time(begun), local_time(ended))?;
        }
        if total.records < self.num_records {
            let (missing, ms) = (self.num_records - total.records, self.timeout);
            return Err(Failure::new(format!("{missing} records did not come: nothing did for {ms} ms"))
                .remedy("Read fewer with --num-records, or wait longer with --timeout."));
        }
        self.slo.check(&total)
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

/// As Kafka's tool writes times: in the machine's own zone.
fn local_time(at: Timestamp) -> String {
    let zoned = jiff::Timestamp::from_millisecond(at.0).map(|at| Zoned::new(at, jiff::tz::TimeZone::system()));
    zoned.map_or_else(|_| at.0.to_string(), |zoned| zoned.strftime("%Y-%m-%d %H:%M:%S:%3f").to_string())
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
