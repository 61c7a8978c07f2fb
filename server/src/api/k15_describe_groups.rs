//! DescribeGroups: members of groups, and what each of them reads.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::{Request, Served, coordinator};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

/// First version that can ask for them.
const VERSION_WITH_OPERATIONS: i16 = 3;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeGroupsRequest = request.decode()?;
    let described = asked.groups.into_iter().map(async |group_id| {
        let question = GroupRequest::DescribeGroup(group_id.clone());
        match coordinator::ask(shard, request, &group_id, question).await {
            Answer::DescribeGroup(described) => described,
            _ => coordinator::mismatch(),
        }
    });
    let mut groups = all_of(described.collect()).await;
    if request.version >= VERSION_WITH_OPERATIONS && asked.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == 0) {
            group.authorized_operations = coordinator::GROUP_OPERATIONS;
        }
    }
    request.answer(&DescribeGroupsResponse { groups, ..Default::default() })
}
