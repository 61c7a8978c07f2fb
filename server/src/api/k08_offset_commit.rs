//! OffsetCommit: how far a group has come. Topics and partitions that do not exist are answered here; the rest is the
//! coordinator's.

use std::rc::Rc;

use corelane_core::base::Uuid;
use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use corelane_core::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version that names topics by id.
const VERSION_WITH_TOPIC_IDS: i16 = 10;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let mut asked: OffsetCommitRequest = request.decode()?;
    let by_id = request.version >= VERSION_WITH_TOPIC_IDS;
    let catalog = shard.catalog();
    let mut unknown = Vec::new();
    for topic in &mut asked.topics {
        let known = if by_id { catalog.topic_by_id(Uuid(topic.topic_id)) } else { catalog.topic_by_name(&topic.name) };
        let id = known.map(|known| known.image.id);
        if let Some(known) = known {
            topic.name = known.image.name.to_string().into();
            topic.topic_id = known.image.id.0;
        }
        let error = match known {
            None if by_id => ErrorCode::UNKNOWN_TOPIC_ID,
            _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        };
        let mut missing = Vec::new();
        topic.partitions.retain(|partition| {
            let there = coordinator::has_partition(&catalog, id, partition.partition_index);
            if !there {
                missing.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: error.0,
                });
            }
            there
        });
        if !missing.is_empty() {
            unknown.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: missing,
            });
        }
    }
    let nothing = !asked.topics.is_empty() && asked.topics.iter().all(|topic| topic.partitions.is_empty());
    asked.topics.retain(|topic| !topic.partitions.is_empty());
    let mut response = if nothing {
        OffsetCommitResponse::default()
    } else {
        let group_id = asked.group_id.clone();
        match coordinator::ask(shard, request, &group_id, GroupRequest::OffsetCommit(asked)).await {
            Answer::OffsetCommit(response) => response,
            _ => coordinator::mismatch(),
        }
    };
    for topic in unknown {
        match response.topics.iter_mut().find(|known| known.name == topic.name && known.topic_id == topic.topic_id) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    request.answer(&response)
}
