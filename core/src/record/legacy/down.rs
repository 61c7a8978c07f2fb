//! Stored batches made messages of format 1 or 0, for Fetch 0 to 3.
//!
//! What the old formats cannot say is left out: headers, producers, control batches, and in format 0 timestamps. Offsets
//! stay what they are. A compressed batch becomes a wrapper, mostly with the same codec, a plain one as many messages as it has
//! records.

use std::fmt;

use bytes::Bytes;

use super::message::{Message, attributes};
use crate::base::{Offset, Timestamp};
use crate::limits::{DECOMPRESSED_BATCH_BYTES_MAX, LEGACY_CONVERTED_BYTES_MAX, LEGACY_INLINE_BYTES_MAX};
use crate::record::batch::{Batch, Batches};
use crate::record::codec::{self, Codec, CodecError, Compression};
use crate::record::header::TimestampType;
use crate::record::records::RecordError;

/// The format that a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Fetch 0 and 1: no timestamps.
    V0,
    /// Fetch 2 and 3.
    V1,
}

impl Format {
    /// What the client of a Fetch version reads; `None` where that is what is stored.
    #[must_use]
    pub const fn of_fetch(version: i16) -> Option<Self> {
        match version {
            ..=1 => Some(Self::V0),
            2 | 3 => Some(Self::V1),
            _ => None,
        }
    }

    const fn magic(self) -> u8 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }
}

/// Why a stored batch cannot be given to an old client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionError {
    /// It is compressed with a codec that the old formats do not have: UNSUPPORTED_COMPRESSION_TYPE.
    UnknownToOldFormats,
    /// It is larger than what is converted at once.
    TooLarge,
    /// Its payload does not open.
    Codec(CodecError),
    /// Its payload is not the records promised.
    Record(RecordError),
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownToOldFormats => f.write_str("zstd is not known to message formats 0 and 1"),
            Self::TooLarge => write!(f, "a batch of more than {LEGACY_CONVERTED_BYTES_MAX} bytes in an old format"),
            Self::Codec(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConversionError {}

/// Messages for an old client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Whole messages; none if there is nothing in the batches that the client could be told.
    pub messages: Vec<u8>,
    /// Where the reader goes on: behind the last batch that was looked at; `None` if there was none.
    pub next: Option<Offset>,
}

/// Whether batches are converted faster than they are given to another thread: few, and none to be opened.
#[must_use]
pub fn is_quick(run: &Bytes) -> bool {
    let mut batches = Batches::new(run.clone()).map_while(Result::ok);
    run.len() <= LEGACY_INLINE_BYTES_MAX
        && batches.all(|batch| batch.header().attributes().codec() == Some(Codec::None))
}

/// Converts the whole batches in `run` for a client that wants `first_offset` on. The first batch with something in it is
/// converted whatever it becomes, further ones as long as all fit `bytes_max`.
///
/// Records before `first_offset` are left out of plain batches, because some librdkafka rely on it; a wrapper is whole.
///
/// # Errors
/// The first batch with something in it cannot be converted. One behind it ends the messages: the client meets it next.
pub fn down_convert(
    run: &Bytes,
    format: Format,
    first_offset: Offset,
    bytes_max: usize,
) -> Result<Converted, ConversionError> {
    let mut converted = Converted::default();
    // What is no whole batch is the end of what was read.
    for batch in Batches::new(run.clone()).map_while(Result::ok) {
        let whole = converted.messages.len();
        let is_first = whole == 0;
        let put = put_batch(&mut converted.messages, &batch, format, first_offset);
        let fits = is_first || converted.messages.len() <= bytes_max;
        match put {
            Ok(()) if fits => converted.next = Some(batch.header().last_offset().plus(1)),
            Err(error) if is_first => return Err(error),
            _ => {
                converted.messages.truncate(whole);
                break;
            }
        }
    }
    Ok(converted)
}

/// Appends what one batch becomes, which may be nothing. After an error any part of it is appended.
fn put_batch(into: &mut Vec<u8>, batch: &Batch, format: Format, first_offset: Offset) -> Result<(), ConversionError> {
    let header = batch.header();
    if header.attributes().is_control() {
        return Ok(());
    }
    let codec = header.attributes().codec().ok_or(ConversionError::Codec(CodecError::UnknownCodec))?;
    if codec == Codec::Zstd {
        return Err(ConversionError::UnknownToOldFormats);
    }
    let opened = batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(ConversionError::Codec)?;
    if codec == Codec::None {
        return put_records(into, batch, &opened, format, first_offset, None).map(drop);
    }
    let mut inner = Vec::new();
    // Inner offsets of format 1 count from the first record that is still there.
    let first = match batch.records(&opened).next() {
        None => return Ok(()),
        Some(record) => record.map_err(ConversionError::Record)?.offset_delta,
    };
    let base = header.base_offset().plus(i64::from(first));
    let relative_to = (format == Format::V1).then_some(base);
    let Some(last) = put_records(&mut inner, batch, &opened, format, Offset(i64::MIN), relative_to)? else {
        return Ok(());
    };
    let kind = header.attributes().timestamp_type();
    let compression = compression_for(format, codec);
    let value = codec::compress(compression, &inner).map_err(ConversionError::Codec)?;
    let magic = format.magic();
    put(
        into,
        &Message {
            offset: last.offset,
            magic,
            attributes: attributes(magic, compression.codec, kind),
            timestamp: last.max_timestamp,
            key: None,
            value: Some(&value),
        },
    )
}

/// The codec of a wrapper: that of its batch, but for LZ4 in format 0, where readers disagree about the checksum of the
/// frame's head (see [`lz4`](super::lz4)): Java's of that time insist on the wrong one, pykafka on the right one unless it is
/// told that the broker is an old one. All of them open gzip.
fn compression_for(format: Format, codec: Codec) -> Compression {
    if format == Format::V0 && codec == Codec::Lz4 {
        // The level that costs least: the client has not asked for this codec.
        return Compression { codec: Codec::Gzip, level: Some(1) };
    }
    Compression { codec, level: None }
}

/// What a wrapper says of the messages in it.
struct Last {
    offset: Offset,
    max_timestamp: Timestamp,
}

/// Appends the records of an opened batch as messages, from offset `from` on; `None` if there are none. Offsets are those
/// of the log, or the distance to `relative_to`.
fn put_records(
    into: &mut Vec<u8>,
    batch: &Batch,
    opened: &[u8],
    format: Format,
    from: Offset,
    relative_to: Option<Offset>,
) -> Result<Option<Last>, ConversionError> {
    let header = batch.header();
    let kind = header.attributes().timestamp_type();
    let magic = format.magic();
    let mut last = None;
    for record in batch.records(opened) {
        let record = record.map_err(ConversionError::Record)?;
        let offset = header.base_offset().plus(i64::from(record.offset_delta));
        if offset < from {
            continue;
        }
        let timestamp = match kind {
            TimestampType::LogAppendTime => header.max_timestamp(),
            TimestampType::CreateTime => Timestamp(header.base_timestamp().0.wrapping_add(record.timestamp_delta_ms)),
        };
        put(
            into,
            &Message {
                offset: relative_to.map_or(offset, |base| Offset(offset.0.wrapping_sub(base.0))),
                magic,
                attributes: attributes(magic, Codec::None, kind),
                timestamp,
                key: record.key,
                value: record.value,
            },
        )?;
        let before = last.as_ref().map_or(Timestamp::NONE, |last: &Last| last.max_timestamp);
        last = Some(Last { offset, max_timestamp: before.max(timestamp) });
    }
    Ok(last)
}

fn put(into: &mut Vec<u8>, message: &Message<'_>) -> Result<(), ConversionError> {
    let fits = message.write_to(into) && into.len() <= LEGACY_CONVERTED_BYTES_MAX;
    if fits { Ok(()) } else { Err(ConversionError::TooLarge) }
}
