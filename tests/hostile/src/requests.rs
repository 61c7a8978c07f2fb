//! A well-formed request of each version that the broker serves, with values that a seed draws.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use corelane_core::base::{Offset, Timestamp};
use corelane_core::protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest, create_topics_request,
    delete_topics_request, fetch_request, metadata_request, produce_request,
};
use corelane_core::protocol::wire::{DecodeError, KafkaString, Writer};
use corelane_core::protocol::{ApiKey, Message};
use corelane_core::test_support::{Random, random_batch, random_message_set, random_options};
use corelane_protocol::samples::{Codec, Source, codecs};
use corelane_server::SERVED;

/// Every API and version whose body the broker reads.
pub fn parsed() -> impl Iterator<Item = (ApiKey, i16)> {
    SERVED.iter().flat_map(|(key, versions)| versions.clone().map(|version| (*key, version)))
}

/// What can be done with the requests of an API, whatever they are.
fn codec(key: ApiKey) -> &'static Codec {
    static CODECS: LazyLock<BTreeMap<&str, Codec>> =
        LazyLock::new(|| codecs().into_iter().map(|codec| (codec.name, codec)).collect());
    CODECS.get(format!("{}Request", key.name()).as_str()).expect("every API has a request")
}

/// Decodes the body of a request.
///
/// # Errors
/// It is malformed.
pub fn decode(key: ApiKey, version: i16, body: Bytes) -> Result<(), DecodeError> {
    (codec(key).decode)(body, version)
}

/// The body of a well-formed request: for the APIs that handle records or wait, one that means something now and then.
pub fn sample(key: ApiKey, version: i16, random: &mut Random) -> Bytes {
    match key {
        ApiKey::Produce => encode(version, &produce(version, random)),
        ApiKey::Fetch => encode(version, &fetch(version, random)),
        ApiKey::Metadata => encode(version, &metadata(version, random)),
        ApiKey::CreateTopics => encode(version, &create_topics(random)),
        ApiKey::DeleteTopics => encode(version, &delete_topics(version, random)),
        key => {
            let mut source = Source::of_case(key.name(), version, random.next_u64());
            (codec(key).sample)(&mut source, version)
        }
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

fn produce(version: i16, random: &mut Random) -> ProduceRequest {
    ProduceRequest {
        transactional_id: if version >= 3 { nullable(random) } else { None },
        acks: *random.pick(&[-1, 0, 1, 2]),
        timeout_ms: number(random),
        topic_data: list(random, |random| produce_request::TopicProduceData {
            name: text(random),
            topic_id: id(random),
            partition_data: list(random, |random| {
                let records = if version >= 3 {
                    let options = random_options(random, Offset(0));
                    random_batch(random, options, 3, Timestamp(1_000)).bytes().clone()
                } else {
                    random_message_set(random).into()
                };
                let records = (!random.once_in(4)).then_some(records);
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
