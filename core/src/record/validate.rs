//! What a partition's leader accepts from a client, before it looks at the partition's own state.
//!
//! The checks come in Kafka's order, because a batch that breaks two rules must get the same error here as there. A
//! compressed payload is opened only where the topic needs its records: for the keys of a compacted topic, and to
//! change the codec. Elsewhere the header's word is taken for its records.

use std::fmt;

use bytes::Bytes;

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, RECORD_ERRORS_MAX};
use crate::record::batch::{Batch, BatchError};
use crate::record::codec::{self, Codec, CodecError, Compression};
use crate::record::header::{BatchHeader, STAMP_BYTES, TimestampType};
use crate::record::records::{RecordError as PayloadError, Records};

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

    fn because(self, message: impl Into<String>) -> RecordRejection {
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
/// proportion to the uncompressed size, which a shard may want to give away.
#[must_use]
pub fn needs_opening(records: &[u8], rules: &AppendRules) -> bool {
    let Some(codec) = BatchHeader::parse(records).and_then(|header| header.attributes().codec()) else {
        return false;
    };
    match rules.compression {
        CompressionRule::Topic(target) if target.codec != codec => true,
        _ => codec != Codec::None && rules.compacted,
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
    let valid = if codec == Codec::None || rules.compacted || target.is_some() {
        let opened = batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(reject_codec)?;
        let max_timestamp = check_records(batch.header(), &opened, rules, now)?;
        match target {
            Some(target) => recompress(&batch, &opened, target, max_timestamp, rules)?,
            None => ValidBatch::keep(batch, max_timestamp),
        }
    } else {
        check_declared_timestamps(batch.header(), rules, now)?;
        let max_timestamp = batch.header().max_timestamp();
        ValidBatch::keep(batch, max_timestamp)
    };
    if bytes_u64(valid.size_bytes()) > rules.segment_bytes {
        return Err(RejectionKind::RecordListTooLarge.because(format!(
            "the batch of {} bytes is larger than a segment of the topic, {} bytes",
            valid.size_bytes(),
            rules.segment_bytes
        )));
    }
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

fn check_size(bytes: usize, rules: &AppendRules) -> Result<(), RecordRejection> {
    if bytes_u64(bytes) > rules.max_message_bytes {
        let message = format!("the record batch has {bytes} bytes, the topic allows {}", rules.max_message_bytes);
        return Err(RejectionKind::MessageTooLarge.because(message));
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
    let window = TimestampWindow::new(header, rules, now);
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

/// The window's check without the records: the first record's timestamp and the largest, by the header's word.
fn check_declared_timestamps(header: &BatchHeader, rules: &AppendRules, now: Timestamp) -> Result<(), RecordRejection> {
    let window = TimestampWindow::new(header, rules, now);
    let mut faults = Faults::default();
    let fault = match header.attributes().timestamp_type() {
        TimestampType::CreateTime => window.fault(header.base_timestamp()),
        TimestampType::LogAppendTime => None,
    };
    if let Some(message) = fault.or_else(|| window.fault(header.max_timestamp())) {
        faults.add(0, RejectionKind::InvalidTimestamp, || message);
    }
    faults.into_result()
}

/// Which timestamps a topic takes at a moment.
struct TimestampWindow {
    checked: bool,
    appended_by_client: bool,
    earliest: i64,
    latest: i64,
}

impl TimestampWindow {
    fn new(header: &BatchHeader, rules: &AppendRules, now: Timestamp) -> Self {
        Self {
            checked: rules.timestamp_type == TimestampType::CreateTime,
            appended_by_client: header.attributes().timestamp_type() == TimestampType::LogAppendTime,
            earliest: now.0.saturating_sub(rules.timestamp_before_max_ms),
            latest: now.0.saturating_add(rules.timestamp_after_max_ms),
        }
    }

    fn fault(&self, timestamp: Timestamp) -> Option<String> {
        if self.appended_by_client {
            return Some("only the broker may set the append time".to_owned());
        }
        let outside = timestamp.0 < self.earliest || timestamp.0 > self.latest;
        (self.checked && timestamp != Timestamp::NONE && outside)
            .then(|| format!("timestamp {timestamp} is outside {} to {}", self.earliest, self.latest))
    }
}

/// The records at fault so far.
#[derive(Default)]
struct Faults {
    total: usize,
    any_timestamp: bool,
    listed: Vec<RecordFault>,
}

impl Faults {
    fn add(&mut self, index: i32, kind: RejectionKind, message: impl FnOnce() -> String) {
        self.total = self.total.saturating_add(1);
        self.any_timestamp |= kind == RejectionKind::InvalidTimestamp;
        if self.listed.len() < RECORD_ERRORS_MAX {
            self.listed.push(RecordFault { index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), RecordRejection> {
        let Some(first) = self.listed.first() else { return Ok(()) };
        let kind = if self.any_timestamp { RejectionKind::InvalidTimestamp } else { RejectionKind::InvalidRecord };
        let message = format!("{} records refused, first record {}: {}", self.total, first.index, first.message);
        Err(RecordRejection { kind, message, record_errors: self.listed })
    }
}

fn reject_payload(error: PayloadError) -> RecordRejection {
    RejectionKind::InvalidRecord.because(error.to_string())
}

fn reject_codec(error: CodecError) -> RecordRejection {
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
    header.set_attributes(header.attributes().with_codec(target.codec));
    header.set_timestamps(header.base_timestamp(), max_timestamp);
    if !header.set_payload_bytes(payload.len()) {
        return Err(reject_codec(CodecError::TooLarge { limit_bytes: DECOMPRESSED_BATCH_BYTES_MAX }));
    }
    header.set_crc(crc32c::crc32c_append(header.covered_crc(), &payload));
    let rebuilt = ValidBatch { batch: Batch::assemble(header, &payload), header };
    check_size(rebuilt.size_bytes(), rules)?;
    Ok(rebuilt)
}

fn bytes_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

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

    fn keep(batch: Batch, max_timestamp: Timestamp) -> Self {
        let mut header = *batch.header();
        if header.max_timestamp() != max_timestamp {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::builder::{BatchBuilder, BatchOptions};
    use crate::record::codec::Compression;
    use crate::record::header::Attributes;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);
    const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    fn batch(codec: Codec, keys: &[Option<&[u8]>]) -> Batch {
        let compression = Compression { codec, level: None };
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
        for (i, key) in (0i64..).zip(keys) {
            builder.append(NOW + i, *key, Some(b"value"), &[]);
        }
        builder.build().unwrap()
    }

    /// The batch with its header edited and its checksum made right again.
    fn edited(batch: &Batch, edit: impl FnOnce(&mut BatchHeader)) -> Bytes {
        let mut header = *batch.header();
        edit(&mut header);
        header.set_crc(crc32c::crc32c_append(header.covered_crc(), &batch.payload()));
        Batch::assemble(header, &batch.payload()).bytes().clone()
    }

    fn joined(parts: &[Bytes; 2]) -> Bytes {
        parts.concat().into()
    }

    #[test]
    fn a_good_batch_keeps_its_bytes_and_gets_sixteen_new_ones() {
        for codec in CODECS {
            let sent = batch(codec, &[Some(b"a"), None, Some(b"")]);
            let valid = validate_produce(sent.bytes(), &AppendRules::default(), NOW).unwrap();
            let stamped = valid.stamp(Offset(77), LeaderEpoch(3), None);
            assert_eq!(stamped[0].len(), STAMP_BYTES);
            assert_eq!(stamped[1].as_ptr(), sent.bytes()[STAMP_BYTES..].as_ptr(), "the payload is not copied");
            let stored = Batch::split_from(&mut joined(&stamped)).unwrap();
            assert!(stored.is_crc_valid());
            assert_eq!(stored.header().base_offset(), Offset(77));
            assert_eq!(stored.header().last_offset(), Offset(79));
            assert_eq!(stored.header().leader_epoch(), LeaderEpoch(3));
            assert_eq!(stored.header().max_timestamp(), NOW + 2);
            let opened = stored.open(1_000).unwrap();
            let keys: Vec<_> = stored.records(&opened).map(|record| record.unwrap().key.map(<[u8]>::to_vec)).collect();
            assert_eq!(keys, [Some(b"a".to_vec()), None, Some(vec![])]);
        }
    }

    #[test]
    fn append_time_changes_the_header_only_and_keeps_the_checksum_right() {
        for codec in CODECS {
            let sent = batch(codec, &[Some(b"a"), None]);
            let rules = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..AppendRules::default() };
            let valid = validate_produce(sent.bytes(), &rules, NOW).unwrap();
            let stamped = valid.stamp(Offset(5), LeaderEpoch(0), Some(NOW + 1_000));
            assert_eq!(stamped[1].as_ptr(), sent.bytes()[61..].as_ptr());
            let stored = Batch::split_from(&mut joined(&stamped)).unwrap();
            assert!(stored.is_crc_valid());
            assert_eq!(stored.header().max_timestamp(), NOW + 1_000);
            assert_eq!(stored.header().attributes().timestamp_type(), TimestampType::LogAppendTime);
        }
    }

    #[test]
    fn a_wrong_largest_timestamp_is_put_right() {
        let sent = batch(Codec::None, &[Some(b"a"), Some(b"b")]);
        let lie = edited(&sent, |header| header.set_timestamps(NOW, NOW + 500));
        let valid = validate_produce(&lie, &AppendRules::default(), NOW).unwrap();
        assert_eq!(valid.max_timestamp(), NOW + 1);
        let stored = Batch::split_from(&mut joined(&valid.stamp(Offset(0), LeaderEpoch(0), None))).unwrap();
        assert!(stored.is_crc_valid());
        assert_eq!(stored.header().max_timestamp(), NOW + 1);
    }

    #[test]
    fn another_codec_of_the_topic_rebuilds_the_payload() {
        for from in CODECS {
            for to in CODECS {
                let sent = batch(from, &[Some(b"a"), None]);
                let rule = CompressionRule::Topic(Compression { codec: to, level: None });
                let rules = AppendRules { compression: rule, ..AppendRules::default() };
                assert_eq!(needs_opening(sent.bytes(), &rules), from != to);
                let valid = validate_produce(sent.bytes(), &rules, NOW).unwrap();
                assert_eq!(valid.codec(), to);
                let stored = Batch::split_from(&mut joined(&valid.stamp(Offset(0), LeaderEpoch(0), None))).unwrap();
                assert!(stored.is_crc_valid());
                assert_eq!(stored.open(1_000).unwrap(), sent.open(1_000).unwrap());
            }
        }
    }

    #[test]
    fn each_broken_rule_gets_its_error() {
        let sent = batch(Codec::None, &[Some(b"a"), Some(b"b")]);
        let bytes = sent.bytes().clone();
        let twice: Bytes = [&bytes[..], &bytes[..]].concat().into();
        let mut flipped = bytes.to_vec();
        flipped[65] ^= 1;
        let mut old = bytes.to_vec();
        old[16] = 1;
        let mut far = bytes.to_vec();
        far[7] = 9;
        let codec5 = edited(&sent, |header| header.set_attributes(Attributes(5)));
        let control = edited(&sent, |header| header.set_attributes(Attributes(0x20)));
        let append_time = edited(&sent, |header| header.set_attributes(Attributes(0x08)));
        let sequence = edited(&sent, |header| header.set_producer(ProducerId(4), ProducerEpoch(0), Sequence(-1)));
        let more = edited(&sent, |header| header.set_record_count(3));
        let fewer = edited(&sent, |header| header.set_record_count(1));
        let none = edited(&sent, |header| header.set_record_count(0));
        let defaults = AppendRules::default();
        let small = AppendRules { max_message_bytes: 60, ..defaults };
        let short_segment = AppendRules { segment_bytes: 60, ..defaults };
        for (name, records, rules, now, kind) in [
            ("empty", Bytes::new(), defaults, NOW, RejectionKind::InvalidRecord),
            ("cut", bytes.slice(..70), defaults, NOW, RejectionKind::InvalidRecord),
            ("two batches", twice, defaults, NOW, RejectionKind::InvalidRecord),
            ("crc", flipped.into(), defaults, NOW, RejectionKind::CorruptMessage),
            ("magic 1", old.into(), defaults, NOW, RejectionKind::InvalidRecord),
            ("base offset", far.into(), defaults, NOW, RejectionKind::InvalidRecord),
            ("codec 5", codec5, defaults, NOW, RejectionKind::CorruptMessage),
            ("control", control, defaults, NOW, RejectionKind::InvalidRecord),
            ("append time", append_time, defaults, NOW, RejectionKind::InvalidTimestamp),
            ("sequence", sequence, defaults, NOW, RejectionKind::InvalidRecord),
            ("too few records", more, defaults, NOW, RejectionKind::InvalidRecord),
            ("too many records", fewer, defaults, NOW, RejectionKind::InvalidRecord),
            ("no records", none, defaults, NOW, RejectionKind::InvalidRecord),
            ("size", bytes.clone(), small, NOW, RejectionKind::MessageTooLarge),
            ("segment", bytes.clone(), short_segment, NOW, RejectionKind::RecordListTooLarge),
            ("from the future", bytes.clone(), defaults, NOW + -3_600_000, RejectionKind::InvalidTimestamp),
        ] {
            let rejection = validate_produce(&records, &rules, now).expect_err(name);
            assert_eq!(rejection.kind, kind, "{name}: {rejection}");
        }
        let window = AppendRules { timestamp_before_max_ms: 1_000, ..defaults };
        assert!(validate_produce(&bytes, &window, NOW + 1_000).is_ok());
        assert!(validate_produce(&bytes, &window, NOW + 1_001).is_err());
        assert!(validate_produce(&bytes, &defaults, NOW + -3_599_999).is_ok());
    }

    #[test]
    fn a_compacted_topic_names_the_records_without_key() {
        let rules = AppendRules { compacted: true, ..AppendRules::default() };
        for codec in CODECS {
            let sent = batch(codec, &[Some(b"a"), None, Some(b""), None]);
            let rejection = validate_produce(sent.bytes(), &rules, NOW).unwrap_err();
            assert_eq!(rejection.kind, RejectionKind::InvalidRecord);
            assert_eq!(rejection.record_errors.iter().map(|fault| fault.index).collect::<Vec<_>>(), [1, 3]);
        }
    }
}
