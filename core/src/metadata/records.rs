//! One record of the metadata log, in terms of the cluster.
//!
//! These are Kafka's metadata records, with integers wrapped and markers such as "−2 means unchanged" as options. The
//! bytes are the business of `record_codec`; what a record does to an image, of `apply`.

use super::image::{BrokerEpoch, BrokerRegistration, ConfigResource, Endpoint, Partition, SupportedFeature};
use crate::base::{NodeId, PartitionIndex, ProducerId, TopicId, Uuid};

/// One change of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A broker joined, or came back as another process.
    RegisterBroker(BrokerRegistration),
    /// A broker left for good.
    UnregisterBroker(BrokerId),
    /// A broker must not lead; the form before 3.3.
    FenceBroker(BrokerId),
    /// A broker may lead; the form before 3.3.
    UnfenceBroker(BrokerId),
    /// A broker's state changed.
    BrokerRegistrationChange(BrokerRegistrationChange),
    /// A controller said who it is. Says nothing that an image needs.
    RegisterController(ControllerRegistration),
    /// A feature has another finalized level; 0 takes it off the list.
    FeatureLevel {
        /// Feature name.
        name: String,
        /// Level.
        level: i16,
    },
    /// A topic exists from here on; its partitions follow.
    Topic {
        /// Name.
        name: String,
        /// Identity.
        id: TopicId,
    },
    /// A topic is gone with all its partitions and settings.
    RemoveTopic {
        /// Identity.
        id: TopicId,
    },
    /// A partition exists from here on.
    Partition {
        /// Its topic.
        topic_id: TopicId,
        /// Its number.
        index: PartitionIndex,
        /// Where it lives.
        partition: Partition,
    },
    /// A partition changed.
    PartitionChange(PartitionChange),
    /// A setting has this value, or with `None` its default again.
    Config {
        /// What it belongs to.
        resource: ConfigResource,
        /// Name of the setting.
        name: String,
        /// Value as text.
        value: Option<String>,
    },
    /// All producer ids below this are given out in blocks.
    ProducerIds {
        /// Broker that got the last block.
        broker: BrokerId,
        /// First id of the next block.
        next_producer_id: ProducerId,
    },
    /// The records up to the end of the transaction count together or not at all (KIP-868).
    BeginTransaction {
        /// What it is for, for people.
        name: Option<String>,
    },
    /// The open transaction counts.
    EndTransaction,
    /// The open transaction does not count.
    AbortTransaction {
        /// Why, for people.
        reason: Option<String>,
    },
    /// How far a migration from ZooKeeper is; Kafka 4 writes none.
    ZkMigrationState {
        /// Kafka's number.
        state: i8,
    },
    /// Nobody is known any more to have been in sync: of one topic, or of all if the name is empty.
    ClearElr {
        /// Topic name.
        topic: String,
    },
    /// Nothing; Kafka's controller shows by it that it is alive.
    NoOp,
}

/// One life of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerId {
    /// Node id.
    pub id: NodeId,
    /// Epoch of its registration.
    pub broker_epoch: BrokerEpoch,
}

/// What changed in a broker's registration; `None` is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistrationChange {
    /// Which.
    pub broker: BrokerId,
    /// Whether it must not lead.
    pub fenced: Option<bool>,
    /// It is about to stop. There is no way back but another registration.
    pub in_controlled_shutdown: bool,
    /// Its log directories.
    pub log_dirs: Option<Vec<Uuid>>,
    /// Its directories that take no new partition.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

impl BrokerRegistrationChange {
    /// A change of nothing, to fill in.
    #[must_use]
    pub fn of(broker: BrokerId) -> Self {
        Self { broker, fenced: None, in_controlled_shutdown: false, log_dirs: None, cordoned_log_dirs: None }
    }
}

/// A controller as it registered itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControllerRegistration {
    /// Node id.
    pub id: NodeId,
    /// Identity of this run of the process.
    pub incarnation_id: Uuid,
    /// Left from the migration off ZooKeeper; false.
    pub zk_migration_ready: bool,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// Feature levels that it can run.
    pub features: Vec<SupportedFeature>,
}

/// What changed in a partition; `None` is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// Its topic.
    pub topic_id: TopicId,
    /// Its number.
    pub index: PartitionIndex,
    /// Who leads it, if anybody. Setting it raises the leader epoch, even to the same leader.
    pub leader: Option<Option<NodeId>>,
    /// Replicas in sync.
    pub isr: Option<Vec<NodeId>>,
    /// Replicas.
    pub replicas: Option<Vec<NodeId>>,
    /// Log directory of each replica.
    pub directories: Option<Vec<Uuid>>,
    /// Replicas on their way out.
    pub removing_replicas: Option<Vec<NodeId>>,
    /// Replicas on their way in.
    pub adding_replicas: Option<Vec<NodeId>>,
    /// Eligible leader replicas.
    pub eligible_leader_replicas: Option<Vec<NodeId>>,
    /// Last known of them.
    pub last_known_elr: Option<Vec<NodeId>>,
    /// Kafka's number for how the leader came to be.
    pub leader_recovery_state: Option<i8>,
}

impl PartitionChange {
    /// A change of nothing, to fill in.
    #[must_use]
    pub fn of(topic_id: TopicId, index: PartitionIndex) -> Self {
        Self {
            topic_id,
            index,
            leader: None,
            isr: None,
            replicas: None,
            directories: None,
            removing_replicas: None,
            adding_replicas: None,
            eligible_leader_replicas: None,
            last_known_elr: None,
            leader_recovery_state: None,
        }
    }
}
