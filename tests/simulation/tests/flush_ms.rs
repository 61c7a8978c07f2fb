//! `flush.ms`: a record is shown and acknowledged at once, and is on the device within that time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use corelane_core::base::Timestamp;
use corelane_core::limits::HOUSEKEEPING_INTERVAL_MS;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    CreateTopicsRequest, ListOffsetsRequest, ProduceRequest, create_topics_request, list_offsets_request,
    produce_request,
};
use corelane_core::protocol::wire::KafkaString;
use corelane_core::record::{BatchBuilder, BatchOptions};
use corelane_server::node;
use corelane_simulation::case::settings;
use corelane_simulation::client::Link;
use corelane_simulation::disk::Crash;
use corelane_simulation::machine::{Machine, Process, Simulation};

const TOPIC: &str = "topic";
const FLUSH_MS: u64 = 700;
/// What a sync may take on this disk.
const SYNC_MS_MAX: u64 = 100;
const SEEDS: u64 = 60;
const LIMIT_MS: u64 = 60_000;

fn start(machine: &Machine, address: SocketAddr) -> Process {
    let settings = Arc::new(settings(machine, address, &[]));
    machine.start(1, move |sys| {
        let settings = Arc::clone(&settings);
        async move {
            let ended = node::run(sys, settings, std::future::pending(), |_ready| {}).await;
            panic!("nobody stops it: {ended:?}");
        }
    })
}

async fn create(link: &mut Link) {
    let config = create_topics_request::CreatableTopicConfig {
        name: "flush.ms".into(),
        value: Some(KafkaString::copied(&FLUSH_MS.to_string())),
    };
    let topic = create_topics_request::CreatableTopic {
        name: TOPIC.into(),
        num_partitions: 1,
        replication_factor: 1,
        configs: vec![config],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
    let created = link.call(7, &request).await.expect("the broker is there");
    assert!(ErrorCode(created.topics[0].error_code).is_none());
}

async fn produce(link: &mut Link) {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.append(Timestamp(1_750_000_000_000), None, Some(b"record"), &[]);
    let records: Bytes = batch.build().expect("fits").bytes().clone();
    let partition = produce_request::PartitionProduceData { index: 0, records: Some(records) };
    let topic =
        produce_request::TopicProduceData { name: TOPIC.into(), partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 10_000, topic_data: vec![topic] };
    let produced = link.call(9, &request).await.expect("the broker is there");
    assert!(ErrorCode(produced.responses[0].partition_responses[0].error_code).is_none());
}

/// The offset behind the last record that readers see.
async fn visible_end(link: &mut Link) -> i64 {
    let partition =
        list_offsets_request::ListOffsetsPartition { partition_index: 0, timestamp: -1, ..Default::default() };
    let topic = list_offsets_request::ListOffsetsTopic { name: TOPIC.into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    link.call(7, &request).await.expect("the broker is there").topics[0].partitions[0].offset
}

/// How many records are left when power is lost so long after the acknowledgement.
fn left_after(seed: u64, waited_ms: u64) -> i64 {
    let simulation = Simulation::new(seed);
    let machine = simulation.machine("node");
    machine.make_directory("/data");
    let address = SocketAddr::from(([127, 0, 0, 1], 9092));
    let (executor, network) = (simulation.executor.clone(), simulation.network.clone());
    let course = async move {
        let process = start(&machine, address);
        let mut link = Link::connect(&network, address).await;
        create(&mut link).await;
        produce(&mut link).await;
        assert_eq!(visible_end(&mut link).await, 1, "an acknowledged record is visible");
        executor.sleep_ms(waited_ms).await;
        machine.crash(Crash::PowerLoss);
        process.ended().await;
        let _again = start(&machine, address);
        visible_end(&mut Link::connect(&network, address).await).await
    };
    simulation.run(LIMIT_MS, course).expect("comes to its end")
}

#[test]
fn a_record_is_on_the_device_within_the_time() {
    for seed in 0..SEEDS {
        let waited_ms = FLUSH_MS + HOUSEKEEPING_INTERVAL_MS + SYNC_MS_MAX;
        assert_eq!(left_after(seed, waited_ms), 1, "seed {seed}");
    }
}

#[test]
fn before_that_it_may_be_lost() {
    let lost = (0..SEEDS).filter(|seed| left_after(*seed, FLUSH_MS / 2) == 0).count();
    assert!(lost > 0, "or the other test shows nothing");
}
