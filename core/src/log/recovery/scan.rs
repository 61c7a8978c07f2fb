//! Walking a segment, batch by batch, to the end of its good part.
//!
//! Memory does not grow with what the file claims: a payload passes through in pieces.

use crate::base::{FilePosition, Offset};
use crate::log::index::{IndexBuilder, IndexOptions, OffsetEntry, OffsetIndex, TimeIndex};
use crate::record::header::{HEADER_BYTES, MAGIC};
use crate::record::{BatchHeader, EndMarker};

/// Why a segment's good part ends before its file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReason {
    /// The file ends inside a batch.
    Torn,
    /// What stands there is no header of a batch.
    NotABatch,
    /// The checksum does not match.
    Checksum,
    /// Its offsets lie below those before it, or too far from the segment's first for an index entry.
    OffsetOrder,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// The whole file is good.
    Whole,
    /// The file is to be cut to the good part, and all later segments are to be removed.
    Cut(CutReason),
    /// The last index entry that was kept is wrong; the segment is to be scanned from its start, without its indexes.
    WrongIndex,
}

/// What a scan does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanStep {
    /// [`feed`](SegmentScan::feed) it what the file has at this position, at least so many bytes unless it ends
    /// before; more make it faster.
    Read {
        /// Where.
        position: FilePosition,
        /// How much at least.
        bytes_min: usize,
    },
    /// It is done.
    Done(ScanEnd),
}

/// Walks one segment.
#[derive(Clone, Debug)]
pub struct SegmentScan {
    base_offset: Offset,
    file_bytes: FilePosition,
    checksums_from: Offset,
    index: IndexBuilder,
    /// The entry whose batch comes first, until that has been seen to be there.
    unproven_entry: Option<OffsetEntry>,
    /// End of the last good batch.
    good_end: FilePosition,
    /// Least offset that the next batch may begin with.
    next_offset: Offset,
    batch: Option<OpenBatch>,
    end: Option<ScanEnd>,
}

/// A batch whose header is good and whose payload is passing through.
#[derive(Clone, Debug)]
struct OpenBatch {
    header: BatchHeader,
    end: FilePosition,
    /// Next byte of it wanted.
    position: FilePosition,
    crc: u32,
    is_checked: bool,
    /// Start of the payload of a control batch, enough to read a marker.
    control: Option<Vec<u8>>,
}

impl OpenBatch {
    fn needs_payload(&self) -> bool {
        let wants_marker = |control: &Vec<u8>| control.len() < EndMarker::PAYLOAD_BYTES_MAX;
        self.position < self.end && (self.is_checked || self.control.as_ref().is_some_and(wants_marker))
    }
}

impl SegmentScan {
    /// Begins a scan of a `.log` of `file_bytes`, as [`SegmentPlan::Scan`] says. The indexes are the files' bytes, empty
    /// if they are missing or turned out wrong.
    #[must_use]
    pub fn new(
        base_offset: Offset,
        file_bytes: FilePosition,
        (from, checksums_from): (Offset, Offset),
        options: IndexOptions,
        (offset_index, time_index): (&[u8], &[u8]),
    ) -> Self {
        let offsets = OffsetIndex::new(base_offset, offset_index).ascending_prefix(file_bytes);
        let times = TimeIndex::new(base_offset, time_index).ascending_prefix(Offset(i64::MAX));
        let mut index = IndexBuilder::resume(options, offsets, times);
        index.truncate_to(from);
        let unproven_entry = index.offsets().last();
        Self {
            base_offset,
            file_bytes,
            checksums_from,
            good_end: index.resume_position(),
            index,
            unproven_entry,
            next_offset: base_offset,
            batch: None,
            end: None,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn step(&self) -> ScanStep {
        match (self.end, &self.batch) {
            (Some(end), _) => ScanStep::Done(end),
            (None, Some(batch)) => ScanStep::Read { position: batch.position, bytes_min: 1 },
            (None, None) if self.good_end == self.file_bytes => ScanStep::Done(ScanEnd::Whole),
            (None, None) => ScanStep::Read { position: self.good_end, bytes_min: HEADER_BYTES },
        }
    }

    /// Takes what the file has at the position asked for; nothing, or less than asked for, means that it ends there.
    /// Each good batch from the start of the walk is handed to `on_batch` with the marker that it may be.
    pub fn feed(&mut self, mut chunk: &[u8], mut on_batch: impl FnMut(&BatchHeader, Option<EndMarker>)) -> ScanStep {
        let ScanStep::Read { position, bytes_min } = self.step() else { return self.step() };
        if chunk.len() < bytes_min {
            self.end = Some(ScanEnd::Cut(CutReason::Torn));
            return self.step();
        }
        let mut at = position;
        while let ScanStep::Read { position, bytes_min } = self.step() {
            let Some(rest) = usize::try_from(position.0 - at.0).ok().and_then(|skip| chunk.get(skip..)) else { break };
            if rest.len() < bytes_min {
                break;
            }
            (chunk, at) = (rest, position);
            match self.batch.take() {
                None => self.open(chunk, &mut on_batch),
                Some(batch) => self.pass(batch, chunk, &mut on_batch),
            }
        }
        self.step()
    }

    /// End of the good part so far: what the file is to be cut to.
    #[must_use]
    pub fn good_end(&self) -> FilePosition {
        self.good_end
    }

    /// The offset after the last good batch; the segment's first if there is none.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The indexes of the good part.
    #[must_use]
    pub fn into_index(self) -> IndexBuilder {
        self.index
    }

    /// A header at the start of `chunk`.
    fn open(&mut self, chunk: &[u8], on_batch: &mut impl FnMut(&BatchHeader, Option<EndMarker>)) {
        match self.check_header(chunk) {
            Ok(batch) if batch.needs_payload() => self.batch = Some(batch),
            Ok(batch) => self.close(&batch, on_batch),
            Err(_) if self.unproven_entry.is_some() => self.end = Some(ScanEnd::WrongIndex),
            Err(reason) => self.end = Some(ScanEnd::Cut(reason)),
        }
    }

    fn check_header(&self, chunk: &[u8]) -> Result<OpenBatch, CutReason> {
        let header = BatchHeader::parse(chunk).ok_or(CutReason::Torn)?;
        let size = header.batch_bytes().filter(|_| header.magic() == MAGIC && header.last_offset_delta() >= 0);
        let size = size.and_then(|size| u64::try_from(size).ok()).ok_or(CutReason::NotABatch)?;
        let end = self.good_end.plus(size);
        if end > self.file_bytes {
            return Err(CutReason::Torn);
        }
        let is_far = i32::try_from(header.last_offset() - self.base_offset).is_err();
        if header.base_offset() < self.next_offset || is_far {
            return Err(CutReason::OffsetOrder);
        }
        if self.unproven_entry.is_some_and(|entry| entry.offset != header.last_offset()) {
            return Err(CutReason::OffsetOrder);
        }
        Ok(OpenBatch {
            header,
            end,
            position: self.good_end.plus(HEADER_BYTES as u64),
            crc: header.covered_crc(),
            // The batch of a kept index entry is checked in any case: it proves the entry.
            is_checked: header.last_offset() >= self.checksums_from || self.unproven_entry.is_some(),
            control: header.attributes().is_control().then(Vec::new),
        })
    }

    /// Payload of the open batch at the start of `chunk`.
    fn pass(&mut self, mut batch: OpenBatch, chunk: &[u8], on_batch: &mut impl FnMut(&BatchHeader, Option<EndMarker>)) {
        let left = usize::try_from(batch.end.0 - batch.position.0).unwrap_or(usize::MAX);
        let piece = chunk.get(..left.min(chunk.len())).unwrap_or_default();
        if batch.is_checked {
            batch.crc = crc32c::crc32c_append(batch.crc, piece);
        }
        if let Some(control) = &mut batch.control {
            let room = EndMarker::PAYLOAD_BYTES_MAX.saturating_sub(control.len());
            control.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        }
        batch.position = batch.position.plus(piece.len() as u64);
        if batch.needs_payload() {
            self.batch = Some(batch);
        } else {
            self.close(&batch, on_batch);
        }
    }

    fn close(&mut self, batch: &OpenBatch, on_batch: &mut impl FnMut(&BatchHeader, Option<EndMarker>)) {
        let header = &batch.header;
        if batch.is_checked && batch.crc != header.crc() {
            let is_unproven = self.unproven_entry.is_some();
            self.end = Some(if is_unproven { ScanEnd::WrongIndex } else { ScanEnd::Cut(CutReason::Checksum) });
            return;
        }
        self.unproven_entry = None;
        let bytes = batch.end.0 - self.good_end.0;
        self.index.add_batch(self.good_end, bytes, header.last_offset(), header.max_timestamp());
        self.good_end = batch.end;
        self.next_offset = header.last_offset().plus(1);
        on_batch(header, batch.control.as_deref().and_then(EndMarker::parse));
    }
}
