//! Joining, assigning, staying and leaving.

use super::*;

const RANGE: &[(&str, &[u8])] = &[("range", b"m")];

#[test]
fn what_a_join_is_refused_for() {
    let mut broker = Broker::new();
    let refused = |broker: &mut Broker, request: JoinGroupRequest| {
        let id = broker.ask(NEW, Request::JoinGroup(request));
        ErrorCode(broker.joined(id).error_code)
    };
    let good = join_request("", None, RANGE);
    for (request, code) in [
        (JoinGroupRequest { group_id: "".into(), ..good.clone() }, ErrorCode::INVALID_GROUP_ID),
        (JoinGroupRequest { session_timeout_ms: 5_999, ..good.clone() }, ErrorCode::INVALID_SESSION_TIMEOUT),
        (JoinGroupRequest { session_timeout_ms: 1_800_001, ..good.clone() }, ErrorCode::INVALID_SESSION_TIMEOUT),
        (JoinGroupRequest { member_id: "x".into(), ..good.clone() }, ErrorCode::UNKNOWN_MEMBER_ID),
        (JoinGroupRequest { protocols: Vec::new(), ..good.clone() }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (JoinGroupRequest { protocol_type: "".into(), ..good.clone() }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
    ] {
        assert_eq!(refused(&mut broker, request), code);
    }
    assert_eq!(broker.list(), [], "who is refused leaves nothing");
    let members = broker.stable(1, RANGE);
    for (request, code) in [
        (join_request("", None, &[("other", b"")]), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (JoinGroupRequest { protocol_type: "connect".into(), ..good.clone() }, ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        (join_request("x", None, RANGE), ErrorCode::UNKNOWN_MEMBER_ID),
        (join_request(&members[0], Some("i"), RANGE), ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        assert_eq!(refused(&mut broker, request), code);
    }
}

#[test]
fn a_new_member_comes_twice_from_version_4_on() {
    for (version, twice) in [(0, false), (3, false), (4, true), (9, true)] {
        let mut broker = Broker::new();
        let id = broker.join(version, "", None, RANGE);
        if !twice {
            assert_eq!(broker.answer(id), None);
            broker.pass(3_000);
            let joined = broker.joined(id);
            assert_eq!((joined.error_code, joined.generation_id), (0, 1));
            assert_eq!(joined.protocol_name.as_deref(), Some("range"));
            continue;
        }
        let required = broker.joined(id);
        assert_eq!(required.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
        assert!(required.member_id.starts_with("c-"), "{}", required.member_id);
        assert_eq!(required.member_id.len(), "c-".len() + 36);
        let id = broker.join(version, &required.member_id, None, RANGE);
        broker.pass(3_000);
        let joined = broker.joined(id);
        assert_eq!((joined.error_code, &joined.member_id), (0, &required.member_id));
        assert_eq!(joined.leader, joined.member_id);
        assert_eq!(joined.members.len(), 1);
        assert_eq!(joined.protocol_type.as_deref(), Some("consumer"));
    }
}

#[test]
fn a_rebalance_waits_for_a_pending_member_until_its_session_is_over() {
    let mut broker = Broker::new();
    let members = broker.stable(1, RANGE);
    let pending = broker.join(NEW, "", None, RANGE);
    let pending = broker.joined(pending).member_id;
    let rejoin = broker.join(NEW, &members[0], None, RANGE);
    broker.pass(9_000);
    assert_eq!(broker.answer(rejoin), None, "the pending member is waited for");
    broker.pass(1_000);
    assert_eq!(broker.joined(rejoin).generation_id, 2);
    let late = broker.join(NEW, &pending, None, RANGE);
    assert_eq!(broker.joined(late).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);

    // A pending member may also leave, and then it is not waited for any more.
    let pending = broker.join(NEW, "", None, RANGE);
    let pending = broker.joined(pending).member_id;
    let rejoin = broker.join(NEW, &members[0], None, &[("range", b"changed")]);
    assert_eq!(broker.answer(rejoin), None);
    let left = broker.leave(&pending, None);
    assert_eq!(broker.left(left), ErrorCode::NONE);
    assert_eq!(broker.joined(rejoin).generation_id, 3);
}

#[test]
fn the_first_round_is_prolonged_while_members_come_and_ends_with_the_rebalance_timeout() {
    let mut broker = Broker::new();
    let first = broker.join(OLD, "", None, RANGE);
    broker.pass(2_900);
    let second = broker.join(OLD, "", None, RANGE);
    broker.pass(2_900);
    assert_eq!(broker.answer(first), None, "somebody came: another delay");
    broker.pass(200);
    assert_eq!(broker.joined(first).generation_id, 1);
    assert_eq!(broker.joined(second).generation_id, 1);

    let mut broker = Broker::new();
    let mut open = vec![broker.join(OLD, "", None, RANGE)];
    let mut waited_ms = 0;
    while !broker.answers.contains_key(&open[0]) {
        broker.pass(1_000);
        waited_ms += 1_000;
        open.push(broker.join(OLD, "", None, RANGE));
        assert!(waited_ms <= 60_000, "no longer than the rebalance timeout");
    }
    assert!(waited_ms >= 57_000, "{waited_ms}");
}

#[test]
fn the_protocol_is_the_one_with_most_votes_that_all_support() {
    let mut broker = Broker::new();
    let lists: [&[(&str, &[u8])]; 3] =
        [&[("only", b""), ("b", b"1"), ("a", b"2")], &[("a", b"3"), ("b", b"4")], &[("b", b"5"), ("a", b"6")]];
    let ids = lists.map(|list| broker.join(OLD, "", None, list));
    broker.pass(10_000);
    let joined = ids.map(|id| broker.joined(id));
    for one in &joined {
        assert_eq!(one.protocol_name.as_deref(), Some("b"));
        assert_eq!(one.members.len(), if one.member_id == one.leader { 3 } else { 0 });
    }
    let leader = joined.iter().find(|one| one.member_id == one.leader).unwrap();
    let mut told: Vec<_> = leader.members.iter().map(|member| member.metadata.to_vec()).collect();
    told.sort();
    assert_eq!(told, [b"1", b"4", b"5"]);
}

#[test]
fn nobody_is_answered_before_the_assignment_is_in_the_log() {
    let mut broker = Broker::new();
    let joins = [broker.join(OLD, "", None, RANGE), broker.join(OLD, "", None, RANGE)];
    broker.pass(10_000);
    let mut joined = joins.map(|id| broker.joined(id));
    joined.sort_by_key(|one| one.member_id != one.leader);
    let [leader, follower] = joined.map(|one| one.member_id.to_string());
    broker.prompt = false;
    let follows = broker.sync(1, &follower, &[]);
    let leads = broker.sync(1, &leader, &[(&follower, "f"), ("nobody", "x")]);
    assert_eq!((broker.answer(leads), broker.answer(follows)), (None, None));
    assert_eq!(broker.state(), "CompletingRebalance");
    broker.acknowledge();
    assert_eq!(broker.synced(leads).assignment, b""[..], "left out: empty");
    assert_eq!(broker.synced(follows).assignment, b"f"[..]);
    assert_eq!(broker.state(), "Stable");
    // Asked again, the same.
    let again = broker.sync(1, &follower, &[]);
    assert_eq!(broker.synced(again).assignment, b"f"[..]);
}

#[test]
fn an_assignment_that_cannot_be_written_is_nobodys() {
    for (log, told) in [
        (ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::NOT_COORDINATOR),
        (ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        (ErrorCode::KAFKA_STORAGE_ERROR, ErrorCode::NOT_COORDINATOR),
        (ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::UNKNOWN_SERVER_ERROR),
    ] {
        let mut broker = Broker::new();
        let join = broker.join(OLD, "", None, RANGE);
        broker.pass(3_000);
        let member = broker.joined(join).member_id;
        broker.prompt = false;
        let sync = broker.sync(1, &member, &[(&member, "a")]);
        broker.tell(Err(log));
        assert_eq!(broker.synced(sync).error_code, told.0);
        assert_eq!(broker.state(), "PreparingRebalance");
    }
    let settings = GroupSettings { batch_bytes_max: 1_000, ..GroupSettings::default() };
    let mut broker = Broker::with(settings);
    let join = broker.join(OLD, "", None, RANGE);
    broker.pass(3_000);
    let member = broker.joined(join).member_id;
    let sync = broker.sync(1, &member, &[(&member, &"a".repeat(1_000))]);
    assert_eq!(broker.synced(sync).error_code, ErrorCode::UNKNOWN_SERVER_ERROR.0);
}

#[test]
fn what_a_sync_is_refused_for() {
    let mut broker = Broker::new();
    let members = broker.stable(1, RANGE);
    let good = sync_request(1, &members[0], &[]);
    let named = SyncGroupRequest {
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..good.clone()
    };
    let wrong = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    for (version, request, code) in [
        (4, good.clone(), ErrorCode::NONE),
        (5, named.clone(), ErrorCode::NONE),
        (5, good.clone(), wrong),
        (5, SyncGroupRequest { protocol_name: None, ..named.clone() }, wrong),
        (5, SyncGroupRequest { protocol_name: Some("other".into()), ..named.clone() }, wrong),
        (5, SyncGroupRequest { protocol_type: Some("other".into()), ..named.clone() }, wrong),
        (4, SyncGroupRequest { generation_id: 2, ..good.clone() }, ErrorCode::ILLEGAL_GENERATION),
        (4, SyncGroupRequest { generation_id: 0, ..good.clone() }, ErrorCode::ILLEGAL_GENERATION),
        (4, SyncGroupRequest { member_id: "x".into(), ..good.clone() }, ErrorCode::UNKNOWN_MEMBER_ID),
        (4, SyncGroupRequest { group_id: "x".into(), ..good.clone() }, ErrorCode::UNKNOWN_MEMBER_ID),
        (4, SyncGroupRequest { group_id: "".into(), ..good.clone() }, ErrorCode::INVALID_GROUP_ID),
        (4, SyncGroupRequest { group_instance_id: Some("i".into()), ..good.clone() }, ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        let id = broker.ask(version, Request::SyncGroup(request));
        assert_eq!(broker.synced(id).error_code, code.0);
    }
    let _open = broker.join(OLD, "", None, RANGE);
    let id = broker.ask(4, Request::SyncGroup(good));
    assert_eq!(broker.synced(id).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
}

#[test]
fn a_heartbeat_says_how_the_group_is() {
    let mut broker = Broker::new();
    assert_eq!(broker.heartbeat(1, "x"), ErrorCode::UNKNOWN_MEMBER_ID);
    let join = broker.join(OLD, "", None, RANGE);
    broker.pass(3_000);
    let member = broker.joined(join).member_id;
    assert_eq!(broker.heartbeat(1, &member), ErrorCode::NONE, "before the assignment, too");
    let sync = broker.sync(1, &member, &[]);
    broker.synced(sync);
    assert_eq!(broker.heartbeat(1, &member), ErrorCode::NONE);
    assert_eq!(broker.heartbeat(2, &member), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(broker.heartbeat(1, "x"), ErrorCode::UNKNOWN_MEMBER_ID);
    let _open = broker.join(OLD, "", None, RANGE);
    assert_eq!(broker.heartbeat(1, &member), ErrorCode::REBALANCE_IN_PROGRESS);
    // Which keeps the session: the other one waits, and this one is not given up.
    broker.pass(9_000);
    assert_eq!(broker.heartbeat(1, &member), ErrorCode::REBALANCE_IN_PROGRESS);
    broker.pass(9_000);
    assert_eq!(broker.heartbeat(1, &member), ErrorCode::REBALANCE_IN_PROGRESS);
    broker.pass(10_000);
    assert_eq!(broker.heartbeat(1, &member), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_session_without_a_sign_of_life_ends() {
    let mut broker = Broker::new();
    let members = broker.stable(2, RANGE);
    broker.pass(9_000);
    assert_eq!(broker.heartbeat(1, &members[0]), ErrorCode::NONE);
    broker.pass(1_000);
    assert_eq!(broker.heartbeat(1, &members[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(broker.heartbeat(1, &members[1]), ErrorCode::UNKNOWN_MEMBER_ID);
    let id = broker.join(OLD, &members[0], None, RANGE);
    assert_eq!(broker.joined(id).generation_id, 2);
    broker.pass(10_000);
    assert_eq!(broker.state(), "Empty");
}

#[test]
fn who_does_not_join_again_in_time_is_out_but_static_members_stay() {
    let mut broker = Broker::new();
    let joins =
        [broker.join(OLD, "", None, RANGE), broker.join(OLD, "", None, RANGE), broker.join(5, "", Some("i"), RANGE)];
    broker.pass_until(joins[0]);
    let ids = joins.map(|id| broker.joined(id).member_id.to_string());
    let rejoin = broker.join(OLD, &ids[0], None, &[("range", b"changed")]);
    for _ in 0..7 {
        broker.pass(8_000);
        for id in &ids[1..] {
            broker.heartbeat(1, id);
        }
    }
    broker.pass(4_000);
    let joined = broker.joined(rejoin);
    assert_eq!(joined.generation_id, 2);
    assert_eq!(joined.leader.as_str(), ids[0], "who leads is there");
    let members: Vec<_> = joined.members.iter().map(|member| member.member_id.to_string()).collect();
    assert!(members.contains(&ids[2]) && !members.contains(&ids[1]), "{members:?}");
}

#[test]
fn who_does_not_ask_for_its_assignment_in_time_is_out() {
    let mut broker = Broker::new();
    let joins = [broker.join(OLD, "", None, RANGE), broker.join(OLD, "", None, RANGE)];
    broker.pass_until(joins[0]);
    let mut joined = joins.map(|id| broker.joined(id));
    joined.sort_by_key(|one| one.member_id != one.leader);
    let [leader, follower] = joined.map(|one| one.member_id.to_string());
    let sync = broker.sync(1, &leader, &[]);
    assert_eq!(broker.synced(sync).error_code, 0);
    for _ in 0..10 {
        broker.pass(5_900);
        assert_eq!(broker.heartbeat(1, &leader), ErrorCode::NONE);
        assert_eq!(broker.heartbeat(1, &follower), ErrorCode::NONE);
    }
    broker.pass(1_000);
    assert_eq!(broker.heartbeat(1, &follower), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(broker.heartbeat(1, &leader), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_new_member_that_waits_too_long_is_given_up() {
    let mut broker = Broker::new();
    let members = broker.stable(1, RANGE);
    let request = JoinGroupRequest { rebalance_timeout_ms: 1_000_000, ..join_request("", None, RANGE) };
    let waits = broker.ask(OLD, Request::JoinGroup(request));
    for _ in 0..35 {
        broker.pass(8_000);
        assert_eq!(broker.heartbeat(1, &members[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    }
    assert_eq!(broker.answer(waits), None);
    for _ in 0..3 {
        broker.pass(8_000);
        broker.heartbeat(1, &members[0]);
    }
    assert_eq!(broker.joined(waits).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
}

#[test]
fn joining_again_rebalances_only_if_something_changed() {
    let mut broker = Broker::new();
    let members = broker.stable(2, RANGE);
    let follower = broker.join(NEW, &members[1], None, RANGE);
    let joined = broker.joined(follower);
    assert_eq!((joined.generation_id, joined.leader.as_str(), joined.members.len()), (1, members[0].as_str(), 0));
    assert_eq!(broker.state(), "Stable");
    let leader = broker.join(NEW, &members[0], None, RANGE);
    assert_eq!((broker.answer(leader), broker.state()), (None, "PreparingRebalance".to_owned()));
    let follower = broker.join(NEW, &members[1], None, RANGE);
    assert_eq!(broker.joined(leader).members.len(), 2);
    assert_eq!(broker.joined(follower).generation_id, 2);
    // The answer may have been lost: the same again.
    let leader = broker.join(NEW, &members[0], None, RANGE);
    let joined = broker.joined(leader);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 2));
    // Changed metadata begin a rebalance, and who waits for an assignment learns it.
    let sync = broker.sync(2, &members[1], &[]);
    let changed = broker.join(NEW, &members[0], None, &[("range", b"changed")]);
    assert_eq!(broker.synced(sync).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    assert_eq!(broker.answer(changed), None);
}

#[test]
fn a_request_that_is_asked_again_ends_the_first_one() {
    let mut broker = Broker::new();
    let members = broker.stable(2, RANGE);
    let first = broker.join(NEW, &members[0], None, RANGE);
    let second = broker.join(NEW, &members[0], None, RANGE);
    assert_eq!(broker.joined(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    let other = broker.join(NEW, &members[1], None, RANGE);
    assert_eq!((broker.joined(second).error_code, broker.joined(other).error_code), (0, 0));
    let first = broker.sync(2, &members[1], &[]);
    let second = broker.sync(2, &members[1], &[]);
    assert_eq!(broker.synced(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    let leads = broker.sync(2, &members[0], &[(&members[1], "a")]);
    assert_eq!(broker.synced(second).assignment, b"a"[..]);
    assert_eq!(broker.synced(leads).error_code, 0);
}

#[test]
fn a_group_has_no_more_members_than_it_may() {
    let settings = GroupSettings { group_size_max: 2, ..GroupSettings::default() };
    let mut broker = Broker::with(settings.clone());
    let members = broker.stable(2, RANGE);
    let third = broker.join(OLD, "", None, RANGE);
    assert_eq!(broker.joined(third).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED.0);
    // With a lower bound after a restart everybody joins again, and the last one is refused.
    broker.settings.group_size_max = 1;
    broker.crash(0);
    assert_eq!(broker.heartbeat(1, &members[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    let first = broker.join(OLD, &members[0], None, RANGE);
    let last = broker.join(OLD, &members[1], None, RANGE);
    assert_eq!(broker.joined(last).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED.0);
    assert_eq!(broker.joined(first).members.len(), 1);
}

#[test]
fn leaving_rebalances_and_the_last_one_is_written() {
    let mut broker = Broker::new();
    let members = broker.stable(2, RANGE);
    let id = broker.leave("x", None);
    assert_eq!(broker.left(id), ErrorCode::UNKNOWN_MEMBER_ID);
    let id = broker.leave(&members[0], None);
    assert_eq!(broker.left(id), ErrorCode::NONE);
    assert_eq!(broker.heartbeat(1, &members[1]), ErrorCode::REBALANCE_IN_PROGRESS);
    let id = broker.join(OLD, &members[1], None, RANGE);
    assert_eq!(broker.joined(id).generation_id, 2);
    broker.prompt = false;
    let id = broker.leave(&members[1], None);
    assert_eq!(broker.answer(id), None, "that the group is empty is written first");
    broker.acknowledge();
    assert_eq!(broker.left(id), ErrorCode::NONE);
    assert_eq!(broker.state(), "Empty");
    let last = broker.log.last().unwrap().records.last().unwrap().clone();
    let Ok(DecodedRecord::Group(_, Some(group))) = decode_log_record(Some(last.key), last.value) else { panic!() };
    assert_eq!((group.generation, group.members.len(), group.protocol), (3, 0, None));
    assert_eq!(group.protocol_type, "consumer");
}

#[test]
fn leaving_in_old_versions_and_where_there_is_nothing() {
    let leave = |member: &str| {
        Request::LeaveGroup(LeaveGroupRequest {
            group_id: "g".into(),
            member_id: KafkaString::copied(member),
            ..Default::default()
        })
    };
    let mut broker = Broker::new();
    let id = broker.ask(2, leave("x"));
    assert_eq!(broker.left(id), ErrorCode::UNKNOWN_MEMBER_ID);
    let id = broker.leave("x", None);
    let Some(Answer::LeaveGroup(response)) = broker.answer(id) else { panic!() };
    assert_eq!((response.error_code, response.members[0].error_code), (0, ErrorCode::UNKNOWN_MEMBER_ID.0));
    let members = broker.stable(1, RANGE);
    let id = broker.ask(2, leave(&members[0]));
    let Some(Answer::LeaveGroup(response)) = broker.answer(id) else { panic!() };
    assert_eq!((response.error_code, response.members.len()), (0, 0));
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    for version in [5, 9] {
        let mut broker = Broker::new();
        let joins = [broker.join(version, "", Some("a"), RANGE), broker.join(version, "", Some("b"), RANGE)];
        broker.pass(10_000);
        let ids = joins.map(|id| broker.joined(id));
        let leader = ids.iter().position(|one| one.member_id == one.leader).unwrap();
        let members = ids.map(|one| one.member_id.to_string());
        assert!(members[0].starts_with("a-") && members[1].starts_with("b-"), "{members:?}");
        let assignments = [(members[0].as_str(), "for a"), (members[1].as_str(), "for b")];
        let syncs = [0, 1].map(|i| broker.sync(1, &members[i], if i == leader { &assignments } else { &[] }));
        for id in syncs {
            assert_eq!(broker.synced(id).error_code, 0);
        }
        for (i, instance) in ["a", "b"].into_iter().enumerate() {
            broker.prompt = false;
            let back = broker.join(version, "", Some(instance), &[("range", b"other")]);
            assert_eq!(broker.answer(back), None, "the new id is written first");
            broker.prompt = true;
            broker.acknowledge();
            let joined = broker.joined(back);
            assert_eq!((joined.error_code, joined.generation_id), (0, 1));
            assert_ne!(joined.member_id.as_str(), members[i]);
            assert_eq!(broker.state(), "Stable");
            if i == leader {
                // Only a client that knows how to skip the assignment may learn that it leads.
                assert_eq!(joined.skip_assignment, version == 9);
                assert_eq!(joined.members.len(), if version == 9 { 2 } else { 0 });
                assert_eq!(joined.leader == joined.member_id, version == 9);
            }
            let fenced = SyncGroupRequest {
                group_instance_id: Some(KafkaString::copied(instance)),
                ..sync_request(1, &members[i], &[])
            };
            let id = broker.ask(4, Request::SyncGroup(fenced));
            assert_eq!(broker.synced(id).error_code, ErrorCode::FENCED_INSTANCE_ID.0);
            let id = broker.sync(1, &joined.member_id, &[]);
            assert_eq!(broker.synced(id).assignment, assignments[i].1.as_bytes());
        }
    }
}

#[test]
fn a_static_member_that_comes_back_into_a_rebalance_is_in_the_next_generation() {
    let mut broker = Broker::new();
    let joins =
        [broker.join(OLD, "", None, RANGE), broker.join(OLD, "", None, RANGE), broker.join(5, "", Some("i"), RANGE)];
    broker.pass_until(joins[0]);
    let joined = joins.map(|id| broker.joined(id));
    let leader = joined.iter().find(|one| one.member_id == one.leader).unwrap().member_id.clone();
    for one in &joined {
        let id = broker.sync(1, &one.member_id, &[]);
        broker.answer(id);
    }
    assert_eq!(broker.state(), "Stable");
    broker.prompt = false;
    let back = broker.join(9, "", Some("i"), RANGE);
    let (goes, stays) = if leader == joined[0].member_id { (0, 1) } else { (1, 0) };
    broker.leave(&joined[goes].member_id, None);
    broker.prompt = true;
    broker.acknowledge();
    assert_eq!((broker.answer(back), broker.state()), (None, "PreparingRebalance".to_owned()));
    let rejoin = broker.join(OLD, &joined[stays].member_id, None, RANGE);
    let (back, rejoin) = (broker.joined(back), broker.joined(rejoin));
    assert_eq!((back.generation_id, rejoin.generation_id), (2, 2));
    assert_eq!(back.leader, rejoin.leader);
}

#[test]
fn a_static_member_whose_new_id_cannot_be_written_keeps_the_old_one() {
    let mut broker = Broker::new();
    let join = broker.join(9, "", Some("a"), RANGE);
    broker.pass(3_000);
    let old = broker.joined(join).member_id;
    let sync = broker.sync(1, &old, &[(&old, "x")]);
    broker.synced(sync);
    broker.prompt = false;
    let back = broker.join(9, "", Some("a"), RANGE);
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(broker.joined(back).error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    assert_eq!(broker.heartbeat(1, &old), ErrorCode::NONE);
    let sync = broker.sync(1, &old, &[]);
    assert_eq!(broker.synced(sync).assignment, b"x"[..]);
}

#[test]
fn a_static_member_that_changes_the_protocol_or_comes_while_it_is_assigned_rebalances() {
    let mut broker = Broker::new();
    let join = broker.join(9, "", Some("a"), &[("x", b""), ("y", b"")]);
    broker.pass(3_000);
    let first = broker.joined(join);
    // Its assignment may be on its way to the old id.
    let again = broker.join(9, "", Some("a"), &[("x", b""), ("y", b"")]);
    let second = broker.joined(again);
    assert_eq!(second.generation_id, 2, "alone, it is at once in the next generation");
    assert_ne!(first.member_id, second.member_id);
    let sync = broker.sync(2, &second.member_id, &[]);
    assert_eq!(broker.synced(sync).error_code, 0);
    let again = broker.join(9, "", Some("a"), &[("y", b"")]);
    let third = broker.joined(again);
    assert_eq!((third.generation_id, third.protocol_name.as_deref()), (3, Some("y")));
}

#[test]
fn an_open_join_of_a_static_member_is_fenced_by_the_next_one() {
    let mut broker = Broker::new();
    let first = broker.join(9, "", Some("a"), RANGE);
    let second = broker.join(9, "", Some("a"), RANGE);
    assert_eq!(broker.joined(first).error_code, ErrorCode::FENCED_INSTANCE_ID.0);
    broker.pass(10_000);
    assert_eq!(broker.joined(second).error_code, 0);
    let id = broker.leave("", Some("b"));
    assert_eq!(broker.left(id), ErrorCode::UNKNOWN_MEMBER_ID);
    let id = broker.leave("old", Some("a"));
    assert_eq!(broker.left(id), ErrorCode::FENCED_INSTANCE_ID);
    let id = broker.leave("", Some("a"));
    assert_eq!(broker.left(id), ErrorCode::NONE);
    assert_eq!(broker.state(), "Empty");
}

#[test]
fn only_static_members_that_all_stay_away_do_not_hold_up_the_group_for_ever() {
    let mut broker = Broker::new();
    let joins = [broker.join(9, "", Some("a"), RANGE), broker.join(9, "", None, RANGE)];
    let dynamic = broker.joined(joins[1]).member_id;
    let join = broker.join(9, &dynamic, None, RANGE);
    broker.pass(10_000);
    assert_eq!((broker.joined(join).error_code, broker.joined(joins[0]).error_code), (0, 0));
    let left = broker.leave(&dynamic, None);
    assert_eq!(broker.left(left), ErrorCode::NONE);
    assert_eq!(broker.state(), "PreparingRebalance");
    broker.pass(10_000);
    assert_eq!(broker.state(), "Empty");
}

#[test]
fn a_group_that_could_not_be_written_has_never_been() {
    let mut broker = Broker::new();
    broker.prompt = false;
    let open = broker.join(OLD, "", None, RANGE);
    let pending = broker.join(NEW, "", None, RANGE);
    assert_eq!(broker.joined(pending).error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
    broker.tell(Err(ErrorCode::NOT_LEADER_OR_FOLLOWER));
    assert_eq!(broker.joined(open).error_code, ErrorCode::NOT_COORDINATOR.0);
    assert_eq!(broker.list(), []);
    assert_eq!(broker.coordinator.state_bytes(), 0);
}

#[test]
fn who_resigns_leaves_nobody_waiting() {
    let mut broker = Broker::new();
    let members = broker.stable(1, RANGE);
    broker.prompt = false;
    let open = [
        broker.join(OLD, "", None, RANGE),
        broker.commit(7, 1, &members[0], "t", 5),
        broker.ask(8, fetch_request(Some(&["t"]), true)),
    ];
    let settings = broker.settings.clone();
    let (empty, _) = GroupLoader::new(settings, Arc::default()).finish(broker.now());
    let effects = std::mem::replace(&mut broker.coordinator, empty).resign(broker.now());
    broker.perform(effects);
    assert_eq!(broker.joined(open[0]).error_code, ErrorCode::NOT_COORDINATOR.0);
    assert_eq!(broker.committed(open[1]), ErrorCode::NOT_COORDINATOR);
    let Some(Answer::OffsetFetch(group)) = broker.answer(open[2]) else { panic!() };
    assert_eq!(group.error_code, ErrorCode::NOT_COORDINATOR.0);
}

#[test]
fn what_operators_see() {
    let mut broker = Broker::new();
    let members = broker.stable(1, RANGE);
    let id = broker.ask(6, Request::DescribeGroup("g".into()));
    let Some(Answer::DescribeGroup(group)) = broker.answer(id) else { panic!() };
    assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
    assert_eq!((group.protocol_type.as_str(), group.protocol_data.as_str()), ("consumer", "range"));
    let member = &group.members[0];
    assert_eq!((member.member_id.as_str(), member.client_id.as_str()), (members[0].as_str(), "c"));
    assert_eq!((member.client_host.as_str(), &member.member_metadata[..]), ("/127.0.0.1", &b"m"[..]));
    assert_eq!(member.member_assignment, members[0].as_bytes());
    for (version, code) in [(5, ErrorCode::NONE), (6, ErrorCode::GROUP_ID_NOT_FOUND)] {
        let id = broker.ask(version, Request::DescribeGroup("none".into()));
        let Some(Answer::DescribeGroup(group)) = broker.answer(id) else { panic!() };
        assert_eq!((group.error_code, group.group_state.as_str()), (code.0, "Dead"));
    }
    for (states, types, count) in [
        (vec![], vec![], 1),
        (vec!["stable"], vec![], 1),
        (vec!["Empty", " STABLE "], vec!["Classic"], 1),
        (vec!["Empty"], vec![], 0),
        (vec![], vec!["consumer"], 0),
        (vec![], vec!["nonsense"], 0),
    ] {
        let texts = |texts: Vec<&'static str>| texts.into_iter().map(KafkaString::from).collect();
        let id = broker.ask(5, Request::ListGroups { states: texts(states), types: texts(types) });
        let Some(Answer::ListGroups(response)) = broker.answer(id) else { panic!() };
        assert_eq!(response.groups.len(), count);
    }
    let listed = broker.list().remove(0);
    assert_eq!((listed.group_type.as_str(), listed.group_state.as_str()), ("classic", "Stable"));
}

#[test]
fn a_clients_name_that_fits_no_record_is_cut() {
    let mut broker = Broker::new();
    // What decoding makes of 32767 bytes that are not UTF-8.
    let name = "\u{fffd}".repeat(32_767);
    let id = broker.ask_as(OLD, &name, Request::JoinGroup(join_request("", None, RANGE)));
    broker.pass_until(id);
    let member = broker.joined(id).member_id;
    let id = broker.sync(1, &member, &[(&member, "a")]);
    assert_eq!(broker.synced(id).assignment, b"a"[..]);
    assert_eq!(broker.state(), "Stable");
}

#[test]
fn memory_is_given_back_and_bounded() {
    let settings = GroupSettings { state_bytes_max: 100_000, ..GroupSettings::default() };
    let mut broker = Broker::with(settings);
    let metadata = vec![0_u8; 60_000];
    let members = broker.stable(1, &[("range", &metadata)]);
    let id = broker.join(OLD, "", None, &[("range", &metadata)]);
    assert_eq!(broker.joined(id).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED.0);
    // Who is there already may join again.
    let id = broker.join(OLD, &members[0], None, &[("range", &metadata)]);
    assert_eq!(broker.joined(id).error_code, 0);
    let sync = broker.sync(2, &members[0], &[(&members[0], &"x".repeat(50_000))]);
    assert_eq!(broker.synced(sync).error_code, ErrorCode::UNKNOWN_SERVER_ERROR.0);
    let id = broker.leave(&members[0], None);
    assert_eq!(broker.left(id), ErrorCode::NONE);
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::NONE);
    assert_eq!((broker.coordinator.state_bytes(), broker.coordinator.group_count()), (0, 0));
}
