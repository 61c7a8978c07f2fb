//! DescribeTopicPartitions: topics and partitions page by page (KIP-966).

use std::collections::BTreeSet;
use std::rc::Rc;

use corelane_core::limits::DESCRIBE_PARTITIONS_MAX;
use corelane_core::metadata::is_internal_topic;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use corelane_core::protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::described::PartitionRow;
use super::{Request, Served};
use crate::catalog::{Catalog, Topic};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::sys::Sys;
use crate::view::View;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: DescribeTopicPartitionsRequest = request.decode()?;
    let catalog = shard.catalog();
    let (first_topic, first_partition) = match &asked.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let names: BTreeSet<String> = if asked.topics.is_empty() {
        catalog.image.topics_from(&first_topic).map(|topic| topic.name.to_string()).collect()
    } else {
        asked.topics.iter().map(|topic| topic.name.to_string()).filter(|name| *name >= first_topic).collect()
    };
    let mut room = usize::try_from(asked.response_partition_limit).unwrap_or(0).clamp(1, DESCRIBE_PARTITIONS_MAX);
    let view = shard.view(request.origin);
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for name in names {
        if room == 0 {
            next_cursor = Some(Cursor { topic_name: name.into(), partition_index: 0 });
            break;
        }
        let skip = if name == first_topic { first_partition } else { 0 };
        let (topic, rest) = describe(&view, &catalog, &name, skip, room);
        room -= topic.partitions.len().min(room);
        topics.push(topic);
        if let Some(partition_index) = rest {
            next_cursor = Some(Cursor { topic_name: name.into(), partition_index });
            break;
        }
    }
    request.answer(&DescribeTopicPartitionsResponse { topics, next_cursor, ..Default::default() })
}

/// At most `room` partitions of a topic from `first` on, and the partition that comes next, if there is one.
fn describe<S: Sys>(
    view: &View<'_, S>,
    catalog: &Catalog,
    name: &str,
    first: i32,
    room: usize,
) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
    let Some(topic) = catalog.topic_by_name(name) else {
        let valid = corelane_core::metadata::check_topic_name(name).is_ok();
        let code = if valid { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::INVALID_TOPIC_EXCEPTION };
        let unknown = DescribeTopicPartitionsResponseTopic {
            error_code: code.0,
            name: Some(name.to_owned().into()),
            topic_authorized_operations: i32::MIN,
            ..Default::default()
        };
        return (unknown, None);
    };
    let mut partitions = partitions(view, topic).filter(|partition| partition.partition_index >= first);
    let page = partitions.by_ref().take(room).collect();
    let described = DescribeTopicPartitionsResponseTopic {
        name: Some(name.to_owned().into()),
        topic_id: topic.image.id.0,
        is_internal: is_internal_topic(&topic.image.name),
        partitions: page,
        topic_authorized_operations: super::k03_metadata::TOPIC_OPERATIONS,
        ..Default::default()
    };
    (described, partitions.next().map(|partition| partition.partition_index))
}

fn partitions<S: Sys>(
    view: &View<'_, S>,
    topic: &Topic,
) -> impl Iterator<Item = DescribeTopicPartitionsResponsePartition> {
    topic.image.partitions.iter().map(move |(index, partition)| {
        let row = PartitionRow::new(view, PartitionKey { topic: topic.image.id, index: *index }, partition);
        DescribeTopicPartitionsResponsePartition {
            error_code: row.error_code,
            partition_index: index.0,
            leader_id: row.leader_id,
            leader_epoch: row.leader_epoch,
            replica_nodes: row.replicas,
            isr_nodes: row.isr,
            eligible_leader_replicas: Some(row.eligible_leader_replicas),
            last_known_elr: Some(row.last_known_elr),
            offline_replicas: Vec::new(),
        }
    })
}
