//! A group of the consumer protocol on a broker that is killed: who was told that it is a member is one, and no partition
//! is read by two.
//!
//! `CORELANE_SIMULATION_POINT=n` runs only the kills at point n, as a failure names it, and `CORELANE_SIMULATION_SEEDS=n` has
//! n longer lives drawn (60 without it).

use corelane_simulation::case::{Case, CrashAt, run_all};
use corelane_simulation::disk::Crash;
use corelane_simulation::plans::{life_of_members, long_life_of_members};

const SEED: u64 = 1;
const SEEDS: u64 = 60;

#[test]
fn a_kill_at_every_point() {
    let life = life_of_members(SEED);
    let report = life.run();
    assert!(report.violations.is_empty(), "{report}");
    assert!(report.points > 100, "{} points", report.points);
    let cut = |point| Case { crashes: vec![CrashAt { point, crash: Crash::Kill }], ..life.clone() };
    let only: Option<u64> =
        std::env::var("CORELANE_SIMULATION_POINT").ok().map(|point| point.parse().expect("is a number"));
    let points = (0..report.points).filter(|point| only.is_none_or(|only| only == *point));
    let outcome = run_all(&points.map(cut).collect::<Vec<_>>());
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
}

#[test]
fn longer_lives() {
    let seeds = std::env::var("CORELANE_SIMULATION_SEEDS").ok().map(|seeds| seeds.parse().expect("is a number"));
    let lives: Vec<Case> = (0..seeds.unwrap_or(SEEDS)).map(long_life_of_members).collect();
    let outcome = run_all(&lives);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
    assert!(outcome.crashes >= SEEDS / 2, "{} kills were reached", outcome.crashes);
}
