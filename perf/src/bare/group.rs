//! Groups, as far as consumers need one before they read: every member is told that it is the only one.

use corelane_core::protocol::messages::find_coordinator_response::Coordinator;
use corelane_core::protocol::messages::join_group_response::JoinGroupResponseMember;
use corelane_core::protocol::messages::leave_group_response::MemberResponse;
use corelane_core::protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use corelane_core::protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use corelane_core::protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use corelane_core::protocol::{ErrorCode, KafkaString};

use super::requests::{Cluster, NODE_ID};

/// What FindCoordinator asks for where it is not a group, which is what it asks for before version 1.
const GROUP_KEY: i8 = 0;
/// The generation of every group.
const GENERATION: i32 = 1;
/// First version of JoinGroup whose members have names that outlive them.
const VERSION_WITH_INSTANCES: i16 = 5;

impl Cluster {
    pub(super) fn find_coordinator(&self, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let (host, port) = (self.host.clone(), self.port);
        let error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
        let is_group = request.key_type == GROUP_KEY;
        // Versions that have a list have nothing beside it.
        if request.coordinator_keys.is_empty() {
            return match is_group {
                true => FindCoordinatorResponse { node_id: NODE_ID, host, port, ..Default::default() },
                false => FindCoordinatorResponse { error_code, node_id: -1, port: -1, ..Default::default() },
            };
        }
        let keys = request.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| match is_group {
            true => Coordinator { key, node_id: NODE_ID, host: host.clone(), port, ..Default::default() },
            false => Coordinator { key, node_id: -1, port: -1, error_code, ..Default::default() },
        });
        FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
    }

    /// Whoever joins leads a group of its own.
    pub(super) fn join_group(&mut self, request: JoinGroupRequest, version: i16) -> JoinGroupResponse {
        let Some(protocol) = request.protocols.into_iter().next() else {
            let error_code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0;
            let protocol_name = Some(KafkaString::default());
            return JoinGroupResponse { error_code, generation_id: -1, protocol_name, ..Default::default() };
        };
        let member_id = match request.member_id.is_empty() {
            true => {
                self.members += 1;
                KafkaString::from(format!("member-{}", self.members))
            }
            false => request.member_id,
        };
        let member = JoinGroupResponseMember {
            member_id: member_id.clone(),
            group_instance_id: request.group_instance_id.filter(|_| version >= VERSION_WITH_INSTANCES),
            metadata: protocol.metadata,
        };
        JoinGroupResponse {
            generation_id: GENERATION,
            protocol_type: Some(request.protocol_type),
            protocol_name: Some(protocol.name),
            leader: member_id.clone(),
            member_id,
            members: vec![member],
            ..Default::default()
        }
    }
}

/// A member gets what it has given itself.
pub(super) fn sync_group(request: SyncGroupRequest) -> SyncGroupResponse {
    let own = request.assignments.into_iter().find(|given| given.member_id == request.member_id);
    SyncGroupResponse {
        protocol_type: request.protocol_type,
        protocol_name: request.protocol_name,
        assignment: own.map(|given| given.assignment).unwrap_or_default(),
        ..Default::default()
    }
}

pub(super) fn leave_group(request: LeaveGroupRequest) -> LeaveGroupResponse {
    let members = request.members.into_iter().map(|left| MemberResponse {
        member_id: left.member_id,
        group_instance_id: left.group_instance_id,
        error_code: 0,
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}

/// Commits are acknowledged and forgotten, so nothing was ever committed.
pub(super) fn offset_fetch(request: OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
        let partitions = topic.partition_indexes.into_iter().map(|partition_index| OffsetFetchResponsePartition {
            partition_index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(KafkaString::default()),
            error_code: 0,
        });
        OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() }
    });
    OffsetFetchResponse { topics: topics.collect(), ..Default::default() }
}

pub(super) fn offset_commit(request: OffsetCommitRequest) -> OffsetCommitResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let partitions = partitions.map(|partition| OffsetCommitResponsePartition {
            partition_index: partition.partition_index,
            error_code: 0,
        });
        OffsetCommitResponseTopic { name: topic.name, partitions: partitions.collect(), ..Default::default() }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}
