//! A member of a classic consumer group: joins, gets partitions, stays in by heartbeats, commits, and leaves.
//!
//! It says which partitions are its own and from where ([`MemberEvent`]), and is told how far they were read
//! ([`GroupMember::consumed`]). Partitions are given back whole before each new assignment (the eager protocol), and what
//! was read is committed first, so that whoever gets a partition next goes on there.

mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::admin::{find_coordinator, learn_coordinator};
use super::assignor::{Assignment, decode_assignment, decode_subscription};
use super::cluster::Client;
use super::connection::Answer;
use super::request::{RequestError, RequestId};
use crate::base::{LeaderEpoch, Monotonic, NodeId, Offset, PartitionIndex};
use crate::protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};
use crate::protocol::{ErrorCode, KafkaString, Request};

/// How a member takes part.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The group (`group.id`).
    pub group: String,
    /// Topics that it wants.
    pub topics: BTreeSet<String>,
    /// Name that outlives a restart (`group.instance.id`, KIP-345).
    pub instance_id: Option<String>,
    /// Milliseconds without a heartbeat after which the coordinator lets a member go (`session.timeout.ms`).
    pub session_timeout_ms: u32,
    /// Milliseconds that members have to join again (`max.poll.interval.ms`).
    pub rebalance_timeout_ms: u32,
    /// Milliseconds between heartbeats (`heartbeat.interval.ms`).
    pub heartbeat_interval_ms: u64,
    /// Milliseconds between commits (`auto.commit.interval.ms`).
    pub commit_interval_ms: u64,
}

impl MemberOptions {
    /// With the defaults of Kafka's Java consumer.
    #[must_use]
    pub fn new(group: &str, topics: BTreeSet<String>) -> Self {
        Self {
            group: group.to_owned(),
            topics,
            instance_id: None,
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            heartbeat_interval_ms: 3_000,
            commit_interval_ms: 5_000,
        }
    }
}

/// A partition that the member has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: PartitionIndex,
    /// Where the group has got to; none if it has committed nothing.
    pub committed: Option<Offset>,
}

/// What a member has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberEvent {
    /// These are its partitions from now on, perhaps none.
    Assigned(Vec<AssignedPartition>),
    /// It has none until the next assignment.
    Revoked,
}

/// Why a member cannot take part any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberError {
    /// The coordinator said this to the request named.
    Refused(&'static str, ErrorCode),
    /// A request failed in a way that does not go away.
    Request(RequestError),
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(request, code) => write!(f, "{request}: {code}"),
            Self::Request(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for MemberError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Asks to be let in.
    Join,
    /// Asks for its partitions, or as the leader hands them out.
    Sync,
    /// Asks how far its partitions were read.
    FetchOffsets,
    /// Reads, and stays in.
    Stable,
    /// Commits before it gives its partitions back.
    Release,
    /// Commits for the last time.
    LastCommit,
    /// Says that it goes.
    Leave,
    /// Has left, or failed.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Find,
    Join,
    Sync,
    FetchOffsets,
    Heartbeat,
    Commit,
    Leave,
}

/// Next offset to read, and the leadership of the record before it.
type Progress = BTreeMap<(String, PartitionIndex), (Offset, LeaderEpoch)>;

/// A member of a group.
#[derive(Debug)]
pub struct GroupMember {
    options: MemberOptions,
    phase: Phase,
    member_id: KafkaString,
    generation: i32,
    coordinator: Option<NodeId>,

    // Requests.
    sent: BTreeMap<RequestId, Sent>,
    not_before: Monotonic,
    next_heartbeat: Monotonic,
    next_commit: Monotonic,
    /// When the coordinator was last heard to count us in.
    heard: Monotonic,

    /// What a leader was told of all members, until it has handed the partitions out.
    to_assign: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Partitions of the topics that the members wanted when a leader handed them out.
    handed_out: Option<BTreeMap<String, i32>>,
    assigned: Assignment,
    /// Next offset to read, where that is not committed yet.
    uncommitted: Progress,
    /// The same of the commit that is under way.
    committing: Progress,

    events: VecDeque<MemberEvent>,
    error: Option<MemberError>,
}

impl GroupMember {
    /// A member that has not joined yet.
    #[must_use]
    pub fn new(options: MemberOptions) -> Self {
        Self {
            options,
            phase: Phase::Join,
            member_id: KafkaString::EMPTY,
            generation: -1,
            coordinator: None,
            sent: BTreeMap::new(),
            not_before: Monotonic::default(),
            next_heartbeat: Monotonic::default(),
            next_commit: Monotonic::default(),
            heard: Monotonic::default(),
            to_assign: None,
            handed_out: None,
            assigned: Assignment::new(),
            uncommitted: BTreeMap::new(),
            committing: BTreeMap::new(),
            events: VecDeque::new(),
            error: None,
        }
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<MemberEvent> {
        self.events.pop_front()
    }

    /// Why it has ended, if it did not leave by itself.
    #[must_use]
    pub fn error(&self) -> Option<&MemberError> {
        self.error.as_ref()
    }

    /// It has left, or failed.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Everything below `next` was read; it is committed from time to time, before partitions are given back, and in the
    /// end. Told of a partition that the member does not have, it does nothing.
    ///
    /// `epoch` is the leadership of the last record that was read: by it a later reader notices that records were lost
    /// (KIP-320).
    pub fn consumed(&mut self, topic: &str, partition: PartitionIndex, next: Offset, epoch: LeaderEpoch) {
        let is_ours = self.assigned.get(topic).is_some_and(|partitions| partitions.contains(&partition));
        if is_ours && matches!(self.phase, Phase::Stable) {
            self.uncommitted.insert((topic.to_owned(), partition), (next, epoch));
        }
    }

    /// Commits what was read, and leaves.
    pub fn leave(&mut self) {
        match self.phase {
            Phase::Stable | Phase::Release => self.phase = Phase::LastCommit,
            // Nothing was read that could be committed; a member without an id was never let in.
            Phase::Join | Phase::Sync | Phase::FetchOffsets if self.member_id.is_empty() => self.phase = Phase::Ended,
            Phase::Join | Phase::Sync | Phase::FetchOffsets => self.phase = Phase::Leave,
            Phase::LastCommit | Phase::Leave | Phase::Ended => {}
        }
    }

    /// When [`advance`](Self::advance) is to be called if no answer comes before.
    #[must_use]
    pub fn poll_timeout(&self, now: Monotonic) -> Option<Monotonic> {
        let session_end = self.heard.plus_ms(self.options.session_timeout_ms.into());
        let mut times = vec![self.not_before];
        if self.phase == Phase::Stable {
            times.extend([self.next_heartbeat, session_end]);
            times.extend((!self.uncommitted.is_empty()).then_some(self.next_commit));
        }
        times.into_iter().filter(|at| *at > now).min()
    }

    fn is_waiting(&self, kind: Sent) -> bool {
        self.sent.values().any(|sent| *sent == kind)
    }

    /// Asks for what is due by `now`.
    pub fn advance(&mut self, now: Monotonic, client: &mut Client) {
        if self.phase == Phase::Ended || self.not_before > now {
            return;
        }
        for topic in &self.options.topics {
            client.want_topic(topic);
        }
        if self.phase == Phase::Stable && self.heard.plus_ms(self.options.session_timeout_ms.into()) <= now {
            // The coordinator has let us go by now, and others read these partitions.
            self.lose(now, client);
        }
        let Some(node) = self.coordinator else {
            if !self.is_waiting(Sent::Find) {
                let id = find_coordinator(now, client, &self.options.group);
                self.sent.insert(id, Sent::Find);
            }
            return;
        };
        match self.phase {
            Phase::Join if !self.is_waiting(Sent::Join) => self.join(now, client, node),
            Phase::Sync if !self.is_waiting(Sent::Sync) => self.sync(now, client, node),
            Phase::FetchOffsets if !self.is_waiting(Sent::FetchOffsets) => self.fetch_offsets(now, client, node),
            Phase::Stable => {
                let topics_changed =
                    |counts: &BTreeMap<String, i32>| partition_counts(client, counts.keys()) != *counts;
                if self.handed_out.as_ref().is_some_and(topics_changed) {
                    return self.release();
                }
                if self.next_heartbeat <= now && !self.is_waiting(Sent::Heartbeat) {
                    self.heartbeat(now, client, node);
                }
                if self.next_commit <= now {
                    self.commit(now, client, node);
                }
            }
            Phase::Release | Phase::LastCommit if !self.is_waiting(Sent::Commit) => {
                if self.uncommitted.is_empty() {
                    self.after_commit();
                    return self.advance(now, client);
                }
                self.commit(now, client, node);
            }
            Phase::Leave if !self.is_waiting(Sent::Leave) => self.say_goodbye(now, client, node),
            _ => {}
        }
    }

    /// Takes an answer that is for this member; gives back one that is not.
    ///
    /// # Errors
    /// The answer belongs to somebody else.
    pub fn handle_answer(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        id: RequestId,
        result: Result<Answer, RequestError>,
    ) -> Result<(), Result<Answer, RequestError>> {
        let Some(sent) = self.sent.remove(&id) else { return Err(result) };
        if self.phase == Phase::Ended {
            return Ok(());
        }
        let outcome = match sent {
            Sent::Find => learn_coordinator(client, result).map(|node| {
                self.coordinator = Some(node);
                ErrorCode::NONE
            }),
            Sent::Join => decode::<JoinGroupRequest>(result).map(|response| self.handle_join(now, response)),
            Sent::Sync => decode::<SyncGroupRequest>(result).and_then(|response| {
                if self.phase == Phase::Sync && response.error_code == 0 {
                    self.assigned = decode_assignment(response.assignment).map_err(RequestError::Malformed)?;
                    self.to_assign = None;
                    self.phase = Phase::FetchOffsets;
                }
                Ok(ErrorCode(response.error_code))
            }),
            Sent::FetchOffsets => decode::<OffsetFetchRequest>(result).map(|response| {
                let partitions =
                    || response.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
                let mut codes = partitions().map(|(_, partition)| partition.error_code);
                let code =
                    if response.error_code == 0 { codes.find(|code| *code != 0) } else { Some(response.error_code) };
                if code.is_none() && self.phase == Phase::FetchOffsets {
                    let committed = partitions()
                        .filter(|(_, partition)| partition.committed_offset >= 0)
                        .map(|(topic, p)| {
                            ((topic.name.to_string(), PartitionIndex(p.partition_index)), Offset(p.committed_offset))
                        })
                        .collect();
                    self.begin(now, &committed);
                }
                code.map_or(ErrorCode::NONE, ErrorCode)
            }),
            Sent::Heartbeat => decode::<HeartbeatRequest>(result).map(|response| {
                if response.error_code == 0 {
                    self.heard = now;
                }
                ErrorCode(response.error_code)
            }),
            Sent::Commit => decode::<OffsetCommitRequest>(result).map(|response| {
                let codes =
                    response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
                let code = codes.into_iter().find(|code| *code != 0).map_or(ErrorCode::NONE, ErrorCode);
                if code.is_none() {
                    self.committing.clear();
                    self.after_commit();
                }
                code
            }),
            Sent::Leave => {
                // Whatever the answer: the session ends by itself if the coordinator has not heard.
                self.phase = Phase::Ended;
                return Ok(());
            }
        };
        if outcome != Ok(ErrorCode::NONE) && sent == Sent::Commit {
            // What was read meanwhile stands, the rest is to be committed again.
            let committing = std::mem::take(&mut self.committing);
            for (partition, offset) in committing {
                self.uncommitted.entry(partition).or_insert(offset);
            }
        }
        match outcome {
            Ok(ErrorCode::NONE) => {}
            Ok(code) => self.handle_error(now, client, sent, code),
            Err(RequestError::Refused { code, .. }) => self.handle_error(now, client, sent, code),
            Err(error) if error.is_retriable() => {
                self.coordinator = None;
                self.not_before = now.plus_ms(client.config().retry_backoff_ms);
                // An unreachable cluster is told to somebody who has not got in yet, or wants to get out.
                if sent == Sent::Find && matches!(self.phase, Phase::Join | Phase::LastCommit | Phase::Leave) {
                    self.fail(MemberError::Request(error));
                }
            }
            Err(error) => self.fail(MemberError::Request(error)),
        }
        Ok(())
    }

    fn handle_join(&mut self, now: Monotonic, response: JoinGroupResponse) -> ErrorCode {
        let code = ErrorCode(response.error_code);
        if code == ErrorCode::MEMBER_ID_REQUIRED && self.phase == Phase::Join {
            self.member_id = KafkaString::copied(&response.member_id);
            return ErrorCode::NONE;
        }
        if !code.is_none() || self.phase != Phase::Join {
            return code;
        }
        self.member_id = KafkaString::copied(&response.member_id);
        self.generation = response.generation_id;
        self.heard = now;
        let wanted = |bytes| decode_subscription(bytes).unwrap_or_default();
        let members = || response.members.into_iter().map(|each| (each.member_id.to_string(), wanted(each.metadata)));
        self.to_assign =
            (response.leader == response.member_id && !response.skip_assignment).then(|| members().collect());
        self.phase = Phase::Sync;
        ErrorCode::NONE
    }

    /// The partitions and where to go on are known.
    fn begin(&mut self, now: Monotonic, committed: &BTreeMap<(String, PartitionIndex), Offset>) {
        let mut partitions = Vec::new();
        for (topic, indexes) in &self.assigned {
            for partition in indexes {
                let committed = committed.get(&(topic.clone(), *partition)).copied();
                partitions.push(AssignedPartition { topic: topic.clone(), partition: *partition, committed });
            }
        }
        self.events.push_back(MemberEvent::Assigned(partitions));
        self.phase = Phase::Stable;
        self.heard = now;
        self.next_heartbeat = now.plus_ms(self.options.heartbeat_interval_ms);
        self.next_commit = now.plus_ms(self.options.commit_interval_ms);
    }

    fn after_commit(&mut self) {
        match self.phase {
            Phase::Release if self.uncommitted.is_empty() => self.phase = Phase::Join,
            Phase::LastCommit if self.uncommitted.is_empty() => self.phase = Phase::Leave,
            _ => {}
        }
    }

    /// Gives the partitions back, to join again.
    fn release(&mut self) {
        self.events.push_back(MemberEvent::Revoked);
        self.handed_out = None;
        self.phase = Phase::Release;
    }

    /// Lets go of everything, also of what was not committed.
    fn revoke(&mut self) {
        if matches!(self.phase, Phase::Stable) {
            self.events.push_back(MemberEvent::Revoked);
        }
        self.assigned.clear();
        self.handed_out = None;
        self.uncommitted.clear();
        self.committing.clear();
    }

    /// The coordinator does not count us in any longer.
    fn lose(&mut self, now: Monotonic, client: &Client) {
        self.revoke();
        self.generation = -1;
        self.phase = match self.phase {
            Phase::LastCommit | Phase::Leave | Phase::Ended => Phase::Ended,
            _ => Phase::Join,
        };
        self.not_before = now.plus_ms(client.config().retry_backoff_ms);
    }

    fn handle_error(&mut self, now: Monotonic, client: &mut Client, sent: Sent, code: ErrorCode) {
        let backoff = now.plus_ms(client.config().retry_backoff_ms);
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS => match self.phase {
                // A commit is still taken while others join, so it comes first.
                Phase::Stable => self.release(),
                Phase::Sync | Phase::FetchOffsets => self.phase = Phase::Join,
                // Too late for a commit: the others have joined already, and this is read again.
                Phase::Release | Phase::LastCommit => {
                    self.uncommitted.clear();
                    self.after_commit();
                }
                Phase::Join | Phase::Leave | Phase::Ended => self.not_before = backoff,
            },
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                if code == ErrorCode::UNKNOWN_MEMBER_ID {
                    self.member_id = KafkaString::EMPTY;
                }
                self.lose(now, client);
            }
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => {
                self.coordinator = None;
                self.not_before = backoff;
            }
            // Its partitions are not committed and are read again; that of a topic which is gone is no loss.
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION if sent == Sent::Commit => {
                self.uncommitted.clear();
                self.after_commit();
            }
            code if code.is_retriable() => self.not_before = backoff,
            code => {
                let request = match sent {
                    Sent::Find => "FindCoordinator",
                    Sent::Join => "JoinGroup",
                    Sent::Sync => "SyncGroup",
                    Sent::FetchOffsets => "OffsetFetch",
                    Sent::Heartbeat => "Heartbeat",
                    Sent::Commit => "OffsetCommit",
                    Sent::Leave => "LeaveGroup",
                };
                self.fail(MemberError::Refused(request, code));
            }
        }
    }

    fn fail(&mut self, error: MemberError) {
        self.revoke();
        self.phase = Phase::Ended;
        self.error = Some(error);
    }
}

/// Partitions of those topics that exist.
fn partition_counts<'a>(client: &Client, topics: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, i32> {
    let count = |topic: &'a String| match client.cluster().topic(topic) {
        Some(Ok(known)) => Some((topic.clone(), known.partition_count())),
        _ => None,
    };
    topics.into_iter().filter_map(count).collect()
}

fn decode<R: Request>(result: Result<Answer, RequestError>) -> Result<R::Response, RequestError> {
    result.and_then(|answer| answer.decode::<R>().map_err(RequestError::Malformed))
}
