//! What clients of formats 0 and 1 send, made one batch of format 2 (Produce 0 to 2).
//!
//! The rules and their order are those of Kafka 3.9, the last one that took these formats. A set may have any number of
//! plain messages, or one wrapper and nothing else; all have the same format. Offsets are the client's fancy and mean
//! nothing, but for those of a wrapper of format 1, which must not contradict each other.

use bytes::Bytes;

use super::lz4;
use super::message::{self, Entries, Entry, MAGIC_OF_BATCHES, Malformed, Message};
use crate::base::{Offset, Timestamp};
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, LEGACY_INLINE_BYTES_MAX};
use crate::record::builder::{BatchBuilder, BatchOptions};
use crate::record::codec::{self, Codec, CodecError, Compression};
use crate::record::header::TimestampType;
use crate::record::validate::{
    AppendRules, CompressionRule, Faults, RecordRejection, RejectionKind, TimestampWindow, ValidBatch, bytes_u64,
    check_segment, check_size, reject_codec, validate_produce,
};

/// Whether a set is converted faster than it is given to another thread: small, and nothing in it to be opened.
#[must_use]
pub fn is_quick(records: &[u8], rules: &AppendRules) -> bool {
    let compresses = matches!(rules.compression, CompressionRule::Topic(target) if target.codec != Codec::None);
    let mut entries = Entries::of_request(records);
    records.len() <= LEGACY_INLINE_BYTES_MAX
        && !compresses
        && entries.all(|entry| {
            entry.is_ok_and(|entry| {
                entry.magic() < MAGIC_OF_BATCHES && entry.unchecked().is_ok_and(|message| !message.is_wrapper())
            })
        })
}

/// Whether there is no whole message at all. Kafka 3.9 answers such a produce with success and offset −1.
#[must_use]
pub fn is_empty(records: &[u8]) -> bool {
    Entries::of_request(records).next().is_none()
}

/// Checks what a client sent in Produce 0 to 2 for one partition, and makes it one batch of format 2. A batch that is
/// of format 2 already is taken too, as Kafka 3.9 does. `now` is the broker's clock, for the window of timestamps.
///
/// # Errors
/// The error of the partition in the Produce answer.
pub fn validate_legacy_produce(
    records: &Bytes,
    rules: &AppendRules,
    now: Timestamp,
) -> Result<ValidBatch, RecordRejection> {
    let source = check_entries(records, rules)?;
    let mut entries = Entries::of_request(records).flatten();
    let Some(first) = entries.next() else {
        return Err(RejectionKind::InvalidRecord.because("no whole message"));
    };
    if first.magic() == MAGIC_OF_BATCHES {
        return validate_produce(records, rules, now);
    }
    let compression = match rules.compression {
        CompressionRule::Topic(target) => target,
        CompressionRule::Producer => Compression { codec: source, level: None },
    };
    let mut conversion =
        Conversion { rules, now, builder: BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() }) };
    if source == Codec::None {
        conversion.add(&first)?;
        for entry in entries {
            if entry.magic() != first.magic() {
                let message = format!("messages of formats {} and {} in one set", first.magic(), entry.magic());
                return Err(RejectionKind::InvalidRecord.because(message));
            }
            conversion.add(&entry)?;
        }
    } else {
        if entries.next().is_some() {
            return Err(RejectionKind::InvalidRecord.because("a compressed message is not alone in its set"));
        }
        conversion.open(&first)?;
    }
    conversion.finish()
}

/// Sizes and checksums of everything in the set, and the codec of its last wrapper.
fn check_entries(records: &[u8], rules: &AppendRules) -> Result<Codec, RecordRejection> {
    let mut source = Codec::None;
    for entry in Entries::of_request(records) {
        let entry = entry.map_err(reject_malformed)?;
        let is_batch = entry.magic() == MAGIC_OF_BATCHES;
        if is_batch && entry.offset != Offset(0) {
            return Err(RejectionKind::InvalidRecord.because("the base offset of a produced batch must be 0"));
        }
        check_size(entry.size_bytes(), rules)?;
        if is_batch {
            // Alone it is checked as the batch that it is; among messages it is refused.
            continue;
        }
        entry.check().map_err(reject_malformed)?;
        match message::codec(entry.attributes()) {
            Ok(Codec::None) => {}
            Ok(codec) => source = codec,
            Err(number) => {
                return Err(RejectionKind::CorruptMessage.because(format!("no codec has the number {number}")));
            }
        }
    }
    Ok(source)
}

/// A batch in the making.
struct Conversion<'a> {
    rules: &'a AppendRules,
    now: Timestamp,
    builder: BatchBuilder,
}

impl Conversion<'_> {
    /// Adds a plain message. Each is a batch of its own to Kafka: the first that is wrong decides.
    fn add(&mut self, entry: &Entry<'_>) -> Result<(), RecordRejection> {
        let message = entry.unchecked().map_err(reject_malformed)?;
        let window = TimestampWindow::new(message.timestamp_type(), self.rules, self.now);
        let mut faults = Faults::default();
        self.check(0, &message, message.timestamp, &window, &mut faults);
        faults.into_result()?;
        self.append(&message, message.timestamp)
    }

    /// Adds the messages in a wrapper.
    fn open(&mut self, entry: &Entry<'_>) -> Result<(), RecordRejection> {
        let invalid = |why: String| Err(RejectionKind::InvalidRecord.because(why));
        let wrapper = entry.unchecked().map_err(reject_malformed)?;
        let codec = wrapper.codec().unwrap_or_default();
        if codec == Codec::Zstd {
            return invalid(format!("zstd cannot be in a message of format {}", wrapper.magic));
        }
        let Some(value) = wrapper.value else {
            return invalid("a compressed message without a value".to_owned());
        };
        let opened = decompress(codec, wrapper.magic, value).map_err(reject_codec)?;

        let mut last = None;
        for inner in Entries::of_wrapper(&opened) {
            last = Some(inner.map_err(reject_malformed)?.offset);
        }
        let Some(last) = last else {
            return invalid("a compressed message with nothing in it".to_owned());
        };
        // Some librdkafka sends 0 whatever is inside.
        if wrapper.magic > 0 && wrapper.offset != Offset(0) && wrapper.offset < last {
            return invalid(format!("wrapper offset {} is below that of its last message, {last}", wrapper.offset));
        }

        let window = TimestampWindow::new(wrapper.timestamp_type(), self.rules, self.now);
        let mut faults = Faults::default();
        for (index, inner) in (0..).zip(Entries::of_wrapper(&opened).flatten()) {
            let message = inner.unchecked().map_err(reject_malformed)?;
            if message.is_wrapper() {
                return invalid(format!("message {index} in a compressed message is compressed itself"));
            }
            if message.magic != wrapper.magic {
                faults.add(index, RejectionKind::InvalidRecord, || {
                    format!("its format is {}, that of its wrapper is {}", message.magic, wrapper.magic)
                });
                continue;
            }
            inner.checked().map_err(reject_malformed)?;
            let timestamp = match wrapper.timestamp_type() {
                TimestampType::CreateTime => message.timestamp,
                TimestampType::LogAppendTime => wrapper.timestamp,
            };
            self.check(index, &message, timestamp, &window, &mut faults);
            if faults.is_empty() {
                self.append(&message, timestamp)?;
            }
        }
        faults.into_result()
    }

    fn check(
        &self,
        index: i32,
        message: &Message<'_>,
        timestamp: Timestamp,
        window: &TimestampWindow,
        faults: &mut Faults,
    ) {
        if self.rules.compacted && message.key.is_none() {
            faults
                .add(index, RejectionKind::InvalidRecord, || "a compacted topic needs a key in each record".to_owned());
        } else if let Some(why) = window.fault(timestamp) {
            faults.add(index, RejectionKind::InvalidTimestamp, || why);
        } else if timestamp < Timestamp::NONE {
            faults.add(index, RejectionKind::InvalidTimestamp, || format!("timestamp {timestamp} is negative"));
        }
    }

    fn append(&mut self, message: &Message<'_>, timestamp: Timestamp) -> Result<(), RecordRejection> {
        self.builder.append(timestamp, message.key, message.value, &[]);
        // Tiny messages grow a little: this bounds what a set without compression can become.
        if self.builder.size_bytes() > DECOMPRESSED_BATCH_BYTES_MAX {
            return Err(reject_codec(CodecError::TooLarge { limit_bytes: DECOMPRESSED_BATCH_BYTES_MAX }));
        }
        Ok(())
    }

    fn finish(self) -> Result<ValidBatch, RecordRejection> {
        let rules = self.rules;
        let valid = ValidBatch::internal(self.builder.build().map_err(reject_codec)?);
        check_size(valid.size_bytes(), rules)?;
        check_segment(bytes_u64(valid.size_bytes()), rules)?;
        Ok(valid)
    }
}

/// Opens the value of a wrapper. In format 0 the checksum of an LZ4 frame's head counts for nothing.
fn decompress(codec: Codec, magic: u8, value: &[u8]) -> Result<Vec<u8>, CodecError> {
    if codec == Codec::Lz4 && magic == 0 {
        let mut frame = value.to_vec();
        lz4::make_right(&mut frame);
        return codec::decompress(codec, &frame, DECOMPRESSED_BATCH_BYTES_MAX);
    }
    codec::decompress(codec, value, DECOMPRESSED_BATCH_BYTES_MAX)
}

fn reject_malformed(error: Malformed) -> RecordRejection {
    RejectionKind::CorruptMessage.because(error.to_string())
}
