//! The decision table by rows, and scans of segments damaged in every place.

use super::*;
use crate::base::{FilePosition, LeaderEpoch, Timestamp};
use crate::log::ProducerStates;
use crate::log::index::IndexOptions;
use crate::record::{Batch, BatchHeader, EndMarker};
use crate::test_support::{Random, random_batch, random_options, with_producer};

const MIN: Offset = Offset(i64::MIN);
const MAX: Offset = Offset(i64::MAX);
const BASE: Offset = Offset(1_000);
const OPTIONS: IndexOptions = IndexOptions { interval_bytes: 400, file_bytes_max: 1 << 20 };

fn segments(bases: &[i64]) -> Vec<SegmentFacts> {
    bases.iter().map(|base| SegmentFacts { base_offset: Offset(*base), has_indexes: true }).collect()
}

fn scan_plan(from: i64, checksums_from: i64) -> SegmentPlan {
    SegmentPlan::Scan { from: Offset(from), checksums_from: Offset(checksums_from) }
}

#[test]
fn each_row_of_the_table() {
    use SegmentPlan::{Replay, Trust};
    let bases = segments(&[0, 100, 200, 300]);
    let plan = |previous, recovery_point, snapshots: &[i64]| {
        let snapshots: Vec<_> = snapshots.iter().map(|offset| Offset(*offset)).collect();
        LogPlan::new(previous, Offset(recovery_point), &bases, &snapshots)
    };
    for (name, plan, snapshot, expected) in [
        (
            "a clean stop",
            plan(PreviousRun::Stopped, 350, &[200, 300, 350]),
            Some(350),
            [Trust, Trust, Trust, scan_plan(350, i64::MAX)],
        ),
        (
            "a clean stop, last snapshot lost",
            plan(PreviousRun::Stopped, 350, &[200]),
            Some(200),
            [Trust, Trust, Replay { from: Offset(200) }, scan_plan(200, i64::MAX)],
        ),
        (
            "killed",
            plan(PreviousRun::SameBoot, 50, &[200, 330]),
            Some(330),
            [Trust, Trust, scan_plan(330, i64::MIN), scan_plan(330, i64::MIN)],
        ),
        (
            "machine lost",
            plan(PreviousRun::OtherBoot, 220, &[200, 330]),
            Some(200),
            [Trust, Trust, scan_plan(i64::MIN, 220), scan_plan(i64::MIN, 220)],
        ),
        (
            "machine lost, recovery point between segments",
            plan(PreviousRun::OtherBoot, 200, &[200]),
            Some(200),
            [Trust, scan_plan(i64::MIN, 200), scan_plan(i64::MIN, 200), scan_plan(i64::MIN, 200)],
        ),
        (
            "machine lost, recovery point behind the end",
            plan(PreviousRun::OtherBoot, 999, &[300]),
            Some(300),
            [Trust, Trust, Trust, scan_plan(i64::MIN, 999)],
        ),
        (
            "machine lost, snapshot far below the recovery point",
            plan(PreviousRun::OtherBoot, 320, &[100]),
            Some(100),
            [Trust, Replay { from: Offset(100) }, Replay { from: Offset(100) }, scan_plan(i64::MIN, 320)],
        ),
        (
            "machine lost, no snapshot below the recovery point",
            plan(PreviousRun::OtherBoot, 220, &[330]),
            None,
            [Replay { from: MIN }, Replay { from: MIN }, scan_plan(i64::MIN, 220), scan_plan(i64::MIN, 220)],
        ),
    ] {
        assert_eq!(plan.producer_snapshot, snapshot.map(Offset), "{name}");
        assert_eq!(plan.segments, expected, "{name}");
    }
}

#[test]
fn a_segment_without_indexes_is_walked_from_its_start() {
    let mut bases = segments(&[0, 100, 200]);
    bases[0].has_indexes = false;
    let plan = LogPlan::new(PreviousRun::Stopped, Offset(250), &bases, &[Offset(250)]);
    assert_eq!(plan.segments[0], scan_plan(i64::MIN, i64::MAX));
    assert_eq!(plan.segments[1], SegmentPlan::Trust);
}

/// A segment of random batches; also the batches.
fn segment(random: &mut Random, count: i32) -> (Vec<u8>, Vec<Batch>) {
    let (mut log, mut batches, mut next) = (Vec::new(), Vec::new(), BASE);
    for sequence in 0..count {
        let options = with_producer(random_options(random, next), 7, 0, sequence * 10);
        let batch = if random.once_in(6) {
            let marker = EndMarker { committed: true, coordinator_epoch: sequence };
            marker.batch(options, Timestamp(5_000)).unwrap()
        } else {
            random_batch(random, options, 4, Timestamp(5_000))
        };
        let batch = batch.stamped(next, LeaderEpoch(sequence / 3));
        log.extend_from_slice(batch.bytes());
        next = batch.header().last_offset().plus(1);
        batches.push(batch);
    }
    (log, batches)
}

/// Scans, a chunk of `chunk_bytes` at a time.
fn run(
    log: &[u8],
    depth: (Offset, Offset),
    indexes: (&[u8], &[u8]),
    chunk_bytes: usize,
) -> (ScanEnd, SegmentScan, Vec<(BatchHeader, Option<EndMarker>)>) {
    let size = FilePosition(log.len() as u64);
    let mut scan = SegmentScan::new(BASE, size, depth, OPTIONS, indexes);
    let mut seen = Vec::new();
    loop {
        match scan.step() {
            ScanStep::Done(end) => return (end, scan, seen),
            ScanStep::Read { position, bytes_min } => {
                let rest = &log[position.0 as usize..];
                let chunk = &rest[..rest.len().min(chunk_bytes.max(bytes_min))];
                scan.feed(chunk, |header, marker| seen.push((*header, marker)));
            }
        }
    }
}

#[test]
fn a_whole_segment_is_kept_in_whatever_pieces_it_comes() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let (log, batches) = segment(&mut random, 12);
        let mut entries = None;
        for chunk_bytes in [1, 61, 100, 1_000, log.len()] {
            for checksums_from in [MIN, MAX, BASE.plus(7)] {
                let (end, scan, seen) = run(&log, (MIN, checksums_from), (&[], &[]), chunk_bytes);
                assert_eq!(end, ScanEnd::Whole);
                assert_eq!(scan.good_end().0, log.len() as u64);
                assert_eq!(scan.next_offset(), batches.last().unwrap().header().last_offset().plus(1));
                assert_eq!(seen.len(), batches.len());
                for ((header, marker), batch) in seen.iter().zip(&batches) {
                    assert_eq!(header, batch.header());
                    assert_eq!(marker.is_some(), batch.header().attributes().is_control());
                }
                let index = scan.into_index();
                let bytes = (index.offsets().bytes().to_vec(), index.times().bytes().to_vec());
                assert_eq!(*entries.get_or_insert(bytes.clone()), bytes);
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_keeps_its_whole_batches() {
    let (log, batches) = segment(&mut Random::new(1), 6);
    let mut ends = vec![0];
    ends.extend(batches.iter().scan(0, |end, batch| {
        *end += batch.bytes().len();
        Some(*end)
    }));
    for cut in 0..=log.len() {
        let good = *ends.iter().rfind(|end| **end <= cut).unwrap();
        let expected = if good == cut { ScanEnd::Whole } else { ScanEnd::Cut(CutReason::Torn) };
        let (end, scan, _) = run(&log[..cut], (MIN, MIN), (&[], &[]), 256);
        assert_eq!((end, scan.good_end().0), (expected, good as u64), "cut at {cut}");
        let mut padded = log[..cut].to_vec();
        padded.resize(cut + 200, 0);
        let (end, scan, _) = run(&padded, (MIN, MIN), (&[], &[]), 256);
        assert!(matches!(end, ScanEnd::Cut(_)));
        // The last bytes of a batch may be zeros themselves.
        let good = *ends.iter().rfind(|end| log.get(..**end) == padded.get(..**end)).unwrap();
        assert_eq!(scan.good_end().0, good as u64, "zeros from {cut}");
    }
}

#[test]
fn a_changed_byte_ends_the_good_part_where_checksums_are_due() {
    let (log, batches) = segment(&mut Random::new(2), 5);
    let mut start = 0;
    for (number, batch) in batches.iter().enumerate() {
        for at in 0..batch.bytes().len() {
            let mut damaged = log.clone();
            damaged[start + at] ^= 0x40;
            let (end, scan, seen) = run(&damaged, (MIN, MIN), (&[], &[]), 256);
            // The leader epoch is outside the checksum, and so is the base offset, which may grow.
            let is_uncovered = (0..8).contains(&at) || (12..16).contains(&at);
            if !is_uncovered {
                assert!(matches!(end, ScanEnd::Cut(_)), "byte {at} of batch {number}");
                assert_eq!((scan.good_end().0, seen.len()), (start as u64, number), "byte {at} of batch {number}");
            }
        }
        start += batch.bytes().len();
    }
}

#[test]
fn checksums_are_looked_at_from_the_recovery_point_on() {
    let (log, batches) = segment(&mut Random::new(3), 6);
    let third: usize = batches[..3].iter().map(|batch| batch.bytes().len()).sum();
    let mut damaged = log.clone();
    damaged[third - 1] ^= 1;
    let after = batches[3].header().base_offset();
    assert_eq!(run(&damaged, (MIN, after), (&[], &[]), 256).0, ScanEnd::Whole);
    assert_eq!(run(&damaged, (MIN, after.plus(-1)), (&[], &[]), 256).0, ScanEnd::Cut(CutReason::Checksum));
}

#[test]
fn offsets_that_go_back_end_the_log_though_their_checksums_are_right() {
    let (mut log, batches) = segment(&mut Random::new(4), 3);
    let good = log.len() as u64;
    // What a recycled block would hold: an older batch, whole and valid.
    log.extend_from_slice(batches[1].bytes());
    let (end, scan, _) = run(&log, (MIN, MIN), (&[], &[]), 256);
    assert_eq!((end, scan.good_end().0), (ScanEnd::Cut(CutReason::OffsetOrder), good));
    let far = batches[0].stamped(BASE.plus(i64::from(i32::MAX)), LeaderEpoch(0));
    let far = far.stamped(BASE.plus(i64::from(i32::MAX) + 1), LeaderEpoch(0));
    assert_eq!(run(far.bytes(), (MIN, MIN), (&[], &[]), 256).0, ScanEnd::Cut(CutReason::OffsetOrder));
}

#[test]
fn a_scan_from_an_index_entry_gives_what_a_whole_one_does() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let (log, batches) = segment(&mut random, 15);
        let (_, whole, _) = run(&log, (MIN, MIN), (&[], &[]), 256);
        let mut index = whole.clone().into_index();
        index.finish();
        let (offsets, times) = (index.offsets().bytes().to_vec(), index.times().bytes().to_vec());
        let from = batches[random.below(batches.len())].header().base_offset();
        for from in [from, MAX] {
            let (end, part, seen) = run(&log, (from, MIN), (&offsets, &times), 256);
            assert_eq!(end, ScanEnd::Whole);
            assert_eq!(part.next_offset(), whole.next_offset());
            assert!(seen.len() <= batches.len() && seen.first().unwrap().0.base_offset() <= from);
            let (part, whole) = (part.into_index(), whole.clone().into_index());
            assert_eq!(part.offsets().bytes(), whole.offsets().bytes());
            assert_eq!(part.times().bytes(), whole.times().bytes());
            assert_eq!(part.largest(), whole.largest());
        }
    }
}

#[test]
fn a_wrong_index_entry_is_found_out() {
    let (log, _) = segment(&mut Random::new(5), 15);
    let (_, whole, _) = run(&log, (MIN, MIN), (&[], &[]), 256);
    let index = whole.into_index();
    let mut offsets = index.offsets().bytes().to_vec();
    let last = offsets.len() - 1;
    offsets[last] ^= 1;
    assert_eq!(run(&log, (MAX, MIN), (&offsets, index.times().bytes()), 256).0, ScanEnd::WrongIndex);
    offsets[last] ^= 1;
    offsets[last - 4] ^= 1;
    assert_eq!(run(&log, (MAX, MIN), (&offsets, index.times().bytes()), 256).0, ScanEnd::WrongIndex);
}

#[test]
fn producers_come_back_from_a_snapshot_and_the_batches_behind_it() {
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let (log, batches) = segment(&mut random, 12);
        let mut whole = ProducerStates::new();
        let cut = batches[random.below(batches.len())].header().base_offset();
        let mut snapshot = whole.to_snapshot();
        for (header, marker) in run(&log, (MIN, MIN), (&[], &[]), 256).2 {
            if header.base_offset() == cut {
                snapshot = whole.to_snapshot();
            }
            whole.replay(&header, marker);
        }
        let mut resumed = ProducerStates::from_snapshot(&snapshot, cut).unwrap();
        let mut only_behind = resumed.clone();
        for (header, marker) in run(&log, (MIN, MIN), (&[], &[]), 256).2 {
            resumed.replay(&header, marker);
            if header.base_offset() >= cut {
                only_behind.replay(&header, marker);
            }
        }
        assert_eq!(resumed, only_behind, "batches that the snapshot knows are passed over");
        assert_eq!(resumed.to_snapshot(), whole.to_snapshot());
    }
}
