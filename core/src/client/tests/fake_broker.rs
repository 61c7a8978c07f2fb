//! A small broker in memory, naive on purpose: it keeps batches in vectors and checks sequences by the rule's wording, so
//! that the client's retries are judged by something that shares no code with it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::fake_group::FakeGroup;
use crate::base::{LeaderEpoch, Offset};
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use crate::protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use crate::protocol::messages::*;
use crate::protocol::wire::{Reader, Writer};
use crate::protocol::{ApiKey, ErrorCode, KafkaString, Message};
use crate::record::Batch;

pub(super) const TOPIC: &str = "t";
pub(super) const TOPIC_UUID: [u8; 16] = [7; 16];
pub(super) const NODE: i32 = 1;

/// What goes wrong with the next request of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
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
pub(super) struct FakePartition {
    pub(super) batches: Vec<Batch>,
    pub(super) start: i64,
    pub(super) end: i64,
    /// Next sequence of each producer, and the base offsets of its batches by first sequence.
    pub(super) sequences: BTreeMap<i64, (i32, BTreeMap<i32, i64>)>,
}

pub(super) struct FakeBroker {
    pub(super) partitions: Vec<FakePartition>,
    /// Version of ApiVersions above which the broker refuses.
    pub(super) api_versions_max: i16,
    /// Versions that differ from what the codec knows.
    pub(super) versions: BTreeMap<i16, (i16, i16)>,
    pub(super) faults: Vec<(ApiKey, Fault)>,
    pub(super) next_producer: i64,
    /// Requests read: API and version.
    pub(super) seen: Vec<(ApiKey, i16)>,
    /// Answers to Metadata until the topic is there.
    pub(super) topic_appears_after: usize,
    /// The topic was deleted.
    pub(super) is_deleted: bool,
    /// The one group that there is.
    pub(super) group: FakeGroup,
}

impl FakeBroker {
    pub(super) fn new(partitions: usize) -> Self {
        Self {
            partitions: (0..partitions).map(|_| FakePartition::default()).collect(),
            api_versions_max: 4,
            versions: BTreeMap::new(),
            faults: Vec::new(),
            next_producer: 1_000,
            seen: Vec::new(),
            topic_appears_after: 0,
            is_deleted: false,
            group: FakeGroup::default(),
        }
    }

    pub(super) fn fault(mut self, api: ApiKey, fault: Fault) -> Self {
        self.faults.push((api, fault));
        self
    }

    /// The answer to a frame; `Err` is the end of the connection, `Ok(None)` silence.
    pub(super) fn serve(&mut self, frame: Bytes) -> Result<Option<Vec<u8>>, ()> {
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
            other if self.group.serve(other, version, &mut reader, &mut writer, refusal) => {}
            other => panic!("{other:?} is not asked by the client"),
        }
        reader.finish().unwrap();
        if fault == Some(Fault::LoseAnswer) {
            return Err(());
        }
        let slices = writer.into_frame().unwrap();
        Ok(Some(slices.iter().flat_map(|slice| slice.to_vec()).collect()))
    }

    pub(super) fn refuse_api_versions(&self, writer: &mut Writer) {
        let only = ApiVersion { api_key: 18, min_version: 0, max_version: self.api_versions_max };
        let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        let refusal = ApiVersionsResponse { error_code, api_keys: vec![only], ..Default::default() };
        refusal.encode(writer, 0).unwrap();
    }

    pub(super) fn api_versions(&self) -> ApiVersionsResponse {
        let listed = |api: &ApiKey| {
            let range = api.versions();
            let (min, max) = self.versions.get(&(*api as i16)).copied().unwrap_or((*range.start(), *range.end()));
            ApiVersion { api_key: *api as i16, min_version: min, max_version: max }
        };
        ApiVersionsResponse { api_keys: ApiKey::ALL.iter().map(listed).collect(), ..Default::default() }
    }

    pub(super) fn metadata(&mut self, request: &MetadataRequest) -> MetadataResponse {
        let exists = self.topic_appears_after == 0 && !self.is_deleted;
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

    pub(super) fn partition(&mut self, index: i32) -> &mut FakePartition {
        &mut self.partitions[usize::try_from(index).unwrap()]
    }

    pub(super) fn produce(&mut self, request: &ProduceRequest, refusal: Option<ErrorCode>) -> ProduceResponse {
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let is_known = topic.name == TOPIC || topic.topic_id == TOPIC_UUID;
            let mut answers = Vec::new();
            for data in &topic.partition_data {
                let (partition, records) = (self.partition(data.index), data.records.clone().unwrap());
                let outcome = match refusal.or_else(|| (!is_known).then_some(ErrorCode::UNKNOWN_TOPIC_ID)) {
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

    pub(super) fn list_offsets(&mut self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
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

    pub(super) fn fetch(&mut self, request: &FetchRequest, refusal: Option<ErrorCode>) -> FetchResponse {
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut answers = Vec::new();
            for asked in &topic.partitions {
                let max_bytes = usize::try_from(asked.partition_max_bytes).unwrap();
                let is_deleted = self.is_deleted;
                let partition = self.partition(asked.partition);
                let in_range = (partition.start..=partition.end).contains(&asked.fetch_offset);
                let code = match refusal {
                    Some(code) => code,
                    None if is_deleted => ErrorCode::UNKNOWN_TOPIC_ID,
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
    pub(super) fn append(&mut self, records: Bytes) -> Result<i64, ErrorCode> {
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

    pub(super) fn is_known(&self, mut records: Bytes) -> bool {
        let header = *Batch::split_from(&mut records).unwrap().header();
        let known = self.sequences.get(&header.producer_id().0);
        known.is_some_and(|(_, known)| known.contains_key(&header.base_sequence().0))
    }

    /// Whole batches from the one that holds `offset` on, then a part of the next, as a broker may cut it.
    pub(super) fn read(&self, offset: i64, max_bytes: usize) -> Vec<u8> {
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

    pub(super) fn first_len(&self, offset: i64) -> usize {
        let first = self.batches.iter().find(|batch| batch.header().last_offset().0 >= offset);
        first.map_or(0, |batch| batch.bytes().len())
    }

    pub(super) fn records(&self) -> Vec<(i64, i64, Vec<u8>)> {
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

    pub(super) fn first_at(&self, timestamp: i64) -> i64 {
        self.records().iter().find(|record| record.1 >= timestamp).map_or(-1, |record| record.0)
    }
}
