//! ListGroups: the groups of every coordinator here.

use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use super::{Request, Served, coordinator};
use crate::hop::{Call, Reply};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ListGroupsRequest = request.decode()?;
    let view = shard.view(request.origin);
    let lists = view.shards().map(async |to| {
        let call = Call::ListGroups(Box::new(coordinator::context(shard, request)), asked.clone());
        let Reply::ListGroups(lists) = shard.ask(to, call).await else {
            unreachable!("a reply has the name of its call")
        };
        lists
    });
    let mut response = ListGroupsResponse::default();
    for list in all_of(lists.collect()).await.into_iter().flatten() {
        if response.error_code == ErrorCode::NONE.0 {
            response.error_code = list.error_code;
        }
        response.groups.extend(list.groups);
    }
    response.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    request.answer(&response)
}
