//! Finding a record inside a batch by its timestamp, for ListOffsets.
//!
//! The answer is a record's offset, never a batch's (KIP-79), so a compressed batch is opened.

use crate::base::{Offset, Timestamp};
use crate::record::batch::Batch;
use crate::record::codec::CodecError;
use crate::record::header::TimestampType;
use crate::record::records::RecordError;

/// A record found by its timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Offset of the record.
    pub offset: Offset,
    /// Timestamp of the record.
    pub timestamp: Timestamp,
}

/// Why a stored batch could not be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchError {
    /// The payload does not open.
    Codec(CodecError),
    /// The payload is not the records promised.
    Record(RecordError),
}

impl std::fmt::Display for SearchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Codec(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SearchError {}

/// The first record of `batch`, from offset `from` on, whose timestamp is at or after `target`.
///
/// # Errors
/// A compressed payload is damaged or larger than `limit_bytes`.
pub fn first_at_or_after(
    batch: &Batch,
    target: Timestamp,
    from: Offset,
    limit_bytes: usize,
) -> Result<Option<FoundRecord>, SearchError> {
    if batch.header().max_timestamp() < target || batch.header().last_offset() < from {
        return Ok(None);
    }
    find(batch, limit_bytes, |found| found.offset >= from && found.timestamp >= target)
}

/// The first record of `batch` that has its largest timestamp; `None` if compaction has taken that record.
///
/// # Errors
/// A compressed payload is damaged or larger than `limit_bytes`.
pub fn max_timestamp_record(batch: &Batch, limit_bytes: usize) -> Result<Option<FoundRecord>, SearchError> {
    let largest = batch.header().max_timestamp();
    find(batch, limit_bytes, |found| found.timestamp == largest)
}

fn find(
    batch: &Batch,
    limit_bytes: usize,
    matches: impl Fn(&FoundRecord) -> bool,
) -> Result<Option<FoundRecord>, SearchError> {
    let header = batch.header();
    let opened = batch.open(limit_bytes).map_err(SearchError::Codec)?;
    for record in batch.records(&opened) {
        let record = record.map_err(SearchError::Record)?;
        let timestamp = match header.attributes().timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp(),
            TimestampType::CreateTime => Timestamp(header.base_timestamp().0.wrapping_add(record.timestamp_delta_ms)),
        };
        let found = FoundRecord { offset: header.base_offset().plus(i64::from(record.offset_delta)), timestamp };
        if matches(&found) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
