//! DescribeProducers: who has written to partitions of late.

use std::rc::Rc;

use corelane_core::base::{Offset, PartitionIndex};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use corelane_core::protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};

use super::by_owner::ByOwner;
use super::{Request, Served};
use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::records::ActiveProducer;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeProducersRequest = request.decode()?;
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut topics = Vec::with_capacity(asked.topics.len());
    let mut questions = ByOwner::new();
    for topic in &asked.topics {
        let known = catalog.topic_by_name(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in &topic.partition_indexes {
            let key = known
                .map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(*index) })
                .filter(|key| catalog.has_partition(*key));
            let error = match key {
                Some(key) => questions.add_routed(view.route(key), (topics.len(), partitions.len()), key),
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            partitions.push(refused(*index, error));
        }
        topics.push(TopicResponse { name: topic.name.clone(), partitions });
    }
    let ask = async |owner, keys| match shard.ask(owner, Call::Producers(keys)).await {
        Reply::Producers(found) => found,
        _ => unreachable!("a reply has the name of its call"),
    };
    for ((topic, partition), producers) in questions.ask(ask).await {
        if let Some(slot) = topics.get_mut(topic).and_then(|topic| topic.partitions.get_mut(partition)) {
            *slot = answer(slot.partition_index, producers);
        }
    }
    request.answer(&DescribeProducersResponse { topics, ..Default::default() })
}

fn answer(index: i32, producers: Option<Vec<ActiveProducer>>) -> PartitionResponse {
    let Some(producers) = producers else { return refused(index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) };
    let state = |ActiveProducer { id, entry }: ActiveProducer| ProducerState {
        producer_id: id.0,
        producer_epoch: i32::from(entry.epoch.0),
        last_sequence: entry.last_sequence().0,
        last_timestamp: entry.last_timestamp.0,
        coordinator_epoch: entry.coordinator_epoch,
        current_txn_start_offset: entry.transaction_start.unwrap_or(Offset(-1)).0,
    };
    PartitionResponse {
        partition_index: index,
        active_producers: producers.into_iter().map(state).collect(),
        ..Default::default()
    }
}

fn refused(index: i32, error: ErrorCode) -> PartitionResponse {
    PartitionResponse { partition_index: index, error_code: error.0, ..Default::default() }
}
