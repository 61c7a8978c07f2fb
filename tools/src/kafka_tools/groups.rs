//! kafka-consumer-groups.sh.

use clap::{ArgGroup, Parser};

use super::Bootstrap;
use crate::failure::{Failure, first_of};
use crate::groups::{
    self, Listing, ResetOptions, View, Whose, delete_groups, delete_offsets, describe, failure_of_group, group_names,
    list, parse_topics, reset, validate_regex,
};
use crate::output::{line, note, table};

/// List, describe, move and delete consumer groups.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
#[command(group(ArgGroup::new("action").required(true).args(["list", "describe", "delete", "delete_offsets", "reset_offsets", "validate_regex"])))]
#[command(mut_arg("bootstrap_server", |servers| servers.required(false).required_unless_present("validate_regex")))]
#[command(group(ArgGroup::new("view").args(["members", "offsets", "state"])))]
pub(super) struct ConsumerGroups {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Print the names of groups.
    #[arg(long)]
    list: bool,
    /// Print how far groups are, their members, or their state.
    #[arg(long)]
    describe: bool,
    /// Delete groups.
    #[arg(long)]
    delete: bool,
    /// Forget how far a group is in topics.
    #[arg(long)]
    delete_offsets: bool,
    /// Move groups to other offsets.
    #[arg(long)]
    reset_offsets: bool,
    /// Say whether members may subscribe to topics by this pattern.
    #[arg(long, value_name = "PATTERN")]
    validate_regex: Option<String>,
    /// A group; may be given several times.
    #[arg(long, value_name = "GROUP", conflicts_with = "all_groups")]
    group: Vec<String>,
    /// All groups.
    #[arg(long)]
    all_groups: bool,
    /// Describe members.
    #[arg(long, requires = "describe")]
    members: bool,
    /// Describe offsets, the default.
    #[arg(long, requires = "describe")]
    offsets: bool,
    /// Describe the state; or list states, of those named if any are.
    #[arg(long, value_name = "STATES", num_args = 0..=1, default_missing_value = "", value_delimiter = ',')]
    state: Option<Vec<String>>,
    /// List types, of those named if any are.
    #[arg(long = "type", value_name = "TYPES", num_args = 0..=1, default_missing_value = "", value_delimiter = ',', requires = "list")]
    kind: Option<Vec<String>>,
    /// Describe more.
    #[arg(long, requires = "describe")]
    verbose: bool,
    /// Milliseconds to wait for an answer.
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    timeout: u64,
    #[command(flatten)]
    reset: ResetOptions,
}

impl ConsumerGroups {
    /// Does what is asked.
    pub(super) fn run(&self) -> Result<(), Failure> {
        if let Some(pattern) = &self.validate_regex {
            return validate_regex(pattern);
        }
        let admin = &mut self.bootstrap.cluster()?.request_timeout_ms(self.timeout).admin();
        let named = |names: &Option<Vec<String>>| {
            names.as_ref().map(|names| names.iter().filter(|name| !name.is_empty()).cloned().collect())
        };
        if self.list {
            return list(
                admin,
                &Listing { states: named(&self.state), types: named(&self.kind), of: Whose::Consumers },
                false,
            );
        }
        let groups = match (self.all_groups, &self.group[..]) {
            (true, _) => group_names(admin)?,
            (false, []) => return Err(Failure::new("name a group with --group, or all with --all-groups")),
            (false, groups) => groups.to_vec(),
        };
        if self.describe {
            let view = match (self.members, &self.state) {
                (true, _) => View::Members,
                (_, Some(_)) => View::State,
                _ => View::Offsets,
            };
            return describe(admin, &groups, view, self.verbose, false);
        }
        if self.delete {
            return self.delete(admin, &groups);
        }
        if self.delete_offsets {
            return self.delete_offsets(admin, &groups);
        }
        let plan = self.reset.resolve(groups)?;
        if self.reset.is_undecided() {
            note("Nothing is changed without --execute; --dry-run says that this is meant.");
        }
        reset(admin, &plan, false)
    }

    fn delete(&self, admin: &mut crate::admin::Admin, groups: &[String]) -> Result<(), Failure> {
        let (done, failed): (Vec<_>, Vec<_>) =
            delete_groups(admin, groups)?.into_iter().partition(|(_, code)| code.is_none());
        let names: Vec<String> = done.iter().map(|(group, _)| format!("'{group}'")).collect();
        if failed.is_empty() {
            line(format!("Deletion of requested consumer groups ({}) was successful.", names.join(", ")))?;
        } else if !names.is_empty() {
            line(format!("These consumer groups were deleted successfully: {}", names.join(", ")))?;
        }
        first_of(failed.into_iter().map(|(group, code)| failure_of_group(&group, code, None)).collect())
    }

    fn delete_offsets(&self, admin: &mut crate::admin::Admin, groups: &[String]) -> Result<(), Failure> {
        let [group] = groups else { return Err(Failure::new("--delete-offsets is for one group")) };
        let topics = self.reset.topics();
        if topics.is_empty() {
            return Err(Failure::new("say which topics: --topic TOPIC[:PARTITIONS]"));
        }
        let partitions = parse_topics(admin, topics)?;
        let outcomes = delete_offsets(admin, group, &partitions)?;
        let all_done = outcomes.values().all(|code| code.is_none());
        let verdict = if all_done { "Request succeeded for" } else { "Error in" };
        line(format!("{verdict} deleting offsets from group {group}."))?;
        line("")?;
        let row = |(at, code): (&crate::admin::TopicPartition, &corelane_core::client::ErrorCode)| {
            let status = if code.is_none() { "Successful".to_owned() } else { format!("Error: {}", code.message()) };
            vec![at.topic.clone(), at.partition.to_string(), status]
        };
        let rows: Vec<Vec<String>> = outcomes.iter().map(row).collect();
        table(&["TOPIC", "PARTITION", "STATUS"], &[15, 10, 15], &rows).iter().try_for_each(line)?;
        let failed = outcomes.iter().filter(|(_, code)| !code.is_none());
        first_of(
            failed.map(|(at, code)| groups::failure_of_group(group, *code, None).during(&at.to_string())).collect(),
        )
    }
}
