//! Message formats 0 and 1, which clients from before Kafka 0.11 send and expect; what is stored is always format 2.
//!
//! A set of messages has no header of its own. A message is an offset, a size and a body; the body begins with a
//! CRC-32 of the rest. Compression is nesting: the value of one *wrapper* message is a set of messages.
//!
//! | bytes of the body | format 0 | format 1 |
//! | --- | --- | --- |
//! | CRC-32 (ISO-HDLC) of what follows it | 4 | 4 |
//! | magic | 1 | 1 |
//! | attributes: bits 0–2 codec, bit 3 append time (format 1) | 1 | 1 |
//! | timestamp, milliseconds | | 8 |
//! | length of the key, −1 for null; key | 4 + n | 4 + n |
//! | length of the value, −1 for null; value | 4 + n | 4 + n |
//!
//! In a wrapper of format 0 the inner offsets are those of the log; in one of format 1 they count from 0, and the
//! wrapper has the offset of its last message (KIP-31).
//!
//! Converting is the slow way on purpose: everything is opened and written anew. What is big is given to a helper
//! thread, see [`up::is_quick`] and [`down::is_quick`].

pub mod down;
mod lz4;
mod message;
#[cfg(test)]
mod tests;
pub mod up;

pub use down::{ConversionError, Converted, Format, down_convert};
pub use message::{Malformed, Message, MessageSet};
