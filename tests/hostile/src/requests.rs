//! A well-formed request of each version that the broker serves, with values that a seed draws.

use std::ops::RangeInclusive;

use bytes::Bytes;
use corelane_core::base::{Offset, Timestamp};
use corelane_core::protocol::messages::{
    ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeTopicPartitionsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, create_partitions_request, create_topics_request,
    delete_topics_request, describe_configs_request, describe_topic_partitions_request, fetch_request,
    list_offsets_request, metadata_request, offset_for_leader_epoch_request, produce_request,
};
use corelane_core::protocol::wire::{DecodeError, KafkaString, Reader, Writer};
use corelane_core::protocol::{ApiKey, Message};
use corelane_core::test_support::{Random, random_batch, random_options};

/// The APIs and versions that these tests cover. The conformance test holds it against what the broker advertises.
pub const COVERED: &[(ApiKey, RangeInclusive<i16>)] = &[
    (ApiKey::Produce, 0..=13),
    (ApiKey::Fetch, 4..=18),
    (ApiKey::ListOffsets, 1..=11),
    (ApiKey::Metadata, 0..=13),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 2..=7),
    (ApiKey::DeleteTopics, 1..=6),
    (ApiKey::InitProducerId, 0..=5),
    (ApiKey::OffsetForLeaderEpoch, 2..=4),
    (ApiKey::DescribeConfigs, 1..=4),
    (ApiKey::CreatePartitions, 0..=3),
    (ApiKey::DescribeCluster, 0..=2),
    (ApiKey::DescribeTopicPartitions, 0..=0),
];

/// Lowest version of Produce whose body the broker reads; the ones below are advertised and refused, as by Kafka.
pub const PRODUCE_VERSION_MIN: i16 = 3;

/// Every API and version whose body the broker reads.
pub fn parsed() -> impl Iterator<Item = (ApiKey, i16)> {
    let each = COVERED.iter().flat_map(|(key, versions)| versions.clone().map(|version| (*key, version)));
    each.filter(|(key, version)| *key != ApiKey::Produce || *version >= PRODUCE_VERSION_MIN)
}

/// Decodes the body of a request.
///
/// # Errors
/// It is malformed.
///
/// # Panics
/// If the API is not covered here.
pub fn decode(key: ApiKey, version: i16, body: Bytes) -> Result<(), DecodeError> {
    fn as_type<M: Message>(version: i16, body: Bytes) -> Result<(), DecodeError> {
        M::decode(&mut Reader::new(body), version).map(drop)
    }
    match key {
        ApiKey::Produce => as_type::<ProduceRequest>(version, body),
        ApiKey::Fetch => as_type::<FetchRequest>(version, body),
        ApiKey::ListOffsets => as_type::<ListOffsetsRequest>(version, body),
        ApiKey::Metadata => as_type::<MetadataRequest>(version, body),
        ApiKey::ApiVersions => as_type::<ApiVersionsRequest>(version, body),
        ApiKey::CreateTopics => as_type::<CreateTopicsRequest>(version, body),
        ApiKey::DeleteTopics => as_type::<DeleteTopicsRequest>(version, body),
        ApiKey::InitProducerId => as_type::<InitProducerIdRequest>(version, body),
        ApiKey::OffsetForLeaderEpoch => as_type::<OffsetForLeaderEpochRequest>(version, body),
        ApiKey::DescribeConfigs => as_type::<DescribeConfigsRequest>(version, body),
        ApiKey::CreatePartitions => as_type::<CreatePartitionsRequest>(version, body),
        ApiKey::DescribeCluster => as_type::<DescribeClusterRequest>(version, body),
        ApiKey::DescribeTopicPartitions => as_type::<DescribeTopicPartitionsRequest>(version, body),
        other => panic!("{} has no decoder here", other.name()),
    }
}

/// The body of a well-formed request.
///
/// # Panics
/// If the API is not covered here.
pub fn sample(key: ApiKey, version: i16, random: &mut Random) -> Bytes {
    match key {
        ApiKey::Produce => encode(version, &produce(random)),
        ApiKey::Fetch => encode(version, &fetch(version, random)),
        ApiKey::ListOffsets => encode(version, &list_offsets(random)),
        ApiKey::Metadata => encode(version, &metadata(version, random)),
        ApiKey::ApiVersions => encode(
            version,
            &ApiVersionsRequest { client_software_name: text(random), client_software_version: text(random) },
        ),
        ApiKey::CreateTopics => encode(version, &create_topics(random)),
        ApiKey::DeleteTopics => encode(version, &delete_topics(version, random)),
        ApiKey::InitProducerId => encode(
            version,
            &InitProducerIdRequest {
                transactional_id: nullable(random),
                transaction_timeout_ms: number(random),
                ..Default::default()
            },
        ),
        ApiKey::OffsetForLeaderEpoch => encode(version, &offset_for_leader_epoch(random)),
        ApiKey::DescribeConfigs => encode(version, &describe_configs(random)),
        ApiKey::CreatePartitions => encode(version, &create_partitions(random)),
        ApiKey::DescribeCluster => encode(version, &DescribeClusterRequest::default()),
        ApiKey::DescribeTopicPartitions => encode(version, &describe_topic_partitions(random)),
        other => panic!("{} has no sample here", other.name()),
    }
}

fn encode<M: Message>(version: i16, message: &M) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("the version carries the request");
    writer.into_bytes()
}

fn text(random: &mut Random) -> KafkaString {
    String::from_utf8(random.bytes(12)).expect("letters").into()
}

fn nullable(random: &mut Random) -> Option<KafkaString> {
    (!random.once_in(3)).then(|| text(random))
}

fn number(random: &mut Random) -> i32 {
    *random.pick(&[0, 1, 2, 1_000, -1, i32::MAX, i32::MIN])
}

fn list<T>(random: &mut Random, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
    (0..random.below(4)).map(|_| make(random)).collect()
}

fn id(random: &mut Random) -> [u8; 16] {
    (u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())).to_be_bytes()
}

fn produce(random: &mut Random) -> ProduceRequest {
    ProduceRequest {
        transactional_id: nullable(random),
        acks: *random.pick(&[-1, 0, 1, 2]),
        timeout_ms: number(random),
        topic_data: list(random, |random| produce_request::TopicProduceData {
            name: text(random),
            topic_id: id(random),
            partition_data: list(random, |random| {
                let options = random_options(random, Offset(0));
                let batch = random_batch(random, options, 3, Timestamp(1_000));
                let records = (!random.once_in(4)).then(|| batch.bytes().clone());
                produce_request::PartitionProduceData { index: number(random), records }
            }),
        }),
    }
}

fn fetch(version: i16, random: &mut Random) -> FetchRequest {
    let with_sessions = version >= 7;
    FetchRequest {
        max_wait_ms: *random.pick(&[0, 1, -1, 1_000, i32::MIN]),
        min_bytes: number(random),
        max_bytes: number(random),
        session_id: if with_sessions { number(random) } else { 0 },
        topics: list(random, |random| fetch_request::FetchTopic {
            topic: text(random),
            topic_id: id(random),
            partitions: list(random, |random| fetch_request::FetchPartition {
                partition: number(random),
                fetch_offset: i64::from(number(random)),
                partition_max_bytes: number(random),
                ..Default::default()
            }),
        }),
        forgotten_topics_data: if with_sessions {
            list(random, |random| fetch_request::ForgottenTopic {
                topic: text(random),
                topic_id: id(random),
                partitions: list(random, number),
            })
        } else {
            Vec::new()
        },
        rack_id: text(random),
        ..Default::default()
    }
}

fn list_offsets(random: &mut Random) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: list(random, |random| list_offsets_request::ListOffsetsTopic {
            name: text(random),
            partitions: list(random, |random| list_offsets_request::ListOffsetsPartition {
                partition_index: number(random),
                timestamp: i64::from(number(random)),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

fn metadata(version: i16, random: &mut Random) -> MetadataRequest {
    let topics = list(random, |random| metadata_request::MetadataRequestTopic {
        topic_id: if version >= 10 { id(random) } else { [0; 16] },
        name: if version >= 10 { nullable(random) } else { Some(text(random)) },
    });
    MetadataRequest { topics: (version == 0 || !random.once_in(4)).then_some(topics), ..Default::default() }
}

fn create_topics(random: &mut Random) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics: list(random, |random| create_topics_request::CreatableTopic {
            name: text(random),
            num_partitions: number(random),
            replication_factor: 1,
            assignments: list(random, |random| create_topics_request::CreatableReplicaAssignment {
                partition_index: number(random),
                broker_ids: list(random, number),
            }),
            configs: list(random, |random| create_topics_request::CreatableTopicConfig {
                name: text(random),
                value: nullable(random),
            }),
        }),
        ..Default::default()
    }
}

fn delete_topics(version: i16, random: &mut Random) -> DeleteTopicsRequest {
    DeleteTopicsRequest {
        topics: if version >= 6 {
            list(random, |random| delete_topics_request::DeleteTopicState {
                name: nullable(random),
                topic_id: id(random),
            })
        } else {
            Vec::new()
        },
        topic_names: list(random, text),
        timeout_ms: number(random),
    }
}

fn offset_for_leader_epoch(random: &mut Random) -> OffsetForLeaderEpochRequest {
    OffsetForLeaderEpochRequest {
        topics: list(random, |random| offset_for_leader_epoch_request::OffsetForLeaderTopic {
            topic: text(random),
            partitions: list(random, |random| offset_for_leader_epoch_request::OffsetForLeaderPartition {
                partition: number(random),
                leader_epoch: number(random),
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

fn describe_configs(random: &mut Random) -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: list(random, |random| describe_configs_request::DescribeConfigsResource {
            resource_type: *random.pick(&[2, 4, 8, 32]),
            resource_name: text(random),
            configuration_keys: (!random.once_in(2)).then(|| list(random, text)),
        }),
        ..Default::default()
    }
}

fn create_partitions(random: &mut Random) -> CreatePartitionsRequest {
    CreatePartitionsRequest {
        topics: list(random, |random| create_partitions_request::CreatePartitionsTopic {
            name: text(random),
            count: number(random),
            assignments: (!random.once_in(2)).then(|| {
                list(random, |random| create_partitions_request::CreatePartitionsAssignment {
                    broker_ids: list(random, number),
                })
            }),
        }),
        ..Default::default()
    }
}

fn describe_topic_partitions(random: &mut Random) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: list(random, |random| describe_topic_partitions_request::TopicRequest { name: text(random) }),
        response_partition_limit: number(random),
        cursor: (!random.once_in(2)).then(|| describe_topic_partitions_request::Cursor {
            topic_name: text(random),
            partition_index: number(random),
        }),
    }
}
