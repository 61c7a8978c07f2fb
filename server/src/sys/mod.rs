//! The one door to the outside world.
//!
//! Flows of the broker are ordinary async functions written against [`Sys`]. Files, sockets, both clocks, timers,
//! random bits, mailboxes between shards and work for a helper thread are reached through it and in no other way, so
//! that the whole broker, unchanged, also runs as a simulation: `sys::glommio` performs these operations, the
//! `simulation` test crate imitates them with a virtual clock, a memory disk that can lose power and a memory network.
//!
//! Shape: completion. A receive is given a buffer and yields it back filled; a send takes owned slices. Nothing is
//! borrowed across an await, so an operation that was abandoned (its future dropped) can finish in peace.
//!
//! Every method runs on the shard that owns the value, except that [`Sys::File`] and [`Sys::Socket`] may travel
//! between shards. None of them blocks the shard's thread on a device, save [`Sys::write_at`] while the page cache
//! takes it, which is what makes an append cheap.

pub mod glommio;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use corelane_core::base::{FilePosition, Monotonic, ShardId, Timestamp};
use corelane_core::log::Block;

use crate::hop::Mail;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only.
    Read,
    /// Must exist; reads and writes.
    Write,
    /// Is made if missing; reads and writes; contents are kept.
    Create,
    /// Must not exist yet; reads and writes.
    CreateNew,
    /// Must exist; written past the page cache, by [`Sys::write_blocks`] and in no other way. Fails with
    /// [`io::ErrorKind::InvalidInput`] on a file system that cannot do that.
    Blocks,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name, without its directory. Names that are not UTF-8 are left out: the broker never makes one.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// How much a file system holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that this process may still use.
    pub usable_bytes: u64,
}

/// What a shard did with its time so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// CPU time of its thread in nanoseconds.
    pub cpu_ns: u64,
    /// What of it went into waiting without sleeping.
    pub spun_ns: u64,
    /// How often it looked at completions, timers and mail.
    pub turns: u64,
    /// How often it used 10 ms or more between two of these, or was blocked in the kernel for as long.
    pub stalls: u64,
    /// Bytes that its sockets have received.
    pub received_bytes: u64,
    /// What of them was copied from one place in memory to another: small frames, and the beginnings of large ones, come
    /// through buffers that all connections share.
    pub copied_bytes: u64,
    /// Tasks that held it for more than a millisecond at once.
    pub long_polls: Vec<LongPolls>,
}

/// A task that held its shard for more than a millisecond at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongPolls {
    /// Its name.
    pub task: &'static str,
    /// How often.
    pub count: u64,
    /// For how long at most, in nanoseconds.
    pub max_ns: u64,
}

/// What the flows of one shard need of the world. One value a shard; a clone is another handle on the same.
pub trait Sys: Clone + Sized + 'static {
    /// An open file. A clone is the same file; it is closed with its last clone and may be read from any shard.
    type File: Clone + Send + Sync + 'static;
    /// A listening socket, on the shard that made it.
    type Listener: 'static;
    /// An accepted connection that no shard has adopted, or that one has released.
    type Socket: Send + 'static;
    /// A connection of this shard. A clone is the same connection; it is closed with its last clone.
    type Connection: Clone + 'static;

    // Identity.

    /// The shard this handle belongs to.
    fn shard(&self) -> ShardId;
    /// How many shards the node has.
    fn shards(&self) -> u16;

    // Clocks, timers, random bits.

    /// Monotonic time; never goes back; cheap enough for every request.
    fn now(&self) -> Monotonic;
    /// Wall-clock time.
    fn wall(&self) -> Timestamp;
    /// 64 random bits, good enough for identities that must not collide or be guessed.
    fn random(&self) -> u64;
    /// Resolves once [`now`](Self::now) has reached `due`, at most about a millisecond late on an idle shard.
    fn sleep_until(&self, due: Monotonic) -> impl Future<Output = ()> + 'static;

    // Tasks.

    /// Runs `task` on this shard until it ends, perhaps up to its first wait, or its end, before this returns. `name` is
    /// what the watchdog reports.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static);
    /// A real yield: lets completions, timers and mail be looked at before the task goes on. Long loops call it
    /// every [`limits::TASK_BUDGET_US`](corelane_core::limits::TASK_BUDGET_US).
    fn breathe(&self) -> impl Future<Output = ()> + 'static;
    /// What this shard did with its time so far.
    fn activity(&self) -> Activity;
    /// Resolves when somebody outside asks what the node does, with SIGUSR1. One shard at a time waits for it.
    fn asked(&self) -> impl Future<Output = io::Result<()>> + 'static;
    /// Runs `job` on a helper thread. For CPU work longer than a shard may be held, such as recompressing a batch.
    fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static;

    // Mail between shards: one bounded ring each way for each pair.

    /// Hands `mail` to another shard; it arrives after everything posted to that shard before.
    ///
    /// # Errors
    /// Gives the mail back if the ring holds [`limits::MAILBOX_MESSAGES_MAX`](corelane_core::limits::MAILBOX_MESSAGES_MAX).
    fn post(&self, to: ShardId, mail: Mail<Self>) -> Result<(), Mail<Self>>;
    /// How many more messages the ring to that shard takes now.
    fn room(&self, to: ShardId) -> usize;
    /// Resolves when the ring to that shard has taken messages out since the future was first polled, or has room.
    fn room_freed(&self, to: ShardId) -> impl Future<Output = ()> + 'static;
    /// The next message for this shard. One task at a time waits here.
    fn mail(&self) -> impl Future<Output = (ShardId, Mail<Self>)> + 'static;
    /// Whether a message has come that [`mail`](Self::mail) would give at once.
    fn holds_mail(&self) -> bool;

    // Network.

    /// Listens on `address`, with address reuse and a backlog for bursts of clients.
    ///
    /// # Errors
    /// Those of bind and listen.
    fn listen(&self, address: SocketAddr) -> io::Result<Self::Listener>;
    /// Where a listener really listens, with the port the system picked if 0 was asked for.
    fn local_address(&self, listener: &Self::Listener) -> SocketAddr;
    /// The next connection and its peer.
    fn accept(&self, listener: &Self::Listener) -> impl Future<Output = io::Result<(Self::Socket, SocketAddr)>>;
    /// Makes an accepted connection this shard's own.
    ///
    /// # Errors
    /// Those of setting the socket's options; the connection is closed then.
    fn adopt(&self, socket: Self::Socket) -> io::Result<Self::Connection>;
    /// Gives a connection back, for another shard to adopt, and this one to drop without another operation on it. `None` if
    /// something is in progress or kept for it here, or the system has no descriptor left: it stays where it is then.
    fn release(&self, connection: &Self::Connection) -> Option<Self::Socket>;
    /// Appends what has arrived, at least one byte, to `buffer` and gives it back with the count; 0 is the peer's end.
    ///
    /// `missing` says how many more bytes complete the frame in progress (0: none is). From
    /// [`limits::EXACT_RECEIVE_BYTES_MIN`](corelane_core::limits::EXACT_RECEIVE_BYTES_MIN) on, when the buffer has that
    /// much spare capacity, bytes land in it without a copy and never beyond the frame. One receive at a time.
    fn receive(
        &self,
        connection: &Self::Connection,
        buffer: BytesMut,
        missing: usize,
    ) -> impl Future<Output = (io::Result<usize>, BytesMut)> + 'static;
    /// Whether more than was received last is known to have come: the next receive need not wait for the peer.
    fn holds_more(&self, connection: &Self::Connection) -> bool;
    /// Sends all of `slices` in order. One send at a time.
    fn send(&self, connection: &Self::Connection, slices: Vec<Bytes>)
    -> impl Future<Output = io::Result<()>> + 'static;
    /// Sends `len` bytes of a file from `position`, in their place in the stream; the file must have them.
    fn send_file(
        &self,
        connection: &Self::Connection,
        file: &Self::File,
        position: FilePosition,
        len: u32,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Ends both directions now; pending operations fail.
    fn disconnect(&self, connection: &Self::Connection);

    // Files. Paths are absolute.

    /// Opens a file.
    fn open(&self, path: PathBuf, mode: OpenMode) -> impl Future<Output = io::Result<Self::File>> + 'static;
    /// Opens (making it if missing) and locks a file against other processes until the last clone is dropped.
    /// Fails with [`io::ErrorKind::WouldBlock`] if another process holds it.
    fn lock(&self, path: PathBuf) -> impl Future<Output = io::Result<Self::File>> + 'static;
    /// Length in bytes.
    fn len(&self, file: &Self::File) -> io::Result<u64>;
    /// When its content last changed, by the wall clock.
    fn modified(&self, file: &Self::File) -> io::Result<Timestamp>;
    /// Reads up to `len` bytes at `position`, fewer only at the end of the file. Done at once when the page cache has
    /// them, else off the shard.
    fn read_at(
        &self,
        file: &Self::File,
        position: FilePosition,
        len: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static;
    /// Writes all of `slices` one behind the other at `position` into the page cache.
    ///
    /// After an error any part of it may have been written: the caller truncates. Normally complete at the first
    /// poll; while the device stalls it waits on a helper thread instead of holding the shard. It may also be told to
    /// wait for the kernel each time. It goes on if its future is dropped.
    fn write_at(
        &self,
        file: &Self::File,
        position: FilePosition,
        slices: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Writes whole blocks at a block's bound of a file that was opened with [`OpenMode::Blocks`], past the page cache, and
    /// resolves when they, and the length needed to read them, survive a loss of power.
    ///
    /// After an error any of their sectors may have been written. It goes on if its future is dropped.
    fn write_blocks(
        &self,
        file: &Self::File,
        position: FilePosition,
        blocks: Vec<Block>,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Makes the file's data, and the length needed to read it, survive a loss of power (fdatasync), off the shard.
    fn sync_data(&self, file: &Self::File) -> impl Future<Output = io::Result<()>> + 'static;
    /// Sets the length, off the shard.
    fn truncate(&self, file: &Self::File, len: u64) -> impl Future<Output = io::Result<()>> + 'static;
    /// Reserves extents for `len` bytes from `position` without changing the file's length, off the shard. A file
    /// system that cannot is not an error.
    fn reserve(
        &self,
        file: &Self::File,
        position: FilePosition,
        len: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Starts writing dirty pages of the range to the device and does not wait for them, off the shard.
    fn writeback(
        &self,
        file: &Self::File,
        position: FilePosition,
        len: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static;
    /// Makes a directory; its parent must exist. One that is there already is not an error.
    fn create_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static;
    /// What a directory holds, sorted by name.
    fn list(&self, path: PathBuf) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static;
    /// Renames, replacing the target.
    fn rename(&self, from: PathBuf, to: PathBuf) -> impl Future<Output = io::Result<()>> + 'static;
    /// Removes a file.
    fn remove_file(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static;
    /// Removes an empty directory.
    fn remove_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static;
    /// Makes the names in a directory survive a loss of power (fsync of the directory), off the shard.
    fn sync_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static;

    /// How much the file system of a path holds, asked off the shard.
    fn disk_space(&self, path: PathBuf) -> impl Future<Output = io::Result<DiskSpace>> + 'static;

    /// Reads a whole small file; `None` if there is none.
    fn read_file(&self, path: PathBuf) -> impl Future<Output = io::Result<Option<Bytes>>> {
        async move {
            match self.open(path, OpenMode::Read).await {
                Ok(file) => {
                    let len = usize::try_from(self.len(&file)?).map_err(io::Error::other)?;
                    self.read_at(&file, FilePosition(0), len).await.map(Some)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        }
    }

    /// Replaces a small file so that after a crash it has the old contents or the new, never a mixture: written
    /// beside it, synced, renamed over it, directory synced.
    fn replace_file(&self, path: &Path, contents: Bytes) -> impl Future<Output = io::Result<()>> {
        let beside = path.with_added_extension("tmp");
        let path = path.to_owned();
        async move {
            let file = self.open(beside.clone(), OpenMode::Create).await?;
            self.truncate(&file, 0).await?;
            self.write_at(&file, FilePosition(0), vec![contents]).await?;
            self.sync_data(&file).await?;
            drop(file);
            let directory = path.parent().map(Path::to_owned).unwrap_or_default();
            self.rename(beside, path).await?;
            self.sync_directory(directory).await
        }
    }
}
