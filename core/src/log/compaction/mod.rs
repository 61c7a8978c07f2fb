//! Compaction: of each key only the last record is kept (`cleanup.policy=compact`).
//!
//! A pass reads the part of the log that was not cleaned yet and notes where each key was last written
//! ([`KeyMap`]), then copies everything from the log's start up to there without what is superseded, group of segments by
//! group of segments. Offsets stay: a batch that loses records keeps its first and last offset, and gaps are left where
//! whole batches go.
//!
//! | record | is kept |
//! | --- | --- |
//! | not the last of its key, below where the map ends | no |
//! | the last of its key, with a value | yes |
//! | the last of its key, without one (a tombstone) | until `delete.retention.ms` after the first pass that met it, which leaves the time in its batch (KIP-534) |
//! | without a key | no |
//! | of an aborted transaction | no |
//! | a marker | as long as records of its transaction are there, then like a tombstone |
//! | of the last batch of a producer that is remembered | it goes as any other; its batch stays, empty, for the sequence |
//! | of the last batch below where the map ends | the same, for those who wait for its offset |

mod filter;
mod key_map;
#[cfg(test)]
mod tests;
mod transactions;
mod walk;

pub use filter::{CleaningError, LastBatches};
pub use key_map::KeyMap;
pub use walk::{CopiedBatch, Copying, KeyWalk, Step};

use crate::base::{Offset, Timestamp};

/// What of a topic's configuration decides when its log is cleaned, and of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompactionRules {
    /// Least share of the log that must be uncleaned (`min.cleanable.dirty.ratio`).
    pub dirty_ratio_min: f64,
    /// Milliseconds that a record stays as it is (`min.compaction.lag.ms`).
    pub lag_min_ms: i64,
    /// Milliseconds after which a record must have been looked at (`max.compaction.lag.ms`); `i64::MAX` is no limit.
    pub lag_max_ms: i64,
    /// Milliseconds that a tombstone stays after the first pass that met it (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

impl Default for CompactionRules {
    /// Kafka's defaults.
    fn default() -> Self {
        Self { dirty_ratio_min: 0.5, lag_min_ms: 0, lag_max_ms: i64::MAX, delete_retention_ms: 24 * 3_600_000 }
    }
}

/// A segment as far as its compaction depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactedSegment {
    /// Its first offset.
    pub base: Offset,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Largest timestamp of its records.
    pub largest_timestamp: Timestamp,
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactedLog {
    /// First offset that readers may have.
    pub log_start: Offset,
    /// First offset that must stay as it is: it is in an open transaction, not visible, or not on the device.
    pub limit: Offset,
    /// Up to where the log was cleaned before, if it was.
    pub cleaned_to: Option<Offset>,
}

/// What of a log can be cleaned: whole segments, none of which is the active one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cleanable {
    /// First offset that was not cleaned yet.
    pub from: Offset,
    /// First offset that must stay as it is, the base of a segment.
    pub end: Offset,
    /// Share of what is not cleaned in the bytes below `end`.
    pub dirty_ratio: f64,
}

impl CompactionRules {
    /// What of `segments`, which are all of the log in order, the active one last, can be cleaned at `now`; `None` if there is
    /// nothing that was not cleaned.
    #[must_use]
    pub fn cleanable(&self, segments: &[CompactedSegment], log: &CompactedLog, now: Timestamp) -> Option<Cleanable> {
        let log_end = segments.last()?.base;
        // A mark beyond the log is of another one, that had this name.
        let from = log.cleaned_to.filter(|cleaned| *cleaned <= log_end).map_or(log.log_start, |c| c.max(log.log_start));
        let (mut end, mut clean_bytes, mut dirty_bytes) = (from, 0_u64, 0_u64);
        for (segment, next) in segments.iter().zip(segments.iter().skip(1)) {
            if next.base <= from {
                clean_bytes = clean_bytes.saturating_add(segment.bytes);
                continue;
            }
            let is_young = self.lag_min_ms > 0 && segment.largest_timestamp.0 > now.0.saturating_sub(self.lag_min_ms);
            if next.base > log.limit || is_young {
                break;
            }
            dirty_bytes = dirty_bytes.saturating_add(segment.bytes);
            end = next.base;
        }
        let all = clean_bytes.saturating_add(dirty_bytes);
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let dirty_ratio = dirty_bytes as f64 / all.max(1) as f64;
        (end > from && dirty_bytes > 0).then_some(Cleanable { from, end, dirty_ratio })
    }

    /// Whether it is time. `oldest` is the time of the first record that was not cleaned, where it has one.
    #[must_use]
    pub fn is_due(&self, cleanable: &Cleanable, oldest: Timestamp, now: Timestamp) -> bool {
        cleanable.dirty_ratio > self.dirty_ratio_min || self.is_overdue(oldest, now)
    }

    /// Whether it must not wait any longer.
    #[must_use]
    pub fn is_overdue(&self, oldest: Timestamp, now: Timestamp) -> bool {
        oldest >= Timestamp(0) && oldest.0 < now.0.saturating_sub(self.lag_max_ms)
    }
}

/// Runs of neighbouring segments below `end` that fit into one each: by their bytes before the cleaning, and by what an index
/// entry can say.
#[must_use]
pub fn group(segments: &[CompactedSegment], end: Offset, bytes_max: u64) -> Vec<Vec<Offset>> {
    let mut groups: Vec<Vec<Offset>> = Vec::new();
    let mut bytes = 0_u64;
    for (segment, next) in segments.iter().zip(segments.iter().skip(1)).take_while(|(_, next)| next.base <= end) {
        let fits = groups.last().and_then(|group| group.first()).is_some_and(|first| {
            bytes.saturating_add(segment.bytes) <= bytes_max && i32::try_from(next.base.plus(-1) - *first).is_ok()
        });
        match groups.last_mut() {
            Some(group) if fits => group.push(segment.base),
            _ => {
                groups.push(vec![segment.base]);
                bytes = 0;
            }
        }
        bytes = bytes.saturating_add(segment.bytes);
    }
    groups
}
