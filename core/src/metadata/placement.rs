//! Which brokers hold a new partition, and who leads it first.

use super::image::{BrokerRegistration, MetadataImage, Partition, PartitionEpoch, directory};
use super::refusal::{Refusal, RefusalKind};
use crate::base::{LeaderEpoch, NodeId, Uuid};

/// The brokers of an image as places for replicas.
pub(super) struct Placement<'a> {
    image: &'a MetadataImage,
}

impl<'a> Placement<'a> {
    pub(super) fn new(image: &'a MetadataImage) -> Self {
        Self { image }
    }

    /// `partitions` new partitions with `replicas` each, striped over the brokers from a random one on; brokers that
    /// may lead come before those that may not.
    pub(super) fn choose(&self, partitions: usize, replicas: usize, random: u128) -> Result<Vec<Partition>, Refusal> {
        let refuse = |message: String| Refusal::new(RefusalKind::InvalidReplicationFactor, message);
        let (able, unable): (Vec<_>, Vec<_>) = self.image.brokers.values().partition(|broker| can_lead(broker));
        if able.is_empty() {
            return Err(refuse("no broker can take a new partition at the moment".to_owned()));
        }
        if replicas > able.len() + unable.len() {
            let brokers = able.len() + unable.len();
            return Err(refuse(format!("{replicas} replicas need as many brokers; {brokers} of them are registered")));
        }
        let start = (random % able.len() as u128) as usize;
        let stripe = |partition: usize| {
            let first = start + partition;
            let in_order = (first..first + able.len()).filter_map(|at| able.get(at % able.len()));
            in_order.chain(&unable).take(replicas).map(|broker| broker.id).collect::<Vec<_>>()
        };
        (0..partitions).map(|partition| self.new_partition(stripe(partition))).collect()
    }

    /// One new partition on the brokers that somebody named; `replicas` is how many its siblings have.
    pub(super) fn by_hand(&self, nodes: &[i32], replicas: Option<usize>) -> Result<Partition, Refusal> {
        let refuse = |message: String| Refusal::new(RefusalKind::InvalidReplicaAssignment, message);
        if nodes.is_empty() {
            return Err(refuse("a partition needs at least one replica".to_owned()));
        }
        let nodes: Vec<NodeId> = nodes.iter().map(|id| NodeId(*id)).collect();
        if let Some(unknown) = nodes.iter().find(|id| self.image.broker(**id).is_none()) {
            return Err(refuse(format!("broker {unknown} is not registered")));
        }
        let mut sorted = nodes.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find_map(|pair| (pair.first() == pair.last()).then(|| pair.first())?) {
            return Err(refuse(format!("broker {twice} is assigned twice to one partition")));
        }
        if replicas.is_some_and(|replicas| replicas != nodes.len()) {
            return Err(refuse("all partitions of a topic need the same number of replicas".to_owned()));
        }
        self.new_partition(nodes).map_err(|refusal| refuse(refusal.message))
    }

    fn new_partition(&self, replicas: Vec<NodeId>) -> Result<Partition, Refusal> {
        let broker = |id: &NodeId| self.image.broker(*id);
        let isr: Vec<NodeId> =
            replicas.iter().copied().filter(|id| broker(id).is_some_and(|broker| can_lead(broker))).collect();
        let Some(leader) = isr.first().copied() else {
            let message = "none of the brokers of a partition can lead it at the moment";
            return Err(Refusal::new(RefusalKind::InvalidReplicationFactor, message));
        };
        let directories =
            replicas.iter().map(|id| broker(id).map_or(directory::UNASSIGNED, |broker| only_directory(broker)));
        Ok(Partition {
            directories: directories.collect(),
            isr,
            leader: Some(leader),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            replicas,
            ..Partition::default()
        })
    }
}

fn can_lead(broker: &BrokerRegistration) -> bool {
    !broker.fenced && !broker.in_controlled_shutdown
}

/// The directory that the broker will use, when there is nothing to choose.
fn only_directory(broker: &BrokerRegistration) -> Uuid {
    match broker.log_dirs.as_slice() {
        [only] => *only,
        _ => directory::UNASSIGNED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metadata::{BrokerRegistration, MetadataRecord, apply};

    /// Brokers 1 to 4 with one directory each; 4 is fenced.
    fn image() -> MetadataImage {
        let mut image = MetadataImage::default();
        for id in 1..=4 {
            let log_dirs = vec![Uuid([id; 16])];
            let registration = BrokerRegistration {
                id: NodeId(id.into()),
                fenced: id == 4,
                log_dirs,
                ..BrokerRegistration::default()
            };
            apply(&mut image, &MetadataRecord::RegisterBroker(registration)).unwrap();
        }
        image
    }

    #[test]
    fn replicas_and_leaders_are_spread_evenly() {
        let image = image();
        for random in 0..5 {
            let partitions = Placement::new(&image).choose(30, 2, random).unwrap();
            let (mut leads, mut holds) = (BTreeMap::new(), BTreeMap::new());
            for partition in &partitions {
                assert_eq!(partition.leader, partition.replicas.first().copied());
                assert_eq!(partition.isr, partition.replicas);
                assert_ne!(partition.replicas[0], partition.replicas[1]);
                *leads.entry(partition.replicas[0]).or_insert(0) += 1;
                partition.replicas.iter().for_each(|id| *holds.entry(*id).or_insert(0) += 1);
                let expected = partition.replicas.iter().map(|id| Uuid([u8::try_from(id.0).unwrap(); 16]));
                assert!(partition.directories.iter().copied().eq(expected));
            }
            assert!((1..=3).all(|id| leads[&NodeId(id)] == 10 && holds[&NodeId(id)] == 20), "{leads:?} {holds:?}");
        }
    }

    #[test]
    fn a_fenced_broker_comes_last_and_is_not_in_sync() {
        let image = image();
        let placement = Placement::new(&image);
        for partition in placement.choose(6, 4, 1).unwrap() {
            assert_eq!(partition.replicas.last(), Some(&NodeId(4)));
            assert_eq!(partition.isr, partition.replicas[..3]);
        }
        assert_eq!(placement.choose(1, 5, 0).unwrap_err().kind, RefusalKind::InvalidReplicationFactor);

        let by_hand = placement.by_hand(&[4, 2], Some(2)).unwrap();
        assert_eq!((by_hand.leader, by_hand.isr), (Some(NodeId(2)), vec![NodeId(2)]));
        for (nodes, siblings) in [(&[4][..], 1), (&[1, 2], 3), (&[1, 1], 2), (&[5], 1), (&[], 0)] {
            let refusal = placement.by_hand(nodes, Some(siblings)).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::InvalidReplicaAssignment, "{nodes:?}");
        }
    }

    #[test]
    fn without_a_broker_there_is_no_place() {
        let nobody = MetadataImage::default();
        let refusal = Placement::new(&nobody).choose(1, 1, 0).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::InvalidReplicationFactor);
    }
}
