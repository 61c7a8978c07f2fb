//! Loading: what a restart makes of the log.

use super::*;
use crate::base::{ProducerEpoch, ProducerId};
use crate::protocol::Record;
use crate::protocol::records as schema;
use crate::protocol::wire::Writer;
use crate::record::{BatchBuilder, BatchOptions, Codec, Compression, EndMarker};

const RANGE: &[(&str, &[u8])] = &[("range", b"m")];

#[test]
fn a_stable_group_goes_on_after_a_restart() {
    let mut broker = Broker::new();
    let members = broker.stable(2, RANGE);
    broker.commit(7, 1, &members[0], "t", 5);
    let report = broker.crash(0);
    assert_eq!((report.groups, report.offsets, report.unknown_records), (1, 1, 0));
    assert_eq!(broker.state(), "Stable");
    assert_eq!(broker.fetch("t"), 5);
    for member in &members {
        assert_eq!(broker.heartbeat(1, member), ErrorCode::NONE);
        let id = broker.sync(1, member, &[]);
        assert_eq!(broker.synced(id).assignment, member.as_bytes());
    }
    let id = broker.ask(5, Request::DescribeGroup("g".into()));
    let Some(Answer::DescribeGroup(group)) = broker.answer(id) else { panic!() };
    assert_eq!((group.protocol_data.as_str(), &group.members[0].member_metadata[..]), ("range", &b"m"[..]));
    // Sessions begin anew, and end.
    broker.pass(9_900);
    assert_eq!(broker.state(), "Stable");
    broker.pass(200);
    assert_eq!(broker.state(), "Empty");
}

#[test]
fn what_was_not_acknowledged_may_be_there_or_not() {
    for tail in [0, 1] {
        let mut broker = Broker::new();
        let members = broker.stable(1, RANGE);
        broker.prompt = false;
        broker.commit(7, 1, &members[0], "t", 5);
        broker.crash(tail);
        assert_eq!(broker.fetch("t"), if tail == 1 { 5 } else { -1 });
    }
}

#[test]
fn a_generation_that_was_not_assigned_is_not_in_the_log() {
    let mut broker = Broker::new();
    let members = broker.stable(1, RANGE);
    let id = broker.join(NEW, &members[0], None, RANGE);
    assert_eq!(broker.joined(id).generation_id, 2);
    broker.crash(0);
    assert_eq!(broker.heartbeat(2, &members[0]), ErrorCode::ILLEGAL_GENERATION);
    let id = broker.join(NEW, &members[0], None, RANGE);
    assert_eq!(broker.joined(id).generation_id, 2);
}

/// A batch of records, and a loader to give it to.
fn batch(options: BatchOptions, records: &[(&[u8], Option<&[u8]>)]) -> crate::record::Batch {
    let mut builder = BatchBuilder::new(options);
    for (key, value) in records {
        builder.append(Timestamp(1), Some(key), *value, &[]);
    }
    builder.build().unwrap()
}

fn loader() -> GroupLoader {
    GroupLoader::new(GroupSettings::default(), Arc::default())
}

fn record<R: Record>(prefix: i16, version: i16, record: &R) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(prefix);
    record.encode(&mut writer, version).unwrap();
    writer.into_bytes().to_vec()
}

fn commit(offset: i64) -> LogRecord {
    let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex(0) };
    let committed = CommittedOffset {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        metadata: "".into(),
        committed_at: Timestamp(1),
        expires_at: None,
        topic_id: crate::base::Uuid::ZERO,
    };
    offset_record(&key, &committed).unwrap()
}

fn load(mut loader: GroupLoader, batches: &[crate::record::Batch]) -> (Broker, LoadReport) {
    let mut broker = Broker::new();
    for batch in batches {
        loader.batch(batch).unwrap();
    }
    let (coordinator, report) = loader.finish(broker.now());
    coordinator.assert_consistent();
    broker.coordinator = coordinator;
    // The naive model has not read these batches.
    broker.durable.ignore();
    (broker, report)
}

#[test]
fn compressed_batches_are_read() {
    let LogRecord { key, value } = commit(5);
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let options = BatchOptions { compression: Compression { codec, level: None }, ..BatchOptions::default() };
        let (mut broker, report) = load(loader(), &[batch(options, &[(&key, value.as_deref())])]);
        assert_eq!((broker.fetch("t"), report.records), (5, 1));
        assert_eq!(broker.state(), "Empty");
    }
}

#[test]
fn offsets_of_transactions_count_by_their_marker() {
    let LogRecord { key, value } = commit(5);
    let options = BatchOptions {
        producer_id: ProducerId(9),
        producer_epoch: ProducerEpoch(0),
        transactional: true,
        ..BatchOptions::default()
    };
    let commits = batch(options, &[(&key, value.as_deref())]);
    let end = |committed| {
        EndMarker { committed, coordinator_epoch: 0 }
            .batch(options, Timestamp(1))
            .unwrap()
            .stamped(Offset(1), LeaderEpoch(0))
    };
    let (mut open, _) = load(loader(), std::slice::from_ref(&commits));
    assert_eq!(open.fetch("t"), -1);
    open.coordinator.on_end_marker(ProducerId(9), true, Offset(i64::MAX));
    assert_eq!(open.fetch("t"), 5);
    let (mut committed, _) = load(loader(), &[commits.clone(), end(true)]);
    assert_eq!(committed.fetch("t"), 5);
    let (mut aborted, _) = load(loader(), &[commits, end(false)]);
    assert_eq!(aborted.fetch("t"), -1);
}

#[test]
fn a_group_that_is_gone_but_has_offsets_keeps_them() {
    let LogRecord { key, value } = commit(5);
    let group = group_tombstone(&"g".into()).unwrap();
    let (mut broker, report) =
        load(loader(), &[batch(BatchOptions::default(), &[(&key, value.as_deref()), (&group.key, None)])]);
    assert_eq!((broker.fetch("t"), report.groups), (5, 1));
    let (_, report) = load(
        loader(),
        &[batch(BatchOptions::default(), &[(&key, value.as_deref()), (&key, None), (&group.key, None)])],
    );
    assert_eq!((report.groups, report.offsets), (0, 0));
}

#[test]
fn groups_of_other_protocols_are_left_alone() {
    let LogRecord { key, value } = commit(5);
    let group = record(11, 0, &schema::ShareGroupMetadataKey { group_id: "g".into() });
    let member = record(10, 0, &schema::ShareGroupMemberMetadataKey { group_id: "g".into(), member_id: "m".into() });
    let epoch = record(0, 0, &schema::ShareGroupMetadataValue::default());
    let value = value.as_deref();
    let first: [(&[u8], Option<&[u8]>); 3] = [(&group, Some(&epoch)), (&member, Some(b"?")), (&key, value)];
    let batches = [batch(BatchOptions::default(), &first)];
    let (mut broker, report) = load(loader(), &batches);
    assert_eq!((report.groups, report.other_groups), (1, 1));
    assert_eq!(broker.fetch("t"), 5);
    let listed = broker.list().remove(0);
    assert_eq!((listed.group_type.as_str(), listed.group_state.as_str()), ("share", "Unknown"));
    let id = broker.join(NEW, "", None, RANGE);
    assert_eq!(broker.joined(id).error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0);
    let id = broker.commit(9, -1, "", "t", 6);
    assert_eq!(broker.committed(id), ErrorCode::UNKNOWN_MEMBER_ID);
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(broker.heartbeat(1, "m"), ErrorCode::UNKNOWN_MEMBER_ID);
    broker.pass(30 * DAY_MS);
    assert_eq!(broker.fetch("t"), 5);

    // Without members an operator may set its offsets.
    let empty = [batches[0].clone(), batch(BatchOptions::default(), &[(&member, None)])];
    let (mut broker, _) = load(loader(), &empty);
    assert_eq!(broker.list()[0].group_state.as_str(), "Empty");
    let id = broker.commit(9, -1, "", "t", 6);
    assert_eq!(broker.committed(id), ErrorCode::NONE);
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::GROUP_DELETION_FAILED);

    // When the group is gone, only its offsets are left.
    let gone = [empty[0].clone(), empty[1].clone(), batch(BatchOptions::default(), &[(&group, None)])];
    let (mut broker, report) = load(loader(), &gone);
    assert_eq!((report.other_groups, broker.fetch("t")), (0, 5));
    assert_eq!(broker.list()[0].group_type.as_str(), "classic");
}

#[test]
fn what_nobody_knows_is_passed_over_and_damage_is_not() {
    let LogRecord { key, value } = commit(5);
    let unknown: (&[u8], Option<&[u8]>) = (&[0, 99, 1], Some(b"?"));
    let (mut broker, report) = load(loader(), &[batch(BatchOptions::default(), &[unknown, (&key, value.as_deref())])]);
    assert_eq!((report.unknown_records, report.records, broker.fetch("t")), (1, 2, 5));
    let damaged = batch(BatchOptions::default(), &[(&key, value.as_deref()), (&key, Some(&[0, 9]))]);
    let damaged = damaged.stamped(Offset(7), LeaderEpoch(0));
    assert!(matches!(loader().batch(&damaged), Err(LoadError::Record(Offset(8), LogRecordError::Value(1, _)))));
    let old = batch(BatchOptions::default(), &[(&[0], None)]);
    assert!(matches!(loader().batch(&old), Err(LoadError::Record(Offset(0), LogRecordError::Key(_)))));
}

#[test]
fn loading_holds_the_state_and_not_the_log() {
    let settings = GroupSettings { state_bytes_max: 10_000, ..GroupSettings::default() };
    let mut many = GroupLoader::new(settings.clone(), Arc::default());
    for offset in 0..10_000 {
        let LogRecord { key, value } = commit(offset);
        many.batch(&batch(BatchOptions::default(), &[(&key, value.as_deref())])).unwrap();
    }
    let (mut broker, report) = load(many, &[]);
    assert_eq!((report.records, report.offsets, broker.fetch("t")), (10_000, 1, 9_999));
    assert!(broker.coordinator.state_bytes() < 2_000);

    let mut wide = GroupLoader::new(settings, Arc::default());
    let error = (0..10_000).find_map(|partition| {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex(partition) };
        let LogRecord { key, .. } = offset_tombstone(&key).unwrap();
        let LogRecord { value, .. } = commit(1);
        wide.batch(&batch(BatchOptions::default(), &[(&key, value.as_deref())])).err()
    });
    assert!(matches!(error, Some(LoadError::TooMuch(Offset(0), _))), "{error:?}");
}

#[test]
fn members_that_a_record_has_twice_are_there_once() {
    let member = |id: &'static str, instance: &'static str| schema::group_metadata_value::MemberMetadata {
        member_id: id.into(),
        group_instance_id: Some(instance.into()),
        ..Default::default()
    };
    let value = schema::GroupMetadataValue {
        protocol: Some("range".into()),
        leader: Some("gone".into()),
        members: vec![member("a", "i"), member("a", "j"), member("b", "j"), member("c", "k")],
        ..Default::default()
    };
    let LogRecord { key, value } = group_record(&"g".into(), &value).unwrap();
    let (mut broker, _) = load(loader(), &[batch(BatchOptions::default(), &[(&key, value.as_deref())])]);
    let id = broker.ask(6, Request::DescribeGroup("g".into()));
    let Some(Answer::DescribeGroup(group)) = broker.answer(id) else { panic!() };
    let ids: Vec<_> = group.members.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!(ids, ["b", "c"]);
}

#[test]
fn mutated_logs_never_panic() {
    let mut broker = Broker::new();
    let members = broker.stable(3, &[("range", &subscription(&["t", "u"]))]);
    broker.commit(7, 1, &members[0], "t", 5);
    broker.leave(&members[1], None);
    let mut random = Random::new(1);
    for _ in 0..4_000 {
        let append = random.pick(&broker.log).clone();
        let record = random.pick(&append.records).clone();
        let mut key = record.key.to_vec();
        let mut value = record.value.map(|value| value.to_vec()).unwrap_or_default();
        match random.below(3) {
            0 => random.mutate(&mut key),
            _ => random.mutate(&mut value),
        }
        let mut loader = loader();
        if loader.batch(&batch(BatchOptions::default(), &[(&key, Some(&value))])).is_ok() {
            let (coordinator, _) = loader.finish(broker.now());
            coordinator.assert_consistent();
        }
    }
}
