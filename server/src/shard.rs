//! One shard: what it owns, and how it answers what other shards ask of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use corelane_core::base::{LeaderEpoch, PartitionIndex, ProducerId, ShardId, TopicId};
use corelane_core::coordinator::coordinator_partition;
use corelane_core::group::{self, GroupCoordinator, OFFSETS_TOPIC_NAME};
use corelane_core::limits::{CONNECTIONS_MAX, LOGS_AT_ONCE_MAX};
use corelane_core::metadata::ProducerIdBlock;
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::session::SessionCache;
use corelane_core::transaction::{TRANSACTION_TOPIC_NAME, TransactionCoordinator};

use crate::answers::Answers;
use crate::budget::Budget;
use crate::catalog::{Catalog, StartFacts, Topic};
use crate::connection;
use crate::controller::{Command, Controller, Outcome};
use crate::coordination::Coordinators;
use crate::hop::{Call, GroupCall, Hop, LongPoll, Mail, Origin, Reply, TransactionCall, WatchId};
use crate::local::{GroupCommit, Signal, Slot, Turn, all_of};
use crate::placement::{Handover, Placement};
use crate::remedy::WithRemedy;
use crate::settings::Settings;
use crate::stages::{StageTimes, Stages};
use crate::storage::append::{AppendError, AppendItem, AppendResult};
use crate::storage::claims::AskCoordinator;
use crate::storage::gather::Gathering;
use crate::storage::open::{self, OpenOptions};
use crate::storage::read::{self, ReadItem, ReadResult};
use crate::storage::records::{self, DeleteRecordsItem};
use crate::storage::segment_times::segment_offsets;
use crate::storage::{PartitionKey, PartitionLog, checkpoints};
use crate::sys::{Activity, LongPolls, Sys};
use crate::topology::{CONTROLLER_SHARD, owner_of};
use crate::view::View;

/// Names a partition in a fetch session: by name before Fetch 13, by id from then on.
pub(crate) type SessionKey = (Arc<str>, PartitionKey);

/// Names a connection among those of its shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionNumber(u64);

/// Under which what was asked for is logged, so that it can be shown where ordinary news is not.
pub(crate) const TOLD: &str = "corelane::told";

/// One shard's own things.
pub(crate) struct Shard<S: Sys> {
    pub(crate) sys: S,
    pub(crate) settings: Arc<Settings>,
    pub(crate) hop: Hop<S>,
    /// What large requests hold while they are received and served.
    pub(crate) budget: Budget,
    /// What answers to fetches hold until they are sent.
    pub(crate) answer_budget: Budget,
    pub(crate) sessions: RefCell<SessionCache<SessionKey>>,
    /// How long requests spend where.
    pub(crate) stages: Rc<Stages>,
    /// Appends that wait for those right behind them.
    pub(crate) gathering: Rc<Gathering<S>>,
    /// Bytes of large frames that were moved because more of them came than there was room for.
    pub(crate) copied_bytes: Cell<u64>,
    /// The metadata as this shard knows it; replaced whole.
    catalog: RefCell<Arc<Catalog>>,
    /// States of the metadata are taken over one after the other.
    publishing: Turn,
    /// Syncs of the data directory.
    pub(crate) root_syncs: GroupCommit,
    partitions: RefCell<BTreeMap<PartitionKey, Rc<PartitionLog<S>>>>,
    /// Partitions of this shard whose logs could not be opened.
    unopened: RefCell<BTreeSet<PartitionKey>>,
    /// Watches that other shards, or this one, have left here, and on which partitions.
    watching: RefCell<BTreeMap<(ShardId, WatchId), Vec<PartitionKey>>>,
    /// Readers of this shard were woken, and may not have run since.
    pub(crate) has_woken_readers: Cell<bool>,
    /// Coordinators of groups, for the partitions of `__consumer_offsets` that are here.
    pub(crate) groups: Coordinators<S, GroupCoordinator>,
    /// Coordinators of transactions, for the partitions of `__transaction_state` that are here.
    pub(crate) transactions: Coordinators<S, TransactionCoordinator>,
    /// Decides on metadata; on shard 0 only, and there once it has read its log.
    pub(crate) controller: RefCell<Option<Rc<Controller<S>>>>,
    /// Ids for idempotent producers that this shard may hand out.
    pub(crate) producer_ids: RefCell<ProducerIdBlock>,
    pub(crate) producer_ids_turn: Turn,
    /// The checkpoint files are written by one task at a time.
    pub(crate) checkpoints_turn: Turn,

    // Connections.
    /// Connections of each shard as shard 0, which accepts, knows them.
    pub(crate) connections: RefCell<Vec<usize>>,
    /// Where connections are served.
    pub(crate) placement: Placement,
    /// Connections that this shard serves.
    serving: RefCell<BTreeMap<u64, Rc<Answers<S>>>>,
    next_connection: Cell<u64>,
    /// Raised whenever a connection ends.
    ended: Signal,
    pub(crate) stopping: Cell<bool>,
    /// Left when the node has stopped.
    exit: Rc<Slot<()>>,
}

impl<S: Sys> Shard<S> {
    pub(crate) fn new(sys: S, settings: Arc<Settings>) -> Rc<Self> {
        let shards = usize::from(sys.shards());
        Rc::new(Self {
            hop: Hop::new(sys.clone()),
            budget: Budget::new(settings.request_memory_bytes_max / shards),
            answer_budget: Budget::new(settings.answer_memory_bytes_max / shards),
            sessions: RefCell::new(SessionCache::new(settings.fetch_sessions_max().div_ceil(shards))),
            stages: Rc::default(),
            gathering: Rc::default(),
            copied_bytes: Cell::new(0),
            catalog: RefCell::new(Arc::new(Catalog::empty(Arc::default(), Arc::new(settings.config.clone())))),
            publishing: Turn::default(),
            root_syncs: GroupCommit::default(),
            partitions: RefCell::default(),
            unopened: RefCell::default(),
            watching: RefCell::default(),
            has_woken_readers: Cell::new(false),
            groups: Coordinators::default(),
            transactions: Coordinators::default(),
            controller: RefCell::default(),
            producer_ids: RefCell::default(),
            producer_ids_turn: Turn::default(),
            checkpoints_turn: Turn::default(),
            connections: RefCell::new(vec![0; shards]),
            placement: Placement::new(sys.shard(), sys.shards(), settings.config.connections_move, sys.now()),
            serving: RefCell::default(),
            next_connection: Cell::new(0),
            ended: Signal::default(),
            stopping: Cell::new(false),
            exit: Rc::default(),
            settings,
            sys,
        })
    }

    /// The metadata as of now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.borrow())
    }

    /// A partition of this shard.
    pub(crate) fn partition(&self, key: PartitionKey) -> Option<Rc<PartitionLog<S>>> {
        self.partitions.borrow().get(&key).cloned()
    }

    /// A partition of this shard, or the error that requests for it are answered with.
    pub(crate) fn served_partition(&self, key: PartitionKey) -> Result<Rc<PartitionLog<S>>, ErrorCode> {
        self.partition(key).ok_or_else(|| match self.unopened.borrow().contains(&key) {
            true => ErrorCode::KAFKA_STORAGE_ERROR,
            false => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        })
    }

    /// All partitions of this shard.
    pub(crate) fn partitions(&self) -> Vec<Rc<PartitionLog<S>>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// The shard that owns a partition.
    pub(crate) fn owner_of(&self, key: PartitionKey) -> ShardId {
        owner_of(key, self.sys.shards())
    }

    /// Asks the owner, which may be this shard.
    pub(crate) async fn ask(self: &Rc<Self>, owner: ShardId, call: Call) -> Reply<S> {
        if owner == self.sys.shard() { self.perform(owner, call).await } else { self.hop.call(owner, call).await }
    }

    /// Does what a call asks. `from` is the shard whose connection it serves.
    pub(crate) async fn perform(self: &Rc<Self>, from: ShardId, call: Call) -> Reply<S> {
        match call {
            Call::Append(items) => Reply::Append(self.append(items).await),
            Call::Read(items, long_poll) => {
                let (results, is_watched) = self.read(from, items, long_poll).await;
                Reply::Read(results, is_watched)
            }
            Call::List(items) => {
                let found =
                    items.into_iter().map(|item| read::list_offset(self.served_partition(item.partition), item));
                Reply::List(all_of(found.collect()).await)
            }
            Call::Segments(items) => {
                let found = items.into_iter().map(|item| segment_offsets(self.served_partition(item.partition), item));
                Reply::Segments(all_of(found.collect()).await)
            }
            Call::EpochEnds(items) => Reply::EpochEnds(
                items.iter().map(|item| read::epoch_end(self.served_partition(item.partition), item)).collect(),
            ),
            Call::Control(command) => {
                let controller = self.controller.borrow().clone().expect("shard 0 has the controller");
                Reply::Control(controller.perform(self, command).await)
            }
            Call::Publish(catalog) => {
                self.take_over(catalog).await;
                Reply::Publish
            }
            Call::DeleteRecords(items) => {
                let before = |item: &DeleteRecordsItem| records::delete(self.partition(item.partition), item.before);
                Reply::DeleteRecords(items.iter().map(before).collect())
            }
            Call::Group(call) => {
                let GroupCall { partition, context, request } = *call;
                let answer = match self.groups.get(partition) {
                    Some(coordinator) => coordinator.ask_in_turn(&context, request).await,
                    None => request.refuse(context.version, ErrorCode::NOT_COORDINATOR),
                };
                Reply::Group(Box::new(answer))
            }
            Call::ListGroups(context, asked) => {
                let coordinators = self.groups.all();
                let mut lists = Vec::with_capacity(coordinators.len());
                for coordinator in coordinators {
                    let (states, types) = (asked.states_filter.clone(), asked.types_filter.clone());
                    match coordinator.ask(&context, group::Request::ListGroups { states, types }).await {
                        group::Answer::ListGroups(list) => lists.push(list),
                        _ => unreachable!("an answer has the name of its request"),
                    }
                }
                Reply::ListGroups(lists)
            }
            Call::Transaction(call) => {
                let TransactionCall { partition, request } = *call;
                let answer = match self.transactions.get(partition) {
                    Some(coordinator) => {
                        if self.producer_ids.borrow().is_empty() {
                            // The machine takes one where it needs one, and cannot wait.
                            self.fetch_producer_ids().await;
                        }
                        coordinator.ask(&(), request).await
                    }
                    None => request.refuse(ErrorCode::NOT_COORDINATOR),
                };
                Reply::Transaction(Box::new(answer))
            }
            Call::ListTransactions(filter) => Reply::ListTransactions(self.list_transactions(filter).await),
            Call::WriteMarkers(items) => Reply::WriteMarkers(self.write_markers(items).await),
            Call::Producers(keys) => {
                Reply::Producers(keys.into_iter().map(|key| records::producers(self.partition(key))).collect())
            }
            Call::Marks => Reply::Marks(self.own_marks()),
            Call::WriteCheckpoints => Reply::WriteCheckpoints(self.write_checkpoints().await),
            Call::Tell => {
                self.tell();
                Reply::Tell
            }
            Call::StopServing => {
                self.stop_serving().await;
                Reply::StopServing
            }
            Call::CloseLogs => Reply::CloseLogs(self.close_logs().await),
        }
    }

    /// Says in the log how long requests have spent where, and what the shard did with its time.
    fn tell(&self) {
        let shard = self.sys.shard().0;
        for times in self.stages.times() {
            let StageTimes { stage, count, mean, p50, p99, p999, p9999, max } = times;
            let us = format!("avg {mean:.1} p50 {p50:.1} p99 {p99:.1} p99.9 {p999:.1} p99.99 {p9999:.1} max {max:.1}");
            tracing::info!(target: TOLD, shard, stage, count, us, "stage");
        }
        let Activity { cpu_ns, spun_ns, turns, stalls, received_bytes, copied_bytes, long_polls } = self.sys.activity();
        let copied_bytes = copied_bytes + self.copied_bytes.get();
        let (cpu_ms, spun_ms) = (cpu_ns / 1_000_000, spun_ns / 1_000_000);
        tracing::info!(target: TOLD, shard, cpu_ms, spun_ms, turns, stalls, received_bytes, copied_bytes, "activity");
        let (connections, moved_away) = (self.serving.borrow().len(), self.placement.moved());
        tracing::info!(target: TOLD, shard, connections, moved_away, "connections");
        for LongPolls { task, count, max_ns } in long_polls {
            let max_us = max_ns / 1_000;
            tracing::info!(target: TOLD, shard, task, count, max_us, "held the shard for more than a millisecond");
        }
    }

    async fn append(&self, items: Vec<AppendItem>) -> Vec<AppendResult> {
        let appends = items.into_iter().map(|AppendItem { partition, batch, claim }| {
            // The place in the partition's queue, or among its claims, is taken here, before anything waits.
            let appended = self.served_partition(partition).map(|log| log.append_claimed(batch, claim));
            async move {
                match appended {
                    Ok(appended) => appended.await,
                    Err(ErrorCode::KAFKA_STORAGE_ERROR) => Err(AppendError::new(
                        ErrorCode::KAFKA_STORAGE_ERROR,
                        "the log could not be opened; the broker's log names the cause",
                    )),
                    Err(code) => Err(AppendError::new(code, "the partition is not here")),
                }
            }
        });
        all_of(appends.collect()).await
    }

    /// The partition of an internal topic that coordinates an id, and the shard that owns it; none while the topic is not there.
    pub(crate) fn coordinator_of(&self, topic: &str, id: &str) -> Option<(PartitionIndex, ShardId)> {
        let catalog = self.catalog();
        let topic = catalog.topic_by_name(topic)?;
        let partitions = i32::try_from(topic.image.partition_count()).unwrap_or(i32::MAX);
        let index = coordinator_partition(id, partitions);
        Some((index, self.owner_of(PartitionKey { topic: topic.image.id, index })))
    }

    /// A producer id that nobody has.
    pub(crate) async fn next_producer_id(self: &Rc<Self>) -> Option<ProducerId> {
        let taken = self.producer_ids.borrow_mut().take();
        match taken {
            Some(id) => Some(id),
            None => {
                self.fetch_producer_ids().await;
                self.producer_ids.borrow_mut().take()
            }
        }
    }

    /// Has a block of producer ids at hand. It is recorded in the metadata log before its first id leaves.
    async fn fetch_producer_ids(self: &Rc<Self>) {
        // Two requests may find the block used up at once: the second waits here for what the first brings.
        let _turn = self.producer_ids_turn.take().await;
        if !self.producer_ids.borrow().is_empty() {
            return;
        }
        // Boxed: shard 0 asks itself.
        match Box::pin(self.control(Command::AllocateProducerIds)).await {
            Outcome::ProducerIds(block) => *self.producer_ids.borrow_mut() = block,
            Outcome::Failed(error) => tracing::error!(%error, "no block of producer ids"),
            _ => unreachable!("an outcome has the name of its command"),
        }
    }

    /// What can be read, and whether a watch is left here.
    async fn read(
        &self,
        from: ShardId,
        items: Vec<ReadItem>,
        long_poll: Option<LongPoll>,
    ) -> (Vec<ReadResult<S>>, bool) {
        if let Some(LongPoll { watch, .. }) = long_poll {
            // Left before anything is read: what becomes visible in between gives notice too.
            let keys: Vec<PartitionKey> = items.iter().map(|item| item.partition).collect();
            for log in keys.iter().filter_map(|key| self.partition(*key)) {
                log.watch(from, watch);
            }
            self.watching.borrow_mut().insert((from, watch), keys);
        }
        let mut results = Vec::with_capacity(items.len());
        for item in items {
            results.push(read::find(self.served_partition(item.partition), &item).await);
        }
        if let Some(LongPoll { watch, bytes_min }) = long_poll
            && read::is_enough(&results, bytes_min)
        {
            self.unwatch(from, watch);
        }
        let is_watched = |LongPoll { watch, .. }| self.watching.borrow().contains_key(&(from, watch));
        (results, long_poll.is_some_and(is_watched))
    }

    /// Takes a watch back that was left here.
    pub(crate) fn unwatch(&self, from: ShardId, watch: WatchId) {
        if let Some(keys) = self.watching.borrow_mut().remove(&(from, watch)) {
            for log in keys.iter().filter_map(|key| self.partition(*key)) {
                log.unwatch(from, watch);
            }
        }
    }

    /// Gives up a watch that was left on some shards, but for those that have given notice.
    pub(crate) fn end_watch(self: &Rc<Self>, watch: WatchId, left_on: &[ShardId]) {
        let noticed = self.hop.unwatch(watch);
        for owner in left_on.iter().filter(|owner| !noticed.contains(owner)) {
            if *owner == self.sys.shard() {
                self.unwatch(*owner, watch);
            } else {
                self.post(*owner, Mail::Unwatch(watch));
            }
        }
    }

    /// Tells the shard of a watch that it has come true, once.
    fn notify(self: &Rc<Self>, shard: ShardId, watch: WatchId) {
        if !self.watching.borrow().contains_key(&(shard, watch)) {
            return;
        }
        self.unwatch(shard, watch);
        if shard == self.sys.shard() {
            self.has_woken_readers.set(true);
            self.hop.noticed(shard, watch);
        } else {
            self.post(shard, Mail::Notice(watch));
        }
    }

    /// Posts without waiting; a full ring is waited for in a task.
    fn post(self: &Rc<Self>, to: ShardId, mail: Mail<S>) {
        if let Err(mail) = self.sys.post(to, mail) {
            let this = Rc::clone(self);
            self.sys.spawn("post", async move { this.hop.post(to, mail).await });
        }
    }

    /// Takes over a new state of the metadata: opens or makes the partitions that are now here, drops those that are
    /// gone, and only then shows it to requests.
    async fn take_over(self: &Rc<Self>, catalog: Arc<Catalog>) {
        let _turn = self.publishing.take().await;
        let shard = self.sys.shard();
        let before = self.catalog();
        // First what goes, so that a topic made anew under an old name finds the name free.
        let gone: Vec<Rc<PartitionLog<S>>> =
            self.partitions.borrow().values().filter(|log| !catalog.has_partition(log.key)).cloned().collect();
        let topics_gone: BTreeSet<(KafkaString, TopicId)> = before
            .topics_without(&catalog)
            .map(|topic| (topic.image.name.to_string().into(), topic.image.id))
            .collect();
        if gone.iter().any(|log| log.marks().cleaned_to.is_some()) {
            // So that the next topic of that name does not inherit how far this one was cleaned.
            let this = Rc::clone(self);
            self.sys.spawn("forget marks", async move {
                if let Reply::WriteCheckpoints(Err(error)) = this.ask(CONTROLLER_SHARD, Call::WriteCheckpoints).await {
                    tracing::warn!(%error, "checkpoints could not be written");
                }
            });
        }
        for log in gone {
            self.partitions.borrow_mut().remove(&log.key);
            match log.topic.as_str() {
                OFFSETS_TOPIC_NAME => self.groups.remove(log.key.index),
                TRANSACTION_TOPIC_NAME => self.transactions.remove(log.key.index),
                _ => {}
            }
            self.delete_log(&log).await;
        }
        self.unopened.borrow_mut().retain(|key| catalog.has_partition(*key));
        let mut new = Vec::new();
        for (key, topic) in catalog.partitions().filter(|(key, _)| self.owner_of(*key) == shard) {
            match self.partition(key) {
                None => new.push((key, Arc::clone(topic))),
                Some(log) if before.topic_by_id(key.topic).is_some_and(|old| old.log != topic.log) => {
                    log.set_settings(topic.log.clone());
                }
                Some(_) => {}
            }
        }
        for part in new.chunks(LOGS_AT_ONCE_MAX) {
            all_of(part.iter().map(|(key, topic)| self.open_log(&catalog, *key, topic)).collect()).await;
        }
        let may_have_settings =
            !Arc::ptr_eq(&before.broker, &catalog.broker) || before.image.features != catalog.image.features;
        let metadata = Arc::clone(&catalog.image);
        *self.catalog.borrow_mut() = catalog;
        self.start_coordinators();
        if may_have_settings {
            self.transactions.refresh();
            self.groups.refresh();
        }
        for coordinator in self.groups.all() {
            coordinator.metadata_changed(&metadata);
        }
        if !topics_gone.is_empty() {
            let topics: Vec<_> = topics_gone.into_iter().collect();
            for coordinator in self.groups.all() {
                coordinator.topics_deleted(&topics);
            }
        }
    }

    /// Has the partitions of internal topics coordinate that do not yet. They look at the metadata that has these partitions.
    fn start_coordinators(self: &Rc<Self>) {
        let catalog = self.catalog();
        for log in self.partitions() {
            let Some(topic) = catalog.topic_by_id(log.key.topic) else { continue };
            match log.topic.as_str() {
                OFFSETS_TOPIC_NAME => self.groups.start(self, log, topic),
                TRANSACTION_TOPIC_NAME => self.transactions.start(self, log, topic),
                _ => {}
            }
        }
    }

    /// Opens or makes the log of a partition. Requests for one that cannot be opened are refused; the log says why.
    async fn open_log(self: &Rc<Self>, catalog: &Catalog, key: PartitionKey, topic: &Topic) {
        let was_tried = self.unopened.borrow().contains(&key);
        // It may have been the sync of the new folder's name that failed, and a folder that is found is taken for certain.
        let root = &self.settings.data_directory;
        if was_tried && self.root_syncs.share(|| self.sys.sync_directory(root.clone())).await.is_err() {
            return;
        }
        let weak: Weak<Self> = Rc::downgrade(self);
        let notify = Rc::new(move |shard, watch| {
            if let Some(this) = weak.upgrade() {
                this.notify(shard, watch);
            }
        });
        let weak: Weak<Self> = Rc::downgrade(self);
        let ask_coordinator: AskCoordinator = Rc::new(move |claim, partition| {
            let shard = weak.upgrade();
            Box::pin(async move {
                match shard {
                    Some(shard) => shard.check_claim(claim, partition).await,
                    None => Err(ErrorCode::NOT_COORDINATOR),
                }
            })
        });
        let options = OpenOptions {
            root,
            root_syncs: &self.root_syncs,
            topic: &topic.image.name,
            key,
            settings: topic.log.clone(),
            leader_epoch: topic.image.partition(key.index).map_or(LeaderEpoch(0), |p| p.leader_epoch),
            node: self.settings.config.node_id,
            checkpoints: &catalog.start.checkpoints,
            stages: Rc::clone(&self.stages),
            may_be_direct: self.settings.config.append_engine.goes_past_the_cache(),
            gathering: Rc::clone(&self.gathering),
            notify,
            ask_coordinator,
        };
        match open::open(&self.sys, options).await {
            Ok(log) => {
                self.partitions.borrow_mut().insert(key, log);
                if self.unopened.borrow_mut().remove(&key) {
                    tracing::warn!(partition = %topic.partition_name(key.index), "log opened after all");
                }
            }
            // Said once: it is tried again every second.
            Err(error) if self.unopened.borrow_mut().insert(key) => {
                let error = WithRemedy(&error);
                tracing::error!(partition = %topic.partition_name(key.index), %error, "log could not be opened");
            }
            Err(_) => {}
        }
    }

    /// Tries again to open what could not be opened.
    pub(crate) async fn open_unopened(self: &Rc<Self>) {
        if self.unopened.borrow().is_empty() {
            return;
        }
        let _turn = self.publishing.take().await;
        if self.stopping.get() {
            return;
        }
        let catalog = self.catalog();
        let unopened = self.unopened.borrow().clone();
        for (key, topic) in catalog.partitions().filter(|(key, _)| unopened.contains(key)) {
            self.open_log(&catalog, key, topic).await;
        }
        self.start_coordinators();
    }

    /// Puts the log of a deleted topic out of the way, and removes its files in the background.
    async fn delete_log(&self, log: &PartitionLog<S>) {
        let name = log.name.clone();
        let failed = move |error: std::io::Error| {
            tracing::error!(partition = %name, %error, "files of a deleted topic could not be removed");
        };
        match log.retire().await {
            Ok(directory) => {
                let sys = self.sys.clone();
                self.sys.spawn("delete log", async move {
                    if let Err(error) = open::remove_tree(&sys, directory).await {
                        failed(error);
                    }
                });
            }
            Err(error) => failed(error),
        }
    }

    async fn close_logs(&self) -> Result<Vec<checkpoints::PartitionMarks>, String> {
        // Behind a log that is just being opened.
        let _turn = self.publishing.take().await;
        let logs = self.partitions();
        for part in logs.chunks(LOGS_AT_ONCE_MAX) {
            let closed = all_of(part.iter().map(|log| log.close()).collect()).await;
            for (log, result) in part.iter().zip(closed) {
                result.map_err(|error| format!("{}: {error}", log.name))?;
            }
        }
        Ok(logs.iter().map(|log| log.marks()).collect())
    }

    /// Notes a connection that is served from now on.
    pub(crate) fn connection_begins(&self, answers: &Rc<Answers<S>>) -> ConnectionNumber {
        let number = self.next_connection.replace(self.next_connection.get() + 1);
        self.serving.borrow_mut().insert(number, Rc::clone(answers));
        ConnectionNumber(number)
    }

    /// Notes that a connection is no longer served.
    pub(crate) fn connection_ends(&self, number: ConnectionNumber) {
        self.serving.borrow_mut().remove(&number.0);
        self.ended.raise();
    }

    /// Notes, on shard 0, that a connection of another shard has ended.
    pub(crate) fn connection_ended_on(&self, shard: ShardId) {
        self.connections.borrow_mut()[usize::from(shard.0)] -= 1;
    }

    /// Hands a connection that shard `from` has served to another, on shard 0; back, if that one has as many as it may.
    pub(crate) fn connection_moves(self: &Rc<Self>, from: ShardId, to: ShardId, handover: Box<Handover<S>>) {
        let to = {
            let mut connections = self.connections.borrow_mut();
            let to = if connections[usize::from(to.0)] < CONNECTIONS_MAX { to } else { from };
            connections[usize::from(from.0)] -= 1;
            connections[usize::from(to.0)] += 1;
            to
        };
        if to == self.sys.shard() {
            connection::adopt(self, *handover);
        } else {
            self.post(to, Mail::Adopt(handover));
        }
    }

    /// Tells the others when this shard has become busy, or no longer is.
    pub(crate) fn look_at_load(self: &Rc<Self>) {
        let used_ns = || {
            let Activity { cpu_ns, spun_ns, .. } = self.sys.activity();
            cpu_ns.saturating_sub(spun_ns)
        };
        let Some(is_busy) = self.placement.look(self.sys.now(), used_ns) else { return };
        for other in self.everybody().filter(|other| *other != self.sys.shard()) {
            self.post(other, Mail::Busy(is_busy));
        }
    }

    /// Shard 0 says that the node has stopped.
    pub(crate) fn end(&self) {
        self.exit.fill(());
    }

    /// The shard that serves the fewest connections, as shard 0 knows, and how many it serves.
    pub(crate) fn least_connected(&self) -> ShardId {
        let connections = self.connections.borrow();
        let least = connections.iter().enumerate().min_by_key(|(_, count)| **count);
        let (shard, _) = least.expect("at least one shard");
        ShardId(u16::try_from(shard).expect("as many as shards"))
    }

    /// Ends every connection once what it asked for is answered.
    async fn stop_serving(&self) {
        self.stopping.set(true);
        // Long polls give up at once, and so do those who wait for the rest of their group.
        self.hop.notice_all();
        self.groups.resign();
        self.transactions.resign();
        let serving: Vec<Rc<Answers<S>>> = self.serving.borrow().values().cloned().collect();
        all_of(
            serving
                .iter()
                .map(|answers| async {
                    answers.all_sent().await;
                    answers.close();
                })
                .collect(),
        )
        .await;
        while !self.serving.borrow().is_empty() {
            self.ended.next().await;
        }
    }

    /// Resolves when shard 0 says that the node has stopped.
    pub(crate) async fn exited(&self) {
        Rc::clone(&self.exit).take().await;
    }

    /// Takes over what the start found out, before there is any metadata.
    pub(crate) fn take_facts(&self, facts: Arc<StartFacts>) {
        *self.catalog.borrow_mut() = Arc::new(Catalog::empty(facts, Arc::new(self.settings.config.clone())));
    }

    /// Identity of the cluster.
    pub(crate) fn cluster_id(&self) -> String {
        self.catalog.borrow().start.cluster_id.clone()
    }

    /// The cluster as a client sees it.
    pub(crate) fn view(&self, origin: Origin) -> View<'_, S> {
        View::new(self, origin)
    }

    /// All shards of the node.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = ShardId> + use<S> {
        (0..self.sys.shards()).map(ShardId)
    }

    /// Where the logs of this shard stand; those that could not be opened, where they stood at the start: what is not written
    /// down is forgotten.
    fn own_marks(&self) -> Vec<checkpoints::PartitionMarks> {
        let catalog = self.catalog();
        let unopened = self.unopened.borrow();
        let unopened = unopened.iter().filter_map(|key| {
            let topic = catalog.topic_by_id(key.topic)?;
            catalog.start.checkpoints.marks(&topic.image.name, key.index)
        });
        self.partitions().iter().map(|log| log.marks()).chain(unopened).collect()
    }

    /// Asks shards where their logs stand.
    pub(crate) async fn marks(
        self: &Rc<Self>,
        shards: impl Iterator<Item = ShardId>,
    ) -> Vec<checkpoints::PartitionMarks> {
        let mut marks = Vec::new();
        for to in shards {
            // Boxed: shard 0 asks itself too, and may have been asked for this.
            let Reply::Marks(more) = Box::pin(self.ask(to, Call::Marks)).await else {
                unreachable!("a reply has the name of its call")
            };
            marks.extend(more);
        }
        marks
    }

    /// Writes down, on shard 0, where all logs stand. When this ends well, what was true when it began is on the device.
    pub(crate) async fn write_checkpoints(self: &Rc<Self>) -> Result<(), String> {
        // First the turn: what is gathered after it is not older than what was written before.
        let _turn = self.checkpoints_turn.take().await;
        if self.stopping.get() {
            return Err("the broker is stopping".to_owned());
        }
        let marks = self.marks(self.everybody()).await;
        let written = checkpoints::write(&self.sys, &self.settings.data_directory, &marks).await;
        written.map_err(|error| error.to_string())
    }

    /// Has the controller decide and record a change.
    pub(crate) async fn control(self: &Rc<Self>, command: Command) -> Outcome {
        let Reply::Control(outcome) = self.ask(CONTROLLER_SHARD, Call::Control(command)).await else {
            unreachable!("a reply has the name of its call")
        };
        outcome
    }
}
