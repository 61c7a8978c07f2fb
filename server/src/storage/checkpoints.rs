//! The files in the root of the data directory that speak of all partitions.
//!
//! The recovery point says up to where a partition is on the device; a start on another boot checks everything behind
//! it. It lags behind what was synced and never runs ahead. The log start and the high watermark stand beside it, as
//! Kafka writes them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use corelane_core::base::{Offset, PartitionIndex};
use corelane_core::log::{OffsetCheckpoint, PreviousRun};

use crate::sys::Sys;

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const CLEANED: &str = "cleaner-offset-checkpoint";

/// Where one partition's log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMarks {
    /// Topic.
    pub topic: String,
    /// Partition of the topic.
    pub index: PartitionIndex,
    /// Everything below is on the device.
    pub recovery_point: Offset,
    /// First offset of the log.
    pub log_start: Offset,
    /// Visible end.
    pub high_watermark: Offset,
    /// Up to where it was compacted, if it was.
    pub cleaned_to: Option<Offset>,
    /// Bytes of its segments.
    pub bytes: u64,
}

/// What the root of the data directory said when the broker started.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    /// How the last run ended.
    pub(crate) previous: PreviousRun,
    recovery_points: OffsetCheckpoint,
    log_starts: OffsetCheckpoint,
    cleaned: OffsetCheckpoint,
}

impl Default for Checkpoints {
    /// Those of an empty directory.
    fn default() -> Self {
        Self::nothing(PreviousRun::OtherBoot)
    }
}

impl Checkpoints {
    /// Checkpoints that say nothing of any partition.
    pub(crate) fn nothing(previous: PreviousRun) -> Self {
        let nothing = OffsetCheckpoint::default;
        Self { previous, recovery_points: nothing(), log_starts: nothing(), cleaned: nothing() }
    }

    /// Reads the files. One that is missing or damaged says nothing, and then everything is checked.
    pub(crate) async fn read<S: Sys>(sys: &S, root: &Path, previous: PreviousRun) -> io::Result<Self> {
        Ok(Self {
            previous,
            recovery_points: read(sys, root, RECOVERY_POINTS).await?,
            log_starts: read(sys, root, LOG_STARTS).await?,
            cleaned: read(sys, root, CLEANED).await?,
        })
    }

    /// Up to where a partition was synced.
    pub(crate) fn recovery_point(&self, topic: &str, index: PartitionIndex) -> Offset {
        self.recovery_points.offsets.get(&(topic.to_owned(), index)).copied().unwrap_or(Offset(0))
    }

    /// Where a partition stood, if that is known.
    pub(crate) fn marks(&self, topic: &str, index: PartitionIndex) -> Option<PartitionMarks> {
        let recovery_point = self.recovery_points.offsets.get(&(topic.to_owned(), index)).copied()?;
        Some(PartitionMarks {
            topic: topic.to_owned(),
            index,
            recovery_point,
            log_start: self.log_start(topic, index),
            high_watermark: recovery_point,
            cleaned_to: self.cleaned_to(topic, index),
            bytes: 0,
        })
    }

    /// Up to where a partition was compacted, if it was.
    pub(crate) fn cleaned_to(&self, topic: &str, index: PartitionIndex) -> Option<Offset> {
        self.cleaned.offsets.get(&(topic.to_owned(), index)).copied()
    }

    /// Where a partition's log starts, if that is not simply its first segment.
    pub(crate) fn log_start(&self, topic: &str, index: PartitionIndex) -> Offset {
        self.log_starts.offsets.get(&(topic.to_owned(), index)).copied().unwrap_or(Offset(0))
    }
}

async fn read<S: Sys>(sys: &S, root: &Path, name: &str) -> io::Result<OffsetCheckpoint> {
    let Some(bytes) = sys.read_file(root.join(name)).await? else { return Ok(OffsetCheckpoint::default()) };
    let parsed = std::str::from_utf8(&bytes).map_err(|error| error.to_string());
    let parsed = parsed.and_then(|text| OffsetCheckpoint::parse(text).map_err(|error| error.to_string()));
    Ok(parsed.unwrap_or_else(|error| {
        tracing::warn!(file = name, %error, "checkpoint is damaged and not used");
        OffsetCheckpoint::default()
    }))
}

/// Writes the files, each replaced as a whole.
pub(crate) async fn write<S: Sys>(sys: &S, root: &Path, marks: &[PartitionMarks]) -> io::Result<()> {
    let checkpoint = |offset: fn(&PartitionMarks) -> Offset| {
        let offsets = marks.iter().map(|marks| ((marks.topic.clone(), marks.index), offset(marks)));
        Bytes::from(OffsetCheckpoint { offsets: offsets.collect() }.to_text())
    };
    sys.replace_file(&root.join(RECOVERY_POINTS), checkpoint(|marks| marks.recovery_point)).await?;
    sys.replace_file(&root.join(LOG_STARTS), checkpoint(|marks| marks.log_start)).await?;
    sys.replace_file(&root.join(HIGH_WATERMARKS), checkpoint(|marks| marks.high_watermark)).await?;
    let cleaned: BTreeMap<_, _> =
        marks.iter().filter_map(|marks| Some(((marks.topic.clone(), marks.index), marks.cleaned_to?))).collect();
    // One that speaks of a topic that is gone would speak of the next of its name.
    if cleaned.is_empty() && sys.read_file(root.join(CLEANED)).await?.is_none_or(|bytes| bytes.is_empty()) {
        return Ok(());
    }
    let text = OffsetCheckpoint { offsets: cleaned }.to_text();
    sys.replace_file(&root.join(CLEANED), Bytes::from(text)).await
}
