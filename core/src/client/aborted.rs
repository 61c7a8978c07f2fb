//! Which of the batches that were fetched belong to transactions that were aborted.

use std::collections::BTreeSet;

use crate::base::{Offset, ProducerId};
use crate::protocol::messages::fetch_response::PartitionData;
use crate::record::{Batch, ControlType};

/// The aborted transactions among what was fetched (KIP-98): the broker lists where each begins, and a marker in the
/// log says where it ends.
pub(super) struct Aborted {
    /// Not begun yet, the next one last.
    upcoming: Vec<(Offset, ProducerId)>,
    open: BTreeSet<ProducerId>,
}

impl Aborted {
    pub(super) fn new(part: &PartitionData) -> Self {
        let listed = part.aborted_transactions.as_deref().unwrap_or_default();
        let mut upcoming: Vec<_> =
            listed.iter().map(|entry| (Offset(entry.first_offset), ProducerId(entry.producer_id))).collect();
        upcoming.sort_unstable_by(|a, b| b.cmp(a));
        Self { upcoming, open: BTreeSet::new() }
    }

    /// Whether a consumer of committed records sees the batch; to be asked for each batch in order.
    pub(super) fn admits(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        while let Some((_, producer)) = self.upcoming.pop_if(|(first, _)| *first <= header.last_offset()) {
            self.open.insert(producer);
        }
        if header.attributes().is_control() {
            let payload = batch.payload();
            let key = batch.records(&payload).next().and_then(Result::ok).and_then(|record| record.key);
            if key.and_then(ControlType::of_key) == Some(ControlType::Abort) {
                self.open.remove(&header.producer_id());
            }
            return false;
        }
        !(header.attributes().is_transactional() && self.open.contains(&header.producer_id()))
    }
}
