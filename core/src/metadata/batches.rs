//! Batches of the metadata log: records of the cluster in ordinary batches, records about the log in control batches.

use std::fmt;

use bytes::Bytes;
use corelane_protocol::wire::EncodeError;

use super::control::ControlRecord;
use crate::base::{LeaderEpoch, Offset, Timestamp};
use crate::record::{Batch, BatchBuilder, BatchOptions, CodecError};

/// Why records could not be written as a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum EncodeBatchError {
    /// One of them.
    Record(EncodeError),
    /// All of them together are too much for one batch.
    Batch(CodecError),
}

impl fmt::Display for EncodeBatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Batch(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EncodeBatchError {}

/// Encoded records of the cluster, each with its time, as one batch.
pub(super) fn data_batch<'a>(
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    values: impl IntoIterator<Item = (Timestamp, &'a Bytes)>,
) -> Result<Batch, EncodeBatchError> {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch, ..BatchOptions::default() });
    for (at, value) in values {
        builder.append(at, None, Some(value), &[]);
    }
    builder.build().map_err(EncodeBatchError::Batch)
}

/// Records about the log as one batch.
pub(super) fn control_batch(
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    at: Timestamp,
    records: &[ControlRecord],
) -> Result<Batch, EncodeBatchError> {
    let options = BatchOptions { base_offset, leader_epoch, control: true, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    for record in records {
        let (key, value) = record.encode().map_err(EncodeBatchError::Record)?;
        builder.append(at, Some(&key), Some(&value), &[]);
    }
    builder.build().map_err(EncodeBatchError::Batch)
}
