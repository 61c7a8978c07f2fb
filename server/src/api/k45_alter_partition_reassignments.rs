//! AlterPartitionReassignments: where replicas go. With one node they can only stay.

use std::rc::Rc;

use corelane_core::base::PartitionIndex;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use corelane_core::protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: AlterPartitionReassignmentsRequest = request.decode()?;
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let node = shard.settings.config.node_id.0;
    let responses = asked.topics.into_iter().map(|wanted| {
        let topic = catalog.topic_by_name(&wanted.name);
        let partitions = wanted.partitions.into_iter().map(|partition| {
            let index = partition.partition_index;
            let known = topic.is_some_and(|topic| topic.image.partition(PartitionIndex(index)).is_some());
            let ids = |ids: Vec<i32>| -> Vec<i32> { ids.into_iter().map(|id| view.node(id)).collect() };
            let replicas = partition.replicas.map(ids);
            let refused = if known {
                judge(replicas.as_deref(), node)
            } else {
                Some((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition".to_owned()))
            };
            let (error, message) = refused.map_or((ErrorCode::NONE, None), |(error, message)| (error, Some(message)));
            ReassignablePartitionResponse {
                partition_index: index,
                error_code: error.0,
                error_message: message.map(Into::into),
            }
        });
        let partitions = partitions.collect();
        ReassignableTopicResponse { name: wanted.name, partitions }
    });
    let responses = responses.collect();
    request.answer(&AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: asked.allow_replication_factor_change,
        responses,
        ..Default::default()
    })
}

/// Why replicas cannot go there; `None` if they are there already.
fn judge(replicas: Option<&[i32]>, node: i32) -> Option<(ErrorCode, String)> {
    let Some(replicas) = replicas else {
        let message = "nothing is being moved, so nothing can be cancelled".to_owned();
        return Some((ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, message));
    };
    let message = match replicas {
        [] => "name at least one broker".to_owned(),
        [only] if *only == node => return None,
        _ => match replicas.iter().find(|id| **id != node) {
            Some(unknown) => format!("there is no broker {unknown}; this one is {node}, and alone"),
            None => format!("broker {node} is named more than once"),
        },
    };
    Some((ErrorCode::INVALID_REPLICA_ASSIGNMENT, message))
}
