//! When a segment ends and the next begins.

use crate::base::{Offset, Timestamp};

/// What of a topic's configuration decides about rolling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollRules {
    /// Largest size of a `.log` (`segment.bytes`).
    pub segment_bytes: u64,
    /// Longest time that a segment spans (`segment.ms`).
    pub segment_ms: i64,
    /// What is taken off that time for this segment, a random part of `segment.jitter.ms` drawn when it was made, so
    /// that partitions made together do not roll together.
    pub jitter_ms: i64,
}

impl Default for RollRules {
    /// Kafka's defaults.
    fn default() -> Self {
        Self { segment_bytes: 1 << 30, segment_ms: 7 * 24 * 3_600_000, jitter_ms: 0 }
    }
}

/// The segment that is being written, as far as a roll depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveSegment {
    /// Its first offset.
    pub base_offset: Offset,
    /// Its size.
    pub bytes: u64,
    /// Largest timestamp of its first batch, −1 if that has none.
    pub first_timestamp: Timestamp,
    /// When it was made, by the broker's clock.
    pub created_at: Timestamp,
    /// Whether one of its indexes takes no more entries.
    pub is_index_full: bool,
}

/// The batch or run of batches about to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingBatch {
    /// Its size.
    pub bytes: u64,
    /// Its last offset.
    pub last_offset: Offset,
    /// Its largest timestamp, −1 if it has none.
    pub max_timestamp: Timestamp,
}

/// Why the next batch goes to a new segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollReason {
    /// The batch would make the segment too large.
    Size,
    /// The segment spans too long a time.
    Time,
    /// An index is full.
    IndexFull,
    /// The batch's last offset is too far from the segment's first for an index entry.
    OffsetRange,
}

impl RollRules {
    /// Whether the segment ends before `incoming`; the next one begins at the end of the log. An empty segment never
    /// does: the next would have its name.
    #[must_use]
    pub fn decide(&self, segment: &ActiveSegment, incoming: &IncomingBatch, now: Timestamp) -> Option<RollReason> {
        if segment.bytes == 0 {
            return None;
        }
        // The time of the records counts, so that a replayed topic rolls as the original did; the clock only where
        // records carry no time.
        let spanned_ms = if segment.first_timestamp >= Timestamp(0) {
            incoming.max_timestamp.0.saturating_sub(segment.first_timestamp.0)
        } else {
            now.0.saturating_sub(segment.created_at.0)
        };
        let distance = incoming.last_offset - segment.base_offset;
        if segment.bytes.saturating_add(incoming.bytes) > self.segment_bytes {
            Some(RollReason::Size)
        } else if spanned_ms > self.segment_ms.saturating_sub(self.jitter_ms) {
            Some(RollReason::Time)
        } else if segment.is_index_full {
            Some(RollReason::IndexFull)
        } else if i32::try_from(distance).is_err() {
            Some(RollReason::OffsetRange)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_edge() {
        let rules = RollRules { segment_bytes: 1_000, segment_ms: 500, jitter_ms: 100 };
        let segment = ActiveSegment {
            base_offset: Offset(10),
            bytes: 600,
            first_timestamp: Timestamp(5_000),
            created_at: Timestamp(9_000),
            is_index_full: false,
        };
        let incoming = IncomingBatch { bytes: 400, last_offset: Offset(50), max_timestamp: Timestamp(5_400) };
        let now = Timestamp(100_000);
        assert_eq!(rules.decide(&segment, &incoming, now), None);
        let larger = IncomingBatch { bytes: 401, ..incoming };
        assert_eq!(rules.decide(&segment, &larger, now), Some(RollReason::Size));
        let later = IncomingBatch { max_timestamp: Timestamp(5_401), ..incoming };
        assert_eq!(rules.decide(&segment, &later, now), Some(RollReason::Time));
        let far = IncomingBatch { last_offset: Offset(10 + i64::from(i32::MAX)), ..incoming };
        assert_eq!(rules.decide(&segment, &far, now), None);
        let farther = IncomingBatch { last_offset: Offset(11 + i64::from(i32::MAX)), ..incoming };
        assert_eq!(rules.decide(&segment, &farther, now), Some(RollReason::OffsetRange));
        let full = ActiveSegment { is_index_full: true, ..segment };
        assert_eq!(rules.decide(&full, &incoming, now), Some(RollReason::IndexFull));
        let empty = ActiveSegment { bytes: 0, is_index_full: true, ..segment };
        assert_eq!(rules.decide(&empty, &larger, now), None);
    }

    #[test]
    fn the_clock_counts_where_records_have_no_time() {
        let rules = RollRules { segment_ms: 500, ..RollRules::default() };
        let segment = ActiveSegment {
            base_offset: Offset(0),
            bytes: 1,
            first_timestamp: Timestamp::NONE,
            created_at: Timestamp(9_000),
            is_index_full: false,
        };
        let incoming = IncomingBatch { bytes: 1, last_offset: Offset(1), max_timestamp: Timestamp::NONE };
        assert_eq!(rules.decide(&segment, &incoming, Timestamp(9_500)), None);
        assert_eq!(rules.decide(&segment, &incoming, Timestamp(9_501)), Some(RollReason::Time));
    }
}
