//! A panic anywhere ends the process: what a shard owned is in an unknown state, and nobody else can serve it.

use std::any::Any;
use std::io::Write;

/// Prints the panic's message and ends the process at once.
pub(super) fn abort(place: &str, panic: &(dyn Any + Send)) -> ! {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    // Straight to the descriptor: the test harness would swallow it together with the process.
    let _ = writeln!(std::io::stderr(), "corelane: panic in {place}: {message}");
    std::process::abort();
}
