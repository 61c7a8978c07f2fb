//! The machine against a naive model, and each promise by name.

use super::*;
use crate::base::{ProducerEpoch, ProducerId, Sequence};
use crate::record::{BatchBuilder, BatchOptions};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn settings(flush_messages: i64) -> LogSettings {
    LogSettings {
        roll: RollRules { segment_bytes: 1_000, ..RollRules::default() },
        segment_jitter_ms: 0,
        index: IndexOptions { interval_bytes: 100, ..IndexOptions::default() },
        log_append_time: false,
        flush_messages,
        flush_ms: i64::MAX,
        retention: RetentionRules::default(),
        file_delete_delay_ms: 0,
        compaction: None,
        producer_expiration_ms: 86_400_000,
        verifies_transactions: false,
    }
}

fn empty(settings: LogSettings) -> Partition {
    let recovered = Recovered {
        segments: vec![Segment::new(Offset(0), NOW)],
        index: IndexBuilder::new(Offset(0), settings.index),
        log_start: Offset(0),
        log_end: Offset(0),
        durable: Offset(0),
        producers: ProducerStates::new(),
        epochs: LeaderEpochs::default(),
    };
    Partition::new(settings, LeaderEpoch(3), recovered, 0)
}

fn batch_of(records: i32, options: BatchOptions) -> ValidBatch {
    let mut builder = BatchBuilder::new(options);
    for record in 0..records {
        builder.append(NOW + i64::from(record), None, Some(b"value"), &[]);
    }
    ValidBatch::internal(builder.build().unwrap())
}

fn batch(records: i32) -> ValidBatch {
    batch_of(records, BatchOptions::default())
}

fn sequenced(records: i32, epoch: i16, sequence: i32) -> ValidBatch {
    batch_of(
        records,
        BatchOptions {
            producer_id: ProducerId(9),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
            ..BatchOptions::default()
        },
    )
}

fn admitted(partition: &mut Partition, batch: &ValidBatch) -> Admitted {
    match partition.admit(batch, NOW) {
        Admission::Admitted(admitted) => admitted,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_that_goes_on_from_another_shows_no_less() {
    let mut before = empty(settings(1));
    for _ in 0..2 {
        admitted(&mut before, &batch(2));
        before.wrote();
    }
    let target = before.sync_target().unwrap();
    // The opening begins here, and does not know of the sync that ends before it does.
    let recovered = Recovered {
        segments: vec![Segment { bytes: target.bytes, ..Segment::new(Offset(0), NOW) }],
        index: IndexBuilder::new(Offset(0), settings(1).index),
        log_start: Offset(0),
        log_end: Offset(4),
        durable: Offset(0),
        producers: ProducerStates::new(),
        epochs: LeaderEpochs::default(),
    };
    let mut after = Partition::new(settings(1), LeaderEpoch(3), recovered, 0);
    before.synced(target);
    admitted(&mut before, &batch(1));
    assert_eq!(after.high_watermark(), Offset(0));
    after.go_on_from(&before);
    assert_eq!(after.high_watermark(), Offset(4));
    assert_eq!(after.locate(Offset(0)), before.locate(Offset(0)));
    assert!(after.locate(Offset(0)).unwrap().is_some());
}

#[test]
fn a_plain_topic_shows_and_acknowledges_what_is_written() {
    let mut partition = empty(settings(i64::MAX));
    let first = admitted(&mut partition, &batch(3));
    assert_eq!((first.base_offset, first.end, first.position), (Offset(0), Offset(3), FilePosition(0)));
    assert_eq!((partition.high_watermark(), partition.acknowledged()), (Offset(0), Offset(0)));
    assert_eq!(partition.locate(Offset(0)), Ok(None), "admitted is not written");
    assert!(partition.wrote());
    assert_eq!((partition.high_watermark(), partition.acknowledged()), (Offset(3), Offset(3)));
    let visible_bytes = partition.active().bytes;
    let extent = Extent { segment: Offset(0), visible_bytes, active: true };
    assert_eq!(partition.locate(Offset(2)), Ok(Some(extent)));
    assert_eq!(partition.locate(Offset(3)), Ok(None));
    assert_eq!(partition.locate(Offset(4)), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
    assert_eq!(partition.locate(Offset(-1)), Err(ErrorCode::OFFSET_OUT_OF_RANGE));
}

#[test]
fn a_strict_topic_shows_and_acknowledges_what_is_synced_and_no_more() {
    let mut partition = empty(settings(1));
    admitted(&mut partition, &batch(3));
    assert!(!partition.wrote());
    assert_eq!((partition.high_watermark(), partition.acknowledged()), (Offset(0), Offset(0)));
    let target = partition.sync_target().unwrap();
    let bytes_of_first = partition.active().bytes;
    // Written while the sync is in flight: not covered by it.
    admitted(&mut partition, &batch(2));
    assert!(!partition.wrote());
    assert!(partition.synced(target));
    assert_eq!((partition.high_watermark(), partition.acknowledged()), (Offset(3), Offset(3)));
    let extent = partition.locate(Offset(1)).unwrap().unwrap();
    assert_eq!(extent.visible_bytes, bytes_of_first, "a reader gets no byte of the unsynced batch");
    assert_eq!(partition.locate(Offset(3)), Ok(None), "between high watermark and end is simply nothing yet");
    assert!(partition.sync_is_urgent());
    let target = partition.sync_target().unwrap();
    assert!(partition.synced(target));
    assert_eq!((partition.high_watermark(), partition.sync_target()), (Offset(5), None));
}

#[test]
fn flush_messages_bounds_what_is_acknowledged_and_unsynced() {
    let mut partition = empty(settings(4));
    admitted(&mut partition, &batch(3));
    assert!(partition.wrote());
    assert_eq!(partition.acknowledged(), Offset(3));
    assert!(!partition.sync_is_urgent());
    admitted(&mut partition, &batch(3));
    partition.wrote();
    assert_eq!(partition.acknowledged(), Offset(3), "the batch that makes six of four waits for the sync");
    assert!(partition.sync_is_urgent());
    let target = partition.sync_target().unwrap();
    partition.synced(target);
    assert_eq!(partition.acknowledged(), Offset(6));
}

#[test]
fn a_roll_begins_a_segment_at_the_end_and_old_bytes_stay_visible() {
    let mut partition = empty(settings(1));
    while !matches!(partition.admit(&batch(5), NOW), Admission::Roll) {
        partition.wrote();
    }
    let (end, old_bytes) = (partition.log_end(), partition.active().bytes);
    partition.roll(NOW, 0);
    assert_eq!(partition.active().base, end);
    assert_eq!(partition.locate(Offset(0)), Ok(None), "strict and not synced yet");
    assert_eq!(partition.durable_segment(), Offset(0), "the sync must cover the old segment");
    let target = partition.sync_target().unwrap();
    assert_eq!(target.segment(), end);
    assert!(partition.synced(target));
    let extent = Extent { segment: Offset(0), visible_bytes: old_bytes, active: false };
    assert_eq!(partition.locate(Offset(0)), Ok(Some(extent)));
    assert_eq!(partition.next_extent(Offset(0)), None, "the new segment is empty");
    let next = admitted(&mut partition, &batch(1));
    assert_eq!((next.base_offset, next.position), (end, FilePosition(0)));
}

#[test]
fn the_last_batches_are_known_by_their_places() {
    let mut partition = empty(LogSettings { roll: RollRules::default(), ..settings(i64::MAX) });
    let mut places = Vec::new();
    for records in (1..=3).cycle().take(RECENT_BATCHES_MAX + 5) {
        let Admitted { base_offset, end, position, slices, .. } = admitted(&mut partition, &batch(records));
        places.push((base_offset, end, position, slices.iter().map(Bytes::len).sum::<usize>() as u64));
    }
    let (forgotten, known) = places.split_at(5);
    let last_forgotten = forgotten.last().unwrap().0;
    assert_eq!(partition.recent_batch(Offset(0), last_forgotten), None);
    for (base_offset, end, position, bytes) in known {
        for offset in base_offset.0..end.0 {
            let found = partition.recent_batch(Offset(0), Offset(offset)).unwrap();
            assert_eq!((found.base_offset, found.last_offset.plus(1)), (*base_offset, *end));
            assert_eq!((found.position, found.end), (*position, position.plus(*bytes)));
        }
    }
    assert_eq!(partition.recent_batch(Offset(0), partition.log_end()), None);
    partition.wrote();
    partition.roll(NOW, 0);
    assert_eq!(partition.recent_batch(Offset(0), known[0].0), None, "it is in another segment than the active one");
    assert_eq!(partition.recent_batch(partition.log_end(), known[0].0), None, "not in this one either");
}

#[test]
fn a_duplicate_waits_for_its_original_and_gaps_are_refused() {
    let mut partition = empty(settings(1));
    let first = admitted(&mut partition, &sequenced(2, 0, 0));
    let Admission::Duplicate { base_offset, end, .. } = partition.admit(&sequenced(2, 0, 0), NOW) else {
        panic!("the same sequence again is a duplicate, also before it is written")
    };
    assert_eq!((base_offset, end), (first.base_offset, first.end));
    assert!(partition.acknowledged() < end, "its original is not durable yet");
    let Admission::Refused(refusal) = partition.admit(&sequenced(1, 0, 5), NOW) else { panic!("3, 4 are missing") };
    assert_eq!(refusal.code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    admitted(&mut partition, &sequenced(1, 1, 0));
    let Admission::Refused(refusal) = partition.admit(&sequenced(1, 0, 2), NOW) else { panic!("epoch 1 has written") };
    assert_eq!(refusal.code, ErrorCode::INVALID_PRODUCER_EPOCH);
}

#[test]
fn append_time_takes_the_place_of_the_clients() {
    let mut partition = empty(LogSettings { log_append_time: true, ..settings(i64::MAX) });
    let later = NOW + 5_000;
    let Admission::Admitted(admitted) = partition.admit(&batch(2), later) else { panic!() };
    assert_eq!(admitted.log_append_time, later);
    assert_eq!(partition.index().largest().timestamp, later);
}

#[test]
fn a_reader_with_records_of_a_lost_epoch_diverges() {
    let mut partition = empty(settings(i64::MAX));
    admitted(&mut partition, &batch(4));
    partition.wrote();
    assert_eq!(partition.diverging(LeaderEpoch::NONE, Offset(9)), None, "it does not ask");
    assert_eq!(partition.diverging(LeaderEpoch(3), Offset(4)), None);
    assert_eq!(partition.diverging(LeaderEpoch(3), Offset(5)), Some((LeaderEpoch(3), Offset(4))));
}

/// Random histories: whatever is admitted, written, synced and rolled in whatever order, the four offsets keep their
/// order, never go back, and positions continue one another.
#[test]
fn the_offsets_keep_their_order_in_random_histories() {
    for seed in 1..200_u64 {
        let mut random = seed;
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let flush_messages = [1, 3, 50, i64::MAX][usize::try_from(draw(4)).unwrap()];
        let mut partition = empty(settings(flush_messages));
        let mut in_flight = None;
        let (mut end, mut position) = (Offset(0), FilePosition(0));
        let mut before = (Offset(0), Offset(0), Offset(0));
        for _ in 0..100 {
            match draw(4) {
                0 | 1 => {
                    let batch = batch(i32::try_from(draw(6)).unwrap() + 1);
                    match partition.admit(&batch, NOW) {
                        Admission::Admitted(admitted) => {
                            assert_eq!((admitted.base_offset, admitted.position), (end, position));
                            end = end.plus(i64::from(batch.record_count()));
                            position = position.plus(batch.size_bytes() as u64);
                            assert_eq!(admitted.end, end);
                            partition.wrote();
                        }
                        Admission::Roll => {
                            partition.roll(NOW, draw(u64::MAX));
                            position = FilePosition(0);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                2 => in_flight = in_flight.or(partition.sync_target()),
                _ => {
                    if let Some(target) = in_flight.take() {
                        partition.synced(target);
                    }
                }
            }
            let now = (partition.durable(), partition.acknowledged(), partition.high_watermark());
            assert!(now.0 >= before.0 && now.1 >= before.1 && now.2 >= before.2, "seed {seed}: nothing goes back");
            assert!(now.0 <= end && now.1 <= end && now.2 <= end, "seed {seed}: nothing runs ahead");
            if flush_messages == 1 {
                assert_eq!((now.1, now.2), (now.0, now.0), "seed {seed}: strict means durable");
            } else {
                assert!(end - now.1 == 0 || now.1 - now.0 < flush_messages, "seed {seed}: too much unsynced");
            }
            before = now;
        }
    }
}

fn transactional(epoch: i16, sequence: i32) -> ValidBatch {
    let options = BatchOptions {
        producer_id: ProducerId(9),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        transactional: true,
        ..BatchOptions::default()
    };
    batch_of(1, options)
}

fn marker(epoch: i16, committed: bool) -> (ValidBatch, EndMarker) {
    let marker = EndMarker { committed, coordinator_epoch: 0 };
    let options =
        BatchOptions { producer_id: ProducerId(9), producer_epoch: ProducerEpoch(epoch), ..BatchOptions::default() };
    (ValidBatch::internal(marker.batch(options, NOW).unwrap()), marker)
}

fn end(partition: &mut Partition, epoch: i16, committed: bool, raises_epoch: bool) -> Admission {
    let (batch, marker) = marker(epoch, committed);
    partition.admit_marker(&batch, marker, raises_epoch, NOW)
}

#[test]
fn readers_of_committed_data_see_a_transaction_once_its_marker_is_visible() {
    for flush_messages in [1, i64::MAX] {
        let mut partition = empty(LogSettings { roll: RollRules::default(), ..settings(flush_messages) });
        let show = |partition: &mut Partition| {
            partition.wrote();
            if let Some(target) = partition.sync_target().filter(|_| flush_messages == 1) {
                partition.synced(target);
            }
        };
        admitted(&mut partition, &batch(2));
        admitted(&mut partition, &transactional(0, 0));
        admitted(&mut partition, &batch(3));
        show(&mut partition);
        assert_eq!((partition.last_stable_offset(), partition.high_watermark()), (Offset(2), Offset(6)));
        assert!(matches!(end(&mut partition, 0, false, false), Admission::Admitted(_)));
        assert_eq!(partition.last_stable_offset(), Offset(2), "the marker is not visible yet");
        let aborted = AbortedTransaction {
            producer: ProducerId(9),
            first_offset: Offset(2),
            last_offset: Offset(6),
            last_stable_offset: Offset(7),
        };
        assert_eq!(partition.take_unwritten_aborted(), [aborted]);
        show(&mut partition);
        assert_eq!(partition.last_stable_offset(), Offset(7));
        admitted(&mut partition, &transactional(0, 1));
        assert!(matches!(end(&mut partition, 0, true, false), Admission::Admitted(_)));
        assert!(partition.take_unwritten_aborted().is_empty(), "it was committed");
        show(&mut partition);
        assert_eq!(partition.last_stable_offset(), Offset(9));
        // A marker of nothing takes an offset and changes nothing else.
        assert!(matches!(end(&mut partition, 0, false, false), Admission::Admitted(_)));
        assert!(partition.take_unwritten_aborted().is_empty());
    }
}

#[test]
fn a_transaction_begins_where_its_coordinator_has_said_that_it_may() {
    let rules = LogSettings { roll: RollRules::default(), verifies_transactions: true, ..settings(i64::MAX) };
    let mut partition = empty(rules);
    let refused = |partition: &mut Partition, batch: &ValidBatch| match partition.admit(batch, NOW) {
        Admission::Refused(refusal) => refusal.code,
        other => panic!("{other:?}"),
    };
    let first = transactional(0, 0);
    assert!(partition.must_verify(first.header(), false) && !partition.must_verify(batch(1).header(), false));
    assert_eq!(refused(&mut partition, &first), ErrorCode::INVALID_TXN_STATE);
    partition.verify(ProducerId(9), ProducerEpoch(0));
    admitted(&mut partition, &first);
    assert!(!partition.must_verify(transactional(0, 1).header(), false), "it has begun");
    assert!(!partition.must_verify(first.header(), false), "it is there already");
    admitted(&mut partition, &transactional(0, 1));
    // The end comes between what the coordinator says and the batch: it must not begin another transaction.
    assert!(matches!(end(&mut partition, 1, true, true), Admission::Admitted(_)));
    partition.verify(ProducerId(9), ProducerEpoch(1));
    assert!(matches!(end(&mut partition, 2, false, true), Admission::Admitted(_)));
    assert_eq!(refused(&mut partition, &transactional(1, 0)), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(refused(&mut partition, &transactional(2, 0)), ErrorCode::INVALID_TXN_STATE);
    partition.verify(ProducerId(9), ProducerEpoch(1));
    assert!(partition.must_verify(transactional(2, 0).header(), false), "another generation");
}

#[test]
fn without_verification_the_coordinator_still_learns_who_takes_part() {
    let rules = LogSettings { roll: RollRules::default(), verifies_transactions: false, ..settings(i64::MAX) };
    let mut partition = empty(rules);
    let first = transactional(0, 0);
    let (producer, epoch) = (ProducerId(9), ProducerEpoch(0));
    assert!(!partition.must_verify(first.header(), false) && partition.must_verify(first.header(), true));
    assert!(!partition.must_verify_producer(producer, epoch, false));
    assert!(partition.must_verify_producer(producer, epoch, true));
    partition.verify(producer, epoch);
    assert!(!partition.must_verify(first.header(), true) && !partition.must_verify_producer(producer, epoch, true));
    admitted(&mut partition, &first);
}

#[test]
fn markers_of_those_who_are_none_any_more_are_refused() {
    let mut partition = empty(LogSettings { roll: RollRules::default(), ..settings(i64::MAX) });
    let code = |admission: Admission| match admission {
        Admission::Refused(refusal) => refusal.code,
        Admission::Admitted(_) => ErrorCode::NONE,
        other => panic!("{other:?}"),
    };
    admitted(&mut partition, &transactional(3, 0));
    assert_eq!(code(end(&mut partition, 2, true, false)), ErrorCode::INVALID_PRODUCER_EPOCH);
    assert_eq!(code(end(&mut partition, 3, true, true)), ErrorCode::INVALID_PRODUCER_EPOCH, "it raises the epoch");
    assert_eq!(code(end(&mut partition, 4, true, true)), ErrorCode::NONE);
    assert_eq!(code(end(&mut partition, 4, true, true)), ErrorCode::NONE, "it came before");
    let (batch, _) = marker(4, true);
    let newer = EndMarker { committed: true, coordinator_epoch: 5 };
    assert_eq!(code(partition.admit_marker(&batch, newer, false, NOW)), ErrorCode::NONE);
    let older = EndMarker { committed: true, coordinator_epoch: 4 };
    assert_eq!(code(partition.admit_marker(&batch, older, false, NOW)), ErrorCode::TRANSACTION_COORDINATOR_FENCED);
}
