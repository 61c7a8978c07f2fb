//! Record batches of message format v2: their header, their records, and what a broker accepts from a client.
//!
//! The bytes that a client sends are the bytes on disk and the bytes that a reader gets. So nothing here copies a
//! payload unless the topic asks for another codec: a batch is a counted range of the received frame, looked at
//! through its 61-byte header.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod batch;
pub mod builder;
pub mod codec;
pub mod control;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzz;
pub mod header;
pub mod legacy;
pub mod records;
pub mod search;
pub mod validate;

pub use batch::{Batch, BatchError, Batches};
pub use builder::{BatchBuilder, BatchOptions};
pub use codec::{Codec, CodecError, Compression};
pub use control::{ControlType, EndMarker};
pub use header::{Attributes, BatchHeader, TimestampType};
pub use records::{Header, Headers, Record, RecordError, Records};
pub use validate::{AppendRules, CompressionRule, RecordRejection, ValidBatch, validate_produce};
