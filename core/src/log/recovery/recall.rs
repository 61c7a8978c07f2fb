//! Where a start looks for the batches that a producer snapshot stands for and does not list.
//!
//! Kafka's snapshot has the last batch of each producer. Five may come again, and after a crash they do: each producer
//! repeats what was not answered. Kafka itself knows only those that lie behind the snapshot, so that with a roll shortly
//! before the crash a repeated batch is out of order there. Here the headers before the snapshot are read back.

use crate::base::{FilePosition, Offset};
use crate::limits::PRODUCER_RECALL_BYTES_MAX;

/// A part of a log that is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecallPart {
    /// First offset of the segment, which names it.
    pub segment: Offset,
    /// Where in the segment it begins, or anywhere before that.
    pub from: FilePosition,
    /// Where in the segment it ends.
    pub end: FilePosition,
}

/// The parts of a log that may hold such batches, the last one first: as far as [`PRODUCER_RECALL_BYTES_MAX`] before the
/// log's end. `segments` are base offsets and sizes, ascending; `known_to` is the snapshot's offset.
pub fn recall_parts(segments: &[(Offset, u64)], known_to: Offset) -> impl Iterator<Item = RecallPart> {
    let mut left = PRODUCER_RECALL_BYTES_MAX;
    let parts = segments.iter().rev().map_while(move |(segment, bytes)| {
        let from = bytes.saturating_sub(left);
        let part = RecallPart { segment: *segment, from: FilePosition(from), end: FilePosition(*bytes) };
        let reached = left > 0;
        left = left.saturating_sub(*bytes);
        reached.then_some(part)
    });
    parts.filter(move |part| part.segment < known_to)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn parts(segments: &[(i64, u64)], known_to: i64) -> Vec<(i64, u64, u64)> {
        let segments: Vec<_> = segments.iter().map(|(base, mib)| (Offset(*base), mib * MIB)).collect();
        let parts = recall_parts(&segments, Offset(known_to));
        parts.map(|part| (part.segment.0, part.from.0 / MIB, part.end.0 / MIB)).collect()
    }

    #[test]
    fn the_newest_part_comes_first_and_the_bound_holds() {
        assert_eq!(PRODUCER_RECALL_BYTES_MAX, 64 * MIB);
        assert_eq!(parts(&[(0, 1), (10, 1), (20, 1)], 20), [(10, 0, 1), (0, 0, 1)]);
        assert_eq!(parts(&[(0, 100), (10, 60), (20, 1)], 20), [(10, 0, 60), (0, 97, 100)]);
        assert_eq!(parts(&[(0, 100), (10, 63), (20, 1)], 25), [(20, 0, 1), (10, 0, 63)]);
        assert_eq!(parts(&[(0, 1000)], 7), [(0, 936, 1000)], "a snapshot inside of a segment");
        assert_eq!(parts(&[(0, 1000)], 0), [], "nothing lies before the snapshot");
        assert_eq!(parts(&[], 0), []);
    }
}
