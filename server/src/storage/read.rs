//! Finding what readers ask for: the place of an offset, an offset by its time, the end of an epoch.
//!
//! A search goes from the index, in memory for the active segment and in its file for the others, to a walk over the
//! headers of a few batches. Reads of what the page cache has are done at once; others leave the shard.

use std::io;
use std::rc::Rc;

use corelane_core::base::{FilePosition, LeaderEpoch, NodeId, Offset, Timestamp};
use corelane_core::limits::{DECOMPRESSED_BATCH_BYTES_MAX, TASK_BUDGET_US, WALK_BYTES};
use corelane_core::log::aborted::AbortedTransaction;
use corelane_core::log::names::SegmentFileKind;
use corelane_core::log::read_plan::{BatchAt, Walked, find_batch};
use corelane_core::partition::Extent;
use corelane_core::protocol::ErrorCode;
use corelane_core::record::Batch;
use corelane_core::record::search::{FoundRecord, first_at_or_after, max_timestamp_record};
use corelane_core::session::Wanted;

use super::{PartitionKey, PartitionLog, State};
use crate::sys::Sys;

/// What a reader wants of one partition.
#[derive(Clone, Copy, Debug)]
pub struct ReadItem {
    /// Which.
    pub partition: PartitionKey,
    /// From where, and what the reader knows.
    pub wanted: Wanted,
    /// Only what is below the last stable offset, with the transactions that were aborted (`isolation.level`).
    pub committed_only: bool,
}

/// Records that can be read: whole batches from `position` on, visible as far as `bytes` goes.
pub struct Range<S: Sys> {
    /// The segment's file.
    pub file: S::File,
    /// Start of the batch that holds the wanted offset.
    pub position: FilePosition,
    /// Visible bytes of the segment from there on.
    pub bytes: u64,
    /// How much of that are whole batches within what the reader wants of this partition, at least one.
    pub whole_bytes: u64,
}

/// What there is for a reader.
pub struct ReadResult<S: Sys> {
    /// Error of the partition.
    pub error: ErrorCode,
    /// Visible end of the log; −1 with an error.
    pub high_watermark: Offset,
    /// Visible end for readers of committed data; −1 with an error.
    pub last_stable_offset: Offset,
    /// First offset of the log; −1 with an error.
    pub log_start: Offset,
    /// The reader's log is not a prefix of this one: where the epoch that both know ends (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Who leads, with an error that the reader may owe to believing something else (KIP-951).
    pub leader: Option<(NodeId, LeaderEpoch)>,
    /// Records, if there are any.
    pub range: Option<Range<S>>,
    /// For a reader of committed data, the aborted transactions that have records among these.
    pub aborted: Vec<AbortedTransaction>,
}

impl<S: Sys> ReadResult<S> {
    /// An answer that is an error and nothing else.
    pub(crate) fn failed(error: ErrorCode) -> Self {
        Self {
            error,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start: Offset(-1),
            diverging: None,
            leader: None,
            range: None,
            aborted: Vec::new(),
        }
    }

    /// Bytes that can be read.
    pub(crate) fn bytes(&self) -> u64 {
        self.range.as_ref().map_or(0, |range| range.bytes)
    }
}

/// Whether an answer need not wait for more.
pub(crate) fn is_enough<S: Sys>(results: &[ReadResult<S>], bytes_min: u64) -> bool {
    // What does not exist is told with the rest and does not end the wait, unless there is nothing to wait for.
    let is_there = |result: &&ReadResult<S>| {
        !matches!(result.error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
    };
    results.iter().map(ReadResult::bytes).sum::<u64>() >= bytes_min
        || results.iter().filter(is_there).any(|result| result.error != ErrorCode::NONE || result.diverging.is_some())
        || results.iter().filter(is_there).count() == 0
}

/// An offset to look up.
#[derive(Clone, Copy, Debug)]
pub struct ListItem {
    /// Where.
    pub partition: PartitionKey,
    /// Of what.
    pub target: ListTarget,
    /// Epoch that the client believes in.
    pub current_epoch: LeaderEpoch,
    /// As in [`ReadItem`].
    pub committed_only: bool,
}

/// What ListOffsets can look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListTarget {
    /// The first offset.
    Earliest,
    /// The visible end.
    Latest,
    /// The record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after a time.
    AtOrAfter(Timestamp),
    /// Something of tiered storage, which there is none of.
    Tiered,
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListResult {
    /// Error of the partition.
    pub error: ErrorCode,
    /// Timestamp of the record found, or −1.
    pub timestamp: Timestamp,
    /// The offset, or −1.
    pub offset: Offset,
    /// Epoch under which it was appended, or −1.
    pub epoch: LeaderEpoch,
}

/// An epoch whose end is asked for.
#[derive(Clone, Copy, Debug)]
pub struct EpochEndItem {
    /// Where.
    pub partition: PartitionKey,
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Epoch that the client believes in.
    pub current_epoch: LeaderEpoch,
}

/// Where an epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndResult {
    /// Error of the partition.
    pub error: ErrorCode,
    /// The largest epoch known that is at most the one asked for; −1 if there is none.
    pub epoch: LeaderEpoch,
    /// First offset after it; −1 if there is none.
    pub end: Offset,
}

/// How far a reader of committed data may read.
#[derive(Clone, Copy)]
struct Stable {
    /// The last stable offset.
    end: Offset,
    /// Everything that is visible lies below it.
    is_all: bool,
}

/// Fences a client that believes in another epoch than the partition's.
fn check_epoch<S: Sys>(log: &PartitionLog<S>, believed: LeaderEpoch) -> Result<(), ErrorCode> {
    let current = log.machine.borrow().leader_epoch();
    match believed {
        LeaderEpoch::NONE => Ok(()),
        older if older < current => Err(ErrorCode::FENCED_LEADER_EPOCH),
        newer if newer > current => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
        _ => Ok(()),
    }
}

/// A partition, or the error that requests for it are answered with.
pub(crate) type Found<S> = Result<Rc<PartitionLog<S>>, ErrorCode>;

pub(super) fn readable<S: Sys>(log: Found<S>) -> Found<S> {
    let log = log?;
    match log.state() {
        State::Serving | State::Paused => Ok(log),
        State::Fenced => Err(ErrorCode::KAFKA_STORAGE_ERROR),
        State::Closed => Err(ErrorCode::NOT_LEADER_OR_FOLLOWER),
    }
}

/// Finds what a reader wants.
pub(crate) async fn find<S: Sys>(log: Found<S>, item: &ReadItem) -> ReadResult<S> {
    let leader = log.as_ref().ok().map(|log| (log.node, log.machine.borrow().leader_epoch()));
    let log = match readable(log) {
        Ok(log) => log,
        Err(error) => return ReadResult { leader, ..ReadResult::failed(error) },
    };
    let _search = log.searches.begin().await;
    let Wanted { offset, current_epoch, last_fetched_epoch, .. } = item.wanted;
    if let Err(error) = check_epoch(&log, current_epoch) {
        return ReadResult { leader, ..ReadResult::failed(error) };
    }
    let (mut result, located) = {
        let machine = log.machine.borrow();
        let result = ReadResult {
            error: ErrorCode::NONE,
            high_watermark: machine.high_watermark(),
            last_stable_offset: machine.last_stable_offset(),
            log_start: machine.log_start(),
            diverging: machine.diverging(last_fetched_epoch, offset),
            leader: None,
            range: None,
            aborted: Vec::new(),
        };
        (result, machine.locate(offset))
    };
    if result.diverging.is_some() {
        return result;
    }
    match located {
        // Kafka tells nothing else of the partition then.
        Err(error) => return ReadResult::failed(error),
        Ok(None) => return result,
        Ok(Some(extent)) => {
            let stable =
                Stable { end: result.last_stable_offset, is_all: result.last_stable_offset == result.high_watermark };
            match log.find_range(extent, &item.wanted, item.committed_only.then_some(stable)).await {
                Ok(Some((range, aborted))) => (result.range, result.aborted) = (Some(range), aborted),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(partition = %log.name, %error, "log could not be searched");
                    return ReadResult::failed(ErrorCode::KAFKA_STORAGE_ERROR);
                }
            }
        }
    }
    result
}

/// Looks an offset up.
pub(crate) async fn list_offset<S: Sys>(log: Found<S>, item: ListItem) -> ListResult {
    let failed = |error| ListResult { error, timestamp: Timestamp::NONE, offset: Offset(-1), epoch: LeaderEpoch::NONE };
    let log = match readable(log) {
        Ok(log) => log,
        Err(error) => return failed(error),
    };
    let _search = log.searches.begin().await;
    if let Err(error) = check_epoch(&log, item.current_epoch) {
        return failed(error);
    }
    let (log_start, end) = {
        let machine = log.machine.borrow();
        let end = if item.committed_only { machine.last_stable_offset() } else { machine.high_watermark() };
        (machine.log_start(), end)
    };
    let found = |timestamp, offset| {
        let epoch = log.machine.borrow().epochs().epoch_of(offset).unwrap_or(LeaderEpoch::NONE);
        ListResult { error: ErrorCode::NONE, timestamp, offset, epoch }
    };
    let record = match item.target {
        ListTarget::Earliest => return found(Timestamp::NONE, log_start),
        ListTarget::Latest => {
            let epoch = log.machine.borrow().leader_epoch();
            return ListResult { error: ErrorCode::NONE, timestamp: Timestamp::NONE, offset: end, epoch };
        }
        ListTarget::Tiered => return failed(ErrorCode::NONE),
        ListTarget::MaxTimestamp => log.find_max_timestamp(end).await,
        ListTarget::AtOrAfter(time) => log.find_time(time, end).await,
    };
    match record {
        Ok(Some(record)) => found(record.timestamp, record.offset),
        Ok(None) => failed(ErrorCode::NONE),
        Err(error) => {
            tracing::error!(partition = %log.name, %error, "log could not be searched");
            failed(ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}

/// Looks the end of an epoch up.
pub(crate) fn epoch_end<S: Sys>(log: Found<S>, item: &EpochEndItem) -> EpochEndResult {
    let failed = |error| EpochEndResult { error, epoch: LeaderEpoch::NONE, end: Offset(-1) };
    let log = match readable(log) {
        Ok(log) => log,
        Err(error) => return failed(error),
    };
    if let Err(error) = check_epoch(&log, item.current_epoch) {
        return failed(error);
    }
    if log.state() == State::Paused {
        // The machine's end is that of records which were not written.
        return failed(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    let machine = log.machine.borrow();
    match machine.epochs().end_of(item.epoch, machine.log_end()) {
        Some(end) => EpochEndResult { error: ErrorCode::NONE, epoch: end.epoch, end: end.end_offset },
        None => failed(ErrorCode::NONE),
    }
}

impl<S: Sys> PartitionLog<S> {
    /// The whole batches from that which holds the wanted offset on, or from the first one behind it if compaction has
    /// left a gap there. With `stable` only those below its end, and the aborted transactions among them.
    async fn find_range(
        &self,
        extent: Extent,
        wanted: &Wanted,
        stable: Option<Stable>,
    ) -> io::Result<Option<(Range<S>, Vec<AbortedTransaction>)>> {
        let Wanted { offset, bytes_max, .. } = *wanted;
        if stable.is_some_and(|stable| stable.end <= offset) {
            return Ok(None);
        }
        let mut extent = Some(extent);
        let mut is_first = true;
        while let Some(Extent { segment, visible_bytes, active }) = extent {
            let file = self.segment_file(segment, SegmentFileKind::Log).await?;
            let end = FilePosition(visible_bytes);
            if let Some(batch) = self.find_in_segment(&file, segment, (active, end), offset).await? {
                let position = batch.position;
                let end = match stable {
                    None => end,
                    // What is visible of the others was looked up later, when something else may have come.
                    Some(stable) if stable.is_all && is_first => end,
                    Some(stable) if stable.end <= batch.base_offset => return Ok(None),
                    // The first batch that is not stable, if it lies in this segment, begins where the stable ones end.
                    Some(stable) => {
                        let unstable = self.find_in_segment(&file, segment, (active, end), stable.end).await?;
                        unstable.map_or(end, |unstable| unstable.position)
                    }
                };
                let bytes = end.0 - position.0;
                let limit = u64::try_from(bytes_max).unwrap_or(0);
                let (whole_bytes, next) = if bytes <= limit {
                    (bytes, None)
                } else {
                    let bound = position.plus(limit);
                    let indexed = self.indexed_before(segment, active, bound).await?;
                    self.whole_batches(&file, batch, end, bound, indexed).await?
                };
                let aborted = match stable {
                    None => Vec::new(),
                    Some(stable) => self.aborted(segment, offset, next.unwrap_or(stable.end)).await?,
                };
                return Ok(Some((Range { file, position, bytes, whole_bytes }, aborted)));
            }
            extent = self.machine.borrow().next_extent(segment);
            is_first = false;
        }
        Ok(None)
    }

    /// The batch of a segment that reaches `offset`: where the machine remembers it to be, which costs no read, or by a walk.
    async fn find_in_segment(
        &self,
        file: &S::File,
        segment: Offset,
        (active, end): (bool, FilePosition),
        offset: Offset,
    ) -> io::Result<Option<BatchAt>> {
        let recent = self.machine.borrow().recent_batch(segment, offset);
        if recent.is_some() {
            return Ok(recent);
        }
        let from = self.walk_start(segment, active, offset).await?;
        self.walk(file, from, end, |batch| batch.last_offset >= offset).await
    }

    /// Where a batch begins that is not far before `bound`, so that a walk to there is short.
    async fn indexed_before(
        &self,
        segment: Offset,
        active: bool,
        bound: FilePosition,
    ) -> io::Result<Option<FilePosition>> {
        let entry = if active && self.machine.borrow().active().base == segment {
            self.machine.borrow().index().offsets().at_or_before(bound)
        } else {
            self.ended_at_or_before(segment, bound).await?
        };
        Ok(entry.map(|entry| entry.position))
    }

    /// Bytes of the whole batches from `first` on that end at or before `bound`, `first` itself in any case, and the offset
    /// of the first batch that does not, if `first` itself does.
    async fn whole_batches(
        &self,
        file: &S::File,
        first: BatchAt,
        end: FilePosition,
        bound: FilePosition,
        indexed: Option<FilePosition>,
    ) -> io::Result<(u64, Option<Offset>)> {
        let start = first.position;
        let from = indexed.filter(|position| *position > start).unwrap_or(start);
        let beyond = self.walk(file, from, end, |batch| batch.end > bound).await?;
        let whole_end = beyond.map_or(end, |batch| batch.position).max(first.end);
        let next = beyond.filter(|batch| batch.position == whole_end).map(|batch| batch.base_offset);
        Ok((whole_end.0 - start.0, next))
    }

    /// Where the walk for an offset begins, by the segment's index.
    async fn walk_start(&self, segment: Offset, active: bool, offset: Offset) -> io::Result<FilePosition> {
        if active && self.machine.borrow().active().base == segment {
            return Ok(self.machine.borrow().index().offsets().walk_start(offset));
        }
        self.ended_walk_start(segment, offset).await
    }

    /// Walks over the headers of the batches from `from` to `end` until one is `wanted`.
    async fn walk(
        &self,
        file: &S::File,
        from: FilePosition,
        end: FilePosition,
        wanted: impl Fn(&BatchAt) -> bool,
    ) -> io::Result<Option<BatchAt>> {
        let mut position = from;
        let mut breathed = self.sys.now();
        while position < end {
            let left = usize::try_from(end.0 - position.0).unwrap_or(usize::MAX);
            let chunk = self.sys.read_at(file, position, left.min(WALK_BYTES)).await?;
            match find_batch(&chunk, position, &wanted) {
                Ok(Walked::Found(batch)) => return Ok(Some(batch)),
                Ok(Walked::ReadAt(next)) if next > position => {
                    position = next;
                    if self.sys.now().since_ns(breathed) > TASK_BUDGET_US * 1_000 {
                        self.sys.breathe().await;
                        breathed = self.sys.now();
                    }
                }
                Ok(Walked::ReadAt(_)) => return Err(self.damaged(position)),
                Err(damaged) => return Err(self.damaged(damaged.position)),
            }
        }
        Ok(None)
    }

    fn damaged(&self, position: FilePosition) -> io::Error {
        let message = format!("no whole batch at position {position} of a segment of {}", self.name);
        io::Error::new(io::ErrorKind::InvalidData, message)
    }

    async fn read_batch(&self, file: &S::File, at: BatchAt) -> io::Result<Batch> {
        let bytes = usize::try_from(at.end.0 - at.position.0).map_err(io::Error::other)?;
        let mut run = self.sys.read_at(file, at.position, bytes).await?;
        Batch::split_from(&mut run).map_err(|_| self.damaged(at.position))
    }

    /// The first record below `end` whose timestamp is at or after `time`.
    async fn find_time(&self, time: Timestamp, end: Offset) -> io::Result<Option<FoundRecord>> {
        let segments = {
            let machine = self.machine.borrow();
            let late_enough = machine.segments().iter().filter(|segment| machine.largest(segment).timestamp >= time);
            late_enough.map(|segment| segment.base).collect::<Vec<_>>()
        };
        for segment in segments {
            let Some(extent) = self.machine.borrow().extent_of(segment) else { continue };
            let file = self.segment_file(segment, SegmentFileKind::Log).await?;
            let first = if extent.active {
                self.machine.borrow().index().times().walk_start(time)
            } else {
                self.ended_time_start(segment, time).await?
            };
            let mut from = self.walk_start(segment, extent.active, first).await?;
            let visible = FilePosition(extent.visible_bytes);
            // A batch whose header claims a late record may hold it before the log's start, or not at all.
            while let Some(at) = self.walk(&file, from, visible, |batch| batch.max_timestamp >= time).await? {
                let batch = self.read_batch(&file, at).await?;
                let log_start = self.machine.borrow().log_start();
                let found = first_at_or_after(&batch, time, log_start, DECOMPRESSED_BATCH_BYTES_MAX);
                match found.map_err(io::Error::other)? {
                    Some(record) => return Ok((record.offset < end).then_some(record)),
                    None => from = at.end,
                }
            }
        }
        Ok(None)
    }

    /// The first record below `end` that has the largest timestamp of the log.
    async fn find_max_timestamp(&self, end: Offset) -> io::Result<Option<FoundRecord>> {
        let largest = {
            let machine = self.machine.borrow();
            let all = machine.segments().iter().map(|segment| machine.largest(segment).timestamp);
            all.max().filter(|timestamp| *timestamp > Timestamp::NONE)
        };
        let Some(largest) = largest else { return Ok(None) };
        let found = self.find_time(largest, end).await?;
        if found.is_some() {
            return Ok(found);
        }
        // The header's word was wrong: whatever its batch really has is the answer.
        let extents: Vec<Extent> = {
            let machine = self.machine.borrow();
            machine.segments().iter().filter_map(|segment| machine.extent_of(segment.base)).collect()
        };
        for Extent { segment, visible_bytes, .. } in extents {
            let file = self.segment_file(segment, SegmentFileKind::Log).await?;
            let end = FilePosition(visible_bytes);
            let claimed = self.walk(&file, FilePosition(0), end, |batch| batch.max_timestamp == largest).await?;
            if let Some(at) = claimed {
                let batch = self.read_batch(&file, at).await?;
                return max_timestamp_record(&batch, DECOMPRESSED_BATCH_BYTES_MAX).map_err(io::Error::other);
            }
        }
        Ok(None)
    }
}
