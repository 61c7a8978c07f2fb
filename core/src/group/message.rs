//! What goes into a coordinator and what comes out of it.

use bytes::Bytes;

use crate::coordinator::{Append, RequestId};
use crate::protocol::KafkaString;
use crate::protocol::messages::consumer_group_describe_response;
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::DescribedGroup;
use crate::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use crate::protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use crate::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, SyncGroupRequest,
    SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

/// Who asks, and in which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestContext {
    /// Version of the API; the answer is ready to be encoded in it.
    pub version: i16,
    /// Client id of the request header; null is empty.
    pub client_id: KafkaString,
    /// Address as Kafka shows it, `/127.0.0.1`.
    pub client_host: KafkaString,
    /// 128 random bits, for the id of a new member.
    pub random: u128,
}

/// A request to the coordinator of its group.
///
/// Before it comes here the caller has checked what the client may do, and that topics and partitions exist: what is
/// unknown or forbidden is answered by the caller and taken out. Where a version names topics by id (OffsetCommit and
/// OffsetFetch 10), the caller has filled in the names beside the ids; and for OffsetCommit in every version the ids
/// beside the names, since they are stored with the offsets.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Key 11. Waits for the other members.
    JoinGroup(JoinGroupRequest),
    /// Key 14. Waits for the leader's assignment.
    SyncGroup(SyncGroupRequest),
    /// Key 12.
    Heartbeat(HeartbeatRequest),
    /// Key 13.
    LeaveGroup(LeaveGroupRequest),
    /// Key 8. Each topic has both name and id.
    OffsetCommit(OffsetCommitRequest),
    /// Key 28. The caller has made sure that the partition takes part in the transaction
    /// ([`Claim`](crate::coordinator::Claim)): the coordinator does not wait, and others need not wait for it.
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// Key 9, one group of it; see [`offset_fetch_groups`](super::offset_fetch_groups). In version 10 each topic has
    /// both name and id.
    OffsetFetch {
        /// The group, and which of its offsets; no topics are all.
        group: OffsetFetchRequestGroup,
        /// Wait for commits that are on their way, and say where a transaction is open (KIP-447).
        require_stable: bool,
    },
    /// Key 47.
    OffsetDelete(OffsetDeleteRequest),
    /// Key 15, one group of it.
    DescribeGroup(KafkaString),
    /// Key 16, asked of every coordinator. Empty filters let everything through.
    ListGroups {
        /// States, in any case.
        states: Vec<KafkaString>,
        /// Types, in any case.
        types: Vec<KafkaString>,
    },
    /// Key 42, one group of it.
    DeleteGroup(KafkaString),
    /// Key 68.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Key 69, one group of it.
    DescribeConsumerGroup(KafkaString),
}

/// The answer to the [`Request`] of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Key 11.
    JoinGroup(JoinGroupResponse),
    /// Key 14.
    SyncGroup(SyncGroupResponse),
    /// Key 12.
    Heartbeat(HeartbeatResponse),
    /// Key 13.
    LeaveGroup(LeaveGroupResponse),
    /// Key 8. Topics have both name and id.
    OffsetCommit(OffsetCommitResponse),
    /// Key 28.
    TxnOffsetCommit(TxnOffsetCommitResponse),
    /// Key 9, one group of it; see [`offset_fetch_response`](super::offset_fetch_response). Where all topics were asked
    /// for they have their names and no id, which the caller adds in version 10.
    OffsetFetch(OffsetFetchResponseGroup),
    /// Key 47.
    OffsetDelete(OffsetDeleteResponse),
    /// Key 15, one group of it, without authorized operations.
    DescribeGroup(DescribedGroup),
    /// Key 16, what this coordinator has. An error of one coordinator is that of the whole answer.
    ListGroups(ListGroupsResponse),
    /// Key 42, one group of it.
    DeleteGroup(DeletableGroupResult),
    /// Key 68.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    /// Key 69, one group of it, without authorized operations.
    DescribeConsumerGroup(consumer_group_describe_response::DescribedGroup),
}

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append this to the partition, in the order of these effects, and tell
    /// [`on_append`](super::GroupCoordinator::on_append) what became of it.
    Append(Append),
    /// Give this answer.
    Answer(RequestId, Answer),
}

/// A copy of bytes that does not keep the frame alive in which they came.
pub(super) fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// A copy of text that does not keep the frame alive in which it came.
pub(super) fn detached_text(text: &str) -> KafkaString {
    if text.is_empty() { KafkaString::EMPTY } else { KafkaString::copied(text) }
}

/// The beginning of a text, at most `bytes_max` long.
pub(super) fn beginning(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
