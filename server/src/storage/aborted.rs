//! Aborted transactions on disk, a `.txnindex` beside each segment that has any: written with their markers, looked up for
//! readers of committed data, brought in line by a recovery.
//!
//! | step | the marker is in | the entry is in | after kill -9 | seen by readers |
//! | --- | --- | --- | --- | --- |
//! | the marker is written | the page cache | – | the recovery makes the entry anew from the marker | no |
//! | the entry is written | the page cache | the page cache | both are there | no |
//! | the high watermark moves | the page cache, or the device if the topic is strict | the same | both are there | yes |
//!
//! After a loss of power entries are trusted below the newest producer snapshot that the recovery begins with; it is synced
//! no earlier than they are. Those behind it are made anew.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use corelane_core::base::{FilePosition, Offset};
use corelane_core::limits::INDEX_WINDOW_BYTES;
use corelane_core::log::aborted::{ABORTED_BYTES, AbortedTransaction, good_bytes, parse, to_bytes};
use corelane_core::log::names::SegmentFileKind;

use super::PartitionLog;
use super::segments::path_of;
use crate::sys::{OpenMode, Sys};

/// How long the `.txnindex` of each segment is that has one.
pub(super) type AbortedBytes = BTreeMap<Offset, u64>;

impl<S: Sys> PartitionLog<S> {
    /// Writes what the markers of the last write have ended in abort, before anything of that write is shown.
    pub(super) async fn write_aborted(&self) -> io::Result<()> {
        let aborted = self.machine.borrow_mut().take_unwritten_aborted();
        if aborted.is_empty() {
            return Ok(());
        }
        let segment = self.machine.borrow().active().base;
        let end = self.aborted_bytes.borrow().get(&segment).copied();
        let file =
            self.sys.open(path_of(&self.directory, segment, SegmentFileKind::TransactionIndex), OpenMode::Create);
        let file = file.await?;
        let bytes = to_bytes(&aborted);
        let position = end.unwrap_or(0);
        let after = position + bytes.len() as u64;
        self.sys.write_at(&file, FilePosition(position), vec![bytes]).await?;
        if end.is_none() {
            self.directory_unsynced.set(true);
        }
        self.aborted_bytes.borrow_mut().insert(segment, after);
        // One handle is enough for all that is written until a sync takes it.
        if !self.aborted_unsynced.replace(true) {
            self.unsynced_files.borrow_mut().push(file);
        }
        Ok(())
    }

    /// The aborted transactions that have records from `from` to before `end`, for a read in `segment`.
    pub(super) async fn aborted(
        &self,
        segment: Offset,
        from: Offset,
        end: Offset,
    ) -> io::Result<Vec<AbortedTransaction>> {
        let mut found = Vec::new();
        // The marker of a transaction lies behind its records, perhaps in a later segment.
        let segments: Vec<(Offset, u64)> =
            self.aborted_bytes.borrow().range(segment..).map(|(base, bytes)| (*base, *bytes)).collect();
        for (base, bytes) in segments {
            let path = path_of(&self.directory, base, SegmentFileKind::TransactionIndex);
            let file = self.sys.open(path, OpenMode::Read).await?;
            let count = bytes / ABORTED_BYTES as u64;
            let read = async |first: u64, count: u64| {
                let bytes = usize::try_from(count).map_err(io::Error::other)? * ABORTED_BYTES;
                self.sys.read_at(&file, FilePosition(first * ABORTED_BYTES as u64), bytes).await
            };
            // Markers ascend: what ended before the range is left out by halves.
            let (mut low, mut high) = (0, count);
            while low < high {
                let middle = low + (high - low) / 2;
                if parse(&read(middle, 1).await?).next().is_some_and(|aborted| aborted.last_offset < from) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            while low < count {
                let chunk = (count - low).min(INDEX_WINDOW_BYTES / ABORTED_BYTES as u64);
                for aborted in parse(&read(low, chunk).await?) {
                    if aborted.concerns(from, end) {
                        found.push(aborted);
                    }
                    if aborted.last_stable_offset >= end {
                        return Ok(found);
                    }
                }
                low += chunk;
            }
        }
        Ok(found)
    }
}

/// Brings the `.txnindex` of a segment that was walked in line with its markers: entries of markers below `trusted_to` stay,
/// those behind are `walked`. Gives its length, if there is anything in it.
pub(super) async fn bring_in_line<S: Sys>(
    sys: &S,
    directory: &Path,
    segment: Offset,
    trusted_to: Offset,
    walked: &[AbortedTransaction],
) -> io::Result<Option<u64>> {
    let path = path_of(directory, segment, SegmentFileKind::TransactionIndex);
    let found = sys.read_file(path.clone()).await?;
    let before = found.clone().unwrap_or_default();
    let kept = usize::try_from(good_bytes(&before, trusted_to)).map_err(io::Error::other)?;
    let added = to_bytes(walked);
    let bytes = (kept + added.len()) as u64;
    let is_in_line = before.get(kept..).is_some_and(|rest| *rest == *added);
    if !is_in_line {
        let file = sys.open(path, OpenMode::Create).await?;
        sys.truncate(&file, kept as u64).await?;
        if !added.is_empty() {
            sys.write_at(&file, FilePosition(kept as u64), vec![added]).await?;
        }
        if found.is_some() || bytes > 0 {
            // As its other indexes: what a recovery has made anew is on the device before anybody trusts it.
            sys.sync_data(&file).await?;
            sys.sync_directory(directory.to_owned()).await?;
        }
    }
    Ok((bytes > 0).then_some(bytes))
}

/// Length of the good part of the `.txnindex` of a segment that is taken as it is.
pub(super) async fn trusted_bytes<S: Sys>(sys: &S, directory: &Path, segment: Offset) -> io::Result<Option<u64>> {
    let path = path_of(directory, segment, SegmentFileKind::TransactionIndex);
    let bytes: Bytes = sys.read_file(path).await?.unwrap_or_default();
    Ok(Some(good_bytes(&bytes, Offset(i64::MAX))).filter(|bytes| *bytes > 0))
}
