//! A group as it stands in the log, and what it shows of itself.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::log_record::group_record;
use super::super::message::{detached, detached_text};
use super::super::turn::{Turn, Wishes};
use super::{ClassicGroup, Member, Protocol, State};
use crate::base::Timestamp;
use crate::coordinator::LogRecord;
use crate::coordinator::Now;
use crate::protocol::KafkaString;
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::records::GroupMetadataValue;
use crate::protocol::records::group_metadata_value::MemberMetadata;
use crate::protocol::wire::{EncodeError, Reader};

impl ClassicGroup {
    /// The group as a record, with these assignments instead of those that are in force.
    pub(in super::super) fn record(&self, assignments: &[(KafkaString, Bytes)]) -> Result<LogRecord, EncodeError> {
        let protocol = self.protocol_name.as_deref().unwrap_or_default();
        let assignment = |id: &KafkaString| {
            let place = assignments.binary_search_by(|(member_id, _)| member_id.cmp(id));
            place.ok().and_then(|place| assignments.get(place)).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
        };
        let member = |member: &Member| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.wishes.rebalance_timeout_ms,
            session_timeout: member.wishes.session_timeout_ms,
            subscription: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment: assignment(&member.id),
        };
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.since.0,
            members: self.members.values().map(member).collect(),
        };
        group_record(&self.id, &value)
    }

    /// The record of a group that was just made and has nothing yet.
    pub(in super::super) fn first_record(&self) -> Result<LogRecord, EncodeError> {
        let value = GroupMetadataValue { current_state_timestamp: self.since.0, ..Default::default() };
        group_record(&self.id, &GroupMetadataValue { protocol: None, leader: None, ..value })
    }

    pub(super) fn assignments(&self) -> Vec<(KafkaString, Bytes)> {
        self.members.values().map(|member| (member.id.clone(), member.assignment.clone())).collect()
    }

    /// The group that a record tells of. What is kept is copied.
    ///
    /// Its members have no deadlines yet, see [`resume`](Self::resume).
    pub(in super::super) fn loaded(id: KafkaString, value: &GroupMetadataValue) -> Self {
        let mut group = Self::new(id, Timestamp(value.current_state_timestamp));
        let protocol_type = detached_text(&value.protocol_type);
        let protocol_name = value.protocol.as_deref().map(detached_text);
        for member in &value.members {
            let rebalance_timeout_ms =
                if member.rebalance_timeout == -1 { member.session_timeout } else { member.rebalance_timeout };
            // Only the chosen protocol is in the log; a member that supports others joins with them again.
            let protocol =
                Protocol { name: protocol_name.clone().unwrap_or_default(), metadata: detached(&member.subscription) };
            let id = detached_text(&member.member_id);
            // No broker writes a member twice; of bytes that say so the last ones count.
            let namesake =
                member.group_instance_id.as_deref().and_then(|instance| group.static_member(instance).cloned());
            namesake.iter().chain([&id]).for_each(|id| drop(group.take_member(id)));
            group.add_member(Member {
                id,
                instance_id: member.group_instance_id.as_deref().map(detached_text),
                client_id: detached_text(&member.client_id),
                client_host: detached_text(&member.client_host),
                protocol_type: protocol_type.clone(),
                wishes: Wishes {
                    protocols: vec![protocol],
                    session_timeout_ms: member.session_timeout,
                    rebalance_timeout_ms,
                },
                assignment: detached(&member.assignment),
                join: None,
                sync: None,
                is_new: false,
                deadline: None,
            });
        }
        group.state = if group.members.is_empty() { State::Empty } else { State::Stable };
        group.generation = value.generation;
        group.protocol_type = (!protocol_type.is_empty()).then_some(protocol_type);
        group.protocol_name = protocol_name;
        if let Some(leader) = value.leader.as_deref().filter(|leader| group.members.contains_key(*leader)) {
            group.leader = Some(detached_text(leader));
        }
        group
    }

    /// A stable group of consumers.
    pub(in super::super) fn stable(turn: &Turn<'_>, id: KafkaString, generation: i32, members: Vec<Member>) -> Self {
        let mut group = Self::new(id, turn.now.wall);
        members.into_iter().for_each(|member| group.add_member(member));
        group.generation = generation;
        group.protocol_name = group.select_protocol();
        group.state = State::Stable;
        group.resume(turn.now);
        group
    }

    /// Starts the sessions of a loaded group.
    pub(in super::super) fn resume(&mut self, now: Now) {
        for member in self.members.values_mut() {
            let deadline = now.monotonic.plus_ms(super::millis(member.wishes.session_timeout_ms));
            member.deadline = Some(deadline);
        }
        self.wake = self.members.values().filter_map(|member| member.deadline).min();
    }

    pub(in super::super) fn describe(&self) -> DescribedGroup {
        let is_stable = self.state == State::Stable;
        let protocol = self.protocol_name.clone().filter(|_| is_stable).unwrap_or_default();
        let member = |member: &Member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            // What members told is known to fit together only while the group is stable.
            member_metadata: member.metadata(&protocol).filter(|_| is_stable).cloned().unwrap_or_default(),
            member_assignment: member.assignment.clone(),
        };
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: KafkaString::from_static(self.state.name()),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.clone(),
            members: self.members.values().map(member).collect(),
            ..Default::default()
        }
    }

    pub(in super::super) fn list(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            group_state: KafkaString::from_static(self.state.name()),
            group_type: KafkaString::from_static("classic"),
        }
    }

    /// The topics that the members of a consumer group read; `None` if that is not known, or if it is no such group.
    ///
    /// Made when it is asked for: kept, it could take many times the memory of the metadata that it is read from.
    pub(in super::super) fn subscribed_topics(&self) -> Option<BTreeSet<KafkaString>> {
        if !self.is_consumer_group() {
            return None;
        }
        let mut topics = BTreeSet::new();
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol_name.as_deref()?;
        for member in self.members.values() {
            // Every version begins as version 0: its number, then the topics.
            let mut reader = Reader::new(member.metadata(protocol)?.clone());
            reader.field("version").i16().ok().filter(|version| *version >= 0)?;
            topics.extend(reader.field("topics").array(false, 2, |reader| reader.string(false)).ok()?);
        }
        Some(topics)
    }
}

/// Which topics a group reads, as far as it can be known.
#[derive(Debug)]
pub(in super::super) struct Subscription {
    topics: Option<BTreeSet<KafkaString>>,
    otherwise: bool,
}

impl ClassicGroup {
    pub(in super::super) fn subscription(&self) -> Subscription {
        // A consumer group that cannot be understood may read anything.
        Subscription { topics: self.subscribed_topics(), otherwise: self.is_consumer_group() }
    }
}

impl Subscription {
    pub(in super::super) fn has(&self, topic: &str) -> bool {
        self.topics.as_ref().map_or(self.otherwise, |topics| topics.contains(topic))
    }
}
