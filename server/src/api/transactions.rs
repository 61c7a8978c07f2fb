//! What the requests of transactions have in common: they go to the coordinator of their transactional id.

use std::collections::BTreeSet;
use std::rc::Rc;

use corelane_core::base::{PartitionIndex, ProducerEpoch, ProducerId};
use corelane_core::protocol::{ErrorCode, KafkaString};
use corelane_core::transaction::{
    Answer, ProducerIdAndEpoch, Request as TransactionRequest, TopicPartition, TransactionVersion,
};

use super::Request;
use crate::shard::Shard;
use crate::sys::Sys;

/// Has the coordinator of a transactional id answer.
pub(super) async fn ask<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    transactional_id: &str,
    asked: TransactionRequest,
) -> Answer {
    let Some((_, owner)) = shard.transaction_coordinator(transactional_id) else {
        // Nobody has asked for a coordinator yet, so nobody can know one.
        return asked.refuse(ErrorCode::NOT_COORDINATOR);
    };
    if !shard.view(request.origin).reaches(owner) {
        return asked.refuse(ErrorCode::NOT_COORDINATOR);
    }
    shard.ask_transaction(transactional_id, asked).await
}

/// Has partitions take part in the transaction of a client that adds them itself.
pub(super) async fn add<S: Sys>(
    shard: &Rc<Shard<S>>,
    request: &Request,
    transactional_id: KafkaString,
    producer: ProducerIdAndEpoch,
    partitions: BTreeSet<TopicPartition>,
) -> ErrorCode {
    let id = transactional_id.clone();
    let version = TransactionVersion::V0;
    let asked = TransactionRequest::AddPartitions { transactional_id, producer, partitions, version };
    match ask(shard, request, &id, asked).await {
        Answer::AddPartitions(Ok(())) => ErrorCode::NONE,
        Answer::AddPartitions(Err(code)) => code,
        _ => unreachable!("an answer has the name of its request"),
    }
}

/// A producer as a request names it.
pub(super) fn producer(id: i64, epoch: i16) -> ProducerIdAndEpoch {
    ProducerIdAndEpoch { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

/// A partition as a request names it; it keeps no request alive.
pub(super) fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition { topic: KafkaString::copied(topic), index: PartitionIndex(index) }
}

/// The error of a fenced producer, as a client of that version knows it.
pub(super) fn known_fence(code: ErrorCode, version: i16, fenced_from: i16) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED if version < fenced_from => ErrorCode::INVALID_PRODUCER_EPOCH,
        code => code,
    }
}
