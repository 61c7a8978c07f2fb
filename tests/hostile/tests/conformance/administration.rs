//! Conversations about the APIs that administer one node.

use corelane_core::base::Uuid;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, CreateAclsRequest,
    DeleteAclsRequest, DeleteRecordsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeConfigsRequest,
    DescribeLogDirsRequest, DescribeProducersRequest, DescribeQuorumRequest, ElectLeadersRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest, alter_configs_request, alter_partition_reassignments_request,
    alter_replica_log_dirs_request, create_acls_request, delete_acls_request, delete_records_request,
    describe_client_quotas_request, describe_configs_request, describe_log_dirs_request, describe_producers_request,
    describe_quorum_request, elect_leaders_request, incremental_alter_configs_request, list_offsets_request,
    list_partition_reassignments_request, update_features_request,
};
use corelane_simulation::client::Link;

use crate::{Topic, append, create, text};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

/// The node that the simulation runs.
const NODE: i32 = 1;

async fn first_offset(link: &mut Link, topic: &Topic) -> i64 {
    let asked = list_offsets_request::ListOffsetsTopic {
        name: text(&topic.name),
        partitions: vec![list_offsets_request::ListOffsetsPartition { timestamp: -2, ..Default::default() }],
    };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![asked], ..Default::default() };
    link.call(7, &request).await.expect("is answered").topics[0].partitions[0].offset
}

/// Value and source of a setting.
async fn setting(link: &mut Link, kind: i8, resource: &str, name: &str) -> Option<(Option<String>, i8)> {
    let asked = describe_configs_request::DescribeConfigsResource {
        resource_type: kind,
        resource_name: text(resource),
        configuration_keys: Some(vec![text(name)]),
    };
    let request = DescribeConfigsRequest { resources: vec![asked], ..Default::default() };
    let answer = link.call(4, &request).await.expect("is answered");
    let row = answer.results[0].configs.first()?;
    Some((row.value.as_ref().map(ToString::to_string), row.config_source))
}

pub(crate) async fn delete_records(version: i16, link: &mut Link) {
    let topic = create(link, format!("truncate-{version}"), 1).await;
    append(link, &topic, 0, "old").await;
    append(link, &topic, 0, "new").await;
    for (name, offset, low_watermark, code) in [
        (&*topic.name, 4, 4, ErrorCode::NONE),
        // What is gone already is no mistake.
        (&*topic.name, 2, 4, ErrorCode::NONE),
        (&*topic.name, 7, -1, ErrorCode::OFFSET_OUT_OF_RANGE),
        (&*topic.name, -2, -1, ErrorCode::OFFSET_OUT_OF_RANGE),
        ("nowhere", 0, -1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (&*topic.name, -1, 6, ErrorCode::NONE),
    ] {
        let partitions = vec![delete_records_request::DeleteRecordsPartition { partition_index: 0, offset }];
        let topics = vec![delete_records_request::DeleteRecordsTopic { name: text(name), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: 1_000 };
        let answer = link.call(version, &request).await.expect("is answered");
        let found = &answer.topics[0].partitions[0];
        assert_eq!((ErrorCode(found.error_code), found.low_watermark), (code, low_watermark), "{name} {offset}");
    }
    assert_eq!(first_offset(link, &topic).await, 6);
    assert_eq!(append(link, &topic, 0, "goes on").await, 6);
}

pub(crate) async fn alter_configs(version: i16, link: &mut Link) {
    let topic = create(link, format!("alter-{version}"), 1).await;
    let request = |resource: &str, name: &str, value: Option<&str>, validate_only| AlterConfigsRequest {
        resources: vec![alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: text(resource),
            configs: vec![alter_configs_request::AlterableConfig { name: text(name), value: value.map(text) }],
        }],
        validate_only,
    };
    for (resource, name, value, validate_only, code) in [
        (&*topic.name, "flush.ms", Some("7"), true, ErrorCode::NONE),
        (&*topic.name, "flush.ms", Some("x"), false, ErrorCode::INVALID_CONFIG),
        (&*topic.name, "flush.ms", None, false, ErrorCode::INVALID_REQUEST),
        ("nowhere", "flush.ms", Some("7"), false, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let answer = link.call(version, &request(resource, name, value, validate_only)).await.expect("is answered");
        let found = &answer.responses[0];
        assert_eq!((ErrorCode(found.error_code), found.error_message.is_some()), (code, !code.is_none()));
        assert_eq!((found.resource_type, &*found.resource_name), (TOPIC, resource));
        assert_eq!(setting(link, TOPIC, &topic.name, "flush.ms").await.map(|(_, source)| source), Some(5));
    }
    // Everything that is not named gets its default, so also what the topic was made with.
    let answer = link.call(version, &request(&topic.name, "flush.ms", Some("7"), false)).await.expect("is answered");
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(setting(link, TOPIC, &topic.name, "flush.ms").await, Some((Some("7".to_owned()), 1)));
    let default = Some((Some("1048588".to_owned()), 5));
    assert_eq!(setting(link, TOPIC, &topic.name, "max.message.bytes").await, default);
}

pub(crate) async fn incremental_alter_configs(version: i16, link: &mut Link) {
    let topic = create(link, format!("change-{version}"), 1).await;
    let alter = async |link: &mut Link, kind, resource: &str, operation, name: &str, value: Option<&str>| {
        let configs = vec![incremental_alter_configs_request::AlterableConfig {
            name: text(name),
            config_operation: operation,
            value: value.map(text),
        }];
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: text(resource),
            configs,
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let answer = link.call(version, &request).await.expect("is answered");
        ErrorCode(answer.responses[0].error_code)
    };
    let name = topic.name.clone();
    assert_eq!(alter(link, TOPIC, &name, SET, "flush.ms", Some("7")).await, ErrorCode::NONE);
    assert_eq!(setting(link, TOPIC, &name, "flush.ms").await, Some((Some("7".to_owned()), 1)));
    let kept = Some((Some("1000000".to_owned()), 1));
    assert_eq!(setting(link, TOPIC, &name, "max.message.bytes").await, kept, "what is not named stays");
    assert_eq!(alter(link, TOPIC, &name, DELETE, "flush.ms", None).await, ErrorCode::NONE);
    assert_eq!(setting(link, TOPIC, &name, "flush.ms").await.map(|(_, source)| source), Some(5));
    assert_eq!(alter(link, TOPIC, &name, APPEND, "flush.ms", Some("7")).await, ErrorCode::INVALID_CONFIG);
    assert_eq!(alter(link, TOPIC, &name, 9, "flush.ms", Some("7")).await, ErrorCode::INVALID_REQUEST);

    // A broker's own setting acts on its topics, and is told as what it is.
    let node = NODE.to_string();
    assert_eq!(alter(link, BROKER, "", SET, "log.segment.bytes", Some("2000000")).await, ErrorCode::NONE);
    assert_eq!(setting(link, TOPIC, &name, "segment.bytes").await, Some((Some("2000000".to_owned()), 3)));
    assert_eq!(alter(link, BROKER, &node, SET, "log.segment.bytes", Some("3000000")).await, ErrorCode::NONE);
    assert_eq!(setting(link, TOPIC, &name, "segment.bytes").await, Some((Some("3000000".to_owned()), 2)));
    let of_all = Some((Some("2000000".to_owned()), 3));
    assert_eq!(setting(link, BROKER, "", "log.segment.bytes").await, of_all);
    for resource in ["", &node] {
        assert_eq!(alter(link, BROKER, resource, DELETE, "log.segment.bytes", None).await, ErrorCode::NONE);
    }
    let default = Some((Some("1073741824".to_owned()), 5));
    assert_eq!(setting(link, TOPIC, &name, "segment.bytes").await, default);
    assert_eq!(setting(link, BROKER, "", "log.segment.bytes").await, None);
    assert_eq!(alter(link, BROKER, &node, SET, "num.partitions", Some("3")).await, ErrorCode::INVALID_REQUEST);
    assert_eq!(alter(link, BROKER, "7", SET, "log.segment.bytes", Some("3")).await, ErrorCode::INVALID_REQUEST);
}

pub(crate) async fn alter_replica_log_dirs(version: i16, link: &mut Link) {
    let topic = create(link, format!("move-{version}"), 1).await;
    let all = link.call(4, &DescribeLogDirsRequest::default()).await.expect("is answered");
    let here = all.results[0].log_dir.clone();
    for (path, name, code) in [
        (&*here, &*topic.name, ErrorCode::NONE),
        ("/elsewhere", &*topic.name, ErrorCode::LOG_DIR_NOT_FOUND),
        (&*here, "nowhere", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let topics =
            vec![alter_replica_log_dirs_request::AlterReplicaLogDirTopic { name: text(name), partitions: vec![0] }];
        let dirs = vec![alter_replica_log_dirs_request::AlterReplicaLogDir { path: text(path), topics }];
        let answer = link.call(version, &AlterReplicaLogDirsRequest { dirs }).await.expect("is answered");
        assert_eq!(ErrorCode(answer.results[0].partitions[0].error_code), code, "{path} {name}");
    }
}

pub(crate) async fn describe_log_dirs(version: i16, link: &mut Link) {
    let topic = create(link, format!("size-{version}"), 2).await;
    append(link, &topic, 1, "some").await;
    let named = describe_log_dirs_request::DescribableLogDirTopic { topic: text(&topic.name), partitions: vec![1, 7] };
    let request = DescribeLogDirsRequest { topics: Some(vec![named]) };
    let answer = link.call(version, &request).await.expect("is answered");
    let [directory] = answer.results.as_slice() else { panic!("one directory") };
    assert_eq!((answer.error_code, directory.error_code, directory.is_cordoned), (0, 0, false));
    assert!(directory.log_dir.starts_with('/'));
    assert_eq!(directory.topics.len(), 1);
    let [partition] = directory.topics[0].partitions.as_slice() else { panic!("one of the two exists") };
    assert_eq!((partition.partition_index, partition.offset_lag, partition.is_future_key), (1, 0, false));
    assert!(partition.partition_size > 61, "a batch is there");
    let tells_space = version >= 4;
    assert_eq!((directory.total_bytes > 0, directory.usable_bytes > 0), (tells_space, tells_space));
    let answer = link.call(version, &DescribeLogDirsRequest { topics: None }).await.expect("is answered");
    let found = answer.results[0].topics.iter().find(|found| *found.name == *topic.name).expect("is among all");
    assert_eq!(found.partitions.len(), 2);
}

pub(crate) async fn elect_leaders(version: i16, link: &mut Link) {
    let topic = create(link, format!("elect-{version}"), 1).await;
    let request = ElectLeadersRequest {
        topic_partitions: Some(vec![elect_leaders_request::TopicPartitions {
            topic: text(&topic.name),
            partitions: vec![0, 7],
        }]),
        ..Default::default()
    };
    let answer = link.call(version, &request).await.expect("is answered");
    assert_eq!(answer.error_code, 0);
    let results = &answer.replica_election_results[0].partition_result;
    let told: Vec<_> = results.iter().map(|result| (result.partition_id, ErrorCode(result.error_code))).collect();
    assert_eq!(told, [(0, ErrorCode::ELECTION_NOT_NEEDED), (7, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)]);
    assert!(results.iter().all(|result| result.error_message.is_some()));
    let everything = ElectLeadersRequest { topic_partitions: None, ..Default::default() };
    let answer = link.call(version, &everything).await.expect("is answered");
    let mut all = answer.replica_election_results.iter();
    assert!(all.any(|found| *found.topic == *topic.name && found.partition_result.is_empty()), "nothing was done");
    if version >= 1 {
        let unknown = ElectLeadersRequest { election_type: 5, ..request };
        let answer = link.call(version, &unknown).await.expect("is answered");
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_REQUEST);
    }
}

pub(crate) async fn alter_partition_reassignments(version: i16, link: &mut Link) {
    let topic = create(link, format!("reassign-{version}"), 1).await;
    for (name, replicas, code) in [
        (&*topic.name, Some(vec![NODE]), ErrorCode::NONE),
        (&*topic.name, Some(vec![NODE, 7]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (&*topic.name, Some(vec![NODE, NODE]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (&*topic.name, Some(vec![]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (&*topic.name, None, ErrorCode::NO_REASSIGNMENT_IN_PROGRESS),
        ("nowhere", Some(vec![NODE]), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let asked = alter_partition_reassignments_request::ReassignablePartition { partition_index: 0, replicas };
        let topics = vec![alter_partition_reassignments_request::ReassignableTopic {
            name: text(name),
            partitions: vec![asked],
        }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let answer = link.call(version, &request).await.expect("is answered");
        let found = &answer.responses[0].partitions[0];
        assert_eq!((answer.error_code, ErrorCode(found.error_code)), (0, code), "{:?}", found.error_message);
        assert_eq!(found.error_message.is_some(), !code.is_none());
    }
}

pub(crate) async fn list_partition_reassignments(version: i16, link: &mut Link) {
    let topic = create(link, format!("moving-{version}"), 1).await;
    let named = list_partition_reassignments_request::ListPartitionReassignmentsTopics {
        name: text(&topic.name),
        partition_indexes: vec![0],
    };
    for topics in [None, Some(vec![named])] {
        let request = ListPartitionReassignmentsRequest { topics, ..Default::default() };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    }
}

pub(crate) async fn describe_client_quotas(version: i16, link: &mut Link) {
    let component = |kind: &str, match_type, name: Option<&str>| describe_client_quotas_request::ComponentData {
        entity_type: text(kind),
        match_type,
        r#match: name.map(text),
    };
    for (components, code) in [
        (vec![], ErrorCode::NONE),
        (vec![component("user", 0, Some("a")), component("client-id", 1, None)], ErrorCode::NONE),
        (vec![component("user", 2, None), component("user", 2, None)], ErrorCode::INVALID_REQUEST),
        (vec![component("user", 0, None)], ErrorCode::INVALID_REQUEST),
        (vec![component("ip", 9, None)], ErrorCode::INVALID_REQUEST),
        (vec![component("planet", 2, None)], ErrorCode::UNSUPPORTED_VERSION),
    ] {
        let request = DescribeClientQuotasRequest { components, strict: false };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!(ErrorCode(answer.error_code), code);
        assert_eq!(answer.entries.as_ref().map(Vec::len), code.is_none().then_some(0));
    }
}

const ANY: i8 = 1;
const READ: i8 = 3;
const ALLOW: i8 = 3;
const LITERAL: i8 = 3;

/// Nobody decides who may do what, so nothing of it is told or taken.
pub(crate) async fn describe_acls(version: i16, link: &mut Link) {
    let request = DescribeAclsRequest {
        resource_type_filter: ANY,
        pattern_type_filter: LITERAL,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    let answer = link.call(version, &request).await.expect("is answered");
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::SECURITY_DISABLED);
    assert!(answer.error_message.is_some() && answer.resources.is_empty());
}

pub(crate) async fn create_acls(version: i16, link: &mut Link) {
    let allowed = |name| create_acls_request::AclCreation {
        resource_type: TOPIC,
        resource_name: text(name),
        resource_pattern_type: LITERAL,
        principal: text("User:somebody"),
        host: text("*"),
        operation: READ,
        permission_type: ALLOW,
    };
    for creations in [Vec::new(), vec![allowed("one"), allowed("two")]] {
        let count = creations.len();
        let answer = link.call(version, &CreateAclsRequest { creations }).await.expect("is answered");
        let codes: Vec<_> = answer.results.iter().map(|result| ErrorCode(result.error_code)).collect();
        assert_eq!(codes, vec![ErrorCode::SECURITY_DISABLED; count]);
    }
}

pub(crate) async fn delete_acls(version: i16, link: &mut Link) {
    let everything = delete_acls_request::DeleteAclsFilter {
        resource_type_filter: ANY,
        pattern_type_filter: LITERAL,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    for count in [0, 2] {
        let request = DeleteAclsRequest { filters: vec![everything.clone(); count] };
        let answer = link.call(version, &request).await.expect("is answered");
        let found: Vec<_> =
            answer.filter_results.iter().map(|r| (ErrorCode(r.error_code), r.matching_acls.len())).collect();
        assert_eq!(found, vec![(ErrorCode::SECURITY_DISABLED, 0); count]);
    }
}

pub(crate) async fn describe_quorum(version: i16, link: &mut Link) {
    let partition = |partition_index| describe_quorum_request::PartitionData { partition_index };
    let request = |name: &str, index| DescribeQuorumRequest {
        topics: vec![describe_quorum_request::TopicData { topic_name: text(name), partitions: vec![partition(index)] }],
    };
    let answer = link.call(version, &request("__cluster_metadata", 0)).await.expect("is answered");
    let found = &answer.topics[0].partitions[0];
    assert_eq!((answer.error_code, found.error_code, found.leader_id), (0, 0, NODE));
    assert!(found.leader_epoch > 0 && found.high_watermark > 0);
    let [voter] = found.current_voters.as_slice() else { panic!("one voter") };
    assert_eq!((voter.replica_id, voter.log_end_offset), (NODE, found.high_watermark));
    assert_eq!(voter.replica_directory_id == Uuid::ZERO.0, version < 2);
    assert_eq!(voter.last_caught_up_timestamp > 0, version >= 1);
    assert!(found.observers.is_empty());
    let nodes: Vec<_> = answer.nodes.iter().map(|node| (node.node_id, node.listeners.len())).collect();
    assert_eq!(nodes, if version >= 2 { vec![(NODE, 1)] } else { Vec::new() });
    for (name, index) in [("__cluster_metadata", 1), ("other", 0)] {
        let answer = link.call(version, &request(name, index)).await.expect("is answered");
        let found = &answer.topics[0].partitions[0];
        assert_eq!(ErrorCode(found.error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

pub(crate) async fn update_features(version: i16, link: &mut Link) {
    for (feature, level, refused) in [
        ("metadata.version", 30, false),
        ("metadata.version", 29, true),
        ("metadata.version", 31, true),
        ("no.such.feature", 1, true),
        ("no.such.feature", 0, false),
        ("metadata.version", -1, true),
    ] {
        let update = update_features_request::FeatureUpdateKey {
            feature: text(feature),
            max_version_level: level,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let answer = link.call(version, &request).await.expect("is answered");
        let (code, message) = match answer.results.as_slice() {
            [result] => (result.error_code, &result.error_message),
            _ => (answer.error_code, &answer.error_message),
        };
        assert_eq!(answer.results.len(), usize::from(version < 2));
        let expected = if refused { ErrorCode::INVALID_UPDATE_VERSION } else { ErrorCode::NONE };
        assert_eq!((ErrorCode(code), message.is_some()), (expected, refused), "{feature} {level}");
    }
}

pub(crate) async fn describe_producers(version: i16, link: &mut Link) {
    let topic = create(link, format!("producers-{version}"), 1).await;
    append(link, &topic, 0, "by nobody").await;
    let asked = describe_producers_request::TopicRequest { name: text(&topic.name), partition_indexes: vec![0, 7] };
    let request = DescribeProducersRequest { topics: vec![asked] };
    let answer = link.call(version, &request).await.expect("is answered");
    let [here, none] = answer.topics[0].partitions.as_slice() else { panic!("two partitions were asked for") };
    // A batch without a producer id leaves nobody to tell of; tests/protocol has one with an id.
    assert_eq!((here.partition_index, here.error_code, here.active_producers.len()), (0, 0, 0));
    assert_eq!(ErrorCode(none.error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

pub(crate) async fn list_config_resources(version: i16, link: &mut Link) {
    let topic = create(link, format!("resources-{version}"), 1).await;
    let request = |resource_types| ListConfigResourcesRequest { resource_types };
    let answer = link.call(version, &request(Vec::new())).await.expect("is answered");
    assert_eq!(answer.error_code, 0);
    let all: Vec<_> =
        answer.config_resources.iter().map(|found| (found.resource_type, found.resource_name.to_string())).collect();
    if version == 0 {
        assert!(all.is_empty(), "there are no subscriptions to client metrics");
        return;
    }
    assert!(all.contains(&(TOPIC, topic.name.clone())) && all.contains(&(BROKER, NODE.to_string())));
    let answer = link.call(version, &request(vec![TOPIC, CLIENT_METRICS])).await.expect("is answered");
    assert!(answer.config_resources.iter().all(|found| found.resource_type == TOPIC));
    let answer = link.call(version, &request(vec![99])).await.expect("is answered");
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::UNSUPPORTED_VERSION);
}

pub(crate) async fn unregister_broker(version: i16, link: &mut Link) {
    for (broker_id, expected) in [(77, ErrorCode::BROKER_ID_NOT_REGISTERED), (NODE, ErrorCode::INVALID_REQUEST)] {
        let request = UnregisterBrokerRequest { broker_id };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!((ErrorCode(answer.error_code), answer.error_message.is_some()), (expected, true), "{broker_id}");
    }
}
