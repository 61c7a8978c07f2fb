//! OffsetCommit, TxnOffsetCommit and OffsetFetch.

use super::classic::{ClassicGroup, State};
use super::consumer::{ConsumerGroup, Member};
use super::coordinator::{GroupCoordinator, Kind};
use super::log_record::{CommittedOffset, OffsetKey, offset_record};
use super::message::{Answer, Request, RequestContext, detached_text};
use super::offsets::is_of_another_topic;
use super::turn::{Draft, OffsetChange, Then};
use super::versions::no_offset;
use crate::base::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId, Uuid};
use crate::coordinator::{LogRecord, Now, RequestId, is_too_long};
use crate::limits::{GROUP_APPENDS_MAX, GROUP_OFFSETS_MAX, GROUPS_MAX};
use crate::protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use crate::protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use crate::protocol::wire::EncodeError;
use crate::protocol::{ErrorCode, KafkaString};

/// First version in which a missing group is told by that name.
const GROUP_NOT_FOUND_FROM: i16 = 9;

/// First version of OffsetCommit that carries a member's epoch.
const EPOCHS_FROM: i16 = 9;

/// Who commits.
struct Committer<'a> {
    group_id: &'a KafkaString,
    member_id: &'a str,
    instance_id: Option<&'a str>,
    generation: i32,
    is_transactional: bool,
    version: i16,
    /// What is committed.
    places: Vec<(TopicId, PartitionIndex)>,
}

/// Commits of one request, being gathered.
struct Gathering {
    changes: Vec<OffsetChange>,
    records: Result<Vec<LogRecord>, EncodeError>,
    /// Bytes that they add to the state.
    growth: usize,
    /// Bytes that their records take in the log, at most.
    log_bytes: usize,
}

impl GroupCoordinator {
    pub(super) fn commit(&mut self, now: Now, id: RequestId, context: &RequestContext, asked: OffsetCommitRequest) {
        let committer = Committer {
            group_id: &asked.group_id,
            member_id: &asked.member_id,
            instance_id: asked.group_instance_id.as_deref(),
            generation: asked.generation_id_or_member_epoch,
            is_transactional: false,
            version: context.version,
            places: places(asked.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| (Uuid(topic.topic_id), partition.partition_index))
            })),
        };
        if let Err(code) = self.check_commit(now, &committer) {
            let answer = Request::OffsetCommit(asked).refuse(context.version, code);
            return self.answer(id, answer);
        }
        // Clients before KIP-211 said how long their offsets shall be kept.
        let expires_at = (asked.retention_time_ms != -1).then(|| now.wall + asked.retention_time_ms);
        let mut gathering = Gathering::new();
        let mut response = OffsetCommitResponse::default();
        for topic in &asked.topics {
            let name = detached_text(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                // Only version 1 carries a time, and −1 there is now.
                let own_time = Some(partition.commit_timestamp).filter(|at| context.version == 1 && *at != -1);
                let committed = CommittedOffset {
                    offset: Offset(partition.committed_offset),
                    leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                    metadata: partition.committed_metadata.as_deref().map(detached_text).unwrap_or_default(),
                    committed_at: own_time.map_or(now.wall, Timestamp),
                    expires_at,
                    topic_id: Uuid(topic.topic_id),
                };
                let code = self.gather(&mut gathering, &asked.group_id, &name, partition.partition_index, committed);
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: code.0,
                });
            }
            response.topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
            });
        }
        let group_id = asked.group_id.clone();
        self.begin_commit(
            now,
            id,
            context,
            &group_id,
            gathering,
            None,
            Answer::OffsetCommit(response),
            Request::OffsetCommit(asked),
        );
    }

    pub(super) fn commit_in_transaction(
        &mut self,
        now: Now,
        id: RequestId,
        context: &RequestContext,
        asked: TxnOffsetCommitRequest,
    ) {
        let committer = Committer {
            group_id: &asked.group_id,
            member_id: &asked.member_id,
            instance_id: asked.group_instance_id.as_deref(),
            generation: asked.generation_id,
            is_transactional: true,
            version: context.version,
            places: places(asked.topics.iter().flat_map(|topic| {
                let id = self.metadata.topic_id(&topic.name).unwrap_or(Uuid::ZERO);
                topic.partitions.iter().map(move |partition| (id, partition.partition_index))
            })),
        };
        let checked = if asked.group_id.is_empty() {
            Err(ErrorCode::INVALID_GROUP_ID)
        } else {
            self.check_commit(now, &committer)
        };
        if let Err(code) = checked {
            let answer = Request::TxnOffsetCommit(asked).refuse(context.version, code);
            return self.answer(id, answer);
        }
        let mut gathering = Gathering::new();
        let mut response = TxnOffsetCommitResponse::default();
        for topic in &asked.topics {
            let name = detached_text(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let committed = CommittedOffset {
                    offset: Offset(partition.committed_offset),
                    leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                    metadata: partition.committed_metadata.as_deref().map(detached_text).unwrap_or_default(),
                    committed_at: now.wall,
                    expires_at: None,
                    topic_id: Uuid::ZERO,
                };
                let code = self.gather(&mut gathering, &asked.group_id, &name, partition.partition_index, committed);
                partitions.push(TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: code.0,
                });
            }
            response.topics.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions });
        }
        let producer = Some((ProducerId(asked.producer_id), ProducerEpoch(asked.producer_epoch)));
        let group_id = asked.group_id.clone();
        self.begin_commit(
            now,
            id,
            context,
            &group_id,
            gathering,
            producer,
            Answer::TxnOffsetCommit(response),
            Request::TxnOffsetCommit(asked),
        );
    }

    /// Whether this client may commit for this group now. A group of which nobody knows comes into being when a
    /// client commits that is no member.
    fn check_commit(&mut self, now: Now, committer: &Committer<'_>) -> Result<(), ErrorCode> {
        if is_too_long(committer.group_id) {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if self.append_count() >= GROUP_APPENDS_MAX {
            // Clients come again without looking for another coordinator.
            return Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
        }
        let is_member = committer.generation >= 0 || !committer.member_id.is_empty() || committer.instance_id.is_some();
        match self.groups.get(committer.group_id).map(|group| &group.kind) {
            None if committer.generation >= 0 => {
                let is_told = committer.version >= GROUP_NOT_FOUND_FROM && !committer.is_transactional;
                Err(if is_told { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::ILLEGAL_GENERATION })
            }
            None if self.groups.len() >= GROUPS_MAX => Err(ErrorCode::POLICY_VIOLATION),
            None => {
                self.create(now, committer.group_id);
                Ok(())
            }
            Some(Kind::Consumer(_)) => self
                .with_consumer(now, committer.group_id, |group, turn| {
                    check_consumer_commit(group, committer, is_member)?;
                    if !committer.is_transactional && group.member(committer.member_id).is_some_and(Member::is_classic)
                    {
                        group.touch(turn, committer.member_id);
                    }
                    Ok(())
                })
                .unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
            Some(Kind::Other { members, .. }) if members.is_empty() && !is_member => Ok(()),
            Some(Kind::Other { .. }) => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(Kind::Classic(_)) => self
                .with_classic(now, committer.group_id, |group, turn| {
                    check_classic_commit(group, committer, is_member)?;
                    if !committer.is_transactional {
                        group.touch(turn, committer.member_id);
                    }
                    Ok(())
                })
                .unwrap_or(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
        }
    }

    fn gather(
        &self,
        gathering: &mut Gathering,
        group_id: &KafkaString,
        topic: &KafkaString,
        partition: i32,
        committed: CommittedOffset,
    ) -> ErrorCode {
        let length = committed.metadata.encode_utf16().count();
        if length > self.settings.offset_metadata_length_max || is_too_long(&committed.metadata) {
            return ErrorCode::OFFSET_METADATA_TOO_LARGE;
        }
        if is_too_long(topic) || partition < 0 {
            return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        let partition = PartitionIndex(partition);
        let growth =
            self.groups.get(group_id).map_or(0, |group| group.offsets.growth(topic, partition, &committed.metadata));
        let bytes = self.bytes.saturating_add(gathering.growth).saturating_add(growth);
        let count = self.offset_count + gathering.changes.len();
        // What does not grow, like the next commit of a partition, is never refused.
        if growth > 0 && (bytes > self.settings.state_bytes_max || count >= GROUP_OFFSETS_MAX) {
            return ErrorCode::POLICY_VIOLATION;
        }
        if gathering.log_bytes > self.settings.batch_bytes_max {
            // The request fails as a whole; the rest of it need not take memory as well.
            return ErrorCode::NONE;
        }
        let key = OffsetKey { group: group_id.clone(), topic: topic.clone(), partition };
        let record = offset_record(&key, &committed);
        gathering.add(record, OffsetChange { topic: topic.clone(), partition, committed: Some(committed) });
        gathering.growth += growth;
        ErrorCode::NONE
    }

    #[expect(clippy::too_many_arguments, reason = "what both kinds of commits end with")]
    fn begin_commit(
        &mut self,
        now: Now,
        id: RequestId,
        context: &RequestContext,
        group_id: &KafkaString,
        gathering: Gathering,
        producer: Option<(ProducerId, ProducerEpoch)>,
        answer: Answer,
        request: Request,
    ) {
        let Gathering { changes, records, .. } = gathering;
        if changes.is_empty() {
            self.answer(id, answer);
            return self.forget_if_nothing(group_id);
        }
        let then = Then::Answer { id, answer: Box::new(answer), request: Box::new(request), version: context.version };
        self.begin_append(now, group_id, Draft { records, producer, changes, then });
    }

    pub(super) fn fetch(&mut self, id: RequestId, group: OffsetFetchRequestGroup, require_stable: bool) {
        if let Err(code) = self.check_fetch(&group) {
            // Only versions whose answer has a place for it carry an epoch.
            let refused = Request::OffsetFetch { group, require_stable }.refuse(i16::MAX, code);
            return self.answer(id, refused);
        }
        let waiting = if require_stable { self.wait_for_appends(id, group) } else { Err(group) };
        if let Err(group) = waiting {
            let answer = Answer::OffsetFetch(self.fetched(&group, require_stable));
            self.answer(id, answer);
        }
    }

    /// A member of a group of the consumer protocol says who it is; others need not.
    fn check_fetch(&self, asked: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
        let Some(Kind::Consumer(group)) = self.groups.get(&asked.group_id).map(|group| &group.kind) else {
            return Ok(());
        };
        if asked.member_epoch < 0 && asked.member_id.is_none() {
            return Ok(());
        }
        let member =
            group.member(asked.member_id.as_deref().unwrap_or_default()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.epoch() == asked.member_epoch { Ok(()) } else { Err(ErrorCode::STALE_MEMBER_EPOCH) }
    }

    /// What is committed now.
    pub(super) fn fetched(&self, asked: &OffsetFetchRequestGroup, require_stable: bool) -> OffsetFetchResponseGroup {
        let topics = match &asked.topics {
            None => self.all_topics(&asked.group_id, require_stable),
            Some(topics) => topics.iter().map(|topic| self.fetched_topic(asked, topic, require_stable)).collect(),
        };
        OffsetFetchResponseGroup { group_id: asked.group_id.clone(), topics, error_code: 0 }
    }

    fn fetched_topic(
        &self,
        asked: &OffsetFetchRequestGroup,
        topic: &OffsetFetchRequestTopics,
        require_stable: bool,
    ) -> OffsetFetchResponseTopics {
        let offsets = self.groups.get(&asked.group_id).map(|group| &group.offsets);
        let partition = |index: &i32| {
            let partition = PartitionIndex(*index);
            if require_stable && offsets.is_some_and(|offsets| offsets.is_unstable(&topic.name, partition)) {
                return no_offset(*index, ErrorCode::UNSTABLE_OFFSET_COMMIT);
            }
            let stored = offsets.and_then(|offsets| offsets.get(&topic.name, partition));
            match stored.map(|stored| &stored.committed) {
                Some(known) if !is_of_another_topic(known, Uuid(topic.topic_id)) => found(partition, known),
                _ => no_offset(*index, ErrorCode::NONE),
            }
        };
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.iter().map(partition).collect(),
        }
    }

    fn all_topics(&self, group_id: &KafkaString, require_stable: bool) -> Vec<OffsetFetchResponseTopics> {
        let Some(offsets) = self.groups.get(group_id).map(|group| &group.offsets) else { return Vec::new() };
        let topic = |(name, partitions): (&KafkaString, &std::collections::BTreeMap<PartitionIndex, _>)| {
            let partition = |(partition, stored): (&PartitionIndex, &super::offsets::Stored)| {
                if require_stable && offsets.is_unstable(name, *partition) {
                    return no_offset(partition.0, ErrorCode::UNSTABLE_OFFSET_COMMIT);
                }
                found(*partition, &stored.committed)
            };
            OffsetFetchResponseTopics {
                name: name.clone(),
                topic_id: Uuid::ZERO.0,
                partitions: partitions.iter().map(partition).collect(),
            }
        };
        offsets.committed().map(topic).collect()
    }
}

fn places(all: impl Iterator<Item = (TopicId, i32)>) -> Vec<(TopicId, PartitionIndex)> {
    all.map(|(topic, index)| (topic, PartitionIndex(index))).collect()
}

/// The rules of a group of the consumer protocol. Whoever is no member may commit only while nobody is there, except in
/// transactions of old clients, who do not say who they are.
fn check_consumer_commit(group: &ConsumerGroup, committer: &Committer<'_>, is_member: bool) -> Result<(), ErrorCode> {
    if group.is_dead {
        return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    }
    if committer.generation < 0 && group.is_empty() || committer.is_transactional && !is_member {
        return Ok(());
    }
    let member = group.member(committer.member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
    if member.is_classic() {
        let is_current = committer.generation == member.epoch();
        return if is_current { Ok(()) } else { Err(ErrorCode::ILLEGAL_GENERATION) };
    }
    if !committer.is_transactional && committer.version < EPOCHS_FROM {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let is_its = |(topic, index): &(TopicId, PartitionIndex)| member.may_commit(committer.generation, *topic, *index);
    let is_current = committer.generation == member.epoch();
    if is_current || committer.generation < member.epoch() && committer.places.iter().all(is_its) {
        return Ok(());
    }
    // Answers of transactions have no code for it.
    Err(if committer.is_transactional { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH })
}

/// The rules of a classic group. Transactions may commit in any state of it; with old clients, who do not say which
/// member they are, even while others are members.
fn check_classic_commit(group: &ClassicGroup, committer: &Committer<'_>, is_member: bool) -> Result<(), ErrorCode> {
    match group.state {
        State::Dead => return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
        State::Empty if committer.generation < 0 => return Ok(()),
        _ => {}
    }
    if is_member {
        group.check_member(committer.member_id, committer.instance_id)?;
        if committer.generation != group.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
    } else if !committer.is_transactional {
        return Err(ErrorCode::UNKNOWN_MEMBER_ID);
    }
    if !committer.is_transactional && group.state == State::CompletingRebalance {
        // The member has joined the new generation, and what it read belongs to the old one.
        return Err(ErrorCode::REBALANCE_IN_PROGRESS);
    }
    Ok(())
}

fn found(partition: PartitionIndex, committed: &CommittedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition.0,
        committed_offset: committed.offset.0,
        committed_leader_epoch: committed.leader_epoch.0,
        metadata: Some(committed.metadata.clone()),
        error_code: 0,
    }
}

impl Gathering {
    fn new() -> Self {
        Self { changes: Vec::new(), records: Ok(Vec::new()), growth: 0, log_bytes: 0 }
    }

    fn add(&mut self, record: Result<LogRecord, EncodeError>, change: OffsetChange) {
        match (&mut self.records, record) {
            (Ok(records), Ok(record)) => {
                self.log_bytes += record.size_bytes_max();
                records.push(record);
            }
            (Ok(_), Err(error)) => self.records = Err(error),
            (Err(_), _) => {}
        }
        self.changes.push(change);
    }
}
