//! What ApiVersions advertises is true: every key in every version, asked with a valid request, answers in that version
//! and means what Apache Kafka's answer means.

mod administration;
mod consumer_groups;
mod groups;
mod old;
mod topics;
mod transactions;

use std::collections::BTreeMap;

use bytes::Bytes;
use corelane_core::base::{Offset, Timestamp};
use corelane_core::protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DescribeClusterRequest, DescribeTopicPartitionsRequest, FetchRequest,
    InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    create_topics_request, describe_topic_partitions_request, fetch_request, fetch_response, list_offsets_request,
    metadata_request, metadata_response, offset_for_leader_epoch_request, produce_request,
};
use corelane_core::protocol::wire::KafkaString;
use corelane_core::protocol::{ApiKey, ErrorCode};
use corelane_core::record::legacy::{Format, MessageSet, down_convert};
use corelane_core::record::{Batch, BatchBuilder, BatchOptions};
use corelane_hostile::world::{Clients, with_broker};
use corelane_server::SERVED;
use corelane_simulation::client::Link;

/// About when the simulation's wall clock begins.
const WALL_MS: i64 = 1_750_000_000_000;
/// Kafka's way to say that operations were not asked for.
const NO_OPERATIONS: i32 = i32::MIN;
/// All that may be done with a topic: read, write, create, delete, alter, describe, and the same with its configs.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// All that may be done with a cluster.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Asks the broker for everything that it advertises.
#[test]
fn every_advertised_version_answers_as_it_should() {
    for shards in [1, 2] {
        with_broker(3, shards, |clients| async move {
            let advertised = advertised(&clients).await;
            let covered: BTreeMap<i16, (i16, i16)> =
                SERVED.iter().map(|(key, range)| (*key as i16, (*range.start(), *range.end()))).collect();
            assert_eq!(advertised, covered, "what is advertised and what is tested here");
            for (key, (min, max)) in advertised {
                let key = ApiKey::from_i16(key).expect("is known");
                for version in min..=max {
                    let link = clients.honest().await;
                    let asked = clients.within_ms(10_000, ask(&clients, key, version, link)).await;
                    assert!(asked.is_some(), "{} {version} is not answered", key.name());
                }
            }
        });
    }
}

async fn advertised(clients: &Clients) -> BTreeMap<i16, (i16, i16)> {
    let answer = clients.honest().await.call(0, &ApiVersionsRequest::default()).await.expect("is answered");
    assert_eq!(answer.error_code, 0);
    answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect()
}

/// One conversation about one API in one version.
async fn ask(clients: &Clients, key: ApiKey, version: i16, mut link: Link) {
    let link = &mut link;
    match key {
        ApiKey::Produce => produce(version, link).await,
        ApiKey::Fetch => fetch(version, link).await,
        ApiKey::ListOffsets if version == 0 => old::list_segments(link).await,
        ApiKey::ListOffsets => list_offsets(version, link).await,
        ApiKey::Metadata => metadata(version, link).await,
        ApiKey::ApiVersions => api_versions(version, link, &advertised(clients).await).await,
        ApiKey::CreateTopics => topics::create_topics(version, link).await,
        ApiKey::DeleteTopics => topics::delete_topics(version, link).await,
        ApiKey::InitProducerId => {
            init_producer_id(version, link).await;
            transactions::init_producer_id(version, link).await;
        }
        ApiKey::AddPartitionsToTxn => transactions::add_partitions(version, link).await,
        ApiKey::AddOffsetsToTxn => transactions::add_offsets(version, link).await,
        ApiKey::EndTxn => transactions::end_txn(version, link).await,
        ApiKey::WriteTxnMarkers => transactions::write_txn_markers(version, link).await,
        ApiKey::TxnOffsetCommit => transactions::txn_offset_commit(version, link).await,
        ApiKey::DescribeTransactions => transactions::describe_transactions(version, link).await,
        ApiKey::ListTransactions => transactions::list_transactions(version, link).await,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch(version, link).await,
        ApiKey::DescribeConfigs => topics::describe_configs(version, link).await,
        ApiKey::CreatePartitions => topics::create_partitions(version, link).await,
        ApiKey::DescribeCluster => describe_cluster(version, link).await,
        ApiKey::DescribeTopicPartitions => describe_topic_partitions(version, link).await,
        ApiKey::DeleteRecords => administration::delete_records(version, link).await,
        ApiKey::AlterConfigs => administration::alter_configs(version, link).await,
        ApiKey::IncrementalAlterConfigs => administration::incremental_alter_configs(version, link).await,
        ApiKey::AlterReplicaLogDirs => administration::alter_replica_log_dirs(version, link).await,
        ApiKey::DescribeLogDirs => administration::describe_log_dirs(version, link).await,
        ApiKey::ElectLeaders => administration::elect_leaders(version, link).await,
        ApiKey::AlterPartitionReassignments => administration::alter_partition_reassignments(version, link).await,
        ApiKey::ListPartitionReassignments => administration::list_partition_reassignments(version, link).await,
        ApiKey::DescribeClientQuotas => administration::describe_client_quotas(version, link).await,
        ApiKey::DescribeAcls => administration::describe_acls(version, link).await,
        ApiKey::CreateAcls => administration::create_acls(version, link).await,
        ApiKey::DeleteAcls => administration::delete_acls(version, link).await,
        ApiKey::DescribeQuorum => administration::describe_quorum(version, link).await,
        ApiKey::UpdateFeatures => administration::update_features(version, link).await,
        ApiKey::DescribeProducers => administration::describe_producers(version, link).await,
        ApiKey::UnregisterBroker => administration::unregister_broker(version, link).await,
        ApiKey::ListConfigResources => administration::list_config_resources(version, link).await,
        ApiKey::FindCoordinator => groups::find_coordinator(version, link).await,
        ApiKey::JoinGroup => groups::join_group(version, link).await,
        ApiKey::SyncGroup => groups::sync_group(version, link).await,
        ApiKey::Heartbeat => groups::heartbeat(version, link).await,
        ApiKey::LeaveGroup => groups::leave_group(version, link).await,
        ApiKey::OffsetCommit => groups::offset_commit(version, link).await,
        ApiKey::OffsetFetch => groups::offset_fetch(version, link).await,
        ApiKey::DescribeGroups => groups::describe_groups(version, link).await,
        ApiKey::ListGroups => groups::list_groups(version, link).await,
        ApiKey::DeleteGroups => groups::delete_groups(version, link).await,
        ApiKey::OffsetDelete => groups::offset_delete(version, link).await,
        ApiKey::ConsumerGroupHeartbeat => consumer_groups::heartbeat(version, link).await,
        ApiKey::ConsumerGroupDescribe => consumer_groups::describe(version, link).await,
        other => panic!("{} is advertised and nothing here asks for it", other.name()),
    }
}

// --- What the conversations need ---------------------------------------------------------------------------------

fn text(text: &str) -> KafkaString {
    text.to_owned().into()
}

/// A topic, as it was made.
struct Topic {
    name: String,
    id: [u8; 16],
}

async fn create(link: &mut Link, name: String, partitions: i32) -> Topic {
    let request = CreateTopicsRequest { topics: vec![wanted_topic(&name, partitions)], ..Default::default() };
    let answer = link.call(7, &request).await.expect("is answered");
    assert_eq!(answer.topics[0].error_code, 0, "{name}: {:?}", answer.topics[0].error_message);
    assert_ne!(answer.topics[0].topic_id, [0; 16]);
    Topic { name, id: answer.topics[0].topic_id }
}

fn wanted_topic(name: &str, partitions: i32) -> create_topics_request::CreatableTopic {
    let config = ("max.message.bytes", "1000000");
    create_topics_request::CreatableTopic {
        name: text(name),
        num_partitions: partitions,
        replication_factor: 1,
        configs: vec![create_topics_request::CreatableTopicConfig {
            name: config.0.into(),
            value: Some(config.1.into()),
        }],
        ..Default::default()
    }
}

/// Three records, a second apart.
fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for number in 0..3 {
        builder.append(Timestamp(WALL_MS + number * 1_000), Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().expect("can be built").bytes().clone()
}

/// The same as a client of a version of Produce sends it.
fn sent(version: i16, value: &str) -> Bytes {
    let format = match version {
        0 | 1 => Format::V0,
        2 => Format::V1,
        _ => return batch(value),
    };
    down_convert(&batch(value), format, Offset(0), 0).expect("can be converted").messages.into()
}

fn produce_request(version: i16, topic: &Topic, index: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let by_id = version >= 13;
    ProduceRequest {
        acks,
        timeout_ms: 5_000,
        topic_data: vec![produce_request::TopicProduceData {
            name: if by_id { "".into() } else { text(&topic.name) },
            topic_id: if by_id { topic.id } else { [0; 16] },
            partition_data: vec![produce_request::PartitionProduceData { index, records: Some(records) }],
        }],
        ..Default::default()
    }
}

/// Appends a batch in the newest version; its base offset.
async fn append(link: &mut Link, topic: &Topic, index: i32, value: &str) -> i64 {
    let answer = link.call(13, &produce_request(13, topic, index, batch(value), -1)).await.expect("is answered");
    let part = &answer.responses[0].partition_responses[0];
    assert_eq!(part.error_code, 0);
    part.base_offset
}

fn fetch_request(version: i16, topic: &Topic, index: i32, offset: i64) -> FetchRequest {
    let by_id = version >= 13;
    let partition = fetch_request::FetchPartition {
        partition: index,
        fetch_offset: offset,
        partition_max_bytes: 1024 * 1024,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 50,
        min_bytes: 1,
        topics: vec![fetch_request::FetchTopic {
            topic: if by_id { "".into() } else { text(&topic.name) },
            topic_id: if by_id { topic.id } else { [0; 16] },
            partitions: vec![partition],
        }],
        ..Default::default()
    }
}

/// The only partition of an answer to a fetch in a version.
async fn fetch_one(
    link: &mut Link,
    version: i16,
    topic: &Topic,
    index: i32,
    offset: i64,
) -> fetch_response::PartitionData {
    let answer = link.call(version, &fetch_request(version, topic, index, offset)).await.expect("is answered");
    assert_eq!((answer.error_code, answer.responses.len()), (0, 1));
    let found = &answer.responses[0];
    if version >= 13 {
        assert_eq!(found.topic_id, topic.id);
    } else {
        assert_eq!(*found.topic, *topic.name);
    }
    assert_eq!(found.partitions.len(), 1);
    assert_eq!(found.partitions[0].partition_index, index);
    found.partitions[0].clone()
}

/// Values of the records of the first batch that a version of Fetch has read back, with its base offset.
fn read_back(version: i16, records: Option<Bytes>) -> (i64, Vec<String>) {
    let mut run = records.expect("records");
    if version <= 3 {
        let messages: Vec<_> = MessageSet::new(&run).map(|message| message.expect("a whole message")).collect();
        assert!(messages.iter().all(|message| message.magic == u8::from(version >= 2) && message.key == Some(b"key")));
        let values =
            messages.iter().take(3).map(|message| String::from_utf8(message.value.unwrap_or_default().to_vec()));
        return (messages[0].offset.0, values.map(|value| value.expect("text")).collect());
    }
    let batch = Batch::split_from(&mut run).expect("a whole batch");
    assert!(batch.is_crc_valid());
    let opened = batch.open(1 << 20).expect("opens");
    let values = batch.records(&opened).map(|record| {
        let value = record.expect("a record").value.expect("has a value");
        String::from_utf8(value.to_vec()).expect("text")
    });
    (batch.header().base_offset().0, values.collect())
}

// --- The data plane ----------------------------------------------------------------------------------------------

/// A batch is appended in this version, and every version of Fetch reads it back.
async fn produce(version: i16, link: &mut Link) {
    let topic = create(link, format!("produce-{version}"), 1).await;
    let values = ["all", "leader"];
    for (number, (value, acks)) in values.into_iter().zip([-1, 1]).enumerate() {
        let request = produce_request(version, &topic, 0, sent(version, value), acks);
        let answer = link.call(version, &request).await.expect("is answered");
        let found = &answer.responses[0];
        assert_eq!((*found.name == *topic.name, found.topic_id == topic.id), (version < 13, version >= 13));
        let part = &found.partition_responses[0];
        let base_offset = i64::try_from(number).expect("is small") * 3;
        assert_eq!((part.index, part.error_code, part.base_offset), (0, 0, base_offset), "Produce {version}");
        assert_eq!(part.log_append_time_ms, -1, "the topic keeps the producer's timestamps");
        assert_eq!(part.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert!(part.record_errors.is_empty() && part.error_message.is_none());
    }
    // Without an answer: what is answered next is the next request.
    link_without_answer(link, version, &topic).await;
    for fetch_version in 0..=18 {
        for (offset, value) in [(0, "all"), (3, "leader"), (6, "nobody")] {
            let part = fetch_one(link, fetch_version, &topic, 0, offset).await;
            assert_eq!(part.error_code, 0);
            let values = vec![value.to_owned(); 3];
            assert_eq!(read_back(fetch_version, part.records), (offset, values), "Fetch {fetch_version}");
        }
    }

    // Somewhere that does not exist, and something that is no batch.
    let nowhere = Topic { name: "nowhere".into(), id: [9; 16] };
    let unknown = if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let mut damaged = sent(version, "damaged").to_vec();
    *damaged.last_mut().expect("has bytes") ^= 1;
    let damaged = Bytes::from(damaged);
    for (topic, index, records, acks, code) in [
        (&nowhere, 0, sent(version, "lost"), -1, unknown),
        (&topic, 1, sent(version, "lost"), -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (&topic, 0, sent(version, "lost"), 2, ErrorCode::INVALID_REQUIRED_ACKS),
        (&topic, 0, damaged, -1, ErrorCode::CORRUPT_MESSAGE),
    ] {
        let request = produce_request(version, topic, index, records, acks);
        let answer = link.call(version, &request).await.expect("is answered");
        let part = &answer.responses[0].partition_responses[0];
        assert_eq!((ErrorCode(part.error_code), part.base_offset), (code, -1), "Produce {version}");
    }
}

/// Produces with acks=0, which nothing answers.
async fn link_without_answer(link: &mut Link, version: i16, topic: &Topic) {
    let request = produce_request(version, topic, 0, sent(version, "nobody"), 0);
    link.send_unanswered(version, &request).await.expect("is sent");
    assert_eq!(link.in_flight(), 0);
}

async fn fetch(version: i16, link: &mut Link) {
    let topic = create(link, format!("fetch-{version}"), 2).await;
    assert_eq!(append(link, &topic, 1, "first").await, 0);
    assert_eq!(append(link, &topic, 1, "second").await, 3);
    let part = fetch_one(link, version, &topic, 1, 3).await;
    let stable = if version >= 4 { 6 } else { -1 };
    assert_eq!((part.error_code, part.high_watermark, part.last_stable_offset), (0, 6, stable), "Fetch {version}");
    assert_eq!(part.log_start_offset, if version >= 5 { 0 } else { -1 });
    if version >= 4 {
        assert_eq!(part.aborted_transactions, None, "the reader did not ask for committed records");
    }
    assert_eq!(part.preferred_read_replica, -1);
    assert_eq!(read_back(version, part.records), (3, vec!["second".to_owned(); 3]));
    // The end is no error, and an offset in the middle brings the batch around it; messages are each by themselves.
    let part = fetch_one(link, version, &topic, 1, 6).await;
    assert_eq!((part.error_code, part.records.unwrap_or_default().len()), (0, 0));
    let part = fetch_one(link, version, &topic, 1, 4).await;
    assert_eq!(read_back(version, part.records).0, if version >= 4 { 3 } else { 4 });
    let part = fetch_one(link, version, &topic, 1, 7).await;
    assert_eq!(ErrorCode(part.error_code), ErrorCode::OFFSET_OUT_OF_RANGE);
    assert_eq!((part.high_watermark, part.last_stable_offset), (-1, -1), "unknown beside an error");
    let part = fetch_one(link, version, &topic, 2, 0).await;
    assert_eq!(ErrorCode(part.error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let nowhere = Topic { name: "nowhere".into(), id: [9; 16] };
    let part = fetch_one(link, version, &nowhere, 0, 0).await;
    let unknown = if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    assert_eq!(ErrorCode(part.error_code), unknown);

    // A reader of committed records gets the list of aborted transactions, which is empty.
    if version >= 4 {
        let request = FetchRequest { isolation_level: 1, ..fetch_request(version, &topic, 1, 0) };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(answer.responses[0].partitions[0].aborted_transactions, Some(Vec::new()));
    }
    if version >= 9 {
        let mut request = fetch_request(version, &topic, 1, 0);
        request.topics[0].partitions[0].current_leader_epoch = 99;
        let answer = link.call(version, &request).await.expect("is answered");
        let part = &answer.responses[0].partitions[0];
        assert_eq!(ErrorCode(part.error_code), ErrorCode::UNKNOWN_LEADER_EPOCH);
    }
    if version >= 7 {
        fetch_session(version, link, &topic).await;
    }
}

/// A session is opened, tells what is new only, and is closed.
async fn fetch_session(version: i16, link: &mut Link, topic: &Topic) {
    let opening = FetchRequest { session_epoch: 0, ..fetch_request(version, topic, 1, 6) };
    let answer = link.call(version, &opening).await.expect("is answered");
    let session_id = answer.session_id;
    assert_ne!(session_id, 0, "Fetch {version} opens a session");
    assert_eq!(answer.responses.len(), 1, "a full answer names every partition");
    let next = |epoch| FetchRequest {
        session_id,
        session_epoch: epoch,
        topics: Vec::new(),
        ..fetch_request(version, topic, 1, 6)
    };
    let answer = link.call(version, &next(1)).await.expect("is answered");
    assert_eq!((answer.error_code, answer.session_id, answer.responses.len()), (0, session_id, 0), "nothing is new");
    append(link, topic, 1, "new").await;
    let answer = link.call(version, &next(2)).await.expect("is answered");
    assert_eq!((answer.error_code, answer.responses.len()), (0, 1), "something is new");
    assert_eq!(read_back(version, answer.responses[0].partitions[0].records.clone()).0, 6);
    let answer = link.call(version, &next(9)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let answer = link.call(version, &next(-1)).await.expect("is answered");
    assert_eq!((answer.error_code, answer.session_id), (0, 0), "closed");
    let answer = link.call(version, &next(3)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

async fn list_offsets(version: i16, link: &mut Link) {
    let topic = create(link, format!("list-{version}"), 1).await;
    append(link, &topic, 0, "first").await;
    append(link, &topic, 0, "second").await;
    let epoch = if version >= 4 { 0 } else { -1 };
    let unsupported = (ErrorCode::UNSUPPORTED_VERSION, -1, -1, -1);
    let since = |first: i16, found| if version >= first { found } else { unsupported };
    // Two batches of the same three timestamps: the first record at or after a time is in the first one.
    for (timestamp, expected) in [
        (-1, (ErrorCode::NONE, -1, 6, epoch)),
        (-2, (ErrorCode::NONE, -1, 0, epoch)),
        (-3, since(7, (ErrorCode::NONE, WALL_MS + 2_000, 2, epoch))),
        (-4, since(8, (ErrorCode::NONE, -1, 0, epoch))),
        (-5, since(9, (ErrorCode::NONE, -1, -1, -1))),
        (-6, since(11, (ErrorCode::NONE, -1, -1, -1))),
        (-7, unsupported),
        (WALL_MS - 5, (ErrorCode::NONE, WALL_MS, 0, epoch)),
        (WALL_MS + 1, (ErrorCode::NONE, WALL_MS + 1_000, 1, epoch)),
        (WALL_MS + 2_001, (ErrorCode::NONE, -1, -1, -1)),
    ] {
        let request = list_offsets_request(&topic.name, &[0], timestamp);
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(*answer.topics[0].name, *topic.name);
        let part = &answer.topics[0].partitions[0];
        let found = (ErrorCode(part.error_code), part.timestamp, part.offset, part.leader_epoch);
        assert_eq!(found, expected, "ListOffsets {version} for {timestamp}");
    }
    for (name, partitions, code) in [
        ("nowhere", vec![0], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (&*topic.name, vec![1], ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (&*topic.name, vec![0, 0], ErrorCode::INVALID_REQUEST),
    ] {
        let answer = link.call(version, &list_offsets_request(name, &partitions, -1)).await.expect("is answered");
        assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), code, "{name} {partitions:?}");
    }
}

fn list_offsets_request(topic: &str, partitions: &[i32], timestamp: i64) -> ListOffsetsRequest {
    let partitions = partitions.iter().map(|index| list_offsets_request::ListOffsetsPartition {
        partition_index: *index,
        timestamp,
        ..Default::default()
    });
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![list_offsets_request::ListOffsetsTopic { name: text(topic), partitions: partitions.collect() }],
        ..Default::default()
    }
}

async fn offset_for_leader_epoch(version: i16, link: &mut Link) {
    let topic = create(link, format!("epoch-{version}"), 1).await;
    append(link, &topic, 0, "first").await;
    // Version 0 does not tell the epoch, and 2 is the first that says which one the client believes in.
    let known = (ErrorCode::NONE, if version >= 1 { 0 } else { -1 }, 3);
    let believed = if version >= 2 { (ErrorCode::UNKNOWN_LEADER_EPOCH, -1, -1) } else { known };
    for (name, current_leader_epoch, leader_epoch, expected) in [
        (&*topic.name, -1, 0, known),
        (&*topic.name, 0, 0, known),
        (&*topic.name, -1, 5, (ErrorCode::NONE, -1, -1)),
        (&*topic.name, 7, 0, believed),
        ("nowhere", -1, 0, (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, -1, -1)),
    ] {
        let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition {
            partition: 0,
            current_leader_epoch,
            leader_epoch,
        };
        let topics = vec![offset_for_leader_epoch_request::OffsetForLeaderTopic {
            topic: text(name),
            partitions: vec![partition],
        }];
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
        let answer = link.call(version, &request).await.expect("is answered");
        let part = &answer.topics[0].partitions[0];
        let found = (ErrorCode(part.error_code), part.leader_epoch, part.end_offset);
        assert_eq!(found, expected, "{name}, epoch {leader_epoch} with {current_leader_epoch}");
    }
}

async fn init_producer_id(version: i16, link: &mut Link) {
    let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 1_000, ..Default::default() };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(answer.producer_id >= 0);
        ids.push(answer.producer_id);
    }
    assert_ne!(ids[0], ids[1], "an id is given once");
    let request = InitProducerIdRequest { transactional_id: Some("".into()), ..request };
    let answer = link.call(version, &request).await.expect("is answered");
    assert_eq!((ErrorCode(answer.error_code), answer.producer_id), (ErrorCode::INVALID_REQUEST, -1));
}

// --- Who is there ------------------------------------------------------------------------------------------------

async fn api_versions(version: i16, link: &mut Link, advertised: &BTreeMap<i16, (i16, i16)>) {
    let request = ApiVersionsRequest {
        client_software_name: if version >= 3 { "conformance".into() } else { "".into() },
        client_software_version: if version >= 3 { "1.0".into() } else { "".into() },
    };
    let answer = link.call(version, &request).await.expect("is answered");
    assert_eq!((answer.error_code, answer.throttle_time_ms), (0, 0));
    let found: BTreeMap<_, _> = answer.api_keys.iter().map(|a| (a.api_key, (a.min_version, a.max_version))).collect();
    assert_eq!(found, *advertised, "the same in every version");
    if version < 3 {
        assert!(answer.supported_features.is_empty() && answer.finalized_features.is_empty());
        return;
    }
    assert!(answer.finalized_features_epoch >= 0);
    let level = answer.finalized_features.iter().find(|feature| &*feature.name == "metadata.version");
    assert_eq!(level.map(|feature| (feature.min_version_level, feature.max_version_level)), Some((30, 30)));
    assert!(answer.finalized_features.iter().all(|feature| feature.max_version_level > 0), "level 0 is not finalized");
    let from_zero = answer.supported_features.iter().any(|feature| feature.min_version == 0);
    assert!(version >= 4 || !from_zero, "clients of version 3 fail on a minimum of 0 (KAFKA-17492)");
}

async fn metadata(version: i16, link: &mut Link) {
    let topic = create(link, format!("metadata-{version}"), 2).await;
    let named = |names: &[&str]| {
        let topics = names
            .iter()
            .map(|name| metadata_request::MetadataRequestTopic { name: Some(text(name)), ..Default::default() });
        MetadataRequest { topics: Some(topics.collect()), ..Default::default() }
    };
    let answer = link.call(version, &named(&[&topic.name])).await.expect("is answered");
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.brokers.len(), 1);
    let broker = &answer.brokers[0];
    assert_eq!((&*broker.host, broker.port), ("127.0.0.1", 9092));
    assert_eq!(answer.controller_id, if version >= 1 { broker.node_id } else { -1 });
    assert_eq!(answer.cluster_id.is_some(), version >= 2);
    assert_eq!(answer.topics.len(), 1);
    check_topic(version, &answer.topics[0], &topic, broker.node_id);

    // All topics; none; one that is made by asking for it; one that must not be.
    let all = if version == 0 { Some(Vec::new()) } else { None };
    let answer = link.call(version, &MetadataRequest { topics: all, ..Default::default() }).await.expect("is answered");
    assert!(answer.topics.iter().any(|found| found.name.as_deref() == Some(&*topic.name)));
    if version >= 1 {
        let answer = link.call(version, &named(&[])).await.expect("is answered");
        assert!(answer.topics.is_empty() && !answer.brokers.is_empty());
    }
    let made = format!("made-{version}");
    let answer = link.call(version, &named(&[&made])).await.expect("is answered");
    assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 1));
    if version >= 4 {
        let request = MetadataRequest { allow_auto_topic_creation: false, ..named(&["missing"]) };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(ErrorCode(answer.topics[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let answer = link.call(version, &named(&["not a name"])).await.expect("is answered");
    assert_eq!(ErrorCode(answer.topics[0].error_code), ErrorCode::INVALID_TOPIC_EXCEPTION);

    if version >= 8 {
        let with_cluster = version <= 10;
        let request = MetadataRequest {
            include_topic_authorized_operations: true,
            include_cluster_authorized_operations: with_cluster,
            ..named(&[&topic.name])
        };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(answer.topics[0].topic_authorized_operations, TOPIC_OPERATIONS);
        let cluster = if with_cluster { CLUSTER_OPERATIONS } else { NO_OPERATIONS };
        assert_eq!(answer.cluster_authorized_operations, cluster);
    }
    if matches!(version, 10 | 11) {
        // The field is there and must not be used (KAFKA-12701).
        let by_id = metadata_request::MetadataRequestTopic { topic_id: topic.id, name: None };
        let request = MetadataRequest { topics: Some(vec![by_id]), ..Default::default() };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(ErrorCode(answer.topics[0].error_code), ErrorCode::INVALID_REQUEST);
        assert_eq!((answer.topics[0].name.as_deref(), answer.topics[0].topic_id), (Some(""), topic.id));
    }
    if version >= 12 {
        for (topic_id, code) in [(topic.id, ErrorCode::NONE), ([9; 16], ErrorCode::UNKNOWN_TOPIC_ID)] {
            let by_id = metadata_request::MetadataRequestTopic { topic_id, name: None };
            let request = MetadataRequest { topics: Some(vec![by_id]), ..Default::default() };
            let answer = link.call(version, &request).await.expect("is answered");
            assert_eq!(ErrorCode(answer.topics[0].error_code), code);
            assert_eq!(answer.topics[0].topic_id, topic_id);
            assert_eq!(answer.topics[0].name.is_some(), code.is_none());
        }
    }
}

fn check_topic(version: i16, found: &metadata_response::MetadataResponseTopic, topic: &Topic, node: i32) {
    assert_eq!((found.error_code, found.name.as_deref(), found.is_internal), (0, Some(&*topic.name), false));
    assert_eq!(found.topic_id, if version >= 10 { topic.id } else { [0; 16] });
    assert_eq!(found.topic_authorized_operations, NO_OPERATIONS);
    let indexes: Vec<i32> = found.partitions.iter().map(|partition| partition.partition_index).collect();
    assert_eq!(indexes, [0, 1]);
    for partition in &found.partitions {
        assert_eq!((partition.error_code, partition.leader_id), (0, node));
        assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
        assert_eq!((&*partition.replica_nodes, &*partition.isr_nodes), (&[node][..], &[node][..]));
        assert!(partition.offline_replicas.is_empty());
    }
}

async fn describe_cluster(version: i16, link: &mut Link) {
    for (asked, operations) in [(false, NO_OPERATIONS), (true, CLUSTER_OPERATIONS)] {
        let request = DescribeClusterRequest { include_cluster_authorized_operations: asked, ..Default::default() };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!((answer.error_code, answer.endpoint_type, answer.brokers.len()), (0, 1, 1));
        let broker = &answer.brokers[0];
        assert_eq!((&*broker.host, broker.port, broker.is_fenced), ("127.0.0.1", 9092, false));
        assert_eq!(answer.controller_id, broker.broker_id);
        assert_eq!(answer.cluster_authorized_operations, operations);
        let metadata = link.call(12, &MetadataRequest::default()).await.expect("is answered");
        assert_eq!(metadata.cluster_id.as_deref(), Some(&*answer.cluster_id), "one cluster id");
    }
    if version >= 1 {
        for (endpoint_type, code) in
            [(2, ErrorCode::MISMATCHED_ENDPOINT_TYPE), (9, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE)]
        {
            let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
            let answer = link.call(version, &request).await.expect("is answered");
            assert_eq!(ErrorCode(answer.error_code), code);
        }
    }
}

async fn describe_topic_partitions(version: i16, link: &mut Link) {
    let topic = create(link, format!("pages-{version}"), 3).await;
    let asked = |names: &[&str], limit, cursor| DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| describe_topic_partitions_request::TopicRequest { name: text(name) }).collect(),
        response_partition_limit: limit,
        cursor,
    };
    let answer = link.call(version, &asked(&[&topic.name], 2, None)).await.expect("is answered");
    let found = &answer.topics[0];
    assert_eq!((found.error_code, found.name.as_deref(), found.topic_id), (0, Some(&*topic.name), topic.id));
    assert_eq!(found.topic_authorized_operations, TOPIC_OPERATIONS);
    let leaders: Vec<_> = found.partitions.iter().map(|p| (p.partition_index, p.leader_id, p.leader_epoch)).collect();
    let node = found.partitions[0].leader_id;
    assert_eq!(leaders, [(0, node, 0), (1, node, 0)]);
    assert!(found.partitions.iter().all(|p| p.replica_nodes == [node] && p.isr_nodes == [node]));
    let cursor = answer.next_cursor.expect("there is another page");
    assert_eq!((&*cursor.topic_name, cursor.partition_index), (&*topic.name, 2));
    let cursor = describe_topic_partitions_request::Cursor {
        topic_name: cursor.topic_name.clone(),
        partition_index: cursor.partition_index,
    };
    let answer = link.call(version, &asked(&[&topic.name], 2, Some(cursor))).await.expect("is answered");
    assert_eq!(answer.topics[0].partitions[0].partition_index, 2);
    assert_eq!(answer.next_cursor, None);
    let answer = link.call(version, &asked(&["nowhere"], 2, None)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.topics[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let answer = link.call(version, &asked(&[], 2_000, None)).await.expect("is answered");
    assert!(answer.topics.iter().any(|found| found.name.as_deref() == Some(&*topic.name)), "no names are all names");
}
