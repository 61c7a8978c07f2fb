//! One member of a group of the consumer protocol.

use std::collections::{BTreeMap, BTreeSet};

use super::assignor::{Assignor, Partitions};
use super::classic_member::ClassicSide;
use super::reconciliation::{Holding, MemberState};
use crate::base::{Monotonic, PartitionIndex, TopicId};
use crate::coordinator::Now;
use crate::protocol::KafkaString;

/// Estimates of what a member, a text and a partition take, in bytes.
const MEMBER_BYTES: usize = 1_024;
const TEXT_BYTES: usize = 48;
const TOPIC_BYTES: usize = 128;
const PARTITION_BYTES: usize = 8;

/// What a member tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Name of a static member.
    pub(super) instance_id: Option<KafkaString>,
    pub(super) rack_id: Option<KafkaString>,
    pub(super) client_id: KafkaString,
    pub(super) client_host: KafkaString,
    /// Topics that it has named.
    pub(super) names: BTreeSet<KafkaString>,
    /// A pattern of names of topics.
    pub(super) pattern: Option<KafkaString>,
    /// Milliseconds in which it gives back what others are to get.
    pub(super) rebalance_timeout_ms: i32,
    /// How it wants partitions to be assigned.
    pub(super) assignor: Option<Assignor>,
    /// What it is in the classic protocol, if it still speaks that.
    pub(super) classic: Option<ClassicSide>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: KafkaString::EMPTY,
            client_host: KafkaString::EMPTY,
            names: BTreeSet::new(),
            pattern: None,
            rebalance_timeout_ms: -1,
            assignor: None,
            classic: None,
        }
    }
}

/// A member.
#[derive(Clone, Debug)]
pub(in super::super) struct Member {
    pub(super) id: KafkaString,
    pub(super) told: Told,
    /// What it is to have.
    pub(super) target: Partitions,
    /// What it has.
    pub(super) holding: Holding,
    /// In which epoch it got each partition that it has, or may still have.
    pub(super) since: BTreeMap<(TopicId, PartitionIndex), i32>,

    pub(super) session_deadline: Option<Monotonic>,
    /// Until when it has to give back.
    pub(super) rebalance_deadline: Option<Monotonic>,
    /// Its own record was read, or is written: parts of a member may come before it when a log is loaded.
    pub(super) is_known: bool,
}

impl Member {
    /// One that has said nothing yet.
    pub(super) fn new(id: KafkaString) -> Self {
        Self {
            id,
            told: Told::default(),
            target: Partitions::new(),
            holding: Holding::default(),
            since: BTreeMap::new(),
            session_deadline: None,
            rebalance_deadline: None,
            is_known: false,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let Told { instance_id, rack_id, client_id, client_host, names, pattern, classic, .. } = &self.told;
        let texts = [&self.id, client_id, client_host];
        let optional = [instance_id, rack_id, pattern].into_iter().flatten();
        let partitions = |partitions: &Partitions| -> usize {
            partitions.values().map(|indexes| TOPIC_BYTES + indexes.len() * PARTITION_BYTES).sum()
        };
        MEMBER_BYTES
            + texts.into_iter().chain(optional).chain(names).map(|text| TEXT_BYTES + text.len()).sum::<usize>()
            + classic.as_ref().map_or(0, ClassicSide::bytes)
            + partitions(&self.target)
            + partitions(&self.holding.assigned)
            + partitions(&self.holding.revoking)
    }

    /// Every partition that it has, or may still have.
    pub(super) fn places(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        let all = self.holding.assigned.iter().chain(&self.holding.revoking);
        all.flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
    }

    /// It has something else from now on.
    pub(super) fn hold(&mut self, next: Holding, now: Now) {
        let is_revoking = next.state == MemberState::UnrevokedPartitions;
        self.holding = next;
        let epoch = self.holding.epoch;
        let since = self.places().map(|place| (place, self.since.get(&place).copied().unwrap_or(epoch))).collect();
        self.since = since;
        self.rebalance_deadline = if is_revoking {
            // Each time it is asked for something it has that long.
            let timeout_ms = u64::try_from(self.told.rebalance_timeout_ms).unwrap_or(0);
            Some(now.monotonic.plus_ms(timeout_ms))
        } else {
            None
        };
    }

    /// Whether it may commit an offset that it read in `epoch`: it has the partition since then, or longer.
    pub(in super::super) fn may_commit(&self, epoch: i32, topic: TopicId, index: PartitionIndex) -> bool {
        epoch == self.holding.epoch
            || epoch < self.holding.epoch && self.since.get(&(topic, index)).is_some_and(|since| *since <= epoch)
    }

    /// Whether it still speaks the classic protocol.
    pub(in super::super) fn is_classic(&self) -> bool {
        self.told.classic.is_some()
    }

    /// The epoch that it works in.
    pub(in super::super) fn epoch(&self) -> i32 {
        self.holding.epoch
    }
}
