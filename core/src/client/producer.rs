//! A producer: records in, batches to the leaders of their partitions, the broker's word on each record out.
//!
//! With acks=all it is idempotent, as Kafka's own (KIP-98, KIP-679): batches carry the producer's id and sequences, so
//! that a batch sent twice is stored once and order holds with several batches in flight. With a transactional id it writes in
//! transactions (KIP-98), whose other half is in [`transactions`](super::transactions).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::batch_queue::{BatchQueue, OutgoingBatch, ProducerIdentity, size_bytes_max};
use super::cluster::{Client, SendOptions};
use super::connection::Answer;
use super::delivery::{Acks, AppendError, Delivery, DeliveryError, ProducerOptions, RecordId, RecordToSend};
use super::error::{check, is_stale_metadata};
use super::partitioner::{StickyPartition, partition_of_key};
use super::request::{RequestError, RequestId, Target};
use super::shared_name::SharedName;
use super::transactions::{Learned, TransactionOptions, Transactions};
use crate::base::{Monotonic, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Uuid};
use crate::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::protocol::messages::produce_response::PartitionProduceResponse;
use crate::protocol::messages::{InitProducerIdRequest, ProduceRequest};
use crate::protocol::{ErrorCode, KafkaString};

/// Last version of Produce that names topics.
const PRODUCE_BY_NAME_VERSION_MAX: i16 = 12;
/// Bytes kept free in a request for what is around the batches.
const REQUEST_OVERHEAD_BYTES: usize = 1_024;

type PartitionKey = (SharedName, PartitionIndex);

#[derive(Debug)]
struct SentRequest {
    node: NodeId,
    partitions: Vec<PartitionKey>,
}

#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// Not idempotent.
    Unneeded,
    /// To be asked for once nothing is in flight.
    Wanted,
    /// Asked for.
    Asked(RequestId),
    /// Could not be had; asked for again at that time.
    Failed(Monotonic),
    /// Here.
    Known(ProducerIdentity),
}

/// Which batches may be sent.
#[derive(Clone, Copy, Debug)]
enum Sending {
    /// All, numbered under the identity if there is one.
    All(Option<ProducerIdentity>),
    /// Those only that may be stored already, as they were.
    InDoubt,
}

impl Sending {
    fn admits(self, queue: &BatchQueue) -> bool {
        match self {
            Self::All(_) => true,
            Self::InDoubt => queue.is_in_doubt(),
        }
    }

    fn identity(self) -> Option<ProducerIdentity> {
        match self {
            Self::All(identity) => identity,
            Self::InDoubt => None,
        }
    }
}

/// A producer.
#[derive(Debug)]
pub struct Producer {
    options: ProducerOptions,
    identity: Identity,
    transactions: Option<Transactions>,

    // Records.
    next_record: u64,
    buffered_bytes: usize,
    topics: BTreeMap<SharedName, StickyPartition>,
    queues: BTreeMap<PartitionKey, BatchQueue>,

    // Requests.
    sent: BTreeMap<RequestId, SentRequest>,
    in_flight: BTreeMap<NodeId, usize>,

    // Outcomes.
    deliveries: VecDeque<Delivery>,
    last_error: Option<String>,
    is_flushing: bool,
}

impl Producer {
    /// A producer without records.
    #[must_use]
    pub fn new(options: ProducerOptions) -> Self {
        let is_idempotent = options.is_idempotent && options.acks == Acks::All;
        Self {
            options,
            identity: if is_idempotent { Identity::Wanted } else { Identity::Unneeded },
            transactions: None,
            next_record: 0,
            buffered_bytes: 0,
            topics: BTreeMap::new(),
            queues: BTreeMap::new(),
            sent: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            deliveries: VecDeque::new(),
            last_error: None,
            is_flushing: false,
        }
    }

    /// A producer that writes in transactions. Whatever `options` say, it waits for all replicas and is idempotent.
    ///
    /// A transaction is open from its first record on; what is not ended is aborted by the coordinator, in time or when a
    /// successor comes.
    #[must_use]
    pub fn transactional(options: ProducerOptions, transactions: TransactionOptions) -> Self {
        let options = ProducerOptions { acks: Acks::All, is_idempotent: true, ..options };
        Self { transactions: Some(Transactions::new(transactions)), ..Self::new(options) }
    }

    /// Whether records can be sent: a transactional producer first hears who it is.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.transactions.as_ref().is_none_or(Transactions::is_initialized)
    }

    /// Ends the transaction once all its records are acknowledged. No record is to be appended until
    /// [`poll_end`](Self::poll_end) has told of it.
    pub fn end_transaction(&mut self, commits: bool) {
        if let Some(transactions) = &mut self.transactions {
            transactions.end(commits);
        }
    }

    /// Takes what became of the end of a transaction, or why this producer can do nothing more.
    pub fn poll_end(&mut self) -> Option<Result<(), RequestError>> {
        self.transactions.as_mut()?.poll_end()
    }

    /// Takes a record for a topic that [`Client::want_topic`] was called for. Without a partition it goes where its
    /// key says, or without a key where `random` says.
    ///
    /// # Errors
    /// It was not taken.
    pub fn append(
        &mut self,
        now: Monotonic,
        client: &Client,
        topic: &str,
        partition: Option<PartitionIndex>,
        record: &RecordToSend<'_>,
        random: u32,
    ) -> Result<RecordId, AppendError> {
        let size_bytes = size_bytes_max(record);
        let size_bytes_limit = self.options.request_bytes_max.saturating_sub(REQUEST_OVERHEAD_BYTES);
        if size_bytes > size_bytes_limit {
            return Err(AppendError::TooLarge { size_bytes, size_bytes_max: size_bytes_limit });
        }
        if self.buffered_bytes > 0 && self.buffered_bytes + size_bytes > self.options.buffer_bytes_max {
            return Err(AppendError::BufferFull);
        }
        let metadata = match client.cluster().topic(topic) {
            None => return Err(AppendError::TopicUnknown),
            Some(Err(code)) => return Err(AppendError::Topic(*code)),
            Some(Ok(metadata)) => metadata,
        };
        let count = metadata.partition_count();
        let name = match self.topics.get_key_value(topic) {
            Some((name, _)) => name.clone(),
            None => SharedName::from(topic),
        };
        let sticky = self.topics.entry(name.clone()).or_default();
        let chosen = match (partition, record.key) {
            (Some(partition), _) if metadata.partition(partition).is_none() => {
                return Err(AppendError::NoSuchPartition { count });
            }
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => sticky.choose(count, random),
        };
        let mut queue = self.queues.entry((name.clone(), chosen)).or_default();
        let is_sticky = partition.is_none() && record.key.is_none();
        if is_sticky && !queue.has_room(self.options.batch_bytes_max, record) {
            sticky.batch_is_full();
            queue = self.queues.entry((name, sticky.choose(count, random))).or_default();
        }
        let id = RecordId(self.next_record);
        self.next_record += 1;
        self.buffered_bytes += size_bytes;
        queue.append(now, self.options.compression, self.options.batch_bytes_max, id, record);
        Ok(id)
    }

    /// Batches no longer wait for more records.
    pub fn flush(&mut self) {
        self.is_flushing = true;
    }

    /// Nothing waits to be sent or answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queues.values().all(BatchQueue::is_empty)
    }

    /// Takes what became of a batch.
    pub fn poll_delivery(&mut self) -> Option<Delivery> {
        self.deliveries.pop_front()
    }

    fn linger_ms(&self) -> u64 {
        let is_ending = self.transactions.as_ref().is_some_and(Transactions::is_ending);
        if self.is_flushing || is_ending { 0 } else { self.options.linger_ms }
    }

    /// When [`advance`](Self::advance) is to be called if no answer comes before.
    #[must_use]
    pub fn poll_timeout(&self, now: Monotonic) -> Option<Monotonic> {
        let expiry =
            |queue: &BatchQueue| queue.oldest_waiting().map(|oldest| oldest.plus_ms(self.options.delivery_timeout_ms));
        // What is ready and could not be sent waits for an answer, not for the clock.
        let ready = |queue: &BatchQueue| queue.ready_at(self.linger_ms()).filter(|at| *at > now);
        let identity = match self.identity {
            Identity::Failed(at) => Some(at),
            _ => None,
        };
        let transactions = self.transactions.as_ref().and_then(|transactions| transactions.poll_timeout(now));
        let queues = self.queues.values().flat_map(|queue| [ready(queue), expiry(queue)]).flatten();
        queues.chain(identity).chain(transactions).min()
    }

    /// Sends what is due by `now`, and gives up what is too old.
    pub fn advance(&mut self, now: Monotonic, client: &mut Client) {
        self.expire(now, client);
        self.advance_transactions(now, client);
        let Some(sending) = self.obtain_identity(now, client) else { return };
        let mut blocked: BTreeSet<PartitionKey> = BTreeSet::new();
        while let Some(node) = self.next_node(now, client, sending, &mut blocked) {
            self.send_to(now, client, node, sending);
        }
    }

    /// Asks the coordinator what is to be asked of it.
    fn advance_transactions(&mut self, now: Monotonic, client: &mut Client) {
        let (is_idle, linger_ms) = (self.is_idle(), self.linger_ms());
        let Some(transactions) = &mut self.transactions else { return };
        let unknown = self.queues.iter().filter(|(key, queue)| {
            !transactions.may_send(key) && queue.ready_at(linger_ms).is_some_and(|at| at <= now)
        });
        let unknown = unknown.map(|(key, _)| key.clone()).collect();
        transactions.advance(now, client, unknown, is_idle);
    }

    fn expire(&mut self, now: Monotonic, client: &Client) {
        let Some(since_ns) = now.0.checked_sub(self.options.delivery_timeout_ms.saturating_mul(1_000_000)) else {
            return;
        };
        let overdue = |queue: &BatchQueue| queue.oldest_waiting().is_some_and(|since| since.0 <= since_ns);
        let keys = self.queues.iter().filter(|(_, queue)| overdue(queue)).map(|(key, _)| key.clone());
        let keys: Vec<PartitionKey> = keys.collect();
        for key in keys {
            let expired =
                self.queues.get_mut(&key).map(|queue| queue.take_expired(Monotonic(since_ns))).unwrap_or_default();
            let is_numbered = !expired.is_empty() && self.identity != Identity::Unneeded;
            for batch in expired {
                let last = self.last_error.clone().or_else(|| client.metadata_failure().map(ToString::to_string));
                self.deliver(&key, batch, Err(DeliveryError::TimedOut(last)));
            }
            if is_numbered && self.transactions.is_none() {
                // A batch that was sent once may leave a gap in the sequences.
                self.identity = Identity::Wanted;
            }
        }
    }

    /// What may be sent now; nothing while an identity is being asked for.
    fn obtain_identity(&mut self, now: Monotonic, client: &mut Client) -> Option<Sending> {
        match self.identity {
            Identity::Unneeded => return Some(Sending::All(None)),
            Identity::Known(identity) => return Some(Sending::All(Some(identity))),
            Identity::Asked(_) => return None,
            // The coordinator gives it.
            _ if self.transactions.is_some() => return None,
            Identity::Failed(at) if at > now => return None,
            Identity::Failed(_) | Identity::Wanted => {}
        }
        // An old identity is left only when the fate of all its batches is known.
        if self.queues.values().any(BatchQueue::is_in_doubt) {
            return Some(Sending::InDoubt);
        }
        if self.sent.is_empty() && !self.is_idle() {
            let request = InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: i32::MAX,
                ..InitProducerIdRequest::default()
            };
            self.identity = Identity::Asked(client.send(now, Target::Any, request));
        }
        None
    }

    /// A broker that leads a partition with a batch to send.
    fn next_node(
        &self,
        now: Monotonic,
        client: &mut Client,
        sending: Sending,
        blocked: &mut BTreeSet<PartitionKey>,
    ) -> Option<NodeId> {
        for (key, queue) in &self.queues {
            let is_ready = sending.admits(queue) && queue.ready_at(self.linger_ms()).is_some_and(|at| at <= now);
            let may_send = self.transactions.as_ref().is_none_or(|transactions| transactions.may_send(key));
            if !is_ready || !may_send || queue.in_flight() >= self.partition_in_flight_max() || blocked.contains(key) {
                continue;
            }
            match client.cluster().leader(&key.0, key.1) {
                Some(node) if self.in_flight.get(&node).copied().unwrap_or(0) < self.options.in_flight_max => {
                    return Some(node);
                }
                Some(_) => {}
                None => client.refresh_metadata(),
            }
            blocked.insert(key.clone());
        }
        None
    }

    /// Without sequences, order holds only with one batch in flight.
    fn partition_in_flight_max(&self) -> usize {
        match self.identity {
            Identity::Unneeded if self.options.acks != Acks::None => 1,
            _ => self.options.in_flight_max,
        }
    }

    /// Sends the first batches of all partitions that `node` leads, as far as they fit one request.
    fn send_to(&mut self, now: Monotonic, client: &mut Client, node: NodeId, sending: Sending) {
        let (linger_ms, in_flight_max) = (self.linger_ms(), self.partition_in_flight_max());
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut partitions: Vec<PartitionKey> = Vec::new();
        let mut unfit: Vec<(PartitionKey, OutgoingBatch)> = Vec::new();
        let mut left_bytes = self.options.request_bytes_max;
        let mut has_ids = true;
        for (key, queue) in &mut self.queues {
            let is_ready = queue.ready_at(linger_ms).is_some_and(|at| at <= now) && queue.in_flight() < in_flight_max;
            let may_send = self.transactions.as_ref().is_none_or(|transactions| transactions.may_send(key));
            if !is_ready || !may_send || !sending.admits(queue) || client.cluster().leader(&key.0, key.1) != Some(node)
            {
                continue;
            }
            if !partitions.is_empty() && queue.first_size_bytes() > left_bytes {
                continue;
            }
            left_bytes = left_bytes.saturating_sub(queue.first_size_bytes());
            let batch = match queue.take(sending.identity(), self.transactions.is_some()) {
                Some(Ok(batch)) => batch,
                Some(Err((batch, _))) => {
                    unfit.push((key.clone(), batch));
                    continue;
                }
                None => continue,
            };
            let data = PartitionProduceData { index: key.1.0, records: Some(batch.bytes().clone()) };
            partitions.push(key.clone());
            match topics.last_mut().filter(|topic| topic.name == *key.0) {
                Some(topic) => topic.partition_data.push(data),
                None => {
                    let id = match client.cluster().topic(&key.0) {
                        Some(Ok(topic)) => topic.id,
                        _ => Uuid::ZERO,
                    };
                    has_ids &= id != Uuid::ZERO;
                    let name = KafkaString::copied(&key.0);
                    topics.push(TopicProduceData { name, topic_id: id.0, partition_data: vec![data] });
                }
            }
        }
        for (key, batch) in unfit {
            self.deliver(&key, batch, Err(DeliveryError::Compression));
        }
        if partitions.is_empty() {
            return;
        }
        if let Some(transactions) = &mut self.transactions {
            transactions.sent(&partitions);
        }
        let transactions = self.transactions.as_ref();
        let request = ProduceRequest {
            transactional_id: transactions.map(Transactions::transactional_id),
            acks: self.options.acks.number(),
            timeout_ms: self.options.request_timeout_ms,
            topic_data: topics,
        };
        let options = SendOptions {
            version_max: if has_ids { i16::MAX } else { PRODUCE_BY_NAME_VERSION_MAX }
                .min(transactions.map_or(i16::MAX, Transactions::produce_version_max)),
            is_answered: self.options.acks != Acks::None,
            timeout_ms: None,
        };
        let id = client.send_with(now, Target::Node(node), request, options);
        self.sent.insert(id, SentRequest { node, partitions });
        *self.in_flight.entry(node).or_insert(0) += 1;
    }

    /// Takes an answer that is for this producer; gives back one that is not.
    ///
    /// # Errors
    /// The answer belongs to somebody else.
    pub fn handle_answer(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        id: RequestId,
        result: Result<Answer, RequestError>,
    ) -> Result<(), Result<Answer, RequestError>> {
        if self.identity == Identity::Asked(id) {
            self.handle_identity(now, client, result);
            return Ok(());
        }
        let result = match &mut self.transactions {
            None => result,
            Some(transactions) => match transactions.handle_answer(now, client, id, result) {
                Err(result) => result,
                Ok(learned) => {
                    self.learn(learned);
                    return Ok(());
                }
            },
        };
        self.handle_produced(now, client, id, result)
    }

    fn learn(&mut self, learned: Learned) {
        match learned {
            Learned::Nothing => {}
            Learned::Identity(identity) => {
                for queue in self.queues.values_mut() {
                    queue.renumber(identity);
                }
                self.identity = Identity::Known(identity);
            }
            Learned::Fatal(error) => self.give_up(&error),
        }
    }

    fn handle_produced(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        id: RequestId,
        result: Result<Answer, RequestError>,
    ) -> Result<(), Result<Answer, RequestError>> {
        let Some(sent) = self.sent.remove(&id) else { return Err(result) };
        if let Some(in_flight) = self.in_flight.get_mut(&sent.node) {
            *in_flight = in_flight.saturating_sub(1);
        }
        if self.options.acks == Acks::None {
            self.handle_unanswered(now, client, &sent, result);
        } else {
            match result.and_then(|answer| answer.decode::<ProduceRequest>().map_err(RequestError::Malformed)) {
                Ok(response) => {
                    let mut parts = BTreeMap::new();
                    for topic in response.responses {
                        let name = self.name_of(client, &sent, &topic.name, Uuid(topic.topic_id));
                        for partition in topic.partition_responses {
                            parts.insert((name.clone(), PartitionIndex(partition.index)), partition);
                        }
                    }
                    for key in &sent.partitions {
                        self.handle_partition(now, client, key, parts.remove(key));
                    }
                }
                Err(error) => self.handle_failure(now, client, &sent, &error),
            }
        }
        for key in &sent.partitions {
            if let Some(queue) = self.queues.get_mut(key) {
                queue.settle();
            }
        }
        Ok(())
    }

    /// Topics in an answer have a name or, from version 13 on, an id.
    fn name_of(&self, client: &Client, sent: &SentRequest, name: &str, id: Uuid) -> SharedName {
        let has_id = |topic: &str| matches!(client.cluster().topic(topic), Some(Ok(topic)) if topic.id == id);
        let of_sent = sent.partitions.iter().map(|(topic, _)| topic);
        of_sent
            .clone()
            .find(|topic| if name.is_empty() { has_id(topic) } else { ***topic == *name })
            .cloned()
            .unwrap_or_else(|| SharedName::from(name))
    }

    fn handle_identity(&mut self, now: Monotonic, client: &mut Client, result: Result<Answer, RequestError>) {
        let response = result
            .and_then(|answer| answer.decode::<InitProducerIdRequest>().map_err(RequestError::Malformed))
            .and_then(|response| match check(response.error_code) {
                Ok(()) => Ok(response),
                Err(code) => Err(RequestError::Refused { code, message: String::new() }),
            });
        match response {
            Ok(response) => {
                let id = ProducerId(response.producer_id);
                let identity = ProducerIdentity { id, epoch: ProducerEpoch(response.producer_epoch) };
                for queue in self.queues.values_mut() {
                    queue.renumber(identity);
                }
                self.identity = Identity::Known(identity);
            }
            Err(error) => {
                self.last_error = Some(error.to_string());
                let backoff_ms = client.config().retry_backoff_ms;
                self.identity = Identity::Failed(now.plus_ms(backoff_ms));
                if !error.is_retriable() {
                    self.identity = Identity::Wanted;
                    self.give_up(&error);
                }
            }
        }
    }

    /// Nothing can be sent: all that waits fails.
    fn give_up(&mut self, error: &RequestError) {
        let keys: Vec<PartitionKey> = self.queues.keys().cloned().collect();
        for key in keys {
            let all =
                self.queues.get_mut(&key).map(|queue| queue.take_expired(Monotonic(u64::MAX))).unwrap_or_default();
            for batch in all {
                self.deliver(&key, batch, Err(DeliveryError::Request(error.clone())));
            }
        }
    }

    /// With acks=0 what is written is delivered.
    fn handle_unanswered(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        sent: &SentRequest,
        result: Result<Answer, RequestError>,
    ) {
        match result {
            Ok(_) => {
                for key in &sent.partitions {
                    if let Some(batch) = self.queues.get_mut(key).and_then(BatchQueue::answered) {
                        self.deliver(key, batch, Ok(Offset(-1)));
                    }
                }
            }
            Err(error) => self.handle_failure(now, client, sent, &error),
        }
    }

    /// The request has no answer.
    fn handle_failure(&mut self, now: Monotonic, client: &mut Client, sent: &SentRequest, error: &RequestError) {
        self.last_error = Some(error.to_string());
        client.refresh_metadata();
        for key in &sent.partitions {
            let Some(batch) = self.queues.get_mut(key).and_then(BatchQueue::answered) else { continue };
            if error.is_retriable() {
                self.repeat(now, client, key, batch, true);
            } else {
                self.deliver(key, batch, Err(DeliveryError::Request(error.clone())));
            }
        }
    }

    fn handle_partition(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        key: &PartitionKey,
        response: Option<PartitionProduceResponse>,
    ) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let Some(batch) = queue.answered() else { return };
        let response = response.unwrap_or(PartitionProduceResponse {
            error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
            ..PartitionProduceResponse::default()
        });
        let code = ErrorCode(response.error_code);
        let is_idempotent = self.identity != Identity::Unneeded;
        // A batch behind one that failed is out of order: until that is there, or until both have new numbers.
        let is_behind = is_idempotent
            && code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
            && (queue.has_failed() || self.identity == Identity::Wanted);
        if code == ErrorCode::NONE || code == ErrorCode::DUPLICATE_SEQUENCE_NUMBER {
            return self.deliver(key, batch, Ok(Offset(response.base_offset)));
        }
        if is_stale_metadata(code) {
            client.refresh_metadata();
        }
        if code.is_retriable() || is_behind {
            self.last_error = Some(code.to_string());
            return self.repeat(now, client, key, batch, !is_behind);
        }
        if is_idempotent && self.transactions.is_none() {
            // The broker has not counted this batch, so the sequences behind it are wrong: number anew.
            self.identity = Identity::Wanted;
        }
        let mut message = response.error_message.map_or(String::new(), |text| text.to_string());
        if let Some(error) = response.record_errors.first() {
            let text = error.batch_index_error_message.as_ref().map_or("", |text| text.as_str());
            message = format!("{message} (record {} of the batch: {text})", error.batch_index).trim_start().to_owned();
        }
        self.deliver(key, batch, Err(DeliveryError::Refused { code, message }));
    }

    fn repeat(
        &mut self,
        now: Monotonic,
        client: &Client,
        key: &PartitionKey,
        batch: OutgoingBatch,
        may_be_stored: bool,
    ) {
        let at = now.plus_ms(client.config().retry_backoff_ms);
        if let Some(queue) = self.queues.get_mut(key) {
            queue.repeat(batch, at, may_be_stored);
        }
    }

    fn deliver(&mut self, key: &PartitionKey, batch: OutgoingBatch, result: Result<Offset, DeliveryError>) {
        self.buffered_bytes = self.buffered_bytes.saturating_sub(batch.reserved_bytes);
        let (topic, partition) = key.clone();
        let topic = topic.into_text();
        self.deliveries.push_back(Delivery { topic, partition, records: batch.records, result });
    }
}
