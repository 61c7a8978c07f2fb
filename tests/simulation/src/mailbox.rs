//! The rings between the shards of one process, with the real bound.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use corelane_core::base::{Monotonic, ShardId};
use corelane_core::limits::MAILBOX_MESSAGES_MAX;

use crate::random::Random;

/// All rings of a process: one each way for each pair of shards.
pub struct Mailboxes<M> {
    shards: usize,
    rings: Vec<Ring<M>>,
    /// Who waits for mail, for each shard.
    readers: Vec<Option<Waker>>,
}

struct Ring<M> {
    /// Each with the time at which it is there.
    messages: VecDeque<(Monotonic, M)>,
    writers: Vec<Waker>,
}

impl<M> Mailboxes<M> {
    /// Empty rings.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        let shards = usize::from(shards);
        let ring = || Ring { messages: VecDeque::new(), writers: Vec::new() };
        Self {
            shards,
            rings: (0..shards * shards).map(|_| ring()).collect(),
            readers: (0..shards).map(|_| None).collect(),
        }
    }

    fn ring(&mut self, from: ShardId, to: ShardId) -> &mut Ring<M> {
        &mut self.rings[usize::from(from.0) * self.shards + usize::from(to.0)]
    }

    /// Puts a message into a ring, there from `due` on and not before those that are in it.
    ///
    /// # Errors
    /// Gives it back if the ring is full.
    pub fn post(&mut self, from: ShardId, to: ShardId, due: Monotonic, message: M) -> Result<Monotonic, M> {
        let ring = self.ring(from, to);
        if ring.messages.len() == MAILBOX_MESSAGES_MAX {
            return Err(message);
        }
        let due = ring.messages.back().map_or(due, |(last, _)| due.max(*last));
        ring.messages.push_back((due, message));
        Ok(due)
    }

    /// How many more messages a ring takes.
    pub fn room(&mut self, from: ShardId, to: ShardId) -> usize {
        MAILBOX_MESSAGES_MAX - self.ring(from, to).messages.len()
    }

    /// Waits until a ring has room.
    pub fn poll_room(&mut self, from: ShardId, to: ShardId, context: &mut Context<'_>) -> Poll<()> {
        if self.room(from, to) > 0 {
            return Poll::Ready(());
        }
        self.ring(from, to).writers.push(context.waker().clone());
        Poll::Pending
    }

    /// Shards whose ring to this one has a message that is there.
    fn senders(&mut self, to: ShardId, now: Monotonic) -> impl Iterator<Item = ShardId> {
        let shards = u16::try_from(self.shards).expect("was made from one");
        (0..shards)
            .map(ShardId)
            .filter(move |from| self.ring(*from, to).messages.front().is_some_and(|(due, _)| *due <= now))
    }

    /// Whether a message to a shard is there.
    pub fn has_mail(&mut self, to: ShardId, now: Monotonic) -> bool {
        self.senders(to, now).next().is_some()
    }

    /// Waits for the next message to a shard, from whichever ring the draw says.
    pub fn poll_mail(
        &mut self,
        to: ShardId,
        now: Monotonic,
        random: &mut Random,
        context: &mut Context<'_>,
    ) -> Poll<(ShardId, M)> {
        let senders: Vec<ShardId> = self.senders(to, now).collect();
        if senders.is_empty() {
            self.readers[usize::from(to.0)] = Some(context.waker().clone());
            return Poll::Pending;
        }
        let from = senders[random.index(senders.len())];
        let ring = self.ring(from, to);
        let (_, message) = ring.messages.pop_front().expect("is there");
        ring.writers.drain(..).for_each(Waker::wake);
        Poll::Ready((from, message))
    }

    /// Wakes a shard's reader, if it has one.
    pub fn wake(&mut self, shard: ShardId) {
        let reader = self.readers.get_mut(usize::from(shard.0)).and_then(Option::take);
        reader.into_iter().for_each(Waker::wake);
    }
}
