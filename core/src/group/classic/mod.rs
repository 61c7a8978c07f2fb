//! A group of the classic protocol: its members choose a leader, who shares out the partitions among them.
//!
//! Empty → PreparingRebalance (members join) → CompletingRebalance (the leader assigns) → Stable, and again from there
//! whenever somebody comes, goes or changes what it wants. Each round is a generation.

mod join;
mod leave;
mod member;
mod rebalance;
mod snapshot;
mod sync;
mod timers;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use join::{Join, member_id};
pub(super) use member::{Member, Parked, Protocol};
use timers::JoinTimer;

use super::turn::{Turn, Wishes};
use crate::base::{Monotonic, Timestamp};
use crate::protocol::{ErrorCode, KafkaString};

/// Protocol type of consumers; groups of it can be asked which topics they read.
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Estimate of what a group takes besides its members, in bytes.
const GROUP_BYTES: usize = 512;

/// Estimate of what a pending member takes besides its id, in bytes.
const PENDING_BYTES: usize = 96;

/// Where a group is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members; it may still have offsets.
    Empty,
    /// Waits for its members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
    /// Being deleted: its tombstones are on their way.
    Dead,
}

impl State {
    /// Kafka's name, which tools show.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A classic group.
#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub(super) id: KafkaString,
    pub(super) state: State,
    /// Since when; −1 if an old record does not say.
    pub(super) since: Timestamp,
    /// Round that the group is in; 0 before the first.
    pub(super) generation: i32,
    /// What kind of clients these are; `None` for a group that only has offsets.
    pub(super) protocol_type: Option<KafkaString>,
    /// How the leader assigns, chosen by votes.
    pub(super) protocol_name: Option<KafkaString>,

    // Who belongs to it.
    pub(super) leader: Option<KafkaString>,
    pub(super) members: BTreeMap<KafkaString, Member>,
    /// Ids of the static members by instance id (KIP-345).
    static_members: BTreeMap<KafkaString, KafkaString>,
    /// Members that were given an id and have not joined with it yet, with the time until which they may (KIP-394).
    /// A rebalance waits for them.
    pub(super) pending: BTreeMap<KafkaString, Monotonic>,
    /// How many members support each protocol.
    supported: BTreeMap<KafkaString, usize>,

    // How far the round is.
    /// Members whose JoinGroup is open.
    awaiting_join: usize,
    /// Members of this generation that have not asked for their assignment.
    unsynced: BTreeSet<KafkaString>,
    /// The round began from Empty, so that it lasts for a while even if everybody is there.
    initial: bool,
    /// Somebody joined since the initial round began or was prolonged.
    more_joined: bool,
    join_timer: Option<JoinTimer>,
    sync_deadline: Option<Monotonic>,
    /// The leader's assignment is on its way to the log. A second one, after a lost answer, must not replace it there
    /// while the members act on the first.
    is_assigning: bool,

    /// No timer of the group is due before this; it may be earlier than the first one.
    wake: Option<Monotonic>,
    /// Estimate of the memory that it takes, in bytes.
    bytes: usize,
}

impl ClassicGroup {
    /// A group without members, which only has offsets until somebody joins.
    pub(super) fn new(id: KafkaString, since: Timestamp) -> Self {
        let bytes = GROUP_BYTES + id.len();
        Self {
            id,
            state: State::Empty,
            since,
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeMap::new(),
            supported: BTreeMap::new(),
            awaiting_join: 0,
            unsynced: BTreeSet::new(),
            initial: false,
            more_joined: false,
            join_timer: None,
            sync_deadline: None,
            is_assigning: false,
            wake: None,
            bytes,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub(super) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether a rebalance may begin from here.
    fn can_rebalance(&self) -> bool {
        matches!(self.state, State::Empty | State::CompletingRebalance | State::Stable)
    }

    fn enter(&mut self, turn: &Turn<'_>, state: State) {
        self.state = state;
        self.since = turn.now.wall;
    }

    /// Refuses everything from now on, until the tombstones are written.
    pub(super) fn begin_deletion(&mut self) {
        assert_eq!(self.state, State::Empty, "only an empty group is deleted");
        self.state = State::Dead;
    }

    /// Goes on as the empty group that it was: the deletion failed.
    pub(super) fn end_deletion(&mut self) {
        assert_eq!(self.state, State::Dead, "a deletion ends once");
        self.state = State::Empty;
    }

    /// That the member exists and is the one which its instance id stands for.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(current) if **current != *member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    pub(super) fn static_member(&self, instance_id: &str) -> Option<&KafkaString> {
        self.static_members.get(instance_id)
    }

    /// Whether who speaks `protocol_type` and these protocols can take part.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let all = self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| self.supported.get(&protocol.name).copied().unwrap_or(0) == all)
    }

    fn add_member(&mut self, member: Member) {
        if self.members.is_empty() {
            self.protocol_type = Some(member.protocol_type.clone());
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.forget_pending(&member.id.clone());
        self.count_in(&member);
        let before = self.members.insert(member.id.clone(), member);
        assert!(before.is_none(), "a member is added once");
    }

    /// Takes a member out. What it waits for is the caller's to answer.
    fn take_member(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.count_out(&member);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.unsynced.remove(member_id);
        Some(member)
    }

    fn count_in(&mut self, member: &Member) {
        for protocol in &member.wishes.protocols {
            *self.supported.entry(protocol.name.clone()).or_default() += 1;
        }
        self.awaiting_join += usize::from(member.join.is_some());
        self.bytes += member.bytes();
    }

    fn count_out(&mut self, member: &Member) {
        for protocol in &member.wishes.protocols {
            if let Some(count) = self.supported.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supported.remove(&protocol.name);
                }
            }
        }
        self.awaiting_join -= usize::from(member.join.is_some());
        self.bytes -= member.bytes();
    }

    /// Changes a member and keeps what is counted about members right.
    fn change_member<R>(&mut self, member_id: &str, change: impl FnOnce(&mut Member) -> R) -> Option<R> {
        let (id, mut member) = self.members.remove_entry(member_id)?;
        self.count_out(&member);
        let result = change(&mut member);
        self.count_in(&member);
        self.members.insert(id, member);
        Some(result)
    }

    fn add_pending(&mut self, member_id: KafkaString, deadline: Monotonic) {
        self.bytes += PENDING_BYTES + member_id.len();
        self.pending.insert(member_id, deadline);
        self.wake_at(deadline);
    }

    fn forget_pending(&mut self, member_id: &str) -> bool {
        let was_there = self.pending.remove(member_id).is_some();
        if was_there {
            self.bytes -= PENDING_BYTES + member_id.len();
        }
        was_there
    }

    /// Puts the new id of a static member in the place of the old one, with everything that the old one had. Its open
    /// requests are returned, to be fenced.
    fn replace_static_member(
        &mut self,
        old_id: &str,
        new_id: &KafkaString,
    ) -> Option<(Option<Parked>, Option<Parked>)> {
        let was_leader = self.is_leader(old_id);
        let was_unsynced = self.unsynced.contains(old_id);
        let leader = self.leader.clone();
        let mut member = self.take_member(old_id)?;
        let parked = (member.join.take(), member.sync.take());
        member.id = new_id.clone();
        member.is_new = false;
        self.leader = if was_leader { Some(new_id.clone()) } else { leader };
        if was_unsynced {
            self.unsynced.insert(new_id.clone());
        }
        self.add_member(member);
        Some(parked)
    }

    /// The longest time that a member wants to have for a rebalance.
    fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|member| millis(member.wishes.rebalance_timeout_ms)).max().unwrap_or(0)
    }

    fn have_all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending.is_empty()
    }

    /// The protocol with the most votes among those that all members support; each votes for the first it has.
    fn select_protocol(&self) -> Option<KafkaString> {
        let all = self.members.len();
        let is_candidate = |name: &KafkaString| self.supported.get(name).copied().unwrap_or(0) == all;
        let mut votes: BTreeMap<&KafkaString, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.wishes.protocols.iter().map(|protocol| &protocol.name).find(|name| is_candidate(name));
            *votes.entry(choice?).or_default() += 1;
        }
        // Among equals the first by name, so that the choice depends on nothing else.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    fn update_member(&mut self, member_id: &str, wishes: Wishes, join: Option<Parked>) -> Option<Parked> {
        self.change_member(member_id, |member| {
            member.wishes = wishes;
            std::mem::replace(&mut member.join, join)
        })?
    }
}

/// A client's timeout; negative ones are over at once.
fn millis(timeout_ms: i32) -> u64 {
    u64::try_from(timeout_ms).unwrap_or(0)
}

#[cfg(test)]
impl ClassicGroup {
    /// That all parts of the group say the same.
    pub(super) fn assert_consistent(&self) {
        let mut plain = Self::new(self.id.clone(), self.since);
        for member in self.members.values() {
            plain.count_in(member);
            assert!(!self.pending.contains_key(&member.id), "a member is not pending");
            assert!(member.deadline.is_some() || member.is_waiting(), "a member that lets nobody wait has a session");
            let instance = member.instance_id.as_ref();
            assert!(instance.is_none_or(|id| self.static_members.get(id) == Some(&member.id)));
            assert!(
                member.sync.is_none() || self.state == State::CompletingRebalance,
                "an assignment is not waited for"
            );
        }
        assert_eq!((plain.supported, plain.awaiting_join), (self.supported.clone(), self.awaiting_join));
        let pending = self.pending.keys().map(|id| PENDING_BYTES + id.len()).sum::<usize>();
        assert_eq!(plain.bytes + pending, self.bytes, "the estimate of the memory adds up");
        assert!(self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader)), "the leader is a member");
        assert_eq!(self.leader.is_none(), self.members.is_empty(), "members have a leader");
        assert!(self.static_members.values().all(|id| self.members.contains_key(id)));
        assert!(self.unsynced.iter().all(|id| self.members.contains_key(id)));
        match self.state {
            State::Empty | State::Dead => assert!(self.members.is_empty(), "an empty group has no members"),
            State::PreparingRebalance => assert!(self.join_timer.is_some(), "joining ends"),
            State::CompletingRebalance => {
                assert!(self.sync_deadline.is_some() || self.is_assigning, "waiting for the assignment ends");
            }
            State::Stable => assert!(!self.is_assigning && self.awaiting_join <= self.static_members.len()),
        }
        let timers = self.sessions().map(|(at, _)| at).chain(self.join_timer.map(|timer| timer.at));
        let first = timers.chain(self.sync_deadline).min();
        assert!(first.is_none_or(|first| self.wake.is_some_and(|wake| wake <= first)), "no timer is slept through");
    }
}
