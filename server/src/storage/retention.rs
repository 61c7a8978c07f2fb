//! Taking the oldest segments away: what [`corelane_core::log::retention`] decides, and what lies below the log's start.
//!
//! | step | on disk | after a crash | readers |
//! | --- | --- | --- | --- |
//! | the start is raised | as before | the log begins where it did, or where the checkpoint says | `OFFSET_OUT_OF_RANGE` below it |
//! | renamed to `.deleted`, the `.log` first | out of the log | removed at the start; what has no `.log` is no segment | those in progress hold the open file |
//! | removed, after `file.delete.delay.ms` | gone | gone | |
//!
//! One segment after the other, the oldest first, each out of the log on the device before the next is begun: a crash leaves
//! a log that begins later, never one with a gap.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::{Offset, Timestamp};
use corelane_core::log::names::{FileStage, SegmentFileKind};
use corelane_core::log::retention::Expired;

use super::open::LEADER_EPOCHS;
use super::segments::{SEGMENT_FILES, path_of, remove_all, staged_path_of};
use super::{PartitionLog, State};
use crate::sys::Sys;

impl<S: Sys> PartitionLog<S> {
    /// Takes away what need not be kept any longer.
    ///
    /// # Errors
    /// A file could not be looked at, renamed or removed; the next call tries again.
    pub(crate) async fn retain(self: &Rc<Self>) -> io::Result<()> {
        let _turn = self.care.take().await;
        if self.state.get() != State::Serving {
            return Ok(());
        }
        let Some(expired) = self.expired().await? else { return Ok(()) };
        // A segment goes once it is on the device: at the next look, unless nothing more may come that would have it go then.
        if expired.includes_active {
            let base = self.machine.borrow().active().base;
            self.end_active().await;
            self.durable_behind(base).await;
            if self.state.get() != State::Serving {
                return Ok(());
            }
        }
        self.sync_ended_segments();
        self.remove_below(expired.log_start).await
    }

    async fn expired(&self) -> io::Result<Option<Expired>> {
        let (bases, is_dated) = {
            let machine = self.machine.borrow();
            let timeless =
                machine.segments().iter().filter(|s| machine.largest(s).timestamp < Timestamp(0) && s.bytes > 0);
            let retention = machine.settings().retention;
            (
                timeless.map(|segment| segment.base).collect::<Vec<_>>(),
                retention.deletes && retention.age_max_ms.is_some(),
            )
        };
        let mut modified = BTreeMap::new();
        for base in bases.into_iter().filter(|_| is_dated) {
            let file = self.segment_file(base, SegmentFileKind::Log).await?;
            modified.insert(base, self.sys.modified(&file)?);
        }
        Ok(self.machine.borrow().expired(&modified, self.sys.wall()))
    }

    /// Has the active segment ended, by the task that drains the queue, or by one that stands in for it.
    async fn end_active(self: &Rc<Self>) {
        let tries = self.roll_tries.get();
        self.roll_wanted.set(true);
        self.drain_soon();
        while self.state.get() == State::Serving && self.roll_tries.get() == tries {
            self.rolled.next().await;
        }
    }

    /// Raises the log's start, and takes away the segments that lie wholly below it.
    ///
    /// # Errors
    /// A file could not be renamed or removed; the next call tries again.
    pub(crate) async fn advance_log_start(self: &Rc<Self>, offset: Offset) -> io::Result<()> {
        let _turn = self.care.take().await;
        self.remove_below(offset).await
    }

    async fn remove_below(self: &Rc<Self>, offset: Offset) -> io::Result<()> {
        let epochs = {
            let mut machine = self.machine.borrow_mut();
            let before = machine.epochs().clone();
            machine.advance_log_start(offset);
            (*machine.epochs() != before).then(|| machine.epochs().to_text())
        };
        if let Some(text) = epochs {
            self.sys.replace_file(&self.directory.join(LEADER_EPOCHS), Bytes::from(text)).await?;
        }
        loop {
            let Some(base) = self.machine.borrow().removable() else { return Ok(()) };
            let doomed = {
                let _held_up = self.searches.hold_up().await;
                self.files.borrow_mut().remove(&base);
                let doomed = self.set_aside(base, &SEGMENT_FILES).await?;
                self.aborted_bytes.borrow_mut().remove(&base);
                self.machine.borrow_mut().forget(base);
                doomed
            };
            self.sys.sync_directory(self.directory.clone()).await?;
            tracing::info!(partition = %self.name, base_offset = base.0, "segment below the log's start deleted");
            self.remove_later(doomed).await?;
        }
    }

    /// Takes files of a segment out of the log, as far as they are there: their names say so.
    pub(super) async fn set_aside(&self, base: Offset, kinds: &[SegmentFileKind]) -> io::Result<Vec<PathBuf>> {
        let mut aside = Vec::new();
        for kind in kinds.iter().copied() {
            let doomed = staged_path_of(&self.directory, base, kind, FileStage::Deleted);
            match self.sys.rename(path_of(&self.directory, base, kind), doomed.clone()).await {
                Ok(()) => aside.push(doomed),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(aside)
    }

    /// Removes files that were set aside, after `file.delete.delay.ms`. A start does so with what is left.
    pub(super) async fn remove_later(&self, doomed: Vec<PathBuf>) -> io::Result<()> {
        let delay_ms = self.machine.borrow().settings().file_delete_delay_ms;
        if delay_ms == 0 {
            return remove_all(&self.sys, doomed).await;
        }
        let (sys, name) = (self.sys.clone(), self.name.clone());
        self.sys.spawn("remove segment", async move {
            sys.sleep_until(sys.now().plus_ms(delay_ms)).await;
            if let Err(error) = remove_all(&sys, doomed).await {
                tracing::warn!(partition = %name, %error, "files of a deleted segment could not be removed; the next start will");
            }
        });
        Ok(())
    }
}
