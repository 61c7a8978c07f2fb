//! What the broker has told its clients, and whether what is left agrees with it.
//!
//! | told | survives a kill | survives a loss of power |
//! | --- | --- | --- |
//! | a record of a plain topic is acknowledged, or was fetched | yes | not promised |
//! | a record of a strict topic is acknowledged, or was fetched | yes | yes |
//! | a topic was created, has grown | yes | yes |
//! | a topic was deleted | no topic with its id, and none of its records under its name, ever again | likewise |
//! | a producer id was given out | never given out again | never given out again |
//!
//! Whatever is left: offsets have no gap and each has one record, every record is byte for byte one that a producer
//! sent, and none is there twice, for each value is sent in one batch only and only idempotent producers repeat a batch.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::disk::Crash;

/// A partition by topic name and index.
pub type Partition = (&'static str, i32);

/// Number of a process among those that ran one after another on a machine.
pub type Incarnation = u64;

/// Whether records survive a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As Kafka's default has it.
    Plain,
    /// `flush.messages=1`.
    Strict,
}

/// How a client came to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The broker acknowledged it.
    Acknowledged,
    /// A fetch returned it.
    Shown,
}

#[derive(Debug)]
struct Topic {
    id: [u8; 16],
    partitions: i32,
    /// What it was asked to grow to, which may have been done without an answer.
    partitions_max: i32,
    durability: Durability,
}

/// What was told, by whom.
#[derive(Debug, Default)]
pub struct Promises {
    topics: BTreeMap<&'static str, Topic>,
    /// By partition and offset: the value, and the process that told it last.
    records: BTreeMap<(Partition, i64), (Bytes, Told, Incarnation)>,
    sent: BTreeMap<Partition, BTreeSet<Bytes>>,
    /// Ids of topics that were deleted, as the broker said.
    deleted: BTreeSet<[u8; 16]>,
    /// Ids of topics whose deletion was asked for, by name.
    doomed: BTreeMap<&'static str, [u8; 16]>,
    producer_ids: BTreeSet<i64>,
    incarnation: Incarnation,
    /// The last process that ended with a loss of power.
    power_lost: Option<Incarnation>,
    /// Syncs may fail, and what they lost stays in the page cache until the power goes.
    syncs_fail: bool,
    violations: Vec<String>,
}

impl Promises {
    /// The process that runs now.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The running process has ended.
    pub fn ended(&mut self, crash: Option<Crash>) {
        if crash == Some(Crash::PowerLoss) {
            self.power_lost = Some(self.incarnation);
        }
        self.incarnation += 1;
    }

    /// Whether records of a partition that somebody was told of may have been lost so far.
    #[must_use]
    pub fn may_have_lost(&self, partition: Partition) -> bool {
        self.power_lost.is_some_and(|lost| !self.still_promised(partition, lost))
    }

    /// Syncs may fail from now on.
    pub fn syncs_fail(&mut self) {
        self.syncs_fail = true;
    }

    /// Whether a plain partition may hold what nobody wrote: a start after a kill believes the page cache, as Kafka's does, and
    /// where a sync has failed the device has something else. A strict one is written again, and never is.
    #[must_use]
    pub fn may_be_damaged(&self, partition: Partition) -> bool {
        self.syncs_fail && self.may_have_lost(partition)
    }

    /// A topic was acknowledged.
    pub fn created(&mut self, name: &'static str, id: [u8; 16], partitions: i32, durability: Durability) {
        if self.deleted.contains(&id) || self.doomed.get(name) == Some(&id) {
            self.violations.push(format!("topic {name} was deleted and has its old id again"));
        }
        self.topics.insert(name, Topic { id, partitions, partitions_max: partitions, durability });
    }

    /// A topic is about to be asked to grow.
    pub fn growing(&mut self, name: &'static str, partitions: i32) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions_max = partitions;
        }
    }

    /// A topic has grown.
    pub fn grown(&mut self, name: &'static str, partitions: i32) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.partitions = partitions;
        }
    }

    /// A topic is about to be deleted: nothing of it is promised any more, and nothing of it may come back in the next one.
    pub fn deleting(&mut self, name: &'static str) {
        if let Some(topic) = self.topics.remove(name) {
            self.doomed.insert(name, topic.id);
        }
        self.records.retain(|(partition, _), _| partition.0 != name);
    }

    /// A topic was deleted, as the broker says.
    pub fn deleted(&mut self, name: &'static str) {
        self.deleted.extend(self.doomed.remove(name));
        self.sent.retain(|partition, _| partition.0 != name);
    }

    /// A record was shown by that process.
    pub fn shown(&mut self, partition: Partition, offset: i64, value: Bytes, by: Incarnation) {
        self.told(partition, offset, value, Told::Shown, by);
    }

    /// Topics that were acknowledged.
    #[must_use]
    pub fn topics(&self) -> Vec<(&'static str, i32)> {
        self.topics.iter().map(|(name, topic)| (*name, topic.partitions)).collect()
    }

    /// A producer is about to send these values.
    pub fn sent(&mut self, partition: Partition, values: &[Bytes]) {
        self.sent.entry(partition).or_default().extend(values.iter().cloned());
    }

    /// A producer id was given out.
    pub fn given(&mut self, producer_id: i64) {
        if !self.producer_ids.insert(producer_id) {
            self.violations.push(format!("producer id {producer_id} was given out twice"));
        }
    }

    /// A record was acknowledged or shown by that process.
    pub fn told(&mut self, partition: Partition, offset: i64, value: Bytes, told: Told, by: Incarnation) {
        if self.may_be_damaged(partition) {
            return;
        }
        if told == Told::Shown && !self.sent.get(&partition).is_some_and(|sent| sent.contains(&value)) {
            self.violations
                .push(format!("{partition:?} offset {offset}: shown {}, which was never sent", text(&value)));
        }
        if let Some((before, how, since)) = self.records.get(&(partition, offset))
            && *before != value
            && self.still_promised(partition, *since)
            && self.still_promised(partition, by)
        {
            self.violations.push(format!(
                "{partition:?} offset {offset}: {} was {how:?} by process {since}, then {} was {told:?} by process {by}",
                text(before),
                text(&value)
            ));
        }
        // What an old process told and a newer one confirmed is the newer one's promise.
        let latest = self.records.get(&(partition, offset)).map_or(by, |(_, _, since)| by.max(*since));
        self.records.insert((partition, offset), (value, told, latest));
    }

    fn still_promised(&self, partition: Partition, by: Incarnation) -> bool {
        let strict = self.topics.get(partition.0).is_some_and(|topic| topic.durability == Durability::Strict);
        strict || self.power_lost.is_none_or(|lost| by > lost)
    }

    /// Something else that must not be.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Everything that is wrong, given all that is left.
    #[must_use]
    pub fn check(&self, left: &Left) -> Vec<String> {
        let mut violations = self.violations.clone();
        for (name, topic) in &self.topics {
            match left.topics.get(*name) {
                None => violations.push(format!("topic {name} was acknowledged and is gone")),
                Some((id, _)) if *id != topic.id => violations.push(format!("topic {name} has another id")),
                Some((_, partitions)) if !(topic.partitions..=topic.partitions_max).contains(partitions) => {
                    violations
                        .push(format!("topic {name} has {partitions} partitions instead of {}", topic.partitions));
                }
                Some(_) => {}
            }
        }
        for (name, (id, _)) in &left.topics {
            if self.deleted.contains(id) {
                violations.push(format!("topic {name} was deleted and is there"));
            }
        }
        for ((partition, offset), (value, told, by)) in &self.records {
            if !self.still_promised(*partition, *by) {
                continue;
            }
            let found = left.records.get(partition).and_then(|records| records.get(usize::try_from(*offset).ok()?));
            if found != Some(value) {
                violations.push(format!(
                    "{partition:?} offset {offset}: {} was {told:?} by process {by}, and {} is left",
                    text(value),
                    found.map_or("nothing".into(), text)
                ));
            }
        }
        let mut seen = BTreeMap::new();
        for (partition, records) in left.records.iter().filter(|(partition, _)| !self.may_be_damaged(**partition)) {
            for (offset, value) in records.iter().enumerate() {
                if !self.sent.get(partition).is_some_and(|sent| sent.contains(value)) {
                    violations.push(format!("{partition:?} offset {offset} is {}, which was never sent", text(value)));
                }
                if let Some(before) = seen.insert(value, (partition, offset)) {
                    violations.push(format!("{} is at {before:?} and again at {partition:?} {offset}", text(value)));
                }
            }
        }
        violations.extend(left.faults.iter().cloned());
        violations
    }
}

/// What is there at the end, as a client reads it.
#[derive(Debug, Default)]
pub struct Left {
    /// Id and number of partitions by name.
    pub topics: BTreeMap<String, ([u8; 16], i32)>,
    /// The values of each partition, from offset 0 on.
    pub records: BTreeMap<Partition, Vec<Bytes>>,
    /// What the reader found wrong while it read.
    pub faults: Vec<String>,
}

/// The beginning of a value, which names its producer, batch and record.
fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(&value[..value.len().min(10)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Partition = ("plain", 0);
    const STRICT: Partition = ("strict", 0);

    fn value(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Two topics with one record each, acknowledged by process 0.
    fn promised() -> Promises {
        let mut promises = Promises::default();
        promises.created("plain", [1; 16], 1, Durability::Plain);
        promises.created("strict", [2; 16], 1, Durability::Strict);
        for partition in [PLAIN, STRICT] {
            promises.sent(partition, &[value(partition.0)]);
            promises.told(partition, 0, value(partition.0), Told::Acknowledged, 0);
        }
        promises
    }

    fn left(plain: &[&'static str], strict: &[&'static str]) -> Left {
        let records = |values: &[&'static str]| values.iter().map(|text| value(text)).collect();
        Left {
            topics: BTreeMap::from([("plain".into(), ([1; 16], 1)), ("strict".into(), ([2; 16], 1))]),
            records: BTreeMap::from([(PLAIN, records(plain)), (STRICT, records(strict))]),
            faults: Vec::new(),
        }
    }

    #[test]
    fn what_is_whole_is_not_accused() {
        assert_eq!(promised().check(&left(&["plain"], &["strict"])), [""; 0]);
    }

    #[test]
    fn a_loss_of_power_may_take_plain_records_and_a_kill_may_not() {
        let mut killed = promised();
        killed.ended(Some(Crash::Kill));
        assert_eq!(killed.check(&left(&[], &["strict"])).len(), 1);
        let mut lost = promised();
        lost.ended(Some(Crash::PowerLoss));
        assert_eq!(lost.check(&left(&[], &["strict"])), [""; 0]);
        assert_eq!(lost.check(&left(&[], &[])).len(), 1);
    }

    #[test]
    fn each_other_breach_is_named() {
        let breaches = [
            left(&["plain", "plain"], &["strict"]),
            left(&["plain"], &["strict", "torn"]),
            Left { topics: BTreeMap::from([("plain".into(), ([1; 16], 1))]), ..left(&["plain"], &["strict"]) },
            Left {
                topics: BTreeMap::from([("plain".into(), ([9; 16], 1)), ("strict".into(), ([2; 16], 2))]),
                ..left(&["plain"], &["strict"])
            },
        ];
        for (breach, count) in breaches.iter().zip([1, 1, 1, 2]) {
            assert_eq!(promised().check(breach).len(), count, "{:?}", promised().check(breach));
        }
        let mut promises = promised();
        promises.given(7);
        promises.given(7);
        promises.sent(STRICT, &[value("other")]);
        promises.told(STRICT, 0, value("other"), Told::Shown, 0);
        promises.told(PLAIN, 1, value("invented"), Told::Shown, 0);
        assert!(promises.check(&left(&["plain"], &["strict"])).len() >= 3);
    }

    #[test]
    fn a_deleted_topic_is_gone_for_good_and_its_successor_is_another() {
        let mut promises = promised();
        promises.deleting("strict");
        assert_eq!(promises.check(&left(&["plain"], &[])), [""; 0], "it may be there still");
        promises.deleted("strict");
        assert_eq!(promises.check(&left(&["plain"], &[])).len(), 1, "the old id is listed");
        promises.created("strict", [3; 16], 1, Durability::Strict);
        let successor = |values: &[&'static str]| {
            let mut left = left(&["plain"], values);
            left.topics.insert("strict".into(), ([3; 16], 1));
            left
        };
        assert_eq!(promises.check(&successor(&[])), [""; 0]);
        assert_eq!(promises.check(&successor(&["strict"])).len(), 1, "a record of the old one");
        promises.created("strict", [2; 16], 1, Durability::Strict);
        assert_eq!(promises.check(&successor(&[])).len(), 2, "the old id again, and not the one that is there");
    }

    #[test]
    fn a_topic_has_grown_when_it_was_said_and_may_have_before() {
        let mut promises = promised();
        let grown = |partitions| {
            let mut left = left(&["plain"], &["strict"]);
            left.topics.insert("strict".into(), ([2; 16], partitions));
            left
        };
        assert_eq!(promises.check(&grown(2)).len(), 1, "nobody has asked for it");
        promises.growing("strict", 2);
        assert_eq!(promises.check(&grown(1)), [""; 0]);
        assert_eq!(promises.check(&grown(2)), [""; 0]);
        promises.grown("strict", 2);
        assert_eq!(promises.check(&grown(1)).len(), 1);
    }
}
