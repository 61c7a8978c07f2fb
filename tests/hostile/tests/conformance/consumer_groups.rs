//! Groups of the consumer protocol (KIP-848).

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::consumer_group_describe_response::DescribedGroup;
use corelane_core::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use corelane_core::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use corelane_simulation::client::Link;

use crate::{Topic, create, groups, text};

/// First version that knows patterns, and in which clients make their ids.
const VERSION_WITH_PATTERNS: i16 = 1;
const SAME_SINCE_ALWAYS: i16 = 0;
/// The bits of `describe` and others: what may be done with a group.
const DESCRIBE: i32 = 1 << 8;

async fn beat(
    link: &mut Link,
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    link.call(version, request).await.expect("is answered")
}

fn joining(group: &str, member: &str, topic: &Topic) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: text(group),
        member_id: text(member),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec![text(&topic.name)]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// A group of one member that has both partitions of its topic.
async fn of_one(link: &mut Link, version: i16, group: &str) -> (Topic, ConsumerGroupHeartbeatResponse) {
    let topic = create(link, format!("{group}-topic"), 2).await;
    groups::found(link, group).await;
    let joined = beat(link, version, &joining(group, "m", &topic)).await;
    assert_eq!((joined.error_code, joined.member_epoch, joined.heartbeat_interval_ms), (0, 2, 5_000));
    let assigned = joined.assignment.clone().expect("who joins is told what it has").topic_partitions;
    assert_eq!((assigned.len(), assigned[0].topic_id, &assigned[0].partitions[..]), (1, topic.id, &[0, 1][..]));
    (topic, joined)
}

async fn described(link: &mut Link, version: i16, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![text(group)], include_authorized_operations: true };
    link.call(version, &request).await.expect("is answered").groups.remove(0)
}

pub(crate) async fn heartbeat(version: i16, link: &mut Link) {
    let group = format!("consumer-{version}");
    let (topic, joined) = of_one(link, version, &group).await;
    let now = ConsumerGroupHeartbeatRequest {
        group_id: text(&group),
        member_id: joined.member_id.clone().expect("a member has an id"),
        member_epoch: joined.member_epoch,
        ..Default::default()
    };
    let again = beat(link, version, &now).await;
    assert_eq!((again.error_code, again.member_epoch, again.assignment), (0, 2, None));
    let own = TopicPartitions { topic_id: topic.id, partitions: vec![0, 1] };
    let full = ConsumerGroupHeartbeatRequest {
        member_epoch: 2,
        topic_partitions: Some(vec![own]),
        ..joining(&group, "m", &topic)
    };
    assert!(beat(link, version, &full).await.assignment.is_some(), "who tells everything is told everything");
    let ahead = ConsumerGroupHeartbeatRequest { member_epoch: 7, ..now.clone() };
    let refused = beat(link, version, &ahead).await;
    assert_eq!(ErrorCode(refused.error_code), ErrorCode::FENCED_MEMBER_EPOCH);
    assert!(refused.error_message.is_some());
    let nameless = beat(link, version, &joining(&group, "", &topic)).await;
    if version < VERSION_WITH_PATTERNS {
        assert_eq!((nameless.error_code, nameless.member_id.map(|id| id.len())), (0, Some(22)));
    } else {
        assert_eq!(ErrorCode(nameless.error_code), ErrorCode::INVALID_REQUEST);
        let pattern = ConsumerGroupHeartbeatRequest {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some(text(&format!("{group}-to.*"))),
            ..joining(&group, "p", &topic)
        };
        assert_eq!(beat(link, version, &pattern).await.error_code, 0);
        let broken = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some(text("(")), ..pattern };
        let refused = beat(link, version, &broken).await;
        assert_eq!(ErrorCode(refused.error_code), ErrorCode::INVALID_REGULAR_EXPRESSION);
    }
    let left = beat(link, version, &ConsumerGroupHeartbeatRequest { member_epoch: -1, ..now.clone() }).await;
    assert_eq!((left.error_code, left.member_epoch), (0, -1));
    let gone = beat(link, version, &now).await;
    assert_eq!(ErrorCode(gone.error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

pub(crate) async fn describe(version: i16, link: &mut Link) {
    let group = format!("consumer-described-{version}");
    let (topic, _) = of_one(link, SAME_SINCE_ALWAYS, &group).await;
    let known = described(link, version, &group).await;
    assert_eq!((known.error_code, known.group_state.as_str(), known.assignor_name.as_str()), (0, "Stable", "uniform"));
    assert_eq!((known.group_epoch, known.assignment_epoch), (2, 2));
    assert_ne!(known.authorized_operations & DESCRIBE, 0);
    let member = &known.members[0];
    assert_eq!((member.member_id.as_str(), member.member_epoch), ("m", 2));
    assert_eq!(member.subscribed_topic_names, [text(&topic.name)]);
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(*member.assignment.topic_partitions[0].topic_name, *topic.name);
    assert_eq!(member.member_type, if version >= 1 { 1 } else { -1 });
    let unknown = described(link, version, "consumer-nobody").await;
    assert_eq!(ErrorCode(unknown.error_code), ErrorCode::GROUP_ID_NOT_FOUND);
    let nameless = described(link, version, "").await;
    assert_eq!(ErrorCode(nameless.error_code), ErrorCode::INVALID_GROUP_ID);
}
