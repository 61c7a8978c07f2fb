//! Moving a group: what each of its partitions is to be set to, and doing it.

use std::collections::BTreeMap;

use corelane_core::base::{Offset, Timestamp};
use corelane_core::client::{Destination, ErrorCode};
use corelane_core::protocol::KafkaString;
use corelane_core::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelane_core::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use serde::Serialize;

use super::describe::ask;
use super::{Admin, TopicPartition, by_topic, committed, failure_of_group, parse_topics};
use crate::admin::{EARLIEST, LATEST};
use crate::failure::{Failure, first_of};
use crate::output::{line, note, print_json, table};

/// Last version of OffsetCommit that names topics.
const COMMIT_BY_NAME_VERSION_MAX: i16 = 9;

/// What to move.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Topics, or some partitions of them as `orders:0,1`.
    Topics(Vec<String>),
    /// Wherever the group has committed.
    Committed,
    /// Whatever the plan names.
    Plan,
}

/// Offsets by group.
pub(crate) type Plans = BTreeMap<String, BTreeMap<TopicPartition, i64>>;

/// Where to.
#[derive(Clone, Debug)]
pub(crate) enum Where {
    Earliest,
    Latest,
    Current,
    Offset(Offset),
    Shift(i64),
    Time(Timestamp),
    Planned(Plans),
}

/// What becomes of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    /// It is carried out.
    pub(crate) executes: bool,
    /// It is printed as lines for `--from-file`.
    pub(crate) exports: bool,
}

/// A change of offsets.
#[derive(Clone, Debug)]
pub(crate) struct Reset {
    pub(crate) groups: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) to: Where,
    pub(crate) mode: Mode,
}

#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
    new_offset: i64,
    executed: bool,
}

/// Reads lines `topic,partition,offset`, or `group,topic,partition,offset` for more than one group.
pub(super) fn parse_plan(text: &str, groups: &[String]) -> Result<Plans, Failure> {
    let mut plans = Plans::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let (group, topic, partition, offset) = match (&cells[..], groups) {
            ([topic, partition, offset], [group]) => (group.as_str(), *topic, *partition, *offset),
            ([group, topic, partition, offset], _) if groups.iter().any(|known| known == group) => {
                (*group, *topic, *partition, *offset)
            }
            ([group, _, _, _], _) => return Err(Failure::new(format!("line {number}: group {group} was not named"))),
            _ => {
                return Err(Failure::new(format!("line {number} is not `topic,partition,offset`"))
                    .remedy("With several groups each line begins with one: `group,topic,partition,offset`."));
            }
        };
        let wrong = |what: &str, text: &str| Failure::new(format!("line {number}: `{text}` is no {what}"));
        let partition = partition.parse().map_err(|_| wrong("partition", partition))?;
        let offset = offset.parse().map_err(|_| wrong("offset", offset))?;
        plans.entry(group.to_owned()).or_default().insert(TopicPartition::new(topic, partition), offset);
    }
    Ok(plans)
}

/// Plans a change for each group, tells it, and carries it out if that is wanted.
pub(crate) fn reset(admin: &mut Admin, reset: &Reset, json: bool) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let mut done: Vec<(String, BTreeMap<TopicPartition, i64>)> = Vec::new();
    for group in &reset.groups {
        let outcome = one(admin, group, reset);
        match outcome {
            Ok(plan) => done.push((group.clone(), plan)),
            Err(failure) => failures.push(failure),
        }
    }
    let executed = reset.mode.executes;
    let rows: Vec<Row<'_>> = done
        .iter()
        .flat_map(|(group, plan)| plan.iter().map(move |(at, offset)| (group, at, offset)))
        .map(|(group, TopicPartition { topic, partition }, offset)| Row {
            group,
            topic,
            partition: *partition,
            new_offset: *offset,
            executed,
        })
        .collect();
    if json {
        print_json(rows)?;
    } else if reset.mode.exports {
        for Row { group, topic, partition, new_offset, .. } in rows {
            match reset.groups.len() {
                1 => line(format!("{topic},{partition},{new_offset}"))?,
                _ => line(format!("{group},{topic},{partition},{new_offset}"))?,
            }
        }
    } else if !rows.is_empty() {
        let cells = |row: &Row<'_>| {
            vec![row.group.to_owned(), row.topic.to_owned(), row.partition.to_string(), row.new_offset.to_string()]
        };
        let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
        line("")?;
        table(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"], &[15, 15, 10, 15], &rows).iter().try_for_each(line)?;
    }
    first_of(failures)
}

fn one(admin: &mut Admin, group: &str, reset: &Reset) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    // A group that is not there yet gets its first offsets in this way.
    if let Ok(described) = ask(admin, group)
        && described.is_active()
    {
        return Err(Failure::new(format!(
            "group {group}: its offsets can be moved only while it has no members; it is in state {}",
            described.state
        ))
        .remedy(format!("Stop its members first; `corelane groups describe {group} --members` names them.")));
    }
    let plan = plan(admin, group, reset)?;
    if reset.mode.executes && !plan.is_empty() {
        commit(admin, group, &plan)?;
    }
    Ok(plan)
}

fn plan(admin: &mut Admin, group: &str, reset: &Reset) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let partitions = match (&reset.scope, &reset.to) {
        (Scope::Topics(topics), _) => parse_topics(admin, topics)?,
        (Scope::Committed, _) => committed(admin, group, None)?.into_keys().collect(),
        (Scope::Plan, Where::Planned(plans)) => {
            plans.get(group).into_iter().flat_map(BTreeMap::keys).cloned().collect()
        }
        (Scope::Plan, _) => Vec::new(),
    };
    let at_time = |admin: &mut Admin, time: i64| -> Result<BTreeMap<TopicPartition, Option<i64>>, Failure> {
        let wanted = partitions.iter().map(|at| (at.clone(), time)).collect();
        let mut offsets = BTreeMap::new();
        for (at, found) in admin.list_offsets(&wanted)? {
            let found = found.map_err(|code| Failure::of_topic(&at.topic, code, "").during(&at.to_string()))?;
            offsets.insert(at, found.offset.map(|offset| offset.0));
        }
        Ok(offsets)
    };
    let starts = at_time(admin, EARLIEST)?;
    let ends = at_time(admin, LATEST)?;
    let by_time = match reset.to {
        Where::Time(time) => at_time(admin, time.0)?,
        _ => BTreeMap::new(),
    };
    let current = match reset.to {
        Where::Current | Where::Shift(_) => committed(admin, group, Some(&partitions))?,
        _ => BTreeMap::new(),
    };
    let mut plan = BTreeMap::new();
    for at in &partitions {
        let bound = |offsets: &BTreeMap<TopicPartition, Option<i64>>| offsets.get(at).copied().flatten().unwrap_or(0);
        let (start, end) = (bound(&starts), bound(&ends));
        let is_at = current.get(at).map(|(offset, _)| offset.0);
        let wanted = match &reset.to {
            Where::Earliest => start,
            Where::Latest => end,
            Where::Current => is_at.unwrap_or(end),
            Where::Offset(offset) => offset.0,
            Where::Shift(count) => match is_at {
                Some(offset) => offset.saturating_add(*count),
                None => {
                    return Err(Failure::new(format!(
                        "group {group} has committed no offset in {at} that could be shifted"
                    ))
                    .remedy("Set one with --to-offset, --to-earliest or --to-latest."));
                }
            },
            Where::Time(_) => by_time.get(at).copied().flatten().unwrap_or_else(|| {
                note(format!("no record of {at} is that young, so its end is taken"));
                end
            }),
            Where::Planned(plans) => plans.get(group).and_then(|plan| plan.get(at)).copied().unwrap_or(end),
        };
        plan.insert(at.clone(), within(at, wanted, start, end));
    }
    Ok(plan)
}

/// The nearest offset that the log has.
fn within(at: &TopicPartition, wanted: i64, start: i64, end: i64) -> i64 {
    let offset = wanted.clamp(start, end.max(start));
    if offset != wanted {
        let side = if wanted > end {
            format!("beyond the end of {at}, {end}")
        } else {
            format!("before the start of {at}, {start}")
        };
        note(format!("offset {wanted} is {side}, which is taken instead"));
    }
    offset
}

fn commit(admin: &mut Admin, group: &str, plan: &BTreeMap<TopicPartition, i64>) -> Result<(), Failure> {
    let topic = |(name, partitions): (&str, Vec<(i32, i64)>)| OffsetCommitRequestTopic {
        name: KafkaString::copied(name),
        partitions: partitions
            .into_iter()
            .map(|(partition_index, committed_offset)| OffsetCommitRequestPartition {
                partition_index,
                committed_offset,
                committed_metadata: Some(KafkaString::EMPTY),
                ..OffsetCommitRequestPartition::default()
            })
            .collect(),
        ..OffsetCommitRequestTopic::default()
    };
    let request = OffsetCommitRequest {
        group_id: KafkaString::copied(group),
        // No member, but somebody from outside.
        generation_id_or_member_epoch: -1,
        topics: by_topic(plan.iter().map(|(at, offset)| (at, *offset))).into_iter().map(topic).collect(),
        ..OffsetCommitRequest::default()
    };
    let verdict = |response: &OffsetCommitResponse| {
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|part| part.error_code);
        codes.into_iter().find(|code| *code != 0).map_or(ErrorCode::NONE, ErrorCode)
    };
    let destination = Destination::Group(group.to_owned());
    let response = admin.call_until(destination, request, COMMIT_BY_NAME_VERSION_MAX, verdict)?;
    match verdict(&response) {
        ErrorCode::NONE => Ok(()),
        code => Err(failure_of_group(group, code, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_what_export_prints() {
        let groups = ["g".to_owned()];
        let plans = parse_plan("t,0,5\n\n\"u\",1,7\n", &groups).unwrap();
        assert_eq!(plans["g"].get(&TopicPartition::new("u", 1)), Some(&7));
        assert_eq!(plans["g"].len(), 2);
        let both = ["g".to_owned(), "h".to_owned()];
        assert_eq!(parse_plan("h,t,0,5", &both).unwrap()["h"].len(), 1);
        for (text, groups) in
            [("t,0", &groups[..]), ("t,x,5", &groups), ("t,0,x", &groups), ("t,0,5", &both), ("z,t,0,5", &both)]
        {
            let error = parse_plan(text, groups).unwrap_err().to_string();
            assert!(error.starts_with("line 1"), "{error}");
        }
    }
}
