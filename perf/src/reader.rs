//! Reading as a member of a group: what the member is given, a consumer fetches.

use std::fmt;

use corelane_core::base::{Monotonic, Offset};
use corelane_core::client::{
    Consumer, ConsumerError, ConsumerOptions, FetchedBatch, GroupMember, MemberError, MemberEvent, MemberOptions,
    StartOffset,
};

use crate::driver::Driver;

/// Why a reader cannot go on.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// The group does not have it.
    Member(MemberError),
    /// A partition cannot be read: topic, number, and why.
    Partition(String, i32, ConsumerError),
    /// The coordinator did not take the goodbye in time; what was read last may not be committed.
    NoGoodbye,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(error) => error.fmt(f),
            Self::Partition(topic, partition, error) => write!(f, "topic {topic}, partition {partition}: {error}"),
            Self::NoGoodbye => f.write_str("the coordinator does not answer"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A member of a group and what it reads with.
pub struct GroupReader {
    member: GroupMember,
    consumer: Consumer,
    options: ConsumerOptions,
    start: StartOffset,
    /// Since when it has had no partitions; none while it has an assignment.
    unassigned_since: Option<Monotonic>,
    rebalancing_ns: u64,
}

impl GroupReader {
    /// A reader that begins at `start` where the group has committed nothing.
    #[must_use]
    pub fn new(member: MemberOptions, options: ConsumerOptions, start: StartOffset, now: Monotonic) -> Self {
        Self {
            member: GroupMember::new(member),
            consumer: Consumer::new(options),
            options,
            start,
            unassigned_since: Some(now),
            rebalancing_ns: 0,
        }
    }

    /// Sends what is due, hands answers to whom they belong, takes partitions over and gives them back.
    pub fn step(&mut self, driver: &mut Driver) {
        self.advance(driver);
        while let Some((id, result)) = driver.poll_answer() {
            let now = driver.now();
            if let Err(result) = self.member.handle_answer(now, &mut driver.client, id, result) {
                // An answer to a consumer that is no more is nobody's.
                let _ = self.consumer.handle_answer(now, &mut driver.client, id, result);
            }
        }
        while let Some(event) = self.member.poll_event() {
            self.take(event, driver.now());
        }
        self.advance(driver);
    }

    /// Waits until something comes or is due, but not beyond `until`.
    pub fn wait(&mut self, driver: &mut Driver, until: Option<Monotonic>) {
        // Not a whole step: what that took in would wait for something else to end the turn.
        self.advance(driver);
        let now = driver.now();
        let due = [self.consumer.poll_timeout(now), self.member.poll_timeout(now), until];
        driver.turn(due.into_iter().flatten().min());
    }

    fn advance(&mut self, driver: &mut Driver) {
        let now = driver.now();
        self.member.advance(now, &mut driver.client);
        self.consumer.advance(now, &mut driver.client);
    }

    fn take(&mut self, event: MemberEvent, now: Monotonic) {
        self.consumer = Consumer::new(self.options);
        match event {
            MemberEvent::Revoked => {
                self.unassigned_since.get_or_insert(now);
            }
            MemberEvent::Assigned(partitions) => {
                if let Some(since) = self.unassigned_since.take() {
                    self.rebalancing_ns += now.since_ns(since);
                }
                for each in partitions {
                    let from = each.committed.map_or(self.start, StartOffset::At);
                    self.consumer.assign(&each.topic, each.partition, from);
                }
            }
        }
    }

    /// Takes the next batch.
    ///
    /// # Errors
    /// The group or a partition is lost for good.
    pub fn poll_batch(&mut self) -> Result<Option<FetchedBatch>, ReadError> {
        if let Some(error) = self.member.error() {
            return Err(ReadError::Member(error.clone()));
        }
        if let Some((topic, partition, error)) = self.consumer.poll_error() {
            return Err(ReadError::Partition(topic.to_string(), partition.0, error));
        }
        Ok(self.consumer.poll_batch())
    }

    /// Everything of a batch below `next` was read and may be committed.
    pub fn consumed(&mut self, batch: &FetchedBatch, next: Offset) {
        self.member.consumed(&batch.topic, batch.partition, next, batch.batch.header().leader_epoch());
    }

    /// It has an assignment, and has read all of it up to where it ended when it was last fetched.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.unassigned_since.is_none() && self.consumer.is_at_end()
    }

    /// Time without an assignment so far, in nanoseconds.
    #[must_use]
    pub fn rebalancing_ns(&self) -> u64 {
        self.rebalancing_ns
    }

    /// Commits what was read and leaves the group, waiting no longer than `deadline`.
    ///
    /// # Errors
    /// The member had failed, or the coordinator does not answer.
    pub fn leave(&mut self, driver: &mut Driver, deadline: Monotonic) -> Result<(), ReadError> {
        self.member.leave();
        // Nobody fetches for a reader that goes.
        self.consumer = Consumer::new(self.options);
        while !self.member.is_ended() && driver.now() < deadline {
            self.step(driver);
            if !self.member.is_ended() {
                self.wait(driver, Some(deadline));
            }
        }
        match self.member.error() {
            Some(error) => Err(ReadError::Member(error.clone())),
            None if !self.member.is_ended() => Err(ReadError::NoGoodbye),
            None => Ok(()),
        }
    }
}
