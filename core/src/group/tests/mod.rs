//! A coordinator with a log in memory, and clients that ask it one thing at a time.

mod consumer;
mod durable;
mod hostile;
mod members;
mod migration;
mod model;

mod offsets;
mod reload;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use durable::{Durable, Rounds};

use super::*;
use crate::base::{LeaderEpoch, Monotonic, Offset, PartitionIndex, Timestamp};
use crate::coordinator::{Append, AppendId, LogRecord, Now, RequestId, coordinator_partition};
use crate::metadata::{MetadataImage, MetadataRecord, apply};
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::*;
use crate::protocol::{ErrorCode, KafkaString};
use crate::test_support::Random;

#[test]
fn a_group_has_the_partition_that_java_computes() {
    // Values of String.hashCode: "" 0, "a" 97, "hello" 99162322, "polygenelubricants" i32::MIN, "é𝄞" in three units.
    for (group, partition) in [("", 0), ("a", 47), ("hello", 22), ("polygenelubricants", 0), ("console-consumer", 8)] {
        assert_eq!(coordinator_partition(group, 50), PartitionIndex(partition), "{group}");
    }
    assert_eq!(coordinator_partition("é𝄞", i32::MAX), PartitionIndex((233 * 31 + 0xd834) * 31 + 0xdd1e));
    assert_eq!(coordinator_partition("any", 1), PartitionIndex(0));
}

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// The newest versions, and an old one of each kind of client.
const NEW: i16 = 9;
const OLD: i16 = 3;

struct Broker {
    coordinator: GroupCoordinator,
    settings: GroupSettings,
    metadata: Arc<MetadataImage>,
    now_ms: u64,
    /// All appends in order, and how many of them are told of.
    log: Vec<Append>,
    told: usize,
    /// Offsets at which the acknowledged ones stand.
    end: i64,
    /// Appends are acknowledged as soon as they are made.
    prompt: bool,
    /// Session timeout of those who join.
    session_ms: i32,
    /// What the acknowledged log says, read by the simplest means.
    durable: Durable,
    rounds: Rounds,
    open: BTreeMap<u64, (i16, Request)>,
    answers: BTreeMap<u64, Answer>,
    asked: u64,
    random: Random,
}

impl Broker {
    fn new() -> Self {
        Self::with(GroupSettings::default())
    }

    fn with(settings: GroupSettings) -> Self {
        let now = Now { monotonic: Monotonic(0), wall: Timestamp(1_000_000) };
        let (coordinator, _) = GroupLoader::new(settings.clone(), Arc::default()).finish(now);
        Self {
            coordinator,
            settings,
            metadata: Arc::default(),
            now_ms: 0,
            log: Vec::new(),
            told: 0,
            end: 0,
            prompt: true,
            session_ms: SESSION_MS,
            durable: Durable::default(),
            rounds: Rounds::default(),
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            asked: 0,
            random: Random::new(7),
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic: Monotonic(0).plus_ms(self.now_ms),
            wall: Timestamp(1_000_000) + i64::try_from(self.now_ms).unwrap(),
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(append) => {
                    assert!(!append.records.is_empty(), "an append has records");
                    assert!(append.batch().unwrap().bytes().len() <= self.settings.batch_bytes_max);
                    self.log.push(append);
                }
                Effect::Answer(id, answer) => {
                    let (version, request) = self.open.remove(&id.0).expect("one answer for each request");
                    self.durable.check(&request, &answer);
                    self.rounds.check(&request, &answer);
                    encode(&answer, version);
                    self.answers.insert(id.0, answer);
                }
            }
        }
        self.coordinator.assert_consistent();
        if !self.coordinator.groups.contains_key("g") {
            self.rounds = Rounds::default();
        }
        if self.prompt {
            self.acknowledge();
        }
    }

    /// Everything on its way has arrived.
    fn acknowledge(&mut self) {
        while self.told < self.log.len() {
            self.tell(Ok(()));
        }
    }

    /// The next append has arrived or failed.
    fn tell(&mut self, result: Result<(), ErrorCode>) {
        let append = &self.log[self.told];
        let (id, count) = (append.id, i64::try_from(append.records.len()).unwrap());
        let result = match result {
            Ok(()) => {
                self.durable.append(append);
                self.told += 1;
                self.end += count;
                Ok(Offset(self.end - count))
            }
            Err(code) => {
                self.log.remove(self.told);
                Err(code)
            }
        };
        let effects = self.coordinator.on_append(self.now(), id, result);
        self.perform(effects);
    }

    /// The metadata goes on.
    fn metadata_records(&mut self, records: impl IntoIterator<Item = MetadataRecord>) {
        let mut image = (*self.metadata).clone();
        for record in records {
            apply(&mut image, &record).unwrap();
            image.position.end_offset = image.position.end_offset.plus(1);
        }
        self.metadata = Arc::new(image);
        self.coordinator.set_metadata(Arc::clone(&self.metadata));
    }

    fn ask_as(&mut self, version: i16, client: &str, request: Request) -> u64 {
        self.asked += 1;
        let random = u128::from(self.random.next_u64());
        let context = RequestContext {
            version,
            client_id: KafkaString::copied(client),
            client_host: "/127.0.0.1".into(),
            random,
        };
        self.open.insert(self.asked, (version, request.clone()));
        let effects = self.coordinator.handle(self.now(), RequestId(self.asked), &context, request);
        self.perform(effects);
        self.asked
    }

    fn ask(&mut self, version: i16, request: Request) -> u64 {
        self.ask_as(version, "c", request)
    }

    fn answer(&mut self, id: u64) -> Option<Answer> {
        self.answers.remove(&id)
    }

    /// Lets time pass, with everything that is due on the way.
    fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while let Some(due) = self.coordinator.next_deadline().filter(|due| *due <= Monotonic(0).plus_ms(end)) {
            self.now_ms = self.now_ms.max(due.0.div_ceil(1_000_000));
            let effects = self.coordinator.on_time(self.now());
            self.perform(effects);
        }
        self.now_ms = end;
    }

    /// Lets time pass until this is answered.
    fn pass_until(&mut self, id: u64) {
        while !self.answers.contains_key(&id) {
            self.pass(500);
        }
    }

    /// The broker crashes: what was acknowledged is in the log, and of what was on its way `tail` appends.
    fn crash(&mut self, tail: usize) -> LoadReport {
        self.log.truncate(self.told + tail);
        let (mut loader, mut offset) = (GroupLoader::new(self.settings.clone(), Arc::clone(&self.metadata)), Offset(0));
        for append in &self.log {
            let batch = append.batch().unwrap().stamped(offset, LeaderEpoch(0));
            offset = batch.header().last_offset().plus(1);
            loader.batch(&batch).unwrap();
        }
        let (coordinator, report) = loader.finish(self.now());
        coordinator.assert_consistent();
        self.coordinator = coordinator;
        self.durable = Durable::default();
        self.log.iter().for_each(|append| self.durable.append(append));
        self.rounds = Rounds::from(self.durable.groups.get("g").map_or(0, |group| group.generation));
        self.open.clear();
        self.told = self.log.len();
        self.end = offset.0;
        report
    }

    fn join(&mut self, version: i16, member: &str, instance: Option<&str>, protocols: &[(&str, &[u8])]) -> u64 {
        let session_timeout_ms = self.session_ms;
        let request = JoinGroupRequest { session_timeout_ms, ..join_request(member, instance, protocols) };
        self.ask(version, Request::JoinGroup(request))
    }

    fn joined(&mut self, id: u64) -> JoinGroupResponse {
        match self.answer(id) {
            Some(Answer::JoinGroup(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, generation: i32, member: &str, assignments: &[(&str, &str)]) -> u64 {
        let request = Request::SyncGroup(sync_request(generation, member, assignments));
        self.ask(4, request)
    }

    fn synced(&mut self, id: u64) -> SyncGroupResponse {
        match self.answer(id) {
            Some(Answer::SyncGroup(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, generation: i32, member: &str) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: KafkaString::copied(member),
            ..Default::default()
        };
        let id = self.ask(4, Request::Heartbeat(request));
        match self.answer(id) {
            Some(Answer::Heartbeat(response)) => ErrorCode(response.error_code),
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, member: &str, instance: Option<&str>) -> u64 {
        let identity = MemberIdentity {
            member_id: KafkaString::copied(member),
            group_instance_id: instance.map(KafkaString::copied),
            reason: None,
        };
        let request = LeaveGroupRequest { group_id: "g".into(), members: vec![identity], ..Default::default() };
        self.ask(5, Request::LeaveGroup(request))
    }

    fn left(&mut self, id: u64) -> ErrorCode {
        match self.answer(id) {
            Some(Answer::LeaveGroup(response)) if response.error_code == 0 => ErrorCode(response.members[0].error_code),
            Some(Answer::LeaveGroup(response)) => ErrorCode(response.error_code),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, version: i16, generation: i32, member: &str, topic: &str, offset: i64) -> u64 {
        self.ask(version, Request::OffsetCommit(commit_request(generation, member, topic, offset)))
    }

    fn committed(&mut self, id: u64) -> ErrorCode {
        match self.answer(id) {
            Some(Answer::OffsetCommit(response)) => ErrorCode(response.topics[0].partitions[0].error_code),
            other => panic!("{other:?}"),
        }
    }

    /// What is committed for partition 0 of `topic`; −1 is nothing.
    fn fetch(&mut self, topic: &str) -> i64 {
        let id = self.ask(8, fetch_request(Some(&[topic]), false));
        match self.answer(id) {
            Some(Answer::OffsetFetch(group)) => group.topics[0].partitions[0].committed_offset,
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self) -> Vec<ListedGroup> {
        let id = self.ask(5, Request::ListGroups { states: Vec::new(), types: Vec::new() });
        match self.answer(id) {
            Some(Answer::ListGroups(response)) => response.groups,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> String {
        let id = self.ask(5, Request::DescribeGroup("g".into()));
        match self.answer(id) {
            Some(Answer::DescribeGroup(group)) => group.group_state.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn delete(&mut self) -> u64 {
        self.ask(2, Request::DeleteGroup("g".into()))
    }

    fn deleted(&mut self, id: u64) -> ErrorCode {
        match self.answer(id) {
            Some(Answer::DeleteGroup(result)) => ErrorCode(result.error_code),
            other => panic!("{other:?}"),
        }
    }

    /// A group of dynamic members with these protocols, stable in its first generation. The leader comes first.
    fn stable(&mut self, count: usize, protocols: &[(&str, &[u8])]) -> Vec<String> {
        let joins: Vec<_> = (0..count).map(|_| self.join(OLD, "", None, protocols)).collect();
        self.pass_until(joins[0]);
        let mut members: Vec<_> = joins.into_iter().map(|id| self.joined(id)).collect();
        members.sort_by_key(|joined| joined.member_id != joined.leader);
        let ids: Vec<_> = members.iter().map(|joined| joined.member_id.to_string()).collect();
        let assignments: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let syncs: Vec<_> =
            ids.iter().map(|id| self.sync(1, id, if *id == ids[0] { &assignments } else { &[] })).collect();
        for (id, member) in syncs.into_iter().zip(&ids) {
            assert_eq!(self.synced(id).assignment, member.as_bytes());
        }
        assert_eq!(self.state(), "Stable");
        ids
    }
}

/// Every answer can be encoded in the version that was asked.
fn encode(answer: &Answer, version: i16) {
    use crate::protocol::Message;
    use crate::protocol::wire::Writer;
    let mut writer = Writer::new();
    let result = match answer.clone() {
        Answer::JoinGroup(response) => response.encode(&mut writer, version),
        Answer::SyncGroup(response) => response.encode(&mut writer, version),
        Answer::Heartbeat(response) => response.encode(&mut writer, version),
        Answer::LeaveGroup(response) => response.encode(&mut writer, version),
        Answer::OffsetCommit(response) => response.encode(&mut writer, version),
        Answer::TxnOffsetCommit(response) => response.encode(&mut writer, version),
        Answer::OffsetFetch(group) => offset_fetch_response(vec![group], version).encode(&mut writer, version),
        Answer::OffsetDelete(response) => response.encode(&mut writer, version),
        Answer::DescribeGroup(group) => {
            DescribeGroupsResponse { groups: vec![group], ..Default::default() }.encode(&mut writer, version)
        }
        Answer::ListGroups(response) => response.encode(&mut writer, version),
        Answer::DeleteGroup(result) => {
            DeleteGroupsResponse { results: vec![result], ..Default::default() }.encode(&mut writer, version)
        }
        Answer::ConsumerGroupHeartbeat(response) => response.encode(&mut writer, version),
        Answer::DescribeConsumerGroup(group) => {
            ConsumerGroupDescribeResponse { groups: vec![group], ..Default::default() }.encode(&mut writer, version)
        }
    };
    result.unwrap_or_else(|error| panic!("version {version}: {error}: {answer:?}"));
}

fn join_request(member: &str, instance: Option<&str>, protocols: &[(&str, &[u8])]) -> JoinGroupRequest {
    let protocol = |(name, metadata): &(&str, &[u8])| JoinGroupRequestProtocol {
        name: KafkaString::copied(name),
        metadata: Bytes::copy_from_slice(metadata),
    };
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: KafkaString::copied(member),
        group_instance_id: instance.map(KafkaString::copied),
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(protocol).collect(),
        ..Default::default()
    }
}

fn sync_request(generation: i32, member: &str, assignments: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(member, assignment): &(&str, &str)| SyncGroupRequestAssignment {
        member_id: KafkaString::copied(member),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
    };
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: KafkaString::copied(member),
        assignments: assignments.iter().map(assignment).collect(),
        ..Default::default()
    }
}

fn commit_request(generation: i32, member: &str, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        member_id: KafkaString::copied(member),
        topics: vec![OffsetCommitRequestTopic {
            name: KafkaString::copied(topic),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch_request(topics: Option<&[&str]>, require_stable: bool) -> Request {
    let topic = |name: &&str| OffsetFetchRequestTopics {
        name: KafkaString::copied(name),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let group = OffsetFetchRequestGroup {
        group_id: "g".into(),
        topics: topics.map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    };
    Request::OffsetFetch { group, require_stable }
}

/// What a consumer says that reads these topics.
fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}
