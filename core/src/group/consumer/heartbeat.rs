//! ConsumerGroupHeartbeat: a member joins, tells what it reads and has, is told what it is to have, leaves.

use std::collections::BTreeSet;

use regex::Regex;

use super::assignor::{Assignor, Partitions};
use super::member::{Member, Told};
use super::records::partitions;
use super::subscription::compiled;
use super::{ConsumerGroup, LEAVES, LEAVES_FOR_A_WHILE, RecordKey};
use crate::coordinator::{RequestId, is_too_long};
use crate::group::message::{Answer, Request, RequestContext, beginning, detached_text};
use crate::group::settings::GroupSettings;
use crate::group::turn::Turn;
use crate::limits::{CLIENT_NAME_BYTES_MAX, GROUP_MEMBERS_MAX};
use crate::protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::protocol::{ErrorCode, KafkaString};

/// First version in which clients make their member ids themselves.
const CLIENT_MAKES_ID_FROM: i16 = 1;

/// What a name takes in a record besides its text.
const NAME_OVERHEAD_BYTES: usize = 4;

/// Why a heartbeat is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Refusal {
    pub(in super::super) code: ErrorCode,
    pub(in super::super) message: String,
}

impl Refusal {
    pub(in super::super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(in super::super) fn answer(&self) -> ConsumerGroupHeartbeatResponse {
        let error_message = Some(KafkaString::from(self.message.clone()));
        ConsumerGroupHeartbeatResponse { error_code: self.code.0, error_message, ..Default::default() }
    }
}

/// That a request says what one of its kind has to say, whatever the group.
pub(in super::super) fn check(
    settings: &GroupSettings,
    version: i16,
    asked: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(ErrorCode::INVALID_REQUEST, why));
    let is_empty = |text: &Option<KafkaString>| text.as_deref().is_some_and(str::is_empty);
    let has_id = !asked.member_id.is_empty();
    let texts = [&asked.instance_id, &asked.rack_id, &asked.subscribed_topic_regex, &asked.server_assignor];
    let names = asked.subscribed_topic_names.iter().flatten();
    if asked.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if texts.into_iter().flatten().chain(names).chain([&asked.group_id, &asked.member_id]).any(|text| is_too_long(text))
    {
        return invalid("A text is longer than the log of the group can carry.");
    }
    let bytes: usize = asked.subscribed_topic_names.iter().flatten().map(|name| NAME_OVERHEAD_BYTES + name.len()).sum();
    if bytes > settings.batch_bytes_max / 4 {
        return invalid(
            "The subscribed topic names are more than the log of the group can carry; subscribe to a pattern.",
        );
    }
    if is_empty(&asked.instance_id) {
        return invalid("InstanceId can't be empty.");
    }
    if is_empty(&asked.rack_id) {
        return invalid("RackId can't be empty.");
    }
    if !has_id && (asked.member_epoch != 0 || version >= CLIENT_MAKES_ID_FROM) {
        return invalid("MemberId can't be empty.");
    }
    match asked.member_epoch {
        0 => {
            if asked.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if asked.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            // They may be empty: a client whose own pattern matches nothing yet joins so.
            if asked.subscribed_topic_names.is_none() && asked.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        LEAVES_FOR_A_WHILE if asked.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < LEAVES_FOR_A_WHILE => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(name) = asked.server_assignor.as_deref()
        && !settings.consumer.assignors.iter().any(|assignor| assignor.name() == name)
    {
        let known: Vec<&str> = settings.consumer.assignors.iter().map(|assignor| assignor.name()).collect();
        let known = known.join(", ");
        let message = format!("ServerAssignor {name} is not supported. Supported assignors: {known}.");
        return Err(Refusal::new(ErrorCode::UNSUPPORTED_ASSIGNOR, message));
    }
    Ok(())
}

impl ConsumerGroup {
    /// Answers a heartbeat that [`check`] has passed.
    pub(in super::super) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        id: RequestId,
        context: &RequestContext,
        asked: &ConsumerGroupHeartbeatRequest,
    ) {
        let answer = if asked.member_epoch < 0 { self.leave(turn, asked) } else { self.beat(turn, context, asked) };
        self.write(turn);
        match answer {
            Ok(response) => {
                let refusal = Request::ConsumerGroupHeartbeat(Default::default());
                turn.answer_when_written(id, Answer::ConsumerGroupHeartbeat(response), refusal, context.version);
            }
            Err(refusal) => turn.answer(id, Answer::ConsumerGroupHeartbeat(refusal.answer())),
        }
    }

    fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        asked: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = self.check_known(&asked.member_id, asked.instance_id.as_deref())?;
        if asked.member_epoch == LEAVES {
            self.remove_member(turn.metadata, &id);
        } else {
            self.release(turn, &id);
        }
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: asked.member_epoch,
            ..Default::default()
        })
    }

    fn beat(
        &mut self,
        turn: &mut Turn<'_>,
        context: &RequestContext,
        asked: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        if self.is_dead {
            return Err(Refusal::new(ErrorCode::COORDINATOR_NOT_AVAILABLE, "The group is being deleted."));
        }
        let owned = asked.topic_partitions.as_ref();
        let owned = owned.map(|topics| partitions(topics.iter().map(|its| (its.topic_id, &its.partitions[..]))));
        let regex = self.new_pattern(asked)?;
        let id = if asked.member_epoch == 0 {
            self.admit(turn, context, asked)?
        } else {
            let id = self.check_known(&asked.member_id, asked.instance_id.as_deref())?;
            self.check_epoch(asked, owned.as_ref())?;
            id
        };
        self.update(turn, &id, context, asked, regex);
        let wait_ms = self.assign(turn);
        let is_changed = self.reconcile(turn, &id, owned.as_ref());
        self.touch(turn, &id);
        let tells_all = asked.rebalance_timeout_ms != -1
            && (asked.subscribed_topic_names.is_some() || asked.subscribed_topic_regex.is_some())
            && owned.is_some();
        let member = self.members.get(&id);
        let assigned = member.map(|member| &member.holding.assigned);
        let is_told = asked.member_epoch == 0 || tells_all || is_changed;
        // Whoever waits for the next assignment comes again when that may be made.
        let interval_ms = turn.settings.consumer.of_group(turn.metadata, &self.id).heartbeat_interval_ms;
        let interval_ms =
            wait_ms.map_or(interval_ms, |wait_ms| interval_ms.min(i32::try_from(wait_ms).unwrap_or(i32::MAX)));
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: member.map_or(0, Member::epoch),
            heartbeat_interval_ms: interval_ms.max(1),
            assignment: assigned.filter(|_| is_told).map(assignment),
            ..Default::default()
        })
    }

    /// The pattern that a request brings, if nobody has subscribed to it yet.
    fn new_pattern(&self, asked: &ConsumerGroupHeartbeatRequest) -> Result<Option<Regex>, Refusal> {
        match &asked.subscribed_topic_regex {
            Some(text) if !text.is_empty() && !self.patterns.contains_key(text) => {
                compiled(text).map(Some).map_err(|error| {
                    let message = format!("SubscribedTopicRegex {text} is not a valid regular expression: {error}");
                    Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, message)
                })
            }
            _ => Ok(None),
        }
    }

    /// The id of a member that there is, which keeps no request alive.
    fn check_known(&self, member_id: &str, instance_id: Option<&str>) -> Result<KafkaString, Refusal> {
        if let Some(instance_id) = instance_id {
            self.check_instance(member_id, instance_id).map_err(|code| {
                let message = match code {
                    ErrorCode::FENCED_INSTANCE_ID => {
                        format!(
                            "Static member {member_id} with instance id {instance_id} was fenced by another member."
                        )
                    }
                    _ => format!("Instance id {instance_id} is unknown."),
                };
                Refusal::new(code, message)
            })?;
        }
        self.members.get(member_id).map(|member| member.id.clone()).ok_or_else(|| {
            let message = format!("Member {member_id} is not a member of group {}.", self.id);
            Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, message)
        })
    }

    /// The member may be behind by one answer that was lost, if it has nothing that it should not have.
    fn check_epoch(&self, asked: &ConsumerGroupHeartbeatRequest, owned: Option<&Partitions>) -> Result<(), Refusal> {
        let Some(holding) = self.members.get(&asked.member_id).map(|member| &member.holding) else { return Ok(()) };
        let (received, known) = (asked.member_epoch, holding.epoch);
        let is_within = |owned: &Partitions| {
            owned.iter().all(|(topic, indexes)| holding.assigned.get(topic).is_some_and(|its| indexes.is_subset(its)))
        };
        if received == known || received < known && received == holding.previous_epoch && owned.is_some_and(is_within) {
            return Ok(());
        }
        let what = if received > known { "greater" } else { "smaller" };
        let message = format!(
            "The consumer group member has a {what} member epoch ({received}) than the one known by the group coordinator \
             ({known}). The member must abandon all its partitions and rejoin."
        );
        Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, message))
    }

    /// A member joins, or joins again. Its id.
    fn admit(
        &mut self,
        turn: &Turn<'_>,
        context: &RequestContext,
        asked: &ConsumerGroupHeartbeatRequest,
    ) -> Result<KafkaString, Refusal> {
        let id = match asked.member_id.as_str() {
            "" => crate::base::Uuid::from_random(context.random).to_string().into(),
            id => detached_text(id),
        };
        let namesake = asked.instance_id.as_ref().and_then(|it| self.static_members.get(it)).cloned();
        // One that asks again under its own id has lost an answer.
        if let Some(before) = namesake.filter(|before| *before != id) {
            // Of two kinds of clients the later one counts, as when a group changes over.
            let is_released = |member: &Member| member.holding.epoch == LEAVES_FOR_A_WHILE || member.is_classic();
            if !self.members.get(&before).is_some_and(is_released) {
                let message = format!(
                    "Static member {id} with instance id {} cannot join the group because the instance id is owned by \
                     {before} member.",
                    asked.instance_id.as_deref().unwrap_or_default()
                );
                return Err(Refusal::new(ErrorCode::UNRELEASED_INSTANCE_ID, message));
            }
            self.replace(&before, &id);
            return Ok(id);
        }
        if self.members.contains_key(&id) {
            return Ok(id);
        }
        let size_max = turn.settings.consumer.group_size_max.min(GROUP_MEMBERS_MAX);
        if self.members.len() >= size_max {
            let message = format!("The consumer group has reached its maximum capacity of {size_max} members.");
            return Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message));
        }
        self.add_member(Member::new(id.clone()));
        Ok(id)
    }

    /// Takes over what a member tells of itself.
    fn update(
        &mut self,
        turn: &Turn<'_>,
        id: &KafkaString,
        context: &RequestContext,
        asked: &ConsumerGroupHeartbeatRequest,
        regex: Option<Regex>,
    ) {
        let Some(member) = self.members.get(id) else { return };
        let mut told = member.told.clone();
        let detached = |text: &KafkaString| detached_text(text);
        told.instance_id = asked.instance_id.as_ref().map(detached).or(told.instance_id);
        told.rack_id = asked.rack_id.as_ref().map(detached).or(told.rack_id);
        if asked.rebalance_timeout_ms != -1 {
            told.rebalance_timeout_ms = asked.rebalance_timeout_ms;
        }
        if let Some(name) = asked.server_assignor.as_deref() {
            told.assignor = Assignor::of_name(name);
        }
        if let Some(names) = &asked.subscribed_topic_names {
            told.names = names.iter().map(detached).collect::<BTreeSet<_>>();
        }
        if let Some(text) = &asked.subscribed_topic_regex {
            told.pattern = (!text.is_empty()).then(|| detached_text(text));
        }
        told.client_id = detached_text(beginning(&context.client_id, CLIENT_NAME_BYTES_MAX));
        told.client_host = detached_text(beginning(&context.client_host, CLIENT_NAME_BYTES_MAX));
        told.classic = None;
        self.tell(turn, id, told, regex);
    }

    /// A member is as it tells from now on. The group is another one if it reads something else, or if what there is to be
    /// read is something else.
    pub(super) fn tell(&mut self, turn: &Turn<'_>, id: &KafkaString, told: Told, regex: Option<Regex>) {
        let Some(member) = self.members.get(id) else { return };
        let before = &member.told;
        let reads_otherwise = told.names != before.names || told.pattern != before.pattern;
        if told != *before || !member.is_known {
            let no_more = before.pattern.clone().filter(|text| told.pattern.as_ref() != Some(text));
            if let (Some(text), Some(regex)) = (&told.pattern, &regex) {
                self.add_pattern(text, regex, turn.metadata, turn.now.wall);
            }
            if let Some(instance_id) = &told.instance_id {
                self.static_members.insert(instance_id.clone(), id.clone());
            }
            self.change_member(id, |member| (member.told, member.is_known) = (told, true));
            self.drop_unused_pattern(no_more.as_ref());
            self.unwritten.insert(RecordKey::Member(id.clone()));
        }
        let has_other_topics = self.has_other_topics(turn.metadata, turn.now.wall);
        if reads_otherwise || has_other_topics {
            self.bump(turn.metadata);
        }
    }
}

fn assignment(assigned: &Partitions) -> Assignment {
    let topics = assigned.iter().map(|(topic, indexes)| TopicPartitions {
        topic_id: topic.0,
        partitions: indexes.iter().map(|index| index.0).collect(),
    });
    Assignment { topic_partitions: topics.collect() }
}
