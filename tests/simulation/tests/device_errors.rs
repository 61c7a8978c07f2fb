//! A device that fails for a moment when it is read, or when a directory is synced; crashes before and after.

use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::{Crash, Faults};
use corelane_simulation::plans::{changing_life, short_life};
use corelane_simulation::workload::Way;

const SEED: u64 = 1;

fn check(cases: &[Case]) {
    let outcome = run_all(cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
    assert!(outcome.crashes as usize >= cases.len() / 2, "{} of {} cases crash", outcome.crashes, cases.len());
}

/// Reads of the process that starts after a crash are made to fail, a few at a time. A log that cannot be read is not one
/// that has ended, neither for this process nor, if it stops before it could read it, for the next.
#[test]
fn a_start_that_cannot_read_a_log_loses_nothing_of_it() {
    let mut cases = Vec::new();
    for (seed, crash) in (SEED..SEED + 4).flat_map(|seed| [(seed, Crash::Kill), (seed, Crash::PowerLoss)]) {
        let case = short_life(seed);
        let points = case.run().points;
        for part in [75, 99] {
            let crashes = vec![CrashAt { point: points * part / 100, crash }];
            let case = Case { crashes, ..case.clone() };
            let reads = case.run().reads;
            for failing in (reads[0]..reads[1].min(reads[0] + READS)).step_by(3) {
                let mut case = case.clone();
                case.plan.disk_fails = true;
                case.faults = Faults { failing_read: Some(failing), failing_reads: 40, ..Faults::default() };
                cases.push(case);
            }
        }
    }
    check(&cases);
}

/// Reads with which a start brings the logs of its few partitions into order, about.
const READS: u64 = 36;

/// A write of a strict topic fails while a sync of what was written before it is in flight. The log that is opened again then
/// knew less to be on the device than readers had been shown.
#[test]
fn what_readers_see_of_a_log_does_not_shrink_when_it_is_opened_again() {
    let mut cases = Vec::new();
    for seed in SEED..SEED + 40 {
        for failing in WRITES_BEFORE..WRITES_BEFORE + WRITES {
            let mut case = short_life(seed);
            case.plan.topics.retain(|topic| topic.name == "strict");
            case.plan.producers = vec![(("strict", 0), Way::Idempotent); 3];
            case.plan.batches = 8;
            case.plan.fetch_sessions = true;
            case.plan.disk_fails = true;
            case.faults = Faults { failing_write: Some(failing), ..Faults::default() };
            cases.push(case);
        }
    }
    let outcome = run_all(&cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
}

/// Writes of a life before its producers begin, about, and how many of those that follow are made to fail, one in each case.
const WRITES_BEFORE: u64 = 34;
const WRITES: u64 = 6;

/// What is in a directory whose sync failed may be gone after a loss of power, so nothing that depends on it may have been
/// promised: a new topic's folder, a deleted one's, the segments of a log.
#[test]
fn what_a_failed_sync_of_a_directory_left_open_is_not_promised() {
    let mut cases = Vec::new();
    for life in [short_life(SEED), changing_life(SEED), changing_life(SEED + 1)] {
        for failing in 0.. {
            let mut case = life.clone();
            case.plan.disk_fails = true;
            case.faults = Faults { failing_directory_sync: Some(failing), ..Faults::default() };
            let Some(failed_at) = case.run().failed_at else { break };
            cases.extend((failed_at + 1..failed_at + POWER_POINTS).step_by(POWER_STEP).map(|point| {
                let crashes = vec![CrashAt { point, crash: Crash::PowerLoss }];
                Case { crashes, ..case.clone() }
            }));
        }
    }
    assert!(cases.len() > 400, "{} cases", cases.len());
    check(&cases);
}

/// Points of the disk behind the failure among which power is lost, and how many lie between two of them.
const POWER_POINTS: u64 = 180;
const POWER_STEP: usize = 29;
