//! The bytes of one metadata record: a frame of three small integers (frame version, type, version), then the message.
//!
//! Written are the versions that belong to the one `metadata.version` that we run; read are all.

use std::fmt;

use bytes::Bytes;
use corelane_protocol::wire::{DecodeError, EncodeError, Reader, Writer};
use corelane_protocol::{KafkaString, Message, Record, records as schema};

use super::image::{
    BrokerEpoch, BrokerRegistration, ConfigResource, ConfigResourceKind, Endpoint, Partition, PartitionEpoch,
    SupportedFeature, directory,
};
use super::records::{BrokerId, BrokerRegistrationChange, ControllerRegistration, MetadataRecord, PartitionChange};
use crate::base::{LeaderEpoch, NodeId, PartitionIndex, ProducerId, Uuid};

/// The version of the frame; there has never been another.
const FRAME_VERSION: u32 = 1;

/// Records of Kafka's that this broker cannot act on yet. Passing over one would lose what it protects, such as an
/// access rule, so they are refused by name.
const UNSUPPORTED: [(u32, &str); 8] = [
    (10, "DelegationTokenRecord"),
    (11, "UserScramCredentialRecord"),
    (14, "ClientQuotaRecord"),
    (18, "AccessControlEntryRecord"),
    (19, "RemoveAccessControlEntryRecord"),
    (22, "RemoveUserScramCredentialRecord"),
    (26, "RemoveDelegationTokenRecord"),
    (29, "UnregisterControllerRecord"),
];

/// Why bytes are no metadata record that this broker understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecordError {
    /// A frame of another version.
    FrameVersion(u32),
    /// A type that Kafka has no record for.
    UnknownType(u32),
    /// A record that Kafka has and this broker does not act on.
    Unsupported(&'static str),
    /// The frame or the record is malformed, or has a version that this broker does not know.
    Malformed(&'static str, DecodeError),
    /// A field has a value that it cannot have.
    Value(&'static str, &'static str),
}

impl fmt::Display for MetadataRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameVersion(version) => write!(f, "record frame version {version} is not known, only 1 is"),
            Self::UnknownType(id) => write!(f, "record type {id} is not known"),
            Self::Unsupported(name) => write!(f, "a {name}, which this version of Corelane does not act on"),
            Self::Malformed(name, error) => write!(f, "malformed {name}: {error}"),
            Self::Value(name, what) => write!(f, "{name}: {what}"),
        }
    }
}

impl std::error::Error for MetadataRecordError {}

/// Reads one record.
///
/// # Errors
/// What is wrong with it, by name.
pub fn decode_record(value: Bytes) -> Result<MetadataRecord, MetadataRecordError> {
    let mut reader = Reader::new(value);
    let frame = |reader: &mut Reader| reader.unsigned_varint().map_err(|e| MetadataRecordError::Malformed("frame", e));
    let frame_version = frame(&mut reader)?;
    if frame_version != FRAME_VERSION {
        return Err(MetadataRecordError::FrameVersion(frame_version));
    }
    let id = frame(&mut reader)?;
    // A version beyond i16 becomes one that no record has.
    let version = i16::try_from(frame(&mut reader)?).unwrap_or(-1);
    let input = &mut reader;
    match i16::try_from(id).unwrap_or(-1) {
        schema::RegisterBrokerRecord::ID => read(input, version).map(register_broker),
        schema::UnregisterBrokerRecord::ID => read(input, version).map(|record: schema::UnregisterBrokerRecord| {
            MetadataRecord::UnregisterBroker(broker_id(record.broker_id, record.broker_epoch))
        }),
        schema::TopicRecord::ID => read(input, version).map(|record: schema::TopicRecord| MetadataRecord::Topic {
            name: record.name.to_string(),
            id: Uuid(record.topic_id),
        }),
        schema::PartitionRecord::ID => read(input, version).map(partition),
        schema::ConfigRecord::ID => read(input, version).map(|record: schema::ConfigRecord| MetadataRecord::Config {
            resource: ConfigResource {
                kind: ConfigResourceKind(record.resource_type),
                name: record.resource_name.to_string(),
            },
            name: record.name.to_string(),
            value: record.value.map(|value| value.to_string()),
        }),
        schema::PartitionChangeRecord::ID => read(input, version).map(partition_change),
        schema::FenceBrokerRecord::ID => read(input, version)
            .map(|record: schema::FenceBrokerRecord| MetadataRecord::FenceBroker(broker_id(record.id, record.epoch))),
        schema::UnfenceBrokerRecord::ID => read(input, version).map(|record: schema::UnfenceBrokerRecord| {
            MetadataRecord::UnfenceBroker(broker_id(record.id, record.epoch))
        }),
        schema::RemoveTopicRecord::ID => read(input, version)
            .map(|record: schema::RemoveTopicRecord| MetadataRecord::RemoveTopic { id: Uuid(record.topic_id) }),
        schema::FeatureLevelRecord::ID => read(input, version).map(|record: schema::FeatureLevelRecord| {
            MetadataRecord::FeatureLevel { name: record.name.to_string(), level: record.feature_level }
        }),
        schema::ProducerIdsRecord::ID => producer_ids(&read(input, version)?),
        schema::BrokerRegistrationChangeRecord::ID => registration_change(read(input, version)?),
        schema::NoOpRecord::ID => read(input, version).map(|_: schema::NoOpRecord| MetadataRecord::NoOp),
        schema::ZkMigrationStateRecord::ID => read(input, version).map(|record: schema::ZkMigrationStateRecord| {
            MetadataRecord::ZkMigrationState { state: record.zk_migration_state }
        }),
        schema::BeginTransactionRecord::ID => read(input, version).map(|record: schema::BeginTransactionRecord| {
            MetadataRecord::BeginTransaction { name: record.name.map(|name| name.to_string()) }
        }),
        schema::EndTransactionRecord::ID => {
            read(input, version).map(|_: schema::EndTransactionRecord| MetadataRecord::EndTransaction)
        }
        schema::AbortTransactionRecord::ID => read(input, version).map(|record: schema::AbortTransactionRecord| {
            MetadataRecord::AbortTransaction { reason: record.reason.map(|reason| reason.to_string()) }
        }),
        schema::RegisterControllerRecord::ID => read(input, version).map(register_controller),
        schema::ClearElrRecord::ID => read(input, version)
            .map(|record: schema::ClearElrRecord| MetadataRecord::ClearElr { topic: record.topic_name.to_string() }),
        _ => Err(UNSUPPORTED
            .into_iter()
            .find(|(number, _)| *number == id)
            .map_or(MetadataRecordError::UnknownType(id), |(_, name)| MetadataRecordError::Unsupported(name))),
    }
}

/// Writes one record.
///
/// # Errors
/// A text or list is longer than the format can carry. Decisions check that before.
pub fn encode_record(record: &MetadataRecord) -> Result<Bytes, EncodeError> {
    match record {
        MetadataRecord::RegisterBroker(registration) => write(&register_broker_record(registration), 4),
        MetadataRecord::UnregisterBroker(BrokerId { id, broker_epoch }) => {
            write(&schema::UnregisterBrokerRecord { broker_id: id.0, broker_epoch: broker_epoch.0 }, 0)
        }
        MetadataRecord::FenceBroker(BrokerId { id, broker_epoch }) => {
            write(&schema::FenceBrokerRecord { id: id.0, epoch: broker_epoch.0 }, 0)
        }
        MetadataRecord::UnfenceBroker(BrokerId { id, broker_epoch }) => {
            write(&schema::UnfenceBrokerRecord { id: id.0, epoch: broker_epoch.0 }, 0)
        }
        MetadataRecord::BrokerRegistrationChange(change) => {
            let version = match change {
                BrokerRegistrationChange { cordoned_log_dirs: Some(_), .. } => 3,
                BrokerRegistrationChange { log_dirs: Some(_), .. } => 2,
                BrokerRegistrationChange { in_controlled_shutdown: true, .. } => 1,
                _ => 0,
            };
            write(&registration_change_record(change), version)
        }
        MetadataRecord::RegisterController(registration) => write(&register_controller_record(registration), 0),
        MetadataRecord::FeatureLevel { name, level } => {
            write(&schema::FeatureLevelRecord { name: text(name), feature_level: *level }, 0)
        }
        MetadataRecord::Topic { name, id } => write(&schema::TopicRecord { name: text(name), topic_id: id.0 }, 0),
        MetadataRecord::RemoveTopic { id } => write(&schema::RemoveTopicRecord { topic_id: id.0 }, 0),
        MetadataRecord::Partition { topic_id, index, partition } => {
            write(&partition_record(*topic_id, *index, partition), 2)
        }
        MetadataRecord::PartitionChange(change) => write(&partition_change_record(change), 2),
        MetadataRecord::Config { resource, name, value } => write(
            &schema::ConfigRecord {
                resource_type: resource.kind.0,
                resource_name: text(&resource.name),
                name: text(name),
                value: value.as_deref().map(text),
            },
            0,
        ),
        MetadataRecord::ProducerIds { broker, next_producer_id } => write(
            &schema::ProducerIdsRecord {
                broker_id: broker.id.0,
                broker_epoch: broker.broker_epoch.0,
                next_producer_id: next_producer_id.0,
            },
            0,
        ),
        MetadataRecord::BeginTransaction { name } => {
            write(&schema::BeginTransactionRecord { name: name.as_deref().map(text) }, 0)
        }
        MetadataRecord::EndTransaction => write(&schema::EndTransactionRecord::default(), 0),
        MetadataRecord::AbortTransaction { reason } => {
            write(&schema::AbortTransactionRecord { reason: reason.as_deref().map(text) }, 0)
        }
        MetadataRecord::ZkMigrationState { state } => {
            write(&schema::ZkMigrationStateRecord { zk_migration_state: *state }, 0)
        }
        MetadataRecord::ClearElr { topic } => write(&schema::ClearElrRecord { topic_name: text(topic) }, 0),
        MetadataRecord::NoOp => write(&schema::NoOpRecord::default(), 0),
    }
}

fn read<R: Record>(reader: &mut Reader, version: i16) -> Result<R, MetadataRecordError> {
    let malformed = |error| MetadataRecordError::Malformed(R::NAME, error);
    let record = R::decode(reader, version).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    Ok(record)
}

fn write<R: Record>(record: &R, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(64);
    writer.unsigned_varint(FRAME_VERSION);
    writer.unsigned_varint(u32::from(R::ID.unsigned_abs()));
    writer.unsigned_varint(u32::from(version.unsigned_abs()));
    record.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

fn text(text: &str) -> KafkaString {
    KafkaString::copied(text)
}

fn broker_id(id: i32, epoch: i64) -> BrokerId {
    BrokerId { id: NodeId(id), broker_epoch: BrokerEpoch(epoch) }
}

fn nodes(ids: Vec<i32>) -> Vec<NodeId> {
    ids.into_iter().map(NodeId).collect()
}

fn node_numbers(ids: &[NodeId]) -> Vec<i32> {
    ids.iter().map(|id| id.0).collect()
}

fn uuids(ids: Vec<[u8; 16]>) -> Vec<Uuid> {
    ids.into_iter().map(Uuid).collect()
}

fn uuid_bytes(ids: &[Uuid]) -> Vec<[u8; 16]> {
    ids.iter().map(|id| id.0).collect()
}

fn register_broker(record: schema::RegisterBrokerRecord) -> MetadataRecord {
    MetadataRecord::RegisterBroker(BrokerRegistration {
        id: NodeId(record.broker_id),
        incarnation_id: Uuid(record.incarnation_id),
        broker_epoch: BrokerEpoch(record.broker_epoch),
        endpoints: record
            .end_points
            .into_iter()
            .map(|endpoint| Endpoint {
                name: endpoint.name.to_string(),
                host: endpoint.host.to_string(),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
            })
            .collect(),
        features: record
            .features
            .into_iter()
            .map(|feature| SupportedFeature {
                name: feature.name.to_string(),
                min_level: feature.min_supported_version,
                max_level: feature.max_supported_version,
            })
            .collect(),
        rack: record.rack.map(|rack| rack.to_string()),
        fenced: record.fenced,
        in_controlled_shutdown: record.in_controlled_shutdown,
        log_dirs: uuids(record.log_dirs),
        cordoned_log_dirs: record.cordoned_log_dirs.map(uuids),
    })
}

fn register_broker_record(registration: &BrokerRegistration) -> schema::RegisterBrokerRecord {
    use schema::register_broker_record::{BrokerEndpoint, BrokerFeature};
    let endpoint = |endpoint: &Endpoint| BrokerEndpoint {
        name: text(&endpoint.name),
        host: text(&endpoint.host),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    };
    let feature = |feature: &SupportedFeature| BrokerFeature {
        name: text(&feature.name),
        min_supported_version: feature.min_level,
        max_supported_version: feature.max_level,
    };
    schema::RegisterBrokerRecord {
        broker_id: registration.id.0,
        is_migrating_zk_broker: false,
        incarnation_id: registration.incarnation_id.0,
        broker_epoch: registration.broker_epoch.0,
        end_points: registration.endpoints.iter().map(endpoint).collect(),
        features: registration.features.iter().map(feature).collect(),
        rack: registration.rack.as_deref().map(text),
        fenced: registration.fenced,
        in_controlled_shutdown: registration.in_controlled_shutdown,
        log_dirs: uuid_bytes(&registration.log_dirs),
        cordoned_log_dirs: registration.cordoned_log_dirs.as_deref().map(uuid_bytes),
    }
}

fn register_controller(record: schema::RegisterControllerRecord) -> MetadataRecord {
    MetadataRecord::RegisterController(ControllerRegistration {
        id: NodeId(record.controller_id),
        incarnation_id: Uuid(record.incarnation_id),
        zk_migration_ready: record.zk_migration_ready,
        endpoints: record
            .end_points
            .into_iter()
            .map(|endpoint| Endpoint {
                name: endpoint.name.to_string(),
                host: endpoint.host.to_string(),
                port: endpoint.port,
                security_protocol: endpoint.security_protocol,
            })
            .collect(),
        features: record
            .features
            .into_iter()
            .map(|feature| SupportedFeature {
                name: feature.name.to_string(),
                min_level: feature.min_supported_version,
                max_level: feature.max_supported_version,
            })
            .collect(),
    })
}

fn register_controller_record(registration: &ControllerRegistration) -> schema::RegisterControllerRecord {
    use schema::register_controller_record::{ControllerEndpoint, ControllerFeature};
    let endpoint = |endpoint: &Endpoint| ControllerEndpoint {
        name: text(&endpoint.name),
        host: text(&endpoint.host),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    };
    let feature = |feature: &SupportedFeature| ControllerFeature {
        name: text(&feature.name),
        min_supported_version: feature.min_level,
        max_supported_version: feature.max_level,
    };
    schema::RegisterControllerRecord {
        controller_id: registration.id.0,
        incarnation_id: registration.incarnation_id.0,
        zk_migration_ready: registration.zk_migration_ready,
        end_points: registration.endpoints.iter().map(endpoint).collect(),
        features: registration.features.iter().map(feature).collect(),
    }
}

fn registration_change(record: schema::BrokerRegistrationChangeRecord) -> Result<MetadataRecord, MetadataRecordError> {
    let fault = |what| MetadataRecordError::Value(schema::BrokerRegistrationChangeRecord::NAME, what);
    Ok(MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChange {
        broker: broker_id(record.broker_id, record.broker_epoch),
        fenced: match record.fenced {
            0 => None,
            1 => Some(true),
            -1 => Some(false),
            _ => return Err(fault("fenced is none of -1, 0 and 1")),
        },
        in_controlled_shutdown: match record.in_controlled_shutdown {
            0 => false,
            1 => true,
            _ => return Err(fault("in_controlled_shutdown is neither 0 nor 1")),
        },
        // Empty is the default of a field that is not there: a broker has always one.
        log_dirs: (!record.log_dirs.is_empty()).then(|| uuids(record.log_dirs)),
        cordoned_log_dirs: record.cordoned_log_dirs.map(uuids),
    }))
}

fn registration_change_record(change: &BrokerRegistrationChange) -> schema::BrokerRegistrationChangeRecord {
    schema::BrokerRegistrationChangeRecord {
        broker_id: change.broker.id.0,
        broker_epoch: change.broker.broker_epoch.0,
        fenced: change.fenced.map_or(0, |fenced| if fenced { 1 } else { -1 }),
        in_controlled_shutdown: i8::from(change.in_controlled_shutdown),
        log_dirs: uuid_bytes(change.log_dirs.as_deref().unwrap_or_default()),
        cordoned_log_dirs: change.cordoned_log_dirs.as_deref().map(uuid_bytes),
    }
}

fn partition(record: schema::PartitionRecord) -> MetadataRecord {
    let mut directories = uuids(record.directories);
    if directories.is_empty() {
        directories.resize(record.replicas.len(), directory::MIGRATING);
    }
    MetadataRecord::Partition {
        topic_id: Uuid(record.topic_id),
        index: PartitionIndex(record.partition_id),
        partition: Partition {
            replicas: nodes(record.replicas),
            directories,
            isr: nodes(record.isr),
            removing_replicas: nodes(record.removing_replicas),
            adding_replicas: nodes(record.adding_replicas),
            eligible_leader_replicas: nodes(record.eligible_leader_replicas.unwrap_or_default()),
            last_known_elr: nodes(record.last_known_elr.unwrap_or_default()),
            leader: some_node(record.leader),
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: LeaderEpoch(record.leader_epoch),
            partition_epoch: PartitionEpoch(record.partition_epoch),
        },
    }
}

fn partition_record(topic_id: Uuid, index: PartitionIndex, partition: &Partition) -> schema::PartitionRecord {
    let unless_empty = |ids: &[NodeId]| (!ids.is_empty()).then(|| node_numbers(ids));
    schema::PartitionRecord {
        partition_id: index.0,
        topic_id: topic_id.0,
        replicas: node_numbers(&partition.replicas),
        isr: node_numbers(&partition.isr),
        removing_replicas: node_numbers(&partition.removing_replicas),
        adding_replicas: node_numbers(&partition.adding_replicas),
        leader: partition.leader.map_or(NO_LEADER, |id| id.0),
        leader_recovery_state: partition.leader_recovery_state,
        leader_epoch: partition.leader_epoch.0,
        partition_epoch: partition.partition_epoch.0,
        directories: uuid_bytes(&partition.directories),
        eligible_leader_replicas: unless_empty(&partition.eligible_leader_replicas),
        last_known_elr: unless_empty(&partition.last_known_elr),
    }
}

const NO_LEADER: i32 = -1;
const LEADER_UNCHANGED: i32 = -2;
const RECOVERY_STATE_UNCHANGED: i8 = -1;

fn some_node(id: i32) -> Option<NodeId> {
    (id >= 0).then_some(NodeId(id))
}

fn partition_change(record: schema::PartitionChangeRecord) -> MetadataRecord {
    MetadataRecord::PartitionChange(PartitionChange {
        topic_id: Uuid(record.topic_id),
        index: PartitionIndex(record.partition_id),
        leader: (record.leader != LEADER_UNCHANGED).then(|| some_node(record.leader)),
        isr: record.isr.map(nodes),
        replicas: record.replicas.map(nodes),
        directories: record.directories.map(uuids),
        removing_replicas: record.removing_replicas.map(nodes),
        adding_replicas: record.adding_replicas.map(nodes),
        eligible_leader_replicas: record.eligible_leader_replicas.map(nodes),
        last_known_elr: record.last_known_elr.map(nodes),
        leader_recovery_state: (record.leader_recovery_state != RECOVERY_STATE_UNCHANGED)
            .then_some(record.leader_recovery_state),
    })
}

fn partition_change_record(change: &PartitionChange) -> schema::PartitionChangeRecord {
    let numbers = |ids: &Option<Vec<NodeId>>| ids.as_deref().map(node_numbers);
    schema::PartitionChangeRecord {
        partition_id: change.index.0,
        topic_id: change.topic_id.0,
        isr: numbers(&change.isr),
        leader: change.leader.map_or(LEADER_UNCHANGED, |leader| leader.map_or(NO_LEADER, |id| id.0)),
        replicas: numbers(&change.replicas),
        removing_replicas: numbers(&change.removing_replicas),
        adding_replicas: numbers(&change.adding_replicas),
        leader_recovery_state: change.leader_recovery_state.unwrap_or(RECOVERY_STATE_UNCHANGED),
        directories: change.directories.as_deref().map(uuid_bytes),
        eligible_leader_replicas: numbers(&change.eligible_leader_replicas),
        last_known_elr: numbers(&change.last_known_elr),
    }
}

fn producer_ids(record: &schema::ProducerIdsRecord) -> Result<MetadataRecord, MetadataRecordError> {
    if record.next_producer_id < 0 {
        return Err(MetadataRecordError::Value(schema::ProducerIdsRecord::NAME, "next_producer_id is negative"));
    }
    Ok(MetadataRecord::ProducerIds {
        broker: broker_id(record.broker_id, record.broker_epoch),
        next_producer_id: ProducerId(record.next_producer_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each_record() -> Vec<MetadataRecord> {
        let broker = BrokerId { id: NodeId(3), broker_epoch: BrokerEpoch(1 << 40) };
        let endpoint = Endpoint { name: "SSL".into(), host: "h\u{f6}st".into(), port: 65_535, security_protocol: 1 };
        let feature = SupportedFeature { name: "group.version".into(), min_level: 0, max_level: 1 };
        let registration = BrokerRegistration {
            id: broker.id,
            incarnation_id: Uuid([1; 16]),
            broker_epoch: broker.broker_epoch,
            endpoints: vec![endpoint.clone()],
            features: vec![feature.clone()],
            rack: Some("r".into()),
            fenced: true,
            in_controlled_shutdown: true,
            log_dirs: vec![Uuid([2; 16]), Uuid([3; 16])],
            cordoned_log_dirs: Some(vec![]),
        };
        let controller = ControllerRegistration {
            id: broker.id,
            incarnation_id: Uuid([1; 16]),
            zk_migration_ready: false,
            endpoints: vec![endpoint],
            features: vec![feature],
        };
        let partition = Partition {
            replicas: vec![NodeId(1), NodeId(3)],
            directories: vec![Uuid([2; 16]), Uuid::ZERO],
            isr: vec![NodeId(3)],
            removing_replicas: vec![NodeId(1)],
            adding_replicas: vec![NodeId(4)],
            eligible_leader_replicas: vec![NodeId(5)],
            last_known_elr: vec![NodeId(6)],
            leader: None,
            leader_recovery_state: 1,
            leader_epoch: LeaderEpoch(7),
            partition_epoch: PartitionEpoch(8),
        };
        let (topic_id, index) = (Uuid([9; 16]), PartitionIndex(4));
        let nothing = PartitionChange::of(topic_id, index);
        let everything = PartitionChange {
            leader: Some(None),
            isr: Some(vec![]),
            replicas: Some(vec![NodeId(1)]),
            directories: Some(vec![Uuid([2; 16])]),
            removing_replicas: Some(vec![]),
            adding_replicas: Some(vec![NodeId(2)]),
            eligible_leader_replicas: Some(vec![NodeId(1)]),
            last_known_elr: Some(vec![NodeId(1)]),
            leader_recovery_state: Some(0),
            ..nothing.clone()
        };
        let unchanged = BrokerRegistrationChange::of(broker);
        let fenced = BrokerRegistrationChange { fenced: Some(true), ..unchanged.clone() };
        let changed = BrokerRegistrationChange {
            fenced: Some(false),
            in_controlled_shutdown: true,
            log_dirs: Some(vec![Uuid([2; 16])]),
            cordoned_log_dirs: Some(vec![]),
            ..unchanged.clone()
        };
        let config = |value: Option<&str>| MetadataRecord::Config {
            resource: ConfigResource { kind: ConfigResourceKind::GROUP, name: "g".into() },
            name: "n".into(),
            value: value.map(str::to_owned),
        };
        vec![
            MetadataRecord::RegisterBroker(registration),
            MetadataRecord::RegisterBroker(BrokerRegistration::default()),
            MetadataRecord::UnregisterBroker(broker),
            MetadataRecord::FenceBroker(broker),
            MetadataRecord::UnfenceBroker(broker),
            MetadataRecord::BrokerRegistrationChange(unchanged),
            MetadataRecord::BrokerRegistrationChange(fenced),
            MetadataRecord::BrokerRegistrationChange(changed),
            MetadataRecord::RegisterController(controller),
            MetadataRecord::FeatureLevel { name: "transaction.version".into(), level: 2 },
            MetadataRecord::Topic { name: "t".into(), id: topic_id },
            MetadataRecord::RemoveTopic { id: topic_id },
            MetadataRecord::Partition { topic_id, index, partition },
            MetadataRecord::PartitionChange(nothing),
            MetadataRecord::PartitionChange(everything),
            config(Some("v")),
            config(Some("")),
            config(None),
            MetadataRecord::ProducerIds { broker, next_producer_id: ProducerId(i64::MAX) },
            MetadataRecord::BeginTransaction { name: Some("x".into()) },
            MetadataRecord::BeginTransaction { name: None },
            MetadataRecord::EndTransaction,
            MetadataRecord::AbortTransaction { reason: Some("y".into()) },
            MetadataRecord::ZkMigrationState { state: 0 },
            MetadataRecord::ClearElr { topic: "t".into() },
            MetadataRecord::NoOp,
        ]
    }

    #[test]
    fn every_record_comes_back_and_no_part_of_one_does() {
        for record in one_of_each_record() {
            let bytes = encode_record(&record).unwrap();
            assert_eq!(decode_record(bytes.clone()).as_ref(), Ok(&record));
            for cut in 0..bytes.len() {
                assert!(decode_record(bytes.slice(..cut)).is_err(), "{record:?} cut to {cut}");
            }
        }
    }

    /// Versions from before directories had ids, and markers that no writer sets.
    #[test]
    fn old_versions_and_impossible_values_are_told_apart() {
        let old = schema::PartitionRecord { replicas: vec![1, 2], isr: vec![1], leader: 1, ..Default::default() };
        let bytes = write(&old, 0).unwrap();
        let Ok(MetadataRecord::Partition { partition, .. }) = decode_record(bytes) else { panic!("no partition") };
        assert_eq!(partition.directories, [directory::MIGRATING; 2]);

        let strange = schema::BrokerRegistrationChangeRecord { fenced: 5, ..Default::default() };
        assert!(matches!(decode_record(write(&strange, 0).unwrap()), Err(MetadataRecordError::Value(..))));
        let negative = schema::ProducerIdsRecord { next_producer_id: -1, ..Default::default() };
        assert!(matches!(decode_record(write(&negative, 0).unwrap()), Err(MetadataRecordError::Value(..))));
    }
}
