//! Searches in the indexes of segments that have ended, where they lie: a few small reads, however large the file.

use std::io;

use bytes::Bytes;
use corelane_core::base::{FilePosition, Offset, Timestamp};
use corelane_core::limits::INDEX_WINDOW_BYTES;
use corelane_core::log::index::{OFFSET_ENTRY_BYTES, OffsetEntry, OffsetIndex, TIME_ENTRY_BYTES, TimeIndex};
use corelane_core::log::names::SegmentFileKind;

use super::PartitionLog;
use crate::sys::Sys;

impl<S: Sys> PartitionLog<S> {
    /// Where the walk for an offset begins in an ended segment.
    pub(super) async fn ended_walk_start(&self, segment: Offset, offset: Offset) -> io::Result<FilePosition> {
        let lies_before = |entry: &[u8]| OffsetIndex::new(segment, entry).last().is_some_and(|e| e.offset <= offset);
        let window = self.window::<OFFSET_ENTRY_BYTES>(segment, SegmentFileKind::OffsetIndex, lies_before).await?;
        Ok(OffsetIndex::new(segment, &window).walk_start(offset))
    }

    /// The last indexed batch of an ended segment that starts at or before a position.
    pub(super) async fn ended_at_or_before(
        &self,
        segment: Offset,
        position: FilePosition,
    ) -> io::Result<Option<OffsetEntry>> {
        let lies_before =
            |entry: &[u8]| OffsetIndex::new(segment, entry).last().is_some_and(|e| e.position <= position);
        let window = self.window::<OFFSET_ENTRY_BYTES>(segment, SegmentFileKind::OffsetIndex, lies_before).await?;
        Ok(OffsetIndex::new(segment, &window).at_or_before(position))
    }

    /// The offset at which a walk for the first record at or after a time may begin in an ended segment.
    pub(super) async fn ended_time_start(&self, segment: Offset, time: Timestamp) -> io::Result<Offset> {
        let lies_before = |entry: &[u8]| TimeIndex::new(segment, entry).last().is_some_and(|e| e.timestamp <= time);
        let window = self.window::<TIME_ENTRY_BYTES>(segment, SegmentFileKind::TimeIndex, lies_before).await?;
        Ok(TimeIndex::new(segment, &window).walk_start(time))
    }

    /// The entries around the place in an index before which all entries `lie_before` and after which none does: with
    /// the last one that does, if there is any.
    async fn window<const ENTRY_BYTES: usize>(
        &self,
        segment: Offset,
        kind: SegmentFileKind,
        lies_before: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Bytes> {
        let file = self.segment_file(segment, kind).await?;
        let read = async |first: u64, count: u64| {
            let bytes = usize::try_from(count).map_err(io::Error::other)? * ENTRY_BYTES;
            self.sys.read_at(&file, FilePosition(first * ENTRY_BYTES as u64), bytes).await
        };
        // The place is at `low` or behind it, and at `high` or before it.
        let (mut low, mut high) = (0, self.sys.len(&file)? / ENTRY_BYTES as u64);
        while (high - low) * ENTRY_BYTES as u64 > INDEX_WINDOW_BYTES {
            let middle = low + (high - low) / 2;
            if lies_before(&read(middle, 1).await?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let first = low.saturating_sub(1);
        read(first, high - first).await
    }
}
