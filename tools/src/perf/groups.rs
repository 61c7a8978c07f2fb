//! `corelane perf groups`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use corelane_perf::groups::{self, GroupLoad};

use crate::arguments::ClusterArguments;
use crate::failure::Failure;

/// Time that groups have for each phase of a load.
const PATIENCE: Duration = Duration::from_secs(300);

/// Arguments of `corelane perf groups`.
#[derive(Args, Debug)]
pub(super) struct GroupsArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Groups.
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = parse_count)]
    groups: usize,
    /// Members of each group, each with a connection of its own.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = parse_count)]
    members: usize,
    /// What the names of groups begin with.
    #[arg(long, value_name = "TEXT", default_value = "perf-")]
    prefix: String,
    /// Milliseconds without a heartbeat after which a member is gone.
    #[arg(long, value_name = "MS", default_value_t = 45_000)]
    session_timeout: i32,
    /// Milliseconds between heartbeats, and so the longest until a member hears of a rebalance.
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    heartbeat_interval: u64,
    /// Topic that the members read in the consumer protocol (KIP-848), where the broker sets session and heartbeats; without
    /// one they speak the classic protocol and read nothing.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["session_timeout", "heartbeat_interval"])]
    topic: Option<String>,
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| format!("{text} is not a number from 1 on"))
}

impl GroupsArguments {
    /// Puts the load on and reports.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let load = GroupLoad {
            address: self.cluster.first(),
            groups: self.groups,
            members: self.members,
            prefix: self.prefix.clone(),
            session_timeout_ms: self.session_timeout,
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval),
            topic: self.topic.clone(),
            patience: PATIENCE,
        };
        let (groups, members) = (self.groups, self.members);
        let report = groups::run(&load, || {
            // Whoever measures the broker does it now, and reads nothing else.
            let _ = writeln!(std::io::stdout().lock(), "{groups} groups of {members} members are stable");
        });
        let report = report.map_err(|error| Failure::new(format!("groups at {}: {error}", load.address)))?;
        writeln!(
            std::io::stdout().lock(),
            "joined in {:.3} s, rolled in {:.3} s, restarted in {:.3} s, settled {:.3} s after that, left in {:.3} s, {} requests.",
            report.joined.as_secs_f64(),
            report.rolled.as_secs_f64(),
            (report.restarted.saturating_sub(report.settled)).as_secs_f64(),
            report.settled.as_secs_f64(),
            report.left.as_secs_f64(),
            report.requests
        )?;
        Ok(())
    }
}
