//! OffsetFetch: how far groups have come, one before version 8 and many since.

use std::rc::Rc;

use corelane_core::base::Uuid;
use corelane_core::group::{Answer, Request as GroupRequest, offset_fetch_groups, offset_fetch_response};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::OffsetFetchRequest;
use corelane_core::protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use corelane_core::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};

use super::{Request, Served, coordinator};
use crate::local::all_of;
use crate::shard::Shard;
use crate::sys::Sys;

/// First version that names topics by id.
const VERSION_WITH_TOPIC_IDS: i16 = 10;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: OffsetFetchRequest = request.decode()?;
    let require_stable = asked.require_stable;
    let groups = offset_fetch_groups(&asked, request.version).into_iter();
    let fetched = groups.map(|group| fetch(shard, request, group, require_stable)).collect();
    request.answer(&offset_fetch_response(all_of(fetched).await, request.version))
}

async fn fetch<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    mut group: OffsetFetchRequestGroup,
    require_stable: bool,
) -> OffsetFetchResponseGroup {
    let by_id = request.version >= VERSION_WITH_TOPIC_IDS;
    let unknown = if by_id { take_unknown(shard, &mut group) } else { Vec::new() };
    let all = group.topics.is_none();
    let group_id = group.group_id.clone();
    let asked = GroupRequest::OffsetFetch { group, require_stable };
    let Answer::OffsetFetch(mut found) = coordinator::ask(shard, request, &group_id, asked).await else {
        coordinator::mismatch()
    };
    if by_id && all {
        // A topic without an id is one that is gone.
        let catalog = shard.catalog();
        for topic in &mut found.topics {
            topic.topic_id = catalog.topic_by_name(&topic.name).map_or(Uuid::ZERO, |known| known.image.id).0;
        }
        found.topics.retain(|topic| topic.topic_id != Uuid::ZERO.0);
    }
    if found.error_code == ErrorCode::NONE.0 {
        found.topics.extend(unknown);
    }
    found
}

/// Fills the names in beside the ids, and takes out what no topic has.
fn take_unknown<S: Sys>(shard: &Shard<S>, group: &mut OffsetFetchRequestGroup) -> Vec<OffsetFetchResponseTopics> {
    let catalog = shard.catalog();
    let mut unknown = Vec::new();
    let Some(topics) = &mut group.topics else { return unknown };
    topics.retain_mut(|topic| match catalog.topic_by_id(Uuid(topic.topic_id)) {
        Some(known) => {
            topic.name = known.image.name.to_string().into();
            true
        }
        None => {
            let partitions = topic.partition_indexes.iter().map(|index| OffsetFetchResponsePartitions {
                partition_index: *index,
                committed_offset: -1,
                committed_leader_epoch: -1,
                metadata: Some("".into()),
                error_code: ErrorCode::UNKNOWN_TOPIC_ID.0,
            });
            unknown.push(OffsetFetchResponseTopics {
                topic_id: topic.topic_id,
                partitions: partitions.collect(),
                ..Default::default()
            });
            false
        }
    });
    unknown
}
