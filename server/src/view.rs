//! The cluster as the clients of a listener see it.
//!
//! On a plain listener every node is one broker. On a core-direct listener (`corelane.core.direct.listeners`) every shard is
//! one: Metadata names each with a port of its own, and the shard that owns a partition leads it. A stock client then
//! connects straight to the core that has its data, and nothing hops. These brokers exist on that listener alone; the
//! metadata log, plain listeners and the node's own files know the node.

use corelane_core::base::{LeaderEpoch, NodeId, ShardId};
use corelane_core::limits::SHARDS_MAX;
use corelane_core::protocol::ErrorCode;

use crate::hop::Origin;
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::sys::Sys;

/// Ids of shards as brokers: this, plus ten thousand for each node, plus the number of the shard.
const SHARD_BROKERS_BASE: i32 = 100_000_000;
/// How many of these ids a node has.
const SHARD_BROKERS_PER_NODE: i32 = 10_000;
const _: () = assert!(SHARDS_MAX <= SHARD_BROKERS_PER_NODE as usize);

/// A broker as a client can reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) id: NodeId,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What a listener's clients see, from a connection of this shard.
pub(crate) struct View<'a, S: Sys> {
    shard: &'a Shard<S>,
    listener: usize,
    is_core_direct: bool,
}

impl<'a, S: Sys> View<'a, S> {
    pub(crate) fn new(shard: &'a Shard<S>, origin: Origin) -> Self {
        let Origin { listener, .. } = origin;
        Self { shard, listener, is_core_direct: shard.settings.config.is_core_direct(listener) }
    }

    /// The broker that a connection of this shard has reached.
    pub(crate) fn this_broker(&self) -> NodeId {
        self.broker_of(self.shard.sys.shard())
    }

    /// The broker that a shard of this node is.
    pub(crate) fn broker_of(&self, shard: ShardId) -> NodeId {
        let node = self.shard.settings.config.node_id;
        if self.is_core_direct { shard_broker(node, shard) } else { node }
    }

    /// The brokers that clients can reach.
    pub(crate) fn brokers(&self) -> Vec<Endpoint> {
        let shards = if self.is_core_direct { self.shard.sys.shards() } else { 1 };
        (0..shards).map(ShardId).filter_map(|shard| self.endpoint(shard)).collect()
    }

    /// Where the broker is that a shard of this node is.
    pub(crate) fn endpoint(&self, shard: ShardId) -> Option<Endpoint> {
        let nth = if self.is_core_direct { shard.0 } else { 0 };
        let (host, port) = self.shard.catalog().advertised(&self.shard.settings, self.listener, nth)?;
        Some(Endpoint { id: self.broker_of(shard), host, port })
    }

    /// The replica of a partition that the metadata has on `node`.
    pub(crate) fn replica(&self, partition: PartitionKey, node: NodeId) -> NodeId {
        if node == self.shard.settings.config.node_id { self.broker_of(self.shard.owner_of(partition)) } else { node }
    }

    /// Who leads a partition, and since which epoch.
    pub(crate) fn leader(&self, partition: PartitionKey) -> Option<(NodeId, LeaderEpoch)> {
        let catalog = self.shard.catalog();
        let row = catalog.topic_by_id(partition.topic)?.image.partition(partition.index)?;
        Some((self.replica(partition, row.leader?), row.leader_epoch))
    }

    /// The shard to ask about a partition.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER`: the client could, and shall, ask that shard itself.
    pub(crate) fn route(&self, partition: PartitionKey) -> Result<ShardId, ErrorCode> {
        let owner = self.shard.owner_of(partition);
        if self.reaches(owner) { Ok(owner) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }

    /// Whether what a shard has is answered for by the broker that this connection has reached.
    pub(crate) fn reaches(&self, shard: ShardId) -> bool {
        !self.is_core_direct || shard == self.shard.sys.shard()
    }

    /// The shards that the broker which this connection has reached answers for.
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> {
        (0..self.shard.sys.shards()).map(ShardId).filter(|shard| self.reaches(*shard))
    }

    /// What the metadata calls a broker that a client names; other ids stay as they are.
    pub(crate) fn node(&self, id: i32) -> i32 {
        let node = self.shard.settings.config.node_id;
        let is_ours = self.is_core_direct
            && (0..self.shard.sys.shards()).any(|shard| shard_broker(node, ShardId(shard)) == NodeId(id));
        if is_ours { node.0 } else { id }
    }

    /// What the metadata calls the broker that a client names as a resource; other names stay as they are.
    pub(crate) fn node_name(&self, name: &str) -> String {
        let known = name.parse().map(|id| (id, self.node(id)));
        known.ok().filter(|(id, node)| id != node).map_or_else(|| name.to_owned(), |(_, node)| node.to_string())
    }
}

/// `BrokerConfig` sees to it that there is an id for each node that has such a listener.
fn shard_broker(node: NodeId, shard: ShardId) -> NodeId {
    let of_node = node.0.saturating_mul(SHARD_BROKERS_PER_NODE).saturating_add(i32::from(shard.0));
    NodeId(SHARD_BROKERS_BASE.saturating_add(of_node))
}

#[cfg(test)]
mod tests {
    use corelane_core::config::CORE_DIRECT_NODE_ID_MAX;

    use super::*;

    #[test]
    fn shards_of_all_nodes_have_ids_of_their_own() {
        assert_eq!(shard_broker(NodeId(1), ShardId(3)), NodeId(100_010_003));
        let last = shard_broker(CORE_DIRECT_NODE_ID_MAX, ShardId(9_999));
        assert!(last.0 < i32::MAX / 2, "Java's client takes i32::MAX - id for a coordinator's connection");
        assert!(shard_broker(NodeId(0), ShardId(0)) > CORE_DIRECT_NODE_ID_MAX);
        assert!(shard_broker(NodeId(0), ShardId(9_999)) < shard_broker(NodeId(1), ShardId(0)));
    }
}
