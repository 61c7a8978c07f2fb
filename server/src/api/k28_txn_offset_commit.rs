//! TxnOffsetCommit: how far a group will have come when a transaction is committed. Topics and partitions that do not exist
//! are answered here; the rest is the coordinator's of the group.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use corelane_core::protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let mut asked: TxnOffsetCommitRequest = request.decode()?;
    let catalog = shard.catalog();
    let mut unknown: Vec<TxnOffsetCommitResponseTopic> = Vec::new();
    for topic in &mut asked.topics {
        let id = catalog.topic_by_name(&topic.name).map(|known| known.image.id);
        let is_known = |index: i32| coordinator::has_partition(&catalog, id, index);
        let missing = topic.partitions.extract_if(.., |partition| !is_known(partition.partition_index));
        let partitions: Vec<_> = missing
            .map(|partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
            })
            .collect();
        if !partitions.is_empty() {
            unknown.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions });
        }
    }
    let nothing = !asked.topics.is_empty() && asked.topics.iter().all(|topic| topic.partitions.is_empty());
    asked.topics.retain(|topic| !topic.partitions.is_empty());
    let mut response = if nothing {
        TxnOffsetCommitResponse::default()
    } else {
        let group_id = asked.group_id.clone();
        match coordinator::ask(shard, request, &group_id, GroupRequest::TxnOffsetCommit(asked)).await {
            Answer::TxnOffsetCommit(response) => response,
            _ => coordinator::mismatch(),
        }
    };
    for topic in unknown {
        match response.topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    request.answer(&response)
}
