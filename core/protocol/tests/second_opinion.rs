//! A second opinion on the codec: the `kafka-protocol` crate, which was generated from Kafka's definitions by others.
//!
//! It decodes what we encode, encodes it again, and the bytes must be the same; what it makes of them must mean to us
//! what we meant. It knows less than we do: only versions that both know are compared. LeaderChangeMessage and
//! VotersRecord are left out, because it mixes up the voters of the two.

use bytes::{Bytes, BytesMut};
use corelane_protocol::samples::{Sample, Source, decode_all, encode};
use corelane_protocol::{Message, messages, records};
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};

const SAMPLES_PER_VERSION: u64 = 20;

/// Compares one message in all versions that both know, and says how many those are.
fn compare<Ours: Message + Sample, Theirs: TheirMessage + Encodable + Decodable>() -> usize {
    let mut versions = 0;
    for version in Ours::VERSIONS.filter(|version| (Theirs::VERSIONS.min..=Theirs::VERSIONS.max).contains(version)) {
        versions += 1;
        for number in 0..SAMPLES_PER_VERSION {
            let value = Ours::sample(&mut Source::of_case(Ours::NAME, version, number), version);
            let bytes = encode(&value, version);
            let place = format!("{} version {version}, {value:?}", Ours::NAME);

            let mut rest = bytes.clone();
            let theirs = Theirs::decode(&mut rest, version).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert!(rest.is_empty(), "{place}: they leave {} bytes", rest.len());
            let mut again = BytesMut::new();
            theirs.encode(&mut again, version).unwrap_or_else(|error| panic!("{place}: {error}"));
            let again: Bytes = again.freeze();
            assert_eq!(again, bytes, "{place}");
            assert_eq!(decode_all::<Ours>(again, version), Ok(value));
        }
    }
    versions
}

/// Compares all messages of these names.
macro_rules! compare_all {
    ($($root:ident: $($name:ident)*;)*) => {
        [$($((stringify!($name), compare::<$root::$name, kafka_protocol::messages::$name>())),*),*]
    };
}

#[test]
fn the_kafka_protocol_crate_reads_what_we_write_and_writes_the_same() {
    let compared = compare_all! {
        messages:
        AddOffsetsToTxnRequest AddOffsetsToTxnResponse AddPartitionsToTxnRequest AddPartitionsToTxnResponse
        AddRaftVoterRequest AddRaftVoterResponse AllocateProducerIdsRequest AllocateProducerIdsResponse
        AlterClientQuotasRequest AlterClientQuotasResponse AlterConfigsRequest AlterConfigsResponse
        AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse AlterPartitionRequest
        AlterPartitionResponse AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse
        AlterShareGroupOffsetsRequest AlterShareGroupOffsetsResponse AlterUserScramCredentialsRequest
        AlterUserScramCredentialsResponse ApiVersionsRequest ApiVersionsResponse AssignReplicasToDirsRequest
        AssignReplicasToDirsResponse BeginQuorumEpochRequest BeginQuorumEpochResponse BrokerHeartbeatRequest
        BrokerHeartbeatResponse BrokerRegistrationRequest BrokerRegistrationResponse
        ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse ConsumerGroupHeartbeatRequest
        ConsumerGroupHeartbeatResponse ControllerRegistrationRequest ControllerRegistrationResponse
        CreateAclsRequest CreateAclsResponse CreateDelegationTokenRequest CreateDelegationTokenResponse
        CreatePartitionsRequest CreatePartitionsResponse CreateTopicsRequest CreateTopicsResponse
        DeleteAclsRequest DeleteAclsResponse DeleteGroupsRequest DeleteGroupsResponse DeleteRecordsRequest
        DeleteRecordsResponse DeleteShareGroupOffsetsRequest DeleteShareGroupOffsetsResponse
        DeleteShareGroupStateRequest DeleteShareGroupStateResponse DeleteTopicsRequest DeleteTopicsResponse
        DescribeAclsRequest DescribeAclsResponse DescribeClientQuotasRequest DescribeClientQuotasResponse
        DescribeClusterRequest DescribeClusterResponse DescribeConfigsRequest DescribeConfigsResponse
        DescribeDelegationTokenRequest DescribeDelegationTokenResponse DescribeGroupsRequest
        DescribeGroupsResponse DescribeLogDirsRequest DescribeLogDirsResponse DescribeProducersRequest
        DescribeProducersResponse DescribeQuorumRequest DescribeQuorumResponse
        DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse DescribeTopicPartitionsRequest
        DescribeTopicPartitionsResponse DescribeTransactionsRequest DescribeTransactionsResponse
        DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse ElectLeadersRequest
        ElectLeadersResponse EndQuorumEpochRequest EndQuorumEpochResponse EndTxnRequest EndTxnResponse
        EnvelopeRequest EnvelopeResponse ExpireDelegationTokenRequest ExpireDelegationTokenResponse
        FetchRequest FetchResponse FetchSnapshotRequest FetchSnapshotResponse FindCoordinatorRequest
        FindCoordinatorResponse GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse
        HeartbeatRequest HeartbeatResponse IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
        InitProducerIdRequest InitProducerIdResponse InitializeShareGroupStateRequest
        InitializeShareGroupStateResponse JoinGroupRequest JoinGroupResponse LeaveGroupRequest
        LeaveGroupResponse ListConfigResourcesRequest ListConfigResourcesResponse ListGroupsRequest
        ListGroupsResponse ListOffsetsRequest ListOffsetsResponse ListPartitionReassignmentsRequest
        ListPartitionReassignmentsResponse ListTransactionsRequest ListTransactionsResponse MetadataRequest
        MetadataResponse OffsetCommitRequest OffsetCommitResponse OffsetDeleteRequest OffsetDeleteResponse
        OffsetFetchRequest OffsetFetchResponse OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
        ProduceRequest ProduceResponse PushTelemetryRequest PushTelemetryResponse ReadShareGroupStateRequest
        ReadShareGroupStateResponse ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse
        RemoveRaftVoterRequest RemoveRaftVoterResponse RenewDelegationTokenRequest
        RenewDelegationTokenResponse SaslAuthenticateRequest SaslAuthenticateResponse SaslHandshakeRequest
        SaslHandshakeResponse ShareAcknowledgeRequest ShareAcknowledgeResponse ShareFetchRequest
        ShareFetchResponse ShareGroupDescribeRequest ShareGroupDescribeResponse ShareGroupHeartbeatRequest
        ShareGroupHeartbeatResponse SyncGroupRequest SyncGroupResponse TxnOffsetCommitRequest
        TxnOffsetCommitResponse UnregisterBrokerRequest UnregisterBrokerResponse UpdateFeaturesRequest
        UpdateFeaturesResponse UpdateRaftVoterRequest UpdateRaftVoterResponse VoteRequest VoteResponse
        WriteShareGroupStateRequest WriteShareGroupStateResponse WriteTxnMarkersRequest
        WriteTxnMarkersResponse
        RequestHeader ResponseHeader;
        records:
        ConsumerProtocolAssignment ConsumerProtocolSubscription EndTxnMarker KRaftVersionRecord
        SnapshotFooterRecord SnapshotHeaderRecord;
    };
    for (name, versions) in compared {
        assert!(versions > 0, "{name}: no version in common");
    }
}
