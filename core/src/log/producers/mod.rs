//! What each idempotent producer wrote last to a partition, so that a batch sent twice is stored once (KIP-98).
//!
//! A batch is checked and then taken note of at once, before it is written: batches are appended in groups, and one
//! of a group must be judged with those before it in mind. If the write then fails the partition is fenced and this
//! state thrown away with it, so nothing is ever undone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::aborted::AbortedTransaction;
use crate::base::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::limits::{PARTITION_PRODUCERS_MAX, PRODUCER_BATCHES_MAX};
use crate::record::{BatchHeader, EndMarker};

mod snapshot;
#[cfg(test)]
mod tests;

/// What a batch of a coordinator has in place of a sequence: it is the only one to write what it writes.
const NO_SEQUENCE: Sequence = Sequence(-1);

pub use snapshot::SnapshotError;

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProducerVerdict {
    /// It is the next one, or its producer has no sequence here.
    Append,
    /// It is stored already. Answered like the original, once the original is durable.
    Duplicate {
        /// First offset of the original.
        base_offset: Offset,
        /// Last offset of the original.
        last_offset: Offset,
        /// Largest timestamp of the original as stored.
        timestamp: Timestamp,
    },
    /// It is refused.
    Reject(ProducerRejection),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerRejection {
    /// A batch before this one is missing, or this one is older than those remembered.
    OutOfOrderSequence {
        /// Sequence that would have been accepted.
        expected: Sequence,
        /// Sequence of the batch.
        found: Sequence,
    },
    /// A newer generation of the producer has written here.
    InvalidProducerEpoch {
        /// Generation that wrote last.
        current: ProducerEpoch,
        /// Generation of the batch.
        found: ProducerEpoch,
    },
    /// A batch outside a transaction while the producer has one open here.
    InvalidTransactionState,
    /// As many producers as a partition remembers have a transaction open here.
    TooManyProducers,
    /// The marker of a coordinator that is none any more: a newer one has written here.
    CoordinatorFenced {
        /// Epoch of the coordinator that wrote last.
        current: i32,
        /// Epoch of the marker's.
        found: i32,
    },
}

impl ProducerRejection {
    /// Kafka's error code.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::OutOfOrderSequence { .. } => 45,
            Self::InvalidProducerEpoch { .. } => 47,
            Self::InvalidTransactionState => 48,
            Self::CoordinatorFenced { .. } => 52,
            // THROTTLING_QUOTA_EXCEEDED: clients try again later. Kafka knows no such limit.
            Self::TooManyProducers => 89,
        }
    }
}

impl fmt::Display for ProducerRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrderSequence { expected, found } => write!(f, "sequence {found} where {expected} is next"),
            Self::InvalidProducerEpoch { current, found } => {
                write!(f, "producer epoch {found} after epoch {current}")
            }
            Self::InvalidTransactionState => f.write_str("the producer has a transaction open in this partition"),
            Self::TooManyProducers => f.write_str("too many producers have a transaction open in this partition"),
            Self::CoordinatorFenced { current, found } => {
                write!(f, "transaction coordinator of epoch {found} after one of epoch {current}")
            }
        }
    }
}

/// A stored batch of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StoredBatch {
    last_sequence: Sequence,
    last_offset: Offset,
    offset_delta: i32,
    timestamp: Timestamp,
}

impl StoredBatch {
    fn base_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    fn base_sequence(&self) -> Sequence {
        // Back across the wrap from the largest sequence to 0.
        Sequence(self.last_sequence.0.wrapping_sub(self.offset_delta) & i32::MAX)
    }
}

/// A transaction that has ended in this partition, by its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTransaction {
    /// Whose.
    pub producer: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// Its records count.
    pub committed: bool,
    /// Nothing below this is open any more.
    pub last_stable_offset: Offset,
}

impl EndedTransaction {
    /// How the segment's `.txnindex` has it, if it was aborted.
    #[must_use]
    pub fn aborted(&self) -> Option<AbortedTransaction> {
        let Self { producer, first_offset, last_offset, committed, last_stable_offset } = *self;
        (!committed).then_some(AbortedTransaction { producer, first_offset, last_offset, last_stable_offset })
    }
}

/// What a partition remembers of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Its generation.
    pub epoch: ProducerEpoch,
    /// Epoch of the coordinator that ended its last transaction here; −1 is none.
    pub coordinator_epoch: i32,
    /// Largest timestamp of its last batch, or that of its last marker. Decides when it is forgotten.
    pub last_timestamp: Timestamp,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
    /// Last offset that it or a marker of it took; −1 if a snapshot did not say.
    last_written: Offset,
    /// Its last batches of this epoch, oldest first.
    batches: Vec<StoredBatch>,
}

impl ProducerEntry {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            transaction_start: None,
            last_written: Offset(-1),
            batches: Vec::new(),
        }
    }

    /// Sequence of the last record of its last batch; −1 if it has none in this epoch.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.batches.last().map_or(Sequence(-1), |batch| batch.last_sequence)
    }

    /// Last offset of its last batch of this epoch, if that is remembered.
    #[must_use]
    pub fn last_data_offset(&self) -> Option<Offset> {
        self.batches.last().map(|batch| batch.last_offset)
    }

    /// Whether no batch of its epoch is remembered.
    fn is_blank(&self) -> bool {
        self.batches.is_empty()
    }

    fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    fn remember(&mut self, batch: StoredBatch) {
        if self.batches.len() >= PRODUCER_BATCHES_MAX {
            self.batches.remove(0);
        }
        self.batches.push(batch);
    }

    /// Puts a batch in its place among those that are remembered, of which the last five stay.
    fn recall(&mut self, batch: StoredBatch) {
        let place = self.batches.partition_point(|known| known.last_offset < batch.last_offset);
        if place == self.batches.len() || self.batches.iter().any(|known| known.last_offset == batch.last_offset) {
            return;
        }
        self.batches.insert(place, batch);
        if self.batches.len() > PRODUCER_BATCHES_MAX {
            self.batches.remove(0);
        }
    }

    fn find(&self, header: &BatchHeader) -> Option<&StoredBatch> {
        if self.epoch != header.producer_epoch() {
            return None;
        }
        let wanted = (header.base_sequence(), header.last_sequence());
        self.batches.iter().find(|batch| (batch.base_sequence(), batch.last_sequence) == wanted)
    }
}

/// The producers of one partition, at most [`PARTITION_PRODUCERS_MAX`]. Beyond that the one that wrote least
/// recently is forgotten, unless it has a transaction open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    entries: BTreeMap<ProducerId, ProducerEntry>,
    /// Producers without an open transaction by what they wrote last: who goes first when there are too many.
    idle: BTreeSet<(Offset, ProducerId)>,
    /// Open transactions by their first offset.
    open: BTreeSet<(Offset, ProducerId)>,
    /// Batches below this offset are in here already, out of a snapshot.
    known_to: Offset,
    /// Producers about which the transaction coordinator is or was asked; until their transaction has begun here, or a marker
    /// shows that it has ended meanwhile. Lost with the process, and asked for again.
    verifications: BTreeMap<ProducerId, Verification>,
}

/// Whether the transaction of a producer may begin here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verification {
    epoch: ProducerEpoch,
    /// The coordinator says so.
    is_verified: bool,
    /// By a client that relies on being added by its first batch (KIP-890): it numbers them from 0 in each epoch.
    adds: bool,
    /// The lowest sequence about which it was asked: nothing may come before that.
    lowest: Sequence,
}

impl ProducerStates {
    /// No producers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Producers remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is remembered of each producer.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// First offset of the oldest open transaction.
    #[must_use]
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.open.first().map(|(offset, _)| *offset)
    }

    /// Judges a batch that passed [`validate_produce`](crate::record::validate_produce). [`append`](Self::append)
    /// must follow at once if the verdict is to append.
    #[must_use]
    pub fn check(&self, batch: &BatchHeader) -> ProducerVerdict {
        if !batch.has_producer() {
            return ProducerVerdict::Append;
        }
        let Some(entry) = self.entries.get(&batch.producer_id()) else {
            if let Err(rejection) = self.check_beginning(batch, true) {
                return ProducerVerdict::Reject(rejection);
            }
            // Forgotten, or all its data are deleted: Kafka then takes any sequence (KIP-360).
            return if self.open.len() >= PARTITION_PRODUCERS_MAX {
                ProducerVerdict::Reject(ProducerRejection::TooManyProducers)
            } else {
                ProducerVerdict::Append
            };
        };
        if let Some(original) = entry.find(batch) {
            return ProducerVerdict::Duplicate {
                base_offset: original.base_offset(),
                last_offset: original.last_offset,
                timestamp: original.timestamp,
            };
        }
        match self.check_beginning(batch, entry.is_blank()).and_then(|()| check_order(entry, batch)) {
            Ok(()) if entry.transaction_start.is_some() && !batch.attributes().is_transactional() => {
                ProducerVerdict::Reject(ProducerRejection::InvalidTransactionState)
            }
            Ok(()) => ProducerVerdict::Append,
            Err(rejection) => ProducerVerdict::Reject(rejection),
        }
    }

    /// Whether a transaction begins here with this batch: then it must be [`verified`](Self::verify) before.
    #[must_use]
    pub fn begins_transaction(&self, batch: &BatchHeader) -> bool {
        batch.attributes().is_transactional()
            && self.entries.get(&batch.producer_id()).is_none_or(|entry| {
                let is_open = entry.transaction_start.is_some() && entry.epoch == batch.producer_epoch();
                !is_open && entry.find(batch).is_none()
            })
    }

    /// Whether a transaction of this generation of a producer is not open here, and has not been verified.
    #[must_use]
    pub fn may_begin_transaction(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        let is_open = |entry: &ProducerEntry| entry.transaction_start.is_some() && entry.epoch == epoch;
        !self.entries.get(&producer).is_some_and(is_open) && !self.has_said_so(producer, epoch)
    }

    /// The coordinator is being asked whether a transaction may begin here with this batch.
    pub fn await_verification(&mut self, batch: &BatchHeader, adds: bool) {
        if batch.base_sequence() < Sequence(0) {
            return;
        }
        if let Some(asked) = self.verification(batch.producer_id(), batch.producer_epoch()) {
            asked.adds |= adds;
            asked.lowest = asked.lowest.min(batch.base_sequence());
        }
    }

    /// The coordinator says that the transaction of a producer may begin here.
    pub fn verify(&mut self, producer: ProducerId, epoch: ProducerEpoch) {
        if let Some(asked) = self.verification(producer, epoch) {
            asked.is_verified = true;
        }
    }

    /// What is known of this generation of a producer; `None` if there is a later one, or there are too many.
    fn verification(&mut self, producer: ProducerId, epoch: ProducerEpoch) -> Option<&mut Verification> {
        let fresh = Verification { epoch, is_verified: false, adds: false, lowest: Sequence(i32::MAX) };
        let known = self.verifications.get(&producer).map(|known| known.epoch);
        if known.is_some_and(|known| known > epoch) {
            return None;
        }
        if known != Some(epoch) {
            if self.verifications.len() >= PARTITION_PRODUCERS_MAX {
                // Who was refused and never came again.
                self.verifications.retain(|_, known| known.is_verified);
            }
            if self.verifications.len() >= PARTITION_PRODUCERS_MAX {
                return None;
            }
            self.verifications.insert(producer, fresh);
        }
        self.verifications.get_mut(&producer)
    }

    /// Whether it has said so.
    #[must_use]
    pub fn is_verified(&self, batch: &BatchHeader) -> bool {
        self.has_said_so(batch.producer_id(), batch.producer_epoch())
    }

    fn has_said_so(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        self.verifications.get(&producer).is_some_and(|known| known.is_verified && known.epoch == epoch)
    }

    /// That a transaction begins here with the first of its batches, and not with one that has overtaken it: those before it
    /// were refused and come again. `is_new` says that no batch of the producer is remembered.
    fn check_beginning(&self, batch: &BatchHeader, is_new: bool) -> Result<(), ProducerRejection> {
        let found = batch.base_sequence();
        let asked = self.verifications.get(&batch.producer_id()).filter(|asked| asked.epoch == batch.producer_epoch());
        match asked {
            _ if !batch.attributes().is_transactional() || found == NO_SEQUENCE => Ok(()),
            Some(asked) if asked.adds && is_new && found != Sequence(0) => {
                Err(ProducerRejection::OutOfOrderSequence { expected: Sequence(0), found })
            }
            Some(asked) if found > asked.lowest => {
                Err(ProducerRejection::OutOfOrderSequence { expected: asked.lowest, found })
            }
            _ => Ok(()),
        }
    }

    /// Judges a marker. With `raises_epoch` it is of a transaction whose end has raised the epoch (KIP-890): its own is
    /// larger than that of the records, unless it comes a second time.
    ///
    /// # Errors
    /// The producer or the coordinator is not the one that it was.
    pub fn check_marker(
        &self,
        batch: &BatchHeader,
        marker: EndMarker,
        raises_epoch: bool,
    ) -> Result<(), ProducerRejection> {
        let Some(entry) = self.entries.get(&batch.producer_id()) else { return Ok(()) };
        let (current, found) = (entry.epoch, batch.producer_epoch());
        if found < current || (raises_epoch && found == current && entry.transaction_start.is_some()) {
            return Err(ProducerRejection::InvalidProducerEpoch { current, found });
        }
        let (current, found) = (entry.coordinator_epoch, marker.coordinator_epoch);
        if found < current { Err(ProducerRejection::CoordinatorFenced { current, found }) } else { Ok(()) }
    }

    /// Takes note of a batch that is going to be stored at `base_offset` with `timestamp` as its largest.
    pub fn append(&mut self, batch: &BatchHeader, base_offset: Offset, timestamp: Timestamp) {
        if !batch.has_producer() {
            return;
        }
        let offset_delta = batch.last_offset_delta();
        let last_offset = base_offset.plus(i64::from(offset_delta));
        if batch.attributes().is_transactional() {
            self.verifications.remove(&batch.producer_id());
        }
        self.update(batch.producer_id(), batch.producer_epoch(), |entry| {
            entry.set_epoch(batch.producer_epoch());
            if batch.base_sequence() != NO_SEQUENCE {
                let last_sequence = batch.last_sequence();
                entry.remember(StoredBatch { last_sequence, last_offset, offset_delta, timestamp });
            }
            entry.last_timestamp = timestamp;
            entry.last_written = last_offset;
            if batch.attributes().is_transactional() {
                entry.transaction_start.get_or_insert(base_offset);
            }
        });
    }

    /// Takes note of a marker that is going to be stored at `offset` with `timestamp`; gives the transaction that it ends,
    /// if there are records of one.
    pub fn end_transaction(
        &mut self,
        batch: &BatchHeader,
        marker: EndMarker,
        offset: Offset,
        timestamp: Timestamp,
    ) -> Option<EndedTransaction> {
        let producer = batch.producer_id();
        let first_offset = self.entries.get(&producer).and_then(|entry| entry.transaction_start);
        self.verifications.remove(&producer);
        self.update(producer, batch.producer_epoch(), |entry| {
            entry.set_epoch(batch.producer_epoch());
            entry.coordinator_epoch = marker.coordinator_epoch;
            entry.last_timestamp = timestamp;
            entry.last_written = offset;
            entry.transaction_start = None;
        });
        let last_stable_offset = self.first_open_transaction().unwrap_or(offset.plus(1));
        let committed = marker.committed;
        first_offset.map(|first_offset| EndedTransaction {
            producer,
            first_offset,
            last_offset: offset,
            committed,
            last_stable_offset,
        })
    }

    /// Takes note of a batch of the log, as it is stored, without judging it. `marker` is what a control batch says.
    /// Batches that the snapshot knew are passed over, so a walk may begin before it.
    ///
    /// Gives the transaction that a marker ends.
    pub fn replay(&mut self, stored: &BatchHeader, marker: Option<EndMarker>) -> Option<EndedTransaction> {
        if !stored.has_producer() || stored.base_offset() < self.known_to {
            return None;
        }
        match marker {
            Some(marker) => self.end_transaction(stored, marker, stored.last_offset(), stored.max_timestamp()),
            None if stored.attributes().is_control() => None,
            None => {
                self.append(stored, stored.base_offset(), stored.max_timestamp());
                None
            }
        }
    }

    /// Up to where a snapshot spoke for the log; 0 without one.
    #[must_use]
    pub fn known_to(&self) -> Offset {
        self.known_to
    }

    /// Whether batches at or behind `from` may be missing here, because the snapshot had only the last one of their
    /// producer.
    #[must_use]
    pub fn lacks_batches_from(&self, from: Offset) -> bool {
        self.entries.values().any(|entry| {
            let first = entry.batches.first();
            entry.batches.len() < PRODUCER_BATCHES_MAX && first.is_some_and(|first| first.base_offset() > from)
        })
    }

    /// Takes note of a batch of the log that the snapshot stood for and did not list. It changes nothing but which
    /// repetitions are recognised; a batch of another epoch than the producer's, or of a producer that is not
    /// remembered, is passed over. Batches may come in any order.
    pub fn recall(&mut self, stored: &BatchHeader) {
        if !stored.has_producer() || stored.attributes().is_control() || stored.base_offset() >= self.known_to {
            return;
        }
        let Some(entry) = self.entries.get_mut(&stored.producer_id()) else { return };
        if entry.epoch == stored.producer_epoch() {
            entry.recall(StoredBatch {
                last_sequence: stored.last_sequence(),
                last_offset: stored.last_offset(),
                offset_delta: stored.last_offset_delta(),
                timestamp: stored.max_timestamp(),
            });
        }
    }

    /// Forgets producers whose last write is `expiration_ms` old (`producer.id.expiration.ms`), unless they have a
    /// transaction open. Returns how many.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) -> usize {
        let is_expired = |entry: &ProducerEntry| {
            entry.transaction_start.is_none() && now.0.saturating_sub(entry.last_timestamp.0) >= expiration_ms
        };
        let expired: Vec<_> = self.iter().filter(|(_, entry)| is_expired(entry)).map(|(id, _)| id).collect();
        for id in &expired {
            self.remove(*id);
        }
        expired.len()
    }

    fn update(&mut self, id: ProducerId, epoch: ProducerEpoch, change: impl FnOnce(&mut ProducerEntry)) {
        let mut entry = match self.remove(id) {
            Some(entry) => entry,
            None => {
                self.make_room();
                ProducerEntry::new(epoch)
            }
        };
        change(&mut entry);
        self.insert(id, entry);
    }

    fn make_room(&mut self) {
        while self.entries.len() >= PARTITION_PRODUCERS_MAX {
            let Some((_, oldest)) = self.idle.first().copied() else { return };
            self.remove(oldest);
        }
    }

    fn insert(&mut self, id: ProducerId, entry: ProducerEntry) {
        match entry.transaction_start {
            Some(start) => self.open.insert((start, id)),
            None => self.idle.insert((entry.last_written, id)),
        };
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: ProducerId) -> Option<ProducerEntry> {
        let entry = self.entries.remove(&id)?;
        match entry.transaction_start {
            Some(start) => self.open.remove(&(start, id)),
            None => self.idle.remove(&(entry.last_written, id)),
        };
        Some(entry)
    }
}

/// Whether a batch that is no duplicate follows what its producer wrote.
fn check_order(entry: &ProducerEntry, batch: &BatchHeader) -> Result<(), ProducerRejection> {
    let (current, found) = (entry.epoch, batch.producer_epoch());
    if found < current {
        return Err(ProducerRejection::InvalidProducerEpoch { current, found });
    }
    if batch.base_sequence() == NO_SEQUENCE {
        return Ok(());
    }
    let expected = match entry.last_sequence() {
        _ if found > current => Sequence(0),
        Sequence(-1) => Sequence(0),
        last => last.plus(1),
    };
    if batch.base_sequence() == expected || current == ProducerEpoch(-1) {
        Ok(())
    } else {
        Err(ProducerRejection::OutOfOrderSequence { expected, found: batch.base_sequence() })
    }
}
