//! A producer that sends as fast as it is told, and the latency of each record.
//!
//! With a rate, load is open: a record is due at its time whether or not those before it were acknowledged, and its
//! latency counts from then, so that a stall of the broker is charged for everything that piled up behind it. Without a
//! rate, records are due when there is room for them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corelane_core::base::Monotonic;
use corelane_core::client::{
    Acks, AppendError, Delivery, DeliveryError, ErrorCode, Producer, ProducerOptions, RecordToSend, RequestError,
    TransactionOptions,
};
use corelane_core::record::Header;

use crate::crew::{self, Course, Placement, PlacementError, Slot, Watch};
use crate::driver::{Cluster, Driver, Traffic};
use crate::payload::{RecordMaker, RecordSpec, Text};
use crate::report::{Report, pace, wall_clock};

/// Time that a topic which is not there has to appear: a broker may create it when it is named.
const TOPIC_APPEARS_MS: u64 = 5_000;
/// Records that a thread makes in one go before the sockets are looked at.
const BURST_RECORDS_MAX: u64 = 1_000;
/// Milliseconds after which a thread looks whether another one has failed.
const LOOK_MS: u64 = 100;

/// What to send.
#[derive(Clone, Debug)]
pub struct ProducerLoad {
    /// How to reach the cluster.
    pub cluster: Cluster,
    /// The topics; records go to each in turn.
    pub topics: Vec<String>,
    /// How many producers share the records, each with connections of its own.
    pub producers: u64,
    /// How many threads the producers are spread over, in turn; no more than there are producers.
    pub threads: usize,
    /// Where those run.
    pub placement: Placement,
    /// Records in all.
    pub records: u64,
    /// How many of them come before what is reported as the steady state.
    pub warmup_records: u64,
    /// Time between two interim reports.
    pub interval: Duration,
    /// What they hold.
    pub spec: RecordSpec,
    /// Records a second of all producers; `None` is as fast as possible.
    pub rate: Option<f64>,
    /// Records of each producer that may wait for the broker's word; 1 is one at a time.
    pub unacknowledged_max: Option<usize>,
    /// How to send.
    pub options: ProducerOptions,
    /// All in transactions that are committed one after the other.
    pub transactions: Option<TransactionLoad>,
}

/// Transactions of a load.
#[derive(Clone, Debug)]
pub struct TransactionLoad {
    /// The transactional id of the only producer; that of one of several has its number behind.
    pub transactional_id: String,
    /// Time from the first record of a transaction to its commit.
    pub duration: Duration,
    /// Milliseconds after which the broker aborts one that is open.
    pub timeout_ms: i32,
}

/// Why a load did not get to its end.
#[derive(Clone, Debug)]
pub enum LoadError {
    /// The cluster cannot be reached, or does not answer.
    Cluster(RequestError),
    /// The topic is not there and does not appear.
    Topic(String, ErrorCode),
    /// A record was refused before it was sent.
    Record(AppendError),
    /// Records were not acknowledged. A figure without them would be a lie.
    Delivery(DeliveryError),
    /// A transaction could not be begun or committed.
    Transaction(RequestError),
    /// A producer cannot run where it was told to.
    Placement(PlacementError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(error) => error.fmt(f),
            Self::Topic(topic, code) => write!(f, "topic {topic}: {code}"),
            Self::Record(error) => error.fmt(f),
            Self::Delivery(error) => write!(f, "records were not acknowledged: {error}"),
            Self::Transaction(error) => write!(f, "a transaction failed: {error}"),
            Self::Placement(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<PlacementError> for LoadError {
    fn from(error: PlacementError) -> Self {
        Self::Placement(error)
    }
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Produced {
    /// All of it over time.
    pub course: Course,
    /// What came after the warm-up, its time from when the first of its records was due.
    pub steady: Report,
    /// What has gone through the sockets.
    pub traffic: Traffic,
}

/// Sends the whole load, calling `interim` now and then with what was acknowledged since the last time.
///
/// # Errors
/// What kept a record from being acknowledged.
pub fn run(load: &ProducerLoad, interim: impl FnMut(&Report)) -> Result<Produced, LoadError> {
    let text = Arc::new(Text::of(&load.spec));
    let watch = Watch::new(load.interval, interim);
    let threads = load.threads.min(usize::try_from(load.producers).unwrap_or(usize::MAX));
    let (course, shares) = crew::run(&load.placement, threads, watch, |slot| produce(load, &text, slot, threads))?;
    let (mut steady, mut traffic) = (Report::new(), Traffic::default());
    for (its_steady, its_traffic) in shares.iter().flatten() {
        steady.merge(its_steady);
        traffic.add(its_traffic);
    }
    Ok(Produced { course, steady, traffic })
}

/// Records that wait for the broker's word: number and due time of each, by its id. Ids are given in order, and most are
/// settled in order.
#[derive(Default)]
struct Underway {
    first_id: u64,
    records: VecDeque<Option<(u64, Monotonic, usize)>>,
    /// How many of them still wait.
    count: usize,
}

impl Underway {
    fn add(&mut self, id: u64, number: u64, due: Monotonic, bytes: usize) {
        if self.records.is_empty() {
            self.first_id = id;
        }
        self.records.push_back(Some((number, due, bytes)));
        self.count += 1;
    }

    fn settle(&mut self, id: u64) -> Option<(u64, Monotonic, usize)> {
        let at = usize::try_from(id.checked_sub(self.first_id)?).ok()?;
        let settled = self.records.get_mut(at)?.take();
        self.count -= usize::from(settled.is_some());
        while self.records.front().is_some_and(Option::is_none) {
            self.records.pop_front();
            self.first_id += 1;
        }
        settled
    }
}

/// Has every so many-th producer send its share; gives of each the report of what came after the warm-up.
fn produce(
    load: &ProducerLoad,
    text: &Arc<Text>,
    slot: &Slot<'_>,
    threads: usize,
) -> Result<Vec<(Report, Traffic)>, LoadError> {
    let indices = (slot.index as u64..load.producers).step_by(threads);
    let burst_max = (BURST_RECORDS_MAX / indices.clone().count() as u64).max(1);
    let epoch = Instant::now();
    let mut shares = indices.map(|index| Share::new(load, text, index, epoch)).collect::<Result<Vec<_>, _>>()?;
    let mut ended = Vec::with_capacity(shares.len());
    let start = shares.first().map_or(Monotonic(0), |share| share.driver.now());
    let mut ready: Vec<usize> = (0..shares.len()).collect();
    loop {
        // From behind, so that those which have ended leave the numbers of the others as they are.
        for &index in ready.iter().rev() {
            let Some(share) = shares.get_mut(index) else { continue };
            if let Some(end) = share.turn(slot, start, burst_max)? {
                ended.push(end);
                shares.remove(index);
            }
        }
        if shares.is_empty() {
            return Ok(ended);
        }
        let deadline = shares.iter().map(|share| share.wake).min();
        let mut drivers: Vec<&mut Driver> = shares.iter_mut().map(|share| &mut share.driver).collect();
        ready = Driver::wait_for_any(&mut drivers, deadline);
        let now = shares.first().map_or(start, |share| share.driver.now());
        let due = shares.iter().enumerate().filter(|(_, share)| share.wake <= now).map(|(index, _)| index);
        ready.extend(due);
        ready.sort_unstable();
        ready.dedup();
    }
}

/// The share of one producer, which is every so many-th record.
struct Share<'a> {
    load: &'a ProducerLoad,
    driver: Driver,
    producer: Producer,
    maker: RecordMaker,
    headers: Vec<Header<'a>>,
    transaction: Option<Transaction>,
    underway: Underway,
    /// Number of its next record among all of the load.
    number: u64,
    steady: Report,
    /// When the first record behind the warm-up was due.
    steady_start: Option<Monotonic>,
    /// When there is something to do though nothing has come in.
    wake: Monotonic,
}

impl<'a> Share<'a> {
    fn new(load: &'a ProducerLoad, text: &Arc<Text>, index: u64, epoch: Instant) -> Result<Self, LoadError> {
        let mut driver = load.cluster.driver_since(epoch);
        for topic in &load.topics {
            wait_for_topic(&mut driver, topic)?;
        }
        let mut producer = producer_of(load, index);
        wait_until_initialized(&mut driver, &mut producer)?;
        Ok(Self {
            load,
            driver,
            producer,
            maker: RecordMaker::new(&load.spec, Arc::clone(text), index),
            headers: load.spec.headers.list(),
            transaction: load.transactions.as_ref().map(|each| Transaction::new(each.duration)),
            underway: Underway::default(),
            number: index,
            steady: Report::new(),
            steady_start: None,
            wake: Monotonic(0),
        })
    }

    /// Takes in what was answered and sends what is due, at most `burst_max` records. Gives what it came to once all of it is
    /// acknowledged.
    fn turn(
        &mut self,
        slot: &Slot<'_>,
        start: Monotonic,
        burst_max: u64,
    ) -> Result<Option<(Report, Traffic)>, LoadError> {
        // What was answered makes room for the records behind it.
        self.driver.client.advance(self.driver.now());
        while let Some((id, result)) = self.driver.poll_answer() {
            let _ = self.producer.handle_answer(self.driver.now(), &mut self.driver.client, id, result);
        }
        self.count_deliveries(slot)?;
        let load = self.load;
        let unacknowledged_max = load.unacknowledged_max.unwrap_or(usize::MAX);
        let burst = self.send_due(start, burst_max, unacknowledged_max)?;
        let is_sent = self.number >= load.records;
        if is_sent {
            self.producer.flush();
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.turn(self.driver.now(), is_sent, &mut self.producer)?;
        }
        let now = self.driver.now();
        let is_open = self.transaction.as_ref().is_some_and(|transaction| transaction.due.is_some());
        if (is_sent && self.producer.is_idle() && !is_open) || slot.is_over() {
            if load.options.acks == Acks::None {
                self.driver.wait_until_taken(&load.topics).map_err(LoadError::Cluster)?;
            }
            let end = self.driver.now();
            self.steady.seconds = self.steady_start.map_or(0.0, |begun| end.since_ns(begun) as f64 / 1e9);
            return Ok(Some((std::mem::replace(&mut self.steady, Report::new()), self.driver.traffic())));
        }
        self.producer.advance(now, &mut self.driver.client);
        let of_client = self.driver.advance();
        let is_ending = self.transaction.as_ref().is_some_and(|transaction| transaction.is_ending);
        let may_send = !is_sent && self.underway.count < unacknowledged_max && !is_ending;
        let ends_at = self.transaction.as_ref().and_then(|transaction| transaction.due).filter(|_| !is_ending);
        let next_due = load.rate.filter(|_| may_send).map(|rate| due_at(start, self.number, rate));
        let more_now = load.rate.is_none() && may_send && burst == burst_max;
        let wake = [of_client, self.producer.poll_timeout(now), next_due, more_now.then_some(now), ends_at];
        let look = now.plus_ms(LOOK_MS);
        self.wake = wake.into_iter().flatten().fold(look, Monotonic::min);
        Ok(None)
    }

    /// Counts what was acknowledged.
    fn count_deliveries(&mut self, slot: &Slot<'_>) -> Result<(), LoadError> {
        while let Some(Delivery { records, result, .. }) = self.producer.poll_delivery() {
            result.map_err(LoadError::Delivery)?;
            let now = self.driver.now();
            for id in records {
                let Some((number, due, bytes)) = self.underway.settle(id.0) else { continue };
                let latency = Duration::from_nanos(now.since_ns(due));
                slot.add(bytes, latency);
                if self.load.warmup_records > 0 && number >= self.load.warmup_records {
                    self.steady_start = Some(self.steady_start.map_or(due, |first| first.min(due)));
                    self.steady.add(bytes, latency);
                }
            }
        }
        Ok(())
    }

    /// Hands the records that are due to the producer, as far as there is room; how many that were.
    fn send_due(&mut self, start: Monotonic, burst_max: u64, unacknowledged_max: usize) -> Result<u64, LoadError> {
        let load = self.load;
        let now = self.driver.now();
        let timestamp = wall_clock();
        let mut burst = 0;
        let is_ending = self.transaction.as_ref().is_some_and(|transaction| transaction.is_ending);
        while self.number < load.records && burst < burst_max && self.underway.count < unacknowledged_max && !is_ending
        {
            let due = load.rate.map_or(now, |rate| due_at(start, self.number, rate));
            if due > now {
                break;
            }
            let Some(topic) = load.topics.get((self.number % load.topics.len() as u64) as usize) else { break };
            let (key, value) = self.maker.make(self.number);
            let record = RecordToSend { timestamp, key, value: Some(value), headers: &self.headers };
            // Any bits do for spreading records over partitions.
            let random = (now.0 >> 10) as u32 ^ self.number as u32;
            match self.producer.append(now, &self.driver.client, topic, None, &record, random) {
                Ok(id) => {
                    self.underway.add(id.0, self.number, due, value.len());
                    self.transaction.iter_mut().for_each(|transaction| transaction.begin(now));
                }
                Err(AppendError::BufferFull | AppendError::TopicUnknown) => break,
                Err(AppendError::Topic(code)) if code.is_retriable() => break,
                Err(error) => return Err(LoadError::Record(error)),
            }
            self.number += load.producers;
            burst += 1;
        }
        Ok(burst)
    }
}

fn producer_of(load: &ProducerLoad, index: u64) -> Producer {
    match &load.transactions {
        None => Producer::new(load.options),
        Some(TransactionLoad { transactional_id, timeout_ms, .. }) => {
            let transactional_id = match load.producers {
                1 => transactional_id.clone(),
                _ => format!("{transactional_id}-{index}"),
            };
            Producer::transactional(load.options, TransactionOptions { transactional_id, timeout_ms: *timeout_ms })
        }
    }
}

/// A transactional producer asks who it is before the first record is due.
fn wait_until_initialized(driver: &mut Driver, producer: &mut Producer) -> Result<(), LoadError> {
    while !producer.is_initialized() {
        producer.advance(driver.now(), &mut driver.client);
        let now = driver.now();
        driver.turn(Some(producer.poll_timeout(now).map_or(now.plus_ms(LOOK_MS), |at| at.min(now.plus_ms(LOOK_MS)))));
        while let Some((id, result)) = driver.poll_answer() {
            let _ = producer.handle_answer(driver.now(), &mut driver.client, id, result);
        }
        if let Some(Err(error)) = producer.poll_end() {
            return Err(LoadError::Transaction(error));
        }
    }
    Ok(())
}

/// The transaction that a producer writes in.
struct Transaction {
    duration: Duration,
    /// When it is to be committed, if it has begun.
    due: Option<Monotonic>,
    is_ending: bool,
}

impl Transaction {
    fn new(duration: Duration) -> Self {
        Self { duration, due: None, is_ending: false }
    }

    /// A record is in it.
    fn begin(&mut self, now: Monotonic) {
        let duration_ns = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        self.due.get_or_insert(Monotonic(now.0.saturating_add(duration_ns)));
    }

    /// Commits it when it is time, or nothing more comes, and takes note of what became of that.
    fn turn(&mut self, now: Monotonic, is_last: bool, producer: &mut Producer) -> Result<(), LoadError> {
        if !self.is_ending && self.due.is_some_and(|due| is_last || due <= now) {
            self.is_ending = true;
            producer.end_transaction(true);
        }
        while let Some(ended) = producer.poll_end() {
            ended.map_err(LoadError::Transaction)?;
            (self.is_ending, self.due) = (false, None);
        }
        Ok(())
    }
}

/// When record number `sent` is due.
fn due_at(start: Monotonic, sent: u64, rate: f64) -> Monotonic {
    Monotonic(start.0.saturating_add(u64::try_from(pace(sent, rate).as_nanos()).unwrap_or(u64::MAX)))
}

fn wait_for_topic(driver: &mut Driver, topic: &str) -> Result<(), LoadError> {
    driver.client.want_topic(topic);
    let deadline = driver.now().plus_ms(TOPIC_APPEARS_MS);
    loop {
        driver.turn(Some(deadline));
        while driver.poll_answer().is_some() {}
        if let Some(error) = driver.client.metadata_failure() {
            return Err(LoadError::Cluster(error.clone()));
        }
        match driver.client.cluster().topic(topic) {
            Some(Ok(_)) => return Ok(()),
            Some(Err(code)) if !code.is_retriable() || driver.now() >= deadline => {
                return Err(LoadError::Topic(topic.to_owned(), *code));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_settled_by_their_ids_in_any_order() {
        let mut underway = Underway::default();
        for id in 10..15 {
            underway.add(id, id * 3, Monotonic(id), 1);
        }
        assert_eq!(underway.settle(12), Some((36, Monotonic(12), 1)));
        assert_eq!(underway.settle(12), None, "only once");
        assert_eq!(underway.settle(10).map(|each| each.0), Some(30));
        assert_eq!(underway.settle(9), None);
        for id in [14, 11, 13] {
            assert_eq!(underway.settle(id).map(|each| each.0), Some(id * 3));
        }
        assert_eq!(underway.count, 0);
        underway.add(15, 45, Monotonic(15), 1);
        assert_eq!(underway.count, 1);
        assert_eq!(underway.settle(15).map(|each| each.0), Some(45));
    }
}
