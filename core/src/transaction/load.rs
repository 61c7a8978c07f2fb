//! From the log to a transaction coordinator.

use super::coordinator::TransactionCoordinator;
use super::log_record::{DecodedRecord, TransactionRecordError, decode};
use super::message::Effect;
use super::settings::TransactionSettings;
use crate::coordinator::{self, Now};
use crate::limits::{TRANSACTION_LOAD_FACTOR, TRANSACTION_STATE_BYTES_MAX};
use crate::record::Batch;

/// Why a partition of `__transaction_state` cannot be loaded. Nothing of it is served then: an end that was decided and is
/// passed over would never be told.
pub type TransactionLoadError = coordinator::LoadError<TransactionRecordError>;

/// How too much is mended.
const TOO_MUCH: &str = "let ids that nobody uses expire on the broker that wrote them (transactional.id.expiration.ms)";

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
        let payload = coordinator::open(batch)?;
        coordinator::each_record(batch, &payload, |offset, key, value| {
            self.report.records += 1;
            match decode(key, value).map_err(|error| TransactionLoadError::Record(offset, error))? {
                DecodedRecord::Transaction(id, transaction) => {
                    self.coordinator.replay(id, transaction.map(|each| *each));
                }
                DecodedRecord::Unknown(_) => self.report.unknown_records += 1,
            }
            if self.coordinator.state_bytes() / TRANSACTION_LOAD_FACTOR > TRANSACTION_STATE_BYTES_MAX {
                return Err(TransactionLoadError::TooMuch(offset, TOO_MUCH));
            }
            Ok(())
        })
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
