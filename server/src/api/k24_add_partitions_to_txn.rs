//! AddPartitionsToTxn: partitions that a transaction will write to, from clients that say so before they do.

use std::collections::BTreeSet;
use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use corelane_core::protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use super::{Request, Served, coordinator, transactions};
use crate::shard::Shard;
use crate::sys::Sys;

/// First version whose clients know PRODUCER_FENCED.
const VERSION_WITH_FENCE: i16 = 2;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: AddPartitionsToTxnRequest = request.decode()?;
    let catalog = shard.catalog();
    let is_known = |topic: &str, index: i32| {
        let id = catalog.topic_by_name(topic).map(|known| known.image.id);
        coordinator::has_partition(&catalog, id, index)
    };
    let topics = &asked.v3_and_below_topics;
    let wanted: Vec<(&str, i32)> =
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (&*topic.name, *index))).collect();
    // All of them, or none.
    let is_complete = wanted.iter().all(|(topic, index)| is_known(topic, *index));
    let added = if is_complete {
        let producer = transactions::producer(asked.v3_and_below_producer_id, asked.v3_and_below_producer_epoch);
        let partitions: BTreeSet<_> =
            wanted.iter().map(|(topic, index)| transactions::partition(topic, *index)).collect();
        let id = asked.v3_and_below_transactional_id.clone();
        let code = transactions::add(shard, request, id, producer, partitions).await;
        transactions::known_fence(code, request.version, VERSION_WITH_FENCE)
    } else {
        ErrorCode::OPERATION_NOT_ATTEMPTED
    };
    let result = |topic: &str, index: i32| {
        let code = if is_known(topic, index) { added } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        AddPartitionsToTxnPartitionResult { partition_index: index, partition_error_code: code.0 }
    };
    let results = topics.iter().map(|topic| AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic.partitions.iter().map(|index| result(&topic.name, *index)).collect(),
    });
    let results_by_topic_v3_and_below = results.collect();
    request.answer(&AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() })
}
