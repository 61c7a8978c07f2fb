//! JoinGroup: a member joins its group, and waits for the others.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::messages::JoinGroupRequest;

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: JoinGroupRequest = request.decode()?;
    let group_id = asked.group_id.clone();
    match coordinator::ask(shard, request, &group_id, GroupRequest::JoinGroup(asked)).await {
        Answer::JoinGroup(response) => request.answer(&response),
        _ => coordinator::mismatch(),
    }
}
