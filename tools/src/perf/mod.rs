//! `corelane perf`: load on a broker, in the words of Kafka's own perf tools.

mod compare;
mod consumer;
mod date_format;
mod end_to_end;
mod groups;
mod outcome;
mod producer;
mod properties;
mod sending;
mod sink;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use compare::CompareArguments;
pub(crate) use consumer::ConsumerArguments;
pub(crate) use end_to_end::EndToEndArguments;
use groups::GroupsArguments;
pub(crate) use producer::ProducerArguments;
use sink::SinkArguments;

/// Arguments of `corelane perf`.
#[derive(Args, Debug)]
pub(crate) struct Perf {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send records and tell throughput and latency, as kafka-producer-perf-test does.
    Producer(ProducerArguments),
    /// Read records and tell throughput, as kafka-consumer-perf-test does.
    Consumer(ConsumerArguments),
    /// Time records from the producer to the consumer, as kafka-e2e-latency does.
    EndToEnd(EndToEndArguments),
    /// Have many consumer groups join, roll one member each, and leave, and tell how long that took.
    Groups(GroupsArguments),
    /// Set runs that --result has kept side by side.
    Compare(CompareArguments),
    /// Stand in for a broker and do the least, to learn what a load can reach at most. It is no broker: it loses everything.
    Sink(SinkArguments),
}

impl Perf {
    /// Puts the load on and reports.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Producer(arguments) => arguments.run(),
            Command::Consumer(arguments) => arguments.run(),
            Command::EndToEnd(arguments) => arguments.run(),
            Command::Groups(arguments) => arguments.run(),
            Command::Compare(arguments) => arguments.run(),
            Command::Sink(arguments) => arguments.run(),
        }
    }
}
