//! What the coordinator of a partition does for groups of the consumer protocol.

use std::sync::Arc;

use super::{ConsumerGroup, Refusal, check};
use crate::coordinator::{Now, RequestId};
use crate::group::classic::State;
use crate::group::coordinator::{Group, GroupCoordinator, Kind};
use crate::group::log_record::group_tombstone;
use crate::group::message::{Answer, RequestContext, detached_text};
use crate::group::turn::{Step, Turn, Waiting};
use crate::limits::GROUPS_MAX;
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, consumer_group_describe_response};
use crate::protocol::{ErrorCode, KafkaString};

impl GroupCoordinator {
    pub(in super::super) fn consumer_heartbeat(
        &mut self,
        now: Now,
        id: RequestId,
        context: &RequestContext,
        asked: &ConsumerGroupHeartbeatRequest,
    ) {
        if let Err(refusal) = self.check_consumer_heartbeat(now, context, asked) {
            return self.answer(id, Answer::ConsumerGroupHeartbeat(refusal.answer()));
        }
        self.with_consumer(now, &asked.group_id, |group, turn| group.heartbeat(turn, id, context, asked));
    }

    /// That there is a group of the consumer protocol for this heartbeat; one that joins may bring it into being.
    fn check_consumer_heartbeat(
        &mut self,
        now: Now,
        context: &RequestContext,
        asked: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(), Refusal> {
        check(&self.settings, context.version, asked)?;
        let group_id = &asked.group_id;
        let joins = asked.member_epoch == 0;
        if joins && self.bytes > self.settings.state_bytes_max {
            let message = "This coordinator holds as many groups and members as it may.";
            return Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message));
        }
        let not_found =
            |what: &str| Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {group_id} {what}")));
        match self.groups.get(group_id).map(|group| (&group.kind, group.is_recorded || group.in_flight > 0)) {
            Some((Kind::Consumer(_), _)) => Ok(()),
            // Who was given an id and has not come with it is no member yet.
            Some((Kind::Classic(group), may_be_recorded)) if joins && group.state == State::Empty => {
                let tombstone = may_be_recorded.then(|| group_tombstone(group_id));
                self.become_another(now, group_id, tombstone.into_iter().collect(), |id, _| {
                    Kind::Consumer(Box::new(ConsumerGroup::new(id)))
                });
                Ok(())
            }
            Some((Kind::Classic(group), may_be_recorded)) if joins => {
                let turn = Turn::new(now, &self.settings, &self.metadata);
                let Some(next) = ConsumerGroup::of_classic(&turn, group) else {
                    return not_found("is not a consumer group.");
                };
                self.change_over(now, group_id, may_be_recorded, next);
                Ok(())
            }
            Some(_) => not_found("is not a consumer group."),
            None if !joins => not_found("not found."),
            None if self.groups.len() >= GROUPS_MAX => {
                let message = "This coordinator has as many groups as it may.";
                Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
            }
            None => {
                let id = detached_text(group_id);
                let group = Group::new(Kind::Consumer(Box::new(ConsumerGroup::new(id.clone()))));
                self.bytes += group.bytes();
                self.groups.insert(id, group);
                Ok(())
            }
        }
    }

    /// A classic group becomes one of the consumer protocol. Who waits for its rebalance joins again.
    fn change_over(&mut self, now: Now, id: &KafkaString, may_be_recorded: bool, next: ConsumerGroup) {
        let metadata = Arc::clone(&self.metadata);
        let mut turn = Turn::new(now, &self.settings, &metadata);
        if let Some(Kind::Classic(group)) = self.groups.get_mut(id).map(|group| &mut group.kind) {
            let before = group.bytes();
            group.disband(&mut turn, ErrorCode::REBALANCE_IN_PROGRESS);
            self.bytes = self.bytes - before + group.bytes();
        }
        for step in turn.steps {
            if let Step::Answer(request, answer) = step {
                self.answer(request, answer);
            }
        }
        let tombstone = may_be_recorded.then(|| group_tombstone(id));
        self.become_another(now, id, tombstone.into_iter().collect(), |_, _| Kind::Consumer(Box::new(next)));
    }

    pub(in super::super) fn describe_consumer(&mut self, now: Now, id: RequestId, group_id: KafkaString) {
        let described = self.with_consumer(now, &group_id, |group, turn| group.describe(turn));
        let answer = described.unwrap_or_else(|| {
            let what = if self.groups.contains_key(&group_id) { "is not a consumer group." } else { "not found." };
            consumer_group_describe_response::DescribedGroup {
                error_code: ErrorCode::GROUP_ID_NOT_FOUND.0,
                error_message: Some(format!("Group {group_id} {what}").into()),
                group_id,
                ..Default::default()
            }
        });
        self.answer(id, Answer::DescribeConsumerGroup(answer));
    }

    /// Gives an answer when everything of the group that is on its way is in the log.
    pub(in super::super) fn answer_when_written(&mut self, id: &KafkaString, waiting: Waiting) {
        let group = self.groups.get(id);
        let last = group.filter(|group| group.in_flight > 0).map(|group| group.last_append);
        let is_written = group.is_none_or(|group| !matches!(&group.kind, Kind::Consumer(group) if !group.is_written()));
        match last.and_then(|last| self.appends.get_mut(last)) {
            // Tried just now, and refused before it came to the log.
            _ if !is_written => self.answer(waiting.request, waiting.refusal(ErrorCode::UNKNOWN_SERVER_ERROR)),
            Some(pending) => pending.waiting.push(waiting),
            None => self.answer(waiting.request, *waiting.answer),
        }
    }

    /// Refuses what of a group waits for what is on its way: a part of that is lost.
    pub(in super::super) fn refuse_waiting(&mut self, id: &KafkaString, code: ErrorCode) {
        let of_group = self.appends.changes_mut().filter(|pending| pending.group == *id);
        let refused: Vec<_> = of_group.flat_map(|pending| pending.waiting.drain(..)).collect();
        for waiting in refused {
            self.answer(waiting.request, waiting.refusal(code));
        }
    }
}
