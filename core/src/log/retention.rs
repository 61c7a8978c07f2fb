//! Which segments a log need not keep any longer.
//!
//! Only whole segments go, the oldest first, and never above the high watermark: what is not yet everybody's is not
//! anybody's to delete. Three reasons are applied one after another, each to what the one before left.

use crate::base::{Offset, Timestamp};

/// What of a topic's configuration decides about retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionRules {
    /// Whether size and age count (`cleanup.policy` contains `delete`). What lies before the log start goes in any
    /// case.
    pub deletes: bool,
    /// Size that the log may have (`retention.bytes`); `None` is any.
    pub bytes_max: Option<u64>,
    /// Age that a segment's youngest record may have (`retention.ms`); `None` is any.
    pub age_max_ms: Option<i64>,
}

impl Default for RetentionRules {
    /// Kafka's defaults.
    fn default() -> Self {
        Self { deletes: true, bytes_max: None, age_max_ms: Some(7 * 24 * 3_600_000) }
    }
}

/// A segment as far as its retention depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedSegment {
    /// Its first offset.
    pub base_offset: Offset,
    /// Size of its `.log`.
    pub bytes: u64,
    /// Largest timestamp of its records; of records without, when its file was last written. One in the future keeps
    /// the segment, as in Kafka.
    pub largest_timestamp: Timestamp,
}

/// The ends of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// First offset that readers may have.
    pub log_start: Offset,
    /// First offset that they may not have yet.
    pub high_watermark: Offset,
    /// First offset not written.
    pub log_end: Offset,
}

/// What is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Number of segments, from the oldest.
    pub segments: usize,
    /// Whether the active segment is among them, so that the log must be rolled first.
    pub includes_active: bool,
    /// Where the log starts without them.
    pub log_start: Offset,
}

impl RetentionRules {
    /// What of `segments`, which are all of the log in order, is to be deleted at `now`.
    #[must_use]
    pub fn decide(&self, segments: &[RetainedSegment], ends: &LogEnds, now: Timestamp) -> Option<Expired> {
        let mut left = Left { segments, total_bytes: segments.iter().map(|segment| segment.bytes).sum(), ends };
        left.delete_while(|oldest| !oldest.is_active && oldest.end <= ends.log_start);
        if self.deletes {
            if let Some(bytes_max) = self.bytes_max {
                // The log keeps at least that much, not at most.
                left.delete_while(|oldest| oldest.total_bytes.saturating_sub(oldest.segment.bytes) >= bytes_max);
            }
            if let Some(age_max_ms) = self.age_max_ms {
                let age_ms = |segment: &RetainedSegment| now.0.saturating_sub(segment.largest_timestamp.0);
                left.delete_while(|oldest| age_ms(oldest.segment) > age_max_ms);
            }
        }
        let deleted = segments.len().saturating_sub(left.segments.len());
        let log_start = left.segments.first().map_or(ends.log_end, |first| first.base_offset).max(ends.log_start);
        (deleted > 0).then_some(Expired { segments: deleted, includes_active: left.segments.is_empty(), log_start })
    }
}

/// The segments not yet deleted.
struct Left<'a> {
    segments: &'a [RetainedSegment],
    total_bytes: u64,
    ends: &'a LogEnds,
}

/// The first of the segments that are left.
struct Oldest<'a> {
    segment: &'a RetainedSegment,
    /// The offset behind its last.
    end: Offset,
    is_active: bool,
    /// Size of all that are left.
    total_bytes: u64,
}

impl Left<'_> {
    fn delete_while(&mut self, is_expired: impl Fn(&Oldest<'_>) -> bool) {
        while let Some((segment, rest)) = self.segments.split_first() {
            let is_active = rest.is_empty();
            let end = rest.first().map_or(self.ends.log_end, |next| next.base_offset);
            // An empty active segment is what is left of a log of which all is deleted.
            let is_kept = end > self.ends.high_watermark || (is_active && segment.bytes == 0);
            if is_kept || !is_expired(&Oldest { segment, end, is_active, total_bytes: self.total_bytes }) {
                return;
            }
            self.segments = rest;
            self.total_bytes = self.total_bytes.saturating_sub(segment.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 100 bytes and ten offsets; the largest timestamps as given.
    fn segments(timestamps: &[i64]) -> Vec<RetainedSegment> {
        let segment = |(i, timestamp): (i64, &i64)| RetainedSegment {
            base_offset: Offset(10 * i),
            bytes: 100,
            largest_timestamp: Timestamp(*timestamp),
        };
        (0..).zip(timestamps).map(segment).collect()
    }

    const ENDS: LogEnds = LogEnds { log_start: Offset(0), high_watermark: Offset(40), log_end: Offset(40) };
    const KEEP: RetentionRules = RetentionRules { deletes: true, bytes_max: None, age_max_ms: None };
    const NOW: Timestamp = Timestamp(1_000);

    fn decide(rules: RetentionRules, segments: &[RetainedSegment], ends: LogEnds) -> Option<(usize, bool, i64)> {
        let expired = rules.decide(segments, &ends, NOW)?;
        Some((expired.segments, expired.includes_active, expired.log_start.0))
    }

    #[test]
    fn size_keeps_at_least_what_is_asked_for() {
        let four = segments(&[1, 2, 3, 4]);
        for (bytes_max, expected) in [
            (401, None),
            (400, None),
            (301, None),
            (300, Some((1, false, 10))),
            (150, Some((2, false, 20))),
            (1, Some((3, false, 30))),
            (0, Some((4, true, 40))),
        ] {
            assert_eq!(
                decide(RetentionRules { bytes_max: Some(bytes_max), ..KEEP }, &four, ENDS),
                expected,
                "{bytes_max}"
            );
        }
    }

    #[test]
    fn age_is_that_of_the_youngest_record_and_stops_at_the_first_that_is_young() {
        let four = segments(&[100, 500, 100, 900]);
        for (age_max_ms, expected) in [
            (900, None),
            (899, Some((1, false, 10))),
            (500, Some((1, false, 10))),
            (499, Some((3, false, 30))),
            (99, Some((4, true, 40))),
        ] {
            assert_eq!(
                decide(RetentionRules { age_max_ms: Some(age_max_ms), ..KEEP }, &four, ENDS),
                expected,
                "{age_max_ms}"
            );
        }
        let future = segments(&[5_000, 1]);
        assert_eq!(decide(RetentionRules { age_max_ms: Some(0), ..KEEP }, &future, ENDS), None);
    }

    #[test]
    fn nothing_above_the_high_watermark_goes() {
        let four = segments(&[1, 2, 3, 4]);
        let all = RetentionRules { bytes_max: Some(0), ..KEEP };
        for (high_watermark, expected) in [(9, None), (10, Some((1, false, 10))), (39, Some((3, false, 30)))] {
            let ends = LogEnds { high_watermark: Offset(high_watermark), ..ENDS };
            assert_eq!(decide(all, &four, ends), expected, "{high_watermark}");
        }
    }

    #[test]
    fn what_lies_before_the_log_start_goes_under_every_policy() {
        let four = segments(&[1, 2, 3, 4]);
        let compacted = RetentionRules { deletes: false, bytes_max: Some(0), age_max_ms: Some(0) };
        for (log_start, expected) in
            [(9, None), (10, Some((1, false, 10))), (25, Some((2, false, 25))), (40, Some((3, false, 40)))]
        {
            let ends = LogEnds { log_start: Offset(log_start), ..ENDS };
            assert_eq!(decide(compacted, &four, ends), expected, "{log_start}");
        }
    }

    #[test]
    fn an_empty_active_segment_stays() {
        let mut two = segments(&[1, 1]);
        two[1].bytes = 0;
        let ends = LogEnds { high_watermark: Offset(10), log_end: Offset(10), ..ENDS };
        assert_eq!(decide(RetentionRules { bytes_max: Some(0), ..KEEP }, &two, ends), Some((1, false, 10)));
        assert_eq!(decide(RetentionRules { bytes_max: Some(0), ..KEEP }, &two[1..], ends), None);
    }

    #[test]
    fn size_counts_what_the_log_start_left() {
        let four = segments(&[1, 2, 3, 4]);
        let ends = LogEnds { log_start: Offset(20), ..ENDS };
        assert_eq!(decide(RetentionRules { bytes_max: Some(200), ..KEEP }, &four, ends), Some((2, false, 20)));
    }
}
