//! Kafka's primitive types on the wire, read and written with every length checked.
//!
//! A [`Reader`] walks one received frame; what it hands out are ranges of that counted frame, so decoded values carry
//! no lifetime and cost no copy. A [`Writer`] gathers an answer as a list of slices, so that record bytes are passed
//! on and never copied into one.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod error;
mod frame;
mod reader;
mod string;
mod writer;

pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use frame::{Frame, FrameError, next_frame};
pub use reader::Reader;
pub use string::KafkaString;
pub use writer::{SPLICE_BYTES_MIN, STAND_IN_BYTES_MAX, Writer, WrittenPiece, stand_in};
