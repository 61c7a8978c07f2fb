//! What clients ask every day, of one topic.

use bytes::Bytes;
use corelane_core::protocol::messages::{
    CreateTopicsRequest, FetchRequest, ProduceRequest, create_topics_request, fetch_request, produce_request,
};

use crate::world::Clients;

/// The topic.
pub const TOPIC: &str = "everyday";
/// About when the simulation's wall clock begins.
pub const WALL_MS: i64 = 1_750_000_000_000;
/// Version of Produce that they speak.
pub const PRODUCE_VERSION: i16 = 9;
/// Version of Fetch that they speak.
pub const FETCH_VERSION: i16 = 12;

/// Makes the topic, with two partitions.
///
/// # Panics
/// If the broker refuses.
pub async fn create(clients: &Clients) {
    let topic = create_topics_request::CreatableTopic {
        name: TOPIC.into(),
        num_partitions: 2,
        replication_factor: 1,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    let answer = clients.honest().await.call(7, &request).await.expect("is answered");
    assert_eq!(answer.topics[0].error_code, 0);
}

/// Records for one of its partitions.
#[must_use]
pub fn produce(partition: i32, records: Bytes, acks: i16) -> ProduceRequest {
    let partition_data = vec![produce_request::PartitionProduceData { index: partition, records: Some(records) }];
    ProduceRequest {
        acks,
        timeout_ms: 30_000,
        topic_data: vec![produce_request::TopicProduceData {
            name: TOPIC.into(),
            partition_data,
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// What one of its partitions has from an offset on, at most a mebibyte of it.
#[must_use]
pub fn fetch(partition: i32, offset: i64) -> FetchRequest {
    let partition = fetch_request::FetchPartition {
        partition,
        fetch_offset: offset,
        partition_max_bytes: 1024 * 1024,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        topics: vec![fetch_request::FetchTopic {
            topic: TOPIC.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}
