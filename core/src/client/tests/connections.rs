//! Versions, framing, timeouts and lost connections.

use super::fake_broker::{FakeBroker, Fault, NODE, TOPIC};
use super::world::{Random, World};
use crate::base::PartitionIndex;
use crate::client::*;
use crate::protocol::ApiKey;
use crate::protocol::messages::*;

#[test]
fn an_old_broker_is_asked_for_its_versions_in_one_that_it_has() {
    for (api_versions_max, asked) in [(4, vec![4]), (3, vec![4, 3]), (0, vec![4, 0])] {
        let mut broker = FakeBroker::new(1);
        broker.api_versions_max = api_versions_max;
        broker.versions.insert(ApiKey::Metadata as i16, (4, 7));
        let mut world = World::new(broker);
        world.connect();
        let versions = world.broker.seen.iter().filter(|(api, _)| *api == ApiKey::ApiVersions);
        assert_eq!(versions.map(|(_, version)| *version).collect::<Vec<_>>(), asked);
        assert_eq!(world.broker.seen.last(), Some(&(ApiKey::Metadata, 7)), "the highest that both have");
    }
}

#[test]
fn what_the_broker_does_not_serve_is_told_and_nothing_is_sent() {
    let mut broker = FakeBroker::new(1);
    broker.versions.insert(ApiKey::InitProducerId as i16, (90, 91));
    let mut world = World::new(broker);
    let error = world.call(InitProducerIdRequest::default()).unwrap_err();
    assert_eq!(error, RequestError::Unsupported(ApiKey::InitProducerId));
    assert!(world.broker.seen.iter().all(|(api, _)| *api != ApiKey::InitProducerId));
}

#[test]
fn answers_arrive_whole_however_the_network_cuts_them() {
    for chunk_bytes in [1, 2, 3, 5, 7, 100] {
        let mut world = World::new(FakeBroker::new(3));
        world.chunk_bytes = chunk_bytes;
        world.connect();
        assert_eq!(world.client.cluster().leader(TOPIC, PartitionIndex(2)).map(|node| node.0), Some(NODE));
    }
}

#[test]
fn every_bootstrap_address_is_tried_and_the_last_failure_told() {
    let mut world = World::with_bootstrap(FakeBroker::new(1), &["a:1", "b:2", "broker:9092"]);
    world.unreachable.extend(["a:1".to_owned(), "b:2".to_owned()]);
    world.connect();

    let mut world = World::with_bootstrap(FakeBroker::new(1), &["a:1", "b:2"]);
    world.unreachable.extend(["a:1".to_owned(), "b:2".to_owned()]);
    let error = world.call(MetadataRequest::default()).unwrap_err();
    let unreachable = ConnectionError::Unreachable("nobody listens".to_owned());
    assert!(matches!(error, RequestError::Connection { error, .. } if error == unreachable));
}

#[test]
fn a_silent_broker_is_given_up_in_time() {
    let mut world = World::new(FakeBroker::new(1).fault(ApiKey::InitProducerId, Fault::Hang));
    world.connect();
    let before = world.now;
    let error =
        world.call(InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() }).unwrap_err();
    assert!(matches!(error, RequestError::Connection { error: ConnectionError::TimedOut, .. }), "{error:?}");
    assert_eq!(world.now.since_ns(before) / 1_000_000, 30_000);
}

#[test]
fn garbage_ends_the_connection_and_not_the_client() {
    for garbage in [&[0xff; 16][..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0, 0, 0, 5, 0, 0, 0, 99, 0][..]] {
        let mut world = World::new(FakeBroker::new(1));
        let id = world.client.send(world.now, Target::Any, MetadataRequest::default());
        let (link, _) = world.client.poll_connect(world.now).unwrap();
        world.client.handle_open(link);
        world.client.handle_bytes(world.now, link, garbage);
        assert_eq!(world.client.poll_close(), Some(link));
        let (answered, result) = world.client.poll_answer(world.now).unwrap();
        assert_eq!(answered, id);
        assert!(matches!(result, Err(RequestError::Connection { .. })), "{result:?}");
        for _ in 0..3 {
            world.wait(None);
            world.exchange();
        }
        world.connect();
    }
}

#[test]
fn a_request_that_the_broker_passes_over_still_has_its_answer() {
    let mut world = World::new(FakeBroker::new(1).fault(ApiKey::ListOffsets, Fault::Hang));
    world.connect();
    let passed_over = world.client.send(world.now, Target::Any, ListOffsetsRequest::default());
    let next = world.client.send(world.now, Target::Any, MetadataRequest::default());
    let answers = world.exchange();
    assert_eq!(answers.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [passed_over, next]);
    for (_, result) in answers {
        let unexpected = matches!(
            result,
            Err(RequestError::Connection { error: ConnectionError::Unexpected { correlation_id: 3 }, .. })
        );
        assert!(unexpected);
    }
}

/// Whatever a broker answers, the client neither panics nor forgets a request nor takes memory by the peer's word.
#[test]
fn damaged_answers_end_requests_and_nothing_else() {
    for seed in 0..200 {
        let mut world = World::new(FakeBroker::new(2));
        world.damage = Some(Random(seed));
        world.chunk_bytes = 1 + usize::try_from(seed * 7).unwrap() % 500;
        let mut producer = Producer::new(ProducerOptions::default());
        let mut consumer = Consumer::new(ConsumerOptions::default());
        consumer.assign(TOPIC, PartitionIndex(0), StartOffset::Earliest);
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..40 {
            let _ = world.append(&mut producer, Some(0), b"value");
            producer.advance(world.now, &mut world.client);
            consumer.advance(world.now, &mut world.client);
            world.client.send(world.now, Target::Any, ListOffsetsRequest::default());
            asked += 1;
            for (id, result) in world.exchange() {
                let now = world.now;
                let Err(result) = producer.handle_answer(now, &mut world.client, id, result) else { continue };
                let Err(result) = consumer.handle_answer(now, &mut world.client, id, result) else { continue };
                answered += 1;
                let _ = result.map(|answer| answer.decode::<ListOffsetsRequest>());
            }
            while consumer.poll_batch().is_some() {}
            world
                .wait([producer.poll_timeout(world.now), consumer.poll_timeout(world.now)].into_iter().flatten().min());
        }
        // The last ones may wait for bytes that a damaged size promises; they end with their time.
        world.now = world.now.plus_ms(60_000);
        for (id, result) in world.exchange() {
            let Err(result) = producer.handle_answer(world.now, &mut world.client, id, result) else { continue };
            let Err(_) = consumer.handle_answer(world.now, &mut world.client, id, result) else { continue };
            answered += 1;
        }
        assert_eq!(answered, asked, "seed {seed}");
    }
}
