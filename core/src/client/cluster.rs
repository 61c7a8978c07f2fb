//! A client of one cluster: its connections, what it knows of topics, and where each request goes.
//!
//! It does no I/O. The driver opens what [`poll_connect`](Client::poll_connect) names, writes what
//! [`poll_transmit`](Client::poll_transmit) yields, hands in what it reads, and calls
//! [`advance`](Client::advance) when [`poll_timeout`](Client::poll_timeout) says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::connection::{Answer, AnyRequest, Connection, ConnectionError, ConnectionEvent, Outgoing};
use super::metadata::{Address, ClusterMetadata};
use super::request::{RequestError, RequestId, Target};
use crate::base::{Monotonic, NodeId};
use crate::protocol::ErrorCode;
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::{MetadataRequest, MetadataResponse};
use crate::protocol::{KafkaString, Request};

/// What a client is told once.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Name in every request, for the broker's logs.
    pub client_id: String,
    /// Version of this program, for the broker's statistics (KIP-511).
    pub software_version: &'static str,
    /// Where to ask first.
    pub bootstrap: Vec<Address>,
    /// Milliseconds after which a request counts as lost.
    pub request_timeout_ms: u64,
    /// Milliseconds between two attempts to reach a broker, or to learn about topics.
    pub retry_backoff_ms: u64,
    /// Milliseconds after which what is known of topics is asked for again.
    pub metadata_age_ms_max: u64,
    /// Naming an unknown topic asks the broker to create it, if the broker does that.
    pub auto_create_topics: bool,
}

impl ClientConfig {
    /// A client of the cluster that `bootstrap` belongs to, with the defaults of Kafka's own clients.
    #[must_use]
    pub fn new(bootstrap: Vec<Address>) -> Self {
        Self {
            client_id: "corelane".to_owned(),
            software_version: env!("CARGO_PKG_VERSION"),
            bootstrap,
            request_timeout_ms: 30_000,
            retry_backoff_ms: 100,
            metadata_age_ms_max: 300_000,
            auto_create_topics: false,
        }
    }
}

/// A connection, as the driver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// To be opened at that time.
    Planned(Monotonic),
    /// The driver is opening it.
    Opening,
    /// Bytes flow.
    Open,
}

#[derive(Debug)]
struct Link {
    address: Address,
    state: LinkState,
    connection: Connection,
}

#[derive(Debug, Default)]
struct MetadataState {
    /// Topics that somebody needs.
    wanted: BTreeSet<String>,
    /// Something in it is known to be out of date.
    is_stale: bool,
    /// The request that is under way.
    asked: Option<RequestId>,
    /// When it was last answered or failed; it is not asked again at once.
    settled: Option<Monotonic>,
    /// Why it could not be had, last time.
    failure: Option<RequestError>,
}

/// A client of one cluster.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,

    // Connections.
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    next_bootstrap: usize,
    failed_at: BTreeMap<Address, Monotonic>,
    to_close: VecDeque<LinkId>,

    // Requests.
    next_request: u64,
    attempts: BTreeMap<RequestId, usize>,
    answers: VecDeque<(RequestId, Result<Answer, RequestError>)>,

    // Topics.
    cluster: ClusterMetadata,
    metadata: MetadataState,
}

impl Client {
    /// A client that has not connected yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            config,
            links: BTreeMap::new(),
            next_link: 0,
            next_bootstrap: 0,
            failed_at: BTreeMap::new(),
            to_close: VecDeque::new(),
            next_request: 0,
            attempts: BTreeMap::new(),
            answers: VecDeque::new(),
            cluster: ClusterMetadata::default(),
            metadata: MetadataState::default(),
        }
    }

    /// The cluster as last heard of.
    #[must_use]
    pub fn cluster(&self) -> &ClusterMetadata {
        &self.cluster
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Level of a feature that the cluster has finalized, as the brokers say that are connected.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        self.links.values().map(|link| link.connection.feature_level(name)).max().unwrap_or(0)
    }

    // ---- Requests and answers.

    /// Sends a request; its answer comes from [`poll_answer`](Self::poll_answer) under the id returned.
    pub fn send<R: Request + Send + 'static>(&mut self, now: Monotonic, target: Target, request: R) -> RequestId {
        self.send_with(now, target, request, SendOptions::default())
    }

    /// Like [`send`](Self::send), out of the ordinary.
    pub fn send_with<R: Request + Send + 'static>(
        &mut self,
        now: Monotonic,
        target: Target,
        request: R,
        options: SendOptions,
    ) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let request: Box<dyn AnyRequest + Send> = Box::new(request);
        let timeout_ms = options.timeout_ms.unwrap_or(self.config.request_timeout_ms);
        let outgoing = Outgoing {
            id,
            target,
            request,
            version_max: options.version_max,
            is_answered: options.is_answered,
            deadline: now.plus_ms(timeout_ms),
        };
        self.route(now, outgoing);
        id
    }

    fn route(&mut self, now: Monotonic, outgoing: Outgoing) {
        let address = match outgoing.target {
            Target::Node(node) => match self.cluster.brokers.get(&node) {
                Some(address) => address.clone(),
                None => return self.answers.push_back((outgoing.id, Err(RequestError::UnknownNode(node)))),
            },
            Target::Controller => {
                let known = self.cluster.controller.and_then(|node| self.cluster.brokers.get(&node));
                known.cloned().unwrap_or_else(|| self.any_address())
            }
            Target::Any => self.any_address(),
        };
        let link = match self.links.iter_mut().find(|(_, link)| link.address == address) {
            Some((_, link)) => link,
            None => self.plan_link(now, address),
        };
        link.connection.send(outgoing);
        self.collect();
    }

    /// An address that is connected, or the next one to try.
    fn any_address(&self) -> Address {
        let open = self.links.values().find(|link| link.state == LinkState::Open).or(self.links.values().next());
        match open {
            Some(link) => link.address.clone(),
            None => {
                let count = self.config.bootstrap.len().max(1);
                let fallback = || Address { host: "localhost".to_owned(), port: 9092 };
                self.config.bootstrap.get(self.next_bootstrap % count).cloned().unwrap_or_else(fallback)
            }
        }
    }

    fn plan_link(&mut self, now: Monotonic, address: Address) -> &mut Link {
        let at = match self.failed_at.get(&address) {
            Some(failed) => failed.plus_ms(self.config.retry_backoff_ms).max(now),
            None => now,
        };
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let client_id = KafkaString::copied(&self.config.client_id);
        let deadline = at.plus_ms(self.config.request_timeout_ms);
        let connection = Connection::new(client_id, self.config.software_version, deadline);
        self.links.entry(id).or_insert(Link { address, state: LinkState::Planned(at), connection })
    }

    /// Moves what connections have to say to the answers.
    fn collect(&mut self) {
        for link in self.links.values_mut() {
            while let Some(event) = link.connection.poll_event() {
                let answer = match event {
                    ConnectionEvent::Answered(id, answer) => (id, Ok(answer)),
                    ConnectionEvent::Sent(id) => (id, Ok(Answer::none())),
                    ConnectionEvent::Unsupported(id, api) => (id, Err(RequestError::Unsupported(api))),
                    ConnectionEvent::Unwritable(id, error) => (id, Err(RequestError::Unwritable(error))),
                };
                self.attempts.remove(&answer.0);
                self.answers.push_back(answer);
            }
        }
    }

    /// Takes the next answer, or the reason why there is none. Each request has exactly one.
    pub fn poll_answer(&mut self, now: Monotonic) -> Option<(RequestId, Result<Answer, RequestError>)> {
        while let Some((id, result)) = self.answers.pop_front() {
            if self.metadata.asked != Some(id) {
                return Some((id, result));
            }
            self.handle_metadata(now, result);
        }
        None
    }

    // ---- Topics.

    /// Asks to know about a topic from now on.
    pub fn want_topic(&mut self, name: &str) {
        if !self.metadata.wanted.contains(name) {
            self.metadata.wanted.insert(name.to_owned());
            self.metadata.is_stale = true;
        }
    }

    /// What is known of topics turned out to be wrong.
    pub fn refresh_metadata(&mut self) {
        self.metadata.is_stale = true;
    }

    /// Why topics could not be asked for, if that failed last time.
    #[must_use]
    pub fn metadata_failure(&self) -> Option<&RequestError> {
        self.metadata.failure.as_ref()
    }

    fn metadata_due(&self) -> Option<Monotonic> {
        let MetadataState { wanted, is_stale, asked, settled, .. } = &self.metadata;
        if wanted.is_empty() || asked.is_some() {
            return None;
        }
        match settled {
            None => Some(Monotonic::default()),
            Some(at) if *is_stale => Some(at.plus_ms(self.config.retry_backoff_ms)),
            Some(at) => Some(at.plus_ms(self.config.metadata_age_ms_max)),
        }
    }

    fn ask_for_metadata(&mut self, now: Monotonic) {
        let topic = |name: &String| MetadataRequestTopic {
            name: Some(KafkaString::copied(name)),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(self.metadata.wanted.iter().map(topic).collect()),
            allow_auto_topic_creation: self.config.auto_create_topics,
            ..MetadataRequest::default()
        };
        let id = self.send(now, Target::Any, request);
        self.metadata.asked = Some(id);
    }

    fn handle_metadata(&mut self, now: Monotonic, result: Result<Answer, RequestError>) {
        self.metadata.asked = None;
        self.metadata.settled = Some(now);
        let response = result.and_then(|answer| answer.decode::<MetadataRequest>().map_err(RequestError::Malformed));
        match response {
            Ok(response) => self.learn(&response),
            Err(error) => {
                self.metadata.is_stale = true;
                self.metadata.failure = Some(error);
            }
        }
    }

    /// Takes in an answer to a Metadata request, also one that somebody else sent.
    pub fn learn(&mut self, response: &MetadataResponse) {
        self.cluster.update(response);
        self.metadata.failure = None;
        let unsettled = |name: &String| match self.cluster.topic(name) {
            Some(Ok(topic)) => topic.partitions.iter().any(|partition| partition.leader.is_none()),
            Some(Err(code)) => code.is_retriable(),
            None => true,
        };
        self.metadata.is_stale = self.metadata.wanted.iter().any(unsettled);
    }

    /// Where a broker listens, as another answer than one to Metadata has told.
    pub fn learn_broker(&mut self, node: NodeId, address: Address) {
        self.cluster.brokers.insert(node, address);
    }

    // ---- What the driver does.

    /// Takes the next connection that is to be opened. Its end is told by [`handle_open`](Self::handle_open) or
    /// [`handle_closed`](Self::handle_closed).
    pub fn poll_connect(&mut self, now: Monotonic) -> Option<(LinkId, Address)> {
        let is_due = |link: &Link| matches!(link.state, LinkState::Planned(at) if at <= now);
        let (id, link) = self.links.iter_mut().find(|(_, link)| is_due(link))?;
        link.state = LinkState::Opening;
        Some((*id, link.address.clone()))
    }

    /// Takes the next bytes that are to be written to a connection, in order.
    pub fn poll_transmit(&mut self) -> Option<(LinkId, Bytes)> {
        self.links
            .iter_mut()
            .filter(|(_, link)| link.state == LinkState::Open)
            .find_map(|(id, link)| link.connection.poll_transmit().map(|bytes| (*id, bytes)))
    }

    /// Takes the next connection that is to be closed; nothing more is said about it.
    pub fn poll_close(&mut self) -> Option<LinkId> {
        self.to_close.pop_front()
    }

    /// When [`advance`](Self::advance) is to be called if nothing else happens; a time that has passed while there are
    /// answers to take.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        if !self.answers.is_empty() {
            return Some(Monotonic::default());
        }
        let planned = self.links.values().filter_map(|link| match link.state {
            LinkState::Planned(at) => Some(at),
            _ => None,
        });
        let deadlines = self.links.values().filter_map(|link| link.connection.deadline());
        planned.chain(deadlines).chain(self.metadata_due()).min()
    }

    /// The connection is open.
    pub fn handle_open(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.state = LinkState::Open;
            self.failed_at.remove(&link.address);
        }
    }

    /// Bytes came on a connection.
    pub fn handle_bytes(&mut self, now: Monotonic, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let result = link.connection.handle_bytes(bytes);
        self.collect();
        if let Err(error) = result {
            self.to_close.push_back(id);
            self.drop_link(now, id, &error);
        }
    }

    /// The connection ended, or could not be made, for the reason given.
    pub fn handle_closed(&mut self, now: Monotonic, id: LinkId, reason: String) {
        let was_open = self.links.get(&id).is_some_and(|link| link.state == LinkState::Open);
        let error = if was_open { ConnectionError::Closed(reason) } else { ConnectionError::Unreachable(reason) };
        self.drop_link(now, id, &error);
    }

    fn drop_link(&mut self, now: Monotonic, id: LinkId, error: &ConnectionError) {
        let Some(link) = self.links.remove(&id) else { return };
        self.failed_at.insert(link.address.clone(), now);
        self.next_bootstrap = self.next_bootstrap.wrapping_add(1);
        let (sent, unsent) = link.connection.into_unanswered();
        let address = link.address.to_string();
        let failure = || RequestError::Connection { address: address.clone(), error: error.clone() };
        for id in sent {
            self.attempts.remove(&id);
            self.answers.push_back((id, Err(failure())));
        }
        for outgoing in unsent {
            // What any broker can answer is tried at each address once.
            let attempts = self.attempts.entry(outgoing.id).or_insert(1);
            if outgoing.target == Target::Any && *attempts < self.config.bootstrap.len() {
                *attempts += 1;
                self.route(now, outgoing);
            } else {
                self.attempts.remove(&outgoing.id);
                self.answers.push_back((outgoing.id, Err(failure())));
            }
        }
        if !self.metadata.wanted.is_empty() {
            self.metadata.is_stale = true;
        }
    }

    /// Does what is due by `now`.
    pub fn advance(&mut self, now: Monotonic) {
        let late: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.connection.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.to_close.push_back(id);
            self.drop_link(now, id, &ConnectionError::TimedOut);
        }
        if self.metadata_due().is_some_and(|due| due <= now) {
            self.ask_for_metadata(now);
        }
    }

    /// What is known of a topic: `None` while nothing is.
    #[must_use]
    pub fn topic_error(&self, name: &str) -> Option<ErrorCode> {
        self.cluster.topic(name).and_then(|topic| topic.as_ref().err()).copied()
    }
}

/// How a request is sent out of the ordinary.
#[derive(Clone, Copy, Debug)]
pub struct SendOptions {
    /// No version above this, whatever the broker has.
    pub version_max: i16,
    /// The broker sends an answer. A request without one is answered with an empty body once it is written.
    pub is_answered: bool,
    /// Milliseconds after which it counts as lost; none is the client's usual time.
    pub timeout_ms: Option<u64>,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { version_max: i16::MAX, is_answered: true, timeout_ms: None }
    }
}
