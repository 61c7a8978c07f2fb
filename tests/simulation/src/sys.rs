//! The door to the simulated world: [`Sys`] on a machine of a [`Simulation`](crate::machine::Simulation).
//!
//! Operations are begun at the first poll and go on if their future is dropped. From the instant of a crash on, no
//! operation has any effect and none returns.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use corelane_core::base::{FilePosition, Monotonic, ShardId, Timestamp};
use corelane_core::limits::BLOCK_BYTES;
use corelane_core::log::blocks::{Block, bytes_of};
use corelane_server::hop::Mail;
use corelane_server::sys::{Activity, DirectoryEntry, DiskSpace, OpenMode, Sys};

use crate::disk::names::Inode;
use crate::disk::{Operation, Outcome};
use crate::executor::{Group, Slot};
use crate::machine::{MachineInner, Process};
use crate::network::{End, Listener};

/// Wall-clock time of virtual time 0, in milliseconds since 1970.
const WALL_START_MS: i64 = 1_750_000_000_000;

/// Typical durations. The clock does not pass while code runs, so these alone make up time.
/// What the simulated file system says that it holds.
const DISK_BYTES: u64 = 1 << 40;
const BREATHE_NS: u64 = 500;
const MAIL_NS: u64 = 5_000;
const WORK_NS: u64 = 100_000;
const HELPER_NS: u64 = 30_000;
const COLD_READ_NS: u64 = 200_000;
const STALLED_WRITE_NS: u64 = 3_000_000;
const SYNC_NS: u64 = 500_000;
/// Reads out of a thousand that the page cache does not have.
const COLD_READS_PER_MILLE: u64 = 200;
/// Writes out of a thousand that meet a stalled device.
const STALLED_WRITES_PER_MILLE: u64 = 50;
/// Most that one send_file reads from the file at a time, as a kernel does, between which the file may change.
const SEND_FILE_PIECE_BYTES: usize = 64 * 1024;

/// The handle of one shard.
#[derive(Clone)]
pub struct SimulatedSys {
    process: Process,
    shard: ShardId,
}

/// An open file.
#[derive(Clone, Debug)]
pub struct SimulatedFile {
    inode: Inode,
    writable: bool,
    /// Opened with [`OpenMode::Blocks`].
    by_blocks: bool,
    /// Keeps it locked.
    _lock: Option<Arc<()>>,
}

impl SimulatedSys {
    pub(crate) fn new(process: &Process, shard: ShardId) -> Self {
        Self { process: process.clone(), shard }
    }

    fn machine(&self) -> &MachineInner {
        &self.process.0.machine.0
    }

    fn group(&self) -> Group {
        self.process.group(self.shard)
    }

    fn latency_ns(&self, typical_ns: u64) -> u64 {
        self.machine().random.borrow_mut().latency_ns(typical_ns)
    }

    fn chance(&self, per_mille: u64) -> bool {
        self.machine().random.borrow_mut().chance(per_mille)
    }

    /// Never returns once the process is dead.
    async fn while_alive(&self) {
        if !self.process.0.alive.get() {
            pending::<()>().await;
        }
    }

    async fn pause(&self, typical_ns: u64) {
        let due = Monotonic(self.now().0 + self.latency_ns(typical_ns));
        self.machine().executor.sleep_until(self.group(), due).await;
        self.while_alive().await;
    }

    /// Performs a change of the disk: at once, or off the shard in about that time.
    async fn change(self, operation: Operation, typical_ns: Option<u64>) -> io::Result<Outcome> {
        self.while_alive().await;
        let machine = self.machine();
        machine.executor.trace(format_args!("shard {}: {operation}", self.shard));
        let begun = machine.disk.borrow_mut().begin(operation);
        let Some(id) = begun else { return self.die().await };
        let Some(typical_ns) = typical_ns else {
            let completed = machine.disk.borrow_mut().complete(id);
            return match completed {
                Some(result) => self.report(result),
                None => self.die().await,
            };
        };
        let slot = Slot::default();
        let (filled, completing) = (slot.clone(), self.clone());
        machine.executor.after(self.process.0.operations, self.latency_ns(typical_ns), move || {
            let completed = completing.machine().disk.borrow_mut().complete(id);
            if let Some(result) = completed {
                filled.fill(completing.report(result));
            }
        });
        slot.wait().await
    }

    fn report(&self, result: io::Result<Outcome>) -> io::Result<Outcome> {
        if let Err(error) = &result {
            self.machine().executor.trace(format_args!("shard {}: failed: {error}", self.shard));
        }
        result
    }

    fn read_report(&self, result: io::Result<Bytes>) -> io::Result<Bytes> {
        if let Err(error) = &result {
            self.machine().executor.trace(format_args!("shard {}: read failed: {error}", self.shard));
        }
        result
    }

    /// The machine has crashed under the running task.
    async fn die<T>(&self) -> T {
        self.process.0.alive.set(false);
        pending().await
    }

    async fn change_off_shard(self, operation: Operation, typical_ns: u64) -> io::Result<()> {
        self.change(operation, Some(typical_ns)).await.map(drop)
    }

    async fn opened(self, operation: Operation, writable: bool) -> io::Result<SimulatedFile> {
        match self.change(operation, Some(HELPER_NS)).await? {
            Outcome::Opened(inode, lock) => Ok(SimulatedFile { inode, writable, by_blocks: false, _lock: lock }),
            Outcome::Done => unreachable!("an open yields a file"),
        }
    }
}

fn position_of(position: FilePosition) -> usize {
    usize::try_from(position.0).expect("files fit in memory")
}

fn writable(file: &SimulatedFile) -> io::Result<Inode> {
    // EBADF, as Linux answers a write to a descriptor that was opened to read.
    if file.writable { Ok(file.inode) } else { Err(io::Error::from_raw_os_error(9)) }
}

impl Sys for SimulatedSys {
    type File = SimulatedFile;
    type Listener = Listener;
    type Socket = End;
    type Connection = End;

    fn shard(&self) -> ShardId {
        self.shard
    }

    fn shards(&self) -> u16 {
        self.process.shards()
    }

    fn now(&self) -> Monotonic {
        self.machine().executor.now()
    }

    fn wall(&self) -> Timestamp {
        Timestamp(WALL_START_MS) + i64::try_from(self.now().0 / 1_000_000).unwrap_or(i64::MAX)
    }

    fn random(&self) -> u64 {
        self.machine().random.borrow_mut().bits()
    }

    fn sleep_until(&self, due: Monotonic) -> impl Future<Output = ()> + 'static {
        self.machine().executor.sleep_until(self.group(), due)
    }

    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        if self.process.0.alive.get() {
            self.machine().executor.spawn_eagerly(self.group(), name, task);
        }
    }

    fn breathe(&self) -> impl Future<Output = ()> + 'static {
        let sys = self.clone();
        async move { sys.pause(BREATHE_NS).await }
    }

    fn activity(&self) -> Activity {
        Activity::default()
    }

    // Nobody sends signals to a simulated process.
    fn asked(&self) -> impl Future<Output = io::Result<()>> + 'static {
        std::future::pending()
    }

    fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        let sys = self.clone();
        async move {
            sys.pause(WORK_NS).await;
            job()
        }
    }

    fn post(&self, to: ShardId, mail: Mail<Self>) -> Result<(), Mail<Self>> {
        if !self.process.0.alive.get() {
            return Ok(());
        }
        let due = Monotonic(self.now().0 + self.latency_ns(MAIL_NS));
        let due = self.process.0.mailboxes.borrow_mut().post(self.shard, to, due, mail)?;
        let receiving = self.clone();
        self.machine().executor.after(self.process.group(to), due.since_ns(self.now()), move || {
            receiving.process.0.mailboxes.borrow_mut().wake(to);
        });
        Ok(())
    }

    fn room(&self, to: ShardId) -> usize {
        self.process.0.mailboxes.borrow_mut().room(self.shard, to)
    }

    fn room_freed(&self, to: ShardId) -> impl Future<Output = ()> + 'static {
        let sys = self.clone();
        poll_fn(move |context| sys.process.0.mailboxes.borrow_mut().poll_room(sys.shard, to, context))
    }

    fn mail(&self) -> impl Future<Output = (ShardId, Mail<Self>)> + 'static {
        let sys = self.clone();
        poll_fn(move |context| {
            let mut random = sys.machine().random.borrow_mut();
            sys.process.0.mailboxes.borrow_mut().poll_mail(sys.shard, sys.now(), &mut random, context)
        })
    }

    fn holds_mail(&self) -> bool {
        self.process.0.mailboxes.borrow_mut().has_mail(self.shard, self.now())
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        self.machine().network.listen(address)
    }

    fn local_address(&self, listener: &Listener) -> SocketAddr {
        self.machine().network.local_address(listener)
    }

    async fn accept(&self, listener: &Listener) -> io::Result<(End, SocketAddr)> {
        self.while_alive().await;
        poll_fn(|context| self.machine().network.poll_accept(listener, context)).await
    }

    fn adopt(&self, socket: End) -> io::Result<End> {
        Ok(socket)
    }

    fn release(&self, connection: &End) -> Option<End> {
        self.machine().network.is_quiet(connection).then(|| connection.clone())
    }

    fn receive(
        &self,
        connection: &End,
        buffer: BytesMut,
        missing: usize,
    ) -> impl Future<Output = (io::Result<usize>, BytesMut)> + 'static {
        let (sys, connection) = (self.clone(), connection.clone());
        async move {
            sys.while_alive().await;
            let network = sys.machine().network.clone();
            network.receive(connection, buffer, missing).await
        }
    }

    fn holds_more(&self, connection: &End) -> bool {
        self.machine().network.holds_more(connection)
    }

    fn send(&self, connection: &End, slices: Vec<Bytes>) -> impl Future<Output = io::Result<()>> + 'static {
        let (sys, connection) = (self.clone(), connection.clone());
        async move {
            sys.while_alive().await;
            let network = sys.machine().network.clone();
            network.send(connection, slices).await
        }
    }

    fn send_file(
        &self,
        connection: &End,
        file: &SimulatedFile,
        position: FilePosition,
        len: u32,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (sys, connection, inode) = (self.clone(), connection.clone(), file.inode);
        async move {
            sys.while_alive().await;
            let network = sys.machine().network.clone();
            let mut position = position_of(position);
            // From the page cache into the socket buffer, as that has room, and nowhere in between.
            let take = |most: usize| {
                let read = sys.machine().disk.borrow_mut().try_read(inode, position, most.min(SEND_FILE_PIECE_BYTES));
                let piece = sys.read_report(read)?;
                position += piece.len();
                if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) }
            };
            network.send_from(connection, len as usize, take).await
        }
    }

    fn disconnect(&self, connection: &End) {
        if self.process.0.alive.get() {
            self.machine().network.disconnect(connection);
        }
    }

    fn open(&self, path: PathBuf, mode: OpenMode) -> impl Future<Output = io::Result<SimulatedFile>> + 'static {
        let by_blocks = mode == OpenMode::Blocks;
        let opened = self.clone().opened(Operation::Open(path, mode), mode != OpenMode::Read);
        async move { Ok(SimulatedFile { by_blocks, ..opened.await? }) }
    }

    fn lock(&self, path: PathBuf) -> impl Future<Output = io::Result<SimulatedFile>> + 'static {
        self.clone().opened(Operation::Lock(path), true)
    }

    fn len(&self, file: &SimulatedFile) -> io::Result<u64> {
        Ok(self.machine().disk.borrow().len(file.inode) as u64)
    }

    fn modified(&self, file: &SimulatedFile) -> io::Result<Timestamp> {
        Ok(self.machine().modified.borrow().get(&file.inode).copied().unwrap_or(Timestamp(WALL_START_MS)))
    }

    fn read_at(
        &self,
        file: &SimulatedFile,
        position: FilePosition,
        len: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let (sys, inode) = (self.clone(), file.inode);
        async move {
            sys.while_alive().await;
            if sys.chance(COLD_READS_PER_MILLE) {
                sys.pause(COLD_READ_NS).await;
            }
            let read = sys.machine().disk.borrow_mut().try_read(inode, position_of(position), len);
            sys.read_report(read)
        }
    }

    fn write_at(
        &self,
        file: &SimulatedFile,
        position: FilePosition,
        slices: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (sys, inode, by_blocks) = (self.clone(), writable(file), file.by_blocks);
        async move {
            let inode = inode?;
            assert!(!by_blocks, "such a file is written past the page cache only");
            let operation = Operation::Write(inode, position_of(position), slices.concat().into());
            sys.machine().modified.borrow_mut().insert(inode, sys.wall());
            let stalled = sys.chance(STALLED_WRITES_PER_MILLE).then_some(STALLED_WRITE_NS);
            sys.change(operation, stalled).await.map(drop)
        }
    }

    fn write_blocks(
        &self,
        file: &SimulatedFile,
        position: FilePosition,
        blocks: Vec<Block>,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (sys, inode, by_blocks) = (self.clone(), writable(file), file.by_blocks);
        async move {
            assert!(by_blocks, "the file was opened for writes of blocks");
            assert_eq!(position.0 % BLOCK_BYTES as u64, 0, "a write of blocks begins at the bounds of one");
            let inode = inode?;
            let bytes = Bytes::copy_from_slice(bytes_of(&blocks));
            sys.machine().modified.borrow_mut().insert(inode, sys.wall());
            sys.change_off_shard(Operation::WriteBlocks(inode, position_of(position), bytes), SYNC_NS).await
        }
    }

    fn sync_data(&self, file: &SimulatedFile) -> impl Future<Output = io::Result<()>> + 'static {
        self.clone().change_off_shard(Operation::Sync(file.inode), SYNC_NS)
    }

    fn truncate(&self, file: &SimulatedFile, len: u64) -> impl Future<Output = io::Result<()>> + 'static {
        let (sys, inode) = (self.clone(), writable(file));
        async move { sys.change_off_shard(Operation::Truncate(inode?, position_of(FilePosition(len))), HELPER_NS).await }
    }

    fn reserve(
        &self,
        file: &SimulatedFile,
        _position: FilePosition,
        _len: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        let (sys, inode) = (self.clone(), writable(file));
        async move {
            sys.pause(HELPER_NS).await;
            inode.map(drop)
        }
    }

    fn writeback(
        &self,
        _file: &SimulatedFile,
        _position: FilePosition,
        _len: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        // What it writes may reach the device and may not: a loss of power draws that for every page anyway.
        let sys = self.clone();
        async move {
            sys.pause(HELPER_NS).await;
            Ok(())
        }
    }

    fn create_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.clone().change_off_shard(Operation::CreateDirectory(path), HELPER_NS)
    }

    fn list(&self, path: PathBuf) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static {
        let sys = self.clone();
        async move {
            sys.pause(HELPER_NS).await;
            sys.machine().disk.borrow().list(&path)
        }
    }

    fn rename(&self, from: PathBuf, to: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.clone().change_off_shard(Operation::Rename(from, to), HELPER_NS)
    }

    fn remove_file(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.clone().change_off_shard(Operation::RemoveFile(path), HELPER_NS)
    }

    fn remove_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.clone().change_off_shard(Operation::RemoveDirectory(path), HELPER_NS)
    }

    fn sync_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.clone().change_off_shard(Operation::SyncDirectory(path), SYNC_NS)
    }

    fn disk_space(&self, _path: PathBuf) -> impl Future<Output = io::Result<DiskSpace>> + 'static {
        let sys = self.clone();
        async move {
            sys.pause(HELPER_NS).await;
            Ok(DiskSpace { total_bytes: DISK_BYTES, usable_bytes: DISK_BYTES })
        }
    }
}
