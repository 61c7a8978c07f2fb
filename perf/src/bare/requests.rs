//! What clients ask before and beside produce and fetch, and how any request is taken apart and answered.

use std::ops::RangeInclusive;

use bytes::Bytes;
use corelane_core::protocol::messages::api_versions_response::ApiVersion;
use corelane_core::protocol::messages::create_topics_response::CreatableTopicResult;
use corelane_core::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use corelane_core::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use corelane_core::protocol::messages::{
    ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, HeartbeatResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse, RequestHeader,
    ResponseHeader,
};
use corelane_core::protocol::wire::{Reader, Writer};
use corelane_core::protocol::{ApiKey, ErrorCode, KafkaString, Message};

use super::connection::End;
use super::group::{leave_group, offset_commit, offset_fetch, sync_group};
use super::topics::{LEADER_EPOCH, Topics};

/// What is listed. Topics are known by name only, so nothing is offered that asks by id. The versions of Produce before
/// [`OLDEST_PRODUCE`], which are refused, are here for librdkafka: without them it compresses nothing but with Zstandard.
const LISTED: &[(ApiKey, RangeInclusive<i16>)] = &[
    (ApiKey::Produce, 0..=12),
    (ApiKey::Fetch, 4..=12),
    (ApiKey::ListOffsets, 1..=7),
    (ApiKey::Metadata, 0..=12),
    (ApiKey::OffsetCommit, 2..=9),
    (ApiKey::OffsetFetch, 1..=7),
    (ApiKey::FindCoordinator, 0..=4),
    (ApiKey::JoinGroup, 0..=9),
    (ApiKey::Heartbeat, 0..=4),
    (ApiKey::LeaveGroup, 0..=5),
    (ApiKey::SyncGroup, 0..=5),
    (ApiKey::ApiVersions, 0..=4),
    (ApiKey::CreateTopics, 0..=7),
    (ApiKey::InitProducerId, 0..=5),
];

/// The first version of Produce with batches of today's format.
pub(super) const OLDEST_PRODUCE: i16 = 3;

/// The one broker there is.
pub(super) const NODE_ID: i32 = 1;
const CLUSTER_ID: &str = "bare";
/// First version of ListOffsets that can say under whose leadership a record was written.
const VERSION_WITH_LEADER_EPOCH: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// What a request is, and so how its answer looks.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) api: ApiKey,
    pub(super) version: i16,
    correlation_id: i32,
}

impl Asked {
    /// Reads the header in front of a request; `reader` then stands before its body.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, End> {
        let mut ahead = reader.clone();
        let (key, version) = (ahead.i16().map_err(malformed)?, ahead.i16().map_err(malformed)?);
        let listed = LISTED.iter().find(|(api, _)| *api as i16 == key);
        let (api, versions) =
            listed.ok_or_else(|| End::Fault(format!("asks for API {key}, which is not served here")))?;
        let oldest = if *api == ApiKey::Produce { OLDEST_PRODUCE } else { *versions.start() };
        let served = oldest..=*versions.end();
        let header = RequestHeader::decode(reader, api.request_header_version(version)).map_err(malformed)?;
        let asked = Self { api: *api, version, correlation_id: header.correlation_id };
        if !served.contains(&version) && *api != ApiKey::ApiVersions {
            return Err(End::Fault(format!("asks for {} in version {version}, not {served:?}", api.name())));
        }
        Ok(asked)
    }

    /// The frame of the answer.
    pub(super) fn answer<M: Message>(self, response: &M) -> Result<Vec<Bytes>, End> {
        let mut writer = Writer::frame();
        let header = ResponseHeader { correlation_id: self.correlation_id };
        let encoded = header
            .encode(&mut writer, self.api.response_header_version(self.version))
            .and_then(|()| response.encode(&mut writer, self.version))
            .and_then(|()| writer.into_frame());
        encoded.map_err(|error| End::Fault(format!("is owed an answer that cannot be written: {error}")))
    }
}

/// Reads the body of a request.
pub(super) fn decode<M: Message>(asked: Asked, reader: &mut Reader) -> Result<M, End> {
    M::decode(reader, asked.version).map_err(malformed)
}

fn malformed(error: impl std::fmt::Display) -> End {
    End::Fault(format!("sends a request that is none: {error}"))
}

/// What the small requests need.
pub(super) struct Cluster {
    /// Where it listens, as it is told to clients.
    pub(super) host: KafkaString,
    pub(super) port: i32,
    pub(super) next_producer_id: i64,
    /// Members of groups so far.
    pub(super) members: u64,
}

impl Cluster {
    /// Serves everything but produce and fetch.
    pub(super) fn serve(&mut self, asked: Asked, reader: &mut Reader, topics: &mut Topics) -> Result<Vec<Bytes>, End> {
        match asked.api {
            ApiKey::Metadata => asked.answer(&self.metadata(&decode(asked, reader)?, asked.version, topics)),
            ApiKey::ListOffsets => asked.answer(&list_offsets(decode(asked, reader)?, asked.version, topics)),
            ApiKey::CreateTopics => asked.answer(&create_topics(decode(asked, reader)?, topics)),
            ApiKey::InitProducerId => asked.answer(&self.init_producer_id(&decode(asked, reader)?)),
            ApiKey::FindCoordinator => asked.answer(&self.find_coordinator(decode(asked, reader)?)),
            ApiKey::JoinGroup => asked.answer(&self.join_group(decode(asked, reader)?, asked.version)),
            ApiKey::SyncGroup => asked.answer(&sync_group(decode(asked, reader)?)),
            ApiKey::Heartbeat => asked.answer(&HeartbeatResponse::default()),
            ApiKey::LeaveGroup => asked.answer(&leave_group(decode(asked, reader)?)),
            ApiKey::OffsetFetch => asked.answer(&offset_fetch(decode(asked, reader)?)),
            ApiKey::OffsetCommit => asked.answer(&offset_commit(decode(asked, reader)?)),
            _ => api_versions(asked),
        }
    }

    fn metadata(&self, request: &MetadataRequest, version: i16, topics: &mut Topics) -> MetadataResponse {
        // Version 0 has no null: there it is the empty list that asks for all.
        let named = request.topics.as_ref().filter(|named| version > 0 || !named.is_empty());
        let found: Vec<(KafkaString, Result<usize, ErrorCode>)> = match named {
            Some(named) => {
                let names = named.iter().map(|topic| topic.name.clone().unwrap_or_default());
                names.map(|name| (name.clone(), topics.named(&name))).collect()
            }
            None => (0..topics.count())
                .filter_map(|number| topics.get(number).map(|topic| (topic.name.clone(), Ok(number))))
                .collect(),
        };
        let broker =
            MetadataResponseBroker { node_id: NODE_ID, host: self.host.clone(), port: self.port, ..Default::default() };
        MetadataResponse {
            brokers: vec![broker],
            cluster_id: Some(CLUSTER_ID.into()),
            controller_id: NODE_ID,
            topics: found.into_iter().map(|(name, number)| described(name, number, topics)).collect(),
            ..Default::default()
        }
    }

    /// Ids are given out; sequences are not looked at.
    fn init_producer_id(&mut self, request: &InitProducerIdRequest) -> InitProducerIdResponse {
        if request.transactional_id.is_some() {
            let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
            return InitProducerIdResponse { error_code, producer_epoch: -1, ..Default::default() };
        }
        let producer_id = self.next_producer_id;
        self.next_producer_id += 1;
        InitProducerIdResponse { producer_id, ..Default::default() }
    }
}

fn described(name: KafkaString, number: Result<usize, ErrorCode>, topics: &Topics) -> MetadataResponseTopic {
    let found = number.and_then(|number| {
        topics.get(number).map(|topic| (number, topic)).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    });
    let (number, topic) = match found {
        Ok(found) => found,
        Err(code) => return MetadataResponseTopic { error_code: code.0, name: Some(name), ..Default::default() },
    };
    let partitions = (0_i32..).zip(&topic.partitions).map(|(partition_index, _)| MetadataResponsePartition {
        partition_index,
        leader_id: NODE_ID,
        leader_epoch: LEADER_EPOCH,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        ..Default::default()
    });
    MetadataResponseTopic {
        name: Some(topic.name.clone()),
        // Any but 0, which means that there is none.
        topic_id: (number as u128 + 1).to_be_bytes(),
        partitions: partitions.collect(),
        ..Default::default()
    }
}

fn list_offsets(request: ListOffsetsRequest, version: i16, topics: &mut Topics) -> ListOffsetsResponse {
    let mut answers = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let number = topics.named(&topic.name);
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = number.and_then(|number| topics.partition(number, asked.partition_index));
            let offset = partition.and_then(|partition| match asked.timestamp {
                LATEST => Ok(partition.next_offset()),
                EARLIEST => Ok(partition.first_offset()),
                _ => Err(ErrorCode::UNSUPPORTED_VERSION),
            });
            ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code: offset.err().map_or(0, |code| code.0),
                offset: offset.unwrap_or(-1),
                leader_epoch: if version >= VERSION_WITH_LEADER_EPOCH { LEADER_EPOCH } else { -1 },
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        answers.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    ListOffsetsResponse { topics: answers, ..Default::default() }
}

fn create_topics(request: CreateTopicsRequest, topics: &mut Topics) -> CreateTopicsResponse {
    let answers = request.topics.into_iter().map(|topic| {
        let count = usize::try_from(topic.num_partitions).unwrap_or(1);
        let created = topics.create(&topic.name, count);
        CreatableTopicResult {
            name: topic.name,
            topic_id: created.map_or([0; 16], |number| (number as u128 + 1).to_be_bytes()),
            error_code: created.err().map_or(0, |code| code.0),
            num_partitions: topic.num_partitions,
            replication_factor: 1,
            ..Default::default()
        }
    });
    CreateTopicsResponse { topics: answers.collect(), ..Default::default() }
}

fn api_versions(asked: Asked) -> Result<Vec<Bytes>, End> {
    let api_keys = LISTED.iter().map(|(api, versions)| ApiVersion {
        api_key: *api as i16,
        min_version: *versions.start(),
        max_version: *versions.end(),
    });
    let mut response = ApiVersionsResponse { api_keys: api_keys.collect(), ..Default::default() };
    if ApiKey::ApiVersions.versions().contains(&asked.version) {
        return asked.answer(&response);
    }
    // In version 0, which every client can read.
    response.error_code = ErrorCode::UNSUPPORTED_VERSION.0;
    Asked { version: 0, ..asked }.answer(&response)
}
