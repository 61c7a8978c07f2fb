//! From one generation to the next.

use super::super::message::Answer;
use super::super::turn::{Then, Turn};
use super::timers::{Initial, JoinTimer};
use super::{ClassicGroup, State};
use crate::protocol::ErrorCode;

/// Least time between two attempts to complete a join that nobody takes part in.
const RETRY_MS_MIN: u64 = 100;

impl ClassicGroup {
    /// Begins a rebalance, or sees whether the running one can go on.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        if self.can_rebalance() {
            self.prepare_rebalance(turn);
        } else {
            self.maybe_complete_join(turn);
        }
    }

    /// Has all members join again.
    pub(in super::super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::CompletingRebalance {
            self.reset_assignments(turn, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.unsynced.clear();
        self.sync_deadline = None;
        self.is_assigning = false;
        self.initial = self.state == State::Empty;
        self.enter(turn, State::PreparingRebalance);
        if self.initial {
            // Members of a new application start at about the same time: one rebalance for all of them.
            self.more_joined = false;
            let delay_ms = turn.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.arm_join(turn, delay_ms, Some(Initial { delay_ms, remaining_ms }));
        } else if self.have_all_joined() {
            self.complete_join(turn);
        } else {
            self.arm_join(turn, self.rebalance_timeout_ms(), None);
        }
    }

    fn arm_join(&mut self, turn: &Turn<'_>, after_ms: u64, initial: Option<Initial>) {
        let at = turn.now.monotonic.plus_ms(after_ms);
        self.join_timer = Some(JoinTimer { at, initial });
        self.wake_at(at);
    }

    /// Goes on if everybody is there, unless an initial round waits for more.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::PreparingRebalance && !self.initial && self.have_all_joined() {
            self.complete_join(turn);
        }
    }

    /// Goes on if everybody who was waited for is there or gone, even in an initial round.
    pub(super) fn complete_join_if_all_are_here(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::PreparingRebalance && self.have_all_joined() {
            self.complete_join(turn);
        }
    }

    /// The time of an initial round is over, or is prolonged because somebody joined meanwhile.
    pub(super) fn initial_delay_is_over(&mut self, turn: &mut Turn<'_>, initial: Initial) {
        if !self.more_joined || initial.remaining_ms == 0 {
            return self.complete_join(turn);
        }
        self.more_joined = false;
        let delay_ms = turn.settings.initial_rebalance_delay_ms.min(initial.remaining_ms);
        let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms);
        self.arm_join(turn, delay_ms, Some(Initial { delay_ms, remaining_ms }));
    }

    /// Ends the joining: who did not come is out, unless it is static; the others are the next generation.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        self.join_timer = None;
        let missing: Vec<_> = self
            .members
            .values()
            .filter(|member| member.join.is_none() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in missing {
            self.drop_member(turn, &id);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Only static members are left and none came: wait until one comes or their sessions are over.
            let retry_ms = self.rebalance_timeout_ms().max(RETRY_MS_MIN);
            return self.arm_join(turn, retry_ms, None);
        }
        self.initial = false;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.unsynced.clear();
        if self.members.is_empty() {
            self.protocol_name = None;
            self.enter(turn, State::Empty);
            // If this is lost, a restart finds the last generation instead, and its members' sessions run out there.
            turn.append(self.record(&[]), Then::Emptied);
        } else {
            self.protocol_name = self.select_protocol();
            self.enter(turn, State::CompletingRebalance);
            self.answer_joins(turn);
        }
    }

    /// A leader that did not come is replaced by a member that did. False if nobody came.
    fn elect_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|member| member.join.is_some()) {
            return true;
        }
        let Some(present) = self.members.values().find(|member| member.join.is_some()) else { return false };
        self.leader = Some(present.id.clone());
        true
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let parked = self.change_member(&id, |member| {
                member.is_new = false;
                member.join.take()
            });
            if let Some(parked) = parked.flatten() {
                let answer = self.joined(&id, parked.version, self.is_leader(&id));
                turn.answer(parked.request, Answer::JoinGroup(answer));
            }
            self.touch(turn, &id);
            self.unsynced.insert(id);
        }
        let deadline = turn.now.monotonic.plus_ms(self.rebalance_timeout_ms());
        self.sync_deadline = Some(deadline);
        self.wake_at(deadline);
    }
}
