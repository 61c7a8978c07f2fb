//! Why a change of the cluster is refused: Kafka's error code, and a sentence for the person behind the client.

use std::fmt;

/// A refused change. The image stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error code.
    pub kind: RefusalKind,
    /// What is wrong and what would be right. Goes into the error message field of the answer.
    pub message: String,
}

/// The kinds of refusal, each one of Kafka's errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No topic has that name.
    UnknownTopicOrPartition,
    /// The name cannot be a topic's.
    InvalidTopic,
    /// There is a topic of that name.
    TopicAlreadyExists,
    /// The number of partitions cannot be.
    InvalidPartitions,
    /// The number of replicas cannot be.
    InvalidReplicationFactor,
    /// The replicas named by hand cannot be.
    InvalidReplicaAssignment,
    /// A setting does not exist or cannot have that value.
    InvalidConfig,
    /// The request contradicts itself.
    InvalidRequest,
    /// A limit of the broker.
    PolicyViolation,
    /// A feature cannot have that level.
    InvalidUpdateVersion,
    /// No topic has that id.
    UnknownTopicId,
}

impl RefusalKind {
    /// Kafka's number.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::UnknownTopicOrPartition => 3,
            Self::InvalidTopic => 17,
            Self::TopicAlreadyExists => 36,
            Self::InvalidPartitions => 37,
            Self::InvalidReplicationFactor => 38,
            Self::InvalidReplicaAssignment => 39,
            Self::InvalidConfig => 40,
            Self::InvalidRequest => 42,
            Self::PolicyViolation => 44,
            Self::InvalidUpdateVersion => 95,
            Self::UnknownTopicId => 100,
        }
    }
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}
