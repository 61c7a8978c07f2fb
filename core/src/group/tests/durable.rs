//! The naive model: what the acknowledged records say, as a fold over them, and what an answer may promise on it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::protocol::records::{ConsumerGroupCurrentMemberAssignmentValue, GroupMetadataValue};

/// What a restart would find.
#[derive(Default)]
pub(super) struct Durable {
    /// Offsets that count now, of all groups.
    pub(super) offsets: BTreeMap<(String, String, i32), i64>,
    /// Offsets that counted at any time.
    ever: BTreeSet<(String, String, i32, i64)>,
    pub(super) groups: BTreeMap<String, GroupMetadataValue>,
    /// What members of groups of the consumer protocol have, by group and member.
    current: BTreeMap<(String, String), ConsumerGroupCurrentMemberAssignmentValue>,
    /// Transactions are beyond this model, and batches that it did not see.
    is_partial: bool,
}

impl Durable {
    pub(super) fn append(&mut self, append: &Append) {
        self.is_partial |= append.producer.is_some();
        for record in &append.records {
            match decode_log_record(Some(record.key.clone()), record.value.clone()).unwrap() {
                DecodedRecord::Offset(OffsetKey { group, topic, partition }, committed) => {
                    let key = (group.to_string(), topic.to_string(), partition.0);
                    match committed {
                        Some(committed) => {
                            self.ever.insert((key.0.clone(), key.1.clone(), key.2, committed.offset.0));
                            if append.producer.is_none() {
                                self.offsets.insert(key, committed.offset.0);
                            }
                        }
                        None => {
                            self.offsets.remove(&key);
                        }
                    }
                }
                DecodedRecord::Group(group, Some(value)) => {
                    self.groups.insert(group.to_string(), value);
                }
                DecodedRecord::Group(group, None) => {
                    self.groups.remove(group.as_str());
                }
                DecodedRecord::Consumer(group, ConsumerGroupPart::Current(member, value)) => {
                    let key = (group.to_string(), member.to_string());
                    match value {
                        Some(value) => self.current.insert(key, value),
                        None => self.current.remove(&key),
                    };
                }
                DecodedRecord::Consumer(..) | DecodedRecord::Other { .. } | DecodedRecord::Unknown(_) => {}
            }
        }
    }

    /// There is more than this model is told of.
    pub(super) fn ignore(&mut self) {
        self.is_partial = true;
    }

    /// That the answer promises nothing that a crash right now could take back.
    pub(super) fn check(&self, request: &Request, answer: &Answer) {
        match (request, answer) {
            (Request::OffsetCommit(asked), Answer::OffsetCommit(response)) => {
                for (topic, answered) in asked.topics.iter().zip(&response.topics) {
                    for (partition, answered) in topic.partitions.iter().zip(&answered.partitions) {
                        let committed = (
                            asked.group_id.to_string(),
                            topic.name.to_string(),
                            partition.partition_index,
                            partition.committed_offset,
                        );
                        let is_durable = self.ever.contains(&committed);
                        assert!(answered.error_code != 0 || is_durable, "answered before it is durable: {asked:?}");
                    }
                }
            }
            (Request::OffsetFetch { group: asked, .. }, Answer::OffsetFetch(answered)) if !self.is_partial => {
                for topic in answered.topics.iter().filter(|topic| topic.topic_id == [0; 16]) {
                    for partition in &topic.partitions {
                        let key = (asked.group_id.to_string(), topic.name.to_string(), partition.partition_index);
                        let durable = self.offsets.get(&key).copied().unwrap_or(-1);
                        assert_eq!(partition.committed_offset, durable, "what is fetched is what is durable: {key:?}");
                    }
                }
            }
            (Request::SyncGroup(asked), Answer::SyncGroup(answered)) if answered.error_code == 0 => {
                let Some(group) = self.groups.get(asked.group_id.as_str()) else {
                    // In a group of the consumer protocol each member has an epoch of its own.
                    let key = (asked.group_id.to_string(), asked.member_id.to_string());
                    let current = self.current.get(&key).expect("a member that is assigned is durable");
                    assert_eq!(current.member_epoch, asked.generation_id);
                    return;
                };
                assert_eq!(group.generation, asked.generation_id);
                let member = group.members.iter().find(|member| member.member_id == asked.member_id);
                let assignment = &member.expect("a member that is assigned is durable").assignment;
                assert_eq!(*assignment, answered.assignment, "an assignment is answered when it is durable");
            }
            (Request::ConsumerGroupHeartbeat(asked), Answer::ConsumerGroupHeartbeat(answered))
                if answered.error_code == 0 && asked.member_epoch != -1 =>
            {
                let member = answered.member_id.clone().unwrap_or_default().to_string();
                let current = self.current.get(&(asked.group_id.to_string(), member));
                let current = current.expect("a member that is answered is durable");
                assert_eq!(current.member_epoch, answered.member_epoch, "an epoch is told when it is durable");
                if let Some(assignment) = &answered.assignment {
                    let durable = current.assigned_partitions.iter().map(|topic| (topic.topic_id, &topic.partitions));
                    let told = assignment.topic_partitions.iter().map(|topic| (topic.topic_id, &topic.partitions));
                    assert!(durable.eq(told), "an assignment is told when it is durable");
                }
            }
            (Request::DeleteGroup(group), Answer::DeleteGroup(answered)) if answered.error_code == 0 => {
                assert!(!self.groups.contains_key(group.as_str()), "a deleted group is gone for good");
                assert!(self.offsets.keys().all(|(of, _, _)| *of != **group), "and its offsets");
            }
            (Request::OffsetDelete(asked), Answer::OffsetDelete(answered)) if answered.error_code == 0 => {
                for topic in &answered.topics {
                    for partition in topic.partitions.iter().filter(|partition| partition.error_code == 0) {
                        let key = (asked.group_id.to_string(), topic.name.to_string(), partition.partition_index);
                        assert!(!self.offsets.contains_key(&key), "a deleted offset is gone for good");
                    }
                }
            }
            _ => {}
        }
    }
}

/// The generations of the group `g` since it came into being or the broker started.
#[derive(Default)]
pub(super) struct Rounds {
    newest: i32,
    /// Who leads each: the instance id, which stays when the member id changes, or the member id.
    leaders: BTreeMap<i32, String>,
}

impl Rounds {
    pub(super) fn from(newest: i32) -> Self {
        Self { newest, leaders: BTreeMap::new() }
    }

    /// That generations grow, and that each has one leader.
    pub(super) fn check(&mut self, request: &Request, answer: &Answer) {
        let (Request::JoinGroup(asked), Answer::JoinGroup(answer)) = (request, answer) else { return };
        // In a group of the consumer protocol nobody leads.
        if answer.error_code != 0 || asked.group_id != "g" || answer.leader.is_empty() {
            return;
        }
        let generation = answer.generation_id;
        assert!(generation >= self.newest, "generations grow: {generation} after {}", self.newest);
        self.newest = generation;
        if answer.leader == answer.member_id {
            let name = asked.group_instance_id.as_ref().unwrap_or(&answer.member_id).to_string();
            let before = self.leaders.insert(generation, name.clone());
            let is_same = before.as_ref().is_none_or(|before| *before == name);
            assert!(is_same, "{before:?} and {name} both lead generation {generation}");
        }
    }
}
