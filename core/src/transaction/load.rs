//! From the log to a transaction coordinator.

use std::fmt;

use super::coordinator::TransactionCoordinator;
use super::log_record::{DecodedRecord, TransactionRecordError, decode};
use super::message::Effect;
use super::settings::TransactionSettings;
use crate::base::Offset;
use crate::coordinator::Now;
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, TRANSACTION_LOAD_FACTOR, TRANSACTION_STATE_BYTES_MAX};
use crate::record::{Batch, CodecError, RecordError};

/// Why a partition of `__transaction_state` cannot be loaded. Nothing of it is served then: an end that was decided and is
/// passed over would never be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionLoadError {
    /// The payload of the batch at this offset cannot be decompressed.
    Codec(Offset, CodecError),
    /// The payload of the batch at this offset is not the records that it promises.
    Records(Offset, RecordError),
    /// The record at this offset cannot be understood.
    Record(Offset, TransactionRecordError),
    /// The transactional ids take more memory than they may; the offset is that of the record which was too much.
    TooMuch(Offset),
}

impl fmt::Display for TransactionLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(offset, error) => write!(f, "batch at offset {offset}: {error}"),
            Self::Records(offset, error) => write!(f, "batch at offset {offset}: {error}"),
            Self::Record(offset, error) => write!(f, "record at offset {offset}: {error}"),
            Self::TooMuch(offset) => write!(
                f,
                "the transactional ids of this partition take too much memory at offset {offset}; let those that nobody uses \
                 expire on the broker that wrote them (transactional.id.expiration.ms)"
            ),
        }
    }
}

impl std::error::Error for TransactionLoadError {}

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionLoadReport {
    /// Records read.
    pub records: u64,
    /// Records of types that nobody knows, which were passed over.
    pub unknown_records: u64,
    /// Transactional ids that there are.
    pub transactional_ids: usize,
    /// Of these, those whose end was decided and is told now.
    pub decided: usize,
}

/// A coordinator that is being loaded.
#[derive(Debug)]
pub struct TransactionLoader {
    coordinator: TransactionCoordinator,
    report: TransactionLoadReport,
}

impl TransactionLoader {
    /// Nothing read yet. `coordinator_epoch` is the leader epoch of the partition.
    #[must_use]
    pub fn new(settings: TransactionSettings, coordinator_epoch: i32) -> Self {
        let coordinator = TransactionCoordinator::new(settings, coordinator_epoch);
        Self { coordinator, report: TransactionLoadReport::default() }
    }

    /// Takes the next batch of the partition, in the order of the log, up to the high watermark. Nothing of its bytes is
    /// kept.
    ///
    /// # Errors
    /// The batch cannot be understood, or there is too much; the loader is of no use any more.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), TransactionLoadError> {
        let header = batch.header();
        if header.attributes().is_control() {
            return Ok(());
        }
        let base = header.base_offset();
        let payload =
            batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| TransactionLoadError::Codec(base, error))?;
        for record in batch.records(&payload) {
            let record = record.map_err(|error| TransactionLoadError::Records(base, error))?;
            let offset = base.plus(i64::from(record.offset_delta));
            let slice = |bytes: &[u8]| payload.slice_ref(bytes);
            let decoded = decode(record.key.map(slice), record.value.map(slice));
            self.report.records += 1;
            match decoded.map_err(|error| TransactionLoadError::Record(offset, error))? {
                DecodedRecord::Transaction(id, transaction) => {
                    self.coordinator.replay(id, transaction.map(|each| *each))
                }
                DecodedRecord::Unknown(_) => self.report.unknown_records += 1,
            }
            if self.coordinator.state_bytes() / TRANSACTION_LOAD_FACTOR > TRANSACTION_STATE_BYTES_MAX {
                return Err(TransactionLoadError::TooMuch(offset));
            }
        }
        Ok(())
    }

    /// The log is read: from now on its transactions are coordinated here. The effects are markers of what was decided
    /// before.
    #[must_use]
    pub fn finish(self, now: Now) -> (TransactionCoordinator, TransactionLoadReport, Vec<Effect>) {
        let Self { mut coordinator, mut report } = self;
        let effects = coordinator.resume(now);
        report.transactional_ids = coordinator.transactional_id_count();
        report.decided = effects.len();
        (coordinator, report, effects)
    }
}
