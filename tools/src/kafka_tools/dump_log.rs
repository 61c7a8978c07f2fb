//! kafka-dump-log.sh.

use std::path::PathBuf;

use clap::Parser;

use crate::failure::Failure;
use crate::log_dump::{DumpOptions, dump};

/// Explain segments, indexes and snapshots of a data directory.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct DumpLog {
    /// Files, separated by commas.
    #[arg(long, value_name = "FILE", required = true, value_delimiter = ',')]
    files: Vec<PathBuf>,
    #[command(flatten)]
    options: DumpOptions,
}

impl DumpLog {
    /// Explains them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        dump(&self.files, &self.options, false)
    }
}
