//! Deleting groups, and what they have committed.

use std::collections::BTreeMap;

use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use corelane_core::protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, OffsetDeleteRequest, OffsetDeleteResponse,
};
use serde::Serialize;

use super::{Admin, TopicPartition, by_topic, failure_of_group};
use crate::failure::{Failure, first_of};
use crate::output::{line, print_json};

/// Deletes each group by its coordinator.
pub(crate) fn delete_groups(admin: &mut Admin, groups: &[String]) -> Result<Vec<(String, ErrorCode)>, Failure> {
    let verdict = |response: &DeleteGroupsResponse| {
        response.results.first().map_or(ErrorCode::NONE, |result| ErrorCode(result.error_code))
    };
    let delete = |group: &String| {
        let request = DeleteGroupsRequest { groups_names: vec![KafkaString::copied(group)] };
        let response = admin.call_until(Destination::Group(group.clone()), request, i16::MAX, verdict)?;
        Ok((group.clone(), verdict(&response)))
    };
    groups.iter().map(delete).collect()
}

/// Tells how that went.
pub(super) fn report(outcomes: Vec<(String, ErrorCode)>, json: bool) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row {
        group: String,
        error: Option<&'static str>,
    }
    let mut failures = Vec::new();
    for (group, code) in outcomes {
        if !code.is_none() {
            failures.push(failure_of_group(&group, code, None));
        }
        match json {
            true => print_json([Row { group, error: (!code.is_none()).then(|| code.name()) }])?,
            false if code.is_none() => line(format!("deleted {group}"))?,
            false => {}
        }
    }
    first_of(failures)
}

/// Deletes what a group has committed in these partitions.
pub(crate) fn delete_offsets(
    admin: &mut Admin,
    group: &str,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, ErrorCode>, Failure> {
    let topic = |(name, partitions): (&str, Vec<(i32, ())>)| OffsetDeleteRequestTopic {
        name: KafkaString::copied(name),
        partitions: partitions
            .iter()
            .map(|(partition_index, ())| OffsetDeleteRequestPartition { partition_index: *partition_index })
            .collect(),
    };
    let request = OffsetDeleteRequest {
        group_id: KafkaString::copied(group),
        topics: by_topic(partitions.iter().map(|at| (at, ()))).into_iter().map(topic).collect(),
    };
    let verdict = |response: &OffsetDeleteResponse| ErrorCode(response.error_code);
    let response = admin.call_until(Destination::Group(group.to_owned()), request, i16::MAX, verdict)?;
    if response.error_code != 0 {
        return Err(failure_of_group(group, ErrorCode(response.error_code), None));
    }
    let mut outcomes = BTreeMap::new();
    for topic in response.topics {
        for part in &topic.partitions {
            outcomes.insert(TopicPartition::new(&topic.name, part.partition_index), ErrorCode(part.error_code));
        }
    }
    Ok(outcomes)
}

/// Tells how that went.
pub(super) fn report_offsets(
    group: &str,
    outcomes: BTreeMap<TopicPartition, ErrorCode>,
    json: bool,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Row<'a> {
        group: &'a str,
        topic: &'a str,
        partition: i32,
        error: Option<&'static str>,
    }
    let mut failures = Vec::new();
    for (TopicPartition { topic, partition }, code) in &outcomes {
        if !code.is_none() {
            let failure = failure_of_group(group, *code, None);
            failures.push(failure.during(&format!("{topic}-{partition}")));
        }
        let error = (!code.is_none()).then(|| code.name());
        match json {
            true => print_json([Row { group, topic, partition: *partition, error }])?,
            false if code.is_none() => line(format!("deleted {topic}-{partition} from {group}"))?,
            false => {}
        }
    }
    first_of(failures)
}
