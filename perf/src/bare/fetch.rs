//! Fetch: what is there, or a wait for more.

use std::time::{Duration, Instant};

use bytes::Bytes;
use corelane_core::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use corelane_core::protocol::messages::{FetchRequest, FetchResponse};
use corelane_core::protocol::{ErrorCode, KafkaString};

use super::requests::Asked;
use super::topics::Topics;

/// Longest wait, whatever is asked for.
const WAIT_MS_MAX: u64 = 60_000;
/// Bytes of an answer after which no further partition is read.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A fetch. It holds nothing of the frame that it came in: that would keep the frame's memory.
pub(super) struct Poll {
    pub(super) asked: Asked,
    pub(super) deadline: Instant,
    bytes_min: usize,
    bytes_max: usize,
    topics: Vec<WantedTopic>,
}

struct WantedTopic {
    /// Its number, or why it has none.
    number: Result<usize, ErrorCode>,
    name: KafkaString,
    partitions: Vec<Wanted>,
}

#[derive(Clone, Copy)]
struct Wanted {
    partition: i32,
    offset: i64,
    bytes_max: usize,
}

impl Poll {
    /// Takes over what is asked for.
    pub(super) fn new(asked: Asked, request: &FetchRequest, topics: &mut Topics) -> Self {
        let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0).min(WAIT_MS_MAX);
        let wanted = request.topics.iter().map(|topic| {
            let number = topics.named(&topic.topic);
            let known = number.ok().and_then(|number| topics.get(number));
            let name = known.map_or_else(|| KafkaString::copied(&topic.topic), |known| known.name.clone());
            let partitions = topic.partitions.iter().map(|wanted| Wanted {
                partition: wanted.partition,
                offset: wanted.fetch_offset,
                bytes_max: usize::try_from(wanted.partition_max_bytes).unwrap_or(0),
            });
            WantedTopic { number, name, partitions: partitions.collect() }
        });
        Self {
            asked,
            deadline: Instant::now() + Duration::from_millis(wait_ms),
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
            bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX),
            topics: wanted.collect(),
        }
    }

    /// The answer, if there is enough for one, something is wrong, or `is_over` the time to wait.
    pub(super) fn answer(&self, topics: &mut Topics, is_over: bool) -> Option<FetchResponse> {
        let (mut found_bytes, mut is_wrong) = (0, false);
        let mut responses = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for wanted in &topic.partitions {
                let data = read(topics, topic, wanted, self.bytes_max.saturating_sub(found_bytes), found_bytes == 0);
                found_bytes += data.records.as_ref().map_or(0, Bytes::len);
                is_wrong |= data.error_code != 0;
                partitions.push(data);
            }
            responses.push(FetchableTopicResponse { topic: topic.name.clone(), partitions, ..Default::default() });
        }
        let is_due = is_over || is_wrong || found_bytes >= self.bytes_min || self.topics.is_empty();
        is_due.then(|| FetchResponse { responses, ..Default::default() })
    }

    /// Has every partition that is asked for know of the connection in `slot`.
    pub(super) fn watch(&self, topics: &mut Topics, slot: usize) {
        for topic in &self.topics {
            let Ok(number) = topic.number else { continue };
            for wanted in &topic.partitions {
                if let Ok(partition) = topics.partition(number, wanted.partition)
                    && !partition.waiting.contains(&slot)
                {
                    partition.waiting.push(slot);
                }
            }
        }
    }
}

/// One partition: at least a batch if it is the first with any, else what fits into `bytes_max`.
fn read(topics: &mut Topics, topic: &WantedTopic, wanted: &Wanted, bytes_max: usize, is_first: bool) -> PartitionData {
    let partition = topic.number.and_then(|number| topics.partition(number, wanted.partition));
    let read = partition.and_then(|partition| {
        let ends = (partition.first_offset(), partition.next_offset());
        let records = match bytes_max {
            0 if !is_first => Bytes::new(),
            _ => partition.read(wanted.offset, wanted.bytes_max.min(bytes_max))?,
        };
        let fits = is_first || records.len() <= bytes_max;
        Ok((ends, if fits { records } else { Bytes::new() }))
    });
    let partition_index = wanted.partition;
    match read {
        Ok(((first, next), records)) => PartitionData {
            partition_index,
            high_watermark: next,
            last_stable_offset: next,
            log_start_offset: first,
            aborted_transactions: None,
            records: Some(records),
            ..Default::default()
        },
        Err(code) => PartitionData {
            partition_index,
            error_code: code.0,
            high_watermark: -1,
            aborted_transactions: None,
            records: Some(Bytes::new()),
            ..Default::default()
        },
    }
}
