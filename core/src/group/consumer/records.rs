//! A group as it stands in the log: a record for each of its parts.

use std::collections::BTreeSet;

use super::ConsumerGroup;
use super::assignor::{Assignor, Partitions};
use super::classic_member::ClassicSide;
use super::member::Member;
use super::reconciliation::{Holding, MemberState};
use super::subscription::Pattern;
use crate::base::{PartitionIndex, Timestamp, Uuid};
use crate::coordinator::{LogRecord, record_bytes};
use crate::group::classic::Protocol;
use crate::group::message::{detached, detached_text};
use crate::limits::OFFSETS_BATCH_BYTES_MAX;
use crate::protocol::records::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionKey, ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, consumer_group_current_member_assignment_value,
    consumer_group_member_metadata_value::{ClassicMemberMetadata, ClassicProtocol},
    consumer_group_target_assignment_member_value,
};
use crate::protocol::wire::EncodeError;
use crate::protocol::{KafkaString, Record};

/// What a pattern and its topics may take to be recorded together.
const PATTERN_RECORD_BYTES_MAX: usize = OFFSETS_BATCH_BYTES_MAX / 4;

/// A record of a group. They are written in this order: nothing comes before what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum RecordKey {
    /// Who a member is, and what it reads.
    Member(KafkaString),
    /// A pattern and what it matches.
    Pattern(KafkaString),
    /// The group and its epoch.
    Group,
    /// What a member is to have.
    Target(KafkaString),
    /// Epoch of the target.
    TargetMetadata,
    /// What a member has.
    Current(KafkaString),
}

/// What a record says of a group; no value is a tombstone.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The group and its epoch.
    Group(Option<ConsumerGroupMetadataValue>),
    /// Who a member is, and what it reads.
    Member(KafkaString, Option<Box<ConsumerGroupMemberMetadataValue>>),
    /// A pattern and what it matches.
    Pattern(KafkaString, Option<ConsumerGroupRegularExpressionValue>),
    /// Epoch of the target.
    TargetMetadata(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    /// What a member is to have.
    Target(KafkaString, Option<ConsumerGroupTargetAssignmentMemberValue>),
    /// What a member has.
    Current(KafkaString, Option<ConsumerGroupCurrentMemberAssignmentValue>),
    /// What brokers before 4.1 wrote of the topics, which nobody reads any more.
    Obsolete,
}

impl Part {
    /// Whether it is a tombstone, or says nothing.
    pub(in super::super) fn is_gone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Pattern(_, value) => value.is_none(),
            Self::TargetMetadata(value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
            Self::Obsolete => true,
        }
    }
}

fn record<K: Record, V: Record>(key: &K, value: Option<&V>) -> Result<LogRecord, EncodeError> {
    let value = value.map(|value| record_bytes(value, 0, 0)).transpose()?;
    Ok(LogRecord { key: record_bytes(key, K::ID, 0)?, value })
}

impl ConsumerGroup {
    /// A part of the group as a record; a tombstone if there is no such part.
    pub(super) fn record(&self, key: &RecordKey) -> Result<LogRecord, EncodeError> {
        let group_id = self.id.clone();
        match key {
            RecordKey::Group => {
                let value = ConsumerGroupMetadataValue { epoch: self.epoch, metadata_hash: self.metadata_hash };
                record(&ConsumerGroupMetadataKey { group_id }, Some(&value))
            }
            RecordKey::TargetMetadata => {
                let value = ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch: self.target_epoch,
                    assignment_timestamp: self.assigned_at.0,
                };
                record(&ConsumerGroupTargetAssignmentMetadataKey { group_id }, Some(&value))
            }
            RecordKey::Member(id) => {
                let value = self.members.get(id).map(Member::metadata_value);
                record(&ConsumerGroupMemberMetadataKey { group_id, member_id: id.clone() }, value.as_ref())
            }
            RecordKey::Target(id) => {
                let value = self.members.get(id).map(Member::target_value);
                record(&ConsumerGroupTargetAssignmentMemberKey { group_id, member_id: id.clone() }, value.as_ref())
            }
            RecordKey::Current(id) => {
                let value = self.members.get(id).map(Member::current_value);
                record(&ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id: id.clone() }, value.as_ref())
            }
            RecordKey::Pattern(text) => {
                // Of very many topics none: they are looked for again after a start.
                let value = self.patterns.get(text).map(|pattern| ConsumerGroupRegularExpressionValue {
                    topics: pattern
                        .topics
                        .iter()
                        .take_while(|_| pattern.bytes(text) < PATTERN_RECORD_BYTES_MAX)
                        .cloned()
                        .collect(),
                    version: pattern.version,
                    timestamp: pattern.at.0,
                });
                let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression: text.clone() };
                record(&key, value.as_ref())
            }
        }
    }

    /// The records that delete the group itself; members have theirs when they go.
    pub(in super::super) fn tombstones(&self) -> [Result<LogRecord, EncodeError>; 2] {
        let group_id = &self.id;
        [
            record::<_, ConsumerGroupTargetAssignmentMetadataValue>(
                &ConsumerGroupTargetAssignmentMetadataKey { group_id: group_id.clone() },
                None,
            ),
            record::<_, ConsumerGroupMetadataValue>(&ConsumerGroupMetadataKey { group_id: group_id.clone() }, None),
        ]
    }

    /// Takes over what a record says; nothing of its bytes is kept. A group's own tombstone is the caller's.
    pub(in super::super) fn replay(&mut self, part: Part) {
        match part {
            Part::Group(value) => {
                let value = value.unwrap_or_default();
                (self.epoch, self.metadata_hash) = (value.epoch, value.metadata_hash);
            }
            Part::TargetMetadata(value) => {
                let value = value.unwrap_or_default();
                self.target_epoch = value.assignment_epoch;
                self.assigned_at = Timestamp(value.assignment_timestamp);
            }
            Part::Pattern(text, value) => {
                let pattern = value.map(|value| {
                    let topics = value.topics.iter().map(|topic| detached_text(topic)).collect();
                    Pattern { topics, version: value.version, at: Timestamp(value.timestamp) }
                });
                self.put_pattern(detached_text(&text), pattern);
            }
            // Patterns have tombstones of their own: another member may come that reads this one.
            Part::Member(id, None) => drop(self.take_out(&id)),
            Part::Member(id, Some(value)) => self.replay_member(&id, |member| member.take_metadata(&value)),
            Part::Target(id, None) => self.replay_known(&id, |member| member.target = Partitions::new()),
            Part::Target(id, Some(value)) => self.replay_member(&id, |member| {
                member.target =
                    partitions(value.topic_partitions.iter().map(|its| (its.topic_id, &its.partitions[..])));
            }),
            Part::Current(id, None) => self.replay_known(&id, |member| member.take_current(&Default::default())),
            Part::Current(id, Some(value)) => self.replay_member(&id, |member| member.take_current(&value)),
            Part::Obsolete => {}
        }
    }

    /// Changes a member, which may come into being: compaction leaves its parts in any order.
    fn replay_member(&mut self, id: &KafkaString, change: impl FnOnce(&mut Member)) {
        let mut member = self.out(id).unwrap_or_else(|| Member::new(detached_text(id)));
        change(&mut member);
        // No broker has two members of one instance id; of a log that says so the last one counts.
        let namesake = member.told.instance_id.as_ref().and_then(|it| self.static_members.get(it)).cloned();
        namesake.iter().for_each(|id| drop(self.take_out(id)));
        // A log that gives a partition to two members is mended as if the first had given it back.
        let taken: Vec<_> =
            member.places().filter_map(|place| Some((place, self.owners.get(&place)?.clone()))).collect();
        for (place, owner) in taken {
            self.replay_known(&owner, |member| member.lose(place));
        }
        self.add_member(member);
    }

    fn replay_known(&mut self, id: &KafkaString, change: impl FnOnce(&mut Member)) {
        if let Some(mut member) = self.out(id) {
            change(&mut member);
            self.add_member(member);
        }
    }

    /// Takes a member out to be put back.
    fn out(&mut self, id: &KafkaString) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.bytes -= member.bytes();
        if let Some(instance_id) = &member.told.instance_id {
            self.static_members.remove(instance_id);
        }
        for place in member.places() {
            self.owners.remove(&place);
        }
        Some(member)
    }
}

impl Member {
    fn metadata_value(&self) -> ConsumerGroupMemberMetadataValue {
        ConsumerGroupMemberMetadataValue {
            instance_id: self.told.instance_id.clone(),
            rack_id: self.told.rack_id.clone(),
            client_id: self.told.client_id.clone(),
            client_host: self.told.client_host.clone(),
            subscribed_topic_names: self.told.names.iter().cloned().collect(),
            subscribed_topic_regex: self.told.pattern.clone(),
            rebalance_timeout_ms: self.told.rebalance_timeout_ms,
            server_assignor: self.told.assignor.map(|assignor| KafkaString::from_static(assignor.name())),
            classic_member_metadata: self.told.classic.as_ref().map(|side| ClassicMemberMetadata {
                session_timeout_ms: side.session_timeout_ms,
                supported_protocols: side
                    .protocols
                    .iter()
                    .map(|protocol| ClassicProtocol {
                        name: protocol.name.clone(),
                        metadata: protocol.metadata.clone(),
                    })
                    .collect(),
            }),
        }
    }

    fn take_metadata(&mut self, value: &ConsumerGroupMemberMetadataValue) {
        let text = |text: &Option<KafkaString>| text.as_deref().map(detached_text);
        self.told.instance_id = text(&value.instance_id);
        self.told.rack_id = text(&value.rack_id);
        self.told.client_id = detached_text(&value.client_id);
        self.told.client_host = detached_text(&value.client_host);
        self.told.names = value.subscribed_topic_names.iter().map(|name| detached_text(name)).collect();
        self.told.pattern = text(&value.subscribed_topic_regex).filter(|pattern| !pattern.is_empty());
        self.told.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.told.assignor = value.server_assignor.as_deref().and_then(Assignor::of_name);
        self.told.classic = value.classic_member_metadata.as_ref().map(|side| ClassicSide {
            session_timeout_ms: side.session_timeout_ms,
            protocols: side
                .supported_protocols
                .iter()
                .map(|protocol| Protocol {
                    name: detached_text(&protocol.name),
                    metadata: detached(&protocol.metadata),
                })
                .collect(),
        });
        self.is_known = true;
    }

    fn target_value(&self) -> ConsumerGroupTargetAssignmentMemberValue {
        let topic = |(topic, indexes): (&Uuid, &BTreeSet<PartitionIndex>)| {
            consumer_group_target_assignment_member_value::TopicPartition {
                topic_id: topic.0,
                partitions: indexes.iter().map(|index| index.0).collect(),
            }
        };
        ConsumerGroupTargetAssignmentMemberValue { topic_partitions: self.target.iter().map(topic).collect() }
    }

    fn current_value(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        let topic = |(topic, indexes): (&Uuid, &BTreeSet<PartitionIndex>)| {
            let since =
                |index: &PartitionIndex| self.since.get(&(*topic, *index)).copied().unwrap_or(self.holding.epoch);
            consumer_group_current_member_assignment_value::TopicPartitions {
                topic_id: topic.0,
                partitions: indexes.iter().map(|index| index.0).collect(),
                assignment_epochs: Some(indexes.iter().map(since).collect()),
            }
        };
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.holding.epoch,
            previous_member_epoch: self.holding.previous_epoch,
            state: self.holding.state.byte(),
            assigned_partitions: self.holding.assigned.iter().map(topic).collect(),
            partitions_pending_revocation: self.holding.revoking.iter().map(topic).collect(),
        }
    }

    fn take_current(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        let of = |topics: &[consumer_group_current_member_assignment_value::TopicPartitions]| {
            partitions(topics.iter().map(|its| (its.topic_id, &its.partitions[..])))
        };
        self.holding = Holding {
            epoch: value.member_epoch,
            previous_epoch: value.previous_member_epoch,
            // A state that only a later broker knows is one that is looked at again.
            state: MemberState::of_byte(value.state).unwrap_or(MemberState::UnreleasedPartitions),
            assigned: of(&value.assigned_partitions),
            revoking: of(&value.partitions_pending_revocation),
        };
        let all = value.assigned_partitions.iter().chain(&value.partitions_pending_revocation);
        let since = all.flat_map(|its| {
            let epochs = its.assignment_epochs.iter().flatten().copied().chain(std::iter::repeat(value.member_epoch));
            its.partitions.iter().map(|index| (Uuid(its.topic_id), PartitionIndex(*index))).zip(epochs)
        });
        self.since = since.collect();
    }

    pub(super) fn lose(&mut self, (topic, index): (Uuid, PartitionIndex)) {
        for partitions in [&mut self.holding.assigned, &mut self.holding.revoking] {
            if let Some(indexes) = partitions.get_mut(&topic) {
                indexes.remove(&index);
                if indexes.is_empty() {
                    partitions.remove(&topic);
                }
            }
        }
        self.since.remove(&(topic, index));
    }
}

/// Partitions as records and requests have them.
pub(super) fn partitions<'a>(topics: impl Iterator<Item = ([u8; 16], &'a [i32])>) -> Partitions {
    let mut all = Partitions::new();
    for (topic, indexes) in topics.filter(|(_, indexes)| !indexes.is_empty()) {
        all.entry(Uuid(topic)).or_default().extend(indexes.iter().map(|index| PartitionIndex(*index)));
    }
    all
}
