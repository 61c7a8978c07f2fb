//! LeaveGroup: members leave, several at once since version 3.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::messages::LeaveGroupRequest;

use super::{Request, Served, coordinator};
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: LeaveGroupRequest = request.decode()?;
    let group_id = asked.group_id.clone();
    match coordinator::ask(shard, request, &group_id, GroupRequest::LeaveGroup(asked)).await {
        Answer::LeaveGroup(response) => request.answer(&response),
        _ => coordinator::mismatch(),
    }
}
