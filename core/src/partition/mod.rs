//! One partition as its owner sees it: what is in the log, how far it got, and who may see it.
//!
//! The machine decides; the server writes and syncs and comes back with what happened. Four offsets, each at most the
//! one before it, say how far a record got:
//!
//! | offset | records below it are | survive |
//! | --- | --- | --- |
//! | `log_end` | admitted: their offsets are given | nothing yet |
//! | `written` | in the page cache | kill -9 of the broker |
//! | `durable` | on the device | loss of power |
//! | `high_watermark` | visible to readers | what the topic promises |
//!
//! The high watermark is a consequence, never set: it follows `written`, or `durable` where the topic is strict
//! (`flush.messages=1`). So is what is acknowledged: as much as is written, less what `flush.messages` wants synced
//! first. An answer that promises something is made from these and nothing else. `docs/durability.md` walks through
//! the crash at each step.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::base::{FilePosition, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::limits::RECENT_BATCHES_MAX;
use crate::log::aborted::AbortedTransaction;
use crate::log::compaction::{CompactedLog, CompactedSegment, CompactionRules, LastBatches};
use crate::log::epochs::LeaderEpochs;
use crate::log::index::{IndexBuilder, IndexOptions, TimeEntry};
use crate::log::producers::{ProducerStates, ProducerVerdict};
use crate::log::read_plan::BatchAt;
use crate::log::retention::{Expired, LogEnds, RetainedSegment, RetentionRules};
use crate::log::roll::{ActiveSegment, IncomingBatch, RollRules};
use crate::protocol::ErrorCode;
use crate::record::{BatchHeader, EndMarker, ValidBatch};

/// What of a topic's configuration the log follows.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// When a segment ends; the jitter of a segment is drawn when it is made.
    pub roll: RollRules,
    /// Up to this much is taken off the time that a segment spans (`segment.jitter.ms`).
    pub segment_jitter_ms: i64,
    /// When an index entry is due.
    pub index: IndexOptions,
    /// Timestamps are those of the append instead of the client's.
    pub log_append_time: bool,
    /// Records that may be unsynced; 1 makes the topic strict.
    pub flush_messages: i64,
    /// Age in milliseconds that an unsynced record may reach; `i64::MAX` is no limit.
    pub flush_ms: i64,
    /// Which segments need not be kept.
    pub retention: RetentionRules,
    /// Milliseconds that the files of a segment stay after it was deleted (`file.delete.delay.ms`).
    pub file_delete_delay_ms: u64,
    /// How its log is cleaned, so that records may be missing between others (`cleanup.policy` has `compact`).
    pub compaction: Option<CompactionRules>,
    /// A producer that was silent for this long is forgotten.
    pub producer_expiration_ms: i64,
    /// A transaction begins here only once its coordinator has said that it may
    /// (`transaction.partition.verification.enable`).
    pub verifies_transactions: bool,
}

impl LogSettings {
    /// Whether nothing is acknowledged or shown before it is on the device.
    #[must_use]
    pub const fn is_strict(&self) -> bool {
        self.flush_messages <= 1
    }
}

/// One segment of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first offset, which names its files.
    pub base: Offset,
    /// Bytes of its batches; the file may have more while a write is in progress, and after a crash.
    pub bytes: u64,
    /// When it was made, by the broker's clock.
    pub created: Timestamp,
    /// Largest timestamp of its first batch; −1 if that has none, or there is no batch.
    pub first_timestamp: Timestamp,
    /// Its largest timestamp and where that is. Of the active segment, the index knows better.
    pub largest: TimeEntry,
}

impl Segment {
    /// An empty segment.
    #[must_use]
    pub const fn new(base: Offset, created: Timestamp) -> Self {
        let largest = TimeEntry { timestamp: Timestamp::NONE, offset: base };
        Self { base, bytes: 0, created, first_timestamp: Timestamp::NONE, largest }
    }
}

/// A refusal: the code that the client gets, and words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Error code of the answer.
    pub code: ErrorCode,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// What becomes of a batch that wants to be appended.
#[derive(Debug)]
pub enum Admission {
    /// It is in the log already. Answered like the original, once `end` is visible.
    Duplicate {
        /// Offset that the original got.
        base_offset: Offset,
        /// Append time that the original got, or −1.
        log_append_time: Timestamp,
        /// First offset after the original.
        end: Offset,
    },
    /// It is refused; the log is as before.
    Refused(Refusal),
    /// The active segment must be rolled first; the log is as before.
    Roll,
    /// It has its offsets and must be written now.
    Admitted(Admitted),
}

/// A batch that has its place in the log.
#[derive(Debug)]
pub struct Admitted {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// First offset after it.
    pub end: Offset,
    /// Append time, or −1 where the topic keeps the client's.
    pub log_append_time: Timestamp,
    /// Where it goes in the active segment's file: directly behind what was admitted before it.
    pub position: FilePosition,
    /// Its bytes: what the leader stamps, and the rest as the client sent it.
    pub slices: [Bytes; 2],
}

/// How far a reader may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Base offset of the segment that holds the wanted offset, or would.
    pub segment: Offset,
    /// End of what is visible in that segment's file.
    pub visible_bytes: u64,
    /// Whether that segment is the active one.
    pub active: bool,
}

/// A point that a sync in progress will have made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncTarget {
    end: Offset,
    segment: Offset,
    bytes: u64,
}

impl SyncTarget {
    /// Base offset of the last segment that the sync must cover.
    #[must_use]
    pub const fn segment(&self) -> Offset {
        self.segment
    }
}

/// A log position known both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    offset: Offset,
    segment: Offset,
    bytes: u64,
}

/// State of one partition's log.
#[derive(Debug)]
pub struct Partition {
    settings: LogSettings,
    leader_epoch: LeaderEpoch,
    log_start: Offset,
    /// Ascending by base offset, the last one active; never empty.
    segments: Vec<Segment>,
    /// Indexes of the active segment.
    index: IndexBuilder,
    log_end: Offset,
    written: Mark,
    durable: Mark,
    producers: ProducerStates,
    epochs: LeaderEpochs,
    /// Jitter of the active segment's roll, in milliseconds.
    roll_jitter_ms: i64,
    /// The last batches of the active segment, at most [`RECENT_BATCHES_MAX`].
    recent: VecDeque<BatchAt>,
    /// Transactions whose markers may not be visible yet: first offset and marker.
    ended: BTreeMap<Offset, Offset>,
    /// Aborted ones that are not in the segment's `.txnindex` yet.
    unwritten_aborted: Vec<AbortedTransaction>,
}

/// What recovery found, from which the machine starts.
#[derive(Debug)]
pub struct Recovered {
    /// Segments, ascending, the last one active; at least one.
    pub segments: Vec<Segment>,
    /// Indexes of the active segment.
    pub index: IndexBuilder,
    /// First offset that readers may ask for.
    pub log_start: Offset,
    /// Offset of the next record.
    pub log_end: Offset,
    /// Everything below is known to be on the device.
    pub durable: Offset,
    /// Idempotent producers.
    pub producers: ProducerStates,
    /// Leader epochs.
    pub epochs: LeaderEpochs,
}

impl Partition {
    /// The machine of a log that was just opened or made. `leader_epoch` is this leadership's; `random` spreads rolls.
    ///
    /// In a strict topic nothing above `recovered.durable` is visible until the first sync has succeeded.
    #[must_use]
    pub fn new(settings: LogSettings, leader_epoch: LeaderEpoch, recovered: Recovered, random: u64) -> Self {
        let Recovered { segments, index, log_start, log_end, durable, producers, mut epochs } = recovered;
        let active = segments.last().expect("a log has at least one segment");
        let written = Mark { offset: log_end, segment: active.base, bytes: active.bytes };
        assert!(log_start <= log_end, "a log starts before it ends");
        // What is durable ends somewhere inside; only its offset is known, so nothing of the active segment counts.
        let durable = if durable >= log_end {
            written
        } else {
            Mark { offset: durable.max(log_start), segment: active.base, bytes: 0 }
        };
        epochs.assign(leader_epoch, log_end);
        let mut this = Self {
            settings,
            leader_epoch,
            log_start,
            segments,
            index,
            log_end,
            written,
            durable,
            producers,
            epochs,
            roll_jitter_ms: 0,
            recent: VecDeque::new(),
            ended: BTreeMap::new(),
            unwritten_aborted: Vec::new(),
        };
        this.draw_jitter(random);
        this
    }

    /// Goes on from the machine before, whose log was opened again from the same files: the settings, the log's start and
    /// what is on the device are as they are there now, not as they were when the opening began. A sync may have ended
    /// meanwhile, and readers may have seen what it covered.
    pub fn go_on_from(&mut self, before: &Self) {
        self.settings = before.settings.clone();
        self.log_start = before.log_start.min(self.log_end);
        self.epochs.advance_to(self.log_start);
        if before.durable.offset <= self.written.offset {
            self.durable = before.durable;
        }
    }

    /// Takes over changed settings.
    pub fn set_settings(&mut self, settings: LogSettings) {
        self.settings = settings;
    }

    /// Settings in force.
    #[must_use]
    pub fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// First offset that readers may ask for.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Offset that the next record gets.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Records below it are on the device.
    #[must_use]
    pub fn durable(&self) -> Offset {
        self.durable.offset
    }

    /// Records below it are visible to readers.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.visible().offset
    }

    /// Records below it are visible to readers of committed data: it is known how their transactions ended. A marker that
    /// is not visible itself ends nothing yet.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        let high_watermark = self.high_watermark();
        let open = self.producers.first_open_transaction();
        let ended = self.ended.iter().find(|(_, marker)| **marker >= high_watermark).map(|(first, _)| *first);
        // Where a transaction began may have been deleted.
        [open, ended].into_iter().flatten().fold(high_watermark, Offset::min).max(self.log_start)
    }

    /// Epoch of this leadership.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Leader epochs of the log.
    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// Idempotent producers.
    #[must_use]
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    /// Segments, ascending, the last one active.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment that is appended to.
    #[must_use]
    pub fn active(&self) -> &Segment {
        self.segments.last().expect("a log has at least one segment")
    }

    /// Indexes of the active segment.
    #[must_use]
    pub fn index(&self) -> &IndexBuilder {
        &self.index
    }

    /// Indexes of the active segment, to take out what is to be written to their files.
    pub fn index_mut(&mut self) -> &mut IndexBuilder {
        &mut self.index
    }

    /// Largest timestamp of a segment and where it is.
    #[must_use]
    pub fn largest(&self, segment: &Segment) -> TimeEntry {
        if segment.base == self.active().base { self.index.largest() } else { segment.largest }
    }

    /// The batch of `segment` that holds `offset`, if it is one of the log's last: readers at the end find theirs without a
    /// search.
    #[must_use]
    pub fn recent_batch(&self, segment: Offset, offset: Offset) -> Option<BatchAt> {
        if segment != self.active().base {
            return None;
        }
        let place = self.recent.partition_point(|batch| batch.last_offset < offset);
        self.recent.get(place).copied().filter(|batch| batch.base_offset <= offset)
    }

    /// Base offset of the first segment that may hold something that is not on the device.
    #[must_use]
    pub fn durable_segment(&self) -> Offset {
        let place = self.segments.partition_point(|segment| segment.base <= self.durable.offset);
        self.segments.get(place.saturating_sub(1)).map_or(Offset(0), |segment| segment.base.min(self.durable.segment))
    }

    /// Records below it are acknowledged: at most `flush.messages` − 1 of those that are written are not on the device.
    #[must_use]
    pub fn acknowledged(&self) -> Offset {
        self.written.offset.min(self.durable.offset.plus(self.settings.flush_messages.saturating_sub(1)))
    }

    /// Whether somebody waits for a sync.
    #[must_use]
    pub fn sync_is_urgent(&self) -> bool {
        self.acknowledged() < self.written.offset
    }

    fn visible(&self) -> Mark {
        if self.settings.is_strict() { self.durable } else { self.written }
    }

    /// Decides on the marker that ends a producer's transaction; the rest is as with [`admit`](Self::admit).
    pub fn admit_marker(
        &mut self,
        batch: &ValidBatch,
        marker: EndMarker,
        raises_epoch: bool,
        wall: Timestamp,
    ) -> Admission {
        if let Err(rejection) = self.producers.check_marker(batch.header(), marker, raises_epoch) {
            return Admission::Refused(Refusal { code: ErrorCode(rejection.code()), message: rejection.to_string() });
        }
        self.place(batch, Some(marker), wall)
    }

    /// Whether a transaction of its producer begins here with this batch, and the coordinator has not said that it may. With
    /// `adds` the coordinator learns by being asked that the partition takes part: then it is asked whatever the settings say.
    #[must_use]
    pub fn must_verify(&self, header: &BatchHeader, adds: bool) -> bool {
        (adds || self.settings.verifies_transactions)
            && self.producers.begins_transaction(header)
            && !self.producers.is_verified(header)
    }

    /// The same for what a producer will write next, whatever that is.
    #[must_use]
    pub fn must_verify_producer(&self, producer: ProducerId, epoch: ProducerEpoch, adds: bool) -> bool {
        (adds || self.settings.verifies_transactions) && self.producers.may_begin_transaction(producer, epoch)
    }

    /// The coordinator is being asked about a batch. None behind it may come first.
    pub fn await_verification(&mut self, header: &BatchHeader, adds: bool) {
        self.producers.await_verification(header, adds);
    }

    /// The coordinator says that the transaction of a producer may begin here.
    pub fn verify(&mut self, producer: ProducerId, epoch: ProducerEpoch) {
        self.producers.verify(producer, epoch);
    }

    /// Takes out what is to be written to the active segment's `.txnindex`, behind the log and before anything of it is
    /// shown.
    pub fn take_unwritten_aborted(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.unwritten_aborted)
    }

    /// Decides on a batch and, if it is admitted, takes it into the log's state at once: batches behind it in the same
    /// write see it. If the write then fails the whole machine is thrown away and made anew from the disk.
    pub fn admit(&mut self, batch: &ValidBatch, wall: Timestamp) -> Admission {
        match self.producers.check(batch.header()) {
            ProducerVerdict::Append => {}
            ProducerVerdict::Duplicate { base_offset, timestamp, last_offset } => {
                let log_append_time = if self.settings.log_append_time { timestamp } else { Timestamp::NONE };
                return Admission::Duplicate { base_offset, log_append_time, end: last_offset.plus(1) };
            }
            ProducerVerdict::Reject(rejection) => {
                let refusal = Refusal { code: ErrorCode(rejection.code()), message: rejection.to_string() };
                return Admission::Refused(refusal);
            }
        }
        if self.must_verify(batch.header(), false) {
            // It was verified, and has ended since: what came too late must not begin another.
            let message = "the producer's transaction does not take part in this partition".to_owned();
            return Admission::Refused(Refusal { code: ErrorCode::INVALID_TXN_STATE, message });
        }
        self.place(batch, None, wall)
    }

    /// Gives a batch its place, if the segment has room for it.
    fn place(&mut self, batch: &ValidBatch, marker: Option<EndMarker>, wall: Timestamp) -> Admission {
        let log_append_time = if self.settings.log_append_time { wall } else { Timestamp::NONE };
        let max_timestamp = if self.settings.log_append_time { wall } else { batch.max_timestamp() };
        let bytes = batch.size_bytes() as u64;
        let last_offset = self.log_end.plus(i64::from(batch.record_count()) - 1);
        let active = self.active();
        let segment = ActiveSegment {
            base_offset: active.base,
            bytes: active.bytes,
            first_timestamp: active.first_timestamp,
            created_at: active.created,
            is_index_full: self.index.is_full(),
        };
        let incoming = IncomingBatch { bytes, last_offset, max_timestamp };
        let rules = RollRules { jitter_ms: self.roll_jitter_ms, ..self.settings.roll };
        if rules.decide(&segment, &incoming, wall).is_some() {
            return Admission::Roll;
        }

        let base_offset = self.log_end;
        let end = last_offset.plus(1);
        let stamp_time = self.settings.log_append_time.then_some(wall);
        let slices = batch.stamp(base_offset, self.leader_epoch, stamp_time);
        let active = self.segments.last_mut().expect("a log has at least one segment");
        let position = FilePosition(active.bytes);
        if active.bytes == 0 {
            active.first_timestamp = max_timestamp;
        }
        active.bytes += bytes;
        self.index.add_batch(position, bytes, last_offset, max_timestamp);
        match marker {
            None => self.producers.append(batch.header(), base_offset, max_timestamp),
            Some(marker) => {
                let ended = self.producers.end_transaction(batch.header(), marker, base_offset, max_timestamp);
                if let Some(ended) = ended {
                    self.ended.insert(ended.first_offset, ended.last_offset);
                    self.unwritten_aborted.extend(ended.aborted());
                }
            }
        }
        self.log_end = end;
        if self.recent.len() >= RECENT_BATCHES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(BatchAt { position, end: position.plus(bytes), base_offset, last_offset, max_timestamp });
        Admission::Admitted(Admitted { base_offset, end, log_append_time, position, slices })
    }

    /// Everything admitted is in the page cache. True if the high watermark moved.
    pub fn wrote(&mut self) -> bool {
        let active = self.active();
        let written = Mark { offset: self.log_end, segment: active.base, bytes: active.bytes };
        assert!(written.offset >= self.written.offset, "a log does not shrink while it is led");
        self.written = written;
        let is_visible = !self.settings.is_strict();
        if is_visible {
            self.forget_ended();
        }
        is_visible
    }

    /// What has ended and is seen to have ended needs no memory.
    fn forget_ended(&mut self) {
        if !self.ended.is_empty() {
            let high_watermark = self.high_watermark();
            self.ended.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// Begins a new segment at the log's end. The server has written the old one's last index entries and made the new
    /// one's files.
    ///
    /// The producer snapshot for the new base is taken before this.
    pub fn roll(&mut self, wall: Timestamp, random: u64) {
        assert_eq!(self.written.offset, self.log_end, "a segment is rolled between writes");
        let largest = self.index.largest();
        if let Some(active) = self.segments.last_mut() {
            active.largest = largest;
        }
        self.segments.push(Segment::new(self.log_end, wall));
        self.recent.clear();
        self.index = IndexBuilder::new(self.log_end, self.settings.index);
        let mark = Mark { offset: self.log_end, segment: self.log_end, bytes: 0 };
        if self.durable == self.written {
            self.durable = mark;
        }
        self.written = mark;
        self.draw_jitter(random);
    }

    /// Raises the log's start, at most to the high watermark. What lies below is not to be read any more; the segments
    /// that do so wholly can be removed.
    pub fn advance_log_start(&mut self, offset: Offset) {
        self.log_start = offset.min(self.high_watermark()).max(self.log_start);
        self.epochs.advance_to(self.log_start);
    }

    /// The oldest segment, if it lies wholly below the log's start and no sync is concerned with it any more. Its files
    /// are removed before [`forget`](Self::forget) is called, so that a failure in between leaves no gap in the log.
    #[must_use]
    pub fn removable(&self) -> Option<Offset> {
        let [oldest, next, ..] = self.segments.as_slice() else { return None };
        (next.base <= self.log_start && oldest.base < self.durable_segment()).then_some(oldest.base)
    }

    /// The files of the segment at `base`, which was [`removable`](Self::removable), are gone.
    pub fn forget(&mut self, base: Offset) {
        if self.removable() == Some(base) {
            self.segments.remove(0);
        }
    }

    /// What need not be kept any longer. `modified` says when the file of a segment was last written, which counts where its
    /// records have no time.
    #[must_use]
    pub fn expired(&self, modified: &BTreeMap<Offset, Timestamp>, now: Timestamp) -> Option<Expired> {
        let segments: Vec<RetainedSegment> =
            self.segments.iter().map(|segment| self.retained(segment, modified, now)).collect();
        let ends = LogEnds { log_start: self.log_start, high_watermark: self.high_watermark(), log_end: self.log_end };
        self.settings.retention.decide(&segments, &ends, now)
    }

    fn retained(&self, segment: &Segment, modified: &BTreeMap<Offset, Timestamp>, now: Timestamp) -> RetainedSegment {
        let largest = self.largest(segment).timestamp;
        let written = || modified.get(&segment.base).copied().unwrap_or(now);
        // Of one that compaction has emptied nothing is worth keeping, and it must not keep those behind it.
        let is_emptied = segment.bytes == 0 && segment.base != self.active().base;
        let largest_timestamp = match largest {
            _ if is_emptied => Timestamp(0),
            Timestamp::NONE => written(),
            largest => largest,
        };
        RetainedSegment { base_offset: segment.base, bytes: segment.bytes, largest_timestamp }
    }

    /// The segments as their compaction sees them, and where the log stands that was cleaned up to `cleaned_to`. Nothing is
    /// cleaned that may not be on the device: a start takes what it finds below the recovery point for what should be there.
    #[must_use]
    pub fn compacted(&self, cleaned_to: Option<Offset>) -> (Vec<CompactedSegment>, CompactedLog) {
        let segment = |segment: &Segment| CompactedSegment {
            base: segment.base,
            bytes: segment.bytes,
            largest_timestamp: self.largest(segment).timestamp,
        };
        let limit = self.last_stable_offset().min(self.durable_segment());
        let log = CompactedLog { log_start: self.log_start, limit, cleaned_to };
        (self.segments.iter().map(segment).collect(), log)
    }

    /// The last batches of its producers, which compaction does not remove.
    #[must_use]
    pub fn last_batches(&self) -> LastBatches {
        self.producers.iter().map(|(id, entry)| (id, (entry.epoch, entry.last_data_offset()))).collect()
    }

    /// A cleaned segment has taken the places of those at `replaced`, which are neighbours, ended and on the device.
    pub fn replace(&mut self, replaced: &[Offset], by: Segment) {
        let first = self.segments.iter().position(|segment| Some(&segment.base) == replaced.first());
        let first = first.expect("what is cleaned is a part of the log");
        let end = first.saturating_add(replaced.len());
        assert!(end < self.segments.len(), "the active segment is not cleaned");
        self.segments.splice(first..end, [by]);
    }

    fn draw_jitter(&mut self, random: u64) {
        let span = u64::try_from(self.settings.segment_jitter_ms.min(self.settings.roll.segment_ms)).unwrap_or(0);
        self.roll_jitter_ms = if span == 0 { 0 } else { i64::try_from(random % span).unwrap_or(0) };
    }

    /// Bytes of the active segment that are in the page cache.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written.bytes
    }

    /// Records in the page cache and not yet on the device.
    #[must_use]
    pub fn unsynced_records(&self) -> i64 {
        self.written.offset - self.durable.offset
    }

    /// What a sync that begins now will make durable; `None` if everything is.
    #[must_use]
    pub fn sync_target(&self) -> Option<SyncTarget> {
        let Mark { offset: end, segment, bytes } = self.written;
        (self.durable != self.written).then_some(SyncTarget { end, segment, bytes })
    }

    /// A sync that began at `target` has succeeded. True if the high watermark moved.
    pub fn synced(&mut self, target: SyncTarget) -> bool {
        let mark = Mark { offset: target.end, segment: target.segment, bytes: target.bytes };
        assert!(mark.offset <= self.written.offset, "only what was written can have been synced");
        let before = std::mem::replace(&mut self.durable, mark);
        assert!(before.offset <= mark.offset, "syncs of a partition end in the order in which they began");
        let has_moved = self.settings.is_strict() && before.offset < mark.offset;
        if has_moved {
            self.forget_ended();
        }
        has_moved
    }

    /// Where a reader that wants `offset` finds it; `None` if nothing there is visible yet.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE below the log's start and beyond its end; between the high watermark and the end there is
    /// simply nothing yet.
    pub fn locate(&self, offset: Offset) -> Result<Option<Extent>, ErrorCode> {
        if offset < self.log_start || offset > self.log_end {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if offset >= self.high_watermark() {
            return Ok(None);
        }
        // Compaction can leave nothing of a segment.
        Ok(self.extent(offset).or_else(|| self.next_extent(offset)))
    }

    /// The next segment that begins behind `offset` and has something visible: where a reader goes on whose offset lies in a
    /// gap.
    #[must_use]
    pub fn next_extent(&self, offset: Offset) -> Option<Extent> {
        let behind = self.segments.get(self.segments.partition_point(|segment| segment.base <= offset)..)?;
        behind.iter().find_map(|segment| self.extent(segment.base))
    }

    /// What is visible of one segment; `None` if nothing is.
    #[must_use]
    pub fn extent_of(&self, segment: Offset) -> Option<Extent> {
        self.extent(segment)
    }

    /// Where the epoch that both know ends, if a reader that has records of `last_epoch` up to `offset` has some that
    /// are not in this log (KIP-595).
    #[must_use]
    pub fn diverging(&self, last_epoch: LeaderEpoch, offset: Offset) -> Option<(LeaderEpoch, Offset)> {
        if last_epoch == LeaderEpoch::NONE {
            return None;
        }
        let end = self.epochs.end_of(last_epoch, self.log_end)?;
        (end.epoch < last_epoch || end.end_offset < offset).then_some((end.epoch, end.end_offset))
    }

    fn extent(&self, offset: Offset) -> Option<Extent> {
        let place = self.segments.partition_point(|segment| segment.base <= offset).checked_sub(1)?;
        let segment = self.segments.get(place)?;
        let visible = self.visible();
        let visible_bytes = match segment.base.cmp(&visible.segment) {
            std::cmp::Ordering::Less => segment.bytes,
            std::cmp::Ordering::Equal => visible.bytes,
            std::cmp::Ordering::Greater => 0,
        };
        let active = place + 1 == self.segments.len();
        (visible_bytes > 0).then_some(Extent { segment: segment.base, visible_bytes, active })
    }

    /// Takes the records below `before` away from readers, or all below the high watermark. Answers the first offset
    /// that is left, which is where it was if that is further on already.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE beyond the high watermark: nobody has read what would be gone.
    pub fn delete_records(&mut self, before: Option<Offset>) -> Result<Offset, ErrorCode> {
        let high_watermark = self.high_watermark();
        let start = before.unwrap_or(high_watermark);
        if start < Offset(0) || start > high_watermark {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        if start > self.log_start {
            self.log_start = start;
            self.epochs.advance_to(start);
        }
        Ok(self.log_start)
    }

    /// Forgets producers that were silent for too long.
    pub fn expire_producers(&mut self, wall: Timestamp) {
        self.producers.expire(wall, self.settings.producer_expiration_ms);
    }
}
