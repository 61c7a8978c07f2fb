//! What is left of a damaged log.

use std::collections::BTreeMap;

use corelane_core::base::{FilePosition, Offset, Timestamp};
use corelane_core::log::recovery::{ScanEnd, ScanStep};
use corelane_core::log::{
    IndexOptions, LeaderEpochs, LogPlan, PreviousRun, ProducerStates, RollRules, SegmentFacts, SegmentFile,
    SegmentFileKind, SegmentPlan, SegmentScan,
};
use corelane_core::record::{AppendRules, BatchHeader};
use corelane_core::test_support::Random;

use crate::files::Clients;
use crate::judge::{Judge, files_of};
use crate::our_log::Rules;
use crate::verdicts::configs;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const EPOCHS: &str = "leader-epoch-checkpoint";

#[test]
fn the_same_is_left_of_a_damaged_log() {
    let Some(mut judge) = Judge::start("recovery") else { return };
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let rules = Rules {
            append: AppendRules { segment_bytes: 8_000, ..AppendRules::default() },
            index: IndexOptions { interval_bytes: *random.pick(&[0, 300, 1_000]), file_bytes_max: 1 << 16 },
            roll: RollRules { segment_bytes: 8_000, ..RollRules::default() },
        };
        let directory = judge.open(&format!("seed-{seed}"), &configs(&rules));
        let mut clients = Clients::new();
        let mut epoch = 0;
        for step in 0..40 + random.below(60) {
            epoch += i32::from(random.once_in(10));
            let now = NOW + i64::try_from(step).expect("small");
            let records = clients.next(&mut random, now);
            judge.append(now, epoch, 9, &records);
        }
        judge.close();

        let before = files_of(&directory);
        let logs: Vec<_> = before.keys().filter(|name| name.ends_with(".log")).cloned().collect();
        let hurt = if random.once_in(3) { random.pick(&logs).clone() } else { logs[logs.len() - 1].clone() };
        let mut log = before[&hurt].clone();
        damage(&mut random, &mut log);
        std::fs::write(directory.join(&hurt), &log).expect("a file");

        let (end, ours) = recover(files_of(&directory), &rules);
        let theirs_end = judge.recover(&directory, &configs(&rules));
        judge.close();
        let theirs = files_of(&directory);
        assert_eq!(end, theirs_end, "seed {seed}");
        for (name, content) in &ours {
            // Kafka makes index files when they are first needed; an empty last segment has none.
            let is_lazy = name.ends_with("index") && content.is_empty();
            assert_eq!(theirs.get(name).or(is_lazy.then_some(content)), Some(content), "seed {seed}, {name}");
        }
        let is_log = |name: &&String| name.ends_with(".log");
        assert!(ours.keys().filter(is_log).eq(theirs.keys().filter(is_log)), "seed {seed}: segments");
        if ours.get(&hurt) == before.get(&hurt) { whole += 1 } else { cut += 1 }
    }
    assert!(whole > 5 && cut > 30, "{whole} whole, {cut} cut");
}

/// A tear, zeros behind it, or a changed byte that the checksum or the structure shows.
fn damage(random: &mut Random, log: &mut Vec<u8>) {
    let at = random.below(log.len());
    match random.below(4) {
        0 => log.truncate(at),
        1 => {
            log.truncate(at);
            log.resize(at + 5_000, 0);
        }
        2 => log.resize(log.len() + random.below(200), 0),
        _ => {
            let mut start = 0;
            while let Some(size) = BatchHeader::parse(&log[start..]).and_then(|header| header.batch_bytes()) {
                if at < start + size {
                    // Base offset and leader epoch are not covered.
                    let covered = if at - start < 21 { start + 21 } else { at };
                    log[covered] ^= 1 << random.below(8);
                    return;
                }
                start += size;
            }
        }
    }
}

/// The end of the log and its files, when everything must be checked.
fn recover(files: BTreeMap<String, Vec<u8>>, rules: &Rules) -> (Offset, BTreeMap<String, Vec<u8>>) {
    let bases: Vec<_> = files.keys().filter_map(|name| SegmentFile::parse(name)).collect();
    let of_kind = |kind| bases.iter().filter(move |file| file.kind == kind).map(|file| file.base_offset);
    let facts: Vec<_> =
        of_kind(SegmentFileKind::Log).map(|base_offset| SegmentFacts { base_offset, has_indexes: true }).collect();
    let snapshots: Vec<_> = of_kind(SegmentFileKind::ProducerSnapshot).collect();
    let plan = LogPlan::new(PreviousRun::OtherBoot, Offset(0), &facts, &snapshots);
    assert_eq!(plan.producer_snapshot, None, "none is as old as the recovery point");

    let mut epochs = LeaderEpochs::parse(std::str::from_utf8(&files[EPOCHS]).expect("text")).expect("epochs");
    let mut producers = ProducerStates::new();
    let (mut left, mut end) = (BTreeMap::new(), Offset(0));
    for (facts, plan) in facts.iter().zip(&plan.segments) {
        let base = facts.base_offset;
        let name = |kind| SegmentFile::live(base, kind).name();
        let SegmentPlan::Scan { from, checksums_from } = *plan else { panic!("nothing is trusted") };
        let log = &files[&name(SegmentFileKind::Log)];
        let index_of = |kind| files.get(&name(kind)).map_or(&[][..], |content| content);
        let indexes = (index_of(SegmentFileKind::OffsetIndex), index_of(SegmentFileKind::TimeIndex));
        let size = FilePosition(log.len() as u64);
        let mut scan = SegmentScan::new(base, size, (from, checksums_from), rules.index, indexes);
        while let ScanStep::Read { position, .. } = scan.step() {
            let at = usize::try_from(position.0).expect("in the file");
            scan.feed(&log[at..], |header, marker| {
                epochs.replay(header.leader_epoch(), header.base_offset());
                producers.replay(header, marker);
            });
        }
        let is_cut = scan.step() != ScanStep::Done(ScanEnd::Whole);
        let good = usize::try_from(scan.good_end().0).expect("in the file");
        left.insert(name(SegmentFileKind::Log), log[..good].to_vec());
        end = scan.next_offset();
        let mut index = scan.into_index();
        index.finish();
        left.insert(name(SegmentFileKind::OffsetIndex), index.offsets().bytes().to_vec());
        left.insert(name(SegmentFileKind::TimeIndex), index.times().bytes().to_vec());
        if is_cut {
            break;
        }
    }
    epochs.truncate_to(end);
    left.insert(EPOCHS.to_owned(), epochs.to_text().into_bytes());
    if end > Offset(0) {
        let snapshot = SegmentFile::live(end, SegmentFileKind::ProducerSnapshot).name();
        left.insert(snapshot, producers.to_snapshot().to_vec());
    }
    (end, left)
}
