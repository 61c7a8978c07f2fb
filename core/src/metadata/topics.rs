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
    /// Number of replicas of each; −1 if they differ by hand.
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

/// Checks name and value of a topic setting; an error says what is wrong.
pub type ValidateConfig<'a> = &'a dyn Fn(&str, &str) -> Result<(), String>;

/// Decides a CreateTopics request.
///
/// `random` yields 128 random bits at each call, for topic ids and for where placement begins.
pub fn create_topics(
    image: &MetadataImage,
    wanted: &[NewTopic<'_>],
    validate_only: bool,
    defaults: TopicDefaults,
    validate_config: ValidateConfig<'_>,
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
            create_topic(image, topic, defaults, validate_config, random).map(|(created, mut more)| {
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
    validate_config: ValidateConfig<'_>,
    random: &mut dyn FnMut() -> u128,
) -> Decision<TopicAnswer<CreatedTopic>> {
    let mut decision = create_topics(image, wanted, false, defaults, validate_config, random);
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
        if answer.outcome.is_ok() {
            records.push(MetadataRecord::RemoveTopic { id: answer.id });
        }
        // What was asked twice, in whatever way, is answered once.
        let anonymous = topic.name.is_none() && topic.id == Uuid::ZERO;
        let again = !asked.insert((topic.name, topic.id));
        let found_again = answer.name.is_some() && answer.id != Uuid::ZERO && !found.insert(answer.id);
        if anonymous || !(again || found_again) {
            answers.push(answer);
        }
    }
    Decision { records, answers }
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
    validate_config: ValidateConfig<'_>,
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
    let configs = check_configs(&topic.configs, validate_config)?;
    let partitions = place_partitions(image, topic, defaults, random)?;

    let id = Uuid::from_random(random());
    let resource = ConfigResource { kind: ConfigResourceKind::TOPIC, name: topic.name.to_owned() };
    let replication_factor = partitions.first().map_or(0, |first| first.replicas.len());
    let created = CreatedTopic {
        id,
        partition_count: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
        replication_factor: match partitions.iter().all(|partition| partition.replicas.len() == replication_factor) {
            true => i16::try_from(replication_factor).unwrap_or(i16::MAX),
            false => -1,
        },
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
    validate_config: ValidateConfig<'_>,
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
    for (name, value) in &checked {
        validate_config(name, value).map_err(|message| Refusal::new(RefusalKind::InvalidConfig, message))?;
    }
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

fn repeated<T: Ord + Copy>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
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

fn too_many_records(records: &[MetadataRecord]) -> Option<Refusal> {
    (records.len() > METADATA_CHANGE_RECORDS_MAX).then(|| {
        let message = format!(
            "the request makes {} metadata records, one for each topic, partition and setting; at most {METADATA_CHANGE_RECORDS_MAX} are possible at once",
            records.len()
        );
        Refusal::new(RefusalKind::PolicyViolation, message)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::NodeId;
    use crate::metadata::{BrokerEpoch, BrokerRegistration, apply};

    const DEFAULTS: TopicDefaults = TopicDefaults { partition_count: 1, replication_factor: 1 };

    fn image_of_one_broker() -> MetadataImage {
        let mut image = MetadataImage::default();
        let broker = BrokerRegistration {
            id: NodeId(1),
            broker_epoch: BrokerEpoch(5),
            log_dirs: vec![Uuid([7; 16])],
            ..BrokerRegistration::default()
        };
        apply(&mut image, &MetadataRecord::RegisterBroker(broker)).unwrap();
        image
    }

    /// Bits that nothing in `image` was made of.
    fn counter(image: &MetadataImage) -> impl FnMut() -> u128 + use<> {
        let mut state = (image.topic_count() as u128) << 64;
        move || {
            state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
            state
        }
    }

    fn validate_config(name: &str, value: &str) -> Result<(), String> {
        match name {
            "retention.ms" => value.trim().parse::<i64>().map(drop).map_err(|error| error.to_string()),
            _ => Err(format!("unknown topic setting {name}")),
        }
    }

    fn create(image: &MetadataImage, wanted: &[NewTopic<'_>]) -> Decision<TopicAnswer<CreatedTopic>> {
        create_topics(image, wanted, false, DEFAULTS, &validate_config, &mut counter(image))
    }

    fn applied(image: &MetadataImage, records: &[MetadataRecord]) -> MetadataImage {
        let mut next = image.clone();
        for record in records {
            apply(&mut next, record).unwrap();
        }
        next
    }

    fn topic(name: &str, partition_count: i32, replication_factor: i16) -> NewTopic<'_> {
        NewTopic { name, partition_count, replication_factor, ..NewTopic::default() }
    }

    fn assigned<'a>(name: &'a str, assignments: &[(i32, &[i32])]) -> NewTopic<'a> {
        let assignments = assignments.iter().map(|(index, nodes)| (*index, nodes.to_vec())).collect();
        NewTopic { assignments, ..topic(name, -1, -1) }
    }

    fn with<'a>(topic: NewTopic<'a>, configs: &[(&'a str, Option<&'a str>)]) -> NewTopic<'a> {
        NewTopic { configs: configs.to_vec(), ..topic }
    }

    fn codes<T>(answers: &[TopicAnswer<T>]) -> Vec<(&str, i16)> {
        let code = |outcome: &Result<T, Refusal>| outcome.as_ref().err().map_or(0, |refusal| refusal.kind.code());
        answers.iter().map(|(name, outcome)| (name.as_str(), code(outcome))).collect()
    }

    /// The codes are the answers of Apache Kafka 4.3.1, one node, to the same requests.
    #[test]
    fn create_topics_refuses_what_kafka_refuses() {
        let long = "x".repeat(250);
        let cases: Vec<(&str, NewTopic<'_>, i16)> = vec![
            ("plain", topic("a", 2, 1), 0),
            ("defaults", topic("a", -1, -1), 0),
            ("setting", with(topic("a", 1, 1), &[("retention.ms", Some("1000"))]), 0),
            (
                "setting named twice",
                with(topic("a", 1, 1), &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]),
                0,
            ),
            ("exists", topic("there.is", 2, 1), 36),
            ("exists, and a bad setting", with(topic("there.is", 2, 1), &[("nope", Some("1"))]), 36),
            ("no name", topic("", 1, 1), 17),
            ("dot", topic(".", 1, 1), 17),
            ("two dots", topic("..", 1, 1), 17),
            ("blank", topic("a b", 1, 1), 17),
            ("slash", topic("a/b", 1, 1), 17),
            ("not ASCII", topic("\u{e9}", 1, 1), 17),
            ("longest", topic(&long[..249], 1, 1), 0),
            ("too long", topic(&long, 1, 1), 17),
            ("metadata log", topic("__cluster_metadata", 1, 1), 42),
            ("looks internal", topic("__consumer_offsetsx", 1, 1), 0),
            ("similar name", topic("there_is", 1, 1), 17),
            ("similar name, bad setting, no partitions", with(topic("there_is", 0, 1), &[("nope", Some("1"))]), 17),
            ("no partitions", topic("a", 0, 1), 37),
            ("negative partitions", topic("a", -2, 1), 37),
            ("no replicas", topic("a", 1, 0), 38),
            ("negative replicas", topic("a", 1, -2), 38),
            ("more replicas than brokers", topic("a", 1, 2), 38),
            ("no replicas and no partitions", topic("a", 0, 0), 38),
            ("no partitions, too many replicas", topic("a", 0, 9), 37),
            ("by hand with a count", NewTopic { partition_count: 1, ..assigned("a", &[(0, &[1])]) }, 42),
            ("by hand with a factor", NewTopic { replication_factor: 1, ..assigned("a", &[(0, &[1])]) }, 42),
            ("by hand", assigned("a", &[(0, &[1]), (1, &[1])]), 0),
            ("by hand, in another order", assigned("a", &[(1, &[1]), (0, &[1])]), 0),
            ("by hand with a gap", assigned("a", &[(0, &[1]), (2, &[1])]), 39),
            ("by hand from 1", assigned("a", &[(1, &[1])]), 39),
            ("by hand, negative", assigned("a", &[(-1, &[1])]), 39),
            ("by hand, one twice", assigned("a", &[(0, &[1]), (0, &[1])]), 39),
            ("by hand, a broker twice", assigned("a", &[(0, &[1, 1])]), 39),
            ("by hand, nobody", assigned("a", &[(0, &[])]), 39),
            ("by hand, unknown broker", assigned("a", &[(0, &[9])]), 39),
            ("by hand, negative broker", assigned("a", &[(0, &[-1])]), 39),
            ("unknown setting", with(topic("a", 1, 1), &[("nope", Some("1"))]), 40),
            ("bad value", with(topic("a", 1, 1), &[("retention.ms", Some("abc"))]), 40),
            ("null value", with(topic("a", 1, 1), &[("retention.ms", None)]), 40),
            ("empty value", with(topic("a", 1, 1), &[("retention.ms", Some(""))]), 40),
            ("empty setting", with(topic("a", 1, 1), &[("", Some("1"))]), 40),
            ("bad setting and no partitions", with(topic("a", 0, 1), &[("nope", Some("1"))]), 40),
            ("bad setting, by hand", with(assigned("a", &[(0, &[9])]), &[("nope", Some("1"))]), 40),
            ("too many partitions", topic("a", 10_001, 1), 44),
            ("most partitions", topic("a", 9_999, 1), 0),
            ("a record too many", topic("a", 10_000, 1), 44),
            ("a setting too many", with(topic("a", 9_999, 1), &[("retention.ms", Some("1"))]), 44),
        ];
        let empty = image_of_one_broker();
        let image = applied(&empty, &create(&empty, &[topic("there.is", 1, 1)]).records);
        for (label, wanted, code) in cases {
            let decision = create(&image, std::slice::from_ref(&wanted));
            assert_eq!(codes(&decision.answers), [(wanted.name, code)], "{label}");
            assert_eq!(decision.records.is_empty(), code != 0, "{label}");
            if let Err(refusal) = &decision.answers[0].1 {
                assert!(refusal.message.len() > 10, "{label}: {}", refusal.message);
            }
            let checked = create_topics(&image, &[wanted], true, DEFAULTS, &validate_config, &mut counter(&image));
            assert!(checked.records.is_empty());
            assert_eq!(checked.answers, decision.answers, "{label}");
            applied(&image, &decision.records);
        }
    }

    #[test]
    fn one_request_for_many_topics_is_answered_as_kafka_does() {
        let image = image_of_one_broker();
        let codes_of = |wanted: &[NewTopic<'_>]| {
            let decision = create(&image, wanted);
            applied(&image, &decision.records);
            codes(&decision.answers).into_iter().map(|(name, code)| (name.to_owned(), code)).collect::<Vec<_>>()
        };
        let expect =
            |codes: &[(&str, i16)]| codes.iter().map(|(name, code)| (name.to_string(), *code)).collect::<Vec<_>>();

        assert_eq!(codes_of(&[]), []);
        assert_eq!(codes_of(&[topic("c.d", 1, 1), topic("c_d", 1, 1)]), expect(&[("c.d", 0), ("c_d", 0)]));
        assert_eq!(codes_of(&[topic("a", 1, 1), topic("a", 2, 1), topic("b", 1, 1)]), expect(&[("a", 42), ("b", 0)]));
        assert_eq!(codes_of(&[topic("a", 0, 1), topic("b", 1, 1)]), expect(&[("a", 37), ("b", 0)]));
        assert_eq!(codes_of(&[topic("a", 5_000, 1), topic("b", 5_001, 1)]), expect(&[("a", 44), ("b", 44)]));
        assert_eq!(codes_of(&[topic("a", 5_000, 1), topic("b", 5_000, 1)]), expect(&[("a", 44), ("b", 44)]));
        assert_eq!(codes_of(&[topic("a", 10_000, 1), topic("b!", 1, 1)]), expect(&[("a", 44), ("b!", 44)]));
        assert_eq!(codes_of(&[topic("a", 10_000, 1), topic("b", -5, 1)]), expect(&[("a", 44), ("b", 44)]));
        assert_eq!(codes_of(&[topic("a", i32::MAX, 1), topic("b", i32::MAX, 1)]), expect(&[("a", 44), ("b", 44)]));
        assert_eq!(
            codes_of(&[topic("a", 9_999, 1), assigned("b", &[(0, &[1]), (1, &[1])])]),
            expect(&[("a", 44), ("b", 44)])
        );
    }

    #[test]
    fn a_created_topic_is_led_by_its_broker_in_the_only_directory() {
        let image = image_of_one_broker();
        let decision = create(&image, &[with(topic("a", 2, -1), &[("retention.ms", Some("5"))])]);
        let created = *decision.answers[0].1.as_ref().unwrap();
        assert_eq!((created.partition_count, created.replication_factor), (2, 1));
        let next = applied(&image, &decision.records);
        let topic = next.topic("a").unwrap();
        assert_eq!(topic.id, created.id);
        assert_eq!(next.topic_by_id(created.id), Some(topic));
        assert_eq!(next.topic_config("a").unwrap().get("retention.ms").map(String::as_str), Some("5"));
        let expected = Partition {
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            directories: vec![Uuid([7; 16])],
            leader: Some(NodeId(1)),
            ..Partition::default()
        };
        assert_eq!(topic.partition(PartitionIndex(0)), Some(&expected));
        assert_eq!(topic.partition(PartitionIndex(1)), Some(&expected));
        assert_eq!(topic.partition(PartitionIndex(2)), None);
        assert!(image.topic("a").is_none(), "the image before stays as it was");
    }

    /// Codes from Apache Kafka 4.3.1, but for an increase beyond the limit: there it answers an unknown server error.
    #[test]
    fn create_partitions_refuses_what_kafka_refuses() {
        let empty = image_of_one_broker();
        let image = applied(&empty, &create(&empty, &[topic("t", 2, 1)]).records);
        let grow = |name, partition_count, assignments: Option<&[&[i32]]>| {
            let assignments = assignments.map(|all| all.iter().map(|nodes| nodes.to_vec()).collect());
            let wanted = NewPartitions { name, partition_count, assignments };
            let decision = create_partitions(&image, &[wanted], false, &mut counter(&image));
            let partitions = applied(&image, &decision.records).topic("t").unwrap().partition_count();
            (codes(&decision.answers)[0].1, partitions)
        };
        assert_eq!(grow("t", 3, None), (0, 3));
        for count in [2, 1, 0, -1, i32::MIN] {
            assert_eq!(grow("t", count, None), (37, 2), "{count}");
        }
        assert_eq!(grow("unknown", 3, None), (3, 2));
        assert_eq!(grow("not a name", 3, None), (3, 2));
        assert_eq!(grow("t", 4, Some(&[&[1], &[1]])), (0, 4));
        for bad in
            [&[&[1][..]][..], &[&[1], &[1], &[1]], &[], &[&[1], &[1, 2]], &[&[1], &[1, 1]], &[&[1], &[7]], &[&[1], &[]]]
        {
            assert_eq!(grow("t", 4, Some(bad)), (39, 2), "{bad:?}");
        }
        assert_eq!(grow("t", 10_002, None), (0, 10_002));
        assert_eq!(grow("t", 10_003, None), (44, 2));
        assert_eq!(grow("t", i32::MAX, None), (44, 2));

        let wanted = |name, partition_count| NewPartitions { name, partition_count, assignments: None };
        let twice = create_partitions(&image, &[wanted("t", 3), wanted("t", 4)], false, &mut counter(&image));
        assert_eq!(codes(&twice.answers), [("t", 42)]);
        let checked = create_partitions(&image, &[wanted("t", 3)], true, &mut counter(&image));
        assert_eq!((codes(&checked.answers), checked.records), (vec![("t", 0)], vec![]));
    }

    /// Codes and what is echoed are from Apache Kafka 4.3.1.
    #[test]
    fn delete_topics_refuses_what_kafka_refuses() {
        let empty = image_of_one_broker();
        let image = applied(&empty, &create(&empty, &[topic("a", 1, 1), topic("b", 1, 1)]).records);
        let (a, b, other) = (image.topic_id("a").unwrap(), image.topic_id("b").unwrap(), Uuid([5; 16]));
        let delete = |unwanted: &[(Option<&str>, TopicId)]| {
            let unwanted: Vec<_> = unwanted.iter().map(|&(name, id)| TopicToDelete { name, id }).collect();
            let decision = delete_topics(&image, &unwanted);
            let next = applied(&image, &decision.records);
            let left: Vec<String> = next.topics().map(|topic| topic.name.to_string()).collect();
            let code = |outcome: Result<(), Refusal>| outcome.err().map_or(0, |refusal| refusal.kind.code());
            let answers: Vec<_> =
                decision.answers.into_iter().map(|one| (one.name, one.id, code(one.outcome))).collect();
            (answers, left.concat())
        };
        let said = |name: &str| Some(name.to_owned());
        let zero = Uuid::ZERO;

        assert_eq!(delete(&[(Some("a"), zero)]), (vec![(said("a"), a, 0)], "b".into()));
        assert_eq!(delete(&[(None, a)]), (vec![(said("a"), a, 0)], "b".into()));
        assert_eq!(delete(&[(Some("x"), zero)]), (vec![(said("x"), zero, 3)], "ab".into()));
        assert_eq!(delete(&[(Some(""), zero)]), (vec![(said(""), zero, 3)], "ab".into()));
        assert_eq!(delete(&[(None, other)]), (vec![(None, other, 100)], "ab".into()));
        assert_eq!(delete(&[(Some("a"), other)]), (vec![(said("a"), other, 42)], "ab".into()));
        assert_eq!(delete(&[(None, zero)]), (vec![(None, zero, 42)], "ab".into()));
        assert_eq!(
            delete(&[(Some("a"), zero), (Some("a"), zero), (Some("b"), zero)]),
            (vec![(said("a"), zero, 42), (said("b"), b, 0)], "a".into())
        );
        assert_eq!(delete(&[(None, a), (None, a)]), (vec![(None, a, 42)], "ab".into()));
        assert_eq!(delete(&[(None, other), (None, other)]), (vec![(None, other, 42)], "ab".into()));
        assert_eq!(
            delete(&[(Some("a"), zero), (None, a), (Some("b"), zero)]),
            (vec![(said("a"), a, 42), (said("b"), b, 0)], "a".into())
        );
    }

    #[test]
    fn auto_creation_never_says_more_than_unknown_or_invalid() {
        let empty = image_of_one_broker();
        let image = applied(&empty, &create(&empty, &[topic("a.b", 1, 1)]).records);
        let wanted = [
            topic("new", -1, -1),
            topic("bad name", -1, -1),
            topic("a_b", -1, -1),
            topic("__cluster_metadata", -1, -1),
        ];
        let decision = auto_create_topics(&image, &wanted, DEFAULTS, &validate_config, &mut counter(&image));
        assert_eq!(codes(&decision.answers), [("new", 0), ("bad name", 17), ("a_b", 3), ("__cluster_metadata", 3)]);
        let next = applied(&image, &decision.records);
        assert_eq!(next.topic("new").map(|topic| topic.partition_count()), Some(1));
    }

    #[test]
    fn images_tell_what_changed_between_them() {
        use crate::metadata::TopicChange;
        let empty = image_of_one_broker();
        let first = applied(&empty, &create(&empty, &[topic("a", 1, 1), topic("b", 1, 1), topic("c", 1, 1)]).records);
        let old_a = Arc::clone(first.topic("a").unwrap());
        let mut records = delete_topics(&first, &[TopicToDelete { name: Some("a"), id: Uuid::ZERO }]).records;
        let grown = NewPartitions { name: "b", partition_count: 2, assignments: None };
        records.append(&mut create_partitions(&first, &[grown], false, &mut counter(&first)).records);
        records.push(MetadataRecord::Config {
            resource: ConfigResource { kind: ConfigResourceKind::TOPIC, name: "c".into() },
            name: "retention.ms".into(),
            value: Some("7".into()),
        });
        let deleted = applied(&first, &records);
        let again = create(&deleted, &[topic("a", 1, 1)]);
        let last = applied(&deleted, &again.records);

        let changes = first.topic_changes(&last);
        assert_eq!(changes[0], TopicChange::Deleted(old_a));
        assert!(changes.contains(&TopicChange::Created(Arc::clone(last.topic("a").unwrap()))));
        let b = |image: &MetadataImage| Arc::clone(image.topic("b").unwrap());
        assert!(changes.contains(&TopicChange::Changed(b(&first), b(&last))));
        assert!(changes.contains(&TopicChange::Reconfigured(Arc::clone(last.topic("c").unwrap()))));
        assert_eq!(changes.len(), 4);
        assert!(last.topic_changes(&last.clone()).is_empty());
    }
}
