//! The questions that several commands ask a cluster: one function a question, answers by name.

use std::collections::BTreeMap;

use corelane_core::base::{Monotonic, NodeId, Offset, PartitionIndex, Timestamp};
use corelane_core::client::{AdminCall, Destination, ErrorCode, RequestError};
use corelane_core::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use corelane_core::protocol::messages::metadata_request::MetadataRequestTopic;
use corelane_core::protocol::messages::metadata_response::MetadataResponseTopic;
use corelane_core::protocol::messages::{ListOffsetsRequest, MetadataRequest, MetadataResponse};
use corelane_core::protocol::{KafkaString, Request};
use corelane_perf::driver::Driver;

use crate::failure::Failure;

/// Milliseconds that the broker may take for a change.
pub(crate) const CHANGE_TIMEOUT_MS: i32 = 30_000;
/// Special timestamps of ListOffsets.
pub(crate) const LATEST: i64 = -1;
pub(crate) const EARLIEST: i64 = -2;

/// A partition by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicPartition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

impl TopicPartition {
    pub(crate) fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.to_owned(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Puts partitions under their topics, as requests want them.
pub(crate) fn by_topic<'a, T>(
    partitions: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a str, Vec<(i32, T)>> {
    let mut topics: BTreeMap<&str, Vec<(i32, T)>> = BTreeMap::new();
    for (at, value) in partitions {
        topics.entry(&at.topic).or_default().push((at.partition, value));
    }
    topics
}

/// Partitions under the brokers that lead them.
pub(crate) type Led = BTreeMap<NodeId, Vec<TopicPartition>>;
/// Partitions that cannot be asked about, and why.
pub(crate) type Leaderless = Vec<(TopicPartition, ErrorCode)>;

/// What ListOffsets found in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundOffset {
    /// None if no record is that young.
    pub(crate) offset: Option<Offset>,
    pub(crate) timestamp: Timestamp,
}

/// Asks a cluster.
pub(crate) struct Admin {
    driver: Driver,
    timeout_ms: u64,
}

impl Admin {
    /// Through this driver; a question that a moment later may have an answer is repeated for so long.
    pub(crate) fn new(driver: Driver) -> Self {
        let timeout_ms = driver.client.config().request_timeout_ms;
        Self { driver, timeout_ms }
    }

    fn deadline(&self) -> Monotonic {
        self.driver.now().plus_ms(self.timeout_ms)
    }

    /// Asks once, but looks for a coordinator until there is one.
    pub(crate) fn call<R: Request + Send + 'static>(
        &mut self,
        destination: Destination,
        request: R,
    ) -> Result<R::Response, RequestError> {
        self.call_until(destination, request, i16::MAX, |_| ErrorCode::NONE)
    }

    /// Asks in at most this version, and again while `verdict` finds an error that passes.
    pub(crate) fn call_until<R: Request + Send + 'static>(
        &mut self,
        destination: Destination,
        request: R,
        version_max: i16,
        verdict: fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, RequestError> {
        let call = AdminCall::new(destination, request, self.deadline(), verdict).version_max(version_max);
        self.driver.settle(call)
    }

    /// Topics by name, or all of them, sorted; also makes the addresses of all brokers known.
    pub(crate) fn metadata(&mut self, names: Option<&[String]>) -> Result<MetadataResponse, Failure> {
        let wanted = |name: &String| MetadataRequestTopic {
            name: Some(KafkaString::copied(name)),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(wanted).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let mut response = self.call(Destination::Any, request)?;
        self.driver.client.learn(&response);
        response.topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(response)
    }

    /// Topics by name, or all of them.
    pub(crate) fn topics(&mut self, names: Option<&[String]>) -> Result<Vec<MetadataResponseTopic>, Failure> {
        Ok(self.metadata(names)?.topics)
    }

    /// All partitions of these topics, each of which must exist.
    pub(crate) fn partitions_of(&mut self, names: &[String]) -> Result<Vec<TopicPartition>, Failure> {
        let mut partitions = Vec::new();
        for topic in self.topics(Some(names))? {
            let name = topic.name.as_deref().unwrap_or_default();
            if topic.error_code != 0 {
                return Err(Failure::of_topic(name, ErrorCode(topic.error_code), ""));
            }
            partitions.extend(topic.partitions.iter().map(|each| TopicPartition::new(name, each.partition_index)));
        }
        partitions.sort();
        Ok(partitions)
    }

    /// Ids of all brokers.
    pub(crate) fn brokers(&mut self) -> Result<Vec<NodeId>, Failure> {
        self.metadata(Some(&[]))?;
        Ok(self.driver.client.cluster().brokers.keys().copied().collect())
    }

    /// Puts partitions under the brokers that lead them; whose leader is not known comes back with the reason.
    pub(crate) fn by_leader(&mut self, partitions: &[TopicPartition]) -> Result<(Led, Leaderless), Failure> {
        let mut names: Vec<String> = partitions.iter().map(|each| each.topic.clone()).collect();
        names.sort();
        names.dedup();
        self.metadata(Some(&names))?;
        let cluster = self.driver.client.cluster();
        let mut led: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
        let mut leaderless = Vec::new();
        for each in partitions {
            match cluster.topic(&each.topic) {
                Some(Err(code)) => leaderless.push((each.clone(), *code)),
                Some(Ok(topic)) => match topic.partition(PartitionIndex(each.partition)) {
                    None => leaderless.push((each.clone(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
                    Some(partition) => match partition.leader {
                        Some(node) => led.entry(node).or_default().push(each.clone()),
                        None => leaderless.push((each.clone(), ErrorCode::LEADER_NOT_AVAILABLE)),
                    },
                },
                None => leaderless.push((each.clone(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
            }
        }
        Ok((led, leaderless))
    }

    /// Offsets by timestamp, or by one of the special ones, of each partition.
    pub(crate) fn list_offsets(
        &mut self,
        wanted: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Result<FoundOffset, ErrorCode>>, Failure> {
        let partitions: Vec<TopicPartition> = wanted.keys().cloned().collect();
        let (led, leaderless) = self.by_leader(&partitions)?;
        let mut found: BTreeMap<TopicPartition, Result<FoundOffset, ErrorCode>> =
            leaderless.into_iter().map(|(at, code)| (at, Err(code))).collect();
        for (node, partitions) in led {
            let timestamp = |at: &TopicPartition| wanted.get(at).copied().unwrap_or(LATEST);
            let topics = by_topic(partitions.iter().map(|at| (at, timestamp(at)))).into_iter();
            let topics = topics.map(|(topic, partitions)| ListOffsetsTopic {
                name: KafkaString::copied(topic),
                partitions: partitions
                    .into_iter()
                    .map(|(partition_index, timestamp)| ListOffsetsPartition {
                        partition_index,
                        timestamp,
                        ..ListOffsetsPartition::default()
                    })
                    .collect(),
            });
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: topics.collect(),
                timeout_ms: CHANGE_TIMEOUT_MS,
                ..ListOffsetsRequest::default()
            };
            for topic in self.call(Destination::Node(node), request)?.topics {
                for part in topic.partitions {
                    let code = ErrorCode(part.error_code);
                    let offset = (part.offset >= 0).then_some(Offset(part.offset));
                    let offset = FoundOffset { offset, timestamp: Timestamp(part.timestamp) };
                    let at = TopicPartition::new(&topic.name, part.partition_index);
                    found.insert(at, if code.is_none() { Ok(offset) } else { Err(code) });
                }
            }
        }
        Ok(found)
    }
}
