//! ConsumerGroupDescribe: groups of the consumer protocol, their members, and what each has and is to have.

use std::rc::Rc;

use corelane_core::group::{Answer, Request as GroupRequest};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::consumer_group_describe_response::DescribedGroup;
use corelane_core::protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use super::{Request, Served, coordinator};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ConsumerGroupDescribeRequest = request.decode()?;
    let is_served = coordinator::has_consumer_protocol(&shard.catalog());
    let described = asked.group_ids.into_iter().map(async |group_id| {
        let refused =
            |code: ErrorCode| DescribedGroup { error_code: code.0, group_id: group_id.clone(), ..Default::default() };
        if group_id.is_empty() {
            return refused(ErrorCode::INVALID_GROUP_ID);
        }
        if !is_served {
            return refused(ErrorCode::UNSUPPORTED_VERSION);
        }
        let question = GroupRequest::DescribeConsumerGroup(group_id.clone());
        match coordinator::ask(shard, request, &group_id, question).await {
            Answer::DescribeConsumerGroup(described) => described,
            _ => coordinator::mismatch(),
        }
    });
    let mut groups = all_of(described.collect()).await;
    if asked.include_authorized_operations {
        for group in groups.iter_mut().filter(|group| group.error_code == 0) {
            group.authorized_operations = coordinator::GROUP_OPERATIONS;
        }
    }
    request.answer(&ConsumerGroupDescribeResponse { groups, ..Default::default() })
}
