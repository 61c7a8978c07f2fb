//! A whole batch as a counted range of bytes, and cutting a run of bytes into such batches.
//!
//! The run is the records field of a Produce request or a chunk of a segment file. Only the structure is checked
//! here: that a header is there, that its magic is 2 and that the whole batch fits what is left.

use std::fmt;

use bytes::Bytes;

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::record::codec::{self, Codec, CodecError};
use crate::record::header::{
    BatchHeader, CHECKSUM_START, HEADER_BYTES, LENGTH_MIN, LENGTH_PREFIX_BYTES, MAGIC, STAMP_BYTES,
};
use crate::record::records::Records;

/// Bytes up to and including the magic, at the same place in every message format.
const MAGIC_END: usize = 17;
/// Least length field of a message of format 0, the smallest there is.
const LEGACY_LENGTH_MIN: i32 = 14;

/// A batch whose magic is 2 and whose length field is the number of bytes that are there.
#[derive(Clone)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

/// Why the bytes at hand do not begin with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// They end before the batch does. In a chunk of a file the rest may follow in the next one.
    Incomplete {
        /// Bytes of the whole batch; those of a header if not even the length is there.
        needed: usize,
        /// Bytes at hand.
        available: usize,
    },
    /// The length field is less than any batch of that format has.
    LengthTooSmall(i32),
    /// A message of format 0 or 1.
    LegacyMagic(i8),
    /// No format has this magic.
    UnknownMagic(i8),
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete { needed, available } => {
                write!(f, "batch of {needed} bytes, of which {available} are there")
            }
            Self::LengthTooSmall(length) => write!(f, "length field {length} is less than a batch has"),
            Self::LegacyMagic(magic) => write!(f, "message format {magic}"),
            Self::UnknownMagic(magic) => write!(f, "unknown message format {magic}"),
        }
    }
}

impl std::error::Error for BatchError {}

impl Batch {
    /// The batch at the start of `run`, which is moved past it; on an error it stays where it was.
    ///
    /// # Errors
    /// What is wrong with the bytes at its start.
    pub fn split_from(run: &mut Bytes) -> Result<Self, BatchError> {
        let size = batch_bytes(run)?;
        let Some(header) = BatchHeader::parse(run) else {
            return Err(BatchError::Incomplete { needed: HEADER_BYTES, available: run.len() });
        };
        Ok(Self { header, bytes: run.split_to(size) })
    }

    /// Header and payload put together; the header's length must be the payload's.
    pub(crate) fn assemble(header: BatchHeader, payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES.saturating_add(payload.len()));
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(payload);
        Self::complete(header, bytes)
    }

    /// A payload that lies behind room for the header; the header's length must be the payload's.
    pub(crate) fn complete(header: BatchHeader, mut bytes: Vec<u8>) -> Self {
        if let Some(room) = bytes.first_chunk_mut() {
            *room = *header.bytes();
        }
        assert_eq!(header.batch_bytes(), Some(bytes.len()), "length of a batch of our own making");
        Self { header, bytes: bytes.into() }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records as they came, compressed or not.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES.min(self.bytes.len())..)
    }

    /// The batch from byte 16 on: all that the leader does not stamp.
    #[must_use]
    pub fn after_stamp(&self) -> Bytes {
        self.bytes.slice(STAMP_BYTES.min(self.bytes.len())..)
    }

    /// Whether the checksum in the header is that of the bytes.
    #[must_use]
    pub fn is_crc_valid(&self) -> bool {
        self.bytes.get(CHECKSUM_START..).is_some_and(|covered| crc32c::crc32c(covered) == self.header.crc())
    }

    /// The payload uncompressed; the very same bytes if it is.
    ///
    /// # Errors
    /// The codec is unknown, the stream is broken, or it holds more than `limit_bytes`.
    pub fn open(&self, limit_bytes: usize) -> Result<Bytes, CodecError> {
        let codec = self.header.attributes().codec().ok_or(CodecError::UnknownCodec)?;
        if codec == Codec::None {
            return Ok(self.payload());
        }
        codec::decompress(codec, &self.payload(), limit_bytes).map(Bytes::from)
    }

    /// The records in `opened`, which is what [`open`](Self::open) returned.
    #[must_use]
    pub fn records<'a>(&self, opened: &'a [u8]) -> Records<'a> {
        Records::new(opened, self.header.record_count())
    }

    /// The same batch of another producer, copied, with its checksum made right.
    #[must_use]
    pub fn renumbered(&self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) -> Self {
        let payload = self.payload();
        let mut header = self.header;
        header.set_producer(id, epoch, base_sequence);
        header.set_crc(crc32c::crc32c_append(header.covered_crc(), &payload));
        Self::assemble(header, &payload)
    }

    /// The same batch at another place, copied.
    #[must_use]
    pub fn stamped(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        let mut header = self.header;
        header.set_position(base_offset, leader_epoch);
        Self::assemble(header, &self.payload())
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)
    }
}

/// Bytes of the batch at the start of `run`, all of which are there.
fn batch_bytes(run: &[u8]) -> Result<usize, BatchError> {
    let available = run.len();
    let incomplete = |needed| Err(BatchError::Incomplete { needed, available });
    let Some(length) = run.get(8..LENGTH_PREFIX_BYTES).and_then(|field| field.first_chunk()) else {
        return incomplete(HEADER_BYTES);
    };
    let length = i32::from_be_bytes(*length);
    if length < LEGACY_LENGTH_MIN {
        return Err(BatchError::LengthTooSmall(length));
    }
    let Some(&magic) = run.get(MAGIC_END - 1) else {
        return incomplete(HEADER_BYTES);
    };
    match i8::from_be_bytes([magic]) {
        MAGIC => {}
        legacy @ (0 | 1) => return Err(BatchError::LegacyMagic(legacy)),
        unknown => return Err(BatchError::UnknownMagic(unknown)),
    }
    if length < LENGTH_MIN {
        return Err(BatchError::LengthTooSmall(length));
    }
    let Some(size) = usize::try_from(length).ok().and_then(|length| length.checked_add(LENGTH_PREFIX_BYTES)) else {
        return Err(BatchError::LengthTooSmall(length));
    };
    if size > available { incomplete(size) } else { Ok(size) }
}

/// The batches of a run of bytes, in order. Ends after the first error; [`rest`](Self::rest) is what was not cut.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
    failed: bool,
}

impl Batches {
    /// Begins at the start of `run`.
    #[must_use]
    pub fn new(run: Bytes) -> Self {
        Self { rest: run, failed: false }
    }

    /// Bytes from the first batch not returned on.
    #[must_use]
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let batch = Batch::split_from(&mut self.rest);
        self.failed = batch.is_err();
        Some(batch)
    }
}
