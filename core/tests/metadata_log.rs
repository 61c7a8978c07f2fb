//! The metadata log as a whole: changes through [`MetadataLog`] to bytes, and back through [`Replay`] to an image.

use bytes::Bytes;
use corelane_core::base::{FilePosition, LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use corelane_core::metadata::{
    Append, ApplyError, BrokerEpoch, BrokerId, ConfigResource, ConfigResourceKind, ControlRecord, Endpoint, LeadError,
    MetadataImage, MetadataLog, MetadataRecord, MetadataRecordError, NewPartitions, NewTopic, NodeIdentity,
    ProposeError, QuorumState, RecoveredMetadata, Replay, ReplayError, ReplayFault, StartingBroker, TopicDefaults,
    TopicToDelete, VoterEndpoint, allocate_producer_ids, apply, create_partitions, create_topics, decode_record,
    delete_topics, encode_record, encode_snapshot, image_records, last_contained_timestamp, voters_snapshot,
};
use corelane_core::record::{Batch, BatchBuilder, BatchOptions};
use proptest::prelude::*;

const NODE: NodeId = NodeId(1);
const LOG: &str = "00000000000000000000.log";
const DEFAULTS: TopicDefaults = TopicDefaults { partition_count: 1, replication_factor: 1 };

fn node() -> NodeIdentity {
    NodeIdentity {
        id: NODE,
        directory_id: Uuid([7; 16]),
        controller: VoterEndpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 },
    }
}

fn starting(cleanly_stopped: Option<BrokerEpoch>) -> StartingBroker {
    let (name, host) = ("PLAINTEXT".to_owned(), "broker.example".to_owned());
    StartingBroker {
        id: NODE,
        incarnation_id: Uuid([3; 16]),
        endpoints: vec![Endpoint { name, host, port: 9092, security_protocol: 0 }],
        rack: Some("r1".into()),
        directory_id: Uuid([7; 16]),
        cleanly_stopped,
    }
}

/// A metadata log with a disk of plain bytes behind it.
struct Disk {
    log: MetadataLog,
    state: QuorumState,
    bytes: Vec<u8>,
    /// End of each batch, and what the log said there.
    images: Vec<(usize, MetadataImage)>,
    now: i64,
    random: u128,
}

impl Disk {
    fn new() -> Self {
        let (log, state) = MetadataLog::lead(RecoveredMetadata::default(), None, node(), Timestamp(1_000)).unwrap();
        let mut disk = Self { log, state, bytes: Vec::new(), images: Vec::new(), now: 1_000, random: 1 };
        disk.log.start_broker(&starting(None), Timestamp(1_000)).unwrap();
        disk.sync();
        disk
    }

    fn sync(&mut self) {
        while let Some(append) = self.log.next_append().unwrap() {
            self.bytes.extend_from_slice(&append.bytes);
            let image = self.log.synced();
            assert_eq!(image.position.end_offset, append.end_offset);
            self.images.push((self.bytes.len(), MetadataImage::clone(&image)));
        }
    }

    fn propose(&mut self, records: &[MetadataRecord]) -> Offset {
        self.now += 10;
        self.log.propose(records, Timestamp(self.now)).unwrap()
    }

    fn restart(&mut self, clean: bool) {
        let recovered = replay(&self.bytes).unwrap();
        assert_eq!(recovered.image, **self.log.durable());
        let epoch = recovered.image.broker(NODE).map(|broker| broker.broker_epoch).filter(|_| clean);
        let before = self.state.epoch;
        (self.log, self.state) = MetadataLog::lead(recovered, Some(self.state), node(), Timestamp(self.now)).unwrap();
        assert!(self.state.epoch > before);
        self.log.start_broker(&starting(epoch), Timestamp(self.now)).unwrap();
        self.sync();
    }

    fn random(&mut self) -> u128 {
        self.random = self.random.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
        self.random
    }

    fn create(&mut self, name: &str, partition_count: i32, configs: &[(&str, Option<&str>)]) {
        let image = self.log.proposed().clone();
        let configs = configs.to_vec();
        let wanted = NewTopic { name, partition_count, replication_factor: 1, configs, ..NewTopic::default() };
        let decision = create_topics(&image, &[wanted], false, DEFAULTS, &|_| Ok(()), &mut || self.random());
        self.propose(&decision.records);
    }

    fn delete(&mut self, name: &str) {
        let decision = delete_topics(self.log.proposed(), &[TopicToDelete { name: Some(name), id: Uuid::ZERO }]);
        self.propose(&decision.records);
    }
}

fn replay(bytes: &[u8]) -> Result<RecoveredMetadata, ReplayError> {
    let mut replay = Replay::new();
    replay.segment(LOG, Bytes::copy_from_slice(bytes), true)?;
    replay.finish()
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8, i32, bool),
    Delete(u8),
    Grow(u8, i32),
    ProducerIds,
    Sync,
    Restart(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..6, 1i32..4, any::<bool>()).prop_map(|(topic, count, config)| Step::Create(topic, count, config)),
        2 => (0u8..6).prop_map(Step::Delete),
        2 => (0u8..6, 1i32..6).prop_map(|(topic, count)| Step::Grow(topic, count)),
        1 => Just(Step::ProducerIds),
        3 => Just(Step::Sync),
        1 => any::<bool>().prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 0..25)
}

fn run(steps: &[Step]) -> Disk {
    let mut disk = Disk::new();
    for step in steps {
        match *step {
            Step::Create(topic, count, config) => {
                let configs = [("retention.ms", Some("5")), ("cleanup.policy", Some("compact"))];
                disk.create(&format!("topic.{topic}"), count, if config { &configs } else { &[] });
            }
            Step::Delete(topic) => disk.delete(&format!("topic.{topic}")),
            Step::Grow(topic, partition_count) => {
                let image = disk.log.proposed().clone();
                let name = format!("topic.{topic}");
                let wanted = NewPartitions { name: &name, partition_count, assignments: None };
                let decision = create_partitions(&image, &[wanted], false, &mut || disk.random());
                disk.propose(&decision.records);
            }
            Step::ProducerIds => {
                let broker_epoch = disk.log.proposed().broker(NODE).unwrap().broker_epoch;
                let broker = BrokerId { id: NODE, broker_epoch };
                let (record, _) = allocate_producer_ids(disk.log.proposed(), broker).unwrap();
                disk.propose(&[record]);
            }
            Step::Sync => disk.sync(),
            Step::Restart(clean) => {
                disk.sync();
                disk.restart(clean);
            }
        }
    }
    disk.sync();
    disk
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// A crash leaves some prefix of the bytes. Whatever it is, what was synced whole is there and nothing else.
    #[test]
    fn every_prefix_of_the_log_is_an_image_that_was(steps in steps()) {
        let disk = run(&steps);
        let nothing = (0, MetadataImage::default());
        for cut in 0..=disk.bytes.len() {
            let mut replay = Replay::new();
            let end = replay.segment(LOG, Bytes::copy_from_slice(&disk.bytes[..cut]), true).unwrap();
            let (good_end, expected) = disk.images.iter().rev().find(|(end, _)| *end <= cut).unwrap_or(&nothing);
            prop_assert_eq!(end.good_end, FilePosition(*good_end as u64));
            let recovered = replay.finish().unwrap();
            prop_assert_eq!(recovered.image.position, expected.position);
            prop_assert_eq!(&recovered.image, expected);
        }
    }

    /// A snapshot says the same as the log, and the log goes on from it.
    #[test]
    fn a_snapshot_stands_for_the_log_before_it(steps in steps(), at in any::<prop::sample::Index>()) {
        let disk = run(&steps);
        let (_, image) = &disk.images[at.index(disk.images.len())];
        // The first batch alone is no cluster yet: it only tells the voters.
        prop_assume!(!image.features.is_empty());
        let name = format!("{:020}-{:010}.checkpoint", image.position.end_offset.0, image.position.epoch.0);
        let snapshot = Bytes::from(encode_snapshot(image, disk.log.voters(), Timestamp(5)).unwrap().concat());
        prop_assert_eq!(last_contained_timestamp(snapshot.clone()), Some(image.position.appended_at));

        let mut from_snapshot = Replay::new();
        from_snapshot.snapshot(&name, snapshot.clone()).unwrap();
        let recovered = from_snapshot.clone().finish().unwrap();
        prop_assert_eq!(&recovered.image, image);
        prop_assert_eq!(recovered.image.position, image.position);
        prop_assert_eq!(&recovered.voters, disk.log.voters());
        from_snapshot.segment(LOG, Bytes::from(disk.bytes.clone()), true).unwrap();
        let recovered = from_snapshot.finish().unwrap();
        prop_assert_eq!(&recovered.image, &**disk.log.durable());
        prop_assert_eq!(recovered.image.position, disk.log.durable().position);

        for cut in 0..snapshot.len() {
            prop_assert!(Replay::new().snapshot(&name, snapshot.slice(..cut)).is_err());
        }
    }

    #[test]
    fn hostile_bytes_never_panic(
        steps in steps(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        random in prop::collection::vec(any::<u8>(), 0..200),
        forge_checksums in any::<bool>(),
    ) {
        let mut bytes = run(&steps).bytes;
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if forge_checksums {
            bytes = with_valid_checksums(&bytes);
        }
        let _ = replay(&bytes);
        let _ = Replay::new().snapshot("00000000000000000005-0000000001.checkpoint", bytes.into());
        let _ = replay(&random);
        let _ = decode_record(Bytes::from(random.clone()));
        for kind in 0..8 {
            let _ = ControlRecord::decode(&[0, 0, 0, kind], &random);
        }
        for id in 0..30 {
            let framed: Vec<u8> = [1, id, 0].into_iter().chain(random.iter().copied()).collect();
            let _ = decode_record(framed.into());
        }
    }
}

/// The same batches with the checksum that belongs to their bytes, so that damage gets past it.
fn with_valid_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut whole = Vec::new();
    while let Ok(batch) = Batch::split_from(&mut rest) {
        let mut batch = batch.bytes().to_vec();
        let checksum = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        whole.extend(batch);
    }
    whole.extend_from_slice(&rest);
    whole
}

#[test]
fn damage_before_the_last_batch_is_refused_by_file_and_position() {
    let mut disk = Disk::new();
    disk.create("a", 2, &[]);
    disk.sync();
    disk.create("b", 2, &[]);
    disk.sync();
    let ends: Vec<usize> = disk.images.iter().map(|(end, _)| *end).collect();
    let last_start = ends[ends.len() - 2];
    for at in 0..disk.bytes.len() {
        let mut bytes = disk.bytes.clone();
        bytes[at] ^= 0x40;
        let start = ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(0);
        let outcome = Replay::new().segment(LOG, bytes.into(), true);
        // Offset and leader epoch are outside the checksum. The offset must continue the one before; an epoch can
        // only be seen to go back.
        let next_start = ends.iter().copied().find(|end| *end > at).unwrap_or(disk.bytes.len());
        let is_epoch = (12..16).contains(&(at - start));
        match outcome {
            Err(error) if is_epoch => assert_eq!(error.position, FilePosition(next_start as u64), "{at}: {error}"),
            Err(error) => {
                assert_eq!((error.file.as_str(), error.position), (LOG, FilePosition(start as u64)), "{at}: {error}");
                assert!(error.to_string().starts_with(&format!("{LOG} at byte {start}: ")));
            }
            Ok(_) => assert_eq!(start, last_start, "damage at byte {at} went unnoticed"),
        }
    }
}

#[test]
fn a_torn_end_is_cut_only_in_the_last_segment() {
    let mut disk = Disk::new();
    disk.create("a", 2, &[]);
    disk.sync();
    let torn = Bytes::from(disk.bytes[..disk.bytes.len() - 1].to_vec());
    assert!(Replay::new().segment(LOG, torn.clone(), true).is_ok());
    let error = Replay::new().segment(LOG, torn, false).unwrap_err();
    assert!(matches!(error.fault, ReplayFault::Batch(_)), "{error}");

    let zeros = [disk.bytes.clone(), vec![0; 4096]].concat();
    let end = Replay::new().segment(LOG, zeros.into(), true).unwrap();
    assert_eq!(end.good_end, FilePosition(disk.bytes.len() as u64));
}

#[test]
fn a_log_that_lost_its_beginning_is_refused() {
    let disk = Disk::new();
    let (first, _) = disk.images[0];
    let error = replay(&disk.bytes[first..]).unwrap_err();
    assert_eq!(error.fault, ReplayFault::Offset { expected: Offset(0), found: Offset(3) });
    assert_eq!(error.position, FilePosition(0));
}

#[test]
fn nothing_is_durable_before_it_is_synced() {
    let mut disk = Disk::new();
    disk.create("a", 1, &[]);
    disk.create("b", 1, &[]);
    let end = disk.log.end_offset();
    assert!(disk.log.proposed().topic("b").is_some());
    assert!(disk.log.durable().topic("a").is_none());

    let append = disk.log.next_append().unwrap().unwrap();
    assert_eq!(append.end_offset, end, "what waits goes out together");
    assert!(disk.log.durable().topic("a").is_none(), "written is not synced");
    disk.create("c", 1, &[]);
    assert_eq!(disk.log.next_append(), Ok(None), "one append at a time");
    assert!(disk.log.synced().topic("b").is_some());
    assert!(disk.log.durable().topic("c").is_none());
    let Append { base_offset, .. } = disk.log.next_append().unwrap().unwrap();
    assert_eq!(base_offset, end);

    disk.log.fail();
    assert_eq!(disk.log.next_append(), Ok(None));
    assert!(disk.log.proposed().topic("c").is_none());
    assert_eq!(disk.log.propose(&[MetadataRecord::NoOp], Timestamp(9)), Err(ProposeError::Failed));
}

#[test]
fn a_change_is_taken_whole_or_not_at_all() {
    let mut disk = Disk::new();
    let topic = MetadataRecord::Topic { name: "t".into(), id: Uuid([9; 16]) };
    let before = disk.log.end_offset();
    let twice = disk.log.propose(&[topic.clone(), topic], Timestamp(9));
    assert_eq!(twice, Err(ProposeError::Contradiction(ApplyError::TopicExists("t".into()))));
    let many = vec![MetadataRecord::NoOp; 10_001];
    assert_eq!(disk.log.propose(&many, Timestamp(9)), Err(ProposeError::TooLarge));
    assert_eq!((disk.log.end_offset(), disk.log.next_append()), (before, Ok(None)));
    assert!(disk.log.proposed().topic("t").is_none());

    let resource = ConfigResource { kind: ConfigResourceKind::BROKER, name: String::new() };
    let setting = |number| MetadataRecord::Config {
        resource: resource.clone(),
        name: format!("n{number}"),
        value: Some("x".repeat(32_000)),
    };
    let large: Vec<_> = (0..200).map(setting).collect();
    assert!(disk.log.propose(&large, Timestamp(9)).is_ok());
    assert!(disk.log.propose(&large, Timestamp(9)).is_ok());
    assert_eq!(disk.log.propose(&large, Timestamp(9)), Err(ProposeError::QueueFull));
    disk.sync();
    assert!(disk.log.propose(&large, Timestamp(9)).is_ok());
    disk.sync();
    assert_eq!(replay(&disk.bytes).unwrap().image, **disk.log.durable());
}

#[test]
fn an_epoch_is_never_used_twice() {
    let mut disk = Disk::new();
    assert_eq!(disk.state, QuorumState::leading(NODE, LeaderEpoch(1)));
    // The vote was written, the crash came before the first batch of its epoch.
    let voted = QuorumState::leading(NODE, LeaderEpoch(6));
    let recovered = replay(&disk.bytes).unwrap();
    let (log, state) = MetadataLog::lead(recovered.clone(), Some(voted), node(), Timestamp(9)).unwrap();
    assert_eq!((log.leader_epoch(), state.epoch), (LeaderEpoch(7), LeaderEpoch(7)));
    // The vote was lost, the log was not.
    let (log, _) = MetadataLog::lead(recovered, None, node(), Timestamp(9)).unwrap();
    assert_eq!(log.leader_epoch(), LeaderEpoch(2));
    disk.restart(true);
    assert_eq!(disk.state.epoch, LeaderEpoch(2));
    let voted = QuorumState::leading(NODE, LeaderEpoch(i32::MAX));
    let lead = MetadataLog::lead(RecoveredMetadata::default(), Some(voted), node(), Timestamp(9));
    assert_eq!(lead.err(), Some(LeadError::EpochsUsedUp));
}

#[test]
fn a_log_of_other_voters_is_left_alone() {
    let recovered = replay(&Disk::new().bytes).unwrap();
    let other_disk = NodeIdentity { directory_id: Uuid([8; 16]), ..node() };
    let lead = MetadataLog::lead(recovered.clone(), None, other_disk, Timestamp(9));
    assert_eq!(lead.err(), Some(LeadError::OtherDirectory(Uuid([7; 16]))));
    let other_node = NodeIdentity { id: NodeId(2), ..node() };
    let lead = MetadataLog::lead(recovered, None, other_node.clone(), Timestamp(9));
    assert_eq!(lead.err(), Some(LeadError::OtherVoters(vec![NODE])));

    let snapshot = voters_snapshot(&[node().voter(), other_node.voter()], Timestamp(9)).unwrap();
    let mut several = Replay::new();
    several.snapshot("00000000000000000000-0000000000.checkpoint", snapshot).unwrap();
    let lead = MetadataLog::lead(several.finish().unwrap(), None, node(), Timestamp(9));
    assert_eq!(lead.err(), Some(LeadError::OtherVoters(vec![NODE, NodeId(2)])));
}

fn batch_of(offset: i64, value: &[u8]) -> Bytes {
    let (base_offset, leader_epoch) = (Offset(offset), LeaderEpoch(1));
    let mut builder = BatchBuilder::new(BatchOptions { base_offset, leader_epoch, ..BatchOptions::default() });
    builder.append(Timestamp(5), None, Some(value), &[]);
    builder.build().unwrap().bytes().clone()
}

/// The log of `disk` with a batch for each of `records` behind it.
fn followed_by(disk: &Disk, records: &[MetadataRecord]) -> Vec<u8> {
    let mut bytes = disk.bytes.clone();
    for (offset, record) in (disk.log.end_offset().0..).zip(records) {
        bytes.extend_from_slice(&batch_of(offset, &encode_record(record).unwrap()));
    }
    bytes
}

#[test]
fn a_transaction_counts_from_its_end_on() {
    let disk = Disk::new();
    let begin = MetadataRecord::BeginTransaction { name: None };
    let abort = MetadataRecord::AbortTransaction { reason: None };
    let topic = |name: &str, byte| MetadataRecord::Topic { name: name.into(), id: Uuid([byte; 16]) };
    let names = |records: &[MetadataRecord]| {
        let recovered = replay(&followed_by(&disk, records))?;
        let names: Vec<String> = recovered.image.topics().map(|topic| topic.name.to_string()).collect();
        Ok::<_, ReplayError>((names.concat(), recovered))
    };

    let open = [topic("a", 1), begin.clone(), topic("b", 2)];
    let (seen, recovered) = names(&open).unwrap();
    assert_eq!((seen.as_str(), recovered.in_transaction), ("a", true));
    let done = [begin.clone(), topic("b", 2), MetadataRecord::EndTransaction, topic("c", 3)];
    assert_eq!(names(&done).unwrap().0, "bc");
    assert_eq!(names(&[begin.clone(), topic("b", 2), abort.clone(), topic("c", 3)]).unwrap().0, "c");
    for contradiction in [vec![begin.clone(), begin], vec![MetadataRecord::EndTransaction], vec![abort]] {
        let error = names(&contradiction).unwrap_err();
        assert!(matches!(error.fault, ReplayFault::Contradiction(_, ApplyError::Transaction(_))), "{error}");
    }

    // Leading such a log aborts what is open before anything else.
    let (mut log, _) = MetadataLog::lead(recovered, None, node(), Timestamp(9)).unwrap();
    log.start_broker(&starting(None), Timestamp(9)).unwrap();
    let mut bytes = followed_by(&disk, &open);
    while let Some(append) = log.next_append().unwrap() {
        bytes.extend_from_slice(&append.bytes);
        log.synced();
    }
    let recovered = replay(&bytes).unwrap();
    assert!(!recovered.in_transaction);
    assert_eq!(recovered.image, **log.durable());
    assert!(recovered.image.topic("b").is_none());
}

#[test]
fn records_that_we_cannot_act_on_are_refused_by_name() {
    let disk = Disk::new();
    let end = disk.log.end_offset();
    let with = |value: &[u8]| {
        let error = replay(&[disk.bytes.as_slice(), &batch_of(end.0, value)].concat()).unwrap_err();
        assert_eq!(error.position, FilePosition(disk.bytes.len() as u64));
        error
    };
    let error = with(&[1, 18, 0, 0]);
    let unsupported = MetadataRecordError::Unsupported("AccessControlEntryRecord");
    assert_eq!(error.fault, ReplayFault::Record(end, unsupported));
    assert!(error.to_string().contains("AccessControlEntryRecord"), "{error}");
    assert_eq!(with(&[1, 99, 0]).fault, ReplayFault::Record(end, MetadataRecordError::UnknownType(99)));
    assert_eq!(with(&[2, 2, 0]).fault, ReplayFault::Record(end, MetadataRecordError::FrameVersion(2)));
    for (value, what) in [
        (&[][..], "no frame"),
        (&[1, 20, 9, 0], "a version that there is not"),
        (&[1, 20, 0, 0, 0], "bytes behind the record"),
        (&[1, 20, 255, 255, 255, 255, 15, 0], "a version beyond all"),
    ] {
        let fault = with(value).fault;
        assert!(matches!(fault, ReplayFault::Record(_, MetadataRecordError::Malformed(..))), "{what}: {fault:?}");
    }

    let newer = MetadataRecord::FeatureLevel { name: "metadata.version".into(), level: 31 };
    assert_eq!(replay(&followed_by(&disk, &[newer])).unwrap_err().fault, ReplayFault::MetadataVersion(31));
    let outside = MetadataRecord::Topic { name: "../../etc".into(), id: Uuid([9; 16]) };
    let error = replay(&followed_by(&disk, &[outside])).unwrap_err();
    assert!(matches!(error.fault, ReplayFault::Contradiction(_, ApplyError::TopicName(_))), "{error}");
}

#[test]
fn an_image_is_the_records_that_make_it() {
    let mut disk = Disk::new();
    disk.create("a", 3, &[("retention.ms", Some("5"))]);
    disk.create("b_c", 1, &[]);
    let resource = ConfigResource { kind: ConfigResourceKind::BROKER, name: "1".into() };
    disk.propose(&[MetadataRecord::Config { resource, name: "x".into(), value: Some("y".into()) }]);
    disk.sync();
    let image = disk.log.durable();
    let mut again = MetadataImage::default();
    for record in image_records(image) {
        apply(&mut again, &record).unwrap();
    }
    assert_eq!(&again, &**image);
    assert_eq!(again.similar_topic("b.c"), Some("b_c"));
}

/// A broker of Kafka 4.3 would show, at its start, the new topic with the settings of the deleted one.
#[test]
fn the_settings_of_a_deleted_topic_are_taken_back_one_by_one() {
    let mut disk = Disk::new();
    disk.create("a", 1, &[("retention.ms", Some("5")), ("segment.bytes", Some("9999"))]);
    let decision = delete_topics(disk.log.proposed(), &[TopicToDelete { name: Some("a"), id: Uuid::ZERO }]);
    let taken_back = |record: &MetadataRecord| matches!(record, MetadataRecord::Config { value: None, .. });
    assert!(decision.records[..2].iter().all(taken_back));
    assert!(matches!(decision.records[2..], [MetadataRecord::RemoveTopic { .. }]));
    disk.propose(&decision.records);
    disk.create("a", 1, &[]);
    assert_eq!(disk.log.proposed().topic_config("a"), None);
}
