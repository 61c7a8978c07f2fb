//! DescribeQuorum: who keeps the metadata log. This node does, alone.

use std::rc::Rc;

use corelane_core::base::{PartitionIndex, Uuid};
use corelane_core::metadata::METADATA_TOPIC_NAME;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use corelane_core::protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use super::{Request, Served};
use crate::controller::controller_endpoint;
use crate::node::METADATA_PARTITION;
use crate::shard::Shard;
use crate::sys::Sys;
use crate::topology::CONTROLLER_SHARD;
use crate::view::Endpoint;

/// First version that tells directories and where nodes listen.
const VERSION_WITH_NODES: i16 = 2;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeQuorumRequest = request.decode()?;
    let catalog = shard.catalog();
    let node = shard.settings.config.node_id;
    let position = catalog.image.position;
    let now = shard.sys.wall().0;
    let with_nodes = request.version >= VERSION_WITH_NODES;
    let directory = catalog.image.broker(node).and_then(|broker| broker.log_dirs.first().copied());
    let directory = directory.filter(|_| with_nodes);
    let itself = ReplicaState {
        replica_id: node.0,
        replica_directory_id: directory.unwrap_or(Uuid::ZERO).0,
        log_end_offset: position.end_offset.0,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
    };
    let known = |topic: &str, index: i32| topic == METADATA_TOPIC_NAME && PartitionIndex(index) == METADATA_PARTITION;
    let topics = asked.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let partition_index = partition.partition_index;
            if !known(&topic.topic_name, partition_index) {
                let error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
                return PartitionData { partition_index, error_code, ..Default::default() };
            }
            PartitionData {
                partition_index,
                leader_id: node.0,
                leader_epoch: position.epoch.0,
                high_watermark: position.end_offset.0,
                current_voters: vec![itself.clone()],
                ..Default::default()
            }
        });
        let partitions = partitions.collect();
        TopicData { topic_name: topic.topic_name, partitions }
    });
    let topics = topics.collect();
    // The controller has no listener of its own: where it is asked is where this client has asked.
    let reached = shard.view(request.origin).endpoint(CONTROLLER_SHARD).filter(|_| with_nodes);
    let nodes = reached.map(|Endpoint { host, port, .. }| {
        let name = controller_endpoint().listener.into();
        Node { node_id: node.0, listeners: vec![Listener { name, host: host.into(), port }] }
    });
    let nodes = nodes.into_iter().collect();
    request.answer(&DescribeQuorumResponse { topics, nodes, ..Default::default() })
}
