//! A shard's own completion ring (io_uring) for sockets, signals, wake-ups and such writes as are told to go through it.
//!
//! The kernel writes into memory that an operation names long after the call that started it. So an operation owns
//! what the kernel may touch (its [`Cargo`]) in a slab until its completion arrives, whatever became of the future
//! that waited for it. No code outside this file can hand the kernel a pointer.
//!
//! The ring is made and used by one thread only (SINGLE_ISSUER), and completions run only when that thread enters
//! the kernel for them (DEFER_TASKRUN).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use corelane_core::log::blocks::{Block, bytes_of};
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};

use super::buffers::ProvidedBuffers;
use super::file::File;
use super::net::{Endpoint, PeerAddress};
use super::vectors::Vectors;

/// Submissions that fit before they have to be handed to the kernel.
const SUBMISSIONS: u32 = 256;
/// Completions that fit; the kernel keeps any more aside and loses none (NODROP).
const COMPLETIONS: u32 = 4096;
/// Threads of the kernel that wait for devices on a ring's behalf, at most.
const KERNEL_THREADS_MAX: u32 = 32;
/// How long a ring that is dropped waits for the kernel to let go of its buffers.
const QUIESCE_MAX: Duration = Duration::from_secs(2);

/// Completions of the watch on the shard's own eventfd.
const WAKE: u64 = u64::MAX;
/// Completions of cancellations, which say nothing: the cancelled operation has its own.
const CANCEL: u64 = u64::MAX - 1;

/// `IORING_RECVSEND_POLL_FIRST`: wait for data before trying to receive.
const POLL_FIRST: u16 = 1;

/// What an operation does and everything that the kernel touches for it.
pub(super) enum Cargo {
    /// Receive into a provided buffer, from which the bytes are appended to `buffer`.
    Receive { endpoint: Rc<Endpoint>, buffer: BytesMut },
    /// Receive at most `missing` bytes straight into the spare capacity of `buffer`.
    ReceiveExact { endpoint: Rc<Endpoint>, buffer: BytesMut, missing: usize },
    /// Wait until the socket takes bytes again.
    Writable { endpoint: Rc<Endpoint> },
    /// Take the next connection of a listening socket.
    Accept { listener: Rc<OwnedFd>, peer: Box<PeerAddress> },
    /// Wait until the descriptor can be read.
    Readable { descriptor: Arc<OwnedFd> },
    /// Write the first of the slices, one behind the other; `vectors` is made of them when the kernel is asked.
    Write { file: File, position: u64, slices: Vec<Bytes>, vectors: Option<Box<Vectors>> },
    /// Have a file on the device: its data and the length needed to read them, or everything of it.
    Sync { file: File, is_whole: bool },
    /// Write the blocks from the byte `written` on, and have them on the device.
    WriteBlocks { file: File, position: u64, blocks: Vec<Block>, written: usize },
}

impl Cargo {
    /// Whether it changes what a file or the device holds: what was begun is not cut short.
    fn is_write(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::WriteBlocks { .. } | Self::Sync { .. })
    }
}

/// Names an operation in flight. Never reused while its holder can still ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

enum State {
    Free,
    /// In the kernel's hands.
    Flying {
        cargo: Cargo,
        waker: Option<Waker>,
        abandoned: bool,
    },
    /// Completed and not yet asked for.
    Landed {
        cargo: Cargo,
        result: io::Result<u32>,
    },
}

struct Slot {
    generation: u32,
    state: State,
}

/// What one completion leaves to do, once nothing of the ring is borrowed any more: a waker or a value that is
/// dropped may run code that comes back to the ring.
#[derive(Default)]
pub(super) struct Landing {
    pub(super) waker: Option<Waker>,
    /// Not to be woken, only to be dropped.
    pub(super) unneeded: Option<Waker>,
    /// Of an operation that nobody waits for, to be dropped.
    pub(super) abandoned: Option<Cargo>,
}

pub(super) struct Ring {
    uring: IoUring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    buffers: Option<ProvidedBuffers>,
    /// Operations to submit again: the provided buffers had run out, or a signal came.
    again: Vec<Key>,
    /// Written by other threads to wake this one.
    wake: Arc<OwnedFd>,
    wake_armed: bool,
    no_iowait: EnterFlags,
    /// Bytes that were received, and what of them was copied out of a provided buffer.
    received: Received,
}

/// Bytes that a ring has received.
#[derive(Clone, Copy, Default)]
pub(super) struct Received {
    pub(super) bytes: u64,
    /// What of them was copied out of a provided buffer.
    pub(super) copied_bytes: u64,
}

impl Ring {
    /// Makes the ring of the calling thread, which also wakes up when `wake`, an eventfd, is written.
    pub(super) fn new(wake: Arc<OwnedFd>) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .dontfork()
            .build(SUBMISSIONS)?;
        // All syncs that are due begin at once: a file system serves what comes together by one commit of its journal.
        uring.submitter().register_iowq_max_workers(&mut [KERNEL_THREADS_MAX, 0])?;
        let buffers = ProvidedBuffers::register(&uring.submitter())?;
        let no_iowait = if uring.params().is_feature_no_iowait() { EnterFlags::NO_IOWAIT } else { EnterFlags::empty() };
        Ok(Self {
            uring,
            slots: Vec::new(),
            free: Vec::new(),
            buffers: Some(buffers),
            again: Vec::new(),
            received: Received::default(),
            wake,
            wake_armed: false,
            no_iowait,
        })
    }

    /// Starts an operation; it is handed to the kernel with the next [`enter`](Self::enter).
    pub(super) fn start(&mut self, cargo: Cargo) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, state: State::Free });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations are in flight")
        });
        let slot = &mut self.slots[index as usize];
        let key = Key { index, generation: slot.generation };
        slot.state = State::Flying { cargo, waker: None, abandoned: false };
        self.submit(key);
        key
    }

    /// The result of an operation and its cargo once it has completed. Until then `waker` is woken when it does; the
    /// error is the waker that it takes the place of, to be dropped by the caller.
    pub(super) fn poll(&mut self, key: Key, waker: &Waker) -> Result<(io::Result<u32>, Cargo), Option<Waker>> {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(slot.generation, key.generation, "an operation is asked for once");
        match &mut slot.state {
            State::Flying { waker: waiting, .. } => {
                let known = waiting.as_ref().is_some_and(|known| known.will_wake(waker));
                Err(if known { None } else { waiting.replace(waker.clone()) })
            }
            State::Landed { .. } => match self.release(key) {
                State::Landed { cargo, result } => Ok((result, cargo)),
                _ => unreachable!("matched above"),
            },
            State::Free => unreachable!("its generation would differ"),
        }
    }

    /// The future that waited is gone: asks the kernel to stop unless it writes, and returns what there is to drop.
    pub(super) fn abandon(&mut self, key: Key) -> Landing {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(slot.generation, key.generation, "an operation is abandoned once");
        match &mut slot.state {
            State::Flying { waker, abandoned, .. } => {
                *abandoned = true;
                let unneeded = waker.take();
                self.cancel(key);
                Landing { unneeded, ..Landing::default() }
            }
            State::Landed { .. } => match self.release(key) {
                State::Landed { cargo, result } => settle(cargo, &result),
                _ => unreachable!("matched above"),
            },
            State::Free => unreachable!("its generation would differ"),
        }
    }

    /// Takes every waker that waits for an operation, to be dropped by the caller: the shard ends.
    pub(super) fn dismiss(&mut self) -> Vec<Waker> {
        let waiting = |slot: &mut Slot| match &mut slot.state {
            State::Flying { waker, .. } => waker.take(),
            _ => None,
        };
        self.slots.iter_mut().filter_map(waiting).collect()
    }

    /// Bytes that were received so far.
    pub(super) fn received(&self) -> Received {
        self.received
    }

    /// Whether completions are due, which run when the kernel is entered.
    pub(super) fn is_due(&mut self) -> bool {
        let queue = self.uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Whether operations wait to be handed to the kernel.
    pub(super) fn has_submissions(&mut self) -> bool {
        !self.uring.submission().is_empty() || !self.again.is_empty()
    }

    /// Hands over what was started and runs the completions that are due, without waiting.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.prepare();
        self.enter_kernel(0, None)
    }

    /// As [`enter`](Self::enter), and waits for a completion, a wake-up or the end of `timeout`.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.prepare();
        self.enter_kernel(1, Some(timeout))
    }

    /// The next completion, if there is one.
    pub(super) fn next(&mut self) -> Option<Landing> {
        let completion = self.uring.completion().next()?;
        match completion.user_data() {
            CANCEL => Some(Landing::default()),
            WAKE => {
                self.wake_armed &= cqueue::more(completion.flags());
                Some(Landing::default())
            }
            data => Some(self.land(key_of(data), &completion)),
        }
    }

    fn prepare(&mut self) {
        if !self.wake_armed {
            let fd = Fd(self.wake.as_raw_fd());
            self.push(&opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build().user_data(WAKE));
            self.wake_armed = true;
        }
        for key in std::mem::take(&mut self.again) {
            self.submit(key);
            if let State::Flying { abandoned: true, .. } = self.slots[key.index as usize].state {
                // Its cancellation came while the kernel did not have it.
                self.cancel(key);
            }
        }
    }

    fn enter_kernel(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        let pending = u32::try_from(self.uring.submission().len()).expect("at most the ring's size");
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | self.no_iowait;
        let timespec = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(timespec) = &timespec {
            args = args.timespec(timespec);
        }
        // SAFETY: (1) with EXT_ARG the argument is a `SubmitArgs`, which outlives the call, as does the time that it
        // points to; (2) what the submitted entries name is owned by their slots.
        let entered = unsafe { self.uring.submitter().enter(pending, want, flags.bits(), Some(&args)) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up; a signal; completions to be taken first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn land(&mut self, key: Key, completion: &cqueue::Entry) -> Landing {
        let slot = &mut self.slots[key.index as usize];
        assert_eq!(slot.generation, key.generation, "an operation completes once");
        let State::Flying { cargo, waker, abandoned } = &mut slot.state else {
            unreachable!("only a flying operation completes")
        };
        let result = match completion.result() {
            errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
            count => Ok(count.unsigned_abs()),
        };
        if let Err(error) = &result {
            let later = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR | libc::EAGAIN));
            if later && (!*abandoned || cargo.is_write()) {
                self.again.push(key);
                return Landing::default();
            }
        }
        take_bytes(cargo, &result, completion, self.buffers.as_mut(), &mut self.received);
        if *abandoned {
            let State::Flying { cargo, .. } = self.release(key) else { unreachable!("matched above") };
            return settle(cargo, &result);
        }
        let waker = waker.take();
        let State::Flying { cargo, .. } = std::mem::replace(&mut slot.state, State::Free) else {
            unreachable!("matched above")
        };
        slot.state = State::Landed { cargo, result };
        Landing { waker, ..Landing::default() }
    }

    fn release(&mut self, key: Key) -> State {
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        std::mem::replace(&mut slot.state, State::Free)
    }

    fn submit(&mut self, key: Key) {
        let State::Flying { cargo, .. } = &mut self.slots[key.index as usize].state else {
            unreachable!("only flying operations are submitted")
        };
        let entry = entry(cargo).user_data(user_data(key));
        self.push(&entry);
    }

    /// Asks the kernel to end an operation, unless it writes; its completion says how that went.
    fn cancel(&mut self, key: Key) {
        if matches!(&self.slots[key.index as usize].state, State::Flying { cargo, .. } if cargo.is_write()) {
            return;
        }
        self.push(&opcode::AsyncCancel::new(user_data(key)).build().user_data(CANCEL));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: (1) an entry names memory and descriptors of its operation's cargo only, which stays in the slab
            // until the completion (see `entry`), or the ring's own eventfd, which the ring keeps; (2) cargo may
            // move inside the slab, but what the entry points to is on the heap behind it.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            self.enter_kernel(0, None).expect("io_uring_enter takes submissions");
        }
    }
}

impl Drop for Ring {
    /// Closing a ring does not wait for its operations, so the kernel could still write into their buffers: they are
    /// all cancelled and waited for first. If that takes too long, the memory is given up rather than freed.
    fn drop(&mut self) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if let State::Flying { abandoned, .. } = &mut slot.state {
                *abandoned = true;
                let key = Key { index: index as u32, generation: slot.generation };
                self.cancel(key);
            }
        }
        self.again.clear();
        let started = Instant::now();
        let flying = |slot: &Slot| matches!(slot.state, State::Flying { .. });
        while self.slots.iter().any(flying) && started.elapsed() < QUIESCE_MAX {
            if self.enter_kernel(1, Some(Duration::from_millis(10))).is_err() {
                break;
            }
            while let Some(landing) = self.next() {
                drop(landing);
            }
        }
        if self.slots.iter().any(flying) {
            tracing::error!("operations did not end with their ring; their buffers are leaked");
            std::mem::forget(std::mem::take(&mut self.slots));
            std::mem::forget(self.buffers.take());
        }
    }
}

fn user_data(key: Key) -> u64 {
    u64::from(key.generation) << 32 | u64::from(key.index)
}

fn key_of(user_data: u64) -> Key {
    Key { index: user_data as u32, generation: (user_data >> 32) as u32 }
}

/// What to ask the kernel for. Every pointer in it is to the heap behind `cargo`.
fn entry(cargo: &mut Cargo) -> squeue::Entry {
    match cargo {
        Cargo::Receive { endpoint, .. } => opcode::Recv::new(Fd(endpoint.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(ProvidedBuffers::GROUP)
            .ioprio(poll_first(endpoint))
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
        Cargo::ReceiveExact { endpoint, buffer, missing } => {
            let spare = buffer.spare_capacity_mut();
            let len = u32::try_from(spare.len().min(*missing)).unwrap_or(i32::MAX as u32);
            opcode::Recv::new(Fd(endpoint.as_raw_fd()), spare.as_mut_ptr().cast(), len)
                .ioprio(poll_first(endpoint))
                .build()
        }
        Cargo::Writable { endpoint } => opcode::PollAdd::new(Fd(endpoint.as_raw_fd()), libc::POLLOUT as u32).build(),
        Cargo::Accept { listener, peer } => {
            let (address, len) = peer.as_pointers();
            opcode::Accept::new(Fd(listener.as_raw_fd()), address, len).flags(libc::SOCK_CLOEXEC).build()
        }
        Cargo::Readable { descriptor } => opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), libc::POLLIN as u32).build(),
        Cargo::Write { file, position, slices, vectors } => {
            let vectors = vectors.insert(Box::new(Vectors::of(&*slices, usize::MAX)));
            let count = u32::try_from(vectors.len()).expect("a call takes few slices");
            opcode::Writev::new(Fd(file.as_raw_fd()), vectors.as_mut_ptr(), count).offset(*position).build()
        }
        Cargo::Sync { file, is_whole } => {
            let flags = if *is_whole { FsyncFlags::empty() } else { FsyncFlags::DATASYNC };
            opcode::Fsync::new(Fd(file.as_raw_fd())).flags(flags).build()
        }
        Cargo::WriteBlocks { file, position, blocks, written } => {
            let rest = &bytes_of(blocks)[*written..];
            let len = u32::try_from(rest.len()).unwrap_or(i32::MAX as u32);
            opcode::Write::new(Fd(file.as_raw_fd()), rest.as_ptr(), len)
                .offset(*position + *written as u64)
                .rw_flags(libc::RWF_DSYNC)
                .build()
        }
    }
}

/// A socket that was emptied by the last receive is not tried again before something arrives.
fn poll_first(endpoint: &Endpoint) -> u16 {
    if endpoint.may_hold_more.get() { 0 } else { POLL_FIRST }
}

/// Puts what a receive brought where it belongs and returns the provided buffer.
fn take_bytes(
    cargo: &mut Cargo,
    result: &io::Result<u32>,
    completion: &cqueue::Entry,
    buffers: Option<&mut ProvidedBuffers>,
    received: &mut Received,
) {
    let count = result.as_ref().map_or(0, |&count| count as usize);
    match cargo {
        Cargo::Receive { endpoint, buffer } => {
            endpoint.may_hold_more.set(cqueue::sock_nonempty(completion.flags()));
            if let (Some(id), Some(buffers)) = (cqueue::buffer_select(completion.flags()), buffers) {
                buffers.take(id, count, buffer);
                received.bytes += count as u64;
                received.copied_bytes += count as u64;
            }
        }
        Cargo::ReceiveExact { endpoint, buffer, .. } => {
            endpoint.may_hold_more.set(cqueue::sock_nonempty(completion.flags()));
            assert!(count <= buffer.capacity() - buffer.len(), "the kernel stays within the length it was given");
            // SAFETY: (1) the kernel has written `count` bytes from the start of the spare capacity, which it was
            // given by `entry`, and is done with them; (2) nobody else could touch the buffer since.
            unsafe { buffer.set_len(buffer.len() + count) };
            received.bytes += count as u64;
        }
        Cargo::Writable { .. }
        | Cargo::Accept { .. }
        | Cargo::Readable { .. }
        | Cargo::Write { .. }
        | Cargo::Sync { .. }
        | Cargo::WriteBlocks { .. } => {}
    }
}

/// Puts away what an operation brought that nobody waits for: bytes are kept for the next receive of the connection,
/// which may go on now, and an accepted connection is closed.
fn settle(mut cargo: Cargo, result: &io::Result<u32>) -> Landing {
    let mut waker = None;
    match (&mut cargo, result) {
        (Cargo::Receive { endpoint, buffer } | Cargo::ReceiveExact { endpoint, buffer, .. }, result) => {
            waker = endpoint.keep(buffer, result.as_ref().map_or(0, |&count| count as usize));
        }
        (Cargo::Accept { .. }, Ok(descriptor)) => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            drop(unsafe { OwnedFd::from_raw_fd(*descriptor as i32) });
        }
        _ => {}
    }
    Landing { waker, unneeded: None, abandoned: Some(cargo) }
}
