//! Making logs durable, off the shard, by group commit: one sync of a partition is in flight, and everything written
//! meanwhile joins the next.

use std::io;
use std::rc::Rc;

use corelane_core::base::{FilePosition, Offset};
use corelane_core::log::SegmentFileKind;
use corelane_core::partition::SyncTarget;
use corelane_core::protocol::ErrorCode;

use super::append::AppendError;
use super::segments::path_of;
use super::{PartitionLog, State};
use crate::stages::Stage;
use crate::sys::{OpenMode, Sys};

impl<S: Sys> PartitionLog<S> {
    /// Has a sync done of everything written so far, unless one is in flight that will be followed by another.
    pub(crate) fn request_sync(self: &Rc<Self>) {
        if self.state.get() == State::Fenced || self.syncing.replace(true) {
            return;
        }
        let this = Rc::clone(self);
        self.sys.spawn("sync", async move {
            while let Some(target) = this.sync_target() {
                if let Err(error) = this.sync_to(target).await {
                    this.fence("sync", &error);
                    break;
                }
                this.synced.raise();
                let machine = this.machine.borrow();
                // Those that ended while it was in progress are waited for too: by whoever deletes or cleans them, if by nobody else.
                if !machine.sync_is_urgent() && machine.durable_segment() >= machine.active().base {
                    break;
                }
            }
            this.syncing.set(false);
            this.synced.raise();
        });
    }

    /// Has the segments that have ended synced, if they are not on the device.
    pub(super) fn sync_ended_segments(self: &Rc<Self>) {
        let is_due = {
            let machine = self.machine.borrow();
            machine.durable_segment() < machine.active().base
        };
        if is_due {
            self.request_sync();
        }
    }

    /// Waits until the segment at `base`, which has ended, is on the device, or the log does not serve any more.
    pub(super) async fn durable_behind(self: &Rc<Self>, base: Offset) {
        while self.state.get() == State::Serving && self.machine.borrow().durable_segment() <= base {
            let synced = self.synced.next();
            self.request_sync();
            synced.await;
        }
    }

    /// Closes the log to everybody until the broker is started again: what the device holds of it is not known. The pages
    /// that failed may be gone although later syncs would succeed, so it is never tried again.
    pub(super) fn fence(&self, what: &str, error: &io::Error) {
        tracing::error!(partition = %self.name, %error, "{what} failed; the log is fenced");
        self.state.set(State::Fenced);
        let message = format!("{what} of {} failed: {error}", self.name);
        self.refuse_all(&AppendError::new(ErrorCode::KAFKA_STORAGE_ERROR, message));
    }

    /// Whether everything that was written is on the device, and no sync is in flight that would say so.
    pub(super) fn is_all_durable(&self) -> bool {
        self.sync_target().is_none()
            && !self.syncing.get()
            && !self.directory_unsynced.get()
            && self.unsynced_files.borrow().is_empty()
    }

    fn sync_target(&self) -> Option<SyncTarget> {
        if self.state.get() == State::Fenced { None } else { self.machine.borrow().sync_target() }
    }

    /// Makes everything up to `target` durable, then moves the machine.
    pub(super) async fn sync_to(self: &Rc<Self>, target: SyncTarget) -> io::Result<()> {
        let begun = self.sys.now();
        self.unsynced_bytes.set(0);
        self.unsynced_since.set(None);
        let first_unsynced = self.machine.borrow().durable_segment();
        let logs: Vec<(Offset, S::File)> = self
            .files
            .borrow()
            .range(first_unsynced..)
            .filter(|(base, _)| **base <= target.segment())
            .filter_map(|(base, files)| Some((*base, files.log.clone()?)))
            .collect();
        for (base, log) in logs {
            self.sys.sync_data(&log).await?;
            if base < target.segment() {
                // A start trusts the indexes of what lies wholly below the recovery point.
                for kind in [SegmentFileKind::OffsetIndex, SegmentFileKind::TimeIndex] {
                    let index = self.sys.open(path_of(&self.directory, base, kind), OpenMode::Write).await?;
                    self.sys.sync_data(&index).await?;
                }
            }
        }
        // Recovery trusts these below the recovery point, so they go before it moves.
        let beside = self.unsynced_files.take();
        self.aborted_unsynced.set(false);
        for (at, file) in beside.iter().enumerate() {
            if let Err(error) = self.sys.sync_data(file).await {
                self.unsynced_files.borrow_mut().extend_from_slice(beside.get(at..).unwrap_or_default());
                return Err(error);
            }
        }
        if self.directory_unsynced.replace(false)
            && let Err(error) = self.sys.sync_directory(self.directory.clone()).await
        {
            self.directory_unsynced.set(true);
            return Err(error);
        }
        self.stages.add(Stage::Sync, begun, self.sys.now());
        if self.machine.borrow_mut().synced(target) {
            self.advanced();
        } else {
            self.acknowledge();
        }
        Ok(())
    }

    /// Waits until no sync is in flight.
    pub(super) async fn syncs_ended(&self) {
        while self.syncing.get() {
            self.synced.next().await;
        }
    }

    /// Where writeback of a fresh active segment begins.
    pub(super) fn reset_writeback(&self) {
        self.written_back.set(FilePosition(0));
    }
}
