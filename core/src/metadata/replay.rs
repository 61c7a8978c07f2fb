//! From the bytes of snapshot and log to an image.
//!
//! Each append to the metadata log is one batch, and the next is not written before it is synced. So a crash leaves at
//! most one broken batch, and it is the last: that one is cut, as in any log. A broken batch with a whole one behind it
//! is damage to what was promised: that is refused, by file and position, since going on would silently delete topics.

use std::fmt;

use bytes::Bytes;

use super::apply::{ApplyError, apply};
use super::broker::{METADATA_VERSION, METADATA_VERSION_LEVEL};
use super::control::{ControlRecord, ControlRecordError, Voter};
use super::image::{MetadataImage, MetadataPosition};
use super::record_codec::{MetadataRecordError, decode_record};
use super::records::MetadataRecord;
use crate::base::{FilePosition, LeaderEpoch, Offset, Timestamp};
use crate::limits::METADATA_BATCH_BYTES_MAX;
use crate::log::names::parse_metadata_snapshot_name;
use crate::record::{Batch, BatchError, CodecError, RecordError};

/// What is wrong in which file at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayError {
    /// Name of the file.
    pub file: String,
    /// Start of the batch at fault.
    pub position: FilePosition,
    /// Its fault.
    pub fault: ReplayFault,
}

/// A fault in a metadata log or snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayFault {
    /// The bytes are no batch, although the log goes on behind them.
    Batch(BatchError),
    /// The checksum does not match, although the log goes on behind it.
    Checksum,
    /// The batch stands at another offset than the one before it ends at.
    Offset {
        /// Offset that would continue the log.
        expected: Offset,
        /// Offset that is there.
        found: Offset,
    },
    /// The batch has an older leader epoch than the one before it.
    Epoch {
        /// Epoch of the batch before.
        before: LeaderEpoch,
        /// Epoch that is there.
        found: LeaderEpoch,
    },
    /// The payload cannot be decompressed.
    Codec(CodecError),
    /// The payload is not the records that the batch promises.
    Records(RecordError),
    /// The batch does not span as many offsets as it has records.
    Count,
    /// A record has no value.
    NoValue(Offset),
    /// A record cannot be understood.
    Record(Offset, MetadataRecordError),
    /// A control record cannot be understood.
    Control(Offset, ControlRecordError),
    /// A record contradicts those before it.
    Contradiction(Offset, ApplyError),
    /// The name of a snapshot does not say how far it goes.
    SnapshotName,
    /// A snapshot does not begin with its header or does not end with its footer.
    SnapshotFrame,
    /// The log is of another `metadata.version` than the one that this broker writes.
    MetadataVersion(i16),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: ", self.file, self.position)?;
        match &self.fault {
            ReplayFault::Batch(error) => write!(f, "damaged batch ({error}), and the log goes on behind it"),
            ReplayFault::Checksum => f.write_str("damaged batch (wrong checksum), and the log goes on behind it"),
            ReplayFault::Offset { expected, found } => write!(f, "the batch has offset {found} instead of {expected}"),
            ReplayFault::Epoch { before, found } => write!(f, "the batch has leader epoch {found}, after {before}"),
            ReplayFault::Codec(error) => error.fmt(f),
            ReplayFault::Records(error) => error.fmt(f),
            ReplayFault::Count => f.write_str("the batch does not span as many offsets as it has records"),
            ReplayFault::NoValue(offset) => write!(f, "the record at offset {offset} has no value"),
            ReplayFault::Record(offset, error) => write!(f, "record at offset {offset}: {error}"),
            ReplayFault::Control(offset, error) => write!(f, "record at offset {offset}: {error}"),
            ReplayFault::Contradiction(offset, error) => write!(f, "record at offset {offset}: {error}"),
            ReplayFault::SnapshotName => f.write_str("this is no name of a metadata snapshot"),
            ReplayFault::SnapshotFrame => f.write_str("the snapshot is not whole: its header or footer is missing"),
            ReplayFault::MetadataVersion(level) => write!(
                f,
                "the cluster's metadata.version is {level}; this version of Corelane works with {METADATA_VERSION_LEVEL} only"
            ),
        }
    }
}

impl std::error::Error for ReplayError {}

/// A log and its snapshot, read to the end.
#[derive(Clone, Debug, Default)]
pub struct RecoveredMetadata {
    /// What the log says; its position is the end of the log.
    pub image: MetadataImage,
    /// Which quorum protocol the voters speak.
    pub kraft_version: i16,
    /// The voters, if they are in the log.
    pub voters: Vec<Voter>,
    /// Whether the log ends within a transaction, which then never happened and has to be aborted.
    pub in_transaction: bool,
}

/// How much of a log file is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedSegment {
    /// End of the last good batch. Behind it is at most one batch that was not finished: to be cut off.
    pub good_end: FilePosition,
    /// Offset after it.
    pub next_offset: Offset,
}

/// Builds the image: first the newest snapshot if there is one, then the segments from there on in order.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    image: MetadataImage,
    /// The image with the records of a transaction that is not ended yet.
    transaction: Option<MetadataImage>,
    kraft_version: i16,
    voters: Vec<Voter>,
    /// End of what a snapshot told; records of the log before it are not applied again.
    snapshot_end: Offset,
    /// Where the log goes on; `None` before its first batch.
    next_offset: Option<Offset>,
    last_epoch: LeaderEpoch,
    last_append: Timestamp,
    last_file: String,
}

impl Replay {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a whole snapshot, `<end offset>-<epoch>.checkpoint`.
    ///
    /// # Errors
    /// Any fault: a snapshot is whole or worthless.
    pub fn snapshot(&mut self, file: &str, bytes: Bytes) -> Result<(), ReplayError> {
        let at = |position, fault| ReplayError { file: file.to_owned(), position: FilePosition(position), fault };
        let (end_offset, epoch) = parse_metadata_snapshot_name(file).ok_or_else(|| at(0, ReplayFault::SnapshotName))?;
        let mut read = Self { last_file: file.to_owned(), ..Self::default() };
        let size = bytes.len();
        let mut rest = bytes;
        let (mut header, mut footer) = (None, false);
        let mut next_offset = Offset(0);
        while !rest.is_empty() {
            let position = (size - rest.len()) as u64;
            let whole = whole_batch(&mut rest).map_err(|fault| at(position, fault))?;
            if whole.header().base_offset() != next_offset || footer {
                return Err(at(position, ReplayFault::SnapshotFrame));
            }
            next_offset = whole.header().last_offset().plus(1);
            let control = read.apply_batch(&whole, Offset(0)).map_err(|fault| at(position, fault))?;
            for record in control {
                match record {
                    ControlRecord::SnapshotHeader { last_contained_log_timestamp } if header.is_none() => {
                        header = Some(last_contained_log_timestamp);
                    }
                    ControlRecord::SnapshotFooter => footer = true,
                    _ => {}
                }
            }
            if header.is_none() {
                return Err(at(position, ReplayFault::SnapshotFrame));
            }
        }
        let Some(appended_at) = header.filter(|_| footer && read.transaction.is_none()) else {
            return Err(at(size as u64, ReplayFault::SnapshotFrame));
        };
        read.image.position = MetadataPosition { end_offset, epoch, appended_at };
        read.snapshot_end = end_offset;
        read.last_epoch = epoch;
        read.last_append = appended_at;
        *self = read;
        Ok(())
    }

    /// The offset up to which the snapshot tells everything: the log is read from there on.
    #[must_use]
    pub fn snapshot_end(&self) -> Offset {
        self.snapshot_end
    }

    /// Reads one segment of the log. `is_last` says that no other follows, so that its end may be torn.
    ///
    /// # Errors
    /// Anything but a torn end.
    pub fn segment(&mut self, file: &str, bytes: Bytes, is_last: bool) -> Result<ReplayedSegment, ReplayError> {
        self.segment_from(file, FilePosition(0), bytes, is_last)
    }

    /// Reads one segment of the log from a batch on that begins at or below [`snapshot_end`](Self::snapshot_end).
    /// `bytes` are those of the file from `from` on.
    ///
    /// # Errors
    /// Anything but a torn end.
    pub fn segment_from(
        &mut self,
        file: &str,
        from: FilePosition,
        bytes: Bytes,
        is_last: bool,
    ) -> Result<ReplayedSegment, ReplayError> {
        file.clone_into(&mut self.last_file);
        let size = bytes.len();
        let mut rest = bytes;
        while !rest.is_empty() {
            let position = from.0 + (size - rest.len()) as u64;
            let at = |fault| ReplayError { file: file.to_owned(), position: FilePosition(position), fault };
            let from_here = rest.clone();
            let whole = match whole_batch(&mut rest) {
                Ok(whole) => whole,
                Err(fault) if !is_last || self.goes_on_behind(&from_here) => return Err(at(fault)),
                Err(_) => return Ok(self.good_until(position)),
            };
            let (found, epoch) = (whole.header().base_offset(), whole.header().leader_epoch());
            let begins_well = (Offset(0)..=self.snapshot_end).contains(&found);
            let expected = self.next_offset.unwrap_or(if begins_well { found } else { self.snapshot_end });
            if found != expected {
                return Err(at(ReplayFault::Offset { expected, found }));
            }
            if epoch < self.last_epoch && found >= self.snapshot_end {
                return Err(at(ReplayFault::Epoch { before: self.last_epoch, found: epoch }));
            }
            self.apply_batch(&whole, self.snapshot_end).map_err(at)?;
            let next = whole.header().last_offset().plus(1);
            self.next_offset = Some(next);
            if next > self.snapshot_end {
                self.last_epoch = epoch;
                self.last_append = whole.header().max_timestamp();
            }
        }
        Ok(self.good_until(from.0 + size as u64))
    }

    /// The image at the end of what was read.
    ///
    /// # Errors
    /// The cluster has a `metadata.version` that this broker does not work with.
    pub fn finish(self) -> Result<RecoveredMetadata, ReplayError> {
        let end_offset = self.next_offset.map_or(self.snapshot_end, |next| next.max(self.snapshot_end));
        let mut image = self.image;
        image.position = MetadataPosition { end_offset, epoch: self.last_epoch, appended_at: self.last_append };
        let level = image.feature_level(METADATA_VERSION);
        if level != METADATA_VERSION_LEVEL && !(level == 0 && image.topic_count() == 0 && image.brokers.is_empty()) {
            let (file, position) = (self.last_file, FilePosition(0));
            return Err(ReplayError { file, position, fault: ReplayFault::MetadataVersion(level) });
        }
        Ok(RecoveredMetadata {
            image,
            kraft_version: self.kraft_version,
            voters: self.voters,
            in_transaction: self.transaction.is_some(),
        })
    }

    fn good_until(&self, position: u64) -> ReplayedSegment {
        let next_offset = self.next_offset.unwrap_or(self.snapshot_end);
        ReplayedSegment { good_end: FilePosition(position), next_offset }
    }

    /// Applies the records from offset `from` on and returns the control records.
    fn apply_batch(&mut self, batch: &Batch, from: Offset) -> Result<Vec<ControlRecord>, ReplayFault> {
        let payload = batch.open(METADATA_BATCH_BYTES_MAX).map_err(ReplayFault::Codec)?;
        if batch.header().last_offset_delta().checked_add(1) != Some(batch.header().record_count()) {
            return Err(ReplayFault::Count);
        }
        let mut control = Vec::new();
        for (delta, record) in (0..).zip(batch.records(&payload)) {
            let record = record.map_err(ReplayFault::Records)?;
            if record.offset_delta != delta {
                return Err(ReplayFault::Count);
            }
            let offset = batch.header().base_offset().plus(i64::from(delta));
            if offset < from {
                continue;
            }
            let value = record.value.ok_or(ReplayFault::NoValue(offset))?;
            if batch.header().attributes().is_control() {
                let key = record.key.unwrap_or_default();
                let record = ControlRecord::decode(key, value).map_err(|error| ReplayFault::Control(offset, error))?;
                match &record {
                    ControlRecord::KraftVersion(level) => self.kraft_version = *level,
                    ControlRecord::Voters(voters) => self.voters.clone_from(voters),
                    _ => {}
                }
                control.push(record);
            } else {
                let value = payload.slice_ref(value);
                let record = decode_record(value).map_err(|error| ReplayFault::Record(offset, error))?;
                self.apply_record(&record).map_err(|error| ReplayFault::Contradiction(offset, error))?;
            }
        }
        Ok(control)
    }

    fn apply_record(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match (record, self.transaction.take()) {
            (MetadataRecord::BeginTransaction { .. }, None) => self.transaction = Some(self.image.clone()),
            (MetadataRecord::EndTransaction, Some(done)) => self.image = done,
            (MetadataRecord::AbortTransaction { .. }, Some(_)) => {}
            (record, Some(mut open)) => {
                apply(&mut open, record)?;
                self.transaction = Some(open);
            }
            (record, None) => apply(&mut self.image, record)?,
        }
        Ok(())
    }

    /// Whether a whole batch that continues this log stands somewhere behind the start of `broken`.
    fn goes_on_behind(&self, broken: &Bytes) -> bool {
        let expected = self.next_offset.unwrap_or(self.snapshot_end);
        (1..broken.len()).any(|start| {
            // The magic is looked at first, as nearly every place fails there.
            broken.get(start + MAGIC_AT) == Some(&MAGIC_BYTE)
                && Batch::split_from(&mut broken.slice(start..)).is_ok_and(|batch| {
                    let header = batch.header();
                    header.base_offset() > expected && header.leader_epoch() >= self.last_epoch && batch.is_crc_valid()
                })
        })
    }
}

const MAGIC_AT: usize = 16;
const MAGIC_BYTE: u8 = 2;

fn whole_batch(rest: &mut Bytes) -> Result<Batch, ReplayFault> {
    let batch = Batch::split_from(rest).map_err(ReplayFault::Batch)?;
    if batch.is_crc_valid() { Ok(batch) } else { Err(ReplayFault::Checksum) }
}
