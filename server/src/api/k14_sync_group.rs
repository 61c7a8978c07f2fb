//! SyncGroup: the leader brings what it assigned, and every member takes its part.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::messages::SyncGroupRequest;

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: SyncGroupRequest = request.decode()?;
    let group_id = asked.group_id.clone();
    match coordinator::ask(shard, request, &group_id, GroupRequest::SyncGroup(asked)).await {
        Answer::SyncGroup(response) => request.answer(&response),
        _ => coordinator::mismatch(),
    }
}
