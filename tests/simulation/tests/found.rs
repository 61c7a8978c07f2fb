//! What seeds have found, each as a test of its own that tries the neighbourhood too.
//!
//! A seed stops meaning what it meant as soon as the plans are drawn otherwise; these do not.

use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::Crash;
use corelane_simulation::plans::{rolling, short_life};
use corelane_simulation::promises::Durability;
use corelane_simulation::workload::Way;

fn all_go_well(cases: &[Case]) {
    let outcome = run_all(cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
    assert!(outcome.crashes as usize >= cases.len() / 2, "{} of {} cases crash", outcome.crashes, cases.len());
}

/// One idempotent producer with five batches in flight, on a topic whose segments hold one batch or two. The producer
/// snapshot that a start begins with then knows one batch of five that may come again; the others were out of order.
#[test]
fn a_batch_that_is_repeated_after_a_kill_is_known_however_often_its_log_has_rolled() {
    for (durability, name) in [(Durability::Plain, "rolling"), (Durability::Strict, "rolling-strict")] {
        let mut cases = Vec::new();
        for (seed, segment_ms) in (0..12).flat_map(|seed| [(seed, "5"), (seed, "15")]) {
            let mut case = short_life(seed);
            case.plan.topics = vec![rolling(durability, segment_ms)];
            case.plan.producers = vec![((name, 0), Way::Idempotent)];
            case.plan.batches = 20;
            let points = case.run().points;
            cases.extend((150..points).step_by(40).map(|point| {
                let crashes = vec![CrashAt { point, crash: Crash::Kill }];
                Case { crashes, ..case.clone() }
            }));
        }
        all_go_well(&cases);
    }
}

/// The run file named this boot from the beginning of the start on, so that the next start believed everything that lay
/// in the page cache, also what this one had not come to check.
#[test]
fn a_kill_while_a_start_recovers_from_a_loss_of_power() {
    let mut cases = Vec::new();
    for seed in 0..20 {
        let mut case = short_life(seed);
        case.plan.topics.push(rolling(Durability::Plain, "15"));
        case.plan.producers.push((("rolling", 0), Way::Leader));
        case.plan.batches = 8;
        let lost = CrashAt { point: 500 + seed * 10, crash: Crash::PowerLoss };
        cases.extend((0..120).step_by(12).map(|point| {
            let crashes = vec![lost, CrashAt { point, crash: Crash::Kill }];
            Case { crashes, ..case.clone() }
        }));
    }
    all_go_well(&cases);
}

/// A first start fails at a sync, and what it could not sync stays in the page cache, where the next one finds it whole. That
/// one's syncs succeed and the device still does not have it.
#[test]
fn a_loss_of_power_after_a_start_that_follows_a_failed_sync() {
    let mut cases = Vec::new();
    for failing in 0..16 {
        let mut case = short_life(failing);
        case.plan.disk_fails = true;
        case.faults.failing_sync = Some(failing);
        cases.extend((200..500).step_by(20).map(|point| {
            let crashes = vec![CrashAt { point, crash: Crash::PowerLoss }];
            Case { crashes, ..case.clone() }
        }));
    }
    all_go_well(&cases);
}
