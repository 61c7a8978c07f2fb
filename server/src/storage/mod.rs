//! The partitions' logs on disk: performs what `corelane_core::partition` and `corelane_core::log` decide.
//!
//! Each partition is a [`PartitionLog`] on its owner shard: the machine, the open files, the queue of appends and who
//! waits for what. [`append`] writes, with those right behind as [`gather`] has it, into the page cache or past it by
//! `direct`, and what begins a transaction as `claims` has it; [`read`] finds what can be read, with what was `aborted`,
//! `sync` makes durable, [`open`] recovers after `exchange` has finished what a
//! cleaner left, `retention` takes old segments away and [`cleaner`] compacts, both of which `searches` are kept apart from, `pause`
//! goes on after a failed write, [`records`] takes records back and says who wrote, [`checkpoints`] keeps the files in the
//! root of the data directory.

mod aborted;
pub(crate) mod append;
pub(crate) mod checkpoints;
pub(crate) mod claims;
pub(crate) mod cleaner;
mod direct;
mod exchange;
pub(crate) mod gather;
mod index_search;
pub(crate) mod open;
mod pause;
pub(crate) mod read;
mod recall;
pub(crate) mod records;
mod retention;
mod searches;
pub(crate) mod segment_times;
mod segments;
mod sync;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use corelane_core::base::{FilePosition, Monotonic, NodeId, Offset, PartitionIndex, ShardId, TopicId};
use corelane_core::limits::PRODUCER_EXPIRY_INTERVAL_MS;
use corelane_core::partition::{LogSettings, Partition};

use self::aborted::AbortedBytes;
use self::append::{Queued, Unacknowledged};
use self::checkpoints::PartitionMarks;
use self::claims::{AskCoordinator, Claims};
use self::direct::Direct;
use self::gather::Gathering;
use self::searches::Searches;
use self::segments::SegmentFiles;
use crate::hop::WatchId;
use crate::local::{Signal, Turn};
use crate::stages::Stages;
use crate::sys::Sys;

/// Names a partition on every shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicId,
    /// The partition in it.
    pub index: PartitionIndex,
}

/// Whether a partition takes part in anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It appends and reads.
    Serving,
    /// A write failed: it is read, and refuses appends until its log could be opened again.
    Paused,
    /// A sync failed: it refuses appends and reads until the broker is started again.
    Fenced,
    /// It was closed: the broker stops, or the topic is gone.
    Closed,
}

/// One partition's log on its owner shard.
pub(crate) struct PartitionLog<S: Sys> {
    pub(crate) sys: S,
    stages: Rc<Stages>,
    pub(crate) key: PartitionKey,
    /// This broker, which leads it.
    pub(crate) node: NodeId,
    pub(crate) topic: String,
    /// `<topic>-<partition>`, for people.
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) machine: RefCell<Partition>,
    state: Cell<State>,
    /// Files of the segments, by base offset; those of the active one are always open.
    files: RefCell<BTreeMap<Offset, SegmentFiles<S>>>,

    /// Producer snapshots that are there, by the offset that names them.
    snapshots: RefCell<BTreeSet<Offset>>,

    // Appends.
    queue: RefCell<VecDeque<Queued>>,
    /// A task takes from the queue, or will as soon as what is gathered is written.
    draining: Cell<bool>,
    gathering: Rc<Gathering<S>>,
    /// Its queue is to be written with what is gathered.
    is_gathered: Cell<bool>,
    /// Raised when the queue has run empty.
    idle: Signal,
    /// The active segment is to end, though nothing is appended that would end it.
    roll_wanted: Cell<bool>,
    /// How often that was tried.
    roll_tries: Cell<u64>,
    /// Raised when it was tried once more, or will not be.
    rolled: Signal,
    /// A write has failed, and the log has not been opened again since: the machine knows of records that are not there.
    is_stale: Cell<bool>,
    /// The last such failure, for those who are refused.
    paused_by: RefCell<String>,
    /// When the log was last tried to be opened again.
    resume_tried: Cell<Monotonic>,
    /// Written, and waiting to become visible.
    unacknowledged: RefCell<Vec<Unacknowledged>>,

    /// Batches that wait for the coordinator of their transaction.
    claims: Claims,
    ask_coordinator: AskCoordinator,

    /// Appends may go past the page cache, where the topic wants that.
    may_be_direct: Cell<bool>,
    /// The active segment, if they have.
    direct: RefCell<Option<Rc<Direct<S>>>>,

    // Durability.
    /// A task syncs.
    syncing: Cell<bool>,
    /// Raised when a sync has ended.
    synced: Signal,
    /// The names of new files are not on the device yet.
    directory_unsynced: Cell<bool>,
    unsynced_bytes: Cell<u64>,
    /// Files of ended segments, and producer snapshots, that must be on the device before the recovery point passes
    /// them.
    unsynced_files: RefCell<Vec<S::File>>,
    /// Among them is the active segment's `.txnindex`.
    aborted_unsynced: Cell<bool>,
    /// When the first record was written that is not synced yet.
    unsynced_since: Cell<Option<Monotonic>>,
    /// When silent producers were last forgotten.
    producers_expired: Cell<Monotonic>,
    /// Where writeback of the active segment was last started.
    written_back: Cell<FilePosition>,

    // Care.
    /// Segments are taken away or exchanged, or the log is opened again or closed, by one task at a time.
    care: Turn,
    searches: Searches,
    /// Up to where it was compacted, if it was.
    cleaned_to: Cell<Option<Offset>>,
    /// When it may be cleaned again, after a pass that has failed.
    clean_after: Cell<Monotonic>,
    /// It was found to be damaged when it was cleaned.
    is_uncleanable: Cell<bool>,

    // Readers.
    /// The segments that have aborted transactions.
    aborted_bytes: RefCell<AbortedBytes>,
    /// Who wants to know when more becomes visible, once each.
    watches: RefCell<Vec<(ShardId, WatchId)>>,
    /// Tells a watcher; the shard knows how.
    notify: Rc<dyn Fn(ShardId, WatchId)>,
}

impl<S: Sys> PartitionLog<S> {
    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// Takes over a changed configuration of the topic.
    pub(crate) fn set_settings(self: &Rc<Self>, settings: LogSettings) {
        if settings.compaction.is_none() {
            // What is written from now on counts as not cleaned if it is compacted again.
            self.cleaned_to.set(None);
        }
        self.machine.borrow_mut().set_settings(settings);
        // A topic that has become strict shows nothing unsynced; one that no longer is shows more.
        self.request_sync();
        self.advanced();
    }

    /// Leaves a watch for the next time that more becomes visible.
    pub(crate) fn watch(&self, shard: ShardId, watch: WatchId) {
        self.watches.borrow_mut().push((shard, watch));
    }

    /// Takes a watch back.
    pub(crate) fn unwatch(&self, shard: ShardId, watch: WatchId) {
        self.watches.borrow_mut().retain(|w| *w != (shard, watch));
    }

    /// The high watermark may have moved: tells readers, answers producers.
    fn advanced(&self) {
        for (shard, watch) in self.watches.take() {
            (self.notify)(shard, watch);
        }
        self.acknowledge();
    }

    /// Does what is due by time.
    pub(crate) fn keep_house(self: &Rc<Self>) {
        match self.state.get() {
            State::Serving => {}
            State::Paused => return self.resume_if_due(),
            State::Fenced | State::Closed => return,
        }
        let now = self.sys.now();
        let flush_ms = self.machine.borrow().settings().flush_ms;
        let waited_ms = self.unsynced_since.get().map_or(0, |since| now.since_ns(since) / 1_000_000);
        if self.unsynced_since.get().is_some() && i64::try_from(waited_ms).unwrap_or(i64::MAX) >= flush_ms {
            self.request_sync();
        }
        if now.since_ns(self.producers_expired.get()) >= PRODUCER_EXPIRY_INTERVAL_MS * 1_000_000 {
            self.producers_expired.set(now);
            self.machine.borrow_mut().expire_producers(self.sys.wall());
        }
    }

    /// Where the log stands, for the checkpoints.
    pub(crate) fn marks(&self) -> PartitionMarks {
        let machine = self.machine.borrow();
        PartitionMarks {
            topic: self.topic.clone(),
            index: self.key.index,
            recovery_point: machine.durable(),
            log_start: machine.log_start(),
            high_watermark: machine.high_watermark(),
            cleaned_to: self.cleaned_to.get(),
            bytes: machine.segments().iter().map(|segment| segment.bytes).sum(),
        }
    }

    /// Refuses further appends, waits for those in progress, and makes everything durable.
    ///
    /// # Errors
    /// What could not be written or synced; the log is then as after a crash.
    pub(crate) async fn close(self: &Rc<Self>) -> io::Result<()> {
        let was = self.state.replace(State::Closed);
        self.rolled.raise();
        while self.draining.get() {
            self.idle.next().await;
        }
        let _turn = self.care.take().await;
        if was == State::Fenced {
            return Err(io::Error::other(format!("{} is fenced", self.name)));
        }
        if self.is_stale.get() {
            self.reopen().await?;
        }
        self.finish_files().await
    }
}
