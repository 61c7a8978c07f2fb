//! Writes a data directory as a cleanly stopped single node leaves it: three topics, one of them deleted and made again
//! without its setting, and some records.
//!
//! For trying Apache Kafka and its tools on our files without running a broker:
//! `cargo run -p corelane-core --example metadata_directory -- <empty directory>`, then start Kafka 4.3 on it with
//! `process.roles=broker,controller` and `node.id=1`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_core::base::{LeaderEpoch, NodeId, Offset, PartitionIndex, Timestamp, Uuid};
use corelane_core::log::names::metadata_snapshot_name;
use corelane_core::log::{CleanShutdown, LeaderEpochs, MetaProperties, OffsetCheckpoint, PartitionMetadata};
use corelane_core::metadata::{
    BrokerEpoch, Endpoint, METADATA_TOPIC_NAME, MetadataLog, NewTopic, NodeIdentity, QuorumState, Replay,
    StartingBroker, TopicDefaults, TopicToDelete, VoterEndpoint, bootstrap_checkpoint, create_topics, delete_topics,
    encode_snapshot, voters_snapshot,
};
use corelane_core::record::{BatchBuilder, BatchOptions};

const NODE: NodeId = NodeId(1);
const RECORDS: i64 = 100;
const DEFAULTS: TopicDefaults = TopicDefaults { partition_count: 1, replication_factor: 1 };

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::args().nth(1).ok_or("which directory?")?);
    fs::create_dir_all(&root)?;
    let now = Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?);
    let mut bits = u128::from(now.0.unsigned_abs()) << 64;
    let mut random = move || {
        bits = bits.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(0x5851_F42D_4C95_7F2D);
        bits
    };

    let ids = (Uuid::from_random(random()), Uuid::from_random(random()));
    let properties = MetaProperties { cluster_id: ids.0.to_string(), node_id: NODE, directory_id: Some(ids.1) };
    fs::write(root.join("meta.properties"), properties.to_text())?;
    fs::write(root.join("bootstrap.checkpoint"), bootstrap_checkpoint(now)?)?;

    let node = NodeIdentity {
        id: NODE,
        directory_id: ids.1,
        controller: VoterEndpoint { listener: "CONTROLLER".into(), host: "localhost".into(), port: 9093 },
    };
    let mut directory = MetadataDirectory::create(&root, &node, now)?;
    directory.start_broker(&node, &mut random, None, now)?;

    let validate = |_: &BTreeMap<&str, &str>| Ok(());
    let mut alpha = NewTopic { name: "alpha", partition_count: 3, replication_factor: 1, ..NewTopic::default() };
    alpha.configs.push(("retention.ms", Some("86400000")));
    let beta = NewTopic { name: "beta.x", partition_count: -1, replication_factor: -1, ..NewTopic::default() };
    let again = NewTopic { name: "again", ..beta.clone() };
    let mut first = again.clone();
    first.configs.push(("retention.ms", Some("1")));
    let wanted = [alpha, beta, first];
    let decision = create_topics(directory.log.proposed(), &wanted, false, DEFAULTS, &validate, &mut random);
    directory.log.propose(&decision.records, now)?;
    let unwanted = [TopicToDelete { name: Some("again"), id: Uuid::ZERO }];
    let decision = delete_topics(directory.log.proposed(), &unwanted);
    directory.log.propose(&decision.records, now)?;
    let decision = create_topics(directory.log.proposed(), &[again], false, DEFAULTS, &validate, &mut random);
    directory.log.propose(&decision.records, now)?;
    directory.write_all()?;

    // A second life of the broker, so that there are two epochs.
    let epoch = directory.log.durable().broker(NODE).ok_or("not registered")?.broker_epoch;
    let mut directory = MetadataDirectory::open(&root, &node, now)?;
    directory.start_broker(&node, &mut random, Some(epoch), now)?;
    let position = directory.log.durable().position;
    let snapshot = encode_snapshot(directory.log.durable(), directory.log.voters(), now)?;
    fs::write(directory.path.join(metadata_snapshot_name(position.end_offset, position.epoch)), snapshot.concat())?;

    let mut ends = OffsetCheckpoint::default();
    let image = directory.log.durable();
    for topic in image.topics() {
        for (index, partition) in &topic.partitions {
            write_partition(&root, &topic.name, topic.id, *index, partition.leader_epoch, now)?;
            ends.offsets.insert((topic.name.to_string(), *index), Offset(RECORDS));
        }
    }
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint"] {
        fs::write(root.join(name), ends.to_text())?;
    }
    for name in ["log-start-offset-checkpoint", "cleaner-offset-checkpoint"] {
        fs::write(root.join(name), OffsetCheckpoint::default().to_text())?;
    }
    let broker_epoch = image.broker(NODE).ok_or("not registered")?.broker_epoch.0;
    fs::write(root.join(".kafka_cleanshutdown"), CleanShutdown { broker_epoch }.to_text())?;
    Ok(())
}

struct MetadataDirectory {
    path: PathBuf,
    log: MetadataLog,
    epochs: LeaderEpochs,
}

impl MetadataDirectory {
    const LOG: &str = "00000000000000000000.log";
    const SNAPSHOT: &str = "00000000000000000000-0000000000.checkpoint";

    fn create(root: &Path, node: &NodeIdentity, now: Timestamp) -> Result<Self, Box<dyn Error>> {
        let path = root.join(format!("{METADATA_TOPIC_NAME}-0"));
        fs::create_dir_all(&path)?;
        fs::write(path.join("partition.metadata"), PartitionMetadata { topic_id: Uuid::METADATA_TOPIC }.to_text())?;
        fs::write(path.join(Self::SNAPSHOT), voters_snapshot(&[node.voter()], now)?)?;
        fs::write(path.join(Self::LOG), [])?;
        Self::open(root, node, now)
    }

    fn open(root: &Path, node: &NodeIdentity, now: Timestamp) -> Result<Self, Box<dyn Error>> {
        let path = root.join(format!("{METADATA_TOPIC_NAME}-0"));
        let mut replay = Replay::new();
        replay.snapshot(Self::SNAPSHOT, fs::read(path.join(Self::SNAPSHOT))?.into())?;
        replay.segment(Self::LOG, fs::read(path.join(Self::LOG))?.into(), true)?;
        let state =
            fs::read_to_string(path.join("quorum-state")).ok().map(|text| QuorumState::parse(&text)).transpose()?;
        let (log, state) = MetadataLog::lead(replay.finish()?, state, node.clone(), now)?;
        fs::write(path.join("quorum-state"), state.to_text())?;
        let epochs = fs::read_to_string(path.join("leader-epoch-checkpoint")).unwrap_or_default();
        Ok(Self { path, log, epochs: LeaderEpochs::parse(&epochs).unwrap_or_default() })
    }

    fn start_broker(
        &mut self,
        node: &NodeIdentity,
        random: &mut dyn FnMut() -> u128,
        cleanly_stopped: Option<BrokerEpoch>,
        now: Timestamp,
    ) -> Result<(), Box<dyn Error>> {
        let endpoint =
            Endpoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, security_protocol: 0 };
        let broker = StartingBroker {
            id: node.id,
            incarnation_id: Uuid::from_random(random()),
            endpoints: vec![endpoint],
            rack: None,
            directory_id: node.directory_id,
            cleanly_stopped,
        };
        self.log.start_broker(&broker, now)?;
        self.write_all()
    }

    fn write_all(&mut self) -> Result<(), Box<dyn Error>> {
        let mut file = fs::OpenOptions::new().append(true).open(self.path.join(Self::LOG))?;
        while let Some(append) = self.log.next_append()? {
            file.write_all(&append.bytes)?;
            file.sync_data()?;
            self.log.synced();
            if self.epochs.assign(append.leader_epoch, append.base_offset) {
                fs::write(self.path.join("leader-epoch-checkpoint"), self.epochs.to_text())?;
            }
        }
        Ok(())
    }
}

fn write_partition(
    root: &Path,
    topic: &str,
    topic_id: Uuid,
    index: PartitionIndex,
    leader_epoch: LeaderEpoch,
    now: Timestamp,
) -> Result<(), Box<dyn Error>> {
    let path = root.join(format!("{topic}-{index}"));
    fs::create_dir_all(&path)?;
    fs::write(path.join("partition.metadata"), PartitionMetadata { topic_id }.to_text())?;
    let mut builder = BatchBuilder::new(BatchOptions { leader_epoch, ..BatchOptions::default() });
    for number in 0..RECORDS {
        builder.append(now, None, Some(format!("{topic}-{index} {number}").as_bytes()), &[]);
    }
    fs::write(path.join("00000000000000000000.log"), builder.build()?.bytes())?;
    let mut epochs = LeaderEpochs::default();
    epochs.assign(leader_epoch, Offset(0));
    fs::write(path.join("leader-epoch-checkpoint"), epochs.to_text())?;
    Ok(())
}
