//! The small files: producer snapshots, checkpoints of offsets, leader epochs, and who a directory belongs to.

use std::path::Path;

use corelane_core::base::Offset;
use corelane_core::log::{
    CleanShutdown, LeaderEpochs, MetaProperties, OffsetCheckpoint, PartitionMetadata, ProducerStates,
};
use corelane_core::metadata::QuorumState;
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{line, print_json};

/// Which of them a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `recovery-point-offset-checkpoint` and its sisters.
    Offsets,
    LeaderEpochs,
    MetaProperties,
    PartitionMetadata,
    QuorumState,
    CleanShutdown,
}

impl Kind {
    /// By the file's name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "recovery-point-offset-checkpoint"
            | "replication-offset-checkpoint"
            | "log-start-offset-checkpoint"
            | "cleaner-offset-checkpoint" => Self::Offsets,
            "leader-epoch-checkpoint" => Self::LeaderEpochs,
            "meta.properties" => Self::MetaProperties,
            "partition.metadata" => Self::PartitionMetadata,
            "quorum-state" => Self::QuorumState,
            ".kafka_cleanshutdown" => Self::CleanShutdown,
            _ => return None,
        })
    }
}

fn tell(json: bool, value: &serde_json::Value, text: impl std::fmt::Display) -> Result<(), Failure> {
    if json { print_json([value]) } else { line(text) }
}

/// Prints a small text file.
pub(super) fn dump(path: &Path, kind: Kind, json: bool) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let file = path.display().to_string();
    match kind {
        Kind::Offsets => {
            for ((topic, partition), offset) in &OffsetCheckpoint::parse(&text).map_err(|error| wrong(&error))?.offsets
            {
                let partition = partition.0;
                let value = json!({"file": file, "topic": topic, "partition": partition, "offset": offset.0});
                tell(json, &value, format_args!("topic: {topic} partition: {partition} offset: {offset}"))?;
            }
            Ok(())
        }
        Kind::LeaderEpochs => {
            for entry in LeaderEpochs::parse(&text).map_err(|error| wrong(&error))?.entries() {
                let value = json!({"file": file, "leader_epoch": entry.epoch.0, "start_offset": entry.start_offset.0});
                tell(json, &value, format_args!("leaderEpoch: {} startOffset: {}", entry.epoch, entry.start_offset))?;
            }
            Ok(())
        }
        Kind::MetaProperties => {
            let MetaProperties { cluster_id, node_id, directory_id } =
                MetaProperties::parse(&text).map_err(|error| wrong(&error))?;
            let directory = directory_id.map(|id| id.to_string());
            let value =
                json!({"file": file, "cluster_id": cluster_id, "node_id": node_id.0, "directory_id": directory});
            let directory = directory.as_deref().unwrap_or("none");
            tell(json, &value, format_args!("cluster.id: {cluster_id} node.id: {node_id} directory.id: {directory}"))
        }
        Kind::PartitionMetadata => {
            let id = PartitionMetadata::parse(&text).map_err(|error| wrong(&error))?.topic_id.to_string();
            tell(json, &json!({"file": file, "topic_id": id}), format_args!("topicId: {id}"))
        }
        Kind::QuorumState => {
            let state = QuorumState::parse(&text).map_err(|error| wrong(&error))?;
            tell(json, &json!({"file": file, "state": format!("{state:?}")}), format_args!("{state:?}"))
        }
        Kind::CleanShutdown => {
            let epoch =
                CleanShutdown::parse(&text).ok_or_else(|| Failure::new("its text is none that a broker writes"))?;
            let epoch = epoch.broker_epoch;
            tell(json, &json!({"file": file, "broker_epoch": epoch}), format_args!("brokerEpoch: {epoch}"))
        }
    }
}

#[derive(Serialize)]
struct ProducerRow<'a> {
    file: &'a str,
    producer_id: i64,
    producer_epoch: i16,
    last_sequence: i32,
    coordinator_epoch: i32,
    last_timestamp: i64,
    transaction_start: Option<i64>,
}

/// Prints the producers of a partition as they were at the offset in the name.
pub(super) fn producers(path: &Path, known_to: Offset, json: bool) -> Result<(), Failure> {
    let bytes = std::fs::read(path)?;
    let states = ProducerStates::from_snapshot(&bytes, known_to).map_err(|error| Failure::new(error.to_string()))?;
    let file = path.display().to_string();
    for (id, entry) in states.iter() {
        let row = ProducerRow {
            file: &file,
            producer_id: id.0,
            producer_epoch: entry.epoch.0,
            last_sequence: entry.last_sequence().0,
            coordinator_epoch: entry.coordinator_epoch,
            last_timestamp: entry.last_timestamp.0,
            transaction_start: entry.transaction_start.map(|offset| offset.0),
        };
        if json {
            print_json([row])?;
            continue;
        }
        let transaction = row.transaction_start.map_or_else(|| "None".to_owned(), |offset| offset.to_string());
        line(format!(
            "producerId: {id} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {transaction} lastTimestamp: {} \
             lastSequence: {}",
            row.producer_epoch, row.coordinator_epoch, row.last_timestamp, row.last_sequence
        ))?;
    }
    Ok(())
}
