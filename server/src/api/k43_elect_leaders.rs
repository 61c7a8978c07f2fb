//! ElectLeaders: every partition is led by the only node, so no election is needed.

use std::rc::Rc;

use corelane_core::base::PartitionIndex;
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use corelane_core::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::{Request, Served};
use crate::shard::Shard;
use crate::sys::Sys;

/// Kinds of election: of the preferred replica, and of one that is not in sync.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

pub(super) fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ElectLeadersRequest = request.decode()?;
    if !ELECTION_TYPES.contains(&asked.election_type) {
        let error_code = ErrorCode::INVALID_REQUEST.0;
        return request.answer(&ElectLeadersResponse { error_code, ..Default::default() });
    }
    let catalog = shard.catalog();
    let Some(wanted) = asked.topic_partitions else {
        // Asked for all partitions, Kafka tells of every topic, and only of those partitions that it moved.
        let topics = catalog.topics().map(|topic| ReplicaElectionResult {
            topic: topic.image.name.to_string().into(),
            partition_result: Vec::new(),
        });
        let replica_election_results = topics.collect();
        return request.answer(&ElectLeadersResponse { replica_election_results, ..Default::default() });
    };
    let results = wanted.into_iter().map(|wanted| {
        let topic = catalog.topic_by_name(&wanted.topic);
        let result = |index: i32| {
            let known = topic.is_some_and(|topic| topic.image.partition(PartitionIndex(index)).is_some());
            let (error, message) = if known {
                (ErrorCode::ELECTION_NOT_NEEDED, "the only replica leads the partition")
            } else {
                (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition")
            };
            PartitionResult { partition_id: index, error_code: error.0, error_message: Some(message.into()) }
        };
        let partition_result = wanted.partitions.into_iter().map(result).collect();
        ReplicaElectionResult { topic: wanted.topic, partition_result }
    });
    let replica_election_results = results.collect();
    request.answer(&ElectLeadersResponse { replica_election_results, ..Default::default() })
}
