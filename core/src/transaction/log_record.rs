//! The records of `__transaction_state`, in Kafka's schemas: what is known of one transactional id.

use std::fmt;

use bytes::Bytes;

use super::message::{TopicPartition, TransactionVersion};
use super::state::{Transaction, TransactionState};
use crate::base::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp};
use crate::coordinator::{LogRecord, record_bytes};
use crate::protocol::records::transaction_log_value::PartitionsSchema;
use crate::protocol::records::{TransactionLogKey, TransactionLogValue};
use crate::protocol::wire::{DecodeError, EncodeError, Reader};
use crate::protocol::{KafkaString, Message, Record};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DecodedRecord {
    /// A transactional id stands so, or is no more.
    Transaction(KafkaString, Option<Box<Transaction>>),
    /// A type that no release we know writes; Kafka's loader passes over such records, too.
    Unknown(i16),
}

/// Why bytes are no record that can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionRecordError {
    /// The record has no key.
    NoKey,
    /// The key is malformed.
    Key(DecodeError),
    /// The value is malformed, or has a version that this broker does not know.
    Value(DecodeError),
    /// The value has a state that this broker does not know.
    State(i8),
}

impl fmt::Display for TransactionRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey => f.write_str("the record has no key"),
            Self::Key(error) => write!(f, "malformed key: {error}"),
            Self::Value(error) => write!(f, "malformed value: {error}"),
            Self::State(state) => write!(f, "unknown state {state} of a transaction"),
        }
    }
}

impl std::error::Error for TransactionRecordError {}

/// Reads one record.
pub(super) fn decode(key: Option<Bytes>, value: Option<Bytes>) -> Result<DecodedRecord, TransactionRecordError> {
    let mut reader = Reader::new(key.ok_or(TransactionRecordError::NoKey)?);
    let kind = reader.field("type").i16().map_err(TransactionRecordError::Key)?;
    if kind != TransactionLogKey::ID {
        return Ok(DecodedRecord::Unknown(kind));
    }
    let TransactionLogKey { transactional_id } =
        TransactionLogKey::decode(&mut reader, 0).map_err(TransactionRecordError::Key)?;
    let transaction = value.map(decode_value).transpose()?.map(Box::new);
    Ok(DecodedRecord::Transaction(KafkaString::copied(&transactional_id), transaction))
}

fn decode_value(value: Bytes) -> Result<Transaction, TransactionRecordError> {
    let mut reader = Reader::new(value);
    let version = reader.field("version").i16().map_err(TransactionRecordError::Value)?;
    let value = TransactionLogValue::decode(&mut reader, version).map_err(TransactionRecordError::Value)?;
    let state = TransactionState::of_byte(value.transaction_status)
        .ok_or(TransactionRecordError::State(value.transaction_status))?;
    let partitions = value.transaction_partitions.unwrap_or_default().into_iter().flat_map(|each| {
        let topic = KafkaString::copied(&each.topic);
        each.partition_ids
            .into_iter()
            .map(move |index| TopicPartition { topic: topic.clone(), index: PartitionIndex(index) })
    });
    Ok(Transaction {
        producer: ProducerId(value.producer_id),
        previous_producer: ProducerId(value.previous_producer_id),
        next_producer: ProducerId(value.next_producer_id),
        epoch: ProducerEpoch(value.producer_epoch),
        last_epoch: ProducerEpoch(-1),
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions: if state == TransactionState::Empty { Default::default() } else { partitions.collect() },
        started: Timestamp(value.transaction_start_timestamp_ms),
        updated: Timestamp(value.transaction_last_update_timestamp_ms),
        version: TransactionVersion::of_level(value.client_transaction_version),
    })
}

/// The record of a transactional id; `level` is the finalized `transaction.version`.
pub(super) fn encode(
    id: &KafkaString,
    transaction: &Transaction,
    level: TransactionVersion,
) -> Result<LogRecord, EncodeError> {
    let version = i16::from(level > TransactionVersion::V0);
    let mut partitions: Vec<PartitionsSchema> = Vec::new();
    for TopicPartition { topic, index } in &transaction.partitions {
        match partitions.last_mut().filter(|last| last.topic == *topic) {
            Some(last) => last.partition_ids.push(index.0),
            None => partitions.push(PartitionsSchema { topic: topic.clone(), partition_ids: vec![index.0] }),
        }
    }
    let mut value = TransactionLogValue {
        producer_id: transaction.producer.0,
        producer_epoch: transaction.epoch.0,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.state.byte(),
        transaction_partitions: (transaction.state != TransactionState::Empty).then_some(partitions),
        transaction_last_update_timestamp_ms: transaction.updated.0,
        transaction_start_timestamp_ms: transaction.started.0,
        ..Default::default()
    };
    if version > 0 {
        value.previous_producer_id = transaction.previous_producer.0;
        value.next_producer_id = transaction.next_producer.0;
        value.client_transaction_version = transaction.version.level();
    }
    Ok(LogRecord { key: key(id)?, value: Some(record_bytes(&value, version, version)?) })
}

/// The record that deletes a transactional id.
pub(super) fn tombstone(id: &KafkaString) -> Result<LogRecord, EncodeError> {
    Ok(LogRecord { key: key(id)?, value: None })
}

fn key(id: &KafkaString) -> Result<Bytes, EncodeError> {
    record_bytes(&TransactionLogKey { transactional_id: id.clone() }, TransactionLogKey::ID, 0)
}
