//! LeaveGroup, and members that go without it.

use super::super::message::{Answer, Request, RequestContext};
use super::super::turn::{Step, Then, Turn};
use super::{ClassicGroup, State};
use crate::coordinator::RequestId;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use crate::protocol::{ErrorCode, KafkaString};

/// First version in which several members can leave at once, each with an answer of its own (KIP-345).
const MEMBERS_FROM: i16 = 3;

impl ClassicGroup {
    pub(in super::super) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        context: &RequestContext,
        asked: &LeaveGroupRequest,
    ) {
        if self.state == State::Dead {
            let refusal = Request::LeaveGroup(asked.clone());
            return turn.answer(request, refusal.refuse(context.version, ErrorCode::COORDINATOR_NOT_AVAILABLE));
        }
        let answer = if context.version < MEMBERS_FROM {
            let code = self.leave_one(turn, &asked.member_id, None);
            LeaveGroupResponse { error_code: code.0, ..Default::default() }
        } else {
            let leave = |member: &MemberIdentity| MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: self.leave_one(turn, &member.member_id, member.group_instance_id.as_deref()).0,
            };
            LeaveGroupResponse { members: asked.members.iter().map(leave).collect(), ..Default::default() }
        };
        let somebody_left = answer.error_code == 0
            && (context.version < MEMBERS_FROM || answer.members.iter().any(|member| member.error_code == 0));
        let mark = turn.steps.len();
        if somebody_left {
            match self.state {
                State::Stable | State::CompletingRebalance => self.prepare_rebalance(turn),
                State::PreparingRebalance => self.maybe_complete_join(turn),
                State::Empty | State::Dead => {}
            }
        }
        let answer = Answer::LeaveGroup(answer);
        // If the group is empty now, that is written first.
        let written = turn.steps.iter_mut().skip(mark).find_map(|step| match step {
            Step::Append(draft) if matches!(draft.then, Then::Emptied) => Some(&mut draft.then),
            _ => None,
        });
        match written {
            None => turn.answer(request, answer),
            Some(then) => {
                *then = Then::Answer {
                    id: request,
                    answer: Box::new(answer),
                    request: Box::new(Request::LeaveGroup(asked.clone())),
                    version: context.version,
                };
            }
        }
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, member_id: &KafkaString, instance_id: Option<&str>) -> ErrorCode {
        if member_id.is_empty() {
            // An operator removes a static member, whose id only the member knows.
            let Some(id) = instance_id.and_then(|instance_id| self.static_member(instance_id).cloned()) else {
                return ErrorCode::UNKNOWN_MEMBER_ID;
            };
            self.drop_member(turn, &id);
            return ErrorCode::NONE;
        }
        if self.forget_pending(member_id) {
            return ErrorCode::NONE;
        }
        match self.check_member(member_id, instance_id) {
            Err(code) => code,
            Ok(()) => {
                self.drop_member(turn, member_id);
                ErrorCode::NONE
            }
        }
    }

    /// Takes a member out and ends what it waits for: if it still lives, it joins anew.
    pub(super) fn drop_member(&mut self, turn: &mut Turn<'_>, id: &str) {
        let Some(member) = self.take_member(id) else { return };
        if let Some(parked) = member.join {
            self.refuse_parked_join(turn, parked, &KafkaString::EMPTY, ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if let Some(parked) = member.sync {
            self.refuse_parked_sync(turn, parked, ErrorCode::UNKNOWN_MEMBER_ID);
        }
    }

    /// Ends all that members wait for, and has them go.
    pub(in super::super) fn disband(&mut self, turn: &mut Turn<'_>, code: ErrorCode) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.take_member(&id) else { continue };
            if let Some(parked) = member.join {
                self.refuse_parked_join(turn, parked, &id, code);
            }
            if let Some(parked) = member.sync {
                self.refuse_parked_sync(turn, parked, code);
            }
        }
        *self = Self::new(self.id.clone(), self.since);
    }
}
