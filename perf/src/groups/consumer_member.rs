//! One member of a group of the consumer protocol (KIP-848), on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use corelane_core::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use corelane_core::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use corelane_core::protocol::{ErrorCode, KafkaString};

use super::GroupLoad;
use super::link::Link;
use super::member::{Order, REBALANCE_TIMEOUT_MS, RETRY, Shown, find_coordinator, refused};

/// The first version in which members make their ids.
const VERSION: i16 = 1;
const LEAVES: i32 = -1;

/// A member and its connection to the coordinator.
pub(super) struct ConsumerMember<'a> {
    load: &'a GroupLoad,
    group: KafkaString,
    topic: KafkaString,
    shown: &'a Shown,
    requests: &'a AtomicU64,
    link: Link,
    id: KafkaString,
    lives: u32,
    epoch: i32,
    has: Vec<TopicPartitions>,
    interval: Duration,
    /// What it has is told with the next heartbeat: it has let go of some.
    tells: bool,
    /// It was told to come back and is not a member yet.
    returns: bool,
}

impl<'a> ConsumerMember<'a> {
    /// Finds the coordinator of `group` and connects to it.
    pub(super) fn connect(
        load: &'a GroupLoad,
        (group, number): (&str, usize),
        topic: &str,
        shown: &'a Shown,
        requests: &'a AtomicU64,
    ) -> io::Result<Self> {
        let group = KafkaString::from(group.to_owned());
        let link = find_coordinator(load, &group, requests)?;
        Ok(Self {
            load,
            group,
            topic: topic.to_owned().into(),
            shown,
            requests,
            link,
            id: format!("member-{number}").into(),
            lives: 0,
            epoch: 0,
            has: Vec::new(),
            interval: load.heartbeat_interval,
            tells: false,
            returns: false,
        })
    }

    /// Joins, and stays until it is told to leave.
    pub(super) fn run(mut self, orders: &Receiver<Order>) -> io::Result<()> {
        self.beat()?;
        loop {
            let due = Instant::now() + if self.tells { Duration::ZERO } else { self.interval };
            match orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => self.beat()?,
                Ok(Order::ComeBack) => {
                    self.leave()?;
                    self.returns = true;
                    self.lives += 1;
                    self.id = format!("{}-{}", self.id, self.lives).into();
                    self.beat()?;
                }
                Ok(Order::Leave) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
            }
        }
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            ..Default::default()
        };
        if self.epoch == 0 {
            return ConsumerGroupHeartbeatRequest {
                rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
                subscribed_topic_names: Some(vec![self.topic.clone()]),
                topic_partitions: Some(Vec::new()),
                ..request
            };
        }
        ConsumerGroupHeartbeatRequest { topic_partitions: self.tells.then(|| self.has.clone()), ..request }
    }

    fn beat(&mut self) -> io::Result<()> {
        let request = self.request();
        let answer = self.call(&request)?;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => {
                self.show(-1);
                (self.epoch, self.has, self.tells) = (0, Vec::new(), true);
                return Ok(());
            }
            error => return self.recover(error),
        }
        self.tells = false;
        self.epoch = answer.member_epoch;
        self.interval = Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(1));
        if let Some(assignment) = answer.assignment {
            let has = assignment
                .topic_partitions
                .into_iter()
                .map(|topic| TopicPartitions { topic_id: topic.topic_id, partitions: topic.partitions });
            self.has = has.collect();
            // A consumer acknowledges what it was told as soon as it has let go, or taken on.
            self.tells = true;
        }
        self.show(self.epoch);
        if std::mem::take(&mut self.returns) {
            self.shown.returns.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Has the others see how far it is, and how many partitions it has.
    fn show(&self, epoch: i32) {
        let count: usize = self.has.iter().map(|topic| topic.partitions.len()).sum();
        self.shown.size.store(i32::try_from(count).unwrap_or(i32::MAX), Ordering::Release);
        self.shown.generation.store(epoch, Ordering::Release);
    }

    fn leave(&mut self) -> io::Result<()> {
        (self.has, self.tells) = (Vec::new(), false);
        self.show(-1);
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group.clone(),
            member_id: self.id.clone(),
            member_epoch: LEAVES,
            ..Default::default()
        };
        self.epoch = 0;
        match ErrorCode(self.call(&request)?.error_code) {
            ErrorCode::NONE => Ok(()),
            error => Err(refused("ConsumerGroupHeartbeat", error)),
        }
    }

    fn recover(&mut self, error: ErrorCode) -> io::Result<()> {
        match error {
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => thread::sleep(RETRY),
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                thread::sleep(RETRY);
                self.link = find_coordinator(self.load, &self.group, self.requests)?;
            }
            error => return Err(refused("ConsumerGroupHeartbeat", error)),
        }
        self.tells = true;
        Ok(())
    }

    fn call(&mut self, request: &ConsumerGroupHeartbeatRequest) -> io::Result<ConsumerGroupHeartbeatResponse> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.link.call(VERSION, request)
    }
}
