//! Reading as a member of a group: partitions come and go, and what was printed is committed.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::sync::atomic::Ordering;

use corelane_core::client::{ConsumerOptions, MemberOptions, StartOffset};
use corelane_perf::driver::Driver;
use corelane_perf::reader::{GroupReader, ReadError};

use super::{Consume, OUTPUT_BYTES, interrupt};
use crate::failure::Failure;

/// Milliseconds for the last commit and the goodbye.
const LEAVE_MS: u64 = 10_000;
/// Heartbeats in the time after which a silent member is let go.
const HEARTBEATS_IN_SESSION: u32 = 3;
const HEARTBEAT_INTERVAL_MS: u64 = 3_000;

/// Reads until enough was printed, or somebody interrupts; then commits and leaves.
pub(super) fn read(
    consume: &Consume,
    group: &str,
    topics: BTreeSet<String>,
    driver: &mut Driver,
    printed: &mut u64,
) -> Result<(), Failure> {
    let interrupted = interrupt::watch(driver.waker()).map_err(|error| Failure::from(error).during("signals"))?;
    let mut member = MemberOptions::new(group, topics);
    member.instance_id.clone_from(&consume.group_instance_id);
    member.session_timeout_ms = consume.session_timeout_ms;
    let interval_ms = u64::from(consume.session_timeout_ms / HEARTBEATS_IN_SESSION).max(1);
    member.heartbeat_interval_ms = interval_ms.min(HEARTBEAT_INTERVAL_MS);
    let start = if consume.from_beginning { StartOffset::Earliest } else { StartOffset::Latest };
    let options = ConsumerOptions { isolation: consume.isolation(), reset: Some(start), ..ConsumerOptions::default() };
    let mut reader = GroupReader::new(member, options, start, driver.now());

    let outcome = read_on(consume, group, driver, &mut reader, printed, || interrupted.load(Ordering::Relaxed));
    let deadline = driver.now().plus_ms(LEAVE_MS);
    let left = reader.leave(driver, deadline);
    outcome?;
    left.map_err(|error| failure(group, &error))
}

fn failure(group: &str, error: &ReadError) -> Failure {
    match error {
        ReadError::Partition(..) => Failure::new(error.to_string()),
        ReadError::Member(_) => Failure::new(format!("group {group}: {error}")),
        ReadError::NoGoodbye => Failure::new(format!("group {group}: its coordinator does not answer"))
            .remedy("What was printed last may not be committed, and would then be read again."),
    }
}

fn read_on(
    consume: &Consume,
    group: &str,
    driver: &mut Driver,
    reader: &mut GroupReader,
    printed: &mut u64,
    is_interrupted: impl Fn() -> bool,
) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, std::io::stdout().lock());
    let mut last_record = driver.now();
    while consume.max_messages.is_none_or(|max| *printed < max) && !is_interrupted() {
        reader.step(driver);
        let now = driver.now();
        if let Some(batch) = reader.poll_batch().map_err(|error| failure(group, &error))? {
            last_record = now;
            let next = consume.print(&mut out, &batch, printed)?;
            // Nothing is committed before it is out.
            out.flush()?;
            reader.consumed(&batch, next);
            continue;
        }
        let gives_up = consume.timeout_ms.map(|ms| last_record.plus_ms(ms));
        if (consume.exit && reader.is_at_end()) || gives_up.is_some_and(|at| at <= now) {
            return Ok(());
        }
        reader.wait(driver, gives_up);
    }
    Ok(())
}
