//! SIGTERM and SIGINT as an event that a task awaits.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use super::check;
use super::ring::Cargo;
use super::shard::{Operation, Shard};

/// What asks the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM, from a service manager.
    Terminate,
    /// SIGINT, from a terminal.
    Interrupt,
}

/// Blocks SIGTERM and SIGINT in the calling thread and those that it starts from now on, so that they are only
/// delivered to [`GlommioSys::stop_requested`](super::GlommioSys::stop_requested). Call it before any thread is
/// started: one that does not block them is ended by them, and the process with it.
///
/// # Errors
/// That of the system call, which does not fail on any Linux.
pub fn block_stop_signals() -> io::Result<()> {
    let set = stop_signals();
    // SAFETY: the set lives through the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Gives SIGTERM and SIGINT back what they do by default, which is to end the process at once, whatever its shards do.
/// One that came before this call and was not received ends it now.
///
/// # Errors
/// That of the system call, which does not fail on any Linux.
pub fn let_stop_signals_end_the_process() -> io::Result<()> {
    let set = stop_signals();
    // SAFETY: the set lives through the call. The kernel delivers a signal of the process to any thread that does not
    // block it, and this one does not from here on.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// A descriptor that can be read when a stop signal has come.
pub(super) fn descriptor() -> io::Result<OwnedFd> {
    let set = stop_signals();
    // SAFETY: the set lives through the call; the descriptor is new and ours.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?))
    }
}

/// Resolves with the next stop signal.
pub(super) async fn next(shard: Rc<Shard>, descriptor: Arc<OwnedFd>) -> io::Result<StopSignal> {
    loop {
        let mut information = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes.
        let count = unsafe { libc::read(descriptor.as_raw_fd(), information.as_mut_ptr().cast(), size) };
        if usize::try_from(count).is_ok_and(|count| count == size) {
            // SAFETY: written whole.
            let signal = unsafe { information.assume_init() }.ssi_signo;
            let interrupt = signal == libc::SIGINT.unsigned_abs();
            return Ok(if interrupt { StopSignal::Interrupt } else { StopSignal::Terminate });
        }
        Operation::start(&shard, Cargo::Readable { descriptor: Arc::clone(&descriptor) }).await.0?;
    }
}

fn stop_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set, and both signals exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        set.assume_init()
    }
}
