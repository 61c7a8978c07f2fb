//! Conversations about groups and how far they have come.
//!
//! Each plays the whole life of a small group, with the API in question in the version in question and the others in
//! their newest.

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest, join_group_request, leave_group_request, offset_commit_request,
    offset_delete_request, offset_fetch_request, sync_group_request,
};
use corelane_core::protocol::wire::KafkaString;
use corelane_simulation::client::Link;

use crate::{Topic, create, text};

const NODE: i32 = 1;
const CONSUMER: &str = "consumer";
/// What a member says of itself, and what the leader gives it: the broker passes both on.
const METADATA: &[u8] = b"subscription";
const ASSIGNMENT: &[u8] = b"assignment";
/// First version in which a member asks for its id before it joins.
const VERSION_WITH_TWO_STEPS: i16 = 4;

/// The only member of a group.
struct Member {
    group: KafkaString,
    id: KafkaString,
    generation: i32,
}

pub(crate) async fn found(link: &mut Link, group: &str) {
    let request = FindCoordinatorRequest { coordinator_keys: vec![text(group)], ..Default::default() };
    let answer = link.call(6, &request).await.expect("is answered");
    assert_eq!(answer.coordinators[0].error_code, 0);
}

async fn join_once(link: &mut Link, version: i16, group: &str, id: KafkaString) -> JoinGroupResponse {
    let request = JoinGroupRequest {
        group_id: text(group),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: if version >= 1 { 10_000 } else { -1 },
        member_id: id,
        protocol_type: text(CONSUMER),
        protocols: vec![join_group_request::JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: METADATA.into(),
        }],
        ..Default::default()
    };
    link.call(version, &request).await.expect("is answered")
}

async fn join(link: &mut Link, version: i16, group: &str) -> JoinGroupResponse {
    let first = join_once(link, version, group, "".into()).await;
    if version < VERSION_WITH_TWO_STEPS {
        return first;
    }
    assert_eq!(ErrorCode(first.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    assert!(!first.member_id.is_empty());
    join_once(link, version, group, first.member_id).await
}

fn sync_request(version: i16, member: &Member, assignments: &[(&KafkaString, &'static [u8])]) -> SyncGroupRequest {
    let told = version >= 5;
    SyncGroupRequest {
        group_id: member.group.clone(),
        generation_id: member.generation,
        member_id: member.id.clone(),
        protocol_type: told.then(|| text(CONSUMER)),
        protocol_name: told.then(|| text("range")),
        assignments: assignments
            .iter()
            .map(|(id, assignment)| sync_group_request::SyncGroupRequestAssignment {
                member_id: (*id).clone(),
                assignment: (*assignment).into(),
            })
            .collect(),
        ..Default::default()
    }
}

/// A group of one member that has its assignment.
async fn stable(link: &mut Link, group: &str) -> Member {
    found(link, group).await;
    let joined = join(link, 9, group).await;
    assert_eq!(joined.error_code, 0);
    let member = Member { group: text(group), id: joined.member_id, generation: joined.generation_id };
    let request = sync_request(5, &member, &[(&member.id, ASSIGNMENT)]);
    assert_eq!(link.call(5, &request).await.expect("is answered").error_code, 0);
    member
}

fn commit_request(version: i16, member: &Member, topic: &Topic, partition: i32, offset: i64) -> OffsetCommitRequest {
    let by_id = version >= 10;
    OffsetCommitRequest {
        group_id: member.group.clone(),
        generation_id_or_member_epoch: member.generation,
        member_id: member.id.clone(),
        topics: vec![offset_commit_request::OffsetCommitRequestTopic {
            name: if by_id { "".into() } else { text(&topic.name) },
            topic_id: if by_id { topic.id } else { [0; 16] },
            partitions: vec![offset_commit_request::OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_leader_epoch: if version >= 6 { 0 } else { -1 },
                committed_metadata: Some("note".into()),
                ..Default::default()
            }],
        }],
        ..Default::default()
    }
}

async fn commit(link: &mut Link, member: &Member, topic: &Topic, partition: i32, offset: i64) {
    let answer = link.call(9, &commit_request(9, member, topic, partition, offset)).await.expect("is answered");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

/// Committed offset and error of a partition, and the error of the group.
async fn committed(
    link: &mut Link,
    version: i16,
    group: &str,
    topic: Option<&Topic>,
    partition: i32,
) -> (Option<(i64, ErrorCode)>, ErrorCode) {
    let by_id = version >= 10;
    if version >= 8 {
        let topics = topic.map(|topic| {
            vec![offset_fetch_request::OffsetFetchRequestTopics {
                name: if by_id { "".into() } else { text(&topic.name) },
                topic_id: if by_id { topic.id } else { [0; 16] },
                partition_indexes: vec![partition],
            }]
        });
        let group =
            offset_fetch_request::OffsetFetchRequestGroup { group_id: text(group), topics, ..Default::default() };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        let answer = link.call(version, &request).await.expect("is answered");
        let found = &answer.groups[0];
        if let (Some(topic), Some(told)) = (topic, found.topics.first()) {
            if by_id {
                assert_eq!(told.topic_id, topic.id);
            } else {
                assert_eq!(*told.name, *topic.name);
            }
        }
        let one = found.topics.iter().flat_map(|topic| &topic.partitions).find(|one| one.partition_index == partition);
        return (one.map(|one| (one.committed_offset, ErrorCode(one.error_code))), ErrorCode(found.error_code));
    }
    let topics = topic.map(|topic| {
        vec![offset_fetch_request::OffsetFetchRequestTopic {
            name: text(&topic.name),
            partition_indexes: vec![partition],
        }]
    });
    let request = OffsetFetchRequest { group_id: text(group), topics, ..Default::default() };
    let answer = link.call(version, &request).await.expect("is answered");
    let one = answer.topics.iter().flat_map(|topic| &topic.partitions).find(|one| one.partition_index == partition);
    (one.map(|one| (one.committed_offset, ErrorCode(one.error_code))), ErrorCode(answer.error_code))
}

pub(crate) async fn find_coordinator(version: i16, link: &mut Link) {
    for (kind, code) in
        [(0, ErrorCode::NONE), (1, ErrorCode::NONE), (2, ErrorCode::INVALID_REQUEST), (9, ErrorCode::INVALID_REQUEST)]
    {
        if version < 1 && kind != 0 {
            continue;
        }
        let several = version >= 4;
        let key = text("of-a-group");
        let request = FindCoordinatorRequest {
            key: if several { "".into() } else { key.clone() },
            key_type: kind,
            coordinator_keys: if several { vec![key, text("other")] } else { Vec::new() },
        };
        let answer = link.call(version, &request).await.expect("is answered");
        let (error, node, host) = if several {
            let keys: Vec<_> = answer.coordinators.iter().map(|found| &*found.key).collect();
            assert_eq!(keys, ["of-a-group", "other"]);
            let first = &answer.coordinators[0];
            (first.error_code, first.node_id, first.host.clone())
        } else {
            (answer.error_code, answer.node_id, answer.host.clone())
        };
        assert_eq!(ErrorCode(error), code);
        assert_eq!((node, host.is_empty()), if code.is_none() { (NODE, false) } else { (-1, true) });
    }
}

pub(crate) async fn join_group(version: i16, link: &mut Link) {
    let group = format!("join-{version}");
    found(link, &group).await;
    let joined = join(link, version, &group).await;
    assert_eq!((joined.error_code, joined.generation_id), (0, 1));
    assert_eq!(joined.leader, joined.member_id, "the only member leads");
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some(CONSUMER));
    let [member] = joined.members.as_slice() else { panic!("one member") };
    assert_eq!((&member.member_id, &*member.metadata), (&joined.member_id, METADATA));
    let stranger = join_once(link, version, &group, "stranger".into()).await;
    assert_eq!(ErrorCode(stranger.error_code), ErrorCode::UNKNOWN_MEMBER_ID);
}

pub(crate) async fn sync_group(version: i16, link: &mut Link) {
    let group = format!("sync-{version}");
    found(link, &group).await;
    let joined = join(link, 9, &group).await;
    let mut member = Member { group: text(&group), id: joined.member_id, generation: joined.generation_id };
    let request = sync_request(version, &member, &[(&member.id, ASSIGNMENT)]);
    let answer = link.call(version, &request).await.expect("is answered");
    assert_eq!((answer.error_code, &*answer.assignment), (0, ASSIGNMENT));
    assert_eq!(answer.protocol_name.as_deref(), (version >= 5).then_some("range"));
    member.generation += 1;
    let answer = link.call(version, &sync_request(version, &member, &[])).await.expect("is answered");
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::ILLEGAL_GENERATION);
}

pub(crate) async fn heartbeat(version: i16, link: &mut Link) {
    let member = stable(link, &format!("heartbeat-{version}")).await;
    for (id, generation, code) in [
        (member.id.clone(), member.generation, ErrorCode::NONE),
        (member.id.clone(), member.generation + 1, ErrorCode::ILLEGAL_GENERATION),
        (text("stranger"), member.generation, ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        let request = HeartbeatRequest {
            group_id: member.group.clone(),
            generation_id: generation,
            member_id: id,
            ..Default::default()
        };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(ErrorCode(answer.error_code), code);
    }
}

pub(crate) async fn leave_group(version: i16, link: &mut Link) {
    let member = stable(link, &format!("leave-{version}")).await;
    for code in [ErrorCode::NONE, ErrorCode::UNKNOWN_MEMBER_ID] {
        let several = version >= 3;
        let identity = leave_group_request::MemberIdentity { member_id: member.id.clone(), ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: member.group.clone(),
            member_id: if several { "".into() } else { member.id.clone() },
            members: if several { vec![identity] } else { Vec::new() },
        };
        let answer = link.call(version, &request).await.expect("is answered");
        let told = answer.members.first().map_or(answer.error_code, |member| member.error_code);
        assert_eq!((ErrorCode(told), answer.members.len()), (code, usize::from(several)));
    }
}

pub(crate) async fn offset_commit(version: i16, link: &mut Link) {
    let topic = create(link, format!("commit-{version}"), 1).await;
    let mut member = stable(link, &format!("commit-{version}")).await;
    let unknown = if version >= 10 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
    let nowhere = Topic { name: "nowhere".to_owned(), id: [7; 16] };
    for (topic, partition, offset, code) in [
        (&topic, 0, 41, ErrorCode::NONE),
        (&topic, 0, 42, ErrorCode::NONE),
        (&topic, 7, 42, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (&nowhere, 0, 42, unknown),
    ] {
        let request = commit_request(version, &member, topic, partition, offset);
        let answer = link.call(version, &request).await.expect("is answered");
        let told = &answer.topics[0].partitions[0];
        assert_eq!((told.partition_index, ErrorCode(told.error_code)), (partition, code));
    }
    let group = member.group.to_string();
    assert_eq!(committed(link, 10, &group, Some(&topic), 0).await, (Some((42, ErrorCode::NONE)), ErrorCode::NONE));
    member.generation += 1;
    let answer = link.call(version, &commit_request(version, &member, &topic, 0, 43)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), ErrorCode::ILLEGAL_GENERATION);
}

pub(crate) async fn offset_fetch(version: i16, link: &mut Link) {
    let topic = create(link, format!("fetched-{version}"), 2).await;
    let member = stable(link, &format!("fetched-{version}")).await;
    commit(link, &member, &topic, 1, 17).await;
    let group = member.group.to_string();
    let none = Some((-1, ErrorCode::NONE));
    let known = Some((17, ErrorCode::NONE));
    assert_eq!(committed(link, version, &group, Some(&topic), 1).await, (known, ErrorCode::NONE));
    assert_eq!(committed(link, version, &group, Some(&topic), 0).await, (none, ErrorCode::NONE));
    assert_eq!(committed(link, version, "nobody", Some(&topic), 0).await, (none, ErrorCode::NONE));
    if version >= 2 {
        assert_eq!(committed(link, version, &group, None, 1).await, (known, ErrorCode::NONE), "all topics");
    }
    if version >= 10 {
        let nowhere = Topic { name: "nowhere".to_owned(), id: [7; 16] };
        let unknown = Some((-1, ErrorCode::UNKNOWN_TOPIC_ID));
        assert_eq!(committed(link, version, &group, Some(&nowhere), 0).await, (unknown, ErrorCode::NONE));
    }
}

pub(crate) async fn describe_groups(version: i16, link: &mut Link) {
    let member = stable(link, &format!("described-{version}")).await;
    let request = DescribeGroupsRequest {
        groups: vec![member.group.clone(), text("nobody")],
        include_authorized_operations: version >= 3,
    };
    let answer = link.call(version, &request).await.expect("is answered");
    let [described, none] = answer.groups.as_slice() else { panic!("two groups were asked for") };
    assert_eq!((described.error_code, &*described.group_state), (0, "Stable"));
    assert_eq!((&*described.protocol_type, &*described.protocol_data), (CONSUMER, "range"));
    assert_eq!(described.authorized_operations, if version >= 3 { 0b1101_0100_1000 } else { i32::MIN });
    let [told] = described.members.as_slice() else { panic!("one member") };
    assert_eq!((&told.member_id, &*told.client_host), (&member.id, "/127.0.0.1"));
    assert_eq!((&*told.member_metadata, &*told.member_assignment), (METADATA, ASSIGNMENT));
    assert_eq!(&*none.group_state, "Dead");
    let code = if version >= 6 { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::NONE };
    assert_eq!(ErrorCode(none.error_code), code);
}

pub(crate) async fn list_groups(version: i16, link: &mut Link) {
    let member = stable(link, &format!("listed-{version}")).await;
    let listed = async |link: &mut Link, states: &[&str], types: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|one| text(one)).collect();
        let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(answer.error_code, 0);
        answer.groups.into_iter().find(|group| group.group_id == member.group)
    };
    let group = listed(link, &[], &[]).await.expect("is listed");
    assert_eq!(&*group.protocol_type, CONSUMER);
    assert_eq!(&*group.group_state, if version >= 4 { "Stable" } else { "" });
    assert_eq!(&*group.group_type, if version >= 5 { "classic" } else { "" });
    if version >= 4 {
        assert!(listed(link, &["stable"], &[]).await.is_some(), "in any case");
        assert!(listed(link, &["Empty"], &[]).await.is_none());
    }
    if version >= 5 {
        assert!(listed(link, &[], &["Classic"]).await.is_some());
        assert!(listed(link, &[], &["consumer"]).await.is_none());
    }
}

pub(crate) async fn delete_groups(version: i16, link: &mut Link) {
    let member = stable(link, &format!("deleted-{version}")).await;
    let delete = async |link: &mut Link, group: &KafkaString| {
        let request = DeleteGroupsRequest { groups_names: vec![group.clone()] };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(answer.results[0].group_id, *group);
        ErrorCode(answer.results[0].error_code)
    };
    assert_eq!(delete(link, &member.group).await, ErrorCode::NON_EMPTY_GROUP);
    let identity = leave_group_request::MemberIdentity { member_id: member.id.clone(), ..Default::default() };
    let request = LeaveGroupRequest { group_id: member.group.clone(), members: vec![identity], ..Default::default() };
    assert_eq!(link.call(5, &request).await.expect("is answered").error_code, 0);
    assert_eq!(delete(link, &member.group).await, ErrorCode::NONE);
    assert_eq!(delete(link, &member.group).await, ErrorCode::GROUP_ID_NOT_FOUND);
}

pub(crate) async fn offset_delete(version: i16, link: &mut Link) {
    let topic = create(link, format!("forgotten-{version}"), 1).await;
    let group = format!("forgotten-{version}");
    found(link, &group).await;
    // Offsets of a group without members.
    let nobody = Member { group: text(&group), id: "".into(), generation: -1 };
    commit(link, &nobody, &topic, 0, 5).await;
    for (name, partition, code) in [
        (&*topic.name, 0, ErrorCode::NONE),
        (&*topic.name, 7, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("nowhere", 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let request = OffsetDeleteRequest {
            group_id: text(&group),
            topics: vec![offset_delete_request::OffsetDeleteRequestTopic {
                name: text(name),
                partitions: vec![offset_delete_request::OffsetDeleteRequestPartition { partition_index: partition }],
            }],
        };
        let answer = link.call(version, &request).await.expect("is answered");
        // With its only offset the group is gone.
        if answer.error_code == 0 {
            assert_eq!(ErrorCode(answer.topics[0].partitions[0].error_code), code, "{name} {partition}");
        } else {
            assert_eq!(ErrorCode(answer.error_code), ErrorCode::GROUP_ID_NOT_FOUND);
            assert!(!code.is_none());
        }
    }
    let none = (Some((-1, ErrorCode::NONE)), ErrorCode::NONE);
    assert_eq!(committed(link, 9, &group, Some(&topic), 0).await, none);
}
