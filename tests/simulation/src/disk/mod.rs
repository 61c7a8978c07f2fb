//! The disk of one machine: what its operations do, the faults they meet, and the two ways in which they are cut short.
//!
//! An operation begins and, some time later, completes; both are *points* at which the machine can be told to crash.
//! At a crash each operation between its two points is done, not done or, for a write, half done: drawn.

pub mod file;
pub mod names;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use corelane_server::sys::{DirectoryEntry, OpenMode};

use crate::random::Random;
use file::{File, Loss};
use names::{Inode, Names};

/// How a machine's process ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; the page cache stays.
    Kill,
    /// The machine loses power; what the device holds stays.
    PowerLoss,
}

/// A defect that a test plants to see that the checks find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Planted {
    /// No defect.
    #[default]
    Nothing,
    /// Syncs report success and do nothing: whoever waits for one acknowledges early.
    SyncDoesNothing,
    /// Writes stay in the process and die with it: whoever waits for one acknowledges early.
    WriteStaysInProcess,
}

/// What the disk does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Bytes of all files together at which the disk is full.
    pub capacity_bytes: Option<u64>,
    /// Writes out of a thousand that fail with EIO, part of them done.
    pub write_errors_per_mille: u64,
    /// Syncs out of a thousand that fail with EIO and lose pages.
    pub sync_errors_per_mille: u64,
    /// The one write, counted over all writes from 0, that fails with EIO.
    pub failing_write: Option<u64>,
    /// The one sync, counted over all syncs of files from 0, that fails with EIO.
    pub failing_sync: Option<u64>,
    /// The one sync of a directory, counted from 0, that fails with EIO; its names are as uncertain as before.
    pub failing_directory_sync: Option<u64>,
    /// The first read, counted from 0, that fails with EIO,
    pub failing_read: Option<u64>,
    /// and how many fail from there on.
    pub failing_reads: u64,
}

/// A change of what is on disk.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Open, which may make a name.
    Open(PathBuf, OpenMode),
    /// Open or make, and lock.
    Lock(PathBuf),
    /// Write into the page cache.
    Write(Inode, usize, Bytes),
    /// Write past the page cache, onto the device.
    WriteBlocks(Inode, usize, Bytes),
    /// fdatasync.
    Sync(Inode),
    /// Set the length.
    Truncate(Inode, usize),
    /// mkdir.
    CreateDirectory(PathBuf),
    /// rename.
    Rename(PathBuf, PathBuf),
    /// unlink.
    RemoveFile(PathBuf),
    /// rmdir.
    RemoveDirectory(PathBuf),
    /// fsync of a directory.
    SyncDirectory(PathBuf),
}

/// What a completed operation yields.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Nothing but that it is done.
    Done,
    /// A file, and what keeps it locked.
    Opened(Inode, Option<Arc<()>>),
}

/// Number of an operation that has begun.
pub type OperationId = u64;

#[derive(Debug)]
struct Begun {
    operation: Operation,
    /// What a sync covers: the changes before it began.
    below: u64,
    /// Its number among the writes or the syncs.
    number: u64,
}

/// A disk.
#[derive(Debug)]
pub struct Disk {
    files: BTreeMap<Inode, File>,
    names: Names,
    locks: BTreeMap<Inode, Weak<()>>,

    in_flight: BTreeMap<OperationId, Begun>,
    next_operation: OperationId,
    writes: u64,
    syncs: u64,
    directory_syncs: u64,
    reads: u64,
    /// The point at which [`Faults`] first made a change fail.
    failed_at: Option<u64>,

    /// Begins and completions so far.
    points: u64,
    crash_at: Option<(u64, Crash)>,
    /// Set at the point of a crash; until the crash is carried out the disk does nothing more.
    dead: Option<Crash>,

    /// What it does wrong from now on.
    pub faults: Faults,
    /// The defect that it plays.
    pub planted: Planted,
    random: Random,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(random: Random) -> Self {
        Self {
            files: BTreeMap::new(),
            names: Names::default(),
            locks: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_operation: 0,
            writes: 0,
            syncs: 0,
            directory_syncs: 0,
            reads: 0,
            failed_at: None,
            points: 0,
            crash_at: None,
            dead: None,
            faults: Faults::default(),
            planted: Planted::default(),
            random,
        }
    }

    /// Points passed so far: twice the number of operations, once all are complete.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Reads so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// The point at which [`Faults`] first made a change fail.
    #[must_use]
    pub fn failed_at(&self) -> Option<u64> {
        self.failed_at
    }

    /// Has the machine crash when it reaches that point.
    pub fn crash_at(&mut self, point: u64, crash: Crash) {
        self.crash_at = Some((point, crash));
    }

    /// Takes back what was asked of [`crash_at`](Self::crash_at) and was not reached.
    pub fn let_be(&mut self) {
        self.crash_at = None;
    }

    /// Has the machine crash now.
    pub fn crash_now(&mut self, crash: Crash) {
        self.dead = Some(crash);
    }

    /// The crash that has been reached and not been carried out.
    #[must_use]
    pub fn dead(&self) -> Option<Crash> {
        self.dead
    }

    fn passes_point(&mut self) -> bool {
        if self.dead.is_some() {
            return false;
        }
        let point = self.points;
        self.points += 1;
        match self.crash_at {
            Some((at, crash)) if at == point => {
                self.crash_at = None;
                self.dead = Some(crash);
                false
            }
            _ => true,
        }
    }

    /// Begins an operation; `None` if the machine has crashed.
    pub fn begin(&mut self, operation: Operation) -> Option<OperationId> {
        if !self.passes_point() {
            return None;
        }
        let below = match &operation {
            Operation::Sync(inode) => self.files.get(inode).map_or(0, File::changes),
            _ => self.names.changes(),
        };
        let counter = match operation {
            Operation::Write(..) | Operation::WriteBlocks(..) => Some(&mut self.writes),
            Operation::Sync(_) => Some(&mut self.syncs),
            Operation::SyncDirectory(_) => Some(&mut self.directory_syncs),
            _ => None,
        };
        let number = counter.map_or(0, |counter| std::mem::replace(counter, *counter + 1));
        let id = self.next_operation;
        self.next_operation += 1;
        self.in_flight.insert(id, Begun { operation, below, number });
        Some(id)
    }

    /// Completes an operation; `None` if the machine has crashed.
    pub fn complete(&mut self, id: OperationId) -> Option<io::Result<Outcome>> {
        if !self.passes_point() {
            return None;
        }
        let begun = self.in_flight.remove(&id)?;
        Some(match self.fault(&begun) {
            Some(error) => {
                self.failed_at.get_or_insert(self.points);
                Err(error)
            }
            None => self.perform(&begun),
        })
    }

    /// Carries out the crash that was reached. Every handle of the dead process is void after this.
    pub fn crash(&mut self) -> Option<Crash> {
        let crash = self.dead.take()?;
        for begun in std::mem::take(&mut self.in_flight).into_values() {
            match (self.random.below(3), begun.operation) {
                (0, _) => {}
                (1, Operation::Write(inode, position, bytes)) => {
                    let part = self.random.index(bytes.len().max(1));
                    self.file(inode).write(position, &bytes.slice(..part));
                }
                (1, Operation::WriteBlocks(inode, position, bytes)) => {
                    let file = self.files.entry(inode).or_default();
                    file.tear_through(position, &bytes, &mut self.random);
                }
                (_, operation) => {
                    // A failure that nobody is left to hear of.
                    let _unheard = self.perform(&Begun { operation, ..begun });
                }
            }
        }
        let loses_contents = crash == Crash::PowerLoss || self.planted == Planted::WriteStaysInProcess;
        if loses_contents {
            let overall = self.random.below(4);
            for file in self.files.values_mut() {
                let loss = [Loss::All, Loss::Nothing, Loss::Some][match overall {
                    0 => 0,
                    1 => self.random.index(3),
                    _ => 2,
                }];
                file.lose_power(loss, &mut self.random);
            }
        }
        if crash == Crash::PowerLoss {
            self.names.lose_power(&mut self.random);
        }
        self.locks.clear();
        Some(crash)
    }

    fn fault(&mut self, begun: &Begun) -> Option<io::Error> {
        match &begun.operation {
            Operation::Write(inode, position, bytes) => {
                let fails = self.faults.failing_write == Some(begun.number)
                    || self.random.chance(self.faults.write_errors_per_mille);
                if fails {
                    let part = self.random.index(bytes.len().max(1));
                    self.file(*inode).write(*position, &bytes.slice(..part));
                    return Some(device_error());
                }
                let used: usize = self.files.values().map(|file| file.cached().len()).sum();
                let grows = (position + bytes.len()).saturating_sub(self.file(*inode).cached().len());
                let room = usize::try_from(self.faults.capacity_bytes?).ok()?.saturating_sub(used);
                (grows > room).then(|| {
                    let part = bytes.len() - (grows - room).min(bytes.len());
                    self.file(*inode).write(*position, &bytes.slice(..part));
                    io::ErrorKind::StorageFull.into()
                })
            }
            Operation::WriteBlocks(inode, position, bytes) => {
                let fails = self.faults.failing_write == Some(begun.number)
                    || self.random.chance(self.faults.write_errors_per_mille);
                let used: usize = self.files.values().map(|file| file.cached().len()).sum();
                let file = self.files.entry(*inode).or_default();
                if fails {
                    file.tear_through(*position, bytes, &mut self.random);
                    return Some(device_error());
                }
                let grows = (position + bytes.len()).saturating_sub(file.cached().len());
                let room = usize::try_from(self.faults.capacity_bytes?).ok()?.saturating_sub(used);
                (grows > room).then(|| io::ErrorKind::StorageFull.into())
            }
            Operation::Sync(inode) => {
                let fails = self.faults.failing_sync == Some(begun.number)
                    || self.random.chance(self.faults.sync_errors_per_mille);
                fails.then(|| {
                    let file = self.files.entry(*inode).or_default();
                    file.fail_sync(begun.below, &mut self.random);
                    device_error()
                })
            }
            Operation::SyncDirectory(_) => {
                (self.faults.failing_directory_sync == Some(begun.number)).then(device_error)
            }
            _ => None,
        }
    }

    /// Reads as the running system does: up to `len` bytes at a position.
    ///
    /// # Errors
    /// EIO, where [`Faults`] say so.
    pub fn try_read(&mut self, inode: Inode, position: usize, len: usize) -> io::Result<Bytes> {
        let number = self.reads;
        self.reads += 1;
        let fails =
            self.faults.failing_read.is_some_and(|first| (first..first + self.faults.failing_reads).contains(&number));
        if fails { Err(device_error()) } else { Ok(self.read(inode, position, len)) }
    }

    fn perform(&mut self, begun: &Begun) -> io::Result<Outcome> {
        match &begun.operation {
            Operation::Open(path, mode) => return Ok(Outcome::Opened(self.open(path, *mode)?, None)),
            Operation::Lock(path) => {
                let inode = self.open(path, OpenMode::Create)?;
                if self.locks.get(&inode).is_some_and(|lock| lock.strong_count() > 0) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let lock = Arc::new(());
                self.locks.insert(inode, Arc::downgrade(&lock));
                return Ok(Outcome::Opened(inode, Some(lock)));
            }
            Operation::Write(inode, position, bytes) => self.file(*inode).write(*position, bytes),
            Operation::WriteBlocks(inode, position, bytes) => match self.planted {
                Planted::SyncDoesNothing => self.file(*inode).write(*position, bytes),
                _ => self.file(*inode).write_through(*position, bytes),
            },
            Operation::Sync(inode) => {
                if self.planted != Planted::SyncDoesNothing {
                    self.file(*inode).sync(begun.below);
                }
            }
            Operation::Truncate(inode, len) => self.file(*inode).truncate(*len),
            Operation::CreateDirectory(path) => {
                let name = self.names.place(path)?;
                match self.names.get(&name) {
                    Some(inode) if self.names.is_directory(inode) => {}
                    Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                    None => drop(self.names.make(name, true)),
                }
            }
            Operation::Rename(from, to) => self.rename(from, to)?,
            Operation::RemoveFile(path) => {
                let name = self.names.place(path)?;
                let inode = self.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
                if self.names.is_directory(inode) {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                self.names.remove(name);
            }
            Operation::RemoveDirectory(path) => {
                let name = self.names.place(path)?;
                let inode = self.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
                if !self.names.list(inode)?.is_empty() {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                self.names.remove(name);
            }
            Operation::SyncDirectory(path) => {
                let inode = self.names.find(path)?;
                if !self.names.is_directory(inode) {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                if self.planted != Planted::SyncDoesNothing {
                    self.names.sync(inode, begun.below);
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<Inode> {
        let name = self.names.place(path)?;
        match (self.names.get(&name), mode) {
            (Some(inode), _) if self.names.is_directory(inode) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => Ok(inode),
            (None, OpenMode::Read | OpenMode::Write | OpenMode::Blocks) => Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew) => Ok(self.names.make(name, false)),
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.names.place(from)?, self.names.place(to)?);
        let moved = self.names.get(&from).ok_or(io::ErrorKind::NotFound)?;
        if let Some(target) = self.names.get(&to) {
            match (self.names.is_directory(moved), self.names.is_directory(target)) {
                (true, false) => return Err(io::ErrorKind::NotADirectory.into()),
                (false, true) => return Err(io::ErrorKind::IsADirectory.into()),
                (true, true) if !self.names.list(target)?.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
        }
        self.names.rename(from, to)
    }

    fn file(&mut self, inode: Inode) -> &mut File {
        self.files.entry(inode).or_default()
    }

    /// Length of a file.
    #[must_use]
    pub fn len(&self, inode: Inode) -> usize {
        self.files.get(&inode).map_or(0, |file| file.cached().len())
    }

    /// Up to `len` bytes at a position.
    #[must_use]
    pub fn read(&self, inode: Inode, position: usize, len: usize) -> Bytes {
        let contents = self.files.get(&inode).map_or(&[][..], File::cached);
        let rest = contents.get(position..).unwrap_or_default();
        Bytes::copy_from_slice(&rest[..len.min(rest.len())])
    }

    /// What a directory holds.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`.
    pub fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let entry = |(name, inode): (&String, &Inode)| DirectoryEntry {
            name: name.clone(),
            is_directory: self.names.is_directory(*inode),
            len: self.len(*inode) as u64,
        };
        Ok(self.names.list(self.names.find(path)?)?.iter().map(entry).collect())
    }

    /// Makes a directory whose name is durable. Counts as no operation.
    ///
    /// # Errors
    /// If its parent is missing.
    pub fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        let name = self.names.place(path)?;
        let parent = name.directory;
        if self.names.get(&name).is_none() {
            self.names.make(name, true);
        }
        self.names.sync(parent, self.names.changes());
        Ok(())
    }

    /// Writes a whole file, or removes it if there are no contents, durably and as no operation.
    ///
    /// # Errors
    /// If its directory is missing.
    pub fn put(&mut self, path: &Path, contents: Option<Bytes>) -> io::Result<()> {
        let name = self.names.place(path)?;
        let directory = name.directory;
        if self.names.get(&name).is_some() {
            self.names.remove(name.clone());
        }
        if let Some(contents) = contents {
            let inode = self.names.make(name, false);
            let file = self.file(inode);
            file.write(0, &contents);
            file.sync(file.changes());
        }
        self.names.sync(directory, self.names.changes());
        Ok(())
    }

    /// A whole file as the running system sees it, for tests that look beside the broker.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Bytes> {
        let inode = self.names.find(path).ok()?;
        Some(self.read(inode, 0, usize::MAX))
    }
}

fn device_error() -> io::Error {
    // EIO as Linux numbers it; `io::ErrorKind` has no stable name for it.
    io::Error::from_raw_os_error(5)
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, mode) => write!(f, "open {mode:?} {}", path.display()),
            Self::Lock(path) => write!(f, "lock {}", path.display()),
            Self::Write(inode, position, bytes) => write!(f, "write file {inode} at {position}, {} bytes", bytes.len()),
            Self::WriteBlocks(inode, position, bytes) => {
                write!(f, "write blocks of file {inode} at {position}, {} bytes", bytes.len())
            }
            Self::Sync(inode) => write!(f, "sync file {inode}"),
            Self::Truncate(inode, len) => write!(f, "truncate file {inode} to {len}"),
            Self::CreateDirectory(path) => write!(f, "mkdir {}", path.display()),
            Self::Rename(from, to) => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::RemoveFile(path) => write!(f, "remove {}", path.display()),
            Self::RemoveDirectory(path) => write!(f, "rmdir {}", path.display()),
            Self::SyncDirectory(path) => write!(f, "sync directory {}", path.display()),
        }
    }
}
