//! What a group is doing: where it has got to and how far behind it is, who its members are, its state. The tables are
//! those of kafka-consumer-groups.sh.

use std::collections::BTreeMap;

use corelane_core::base::PartitionIndex;
use corelane_core::client::{Assignment, Destination, ErrorCode, RequestError, decode_assignment};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::consumer_group_describe_response::{
    Assignment as NewAssignment, DescribedGroup as NewGroup,
};
use corelane_core::protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
};
use serde::Serialize;

use super::{Admin, TopicPartition, committed, failure_of_group};
use crate::admin::LATEST;
use crate::failure::{Failure, first_of};
use crate::output::{line, note, print_json, table};

/// Member types of ConsumerGroupDescribe, from version 1 on (KIP-1099).
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

/// What to print of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Offsets,
    Members,
    State,
}

struct Member {
    id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    epoch: Option<i32>,
    assignment: Assignment,
    /// What a group of KIP-848 means to give it.
    target: Option<Assignment>,
    /// Whether it speaks the protocol of KIP-848; none in a group that does not, or if the broker does not tell.
    is_upgraded: Option<bool>,
}

/// A group as its coordinator describes it.
pub(super) struct Group {
    pub(super) state: String,
    kind: &'static str,
    assignor: String,
    epochs: Option<(i32, i32)>,
    members: Vec<Member>,
}

impl Group {
    /// Some member may be reading.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.state.as_str(), "Empty" | "Dead")
    }
}

/// Asks the coordinator about a group, of the old kind or the new (KIP-848).
pub(super) fn ask(admin: &mut Admin, name: &str) -> Result<Group, Failure> {
    let request = DescribeGroupsRequest { groups: vec![KafkaString::copied(name)], ..DescribeGroupsRequest::default() };
    let verdict = |response: &DescribeGroupsResponse| {
        response.groups.first().map_or(ErrorCode::NONE, |group| ErrorCode(group.error_code))
    };
    let response = admin.call_until(Destination::Group(name.to_owned()), request, i16::MAX, verdict)?;
    let Some(group) = response.groups.into_iter().next() else {
        return Err(Failure::new(format!("group {name}: the broker says nothing about it")));
    };
    let code = ErrorCode(group.error_code);
    // Until version 6 a group that is not there is dead.
    if code == ErrorCode::GROUP_ID_NOT_FOUND || (code.is_none() && group.group_state == "Dead") {
        let missing = || failure_of_group(name, ErrorCode::GROUP_ID_NOT_FOUND, group.error_message.as_deref());
        return ask_new(admin, name)?.ok_or_else(missing);
    }
    if !code.is_none() {
        return Err(failure_of_group(name, code, group.error_message.as_deref()));
    }
    let is_of_consumers = group.protocol_type == "consumer";
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: None,
        target: None,
        is_upgraded: None,
        // What other kinds of clients tell each other is theirs.
        assignment: decode_assignment(member.member_assignment).ok().filter(|_| is_of_consumers).unwrap_or_default(),
    });
    Ok(Group {
        state: group.group_state.to_string(),
        kind: "classic",
        assignor: group.protocol_data.to_string(),
        epochs: None,
        members: members.collect(),
    })
}

/// Asks about a group of KIP-848; none if there is none, or the broker has no such groups.
fn ask_new(admin: &mut Admin, name: &str) -> Result<Option<Group>, Failure> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![KafkaString::copied(name)],
        ..ConsumerGroupDescribeRequest::default()
    };
    let response = match admin.call(Destination::Group(name.to_owned()), request) {
        Err(RequestError::Unsupported(_)) => return Ok(None),
        other => other?,
    };
    let Some(group) = response.groups.into_iter().next().filter(|group| group.error_code == 0) else { return Ok(None) };
    let NewGroup { group_state, group_epoch, assignment_epoch, assignor_name, members, .. } = group;
    let assignment = |given: NewAssignment| -> Assignment {
        let topics = given.topic_partitions.into_iter();
        let numbers = |partitions: Vec<i32>| partitions.into_iter().map(PartitionIndex).collect();
        topics.map(|topic| (topic.topic_name.to_string(), numbers(topic.partitions))).collect()
    };
    let members = members.into_iter().map(|member| Member {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch: Some(member.member_epoch),
        assignment: assignment(member.assignment),
        target: Some(assignment(member.target_assignment)),
        is_upgraded: match member.member_type {
            CLASSIC_MEMBER => Some(false),
            CONSUMER_MEMBER => Some(true),
            _ => None,
        },
    });
    Ok(Some(Group {
        state: group_state.to_string(),
        kind: "consumer",
        assignor: assignor_name.to_string(),
        epochs: Some((group_epoch, assignment_epoch)),
        members: members.collect(),
    }))
}

/// Prints a view of each group; fails in the end if one of them could not be described.
pub(crate) fn describe(
    admin: &mut Admin,
    groups: &[String],
    view: View,
    verbose: bool,
    json: bool,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for name in groups {
        let outcome = ask(admin, name).and_then(|group| match view {
            View::Offsets => offsets(admin, name, &group, verbose, json),
            View::Members => members(name, &group, verbose, json),
            View::State => state(admin, name, &group, verbose, json),
        });
        failures.extend(outcome.err());
    }
    first_of(failures)
}

/// Says on the standard error what an empty table would leave open.
fn note_state(name: &str, group: &Group) {
    match group.state.as_str() {
        "Empty" => note(format!("\nConsumer group '{name}' has no active members.")),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            note(format!("\nWarning: Consumer group '{name}' is rebalancing."));
        }
        _ => {}
    }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[derive(Serialize)]
struct OffsetRow<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
    leader_epoch: Option<i32>,
    current_offset: Option<i64>,
    log_end_offset: Option<i64>,
    lag: Option<i64>,
    member: Option<&'a str>,
    host: Option<&'a str>,
    client_id: Option<&'a str>,
}

fn offsets(admin: &mut Admin, name: &str, group: &Group, verbose: bool, json: bool) -> Result<(), Failure> {
    let committed = committed(admin, name, None)?;
    let mut owners: BTreeMap<TopicPartition, &Member> = BTreeMap::new();
    for member in &group.members {
        for (topic, partitions) in &member.assignment {
            owners.extend(partitions.iter().map(|partition| (TopicPartition::new(topic, partition.0), member)));
        }
    }
    let wanted = committed.keys().chain(owners.keys()).map(|at| (at.clone(), LATEST)).collect();
    let ends = admin.list_offsets(&wanted)?;
    let row = |(at, end): (&_, &Result<crate::admin::FoundOffset, ErrorCode>)| {
        let at: &TopicPartition = at;
        // Borrowed from the map that outlives the rows.
        let owner = owners.get(at).copied();
        let current = committed.get(at).map(|(offset, _)| offset.0);
        let end = end.ok().and_then(|found| found.offset).map(|offset| offset.0);
        (at.clone(), owner, current, committed.get(at).map(|(_, epoch)| *epoch).filter(|epoch| *epoch >= 0), end)
    };
    let rows: Vec<_> = ends.iter().map(row).collect();
    let rows: Vec<OffsetRow<'_>> = rows
        .iter()
        .map(|(at, owner, current, epoch, end)| OffsetRow {
            group: name,
            topic: &at.topic,
            partition: at.partition,
            leader_epoch: *epoch,
            current_offset: *current,
            log_end_offset: *end,
            lag: end.zip(*current).map(|(end, current)| end - current),
            member: owner.map(|member| member.id.as_str()),
            host: owner.map(|member| member.host.as_str()),
            client_id: owner.map(|member| member.client_id.as_str()),
        })
        .collect();
    if json {
        return print_json(rows);
    }
    note_state(name, group);
    if rows.is_empty() {
        return Ok(());
    }
    let mut header = vec!["GROUP", "TOPIC", "PARTITION"];
    header.extend(verbose.then_some("LEADER-EPOCH"));
    header.extend(["CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"]);
    let widths: &[usize] =
        if verbose { &[15, 15, 10, 15, 15, 15, 15, 15, 15] } else { &[15, 15, 10, 15, 15, 15, 15, 15] };
    let cells = |row: &OffsetRow<'_>| {
        let mut cells = vec![row.group.to_owned(), row.topic.to_owned(), row.partition.to_string()];
        cells.extend(verbose.then(|| or_dash(row.leader_epoch)));
        cells.extend([or_dash(row.current_offset), or_dash(row.log_end_offset), or_dash(row.lag)]);
        cells.extend([or_dash(row.member), or_dash(row.host), or_dash(row.client_id)]);
        cells
    };
    print_table(&header, widths, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn print_table(header: &[&str], widths: &[usize], rows: &[Vec<String>]) -> Result<(), Failure> {
    line("")?;
    table(header, widths, rows).iter().try_for_each(line)
}

#[derive(Serialize)]
struct MemberRow<'a> {
    group: &'a str,
    member: &'a str,
    instance_id: Option<&'a str>,
    host: &'a str,
    client_id: &'a str,
    member_epoch: Option<i32>,
    is_upgraded: Option<bool>,
    partitions: usize,
    assignment: BTreeMap<&'a str, Vec<i32>>,
}

fn members(name: &str, group: &Group, verbose: bool, json: bool) -> Result<(), Failure> {
    let text = |assignment: &Assignment| -> String {
        let of_topic = |(topic, partitions): (&String, &Vec<PartitionIndex>)| {
            let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            format!("{topic}:{}", numbers.join(","))
        };
        match assignment.is_empty() {
            true => "-".to_owned(),
            false => assignment.iter().map(of_topic).collect::<Vec<_>>().join(";"),
        }
    };
    let count = |member: &Member| -> usize { member.assignment.values().map(Vec::len).sum() };
    if json {
        return print_json(group.members.iter().map(|member| {
            MemberRow {
                group: name,
                member: &member.id,
                instance_id: member.instance_id.as_deref(),
                host: &member.host,
                client_id: &member.client_id,
                member_epoch: member.epoch,
                is_upgraded: member.is_upgraded,
                partitions: count(member),
                assignment: member
                    .assignment
                    .iter()
                    .map(|(topic, partitions)| {
                        (topic.as_str(), partitions.iter().map(|partition| partition.0).collect())
                    })
                    .collect(),
            }
        }));
    }
    note_state(name, group);
    let has_instances = group.members.iter().any(|member| member.instance_id.is_some());
    let mut header = vec!["GROUP", "CONSUMER-ID"];
    header.extend(has_instances.then_some("GROUP-INSTANCE-ID"));
    header.extend(["HOST", "CLIENT-ID", "#PARTITIONS"]);
    header.extend(if verbose {
        &["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"][..]
    } else {
        &[]
    });
    // Told while a group changes over, which is when there are both.
    let is_changing_over =
        [Some(true), Some(false)].iter().all(|wanted| group.members.iter().any(|each| each.is_upgraded == *wanted));
    header.extend((verbose && is_changing_over).then_some("UPGRADED"));
    let cells = |member: &Member| {
        let mut cells = vec![name.to_owned(), member.id.clone()];
        cells.extend(has_instances.then(|| or_dash(member.instance_id.as_deref())));
        cells.extend([member.host.clone(), member.client_id.clone(), count(member).to_string()]);
        if verbose {
            cells.extend([or_dash(member.epoch), text(&member.assignment)]);
            cells.push(or_dash(member.target.as_ref().and(group.epochs).map(|(_, epoch)| epoch)));
            cells.push(member.target.as_ref().map_or_else(|| "-".to_owned(), text));
            cells.extend(is_changing_over.then(|| or_dash(member.is_upgraded)));
        }
        cells
    };
    print_table(&header, &[15; 11], &group.members.iter().map(cells).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct StateRow<'a> {
    group: &'a str,
    coordinator: String,
    #[serde(rename = "type")]
    kind: &'a str,
    assignment_strategy: Option<&'a str>,
    state: &'a str,
    group_epoch: Option<i32>,
    target_assignment_epoch: Option<i32>,
    members: usize,
}

fn state(admin: &mut Admin, name: &str, group: &Group, verbose: bool, json: bool) -> Result<(), Failure> {
    let request = FindCoordinatorRequest { key: KafkaString::copied(name), ..FindCoordinatorRequest::default() };
    let found = admin.call_until(Destination::Any, request, 3, |response| ErrorCode(response.error_code))?;
    let row = StateRow {
        group: name,
        coordinator: format!("{}:{}  ({})", found.host, found.port, found.node_id),
        kind: group.kind,
        assignment_strategy: Some(group.assignor.as_str()).filter(|name| !name.is_empty()),
        state: &group.state,
        group_epoch: group.epochs.map(|(epoch, _)| epoch),
        target_assignment_epoch: group.epochs.map(|(_, epoch)| epoch),
        members: group.members.len(),
    };
    if json {
        return print_json([row]);
    }
    note_state(name, group);
    let mut header = vec!["GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE"];
    header.extend(if verbose { &["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"][..] } else { &[] });
    header.push("#MEMBERS");
    let mut cells = vec![name.to_owned(), row.coordinator, or_dash(row.assignment_strategy), row.state.to_owned()];
    if verbose {
        cells.extend([or_dash(row.group_epoch), or_dash(row.target_assignment_epoch)]);
    }
    cells.push(row.members.to_string());
    let widths: &[usize] = if verbose { &[15, 25, 20, 20, 15, 25] } else { &[15, 25, 20, 20] };
    print_table(&header, widths, &[cells])
}
