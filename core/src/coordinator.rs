//! What coordinators of groups and of transactions have in common: their instants, numbers, appends and records, and which
//! partition's leader coordinates what.

use bytes::Bytes;

use crate::base::{Monotonic, PartitionIndex, ProducerEpoch, ProducerId, Timestamp};
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::{Batch, BatchBuilder, BatchOptions, CodecError};

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

/// That a batch takes part in a transaction. Whoever appends one that begins a transaction in its partition asks the
/// coordinator of the transactional id before.
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
    /// The transaction that they belong to.
    pub claim: Option<Claim>,
}

impl Append {
    /// The records as a batch whose offset and leader epoch are still to be stamped.
    ///
    /// # Errors
    /// None in practice: the coordinator keeps below its `batch_bytes_max`.
    pub fn batch(&self) -> Result<Batch, CodecError> {
        let mut options = BatchOptions::default();
        if let Some(Claim { producer, epoch, .. }) = self.claim {
            // Kafka's coordinator appends without a sequence as well: it is the only one to write here.
            options.producer_id = producer;
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
