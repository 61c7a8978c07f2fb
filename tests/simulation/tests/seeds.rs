//! Longer lives of the broker, each drawn from a seed: several crashes, a failing or full disk, quiet minutes.
//!
//! `CORELANE_SIMULATION_SEEDS=n` tries more of them, `CORELANE_SIMULATION_SEED=s` only the one that a failure named,
//! and with it `CORELANE_SIMULATION_TRACE=file` writes its whole course down.

use corelane_simulation::case::{Case, run_all};
use corelane_simulation::plans::long_life;

/// Seeds of the default tier.
const SEEDS: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

#[test]
fn lives_drawn_from_seeds() {
    let only = number("CORELANE_SIMULATION_SEED");
    let seeds = only.map_or(0..number("CORELANE_SIMULATION_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let cases: Vec<Case> = seeds.map(long_life).collect();
    let outcome = run_all(&cases);
    assert!(outcome.failures.is_empty(), "{}", outcome.told());
    // A run in which nothing happens proves nothing.
    let (records, crashes) = (outcome.records, outcome.crashes);
    assert!(only.is_some() || (records > 1000 && crashes > 20), "{records} records, {crashes} crashes");
}
