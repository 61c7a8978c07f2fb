//! What several answers say of brokers and partitions, each in a structure of its own.

use corelane_core::base::NodeId;
use corelane_core::metadata::Partition;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::wire::KafkaString;

use super::Request;
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::sys::Sys;
use crate::view::{Endpoint, View};

/// A broker as the client of a listener can reach it.
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) host: KafkaString,
    pub(super) port: i32,
    pub(super) rack: Option<KafkaString>,
}

/// The brokers that whoever sent `request` can reach.
pub(super) fn brokers<S: Sys>(shard: &Shard<S>, request: &Request) -> impl Iterator<Item = Broker> {
    let rack = shard.settings.config.rack.clone().map(KafkaString::from);
    let reachable = shard.view(request.origin).brokers();
    reachable.into_iter().map(move |Endpoint { id, host, port }| Broker {
        id: id.0,
        host: host.into(),
        port: i32::from(port),
        rack: rack.clone(),
    })
}

/// Those of the brokers that `leaders` names: what comes with hints who leads, so that the client can go there without
/// asking for metadata first (KIP-951).
pub(super) fn leading_brokers<S: Sys>(
    shard: &Shard<S>,
    request: &Request,
    leaders: impl Iterator<Item = i32>,
) -> Vec<Broker> {
    let leaders: Vec<i32> = leaders.collect();
    // Nearly always there is nobody to name.
    if leaders.is_empty() {
        return Vec::new();
    }
    brokers(shard, request).filter(|broker| leaders.contains(&broker.id)).collect()
}

/// Whether an answer with this error says who leads instead (KIP-951).
pub(super) fn wants_leader(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH)
}

/// The part of a partition's description that all answers have.
pub(super) struct PartitionRow {
    pub(super) error_code: i16,
    pub(super) leader_id: i32,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) isr: Vec<i32>,
    pub(super) eligible_leader_replicas: Vec<i32>,
    pub(super) last_known_elr: Vec<i32>,
}

impl PartitionRow {
    pub(super) fn new<S: Sys>(view: &View<'_, S>, key: PartitionKey, partition: &Partition) -> Self {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| view.replica(key, *node).0).collect();
        Self {
            error_code: if partition.leader.is_some() { 0 } else { ErrorCode::LEADER_NOT_AVAILABLE.0 },
            leader_id: partition.leader.map_or(-1, |leader| view.replica(key, leader).0),
            leader_epoch: partition.leader_epoch.0,
            replicas: ids(&partition.replicas),
            isr: ids(&partition.isr),
            eligible_leader_replicas: ids(&partition.eligible_leader_replicas),
            last_known_elr: ids(&partition.last_known_elr),
        }
    }
}
