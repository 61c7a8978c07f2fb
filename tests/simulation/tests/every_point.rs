//! A short life of the broker, cut at every point of its disk by a kill and by a loss of power.
//!
//! `CORELANE_SIMULATION_POINT=n` runs only the crashes at point n, as a failure names it; with
//! `CORELANE_SIMULATION_TRACE=file` the course of the last one is written down whole.

use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::{Crash, Planted};
use corelane_simulation::machine::Machine;
use corelane_simulation::plans::{
    changing_life, compacted_life, life_in_blocks, short_life, through_the_cache, wide_life,
};

const SEED: u64 = 1;

/// The same life, cut at each of its points.
fn cut_at_every_point(life: &Case, crash: Crash) -> Vec<Case> {
    let points = life.run().points;
    let only = std::env::var("CORELANE_SIMULATION_POINT").ok().map(|point| point.parse().expect("is a number"));
    let chosen = (0..points).filter(|point| only.is_none_or(|only: u64| only == *point));
    chosen.map(|point| Case { crashes: vec![CrashAt { point, crash }], ..life.clone() }).collect()
}

fn check(life: &Case, crash: Crash) {
    let outcome = run_all(&cut_at_every_point(life, crash));
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
}

#[test]
fn without_a_crash_everything_is_left() {
    let report = short_life(SEED).run();
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.records >= 15, "every producer has its batches in: {} records", report.records);
    assert!(report.points > 300, "{} points", report.points);
    assert_eq!(report.processes, 1);
}

#[test]
fn a_kill_at_every_point() {
    check(&short_life(SEED), Crash::Kill);
}

#[test]
fn a_loss_of_power_at_every_point() {
    check(&short_life(SEED), Crash::PowerLoss);
}

/// In the other lives what strict topics append goes past it.
#[test]
fn appends_into_the_page_cache_with_a_kill_at_every_point() {
    let life = through_the_cache(short_life(SEED));
    let report = life.run();
    assert!(report.violations.is_empty(), "{report}");
    assert_ne!(report.trace, short_life(SEED).run().trace, "nothing went another way");
    check(&life, Crash::Kill);
}

#[test]
fn appends_into_a_block_that_is_there_after_a_kill_at_every_point() {
    check(&life_in_blocks(SEED), Crash::Kill);
}

#[test]
fn appends_into_the_page_cache_with_a_loss_of_power_at_every_point() {
    check(&through_the_cache(short_life(SEED)), Crash::PowerLoss);
}

fn segments_of(machine: &Machine, folder: &str) -> usize {
    machine.names(format!("/data/corelane/{folder}")).iter().filter(|name| name.ends_with(".log")).count()
}

/// Of each topic four batches, each of which began a segment.
fn has_put_segments_together(machine: &Machine) {
    for folder in ["compacted-0", "compacted-strict-0"] {
        let segments = segments_of(machine, folder);
        assert!((2..4).contains(&segments), "{segments} segments in {folder}");
    }
}

#[test]
fn logs_that_are_cleaned_with_a_kill_at_every_point() {
    let life = Case { tamper: Some(has_put_segments_together), ..compacted_life(SEED) };
    let report = life.run();
    assert!(report.violations.is_empty(), "{report}");
    check(&compacted_life(SEED), Crash::Kill);
}

/// Of a topic that is not strict and compacted, a loss of power may leave a gap that looks like compaction's, as with Kafka.
#[test]
fn logs_that_are_cleaned_with_a_loss_of_power_at_every_point() {
    let mut life = compacted_life(SEED);
    life.plan.topics.retain(|topic| topic.name == "compacted-strict");
    life.plan.producers.retain(|(partition, _)| partition.0 == "compacted-strict");
    check(&life, Crash::PowerLoss);
}

/// Folders that are made together share the sync of the directory that has their names.
#[test]
fn partitions_that_are_made_together_with_a_loss_of_power_at_every_point() {
    check(&wide_life(SEED), Crash::PowerLoss);
}

/// A topic that is made, grown, deleted and made anew; records without acknowledgement; readers with sessions.
#[test]
fn changes_of_topics_with_a_kill_at_every_point() {
    let report = changing_life(SEED).run();
    assert!(report.violations.is_empty(), "{report}");
    // Nobody is told of records without acknowledgement, so nobody misses them; but no crash has taken them.
    let unanswered = report.records_of.get("strict").copied().unwrap_or_default();
    assert!(unanswered >= changing_life(SEED).plan.batches, "{unanswered} records without acknowledgement");
    check(&changing_life(SEED), Crash::Kill);
}

#[test]
fn changes_of_topics_with_a_loss_of_power_at_every_point() {
    check(&changing_life(SEED), Crash::PowerLoss);
}

#[test]
fn one_seed_is_one_course() {
    let trace = |seed| {
        let crashes = vec![CrashAt { point: 200, crash: Crash::PowerLoss }];
        Case { crashes, ..short_life(seed) }.run().trace
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5).0, trace(6).0);
}

/// Runs a broken broker; it must be found out at some point.
fn is_found(planted: Planted, crash: Crash) {
    let accused = |case: Case| {
        let report = Case { planted, ..case }.run();
        report.violations.iter().any(|violation| violation.contains("was Acknowledged"))
    };
    // From the end, where most has been acknowledged. Several lives, because in most of them the metadata log is damaged
    // so that there is no broker to be asked for its records.
    let mut cases =
        (SEED..SEED + 8).flat_map(|seed| cut_at_every_point(&short_life(seed), crash).into_iter().rev().step_by(5));
    assert!(cases.any(accused), "an early acknowledgement was not found");
}

#[test]
fn a_broker_that_acknowledges_before_the_sync_is_found() {
    is_found(Planted::SyncDoesNothing, Crash::PowerLoss);
}

#[test]
fn a_broker_that_acknowledges_before_the_write_is_found() {
    is_found(Planted::WriteStaysInProcess, Crash::Kill);
}
