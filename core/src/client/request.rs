//! What a request is known by, where it goes, and how it can end other than by an answer.

use std::fmt;

use super::connection::ConnectionError;
use crate::base::NodeId;
use crate::protocol::ApiKey;
use crate::protocol::ErrorCode;
use crate::protocol::wire::{DecodeError, EncodeError};

/// Identity of a request among all of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Any broker that is reachable.
    Any,
    /// The controller, as far as it is known; any broker passes such requests on.
    Controller,
    /// This broker.
    Node(NodeId),
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The connection was lost or never made. The request may or may not have acted.
    Connection {
        /// The address, as `host:port`.
        address: String,
        /// What happened.
        error: ConnectionError,
    },
    /// No address is known for the broker.
    UnknownNode(NodeId),
    /// The broker serves no version of this API that we know.
    Unsupported(ApiKey),
    /// The broker's version of the API cannot carry the request.
    Unwritable(EncodeError),
    /// The answer could not be decoded.
    Malformed(DecodeError),
    /// The answer is an error.
    Refused {
        /// The broker's error code.
        code: ErrorCode,
        /// The broker's explanation, which may be empty.
        message: String,
    },
}

impl RequestError {
    /// The same request may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::UnknownNode(_) => true,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Unsupported(_) | Self::Unwritable(_) | Self::Malformed(_) => false,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { address, error } => write!(f, "{address}: {error}"),
            Self::UnknownNode(node) => write!(f, "no address is known for broker {node}"),
            Self::Unsupported(api) => write!(f, "the broker does not serve {} in a version that we know", api.name()),
            Self::Unwritable(error) => write!(f, "the broker is too old for this: {error}"),
            Self::Malformed(error) => write!(f, "the broker's answer is malformed: {error}"),
            Self::Refused { code, message } if message.is_empty() => write!(f, "{code}"),
            Self::Refused { code, message } => write!(f, "{code}: {message}"),
        }
    }
}

impl std::error::Error for RequestError {}
