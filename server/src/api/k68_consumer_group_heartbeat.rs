//! ConsumerGroupHeartbeat: a member of a group of the consumer protocol tells what it reads, and is told what it has (KIP-848).

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ConsumerGroupHeartbeatRequest = request.decode()?;
    if !coordinator::has_consumer_protocol(&shard.catalog()) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
        return request.answer(&ConsumerGroupHeartbeatResponse { error_code, ..Default::default() });
    }
    let group_id = asked.group_id.clone();
    match coordinator::ask(shard, request, &group_id, GroupRequest::ConsumerGroupHeartbeat(asked)).await {
        Answer::ConsumerGroupHeartbeat(response) => request.answer(&response),
        _ => coordinator::mismatch(),
    }
}
