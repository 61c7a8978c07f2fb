//! IncrementalAlterConfigs: says which settings of a resource change, and how (KIP-339).

use std::rc::Rc;

use corelane_core::config::LogLevelChange;
use corelane_core::metadata::ConfigResourceKind;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use corelane_core::protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use corelane_core::protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use corelane_core::protocol::wire::KafkaString;

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
    let mut of_loggers = loggers.iter().map(|resource| alter_loggers(shard, resource, validate_only));
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

/// Changes levels of this broker's loggers (KIP-412): error code and message.
fn alter_loggers<S: Sys>(
    shard: &Shard<S>,
    resource: &AlterConfigsResource,
    validate_only: bool,
) -> (i16, Option<KafkaString>) {
    let (name, node) = (&*resource.resource_name, shard.settings.config.node_id.to_string());
    let refusal = if name.parse::<i32>().is_err() {
        Some(format!("Node id must be an integer, but it is: {name}"))
    } else if *name != node {
        Some(format!("Unexpected node id. Expected {node}, but received {name}"))
    } else {
        None
    };
    if let Some(message) = refusal {
        return (ErrorCode::INVALID_REQUEST.0, Some(message.into()));
    }
    let changes = resource.configs.iter().map(|config| LogLevelChange {
        logger: &config.name,
        operation: config.config_operation,
        value: config.value.as_deref(),
    });
    match shard.settings.log.change(&changes.collect::<Vec<_>>(), validate_only) {
        Ok(()) => (ErrorCode::NONE.0, None),
        Err((code, message)) => (code.0, Some(message.into())),
    }
}
