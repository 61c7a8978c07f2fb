//! Longer lives of the broker, each drawn from a seed: several crashes, a failing or full disk, quiet minutes.
//!
//! `CORELANE_SIMULATION_SEEDS=n` tries more of them, `CORELANE_SIMULATION_SEED=s` only the one that a failure named,
//! and with it `CORELANE_SIMULATION_TRACE=file` writes its whole course down.

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
    let (mut failures, mut records, mut crashes) = (Vec::new(), 0, 0);
    for seed in seeds {
        let case = long_life(seed);
        let report = case.run();
        records += report.records;
        crashes += report.processes - 1;
        if !report.violations.is_empty() {
            failures.push(format!("{case}:\n{report}"));
        }
    }
    assert!(failures.is_empty(), "{} seeds fail; the first:\n{}", failures.len(), failures[0]);
    // A run in which nothing happens proves nothing.
    assert!(only.is_some() || (records > 1000 && crashes > 20), "{records} records, {crashes} crashes");
}
