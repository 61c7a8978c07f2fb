//! Compaction of a log, as [`corelane_core::log::compaction`] decides it: a walk that notes keys, and copies of groups of
//! segments without what is superseded, each of which takes the places of its group.
//!
//! | step | on disk | after a crash | readers |
//! | --- | --- | --- | --- |
//! | the recovery point is written down ([`care`](crate::care)) | as before | nothing below it is looked at again, so gaps there are no loss | as before |
//! | the copy is written and synced | `.cleaned` beside the segments | worthless, removed | as before |
//! | it is complete | `.swap`, the directory synced | takes the places of its group, whatever is left of that | as before |
//! | the others of the group are set aside | `.deleted`, the directory synced | the same | they wait |
//! | it has the name of the first | in the log | in the log | find the copy; those in progress hold the open file |
//!
//! What waits meanwhile: searches, from the fourth step to the fifth. Appends never do: they concern the active segment, which
//! is not cleaned. Pieces are read off the shard where the page cache does not have them, and looked at by a helper thread.
//! Memory: the map of keys, a piece of the log, and what is left of it.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::{FilePosition, Monotonic, Offset, Timestamp};
use corelane_core::limits::CLEANER_PIECE_BYTES;
use corelane_core::log::aborted::{AbortedTransaction, to_bytes};
use corelane_core::log::compaction::{Cleanable, CleaningError, CompactedLog, Copying, KeyMap, KeyWalk, Step, group};
use corelane_core::log::index::{IndexBuilder, UnwrittenEntries};
use corelane_core::log::names::{FileStage, SegmentFileKind};
use corelane_core::partition::Segment;
use corelane_core::record::header::HEADER_BYTES;
use corelane_core::record::{BatchError, BatchHeader};

use super::segments::{SEGMENT_FILES, path_of, remove_all, staged_path_of};
use super::{PartitionLog, State};
use crate::sys::{OpenMode, Sys};

/// Longest that a pass sleeps before it looks whether it may go on.
const PACE_STEP_MS: u64 = 100;
/// Wait before a log is tried again whose cleaning has failed, so that others get their turn.
const RETRY_MS: u64 = 60_000;

/// What a pass may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CleaningLimits {
    /// Bytes of memory for keys.
    pub(crate) key_bytes: usize,
    /// Share of that which is used.
    pub(crate) key_load: f64,
    /// Bytes a second that are read and written.
    pub(crate) bytes_per_second: f64,
}

/// A log that can be cleaned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dirty {
    pub(crate) cleanable: Cleanable,
    /// It has waited too long already.
    pub(crate) is_overdue: bool,
}

/// Why a pass ended early.
enum Ended {
    /// The log is closed, or a write to it has failed: whoever comes next begins anew.
    Interrupted,
    /// It is damaged, and no pass will come further.
    Damaged(CleaningError),
    Failed(io::Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Keeps a pass from taking more of the disk than it may.
struct Pace {
    begun: Monotonic,
    bytes: f64,
    bytes_per_second: f64,
}

impl Pace {
    /// Waits as long as these bytes want, if the log does not end before.
    async fn moved<S: Sys>(&mut self, log: &PartitionLog<S>, bytes: usize) -> Result<(), Ended> {
        #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let bytes = bytes as f64;
        self.bytes += bytes;
        #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "saturates, and is not negative")]
        let due_ms = (self.bytes / self.bytes_per_second.max(1.0) * 1_000.0) as u64;
        let due = self.begun.plus_ms(due_ms);
        log.sys.breathe().await;
        while due > log.sys.now() {
            log.goes_on()?;
            log.sys.sleep_until(due.min(log.sys.now().plus_ms(PACE_STEP_MS))).await;
        }
        log.goes_on()
    }
}

/// The copy that is being made of a group.
struct Copy<S: Sys> {
    base: Offset,
    log: S::File,
    index: IndexBuilder,
    bytes: u64,
    first_timestamp: Timestamp,
}

impl<S: Sys> PartitionLog<S> {
    /// What of the log can be cleaned, if it is time.
    ///
    /// # Errors
    /// The oldest record that was not cleaned could not be looked at.
    pub(crate) async fn dirty(self: &Rc<Self>) -> io::Result<Option<Dirty>> {
        let Some(rules) = self.machine.borrow().settings().compaction else { return Ok(None) };
        if self.state.get() != State::Serving
            || self.is_uncleanable.get()
            || self.care.is_held()
            || self.sys.now() < self.clean_after.get()
        {
            return Ok(None);
        }
        // What is not on the device yet may be when it is looked at again.
        self.sync_ended_segments();
        let now = self.sys.wall();
        let (segments, log) = self.machine.borrow().compacted(self.cleaned_to.get());
        let Some(cleanable) = rules.cleanable(&segments, &log, now) else { return Ok(None) };
        let oldest = match rules.lag_max_ms {
            i64::MAX => Timestamp::NONE,
            _ => self.first_timestamp_from(cleanable.from).await?,
        };
        let is_overdue = rules.is_overdue(oldest, now);
        Ok(rules.is_due(&cleanable, oldest, now).then_some(Dirty { cleanable, is_overdue }))
    }

    /// The time of the first batch of the segment that has an offset.
    async fn first_timestamp_from(&self, offset: Offset) -> io::Result<Timestamp> {
        let _search = self.searches.begin().await;
        let base = {
            let machine = self.machine.borrow();
            let place = machine.segments().partition_point(|segment| segment.base <= offset);
            machine.segments().get(place.saturating_sub(1)).map(|segment| segment.base)
        };
        let Some(base) = base else { return Ok(Timestamp::NONE) };
        let file = self.segment_file(base, SegmentFileKind::Log).await?;
        let header = self.sys.read_at(&file, FilePosition(0), HEADER_BYTES).await?;
        Ok(BatchHeader::parse(&header).map_or(Timestamp::NONE, |header| header.max_timestamp()))
    }

    /// Cleans what can be cleaned below `end`, up to where a recovery point was written down. Whether there was anything.
    ///
    /// # Errors
    /// The disk fails. The log is as before, or cleaned in part.
    pub(crate) async fn clean(self: &Rc<Self>, end: Offset, limits: CleaningLimits) -> io::Result<bool> {
        let _turn = self.care.take().await;
        let Some(cleanable) = self.cleanable_below(end) else { return Ok(false) };
        match self.pass(cleanable, limits).await {
            Ok(()) => Ok(true),
            Err(Ended::Interrupted) => Ok(false),
            Err(Ended::Damaged(error)) => {
                self.is_uncleanable.set(true);
                tracing::error!(partition = %self.name, %error, "log cannot be cleaned any more; it is served as it is");
                Ok(true)
            }
            Err(Ended::Failed(error)) => {
                self.clean_after.set(self.sys.now().plus_ms(RETRY_MS));
                Err(error)
            }
        }
    }

    fn cleanable_below(&self, end: Offset) -> Option<Cleanable> {
        let machine = self.machine.borrow();
        let rules = machine.settings().compaction?;
        let (segments, log) = machine.compacted(self.cleaned_to.get());
        let log = CompactedLog { limit: log.limit.min(end), ..log };
        rules.cleanable(&segments, &log, self.sys.wall())
    }

    async fn pass(self: &Rc<Self>, cleanable: Cleanable, limits: CleaningLimits) -> Result<(), Ended> {
        let begun = self.sys.now();
        let mut pace = Pace { begun, bytes: 0.0, bytes_per_second: limits.bytes_per_second };
        let map = KeyMap::new(limits.key_bytes, limits.key_load, (self.sys.random(), self.sys.random()));
        let map = self.note_keys(map, cleanable, &mut pace).await?;
        let (segments, delete_retention_ms, segment_bytes, last_batches) = {
            let machine = self.machine.borrow();
            let settings = machine.settings();
            let segment_bytes = settings.roll.segment_bytes.min(settings.index.log_bytes_max());
            let delete_retention_ms = settings.compaction.map_or(i64::MAX, |rules| rules.delete_retention_ms);
            (machine.compacted(None).0, delete_retention_ms, segment_bytes, machine.last_batches())
        };
        let end = map.end().min(cleanable.end);
        let keys = map.len();
        let mut copying = Copying::new(map, last_batches, self.sys.wall(), delete_retention_ms);
        let (mut bytes_before, mut bytes_after) = (0, 0);
        for bases in group(&segments, cleanable.end, segment_bytes) {
            if bases.first().is_none_or(|first| *first >= end) {
                break;
            }
            let (before, after);
            (copying, before, after) = self.clean_group(&bases, copying, &mut pace).await?;
            bytes_before += before;
            bytes_after += after;
        }
        self.goes_on()?;
        self.cleaned_to.set(Some(end));
        let (from, took_ms) = (cleanable.from.0, self.sys.now().since_ns(begun) / 1_000_000);
        tracing::info!(partition = %self.name, from, to = end.0, keys, bytes_before, bytes_after, took_ms, "log cleaned");
        Ok(())
    }

    /// Whether the pass may go on.
    fn goes_on(&self) -> Result<(), Ended> {
        let is_compacted = self.machine.borrow().settings().compaction.is_some();
        if is_compacted && self.state.get() == State::Serving { Ok(()) } else { Err(Ended::Interrupted) }
    }

    /// The first walk: where keys were last written.
    async fn note_keys(&self, map: KeyMap, cleanable: Cleanable, pace: &mut Pace) -> Result<KeyMap, Ended> {
        let mut keys = KeyWalk::new(map, cleanable.from);
        let spans: Vec<(Offset, Offset, u64)> = {
            let machine = self.machine.borrow();
            let segments = machine.segments();
            let spans = segments.iter().zip(segments.iter().skip(1)).map(|(s, next)| (s.base, next.base, s.bytes));
            spans.filter(|(base, next, _)| *next > cleanable.from && *base < cleanable.end).collect()
        };
        for (base, next, bytes) in spans {
            keys.expect_aborted(self.aborted_within(base, next).await?);
            let file = self.segment_file(base, SegmentFileKind::Log).await?;
            let mut place = Place::default();
            while let Some(piece) = self.piece(&file, &mut place, bytes, pace).await? {
                let step;
                (keys, step) = self
                    .sys
                    .work(move || {
                        let step = keys.feed(&piece);
                        (keys, step)
                    })
                    .await;
                let step = step.map_err(Ended::Damaged)?;
                if keys.is_full() {
                    return Ok(keys.into_map(cleanable.end));
                }
                Self::advance(&mut place, step, bytes)?;
            }
        }
        Ok(keys.into_map(cleanable.end))
    }

    async fn aborted_within(&self, base: Offset, next: Offset) -> io::Result<Vec<AbortedTransaction>> {
        // Nothing of them is exchanged while this log is cared for.
        self.aborted(base, base, next).await
    }

    /// The next piece of a segment, at least as large as the batch that it begins with; `None` at its end.
    async fn piece(
        &self,
        file: &S::File,
        place: &mut Place,
        bytes: u64,
        pace: &mut Pace,
    ) -> Result<Option<Bytes>, Ended> {
        self.goes_on()?;
        if place.position.0 >= bytes {
            return Ok(None);
        }
        let left = usize::try_from(bytes - place.position.0).unwrap_or(usize::MAX);
        let piece = self.sys.read_at(file, place.position, place.needed.max(CLEANER_PIECE_BYTES).min(left)).await?;
        pace.moved(self, piece.len()).await?;
        place.read = piece.len();
        Ok(Some(piece))
    }

    /// Goes behind what was looked at, of a segment of `bytes`.
    fn advance(place: &mut Place, step: Step, bytes: u64) -> Result<(), Ended> {
        place.position = place.position.plus(step.consumed_bytes as u64);
        place.needed = step.needed_bytes;
        let left = usize::try_from(bytes.saturating_sub(place.position.0)).unwrap_or(usize::MAX);
        let goes_on = step.consumed_bytes > 0 || step.needed_bytes > place.read;
        if goes_on && step.needed_bytes <= left {
            return Ok(());
        }
        let missing = BatchError::Incomplete { needed: step.needed_bytes, available: left };
        Err(Ended::Damaged(CleaningError::Batch(missing)))
    }

    /// The second walk, over one group: its copy takes its places. Gives bytes before and after.
    async fn clean_group(
        self: &Rc<Self>,
        bases: &[Offset],
        copying: Copying,
        pace: &mut Pace,
    ) -> Result<(Copying, u64, u64), Ended> {
        let first = *bases.first().unwrap_or(&Offset(0));
        let copied = match self.copy_group(first, bases, copying, pace).await {
            Ok(copied) => copied,
            Err(ended) => {
                // Worthless; a start would remove it too.
                self.give_up(first, FileStage::Cleaned).await?;
                return Err(ended);
            }
        };
        let (mut copying, before, segment, aborted_bytes) = copied;
        let after = segment.bytes;
        if !copying.take_changed() && bases.len() == 1 {
            self.give_up(first, FileStage::Cleaned).await?;
            return Ok((copying, before, after));
        }
        self.exchange(bases, segment, aborted_bytes).await?;
        Ok((copying, before, after))
    }

    /// Removes a copy. What is left of one would be taken for a part of the next.
    async fn give_up(&self, base: Offset, stage: FileStage) -> Result<(), Ended> {
        // The `.log` last: without one the others would be taken for what is left of an exchange.
        let files = SEGMENT_FILES.into_iter().rev().map(|kind| staged_path_of(&self.directory, base, kind, stage));
        let Err(error) = remove_all(&self.sys, files).await else { return Ok(()) };
        self.fence("the removal of a copy", &error);
        Err(Ended::Interrupted)
    }

    /// Writes the copy of a group as `.cleaned`, and syncs it.
    async fn copy_group(
        &self,
        first: Offset,
        bases: &[Offset],
        copying: Copying,
        pace: &mut Pace,
    ) -> Result<(Copying, u64, Segment, u64), Ended> {
        let mut copying = copying;
        let create = async |kind| {
            let path = staged_path_of(&self.directory, first, kind, FileStage::Cleaned);
            let file = self.sys.open(path, OpenMode::Create).await?;
            self.sys.truncate(&file, 0).await?;
            io::Result::Ok(file)
        };
        let index = IndexBuilder::new(first, self.machine.borrow().settings().index);
        let log = create(SegmentFileKind::Log).await?;
        let mut copy = Copy::<S> { base: first, log, index, bytes: 0, first_timestamp: Timestamp::NONE };
        let mut before = 0;
        for base in bases.iter().copied() {
            let span = {
                let machine = self.machine.borrow();
                let segments = machine.segments();
                let place = segments.iter().position(|segment| segment.base == base);
                place.and_then(|place| Some((segments.get(place)?.bytes, segments.get(place + 1)?.base)))
            };
            let (bytes, next) = span.ok_or(Ended::Interrupted)?;
            before += bytes;
            copying.expect_aborted(self.aborted_within(base, next).await?);
            let file = self.segment_file(base, SegmentFileKind::Log).await?;
            let mut place = Place::default();
            while let Some(piece) = self.piece(&file, &mut place, bytes, pace).await? {
                let fed;
                (copying, fed) = self
                    .sys
                    .work(move || {
                        let fed = copying.feed(&piece);
                        (copying, fed)
                    })
                    .await;
                let (step, copied) = fed.map_err(Ended::Damaged)?;
                let mut slices = Vec::with_capacity(copied.len());
                let position = FilePosition(copy.bytes);
                for batch in copied {
                    if copy.bytes == 0 {
                        copy.first_timestamp = batch.max_timestamp;
                    }
                    let bytes = batch.bytes.len() as u64;
                    copy.index.add_batch(FilePosition(copy.bytes), bytes, batch.last_offset, batch.max_timestamp);
                    copy.bytes += bytes;
                    slices.push(batch.bytes);
                }
                if !slices.is_empty() {
                    let written = slices.iter().map(Bytes::len).sum();
                    self.sys.write_at(&copy.log, position, slices).await?;
                    pace.moved(self, written).await?;
                }
                Self::advance(&mut place, step, bytes)?;
            }
        }
        copy.index.finish();
        let UnwrittenEntries { offset_entries, time_entries, .. } = copy.index.take_unwritten();
        let aborted = to_bytes(&copying.take_aborted());
        let aborted_bytes = aborted.len() as u64;
        for (kind, entries) in [
            (SegmentFileKind::OffsetIndex, offset_entries),
            (SegmentFileKind::TimeIndex, time_entries),
            (SegmentFileKind::TransactionIndex, aborted),
        ] {
            if kind == SegmentFileKind::TransactionIndex && entries.is_empty() {
                continue;
            }
            let file = create(kind).await?;
            if !entries.is_empty() {
                self.sys.write_at(&file, FilePosition(0), vec![entries]).await?;
            }
            self.sys.sync_data(&file).await?;
        }
        self.sys.sync_data(&copy.log).await?;
        self.goes_on()?;
        let segment = Segment {
            bytes: copy.bytes,
            first_timestamp: copy.first_timestamp,
            largest: copy.index.largest(),
            ..Segment::new(copy.base, self.sys.wall())
        };
        Ok((copying, before, segment, aborted_bytes))
    }

    /// Has a copy take the places of its group.
    async fn exchange(self: &Rc<Self>, bases: &[Offset], segment: Segment, aborted_bytes: u64) -> Result<(), Ended> {
        let base = segment.base;
        let kinds: Vec<SegmentFileKind> = SEGMENT_FILES
            .into_iter()
            .filter(|kind| *kind != SegmentFileKind::TransactionIndex || aborted_bytes > 0)
            .collect();
        if let Err(error) = self.complete(base, &kinds).await {
            for stage in [FileStage::Swap, FileStage::Cleaned] {
                self.give_up(base, stage).await?;
            }
            return Err(error.into());
        }
        // From here on the copy counts, and there is no way back.
        let swapped = async {
            let doomed = self.swap(bases, segment, aborted_bytes, &kinds).await?;
            self.sys.sync_directory(self.directory.clone()).await?;
            io::Result::Ok(doomed)
        };
        match swapped.await {
            Ok(doomed) => Ok(self.remove_later(doomed).await?),
            Err(error) => {
                self.fence("the exchange of cleaned segments", &error);
                Err(Ended::Interrupted)
            }
        }
    }

    /// Says of a copy, by the names of its files, that it is complete.
    async fn complete(&self, base: Offset, kinds: &[SegmentFileKind]) -> io::Result<()> {
        let staged = |kind, stage| staged_path_of(&self.directory, base, kind, stage);
        for kind in kinds.iter().copied() {
            self.sys.rename(staged(kind, FileStage::Cleaned), staged(kind, FileStage::Swap)).await?;
        }
        self.sys.sync_directory(self.directory.clone()).await
    }

    /// Exchanges the files and what is known of them; searches wait meanwhile. Gives the files that are out of the log.
    async fn swap(
        &self,
        bases: &[Offset],
        segment: Segment,
        aborted_bytes: u64,
        kinds: &[SegmentFileKind],
    ) -> io::Result<Vec<PathBuf>> {
        let base = segment.base;
        let _held_up = self.searches.hold_up().await;
        let mut doomed = Vec::new();
        for other in bases.iter().copied().filter(|other| *other != base) {
            doomed.extend(self.set_aside(other, &SEGMENT_FILES).await?);
        }
        if !doomed.is_empty() {
            self.sys.sync_directory(self.directory.clone()).await?;
        }
        // A copy without aborted transactions has no file that would take the place of the old one.
        let missing: Vec<SegmentFileKind> = SEGMENT_FILES.into_iter().filter(|kind| !kinds.contains(kind)).collect();
        doomed.extend(self.set_aside(base, &missing).await?);
        for kind in kinds.iter().copied() {
            let swap = staged_path_of(&self.directory, base, kind, FileStage::Swap);
            self.sys.rename(swap, path_of(&self.directory, base, kind)).await?;
        }
        let mut files = self.files.borrow_mut();
        let mut aborted = self.aborted_bytes.borrow_mut();
        for old in bases {
            files.remove(old);
            aborted.remove(old);
        }
        if aborted_bytes > 0 {
            aborted.insert(base, aborted_bytes);
        }
        self.machine.borrow_mut().replace(bases, segment);
        Ok(doomed)
    }
}

/// How far a walk has come in a segment.
#[derive(Default)]
struct Place {
    position: FilePosition,
    /// Bytes that the batch there needs, as far as is known.
    needed: usize,
    /// Bytes of the last piece.
    read: usize,
}
