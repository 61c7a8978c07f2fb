//! Appends: one queue a partition, served in the order of arrival.
//!
//! | step | the batch is in | after kill -9 | after loss of power | seen by readers |
//! | --- | --- | --- | --- | --- |
//! | queued | the received frame | gone, not acknowledged | gone, not acknowledged | no |
//! | admitted | the same; offset given | gone, not acknowledged | gone, not acknowledged | no |
//! | written | the page cache | there, or cut at a torn batch | may be gone | plain topics |
//! | acknowledged, plain topic | the page cache | there | may be gone, as with Kafka | yes |
//! | synced | the device | there | there | all |
//! | acknowledged, strict topic | the device | there | there | yes |
//!
//! What keeps the order while something waits: the queue. One task drains it; while that task waits for a codec on a
//! helper thread, for a new segment or for a stalled device, every later batch stays queued behind it. The queue is
//! bounded by the requests in progress, one batch each at most.
//!
//! What goes past the page cache has a table of its own ([`direct`](super::direct)).
//!
//! A write that fails leaves an unknown number of bytes behind the last good one. Everything admitted is answered
//! with an error, the file is cut, and the log is opened again from the disk before anything else is appended
//! ([`super::pause`]). If a sync fails, the partition is fenced until the broker is started again.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use corelane_core::base::{FilePosition, Monotonic, Offset, ProducerEpoch, ProducerId, Timestamp};
use corelane_core::coordinator::Claim;
use corelane_core::limits::{APPEND_GROUP_BATCHES_MAX, APPEND_GROUP_BYTES_MAX, UNSYNCED_BYTES_MAX, WRITEBACK_BYTES};
use corelane_core::partition::{Admission, Admitted};
use corelane_core::protocol::ErrorCode;
use corelane_core::record::header::MAGIC;
use corelane_core::record::validate::RecordFault;
use corelane_core::record::{
    AppendRules, BatchHeader, BatchOptions, CodecError, EndMarker, RecordRejection, ValidBatch,
};

use super::direct::DirectError;
use super::{PartitionKey, PartitionLog, State};
use crate::local::Slot;
use crate::stages::Stage;
use crate::sys::Sys;

/// A batch on its way to its partition.
pub struct AppendItem {
    /// Where it goes.
    pub partition: PartitionKey,
    /// What goes there.
    pub batch: Incoming,
    /// The transaction that it takes part in.
    pub claim: Option<Claim>,
}

/// The end of a transaction, on its way to a partition.
#[derive(Clone, Copy, Debug)]
pub struct MarkerItem {
    /// Where it goes.
    pub partition: PartitionKey,
    /// Whose transaction.
    pub producer: ProducerId,
    /// The generation that the marker is written with.
    pub epoch: ProducerEpoch,
    /// What it says.
    pub marker: EndMarker,
    /// The end has raised the generation (KIP-890).
    pub raises_epoch: bool,
}

impl MarkerItem {
    /// What is put into the partition's queue.
    pub(crate) fn incoming(&self, now: Timestamp) -> Result<Incoming, CodecError> {
        let options =
            BatchOptions { producer_id: self.producer, producer_epoch: self.epoch, ..BatchOptions::default() };
        let batch = self.marker.batch(options, now)?;
        Ok(Incoming::Marker(ValidBatch::internal(batch), self.marker, self.raises_epoch))
    }
}

/// A batch as it reaches its owner.
pub enum Incoming {
    /// Checked already, on the shard that received it.
    Valid(ValidBatch),
    /// Its payload must be opened, which takes longer than a shard may be held: done on a helper thread while the
    /// batch keeps its place in the queue.
    Unopened(Bytes, Arc<AppendRules>, Validation),
    /// The marker that ends a transaction here, and whether the end has raised the producer's generation.
    Marker(ValidBatch, EndMarker, bool),
}

impl Incoming {
    /// Header of the batch; `None` if it is none that can be read, or of an old format.
    pub(crate) fn header(&self) -> Option<BatchHeader> {
        match self {
            Self::Valid(batch) | Self::Marker(batch, ..) => Some(*batch.header()),
            Self::Unopened(records, ..) => BatchHeader::parse(records).filter(|header| header.magic() == MAGIC),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Valid(batch) | Self::Marker(batch, ..) => batch.size_bytes(),
            Self::Unopened(records, ..) => records.len(),
        }
    }
}

/// What checks a client's records and makes them a batch.
pub(crate) type Validation = fn(&Bytes, &AppendRules, Timestamp) -> Result<ValidBatch, RecordRejection>;

/// An acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Append time, or −1 where the topic keeps the client's.
    pub log_append_time: Timestamp,
    /// First offset of the log.
    pub log_start: Offset,
}

/// A batch that was not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendError {
    /// Error of the partition in the answer.
    pub code: ErrorCode,
    /// Words for people.
    pub message: String,
    /// Records at fault (KIP-467).
    pub record_errors: Vec<RecordFault>,
}

/// What came of an append.
pub(crate) type AppendResult = Result<Appended, AppendError>;

impl AppendError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), record_errors: Vec::new() }
    }
}

impl From<RecordRejection> for AppendError {
    fn from(rejection: RecordRejection) -> Self {
        Self {
            code: ErrorCode(rejection.kind.code()),
            message: rejection.message,
            record_errors: rejection.record_errors,
        }
    }
}

/// A batch in the queue, since when, and where its result goes.
pub(super) struct Queued {
    batch: Incoming,
    since: Monotonic,
    result: Rc<Slot<AppendResult>>,
}

impl Queued {
    /// Header of the batch; `None` if it is none that can be read.
    pub(super) fn header(&self) -> Option<BatchHeader> {
        self.batch.header()
    }

    pub(super) fn refuse(self, error: AppendError) {
        self.result.fill(Err(error));
    }
}

/// An append that is answered once everything below `end` is acknowledged.
pub(super) struct Unacknowledged {
    /// Since when it was in the queue.
    since: Monotonic,
    end: Offset,
    appended: Appended,
    result: Rc<Slot<AppendResult>>,
}

/// Batches admitted for one write.
#[derive(Default)]
struct Group {
    position: Option<FilePosition>,
    slices: Vec<Bytes>,
    bytes: usize,
    appends: Vec<Unacknowledged>,
}

impl<S: Sys> PartitionLog<S> {
    /// Appends a batch behind everything queued before this call, and resolves when it is acknowledged or refused.
    pub(crate) fn append(self: &Rc<Self>, batch: Incoming) -> impl Future<Output = AppendResult> + use<S> {
        let (queued, result) = self.queued(batch);
        self.enqueue(queued);
        result.take()
    }

    pub(super) fn queued(&self, batch: Incoming) -> (Queued, Rc<Slot<AppendResult>>) {
        let result = Rc::new(Slot::default());
        (Queued { batch, since: self.sys.now(), result: Rc::clone(&result) }, result)
    }

    /// Puts a batch into the queue, behind which it is drained or gathered.
    pub(super) fn enqueue(self: &Rc<Self>, queued: Queued) {
        if self.state.get() != State::Serving {
            return queued.refuse(self.unavailable());
        }
        let bytes = queued.batch.bytes();
        self.queue.borrow_mut().push_back(queued);
        let may_begin = !self.draining.replace(true) || self.is_gathered.get();
        if may_begin && !self.gathering.takes(self, bytes) {
            self.is_gathered.set(false);
            self.begin_drain();
        }
    }

    /// Has the queue looked at though nothing was put into it.
    pub(super) fn drain_soon(self: &Rc<Self>) {
        if !self.draining.replace(true) {
            self.begin_drain();
        }
    }

    fn begin_drain(self: &Rc<Self>) {
        // Nearly always everything is written at the first poll; only what must wait becomes a task.
        let mut drain = Box::pin(Rc::clone(self).drain());
        if drain.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.sys.spawn("append", drain);
        }
    }

    /// Writes what was gathered, unless a later append has begun with it.
    pub(super) fn write_gathered(self: &Rc<Self>) {
        if self.is_gathered.replace(false) {
            self.begin_drain();
        }
    }

    /// Why a partition that does not serve refuses.
    fn unavailable(&self) -> AppendError {
        match self.state.get() {
            State::Fenced => AppendError::new(
                ErrorCode::KAFKA_STORAGE_ERROR,
                format!(
                    "the log of {} is fenced after a failed sync: start the broker again once its disk is in order",
                    self.name
                ),
            ),
            State::Paused => AppendError::new(ErrorCode::KAFKA_STORAGE_ERROR, self.paused_by.borrow().clone()),
            // The broker stops, or the topic is being deleted: the client looks for the leader again.
            State::Serving | State::Closed => {
                AppendError::new(ErrorCode::NOT_LEADER_OR_FOLLOWER, format!("{} is closed here", self.name))
            }
        }
    }

    pub(super) async fn drain(self: Rc<Self>) {
        loop {
            let mut group = Group::default();
            let is_asked = self.roll_wanted.replace(false);
            // An empty segment does not end: the next would have its name.
            let mut roll = is_asked && self.machine.borrow().active().bytes > 0;
            while !roll && group.bytes < APPEND_GROUP_BYTES_MAX && group.appends.len() < APPEND_GROUP_BATCHES_MAX {
                let next = self.queue.borrow_mut().pop_front();
                let Some(Queued { batch, since, result }) = next else { break };
                let batch = match batch {
                    Incoming::Valid(_) | Incoming::Marker(..) => batch,
                    Incoming::Unopened(..) if !group.appends.is_empty() => {
                        self.queue.borrow_mut().push_front(Queued { batch, since, result });
                        break;
                    }
                    Incoming::Unopened(records, rules, validate) => {
                        let wall = self.sys.wall();
                        // Order: this task is the only one that takes from the queue.
                        match self.sys.work(move || validate(&records, &rules, wall)).await {
                            Ok(batch) => Incoming::Valid(batch),
                            Err(rejection) => {
                                result.fill(Err(rejection.into()));
                                continue;
                            }
                        }
                    }
                };
                if !self.admit(&mut group, batch, since, result) {
                    roll = true;
                    break;
                }
            }
            // Order: nothing is taken from the queue while the write or the roll is in progress.
            if !group.slices.is_empty() {
                self.write(group).await;
            }
            if roll
                && self.state.get() == State::Serving
                && let Err(error) = self.roll().await
            {
                self.fail("roll", &error).await;
            }
            if is_asked {
                self.roll_tries.set(self.roll_tries.get() + 1);
                self.rolled.raise();
            }
            if self.queue.borrow().is_empty() && !self.roll_wanted.get() {
                self.draining.set(false);
                self.idle.raise();
                return;
            }
        }
    }

    /// Decides on one batch that was opened; false if it was put back because the segment must be rolled first.
    fn admit(&self, group: &mut Group, batch: Incoming, since: Monotonic, result: Rc<Slot<AppendResult>>) -> bool {
        if self.state.get() != State::Serving {
            result.fill(Err(self.unavailable()));
            return true;
        }
        let wall = self.sys.wall();
        let admission = match &batch {
            Incoming::Valid(valid) => self.machine.borrow_mut().admit(valid, wall),
            Incoming::Marker(valid, marker, raises_epoch) => {
                self.machine.borrow_mut().admit_marker(valid, *marker, *raises_epoch, wall)
            }
            Incoming::Unopened(..) => unreachable!("it was opened when it was taken from the queue"),
        };
        let log_start = self.machine.borrow().log_start();
        match admission {
            Admission::Roll => {
                self.queue.borrow_mut().push_front(Queued { batch, since, result });
                return false;
            }
            Admission::Refused(refusal) => result.fill(Err(AppendError::new(refusal.code, refusal.message))),
            Admission::Duplicate { base_offset, log_append_time, end } => {
                let appended = Appended { base_offset, log_append_time, log_start };
                group.appends.push(Unacknowledged { since, end, appended, result });
                if group.slices.is_empty() {
                    // Nothing will be written in front of it: it waits for its original only.
                    self.unacknowledged.borrow_mut().append(&mut group.appends);
                    self.acknowledge();
                }
            }
            Admission::Admitted(Admitted { base_offset, end, log_append_time, position, slices }) => {
                let appended = Appended { base_offset, log_append_time, log_start };
                group.position.get_or_insert(position);
                group.bytes += slices.iter().map(Bytes::len).sum::<usize>();
                group.slices.extend(slices);
                group.appends.push(Unacknowledged { since, end, appended, result });
            }
        }
        true
    }

    async fn write(self: &Rc<Self>, group: Group) {
        let Group { position, slices, bytes, appends } = group;
        let position = position.expect("a group with bytes has a place");
        let begun = self.sys.now();
        appends.iter().for_each(|append| self.stages.add(Stage::Queue, append.since, begun));
        self.unacknowledged.borrow_mut().extend(appends);
        let is_durable = match self.land(position, slices).await {
            Ok(is_durable) => is_durable,
            Err(DirectError::Before(error)) => return self.fail("write", &error).await,
            Err(DirectError::Within(error)) => return self.fence("write", &error),
        };
        // Order: readers of committed data look there as soon as the marker is seen to have ended its transaction.
        if let Err(error) = self.write_aborted().await {
            return self.fail("write of aborted transactions", &error).await;
        }
        self.stages.add(Stage::Append, begun, self.sys.now());
        // If all that lies before it is on the device too, so is the log; else a sync has more to do than this file.
        let was_durable = self.is_all_durable();
        let (moved, sync_due) = {
            let mut machine = self.machine.borrow_mut();
            let mut moved = machine.wrote();
            if is_durable
                && was_durable
                && let Some(target) = machine.sync_target()
            {
                moved |= machine.synced(target);
            }
            let messages_due = machine.unsynced_records() >= machine.settings().flush_messages;
            (moved, messages_due)
        };
        if moved {
            self.advanced();
        } else {
            self.acknowledge();
        }
        self.unsynced_bytes.set(self.unsynced_bytes.get() + bytes as u64);
        if self.unsynced_since.get().is_none() && self.machine.borrow().sync_target().is_some() {
            self.unsynced_since.set(Some(self.sys.now()));
        }
        let much_is_unsynced = self.unsynced_bytes.get() >= UNSYNCED_BYTES_MAX;
        if much_is_unsynced {
            // A recovery then has no more than that to walk through, for its producers and behind its last index entry.
            let this = Rc::clone(self);
            let snapshot = self.machine.borrow().producers().to_snapshot();
            let end = self.machine.borrow().log_end();
            self.sys.spawn("snapshot", async move {
                if let Err(error) = this.store_snapshot(end, snapshot).await {
                    tracing::warn!(partition = %this.name, %error, "producer snapshot could not be written");
                }
                this.request_sync();
            });
            self.unsynced_bytes.set(0);
        } else if sync_due {
            self.request_sync();
        }
        if !is_durable {
            self.pace_writeback(position.plus(bytes as u64));
        }
        if (much_is_unsynced || self.index_is_due())
            && let Err(error) = self.flush_index().await
        {
            self.fail("index write", &error).await;
        }
    }

    /// Writes slices at the log's end; whether they are on the device then.
    async fn land(self: &Rc<Self>, position: FilePosition, slices: Vec<Bytes>) -> Result<bool, DirectError> {
        if self.is_direct() {
            if self.write_direct(position, &slices).await? {
                return Ok(true);
            }
        } else {
            self.end_direct(false).await.map_err(DirectError::Before)?;
        }
        let log = self.active_files().log;
        self.sys.write_at(&log, position, slices).await.map_err(DirectError::Before)?;
        Ok(false)
    }

    /// Answers every append that the machine has acknowledged.
    pub(super) fn acknowledge(&self) {
        let acknowledged = self.machine.borrow().acknowledged();
        let ready: Vec<Unacknowledged> =
            self.unacknowledged.borrow_mut().extract_if(.., |append| append.end <= acknowledged).collect();
        for append in ready {
            append.result.fill(Ok(append.appended));
        }
    }

    /// Answers everything that waits with an error.
    pub(super) fn refuse_all(&self, error: &AppendError) {
        let waiting = std::mem::take(&mut *self.unacknowledged.borrow_mut());
        for append in waiting {
            append.result.fill(Err(error.clone()));
        }
    }

    /// Starts the device on what was written, in even steps, so that the kernel never throttles the writer in bulk.
    fn pace_writeback(self: &Rc<Self>, end: FilePosition) {
        let from = self.written_back.get();
        let pending = end.0.saturating_sub(from.0);
        if pending < WRITEBACK_BYTES {
            return;
        }
        self.written_back.set(end);
        let started = self.sys.writeback(&self.active_files().log, from, pending);
        self.sys.spawn("writeback", async move {
            // A hint: an error of the device shows at the sync, which decides.
            let _ = started.await;
        });
    }
}
