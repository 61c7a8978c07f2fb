//! The records of `__consumer_offsets`, in Kafka's schemas.
//!
//! A key begins with an i16 that says what the record is about, a value with an i16 version; no value deletes. Written
//! are the versions that Kafka 4.3 writes; read are all that there ever were.

use std::fmt;

use bytes::Bytes;

use super::consumer::Part;
use crate::base::{LeaderEpoch, Offset, PartitionIndex, Timestamp, Uuid};
use crate::coordinator::{LogRecord, record_bytes};
use crate::protocol::records::{
    self as schema, GroupMetadataKey, GroupMetadataValue, LegacyOffsetCommitKey, LegacyOffsetCommitValue,
    OffsetCommitKey, OffsetCommitValue,
};
use crate::protocol::wire::{DecodeError, EncodeError, Reader};
use crate::protocol::{KafkaString, Record};

/// Version of the value of a group's record; Kafka 4.3 knows 4 and writes 3, which older brokers read.
const GROUP_VALUE_VERSION: i16 = 3;

/// Version of the value of an offset's record, and that of one with an expiry time, which only version 1 has.
const OFFSET_VALUE_VERSION: i16 = 4;
const EXPIRING_OFFSET_VALUE_VERSION: i16 = 1;

/// Whose offset of which partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// The group.
    pub group: KafkaString,
    /// The topic.
    pub topic: KafkaString,
    /// The partition.
    pub partition: PartitionIndex,
}

/// How far a group has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Offset of the next record to read; any number that the client chose.
    pub offset: Offset,
    /// Epoch of the last record read; −1 if the client did not say.
    pub leader_epoch: LeaderEpoch,
    /// Text that the client left with it.
    pub metadata: KafkaString,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it expires, if the client said so (OffsetCommit 2 to 4).
    pub expires_at: Option<Timestamp>,
    /// The topic's id; zero if it is not known.
    pub topic_id: Uuid,
}

/// Kinds of groups whose records this broker reads past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OtherKind {
    /// KIP-932.
    Share,
    /// KIP-1071.
    Streams,
}

/// Which part of a group of another kind a record tells about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherPart {
    /// The group itself; it exists as long as this record does.
    Group,
    /// A member; it exists as long as this record does.
    Member(KafkaString),
    /// Anything else.
    Detail,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodedRecord {
    /// A group has come this far, or nowhere any more.
    Offset(OffsetKey, Option<CommittedOffset>),
    /// A classic group is in this state, or is no more.
    Group(KafkaString, Option<GroupMetadataValue>),
    /// Something about a group of the consumer protocol (KIP-848).
    Consumer(KafkaString, Part),
    /// Something about a group of another kind.
    Other {
        /// Its kind.
        kind: OtherKind,
        /// The group.
        group: KafkaString,
        /// What of it.
        part: OtherPart,
        /// Whether that is the case from now on, or no more.
        exists: bool,
    },
    /// A type that no release we know writes; Kafka's loader passes over such records, too.
    Unknown(i16),
}

/// Why bytes are no record that can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRecordError {
    /// The record has no key.
    NoKey,
    /// The key is malformed.
    Key(DecodeError),
    /// The value of a record of this type is malformed, or has a version that this broker does not know.
    Value(i16, DecodeError),
}

impl fmt::Display for LogRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("the record has no key"),
            Self::Key(error) => write!(f, "malformed key: {error}"),
            Self::Value(id, error) => write!(f, "malformed value of a record of type {id}: {error}"),
        }
    }
}

impl std::error::Error for LogRecordError {}

/// Reads one record. What it returns keeps the bytes alive.
///
/// # Errors
/// What is wrong with it. A type that nobody knows is no error.
pub fn decode_log_record(key: Option<Bytes>, value: Option<Bytes>) -> Result<DecodedRecord, LogRecordError> {
    let mut reader = Reader::new(key.ok_or(LogRecordError::NoKey)?);
    let id = reader.field("type").i16().map_err(LogRecordError::Key)?;
    let keys = &mut reader;
    let exists = value.is_some();
    let other = |kind, group, part| Ok(DecodedRecord::Other { kind, group, part, exists });
    match id {
        LegacyOffsetCommitKey::ID => {
            let LegacyOffsetCommitKey { group, topic, partition } = read_key(keys)?;
            let value = value.map(read_value::<LegacyOffsetCommitValue>).transpose()?;
            let key = OffsetKey { group, topic, partition: PartitionIndex(partition) };
            Ok(DecodedRecord::Offset(key, value.map(legacy_offset)))
        }
        OffsetCommitKey::ID => {
            let OffsetCommitKey { group, topic, partition } = read_key(keys)?;
            let value = value.map(read_value::<OffsetCommitValue>).transpose()?;
            let key = OffsetKey { group, topic, partition: PartitionIndex(partition) };
            Ok(DecodedRecord::Offset(key, value.map(offset)))
        }
        GroupMetadataKey::ID => {
            let GroupMetadataKey { group } = read_key(keys)?;
            Ok(DecodedRecord::Group(group, value.map(read_value::<GroupMetadataValue>).transpose()?))
        }
        3..=8 | 16 => consumer_part(id, keys, value),
        schema::ShareGroupMetadataKey::ID => {
            other(OtherKind::Share, read_key::<schema::ShareGroupMetadataKey>(keys)?.group_id, OtherPart::Group)
        }
        schema::ShareGroupMemberMetadataKey::ID => {
            let schema::ShareGroupMemberMetadataKey { group_id, member_id } = read_key(keys)?;
            other(OtherKind::Share, group_id, OtherPart::Member(member_id))
        }
        schema::StreamsGroupMetadataKey::ID => {
            other(OtherKind::Streams, read_key::<schema::StreamsGroupMetadataKey>(keys)?.group_id, OtherPart::Group)
        }
        schema::StreamsGroupMemberMetadataKey::ID => {
            let schema::StreamsGroupMemberMetadataKey { group_id, member_id } = read_key(keys)?;
            other(OtherKind::Streams, group_id, OtherPart::Member(member_id))
        }
        // The keys of all other records of a group begin with its id.
        12..=15 => other(OtherKind::Share, group_id(keys)?, OtherPart::Detail),
        20..=23 => other(OtherKind::Streams, group_id(keys)?, OtherPart::Detail),
        unknown => Ok(DecodedRecord::Unknown(unknown)),
    }
}

fn consumer_part(id: i16, keys: &mut Reader, value: Option<Bytes>) -> Result<DecodedRecord, LogRecordError> {
    let (group, part) = match id {
        schema::ConsumerGroupMetadataKey::ID => {
            let schema::ConsumerGroupMetadataKey { group_id } = read_key(keys)?;
            (group_id, Part::Group(value.map(read_value).transpose()?))
        }
        schema::ConsumerGroupMemberMetadataKey::ID => {
            let schema::ConsumerGroupMemberMetadataKey { group_id, member_id } = read_key(keys)?;
            (group_id, Part::Member(member_id, value.map(read_value).transpose()?.map(Box::new)))
        }
        schema::ConsumerGroupTargetAssignmentMetadataKey::ID => {
            let schema::ConsumerGroupTargetAssignmentMetadataKey { group_id } = read_key(keys)?;
            (group_id, Part::TargetMetadata(value.map(read_value).transpose()?))
        }
        schema::ConsumerGroupTargetAssignmentMemberKey::ID => {
            let schema::ConsumerGroupTargetAssignmentMemberKey { group_id, member_id } = read_key(keys)?;
            (group_id, Part::Target(member_id, value.map(read_value).transpose()?))
        }
        schema::ConsumerGroupCurrentMemberAssignmentKey::ID => {
            let schema::ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id } = read_key(keys)?;
            (group_id, Part::Current(member_id, value.map(read_value).transpose()?))
        }
        schema::ConsumerGroupRegularExpressionKey::ID => {
            let schema::ConsumerGroupRegularExpressionKey { group_id, regular_expression } = read_key(keys)?;
            (group_id, Part::Pattern(regular_expression, value.map(read_value).transpose()?))
        }
        _ => (group_id(keys)?, Part::Obsolete),
    };
    Ok(DecodedRecord::Consumer(group, part))
}

fn read_key<K: Record>(reader: &mut Reader) -> Result<K, LogRecordError> {
    // The number before a key is its type; keys themselves have one version.
    K::decode(reader, 0).map_err(LogRecordError::Key)
}

fn group_id(reader: &mut Reader) -> Result<KafkaString, LogRecordError> {
    reader.field("group_id").string(false).map_err(LogRecordError::Key)
}

fn read_value<V: Record>(value: Bytes) -> Result<V, LogRecordError> {
    let malformed = |error| LogRecordError::Value(V::ID, error);
    let mut reader = Reader::new(value);
    let version = reader.field("version").i16().map_err(malformed)?;
    V::decode(&mut reader, version).map_err(malformed)
}

fn legacy_offset(value: LegacyOffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(value.offset),
        leader_epoch: LeaderEpoch::NONE,
        metadata: value.metadata,
        committed_at: Timestamp(value.commit_timestamp),
        expires_at: None,
        topic_id: Uuid::ZERO,
    }
}

fn offset(value: OffsetCommitValue) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(value.offset),
        leader_epoch: LeaderEpoch(value.leader_epoch),
        metadata: value.metadata,
        committed_at: Timestamp(value.commit_timestamp),
        expires_at: (value.expire_timestamp != -1).then_some(Timestamp(value.expire_timestamp)),
        topic_id: Uuid(value.topic_id),
    }
}

/// The record of a committed offset.
///
/// # Errors
/// A text is longer than a record can carry.
pub fn offset_record(key: &OffsetKey, committed: &CommittedOffset) -> Result<LogRecord, EncodeError> {
    let version = if committed.expires_at.is_some() { EXPIRING_OFFSET_VALUE_VERSION } else { OFFSET_VALUE_VERSION };
    let value = OffsetCommitValue {
        offset: committed.offset.0,
        leader_epoch: committed.leader_epoch.0,
        metadata: committed.metadata.clone(),
        commit_timestamp: committed.committed_at.0,
        expire_timestamp: committed.expires_at.unwrap_or(Timestamp::NONE).0,
        topic_id: committed.topic_id.0,
    };
    Ok(LogRecord { key: offset_key(key)?, value: Some(record_bytes(&value, version, version)?) })
}

/// The record that deletes a committed offset.
///
/// # Errors
/// A text is longer than a record can carry.
pub fn offset_tombstone(key: &OffsetKey) -> Result<LogRecord, EncodeError> {
    Ok(LogRecord { key: offset_key(key)?, value: None })
}

fn offset_key(key: &OffsetKey) -> Result<Bytes, EncodeError> {
    let key = OffsetCommitKey { group: key.group.clone(), topic: key.topic.clone(), partition: key.partition.0 };
    record_bytes(&key, OffsetCommitKey::ID, 0)
}

/// The record of a classic group.
///
/// # Errors
/// A text or list is longer than a record can carry.
pub fn group_record(group: &KafkaString, value: &GroupMetadataValue) -> Result<LogRecord, EncodeError> {
    Ok(LogRecord {
        key: group_key(group)?,
        value: Some(record_bytes(value, GROUP_VALUE_VERSION, GROUP_VALUE_VERSION)?),
    })
}

/// The record that deletes a classic group.
///
/// # Errors
/// The id is longer than a record can carry.
pub fn group_tombstone(group: &KafkaString) -> Result<LogRecord, EncodeError> {
    Ok(LogRecord { key: group_key(group)?, value: None })
}

fn group_key(group: &KafkaString) -> Result<Bytes, EncodeError> {
    record_bytes(&GroupMetadataKey { group: group.clone() }, GroupMetadataKey::ID, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::records::group_metadata_value::MemberMetadata;

    fn key() -> OffsetKey {
        OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex(3) }
    }

    fn committed() -> CommittedOffset {
        CommittedOffset {
            offset: Offset(42),
            leader_epoch: LeaderEpoch(7),
            metadata: "m".into(),
            committed_at: Timestamp(1_000),
            expires_at: None,
            topic_id: Uuid([9; 16]),
        }
    }

    #[test]
    fn an_offset_has_the_bytes_that_kafka_writes() {
        let record = offset_record(&key(), &committed()).unwrap();
        assert_eq!(record.key[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
        let mut value = vec![0, 4, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 7, 2, b'm', 0, 0, 0, 0, 0, 0, 3, 0xe8, 1, 0, 16];
        value.extend([9; 16]);
        assert_eq!(record.value.as_deref(), Some(&value[..]));

        let expiring = CommittedOffset { expires_at: Some(Timestamp(2_000)), ..committed() };
        let record = offset_record(&key(), &expiring).unwrap();
        let value = [0, 1, 0, 0, 0, 0, 0, 0, 0, 42, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0, 0, 7, 0xd0];
        assert_eq!(record.value.as_deref(), Some(&value[..]));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for expires_at in [None, Some(Timestamp(5))] {
            // Version 1, which has the expiry, has neither epoch nor topic id.
            let full = CommittedOffset { expires_at, ..committed() };
            let kept = match expires_at {
                None => full.clone(),
                Some(_) => CommittedOffset { leader_epoch: LeaderEpoch::NONE, topic_id: Uuid::ZERO, ..full.clone() },
            };
            let LogRecord { key: bytes, value } = offset_record(&key(), &full).unwrap();
            assert_eq!(decode_log_record(Some(bytes), value).unwrap(), DecodedRecord::Offset(key(), Some(kept)));
        }
        let LogRecord { key: bytes, value } = offset_tombstone(&key()).unwrap();
        assert_eq!(decode_log_record(Some(bytes), value).unwrap(), DecodedRecord::Offset(key(), None));

        let group = GroupMetadataValue {
            protocol_type: "consumer".into(),
            generation: 4,
            protocol: Some("range".into()),
            leader: Some("a".into()),
            current_state_timestamp: 9,
            members: vec![MemberMetadata {
                member_id: "a".into(),
                group_instance_id: Some("i".into()),
                rebalance_timeout: 60_000,
                session_timeout: 10_000,
                ..MemberMetadata::default()
            }],
        };
        let LogRecord { key: bytes, value } = group_record(&"g".into(), &group).unwrap();
        assert_eq!(value.as_deref().unwrap()[..2], [0, 3]);
        assert_eq!(decode_log_record(Some(bytes), value).unwrap(), DecodedRecord::Group("g".into(), Some(group)));
        let LogRecord { key: bytes, value } = group_tombstone(&"g".into()).unwrap();
        assert_eq!(decode_log_record(Some(bytes), value).unwrap(), DecodedRecord::Group("g".into(), None));
    }

    #[test]
    fn old_versions_are_read() {
        let key = Bytes::from_static(&[0, 0, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
        let value = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 42, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 3, 0xe8]);
        let expected = CommittedOffset { leader_epoch: LeaderEpoch::NONE, topic_id: Uuid::ZERO, ..committed() };
        let decoded = decode_log_record(Some(key), Some(value)).unwrap();
        assert_eq!(decoded, DecodedRecord::Offset(self::key(), Some(expected)));
        for version in 0..=4 {
            let value = GroupMetadataValue { generation: 3, ..GroupMetadataValue::default() };
            let bytes = record_bytes(&value, version, version).unwrap();
            let key = group_tombstone(&"g".into()).unwrap().key;
            assert_eq!(
                decode_log_record(Some(key), Some(bytes)).unwrap(),
                DecodedRecord::Group("g".into(), Some(value))
            );
        }
    }

    #[test]
    fn records_of_other_kinds_are_known_by_their_key() {
        let decode =
            |key: &'static [u8]| decode_log_record(Some(Bytes::from_static(key)), Some(Bytes::from_static(b"?")));
        let other = |kind, part| DecodedRecord::Other { kind, group: "g".into(), part, exists: true };
        let member = OtherPart::Member("m".into());
        assert_eq!(decode(&[0, 4, 0, 1, b'g']), Ok(DecodedRecord::Consumer("g".into(), Part::Obsolete)));
        let gone = |key: &'static [u8]| decode_log_record(Some(Bytes::from_static(key)), None);
        let consumer = |part| Ok(DecodedRecord::Consumer("g".into(), part));
        assert_eq!(gone(&[0, 3, 0, 1, b'g']), consumer(Part::Group(None)));
        assert_eq!(gone(&[0, 5, 0, 1, b'g', 0, 1, b'm']), consumer(Part::Member("m".into(), None)));
        assert_eq!(gone(&[0, 6, 0, 1, b'g']), consumer(Part::TargetMetadata(None)));
        assert_eq!(gone(&[0, 7, 0, 1, b'g', 0, 1, b'm']), consumer(Part::Target("m".into(), None)));
        assert_eq!(gone(&[0, 8, 0, 1, b'g', 0, 1, b'm']), consumer(Part::Current("m".into(), None)));
        assert_eq!(gone(&[0, 16, 0, 1, b'g', 0, 1, b'p']), consumer(Part::Pattern("p".into(), None)));
        assert_eq!(decode(&[0, 11, 0, 1, b'g']), Ok(other(OtherKind::Share, OtherPart::Group)));
        assert_eq!(decode(&[0, 19, 0, 1, b'g', 0, 1, b'm']), Ok(other(OtherKind::Streams, member)));
        assert_eq!(decode(&[0, 23, 0, 1, b'g']), Ok(other(OtherKind::Streams, OtherPart::Detail)));
        assert_eq!(decode(&[0, 99, 1]), Ok(DecodedRecord::Unknown(99)));
    }

    #[test]
    fn damage_is_an_error() {
        assert_eq!(decode_log_record(None, None), Err(LogRecordError::NoKey));
        let decode = |key: &'static [u8], value| decode_log_record(Some(Bytes::from_static(key)), value);
        assert!(matches!(decode(&[0], None), Err(LogRecordError::Key(_))));
        assert!(matches!(decode(&[0, 2, 0, 9, b'g'], None), Err(LogRecordError::Key(_))));
        let key = &[0, 2, 0, 1, b'g'];
        assert!(matches!(decode(key, Some(Bytes::from_static(&[0, 9]))), Err(LogRecordError::Value(2, _))));
        assert!(matches!(decode(key, Some(Bytes::new())), Err(LogRecordError::Value(2, _))));
    }
}
