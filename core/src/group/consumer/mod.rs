//! A group of the consumer protocol (KIP-848): the coordinator assigns, and each member gets there on its own.
//!
//! Three epochs say how far it is. The group's goes up whenever somebody comes, goes or reads other topics; the target's
//! follows when partitions are assigned anew; a member's, when it has given back what others are to get.
//!
//! | state | while |
//! | --- | --- |
//! | Empty | nobody is there |
//! | Assigning | the target is behind the group |
//! | Reconciling | a member is behind the target |
//! | Stable | else |
//!
//! In memory the group is ahead of the log: whatever changes leaves a [`RecordKey`], and what these stand for is written at
//! the end of the turn. An answer leaves when everything of the group that was on its way then is in the log. What could not
//! be written is written with what comes next, as it stands then: to the member it is a lost answer.

pub(super) mod assignor;
mod classic_member;
mod coordination;
mod describe;
mod heartbeat;
mod member;
mod reconciliation;
mod records;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};

pub use self::assignor::Assignor;
use self::assignor::{Partitions, Subscriber};
use self::heartbeat::{Refusal, check};
pub(super) use self::member::Member;
use self::reconciliation::{Holding, MemberState, Target};
pub use self::records::Part;
pub(super) use self::records::RecordKey;
use self::subscription::{Pattern, compiled};
use super::turn::Turn;
use crate::base::{Monotonic, Offset, PartitionIndex, Timestamp, TopicId};
use crate::coordinator::{LogRecord, Now};
use crate::metadata::MetadataImage;
use crate::protocol::wire::EncodeError;
use crate::protocol::{ErrorCode, KafkaString};

/// Epoch of a member that leaves for good.
pub(super) const LEAVES: i32 = -1;

/// Epoch of a static member that leaves and is to keep its place for a while.
pub(super) const LEAVES_FOR_A_WHILE: i32 = -2;

/// The first epoch of a group.
const FIRST_EPOCH: i32 = 2;

/// Estimates of what a group, and one of its partitions, take besides members, in bytes.
const GROUP_BYTES: usize = 512;
const OWNED_BYTES: usize = 96;

/// A group of the consumer protocol.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    pub(super) id: KafkaString,
    /// Of its members and what they subscribe to.
    epoch: i32,
    /// Of the target assignment, and when that was made.
    target_epoch: i32,
    assigned_at: Timestamp,
    /// Of the topics that it subscribes to.
    metadata_hash: i64,
    /// How far the metadata was when it was looked at last.
    seen: Option<Offset>,

    members: BTreeMap<KafkaString, Member>,
    /// Ids of the static members by instance id.
    static_members: BTreeMap<KafkaString, KafkaString>,
    /// Patterns that members subscribe to.
    patterns: BTreeMap<KafkaString, Pattern>,
    /// Who has each partition, or may still have it.
    owners: BTreeMap<(TopicId, PartitionIndex), KafkaString>,

    /// Records that are to be written.
    unwritten: BTreeSet<RecordKey>,
    /// Being deleted: its tombstones are on their way.
    pub(super) is_dead: bool,
    /// No timer of the group is due before this.
    wake: Option<Monotonic>,
    bytes: usize,
}

impl ConsumerGroup {
    /// A group without members.
    pub(super) fn new(id: KafkaString) -> Self {
        let bytes = GROUP_BYTES + id.len();
        Self {
            id,
            epoch: 0,
            target_epoch: 0,
            assigned_at: Timestamp(0),
            metadata_hash: 0,
            seen: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            patterns: BTreeMap::new(),
            owners: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            is_dead: false,
            wake: None,
            bytes,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.owners.len() * OWNED_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// Kafka's name of its state, which tools show.
    pub(super) fn state_name(&self) -> &'static str {
        let is_behind =
            |member: &Member| member.holding.state != MemberState::Stable || member.holding.epoch != self.target_epoch;
        match self {
            _ if self.is_dead => "Dead",
            _ if self.members.is_empty() => "Empty",
            _ if self.epoch > self.target_epoch => "Assigning",
            _ if self.members.values().any(is_behind) => "Reconciling",
            _ => "Stable",
        }
    }

    /// That a member is the one which its instance id stands for.
    pub(super) fn check_instance(&self, member_id: &str, instance_id: &str) -> Result<(), ErrorCode> {
        match self.static_members.get(instance_id) {
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(current) if **current != *member_id => Err(ErrorCode::FENCED_INSTANCE_ID),
            Some(_) => Ok(()),
        }
    }

    /// Whether some member reads a topic.
    pub(super) fn reads(&self, topic: &str) -> bool {
        let matches = |pattern: &KafkaString| self.patterns.get(pattern).is_some_and(|known| known.has(topic));
        self.members
            .values()
            .any(|member| member.told.names.contains(topic) || member.told.pattern.as_ref().is_some_and(matches))
    }

    /// Changes a member, and keeps what is known about members right.
    fn change_member<R>(&mut self, id: &str, change: impl FnOnce(&mut Member) -> R) -> Option<R> {
        let member = self.members.get_mut(id)?;
        let before = member.bytes();
        let result = change(member);
        self.bytes = self.bytes - before + member.bytes();
        Some(result)
    }

    fn add_member(&mut self, member: Member) {
        self.bytes += member.bytes();
        if let Some(instance_id) = &member.told.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        for place in member.places() {
            self.owners.insert(place, member.id.clone());
        }
        self.members.insert(member.id.clone(), member);
    }

    /// Takes a member out, with everything that it has. Its records go with the next write.
    fn take_member(&mut self, id: &KafkaString) -> Option<Member> {
        let member = self.take_out(id)?;
        self.drop_unused_pattern(member.told.pattern.as_ref());
        Some(member)
    }

    /// The same, but a pattern that only it has read is kept.
    fn take_out(&mut self, id: &KafkaString) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.bytes -= member.bytes();
        if let Some(instance_id) =
            member.told.instance_id.as_ref().filter(|it| self.static_members.get(*it) == Some(id))
        {
            self.static_members.remove(instance_id);
        }
        for place in member.places() {
            self.owners.remove(&place);
        }
        let parts = [RecordKey::Member(id.clone()), RecordKey::Target(id.clone()), RecordKey::Current(id.clone())];
        self.unwritten.extend(parts);
        Some(member)
    }

    /// A member is gone: what it had is for others.
    fn remove_member(&mut self, metadata: &MetadataImage, id: &KafkaString) {
        if self.take_member(id).is_some() {
            self.bump(metadata);
        }
    }

    /// A member gets the place of another, with all that this one had.
    fn replace(&mut self, before: &KafkaString, id: &KafkaString) {
        let Some(mut member) = self.take_out(before) else { return };
        member.id = id.clone();
        (member.holding.epoch, member.holding.previous_epoch) = (0, 0);
        self.add_member(member);
        let parts = [RecordKey::Member(id.clone()), RecordKey::Target(id.clone()), RecordKey::Current(id.clone())];
        self.unwritten.extend(parts);
    }

    /// The group is another one: who belongs to it, or what it reads.
    fn bump(&mut self, metadata: &MetadataImage) {
        // As in Kafka a group begins with its second epoch.
        self.epoch = (self.epoch + 1).max(FIRST_EPOCH);
        self.metadata_hash = self.hash(metadata);
        self.unwritten.insert(RecordKey::Group);
    }

    /// Assigns anew if the group has changed, but not more often than its settings say. Milliseconds after which it is to be
    /// tried again, if it is too early.
    fn assign(&mut self, turn: &Turn<'_>) -> Option<i64> {
        if self.epoch <= self.target_epoch {
            return None;
        }
        let interval_ms = turn.settings.consumer.of_group(turn.metadata, &self.id).assignment_interval_ms;
        let passed_ms = turn.now.wall.0.saturating_sub(self.assigned_at.0);
        // A clock that was set back does not hold anything up.
        if self.target_epoch > 0 && (0..interval_ms).contains(&passed_ms) {
            return Some(interval_ms - passed_ms);
        }
        let counts = self.counts(turn.metadata);
        let subscriber = |member: &Member| Subscriber {
            instance_id: member.told.instance_id.clone(),
            topics: self.topics_of(member, turn.metadata).collect(),
            given: member.target.clone(),
        };
        let subscribers = self.members.iter().map(|(id, member)| (id.clone(), subscriber(member))).collect();
        let mut targets = self.assignor(turn).assign(&subscribers, &counts);
        let ids: Vec<KafkaString> = self.members.keys().cloned().collect();
        for id in ids {
            let target = targets.remove(&id).unwrap_or_default();
            let is_other = self.change_member(&id, |member| {
                let is_other = member.target != target;
                member.target = target;
                is_other
            });
            if is_other == Some(true) {
                self.unwritten.insert(RecordKey::Target(id));
            }
        }
        self.target_epoch = self.epoch;
        self.assigned_at = turn.now.wall;
        self.unwritten.insert(RecordKey::TargetMetadata);
        None
    }

    /// The assignor that most members ask for; without any wish, the first of the settings.
    fn assignor(&self, turn: &Turn<'_>) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for assignor in self.members.values().filter_map(|member| member.told.assignor) {
            *votes.entry(assignor).or_default() += 1;
        }
        let chosen = votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(assignor, _)| assignor);
        chosen.unwrap_or_else(|| turn.settings.consumer.default_assignor())
    }

    /// Brings a member as near to its target as is possible now. Whether what it is assigned has changed.
    fn reconcile(&mut self, turn: &Turn<'_>, id: &KafkaString, owned: Option<&Partitions>) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let target = Target { epoch: self.target_epoch, partitions: &member.target };
        let is_free = |topic, index| self.owners.get(&(topic, index)).is_none_or(|owner| owner == id);
        let next = member.holding.reconciled(target, owned, is_free);
        if next == member.holding {
            return false;
        }
        let is_changed = next.assigned != member.holding.assigned;
        self.hold(turn, id, next);
        is_changed
    }

    /// A static member goes for a while: it keeps what it is assigned until its session is over, but reads nothing any more,
    /// so that what it was to give back is free.
    fn release(&mut self, turn: &Turn<'_>, id: &KafkaString) {
        let Some(member) = self.members.get(id) else { return };
        let mut next = Holding { epoch: LEAVES_FOR_A_WHILE, revoking: Partitions::new(), ..member.holding.clone() };
        if next.state == MemberState::UnrevokedPartitions {
            next.state = MemberState::Stable;
        }
        self.hold(turn, id, next);
    }

    fn hold(&mut self, turn: &Turn<'_>, id: &KafkaString, next: Holding) {
        for place in self.members.get(id).into_iter().flat_map(Member::places) {
            self.owners.remove(&place);
        }
        self.change_member(id, |member| member.hold(next, turn.now));
        if let Some(member) = self.members.get(id) {
            self.owners.extend(member.places().map(|place| (place, id.clone())));
            self.wake = [self.wake, member.rebalance_deadline].into_iter().flatten().min();
        }
        self.unwritten.insert(RecordKey::Current(id.clone()));
    }

    /// A member showed that it lives.
    pub(super) fn touch(&mut self, turn: &Turn<'_>, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            let of_group = || turn.settings.consumer.of_group(turn.metadata, &self.id).session_timeout_ms;
            let session_ms = Self::classic_session_ms(member).unwrap_or_else(of_group);
            let deadline = turn.now.monotonic.plus_ms(session_ms);
            member.session_deadline = Some(deadline);
            self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
        }
    }

    /// An instant before which nothing of the group is due.
    pub(super) fn wake(&self) -> Option<Monotonic> {
        self.wake
    }

    /// Members whose session is over, or that did not give back in time, are out.
    pub(super) fn on_time(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.monotonic;
        let is_over = |member: &&Member| member.deadlines().any(|at| at <= now);
        let over: Vec<KafkaString> = self.members.values().filter(is_over).map(|member| member.id.clone()).collect();
        for id in over {
            self.remove_member(turn.metadata, &id);
        }
        self.wake = self.members.values().flat_map(Member::deadlines).min();
        self.write(turn);
    }

    /// Writes what has changed.
    pub(super) fn write(&mut self, turn: &mut Turn<'_>) {
        if self.unwritten.is_empty() {
            return;
        }
        let keys = std::mem::take(&mut self.unwritten);
        let parts = keys.into_iter().map(|key| {
            let record = self.record(&key);
            (key, record)
        });
        // What is gone goes first, and of that the last parts.
        let is_gone = |record: &Result<LogRecord, EncodeError>| matches!(record, Ok(record) if record.value.is_none());
        let (mut gone, there): (Vec<_>, Vec<_>) = parts.partition(|(_, record)| is_gone(record));
        gone.reverse();
        gone.extend(there);
        turn.append_parts(gone);
    }

    /// Whether everything is in the log or on its way there.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// What these stand for could not be written.
    pub(super) fn was_not_written(&mut self, keys: BTreeSet<RecordKey>) {
        self.unwritten.extend(keys);
    }

    /// Starts the sessions of a loaded group, and drops what is no member's.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>) {
        let partial: Vec<_> = self.members.values().filter(|member| !member.is_known).map(|it| it.id.clone()).collect();
        partial.iter().for_each(|id| drop(self.take_out(id)));
        self.unwritten.clear();
        self.resume_patterns(turn);
        let newest = self.members.values().map(Member::epoch).max().unwrap_or(0);
        if newest > self.target_epoch || self.target_epoch > self.epoch {
            // Of appends on their way when the broker stopped an earlier one had failed. Nobody was told of either.
            self.epoch = self.epoch.max(self.target_epoch).max(newest) + 1;
            self.target_epoch = 0;
            self.unwritten.insert(RecordKey::Group);
        }
        let ids: Vec<KafkaString> = self.members.keys().cloned().collect();
        for id in ids {
            self.touch(turn, &id);
            self.change_member(&id, |member| member.resume(turn.now));
        }
        self.wake = self.members.values().flat_map(Member::deadlines).min();
    }

    /// Patterns that nobody reads any more go, and such as have no record are evaluated.
    fn resume_patterns(&mut self, turn: &Turn<'_>) {
        let read: BTreeSet<_> = self.members.values().filter_map(|member| member.told.pattern.clone()).collect();
        let unread: Vec<_> = self.patterns.keys().filter(|text| !read.contains(*text)).cloned().collect();
        unread.into_iter().for_each(|text| self.put_pattern(text, None));
        let missing: Vec<_> = read.into_iter().filter(|text| !self.patterns.contains_key(text)).collect();
        for text in &missing {
            let Ok(regex) = compiled(text) else { continue };
            self.add_pattern(text, &regex, turn.metadata, turn.now.wall);
            self.bump(turn.metadata);
        }
    }

    /// Refuses everything from now on, until the tombstones are written.
    pub(super) fn begin_deletion(&mut self) {
        assert!(self.members.is_empty(), "only an empty group is deleted");
        self.is_dead = true;
    }

    /// Goes on as the empty group that it was: the deletion failed.
    pub(super) fn end_deletion(&mut self) {
        self.is_dead = false;
    }
}

impl Member {
    /// Until when it has to give a sign of life, and until when it has to give back.
    fn deadlines(&self) -> impl Iterator<Item = Monotonic> {
        [self.session_deadline, self.rebalance_deadline].into_iter().flatten()
    }

    fn resume(&mut self, now: Now) {
        self.rebalance_deadline = (self.holding.state == MemberState::UnrevokedPartitions)
            .then(|| now.monotonic.plus_ms(u64::try_from(self.told.rebalance_timeout_ms).unwrap_or(0)));
    }
}

#[cfg(test)]
impl ConsumerGroup {
    /// That all parts of the group say the same.
    pub(super) fn assert_consistent(&self) {
        let members: usize = self.members.values().map(Member::bytes).sum();
        let patterns: usize = self.patterns.iter().map(|(text, pattern)| pattern.bytes(text)).sum();
        assert_eq!(GROUP_BYTES + self.id.len() + members + patterns, self.bytes);
        let mut owners = BTreeMap::new();
        for member in self.members.values() {
            for place in member.places() {
                assert!(owners.insert(place, member.id.clone()).is_none(), "a partition has one reader");
            }
            assert!(member.holding.epoch <= self.epoch, "nobody is ahead of the group");
            assert!(member.told.instance_id.as_ref().is_none_or(|it| self.static_members.get(it) == Some(&member.id)));
            assert!(member.deadlines().all(|at| self.wake.is_some_and(|wake| wake <= at)), "no timer is slept through");
        }
        assert_eq!(owners, self.owners);
        assert_eq!(self.static_members.len(), self.members.values().filter(|it| it.told.instance_id.is_some()).count());
        let read: BTreeSet<_> = self.members.values().filter_map(|member| member.told.pattern.clone()).collect();
        assert_eq!(read, self.patterns.keys().cloned().collect(), "patterns are those of members");
        assert!(self.target_epoch <= self.epoch);
    }
}
