//! The coordinators of one shard: one for each partition of `__consumer_offsets` and of `__transaction_state` that it owns.
//!
//! What a coordinator decides is its machine's, in `corelane_core::group` and `corelane_core::transaction`; here its log is
//! read when the partition is opened, its appends go to the partition's queue, and its timers run. An answer leaves when the
//! machine gives it out, and it gives out none that promises something before the append is acknowledged.
//!
//! | moment | in memory | in the log | a crash here |
//! | --- | --- | --- | --- |
//! | a change is decided | on its way | in the partition's queue | was never answered |
//! | the append is acknowledged | counts | in the page cache, or on the device if the topic is strict | the next load reads it |
//! | the answer leaves | counts | the same | the next load reads it |
//! | markers of an ended transaction are written | decided | decided | the next load has them written again |
//!
//! Order: effects are performed in the order in which the machine gives them, and an append takes its place in the
//! partition's queue before anything waits. Bounds: those of the machine (`limits::GROUP_*`, `limits::TRANSACTION_*`); an
//! append on its way is one of at most `GROUP_APPENDS_MAX` or `TRANSACTION_APPENDS_MAX`, an open request one of a connection's
//! or of a partition's claims.

mod groups;
mod transactions;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};

use corelane_core::base::{LeaderEpoch, Monotonic, Offset, PartitionIndex, ProducerId};
use corelane_core::coordinator::{Append, AppendId, Now, RequestId};
use corelane_core::limits::{COORDINATOR_LOAD_BYTES, TASK_BUDGET_US};
use corelane_core::protocol::ErrorCode;
use corelane_core::record::{Batch, ValidBatch};
use corelane_core::session::Wanted;

use crate::catalog::Topic;
use crate::local::{Either, Signal, Slot, first_of};
use crate::shard::Shard;
use crate::storage::append::Incoming;
use crate::storage::read::{self, ReadItem};
use crate::storage::{PartitionLog, State};
use crate::sys::Sys;

/// What decides for one partition of an internal topic: the machine of its groups, or of its transactions.
pub(crate) trait Machine<S: Sys>: Sized + 'static {
    /// What it coordinates, for people.
    const KIND: &'static str;
    /// What of the broker's configuration it follows.
    type Settings: 'static;
    /// It, while its log is being read.
    type Loader: 'static;
    /// What was loaded.
    type Report: fmt::Debug;
    /// Who asks.
    type Context: 'static;
    /// What is asked.
    type Request: 'static;
    /// The answer to that.
    type Answer: 'static;
    /// What it wants done.
    type Effect: 'static;
    /// Of that, what is neither an append nor an answer.
    type Other: 'static;

    /// Its settings as of now; `topic` is the one whose partition it is.
    fn settings(shard: &Shard<S>, topic: &Topic) -> Self::Settings;

    /// Nothing read yet. `epoch` is that of the partition's leadership.
    fn loader(settings: Self::Settings, epoch: LeaderEpoch) -> Self::Loader;

    /// Takes the next batch of the log.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    fn load(loader: &mut Self::Loader, batch: &Batch) -> io::Result<()>;

    /// The log is read.
    fn finish(loader: Self::Loader, now: Now) -> (Self, Self::Report, Vec<Self::Effect>);

    /// Takes over changed settings.
    fn set_settings(&mut self, settings: Self::Settings);

    /// Handles a request. Its answer is among the effects of this or of a later call.
    fn handle(
        &mut self,
        now: Now,
        id: RequestId,
        context: &Self::Context,
        request: Self::Request,
        ids: &mut dyn FnMut() -> Option<ProducerId>,
    ) -> Vec<Self::Effect>;

    /// The answer that refuses a request.
    fn refuse(context: &Self::Context, request: &Self::Request, code: ErrorCode) -> Self::Answer;

    /// Says what became of an append.
    fn on_append(&mut self, now: Now, id: AppendId, result: Result<Offset, ErrorCode>) -> Vec<Self::Effect>;

    /// The instant at which [`on_time`](Self::on_time) is due.
    fn next_deadline(&self) -> Option<Monotonic>;

    /// Does what is due.
    fn on_time(&mut self, now: Now, ids: &mut dyn FnMut() -> Option<ProducerId>) -> Vec<Self::Effect>;

    /// Ends all open requests.
    fn resign(self, now: Now) -> Vec<Self::Effect>;

    /// What is to be done for an effect.
    fn step(effect: Self::Effect) -> Step<Self::Answer, Self::Other>;

    /// Does what is neither an append nor an answer; it must not wait.
    fn perform(coordinator: &Rc<Coordinator<S, Self>>, other: Self::Other);
}

/// What is to be done for an effect.
pub(crate) enum Step<A, O> {
    /// Append.
    Append(Append),
    /// Give an answer.
    Answer(RequestId, A),
    /// Something of the machine's own.
    Other(O),
}

/// What a coordinator does at the moment.
enum Stage<M> {
    /// Its log is being read.
    Loading,
    /// It serves.
    Serving(Box<M>),
    /// Its log cannot be read.
    Failed,
    /// The partition is gone, or the broker stops.
    Resigned,
}

/// The coordinator of one partition.
pub(crate) struct Coordinator<S: Sys, M: Machine<S>> {
    sys: S,
    shard: Weak<Shard<S>>,
    log: Rc<PartitionLog<S>>,
    stage: RefCell<Stage<M>>,
    /// Requests that are not answered yet.
    open: RefCell<BTreeMap<RequestId, Rc<Slot<M::Answer>>>>,
    next_request: Cell<u64>,
    /// Time for which the timer is set.
    armed: Cell<Option<Monotonic>>,
    /// Raised when the timer is set for too late, and at the end.
    rearm: Signal,
}

impl<S: Sys, M: Machine<S>> Coordinator<S, M> {
    /// The coordinator of a partition that was just opened; it reads its log in the background.
    pub(crate) fn start(shard: &Rc<Shard<S>>, log: Rc<PartitionLog<S>>, topic: &Topic) -> Rc<Self> {
        let this = Rc::new(Self {
            sys: shard.sys.clone(),
            shard: Rc::downgrade(shard),
            log,
            stage: RefCell::new(Stage::Loading),
            open: RefCell::default(),
            next_request: Cell::new(0),
            armed: Cell::new(None),
            rearm: Signal::default(),
        });
        shard.sys.spawn(M::KIND, Rc::clone(&this).run(M::settings(shard, topic)));
        this
    }

    async fn run(self: Rc<Self>, settings: M::Settings) {
        let loaded = self.load(settings).await;
        if !matches!(*self.stage.borrow(), Stage::Loading) {
            return;
        }
        let partition = &self.log.name;
        match loaded {
            Ok((mut machine, report, effects)) => {
                tracing::debug!(%partition, ?report, "{} loaded", M::KIND);
                // They may have changed while the log was being read.
                if let Some(settings) = self.current_settings() {
                    machine.set_settings(settings);
                }
                *self.stage.borrow_mut() = Stage::Serving(Box::new(machine));
                self.perform(effects);
            }
            Err(error) => {
                tracing::error!(%partition, %error, "{} could not be loaded; they are not served", M::KIND);
                *self.stage.borrow_mut() = Stage::Failed;
                return;
            }
        }
        self.keep_time().await;
    }

    /// Reads the log from its start to the high watermark, also what comes there meanwhile: markers do.
    async fn load(&self, settings: M::Settings) -> io::Result<(M, M::Report, Vec<M::Effect>)> {
        let (mut offset, epoch) = {
            let machine = self.log.machine.borrow();
            (machine.log_start(), machine.leader_epoch())
        };
        let mut loader = M::loader(settings, epoch);
        let mut breathed = self.sys.now();
        while offset < self.log.machine.borrow().high_watermark() {
            let wanted = Wanted {
                offset,
                bytes_max: i32::try_from(COORDINATOR_LOAD_BYTES).unwrap_or(i32::MAX),
                current_epoch: LeaderEpoch::NONE,
                last_fetched_epoch: LeaderEpoch::NONE,
            };
            let item = ReadItem { partition: self.log.key, wanted, committed_only: false };
            let found = read::find(Ok(Rc::clone(&self.log)), &item).await;
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
                    M::load(&mut loader, &batch)?;
                    offset = batch.header().last_offset().plus(1);
                }
                if self.sys.now().since_ns(breathed) > TASK_BUDGET_US * 1_000 {
                    self.sys.breathe().await;
                    breathed = self.sys.now();
                }
            }
            assert!(offset > before, "what was found holds the wanted offset");
        }
        Ok(M::finish(loader, self.now()))
    }

    fn now(&self) -> Now {
        Now { monotonic: self.sys.now(), wall: self.sys.wall() }
    }

    fn current_settings(&self) -> Option<M::Settings> {
        let shard = self.shard.upgrade()?;
        let catalog = shard.catalog();
        Some(M::settings(&shard, catalog.topic_by_id(self.log.key.topic)?))
    }

    /// A producer id that nobody has, if there is one at hand.
    fn fresh_id(&self) -> Option<ProducerId> {
        self.shard.upgrade()?.producer_ids.borrow_mut().take()
    }

    /// Asks the coordinator, and resolves with its answer: for some requests after minutes.
    pub(crate) async fn ask(self: &Rc<Self>, context: &M::Context, request: M::Request) -> M::Answer {
        let (slot, effects) = {
            let mut stage = self.stage.borrow_mut();
            let machine = match &mut *stage {
                Stage::Serving(machine) if self.log.state() != State::Closed => machine,
                Stage::Loading => return M::refuse(context, &request, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
                Stage::Failed => return M::refuse(context, &request, ErrorCode::COORDINATOR_NOT_AVAILABLE),
                Stage::Serving(_) | Stage::Resigned => {
                    return M::refuse(context, &request, ErrorCode::NOT_COORDINATOR);
                }
            };
            let id = RequestId(self.next_request.get());
            self.next_request.set(id.0 + 1);
            let slot = Rc::new(Slot::default());
            self.open.borrow_mut().insert(id, Rc::clone(&slot));
            (slot, machine.handle(self.now(), id, context, request, &mut || self.fresh_id()))
        };
        self.perform(effects);
        slot.take().await
    }

    /// Its partition's log.
    pub(crate) fn log(&self) -> &Rc<PartitionLog<S>> {
        &self.log
    }

    /// Settings may have changed.
    pub(crate) fn refresh(self: &Rc<Self>) {
        if let Some(settings) = self.current_settings() {
            self.advance(|machine, _| {
                machine.set_settings(settings);
                Vec::new()
            });
        }
    }

    /// Answers what is open, and nothing from now on.
    pub(crate) fn resign(self: &Rc<Self>) {
        let was = self.stage.replace(Stage::Resigned);
        if let Stage::Serving(machine) = was {
            // Appends that it still wanted are not made: nobody was promised them.
            for effect in machine.resign(self.now()) {
                if let Step::Answer(id, answer) = M::step(effect) {
                    self.answer(id, answer);
                }
            }
        }
        self.rearm.raise();
    }

    fn advance(self: &Rc<Self>, step: impl FnOnce(&mut M, Now) -> Vec<M::Effect>) {
        let effects = match &mut *self.stage.borrow_mut() {
            Stage::Serving(machine) => step(machine, self.now()),
            Stage::Loading | Stage::Failed | Stage::Resigned => return,
        };
        self.perform(effects);
    }

    fn perform(self: &Rc<Self>, effects: Vec<M::Effect>) {
        for effect in effects {
            match M::step(effect) {
                Step::Answer(id, answer) => self.answer(id, answer),
                Step::Append(append) => self.append(append),
                Step::Other(other) => M::perform(self, other),
            }
        }
        self.arm();
    }

    fn answer(&self, id: RequestId, answer: M::Answer) {
        let slot = self.open.borrow_mut().remove(&id).expect("a request is answered once");
        slot.fill(answer);
    }

    /// Puts an append into the partition's queue, and tells the machine what became of it.
    fn append(self: &Rc<Self>, append: Append) {
        let id = append.id;
        let batch = append.batch();
        let appended = batch.map(|batch| self.log.append(Incoming::Valid(ValidBatch::internal(batch))));
        let this = Rc::clone(self);
        self.sys.spawn("coordinator append", async move {
            let result = match appended {
                Ok(appended) => appended.await.map(|appended| appended.base_offset).map_err(|error| error.code),
                Err(error) => {
                    tracing::error!(partition = %this.log.name, %error, "records could not be made a batch");
                    Err(ErrorCode::UNKNOWN_SERVER_ERROR)
                }
            };
            this.advance(|machine, now| machine.on_append(now, id, result));
        });
    }

    fn deadline(&self) -> Option<Monotonic> {
        match &*self.stage.borrow() {
            Stage::Serving(machine) => machine.next_deadline(),
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
                self.advance(|machine, now| machine.on_time(now, &mut || self.fresh_id()));
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

/// The coordinators of one kind on a shard, by their partition.
pub(crate) struct Coordinators<S: Sys, M: Machine<S>>(RefCell<BTreeMap<PartitionIndex, Rc<Coordinator<S, M>>>>);

impl<S: Sys, M: Machine<S>> Default for Coordinators<S, M> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<S: Sys, M: Machine<S>> Coordinators<S, M> {
    /// The coordinator of a partition, if it is here.
    pub(crate) fn get(&self, index: PartitionIndex) -> Option<Rc<Coordinator<S, M>>> {
        self.0.borrow().get(&index).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Rc<Coordinator<S, M>>> {
        self.0.borrow().values().cloned().collect()
    }

    /// Has a partition coordinate, unless it does.
    pub(crate) fn start(&self, shard: &Rc<Shard<S>>, log: Rc<PartitionLog<S>>, topic: &Topic) {
        let index = log.key.index;
        if self.0.borrow().contains_key(&index) {
            return;
        }
        let coordinator = Coordinator::start(shard, log, topic);
        self.0.borrow_mut().insert(index, coordinator);
    }

    /// Settings may have changed.
    pub(crate) fn refresh(&self) {
        for coordinator in self.all() {
            coordinator.refresh();
        }
    }

    /// Ends the coordinator of a partition that is gone.
    pub(crate) fn remove(&self, index: PartitionIndex) {
        let removed = self.0.borrow_mut().remove(&index);
        if let Some(coordinator) = removed {
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
