//! The answers of one connection, sent in the order in which its requests came.
//!
//! A place is taken when a request is read and filled when it is served. Whoever fills the first place in line sends
//! all that is ready behind it in one go, unless somebody is sending already, who then goes on with it. Where several are
//! in line, those that are served in one turn of the shard leave together, but for those to large requests: what the shard
//! writes in the meantime would stand before them, and their client has nothing to do until they come.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::{FilePosition, Monotonic};
use corelane_core::limits::PIPELINE_REQUESTS_MAX;

use crate::budget::Reservation;
use crate::local::Signal;
use crate::stages::{Stage, Stages};
use crate::sys::Sys;

/// A piece of an answer.
pub(crate) enum Piece<F> {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file, sent from it without passing through memory of ours.
    File { file: F, position: FilePosition, len: u32 },
}

/// What a request comes to.
pub(crate) enum Answer<F> {
    /// A complete frame, length prefix included, and what it holds of the memory budget until it is sent.
    Frame(Vec<Piece<F>>, Option<Reservation>),
    /// Nothing goes back: a Produce with acks=0.
    Nothing,
    /// The connection is closed once all answers before this one are sent, as Kafka does with what it cannot parse.
    Close,
}

/// A request in line: when its last byte came, when it was served, and its answer once it is.
struct Entry<F> {
    received: Monotonic,
    served: Monotonic,
    answer: Option<Answer<F>>,
}

/// A request whose answer is being sent: when it was received and served, and what the answer holds of the memory budget.
struct Leaving {
    received: Monotonic,
    served: Monotonic,
    /// Held until the answer is sent.
    _held: Option<Reservation>,
}

/// Place of a request among those of its connection, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u64);

/// The answers of one connection.
pub(crate) struct Answers<S: Sys> {
    sys: S,
    stages: Rc<Stages>,
    connection: S::Connection,
    /// Place of the first entry of `line`.
    first: Cell<u64>,
    /// Requests in progress and answers not yet taken for sending; at most [`PIPELINE_REQUESTS_MAX`].
    line: RefCell<VecDeque<Entry<S::File>>>,
    /// Somebody is sending.
    sending: Cell<bool>,
    /// Somebody will send when this turn of the shard is over.
    gathering: Cell<bool>,
    /// The connection is finished: a send failed, or an answer said so.
    closed: Cell<bool>,
    /// Raised whenever answers have left the line, and at the end.
    moved: Signal,
}

impl<S: Sys> Answers<S> {
    pub(crate) fn new(sys: S, stages: Rc<Stages>, connection: S::Connection) -> Rc<Self> {
        Rc::new(Self {
            sys,
            stages,
            connection,
            first: Cell::new(0),
            line: RefCell::default(),
            sending: Cell::new(false),
            gathering: Cell::new(false),
            closed: Cell::new(false),
            moved: Signal::default(),
        })
    }

    /// Takes the next place in line, for a request whose last byte came at `received`.
    pub(crate) fn place(&self, received: Monotonic) -> Place {
        let mut line = self.line.borrow_mut();
        line.push_back(Entry { received, served: received, answer: None });
        Place(self.first.get() + line.len() as u64 - 1)
    }

    /// Fills a place. What is ready leaves at the next [`flush`](Self::flush).
    pub(crate) fn fill(&self, place: Place, answer: Answer<S::File>) {
        let mut line = self.line.borrow_mut();
        if self.closed.get() {
            return;
        }
        let entry = line.get_mut((place.0 - self.first.get()) as usize).expect("a place is in line until it is sent");
        assert!(entry.answer.is_none(), "a request is answered once");
        entry.answer = Some(answer);
        entry.served = self.sys.now();
    }

    /// Whether nothing more will be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether another request may be read now.
    pub(crate) fn has_room(&self) -> bool {
        self.closed.get() || self.line.borrow().len() < PIPELINE_REQUESTS_MAX
    }

    /// Whether there is anything to send.
    pub(crate) fn has_ready(&self) -> bool {
        !self.sending.get() && self.line.borrow().front().is_some_and(|entry| entry.answer.is_some())
    }

    /// Waits until another request may be read.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.moved.next().await;
        }
    }

    /// Waits until every request read so far is answered and handed to the socket.
    pub(crate) async fn all_sent(&self) {
        while !self.closed.get() && (self.sending.get() || !self.line.borrow().is_empty()) {
            self.moved.next().await;
        }
    }

    /// Sends everything that is ready, in order. Returns at once if another task is at it.
    pub(crate) async fn flush(&self) {
        if self.sending.get() || self.closed.get() {
            return;
        }
        self.sending.set(true);
        let mut slices: Vec<Bytes> = Vec::new();
        let mut leaving: Vec<Leaving> = Vec::new();
        loop {
            let next = {
                let mut line = self.line.borrow_mut();
                if line.front().is_some_and(|entry| entry.answer.is_some()) { line.pop_front() } else { None }
            };
            let Some(Entry { received, served, answer: Some(answer) }) = next else {
                if leaving.is_empty() {
                    break;
                }
                // What became ready while this is on its way goes out in the next round.
                if !slices.is_empty() && self.sys.send(&self.connection, std::mem::take(&mut slices)).await.is_err() {
                    self.close();
                }
                self.have_left(&mut leaving);
                self.moved.raise();
                continue;
            };
            self.first.set(self.first.get() + 1);
            let (pieces, held) = match answer {
                Answer::Nothing => (Vec::new(), None),
                Answer::Frame(pieces, held) => (pieces, held),
                Answer::Close => {
                    if !slices.is_empty() {
                        // The connection ends either way.
                        let _ = self.sys.send(&self.connection, std::mem::take(&mut slices)).await;
                    }
                    self.close();
                    break;
                }
            };
            leaving.push(Leaving { received, served, _held: held });
            if self.send_frame(&mut slices, pieces).await.is_err() {
                self.close();
            }
            if self.closed.get() {
                break;
            }
        }
        self.sending.set(false);
        self.moved.raise();
    }

    /// As [`flush`](Self::flush), but if others are in line, what is served in the same turn goes out with it: appends that were
    /// written together are.
    pub(crate) async fn flush_together(&self) {
        if !self.has_ready() || self.gathering.get() {
            return;
        }
        if self.line.borrow().len() > 1 {
            self.gathering.set(true);
            self.sys.breathe().await;
            self.gathering.set(false);
        }
        self.flush().await;
    }

    fn have_left(&self, leaving: &mut Vec<Leaving>) {
        let now = self.sys.now();
        for Leaving { received, served, .. } in leaving.drain(..) {
            self.stages.add(Stage::Respond, served, now);
            self.stages.add(Stage::Whole, received, now);
        }
    }

    /// Gathers a frame's bytes into `slices`; file pieces are sent in their place, after what was gathered before.
    async fn send_frame(&self, slices: &mut Vec<Bytes>, pieces: Vec<Piece<S::File>>) -> std::io::Result<()> {
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => slices.push(bytes),
                Piece::File { file, position, len } => {
                    if !slices.is_empty() {
                        self.sys.send(&self.connection, std::mem::take(slices)).await?;
                    }
                    self.sys.send_file(&self.connection, &file, position, len).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether every request read so far is answered and handed to the socket.
    pub(crate) fn is_idle(&self) -> bool {
        !self.closed.get() && !self.sending.get() && self.line.borrow().is_empty()
    }

    /// Leaves the connection, idle as it is, to another shard: nothing more is sent from here.
    pub(crate) fn leave(&self) {
        assert!(self.is_idle(), "answers are still to be sent");
        self.closed.set(true);
    }

    /// Gives the connection up: nothing more is sent, and the reader is told.
    pub(crate) fn close(&self) {
        if !self.closed.replace(true) {
            self.line.borrow_mut().clear();
            self.sys.disconnect(&self.connection);
            self.moved.raise();
        }
    }
}
