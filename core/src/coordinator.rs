//! What coordinators of groups and of transactions have in common: their instants, numbers, appends and records, and which
//! partition's leader coordinates what.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use crate::base::{Monotonic, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp};
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::protocol::wire::{EncodeError, Writer};
use crate::protocol::{ErrorCode, KafkaString, Record};
use crate::record::{Batch, BatchBuilder, BatchOptions, CodecError, RecordError};

/// The partition, of `partitions` in all, whose leader coordinates a group or a transactional id.
///
/// Every broker and some tools compute it alone, as Java's `hashCode` without its sign.
#[must_use]
pub fn coordinator_partition(id: &str, partitions: i32) -> PartitionIndex {
    let hash = id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex((hash & i32::MAX).checked_rem(partitions).unwrap_or(0))
}

/// One instant on both clocks: deadlines are monotonic, what is stored is wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Monotonic,
    /// For commit timestamps and retention.
    pub wall: Timestamp,
}

/// A request's number, chosen by who asks and unique among the open ones; its answer carries it.
///
/// Every request gets exactly one answer, some only after minutes: JoinGroup and SyncGroup wait for other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// An append's number; they count up by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppendId(pub u64);

/// One record as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// What it is about.
    pub key: Bytes,
    /// What is the case from now on; `None` deletes.
    pub value: Option<Bytes>,
}

impl LogRecord {
    /// An upper bound of what the record takes in a batch, in bytes.
    #[must_use]
    pub fn size_bytes_max(&self) -> usize {
        // Length, attributes, two deltas, two lengths, header count: at most 33 bytes.
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + 33
    }
}

/// That a batch, or a commit of offsets, takes part in a transaction. Before one begins a transaction in its partition, the
/// coordinator of the transactional id is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The transactional id; it keeps no request alive.
    pub transactional_id: KafkaString,
    /// Whose transaction.
    pub producer: ProducerId,
    /// Its generation.
    pub epoch: ProducerEpoch,
    /// The partition takes part from now on if it has not (KIP-890); else it must have been added before.
    pub adds: bool,
}

/// Records that go to the log as one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Its number.
    pub id: AppendId,
    /// Time of all its records.
    pub at: Timestamp,
    /// The records; at least one.
    pub records: Vec<LogRecord>,
    /// The producer whose transaction they belong to.
    pub producer: Option<(ProducerId, ProducerEpoch)>,
}

impl Append {
    /// The records as a batch whose offset and leader epoch are still to be stamped.
    ///
    /// # Errors
    /// None in practice: the coordinator keeps below its `batch_bytes_max`.
    pub fn batch(&self) -> Result<Batch, CodecError> {
        let mut options = BatchOptions::default();
        if let Some((id, epoch)) = self.producer {
            // Kafka's coordinator appends without a sequence as well: it is the only one to write here.
            options.producer_id = id;
            options.producer_epoch = epoch;
            options.transactional = true;
        }
        let mut builder = BatchBuilder::new(options);
        for record in &self.records {
            builder.append(self.at, Some(&record.key), record.value.as_deref(), &[]);
        }
        builder.build()
    }
}

/// The error that the log gave, as the answer has it.
pub(crate) fn append_error(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::NOT_ENOUGH_REPLICAS | ErrorCode::REQUEST_TIMED_OUT => {
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        }
        ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::KAFKA_STORAGE_ERROR => ErrorCode::NOT_COORDINATOR,
        ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE | ErrorCode::INVALID_FETCH_SIZE => {
            ErrorCode::UNKNOWN_SERVER_ERROR
        }
        other => other,
    }
}

/// Appends on their way, with what each changes. What becomes of them counts in the order of the log.
#[derive(Debug)]
pub(crate) struct Appends<T> {
    pending: VecDeque<(T, Option<Result<Offset, ErrorCode>>)>,
    next: AppendId,
}

impl<T> Default for Appends<T> {
    fn default() -> Self {
        Self { pending: VecDeque::new(), next: AppendId(1) }
    }
}

impl<T> Appends<T> {
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// One more is on its way; its number.
    pub(crate) fn push(&mut self, change: T) -> AppendId {
        let id = self.next;
        self.next = AppendId(id.0 + 1);
        self.pending.push_back((change, None));
        id
    }

    /// Number of the oldest one that has not settled, or of the next one.
    pub(crate) fn first_open(&self) -> AppendId {
        AppendId(self.next.0 - self.pending.len() as u64)
    }

    /// Number of the last one that there was.
    pub(crate) fn last(&self) -> AppendId {
        AppendId(self.next.0 - 1)
    }

    fn place(&self, id: AppendId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.first_open().0)?).ok()
    }

    /// What an append changes that has not settled.
    pub(crate) fn get_mut(&mut self, id: AppendId) -> Option<&mut T> {
        let place = self.place(id)?;
        self.pending.get_mut(place).map(|(change, _)| change)
    }

    /// Says what became of one. What comes ahead of an earlier one waits for it here; only the first word counts.
    pub(crate) fn told(&mut self, id: AppendId, result: Result<Offset, ErrorCode>) {
        if let Some((_, known)) = self.place(id).and_then(|place| self.pending.get_mut(place)) {
            known.get_or_insert(result);
        }
    }

    /// Takes out the oldest one, if it is known what became of it.
    pub(crate) fn pop_settled(&mut self) -> Option<(T, Result<Offset, ErrorCode>)> {
        let result = self.pending.front()?.1?;
        self.pending.pop_front().map(|(change, _)| (change, result))
    }

    /// What all that have not settled would change.
    pub(crate) fn into_changes(self) -> impl Iterator<Item = T> {
        self.pending.into_iter().map(|(change, _)| change)
    }

    /// What all that have not settled would change, the oldest first.
    pub(crate) fn changes_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pending.iter_mut().map(|(change, _)| change)
    }

    #[cfg(test)]
    pub(crate) fn changes(&self) -> impl Iterator<Item = &T> {
        self.pending.iter().map(|(change, _)| change)
    }
}

/// Whether a text, which decoding may have made longer, cannot be written as a record any more.
pub(crate) fn is_too_long(text: &str) -> bool {
    i16::try_from(text.len()).is_err()
}

/// A key, which begins with its type, or a value, which begins with its version.
pub(crate) fn record_bytes<R: Record>(record: &R, prefix: i16, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    record.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Why a partition of an internal topic cannot be loaded; `E` is what can be wrong with its records. Nothing of it is served
/// then: what is passed over would be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError<E> {
    /// The payload of the batch at this offset cannot be decompressed.
    Codec(Offset, CodecError),
    /// The payload of the batch at this offset is not the records that it promises.
    Records(Offset, RecordError),
    /// The record at this offset cannot be understood.
    Record(Offset, E),
    /// All of it takes more memory than it may, with the record at this offset; how to mend that.
    TooMuch(Offset, &'static str),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(offset, error) => write!(f, "batch at offset {offset}: {error}"),
            Self::Records(offset, error) => write!(f, "batch at offset {offset}: {error}"),
            Self::Record(offset, error) => write!(f, "record at offset {offset}: {error}"),
            Self::TooMuch(offset, remedy) => {
                write!(f, "what this partition holds takes too much memory at offset {offset}; {remedy}")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for LoadError<E> {}

/// The payload of a batch of an internal topic.
pub(crate) fn open<E>(batch: &Batch) -> Result<Bytes, LoadError<E>> {
    let base = batch.header().base_offset();
    batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| LoadError::Codec(base, error))
}

/// Hands the records of an opened batch on, with offset, key and value.
pub(crate) fn each_record<E>(
    batch: &Batch,
    payload: &Bytes,
    mut handle: impl FnMut(Offset, Option<Bytes>, Option<Bytes>) -> Result<(), LoadError<E>>,
) -> Result<(), LoadError<E>> {
    let base = batch.header().base_offset();
    for record in batch.records(payload) {
        let record = record.map_err(|error| LoadError::Records(base, error))?;
        let slice = |bytes: &[u8]| payload.slice_ref(bytes);
        handle(base.plus(i64::from(record.offset_delta)), record.key.map(slice), record.value.map(slice))?;
    }
    Ok(())
}
