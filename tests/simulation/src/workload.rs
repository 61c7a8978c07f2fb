//! What the clients do: make topics, produce in each way, read all the while, and at the end read everything once more.
//!
//! Each tells [`Promises`] what the broker told it. They outlive the broker: when their connection is gone they come
//! back, and idempotent producers repeat what was not answered.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::{ProducerEpoch, ProducerId, Sequence, Timestamp};
use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{
    CreateTopicsRequest, FetchRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest, create_topics_request,
    fetch_request, fetch_response, metadata_request, produce_request,
};
use corelane_core::protocol::wire::KafkaString;
use corelane_core::record::{BatchBuilder, BatchOptions, Batches, Codec, Compression};

use crate::client::{Link, Lost};
use crate::network::Network;
use crate::promises::{Durability, Incarnation, Left, Partition, Promises, Told};
use crate::random::Random;
use crate::signal::Signal;

const CREATE_TOPICS_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 12;
const INIT_PRODUCER_ID_VERSION: i16 = 5;
const METADATA_VERSION: i16 = 12;
const PRODUCE_VERSION: i16 = 9;

/// Longest that the last reader's fetches wait for records, of which there are no more.
const LAST_FETCH_WAIT_MS: i32 = 1;
/// Refusals after which a client gives up, where the disk fails on purpose.
const REFUSALS_MAX: u32 = 20;
/// Wait after an answer that says «not now».
const RETRY_MS: u64 = 5;
/// Requests that a producer has in flight; an idempotent one may have no more (KIP-98).
const PRODUCES_IN_FLIGHT_MAX: usize = 5;
/// Uncompressed bytes that a batch may open to.
const OPENED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A topic that is made at the beginning.
#[derive(Debug, Clone)]
pub struct TopicPlan {
    /// Its name.
    pub name: &'static str,
    /// Its number of partitions.
    pub partitions: i32,
    /// What it promises.
    pub durability: Durability,
    /// Further settings.
    pub configs: Vec<(&'static str, &'static str)>,
}

/// How a producer produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// acks=1; what was not answered is given up.
    Leader,
    /// acks=all; what was not answered is given up.
    All,
    /// acks=all with sequence numbers; what was not answered is repeated.
    Idempotent,
}

/// What the clients do in all.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Topics.
    pub topics: Vec<TopicPlan>,
    /// One producer each.
    pub producers: Vec<(Partition, Way)>,
    /// Batches of each producer.
    pub batches: usize,
    /// Most records of a batch.
    pub records_max: u64,
    /// Most bytes of a value.
    pub value_bytes_max: u64,
    /// Longest pause of a producer before a batch; 0 is none.
    pub pause_ms_max: u64,
    /// Longest that a reader's fetch waits for records.
    pub fetch_wait_ms: i32,
    /// Whether the disk fails on purpose, so that a producer may be refused for it.
    pub disk_fails: bool,
}

/// What all clients share.
#[derive(Clone)]
pub struct Clients {
    /// The network.
    pub network: Network,
    /// Where the broker listens.
    pub address: SocketAddr,
    /// What they are told.
    pub promises: Rc<RefCell<Promises>>,
}

/// A connection, and the process at its other end.
struct Session {
    link: Link,
    incarnation: Incarnation,
}

impl Clients {
    async fn connect(&self) -> Session {
        let link = Link::connect(&self.network, self.address).await;
        Session { link, incarnation: self.promises.borrow().incarnation() }
    }

    async fn pause(&self) {
        self.network.executor().sleep_ms(RETRY_MS).await;
    }

    /// Runs the plan; resolves when every producer has finished. Readers end then too.
    pub async fn run(self, seed: u64, plan: Plan) {
        for topic in &plan.topics {
            if !self.create(topic, plan.disk_fails).await {
                return;
            }
        }
        let running = Rc::new(Cell::new(plan.producers.len()));
        let finished = Signal::default();
        for topic in &plan.topics {
            for index in 0..topic.partitions {
                let (clients, finished) = (self.clone(), finished.clone());
                let (name, wait_ms) = (topic.name, plan.fetch_wait_ms);
                self.network.executor().spawn_client(format!("reader of {name}-{index}"), async move {
                    clients.read_along((name, index), wait_ms, &finished).await;
                });
            }
        }
        for (number, (partition, way)) in plan.producers.iter().copied().enumerate() {
            let producer = Producer {
                clients: self.clone(),
                random: Random::new(seed, &format!("producer {number}")),
                partition,
                way,
                name: format!("p{number}"),
                disk_fails: plan.disk_fails,
                refusals: 0,
            };
            let (plan, running, finished) = (plan.clone(), Rc::clone(&running), finished.clone());
            self.network.executor().spawn_client(format!("producer {number}"), async move {
                producer.run(&plan).await;
                running.set(running.get() - 1);
                if running.get() == 0 {
                    finished.raise();
                }
            });
        }
        finished.wait().await;
    }

    /// Makes a topic; false if that did not come about.
    async fn create(&self, plan: &TopicPlan, disk_fails: bool) -> bool {
        let flush = (plan.durability == Durability::Strict).then_some(("flush.messages", "1"));
        let configs = plan.configs.iter().copied().chain(flush);
        let request = CreateTopicsRequest {
            topics: vec![create_topics_request::CreatableTopic {
                name: plan.name.into(),
                num_partitions: plan.partitions,
                replication_factor: 1,
                configs: configs
                    .map(|(name, value)| create_topics_request::CreatableTopicConfig {
                        name: name.into(),
                        value: Some(value.into()),
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: 10_000,
            validate_only: false,
        };
        let mut refusals = 0;
        loop {
            let mut session = self.connect().await;
            let Ok(response) = session.link.call(CREATE_TOPICS_VERSION, &request).await else { continue };
            let topic = &response.topics[0];
            match ErrorCode(topic.error_code) {
                code if code.is_none() => {
                    self.promises.borrow_mut().created(plan.name, topic.topic_id, plan.partitions, plan.durability);
                    return true;
                }
                // Made by the process before, which did not come to say so.
                ErrorCode::TOPIC_ALREADY_EXISTS => {
                    let Ok(topics) = describe(&mut session.link).await else { continue };
                    let Some((id, partitions)) = topics.get(plan.name).copied() else {
                        self.promises.borrow_mut().violation(format!("{} exists and is not listed", plan.name));
                        return false;
                    };
                    self.promises.borrow_mut().created(plan.name, id, partitions, plan.durability);
                    return true;
                }
                _ if disk_fails => {
                    refusals += 1;
                    if refusals > REFUSALS_MAX {
                        return false;
                    }
                    self.pause().await;
                }
                code if code.is_retriable() => self.pause().await,
                code => {
                    let what = format!("topic {}: {code} {:?}", plan.name, topic.error_message);
                    self.promises.borrow_mut().violation(what);
                    return false;
                }
            }
        }
    }

    /// Reads a partition from its beginning on while producers run, and remembers all that it is shown.
    async fn read_along(&self, partition: Partition, wait_ms: i32, finished: &Signal) {
        let mut offset = 0;
        while !finished.is_raised() {
            let mut session = self.connect().await;
            while !finished.is_raised() {
                let Ok(part) = fetch(&mut session.link, partition, offset, wait_ms).await else { break };
                match ErrorCode(part.error_code) {
                    code if code.is_none() => {
                        let mut promises = self.promises.borrow_mut();
                        match values(&part, offset) {
                            Ok(values) => {
                                for value in values {
                                    promises.told(partition, offset, value, Told::Shown, session.incarnation);
                                    offset += 1;
                                }
                            }
                            Err(fault) => promises.violation(format!("{partition:?} from {offset}: {fault}")),
                        }
                    }
                    // Only where records could be lost; if they could not, the comparison at the end says so.
                    ErrorCode::OFFSET_OUT_OF_RANGE => offset = 0,
                    _ => self.pause().await,
                }
            }
        }
    }

    /// Everything that is there.
    pub async fn read_all(&self) -> Left {
        let mut left = Left::default();
        let mut session = self.connect().await;
        match describe(&mut session.link).await {
            Ok(topics) => left.topics = topics,
            Err(Lost) => left.faults.push("the connection broke while topics were listed".into()),
        }
        let partitions = self.promises.borrow().topics();
        for partition in partitions.into_iter().flat_map(|(name, count)| (0..count).map(move |index| (name, index))) {
            let (values, fault) = read_partition(&mut session.link, partition).await;
            left.records.insert(partition, values);
            left.faults.extend(fault.map(|fault| format!("{partition:?}: {fault}")));
        }
        left
    }
}

async fn describe(link: &mut Link) -> Result<BTreeMap<String, ([u8; 16], i32)>, Lost> {
    let request = MetadataRequest { topics: None::<Vec<metadata_request::MetadataRequestTopic>>, ..Default::default() };
    let response = link.call(METADATA_VERSION, &request).await?;
    let topics = response.topics.into_iter().filter_map(|topic| {
        let partitions = i32::try_from(topic.partitions.len()).ok()?;
        Some((topic.name?.as_str().to_owned(), (topic.topic_id, partitions)))
    });
    Ok(topics.collect())
}

async fn read_partition(link: &mut Link, partition: Partition) -> (Vec<Bytes>, Option<String>) {
    let mut read = Vec::new();
    loop {
        let offset = i64::try_from(read.len()).unwrap_or(i64::MAX);
        let Ok(part) = fetch(link, partition, offset, LAST_FETCH_WAIT_MS).await else {
            return (read, Some(format!("the connection broke at offset {offset}")));
        };
        if part.error_code != 0 {
            return (read, Some(format!("fetch at {offset} says {}", ErrorCode(part.error_code))));
        }
        if part.log_start_offset != 0 {
            return (read, Some(format!("the log starts at {}", part.log_start_offset)));
        }
        match values(&part, offset) {
            Ok(values) if values.is_empty() && part.high_watermark <= offset => return (read, None),
            Ok(values) if values.is_empty() => {
                return (read, Some(format!("nothing at {offset} below the high watermark {}", part.high_watermark)));
            }
            Ok(values) => read.extend(values),
            Err(fault) => return (read, Some(fault)),
        }
    }
}

async fn fetch(
    link: &mut Link,
    partition: Partition,
    offset: i64,
    wait_ms: i32,
) -> Result<fetch_response::PartitionData, Lost> {
    let request = FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes: 1,
        topics: vec![fetch_request::FetchTopic {
            topic: partition.0.into(),
            partitions: vec![fetch_request::FetchPartition {
                partition: partition.1,
                fetch_offset: offset,
                partition_max_bytes: 1024 * 1024,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = link.call(FETCH_VERSION, &request).await?;
    let part = response.responses.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
    Ok(part.unwrap_or(fetch_response::PartitionData { error_code: response.error_code, ..Default::default() }))
}

/// The values of a fetched partition from an offset on, which must be there without a gap.
fn values(part: &fetch_response::PartitionData, from: i64) -> Result<Vec<Bytes>, String> {
    let mut values = Vec::new();
    let mut next = None;
    for batch in Batches::new(part.records.clone().unwrap_or_default()) {
        let batch = match batch {
            Ok(batch) => batch,
            // An answer may end in the middle of a batch, but not begin so.
            Err(error) if next.is_none() => return Err(format!("the answer is not a batch: {error}")),
            Err(_) => break,
        };
        let base = batch.header().base_offset().0;
        if !batch.is_crc_valid() {
            return Err(format!("the batch at {base} has a wrong checksum"));
        }
        if next.is_some_and(|next| next != base) || (next.is_none() && base > from) {
            return Err(format!("a batch at {base} where {} was expected", next.unwrap_or(from)));
        }
        next = Some(batch.header().last_offset().0 + 1);
        let opened = batch.open(OPENED_BYTES_MAX).map_err(|error| format!("the batch at {base}: {error}"))?;
        for record in batch.records(&opened) {
            let record = record.map_err(|error| format!("the batch at {base}: {error}"))?;
            if base + i64::from(record.offset_delta) >= from {
                values.push(Bytes::copy_from_slice(record.value.unwrap_or_default()));
            }
        }
        if base > part.high_watermark || next.is_some_and(|next| next > part.high_watermark) {
            return Err(format!("the batch at {base} is beyond the high watermark {}", part.high_watermark));
        }
    }
    Ok(values)
}

/// One producer on one partition.
struct Producer {
    clients: Clients,
    random: Random,
    partition: Partition,
    way: Way,
    name: String,
    disk_fails: bool,
    refusals: u32,
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
    async fn run(mut self, plan: &Plan) {
        let mut producer_id = (-1, -1);
        if self.way == Way::Idempotent {
            let Some(given) = self.producer_id().await else { return };
            producer_id = given;
        }
        let mut unsent = self.batches(plan, producer_id);
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
                builder.append(timestamp, None, Some(value), &[]);
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
            acks: if self.way == Way::Leader { 1 } else { -1 },
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
