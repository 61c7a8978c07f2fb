//! What is asked of a log beside appending and reading: records are taken back, and who writes to it is told.

use std::rc::Rc;

use corelane_core::base::{Offset, ProducerId};
use corelane_core::log::producers::ProducerEntry;
use corelane_core::protocol::ErrorCode;

use super::{PartitionKey, PartitionLog, State};
use crate::sys::Sys;

/// Records of a partition that are to go.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRecordsItem {
    /// Where.
    pub partition: PartitionKey,
    /// All below this offset; `None` is the high watermark.
    pub before: Option<Offset>,
}

/// A producer that has written to a partition.
#[derive(Clone, Debug)]
pub struct ActiveProducer {
    /// Who.
    pub id: ProducerId,
    /// What is remembered of it.
    pub entry: ProducerEntry,
}

/// Moves the start of a log forward, in memory: whoever asked has it written down before it is answered. After a crash
/// in between the records are there again, and nobody was told otherwise.
pub(crate) fn delete<S: Sys>(log: Option<Rc<PartitionLog<S>>>, before: Option<Offset>) -> Result<Offset, ErrorCode> {
    let log = log.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if log.state() != State::Serving {
        return Err(ErrorCode::KAFKA_STORAGE_ERROR);
    }
    log.machine.borrow_mut().delete_records(before)
}

/// The producers that a partition knows.
pub(crate) fn producers<S: Sys>(log: Option<Rc<PartitionLog<S>>>) -> Option<Vec<ActiveProducer>> {
    let log = log?;
    let machine = log.machine.borrow();
    Some(machine.producers().iter().map(|(id, entry)| ActiveProducer { id, entry: entry.clone() }).collect())
}
