//! What every load does with its result.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use corelane_perf::comparison::QUANTILES;
use corelane_perf::driver::{Cluster, Traffic};
use corelane_perf::report::Report;
use corelane_perf::run_file::{Run, Settings};
use corelane_perf::slo::{Measured, Objectives};
use corelane_perf::{hgrm, html};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::admin::Admin;
use crate::configs;
use crate::failure::Failure;

/// What a result has to be, and where it goes.
#[derive(Args, Debug)]
pub(super) struct OutcomeArguments {
    /// What the result has to be, as 'p99<5ms,p99.9<20ms,throughput>100MB/s'; if it is not, the exit status is 1. There
    /// are pNN, avg and max in us, ms or s, and throughput in MB/s, MiB/s or records/s.
    #[arg(long, value_name = "OBJECTIVES")]
    slo: Option<Objectives>,
    /// Keep the run there, with the machine, what the load was told and what the broker is set to; `corelane perf compare`
    /// reads it.
    #[arg(long, value_name = "FILE")]
    result: Option<PathBuf>,
    /// Write a page with tables and plots there.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Tell on the standard error how it goes, also where that is no terminal.
    #[arg(long)]
    progress: bool,
}

impl OutcomeArguments {
    /// Whether somebody wants to know how it goes.
    pub(super) fn shows_progress(&self) -> bool {
        self.progress || std::io::stderr().is_terminal()
    }

    /// Keeps the run and writes its page, as far as that is asked for.
    pub(super) fn keep(&self, mut run: Run, settings: Settings, cluster: &Cluster) -> Result<(), Failure> {
        if self.result.is_none() && self.html.is_none() {
            return Ok(());
        }
        run.settings = settings;
        run.broker = cluster.client.bootstrap.first().map(ToString::to_string).unwrap_or_default();
        run.broker_settings = match configs::broker_settings(&mut Admin::new(cluster.driver())) {
            Ok(settings) => settings,
            Err(failure) => {
                crate::output::note(format!("what the broker is set to is not kept: {}", failure));
                Settings::new()
            }
        };
        if let Some(path) = &self.result {
            write_file(path, &run.encode())?;
        }
        if let Some(path) = &self.html {
            write_file(path, html::page(&format!("corelane perf {}", run.load), &[("run", &run)]).as_bytes())?;
        }
        Ok(())
    }

    /// Fails with every objective that was missed.
    pub(super) fn check(&self, run: &impl Measured) -> Result<(), Failure> {
        let missed = self.slo.as_ref().map(|objectives| objectives.missed(run)).unwrap_or_default();
        if missed.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = missed.iter().map(ToString::to_string).collect();
        Err(Failure::new(lines.join("\n")))
    }
}

/// Writes a whole file, and names it when that fails.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|error| Failure::from(error).during(&path.display().to_string()))
}

/// Where latencies go.
#[derive(Args, Debug)]
pub(super) struct HgrmArguments {
    /// Write the latencies there, in milliseconds, as HdrHistogram's plotters read them.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

impl HgrmArguments {
    /// Writes the file, if there is to be one.
    pub(super) fn write(&self, latency_us: &Histogram<u64>) -> Result<(), Failure> {
        self.hgrm.as_ref().map_or(Ok(()), |path| write_file(path, hgrm::write(latency_us).as_bytes()))
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

/// Every quantile on one line.
pub(super) fn quantiles(report: &Report) -> String {
    let each = QUANTILES.iter().map(|(name, quantile)| {
        let name = name.trim_end_matches(" ms");
        let ordinal = name.strip_prefix('p').map_or(name.to_owned(), |number| format!("{number}th"));
        format!("{:.3} ms {ordinal}", report.latency_ms(*quantile))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Prints what has gone through a client, under the names of Kafka's metrics and as its tools print them.
pub(super) fn print_metrics(
    group: &str,
    client_id: &str,
    traffic: &Traffic,
    records: (&str, u64),
    seconds: f64,
) -> Result<(), Failure> {
    let per_second = |total: u64| total as f64 / seconds.max(f64::MIN_POSITIVE);
    let metrics = BTreeMap::from([
        ("connection-creation-total", traffic.connections as f64),
        ("incoming-byte-rate", per_second(traffic.bytes_in)),
        ("incoming-byte-total", traffic.bytes_in as f64),
        ("network-io-total", traffic.calls as f64),
        ("outgoing-byte-rate", per_second(traffic.bytes_out)),
        ("outgoing-byte-total", traffic.bytes_out as f64),
        ("response-total", traffic.answers as f64),
        (records.0, records.1 as f64),
    ]);
    let full = |name: &str| format!("{group}-metrics:{name}:{{client-id={client_id}}}");
    let width = metrics.keys().map(|name| full(name).len()).max().unwrap_or(0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{:<width$}   Value", "Metric Name")?;
    for (name, value) in &metrics {
        writeln!(out, "{:<width$} : {value:.3}", full(name))?;
    }
    Ok(())
}
