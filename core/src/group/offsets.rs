//! How far one group has come in each partition.
//!
//! Three tiers for each partition: what was committed and counts; what open transactions would commit; and how many
//! commits are on their way to the log, which count only when they are there.

use std::collections::BTreeMap;

use super::log_record::CommittedOffset;
use crate::base::{Offset, PartitionIndex, ProducerId, Uuid};
use crate::protocol::KafkaString;

/// Estimates of what a topic, an offset and a commit on its way take besides their texts, in bytes.
const TOPIC_BYTES: usize = 192;
const OFFSET_BYTES: usize = 192;
const IN_FLIGHT_BYTES: usize = 48;

/// A committed offset and where in `__consumer_offsets` that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) committed: CommittedOffset,
    /// Of two commits of a partition the later record counts, even if a transaction makes it count later.
    pub(super) record_offset: Offset,
}

impl Stored {
    fn bytes(&self) -> usize {
        OFFSET_BYTES + self.committed.metadata.len()
    }
}

#[derive(Debug, Default)]
struct Topic {
    committed: BTreeMap<PartitionIndex, Stored>,
    transactional: BTreeMap<(PartitionIndex, ProducerId), Stored>,
    in_flight: BTreeMap<PartitionIndex, u32>,
}

impl Topic {
    fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.transactional.is_empty() && self.in_flight.is_empty()
    }

    fn is_unstable(&self, partition: PartitionIndex) -> bool {
        let of_partition = (partition, ProducerId(i64::MIN))..=(partition, ProducerId(i64::MAX));
        self.transactional.range(of_partition).next().is_some()
    }
}

/// The offsets of one group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    topics: BTreeMap<KafkaString, Topic>,
    /// Offsets of all tiers.
    count: usize,
    bytes: usize,
}

impl Offsets {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was committed, not even in a transaction that is open. Commits on their way do not count.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.values().all(|topic| topic.committed.is_empty() && topic.transactional.is_empty())
    }

    pub(super) fn has_open_transactions(&self) -> bool {
        self.topics.values().any(|topic| !topic.transactional.is_empty())
    }

    pub(super) fn get(&self, topic: &str, partition: PartitionIndex) -> Option<&Stored> {
        self.topics.get(topic)?.committed.get(&partition)
    }

    /// Whether an open transaction would commit this partition's offset.
    pub(super) fn is_unstable(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.is_unstable(partition))
    }

    /// What was committed, topic by topic.
    pub(super) fn committed(&self) -> impl Iterator<Item = (&KafkaString, &BTreeMap<PartitionIndex, Stored>)> {
        self.topics.iter().map(|(name, topic)| (name, &topic.committed)).filter(|(_, committed)| !committed.is_empty())
    }

    /// Partitions of a topic that a tombstone has to name for nothing to be left, also of what is still on its way.
    pub(super) fn partitions(&self, topic: &str) -> Vec<PartitionIndex> {
        let Some(topic) = self.topics.get(topic) else { return Vec::new() };
        let transactional = topic.transactional.keys().map(|(partition, _)| partition);
        let mut all: Vec<_> =
            topic.committed.keys().chain(transactional).chain(topic.in_flight.keys()).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What was committed for a partition, and what open transactions would commit.
    pub(super) fn stored(&self, topic: &str, partition: PartitionIndex) -> impl Iterator<Item = &Stored> {
        let of_partition = (partition, ProducerId(i64::MIN))..=(partition, ProducerId(i64::MAX));
        self.topics.get(topic).into_iter().flat_map(move |topic| {
            let transactional = topic.transactional.range(of_partition.clone()).map(|(_, stored)| stored);
            topic.committed.get(&partition).into_iter().chain(transactional)
        })
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &KafkaString> {
        self.topics.keys()
    }

    /// Whether anything is known of this partition, or on its way.
    pub(super) fn knows(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.topics.get(topic).is_some_and(|topic| {
            topic.committed.contains_key(&partition)
                || topic.is_unstable(partition)
                || topic.in_flight.contains_key(&partition)
        })
    }

    /// Whether a commit of this partition is on its way.
    pub(super) fn is_in_flight(&self, topic: &str, partition: PartitionIndex) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.in_flight.contains_key(&partition))
    }

    /// Bytes that storing this would add.
    pub(super) fn growth(&self, topic: &str, partition: PartitionIndex, metadata: &str) -> usize {
        match self.topics.get(topic) {
            None => TOPIC_BYTES + topic.len() + OFFSET_BYTES + metadata.len(),
            Some(known) => known.committed.get(&partition).map_or(OFFSET_BYTES + metadata.len(), |before| {
                metadata.len().saturating_sub(before.committed.metadata.len())
            }),
        }
    }

    /// A commit of this partition is on its way.
    pub(super) fn begin(&mut self, topic: &KafkaString, partition: PartitionIndex) {
        let tier = &mut self.topic(topic).in_flight;
        let count = tier.entry(partition).or_default();
        *count += 1;
        if *count == 1 {
            self.grow(IN_FLIGHT_BYTES);
        }
    }

    /// A commit of this partition has arrived, or failed.
    pub(super) fn end(&mut self, topic: &KafkaString, partition: PartitionIndex) {
        let Some(tier) = self.topics.get_mut(topic).map(|topic| &mut topic.in_flight) else { return };
        let Some(count) = tier.get_mut(&partition) else { return };
        *count -= 1;
        if *count == 0 {
            tier.remove(&partition);
            self.shrink(IN_FLIGHT_BYTES);
            self.drop_if_empty(topic);
        }
    }

    /// From now on the group has come this far.
    pub(super) fn put(&mut self, topic: &KafkaString, partition: PartitionIndex, stored: Stored) {
        let bytes = stored.bytes();
        let before = self.topic(topic).committed.insert(partition, stored);
        self.grow(bytes);
        before.into_iter().for_each(|before| self.shrink(before.bytes()));
    }

    /// If the transaction of `producer` is committed, the group has come this far.
    pub(super) fn put_transactional(
        &mut self,
        topic: &KafkaString,
        partition: PartitionIndex,
        producer: ProducerId,
        stored: Stored,
    ) {
        let bytes = stored.bytes();
        let before = self.topic(topic).transactional.insert((partition, producer), stored);
        self.grow(bytes);
        before.into_iter().for_each(|before| self.shrink(before.bytes()));
    }

    /// Forgets a partition, also what open transactions would commit.
    pub(super) fn remove(&mut self, topic: &KafkaString, partition: PartitionIndex) {
        let Some(known) = self.topics.get_mut(topic) else { return };
        let mut gone: Vec<_> = known.committed.remove(&partition).into_iter().collect();
        let of_partition = (partition, ProducerId(i64::MIN))..=(partition, ProducerId(i64::MAX));
        let producers: Vec<_> = known.transactional.range(of_partition).map(|(key, _)| *key).collect();
        gone.extend(producers.iter().filter_map(|key| known.transactional.remove(key)));
        gone.iter().for_each(|stored| self.shrink(stored.bytes()));
        self.drop_if_empty(topic);
    }

    /// A transaction has ended with the marker at `end`: what it would commit counts now, unless something later does
    /// already, or is dropped. True if there is something behind the marker, which the next transaction would commit.
    pub(super) fn end_transaction(&mut self, producer: ProducerId, committed: bool, end: Offset) -> bool {
        let names: Vec<_> = self.topics.keys().cloned().collect();
        let mut is_next_open = false;
        for name in names {
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let ended: Vec<_> = topic
                .transactional
                .extract_if(.., |(_, owner), stored| {
                    let is_next = *owner == producer && stored.record_offset > end;
                    is_next_open |= is_next;
                    *owner == producer && !is_next
                })
                .collect();
            for ((partition, _), stored) in ended {
                self.shrink(stored.bytes());
                let before = self.get(&name, partition);
                if committed && before.is_none_or(|before| before.record_offset < stored.record_offset) {
                    self.put(&name, partition, stored);
                }
            }
            self.drop_if_empty(&name);
        }
        is_next_open
    }

    fn topic(&mut self, name: &KafkaString) -> &mut Topic {
        if !self.topics.contains_key(name) {
            self.bytes += TOPIC_BYTES + name.len();
        }
        self.topics.entry(name.clone()).or_default()
    }

    fn drop_if_empty(&mut self, name: &KafkaString) {
        if self.topics.get(name).is_some_and(Topic::is_empty) {
            self.topics.remove(name);
            self.bytes -= TOPIC_BYTES + name.len();
        }
    }

    fn grow(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes;
    }

    fn shrink(&mut self, bytes: usize) {
        self.count -= 1;
        self.bytes -= bytes;
    }
}

/// Whether a stored offset is not of the topic that is asked for, but of one that had its name before.
pub(super) fn is_of_another_topic(stored: &CommittedOffset, topic_id: Uuid) -> bool {
    stored.topic_id != Uuid::ZERO && topic_id != Uuid::ZERO && stored.topic_id != topic_id
}

#[cfg(test)]
impl Offsets {
    /// That the counts are those of what is there.
    pub(super) fn assert_consistent(&self) {
        let (mut count, mut bytes) = (0, 0);
        for (name, topic) in &self.topics {
            assert!(!topic.is_empty(), "an empty topic is dropped");
            let stored = topic.committed.values().chain(topic.transactional.values());
            count += topic.committed.len() + topic.transactional.len() + topic.in_flight.len();
            bytes += TOPIC_BYTES + name.len() + topic.in_flight.len() * IN_FLIGHT_BYTES;
            bytes += stored.map(Stored::bytes).sum::<usize>();
        }
        assert_eq!((count, bytes), (self.count, self.bytes));
    }
}
