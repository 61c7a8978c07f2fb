//! What can be wrong with bytes that came in, and with values that are to go out.

use std::error::Error;
use std::fmt;

/// Why bytes could not be decoded, where, and in which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Bytes from the start of what the reader was given to the value at fault.
    pub position: usize,
    /// `Struct.field` that was being read; empty before the first.
    pub field: &'static str,
}

/// What is wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The value needs more bytes than there are left.
    Truncated {
        /// Bytes that the value needs.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// An array claims more elements than the bytes left could hold.
    CountTooLarge {
        /// Elements claimed.
        count: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// Null, in a field or version that has none.
    UnexpectedNull,
    /// A string longer than 32767 bytes.
    StringTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A variable-length integer with more bits than its type.
    VarintTooLong,
    /// A tagged field that is shorter than the size written before it.
    TaggedFieldSize {
        /// Bytes left over.
        unread: usize,
    },
    /// A tag that exists, but not in this version.
    TagNotInVersion {
        /// The tag.
        tag: u32,
    },
    /// Bytes behind the end of the value.
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A version of the message that does not exist.
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, position, field } = self;
        let field = if field.is_empty() { "value" } else { field };
        write!(f, "{field} at byte {position}: {kind}")
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, remaining } => write!(f, "needs {needed} bytes, {remaining} are left"),
            Self::CountTooLarge { count, remaining } => {
                write!(f, "{count} elements cannot fit into the {remaining} bytes left")
            }
            Self::UnexpectedNull => f.write_str("is null but must not be"),
            Self::StringTooLong { length } => write!(f, "string of {length} bytes, at most 32767 are allowed"),
            Self::VarintTooLong => f.write_str("variable-length integer has too many bits"),
            Self::TaggedFieldSize { unread } => write!(f, "tagged field ends {unread} bytes before its stated size"),
            Self::TagNotInVersion { tag } => write!(f, "tag {tag} does not exist in this version"),
            Self::TrailingBytes { count } => write!(f, "{count} bytes follow the end"),
            Self::UnsupportedVersion { version } => write!(f, "version {version} does not exist"),
        }
    }
}

impl Error for DecodeError {}

/// Why a value could not be encoded, and which field is to blame. Always a fault of ours, never of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// What is wrong.
    pub kind: EncodeErrorKind,
    /// `Struct.field` that was being written, or the name of the message.
    pub field: &'static str,
}

/// What is wrong with the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeErrorKind {
    /// A version of the message that does not exist.
    UnsupportedVersion {
        /// The version asked for.
        version: i16,
    },
    /// A field carries a value that this version cannot, and that the receiver must not miss.
    FieldNotInVersion {
        /// The version asked for.
        version: i16,
    },
    /// `None` in a field that cannot be null in this version.
    UnexpectedNull,
    /// A string of more than 32767 bytes, or bytes or an array beyond `i32::MAX`.
    TooLong {
        /// Length in bytes or elements.
        length: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field;
        match self.kind {
            EncodeErrorKind::UnsupportedVersion { version } => write!(f, "{field}: version {version} does not exist"),
            EncodeErrorKind::FieldNotInVersion { version } => {
                write!(f, "{field}: version {version} cannot carry this value")
            }
            EncodeErrorKind::UnexpectedNull => write!(f, "{field}: cannot be null in this version"),
            EncodeErrorKind::TooLong { length } => write!(f, "{field}: length {length} is too long"),
        }
    }
}

impl Error for EncodeError {}
