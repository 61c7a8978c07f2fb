//! Files: what the page cache can answer is done at once, all else by the shard's helper threads.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use corelane_core::base::{FilePosition, Timestamp};
use corelane_core::limits::{APPEND_BYTES_MAX, BLOCK_BYTES};
use corelane_core::log::blocks::{Block, bytes_of};

use super::check;
use super::ring::Cargo;
use super::shard::{Operation, Shard};
use super::vectors::Vectors;
use super::workers::{Lane, Workers};
use crate::sys::{DirectoryEntry, DiskSpace, OpenMode};

/// Bytes that one read from the page cache copies, before other tasks have their turn.
const READ_BYTES_MAX: usize = 256 * 1024;
/// A write that takes longer than this did not just copy to the page cache.
const STALL_MIN: Duration = Duration::from_millis(5);
/// Writes in a row that the helper must do quickly before the shard writes by itself again.
const CALM_WRITES: u32 = 8;
/// Bytes after which a large write lets other tasks run.
const WRITE_BREATH_BYTES: usize = 16 * APPEND_BYTES_MAX;

/// An open file.
#[derive(Clone)]
pub struct File(Arc<Opened>);

struct Opened {
    /// `None` only while it is dropped.
    descriptor: Option<OwnedFd>,
    workers: Arc<Workers>,
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0.descriptor.as_ref().expect("open until dropped").as_raw_fd()
    }
}

impl Drop for Opened {
    /// The last close of a file without a name frees its blocks, which may take long.
    fn drop(&mut self) {
        let descriptor = self.descriptor.take();
        self.workers.run_detached(Lane::Device, move || drop(descriptor));
    }
}

/// Sees when the device holds up writes to the page cache, and for how long it should not be trusted.
#[derive(Default)]
pub(super) struct StallGuard {
    /// Quick writes that are still missing before the shard writes by itself again; 0 is calm.
    distrust: Cell<u32>,
    /// For tests: what every write is taken to have lasted at least.
    #[cfg(test)]
    pub(super) slowness: Cell<Duration>,
    /// For tests: writes that went to a helper.
    #[cfg(test)]
    pub(super) handed_over: Cell<u32>,
}

impl StallGuard {
    pub(super) fn is_stalled(&self) -> bool {
        self.distrust.get() > 0
    }

    fn record(&self, took: Duration) {
        #[cfg(test)]
        let took = took.max(self.slowness.get());
        let distrust = if took > STALL_MIN { CALM_WRITES } else { self.distrust.get().saturating_sub(1) };
        self.distrust.set(distrust);
    }
}

pub(super) async fn open(shard: Rc<Shard>, path: PathBuf, mode: OpenMode) -> io::Result<File> {
    let workers = Arc::clone(&shard.workers);
    shard.work(Lane::Quick, move || open_now(&path, mode, workers)).await
}

fn open_now(path: &Path, mode: OpenMode, workers: Arc<Workers>) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::Write => options.write(true),
        OpenMode::Create => options.write(true).create(true),
        OpenMode::CreateNew => options.write(true).create_new(true),
        OpenMode::Blocks => options.write(true).custom_flags(libc::O_DIRECT),
    };
    let file = options.open(path)?;
    Ok(File(Arc::new(Opened { descriptor: Some(file.into()), workers })))
}

/// Locks by an open-file-description lock: it excludes the record locks of Java's `FileChannel.tryLock`, and unlike
/// those it is not lost when this process closes another descriptor of the file.
pub(super) async fn lock(shard: Rc<Shard>, path: PathBuf) -> io::Result<File> {
    let workers = Arc::clone(&shard.workers);
    shard
        .work(Lane::Quick, move || {
            let file = open_now(&path, OpenMode::Create, workers)?;
            let whole = libc::flock {
                l_type: libc::F_WRLCK as _,
                l_whence: libc::SEEK_SET as _,
                l_start: 0,
                l_len: 0,
                l_pid: 0,
            };
            // SAFETY: the lock description lives through the call.
            match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const whole) }) {
                Ok(_) => Ok(file),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                Err(error) => Err(error),
            }
        })
        .await
}

pub(super) fn len(file: &File) -> io::Result<u64> {
    u64::try_from(status(file)?.st_size).map_err(io::Error::other)
}

pub(super) fn modified(file: &File) -> io::Result<Timestamp> {
    let status = status(file)?;
    Ok(Timestamp(status.st_mtime.saturating_mul(1_000).saturating_add(status.st_mtime_nsec / 1_000_000)))
}

fn status(file: &File) -> io::Result<libc::stat64> {
    let mut status = std::mem::MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: the kernel writes a whole status.
    check(unsafe { libc::fstat64(file.as_raw_fd(), status.as_mut_ptr()) })?;
    // SAFETY: written above.
    Ok(unsafe { status.assume_init() })
}

pub(super) async fn read_at(shard: Rc<Shard>, file: File, position: FilePosition, len: usize) -> io::Result<Bytes> {
    let mut position = position.0;
    let mut len = len;
    if len > READ_BYTES_MAX {
        // A caller may ask for more than there is; memory is taken for what is there.
        let left = self::len(&file)?.saturating_sub(position);
        len = usize::try_from(left).unwrap_or(usize::MAX).min(len);
    }
    let mut buffer = BytesMut::with_capacity(len);
    while buffer.len() < len {
        let want = (len - buffer.len()).min(READ_BYTES_MAX);
        match read_cached(&file, position, want, &mut buffer) {
            Ok(Some(0)) => break,
            Ok(Some(count)) => {
                position += count as u64;
                if buffer.len() < len && count == READ_BYTES_MAX {
                    shard.breathe().await;
                }
            }
            Ok(None) => {
                let rest = len - buffer.len();
                return shard
                    .work(Lane::Quick, move || read_rest(&file, position, rest, buffer))
                    .await
                    .map(BytesMut::freeze);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.freeze())
}

/// Appends up to `want` bytes of the file to `buffer`, which has room for them; `None` if the page cache does not have
/// them, or the file system cannot tell.
pub(super) fn read_cached(file: &File, position: u64, want: usize, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
    match read_some(file, position, want, buffer, libc::RWF_NOWAIT) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP)) => Ok(None),
        result => result.map(Some),
    }
}

fn read_rest(file: &File, mut position: u64, rest: usize, mut buffer: BytesMut) -> io::Result<BytesMut> {
    let end = buffer.len() + rest;
    while buffer.len() < end {
        let want = end - buffer.len();
        match read_some(file, position, want, &mut buffer, 0) {
            Ok(0) => break,
            Ok(count) => position += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer)
}

/// Appends up to `want` bytes of the file to `buffer`, which has room for them.
fn read_some(file: &File, position: u64, want: usize, buffer: &mut BytesMut, flags: i32) -> io::Result<usize> {
    let position = libc::off64_t::try_from(position).map_err(io::Error::other)?;
    let spare = buffer.spare_capacity_mut();
    let vector = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len().min(want) };
    // SAFETY: the vector names spare capacity of a buffer that nobody else has.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const vector, 1, position, flags) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written `count` bytes there.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// Sees to it that a range is in the page cache, so that sending from it does not wait for the device.
pub(super) async fn make_resident(shard: &Rc<Shard>, file: &File, position: u64, len: usize) -> io::Result<()> {
    if is_resident(file, position, len) {
        return Ok(());
    }
    let file = file.clone();
    shard.work(Lane::Quick, move || read_rest(&file, position, len, BytesMut::with_capacity(len)).map(drop)).await
}

/// Whether the page cache holds the whole range; no when the kernel cannot tell.
fn is_resident(file: &File, position: u64, len: usize) -> bool {
    /// Since Linux 6.5; the same number on every architecture.
    const SYS_CACHESTAT: libc::c_long = 451;
    const PAGE_BYTES: u64 = 4096;
    let range = [position, len as u64];
    let mut pages = [0u64; 5];
    // SAFETY: the kernel reads the two numbers of the range and writes five counts.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range.as_ptr(), pages.as_mut_ptr(), 0) };
    let first = position / PAGE_BYTES;
    let end = (position + len as u64).div_ceil(PAGE_BYTES);
    answer == 0 && pages[0] >= end - first
}

pub(super) async fn write_at(
    shard: Rc<Shard>,
    file: File,
    position: FilePosition,
    mut slices: Vec<Bytes>,
) -> io::Result<()> {
    let mut position = position.0;
    slices.retain(|slice| !slice.is_empty());
    if shard.writes_by_ring {
        return write_by_ring(&shard, file, position, slices).await;
    }
    slices.reverse();
    // From here on the first slice is the last of the list, where it is cheap to take off.
    let mut unbroken = 0;
    while !slices.is_empty() {
        if unbroken >= WRITE_BREATH_BYTES {
            shard.breathe().await;
            unbroken = 0;
        }
        if shard.stall_guard.is_stalled() {
            #[cfg(test)]
            shard.stall_guard.handed_over.set(shard.stall_guard.handed_over.get() + 1);
            let started = Instant::now();
            let (result, took) = shard
                .work(Lane::Quick, move || {
                    let entered = Instant::now();
                    let mut result = Ok(());
                    while result.is_ok() && !slices.is_empty() {
                        result = write_some(&file, position, &mut slices).map(|count| position += count as u64);
                    }
                    (result, entered.elapsed())
                })
                .await;
            tracing::trace!(waited = ?started.elapsed(), ?took, "a write went to a helper while the device stalls");
            shard.stall_guard.record(took);
            return result;
        }
        let started = Instant::now();
        let written = write_some(&file, position, &mut slices)?;
        shard.stall_guard.record(started.elapsed());
        position += written as u64;
        unbroken += written;
    }
    Ok(())
}

/// Has the kernel write into the page cache in its own time: at once where the file system can, else on one of its threads.
async fn write_by_ring(shard: &Rc<Shard>, file: File, mut position: u64, mut slices: Vec<Bytes>) -> io::Result<()> {
    while !slices.is_empty() {
        let cargo = Cargo::Write { file: file.clone(), position, slices, vectors: None };
        let (result, cargo) = Operation::start(shard, cargo).await;
        let Cargo::Write { slices: back, .. } = cargo else { unreachable!("an operation gives back its own cargo") };
        slices = back;
        let mut written = result? as usize;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        let whole = slices.iter().take_while(|slice| {
            let is_written = written >= slice.len();
            written -= if is_written { slice.len() } else { 0 };
            is_written
        });
        let whole = whole.count();
        slices.drain(..whole);
        if let Some(first) = slices.first_mut() {
            first.advance(written);
        }
    }
    Ok(())
}

/// Writes blocks past the page cache and waits until the device has them.
pub(super) async fn write_blocks(
    shard: Rc<Shard>,
    file: File,
    position: FilePosition,
    mut blocks: Vec<Block>,
) -> io::Result<()> {
    let mut written = 0;
    while written < bytes_of(&blocks).len() {
        let cargo = Cargo::WriteBlocks { file: file.clone(), position: position.0, blocks, written };
        let (result, cargo) = Operation::start(&shard, cargo).await;
        let Cargo::WriteBlocks { blocks: back, .. } = cargo else {
            unreachable!("an operation gives back its own cargo")
        };
        blocks = back;
        let count = result? as usize;
        if count == 0 || !count.is_multiple_of(BLOCK_BYTES) {
            return Err(io::Error::new(io::ErrorKind::WriteZero, format!("{count} bytes of a block were written")));
        }
        written += count;
    }
    Ok(())
}

/// One write call, to the next multiple of [`APPEND_BYTES_MAX`] at most; takes what was written off `slices`, whose first is
/// last.
fn write_some(file: &File, position: u64, slices: &mut Vec<Bytes>) -> io::Result<usize> {
    let offset = libc::off64_t::try_from(position).map_err(io::Error::other)?;
    let bytes_max = APPEND_BYTES_MAX - (position % APPEND_BYTES_MAX as u64) as usize;
    let mut vectors = Vectors::of(slices.iter().rev(), bytes_max);
    let count = i32::try_from(vectors.len()).expect("a call takes few slices");
    let written = loop {
        // SAFETY: (1) the vectors name bytes of slices that live through the call; (2) the kernel only reads them.
        let written = unsafe { libc::pwritev64(file.as_raw_fd(), vectors.as_mut_ptr(), count, offset) };
        match usize::try_from(written) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => break written,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    };
    let mut left = written;
    while left > 0 {
        let first = slices.last_mut().expect("no more is written than there was");
        let part = left.min(first.len());
        first.advance(part);
        left -= part;
        if first.is_empty() {
            slices.pop();
        }
    }
    Ok(written)
}

/// Has the data of a file on the device. Many may wait at once, each for the same commit of the file system's journal.
pub(super) async fn sync_data(shard: Rc<Shard>, file: File) -> io::Result<()> {
    Operation::start(&shard, Cargo::Sync { file, is_whole: false }).await.0.map(drop)
}

pub(super) fn truncate_now(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off64_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: a plain call on an open descriptor.
    check(unsafe { libc::ftruncate64(file.as_raw_fd(), len) }).map(drop)
}

pub(super) fn reserve_now(file: &File, position: FilePosition, len: u64) -> io::Result<()> {
    let position = libc::off64_t::try_from(position.0).map_err(io::Error::other)?;
    let len = libc::off64_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: a plain call on an open descriptor.
    match check(unsafe { libc::fallocate64(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, position, len) }) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(()),
        result => result.map(drop),
    }
}

pub(super) fn writeback_now(file: &File, position: FilePosition, len: u64) -> io::Result<()> {
    let position = libc::off64_t::try_from(position.0).map_err(io::Error::other)?;
    let len = libc::off64_t::try_from(len).map_err(io::Error::other)?;
    let flags = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: a plain call on an open descriptor.
    check(unsafe { libc::sync_file_range(file.as_raw_fd(), position, len, flags) }).map(drop)
}

pub(super) fn create_directory_now(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

pub(super) fn list_now(path: &Path) -> io::Result<Vec<DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = match entry.metadata() {
            // Removed while we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let is_directory = metadata.is_dir();
        entries.push(DirectoryEntry { name, is_directory, len: if is_directory { 0 } else { metadata.len() } });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Has the names of a directory on the device.
pub(super) async fn sync_directory(shard: Rc<Shard>, path: PathBuf) -> io::Result<()> {
    let file = open(Rc::clone(&shard), path, OpenMode::Read).await?;
    Operation::start(&shard, Cargo::Sync { file, is_whole: true }).await.0.map(drop)
}

pub(super) fn disk_space_now(path: &Path) -> io::Result<DiskSpace> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut answer = std::mem::MaybeUninit::<libc::statvfs64>::uninit();
    // SAFETY: the path ends with a zero byte, and the kernel writes the whole structure if it succeeds.
    let answer = unsafe {
        check(libc::statvfs64(path.as_ptr(), answer.as_mut_ptr()))?;
        answer.assume_init()
    };
    Ok(DiskSpace {
        total_bytes: answer.f_frsize.saturating_mul(answer.f_blocks),
        usable_bytes: answer.f_frsize.saturating_mul(answer.f_bavail),
    })
}
