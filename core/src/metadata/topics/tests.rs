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

fn validate_one(name: &str, value: &str) -> Result<(), String> {
    match name {
        "retention.ms" => value.trim().parse::<i64>().map(drop).map_err(|error| error.to_string()),
        _ => Err(format!("unknown topic setting {name}")),
    }
}

fn validate_configs(configs: &BTreeMap<&str, &str>) -> Result<(), String> {
    configs.iter().try_for_each(|(name, value)| validate_one(name, value))
}

fn create(image: &MetadataImage, wanted: &[NewTopic<'_>]) -> Decision<TopicAnswer<CreatedTopic>> {
    create_topics(image, wanted, false, DEFAULTS, &validate_configs, &mut counter(image))
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
        ("setting named twice", with(topic("a", 1, 1), &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]), 0),
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
        let checked = create_topics(&image, &[wanted], true, DEFAULTS, &validate_configs, &mut counter(&image));
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
    let expect = |codes: &[(&str, i16)]| codes.iter().map(|(name, code)| (name.to_string(), *code)).collect::<Vec<_>>();

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
        let answers: Vec<_> = decision.answers.into_iter().map(|one| (one.name, one.id, code(one.outcome))).collect();
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
    let wanted =
        [topic("new", -1, -1), topic("bad name", -1, -1), topic("a_b", -1, -1), topic("__cluster_metadata", -1, -1)];
    let decision = auto_create_topics(&image, &wanted, DEFAULTS, &validate_configs, &mut counter(&image));
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
