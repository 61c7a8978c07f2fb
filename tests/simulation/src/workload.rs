//! What the clients do: make topics, produce in each way, read all the while, and at the end read everything once more.
//!
//! Each tells [`Promises`] what the broker told it. They outlive the broker: when their connection is gone they come
//! back, and idempotent producers repeat what was not answered.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use corelane_core::protocol::ErrorCode;
use corelane_core::protocol::messages::{CreateTopicsRequest, create_topics_request};
use corelane_core::protocol::wire::KafkaString;

use crate::administrator::Administrator;
use crate::client::Link;
use crate::member::{Member, Readers};
use crate::network::Network;
use crate::producer::Producer;
use crate::promises::{Durability, Incarnation, Left, Partition, Promises, Told};
use crate::random::Random;
use crate::reading::{CONNECTION_BROKE, FetchSession, describe, fetch, read_partition, values};
use crate::signal::Signal;
use crate::transactor::{self, Transactor};

const CREATE_TOPICS_VERSION: i16 = 7;

/// Refusals after which a client gives up, where the disk fails on purpose.
pub(crate) const REFUSALS_MAX: u32 = 20;
/// Wait after an answer that says «not now».
const RETRY_MS: u64 = 5;

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

impl TopicPlan {
    /// Whether only the last record of each key is kept.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.configs.contains(&("cleanup.policy", "compact"))
    }
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
    /// acks=0; nothing is answered.
    Unanswered,
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
    /// Whether readers fetch in sessions (KIP-227).
    pub fetch_sessions: bool,
    /// How often a topic is made, grown and deleted meanwhile, the last time without the deletion.
    pub changes: usize,
    /// How many transactions are committed meanwhile, each of two records and an offset; some more are aborted.
    pub transactions: i64,
    /// Whether these leave it to the broker to have partitions take part (KIP-890).
    pub transactions_are_new: bool,
    /// How many members a group of the consumer protocol has, which come and go meanwhile.
    pub members: usize,
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
pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) incarnation: Incarnation,
}

impl Clients {
    pub(crate) async fn connect(&self) -> Session {
        let link = Link::connect(&self.network, self.address).await;
        Session { link, incarnation: self.promises.borrow().incarnation() }
    }

    pub(crate) async fn pause(&self) {
        self.network.executor().sleep_ms(RETRY_MS).await;
    }

    /// Runs the plan; resolves when every producer has finished. Readers end then too.
    pub async fn run(self, seed: u64, plan: Plan) {
        for topic in &plan.topics {
            if !self.create(topic, plan.disk_fails).await {
                return;
            }
        }
        let running = Rc::new(Cell::new(
            plan.producers.len() + usize::from(plan.changes > 0) + usize::from(plan.transactions > 0) + plan.members,
        ));
        let finished = Signal::default();
        for topic in &plan.topics {
            for index in 0..topic.partitions {
                let (clients, finished) = (self.clone(), finished.clone());
                let (name, plan) = (topic.name, plan.clone());
                self.network.executor().spawn_client(format!("reader of {name}-{index}"), async move {
                    clients.read_along((name, index), &plan, &finished).await;
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
        let readers = Rc::<RefCell<Readers>>::default();
        for number in 0..plan.members {
            let member = Member {
                clients: self.clone(),
                random: Random::new(seed, &format!("member {number}")),
                number,
                count: plan.members,
                readers: Rc::clone(&readers),
            };
            let (running, finished) = (Rc::clone(&running), finished.clone());
            self.network.executor().spawn_client(format!("member {number}"), async move {
                member.run().await;
                running.set(running.get() - 1);
                if running.get() == 0 {
                    finished.raise();
                }
            });
        }
        let transactions = plan.transactions;
        let is_new = plan.transactions_are_new;
        if plan.changes > 0 {
            let random = Random::new(seed, "administrator");
            let disk_fails = plan.disk_fails;
            let administrator = Administrator { clients: self.clone(), random, seed, disk_fails, refusals: 0 };
            let (running, finished) = (Rc::clone(&running), finished.clone());
            self.network.executor().spawn_client("administrator", async move {
                administrator.run(&plan).await;
                running.set(running.get() - 1);
                if running.get() == 0 {
                    finished.raise();
                }
            });
        }
        if transactions > 0 {
            let random = Random::new(seed, "transactor");
            let transactor = Transactor { clients: self.clone(), random, is_new };
            let (running, finished) = (Rc::clone(&running), finished.clone());
            self.network.executor().spawn_client("transactor", async move {
                transactor.run(transactions).await;
                running.set(running.get() - 1);
                if running.get() == 0 {
                    finished.raise();
                }
            });
        }
        finished.wait().await;
    }

    /// Makes a topic about which nothing is promised here; false if that did not come about.
    pub(crate) async fn create_unpromised(&self, plan: &TopicPlan) -> bool {
        loop {
            let mut session = self.connect().await;
            let request = create_request(plan, std::iter::empty());
            let Ok(response) = session.link.call(CREATE_TOPICS_VERSION, &request).await else { continue };
            match ErrorCode(response.topics[0].error_code) {
                code if code.is_none() => return true,
                ErrorCode::TOPIC_ALREADY_EXISTS => return true,
                code if code.is_retriable() => self.pause().await,
                code => {
                    self.promises.borrow_mut().violation(format!("topic {}: {code}", plan.name));
                    return false;
                }
            }
        }
    }

    /// Makes a topic; false if that did not come about.
    pub(crate) async fn create(&self, plan: &TopicPlan, disk_fails: bool) -> bool {
        let flush = (plan.durability == Durability::Strict).then_some(("flush.messages", "1"));
        let request = create_request(plan, flush.into_iter());
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
    async fn read_along(&self, partition: Partition, plan: &Plan, finished: &Signal) {
        let mut offset = 0;
        while !finished.is_raised() {
            let mut session = self.connect().await;
            let mut fetching = FetchSession::default();
            while !finished.is_raised() {
                let fetched = if plan.fetch_sessions {
                    fetching.fetch(&mut session.link, partition, offset, plan.fetch_wait_ms).await
                } else {
                    fetch(&mut session.link, partition, offset, plan.fetch_wait_ms).await.map(|part| (part, None))
                };
                let Ok((part, fault)) = fetched else { break };
                if let Some(fault) = fault {
                    self.promises.borrow_mut().violation(format!("{partition:?} from {offset}: {fault}"));
                }
                match ErrorCode(part.error_code) {
                    code if code.is_none() => {
                        let mut promises = self.promises.borrow_mut();
                        match values(&part, offset) {
                            Ok(values) if values.is_empty() && offset < part.high_watermark => {
                                let end = part.high_watermark;
                                promises
                                    .violation(format!("{partition:?} from {offset}: nothing is shown below {end}"));
                            }
                            Ok(values) => {
                                for value in values {
                                    promises.told(partition, offset, value, Told::Shown, session.incarnation);
                                    offset += 1;
                                }
                            }
                            Err(_) if promises.may_be_damaged(partition) => return,
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

    /// Everything that is there; `transactions` is how many were committed.
    pub async fn read_all(&self, transactions: i64) -> Left {
        let mut left = Left::default();
        let mut session = self.connect().await;
        if transactions > 0 {
            match transactor::check(self, &mut session.link, transactions).await {
                Ok(fault) => left.faults.extend(fault),
                Err(_lost) => left.faults.push(format!("{CONNECTION_BROKE} while transactions were looked at")),
            }
        }
        match describe(&mut session.link).await {
            Ok(topics) => left.topics = topics,
            Err(_lost) => left.faults.push(format!("{CONNECTION_BROKE} while topics were listed")),
        }
        let partitions = self.promises.borrow().topics();
        for partition in partitions.into_iter().flat_map(|(name, count)| (0..count).map(move |index| (name, index))) {
            let (values, fault) = read_partition(&mut session.link, partition).await;
            left.records.insert(partition, values);
            if self.promises.borrow().may_be_damaged(partition) {
                continue;
            }
            left.faults.extend(fault.map(|fault| format!("{partition:?}: {fault}")));
        }
        left
    }
}

fn create_request<'a>(plan: &TopicPlan, further: impl Iterator<Item = (&'a str, &'a str)>) -> CreateTopicsRequest {
    let configs = plan.configs.iter().copied().chain(further);
    CreateTopicsRequest {
        topics: vec![create_topics_request::CreatableTopic {
            name: plan.name.into(),
            num_partitions: plan.partitions,
            replication_factor: 1,
            configs: configs
                .map(|(name, value)| create_topics_request::CreatableTopicConfig {
                    name: KafkaString::copied(name),
                    value: Some(KafkaString::copied(value)),
                })
                .collect(),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        validate_only: false,
    }
}
