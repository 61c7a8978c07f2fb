//! SIGTERM and SIGINT, and SIGUSR1, as events that a task awaits.

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

/// Blocks SIGTERM, SIGINT and SIGUSR1 in the calling thread and those that it starts from now on, so that they are only
/// delivered to [`GlommioSys::stop_requested`](super::GlommioSys::stop_requested) and
/// [`Sys::asked`](crate::sys::Sys::asked). Call it before any thread is started: one that does not block them is ended by
/// them, and the process with it.
///
/// # Errors
/// That of the system call, which does not fail on any Linux.
pub fn block_signals() -> io::Result<()> {
    let set = set_of(&[libc::SIGTERM, libc::SIGINT, libc::SIGUSR1]);
    // SAFETY: the set lives through the call.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Gives SIGTERM and SIGINT back what they do by default, which is to end the process at once, whatever its shards do.
/// One that came before this call and was not received ends it now. A shell that starts a command in the background may
/// have it ignore SIGINT; from here on it does not.
///
/// # Errors
/// That of the system call, which does not fail on any Linux.
pub fn let_stop_signals_end_the_process() -> io::Result<()> {
    for signal in STOP {
        // SAFETY: no handler of ours is replaced.
        if unsafe { libc::signal(*signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    let set = set_of(STOP);
    // SAFETY: the set lives through the call. The kernel delivers a signal of the process to any thread that does not
    // block it, and this one does not from here on.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The signals that stop the process.
pub(super) const STOP: &[libc::c_int] = &[libc::SIGTERM, libc::SIGINT];
/// The signal that asks what it does.
pub(super) const ASK: &[libc::c_int] = &[libc::SIGUSR1];

/// A descriptor that can be read when one of these signals has come.
pub(super) fn descriptor(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: the set lives through the call; the descriptor is new and ours.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?))
    }
}

/// Resolves with the next stop signal.
pub(super) async fn next_stop(shard: Rc<Shard>, descriptor: Arc<OwnedFd>) -> io::Result<StopSignal> {
    let is_interrupt = next(shard, descriptor).await? == libc::SIGINT;
    Ok(if is_interrupt { StopSignal::Interrupt } else { StopSignal::Terminate })
}

/// Resolves with the number of the next signal of a descriptor.
pub(super) async fn next(shard: Rc<Shard>, descriptor: Arc<OwnedFd>) -> io::Result<libc::c_int> {
    loop {
        let mut information = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes.
        let count = unsafe { libc::read(descriptor.as_raw_fd(), information.as_mut_ptr().cast(), size) };
        if usize::try_from(count).is_ok_and(|count| count == size) {
            // SAFETY: written whole.
            return Ok(unsafe { information.assume_init() }.ssi_signo.cast_signed());
        }
        Operation::start(&shard, Cargo::Readable { descriptor: Arc::clone(&descriptor) }).await.0?;
    }
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set, and the signals exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}
