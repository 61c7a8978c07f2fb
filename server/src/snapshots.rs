//! Snapshots of the metadata log: read at a start, written when one is due, removed with the log below them.
//!
//! A snapshot holds what is on the device in the log already, so it adds nothing and may be missing; but once it lets
//! older things go, the newest one and the log behind it are the cluster. The order that keeps this so:
//!
//! | step | a crash here leaves |
//! | --- | --- |
//! | `….checkpoint.part` is written, then synced | a part, which the next start removes |
//! | it is renamed to `….checkpoint`, then the directory is synced | the part or the whole snapshot; all it stands for is still there |
//! | where size or age want it, the log's start is raised to the end of a snapshot, the newest at most | nothing: a start knows it by what is there |
//! | segments wholly below are removed, the oldest first, the directory synced after each | the log from one of them on, without a gap |
//! | snapshots below are removed | some of them; they are removed later |
//!
//! Encoding happens on a helper thread; writing and removing are a background task, one at a time. Changes of the
//! metadata go on meanwhile and are not in the snapshot.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelane_core::base::{FilePosition, LeaderEpoch, Monotonic, Offset, Timestamp};
use corelane_core::limits::METADATA_CLEAN_INTERVAL_MS;
use corelane_core::log::index::OffsetIndex;
use corelane_core::log::names::{
    SegmentFile, SegmentFileKind, is_metadata_snapshot_remnant, metadata_snapshot_name, parse_metadata_snapshot_name,
};
use corelane_core::metadata::{
    MetadataImage, RecoveredMetadata, Replay, SinceSnapshot, SnapshotFile, SnapshotRules, SnapshottedSegment, Voter,
    encode_snapshot, last_contained_timestamp,
};
use corelane_core::record::BatchHeader;
use corelane_core::record::header::HEADER_BYTES;

use crate::local::Signal;
use crate::storage::PartitionLog;
use crate::sys::{OpenMode, Sys};

/// Bytes at the beginning of a snapshot that hold at least its first batch: header and voters.
const BEGINNING_BYTES: usize = 64 * 1024;

/// The snapshots of a metadata log, and when the next is due.
pub(crate) struct Snapshots {
    directory: PathBuf,
    rules: SnapshotRules,
    /// Those that are there, whole and synced.
    files: RefCell<BTreeMap<(Offset, LeaderEpoch), SnapshotFile>>,
    /// Bytes of the log behind the newest.
    bytes_since: Cell<u64>,
    /// When the newest was begun, or this run.
    begun: Cell<Monotonic>,
    /// When it was last looked for what can go.
    cleaned: Cell<Monotonic>,
    /// A task writes or removes.
    busy: Cell<bool>,
    /// Raised when that task has ended.
    idle: Signal,
    /// Nothing is begun any more: the node stops.
    closed: Cell<bool>,
}

/// What a start found beside and in the metadata log.
pub(crate) struct ReadMetadata {
    /// What they say.
    pub(crate) recovered: RecoveredMetadata,
    /// What there is of snapshots.
    pub(crate) snapshots: FoundSnapshots,
}

/// The snapshots that a start found.
pub(crate) struct FoundSnapshots {
    files: BTreeMap<(Offset, LeaderEpoch), SnapshotFile>,
    /// Bytes of the log that were read because no snapshot has them.
    bytes_since: u64,
}

/// What a snapshot says: the metadata on the device, and who decides about it.
pub(crate) struct Contents {
    pub(crate) image: Arc<MetadataImage>,
    pub(crate) voters: Vec<Voter>,
}

impl Snapshots {
    /// Takes over what a start found.
    pub(crate) fn new<S: Sys>(sys: &S, directory: PathBuf, rules: SnapshotRules, found: FoundSnapshots) -> Self {
        Self {
            directory,
            rules,
            files: RefCell::new(found.files),
            bytes_since: Cell::new(found.bytes_since),
            begun: Cell::new(sys.now()),
            cleaned: Cell::new(sys.now()),
            busy: Cell::new(false),
            idle: Signal::default(),
            closed: Cell::new(false),
        }
    }

    /// So many bytes more are in the log.
    pub(crate) fn appended(&self, bytes: u64) {
        self.bytes_since.set(self.bytes_since.get().saturating_add(bytes));
    }

    /// Begins, in the background, what is due. `contents` are those of now; asked for only if a snapshot is written.
    pub(crate) fn tend<S: Sys>(self: &Rc<Self>, log: &Rc<PartitionLog<S>>, contents: impl FnOnce() -> Contents) {
        let sys = &log.sys;
        if self.closed.get() || self.busy.get() {
            return;
        }
        let elapsed_ms = sys.now().since_ns(self.begun.get()) / 1_000_000;
        let is_due = self.rules.is_due(SinceSnapshot { bytes: self.bytes_since.get(), elapsed_ms });
        let cleaned_ms = sys.now().since_ns(self.cleaned.get()) / 1_000_000;
        if !is_due && cleaned_ms < METADATA_CLEAN_INTERVAL_MS {
            return;
        }
        let contents = is_due.then(contents);
        if is_due {
            // Whatever comes of it: one that fails is tried again when the next is due.
            self.bytes_since.set(0);
            self.begun.set(sys.now());
        }
        self.busy.set(true);
        let (this, log) = (Rc::clone(self), Rc::clone(log));
        sys.spawn("metadata snapshot", async move {
            if let Some(contents) = contents
                && let Err(error) = this.write(&log.sys, contents).await
            {
                tracing::warn!(%error, "snapshot of the metadata log could not be written; the log is kept meanwhile");
            }
            this.cleaned.set(log.sys.now());
            if let Err(error) = this.clean(&log).await {
                tracing::warn!(%error, "old snapshots of the metadata log could not be removed");
            }
            this.busy.set(false);
            this.idle.raise();
        });
    }

    /// Begins nothing any more, and waits for what is in progress.
    pub(crate) async fn close(&self) {
        self.closed.set(true);
        while self.busy.get() {
            self.idle.next().await;
        }
    }

    async fn write<S: Sys>(&self, sys: &S, contents: Contents) -> io::Result<()> {
        let position = contents.image.position;
        let id = (position.end_offset, position.epoch);
        if self.files.borrow().contains_key(&id) {
            return Ok(());
        }
        let wall = sys.wall();
        let Contents { image, voters } = contents;
        let batches = sys.work(move || encode_snapshot(&image, &voters, wall)).await.map_err(io::Error::other)?;
        let bytes = batches.iter().map(|batch| batch.len() as u64).sum();
        let path = self.directory.join(metadata_snapshot_name(id.0, id.1));
        let part = path.with_added_extension("part");
        if let Err(error) = write_whole(sys, &part, batches).await {
            // Nothing of it is needed; what cannot be removed now, the next start removes.
            let _ = sys.remove_file(part).await;
            return Err(error);
        }
        sys.rename(part, path.clone()).await?;
        sys.sync_directory(self.directory.clone()).await?;
        let (end_offset, epoch) = id;
        let file = SnapshotFile { end_offset, epoch, bytes, last_contained: position.appended_at };
        self.files.borrow_mut().insert(id, file);
        tracing::info!(snapshot = %path.display(), bytes, "snapshot of the metadata log written");
        Ok(())
    }

    /// Removes what need not be kept.
    async fn clean<S: Sys>(&self, log: &Rc<PartitionLog<S>>) -> io::Result<()> {
        let snapshots: Vec<SnapshotFile> = self.files.borrow().values().copied().collect();
        let segments: Vec<SnapshottedSegment> = log
            .machine
            .borrow()
            .segments()
            .iter()
            .map(|segment| SnapshottedSegment { base: segment.base, bytes: segment.bytes })
            .collect();
        if let Some(start) = self.rules.log_start(&snapshots, &segments, log.sys.wall()) {
            log.advance_log_start(start).await?;
        }
        // Also those that an earlier attempt left.
        let start = log.machine.borrow().log_start();
        let newest = self.files.borrow().last_key_value().map(|(id, _)| *id);
        let old: Vec<_> =
            self.files.borrow().keys().copied().filter(|id| id.0 < start && Some(*id) != newest).collect();
        for id in old {
            remove(&log.sys, self.directory.join(metadata_snapshot_name(id.0, id.1))).await?;
            self.files.borrow_mut().remove(&id);
        }
        Ok(())
    }
}

/// Writes a new file and syncs it.
async fn write_whole<S: Sys>(sys: &S, path: &Path, slices: Vec<Bytes>) -> io::Result<()> {
    let file = sys.open(path.to_owned(), OpenMode::Create).await?;
    sys.truncate(&file, 0).await?;
    sys.write_at(&file, FilePosition(0), slices).await?;
    sys.sync_data(&file).await
}

/// Removes a file that may be gone already.
async fn remove<S: Sys>(sys: &S, path: PathBuf) -> io::Result<()> {
    match sys.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads the newest snapshot and what of the log lies behind it, and removes what a crash left of snapshots.
///
/// # Errors
/// By file and position, what of the log is damaged: it says what the cluster is, and is not cut like another.
pub(crate) async fn read<S: Sys>(sys: &S, directory: &Path) -> io::Result<ReadMetadata> {
    let mut segments: Vec<(Offset, u64)> = Vec::new();
    let mut snapshots = BTreeMap::new();
    for entry in sys.list(directory.to_owned()).await? {
        let file = SegmentFile::parse(&entry.name);
        if let Some(base) = file.map(|file| file.base_offset)
            && file == Some(SegmentFile::live(base, SegmentFileKind::Log))
        {
            segments.push((base, entry.len));
        } else if let Some((end_offset, epoch)) = parse_metadata_snapshot_name(&entry.name) {
            let file = SnapshotFile { end_offset, epoch, bytes: entry.len, last_contained: Timestamp(0) };
            snapshots.insert((end_offset, epoch), file);
        } else if is_metadata_snapshot_remnant(&entry.name) {
            remove(sys, directory.join(entry.name)).await?;
        }
    }
    for file in snapshots.values_mut() {
        let name = metadata_snapshot_name(file.end_offset, file.epoch);
        let opened = sys.open(directory.join(name), OpenMode::Read).await?;
        let beginning = sys.read_at(&opened, FilePosition(0), BEGINNING_BYTES).await?;
        // One that cannot be read is as old as can be; if it is the newest, the start is refused below.
        file.last_contained = last_contained_timestamp(beginning).unwrap_or(Timestamp(0));
    }

    let mut replay = Replay::new();
    if let Some((end_offset, epoch)) = snapshots.keys().last().copied() {
        let name = metadata_snapshot_name(end_offset, epoch);
        let bytes = sys.read_file(directory.join(&name)).await?.unwrap_or_default();
        replay.snapshot(&name, bytes).map_err(io::Error::other)?;
    }
    let snapshot_end = replay.snapshot_end();
    let mut bytes_since = 0;
    for (at, (base, len)) in segments.iter().copied().enumerate() {
        let next_base = segments.get(at + 1).map(|(next, _)| *next);
        if next_base.is_some_and(|next| next <= snapshot_end) {
            continue;
        }
        let from =
            if base < snapshot_end { tail_start(sys, directory, base, snapshot_end).await? } else { FilePosition(0) };
        let name = SegmentFile::live(base, SegmentFileKind::Log).name();
        let file = sys.open(directory.join(&name), OpenMode::Read).await?;
        let left = usize::try_from(len.saturating_sub(from.0)).map_err(io::Error::other)?;
        let bytes = sys.read_at(&file, from, left).await?;
        bytes_since += bytes.len() as u64;
        replay.segment_from(&name, from, bytes, next_base.is_none()).map_err(io::Error::other)?;
    }
    let recovered = replay.finish().map_err(io::Error::other)?;
    Ok(ReadMetadata { recovered, snapshots: FoundSnapshots { files: snapshots, bytes_since } })
}

/// Where in a segment the last batch begins that the index knows of at or below `offset`; the segment's start, if the
/// index has nothing to say or is not right.
async fn tail_start<S: Sys>(sys: &S, directory: &Path, base: Offset, offset: Offset) -> io::Result<FilePosition> {
    let path = |kind| directory.join(SegmentFile::live(base, kind).name());
    let Some(index) = sys.read_file(path(SegmentFileKind::OffsetIndex)).await? else { return Ok(FilePosition(0)) };
    let log = sys.open(path(SegmentFileKind::Log), OpenMode::Read).await?;
    let index = OffsetIndex::new(base, &index).ascending_prefix(FilePosition(sys.len(&log)?));
    let position = index.walk_start(offset);
    let Some(entry) = index.at_or_before(position) else { return Ok(FilePosition(0)) };
    let header = sys.read_at(&log, position, HEADER_BYTES).await?;
    let is_right = BatchHeader::parse(&header)
        .is_some_and(|header| header.last_offset() == entry.offset && header.base_offset() <= offset);
    Ok(if is_right { position } else { FilePosition(0) })
}
