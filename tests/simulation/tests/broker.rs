//! The broker itself in the simulated world: what it promised its clients is kept.

use corelane_simulation::case::{Case, CrashAt, Report};
use corelane_simulation::disk::{Crash, Faults, Planted};
use corelane_simulation::promises::Durability;
use corelane_simulation::workload::{Plan, TopicPlan, Way};

fn short_life() -> Plan {
    Plan {
        topics: vec![
            TopicPlan { name: "plain", partitions: 1, durability: Durability::Plain, configs: Vec::new() },
            TopicPlan {
                name: "strict",
                partitions: 1,
                durability: Durability::Strict,
                configs: vec![("segment.ms", "15")],
            },
        ],
        producers: vec![
            (("plain", 0), Way::Leader),
            (("plain", 0), Way::Idempotent),
            (("strict", 0), Way::All),
            (("strict", 0), Way::Idempotent),
        ],
        batches: 4,
        records_max: 3,
        value_bytes_max: 2000,
        disk_fails: false,
    }
}

fn case(seed: u64, plan: Plan) -> Case {
    Case { seed, shards: 2, plan, crashes: Vec::new(), faults: Faults::default(), planted: Planted::Nothing }
}

fn check(case: &Case) -> Report {
    let report = case.run();
    assert!(report.violations.is_empty(), "seed {}, crashes {:?}: {report:?}", case.seed, case.crashes);
    report
}

#[test]
fn a_life_without_a_crash() {
    let report = check(&case(1, short_life()));
    assert!(report.records >= 16, "{} records", report.records);
}

#[test]
fn one_seed_is_one_course() {
    let crashing = |seed| {
        let crashes = vec![CrashAt { point: 150, crash: Crash::PowerLoss }];
        Case { crashes, ..case(seed, short_life()) }.run().trace
    };
    assert_eq!(crashing(5), crashing(5));
    assert_ne!(crashing(5).0, crashing(6).0);
}
