//! What every load does with its result.

use std::path::PathBuf;

use clap::Args;
use corelane_perf::hgrm;
use corelane_perf::slo::{Measured, Objectives};
use hdrhistogram::Histogram;

use crate::failure::Failure;

/// What a result has to be.
#[derive(Args, Debug)]
pub(crate) struct SloArguments {
    /// What the result has to be, as 'p99<5ms,p99.9<20ms,throughput>100MB/s'; if it is not, the exit status is 1. There
    /// are pNN, avg and max in us, ms or s, and throughput in MB/s, MiB/s or records/s.
    #[arg(long, value_name = "OBJECTIVES")]
    slo: Option<Objectives>,
}

impl SloArguments {
    /// Fails with every objective that was missed.
    pub(crate) fn check(&self, run: &impl Measured) -> Result<(), Failure> {
        let missed = self.slo.as_ref().map(|objectives| objectives.missed(run)).unwrap_or_default();
        if missed.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = missed.iter().map(ToString::to_string).collect();
        Err(Failure::new(lines.join("\n")))
    }
}

/// Where latencies go.
#[derive(Args, Debug)]
pub(crate) struct HgrmArguments {
    /// Write the latencies there, in milliseconds, as HdrHistogram's plotters read them.
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
}

impl HgrmArguments {
    /// Writes the file, if there is to be one.
    pub(crate) fn write(&self, latency_us: &Histogram<u64>) -> Result<(), Failure> {
        let Some(path) = &self.hgrm else { return Ok(()) };
        let name = path.display().to_string();
        std::fs::write(path, hgrm::write(latency_us)).map_err(|error| Failure::from(error).during(&name))
    }
}
