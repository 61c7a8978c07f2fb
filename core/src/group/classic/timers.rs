//! What a group does when time passes: sessions, joins and assignments that take too long.

use super::super::turn::Turn;
use super::{ClassicGroup, State, millis};
use crate::base::Monotonic;
use crate::protocol::KafkaString;

/// When joining ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinTimer {
    pub(super) at: Monotonic,
    /// Set in the first round of a group that was empty.
    pub(super) initial: Option<Initial>,
}

/// How long an initial round waits now, and how much longer it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Initial {
    pub(super) delay_ms: u64,
    pub(super) remaining_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Session(KafkaString),
    Join,
    Sync,
}

impl ClassicGroup {
    /// An instant before which nothing of the group is due.
    pub(in super::super) fn wake(&self) -> Option<Monotonic> {
        self.wake
    }

    pub(super) fn wake_at(&mut self, at: Monotonic) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// A member showed that it lives.
    pub(in super::super) fn touch(&mut self, turn: &Turn<'_>, member_id: &str) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let deadline = turn.now.monotonic.plus_ms(millis(member.wishes.session_timeout_ms));
        member.deadline = Some(deadline);
        self.wake_at(deadline);
    }

    /// Does everything that is due.
    pub(in super::super) fn on_time(&mut self, turn: &mut Turn<'_>) {
        for (at, timer) in self.due(turn.now.monotonic) {
            // What was due may be settled by what came before it.
            match timer {
                Timer::Session(id) => self.session_is_over(turn, &id),
                Timer::Join => {
                    if let Some(timer) = self.join_timer.filter(|timer| timer.at == at) {
                        self.join_timer = None;
                        match timer.initial {
                            Some(initial) => self.initial_delay_is_over(turn, initial),
                            None => self.complete_join(turn),
                        }
                    }
                }
                Timer::Sync => {
                    if self.sync_deadline == Some(at) {
                        self.sync_is_over(turn);
                    }
                }
            }
        }
        let group = self.join_timer.map(|timer| timer.at).into_iter().chain(self.sync_deadline);
        self.wake = self.sessions().map(|(at, _)| at).chain(group).min();
    }

    fn due(&self, now: Monotonic) -> Vec<(Monotonic, Timer)> {
        let sessions = self.sessions().map(|(at, id)| (at, Timer::Session(id.clone())));
        let join = self.join_timer.map(|timer| (timer.at, Timer::Join));
        let sync = self.sync_deadline.map(|at| (at, Timer::Sync));
        let mut due: Vec<_> = sessions.chain(join).chain(sync).filter(|(at, _)| *at <= now).collect();
        due.sort();
        due
    }

    /// Until when members, also pending ones, have to give a sign of life.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (Monotonic, &KafkaString)> {
        let members = self.members.values().filter_map(|member| Some((member.deadline?, &member.id)));
        members.chain(self.pending.iter().map(|(id, at)| (*at, id)))
    }

    fn session_is_over(&mut self, turn: &mut Turn<'_>, id: &KafkaString) {
        let now = turn.now.monotonic;
        if self.pending.get(id).is_some_and(|deadline| *deadline <= now) {
            self.forget_pending(id);
            return self.complete_join_if_all_are_here(turn);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if member.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        if member.is_waiting() {
            // It is we who let it wait; its session begins anew when it is answered.
            member.deadline = None;
            return;
        }
        self.drop_member(turn, id);
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(turn),
            State::PreparingRebalance => self.complete_join_if_all_are_here(turn),
            State::Empty | State::Dead => {}
        }
    }

    /// Members that did not ask for their assignment in time are gone.
    fn sync_is_over(&mut self, turn: &mut Turn<'_>) {
        self.sync_deadline = None;
        let missing = std::mem::take(&mut self.unsynced);
        if missing.is_empty() {
            return;
        }
        for id in missing {
            self.drop_member(turn, &id);
        }
        self.prepare_rebalance(turn);
    }
}
