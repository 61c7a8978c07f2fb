//! Appends that wait for those right behind them, so that batches of a partition that come one after the other are
//! written together.
//!
//! While a connection is known to have more requests at hand, what it appends to the partitions of its own shard is only
//! put into their queues. The connection has all of it written as soon as nothing more is at hand, enough has come
//! together, or it would have to wait for anything else. It is the same with what other shards ask, while more mail is at
//! hand. So nothing waits here for a client, a device or another shard, and a request behind which nothing follows is
//! written at once.
//!
//! A batch here is in the row *queued* of [`append`](super::append): not acknowledged, seen by nobody, gone with a crash.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corelane_core::limits::GATHERED_BYTES_MAX;

use super::PartitionLog;
use crate::sys::Sys;

/// The partitions of a shard that have something to write.
pub(crate) struct Gathering<S: Sys> {
    /// Appends are gathered now.
    is_on: Cell<bool>,
    bytes: Cell<usize>,
    logs: RefCell<Vec<Rc<PartitionLog<S>>>>,
}

impl<S: Sys> Default for Gathering<S> {
    fn default() -> Self {
        Self { is_on: Cell::new(false), bytes: Cell::new(0), logs: RefCell::default() }
    }
}

impl<S: Sys> Gathering<S> {
    /// Has what is appended from now on gathered, or written at once.
    pub(crate) fn set(&self, is_on: bool) {
        self.is_on.set(is_on);
    }

    /// Whether an append of so many bytes is left to be written by [`write`](Self::write).
    pub(super) fn takes(&self, log: &Rc<PartitionLog<S>>, bytes: usize) -> bool {
        if !self.is_on.get() {
            return false;
        }
        self.bytes.set(self.bytes.get() + bytes);
        if !log.is_gathered.replace(true) {
            self.logs.borrow_mut().push(Rc::clone(log));
        }
        true
    }

    /// Whether enough has come together.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.get() >= GATHERED_BYTES_MAX
    }

    /// Writes everything that was gathered.
    pub(crate) fn write(&self) {
        if self.logs.borrow().is_empty() {
            return;
        }
        self.bytes.set(0);
        for log in self.logs.take() {
            log.write_gathered();
        }
    }
}
