//! Something that happens once, and those who wait for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A clone is the same signal.
#[derive(Clone, Default)]
pub struct Signal(Rc<Inner>);

#[derive(Default)]
struct Inner {
    raised: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// It has happened.
    pub fn raise(&self) {
        self.0.raised.set(true);
        self.0.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// It has not happened after all; for the next round.
    pub fn lower(&self) {
        self.0.raised.set(false);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.raised.get()
    }

    /// Resolves once it has.
    pub async fn wait(&self) {
        std::future::poll_fn(|context| {
            if self.is_raised() {
                return Poll::Ready(());
            }
            self.0.waiting.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
