//! The `corelane` command: starts a broker, and speaks to any Kafka-compatible one.
//!
//! Each subcommand is a file of its own. They share the driver of `corelane_perf`, which moves the
//! bytes of the client in `corelane_core::client`, and [`failure`], which words what went wrong.

mod arguments;
mod consume;
mod failure;
mod format;
mod perf;
mod produce;
mod start;
mod topics;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Put load on a broker and measure it.
    Perf(perf::Perf),
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match CommandLine::parse().command {
        Command::Start(start) => start.run(),
        Command::Topics(topics) => topics.run(),
        Command::Produce(produce) => produce.run(),
        Command::Consume(consume) => consume.run(),
        Command::Perf(perf) => perf.run(),
    };
    match result {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if the standard error is closed too.
            let _ = writeln!(std::io::stderr().lock(), "corelane: {failure}");
            ExitCode::FAILURE
        }
    }
}
