//! Which segments go.

use bytes::Bytes;
use corelane_core::base::{Offset, Timestamp};
use corelane_core::log::RetentionRules;
use corelane_core::log::retention::{LogEnds, RetainedSegment};
use corelane_core::record::{AppendRules, BatchOptions, Batches};
use corelane_core::test_support::{Random, random_batch};

use crate::judge::{Judge, files_of};
use crate::our_log::Rules;
use crate::verdicts::configs;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

#[test]
fn the_same_segments_go() {
    let Some(mut judge) = Judge::start("retention") else { return };
    let (mut deleted, mut kept, mut rolled) = (0, 0, 0);
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let retention = RetentionRules {
            deletes: !random.once_in(5),
            bytes_max: *random.pick(&[None, None, Some(0), Some(3_000), Some(7_000), Some(20_000)]),
            age_max_ms: *random.pick(&[None, Some(0), Some(10_000), Some(40_000)]),
        };
        let rules = Rules {
            append: AppendRules { segment_bytes: 2_000, timestamp_after_max_ms: i64::MAX, ..AppendRules::default() },
            ..Rules::default()
        };
        let text = |limit: Option<i64>| limit.unwrap_or(-1).to_string();
        let mut all = configs(&rules);
        all.push(("retention.bytes", text(retention.bytes_max.map(|bytes| i64::try_from(bytes).expect("small")))));
        all.push(("retention.ms", text(retention.age_max_ms)));
        all.retain(|(name, _)| *name != "cleanup.policy");
        all.push(("cleanup.policy", if retention.deletes { "delete" } else { "compact" }.to_owned()));
        let directory = judge.open(&format!("seed-{seed}"), &all);

        let mut now = NOW;
        for _ in 0..random.below(50) {
            now = now + i64::try_from(random.below(4_000)).expect("small");
            let at = if random.once_in(20) { now + 1_000_000 } else { now };
            // Keys, because a compacted topic needs them: the batch is of one record with a key.
            let batch = loop {
                let batch = random_batch(&mut random, BatchOptions::default(), 4, at);
                if batch.records(&batch.payload()).all(|record| record.is_ok_and(|record| record.key.is_some())) {
                    break batch;
                }
            };
            judge.append(now, 0, 9, batch.bytes());
        }

        let segments = segments_of(&directory);
        let log_end = segments.last().map_or(Offset(0), |(_, end)| *end);
        let offset_up_to_end = |random: &mut Random| {
            Offset(i64::try_from(random.below(usize::try_from(log_end.0).expect("small") + 1)).expect("small"))
        };
        let high_watermark = if random.once_in(2) { log_end } else { offset_up_to_end(&mut random) };
        let log_start = if random.once_in(2) { Offset(0) } else { offset_up_to_end(&mut random).min(high_watermark) };
        now = now + i64::try_from(random.below(20_000)).expect("small");
        let ends = LogEnds { log_start, high_watermark, log_end };
        let segments: Vec<_> = segments.into_iter().map(|(segment, _)| segment).collect();
        let expired = retention.decide(&segments, &ends, now);

        let theirs = judge.retain(now, high_watermark, log_start);
        let count = expired.map_or(0, |expired| expired.segments);
        let mut bases: Vec<_> = segments.iter().skip(count).map(|segment| segment.base_offset.0).collect();
        if expired.is_some_and(|expired| expired.includes_active) {
            bases.push(log_end.0);
            rolled += 1;
        }
        let start = expired.map_or(log_start, |expired| expired.log_start);
        assert_eq!((start.0, bases), theirs, "seed {seed}: {retention:?} {ends:?} at {now} {segments:?}");
        (deleted, kept) = (deleted + count, kept + theirs.1.len());
        judge.close();
    }
    assert!(deleted > 100 && kept > 200 && rolled > 10, "{deleted} deleted, {kept} kept, {rolled} rolled");
}

/// The segments in a folder with their ends, by what is in the files.
fn segments_of(directory: &std::path::Path) -> Vec<(RetainedSegment, Offset)> {
    let logs = files_of(directory).into_iter().filter(|(name, _)| name.ends_with(".log"));
    let segment = |(name, content): (String, Vec<u8>)| {
        let base_offset = Offset(name[..20].parse().expect("an offset"));
        let headers: Vec<_> =
            Batches::new(Bytes::copy_from_slice(&content)).map(|batch| *batch.expect("a batch").header()).collect();
        // An empty file has the age of the file, which only the real clock knows: never old here.
        let largest_timestamp =
            headers.iter().map(|header| header.max_timestamp()).max().unwrap_or(Timestamp(i64::MAX));
        let end = headers.last().map_or(base_offset, |header| header.last_offset().plus(1));
        (RetainedSegment { base_offset, bytes: content.len() as u64, largest_timestamp }, end)
    };
    logs.map(segment).collect()
}
