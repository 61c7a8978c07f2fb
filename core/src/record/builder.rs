//! Making batches: for our own client, the metadata log, transaction markers and tests.

use crate::base::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::record::batch::Batch;
use crate::record::codec::{self, Codec, CodecError, Compression};
use crate::record::header::{Attributes, BatchHeader, HEADER_BYTES, TimestampType};
use crate::record::records::{Header, put_varint, put_varlong, varint_bytes, varlong_bytes};

/// Records have none yet; the format keeps a byte for them.
const RECORD_ATTRIBUTES: u8 = 0;

/// What a batch says of itself besides its records.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// Offset of the first record; a client sends 0.
    pub base_offset: Offset,
    /// Leadership of the append; a client sends −1.
    pub leader_epoch: LeaderEpoch,
    /// Codec and level of the payload.
    pub compression: Compression,
    /// Producer, −1 without idempotence.
    pub producer_id: ProducerId,
    /// Generation of the producer, −1 without idempotence.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, −1 without idempotence.
    pub base_sequence: Sequence,
    /// Whether the records belong to a transaction.
    pub transactional: bool,
    /// Whether the records are marks, hidden from applications.
    pub control: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch::NONE,
            compression: Compression::default(),
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: Sequence(-1),
            transactional: false,
            control: false,
        }
    }
}

/// Collects records into one batch with consecutive offsets.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, and the records behind it.
    bytes: Vec<u8>,
    count: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    log_append_time: Option<Timestamp>,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        Self::with_capacity(options, HEADER_BYTES)
    }

    /// An empty batch with memory for so many bytes, so that it need not be moved while it grows.
    #[must_use]
    pub fn with_capacity(options: BatchOptions, bytes_max: usize) -> Self {
        let mut bytes = Vec::with_capacity(bytes_max.max(HEADER_BYTES));
        bytes.resize(HEADER_BYTES, 0);
        Self {
            options,
            bytes,
            count: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            log_append_time: None,
        }
    }

    /// Gives all records the broker's append time instead of their own.
    #[must_use]
    pub fn log_append_time(mut self, at: Timestamp) -> Self {
        self.log_append_time = Some(at);
        self
    }

    /// Adds a record. Null keys and values are `None`.
    pub fn append(&mut self, timestamp: Timestamp, key: Option<&[u8]>, value: Option<&[u8]>, headers: &[Header<'_>]) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let timestamp_delta_ms = timestamp.0.wrapping_sub(self.base_timestamp.0);
        put_record(&mut self.bytes, (self.count, timestamp_delta_ms), key, value, headers.iter().copied());
        self.count = self.count.saturating_add(1);
    }

    /// Sets the producer, its generation and the sequence of the first record, which are often known last.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) {
        self.options.producer_id = id;
        self.options.producer_epoch = epoch;
        self.options.base_sequence = base_sequence;
    }

    /// Says whether the records belong to a transaction of the producer.
    pub fn set_transactional(&mut self, is_transactional: bool) {
        self.options.transactional = is_transactional;
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, before compression.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Closes the batch.
    ///
    /// # Errors
    /// The codec refuses its level, or the batch would be longer than its length field can say.
    pub fn build(self) -> Result<Batch, CodecError> {
        let options = self.options;
        let plain = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let compressed = match options.compression.codec {
            Codec::None => None,
            _ => Some(codec::compress(options.compression, plain)?),
        };
        let payload = compressed.as_deref().unwrap_or(plain);
        let kind = self.log_append_time.map_or(TimestampType::CreateTime, |_| TimestampType::LogAppendTime);
        let mut header = BatchHeader::empty();
        header.set_position(options.base_offset, options.leader_epoch);
        header.set_attributes(
            Attributes::default()
                .with_codec(options.compression.codec)
                .with_timestamp_type(kind)
                .with_transactional(options.transactional)
                .with_control(options.control),
        );
        header.set_timestamps(self.base_timestamp, self.log_append_time.unwrap_or(self.max_timestamp));
        header.set_producer(options.producer_id, options.producer_epoch, options.base_sequence);
        header.set_record_count(self.count);
        if !header.set_payload_bytes(payload.len()) {
            return Err(CodecError::TooLarge { limit_bytes: usize::try_from(i32::MAX).unwrap_or(usize::MAX) });
        }
        header.set_crc(crc32c::crc32c_append(header.covered_crc(), payload));
        Ok(match compressed {
            Some(payload) => Batch::assemble(header, &payload),
            None => Batch::complete(header, self.bytes),
        })
    }
}

/// Puts one record behind others; the deltas are those of its offset and of its timestamp in milliseconds.
pub(crate) fn put_record<'a>(
    bytes: &mut Vec<u8>,
    (offset_delta, timestamp_delta_ms): (i32, i64),
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = Header<'a>> + Clone,
) {
    let header_count = length_i32(headers.clone().count());
    let header_bytes = |header: Header<'_>| nullable_size_bytes(Some(header.key)) + nullable_size_bytes(header.value);
    let body_bytes = size_of_val(&RECORD_ATTRIBUTES)
        + varlong_bytes(timestamp_delta_ms)
        + varint_bytes(offset_delta)
        + nullable_size_bytes(key)
        + nullable_size_bytes(value)
        + varint_bytes(header_count)
        + headers.clone().map(header_bytes).sum::<usize>();

    put_varint(bytes, length_i32(body_bytes));
    let body_start = bytes.len();
    bytes.push(RECORD_ATTRIBUTES);
    put_varlong(bytes, timestamp_delta_ms);
    put_varint(bytes, offset_delta);
    put_nullable_bytes(bytes, key);
    put_nullable_bytes(bytes, value);
    put_varint(bytes, header_count);
    for header in headers {
        put_nullable_bytes(bytes, Some(header.key));
        put_nullable_bytes(bytes, header.value);
    }
    debug_assert_eq!(bytes.len() - body_start, body_bytes, "a record is as long as it says");
}

fn put_nullable_bytes(into: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(into, -1),
        Some(bytes) => {
            put_varint(into, length_i32(bytes.len()));
            into.extend_from_slice(bytes);
        }
    }
}

fn nullable_size_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(varint_bytes(-1), |bytes| varint_bytes(length_i32(bytes.len())) + bytes.len())
}

/// Our own callers bound records far below 2 GiB; a longer one is our defect, and must not become a short one.
fn length_i32(length: usize) -> i32 {
    i32::try_from(length).expect("a record that we make is below 2 GiB")
}
