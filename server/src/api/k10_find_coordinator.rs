//! FindCoordinator: who coordinates a group or a transactional id. This node does, and the first to ask has
//! `__consumer_offsets` or `__transaction_state` made.

use std::rc::Rc;

use corelane_core::group::OFFSETS_TOPIC_NAME;
use corelane_core::protocol::messages::find_coordinator_response::Coordinator;
use corelane_core::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::transaction::TRANSACTION_TOPIC_NAME;

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;
use crate::view::Endpoint;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// First version that asks for several at once.
const VERSION_WITH_KEYS: i16 = 4;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: FindCoordinatorRequest = request.decode()?;
    let mut found = Vec::new();
    if request.version >= VERSION_WITH_KEYS {
        for key in asked.coordinator_keys {
            found.push(find(shard, request, asked.key_type, key).await);
        }
        return request.answer(&FindCoordinatorResponse { coordinators: found, ..Default::default() });
    }
    let one = find(shard, request, asked.key_type, asked.key).await;
    request.answer(&FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..Default::default()
    })
}

async fn find<S: Sys>(shard: &Rc<Shard<S>>, request: &Request, key_type: i8, key: KafkaString) -> Coordinator {
    match locate(shard, request, key_type, &key).await {
        Ok(Endpoint { id, host, port }) => {
            Coordinator { key, node_id: id.0, host: host.into(), port: i32::from(port), ..Default::default() }
        }
        Err((error, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.0,
            error_message: Some(message.into()),
            ..Default::default()
        },
    }
}

async fn locate<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    key_type: i8,
    key: &str,
) -> Result<Endpoint, (ErrorCode, String)> {
    let topic = match key_type {
        GROUP => OFFSETS_TOPIC_NAME,
        TRANSACTION => TRANSACTION_TOPIC_NAME,
        // An error that clients do not try again on: nothing will be there a moment later.
        SHARE => return Err((ErrorCode::INVALID_REQUEST, "this broker has no share groups yet".to_owned())),
        other => return Err((ErrorCode::INVALID_REQUEST, format!("{other} is no kind of coordinator"))),
    };
    let unavailable = |why: String| (ErrorCode::COORDINATOR_NOT_AVAILABLE, why);
    let (_, owner) = coordinator::located(shard, topic, key).await.map_err(unavailable)?;
    let endpoint = shard.view(request.origin).endpoint(owner);
    endpoint.ok_or_else(|| unavailable("this listener has no address to tell".to_owned()))
}
