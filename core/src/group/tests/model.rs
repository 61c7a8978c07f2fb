//! Random histories: consumers that follow the protocol, and everything that can happen to them and to the broker.
//!
//! What is checked at every answer is in `durable.rs`, what must hold at every instant in `assert_consistent`; here are
//! the promises that span time. Each seed is a history; one that fails is named in the message.

use super::*;
use crate::protocol::records::GroupMetadataValue;

const TOPICS: [&str; 3] = ["t", "u", "v"];
const RETENTION_MS: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle,
    Joining(u64),
    Syncing(u64),
    Stable,
}

/// A consumer that follows the protocol.
#[derive(Debug)]
struct Consumer {
    instance: Option<String>,
    version: i16,
    member_id: String,
    generation: i32,
    step: Step,
    /// What it would bring to a SyncGroup as the leader.
    assignments: Vec<(String, String)>,
    assignment: String,
    metadata: Vec<u8>,
    alive: bool,
    next_heartbeat_ms: u64,
    asked_at_ms: u64,
}

struct World {
    seed: u64,
    broker: Broker,
    random: Random,
    consumers: Vec<Consumer>,
    commits: i64,
    /// Appends whose tombstones somebody asked for, or that may expire something.
    seen_appends: usize,
    had_members_at_ms: u64,
    is_calm: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = GroupSettings {
            offsets_retention_ms: i64::try_from(RETENTION_MS).unwrap(),
            retention_check_interval_ms: 5_000,
            ..GroupSettings::default()
        };
        let mut random = Random::new(seed);
        let mut broker = Broker::with(settings);
        broker.prompt = false;
        let count = 1 + random.below(4);
        let consumers = (0..count).map(|number| Consumer {
            instance: random.once_in(3).then(|| format!("instance-{number}")),
            version: *random.pick(&[0, 3, 5, 9]),
            member_id: String::new(),
            generation: -1,
            step: Step::Idle,
            assignments: Vec::new(),
            assignment: String::new(),
            metadata: subscription(&["t"]),
            alive: true,
            next_heartbeat_ms: 0,
            asked_at_ms: 0,
        });
        let mut consumers: Vec<_> = consumers.collect();
        for consumer in &mut consumers {
            if consumer.instance.is_some() {
                consumer.version = consumer.version.max(5);
            }
        }
        Self { seed, broker, random, consumers, commits: 0, seen_appends: 0, had_members_at_ms: 0, is_calm: false }
    }

    fn run(&mut self, events: usize) {
        for _ in 0..events {
            self.chaos();
            self.tick();
        }
        self.calm();
    }

    /// One thing that may happen.
    fn chaos(&mut self) {
        let place = self.random.below(self.consumers.len());
        match self.random.below(40) {
            0..=9 => self.resolve(),
            10 => {
                let waiting = self.broker.log.len() - self.broker.told;
                let tail = self.random.below(waiting + 1);
                self.crash(tail);
            }
            // A consumer dies, or comes back without knowing what it was.
            11 => self.consumers[place].alive = false,
            12 | 13 => {
                let consumer = &mut self.consumers[place];
                consumer.alive = true;
                consumer.member_id.clear();
                consumer.step = Step::Idle;
            }
            // It loses patience, and asks again.
            14 => {
                if matches!(self.consumers[place].step, Step::Joining(_) | Step::Syncing(_)) {
                    self.consumers[place].step = Step::Idle;
                }
            }
            15 => {
                let topic = *self.random.pick(&TOPICS[..2]);
                self.consumers[place].metadata = subscription(&["t", topic]);
                self.consumers[place].step = Step::Idle;
            }
            16 => self.leave(place),
            17 => self.administer(),
            18..=23 => self.commit(place),
            24 => {
                let topic = *self.random.pick(&TOPICS);
                self.commits += 1;
                self.broker.commit(7, -1, "", topic, self.commits);
            }
            25..=27 => {
                let stable = self.random.once_in(2);
                let topics = [*self.random.pick(&TOPICS)];
                self.broker.ask(8, fetch_request(self.random.once_in(3).then_some(&topics[..]), stable));
            }
            _ => {}
        }
        let ms = *self.random.pick(&[0, 0, 1, 10, 100, 1_000, 3_000]);
        self.pass(ms);
    }

    fn administer(&mut self) {
        match self.random.below(4) {
            0 => {
                let partitions = vec![offset_delete_request::OffsetDeleteRequestPartition { partition_index: 0 }];
                let name = KafkaString::copied(self.random.pick::<&str>(&TOPICS));
                let topics = vec![offset_delete_request::OffsetDeleteRequestTopic { name, partitions }];
                self.broker.ask(0, Request::OffsetDelete(OffsetDeleteRequest { group_id: "g".into(), topics }));
                self.allow_tombstones();
            }
            1 => {
                self.broker.delete();
                self.allow_tombstones();
            }
            2 => {
                let place = self.random.below(self.consumers.len());
                let instance = self.consumers[place].instance.clone();
                self.broker.leave("", instance.as_deref());
            }
            _ => {
                let id = self.broker.ask(6, Request::DescribeGroup("g".into()));
                self.broker.answer(id);
            }
        }
    }

    /// The tombstones that were just appended are what somebody asked for.
    fn allow_tombstones(&mut self) {
        self.seen_appends = self.broker.log.len();
    }

    /// Offsets expire only where nobody reads them any more.
    fn check_expiry(&mut self) {
        let group = self.broker.coordinator.groups.get("g");
        let has_members = group.is_some_and(|group| match &group.kind {
            super::super::coordinator::Kind::Classic(classic) => !classic.members.is_empty(),
            super::super::coordinator::Kind::Consumer(_) | super::super::coordinator::Kind::Other { .. } => false,
        });
        if has_members {
            self.had_members_at_ms = self.broker.now_ms;
        }
        for append in &self.broker.log[self.seen_appends.min(self.broker.log.len())..] {
            for record in append.records.iter().filter(|record| record.value.is_none()) {
                let decoded = decode_log_record(Some(record.key.clone()), None).unwrap();
                let is_over = self.broker.now_ms >= self.had_members_at_ms + RETENTION_MS;
                if let DecodedRecord::Offset(key, None) = decoded {
                    assert!(is_over || key.topic != "t", "seed {}: an offset of a live group expired", self.seed);
                }
            }
        }
        self.seen_appends = self.broker.log.len();
    }

    fn pass(&mut self, ms: u64) {
        let end = self.broker.now_ms + ms;
        while let Some(due) = self.broker.coordinator.next_deadline().filter(|due| due.0 <= end * 1_000_000) {
            self.broker.now_ms = self.broker.now_ms.max(due.0.div_ceil(1_000_000));
            self.check_expiry();
            let effects = self.broker.coordinator.on_time(self.broker.now());
            self.broker.perform(effects);
            self.check_expiry();
        }
        self.broker.now_ms = end;
        self.check_expiry();
    }

    /// Some of what is on its way to the log arrives or fails.
    fn resolve(&mut self) {
        let waiting = self.broker.log.len() - self.broker.told;
        for _ in 0..self.random.below(waiting + 1) {
            if self.broker.told == self.broker.log.len() {
                break;
            }
            let fails = self.random.once_in(10);
            let code = *self.random.pick(&[ErrorCode::NOT_ENOUGH_REPLICAS, ErrorCode::KAFKA_STORAGE_ERROR]);
            self.broker.tell(if fails { Err(code) } else { Ok(()) });
            self.seen_appends = self.seen_appends.min(self.broker.log.len());
        }
        self.seen_appends = self.seen_appends.min(self.broker.log.len());
    }

    fn crash(&mut self, tail: usize) {
        self.broker.crash(tail);
        self.seen_appends = self.broker.log.len();
        // Of members that were never assigned anything the log does not know.
        let group = self.durable_group().filter(|group| group.members.is_empty());
        let empty_since = group.map(|group| u64::try_from(group.current_state_timestamp - 1_000_000).unwrap());
        self.had_members_at_ms = empty_since.unwrap_or(0).min(self.had_members_at_ms);
        for consumer in &mut self.consumers {
            if matches!(consumer.step, Step::Joining(_) | Step::Syncing(_)) {
                consumer.step = Step::Idle;
            }
        }
    }

    fn durable_group(&self) -> Option<&GroupMetadataValue> {
        self.broker.durable.groups.get("g")
    }

    fn leave(&mut self, place: usize) {
        let consumer = &mut self.consumers[place];
        let (member, instance) = (consumer.member_id.clone(), consumer.instance.clone());
        if !member.is_empty() {
            consumer.member_id.clear();
            consumer.step = Step::Idle;
            self.broker.leave(&member, instance.as_deref());
        }
    }

    fn commit(&mut self, place: usize) {
        let consumer = &self.consumers[place];
        if consumer.step == Step::Stable {
            let (member, generation) = (consumer.member_id.clone(), consumer.generation);
            let topic = *self.random.pick(&TOPICS);
            self.commits += 1;
            let request = OffsetCommitRequest {
                group_instance_id: consumer.instance.as_deref().map(KafkaString::copied),
                ..commit_request(generation, &member, topic, self.commits)
            };
            self.broker.ask(9, Request::OffsetCommit(request));
        }
    }

    /// Every consumer does its next step.
    fn tick(&mut self) {
        for place in 0..self.consumers.len() {
            if self.consumers[place].alive {
                self.step(place);
            }
        }
        // Answers that nobody waits for are those to consumers that lost patience.
        let waited: Vec<_> = self.consumers.iter().map(|consumer| consumer.step).collect();
        self.broker
            .answers
            .retain(|id, _| waited.iter().any(|step| matches!(step, Step::Joining(w) | Step::Syncing(w) if w == id)));
    }

    fn step(&mut self, place: usize) {
        let now_ms = self.broker.now_ms;
        match self.consumers[place].step {
            Step::Idle => {
                let consumer = &self.consumers[place];
                let protocols = [("range", consumer.metadata.as_slice())];
                let request = join_request(&consumer.member_id, consumer.instance.as_deref(), &protocols);
                let version = consumer.version;
                let id = self.broker.ask(version, Request::JoinGroup(request));
                self.consumers[place].step = Step::Joining(id);
                self.consumers[place].asked_at_ms = now_ms;
            }
            Step::Joining(id) => match self.broker.answer(id) {
                Some(Answer::JoinGroup(answer)) => self.joined(place, &answer),
                Some(other) => panic!("{other:?}"),
                None => assert!(self.broker.open.contains_key(&id), "seed {}: a join is lost", self.seed),
            },
            Step::Syncing(id) => match self.broker.answer(id) {
                Some(Answer::SyncGroup(answer)) => self.synced(place, &answer),
                Some(other) => panic!("{other:?}"),
                None => assert!(self.broker.open.contains_key(&id), "seed {}: a sync is lost", self.seed),
            },
            Step::Stable => {
                if self.consumers[place].next_heartbeat_ms <= now_ms {
                    self.heartbeat(place);
                }
            }
        }
        assert!(
            !self.is_calm
                || self.consumers[place].asked_at_ms + 330_000 > now_ms
                || self.consumers[place].step == Step::Stable,
            "seed {}: nobody waits for ever",
            self.seed
        );
    }

    fn joined(&mut self, place: usize, answer: &JoinGroupResponse) {
        let consumer = &mut self.consumers[place];
        consumer.step = Step::Idle;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED => {
                consumer.member_id = answer.member_id.to_string();
                return;
            }
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
                consumer.member_id.clear();
                return;
            }
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                return;
            }
            other => panic!("seed {}: {other:?}", self.seed),
        }
        consumer.member_id = answer.member_id.to_string();
        consumer.generation = answer.generation_id;
        let generation = answer.generation_id;
        let leads = answer.leader == answer.member_id;
        consumer.assignments.clear();
        if leads && !answer.skip_assignment {
            assert!(!answer.members.is_empty(), "a leader knows the members");
            let nonce = self.random.next_u64();
            let of = |id: &KafkaString| (id.to_string(), format!("{generation}/{id}/{nonce}"));
            consumer.assignments = answer.members.iter().map(|member| of(&member.member_id)).collect();
        }
        let pairs: Vec<_> = consumer.assignments.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let request = SyncGroupRequest {
            group_instance_id: consumer.instance.as_deref().map(KafkaString::copied),
            ..sync_request(generation, &consumer.member_id, &pairs)
        };
        let id = self.broker.ask(4, Request::SyncGroup(request));
        self.consumers[place].step = Step::Syncing(id);
        self.consumers[place].asked_at_ms = self.broker.now_ms;
    }

    fn synced(&mut self, place: usize, answer: &SyncGroupResponse) {
        let consumer = &mut self.consumers[place];
        consumer.step = Step::Idle;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION | ErrorCode::FENCED_INSTANCE_ID => {
                if answer.error_code != ErrorCode::ILLEGAL_GENERATION.0 {
                    consumer.member_id.clear();
                }
                return;
            }
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::COORDINATOR_NOT_AVAILABLE | ErrorCode::NOT_COORDINATOR => {
                return;
            }
            other => panic!("seed {}: {other:?}", self.seed),
        }
        consumer.assignment = String::from_utf8(answer.assignment.to_vec()).unwrap();
        consumer.step = Step::Stable;
        consumer.next_heartbeat_ms = self.broker.now_ms;
        // It is what a leader brought in this generation; a static member may have had another id then.
        let generation = consumer.generation;
        let prefix = match consumer.instance {
            None => format!("{generation}/{}/", consumer.member_id),
            Some(_) => format!("{generation}/"),
        };
        let text = &consumer.assignment;
        assert!(text.starts_with(&prefix) || text.is_empty(), "seed {}: {text} instead of {prefix}", self.seed);
    }

    fn heartbeat(&mut self, place: usize) {
        let consumer = &mut self.consumers[place];
        consumer.next_heartbeat_ms = self.broker.now_ms + 3_000;
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: consumer.generation,
            member_id: KafkaString::copied(&consumer.member_id),
            group_instance_id: consumer.instance.as_deref().map(KafkaString::copied),
        };
        let id = self.broker.ask(4, Request::Heartbeat(request));
        let Some(Answer::Heartbeat(answer)) = self.broker.answer(id) else { panic!("a heartbeat is answered at once") };
        let consumer = &mut self.consumers[place];
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID => {
                consumer.member_id.clear();
                consumer.step = Step::Idle;
            }
            _ => consumer.step = Step::Idle,
        }
    }

    /// Nothing goes wrong any more: the group becomes stable, and everybody has what the leader assigned.
    fn calm(&mut self) {
        self.is_calm = true;
        self.broker.prompt = true;
        self.broker.acknowledge();
        for consumer in &mut self.consumers {
            consumer.alive = true;
            consumer.asked_at_ms = self.broker.now_ms;
        }
        for _ in 0..800 {
            self.tick();
            self.pass(500);
        }
        let generation = self.consumers[0].generation;
        for consumer in &self.consumers {
            assert_eq!(consumer.step, Step::Stable, "seed {}: {consumer:?}", self.seed);
            assert_eq!(consumer.generation, generation, "seed {}: one generation", self.seed);
            assert!(!consumer.assignment.is_empty(), "seed {}: everybody has an assignment", self.seed);
        }
        assert_eq!(self.broker.state(), "Stable");
        assert!(self.broker.open.is_empty(), "seed {}: every request is answered", self.seed);
        // The log has it all.
        let members = self.durable_group().map_or(0, |group| group.members.len());
        assert_eq!(members, self.consumers.len(), "seed {}", self.seed);
        let before: Vec<_> = TOPICS.iter().map(|topic| self.broker.fetch(topic)).collect();
        self.broker.crash(0);
        let after: Vec<_> = TOPICS.iter().map(|topic| self.broker.fetch(topic)).collect();
        assert_eq!((before, self.broker.state()), (after, "Stable".to_owned()), "seed {}", self.seed);
    }
}

#[test]
fn random_histories() {
    for seed in 0..80 {
        World::new(seed).run(400);
    }
}
