//! What a member of a group asks its coordinator.

use std::collections::BTreeSet;

use super::{GroupMember, MemberError, Phase, Sent, partition_counts};
use crate::base::{Monotonic, NodeId, PartitionIndex};
use crate::client::assignor::{encode_assignment, encode_subscription, range_assignment};
use crate::client::cluster::{Client, SendOptions};
use crate::client::request::{RequestError, Target};
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use crate::protocol::{KafkaString, Request};

const PROTOCOL_TYPE: KafkaString = KafkaString::from_static("consumer");
const PROTOCOL_NAME: KafkaString = KafkaString::from_static("range");
/// Last versions that name topics and ask for one group; their successors say the same with ids, for several.
const COMMIT_BY_NAME_VERSION_MAX: i16 = 9;
const FETCH_ONE_GROUP_VERSION_MAX: i16 = 7;
/// Time that a join may take beyond what the group gives its members, for the answer to travel.
const JOIN_SLACK_MS: u64 = 5_000;

impl GroupMember {
    fn send<R: Request + Send + 'static>(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        to: (NodeId, Sent),
        request: R,
        options: SendOptions,
    ) {
        let id = client.send_with(now, Target::Node(to.0), request, options);
        self.sent.insert(id, to.1);
    }

    fn group(&self) -> KafkaString {
        KafkaString::copied(&self.options.group)
    }

    fn instance_id(&self) -> Option<KafkaString> {
        self.options.instance_id.as_deref().map(KafkaString::copied)
    }

    pub(super) fn join(&mut self, now: Monotonic, client: &mut Client, node: NodeId) {
        let metadata = match encode_subscription(&self.options.topics) {
            Ok(metadata) => metadata,
            Err(error) => return self.fail(MemberError::Request(RequestError::Unwritable(error))),
        };
        let milliseconds = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
        let request = JoinGroupRequest {
            group_id: self.group(),
            session_timeout_ms: milliseconds(self.options.session_timeout_ms),
            rebalance_timeout_ms: milliseconds(self.options.rebalance_timeout_ms),
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: PROTOCOL_TYPE,
            protocols: vec![JoinGroupRequestProtocol { name: PROTOCOL_NAME, metadata }],
            ..JoinGroupRequest::default()
        };
        let timeout_ms = u64::from(self.options.rebalance_timeout_ms) + JOIN_SLACK_MS;
        let options = SendOptions { timeout_ms: Some(timeout_ms), ..SendOptions::default() };
        self.send(now, client, (node, Sent::Join), request, options);
    }

    pub(super) fn sync(&mut self, now: Monotonic, client: &mut Client, node: NodeId) {
        let mut assignments = Vec::new();
        if let Some(members) = &self.to_assign {
            let wanted: BTreeSet<&String> = members.values().flatten().collect();
            for topic in &wanted {
                client.want_topic(topic);
            }
            // What nobody has told yet is waited for, or its partitions would go to nobody.
            if wanted.iter().any(|topic| client.cluster().topic(topic).is_none()) {
                self.not_before = now.plus_ms(client.config().retry_backoff_ms);
                return;
            }
            let counts = partition_counts(client, wanted);
            for (member, partitions) in range_assignment(members, &counts) {
                let assignment = match encode_assignment(&partitions) {
                    Ok(assignment) => assignment,
                    Err(error) => return self.fail(MemberError::Request(RequestError::Unwritable(error))),
                };
                assignments.push(SyncGroupRequestAssignment { member_id: KafkaString::from(member), assignment });
            }
            self.handed_out = Some(counts);
        }
        let request = SyncGroupRequest {
            group_id: self.group(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: Some(PROTOCOL_TYPE),
            protocol_name: Some(PROTOCOL_NAME),
            assignments,
        };
        let timeout_ms = u64::from(self.options.rebalance_timeout_ms) + JOIN_SLACK_MS;
        let options = SendOptions { timeout_ms: Some(timeout_ms), ..SendOptions::default() };
        self.send(now, client, (node, Sent::Sync), request, options);
    }

    pub(super) fn fetch_offsets(&mut self, now: Monotonic, client: &mut Client, node: NodeId) {
        let topic = |(name, partitions): (&String, &Vec<PartitionIndex>)| OffsetFetchRequestTopic {
            name: KafkaString::copied(name),
            partition_indexes: partitions.iter().map(|partition| partition.0).collect(),
        };
        let request = OffsetFetchRequest {
            group_id: self.group(),
            topics: Some(self.assigned.iter().map(topic).collect()),
            ..OffsetFetchRequest::default()
        };
        let options = SendOptions { version_max: FETCH_ONE_GROUP_VERSION_MAX, ..SendOptions::default() };
        self.send(now, client, (node, Sent::FetchOffsets), request, options);
    }

    pub(super) fn heartbeat(&mut self, now: Monotonic, client: &mut Client, node: NodeId) {
        self.next_heartbeat = now.plus_ms(self.options.heartbeat_interval_ms);
        let request = HeartbeatRequest {
            group_id: self.group(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
        };
        self.send(now, client, (node, Sent::Heartbeat), request, SendOptions::default());
    }

    pub(super) fn commit(&mut self, now: Monotonic, client: &mut Client, node: NodeId) {
        if self.uncommitted.is_empty() || self.is_waiting(Sent::Commit) {
            return;
        }
        self.next_commit = now.plus_ms(self.options.commit_interval_ms);
        self.committing = std::mem::take(&mut self.uncommitted);
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for ((topic, partition), (offset, epoch)) in &self.committing {
            let partition = OffsetCommitRequestPartition {
                partition_index: partition.0,
                committed_offset: offset.0,
                committed_leader_epoch: epoch.0,
                committed_metadata: Some(KafkaString::EMPTY),
                ..OffsetCommitRequestPartition::default()
            };
            match topics.last_mut().filter(|last| last.name == topic.as_str()) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(OffsetCommitRequestTopic {
                    name: KafkaString::copied(topic),
                    partitions: vec![partition],
                    ..OffsetCommitRequestTopic::default()
                }),
            }
        }
        let request = OffsetCommitRequest {
            group_id: self.group(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            topics,
            ..OffsetCommitRequest::default()
        };
        let options = SendOptions { version_max: COMMIT_BY_NAME_VERSION_MAX, ..SendOptions::default() };
        self.send(now, client, (node, Sent::Commit), request, options);
    }

    /// A member with a name of its own does not leave: it is expected back under that name.
    pub(super) fn say_goodbye(&mut self, now: Monotonic, client: &mut Client, node: NodeId) {
        if self.options.instance_id.is_some() {
            self.phase = Phase::Ended;
            return;
        }
        let request = LeaveGroupRequest {
            group_id: self.group(),
            members: vec![MemberIdentity { member_id: self.member_id.clone(), ..MemberIdentity::default() }],
            ..LeaveGroupRequest::default()
        };
        self.send(now, client, (node, Sent::Leave), request, SendOptions::default());
    }
}
