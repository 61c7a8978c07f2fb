//! Offset index and time index of a segment: entries, when one is due, and search.
//!
//! An offset entry names the **last** offset of the batch that starts at its position; kafka-dump-log checks that. A
//! time entry names the largest timestamp so far and the last offset of the batch that brought it. Both files are
//! only shortcuts: a search ends with a walk over batches, so an entry too few costs time and nothing else.

use bytes::Bytes;
use zerocopy::byteorder::big_endian::{I32, I64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::base::{FilePosition, Offset, Timestamp};
use crate::record::header::HEADER_BYTES;

/// Bytes of an entry of the offset index.
pub const OFFSET_ENTRY_BYTES: usize = size_of::<RawOffsetEntry>();
/// Bytes of an entry of the time index.
pub const TIME_ENTRY_BYTES: usize = size_of::<RawTimeEntry>();

const _: () = assert!(OFFSET_ENTRY_BYTES == 8 && TIME_ENTRY_BYTES == 12);

/// Entry of the offset index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch.
    pub offset: Offset,
    /// Where the batch starts.
    pub position: FilePosition,
}

/// Entry of the time index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Largest timestamp of the segment up to the batch.
    pub timestamp: Timestamp,
    /// Last offset of the batch that has it.
    pub offset: Offset,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawOffsetEntry {
    relative_offset: I32,
    position: I32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawTimeEntry {
    timestamp: I64,
    relative_offset: I32,
}

/// Distance of `offset` from the first one of its segment; `None` where an entry cannot say it.
fn relative(offset: Offset, base: Offset) -> Option<I32> {
    offset.0.checked_sub(base.0).and_then(|delta| i32::try_from(delta).ok()).filter(|delta| *delta >= 0).map(I32::new)
}

/// The entries of an offset index, searched where they lie.
#[derive(Clone, Copy, Debug)]
pub struct OffsetIndex<'a> {
    base: Offset,
    entries: &'a [RawOffsetEntry],
}

impl<'a> OffsetIndex<'a> {
    /// The whole entries in `bytes`, of a segment that begins at `base`. They are taken to ascend;
    /// [`ascending_prefix`](Self::ascending_prefix) makes sure.
    #[must_use]
    pub fn new(base: Offset, bytes: &'a [u8]) -> Self {
        let (entries, _) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>();
        Self { base, entries: <[RawOffsetEntry]>::ref_from_bytes(entries.as_flattened()).unwrap_or_default() }
    }

    /// The entries up to the first that does not lie above the one before it, such as those of a zero tail, or that
    /// points behind the end of a log of `log_bytes`.
    #[must_use]
    pub fn ascending_prefix(self, log_bytes: FilePosition) -> Self {
        let mut last = (0, 0);
        let good = self.entries.iter().take_while(|entry| {
            let this = (entry.relative_offset.get(), entry.position.get());
            let ascends = this.0 > last.0 && this.1 > last.1;
            last = this;
            ascends && position_of(entry) < log_bytes
        });
        let count = good.count();
        Self { base: self.base, entries: self.entries.get(..count).unwrap_or_default() }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.entries.is_empty()
    }

    /// The entries as they are on disk.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.entries.as_bytes()
    }

    /// Entry number `at`, from 0.
    #[must_use]
    pub fn get(self, at: usize) -> Option<OffsetEntry> {
        self.entries.get(at).map(|entry| OffsetEntry {
            offset: self.base.plus(i64::from(entry.relative_offset.get())),
            position: position_of(entry),
        })
    }

    /// The last entry.
    #[must_use]
    pub fn last(self) -> Option<OffsetEntry> {
        self.get(self.entries.len().checked_sub(1)?)
    }

    /// Where a walk for the batch with `offset` begins: the last batch known to start at or before it.
    #[must_use]
    pub fn walk_start(self, offset: Offset) -> FilePosition {
        let wanted = offset - self.base;
        let above = self.entries.partition_point(|entry| i64::from(entry.relative_offset.get()) <= wanted);
        self.before(above).map_or(FilePosition(0), |entry| entry.position)
    }

    /// The last entry whose batch starts at or before `position`.
    #[must_use]
    pub fn at_or_before(self, position: FilePosition) -> Option<OffsetEntry> {
        self.before(self.entries.partition_point(|entry| position_of(entry) <= position))
    }

    /// The first entry whose batch starts at or after `position`.
    #[must_use]
    pub fn at_or_after(self, position: FilePosition) -> Option<OffsetEntry> {
        self.get(self.entries.partition_point(|entry| position_of(entry) < position))
    }

    fn before(self, at: usize) -> Option<OffsetEntry> {
        self.get(at.checked_sub(1)?)
    }
}

/// A negative position, which only a damaged file has, is taken for one behind every log.
fn position_of(entry: &RawOffsetEntry) -> FilePosition {
    FilePosition(u64::try_from(entry.position.get()).unwrap_or(u64::MAX))
}

/// The entries of a time index, searched where they lie.
#[derive(Clone, Copy, Debug)]
pub struct TimeIndex<'a> {
    base: Offset,
    entries: &'a [RawTimeEntry],
}

impl<'a> TimeIndex<'a> {
    /// The whole entries in `bytes`, of a segment that begins at `base`. They are taken to ascend;
    /// [`ascending_prefix`](Self::ascending_prefix) makes sure.
    #[must_use]
    pub fn new(base: Offset, bytes: &'a [u8]) -> Self {
        let (entries, _) = bytes.as_chunks::<TIME_ENTRY_BYTES>();
        Self { base, entries: <[RawTimeEntry]>::ref_from_bytes(entries.as_flattened()).unwrap_or_default() }
    }

    /// The entries up to the first that does not lie above the one before it, or whose offset is above `last_offset`.
    #[must_use]
    pub fn ascending_prefix(self, last_offset: Offset) -> Self {
        let mut last = (Timestamp::NONE.0, 0);
        let good = self.entries.iter().take_while(|entry| {
            let this = (entry.timestamp.get(), entry.relative_offset.get());
            // All zero is a tail that was reserved and never written. A real entry of 1970 is no loss.
            let ascends = this.0 > last.0 && this.1 >= last.1 && this != (0, 0);
            last = this;
            ascends && self.base.plus(i64::from(this.1)) <= last_offset
        });
        let count = good.count();
        Self { base: self.base, entries: self.entries.get(..count).unwrap_or_default() }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.entries.is_empty()
    }

    /// The entries as they are on disk.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.entries.as_bytes()
    }

    /// Entry number `at`, from 0.
    #[must_use]
    pub fn get(self, at: usize) -> Option<TimeEntry> {
        self.entries.get(at).map(|entry| TimeEntry {
            timestamp: Timestamp(entry.timestamp.get()),
            offset: self.base.plus(i64::from(entry.relative_offset.get())),
        })
    }

    /// The last entry.
    #[must_use]
    pub fn last(self) -> Option<TimeEntry> {
        self.get(self.entries.len().checked_sub(1)?)
    }

    /// Offset at which a walk for the first record at or after `timestamp` may begin: everything before it is older,
    /// or in the batch that holds it.
    #[must_use]
    pub fn walk_start(self, timestamp: Timestamp) -> Offset {
        let above = self.entries.partition_point(|entry| entry.timestamp.get() <= timestamp.0);
        above.checked_sub(1).and_then(|at| self.get(at)).map_or(self.base, |entry| entry.offset)
    }
}

/// What of a topic's configuration decides about its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexOptions {
    /// An entry is due when more than this was appended since the last (`index.interval.bytes`).
    pub interval_bytes: u64,
    /// Largest size of either file (`segment.index.bytes`).
    pub file_bytes_max: usize,
}

impl Default for IndexOptions {
    /// Kafka's defaults.
    fn default() -> Self {
        Self { interval_bytes: 4_096, file_bytes_max: 10 * 1024 * 1024 }
    }
}

impl IndexOptions {
    /// Bytes of log for which neither file can become full, however small the batches are.
    #[must_use]
    pub fn log_bytes_max(&self) -> u64 {
        let entries = (self.file_bytes_max / TIME_ENTRY_BYTES).saturating_sub(2) as u64;
        entries.saturating_mul(self.interval_bytes.max(HEADER_BYTES as u64))
    }
}

/// Both indexes of the segment that is being written.
#[derive(Clone, Debug)]
pub struct IndexBuilder {
    base: Offset,
    options: IndexOptions,
    offsets: Vec<RawOffsetEntry>,
    times: Vec<RawTimeEntry>,
    /// Bytes of batches since the start of the one that has the last entry.
    since_entry_bytes: u64,
    /// Largest timestamp so far and the last offset of the first batch that has it.
    largest: TimeEntry,
    /// Entries that [`take_unwritten`](Self::take_unwritten) has given away.
    written: (usize, usize),
}

/// Entries to be written behind those that are in the files already, those of the time index first: after a kill
/// between the two writes [`IndexBuilder::resume`] knows a time entry too many, but not one too few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnwrittenEntries {
    /// Where in the offset index `offset_entries` go.
    pub offset_position: FilePosition,
    /// Entries of the offset index.
    pub offset_entries: Bytes,
    /// Where in the time index `time_entries` go.
    pub time_position: FilePosition,
    /// Entries of the time index.
    pub time_entries: Bytes,
}

impl IndexBuilder {
    /// The indexes of an empty segment.
    #[must_use]
    pub fn new(base: Offset, options: IndexOptions) -> Self {
        Self {
            base,
            options,
            offsets: Vec::new(),
            times: Vec::new(),
            since_entry_bytes: 0,
            largest: TimeEntry { timestamp: Timestamp::NONE, offset: base },
            written: (0, 0),
        }
    }

    /// The indexes as they were when the last entry of `offsets` was made; batches from
    /// [`resume_position`](Self::resume_position) on must be added. Entries count as written.
    #[must_use]
    pub fn resume(options: IndexOptions, offsets: OffsetIndex<'_>, times: TimeIndex<'_>) -> Self {
        let mut builder = Self::new(offsets.base, options);
        if let Some(last) = offsets.last() {
            builder.offsets = offsets.entries.to_vec();
            // A segment that was closed has one more time entry, for batches that will be added again.
            builder.times = times.ascending_prefix(last.offset).entries.to_vec();
            builder.largest = builder.times().last().unwrap_or(builder.largest);
        }
        builder.written = (builder.offsets.len(), builder.times.len());
        builder
    }

    /// Start of the batch that has the last entry, 0 if there is none.
    #[must_use]
    pub fn resume_position(&self) -> FilePosition {
        self.offsets().last().map_or(FilePosition(0), |entry| entry.position)
    }

    /// Takes note of a batch of `bytes` that was appended at `position`.
    pub fn add_batch(&mut self, position: FilePosition, bytes: u64, last_offset: Offset, max_timestamp: Timestamp) {
        if max_timestamp > self.largest.timestamp {
            self.largest = TimeEntry { timestamp: max_timestamp, offset: last_offset };
        }
        if self.since_entry_bytes > self.options.interval_bytes {
            self.add_offset_entry(position, last_offset);
            self.add_time_entry();
            self.since_entry_bytes = 0;
        }
        self.since_entry_bytes = self.since_entry_bytes.saturating_add(bytes);
    }

    /// Makes the last time entry, at a roll or a stop.
    pub fn finish(&mut self) {
        self.add_time_entry();
    }

    /// Whether the segment must be rolled before the next batch. The time index keeps a place for the entry that
    /// [`finish`](Self::finish) makes.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (offsets_max, times_max) = self.entries_max();
        self.offsets.len() >= offsets_max || self.times.len() >= times_max.saturating_sub(1)
    }

    /// Forgets what concerns `end` and later offsets, to which the log is cut back; batches from
    /// [`resume_position`](Self::resume_position) to the cut must be added again.
    pub fn truncate_to(&mut self, end: Offset) {
        let keep = end - self.base;
        let offsets = self.offsets.partition_point(|entry| i64::from(entry.relative_offset.get()) < keep);
        self.offsets.truncate(offsets);
        let last_offset = self.offsets().last().map_or(i64::MIN, |entry| entry.offset - self.base);
        let times = self.times.partition_point(|entry| i64::from(entry.relative_offset.get()) <= last_offset);
        self.times.truncate(times);
        self.largest = self.times().last().unwrap_or(TimeEntry { timestamp: Timestamp::NONE, offset: self.base });
        self.since_entry_bytes = 0;
        self.written = (self.written.0.min(offsets), self.written.1.min(times));
    }

    /// Entries of the offset index that [`take_unwritten`](Self::take_unwritten) would give.
    #[must_use]
    pub fn unwritten_entries(&self) -> usize {
        self.offsets.len().saturating_sub(self.written.0)
    }

    /// The offset index so far.
    #[must_use]
    pub fn offsets(&self) -> OffsetIndex<'_> {
        OffsetIndex { base: self.base, entries: &self.offsets }
    }

    /// The time index so far.
    #[must_use]
    pub fn times(&self) -> TimeIndex<'_> {
        TimeIndex { base: self.base, entries: &self.times }
    }

    /// Largest timestamp so far, −1 if there is none, and the last offset of the first batch that has it.
    #[must_use]
    pub fn largest(&self) -> TimeEntry {
        self.largest
    }

    /// The entries made since the last call. The files end behind them: after
    /// [`truncate_to`](Self::truncate_to) whatever lies there is to be cut off.
    pub fn take_unwritten(&mut self) -> UnwrittenEntries {
        let (offsets, times) = std::mem::replace(&mut self.written, (self.offsets.len(), self.times.len()));
        let position = |entries: usize, bytes: usize| {
            FilePosition(u64::try_from(entries.saturating_mul(bytes)).unwrap_or(u64::MAX))
        };
        UnwrittenEntries {
            offset_position: position(offsets, OFFSET_ENTRY_BYTES),
            offset_entries: Bytes::copy_from_slice(self.offsets.get(offsets..).unwrap_or_default().as_bytes()),
            time_position: position(times, TIME_ENTRY_BYTES),
            time_entries: Bytes::copy_from_slice(self.times.get(times..).unwrap_or_default().as_bytes()),
        }
    }

    fn entries_max(&self) -> (usize, usize) {
        (self.options.file_bytes_max / OFFSET_ENTRY_BYTES, self.options.file_bytes_max / TIME_ENTRY_BYTES)
    }

    /// No entry is made where none can be: the segment is rolled before that, and an entry less is no harm.
    fn add_offset_entry(&mut self, position: FilePosition, last_offset: Offset) {
        let Some(relative_offset) = relative(last_offset, self.base) else { return };
        let Ok(position) = i32::try_from(position.0) else { return };
        if self.offsets.len() < self.entries_max().0 {
            self.offsets.push(RawOffsetEntry { relative_offset, position: I32::new(position) });
        }
    }

    fn add_time_entry(&mut self) {
        let before = self.times.last().map_or(Timestamp::NONE.0, |entry| entry.timestamp.get());
        let Some(relative_offset) = relative(self.largest.offset, self.base) else { return };
        if self.largest.timestamp.0 > before && self.times.len() < self.entries_max().1 {
            self.times.push(RawTimeEntry { timestamp: I64::new(self.largest.timestamp.0), relative_offset });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset(100);

    fn builder(interval_bytes: u64) -> IndexBuilder {
        IndexBuilder::new(BASE, IndexOptions { interval_bytes, file_bytes_max: 1_024 })
    }

    fn offsets(builder: &IndexBuilder) -> Vec<(i64, u64)> {
        (0..).map_while(|at| builder.offsets().get(at)).map(|entry| (entry.offset.0, entry.position.0)).collect()
    }

    fn times(builder: &IndexBuilder) -> Vec<(i64, i64)> {
        (0..).map_while(|at| builder.times().get(at)).map(|entry| (entry.timestamp.0, entry.offset.0)).collect()
    }

    /// Batches of 100 bytes and two records; timestamps as given.
    fn fill(builder: &mut IndexBuilder, timestamps: &[i64]) {
        for (i, timestamp) in (0..).zip(timestamps) {
            let last = BASE.plus(2 * i + 1);
            builder.add_batch(FilePosition(100 * i.unsigned_abs()), 100, last, Timestamp(*timestamp));
        }
    }

    #[test]
    fn an_entry_is_due_when_more_than_the_interval_was_appended() {
        let mut index = builder(199);
        fill(&mut index, &[5, 9, 7, 8, 20, 1]);
        // The batch at 200 is the first with more than 199 bytes before it; then that at 400.
        assert_eq!(offsets(&index), [(105, 200), (109, 400)]);
        assert_eq!(times(&index), [(9, 103), (20, 109)]);
        index.finish();
        assert_eq!(times(&index), [(9, 103), (20, 109)], "nothing larger since");
        let mut exact = builder(200);
        fill(&mut exact, &[5, 9, 7, 8, 20, 1]);
        assert_eq!(offsets(&exact), [(107, 300)]);
        exact.finish();
        assert_eq!(times(&exact), [(9, 103), (20, 109)]);
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let mut index = builder(0);
        fill(&mut index, &[5, 9]);
        let unwritten = index.take_unwritten();
        assert_eq!(&unwritten.offset_entries[..], [0, 0, 0, 3, 0, 0, 0, 100]);
        assert_eq!(&unwritten.time_entries[..], [0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3]);
        assert_eq!((unwritten.offset_position, unwritten.time_position), (FilePosition(0), FilePosition(0)));
        fill(&mut index, &[20]);
        let more = index.take_unwritten();
        assert_eq!((more.offset_position, more.time_position), (FilePosition(8), FilePosition(12)));
    }

    #[test]
    fn a_search_never_begins_behind_its_goal() {
        let mut index = builder(199);
        fill(&mut index, &[5, 9, 7, 8, 20, 1]);
        for (offset, position) in [(0, 0), (100, 0), (104, 0), (105, 200), (108, 200), (109, 400), (i64::MAX, 400)] {
            assert_eq!(index.offsets().walk_start(Offset(offset)), FilePosition(position), "{offset}");
        }
        for (time, offset) in [(-1, 100), (8, 100), (9, 103), (19, 103), (20, 109), (i64::MAX, 109)] {
            assert_eq!(index.times().walk_start(Timestamp(time)), Offset(offset), "{time}");
        }
        let position = |entry: Option<OffsetEntry>| entry.map(|entry| entry.position.0);
        assert_eq!(position(index.offsets().at_or_before(FilePosition(199))), None);
        assert_eq!(position(index.offsets().at_or_before(FilePosition(200))), Some(200));
        assert_eq!(position(index.offsets().at_or_after(FilePosition(201))), Some(400));
        assert_eq!(position(index.offsets().at_or_after(FilePosition(401))), None);
    }

    #[test]
    fn a_resumed_builder_goes_on_as_if_never_stopped() {
        let timestamps = [5, 9, 7, 8, 20, 1, 30, 2, 31, 40, 3, 3, 3, 50];
        let mut whole = builder(250);
        fill(&mut whole, &timestamps);
        for cut in 0..=timestamps.len() {
            let mut first = builder(250);
            fill(&mut first, &timestamps[..cut]);
            first.finish();
            let (offset_bytes, time_bytes) = (first.offsets().bytes().to_vec(), first.times().bytes().to_vec());
            let mut second = IndexBuilder::resume(
                first.options,
                OffsetIndex::new(BASE, &offset_bytes),
                TimeIndex::new(BASE, &time_bytes),
            );
            let from = usize::try_from(second.resume_position().0 / 100).unwrap();
            for (i, timestamp) in (0..).zip(&timestamps).skip(from) {
                let last = BASE.plus(2 * i + 1);
                second.add_batch(FilePosition(100 * i.unsigned_abs()), 100, last, Timestamp(*timestamp));
            }
            assert_eq!((offsets(&second), times(&second)), (offsets(&whole), times(&whole)), "cut at {cut}");
            assert_eq!(second.largest(), whole.largest());
        }
    }

    #[test]
    fn a_kill_between_the_writes_to_the_two_files_is_no_loss() {
        let timestamps = [5, 9, 7, 8, 20, 1, 30, 2, 31, 40, 3, 3, 3, 50];
        let mut whole = builder(150);
        fill(&mut whole, &timestamps);
        let (offset_bytes, time_bytes) = (whole.offsets().bytes(), whole.times().bytes());
        for lost in 0..=whole.offsets().len() {
            let kept = OffsetIndex::new(BASE, &offset_bytes[..offset_bytes.len() - lost * OFFSET_ENTRY_BYTES]);
            let mut resumed = IndexBuilder::resume(whole.options, kept, TimeIndex::new(BASE, time_bytes));
            let from = usize::try_from(resumed.resume_position().0 / 100).unwrap();
            for (i, timestamp) in (0..).zip(&timestamps).skip(from) {
                let last = BASE.plus(2 * i + 1);
                resumed.add_batch(FilePosition(100 * i.unsigned_abs()), 100, last, Timestamp(*timestamp));
            }
            assert_eq!((offsets(&resumed), times(&resumed)), (offsets(&whole), times(&whole)), "{lost} lost");
            assert_eq!(resumed.largest(), whole.largest());
        }
    }

    #[test]
    fn truncation_drops_what_lies_behind() {
        let mut index = builder(199);
        fill(&mut index, &[5, 9, 7, 8, 20, 1]);
        let _ = index.take_unwritten();
        index.truncate_to(Offset(109));
        assert_eq!(offsets(&index), [(105, 200)]);
        assert_eq!(times(&index), [(9, 103)]);
        assert_eq!(index.take_unwritten().offset_position, FilePosition(8));
        index.truncate_to(BASE);
        assert_eq!((offsets(&index), times(&index)), (vec![], vec![]));
        assert_eq!(index.largest().timestamp, Timestamp::NONE);
    }

    #[test]
    fn a_zero_tail_ends_the_entries() {
        let mut index = builder(199);
        fill(&mut index, &[5, 9, 7, 8, 20, 1]);
        let mut offset_bytes = index.offsets().bytes().to_vec();
        let mut time_bytes = index.times().bytes().to_vec();
        offset_bytes.resize(80, 0);
        time_bytes.resize(125, 0);
        let end = FilePosition(600);
        assert_eq!(OffsetIndex::new(BASE, &offset_bytes).ascending_prefix(end).len(), 2);
        assert_eq!(OffsetIndex::new(BASE, &offset_bytes).ascending_prefix(FilePosition(400)).len(), 1);
        assert_eq!(TimeIndex::new(BASE, &time_bytes).ascending_prefix(Offset(111)).len(), 2);
        assert_eq!(TimeIndex::new(BASE, &time_bytes).ascending_prefix(Offset(108)).len(), 1);
        assert!(OffsetIndex::new(BASE, &[0; 16]).ascending_prefix(end).is_empty());
        assert!(TimeIndex::new(BASE, &[0; 24]).ascending_prefix(BASE).is_empty());
    }

    #[test]
    fn a_full_index_asks_for_a_roll_and_keeps_a_place_for_the_last_time_entry() {
        let mut index = IndexBuilder::new(BASE, IndexOptions { interval_bytes: 0, file_bytes_max: 30 });
        fill(&mut index, &[1, 2]);
        assert!(index.is_full(), "one of two time entries is taken");
        let mut late = IndexBuilder::new(BASE, IndexOptions { interval_bytes: 0, file_bytes_max: 30 });
        fill(&mut late, &[-1, -1, -1]);
        assert!(!late.is_full());
        fill(&mut late, &[-1, -1, -1]);
        assert!(late.is_full());
        let far = BASE.plus(i64::from(i32::MAX) + 1);
        let mut index = builder(0);
        index.add_batch(FilePosition(0), 100, BASE, Timestamp(1));
        index.add_batch(FilePosition(100), 100, far, Timestamp(2));
        assert!(index.offsets().is_empty());
    }
}
