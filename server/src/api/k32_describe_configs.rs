//! DescribeConfigs: what is set, where it comes from, what it means.

use std::rc::Rc;
use std::sync::Arc;

use corelane_core::config::{
    ConfigRow, ConfigSource, describe_all_brokers, describe_broker, describe_group, describe_topic,
};
use corelane_core::metadata::{ConfigResource, ConfigResourceKind};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::describe_configs_request::DescribeConfigsResource;
use corelane_core::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use corelane_core::protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
/// The source of what is told of a logger, whoever set it.
const LOGGER_SOURCE: i8 = 6;
const GROUP: i8 = 32;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeConfigsRequest = request.decode()?;
    let results = asked.resources.iter().map(|resource| {
        if resource.resource_type == BROKER_LOGGER {
            return loggers(shard, request, resource);
        }
        let (error, message, rows) = match rows(shard, request, resource) {
            Ok(rows) => (ErrorCode::NONE, None, rows),
            Err((code, message)) => (code, Some(message.into()), Vec::new()),
        };
        DescribeConfigsResult {
            error_code: error.0,
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: rows.into_iter().map(|row| answer(row, asked.include_synonyms, request.version)).collect(),
        }
    });
    request.answer(&DescribeConfigsResponse { results: results.collect(), ..Default::default() })
}

/// Loggers and their levels (KIP-412).
fn loggers<S: Sys>(shard: &Shard<S>, request: &Request, resource: &DescribeConfigsResource) -> DescribeConfigsResult {
    let name = &*resource.resource_name;
    let node = shard.settings.config.node_id.to_string();
    let refusal = if name.is_empty() {
        Some("Broker id must not be empty".to_owned())
    } else if name.parse::<i32>().is_err() {
        Some(format!("Broker id must be an integer, but it is: {name}"))
    } else if shard.view(request.origin).node_name(name) != node {
        Some(format!("Unexpected broker id, expected {node} but received {name}"))
    } else {
        None
    };
    let is_wanted = |logger: &str| match &resource.configuration_keys {
        None => true,
        Some(keys) => keys.iter().any(|key| **key == *logger),
    };
    let levels = shard.settings.log.levels();
    let configs = levels.all().filter(|(logger, _)| refusal.is_none() && is_wanted(logger));
    let configs = configs.map(|(logger, level)| DescribeConfigsResourceResult {
        name: logger.to_owned().into(),
        value: Some(level.to_string().into()),
        config_source: LOGGER_SOURCE,
        ..Default::default()
    });
    DescribeConfigsResult {
        configs: configs.collect(),
        error_code: if refusal.is_some() { ErrorCode::INVALID_REQUEST.0 } else { ErrorCode::NONE.0 },
        error_message: refusal.map(Into::into),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    }
}

fn rows<S: Sys>(
    shard: &Shard<S>,
    request: &Request,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigRow>, (ErrorCode, String)> {
    let name = &*resource.resource_name;
    let keys: Option<Vec<&str>> =
        resource.configuration_keys.as_ref().map(|keys| keys.iter().map(|key| &**key).collect());
    let keys = keys.as_deref();
    let catalog = shard.catalog();
    let broker = &catalog.broker;
    match resource.resource_type {
        TOPIC => {
            if let Err(error) = corelane_core::metadata::check_topic_name(name) {
                return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, error.to_string()));
            }
            let topic = catalog.topic_by_name(name);
            let topic = topic.ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}")))?;
            Ok(describe_topic(broker, &topic.overrides, keys))
        }
        // Of the default of all brokers only what was set while they run is shown.
        BROKER if name.is_empty() => Ok(describe_all_brokers(broker, keys)),
        BROKER if shard.view(request.origin).node_name(name) == broker.node_id.to_string() => {
            Ok(describe_broker(broker, keys))
        }
        BROKER => Err((
            ErrorCode::INVALID_REQUEST,
            format!(
                "this is broker {}; its configuration cannot be told by another, nor that of {name:?} here",
                broker.node_id
            ),
        )),
        GROUP if name.is_empty() => Err((ErrorCode::INVALID_REQUEST, "the name of a group is not empty".to_owned())),
        GROUP => {
            let group = ConfigResource { kind: ConfigResourceKind::GROUP, name: name.to_owned() };
            let none = Arc::default();
            Ok(describe_group(broker, catalog.image.config(&group).unwrap_or(&none), keys))
        }
        other => Err((ErrorCode::INVALID_REQUEST, format!("configurations of resource type {other} are not served"))),
    }
}

fn answer(row: ConfigRow, include_synonyms: bool, version: i16) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: row.name.into(),
        value: row.value.map(Into::into),
        read_only: row.read_only,
        config_source: row.source as i8,
        is_sensitive: row.is_sensitive,
        synonyms: if include_synonyms {
            row.synonyms
                .into_iter()
                .map(|synonym| DescribeConfigsSynonym {
                    name: synonym.name.into(),
                    value: synonym.value.map(Into::into),
                    source: synonym.source as i8,
                })
                .collect()
        } else {
            Vec::new()
        },
        config_type: row.kind as i8,
        documentation: None,
        // Before there were sources.
        is_default: version == 0 && row.source == ConfigSource::Default,
    }
}
