//! OffsetDelete: offsets of a group that nobody there reads on from. Topics and partitions that do not exist are answered
//! here.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::OffsetDeleteRequest;
use corelane_core::protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let mut asked: OffsetDeleteRequest = request.decode()?;
    let catalog = shard.catalog();
    let mut unknown = Vec::new();
    for topic in &mut asked.topics {
        let id = catalog.topic_by_name(&topic.name).map(|known| known.image.id);
        let mut missing = Vec::new();
        topic.partitions.retain(|partition| {
            let there = coordinator::has_partition(&catalog, id, partition.partition_index);
            if !there {
                missing.push(OffsetDeleteResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                });
            }
            there
        });
        if !missing.is_empty() {
            unknown.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: missing });
        }
    }
    asked.topics.retain(|topic| !topic.partitions.is_empty());
    let group_id = asked.group_id.clone();
    let Answer::OffsetDelete(mut response) =
        coordinator::ask(shard, request, &group_id, GroupRequest::OffsetDelete(asked)).await
    else {
        coordinator::mismatch()
    };
    if response.error_code == ErrorCode::NONE.0 {
        for topic in unknown {
            match response.topics.iter_mut().find(|known| known.name == topic.name) {
                Some(known) => known.partitions.extend(topic.partitions),
                None => response.topics.push(topic),
            }
        }
    }
    request.answer(&response)
}
