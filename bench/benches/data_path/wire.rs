//! A Produce request out of its bytes, a Fetch response into slices to be sent.
//!
//! Neither touches a payload, so the unit is partitions and not bytes.

use std::hint::black_box;

use bytes::Bytes;
use corelane_core::protocol::Message;
use corelane_core::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use corelane_core::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use corelane_core::protocol::messages::{FetchResponse, ProduceRequest};
use corelane_core::protocol::wire::{Reader, Writer, WrittenPiece};
use corelane_core::record::Codec;
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::samples::{batch, compressed_by};

/// The first version that names topics by id, as current clients do.
const PRODUCE_VERSION: i16 = 13;
const FETCH_VERSION: i16 = 17;
const TOPIC_ID: [u8; 16] = [7; 16];
const PARTITION_COUNTS: [i32; 2] = [1, 100];
/// About 1 KiB a batch, beyond which payloads are passed on and not copied.
const RECORDS: usize = 10;

pub(crate) fn benches(criterion: &mut Criterion) {
    let records = batch(RECORDS, compressed_by(Codec::None)).bytes().clone();

    let mut group = criterion.benchmark_group("decode Produce request");
    for partitions in PARTITION_COUNTS {
        let request = produce_request(partitions, &records);
        let mut writer = Writer::new();
        request.encode(&mut writer, PRODUCE_VERSION).expect("encodes");
        let bytes = writer.into_bytes();
        assert_eq!(decode(&bytes), request);
        group.throughput(Throughput::Elements(u64::from(partitions.unsigned_abs())));
        group.bench_function(BenchmarkId::new("partitions", partitions), |bencher| {
            bencher.iter(|| decode(black_box(&bytes)));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("encode Fetch response");
    for partitions in PARTITION_COUNTS {
        let response = fetch_response(partitions, &records);
        assert_encodes(&response);
        group.throughput(Throughput::Elements(u64::from(partitions.unsigned_abs())));
        group.bench_function(BenchmarkId::new("partitions", partitions), |bencher| {
            bencher.iter(|| encode(black_box(&response)));
        });
    }
    group.finish();
}

fn produce_request(partitions: i32, records: &Bytes) -> ProduceRequest {
    let partition = |index| PartitionProduceData { index, records: Some(records.clone()) };
    let topic = TopicProduceData {
        topic_id: TOPIC_ID,
        partition_data: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

fn decode(bytes: &Bytes) -> ProduceRequest {
    let mut reader = Reader::new(bytes.clone());
    let request = ProduceRequest::decode(&mut reader, PRODUCE_VERSION).expect("decodes");
    reader.finish().expect("is all there is");
    request
}

fn fetch_response(partitions: i32, records: &Bytes) -> FetchResponse {
    let partition = |partition_index| PartitionData {
        partition_index,
        high_watermark: 1_000_000,
        last_stable_offset: 1_000_000,
        log_start_offset: 0,
        records: Some(records.clone()),
        ..Default::default()
    };
    let topic = FetchableTopicResponse {
        topic_id: TOPIC_ID,
        partitions: (0..partitions).map(partition).collect(),
        ..Default::default()
    };
    FetchResponse { session_id: 1, responses: vec![topic], ..Default::default() }
}

fn encode(response: &FetchResponse) -> Vec<WrittenPiece> {
    let mut writer = Writer::frame();
    response.encode(&mut writer, FETCH_VERSION).expect("encodes");
    writer.into_frame_pieces().expect("is below 2 GiB")
}

/// The pieces are the frame's size and then the response, with the records where they already lay.
fn assert_encodes(response: &FetchResponse) {
    let (mut frame, mut uncopied) = (Vec::new(), 0);
    let mut records = response.responses.iter().flat_map(|topic| &topic.partitions).filter_map(|p| p.records.as_ref());
    let mut awaited = records.next();
    let partitions = response.responses.iter().map(|topic| topic.partitions.len()).sum::<usize>();
    for piece in encode(response) {
        let WrittenPiece::Bytes(bytes) = piece else { panic!("nothing comes from elsewhere here") };
        if awaited.is_some_and(|records| records.as_ptr() == bytes.as_ptr()) {
            uncopied += 1;
            awaited = records.next();
        }
        frame.extend_from_slice(&bytes);
    }
    assert_eq!(uncopied, partitions);
    let mut reader = Reader::new(frame.into());
    let size = reader.i32().expect("a size");
    assert_eq!(usize::try_from(size), Ok(reader.remaining()));
    assert_eq!(FetchResponse::decode(&mut reader, FETCH_VERSION).as_ref(), Ok(response));
    assert_eq!(reader.remaining(), 0);
}
