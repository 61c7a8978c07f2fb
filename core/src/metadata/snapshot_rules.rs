//! When the metadata log gets a new snapshot, and what need not be kept once it has one.
//!
//! As Kafka has it (KIP-630): a snapshot is due after so many bytes of records, or so long after the last one if there
//! is anything that it does not contain. Older snapshots, and the log below the oldest that is kept, go by size and age;
//! the newest snapshot and the log behind it always stay, since together they are the cluster.

use crate::base::{LeaderEpoch, Offset, Timestamp};

/// What of the broker's configuration decides about snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    /// Bytes of records behind the newest snapshot from which on another is due
    /// (`metadata.log.max.record.bytes.between.snapshots`).
    pub bytes_between: u64,
    /// Milliseconds after which one is due if there are records that no snapshot contains; `None` is never
    /// (`metadata.log.max.snapshot.interval.ms`).
    pub interval_ms: Option<u64>,
    /// Bytes that log and snapshots together may have; `None` is any (`metadata.max.retention.bytes`).
    pub retention_bytes: Option<u64>,
    /// Milliseconds after its last record that a snapshot is kept for; `None` is for ever (`metadata.max.retention.ms`).
    pub retention_ms: Option<i64>,
}

/// What is not in a snapshot yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinceSnapshot {
    /// Bytes of the log behind the newest snapshot.
    pub bytes: u64,
    /// Milliseconds since it was begun, or since this run began.
    pub elapsed_ms: u64,
}

/// A snapshot on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// The offset behind the last record that it contains.
    pub end_offset: Offset,
    /// Leader epoch of that record.
    pub epoch: LeaderEpoch,
    /// Length of the file.
    pub bytes: u64,
    /// Append time of that record; 0 if there is none.
    pub last_contained: Timestamp,
}

/// A segment of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshottedSegment {
    /// Its first offset.
    pub base: Offset,
    /// Length of its `.log`.
    pub bytes: u64,
}

impl SnapshotRules {
    /// Whether a snapshot is due.
    #[must_use]
    pub fn is_due(&self, since: SinceSnapshot) -> bool {
        let waited = self.interval_ms.is_some_and(|interval_ms| since.elapsed_ms >= interval_ms);
        since.bytes >= self.bytes_between || (since.bytes > 0 && waited)
    }

    /// Where the log may start: at the end of a snapshot, before which nothing need be kept, neither snapshots nor
    /// whole segments. `None` if all is to be kept. `snapshots` and `segments` are ascending.
    #[must_use]
    pub fn log_start(
        &self,
        snapshots: &[SnapshotFile],
        segments: &[SnapshottedSegment],
        now: Timestamp,
    ) -> Option<Offset> {
        let mut start = None;
        for pair in snapshots.windows(2) {
            let [oldest, next] = pair else { break };
            let kept = snapshots.iter().filter(|snapshot| snapshot.end_offset >= oldest.end_offset);
            let snapshots_bytes: u64 = kept.map(|snapshot| snapshot.bytes).sum();
            let bytes = snapshots_bytes.saturating_add(log_bytes(segments, start.unwrap_or(Offset(0))));
            let too_large = self.retention_bytes.is_some_and(|bytes_max| bytes > bytes_max);
            let age_ms = now.0.saturating_sub(oldest.last_contained.0);
            let too_old = self.retention_ms.is_some_and(|age_max_ms| age_ms > age_max_ms);
            if !too_large && !too_old {
                break;
            }
            start = Some(next.end_offset);
        }
        start
    }
}

/// Length of the segments that do not lie wholly below `start`.
fn log_bytes(segments: &[SnapshottedSegment], start: Offset) -> u64 {
    let ended_below = segments.windows(2).take_while(|pair| pair.get(1).is_some_and(|next| next.base <= start)).count();
    segments.iter().skip(ended_below).map(|segment| segment.bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SnapshotRules =
        SnapshotRules { bytes_between: 100, interval_ms: Some(50), retention_bytes: None, retention_ms: None };

    fn snapshots(ends: &[i64]) -> Vec<SnapshotFile> {
        let file = |end: &i64| SnapshotFile {
            end_offset: Offset(*end),
            epoch: LeaderEpoch(1),
            bytes: 10,
            last_contained: Timestamp(*end * 1000),
        };
        ends.iter().map(file).collect()
    }

    fn segments(bases: &[i64]) -> Vec<SnapshottedSegment> {
        bases.iter().map(|base| SnapshottedSegment { base: Offset(*base), bytes: 100 }).collect()
    }

    #[test]
    fn bytes_or_time_make_a_snapshot_due_but_never_time_alone() {
        let due = |bytes, elapsed_ms| RULES.is_due(SinceSnapshot { bytes, elapsed_ms });
        assert!(!due(99, 49) && due(100, 0) && due(1, 50) && !due(0, 1_000_000));
        let untimed = SnapshotRules { interval_ms: None, ..RULES };
        assert!(!untimed.is_due(SinceSnapshot { bytes: 99, elapsed_ms: u64::MAX }));
    }

    #[test]
    fn the_newest_snapshot_and_what_lies_behind_it_stay_whatever_the_rules_say() {
        let strictest = SnapshotRules { retention_bytes: Some(0), retention_ms: Some(0), ..RULES };
        let now = Timestamp(i64::MAX);
        assert_eq!(strictest.log_start(&[], &segments(&[0, 5]), now), None);
        assert_eq!(strictest.log_start(&snapshots(&[7]), &segments(&[0, 5]), now), None);
        assert_eq!(strictest.log_start(&snapshots(&[0, 7, 9]), &segments(&[0, 5, 9]), now), Some(Offset(9)));
        assert_eq!(RULES.log_start(&snapshots(&[0, 7, 9]), &segments(&[0, 5, 9]), now), None);
    }

    #[test]
    fn the_oldest_go_until_log_and_snapshots_are_small_enough() {
        let (snapshots, segments) = (snapshots(&[0, 10, 20, 30]), segments(&[0, 10, 20]));
        let start = |bytes_max| {
            let rules = SnapshotRules { retention_bytes: Some(bytes_max), ..RULES };
            rules.log_start(&snapshots, &segments, Timestamp(0)).map(|offset| offset.0)
        };
        // 4 snapshots and 3 segments; without the first snapshot and segment, and so on.
        assert_eq!(
            [start(340), start(339), start(230), start(229), start(120), start(119)].map(|s| s.unwrap_or(-1)),
            [-1, 10, 10, 20, 20, 30]
        );
    }

    #[test]
    fn the_oldest_go_until_the_next_is_young_enough() {
        let rules = SnapshotRules { retention_ms: Some(5_000), ..RULES };
        let start = |now| rules.log_start(&snapshots(&[0, 10, 20]), &segments(&[0]), Timestamp(now));
        assert_eq!(start(5_000), None);
        assert_eq!(start(5_001), Some(Offset(10)));
        assert_eq!(start(15_001), Some(Offset(20)));
        assert_eq!(start(i64::MAX), Some(Offset(20)));
    }
}
