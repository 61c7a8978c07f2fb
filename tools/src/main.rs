//! The `corelane` command: starts a broker, and speaks to any Kafka-compatible one.
//!
//! Each subcommand is a file of its own. They share the driver of `corelane_perf`, which moves the
//! bytes of the client in `corelane_core::client`, and [`failure`], which words what went wrong.

mod admin;
mod arguments;
mod cluster;
mod configs;
mod console_format;
mod consume;
mod failure;
mod format;
mod groups;
mod kafka_tools;
mod log;
mod log_dump;
mod name_pattern;
mod offsets;
mod output;
mod perf;
mod produce;
mod records;
mod start;
mod time;
mod topics;
mod transactions;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::failure::Failure;

/// A Kafka-compatible event broker, and the tools to work with one.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a broker.
    Start(start::Start),
    /// List, create, describe, change and delete topics.
    Topics(topics::Topics),
    /// Send lines of the standard input as records.
    Produce(produce::Produce),
    /// Print the records of a topic.
    Consume(consume::Consume),
    /// List, describe, move and delete consumer groups.
    Groups(groups::Groups),
    /// List, describe and end transactions.
    Transactions(transactions::Transactions),
    /// Describe and change what topics and brokers are set to.
    Configs(configs::Configs),
    /// Print where partitions begin and end, and where a time is in them.
    Offsets(offsets::Offsets),
    /// Delete the records before an offset.
    Records(records::Records),
    /// Print what the cluster is: brokers, versions, features, quorum, log directories.
    Cluster(cluster::Cluster),
    /// Explain the files of a data directory.
    Log(log_dump::Log),
    /// Put load on a broker and measure it.
    Perf(Box<perf::Perf>),
    /// Print a script that lets a shell complete the words of this command.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let levels = log::start();
    if let Some(code) = kafka_tools::run(std::env::args_os().collect()) {
        return code;
    }
    let outcome = match CommandLine::parse().command {
        Command::Start(start) => start.run(levels),
        Command::Topics(topics) => topics.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Groups(groups) => groups.run(),
        Command::Transactions(transactions) => transactions.run(),
        Command::Configs(configs) => configs.run(),
        Command::Offsets(offsets) => offsets.run(),
        Command::Records(records) => records.run(),
        Command::Cluster(cluster) => cluster.run(),
        Command::Log(log) => log.run(),
        Command::Perf(perf) => perf.run(),
        Command::Completions { shell } => print_completions(shell),
    };
    exit_code(outcome, "corelane")
}

/// Tells a failure in the name of the program; a reader that has gone is none.
fn exit_code(outcome: Result<(), Failure>, program: &str) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if the standard error is closed too.
            let _ = writeln!(std::io::stderr().lock(), "{program}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn print_completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "corelane", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
