//! kafka-cluster.sh, kafka-broker-api-versions.sh, kafka-features.sh, kafka-metadata-quorum.sh and kafka-log-dirs.sh.

use clap::{Parser, Subcommand};

use super::Bootstrap;
use crate::cluster;
use crate::failure::Failure;

/// Print what a cluster is.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct ClusterTool {
    #[command(subcommand)]
    action: ClusterAction,
}

#[derive(Debug, Subcommand)]
enum ClusterAction {
    /// Print the cluster's id.
    ClusterId(Bootstrap),
    /// Print the brokers.
    ListEndpoints(Bootstrap),
}

impl ClusterTool {
    /// Prints it.
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            ClusterAction::ClusterId(bootstrap) => cluster::cluster_id(&mut bootstrap.admin()?),
            ClusterAction::ListEndpoints(bootstrap) => cluster::list_endpoints(&mut bootstrap.admin()?),
        }
    }
}

/// Print which versions of each API the brokers serve.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct BrokerApiVersions {
    #[command(flatten)]
    bootstrap: Bootstrap,
}

impl BrokerApiVersions {
    /// Prints them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        cluster::api_versions(&mut self.bootstrap.admin()?, false)
    }
}

/// Print the features of a cluster.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct Features {
    #[command(flatten)]
    bootstrap: Bootstrap,
    #[command(subcommand)]
    action: FeaturesAction,
}

#[derive(Debug, Subcommand)]
enum FeaturesAction {
    /// Print features and their levels.
    Describe,
}

impl Features {
    /// Prints them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        match self.action {
            FeaturesAction::Describe => cluster::features(&mut self.bootstrap.admin()?, false),
        }
    }
}

/// Print what the metadata quorum is doing.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct MetadataQuorum {
    #[command(flatten)]
    bootstrap: Bootstrap,
    #[command(subcommand)]
    action: QuorumAction,
}

#[derive(Debug, Subcommand)]
enum QuorumAction {
    /// Print who leads, or how far each replica is.
    Describe {
        /// Who leads.
        #[arg(long, required_unless_present = "replication", conflicts_with = "replication")]
        status: bool,
        /// How far each replica is.
        #[arg(long)]
        replication: bool,
        /// Print how long ago instead of times.
        #[arg(long, requires = "replication")]
        human_readable: bool,
    },
}

impl MetadataQuorum {
    /// Prints it.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let QuorumAction::Describe { replication, human_readable, .. } = &self.action;
        let admin = &mut self.bootstrap.admin()?;
        match replication {
            true => cluster::quorum_replication(admin, *human_readable, false),
            false => cluster::quorum_status(admin, false),
        }
    }
}

/// Print how many bytes partitions take in the log directories.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(super) struct LogDirs {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Print them.
    #[arg(long, required = true)]
    describe: bool,
    /// Only these topics.
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    topic_list: Vec<String>,
    /// Only these brokers.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    broker_list: Vec<i32>,
}

impl LogDirs {
    /// Prints them.
    pub(super) fn run(&self) -> Result<(), Failure> {
        cluster::log_dirs(&mut self.bootstrap.admin()?, &self.topic_list, &self.broker_list, false)
    }
}
