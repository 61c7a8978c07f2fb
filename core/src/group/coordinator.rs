//! The coordinator of one partition of `__consumer_offsets`: its groups, its timers, and its appends on their way.
//!
//! The log is what counts. Offsets change when their record is acknowledged, in the order of the log, and so are at
//! every moment what a restart would read. A group's members are ahead of the log, but what they are told that they
//! must not lose, their assignment, leaves only when it is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::classic::{ClassicGroup, Join, Protocol, State};
use super::consumer::ConsumerGroup;
use super::log_record::OtherKind;
use super::message::{Answer, Effect, Request, RequestContext, detached_text};
use super::offsets::{Offsets, Stored};
use super::settings::GroupSettings;
use super::turn::{Draft, OffsetChange, Step, Then, Turn, Waiting, Wishes};
use crate::base::{Monotonic, Offset, ProducerId};
use crate::coordinator::{Append, AppendId, Appends, LogRecord, Now, RequestId, append_error, is_too_long};
use crate::limits::GROUPS_MAX;
use crate::metadata::MetadataImage;
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::messages::{HeartbeatResponse, JoinGroupRequest};
use crate::protocol::wire::EncodeError;
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::header::HEADER_BYTES;

/// What a group is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A group of the classic protocol, or one that only has offsets.
    Classic(Box<ClassicGroup>),
    /// A group of the consumer protocol.
    Consumer(Box<ConsumerGroup>),
    /// A group of a protocol that this broker does not speak, found in the log. It is left as it is: its offsets can
    /// be fetched, and nobody can join, commit as a member or delete it.
    Other {
        kind: OtherKind,
        /// Its members in the log; while there are some, only they may commit.
        members: BTreeSet<KafkaString>,
    },
}

impl Kind {
    fn bytes(&self) -> usize {
        match self {
            Self::Classic(group) => group.bytes(),
            Self::Consumer(group) => group.bytes(),
            Self::Other { members, .. } => 512 + members.iter().map(|id| 64 + id.len()).sum::<usize>(),
        }
    }

    fn wake(&self) -> Option<Monotonic> {
        match self {
            Self::Classic(group) => group.wake(),
            Self::Consumer(group) => group.wake(),
            Self::Other { .. } => None,
        }
    }

    /// Whether it is being deleted: its tombstones are on their way.
    pub(super) fn is_dead(&self) -> bool {
        match self {
            Self::Classic(group) => group.state == State::Dead,
            Self::Consumer(group) => group.is_dead,
            Self::Other { .. } => false,
        }
    }
}

/// A group and its offsets.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) kind: Kind,
    pub(super) offsets: Offsets,
    /// Appends of this group that are on their way, and the last of them.
    pub(super) in_flight: usize,
    pub(super) last_append: AppendId,
    /// A record of the group itself counts.
    pub(super) is_recorded: bool,
    /// The instant for which the group is among the coordinator's timers.
    armed: Option<Monotonic>,
}

impl Group {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            offsets: Offsets::default(),
            in_flight: 0,
            last_append: AppendId(0),
            is_recorded: false,
            armed: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.kind.bytes() + self.offsets.bytes()
    }

    /// Whether there is nothing left of it, in memory or in the log.
    fn is_nothing(&self) -> bool {
        let is_empty = match &self.kind {
            Kind::Classic(group) => group.state == State::Empty && group.pending.is_empty(),
            Kind::Consumer(group) => group.is_empty(),
            Kind::Other { .. } => false,
        };
        is_empty && !self.is_recorded && self.in_flight == 0 && self.offsets.is_empty()
    }
}

/// An append on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) group: KafkaString,
    producer: Option<ProducerId>,
    changes: Vec<OffsetChange>,
    then: Then,
    /// Fetches that wait for it: they want to see what is on its way.
    fetches: Vec<(RequestId, OffsetFetchRequestGroup)>,
    /// Answers that wait for it.
    pub(super) waiting: Vec<Waiting>,
}

/// The end of a transaction, as its marker has it.
#[derive(Clone, Copy, Debug)]
struct End {
    producer: ProducerId,
    committed: bool,
    /// Of the marker: what is behind it belongs to the next transaction.
    offset: Offset,
    /// The last append that can lie before it.
    behind: AppendId,
}

/// The coordinator of the groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupCoordinator {
    pub(super) settings: GroupSettings,
    /// The topics that there are, and what is set for groups.
    pub(super) metadata: Arc<MetadataImage>,
    pub(super) groups: BTreeMap<KafkaString, Group>,
    /// Groups by the time at which something of them may be due.
    timers: BTreeSet<(Monotonic, KafkaString)>,
    /// Groups that open transactions would commit offsets of.
    pub(super) transactions: BTreeMap<ProducerId, BTreeSet<KafkaString>>,
    /// Transactions whose end is in the log ahead of what has become of all appends before it, in the order of the log.
    ends: VecDeque<End>,
    /// Estimate of what all groups take in memory, and how many offsets they have.
    pub(super) bytes: usize,
    pub(super) offset_count: usize,

    pub(super) appends: Appends<Pending>,

    /// When to look for expired offsets, and behind which group to go on.
    pub(super) expiry_at: Monotonic,
    pub(super) expiry_from: Option<KafkaString>,

    effects: Vec<Effect>,
}

impl GroupCoordinator {
    pub(super) fn new(settings: GroupSettings, expiry_at: Monotonic) -> Self {
        Self {
            settings,
            metadata: Arc::default(),
            groups: BTreeMap::new(),
            timers: BTreeSet::new(),
            transactions: BTreeMap::new(),
            ends: VecDeque::new(),
            bytes: 0,
            offset_count: 0,
            appends: Appends::default(),
            expiry_at,
            expiry_from: None,
            effects: Vec::new(),
        }
    }

    /// Takes over another state of the metadata. Groups look at it with their next heartbeat.
    pub fn set_metadata(&mut self, metadata: Arc<MetadataImage>) {
        self.metadata = metadata;
    }

    /// Takes over changed settings.
    pub fn set_settings(&mut self, settings: GroupSettings) {
        self.settings = settings;
    }

    /// Handles a request. Its answer is among the effects of this or of a later call.
    pub fn handle(&mut self, now: Now, id: RequestId, context: &RequestContext, request: Request) -> Vec<Effect> {
        match request {
            Request::JoinGroup(asked) => self.join(now, id, context, &asked),
            Request::SyncGroup(_) | Request::Heartbeat(_) | Request::LeaveGroup(_) => {
                self.ask_member(now, id, context, &request);
            }
            Request::OffsetCommit(asked) => self.commit(now, id, context, asked),
            Request::TxnOffsetCommit(asked) => self.commit_in_transaction(now, id, context, asked),
            Request::OffsetFetch { group, require_stable } => self.fetch(id, group, require_stable),
            Request::OffsetDelete(asked) => self.delete_offsets(now, id, context, asked),
            Request::DescribeGroup(group_id) => self.describe(id, context, group_id),
            Request::ListGroups { states, types } => self.list(id, &states, &types),
            Request::DeleteGroup(group_id) => self.delete(now, id, context, group_id),
            Request::ConsumerGroupHeartbeat(asked) => self.consumer_heartbeat(now, id, context, &asked),
            Request::DescribeConsumerGroup(group_id) => self.describe_consumer(now, id, group_id),
        }
        std::mem::take(&mut self.effects)
    }

    /// Says what became of an append: the offset of its first record once the high watermark has passed it, or the
    /// error of the log.
    ///
    /// Each append is told of once. What comes ahead of an earlier append waits for it here, so that offsets change
    /// in the order of the log.
    pub fn on_append(&mut self, now: Now, id: AppendId, result: Result<Offset, ErrorCode>) -> Vec<Effect> {
        self.appends.told(id, result);
        while let Some((pending, result)) = self.appends.pop_settled() {
            self.settle(now, pending, result);
            self.end_transactions();
        }
        std::mem::take(&mut self.effects)
    }

    /// The instant at which [`on_time`](Self::on_time) is due; it may be now.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let first = self.timers.first().map(|(at, _)| *at);
        Some(first.map_or(self.expiry_at, |first| first.min(self.expiry_at)))
    }

    /// Does what is due: sessions and rebalances that took too long, offsets that expired.
    pub fn on_time(&mut self, now: Now) -> Vec<Effect> {
        while let Some((_, id)) = self.timers.first().filter(|(at, _)| *at <= now.monotonic).cloned() {
            let known = self.with_group(now, &id, |kind, turn| match kind {
                Kind::Classic(group) => group.on_time(turn),
                Kind::Consumer(group) => group.on_time(turn),
                Kind::Other { .. } => {}
            });
            assert!(known.is_some(), "a group that is gone has no timer");
        }
        if self.expiry_at <= now.monotonic {
            self.expire(now);
        }
        std::mem::take(&mut self.effects)
    }

    /// Ends all open requests, with NOT_COORDINATOR: somebody else answers them from now on.
    #[must_use]
    pub fn resign(mut self, now: Now) -> Vec<Effect> {
        let code = ErrorCode::NOT_COORDINATOR;
        for pending in std::mem::take(&mut self.appends).into_changes() {
            for (id, group) in pending.fetches {
                let request = Request::OffsetFetch { group, require_stable: true };
                // Every version that asks for stable offsets has a place for the error.
                self.effects.push(Effect::Answer(id, request.refuse(i16::MAX, code)));
            }
            for waiting in pending.waiting {
                self.effects.push(Effect::Answer(waiting.request, waiting.refusal(code)));
            }
            match pending.then {
                Then::Answer { id, request, version, .. } => {
                    self.effects.push(Effect::Answer(id, request.refuse(version, code)));
                }
                Then::Deleted { request: Some(id) } => {
                    let request = Request::DeleteGroup(pending.group);
                    self.effects.push(Effect::Answer(id, request.refuse(0, code)));
                }
                Then::Emptied
                | Then::Removed
                | Then::Created
                | Then::Assigned { .. }
                | Then::Replaced(_)
                | Then::Written(_)
                | Then::Deleted { request: None } => {}
            }
        }
        let mut turn = Turn::new(now, &self.settings, &self.metadata);
        for group in self.groups.values_mut() {
            if let Kind::Classic(group) = &mut group.kind {
                group.disband(&mut turn, code);
            }
        }
        let answers = turn.steps.into_iter().filter_map(|step| match step {
            Step::Answer(id, answer) => Some(Effect::Answer(id, answer)),
            Step::AnswerWhenWritten(_) | Step::Append(_) => None,
        });
        self.effects.into_iter().chain(answers).collect()
    }

    /// Bytes that the groups and their offsets take, by estimate.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.bytes
    }

    /// Groups that there are.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Appends on their way.
    #[must_use]
    pub fn append_count(&self) -> usize {
        self.appends.len()
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Answer) {
        self.effects.push(Effect::Answer(id, answer));
    }

    fn join(&mut self, now: Now, id: RequestId, context: &RequestContext, asked: &JoinGroupRequest) {
        let refusal = |code| Request::JoinGroup(asked.clone()).refuse(context.version, code);
        if let Err(code) = self.check_join(asked) {
            return self.answer(id, refusal(code));
        }
        // Version 0 had one timeout for both.
        let rebalance_timeout_ms =
            if context.version == 0 { asked.session_timeout_ms } else { asked.rebalance_timeout_ms };
        let protocols = Protocol::copied(&asked.protocols);
        let wishes = Wishes { protocols, session_timeout_ms: asked.session_timeout_ms, rebalance_timeout_ms };
        let group_id = &asked.group_id;
        let is_new = self.groups.get(group_id).is_none_or(|group| matches!(group.kind, Kind::Consumer(_)));
        match self.groups.get(group_id).map(|group| &group.kind) {
            Some(Kind::Consumer(group)) if group.is_empty() && !group.is_dead => {
                let tombstones = group.tombstones();
                self.become_another(now, group_id, tombstones.into_iter().collect(), |id, now| {
                    Kind::Classic(Box::new(ClassicGroup::new(id, now.wall)))
                });
            }
            Some(Kind::Consumer(_)) => {
                let join = Join { request: id, context, asked, wishes };
                self.with_consumer(now, group_id, |group, turn| group.classic_join(turn, join));
                return;
            }
            Some(Kind::Other { .. }) => return self.answer(id, refusal(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)),
            Some(Kind::Classic(_)) => {}
            None if !asked.member_id.is_empty() => return self.answer(id, refusal(ErrorCode::UNKNOWN_MEMBER_ID)),
            None if asked.protocol_type.is_empty() || wishes.protocols.is_empty() => {
                return self.answer(id, refusal(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
            }
            None => {
                self.create(now, group_id);
            }
        }
        let mut first_record = None;
        self.with_classic(now, group_id, |group, turn| {
            group.join(turn, Join { request: id, context, asked, wishes });
            if is_new && !turn.appends() {
                // As in Kafka a group is in the log from the moment on that somebody wanted to join.
                first_record = Some(group.first_record());
            }
        });
        if let Some(record) = first_record {
            let draft =
                Draft { records: record.map(|r| vec![r]), producer: None, changes: Vec::new(), then: Then::Created };
            self.begin_append(now, group_id, draft);
        }
    }

    fn check_join(&self, asked: &JoinGroupRequest) -> Result<(), ErrorCode> {
        if asked.group_id.is_empty() || is_too_long(&asked.group_id) {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let allowed = self.settings.session_timeout_ms_min..=self.settings.session_timeout_ms_max;
        if !allowed.contains(&asked.session_timeout_ms) {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        if asked.group_instance_id.as_deref().is_some_and(|id| id.is_empty() || is_too_long(id))
            || is_too_long(&asked.protocol_type)
            || asked.protocols.iter().any(|protocol| is_too_long(&protocol.name))
        {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let asked_bytes = asked.protocols.iter().map(|one| one.name.len() + one.metadata.len() + 128).sum::<usize>();
        // A member that joins again takes the place that it has.
        let known_bytes = match self.groups.get(&asked.group_id).map(|group| &group.kind) {
            Some(Kind::Classic(group)) => group.members.get(&asked.member_id).map_or(0, |member| member.bytes()),
            _ => 0,
        };
        let is_full =
            self.bytes.saturating_add(asked_bytes) > self.settings.state_bytes_max.saturating_add(known_bytes);
        let is_over = !self.groups.contains_key(&asked.group_id) && self.groups.len() >= GROUPS_MAX;
        if is_full || is_over { Err(ErrorCode::GROUP_MAX_SIZE_REACHED) } else { Ok(()) }
    }

    /// A new group without members.
    pub(super) fn create(&mut self, now: Now, id: &KafkaString) -> &mut Group {
        let id = detached_text(id);
        let group = Group::new(Kind::Classic(Box::new(ClassicGroup::new(id.clone(), now.wall))));
        self.bytes += group.bytes();
        self.groups.entry(id).or_insert(group)
    }

    fn ask_member(&mut self, now: Now, id: RequestId, context: &RequestContext, request: &Request) {
        let group_id = match request {
            Request::SyncGroup(asked) => &asked.group_id,
            Request::Heartbeat(asked) => &asked.group_id,
            Request::LeaveGroup(asked) => &asked.group_id,
            _ => unreachable!("only requests of members come here"),
        };
        let version = context.version;
        if group_id.is_empty() {
            return self.answer(id, request.refuse(version, ErrorCode::INVALID_GROUP_ID));
        }
        if let Request::SyncGroup(asked) = request {
            let brought = asked.assignments.iter().map(|one| one.assignment.len()).sum::<usize>();
            if self.bytes.saturating_add(brought) > self.settings.state_bytes_max && brought > 0 {
                // As an assignment that is too large for the log: the leader fails, and another one tries.
                return self.answer(id, request.refuse(version, ErrorCode::UNKNOWN_SERVER_ERROR));
            }
        }
        let known = self.with_group(now, group_id, |kind, turn| {
            match (kind, request) {
                (Kind::Classic(group), Request::SyncGroup(asked)) => group.sync(turn, id, context, asked),
                (Kind::Classic(group), Request::LeaveGroup(asked)) => group.leave(turn, id, context, asked),
                (Kind::Classic(group), Request::Heartbeat(asked)) => {
                    let error_code = group.heartbeat(turn, asked).0;
                    turn.answer(id, Answer::Heartbeat(HeartbeatResponse { error_code, ..Default::default() }));
                }
                (Kind::Consumer(group), Request::SyncGroup(asked)) => group.classic_sync(turn, id, context, asked),
                (Kind::Consumer(group), Request::LeaveGroup(asked)) => group.classic_leave(turn, id, context, asked),
                (Kind::Consumer(group), Request::Heartbeat(asked)) => group.classic_heartbeat(turn, id, asked),
                _ => return false,
            }
            true
        });
        if known != Some(true) {
            self.answer(id, request.refuse(version, ErrorCode::UNKNOWN_MEMBER_ID));
        }
    }

    /// A group without members becomes one of another kind; its offsets stay. `tombstones` take the old one out of the log.
    pub(super) fn become_another(
        &mut self,
        now: Now,
        id: &KafkaString,
        tombstones: Vec<Result<LogRecord, EncodeError>>,
        kind: impl FnOnce(KafkaString, Now) -> Kind,
    ) {
        if !tombstones.is_empty() {
            let records = tombstones.into_iter().collect();
            self.begin_append(now, id, Draft { records, producer: None, changes: Vec::new(), then: Then::Removed });
        }
        self.set_kind(id, kind(detached_text(id), now));
    }

    /// The group is of another kind from now on, without a record of its own.
    pub(super) fn set_kind(&mut self, id: &KafkaString, kind: Kind) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let before = group.bytes();
        group.kind = kind;
        group.is_recorded = false;
        self.bytes = self.bytes - before + group.bytes();
        self.arm(id);
    }

    /// Lets a classic group handle something, and does what it wants done. `None` if there is no such group.
    pub(super) fn with_classic<R>(
        &mut self,
        now: Now,
        id: &KafkaString,
        handle: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        self.with_group(now, id, |kind, turn| match kind {
            Kind::Classic(group) => Some(handle(group, turn)),
            Kind::Consumer(_) | Kind::Other { .. } => None,
        })?
    }

    /// The same for a group of the consumer protocol.
    pub(super) fn with_consumer<R>(
        &mut self,
        now: Now,
        id: &KafkaString,
        handle: impl FnOnce(&mut ConsumerGroup, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        self.with_group(now, id, |kind, turn| match kind {
            Kind::Consumer(group) => Some(handle(group, turn)),
            Kind::Classic(_) | Kind::Other { .. } => None,
        })?
    }

    /// The same for a group of any kind. One of the consumer protocol in which nobody speaks that any more becomes a classic
    /// one again.
    pub(super) fn with_group<R>(
        &mut self,
        now: Now,
        id: &KafkaString,
        handle: impl FnOnce(&mut Kind, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        self.with_kind(now, id, |kind, turn| {
            let result = handle(kind, turn);
            if let Kind::Consumer(group) = kind
                && group.is_to_be_classic(turn)
            {
                let group = std::mem::replace(&mut **group, ConsumerGroup::new(KafkaString::EMPTY));
                *kind = Kind::Classic(Box::new(group.into_classic(turn)));
            }
            result
        })
    }

    pub(super) fn with_kind<R>(
        &mut self,
        now: Now,
        id: &KafkaString,
        handle: impl FnOnce(&mut Kind, &mut Turn<'_>) -> R,
    ) -> Option<R> {
        let metadata = Arc::clone(&self.metadata);
        let group = self.groups.get_mut(id)?;
        let mut turn = Turn::new(now, &self.settings, &metadata);
        let before = group.kind.bytes();
        let result = handle(&mut group.kind, &mut turn);
        self.bytes = self.bytes - before + group.kind.bytes();
        let steps = turn.steps;
        self.arm(id);
        for step in steps {
            match step {
                Step::Answer(request, answer) => self.answer(request, answer),
                Step::Append(draft) => self.begin_append(now, id, draft),
                Step::AnswerWhenWritten(waiting) => self.answer_when_written(id, waiting),
            }
        }
        self.forget_if_nothing(id);
        Some(result)
    }

    /// Sets the timer of a group to when it wants to be woken.
    fn arm(&mut self, id: &KafkaString) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let wake = group.kind.wake();
        if wake == group.armed {
            return;
        }
        if let Some(armed) = group.armed {
            self.timers.remove(&(armed, id.clone()));
        }
        group.armed = wake;
        if let Some(wake) = wake {
            self.timers.insert((wake, detached_text(id)));
        }
    }

    /// Lets a group's offsets change, and keeps the totals right.
    pub(super) fn with_offsets<R>(&mut self, id: &KafkaString, change: impl FnOnce(&mut Offsets) -> R) -> Option<R> {
        let offsets = &mut self.groups.get_mut(id)?.offsets;
        let before = (offsets.bytes(), offsets.count());
        let result = change(offsets);
        self.bytes = self.bytes - before.0 + offsets.bytes();
        self.offset_count = self.offset_count - before.1 + offsets.count();
        Some(result)
    }

    pub(super) fn begin_append(&mut self, now: Now, group_id: &KafkaString, draft: Draft) {
        let Draft { records, producer, changes, then } = draft;
        let Some(group) = self.groups.get_mut(group_id) else { return };
        let records = match records {
            Err(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
            Ok(records) => {
                let bytes = records.iter().map(|record| record.size_bytes_max()).sum::<usize>() + HEADER_BYTES;
                if bytes > self.settings.batch_bytes_max { Err(ErrorCode::MESSAGE_TOO_LARGE) } else { Ok(records) }
            }
        };
        let group_id = match &group.kind {
            Kind::Classic(group) => group.id.clone(),
            Kind::Consumer(group) => group.id.clone(),
            Kind::Other { .. } => detached_text(group_id),
        };
        let pending = Pending {
            group: group_id.clone(),
            producer: producer.map(|(id, _)| id),
            changes,
            then,
            fetches: Vec::new(),
            waiting: Vec::new(),
        };
        group.in_flight += 1;
        self.with_offsets(&group_id, |offsets| {
            for change in pending.changes.iter().filter(|change| change.committed.is_some()) {
                offsets.begin(&change.topic, change.partition);
            }
        });
        match records {
            Err(code) => {
                // It never gets a number: nothing waits for it.
                self.settle(now, pending, Err(code));
            }
            Ok(records) => {
                let id = self.appends.push(pending);
                if let Some(group) = self.groups.get_mut(&group_id) {
                    group.last_append = id;
                }
                self.effects.push(Effect::Append(Append { id, at: now.wall, records, producer }));
            }
        }
    }

    /// Has a fetch wait for everything of its group that is on its way. Gives it back if there is nothing.
    pub(super) fn wait_for_appends(
        &mut self,
        id: RequestId,
        fetch: OffsetFetchRequestGroup,
    ) -> Result<(), OffsetFetchRequestGroup> {
        let last = self.groups.get(&fetch.group_id).filter(|group| group.in_flight > 0).map(|group| group.last_append);
        match last.and_then(|last| self.appends.get_mut(last)) {
            Some(pending) => {
                pending.fetches.push((id, fetch));
                Ok(())
            }
            None => Err(fetch),
        }
    }

    /// The fate of an append is known, and of all before it.
    fn settle(&mut self, now: Now, pending: Pending, result: Result<Offset, ErrorCode>) {
        let Pending { group: id, producer, changes, then, fetches, waiting } = pending;
        if let Some(group) = self.groups.get_mut(&id) {
            group.in_flight -= 1;
        }
        // Nobody but who asked for it depends on an offset.
        let is_of_offsets = !changes.is_empty() && matches!(then, Then::Answer { .. } | Then::Removed);
        self.settle_offsets(&id, producer, changes, result);
        let result = result.map(|_| ()).map_err(append_error);
        match then {
            Then::Removed => {}
            Then::Emptied => self.has_recorded(&id, result),
            Then::Created => {
                self.has_recorded(&id, result);
                if let Err(code) = result {
                    self.with_classic(now, &id, |group, turn| {
                        // What has gone on since is written with the next record, or being deleted.
                        if group.generation == 0 && group.state != State::Dead {
                            group.disband(turn, code);
                        }
                    });
                }
            }
            Then::Assigned { generation, assignments } => {
                self.has_recorded(&id, result);
                self.with_classic(now, &id, |group, turn| group.assigned_is(turn, generation, assignments, result));
            }
            Then::Replaced(replacement) => {
                self.has_recorded(&id, result);
                self.with_classic(now, &id, |group, turn| group.replaced(turn, *replacement, result));
            }
            Then::Answer { id: request, answer, request: asked, version } => {
                if matches!(*asked, Request::LeaveGroup(_)) {
                    self.has_recorded(&id, result);
                }
                let answer = match result {
                    Ok(()) => *answer,
                    Err(code) => asked.refuse(version, code),
                };
                self.answer(request, answer);
            }
            Then::Deleted { request } => self.deleted(now, &id, request, result),
            Then::Written(keys) => {
                self.has_recorded(&id, result);
                if result.is_err() {
                    self.with_consumer(now, &id, |group, _| group.was_not_written(keys));
                }
            }
        }
        for waiting in waiting {
            let answer = match result {
                Err(code) if !is_of_offsets => waiting.refusal(code),
                _ => *waiting.answer,
            };
            self.answer(waiting.request, answer);
        }
        if let Err(code) = result
            && !is_of_offsets
        {
            self.refuse_waiting(&id, code);
        }
        for (request, fetch) in fetches {
            let answer = self.fetched(&fetch, true);
            self.answer(request, Answer::OffsetFetch(answer));
        }
        self.forget_if_nothing(&id);
    }

    fn has_recorded(&mut self, id: &KafkaString, result: Result<(), ErrorCode>) {
        if let Some(group) = self.groups.get_mut(id).filter(|_| result.is_ok()) {
            group.is_recorded = true;
        }
    }

    fn settle_offsets(
        &mut self,
        id: &KafkaString,
        producer: Option<ProducerId>,
        changes: Vec<OffsetChange>,
        result: Result<Offset, ErrorCode>,
    ) {
        if changes.is_empty() {
            return;
        }
        if let (Some(producer), Ok(_)) = (producer, result) {
            self.transactions.entry(producer).or_default().insert(id.clone());
        }
        self.with_offsets(id, |offsets| {
            for (delta, change) in (0_i64..).zip(changes) {
                let OffsetChange { topic, partition, committed } = change;
                let stored = |committed, base: Offset| Stored { committed, record_offset: base.plus(delta) };
                match (committed, result) {
                    (Some(committed), Ok(base)) => {
                        match producer {
                            None => offsets.put(&topic, partition, stored(committed, base)),
                            Some(producer) => {
                                offsets.put_transactional(&topic, partition, producer, stored(committed, base));
                            }
                        }
                        offsets.end(&topic, partition);
                    }
                    (Some(_), Err(_)) => offsets.end(&topic, partition),
                    (None, Ok(_)) => offsets.remove(&topic, partition),
                    (None, Err(_)) => {}
                }
            }
        });
    }

    /// Drops a group of which nothing is left and nothing is in the log.
    pub(super) fn forget_if_nothing(&mut self, id: &KafkaString) {
        if self.groups.get(id).is_some_and(Group::is_nothing) {
            self.remove_group(id);
        }
    }

    pub(super) fn remove_group(&mut self, id: &KafkaString) {
        if let Some(group) = self.groups.remove(id) {
            self.bytes -= group.bytes();
            self.offset_count -= group.offsets.count();
            if let Some(armed) = group.armed {
                self.timers.remove(&(armed, id.clone()));
            }
        }
    }

    /// The end of a transaction of `producer` is in the partition at `offset`, and the high watermark has passed it.
    ///
    /// It counts once everything has settled that can lie before it.
    pub fn on_end_marker(&mut self, producer: ProducerId, committed: bool, offset: Offset) {
        let behind = self.appends.last();
        self.ends.push_back(End { producer, committed, offset, behind });
        self.end_transactions();
    }

    fn end_transactions(&mut self) {
        let first_open = self.appends.first_open();
        while let Some(end) = self.ends.front().copied().filter(|end| end.behind < first_open) {
            self.ends.pop_front();
            let End { producer, committed, offset, .. } = end;
            let groups = self.transactions.remove(&producer).unwrap_or_default();
            for id in groups {
                let open = self.with_offsets(&id, |offsets| offsets.end_transaction(producer, committed, offset));
                if open == Some(true) {
                    self.transactions.entry(producer).or_default().insert(id.clone());
                }
                self.forget_if_nothing(&id);
            }
        }
    }
}

#[cfg(test)]
impl GroupCoordinator {
    /// That all parts of the coordinator say the same.
    pub(super) fn assert_consistent(&self) {
        let (mut bytes, mut count, mut in_flight) = (0, 0, 0);
        for (id, group) in &self.groups {
            bytes += group.bytes();
            count += group.offsets.count();
            in_flight += group.in_flight;
            group.offsets.assert_consistent();
            match &group.kind {
                Kind::Classic(group) => group.assert_consistent(),
                Kind::Consumer(group) => group.assert_consistent(),
                Kind::Other { .. } => {}
            }
            assert_eq!(group.kind.wake(), group.armed);
            assert!(group.armed.is_none_or(|armed| self.timers.contains(&(armed, id.clone()))));
        }
        assert_eq!((bytes, count, in_flight), (self.bytes, self.offset_count, self.appends.len()));
        assert_eq!(self.timers.len(), self.groups.values().filter(|group| group.armed.is_some()).count());
    }
}
