//! Clocks and random bits.

use std::cell::RefCell;
use std::io;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use corelane_core::base::{Monotonic, Timestamp};

/// Where monotonic time begins; one for all shards, so that it can be compared between them.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the first call in this process, from 1 on.
pub(super) fn now() -> Monotonic {
    Monotonic(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1))
}

/// CPU time of the calling thread in nanoseconds; 0 if it cannot be told.
pub(super) fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    if answer == 0 { time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs() } else { 0 }
}

/// Milliseconds since 1970; 0 for a clock that stands before.
pub(super) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Random bits of the kernel, fetched some at a time.
#[derive(Default)]
pub(super) struct Random {
    ready: RefCell<Vec<u64>>,
}

impl Random {
    /// How many numbers one call fetches; the kernel gives up to 256 bytes without being interrupted.
    const BATCH: usize = 32;

    pub(super) fn next(&self) -> u64 {
        let mut ready = self.ready.borrow_mut();
        if ready.is_empty() {
            let mut fresh = [0u64; Self::BATCH];
            // SAFETY: the kernel writes at most the given count of bytes, and every bit pattern is a number.
            let filled = unsafe { libc::getrandom(fresh.as_mut_ptr().cast(), size_of_val(&fresh), 0) };
            let whole = usize::try_from(filled).is_ok_and(|bytes| bytes == size_of_val(&fresh));
            assert!(whole, "the kernel gives random bits: {}", io::Error::last_os_error());
            ready.extend(fresh);
        }
        ready.pop().expect("filled above")
    }
}
