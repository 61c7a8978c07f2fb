//! Kafka's own tools, by name: called as kafka-topics.sh (a link to this program), it takes that tool's options and prints
//! in its layout. An option that we do not have is refused by name, never passed over. Unlike some of them, it tells a
//! failure by its exit status, and on the standard error.

mod cluster;
mod configs;
mod consumer;
mod dump_log;
mod groups;
mod offsets;
mod perf;
mod producer;
mod topics;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser};
use corelane_core::client::Address;

use crate::admin::Admin;
use crate::arguments::{ClusterArguments, read_properties};
use crate::failure::Failure;

/// The cluster that a tool works on.
#[derive(Args, Debug)]
pub(crate) struct Bootstrap {
    /// Brokers to ask first, separated by commas.
    #[arg(long, value_name = "HOST:PORT", required = true, value_delimiter = ',', value_parser = Address::parse)]
    bootstrap_server: Vec<Address>,
    /// A file with properties of the client: client.id, request.timeout.ms, default.api.timeout.ms; and
    /// security.protocol, which is PLAINTEXT.
    #[arg(long, value_name = "FILE", aliases = ["producer.config", "consumer.config"])]
    command_config: Option<PathBuf>,
}

const CLIENT_PROPERTIES: &[&str] =
    &["client.id", "request.timeout.ms", "default.api.timeout.ms", "security.protocol", "bootstrap.servers"];

impl Bootstrap {
    fn cluster(&self) -> Result<ClusterArguments, Failure> {
        let cluster = ClusterArguments::of(self.bootstrap_server.clone());
        match &self.command_config {
            None => Ok(cluster),
            Some(path) => with_properties(cluster, path).map_err(|failure| failure.during("--command-config")),
        }
    }

    fn admin(&self) -> Result<Admin, Failure> {
        Ok(self.cluster()?.admin())
    }
}

/// Takes the properties of a file in; one that does nothing here is refused by name.
fn with_properties(mut cluster: ClusterArguments, path: &Path) -> Result<ClusterArguments, Failure> {
    let name = path.display().to_string();
    for (property, value) in read_properties(path)? {
        match (property.as_str(), value.as_str()) {
            ("client.id", id) => cluster = cluster.client_id(id.to_owned()),
            (property @ ("request.timeout.ms" | "default.api.timeout.ms"), ms) => {
                cluster = cluster.request_timeout_ms(number(&name, property, ms)?);
            }
            // What the option says counts.
            ("bootstrap.servers", _) | ("security.protocol", "PLAINTEXT") => {}
            ("security.protocol", other) => {
                return Err(Failure::new(format!("{name}: security.protocol={other}: only PLAINTEXT is there yet")));
            }
            (other, _) => return Err(unknown_property(&name, other, CLIENT_PROPERTIES)),
        }
    }
    Ok(cluster)
}

/// A tool's name, and how to run it with its arguments, its name first.
type Tool = (&'static str, fn(Vec<OsString>) -> Result<Result<(), Failure>, clap::Error>);

const TOOLS: &[Tool] = &[
    ("kafka-topics", |line| Ok(topics::Topics::try_parse_from(line)?.run())),
    ("kafka-console-producer", |line| Ok(producer::ConsoleProducer::try_parse_from(line)?.run())),
    ("kafka-console-consumer", |line| Ok(consumer::ConsoleConsumer::try_parse_from(line)?.run())),
    ("kafka-consumer-groups", |line| Ok(groups::ConsumerGroups::try_parse_from(line)?.run())),
    ("kafka-configs", |line| Ok(configs::Configs::try_parse_from(line)?.run())),
    ("kafka-get-offsets", |line| Ok(offsets::GetOffsets::try_parse_from(line)?.run())),
    ("kafka-delete-records", |line| Ok(offsets::DeleteRecords::try_parse_from(line)?.run())),
    ("kafka-log-dirs", |line| Ok(cluster::LogDirs::try_parse_from(line)?.run())),
    ("kafka-dump-log", |line| Ok(dump_log::DumpLog::try_parse_from(line)?.run())),
    ("kafka-broker-api-versions", |line| Ok(cluster::BrokerApiVersions::try_parse_from(line)?.run())),
    ("kafka-cluster", |line| Ok(cluster::ClusterTool::try_parse_from(line)?.run())),
    ("kafka-metadata-quorum", |line| Ok(cluster::MetadataQuorum::try_parse_from(line)?.run())),
    ("kafka-producer-perf-test", |line| Ok(perf::ProducerPerf::try_parse_from(line)?.run())),
    ("kafka-consumer-perf-test", |line| Ok(perf::ConsumerPerf::try_parse_from(line)?.run())),
    ("kafka-e2e-latency", |line| Ok(perf::EndToEndLatency::try_parse_from(perf::by_name(line))?.run())),
    ("kafka-features", |line| Ok(cluster::Features::try_parse_from(line)?.run())),
];

/// Runs the tool that the program was called as; none if that is no name of a tool.
pub(crate) fn run(mut line: Vec<OsString>) -> Option<ExitCode> {
    let called =
        line.first().map(|name| Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned())?;
    let name = called.strip_suffix(".sh").unwrap_or(&called).to_owned();
    let Some((_, tool)) = TOOLS.iter().find(|(tool, _)| *tool == name) else {
        if !name.starts_with("kafka-") {
            return None;
        }
        let names: Vec<&str> = TOOLS.iter().map(|(tool, _)| *tool).collect();
        crate::output::note(format!("corelane: it cannot stand in for {name}, only for {}", names.join(", ")));
        return Some(ExitCode::FAILURE);
    };
    // What is said about the usage names the tool as it was called.
    if let Some(first) = line.first_mut() {
        *first = OsString::from(&called);
    }
    Some(match tool(line) {
        Ok(outcome) => crate::exit_code(outcome, &name),
        Err(error) => {
            let _ = error.print();
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    })
}

/// Properties as `name=value`.
pub(super) fn properties(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A property that we do not have.
pub(super) fn unknown_property(option: &str, name: &str, known: &[&str]) -> Failure {
    Failure::new(format!("{option}: {name} does nothing here; there are {}", known.join(", ")))
}

/// The number in a property.
pub(super) fn number<T: std::str::FromStr>(option: &str, name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| Failure::new(format!("{option}: {name}={value}: it is a number")))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_line_is_consistent() {
        topics::Topics::command().debug_assert();
        producer::ConsoleProducer::command().debug_assert();
        consumer::ConsoleConsumer::command().debug_assert();
        groups::ConsumerGroups::command().debug_assert();
        configs::Configs::command().debug_assert();
        offsets::GetOffsets::command().debug_assert();
        offsets::DeleteRecords::command().debug_assert();
        dump_log::DumpLog::command().debug_assert();
        cluster::LogDirs::command().debug_assert();
        cluster::BrokerApiVersions::command().debug_assert();
        cluster::ClusterTool::command().debug_assert();
        cluster::MetadataQuorum::command().debug_assert();
        cluster::Features::command().debug_assert();
        perf::ProducerPerf::command().debug_assert();
        perf::ConsumerPerf::command().debug_assert();
        perf::EndToEndLatency::command().debug_assert();
    }

    #[test]
    fn only_tools_that_there_are_are_stood_in_for() {
        assert!(run(vec!["corelane".into()]).is_none());
        assert!(run(vec!["/usr/bin/kafka-acls.sh".into()]).is_some());
    }
}
