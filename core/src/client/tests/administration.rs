//! Single questions: whom they go to, when they are asked again, and when not.

use super::fake_broker::{FakeBroker, Fault};
use super::world::World;
use crate::base::NodeId;
use crate::client::*;
use crate::protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use crate::protocol::{ApiKey, KafkaString};

fn verdict(response: &DeleteGroupsResponse) -> ErrorCode {
    response.results.first().map_or(ErrorCode::NONE, |result| ErrorCode(result.error_code))
}

fn delete(world: &mut World, timeout_ms: u64) -> AdminResult<DeleteGroupsRequest> {
    let request = DeleteGroupsRequest { groups_names: vec![KafkaString::from("g")] };
    let deadline = world.now.plus_ms(timeout_ms);
    let mut call = AdminCall::new(Destination::Group("g".to_owned()), request, deadline, verdict);
    for _ in 0..10_000 {
        call.advance(world.now, &mut world.client);
        let answers = world.exchange();
        let is_quiet = answers.is_empty();
        for (id, result) in answers {
            let now = world.now;
            if let Some(end) = call.handle_answer(now, &mut world.client, id, result).unwrap() {
                return end;
            }
        }
        if is_quiet {
            world.wait(call.poll_timeout());
        }
    }
    panic!("the call does not end");
}

fn asked(world: &World, api: ApiKey) -> usize {
    world.broker.seen.iter().filter(|(seen, _)| *seen == api).count()
}

#[test]
fn a_coordinator_is_found_and_asked_again_while_it_changes() {
    let mut world = World::new(FakeBroker::new(1));
    assert_eq!(verdict(&delete(&mut world, 1_000).unwrap()), ErrorCode::NONE);
    assert_eq!(world.client.cluster().brokers[&NodeId(1)].to_string(), "broker:9092");

    for (code, looked) in [
        (ErrorCode::NOT_COORDINATOR, 2),
        (ErrorCode::COORDINATOR_NOT_AVAILABLE, 2),
        (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, 1),
    ] {
        let mut world = World::new(FakeBroker::new(1).fault(ApiKey::DeleteGroups, Fault::Refuse(code)));
        assert_eq!(verdict(&delete(&mut world, 1_000).unwrap()), ErrorCode::NONE, "{code}");
        assert_eq!(
            (asked(&world, ApiKey::DeleteGroups), asked(&world, ApiKey::FindCoordinator)),
            (2, looked),
            "{code}"
        );
    }
    let missing = Fault::Refuse(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let mut world = World::new(FakeBroker::new(1).fault(ApiKey::FindCoordinator, missing));
    assert_eq!(verdict(&delete(&mut world, 1_000).unwrap()), ErrorCode::NONE);
}

#[test]
fn what_does_not_pass_is_told_at_once_and_what_passes_not_for_ever() {
    let refused = Fault::Refuse(ErrorCode::NON_EMPTY_GROUP);
    let mut world = World::new(FakeBroker::new(1).fault(ApiKey::DeleteGroups, refused));
    assert_eq!(verdict(&delete(&mut world, 1_000).unwrap()), ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(asked(&world, ApiKey::DeleteGroups), 1);

    let mut broker = FakeBroker::new(1);
    for _ in 0..100 {
        broker = broker.fault(ApiKey::DeleteGroups, Fault::Refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
    }
    let mut world = World::new(broker);
    let before = world.now;
    assert_eq!(verdict(&delete(&mut world, 1_000).unwrap()), ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    assert!(world.now.since_ns(before) / 1_000_000 <= 1_000);
    assert_eq!(asked(&world, ApiKey::DeleteGroups), 11);
}

#[test]
fn a_change_whose_answer_was_lost_is_not_repeated() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
        let mut world = World::new(FakeBroker::new(1).fault(ApiKey::DeleteGroups, fault));
        let error = delete(&mut world, 10_000).unwrap_err();
        assert!(matches!(error, RequestError::Connection { .. }), "{error}");
        assert_eq!(asked(&world, ApiKey::DeleteGroups), 1);
    }
}
