//! Waiting between tasks of one shard.
//!
//! Single-threaded on purpose: a shard shares nothing, so none of this locks or counts atomically. All queues are
//! served first come, first served; the order in which futures are first polled is the order of arrival, and the
//! produce path relies on it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A right to act that one task at a time holds, handed on in order of arrival.
#[derive(Clone, Default)]
pub(crate) struct Turn(Rc<TurnState>);

#[derive(Default)]
struct TurnState {
    /// Tickets issued so far.
    issued: Cell<u64>,
    /// The ticket that may act: it is held if `serving < issued`.
    serving: Cell<u64>,
    /// Who waits, by ticket, ascending; `None` once its future was dropped.
    waiting: RefCell<VecDeque<(u64, Option<Waker>)>>,
}

/// The turn is held while this lives.
pub(crate) struct TurnGuard(Rc<TurnState>);

impl Turn {
    /// Waits for the turn. The place in the queue is taken by this call, not by the first poll.
    pub(crate) fn take(&self) -> TakeTurn {
        let ticket = self.0.issued.get();
        self.0.issued.set(ticket + 1);
        if ticket != self.0.serving.get() {
            self.0.waiting.borrow_mut().push_back((ticket, Some(Waker::noop().clone())));
        }
        TakeTurn { state: Some(Rc::clone(&self.0)), ticket }
    }

    /// Whether somebody has it.
    pub(crate) fn is_held(&self) -> bool {
        self.0.serving.get() < self.0.issued.get()
    }
}

impl TurnState {
    /// Hands the turn to the next that still waits.
    fn pass(&self) {
        loop {
            let next = self.serving.get() + 1;
            self.serving.set(next);
            let mut waiting = self.waiting.borrow_mut();
            match waiting.pop_front() {
                None => return,
                Some((ticket, waker)) => {
                    assert_eq!(ticket, next, "tickets are served without a gap");
                    if let Some(waker) = waker {
                        drop(waiting);
                        waker.wake();
                        return;
                    }
                }
            }
        }
    }
}

/// Future of [`Turn::take`].
pub(crate) struct TakeTurn {
    state: Option<Rc<TurnState>>,
    ticket: u64,
}

impl Future for TakeTurn {
    type Output = TurnGuard;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TurnGuard> {
        let ticket = self.ticket;
        let state = self.state.take().expect("not polled after completion");
        if state.serving.get() == ticket {
            return Poll::Ready(TurnGuard(state));
        }
        {
            let mut waiting = state.waiting.borrow_mut();
            let place = waiting.iter_mut().find(|(t, _)| *t == ticket).expect("a waiting ticket is queued");
            place.1 = Some(context.waker().clone());
        }
        self.state = Some(state);
        Poll::Pending
    }
}

impl Drop for TakeTurn {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else { return };
        if state.serving.get() == self.ticket {
            state.pass();
        } else if let Some(place) = state.waiting.borrow_mut().iter_mut().find(|(t, _)| *t == self.ticket) {
            place.1 = None;
        }
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        self.0.pass();
    }
}

/// Work that serves all who have asked for it before it begins: one is done at a time, and who asks meanwhile shares the
/// next.
#[derive(Default)]
pub(crate) struct GroupCommit {
    turn: Turn,
    /// How often it was asked for.
    asked: Cell<u64>,
    /// Those who asked up to this number were served.
    served: Cell<u64>,
}

impl GroupCommit {
    /// Returns once `work` that began after this call has succeeded, this caller's or another's.
    ///
    /// # Errors
    /// That of this caller's work, which then has served nobody.
    pub(crate) async fn share<E, F: Future<Output = Result<(), E>>>(&self, work: impl FnOnce() -> F) -> Result<(), E> {
        let mine = self.asked.get() + 1;
        self.asked.set(mine);
        let _turn = self.turn.take().await;
        if self.served.get() < mine {
            let serves = self.asked.get();
            work().await?;
            self.served.set(serves);
        }
        Ok(())
    }
}

/// Something that happens again and again; whoever waits is woken by the next time it does.
#[derive(Default)]
pub(crate) struct Signal {
    times: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Wakes everybody who waits.
    pub(crate) fn raise(&self) {
        self.times.set(self.times.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Resolves at the first [`raise`](Self::raise) after this call.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + '_ {
        let seen = self.times.get();
        std::future::poll_fn(move |context| {
            if self.times.get() != seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

/// A value that one task leaves for another.
pub(crate) struct Slot<T>(RefCell<SlotState<T>>);

enum SlotState<T> {
    Empty(Option<Waker>),
    Full(Option<T>),
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(RefCell::new(SlotState::Empty(None)))
    }
}

impl<T> Slot<T> {
    /// Leaves the value. A second one is a defect of ours.
    pub(crate) fn fill(&self, value: T) {
        let before = self.0.replace(SlotState::Full(Some(value)));
        match before {
            SlotState::Empty(Some(waker)) => waker.wake(),
            SlotState::Empty(None) => {}
            SlotState::Full(_) => panic!("a slot is filled once"),
        }
    }

    /// Waits for the value and takes it. One task waits.
    pub(crate) fn take(self: Rc<Self>) -> impl Future<Output = T> {
        std::future::poll_fn(move |context| match &mut *self.0.borrow_mut() {
            SlotState::Full(value) => Poll::Ready(value.take().expect("a slot is emptied once")),
            SlotState::Empty(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
        })
    }
}

/// What of two futures came first.
pub(crate) enum Either<A, B> {
    First(A),
    Second(B),
}

/// Waits for whichever ends first and drops the other; the first has precedence.
pub(crate) async fn first_of<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Either<A, B> {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    std::future::poll_fn(move |context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(Either::First(value));
        }
        b.as_mut().poll(context).map(Either::Second)
    })
    .await
}

/// Runs all futures at once and gives their results in order. The first poll of each happens in order.
pub(crate) async fn all_of<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut open = false;
        for (future, result) in &mut futures {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => open = true,
                }
            }
        }
        if open {
            return Poll::Pending;
        }
        Poll::Ready(futures.iter_mut().map(|(_, result)| result.take().expect("each future has ended")).collect())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn turns_are_served_in_the_order_they_were_asked_for() {
        let turn = Turn::default();
        let mut first = Box::pin(turn.take());
        let mut second = Box::pin(turn.take());
        let mut third = Box::pin(turn.take());
        assert!(poll_once(third.as_mut()).is_pending());
        assert!(poll_once(second.as_mut()).is_pending());
        let Poll::Ready(guard) = poll_once(first.as_mut()) else { panic!("nobody was before the first") };
        assert!(poll_once(second.as_mut()).is_pending());
        drop(guard);
        assert!(poll_once(third.as_mut()).is_pending());
        assert!(poll_once(second.as_mut()).is_ready());
        // The guard of the second was dropped at once.
        assert!(poll_once(third.as_mut()).is_ready());
    }

    #[test]
    fn a_waiter_that_goes_away_does_not_stop_the_queue() {
        let turn = Turn::default();
        let Poll::Ready(guard) = poll_once(Box::pin(turn.take()).as_mut()) else { panic!() };
        let second = turn.take();
        let mut third = Box::pin(turn.take());
        drop(second);
        drop(guard);
        assert!(poll_once(third.as_mut()).is_ready());
        // Dropped before it was ever polled while it was its turn.
        drop(turn.take());
        assert!(poll_once(Box::pin(turn.take()).as_mut()).is_ready());
    }

    #[test]
    fn work_serves_those_who_asked_before_it_began() {
        let (commit, begun, end) = (GroupCommit::default(), Cell::new(0), Signal::default());
        let work = || {
            begun.set(begun.get() + 1);
            let ended = end.next();
            async {
                ended.await;
                Ok::<(), ()>(())
            }
        };
        let mut first = Box::pin(commit.share(work));
        assert!(poll_once(first.as_mut()).is_pending());
        // Both come while it is in progress, so that it says nothing of what they did before.
        let (mut second, mut third) = (Box::pin(commit.share(work)), Box::pin(commit.share(work)));
        assert!(poll_once(second.as_mut()).is_pending() && poll_once(third.as_mut()).is_pending());
        end.raise();
        assert!(poll_once(first.as_mut()).is_ready());
        assert!(poll_once(second.as_mut()).is_pending() && poll_once(third.as_mut()).is_pending());
        assert_eq!(begun.get(), 2);
        end.raise();
        assert!(poll_once(second.as_mut()).is_ready() && poll_once(third.as_mut()).is_ready());
        assert_eq!(begun.get(), 2, "one for both");
    }

    #[test]
    fn work_that_fails_serves_nobody() {
        let commit = GroupCommit::default();
        let held = commit.turn.take();
        let mut first = Box::pin(commit.share(|| std::future::ready(Err(1))));
        let mut second = Box::pin(commit.share(|| std::future::ready(Err(2))));
        assert!(poll_once(first.as_mut()).is_pending() && poll_once(second.as_mut()).is_pending());
        drop(held);
        assert_eq!(poll_once(first.as_mut()), Poll::Ready(Err(1)));
        assert_eq!(poll_once(second.as_mut()), Poll::Ready(Err(2)));
    }

    #[test]
    fn a_signal_wakes_only_those_who_waited_before_it() {
        let signal = Signal::default();
        let mut waiting = Box::pin(signal.next());
        assert!(poll_once(waiting.as_mut()).is_pending());
        signal.raise();
        assert!(poll_once(waiting.as_mut()).is_ready());
        assert!(poll_once(Box::pin(signal.next()).as_mut()).is_pending());
    }

    #[test]
    fn all_results_come_in_order() {
        let slots = [Rc::new(Slot::default()), Rc::new(Slot::default())];
        let mut all = Box::pin(all_of(slots.iter().map(|slot| Rc::clone(slot).take()).collect()));
        slots[1].fill(2);
        assert!(poll_once(all.as_mut()).is_pending());
        slots[0].fill(1);
        assert!(matches!(poll_once(all.as_mut()), Poll::Ready(values) if values == [1, 2]));
    }
}
