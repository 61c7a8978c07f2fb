//! Conversations about transactions.
//!
//! Each plays the whole life of one, with the API in question in the version in question and the others in versions that
//! go with it: what a client adds itself before Produce 12 and TxnOffsetCommit 5, the broker adds from then on.

use bytes::Bytes;
use corelane_core::base::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse,
    FetchRequest, FindCoordinatorRequest, InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest,
    ListTransactionsResponse, OffsetFetchRequest, ProduceRequest, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
    add_partitions_to_txn_request, fetch_response, offset_fetch_request, txn_offset_commit_request,
    write_txn_markers_request,
};
use corelane_core::record::{Batch, BatchBuilder, BatchOptions};
use corelane_simulation::client::Link;

use crate::{Topic, WALL_MS, create, fetch_request, produce_request, text};

/// Kind of coordinator.
const TRANSACTION: i8 = 1;
const TIMEOUT_MS: i32 = 60_000;
/// The last versions in which the client adds partitions, and the first in which the broker does.
const PRODUCE_ADDED: i16 = 11;
const PRODUCE_ADDING: i16 = 12;
const END_KEEPS_EPOCH: i16 = 4;
const END_RAISES_EPOCH: i16 = 5;
const COMMIT_ADDING: i16 = 5;
/// First version of EndTxn and others whose clients know PRODUCER_FENCED.
const VERSION_WITH_FENCE: i16 = 2;

/// A transactional producer.
#[derive(Clone)]
struct Producer {
    transactional_id: String,
    id: i64,
    epoch: i16,
}

async fn found(link: &mut Link, transactional_id: &str) {
    let coordinator_keys = vec![text(transactional_id)];
    let request = FindCoordinatorRequest { key_type: TRANSACTION, coordinator_keys, ..Default::default() };
    let answer = link.call(6, &request).await.expect("is answered");
    assert_eq!(answer.coordinators[0].error_code, 0);
}

async fn init(link: &mut Link, version: i16, transactional_id: &str, timeout_ms: i32) -> InitProducerIdResponse {
    let request = InitProducerIdRequest {
        transactional_id: Some(text(transactional_id)),
        transaction_timeout_ms: timeout_ms,
        ..Default::default()
    };
    // The coordinator was made just now, and reads its log.
    loop {
        let answer = link.call(version, &request).await.expect("is answered");
        if ErrorCode(answer.error_code) != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
            return answer;
        }
    }
}

async fn producer(link: &mut Link, transactional_id: String) -> Producer {
    found(link, &transactional_id).await;
    let answer = init(link, 5, &transactional_id, TIMEOUT_MS).await;
    assert_eq!(answer.error_code, 0);
    Producer { transactional_id, id: answer.producer_id, epoch: answer.producer_epoch }
}

fn add_request(producer: &Producer, partitions: &[(&str, i32)]) -> AddPartitionsToTxnRequest {
    let topic = |(name, index): &(&str, i32)| add_partitions_to_txn_request::AddPartitionsToTxnTopic {
        name: text(name),
        partitions: vec![*index],
    };
    AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: text(&producer.transactional_id),
        v3_and_below_producer_id: producer.id,
        v3_and_below_producer_epoch: producer.epoch,
        v3_and_below_topics: partitions.iter().map(topic).collect(),
        ..Default::default()
    }
}

async fn add(link: &mut Link, version: i16, producer: &Producer, partitions: &[(&str, i32)]) -> Vec<ErrorCode> {
    let answer = link.call(version, &add_request(producer, partitions)).await.expect("is answered");
    let results = answer.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
    results.map(|result| ErrorCode(result.partition_error_code)).collect()
}

fn batch(producer: &Producer, sequence: i32) -> Bytes {
    let options = BatchOptions {
        producer_id: ProducerId(producer.id),
        producer_epoch: ProducerEpoch(producer.epoch),
        base_sequence: Sequence(sequence),
        transactional: true,
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder.append(Timestamp(WALL_MS), Some(b"key"), Some(b"value"), &[]);
    builder.build().expect("can be built").bytes().clone()
}

async fn write(link: &mut Link, version: i16, producer: &Producer, topic: &Topic, sequence: i32) -> ErrorCode {
    let request = ProduceRequest {
        transactional_id: Some(text(&producer.transactional_id)),
        ..produce_request(version, topic, 0, batch(producer, sequence), -1)
    };
    let answer = link.call(version, &request).await.expect("is answered");
    ErrorCode(answer.responses[0].partition_responses[0].error_code)
}

async fn end(link: &mut Link, version: i16, producer: &Producer, committed: bool) -> EndTxnResponse {
    let request = EndTxnRequest {
        transactional_id: text(&producer.transactional_id),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        committed,
    };
    link.call(version, &request).await.expect("is answered")
}

/// What a reader of committed data gets once nothing is open any more.
async fn read_committed(link: &mut Link, topic: &Topic) -> fetch_response::PartitionData {
    loop {
        let request = FetchRequest { isolation_level: 1, ..fetch_request(12, topic, 0, 0) };
        let answer = link.call(12, &request).await.expect("is answered");
        let part = answer.responses[0].partitions[0].clone();
        assert_eq!(part.error_code, 0);
        if part.last_stable_offset == part.high_watermark {
            return part;
        }
        let mut run = part.records.unwrap_or_default();
        while !run.is_empty() {
            let batch = Batch::split_from(&mut run).expect("a whole batch");
            assert!(batch.header().last_offset().0 < part.last_stable_offset, "what is open is not read");
        }
    }
}

fn aborted(part: &fetch_response::PartitionData) -> Vec<(i64, i64)> {
    let aborted = part.aborted_transactions.iter().flatten();
    aborted.map(|aborted| (aborted.producer_id, aborted.first_offset)).collect()
}

pub(crate) async fn init_producer_id(version: i16, link: &mut Link) {
    let id = format!("init-{version}");
    found(link, &id).await;
    let first = init(link, version, &id, TIMEOUT_MS).await;
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    let next = init(link, version, &id, TIMEOUT_MS).await;
    assert_eq!((next.error_code, next.producer_id, next.producer_epoch), (0, first.producer_id, 1));
    for (timeout_ms, code) in
        [(0, ErrorCode::INVALID_TRANSACTION_TIMEOUT), (900_001, ErrorCode::INVALID_TRANSACTION_TIMEOUT)]
    {
        let refused = init(link, version, &id, timeout_ms).await;
        assert_eq!((ErrorCode(refused.error_code), refused.producer_id), (code, -1));
    }
    if version < 3 {
        return;
    }
    let fenced = if version >= 4 { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_PRODUCER_EPOCH };
    for (producer_id, producer_epoch, code) in [
        (next.producer_id, -1, ErrorCode::INVALID_REQUEST),
        (-1, 1, ErrorCode::INVALID_REQUEST),
        (next.producer_id + 1_000, 1, fenced),
        (next.producer_id, 1, ErrorCode::NONE),
    ] {
        let request = InitProducerIdRequest {
            transactional_id: Some(text(&id)),
            transaction_timeout_ms: TIMEOUT_MS,
            producer_id,
            producer_epoch,
            ..Default::default()
        };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(ErrorCode(answer.error_code), code, "{producer_id} {producer_epoch}");
    }
}

pub(crate) async fn add_partitions(version: i16, link: &mut Link) {
    let topic = create(link, format!("add-{version}"), 2).await;
    let producer = producer(link, format!("add-{version}")).await;
    let fenced =
        if version >= VERSION_WITH_FENCE { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_PRODUCER_EPOCH };
    let name = &*topic.name;
    let other = Producer { transactional_id: "nobody".into(), ..producer.clone() };
    let older = Producer { epoch: producer.epoch + 1, ..producer.clone() };
    let (unknown, untried) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::OPERATION_NOT_ATTEMPTED);
    assert_eq!(add(link, version, &producer, &[(name, 0), (name, 2)]).await, [untried, unknown]);
    assert_eq!(add(link, version, &older, &[(name, 0)]).await, [fenced]);
    found(link, "nobody").await;
    assert_eq!(add(link, version, &other, &[(name, 0)]).await, [ErrorCode::INVALID_PRODUCER_ID_MAPPING]);
    assert_eq!(write(link, PRODUCE_ADDED, &producer, &topic, 0).await, ErrorCode::TRANSACTION_ABORTABLE);
    for _ in 0..2 {
        assert_eq!(add(link, version, &producer, &[(name, 0), (name, 1)]).await, [ErrorCode::NONE; 2]);
    }
    assert_eq!(write(link, PRODUCE_ADDED, &producer, &topic, 0).await, ErrorCode::NONE);
    assert_eq!(end(link, END_KEEPS_EPOCH, &producer, true).await.error_code, 0);
    assert_eq!(read_committed(link, &topic).await.high_watermark, 2);
}

pub(crate) async fn end_txn(version: i16, link: &mut Link) {
    let topic = create(link, format!("end-{version}"), 1).await;
    let mut producer = producer(link, format!("end-{version}")).await;
    let raises = version >= END_RAISES_EPOCH;
    let nothing = end(link, version, &producer, true).await;
    assert_eq!(ErrorCode(nothing.error_code), ErrorCode::INVALID_TXN_STATE);
    for (offset, committed) in [(0, true), (2, false)] {
        let sequence = if raises { 0 } else { i32::try_from(offset / 2).expect("is small") };
        // The transaction before may still be being ended.
        loop {
            let written = if raises {
                write(link, PRODUCE_ADDING, &producer, &topic, sequence).await
            } else {
                let added = add(link, 3, &producer, &[(&*topic.name, 0)]).await[0];
                if added.is_none() { write(link, PRODUCE_ADDED, &producer, &topic, sequence).await } else { added }
            };
            if written.is_none() {
                break;
            }
            assert_eq!(written, ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let fenced = end(link, version, &Producer { epoch: producer.epoch + 7, ..producer.clone() }, committed).await;
        let code =
            if version >= VERSION_WITH_FENCE { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_PRODUCER_EPOCH };
        assert_eq!(ErrorCode(fenced.error_code), code);
        let ended = end(link, version, &producer, committed).await;
        assert_eq!(ended.error_code, 0);
        if raises {
            assert_eq!((ended.producer_id, ended.producer_epoch), (producer.id, producer.epoch + 1));
            producer.epoch = ended.producer_epoch;
        } else {
            assert_eq!((ended.producer_id, ended.producer_epoch), (-1, -1), "not told in this version");
        }
        let part = read_committed(link, &topic).await;
        assert_eq!(part.high_watermark, offset + 2, "a record and a marker");
        assert_eq!(aborted(&part), if committed { vec![] } else { vec![(producer.id, offset)] });
    }
}

fn commit_request(producer: &Producer, group: &str, topic: &Topic) -> TxnOffsetCommitRequest {
    let partition = |partition_index| txn_offset_commit_request::TxnOffsetCommitRequestPartition {
        partition_index,
        committed_offset: 7,
        committed_metadata: Some("note".into()),
        ..Default::default()
    };
    TxnOffsetCommitRequest {
        transactional_id: text(&producer.transactional_id),
        group_id: text(group),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        generation_id: -1,
        topics: vec![txn_offset_commit_request::TxnOffsetCommitRequestTopic {
            name: text(&topic.name),
            partitions: vec![partition(0), partition(9)],
        }],
        ..Default::default()
    }
}

async fn committed_offset(link: &mut Link, group: &str, topic: &Topic) -> (ErrorCode, i64) {
    let asked = offset_fetch_request::OffsetFetchRequestTopics {
        name: text(&topic.name),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let groups = vec![offset_fetch_request::OffsetFetchRequestGroup {
        group_id: text(group),
        topics: Some(vec![asked]),
        ..Default::default()
    }];
    let request = OffsetFetchRequest { groups, require_stable: true, ..Default::default() };
    let answer = link.call(9, &request).await.expect("is answered");
    let part = &answer.groups[0].topics[0].partitions[0];
    (ErrorCode(part.error_code), part.committed_offset)
}

/// A transaction that commits an offset, with both APIs that take part in that.
async fn commit_offsets(link: &mut Link, name: String, (add_version, commit_version): (i16, i16)) {
    let topic = create(link, name.clone(), 1).await;
    let producer = producer(link, name.clone()).await;
    let add = |producer: &Producer| AddOffsetsToTxnRequest {
        transactional_id: text(&producer.transactional_id),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id: text(&name),
    };
    let fenced =
        if add_version >= VERSION_WITH_FENCE { ErrorCode::PRODUCER_FENCED } else { ErrorCode::INVALID_PRODUCER_EPOCH };
    let older = Producer { epoch: producer.epoch + 1, ..producer.clone() };
    let answer = link.call(add_version, &add(&older)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.error_code), fenced);
    if commit_version < COMMIT_ADDING {
        let answer = link.call(add_version, &add(&producer)).await.expect("is answered");
        assert_eq!(answer.error_code, 0);
    }
    // As clients do: now they have something for the coordinator of the group.
    let request = FindCoordinatorRequest { coordinator_keys: vec![text(&name)], ..Default::default() };
    assert_eq!(link.call(6, &request).await.expect("is answered").coordinators[0].error_code, 0);
    loop {
        let answer = link.call(commit_version, &commit_request(&producer, &name, &topic)).await.expect("is answered");
        let codes: Vec<_> = answer.topics[0].partitions.iter().map(|part| ErrorCode(part.error_code)).collect();
        if codes[0] != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS {
            assert_eq!(codes, [ErrorCode::NONE, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION]);
            break;
        }
    }
    assert_eq!(committed_offset(link, &name, &topic).await, (ErrorCode::UNSTABLE_OFFSET_COMMIT, -1));
    let version = if commit_version < COMMIT_ADDING { END_KEEPS_EPOCH } else { END_RAISES_EPOCH };
    assert_eq!(end(link, version, &producer, true).await.error_code, 0);
    while committed_offset(link, &name, &topic).await.0 == ErrorCode::UNSTABLE_OFFSET_COMMIT {}
    assert_eq!(committed_offset(link, &name, &topic).await, (ErrorCode::NONE, 7));
}

pub(crate) async fn add_offsets(version: i16, link: &mut Link) {
    commit_offsets(link, format!("add-offsets-{version}"), (version, COMMIT_ADDING - 1)).await;
}

pub(crate) async fn txn_offset_commit(version: i16, link: &mut Link) {
    commit_offsets(link, format!("commit-offsets-{version}"), (4, version)).await;
}

pub(crate) async fn write_txn_markers(version: i16, link: &mut Link) {
    let topic = create(link, format!("markers-{version}"), 1).await;
    let producer = producer(link, format!("markers-{version}")).await;
    assert_eq!(write(link, PRODUCE_ADDING, &producer, &topic, 0).await, ErrorCode::NONE);
    let mark = |epoch, coordinator_epoch, index| WriteTxnMarkersRequest {
        markers: vec![write_txn_markers_request::WritableTxnMarker {
            producer_id: producer.id,
            producer_epoch: epoch,
            transaction_result: false,
            topics: vec![write_txn_markers_request::WritableTxnMarkerTopic {
                name: text(&topic.name),
                partition_indexes: vec![index],
            }],
            coordinator_epoch,
            transaction_version: 0,
        }],
    };
    for (epoch, coordinator_epoch, index, code) in [
        (producer.epoch - 1, 5, 0, ErrorCode::INVALID_PRODUCER_EPOCH),
        (producer.epoch, 5, 1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (producer.epoch, 5, 0, ErrorCode::NONE),
        (producer.epoch, 4, 0, ErrorCode::TRANSACTION_COORDINATOR_FENCED),
    ] {
        let answer = link.call(version, &mark(epoch, coordinator_epoch, index)).await.expect("is answered");
        let marked = &answer.markers[0];
        assert_eq!(marked.producer_id, producer.id);
        let part = &marked.topics[0].partitions[0];
        assert_eq!((part.partition_index, ErrorCode(part.error_code)), (index, code), "{epoch} {coordinator_epoch}");
    }
    let part = read_committed(link, &topic).await;
    assert_eq!((part.high_watermark, aborted(&part)), (2, vec![(producer.id, 0)]));
}

pub(crate) async fn describe_transactions(version: i16, link: &mut Link) {
    let topic = create(link, format!("describe-{version}"), 1).await;
    let producer = producer(link, format!("describe-{version}")).await;
    let transactional_ids = vec![text(&producer.transactional_id), text("no-such-id"), text("")];
    let request = DescribeTransactionsRequest { transactional_ids };
    let mut states = Vec::new();
    for writes in [false, true] {
        if writes {
            assert_eq!(write(link, PRODUCE_ADDING, &producer, &topic, 0).await, ErrorCode::NONE);
        }
        let answer = link.call(version, &request).await.expect("is answered");
        let codes: Vec<_> = answer.transaction_states.iter().map(|state| ErrorCode(state.error_code)).collect();
        assert_eq!(codes, [ErrorCode::NONE, ErrorCode::TRANSACTIONAL_ID_NOT_FOUND, ErrorCode::INVALID_REQUEST]);
        let state = &answer.transaction_states[0];
        assert_eq!((state.producer_id, state.producer_epoch), (producer.id, producer.epoch));
        assert_eq!(state.transaction_timeout_ms, TIMEOUT_MS);
        assert_eq!(state.transaction_start_time_ms > 0, writes);
        let topics: Vec<_> =
            state.topics.iter().map(|topic| (topic.topic.to_string(), topic.partitions.clone())).collect();
        assert_eq!(topics, if writes { vec![(topic.name.clone(), vec![0])] } else { vec![] });
        states.push(state.transaction_state.to_string());
    }
    assert_eq!(states, ["Empty", "Ongoing"]);
}

pub(crate) async fn list_transactions(version: i16, link: &mut Link) {
    let topic = create(link, format!("list-txn-{version}"), 1).await;
    let open = producer(link, format!("list-open-{version}")).await;
    let idle = producer(link, format!("list-idle-{version}")).await;
    assert_eq!(write(link, PRODUCE_ADDING, &open, &topic, 0).await, ErrorCode::NONE);
    let ids = |answer: &ListTransactionsResponse| -> Vec<String> {
        let ids = answer.transaction_states.iter().map(|state| state.transactional_id.to_string());
        ids.filter(|id| *id == open.transactional_id || *id == idle.transactional_id).collect()
    };
    let (open_id, idle_id) = (open.transactional_id.clone(), idle.transactional_id.clone());
    let all = ListTransactionsRequest { duration_filter: -1, ..Default::default() };
    let answer = link.call(version, &all).await.expect("is answered");
    assert_eq!((answer.error_code, ids(&answer)), (0, vec![idle_id.clone(), open_id.clone()]));
    let ongoing = ListTransactionsRequest { state_filters: vec![text("Ongoing"), text("Sleeping")], ..all.clone() };
    let answer = link.call(version, &ongoing).await.expect("is answered");
    assert_eq!((ids(&answer), answer.unknown_state_filters.len()), (vec![open_id.clone()], 1));
    let unknown = ListTransactionsRequest { state_filters: vec![text("Sleeping")], ..all.clone() };
    assert!(ids(&link.call(version, &unknown).await.expect("is answered")).is_empty());
    let of_one = ListTransactionsRequest { producer_id_filters: vec![idle.id], ..all.clone() };
    assert_eq!(ids(&link.call(version, &of_one).await.expect("is answered")), std::slice::from_ref(&idle_id));
    if version >= 1 {
        let long =
            ListTransactionsRequest { duration_filter: 3_600_000, state_filters: vec![text("Ongoing")], ..all.clone() };
        assert!(ids(&link.call(version, &long).await.expect("is answered")).is_empty());
    }
    if version >= 2 {
        let like =
            |pattern: &str| ListTransactionsRequest { transactional_id_pattern: Some(text(pattern)), ..all.clone() };
        assert_eq!(ids(&link.call(version, &like("list-i.*")).await.expect("is answered")), [idle_id]);
        assert!(ids(&link.call(version, &like("list-i")).await.expect("is answered")).is_empty(), "not the whole id");
        let classes = link.call(version, &like(r"\w+-\w{2,8}-\d+")).await.expect("is answered");
        assert_eq!((classes.error_code, ids(&classes).len()), (0, 2), "classes of Unicode are no small patterns");
        let broken = link.call(version, &like("list-(")).await.expect("is answered");
        assert_eq!(ErrorCode(broken.error_code), ErrorCode::INVALID_REGULAR_EXPRESSION);
    }
}
