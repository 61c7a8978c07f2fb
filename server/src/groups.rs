//! The group coordinators of one shard: one for each partition of `__consumer_offsets` that it owns.
//!
//! What a coordinator decides is in `corelane_core::group`; here its log is read when the partition is opened, its appends
//! go to the partition's queue, and its timers run. An answer leaves when the machine gives it out, and it gives out
//! none that promises something before the append is acknowledged.
//!
//! | moment | in memory | in the log | a crash here |
//! | --- | --- | --- | --- |
//! | a commit is handled | on its way | in the partition's queue | was never answered |
//! | the append is acknowledged | counts | in the page cache, or on the device if the topic is strict | the next load reads it |
//! | the answer leaves | counts | the same | the next load reads it |
//!
//! Order: effects are performed in the order in which the machine gives them, and an append takes its place in the
//! partition's queue before anything waits. Bounds: those of the machine (`limits::GROUP_*`); an append on its way is one
//! of at most `GROUP_APPENDS_MAX`, an open request one of a connection's.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use corelane_core::base::{LeaderEpoch, Monotonic, PartitionIndex, TopicId};
use corelane_core::coordinator::{Append, Now, RequestId};
use corelane_core::group::{
    Answer, Effect, GroupCoordinator, GroupLoader, GroupSettings, LoadReport, Request, RequestContext,
};
use corelane_core::limits::{COORDINATOR_LOAD_BYTES, TASK_BUDGET_US};
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::record::{Batch, ValidBatch};
use corelane_core::session::Wanted;

use crate::local::{Either, Signal, Slot, first_of};
use crate::storage::append::Incoming;
use crate::storage::read::{self, ReadItem};
use crate::storage::{PartitionLog, State};
use crate::sys::Sys;

/// What a coordinator does at the moment.
enum Stage {
    /// Its log is being read.
    Loading,
    /// It serves.
    Serving(Box<GroupCoordinator>),
    /// Its log cannot be read.
    Failed,
    /// The partition is gone, or the broker stops.
    Resigned,
}

/// The coordinator of one partition of `__consumer_offsets`.
pub(crate) struct Coordinator<S: Sys> {
    sys: S,
    log: Rc<PartitionLog<S>>,
    stage: RefCell<Stage>,
    /// Requests that are not answered yet.
    open: RefCell<BTreeMap<RequestId, Rc<Slot<Answer>>>>,
    next_request: Cell<u64>,
    /// Time for which the timer is set.
    armed: Cell<Option<Monotonic>>,
    /// Raised when the timer is set for too late, and at the end.
    rearm: Signal,
}

impl<S: Sys> Coordinator<S> {
    /// The coordinator of a partition that was just opened; it reads its log in the background.
    pub(crate) fn start(sys: &S, log: Rc<PartitionLog<S>>, settings: GroupSettings) -> Rc<Self> {
        let this = Rc::new(Self {
            sys: sys.clone(),
            log,
            stage: RefCell::new(Stage::Loading),
            open: RefCell::default(),
            next_request: Cell::new(0),
            armed: Cell::new(None),
            rearm: Signal::default(),
        });
        sys.spawn("groups", Rc::clone(&this).run(settings));
        this
    }

    async fn run(self: Rc<Self>, settings: GroupSettings) {
        let loaded = self.load(settings).await;
        if !matches!(*self.stage.borrow(), Stage::Loading) {
            return;
        }
        match loaded {
            Ok((coordinator, report)) => {
                if report.records > 0 {
                    tracing::debug!(partition = %self.log.name, ?report, "groups loaded");
                }
                *self.stage.borrow_mut() = Stage::Serving(Box::new(coordinator));
            }
            Err(error) => {
                tracing::error!(partition = %self.log.name, %error, "groups could not be loaded; they are not served");
                *self.stage.borrow_mut() = Stage::Failed;
                return;
            }
        }
        self.keep_time().await;
    }

    /// Reads the log from its start to the high watermark.
    async fn load(&self, settings: GroupSettings) -> io::Result<(GroupCoordinator, LoadReport)> {
        let (mut offset, end) = {
            let machine = self.log.machine.borrow();
            (machine.log_start(), machine.high_watermark())
        };
        let mut loader = GroupLoader::new(settings);
        let mut breathed = self.sys.now();
        while offset < end {
            let wanted = Wanted {
                offset,
                bytes_max: i32::try_from(COORDINATOR_LOAD_BYTES).unwrap_or(i32::MAX),
                current_epoch: LeaderEpoch::NONE,
                last_fetched_epoch: LeaderEpoch::NONE,
            };
            let found = read::find(Ok(Rc::clone(&self.log)), &ReadItem { partition: self.log.key, wanted }).await;
            if found.error != ErrorCode::NONE {
                return Err(io::Error::other(format!("{}", found.error)));
            }
            // Nothing more: what is left below the high watermark was taken away by compaction.
            let Some(range) = found.range else { break };
            let len = usize::try_from(range.whole_bytes).map_err(io::Error::other)?;
            let mut bytes = self.sys.read_at(&range.file, range.position, len).await?;
            let before = offset;
            while !bytes.is_empty() {
                let batch = Batch::split_from(&mut bytes).map_err(io::Error::other)?;
                if batch.header().last_offset() >= offset {
                    loader.batch(&batch).map_err(io::Error::other)?;
                    offset = batch.header().last_offset().plus(1);
                }
                if self.sys.now().since_ns(breathed) > TASK_BUDGET_US * 1_000 {
                    self.sys.breathe().await;
                    breathed = self.sys.now();
                }
            }
            assert!(offset > before, "what was found holds the wanted offset");
        }
        Ok(loader.finish(self.now()))
    }

    fn now(&self) -> Now {
        Now { monotonic: self.sys.now(), wall: self.sys.wall() }
    }

    /// Asks the coordinator, and resolves with its answer: for some requests after minutes.
    pub(crate) async fn ask(self: &Rc<Self>, context: &RequestContext, request: Request) -> Answer {
        let (slot, effects) = {
            let mut stage = self.stage.borrow_mut();
            let coordinator = match &mut *stage {
                Stage::Serving(coordinator) if self.log.state() != State::Closed => coordinator,
                Stage::Loading => return request.refuse(context.version, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
                Stage::Failed => return request.refuse(context.version, ErrorCode::COORDINATOR_NOT_AVAILABLE),
                Stage::Serving(_) | Stage::Resigned => {
                    return request.refuse(context.version, ErrorCode::NOT_COORDINATOR);
                }
            };
            let id = RequestId(self.next_request.get());
            self.next_request.set(id.0 + 1);
            let slot = Rc::new(Slot::default());
            self.open.borrow_mut().insert(id, Rc::clone(&slot));
            (slot, coordinator.handle(self.now(), id, context, request))
        };
        self.perform(effects);
        slot.take().await
    }

    /// Says that topics were deleted: what was committed for them goes too.
    pub(crate) fn topics_deleted(self: &Rc<Self>, topics: &[(KafkaString, TopicId)]) {
        self.advance(|coordinator, now| coordinator.on_topics_deleted(now, topics));
    }

    /// Answers what is open, and nothing from now on.
    pub(crate) fn resign(self: &Rc<Self>) {
        let was = self.stage.replace(Stage::Resigned);
        if let Stage::Serving(coordinator) = was {
            // Appends that it still wanted are not made: nobody was promised them.
            for effect in coordinator.resign(self.now()) {
                if let Effect::Answer(id, answer) = effect {
                    self.answer(id, answer);
                }
            }
        }
        self.rearm.raise();
    }

    fn advance(self: &Rc<Self>, step: impl FnOnce(&mut GroupCoordinator, Now) -> Vec<Effect>) {
        let effects = match &mut *self.stage.borrow_mut() {
            Stage::Serving(coordinator) => step(coordinator, self.now()),
            Stage::Loading | Stage::Failed | Stage::Resigned => return,
        };
        self.perform(effects);
    }

    fn perform(self: &Rc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Answer(id, answer) => self.answer(id, answer),
                Effect::Append(append) => self.append(&append),
            }
        }
        self.arm();
    }

    fn answer(&self, id: RequestId, answer: Answer) {
        let slot = self.open.borrow_mut().remove(&id).expect("a request is answered once");
        slot.fill(answer);
    }

    /// Puts an append into the partition's queue, and tells the machine what became of it.
    fn append(self: &Rc<Self>, append: &Append) {
        let id = append.id;
        let appended = append.batch().map(|batch| self.log.append(Incoming::Valid(ValidBatch::internal(batch))));
        let this = Rc::clone(self);
        self.sys.spawn("group append", async move {
            let result = match appended {
                Ok(appended) => appended.await.map(|appended| appended.base_offset).map_err(|error| error.code),
                Err(error) => {
                    tracing::error!(partition = %this.log.name, %error, "records of a group could not be made a batch");
                    Err(ErrorCode::UNKNOWN_SERVER_ERROR)
                }
            };
            this.advance(|coordinator, now| coordinator.on_append(now, id, result));
        });
    }

    fn deadline(&self) -> Option<Monotonic> {
        match &*self.stage.borrow() {
            Stage::Serving(coordinator) => coordinator.next_deadline(),
            Stage::Loading | Stage::Failed | Stage::Resigned => None,
        }
    }

    /// Wakes the timer if it would come too late.
    fn arm(&self) {
        if let (Some(deadline), Some(armed)) = (self.deadline(), self.armed.get())
            && deadline < armed
        {
            self.rearm.raise();
        }
    }

    /// Does what is due by time, until the coordinator resigns.
    async fn keep_time(self: Rc<Self>) {
        while let Some(deadline) = self.deadline() {
            if deadline <= self.sys.now() {
                self.advance(|coordinator, now| coordinator.on_time(now));
                self.sys.breathe().await;
                continue;
            }
            self.armed.set(Some(deadline));
            // Nothing lies between the look at the deadline and the first poll of this wait.
            if let Either::First(()) = first_of(self.sys.sleep_until(deadline), self.rearm.next()).await {
                self.armed.set(None);
            }
        }
    }
}

/// The coordinators of one shard, by partition of `__consumer_offsets`.
pub(crate) struct Coordinators<S: Sys>(RefCell<BTreeMap<PartitionIndex, Rc<Coordinator<S>>>>);

impl<S: Sys> Default for Coordinators<S> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<S: Sys> Coordinators<S> {
    /// The coordinator of a partition, if it is here.
    pub(crate) fn get(&self, index: PartitionIndex) -> Option<Rc<Coordinator<S>>> {
        self.0.borrow().get(&index).cloned()
    }

    /// All coordinators of the shard.
    pub(crate) fn all(&self) -> Vec<Rc<Coordinator<S>>> {
        self.0.borrow().values().cloned().collect()
    }

    /// Puts a new one in its place.
    pub(crate) fn insert(&self, index: PartitionIndex, coordinator: Rc<Coordinator<S>>) {
        self.0.borrow_mut().insert(index, coordinator);
    }

    /// Ends the coordinator of a partition that is gone.
    pub(crate) fn remove(&self, index: PartitionIndex) {
        if let Some(coordinator) = self.0.borrow_mut().remove(&index) {
            coordinator.resign();
        }
    }

    /// Ends all of them, when the broker stops.
    pub(crate) fn resign(&self) {
        for coordinator in self.all() {
            coordinator.resign();
        }
    }
}
