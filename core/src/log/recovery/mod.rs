//! What a start may trust of a log, and finding where the rest stops being good.
//!
//! | the last run | segment | what is done |
//! | --- | --- | --- |
//! | stopped cleanly | closed | nothing |
//! | | active | headers walked from the last index entry |
//! | was killed, same boot | closed but for the last such | nothing: what was written is in the page cache |
//! | | the last closed and the active one | checksums from the last index entry: the last write may be torn |
//! | ended with its machine | wholly below the recovery point | nothing: it was synced, with its indexes |
//! | | the others | indexes made anew; checksums from the recovery point |
//!
//! In each case the walk begins no later than the newest producer snapshot that can be trusted, by headers alone until
//! checksums are due, and a segment without its indexes is walked from its start. A snapshot has only the last batch of
//! each producer, and five may come again: the others are looked for in the log before it ([`recall_parts`]). The first batch that is not good
//! ends the log: it and all behind it, later segments too, were never acknowledged as durable and are cut off. Size
//! decides nothing: reserved blocks read as zeros, and zeros are not a batch.
//!
//! Two rules of writing make this right. The index files of a segment are synced before the recovery point passes its
//! end: a time index that lost its tail without notice would hide its largest timestamp. And new time entries are
//! written before the offset entries that were made with them: between the two writes a kill may fall, and a time entry
//! too many is seen, one too few is not.

use crate::base::Offset;

mod exchange;
mod recall;
mod scan;
#[cfg(test)]
mod tests;

pub use exchange::Exchange;
pub use recall::{RecallPart, recall_parts};
pub use scan::{CutReason, ScanEnd, ScanStep, SegmentScan};

/// How the run before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreviousRun {
    /// `.kafka_cleanshutdown` is there.
    Stopped,
    /// Without it, but the machine has not been started since: everything written is in the page cache.
    SameBoot,
    /// Without it, and the machine has been started since: only what was synced is sure.
    OtherBoot,
}

/// What a listing of a partition's folder tells of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its first offset.
    pub base_offset: Offset,
    /// Whether `.index` and `.timeindex` are there.
    pub has_indexes: bool,
}

/// What is done with a segment at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentPlan {
    /// Its files are taken as they are.
    Trust,
    /// The same, and the headers of its batches from an offset on are walked for their producers.
    Replay {
        /// The offset.
        from: Offset,
    },
    /// It is walked.
    Scan {
        /// Batches from this offset on are looked at; index entries from there on are made anew.
        from: Offset,
        /// Batches from this offset on must have the right checksum.
        checksums_from: Offset,
    },
}

/// What is done with a log at a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// For each segment, in order.
    pub segments: Vec<SegmentPlan>,
    /// The producer snapshot to begin with; without one the walk begins at the start of the log. If it turns out to
    /// be unreadable, plan again without it.
    pub producer_snapshot: Option<Offset>,
}

impl LogPlan {
    /// Plans the recovery of a log with these segments and producer snapshots, both ascending.
    #[must_use]
    pub fn new(
        previous: PreviousRun,
        recovery_point: Offset,
        segments: &[SegmentFacts],
        producer_snapshots: &[Offset],
    ) -> Self {
        // Snapshots are synced before the recovery point passes them; a later one may be whole while the log below it
        // is not.
        let sure_up_to = match previous {
            PreviousRun::Stopped | PreviousRun::SameBoot => Offset(i64::MAX),
            PreviousRun::OtherBoot => recovery_point,
        };
        let producer_snapshot = producer_snapshots.iter().rev().find(|offset| **offset <= sure_up_to).copied();
        let replay_from = producer_snapshot.unwrap_or(Offset(i64::MIN));
        let plans = segments.iter().enumerate().map(|(at, segment)| {
            let next_base = segments.get(at.saturating_add(1)).map(|next| next.base_offset);
            let is_among_last_two = at.saturating_add(2) >= segments.len();
            let checksums_from = match previous {
                PreviousRun::Stopped => None,
                PreviousRun::SameBoot => is_among_last_two.then_some(Offset(i64::MIN)),
                // A recovery point at its very end may be from before the roll, which its indexes were not synced for.
                PreviousRun::OtherBoot => next_base.is_none_or(|next| next >= recovery_point).then_some(recovery_point),
            };
            let is_replayed = next_base.is_none_or(|next| next > replay_from);
            if segment.has_indexes && checksums_from.is_none() && next_base.is_some() {
                return if is_replayed { SegmentPlan::Replay { from: replay_from } } else { SegmentPlan::Trust };
            }
            let from = match previous {
                _ if !segment.has_indexes => Offset(i64::MIN),
                PreviousRun::OtherBoot if checksums_from.is_some() => Offset(i64::MIN),
                _ => replay_from,
            };
            SegmentPlan::Scan { from, checksums_from: checksums_from.unwrap_or(Offset(i64::MAX)) }
        });
        Self { segments: plans.collect(), producer_snapshot }
    }
}
