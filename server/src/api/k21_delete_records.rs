//! DeleteRecords: takes the oldest records of partitions away from readers.
//!
//! Where the logs begin is on the device before the answer leaves.

use std::rc::Rc;

use corelane_core::base::{Offset, PartitionIndex};
use corelane_core::metadata::is_internal_topic;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use corelane_core::protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::by_owner::ByOwner;
use super::{Request, Served};
use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::records::DeleteRecordsItem;
use crate::sys::Sys;
use crate::topology::CONTROLLER_SHARD;

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DeleteRecordsRequest = request.decode()?;
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut topics = Vec::with_capacity(asked.topics.len());
    let mut questions = ByOwner::new();
    for topic in &asked.topics {
        let known = catalog.topic_by_name(&topic.name);
        let refused = match known {
            None => Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            Some(_) if is_internal_topic(&topic.name) => Some(ErrorCode::INVALID_TOPIC_EXCEPTION),
            Some(known) if !known.deletes => Some(ErrorCode::POLICY_VIOLATION),
            Some(_) => None,
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let key = known
                .map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(index) })
                .filter(|key| catalog.has_partition(*key));
            let error = match (refused, key) {
                (Some(error), _) => error,
                (None, None) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (None, Some(key)) => {
                    let before = (partition.offset != HIGH_WATERMARK).then_some(Offset(partition.offset));
                    let item = DeleteRecordsItem { partition: key, before };
                    questions.add_routed(view.route(key), (topics.len(), partitions.len()), item)
                }
            };
            partitions.push(answer(index, Err(error)));
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions });
    }
    let ask = async |owner, items| match shard.ask(owner, Call::DeleteRecords(items)).await {
        Reply::DeleteRecords(results) => results,
        _ => unreachable!("a reply has the name of its call"),
    };
    let results = questions.ask(ask).await;
    let recorded = if results.iter().any(|(_, result)| result.is_ok()) { record(shard).await } else { Ok(()) };
    for ((topic, partition), result) in results {
        if let Some(slot) = topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition)) {
            *slot = answer(slot.partition_index, result.and_then(|start| recorded.map(|()| start)));
        }
    }
    request.answer(&DeleteRecordsResponse { topics, ..Default::default() })
}

/// Has it written down where the logs begin.
async fn record<S: Sys>(shard: &Rc<Shard<S>>) -> Result<(), ErrorCode> {
    let Reply::WriteCheckpoints(written) = shard.ask(CONTROLLER_SHARD, Call::WriteCheckpoints).await else {
        unreachable!("a reply has the name of its call")
    };
    written.map_err(|error| {
        tracing::error!(%error, "where the logs begin could not be written down");
        ErrorCode::KAFKA_STORAGE_ERROR
    })
}

fn answer(index: i32, result: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    DeleteRecordsPartitionResult {
        partition_index: index,
        low_watermark: result.map_or(-1, |start| start.0),
        error_code: result.err().unwrap_or(ErrorCode::NONE).0,
    }
}
