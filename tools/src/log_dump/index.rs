//! Entries of indexes, held against the segment that they are about.

use std::path::Path;

use corelane_core::base::{FilePosition, Offset};
use corelane_core::log::aborted::{ABORTED_BYTES, parse};
use corelane_core::log::index::{OFFSET_ENTRY_BYTES, OffsetIndex, TIME_ENTRY_BYTES, TimeIndex};
use serde::Serialize;

use super::DumpOptions;
use super::segment::BatchFile;
use crate::failure::{Failure, first_of};
use crate::output::{line, print_json};

/// Entries at the end of an index that nothing was written to: a running broker of Kafka's reserves room for them.
fn is_blank(entry: &[u8]) -> bool {
    entry.iter().all(|byte| *byte == 0)
}

fn entries(bytes: &[u8], entry_bytes: usize) -> Result<usize, Failure> {
    let rest = bytes.len() % entry_bytes;
    if rest > 0 {
        let at = bytes.len() - rest;
        return Err(Failure::new(format!("position {at}: {rest} bytes are no whole entry, which has {entry_bytes}")));
    }
    let written = bytes.chunks_exact(entry_bytes).rposition(|entry| !is_blank(entry));
    Ok(written.map_or(0, |last| last + 1))
}

#[derive(Serialize)]
struct OffsetRow<'a> {
    file: &'a str,
    offset: i64,
    position: i64,
}

/// Prints an offset index.
pub(super) fn offsets(path: &Path, base: Offset, options: &DumpOptions, json: bool) -> Result<(), Failure> {
    let bytes = std::fs::read(path)?;
    let count = entries(&bytes, OFFSET_ENTRY_BYTES)?;
    let index = OffsetIndex::new(base, &bytes);
    let name = path.display().to_string();
    let segment = path.with_extension("log");
    let mut log = if segment.exists() { Some(BatchFile::open(&segment)?) } else { None };
    let mut failures = Vec::new();
    for number in 0..count {
        let Some(entry) = index.get(number) else { break };
        let at = i64::try_from(entry.position.0).unwrap_or(i64::MAX);
        match (options.verify_index_only || options.index_sanity_check, json) {
            (true, _) => {}
            (_, true) => print_json([OffsetRow { file: &name, offset: entry.offset.0, position: at }])?,
            (_, false) => line(format!("offset: {} position: {at}", entry.offset))?,
        }
        if let Some(log) = &mut log {
            failures.extend(mismatch(log, number, entry.offset, entry.position));
        }
    }
    if options.index_sanity_check && failures.is_empty() {
        line(format!("{name} passed sanity check."))?;
    }
    first_of(failures)
}

/// What is wrong with an entry, if anything is: the batch at its position must end with its offset.
fn mismatch(log: &mut BatchFile, number: usize, offset: Offset, position: FilePosition) -> Option<Failure> {
    let wrong = |what: String| Some(Failure::new(format!("entry {number}: {what}")));
    match log.at(position.0) {
        Ok(Some((_, batch))) if batch.header().last_offset() == offset => None,
        Ok(Some((_, batch))) => {
            let last = batch.header().last_offset();
            wrong(format!("it says that offset {offset} is at {position}, where a batch ends with {last}"))
        }
        Ok(None) => wrong(format!("it points to {position}, which is the end of the segment or behind it")),
        Err(failure) => wrong(format!("it points to what is no batch: {failure}")),
    }
}

#[derive(Serialize)]
struct TimeRow<'a> {
    file: &'a str,
    timestamp: i64,
    offset: i64,
}

/// Prints a time index.
pub(super) fn times(path: &Path, base: Offset, options: &DumpOptions, json: bool) -> Result<(), Failure> {
    let bytes = std::fs::read(path)?;
    let count = entries(&bytes, TIME_ENTRY_BYTES)?;
    let index = TimeIndex::new(base, &bytes);
    let name = path.display().to_string();
    let mut failures = Vec::new();
    let mut before = None;
    for number in 0..count {
        let Some(entry) = index.get(number) else { break };
        match (options.verify_index_only || options.index_sanity_check, json) {
            (true, _) => {}
            (_, true) => print_json([TimeRow { file: &name, timestamp: entry.timestamp.0, offset: entry.offset.0 }])?,
            (_, false) => line(format!("timestamp: {} offset: {}", entry.timestamp, entry.offset))?,
        }
        if before.is_some_and(|before| before > (entry.timestamp, entry.offset)) {
            failures.push(Failure::new(format!("entry {number}: it is older than the one before it")));
        }
        before = Some((entry.timestamp, entry.offset));
    }
    if options.index_sanity_check && failures.is_empty() {
        line(format!("{name} passed sanity check."))?;
    }
    first_of(failures)
}

#[derive(Serialize)]
struct AbortedRow<'a> {
    file: &'a str,
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
}

/// Prints an index of aborted transactions.
pub(super) fn aborted(path: &Path, json: bool) -> Result<(), Failure> {
    let bytes = std::fs::read(path)?;
    let name = path.display().to_string();
    let mut position = 0;
    for each in parse(&bytes) {
        let row = AbortedRow {
            file: &name,
            producer_id: each.producer.0,
            first_offset: each.first_offset.0,
            last_offset: each.last_offset.0,
            last_stable_offset: each.last_stable_offset.0,
        };
        match json {
            true => print_json([row])?,
            false => line(format!(
                "version: 0 producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
                row.producer_id, row.first_offset, row.last_offset, row.last_stable_offset
            ))?,
        }
        position += ABORTED_BYTES;
    }
    match bytes.len() - position {
        0 => Ok(()),
        1..ABORTED_BYTES => {
            Err(Failure::new(format!("position {position}: an entry has {ABORTED_BYTES} bytes, and less is left")))
        }
        _ => Err(Failure::new(format!("position {position}: what is there is no entry, or one that is out of order"))),
    }
}
