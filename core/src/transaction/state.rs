//! One transactional id: where it stands, and where a request takes it.
//!
//! Every function here looks at what the log says and gives what it is to say next; nothing is changed in place.
//!
//! | state | is reached by |
//! | --- | --- |
//! | Empty | InitProducerId |
//! | Ongoing | the first partition that takes part |
//! | PrepareCommit, PrepareAbort | EndTxn, a timeout, or InitProducerId of a successor; in version 2 an abort also when nothing is open |
//! | CompleteCommit, CompleteAbort | all partitions have their markers |
//!
//! Epochs end at [`EPOCH_LAST`], so that there is always one more to fence a producer with. Who has used them up gets
//! another producer id.

use std::collections::BTreeSet;

use super::message::{EndTxn, ProducerIdAndEpoch, TopicPartition, TransactionVersion};
use crate::base::{ProducerEpoch, ProducerId, Timestamp};
use crate::protocol::ErrorCode;

/// The last epoch that a client is given.
pub(super) const EPOCH_LAST: ProducerEpoch = ProducerEpoch(i16::MAX - 1);
/// No producer.
pub(super) const NO_PRODUCER: ProducerId = ProducerId(-1);
/// No epoch.
pub(super) const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);

/// Where a transactional id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionState {
    /// It has a producer, which has begun nothing since.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// It will be committed whatever happens; partitions are being told.
    PrepareCommit,
    /// It will be aborted whatever happens; partitions are being told.
    PrepareAbort,
    /// The last one was committed.
    CompleteCommit,
    /// The last one was aborted.
    CompleteAbort,
    /// It is being forgotten. Nothing in the log has it.
    Dead,
    /// Its producer is being fenced. Nothing in the log has it.
    PrepareEpochFence,
}

impl TransactionState {
    const ALL: [(Self, i8, &'static str); 8] = [
        (Self::Empty, 0, "Empty"),
        (Self::Ongoing, 1, "Ongoing"),
        (Self::PrepareCommit, 2, "PrepareCommit"),
        (Self::PrepareAbort, 3, "PrepareAbort"),
        (Self::CompleteCommit, 4, "CompleteCommit"),
        (Self::CompleteAbort, 5, "CompleteAbort"),
        (Self::Dead, 6, "Dead"),
        (Self::PrepareEpochFence, 7, "PrepareEpochFence"),
    ];

    /// Its byte in the log.
    #[must_use]
    pub fn byte(self) -> i8 {
        Self::ALL.into_iter().find_map(|(state, byte, _)| (state == self).then_some(byte)).unwrap_or(-1)
    }

    /// The state that a byte of the log stands for.
    #[must_use]
    pub fn of_byte(byte: i8) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(state, its, _)| (its == byte).then_some(state))
    }

    /// Its name in answers and filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(state, _, name)| (state == self).then_some(name)).unwrap_or_default()
    }

    /// The state of that name, as it is written.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(state, _, its)| (its == name).then_some(state))
    }

    /// Whether nothing is open or being ended.
    pub(super) fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }

    /// Whether an end is decided that partitions are being told; if so, which.
    pub(super) fn decided(self) -> Option<bool> {
        match self {
            Self::PrepareCommit => Some(true),
            Self::PrepareAbort => Some(false),
            _ => None,
        }
    }
}

/// What the log says of one transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) producer: ProducerId,
    /// The producer before the last change of state.
    pub(super) previous_producer: ProducerId,
    /// The producer that follows when the transaction is over, where epochs have run out.
    pub(super) next_producer: ProducerId,
    pub(super) epoch: ProducerEpoch,
    /// The epoch before, of a producer that raised it itself. The log does not have it.
    pub(super) last_epoch: ProducerEpoch,
    pub(super) timeout_ms: i32,
    pub(super) state: TransactionState,
    /// Partitions that take part and have not been told the end.
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// When the transaction was begun, or −1.
    pub(super) started: Timestamp,
    pub(super) updated: Timestamp,
    /// How the client does transactions, as far as it has shown.
    pub(super) version: TransactionVersion,
}

/// What EndTxn comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It has ended so already: the client had not heard.
    Known,
    /// It ends now.
    Decided(Transaction),
}

/// A request cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// For this reason.
    Code(ErrorCode),
    /// Not without a new producer id.
    NeedsProducerId,
}

impl Transaction {
    /// A transactional id that nobody has used, with no epoch yet.
    pub(super) fn new(producer: ProducerId, timeout_ms: i32, wall: Timestamp) -> Self {
        Self {
            producer,
            previous_producer: NO_PRODUCER,
            next_producer: NO_PRODUCER,
            epoch: NO_EPOCH,
            last_epoch: NO_EPOCH,
            timeout_ms,
            state: TransactionState::Empty,
            partitions: BTreeSet::new(),
            started: Timestamp::NONE,
            updated: wall,
            version: TransactionVersion::V0,
        }
    }

    /// Who the producer is now.
    pub(super) fn identity(&self) -> ProducerIdAndEpoch {
        ProducerIdAndEpoch { id: self.producer, epoch: self.epoch }
    }

    fn is_exhausted(&self) -> bool {
        self.epoch >= EPOCH_LAST
    }

    /// The next state, of which the rest is as it is.
    fn moved(&self, state: TransactionState, wall: Timestamp) -> Self {
        Self { previous_producer: self.producer, state, updated: wall.max(self.updated), ..self.clone() }
    }

    /// What InitProducerId makes of an id of which nothing is open. `expected` is what the producer believes to be.
    pub(super) fn initialized(
        &self,
        timeout_ms: i32,
        expected: Option<ProducerIdAndEpoch>,
        fresh: Option<ProducerId>,
        wall: Timestamp,
    ) -> Result<Self, Refused> {
        let expected_epoch = expected.map(|expected| expected.epoch);
        let mut next = Self {
            timeout_ms,
            partitions: BTreeSet::new(),
            started: Timestamp::NONE,
            ..self.moved(TransactionState::Empty, wall)
        };
        if self.is_exhausted() && expected_epoch.is_none_or(|epoch| epoch == self.epoch) {
            next.producer = fresh.ok_or(Refused::NeedsProducerId)?;
            next.epoch = ProducerEpoch(0);
            next.last_epoch = if expected.is_some() { self.epoch } else { NO_EPOCH };
            return Ok(next);
        }
        match expected_epoch {
            None => (next.epoch, next.last_epoch) = (raised(self.epoch), NO_EPOCH),
            Some(epoch) if self.epoch == NO_EPOCH || epoch == self.epoch => {
                (next.epoch, next.last_epoch) = (raised(self.epoch), self.epoch);
            }
            // It asks again, and its first question was answered: it has not heard.
            Some(epoch) if epoch == self.last_epoch => {}
            Some(_) => return Err(Refused::Code(ErrorCode::PRODUCER_FENCED)),
        }
        Ok(next)
    }

    /// Whether a producer that believes to be `expected` may ask for an epoch.
    pub(super) fn knows(&self, expected: ProducerIdAndEpoch) -> bool {
        self.epoch == NO_EPOCH
            || expected.id == self.producer
            || (expected.id == self.previous_producer && expected.epoch >= EPOCH_LAST)
    }

    /// Whether a producer is this one.
    pub(super) fn check(&self, producer: ProducerIdAndEpoch) -> Result<(), ErrorCode> {
        if self.producer != producer.id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if self.epoch != producer.epoch { Err(ErrorCode::PRODUCER_FENCED) } else { Ok(()) }
    }

    /// More partitions take part.
    pub(super) fn with_partitions(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        version: TransactionVersion,
        wall: Timestamp,
    ) -> Self {
        let mut next = self.moved(TransactionState::Ongoing, wall);
        if self.state.is_idle() {
            next.started = next.updated;
        }
        next.partitions.extend(partitions.iter().cloned());
        next.version = version;
        next
    }

    /// What a client's EndTxn makes of it.
    pub(super) fn ended(&self, asked: &EndTxn, fresh: Option<ProducerId>, wall: Timestamp) -> Result<Ending, Refused> {
        let known = if asked.version.raises_epoch() { self.judge_raising(asked)? } else { self.judge(asked)? };
        if known {
            return Ok(Ending::Known);
        }
        self.decided(asked.commit, asked.version, fresh, wall).map(Ending::Decided)
    }

    /// Versions 0 and 1: whether it has ended so already.
    fn judge(&self, asked: &EndTxn) -> Result<bool, Refused> {
        self.check(asked.producer).map_err(Refused::Code)?;
        match (self.state, asked.commit) {
            (TransactionState::Ongoing, _) => Ok(false),
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => Ok(true),
            (TransactionState::PrepareCommit, true) | (TransactionState::PrepareAbort, false) => {
                Err(Refused::Code(ErrorCode::CONCURRENT_TRANSACTIONS))
            }
            _ => Err(Refused::Code(ErrorCode::INVALID_TXN_STATE)),
        }
    }

    /// Version 2: whether it has ended so already. The epoch tells a repetition from the end of the next transaction.
    fn judge_raising(&self, asked: &EndTxn) -> Result<bool, Refused> {
        let ProducerIdAndEpoch { id, epoch } = asked.producer;
        let repeats_overflow = self.previous_producer == id && epoch == EPOCH_LAST && self.epoch == ProducerEpoch(0);
        let repeats = self.epoch == raised(epoch) && self.epoch != epoch;
        if self.producer != id && !repeats_overflow {
            return Err(Refused::Code(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
        }
        let is_current = epoch == self.epoch;
        let is_valid = match self.state {
            TransactionState::PrepareCommit | TransactionState::PrepareAbort => repeats,
            TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                repeats || repeats_overflow || is_current
            }
            _ => is_current,
        };
        if !is_valid {
            return Err(Refused::Code(ErrorCode::PRODUCER_FENCED));
        }
        let is_repetition = repeats || repeats_overflow;
        match (self.state, asked.commit) {
            (TransactionState::Ongoing, _) => Ok(false),
            (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) if is_repetition => {
                Ok(true)
            }
            // The client does not know whether its transaction has begun, and wants to be sure that it has not.
            (TransactionState::CompleteCommit | TransactionState::CompleteAbort | TransactionState::Empty, false)
                if !is_repetition =>
            {
                Ok(false)
            }
            (TransactionState::PrepareCommit, true) | (TransactionState::PrepareAbort, false) => {
                Err(Refused::Code(ErrorCode::CONCURRENT_TRANSACTIONS))
            }
            _ => Err(Refused::Code(ErrorCode::INVALID_TXN_STATE)),
        }
    }

    /// The end is decided.
    fn decided(
        &self,
        commit: bool,
        version: TransactionVersion,
        fresh: Option<ProducerId>,
        wall: Timestamp,
    ) -> Result<Self, Refused> {
        let state = if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort };
        let mut next = self.moved(state, wall);
        next.version = version;
        next.next_producer = NO_PRODUCER;
        if self.state.is_idle() {
            next.started = next.updated;
        }
        if version.raises_epoch() {
            if self.is_exhausted() {
                next.next_producer = fresh.ok_or(Refused::NeedsProducerId)?;
            }
            next.epoch = raised(self.epoch);
            next.last_epoch = self.epoch;
        }
        Ok(next)
    }

    /// The open transaction is aborted, and its producer can write nothing more: it took too long, or a successor has come.
    pub(super) fn fenced(
        &self,
        version: TransactionVersion,
        fresh: Option<ProducerId>,
        wall: Timestamp,
    ) -> Result<Self, Refused> {
        let mut next = self.decided(false, version, fresh, wall)?;
        if !version.raises_epoch() {
            next.epoch = raised(self.epoch);
            next.last_epoch = NO_EPOCH;
        }
        Ok(next)
    }

    /// All partitions have been told.
    pub(super) fn completed(&self, wall: Timestamp) -> Self {
        let state = match self.state {
            TransactionState::PrepareCommit => TransactionState::CompleteCommit,
            _ => TransactionState::CompleteAbort,
        };
        let mut next = Self { partitions: BTreeSet::new(), ..self.moved(state, wall) };
        if self.version.raises_epoch() && self.next_producer != NO_PRODUCER {
            next.producer = self.next_producer;
            next.epoch = ProducerEpoch(0);
        }
        next.next_producer = NO_PRODUCER;
        next
    }

    /// Estimate of the memory that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        256 + self.partitions.iter().map(|partition| 96 + partition.topic.len()).sum::<usize>()
    }
}

/// One more, as far as there are any.
fn raised(epoch: ProducerEpoch) -> ProducerEpoch {
    ProducerEpoch(epoch.0.saturating_add(1))
}
