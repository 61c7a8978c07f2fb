//! Where a consumer begins, what it survives and what it refuses to pass on.

use bytes::Bytes;

use super::fake_broker::{FakeBroker, Fault, TOPIC};
use super::world::World;
use crate::base::{Offset, PartitionIndex, Timestamp};
use crate::client::*;
use crate::limits::UNKNOWN_TOPIC_MS_MAX;
use crate::protocol::ApiKey;
use crate::record::{Batch, Codec, Compression};

/// A broker whose two partitions hold 100 records each, in batches of ten, at timestamps 0, 10, 20, …
fn filled(compression: Compression) -> FakeBroker {
    let mut world = World::new(FakeBroker::new(2));
    world.connect();
    for partition in 0..2 {
        for first in (0..100).step_by(10) {
            let mut producer =
                Producer::new(ProducerOptions { compression, is_idempotent: false, ..ProducerOptions::default() });
            for number in first..first + 10 {
                let value = format!("{partition}/{number}");
                let record = RecordToSend {
                    timestamp: Timestamp(number * 10),
                    key: None,
                    value: Some(value.as_bytes()),
                    headers: &[],
                };
                let index = Some(PartitionIndex(partition));
                producer.append(world.now, &world.client, TOPIC, index, &record, 0).unwrap();
            }
            world.settle(&mut producer);
        }
    }
    let mut broker = FakeBroker::new(0);
    broker.partitions = world.broker.partitions;
    broker
}

#[test]
fn a_consumer_begins_where_it_is_told_and_reads_to_the_end() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for (start, first) in [
            (StartOffset::Earliest, 0),
            (StartOffset::Latest, 100),
            (StartOffset::At(Offset(37)), 37),
            (StartOffset::At(Offset(100)), 100),
            (StartOffset::BeforeEnd(5), 95),
            (StartOffset::BeforeEnd(500), 0),
            (StartOffset::Time(Timestamp(411)), 42),
            (StartOffset::Time(Timestamp(99_999)), 100),
        ] {
            let mut world = World::new(filled(Compression { codec, level: None }));
            world.connect();
            // Answers are cut within a batch, and each makes some progress.
            let mut consumer = Consumer::new(ConsumerOptions { partition_bytes_max: 400, ..Default::default() });
            consumer.assign(TOPIC, PartitionIndex(0), start);
            consumer.assign(TOPIC, PartitionIndex(1), start);
            let read = world.read_to_end(&mut consumer);
            for partition in 0..2 {
                let expected: Vec<(i64, Vec<u8>)> =
                    (first..100).map(|number| (number, format!("{partition}/{number}").into_bytes())).collect();
                assert_eq!(read.get(&partition).cloned().unwrap_or_default(), expected, "{codec:?} {start:?}");
                assert_eq!(consumer.position(TOPIC, PartitionIndex(partition)), Some(Offset(100)));
            }
        }
    }
}

#[test]
fn a_consumer_survives_faults_and_tells_what_does_not_pass() {
    for fault in [
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::Hang,
        Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Fault::Refuse(ErrorCode::KAFKA_STORAGE_ERROR),
    ] {
        let mut world = World::new(filled(Compression::default()).fault(ApiKey::Fetch, fault));
        world.connect();
        let mut consumer = Consumer::new(ConsumerOptions::default());
        consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
        assert_eq!(world.read_to_end(&mut consumer).remove(&0).map(|read| read.len()), Some(100), "{fault:?}");
    }
    let lasting = Fault::Refuse(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    let mut world = World::new(filled(Compression::default()).fault(ApiKey::Fetch, lasting));
    world.connect();
    let mut consumer = Consumer::new(ConsumerOptions::default());
    consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
    consumer.assign(TOPIC, PartitionIndex(9), StartOffset::Earliest);
    world.read_to_end(&mut consumer);
    let errors: Vec<_> =
        std::iter::from_fn(|| consumer.poll_error()).map(|(_, index, error)| (index.0, error)).collect();
    assert_eq!(
        errors,
        [
            (9, ConsumerError::NoSuchPartition { count: 2 }),
            (0, ConsumerError::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED))
        ]
    );
}

#[test]
fn an_offset_that_is_gone_is_told_or_replaced_as_asked() {
    for (reset, first) in
        [(Some(StartOffset::Earliest), Some(30)), (Some(StartOffset::Latest), Some(100)), (None, None)]
    {
        let mut broker = filled(Compression::default());
        for partition in &mut broker.partitions {
            partition.batches.drain(..3);
            partition.start = 30;
        }
        let mut world = World::new(broker);
        world.connect();
        let mut consumer = Consumer::new(ConsumerOptions { reset, ..ConsumerOptions::default() });
        consumer.assign(TOPIC, PartitionIndex(0), StartOffset::At(Offset(5)));
        let read = world.read_to_end(&mut consumer).remove(&0).unwrap_or_default();
        let error = consumer.poll_error();
        match first {
            Some(first) => {
                assert_eq!(read.len(), usize::try_from(100 - first).unwrap());
                assert!(error.is_none());
            }
            None => {
                let (_, _, error) = error.unwrap();
                assert_eq!(error, ConsumerError::Refused(ErrorCode::OFFSET_OUT_OF_RANGE));
            }
        }
    }
}

#[test]
fn a_damaged_batch_is_not_passed_on() {
    let mut broker = filled(Compression::default());
    let damaged = {
        let mut bytes = broker.partitions[0].batches[2].bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Batch::split_from(&mut Bytes::from(bytes)).unwrap()
    };
    broker.partitions[0].batches[2] = damaged;
    let mut world = World::new(broker);
    world.connect();
    let mut consumer = Consumer::new(ConsumerOptions::default());
    consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
    let read = world.read_to_end(&mut consumer).remove(&0).unwrap();
    assert_eq!(read.len(), 20);
    let (_, _, error) = consumer.poll_error().unwrap();
    assert!(matches!(error, ConsumerError::Corrupt { offset: Offset(20), .. }), "{error}");
}

#[test]
fn a_topic_that_was_deleted_ends_the_consumer_after_a_while() {
    let mut world = World::new(filled(Compression::default()));
    world.connect();
    let mut consumer = Consumer::new(ConsumerOptions::default());
    consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
    consumer.assign(TOPIC, PartitionIndex(1), StartOffset::Earliest);
    world.read_to_end(&mut consumer);
    world.broker.is_deleted = true;
    let before = world.now;
    for _ in 0..10_000 {
        consumer.advance(world.now, &mut world.client);
        for (id, result) in world.exchange() {
            assert!(consumer.handle_answer(world.now, &mut world.client, id, result).is_ok());
        }
        if consumer.partition_count() == 0 {
            break;
        }
        world.wait(consumer.poll_timeout(world.now));
    }
    let errors: Vec<_> = std::iter::from_fn(|| consumer.poll_error()).map(|(_, _, error)| error).collect();
    let unknown = ConsumerError::Refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(errors, [unknown.clone(), unknown]);
    let waited_ms = world.now.since_ns(before) / 1_000_000;
    assert!((UNKNOWN_TOPIC_MS_MAX..UNKNOWN_TOPIC_MS_MAX + 1_000).contains(&waited_ms), "{waited_ms}");
}
