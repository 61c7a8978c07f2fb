//! Which batches of transactions can go: those of aborted ones, and markers that nothing is left of.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Offset, ProducerId};
use crate::log::aborted::AbortedTransaction;
use crate::record::{Batch, ControlType};

/// The transactions of a log, as a walk from its start meets them.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Aborted ones that the walk has not reached yet, by first offset and producer.
    ahead: BTreeMap<(Offset, ProducerId), AbortedTransaction>,
    /// Aborted ones that it is in, and whether it has met a batch of theirs.
    aborted: BTreeMap<ProducerId, (AbortedTransaction, bool)>,
    /// Producers of which it has met batches that are not known to be aborted.
    written: BTreeSet<ProducerId>,
    /// Aborted ones whose markers stay.
    kept: Vec<AbortedTransaction>,
}

impl Transactions {
    /// Takes over what the `.txnindex` files say of the segment that comes next. One may be told twice.
    pub(super) fn expect(&mut self, aborted: impl IntoIterator<Item = AbortedTransaction>) {
        self.ahead.extend(aborted.into_iter().map(|each| ((each.first_offset, each.producer), each)));
    }

    /// Whether the batch, the next of the walk, is of no use any more.
    pub(super) fn is_spent(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        self.reach(header.last_offset());
        if header.attributes().is_control() {
            return self.is_spent_marker(batch);
        }
        if !header.attributes().is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id()) {
            Some((_, was_met)) => {
                *was_met = true;
                true
            }
            None => {
                self.written.insert(header.producer_id());
                false
            }
        }
    }

    /// The aborted transactions whose markers the walk has left where they are, since the last call: what the new
    /// `.txnindex` has.
    pub(super) fn take_kept(&mut self) -> Vec<AbortedTransaction> {
        std::mem::take(&mut self.kept)
    }

    fn reach(&mut self, offset: Offset) {
        while let Some(next) = self.ahead.first_entry().filter(|next| next.key().0 <= offset) {
            let aborted = next.remove();
            self.aborted.entry(aborted.producer).or_insert((aborted, false));
        }
    }

    fn is_spent_marker(&mut self, batch: &Batch) -> bool {
        let producer = batch.header().producer_id();
        let payload = batch.payload();
        let Some(Ok(record)) = batch.records(&payload).next() else {
            // An empty one was cleaned before.
            return true;
        };
        match record.key.and_then(ControlType::of_key) {
            Some(ControlType::Abort) => match self.aborted.remove(&producer) {
                Some((aborted, true)) => {
                    self.kept.push(aborted);
                    false
                }
                _ => true,
            },
            Some(ControlType::Commit) => !self.written.remove(&producer),
            _ => false,
        }
    }
}
