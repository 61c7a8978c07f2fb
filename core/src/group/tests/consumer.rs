//! Groups of the consumer protocol: each rule, and random lives of members against what they may rely on.

use std::collections::BTreeSet;

use super::*;
use crate::base::{TopicId, Uuid};
use crate::metadata::{ConfigResource, ConfigResourceKind, MetadataRecord, Partition};
use crate::protocol::messages::consumer_group_describe_response::DescribedGroup;
use crate::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;

const HEARTBEAT_MS: i32 = 5_000;
const MEMBER_SESSION_MS: u64 = 45_000;
const MEMBER_REBALANCE_MS: i32 = 30_000;

type Place = (u8, i32);

pub(super) fn id_of(topic: u8) -> TopicId {
    Uuid([topic; 16])
}

pub(super) fn name_of(topic: u8) -> String {
    format!("t{topic}")
}

impl Broker {
    /// The metadata has these topics with so many partitions.
    pub(super) fn topics(&mut self, topics: &[(u8, i32)]) {
        self.metadata_records(topics.iter().flat_map(|(topic, count)| {
            let made = MetadataRecord::Topic { name: name_of(*topic), id: id_of(*topic) };
            let partitions = (0..*count).map(|index| MetadataRecord::Partition {
                topic_id: id_of(*topic),
                index: PartitionIndex(index),
                partition: Partition::default(),
            });
            std::iter::once(made).chain(partitions)
        }));
    }

    pub(super) fn beat(&mut self, request: ConsumerGroupHeartbeatRequest) -> u64 {
        self.ask(1, Request::ConsumerGroupHeartbeat(request))
    }

    fn heard(&mut self, id: u64) -> ConsumerGroupHeartbeatResponse {
        match self.answer(id) {
            Some(Answer::ConsumerGroupHeartbeat(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn beat_now(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let id = self.beat(request);
        self.heard(id)
    }

    fn refused(&mut self, request: ConsumerGroupHeartbeatRequest) -> ErrorCode {
        let heard = self.beat_now(request);
        assert!(heard.error_code == 0 || heard.error_message.is_some(), "a refusal says why: {heard:?}");
        ErrorCode(heard.error_code)
    }

    pub(super) fn described(&mut self) -> DescribedGroup {
        let id = self.ask(1, Request::DescribeConsumerGroup("g".into()));
        match self.answer(id) {
            Some(Answer::DescribeConsumerGroup(group)) => group,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn joining(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: KafkaString::copied(member),
        rebalance_timeout_ms: MEMBER_REBALANCE_MS,
        subscribed_topic_names: Some(topics.iter().map(|topic| KafkaString::copied(topic)).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

fn matching(member: &str, pattern: &str) -> ConsumerGroupHeartbeatRequest {
    let subscribed_topic_regex = Some(KafkaString::copied(pattern));
    ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, subscribed_topic_regex, ..joining(member, &[]) }
}

fn named(request: ConsumerGroupHeartbeatRequest, instance: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some(KafkaString::copied(instance)), ..request }
}

pub(super) fn owned(places: &BTreeSet<Place>) -> Option<Vec<TopicPartitions>> {
    let mut topics: BTreeMap<u8, Vec<i32>> = BTreeMap::new();
    places.iter().for_each(|(topic, index)| topics.entry(*topic).or_default().push(*index));
    let topic = |(topic, partitions): (u8, Vec<i32>)| TopicPartitions { topic_id: id_of(topic).0, partitions };
    Some(topics.into_iter().map(topic).collect())
}

pub(super) fn beating(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: KafkaString::copied(member),
        member_epoch: epoch,
        ..Default::default()
    }
}

pub(super) fn having(member: &str, epoch: i32, places: &[Place]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        topic_partitions: owned(&places.iter().copied().collect()),
        ..beating(member, epoch)
    }
}

/// What an answer assigns; `None` if it does not say.
pub(super) fn assigned(response: &ConsumerGroupHeartbeatResponse) -> Option<BTreeSet<Place>> {
    let topics = &response.assignment.as_ref()?.topic_partitions;
    let places = topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id[0], *index)));
    Some(places.collect())
}

pub(super) fn places(topic: u8, indexes: std::ops::Range<i32>) -> BTreeSet<Place> {
    indexes.map(|index| (topic, index)).collect()
}

#[test]
fn a_group_of_one_and_then_of_two() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 4)]);
    let first = broker.beat_now(joining("a", &["t1"]));
    assert_eq!((first.error_code, first.member_epoch, first.heartbeat_interval_ms), (0, 2, HEARTBEAT_MS));
    assert_eq!(assigned(&first), Some(places(1, 0..4)));
    let again = broker.beat_now(beating("a", 2));
    assert_eq!((again.member_epoch, again.assignment.is_none()), (2, true), "nothing new");
    assert_eq!(broker.described().group_state, "Stable");

    // The second waits for the interval of assignments, and is told when to come again.
    broker.pass(200);
    let second = broker.beat_now(joining("b", &["t1"]));
    assert_eq!((second.error_code, second.member_epoch, second.heartbeat_interval_ms), (0, 2, 800));
    assert_eq!(assigned(&second), Some(BTreeSet::new()));
    assert_eq!(broker.described().group_state, "Assigning");
    broker.pass(800);
    let second = broker.beat_now(beating("b", 2));
    assert_eq!((second.member_epoch, second.assignment.is_none()), (3, true), "the first has not given back");
    assert_eq!(broker.described().group_state, "Reconciling");
    let first = broker.beat_now(beating("a", 2));
    assert_eq!((first.member_epoch, assigned(&first)), (2, Some(places(1, 0..2))), "two of four go");
    let waiting = broker.beat_now(beating("b", 3));
    assert_eq!((waiting.member_epoch, waiting.assignment.is_none()), (3, true));
    let first = broker.beat_now(having("a", 2, &[(1, 0), (1, 1)]));
    assert_eq!((first.member_epoch, first.assignment.is_none()), (3, true));
    let second = broker.beat_now(beating("b", 3));
    assert_eq!(assigned(&second), Some(places(1, 2..4)));
    assert_eq!(broker.described().group_state, "Stable");

    // One leaves; the other gets everything.
    let left = broker.beat_now(beating("a", -1));
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    broker.pass(1_000);
    assert_eq!(assigned(&broker.beat_now(beating("b", 3))), Some(places(1, 0..4)));
    assert_eq!(broker.refused(beating("a", 3)), ErrorCode::UNKNOWN_MEMBER_ID);
    broker.beat_now(beating("b", -1));
    let described = broker.described();
    assert_eq!((described.group_state.as_str(), described.members.len()), ("Empty", 0));
    let id = broker.delete();
    assert_eq!(broker.deleted(id), ErrorCode::NONE);
    assert_eq!(ErrorCode(broker.described().error_code), ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(broker.coordinator.groups.is_empty());
}

#[test]
fn what_a_heartbeat_must_say() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    let invalid = [
        ConsumerGroupHeartbeatRequest { group_id: "".into(), ..joining("a", &["t1"]) },
        joining("", &["t1"]),
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..joining("a", &[]) },
        ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..joining("a", &["t1"]) },
        ConsumerGroupHeartbeatRequest { topic_partitions: None, ..joining("a", &["t1"]) },
        ConsumerGroupHeartbeatRequest { topic_partitions: owned(&places(1, 0..1)), ..joining("a", &["t1"]) },
        named(joining("a", &["t1"]), ""),
        ConsumerGroupHeartbeatRequest { rack_id: Some("".into()), ..joining("a", &["t1"]) },
        beating("a", -2),
        beating("a", -3),
        beating("", 5),
        joining("a", &[&"x".repeat(40_000)]),
        joining(
            "a",
            &["t"; 1]
                .repeat(9)
                .iter()
                .map(|_| "y".repeat(32_000))
                .collect::<Vec<_>>()
                .iter()
                .map(|it| it.as_str())
                .collect::<Vec<_>>(),
        ),
    ];
    for request in invalid {
        assert_eq!(broker.refused(request.clone()), ErrorCode::INVALID_REQUEST, "{request:?}");
    }
    let range = |name: &str| ConsumerGroupHeartbeatRequest {
        server_assignor: Some(KafkaString::copied(name)),
        ..joining("a", &["t1"])
    };
    assert_eq!(broker.refused(range("sticky")), ErrorCode::UNSUPPORTED_ASSIGNOR);
    assert_eq!(broker.refused(matching("a", "(")), ErrorCode::INVALID_REGULAR_EXPRESSION);
    assert_eq!(broker.refused(beating("a", 2)), ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(broker.refused(beating("a", -1)), ErrorCode::GROUP_ID_NOT_FOUND);
    assert!(broker.coordinator.groups.is_empty() && broker.log.is_empty(), "a refused join leaves nothing");

    // Version 0 leaves the id to the broker.
    let nameless = ConsumerGroupHeartbeatRequest { member_id: "".into(), ..range("range") };
    let id = broker.ask(0, Request::ConsumerGroupHeartbeat(nameless));
    let made = broker.heard(id);
    assert_eq!((made.error_code, made.member_id.unwrap().len()), (0, 22));
    assert_eq!(broker.described().assignor_name, "range");
    assert_eq!(broker.refused(beating("a", 2)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(broker.refused(named(beating("a", 2), "i")), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn epochs_fence_and_a_lost_answer_does_not() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 2)]);
    broker.beat_now(joining("a", &["t1"]));
    broker.topics(&[(2, 1)]);
    broker.pass(1_000);
    let both = ["t1", "t2"].map(KafkaString::from_static).to_vec();
    let wider = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(both), ..beating("a", 2) };
    assert_eq!(broker.beat_now(wider.clone()).member_epoch, 3);
    // It did not hear that, and tells everything again.
    let full = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: MEMBER_REBALANCE_MS,
        topic_partitions: owned(&places(1, 0..2)),
        ..wider
    };
    let again = broker.beat_now(full.clone());
    assert_eq!((again.member_epoch, assigned(&again).unwrap().len()), (3, 3));
    let foreign = ConsumerGroupHeartbeatRequest { topic_partitions: owned(&places(3, 0..1)), ..full };
    assert_eq!(broker.refused(foreign), ErrorCode::FENCED_MEMBER_EPOCH);
    assert_eq!(broker.refused(beating("a", 2)), ErrorCode::FENCED_MEMBER_EPOCH);
    assert_eq!(broker.refused(beating("a", 4)), ErrorCode::FENCED_MEMBER_EPOCH);
    // A member that was fenced joins again under its id.
    let joined = broker.beat_now(joining("a", &["t1", "t2"]));
    assert_eq!((joined.member_epoch, assigned(&joined).unwrap().len()), (3, 3));
}

#[test]
fn who_is_silent_or_does_not_give_back_is_out() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 2)]);
    broker.beat_now(joining("a", &["t1"]));
    broker.pass(MEMBER_SESSION_MS - 1);
    assert_eq!(broker.described().members.len(), 1);
    broker.pass(1);
    assert_eq!(broker.described().members.len(), 0);

    let epoch = broker.beat_now(joining("a", &["t1"])).member_epoch;
    broker.beat_now(joining("b", &["t1"]));
    broker.pass(1_000);
    broker.beat_now(beating("b", epoch));
    let told = broker.beat_now(beating("a", epoch));
    assert_eq!(assigned(&told).map(|it| it.len()), Some(1));
    let b_epoch = broker.described().members[1].member_epoch;
    for _ in 0..5 {
        broker.pass(5_000);
        broker.beat_now(beating("a", epoch));
        broker.beat_now(beating("b", b_epoch));
        assert_eq!(broker.described().members.len(), 2);
    }
    broker.pass(5_000);
    assert_eq!(broker.refused(beating("a", epoch)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(assigned(&broker.beat_now(beating("b", b_epoch))), Some(places(1, 0..2)));
}

#[test]
fn static_members_keep_their_place_for_a_while() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 4)]);
    broker.beat_now(named(joining("a", &["t1"]), "i"));
    assert_eq!(broker.refused(named(joining("b", &["t1"]), "i")), ErrorCode::UNRELEASED_INSTANCE_ID);
    assert_eq!(broker.refused(named(beating("x", 2), "i")), ErrorCode::FENCED_INSTANCE_ID);
    let left = broker.beat_now(named(beating("a", -2), "i"));
    assert_eq!((left.error_code, left.member_epoch), (0, -2));
    let epoch = broker.described().group_epoch;
    broker.crash(0);
    broker.pass(MEMBER_SESSION_MS - 1_000);
    let back = broker.beat_now(named(joining("b", &["t1"]), "i"));
    assert_eq!((back.member_epoch, assigned(&back)), (epoch, Some(places(1, 0..4))), "as if it had not been away");
    assert_eq!(broker.described().members.len(), 1);
    broker.beat_now(named(beating("b", -2), "i"));
    broker.pass(MEMBER_SESSION_MS);
    assert_eq!(broker.described().members.len(), 0, "too long");
}

#[test]
fn who_reads_nothing_yet_may_join() {
    for nothing in [joining("a", &[]), matching("a", "")] {
        let mut broker = Broker::new();
        broker.topics(&[(1, 2)]);
        let joined = broker.beat_now(nothing);
        assert_eq!((joined.error_code, assigned(&joined)), (0, Some(BTreeSet::new())));
        let names = ConsumerGroupHeartbeatRequest {
            subscribed_topic_names: Some(vec!["t1".into()]),
            ..having("a", joined.member_epoch, &[])
        };
        broker.pass(1_000);
        assert_eq!(assigned(&broker.beat_now(names)), Some(places(1, 0..2)));
    }
}

#[test]
fn patterns_are_those_of_re2() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1), (2, 1), (11, 1)]);
    for (number, (pattern, topics)) in
        [("(?i)T[12]", &[1, 2][..]), (r"\Qt1\E", &[1]), (r"\Qt1\E\d?", &[1, 11]), (r"t\pN", &[1, 2]), (r"\Qt.\E", &[])]
            .into_iter()
            .enumerate()
    {
        let member = format!("m{number}");
        let joined = broker.beat_now(matching(&member, pattern));
        assert_eq!(assigned(&joined), Some(topics.iter().map(|topic| (*topic, 0)).collect()), "{pattern}");
        broker.beat_now(beating(&member, -1));
        broker.pass(1_000);
    }
}

#[test]
fn each_revocation_has_its_own_time() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 6)]);
    let timeout_ms = 30_000;
    let patient = |request| ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: timeout_ms, ..request };
    broker.beat_now(patient(joining("a", &["t1"])));
    broker.pass(1_000);
    broker.beat_now(joining("b", &["t1"]));
    let told = broker.beat_now(beating("a", 2));
    assert_eq!(assigned(&told), Some(places(1, 0..3)), "three are to be given back");
    // While it is at that, another one comes; it gives back what it was asked for late, and is asked for more.
    broker.pass(1_000);
    broker.beat_now(joining("c", &["t1"]));
    for _ in 0..27 {
        broker.pass(1_000);
        broker.beat_now(beating("a", 2));
        broker.beat_now(beating("b", 3));
        broker.beat_now(beating("c", 4));
    }
    let told = broker.beat_now(having("a", 2, &[(1, 0), (1, 1), (1, 2)]));
    assert_eq!(assigned(&told), Some(places(1, 0..2)), "one more");
    for _ in 0..10 {
        broker.pass(1_000);
        assert_eq!(broker.beat_now(beating("a", told.member_epoch)).error_code, 0);
    }
}

#[test]
fn static_members_keep_their_pattern() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 4)]);
    broker.beat_now(named(matching("a", "t.*"), "i"));
    broker.beat_now(named(beating("a", -2), "i"));
    let back = broker.beat_now(named(matching("b", "t.*"), "i"));
    assert_eq!(assigned(&back), Some(places(1, 0..4)));
    broker.crash(0);
    broker.topics(&[(2, 1)]);
    broker.pass(1_000);
    let wider = broker.beat_now(beating("b", back.member_epoch));
    assert_eq!(assigned(&wider), Some(places(1, 0..4).into_iter().chain([(2, 0)]).collect()));
}

#[test]
fn a_pattern_that_the_log_has_lost_is_looked_for_again() {
    const PATTERN_KEY_VERSION: &[u8] = &16_i16.to_be_bytes();
    let mut broker = Broker::new();
    broker.topics(&[(1, 4)]);
    let joined = broker.beat_now(matching("a", "t.*"));
    for append in &mut broker.log {
        append.records.retain(|record| !record.key.starts_with(PATTERN_KEY_VERSION));
    }
    broker.topics(&[(2, 1)]);
    broker.crash(0);
    broker.pass(1_000);
    let wider = broker.beat_now(beating("a", joined.member_epoch));
    assert_eq!(assigned(&wider), Some(places(1, 0..4).into_iter().chain([(2, 0)]).collect()));
}

#[test]
fn a_static_member_that_goes_for_a_while_holds_up_nobody() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 4)]);
    broker.beat_now(named(joining("a", &["t1"]), "i"));
    broker.pass(1_000);
    let second = broker.beat_now(joining("b", &["t1"]));
    assert_eq!((second.member_epoch, assigned(&second)), (3, Some(BTreeSet::new())));
    assert_eq!(assigned(&broker.beat_now(beating("a", 2))), Some(places(1, 0..2)), "two are to be given back");
    broker.beat_now(named(beating("a", -2), "i"));
    assert_eq!(assigned(&broker.beat_now(beating("b", 3))), Some(places(1, 2..4)));
    broker.crash(0);
    let back = broker.beat_now(named(joining("c", &["t1"]), "i"));
    assert_eq!((back.member_epoch, assigned(&back)), (3, Some(places(1, 0..2))));
}

#[test]
fn a_commit_that_fails_is_nobody_elses_failure() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    broker.beat_now(joining("a", &["t1"]));
    broker.prompt = false;
    // On its way: a commit, a member, a commit. The last two beats tell of nothing new and wait for all of it.
    let commit = broker.commit(9, 2, "a", "t1", 5);
    let join = broker.beat(joining("b", &["t1"]));
    let other_commit = broker.commit(9, 2, "a", "t1", 6);
    let beats = [broker.beat(beating("a", 2)), broker.beat(beating("b", 2))];
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(broker.committed(commit), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    broker.tell(Ok(()));
    assert_eq!(broker.heard(join).error_code, 0);
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(broker.committed(other_commit), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    for beat in beats {
        assert_eq!(broker.heard(beat).error_code, 0);
    }
}

#[test]
fn who_was_only_given_an_id_is_no_member() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    let id = broker.join(NEW, "", None, &[("range", b"")]);
    assert_eq!(ErrorCode(broker.joined(id).error_code), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(broker.beat_now(joining("a", &["t1"])).error_code, 0);
    broker.pass(MEMBER_SESSION_MS - 1_000);
    assert_eq!(broker.list()[0].group_type, "consumer");
}

#[test]
fn patterns_follow_the_topics() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1), (2, 1)]);
    let joined = broker.beat_now(matching("a", "t[1-3]"));
    assert_eq!(assigned(&joined), Some([(1, 0), (2, 0)].into()));
    broker.beat_now(matching("b", "x.*"));
    broker.topics(&[(3, 1), (4, 1)]);
    broker.pass(1_000);
    let wider = broker.beat_now(beating("a", 2));
    assert_eq!(assigned(&wider), Some([(1, 0), (2, 0), (3, 0)].into()));
    broker.crash(0);
    let described = broker.described();
    assert_eq!(described.members[0].subscribed_topic_regex.as_deref(), Some("t[1-3]"));
    assert_eq!(described.members[0].assignment.topic_partitions.len(), 3);
    // It reads names instead; nobody needs the pattern any more.
    let names = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some("".into()),
        subscribed_topic_names: Some(vec!["t4".into()]),
        ..having("a", wider.member_epoch, &[(1, 0), (2, 0), (3, 0)])
    };
    broker.pass(1_000);
    assert_eq!(assigned(&broker.beat_now(names)), Some(BTreeSet::new()));
    let next = broker.beat_now(having("a", wider.member_epoch, &[]));
    assert_eq!(assigned(&next), Some([(4, 0)].into()));
    // A topic goes, and comes again as another one.
    broker.metadata_records([MetadataRecord::RemoveTopic { id: id_of(4) }]);
    broker.pass(1_000);
    let gone = broker.beat_now(beating("a", next.member_epoch));
    assert_eq!(assigned(&gone), Some(BTreeSet::new()));
}

#[test]
fn groups_may_have_times_of_their_own() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    let set = |name: &str, value: &str| MetadataRecord::Config {
        resource: ConfigResource { kind: ConfigResourceKind::GROUP, name: "g".to_owned() },
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    broker.metadata_records([
        set("consumer.heartbeat.interval.ms", "7000"),
        set("consumer.session.timeout.ms", "9999999"),
        set("consumer.assignment.interval.ms", "0"),
    ]);
    assert_eq!(broker.beat_now(joining("a", &["t1"])).heartbeat_interval_ms, 7_000);
    assert_eq!(broker.beat_now(joining("b", &["t1"])).member_epoch, 3, "no interval");
    broker.pass(59_999);
    assert_eq!(broker.described().members.len(), 2, "the most that the broker allows");
    broker.pass(1);
    assert_eq!(broker.described().members.len(), 0);
}

#[test]
fn kinds_replace_each_other_when_nobody_is_there() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    let ids = broker.stable(1, &[("range", b"")]);
    assert_eq!(broker.refused(joining("a", &["t1"])), ErrorCode::GROUP_ID_NOT_FOUND);
    let id = broker.commit(NEW, 1, &ids[0], "t1", 7);
    assert_eq!(broker.committed(id), ErrorCode::NONE);
    let id = broker.leave(&ids[0], None);
    assert_eq!(broker.left(id), ErrorCode::NONE);
    assert_eq!(broker.beat_now(joining("a", &["t1"])).error_code, 0);
    assert_eq!(broker.list()[0].group_type, "consumer");
    assert_eq!(broker.fetch("t1"), 7, "offsets stay");
    let id = broker.join(OLD, "", None, &[("range", b"")]);
    assert_eq!(ErrorCode(broker.joined(id).error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    broker.crash(0);
    assert_eq!(broker.list()[0].group_type, "consumer");
    broker.beat_now(beating("a", -1));
    broker.stable(1, &[("range", b"")]);
    broker.crash(0);
    assert_eq!((broker.list()[0].group_type.as_str(), broker.fetch("t1")), ("classic", 7));
}

#[test]
fn commits_name_the_epoch_of_their_member() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 2)]);
    broker.beat_now(joining("a", &["t1"]));
    let commit = |broker: &mut Broker, version, epoch, member: &str| {
        let mut request = commit_request(epoch, member, "t1", 5);
        request.topics[0].topic_id = id_of(1).0;
        let id = broker.ask(version, Request::OffsetCommit(request));
        broker.committed(id)
    };
    assert_eq!(commit(&mut broker, 9, 2, "a"), ErrorCode::NONE);
    assert_eq!(commit(&mut broker, 8, 2, "a"), ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(commit(&mut broker, 9, 1, "a"), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(commit(&mut broker, 9, 3, "a"), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(commit(&mut broker, 9, 2, "b"), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(commit(&mut broker, 9, -1, ""), ErrorCode::UNKNOWN_MEMBER_ID, "somebody is there");
    // The epoch went on while partition 0 stayed: what was read under the old one still counts.
    broker.topics(&[(2, 1)]);
    broker.pass(1_000);
    let names = Some(vec!["t1".into(), "t2".into()]);
    broker.beat_now(ConsumerGroupHeartbeatRequest { subscribed_topic_names: names, ..beating("a", 2) });
    assert_eq!(commit(&mut broker, 9, 2, "a"), ErrorCode::NONE);
    broker.crash(0);
    assert_eq!(commit(&mut broker, 9, 2, "a"), ErrorCode::NONE);
    assert_eq!(commit(&mut broker, 9, 1, "a"), ErrorCode::STALE_MEMBER_EPOCH);
    let fetch = |broker: &mut Broker, member: Option<&str>, epoch| {
        let Request::OffsetFetch { group, require_stable } = fetch_request(Some(&["t1"]), false) else {
            unreachable!()
        };
        let group =
            OffsetFetchRequestGroup { member_id: member.map(KafkaString::copied), member_epoch: epoch, ..group };
        let id = broker.ask(9, Request::OffsetFetch { group, require_stable });
        match broker.answer(id) {
            Some(Answer::OffsetFetch(group)) => ErrorCode(group.error_code),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(&mut broker, None, -1), ErrorCode::NONE);
    assert_eq!(fetch(&mut broker, Some("a"), 3), ErrorCode::NONE);
    assert_eq!(fetch(&mut broker, Some("a"), 2), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(fetch(&mut broker, Some("b"), 3), ErrorCode::UNKNOWN_MEMBER_ID);
    broker.beat_now(beating("a", -1));
    assert_eq!(commit(&mut broker, 9, -1, ""), ErrorCode::NONE, "tools may, while nobody is there");
}

#[test]
fn an_answer_waits_for_the_log_and_what_could_not_be_written_is_written_next() {
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    broker.prompt = false;
    let join = broker.beat(joining("a", &["t1"]));
    assert!(!broker.answers.contains_key(&join));
    broker.tell(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(ErrorCode(broker.heard(join).error_code), ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let join = broker.beat(joining("a", &["t1"]));
    // Another one asks for nothing new, but is told what is on its way.
    let beat = broker.beat(beating("a", 2));
    assert!(!broker.answers.contains_key(&beat));
    broker.acknowledge();
    assert_eq!(broker.heard(join).member_epoch, 2);
    assert_eq!(broker.heard(beat).member_epoch, 2);
    broker.crash(0);
    assert_eq!(broker.described().members.len(), 1);
    let beat = broker.beat(named(beating("a", -1), "nobody"));
    assert_eq!(ErrorCode(broker.heard(beat).error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn what_does_not_fit_one_batch_takes_several() {
    let mut broker = Broker::with(GroupSettings { batch_bytes_max: 2_000, ..GroupSettings::default() });
    broker.topics(&[(1, 100)]);
    for number in 0..30 {
        assert_eq!(broker.beat_now(joining(&format!("m{number}"), &["t1"])).error_code, 0);
    }
    broker.pass(1_000);
    let before = broker.log.len();
    broker.beat_now(beating("m3", 2));
    assert!(broker.log.len() > before + 1);
    for left in (before..broker.log.len()).rev() {
        broker.told = left;
        broker.crash(0);
        assert_eq!(broker.described().members.len(), 30);
    }
}

/// A client: what it reads, and what it has asked and not heard.
#[derive(Default)]
struct Client {
    id: String,
    instance: Option<String>,
    topics: Vec<u8>,
    epoch: i32,
    reads: BTreeSet<Place>,
    waits: Option<u64>,
    /// The last answer was lost, or refused for a while: it tells everything.
    is_full: bool,
    /// When it was heard of last, as far as it knows.
    at_ms: u64,
}

impl Client {
    fn new(number: usize, instance: Option<String>, topics: Vec<u8>, now_ms: u64) -> Self {
        Self { id: format!("m{number}"), instance, topics, at_ms: now_ms, ..Self::default() }
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let names: Vec<String> = self.topics.iter().map(|topic| name_of(*topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let full = ConsumerGroupHeartbeatRequest {
            member_epoch: self.epoch,
            instance_id: self.instance.as_deref().map(KafkaString::copied),
            ..joining(&self.id, &names)
        };
        if self.epoch == 0 {
            return full;
        }
        let topic_partitions = owned(&self.reads);
        if self.is_full {
            return ConsumerGroupHeartbeatRequest { topic_partitions, ..full };
        }
        let rebalance_timeout_ms = -1;
        ConsumerGroupHeartbeatRequest { topic_partitions, subscribed_topic_names: None, rebalance_timeout_ms, ..full }
    }

    fn hear(&mut self, response: &ConsumerGroupHeartbeatResponse, now_ms: u64) {
        self.waits = None;
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {
                self.epoch = response.member_epoch;
                self.is_full = false;
                self.at_ms = now_ms;
                if let Some(places) = assigned(response) {
                    self.reads = places;
                }
            }
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::GROUP_ID_NOT_FOUND => {
                self.epoch = 0;
                self.reads.clear();
            }
            _ => self.is_full = true,
        }
    }
}

/// No partition has two readers, of those that can think that they are members.
fn check_readers(clients: &[Client], now_ms: u64, seed: u64) {
    let mut all = BTreeMap::new();
    for client in clients.iter().filter(|client| client.at_ms + MEMBER_SESSION_MS > now_ms) {
        for place in &client.reads {
            let before = all.insert(*place, &client.id);
            assert!(before.is_none(), "seed {seed}: {place:?} is read by {before:?} and {}", client.id);
        }
    }
}

#[test]
fn a_partition_has_one_reader_whatever_happens_and_all_get_there() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut broker = Broker::new();
        broker.prompt = false;
        broker.topics(&[(1, 5), (2, 3)]);
        let (mut clients, mut made, mut topics) = (Vec::<Client>::new(), 0, 2_u8);
        for step in 0..400 {
            let is_calm = step >= 300;
            if !is_calm && (clients.is_empty() || clients.len() < 6 && random.once_in(15)) {
                made += 1;
                let reads = (1..=topics).filter(|_| !random.once_in(4)).chain([1]).collect();
                let instance = random.once_in(3).then(|| format!("i{}", random.below(3)));
                let is_taken = clients.iter().any(|client| client.instance.is_some() && client.instance == instance);
                if !is_taken {
                    clients.push(Client::new(made, instance, reads, broker.now_ms));
                }
            }
            match random.below(16) {
                0..8 if !clients.is_empty() => {
                    let at = random.below(clients.len());
                    if clients[at].waits.is_none() {
                        let id = broker.beat(clients[at].request());
                        clients[at].waits = Some(id);
                    } else if random.once_in(3) {
                        // It gives up waiting: the answer is lost to it.
                        clients[at].waits = None;
                        clients[at].is_full = true;
                    }
                }
                8..12 if broker.told < broker.log.len() => {
                    let fails = !is_calm && random.once_in(12);
                    broker.tell(if fails { Err(ErrorCode::NOT_ENOUGH_REPLICAS) } else { Ok(()) });
                }
                12 => broker.pass(u64::try_from(random.below(4_000)).unwrap()),
                13 if !is_calm && random.once_in(6) => {
                    let tail = random.below(broker.log.len() - broker.told + 1);
                    broker.crash(tail);
                    broker.answers.clear();
                    for client in &mut clients {
                        client.waits = None;
                        client.is_full = true;
                    }
                }
                14 if !is_calm && random.once_in(8) && !clients.is_empty() => {
                    let client = clients.swap_remove(random.below(clients.len()));
                    if client.epoch > 0 && random.once_in(2) {
                        let epoch = if client.instance.is_some() && random.once_in(2) { -2 } else { -1 };
                        broker.beat(ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..client.request() });
                    }
                }
                15 if !is_calm && random.once_in(20) && topics < 5 => {
                    topics += 1;
                    broker.topics(&[(topics, i32::try_from(random.below(4)).unwrap())]);
                }
                _ => {}
            }
            for client in &mut clients {
                // What came too late was given up.
                if let Some(Answer::ConsumerGroupHeartbeat(response)) =
                    client.waits.and_then(|id| broker.answers.remove(&id))
                {
                    client.hear(&response, broker.now_ms);
                }
            }
            check_readers(&clients, broker.now_ms, seed);
        }
        // Everything that is on its way arrives, and everybody goes on.
        broker.prompt = true;
        broker.acknowledge();
        for _ in 0..40 {
            broker.pass(2_000);
            for client in &mut clients {
                client.is_full |= client.waits.take().is_some();
                let response = broker.beat_now(client.request());
                client.hear(&response, broker.now_ms);
            }
            check_readers(&clients, broker.now_ms, seed);
        }
        if clients.is_empty() {
            continue;
        }
        assert_eq!(broker.described().group_state, "Stable", "seed {seed}");
        let counts: BTreeMap<u8, usize> = (1..=topics)
            .map(|topic| (topic, broker.metadata.topic(&name_of(topic)).unwrap().partition_count()))
            .collect();
        for (topic, count) in counts {
            let is_read = clients.iter().any(|client| client.topics.contains(&topic));
            let read = clients.iter().flat_map(|client| &client.reads).filter(|(of, _)| *of == topic).count();
            assert_eq!(read, if is_read { count } else { 0 }, "seed {seed}: topic {topic}");
        }
    }
}
