//! DeleteGroups: groups without members, and their offsets.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Request, Served, coordinator};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DeleteGroupsRequest = request.decode()?;
    let deleted = asked.groups_names.into_iter().map(async |group_id| {
        let question = GroupRequest::DeleteGroup(group_id.clone());
        match coordinator::ask(shard, request, &group_id, question).await {
            Answer::DeleteGroup(deleted) => deleted,
            _ => coordinator::mismatch(),
        }
    });
    let results = all_of(deleted.collect()).await;
    request.answer(&DeleteGroupsResponse { results, ..Default::default() })
}
