//! Logs of drawn lives, cleaned again and again, against what a reader of them must find.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::base::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};
use crate::log::aborted::AbortedTransaction;
use crate::record::{Batch, BatchBuilder, BatchOptions, Batches, Codec, Compression, EndMarker, Header};
use crate::test_support::Random;

const KEYS: usize = 8;
const RETENTION_MS: i64 = 1_000;

/// A record as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    header: Vec<u8>,
}

#[derive(Default)]
struct Log {
    /// Base offset and batches; the last is the active one.
    segments: Vec<(Offset, Vec<Batch>)>,
    end: i64,
    aborted: Vec<AbortedTransaction>,
    /// First offset of the open transaction of each producer.
    open: BTreeMap<i64, i64>,
    last_batches: LastBatches,
    /// Every record that was ever written, by offset.
    written: BTreeMap<i64, Read>,
    /// What readers of committed data know of each key, and of which offset.
    state: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>,
    /// Records of open transactions.
    pending: BTreeMap<i64, Vec<i64>>,
}

fn reads(batch: &Batch) -> Vec<(i64, Read)> {
    let opened = batch.open(1 << 20).unwrap();
    let read = |record: crate::record::Record<'_>| {
        let timestamp = batch.header().base_timestamp().0 + record.timestamp_delta_ms;
        let read = Read {
            timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            header: record.headers.map(|header| header.key.to_vec()).next().unwrap_or_default(),
        };
        (batch.header().base_offset().0 + i64::from(record.offset_delta), read)
    };
    batch.records(&opened).map(|record| read(record.unwrap())).collect()
}

impl Log {
    fn new() -> Self {
        Self { segments: vec![(Offset(0), Vec::new())], ..Self::default() }
    }

    fn put(&mut self, batch: Batch) {
        let batch = batch.stamped(Offset(self.end), LeaderEpoch(0));
        self.end = batch.header().last_offset().0 + 1;
        self.segments.last_mut().unwrap().1.push(batch);
    }

    fn append(&mut self, random: &mut Random, now: i64) {
        let producer = random.below(4) as i64;
        let is_transactional = producer > 0 && !random.once_in(4);
        let codec = *random.pick(&[Codec::None, Codec::None, Codec::Lz4, Codec::Zstd]);
        let options = BatchOptions {
            compression: Compression { codec, level: None },
            producer_id: ProducerId(if producer == 0 { -1 } else { producer }),
            producer_epoch: ProducerEpoch(if producer == 0 { -1 } else { 0 }),
            base_sequence: Sequence(if producer == 0 { -1 } else { i32::try_from(self.end).unwrap() }),
            transactional: is_transactional,
            ..BatchOptions::default()
        };
        if !is_transactional && self.open.contains_key(&producer) {
            return;
        }
        let mut builder = BatchBuilder::new(options);
        for _ in 0..=random.below(4) {
            let key = (!random.once_in(20)).then(|| vec![b'a' + random.below(KEYS) as u8]);
            let value = (!random.once_in(4)).then(|| random.bytes(20));
            let timestamp = now - random.below(5) as i64;
            builder.append(
                Timestamp(timestamp),
                key.as_deref(),
                value.as_deref(),
                &[Header { key: b"h", value: None }],
            );
        }
        let first = self.end;
        self.put(builder.build().unwrap());
        let records = reads(self.segments.last().unwrap().1.last().unwrap());
        let offsets: Vec<i64> = records.iter().map(|(offset, _)| *offset).collect();
        self.written.extend(records);
        if is_transactional {
            self.open.entry(producer).or_insert(first);
            self.pending.entry(producer).or_default().extend(offsets);
        } else {
            offsets.into_iter().for_each(|offset| self.commit(offset));
        }
        if producer > 0 {
            self.last_batches.insert(ProducerId(producer), (ProducerEpoch(0), Some(Offset(self.end - 1))));
        }
    }

    fn commit(&mut self, offset: i64) {
        let read = &self.written[&offset];
        let Some(key) = read.key.clone() else { return };
        let known = self.state.entry(key).or_insert((-1, None));
        if offset > known.0 {
            *known = (offset, read.value.clone());
        }
    }

    fn end_transaction(&mut self, random: &mut Random, now: i64) {
        let Some(producer) = self.open.keys().next().copied() else { return };
        let first = self.open.remove(&producer).unwrap();
        let committed = random.once_in(2);
        let options = BatchOptions {
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(0),
            ..BatchOptions::default()
        };
        let marker = EndMarker { committed, coordinator_epoch: 0 };
        let at = self.end;
        self.put(marker.batch(options, Timestamp(now)).unwrap());
        let offsets = self.pending.remove(&producer).unwrap_or_default();
        if committed {
            offsets.into_iter().for_each(|offset| self.commit(offset));
        } else {
            let stable = self.open.values().copied().min().unwrap_or(self.end);
            self.aborted.push(AbortedTransaction {
                producer: ProducerId(producer),
                first_offset: Offset(first),
                last_offset: Offset(at),
                last_stable_offset: Offset(stable),
            });
        }
    }

    fn roll(&mut self) {
        if !self.segments.last().unwrap().1.is_empty() {
            self.segments.push((Offset(self.end), Vec::new()));
        }
    }

    fn facts(&self, cleaned_to: Option<Offset>) -> (Vec<CompactedSegment>, CompactedLog) {
        let segments = self.segments.iter().map(|(base, batches)| CompactedSegment {
            base: *base,
            bytes: batches.iter().map(|batch| batch.bytes().len() as u64).sum(),
            largest_timestamp: batches.iter().map(|b| b.header().max_timestamp()).max().unwrap_or(Timestamp::NONE),
        });
        let limit = Offset(self.open.values().copied().min().unwrap_or(self.end));
        (segments.collect(), CompactedLog { log_start: Offset(0), limit, cleaned_to })
    }

    fn aborted_in(&self, base: Offset, next: Offset) -> Vec<AbortedTransaction> {
        self.aborted.iter().filter(|aborted| aborted.concerns(base, next)).copied().collect()
    }

    /// One pass; up to where the log is clean then.
    fn clean(&mut self, random: &mut Random, cleanable: &Cleanable, keys_max: usize, now: i64) -> Offset {
        let map = KeyMap::new(keys_max * KeyMap::SLOT_BYTES, 0.9, (random.next_u64(), 1));
        let mut keys = KeyWalk::new(map, cleanable.from);
        let (facts, _) = self.facts(None);
        let bases: Vec<Offset> = self.segments.iter().map(|(base, _)| *base).collect();
        let next_of = |base: Offset| bases[bases.partition_point(|b| *b <= base)];
        for base in bases.iter().copied().filter(|base| *base < cleanable.end && next_of(*base) > cleanable.from) {
            keys.expect_aborted(self.aborted_in(base, next_of(base)));
            feed(random, &self.bytes_of(base), |piece| keys.feed(piece).unwrap(), || false);
            if keys.is_full() {
                break;
            }
        }
        let map = keys.into_map(cleanable.end);
        let mut copying = Copying::new(map, self.last_batches.clone(), Timestamp(now), RETENTION_MS);
        let end = copying.end();
        let mut aborted: Vec<AbortedTransaction> = Vec::new();
        let mut untouched = self.aborted.clone();
        for group in group(&facts, cleanable.end, 2_000) {
            if group[0] >= end {
                break;
            }
            let mut batches = Vec::new();
            for base in &group {
                copying.expect_aborted(self.aborted_in(*base, next_of(*base)));
                feed(
                    random,
                    &self.bytes_of(*base),
                    |piece| {
                        let (step, copied) = copying.feed(piece).unwrap();
                        batches.extend(copied);
                        step
                    },
                    || false,
                );
                untouched.retain(|each| each.last_offset < *base || each.last_offset >= next_of(*base));
            }
            aborted.extend(copying.take_aborted());
            let place = self.segments.iter().position(|(base, _)| *base == group[0]).unwrap();
            let bytes: Vec<u8> = batches.iter().flat_map(|copied| copied.bytes.to_vec()).collect();
            let parsed = Batches::new(Bytes::from(bytes)).map(Result::unwrap).collect();
            self.segments.splice(place..place + group.len(), [(group[0], parsed)]);
        }
        aborted.extend(untouched);
        aborted.sort_by_key(|each| each.last_offset);
        self.aborted = aborted;
        end.min(cleanable.end)
    }

    fn bytes_of(&self, base: Offset) -> Bytes {
        let (_, batches) = self.segments.iter().find(|(b, _)| *b == base).unwrap();
        batches.iter().flat_map(|batch| batch.bytes().to_vec()).collect::<Vec<u8>>().into()
    }

    fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.segments.iter().flat_map(|(_, batches)| batches)
    }

    /// What a reader of committed data makes of the log, and how many of its records below `clean` are there.
    fn check(&self, clean: Offset, seed: u64) {
        let mut state: BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut last = -1;
        for batch in self.batches() {
            let header = batch.header();
            assert!(batch.is_crc_valid(), "seed {seed}");
            assert!(header.base_offset().0 > last, "seed {seed}");
            last = header.last_offset().0;
            if header.attributes().is_control() {
                continue;
            }
            let is_aborted = header.attributes().is_transactional()
                && self.aborted.iter().any(|each| {
                    each.producer == header.producer_id()
                        && each.first_offset <= header.base_offset()
                        && each.last_offset > header.last_offset()
                });
            let is_open = header.attributes().is_transactional()
                && self.open.get(&header.producer_id().0).is_some_and(|first| *first <= header.base_offset().0);
            for (offset, read) in reads(batch) {
                assert_eq!(read, self.written[&offset], "seed {seed}, offset {offset}");
                if is_aborted || is_open {
                    assert!(offset >= clean.0, "seed {seed}: {offset} was aborted and is still there");
                    continue;
                }
                let Some(key) = read.key else {
                    assert!(offset >= clean.0, "seed {seed}: {offset} has no key");
                    continue;
                };
                if offset < clean.0 {
                    assert!(seen.insert(key.clone()), "seed {seed}: {key:?} twice");
                }
                let known = state.entry(key).or_insert((-1, None));
                if offset > known.0 {
                    *known = (offset, read.value);
                }
            }
        }
        let values = |state: &BTreeMap<Vec<u8>, (i64, Option<Vec<u8>>)>| -> BTreeMap<Vec<u8>, Vec<u8>> {
            state.iter().filter_map(|(key, (_, value))| Some((key.clone(), value.clone()?))).collect()
        };
        assert_eq!(values(&state), values(&self.state), "seed {seed}");
        for (producer, (_, offset)) in &self.last_batches {
            let is_there = |batch: &Batch| {
                batch.header().producer_id() == *producer && Some(batch.header().last_offset()) == *offset
            };
            assert!(self.batches().any(is_there), "seed {seed}: the last batch of {producer:?}");
        }
    }
}

/// Hands bytes on in pieces, at least as large as is asked for.
fn feed(random: &mut Random, bytes: &Bytes, mut to: impl FnMut(&Bytes) -> Step, is_over: impl Fn() -> bool) {
    let (mut at, mut needed) = (0, 0);
    while at < bytes.len() && !is_over() {
        let len = (needed + random.below(300)).min(bytes.len() - at);
        let step = to(&bytes.slice(at..at + len));
        at += step.consumed_bytes;
        // A walk that is full goes no further.
        if step.consumed_bytes == 0 && step.needed_bytes == 0 && len > 0 {
            return;
        }
        needed = step.needed_bytes.max(61);
    }
}

#[test]
fn a_reader_finds_the_last_value_of_each_key_however_often_the_log_was_cleaned() {
    let mut passes = 0;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let mut log = Log::new();
        let mut cleaned_to = None;
        let mut now = 10_000;
        for _ in 0..200 {
            now += random.below(50) as i64;
            match random.below(10) {
                0..6 => log.append(&mut random, now),
                6 | 7 => log.end_transaction(&mut random, now),
                8 => log.roll(),
                _ => {
                    let (segments, facts) = log.facts(cleaned_to);
                    let Some(cleanable) = CompactionRules::default().cleanable(&segments, &facts, Timestamp(now))
                    else {
                        continue;
                    };
                    let keys_max = *random.pick(&[3, 100]);
                    let end = log.clean(&mut random, &cleanable, keys_max, now);
                    assert!(end > cleanable.from, "seed {seed}: a pass comes forward, {cleanable:?}, {end:?}");
                    cleaned_to = Some(end);
                    passes += 1;
                    log.check(end, seed);
                }
            }
        }
    }
    assert!(passes > 1_000, "{passes}");
}

#[test]
fn what_is_superseded_aborted_or_deleted_is_gone_in_the_end() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut log = Log::new();
        for now in 0..100 {
            match random.below(4) {
                0 => log.end_transaction(&mut random, now),
                1 if random.once_in(4) => log.roll(),
                _ => log.append(&mut random, now),
            }
        }
        while !log.open.is_empty() {
            log.end_transaction(&mut random, 100);
        }
        log.roll();
        // Nobody is remembered any more, whose last batch would have to stay.
        log.last_batches.clear();
        let end = Offset(log.end);
        // Three passes: values go, then markers of what has gone get their time, and that passes.
        for pass in 0..4 {
            let cleanable = Cleanable { from: Offset(0), end, dirty_ratio: 1.0 };
            log.clean(&mut random, &cleanable, 100, 1_000 + pass * (RETENTION_MS + 1));
            log.check(end, seed);
        }
        let live = log.state.values().filter(|(_, value)| value.is_some()).count();
        let records: Vec<_> = log.batches().filter(|b| !b.header().attributes().is_control()).flat_map(reads).collect();
        assert!(records.iter().all(|(_, read)| read.value.is_some()), "seed {seed}: a tombstone");
        assert_eq!(records.len(), live, "seed {seed}");
        assert_eq!(log.batches().last().unwrap().header().last_offset().plus(1), end, "seed {seed}: the last is left");
        let is_control = |batch: &&Batch| batch.header().attributes().is_control();
        let has_records = |batch: &&Batch| batch.header().record_count() > 0;
        let data = log.batches().filter(|batch| !is_control(batch)).filter(has_records);
        let written: BTreeSet<_> = data.map(|batch| batch.header().producer_id()).collect();
        for batch in log.batches().filter(is_control).filter(has_records) {
            assert!(written.contains(&batch.header().producer_id()), "seed {seed}: a marker of nothing");
        }
        assert_eq!(log.aborted, [], "seed {seed}");
    }
}

#[test]
fn only_whole_segments_that_are_old_stable_and_ended_are_cleaned() {
    let segment =
        |base, bytes, largest| CompactedSegment { base: Offset(base), bytes, largest_timestamp: Timestamp(largest) };
    let segments = [segment(0, 100, 10), segment(10, 100, 20), segment(20, 100, 30), segment(30, 50, 40)];
    let log = CompactedLog { log_start: Offset(0), limit: Offset(35), cleaned_to: Some(Offset(10)) };
    let rules = CompactionRules::default();
    let cleanable = |rules: &CompactionRules, log: &CompactedLog| {
        rules.cleanable(&segments, log, Timestamp(100)).map(|found| (found.from.0, found.end.0))
    };
    assert_eq!(cleanable(&rules, &log), Some((10, 30)), "the active one stays");
    assert_eq!(cleanable(&rules, &CompactedLog { limit: Offset(29), ..log }), Some((10, 20)));
    assert_eq!(cleanable(&rules, &CompactedLog { limit: Offset(19), ..log }), None);
    assert_eq!(cleanable(&CompactionRules { lag_min_ms: 75, ..rules }, &log), Some((10, 20)));
    assert_eq!(
        cleanable(&rules, &CompactedLog { cleaned_to: Some(Offset(99)), ..log }),
        Some((0, 30)),
        "of another log"
    );
    assert_eq!(cleanable(&rules, &CompactedLog { cleaned_to: Some(Offset(30)), ..log }), None);
    let found = rules.cleanable(&segments, &log, Timestamp(100)).unwrap();
    assert!((found.dirty_ratio - 2.0 / 3.0).abs() < 1e-9);
    assert!(rules.is_due(&found, Timestamp::NONE, Timestamp(100)));
    let patient = CompactionRules { dirty_ratio_min: 0.7, lag_max_ms: 50, ..rules };
    assert!(
        !patient.is_due(&found, Timestamp(50), Timestamp(100)) && patient.is_due(&found, Timestamp(49), Timestamp(100))
    );
    let groups = |end, bytes_max| group(&segments, Offset(end), bytes_max);
    assert_eq!(groups(30, 200), [vec![Offset(0), Offset(10)], vec![Offset(20)]]);
    assert_eq!(groups(20, 99), [vec![Offset(0)], vec![Offset(10)]], "one that is too large stays alone");
    let last = i64::from(i32::MAX);
    let far = |next| [segment(0, 1, 1), segment(10, 1, 1), segment(next, 1, 1), segment(next + 1, 1, 1)];
    assert_eq!(group(&far(last + 1), Offset(last + 2), 100), [vec![Offset(0), Offset(10)], vec![Offset(last + 1)]]);
    assert_eq!(group(&far(last + 2), Offset(last + 3), 100).len(), 2, "an index entry cannot say more");
}
