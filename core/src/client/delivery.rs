//! What goes into a producer, and what comes out of it.

use std::fmt;
use std::sync::Arc;

use super::request::RequestError;
use crate::base::{Offset, PartitionIndex, Timestamp};
use crate::protocol::ErrorCode;
use crate::record::{Codec, Compression, Header};

/// Identity of a record among all of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// Whose word a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nobody's: a record counts as delivered when it is written to the socket.
    None,
    /// The leader's.
    Leader,
    /// That of all replicas in sync.
    All,
}

impl Acks {
    pub(super) fn number(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer works.
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    /// Whose word it waits for.
    pub acks: Acks,
    /// Repeated batches are recognised by the broker; needs [`Acks::All`].
    pub is_idempotent: bool,
    /// Codec and level of the batches.
    pub compression: Compression,
    /// Milliseconds that a batch waits for more records (`linger.ms`).
    pub linger_ms: u64,
    /// Bytes at which a batch is full, before compression (`batch.size`).
    pub batch_bytes_max: usize,
    /// Bytes of one request (`max.request.size`).
    pub request_bytes_max: usize,
    /// Bytes of all records that are not answered (`buffer.memory`).
    pub buffer_bytes_max: usize,
    /// Batches of one partition, and requests to one broker, that may wait for answers.
    pub in_flight_max: usize,
    /// Milliseconds that the broker may take to hear from the replicas (`request.timeout.ms`).
    pub request_timeout_ms: i32,
    /// Milliseconds after which a record that could not be sent is given up (`delivery.timeout.ms`).
    pub delivery_timeout_ms: u64,
}

impl Default for ProducerOptions {
    /// Those of Kafka's Java producer.
    fn default() -> Self {
        Self {
            acks: Acks::All,
            is_idempotent: true,
            compression: Compression { codec: Codec::None, level: None },
            linger_ms: 5,
            batch_bytes_max: 16_384,
            request_bytes_max: 1_048_576,
            buffer_bytes_max: 33_554_432,
            in_flight_max: 5,
            request_timeout_ms: 30_000,
            delivery_timeout_ms: 120_000,
        }
    }
}

/// A record before it is sent. Null keys and values are `None`.
#[derive(Clone, Copy, Debug)]
pub struct RecordToSend<'a> {
    /// When it came to be.
    pub timestamp: Timestamp,
    /// Key, by which it gets its partition.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: &'a [Header<'a>],
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The topic is not known yet; try again after the next answer.
    TopicUnknown,
    /// The broker said this about the topic. Retriable errors may go away.
    Topic(ErrorCode),
    /// The topic has only so many partitions.
    NoSuchPartition {
        /// How many there are.
        count: i32,
    },
    /// Too much is not answered; try again after the next answer.
    BufferFull,
    /// The record is larger than a request may be.
    TooLarge {
        /// Bytes that it takes.
        size_bytes: usize,
        /// Bytes that a request may have.
        size_bytes_max: usize,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopicUnknown => f.write_str("nothing is known of the topic yet"),
            Self::Topic(code) => write!(f, "{code}"),
            Self::NoSuchPartition { count } => write!(f, "the topic has {count} partitions, numbered from 0"),
            Self::BufferFull => f.write_str("too many records are not acknowledged"),
            Self::TooLarge { size_bytes, size_bytes_max } => {
                write!(f, "the record takes {size_bytes} bytes, a request has at most {size_bytes_max}")
            }
        }
    }
}

impl std::error::Error for AppendError {}

/// Why the records of a batch were given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryError {
    /// The broker refused the batch.
    Refused {
        /// Its error code.
        code: ErrorCode,
        /// Its explanation, which may be empty.
        message: String,
    },
    /// The request failed in a way that does not go away.
    Request(RequestError),
    /// They could not be sent, or not be acknowledged, in time; the last error met, if any.
    TimedOut(Option<String>),
    /// The batch could not be compressed.
    Compression,
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message } if message.is_empty() => write!(f, "{code}"),
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
            Self::Request(error) => write!(f, "{error}"),
            Self::TimedOut(None) => f.write_str("not acknowledged in time"),
            Self::TimedOut(Some(last)) => write!(f, "not acknowledged in time; last error: {last}"),
            Self::Compression => f.write_str("the codec refuses the records"),
        }
    }
}

impl std::error::Error for DeliveryError {}

/// What became of the records of one batch.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: PartitionIndex,
    /// The records, in the order of their offsets.
    pub records: Vec<RecordId>,
    /// Offset of the first of them, −1 with acks=0; or why they were given up.
    pub result: Result<Offset, DeliveryError>,
}
