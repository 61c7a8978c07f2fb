//! Produce: check each batch here, have its owner append it, answer when all are acknowledged.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelane_core::base::{Monotonic, PartitionIndex, ShardId, Uuid};
use corelane_core::coordinator::Claim;
use corelane_core::metadata::is_internal_topic;
use corelane_core::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use corelane_core::protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use corelane_core::protocol::messages::{ProduceRequest, ProduceResponse};
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::record::BatchHeader;
use corelane_core::record::header::MAGIC;
use corelane_core::record::legacy::up::{self, validate_legacy_produce};
use corelane_core::record::validate::{check_produce_version, needs_opening, validate_produce};

use super::by_owner::ByOwner;
use super::described::{Broker, leading_brokers, wants_leader};
use super::{Request, Served};
use crate::answers::Answer;
use crate::catalog::{Catalog, Topic};
use crate::hop::{Call, Reply};
use crate::local::{Either, first_of};
use crate::shard::Shard;
use crate::storage::PartitionKey;
use crate::storage::append::{AppendError, AppendItem, AppendResult, Appended, Incoming};
use crate::sys::Sys;

/// Shortest time after which a produce is answered unfinished. Kafka writes before it looks at the clock, so there even
/// a timeout of 0 succeeds; here the way to another shard takes some of it.
const TIMEOUT_MS_MIN: u64 = 1_000;
/// Last version that carries message formats 0 and 1.
const VERSION_MAX_WITH_MESSAGES: i16 = 2;
/// The client id that Kafka lets write to internal topics.
const ADMIN_CLIENT: &str = "__admin_client";
/// First version whose answer says who leads instead (KIP-951).
const VERSION_WITH_LEADER_HINTS: i16 = 10;
/// First version whose clients know TRANSACTION_ABORTABLE.
const VERSION_WITH_ABORTABLE: i16 = 11;
/// First version whose clients leave it to the broker to have partitions take part in their transactions (KIP-890).
const VERSION_WITH_ADDING: i16 = 12;
/// First version that names topics by id.
const VERSION_WITH_TOPIC_IDS: i16 = 13;

pub(super) async fn serve<S: Sys>(shard: &Rc<Shard<S>>, request: &Request) -> Served<S> {
    let asked: ProduceRequest = request.decode()?;
    let acks = asked.acks;
    let version = request.version;
    let timeout_ms = u64::try_from(asked.timeout_ms).unwrap_or(0).max(TIMEOUT_MS_MIN);
    // Only those who wait for all replicas are told of a time that is up.
    let deadline = (acks == -1).then(|| shard.sys.now().plus_ms(timeout_ms));
    let (mut response, appends) = place(shard, request, asked);
    request.peer.errands.note(appends.owners());
    // The first poll of each takes the batches to their queues, or into the rings that lead there: order is kept.
    let results = appends.ask(|owner, items| append(shard, owner, items, deadline)).await;
    for (place, result) in results {
        let topic = response.responses.get_mut(place.topic).expect("placed by this request");
        *topic.partition_responses.get_mut(place.partition).expect("placed by this request") =
            partition_answer(place.index, result.map_err(|error| known_to(version, error)));
    }
    if acks != 0 {
        if request.version >= VERSION_WITH_LEADER_HINTS {
            name_leaders(shard, request, &mut response);
        }
        return request.answer(&response);
    }
    let failed = response.responses.iter().flat_map(|topic| &topic.partition_responses).find(|p| p.error_code != 0);
    if let Some(failed) = failed {
        // The client asked for no answers; a closed connection is the only way to tell it, as with Kafka.
        let why = failed.error_message.as_deref().unwrap_or_default();
        tracing::info!(partition = failed.index, error = %ErrorCode(failed.error_code), why, "produce with acks=0 failed");
        return Ok(Answer::Close);
    }
    Ok(Answer::Nothing)
}

/// Says who leads the partitions that are not led here, and where that broker is.
fn name_leaders<S: Sys>(shard: &Shard<S>, request: &Request, response: &mut ProduceResponse) {
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut leaders = Vec::new();
    for topic in &mut response.responses {
        for answer in topic.partition_responses.iter_mut().filter(|answer| wants_leader(ErrorCode(answer.error_code))) {
            let known = catalog.topic_by_id(Uuid(topic.topic_id)).or_else(|| catalog.topic_by_name(&topic.name));
            let index = PartitionIndex(answer.index);
            let leader = known.and_then(|known| view.leader(PartitionKey { topic: known.image.id, index }));
            if let Some((leader, epoch)) = leader {
                answer.current_leader = LeaderIdAndEpoch { leader_id: leader.0, leader_epoch: epoch.0 };
                leaders.push(leader.0);
            }
        }
    }
    response.node_endpoints = leading_brokers(shard, request, leaders.into_iter())
        .into_iter()
        .map(|Broker { id: node_id, host, port, rack }| NodeEndpoint { node_id, host, port, rack })
        .collect();
}

/// Where in the answer a result goes.
struct Place {
    topic: usize,
    partition: usize,
    index: i32,
}

/// Has an owner append. After `deadline`, if there is one, the client is told that its time is up; the batches may still
/// be appended, as with Kafka.
async fn append<S: Sys>(
    shard: &Rc<Shard<S>>,
    owner: ShardId,
    items: Vec<AppendItem>,
    deadline: Option<Monotonic>,
) -> Vec<AppendResult> {
    let count = items.len();
    let appended = shard.ask(owner, Call::Append(items));
    let reply = match deadline {
        None => appended.await,
        Some(deadline) => match first_of(appended, shard.sys.sleep_until(deadline)).await {
            Either::First(reply) => reply,
            Either::Second(()) => {
                let late =
                    || AppendError::new(ErrorCode::REQUEST_TIMED_OUT, "not durable within the request's timeout");
                return (0..count).map(|_| Err(late())).collect();
            }
        },
    };
    let Reply::Append(results) = reply else { unreachable!("a reply has the name of its call") };
    results
}

/// Takes the request apart: the answer with all errors that are known already, and what to ask of whom.
fn place<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    asked: ProduceRequest,
) -> (ProduceResponse, ByOwner<Place, AppendItem>) {
    let catalog = shard.catalog();
    let view = shard.view(request.origin);
    let mut appends = ByOwner::new();
    let ProduceRequest { acks, topic_data, transactional_id, .. } = asked;
    let lacks_id = transactional_id.is_none() && topic_data.iter().any(has_transactional);
    let mut responses = Vec::with_capacity(topic_data.len());
    for TopicProduceData { name, topic_id, partition_data, .. } in topic_data {
        let topic = if request.version >= VERSION_WITH_TOPIC_IDS {
            catalog.topic_by_id(Uuid(topic_id)).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
        } else {
            catalog.topic_by_name(&name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        };
        let mut partition_responses = Vec::with_capacity(partition_data.len());
        for PartitionProduceData { index, records, .. } in partition_data {
            let admissible = match (&topic, acks) {
                (_, ..=-2 | 2..) => Err(AppendError::new(ErrorCode::INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1")),
                _ if lacks_id => Err(AppendError::new(
                    ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
                    "records of a transaction come without a transactional id",
                )),
                (Err(code), _) => Err(AppendError::new(*code, "")),
                (Ok(topic), _) => {
                    let item = check(shard, request, acks, &catalog, topic, index, records.unwrap_or_default());
                    item.map(|item| item.map(|item| claimed(item, transactional_id.as_deref(), request.version)))
                }
            };
            let answer = match admissible {
                // As Kafka 3.9 answers old clients; later versions of the request want a batch.
                Ok(None) => PartitionProduceResponse { index, base_offset: -1, ..Default::default() },
                Ok(Some(item)) => match view.route(item.partition) {
                    Ok(owner) => {
                        let place = Place { topic: responses.len(), partition: partition_responses.len(), index };
                        appends.add(owner, place, item);
                        PartitionProduceResponse::default()
                    }
                    Err(elsewhere) => partition_answer(index, Err(AppendError::new(elsewhere, ""))),
                },
                Err(error) => partition_answer(index, Err(error)),
            };
            partition_responses.push(answer);
        }
        responses.push(TopicProduceResponse { name, topic_id, partition_responses });
    }
    let response = ProduceResponse { responses, ..Default::default() };
    (response, appends)
}

/// Checks one partition's records as far as that needs no state of the partition; `None` if there are none.
fn check<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    acks: i16,
    catalog: &Catalog,
    topic: &Topic,
    index: i32,
    records: Bytes,
) -> Result<Option<AppendItem>, AppendError> {
    let partition = PartitionKey { topic: topic.image.id, index: PartitionIndex(index) };
    if !catalog.has_partition(partition) {
        let message = format!("topic {} has no partition {index}", topic.image.name);
        return Err(AppendError::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    }
    if is_internal_topic(&topic.image.name) && request.client_id.as_deref() != Some(ADMIN_CLIENT) {
        let message = format!("{} is written by the broker alone", topic.image.name);
        return Err(AppendError::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    let in_sync = topic.image.partition(partition.index).map_or(0, |partition| partition.isr.len());
    if acks == -1 && usize::try_from(topic.min_insync_replicas).unwrap_or(0) > in_sync {
        let message =
            format!("min.insync.replicas is {} and {in_sync} replicas are in sync", topic.min_insync_replicas);
        return Err(AppendError::new(ErrorCode::NOT_ENOUGH_REPLICAS, message));
    }
    let rules = &topic.append;
    if request.version <= VERSION_MAX_WITH_MESSAGES && !is_batch(&records) {
        if up::is_empty(&records) {
            return Ok(None);
        }
        let batch = if up::is_quick(&records, rules) {
            Incoming::Valid(validate_legacy_produce(&records, rules, shard.sys.wall())?)
        } else {
            Incoming::Unopened(records, Arc::clone(rules), validate_legacy_produce)
        };
        return Ok(Some(AppendItem { partition, batch, claim: None }));
    }
    if request.version > VERSION_MAX_WITH_MESSAGES {
        check_produce_version(&records, request.version)?;
    }
    let now = shard.sys.wall();
    let batch = if needs_opening(&records, rules, now) {
        Incoming::Unopened(records, Arc::clone(rules), validate_produce)
    } else {
        Incoming::Valid(validate_produce(&records, rules, now)?)
    };
    Ok(Some(AppendItem { partition, batch, claim: None }))
}

/// Whether the records begin with a batch of format 2, which old versions may carry too.
fn is_batch(records: &[u8]) -> bool {
    BatchHeader::parse(records).is_some_and(|header| header.magic() == MAGIC)
}

/// Whether records of a topic belong to a transaction.
fn has_transactional(topic: &TopicProduceData) -> bool {
    let batches = topic.partition_data.iter().filter_map(|partition| partition.records.as_deref());
    batches
        .filter(|records| is_batch(records))
        .filter_map(BatchHeader::parse)
        .any(|header| header.attributes().is_transactional())
}

/// A batch with the transaction that it belongs to, if it does.
fn claimed(item: AppendItem, transactional_id: Option<&str>, version: i16) -> AppendItem {
    let Some(transactional_id) = transactional_id else { return item };
    let claim = item.batch.header().filter(|header| header.attributes().is_transactional()).map(|header| Claim {
        transactional_id: KafkaString::copied(transactional_id),
        producer: header.producer_id(),
        epoch: header.producer_epoch(),
        adds: version >= VERSION_WITH_ADDING,
    });
    AppendItem { claim, ..item }
}

/// The error as clients of this version know it, so that they try again where that helps. What the coordinator of a
/// transaction answers is new to the older ones.
fn known_to(version: i16, error: AppendError) -> AppendError {
    let code = match error.code {
        ErrorCode::NETWORK_EXCEPTION
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::CONCURRENT_TRANSACTIONS if version < VERSION_WITH_ADDING => ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::TRANSACTION_ABORTABLE if version < VERSION_WITH_ABORTABLE => ErrorCode::INVALID_TXN_STATE,
        code => code,
    };
    AppendError { code, ..error }
}

fn partition_answer(index: i32, result: AppendResult) -> PartitionProduceResponse {
    match result {
        Ok(Appended { base_offset, log_append_time, log_start }) => PartitionProduceResponse {
            index,
            base_offset: base_offset.0,
            log_append_time_ms: log_append_time.0,
            log_start_offset: log_start.0,
            ..Default::default()
        },
        Err(AppendError { code, message, record_errors }) => PartitionProduceResponse {
            index,
            error_code: code.0,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: record_errors
                .into_iter()
                .map(|fault| BatchIndexAndErrorMessage {
                    batch_index: fault.index,
                    batch_index_error_message: Some(fault.message.into()),
                })
                .collect(),
            error_message: (!message.is_empty()).then(|| message.into()),
            ..Default::default()
        },
    }
}
