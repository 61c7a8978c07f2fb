//! Order, retries, idempotence and bounds of the producer.

use std::collections::{BTreeMap, BTreeSet};

use super::fake_broker::{FakeBroker, FakePartition, Fault, TOPIC};
use super::world::{Random, World, options};
use crate::base::{Monotonic, Offset, Timestamp};
use crate::client::*;
use crate::protocol::ApiKey;
use crate::record::Header;

#[test]
fn records_reach_the_partition_of_their_key_in_order() {
    let mut world = World::new(FakeBroker::new(4));
    world.connect();
    let mut producer = Producer::new(options());
    let mut expected: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    for number in 0..200 {
        let (key, value) = (format!("key{}", number % 17), format!("value{number}"));
        let headers = [Header { key: b"h", value: Some(b"1") }];
        let record = RecordToSend {
            timestamp: Timestamp(number),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &headers,
        };
        producer.append(world.now, &world.client, TOPIC, None, &record, 0).unwrap();
        expected.entry(partition_of_key(key.as_bytes(), 4).0).or_default().push(value.into_bytes());
    }
    let deliveries = world.settle(&mut producer);
    let delivered: BTreeSet<u64> = deliveries.iter().flat_map(|d| &d.records).map(|id| id.0).collect();
    assert_eq!(delivered, (0..200).collect());
    for (index, partition) in world.broker.partitions.iter().enumerate() {
        let values: Vec<Vec<u8>> = partition.records().into_iter().map(|record| record.2).collect();
        assert_eq!(Some(&values), expected.get(&i32::try_from(index).unwrap()));
    }
    for delivery in &deliveries {
        assert!(delivery.result.is_ok(), "{delivery:?}");
    }
}

#[test]
fn a_batch_that_may_be_long_takes_no_memory_for_that() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { batch_bytes_max: usize::MAX, ..options() });
    world.append(&mut producer, Some(0), b"short").unwrap();
    world.settle(&mut producer);
    assert_eq!(world.broker.partitions[0].records().len(), 1);
}

#[test]
fn records_without_a_key_fill_one_batch_after_the_other() {
    let mut world = World::new(FakeBroker::new(4));
    world.connect();
    let mut producer = Producer::new(options());
    let mut random = Random(1);
    for number in 0..500 {
        let value = format!("value{number:03}");
        let record = RecordToSend { timestamp: Timestamp(5), key: None, value: Some(value.as_bytes()), headers: &[] };
        let bits = u32::try_from(random.below(1 << 31)).unwrap();
        producer.append(world.now, &world.client, TOPIC, None, &record, bits).unwrap();
    }
    world.settle(&mut producer);
    let counts =
        |partition: &FakePartition| partition.batches.iter().map(|batch| batch.header().record_count()).collect();
    let counts: Vec<Vec<i32>> = world.broker.partitions.iter().map(counts).collect();
    assert_eq!(counts.iter().flatten().sum::<i32>(), 500);
    let fullest = counts.iter().flatten().max().unwrap();
    // The last batch of a partition goes as it is when it has lingered.
    let partial = counts.iter().flatten().filter(|count| *count < fullest).count();
    assert!(partial <= 1, "{counts:?}");
    assert!(counts.iter().all(|batches| batches.len() > 1), "{counts:?}");
}

#[test]
fn a_batch_waits_for_company_no_longer_than_it_lingers() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { linger_ms: 50, ..ProducerOptions::default() });
    world.append(&mut producer, None, b"a").unwrap();
    let start = world.now;
    while world.drive(&mut producer) {}
    assert_eq!(world.broker.partitions[0].end, 0);
    let deliveries = world.settle(&mut producer);
    assert_eq!(world.now.since_ns(start) / 1_000_000, 50);
    assert_eq!(deliveries.len(), 1);
    // A flush does not wait.
    world.append(&mut producer, None, b"b").unwrap();
    producer.flush();
    let start = world.now;
    world.settle(&mut producer);
    assert_eq!(world.now, start);
    assert_eq!(world.broker.partitions[0].end, 2);
}

#[test]
fn an_answer_that_is_lost_makes_no_record_appear_twice() {
    for fault in [
        Fault::LoseAnswer,
        Fault::LoseRequest,
        Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        Fault::Refuse(ErrorCode::REQUEST_TIMED_OUT),
        Fault::Hang,
    ] {
        let mut world = World::new(FakeBroker::new(1).fault(ApiKey::Produce, fault));
        world.connect();
        let mut producer = Producer::new(options());
        let values: Vec<Vec<u8>> = (0..50).map(|number| format!("value{number:03}").into_bytes()).collect();
        for value in &values {
            world.append(&mut producer, Some(0), value).unwrap();
        }
        let deliveries = world.settle(&mut producer);
        assert!(deliveries.iter().all(|delivery| delivery.result.is_ok()), "{fault:?}: {deliveries:?}");
        let stored: Vec<Vec<u8>> = world.broker.partitions[0].records().into_iter().map(|record| record.2).collect();
        assert_eq!(stored, values, "{fault:?}");
    }
}

#[test]
fn without_idempotence_order_still_holds() {
    let broker = FakeBroker::new(1)
        .fault(ApiKey::Produce, Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER))
        .fault(ApiKey::Produce, Fault::LoseRequest);
    let mut world = World::new(broker);
    world.connect();
    let mut producer = Producer::new(ProducerOptions { acks: Acks::Leader, ..options() });
    let values: Vec<Vec<u8>> = (0..50).map(|number| format!("value{number:03}").into_bytes()).collect();
    for value in &values {
        world.append(&mut producer, Some(0), value).unwrap();
    }
    world.settle(&mut producer);
    let stored: Vec<Vec<u8>> = world.broker.partitions[0].records().into_iter().map(|record| record.2).collect();
    assert_eq!(stored, values);
    assert!(world.broker.seen.iter().all(|(api, _)| *api != ApiKey::InitProducerId));
}

#[test]
fn without_acks_what_is_written_counts() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { acks: Acks::None, linger_ms: 0, ..options() });
    for _ in 0..50 {
        world.append(&mut producer, Some(0), b"value").unwrap();
    }
    producer.advance(world.now, &mut world.client);
    assert_eq!(world.client.poll_timeout(), Some(Monotonic(0)), "the driver must not wait for what will not come");
    let deliveries = world.settle(&mut producer);
    assert!(deliveries.iter().all(|delivery| delivery.result == Ok(Offset(-1))), "{deliveries:?}");
    assert_eq!(world.broker.partitions[0].end, 50);
}

#[test]
fn a_refused_batch_fails_alone_and_those_behind_it_get_new_numbers() {
    let broker = FakeBroker::new(1).fault(ApiKey::Produce, Fault::Refuse(ErrorCode::MESSAGE_TOO_LARGE));
    let mut world = World::new(broker);
    world.connect();
    let mut producer = Producer::new(options());
    for number in 0..50 {
        world.append(&mut producer, Some(0), format!("value{number:03}").as_bytes()).unwrap();
    }
    let deliveries = world.settle(&mut producer);
    let (failed, delivered): (Vec<_>, Vec<_>) = deliveries.iter().partition(|delivery| delivery.result.is_err());
    assert_eq!(failed.len(), 1);
    assert!(failed[0].result.as_ref().unwrap_err().to_string().starts_with("MESSAGE_TOO_LARGE (10)"));
    assert_eq!(failed[0].records.first(), Some(&RecordId(0)));
    let count = delivered.iter().map(|delivery| delivery.records.len()).sum::<usize>();
    assert_eq!(count + failed[0].records.len(), 50);
    let stored: Vec<Vec<u8>> = world.broker.partitions[0].records().into_iter().map(|record| record.2).collect();
    assert_eq!(stored.len(), count);
    assert!(stored.is_sorted());
}

#[test]
fn what_cannot_be_delivered_in_time_says_why() {
    let mut world = World::new(FakeBroker::new(1));
    world.connect();
    let mut producer = Producer::new(ProducerOptions { delivery_timeout_ms: 1_000, ..options() });
    world.append(&mut producer, Some(0), b"a").unwrap();
    let links: Vec<LinkId> = world.links.keys().copied().collect();
    for link in links {
        world.links.remove(&link);
        world.client.handle_closed(world.now, link, "connection reset".to_owned());
    }
    world.unreachable.insert("broker:9092".to_owned());
    let start = world.now;
    let deliveries = world.settle(&mut producer);
    let [delivery] = deliveries.as_slice() else { panic!("{deliveries:?}") };
    let text = delivery.result.as_ref().unwrap_err().to_string();
    assert!(text.contains("not acknowledged in time") && text.contains("broker:9092: nobody listens"), "{text}");
    assert_eq!(world.now.since_ns(start) / 1_000_000, 1_000);
}

#[test]
fn a_producer_takes_no_more_than_its_buffer_and_no_record_that_cannot_be_sent() {
    let mut world = World::new(FakeBroker::new(1));
    let mut producer =
        Producer::new(ProducerOptions { buffer_bytes_max: 1_000, request_bytes_max: 3_000, ..options() });
    assert_eq!(world.append(&mut producer, None, b"a"), Err(AppendError::TopicUnknown));
    world.connect();
    assert!(matches!(world.append(&mut producer, None, &[0; 3_000]), Err(AppendError::TooLarge { .. })));
    assert_eq!(world.append(&mut producer, Some(1), b"a"), Err(AppendError::NoSuchPartition { count: 1 }));
    let mut taken = 0;
    while world.append(&mut producer, None, &[0; 100]).is_ok() {
        taken += 1;
    }
    assert_eq!(world.append(&mut producer, None, &[0; 100]), Err(AppendError::BufferFull));
    assert!((5..10).contains(&taken), "{taken}");
    world.settle(&mut producer);
    assert!(world.append(&mut producer, None, &[0; 100]).is_ok(), "room again");
}

#[test]
fn a_topic_that_appears_later_is_found() {
    let mut broker = FakeBroker::new(1);
    broker.topic_appears_after = 3;
    let mut world = World::new(broker);
    let mut producer = Producer::new(options());
    world.exchange();
    assert!(matches!(world.append(&mut producer, None, b"a"), Err(AppendError::Topic(code)) if code.is_retriable()));
    for _ in 0..3 {
        world.wait(None);
        world.exchange();
    }
    assert!(world.append(&mut producer, None, b"a").is_ok());
    // One question each 100 ms, not a storm.
    let asked = world.broker.seen.iter().filter(|(api, _)| *api == ApiKey::Metadata).count();
    assert_eq!((asked, world.now.0 / 1_000_000), (4, 300));
}

#[test]
fn random_faults_neither_lose_nor_repeat_nor_reorder_a_record() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut broker = FakeBroker::new(3);
        for _ in 0..random.below(12) {
            let fault = match random.below(5) {
                0 => Fault::LoseRequest,
                1 => Fault::LoseAnswer,
                2 => Fault::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
                3 => Fault::Refuse(ErrorCode::NOT_ENOUGH_REPLICAS),
                _ => Fault::Refuse(ErrorCode::MESSAGE_TOO_LARGE),
            };
            let api = match random.below(6) {
                0 => ApiKey::Metadata,
                1 => ApiKey::InitProducerId,
                _ => ApiKey::Produce,
            };
            // What ends a request for good is for Produce alone; the others have no such answer here.
            let lasts = fault == Fault::Refuse(ErrorCode::MESSAGE_TOO_LARGE);
            broker.faults.push((if lasts { ApiKey::Produce } else { api }, fault));
        }
        let mut world = World::new(broker);
        for _ in 0..200 {
            world.exchange();
            if matches!(world.client.cluster().topic(TOPIC), Some(Ok(_))) {
                break;
            }
            world.wait(None);
        }
        let mut producer = Producer::new(ProducerOptions {
            batch_bytes_max: 100 + usize::try_from(random.below(200)).unwrap(),
            request_bytes_max: 2_000,
            ..ProducerOptions::default()
        });
        let mut sent: BTreeMap<u64, (i32, Vec<u8>)> = BTreeMap::new();
        let mut deliveries = Vec::new();
        for number in 0..150 {
            let partition = i32::try_from(random.below(3)).unwrap();
            let value = format!("{number:06}").into_bytes();
            let id = world.append(&mut producer, Some(partition), &value).unwrap();
            sent.insert(id.0, (partition, value));
            if random.below(10) == 0 {
                world.drive(&mut producer);
                world.now = world.now.plus_ms(random.below(20));
            }
        }
        deliveries.extend(world.settle(&mut producer));
        let mut expected: Vec<BTreeMap<i64, Vec<u8>>> = vec![BTreeMap::new(); 3];
        for delivery in deliveries {
            let index = usize::try_from(delivery.partition.0).unwrap();
            for (at, id) in delivery.records.iter().enumerate() {
                let (partition, value) = sent.remove(&id.0).expect("one word on each record");
                assert_eq!(partition, delivery.partition.0);
                if let Ok(base) = &delivery.result {
                    let offset = base.0 + i64::try_from(at).unwrap();
                    assert_eq!(expected[index].insert(offset, value), None, "seed {seed}: one record an offset");
                }
            }
        }
        assert!(sent.is_empty(), "seed {seed}: no word on {sent:?}");
        for (partition, expected) in world.broker.partitions.iter().zip(expected) {
            let stored: BTreeMap<i64, Vec<u8>> =
                partition.records().into_iter().map(|(offset, _, value)| (offset, value)).collect();
            assert_eq!(stored, expected, "seed {seed}");
            assert!(stored.values().is_sorted(), "seed {seed}: out of order");
        }
    }
}
