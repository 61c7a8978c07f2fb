//! `corelane log dump`: explains the files of a data directory: segments, their indexes, producer snapshots, snapshots of
//! the metadata log, checkpoints and the small text files. It reads and never writes; a damaged file is told with the
//! position at which it stops making sense.

mod checkpoint;
mod decoder;
mod index;
mod segment;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use corelane_core::log::names::parse_metadata_snapshot_name;
use corelane_core::log::{SegmentFile, SegmentFileKind};

use crate::failure::{Failure, first_of};
use crate::output::{OutputArguments, line};

use decoder::Decoder;

/// Arguments of `corelane log`.
#[derive(Args, Debug)]
pub(crate) struct Log {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Explain files of a data directory. Nothing is written; a broker may be running.
    Dump {
        /// Files, or directories of partitions whose files are all explained.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        options: DumpOptions,
        #[command(flatten)]
        output: OutputArguments,
    },
}

/// What of a segment to print; the words are those of kafka-dump-log.sh.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DumpOptions {
    /// Print records with their keys and values, not only batches.
    #[arg(long)]
    pub(crate) print_data_log: bool,
    /// Open every batch and look at each record.
    #[arg(long)]
    pub(crate) deep_iteration: bool,
    /// Leave out what is told of each record but its key and value.
    #[arg(long)]
    pub(crate) skip_record_metadata: bool,
    /// Stop after so many bytes of a segment.
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// Only compare indexes with their segment.
    #[arg(long)]
    pub(crate) verify_index_only: bool,
    /// Compare indexes with their segment and print nothing of them.
    #[arg(long)]
    pub(crate) index_sanity_check: bool,
    /// Read records as those of the metadata log; in its directory that is the default.
    #[arg(long)]
    pub(crate) cluster_metadata_decoder: bool,
    /// Read records as those of __consumer_offsets; in its directories that is the default.
    #[arg(long, conflicts_with = "cluster_metadata_decoder")]
    pub(crate) offsets_decoder: bool,
    /// Read records as those of __transaction_state; in its directories that is the default.
    #[arg(long, conflicts_with_all = ["cluster_metadata_decoder", "offsets_decoder"])]
    pub(crate) transaction_log_decoder: bool,
}

impl DumpOptions {
    fn opens_batches(&self) -> bool {
        self.print_data_log
            || self.deep_iteration
            || self.cluster_metadata_decoder
            || self.offsets_decoder
            || self.transaction_log_decoder
    }

    fn decoder(&self, path: &Path) -> Decoder {
        let directory = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        match () {
            () if self.cluster_metadata_decoder => Decoder::Metadata,
            () if self.offsets_decoder => Decoder::Offsets,
            () if self.transaction_log_decoder => Decoder::Transactions,
            () if directory.starts_with("__cluster_metadata-") => Decoder::Metadata,
            () if directory.starts_with("__consumer_offsets-") => Decoder::Offsets,
            () if directory.starts_with("__transaction_state-") => Decoder::Transactions,
            () => Decoder::Text,
        }
    }
}

impl Log {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let Action::Dump { files, options, output } = &self.action;
        let mut all = Vec::new();
        for file in files {
            match file.is_dir() {
                true => all.extend(files_in(file)?),
                false => all.push(file.clone()),
            }
        }
        dump(&all, options, output.json)
    }
}

/// The files of a directory that can be explained, by name.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let named = |error: std::io::Error| Failure::from(error).during(&directory.display().to_string());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.is_file() && Kind::of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(Failure::new(format!("{}: there is no file that could be explained", directory.display()))),
        false => Ok(files),
    }
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Segment(SegmentFile),
    MetadataSnapshot,
    Checkpoint(checkpoint::Kind),
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy();
        if let Some(segment) = SegmentFile::parse(&name) {
            return Some(Self::Segment(segment));
        }
        if parse_metadata_snapshot_name(&name).is_some() || name == "bootstrap.checkpoint" {
            return Some(Self::MetadataSnapshot);
        }
        checkpoint::Kind::of(&name).map(Self::Checkpoint)
    }
}

/// Explains files, one after the other; fails in the end if one of them is damaged or cannot be read.
pub(crate) fn dump(files: &[PathBuf], options: &DumpOptions, json: bool) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for path in files {
        if !json {
            line(format!("Dumping {}", path.display()))?;
        }
        let outcome = match Kind::of(path) {
            Some(Kind::Segment(SegmentFile { kind: SegmentFileKind::Log, base_offset, .. })) => {
                segment::dump(path, Some(base_offset), options, json)
            }
            Some(Kind::MetadataSnapshot) => {
                let options = DumpOptions { cluster_metadata_decoder: true, ..options.clone() };
                segment::dump(path, None, &options, json)
            }
            Some(Kind::Segment(SegmentFile { kind: SegmentFileKind::OffsetIndex, base_offset, .. })) => {
                index::offsets(path, base_offset, options, json)
            }
            Some(Kind::Segment(SegmentFile { kind: SegmentFileKind::TimeIndex, base_offset, .. })) => {
                index::times(path, base_offset, options, json)
            }
            Some(Kind::Segment(SegmentFile { kind: SegmentFileKind::ProducerSnapshot, base_offset, .. })) => {
                checkpoint::producers(path, base_offset, json)
            }
            Some(Kind::Segment(SegmentFile { kind: SegmentFileKind::TransactionIndex, .. })) => {
                index::aborted(path, json)
            }
            Some(Kind::Checkpoint(kind)) => checkpoint::dump(path, kind, json),
            None => Err(Failure::new("its name is none of a data directory's files").remedy(
                "There are *.log, *.index, *.timeindex, *.txnindex, *.snapshot, *.checkpoint, *-checkpoint, partition.metadata, \
                 meta.properties, quorum-state and .kafka_cleanshutdown.",
            )),
        };
        failures.extend(outcome.err().map(|failure| failure.during(&path.display().to_string())));
    }
    first_of(failures)
}
