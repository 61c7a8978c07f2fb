//! What Apache Kafka 4.3.1 wrote, as we understand it. `data/kafka-4.3.1-metadata` says what was done there.

use std::path::Path;

use bytes::Bytes;
use corelane_core::base::{FilePosition, LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, Timestamp, Uuid};
use corelane_core::metadata::{
    BrokerEpoch, ConfigResource, ConfigResourceKind, ControlRecord, MetadataImage, MetadataLog, MetadataRecord,
    NodeIdentity, Partition, QuorumState, RecoveredMetadata, Replay, StartingBroker, VoterEndpoint, apply,
    decode_record, encode_record,
};
use corelane_core::record::Batches;

const LOG: &str = "00000000000000000000.log";
const VOTERS: &str = "00000000000000000000-0000000000.checkpoint";
const SNAPSHOT: &str = "00000000000000000091-0000000003.checkpoint";
const NODE: NodeId = NodeId(1);

fn file(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka-4.3.1-metadata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn id(text: &str) -> Uuid {
    Uuid::parse(text).unwrap()
}

fn read(snapshot: &str, log: Bytes) -> RecoveredMetadata {
    let mut replay = Replay::new();
    replay.snapshot(snapshot, file(snapshot)).unwrap();
    let size = log.len() as u64;
    assert_eq!(replay.segment(LOG, log, true).unwrap().good_end, FilePosition(size));
    replay.finish().unwrap()
}

/// The log up to `end`, which must be where a batch begins.
fn log_up_to(end: Offset) -> Bytes {
    let log = file(LOG);
    let mut batches = Batches::new(log.clone());
    let size: usize = batches
        .by_ref()
        .map(|batch| batch.unwrap())
        .take_while(|batch| batch.header().base_offset() < end)
        .map(|batch| batch.bytes().len())
        .sum();
    log.slice(..size)
}

/// The image with the features of its broker in order; Kafka writes them in that of a hash map.
fn in_order(image: &MetadataImage) -> MetadataImage {
    let mut ordered = image.clone();
    let mut broker = (**image.broker(NODE).unwrap()).clone();
    broker.features.sort_by(|a, b| a.name.cmp(&b.name));
    apply(&mut ordered, &MetadataRecord::RegisterBroker(broker)).unwrap();
    ordered
}

fn setting<'a>(image: &'a MetadataImage, kind: ConfigResourceKind, resource: &str, name: &str) -> Option<&'a str> {
    image.config(&ConfigResource { kind, name: resource.into() })?.get(name).map(String::as_str)
}

#[test]
fn the_log_of_a_kafka_broker_says_what_was_done() {
    let recovered = read(VOTERS, file(LOG));
    let image = &recovered.image;
    assert_eq!((image.position.end_offset, image.position.epoch), (Offset(114), LeaderEpoch(4)));
    assert_eq!(image.position.appended_at, Timestamp(1_795_256_310_626));

    let topics: Vec<_> =
        image.topics().map(|topic| (topic.name.to_string(), topic.id, topic.partition_count())).collect();
    let expected = [
        ("Gamma-3_4", "QVgsa05KQhWavavwNi8FVw", 2),
        ("alpha", "E8Cw20jSQduAZrD9FCc5Ug", 3),
        ("beta.x", "UXmPeGSVSMKpVIC-WZjEhw", 1),
        ("gone", "NlbiGD48Q8qFKIYfwUgYvg", 1),
        ("q", "Gk9HBvjdQcictZrg7wcuow", 1),
    ];
    assert_eq!(topics, expected.map(|(name, topic_id, count)| (name.to_owned(), id(topic_id), count)));
    // Stopped cleanly, with KIP-966 on: nobody leads and nobody is in sync, but the node is eligible. Each stop and each
    // start of the four lives set a leader.
    let alpha = image.topic_by_id(id("E8Cw20jSQduAZrD9FCc5Ug")).unwrap();
    let stopped = Partition {
        replicas: vec![NODE],
        directories: vec![id("P7sJxB2GQoqmnOUFlpNtpg")],
        eligible_leader_replicas: vec![NODE],
        last_known_elr: vec![NODE],
        leader_epoch: LeaderEpoch(7),
        partition_epoch: corelane_core::metadata::PartitionEpoch(7),
        ..Partition::default()
    };
    assert_eq!(alpha.partition(PartitionIndex(2)), Some(&stopped));

    use ConfigResourceKind as Kind;
    assert_eq!(setting(image, Kind::TOPIC, "alpha", "cleanup.policy"), Some("compact,delete"));
    assert_eq!(setting(image, Kind::TOPIC, "alpha", "segment.bytes"), Some("2000000"));
    assert_eq!(setting(image, Kind::TOPIC, "alpha", "retention.ms"), None, "taken back");
    assert_eq!(setting(image, Kind::TOPIC, "q", "retention.ms"), None, "was the deleted one's");
    assert_eq!(setting(image, Kind::BROKER, "", "log.cleaner.threads"), Some("2"));
    assert_eq!(setting(image, Kind::BROKER, "", "min.insync.replicas"), Some("1"));
    assert_eq!(setting(image, Kind::GROUP, "g1", "consumer.session.timeout.ms"), Some("50000"));
    assert_eq!(image.similar_topic("beta_x"), Some("beta.x"));

    let levels = [
        ("eligible.leader.replicas.version", 1),
        ("group.version", 1),
        ("metadata.version", 30),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
    ];
    assert!(image.features.iter().map(|(name, level)| (name.as_str(), *level)).eq(levels));
    assert_eq!(image.next_producer_id, ProducerId(1_000));
    let broker = image.broker(NODE).unwrap();
    assert_eq!((broker.broker_epoch, broker.fenced, broker.in_controlled_shutdown), (BrokerEpoch(93), true, true));
    assert_eq!((broker.rack.as_deref(), broker.endpoints[0].port), (Some("r1"), 3971));

    assert_eq!((recovered.kraft_version, recovered.in_transaction), (1, false));
    let [voter] = &recovered.voters[..] else { panic!("{:?}", recovered.voters) };
    assert_eq!((voter.id, voter.directory_id, voter.endpoints[0].port), (NODE, id("P7sJxB2GQoqmnOUFlpNtpg"), 3972));
}

#[test]
fn kafkas_snapshot_is_the_image_of_its_log() {
    let from_log = read(VOTERS, log_up_to(Offset(91)));
    let from_snapshot = read(SNAPSHOT, Bytes::new());
    assert_eq!(in_order(&from_snapshot.image), in_order(&from_log.image));
    assert_eq!(from_snapshot.image.position, from_log.image.position);
    assert_eq!(from_snapshot.voters, from_log.voters);
    assert_eq!(read(SNAPSHOT, file(LOG)).image, read(VOTERS, file(LOG)).image);
}

#[test]
fn every_record_is_written_as_kafka_wrote_it() {
    let (mut records, mut control) = (0, 0);
    for name in [LOG, VOTERS, SNAPSHOT] {
        for batch in Batches::new(file(name)) {
            let batch = batch.unwrap();
            let payload = batch.open(1 << 20).unwrap();
            for record in batch.records(&payload) {
                let record = record.unwrap();
                let value = record.value.unwrap();
                if batch.header().attributes().is_control() {
                    let (key, again) = ControlRecord::decode(record.key.unwrap(), value).unwrap().encode().unwrap();
                    assert_eq!((&key[..], &again[..]), (record.key.unwrap(), value));
                    control += 1;
                } else {
                    let decoded = decode_record(Bytes::copy_from_slice(value)).unwrap();
                    assert_eq!(encode_record(&decoded).unwrap(), value, "{decoded:?}");
                    records += 1;
                }
            }
        }
    }
    assert!(records > 120 && control > 10, "{records} records, {control} control records");
}

#[test]
fn a_node_of_ours_takes_over_where_kafka_stopped() {
    let state = QuorumState::parse(std::str::from_utf8(&file("quorum-state")).unwrap()).unwrap();
    assert_eq!(state, QuorumState::leading(NODE, LeaderEpoch(4)));
    let directory_id = id("P7sJxB2GQoqmnOUFlpNtpg");
    let controller = VoterEndpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 };
    let node = NodeIdentity { id: NODE, directory_id, controller };
    let (mut log, state) =
        MetadataLog::lead(read(SNAPSHOT, file(LOG)), Some(state), node, Timestamp(1_795_256_400_000)).unwrap();
    assert_eq!(state.epoch, LeaderEpoch(5));
    let broker = StartingBroker {
        id: NODE,
        incarnation_id: Uuid([3; 16]),
        endpoints: vec![],
        rack: None,
        directory_id,
        cleanly_stopped: Some(BrokerEpoch(93)),
    };
    log.start_broker(&broker, Timestamp(1_795_256_400_000)).unwrap();
    let mut bytes = file(LOG).to_vec();
    while let Some(append) = log.next_append().unwrap() {
        bytes.extend_from_slice(&append.bytes);
        log.synced();
    }
    let image = log.durable();
    assert_eq!(read(VOTERS, bytes.into()).image, **image);
    assert_eq!(image.broker(NODE).unwrap().broker_epoch, BrokerEpoch(115));
    for topic in image.topics() {
        for partition in topic.partitions.values() {
            assert_eq!((partition.leader, partition.isr.as_slice()), (Some(NODE), &[NODE][..]), "{}", topic.name);
            assert!(partition.eligible_leader_replicas.is_empty());
        }
    }
}
