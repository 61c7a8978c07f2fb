//! The requests that clients send, one file an API key: decode, ask the owners, encode.
//!
//! [`SERVED`] is what ApiVersions advertises and what is accepted: a version is listed when every field of it acts.
//! Whatever else comes is answered as Kafka answers it, with a closed connection.

mod acls;
mod by_owner;
mod coordinator;
mod described;
mod k00_produce;
mod k01_down_conversion;
mod k01_fetch;
mod k02_list_offsets;
mod k03_metadata;
mod k08_offset_commit;
mod k09_offset_fetch;
mod k10_find_coordinator;
mod k11_join_group;
mod k12_heartbeat;
mod k13_leave_group;
mod k14_sync_group;
mod k15_describe_groups;
mod k16_list_groups;
mod k18_api_versions;
mod k19_create_topics;
mod k20_delete_topics;
mod k21_delete_records;
mod k22_init_producer_id;
mod k23_offset_for_leader_epoch;
mod k24_add_partitions_to_txn;
mod k25_add_offsets_to_txn;
mod k26_end_txn;
mod k27_write_txn_markers;
mod k28_txn_offset_commit;
mod k29_describe_acls;
mod k30_create_acls;
mod k31_delete_acls;
mod k32_describe_configs;
mod k33_alter_configs;
mod k34_alter_replica_log_dirs;
mod k35_describe_log_dirs;
mod k37_create_partitions;
mod k42_delete_groups;
mod k43_elect_leaders;
mod k44_incremental_alter_configs;
mod k45_alter_partition_reassignments;
mod k46_list_partition_reassignments;
mod k47_offset_delete;
mod k48_describe_client_quotas;
mod k55_describe_quorum;
mod k57_update_features;
mod k60_describe_cluster;
mod k61_describe_producers;
mod k64_unregister_broker;
mod k65_describe_transactions;
mod k66_list_transactions;
mod k68_consumer_group_heartbeat;
mod k69_consumer_group_describe;
mod k74_list_config_resources;
mod k75_describe_topic_partitions;
mod transactions;

use std::ops::RangeInclusive;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::protocol::messages::{RequestHeader, ResponseHeader};
use corelane_core::protocol::wire::{DecodeError, EncodeError, KafkaString, Reader, Writer};
use corelane_core::protocol::{ApiKey, Message};

use crate::answers::{Answer, Piece};
use crate::connection::Peer;
use crate::hop::Origin;
use crate::shard::Shard;
use crate::sys::Sys;

/// The requests that are served, and in which versions.
pub const SERVED: &[(ApiKey, RangeInclusive<i16>)] = &[
    // Where Kafka 4 begins later (KIP-896), these begin where Kafka 3.9 does.
    (ApiKey::Produce, 0..=13),
    (ApiKey::Fetch, 0..=18),
    (ApiKey::ListOffsets, 0..=11),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::OffsetCommit, 1..=10),
    (ApiKey::OffsetFetch, 1..=10),
    (ApiKey::FindCoordinator, 0..=6),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::SyncGroup, 0..=5),
    (ApiKey::DescribeGroups, 0..=6),
    (ApiKey::ListGroups, 0..=5),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 0..=7),
    (ApiKey::DeleteTopics, 0..=6),
    (ApiKey::DeleteRecords, 0..=2),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 0..=4),
    // What brokers ask each other from version 4 on is asked within this one.
    (ApiKey::AddPartitionsToTxn, 0..=3),
    (ApiKey::AddOffsetsToTxn, 0..=4),
    (ApiKey::EndTxn, 0..=5),
    (ApiKey::WriteTxnMarkers, 1..=2),
    (ApiKey::TxnOffsetCommit, 0..=5),
    (ApiKey::DescribeAcls, 0..=3),
    (ApiKey::CreateAcls, 0..=3),
    (ApiKey::DeleteAcls, 0..=3),
    (ApiKey::DescribeConfigs, 0..=4),
    (ApiKey::AlterConfigs, 0..=2),
    (ApiKey::AlterReplicaLogDirs, 0..=2),
    (ApiKey::DescribeLogDirs, 0..=5),
    (ApiKey::CreatePartitions, 0..=3),
    (ApiKey::DeleteGroups, 0..=2),
    (ApiKey::ElectLeaders, 0..=2),
    (ApiKey::IncrementalAlterConfigs, 0..=1),
    (ApiKey::AlterPartitionReassignments, 0..=1),
    (ApiKey::ListPartitionReassignments, 0..=0),
    (ApiKey::OffsetDelete, 0..=0),
    (ApiKey::DescribeClientQuotas, 0..=1),
    (ApiKey::DescribeQuorum, 0..=2),
    (ApiKey::UpdateFeatures, 0..=2),
    (ApiKey::DescribeCluster, 0..=2),
    (ApiKey::DescribeProducers, 0..=0),
    (ApiKey::UnregisterBroker, 0..=0),
    (ApiKey::DescribeTransactions, 0..=0),
    (ApiKey::ListTransactions, 0..=2),
    (ApiKey::ConsumerGroupHeartbeat, 0..=1),
    (ApiKey::ConsumerGroupDescribe, 0..=1),
    (ApiKey::ListConfigResources, 0..=1),
    (ApiKey::DescribeTopicPartitions, 0..=0),
];

/// One request, its header taken off.
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<KafkaString>,
    pub(crate) origin: Origin,
    /// Who asked: what waits for something to happen need not wait when nobody is there for the answer.
    pub(crate) peer: Rc<Peer>,
    body: Reader,
}

impl Request {
    /// Takes the header off a frame.
    ///
    /// # Errors
    /// Why the connection must be closed: there is no answer to a request whose format is unknown.
    pub(crate) fn parse(frame: Bytes, origin: Origin, peer: &Rc<Peer>) -> Result<Self, String> {
        let mut peek = Reader::new(frame.clone());
        let malformed = |error: DecodeError| format!("malformed request header: {error}");
        let number = peek.field("request_api_key").i16().map_err(malformed)?;
        let version = peek.field("request_api_version").i16().map_err(malformed)?;
        let correlation_id = peek.field("correlation_id").i32().map_err(malformed)?;
        let key = ApiKey::from_i16(number).ok_or_else(|| format!("unknown api key {number}"))?;
        let (_, served) = SERVED
            .iter()
            .find(|(served, _)| *served == key)
            .ok_or_else(|| format!("{} ({number}) is not served", key.name()))?;
        let refused = !served.contains(&version);
        if refused && key == ApiKey::ApiVersions {
            // The one request that is answered in a version that is not served; its body is not looked at.
            let body = Reader::new(Bytes::new());
            return Ok(Self { key, version, correlation_id, client_id: None, origin, peer: Rc::clone(peer), body });
        }
        if refused {
            return Err(format!("{} version {version} is not served, only {served:?}", key.name()));
        }
        let mut body = Reader::new(frame);
        let header = RequestHeader::decode(&mut body, key.request_header_version(version)).map_err(malformed)?;
        Ok(Self { key, version, correlation_id, client_id: header.client_id, origin, peer: Rc::clone(peer), body })
    }

    /// Decodes the body.
    fn decode<M: Message>(&self) -> Result<M, Broken> {
        M::decode(&mut self.body.clone(), self.version).map_err(Broken::Request)
    }

    /// Encodes the answer.
    fn answer<F, M: Message>(&self, message: &M) -> Result<Answer<F>, Broken> {
        self.answer_in(self.version, message)
    }

    /// Encodes the answer in a version that may be another than the request's.
    fn answer_in<F, M: Message>(&self, version: i16, message: &M) -> Result<Answer<F>, Broken> {
        let slices = self.encode(version, message)?.into_frame().map_err(Broken::Answer)?;
        Ok(Answer::Frame(slices.into_iter().map(Piece::Bytes).collect(), None))
    }

    /// Header and body of the answer, to be made a frame.
    fn encode<M: Message>(&self, version: i16, message: &M) -> Result<Writer, Broken> {
        let mut writer = Writer::frame();
        let header = ResponseHeader { correlation_id: self.correlation_id };
        header.encode(&mut writer, self.key.response_header_version(version)).map_err(Broken::Answer)?;
        message.encode(&mut writer, version).map_err(Broken::Answer)?;
        Ok(writer)
    }
}

/// Why there is no answer; the connection is closed.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The client's fault.
    Request(DecodeError),
    /// Ours.
    Answer(EncodeError),
}

/// Isolation level of a reader that wants committed transactions only.
const READ_COMMITTED: i8 = 1;

type Served<S> = Result<Answer<<S as Sys>::File>, Broken>;

/// Serves one request.
pub(crate) async fn serve<S: Sys>(shard: Rc<Shard<S>>, request: Request) -> Answer<S::File> {
    let request = &request;
    let served: Served<S> = match request.key {
        ApiKey::Produce => k00_produce::serve(&shard, request).await,
        ApiKey::Fetch => k01_fetch::serve(&shard, request).await,
        ApiKey::ListOffsets => k02_list_offsets::serve(&shard, request).await,
        ApiKey::Metadata => k03_metadata::serve(&shard, request).await,
        ApiKey::OffsetCommit => k08_offset_commit::serve(&shard, request).await,
        ApiKey::OffsetFetch => k09_offset_fetch::serve(&shard, request).await,
        ApiKey::FindCoordinator => k10_find_coordinator::serve(&shard, request).await,
        ApiKey::JoinGroup => k11_join_group::serve(&shard, request).await,
        ApiKey::Heartbeat => k12_heartbeat::serve(&shard, request).await,
        ApiKey::LeaveGroup => k13_leave_group::serve(&shard, request).await,
        ApiKey::SyncGroup => k14_sync_group::serve(&shard, request).await,
        ApiKey::DescribeGroups => k15_describe_groups::serve(&shard, request).await,
        ApiKey::ListGroups => k16_list_groups::serve(&shard, request).await,
        ApiKey::ApiVersions => k18_api_versions::serve(&shard, request),
        ApiKey::CreateTopics => k19_create_topics::serve(&shard, request).await,
        ApiKey::DeleteTopics => k20_delete_topics::serve(&shard, request).await,
        ApiKey::DeleteRecords => k21_delete_records::serve(&shard, request).await,
        ApiKey::InitProducerId => k22_init_producer_id::serve(&shard, request).await,
        ApiKey::OffsetForLeaderEpoch => k23_offset_for_leader_epoch::serve(&shard, request).await,
        ApiKey::AddPartitionsToTxn => k24_add_partitions_to_txn::serve(&shard, request).await,
        ApiKey::AddOffsetsToTxn => k25_add_offsets_to_txn::serve(&shard, request).await,
        ApiKey::EndTxn => k26_end_txn::serve(&shard, request).await,
        ApiKey::WriteTxnMarkers => k27_write_txn_markers::serve(&shard, request).await,
        ApiKey::TxnOffsetCommit => k28_txn_offset_commit::serve(&shard, request).await,
        ApiKey::DescribeAcls => k29_describe_acls::serve::<S>(request),
        ApiKey::CreateAcls => k30_create_acls::serve::<S>(request),
        ApiKey::DeleteAcls => k31_delete_acls::serve::<S>(request),
        ApiKey::DescribeConfigs => k32_describe_configs::serve(&shard, request),
        ApiKey::AlterConfigs => k33_alter_configs::serve(&shard, request).await,
        ApiKey::AlterReplicaLogDirs => k34_alter_replica_log_dirs::serve(&shard, request),
        ApiKey::DescribeLogDirs => k35_describe_log_dirs::serve(&shard, request).await,
        ApiKey::CreatePartitions => k37_create_partitions::serve(&shard, request).await,
        ApiKey::DeleteGroups => k42_delete_groups::serve(&shard, request).await,
        ApiKey::ElectLeaders => k43_elect_leaders::serve(&shard, request),
        ApiKey::IncrementalAlterConfigs => k44_incremental_alter_configs::serve(&shard, request).await,
        ApiKey::AlterPartitionReassignments => k45_alter_partition_reassignments::serve(&shard, request),
        ApiKey::ListPartitionReassignments => k46_list_partition_reassignments::serve(&shard, request),
        ApiKey::OffsetDelete => k47_offset_delete::serve(&shard, request).await,
        ApiKey::DescribeClientQuotas => k48_describe_client_quotas::serve(&shard, request),
        ApiKey::DescribeQuorum => k55_describe_quorum::serve(&shard, request),
        ApiKey::UpdateFeatures => k57_update_features::serve(&shard, request).await,
        ApiKey::DescribeCluster => k60_describe_cluster::serve(&shard, request),
        ApiKey::DescribeProducers => k61_describe_producers::serve(&shard, request).await,
        ApiKey::UnregisterBroker => k64_unregister_broker::serve(&shard, request),
        ApiKey::DescribeTransactions => k65_describe_transactions::serve(&shard, request).await,
        ApiKey::ListTransactions => k66_list_transactions::serve(&shard, request).await,
        ApiKey::ConsumerGroupHeartbeat => k68_consumer_group_heartbeat::serve(&shard, request).await,
        ApiKey::ConsumerGroupDescribe => k69_consumer_group_describe::serve(&shard, request).await,
        ApiKey::ListConfigResources => k74_list_config_resources::serve(&shard, request),
        ApiKey::DescribeTopicPartitions => k75_describe_topic_partitions::serve(&shard, request),
        other => unreachable!("{} was refused when its header was read", other.name()),
    };
    served.unwrap_or_else(|broken| {
        let (api, version) = (request.key.name(), request.version);
        let client = request.client_id.as_deref().unwrap_or_default();
        match broken {
            Broken::Request(error) => tracing::info!(api, version, client, %error, "malformed request"),
            Broken::Answer(error) => tracing::error!(api, version, client, %error, "answer could not be encoded"),
        }
        Answer::Close
    })
}
