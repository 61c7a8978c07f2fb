//! One member of a group: in, out, thrown out, and what is committed when.

use std::collections::BTreeSet;

use super::fake_broker::{FakeBroker, Fault, TOPIC};
use super::world::World;
use crate::base::{LeaderEpoch, Offset, PartitionIndex};
use crate::client::*;
use crate::protocol::ApiKey;

fn member() -> GroupMember {
    GroupMember::new(MemberOptions::new("g", BTreeSet::from([TOPIC.to_owned()])))
}

/// Moves everything for so long; the events that came.
fn play(world: &mut World, member: &mut GroupMember, ms: u64) -> Vec<MemberEvent> {
    let end = world.now.plus_ms(ms);
    let mut events = Vec::new();
    loop {
        member.advance(world.now, &mut world.client);
        let answers = world.exchange();
        let is_quiet = answers.is_empty();
        for (id, result) in answers {
            let now = world.now;
            assert!(member.handle_answer(now, &mut world.client, id, result).is_ok());
        }
        events.extend(std::iter::from_fn(|| member.poll_event()));
        if is_quiet {
            if world.now >= end || member.is_ended() {
                return events;
            }
            world.wait(Some(member.poll_timeout(world.now).map_or(end, |at| at.min(end))));
            world.now = world.now.min(end);
        }
    }
}

/// The event that tells of both partitions, with what is committed in the first.
fn both(committed: Option<i64>) -> MemberEvent {
    let partition = |index, committed: Option<i64>| AssignedPartition {
        topic: TOPIC.to_owned(),
        partition: PartitionIndex(index),
        committed: committed.map(Offset),
    };
    MemberEvent::Assigned(vec![partition(0, committed), partition(1, None)])
}

#[test]
fn a_member_joins_commits_and_leaves() {
    let mut world = World::new(FakeBroker::new(2));
    let mut member = member();
    assert_eq!(play(&mut world, &mut member, 1_000), [both(None)]);
    member.consumed(TOPIC, PartitionIndex(0), Offset(5), LeaderEpoch(0));
    // Not its own.
    member.consumed(TOPIC, PartitionIndex(7), Offset(5), LeaderEpoch(0));
    assert_eq!(play(&mut world, &mut member, 10_000), []);
    assert_eq!(world.broker.group.commits, [(1, 5)]);
    assert!(world.broker.group.heartbeats >= 3, "{}", world.broker.group.heartbeats);
    member.consumed(TOPIC, PartitionIndex(0), Offset(9), LeaderEpoch(0));
    member.leave();
    play(&mut world, &mut member, 1_000);
    assert!(member.is_ended() && member.error().is_none());
    assert_eq!(world.broker.group.commits, [(1, 5), (1, 9)]);
    assert!(world.broker.group.members.is_empty());

    let mut next = self::member();
    assert_eq!(play(&mut world, &mut next, 1_000), [both(Some(9))]);
}

#[test]
fn what_was_read_is_committed_before_partitions_are_given_back() {
    let mut world = World::new(FakeBroker::new(2));
    let mut member = member();
    play(&mut world, &mut member, 1_000);
    member.consumed(TOPIC, PartitionIndex(0), Offset(3), LeaderEpoch(0));
    world.broker.group.is_rebalancing = true;
    assert_eq!(play(&mut world, &mut member, 4_000), [MemberEvent::Revoked, both(Some(3))]);
    assert_eq!(world.broker.group.commits, [(1, 3)], "in the generation that read it");
    assert_eq!(world.broker.group.generation, 2);
}

#[test]
fn a_leader_shares_with_whoever_is_there() {
    let mut world = World::new(FakeBroker::new(2));
    let mut member = member();
    play(&mut world, &mut member, 1_000);
    let subscription = world.broker.group.members["m1"].clone();
    world.broker.group.members.insert("a".to_owned(), subscription);
    world.broker.group.is_rebalancing = true;
    let events = play(&mut world, &mut member, 4_000);
    let own = |partitions: Vec<AssignedPartition>| partitions.iter().map(|p| p.partition.0).collect::<Vec<_>>();
    let [MemberEvent::Revoked, MemberEvent::Assigned(partitions)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(own(partitions.clone()), [1], "the other one's name comes first");
    let others = decode_assignment(world.broker.group.assignments["a"].clone()).unwrap();
    assert_eq!(others[TOPIC], [PartitionIndex(0)]);
}

#[test]
fn a_topic_that_grows_is_shared_out_again() {
    let mut world = World::new(FakeBroker::new(1));
    let mut member = member();
    play(&mut world, &mut member, 1_000);
    world.broker.partitions.push(super::fake_broker::FakePartition::default());
    world.client.refresh_metadata();
    assert_eq!(play(&mut world, &mut member, 4_000), [MemberEvent::Revoked, both(None)]);
}

#[test]
fn a_member_that_was_thrown_out_commits_nothing_and_joins_again() {
    for thrown_out in [true, false] {
        let mut world = World::new(FakeBroker::new(2));
        let mut member = member();
        play(&mut world, &mut member, 1_000);
        member.consumed(TOPIC, PartitionIndex(0), Offset(3), LeaderEpoch(0));
        match thrown_out {
            true => world.broker.group.members.clear(),
            false => world.broker.group.generation += 1,
        }
        assert_eq!(play(&mut world, &mut member, 4_500), [MemberEvent::Revoked, both(None)], "{thrown_out}");
        assert_eq!(world.broker.group.commits, []);
    }
}

#[test]
fn a_member_survives_faults_and_tells_what_does_not_pass() {
    for api in [ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::OffsetFetch, ApiKey::Heartbeat, ApiKey::OffsetCommit] {
        for fault in [
            Fault::LoseRequest,
            Fault::LoseAnswer,
            Fault::Refuse(ErrorCode::NOT_COORDINATOR),
            Fault::Refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
        ] {
            let mut world = World::new(FakeBroker::new(2).fault(api, fault));
            let mut member = member();
            play(&mut world, &mut member, 2_000);
            member.consumed(TOPIC, PartitionIndex(0), Offset(3), LeaderEpoch(0));
            let events = play(&mut world, &mut member, 20_000);
            assert!(member.error().is_none(), "{api:?} {fault:?}: {events:?}");
            member.leave();
            play(&mut world, &mut member, 2_000);
            assert!(member.is_ended(), "{api:?} {fault:?}");
            assert_eq!(world.broker.group.committed.get(&(TOPIC.to_owned(), 0)), Some(&3), "{api:?} {fault:?}");
        }
        let refused = Fault::Refuse(ErrorCode::GROUP_AUTHORIZATION_FAILED);
        let mut world = World::new(FakeBroker::new(2).fault(api, refused));
        let mut member = member();
        play(&mut world, &mut member, 2_000);
        member.consumed(TOPIC, PartitionIndex(0), Offset(3), LeaderEpoch(0));
        play(&mut world, &mut member, 20_000);
        let refusal = matches!(member.error(), Some(MemberError::Refused(_, ErrorCode::GROUP_AUTHORIZATION_FAILED)));
        assert!(refusal && member.is_ended(), "{api:?}");
    }
}

#[test]
fn a_member_whose_heartbeats_are_not_answered_reads_no_longer() {
    let mut world = World::new(FakeBroker::new(2));
    let mut member = member();
    play(&mut world, &mut member, 1_000);
    for _ in 0..3 {
        world.broker.faults.push((ApiKey::Heartbeat, Fault::Hang));
    }
    let events = play(&mut world, &mut member, 120_000);
    assert!(events.len() <= 2, "{events:?}");
    assert!(member.error().is_none());
}
