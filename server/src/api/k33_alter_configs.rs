//! AlterConfigs: says all settings of a resource; what it does not name gets its default.

use std::rc::Rc;

use corelane_core::metadata::ConfigResourceKind;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use corelane_core::protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use corelane_core::protocol::wire::KafkaString;

use super::{Request, Served};
use crate::controller::{Command, Outcome};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: AlterConfigsRequest = request.decode()?;
    let mut command = asked.clone();
    for resource in &mut command.resources {
        name_node(shard, request, resource.resource_type, &mut resource.resource_name);
    }
    let outcome = shard.control(Command::AlterConfigs(command)).await;
    let answers = asked.resources.iter().zip(outcomes(outcome, asked.resources.len()));
    let responses = answers.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    });
    request.answer(&AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}

/// Has a resource that is a broker of the client's carry the name that the metadata has for it.
pub(super) fn name_node<S: Sys>(shard: &Shard<S>, request: &Request, kind: i8, name: &mut KafkaString) {
    if matches!(ConfigResourceKind(kind), ConfigResourceKind::BROKER | ConfigResourceKind::BROKER_LOGGER) {
        *name = shard.view(request.origin).node_name(name).into();
    }
}

/// Error code and message for each resource that was asked for.
pub(super) fn outcomes(outcome: Outcome, asked: usize) -> Vec<(i16, Option<KafkaString>)> {
    match outcome {
        Outcome::Altered(answers) => answers
            .into_iter()
            .map(|answer| match answer {
                Ok(()) => (ErrorCode::NONE.0, None),
                Err(refusal) => (refusal.kind.code(), Some(refusal.message.into())),
            })
            .collect(),
        Outcome::Failed(why) => vec![(ErrorCode::KAFKA_STORAGE_ERROR.0, Some(why.into())); asked],
        _ => unreachable!("an outcome has the name of its command"),
    }
}
