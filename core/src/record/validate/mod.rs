//! What a partition's leader accepts from a client, before it looks at the partition's own state.
//!
//! The checks come in Kafka's order, because a batch that breaks two rules must get the same error here as there. A
//! compressed payload is opened only where the topic needs its records: for the keys of a compacted topic, and to
//! change the codec. Elsewhere the header's word is taken for its records.

use std::fmt;

use bytes::Bytes;

use crate::base::{Offset, Timestamp};
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, FAULT_SEARCH_BYTES_MAX, RECORD_ERRORS_MAX};
use crate::record::batch::{Batch, BatchError};
use crate::record::codec::{self, Codec, CodecError, Compression};
use crate::record::header::{BatchHeader, TimestampType};
use crate::record::records::{RecordError as PayloadError, Records};

#[cfg(test)]
mod tests;
mod valid_batch;

pub use valid_batch::ValidBatch;

/// What of a topic's configuration decides about an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendRules {
    /// Largest batch, its first 12 bytes included (`max.message.bytes`).
    pub max_message_bytes: u64,
    /// Largest batch that fits a segment (`segment.bytes`).
    pub segment_bytes: u64,
    /// Whose clock is stored (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How far behind the broker's clock a record may be (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: i64,
    /// How far ahead of the broker's clock a record may be (`message.timestamp.after.max.ms`).
    pub timestamp_after_max_ms: i64,
    /// Codec of what is stored (`compression.type` and the level that belongs to it).
    pub compression: CompressionRule,
    /// Whether each record needs a key (`cleanup.policy` contains `compact`).
    pub compacted: bool,
}

impl Default for AppendRules {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compression: CompressionRule::Producer,
            compacted: false,
        }
    }
}

/// Codec of what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionRule {
    /// Whatever the producer chose.
    Producer,
    /// This one; a batch with another codec is compressed again.
    Topic(Compression),
}

/// A refused batch: what the Produce answer says of its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRejection {
    /// Error of the partition.
    pub kind: RejectionKind,
    /// Text for `error_message`.
    pub message: String,
    /// Records at fault, at most [`RECORD_ERRORS_MAX`]; empty if the whole batch is.
    pub record_errors: Vec<RecordFault>,
}

/// One record at fault (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// Index of the record in its batch.
    pub index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Kafka's error for a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum RejectionKind {
    /// `CORRUPT_MESSAGE`
    CorruptMessage = 2,
    /// `MESSAGE_TOO_LARGE`: the Java producer splits the batch and sends it again.
    MessageTooLarge = 10,
    /// `RECORD_LIST_TOO_LARGE`
    RecordListTooLarge = 18,
    /// `INVALID_TIMESTAMP`
    InvalidTimestamp = 32,
    /// `UNSUPPORTED_COMPRESSION_TYPE`
    UnsupportedCompressionType = 76,
    /// `INVALID_RECORD`
    InvalidRecord = 87,
}

impl RejectionKind {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    pub(super) fn because(self, message: impl Into<String>) -> RecordRejection {
        RecordRejection { kind: self, message: message.into(), record_errors: Vec::new() }
    }
}

impl fmt::Display for RecordRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for RecordRejection {}

/// First version of Produce whose senders know zstd (KIP-110).
const PRODUCE_VERSION_WITH_ZSTD: i16 = 7;

/// Refuses what a Produce request of `version` (3 or above) may not carry. Goes before [`validate_produce`], which
/// does not know the version.
///
/// # Errors
/// `UNSUPPORTED_COMPRESSION_TYPE`.
pub fn check_produce_version(records: &[u8], version: i16) -> Result<(), RecordRejection> {
    let zstd = BatchHeader::parse(records).is_some_and(|header| header.attributes().codec() == Some(Codec::Zstd));
    if zstd && version < PRODUCE_VERSION_WITH_ZSTD {
        let message = format!("zstd needs Produce {PRODUCE_VERSION_WITH_ZSTD} or later, this is {version}");
        return Err(RejectionKind::UnsupportedCompressionType.because(message));
    }
    Ok(())
}

/// Whether [`validate_produce`] will open or rebuild the payload of the batch at the start of `records`: work in
/// proportion to the uncompressed size, which a shard may want to give away. That size is not known before, and a few
/// bytes can hold a megabyte: so there is no bound below which a compressed batch counts as small. `now` is the broker's
/// clock, as there: a batch whose timestamps are bad is opened to name the records at fault.
#[must_use]
pub fn needs_opening(records: &[u8], rules: &AppendRules, now: Timestamp) -> bool {
    let Some(header) = BatchHeader::parse(records) else { return false };
    let Some(codec) = header.attributes().codec() else { return false };
    match rules.compression {
        CompressionRule::Topic(target) if target.codec != codec => true,
        _ if codec == Codec::None => false,
        _ => rules.compacted || !are_declared_timestamps_good(&header, rules, now),
    }
}

/// Checks the records that a client sent for one partition: exactly one batch that keeps every rule which does not
/// depend on the partition's state. `now` is the broker's clock, for the window of timestamps.
///
/// # Errors
/// The error of the partition in the Produce answer.
pub fn validate_produce(records: &Bytes, rules: &AppendRules, now: Timestamp) -> Result<ValidBatch, RecordRejection> {
    let batch = single_batch(records)?;
    check_envelope(&batch, rules)?;
    let codec = check_header(batch.header())?;

    let target = match rules.compression {
        CompressionRule::Topic(target) if target.codec != codec => Some(target),
        _ => None,
    };
    let is_opened = codec == Codec::None || rules.compacted || target.is_some();
    let valid = if !is_opened && are_declared_timestamps_good(batch.header(), rules, now) {
        let max_timestamp = batch.header().max_timestamp();
        ValidBatch::keep(batch, max_timestamp)
    } else {
        let opened = if is_opened {
            batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(reject_codec)?
        } else {
            // Only to name the records at fault: a little, or none is named.
            batch.open(FAULT_SEARCH_BYTES_MAX).map_err(|_| reject_declared_timestamps(batch.header()))?
        };
        let max_timestamp = check_records(batch.header(), &opened, rules, now)?;
        match target {
            Some(target) => recompress(&batch, &opened, target, max_timestamp, rules)?,
            None => ValidBatch::keep(batch, max_timestamp),
        }
    };
    check_segment(bytes_u64(valid.size_bytes()), rules)?;
    Ok(valid)
}

/// The one batch in `records`. Bytes after it that are too few to be a batch are dropped, as Kafka does.
fn single_batch(records: &Bytes) -> Result<Batch, RecordRejection> {
    let mut rest = records.clone();
    let batch = match Batch::split_from(&mut rest) {
        Ok(batch) => batch,
        Err(error @ BatchError::Incomplete { .. }) => {
            return Err(RejectionKind::InvalidRecord.because(format!("no whole record batch: {error}")));
        }
        Err(error @ BatchError::LegacyMagic(_)) => {
            return Err(RejectionKind::InvalidRecord.because(format!("only message format 2 is accepted: {error}")));
        }
        Err(error @ (BatchError::LengthTooSmall(_) | BatchError::UnknownMagic(_))) => {
            return Err(RejectionKind::CorruptMessage.because(error.to_string()));
        }
    };
    match Batch::split_from(&mut rest) {
        Err(BatchError::Incomplete { .. }) => Ok(batch),
        Ok(_) | Err(BatchError::LegacyMagic(_)) => {
            Err(RejectionKind::InvalidRecord.because("more than one record batch for a partition"))
        }
        Err(error) => Err(RejectionKind::CorruptMessage.because(format!("after the first batch: {error}"))),
    }
}

/// Base offset, size and checksum.
fn check_envelope(batch: &Batch, rules: &AppendRules) -> Result<(), RecordRejection> {
    let base_offset = batch.header().base_offset();
    if base_offset != Offset(0) {
        return Err(RejectionKind::InvalidRecord
            .because(format!("the base offset of a produced batch must be 0, not {base_offset}")));
    }
    check_size(batch.bytes().len(), rules)?;
    if !batch.is_crc_valid() {
        return Err(RejectionKind::CorruptMessage.because("the checksum of the record batch does not match"));
    }
    Ok(())
}

pub(super) fn check_size(bytes: usize, rules: &AppendRules) -> Result<(), RecordRejection> {
    if bytes_u64(bytes) > rules.max_message_bytes {
        let message = format!("the record batch has {bytes} bytes, the topic allows {}", rules.max_message_bytes);
        return Err(RejectionKind::MessageTooLarge.because(message));
    }
    Ok(())
}

pub(super) fn check_segment(bytes: u64, rules: &AppendRules) -> Result<(), RecordRejection> {
    if bytes > rules.segment_bytes {
        let segment_bytes = rules.segment_bytes;
        let message =
            format!("the batch of {bytes} bytes is larger than a segment of the topic, {segment_bytes} bytes");
        return Err(RejectionKind::RecordListTooLarge.because(message));
    }
    Ok(())
}

/// Counts, producer fields, flags and codec.
fn check_header(header: &BatchHeader) -> Result<Codec, RecordRejection> {
    let invalid = |message: String| Err(RejectionKind::InvalidRecord.because(message));
    let (count, last_delta) = (header.record_count(), header.last_offset_delta());
    if last_delta < 0 {
        return invalid(format!("the last offset delta is {last_delta}"));
    }
    if count <= 0 {
        return invalid(format!("the batch claims {count} records"));
    }
    if last_delta.checked_add(1) != Some(count) {
        return invalid(format!("{count} records cannot have a last offset delta of {last_delta}"));
    }
    if header.has_producer() && header.base_sequence().0 < 0 {
        return invalid(format!("producer {} sent base sequence {}", header.producer_id(), header.base_sequence()));
    }
    if header.attributes().is_control() {
        return invalid("clients may not write control records".to_owned());
    }
    let Some(codec) = header.attributes().codec() else {
        return Err(RejectionKind::CorruptMessage.because("no codec has the number in the batch's attributes"));
    };
    Ok(codec)
}

/// Walks the records and returns their largest timestamp.
fn check_records(
    header: &BatchHeader,
    opened: &[u8],
    rules: &AppendRules,
    now: Timestamp,
) -> Result<Timestamp, RecordRejection> {
    let mut faults = Faults::default();
    let mut max_timestamp = Timestamp::NONE;
    let window = TimestampWindow::new(header.attributes().timestamp_type(), rules, now);
    for (index, record) in (0..).zip(Records::new(opened, header.record_count())) {
        let record = record.map_err(reject_payload)?;
        let timestamp = match header.attributes().timestamp_type() {
            TimestampType::CreateTime => Timestamp(header.base_timestamp().0.wrapping_add(record.timestamp_delta_ms)),
            TimestampType::LogAppendTime => header.max_timestamp(),
        };
        max_timestamp = max_timestamp.max(timestamp);
        if record.offset_delta != index {
            faults.add(index, RejectionKind::InvalidRecord, || {
                format!("the offset delta is {}, expected {index}", record.offset_delta)
            });
        } else if rules.compacted && record.key.is_none() {
            faults
                .add(index, RejectionKind::InvalidRecord, || "a compacted topic needs a key in each record".to_owned());
        } else if let Some(message) = window.fault(timestamp) {
            faults.add(index, RejectionKind::InvalidTimestamp, || message);
        }
    }
    faults.into_result().map(|()| max_timestamp)
}

/// The window's check without the records: the first record's timestamp and the largest, by the header's word. A batch
/// that fails it is opened, so that the answer names the records at fault.
fn are_declared_timestamps_good(header: &BatchHeader, rules: &AppendRules, now: Timestamp) -> bool {
    let window = TimestampWindow::new(header.attributes().timestamp_type(), rules, now);
    let first = match header.attributes().timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp(),
        TimestampType::LogAppendTime => header.max_timestamp(),
    };
    window.fault(first).is_none() && window.fault(header.max_timestamp()).is_none()
}

fn reject_declared_timestamps(header: &BatchHeader) -> RecordRejection {
    let (base, max) = (header.base_timestamp(), header.max_timestamp());
    RejectionKind::InvalidTimestamp
        .because(format!("timestamps {base} to {max} are not all within what the topic takes"))
}

/// Which timestamps a topic takes at a moment.
pub(super) struct TimestampWindow {
    is_checked: bool,
    is_append_time: bool,
    earliest: i64,
    latest: i64,
}

impl TimestampWindow {
    /// `kind` is whose the client says that its timestamps are.
    pub(super) fn new(kind: TimestampType, rules: &AppendRules, now: Timestamp) -> Self {
        Self {
            is_checked: rules.timestamp_type == TimestampType::CreateTime,
            is_append_time: kind == TimestampType::LogAppendTime,
            earliest: now.0.saturating_sub(rules.timestamp_before_max_ms),
            latest: now.0.saturating_add(rules.timestamp_after_max_ms),
        }
    }

    /// Kafka refuses a client's append time only where it does not look at the time itself. Elsewhere the batch is
    /// stored as one with the producer's times, see [`ValidBatch`].
    pub(super) fn fault(&self, timestamp: Timestamp) -> Option<String> {
        if self.is_checked && timestamp != Timestamp::NONE {
            let is_outside = timestamp.0 < self.earliest || timestamp.0 > self.latest;
            return is_outside
                .then(|| format!("timestamp {timestamp} is outside {} to {}", self.earliest, self.latest));
        }
        self.is_append_time.then(|| "only the broker may set the append time".to_owned())
    }
}

/// The records at fault so far.
#[derive(Default)]
pub(super) struct Faults {
    total: usize,
    any_timestamp: bool,
    listed: Vec<RecordFault>,
}

impl Faults {
    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(super) fn add(&mut self, index: i32, kind: RejectionKind, message: impl FnOnce() -> String) {
        self.total = self.total.saturating_add(1);
        self.any_timestamp |= kind == RejectionKind::InvalidTimestamp;
        if self.listed.len() < RECORD_ERRORS_MAX {
            self.listed.push(RecordFault { index, message: message() });
        }
    }

    pub(super) fn into_result(self) -> Result<(), RecordRejection> {
        let Some(first) = self.listed.first() else { return Ok(()) };
        let kind = if self.any_timestamp { RejectionKind::InvalidTimestamp } else { RejectionKind::InvalidRecord };
        let message = format!("{} records refused, first record {}: {}", self.total, first.index, first.message);
        Err(RecordRejection { kind, message, record_errors: self.listed })
    }
}

fn reject_payload(error: PayloadError) -> RecordRejection {
    RejectionKind::InvalidRecord.because(error.to_string())
}

pub(super) fn reject_codec(error: CodecError) -> RecordRejection {
    let kind = match error {
        CodecError::UnknownCodec | CodecError::Corrupt => RejectionKind::CorruptMessage,
        CodecError::TooLarge { .. } => RejectionKind::MessageTooLarge,
    };
    kind.because(error.to_string())
}

fn recompress(
    batch: &Batch,
    opened: &[u8],
    target: Compression,
    max_timestamp: Timestamp,
    rules: &AppendRules,
) -> Result<ValidBatch, RecordRejection> {
    let payload = codec::compress(target, opened).map_err(reject_codec)?;
    let mut header = *batch.header();
    let attributes = header.attributes().with_codec(target.codec).with_timestamp_type(TimestampType::CreateTime);
    header.set_attributes(attributes);
    header.set_timestamps(header.base_timestamp(), max_timestamp);
    if !header.set_payload_bytes(payload.len()) {
        return Err(reject_codec(CodecError::TooLarge { limit_bytes: DECOMPRESSED_BATCH_BYTES_MAX }));
    }
    header.set_crc(crc32c::crc32c_append(header.covered_crc(), &payload));
    let rebuilt = ValidBatch::internal(Batch::assemble(header, &payload));
    check_size(rebuilt.size_bytes(), rules)?;
    Ok(rebuilt)
}

pub(super) fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
