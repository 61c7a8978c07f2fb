//! Assignors of the broker: who reads what of the topics that its group has subscribed to (KIP-848).
//!
//! | assignor | gives |
//! | --- | --- |
//! | `uniform` | each member as many partitions as the others, as far as subscriptions allow, and as few moves as that takes |
//! | `range` | each member a run of partitions of each topic, the same of topics that are as large and have the same readers |
//!
//! Both give each partition of a topic to exactly one of the members that have subscribed to it, and depend on nothing but
//! their arguments.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{PartitionIndex, TopicId};
use crate::protocol::KafkaString;

/// Partitions by topic.
pub(in crate::group) type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// What each member is to read, by member id.
pub(in crate::group) type Assignments = BTreeMap<KafkaString, Partitions>;

/// A member, as an assignor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::group) struct Subscriber {
    /// Name of a static member.
    pub(in crate::group) instance_id: Option<KafkaString>,
    /// The topics that there are of its subscription.
    pub(in crate::group) topics: BTreeSet<TopicId>,
    /// What it was given last.
    pub(in crate::group) given: Partitions,
}

/// How partitions are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Kafka's default.
    #[default]
    Uniform,
    /// By runs.
    Range,
}

impl Assignor {
    const ALL: [(Self, &'static str); 2] = [(Self::Uniform, "uniform"), (Self::Range, "range")];

    /// Its name in requests and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(assignor, name)| (assignor == self).then_some(name)).unwrap_or_default()
    }

    /// The assignor of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(assignor, its)| (its == name).then_some(assignor))
    }

    /// Gives the partitions of the topics, of which there are so many of each, to the members.
    pub(in crate::group) fn assign(
        self,
        members: &BTreeMap<KafkaString, Subscriber>,
        counts: &BTreeMap<TopicId, i32>,
    ) -> Assignments {
        match self {
            Self::Uniform => uniform(members, counts),
            Self::Range => range(members, counts),
        }
    }
}

fn indexes(count: i32) -> impl Iterator<Item = PartitionIndex> {
    (0..count).map(PartitionIndex)
}

fn range(members: &BTreeMap<KafkaString, Subscriber>, counts: &BTreeMap<TopicId, i32>) -> Assignments {
    // Static members keep their place by their names, whatever id they come back with.
    let mut order: Vec<(&KafkaString, &Subscriber)> = members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance_id.as_ref().unwrap_or(id), *id));
    let mut assignments: Assignments = members.keys().map(|id| (id.clone(), Partitions::new())).collect();
    for (topic, count) in counts {
        let readers: Vec<&KafkaString> =
            order.iter().filter(|(_, member)| member.topics.contains(topic)).map(|(id, _)| *id).collect();
        let mut left = indexes(*count);
        let each = usize::try_from(*count).unwrap_or(0).checked_div(readers.len()).unwrap_or(0);
        let more = usize::try_from(*count).unwrap_or(0).checked_rem(readers.len()).unwrap_or(0);
        for (place, id) in readers.into_iter().enumerate() {
            let its: BTreeSet<PartitionIndex> = left.by_ref().take(each + usize::from(place < more)).collect();
            if let Some(partitions) = assignments.get_mut(id).filter(|_| !its.is_empty()) {
                partitions.insert(*topic, its);
            }
        }
    }
    assignments
}

fn uniform(members: &BTreeMap<KafkaString, Subscriber>, counts: &BTreeMap<TopicId, i32>) -> Assignments {
    let mut shares = Shares::kept(members, counts);
    shares.give_out(members, counts);
    shares.level();
    shares.assignments(members)
}

/// Who has what while it is given out. Members are known by their places in the order of their ids.
struct Shares {
    /// By topic, who may read it, and who has each of its partitions.
    topics: BTreeMap<TopicId, (Vec<usize>, Vec<Option<usize>>)>,
    /// How many partitions each member has.
    loads: Vec<usize>,
}

impl Shares {
    /// What everybody keeps: what is there still, and was given to nobody before.
    fn kept(members: &BTreeMap<KafkaString, Subscriber>, counts: &BTreeMap<TopicId, i32>) -> Self {
        let mut topics: BTreeMap<TopicId, (Vec<usize>, Vec<Option<usize>>)> = counts
            .iter()
            .map(|(topic, count)| (*topic, (Vec::new(), vec![None; usize::try_from(*count).unwrap_or(0)])))
            .collect();
        let mut loads = vec![0; members.len()];
        for (place, member) in members.values().enumerate() {
            for topic in &member.topics {
                let Some((readers, owners)) = topics.get_mut(topic) else { continue };
                readers.push(place);
                for index in member.given.get(topic).into_iter().flatten() {
                    let owner = usize::try_from(index.0).ok().and_then(|index| owners.get_mut(index));
                    if let (Some(owner @ None), Some(load)) = (owner, loads.get_mut(place)) {
                        *owner = Some(place);
                        *load += 1;
                    }
                }
            }
        }
        Self { topics, loads }
    }

    fn load(&self, place: usize) -> usize {
        self.loads.get(place).copied().unwrap_or(0)
    }

    fn add(&mut self, place: usize) {
        if let Some(load) = self.loads.get_mut(place) {
            *load += 1;
        }
    }

    fn take(&mut self, place: usize) {
        if let Some(load) = self.loads.get_mut(place) {
            *load -= 1;
        }
    }

    /// Gives what nobody has to who has the least, topics with few readers first: those have little choice.
    fn give_out(&mut self, members: &BTreeMap<KafkaString, Subscriber>, counts: &BTreeMap<TopicId, i32>) {
        let mut order: Vec<TopicId> = counts.keys().copied().collect();
        order.sort_by_key(|topic| (self.topics.get(topic).map_or(0, |(readers, _)| readers.len()), *topic));
        for topic in order {
            let Some((readers, mut owners)) = self.topics.remove(&topic) else { continue };
            let mut queue: BTreeSet<(usize, usize)> = readers.iter().map(|place| (self.load(*place), *place)).collect();
            for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
                let Some((load, place)) = queue.pop_first() else { break };
                *owner = Some(place);
                self.add(place);
                queue.insert((load + 1, place));
            }
            self.topics.insert(topic, (readers, owners));
        }
        debug_assert_eq!(self.loads.len(), members.len());
    }

    /// Moves partitions from who has more to who has less, by one or the other topic, until nothing is to be gained.
    fn level(&mut self) {
        let topics: Vec<TopicId> = self.topics.keys().copied().collect();
        // Each move brings two loads nearer to each other, so this ends.
        loop {
            let mut has_moved = false;
            for topic in &topics {
                has_moved |= self.level_topic(*topic);
            }
            if !has_moved {
                return;
            }
        }
    }

    fn level_topic(&mut self, topic: TopicId) -> bool {
        let Some((readers, mut owners)) = self.topics.remove(&topic) else { return false };
        // Partitions by owner, the last one goes first.
        let mut held: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, owner) in owners.iter().enumerate() {
            if let Some(owner) = owner {
                held.entry(*owner).or_default().push(index);
            }
        }
        let mut givers: BTreeSet<(usize, usize)> = held.keys().map(|place| (self.load(*place), *place)).collect();
        let mut takers: BTreeSet<(usize, usize)> = readers.iter().map(|place| (self.load(*place), *place)).collect();
        let mut has_moved = false;
        while let (Some((most, giver)), Some((least, taker))) = (givers.last().copied(), takers.first().copied()) {
            if most <= least + 1 {
                break;
            }
            let Some(index) = held.get_mut(&giver).and_then(Vec::pop) else {
                givers.remove(&(most, giver));
                continue;
            };
            if let Some(owner) = owners.get_mut(index) {
                *owner = Some(taker);
            }
            self.take(giver);
            self.add(taker);
            givers.remove(&(most, giver));
            givers.insert((most - 1, giver));
            if takers.remove(&(most, giver)) {
                takers.insert((most - 1, giver));
            }
            takers.remove(&(least, taker));
            takers.insert((least + 1, taker));
            if givers.remove(&(least, taker)) {
                givers.insert((least + 1, taker));
            }
            has_moved = true;
        }
        self.topics.insert(topic, (readers, owners));
        has_moved
    }

    fn assignments(self, members: &BTreeMap<KafkaString, Subscriber>) -> Assignments {
        let mut shares: Vec<Partitions> = vec![Partitions::new(); members.len()];
        for (topic, (_, owners)) in self.topics {
            for (index, owner) in (0_i32..).zip(owners) {
                if let Some(share) = owner.and_then(|owner| shares.get_mut(owner)) {
                    share.entry(topic).or_default().insert(PartitionIndex(index));
                }
            }
        }
        members.keys().cloned().zip(shares).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Uuid;
    use crate::test_support::Random;

    fn topic(number: u8) -> TopicId {
        Uuid([number; 16])
    }

    fn member(topics: &[u8]) -> Subscriber {
        Subscriber { topics: topics.iter().map(|number| topic(*number)).collect(), ..Subscriber::default() }
    }

    fn named(number: usize) -> KafkaString {
        format!("member {number:03}").into()
    }

    fn counts(all: &[(u8, i32)]) -> BTreeMap<TopicId, i32> {
        all.iter().map(|(number, count)| (topic(*number), *count)).collect()
    }

    fn load(partitions: &Partitions) -> usize {
        partitions.values().map(BTreeSet::len).sum()
    }

    /// That each partition which somebody has subscribed to has one reader, who has subscribed to it.
    fn check(members: &BTreeMap<KafkaString, Subscriber>, counts: &BTreeMap<TopicId, i32>, assigned: &Assignments) {
        assert_eq!(assigned.keys().collect::<Vec<_>>(), members.keys().collect::<Vec<_>>());
        for (topic, count) in counts {
            let mut read = Vec::new();
            for (id, partitions) in assigned {
                let its = partitions.get(topic).cloned().unwrap_or_default();
                assert!(its.is_empty() || members[id].topics.contains(topic));
                read.extend(its);
            }
            read.sort();
            let has_readers = members.values().any(|member| member.topics.contains(topic));
            assert_eq!(read, indexes(if has_readers { *count } else { 0 }).collect::<Vec<_>>());
        }
    }

    fn keep(members: &mut BTreeMap<KafkaString, Subscriber>, assigned: &Assignments) {
        members.iter_mut().for_each(|(id, member)| member.given = assigned[id].clone());
    }

    #[test]
    fn names_are_kafkas() {
        assert_eq!(Assignor::of_name("range"), Some(Assignor::Range));
        assert_eq!(Assignor::of_name("Uniform"), None);
        assert_eq!(Assignor::default().name(), "uniform");
    }

    #[test]
    fn range_gives_runs_in_the_order_of_names() {
        let counts = counts(&[(1, 5), (2, 5), (3, 1)]);
        let mut members: BTreeMap<_, _> = (0..2).map(|number| (named(number), member(&[1, 2, 3]))).collect();
        members.insert(named(2), member(&[3]));
        let assigned = Assignor::Range.assign(&members, &counts);
        check(&members, &counts, &assigned);
        let run = |from: i32, to: i32| (from..to).map(PartitionIndex).collect::<BTreeSet<_>>();
        for number in [1, 2] {
            assert_eq!(assigned[&named(0)][&topic(number)], run(0, 3));
            assert_eq!(assigned[&named(1)][&topic(number)], run(3, 5));
        }
        assert!(assigned[&named(2)].is_empty(), "the first of three has the only partition");
        // A static member that comes back under another id has what it had.
        let first = members.remove(&named(0)).unwrap();
        members.insert("zzz".into(), Subscriber { instance_id: Some("a".into()), ..first });
        assert_eq!(Assignor::Range.assign(&members, &counts)[&KafkaString::from("zzz")][&topic(1)], run(0, 3));
    }

    #[test]
    fn uniform_moves_no_more_than_it_must() {
        let counts = counts(&[(1, 7), (2, 6)]);
        let mut members: BTreeMap<_, _> = (0..3).map(|number| (named(number), member(&[1, 2]))).collect();
        let first = Assignor::Uniform.assign(&members, &counts);
        check(&members, &counts, &first);
        assert_eq!(first.values().map(load).collect::<Vec<_>>(), [5, 4, 4]);
        keep(&mut members, &first);
        assert_eq!(Assignor::Uniform.assign(&members, &counts), first, "nothing has changed");
        // One comes: it gets its share, and nobody else gets anything.
        members.insert(named(3), member(&[1, 2]));
        let second = Assignor::Uniform.assign(&members, &counts);
        check(&members, &counts, &second);
        assert_eq!(load(&second[&named(3)]), 3);
        for number in 0..3 {
            let (before, after) = (&first[&named(number)], &second[&named(number)]);
            assert!(after.iter().all(|(topic, its)| its.is_subset(&before[topic])));
        }
        // One goes: its share is given to the others, who keep what they have.
        keep(&mut members, &second);
        members.remove(&named(0));
        let third = Assignor::Uniform.assign(&members, &counts);
        check(&members, &counts, &third);
        for number in 1..4 {
            let (before, after) = (&second[&named(number)], &third[&named(number)]);
            assert!(before.iter().all(|(topic, its)| its.is_subset(&after[topic])));
        }
    }

    #[test]
    fn uniform_is_even_whatever_everybody_reads() {
        let mut random = Random::new(11);
        for _ in 0..300 {
            let topics = u8::try_from(random.below(5) + 1).unwrap();
            let counts: BTreeMap<TopicId, i32> =
                (0..topics).map(|number| (topic(number), i32::try_from(random.below(12)).unwrap())).collect();
            let is_same = random.once_in(2);
            let mut members: BTreeMap<KafkaString, Subscriber> = BTreeMap::new();
            for number in 0..random.below(8) {
                let its: Vec<u8> = (0..topics).filter(|_| is_same || random.once_in(2)).collect();
                members.insert(named(number), member(&its));
            }
            for _ in 0..3 {
                let assigned = Assignor::Uniform.assign(&members, &counts);
                check(&members, &counts, &assigned);
                // Nobody has two more than somebody who could read what it has.
                for (id, partitions) in &assigned {
                    for (other, theirs) in &assigned {
                        let could = partitions.keys().any(|topic| members[other].topics.contains(topic));
                        assert!(!could || load(partitions) <= load(theirs) + 1, "{id} {other} {assigned:?}");
                    }
                }
                keep(&mut members, &assigned);
                assert_eq!(Assignor::Uniform.assign(&members, &counts), assigned, "nothing has changed");
                // Somebody claims what another one has, one goes, one comes.
                if let Some(given) = members.values().next().map(|member| member.given.clone()) {
                    members.values_mut().last().unwrap().given.extend(given);
                }
                members.pop_first();
                members.insert(named(100 + random.below(50)), member(&[0]));
            }
        }
    }
}
