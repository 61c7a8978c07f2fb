//! Reading as a member of a group: partitions come and go, and what was printed is committed.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::sync::atomic::Ordering;

use corelane_core::client::{Consumer, ConsumerOptions, GroupMember, MemberEvent, MemberOptions, StartOffset};
use corelane_perf::driver::Driver;

use super::{Consume, OUTPUT_BYTES, interrupt};
use crate::failure::Failure;

/// Milliseconds for the last commit and the goodbye.
const LEAVE_MS: u64 = 10_000;
/// Heartbeats in the time after which a silent member is let go.
const HEARTBEATS_IN_SESSION: u32 = 3;
const HEARTBEAT_INTERVAL_MS: u64 = 3_000;

/// Reads until enough was printed, or somebody interrupts; then commits and leaves.
pub(super) fn read(consume: &Consume, group: &str, driver: &mut Driver, printed: &mut u64) -> Result<(), Failure> {
    let interrupted = interrupt::watch(driver.waker()).map_err(|error| Failure::from(error).during("signals"))?;
    let mut options = MemberOptions::new(group, BTreeSet::from([consume.topic.clone()]));
    options.instance_id.clone_from(&consume.group_instance_id);
    options.session_timeout_ms = consume.session_timeout_ms;
    let interval_ms = u64::from(consume.session_timeout_ms / HEARTBEATS_IN_SESSION).max(1);
    options.heartbeat_interval_ms = interval_ms.min(HEARTBEAT_INTERVAL_MS);
    let mut member = GroupMember::new(options);

    let outcome = read_on(consume, driver, &mut member, printed, || interrupted.load(Ordering::Relaxed));
    member.leave();
    let deadline = driver.now().plus_ms(LEAVE_MS);
    while !member.is_ended() && driver.now() < deadline {
        step(driver, &mut member, None);
        if !member.is_ended() {
            let wake = [member.poll_timeout(driver.now()), Some(deadline)].into_iter().flatten().min();
            driver.turn(wake);
        }
    }
    outcome?;
    match member.error() {
        Some(error) => Err(Failure::new(format!("group {group}: {error}"))),
        None if !member.is_ended() => Err(Failure::new(format!("group {group}: its coordinator does not answer"))
            .remedy("What was printed last may not be committed, and would then be read again.")),
        None => Ok(()),
    }
}

/// Sends what is due and hands answers to whom they belong.
fn step(driver: &mut Driver, member: &mut GroupMember, mut consumer: Option<&mut Consumer>) {
    let now = driver.now();
    member.advance(now, &mut driver.client);
    if let Some(consumer) = &mut consumer {
        consumer.advance(now, &mut driver.client);
    }
    while let Some((id, result)) = driver.poll_answer() {
        let now = driver.now();
        if let Err(result) = member.handle_answer(now, &mut driver.client, id, result)
            && let Some(consumer) = &mut consumer
        {
            // An answer to a consumer that is no more is nobody's.
            let _ = consumer.handle_answer(now, &mut driver.client, id, result);
        }
    }
    let now = driver.now();
    member.advance(now, &mut driver.client);
    if let Some(consumer) = consumer {
        consumer.advance(now, &mut driver.client);
    }
}

fn read_on(
    consume: &Consume,
    driver: &mut Driver,
    member: &mut GroupMember,
    printed: &mut u64,
    is_interrupted: impl Fn() -> bool,
) -> Result<(), Failure> {
    let start = if consume.from_beginning { StartOffset::Earliest } else { StartOffset::Latest };
    let options = ConsumerOptions { isolation: consume.isolation(), reset: Some(start), ..ConsumerOptions::default() };
    let mut consumer = Consumer::new(options);
    let mut is_assigned = false;
    let mut out = BufWriter::with_capacity(OUTPUT_BYTES, std::io::stdout().lock());
    let mut last_record = driver.now();
    while consume.max_messages.is_none_or(|max| *printed < max) && !is_interrupted() {
        step(driver, member, Some(&mut consumer));
        while let Some(event) = member.poll_event() {
            consumer = Consumer::new(options);
            is_assigned = false;
            if let MemberEvent::Assigned(partitions) = event {
                is_assigned = true;
                for each in partitions {
                    consumer.assign(&each.topic, each.partition, each.committed.map_or(start, StartOffset::At));
                }
            }
        }
        if let Some(error) = member.error() {
            return Err(Failure::new(format!("group {}: {error}", consume.group.as_deref().unwrap_or_default())));
        }
        if let Some((topic, partition, error)) = consumer.poll_error() {
            return Err(Failure::new(format!("topic {topic}, partition {partition}: {error}")));
        }
        let now = driver.now();
        if let Some(batch) = consumer.poll_batch() {
            last_record = now;
            let next = consume.print(&mut out, &batch, printed)?;
            // Nothing is committed before it is out.
            out.flush()?;
            member.consumed(&batch.topic, batch.partition, next, batch.batch.header().leader_epoch());
            continue;
        }
        let gives_up = consume.timeout_ms.map(|ms| last_record.plus_ms(ms));
        if (consume.exit && is_assigned && consumer.is_at_end()) || gives_up.is_some_and(|at| at <= now) {
            return Ok(());
        }
        // Not another step: what it took in would wait for something else to end the turn.
        member.advance(now, &mut driver.client);
        consumer.advance(now, &mut driver.client);
        let wake = [consumer.poll_timeout(now), member.poll_timeout(now), gives_up].into_iter().flatten().min();
        driver.turn(wake);
    }
    Ok(())
}
