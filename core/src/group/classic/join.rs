//! JoinGroup.

use super::super::message::{Answer, RequestContext, beginning, detached_text};
use super::super::turn::{Replacement, Then, Turn, Wishes};
use super::super::versions::refused_join;
use super::member::{Member, Parked};
use super::{ClassicGroup, State};
use crate::coordinator::RequestId;
use crate::limits::{CLIENT_NAME_BYTES_MAX, GROUP_MEMBERS_MAX, NEW_MEMBER_JOIN_MS_MAX};
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::{ErrorCode, KafkaString};

/// First version in which a member must come with an id; without one it gets one and comes again (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;

/// First version whose leader understands that it need not assign (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

/// A JoinGroup request on its way through the group.
pub(in super::super) struct Join<'a> {
    pub(in super::super) request: RequestId,
    pub(in super::super) context: &'a RequestContext,
    pub(in super::super) asked: &'a JoinGroupRequest,
    pub(in super::super) wishes: Wishes,
}

impl Join<'_> {
    fn refuse(&self, turn: &mut Turn<'_>, member_id: &KafkaString, code: ErrorCode) {
        let refused = refused_join(self.context.version, code);
        turn.answer(self.request, Answer::JoinGroup(JoinGroupResponse { member_id: member_id.clone(), ..refused }));
    }

    fn parked(&self) -> Parked {
        Parked { request: self.request, version: self.context.version }
    }
}

impl ClassicGroup {
    pub(in super::super) fn join(&mut self, turn: &mut Turn<'_>, join: Join<'_>) {
        let member_id = &join.asked.member_id;
        if self.state == State::Dead {
            join.refuse(turn, member_id, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        } else if !self.accepts(turn, member_id) {
            self.drop_member(turn, member_id);
            self.forget_pending(member_id);
            join.refuse(turn, &KafkaString::EMPTY, ErrorCode::GROUP_MAX_SIZE_REACHED);
            self.maybe_complete_join(turn);
        } else if !self.supports(&join.asked.protocol_type, &join.wishes.protocols) {
            join.refuse(turn, member_id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        } else if member_id.is_empty() {
            self.join_new(turn, join);
        } else {
            self.join_known(turn, join);
        }
    }

    /// Whether there is room for this member. While members join again it is those who came that are counted, so that
    /// a group which is too large sheds the last ones.
    fn accepts(&self, turn: &Turn<'_>, member_id: &str) -> bool {
        let size_max = turn.settings.group_size_max.min(GROUP_MEMBERS_MAX);
        let member = self.members.get(member_id);
        if member.is_none()
            && !self.pending.contains_key(member_id)
            && self.members.len() + self.pending.len() >= GROUP_MEMBERS_MAX
        {
            return false;
        }
        match self.state {
            State::Empty | State::Dead => true,
            State::PreparingRebalance => {
                member.is_some_and(|member| member.join.is_some()) || self.awaiting_join < size_max
            }
            State::CompletingRebalance | State::Stable => member.is_some() || self.members.len() < size_max,
        }
    }

    fn join_new(&mut self, turn: &mut Turn<'_>, join: Join<'_>) {
        let instance_id = join.asked.group_instance_id.clone();
        let prefix = instance_id.as_ref().unwrap_or(&join.context.client_id);
        let new_id = member_id(prefix, join.context.random);
        if let Some(instance_id) = instance_id {
            match self.static_member(&instance_id).cloned() {
                Some(old_id) => self.replace(turn, join, &instance_id, old_id, new_id),
                None => self.add(turn, join, new_id),
            }
        } else if join.context.version >= MEMBER_ID_REQUIRED_FROM {
            let session_ms = super::millis(join.wishes.session_timeout_ms);
            self.add_pending(new_id.clone(), turn.now.monotonic.plus_ms(session_ms));
            join.refuse(turn, &new_id, ErrorCode::MEMBER_ID_REQUIRED);
        } else {
            self.add(turn, join, new_id);
        }
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, join: Join<'_>) {
        let id = join.asked.member_id.clone();
        let instance_id = join.asked.group_instance_id.as_deref();
        if self.pending.contains_key(&id) {
            if instance_id.is_some() {
                // Only dynamic members are made to come twice.
                return join.refuse(turn, &id, ErrorCode::INVALID_REQUEST);
            }
            return self.add(turn, join, detached_text(&id));
        }
        if let Err(code) = self.check_member(&id, instance_id) {
            return join.refuse(turn, &id, code);
        }
        let is_changed = self.members.get(&id).is_some_and(|member| member.wishes.protocols != join.wishes.protocols);
        match self.state {
            State::PreparingRebalance => self.join_again(turn, join),
            // The answer was lost: here is the same one again.
            State::CompletingRebalance if !is_changed => self.answer_current(turn, &join),
            // The leader joins again when topics changed, which members do not tell in their metadata.
            State::Stable if !is_changed && !self.is_leader(&id) => self.answer_current(turn, &join),
            State::CompletingRebalance | State::Stable => self.join_again(turn, join),
            State::Empty | State::Dead => join.refuse(turn, &id, ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn answer_current(&self, turn: &mut Turn<'_>, join: &Join<'_>) {
        let id = &join.asked.member_id;
        // Only the leader of a generation that is not assigned yet needs to know the members.
        let tell_members = self.state == State::CompletingRebalance && self.is_leader(id);
        turn.answer(join.request, Answer::JoinGroup(self.joined(id, join.context.version, tell_members)));
    }

    /// What a member is told that belongs to the current generation.
    pub(super) fn joined(&self, member_id: &KafkaString, version: i16, tell_members: bool) -> JoinGroupResponse {
        let protocol_name = self.protocol_name.clone();
        let members = if tell_members { self.joined_members() } else { Vec::new() };
        JoinGroupResponse {
            error_code: 0,
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: if version < 7 { Some(protocol_name.unwrap_or_default()) } else { protocol_name },
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.clone(),
            members,
            ..Default::default()
        }
    }

    fn joined_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let member = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        };
        self.members.values().map(member).collect()
    }

    fn add(&mut self, turn: &mut Turn<'_>, join: Join<'_>, id: KafkaString) {
        if self.state == State::PreparingRebalance && self.initial {
            self.more_joined = true;
        }
        let deadline = turn.now.monotonic.plus_ms(NEW_MEMBER_JOIN_MS_MAX);
        self.wake_at(deadline);
        self.add_member(Member {
            id,
            instance_id: join.asked.group_instance_id.as_deref().map(detached_text),
            client_id: detached_text(beginning(&join.context.client_id, CLIENT_NAME_BYTES_MAX)),
            client_host: detached_text(beginning(&join.context.client_host, CLIENT_NAME_BYTES_MAX)),
            protocol_type: detached_text(&join.asked.protocol_type),
            join: Some(join.parked()),
            wishes: join.wishes,
            assignment: bytes::Bytes::new(),
            sync: None,
            is_new: true,
            deadline: Some(deadline),
        });
        self.rebalance_or_complete(turn);
    }

    fn join_again(&mut self, turn: &mut Turn<'_>, join: Join<'_>) {
        let parked = Some(join.parked());
        let id = join.asked.member_id.clone();
        let before = self.update_member(&id, join.wishes, parked);
        if let Some(before) = before {
            // The client gave up waiting and asks again on another connection; the first request must end, too.
            self.refuse_parked_join(turn, before, &id, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.rebalance_or_complete(turn);
    }

    pub(super) fn refuse_parked_join(
        &self,
        turn: &mut Turn<'_>,
        parked: Parked,
        member_id: &KafkaString,
        code: ErrorCode,
    ) {
        let refused = refused_join(parked.version, code);
        turn.answer(parked.request, Answer::JoinGroup(JoinGroupResponse { member_id: member_id.clone(), ..refused }));
    }

    /// A static member came back without knowing its id: it gets a new one, and whoever still has the old one is
    /// fenced.
    fn replace(
        &mut self,
        turn: &mut Turn<'_>,
        join: Join<'_>,
        instance_id: &KafkaString,
        old_id: KafkaString,
        new_id: KafkaString,
    ) {
        let old_leader = self.leader.clone();
        let Some(member) = self.members.get(&old_id) else { return };
        let old = member.wishes.clone();
        self.fence(turn, &old_id, &new_id);
        let version = join.context.version;
        self.update_member(&new_id, join.wishes.clone(), Some(join.parked()));
        self.touch(turn, &new_id);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol_name => {
                let assignments = self.assignments();
                turn.append(
                    self.record(&assignments),
                    Then::Replaced(Box::new(Replacement {
                        request: join.request,
                        version,
                        instance_id: detached_text(instance_id),
                        old_id,
                        new_id,
                        old_leader,
                        old,
                    })),
                );
            }
            // The leader may assign to the old id at this very moment.
            State::Stable | State::CompletingRebalance => self.rebalance_or_complete(turn),
            State::PreparingRebalance | State::Empty | State::Dead => self.maybe_complete_join(turn),
        }
    }

    /// Gives the place of `old_id` to `new_id` and tells open requests of the old one.
    fn fence(&mut self, turn: &mut Turn<'_>, old_id: &KafkaString, new_id: &KafkaString) {
        let Some((join, sync)) = self.replace_static_member(old_id, new_id) else { return };
        if let Some(join) = join {
            self.refuse_parked_join(turn, join, old_id, ErrorCode::FENCED_INSTANCE_ID);
        }
        if let Some(sync) = sync {
            self.refuse_parked_sync(turn, sync, ErrorCode::FENCED_INSTANCE_ID);
        }
    }

    /// The new id of a static member is in the log, or could not be written there.
    pub(in super::super) fn replaced(
        &mut self,
        turn: &mut Turn<'_>,
        replacement: Replacement,
        result: Result<(), ErrorCode>,
    ) {
        let Replacement { request, version, instance_id, old_id, new_id, old_leader, old } = replacement;
        let waits = |group: &Self| {
            group.members.get(&new_id).is_some_and(|member| member.join.is_some_and(|join| join.request == request))
        };
        let is_current = self.static_member(&instance_id) == Some(&new_id);
        if let Err(code) = result {
            if !is_current || !waits(self) {
                return;
            }
            self.update_member(&new_id, old, None);
            let refused = refused_join(version, code);
            turn.answer(request, Answer::JoinGroup(refused));
            self.fence(turn, &new_id, &old_id);
            self.touch(turn, &old_id);
            return self.maybe_complete_join(turn);
        }
        if !waits(self) || self.state != State::Stable {
            // A rebalance began meanwhile: its join counts for that one, and is answered with the next generation.
            return;
        }
        self.change_member(&new_id, |member| member.join = None);
        // The session may have run out while the request was open.
        self.touch(turn, &new_id);
        let skips = version >= SKIP_ASSIGNMENT_FROM && self.is_leader(&new_id);
        let mut answer = self.joined(&new_id, version, skips);
        if version < SKIP_ASSIGNMENT_FROM {
            // A leader that does not understand must not think that it leads: it would assign again.
            answer.leader = old_leader.unwrap_or_default();
        }
        answer.skip_assignment = skips;
        turn.answer(request, Answer::JoinGroup(answer));
    }
}

/// The id of a new member: what the client calls itself, and a random UUID.
pub(in super::super) fn member_id(prefix: &str, random: u128) -> KafkaString {
    let prefix = beginning(prefix, CLIENT_NAME_BYTES_MAX);
    // Version 4 and variant 1 of RFC 9562.
    let bits = random & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    KafkaString::from(format!(
        "{prefix}-{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_id_is_the_clients_name_and_a_uuid() {
        assert_eq!(member_id("c", 0), "c-00000000-0000-4000-8000-000000000000");
        assert_eq!(member_id("", u128::MAX), "-ffffffff-ffff-4fff-bfff-ffffffffffff");
        let long = "ä".repeat(CLIENT_NAME_BYTES_MAX);
        assert_eq!(member_id(&long, 0).len(), CLIENT_NAME_BYTES_MAX + 37);
    }
}
