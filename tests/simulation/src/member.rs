//! Members of a group of the consumer protocol (KIP-848), which come, go and come back while the broker is killed.
//!
//! | told | survives a kill |
//! | --- | --- |
//! | an epoch and an assignment | the member is one, in that epoch or one behind it, and nobody else gets what it has |
//! | a leave was answered | the member is none any more, or keeps its place, as it asked |
//!
//! Whatever happened: no partition is read by two at any time, and in the end each is read by one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use corelane_core::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorRequest,
};
use corelane_core::protocol::wire::KafkaString;

use crate::client::{Link, Lost};
use crate::promises::Durability;
use crate::random::Random;
use crate::workload::{Clients, TopicPlan};

/// What the group reads.
const TOPIC: &str = "shared";
const PARTITIONS: i32 = 5;
const GROUP: &str = "sharing";
const LEAVES: i32 = -1;
const LEAVES_FOR_A_WHILE: i32 = -2;
/// Longest pause between two heartbeats; a session is many of them.
const PAUSE_MS_MAX: u64 = 1_500;
/// How often a member is one.
const LIVES: u64 = 3;
const BEATS_MAX: u64 = 8;
/// Heartbeats in which everybody is to have come to the end.
const SETTLING_BEATS_MAX: usize = 100;

/// Who reads what, of all members.
#[derive(Default)]
pub(crate) struct Readers {
    by_partition: BTreeMap<i32, usize>,
    /// Members that stay.
    staying: usize,
}

/// One client.
pub(crate) struct Member {
    pub(crate) clients: Clients,
    pub(crate) random: Random,
    pub(crate) number: usize,
    pub(crate) count: usize,
    pub(crate) readers: Rc<RefCell<Readers>>,
}

/// What it knows of itself while it is a member.
struct Life {
    id: String,
    instance: Option<KafkaString>,
    epoch: i32,
    reads: BTreeSet<i32>,
    topic_id: [u8; 16],
    /// An answer was lost, or put off: it tells everything.
    tells_all: bool,
}

impl Member {
    /// Until everybody who stays has a part of the topic.
    pub(crate) async fn run(mut self) {
        let topic =
            TopicPlan { name: TOPIC, partitions: PARTITIONS, durability: Durability::Plain, configs: Vec::new() };
        if !self.clients.create_unpromised(&topic).await {
            return;
        }
        // One in three is static.
        let instance = (self.number % 3 == 2).then(|| KafkaString::from(format!("instance {}", self.number)));
        let mut link = self.connect().await;
        for number in 0..LIVES {
            let mut life = Life {
                id: format!("member {} in its life {number}", self.number),
                instance: instance.clone(),
                epoch: 0,
                reads: BTreeSet::new(),
                topic_id: [0; 16],
                tells_all: false,
            };
            for _ in 0..self.random.between(1, BEATS_MAX) {
                self.beat(&mut link, &mut life).await;
                self.pause().await;
            }
            if number + 1 == LIVES {
                return self.settle(&mut link, life).await;
            }
            self.leave(&mut link, life).await;
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        let pause_ms = self.random.below(PAUSE_MS_MAX);
        self.clients.network.executor().sleep_ms(pause_ms).await;
    }

    /// A connection on which the group's coordinator can be asked.
    async fn connect(&self) -> Link {
        loop {
            let mut session = self.clients.connect().await;
            let request = FindCoordinatorRequest { coordinator_keys: vec![GROUP.into()], ..Default::default() };
            if session.link.call(6, &request).await.is_ok_and(|answer| answer.coordinators[0].error_code == 0) {
                return session.link;
            }
            self.clients.pause().await;
        }
    }

    /// Asks until it is answered with something else than «not now»; whether an answer was lost before.
    async fn ask(
        &self,
        link: &mut Link,
        request: impl Fn(bool) -> ConsumerGroupHeartbeatRequest,
        mut tells_all: bool,
    ) -> (ConsumerGroupHeartbeatResponse, bool) {
        loop {
            match link.call(1, &request(tells_all)).await {
                Err(Lost) => {
                    *link = self.connect().await;
                    tells_all = true;
                }
                Ok(answer) => match ErrorCode(answer.error_code) {
                    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
                    | ErrorCode::COORDINATOR_NOT_AVAILABLE
                    | ErrorCode::NOT_COORDINATOR => {
                        self.clients.pause().await;
                        tells_all = true;
                    }
                    _ => return (answer, tells_all),
                },
            }
        }
    }

    async fn beat(&self, link: &mut Link, life: &mut Life) {
        let (answer, _) = self.ask(link, |tells_all| life.request(tells_all), life.tells_all).await;
        if answer.error_code != 0 {
            let code = ErrorCode(answer.error_code);
            return self.violation(&format!("{} in epoch {}: {code} {:?}", life.id, life.epoch, answer.error_message));
        }
        if answer.member_epoch < life.epoch {
            self.violation(&format!("{} goes back from epoch {} to {}", life.id, life.epoch, answer.member_epoch));
        }
        (life.epoch, life.tells_all) = (answer.member_epoch, false);
        let Some(assignment) = answer.assignment else { return };
        let mut reads = BTreeSet::new();
        for topic in assignment.topic_partitions {
            life.topic_id = topic.topic_id;
            reads.extend(topic.partitions);
        }
        self.read(life, reads);
    }

    /// It reads these from now on.
    fn read(&self, life: &mut Life, reads: BTreeSet<i32>) {
        let mut readers = self.readers.borrow_mut();
        for index in life.reads.difference(&reads) {
            readers.by_partition.remove(index);
        }
        for index in reads.difference(&life.reads) {
            if let Some(other) = readers.by_partition.insert(*index, self.number) {
                self.violation(&format!("partition {index} is read by members {other} and {}", self.number));
            }
        }
        life.reads = reads;
    }

    async fn leave(&self, link: &mut Link, mut life: Life) {
        self.read(&mut life, BTreeSet::new());
        let epoch = if life.instance.is_some() { LEAVES_FOR_A_WHILE } else { LEAVES };
        let request = |_| ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: KafkaString::copied(&life.id),
            instance_id: life.instance.clone(),
            member_epoch: epoch,
            ..Default::default()
        };
        let (answer, was_lost) = self.ask(link, request, false).await;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::GROUP_ID_NOT_FOUND if was_lost => {}
            code => self.violation(&format!("{} leaves: {code}", life.id)),
        }
    }

    /// Goes on until all that stay read everything between them.
    async fn settle(mut self, link: &mut Link, mut life: Life) {
        self.readers.borrow_mut().staying += 1;
        for _ in 0..SETTLING_BEATS_MAX {
            self.beat(link, &mut life).await;
            self.pause().await;
            let readers = self.readers.borrow();
            let all = usize::try_from(PARTITIONS).expect("is small");
            if readers.staying == self.count && readers.by_partition.len() == all && !life.reads.is_empty() {
                return;
            }
        }
        let read = format!("{:?}", self.readers.borrow().by_partition);
        self.violation(&format!("{} does not come to an end in epoch {}: {read}", life.id, life.epoch));
    }

    fn violation(&self, what: &str) {
        self.clients.promises.borrow_mut().violation(format!("members: {what}"));
    }
}

impl Life {
    fn request(&self, tells_all: bool) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: KafkaString::copied(&self.id),
            member_epoch: self.epoch,
            instance_id: self.instance.clone(),
            topic_partitions: Some(self.owned()),
            ..Default::default()
        };
        if self.epoch > 0 && !tells_all {
            return request;
        }
        ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![TOPIC.into()]),
            ..request
        }
    }

    fn owned(&self) -> Vec<TopicPartitions> {
        let partitions: Vec<i32> = self.reads.iter().copied().collect();
        if partitions.is_empty() { Vec::new() } else { vec![TopicPartitions { topic_id: self.topic_id, partitions }] }
    }
}
