//! The group of the fake broker: as many members as join, and a leader who is whoever joined first. It answers at once, so
//! a test plays one member of it and moves the others by hand.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fake_broker::NODE;
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::offset_fetch_response::{OffsetFetchResponsePartition, OffsetFetchResponseTopic};
use crate::protocol::messages::*;
use crate::protocol::wire::{Reader, Writer};
use crate::protocol::{ApiKey, ErrorCode, KafkaString, Message};

#[derive(Default)]
pub(super) struct FakeGroup {
    pub(super) generation: i32,
    /// Subscription of each member.
    pub(super) members: BTreeMap<String, Bytes>,
    /// Another member has joined, and the next heartbeat is told so.
    pub(super) is_rebalancing: bool,
    /// What the leader handed out last.
    pub(super) assignments: BTreeMap<String, Bytes>,
    pub(super) committed: BTreeMap<(String, i32), i64>,
    /// Generation and offset of each commit, in order.
    pub(super) commits: Vec<(i32, i64)>,
    pub(super) heartbeats: usize,
    ids: usize,
}

impl FakeGroup {
    /// Answers a request about the group; false if it is about something else.
    pub(super) fn serve(
        &mut self,
        api: ApiKey,
        version: i16,
        reader: &mut Reader,
        writer: &mut Writer,
        refusal: Option<ErrorCode>,
    ) -> bool {
        let error_code = refusal.map_or(0, |code| code.0);
        match api {
            ApiKey::FindCoordinator => {
                FindCoordinatorRequest::decode(reader, version).unwrap();
                let (host, port) = (KafkaString::from("broker"), 9092);
                let response = FindCoordinatorResponse { error_code, node_id: NODE, host, port, ..Default::default() };
                response.encode(writer, version).unwrap();
            }
            ApiKey::JoinGroup => {
                let request = JoinGroupRequest::decode(reader, version).unwrap();
                self.join(request, refusal).encode(writer, version).unwrap();
            }
            ApiKey::SyncGroup => {
                let request = SyncGroupRequest::decode(reader, version).unwrap();
                for given in request.assignments {
                    self.assignments.insert(given.member_id.to_string(), given.assignment);
                }
                let assignment = self.assignments.get(request.member_id.as_str()).cloned().unwrap_or_default();
                let response = SyncGroupResponse { error_code, assignment, ..Default::default() };
                response.encode(writer, version).unwrap();
            }
            ApiKey::Heartbeat => {
                let request = HeartbeatRequest::decode(reader, version).unwrap();
                self.heartbeats += 1;
                let code = refusal.unwrap_or(self.standing(&request.member_id, request.generation_id));
                let response = HeartbeatResponse { error_code: code.0, ..Default::default() };
                response.encode(writer, version).unwrap();
            }
            ApiKey::OffsetFetch => {
                let request = OffsetFetchRequest::decode(reader, version).unwrap();
                let topics = request.topics.into_iter().flatten().map(|topic| OffsetFetchResponseTopic {
                    partitions: topic.partition_indexes.iter().map(|index| self.fetched(&topic.name, *index)).collect(),
                    name: topic.name,
                });
                let response = OffsetFetchResponse { topics: topics.collect(), error_code, ..Default::default() };
                response.encode(writer, version).unwrap();
            }
            ApiKey::OffsetCommit => {
                let request = OffsetCommitRequest::decode(reader, version).unwrap();
                self.commit(request, error_code).encode(writer, version).unwrap();
            }
            ApiKey::LeaveGroup => {
                let request = LeaveGroupRequest::decode(reader, version).unwrap();
                for member in request.members {
                    self.members.remove(member.member_id.as_str());
                }
                LeaveGroupResponse::default().encode(writer, version).unwrap();
            }
            ApiKey::DeleteGroups => {
                let request = DeleteGroupsRequest::decode(reader, version).unwrap();
                let result = |group_id| delete_groups_response::DeletableGroupResult { group_id, error_code };
                let results = request.groups_names.into_iter().map(result).collect();
                DeleteGroupsResponse { results, ..Default::default() }.encode(writer, version).unwrap();
            }
            _ => return false,
        }
        true
    }

    fn standing(&self, member: &str, generation: i32) -> ErrorCode {
        match () {
            () if !self.members.contains_key(member) => ErrorCode::UNKNOWN_MEMBER_ID,
            () if generation != self.generation => ErrorCode::ILLEGAL_GENERATION,
            () if self.is_rebalancing => ErrorCode::REBALANCE_IN_PROGRESS,
            () => ErrorCode::NONE,
        }
    }

    fn join(&mut self, request: JoinGroupRequest, refusal: Option<ErrorCode>) -> JoinGroupResponse {
        if let Some(code) = refusal {
            return JoinGroupResponse { error_code: code.0, ..Default::default() };
        }
        if request.member_id.is_empty() {
            self.ids += 1;
            let member_id = KafkaString::from(format!("m{}", self.ids));
            return JoinGroupResponse {
                error_code: ErrorCode::MEMBER_ID_REQUIRED.0,
                protocol_name: Some(KafkaString::EMPTY),
                member_id,
                ..Default::default()
            };
        }
        self.members.insert(request.member_id.to_string(), request.protocols[0].metadata.clone());
        self.generation += 1;
        self.is_rebalancing = false;
        let member = |(id, metadata): (&String, &Bytes)| JoinGroupResponseMember {
            member_id: KafkaString::copied(id),
            metadata: metadata.clone(),
            ..Default::default()
        };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_name: Some(request.protocols[0].name.clone()),
            leader: request.member_id.clone(),
            member_id: request.member_id,
            members: self.members.iter().map(member).collect(),
            ..Default::default()
        }
    }

    fn fetched(&self, topic: &str, partition_index: i32) -> OffsetFetchResponsePartition {
        let committed = self.committed.get(&(topic.to_owned(), partition_index));
        OffsetFetchResponsePartition {
            partition_index,
            committed_offset: committed.copied().unwrap_or(-1),
            metadata: Some(KafkaString::EMPTY),
            ..Default::default()
        }
    }

    fn commit(&mut self, request: OffsetCommitRequest, error_code: i16) -> OffsetCommitResponse {
        let mut topics = Vec::new();
        for topic in request.topics {
            for partition in topic.partitions.iter().filter(|_| error_code == 0) {
                self.commits.push((request.generation_id_or_member_epoch, partition.committed_offset));
                self.committed.insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
            }
            let answer = |partition_index| OffsetCommitResponsePartition { partition_index, error_code };
            let partitions = topic.partitions.iter().map(|partition| answer(partition.partition_index)).collect();
            topics.push(OffsetCommitResponseTopic { name: topic.name, partitions, ..Default::default() });
        }
        OffsetCommitResponse { topics, ..Default::default() }
    }
}
