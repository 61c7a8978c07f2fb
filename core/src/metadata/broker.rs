//! What a broker changes in the cluster by starting, and the blocks of producer ids that it draws.

use super::features::{
    GROUP_VERSION, GROUP_VERSION_LEVEL, TRANSACTION_VERSION, TRANSACTION_VERSION_LEVEL, supported_features,
};
use super::image::{BrokerEpoch, BrokerRegistration, Endpoint, MetadataImage, Partition, directory};
use super::records::{BrokerId, MetadataRecord, PartitionChange};
use crate::base::{NodeId, Offset, PartitionIndex, ProducerId, TopicId, Uuid};
use crate::limits::PRODUCER_ID_BLOCK;

/// Name of the feature that says which records a metadata log may hold.
pub const METADATA_VERSION: &str = "metadata.version";

/// The one `metadata.version` that we write and read: 4.3-IV0. Lower ones lack records that we write; higher ones may
/// hold records that we do not know.
pub const METADATA_VERSION_LEVEL: i16 = 30;

/// A broker at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartingBroker {
    /// Node id.
    pub id: NodeId,
    /// Random identity of this run of the process.
    pub incarnation_id: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Id of its log directory, from `meta.properties`.
    pub directory_id: Uuid,
    /// The epoch in `.kafka_cleanshutdown`, if that file was there.
    pub cleanly_stopped: Option<BrokerEpoch>,
}

/// The records that an empty metadata log begins with. Every other feature stays at level 0 until the broker does what
/// the level promises, since clients change their ways by it.
#[must_use]
pub fn bootstrap_records() -> Vec<MetadataRecord> {
    let level = |name: &str, level| MetadataRecord::FeatureLevel { name: name.to_owned(), level };
    vec![
        level(METADATA_VERSION, METADATA_VERSION_LEVEL),
        level(GROUP_VERSION, GROUP_VERSION_LEVEL),
        level(TRANSACTION_VERSION, TRANSACTION_VERSION_LEVEL),
    ]
}

/// The records of a broker's start. `first_offset` is where the first of them will stand: it becomes the broker epoch.
///
/// The broker takes the leadership of its partitions that have no leader, as Kafka leaves them when it stops. After an
/// unclean stop it takes that of its others anew: records that were lost with the machine's memory, and those that get
/// their offsets now, must differ in the leader epoch, or a consumer that saw the lost ones would never notice.
#[must_use]
pub fn register_broker(image: &MetadataImage, broker: &StartingBroker, first_offset: Offset) -> Vec<MetadataRecord> {
    let earlier = image.broker(broker.id).map(|registration| registration.broker_epoch);
    let clean = earlier.is_some() && earlier == broker.cleanly_stopped;
    let mut records = vec![MetadataRecord::RegisterBroker(BrokerRegistration {
        id: broker.id,
        incarnation_id: broker.incarnation_id,
        broker_epoch: BrokerEpoch(first_offset.0),
        endpoints: broker.endpoints.clone(),
        features: supported_features(),
        rack: broker.rack.clone(),
        fenced: false,
        in_controlled_shutdown: false,
        log_dirs: vec![broker.directory_id],
        cordoned_log_dirs: None,
    })];
    for topic in image.topics() {
        for (index, partition) in &topic.partitions {
            records.extend(retake(topic.id, *index, partition, broker, clean).map(MetadataRecord::PartitionChange));
        }
    }
    records
}

/// A block of producer ids for a broker, and the record that must be on disk before the first of them is given out.
/// `None` if all ids that can be are used up.
#[must_use]
pub fn allocate_producer_ids(image: &MetadataImage, broker: BrokerId) -> Option<(MetadataRecord, ProducerIdBlock)> {
    let first = image.next_producer_id;
    let next_producer_id = ProducerId(first.0.checked_add(PRODUCER_ID_BLOCK)?);
    let record = MetadataRecord::ProducerIds { broker, next_producer_id };
    Some((record, ProducerIdBlock { next: first, end: next_producer_id }))
}

/// Producer ids that a broker may give out without asking again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerIdBlock {
    next: ProducerId,
    end: ProducerId,
}

impl ProducerIdBlock {
    /// Whether the block is used up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// The next id, which nobody else ever gets; `None` if the block is used up.
    pub fn take(&mut self) -> Option<ProducerId> {
        let id = self.next;
        (id < self.end).then(|| {
            self.next = ProducerId(id.0 + 1);
            id
        })
    }
}

fn retake(
    topic_id: TopicId,
    index: PartitionIndex,
    partition: &Partition,
    broker: &StartingBroker,
    clean: bool,
) -> Option<PartitionChange> {
    let place = partition.replicas.iter().position(|id| *id == broker.id)?;
    let knows = |ids: &[NodeId]| ids.contains(&broker.id);
    let may_lead = match partition.leader {
        Some(leader) => leader == broker.id && !clean,
        None if !partition.isr.is_empty() => knows(&partition.isr),
        None if !partition.eligible_leader_replicas.is_empty() => knows(&partition.eligible_leader_replicas),
        None => knows(&partition.last_known_elr),
    };
    let mut change = PartitionChange::of(topic_id, index);
    if may_lead {
        change.leader = Some(Some(broker.id));
        if !knows(&partition.isr) {
            change.isr = Some(vec![broker.id]);
            change.eligible_leader_replicas = Some(Vec::new());
            change.last_known_elr = Some(Vec::new());
        }
    }
    if matches!(partition.directories.get(place), Some(&directory::UNASSIGNED | &directory::MIGRATING)) {
        let mut directories = partition.directories.clone();
        directories.iter_mut().skip(place).take(1).for_each(|id| *id = broker.directory_id);
        change.directories = Some(directories);
    }
    (change != PartitionChange::of(topic_id, index)).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::LeaderEpoch;
    use crate::metadata::apply;

    const BROKER: NodeId = NodeId(1);

    fn starting(cleanly_stopped: Option<i64>) -> StartingBroker {
        StartingBroker {
            id: BROKER,
            incarnation_id: Uuid([3; 16]),
            endpoints: Vec::new(),
            rack: None,
            directory_id: Uuid([7; 16]),
            cleanly_stopped: cleanly_stopped.map(BrokerEpoch),
        }
    }

    fn start(image: &MetadataImage, broker: &StartingBroker, offset: i64) -> MetadataImage {
        let mut next = image.clone();
        for record in register_broker(image, broker, Offset(offset)) {
            apply(&mut next, &record).unwrap();
        }
        next
    }

    fn with_partition(image: &MetadataImage, partition: Partition) -> MetadataImage {
        let mut next = image.clone();
        apply(&mut next, &MetadataRecord::Topic { name: "t".into(), id: Uuid([9; 16]) }).unwrap();
        let index = PartitionIndex(0);
        apply(&mut next, &MetadataRecord::Partition { topic_id: Uuid([9; 16]), index, partition }).unwrap();
        next
    }

    fn led() -> Partition {
        Partition {
            replicas: vec![BROKER],
            isr: vec![BROKER],
            directories: vec![Uuid([7; 16])],
            leader: Some(BROKER),
            ..Partition::default()
        }
    }

    fn only(image: &MetadataImage) -> &Partition {
        image.topic("t").unwrap().partition(PartitionIndex(0)).unwrap()
    }

    #[test]
    fn the_leader_epoch_rises_after_an_unclean_stop_only() {
        let first = with_partition(&start(&MetadataImage::default(), &starting(None), 4), led());
        assert_eq!(first.broker(BROKER).unwrap().broker_epoch, BrokerEpoch(4));
        assert!(!first.broker(BROKER).unwrap().fenced);

        let clean = start(&first, &starting(Some(4)), 10);
        assert_eq!((only(&clean), clean.broker(BROKER).unwrap().broker_epoch), (&led(), BrokerEpoch(10)));
        for stop in [None, Some(3)] {
            let unclean = start(&first, &starting(stop), 10);
            assert_eq!((only(&unclean).leader, only(&unclean).leader_epoch), (Some(BROKER), LeaderEpoch(1)));
        }
    }

    #[test]
    fn partitions_that_kafka_left_without_leader_get_one() {
        let image = start(&MetadataImage::default(), &starting(None), 4);
        let in_sync = Partition { leader: None, ..led() };
        let eligible = Partition {
            isr: vec![],
            eligible_leader_replicas: vec![BROKER],
            last_known_elr: vec![BROKER],
            ..in_sync.clone()
        };
        let last_known = Partition { eligible_leader_replicas: vec![], ..eligible.clone() };
        let unassigned = Partition { directories: vec![directory::UNASSIGNED], ..in_sync.clone() };
        for left in [in_sync, eligible, last_known, unassigned] {
            let next = start(&with_partition(&image, left), &starting(Some(4)), 9);
            let expected = Partition {
                leader_epoch: LeaderEpoch(1),
                partition_epoch: crate::metadata::PartitionEpoch(1),
                ..led()
            };
            assert_eq!(only(&next), &expected);
        }
    }

    #[test]
    fn nothing_is_taken_from_others() {
        let image = start(&MetadataImage::default(), &starting(None), 4);
        let other = NodeId(2);
        for foreign in [
            Partition { replicas: vec![other], isr: vec![other], leader: None, ..led() },
            Partition {
                replicas: vec![BROKER, other],
                isr: vec![other],
                leader: Some(other),
                directories: vec![Uuid([7; 16]); 2],
                ..led()
            },
            Partition { isr: vec![], last_known_elr: vec![other], leader: None, ..led() },
        ] {
            let next = start(&with_partition(&image, foreign.clone()), &starting(None), 9);
            assert_eq!(only(&next), &foreign);
        }
    }

    #[test]
    fn producer_ids_come_in_blocks_that_never_overlap() {
        let mut image = MetadataImage::default();
        let broker = BrokerId { id: BROKER, broker_epoch: BrokerEpoch(4) };
        let mut taken = Vec::new();
        for _ in 0..3 {
            let (record, mut block) = allocate_producer_ids(&image, broker).unwrap();
            taken.extend(std::iter::from_fn(|| block.take()));
            apply(&mut image, &record).unwrap();
        }
        assert!(taken.into_iter().eq((0..3000).map(ProducerId)));
        image.next_producer_id = ProducerId(i64::MAX - 5);
        assert_eq!(allocate_producer_ids(&image, broker), None);
    }
}
