//! What goes into a consumer, and what comes out of it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::request::RequestError;
use crate::base::{Offset, PartitionIndex, Timestamp};
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::protocol::ErrorCode;
use crate::record::{Batch, Record, TimestampType};

/// Which records a consumer sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All of them.
    #[default]
    ReadUncommitted,
    /// Not those of transactions that were aborted or are open.
    ReadCommitted,
}

/// How a consumer works.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerOptions {
    /// Which records it sees.
    pub isolation: IsolationLevel,
    /// Milliseconds that the broker waits for records (`fetch.max.wait.ms`).
    pub wait_ms_max: i32,
    /// Bytes for which the broker waits (`fetch.min.bytes`).
    pub bytes_min: i32,
    /// Bytes of one answer (`fetch.max.bytes`).
    pub bytes_max: i32,
    /// Bytes of one partition in an answer (`max.partition.fetch.bytes`).
    pub partition_bytes_max: i32,
    /// Where to go on when the offset is not in the log (`auto.offset.reset`); none is to fail.
    pub reset: Option<StartOffset>,
    /// Compare the checksum of each batch (`check.crcs`).
    pub check_crc: bool,
}

impl Default for ConsumerOptions {
    /// Those of Kafka's Java consumer.
    fn default() -> Self {
        Self {
            isolation: IsolationLevel::ReadUncommitted,
            wait_ms_max: 500,
            bytes_min: 1,
            bytes_max: 52_428_800,
            partition_bytes_max: 1_048_576,
            reset: Some(StartOffset::Latest),
            check_crc: true,
        }
    }
}

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartOffset {
    /// At the first record there is.
    Earliest,
    /// Behind the last.
    Latest,
    /// At this offset.
    At(Offset),
    /// So many records before the end, or at the first.
    BeforeEnd(i64),
    /// At the first record that is not older; behind the last if there is none.
    Time(Timestamp),
}

/// Why a partition is no longer consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerError {
    /// The broker said this.
    Refused(ErrorCode),
    /// A request failed in a way that does not go away.
    Request(RequestError),
    /// The partition does not exist.
    NoSuchPartition {
        /// How many there are.
        count: i32,
    },
    /// What was fetched is not whole batches, or a checksum is wrong.
    Corrupt {
        /// Offset from which it was fetched.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
}

impl fmt::Display for ConsumerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "{code}"),
            Self::Request(error) => write!(f, "{error}"),
            Self::NoSuchPartition { count } => write!(f, "the topic has {count} partitions, numbered from 0"),
            Self::Corrupt { offset, reason } => write!(f, "the records at offset {offset} are damaged: {reason}"),
        }
    }
}

impl std::error::Error for ConsumerError {}

/// A batch that was fetched, uncompressed.
#[derive(Clone, Debug)]
pub struct FetchedBatch {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: PartitionIndex,
    /// The batch as the broker keeps it.
    pub batch: Batch,
    /// Records before this one were not asked for.
    pub from: Offset,
    opened: Bytes,
}

impl FetchedBatch {
    /// Uncompresses a batch and checks that its records are whole.
    pub(super) fn open(topic: Arc<str>, partition: PartitionIndex, batch: Batch, from: Offset) -> Result<Self, String> {
        let opened = batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| error.to_string())?;
        match batch.records(&opened).find_map(Result::err) {
            None => Ok(Self { topic, partition, batch, from, opened }),
            Some(error) => Err(error.to_string()),
        }
    }

    /// The records that were asked for, with their offsets and timestamps.
    pub fn records(&self) -> impl Iterator<Item = (Offset, Timestamp, Record<'_>)> {
        let header = *self.batch.header();
        let append_time = match header.attributes().timestamp_type() {
            TimestampType::LogAppendTime => Some(header.max_timestamp()),
            TimestampType::CreateTime => None,
        };
        // `open` has walked the records once, so none is malformed.
        self.batch.records(&self.opened).filter_map(Result::ok).filter_map(move |record| {
            let offset = header.base_offset().plus(record.offset_delta.into());
            let timestamp = append_time.unwrap_or(header.base_timestamp() + record.timestamp_delta_ms);
            (offset >= self.from).then_some((offset, timestamp, record))
        })
    }
}
