//! What a group shows of itself.

use super::ConsumerGroup;
use super::assignor::Partitions;
use super::member::Member;
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;
use crate::protocol::KafkaString;
use crate::protocol::messages::consumer_group_describe_response::{self as response, DescribedGroup};
use crate::protocol::messages::list_groups_response::ListedGroup;

/// Kafka's numbers of members that speak the classic protocol, and the consumer protocol.
const MEMBER_TYPE_CLASSIC: i8 = 0;
const MEMBER_TYPE_CONSUMER: i8 = 1;

/// Kafka's name of the type of such groups.
const TYPE: &str = "consumer";

impl ConsumerGroup {
    pub(in super::super) fn describe(&self, turn: &Turn<'_>) -> DescribedGroup {
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: KafkaString::from_static(self.state_name()),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: KafkaString::from_static(self.assignor(turn).name()),
            members: self.members.values().map(|member| member.describe(turn.metadata)).collect(),
            ..Default::default()
        }
    }

    pub(in super::super) fn list(&self) -> ListedGroup {
        ListedGroup {
            group_id: self.id.clone(),
            protocol_type: KafkaString::from_static(TYPE),
            group_state: KafkaString::from_static(self.state_name()),
            group_type: KafkaString::from_static(TYPE),
        }
    }
}

impl Member {
    fn describe(&self, metadata: &MetadataImage) -> response::Member {
        response::Member {
            member_id: self.id.clone(),
            instance_id: self.told.instance_id.clone(),
            rack_id: self.told.rack_id.clone(),
            member_epoch: self.epoch(),
            client_id: self.told.client_id.clone(),
            client_host: self.told.client_host.clone(),
            subscribed_topic_names: self.told.names.iter().cloned().collect(),
            subscribed_topic_regex: self.told.pattern.clone(),
            assignment: named(&self.holding.assigned, metadata),
            target_assignment: named(&self.target, metadata),
            member_type: if self.is_classic() { MEMBER_TYPE_CLASSIC } else { MEMBER_TYPE_CONSUMER },
        }
    }
}

/// Partitions of topics that are still there, with their names.
fn named(partitions: &Partitions, metadata: &MetadataImage) -> response::Assignment {
    let topics = partitions.iter().filter_map(|(id, indexes)| {
        let topic = metadata.topic_by_id(*id)?;
        Some(response::TopicPartitions {
            topic_id: id.0,
            topic_name: KafkaString::copied(&topic.name),
            partitions: indexes.iter().map(|index| index.0).collect(),
        })
    });
    response::Assignment { topic_partitions: topics.collect() }
}
