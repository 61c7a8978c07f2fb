//! Requests that no client sends, in random histories: nothing panics, nothing is lost, everything is answered.

use super::*;
use crate::base::{ProducerId, Uuid};
use crate::protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};

const GROUPS: [&str; 4] = ["h0", "h1", "h2", ""];
const NAMES: [&str; 3] = ["t", "u", ""];

struct Hostile {
    broker: Broker,
    random: Random,
    /// Member ids that were ever told.
    known: Vec<KafkaString>,
}

impl Hostile {
    fn text(&mut self, choices: &[&'static str]) -> KafkaString {
        self.text_of(choices, usize::try_from(i16::MAX).unwrap())
    }

    /// A text that may be as long as what decoding makes of bytes that are not UTF-8.
    fn long_text(&mut self, choices: &[&'static str]) -> KafkaString {
        self.text_of(choices, 98_301)
    }

    fn text_of(&mut self, choices: &[&'static str], length_max: usize) -> KafkaString {
        if self.random.once_in(30) {
            return KafkaString::from("x".repeat(self.random.below(length_max)));
        }
        KafkaString::from_static(self.random.pick::<&'static str>(choices))
    }

    fn group(&mut self) -> KafkaString {
        self.text(&GROUPS)
    }

    fn member(&mut self) -> KafkaString {
        if self.known.is_empty() || self.random.once_in(4) {
            return self.text(&["", "x"]);
        }
        self.random.pick(&self.known).clone()
    }

    fn instance(&mut self) -> Option<KafkaString> {
        self.random.once_in(3).then(|| self.text(&["a", "b", ""]))
    }

    fn number(&mut self) -> i32 {
        *self.random.pick(&[-1, 0, 1, 2, 3, 6_000, 10_000, 60_000, 1_800_000, i32::MIN, i32::MAX])
    }

    fn bytes(&mut self) -> Bytes {
        if self.random.once_in(3) {
            return Bytes::from(subscription(&["t"]));
        }
        let mut bytes = self.random.bytes(40);
        self.random.mutate(&mut bytes);
        Bytes::from(bytes)
    }

    fn ask(&mut self) {
        let (newest, request) = match self.random.below(24) {
            0..=5 => (9, self.join()),
            6..=9 => (5, self.sync()),
            10 | 11 => (4, self.heartbeat()),
            12 | 13 => (5, self.leave()),
            14..=16 => (9, self.commit()),
            17 => (5, self.commit_in_transaction()),
            18 | 19 => {
                let topics = self.random.once_in(2).then_some(&NAMES[..]);
                let Request::OffsetFetch { mut group, require_stable } = fetch_request(topics, self.random.once_in(2))
                else {
                    unreachable!()
                };
                group.group_id = self.group();
                (9, Request::OffsetFetch { group, require_stable })
            }
            20 => {
                let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
                let topics = vec![OffsetDeleteRequestTopic { name: self.text(&NAMES), partitions }];
                (0, Request::OffsetDelete(OffsetDeleteRequest { group_id: self.group(), topics }))
            }
            21 => (6, Request::DescribeGroup(self.group())),
            22 => (5, Request::ListGroups { states: vec![self.text(&NAMES)], types: Vec::new() }),
            _ => (2, Request::DeleteGroup(self.group())),
        };
        let oldest = if matches!(request, Request::OffsetCommit(_) | Request::OffsetFetch { .. }) { 1 } else { 0 };
        // A request that asks for everything, or for what is stable, has a version that can.
        let asks_more = matches!(&request, Request::OffsetFetch { .. });
        let version = if asks_more { 8 } else { oldest + i16::try_from(self.random.below(newest + 1)).unwrap() };
        let version = version.min(i16::try_from(newest).unwrap());
        let client = self.long_text(&["c", ""]);
        self.broker.ask_as(version, &client, request);
        for answer in self.broker.answers.values() {
            if let Answer::JoinGroup(response) = answer {
                self.known.push(response.member_id.clone());
            }
        }
        self.broker.answers.clear();
        let surplus = self.known.len().saturating_sub(20);
        self.known.drain(..surplus);
    }

    fn join(&mut self) -> Request {
        let count = self.random.below(4);
        let protocols = (0..count).map(|_| JoinGroupRequestProtocol {
            name: self.long_text(&["range", "range", "sticky", ""]),
            metadata: self.bytes(),
        });
        Request::JoinGroup(JoinGroupRequest {
            protocols: protocols.collect(),
            group_id: self.group(),
            session_timeout_ms: if self.random.once_in(5) { self.number() } else { 10_000 },
            rebalance_timeout_ms: self.number(),
            member_id: self.member(),
            group_instance_id: self.instance(),
            protocol_type: self.long_text(&["consumer", "consumer", "consumer", "connect", ""]),
            ..Default::default()
        })
    }

    fn sync(&mut self) -> Request {
        let count = self.random.below(4);
        let assignments =
            (0..count).map(|_| SyncGroupRequestAssignment { member_id: self.member(), assignment: self.bytes() });
        Request::SyncGroup(SyncGroupRequest {
            assignments: assignments.collect(),
            group_id: self.group(),
            generation_id: self.number(),
            member_id: self.member(),
            group_instance_id: self.instance(),
            protocol_type: self.random.once_in(2).then(|| "consumer".into()),
            protocol_name: self.random.once_in(2).then(|| "range".into()),
        })
    }

    fn heartbeat(&mut self) -> Request {
        Request::Heartbeat(HeartbeatRequest {
            group_id: self.group(),
            generation_id: self.number(),
            member_id: self.member(),
            group_instance_id: self.instance(),
        })
    }

    fn leave(&mut self) -> Request {
        let count = self.random.below(3);
        let members = (0..count).map(|_| MemberIdentity {
            member_id: self.member(),
            group_instance_id: self.instance(),
            reason: None,
        });
        let members = members.collect();
        Request::LeaveGroup(LeaveGroupRequest { members, group_id: self.group(), member_id: self.member() })
    }

    fn commit(&mut self) -> Request {
        let count = self.random.below(3);
        let partitions = (0..count).map(|_| OffsetCommitRequestPartition {
            partition_index: *self.random.pick(&[0, 0, 1, -1, i32::MAX]),
            committed_offset: *self.random.pick(&[0, 5, -1, i64::MAX]),
            committed_metadata: self.random.once_in(2).then(|| self.text(&NAMES)),
            commit_timestamp: *self.random.pick(&[-1, 0, i64::MIN, i64::MAX]),
            ..Default::default()
        });
        let partitions: Vec<_> = partitions.collect();
        let topics = vec![OffsetCommitRequestTopic { name: self.text(&NAMES), partitions, ..Default::default() }];
        Request::OffsetCommit(OffsetCommitRequest {
            topics,
            group_id: self.group(),
            generation_id_or_member_epoch: self.number(),
            member_id: if self.random.once_in(2) { "".into() } else { self.member() },
            group_instance_id: self.instance().filter(|_| self.random.once_in(2)),
            retention_time_ms: *self.random.pick(&[-1, -1, 0, 1_000, i64::MIN, i64::MAX]),
        })
    }

    fn commit_in_transaction(&mut self) -> Request {
        let partitions = vec![TxnOffsetCommitRequestPartition { committed_offset: 6, ..Default::default() }];
        Request::TxnOffsetCommit(TxnOffsetCommitRequest {
            transactional_id: "x".into(),
            group_id: self.group(),
            producer_id: *self.random.pick(&[7, 8, -1, i64::MIN, i64::MAX]),
            generation_id: -1,
            topics: vec![TxnOffsetCommitRequestTopic { name: self.text(&NAMES), partitions }],
            ..Default::default()
        })
    }

    fn happen(&mut self) {
        match self.random.below(12) {
            0..=3 => {
                let waiting = self.broker.log.len() - self.broker.told;
                for _ in 0..self.random.below(waiting + 1) {
                    if self.broker.told < self.broker.log.len() {
                        let fails = self.random.once_in(8);
                        self.broker.tell(if fails { Err(ErrorCode::NOT_ENOUGH_REPLICAS) } else { Ok(()) });
                    }
                }
            }
            4 => {
                let ms = *self.random.pick(&[1, 1_000, 5_000, 60_000, 600_000, 8 * DAY_MS]);
                self.broker.pass(ms);
            }
            5 => {
                self.broker.acknowledge();
                let producer = ProducerId(*self.random.pick(&[7, 8, i64::MAX]));
                self.broker.coordinator.on_end_marker(producer, self.random.once_in(2), Offset(i64::MAX));
                self.broker.coordinator.assert_consistent();
            }
            6 if self.random.once_in(4) => {
                let now = self.broker.now();
                let effects = self.broker.coordinator.on_topics_deleted(now, &[("t".into(), Uuid([1; 16]))]);
                self.broker.perform(effects);
            }
            7 if self.random.once_in(8) => {
                self.broker.crash(0);
            }
            _ => {}
        }
    }
}

#[test]
fn hostile_histories() {
    for seed in 0..40 {
        let settings = GroupSettings {
            state_bytes_max: 400_000,
            batch_bytes_max: [3_000, 1_000_000][seed / 2 % 2],
            group_size_max: 4,
            initial_rebalance_delay_ms: [0, 3_000][seed % 2],
            ..GroupSettings::default()
        };
        let mut broker = Broker::with(settings);
        broker.prompt = false;
        let mut hostile = Hostile { broker, random: Random::new(seed as u64), known: Vec::new() };
        for _ in 0..400 {
            hostile.ask();
            hostile.happen();
        }
        let Hostile { mut broker, .. } = hostile;
        let (empty, _) = GroupLoader::new(broker.settings.clone(), Arc::default()).finish(broker.now());
        let effects = std::mem::replace(&mut broker.coordinator, empty).resign(broker.now());
        broker.perform(effects);
        assert_eq!(broker.open.len(), 0, "seed {seed}: {:?}", broker.open);
    }
}
