//! What goes into a transaction coordinator and what comes out of it.

use std::collections::BTreeSet;

use super::state::TransactionState;
use crate::base::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::coordinator::{Append, RequestId};
use crate::protocol::messages::describe_transactions_response;
use crate::protocol::messages::list_transactions_response;
use crate::protocol::{ErrorCode, KafkaString};

/// A partition, by the name of its topic: so the log has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: KafkaString,
    /// The partition.
    pub index: PartitionIndex,
}

/// A producer and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdAndEpoch {
    /// The producer.
    pub id: ProducerId,
    /// Its generation.
    pub epoch: ProducerEpoch,
}

/// How a client does transactions; the levels of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionVersion {
    /// It says which partitions it writes to, and keeps its epoch.
    #[default]
    V0,
    /// The same; records of the coordinator have a version that can be extended.
    V1,
    /// Partitions are added as they are written to, and each end raises the epoch (KIP-890).
    V2,
}

impl TransactionVersion {
    /// Its level as a feature and in the log; one that nobody knows is the newest.
    #[must_use]
    pub const fn of_level(level: i16) -> Self {
        match level {
            ..=0 => Self::V0,
            1 => Self::V1,
            _ => Self::V2,
        }
    }

    /// Its level as a feature and in the log.
    #[must_use]
    pub const fn level(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// Whether the end of a transaction raises the epoch.
    #[must_use]
    pub const fn raises_epoch(self) -> bool {
        matches!(self, Self::V2)
    }
}

/// InitProducerId (key 22) with a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerId {
    /// The transactional id.
    pub transactional_id: KafkaString,
    /// Milliseconds after which an open transaction is aborted.
    pub timeout_ms: i32,
    /// The transaction is a part of one that somebody else coordinates (KIP-939).
    pub two_phase: bool,
    /// A prepared transaction is to be kept (KIP-939).
    pub keep_prepared: bool,
    /// What the producer believes to be, if it goes on after an error (KIP-360).
    pub expected: Option<ProducerIdAndEpoch>,
}

/// EndTxn (key 26).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxn {
    /// The transactional id.
    pub transactional_id: KafkaString,
    /// Who asks.
    pub producer: ProducerIdAndEpoch,
    /// Commit, or else abort.
    pub commit: bool,
    /// How the client does transactions.
    pub version: TransactionVersion,
}

/// Which transactional ids a list has (key 66). What is empty lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Names of states.
    pub states: Vec<KafkaString>,
    /// Producers.
    pub producers: BTreeSet<ProducerId>,
    /// Only transactions that have been open for more milliseconds than this.
    pub open_for_ms: Option<i64>,
}

/// A request to the coordinator of its transactional id.
///
/// Before it comes here the caller has checked what the client may do, and that partitions exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Key 22.
    InitProducerId(InitProducerId),
    /// Keys 24 and 25: partitions take part in the transaction from now on.
    AddPartitions {
        /// The transactional id.
        transactional_id: KafkaString,
        /// Who asks.
        producer: ProducerIdAndEpoch,
        /// Which.
        partitions: BTreeSet<TopicPartition>,
        /// How the client does transactions.
        version: TransactionVersion,
    },
    /// What a partition's leader asks for a producer of version 2: it takes part in the transaction from now on. Waits
    /// while the id is changing or the transaction before is being ended, as clients begin the next one at once.
    ClaimPartition {
        /// The transactional id.
        transactional_id: KafkaString,
        /// Who writes.
        producer: ProducerIdAndEpoch,
        /// Which.
        partition: TopicPartition,
        /// For how long it may wait.
        patience_ms: u64,
    },
    /// Key 24, from a partition's leader: does it take part?
    VerifyPartition {
        /// The transactional id.
        transactional_id: KafkaString,
        /// Who writes.
        producer: ProducerIdAndEpoch,
        /// Which.
        partition: TopicPartition,
    },
    /// Key 26.
    EndTxn(EndTxn),
    /// Key 65, one transactional id of it.
    Describe(KafkaString),
    /// Key 66, asked of every coordinator.
    List(ListFilter),
}

/// The answer to the [`Request`] of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Who the producer is from now on.
    InitProducerId(Result<ProducerIdAndEpoch, ErrorCode>),
    /// Whether they take part.
    AddPartitions(Result<(), ErrorCode>),
    /// Whether it takes part; CONCURRENT_TRANSACTIONS if its patience is over.
    ClaimPartition(Result<(), ErrorCode>),
    /// Whether it does; TRANSACTION_ABORTABLE if not.
    VerifyPartition(Result<(), ErrorCode>),
    /// Who the producer is from now on.
    EndTxn(Result<ProducerIdAndEpoch, ErrorCode>),
    /// One transactional id, with its error.
    Describe(describe_transactions_response::TransactionState),
    /// What this coordinator has.
    List(Result<Vec<list_transactions_response::TransactionState>, ErrorCode>),
}

impl Request {
    /// The answer that refuses it.
    #[must_use]
    pub fn refuse(&self, code: ErrorCode) -> Answer {
        match self {
            Self::InitProducerId(_) => Answer::InitProducerId(Err(code)),
            Self::AddPartitions { .. } => Answer::AddPartitions(Err(code)),
            Self::ClaimPartition { .. } => Answer::ClaimPartition(Err(code)),
            Self::VerifyPartition { .. } => Answer::VerifyPartition(Err(code)),
            Self::EndTxn(_) => Answer::EndTxn(Err(code)),
            Self::Describe(id) => Answer::Describe(describe_transactions_response::TransactionState {
                error_code: code.0,
                transactional_id: id.clone(),
                ..Default::default()
            }),
            Self::List(_) => Answer::List(Err(code)),
        }
    }
}

/// A transaction has ended: its partitions are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The transactional id.
    pub transactional_id: KafkaString,
    /// Whose, and with which generation the markers are written.
    pub producer: ProducerIdAndEpoch,
    /// Committed, or else aborted.
    pub committed: bool,
    /// Epoch of this coordinator: the leader epoch of its partition.
    pub coordinator_epoch: i32,
    /// How the client does transactions.
    pub version: TransactionVersion,
    /// Which partitions.
    pub partitions: BTreeSet<TopicPartition>,
}

/// What became of one marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// It is written, and the high watermark has passed it.
    Written,
    /// The partition is no more.
    Gone,
    /// Not now: it is tried again.
    NotYet,
    /// A newer coordinator has written there: this one is none any more.
    Fenced,
}

/// Producer ids that nobody has; `None` if there are none at hand, and what needs one is put off.
pub type FreshIds<'a> = &'a mut dyn FnMut() -> Option<ProducerId>;

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append this to the partition, in the order of these effects, and tell
    /// [`on_append`](super::TransactionCoordinator::on_append) what became of it.
    Append(Append),
    /// Write these markers, and tell [`on_marked`](super::TransactionCoordinator::on_marked) of each.
    Mark(Mark),
    /// Give this answer.
    Answer(RequestId, Answer),
}

impl TransactionState {
    /// How a list tells it.
    pub(super) fn listed(self, id: &KafkaString, producer: ProducerId) -> list_transactions_response::TransactionState {
        list_transactions_response::TransactionState {
            transactional_id: id.clone(),
            producer_id: producer.0,
            transaction_state: self.name().into(),
        }
    }
}
