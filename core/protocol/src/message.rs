//! What all messages have in common.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use crate::ApiKey;
use crate::wire::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Reader, Writer};

/// A message in all its versions.
///
/// A field that a version lacks has its schema default after decoding; its value is checked when encoding.
pub trait Message: Clone + Debug + Default + PartialEq + Sized {
    /// The type's name.
    const NAME: &'static str;
    /// The API that a request or response belongs to.
    const API_KEY: Option<i16>;
    /// The versions that exist.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields (KIP-482).
    const FLEXIBLE_FROM: Option<i16>;

    /// Reads the message; bytes behind it are left to the caller, see [`Reader::finish`].
    ///
    /// # Errors
    /// There is no such version, or the bytes are not a message.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message.
    ///
    /// # Errors
    /// There is no such version, or a field has a value that the version cannot carry and that must not be lost.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;

    /// That `version` exists, before anything is read.
    #[doc(hidden)]
    fn check_decoded_version(reader: &mut Reader, version: i16) -> Result<(), DecodeError> {
        if Self::VERSIONS.contains(&version) {
            return Ok(());
        }
        Err(reader.field(Self::NAME).error(DecodeErrorKind::UnsupportedVersion { version }))
    }

    /// That `version` exists, before anything is written.
    #[doc(hidden)]
    fn check_encoded_version(writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if Self::VERSIONS.contains(&version) {
            return Ok(());
        }
        Err(writer.field(Self::NAME).error(EncodeErrorKind::UnsupportedVersion { version }))
    }
}

/// A message that asks.
pub trait Request: Message {
    /// The message that answers it, in the same version.
    type Response: Message;
    /// The API.
    const API: ApiKey;
}

/// A message that is stored in an internal log under a number.
pub trait Record: Message {
    /// The number of its type in that log.
    const ID: i16;
}
