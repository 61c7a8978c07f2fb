//! The transactions of a producer: who it is for its transactional id, which partitions take part, and how each ends.
//!
//! Where the broker has `transaction.version` 2 it has partitions take part as they are written to, and each end brings a
//! new epoch (KIP-890); else the producer adds them before. One question to the coordinator is open at a time; what goes
//! away by itself is asked again, everything else is the end of the producer.

use std::collections::{BTreeSet, VecDeque};

use super::admin::{TRANSACTION, find_coordinator_of, learn_coordinator};
use super::batch_queue::ProducerIdentity;
use super::cluster::{Client, SendOptions};
use super::connection::Answer;
use super::error::check;
use super::request::{RequestError, RequestId, Target};
use super::shared_name::SharedName;
use crate::base::{Monotonic, NodeId, PartitionIndex, ProducerEpoch, ProducerId};
use crate::protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::protocol::messages::{AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest};
use crate::protocol::{ErrorCode, KafkaString};

/// The feature, and the level of it from which on the broker has partitions take part.
const FEATURE: &str = "transaction.version";
const LEVEL_THAT_ADDS: i16 = 2;
/// Last versions for clients that add partitions themselves.
pub(super) const PRODUCE_ADDED_VERSION_MAX: i16 = 11;
const ADD_VERSION_MAX: i16 = 3;
const END_KEEPS_EPOCH_VERSION_MAX: i16 = 4;
/// Milliseconds between two questions while the transaction before is being ended.
const CONCURRENT_BACKOFF_MS: u64 = 5;

/// What makes a producer transactional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionOptions {
    /// Its transactional id.
    pub transactional_id: String,
    /// Milliseconds after which the coordinator aborts a transaction that is open (`transaction.timeout.ms`).
    pub timeout_ms: i32,
}

pub(super) type PartitionName = (SharedName, PartitionIndex);

/// The open question.
#[derive(Debug)]
enum Asked {
    Nothing,
    Coordinator(RequestId),
    Identity(RequestId),
    Adding(RequestId, Vec<PartitionName>),
    End(RequestId),
}

/// What an answer comes to.
pub(super) enum Learned {
    /// Nothing for others.
    Nothing,
    /// Batches are numbered anew, under this identity.
    Identity(ProducerIdentity),
    /// There is nothing more to be done with this producer.
    Fatal(RequestError),
}

/// The transactions of one producer.
#[derive(Debug)]
pub(super) struct Transactions {
    options: TransactionOptions,
    coordinator: Option<NodeId>,
    identity: Option<ProducerIdentity>,
    /// The broker has partitions take part.
    is_new: bool,
    asked: Asked,
    not_before: Monotonic,
    /// Partitions that take part; where the broker adds them, those that were written to.
    taking_part: BTreeSet<PartitionName>,
    /// The end that is wanted: commit, or abort.
    ending: Option<bool>,
    ends: VecDeque<Result<(), RequestError>>,
}

impl Transactions {
    pub(super) fn new(options: TransactionOptions) -> Self {
        Self {
            options,
            coordinator: None,
            identity: None,
            is_new: false,
            asked: Asked::Nothing,
            not_before: Monotonic(0),
            taking_part: BTreeSet::new(),
            ending: None,
            ends: VecDeque::new(),
        }
    }

    pub(super) fn transactional_id(&self) -> KafkaString {
        KafkaString::copied(&self.options.transactional_id)
    }

    /// Whether the coordinator has said who the producer is.
    pub(super) fn is_initialized(&self) -> bool {
        self.identity.is_some()
    }

    /// Last version of Produce that goes with these transactions.
    pub(super) fn produce_version_max(&self) -> i16 {
        if self.is_new { i16::MAX } else { PRODUCE_ADDED_VERSION_MAX }
    }

    /// Whether batches of a partition may be sent.
    pub(super) fn may_send(&self, partition: &PartitionName) -> bool {
        self.is_new || self.taking_part.contains(partition)
    }

    /// Batches of these partitions are being sent.
    pub(super) fn sent(&mut self, partitions: &[PartitionName]) {
        for partition in partitions {
            if !self.taking_part.contains(partition) {
                self.taking_part.insert(partition.clone());
            }
        }
    }

    pub(super) fn end(&mut self, commits: bool) {
        self.ending = Some(commits);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(super) fn poll_end(&mut self) -> Option<Result<(), RequestError>> {
        self.ends.pop_front()
    }

    /// When something is to be asked again.
    pub(super) fn poll_timeout(&self, now: Monotonic) -> Option<Monotonic> {
        (matches!(self.asked, Asked::Nothing) && self.not_before > now).then_some(self.not_before)
    }

    /// Asks what is to be asked now. `unknown` are partitions with something to send that do not take part; `is_idle` that
    /// all that was sent is answered.
    pub(super) fn advance(&mut self, now: Monotonic, client: &mut Client, unknown: Vec<PartitionName>, is_idle: bool) {
        if !matches!(self.asked, Asked::Nothing) || self.not_before > now {
            return;
        }
        let ends = self.ending.filter(|_| is_idle);
        if ends.is_some() && self.taking_part.is_empty() {
            // Nobody knows of it.
            self.ending = None;
            return self.ends.push_back(Ok(()));
        }
        let adds = !self.is_new && !unknown.is_empty();
        if self.identity.is_some() && ends.is_none() && !adds {
            return;
        }
        let Some(node) = self.coordinator else {
            let id = find_coordinator_of(now, client, TRANSACTION, &self.options.transactional_id);
            self.asked = Asked::Coordinator(id);
            return;
        };
        let Some(identity) = self.identity else {
            let request = InitProducerIdRequest {
                transactional_id: Some(self.transactional_id()),
                transaction_timeout_ms: self.options.timeout_ms,
                ..InitProducerIdRequest::default()
            };
            self.asked = Asked::Identity(client.send(now, Target::Node(node), request));
            return;
        };
        if adds {
            let request = self.adding(identity, &unknown);
            let options = SendOptions { version_max: ADD_VERSION_MAX, ..SendOptions::default() };
            self.asked = Asked::Adding(client.send_with(now, Target::Node(node), request, options), unknown);
        } else if let Some(committed) = ends {
            let request = EndTxnRequest {
                transactional_id: self.transactional_id(),
                producer_id: identity.id.0,
                producer_epoch: identity.epoch.0,
                committed,
            };
            let version_max = if self.is_new { i16::MAX } else { END_KEEPS_EPOCH_VERSION_MAX };
            let options = SendOptions { version_max, ..SendOptions::default() };
            self.asked = Asked::End(client.send_with(now, Target::Node(node), request, options));
        }
    }

    fn adding(&self, identity: ProducerIdentity, partitions: &[PartitionName]) -> AddPartitionsToTxnRequest {
        let mut topics: Vec<AddPartitionsToTxnTopic> = Vec::new();
        for (topic, index) in partitions {
            match topics.last_mut().filter(|last| last.name == **topic) {
                Some(last) => last.partitions.push(index.0),
                None => {
                    topics.push(AddPartitionsToTxnTopic { name: KafkaString::copied(topic), partitions: vec![index.0] })
                }
            }
        }
        AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.transactional_id(),
            v3_and_below_producer_id: identity.id.0,
            v3_and_below_producer_epoch: identity.epoch.0,
            v3_and_below_topics: topics,
            ..AddPartitionsToTxnRequest::default()
        }
    }

    /// Takes an answer that is for the transactions; gives back one that is not.
    pub(super) fn handle_answer(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        id: RequestId,
        result: Result<Answer, RequestError>,
    ) -> Result<Learned, Result<Answer, RequestError>> {
        let is_it = match &self.asked {
            Asked::Nothing => false,
            Asked::Coordinator(asked) | Asked::Identity(asked) | Asked::Adding(asked, _) | Asked::End(asked) => {
                *asked == id
            }
        };
        if !is_it {
            return Err(result);
        }
        let learned = match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => Ok(Learned::Nothing),
            Asked::Coordinator(_) => learn_coordinator(client, result).map(|node| {
                self.coordinator = Some(node);
                Learned::Nothing
            }),
            Asked::Identity(_) => self.handle_identity(client, result),
            Asked::Adding(_, partitions) => self.handle_added(result, partitions),
            Asked::End(_) => self.handle_end(result),
        };
        Ok(learned.unwrap_or_else(|error| self.handle_error(now, client, error)))
    }

    fn handle_identity(
        &mut self,
        client: &Client,
        result: Result<Answer, RequestError>,
    ) -> Result<Learned, RequestError> {
        let decode = |answer: Answer| answer.decode::<InitProducerIdRequest>().map_err(RequestError::Malformed);
        let response = result.and_then(decode)?;
        check(response.error_code).map_err(refused)?;
        let identity = identity(response.producer_id, response.producer_epoch);
        self.identity = Some(identity);
        // The coordinator was asked, so its versions are known.
        self.is_new = client.feature_level(FEATURE) >= LEVEL_THAT_ADDS;
        Ok(Learned::Identity(identity))
    }

    fn handle_added(
        &mut self,
        result: Result<Answer, RequestError>,
        partitions: Vec<PartitionName>,
    ) -> Result<Learned, RequestError> {
        let decode = |answer: Answer| answer.decode::<AddPartitionsToTxnRequest>().map_err(RequestError::Malformed);
        let response = result.and_then(decode)?;
        let results = response.results_by_topic_v3_and_below.iter().flat_map(|topic| &topic.results_by_partition);
        let codes = results.map(|result| result.partition_error_code);
        // Those that were not tried say nothing of the reason.
        let first = codes.filter(|code| *code != 0 && *code != ErrorCode::OPERATION_NOT_ATTEMPTED.0).min();
        check(first.unwrap_or(0)).map_err(refused)?;
        self.taking_part.extend(partitions);
        Ok(Learned::Nothing)
    }

    fn handle_end(&mut self, result: Result<Answer, RequestError>) -> Result<Learned, RequestError> {
        let decode = |answer: Answer| answer.decode::<EndTxnRequest>().map_err(RequestError::Malformed);
        let response = result.and_then(decode)?;
        check(response.error_code).map_err(refused)?;
        self.taking_part.clear();
        self.ending = None;
        self.ends.push_back(Ok(()));
        if self.is_new && response.producer_id >= 0 {
            let identity = identity(response.producer_id, response.producer_epoch);
            self.identity = Some(identity);
            return Ok(Learned::Identity(identity));
        }
        Ok(Learned::Nothing)
    }

    fn handle_error(&mut self, now: Monotonic, client: &Client, error: RequestError) -> Learned {
        let code = match &error {
            RequestError::Refused { code, .. } => Some(*code),
            _ => None,
        };
        let backoff_ms = match code {
            Some(ErrorCode::CONCURRENT_TRANSACTIONS) => CONCURRENT_BACKOFF_MS,
            _ => client.config().retry_backoff_ms,
        };
        self.not_before = now.plus_ms(backoff_ms);
        if !error.is_retriable() {
            self.ending = None;
            self.ends.push_back(Err(error.clone()));
            return Learned::Fatal(error);
        }
        let may_be_elsewhere =
            !matches!(code, Some(ErrorCode::CONCURRENT_TRANSACTIONS | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        if may_be_elsewhere {
            self.coordinator = None;
        }
        Learned::Nothing
    }
}

fn identity(id: i64, epoch: i16) -> ProducerIdentity {
    ProducerIdentity { id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

fn refused(code: ErrorCode) -> RequestError {
    RequestError::Refused { code, message: String::new() }
}
