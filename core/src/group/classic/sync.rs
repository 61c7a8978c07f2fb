//! SyncGroup and Heartbeat.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::message::{Answer, RequestContext, detached};
use super::super::turn::{Then, Turn};
use super::{ClassicGroup, Parked, State};
use crate::coordinator::RequestId;
use crate::protocol::messages::{HeartbeatRequest, SyncGroupRequest, SyncGroupResponse};
use crate::protocol::{ErrorCode, KafkaString};

/// First version whose requests name the protocol that the member believes in (KIP-559).
const PROTOCOL_NAMED_FROM: i16 = 5;

impl ClassicGroup {
    pub(in super::super) fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        context: &RequestContext,
        asked: &SyncGroupRequest,
    ) {
        let refuse = |turn: &mut Turn<'_>, code| turn.answer(request, Answer::SyncGroup(refused(code)));
        if let Err(code) = self.check_sync(context.version, asked) {
            return refuse(turn, code);
        }
        let id = &asked.member_id;
        match self.state {
            State::Empty | State::Dead => refuse(turn, ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => refuse(turn, ErrorCode::REBALANCE_IN_PROGRESS),
            State::Stable => {
                self.has_synced(id);
                let assignment = self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default();
                turn.answer(request, Answer::SyncGroup(self.assigned(assignment)));
            }
            State::CompletingRebalance => {
                let parked = Parked { request, version: context.version };
                let before = self.members.get_mut(id).and_then(|member| member.sync.replace(parked));
                if let Some(before) = before {
                    // The client gave up waiting and asks again on another connection.
                    self.refuse_parked_sync(turn, before, ErrorCode::REBALANCE_IN_PROGRESS);
                }
                self.has_synced(id);
                if self.is_leader(id) && !self.is_assigning {
                    self.assign(turn, asked);
                }
            }
        }
    }

    fn check_sync(&self, version: i16, asked: &SyncGroupRequest) -> Result<(), ErrorCode> {
        let differs = |theirs: &Option<KafkaString>, ours: &Option<KafkaString>| match (theirs, ours) {
            (Some(theirs), Some(ours)) => theirs != ours,
            _ => false,
        };
        match self.state {
            State::Dead => return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            State::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            _ => {}
        }
        self.check_member(&asked.member_id, asked.group_instance_id.as_deref())?;
        if asked.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let is_named = asked.protocol_type.is_some() && asked.protocol_name.is_some();
        if (version >= PROTOCOL_NAMED_FROM && !is_named)
            || differs(&asked.protocol_type, &self.protocol_type)
            || differs(&asked.protocol_name, &self.protocol_name)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    fn has_synced(&mut self, id: &str) {
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
    }

    /// The leader brought the assignment: it is written before anybody learns it, so that a member which acts on it
    /// finds it again after a crash.
    fn assign(&mut self, turn: &mut Turn<'_>, asked: &SyncGroupRequest) {
        let brought: BTreeMap<&str, &Bytes> =
            asked.assignments.iter().map(|one| (one.member_id.as_str(), &one.assignment)).collect();
        let of = |id: &KafkaString| brought.get(id.as_str()).map(|bytes| detached(bytes)).unwrap_or_default();
        let assignments: Vec<_> = self.members.keys().map(|id| (id.clone(), of(id))).collect();
        self.is_assigning = true;
        turn.append(self.record(&assignments), Then::Assigned { generation: self.generation, assignments });
    }

    /// The assignment of `generation` is in the log, or could not be written there.
    pub(in super::super) fn assigned_is(
        &mut self,
        turn: &mut Turn<'_>,
        generation: i32,
        assignments: Vec<(KafkaString, Bytes)>,
        result: Result<(), ErrorCode>,
    ) {
        if self.state != State::CompletingRebalance || self.generation != generation {
            return;
        }
        self.is_assigning = false;
        if let Err(code) = result {
            self.reset_assignments(turn, code);
            return self.rebalance_or_complete(turn);
        }
        for (id, assignment) in assignments {
            self.change_member(&id, |member| member.assignment = assignment);
        }
        self.enter(turn, State::Stable);
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let parked =
                self.members.get_mut(&id).and_then(|member| Some((member.sync.take()?, member.assignment.clone())));
            if let Some((parked, assignment)) = parked {
                turn.answer(parked.request, Answer::SyncGroup(self.assigned(assignment)));
                // The session may have run out while the request was open.
                self.touch(turn, &id);
            }
        }
    }

    /// Takes all assignments back and tells who waits for one.
    pub(super) fn reset_assignments(&mut self, turn: &mut Turn<'_>, code: ErrorCode) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let parked = self.change_member(&id, |member| {
                member.assignment = Bytes::new();
                member.sync.take()
            });
            if let Some(parked) = parked.flatten() {
                self.refuse_parked_sync(turn, parked, code);
                self.touch(turn, &id);
            }
        }
    }

    pub(super) fn refuse_parked_sync(&self, turn: &mut Turn<'_>, parked: Parked, code: ErrorCode) {
        turn.answer(parked.request, Answer::SyncGroup(refused(code)));
    }

    fn assigned(&self, assignment: Bytes) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol_name.clone(),
            assignment,
            ..Default::default()
        }
    }

    pub(in super::super) fn heartbeat(&mut self, turn: &mut Turn<'_>, asked: &HeartbeatRequest) -> ErrorCode {
        if self.state == State::Dead {
            return ErrorCode::COORDINATOR_NOT_AVAILABLE;
        }
        if let Err(code) = self.check_member(&asked.member_id, asked.group_instance_id.as_deref()) {
            return code;
        }
        if asked.generation_id != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        self.touch(turn, &asked.member_id);
        if self.state == State::PreparingRebalance { ErrorCode::REBALANCE_IN_PROGRESS } else { ErrorCode::NONE }
    }
}

fn refused(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.0, ..Default::default() }
}
