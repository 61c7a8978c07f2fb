use super::*;
use crate::base::{PartitionIndex, Uuid};
use crate::config::{Place, Setting};
use crate::metadata::{Partition, apply};

const SET: fn(&str) -> ConfigOperation<'_> = |value| ConfigOperation::Set(Some(value));

fn resource(kind: ConfigResourceKind, name: &str) -> ConfigResource {
    ConfigResource { kind, name: name.to_owned() }
}

fn topic(name: &str) -> ConfigResource {
    resource(ConfigResourceKind::TOPIC, name)
}

fn applied(image: &MetadataImage, records: &[MetadataRecord]) -> MetadataImage {
    let mut next = image.clone();
    for record in records {
        apply(&mut next, record).unwrap();
    }
    next
}

/// The topic `orders` with one setting.
fn image() -> MetadataImage {
    let id = Uuid([1; 16]);
    let config = |name: &str, value: &str| MetadataRecord::Config {
        resource: topic("orders"),
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let records = [
        MetadataRecord::Topic { name: "orders".to_owned(), id },
        MetadataRecord::Partition { topic_id: id, index: PartitionIndex(0), partition: Partition::default() },
        config("segment.bytes", "2000000"),
        // As another broker left it: it does not act here.
        config("retention.bytes", "5"),
    ];
    applied(&MetadataImage::default(), &records)
}

fn alteration<'a>(
    resource: ConfigResource,
    incremental: bool,
    operations: &[(&'a str, ConfigOperation<'a>)],
) -> ConfigAlteration<'a> {
    ConfigAlteration { resource, operations: operations.to_vec(), incremental }
}

/// The settings of the resource after one alteration of it.
fn altered(
    resource: &ConfigResource,
    incremental: bool,
    operations: &[(&str, ConfigOperation<'_>)],
) -> Result<Vec<(String, String)>, RefusalKind> {
    let image = image();
    let wanted = [alteration(resource.clone(), incremental, operations)];
    let Decision { records, answers } = alter_configs(&image, &wanted, false, &BrokerConfig::default());
    match answers.as_slice() {
        [Ok(())] => {}
        [Err(refusal)] => {
            assert!(records.is_empty(), "what is refused changes nothing");
            return Err(refusal.kind);
        }
        other => panic!("one answer for one resource, not {other:?}"),
    }
    let next = applied(&image, &records);
    let settings = next.config(resource).map(|settings| (**settings).clone()).unwrap_or_default();
    Ok(settings.into_iter().collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, RefusalKind> {
    Ok(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[test]
fn an_increment_changes_what_it_names() {
    let orders = topic("orders");
    let kept = ("retention.bytes", "5");
    assert_eq!(
        altered(&orders, true, &[("flush.messages", SET("1"))]),
        pairs(&[("flush.messages", "1"), kept, ("segment.bytes", "2000000")])
    );
    assert_eq!(altered(&orders, true, &[("segment.bytes", ConfigOperation::Delete)]), pairs(&[kept]));
    // Deleting what is not set is no mistake, even of what does not exist.
    assert_eq!(
        altered(&orders, true, &[("no.such", ConfigOperation::Delete)]),
        pairs(&[kept, ("segment.bytes", "2000000")])
    );
}

#[test]
fn a_replacement_takes_everything_else_away() {
    assert_eq!(altered(&topic("orders"), false, &[("flush.ms", SET("10"))]), pairs(&[("flush.ms", "10")]));
    assert_eq!(altered(&topic("orders"), false, &[]), pairs(&[]));
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let orders = topic("orders");
    let policy = |operation| altered(&orders, false, &[("cleanup.policy", operation)]);
    assert_eq!(policy(ConfigOperation::Append(Some("delete"))), pairs(&[("cleanup.policy", "delete")]));
    assert_eq!(policy(ConfigOperation::Append(Some("compact"))), pairs(&[("cleanup.policy", "delete,compact")]));
    assert_eq!(
        altered(&orders, true, &[("segment.bytes", ConfigOperation::Append(Some("1")))]),
        Err(RefusalKind::InvalidConfig)
    );
}

#[test]
fn what_is_wrong_is_refused_with_kafkas_code() {
    let orders = topic("orders");
    let broker = |name| resource(ConfigResourceKind::BROKER, name);
    let set = ("segment.bytes", SET("3000000"));
    for (resource, operations, kind) in [
        (topic("none"), vec![set], RefusalKind::UnknownTopicOrPartition),
        (orders.clone(), vec![("segment.byte", SET("1"))], RefusalKind::InvalidConfig),
        (orders.clone(), vec![("segment.bytes", SET("12x"))], RefusalKind::InvalidConfig),
        (orders.clone(), vec![("segment.bytes", ConfigOperation::Set(None))], RefusalKind::InvalidRequest),
        (orders.clone(), vec![set, set], RefusalKind::InvalidRequest),
        (orders.clone(), vec![("segment.bytes", ConfigOperation::Unknown(7))], RefusalKind::InvalidRequest),
        // Not implemented yet, and therefore not accepted.
        (orders, vec![("preallocate", SET("true"))], RefusalKind::InvalidConfig),
        (broker("7"), vec![("log.segment.bytes", SET("3000000"))], RefusalKind::InvalidRequest),
        (broker("1"), vec![("num.partitions", SET("3"))], RefusalKind::InvalidRequest),
        (broker("1"), vec![("no.such", SET("3"))], RefusalKind::InvalidRequest),
        (broker(""), vec![("group.consumer.assignment.interval.ms", SET("15001"))], RefusalKind::InvalidRequest),
        (broker("1"), vec![("num.io.threads", SET("3"))], RefusalKind::InvalidRequest),
        (broker(""), vec![("listeners", SET("PLAINTEXT://:1"))], RefusalKind::InvalidRequest),
        (resource(ConfigResourceKind::GROUP, ""), vec![], RefusalKind::InvalidRequest),
        (resource(ConfigResourceKind::GROUP, "g"), vec![("consumer.nothing", SET("1"))], RefusalKind::InvalidConfig),
        (resource(ConfigResourceKind(77), "g"), vec![], RefusalKind::InvalidRequest),
    ] {
        assert_eq!(altered(&resource, true, &operations), Err(kind), "{resource:?} {operations:?}");
    }
}

#[test]
fn a_resource_that_is_named_twice_is_refused_both_times_and_others_pass() {
    let image = image();
    let set = |name: &str| alteration(topic(name), true, &[("flush.ms", SET("10"))]);
    let broker = alteration(resource(ConfigResourceKind::BROKER, ""), true, &[("log.flush.interval.ms", SET("10"))]);
    let wanted = [set("orders"), broker, set("orders")];
    let Decision { records, answers } = alter_configs(&image, &wanted, false, &BrokerConfig::default());
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(|refusal| refusal.kind)).collect();
    assert_eq!(kinds, [Some(RefusalKind::InvalidRequest), None, Some(RefusalKind::InvalidRequest)]);
    assert_eq!(records.len(), 1);
    assert!(alter_configs(&image, &wanted, true, &BrokerConfig::default()).records.is_empty(), "only validated");
}

#[test]
fn what_is_set_at_run_time_is_stronger_than_the_file_and_weaker_than_the_topic() {
    let file = Setting { name: "log.segment.bytes".to_owned(), value: "2000000".to_owned(), place: Place::BuiltIn };
    let (fixed, _) = BrokerConfig::from_settings(&[file]).unwrap();
    let set = |value: &str| ConfigOverrides::from([("log.segment.bytes".to_owned(), value.to_owned())]);
    let none = ConfigOverrides::new();
    for (own, of_all, expected) in
        [(&none, &none, "2000000"), (&none, &set("3000000"), "3000000"), (&set("4000000"), &set("3000000"), "4000000")]
    {
        assert_eq!(fixed.with_dynamic(own, of_all).value("log.segment.bytes"), Some(expected));
    }
    let changed = fixed.with_dynamic(&ConfigOverrides::from([("num.partitions".to_owned(), "9".to_owned())]), &none);
    assert_eq!(changed.value("num.partitions"), Some("1"), "what cannot change at run time does not");
}
