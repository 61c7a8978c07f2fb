//! Committing, fetching, deleting and expiring offsets.

use super::*;
use crate::base::{ProducerId, Uuid};
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

const RANGE: &[(&str, &[u8])] = &[("range", b"m")];

fn fetch_whole(broker: &mut Broker, topics: Option<&[&str]>, require_stable: bool) -> u64 {
    broker.ask(8, fetch_request(topics, require_stable))
}

fn fetched(broker: &mut Broker, id: u64) -> Vec<(String, i64, ErrorCode)> {
    let Some(Answer::OffsetFetch(group)) = broker.answer(id) else { panic!("no answer") };
    assert_eq!(group.error_code, 0);
    let of_topic = |topic: &crate::protocol::messages::offset_fetch_response::OffsetFetchResponseTopics| {
        let partition = &topic.partitions[0];
        (topic.name.to_string(), partition.committed_offset, ErrorCode(partition.error_code))
    };
    group.topics.iter().map(of_topic).collect()
}

fn delete_offset(broker: &mut Broker, topic: &str) -> u64 {
    let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
    let topics = vec![OffsetDeleteRequestTopic { name: KafkaString::copied(topic), partitions }];
    broker.ask(0, Request::OffsetDelete(OffsetDeleteRequest { group_id: "g".into(), topics }))
}

fn offset_deleted(broker: &mut Broker, id: u64) -> ErrorCode {
    match broker.answer(id) {
        Some(Answer::OffsetDelete(response)) if response.error_code != 0 => ErrorCode(response.error_code),
        Some(Answer::OffsetDelete(response)) => ErrorCode(response.topics[0].partitions[0].error_code),
        other => panic!("{other:?}"),
    }
}

fn commit_in_transaction(broker: &mut Broker, producer: i64, topic: &str, offset: i64) -> u64 {
    let partition = TxnOffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    let topic = TxnOffsetCommitRequestTopic { name: KafkaString::copied(topic), partitions: vec![partition] };
    let request = TxnOffsetCommitRequest {
        transactional_id: "x".into(),
        group_id: "g".into(),
        producer_id: producer,
        generation_id: -1,
        topics: vec![topic],
        ..Default::default()
    };
    broker.ask(3, Request::TxnOffsetCommit(request))
}

#[test]
fn who_may_commit() {
    let mut broker = Broker::new();
    let commit = |broker: &mut Broker, version, generation, member: &str| {
        let id = broker.commit(version, generation, member, "t", 5);
        broker.committed(id)
    };
    // No group yet.
    assert_eq!(commit(&mut broker, 8, 1, "m"), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut broker, 9, 1, "m"), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(broker.list(), []);
    assert_eq!(commit(&mut broker, 9, -1, ""), ErrorCode::NONE);
    assert_eq!(broker.list().len(), 1);
    assert_eq!(broker.state(), "Empty");
    assert_eq!(commit(&mut broker, 9, 1, "m"), ErrorCode::UNKNOWN_MEMBER_ID);
    // A group at work.
    let members = broker.stable(1, RANGE);
    assert_eq!(commit(&mut broker, 9, -1, ""), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut broker, 9, 1, "x"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut broker, 9, 2, &members[0]), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut broker, 9, -1, &members[0]), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(commit(&mut broker, 9, 1, &members[0]), ErrorCode::NONE);
    let fenced = OffsetCommitRequest { group_instance_id: Some("i".into()), ..commit_request(1, &members[0], "t", 5) };
    let id = broker.ask(9, Request::OffsetCommit(fenced));
    assert_eq!(broker.committed(id), ErrorCode::UNKNOWN_MEMBER_ID);
    // A commit is a sign of life.
    for _ in 0..5 {
        broker.pass(9_000);
        assert_eq!(commit(&mut broker, 9, 1, &members[0]), ErrorCode::NONE);
    }
    // While the group rebalances the old generation may still commit; once it has the new one it has to be assigned.
    let _open = broker.join(OLD, "", None, RANGE);
    assert_eq!(commit(&mut broker, 9, 1, &members[0]), ErrorCode::NONE);
    let id = broker.join(OLD, &members[0], None, RANGE);
    assert_eq!(broker.joined(id).generation_id, 2);
    assert_eq!(commit(&mut broker, 9, 2, &members[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(commit(&mut broker, 9, 1, &members[0]), ErrorCode::ILLEGAL_GENERATION);
}

#[test]
fn a_commit_counts_when_it_is_in_the_log() {
    let mut broker = Broker::new();
    broker.prompt = false;
    let first = broker.commit(7, -1, "", "t", 5);
    assert_eq!(broker.answer(first), None);
    assert_eq!(broker.fetch("t"), -1, "not before it is in the log");
    let waits = fetch_whole(&mut broker, Some(&["t", "u"]), true);
    let all = fetch_whole(&mut broker, None, true);
    let second = broker.commit(7, -1, "", "t", 6);
    assert_eq!(broker.answer(waits), None, "what is on its way is waited for");
    broker.tell(Ok(()));
    assert_eq!(broker.committed(first), ErrorCode::NONE);
    assert_eq!(fetched(&mut broker, waits), [("t".into(), 5, ErrorCode::NONE), ("u".into(), -1, ErrorCode::NONE)]);
    assert_eq!(fetched(&mut broker, all), [("t".into(), 5, ErrorCode::NONE)]);
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(broker.committed(second), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(broker.fetch("t"), 5);
    let at_once = fetch_whole(&mut broker, Some(&["t"]), true);
    assert_eq!(fetched(&mut broker, at_once), [("t".into(), 5, ErrorCode::NONE)]);
}

#[test]
fn a_group_whose_first_commit_failed_has_never_been() {
    let mut broker = Broker::new();
    broker.prompt = false;
    let id = broker.commit(7, -1, "", "t", 5);
    broker.tell(Err(ErrorCode::KAFKA_STORAGE_ERROR));
    assert_eq!(broker.committed(id), ErrorCode::NOT_COORDINATOR);
    assert_eq!(broker.list(), []);
    assert_eq!((broker.coordinator.state_bytes(), broker.coordinator.offset_count), (0, 0));
}

#[test]
fn results_count_in_the_order_of_the_log() {
    let mut broker = Broker::new();
    broker.prompt = false;
    let ids = [5, 6].map(|offset| broker.commit(7, -1, "", "t", offset));
    let appends: Vec<_> = broker.log.iter().map(|append| append.id).collect();
    let now = broker.now();
    assert_eq!(broker.coordinator.on_append(now, appends[1], Ok(Offset(1))), []);
    assert_eq!(broker.fetch("t"), -1);
    let effects = broker.coordinator.on_append(now, appends[0], Ok(Offset(0)));
    std::mem::take(&mut broker.log).iter().for_each(|append| broker.durable.append(append));
    broker.perform(effects);
    assert_eq!(ids.map(|id| broker.committed(id)), [ErrorCode::NONE; 2]);
    assert_eq!(broker.fetch("t"), 6);
    // Told again, it is nothing new.
    assert_eq!(broker.coordinator.on_append(now, appends[0], Ok(Offset(0))), []);
    assert_eq!(broker.coordinator.on_append(now, AppendId(99), Ok(Offset(0))), []);
}

#[test]
fn too_much_metadata_is_refused_by_partition() {
    let mut broker = Broker::new();
    // As Java counts: in UTF-16 units.
    for (metadata, code) in [
        ("x".repeat(4_096), ErrorCode::NONE),
        ("x".repeat(4_097), ErrorCode::OFFSET_METADATA_TOO_LARGE),
        ("ä".repeat(4_096), ErrorCode::NONE),
        ("𝄞".repeat(2_049), ErrorCode::OFFSET_METADATA_TOO_LARGE),
    ] {
        let mut request = commit_request(-1, "", "t", 5);
        let bad = OffsetCommitRequestPartition {
            partition_index: 1,
            committed_offset: 5,
            committed_metadata: Some(KafkaString::from(metadata)),
            ..Default::default()
        };
        request.topics[0].partitions.push(bad);
        let id = broker.ask(7, Request::OffsetCommit(request));
        let Some(Answer::OffsetCommit(response)) = broker.answer(id) else { panic!() };
        let codes: Vec<_> = response.topics[0].partitions.iter().map(|one| ErrorCode(one.error_code)).collect();
        assert_eq!(codes, [ErrorCode::NONE, code]);
    }
}

#[test]
fn what_was_committed_is_fetched_whole() {
    let mut broker = Broker::new();
    let mut request = commit_request(-1, "", "t", 5);
    request.topics[0].topic_id = [7; 16];
    request.topics[0].partitions[0].committed_leader_epoch = 3;
    request.topics[0].partitions[0].committed_metadata = Some("note".into());
    broker.ask(10, Request::OffsetCommit(request));
    for (topic_id, offset) in [([0; 16], 5), ([7; 16], 5), ([8; 16], -1)] {
        let Request::OffsetFetch { mut group, .. } = fetch_request(Some(&["t"]), false) else { panic!() };
        group.topics.as_mut().unwrap()[0].topic_id = topic_id;
        let id = broker.ask(10, Request::OffsetFetch { group, require_stable: false });
        let Some(Answer::OffsetFetch(group)) = broker.answer(id) else { panic!() };
        let partition = &group.topics[0].partitions[0];
        assert_eq!((partition.committed_offset, group.topics[0].topic_id), (offset, topic_id), "by {topic_id:?}");
        if offset == 5 {
            assert_eq!((partition.committed_leader_epoch, partition.metadata.as_deref()), (3, Some("note")));
        } else {
            assert_eq!((partition.committed_leader_epoch, partition.metadata.as_deref()), (-1, Some("")));
        }
    }
    let none = broker.ask(8, fetch_request(None, false));
    assert_eq!(fetched(&mut broker, none).len(), 1);
}

#[test]
fn old_versions_of_offset_fetch() {
    let mut broker = Broker::new();
    broker.commit(7, -1, "", "t", 5);
    let Request::OffsetFetch { group, .. } = fetch_request(Some(&["t"]), false) else { panic!() };
    let one = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![offset_fetch_request::OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0],
        }]),
        ..Default::default()
    };
    assert_eq!(offset_fetch_groups(&one, 7), std::slice::from_ref(&group));
    let many = OffsetFetchRequest { groups: vec![group.clone(), group.clone()], ..Default::default() };
    assert_eq!(offset_fetch_groups(&many, 8).len(), 2);
    let all = OffsetFetchRequest { group_id: "g".into(), topics: None, ..Default::default() };
    assert_eq!(offset_fetch_groups(&all, 2)[0].topics, None);

    let id = broker.ask(1, Request::OffsetFetch { group: group.clone(), require_stable: false });
    let Some(Answer::OffsetFetch(answered)) = broker.answer(id) else { panic!() };
    let response = offset_fetch_response(vec![answered.clone()], 1);
    assert_eq!(response.topics[0].partitions[0].committed_offset, 5);
    assert_eq!(offset_fetch_response(vec![answered], 8).groups.len(), 1);
    // Where an error stands.
    let request = Request::OffsetFetch { group, require_stable: false };
    let code = ErrorCode::NOT_COORDINATOR;
    for (version, top, partition) in [(1, 0, code.0), (2, code.0, 0), (7, code.0, 0)] {
        let Answer::OffsetFetch(refused) = request.refuse(version, code) else { panic!() };
        let response = offset_fetch_response(vec![refused], version);
        assert_eq!(response.error_code, top);
        let found = response.topics.first().map_or(0, |topic| topic.partitions[0].error_code);
        assert_eq!(found, partition);
    }
}

#[test]
fn offsets_are_deleted_where_nobody_reads() {
    let mut broker = Broker::new();
    let id = delete_offset(&mut broker, "t");
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::GROUP_ID_NOT_FOUND);
    broker.commit(7, -1, "", "t", 5);
    broker.commit(7, -1, "", "u", 6);
    let appends = broker.log.len();
    let id = delete_offset(&mut broker, "none");
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::NONE);
    assert_eq!(broker.log.len(), appends, "nothing to delete");

    let members = broker.stable(1, &[("range", &subscription(&["t"]))]);
    let id = delete_offset(&mut broker, "t");
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    broker.prompt = false;
    let id = delete_offset(&mut broker, "u");
    assert_eq!(broker.answer(id), None);
    assert_eq!(broker.fetch("u"), 6, "until it is in the log");
    broker.prompt = true;
    broker.acknowledge();
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::NONE);
    assert_eq!((broker.fetch("t"), broker.fetch("u")), (5, -1));
    let left = broker.leave(&members[0], None);
    assert_eq!(broker.left(left), ErrorCode::NONE);
    let id = delete_offset(&mut broker, "t");
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::NONE);
    assert_eq!(broker.fetch("t"), -1);

    // Members that are no consumers may read anything; what cannot be understood may, too.
    let mut broker = Broker::new();
    let join = JoinGroupRequest { protocol_type: "connect".into(), ..join_request("", None, RANGE) };
    broker.ask(OLD, Request::JoinGroup(join));
    let id = delete_offset(&mut broker, "t");
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::NON_EMPTY_GROUP);
    let mut broker = Broker::new();
    broker.stable(1, &[("range", b"\0")]);
    let id = delete_offset(&mut broker, "t");
    assert_eq!(offset_deleted(&mut broker, id), ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
}

#[test]
fn a_group_is_deleted_with_all_that_it_has() {
    let settings = GroupSettings { batch_bytes_max: 400, ..GroupSettings::default() };
    let mut broker = Broker::with(settings);
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::GROUP_ID_NOT_FOUND);
    for i in 0..20 {
        broker.commit(7, -1, "", &format!("t{i}"), 5);
    }
    broker.prompt = false;
    let late = broker.commit(7, -1, "", "late", 5);
    let id = broker.delete();
    let appends = broker.log.len() - broker.told;
    assert!(appends > 3, "the tombstones take several batches: {appends}");
    let again = broker.delete();
    assert_eq!(broker.deleted(again), ErrorCode::GROUP_ID_NOT_FOUND);
    let commit = broker.commit(7, -1, "", "t", 5);
    assert_eq!(broker.committed(commit), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let join = broker.join(NEW, "", None, RANGE);
    assert_eq!(broker.joined(join).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    broker.prompt = true;
    broker.acknowledge();
    assert_eq!((broker.committed(late), broker.deleted(id)), (ErrorCode::NONE, ErrorCode::NONE));
    assert_eq!(broker.list(), []);
    assert_eq!((broker.coordinator.state_bytes(), broker.coordinator.offset_count), (0, 0));
    assert_eq!(broker.crash(0).groups, 0, "nothing of it is left in the log");

    broker.stable(1, RANGE);
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::NON_EMPTY_GROUP);
}

#[test]
fn a_deletion_that_fails_leaves_the_group_as_it_was() {
    let mut broker = Broker::new();
    broker.commit(7, -1, "", "t", 5);
    broker.prompt = false;
    let id = broker.delete();
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(broker.deleted(id), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!((broker.state(), broker.fetch("t")), ("Empty".into(), 5));
    broker.prompt = true;
    let id = broker.commit(7, -1, "", "t", 6);
    assert_eq!(broker.committed(id), ErrorCode::NONE);
    // If only an early batch of several fails, what it should have deleted stays.
    broker.settings.batch_bytes_max = 200;
    broker.crash(0);
    for i in 0..9 {
        broker.commit(7, -1, "", &format!("u{i}"), 7);
    }
    broker.prompt = false;
    let id = broker.delete();
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    broker.prompt = true;
    broker.acknowledge();
    assert_eq!(broker.deleted(id), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    assert_eq!(broker.state(), "Empty");
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::NONE);
    assert_eq!(broker.list(), []);
}

#[test]
fn a_group_may_be_deleted_before_it_is_known_whether_it_was_written() {
    for results in [[Ok(()), Err(ErrorCode::NOT_ENOUGH_REPLICAS)], [Err(ErrorCode::NOT_ENOUGH_REPLICAS); 2]] {
        let mut broker = Broker::new();
        broker.prompt = false;
        let id = broker.join(NEW, "", None, RANGE);
        assert_eq!(broker.joined(id).error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
        let id = broker.delete();
        results.into_iter().for_each(|result| broker.tell(result));
        assert_eq!(broker.deleted(id), ErrorCode::COORDINATOR_NOT_AVAILABLE);
        assert_eq!(broker.state(), "Empty");
    }
}

#[test]
fn offsets_of_a_group_that_only_has_offsets_expire_one_by_one() {
    let mut broker = Broker::new();
    broker.commit(7, -1, "", "t", 5);
    broker.pass(3 * DAY_MS);
    broker.commit(7, -1, "", "u", 6);
    broker.pass(4 * DAY_MS + 600_000);
    assert_eq!((broker.fetch("t"), broker.fetch("u")), (-1, 6));
    broker.pass(3 * DAY_MS);
    assert_eq!(broker.list(), [], "without offsets the group goes, too");
    assert_eq!(broker.crash(0).groups, 0);
}

#[test]
fn offsets_of_a_group_expire_when_it_was_empty_for_long_enough() {
    let mut broker = Broker::new();
    broker.session_ms = 1_800_000;
    let members = broker.stable(1, &[("range", &subscription(&["t"]))]);
    let id = broker.commit(7, 1, &members[0], "t", 5);
    assert_eq!(broker.committed(id), ErrorCode::NONE);
    for _ in 0..10 * 24 * 3 {
        broker.pass(20 * 60_000);
        assert_eq!(broker.heartbeat(1, &members[0]), ErrorCode::NONE);
    }
    assert_eq!(broker.fetch("t"), 5, "a group at work keeps its offsets");
    broker.leave(&members[0], None);
    broker.pass(7 * DAY_MS - 1_000);
    assert_eq!(broker.fetch("t"), 5, "counted from when it became empty");
    // Also through a restart.
    broker.crash(0);
    assert_eq!(broker.fetch("t"), 5);
    broker.pass(601_000 + 10);
    assert_eq!(broker.fetch("t"), -1);
    assert_eq!(broker.list(), []);
}

#[test]
fn a_consumer_group_at_work_keeps_what_it_reads() {
    let mut broker = Broker::new();
    broker.session_ms = 1_800_000;
    let members = broker.stable(1, &[("range", &subscription(&["t"]))]);
    broker.commit(7, 1, &members[0], "t", 5);
    broker.commit(7, 1, &members[0], "u", 6);
    for _ in 0..8 * 24 * 3 {
        broker.pass(20 * 60_000);
        broker.heartbeat(1, &members[0]);
    }
    assert_eq!((broker.fetch("t"), broker.fetch("u")), (5, -1));
    assert_eq!(broker.state(), "Stable");
}

#[test]
fn a_client_may_say_how_long_its_offsets_are_kept() {
    let mut broker = Broker::new();
    let request = OffsetCommitRequest { retention_time_ms: 1_000, ..commit_request(-1, "", "t", 5) };
    broker.ask(2, Request::OffsetCommit(request));
    assert_eq!(broker.fetch("t"), 5);
    broker.crash(0);
    broker.pass(600_000);
    assert_eq!(broker.fetch("t"), -1);
    // Version 1 says when a partition was committed.
    let mut request = commit_request(-1, "", "t", 5);
    request.topics[0].partitions[0].commit_timestamp = 1;
    broker.ask(1, Request::OffsetCommit(request));
    broker.crash(0);
    let known = broker.coordinator.groups["g"].offsets.get("t", PartitionIndex(0)).unwrap();
    assert_eq!(known.committed.committed_at, Timestamp(1));
}

#[test]
fn an_offset_of_an_open_transaction_counts_when_the_transaction_does() {
    let mut broker = Broker::new();
    broker.commit(7, -1, "", "t", 5);
    let id = commit_in_transaction(&mut broker, 9, "t", 6);
    let Some(Answer::TxnOffsetCommit(response)) = broker.answer(id) else { panic!() };
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    assert_eq!(broker.fetch("t"), 5);
    for _ in 0..2 {
        let id = fetch_whole(&mut broker, Some(&["t"]), true);
        assert_eq!(fetched(&mut broker, id), [("t".into(), -1, ErrorCode::UNSTABLE_OFFSET_COMMIT)]);
        let id = fetch_whole(&mut broker, None, true);
        assert_eq!(fetched(&mut broker, id), [("t".into(), -1, ErrorCode::UNSTABLE_OFFSET_COMMIT)]);
        // Open it stays, through a restart and through time.
        broker.crash(0);
        broker.pass(9 * DAY_MS);
    }
    broker.coordinator.on_end_marker(ProducerId(9), true, Offset(i64::MAX));
    assert_eq!(broker.fetch("t"), 6);
    commit_in_transaction(&mut broker, 9, "t", 7);
    broker.coordinator.on_end_marker(ProducerId(9), false, Offset(i64::MAX));
    broker.coordinator.on_end_marker(ProducerId(10), true, Offset(i64::MAX));
    assert_eq!(broker.fetch("t"), 6);
    // What was committed later stays, although the transaction ends after it.
    commit_in_transaction(&mut broker, 9, "t", 8);
    broker.commit(7, -1, "", "t", 9);
    broker.coordinator.on_end_marker(ProducerId(9), true, Offset(i64::MAX));
    assert_eq!(broker.fetch("t"), 9);
}

#[test]
fn a_marker_ends_what_lies_before_it_and_nothing_else() {
    let mut broker = Broker::new();
    broker.commit(7, -1, "", "t", 5);
    // The marker is heard of before the fate of the commit that it ends.
    broker.prompt = false;
    commit_in_transaction(&mut broker, 9, "t", 6);
    broker.coordinator.on_end_marker(ProducerId(9), true, Offset(1));
    assert_eq!(broker.coordinator.groups["g"].offsets.get("t", PartitionIndex(0)).unwrap().committed.offset, Offset(5));
    broker.acknowledge();
    assert_eq!(broker.fetch("t"), 6);
    // The next transaction has begun by then.
    commit_in_transaction(&mut broker, 9, "t", 7);
    broker.acknowledge();
    broker.coordinator.on_end_marker(ProducerId(9), true, Offset(1));
    assert_eq!(broker.fetch("t"), 6, "it lies behind that marker");
    broker.coordinator.on_end_marker(ProducerId(9), true, Offset(4));
    assert_eq!(broker.fetch("t"), 7);
    broker.coordinator.assert_consistent();
}

#[test]
fn offsets_of_deleted_topics_go_with_them() {
    let mut broker = Broker::new();
    let mut request = commit_request(-1, "", "t", 5);
    request.topics[0].topic_id = [7; 16];
    broker.ask(10, Request::OffsetCommit(request));
    broker.commit(7, -1, "", "u", 6);
    let now = broker.now();
    let effects =
        broker.coordinator.on_topics_deleted(now, &[("t".into(), Uuid([8; 16])), ("v".into(), Uuid([7; 16]))]);
    broker.perform(effects);
    assert_eq!(broker.fetch("t"), 5, "of another topic of that name");
    let effects =
        broker.coordinator.on_topics_deleted(now, &[("t".into(), Uuid([7; 16])), ("u".into(), Uuid([9; 16]))]);
    broker.perform(effects);
    assert_eq!((broker.fetch("t"), broker.fetch("u")), (-1, -1));
}

#[test]
fn what_a_transaction_would_commit_goes_with_the_topic() {
    let mut broker = Broker::new();
    commit_in_transaction(&mut broker, 9, "t", 5);
    broker.prompt = false;
    broker.commit(7, -1, "", "u", 6);
    let now = broker.now();
    let effects =
        broker.coordinator.on_topics_deleted(now, &[("t".into(), Uuid([7; 16])), ("u".into(), Uuid([9; 16]))]);
    broker.perform(effects);
    broker.prompt = true;
    broker.acknowledge();
    broker.coordinator.on_end_marker(ProducerId(9), true, Offset(100));
    assert_eq!((broker.fetch("t"), broker.fetch("u")), (-1, -1));
}

#[test]
fn a_topic_may_be_deleted_while_its_readers_are() {
    let mut broker = Broker::new();
    broker.commit(7, -1, "", "t", 5);
    broker.prompt = false;
    let id = broker.delete();
    let now = broker.now();
    let effects = broker.coordinator.on_topics_deleted(now, &[("t".into(), Uuid([7; 16]))]);
    broker.perform(effects);
    broker.prompt = true;
    broker.acknowledge();
    assert_eq!(broker.deleted(id), ErrorCode::NONE);
    assert_eq!(broker.list(), []);
}

#[test]
fn commits_are_put_off_or_refused_when_there_is_too_much() {
    let settings = GroupSettings { state_bytes_max: 2_000, ..GroupSettings::default() };
    let mut broker = Broker::with(settings);
    let mut codes = Vec::new();
    for i in 0..20 {
        let id = broker.commit(7, -1, "", &format!("t{i}"), 5);
        codes.push(broker.committed(id));
    }
    assert_eq!((codes[0], codes[19]), (ErrorCode::NONE, ErrorCode::POLICY_VIOLATION));
    let id = broker.commit(7, -1, "", "t0", 6);
    assert_eq!(broker.committed(id), ErrorCode::NONE, "what is there already goes on");
    assert!(broker.coordinator.state_bytes() <= 2_500);

    // What takes more than one batch fails as a whole, as in Kafka.
    let settings = GroupSettings { batch_bytes_max: 1_000, ..GroupSettings::default() };
    let mut broker = Broker::with(settings);
    let mut request = commit_request(-1, "", "t", 5);
    let more = (1..100).map(|index| OffsetCommitRequestPartition { partition_index: index, ..Default::default() });
    request.topics[0].partitions.extend(more);
    let id = broker.ask(7, Request::OffsetCommit(request));
    let Some(Answer::OffsetCommit(response)) = broker.answer(id) else { panic!() };
    let codes = response.topics[0].partitions.iter().map(|one| ErrorCode(one.error_code));
    assert_eq!(codes.filter(|code| *code == ErrorCode::UNKNOWN_SERVER_ERROR).count(), 100);
    assert_eq!((broker.list(), broker.coordinator.state_bytes()), (Vec::new(), 0));

    let mut broker = Broker::new();
    broker.prompt = false;
    for _ in 0..crate::limits::GROUP_APPENDS_MAX {
        broker.commit(7, -1, "", "t", 5);
    }
    let id = broker.commit(7, -1, "", "t", 5);
    assert_eq!(broker.committed(id), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
}
