//! A sync fails, the broker is killed and started again on the same boot, and then the machine loses power.
//!
//! After the failure the page cache shows bytes that the device never got and that count as clean: the next sync succeeds
//! without them. What the second process shows of a strict topic, or of the metadata, must be on the device all the same.

use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::{Crash, Faults};
use corelane_simulation::plans::short_life;
use corelane_simulation::promises::Durability;

const SEED: u64 = 1;
/// The syncs that are made to fail, one in each case.
const SYNCS: u64 = 48;
/// When the broker is killed, in parts of its life with the failure, so that some of it is behind.
const KILLS: [u64; 2] = [80, 99];
/// Points of the disk between two places at which power is lost in the second process.
const POWER_STEP: usize = 47;
const POWER_POINTS_MAX: u64 = 300;

/// A short life with strict topics only: of others nothing is promised after a failed sync.
fn life(sync: u64) -> Case {
    let mut case = short_life(SEED);
    case.plan.topics.retain(|topic| topic.durability == Durability::Strict);
    case.plan.producers.retain(|((topic, _), _)| *topic != "plain");
    case.plan.disk_fails = true;
    case.faults = Faults { failing_sync: Some(sync), ..Faults::default() };
    case
}

#[test]
fn what_a_failed_sync_left_in_the_cache_alone_is_written_again_before_it_is_shown() {
    let mut cases = Vec::new();
    for sync in 0..SYNCS {
        let points = life(sync).run().points;
        for kill in KILLS {
            for power in (0..POWER_POINTS_MAX).step_by(POWER_STEP) {
                let killed = CrashAt { point: points * kill / 100, crash: Crash::Kill };
                let lost = CrashAt { point: power, crash: Crash::PowerLoss };
                cases.push(Case { crashes: vec![killed, lost], ..life(sync) });
            }
        }
    }
    let outcome = run_all(&cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
    assert!(outcome.crashes as usize > cases.len() * 3 / 2, "{} crashes in {} cases", outcome.crashes, cases.len());
}
