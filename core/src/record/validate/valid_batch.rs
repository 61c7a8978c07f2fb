//! A batch that passed its checks, and its bytes at its place in the log.

use bytes::Bytes;

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::record::batch::Batch;
use crate::record::codec::Codec;
use crate::record::header::{BatchHeader, STAMP_BYTES, TimestampType};

/// A batch that may be appended: all but its offset, leader epoch and append time is settled.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    /// As it came, or as it was rebuilt.
    batch: Batch,
    /// As it is to be stored; differs from the batch's own where the client's largest timestamp was wrong.
    header: BatchHeader,
}

impl ValidBatch {
    /// A batch of the broker's own making, which needs no check.
    #[must_use]
    pub fn internal(batch: Batch) -> Self {
        let header = *batch.header();
        Self { batch, header }
    }

    /// A client's batch whose records' largest timestamp turned out to be `max_timestamp`. The append time is not the
    /// client's to set.
    pub(super) fn keep(batch: Batch, max_timestamp: Timestamp) -> Self {
        let mut header = *batch.header();
        let attributes = header.attributes().with_timestamp_type(TimestampType::CreateTime);
        if header.max_timestamp() != max_timestamp || header.attributes() != attributes {
            header.set_attributes(attributes);
            header.set_timestamps(header.base_timestamp(), max_timestamp);
            header.set_crc(crc32c::crc32c_append(header.covered_crc(), &batch.payload()));
        }
        Self { batch, header }
    }

    /// The batch at its place in the log, as two ranges to be written one after the other. The second is the
    /// payload where it already lies, the first is fresh: 16 bytes, or the whole header if more than the place
    /// changed. With `log_append_time` all records get that time (`message.timestamp.type=LogAppendTime`).
    #[must_use]
    pub fn stamp(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        log_append_time: Option<Timestamp>,
    ) -> [Bytes; 2] {
        let mut header = self.header;
        header.set_position(base_offset, leader_epoch);
        if let Some(at) = log_append_time {
            header.set_attributes(header.attributes().with_timestamp_type(TimestampType::LogAppendTime));
            header.set_timestamps(header.base_timestamp(), at);
            // The checksum's known part cannot be reused: combining two CRCs costs more than this pass does for any
            // batch below about a megabyte.
            header.set_crc(crc32c::crc32c_append(header.covered_crc(), &self.batch.payload()));
        }
        if header.bytes().split_at(STAMP_BYTES).1 == self.batch.header().bytes().split_at(STAMP_BYTES).1 {
            let (prefix, _) = header.bytes().split_at(STAMP_BYTES);
            return [Bytes::copy_from_slice(prefix), self.batch.after_stamp()];
        }
        [Bytes::copy_from_slice(header.bytes()), self.batch.payload()]
    }

    /// Bytes that the batch takes on disk.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.batch.bytes().len()
    }

    /// Records, and so offsets, that the batch takes.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.header.record_count()
    }

    /// Codec of the stored payload.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.header.attributes().codec().unwrap_or_default()
    }

    /// The header as it will be stored, but for what [`stamp`](Self::stamp) sets.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Timestamp of the first record.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        self.header.base_timestamp()
    }

    /// Largest timestamp of the records, as long as no append time replaces it.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        self.header.max_timestamp()
    }

    /// Producer, −1 without idempotence.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        self.header.producer_id()
    }

    /// Generation of the producer.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        self.header.producer_epoch()
    }

    /// Sequence of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        self.header.base_sequence()
    }

    /// Whether the records belong to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.header.attributes().is_transactional()
    }
}
