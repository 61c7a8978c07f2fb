//! One message, and walking over a set of them.

use std::fmt;

use flate2::Crc;

use crate::base::{Offset, Timestamp};
use crate::record::codec::Codec;
use crate::record::header::TimestampType;

/// Offset and size in front of each message.
pub(super) const PREFIX_BYTES: usize = 12;
/// Least size of a message: one of format 0 without key and value.
const SIZE_MIN: usize = 14;
/// Bytes of the body in front of what its checksum covers.
const CHECKSUM_BYTES: usize = 4;
/// The codec in the attributes.
const CODEC: u8 = 0x07;
/// The timestamp is the broker's (format 1).
const APPEND_TIME: u8 = 0x08;
/// The first format that is not one of messages.
pub(super) const MAGIC_OF_BATCHES: u8 = 2;

/// A message of format 0 or 1; or of another that claims to be a message inside a wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Offset; of a wrapper that of the last message in it. Clients send what they like.
    pub offset: Offset,
    /// Format.
    pub magic: u8,
    /// Codec of the value, and whose the timestamp is.
    pub attributes: u8,
    /// Timestamp; −1 in format 0.
    pub timestamp: Timestamp,
    /// Key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// Bytes that are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The size is less than any message has.
    Size(i32),
    /// No format has this magic.
    Magic(u8),
    /// The checksum is not that of the bytes.
    Checksum,
    /// The lengths of key and value do not fit the size.
    Lengths,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "a message of {size} bytes is less than any has"),
            Self::Magic(magic) => write!(f, "no message format has magic {magic}"),
            Self::Checksum => f.write_str("the checksum of a message does not match"),
            Self::Lengths => f.write_str("key and value do not fit the size of their message"),
        }
    }
}

impl std::error::Error for Malformed {}

impl<'a> Message<'a> {
    /// Codec of a wrapper, `None` of an ordinary message.
    ///
    /// # Errors
    /// The number in the attributes, if no codec has it.
    pub fn codec(&self) -> Result<Codec, u8> {
        codec(self.attributes)
    }

    /// Whether the value is a set of messages.
    #[must_use]
    pub fn is_wrapper(&self) -> bool {
        self.attributes & CODEC != 0
    }

    /// Whose clock the timestamp is of; format 0 has none, which counts as the producer's.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.magic == 0 || self.attributes & APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Appends a message; `false` if a field is longer than its length can say, and then nothing is appended.
    #[must_use]
    pub fn write_to(&self, into: &mut Vec<u8>) -> bool {
        let start = into.len();
        let put = || {
            let mut body = PREFIX_BYTES.checked_add(CHECKSUM_BYTES)?.checked_add(2)?;
            if self.magic > 0 {
                body = body.checked_add(8)?;
            }
            for field in [self.key, self.value] {
                i32::try_from(field.map_or(0, <[u8]>::len)).ok()?;
                body = body.checked_add(4)?.checked_add(field.map_or(0, <[u8]>::len))?;
            }
            i32::try_from(body.checked_sub(PREFIX_BYTES)?).ok()
        };
        let Some(size) = put() else { return false };
        into.extend_from_slice(&self.offset.0.to_be_bytes());
        into.extend_from_slice(&size.to_be_bytes());
        let checksum_start = into.len();
        into.extend_from_slice(&[0; CHECKSUM_BYTES]);
        into.extend_from_slice(&[self.magic, self.attributes]);
        if self.magic > 0 {
            into.extend_from_slice(&self.timestamp.0.to_be_bytes());
        }
        for field in [self.key, self.value] {
            let length = field.map_or(-1, |field| i32::try_from(field.len()).unwrap_or(i32::MAX));
            into.extend_from_slice(&length.to_be_bytes());
            into.extend_from_slice(field.unwrap_or_default());
        }
        let checksum = into.get(checksum_start.saturating_add(CHECKSUM_BYTES)..).map_or(0, crc32);
        if let Some(place) = into.get_mut(checksum_start..).and_then(|body| body.first_chunk_mut()) {
            *place = checksum.to_be_bytes();
        }
        debug_assert!(into.len() > start, "a message is never empty");
        true
    }

    /// Takes the body of a message apart. Bytes behind the value do not matter, as in Kafka.
    fn parse(offset: Offset, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = Fields(body.get(CHECKSUM_BYTES..).unwrap_or_default());
        let mut parse = || {
            let [magic] = rest.array()?;
            let [attributes] = rest.array()?;
            let timestamp = if magic == 0 { -1 } else { i64::from_be_bytes(rest.array()?) };
            let key = rest.nullable_bytes()?;
            let value = rest.nullable_bytes()?;
            Some(Self { offset, magic, attributes, timestamp: Timestamp(timestamp), key, value })
        };
        parse().ok_or(Malformed::Lengths)
    }
}

/// One entry of a set, of which nothing but its place is known yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Offset as the set has it.
    pub(super) offset: Offset,
    /// What comes after the size.
    pub(super) body: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Bytes with offset and size.
    pub(super) fn size_bytes(&self) -> usize {
        self.body.len().saturating_add(PREFIX_BYTES)
    }

    /// Format; at the same place in all of them.
    pub(super) fn magic(&self) -> u8 {
        self.body.get(CHECKSUM_BYTES).copied().unwrap_or(u8::MAX)
    }

    /// The attributes of a message; at the same place in both formats.
    pub(super) fn attributes(&self) -> u8 {
        self.body.get(CHECKSUM_BYTES.saturating_add(1)).copied().unwrap_or_default()
    }

    /// Checks the checksum of a message.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let (stored, covered) = self.body.split_first_chunk().ok_or(Malformed::Lengths)?;
        if u32::from_be_bytes(*stored) == crc32(covered) { Ok(()) } else { Err(Malformed::Checksum) }
    }

    /// Checks the checksum of a message and takes it apart.
    pub(super) fn checked(&self) -> Result<Message<'a>, Malformed> {
        self.check()?;
        Message::parse(self.offset, self.body)
    }

    /// Takes a message apart whatever its checksum is.
    pub(super) fn unchecked(&self) -> Result<Message<'a>, Malformed> {
        Message::parse(self.offset, self.body)
    }
}

/// The entries of a set, in order. Ends after the first error; what is left at the end and too short is nothing, because
/// answers to fetches are cut anywhere and clients send on what they got.
#[derive(Clone, Debug)]
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    /// Within a wrapper any magic is an entry, to be refused by who looks at it.
    any_magic: bool,
}

impl<'a> Entries<'a> {
    /// The set that a client sent.
    pub(super) fn of_request(set: &'a [u8]) -> Self {
        Self { rest: set, any_magic: false }
    }

    /// The set in a wrapper, opened.
    pub(super) fn of_wrapper(set: &'a [u8]) -> Self {
        Self { rest: set, any_magic: true }
    }

    fn read(&mut self) -> Result<Option<Entry<'a>>, Malformed> {
        let Some((offset, rest)) = self.rest.split_first_chunk() else { return Ok(None) };
        let Some((size, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let size = i32::from_be_bytes(*size);
        let Some(bytes) = usize::try_from(size).ok().filter(|bytes| *bytes >= SIZE_MIN) else {
            return Err(Malformed::Size(size));
        };
        if let (Some(&magic), false) = (rest.get(CHECKSUM_BYTES), self.any_magic)
            && magic > MAGIC_OF_BATCHES
        {
            return Err(Malformed::Magic(magic));
        }
        let Some((body, rest)) = rest.split_at_checked(bytes) else { return Ok(None) };
        self.rest = rest;
        Ok(Some(Entry { offset: Offset(i64::from_be_bytes(*offset)), body }))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read();
        if !matches!(next, Ok(Some(_))) {
            self.rest = &[];
        }
        next.transpose()
    }
}

/// The messages of a set as a client reads them, checksums checked, wrappers left closed.
#[derive(Clone, Debug)]
pub struct MessageSet<'a>(Entries<'a>);

impl<'a> MessageSet<'a> {
    /// Begins at the start of `set`.
    #[must_use]
    pub fn new(set: &'a [u8]) -> Self {
        Self(Entries::of_request(set))
    }
}

impl<'a> Iterator for MessageSet<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|entry| entry.and_then(|entry| entry.checked()))
    }
}

/// Fields one after another, every length compared with what is left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    /// Every negative length is null, as in Kafka.
    fn nullable_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let length = i32::from_be_bytes(self.array()?);
        let Ok(length) = usize::try_from(length) else { return Some(None) };
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Some(field))
    }
}

/// The attributes of a message that holds `codec` and has its timestamp from the broker or not.
pub(super) fn attributes(magic: u8, codec: Codec, kind: TimestampType) -> u8 {
    let [_, codec] = codec.id().to_be_bytes();
    match kind {
        TimestampType::LogAppendTime if magic > 0 => codec | APPEND_TIME,
        _ => codec,
    }
}

/// The codec that the attributes of a message name.
pub(super) fn codec(attributes: u8) -> Result<Codec, u8> {
    let number = attributes & CODEC;
    Codec::from_id(i16::from(number)).ok_or(number)
}

/// CRC-32 as in zlib (ISO-HDLC), not that of format 2.
fn crc32(covered: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(covered);
    crc.sum()
}
