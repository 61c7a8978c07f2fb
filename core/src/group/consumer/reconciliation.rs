//! How a member of a group of KIP-848 gets from what it has to what it is to have.
//!
//! First it gives back what others are to get; only when it has told so it comes to the new epoch, and with it to what is free.
//! What others still have it gets when they have let go. So a partition has one reader at every moment.
//!
//! | state | what it waits for | epoch |
//! | --- | --- | --- |
//! | unrevoked | its own word that it no longer has what it gives back | the old one |
//! | unreleased | others, who have what it is to get | the new one |
//! | stable | the next target | that of the target |

use std::collections::BTreeSet;

use super::assignor::Partitions;
use crate::base::{PartitionIndex, TopicId};

/// How far a member has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::group) enum MemberState {
    /// It has its target.
    #[default]
    Stable,
    /// It is to give partitions back.
    UnrevokedPartitions,
    /// It has given back, and waits for others.
    UnreleasedPartitions,
}

impl MemberState {
    const ALL: [(Self, i8); 3] = [(Self::Stable, 0), (Self::UnrevokedPartitions, 1), (Self::UnreleasedPartitions, 2)];

    /// Its byte in the log.
    pub(in crate::group) fn byte(self) -> i8 {
        Self::ALL.into_iter().find_map(|(state, byte)| (state == self).then_some(byte)).unwrap_or_default()
    }

    /// The state that a byte of the log stands for.
    pub(in crate::group) fn of_byte(byte: i8) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(state, its)| (its == byte).then_some(state))
    }
}

/// What a member has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::group) struct Holding {
    /// Epoch that it works in.
    pub(in crate::group) epoch: i32,
    /// The one before: an answer that was lost leaves the member there.
    pub(in crate::group) previous_epoch: i32,
    /// How far it has got.
    pub(in crate::group) state: MemberState,
    /// What it reads.
    pub(in crate::group) assigned: Partitions,
    /// What it is to give back and may still read.
    pub(in crate::group) revoking: Partitions,
}

/// What a member is to have.
#[derive(Clone, Copy, Debug)]
pub(in crate::group) struct Target<'a> {
    /// Epoch of the assignment.
    pub(in crate::group) epoch: i32,
    /// Its partitions.
    pub(in crate::group) partitions: &'a Partitions,
}

impl Holding {
    /// Its next holding; the same one if there is nothing to do. `owned` is what the member says that it reads, if it says;
    /// `is_free` whether no other member has a partition.
    pub(in crate::group) fn reconciled(
        &self,
        target: Target<'_>,
        owned: Option<&Partitions>,
        is_free: impl Fn(TopicId, PartitionIndex) -> bool,
    ) -> Self {
        match self.state {
            MemberState::Stable if self.epoch == target.epoch => self.clone(),
            MemberState::UnrevokedPartitions if owned.is_none_or(|owned| overlap(owned, &self.revoking)) => {
                self.clone()
            }
            _ => self.next(target, owned, is_free),
        }
    }

    fn next(
        &self,
        target: Target<'_>,
        owned: Option<&Partitions>,
        is_free: impl Fn(TopicId, PartitionIndex) -> bool,
    ) -> Self {
        let kept = select(&self.assigned, |topic, index| contains(target.partitions, topic, index));
        let revoking = select(&self.assigned, |topic, index| !contains(target.partitions, topic, index));
        let wanted = select(target.partitions, |topic, index| !contains(&self.assigned, topic, index));
        if !revoking.is_empty() && owned.is_none_or(|owned| overlap(owned, &revoking)) {
            return Self { state: MemberState::UnrevokedPartitions, assigned: kept, revoking, ..self.clone() };
        }
        let free = select(&wanted, &is_free);
        let is_blocked = count(&free) < count(&wanted);
        let mut assigned = kept;
        for (topic, indexes) in free {
            assigned.entry(topic).or_default().extend(indexes);
        }
        let state = if is_blocked { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        let previous_epoch = if target.epoch == self.epoch { self.previous_epoch } else { self.epoch };
        Self { epoch: target.epoch, previous_epoch, state, assigned, revoking: Partitions::new() }
    }
}

fn contains(partitions: &Partitions, topic: TopicId, index: PartitionIndex) -> bool {
    partitions.get(&topic).is_some_and(|indexes| indexes.contains(&index))
}

fn overlap(some: &Partitions, others: &Partitions) -> bool {
    others.iter().any(|(topic, indexes)| some.get(topic).is_some_and(|its| !its.is_disjoint(indexes)))
}

fn count(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

fn select(partitions: &Partitions, is_wanted: impl Fn(TopicId, PartitionIndex) -> bool) -> Partitions {
    let chosen = partitions.iter().map(|(topic, indexes)| {
        let its: BTreeSet<PartitionIndex> = indexes.iter().copied().filter(|index| is_wanted(*topic, *index)).collect();
        (*topic, its)
    });
    chosen.filter(|(_, indexes)| !indexes.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::Uuid;
    use crate::group::consumer::assignor::{Assignments, Assignor, Subscriber};
    use crate::protocol::KafkaString;
    use crate::test_support::Random;

    /// Whether a member reads a partition, or may still read it.
    fn has(holding: &Holding, topic: TopicId, index: PartitionIndex) -> bool {
        contains(&holding.assigned, topic, index) || contains(&holding.revoking, topic, index)
    }

    fn partitions(indexes: &[i32]) -> Partitions {
        let its: BTreeSet<PartitionIndex> = indexes.iter().map(|index| PartitionIndex(*index)).collect();
        if its.is_empty() { Partitions::new() } else { [(Uuid([1; 16]), its)].into() }
    }

    #[test]
    fn bytes_are_kafkas() {
        for (byte, state) in (0..3).map(|byte| (byte, MemberState::of_byte(byte).unwrap())) {
            assert_eq!(state.byte(), byte);
        }
        assert_eq!(MemberState::of_byte(3), None);
    }

    #[test]
    fn what_others_get_is_given_back_first() {
        let nobody = |_, _| true;
        let before = Holding { epoch: 4, previous_epoch: 3, assigned: partitions(&[0, 1, 2]), ..Holding::default() };
        let wanted = partitions(&[2, 3]);
        let target = Target { epoch: 5, partitions: &wanted };
        let revoking = before.reconciled(target, None, nobody);
        assert_eq!((revoking.state, revoking.epoch), (MemberState::UnrevokedPartitions, 4));
        assert_eq!((&revoking.assigned, &revoking.revoking), (&partitions(&[2]), &partitions(&[0, 1])));
        // It has not said, or has not finished.
        for owned in [None, Some(partitions(&[1, 2]))] {
            assert_eq!(revoking.reconciled(target, owned.as_ref(), nobody), revoking);
        }
        let stable = revoking.reconciled(target, Some(&partitions(&[2])), nobody);
        assert_eq!((stable.state, stable.epoch, stable.previous_epoch), (MemberState::Stable, 5, 4));
        assert_eq!((&stable.assigned, stable.revoking.len()), (&wanted, 0));
        // Somebody has what it is to get.
        let waiting = revoking.reconciled(target, Some(&partitions(&[2])), |_, _| false);
        assert_eq!((waiting.state, waiting.epoch), (MemberState::UnreleasedPartitions, 5));
        assert_eq!(waiting.assigned, partitions(&[2]));
        assert_eq!(waiting.reconciled(target, None, |_, _| false), waiting);
        assert_eq!(waiting.reconciled(target, None, nobody), stable);
        // What it never had need not be given back.
        let never = before.reconciled(target, Some(&Partitions::new()), nobody);
        assert_eq!((never.state, never.assigned), (MemberState::Stable, wanted.clone()));
    }

    /// Members that come, go and heed what they are told, in any order: no partition ever has two readers, and all come to
    /// their targets.
    #[test]
    fn a_partition_has_one_reader_at_every_moment() {
        let mut random = Random::new(5);
        for _ in 0..100 {
            let counts: BTreeMap<TopicId, i32> =
                (1..4).map(|number| (Uuid([number; 16]), i32::try_from(random.below(9)).unwrap())).collect();
            let mut subscribers: BTreeMap<KafkaString, Subscriber> = BTreeMap::new();
            let mut holdings: BTreeMap<KafkaString, Holding> = BTreeMap::new();
            // What each member really reads.
            let mut reading: BTreeMap<KafkaString, Partitions> = BTreeMap::new();
            let mut targets = Assignments::new();
            let mut epoch = 0;
            for step in 0..400 {
                let is_last_part = step >= 200;
                if !is_last_part && random.once_in(10) || step == 0 {
                    epoch += 1;
                    let id: KafkaString = format!("m{}", random.below(6)).into();
                    if subscribers.remove(&id).is_some() {
                        holdings.remove(&id);
                        reading.remove(&id);
                    } else {
                        let topics = counts.keys().copied().filter(|_| !random.once_in(4)).collect();
                        subscribers.insert(id.clone(), Subscriber { topics, ..Subscriber::default() });
                        holdings.insert(id.clone(), Holding::default());
                        reading.insert(id, Partitions::new());
                    }
                    for (id, member) in &mut subscribers {
                        member.given = targets.get(id).cloned().unwrap_or_default();
                    }
                    targets = Assignor::Uniform.assign(&subscribers, &counts);
                }
                let ids: Vec<KafkaString> = holdings.keys().cloned().collect();
                if ids.is_empty() {
                    continue;
                }
                let id = random.pick(&ids).clone();
                // It heeds what it was told last, and says so or not.
                let told = holdings[&id].clone();
                if !random.once_in(3) {
                    reading.insert(id.clone(), told.assigned.clone());
                }
                let owned = (!random.once_in(3)).then(|| reading[&id].clone());
                let is_free =
                    |topic, index| holdings.iter().all(|(other, holding)| *other == id || !has(holding, topic, index));
                let next = told.reconciled(Target { epoch, partitions: &targets[&id] }, owned.as_ref(), is_free);
                assert!(next.epoch >= told.epoch);
                holdings.insert(id, next);
                let mut read = BTreeSet::new();
                for partitions in reading.values() {
                    for (topic, index) in partitions.iter().flat_map(|(t, its)| its.iter().map(move |i| (*t, *i))) {
                        assert!(read.insert((topic, index)), "{topic:?} {index:?} has two readers");
                    }
                }
            }
            for (id, holding) in &holdings {
                assert_eq!(
                    (holding.state, holding.epoch, &holding.assigned),
                    (MemberState::Stable, epoch, &targets[id])
                );
            }
        }
    }
}
