//! Ctrl-C and SIGTERM as something that a command can answer: a member of a group says goodbye.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use corelane_perf::driver::Waker;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit status after a second signal.
const INTERRUPTED: i32 = 130;

/// Becomes true with the first signal, which also ends a wait of the driver; a second one ends the process.
pub(super) fn watch(waker: Waker) -> io::Result<Arc<AtomicBool>> {
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let flag = is_interrupted.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
            waker.wake();
        }
    });
    Ok(is_interrupted)
}
