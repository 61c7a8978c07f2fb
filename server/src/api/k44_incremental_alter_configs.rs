//! IncrementalAlterConfigs: says which settings of a resource change, and how (KIP-339).

use std::rc::Rc;

use corelane_core::config::LogLevelChange;
use corelane_core::metadata::ConfigResourceKind;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use corelane_core::protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use corelane_core::protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::k33_alter_configs::{name_node, outcomes};
use super::{Request, Served};
use crate::controller::Command;
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: IncrementalAlterConfigsRequest = request.decode()?;
    let mut command = asked.clone();
    for resource in &mut command.resources {
        name_node(shard, request, resource.resource_type, &mut resource.resource_name);
    }
    // Loggers are this process's own; the metadata know nothing of them.
    let is_logger = |kind| ConfigResourceKind(kind) == ConfigResourceKind::BROKER_LOGGER;
    let loggers: Vec<AlterConfigsResource> =
        command.resources.extract_if(.., |resource| is_logger(resource.resource_type)).collect();
    let others = command.resources.len();
    let validate_only = command.validate_only;
    let mut of_others = match others {
        0 if !loggers.is_empty() => Vec::new(),
        _ => outcomes(shard.control(Command::IncrementalAlterConfigs(command)).await, others),
    }
    .into_iter();
    // Only one name is right, this node's.
    let node = shard.settings.config.node_id.to_string();
    let is_named_twice = loggers.iter().filter(|resource| *resource.resource_name == *node).nth(1).is_some();
    let mut of_loggers = loggers.iter().map(|resource| match level_changes(resource, &node, is_named_twice) {
        Ok(changes) => match shard.settings.log.change(&changes, validate_only) {
            Ok(()) => (ErrorCode::NONE.0, None),
            Err((code, message)) => (code.0, Some(message.into())),
        },
        Err(message) => (ErrorCode::INVALID_REQUEST.0, Some(message.into())),
    });
    let answers = asked.resources.iter().filter_map(|resource| {
        let answer = if is_logger(resource.resource_type) { of_loggers.next() } else { of_others.next() };
        Some((resource, answer?))
    });
    let responses = answers.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    });
    request.answer(&IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

/// What is to become of the levels of `node`'s loggers (KIP-412), or why they cannot be meant.
fn level_changes<'a>(
    resource: &'a AlterConfigsResource,
    node: &str,
    is_named_twice: bool,
) -> Result<Vec<LogLevelChange<'a>>, String> {
    let name = &*resource.resource_name;
    if name.parse::<i32>().is_err() {
        return Err(format!("Node id must be an integer, but it is: {name}"));
    }
    if *name != *node {
        return Err(format!("Unexpected node id. Expected {node}, but received {name}"));
    }
    if is_named_twice {
        return Err("the request names this resource more than once".to_owned());
    }
    let changes = resource.configs.iter().map(|config| LogLevelChange {
        logger: &config.name,
        operation: config.config_operation,
        value: config.value.as_deref(),
    });
    Ok(changes.collect())
}
