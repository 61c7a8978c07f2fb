//! What a topic may be called. A name is also a directory's, so nothing else may ever reach the disk.

use std::fmt;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// The topic of the metadata log, which is not in its own image and cannot be created.
pub const METADATA_TOPIC_NAME: &str = "__cluster_metadata";

/// Topics in which a broker keeps its own state: clients read them, and only brokers write.
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Whether a topic is one in which the broker keeps its own state.
#[must_use]
pub fn is_internal_topic(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}

/// Why a name is no topic's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicNameError {
    /// There is none.
    Empty,
    /// `.` or `..`.
    Dots(String),
    /// More than the limit.
    TooLong(usize),
    /// Something other than ASCII letters, digits, `.`, `_`, `-`.
    Character(char),
}

impl fmt::Display for TopicNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the topic name is empty"),
            Self::Dots(name) => write!(f, "'{name}' cannot be a topic name, as it names a directory"),
            Self::TooLong(bytes) => {
                write!(f, "the topic name is {bytes} bytes long; at most {TOPIC_NAME_BYTES_MAX} are possible")
            }
            Self::Character(c) => {
                write!(f, "the topic name contains {c:?}; ASCII letters and digits, '.', '_' and '-' are possible")
            }
        }
    }
}

impl std::error::Error for TopicNameError {}

/// Checks a topic's name.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots(name.to_owned()));
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong(name.len()));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(TopicNameError::Character(c)),
        None => Ok(()),
    }
}
