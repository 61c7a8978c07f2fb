//! Folders as Kafka's log cleaner leaves them when it is killed: a start finishes the exchange of segments, and a crash at
//! any point of that start loses nothing.

use bytes::Bytes;
use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::Crash;
use corelane_simulation::machine::Machine;
use corelane_simulation::plans::short_life;
use corelane_simulation::promises::Durability;
use corelane_simulation::workload::{Plan, TopicPlan, Way};

const FOLDER: &str = "/data/corelane/rolling-0";

/// A topic of several segments.
fn life(tamper: fn(&Machine)) -> Case {
    let case = short_life(3);
    let topic = TopicPlan {
        name: "rolling",
        partitions: 1,
        durability: Durability::Strict,
        configs: vec![("segment.ms", "15")],
    };
    let plan = Plan {
        topics: vec![topic],
        producers: vec![(("rolling", 0), Way::Idempotent)],
        batches: 12,
        ..case.plan.clone()
    };
    Case { plan, tamper: Some(tamper), ..case }
}

/// Names of the segments' logs, ascending.
fn logs(machine: &Machine) -> Vec<String> {
    let logs: Vec<String> = machine.names(FOLDER).into_iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() >= 4, "segments to exchange: {logs:?}");
    logs
}

fn read(machine: &Machine, name: &str) -> Bytes {
    machine.file(format!("{FOLDER}/{name}")).expect("is there")
}

fn put(machine: &Machine, name: &str, contents: impl Into<Bytes>) {
    machine.put(format!("{FOLDER}/{name}"), Some(contents.into()));
}

fn remove(machine: &Machine, name: &str) {
    machine.put(format!("{FOLDER}/{name}"), None);
}

/// Kafka was killed, so it left no word of a clean stop.
fn killed(machine: &Machine) {
    machine.put("/data/corelane/.kafka_cleanshutdown", None);
}

/// One copy of the first three segments, which are all still there.
fn all_is_there(machine: &Machine) {
    let logs = logs(machine);
    let copy: Vec<u8> = logs[..3].iter().flat_map(|name| read(machine, name).to_vec()).collect();
    put(machine, &format!("{}.swap", logs[0]), copy);
    killed(machine);
}

/// As before, but two of the three are out of the log already.
fn some_are_deleted(machine: &Machine) {
    all_is_there(machine);
    for name in &logs(machine)[..2] {
        let contents = read(machine, name);
        put(machine, &format!("{name}.deleted"), contents);
        remove(machine, name);
    }
}

/// The copy of the log has its name, but its indexes do not have theirs.
fn the_log_is_renamed(machine: &Machine) {
    let logs = logs(machine);
    let copy: Vec<u8> = logs[..3].iter().flat_map(|name| read(machine, name).to_vec()).collect();
    for name in &logs[..3] {
        for extension in ["log", "index", "timeindex", "snapshot"] {
            remove(machine, &name.replace("log", extension));
        }
    }
    put(machine, &logs[0], copy);
    put(machine, &logs[0].replace("log", "index.swap"), Bytes::new());
    put(machine, &logs[0].replace("log", "timeindex.swap"), Bytes::new());
    killed(machine);
}

/// Of two copies only the second has got as far as `.swap`; neither may be used.
fn copies_are_incomplete(machine: &Machine) {
    let logs = logs(machine);
    put(machine, &format!("{}.cleaned", logs[0]), &b"half a copy"[..]);
    put(machine, &format!("{}.swap", logs[1]), &b"a copy that is one of two"[..]);
    killed(machine);
}

/// Crashes at each point, or every so many points, of the start.
fn check(tamper: fn(&Machine), step: usize) {
    let undisturbed = life(tamper).run();
    assert!(undisturbed.violations.is_empty(), "{undisturbed}");
    assert!(undisturbed.records >= 12);
    let crashes = [Crash::Kill, Crash::PowerLoss];
    let last = |point, crash| vec![CrashAt { point, crash }];
    let points = (0..undisturbed.last_points).step_by(step);
    let cases: Vec<Case> = points
        .flat_map(|point| crashes.map(|crash| Case { last_crashes: last(point, crash), ..life(tamper) }))
        .collect();
    let outcome = run_all(&cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
}

#[test]
fn a_copy_takes_the_place_of_all_segments_that_it_was_made_of() {
    check(all_is_there, 1);
}

#[test]
fn an_exchange_that_was_half_done_is_finished() {
    check(some_are_deleted, 3);
    check(the_log_is_renamed, 3);
}

#[test]
fn copies_that_are_not_all_there_are_not_used() {
    check(copies_are_incomplete, 3);
}
