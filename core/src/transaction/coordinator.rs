//! The coordinator of one partition of `__transaction_state`: its transactional ids, its timers, and its appends and
//! markers on their way.
//!
//! One change of an id is on its way at a time. It is a record; when that is acknowledged the change counts, and what hangs
//! on it is done: an answer, or the markers of an end that is decided. When all partitions of an ended transaction have
//! their markers, that is a change, too. If a record cannot be written nothing has changed: a client asks again, and an end
//! that was decided is recorded as told as soon as that works.
//!
//! Partitions that are written to for the first time wait here while their id changes, and then become one change together.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claim;
use super::log_record;
use super::message::{
    Answer, Effect, EndTxn, FreshIds, InitProducerId, ListFilter, Mark, Marked, ProducerIdAndEpoch, Request,
    TopicPartition, TransactionVersion,
};
use super::settings::TransactionSettings;
#[cfg(test)]
use super::state::NO_PRODUCER;
use super::state::{Ending, Refused, Transaction, TransactionState};
use crate::base::{Monotonic, Offset, ProducerId, Timestamp};
use crate::coordinator::{Append, AppendId, Appends, LogRecord, Now, RequestId, append_error, is_too_long};
use crate::limits::{
    TRANSACTION_APPENDS_MAX, TRANSACTION_RETRY_MS, TRANSACTION_STATE_BYTES_MAX, TRANSACTIONAL_IDS_MAX,
};
use crate::protocol::messages::describe_transactions_response::{self, TopicData};
use crate::protocol::wire::EncodeError;
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::header::HEADER_BYTES;

/// What is known of a transactional id.
#[derive(Debug)]
pub(super) struct Entry {
    /// What the log says; `None` until it says anything.
    pub(super) settled: Option<Transaction>,
    /// A change is on its way to the log.
    pub(super) is_changing: bool,
    /// Of an end that is decided, the partitions that have no marker yet.
    unmarked: BTreeSet<TopicPartition>,
    /// Of those, the ones that could not take theirs and are to be tried again.
    put_off: BTreeSet<TopicPartition>,
    /// Partitions that wait to take part.
    pub(super) claims: Vec<Claim>,
}

impl Entry {
    fn new(settled: Option<Transaction>) -> Self {
        Self { settled, is_changing: false, unmarked: BTreeSet::new(), put_off: BTreeSet::new(), claims: Vec::new() }
    }

    fn bytes(&self, id: &KafkaString) -> usize {
        id.len() + 128 + self.settled.as_ref().map_or(0, Transaction::bytes)
    }
}

/// What a record changes.
#[derive(Debug)]
enum Change {
    /// An id stands so.
    To(KafkaString, Box<Transaction>, Then),
    /// Ids are forgotten.
    Forget(Vec<KafkaString>),
}

/// What happens when a change counts.
#[derive(Debug)]
pub(super) enum Then {
    /// Who asked for a producer is told who it is.
    Initialized(RequestId),
    /// Who asked is told that its partitions take part.
    Added(RequestId),
    /// The owners of partitions that were waiting are told that these take part.
    Claimed(Vec<RequestId>),
    /// Who ended the transaction is told who it is from now on, and the partitions are told the end.
    Ended(RequestId),
    /// The partitions are told, and the successor of the fenced producer, if one has come, that it is to ask again.
    Fenced(Option<RequestId>),
    /// Nothing more.
    Completed,
}

impl Then {
    /// The answers that say that it has failed, to who waits.
    fn refusals(self, code: ErrorCode) -> Vec<(RequestId, Answer)> {
        match self {
            Self::Initialized(id) | Self::Fenced(Some(id)) => vec![(id, Answer::InitProducerId(Err(code)))],
            Self::Added(id) => vec![(id, Answer::AddPartitions(Err(code)))],
            Self::Claimed(ids) => ids.into_iter().map(|id| (id, Answer::ClaimPartition(Err(code)))).collect(),
            Self::Ended(id) => vec![(id, Answer::EndTxn(Err(code)))],
            Self::Fenced(None) | Self::Completed => Vec::new(),
        }
    }
}

/// The coordinator of the transactional ids of one partition of `__transaction_state`.
#[derive(Debug)]
pub struct TransactionCoordinator {
    settings: TransactionSettings,
    /// Leader epoch of the partition: what markers are written with.
    epoch: i32,
    pub(super) entries: BTreeMap<KafkaString, Entry>,
    /// Estimate of what they take in memory.
    bytes: usize,

    appends: Appends<Change>,
    /// The claims of all ids, by when they give up.
    pub(super) claims: BTreeMap<(Monotonic, RequestId), KafkaString>,

    /// When to look for transactions that take too long, and for ids that nobody uses.
    timeout_check_at: Monotonic,
    expiration_check_at: Monotonic,
    /// When to try again what was put off, if anything was.
    retry_at: Option<Monotonic>,

    effects: Vec<Effect>,
}

impl TransactionCoordinator {
    pub(super) fn new(settings: TransactionSettings, epoch: i32) -> Self {
        Self {
            settings,
            epoch,
            entries: BTreeMap::new(),
            bytes: 0,
            appends: Appends::default(),
            claims: BTreeMap::new(),
            timeout_check_at: Monotonic(0),
            expiration_check_at: Monotonic(0),
            retry_at: None,
            effects: Vec::new(),
        }
    }

    /// Takes over changed settings.
    pub fn set_settings(&mut self, settings: TransactionSettings) {
        self.settings = settings;
    }

    pub(super) fn replay(&mut self, id: KafkaString, transaction: Option<Transaction>) {
        self.forget(&id);
        if transaction.is_some() {
            let entry = Entry::new(transaction);
            self.bytes += entry.bytes(&id);
            self.entries.insert(id, entry);
        }
    }

    /// The log is read: ends that were decided are told.
    pub(super) fn resume(&mut self, now: Now) -> Vec<Effect> {
        self.timeout_check_at = now.monotonic.plus_ms(self.settings.timeout_check_ms);
        self.expiration_check_at = now.monotonic.plus_ms(self.settings.expiration_check_ms);
        let decided: Vec<KafkaString> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.settled.as_ref().is_some_and(|each| each.state.decided().is_some()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in decided {
            self.tell_partitions(now, &id);
        }
        std::mem::take(&mut self.effects)
    }

    /// Handles a request. Its answer is among the effects of this or of a later call.
    pub fn handle(&mut self, now: Now, id: RequestId, request: &Request, ids: FreshIds<'_>) -> Vec<Effect> {
        match request {
            Request::InitProducerId(asked) => self.init_producer_id(now, id, asked, ids),
            Request::AddPartitions { transactional_id, producer, partitions, version } => {
                self.add_partitions(now, id, (transactional_id, *producer), partitions, *version);
            }
            Request::ClaimPartition { transactional_id, producer, partition, patience_ms } => {
                let partition = TopicPartition { topic: KafkaString::copied(&partition.topic), ..*partition };
                let give_up = now.monotonic.plus_ms(*patience_ms);
                self.claim(now, transactional_id, Claim { request: id, producer: *producer, partition, give_up });
            }
            Request::VerifyPartition { transactional_id, producer, partition } => {
                let verified = self.verify(transactional_id, *producer, partition);
                self.answer(id, Answer::VerifyPartition(verified));
            }
            Request::EndTxn(asked) => self.end(now, id, asked, ids),
            Request::Describe(transactional_id) => {
                let described = self.describe(transactional_id);
                self.answer(id, Answer::Describe(described));
            }
            Request::List(filter) => {
                let listed = self.list(now, filter);
                self.answer(id, Answer::List(Ok(listed)));
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// Says what became of an append: whether the high watermark has passed it, or the error of the log.
    ///
    /// Each append is told of once. What comes ahead of an earlier append waits for it here.
    pub fn on_append(&mut self, now: Now, id: AppendId, result: Result<Offset, ErrorCode>) -> Vec<Effect> {
        self.appends.told(id, result);
        while let Some((change, result)) = self.appends.pop_settled() {
            self.settle(now, change, result.map(|_| ()).map_err(append_error));
        }
        std::mem::take(&mut self.effects)
    }

    /// Says what became of a marker that [`Effect::Mark`] asked for.
    pub fn on_marked(
        &mut self,
        now: Now,
        transactional_id: &KafkaString,
        partition: &TopicPartition,
        marked: Marked,
    ) -> Vec<Effect> {
        if let Some(entry) = self.entries.get_mut(transactional_id).filter(|entry| entry.unmarked.contains(partition)) {
            match marked {
                Marked::Written | Marked::Gone => {
                    entry.unmarked.remove(partition);
                    entry.put_off.remove(partition);
                    self.complete_if_told(now, transactional_id);
                }
                Marked::NotYet => {
                    entry.put_off.insert(partition.clone());
                    self.retry_later(now);
                }
                // Somebody else coordinates this id, and this partition is about to be taken away here.
                Marked::Fenced => {}
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// The instant at which [`on_time`](Self::on_time) is due; it may be now.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let claims = self.claims.keys().next().map(|(give_up, _)| *give_up);
        let checks = self.timeout_check_at.min(self.expiration_check_at);
        [self.retry_at, claims].into_iter().flatten().chain([checks]).min()
    }

    /// Does what is due: transactions that took too long, ids that nobody uses, what could not be done before, claims that
    /// have waited long enough.
    pub fn on_time(&mut self, now: Now, ids: FreshIds<'_>) -> Vec<Effect> {
        while let Some(first) = self.claims.first_entry().filter(|first| first.key().0 <= now.monotonic) {
            let ((_, request), id) = first.remove_entry();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.claims.retain(|claim| claim.request != request);
            }
            self.answer(request, Answer::ClaimPartition(Err(ErrorCode::CONCURRENT_TRANSACTIONS)));
        }
        if self.retry_at.is_some_and(|at| at <= now.monotonic) {
            self.retry_at = None;
            self.retry(now);
        }
        if self.timeout_check_at <= now.monotonic {
            self.timeout_check_at = now.monotonic.plus_ms(self.settings.timeout_check_ms);
            self.abort_overdue(now, ids);
        }
        if self.expiration_check_at <= now.monotonic {
            self.expiration_check_at = now.monotonic.plus_ms(self.settings.expiration_check_ms);
            self.expire(now);
        }
        std::mem::take(&mut self.effects)
    }

    /// Ends all open requests, with NOT_COORDINATOR: somebody else answers them from now on.
    #[must_use]
    pub fn resign(self) -> Vec<Effect> {
        let code = ErrorCode::NOT_COORDINATOR;
        let refused = self.appends.into_changes().flat_map(|change| match change {
            Change::To(_, _, then) => then.refusals(code),
            Change::Forget(_) => Vec::new(),
        });
        let claims = self.claims.into_keys().map(|(_, request)| (request, Answer::ClaimPartition(Err(code))));
        let answers = refused.chain(claims).map(|(id, answer)| Effect::Answer(id, answer));
        self.effects.into_iter().chain(answers).collect()
    }

    /// Bytes that the transactional ids take, by estimate.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        self.bytes
    }

    /// Transactional ids that there are.
    #[must_use]
    pub fn transactional_id_count(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Answer) {
        self.effects.push(Effect::Answer(id, answer));
    }

    fn settled(&self, id: &KafkaString) -> Option<(&Entry, &Transaction)> {
        let entry = self.entries.get(id)?;
        Some((entry, entry.settled.as_ref()?))
    }

    fn init_producer_id(&mut self, now: Now, id: RequestId, asked: &InitProducerId, ids: FreshIds<'_>) {
        if let Err(code) = self.begin_initialization(now, id, asked, ids) {
            self.answer(id, Answer::InitProducerId(Err(code)));
        }
    }

    fn begin_initialization(
        &mut self,
        now: Now,
        id: RequestId,
        asked: &InitProducerId,
        ids: FreshIds<'_>,
    ) -> Result<(), ErrorCode> {
        if asked.transactional_id.is_empty() || is_too_long(&asked.transactional_id) {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if asked.two_phase && !self.settings.two_phase {
            return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
        if asked.keep_prepared {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if !asked.two_phase && !(1..=self.settings.timeout_ms_max).contains(&asked.timeout_ms) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let timeout_ms = if asked.two_phase { i32::MAX } else { asked.timeout_ms };
        let key = &asked.transactional_id;
        let current = match self.entries.get(key) {
            Some(entry) if entry.is_changing => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            Some(Entry { settled: Some(settled), .. }) => settled.clone(),
            Some(Entry { settled: None, .. }) | None => {
                if self.is_full(key) {
                    return Err(ErrorCode::POLICY_VIOLATION);
                }
                Transaction::new(ids().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?, timeout_ms, now.wall)
            }
        };
        if asked.expected.is_some_and(|expected| !current.knows(expected)) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        let (next, then) = match current.state {
            TransactionState::Ongoing => {
                // It learns its epoch when it asks again: this one belongs to the transaction that is being aborted.
                let fenced = with_fresh(ids, |fresh| current.fenced(self.settings.version, fresh, now.wall))?;
                (fenced, Then::Fenced(Some(id)))
            }
            state if state.is_idle() => {
                let initialized =
                    with_fresh(ids, |fresh| current.initialized(timeout_ms, asked.expected, fresh, now.wall))?;
                (initialized, Then::Initialized(id))
            }
            _ => return Err(ErrorCode::CONCURRENT_TRANSACTIONS),
        };
        self.change(now, key, next, then)
    }

    fn add_partitions(
        &mut self,
        now: Now,
        id: RequestId,
        (key, producer): (&KafkaString, ProducerIdAndEpoch),
        partitions: &BTreeSet<TopicPartition>,
        version: TransactionVersion,
    ) {
        let next = match self.settled(key) {
            _ if key.is_empty() => Err(ErrorCode::INVALID_REQUEST),
            None => Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING),
            Some((entry, _)) if entry.is_changing => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            Some((_, current)) => current.check(producer).and_then(|()| match current.state {
                state if state.decided().is_some() => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
                TransactionState::Ongoing if partitions.is_subset(&current.partitions) => Ok(None),
                _ => Ok(Some(current.with_partitions(partitions, version, now.wall))),
            }),
        };
        let begun = match next {
            Ok(Some(next)) => self.change(now, key, next, Then::Added(id)),
            Ok(None) => return self.answer(id, Answer::AddPartitions(Ok(()))),
            Err(code) => Err(code),
        };
        if let Err(code) = begun {
            self.answer(id, Answer::AddPartitions(Err(code)));
        }
    }

    fn verify(
        &self,
        key: &KafkaString,
        producer: ProducerIdAndEpoch,
        partition: &TopicPartition,
    ) -> Result<(), ErrorCode> {
        if key.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        // A change that is on its way does not matter: the partition judges once more when the batch is appended.
        let (_, current) = self.settled(key).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        current.check(producer)?;
        if current.state.decided().is_some() {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        if current.partitions.contains(partition) { Ok(()) } else { Err(ErrorCode::TRANSACTION_ABORTABLE) }
    }

    fn end(&mut self, now: Now, id: RequestId, asked: &EndTxn, ids: FreshIds<'_>) {
        match self.begin_end(now, id, asked, ids) {
            Ok(None) => {}
            Ok(Some(producer)) => self.answer(id, Answer::EndTxn(Ok(producer))),
            Err(code) => self.answer(id, Answer::EndTxn(Err(code))),
        }
    }

    /// Who the producer is, if the transaction has ended so already.
    fn begin_end(
        &mut self,
        now: Now,
        id: RequestId,
        asked: &EndTxn,
        ids: FreshIds<'_>,
    ) -> Result<Option<ProducerIdAndEpoch>, ErrorCode> {
        let key = &asked.transactional_id;
        if key.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let (entry, current) = self.settled(key).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        if entry.is_changing {
            // With version 2 the producer may have an identity already that is only on its way to the log.
            if !asked.version.raises_epoch() {
                current.check(asked.producer)?;
            }
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let current = current.clone();
        match with_fresh(ids, |fresh| current.ended(asked, fresh, now.wall))? {
            Ending::Known => Ok(Some(current.identity())),
            Ending::Decided(next) => self.change(now, key, next, Then::Ended(id)).map(|()| None),
        }
    }

    fn describe(&self, key: &KafkaString) -> describe_transactions_response::TransactionState {
        let error = |code: ErrorCode| describe_transactions_response::TransactionState {
            error_code: code.0,
            transactional_id: key.clone(),
            ..Default::default()
        };
        if key.is_empty() {
            return error(ErrorCode::INVALID_REQUEST);
        }
        let Some((_, current)) = self.settled(key) else { return error(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) };
        let mut topics: Vec<TopicData> = Vec::new();
        for TopicPartition { topic, index } in &current.partitions {
            match topics.last_mut().filter(|last| last.topic == *topic) {
                Some(last) => last.partitions.push(index.0),
                None => topics.push(TopicData { topic: topic.clone(), partitions: vec![index.0] }),
            }
        }
        describe_transactions_response::TransactionState {
            transaction_state: current.state.name().into(),
            transaction_timeout_ms: current.timeout_ms,
            transaction_start_time_ms: current.started.0,
            producer_id: current.producer.0,
            producer_epoch: current.epoch.0,
            topics,
            ..error(ErrorCode::NONE)
        }
    }

    fn list(
        &self,
        now: Now,
        filter: &ListFilter,
    ) -> Vec<crate::protocol::messages::list_transactions_response::TransactionState> {
        let states: Vec<_> = filter.states.iter().filter_map(|name| TransactionState::of_name(name)).collect();
        let is_listed = |current: &Transaction| {
            (filter.producers.is_empty() || filter.producers.contains(&current.producer))
                && (filter.states.is_empty() || states.contains(&current.state))
                && filter.open_for_ms.is_none_or(|ms| now.wall.0.saturating_sub(current.started.0) > ms)
        };
        let settled = self.entries.iter().filter_map(|(id, entry)| Some((id, entry.settled.as_ref()?)));
        settled
            .filter(|(_, current)| is_listed(current))
            .map(|(id, current)| current.state.listed(id, current.producer))
            .collect()
    }

    fn is_full(&self, id: &KafkaString) -> bool {
        !self.entries.contains_key(id)
            && (self.entries.len() >= TRANSACTIONAL_IDS_MAX || self.bytes >= TRANSACTION_STATE_BYTES_MAX)
    }

    /// Begins a change of an id that is not changing.
    pub(super) fn change(
        &mut self,
        now: Now,
        id: &KafkaString,
        next: Transaction,
        then: Then,
    ) -> Result<(), ErrorCode> {
        if self.appends.len() >= TRANSACTION_APPENDS_MAX && !matches!(then, Then::Completed) {
            return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
        }
        let id = KafkaString::copied(id);
        let record = log_record::encode(&id, &next, self.settings.version);
        let records = self.fitting(record.map(|record| vec![record]))?;
        let entry = self.entries.entry(id.clone()).or_insert_with_key(|id| {
            self.bytes += id.len() + 128;
            Entry::new(None)
        });
        assert!(!entry.is_changing, "one change of an id is on its way at a time");
        entry.is_changing = true;
        self.append(now, records, Change::To(id, Box::new(next), then));
        Ok(())
    }

    /// The records, if they fit a batch.
    fn fitting(&self, records: Result<Vec<LogRecord>, EncodeError>) -> Result<Vec<LogRecord>, ErrorCode> {
        let records = records.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let bytes = records.iter().map(LogRecord::size_bytes_max).sum::<usize>() + HEADER_BYTES;
        if bytes > self.settings.batch_bytes_max { Err(ErrorCode::UNKNOWN_SERVER_ERROR) } else { Ok(records) }
    }

    fn append(&mut self, now: Now, records: Vec<LogRecord>, change: Change) {
        let id = self.appends.push(change);
        self.effects.push(Effect::Append(Append { id, at: now.wall, records, producer: None }));
    }

    /// The fate of a change is known, and of all before it.
    fn settle(&mut self, now: Now, change: Change, result: Result<(), ErrorCode>) {
        match change {
            Change::To(id, next, then) => {
                self.settle_one(now, &id, *next, then, result);
                self.settle_claims(now, &id);
            }
            Change::Forget(ids) => {
                for id in ids {
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.is_changing = false;
                        if result.is_ok() {
                            self.forget(&id);
                        }
                    }
                    self.settle_claims(now, &id);
                }
            }
        }
    }

    fn settle_one(&mut self, now: Now, id: &KafkaString, next: Transaction, then: Then, result: Result<(), ErrorCode>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.is_changing = false;
        if let Err(code) = result {
            if entry.settled.is_none() {
                self.forget(id);
            }
            if matches!(then, Then::Completed) {
                self.retry_later(now);
            }
            for (request, answer) in then.refusals(code) {
                self.answer(request, answer);
            }
            return;
        }
        let before = entry.bytes(id);
        let identity = next.identity();
        // Who is told an end is told its identity after it, which counts when the partitions have been told.
        let identity_after =
            if next.state.decided().is_some() { next.completed(now.wall).identity() } else { identity };
        entry.settled = Some(next);
        self.bytes = self.bytes - before + entry.bytes(id);
        match then {
            Then::Initialized(request) => self.answer(request, Answer::InitProducerId(Ok(identity))),
            Then::Added(request) => self.answer(request, Answer::AddPartitions(Ok(()))),
            Then::Claimed(requests) => {
                requests.into_iter().for_each(|request| self.answer(request, Answer::ClaimPartition(Ok(()))));
            }
            Then::Ended(request) => {
                self.answer(request, Answer::EndTxn(Ok(identity_after)));
                self.tell_partitions(now, id);
            }
            Then::Fenced(request) => {
                if let Some(request) = request {
                    self.answer(request, Answer::InitProducerId(Err(ErrorCode::CONCURRENT_TRANSACTIONS)));
                }
                self.tell_partitions(now, id);
            }
            Then::Completed => {}
        }
    }

    /// An end is decided: every partition that took part gets a marker.
    fn tell_partitions(&mut self, now: Now, id: &KafkaString) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let Some(partitions) = entry.settled.as_ref().map(|settled| settled.partitions.clone()) else { return };
        entry.unmarked = partitions.clone();
        entry.put_off.clear();
        if partitions.is_empty() {
            self.complete_if_told(now, id);
        } else {
            self.mark(id, partitions);
        }
    }

    fn mark(&mut self, id: &KafkaString, partitions: BTreeSet<TopicPartition>) {
        let epoch = self.epoch;
        let Some((_, settled)) = self.settled(id) else { return };
        let Some(committed) = settled.state.decided() else { return };
        let mark = Mark {
            transactional_id: id.clone(),
            producer: settled.identity(),
            committed,
            coordinator_epoch: epoch,
            version: settled.version,
            partitions,
        };
        self.effects.push(Effect::Mark(mark));
    }

    fn complete_if_told(&mut self, now: Now, id: &KafkaString) {
        let Some((entry, settled)) = self.settled(id) else { return };
        if !entry.unmarked.is_empty() || entry.is_changing || settled.state.decided().is_none() {
            return;
        }
        let next = settled.completed(now.wall);
        if self.change(now, id, next, Then::Completed).is_err() {
            self.retry_later(now);
        }
    }

    fn retry_later(&mut self, now: Now) {
        self.retry_at.get_or_insert(now.monotonic.plus_ms(TRANSACTION_RETRY_MS));
    }

    fn retry(&mut self, now: Now) {
        let decided: Vec<KafkaString> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                let is_decided = entry.settled.as_ref().is_some_and(|settled| settled.state.decided().is_some());
                is_decided && !entry.is_changing && (entry.unmarked.is_empty() || !entry.put_off.is_empty())
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in decided {
            let put_off = self.entries.get_mut(&id).map(|entry| std::mem::take(&mut entry.put_off)).unwrap_or_default();
            if put_off.is_empty() {
                self.complete_if_told(now, &id);
            } else {
                self.mark(&id, put_off);
            }
        }
    }

    /// Aborts transactions that have been open for longer than their producers said.
    fn abort_overdue(&mut self, now: Now, ids: FreshIds<'_>) {
        let is_overdue = |settled: &Transaction| {
            settled.state == TransactionState::Ongoing
                && settled.timeout_ms != i32::MAX
                && settled.started.0.saturating_add(i64::from(settled.timeout_ms)) < now.wall.0
        };
        let overdue: Vec<(KafkaString, Transaction)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_changing)
            .filter_map(|(id, entry)| {
                Some((id.clone(), entry.settled.as_ref().filter(|each| is_overdue(each))?.clone()))
            })
            .collect();
        for (id, settled) in overdue {
            let fenced = with_fresh(&mut *ids, |fresh| settled.fenced(settled.version, fresh, now.wall));
            // What cannot be begun now is at the next look.
            let _ = fenced.and_then(|next| self.change(now, &id, next, Then::Fenced(None)));
        }
    }

    /// Forgets ids that nobody has used for long.
    fn expire(&mut self, now: Now) {
        let oldest = Timestamp(now.wall.0.saturating_sub(self.settings.expiration_ms));
        let is_expired = |entry: &&Entry| {
            !entry.is_changing
                && entry.settled.as_ref().is_some_and(|settled| settled.state.is_idle() && settled.updated <= oldest)
        };
        let expired: Vec<KafkaString> =
            self.entries.iter().filter(|(_, entry)| is_expired(entry)).map(|(id, _)| id.clone()).collect();
        let mut expired = expired.into_iter().peekable();
        while expired.peek().is_some() && self.appends.len() < TRANSACTION_APPENDS_MAX {
            let mut bytes = HEADER_BYTES;
            let (mut ids, mut records) = (Vec::new(), Vec::new());
            while let Some(id) = expired.peek() {
                let Ok(record) = log_record::tombstone(id) else {
                    expired.next();
                    continue;
                };
                bytes += record.size_bytes_max();
                if bytes > self.settings.batch_bytes_max && !records.is_empty() {
                    break;
                }
                records.push(record);
                ids.extend(expired.next());
            }
            for id in &ids {
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.is_changing = true;
                }
            }
            if !records.is_empty() {
                self.append(now, records, Change::Forget(ids));
            }
        }
    }

    fn forget(&mut self, id: &KafkaString) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.bytes -= entry.bytes(id);
        for claim in entry.claims {
            self.claims.remove(&(claim.give_up, claim.request));
            self.answer(claim.request, Answer::ClaimPartition(Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)));
        }
    }
}

/// What a change comes to, with a fresh producer id if it needs one.
fn with_fresh<T>(ids: FreshIds<'_>, change: impl Fn(Option<ProducerId>) -> Result<T, Refused>) -> Result<T, ErrorCode> {
    let changed = match change(None) {
        Err(Refused::NeedsProducerId) => change(Some(ids().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?)),
        changed => changed,
    };
    changed.map_err(|refused| match refused {
        Refused::Code(code) => code,
        Refused::NeedsProducerId => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    })
}

#[cfg(test)]
impl TransactionCoordinator {
    /// That all parts of the coordinator say the same.
    pub(super) fn assert_consistent(&self) {
        assert_eq!(self.bytes, self.entries.iter().map(|(id, entry)| entry.bytes(id)).sum::<usize>());
        let changing = self.entries.values().filter(|entry| entry.is_changing).count();
        let changed: usize = self
            .appends
            .changes()
            .map(|change| match change {
                Change::To(..) => 1,
                Change::Forget(ids) => ids.len(),
            })
            .sum();
        assert_eq!(changing, changed, "one change of an id is on its way at a time");
        let claims = self
            .entries
            .iter()
            .flat_map(|(id, entry)| entry.claims.iter().map(move |claim| ((claim.give_up, claim.request), id.clone())));
        assert_eq!(claims.collect::<BTreeMap<_, _>>(), self.claims);
        for entry in self.entries.values() {
            let is_ending = entry.settled.as_ref().is_some_and(|settled| settled.state.decided().is_some());
            assert!(entry.claims.is_empty() || entry.is_changing || is_ending, "nothing else is waited for");
            assert!(entry.put_off.is_subset(&entry.unmarked));
            let settled = entry.settled.as_ref();
            assert!(settled.is_some() || entry.is_changing, "an id of which nothing is known is nothing");
            if let Some(settled) = settled {
                assert!(settled.state.decided().is_some() || entry.unmarked.is_empty());
                assert!(settled.producer != NO_PRODUCER);
                assert!(!settled.state.is_idle() || settled.partitions.is_empty());
            }
        }
    }

    /// What the log says of an id.
    pub(super) fn transaction(&self, id: &str) -> Option<&Transaction> {
        self.entries.iter().find(|(key, _)| ***key == *id).and_then(|(_, entry)| entry.settled.as_ref())
    }
}
