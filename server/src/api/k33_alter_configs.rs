//! AlterConfigs: says all settings of a resource; what it does not name gets its default.

use std::rc::Rc;

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
    let outcome = shard.control(Command::AlterConfigs(asked.clone())).await;
    let answers = asked.resources.iter().zip(outcomes(outcome, asked.resources.len()));
    let responses = answers.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    });
    request.answer(&AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
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
