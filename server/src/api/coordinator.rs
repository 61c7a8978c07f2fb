//! What the requests of groups have in common: they go to the coordinator of their group.

use std::rc::Rc;

use corelane_core::base::{PartitionIndex, ShardId, TopicId};
use corelane_core::group::{Answer, OFFSETS_TOPIC_NAME, Request as GroupRequest, RequestContext};
use corelane_core::metadata::{GROUP_VERSION, GROUP_VERSION_LEVEL};
use corelane_core::protocol::ErrorCode;

use super::Request;
use crate::catalog::Catalog;
use crate::controller::{Command, Outcome};
use crate::hop::{Call, GroupCall, Reply};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::sys::Sys;

/// Operations on a group that a broker without an authorizer allows: a bit for each code (KIP-430). Read, delete, describe,
/// and the same of its settings.
pub(super) const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;

/// Name of the consumer protocol in `group.coordinator.rebalance.protocols`.
const CONSUMER_PROTOCOL: &str = "consumer";

/// Whether groups may speak the consumer protocol: the level of the feature says so, and the settings do.
pub(super) fn has_consumer_protocol(catalog: &Catalog) -> bool {
    let protocols = catalog.broker.value("group.coordinator.rebalance.protocols").unwrap_or_default();
    catalog.image.feature_level(GROUP_VERSION) >= GROUP_VERSION_LEVEL
        && protocols.split(',').any(|protocol| protocol.trim() == CONSUMER_PROTOCOL)
}

/// Who asks.
pub(super) fn context<S: Sys>(shard: &Shard<S>, request: &Request) -> RequestContext {
    RequestContext {
        version: request.version,
        client_id: request.client_id.clone().unwrap_or_default(),
        client_host: format!("/{}", request.origin.peer).into(),
        random: u128::from(shard.sys.random()) << 64 | u128::from(shard.sys.random()),
    }
}

/// The partition that a group maps to, and the shard that coordinates it; none before the first group has asked for its
/// coordinator.
pub(super) fn of_group<S: Sys>(shard: &Shard<S>, group_id: &str) -> Option<(PartitionIndex, ShardId)> {
    shard.coordinator_of(OFFSETS_TOPIC_NAME, group_id)
}

/// The partition of a topic of coordinators that an id maps to, and the shard that coordinates it; the topic is made if it is
/// not there yet. The error says why it is not.
pub(super) async fn located<S: Sys>(
    shard: &Rc<Shard<S>>,
    topic: &'static str,
    id: &str,
) -> Result<(PartitionIndex, ShardId), String> {
    if shard.coordinator_of(topic, id).is_none()
        && let Outcome::Failed(why) = shard.control(Command::CreateInternalTopic(topic)).await
    {
        return Err(why);
    }
    shard.coordinator_of(topic, id).ok_or_else(|| format!("{topic} is not there yet"))
}

/// Has the coordinator of a group answer.
pub(super) async fn ask<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    group_id: &str,
    asked: GroupRequest,
) -> Answer {
    let Some((partition, owner)) = of_group(shard, group_id) else {
        return asked.refuse(request.version, ErrorCode::COORDINATOR_NOT_AVAILABLE);
    };
    if !shard.view(request.origin).reaches(owner) {
        return asked.refuse(request.version, ErrorCode::NOT_COORDINATOR);
    }
    let call = GroupCall { partition, context: context(shard, request), request: asked };
    let Reply::Group(answer) = shard.ask(owner, Call::Group(Box::new(call))).await else {
        unreachable!("a reply has the name of its call")
    };
    *answer
}

/// Whether a topic has a partition of that number.
pub(super) fn has_partition(catalog: &Catalog, topic: Option<TopicId>, index: i32) -> bool {
    topic.is_some_and(|topic| catalog.has_partition(PartitionKey { topic, index: PartitionIndex(index) }))
}

/// An answer of another name than its request's.
pub(super) fn mismatch() -> ! {
    unreachable!("an answer has the name of its request")
}
