//! `__consumer_offsets` as Apache Kafka 4.3.1 wrote it: read by us, and written by us byte for byte in the same
//! conversations. `data/kafka-4.3.1-groups` says what was done there.

use std::path::Path;

use bytes::Bytes;
use corelane_core::base::{Monotonic, Offset, Timestamp, Uuid};
use corelane_core::coordinator::{LogRecord, Now, RequestId};
use corelane_core::group::{
    Answer, DecodedRecord, Effect, GroupCoordinator, GroupLoader, GroupSettings, Request, RequestContext,
    decode_log_record,
};
use corelane_core::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use corelane_core::protocol::messages::leave_group_request::MemberIdentity;
use corelane_core::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelane_core::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use corelane_core::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use corelane_core::protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use corelane_core::protocol::records::GroupMetadataValue;
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::record::{Batch, Batches};

const NOON: Now = Now { monotonic: Monotonic(0), wall: Timestamp(1_795_270_700_000) };

fn batches() -> Vec<Batch> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka-4.3.1-groups/00000000000000000000.log");
    let log = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Batches::new(Bytes::from(log)).map(|batch| batch.unwrap()).collect()
}

/// The records of one group, each with what it says.
fn records_of(group: &str) -> Vec<(LogRecord, DecodedRecord)> {
    let mut records = Vec::new();
    for batch in batches().iter().filter(|batch| !batch.header().attributes().is_control()) {
        let payload = batch.payload();
        for record in batch.records(&payload) {
            let record = record.unwrap();
            let key = Bytes::copy_from_slice(record.key.unwrap());
            let value = record.value.map(Bytes::copy_from_slice);
            let decoded = decode_log_record(Some(key.clone()), value.clone()).unwrap();
            let of = match &decoded {
                DecodedRecord::Offset(key, _) => &key.group,
                DecodedRecord::Group(id, _)
                | DecodedRecord::Consumer(id, _)
                | DecodedRecord::Other { group: id, .. } => id,
                DecodedRecord::Unknown(id) => panic!("a record of type {id}"),
            };
            if of.as_str() == group {
                records.push((LogRecord { key, value }, decoded));
            }
        }
    }
    records
}

/// A coordinator and what it wrote.
struct Broker {
    coordinator: GroupCoordinator,
    now: Now,
    written: Vec<LogRecord>,
    /// When the next append is acknowledged, if it takes a while.
    acknowledged_at: Option<Timestamp>,
    random: u128,
}

impl Broker {
    fn new(coordinator: GroupCoordinator) -> Self {
        Self { coordinator, now: NOON, written: Vec::new(), acknowledged_at: None, random: 0 }
    }

    fn empty() -> Self {
        let settings = GroupSettings { initial_rebalance_delay_ms: 0, ..GroupSettings::default() };
        Self::new(GroupLoader::new(settings, std::sync::Arc::default()).finish(NOON).0)
    }

    fn loaded() -> Self {
        let mut loader = GroupLoader::new(GroupSettings::default(), std::sync::Arc::default());
        batches().iter().for_each(|batch| loader.batch(batch).unwrap());
        let (coordinator, report) = loader.finish(NOON);
        assert_eq!((report.groups, report.other_groups, report.unknown_records), (6, 0, 0));
        Self::new(coordinator)
    }

    fn perform(&mut self, mut effects: Vec<Effect>) -> Option<Answer> {
        let mut answer = None;
        while !effects.is_empty() {
            match effects.remove(0) {
                Effect::Answer(_, given) => answer = Some(given),
                Effect::Append(append) => {
                    self.written.extend(append.records);
                    self.now.wall = self.acknowledged_at.take().unwrap_or(self.now.wall);
                    effects.extend(self.coordinator.on_append(self.now, append.id, Ok(Offset(0))));
                }
            }
        }
        answer
    }

    fn ask(&mut self, version: i16, request: Request) -> Option<Answer> {
        let context = RequestContext {
            version,
            client_id: "fixture".into(),
            client_host: "/127.0.0.1".into(),
            random: self.random,
        };
        let effects = self.coordinator.handle(self.now, RequestId(1), &context, request);
        self.perform(effects)
    }

    fn at(&mut self, wall: i64) -> &mut Self {
        self.now.wall = Timestamp(wall);
        self
    }

    fn fetch(&mut self, group: &str, require_stable: bool) -> Vec<(String, i32, i64, ErrorCode)> {
        let group =
            OffsetFetchRequestGroup { group_id: KafkaString::copied(group), topics: None, ..Default::default() };
        let Some(Answer::OffsetFetch(group)) = self.ask(8, Request::OffsetFetch { group, require_stable }) else {
            panic!("no answer")
        };
        let of_topic = |topic: corelane_core::protocol::messages::offset_fetch_response::OffsetFetchResponseTopics| {
            topic.partitions.into_iter().map(move |partition| {
                let code = ErrorCode(partition.error_code);
                (topic.name.to_string(), partition.partition_index, partition.committed_offset, code)
            })
        };
        group.topics.into_iter().flat_map(of_topic).collect()
    }
}

#[test]
fn the_groups_of_a_kafka_broker_go_on_here() {
    let mut broker = Broker::loaded();
    let fine = |topic: &str, partition, offset| (topic.to_owned(), partition, offset, ErrorCode::NONE);
    for (group, offsets) in [
        ("empty", vec![fine("orders", 0, 7), fine("orders", 1, 8)]),
        ("gone", vec![]),
        ("static", vec![fine("orders", 2, 4)]),
        ("simple", vec![fine("orders", 0, 5), fine("other", 0, 1)]),
        ("txn", vec![fine("orders", 0, 10)]),
        ("live", vec![fine("orders", 0, 9)]),
        ("modern", vec![fine("orders", 0, 2)]),
    ] {
        assert_eq!(broker.fetch(group, false), offsets, "{group}");
    }
    // The open transaction commits 12 for a partition that has nothing else.
    broker.coordinator.on_end_marker(corelane_core::base::ProducerId(0), true, Offset(i64::MAX));
    assert_eq!(broker.fetch("txn", true), [fine("orders", 0, 10), fine("orders", 1, 12)]);

    for (group, state, members, protocol) in [
        ("empty", "Empty", 0, ""),
        ("static", "Stable", 1, "range"),
        ("simple", "Empty", 0, ""),
        ("txn", "Stable", 1, "range"),
        ("live", "Stable", 2, "cooperative-sticky"),
        ("modern", "Dead", 0, ""),
    ] {
        let Some(Answer::DescribeGroup(described)) = broker.ask(5, Request::DescribeGroup(group.into())) else {
            panic!("no answer")
        };
        assert_eq!((described.group_state.as_str(), described.members.len()), (state, members), "{group}");
        assert_eq!(described.protocol_data.as_str(), protocol);
    }
    // A member of before goes on with the assignment that it had.
    let groups = records_of("live");
    let DecodedRecord::Group(_, Some(live)) = &groups[groups.len() - 2].1 else { panic!("not a group's record") };
    let member = &live.members[1];
    let asked = SyncGroupRequest {
        group_id: "live".into(),
        generation_id: live.generation,
        member_id: member.member_id.clone(),
        ..Default::default()
    };
    let Some(Answer::SyncGroup(answer)) = broker.ask(4, Request::SyncGroup(asked)) else { panic!("no answer") };
    assert_eq!((answer.error_code, answer.assignment), (0, member.assignment.clone()));
}

/// A conversation of one member, told again from the records that it left.
struct Retold {
    broker: Broker,
    group: &'static str,
    records: Vec<(LogRecord, DecodedRecord)>,
}

impl Retold {
    fn new(group: &'static str) -> Self {
        Self { broker: Broker::empty(), group, records: records_of(group) }
    }

    fn told(&self, place: usize) -> &GroupMetadataValue {
        match &self.records[place].1 {
            DecodedRecord::Group(_, Some(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    /// Joins as the only member of the record at `place`, with the same random bits.
    fn join(&mut self, place: usize, named: bool) -> Option<JoinGroupResponse> {
        let value = self.told(place).clone();
        let member = &value.members[0];
        let hex: String = member.member_id.rsplit('-').take(5).collect::<Vec<_>>().into_iter().rev().collect();
        self.broker.random = u128::from_str_radix(&hex, 16).unwrap();
        let asked = JoinGroupRequest {
            group_id: self.group.into(),
            session_timeout_ms: member.session_timeout,
            rebalance_timeout_ms: member.rebalance_timeout,
            member_id: if named { member.member_id.clone() } else { KafkaString::EMPTY },
            group_instance_id: member.group_instance_id.clone(),
            protocol_type: value.protocol_type.clone(),
            protocols: vec![JoinGroupRequestProtocol {
                name: value.protocol.clone().unwrap(),
                metadata: member.subscription.clone(),
            }],
            ..Default::default()
        };
        match self.broker.ask(5, Request::JoinGroup(asked)) {
            Some(Answer::JoinGroup(answer)) => Some(answer),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    /// The join is completed and the leader assigns, as the record at `place` tells.
    fn assign(&mut self, place: usize) {
        self.assign_until(place, None);
    }

    /// The same; the assignment is acknowledged at `stable_at`.
    fn assign_until(&mut self, place: usize, stable_at: Option<Timestamp>) {
        let value = self.told(place).clone();
        self.broker.at(value.current_state_timestamp);
        let effects = self.broker.coordinator.on_time(self.broker.now);
        let Some(Answer::JoinGroup(joined)) = self.broker.perform(effects) else { panic!("no answer") };
        assert_eq!((joined.generation_id, &joined.member_id), (value.generation, &value.members[0].member_id));
        let assignments = value.members.iter().map(|member| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: member.assignment.clone(),
        });
        let asked = SyncGroupRequest {
            group_id: self.group.into(),
            generation_id: value.generation,
            member_id: joined.member_id,
            group_instance_id: value.members[0].group_instance_id.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.broker.acknowledged_at = stable_at;
        let Some(Answer::SyncGroup(answer)) = self.broker.ask(3, Request::SyncGroup(asked)) else {
            panic!("no answer")
        };
        assert_eq!(answer.error_code, 0);
    }

    /// Commits what the records at `places` tell, in one request.
    fn commit(&mut self, member: &str, generation: i32, places: std::ops::Range<usize>) {
        let mut topics = Vec::new();
        let mut at = 0;
        for (_, decoded) in &self.records[places] {
            let DecodedRecord::Offset(key, Some(committed)) = decoded else { panic!("{decoded:?}") };
            at = committed.committed_at.0;
            topics.push(OffsetCommitRequestTopic {
                name: key.topic.clone(),
                topic_id: committed.topic_id.0,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: key.partition.0,
                    committed_offset: committed.offset.0,
                    committed_leader_epoch: committed.leader_epoch.0,
                    committed_metadata: Some(committed.metadata.clone()),
                    ..Default::default()
                }],
            });
            assert_ne!(committed.topic_id, Uuid::ZERO, "Kafka stores the topic's id");
        }
        let asked = OffsetCommitRequest {
            group_id: self.group.into(),
            generation_id_or_member_epoch: generation,
            member_id: KafkaString::copied(member),
            topics,
            ..Default::default()
        };
        let Some(Answer::OffsetCommit(answer)) = self.broker.at(at).ask(9, Request::OffsetCommit(asked)) else {
            panic!("no answer")
        };
        assert!(answer.topics.iter().all(|topic| topic.partitions[0].error_code == 0));
    }

    fn leave(&mut self, member: &str) {
        let identity = MemberIdentity { member_id: KafkaString::copied(member), ..Default::default() };
        let asked = LeaveGroupRequest { group_id: self.group.into(), members: vec![identity], ..Default::default() };
        let answer = self.broker.ask(4, Request::LeaveGroup(asked));
        assert!(matches!(answer, Some(Answer::LeaveGroup(_))));
    }

    /// What we wrote is what Kafka wrote.
    fn compare(self) {
        for (place, (ours, (kafkas, decoded))) in self.broker.written.iter().zip(&self.records).enumerate() {
            assert_eq!(ours, kafkas, "record {place} of {}: {decoded:?}", self.group);
        }
        assert_eq!(self.broker.written.len(), self.records.len());
    }
}

#[test]
fn a_member_that_comes_commits_and_leaves_is_written_as_by_kafka() {
    for (group, commits) in [("empty", 2..4), ("gone", 2..3)] {
        let mut retold = Retold::new(group);
        retold.broker.at(retold.told(0).current_state_timestamp);
        let required = retold.join(1, false).unwrap();
        assert_eq!(required.error_code, ErrorCode::MEMBER_ID_REQUIRED.0);
        let member = retold.told(1).members[0].member_id.clone();
        assert_eq!(required.member_id, member, "the same random bits, the same id");
        assert_eq!(retold.join(1, true), None);
        retold.assign(1);
        retold.commit(&member, 1, commits.clone());
        retold.broker.at(retold.told(commits.end).current_state_timestamp);
        retold.leave(&member);
        if group == "gone" {
            let answer = retold.broker.ask(2, Request::DeleteGroup(group.into()));
            assert!(matches!(answer, Some(Answer::DeleteGroup(result)) if result.error_code == 0));
        }
        retold.compare();
    }
}

#[test]
fn a_static_member_that_comes_back_is_written_as_by_kafka() {
    let mut retold = Retold::new("static");
    retold.broker.at(retold.told(0).current_state_timestamp);
    assert_eq!(retold.join(1, false), None);
    let member = retold.told(1).members[0].member_id.clone();
    // The group became stable when the assignment was written, which its next record tells.
    let stable_at = Timestamp(retold.told(3).current_state_timestamp);
    retold.assign_until(1, Some(stable_at));
    retold.commit(&member, 1, 2..3);
    let back = retold.join(3, false).unwrap();
    assert_eq!((back.error_code, back.generation_id), (0, 1));
    assert_eq!(back.member_id, retold.told(3).members[0].member_id);
    let member = back.member_id;
    retold.commit(&member, 1, 4..5);
    retold.compare();
}
