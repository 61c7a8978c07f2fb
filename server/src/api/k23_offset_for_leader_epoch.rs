//! OffsetForLeaderEpoch: where an epoch ends, so that a consumer notices that its records are gone (KIP-320).

use std::rc::Rc;

use corelane_core::base::{LeaderEpoch, Offset, PartitionIndex};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use corelane_core::protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::by_owner::ByOwner;
use super::{Request, Served};
use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::read::{EpochEndItem, EpochEndResult};
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: OffsetForLeaderEpochRequest = request.decode()?;
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut topics = Vec::with_capacity(asked.topics.len());
    let mut questions = ByOwner::new();
    for topic in &asked.topics {
        let known = catalog.topic_by_name(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let key = known
                .map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(partition.partition) })
                .filter(|key| catalog.has_partition(*key));
            let error = match key {
                Some(key) => {
                    let item = EpochEndItem {
                        partition: key,
                        epoch: LeaderEpoch(partition.leader_epoch),
                        current_epoch: LeaderEpoch(partition.current_leader_epoch),
                    };
                    questions.add_routed(view.route(key), (topics.len(), partitions.len()), item)
                }
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            let refused = EpochEndResult { error, epoch: LeaderEpoch::NONE, end: Offset(-1) };
            partitions.push(answer(partition.partition, refused));
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic.clone(), partitions });
    }
    let ask = async |owner, items| match shard.ask(owner, Call::EpochEnds(items)).await {
        Reply::EpochEnds(found) => found,
        _ => unreachable!("a reply has the name of its call"),
    };
    for ((topic, partition), result) in questions.ask(ask).await {
        if let Some(slot) = topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition)) {
            *slot = answer(slot.partition, result);
        }
    }
    request.answer(&OffsetForLeaderEpochResponse { topics, ..Default::default() })
}

fn answer(partition: i32, result: EpochEndResult) -> EpochEndOffset {
    EpochEndOffset { error_code: result.error.0, partition, leader_epoch: result.epoch.0, end_offset: result.end.0 }
}
