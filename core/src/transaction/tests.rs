//! Each rule by rows, and random lives of producers, partitions and crashes against what exactly-once means.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::state::{EPOCH_LAST, Transaction};
use super::*;
use crate::base::{Monotonic, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp};
use crate::coordinator::{Append, LogRecord, Now, RequestId};
use crate::protocol::{ErrorCode, KafkaString};
use crate::record::{BatchBuilder, BatchOptions};
use crate::test_support::Random;

const TIMEOUT_MS: i32 = 60_000;

/// What a partition knows of a producer.
#[derive(Clone, Debug, Default)]
struct Writer {
    epoch: i16,
    /// Numbers of the transactions whose records are neither committed nor aborted.
    open: BTreeSet<u64>,
}

/// Partitions, as far as transactions concern them.
#[derive(Default)]
struct Partitions {
    writers: BTreeMap<(TopicPartition, ProducerId), Writer>,
    /// What became of the records of a transaction, in every partition in which it has some.
    fates: BTreeMap<u64, BTreeSet<bool>>,
}

impl Partitions {
    fn write(&mut self, partition: &TopicPartition, producer: ProducerIdAndEpoch, transaction: u64) -> bool {
        let writer = self.writers.entry((partition.clone(), producer.id)).or_default();
        if producer.epoch.0 < writer.epoch {
            return false;
        }
        writer.epoch = producer.epoch.0;
        writer.open.insert(transaction);
        true
    }

    fn mark(&mut self, mark: &Mark, partition: &TopicPartition) {
        let writer = self.writers.entry((partition.clone(), mark.producer.id)).or_default();
        let is_new = mark.producer.epoch.0 > writer.epoch || !mark.version.raises_epoch();
        assert!(mark.producer.epoch.0 >= writer.epoch, "a marker does not come after what its producer did next");
        assert!(is_new || writer.open.is_empty(), "a marker that comes again ends nothing");
        writer.epoch = mark.producer.epoch.0;
        for transaction in std::mem::take(&mut writer.open) {
            self.fates.entry(transaction).or_default().insert(mark.committed);
        }
    }
}

/// A coordinator with its log, and everything that is on its way.
struct World {
    coordinator: TransactionCoordinator,
    settings: TransactionSettings,
    log: Vec<LogRecord>,
    appends: VecDeque<Append>,
    marks: Vec<(Mark, TopicPartition)>,
    partitions: Partitions,
    answers: BTreeMap<RequestId, Answer>,
    next_request: u64,
    next_id: i64,
    now: Now,
}

impl World {
    fn new(settings: TransactionSettings) -> Self {
        let now = Now { monotonic: Monotonic(0), wall: Timestamp(1_700_000_000_000) };
        let (coordinator, _, effects) = TransactionLoader::new(settings.clone(), 0).finish(now);
        assert!(effects.is_empty());
        Self {
            coordinator,
            settings,
            log: Vec::new(),
            appends: VecDeque::new(),
            marks: Vec::new(),
            partitions: Partitions::default(),
            answers: BTreeMap::new(),
            next_request: 0,
            next_id: 1_000,
            now,
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        self.coordinator.assert_consistent();
        for effect in effects {
            match effect {
                Effect::Append(append) => self.appends.push_back(append),
                Effect::Mark(mark) => {
                    let partitions = mark.partitions.clone();
                    self.marks.extend(partitions.into_iter().map(|partition| (mark.clone(), partition)));
                }
                Effect::Answer(id, answer) => assert!(self.answers.insert(id, answer).is_none(), "answered twice"),
            }
        }
    }

    fn ask(&mut self, request: &Request) -> RequestId {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let next_id = &mut self.next_id;
        let mut fresh = || {
            *next_id += 1;
            Some(ProducerId(*next_id))
        };
        let effects = self.coordinator.handle(self.now, id, request, &mut fresh);
        self.perform(effects);
        id
    }

    /// The oldest append is acknowledged, or fails.
    fn acknowledge(&mut self, result: Result<(), ErrorCode>) {
        let Some(append) = self.appends.pop_front() else { return };
        let offset = Offset(i64::try_from(self.log.len()).unwrap());
        if result.is_ok() {
            self.log.extend(append.records);
        }
        let effects = self.coordinator.on_append(self.now, append.id, result.map(|()| offset));
        self.perform(effects);
    }

    fn mark(&mut self, at: usize, marked: Marked) {
        let (mark, partition) = self.marks.swap_remove(at);
        if marked == Marked::Written {
            self.partitions.mark(&mark, &partition);
        }
        let effects = self.coordinator.on_marked(self.now, &mark.transactional_id, &partition, marked);
        self.perform(effects);
    }

    fn pass(&mut self, ms: u64) {
        self.now.monotonic = self.now.monotonic.plus_ms(ms);
        self.now.wall = self.now.wall + i64::try_from(ms).unwrap();
        while self.coordinator.next_deadline().is_some_and(|at| at <= self.now.monotonic) {
            let next_id = &mut self.next_id;
            let mut fresh = || {
                *next_id += 1;
                Some(ProducerId(*next_id))
            };
            let effects = self.coordinator.on_time(self.now, &mut fresh);
            self.perform(effects);
        }
    }

    /// Everything that is on its way arrives.
    fn drain(&mut self) {
        while !self.appends.is_empty() || !self.marks.is_empty() {
            if self.appends.is_empty() {
                self.mark(0, Marked::Written);
            } else {
                self.acknowledge(Ok(()));
            }
        }
    }

    /// A crash: of the appends on their way a few got into the log, of the markers none is heard of again.
    fn crash(&mut self, written: usize) {
        for append in std::mem::take(&mut self.appends).into_iter().take(written) {
            self.log.extend(append.records);
        }
        self.marks.clear();
        let mut loader = TransactionLoader::new(self.settings.clone(), 1);
        for record in &self.log {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder.append(Timestamp(0), Some(&record.key), record.value.as_deref(), &[]);
            loader.batch(&builder.build().unwrap()).unwrap();
        }
        let (coordinator, _, effects) = loader.finish(self.now);
        self.coordinator = coordinator;
        self.perform(effects);
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let id = self.ask(request);
        self.drain();
        self.answers.remove(&id).expect("everything has arrived")
    }

    fn init(
        &mut self,
        id: &'static str,
        expected: Option<ProducerIdAndEpoch>,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        match self.answer(&init(id, expected)) {
            Answer::InitProducerId(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn add(
        &mut self,
        id: &'static str,
        producer: ProducerIdAndEpoch,
        version: TransactionVersion,
    ) -> Result<(), ErrorCode> {
        match self.answer(&add(id, producer, &[0], version)) {
            Answer::AddPartitions(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn end(
        &mut self,
        id: &'static str,
        producer: ProducerIdAndEpoch,
        commit: bool,
        version: TransactionVersion,
    ) -> Result<ProducerIdAndEpoch, ErrorCode> {
        match self.answer(&end(id, producer, commit, version)) {
            Answer::EndTxn(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

fn init(id: &'static str, expected: Option<ProducerIdAndEpoch>) -> Request {
    Request::InitProducerId(InitProducerId {
        transactional_id: id.into(),
        timeout_ms: TIMEOUT_MS,
        two_phase: false,
        keep_prepared: false,
        expected,
    })
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), index: PartitionIndex(index) }
}

fn add(id: &'static str, producer: ProducerIdAndEpoch, indexes: &[i32], version: TransactionVersion) -> Request {
    let partitions = indexes.iter().map(|index| partition(*index)).collect();
    Request::AddPartitions { transactional_id: id.into(), producer, partitions, version }
}

fn claim(id: &'static str, producer: ProducerIdAndEpoch, index: i32) -> Request {
    Request::ClaimPartition { transactional_id: id.into(), producer, partition: partition(index), patience_ms: 100 }
}

fn end(id: &'static str, producer: ProducerIdAndEpoch, commit: bool, version: TransactionVersion) -> Request {
    Request::EndTxn(EndTxn { transactional_id: id.into(), producer, commit, version })
}

fn next_epoch(producer: ProducerIdAndEpoch) -> ProducerIdAndEpoch {
    ProducerIdAndEpoch { epoch: ProducerEpoch(producer.epoch.0 + 1), ..producer }
}

const V0: TransactionVersion = TransactionVersion::V0;
const V2: TransactionVersion = TransactionVersion::V2;

#[test]
fn a_transaction_of_each_version() {
    for version in [V0, V2] {
        for commit in [true, false] {
            let mut world = World::new(TransactionSettings::default());
            let producer = world.init("a", None).unwrap();
            assert_eq!(producer.epoch, ProducerEpoch(0));
            assert_eq!(world.add("a", producer, version), Ok(()));
            assert!(world.partitions.write(&partition(0), producer, 1));
            let after = world.end("a", producer, commit, version).unwrap();
            assert_eq!(after, if version.raises_epoch() { next_epoch(producer) } else { producer });
            assert_eq!(world.partitions.fates[&1], BTreeSet::from([commit]));
            // The answer was lost.
            assert_eq!(world.end("a", producer, commit, version), Ok(after));
            assert_eq!(world.end("a", producer, !commit, version), Err(ErrorCode::INVALID_TXN_STATE));
            assert_eq!(world.end("a", after, true, V2), Err(ErrorCode::INVALID_TXN_STATE), "nothing was begun");
            let state = if commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
            assert_eq!(world.coordinator.transaction("a").unwrap().state, state);
        }
    }
}

#[test]
fn who_may_do_what() {
    let mut world = World::new(TransactionSettings::default());
    let nobody = ProducerIdAndEpoch { id: ProducerId(7), epoch: ProducerEpoch(0) };
    assert_eq!(world.add("a", nobody, V0), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    assert_eq!(world.end("a", nobody, true, V0), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    assert_eq!(world.init("", None), Err(ErrorCode::INVALID_REQUEST));
    let first = world.init("a", None).unwrap();
    assert_eq!(
        world.add("a", ProducerIdAndEpoch { id: ProducerId(7), ..first }, V0),
        Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    );
    let second = world.init("a", None).unwrap();
    assert_eq!(second, next_epoch(first));
    assert_eq!(world.add("a", first, V0), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.end("a", first, true, V0), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.end("a", second, true, V0), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(world.end("a", second, false, V0), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(world.end("a", second, true, V2), Err(ErrorCode::INVALID_TXN_STATE));
    let third = world.end("a", second, false, V2).unwrap();
    assert_eq!(third, next_epoch(second), "an abort of nothing is an answer to not knowing");
    let verify = |producer, index| Request::VerifyPartition {
        transactional_id: "a".into(),
        producer,
        partition: partition(index),
    };
    assert_eq!(world.answer(&verify(third, 0)), Answer::VerifyPartition(Err(ErrorCode::TRANSACTION_ABORTABLE)));
    assert_eq!(world.add("a", third, V0), Ok(()));
    assert_eq!(world.answer(&verify(third, 0)), Answer::VerifyPartition(Ok(())));
    assert_eq!(world.answer(&verify(second, 0)), Answer::VerifyPartition(Err(ErrorCode::PRODUCER_FENCED)));
    for timeout_ms in [0, -1, world.settings.timeout_ms_max + 1] {
        let Request::InitProducerId(asked) = init("b", None) else { unreachable!() };
        let asked = Request::InitProducerId(InitProducerId { timeout_ms, ..asked });
        assert_eq!(world.answer(&asked), Answer::InitProducerId(Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT)));
    }
}

#[test]
fn a_successor_aborts_what_is_open_and_learns_its_epoch_when_it_asks_again() {
    for version in [V0, V2] {
        let settings = TransactionSettings { version, ..TransactionSettings::default() };
        let mut world = World::new(settings);
        let first = world.init("a", None).unwrap();
        world.add("a", first, version).unwrap();
        assert!(world.partitions.write(&partition(0), first, 1));
        assert_eq!(world.init("a", None), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        assert_eq!(world.partitions.fates[&1], BTreeSet::from([false]));
        assert!(!world.partitions.write(&partition(0), first, 2), "fenced");
        let second = world.init("a", None).unwrap();
        assert_eq!(second.epoch, ProducerEpoch(2));
        assert_eq!(world.end("a", first, true, version), Err(ErrorCode::PRODUCER_FENCED));
    }
}

#[test]
fn one_change_at_a_time() {
    let mut world = World::new(TransactionSettings::default());
    let producer = world.init("a", None).unwrap();
    let adding = world.ask(&add("a", producer, &[0], V0));
    for request in [init("a", None), add("a", producer, &[1], V0), end("a", producer, true, V0)] {
        let id = world.ask(&request);
        assert_eq!(world.answers.remove(&id), Some(request.refuse(ErrorCode::CONCURRENT_TRANSACTIONS)));
    }
    world.drain();
    assert_eq!(world.answers.remove(&adding), Some(Answer::AddPartitions(Ok(()))));
    // What the log refuses has not happened.
    let ending = world.ask(&end("a", producer, true, V0));
    world.acknowledge(Err(ErrorCode::KAFKA_STORAGE_ERROR));
    assert_eq!(world.answers.remove(&ending), Some(Answer::EndTxn(Err(ErrorCode::NOT_COORDINATOR))));
    assert_eq!(world.coordinator.transaction("a").unwrap().state, TransactionState::Ongoing);
    // An end that is decided is recorded as told in the end, though its record fails once.
    let ending = world.ask(&end("a", producer, true, V0));
    world.acknowledge(Ok(()));
    assert_eq!(world.answers.remove(&ending), Some(Answer::EndTxn(Ok(producer))));
    world.drain();
    assert_eq!(world.answer(&add("a", producer, &[1, 2], V0)), Answer::AddPartitions(Ok(())));
    let ending = world.ask(&end("a", producer, false, V0));
    world.acknowledge(Ok(()));
    world.mark(0, Marked::NotYet);
    world.mark(0, Marked::Gone);
    world.pass(100);
    assert_eq!(world.marks.len(), 1);
    world.mark(0, Marked::Written);
    world.acknowledge(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(world.coordinator.transaction("a").unwrap().state, TransactionState::PrepareAbort);
    world.pass(100);
    world.drain();
    assert_eq!(world.coordinator.transaction("a").unwrap().state, TransactionState::CompleteAbort);
    assert_eq!(world.answers.remove(&ending), Some(Answer::EndTxn(Ok(producer))));
}

/// The answers to claims, which there must be.
fn claimed(world: &mut World, claims: &[RequestId]) -> Vec<Result<(), ErrorCode>> {
    let answers = claims.iter().map(|id| match world.answers.remove(id) {
        Some(Answer::ClaimPartition(result)) => result,
        other => panic!("{other:?}"),
    });
    answers.collect()
}

#[test]
fn claims_wait_for_the_end_of_the_transaction_before_and_become_one_change() {
    let mut world = World::new(TransactionSettings::default());
    let first = world.init("a", None).unwrap();
    let opening = [0, 1, 1].map(|index| world.ask(&claim("a", first, index)));
    assert_eq!(world.appends.len(), 1, "the others wait for the first");
    world.acknowledge(Ok(()));
    assert_eq!(claimed(&mut world, &opening[..1]), [Ok(())]);
    assert_eq!(world.appends.len(), 1, "and then come together");
    world.acknowledge(Ok(()));
    assert_eq!(claimed(&mut world, &opening[1..]), [Ok(()), Ok(())]);
    let again = world.ask(&claim("a", first, 1));
    assert_eq!(claimed(&mut world, &[again]), [Ok(())], "it takes part already");

    let ending = world.ask(&end("a", first, true, V2));
    world.acknowledge(Ok(()));
    assert_eq!(world.answers.remove(&ending), Some(Answer::EndTxn(Ok(next_epoch(first)))));
    let second = next_epoch(first);
    let waiting = [claim("a", second, 0), claim("a", second, 2), claim("a", first, 0)].map(|asked| world.ask(&asked));
    world.mark(0, Marked::Written);
    world.mark(0, Marked::Written);
    assert!(!world.answers.contains_key(&waiting[0]), "the end is not recorded as told yet");
    world.acknowledge(Ok(()));
    assert_eq!(claimed(&mut world, &waiting[2..]), [Err(ErrorCode::PRODUCER_FENCED)]);
    assert_eq!(world.appends.len(), 1);
    world.acknowledge(Ok(()));
    assert_eq!(claimed(&mut world, &waiting[..2]), [Ok(()), Ok(())]);
    let known = world.coordinator.transaction("a").unwrap();
    assert_eq!(known.partitions, BTreeSet::from([partition(0), partition(2)]));

    // Patience has an end, and so has a coordinator.
    world.ask(&end("a", second, true, V2));
    let impatient = world.ask(&claim("a", second, 0));
    world.pass(99);
    assert!(!world.answers.contains_key(&impatient));
    world.pass(1);
    assert_eq!(claimed(&mut world, &[impatient]), [Err(ErrorCode::CONCURRENT_TRANSACTIONS)]);
    let late = world.ask(&claim("a", second, 0));
    let coordinator = TransactionLoader::new(TransactionSettings::default(), 1).finish(world.now).0;
    let effects = std::mem::replace(&mut world.coordinator, coordinator).resign();
    world.perform(effects);
    assert_eq!(claimed(&mut world, &[late]), [Err(ErrorCode::NOT_COORDINATOR)]);
}

#[test]
fn claims_of_what_cannot_be_recorded_or_is_forgotten_are_refused() {
    let mut world = World::new(TransactionSettings::default());
    let producer = world.init("a", None).unwrap();
    let claims = [0, 1].map(|index| world.ask(&claim("a", producer, index)));
    world.acknowledge(Err(ErrorCode::NOT_ENOUGH_REPLICAS));
    world.acknowledge(Ok(()));
    assert_eq!(claimed(&mut world, &claims), [Err(ErrorCode::COORDINATOR_NOT_AVAILABLE), Ok(())]);
    world.end("a", producer, true, V2).unwrap();
    world.pass(7 * 24 * 3_600_000 + 3_600_000);
    let late = world.ask(&claim("a", next_epoch(producer), 0));
    world.acknowledge(Ok(()));
    assert_eq!(claimed(&mut world, &[late]), [Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)]);
    for nobody in ["", "b"] {
        assert!(matches!(world.answer(&claim(nobody, producer, 0)), Answer::ClaimPartition(Err(_))));
    }
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut world = World::new(TransactionSettings::default());
    let producer = world.init("a", None).unwrap();
    world.add("a", producer, V2).unwrap();
    world.pass(u64::try_from(TIMEOUT_MS).unwrap());
    assert!(world.appends.is_empty(), "not yet");
    world.pass(10_000);
    world.drain();
    assert_eq!(world.coordinator.transaction("a").unwrap().state, TransactionState::CompleteAbort);
    assert_eq!(world.end("a", producer, true, V2), Err(ErrorCode::INVALID_TXN_STATE));
    // Nothing is left to be told, so nothing happens again.
    world.pass(1_000_000);
    assert!(world.appends.is_empty() && world.marks.is_empty());
}

#[test]
fn an_id_that_nobody_uses_is_forgotten() {
    let settings = TransactionSettings { batch_bytes_max: 200, ..TransactionSettings::default() };
    let mut world = World::new(settings);
    for id in ["a", "b", "c", "d"] {
        world.init(id, None).unwrap();
    }
    let open = world.init("open", None).unwrap();
    world.add("open", open, V2).unwrap();
    let week_ms = 7 * 24 * 3_600_000;
    // Its transaction is aborted on the way, which is a use.
    world.pass(week_ms - 3_600_000);
    world.drain();
    assert_eq!(world.coordinator.transactional_id_count(), 5);
    world.pass(2 * 3_600_000);
    assert!(world.appends.len() > 1, "they do not fit one batch");
    assert_eq!(
        world.add("a", ProducerIdAndEpoch { id: ProducerId(1_001), epoch: ProducerEpoch(0) }, V0),
        Err(ErrorCode::CONCURRENT_TRANSACTIONS)
    );
    world.drain();
    assert_eq!(world.coordinator.transactional_id_count(), 1);
    assert_eq!(world.init("a", None).unwrap().epoch, ProducerEpoch(0), "it begins anew");
    world.crash(0);
    assert_eq!(world.coordinator.transactional_id_count(), 2);
}

#[test]
fn epochs_run_out() {
    let mut world = World::new(TransactionSettings::default());
    let first = world.init("a", None).unwrap();
    let old = Transaction { epoch: EPOCH_LAST, ..world.coordinator.transaction("a").unwrap().clone() };
    world.coordinator.replay("a".into(), Some(old.clone()));
    let last = ProducerIdAndEpoch { epoch: EPOCH_LAST, ..first };
    world.add("a", last, V2).unwrap();
    let next = world.end("a", last, true, V2).unwrap();
    assert_eq!(next.epoch, ProducerEpoch(0));
    assert_ne!(next.id, first.id);
    assert_eq!(world.end("a", last, true, V2), Ok(next), "the answer was lost");
    world.add("a", next, V2).unwrap();
    world.coordinator.replay("a".into(), Some(old));
    let anew = world.init("a", Some(last)).unwrap();
    assert_eq!((anew.epoch, anew.id == last.id), (ProducerEpoch(0), false));
    assert_eq!(world.init("a", Some(last)), Ok(anew), "the answer was lost");
}

#[test]
fn a_producer_that_goes_on_keeps_its_id() {
    let mut world = World::new(TransactionSettings::default());
    let first = world.init("a", None).unwrap();
    let second = world.init("a", Some(first)).unwrap();
    assert_eq!(second, next_epoch(first));
    assert_eq!(world.init("a", Some(first)), Ok(second), "the answer was lost");
    let third = world.init("a", None).unwrap();
    assert_eq!(world.init("a", Some(first)), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.init("a", Some(second)), Err(ErrorCode::PRODUCER_FENCED));
    let other = ProducerIdAndEpoch { id: ProducerId(7), ..third };
    assert_eq!(world.init("a", Some(other)), Err(ErrorCode::PRODUCER_FENCED));
}

/// A producer, which may have a successor that it does not know of.
#[derive(Clone, Debug)]
struct Client {
    id: &'static str,
    version: TransactionVersion,
    producer: Option<ProducerIdAndEpoch>,
    /// Number of the transaction that it writes, if it does.
    transaction: Option<u64>,
    /// What it has asked for and not heard of.
    waits: Option<(RequestId, Request)>,
    /// How it has decided to end it.
    ending: Option<bool>,
}

impl Client {
    fn new(id: &'static str, version: TransactionVersion) -> Self {
        Self { id, version, producer: None, transaction: None, waits: None, ending: None }
    }
}

/// What was promised to clients: the number of a transaction, and how it ended.
type Promises = BTreeMap<u64, bool>;

fn hear(client: &mut Client, answer: Answer, promises: &mut Promises) {
    let Some((_, request)) = client.waits.take() else { return };
    match (answer, request) {
        (Answer::InitProducerId(result), _) => {
            client.producer = result.ok();
            (client.transaction, client.ending) = (None, None);
        }
        (Answer::EndTxn(Ok(producer)), Request::EndTxn(asked)) => {
            client.producer = Some(if client.version.raises_epoch() { producer } else { asked.producer });
            if let Some(transaction) = client.transaction.take() {
                promises.insert(transaction, asked.commit);
            }
            client.ending = None;
        }
        (Answer::EndTxn(Err(ErrorCode::CONCURRENT_TRANSACTIONS | ErrorCode::NOT_COORDINATOR)), _)
        | (
            Answer::AddPartitions(Ok(()) | Err(ErrorCode::CONCURRENT_TRANSACTIONS))
            | Answer::ClaimPartition(Ok(()) | Err(ErrorCode::CONCURRENT_TRANSACTIONS)),
            _,
        ) => {}
        // Fenced, or it does not know how it stands: it begins anew.
        _ => *client = Client::new(client.id, client.version),
    }
}

fn act(client: &mut Client, world: &mut World, random: &mut Random, next_transaction: &mut u64) {
    if let Some((id, request)) = client.waits.clone() {
        // It has not heard, and asks again. The first question may still be on its way.
        if random.once_in(4) {
            world.answers.remove(&id);
            client.waits = Some((world.ask(&request), request));
        }
        return;
    }
    let Some(producer) = client.producer else {
        let request = init(client.id, None);
        client.waits = Some((world.ask(&request), request));
        return;
    };
    if let (Some(commit), Some(_)) = (client.ending, client.transaction) {
        let request = end(client.id, producer, commit, client.version);
        client.waits = Some((world.ask(&request), request));
        return;
    }
    let transaction = *client.transaction.get_or_insert_with(|| {
        *next_transaction += 1;
        *next_transaction
    });
    let index = i32::try_from(random.below(3)).unwrap();
    let takes_part = world.coordinator.transaction(client.id).is_some_and(|known| {
        known.state == TransactionState::Ongoing
            && known.identity() == producer
            && known.partitions.contains(&partition(index))
    });
    if takes_part {
        world.partitions.write(&partition(index), producer, transaction);
        if random.once_in(2) {
            client.ending = Some(!random.once_in(3));
        }
    } else {
        let request = match client.version.raises_epoch() {
            true => claim(client.id, producer, index),
            false => add(client.id, producer, &[index], client.version),
        };
        client.waits = Some((world.ask(&request), request));
    }
}

#[test]
fn every_transaction_ends_as_it_was_promised_and_everywhere_alike() {
    let mut committed = 0;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let version = *random.pick(&[V0, V2]);
        let mut world = World::new(TransactionSettings { version, ..TransactionSettings::default() });
        let mut clients: Vec<Client> = ["a", "a", "b", "c"].map(|id| Client::new(id, *random.pick(&[V0, V2]))).into();
        // Two clients of one id know the same ways.
        clients[1].version = clients[0].version;
        let (mut promises, mut next_transaction) = (Promises::new(), 0);
        for _ in 0..300 {
            match random.below(12) {
                0..5 => {
                    let at = random.below(clients.len());
                    act(&mut clients[at], &mut world, &mut random, &mut next_transaction);
                }
                5..8 => {
                    let result = if random.once_in(10) { Err(ErrorCode::NOT_ENOUGH_REPLICAS) } else { Ok(()) };
                    world.acknowledge(result);
                }
                8..10 if !world.marks.is_empty() => {
                    let at = random.below(world.marks.len());
                    world.mark(at, if random.once_in(5) { Marked::NotYet } else { Marked::Written });
                }
                10 => world.pass(u64::try_from(random.below(3_000)).unwrap()),
                11 if random.once_in(10) => {
                    let written = random.below(world.appends.len() + 1);
                    world.crash(written);
                }
                11 if random.once_in(20) => world.pass(80_000),
                _ => {}
            }
            for client in &mut clients {
                if let Some((id, _)) = &client.waits
                    && let Some(answer) = world.answers.remove(id)
                {
                    hear(client, answer, &mut promises);
                }
            }
        }
        // Everybody goes away; what is open is aborted when its time is up.
        for _ in 0..20 {
            world.pass(20_000);
            world.drain();
        }
        for (at, writer) in &world.partitions.writers {
            assert!(writer.open.is_empty(), "seed {seed}: {at:?} hangs");
        }
        for (transaction, fates) in &world.partitions.fates {
            assert_eq!(fates.len(), 1, "seed {seed}: transaction {transaction} is both committed and aborted");
            if let Some(promised) = promises.get(transaction) {
                assert_eq!(fates.first(), Some(promised), "seed {seed}: transaction {transaction}");
                committed += usize::from(*promised);
            }
        }
    }
    assert!(committed > 500, "{committed} committed transactions are too few to say anything");
}

#[test]
fn records_are_kafkas() {
    let transaction = Transaction {
        state: TransactionState::PrepareCommit,
        partitions: BTreeSet::from([partition(1), partition(2)]),
        epoch: ProducerEpoch(3),
        next_producer: ProducerId(9),
        started: Timestamp(5),
        version: V2,
        ..Transaction::new(ProducerId(4), 60_000, Timestamp(6))
    };
    let record = super::log_record::encode(&"id".into(), &transaction, V2).unwrap();
    assert_eq!(record.key[..], [0, 0, 0, 2, b'i', b'd']);
    let value = record.value.clone().unwrap();
    assert_eq!(value[..2], [0, 1]);
    let decoded = super::log_record::decode(Some(record.key), Some(value)).unwrap();
    assert_eq!(
        decoded,
        super::log_record::DecodedRecord::Transaction("id".into(), Some(Box::new(transaction.clone())))
    );
    // Version 0 says nothing of other producers, nor of how the client does it.
    let record = super::log_record::encode(&"id".into(), &transaction, V0).unwrap();
    let decoded = super::log_record::decode(Some(record.key), record.value).unwrap();
    let plain = Transaction { next_producer: ProducerId(-1), version: V0, ..transaction };
    assert_eq!(decoded, super::log_record::DecodedRecord::Transaction("id".into(), Some(Box::new(plain))));
    let gone = super::log_record::tombstone(&KafkaString::from("id")).unwrap();
    let decoded = super::log_record::decode(Some(gone.key), gone.value).unwrap();
    assert_eq!(decoded, super::log_record::DecodedRecord::Transaction("id".into(), None));
}
