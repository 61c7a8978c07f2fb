//! `corelane groups`: list, describe, move and delete consumer groups and their offsets.

mod describe;
mod listing;
mod removal;
mod reset;

use std::collections::BTreeMap;

use clap::{ArgAction, Args, Subcommand};
use corelane_core::base::Offset;
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::limits::TOPIC_PATTERN_BYTES_MAX;
use corelane_core::pattern::whole_match;
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use corelane_core::protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

pub(crate) use describe::{View, describe};
pub(crate) use listing::{Listing, Whose, list, names as group_names};
pub(crate) use removal::{delete_groups, delete_offsets};
pub(crate) use reset::{Mode, Reset, Scope, Where, reset};

use crate::admin::{Admin, TopicPartition, by_topic};
use crate::arguments::ClusterArguments;
use crate::failure::Failure;
use crate::output::{OutputArguments, line};
use crate::time::{parse_datetime, parse_duration};

/// Last version of OffsetFetch that asks for one group, by topic names.
const FETCH_ONE_GROUP_VERSION_MAX: i16 = 7;

/// Arguments of `corelane groups`.
#[derive(Args, Debug)]
pub(crate) struct Groups {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the name of every consumer group.
    List {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// Print states too; of those named, if any are.
        #[arg(long, value_name = "STATE", value_delimiter = ',', num_args = 0..)]
        state: Option<Vec<String>>,
        /// Print types too; of those named, if any are.
        #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', num_args = 0..)]
        kind: Option<Vec<String>>,
        /// Groups of other clients too, such as Connect's workers; prints types and protocols.
        #[arg(long)]
        all: bool,
        /// Only groups that speak this protocol, such as connect; prints protocols.
        #[arg(long, value_name = "NAME", conflicts_with = "all")]
        protocol: Option<String>,
    },
    /// Print how far groups have read and how far behind they are, their members, or their state.
    Describe {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        #[command(flatten)]
        names: GroupNames,
        /// Print members instead of offsets.
        #[arg(long, conflicts_with = "state")]
        members: bool,
        /// Print the state instead of offsets.
        #[arg(long)]
        state: bool,
        /// Print more columns.
        #[arg(long)]
        verbose: bool,
    },
    /// Move a group to other offsets; without --execute, only tell what would be done. The group must have no members.
    ResetOffsets(Box<ResetArguments>),
    /// Delete groups that have no members.
    Delete {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        #[command(flatten)]
        names: GroupNames,
    },
    /// Forget how far a group has read in some topics.
    DeleteOffsets {
        #[command(flatten)]
        cluster: ClusterArguments,
        #[command(flatten)]
        output: OutputArguments,
        /// The group.
        #[arg(long, short = 'g', value_name = "GROUP")]
        group: String,
        /// A topic, or some partitions of it, as orders:0,1; may be given several times.
        #[arg(long, short = 't', value_name = "TOPIC[:PARTITIONS]", required = true)]
        topic: Vec<String>,
    },
    /// Say whether members may subscribe to topics by this pattern, which is in the language of RE2. Asks no broker.
    ValidateRegex {
        /// The pattern.
        #[arg(value_name = "PATTERN")]
        pattern: String,
    },
}

/// Groups, named plainly or with `--group` as kafka-consumer-groups.sh wants it.
#[derive(Args, Debug)]
struct GroupNames {
    /// Groups.
    #[arg(value_name = "GROUP")]
    plain: Vec<String>,
    /// The same as naming the group plainly.
    #[arg(long = "group", short = 'g', value_name = "GROUP")]
    flagged: Vec<String>,
    /// All groups.
    #[arg(long, conflicts_with_all = ["plain", "flagged"])]
    all_groups: bool,
}

impl GroupNames {
    fn resolve(&self, admin: &mut Admin) -> Result<Vec<String>, Failure> {
        if self.all_groups {
            return group_names(admin);
        }
        let names: Vec<String> = self.plain.iter().chain(&self.flagged).cloned().collect();
        match names.is_empty() {
            true => Err(Failure::new("name a group, or all of them with --all-groups")
                .remedy("`corelane groups list` prints their names.")),
            false => Ok(names),
        }
    }
}

#[derive(Args, Debug)]
struct ResetArguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    names: GroupNames,
    #[command(flatten)]
    reset: ResetOptions,
}

/// Which partitions of a group to move, where to, and whether in earnest; the same words as kafka-consumer-groups.sh has.
#[derive(Args, Debug)]
pub(crate) struct ResetOptions {
    /// A topic, or some partitions of it, as orders:0,1; may be given several times.
    #[arg(long, short = 't', value_name = "TOPIC[:PARTITIONS]", conflicts_with_all = ["all_topics", "from_file"])]
    topic: Vec<String>,
    /// Every topic in which the group has committed an offset.
    #[arg(long, conflicts_with = "from_file")]
    all_topics: bool,
    /// To the offsets in a file of lines `topic,partition,offset`, as --export prints them.
    #[arg(long, value_name = "FILE", group = "where")]
    from_file: Option<std::path::PathBuf>,
    /// To the first record there is.
    #[arg(long, group = "where")]
    to_earliest: bool,
    /// Behind the last record.
    #[arg(long, group = "where")]
    to_latest: bool,
    /// To where the group is, or behind the last record where it is nowhere.
    #[arg(long, group = "where")]
    to_current: bool,
    /// To this offset.
    #[arg(long, value_name = "OFFSET", group = "where")]
    to_offset: Option<i64>,
    /// So many records on, or back if it is negative.
    #[arg(long, value_name = "COUNT", group = "where", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the first record that is not older than this, as P1DT2H30M.
    #[arg(long, value_name = "DURATION", group = "where", value_parser = parse_duration)]
    by_duration: Option<i64>,
    /// To the first record of this time or later, as 2026-01-31T08:30:00.000, in UTC.
    #[arg(long, value_name = "TIME", group = "where", value_parser = parse_datetime)]
    to_datetime: Option<corelane_core::base::Timestamp>,
    /// Only tell what would be done. This is the default.
    #[arg(long, conflicts_with = "execute", action = ArgAction::SetTrue)]
    dry_run: bool,
    /// Do it.
    #[arg(long)]
    execute: bool,
    /// Print lines for --from-file instead of a table.
    #[arg(long)]
    export: bool,
}

impl ResetOptions {
    /// What it asks for.
    pub(crate) fn resolve(&self, groups: Vec<String>) -> Result<Reset, Failure> {
        let Self { to_earliest, to_latest, to_current, to_offset, shift_by, by_duration, to_datetime, .. } = self;
        let to = match (&self.from_file, to_offset, shift_by, by_duration, to_datetime) {
            (Some(file), ..) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::from(error).during(&file.display().to_string()))?;
                Where::Planned(
                    reset::parse_plan(&text, &groups).map_err(|error| error.during(&file.display().to_string()))?,
                )
            }
            (_, Some(offset), ..) => Where::Offset(Offset(*offset)),
            (_, _, Some(count), ..) => Where::Shift(*count),
            (_, _, _, Some(ms), _) => {
                Where::Time(corelane_core::base::Timestamp(corelane_perf::report::wall_clock().0 - ms))
            }
            (_, _, _, _, Some(time)) => Where::Time(*time),
            _ if *to_earliest => Where::Earliest,
            _ if *to_latest => Where::Latest,
            _ if *to_current => Where::Current,
            _ => {
                return Err(Failure::new(
                    "say where to: one of --to-earliest, --to-latest, --to-current, --to-offset, \
                                         --shift-by, --by-duration, --to-datetime, --from-file",
                ));
            }
        };
        let scope = match (&self.topic[..], self.all_topics, &to) {
            ([], false, Where::Planned(_)) => Scope::Plan,
            ([], true, _) => Scope::Committed,
            ([], false, _) => {
                return Err(Failure::new("say which topics: --topic TOPIC[:PARTITIONS], or --all-topics"));
            }
            (topics, ..) => Scope::Topics(topics.to_vec()),
        };
        let mode = match (self.export, self.execute) {
            (false, execute) => Mode { executes: execute, exports: false },
            (true, execute) => Mode { executes: execute, exports: true },
        };
        Ok(Reset { groups, scope, to, mode })
    }

    /// The topics that are named.
    pub(crate) fn topics(&self) -> &[String] {
        &self.topic
    }

    /// Neither `--dry-run` nor `--execute` was given.
    pub(crate) fn is_undecided(&self) -> bool {
        !self.dry_run && !self.execute
    }
}

impl Groups {
    /// Does what is asked.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        match &self.action {
            Action::List { cluster, output, state, kind, all, protocol } => {
                let of = match (all, protocol) {
                    (true, _) => Whose::All,
                    (_, Some(name)) => Whose::Protocol(name.clone()),
                    _ => Whose::Consumers,
                };
                let listing = Listing { states: state.clone(), types: kind.clone(), of };
                list(&mut cluster.admin(), &listing, output.json)
            }
            Action::Describe { cluster, output, names, members, state, verbose } => {
                let admin = &mut cluster.admin();
                let view = match (members, state) {
                    (true, _) => View::Members,
                    (_, true) => View::State,
                    _ => View::Offsets,
                };
                let groups = names.resolve(admin)?;
                describe(admin, &groups, view, *verbose, output.json)
            }
            Action::ResetOffsets(arguments) => {
                let admin = &mut arguments.cluster.admin();
                let plan = arguments.reset.resolve(arguments.names.resolve(admin)?)?;
                reset(admin, &plan, arguments.output.json)?;
                if !plan.mode.executes {
                    crate::output::note("Nothing was changed: with --execute it is done.");
                }
                Ok(())
            }
            Action::Delete { cluster, output, names } => {
                let admin = &mut cluster.admin();
                let groups = names.resolve(admin)?;
                let outcomes = delete_groups(admin, &groups)?;
                removal::report(outcomes, output.json)
            }
            Action::DeleteOffsets { cluster, output, group, topic } => {
                let admin = &mut cluster.admin();
                let partitions = parse_topics(admin, topic)?;
                let outcomes = delete_offsets(admin, group, &partitions)?;
                removal::report_offsets(group, outcomes, output.json)
            }
            Action::ValidateRegex { pattern } => validate_regex(pattern),
        }
    }
}

/// Says whether a group of the consumer protocol takes a pattern of topics (KIP-848).
pub(crate) fn validate_regex(pattern: &str) -> Result<(), Failure> {
    match whole_match(pattern, TOPIC_PATTERN_BYTES_MAX) {
        Ok(_) => line(format!("The regular expression `{pattern}` is valid.")),
        Err(error) => Err(Failure::new(format!("the regular expression `{pattern}` is invalid: {error}"))),
    }
}

/// What `topic` or `topic:0,1` stands for: all partitions of the topic, or these.
pub(crate) fn parse_topics(admin: &mut Admin, topics: &[String]) -> Result<Vec<TopicPartition>, Failure> {
    let mut partitions = Vec::new();
    for text in topics {
        match text.split_once(':') {
            None => partitions.extend(admin.partitions_of(std::slice::from_ref(text))?),
            Some((topic, numbers)) => {
                for number in numbers.split(',') {
                    let number = number.trim().parse().map_err(|_| {
                        Failure::new(format!("`{text}`: `{number}` is no partition; write it as {topic}:0,1"))
                    })?;
                    partitions.push(TopicPartition::new(topic, number));
                }
            }
        }
    }
    partitions.sort();
    partitions.dedup();
    Ok(partitions)
}

/// What a broker says about a group.
pub(crate) fn failure_of_group(group: &str, code: ErrorCode, message: Option<&str>) -> Failure {
    let text = message.filter(|text| !text.is_empty()).unwrap_or(code.message());
    let failure = Failure::new(format!("group {group}: {text} ({})", code.name()));
    match code {
        ErrorCode::GROUP_ID_NOT_FOUND => failure.remedy("`corelane groups list` prints the groups that there are."),
        ErrorCode::NON_EMPTY_GROUP | ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC => {
            failure.remedy(format!("Stop its members first; `corelane groups describe {group} --members` names them."))
        }
        _ => failure,
    }
}

/// Where a group has got to, with the leader epoch of the record before: everywhere, or in these partitions.
pub(crate) fn committed(
    admin: &mut Admin,
    group: &str,
    partitions: Option<&[TopicPartition]>,
) -> Result<BTreeMap<TopicPartition, (Offset, i32)>, Failure> {
    let topics = partitions.map(|partitions| {
        let topics = by_topic(partitions.iter().map(|at| (at, ()))).into_iter();
        let topic = |(name, partitions): (&str, Vec<(i32, ())>)| OffsetFetchRequestTopic {
            name: KafkaString::copied(name),
            partition_indexes: partitions.iter().map(|(index, ())| *index).collect(),
        };
        topics.map(topic).collect()
    });
    let request = OffsetFetchRequest { group_id: KafkaString::copied(group), topics, ..OffsetFetchRequest::default() };
    let destination = Destination::Group(group.to_owned());
    let verdict = |response: &OffsetFetchResponse| ErrorCode(response.error_code);
    let response = admin.call_until(destination, request, FETCH_ONE_GROUP_VERSION_MAX, verdict)?;
    if response.error_code != 0 {
        return Err(failure_of_group(group, ErrorCode(response.error_code), None));
    }
    let mut found = BTreeMap::new();
    for topic in response.topics {
        for part in topic.partitions.iter().filter(|part| part.committed_offset >= 0) {
            let at = TopicPartition::new(&topic.name, part.partition_index);
            found.insert(at, (Offset(part.committed_offset), part.committed_leader_epoch));
        }
    }
    Ok(found)
}
