//! Offsets of a log by the times at which its segments were last written to: what ListOffsets 0 asked for before there
//! was a time index.

use crate::base::{Offset, Timestamp};

/// Which offsets are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentTime {
    /// The newest.
    Latest,
    /// The oldest.
    Earliest,
    /// Those of segments that were last written to at this time or before it.
    AtOrBefore(Timestamp),
}

/// A log as far as it matters here.
#[derive(Clone, Debug)]
pub struct SegmentTimes {
    /// First offset of each segment and when it was last written to, ascending.
    pub segments: Vec<(Offset, Timestamp)>,
    /// First offset that readers may ask for.
    pub log_start: Offset,
    /// End of the log, if its last segment has anything in it, and the time now.
    pub end: Option<(Offset, Timestamp)>,
    /// Visible end of the log.
    pub high_watermark: Offset,
}

impl SegmentTimes {
    /// At most `count_max` offsets, the largest first; one beyond the visible end becomes that.
    #[must_use]
    pub fn offsets(&self, time: SegmentTime, count_max: usize) -> Vec<Offset> {
        let starts = self.segments.iter().map(|(base, at)| ((*base).max(self.log_start), *at));
        let all: Vec<(Offset, Timestamp)> = starts.chain(self.end).collect();
        let count = match time {
            SegmentTime::Latest => all.len(),
            SegmentTime::Earliest => 1,
            SegmentTime::AtOrBefore(time) => {
                all.iter().rposition(|(_, at)| *at <= time).map_or(0, |last| last.saturating_add(1))
            }
        };
        let wanted = all.iter().take(count).rev().take(count_max);
        let mut offsets: Vec<Offset> = wanted.map(|(offset, _)| (*offset).min(self.high_watermark)).collect();
        offsets.dedup();
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> SegmentTimes {
        SegmentTimes {
            segments: [(0, 100), (10, 200), (20, 300)].map(|(base, at)| (Offset(base), Timestamp(at))).to_vec(),
            log_start: Offset(3),
            end: Some((Offset(25), Timestamp(400))),
            high_watermark: Offset(25),
        }
    }

    fn offsets(log: &SegmentTimes, time: SegmentTime, count_max: usize) -> Vec<i64> {
        log.offsets(time, count_max).into_iter().map(|offset| offset.0).collect()
    }

    #[test]
    fn segments_count_from_the_last_one_old_enough() {
        for (time, expected) in [
            (SegmentTime::Latest, &[25, 20, 10, 3][..]),
            (SegmentTime::Earliest, &[3]),
            (SegmentTime::AtOrBefore(Timestamp(99)), &[]),
            (SegmentTime::AtOrBefore(Timestamp(100)), &[3]),
            (SegmentTime::AtOrBefore(Timestamp(299)), &[10, 3]),
            (SegmentTime::AtOrBefore(Timestamp(300)), &[20, 10, 3]),
            (SegmentTime::AtOrBefore(Timestamp(400)), &[25, 20, 10, 3]),
        ] {
            assert_eq!(offsets(&log(), time, 10), expected, "{time:?}");
            assert_eq!(offsets(&log(), time, 2), expected[..expected.len().min(2)], "{time:?}");
            assert!(offsets(&log(), time, 0).is_empty());
        }
    }

    #[test]
    fn a_log_that_is_empty_has_its_start() {
        let empty = SegmentTimes {
            segments: vec![(Offset(7), Timestamp(1))],
            log_start: Offset(7),
            end: None,
            high_watermark: Offset(7),
        };
        assert_eq!(offsets(&empty, SegmentTime::Latest, 5), [7]);
        assert_eq!(offsets(&empty, SegmentTime::Earliest, 5), [7]);
    }

    #[test]
    fn what_is_not_visible_is_not_told() {
        let log = SegmentTimes { high_watermark: Offset(12), ..log() };
        assert_eq!(offsets(&log, SegmentTime::Latest, 10), [12, 10, 3]);
        assert_eq!(offsets(&log, SegmentTime::Latest, 1), [12]);
    }
}
