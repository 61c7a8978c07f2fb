//! What the requests of a shard may hold in memory at once.
//!
//! A frame is received only after its whole length is reserved here, and the reservation lasts until its answer is
//! ready. Who does not fit waits in order of arrival, its socket unread, so memory follows the budget and not what
//! clients claim. One frame larger than the whole budget is let in when nothing else is held.

use std::cell::Cell;
use std::rc::Rc;

use crate::local::{Signal, Turn, TurnGuard};

/// A shard's budget. A clone is another handle on the same.
#[derive(Clone)]
pub(crate) struct Budget(Rc<State>);

struct State {
    bytes_max: usize,
    bytes_held: Cell<usize>,
    /// First come, first served: a small request does not overtake a large one for ever.
    turn: Turn,
    released: Signal,
}

/// Bytes held; given back on drop.
pub(crate) struct Reservation {
    state: Rc<State>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Rc::new(State { bytes_max, bytes_held: Cell::new(0), turn: Turn::default(), released: Signal::default() }))
    }

    /// Whether `bytes` fit now, and nobody waits.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        !self.is_awaited() && (self.0.bytes_held.get() == 0 || self.0.bytes_held.get() + bytes <= self.0.bytes_max)
    }

    /// Waits until `bytes` fit.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reservation {
        let _turn: TurnGuard = self.0.turn.take().await;
        while self.0.bytes_held.get() > 0 && self.0.bytes_held.get() + bytes > self.0.bytes_max {
            self.0.released.next().await;
        }
        self.hold(bytes)
    }

    /// Whether somebody waits for memory.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.turn.is_held()
    }

    /// Takes what is left of `bytes` without waiting.
    pub(crate) fn reserve_up_to(&self, bytes: usize) -> Reservation {
        let left = self.0.bytes_max.saturating_sub(self.0.bytes_held.get());
        self.hold(bytes.min(left))
    }

    fn hold(&self, bytes: usize) -> Reservation {
        self.0.bytes_held.set(self.0.bytes_held.get() + bytes);
        Reservation { state: Rc::clone(&self.0), bytes }
    }
}

impl Reservation {
    /// How much is held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds what is really needed, be it less or more.
    pub(crate) fn settle(&mut self, bytes: usize) {
        self.state.bytes_held.set(self.state.bytes_held.get() - self.bytes + bytes);
        self.bytes = bytes;
        self.state.released.raise();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.state.bytes_held.set(self.state.bytes_held.get() - self.bytes);
        self.state.released.raise();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_does_not_fit_waits_in_order() {
        let budget = Budget::new(100);
        let Poll::Ready(first) = poll_once(Box::pin(budget.reserve(60)).as_mut()) else { panic!("60 of 100 fit") };
        let mut large = Box::pin(budget.reserve(50));
        let mut small = Box::pin(budget.reserve(1));
        assert!(poll_once(large.as_mut()).is_pending());
        assert!(poll_once(small.as_mut()).is_pending(), "a small one does not overtake");
        drop(first);
        assert!(poll_once(large.as_mut()).is_ready());
        assert!(poll_once(small.as_mut()).is_ready());
        assert_eq!(budget.0.bytes_held.get(), 0);
    }

    #[test]
    fn a_frame_beyond_the_whole_budget_goes_alone() {
        let budget = Budget::new(100);
        let Poll::Ready(first) = poll_once(Box::pin(budget.reserve(1)).as_mut()) else { panic!() };
        let mut giant = Box::pin(budget.reserve(1_000));
        assert!(poll_once(giant.as_mut()).is_pending());
        drop(first);
        assert!(poll_once(giant.as_mut()).is_ready());
    }
}
