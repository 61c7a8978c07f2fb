//! The rules by rows, and random histories against a model that remembers everything.

use super::*;
use crate::record::{Batch, BatchBuilder, BatchOptions, EndMarker};
use crate::test_support::{Random, with_producer};

const AT: Timestamp = Timestamp(1_000);

fn batch(id: i64, epoch: i16, sequence: i32, records: usize) -> Batch {
    batch_with(id, epoch, sequence, records, false)
}

fn batch_with(id: i64, epoch: i16, sequence: i32, records: usize, transactional: bool) -> Batch {
    let options = BatchOptions { transactional, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(with_producer(options, id, epoch, sequence));
    for _ in 0..records {
        builder.append(AT, None, Some(b"x"), &[]);
    }
    builder.build().unwrap()
}

fn marker(id: i64, epoch: i16) -> BatchHeader {
    let options = with_producer(BatchOptions::default(), id, epoch, -1);
    *EndMarker { committed: true, coordinator_epoch: 3 }.batch(options, AT).unwrap().header()
}

/// Appends if the verdict is to; gives the verdict.
fn offer(states: &mut ProducerStates, batch: &Batch, base_offset: i64) -> ProducerVerdict {
    let verdict = states.check(batch.header());
    if verdict == ProducerVerdict::Append {
        states.append(batch.header(), Offset(base_offset), AT);
    }
    verdict
}

fn code(verdict: &ProducerVerdict) -> i16 {
    match verdict {
        ProducerVerdict::Append | ProducerVerdict::Duplicate { .. } => 0,
        ProducerVerdict::Reject(rejection) => rejection.code(),
    }
}

#[test]
fn each_row_of_the_table() {
    let mut states = ProducerStates::new();
    assert_eq!(offer(&mut states, &batch(-1, -1, -1, 3), 0), ProducerVerdict::Append);
    assert!(states.is_empty());
    assert_eq!(offer(&mut states, &batch(1, 5, 40, 3), 3), ProducerVerdict::Append, "unknown: any sequence");
    assert_eq!(offer(&mut states, &batch(1, 5, 43, 2), 6), ProducerVerdict::Append);
    let again = ProducerVerdict::Duplicate { base_offset: Offset(3), last_offset: Offset(5), timestamp: AT };
    assert_eq!(offer(&mut states, &batch(1, 5, 40, 3), 8), again);
    for (name, next, expected) in [
        ("gap", batch(1, 5, 46, 1), 45),
        ("overlap", batch(1, 5, 44, 2), 45),
        ("part of a stored one", batch(1, 5, 40, 2), 45),
        ("older epoch", batch(1, 4, 45, 1), 47),
        ("older epoch, stored range", batch(1, 4, 40, 3), 47),
        ("newer epoch, sequence not 0", batch(1, 6, 45, 1), 45),
    ] {
        assert_eq!(code(&states.check(next.header())), expected, "{name}");
    }
    assert_eq!(offer(&mut states, &batch(1, 6, 0, 1), 8), ProducerVerdict::Append, "newer epoch");
    assert_eq!(code(&states.check(batch(1, 5, 43, 2).header())), 47, "the window of the old epoch is gone");
    assert_eq!(offer(&mut states, &batch(1, 6, 1, 1), 9), ProducerVerdict::Append);
}

#[test]
fn a_transaction_begins_with_its_first_batch() {
    let transactional = |epoch, sequence| batch_with(1, epoch, sequence, 1, true);
    for adds in [false, true] {
        let mut states = ProducerStates::new();
        // The first two are refused, since the transaction before is still being ended; the third has overtaken their return.
        for sequence in [0, 1, 2] {
            states.await_verification(transactional(0, sequence).header(), adds);
        }
        states.verify(ProducerId(1), ProducerEpoch(0));
        assert_eq!(code(&offer(&mut states, &transactional(0, 2), 0)), 45);
        for sequence in [0, 1, 2] {
            assert_eq!(code(&offer(&mut states, &transactional(0, sequence), sequence.into())), 0);
        }
    }
    // A producer that is not known here: of old clients any sequence is taken, new ones begin with 0.
    for (adds, expected) in [(false, 0), (true, 45)] {
        let mut states = ProducerStates::new();
        states.await_verification(transactional(3, 7).header(), adds);
        states.verify(ProducerId(1), ProducerEpoch(3));
        assert_eq!(code(&offer(&mut states, &transactional(3, 7), 0)), expected, "{adds}");
        assert_eq!(code(&offer(&mut states, &batch(1, 4, 0, 1), 1)), if adds { 0 } else { 48 });
    }
    // A batch of an earlier epoch that comes late changes nothing.
    let mut states = ProducerStates::new();
    states.await_verification(transactional(4, 0).header(), true);
    states.verify(ProducerId(1), ProducerEpoch(4));
    states.await_verification(transactional(3, 0).header(), true);
    assert!(states.is_verified(transactional(4, 0).header()) && !states.is_verified(transactional(3, 0).header()));
    // The marker raises the epoch, and what was asked under the old one counts no more.
    let mut states = ProducerStates::new();
    states.await_verification(transactional(0, 0).header(), true);
    states.verify(ProducerId(1), ProducerEpoch(0));
    assert_eq!(code(&offer(&mut states, &transactional(0, 0), 0)), 0);
    let mark = EndMarker { committed: true, coordinator_epoch: 3 };
    states.end_transaction(&marker(1, 1), mark, Offset(1), AT);
    states.await_verification(transactional(1, 3).header(), true);
    states.await_verification(transactional(1, 0).header(), true);
    states.verify(ProducerId(1), ProducerEpoch(1));
    assert_eq!(code(&offer(&mut states, &transactional(1, 3), 2)), 45);
    assert_eq!(code(&offer(&mut states, &transactional(1, 0), 2)), 0);
}

#[test]
fn sequences_wrap() {
    let mut states = ProducerStates::new();
    assert_eq!(offer(&mut states, &batch(1, 0, i32::MAX - 1, 4), 0), ProducerVerdict::Append);
    assert!(matches!(states.check(batch(1, 0, i32::MAX - 1, 4).header()), ProducerVerdict::Duplicate { .. }));
    assert_eq!(code(&states.check(batch(1, 0, 1, 1).header())), 45);
    assert_eq!(offer(&mut states, &batch(1, 0, 2, 1), 4), ProducerVerdict::Append);
    let mut states = ProducerStates::new();
    offer(&mut states, &batch(1, 0, i32::MAX, 1), 0);
    assert_eq!(offer(&mut states, &batch(1, 0, 0, 1), 1), ProducerVerdict::Append);
}

#[test]
fn a_transaction_keeps_its_first_offset_until_its_marker() {
    let mut states = ProducerStates::new();
    offer(&mut states, &batch_with(1, 0, 0, 2, true), 10);
    offer(&mut states, &batch_with(2, 0, 0, 2, true), 12);
    offer(&mut states, &batch_with(1, 0, 2, 2, true), 14);
    assert_eq!(states.first_open_transaction(), Some(Offset(10)));
    assert_eq!(code(&states.check(batch(1, 0, 4, 1).header())), 48);
    let restored = ProducerStates::from_snapshot(&states.to_snapshot(), Offset(16)).unwrap();
    assert_eq!(restored.first_open_transaction(), Some(Offset(10)));
    states.end_transaction(&marker(1, 0), EndMarker { committed: true, coordinator_epoch: 3 }, Offset(16), AT);
    assert_eq!(states.first_open_transaction(), Some(Offset(12)));
    assert_eq!(offer(&mut states, &batch(1, 0, 4, 1), 17), ProducerVerdict::Append);
    // A marker with a raised epoch begins a new window; only sequence 0 follows.
    states.end_transaction(&marker(1, 1), EndMarker { committed: true, coordinator_epoch: 3 }, Offset(18), AT);
    assert_eq!(code(&states.check(batch(1, 0, 5, 1).header())), 47);
    assert_eq!(code(&states.check(batch(1, 1, 5, 1).header())), 45);
    assert_eq!(offer(&mut states, &batch(1, 1, 0, 1), 19), ProducerVerdict::Append);
}

#[test]
fn producers_expire_unless_a_transaction_is_open() {
    let mut states = ProducerStates::new();
    offer(&mut states, &batch(1, 0, 0, 1), 0);
    offer(&mut states, &batch_with(2, 0, 0, 1, true), 1);
    assert_eq!(states.expire(AT + 99, 100), 0);
    assert_eq!(states.expire(AT + 100, 100), 1);
    assert_eq!(states.iter().map(|(id, _)| id).collect::<Vec<_>>(), [ProducerId(2)]);
}

#[test]
fn too_many_producers_push_out_the_one_that_wrote_least_recently() {
    let mut states = ProducerStates::new();
    let all = i64::try_from(PARTITION_PRODUCERS_MAX).unwrap();
    offer(&mut states, &batch_with(0, 0, 0, 1, true), 0);
    for id in 1..all {
        offer(&mut states, &batch(id, 0, 0, 1), id);
    }
    offer(&mut states, &batch(1, 0, 1, 1), all);
    offer(&mut states, &batch(all, 0, 0, 1), all + 1);
    assert_eq!(states.len(), PARTITION_PRODUCERS_MAX);
    assert_eq!(code(&states.check(batch(0, 0, 7, 1).header())), 45, "has a transaction open");
    assert_eq!(code(&states.check(batch(1, 0, 7, 1).header())), 45, "has written since");
    assert_eq!(states.check(batch(2, 0, 7, 1).header()), ProducerVerdict::Append, "forgotten");
    for id in 0..all {
        offer(&mut states, &batch_with(all + 2 + id, 0, 0, 1, true), all + 2 + id);
    }
    assert_eq!(states.len(), PARTITION_PRODUCERS_MAX);
    assert_eq!(code(&states.check(batch(-7 + 1, 0, 0, 1).header())), 0, "no producer");
    assert_eq!(code(&states.check(batch(9_999_999, 0, 0, 1).header())), 89);
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut states = ProducerStates::new();
    offer(&mut states, &batch(1, 0, 0, 2), 0);
    offer(&mut states, &batch(2, 3, 9, 1), 2);
    let file = states.to_snapshot();
    assert_eq!(file.len(), 10 + 2 * 46);
    let restored = ProducerStates::from_snapshot(&file, Offset(3)).unwrap();
    assert_eq!(restored.to_snapshot(), file);
    for at in 0..file.len() {
        let mut damaged = file.to_vec();
        damaged[at] ^= 1;
        assert!(ProducerStates::from_snapshot(&damaged, Offset(3)).is_err(), "byte {at}");
        assert!(ProducerStates::from_snapshot(&file[..at], Offset(3)).is_err(), "cut at {at}");
    }
    let empty = ProducerStates::new().to_snapshot();
    assert!(ProducerStates::from_snapshot(&empty, Offset(0)).unwrap().is_empty());
}

/// Everything that was ever appended by one producer, in order: epoch, first sequence, count, first offset.
#[derive(Default)]
struct Model {
    history: BTreeMap<i64, Vec<(i16, i32, usize, i64)>>,
}

impl Model {
    fn verdict(&self, id: i64, epoch: i16, sequence: i32, records: usize) -> (i16, Option<i64>) {
        let Some(history) = self.history.get(&id) else { return (0, None) };
        let &(current, last_sequence, last_records, _) = history.last().unwrap();
        let of_epoch: Vec<_> = history.iter().filter(|entry| entry.0 == epoch && epoch == current).collect();
        let window = &of_epoch[of_epoch.len().saturating_sub(5)..];
        if let Some(original) = window.iter().find(|entry| (entry.1, entry.2) == (sequence, records)) {
            return (0, Some(original.3));
        }
        let next = (i64::from(last_sequence) + i64::try_from(last_records).unwrap()) % (1 << 31);
        match epoch.cmp(&current) {
            std::cmp::Ordering::Less => (47, None),
            std::cmp::Ordering::Greater => (if sequence == 0 { 0 } else { 45 }, None),
            std::cmp::Ordering::Equal => (if i64::from(sequence) == next { 0 } else { 45 }, None),
        }
    }
}

#[test]
fn random_histories_agree_with_a_model_that_remembers_everything() {
    let mut verdicts = BTreeMap::new();
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut states, mut model, mut next_offset) = (ProducerStates::new(), Model::default(), 0);
        for step in 0..200 {
            let id = i64::try_from(random.below(3)).unwrap();
            let records = 1 + random.below(3);
            let last = model.history.get(&id).and_then(|history| history.last().copied());
            // Mostly what a client would send: the next one, or one of the last again; else anything near.
            let (epoch, sequence, records) = match (random.below(10), last) {
                (0..=4, Some((epoch, sequence, count, _))) => {
                    let next = Sequence(sequence).plus(i32::try_from(count).unwrap());
                    (epoch, next.0, records)
                }
                (5..=7, Some(_)) => {
                    let history = &model.history[&id];
                    let back = random.below(history.len().min(8));
                    let (epoch, sequence, count, _) = history[history.len() - 1 - back];
                    (epoch, sequence, count)
                }
                (8, Some((epoch, ..))) => (epoch + i16::try_from(random.below(3)).unwrap() - 1, 0, records),
                _ => {
                    let sequence = [0, 1, 2, i32::MAX - 1, i32::MAX][random.below(5)];
                    (i16::try_from(random.below(3)).unwrap(), sequence, records)
                }
            };
            if epoch < 0 {
                continue;
            }
            let expected = model.verdict(id, epoch, sequence, records);
            let verdict = offer(&mut states, &batch(id, epoch, sequence, records), next_offset);
            let original = match verdict {
                ProducerVerdict::Duplicate { base_offset, last_offset, .. } => {
                    assert_eq!(last_offset - base_offset + 1, i64::try_from(records).unwrap());
                    Some(base_offset.0)
                }
                _ => None,
            };
            assert_eq!((code(&verdict), original), expected, "seed {seed}, step {step}");
            *verdicts.entry((code(&verdict), original.is_some())).or_insert(0) += 1;
            if verdict == ProducerVerdict::Append {
                model.history.entry(id).or_default().push((epoch, sequence, records, next_offset));
                next_offset += i64::try_from(records).unwrap();
            }
        }
    }
    for kind in [(0, false), (0, true), (45, false), (47, false)] {
        assert!(verdicts.get(&kind).is_some_and(|count| *count > 500), "{kind:?} hardly occurs: {verdicts:?}");
    }
}

#[test]
fn a_snapshot_and_the_log_before_it_give_back_every_window() {
    let (mut completed, mut lacking) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut states, mut log, mut next) = (ProducerStates::new(), Vec::new(), Offset(0));
        let (mut snapshot, mut known_to) = (states.to_snapshot(), next);
        let mut last: BTreeMap<i64, (i16, i32)> = BTreeMap::new();
        for _ in 0..random.below(60) {
            let id = i64::try_from(random.below(3)).unwrap();
            let (epoch, sequence) = last.get(&id).copied().unwrap_or((0, 0));
            let (epoch, sequence) = if random.once_in(12) { (epoch + 1, 0) } else { (epoch, sequence) };
            let records = 1 + random.below(3);
            let batch = batch(id, epoch, sequence, records).stamped(next, crate::base::LeaderEpoch(0));
            states.append(batch.header(), next, AT);
            last.insert(id, (epoch, sequence + i32::try_from(records).unwrap()));
            next = batch.header().last_offset().plus(1);
            log.push(*batch.header());
            if random.once_in(8) {
                (snapshot, known_to) = (states.to_snapshot(), next);
            }
        }
        let mut found = ProducerStates::from_snapshot(&snapshot, known_to).unwrap();
        log.iter().for_each(|header| assert_eq!(found.replay(header, None), None));
        lacking += usize::from(found.iter().ne(states.iter()));
        assert!(found.iter().eq(states.iter()) || found.lacks_batches_from(Offset(0)), "seed {seed}");
        // Parts of the log come newest first, the batches in each in order.
        while !log.is_empty() {
            let part = log.split_off(random.below(log.len()));
            part.iter().for_each(|header| found.recall(header));
        }
        completed += usize::from(found.iter().eq(states.iter()));
        assert!(found.iter().eq(states.iter()), "seed {seed}");
    }
    assert!(completed == 300 && lacking > 100, "{completed} {lacking}");
}
