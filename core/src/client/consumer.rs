//! A consumer of partitions that it is told: finds where to begin, fetches from the leaders, and yields whole batches
//! in the order of their offsets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::aborted::Aborted;
use super::cluster::{Client, SendOptions};
use super::connection::Answer;
use super::error::{check, is_stale_metadata};
use super::fetched::{ConsumerError, ConsumerOptions, FetchedBatch, IsolationLevel, StartOffset};
use super::request::{RequestError, RequestId, Target};
use crate::base::{LeaderEpoch, Monotonic, NodeId, Offset, PartitionIndex, Uuid};
use crate::limits::UNKNOWN_TOPIC_MS_MAX;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::{FetchRequest, ListOffsetsRequest};
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::{BatchError, Batches};

/// Last version of Fetch that names topics.
const FETCH_BY_NAME_VERSION_MAX: i16 = 12;
/// Epoch of a fetch without a session (KIP-227).
const NO_SESSION: i32 = -1;
/// Special timestamps of ListOffsets.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

type PartitionKey = (Arc<str>, PartitionIndex);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// To be asked for.
    Start(StartOffset),
    /// Next record to fetch.
    At(Offset),
}

#[derive(Debug)]
struct PartitionState {
    position: Position,
    /// First offset that cannot be read yet, as last heard.
    end: Option<Offset>,
    /// A request about it is under way.
    is_asked: bool,
    /// Fetched batches of it are not taken yet.
    pending: usize,
    /// Not asked for again before this, after a failure.
    not_before: Monotonic,
    /// Since when the cluster says that there is no such topic. That passes while a topic is being made, and does not once
    /// it was deleted.
    unknown_since: Option<Monotonic>,
}

#[derive(Debug)]
enum Sent {
    Offsets { partitions: Vec<PartitionKey> },
    Fetch { node: NodeId, partitions: Vec<PartitionKey> },
}

/// A consumer.
#[derive(Debug)]
pub struct Consumer {
    options: ConsumerOptions,
    partitions: BTreeMap<PartitionKey, PartitionState>,
    sent: BTreeMap<RequestId, Sent>,
    fetching: BTreeSet<NodeId>,
    fetched: VecDeque<FetchedBatch>,
    errors: VecDeque<(Arc<str>, PartitionIndex, ConsumerError)>,
}

impl Consumer {
    /// A consumer without partitions.
    #[must_use]
    pub fn new(options: ConsumerOptions) -> Self {
        Self {
            options,
            partitions: BTreeMap::new(),
            sent: BTreeMap::new(),
            fetching: BTreeSet::new(),
            fetched: VecDeque::new(),
            errors: VecDeque::new(),
        }
    }

    /// Adds a partition of a topic that [`Client::want_topic`] was called for.
    pub fn assign(&mut self, topic: &str, partition: PartitionIndex, start: StartOffset) {
        let position = match start {
            StartOffset::At(offset) => Position::At(offset),
            other => Position::Start(other),
        };
        let state = PartitionState {
            position,
            end: None,
            is_asked: false,
            pending: 0,
            not_before: Monotonic::default(),
            unknown_since: None,
        };
        self.partitions.insert((Arc::from(topic), partition), state);
    }

    /// Partitions that are still consumed.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Next offset of a partition, once it is known.
    #[must_use]
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        let (_, state) = self.partitions.iter().find(|((name, index), _)| &**name == topic && *index == partition)?;
        match state.position {
            Position::At(offset) => Some(offset),
            Position::Start(_) => None,
        }
    }

    /// Every partition has been read up to where it ended when it was last fetched.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let at_end = |state: &PartitionState| match (state.position, state.end) {
            (Position::At(offset), Some(end)) => state.pending == 0 && offset >= end,
            _ => false,
        };
        self.fetched.is_empty() && self.partitions.values().all(at_end)
    }

    /// Takes the next batch.
    pub fn poll_batch(&mut self) -> Option<FetchedBatch> {
        let batch = self.fetched.pop_front()?;
        if let Some(state) = self.partitions.get_mut(&(batch.topic.clone(), batch.partition)) {
            state.pending = state.pending.saturating_sub(1);
        }
        Some(batch)
    }

    /// Takes the next partition that had to be given up.
    pub fn poll_error(&mut self) -> Option<(Arc<str>, PartitionIndex, ConsumerError)> {
        self.errors.pop_front()
    }

    /// When [`advance`](Self::advance) is to be called if no answer comes before.
    #[must_use]
    pub fn poll_timeout(&self, now: Monotonic) -> Option<Monotonic> {
        self.partitions.values().map(|state| state.not_before).filter(|at| *at > now).min()
    }

    /// Asks for what is due by `now`.
    pub fn advance(&mut self, now: Monotonic, client: &mut Client) {
        let mut starts: BTreeMap<NodeId, Vec<(PartitionKey, StartOffset)>> = BTreeMap::new();
        let mut fetches: BTreeMap<NodeId, Vec<(PartitionKey, Offset)>> = BTreeMap::new();
        let mut gone: Vec<(PartitionKey, ConsumerError)> = Vec::new();
        for (key, state) in &mut self.partitions {
            if state.is_asked || state.pending > 0 || state.not_before > now {
                continue;
            }
            match client.cluster().topic(&key.0) {
                Some(Err(code)) if !code.is_retriable() => gone.push((key.clone(), ConsumerError::Refused(*code))),
                Some(Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)) => {
                    let since = *state.unknown_since.get_or_insert(now);
                    if since.plus_ms(UNKNOWN_TOPIC_MS_MAX) <= now {
                        let error = ConsumerError::Refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                        gone.push((key.clone(), error));
                    }
                }
                Some(Ok(topic)) if topic.partition(key.1).is_none() => {
                    gone.push((key.clone(), ConsumerError::NoSuchPartition { count: topic.partition_count() }));
                }
                _ => {}
            }
            let Some(node) = client.cluster().leader(&key.0, key.1) else {
                client.refresh_metadata();
                continue;
            };
            match state.position {
                Position::Start(start) => starts.entry(node).or_default().push((key.clone(), start)),
                Position::At(offset) if !self.fetching.contains(&node) => {
                    fetches.entry(node).or_default().push((key.clone(), offset));
                }
                Position::At(_) => {}
            }
        }
        for (key, error) in gone {
            self.give_up(&key, error);
        }
        for (node, partitions) in starts {
            self.ask_for_offsets(now, client, node, &partitions);
        }
        for (node, partitions) in fetches {
            self.fetch(now, client, node, &partitions);
        }
    }

    fn isolation_number(&self) -> i8 {
        match self.options.isolation {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }

    fn ask_for_offsets(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        node: NodeId,
        wanted: &[(PartitionKey, StartOffset)],
    ) {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for (key, start) in wanted {
            let timestamp = match start {
                StartOffset::Earliest => EARLIEST,
                StartOffset::Time(timestamp) => timestamp.0,
                StartOffset::Latest | StartOffset::BeforeEnd(_) | StartOffset::At(_) => LATEST,
            };
            let partition = ListOffsetsPartition { partition_index: key.1.0, timestamp, ..Default::default() };
            match topics.last_mut().filter(|topic| topic.name == *key.0) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    topics.push(ListOffsetsTopic { name: KafkaString::copied(&key.0), partitions: vec![partition] });
                }
            }
        }
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: self.isolation_number(),
            topics,
            ..ListOffsetsRequest::default()
        };
        let id = client.send(now, Target::Node(node), request);
        let partitions = self.mark_asked(wanted.iter().map(|(key, _)| key.clone()));
        self.sent.insert(id, Sent::Offsets { partitions });
    }

    fn fetch(&mut self, now: Monotonic, client: &mut Client, node: NodeId, wanted: &[(PartitionKey, Offset)]) {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut has_ids = true;
        for (key, offset) in wanted {
            let known = match client.cluster().topic(&key.0) {
                Some(Ok(topic)) => Some(topic),
                _ => None,
            };
            let epoch = known.and_then(|topic| topic.partition(key.1)).map_or(LeaderEpoch::NONE, |p| p.leader_epoch);
            let partition = FetchPartition {
                partition: key.1.0,
                current_leader_epoch: epoch.0,
                fetch_offset: offset.0,
                partition_max_bytes: self.options.partition_bytes_max,
                ..FetchPartition::default()
            };
            match topics.last_mut().filter(|topic| topic.topic == *key.0) {
                Some(topic) => topic.partitions.push(partition),
                None => {
                    let id = known.map_or(Uuid::ZERO, |topic| topic.id);
                    has_ids &= id != Uuid::ZERO;
                    let topic = KafkaString::copied(&key.0);
                    topics.push(FetchTopic { topic, topic_id: id.0, partitions: vec![partition] });
                }
            }
        }
        let request = FetchRequest {
            max_wait_ms: self.options.wait_ms_max,
            min_bytes: self.options.bytes_min,
            max_bytes: self.options.bytes_max,
            isolation_level: self.isolation_number(),
            session_epoch: NO_SESSION,
            topics,
            ..FetchRequest::default()
        };
        let version_max = if has_ids { i16::MAX } else { FETCH_BY_NAME_VERSION_MAX };
        let options = SendOptions { version_max, ..SendOptions::default() };
        let id = client.send_with(now, Target::Node(node), request, options);
        self.fetching.insert(node);
        let partitions = self.mark_asked(wanted.iter().map(|(key, _)| key.clone()));
        self.sent.insert(id, Sent::Fetch { node, partitions });
    }

    fn mark_asked(&mut self, keys: impl Iterator<Item = PartitionKey>) -> Vec<PartitionKey> {
        let keys: Vec<PartitionKey> = keys.collect();
        for key in &keys {
            if let Some(state) = self.partitions.get_mut(key) {
                state.is_asked = true;
            }
        }
        keys
    }

    /// Takes an answer that is for this consumer; gives back one that is not.
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
        let Some(sent) = self.sent.remove(&id) else { return Err(result) };
        let (Sent::Offsets { partitions } | Sent::Fetch { partitions, .. }) = &sent;
        for key in partitions {
            if let Some(state) = self.partitions.get_mut(key) {
                state.is_asked = false;
            }
        }
        match sent {
            Sent::Offsets { partitions } => self.handle_offsets(now, client, &partitions, result),
            Sent::Fetch { node, partitions } => {
                self.fetching.remove(&node);
                self.handle_fetch(now, client, &partitions, result);
            }
        }
        Ok(())
    }

    fn handle_offsets(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        asked: &[PartitionKey],
        result: Result<Answer, RequestError>,
    ) {
        let response =
            match result.and_then(|answer| answer.decode::<ListOffsetsRequest>().map_err(RequestError::Malformed)) {
                Ok(response) => response,
                Err(error) => return self.handle_failure(now, client, asked, &error),
            };
        for key in asked {
            let of_topic = response.topics.iter().find(|topic| topic.name == *key.0);
            let part = of_topic.and_then(|topic| topic.partitions.iter().find(|p| p.partition_index == key.1.0));
            let code = part.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |part| ErrorCode(part.error_code));
            let Some(part) = part.filter(|_| code == ErrorCode::NONE) else {
                self.handle_error(now, client, key, code);
                continue;
            };
            let Some(state) = self.partitions.get_mut(key) else { continue };
            state.position = match state.position {
                Position::Start(StartOffset::BeforeEnd(records)) => {
                    Position::At(Offset(part.offset.saturating_sub(records).max(0)))
                }
                Position::Start(StartOffset::Time(_)) if part.offset < 0 => Position::Start(StartOffset::Latest),
                _ => Position::At(Offset(part.offset)),
            };
        }
    }

    fn handle_fetch(
        &mut self,
        now: Monotonic,
        client: &mut Client,
        asked: &[PartitionKey],
        result: Result<Answer, RequestError>,
    ) {
        let response = match result.and_then(|answer| answer.decode::<FetchRequest>().map_err(RequestError::Malformed))
        {
            Ok(response) => response,
            Err(error) => return self.handle_failure(now, client, asked, &error),
        };
        if let Err(code) = check(response.error_code) {
            for key in asked {
                self.handle_error(now, client, key, code);
            }
            return;
        }
        for topic in response.responses {
            let id = Uuid(topic.topic_id);
            let is_it = |name: &str| match client.cluster().topic(name) {
                Some(Ok(known)) if topic.topic.is_empty() => known.id == id,
                _ => topic.topic == name,
            };
            let Some((name, _)) = asked.iter().find(|(name, _)| is_it(name)).cloned() else { continue };
            for part in topic.partitions {
                let key = (name.clone(), PartitionIndex(part.partition_index));
                if asked.contains(&key) {
                    self.handle_partition(now, client, &key, part);
                }
            }
        }
    }

    fn handle_partition(&mut self, now: Monotonic, client: &mut Client, key: &PartitionKey, part: PartitionData) {
        let Some(state) = self.partitions.get_mut(key) else { return };
        let Position::At(position) = state.position else { return };
        let code = ErrorCode(part.error_code);
        if code != ErrorCode::NONE {
            return self.handle_error(now, client, key, code);
        }
        state.unknown_since = None;
        state.end = Some(match self.options.isolation {
            IsolationLevel::ReadUncommitted => Offset(part.high_watermark),
            IsolationLevel::ReadCommitted => Offset(part.last_stable_offset),
        });
        let mut aborted = Aborted::new(&part);
        let mut next = position;
        let mut batches = Batches::new(part.records.unwrap_or_default());
        let mut failure = None;
        for batch in &mut batches {
            let batch = match batch {
                Ok(batch) if !self.options.check_crc || batch.is_crc_valid() => batch,
                Ok(_) => {
                    failure = Some("the checksum is wrong".to_owned());
                    break;
                }
                // The broker cuts the answer at a number of bytes, so the last batch may be there in part.
                Err(BatchError::Incomplete { .. }) => break,
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            };
            let last = batch.header().last_offset();
            if last < position {
                continue;
            }
            let is_visible = match self.options.isolation {
                IsolationLevel::ReadUncommitted => !batch.header().attributes().is_control(),
                IsolationLevel::ReadCommitted => aborted.admits(&batch),
            };
            if is_visible {
                let (topic, partition) = key.clone();
                match FetchedBatch::open(topic, partition, batch.clone(), position) {
                    Ok(fetched) => {
                        self.fetched.push_back(fetched);
                        state.pending += 1;
                    }
                    Err(reason) => {
                        failure = Some(reason);
                        break;
                    }
                }
            }
            next = last.plus(1);
        }
        state.position = Position::At(next);
        if let Some(reason) = failure {
            self.give_up(key, ConsumerError::Corrupt { offset: next, reason });
        }
    }

    fn handle_error(&mut self, now: Monotonic, client: &mut Client, key: &PartitionKey, code: ErrorCode) {
        let Some(state) = self.partitions.get_mut(key) else { return };
        if is_stale_metadata(code) {
            client.refresh_metadata();
        }
        let is_unknown = matches!(code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID);
        if is_unknown && state.unknown_since.get_or_insert(now).plus_ms(UNKNOWN_TOPIC_MS_MAX) <= now {
            return self.give_up(key, ConsumerError::Refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        }
        match self.options.reset {
            Some(reset) if code == ErrorCode::OFFSET_OUT_OF_RANGE => state.position = Position::Start(reset),
            _ if code.is_retriable() && code != ErrorCode::OFFSET_OUT_OF_RANGE => {
                state.not_before = now.plus_ms(client.config().retry_backoff_ms);
            }
            _ => self.give_up(key, ConsumerError::Refused(code)),
        }
    }

    /// The request has no answer.
    fn handle_failure(&mut self, now: Monotonic, client: &mut Client, asked: &[PartitionKey], error: &RequestError) {
        client.refresh_metadata();
        for key in asked {
            if !error.is_retriable() {
                self.give_up(key, ConsumerError::Request(error.clone()));
            } else if let Some(state) = self.partitions.get_mut(key) {
                state.not_before = now.plus_ms(client.config().retry_backoff_ms);
            }
        }
    }

    fn give_up(&mut self, key: &PartitionKey, error: ConsumerError) {
        if self.partitions.remove(key).is_some() {
            self.errors.push_back((key.0.clone(), key.1, error));
        }
    }
}
