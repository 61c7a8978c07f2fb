//! Creating, growing and deleting topics: what is asked, what the image says, and the records that follow.
//!
//! Pure functions. Checks come in Kafka's order, so that a request with several faults gets the same code from us as
//! from Kafka 4.3; the table of cases in the tests was answered by a real broker first. Authorization comes before,
//! in the server: a topic that the client may not see never gets here.

use std::collections::{BTreeMap, BTreeSet};

use super::image::{ConfigResource, ConfigResourceKind, MetadataImage, Partition, Topic};
use super::placement::Placement;
use super::records::MetadataRecord;
use super::refusal::{Refusal, RefusalKind};
use super::topic_name::{METADATA_TOPIC_NAME, check_topic_name};
use crate::base::{PartitionIndex, TopicId, Uuid};
use crate::limits::{CONFIG_TEXT_BYTES_MAX, CREATE_TOPICS_PARTITIONS_MAX, METADATA_CHANGE_RECORDS_MAX};

/// A topic that a client wants.
#[derive(Clone, Debug, Default)]
pub struct NewTopic<'a> {
    /// Name.
    pub name: &'a str,
    /// Number of partitions; −1 for the broker's default or for replicas by hand.
    pub partition_count: i32,
    /// Number of replicas; −1 for the broker's default or for replicas by hand.
    pub replication_factor: i16,
    /// Replicas by hand: partition number and node ids, preferred leader first. Empty for a choice of ours.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Settings other than the defaults; a later one of the same name wins.
    pub configs: Vec<(&'a str, Option<&'a str>)>,
}

/// What the broker's own configuration says about new topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partition_count: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
}

/// A topic that will be there once the records are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Identity.
    pub id: TopicId,
    /// Number of partitions.
    pub partition_count: i32,
    /// Number of replicas of each.
    pub replication_factor: i16,
}

/// Records to append, and for each thing asked an answer that holds once they are on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<A> {
    /// One atomic batch. Empty if nothing changes.
    pub records: Vec<MetadataRecord>,
    /// Answers in the order of the request; something that was asked for twice is answered once, as Kafka does.
    pub answers: Vec<A>,
}

/// The outcome for one topic that was named.
pub type TopicAnswer<T> = (String, Result<T, Refusal>);

/// Checks the settings of a topic, by name; an error says what is wrong.
pub type ValidateConfigs<'a> = &'a dyn Fn(&BTreeMap<&str, &str>) -> Result<(), String>;

/// Decides a CreateTopics request.
///
/// `random` yields 128 random bits at each call, for topic ids and for where placement begins.
pub fn create_topics(
    image: &MetadataImage,
    wanted: &[NewTopic<'_>],
    validate_only: bool,
    defaults: TopicDefaults,
    validate_configs: ValidateConfigs<'_>,
    random: &mut dyn FnMut() -> u128,
) -> Decision<TopicAnswer<CreatedTopic>> {
    let refuse_all = |refusal: &Refusal| Decision {
        records: Vec::new(),
        answers: wanted.iter().map(|topic| (topic.name.to_owned(), Err(refusal.clone()))).collect(),
    };
    let repeated = repeated(wanted.iter().map(|topic| topic.name));
    let eligible = |topic: &&NewTopic<'_>| !repeated.contains(topic.name) && topic.name != METADATA_TOPIC_NAME;
    let partitions: i64 = wanted.iter().filter(eligible).map(|topic| partitions_asked(topic, defaults)).sum();
    if partitions > CREATE_TOPICS_PARTITIONS_MAX as i64 {
        let message = format!(
            "{partitions} partitions are too many for one request; at most {CREATE_TOPICS_PARTITIONS_MAX} are possible"
        );
        return refuse_all(&Refusal::new(RefusalKind::PolicyViolation, message));
    }

    let (mut records, mut answers, mut answered) = (Vec::new(), Vec::new(), BTreeSet::new());
    for topic in wanted {
        if !answered.insert(topic.name) {
            continue;
        }
        let outcome = if repeated.contains(topic.name) {
            Err(Refusal::new(RefusalKind::InvalidRequest, "the request names this topic more than once"))
        } else if topic.name == METADATA_TOPIC_NAME {
            Err(Refusal::new(RefusalKind::InvalidRequest, "the topic of the metadata log cannot be created"))
        } else {
            create_topic(image, topic, defaults, validate_configs, random).map(|(created, mut more)| {
                records.append(&mut more);
                created
            })
        };
        answers.push((topic.name.to_owned(), outcome));
    }
    if let Some(refusal) = too_many_records(&records) {
        return refuse_all(&refusal);
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answers }
}

/// Decides which topics a Metadata request brings into being by naming them.
///
/// A name that cannot be a topic's is INVALID_TOPIC_EXCEPTION; whatever else stands against it, the topic just stays
/// unknown, as clients expect from Metadata.
pub fn auto_create_topics(
    image: &MetadataImage,
    wanted: &[NewTopic<'_>],
    defaults: TopicDefaults,
    validate_configs: ValidateConfigs<'_>,
    random: &mut dyn FnMut() -> u128,
) -> Decision<TopicAnswer<CreatedTopic>> {
    let mut decision = create_topics(image, wanted, false, defaults, validate_configs, random);
    for (name, outcome) in &mut decision.answers {
        if let Err(refusal) = outcome
            && check_topic_name(name).is_ok()
        {
            refusal.kind = RefusalKind::UnknownTopicOrPartition;
        }
    }
    decision
}

/// More partitions that a client wants for a topic.
#[derive(Clone, Debug, Default)]
pub struct NewPartitions<'a> {
    /// Name of the topic.
    pub name: &'a str,
    /// How many partitions it shall have in all.
    pub partition_count: i32,
    /// Replicas by hand of each partition that is added; `None` for a choice of ours.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Decides a CreatePartitions request.
pub fn create_partitions(
    image: &MetadataImage,
    wanted: &[NewPartitions<'_>],
    validate_only: bool,
    random: &mut dyn FnMut() -> u128,
) -> Decision<TopicAnswer<()>> {
    let repeated = repeated(wanted.iter().map(|topic| topic.name));
    let (mut records, mut answers, mut answered) = (Vec::new(), Vec::new(), BTreeSet::new());
    for topic in wanted {
        if !answered.insert(topic.name) {
            continue;
        }
        let outcome = if repeated.contains(topic.name) {
            Err(Refusal::new(RefusalKind::InvalidRequest, "the request names this topic more than once"))
        } else {
            let room = METADATA_CHANGE_RECORDS_MAX - records.len();
            grow_topic(image, topic, room, random).map(|mut more| records.append(&mut more))
        };
        answers.push((topic.name.to_owned(), outcome));
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answers }
}

/// A topic that a client wants gone: a name, or an id other than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicToDelete<'a> {
    /// Name.
    pub name: Option<&'a str>,
    /// Identity; zero if the name says which.
    pub id: TopicId,
}

/// What became of one topic to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDeletion {
    /// Name, if the client said it or the topic was found.
    pub name: Option<String>,
    /// Identity; zero if the topic was not found by its name.
    pub id: TopicId,
    /// Whether it goes.
    pub outcome: Result<(), Refusal>,
}

/// Decides a DeleteTopics request.
pub fn delete_topics(image: &MetadataImage, unwanted: &[TopicToDelete<'_>]) -> Decision<TopicDeletion> {
    let repeated_names = repeated(unwanted.iter().filter_map(|topic| topic.name));
    let repeated_ids = repeated(unwanted.iter().map(|topic| topic.id).filter(|id| *id != Uuid::ZERO));
    let by_id: BTreeSet<TopicId> = unwanted.iter().filter(|topic| topic.name.is_none()).map(|topic| topic.id).collect();
    let named_too: BTreeSet<TopicId> = unwanted
        .iter()
        .filter(|topic| topic.id == Uuid::ZERO)
        .filter_map(|topic| image.topic_id(topic.name?))
        .filter(|id| by_id.contains(id))
        .collect();

    let (mut records, mut answers) = (Vec::new(), Vec::new());
    let (mut asked, mut found) = (BTreeSet::new(), BTreeSet::new());
    for topic in unwanted {
        let answer = match (topic.name, topic.id) {
            (None, Uuid::ZERO) => {
                refuse_deletion(topic, RefusalKind::InvalidRequest, "neither a name nor an id says which topic")
            }
            (Some(_), id) if id != Uuid::ZERO => refuse_deletion(
                topic,
                RefusalKind::InvalidRequest,
                "a topic is named by its name or by its id, not by both",
            ),
            (Some(name), _) if repeated_names.contains(name) => {
                refuse_deletion(topic, RefusalKind::InvalidRequest, "the request names this topic more than once")
            }
            (None, id) if repeated_ids.contains(&id) => {
                refuse_deletion(topic, RefusalKind::InvalidRequest, "the request names this topic id more than once")
            }
            (Some(name), _) => match image.topic(name) {
                Some(found) => deletion(found, &named_too),
                None => refuse_deletion(topic, RefusalKind::UnknownTopicOrPartition, "there is no topic of that name"),
            },
            (None, id) => match image.topic_by_id(id) {
                Some(found) => deletion(found, &named_too),
                None => refuse_deletion(topic, RefusalKind::UnknownTopicId, "there is no topic with that id"),
            },
        };
        if answer.outcome.is_ok()
            && let Some(found) = image.topic_by_id(answer.id)
        {
            records.extend(removal_records(image, found));
        }
        // What was asked twice, in whatever way, is answered once.
        let anonymous = topic.name.is_none() && topic.id == Uuid::ZERO;
        let again = !asked.insert((topic.name, topic.id));
        let found_again = answer.name.is_some() && answer.id != Uuid::ZERO && !found.insert(answer.id);
        if anonymous || !(again || found_again) {
            answers.push(answer);
        }
    }
    if let Some(refusal) = too_many_records(&records) {
        records.clear();
        answers
            .iter_mut()
            .filter(|answer| answer.outcome.is_ok())
            .for_each(|answer| answer.outcome = Err(refusal.clone()));
    }
    Decision { records, answers }
}

/// The removal of the topic says that of its settings too, and our image takes it so. But a broker of Kafka 4.3 that
/// reads the removal, and then a new topic of that name, in one go, as at its start, shows the new one with the old
/// one's settings: so they are taken back one by one before.
fn removal_records(image: &MetadataImage, topic: &Topic) -> Vec<MetadataRecord> {
    let resource = ConfigResource { kind: ConfigResourceKind::TOPIC, name: topic.name.to_string() };
    let settings = image.topic_config(&topic.name).into_iter().flat_map(|overrides| overrides.keys());
    let mut records: Vec<_> = settings
        .map(|name| MetadataRecord::Config { resource: resource.clone(), name: name.clone(), value: None })
        .collect();
    records.push(MetadataRecord::RemoveTopic { id: topic.id });
    records
}

fn refuse_deletion(topic: &TopicToDelete<'_>, kind: RefusalKind, message: &str) -> TopicDeletion {
    let name = topic.name.map(str::to_owned);
    TopicDeletion { name, id: topic.id, outcome: Err(Refusal::new(kind, message)) }
}

fn deletion(topic: &Topic, named_too: &BTreeSet<TopicId>) -> TopicDeletion {
    let outcome = if named_too.contains(&topic.id) {
        Err(Refusal::new(RefusalKind::InvalidRequest, "the request names this topic by its name and by its id"))
    } else {
        Ok(())
    };
    TopicDeletion { name: Some(topic.name.to_string()), id: topic.id, outcome }
}

fn create_topic(
    image: &MetadataImage,
    topic: &NewTopic<'_>,
    defaults: TopicDefaults,
    validate_configs: ValidateConfigs<'_>,
    random: &mut dyn FnMut() -> u128,
) -> Result<(CreatedTopic, Vec<MetadataRecord>), Refusal> {
    check_topic_name(topic.name).map_err(|error| Refusal::new(RefusalKind::InvalidTopic, error.to_string()))?;
    if image.topic(topic.name).is_some() {
        let message = format!("there is already a topic named {}", topic.name);
        return Err(Refusal::new(RefusalKind::TopicAlreadyExists, message));
    }
    // Two such topics in one request pass, as in Kafka: it looks at those that exist.
    if let Some(other) = image.similar_topic(topic.name) {
        let message = format!(
            "{} differs from the topic {other} only in '.' and '_'; metrics could not tell them apart",
            topic.name
        );
        return Err(Refusal::new(RefusalKind::InvalidTopic, message));
    }
    let configs = check_configs(&topic.configs, validate_configs)?;
    let partitions = place_partitions(image, topic, defaults, random)?;

    let id = Uuid::from_random(random());
    let resource = ConfigResource { kind: ConfigResourceKind::TOPIC, name: topic.name.to_owned() };
    let replication_factor = partitions.first().map_or(0, |first| first.replicas.len());
    let created = CreatedTopic {
        id,
        partition_count: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replication_factor).unwrap_or(i16::MAX),
    };
    let mut records = vec![MetadataRecord::Topic { name: topic.name.to_owned(), id }];
    records.extend(configs.into_iter().map(|(name, value)| MetadataRecord::Config {
        resource: resource.clone(),
        name: name.to_owned(),
        value: Some(value.to_owned()),
    }));
    records.extend((0..).zip(partitions).map(|(index, partition)| MetadataRecord::Partition {
        topic_id: id,
        index: PartitionIndex(index),
        partition,
    }));
    Ok((created, records))
}

fn check_configs<'a>(
    configs: &[(&'a str, Option<&'a str>)],
    validate_configs: ValidateConfigs<'_>,
) -> Result<BTreeMap<&'a str, &'a str>, Refusal> {
    let mut checked = BTreeMap::new();
    for &(name, value) in configs {
        let refuse = |message: String| Refusal::new(RefusalKind::InvalidConfig, message);
        let value = value.ok_or_else(|| refuse(format!("the topic setting {name} has no value")))?;
        // Kafka reads no longer text from its metadata log.
        if name.len().max(value.len()) > CONFIG_TEXT_BYTES_MAX {
            return Err(refuse(format!("a topic setting is longer than {CONFIG_TEXT_BYTES_MAX} bytes")));
        }
        checked.insert(name, value);
    }
    validate_configs(&checked).map_err(|message| Refusal::new(RefusalKind::InvalidConfig, message))?;
    Ok(checked)
}

fn place_partitions(
    image: &MetadataImage,
    topic: &NewTopic<'_>,
    defaults: TopicDefaults,
    random: &mut dyn FnMut() -> u128,
) -> Result<Vec<Partition>, Refusal> {
    if !topic.assignments.is_empty() {
        if topic.replication_factor != -1 || topic.partition_count != -1 {
            let message = "with replicas named by hand, the numbers of partitions and of replicas must both be -1";
            return Err(Refusal::new(RefusalKind::InvalidRequest, message));
        }
        return place_by_hand(image, &topic.assignments);
    }
    let replicas = match topic.replication_factor {
        -1 => defaults.replication_factor,
        replicas => replicas,
    };
    let Some(replicas) = usize::try_from(replicas).ok().filter(|replicas| *replicas > 0) else {
        let message = format!("{replicas} replicas cannot be; at least 1, or -1 for the broker's default");
        return Err(Refusal::new(RefusalKind::InvalidReplicationFactor, message));
    };
    let partitions = match topic.partition_count {
        -1 => defaults.partition_count,
        partitions => partitions,
    };
    let Some(partitions) = usize::try_from(partitions).ok().filter(|partitions| *partitions > 0) else {
        let message = format!("{partitions} partitions cannot be; at least 1, or -1 for the broker's default");
        return Err(Refusal::new(RefusalKind::InvalidPartitions, message));
    };
    Placement::new(image).choose(partitions, replicas, random())
}

fn place_by_hand(image: &MetadataImage, assignments: &[(i32, Vec<i32>)]) -> Result<Vec<Partition>, Refusal> {
    let refuse = |message: String| Refusal::new(RefusalKind::InvalidReplicaAssignment, message);
    let placement = Placement::new(image);
    let mut by_index = BTreeMap::new();
    let replicas = assignments.first().map(|(_, replicas)| replicas.len());
    for (index, nodes) in assignments {
        let partition = placement.by_hand(nodes, replicas)?;
        if by_index.insert(*index, partition).is_some() {
            return Err(refuse(format!("partition {index} is assigned more than once")));
        }
    }
    if let Some((missing, _)) = (0..).zip(by_index.keys()).find(|(expected, index)| expected != *index) {
        return Err(refuse(format!(
            "partition {missing} is not assigned; partitions are numbered from 0 without gaps"
        )));
    }
    Ok(by_index.into_values().collect())
}

fn grow_topic(
    image: &MetadataImage,
    wanted: &NewPartitions<'_>,
    room: usize,
    random: &mut dyn FnMut() -> u128,
) -> Result<Vec<MetadataRecord>, Refusal> {
    let Some(topic) = image.topic(wanted.name) else {
        return Err(Refusal::new(RefusalKind::UnknownTopicOrPartition, "there is no topic of that name"));
    };
    let present = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
    let added = match usize::try_from(i64::from(wanted.partition_count) - i64::from(present)) {
        Ok(added) if added > 0 => added,
        _ => {
            let message = format!(
                "{} has {present} partitions and can only get more; {} was asked for",
                wanted.name, wanted.partition_count
            );
            return Err(Refusal::new(RefusalKind::InvalidPartitions, message));
        }
    };
    if added > room {
        let message = format!(
            "{added} more partitions are too many for one request; at most {METADATA_CHANGE_RECORDS_MAX} are possible"
        );
        return Err(Refusal::new(RefusalKind::PolicyViolation, message));
    }
    let replicas = topic.partitions.values().next().map_or(1, |partition| partition.replicas.len());
    let placement = Placement::new(image);
    let partitions = match &wanted.assignments {
        None => placement.choose(added, replicas, random())?,
        Some(assignments) if assignments.len() != added => {
            let message = format!("{added} partitions are added, but replicas are named for {}", assignments.len());
            return Err(Refusal::new(RefusalKind::InvalidReplicaAssignment, message));
        }
        Some(assignments) => {
            assignments.iter().map(|nodes| placement.by_hand(nodes, Some(replicas))).collect::<Result<_, _>>()?
        }
    };
    let records = (present..).zip(partitions).map(|(index, partition)| MetadataRecord::Partition {
        topic_id: topic.id,
        index: PartitionIndex(index),
        partition,
    });
    Ok(records.collect())
}

pub(super) fn repeated<T: Ord + Copy>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}

fn partitions_asked(topic: &NewTopic<'_>, defaults: TopicDefaults) -> i64 {
    match (topic.assignments.len(), topic.partition_count) {
        (0, -1) => i64::from(defaults.partition_count),
        (0, count) => i64::from(count.max(0)),
        (assigned, _) => i64::try_from(assigned).unwrap_or(i64::MAX),
    }
}

pub(super) fn too_many_records(records: &[MetadataRecord]) -> Option<Refusal> {
    (records.len() > METADATA_CHANGE_RECORDS_MAX).then(|| {
        let message = format!(
            "the request makes {} metadata records, one for each topic, new partition and setting; at most {METADATA_CHANGE_RECORDS_MAX} are possible at once",
            records.len()
        );
        Refusal::new(RefusalKind::PolicyViolation, message)
    })
}

#[cfg(test)]
mod tests;
