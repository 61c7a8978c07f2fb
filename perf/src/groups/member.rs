//! One member of a group, on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use corelane_core::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use corelane_core::protocol::messages::leave_group_request::MemberIdentity;
use corelane_core::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use corelane_core::protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use corelane_core::protocol::{ErrorCode, KafkaString};

use super::GroupLoad;
use super::link::Link;

// Of Kafka 2.4, which every broker of today has: member ids are asked for, and a member can be let go by name.
const FIND_COORDINATOR_VERSION: i16 = 2;
const JOIN_GROUP_VERSION: i16 = 5;
const SYNC_GROUP_VERSION: i16 = 3;
const HEARTBEAT_VERSION: i16 = 3;
const LEAVE_GROUP_VERSION: i16 = 3;
const CLIENT_ID: &str = "corelane-perf";
/// Bytes of a subscription and of an assignment: about those of a consumer of one topic.
const METADATA_BYTES: usize = 48;
/// Wait before a request that the broker could not serve yet is sent again.
pub(super) const RETRY: Duration = Duration::from_millis(50);
/// Milliseconds that a group gives its members to join again.
pub(super) const REBALANCE_TIMEOUT_MS: i32 = 60_000;

/// What a member is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Leave, and join as a new member.
    ComeBack,
    /// Leave, and end.
    Leave,
}

/// What the others see of a member: the generation or epoch that it has its assignment in, or -1.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) generation: AtomicI32,
    /// How many members that generation has; only its leader knows, all others show 0. In the consumer protocol, how many
    /// partitions the member has.
    pub(super) size: AtomicI32,
    /// How often the member has left and become a member again.
    pub(super) returns: AtomicU32,
}

impl Default for Shown {
    fn default() -> Self {
        Self { generation: AtomicI32::new(-1), size: AtomicI32::new(0), returns: AtomicU32::new(0) }
    }
}

/// A member and its connection to the coordinator.
pub(super) struct Member<'a> {
    pub(super) load: &'a GroupLoad,
    pub(super) group: KafkaString,
    pub(super) shown: &'a Shown,
    pub(super) requests: &'a AtomicU64,
    link: Link,
    id: KafkaString,
    generation: i32,
}

/// What comes after a step.
enum Next {
    Join,
    Stay,
}

impl<'a> Member<'a> {
    /// Finds the coordinator of `group` and connects to it.
    pub(super) fn connect(
        load: &'a GroupLoad,
        group: &str,
        shown: &'a Shown,
        requests: &'a AtomicU64,
    ) -> io::Result<Self> {
        let group = KafkaString::from(group.to_owned());
        let link = find_coordinator(load, &group, requests)?;
        Ok(Self { load, group, shown, requests, link, id: KafkaString::default(), generation: -1 })
    }

    /// Joins, and stays until it is told to leave.
    pub(super) fn run(mut self, orders: &Receiver<Order>) -> io::Result<()> {
        self.join()?;
        loop {
            match orders.recv_timeout(self.load.heartbeat_interval) {
                Err(RecvTimeoutError::Timeout) => {
                    if matches!(self.heartbeat()?, Next::Join) {
                        self.join()?;
                    }
                }
                Ok(Order::ComeBack) => {
                    self.leave()?;
                    self.join()?;
                    self.shown.returns.fetch_add(1, Ordering::Release);
                }
                Ok(Order::Leave) | Err(RecvTimeoutError::Disconnected) => return self.leave(),
            }
        }
    }

    /// Gets into a generation and its assignment, however many tries that takes.
    fn join(&mut self) -> io::Result<()> {
        loop {
            self.shown.generation.store(-1, Ordering::Release);
            let request = JoinGroupRequest {
                group_id: self.group.clone(),
                session_timeout_ms: self.load.session_timeout_ms,
                rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
                member_id: self.id.clone(),
                protocol_type: "consumer".to_owned().into(),
                protocols: vec![JoinGroupRequestProtocol {
                    name: "range".to_owned().into(),
                    metadata: Bytes::from_static(&[0; METADATA_BYTES]),
                }],
                ..Default::default()
            };
            let joined = self.call(JOIN_GROUP_VERSION, &request)?;
            match ErrorCode(joined.error_code) {
                ErrorCode::NONE => {}
                ErrorCode::MEMBER_ID_REQUIRED => {
                    self.id = joined.member_id;
                    continue;
                }
                error => {
                    self.recover("JoinGroup", error)?;
                    continue;
                }
            }
            self.id = joined.member_id.clone();
            self.generation = joined.generation_id;
            let leads = joined.leader == joined.member_id;
            let size = if leads { i32::try_from(joined.members.len()).unwrap_or(i32::MAX) } else { 0 };
            let assignments = joined.members.into_iter().map(|member| SyncGroupRequestAssignment {
                member_id: member.member_id,
                assignment: Bytes::from_static(&[0; METADATA_BYTES]),
            });
            let request = SyncGroupRequest {
                group_id: self.group.clone(),
                generation_id: self.generation,
                member_id: self.id.clone(),
                assignments: assignments.collect(),
                ..Default::default()
            };
            let synced = self.call(SYNC_GROUP_VERSION, &request)?;
            match ErrorCode(synced.error_code) {
                ErrorCode::NONE => {
                    self.shown.size.store(size, Ordering::Release);
                    self.shown.generation.store(self.generation, Ordering::Release);
                    return Ok(());
                }
                error => self.recover("SyncGroup", error)?,
            }
        }
    }

    fn heartbeat(&mut self) -> io::Result<Next> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..Default::default()
        };
        match ErrorCode(self.call(HEARTBEAT_VERSION, &request)?.error_code) {
            ErrorCode::NONE => Ok(Next::Stay),
            error => self.recover("Heartbeat", error).map(|()| Next::Join),
        }
    }

    fn leave(&mut self) -> io::Result<()> {
        self.shown.generation.store(-1, Ordering::Release);
        let member = MemberIdentity { member_id: std::mem::take(&mut self.id), ..Default::default() };
        let request = LeaveGroupRequest { group_id: self.group.clone(), members: vec![member], ..Default::default() };
        match ErrorCode(self.call(LEAVE_GROUP_VERSION, &request)?.error_code) {
            ErrorCode::NONE => Ok(()),
            error => Err(refused("LeaveGroup", error)),
        }
    }

    /// Prepares another try, if the error allows one.
    fn recover(&mut self, request: &str, error: ErrorCode) -> io::Result<()> {
        match error {
            ErrorCode::REBALANCE_IN_PROGRESS => {}
            ErrorCode::UNKNOWN_MEMBER_ID => self.id = KafkaString::default(),
            ErrorCode::ILLEGAL_GENERATION => self.generation = -1,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => thread::sleep(RETRY),
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                thread::sleep(RETRY);
                self.link = find_coordinator(self.load, &self.group, self.requests)?;
            }
            error => return Err(refused(request, error)),
        }
        Ok(())
    }

    fn call<R: corelane_core::protocol::Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.link.call(version, request)
    }
}

/// A connection to the coordinator of a group.
pub(super) fn find_coordinator(load: &GroupLoad, group: &KafkaString, requests: &AtomicU64) -> io::Result<Link> {
    let mut first = Link::open(&load.address, CLIENT_ID)?;
    loop {
        let request = FindCoordinatorRequest { key: group.clone(), ..Default::default() };
        let found = first.call(FIND_COORDINATOR_VERSION, &request)?;
        requests.fetch_add(1, Ordering::Relaxed);
        match ErrorCode(found.error_code) {
            ErrorCode::NONE => return Link::open(&format!("{}:{}", found.host, found.port), CLIENT_ID),
            ErrorCode::COORDINATOR_NOT_AVAILABLE => thread::sleep(RETRY),
            error => return Err(refused("FindCoordinator", error)),
        }
    }
}

pub(super) fn refused(request: &str, error: ErrorCode) -> io::Error {
    io::Error::other(format!("{request} was refused: {error}"))
}
