//! The 61 bytes in front of every batch, read in place.
//!
//! Base offset, length, leader epoch and magic come before the checksum and are not covered by it, so the leader
//! stamps the first and the third without touching the rest (KIP-98).

use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::record::codec::Codec;

/// Bytes of the header, records following.
pub const HEADER_BYTES: usize = 61;
/// Bytes up to and including the length field; the length counts what comes after them.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Bytes that the leader stamps: base offset, length and leader epoch.
pub const STAMP_BYTES: usize = 16;
/// Where the range covered by the checksum begins; it ends with the batch.
pub const CHECKSUM_START: usize = 21;
/// Least value of the length field of a whole batch.
pub const LENGTH_MIN: i32 = 49;
/// The only message format that is stored.
pub const MAGIC: i8 = 2;

const _: () = assert!(size_of::<BatchHeader>() == HEADER_BYTES);
const _: () = assert!(LENGTH_MIN as usize + LENGTH_PREFIX_BYTES == HEADER_BYTES);

/// Header of a batch as it is on the wire and on disk, big-endian.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, PartialEq, Eq)]
#[repr(C)]
pub struct BatchHeader {
    base_offset: I64,
    length: I32,
    leader_epoch: I32,
    magic: i8,
    crc: U32,
    attributes: I16,
    last_offset_delta: I32,
    base_timestamp: I64,
    max_timestamp: I64,
    producer_id: I64,
    producer_epoch: I16,
    base_sequence: I32,
    record_count: I32,
}

impl BatchHeader {
    /// The header at the start of `bytes`, unchecked but for its length; `None` if there are fewer than 61 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Self::read_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// A header of magic 2 with no producer, no records and everything else zero.
    #[must_use]
    pub fn empty() -> Self {
        let mut header = Self::new_zeroed_header();
        header.magic = MAGIC;
        header.leader_epoch = I32::new(LeaderEpoch::NONE.0);
        header.base_timestamp = I64::new(Timestamp::NONE.0);
        header.max_timestamp = I64::new(Timestamp::NONE.0);
        header.producer_id = I64::new(ProducerId::NONE.0);
        header.producer_epoch = I16::new(-1);
        header.base_sequence = I32::new(-1);
        header.length = I32::new(LENGTH_MIN);
        header
    }

    fn new_zeroed_header() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }

    /// Offset of the first record; a client sends 0.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(self.base_offset.get())
    }

    /// Bytes of the batch after the length field, as the header claims.
    #[must_use]
    pub fn length(&self) -> i32 {
        self.length.get()
    }

    /// Bytes of the whole batch as the header claims; `None` if that is less than a header.
    #[must_use]
    pub fn batch_bytes(&self) -> Option<usize> {
        if self.length() < LENGTH_MIN {
            return None;
        }
        usize::try_from(self.length()).ok()?.checked_add(LENGTH_PREFIX_BYTES)
    }

    /// Leadership under which the batch was appended.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.get())
    }

    /// Message format.
    #[must_use]
    pub fn magic(&self) -> i8 {
        self.magic
    }

    /// CRC-32C of the batch from its attributes to its end, as the header claims.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc.get()
    }

    /// Flags and codec.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes(self.attributes.get())
    }

    /// Distance from the first offset to the last; kept by compaction even when records go.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta.get()
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()))
    }

    /// Timestamp to which the records' deltas are added. After compaction it may be the delete horizon instead.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(self.base_timestamp.get())
    }

    /// Largest timestamp of the records, or the append time of all of them.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.max_timestamp.get())
    }

    /// Producer, −1 without idempotence.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.producer_id.get())
    }

    /// Generation of the producer, −1 without idempotence.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.producer_epoch.get())
    }

    /// Sequence of the first record, −1 without idempotence.
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        Sequence(self.base_sequence.get())
    }

    /// Sequence of the last record, −1 without idempotence.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence().0 < 0 {
            self.base_sequence()
        } else {
            self.base_sequence().plus(self.last_offset_delta())
        }
    }

    /// Records in the batch, as the header claims.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count.get()
    }

    /// Whether a producer with idempotence wrote this.
    #[must_use]
    pub fn has_producer(&self) -> bool {
        self.producer_id() > ProducerId::NONE
    }

    /// Stamps what the leader decides; the checksum stays right.
    pub fn set_position(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.base_offset = I64::new(base_offset.0);
        self.leader_epoch = I32::new(leader_epoch.0);
    }

    /// Sets the length field to that of a batch with `payload_bytes` after the header; `false` if it does not fit.
    #[must_use]
    pub fn set_payload_bytes(&mut self, payload_bytes: usize) -> bool {
        match i32::try_from(payload_bytes).ok().and_then(|bytes| bytes.checked_add(LENGTH_MIN)) {
            Some(length) => {
                self.length = I32::new(length);
                true
            }
            None => false,
        }
    }

    /// Replaces codec and flags; the checksum must be computed again.
    pub fn set_attributes(&mut self, attributes: Attributes) {
        self.attributes = I16::new(attributes.0);
    }

    /// Sets both timestamps; the checksum must be computed again.
    pub fn set_timestamps(&mut self, base: Timestamp, max: Timestamp) {
        self.base_timestamp = I64::new(base.0);
        self.max_timestamp = I64::new(max.0);
    }

    /// Sets producer, its generation and the first sequence; the checksum must be computed again.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        self.producer_id = I64::new(id.0);
        self.producer_epoch = I16::new(epoch.0);
        self.base_sequence = I32::new(base_sequence.0);
    }

    /// Sets the number of records, offsets consecutive; the checksum must be computed again.
    pub fn set_record_count(&mut self, count: i32) {
        self.record_count = I32::new(count);
        self.last_offset_delta = I32::new(count.saturating_sub(1));
    }

    /// Sets the number of records that compaction has left, at whatever offsets of the batch; the checksum must be computed
    /// again.
    pub fn set_retained_count(&mut self, count: i32) {
        self.record_count = I32::new(count);
    }

    /// Sets the checksum.
    pub fn set_crc(&mut self, crc: u32) {
        self.crc = U32::new(crc);
    }

    /// CRC-32C of the covered part of the header alone, to be continued over the payload.
    #[must_use]
    pub fn covered_crc(&self) -> u32 {
        self.as_bytes().get(CHECKSUM_START..).map_or(0, crc32c::crc32c)
    }

    /// The header's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; HEADER_BYTES] {
        zerocopy::transmute_ref!(self)
    }
}

impl std::fmt::Debug for BatchHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchHeader")
            .field("base_offset", &self.base_offset())
            .field("length", &self.length())
            .field("leader_epoch", &self.leader_epoch())
            .field("magic", &self.magic())
            .field("crc", &format_args!("{:#010x}", self.crc()))
            .field("attributes", &self.attributes())
            .field("last_offset_delta", &self.last_offset_delta())
            .field("base_timestamp", &self.base_timestamp())
            .field("max_timestamp", &self.max_timestamp())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("record_count", &self.record_count())
            .finish()
    }
}

/// Whose clock a batch's timestamps are of (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's, record by record.
    #[default]
    CreateTime,
    /// The broker's at the append, one for the whole batch.
    LogAppendTime,
}

/// Flags of a batch: bits 0–2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// Codec of the payload; `None` for a number that no codec has.
    #[must_use]
    pub fn codec(self) -> Option<Codec> {
        Codec::from_id(self.0 & Self::CODEC)
    }

    /// Whose clock the timestamps are of.
    #[must_use]
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the records belong to a transaction.
    #[must_use]
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the records are marks of the broker or the quorum, hidden from applications.
    #[must_use]
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether compaction has put the time after which tombstones go in place of the base timestamp (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same flags with another codec.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Self {
        Self((self.0 & !Self::CODEC) | codec.id())
    }

    /// The same flags with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, kind: TimestampType) -> Self {
        match kind {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The same flags, with a delete horizon in place of the base timestamp or without.
    #[must_use]
    pub fn with_delete_horizon(self, on: bool) -> Self {
        Self(if on { self.0 | Self::DELETE_HORIZON } else { self.0 & !Self::DELETE_HORIZON })
    }

    /// The same flags, transactional or not.
    #[must_use]
    pub fn with_transactional(self, on: bool) -> Self {
        if on { Self(self.0 | Self::TRANSACTIONAL) } else { Self(self.0 & !Self::TRANSACTIONAL) }
    }

    /// The same flags, control or not.
    #[must_use]
    pub fn with_control(self, on: bool) -> Self {
        if on { Self(self.0 | Self::CONTROL) } else { Self(self.0 & !Self::CONTROL) }
    }
}
