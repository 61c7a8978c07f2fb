//! Appends of strict topics that go past the page cache, in whole blocks, and are on the device when their write is done
//! (`corelane.append.engine`).
//!
//! | step | the batch is in | after kill -9 | after loss of power | seen by readers |
//! | --- | --- | --- | --- | --- |
//! | zeros are put ahead | – | zeros behind the log's end, cut at the start | the same | no |
//! | admitted | the block that is being made up | gone, not acknowledged | gone, not acknowledged | no |
//! | being written | the device's queue | there, or cut at a torn batch | the same | no |
//! | written | the device | there | there | no |
//! | acknowledged | the device | there | there | yes |
//!
//! The device writes blocks, so the one in which the log ends is written again with each append: the bytes that it has
//! from before are the same, and stand whatever of the new ones a crash lets through ([`BlockTail`]).
//!
//! A write is quick only where the file's blocks are there and no longer count as unwritten, since else the file system
//! has to note that, too: so zeros are put on the device ahead. While they are there, the file is longer than the log. They
//! are cut off when the segment ends, when the topic is no longer strict, and before a clean stop is written down. What a
//! crash leaves of them, the next start cuts off as it does with a torn batch; a write of a process that was killed may still
//! be on its way then, but the file system lets no cut pass it, and where there is something on its way there are zeros to
//! be cut.
//!
//! Order: one task appends, and waits for each write. Zeros are put behind what it has room for, by a task of its own;
//! whoever cuts the file or writes into it otherwise waits for that task first.
//!
//! Readers go through the page cache, which holds nothing of what was written past it: they read from the device.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use corelane_core::base::FilePosition;
use corelane_core::limits::{ZEROED_AHEAD_BYTES_MAX, ZEROED_AHEAD_BYTES_MIN, ZEROED_BYTES};
use corelane_core::log::SegmentFileKind;
use corelane_core::log::blocks::{BlockTail, block_end, block_start, zeros};

use super::PartitionLog;
use super::segments::path_of;
use crate::local::Signal;
use crate::sys::{OpenMode, Sys};

/// The active segment, while it is written past the page cache.
pub(super) struct Direct<S: Sys> {
    file: S::File,
    tail: RefCell<BlockTail>,
    /// Up to here the file's blocks are on the device, with the log's bytes or with zeros.
    ready: Cell<FilePosition>,
    /// A task puts zeros ahead.
    zeroing: Cell<bool>,
    /// Why it could not.
    failed: RefCell<Option<io::Error>>,
    /// Raised when it has ended.
    zeroed: Signal,
}

/// Why a write past the page cache failed.
pub(super) enum DirectError {
    /// Nothing of the batches was written.
    Before(io::Error),
    /// Anything of the block in which the log ended may have been.
    Within(io::Error),
}

/// How many zeros a segment of that length should have ahead.
fn ahead_bytes(end: FilePosition) -> u64 {
    end.0.clamp(ZEROED_AHEAD_BYTES_MIN, ZEROED_AHEAD_BYTES_MAX)
}

impl<S: Sys> PartitionLog<S> {
    /// Whether appends go past the page cache now.
    pub(super) fn is_direct(&self) -> bool {
        self.may_be_direct.get() && self.machine.borrow().settings().flush_messages == 1
    }

    /// Writes slices at the log's end, past the page cache; false, with nothing written, if the file system cannot do that.
    pub(super) async fn write_direct(
        self: &Rc<Self>,
        position: FilePosition,
        slices: &[Bytes],
    ) -> Result<bool, DirectError> {
        let open = self.direct.borrow().clone();
        let direct = match open {
            Some(direct) => direct,
            None => match self.begin_direct(position).await.map_err(DirectError::Before)? {
                Some(direct) => direct,
                None => return Ok(false),
            },
        };
        let bytes: usize = slices.iter().map(Bytes::len).sum();
        self.make_ready(&direct, block_end(position.plus(bytes as u64))).await.map_err(DirectError::Before)?;
        let (at, blocks) = {
            let mut tail = direct.tail.borrow_mut();
            assert_eq!(tail.end(), position, "nothing else has written to the log");
            tail.append(slices)
        };
        self.sys.write_blocks(&direct.file, at, blocks).await.map_err(DirectError::Within)?;
        let end = direct.tail.borrow().end();
        if direct.ready.get().0 - end.0 < ahead_bytes(end) / 2 {
            self.zero_ahead(&direct, direct.ready.get());
        }
        Ok(true)
    }

    /// Opens the active segment for it; `None`, from now on, if the file system cannot do that.
    async fn begin_direct(&self, end: FilePosition) -> io::Result<Option<Rc<Direct<S>>>> {
        let base = self.machine.borrow().active().base;
        let path = path_of(&self.directory, base, SegmentFileKind::Log);
        let file = match self.sys.open(path, OpenMode::Blocks).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                tracing::warn!(partition = %self.name, "the file system has no writes past the page cache; it is used");
                self.may_be_direct.set(false);
                return Ok(None);
            }
            file => file?,
        };
        let start = block_start(end);
        let held = usize::try_from(end.0 - start.0).map_err(io::Error::other)?;
        let held = self.sys.read_at(&self.active_files().log, start, held).await?;
        let tail = BlockTail::new(end, &held).ok_or(io::ErrorKind::UnexpectedEof)?;
        let direct = Rc::new(Direct {
            file,
            tail: RefCell::new(tail),
            ready: Cell::new(start),
            zeroing: Cell::new(false),
            failed: RefCell::default(),
            zeroed: Signal::default(),
        });
        *self.direct.borrow_mut() = Some(Rc::clone(&direct));
        Ok(Some(direct))
    }

    /// Returns once the blocks up to `end` are on the device.
    async fn make_ready(self: &Rc<Self>, direct: &Rc<Direct<S>>, end: FilePosition) -> io::Result<()> {
        while direct.ready.get() < end {
            // Asked for first: a task that has nothing to wait for ends before its spawner goes on.
            let zeroed = direct.zeroed.next();
            self.zero_ahead(direct, end);
            zeroed.await;
            let failed = direct.failed.take();
            if direct.ready.get() < end
                && let Some(error) = failed
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Has zeros put on the device behind what is ready, at least up to `needed`.
    fn zero_ahead(self: &Rc<Self>, direct: &Rc<Direct<S>>, needed: FilePosition) {
        let segment_bytes = self.machine.borrow().settings().roll.segment_bytes;
        let log_end = direct.tail.borrow().end();
        let wanted = block_end(log_end.plus(ahead_bytes(log_end)).min(FilePosition(segment_bytes)));
        let end = wanted.max(needed);
        if end <= direct.ready.get() || direct.zeroing.replace(true) {
            return;
        }
        direct.failed.take();
        let (this, direct) = (Rc::clone(self), Rc::clone(direct));
        self.sys.spawn("zeros ahead", async move {
            // What the log holds of the first block stays.
            let mut at = block_end(direct.tail.borrow().end()).max(direct.ready.get());
            direct.ready.set(at);
            while at < end {
                // First what somebody waits for: a disk that is nearly full may not have room for more.
                let next = if at < needed { needed } else { end };
                let bytes = (next.0 - at.0).min(ZEROED_BYTES);
                if let Err(error) = this.sys.write_blocks(&direct.file, at, zeros(bytes)).await {
                    *direct.failed.borrow_mut() = Some(error);
                    break;
                }
                at = at.plus(bytes);
                direct.ready.set(at);
            }
            direct.zeroing.set(false);
            direct.zeroed.raise();
        });
    }

    /// Goes back to the page cache: what was put ahead of the log is cut off, for certain if `is_durable`.
    pub(super) async fn end_direct(&self, is_durable: bool) -> io::Result<()> {
        if !self.forget_direct().await {
            return Ok(());
        }
        let log = self.active_files().log;
        let bytes = self.machine.borrow().written_bytes();
        self.sys.truncate(&log, bytes).await?;
        if is_durable { self.sys.sync_data(&log).await } else { Ok(()) }
    }

    /// Lets go of the file once nothing writes to it; whether it was written past the page cache.
    pub(super) async fn forget_direct(&self) -> bool {
        let Some(direct) = self.direct.take() else { return false };
        while direct.zeroing.get() {
            direct.zeroed.next().await;
        }
        true
    }
}
