//! ListOffsets: offsets by what they mean, or by time.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelane_core::base::{LeaderEpoch, Offset, PartitionIndex, Timestamp};
use corelane_core::log::segment_offsets::SegmentTime;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use corelane_core::protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::by_owner::ByOwner;
use super::{READ_COMMITTED, Request, Served};
use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::read::{ListItem, ListResult, ListTarget};
use crate::storage::segment_times::SegmentsItem;
use crate::sys::Sys;

/// First version whose answer tells the epoch.
const VERSION_WITH_EPOCHS: i16 = 4;

/// What a timestamp field asks for, in a version.
fn target(timestamp: i64, version: i16) -> Result<ListTarget, ErrorCode> {
    match timestamp {
        0.. => Ok(ListTarget::AtOrAfter(Timestamp(timestamp))),
        -1 => Ok(ListTarget::Latest),
        -2 => Ok(ListTarget::Earliest),
        -3 if version >= 7 => Ok(ListTarget::MaxTimestamp),
        // The first offset on this machine: without tiered storage, the first one.
        -4 if version >= 8 => Ok(ListTarget::Earliest),
        -5 if version >= 9 => Ok(ListTarget::Tiered),
        -6 if version >= 11 => Ok(ListTarget::Tiered),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ListOffsetsRequest = request.decode()?;
    if request.version == 0 {
        return serve_by_segments(shard, request, &asked).await;
    }
    let committed_only = asked.isolation_level == READ_COMMITTED;
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut topics = Vec::with_capacity(asked.topics.len());
    let mut questions = ByOwner::new();
    for topic in &asked.topics {
        let known = catalog.topic_by_name(&topic.name);
        let mut seen = BTreeMap::new();
        for partition in &topic.partitions {
            *seen.entry(partition.partition_index).or_insert(0) += 1;
        }
        let repeated: BTreeSet<i32> =
            seen.into_iter().filter(|(_, times)| *times > 1).map(|(index, _)| index).collect();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let key = known
                .map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(index) })
                .filter(|key| catalog.has_partition(*key));
            let error = match (key, target(partition.timestamp, request.version)) {
                _ if repeated.contains(&index) => ErrorCode::INVALID_REQUEST,
                (None, _) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (_, Err(error)) => error,
                (Some(partition_key), Ok(target)) => {
                    let current_epoch = LeaderEpoch(partition.current_leader_epoch);
                    let item = ListItem { partition: partition_key, target, current_epoch, committed_only };
                    questions.add_routed(view.route(partition_key), (topics.len(), partitions.len()), item)
                }
            };
            partitions.push(answer(request.version, index, failed(error)));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
    }
    let ask = async |owner, items| match shard.ask(owner, Call::List(items)).await {
        Reply::List(found) => found,
        _ => unreachable!("a reply has the name of its call"),
    };
    for ((topic, partition), result) in questions.ask(ask).await {
        if let Some(slot) = topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition)) {
            *slot = answer(request.version, slot.partition_index, result);
        }
    }
    request.answer(&ListOffsetsResponse { topics, ..Default::default() })
}

/// Version 0: offsets at which segments begin, by the time at which each was last written to.
async fn serve_by_segments<S: Sys>(shard: &Rc<Shard<S>>, request: &Request, asked: &ListOffsetsRequest) -> Served<S> {
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut topics = Vec::with_capacity(asked.topics.len());
    let mut questions = ByOwner::new();
    for topic in &asked.topics {
        let known = catalog.topic_by_name(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let key = known
                .map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(index) })
                .filter(|key| catalog.has_partition(*key));
            let time = match partition.timestamp {
                -1 => Some(SegmentTime::Latest),
                -2 => Some(SegmentTime::Earliest),
                time => (time >= 0).then_some(SegmentTime::AtOrBefore(Timestamp(time))),
            };
            let error = match (time, key) {
                (None, _) => ErrorCode::UNSUPPORTED_VERSION,
                (_, None) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (Some(time), Some(partition_key)) => {
                    let count_max = usize::try_from(partition.max_num_offsets).unwrap_or(0);
                    let item = SegmentsItem { partition: partition_key, time, count_max };
                    questions.add_routed(view.route(partition_key), (topics.len(), partitions.len()), item)
                }
            };
            let error_code = error.0;
            partitions.push(ListOffsetsPartitionResponse { partition_index: index, error_code, ..Default::default() });
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
    }
    let ask = async |owner, items| match shard.ask(owner, Call::Segments(items)).await {
        Reply::Segments(found) => found,
        _ => unreachable!("a reply has the name of its call"),
    };
    for ((topic, partition), result) in questions.ask(ask).await {
        if let Some(slot) = topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition)) {
            match result {
                Ok(offsets) => slot.old_style_offsets = offsets.into_iter().map(|offset| offset.0).collect(),
                Err(error) => slot.error_code = error.0,
            }
        }
    }
    request.answer(&ListOffsetsResponse { topics, ..Default::default() })
}

fn failed(error: ErrorCode) -> ListResult {
    ListResult { error, timestamp: Timestamp::NONE, offset: Offset(-1), epoch: LeaderEpoch::NONE }
}

fn answer(version: i16, index: i32, result: ListResult) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: index,
        error_code: result.error.0,
        timestamp: result.timestamp.0,
        offset: result.offset.0,
        leader_epoch: if version >= VERSION_WITH_EPOCHS { result.epoch.0 } else { LeaderEpoch::NONE.0 },
        ..Default::default()
    }
}
