//! What the client knows of the cluster: brokers, topics and who leads which partition.

use std::collections::BTreeMap;

use super::error::check;
use crate::base::{LeaderEpoch, NodeId, PartitionIndex, TopicId, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::MetadataResponse;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// Parses `host:port`, `[address]:port` or `host`, whose port is 9092.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            Some(_) if text.ends_with(']') => (text, "9092"),
            Some(_) => return Err(format!("`{text}`: write an IPv6 address in brackets, as [::1]:9092")),
            None => (text, "9092"),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| format!("`{text}`: `{port}` is not a port"))?;
        if host.is_empty() {
            return Err(format!("`{text}` has no host; write host:port"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub index: PartitionIndex,
    /// Who leads it; none while nobody does.
    pub leader: Option<NodeId>,
    /// Number of the leadership.
    pub leader_epoch: LeaderEpoch,
    /// Brokers that have it.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub in_sync: Vec<NodeId>,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its identity; zero if the broker did not say.
    pub id: TopicId,
    /// Kafka uses it for itself.
    pub is_internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionMetadata>,
}

impl TopicMetadata {
    /// A partition by its number.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionMetadata> {
        self.partitions
            .binary_search_by_key(&index, |partition| partition.index)
            .ok()
            .and_then(|i| self.partitions.get(i))
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

/// The cluster as last heard of.
#[derive(Clone, Debug, Default)]
pub struct ClusterMetadata {
    /// Brokers and where they listen.
    pub brokers: BTreeMap<NodeId, Address>,
    /// Where requests for the controller go.
    pub controller: Option<NodeId>,
    /// The cluster's id.
    pub cluster_id: Option<String>,
    topics: BTreeMap<String, Result<TopicMetadata, ErrorCode>>,
}

impl ClusterMetadata {
    /// What is known of a topic: itself, an error, or nothing yet.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Result<TopicMetadata, ErrorCode>> {
        self.topics.get(name)
    }

    /// Every topic that was answered, by name.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &Result<TopicMetadata, ErrorCode>)> {
        self.topics.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    /// Who leads a partition, if that is known.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: PartitionIndex) -> Option<NodeId> {
        self.topics.get(topic)?.as_ref().ok()?.partition(partition)?.leader
    }

    /// Takes an answer in; topics that it does not name stay as they were.
    pub fn update(&mut self, response: &MetadataResponse) {
        self.brokers = response
            .brokers
            .iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                Some((NodeId(broker.node_id), Address { host: broker.host.to_string(), port }))
            })
            .collect();
        self.controller = (response.controller_id >= 0).then_some(NodeId(response.controller_id));
        self.cluster_id = response.cluster_id.as_ref().map(ToString::to_string);
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            let known = check(topic.error_code).map(|()| {
                let nodes = |ids: &[i32]| ids.iter().map(|id| NodeId(*id)).collect();
                let mut partitions: Vec<PartitionMetadata> = topic
                    .partitions
                    .iter()
                    .map(|partition| PartitionMetadata {
                        index: PartitionIndex(partition.partition_index),
                        leader: (partition.leader_id >= 0).then_some(NodeId(partition.leader_id)),
                        leader_epoch: LeaderEpoch(partition.leader_epoch),
                        replicas: nodes(&partition.replica_nodes),
                        in_sync: nodes(&partition.isr_nodes),
                    })
                    .collect();
                partitions.sort_by_key(|partition| partition.index);
                TopicMetadata {
                    name: name.to_string(),
                    id: Uuid(topic.topic_id),
                    is_internal: topic.is_internal,
                    partitions,
                }
            });
            self.topics.insert(name.to_string(), known);
        }
    }

    /// Forgets a topic, so that it is asked for again.
    pub fn forget(&mut self, name: &str) {
        self.topics.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print_alike() {
        for (text, host, port) in [
            ("localhost:9092", "localhost", 9092),
            ("localhost", "localhost", 9092),
            ("10.1.2.3:1", "10.1.2.3", 1),
            ("[::1]:9093", "::1", 9093),
            ("[::1]", "::1", 9092),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port), "{text}");
            assert_eq!(Address::parse(&address.to_string()), Ok(address));
        }
        for bad in ["", ":9092", "a:b", "a:70000", "::1", "::1:9092"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
