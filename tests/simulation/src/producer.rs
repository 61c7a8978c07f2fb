//! A producer: makes its batches beforehand, keeps several in flight, and knows what to make of each answer.

use std::collections::VecDeque;

use bytes::Bytes;
use corelane_core::base::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{InitProducerIdRequest, ProduceRequest, produce_request};
use corelane_core::protocol::wire::KafkaString;
use corelane_core::record::{BatchBuilder, BatchOptions, Codec, Compression};

use crate::promises::{Incarnation, Partition, Told};
use crate::random::Random;
use crate::workload::{Clients, Plan, REFUSALS_MAX, Way};

const INIT_PRODUCER_ID_VERSION: i16 = 5;
const PRODUCE_VERSION: i16 = 9;

/// Bytes of a value that no other begins with.
const KEY_BYTES_MAX: usize = 20;
/// Requests that a producer has in flight; an idempotent one may have no more (KIP-98).
const PRODUCES_IN_FLIGHT_MAX: usize = 5;

/// One producer on one partition.
pub(crate) struct Producer {
    pub(crate) clients: Clients,
    pub(crate) random: Random,
    pub(crate) partition: Partition,
    pub(crate) way: Way,
    pub(crate) name: String,
    pub(crate) disk_fails: bool,
    pub(crate) refusals: u32,
}

struct Batch {
    values: Vec<Bytes>,
    bytes: Bytes,
    /// Whether it was sent before.
    was_sent: bool,
}

/// Whether a producer goes on after an answer.
#[derive(PartialEq)]
enum Next {
    GoOn,
    Reconnect,
    GiveUp,
}

impl Producer {
    /// Sends everything; resolves when the last batch is answered or given up.
    pub(crate) async fn run(mut self, plan: &Plan) {
        let mut producer_id = (-1, -1);
        if self.way == Way::Idempotent {
            let Some(given) = self.producer_id().await else { return };
            producer_id = given;
        }
        let mut unsent = self.batches(plan, producer_id);
        if self.way == Way::Unanswered {
            return self.send_without_answers(unsent).await;
        }
        let mut unanswered: VecDeque<Batch> = VecDeque::new();
        'connections: while !(unsent.is_empty() && unanswered.is_empty()) {
            let mut session = self.clients.connect().await;
            if self.way == Way::Idempotent {
                unanswered.drain(..).rev().for_each(|batch| unsent.push_front(batch));
            }
            unanswered.clear();
            while !(unsent.is_empty() && unanswered.is_empty()) {
                let room = unanswered.len() < PRODUCES_IN_FLIGHT_MAX;
                if let Some(mut batch) = room.then(|| unsent.pop_front()).flatten() {
                    if plan.pause_ms_max > 0 && !batch.was_sent {
                        let pause_ms = self.random.below(plan.pause_ms_max);
                        self.clients.network.executor().sleep_ms(pause_ms).await;
                    }
                    batch.was_sent = true;
                    let request = self.request(&batch);
                    unanswered.push_back(batch);
                    if session.link.send(PRODUCE_VERSION, &request).await.is_err() {
                        continue 'connections;
                    }
                    if self.random.chance(500) {
                        continue;
                    }
                }
                let Ok(response) = session.link.answer::<ProduceRequest>().await else { continue 'connections };
                let part = &response.responses[0].partition_responses[0];
                let batch = unanswered.pop_front().expect("was in flight");
                let (code, base_offset) = (ErrorCode(part.error_code), part.base_offset);
                match self.answered(&batch, code, base_offset, session.incarnation) {
                    Next::GoOn => {}
                    Next::Reconnect => {
                        if self.way == Way::Idempotent {
                            unanswered.push_front(batch);
                        }
                        self.clients.pause().await;
                        continue 'connections;
                    }
                    Next::GiveUp => return,
                }
            }
        }
    }

    /// Sends each batch once. What came of it nobody tells; a broker that refuses one closes the connection.
    async fn send_without_answers(self, unsent: VecDeque<Batch>) {
        let mut unsent = unsent.into_iter().peekable();
        while unsent.peek().is_some() {
            let mut session = self.clients.connect().await;
            for batch in unsent.by_ref() {
                let request = self.request(&batch);
                if session.link.send_unanswered(PRODUCE_VERSION, &request).await.is_err() {
                    break;
                }
                self.clients.pause().await;
            }
        }
    }

    fn answered(&mut self, batch: &Batch, code: ErrorCode, base_offset: i64, by: Incarnation) -> Next {
        let executor = self.clients.network.executor();
        executor.trace(format_args!("{} on {:?}: {code:?}, offset {base_offset}", self.name, self.partition));
        self.refusals += u32::from(!code.is_none());
        let mut promises = self.clients.promises.borrow_mut();
        match code {
            _ if self.disk_fails && self.refusals > REFUSALS_MAX => Next::GiveUp,
            code if code.is_none() => {
                for (offset, value) in (base_offset..).zip(&batch.values) {
                    promises.told(self.partition, offset, value.clone(), Told::Acknowledged, by);
                }
                Next::GoOn
            }
            ErrorCode::KAFKA_STORAGE_ERROR if self.disk_fails => Next::GiveUp,
            // Its earlier batches may be gone with the power, where that was not excluded.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID
                if promises.may_have_lost(self.partition) || self.disk_fails =>
            {
                Next::GiveUp
            }
            code if code.is_retriable() && code != ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER => Next::Reconnect,
            code => {
                promises.violation(format!("{} on {:?} was refused: {code}", self.name, self.partition));
                Next::GiveUp
            }
        }
    }

    async fn producer_id(&mut self) -> Option<(i64, i16)> {
        let request =
            InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 60_000, ..Default::default() };
        loop {
            let mut session = self.clients.connect().await;
            let Ok(response) = session.link.call(INIT_PRODUCER_ID_VERSION, &request).await else { continue };
            match ErrorCode(response.error_code) {
                code if code.is_none() => {
                    self.clients.promises.borrow_mut().given(response.producer_id);
                    return Some((response.producer_id, response.producer_epoch));
                }
                _ if self.disk_fails && self.refusals > REFUSALS_MAX => return None,
                code if code.is_retriable() || self.disk_fails => {
                    self.refusals += 1;
                    self.clients.pause().await;
                }
                code => {
                    self.clients.promises.borrow_mut().violation(format!("InitProducerId: {code}"));
                    return None;
                }
            }
        }
    }

    fn batches(&mut self, plan: &Plan, (id, epoch): (i64, i16)) -> VecDeque<Batch> {
        let is_compacted = plan.topics.iter().any(|topic| topic.name == self.partition.0 && topic.is_compacted());
        let mut sequence = 0;
        let mut batches = VecDeque::new();
        for number in 0..plan.batches {
            let values: Vec<Bytes> = (0..self.random.between(1, plan.records_max))
                .map(|record| self.value(number, record, plan.value_bytes_max))
                .collect();
            let codec = if self.random.chance(300) { Codec::Lz4 } else { Codec::None };
            let mut options = BatchOptions { compression: Compression { codec, level: None }, ..Default::default() };
            if self.way == Way::Idempotent {
                options.producer_id = ProducerId(id);
                options.producer_epoch = ProducerEpoch(epoch);
                options.base_sequence = Sequence(sequence);
            }
            sequence += i32::try_from(values.len()).expect("is small");
            let mut builder = BatchBuilder::new(options);
            for value in &values {
                // Records of one batch come from one moment; those of the next from a later one.
                let timestamp = Timestamp(1_750_000_000_000) + i64::try_from(number).expect("is small") * 10;
                // No other record has it: whatever is cleaned, all are left.
                let key = is_compacted.then(|| value.slice(..KEY_BYTES_MAX.min(value.len())));
                builder.append(timestamp, key.as_deref(), Some(value), &[]);
            }
            let bytes = builder.build().expect("compresses").bytes().clone();
            self.clients.promises.borrow_mut().sent(self.partition, &values);
            batches.push_back(Batch { values, bytes, was_sent: false });
        }
        batches
    }

    /// A value that no other record of the run has.
    fn value(&mut self, batch: usize, record: u64, bytes_max: u64) -> Bytes {
        let mut value = format!("{} {batch}.{record} ", self.name).into_bytes();
        let len = usize::try_from(self.random.between(20, bytes_max.max(20))).expect("is small");
        while value.len() < len {
            value.extend(format!("{:016x}", self.random.bits()).bytes());
        }
        value.into()
    }

    fn request(&self, batch: &Batch) -> ProduceRequest {
        ProduceRequest {
            transactional_id: None::<KafkaString>,
            acks: match self.way {
                Way::Leader => 1,
                Way::All | Way::Idempotent => -1,
                Way::Unanswered => 0,
            },
            timeout_ms: 30_000,
            topic_data: vec![produce_request::TopicProduceData {
                name: self.partition.0.into(),
                partition_data: vec![produce_request::PartitionProduceData {
                    index: self.partition.1,
                    records: Some(batch.bytes.clone()),
                }],
                ..Default::default()
            }],
        }
    }
}
