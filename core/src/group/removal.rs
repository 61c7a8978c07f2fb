//! What goes: OffsetDelete, DeleteGroups, offsets that expired, topics that were deleted. And what operators look at:
//! ListGroups and DescribeGroups.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::classic::{ClassicGroup, State};
use super::coordinator::{GroupCoordinator, Kind};
use super::log_record::{CommittedOffset, OffsetKey, OtherKind, group_tombstone, offset_tombstone};
use super::message::{Answer, Effect, Request, RequestContext};
use super::turn::{Draft, OffsetChange, Then};
use crate::base::{PartitionIndex, Timestamp, TopicId, Uuid};
use crate::coordinator::{Now, RequestId};
use crate::limits::{EXPIRY_LOOK_MAX, GROUP_APPENDS_MAX};
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::describe_groups_response::DescribedGroup;
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::protocol::messages::{ListGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse};
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::header::HEADER_BYTES;

/// Time after which a look for expired offsets goes on where it stopped, so that others get their turn.
const EXPIRY_PAUSE_MS: u64 = 10;

/// First version in which a missing group is told by that name.
const GROUP_NOT_FOUND_FROM: i16 = 6;

/// Whether a group reads a topic.
type Reads<'a> = Box<dyn Fn(&str) -> bool + 'a>;

/// An offset of a group.
type Place = (KafkaString, PartitionIndex);

impl GroupCoordinator {
    pub(super) fn delete_offsets(
        &mut self,
        now: Now,
        id: RequestId,
        context: &RequestContext,
        asked: OffsetDeleteRequest,
    ) {
        let read = match self.topics_that_are_read(&asked) {
            Ok(read) => read,
            Err(code) => {
                let answer = Request::OffsetDelete(asked).refuse(context.version, code);
                return self.answer(id, answer);
            }
        };
        let Some(group) = self.groups.get(&asked.group_id) else { return };
        let mut gone = Vec::new();
        let mut response = OffsetDeleteResponse::default();
        for topic in &asked.topics {
            let is_read = read.contains(&topic.name);
            let code = if is_read { ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC } else { ErrorCode::NONE };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = PartitionIndex(partition.partition_index);
                if !is_read && group.offsets.knows(&topic.name, index) {
                    gone.push((super::message::detached_text(&topic.name), index));
                }
                partitions.push(OffsetDeleteResponsePartition { partition_index: index.0, error_code: code.0 });
            }
            response.topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
        let group_id = asked.group_id.clone();
        let answer = Answer::OffsetDelete(response);
        if gone.is_empty() {
            return self.answer(id, answer);
        }
        let then = Then::Answer {
            id,
            answer: Box::new(answer),
            request: Box::new(Request::OffsetDelete(asked)),
            version: context.version,
        };
        self.append_tombstones(now, &group_id, gone, then, false);
    }

    /// The topics of a request that the group reads.
    fn topics_that_are_read(&self, asked: &OffsetDeleteRequest) -> Result<BTreeSet<KafkaString>, ErrorCode> {
        let reads = self.check_offset_delete(&asked.group_id)?;
        Ok(asked.topics.iter().map(|topic| &topic.name).filter(|name| reads(name)).cloned().collect())
    }

    fn check_offset_delete(&self, group_id: &str) -> Result<Reads<'_>, ErrorCode> {
        if group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        match self.groups.get(group_id).map(|group| &group.kind) {
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            Some(Kind::Consumer(group)) if group.is_dead => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            Some(Kind::Consumer(group)) => Ok(Box::new(|topic| group.reads(topic))),
            Some(Kind::Other { members, .. }) if members.is_empty() => Ok(Box::new(|_| false)),
            // What its members read is not known here.
            Some(Kind::Other { .. }) => Err(ErrorCode::NON_EMPTY_GROUP),
            Some(Kind::Classic(group)) => match group.state {
                State::Dead => Err(ErrorCode::GROUP_ID_NOT_FOUND),
                _ if group.state == State::Empty || group.is_consumer_group() => {
                    let subscription = group.subscription();
                    Ok(Box::new(move |topic| subscription.has(topic)))
                }
                _ => Err(ErrorCode::NON_EMPTY_GROUP),
            },
        }
    }

    pub(super) fn delete(&mut self, now: Now, id: RequestId, context: &RequestContext, group_id: KafkaString) {
        let code = match self.groups.get(&group_id).map(|group| &group.kind) {
            None => ErrorCode::GROUP_ID_NOT_FOUND,
            Some(Kind::Consumer(group)) if group.is_dead => ErrorCode::GROUP_ID_NOT_FOUND,
            Some(Kind::Consumer(group)) if group.is_empty() => ErrorCode::NONE,
            Some(Kind::Consumer(_)) => ErrorCode::NON_EMPTY_GROUP,
            Some(Kind::Other { members, .. }) if !members.is_empty() => ErrorCode::NON_EMPTY_GROUP,
            Some(Kind::Other { .. }) => ErrorCode::GROUP_DELETION_FAILED,
            Some(Kind::Classic(group)) => match group.state {
                State::Empty => ErrorCode::NONE,
                State::Dead => ErrorCode::GROUP_ID_NOT_FOUND,
                _ => ErrorCode::NON_EMPTY_GROUP,
            },
        };
        if code != ErrorCode::NONE {
            let answer = Request::DeleteGroup(group_id).refuse(context.version, code);
            return self.answer(id, answer);
        }
        self.begin_deletion(now, &group_id, Some(id));
    }

    /// Writes tombstones for all that a group has, for what is on its way too, and for the group itself at last.
    fn begin_deletion(&mut self, now: Now, group_id: &KafkaString, request: Option<RequestId>) {
        let Some(group) = self.groups.get(group_id) else { return };
        let offsets = &group.offsets;
        let all = offsets
            .topics()
            .flat_map(|topic| offsets.partitions(topic).into_iter().map(|partition| (topic.clone(), partition)))
            .collect();
        self.with_group(now, group_id, |kind, _| match kind {
            Kind::Classic(group) => group.begin_deletion(),
            Kind::Consumer(group) => group.begin_deletion(),
            Kind::Other { .. } => {}
        });
        self.append_tombstones(now, group_id, all, Then::Deleted { request }, true);
    }

    /// Appends the tombstones of these offsets, and of the group if it goes with them, in as many batches as it takes.
    /// `then` comes after the last.
    fn append_tombstones(&mut self, now: Now, group_id: &KafkaString, gone: Vec<Place>, then: Then, and_group: bool) {
        let mut drafts = vec![(Ok(Vec::new()), Vec::new())];
        let mut bytes = HEADER_BYTES;
        let offsets = gone.into_iter().map(|(topic, partition)| {
            let key = OffsetKey { group: group_id.clone(), topic: topic.clone(), partition };
            (offset_tombstone(&key), Some(OffsetChange { topic, partition, committed: None }))
        });
        let tombstones = match self.groups.get(group_id).map(|group| &group.kind).filter(|_| and_group) {
            Some(Kind::Consumer(group)) => group.tombstones().into_iter().collect(),
            Some(_) => vec![group_tombstone(group_id)],
            None => Vec::new(),
        };
        let group = tombstones.into_iter().map(|record| (record, None));
        for (record, change) in offsets.chain(group) {
            let size = record.as_ref().map_or(0, |record| record.size_bytes_max());
            if bytes + size > self.settings.batch_bytes_max && bytes > HEADER_BYTES {
                drafts.push((Ok(Vec::new()), Vec::new()));
                bytes = HEADER_BYTES;
            }
            bytes += size;
            let Some((records, changes)) = drafts.last_mut() else { continue };
            match (records.as_mut(), record) {
                (Ok(records), Ok(record)) => records.push(record),
                (Ok(_), Err(error)) => *records = Err(error),
                (Err(_), _) => {}
            }
            changes.extend(change);
        }
        let last = drafts.pop();
        for (records, changes) in drafts {
            self.begin_append(now, group_id, Draft { records, producer: None, changes, then: Then::Removed });
        }
        if let Some((records, changes)) = last {
            self.begin_append(now, group_id, Draft { records, producer: None, changes, then });
        }
    }

    /// The tombstones of a group are in the log, or could not be written there.
    pub(super) fn deleted(
        &mut self,
        now: Now,
        id: &KafkaString,
        request: Option<RequestId>,
        result: Result<(), ErrorCode>,
    ) {
        let code = match result {
            Ok(()) => {
                // Of several batches an earlier one may have failed.
                let is_empty = self.groups.get(id).is_none_or(|group| group.offsets.is_empty());
                // A group without anything, which is dropped as soon as nothing of it is on its way.
                let nothing = ClassicGroup::new(super::message::detached_text(id), now.wall);
                self.set_kind(id, Kind::Classic(Box::new(nothing)));
                if is_empty { ErrorCode::NONE } else { ErrorCode::COORDINATOR_NOT_AVAILABLE }
            }
            Err(code) => {
                self.with_group(now, id, |kind, _| match kind {
                    Kind::Classic(group) => group.end_deletion(),
                    Kind::Consumer(group) => group.end_deletion(),
                    Kind::Other { .. } => {}
                });
                code
            }
        };
        if let Some(request) = request {
            let result = DeletableGroupResult { group_id: id.clone(), error_code: code.0 };
            self.answer(request, Answer::DeleteGroup(result));
        }
    }

    /// Looks for offsets that have expired, some groups at a time.
    pub(super) fn expire(&mut self, now: Now) {
        let from = self.expiry_from.take().map_or(Bound::Unbounded, Bound::Excluded);
        let ids: Vec<_> =
            self.groups.range((from, Bound::Unbounded)).take(EXPIRY_LOOK_MAX).map(|(id, _)| id.clone()).collect();
        let is_last = ids.len() < EXPIRY_LOOK_MAX;
        let mut looked = 0;
        for id in &ids {
            if self.append_count() >= GROUP_APPENDS_MAX {
                break;
            }
            looked += 1 + self.groups.get(id).map_or(0, |group| group.offsets.count());
            self.expire_group(now, id);
            self.expiry_from = Some(id.clone());
            if looked >= EXPIRY_LOOK_MAX {
                break;
            }
        }
        let is_done = is_last && (ids.is_empty() || self.expiry_from.as_ref() == ids.last());
        let wait_ms = if is_done { self.settings.retention_check_interval_ms } else { EXPIRY_PAUSE_MS };
        if is_done {
            self.expiry_from = None;
        }
        self.expiry_at = now.monotonic.plus_ms(wait_ms.max(1));
    }

    fn expire_group(&mut self, now: Now, id: &KafkaString) {
        let Some(group) = self.groups.get(id) else { return };
        if group.kind.is_dead() {
            return;
        }
        let (rule, is_empty) = match &group.kind {
            Kind::Classic(classic) => (
                ExpiryRule::of(classic, self.settings.offsets_retention_ms),
                classic.state == State::Empty && classic.pending.is_empty(),
            ),
            // Counted from each commit: a member commits what it reads, and what nobody reads is of no use for long.
            Kind::Consumer(consumer) => (
                Some(ExpiryRule { retention_ms: self.settings.offsets_retention_ms, since: None }),
                consumer.is_empty(),
            ),
            Kind::Other { .. } => return,
        };
        let mut gone = Vec::new();
        let mut is_all = group.in_flight == 0 && !group.offsets.has_open_transactions();
        match rule {
            None => is_all &= group.offsets.is_empty(),
            Some(rule) => {
                for (topic, partitions) in group.offsets.committed() {
                    for (partition, stored) in partitions {
                        if rule.is_over(&stored.committed, now.wall)
                            && !group.offsets.is_in_flight(topic, *partition)
                            && !group.offsets.is_unstable(topic, *partition)
                        {
                            gone.push((topic.clone(), *partition));
                        } else {
                            is_all = false;
                        }
                    }
                }
            }
        }
        if !gone.is_empty() {
            // Looked at last: reading what all members subscribe to is long, and offsets that are in use are young.
            let before = gone.len();
            match &group.kind {
                Kind::Classic(classic) => {
                    let subscription = classic.subscription();
                    gone.retain(|(topic, _)| !subscription.has(topic));
                }
                Kind::Consumer(consumer) => gone.retain(|(topic, _)| !consumer.reads(topic)),
                Kind::Other { .. } => {}
            }
            is_all &= gone.len() == before;
        }
        if is_all && is_empty {
            self.begin_deletion(now, id, None);
        } else if !gone.is_empty() {
            self.append_tombstones(now, id, gone, Then::Removed, false);
        }
    }

    /// Topics were deleted: what was committed for them is, too. An offset without a topic id counts by name.
    pub fn on_topics_deleted(&mut self, now: Now, topics: &[(KafkaString, TopicId)]) -> Vec<Effect> {
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            let Some(group) = self.groups.get(&id) else { continue };
            if group.kind.is_dead() {
                // It has its tombstones already.
                continue;
            }
            let mut gone = Vec::new();
            for (topic, topic_id) in topics {
                let is_its = |known: Uuid| known == Uuid::ZERO || known == *topic_id;
                // Also what a transaction would commit, and what is on its way to the log: the tombstone comes behind it.
                let its = group.offsets.partitions(topic).into_iter().filter(|partition| {
                    group.offsets.stored(topic, *partition).all(|stored| is_its(stored.committed.topic_id))
                });
                gone.extend(its.map(|partition| (topic.clone(), partition)));
            }
            if !gone.is_empty() {
                self.append_tombstones(now, &id, gone, Then::Removed, false);
            }
        }
        self.take_effects()
    }

    pub(super) fn describe(&mut self, id: RequestId, context: &RequestContext, group_id: KafkaString) {
        let described = match self.groups.get(&group_id).map(|group| &group.kind) {
            Some(Kind::Classic(group)) => group.describe(),
            _ if context.version < GROUP_NOT_FOUND_FROM => DescribedGroup {
                group_id,
                group_state: KafkaString::from_static(State::Dead.name()),
                ..Default::default()
            },
            _ => DescribedGroup {
                error_code: ErrorCode::GROUP_ID_NOT_FOUND.0,
                error_message: Some(KafkaString::from(format!("there is no classic group {group_id}"))),
                group_id,
                group_state: KafkaString::from_static(State::Dead.name()),
                ..Default::default()
            },
        };
        self.answer(id, Answer::DescribeGroup(described));
    }

    pub(super) fn list(&mut self, id: RequestId, states: &[KafkaString], types: &[KafkaString]) {
        let passes = |filter: &[KafkaString], value: &str| {
            filter.is_empty() || filter.iter().any(|one| one.trim().eq_ignore_ascii_case(value))
        };
        let listed = self.groups.iter().map(|(group_id, group)| match &group.kind {
            Kind::Classic(group) => group.list(),
            Kind::Consumer(group) => group.list(),
            Kind::Other { kind, members } => list_other(group_id, *kind, members.is_empty()),
        });
        let groups =
            listed.filter(|group| passes(states, &group.group_state) && passes(types, &group.group_type)).collect();
        self.answer(id, Answer::ListGroups(ListGroupsResponse { groups, ..Default::default() }));
    }
}

/// A group of another protocol. What its members are doing is not known here.
fn list_other(group_id: &KafkaString, kind: OtherKind, is_empty: bool) -> ListedGroup {
    let name = match kind {
        OtherKind::Share => "share",
        OtherKind::Streams => "streams",
    };
    ListedGroup {
        group_id: group_id.clone(),
        protocol_type: KafkaString::from_static(name),
        group_state: KafkaString::from_static(if is_empty { "Empty" } else { "Unknown" }),
        group_type: KafkaString::from_static(name),
    }
}

/// From when on the offsets of a group are kept for how long (KIP-211).
struct ExpiryRule {
    retention_ms: i64,
    /// Counted from when the group became empty, if that is known; else from each commit.
    since: Option<Timestamp>,
}

impl ExpiryRule {
    /// `None` where nothing expires: the offsets of a group that is at work.
    fn of(group: &ClassicGroup, retention_ms: i64) -> Option<Self> {
        let since = match (&group.protocol_type, group.state) {
            // A group of which only offsets are known: its readers manage themselves.
            (None, _) => None,
            (Some(_), State::Empty) => Some(group.since).filter(|since| *since != Timestamp::NONE),
            // What a consumer group that is at work does not read any more.
            (Some(_), State::Stable) if group.is_consumer_group() => None,
            _ => return None,
        };
        Some(Self { retention_ms, since })
    }

    fn is_over(&self, committed: &CommittedOffset, now: Timestamp) -> bool {
        match committed.expires_at {
            Some(expires_at) => expires_at <= now,
            None => self.since.unwrap_or(committed.committed_at) + self.retention_ms <= now,
        }
    }
}
