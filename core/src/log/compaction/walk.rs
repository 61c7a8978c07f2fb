//! The two walks of a pass over pieces of the log: one notes keys, the other copies what stays.

use bytes::Bytes;

use super::filter::{CleaningError, Filter, Kept, LastBatches};
use super::key_map::KeyMap;
use super::transactions::Transactions;
use crate::base::{Offset, Timestamp};
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::log::aborted::AbortedTransaction;
use crate::record::{Batch, BatchError};

/// How far a walk has come in a piece of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the piece that were looked at: whole batches. The next piece begins behind them.
    pub consumed_bytes: usize,
    /// Bytes of the batch that begins there and is not whole in the piece; 0 if nothing of it is there.
    pub needed_bytes: usize,
}

/// Calls `with` for each whole batch of a piece until it says that it has had enough.
fn walk(piece: &Bytes, mut with: impl FnMut(&Batch) -> Result<bool, CleaningError>) -> Result<Step, CleaningError> {
    let mut rest = piece.clone();
    let mut needed_bytes = 0;
    while !rest.is_empty() {
        let before = rest.clone();
        match Batch::split_from(&mut rest) {
            Ok(batch) => {
                if !with(&batch)? {
                    rest = before;
                    break;
                }
            }
            Err(BatchError::Incomplete { needed, .. }) => {
                needed_bytes = needed;
                break;
            }
            Err(error) => return Err(CleaningError::Batch(error)),
        }
    }
    Ok(Step { consumed_bytes: piece.len().saturating_sub(rest.len()), needed_bytes })
}

/// Notes where keys were last written.
#[derive(Debug)]
pub struct KeyWalk {
    map: KeyMap,
    from: Offset,
    transactions: Transactions,
    is_full: bool,
}

impl KeyWalk {
    /// A walk whose first segment may begin below `from`, the first offset that counts.
    #[must_use]
    pub fn new(map: KeyMap, from: Offset) -> Self {
        let mut map = map;
        map.set_end(from);
        Self { map, from, transactions: Transactions::default(), is_full: false }
    }

    /// Takes over the aborted transactions with records in the segment that comes next.
    pub fn expect_aborted(&mut self, aborted: Vec<AbortedTransaction>) {
        self.transactions.expect(aborted);
    }

    /// Whether the map has no more room: the walk ends here.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The map of a walk that was to go up to `end`. What lies there may be gone already, as aborted records are that an earlier
    /// pass met behind the end of its map.
    #[must_use]
    pub fn into_map(self, end: Offset) -> KeyMap {
        let mut map = self.map;
        if !self.is_full {
            map.set_end(end);
        }
        map
    }

    /// Goes through the next piece of the log.
    ///
    /// # Errors
    /// The log is damaged.
    pub fn feed(&mut self, piece: &Bytes) -> Result<Step, CleaningError> {
        walk(piece, |batch| self.note(batch))
    }

    fn note(&mut self, batch: &Batch) -> Result<bool, CleaningError> {
        let header = batch.header();
        let is_spent = self.transactions.is_spent(batch);
        if header.last_offset() < self.from {
            return Ok(true);
        }
        if !header.attributes().is_control() && !is_spent {
            let base = header.base_offset();
            let opened =
                batch.open(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| CleaningError::Payload(base, error))?;
            for record in batch.records(&opened) {
                let record = record.map_err(|error| CleaningError::Records(base, error))?;
                let offset = base.plus(record.offset_delta.into());
                let Some(key) = record.key.filter(|_| offset >= self.from) else { continue };
                if !self.map.insert(key, offset) {
                    // Of this batch what is noted counts, and what is not stays.
                    self.map.set_end(offset);
                    self.is_full = true;
                    return Ok(false);
                }
            }
        }
        self.map.set_end(header.last_offset().plus(1));
        Ok(true)
    }
}

/// Copies what stays.
#[derive(Debug)]
pub struct Copying {
    filter: Filter,
    has_changed: bool,
}

/// A batch of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedBatch {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its last offset.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub max_timestamp: Timestamp,
}

impl Copying {
    /// A walk from the log's start. Everything from the end of `map` on stays.
    #[must_use]
    pub fn new(map: KeyMap, last_batches: LastBatches, now: Timestamp, delete_retention_ms: i64) -> Self {
        let transactions = Transactions::default();
        Self { filter: Filter { map, transactions, last_batches, now, delete_retention_ms }, has_changed: false }
    }

    /// Whether anything was not copied as it stood, since the last call.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// The first offset of which the map says nothing: up to there the log is clean afterwards.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.filter.map.end()
    }

    /// Takes over the aborted transactions with records in the segment that comes next.
    pub fn expect_aborted(&mut self, aborted: Vec<AbortedTransaction>) {
        self.filter.transactions.expect(aborted);
    }

    /// The aborted transactions whose markers stayed since the last call, which a `.txnindex` has to have.
    pub fn take_aborted(&mut self) -> Vec<AbortedTransaction> {
        self.filter.transactions.take_kept()
    }

    /// Goes through the next piece of the log.
    ///
    /// # Errors
    /// The log is damaged.
    pub fn feed(&mut self, piece: &Bytes) -> Result<(Step, Vec<CopiedBatch>), CleaningError> {
        let mut copied = Vec::new();
        let step = walk(piece, |batch| {
            let copy = |batch: &Batch| CopiedBatch {
                bytes: batch.bytes().clone(),
                last_offset: batch.header().last_offset(),
                max_timestamp: batch.header().max_timestamp(),
            };
            let kept = self.filter.keep(batch)?;
            self.has_changed |= !matches!(kept, Kept::Whole);
            match kept {
                Kept::Whole => copied.push(copy(batch)),
                Kept::Less(less) => copied.push(copy(&less)),
                Kept::Nothing => {}
            }
            Ok(true)
        })?;
        Ok((step, copied))
    }
}
