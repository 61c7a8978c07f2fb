//! Searches go from an index to the log beside it, with waits in between. While one is in progress no file of the log is
//! exchanged for another of the same name, and none is taken away.
//!
//! Who wants to do that waits for those that have begun, and those that come wait for it: some renames, and at most one sync
//! of the directory. What a search has found stays good: it holds the open file.

use std::cell::Cell;

use crate::local::Signal;

/// The searches of one log.
#[derive(Default)]
pub(super) struct Searches {
    running: Cell<usize>,
    is_held_up: Cell<bool>,
    changed: Signal,
}

impl Searches {
    /// Begins a search, which lasts as long as what this returns.
    pub(super) async fn begin(&self) -> Searching<'_> {
        while self.is_held_up.get() {
            self.changed.next().await;
        }
        self.running.set(self.running.get() + 1);
        Searching(self)
    }

    /// Waits until no search is in progress; none begins while what this returns lives. One task at a time does this.
    pub(super) async fn hold_up(&self) -> HeldUp<'_> {
        self.is_held_up.set(true);
        let held_up = HeldUp(self);
        while self.running.get() > 0 {
            self.changed.next().await;
        }
        held_up
    }
}

/// A search in progress.
pub(super) struct Searching<'a>(&'a Searches);

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.is_held_up.get() {
            self.0.changed.raise();
        }
    }
}

/// Searches wait.
pub(super) struct HeldUp<'a>(&'a Searches);

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.is_held_up.set(false);
        self.0.changed.raise();
    }
}
