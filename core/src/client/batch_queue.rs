//! The records of one partition on their way out: collected into batches, closed when full or old enough, sent in
//! order, and kept until the broker has answered.

use std::collections::VecDeque;

use super::delivery::{RecordId, RecordToSend};
use crate::base::{Monotonic, ProducerEpoch, ProducerId, Sequence};
use crate::record::header::HEADER_BYTES;
use crate::record::{Batch, BatchBuilder, BatchOptions, CodecError, Compression, Header};

/// Most bytes that a record takes beside its key, value and headers: lengths, attributes, deltas and counts.
const RECORD_OVERHEAD_BYTES_MAX: usize = 36;
/// Most bytes that a header takes beside its key and value.
const HEADER_OVERHEAD_BYTES_MAX: usize = 10;

/// Memory that a batch has from the beginning, if batches may be as long; beyond it a batch grows as it is filled.
const RESERVED_BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Identity under which batches are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerIdentity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// A batch that waits to be sent, or for its answer.
#[derive(Debug)]
pub(super) struct OutgoingBatch {
    content: Content,
    /// Records in it, in order.
    pub(super) records: Vec<RecordId>,
    /// Bytes that it holds of the producer's memory.
    pub(super) reserved_bytes: usize,
    created: Monotonic,
    /// Not sent again before this, after a failure.
    not_before: Monotonic,
    /// It was sent, and nobody said that it was not stored.
    may_be_stored: bool,
}

#[derive(Debug)]
enum Content {
    /// Takes records, and has no sequence yet.
    Open(BatchBuilder),
    /// As it was first sent: a repeated batch is the same to the byte, so that the broker recognises it.
    Sealed(Batch),
    /// Being sealed, or unfit for it.
    Spent,
}

impl OutgoingBatch {
    fn new(compression: Compression, batch_bytes_max: usize, now: Monotonic) -> Self {
        let options = BatchOptions { compression, ..BatchOptions::default() };
        Self {
            content: Content::Open(BatchBuilder::with_capacity(options, batch_bytes_max.min(RESERVED_BATCH_BYTES_MAX))),
            records: Vec::new(),
            reserved_bytes: 0,
            created: now,
            not_before: now,
            may_be_stored: false,
        }
    }

    fn has_room(&self, batch_bytes_max: usize, record: &RecordToSend<'_>) -> bool {
        matches!(self.content, Content::Open(_)) && self.size_bytes() + size_bytes_max(record) <= batch_bytes_max
    }

    fn size_bytes(&self) -> usize {
        match &self.content {
            Content::Open(builder) => builder.size_bytes(),
            Content::Sealed(batch) => batch.bytes().len(),
            Content::Spent => 0,
        }
    }
}

/// Most bytes that `record` adds to a batch.
pub(super) fn size_bytes_max(record: &RecordToSend<'_>) -> usize {
    let header_bytes =
        |header: &Header<'_>| HEADER_OVERHEAD_BYTES_MAX + header.key.len() + header.value.map_or(0, <[u8]>::len);
    RECORD_OVERHEAD_BYTES_MAX
        + record.key.map_or(0, <[u8]>::len)
        + record.value.map_or(0, <[u8]>::len)
        + record.headers.iter().map(header_bytes).sum::<usize>()
}

/// The batches of one partition.
#[derive(Debug, Default)]
pub(super) struct BatchQueue {
    /// In the order of their records; the last one may still take records.
    waiting: VecDeque<OutgoingBatch>,
    /// Sent and not answered, in the order sent.
    in_flight: VecDeque<OutgoingBatch>,
    /// Answered with an error that goes away; they go first again once nothing is in flight, so that order is kept.
    failed: Vec<OutgoingBatch>,
    /// Sequence of the next record that is numbered.
    next_sequence: Sequence,
}

impl BatchQueue {
    /// Whether a record can join others that wait, or begin the first batch; not if that means to close a batch.
    pub(super) fn has_room(&self, batch_bytes_max: usize, record: &RecordToSend<'_>) -> bool {
        self.waiting.back().is_none_or(|batch| batch.has_room(batch_bytes_max, record))
    }

    /// Adds a record, to the last batch if it still fits.
    pub(super) fn append(
        &mut self,
        now: Monotonic,
        compression: Compression,
        batch_bytes_max: usize,
        id: RecordId,
        record: &RecordToSend<'_>,
    ) {
        if !self.waiting.back().is_some_and(|batch| batch.has_room(batch_bytes_max, record)) {
            self.waiting.push_back(OutgoingBatch::new(compression, batch_bytes_max, now));
        }
        if let Some(batch) = self.waiting.back_mut() {
            if let Content::Open(builder) = &mut batch.content {
                builder.append(record.timestamp, record.key, record.value, record.headers);
            }
            batch.records.push(id);
            batch.reserved_bytes += size_bytes_max(record);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty() && self.failed.is_empty()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the first batch may go: at once if it is full or sent before, else when it has lingered. None while there
    /// is none, or while failed ones have to go first.
    pub(super) fn ready_at(&self, linger_ms: u64) -> Option<Monotonic> {
        let first = self.waiting.front().filter(|_| self.failed.is_empty())?;
        let is_complete = self.waiting.len() > 1 || matches!(first.content, Content::Sealed(_));
        Some(if is_complete { first.not_before } else { first.not_before.max(first.created.plus_ms(linger_ms)) })
    }

    /// Bytes that the first batch takes in a request, before compression.
    pub(super) fn first_size_bytes(&self) -> usize {
        self.waiting.front().map_or(HEADER_BYTES, OutgoingBatch::size_bytes)
    }

    /// When the first record of the oldest waiting batch came; none while the fate of an older one is open.
    pub(super) fn oldest_waiting(&self) -> Option<Monotonic> {
        if !self.in_flight.is_empty() || !self.failed.is_empty() {
            return None;
        }
        self.waiting.front().map(|batch| batch.created)
    }

    /// Takes the first batch to send it, numbered from the partition's next sequence if there is an identity.
    pub(super) fn take(
        &mut self,
        identity: Option<ProducerIdentity>,
        is_transactional: bool,
    ) -> Option<Result<Batch, (OutgoingBatch, CodecError)>> {
        let mut batch = self.waiting.pop_front()?;
        let sealed = match std::mem::replace(&mut batch.content, Content::Spent) {
            Content::Sealed(sealed) => sealed,
            Content::Spent => return None,
            Content::Open(mut builder) => {
                let count = builder.record_count();
                if let Some(identity) = identity {
                    builder.set_producer(identity.id, identity.epoch, self.next_sequence);
                    builder.set_transactional(is_transactional);
                }
                match builder.build() {
                    Ok(sealed) => {
                        self.next_sequence = self.next_sequence.plus(count);
                        sealed
                    }
                    Err(error) => return Some(Err((batch, error))),
                }
            }
        };
        batch.content = Content::Sealed(sealed.clone());
        self.in_flight.push_back(batch);
        Some(Ok(sealed))
    }

    /// The oldest batch in flight was answered.
    pub(super) fn answered(&mut self) -> Option<OutgoingBatch> {
        self.in_flight.pop_front()
    }

    /// Nobody knows whether a batch that was sent is stored. It must be sent again as it was: under another number the
    /// broker would store it a second time. Only the oldest matters, because sequences have no gaps: what is behind one
    /// that is not stored is not stored either.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.failed.first().or(self.waiting.front()).is_some_and(|batch| batch.may_be_stored)
    }

    /// An earlier batch failed and waits for those in flight, which may fail because of it.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// An answered batch is to be sent again, not before `at`.
    pub(super) fn repeat(&mut self, mut batch: OutgoingBatch, at: Monotonic, may_be_stored: bool) {
        batch.not_before = at;
        batch.may_be_stored = may_be_stored;
        self.failed.push(batch);
    }

    /// Puts failed batches back in front once nothing is in flight.
    pub(super) fn settle(&mut self) {
        if self.in_flight.is_empty() {
            while let Some(batch) = self.failed.pop() {
                self.waiting.push_front(batch);
            }
        }
    }

    /// Numbers what is not sent from sequence 0 on, under a new identity.
    pub(super) fn renumber(&mut self, identity: ProducerIdentity) {
        self.next_sequence = Sequence(0);
        for batch in &mut self.waiting {
            if let Content::Sealed(sealed) = &batch.content {
                let count = sealed.header().record_count();
                batch.content = Content::Sealed(sealed.renumbered(identity.id, identity.epoch, self.next_sequence));
                self.next_sequence = self.next_sequence.plus(count);
            }
        }
    }

    /// Takes out what waits and came by `since`. Nothing while the fate of an older batch is open.
    pub(super) fn take_expired(&mut self, since: Monotonic) -> Vec<OutgoingBatch> {
        if self.oldest_waiting().is_none() {
            return Vec::new();
        }
        let count = self.waiting.iter().take_while(|batch| batch.created <= since).count();
        self.waiting.drain(..count).collect()
    }
}
