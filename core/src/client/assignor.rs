//! What the members of a classic group tell each other: which topics they want, and who gets which partitions.
//!
//! The broker passes these bytes on without looking at them, so they must be those of Kafka's own clients: members of
//! several kinds can share a group.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::PartitionIndex;
use crate::protocol::records::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, consumer_protocol_assignment as assignment,
};
use crate::protocol::wire::{DecodeError, EncodeError, Reader, Writer};
use crate::protocol::{KafkaString, Message};

/// Version in which we write both; every client reads it (KIP-429).
const WRITTEN_VERSION: i16 = 1;

/// Partitions by topic.
pub type Assignment = BTreeMap<String, Vec<PartitionIndex>>;

fn write<M: Message>(message: &M) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.i16(WRITTEN_VERSION);
    message.encode(&mut writer, WRITTEN_VERSION)?;
    Ok(writer.into_bytes())
}

/// Reads a message behind its version. Versions to come only add behind what is known, so they are read as the newest
/// that is.
fn read<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    M::decode(&mut reader, version.clamp(0, *M::VERSIONS.end()))
}

/// What a member says when it joins: the topics that it wants.
pub(super) fn encode_subscription(topics: &BTreeSet<String>) -> Result<Bytes, EncodeError> {
    write(&ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| KafkaString::copied(topic)).collect(),
        ..ConsumerProtocolSubscription::default()
    })
}

/// The topics that a member wants.
///
/// # Errors
/// The bytes are no subscription.
pub fn decode_subscription(bytes: Bytes) -> Result<BTreeSet<String>, DecodeError> {
    let subscription: ConsumerProtocolSubscription = read(bytes)?;
    Ok(subscription.topics.iter().map(ToString::to_string).collect())
}

/// What the leader of a group hands to a member.
pub(super) fn encode_assignment(partitions: &Assignment) -> Result<Bytes, EncodeError> {
    let topic = |(topic, partitions): (&String, &Vec<PartitionIndex>)| assignment::TopicPartition {
        topic: KafkaString::copied(topic),
        partitions: partitions.iter().map(|partition| partition.0).collect(),
    };
    write(&ConsumerProtocolAssignment {
        assigned_partitions: partitions.iter().map(topic).collect(),
        ..ConsumerProtocolAssignment::default()
    })
}

/// The partitions that a member has. No bytes at all are none, as for a member that has not synced.
///
/// # Errors
/// The bytes are no assignment.
pub fn decode_assignment(bytes: Bytes) -> Result<Assignment, DecodeError> {
    if bytes.is_empty() {
        return Ok(Assignment::new());
    }
    let assigned: ConsumerProtocolAssignment = read(bytes)?;
    let mut partitions = Assignment::new();
    for topic in assigned.assigned_partitions {
        let of_topic = partitions.entry(topic.topic.to_string()).or_default();
        of_topic.extend(topic.partitions.into_iter().map(PartitionIndex));
        of_topic.sort_unstable();
        of_topic.dedup();
    }
    Ok(partitions)
}

/// Kafka's `range` assignor: each topic's partitions in order, cut into runs for the members that want it, in the order of
/// their names; the first ones get one more if it does not come out even. A topic without a count has no partitions.
#[must_use]
pub fn range_assignment(
    members: &BTreeMap<String, BTreeSet<String>>,
    partition_counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assigned: BTreeMap<String, Assignment> =
        members.keys().map(|member| (member.clone(), Assignment::new())).collect();
    for (topic, count) in partition_counts {
        let wanting: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let takers = i32::try_from(wanting.len()).unwrap_or(i32::MAX).max(1);
        let (each, rest) = (count / takers, count % takers);
        let mut next = 0;
        for (place, member) in (0..).zip(wanting) {
            let end = next + each + i32::from(place < rest);
            if next < end
                && let Some(assignment) = assigned.get_mut(member)
            {
                assignment.insert(topic.clone(), (next..end).map(PartitionIndex).collect());
            }
            next = end;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(wanted: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        wanted
            .iter()
            .map(|(member, topics)| (member.to_string(), topics.iter().map(ToString::to_string).collect()))
            .collect()
    }

    fn flat(assignment: &Assignment) -> Vec<(String, i32)> {
        let of_topic = |(topic, partitions): (&String, &Vec<PartitionIndex>)| {
            partitions.iter().map(|partition| (topic.clone(), partition.0)).collect::<Vec<_>>()
        };
        assignment.iter().flat_map(of_topic).collect()
    }

    #[test]
    fn ranges_are_those_of_kafka() {
        let counts: BTreeMap<String, i32> = [("a".to_owned(), 3), ("b".to_owned(), 4)].into();
        let assigned = range_assignment(&members(&[("x", &["a", "b"]), ("y", &["a", "b"]), ("z", &["b"])]), &counts);
        let of = |member: &str| flat(&assigned[member]).iter().map(|(t, p)| format!("{t}{p}")).collect::<Vec<_>>();
        assert_eq!(of("x"), ["a0", "a1", "b0", "b1"]);
        assert_eq!(of("y"), ["a2", "b2"]);
        assert_eq!(of("z"), ["b3"]);
        assert!(range_assignment(&members(&[]), &counts).is_empty());
        assert!(range_assignment(&members(&[("x", &["none"])]), &counts)["x"].is_empty());
    }

    #[test]
    fn every_partition_goes_to_exactly_one_member_that_wants_it() {
        for count in 0..20 {
            for number in 1..8 {
                let names: Vec<String> = (0..number).map(|member| format!("m{member}")).collect();
                let wanted: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &["t"][..])).collect();
                let assigned = range_assignment(&members(&wanted), &[("t".to_owned(), count)].into());
                let mut all: Vec<i32> = assigned.values().flat_map(flat).map(|(_, p)| p).collect();
                all.sort_unstable();
                assert_eq!(all, (0..count).collect::<Vec<_>>(), "{count} over {number}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_anything_else_is_refused() {
        let topics: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        assert_eq!(decode_subscription(encode_subscription(&topics).unwrap()), Ok(topics));
        let partitions: Assignment = [("t".to_owned(), vec![PartitionIndex(0), PartitionIndex(7)])].into();
        let bytes = encode_assignment(&partitions).unwrap();
        assert_eq!(decode_assignment(bytes.clone()), Ok(partitions));
        assert_eq!(decode_assignment(Bytes::new()), Ok(Assignment::new()));
        for length in 1..bytes.len() - 4 {
            assert!(decode_assignment(bytes.slice(..length)).is_err(), "{length} bytes");
        }
    }
}
