//! kafka-producer-perf-test.sh, kafka-consumer-perf-test.sh and kafka-e2e-latency.sh: the loads of `corelane perf`, whose
//! options are theirs and more.

use std::ffi::OsString;

use clap::Parser;

use crate::failure::Failure;
use crate::perf::{ConsumerArguments, EndToEndArguments, ProducerArguments};

/// Send records and tell throughput and latency.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct ProducerPerf {
    #[command(flatten)]
    arguments: ProducerArguments,
}

impl ProducerPerf {
    /// Puts the load on.
    pub(super) fn run(&self) -> Result<(), Failure> {
        self.arguments.run()
    }
}

/// Read records and tell throughput.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct ConsumerPerf {
    #[command(flatten)]
    arguments: ConsumerArguments,
}

impl ConsumerPerf {
    /// Puts the load on.
    pub(super) fn run(&self) -> Result<(), Failure> {
        self.arguments.run()
    }
}

/// The command line of kafka-e2e-latency.sh, whose arguments may have places instead of names, as they once did.
pub(super) fn by_name(line: Vec<OsString>) -> Vec<OsString> {
    const NAMES: [&str; 6] =
        ["--bootstrap-server", "--topic", "--num-records", "--producer-acks", "--record-size", "--command-config"];
    let arguments = line.len().saturating_sub(1);
    let has_names = line.iter().skip(1).any(|argument| argument.to_string_lossy().starts_with('-'));
    if has_names || !(5..=6).contains(&arguments) {
        return line;
    }
    let mut arguments = line.into_iter();
    let program = arguments.next();
    let named = NAMES.iter().zip(arguments).flat_map(|(name, value)| [OsString::from(name), value]);
    program.into_iter().chain(named).collect()
}

/// Time records from the producer to the consumer.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct EndToEndLatency {
    #[command(flatten)]
    arguments: EndToEndArguments,
}

impl EndToEndLatency {
    /// Puts the load on.
    pub(super) fn run(&self) -> Result<(), Failure> {
        self.arguments.run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_with_places_get_their_names() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let named =
            "kafka-e2e-latency --bootstrap-server h:1 --topic t --num-records 5 --producer-acks 1 --record-size 8";
        assert_eq!(by_name(line("kafka-e2e-latency h:1 t 5 1 8")), line(named));
        assert_eq!(by_name(line("kafka-e2e-latency h:1 t 5 1 8 f")), line(&format!("{named} --command-config f")));
        for kept in ["kafka-e2e-latency h:1 t", named, "kafka-e2e-latency --help"] {
            assert_eq!(by_name(line(kept)), line(kept));
        }
        assert!(EndToEndLatency::try_parse_from(by_name(line("kafka-e2e-latency h:1 t 5 1 8"))).is_ok());
    }
}
