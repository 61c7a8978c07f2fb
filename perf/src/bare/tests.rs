//! The stand-in over real sockets: what comes back, when, and what is refused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelane_core::base::{LeaderEpoch, Offset, Timestamp};
use corelane_core::protocol::messages::create_topics_request::CreatableTopic;
use corelane_core::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use corelane_core::protocol::messages::fetch_response::PartitionData;
use corelane_core::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use corelane_core::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use corelane_core::protocol::messages::metadata_request::MetadataRequestTopic;
use corelane_core::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use corelane_core::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use corelane_core::protocol::messages::produce_response::PartitionProduceResponse;
use corelane_core::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use corelane_core::protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, FindCoordinatorRequest, HeartbeatRequest,
    InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest, ProduceRequest, RequestHeader, SyncGroupRequest,
};
use corelane_core::protocol::wire::Writer;
use corelane_core::protocol::{ApiKey, ErrorCode, KafkaString, Message};
use corelane_core::record::{Batch, BatchBuilder, BatchOptions};

use super::requests::OLDEST_PRODUCE;
use super::{Bare, Mode, Settings, Stopper};
use crate::groups::link::Link;

const VERSION: i16 = 12;
const MEMORY: Mode = Mode::Memory { bytes_max: 64 << 20 };

/// A stand-in on a thread of its own, and what it complains of.
struct Running {
    address: String,
    stopper: Option<Stopper>,
    thread: Option<JoinHandle<()>>,
    complaints: Receiver<String>,
}

impl Running {
    fn start(mode: Mode) -> Self {
        let bare = Bare::bind(&Settings { address: "127.0.0.1:0".parse().unwrap(), mode, partitions: 2 }).unwrap();
        let (address, stopper) = (bare.address().to_string(), bare.stopper().unwrap());
        let (sender, complaints) = channel();
        let run = move || bare.run(|complaint| sender.send(complaint.to_owned()).unwrap()).unwrap();
        Self { address, stopper: Some(stopper), thread: Some(thread::spawn(run)), complaints }
    }

    fn link(&self) -> Link {
        Link::open(&self.address, "test").unwrap()
    }

    fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(stopper), Some(thread)) = (self.stopper.take(), self.thread.take()) {
            stopper.stop();
            thread.join().unwrap();
        }
    }
}

fn batch(records: usize, value: &[u8]) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..records {
        builder.append(Timestamp(1), None, Some(value), &[]);
    }
    builder.build().unwrap()
}

fn produce_request(partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let data = PartitionProduceData { index: partition, records: Some(records) };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 1_000, topic_data: vec![topic], ..Default::default() }
}

fn produce(link: &mut Link, partition: i32, records: Bytes) -> PartitionProduceResponse {
    let mut response = link.call(VERSION, &produce_request(partition, records, 1)).unwrap();
    response.responses.remove(0).partition_responses.remove(0)
}

fn fetch_request(partition: i32, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition =
        FetchPartition { partition, fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..Default::default() }
}

fn fetch(link: &mut Link, partition: i32, offset: i64, max_wait_ms: i32) -> PartitionData {
    let mut response = link.call(VERSION, &fetch_request(partition, offset, max_wait_ms)).unwrap();
    response.responses.remove(0).partitions.remove(0)
}

/// The offset that is asked for by a negative time.
fn listed(link: &mut Link, partition: i32, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    link.call(6, &request).unwrap().topics[0].partitions[0].offset
}

fn stamped(batch: &Batch, offset: i64) -> Bytes {
    batch.stamped(Offset(offset), LeaderEpoch(0)).bytes().clone()
}

/// A request as it goes over the wire.
fn frame(api: ApiKey, version: i16, correlation_id: i32, request: &impl Message) -> Vec<u8> {
    let mut writer = Writer::frame();
    let header = RequestHeader {
        request_api_key: api as i16,
        request_api_version: version,
        correlation_id,
        client_id: Some("test".into()),
    };
    header.encode(&mut writer, api.request_header_version(version)).unwrap();
    request.encode(&mut writer, version).unwrap();
    writer.into_frame().unwrap().concat()
}

#[test]
fn what_is_produced_is_fetched_with_its_offsets() {
    let bare = Running::start(MEMORY);
    let mut link = bare.link();
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let metadata = link.call(VERSION, &MetadataRequest { topics: Some(vec![topic]), ..Default::default() }).unwrap();
    assert_eq!((metadata.brokers.len(), metadata.topics[0].partitions.len()), (1, 2));
    assert_eq!(format!("{}:{}", metadata.brokers[0].host.as_str(), metadata.brokers[0].port), bare.address);

    // Short ones, and one that does not fit into what is received at once.
    let batches = [batch(3, b"one"), batch(2, &[7; 900_000]), batch(1, b"three")];
    let offsets = batches.iter().map(|batch| produce(&mut link, 1, batch.bytes().clone()).base_offset);
    assert_eq!(offsets.collect::<Vec<_>>(), [0, 3, 5]);
    assert_eq!((listed(&mut link, 1, -2), listed(&mut link, 1, -1), listed(&mut link, 0, -1)), (0, 6, 0));
    let mut offset = 0;
    let mut read = Vec::new();
    while offset < 6 {
        let data = fetch(&mut link, 1, offset, 0);
        assert_eq!((data.error_code, data.high_watermark, data.log_start_offset), (0, 6, 0));
        let mut records = data.records.unwrap();
        read.extend_from_slice(&records);
        while !records.is_empty() {
            let last = Batch::split_from(&mut records).unwrap().header().last_offset().0;
            assert!(last >= offset, "a fetch from {offset} gives a batch that ends at {last}");
            offset = last + 1;
        }
    }
    let expected: Vec<Bytes> = batches.iter().zip([0, 3, 5]).map(|(batch, offset)| stamped(batch, offset)).collect();
    assert!(read == expected.concat(), "the bytes are others");
    assert_eq!(fetch(&mut link, 1, 7, 1_000).error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    assert_eq!(fetch(&mut link, 9, 0, 1_000).error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
}

#[test]
fn appended_files_hold_stamped_batches_and_damage_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let bare = Running::start(Mode::Append { directory: directory.path().to_owned() });
    let mut link = bare.link();
    let long: Vec<u8> = (0..300_000).map(|at| (at / 251) as u8).collect();
    let (first, second) = (batch(3, b"one"), batch(2, &long));
    assert_eq!(produce(&mut link, 0, first.bytes().clone()).base_offset, 0);
    let mut damaged = second.bytes().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for wrong in [damaged, second.bytes()[..100].to_vec()] {
        let refused = produce(&mut link, 0, wrong.into());
        assert_eq!((refused.error_code, refused.base_offset), (ErrorCode::CORRUPT_MESSAGE.0, -1));
    }
    let two = [first.bytes().clone(), first.bytes().clone()].concat();
    assert_eq!(produce(&mut link, 0, two.into()).error_code, ErrorCode::INVALID_RECORD.0);
    assert_eq!(produce(&mut link, 0, second.bytes().clone()).base_offset, 3);
    assert_eq!(listed(&mut link, 0, -1), 5);
    let file = std::fs::read(directory.path().join("t-0")).unwrap();
    assert!(file == [stamped(&first, 0), stamped(&second, 3)].concat(), "the file holds something else");
}

#[test]
fn what_is_discarded_is_counted_and_cannot_be_read() {
    let bare = Running::start(Mode::Discard);
    let mut link = bare.link();
    assert_eq!(produce(&mut link, 0, batch(3, b"x").bytes().clone()).base_offset, 0);
    assert_eq!((listed(&mut link, 0, -2), listed(&mut link, 0, -1)), (3, 3));
    assert_eq!(fetch(&mut link, 0, 0, 0).error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    assert_eq!(fetch(&mut link, 0, 3, 0).records.unwrap().len(), 0);
}

#[test]
fn a_fetch_waits_for_what_is_produced_and_no_longer_than_it_asked() {
    let bare = Running::start(MEMORY);
    let mut producer = bare.link();
    let begun = Instant::now();
    assert_eq!(fetch(&mut producer, 0, 0, 150).records.unwrap().len(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(150));

    let readers: Vec<JoinHandle<Bytes>> = (0..5)
        .map(|_| {
            let mut link = bare.link();
            thread::spawn(move || fetch(&mut link, 0, 0, 60_000).records.unwrap())
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    // Another partition's news wakes nobody.
    produce(&mut producer, 1, batch(1, b"elsewhere").bytes().clone());
    thread::sleep(Duration::from_millis(100));
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    let sent = batch(1, b"news");
    let begun = Instant::now();
    produce(&mut producer, 0, sent.bytes().clone());
    for reader in readers {
        assert_eq!(reader.join().unwrap(), stamped(&sent, 0));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "the waits ended by themselves");
}

#[test]
fn answers_come_in_order_however_late_they_are_taken() {
    let bare = Running::start(MEMORY);
    let sent = batch(1, &[7; 500_000]);
    produce(&mut bare.link(), 0, sent.bytes().clone());
    // 50 MB of answers, which nobody takes at first, and a fetch among them that waits.
    let mut socket = bare.socket();
    for number in 0..100 {
        let (offset, wait) = if number == 50 { (1, 300) } else { (0, 0) };
        socket.write_all(&frame(ApiKey::Fetch, VERSION, number, &fetch_request(0, offset, wait))).unwrap();
    }
    thread::sleep(Duration::from_millis(500));
    for number in 0..100_i32 {
        let mut prefix = [0; 8];
        socket.read_exact(&mut prefix).unwrap();
        let length = u32::from_be_bytes(prefix[..4].try_into().unwrap()) as usize;
        assert_eq!(prefix[4..], number.to_be_bytes());
        let mut rest = vec![0; length - 4];
        socket.read_exact(&mut rest).unwrap();
        assert_eq!(rest.len() > 500_000, number != 50);
    }
}

#[test]
fn who_wants_no_answer_gets_none_and_is_told_of_failure_by_an_end() {
    let bare = Running::start(Mode::Append { directory: "/nowhere/at/all".into() });
    let mut socket = bare.socket();
    let request = produce_request(0, batch(1, b"x").bytes().clone(), 0);
    socket.write_all(&frame(ApiKey::Produce, VERSION, 1, &request)).unwrap();
    assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0);
    let complaint = bare.complaints.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(complaint.contains("KAFKA_STORAGE_ERROR"), "{complaint}");

    let bare = Running::start(Mode::Discard);
    let mut socket = bare.socket();
    socket.write_all(&frame(ApiKey::Produce, VERSION, 1, &request)).unwrap();
    socket.write_all(&frame(ApiKey::Metadata, VERSION, 2, &MetadataRequest::default())).unwrap();
    let mut prefix = [0; 8];
    socket.read_exact(&mut prefix).unwrap();
    assert_eq!(prefix[4..], 2_i32.to_be_bytes(), "the first answer is that to the second request");
}

#[test]
fn bad_input_ends_its_connection_and_no_other() {
    let bare = Running::start(MEMORY);
    let mut bystander = bare.link();
    assert_eq!(listed(&mut bystander, 0, -1), 0);
    let good = frame(ApiKey::Fetch, VERSION, 1, &fetch_request(0, 0, 0));
    let mut cut = good.clone();
    cut.truncate(good.len() - 20);
    cut[..4].copy_from_slice(&u32::try_from(good.len() - 24).unwrap().to_be_bytes());
    let cases = [
        (vec![0xff; 4], "a request of -1 bytes"),
        (vec![0x7f; 4], "a request of 2139062143 bytes"),
        (vec![0, 0, 0, 1, 0], "is none"),
        (frame(ApiKey::DescribeGroups, 0, 1, &MetadataRequest::default()), "API 15"),
        (frame(ApiKey::Produce, 2, 1, &produce_request(0, Bytes::new(), 1)), "version 2"),
        (cut, "is none"),
    ];
    for (bytes, expected) in cases {
        let mut socket = bare.socket();
        socket.write_all(&bytes).unwrap();
        assert_eq!(socket.read(&mut [0; 1]).unwrap_or(0), 0, "{expected}");
        let complaint = bare.complaints.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(complaint.contains(expected), "{complaint}");
    }
    assert_eq!(listed(&mut bystander, 0, -1), 0);
}

#[test]
fn every_version_that_is_served_is_answered() {
    let bare = Running::start(MEMORY);
    let mut link = bare.link();
    let offered = link.call(3, &ApiVersionsRequest::default()).unwrap().api_keys;
    assert_eq!(offered.len(), 14);
    let records = batch(1, b"x").bytes().clone();
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let offsets = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    for api in offered {
        for version in api.min_version..=api.max_version {
            let answered = match ApiKey::from_i16(api.api_key).unwrap() {
                ApiKey::Produce => {
                    let request = produce_request(0, records.clone(), -1);
                    if version < OLDEST_PRODUCE {
                        bare.link().call(version, &request).expect_err("offered for librdkafka's sake only");
                        continue;
                    }
                    link.call(version, &request).map(drop)
                }
                ApiKey::Fetch => link.call(version, &fetch_request(0, 0, 0)).map(drop),
                ApiKey::ListOffsets => link.call(version, &offsets).map(drop),
                ApiKey::Metadata => link.call(version, &MetadataRequest::default()).map(drop),
                ApiKey::ApiVersions => link.call(version, &ApiVersionsRequest::default()).map(drop),
                ApiKey::InitProducerId => link.call(version, &InitProducerIdRequest::default()).map(drop),
                ApiKey::CreateTopics => {
                    let name = format!("made-{version}").into();
                    let topic = CreatableTopic { name, num_partitions: 3, replication_factor: 1, ..Default::default() };
                    link.call(version, &CreateTopicsRequest { topics: vec![topic], ..Default::default() }).map(drop)
                }
                ApiKey::FindCoordinator => {
                    let (key, coordinator_keys) = if version < 4 { ("g", vec![]) } else { ("", vec!["g".into()]) };
                    let request = FindCoordinatorRequest { key: key.into(), coordinator_keys, ..Default::default() };
                    link.call(version, &request).map(drop)
                }
                ApiKey::JoinGroup => link.call(version, &join_request("")).map(drop),
                ApiKey::SyncGroup => link.call(version, &SyncGroupRequest::default()).map(drop),
                ApiKey::Heartbeat => link.call(version, &HeartbeatRequest::default()).map(drop),
                ApiKey::LeaveGroup => link.call(version, &LeaveGroupRequest::default()).map(drop),
                ApiKey::OffsetFetch => {
                    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0] };
                    let request = OffsetFetchRequest { topics: Some(vec![topic]), ..Default::default() };
                    link.call(version, &request).map(drop)
                }
                ApiKey::OffsetCommit => link.call(version, &OffsetCommitRequest::default()).map(drop),
                other => panic!("{other:?} is offered and not asked for here"),
            };
            answered.unwrap_or_else(|error| panic!("{} in version {version}: {error}", api.api_key));
        }
    }
    assert_eq!(link.call(VERSION, &MetadataRequest { topics: None, ..Default::default() }).unwrap().topics.len(), 9);
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"wishes") };
    let (group_id, protocol_type) = ("g".into(), "consumer".into());
    JoinGroupRequest {
        group_id,
        protocol_type,
        member_id: KafkaString::from(member_id.to_owned()),
        protocols: vec![protocol],
        ..Default::default()
    }
}

#[test]
fn every_member_of_a_group_is_the_only_one() {
    let bare = Running::start(MEMORY);
    let mut link = bare.link();
    let mut join = |member_id: &str| link.call(7, &join_request(member_id)).unwrap();
    let (first, second) = (join(""), join(""));
    assert_ne!(first.member_id, second.member_id);
    for joined in [first.clone(), second, join(&first.member_id)] {
        assert_eq!((joined.error_code, joined.protocol_name.as_deref()), (0, Some("range")));
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.members.len(), 1);
        assert_eq!(
            (&joined.members[0].member_id, &joined.members[0].metadata[..]),
            (&joined.member_id, &b"wishes"[..])
        );
    }
    let given = |member_id: &KafkaString, assignment: &'static [u8]| SyncGroupRequestAssignment {
        member_id: member_id.clone(),
        assignment: Bytes::from_static(assignment),
    };
    let assignments = vec![given(&"another".into(), b"its"), given(&first.member_id, b"mine")];
    let request = SyncGroupRequest { member_id: first.member_id, assignments, ..Default::default() };
    assert_eq!(link.call(3, &request).unwrap().assignment, &b"mine"[..]);
    let refused = link.call(5, &JoinGroupRequest { protocols: Vec::new(), ..join_request("") }).unwrap();
    assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0);
}

#[test]
fn requests_come_together_or_in_pieces() {
    let bare = Running::start(MEMORY);
    let mut socket = bare.socket();
    let mut bytes = Vec::new();
    for number in 0..20 {
        let request = produce_request(0, batch(1, &vec![1; 40_000 * number as usize]).bytes().clone(), 1);
        bytes.extend_from_slice(&frame(ApiKey::Produce, VERSION, number, &request));
    }
    let writer = {
        let mut socket = socket.try_clone().unwrap();
        thread::spawn(move || bytes.chunks(77_777).for_each(|chunk| socket.write_all(chunk).unwrap()))
    };
    for number in 0..20_i32 {
        let mut prefix = [0; 8];
        socket.read_exact(&mut prefix).unwrap();
        assert_eq!(prefix[4..], number.to_be_bytes());
        let length = u32::from_be_bytes(prefix[..4].try_into().unwrap()) as usize;
        socket.read_exact(&mut vec![0; length - 4]).unwrap();
    }
    writer.join().unwrap();
    assert_eq!(listed(&mut bare.link(), 0, -1), 20);
}
