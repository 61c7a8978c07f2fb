//! The real world: glommio executors, an io_uring of our own for each shard, files on ordinary descriptors.
//!
//! The only place that names the runtime, the ring, libc or a descriptor. A request's bytes come up through
//! [`ring`] and [`net`]; everything on a shard is woken by the driver in [`shard`]; other shards are reached through
//! [`mailbox`]; whatever could block goes through [`workers`].

mod buffers;
mod clock;
mod file;
mod mailbox;
mod net;
mod panics;
mod preflight;
mod ring;
mod run;
mod shard;
mod signals;
mod spin;
#[cfg(test)]
mod tests;
mod vectors;
mod watchdog;
mod workers;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use corelane_core::base::{FilePosition, Monotonic, ShardId, Timestamp};
use corelane_core::log::Block;

pub use file::File;
pub use net::{Connection, Listener, Socket};
pub use preflight::{Problem, preflight};
pub use run::run_shards;
pub use shard::ShardOptions;
pub use signals::{StopSignal, block_signals, let_stop_signals_end_the_process};

use super::{Activity, DirectoryEntry, DiskSpace, OpenMode, Sys};
use crate::hop::Mail;
use shard::Shard;
use workers::Lane;

/// A shard's handle on the real world.
#[derive(Clone)]
pub struct GlommioSys {
    shard: Rc<Shard>,
    stop_signals: Arc<OwnedFd>,
    ask_signals: Arc<OwnedFd>,
}

impl GlommioSys {
    /// Resolves when the process is asked to stop, once for each signal. One shard at a time waits for it.
    pub fn stop_requested(&self) -> impl Future<Output = io::Result<StopSignal>> + 'static {
        signals::next_stop(Rc::clone(&self.shard), Arc::clone(&self.stop_signals))
    }

    /// How often the watchdog tried to wake this shard.
    #[cfg(test)]
    fn kicks(&self) -> u64 {
        self.shard.pulse.kicks()
    }

    /// Runs `job` with a file on the helper thread that waits for the device.
    fn with_file<T: Send + 'static>(
        &self,
        file: &File,
        job: impl FnOnce(&File) -> T + Send + 'static,
    ) -> impl Future<Output = T> + 'static {
        let file = file.clone();
        self.shard.work(Lane::Device, move || job(&file))
    }
}

impl Sys for GlommioSys {
    type File = File;
    type Listener = Listener;
    type Socket = Socket;
    type Connection = Connection;

    fn shard(&self) -> ShardId {
        self.shard.id
    }

    fn shards(&self) -> u16 {
        self.shard.mailbox.shards() as u16
    }

    fn now(&self) -> Monotonic {
        clock::now()
    }

    fn wall(&self) -> Timestamp {
        clock::wall()
    }

    fn random(&self) -> u64 {
        self.shard.random.next()
    }

    fn sleep_until(&self, due: Monotonic) -> impl Future<Output = ()> + 'static {
        self.shard.sleep_until(due)
    }

    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.shard.spawn(name, task);
    }

    fn breathe(&self) -> impl Future<Output = ()> + 'static {
        self.shard.breathe()
    }

    fn activity(&self) -> Activity {
        self.shard.activity()
    }

    fn asked(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let next = signals::next(Rc::clone(&self.shard), Arc::clone(&self.ask_signals));
        async move { next.await.map(drop) }
    }

    fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        self.shard.work(Lane::Quick, job)
    }

    fn post(&self, to: ShardId, mail: Mail<Self>) -> Result<(), Mail<Self>> {
        self.shard.mailbox.post(to, mail)
    }

    fn room(&self, to: ShardId) -> usize {
        self.shard.mailbox.room(to)
    }

    fn room_freed(&self, to: ShardId) -> impl Future<Output = ()> + 'static {
        let shard = Rc::clone(&self.shard);
        poll_fn(
            move |context| {
                if shard.mailbox.poll_room(to, context.waker()) { Poll::Ready(()) } else { Poll::Pending }
            },
        )
    }

    fn mail(&self) -> impl Future<Output = (ShardId, Mail<Self>)> + 'static {
        let shard = Rc::clone(&self.shard);
        poll_fn(move |context| match shard.mailbox.poll_mail(context.waker()) {
            Some(mail) => Poll::Ready(mail),
            None => Poll::Pending,
        })
    }

    fn holds_mail(&self) -> bool {
        self.shard.mailbox.has_mail()
    }

    fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        net::listen(address)
    }

    fn local_address(&self, listener: &Listener) -> SocketAddr {
        listener.address()
    }

    fn accept(&self, listener: &Listener) -> impl Future<Output = io::Result<(Socket, SocketAddr)>> {
        listener.accept(Rc::clone(&self.shard))
    }

    fn adopt(&self, socket: Socket) -> io::Result<Connection> {
        net::adopt(socket)
    }

    fn release(&self, connection: &Connection) -> Option<Socket> {
        net::release(&connection.0)
    }

    fn receive(
        &self,
        connection: &Connection,
        buffer: BytesMut,
        missing: usize,
    ) -> impl Future<Output = (io::Result<usize>, BytesMut)> + 'static {
        net::receive(Rc::clone(&self.shard), Rc::clone(&connection.0), buffer, missing)
    }

    fn holds_more(&self, connection: &Connection) -> bool {
        connection.0.holds_more()
    }

    fn send(&self, connection: &Connection, slices: Vec<Bytes>) -> impl Future<Output = io::Result<()>> + 'static {
        net::send(Rc::clone(&self.shard), Rc::clone(&connection.0), slices)
    }

    fn send_file(
        &self,
        connection: &Connection,
        file: &File,
        position: FilePosition,
        len: u32,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        net::send_file(Rc::clone(&self.shard), Rc::clone(&connection.0), file.clone(), position, len)
    }

    fn disconnect(&self, connection: &Connection) {
        net::disconnect(&connection.0);
    }

    fn open(&self, path: PathBuf, mode: OpenMode) -> impl Future<Output = io::Result<File>> + 'static {
        file::open(Rc::clone(&self.shard), path, mode)
    }

    fn lock(&self, path: PathBuf) -> impl Future<Output = io::Result<File>> + 'static {
        file::lock(Rc::clone(&self.shard), path)
    }

    fn len(&self, file: &File) -> io::Result<u64> {
        file::len(file)
    }

    fn modified(&self, file: &File) -> io::Result<Timestamp> {
        file::modified(file)
    }

    fn read_at(
        &self,
        file: &File,
        position: FilePosition,
        len: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        file::read_at(Rc::clone(&self.shard), file.clone(), position, len)
    }

    fn write_at(
        &self,
        file: &File,
        position: FilePosition,
        slices: Vec<Bytes>,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        file::write_at(Rc::clone(&self.shard), file.clone(), position, slices)
    }

    fn write_blocks(
        &self,
        file: &File,
        position: FilePosition,
        blocks: Vec<Block>,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        file::write_blocks(Rc::clone(&self.shard), file.clone(), position, blocks)
    }

    fn sync_data(&self, file: &File) -> impl Future<Output = io::Result<()>> + 'static {
        file::sync_data(Rc::clone(&self.shard), file.clone())
    }

    fn truncate(&self, file: &File, len: u64) -> impl Future<Output = io::Result<()>> + 'static {
        self.with_file(file, move |file| file::truncate_now(file, len))
    }

    fn reserve(&self, file: &File, position: FilePosition, len: u64) -> impl Future<Output = io::Result<()>> + 'static {
        self.with_file(file, move |file| file::reserve_now(file, position, len))
    }

    fn writeback(
        &self,
        file: &File,
        position: FilePosition,
        len: u64,
    ) -> impl Future<Output = io::Result<()>> + 'static {
        self.with_file(file, move |file| file::writeback_now(file, position, len))
    }

    fn create_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.shard.work(Lane::Quick, move || file::create_directory_now(&path))
    }

    fn list(&self, path: PathBuf) -> impl Future<Output = io::Result<Vec<DirectoryEntry>>> + 'static {
        self.shard.work(Lane::Quick, move || file::list_now(&path))
    }

    fn rename(&self, from: PathBuf, to: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.shard.work(Lane::Quick, move || std::fs::rename(from, to))
    }

    fn remove_file(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.shard.work(Lane::Device, move || std::fs::remove_file(path))
    }

    fn remove_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        self.shard.work(Lane::Device, move || std::fs::remove_dir(path))
    }

    fn sync_directory(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + 'static {
        file::sync_directory(Rc::clone(&self.shard), path)
    }

    fn disk_space(&self, path: PathBuf) -> impl Future<Output = io::Result<DiskSpace>> + 'static {
        self.shard.work(Lane::Quick, move || file::disk_space_now(&path))
    }
}

/// The error of a system call that answered −1.
fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
