//! Members that speak the classic protocol in a group of the consumer protocol, so that a group can change over while it is
//! at work: to them the coordinator is the leader, and a rebalance is told by heartbeats.
//!
//! | they ask | they get |
//! | --- | --- |
//! | JoinGroup | at once: their epoch as the generation, and no leader |
//! | SyncGroup | what they have, in the bytes that a leader would have sent |
//! | Heartbeat | REBALANCE_IN_PROGRESS while they are behind the group, have to give back, or could get more |
//!
//! A classic group of consumers becomes one of these when the first member of the consumer protocol joins, and a classic
//! one again when the last of those has gone, as far as `group.consumer.migration.policy` lets it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::assignor::Partitions;
use super::member::{Member, Told};
use super::reconciliation::{Holding, MemberState};
use super::{ConsumerGroup, RecordKey};
use crate::base::PartitionIndex;
use crate::coordinator::RequestId;
use crate::group::classic::{self, CONSUMER_PROTOCOL_TYPE, ClassicGroup, Join, Protocol};
use crate::group::message::{Answer, Request, RequestContext, beginning, detached_text};
use crate::group::turn::{Then, Turn, Wishes};
use crate::group::versions::refused_join;
use crate::limits::{CLIENT_NAME_BYTES_MAX, GROUP_MEMBERS_MAX};
use crate::metadata::MetadataImage;
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use crate::protocol::records::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use crate::protocol::wire::{DecodeError, EncodeError, Reader, Writer};
use crate::protocol::{ErrorCode, KafkaString, Message};

/// First version of JoinGroup in which a member must come with an id (KIP-394).
const MEMBER_ID_REQUIRED_FROM: i16 = 4;
/// First version of LeaveGroup in which several members can leave at once (KIP-345).
const MEMBERS_FROM: i16 = 3;

/// What a member of the consumer protocol lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClassicSide {
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<Protocol>,
}

impl ClassicSide {
    pub(super) fn bytes(&self) -> usize {
        self.protocols.iter().map(Protocol::bytes).sum()
    }

    /// What it wants and has, as it says under the first of its protocols, and the version in which it says so.
    fn subscription(&self) -> Result<(ConsumerProtocolSubscription, i16), DecodeError> {
        let bytes = self.protocols.first().map(|protocol| protocol.metadata.clone()).unwrap_or_default();
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?.clamp(0, *ConsumerProtocolSubscription::VERSIONS.end());
        Ok((ConsumerProtocolSubscription::decode(&mut reader, version)?, version))
    }
}

/// Partitions of topics that there are.
fn by_id<'a>(topics: impl Iterator<Item = (&'a str, &'a [i32])>, metadata: &MetadataImage) -> Partitions {
    let mut all = Partitions::new();
    for (name, indexes) in topics.filter(|(_, indexes)| !indexes.is_empty()) {
        if let Some(id) = metadata.topic_id(name) {
            all.entry(id).or_default().extend(indexes.iter().map(|index| PartitionIndex(*index)));
        }
    }
    all
}

fn owned(subscription: &ConsumerProtocolSubscription, metadata: &MetadataImage) -> Partitions {
    let topic =
        |its: &'_ consumer_protocol_subscription::TopicPartition| (its.topic.to_string(), its.partitions.clone());
    let topics: Vec<(String, Vec<i32>)> = subscription.owned_partitions.iter().map(topic).collect();
    by_id(topics.iter().map(|(name, indexes)| (name.as_str(), &indexes[..])), metadata)
}

/// What a leader has assigned; `None` if that cannot be understood, or if there is more in it that only an assignor of the
/// application's own can have meant.
fn assigned(bytes: &Bytes, metadata: &MetadataImage) -> Option<Partitions> {
    if bytes.is_empty() {
        return Some(Partitions::new());
    }
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16().ok()?.clamp(0, *ConsumerProtocolAssignment::VERSIONS.end());
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).ok()?;
    if assignment.user_data.is_some_and(|data| !data.is_empty()) {
        return None;
    }
    let topics = assignment.assigned_partitions.iter();
    Some(by_id(topics.map(|its| (its.topic.as_str(), &its.partitions[..])), metadata))
}

/// The same as a leader would send it.
fn encoded(partitions: &Partitions, version: i16, metadata: &MetadataImage) -> Result<Bytes, EncodeError> {
    let topics = partitions.iter().filter_map(|(id, indexes)| {
        let topic = metadata.topic_by_id(*id)?;
        Some(consumer_protocol_assignment::TopicPartition {
            topic: KafkaString::copied(&topic.name),
            partitions: indexes.iter().map(|index| index.0).collect(),
        })
    });
    let assignment = ConsumerProtocolAssignment { assigned_partitions: topics.collect(), user_data: None };
    let mut writer = Writer::new();
    writer.i16(version);
    assignment.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

impl Member {
    /// What it is assigned, as it understands it.
    fn assignment_bytes(&self, metadata: &MetadataImage) -> Bytes {
        let version =
            self.told.classic.as_ref().and_then(|side| side.subscription().ok()).map_or(0, |(_, version)| version);
        encoded(&self.holding.assigned, version, metadata).unwrap_or_default()
    }
}

/// What a member of a classic group becomes; `None` if what it says cannot be understood.
fn converted(member: &classic::Member, generation: i32, metadata: &MetadataImage) -> Option<Member> {
    let side = ClassicSide {
        session_timeout_ms: member.wishes.session_timeout_ms,
        protocols: member.wishes.protocols.clone(),
    };
    let (subscription, _) = side.subscription().ok()?;
    let has = assigned(&member.assignment, metadata)?;
    let mut converted = Member::new(member.id.clone());
    converted.told.instance_id = member.instance_id.clone();
    converted.told.rack_id = subscription.rack_id.as_deref().map(detached_text);
    converted.told.client_id = member.client_id.clone();
    converted.told.client_host = member.client_host.clone();
    converted.told.names = subscription.topics.iter().map(|name| detached_text(name)).collect();
    converted.told.rebalance_timeout_ms = member.wishes.rebalance_timeout_ms;
    converted.told.classic = Some(side);
    converted.target = has.clone();
    converted.holding = Holding {
        epoch: generation,
        previous_epoch: generation,
        state: MemberState::Stable,
        assigned: has,
        revoking: Partitions::new(),
    };
    converted.since = converted.places().map(|place| (place, generation)).collect();
    converted.is_known = true;
    Some(converted)
}

impl ConsumerGroup {
    /// The group that a classic group of consumers becomes; `None` if it cannot. Its records are written with the next
    /// change.
    pub(in super::super) fn of_classic(turn: &Turn<'_>, group: &ClassicGroup) -> Option<Self> {
        let settings = &turn.settings.consumer;
        let size_max = settings.group_size_max.min(GROUP_MEMBERS_MAX);
        if !settings.migration.upgrades || !group.is_consumer_group() || group.members.len() > size_max {
            return None;
        }
        let mut next = Self::new(group.id.clone());
        (next.epoch, next.target_epoch) = (group.generation, group.generation);
        next.assigned_at = turn.now.wall;
        for member in group.members.values() {
            let mut member = converted(member, group.generation, turn.metadata)?;
            // What a leader has given to two is given to the first.
            let taken: Vec<_> = member.places().filter(|place| next.owners.contains_key(place)).collect();
            taken.into_iter().for_each(|place| member.lose(place));
            let id = member.id.clone();
            let parts = [RecordKey::Member(id.clone()), RecordKey::Target(id.clone()), RecordKey::Current(id.clone())];
            next.unwritten.extend(parts);
            next.add_member(member);
            next.touch(turn, &id);
        }
        next.metadata_hash = next.hash(turn.metadata);
        next.unwritten.extend([RecordKey::Group, RecordKey::TargetMetadata]);
        Some(next)
    }

    /// Whether nobody is left who speaks the consumer protocol, so that it becomes a classic group again.
    pub(in super::super) fn is_to_be_classic(&self, turn: &Turn<'_>) -> bool {
        turn.settings.consumer.migration.downgrades
            && !self.is_dead
            && !self.members.is_empty()
            && self.members.len() <= turn.settings.group_size_max
            && self.members.values().all(|member| member.told.classic.is_some())
    }

    /// The classic group that it becomes, whose members join again. Its records are taken out of the log, and those of the
    /// classic group written.
    pub(in super::super) fn into_classic(mut self, turn: &mut Turn<'_>) -> ClassicGroup {
        let metadata = turn.metadata;
        let members = std::mem::take(&mut self.members);
        for text in self.patterns.keys() {
            self.unwritten.insert(RecordKey::Pattern(text.clone()));
        }
        self.patterns.clear();
        for id in members.keys() {
            let parts = [RecordKey::Member(id.clone()), RecordKey::Target(id.clone()), RecordKey::Current(id.clone())];
            self.unwritten.extend(parts);
        }
        self.unwritten.remove(&RecordKey::Group);
        self.unwritten.remove(&RecordKey::TargetMetadata);
        let keys = std::mem::take(&mut self.unwritten);
        let parts = keys.into_iter().map(|key| {
            let record = self.record(&key);
            (key, record)
        });
        let mut parts: Vec<_> = parts.collect();
        parts.reverse();
        parts.extend([RecordKey::TargetMetadata, RecordKey::Group].into_iter().zip(self.tombstones()));
        turn.append_parts(parts);
        let members = members.into_values().filter_map(|member| {
            let assignment = member.assignment_bytes(metadata);
            let Told { instance_id, client_id, client_host, rebalance_timeout_ms, classic, .. } = member.told;
            let side = classic?;
            Some(classic::Member {
                id: member.id,
                instance_id,
                client_id,
                client_host,
                protocol_type: KafkaString::from_static(CONSUMER_PROTOCOL_TYPE),
                wishes: Wishes {
                    protocols: side.protocols,
                    session_timeout_ms: side.session_timeout_ms,
                    rebalance_timeout_ms,
                },
                assignment,
                join: None,
                sync: None,
                is_new: false,
                deadline: None,
            })
        });
        ClassicGroup::of_consumer(turn, self.id.clone(), self.epoch, members.collect())
    }

    /// How long a member of the classic protocol may be silent.
    pub(super) fn classic_session_ms(member: &Member) -> Option<u64> {
        member.told.classic.as_ref().map(|side| u64::try_from(side.session_timeout_ms).unwrap_or(0))
    }

    pub(in super::super) fn classic_join(&mut self, turn: &mut Turn<'_>, join: Join<'_>) {
        let (request, version) = (join.request, join.context.version);
        let member_id = join.asked.member_id.clone();
        match self.join_classic(turn, join) {
            Ok(answer) => {
                self.write(turn);
                let refusal = Request::JoinGroup(Default::default());
                turn.answer_when_written(request, Answer::JoinGroup(answer), refusal, version);
            }
            Err((id, code)) => {
                let member_id = id.unwrap_or(member_id);
                let refused = JoinGroupResponse { member_id, ..refused_join(version, code) };
                turn.answer(request, Answer::JoinGroup(refused));
            }
        }
    }

    /// A refusal may give the member an id to come again with.
    fn join_classic(
        &mut self,
        turn: &mut Turn<'_>,
        join: Join<'_>,
    ) -> Result<JoinGroupResponse, (Option<KafkaString>, ErrorCode)> {
        let Join { context, asked, wishes, .. } = join;
        let refuse = |code| Err((None, code));
        if self.is_dead {
            return refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let migration = turn.settings.consumer.migration;
        if !migration.upgrades && !migration.downgrades {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let side = ClassicSide { session_timeout_ms: wishes.session_timeout_ms, protocols: wishes.protocols };
        let Ok((subscription, _)) = side.subscription() else { return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL) };
        if asked.protocol_type != CONSUMER_PROTOCOL_TYPE || !self.supports(&asked.member_id, &side.protocols) {
            return refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let namesake = asked.group_instance_id.as_ref().and_then(|it| self.static_members.get(it)).cloned();
        let id = if asked.member_id.is_empty() {
            let prefix = asked.group_instance_id.as_ref().unwrap_or(&context.client_id);
            let id = classic::member_id(prefix, context.random);
            if asked.group_instance_id.is_none() && context.version >= MEMBER_ID_REQUIRED_FROM {
                return Err((Some(id), ErrorCode::MEMBER_ID_REQUIRED));
            }
            id
        } else {
            if let Some(instance_id) = asked.group_instance_id.as_deref() {
                self.check_instance(&asked.member_id, instance_id).map_err(|code| (None, code))?;
            }
            detached_text(&asked.member_id)
        };
        if let Some(before) = namesake.filter(|before| *before != id) {
            self.replace(&before, &id);
        } else if !self.members.contains_key(&id) {
            if self.members.len() >= turn.settings.consumer.group_size_max.min(GROUP_MEMBERS_MAX) {
                return refuse(ErrorCode::GROUP_MAX_SIZE_REACHED);
            }
            self.add_member(Member::new(id.clone()));
        }
        let protocol_name = side.protocols.first().map(|protocol| protocol.name.clone());
        let told = Told {
            instance_id: asked.group_instance_id.as_deref().map(detached_text),
            rack_id: subscription.rack_id.as_deref().map(detached_text),
            client_id: detached_text(beginning(&context.client_id, CLIENT_NAME_BYTES_MAX)),
            client_host: detached_text(beginning(&context.client_host, CLIENT_NAME_BYTES_MAX)),
            names: subscription.topics.iter().map(|name| detached_text(name)).collect(),
            pattern: None,
            rebalance_timeout_ms: wishes.rebalance_timeout_ms,
            assignor: None,
            classic: Some(side),
        };
        self.change_member(&id, |member| member.rebalance_deadline = None);
        let has = owned(&subscription, turn.metadata);
        self.tell(turn, &id, told, None);
        self.assign(turn);
        self.reconcile(turn, &id, Some(&has));
        self.touch(turn, &id);
        Ok(JoinGroupResponse {
            generation_id: self.members.get(&id).map_or(0, Member::epoch),
            protocol_type: Some(KafkaString::from_static(CONSUMER_PROTOCOL_TYPE)),
            protocol_name,
            member_id: id,
            ..Default::default()
        })
    }

    /// Whether the members of the classic protocol have one of these protocols in common. Whoever asks again may change its own.
    fn supports(&self, member_id: &str, protocols: &[Protocol]) -> bool {
        let others = self.members.values().filter(|member| *member.id != *member_id);
        let sides: Vec<&ClassicSide> = others.filter_map(|member| member.told.classic.as_ref()).collect();
        let has = |side: &&ClassicSide, name: &KafkaString| side.protocols.iter().any(|known| known.name == *name);
        protocols.iter().any(|protocol| sides.iter().all(|side| has(side, &protocol.name)))
    }

    /// A member of the classic protocol in the epoch that it says.
    fn check_classic(&self, member_id: &str, instance_id: Option<&str>, generation: i32) -> Result<&Member, ErrorCode> {
        if self.is_dead {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        if let Some(instance_id) = instance_id {
            self.check_instance(member_id, instance_id)?;
        }
        let member = self.members.get(member_id).filter(|member| member.told.classic.is_some());
        let member = member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.epoch() == generation { Ok(member) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    /// Has a member join again, within its rebalance timeout.
    fn call_back(&mut self, turn: &Turn<'_>, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            let timeout_ms = u64::try_from(member.told.rebalance_timeout_ms).unwrap_or(0);
            let deadline = *member.rebalance_deadline.get_or_insert(turn.now.monotonic.plus_ms(timeout_ms));
            self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
        }
    }

    pub(in super::super) fn classic_sync(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        context: &RequestContext,
        asked: &SyncGroupRequest,
    ) {
        let answered = self.check_classic(&asked.member_id, asked.group_instance_id.as_deref(), asked.generation_id);
        let answered = answered.and_then(|member| {
            let name =
                member.told.classic.as_ref().and_then(|side| side.protocols.first()).map(|protocol| &protocol.name);
            let is_type = asked.protocol_type.as_deref().is_none_or(|it| it == CONSUMER_PROTOCOL_TYPE);
            let is_name = asked.protocol_name.is_none() || asked.protocol_name.as_ref() == name;
            if !is_type || !is_name {
                return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            }
            if self.epoch > member.epoch() && member.holding.state != MemberState::UnrevokedPartitions {
                return Err(ErrorCode::REBALANCE_IN_PROGRESS);
            }
            Ok(SyncGroupResponse {
                protocol_type: Some(KafkaString::from_static(CONSUMER_PROTOCOL_TYPE)),
                protocol_name: name.cloned(),
                assignment: member.assignment_bytes(turn.metadata),
                ..Default::default()
            })
        });
        match answered {
            Ok(answer) => {
                self.touch(turn, &asked.member_id);
                let refusal = Request::SyncGroup(Default::default());
                turn.answer_when_written(request, Answer::SyncGroup(answer), refusal, context.version);
            }
            Err(code) => {
                if code == ErrorCode::REBALANCE_IN_PROGRESS {
                    self.call_back(turn, &asked.member_id);
                }
                let refused = SyncGroupResponse { error_code: code.0, ..Default::default() };
                turn.answer(request, Answer::SyncGroup(refused));
            }
        }
    }

    pub(in super::super) fn classic_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        asked: &HeartbeatRequest,
    ) {
        let id = &asked.member_id;
        let checked = self.check_classic(id, asked.group_instance_id.as_deref(), asked.generation_id);
        let code = match checked {
            Err(code) => code,
            Ok(member) => {
                let must_join = member.epoch() < self.epoch
                    || match member.holding.state {
                        MemberState::Stable => false,
                        MemberState::UnrevokedPartitions => true,
                        MemberState::UnreleasedPartitions => self.may_have_more(member),
                    };
                self.touch(turn, id);
                if must_join {
                    self.call_back(turn, id);
                    ErrorCode::REBALANCE_IN_PROGRESS
                } else {
                    ErrorCode::NONE
                }
            }
        };
        turn.answer(request, Answer::Heartbeat(HeartbeatResponse { error_code: code.0, ..Default::default() }));
    }

    /// Whether nobody has any more what a member waits for.
    fn may_have_more(&self, member: &Member) -> bool {
        let all = member.target.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)));
        let mut owners = all.filter_map(|place| self.owners.get(&place));
        owners.all(|owner| *owner == member.id)
    }

    pub(in super::super) fn classic_leave(
        &mut self,
        turn: &mut Turn<'_>,
        request: RequestId,
        context: &RequestContext,
        asked: &LeaveGroupRequest,
    ) {
        let answer = if context.version < MEMBERS_FROM {
            let code = self.leave_classic(turn, &asked.member_id, None);
            LeaveGroupResponse { error_code: code.0, ..Default::default() }
        } else {
            let members = asked.members.iter().map(|member| MemberResponse {
                member_id: member.member_id.clone(),
                group_instance_id: member.group_instance_id.clone(),
                error_code: self.leave_classic(turn, &member.member_id, member.group_instance_id.as_deref()).0,
            });
            LeaveGroupResponse { members: members.collect(), ..Default::default() }
        };
        self.write(turn);
        let refusal = Request::LeaveGroup(Default::default());
        turn.answer_when_written(request, Answer::LeaveGroup(answer), refusal, context.version);
    }

    fn leave_classic(&mut self, turn: &Turn<'_>, member_id: &str, instance_id: Option<&str>) -> ErrorCode {
        if self.is_dead {
            return ErrorCode::COORDINATOR_NOT_AVAILABLE;
        }
        let id = if member_id.is_empty() {
            // An operator removes a static member, whose id only the member knows.
            instance_id.and_then(|instance_id| self.static_members.get(instance_id)).cloned()
        } else {
            if let Some(Err(code)) = instance_id.map(|instance_id| self.check_instance(member_id, instance_id)) {
                return code;
            }
            self.members.get(member_id).filter(|member| member.told.classic.is_some()).map(|member| member.id.clone())
        };
        match id {
            None => ErrorCode::UNKNOWN_MEMBER_ID,
            Some(id) => {
                self.remove_member(turn.metadata, &id);
                ErrorCode::NONE
            }
        }
    }
}

impl ClassicGroup {
    /// The group that one of the consumer protocol becomes when only members of the classic protocol are left: they are to
    /// join again. It is written as it stands.
    fn of_consumer(turn: &mut Turn<'_>, id: KafkaString, generation: i32, members: Vec<classic::Member>) -> Self {
        let assignments: BTreeMap<KafkaString, Bytes> =
            members.iter().map(|member| (member.id.clone(), member.assignment.clone())).collect();
        let mut group = Self::stable(turn, id, generation, members);
        turn.append(group.record(&assignments.into_iter().collect::<Vec<_>>()), Then::Created);
        group.prepare_rebalance(turn);
        group
    }
}
