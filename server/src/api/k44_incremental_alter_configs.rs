//! IncrementalAlterConfigs: says which settings of a resource change, and how (KIP-339).

use std::rc::Rc;

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
    let outcome = shard.control(Command::IncrementalAlterConfigs(command)).await;
    let answers = asked.resources.iter().zip(outcomes(outcome, asked.resources.len()));
    let responses = answers.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name.clone(),
    });
    request.answer(&IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}
