//! Groups that change their protocol while they are at work.

use std::collections::BTreeSet;

use super::consumer::{assigned, beating, having, joining, name_of, places};
use super::*;
use crate::protocol::Message;
use crate::protocol::records::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment,
    consumer_protocol_subscription,
};
use crate::protocol::wire::{Reader, Writer};

type Place = (u8, i32);

/// Version in which clients tell what they have.
const VERSION: i16 = 1;

fn written<M: Message>(message: &M) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(VERSION);
    message.encode(&mut writer, VERSION).unwrap();
    writer.into_bytes().to_vec()
}

fn read<M: Message>(bytes: &Bytes) -> M {
    let mut reader = Reader::new(bytes.clone());
    assert_eq!(reader.i16().unwrap(), VERSION);
    M::decode(&mut reader, VERSION).unwrap()
}

fn by_topic(places: &BTreeSet<Place>) -> BTreeMap<u8, Vec<i32>> {
    let mut topics: BTreeMap<u8, Vec<i32>> = BTreeMap::new();
    places.iter().for_each(|(topic, index)| topics.entry(*topic).or_default().push(*index));
    topics
}

fn subscription(topics: &[u8], owned: &BTreeSet<Place>) -> Vec<u8> {
    let owned_partitions = by_topic(owned).into_iter().map(|(topic, partitions)| {
        consumer_protocol_subscription::TopicPartition { topic: name_of(topic).into(), partitions }
    });
    written(&ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| name_of(*topic).into()).collect(),
        owned_partitions: owned_partitions.collect(),
        ..Default::default()
    })
}

fn assignment(places: &BTreeSet<Place>) -> Vec<u8> {
    let assigned_partitions = by_topic(places).into_iter().map(|(topic, partitions)| {
        consumer_protocol_assignment::TopicPartition { topic: name_of(topic).into(), partitions }
    });
    written(&ConsumerProtocolAssignment { assigned_partitions: assigned_partitions.collect(), user_data: None })
}

fn told(bytes: &Bytes) -> BTreeSet<Place> {
    if bytes.is_empty() {
        return BTreeSet::new();
    }
    let told: ConsumerProtocolAssignment = read(bytes);
    let topic = |name: &str| name.strip_prefix('t').unwrap().parse::<u8>().unwrap();
    let all = told.assigned_partitions.iter();
    all.flat_map(|its| its.partitions.iter().map(|index| (topic(&its.topic), *index))).collect()
}

impl Broker {
    /// A classic group of two that share a topic of four partitions.
    fn classic_pair(&mut self) -> Vec<String> {
        self.classic_pair_with([assignment(&places(1, 0..2)), assignment(&places(1, 2..4))])
    }

    fn classic_pair_with(&mut self, shares: [Vec<u8>; 2]) -> Vec<String> {
        self.topics(&[(1, 4)]);
        let none = BTreeSet::new();
        let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], &none))];
        let joins: Vec<_> = (0..2).map(|_| self.join(OLD, "", None, protocols)).collect();
        self.pass_until(joins[0]);
        let mut members: Vec<_> = joins.into_iter().map(|id| self.joined(id)).collect();
        members.sort_by_key(|joined| joined.member_id != joined.leader);
        let ids: Vec<String> = members.iter().map(|joined| joined.member_id.to_string()).collect();
        let assignments: Vec<SyncGroupRequestAssignment> = ids
            .iter()
            .zip(shares)
            .map(|(id, share)| SyncGroupRequestAssignment {
                member_id: KafkaString::copied(id),
                assignment: share.into(),
            })
            .collect();
        let generation = members[0].generation_id;
        for id in &ids {
            let mine = if *id == ids[0] { assignments.clone() } else { Vec::new() };
            let request = SyncGroupRequest { assignments: mine, ..sync_request(generation, id, &[]) };
            let sync = self.ask(4, Request::SyncGroup(request));
            assert_eq!(self.synced(sync).error_code, 0);
        }
        ids
    }

    fn rejoin(&mut self, member: &str, owned: &BTreeSet<Place>) -> JoinGroupResponse {
        let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], owned))];
        let id = self.join(NEW, member, None, protocols);
        self.joined(id)
    }

    fn sync_told(&mut self, generation: i32, member: &str) -> Result<BTreeSet<Place>, ErrorCode> {
        let id = self.sync(generation, member, &[]);
        let synced = self.synced(id);
        match ErrorCode(synced.error_code) {
            ErrorCode::NONE => Ok(told(&synced.assignment)),
            code => Err(code),
        }
    }
}

#[test]
fn a_classic_group_changes_over_and_back_while_it_is_at_work() {
    let mut broker = Broker::new();
    let ids = broker.classic_pair();
    let id = broker.commit(NEW, 1, &ids[0], "t1", 7);
    assert_eq!(broker.committed(id), ErrorCode::NONE);

    let joined = broker.beat_now(joining("new", &["t1"]));
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1), "the interval of assignments counts from the change");
    broker.pass(1_000);
    let joined = broker.beat_now(beating("new", 1));
    assert_eq!((joined.member_epoch, joined.assignment.is_none()), (2, true), "both others have what it waits for");
    assert_eq!(broker.described().members.iter().map(|it| it.member_type).collect::<Vec<_>>().len(), 3);
    assert_eq!(broker.list()[0].group_type, "consumer");
    assert_eq!(broker.fetch("t1"), 7);
    broker.crash(0);

    // Each is called back, gives everything back as clients of the classic protocol do, and gets its share.
    let mut all = BTreeSet::new();
    for id in &ids {
        assert_eq!(broker.heartbeat(1, id), ErrorCode::REBALANCE_IN_PROGRESS);
        assert_eq!(broker.sync_told(1, id), Err(ErrorCode::REBALANCE_IN_PROGRESS));
        let again = broker.rejoin(id, &BTreeSet::new());
        assert_eq!((again.error_code, again.generation_id, again.leader.as_str()), (0, 2, ""));
        assert_eq!(again.protocol_name.as_deref(), Some("range"));
        all.extend(broker.sync_told(2, id).unwrap());
        assert_eq!(broker.heartbeat(2, id), ErrorCode::NONE);
        assert_eq!(broker.heartbeat(1, id), ErrorCode::ILLEGAL_GENERATION);
    }
    let new = assigned(&broker.beat_now(beating("new", 2))).unwrap();
    assert_eq!((all.len(), new.len()), (3, 1));
    all.extend(new.iter().copied());
    assert_eq!(all, places(1, 0..4));
    assert_eq!(broker.described().group_state, "Stable");
    let kinds: Vec<i8> = broker.described().members.iter().map(|member| member.member_type).collect();
    assert_eq!((kinds.iter().filter(|it| **it == 0).count(), kinds.iter().filter(|it| **it == 1).count()), (2, 1));
    // Commits of either name their generation.
    let id = broker.commit(NEW, 2, &ids[0], "t1", 8);
    assert_eq!(broker.committed(id), ErrorCode::NONE);
    let id = broker.commit(NEW, 1, &ids[0], "t1", 9);
    assert_eq!(broker.committed(id), ErrorCode::ILLEGAL_GENERATION);
    let id = broker.join(NEW, "", None, &[("sticky", &subscription(&[1], &BTreeSet::new()))]);
    assert_eq!(ErrorCode(broker.joined(id).error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);

    // The last member of the consumer protocol leaves: the others are a classic group again.
    broker.beat_now(beating("new", -1));
    assert_eq!(broker.list()[0].group_type, "classic");
    assert_eq!(broker.heartbeat(3, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    let before = broker.log.len();
    broker.crash(0);
    assert_eq!((broker.list()[0].group_type.as_str(), broker.log.len()), ("classic", before));
    let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], &BTreeSet::new()))];
    let joins: Vec<u64> = ids.iter().map(|id| broker.join(NEW, id, None, protocols)).collect();
    broker.pass_until(joins[1]);
    for join in joins {
        assert_eq!(broker.joined(join).error_code, 0);
    }
    assert_eq!(broker.fetch("t1"), 8);
}

#[test]
fn a_member_that_is_not_called_back_in_time_is_out() {
    let mut broker = Broker::new();
    let ids = broker.classic_pair();
    broker.beat_now(joining("new", &["t1"]));
    broker.pass(1_000);
    broker.beat_now(beating("new", 1));
    for _ in 0..7 {
        for id in &ids {
            assert_eq!(broker.heartbeat(1, id), ErrorCode::REBALANCE_IN_PROGRESS);
        }
        broker.pass(8_000);
        broker.beat_now(beating("new", 2));
    }
    broker.pass(8_000);
    assert_eq!(broker.heartbeat(1, &ids[0]), ErrorCode::UNKNOWN_MEMBER_ID);
    let epoch = broker.described().members[0].member_epoch;
    assert_eq!(assigned(&broker.beat_now(having("new", epoch, &[]))).unwrap().len(), 4);
    let id = broker.leave(&ids[0], None);
    assert_eq!(broker.left(id), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn the_policy_says_which_way() {
    for (upgrades, downgrades) in [(false, true), (true, false)] {
        let mut settings = GroupSettings::default();
        settings.consumer.migration = MigrationPolicy { upgrades, downgrades };
        let mut broker = Broker::with(settings);
        let ids = broker.classic_pair();
        let code = broker.beat_now(joining("new", &["t1"])).error_code;
        if !upgrades {
            assert_eq!(ErrorCode(code), ErrorCode::GROUP_ID_NOT_FOUND);
            assert_eq!(broker.heartbeat(1, &ids[0]), ErrorCode::NONE, "nobody is disturbed");
            continue;
        }
        assert_eq!(code, 0);
        broker.beat_now(beating("new", -1));
        assert_eq!(broker.list()[0].group_type, "consumer");
        assert_eq!(broker.heartbeat(1, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    }
}

#[test]
fn what_an_assignor_of_the_application_has_made_does_not_change_over() {
    let of_its_own = ConsumerProtocolAssignment { user_data: Some(vec![1].into()), ..Default::default() };
    for (other, code) in [
        (assignment(&places(1, 2..4)), ErrorCode::NONE),
        (Vec::new(), ErrorCode::NONE),
        (written(&of_its_own), ErrorCode::GROUP_ID_NOT_FOUND),
        (vec![0, 0, 9], ErrorCode::GROUP_ID_NOT_FOUND),
    ] {
        let mut broker = Broker::new();
        let ids = broker.classic_pair_with([assignment(&places(1, 0..2)), other]);
        assert_eq!(ErrorCode(broker.beat_now(joining("new", &["t1"])).error_code), code);
        if !code.is_none() {
            assert_eq!(broker.heartbeat(1, &ids[0]), ErrorCode::NONE, "nobody is disturbed");
        }
    }
}

#[test]
fn without_migration_the_protocols_keep_apart() {
    let mut settings = GroupSettings::default();
    settings.consumer.migration = MigrationPolicy { upgrades: false, downgrades: false };
    let mut broker = Broker::with(settings);
    broker.topics(&[(1, 1)]);
    assert_eq!(broker.beat_now(joining("a", &["t1"])).error_code, 0);
    let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], &BTreeSet::new()))];
    for member in ["", "somebody"] {
        let id = broker.join(OLD, member, None, protocols);
        assert_eq!(ErrorCode(broker.joined(id).error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    // When nobody is there the group is anybody's, also that of one who believes to be a member.
    broker.beat_now(beating("a", -1));
    let id = broker.join(OLD, "somebody", None, protocols);
    assert_eq!(ErrorCode(broker.joined(id).error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_group_that_is_too_large_for_the_classic_protocol_stays() {
    let mut settings = GroupSettings { group_size_max: 1, ..GroupSettings::default() };
    settings.consumer.group_size_max = 10;
    let mut broker = Broker::with(settings);
    broker.topics(&[(1, 2)]);
    assert_eq!(broker.beat_now(joining("new", &["t1"])).error_code, 0);
    let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], &BTreeSet::new()))];
    for _ in 0..2 {
        let id = broker.join(OLD, "", None, protocols);
        assert_eq!(broker.joined(id).error_code, 0);
    }
    broker.beat_now(beating("new", -1));
    assert_eq!(broker.list()[0].group_type, "consumer");
}

#[test]
fn a_rebalance_in_progress_is_joined_again_after_the_change() {
    let mut broker = Broker::new();
    let ids = broker.classic_pair();
    let none = BTreeSet::new();
    let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], &none))];
    let waiting = broker.join(OLD, "", None, protocols);
    assert_eq!(broker.heartbeat(1, &ids[0]), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(broker.beat_now(joining("new", &["t1"])).error_code, 0);
    assert_eq!(ErrorCode(broker.joined(waiting).error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(broker.described().members.len(), 4);
    // What is no subscription cannot change over.
    let mut broker = Broker::new();
    broker.topics(&[(1, 1)]);
    broker.stable(1, &[("range", b"")]);
    assert_eq!(ErrorCode(broker.beat_now(joining("new", &["t1"])).error_code), ErrorCode::GROUP_ID_NOT_FOUND);
}

/// A client of either protocol. Those of the classic one give everything back before they join again.
#[derive(Default)]
struct Client {
    is_classic: bool,
    id: String,
    epoch: i32,
    reads: BTreeSet<Place>,
    is_full: bool,
    at_ms: u64,
    asks: Option<(u64, Request)>,
    step: Step,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Join,
    Sync,
    Beat,
}

impl Client {
    fn request(&self, others: &BTreeMap<String, BTreeSet<Place>>) -> Request {
        if !self.is_classic {
            let topic_partitions = super::consumer::owned(&self.reads);
            let full = ConsumerGroupHeartbeatRequest { member_epoch: self.epoch, ..joining(&self.id, &["t1"]) };
            return Request::ConsumerGroupHeartbeat(match (self.epoch, self.is_full) {
                (0, _) => full,
                (_, true) => ConsumerGroupHeartbeatRequest { topic_partitions, ..full },
                _ => ConsumerGroupHeartbeatRequest { topic_partitions, ..beating(&self.id, self.epoch) },
            });
        }
        let protocols: &[(&str, &[u8])] = &[("range", &subscription(&[1], &BTreeSet::new()))];
        match self.step {
            Step::Join => Request::JoinGroup(join_request(&self.id, None, protocols)),
            Step::Sync => {
                let assignments = others.iter().map(|(id, places)| SyncGroupRequestAssignment {
                    member_id: KafkaString::copied(id),
                    assignment: assignment(places).into(),
                });
                let plain = sync_request(self.epoch, &self.id, &[]);
                Request::SyncGroup(SyncGroupRequest { assignments: assignments.collect(), ..plain })
            }
            Step::Beat => Request::Heartbeat(HeartbeatRequest {
                group_id: "g".into(),
                generation_id: self.epoch,
                member_id: KafkaString::copied(&self.id),
                ..Default::default()
            }),
        }
    }

    /// Takes an answer in; what it is to assign, if it leads.
    fn hear(&mut self, answer: &Answer, now_ms: u64) -> BTreeMap<String, BTreeSet<Place>> {
        let mut shares = BTreeMap::new();
        let code = match answer {
            Answer::ConsumerGroupHeartbeat(response) => {
                if response.error_code == 0 {
                    (self.epoch, self.is_full) = (response.member_epoch, false);
                    if let Some(places) = assigned(response) {
                        self.reads = places;
                    }
                }
                response.error_code
            }
            Answer::JoinGroup(response) => {
                if ErrorCode(response.error_code) == ErrorCode::MEMBER_ID_REQUIRED {
                    self.id = response.member_id.to_string();
                    return shares;
                }
                if response.error_code == 0 {
                    (self.id, self.epoch) = (response.member_id.to_string(), response.generation_id);
                    self.step = Step::Sync;
                    let count = response.members.len().max(1);
                    for (number, member) in response.members.iter().enumerate() {
                        let its = (0..6).filter(|index| index % count == number);
                        let its = its.map(|index| (1, i32::try_from(index).unwrap())).collect();
                        shares.insert(member.member_id.to_string(), its);
                    }
                }
                response.error_code
            }
            Answer::SyncGroup(response) => {
                if response.error_code == 0 {
                    self.step = Step::Beat;
                    self.reads = told(&response.assignment);
                }
                response.error_code
            }
            Answer::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        match ErrorCode(code) {
            ErrorCode::NONE => self.at_ms = now_ms,
            ErrorCode::REBALANCE_IN_PROGRESS => {
                self.reads.clear();
                self.step = Step::Join;
            }
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::GROUP_ID_NOT_FOUND => {
                self.reads.clear();
                (self.epoch, self.step) = (0, Step::Join);
                if self.is_classic {
                    self.id.clear();
                }
            }
            _ => {
                self.is_full = true;
                if self.is_classic {
                    self.reads.clear();
                    self.step = Step::Join;
                }
            }
        }
        shares
    }
}

/// Sessions of the classic members here, and of the others.
const CLASSIC_SESSION_MS: u64 = 10_000;
const CONSUMER_SESSION_MS: u64 = 45_000;

fn check_readers(clients: &[Client], now_ms: u64, seed: u64) {
    let mut all = BTreeMap::new();
    for client in clients {
        let session_ms = if client.is_classic { CLASSIC_SESSION_MS } else { CONSUMER_SESSION_MS };
        for place in client.reads.iter().filter(|_| client.at_ms + session_ms > now_ms) {
            let before = all.insert(*place, &client.id);
            assert!(before.is_none(), "seed {seed}: {place:?} is read by {before:?} and {}", client.id);
        }
    }
}

#[test]
fn clients_of_both_protocols_come_and_go_and_no_partition_is_read_by_two() {
    let (mut upgrades, mut downgrades) = (0, 0);
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let mut broker = Broker::new();
        broker.prompt = false;
        broker.topics(&[(1, 6)]);
        let (mut clients, mut made) = (Vec::<Client>::new(), 0);
        let mut shares: BTreeMap<String, BTreeMap<String, BTreeSet<Place>>> = BTreeMap::new();
        let mut kind = String::new();
        for step in 0..600 {
            let is_calm = step >= 450;
            if !is_calm && (clients.is_empty() || clients.len() < 5 && random.once_in(20)) {
                made += 1;
                let is_classic = random.once_in(2);
                let id = if is_classic { String::new() } else { format!("n{made}") };
                clients.push(Client { is_classic, id, at_ms: broker.now_ms, ..Client::default() });
            }
            match random.below(12) {
                0..7 if !clients.is_empty() => {
                    let client = random.below(clients.len());
                    let client = &mut clients[client];
                    if client.asks.is_none() {
                        let mine = shares.get(&client.id).cloned().unwrap_or_default();
                        let request = client.request(&mine);
                        let version = if client.is_classic { 4 } else { 1 };
                        client.asks = Some((broker.ask(version, request.clone()), request));
                    }
                }
                7..10 if broker.told < broker.log.len() => broker.tell(Ok(())),
                10 => broker.pass(u64::try_from(random.below(1_500)).unwrap()),
                11 if !is_calm && random.once_in(12) && clients.len() > 1 => {
                    let gone = clients.swap_remove(random.below(clients.len()));
                    if gone.is_classic && !gone.id.is_empty() {
                        broker.leave(&gone.id, None);
                    } else if gone.epoch > 0 {
                        broker.beat(ConsumerGroupHeartbeatRequest { member_epoch: -1, ..beating(&gone.id, 0) });
                    }
                }
                11 if !is_calm && random.once_in(30) => {
                    let tail = random.below(broker.log.len() - broker.told + 1);
                    broker.crash(tail);
                    broker.answers.clear();
                    for client in &mut clients {
                        if client.asks.take().is_some() {
                            client.is_full = true;
                            if client.is_classic {
                                client.reads.clear();
                                client.step = Step::Join;
                            }
                        }
                    }
                }
                _ => {}
            }
            for client in &mut clients {
                if let Some(answer) = client.asks.as_ref().and_then(|(id, _)| broker.answers.remove(id)) {
                    client.asks = None;
                    let mine = client.hear(&answer, broker.now_ms);
                    shares.insert(client.id.clone(), mine);
                }
            }
            check_readers(&clients, broker.now_ms, seed);
            let now =
                broker.coordinator.groups.get("g").map(|group| format!("{:?}", std::mem::discriminant(&group.kind)));
            if let Some(now) = now.filter(|now| *now != kind) {
                let described = broker.list();
                match described.first().map(|group| group.group_type.as_str()) {
                    Some("consumer") if !kind.is_empty() => upgrades += 1,
                    Some("classic") if !kind.is_empty() => downgrades += 1,
                    _ => {}
                }
                kind = now;
            }
        }
        // Everything that is on its way arrives, and everybody goes on.
        broker.prompt = true;
        broker.acknowledge();
        for _ in 0..200 {
            broker.pass(400);
            for client in &mut clients {
                if client.asks.is_none() {
                    let request = client.request(&shares.get(&client.id).cloned().unwrap_or_default());
                    let version = if client.is_classic { 4 } else { 1 };
                    client.asks = Some((broker.ask(version, request.clone()), request));
                }
                if let Some(answer) = client.asks.as_ref().and_then(|(id, _)| broker.answers.remove(id)) {
                    client.asks = None;
                    let mine = client.hear(&answer, broker.now_ms);
                    shares.insert(client.id.clone(), mine);
                }
            }
            check_readers(&clients, broker.now_ms, seed);
        }
        let read: BTreeSet<Place> = clients.iter().flat_map(|client| client.reads.iter().copied()).collect();
        assert_eq!(read, if clients.is_empty() { BTreeSet::new() } else { places(1, 0..6) }, "seed {seed}");
    }
    assert!(upgrades > 50 && downgrades > 15, "{upgrades} over and {downgrades} back are too few to say anything");
}
