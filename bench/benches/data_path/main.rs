//! What the pieces of the data path cost, each alone: no disk, no network, no system call but the clock's.
//!
//! Each bench asserts its result once before it is timed, so that a figure never stands for a wrong answer. README.md
//! tells how to run them and how to read what they print.

mod group;
mod log;
mod metadata;
mod partition;
mod record;
mod ring;
mod samples;
mod wire;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    // Short by default, so that all of them together are a matter of minutes; the command line may ask for more.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    wire::benches(&mut criterion);
    record::benches(&mut criterion);
    partition::benches(&mut criterion);
    log::benches(&mut criterion);
    ring::benches(&mut criterion);
    metadata::benches(&mut criterion);
    group::benches(&mut criterion);
    criterion.final_summary();
}
