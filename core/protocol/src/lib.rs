//! Kafka's wire format.
//!
//! Everything that the network or a disk hands to the broker is decoded here, by bounded readers that check every
//! length against what is left before anything is allocated. The messages themselves are generated from the files in
//! `schema/`, which are the place to read what a request carries in which version.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]

#[cfg(feature = "samples")]
extern crate self as corelane_protocol;

mod api_key;
mod error_code;
mod message;
pub mod messages;
pub mod records;
#[cfg(feature = "samples")]
pub mod samples;
pub mod wire;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use message::{Message, Record, Request};
pub use wire::KafkaString;
