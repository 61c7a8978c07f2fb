//! WriteTxnMarkers: an administrator ends in single partitions what nobody coordinates any more (KIP-664).

use std::collections::BTreeMap;
use std::rc::Rc;

use corelane_core::base::{PartitionIndex, ProducerEpoch, ProducerId};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use corelane_core::protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use corelane_core::record::EndMarker;
use corelane_core::transaction::TransactionVersion;

use super::by_owner::ByOwner;
use super::{Request, Served};
use crate::hop::{Call, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::append::MarkerItem;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: WriteTxnMarkersRequest = request.decode()?;
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut questions = ByOwner::new();
    let mut results: BTreeMap<(usize, usize, usize), ErrorCode> = BTreeMap::new();
    for (at, marker) in asked.markers.iter().enumerate() {
        let version = TransactionVersion::of_level(marker.transaction_version.into());
        for (nth, topic) in marker.topics.iter().enumerate() {
            let known = catalog.topic_by_name(&topic.name);
            for (place, index) in topic.partition_indexes.iter().enumerate() {
                let place = (at, nth, place);
                let key = known
                    .map(|known| PartitionKey { topic: known.image.id, index: PartitionIndex(*index) })
                    .filter(|key| catalog.has_partition(*key));
                let error = match key {
                    None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    Some(partition) => {
                        let item = MarkerItem {
                            partition,
                            producer: ProducerId(marker.producer_id),
                            epoch: ProducerEpoch(marker.producer_epoch),
                            marker: EndMarker {
                                committed: marker.transaction_result,
                                coordinator_epoch: marker.coordinator_epoch,
                            },
                            raises_epoch: version.raises_epoch(),
                        };
                        questions.add_routed(view.route(partition), place, item)
                    }
                };
                results.insert(place, error);
            }
        }
    }
    let ask = async |owner, items| match shard.ask(owner, Call::WriteMarkers(items)).await {
        Reply::WriteMarkers(written) => written,
        _ => unreachable!("a reply has the name of its call"),
    };
    for (place, written) in questions.ask(ask).await {
        results.insert(place, written.err().unwrap_or(ErrorCode::NONE));
    }
    let code = |place| results.get(&place).copied().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR).0;
    let markers = asked.markers.iter().enumerate().map(|(at, marker)| WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: marker
            .topics
            .iter()
            .enumerate()
            .map(|(nth, topic)| WritableTxnMarkerTopicResult {
                name: topic.name.clone(),
                partitions: topic
                    .partition_indexes
                    .iter()
                    .enumerate()
                    .map(|(place, index)| WritableTxnMarkerPartitionResult {
                        partition_index: *index,
                        error_code: code((at, nth, place)),
                    })
                    .collect(),
            })
            .collect(),
    });
    request.answer(&WriteTxnMarkersResponse { markers: markers.collect() })
}
