//! A client and the fake broker, with the network and the clock between them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use super::fake_broker::{FakeBroker, TOPIC};
use crate::base::{Monotonic, PartitionIndex, Timestamp};
use crate::client::*;
use crate::protocol::Request;
use crate::protocol::wire::{Frame, next_frame};

/// Client and broker with the network between them.
pub(super) struct World {
    pub(super) now: Monotonic,
    pub(super) client: Client,
    pub(super) broker: FakeBroker,
    /// What the broker has received and not cut into frames, for each connection.
    pub(super) links: BTreeMap<LinkId, BytesMut>,
    /// Addresses at which nobody listens.
    pub(super) unreachable: BTreeSet<String>,
    /// Bytes that the client gets at once.
    pub(super) chunk_bytes: usize,
    /// Damages some answers, if it is there.
    pub(super) damage: Option<Random>,
}

impl World {
    pub(super) fn new(broker: FakeBroker) -> Self {
        Self::with_bootstrap(broker, &["broker:9092"])
    }

    pub(super) fn with_bootstrap(broker: FakeBroker, bootstrap: &[&str]) -> Self {
        let config = ClientConfig::new(bootstrap.iter().map(|text| Address::parse(text).unwrap()).collect());
        let mut client = Client::new(config);
        client.want_topic(TOPIC);
        Self {
            now: Monotonic(1),
            client,
            broker,
            links: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            chunk_bytes: usize::MAX,
            damage: None,
        }
    }

    /// Moves bytes until nothing moves. Returns the answers that came.
    pub(super) fn exchange(&mut self) -> Vec<(RequestId, Result<Answer, RequestError>)> {
        self.client.advance(self.now);
        let mut answers = Vec::new();
        loop {
            let mut moved = false;
            while let Some(link) = self.client.poll_close() {
                self.links.remove(&link);
            }
            while let Some((link, address)) = self.client.poll_connect(self.now) {
                moved = true;
                if self.unreachable.contains(&address.to_string()) {
                    self.client.handle_closed(self.now, link, "nobody listens".to_owned());
                } else {
                    self.links.insert(link, BytesMut::new());
                    self.client.handle_open(link);
                }
            }
            while let Some((link, bytes)) = self.client.poll_transmit() {
                moved = true;
                self.links.get_mut(&link).unwrap().extend_from_slice(&bytes);
            }
            for link in self.links.keys().copied().collect::<Vec<_>>() {
                moved |= self.serve(link);
            }
            while let Some(answer) = self.client.poll_answer(self.now) {
                moved = true;
                answers.push(answer);
            }
            if !moved {
                return answers;
            }
        }
    }

    pub(super) fn serve(&mut self, link: LinkId) -> bool {
        let mut moved = false;
        while let Some(buffer) = self.links.get_mut(&link) {
            let Frame::Complete(frame) = next_frame(buffer, 1 << 30).unwrap() else { break };
            moved = true;
            match self.broker.serve(frame) {
                Ok(None) => {}
                Ok(Some(mut answer)) => {
                    if let Some(random) = &mut self.damage {
                        random.damage(&mut answer);
                    }
                    for chunk in answer.chunks(self.chunk_bytes.min(answer.len())) {
                        self.client.handle_bytes(self.now, link, chunk);
                    }
                }
                Err(()) => {
                    self.links.remove(&link);
                    self.client.handle_closed(self.now, link, "connection reset".to_owned());
                }
            }
        }
        moved
    }

    /// Lets the clock jump to whatever is due next.
    pub(super) fn wait(&mut self, other: Option<Monotonic>) {
        let next = [self.client.poll_timeout(), other].into_iter().flatten().min();
        self.now = next.map_or(self.now.plus_ms(1), |next| next.max(Monotonic(self.now.0 + 1)));
    }

    pub(super) fn call<R: Request + Send + 'static>(&mut self, request: R) -> Result<R::Response, RequestError> {
        let id = self.client.send(self.now, Target::Any, request);
        for _ in 0..1_000 {
            for (answered, result) in self.exchange() {
                if answered == id {
                    return result.map(|answer| answer.decode::<R>().unwrap());
                }
            }
            self.wait(None);
        }
        panic!("no answer");
    }

    /// Drives a producer until everything it has is settled.
    pub(super) fn settle(&mut self, producer: &mut Producer) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        for _ in 0..10_000 {
            let is_quiet = !self.drive(producer);
            deliveries.extend(std::iter::from_fn(|| producer.poll_delivery()));
            if producer.is_idle() {
                return deliveries;
            }
            if is_quiet {
                self.wait(producer.poll_timeout(self.now));
            }
        }
        panic!("the producer does not settle: {:?} {:?}", self.now, self.broker.seen.len());
    }

    /// Sends what is due and takes the answers; false if nothing came.
    pub(super) fn drive(&mut self, producer: &mut Producer) -> bool {
        producer.advance(self.now, &mut self.client);
        let answers = self.exchange();
        let is_active = !answers.is_empty();
        for (id, result) in answers {
            assert!(producer.handle_answer(self.now, &mut self.client, id, result).is_ok());
        }
        is_active
    }

    pub(super) fn connect(&mut self) {
        self.exchange();
        assert!(matches!(self.client.cluster().topic(TOPIC), Some(Ok(_))), "{:?}", self.client.metadata_failure());
    }

    pub(super) fn append(
        &self,
        producer: &mut Producer,
        partition: Option<i32>,
        value: &[u8],
    ) -> Result<RecordId, AppendError> {
        let record = RecordToSend { timestamp: Timestamp(5), key: None, value: Some(value), headers: &[] };
        producer.append(self.now, &self.client, TOPIC, partition.map(PartitionIndex), &record, 0)
    }

    /// Drives a consumer until it has read all there is, and returns values by partition.
    pub(super) fn read_to_end(&mut self, consumer: &mut Consumer) -> BTreeMap<i32, Vec<(i64, Vec<u8>)>> {
        let mut read: BTreeMap<i32, Vec<(i64, Vec<u8>)>> = BTreeMap::new();
        for _ in 0..10_000 {
            consumer.advance(self.now, &mut self.client);
            let answers = self.exchange();
            let is_quiet = answers.is_empty();
            for (id, result) in answers {
                assert!(consumer.handle_answer(self.now, &mut self.client, id, result).is_ok());
            }
            while let Some(batch) = consumer.poll_batch() {
                let values = read.entry(batch.partition.0).or_default();
                values.extend(batch.records().map(|(offset, _, record)| (offset.0, record.value.unwrap().to_vec())));
            }
            if consumer.is_at_end() {
                return read;
            }
            if is_quiet {
                self.wait(consumer.poll_timeout(self.now));
            }
        }
        panic!("the consumer does not reach the end: {:?} {:?}", self.now, self.broker.seen.len());
    }
}

pub(super) fn options() -> ProducerOptions {
    ProducerOptions { batch_bytes_max: 300, ..ProducerOptions::default() }
}

/// A small generator: the seed is all that there is to a failure.
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Changes, cuts out or repeats a few bytes of a frame, often with its size made right again.
    fn damage(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let length = u64::try_from(frame.len()).unwrap();
            let at = usize::try_from(self.below(length)).unwrap();
            match self.below(4) {
                0 => frame[at] = u8::try_from(self.below(256)).unwrap(),
                1 => frame[at] ^= 1 << self.below(8),
                2 if frame.len() > 20 => drop(frame.drain(at..(at + 3).min(frame.len()))),
                _ => frame.extend_from_within(at..),
            }
        }
        if self.below(8) > 0 {
            let size = i32::try_from(frame.len() - 4).unwrap();
            frame[..4].copy_from_slice(&size.to_be_bytes());
        }
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
