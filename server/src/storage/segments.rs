//! The files of a partition's segments: making, opening, rolling, finishing.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::{FilePosition, Offset};
use corelane_core::limits::UNWRITTEN_INDEX_ENTRIES_MAX;
use corelane_core::log::index::UnwrittenEntries;
use corelane_core::log::names::{FileStage, SegmentFile, SegmentFileKind};

use super::PartitionLog;
use crate::sys::{OpenMode, Sys};

/// Producer snapshots that are kept: one may be damaged, and one may lie beyond what was synced.
const SNAPSHOTS_KEPT: usize = 3;

/// Open files of one segment.
pub(super) struct SegmentFiles<S: Sys> {
    pub(super) log: Option<S::File>,
    pub(super) offset_index: Option<S::File>,
    pub(super) time_index: Option<S::File>,
}

/// The active segment's files.
pub(super) struct ActiveFiles<S: Sys> {
    pub(super) log: S::File,
    offset_index: S::File,
    time_index: S::File,
}

/// The files of a segment that come and go with it; the `.log` first, since what has none is no segment.
pub(super) const SEGMENT_FILES: [SegmentFileKind; 4] =
    [SegmentFileKind::Log, SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex, SegmentFileKind::TransactionIndex];

pub(super) fn path_of(directory: &Path, base: Offset, kind: SegmentFileKind) -> PathBuf {
    staged_path_of(directory, base, kind, FileStage::Live)
}

/// The path of a file of a segment with which something is being done.
pub(super) fn staged_path_of(
    directory: &Path,
    base_offset: Offset,
    kind: SegmentFileKind,
    stage: FileStage,
) -> PathBuf {
    directory.join(SegmentFile { base_offset, kind, stage }.name())
}

/// Opens the files of a segment, making what is missing.
pub(super) async fn open_files<S: Sys>(sys: &S, directory: &Path, base: Offset) -> io::Result<SegmentFiles<S>> {
    let open = |kind| sys.open(path_of(directory, base, kind), OpenMode::Create);
    Ok(SegmentFiles {
        log: Some(open(SegmentFileKind::Log).await?),
        offset_index: Some(open(SegmentFileKind::OffsetIndex).await?),
        time_index: Some(open(SegmentFileKind::TimeIndex).await?),
    })
}

/// Removes the files of a segment.
pub(super) async fn remove_segment<S: Sys>(sys: &S, directory: &Path, base: Offset) -> io::Result<()> {
    remove_all(sys, SEGMENT_FILES.map(|kind| path_of(directory, base, kind))).await
}

/// Removes files one after the other, as far as they are there: somebody else may be about to remove them, too.
pub(super) async fn remove_all<S: Sys>(sys: &S, paths: impl IntoIterator<Item = PathBuf>) -> io::Result<()> {
    for path in paths {
        match sys.remove_file(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl<S: Sys> PartitionLog<S> {
    pub(super) fn active_files(&self) -> ActiveFiles<S> {
        let files = self.files.borrow();
        let (_, active) = files.last_key_value().expect("the active segment's files are open");
        let open = |file: &Option<S::File>| file.clone().expect("the active segment's files are open");
        ActiveFiles {
            log: open(&active.log),
            offset_index: open(&active.offset_index),
            time_index: open(&active.time_index),
        }
    }

    /// The file of a segment, opened if it is not.
    pub(super) async fn segment_file(&self, base: Offset, kind: SegmentFileKind) -> io::Result<S::File> {
        let slot = |files: &mut SegmentFiles<S>| match kind {
            SegmentFileKind::OffsetIndex => files.offset_index.clone(),
            SegmentFileKind::TimeIndex => files.time_index.clone(),
            _ => files.log.clone(),
        };
        if let Some(file) = self.files.borrow_mut().get_mut(&base).and_then(slot) {
            return Ok(file);
        }
        let file = self.sys.open(path_of(&self.directory, base, kind), OpenMode::Read).await?;
        let mut files = self.files.borrow_mut();
        let entry = files.entry(base).or_insert(SegmentFiles { log: None, offset_index: None, time_index: None });
        match kind {
            SegmentFileKind::OffsetIndex => entry.offset_index = Some(file.clone()),
            SegmentFileKind::TimeIndex => entry.time_index = Some(file.clone()),
            _ => entry.log = Some(file.clone()),
        }
        Ok(file)
    }

    /// Whether so many index entries have gathered that they are to be written.
    pub(super) fn index_is_due(&self) -> bool {
        self.machine.borrow().index().unwritten_entries() >= UNWRITTEN_INDEX_ENTRIES_MAX
    }

    /// Writes the index entries that have gathered. They point at bytes that are written already, so an index never runs
    /// ahead of its log.
    pub(super) async fn flush_index(&self) -> io::Result<()> {
        let UnwrittenEntries { offset_position, offset_entries, time_position, time_entries } =
            self.machine.borrow_mut().index_mut().take_unwritten();
        let files = self.active_files();
        // Order: recovery notices a time entry too many, not one too few.
        if !time_entries.is_empty() {
            self.sys.write_at(&files.time_index, time_position, vec![time_entries]).await?;
        }
        if !offset_entries.is_empty() {
            self.sys.write_at(&files.offset_index, offset_position, vec![offset_entries]).await?;
        }
        Ok(())
    }

    /// Ends the active segment and begins the next at the log's end.
    ///
    /// A crash in between leaves either no new file or empty ones, and both are opened as an empty segment or removed.
    pub(super) async fn roll(self: &Rc<Self>) -> io::Result<()> {
        // For certain: once there is a next segment, a start takes this one to end where its file does.
        self.end_direct(true).await?;
        self.machine.borrow_mut().index_mut().finish();
        self.flush_index().await?;
        let base = self.machine.borrow().log_end();
        self.write_snapshot().await?;
        let ended = self.active_files();
        self.unsynced_files.borrow_mut().extend([ended.offset_index, ended.time_index]);
        let files = open_files(&self.sys, &self.directory, base).await?;
        self.directory_unsynced.set(true);
        self.files.borrow_mut().insert(base, files);
        self.machine.borrow_mut().roll(self.sys.wall(), self.sys.random());
        // That of the next segment is another file.
        self.aborted_unsynced.set(false);
        self.reset_writeback();
        // The ended segment becomes durable in the background, and the recovery point moves with it.
        self.request_sync();
        self.close_old_files();
        Ok(())
    }

    /// Index files of ended segments are opened again by those who search them.
    fn close_old_files(&self) {
        let mut files = self.files.borrow_mut();
        let Some(active) = files.last_key_value().map(|(base, _)| *base) else { return };
        for (_, old) in files.range_mut(..active) {
            old.offset_index = None;
            old.time_index = None;
        }
    }

    /// Writes the state of the idempotent producers as of the log's end, named by it; the newest few are kept.
    pub(super) fn write_snapshot(&self) -> impl Future<Output = io::Result<()>> + '_ {
        // Taken now, whatever is appended while it is written.
        let (end, contents) = {
            let machine = self.machine.borrow();
            (machine.log_end(), machine.producers().to_snapshot())
        };
        self.store_snapshot(end, contents)
    }

    /// Keeps a snapshot as of `end`.
    pub(super) async fn store_snapshot(&self, end: Offset, contents: Bytes) -> io::Result<()> {
        self.write_file(SegmentFile::live(end, SegmentFileKind::ProducerSnapshot).name(), contents).await?;
        self.snapshots.borrow_mut().insert(end);
        loop {
            let oldest = {
                let mut snapshots = self.snapshots.borrow_mut();
                if snapshots.len() > SNAPSHOTS_KEPT { snapshots.pop_first() } else { None }
            };
            let Some(oldest) = oldest else { break };
            self.sys.remove_file(path_of(&self.directory, oldest, SegmentFileKind::ProducerSnapshot)).await?;
        }
        Ok(())
    }

    async fn write_file(&self, name: String, contents: Bytes) -> io::Result<()> {
        let file = self.sys.open(self.directory.join(name), OpenMode::Create).await?;
        self.sys.truncate(&file, 0).await?;
        self.sys.write_at(&file, FilePosition(0), vec![contents]).await?;
        self.unsynced_files.borrow_mut().push(file);
        Ok(())
    }

    /// Writes everything that belongs to a clean stop, and makes all of it durable.
    pub(super) async fn finish_files(self: &Rc<Self>) -> io::Result<()> {
        self.syncs_ended().await;
        self.machine.borrow_mut().index_mut().finish();
        self.flush_index().await?;
        self.write_snapshot().await?;
        let active = self.active_files();
        let bytes = self.machine.borrow().active().bytes;
        self.forget_direct().await;
        // Nothing lies behind the end, and for certain: after a clean stop a file is taken to be as long as it should be.
        self.sys.truncate(&active.log, bytes).await?;
        self.unsynced_files.borrow_mut().extend([active.log, active.offset_index, active.time_index]);
        let unsynced = self.machine.borrow().sync_target();
        if let Some(target) = unsynced {
            self.sync_to(target).await?;
        }
        self.aborted_unsynced.set(false);
        for file in self.unsynced_files.take() {
            self.sys.sync_data(&file).await?;
        }
        self.sys.sync_directory(self.directory.clone()).await
    }
}
