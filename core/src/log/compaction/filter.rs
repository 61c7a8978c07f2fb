//! What becomes of one batch.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::{Offset, ProducerEpoch, ProducerId, Timestamp};
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::log::compaction::KeyMap;
use crate::log::compaction::transactions::Transactions;
use crate::record::builder::put_record;
use crate::record::header::HEADER_BYTES;
use crate::record::{
    Batch, BatchError, BatchHeader, Codec, CodecError, Compression, Record, RecordError, TimestampType, codec,
};

/// The last batches of the producers that a partition remembers: generation, and last offset of the last batch with records,
/// if one is known.
pub type LastBatches = BTreeMap<ProducerId, (ProducerEpoch, Option<Offset>)>;

/// Why a log cannot be cleaned.
#[derive(Debug)]
pub enum CleaningError {
    /// What stands at an offset is no batch.
    Batch(BatchError),
    /// A payload cannot be opened, or closed again.
    Payload(Offset, CodecError),
    /// A payload is not the records that its batch promises.
    Records(Offset, RecordError),
}

impl fmt::Display for CleaningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(error) => write!(f, "no batch: {error}"),
            Self::Payload(offset, error) => write!(f, "payload of the batch at offset {offset}: {error}"),
            Self::Records(offset, error) => write!(f, "records of the batch at offset {offset}: {error}"),
        }
    }
}

impl std::error::Error for CleaningError {}

/// What is left of a batch.
#[derive(Debug)]
pub(super) enum Kept {
    Whole,
    Nothing,
    Less(Batch),
}

/// What decides about batches.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) map: KeyMap,
    pub(super) transactions: Transactions,
    pub(super) last_batches: LastBatches,
    pub(super) now: Timestamp,
    pub(super) delete_retention_ms: i64,
}

impl Filter {
    /// Decides on the next batch of the walk.
    pub(super) fn keep(&mut self, batch: &Batch) -> Result<Kept, CleaningError> {
        let header = batch.header();
        let is_control = header.attributes().is_control();
        let is_spent = self.transactions.is_spent(batch);
        let horizon = header.attributes().has_delete_horizon().then(|| header.base_timestamp());
        let is_past_horizon = horizon.is_some_and(|horizon| horizon <= self.now);
        let goes = is_spent && (!is_control || is_past_horizon);
        let opened;
        let mut kept: Vec<Record<'_>> = Vec::new();
        if !goes {
            opened = batch
                .open(DECOMPRESSED_BATCH_BYTES_MAX)
                .map_err(|e| CleaningError::Payload(header.base_offset(), e))?;
            for record in batch.records(&opened) {
                let record = record.map_err(|error| CleaningError::Records(header.base_offset(), error))?;
                if is_control || self.is_current(header, &record, is_past_horizon) {
                    kept.push(record);
                }
            }
        }
        if kept.is_empty() {
            // Behind the last batch that was looked at there may be nothing more to be read for long: who waits for that offset
            // gets there.
            let is_last = header.last_offset().plus(1) == self.map.end();
            return Ok(match is_last || self.is_last_of_producer(header) {
                false => Kept::Nothing,
                true if header.record_count() == 0 => Kept::Whole,
                true => Kept::Less(empty(header)),
            });
        }
        let will_go = if is_control { is_spent } else { kept.iter().any(|record| record.value.is_none()) };
        let new_horizon =
            (will_go && horizon.is_none()).then(|| Timestamp(self.now.0.saturating_add(self.delete_retention_ms)));
        if new_horizon.is_none() && i32::try_from(kept.len()).is_ok_and(|count| count == header.record_count()) {
            return Ok(Kept::Whole);
        }
        rebuild(header, &kept, new_horizon).map(Kept::Less).map_err(|e| CleaningError::Payload(header.base_offset(), e))
    }

    fn is_current(&self, header: &BatchHeader, record: &Record<'_>, is_past_horizon: bool) -> bool {
        let offset = header.base_offset().plus(record.offset_delta.into());
        if offset >= self.map.end() {
            return true;
        }
        // One without a key came in before the topic was compacted, and nobody could ever supersede it.
        let Some(key) = record.key else { return false };
        let is_last = self.map.get(key).is_none_or(|last| offset >= last);
        is_last && (record.value.is_some() || !is_past_horizon)
    }

    /// Whether a restart would take the producer's sequence, or its generation, from this batch.
    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        header.has_producer()
            && self.last_batches.get(&header.producer_id()).is_some_and(|(epoch, last)| match last {
                Some(offset) => *offset == header.last_offset(),
                None => header.attributes().is_control() && *epoch == header.producer_epoch(),
            })
    }
}

/// What is left of a batch without its records.
fn empty(header: &BatchHeader) -> Batch {
    let mut header = *header;
    header.set_attributes(header.attributes().with_codec(Codec::None).with_delete_horizon(false));
    header.set_timestamps(Timestamp::NONE, header.max_timestamp());
    header.set_retained_count(0);
    let fits = header.set_payload_bytes(0);
    debug_assert!(fits, "nothing fits");
    header.set_crc(header.covered_crc());
    Batch::assemble(header, &[])
}

/// The batch with `kept` of its records, at their offsets, and perhaps the time from which on tombstones may go.
fn rebuild(before: &BatchHeader, kept: &[Record<'_>], horizon: Option<Timestamp>) -> Result<Batch, CodecError> {
    let mut header = *before;
    let time_of = |record: &Record<'_>| before.base_timestamp().0.wrapping_add(record.timestamp_delta_ms);
    let base = horizon.unwrap_or(before.base_timestamp());
    let mut bytes = vec![0; HEADER_BYTES];
    for record in kept {
        let delta_ms = time_of(record).wrapping_sub(base.0);
        put_record(&mut bytes, (record.offset_delta, delta_ms), record.key, record.value, record.headers);
    }
    let max = match before.attributes().timestamp_type() {
        TimestampType::LogAppendTime => before.max_timestamp(),
        TimestampType::CreateTime => {
            kept.iter().map(|record| Timestamp(time_of(record))).max().unwrap_or(Timestamp::NONE)
        }
    };
    header.set_timestamps(base, max);
    header.set_retained_count(i32::try_from(kept.len()).unwrap_or(i32::MAX));
    if horizon.is_some() {
        header.set_attributes(header.attributes().with_delete_horizon(true));
    }
    let codec = before.attributes().codec().ok_or(CodecError::UnknownCodec)?;
    let plain = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let compressed = match codec {
        Codec::None => None,
        _ => Some(codec::compress(Compression { codec, level: None }, plain)?),
    };
    let payload = compressed.as_deref().unwrap_or(plain);
    if !header.set_payload_bytes(payload.len()) {
        return Err(CodecError::TooLarge { limit_bytes: usize::try_from(i32::MAX).unwrap_or(usize::MAX) });
    }
    header.set_crc(crc32c::crc32c_append(header.covered_crc(), payload));
    Ok(match compressed {
        Some(payload) => Batch::assemble(header, &payload),
        None => Batch::complete(header, bytes),
    })
}
