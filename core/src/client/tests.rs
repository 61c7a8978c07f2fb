//! The client joined to a small broker in memory, under a virtual clock and with faults.
//!
//! The broker here is naive on purpose: it keeps batches in vectors and checks sequences by the rule's wording, so that
//! the client's retries are judged by something that shares no code with it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::base::{LeaderEpoch, Monotonic, Offset, PartitionIndex, Timestamp};
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use crate::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use crate::protocol::messages::*;
use crate::protocol::wire::{Frame, Reader, Writer, next_frame};
use crate::protocol::{ApiKey, KafkaString, Message, Request};
use crate::record::{Batch, Codec, Compression, Header};

const TOPIC: &str = "t";
const TOPIC_UUID: [u8; 16] = [7; 16];
const NODE: i32 = 1;

/// What goes wrong with the next request of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The connection ends before the request is read.
    LoseRequest,
    /// The connection ends after the request has acted.
    LoseAnswer,
    /// The request does not act, and every partition in it is answered with this.
    Refuse(ErrorCode),
    /// No answer ever comes.
    Hang,
}

#[derive(Default)]
struct FakePartition {
    batches: Vec<Batch>,
    start: i64,
    end: i64,
    /// Next sequence of each producer, and the base offsets of its batches by first sequence.
    sequences: BTreeMap<i64, (i32, BTreeMap<i32, i64>)>,
}

struct FakeBroker {
    partitions: Vec<FakePartition>,
    /// Version of ApiVersions above which the broker refuses.
    api_versions_max: i16,
    /// Versions that differ from what the codec knows.
    versions: BTreeMap<i16, (i16, i16)>,
    faults: Vec<(ApiKey, Fault)>,
    next_producer: i64,
    /// Requests read: API and version.
    seen: Vec<(ApiKey, i16)>,
    /// Answers to Metadata until the topic is there.
    topic_appears_after: usize,
}

impl FakeBroker {
    fn new(partitions: usize) -> Self {
        Self {
            partitions: (0..partitions).map(|_| FakePartition::default()).collect(),
            api_versions_max: 4,
            versions: BTreeMap::new(),
            faults: Vec::new(),
            next_producer: 1_000,
            seen: Vec::new(),
            topic_appears_after: 0,
        }
    }

    fn fault(mut self, api: ApiKey, fault: Fault) -> Self {
        self.faults.push((api, fault));
        self
    }

    /// The answer to a frame; `Err` is the end of the connection, `Ok(None)` silence.
    fn serve(&mut self, frame: Bytes) -> Result<Option<Vec<u8>>, ()> {
        let mut reader = Reader::new(frame.clone());
        let key = i16::from_be_bytes([frame[0], frame[1]]);
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let api = ApiKey::from_i16(key).unwrap();
        let header = RequestHeader::decode(&mut reader, api.request_header_version(version)).unwrap();
        self.seen.push((api, version));
        let fault = self.faults.iter().position(|(of, _)| *of == api).map(|at| self.faults.remove(at).1);
        match fault {
            Some(Fault::LoseRequest) => return Err(()),
            Some(Fault::Hang) => return Ok(None),
            _ => {}
        }
        let refusal = match fault {
            Some(Fault::Refuse(code)) => Some(code),
            _ => None,
        };
        let mut writer = Writer::frame();
        ResponseHeader { correlation_id: header.correlation_id }
            .encode(&mut writer, api.response_header_version(version))
            .unwrap();
        match api {
            ApiKey::ApiVersions if version > self.api_versions_max => {
                // As a broker that does not know the version, which cannot read what follows.
                reader.skip(reader.remaining()).unwrap();
                self.refuse_api_versions(&mut writer);
            }
            ApiKey::ApiVersions => {
                ApiVersionsRequest::decode(&mut reader, version).unwrap();
                self.api_versions().encode(&mut writer, version).unwrap();
            }
            ApiKey::Metadata => {
                let request = MetadataRequest::decode(&mut reader, version).unwrap();
                self.metadata(&request).encode(&mut writer, version).unwrap();
            }
            ApiKey::InitProducerId => {
                let request = InitProducerIdRequest::decode(&mut reader, version).unwrap();
                assert_eq!(request.transactional_id, None);
                self.next_producer += 1;
                let error_code = refusal.map_or(0, |code| code.0);
                InitProducerIdResponse { error_code, producer_id: self.next_producer, ..Default::default() }
                    .encode(&mut writer, version)
                    .unwrap();
            }
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut reader, version).unwrap();
                let response = self.produce(&request, refusal);
                if request.acks == 0 {
                    return Ok(None);
                }
                response.encode(&mut writer, version).unwrap();
            }
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::decode(&mut reader, version).unwrap();
                self.list_offsets(&request).encode(&mut writer, version).unwrap();
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(&mut reader, version).unwrap();
                self.fetch(&request, refusal).encode(&mut writer, version).unwrap();
            }
            other => panic!("{other:?} is not asked by the client"),
        }
        reader.finish().unwrap();
        if fault == Some(Fault::LoseAnswer) {
            return Err(());
        }
        let slices = writer.into_frame().unwrap();
        Ok(Some(slices.iter().flat_map(|slice| slice.to_vec()).collect()))
    }

    fn refuse_api_versions(&self, writer: &mut Writer) {
        let only = ApiVersion { api_key: 18, min_version: 0, max_version: self.api_versions_max };
        let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        let refusal = ApiVersionsResponse { error_code, api_keys: vec![only], ..Default::default() };
        refusal.encode(writer, 0).unwrap();
    }

    fn api_versions(&self) -> ApiVersionsResponse {
        let listed = |api: &ApiKey| {
            let range = api.versions();
            let (min, max) = self.versions.get(&(*api as i16)).copied().unwrap_or((*range.start(), *range.end()));
            ApiVersion { api_key: *api as i16, min_version: min, max_version: max }
        };
        ApiVersionsResponse { api_keys: ApiKey::ALL.iter().map(listed).collect(), ..Default::default() }
    }

    fn metadata(&mut self, request: &MetadataRequest) -> MetadataResponse {
        let exists = self.topic_appears_after == 0;
        self.topic_appears_after = self.topic_appears_after.saturating_sub(1);
        let partition = |index: usize| MetadataResponsePartition {
            partition_index: i32::try_from(index).unwrap(),
            leader_id: NODE,
            leader_epoch: 0,
            replica_nodes: vec![NODE],
            isr_nodes: vec![NODE],
            ..Default::default()
        };
        let topic = |name: KafkaString| {
            let is_known = exists && name == TOPIC;
            MetadataResponseTopic {
                error_code: if is_known { 0 } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0 },
                name: Some(name),
                topic_id: if is_known { TOPIC_UUID } else { [0; 16] },
                partitions: if is_known { (0..self.partitions.len()).map(partition).collect() } else { Vec::new() },
                ..Default::default()
            }
        };
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NODE,
                host: "broker".into(),
                port: 9092,
                ..Default::default()
            }],
            controller_id: NODE,
            topics: request.topics.iter().flatten().map(|wanted| topic(wanted.name.clone().unwrap())).collect(),
            ..Default::default()
        }
    }

    fn partition(&mut self, index: i32) -> &mut FakePartition {
        &mut self.partitions[usize::try_from(index).unwrap()]
    }

    fn produce(&mut self, request: &ProduceRequest, refusal: Option<ErrorCode>) -> ProduceResponse {
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            assert!(topic.name == TOPIC || topic.topic_id == TOPIC_UUID);
            let mut answers = Vec::new();
            for data in &topic.partition_data {
                let (partition, records) = (self.partition(data.index), data.records.clone().unwrap());
                let outcome = match refusal {
                    // What was stored before is not refused for good when it comes again.
                    Some(code) if code.is_retriable() || !partition.is_known(records.clone()) => Err(code),
                    _ => partition.append(records),
                };
                answers.push(PartitionProduceResponse {
                    index: data.index,
                    error_code: outcome.err().map_or(0, |code| code.0),
                    base_offset: outcome.unwrap_or(-1),
                    ..Default::default()
                });
            }
            responses.push(TopicProduceResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partition_responses: answers,
            });
        }
        ProduceResponse { responses, ..Default::default() }
    }

    fn list_offsets(&mut self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let mut topics = Vec::new();
        for topic in &request.topics {
            let mut answers = Vec::new();
            for asked in &topic.partitions {
                let partition = self.partition(asked.partition_index);
                let offset = match asked.timestamp {
                    -1 => partition.end,
                    -2 => partition.start,
                    timestamp => partition.first_at(timestamp),
                };
                answers.push(ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    offset,
                    ..Default::default()
                });
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions: answers });
        }
        ListOffsetsResponse { topics, ..Default::default() }
    }

    fn fetch(&mut self, request: &FetchRequest, refusal: Option<ErrorCode>) -> FetchResponse {
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut answers = Vec::new();
            for asked in &topic.partitions {
                let max_bytes = usize::try_from(asked.partition_max_bytes).unwrap();
                let partition = self.partition(asked.partition);
                let in_range = (partition.start..=partition.end).contains(&asked.fetch_offset);
                let code = match refusal {
                    Some(code) => code,
                    None if in_range => ErrorCode::NONE,
                    None => ErrorCode::OFFSET_OUT_OF_RANGE,
                };
                let records = if code.is_none() { partition.read(asked.fetch_offset, max_bytes) } else { Vec::new() };
                answers.push(PartitionData {
                    partition_index: asked.partition,
                    error_code: code.0,
                    high_watermark: partition.end,
                    last_stable_offset: partition.end,
                    log_start_offset: partition.start,
                    records: Some(records.into()),
                    aborted_transactions: None,
                    ..Default::default()
                });
            }
            responses.push(FetchableTopicResponse {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partitions: answers,
            });
        }
        FetchResponse { responses, ..Default::default() }
    }
}

impl FakePartition {
    fn append(&mut self, records: Bytes) -> Result<i64, ErrorCode> {
        let mut run = records;
        let batch = Batch::split_from(&mut run).unwrap();
        assert!(run.is_empty(), "one batch in a request");
        assert!(batch.is_crc_valid());
        let header = *batch.header();
        assert_eq!((header.base_offset(), header.leader_epoch()), (Offset(0), LeaderEpoch::NONE));
        let count = header.record_count();
        if header.producer_id().0 >= 0 {
            let (next, known) = self.sequences.entry(header.producer_id().0).or_default();
            let first = header.base_sequence().0;
            if let Some(base) = known.get(&first) {
                return Ok(*base);
            }
            if first != *next {
                return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
            }
            *next += count;
            known.insert(first, self.end);
        }
        let base = self.end;
        self.batches.push(batch.stamped(Offset(base), LeaderEpoch(0)));
        self.end += i64::from(count);
        Ok(base)
    }

    fn is_known(&self, mut records: Bytes) -> bool {
        let header = *Batch::split_from(&mut records).unwrap().header();
        let known = self.sequences.get(&header.producer_id().0);
        known.is_some_and(|(_, known)| known.contains_key(&header.base_sequence().0))
    }

    /// Whole batches from the one that holds `offset` on, then a part of the next, as a broker may cut it.
    fn read(&self, offset: i64, max_bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for batch in self.batches.iter().filter(|batch| batch.header().last_offset().0 >= offset) {
            out.extend_from_slice(batch.bytes());
            if out.len() > max_bytes {
                out.truncate(max_bytes.max(self.first_len(offset)));
                break;
            }
        }
        out
    }

    fn first_len(&self, offset: i64) -> usize {
        let first = self.batches.iter().find(|batch| batch.header().last_offset().0 >= offset);
        first.map_or(0, |batch| batch.bytes().len())
    }

    fn records(&self) -> Vec<(i64, i64, Vec<u8>)> {
        let mut out = Vec::new();
        for batch in &self.batches {
            let opened = batch.open(1 << 30).unwrap();
            for record in batch.records(&opened).map(Result::unwrap) {
                out.push((
                    batch.header().base_offset().0 + i64::from(record.offset_delta),
                    batch.header().base_timestamp().0 + record.timestamp_delta_ms,
                    record.value.unwrap().to_vec(),
                ));
            }
        }
        out
    }

    fn first_at(&self, timestamp: i64) -> i64 {
        self.records().iter().find(|record| record.1 >= timestamp).map_or(-1, |record| record.0)
    }
}

/// Client and broker with the network between them.
struct World {
    now: Monotonic,
    client: Client,
    broker: FakeBroker,
    /// What the broker has received and not cut into frames, for each connection.
    links: BTreeMap<LinkId, BytesMut>,
    /// Addresses at which nobody listens.
    unreachable: BTreeSet<String>,
    /// Bytes that the client gets at once.
    chunk_bytes: usize,
}

impl World {
    fn new(broker: FakeBroker) -> Self {
        Self::with_bootstrap(broker, &["broker:9092"])
    }

    fn with_bootstrap(broker: FakeBroker, bootstrap: &[&str]) -> Self {
        let config = ClientConfig::new(bootstrap.iter().map(|text| Address::parse(text).unwrap()).collect());
        let mut client = Client::new(config);
        client.want_topic(TOPIC);
        Self {
            now: Monotonic(1),
            client,
            broker,
            links: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            chunk_bytes: usize::MAX,
        }
    }

    /// Moves bytes until nothing moves. Returns the answers that came.
    fn exchange(&mut self) -> Vec<(RequestId, Result<Answer, RequestError>)> {
        self.client.advance(self.now);
        let mut answers = Vec::new();
        loop {
            let mut moved = false;
            while let Some(link) = self.client.poll_close() {
                self.links.remove(&link);
            }
            while let Some((link, address)) = self.client.poll_connect(self.now) {
                moved = true;
                if self.unreachable.contains(&address.to_string()) {
                    self.client.handle_closed(self.now, link, "nobody listens".to_owned());
                } else {
                    self.links.insert(link, BytesMut::new());
                    self.client.handle_open(link);
                }
            }
            while let Some((link, bytes)) = self.client.poll_transmit() {
                moved = true;
                self.links.get_mut(&link).unwrap().extend_from_slice(&bytes);
            }
            for link in self.links.keys().copied().collect::<Vec<_>>() {
                moved |= self.serve(link);
            }
            while let Some(answer) = self.client.poll_answer(self.now) {
                moved = true;
                answers.push(answer);
            }
            if !moved {
                return answers;
            }
        }
    }

    fn serve(&mut self, link: LinkId) -> bool {
        let mut moved = false;
        while let Some(buffer) = self.links.get_mut(&link) {
            let Frame::Complete(frame) = next_frame(buffer, 1 << 30).unwrap() else { break };
            moved = true;
            match self.broker.serve(frame) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    for chunk in answer.chunks(self.chunk_bytes.min(answer.len())) {
                        self.client.handle_bytes(self.now, link, BytesMut::from(chunk));
                    }
                }
                Err(()) => {
                    self.links.remove(&link);
                    self.client.handle_closed(self.now, link, "connection reset".to_owned());
                }
            }
        }
        moved
    }

    /// Lets the clock jump to whatever is due next.
    fn wait(&mut self, other: Option<Monotonic>) {
        let next = [self.client.poll_timeout(), other].into_iter().flatten().min();
        self.now = next.map_or(self.now.plus_ms(1), |next| next.max(Monotonic(self.now.0 + 1)));
    }

    fn call<R: Request + Send + 'static>(&mut self, request: R) -> Result<R::Response, RequestError> {
        let id = self.client.send(self.now, Target::Any, request);
        for _ in 0..1_000 {
            for (answered, result) in self.exchange() {
                if answered == id {
                    return result.map(|answer| answer.decode::<R>().unwrap());
                }
            }
            self.wait(None);
        }
        panic!("no answer");
    }

    /// Drives a producer until everything it has is settled.
    fn settle(&mut self, producer: &mut Producer) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for _ in 0..10_000 {
            let is_quiet = !self.drive(producer);
            deliveries.extend(std::iter::from_fn(|| producer.poll_delivery()));
            if producer.is_idle() {
                return deliveries;
            }
            if is_quiet {
                self.wait(producer.poll_timeout(self.now));
            }
        }
        panic!("the producer does not settle: {:?} {:?}", self.now, self.broker.seen.len());
    }

    /// Sends what is due and takes the answers; false if nothing came.
    fn drive(&mut self, producer: &mut Producer) -> bool {
        producer.advance(self.now, &mut self.client);
        let answers = self.exchange();
        let is_active = !answers.is_empty();
        for (id, result) in answers {
            assert!(producer.handle_answer(self.now, &mut self.client, id, result).is_ok());
        }
        is_active
    }

    fn connect(&mut self) {
        self.exchange();
        assert!(matches!(self.client.cluster().topic(TOPIC), Some(Ok(_))), "{:?}", self.client.metadata_failure());
    }

    fn append(&self, producer: &mut Producer, partition: Option<i32>, value: &[u8]) -> Result<RecordId, AppendError> {
        let record = RecordToSend { timestamp: Timestamp(5), key: None, value: Some(value), headers: &[] };
        producer.append(self.now, &self.client, TOPIC, partition.map(PartitionIndex), &record, 0)
    }

    /// Drives a consumer until it has read all there is, and returns values by partition.
    fn read_to_end(&mut self, consumer: &mut Consumer) -> BTreeMap<i32, Vec<(i64, Vec<u8>)>> {
        let mut read: BTreeMap<i32, Vec<(i64, Vec<u8>)>> = BTreeMap::new();
        for _ in 0..10_000 {
            consumer.advance(self.now, &mut self.client);
            let answers = self.exchange();
            let is_quiet = answers.is_empty();
            for (id, result) in answers {
                assert!(consumer.handle_answer(self.now, &mut self.client, id, result).is_ok());
            }
            while let Some(batch) = consumer.poll_batch() {
                let values = read.entry(batch.partition.0).or_default();
                values.extend(batch.records().map(|(offset, _, record)| (offset.0, record.value.unwrap().to_vec())));
            }
            if consumer.is_at_end() {
                return read;
            }
            if is_quiet {
                self.wait(consumer.poll_timeout(self.now));
            }
        }
        panic!("the consumer does not reach the end: {:?} {:?}", self.now, self.broker.seen.len());
    }
}

fn options() -> ProducerOptions {
    ProducerOptions { batch_bytes_max: 300, ..ProducerOptions::default() }
}

#[test]
fn an_old_broker_is_asked_for_its_versions_in_one_that_it_has() {
    for (api_versions_max, asked) in [(4, vec![4]), (3, vec![4, 3]), (0, vec![4, 0])] {
        let mut broker = FakeBroker::new(1);
        broker.api_versions_max = api_versions_max;
        broker.versions.insert(ApiKey::Metadata as i16, (4, 7));
        let mut world = World::new(broker);
        world.connect();
        let versions = world.broker.seen.iter().filter(|(api, _)| *api == ApiKey::ApiVersions);
        assert_eq!(versions.map(|(_, version)| *version).collect::<Vec<_>>(), asked);
        assert_eq!(world.broker.seen.last(), Some(&(ApiKey::Metadata, 7)), "the highest that both have");
    }
}

#[test]
fn what_the_broker_does_not_serve_is_told_and_nothing_is_sent() {
    let mut broker = FakeBroker::new(1);
    broker.versions.insert(ApiKey::InitProducerId as i16, (90, 91));
    let mut world = World::new(broker);
    let error = world.call(InitProducerIdRequest::default()).unwrap_err();
    assert_eq!(error, RequestError::Unsupported(ApiKey::InitProducerId));
    assert!(world.broker.seen.iter().all(|(api, _)| *api != ApiKey::InitProducerId));
}

#[test]
fn answers_arrive_whole_however_the_network_cuts_them() {
    for chunk_bytes in [1, 2, 3, 5, 7, 100] {
        let mut world = World::new(FakeBroker::new(3));
        world.chunk_bytes = chunk_bytes;
        world.connect();
        assert_eq!(world.client.cluster().leader(TOPIC, PartitionIndex(2)).map(|node| node.0), Some(NODE));
    }
}

#[test]
fn every_bootstrap_address_is_tried_and_the_last_failure_told() {
    let mut world = World::with_bootstrap(FakeBroker::new(1), &["a:1", "b:2", "broker:9092"]);
    world.unreachable.extend(["a:1".to_owned(), "b:2".to_owned()]);
    world.connect();

    let mut world = World::with_bootstrap(FakeBroker::new(1), &["a:1", "b:2"]);
    world.unreachable.extend(["a:1".to_owned(), "b:2".to_owned()]);
    let error = world.call(MetadataRequest::default()).unwrap_err();
    let unreachable = ConnectionError::Unreachable("nobody listens".to_owned());
    assert!(matches!(error, RequestError::Connection { error, .. } if error == unreachable));
}

#[test]
fn a_silent_broker_is_given_up_in_time() {
    let mut world = World::new(FakeBroker::new(1).fault(ApiKey::InitProducerId, Fault::Hang));
    world.connect();
    let before = world.now;
    let error =
        world.call(InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() }).unwrap_err();
    assert!(matches!(error, RequestError::Connection { error: ConnectionError::TimedOut, .. }), "{error:?}");
    assert_eq!(world.now.since_ns(before) / 1_000_000, 30_000);
}

#[test]
fn garbage_ends_the_connection_and_not_the_client() {
    for garbage in [&[0xff; 16][..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0, 0, 0, 5, 0, 0, 0, 99, 0][..]] {
        let mut world = World::new(FakeBroker::new(1));
        let id = world.client.send(world.now, Target::Any, MetadataRequest::default());
        let (link, _) = world.client.poll_connect(world.now).unwrap();
        world.client.handle_open(link);
        world.client.handle_bytes(world.now, link, BytesMut::from(garbage));
        assert_eq!(world.client.poll_close(), Some(link));
        let (answered, result) = world.client.poll_answer(world.now).unwrap();
        assert_eq!(answered, id);
        assert!(matches!(result, Err(RequestError::Connection { .. })), "{result:?}");
        for _ in 0..3 {
            world.wait(None);
            world.exchange();
        }
        world.connect();
    }
}

#[test]
fn a_request_that_the_broker_passes_over_still_has_its_answer() {
    let mut world = World::new(FakeBroker::new(1).fault(ApiKey::ListOffsets, Fault::Hang));
    world.connect();
    let passed_over = world.client.send(world.now, Target::Any, ListOffsetsRequest::default());
    let next = world.client.send(world.now, Target::Any, MetadataRequest::default());
    let answers = world.exchange();
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [passed_over, next]);
    for (_, result) in answers {
        let unexpected = matches!(
            result,
            Err(RequestError::Connection { error: ConnectionError::Unexpected { correlation_id: 3 }, .. })
        );
        assert!(unexpected);
    }
}

#[test]
fn records_reach_the_partition_of_their_key_in_order() {
    let mut world = World::new(FakeBroker::new(4));
    world.connect();
    let mut producer = Producer::new(options());
    let mut expected: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    for number in 0..200 {
        let (key, value) = (format!("key{}", number % 17), format!("value{number}"));
        let headers = [Header { key: b"h", value: Some(b"1") }];
        let record = RecordToSend {
            timestamp: Timestamp(number),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &headers,
        };
        producer.append(world.now, &world.client, TOPIC, None, &record, 0).unwrap();
        expected.entry(partition_of_key(key.as_bytes(), 4).0).or_default().push(value.into_bytes());
    }
    let deliveries = world.settle(&mut producer);
    let delivered: BTreeSet<u64> = deliveries.iter().flat_map(|d| &d.records).map(|id| id.0).collect();
    assert_eq!(delivered, (0..200).collect());
    for (index, partition) in world.broker.partitions.iter().enumerate() {
        let values: Vec<Vec<u8>> = partition.records().into_iter().map(|record| record.2).collect();
        assert_eq!(Some(&values), expected.get(&i32::try_from(index).unwrap()));
    }
    for delivery in &deliveries {
        assert!(delivery.result.is_ok(), "{delivery:?}");
    }
}

#[test]
fn a_batch_waits_for_company_no_longer_than_it_lingers() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { linger_ms: 50, ..ProducerOptions::default() });
    world.append(&mut producer, None, b"a").unwrap();
    let start = world.now;
    while world.drive(&mut producer) {}
    assert_eq!(world.broker.partitions[0].end, 0);
    let deliveries = world.settle(&mut producer);
    assert_eq!(world.now.since_ns(start) / 1_000_000, 50);
    assert_eq!(deliveries.len(), 1);
    // A flush does not wait.
    world.append(&mut producer, None, b"b").unwrap();
    producer.flush();
    let start = world.now;
    world.settle(&mut producer);
    assert_eq!(world.now, start);
    assert_eq!(world.broker.partitions[0].end, 2);
}

#[test]
fn an_answer_that_is_lost_makes_no_record_appear_twice() {
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Fault::Refuse(ErrorCode::REQUEST_TIMED_OUT),
        Fault::Hang,
    ] {
        let mut world = World::new(FakeBroker::new(1).fault(ApiKey::Produce, fault));
        world.connect();
        let mut producer = Producer::new(options());
        let values: Vec<Vec<u8>> = (0..50).map(|number| format!("value{number:03}").into_bytes()).collect();
        for value in &values {
            world.append(&mut producer, Some(0), value).unwrap();
        }
        let deliveries = world.settle(&mut producer);
        assert!(deliveries.iter().all(|delivery| delivery.result.is_ok()), "{fault:?}: {deliveries:?}");
        let stored: Vec<Vec<u8>> = world.broker.partitions[0].records().into_iter().map(|record| record.2).collect();
        assert_eq!(stored, values, "{fault:?}");
    }
}

#[test]
fn without_idempotence_order_still_holds() {
    let broker = FakeBroker::new(1)
        .fault(ApiKey::Produce, Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER))
        .fault(ApiKey::Produce, Fault::LoseRequest);
    let mut world = World::new(broker);
    world.connect();
    let mut producer = Producer::new(ProducerOptions { acks: Acks::Leader, ..options() });
    let values: Vec<Vec<u8>> = (0..50).map(|number| format!("value{number:03}").into_bytes()).collect();
    for value in &values {
        world.append(&mut producer, Some(0), value).unwrap();
    }
    world.settle(&mut producer);
    let stored: Vec<Vec<u8>> = world.broker.partitions[0].records().into_iter().map(|record| record.2).collect();
    assert_eq!(stored, values);
    assert!(world.broker.seen.iter().all(|(api, _)| *api != ApiKey::InitProducerId));
}

#[test]
fn without_acks_what_is_written_counts() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { acks: Acks::None, linger_ms: 0, ..options() });
    for _ in 0..50 {
        world.append(&mut producer, Some(0), b"value").unwrap();
    }
    producer.advance(world.now, &mut world.client);
    assert_eq!(world.client.poll_timeout(), Some(Monotonic(0)), "the driver must not wait for what will not come");
    let deliveries = world.settle(&mut producer);
    assert!(deliveries.iter().all(|delivery| delivery.result == Ok(Offset(-1))), "{deliveries:?}");
    assert_eq!(world.broker.partitions[0].end, 50);
}

#[test]
fn a_refused_batch_fails_alone_and_those_behind_it_get_new_numbers() {
    let broker = FakeBroker::new(1).fault(ApiKey::Produce, Fault::Refuse(ErrorCode::MESSAGE_TOO_LARGE));
    let mut world = World::new(broker);
    world.connect();
    let mut producer = Producer::new(options());
    for number in 0..50 {
        world.append(&mut producer, Some(0), format!("value{number:03}").as_bytes()).unwrap();
    }
    let deliveries = world.settle(&mut producer);
    let (failed, delivered): (Vec<_>, Vec<_>) = deliveries.iter().partition(|delivery| delivery.result.is_err());
    assert_eq!(failed.len(), 1);
    assert!(failed[0].result.as_ref().unwrap_err().to_string().starts_with("MESSAGE_TOO_LARGE (10)"));
    assert_eq!(failed[0].records.first(), Some(&RecordId(0)));
    let count = delivered.iter().map(|delivery| delivery.records.len()).sum::<usize>();
    assert_eq!(count + failed[0].records.len(), 50);
    let stored: Vec<Vec<u8>> = world.broker.partitions[0].records().into_iter().map(|record| record.2).collect();
    assert_eq!(stored.len(), count);
    assert!(stored.is_sorted());
}

#[test]
fn what_cannot_be_delivered_in_time_says_why() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { delivery_timeout_ms: 1_000, ..options() });
    world.append(&mut producer, Some(0), b"a").unwrap();
    let links: Vec<LinkId> = world.links.keys().copied().collect();
    for link in links {
        world.links.remove(&link);
        world.client.handle_closed(world.now, link, "connection reset".to_owned());
    }
    world.unreachable.insert("broker:9092".to_owned());
    let start = world.now;
    let deliveries = world.settle(&mut producer);
    let [delivery] = deliveries.as_slice() else { panic!("{deliveries:?}") };
    let text = delivery.result.as_ref().unwrap_err().to_string();
    assert!(text.contains("not acknowledged in time") && text.contains("broker:9092: nobody listens"), "{text}");
    assert_eq!(world.now.since_ns(start) / 1_000_000, 1_000);
}

#[test]
fn a_producer_takes_no_more_than_its_buffer_and_no_record_that_cannot_be_sent() {
    let mut world = World::new(FakeBroker::new(1));
    let mut producer =
        Producer::new(ProducerOptions { buffer_bytes_max: 1_000, request_bytes_max: 3_000, ..options() });
    assert_eq!(world.append(&mut producer, None, b"a"), Err(AppendError::TopicUnknown));
    world.connect();
    assert!(matches!(world.append(&mut producer, None, &[0; 3_000]), Err(AppendError::TooLarge { .. })));
    assert_eq!(world.append(&mut producer, Some(1), b"a"), Err(AppendError::NoSuchPartition { count: 1 }));
    let mut taken = 0;
    while world.append(&mut producer, None, &[0; 100]).is_ok() {
        taken += 1;
    }
    assert_eq!(world.append(&mut producer, None, &[0; 100]), Err(AppendError::BufferFull));
    assert!((5..10).contains(&taken), "{taken}");
    world.settle(&mut producer);
    assert!(world.append(&mut producer, None, &[0; 100]).is_ok(), "room again");
}

#[test]
fn a_topic_that_appears_later_is_found() {
    let mut broker = FakeBroker::new(1);
    broker.topic_appears_after = 3;
    let mut world = World::new(broker);
    let mut producer = Producer::new(options());
    world.exchange();
    assert!(matches!(world.append(&mut producer, None, b"a"), Err(AppendError::Topic(code)) if code.is_retriable()));
    for _ in 0..3 {
        world.wait(None);
        world.exchange();
    }
    assert!(world.append(&mut producer, None, b"a").is_ok());
    // One question each 100 ms, not a storm.
    let asked = world.broker.seen.iter().filter(|(api, _)| *api == ApiKey::Metadata).count();
    assert_eq!((asked, world.now.0 / 1_000_000), (4, 300));
}

/// A broker whose two partitions hold 100 records each, in batches of ten, at timestamps 0, 10, 20, …
fn filled(compression: Compression) -> FakeBroker {
    let mut world = World::new(FakeBroker::new(2));
    world.connect();
    for partition in 0..2 {
        for first in (0..100).step_by(10) {
            let mut producer =
                Producer::new(ProducerOptions { compression, is_idempotent: false, ..ProducerOptions::default() });
            for number in first..first + 10 {
                let value = format!("{partition}/{number}");
                let record = RecordToSend {
                    timestamp: Timestamp(number * 10),
                    key: None,
                    value: Some(value.as_bytes()),
                    headers: &[],
                };
                let index = Some(PartitionIndex(partition));
                producer.append(world.now, &world.client, TOPIC, index, &record, 0).unwrap();
            }
            world.settle(&mut producer);
        }
    }
    let mut broker = FakeBroker::new(0);
    broker.partitions = world.broker.partitions;
    broker
}

#[test]
fn a_consumer_begins_where_it_is_told_and_reads_to_the_end() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for (start, first) in [
            (StartOffset::Earliest, 0),
            (StartOffset::Latest, 100),
            (StartOffset::At(Offset(37)), 37),
            (StartOffset::At(Offset(100)), 100),
            (StartOffset::BeforeEnd(5), 95),
            (StartOffset::BeforeEnd(500), 0),
            (StartOffset::Time(Timestamp(411)), 42),
            (StartOffset::Time(Timestamp(99_999)), 100),
        ] {
            let mut world = World::new(filled(Compression { codec, level: None }));
            world.connect();
            // Answers are cut within a batch, and each makes some progress.
            let mut consumer = Consumer::new(ConsumerOptions { partition_bytes_max: 400, ..Default::default() });
            consumer.assign(TOPIC, PartitionIndex(0), start);
            consumer.assign(TOPIC, PartitionIndex(1), start);
            let read = world.read_to_end(&mut consumer);
            for partition in 0..2 {
                let expected: Vec<(i64, Vec<u8>)> =
                    (first..100).map(|number| (number, format!("{partition}/{number}").into_bytes())).collect();
                assert_eq!(read.get(&partition).cloned().unwrap_or_default(), expected, "{codec:?} {start:?}");
                assert_eq!(consumer.position(TOPIC, PartitionIndex(partition)), Some(Offset(100)));
            }
        }
    }
}

#[test]
fn a_consumer_survives_faults_and_tells_what_does_not_pass() {
    for fault in [
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::Hang,
        Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Fault::Refuse(ErrorCode::KAFKA_STORAGE_ERROR),
    ] {
        let mut world = World::new(filled(Compression::default()).fault(ApiKey::Fetch, fault));
        world.connect();
        let mut consumer = Consumer::new(ConsumerOptions::default());
        consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
        assert_eq!(world.read_to_end(&mut consumer).remove(&0).map(|read| read.len()), Some(100), "{fault:?}");
    }
    let lasting = Fault::Refuse(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let mut world = World::new(filled(Compression::default()).fault(ApiKey::Fetch, lasting));
    world.connect();
    let mut consumer = Consumer::new(ConsumerOptions::default());
    consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
    consumer.assign(TOPIC, PartitionIndex(9), StartOffset::Earliest);
    world.read_to_end(&mut consumer);
    let errors: Vec<_> =
        std::iter::from_fn(|| consumer.poll_error()).map(|(_, index, error)| (index.0, error)).collect();
    assert_eq!(
        errors,
        [
            (9, ConsumerError::NoSuchPartition { count: 2 }),
            (0, ConsumerError::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED))
        ]
    );
}

#[test]
fn an_offset_that_is_gone_is_told_or_replaced_as_asked() {
    for (reset, first) in
        [(Some(StartOffset::Earliest), Some(30)), (Some(StartOffset::Latest), Some(100)), (None, None)]
    {
        let mut broker = filled(Compression::default());
        for partition in &mut broker.partitions {
            partition.batches.drain(..3);
            partition.start = 30;
        }
        let mut world = World::new(broker);
        world.connect();
        let mut consumer = Consumer::new(ConsumerOptions { reset, ..ConsumerOptions::default() });
        consumer.assign(TOPIC, PartitionIndex(0), StartOffset::At(Offset(5)));
        let read = world.read_to_end(&mut consumer).remove(&0).unwrap_or_default();
        let error = consumer.poll_error();
        match first {
            Some(first) => {
                assert_eq!(read.len(), usize::try_from(100 - first).unwrap());
                assert!(error.is_none());
            }
            None => {
                let (_, _, error) = error.unwrap();
                assert_eq!(error, ConsumerError::Refused(ErrorCode::OFFSET_OUT_OF_RANGE));
            }
        }
    }
}

#[test]
fn a_damaged_batch_is_not_passed_on() {
    let mut broker = filled(Compression::default());
    let damaged = {
        let mut bytes = broker.partitions[0].batches[2].bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Batch::split_from(&mut Bytes::from(bytes)).unwrap()
    };
    broker.partitions[0].batches[2] = damaged;
    let mut world = World::new(broker);
    world.connect();
    let mut consumer = Consumer::new(ConsumerOptions::default());
    consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
    let read = world.read_to_end(&mut consumer).remove(&0).unwrap();
    assert_eq!(read.len(), 20);
    let (_, _, error) = consumer.poll_error().unwrap();
    assert!(matches!(error, ConsumerError::Corrupt { offset: Offset(20), .. }), "{error}");
}

/// A small generator: the seed is all that there is to a failure.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn random_faults_neither_lose_nor_repeat_nor_reorder_a_record() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut broker = FakeBroker::new(3);
        for _ in 0..random.below(12) {
            let fault = match random.below(5) {
                0 => Fault::LoseRequest,
                1 => Fault::LoseAnswer,
                2 => Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                3 => Fault::Refuse(ErrorCode::NOT_ENOUGH_REPLICAS),
                _ => Fault::Refuse(ErrorCode::MESSAGE_TOO_LARGE),
            };
            let api = match random.below(6) {
                0 => ApiKey::Metadata,
                1 => ApiKey::InitProducerId,
                _ => ApiKey::Produce,
            };
            // What ends a request for good is for Produce alone; the others have no such answer here.
            let lasts = fault == Fault::Refuse(ErrorCode::MESSAGE_TOO_LARGE);
            broker.faults.push((if lasts { ApiKey::Produce } else { api }, fault));
        }
        let mut world = World::new(broker);
        for _ in 0..200 {
            world.exchange();
            if matches!(world.client.cluster().topic(TOPIC), Some(Ok(_))) {
                break;
            }
            world.wait(None);
        }
        let mut producer = Producer::new(ProducerOptions {
            batch_bytes_max: 100 + usize::try_from(random.below(200)).unwrap(),
            request_bytes_max: 2_000,
            ..ProducerOptions::default()
        });
        let mut sent: BTreeMap<u64, (i32, Vec<u8>)> = BTreeMap::new();
        let mut deliveries = Vec::new();
        for number in 0..150 {
            let partition = i32::try_from(random.below(3)).unwrap();
            let value = format!("{number:06}").into_bytes();
            let id = world.append(&mut producer, Some(partition), &value).unwrap();
            sent.insert(id.0, (partition, value));
            if random.below(10) == 0 {
                world.drive(&mut producer);
                world.now = world.now.plus_ms(random.below(20));
            }
        }
        deliveries.extend(world.settle(&mut producer));
        let mut expected: Vec<BTreeMap<i64, Vec<u8>>> = vec![BTreeMap::new(); 3];
        for delivery in deliveries {
            let index = usize::try_from(delivery.partition.0).unwrap();
            for (at, id) in delivery.records.iter().enumerate() {
                let (partition, value) = sent.remove(&id.0).expect("one word on each record");
                assert_eq!(partition, delivery.partition.0);
                if let Ok(base) = &delivery.result {
                    let offset = base.0 + i64::try_from(at).unwrap();
                    assert_eq!(expected[index].insert(offset, value), None, "seed {seed}: one record an offset");
                }
            }
        }
        assert!(sent.is_empty(), "seed {seed}: no word on {sent:?}");
        for (partition, expected) in world.broker.partitions.iter().zip(expected) {
            let stored: BTreeMap<i64, Vec<u8>> =
                partition.records().into_iter().map(|(offset, _, value)| (offset, value)).collect();
            assert_eq!(stored, expected, "seed {seed}");
            assert!(stored.values().is_sorted(), "seed {seed}: out of order");
        }
    }
}
