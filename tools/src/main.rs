//! The `corelane` command: starts a broker, and speaks to any Kafka-compatible one.

mod failure;
mod start;

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
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match CommandLine::parse().command {
        Command::Start(start) => start.run(),
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
