//! kafka-configs.sh, for topics, brokers and groups.

use clap::{ArgGroup, Parser};

use super::Bootstrap;
use crate::configs::{Changes, EntityArguments, alter, describe};
use crate::failure::Failure;

/// Describe and change what topics, brokers and groups are set to.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
#[command(group(ArgGroup::new("action").required(true).args(["describe", "alter"])))]
pub(super) struct Configs {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Print what was set.
    #[arg(long)]
    describe: bool,
    /// Change it.
    #[arg(long)]
    alter: bool,
    /// Print everything, also defaults.
    #[arg(long, requires = "describe")]
    all: bool,
    #[command(flatten)]
    entity: EntityArguments,
    #[command(flatten)]
    changes: Changes,
}

impl Configs {
    /// Does what is asked.
    pub(super) fn run(&self) -> Result<(), Failure> {
        let admin = &mut self.bootstrap.admin()?;
        if self.alter {
            alter(admin, &self.entity, &self.changes)
        } else {
            describe(admin, &self.entity, self.all, false)
        }
    }
}
