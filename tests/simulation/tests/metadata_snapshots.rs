//! Lives in which the metadata log is cut short again and again: a snapshot every few changes, which lets go of several
//! segments, as each has one change or two; nothing is kept beside the newest snapshot. Each point of the disk is one at which
//! the machine is crashed; longer lives of that kind are among the seeds'.

use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::Crash;
use corelane_simulation::plans::{RESTLESS_METADATA, short_life};
use corelane_simulation::promises::Durability;
use corelane_simulation::workload::{Plan, TopicPlan, Way};

const SEED: u64 = 1;

const TOPICS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A life that is mostly the making of topics.
fn life() -> Case {
    let topic = |name| TopicPlan { name, partitions: 2, durability: Durability::Strict, configs: Vec::new() };
    let case = short_life(SEED);
    let plan = Plan {
        topics: TOPICS.map(topic).to_vec(),
        producers: vec![(("e", 0), Way::Idempotent)],
        batches: 2,
        ..case.plan.clone()
    };
    Case { plan, settings: RESTLESS_METADATA.to_vec(), ..case }
}

fn check(crash: Crash) {
    let points = life().run().points;
    let only = std::env::var("CORELANE_SIMULATION_POINT").ok().map(|point| point.parse().expect("is a number"));
    let chosen = (0..points).filter(|point| only.is_none_or(|only: u64| only == *point));
    let cases: Vec<Case> = chosen.map(|point| Case { crashes: vec![CrashAt { point, crash }], ..life() }).collect();
    let outcome = run_all(&cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
}

#[test]
fn the_log_goes_on_from_its_newest_snapshot() {
    let report = life().run();
    assert!(report.violations.is_empty(), "{report}");
    let named = |extension: &str| report.metadata_files.iter().filter(|name| name.ends_with(extension)).count();
    let files = report.metadata_files.join("\n");
    assert_eq!(named(".checkpoint"), 1, "only the newest snapshot is kept:\n{files}");
    assert!(!files.contains("00000000000000000000.log"), "what lies below it is gone:\n{files}");
}

#[test]
fn a_kill_at_every_point() {
    check(Crash::Kill);
}

#[test]
fn a_loss_of_power_at_every_point() {
    check(Crash::PowerLoss);
}
