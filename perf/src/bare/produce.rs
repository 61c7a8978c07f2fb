//! Produce: each batch to its partition.

use bytes::Bytes;
use corelane_core::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use corelane_core::protocol::messages::{ProduceRequest, ProduceResponse};
use corelane_core::protocol::{ErrorCode, KafkaString};

use super::connection::End;
use super::topics::Topics;

/// Appends everything, and notes in `woken` the connections that wait for any of it. No answer if none is asked for.
pub(super) fn serve(
    request: ProduceRequest,
    topics: &mut Topics,
    woken: &mut Vec<usize>,
) -> Result<Option<ProduceResponse>, End> {
    let mut responses = Vec::with_capacity(request.topic_data.len());
    let mut fault = None;
    for topic in request.topic_data {
        let number = topics.named(&topic.name);
        let mut partition_responses = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let records = data.records.unwrap_or_default();
            let appended = number.and_then(|number| append(topics, number, data.index, records, woken));
            if let Err(code) = appended {
                fault = Some(format!("{}-{}: {code}", topic.name.as_str(), data.index));
            }
            let (base_offset, log_start_offset) = appended.unwrap_or((-1, -1));
            partition_responses.push(PartitionProduceResponse {
                index: data.index,
                error_code: appended.err().map_or(0, |code| code.0),
                base_offset,
                log_start_offset,
                ..Default::default()
            });
        }
        // No copy: the answer is written before its frame goes.
        let name: KafkaString = topic.name;
        responses.push(TopicProduceResponse { name, partition_responses, ..Default::default() });
    }
    match (request.acks, fault) {
        (0, None) => Ok(None),
        // There is no other way to tell somebody who wants no answers.
        (0, Some(fault)) => Err(End::Fault(format!("asked for no answers, and an append failed: {fault}"))),
        _ => Ok(Some(ProduceResponse { responses, ..Default::default() })),
    }
}

/// Gives the offset of the batch, and the first one of the partition.
fn append(
    topics: &mut Topics,
    number: usize,
    index: i32,
    records: Bytes,
    woken: &mut Vec<usize>,
) -> Result<(i64, i64), ErrorCode> {
    let partition = topics.partition(number, index)?;
    let base_offset = partition.append(records)?;
    woken.append(&mut partition.waiting);
    Ok((base_offset, partition.first_offset()))
}
