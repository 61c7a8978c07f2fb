//! Conversations about topics: made, grown, deleted, and what is set for them.

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    create_partitions_request, create_topics_request, create_topics_response, delete_topics_request,
    describe_configs_request,
};
use corelane_simulation::client::Link;

use crate::{append, create, text, wanted_topic};

pub(crate) async fn create_topics(version: i16, link: &mut Link) {
    let name = format!("create-{version}");
    let request = |topic, validate_only| CreateTopicsRequest { topics: vec![topic], timeout_ms: 5_000, validate_only };
    // Only looked at, then made, then there.
    for (validate_only, code) in
        [(true, ErrorCode::NONE), (false, ErrorCode::NONE), (false, ErrorCode::TOPIC_ALREADY_EXISTS)]
    {
        if validate_only && version == 0 {
            continue;
        }
        let answer = link.call(version, &request(wanted_topic(&name, 3), validate_only)).await.expect("is answered");
        let made = &answer.topics[0];
        assert_eq!((&*made.name, ErrorCode(made.error_code)), (&*name, code), "{:?}", made.error_message);
        if code.is_none() {
            check_created(version, made, 3, validate_only);
        } else {
            assert_eq!(made.error_message.as_ref().is_some_and(|why| !why.is_empty()), version >= 1);
        }
    }
    for (topic, code) in [
        (wanted_topic("bad name", 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (wanted_topic(&format!("zero-{version}"), 0), ErrorCode::INVALID_PARTITIONS),
        (
            create_topics_request::CreatableTopic {
                replication_factor: 2,
                ..wanted_topic(&format!("two-{version}"), 1)
            },
            ErrorCode::INVALID_REPLICATION_FACTOR,
        ),
        (
            create_topics_request::CreatableTopic {
                configs: vec![create_topics_request::CreatableTopicConfig {
                    name: "no.such.setting".into(),
                    value: Some("1".into()),
                }],
                ..wanted_topic(&format!("setting-{version}"), 1)
            },
            ErrorCode::INVALID_CONFIG,
        ),
    ] {
        let name = topic.name.clone();
        let answer = link.call(version, &request(topic, false)).await.expect("is answered");
        assert_eq!(ErrorCode(answer.topics[0].error_code), code, "{name}");
    }
    if version >= 4 {
        let default = create_topics_request::CreatableTopic {
            replication_factor: -1,
            ..wanted_topic(&format!("default-{version}"), -1)
        };
        let answer = link.call(version, &request(default, false)).await.expect("is answered");
        assert_eq!(answer.topics[0].error_code, 0);
        check_created(version, &answer.topics[0], 1, false);
    }
}

fn check_created(
    version: i16,
    made: &create_topics_response::CreatableTopicResult,
    partitions: i32,
    only_looked: bool,
) {
    let details = version >= 5;
    assert_eq!(made.num_partitions, if details { partitions } else { -1 });
    assert_eq!(made.replication_factor, if details { 1 } else { -1 });
    if version >= 7 && !only_looked {
        assert_ne!(made.topic_id, [0; 16]);
    }
    if details {
        let configs = made.configs.as_ref().expect("tells the settings");
        let size = configs.iter().find(|config| &*config.name == "max.message.bytes").expect("is a setting");
        assert_eq!((size.value.as_deref(), size.config_source), (Some("1000000"), 1));
        let segment = configs.iter().find(|config| &*config.name == "segment.bytes").expect("is a setting");
        assert_eq!((segment.value.as_deref(), segment.config_source), (Some("1073741824"), 5));
    }
}

pub(crate) async fn delete_topics(version: i16, link: &mut Link) {
    let request = |topics: Vec<(Option<&str>, [u8; 16])>| {
        let by_state = version >= 6;
        DeleteTopicsRequest {
            topics: if by_state {
                let state = |(name, topic_id): &(Option<&str>, [u8; 16])| delete_topics_request::DeleteTopicState {
                    name: name.map(text),
                    topic_id: *topic_id,
                };
                topics.iter().map(state).collect()
            } else {
                Vec::new()
            },
            topic_names: if by_state { Vec::new() } else { topics.iter().filter_map(|t| Some(text(t.0?))).collect() },
            timeout_ms: 5_000,
        }
    };
    let topic = create(link, format!("delete-{version}"), 1).await;
    append(link, &topic, 0, "gone").await;
    let answer = link.call(version, &request(vec![(Some(&topic.name), [0; 16])])).await.expect("is answered");
    let gone = &answer.responses[0];
    assert_eq!((gone.error_code, gone.name.as_deref()), (0, Some(&*topic.name)));
    assert_eq!(gone.topic_id, if version >= 6 { topic.id } else { [0; 16] });
    let answer = link.call(version, &request(vec![(Some(&topic.name), [0; 16])])).await.expect("is answered");
    assert_eq!(ErrorCode(answer.responses[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    // A new one of the same name is another topic, and empty.
    let again = create(link, topic.name.clone(), 1).await;
    assert_ne!(again.id, topic.id);
    assert_eq!(append(link, &again, 0, "new").await, 0);
    if version >= 6 {
        let answer = link.call(version, &request(vec![(None, again.id)])).await.expect("is answered");
        let gone = &answer.responses[0];
        assert_eq!((gone.error_code, gone.name.as_deref(), gone.topic_id), (0, Some(&*again.name), again.id));
        let answer = link.call(version, &request(vec![(None, again.id)])).await.expect("is answered");
        assert_eq!(ErrorCode(answer.responses[0].error_code), ErrorCode::UNKNOWN_TOPIC_ID);
        let answer = link.call(version, &request(vec![(Some("both"), again.id)])).await.expect("is answered");
        assert_eq!(ErrorCode(answer.responses[0].error_code), ErrorCode::INVALID_REQUEST);
    }
}

pub(crate) async fn create_partitions(version: i16, link: &mut Link) {
    let topic = create(link, format!("grow-{version}"), 2).await;
    append(link, &topic, 1, "stays").await;
    for (name, count, validate_only, code) in [
        (&*topic.name, 4, true, ErrorCode::NONE),
        (&*topic.name, 4, false, ErrorCode::NONE),
        (&*topic.name, 4, false, ErrorCode::INVALID_PARTITIONS),
        (&*topic.name, 1, false, ErrorCode::INVALID_PARTITIONS),
        ("nowhere", 4, false, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    ] {
        let wanted = create_partitions_request::CreatePartitionsTopic { name: text(name), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![wanted], timeout_ms: 5_000, validate_only };
        let answer = link.call(version, &request).await.expect("is answered");
        assert_eq!((&*answer.results[0].name, ErrorCode(answer.results[0].error_code)), (name, code), "to {count}");
        assert_eq!(answer.results[0].error_message.is_some(), !code.is_none());
    }
    assert_eq!(append(link, &topic, 3, "new").await, 0);
    assert_eq!(append(link, &topic, 1, "goes on").await, 3);
}

pub(crate) async fn describe_configs(version: i16, link: &mut Link) {
    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;
    let topic = create(link, format!("configs-{version}"), 1).await;
    let request = |kind, name: &str, keys: Option<&[&str]>| DescribeConfigsRequest {
        resources: vec![describe_configs_request::DescribeConfigsResource {
            resource_type: kind,
            resource_name: text(name),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| text(key)).collect()),
        }],
        include_synonyms: version >= 1,
        ..Default::default()
    };
    let answer =
        link.call(version, &request(TOPIC, &topic.name, Some(&["max.message.bytes"]))).await.expect("is answered");
    let found = &answer.results[0];
    assert_eq!((found.error_code, found.resource_type, &*found.resource_name), (0, TOPIC, &*topic.name));
    assert_eq!(found.configs.len(), 1, "one was asked for");
    let row = &found.configs[0];
    let source = |source| if version >= 1 { source } else { -1 };
    assert_eq!((&*row.name, row.value.as_deref()), ("max.message.bytes", Some("1000000")));
    assert_eq!((row.config_source, row.is_default), (source(1), false));
    assert_eq!((row.read_only, row.is_sensitive), (false, false));
    assert_eq!(row.config_type, if version >= 3 { 3 } else { 0 }, "an int");
    let synonyms: Vec<_> = row.synonyms.iter().map(|synonym| (&*synonym.name, synonym.source)).collect();
    assert_eq!(synonyms.first(), (version >= 1).then_some(&("max.message.bytes", 1)));

    let answer = link.call(version, &request(TOPIC, &topic.name, None)).await.expect("is answered");
    let rows = &answer.results[0].configs;
    for (name, value, source) in [("segment.bytes", "1073741824", 5), ("cleanup.policy", "delete", 5)] {
        let row = rows.iter().find(|row| &*row.name == name).expect("is a setting");
        let expected = (Some(value), if version >= 1 { source } else { -1 }, version == 0);
        assert_eq!((row.value.as_deref(), row.config_source, row.is_default), expected, "{name}");
    }
    let answer = link.call(version, &request(TOPIC, "nowhere", None)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.results[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);

    let cluster = link.call(0, &DescribeClusterRequest::default()).await.expect("is answered");
    let node = cluster.brokers[0].broker_id.to_string();
    let answer = link.call(version, &request(BROKER, &node, Some(&["listeners"]))).await.expect("is answered");
    let row = &answer.results[0].configs[0];
    assert_eq!((&*row.name, row.value.as_deref()), ("listeners", Some("PLAINTEXT://127.0.0.1:9092")));
    let answer = link.call(version, &request(BROKER, "12345", None)).await.expect("is answered");
    assert_eq!(ErrorCode(answer.results[0].error_code), ErrorCode::INVALID_REQUEST);
}
