//! What a failed write does to a partition: it takes no records until its log has been opened again, and is read meanwhile.
//!
//! The machine counts offsets that were given out and never written, so it cannot go on; what is visible it still knows,
//! and those bytes lie where they lay. So readers keep the old machine until the log has been opened again from the disk,
//! and producers are refused until then. On a full disk that would fail again, or succeed for one batch: it waits for
//! room, which is asked for by reserving it.

use std::io;
use std::rc::Rc;

use corelane_core::base::FilePosition;
use corelane_core::limits::{RESUME_INTERVAL_MS, RESUME_ROOM_BYTES};
use corelane_core::protocol::ErrorCode;

use super::append::AppendError;
use super::{PartitionLog, State};
use crate::remedy::WithRemedy;
use crate::sys::Sys;

impl<S: Sys> PartitionLog<S> {
    /// A write failed: nobody is left waiting, and the log is opened again, at once if it can be.
    ///
    /// Called by the task that drains the queue, as everything here: nothing is appended meanwhile.
    pub(super) async fn fail(&self, what: &str, error: &io::Error) {
        let error = WithRemedy(error);
        tracing::error!(partition = %self.name, %error, "{what} failed");
        self.leave(State::Serving, State::Paused);
        self.is_stale.set(true);
        self.rolled.raise();
        // It is opened again from what the disk has, and nothing else may write meanwhile.
        self.forget_direct().await;
        let answer =
            AppendError::new(ErrorCode::KAFKA_STORAGE_ERROR, format!("{what} of {} failed: {error}", self.name));
        self.refuse_all(&answer);
        // Also what is queued: it would meet the same device, and nobody may wait for ever.
        for queued in self.queue.take() {
            queued.refuse(answer.clone());
        }
        *self.paused_by.borrow_mut() = answer.message;
        if let Err(error) = self.resume().await {
            let (partition, every_ms) = (&self.name, RESUME_INTERVAL_MS);
            tracing::warn!(%partition, %error, every_ms, "takes no records until the log can be opened again");
        }
        self.advanced();
    }

    /// Tries again, if it is time, to open a log that a failed write has closed to producers.
    pub(super) fn resume_if_due(self: &Rc<Self>) {
        let waited_ns = self.sys.now().since_ns(self.resume_tried.get());
        if waited_ns < RESUME_INTERVAL_MS * 1_000_000 || self.draining.replace(true) {
            return;
        }
        let this = Rc::clone(self);
        self.sys.spawn("resume", async move {
            // Said once, when the write failed: a disk may be full for days.
            let _still_failing = this.resume().await;
            // What has come since is in the queue, and nobody else takes from it.
            this.drain().await;
        });
    }

    /// Opens the log again if there is room for more.
    async fn resume(&self) -> io::Result<()> {
        let resumed = {
            // Whoever cleans the log lets go of it, and nothing of what is opened is exchanged meanwhile.
            let _turn = self.care.take().await;
            match self.make_sure_of_room().await {
                Ok(()) => self.reopen().await,
                Err(error) => Err(error),
            }
        };
        self.resume_tried.set(self.sys.now());
        resumed?;
        tracing::warn!(partition = %self.name, "log opened again after a failed write");
        // Unless a sync has failed meanwhile, or the log is being closed.
        self.leave(State::Paused, State::Serving);
        Ok(())
    }

    /// Cuts off what the failed write left, and looks whether the disk takes more.
    async fn make_sure_of_room(&self) -> io::Result<()> {
        let log = self.active_files().log;
        let end = self.machine.borrow().written_bytes();
        self.sys.truncate(&log, end).await?;
        self.sys.reserve(&log, FilePosition(end), RESUME_ROOM_BYTES).await?;
        // Given back: a zero tail must not be left behind, whatever comes next.
        self.sys.truncate(&log, end).await
    }

    /// Changes the state, if it is still what the caller thinks.
    fn leave(&self, from: State, to: State) {
        if self.state.get() == from {
            self.state.set(to);
        }
    }
}
