//! Mail between shards: a ring for each ordered pair, and a doorbell for each shard.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;

use corelane_core::base::ShardId;
use corelane_core::limits::MAILBOX_MESSAGES_MAX;
use corelane_core::ring::{Bell, Consumer, Producer, ring};

use super::{GlommioSys, check};
use crate::hop::Mail;

/// Wakes a shard that sleeps in its ring; costs nothing while it is awake.
pub(super) struct Doorbell {
    pub(super) bell: Bell,
    /// An eventfd that the shard's ring watches.
    pub(super) eventfd: Arc<OwnedFd>,
}

impl Doorbell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new(), eventfd: Arc::new(eventfd()?) })
    }

    /// Something was published for the shard.
    pub(super) fn ring(&self) {
        if self.bell.strike() {
            signal(&self.eventfd);
        }
    }
}

/// Makes an eventfd.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: a plain call; the descriptor is new and ours.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?)) }
}

/// Adds one to an eventfd, which wakes who watches it.
pub(super) fn signal(eventfd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: reads eight bytes from `one`. It can fail only when the count is at its end, and then it is signalled.
    unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
}

struct Inbound {
    messages: Consumer<Mail<GlommioSys>>,
    /// Struck when messages were taken out; the sender arms it while it waits for room.
    room: Arc<Bell>,
}

struct Outbound {
    messages: Producer<Mail<GlommioSys>>,
    room: Arc<Bell>,
}

/// One shard's ends of all its rings.
pub(super) struct Mailbox {
    doorbells: Arc<[Doorbell]>,
    inbound: RefCell<Vec<Inbound>>,
    outbound: RefCell<Vec<Outbound>>,
    /// Whose ring is looked at first next time, so that nobody is starved.
    turn: Cell<usize>,
    /// The task that waits for mail.
    reader: RefCell<Option<Waker>>,
    /// Tasks that wait for room in a ring.
    writers: RefCell<Vec<(ShardId, Waker)>>,
}

/// What a mailbox is made of, on its way to its shard's thread.
pub(super) struct MailboxParts {
    doorbells: Arc<[Doorbell]>,
    inbound: Vec<Inbound>,
    outbound: Vec<Outbound>,
}

/// Makes the mailboxes of all shards, joined by rings; the rings to oneself included.
pub(super) fn mailboxes(doorbells: &Arc<[Doorbell]>) -> Vec<MailboxParts> {
    let shards = doorbells.len();
    let mut parts: Vec<_> = (0..shards)
        .map(|_| MailboxParts { doorbells: Arc::clone(doorbells), inbound: Vec::new(), outbound: Vec::new() })
        .collect();
    for from in 0..shards {
        for to in 0..shards {
            let (producer, consumer) = ring(MAILBOX_MESSAGES_MAX);
            let room = Arc::new(Bell::new());
            // Each list is in the order of the other side's number.
            parts[from].outbound.push(Outbound { messages: producer, room: Arc::clone(&room) });
            parts[to].inbound.push(Inbound { messages: consumer, room });
        }
    }
    parts
}

impl Mailbox {
    pub(super) fn new(parts: MailboxParts) -> Self {
        Self {
            doorbells: parts.doorbells,
            inbound: RefCell::new(parts.inbound),
            outbound: RefCell::new(parts.outbound),
            turn: Cell::new(0),
            reader: RefCell::default(),
            writers: RefCell::default(),
        }
    }

    pub(super) fn shards(&self) -> usize {
        self.doorbells.len()
    }

    pub(super) fn doorbell(&self, shard: ShardId) -> &Doorbell {
        &self.doorbells[usize::from(shard.0)]
    }

    pub(super) fn post(&self, to: ShardId, mail: Mail<GlommioSys>) -> Result<(), Mail<GlommioSys>> {
        self.outbound.borrow_mut()[usize::from(to.0)].messages.push(mail)?;
        self.doorbell(to).ring();
        Ok(())
    }

    pub(super) fn room(&self, to: ShardId) -> usize {
        self.outbound.borrow_mut()[usize::from(to.0)].messages.room()
    }

    /// Whether there is room; if not, `waker` is woken when there is.
    pub(super) fn poll_room(&self, to: ShardId, waker: &Waker) -> bool {
        if self.room(to) > 0 {
            return true;
        }
        self.outbound.borrow()[usize::from(to.0)].room.arm();
        if self.room(to) > 0 {
            return true;
        }
        let mut writers = self.writers.borrow_mut();
        if !writers.iter().any(|(ring, known)| *ring == to && known.will_wake(waker)) {
            writers.push((to, waker.clone()));
        }
        false
    }

    /// The next message in turn; if there is none, `waker` is woken when there is.
    pub(super) fn poll_mail(&self, waker: &Waker) -> Option<(ShardId, Mail<GlommioSys>)> {
        let taken = self.take();
        let old = if taken.is_some() { None } else { self.reader.replace(Some(waker.clone())) };
        drop(old);
        taken
    }

    /// Whether a message has come.
    pub(super) fn has_mail(&self) -> bool {
        self.inbound.borrow_mut().iter_mut().any(|from| !from.messages.is_empty())
    }

    fn take(&self) -> Option<(ShardId, Mail<GlommioSys>)> {
        let mut inbound = self.inbound.borrow_mut();
        let shards = inbound.len();
        for step in 0..shards {
            let from = (self.turn.get() + step) % shards;
            if let Some(mail) = inbound[from].messages.pop() {
                self.turn.set(from + 1);
                let from = ShardId(from as u16);
                if inbound[usize::from(from.0)].room.strike() {
                    self.doorbell(from).ring();
                }
                return Some((from, mail));
            }
        }
        None
    }

    /// Drops the wakers of all who wait.
    pub(super) fn dismiss(&self) {
        let reader = self.reader.take();
        let writers = self.writers.take();
        drop((reader, writers));
    }

    /// Wakes who can go on; whether there was anybody.
    pub(super) fn deliver(&self) -> bool {
        let mut woken = false;
        if self.reader.borrow().is_some() && self.has_mail() {
            let reader = self.reader.take();
            if let Some(waker) = reader {
                waker.wake();
                woken = true;
            }
        }
        if !self.writers.borrow().is_empty() {
            let writers = self.writers.take();
            for (to, waker) in writers {
                if self.poll_room(to, &waker) {
                    waker.wake();
                    woken = true;
                }
            }
        }
        woken
    }
}
