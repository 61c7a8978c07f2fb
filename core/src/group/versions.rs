//! What differs between versions of the group APIs, so that the rest need not know: refusals, and OffsetFetch, which
//! asked for one group before version 8 and for many since.

use super::message::{Answer, Request};
use crate::protocol::messages::consumer_group_describe_response;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::DescribedGroup;
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::protocol::messages::{
    ConsumerGroupHeartbeatResponse, HeartbeatResponse, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use crate::protocol::{ErrorCode, KafkaString};

impl Request {
    /// The answer that refuses the whole request with `code`, ready for `version`.
    ///
    /// For the caller, too: NOT_COORDINATOR for a partition that is led elsewhere, COORDINATOR_LOAD_IN_PROGRESS while
    /// it is loaded, COORDINATOR_NOT_AVAILABLE where it could not be loaded. While a group is loaded a heartbeat is
    /// simply answered well, as in Kafka: there is nothing that the member could do better than to go on.
    #[must_use]
    pub fn refuse(&self, version: i16, code: ErrorCode) -> Answer {
        match self {
            Self::JoinGroup(request) => Answer::JoinGroup(JoinGroupResponse {
                member_id: request.member_id.clone(),
                ..refused_join(version, code)
            }),
            Self::SyncGroup(_) => Answer::SyncGroup(SyncGroupResponse { error_code: code.0, ..Default::default() }),
            Self::Heartbeat(_) => {
                let loading = code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
                let error_code = if loading { 0 } else { code.0 };
                Answer::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Self::LeaveGroup(request) => Answer::LeaveGroup(refused_leave(request, version, code)),
            Self::OffsetCommit(request) => Answer::OffsetCommit(refused_commit(request, code)),
            Self::TxnOffsetCommit(request) => Answer::TxnOffsetCommit(refused_txn_commit(request, code)),
            Self::OffsetFetch { group, .. } => Answer::OffsetFetch(refused_fetch(group, version, code)),
            Self::OffsetDelete(_) => {
                Answer::OffsetDelete(OffsetDeleteResponse { error_code: code.0, ..Default::default() })
            }
            Self::DescribeGroup(group_id) => Answer::DescribeGroup(DescribedGroup {
                error_code: code.0,
                group_id: group_id.clone(),
                ..Default::default()
            }),
            Self::ListGroups { .. } => {
                // A partition that is led elsewhere is listed there.
                let error_code = if code == ErrorCode::NOT_COORDINATOR { 0 } else { code.0 };
                Answer::ListGroups(ListGroupsResponse { error_code, ..Default::default() })
            }
            Self::DeleteGroup(group_id) => {
                Answer::DeleteGroup(DeletableGroupResult { group_id: group_id.clone(), error_code: code.0 })
            }
            Self::ConsumerGroupHeartbeat(_) => Answer::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
                error_code: code.0,
                ..Default::default()
            }),
            Self::DescribeConsumerGroup(group_id) => {
                Answer::DescribeConsumerGroup(consumer_group_describe_response::DescribedGroup {
                    error_code: code.0,
                    group_id: group_id.clone(),
                    ..Default::default()
                })
            }
        }
    }
}

/// A refused join. Before version 7 the protocol's name could not be null.
pub(super) fn refused_join(version: i16, code: ErrorCode) -> JoinGroupResponse {
    let protocol_name = (version < 7).then_some(KafkaString::EMPTY);
    JoinGroupResponse { error_code: code.0, protocol_name, ..Default::default() }
}

/// A refused leave. A missing member or group is told for each member since version 3.
fn refused_leave(request: &LeaveGroupRequest, version: i16, code: ErrorCode) -> LeaveGroupResponse {
    if version < 3 || code != ErrorCode::UNKNOWN_MEMBER_ID {
        return LeaveGroupResponse { error_code: code.0, ..Default::default() };
    }
    let members = request.members.iter().map(|member| MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: code.0,
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}

fn refused_commit(request: &OffsetCommitRequest, code: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code.0,
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn refused_txn_commit(request: &TxnOffsetCommitRequest, code: ErrorCode) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: code.0,
            })
            .collect(),
    });
    TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

/// A refused fetch. Before version 2 an error could only stand at a partition.
fn refused_fetch(group: &OffsetFetchRequestGroup, version: i16, code: ErrorCode) -> OffsetFetchResponseGroup {
    let group_id = group.group_id.clone();
    if version >= 2 {
        return OffsetFetchResponseGroup { group_id, error_code: code.0, ..Default::default() };
    }
    let topics = group.topics.iter().flatten().map(|topic| OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| no_offset(*index, code)).collect(),
    });
    OffsetFetchResponseGroup { group_id, topics: topics.collect(), error_code: 0 }
}

/// A partition without an offset, or with an error instead of one.
pub(super) fn no_offset(partition_index: i32, code: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(KafkaString::EMPTY),
        error_code: code.0,
    }
}

/// The groups that an OffsetFetch request asks for, in whatever version it came.
#[must_use]
pub fn offset_fetch_groups(request: &OffsetFetchRequest, version: i16) -> Vec<OffsetFetchRequestGroup> {
    if version >= 8 {
        return request.groups.clone();
    }
    let topics = request.topics.as_ref().map(|topics| {
        let topic = |topic: &crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics {
                name: topic.name.clone(),
                partition_indexes: topic.partition_indexes.clone(),
                ..Default::default()
            }
        };
        topics.iter().map(topic).collect()
    });
    vec![OffsetFetchRequestGroup { group_id: request.group_id.clone(), topics, ..Default::default() }]
}

/// The answer to an OffsetFetch request in `version`, made of what was answered for each of its groups.
#[must_use]
pub fn offset_fetch_response(groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= 8 {
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let group = groups.into_iter().next().unwrap_or_default();
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..Default::default() }
}
