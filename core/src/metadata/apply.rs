//! What a record does to an image.
//!
//! A log that Kafka or we wrote never holds a record that contradicts those before it, so a contradiction means damage
//! or a log of somebody else: it is refused, never guessed around.

use std::fmt;
use std::sync::Arc;

use super::image::{BrokerEpoch, BrokerRegistration, MetadataImage, Partition, PartitionEpoch, Topic, directory};
use super::records::{BrokerId, BrokerRegistrationChange, MetadataRecord, PartitionChange};
use super::topic_name::{TopicNameError, check_topic_name};
use crate::base::{LeaderEpoch, NodeId, PartitionIndex, TopicId};

/// Why a record does not fit the image before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// It creates a topic with a name that no topic can have.
    TopicName(TopicNameError),
    /// It creates a topic whose name or id there already is.
    TopicExists(String),
    /// It is about a topic that there is not.
    UnknownTopic(TopicId),
    /// It is about a partition that there is not.
    UnknownPartition(TopicId, PartitionIndex),
    /// It creates a partition that there already is.
    PartitionExists(TopicId, PartitionIndex),
    /// A partition number below 0.
    NegativePartition(TopicId, PartitionIndex),
    /// A partition with another number of directories than of replicas.
    DirectoriesMismatch(TopicId, PartitionIndex),
    /// It is about a broker that is not registered.
    UnknownBroker(NodeId),
    /// It is about another life of the broker than the registered one.
    StaleBroker(BrokerId, BrokerEpoch),
    /// It marks the end of a transaction, or another begin, where there cannot be one. Whoever replays pairs them; an
    /// image alone has no transactions.
    Transaction(&'static str),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopicName(error) => error.fmt(f),
            Self::TopicExists(name) => write!(f, "topic {name} is created twice"),
            Self::UnknownTopic(id) => write!(f, "there is no topic with id {id}"),
            Self::UnknownPartition(id, index) => write!(f, "topic {id} has no partition {index}"),
            Self::PartitionExists(id, index) => write!(f, "partition {index} of topic {id} is created twice"),
            Self::NegativePartition(id, index) => write!(f, "topic {id} cannot have a partition {index}"),
            Self::DirectoriesMismatch(id, index) => {
                write!(f, "partition {index} of topic {id} has not one directory for each replica")
            }
            Self::UnknownBroker(id) => write!(f, "broker {id} is not registered"),
            Self::StaleBroker(broker, epoch) => {
                write!(f, "broker {} has epoch {}, not {}", broker.id, epoch.0, broker.broker_epoch.0)
            }
            Self::Transaction(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ApplyError {}

/// Changes `image` as `record` says. On an error it may be half changed: drop it.
///
/// # Errors
/// The contradiction between the record and the image.
pub fn apply(image: &mut MetadataImage, record: &MetadataRecord) -> Result<(), ApplyError> {
    match record {
        MetadataRecord::RegisterBroker(registration) => {
            Arc::make_mut(&mut image.brokers).insert(registration.id, Arc::new(registration.clone()));
        }
        MetadataRecord::UnregisterBroker(broker) => {
            registered(image, *broker)?;
            Arc::make_mut(&mut image.brokers).remove(&broker.id);
        }
        MetadataRecord::FenceBroker(broker) => registered(image, *broker)?.fenced = true,
        MetadataRecord::UnfenceBroker(broker) => registered(image, *broker)?.fenced = false,
        MetadataRecord::BrokerRegistrationChange(change) => change_registration(image, change)?,
        MetadataRecord::FeatureLevel { name, level } => {
            let features = Arc::make_mut(&mut image.features);
            match level {
                0 => drop(features.remove(name)),
                level => drop(features.insert(name.clone(), *level)),
            }
        }
        MetadataRecord::Topic { name, id } => {
            check_topic_name(name).map_err(ApplyError::TopicName)?;
            if image.topic(name).is_some() || image.topic_by_id(*id).is_some() {
                return Err(ApplyError::TopicExists(name.clone()));
            }
            image.insert_topic(Topic { id: *id, name: name.as_str().into(), partitions: Default::default() });
        }
        MetadataRecord::RemoveTopic { id } => {
            image.remove_topic(*id).ok_or(ApplyError::UnknownTopic(*id))?;
        }
        MetadataRecord::Partition { topic_id, index, partition } => {
            add_partition(image, *topic_id, *index, partition)?;
        }
        MetadataRecord::PartitionChange(change) => change_partition(image, change)?,
        MetadataRecord::Config { resource, name, value } => image.set_config(resource, name, value.as_deref()),
        MetadataRecord::ProducerIds { next_producer_id, .. } => image.next_producer_id = *next_producer_id,
        MetadataRecord::ClearElr { topic } => clear_elr(image, topic),
        MetadataRecord::RegisterController(_) | MetadataRecord::ZkMigrationState { .. } | MetadataRecord::NoOp => {}
        MetadataRecord::BeginTransaction { .. } => {
            return Err(ApplyError::Transaction("a transaction begins in another"));
        }
        MetadataRecord::EndTransaction => return Err(ApplyError::Transaction("no transaction is open to be ended")),
        MetadataRecord::AbortTransaction { .. } => {
            return Err(ApplyError::Transaction("no transaction is open to be aborted"));
        }
    }
    Ok(())
}

fn registered(image: &mut MetadataImage, broker: BrokerId) -> Result<&mut BrokerRegistration, ApplyError> {
    let registration =
        Arc::make_mut(&mut image.brokers).get_mut(&broker.id).ok_or(ApplyError::UnknownBroker(broker.id))?;
    if registration.broker_epoch != broker.broker_epoch {
        return Err(ApplyError::StaleBroker(broker, registration.broker_epoch));
    }
    Ok(Arc::make_mut(registration))
}

fn change_registration(image: &mut MetadataImage, change: &BrokerRegistrationChange) -> Result<(), ApplyError> {
    let registration = registered(image, change.broker)?;
    if let Some(fenced) = change.fenced {
        registration.fenced = fenced;
    }
    registration.in_controlled_shutdown |= change.in_controlled_shutdown;
    if let Some(log_dirs) = &change.log_dirs {
        registration.log_dirs.clone_from(log_dirs);
    }
    if change.cordoned_log_dirs.is_some() {
        registration.cordoned_log_dirs.clone_from(&change.cordoned_log_dirs);
    }
    Ok(())
}

fn add_partition(
    image: &mut MetadataImage,
    topic_id: TopicId,
    index: PartitionIndex,
    partition: &Partition,
) -> Result<(), ApplyError> {
    if index.0 < 0 {
        return Err(ApplyError::NegativePartition(topic_id, index));
    }
    if partition.directories.len() != partition.replicas.len() {
        return Err(ApplyError::DirectoriesMismatch(topic_id, index));
    }
    let topic = image.topic_mut(topic_id).ok_or(ApplyError::UnknownTopic(topic_id))?;
    if topic.partitions.insert(index, Arc::new(partition.clone())).is_some() {
        return Err(ApplyError::PartitionExists(topic_id, index));
    }
    Ok(())
}

fn change_partition(image: &mut MetadataImage, change: &PartitionChange) -> Result<(), ApplyError> {
    let topic = image.topic_mut(change.topic_id).ok_or(ApplyError::UnknownTopic(change.topic_id))?;
    let partition = topic
        .partitions
        .get_mut(&change.index)
        .map(Arc::make_mut)
        .ok_or(ApplyError::UnknownPartition(change.topic_id, change.index))?;
    if let Some(leader) = change.leader {
        partition.leader = leader;
        partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0.wrapping_add(1));
    }
    partition.partition_epoch = PartitionEpoch(partition.partition_epoch.0.wrapping_add(1));
    for (field, new) in [
        (&mut partition.isr, &change.isr),
        (&mut partition.replicas, &change.replicas),
        (&mut partition.removing_replicas, &change.removing_replicas),
        (&mut partition.adding_replicas, &change.adding_replicas),
        (&mut partition.eligible_leader_replicas, &change.eligible_leader_replicas),
        (&mut partition.last_known_elr, &change.last_known_elr),
    ] {
        if let Some(new) = new {
            field.clone_from(new);
        }
    }
    if let Some(directories) = &change.directories {
        partition.directories.clone_from(directories);
    }
    if let Some(state) = change.leader_recovery_state {
        partition.leader_recovery_state = state;
    }
    if change.replicas.is_some() && change.directories.is_none() {
        partition.directories.resize(partition.replicas.len(), directory::MIGRATING);
    }
    if partition.directories.len() != partition.replicas.len() {
        return Err(ApplyError::DirectoriesMismatch(change.topic_id, change.index));
    }
    Ok(())
}

fn clear_elr(image: &mut MetadataImage, name: &str) {
    let ids: Vec<TopicId> = match name {
        "" => image.topics().map(|topic| topic.id).collect(),
        name => image.topic_id(name).into_iter().collect(),
    };
    for id in ids {
        let Some(topic) = image.topic_mut(id) else { continue };
        for partition in topic.partitions.values_mut() {
            if !partition.eligible_leader_replicas.is_empty() || !partition.last_known_elr.is_empty() {
                let partition = Arc::make_mut(partition);
                partition.eligible_leader_replicas.clear();
                partition.last_known_elr.clear();
            }
        }
    }
}
