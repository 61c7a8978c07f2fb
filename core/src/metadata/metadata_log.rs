//! The metadata log of a node that leads it: changes go in, appends come out, and an image once they are on disk.
//!
//! No I/O. Whoever performs this takes [`next_append`](MetadataLog::next_append), writes its bytes at the end of the
//! log, syncs, calls [`synced`](MetadataLog::synced) and publishes the image that it returns. One append is in progress
//! at a time and is one batch, so a crash leaves a whole log or one broken batch at its end (see `replay`); changes that
//! come meanwhile join the next.
//!
//! Two images: `durable` is what shards may see. `proposed` is what the next decision looks at, since two requests for
//! the same topic name must not both win. Any answer that was read off `proposed`, a refusal too, waits until the log
//! is durable up to [`end_offset`](MetadataLog::end_offset) as of the decision.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use corelane_protocol::wire::EncodeError;

use super::apply::{ApplyError, apply};
use super::batches::{EncodeBatchError, control_batch, data_batch};
use super::broker::{StartingBroker, bootstrap_records, register_broker};
use super::control::{ControlRecord, KRAFT_VERSION_DYNAMIC, Voter, VoterEndpoint};
use super::image::{MetadataImage, MetadataPosition};
use super::quorum_state::QuorumState;
use super::record_codec::encode_record;
use super::records::MetadataRecord;
use super::replay::RecoveredMetadata;
use crate::base::{LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use crate::limits::{METADATA_BATCH_BYTES_MAX, METADATA_CHANGE_RECORDS_MAX, METADATA_QUEUE_BYTES_MAX};

/// Who this node is in the metadata quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Node id.
    pub id: NodeId,
    /// Id of its metadata directory, from `meta.properties`.
    pub directory_id: Uuid,
    /// Where another controller would reach it. A single node needs none, but Kafka's voter record has one; Kafka puts
    /// its own there when it starts on the directory.
    pub controller: VoterEndpoint,
}

impl NodeIdentity {
    /// This node as the only voter.
    #[must_use]
    pub fn voter(&self) -> Voter {
        Voter {
            id: self.id,
            directory_id: self.directory_id,
            endpoints: vec![self.controller.clone()],
            kraft_version_min: 0,
            kraft_version_max: KRAFT_VERSION_DYNAMIC,
        }
    }
}

/// Why a node cannot lead a metadata log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadError {
    /// The log names other voters: it is one of several that agree by vote.
    OtherVoters(Vec<NodeId>),
    /// The log knows this node with another directory: this directory is not where its vote is.
    OtherDirectory(Uuid),
    /// The last possible epoch is used up.
    EpochsUsedUp,
}

impl fmt::Display for LeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherVoters(voters) => {
                write!(
                    f,
                    "the metadata log belongs to a quorum of the nodes {voters:?}; only a single node is supported"
                )
            }
            Self::OtherDirectory(id) => {
                write!(
                    f,
                    "the metadata log belongs to directory {id}, which is not the directory.id in meta.properties"
                )
            }
            Self::EpochsUsedUp => f.write_str("the metadata log has used up its leader epochs"),
        }
    }
}

impl std::error::Error for LeadError {}

/// Why a change was not taken. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// It contradicts the image. A decision made for this very image never does.
    Contradiction(ApplyError),
    /// It cannot be written.
    Encode(EncodeError),
    /// It is more than one batch may hold.
    TooLarge,
    /// Too much waits for the disk; try again when something was synced.
    QueueFull,
    /// The disk failed earlier; nothing is taken any more.
    Failed,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction(error) => write!(f, "the change contradicts the cluster's state: {error}"),
            Self::Encode(error) => error.fmt(f),
            Self::TooLarge => f.write_str("the change is too large for one batch of the metadata log"),
            Self::QueueFull => f.write_str("too many changes wait for the disk"),
            Self::Failed => f.write_str("the metadata log cannot be written"),
        }
    }
}

impl std::error::Error for ProposeError {}

/// One batch to write at the end of the log and to sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset after its last record; answers up to here may go out once it is synced.
    pub end_offset: Offset,
    /// Its leader epoch. Where it differs from the one before, the leader epoch checkpoint gets a line.
    pub leader_epoch: LeaderEpoch,
    /// The batch.
    pub bytes: Bytes,
}

/// The log of the leading node. See the module.
#[derive(Debug)]
pub struct MetadataLog {
    node: NodeIdentity,
    voters: Vec<Voter>,
    epoch: LeaderEpoch,
    /// On disk, and what the shards see.
    durable: Arc<MetadataImage>,
    /// With everything queued.
    proposed: Arc<MetadataImage>,
    queue: VecDeque<Change>,
    queued_bytes: usize,
    /// What must wait for the disk: the image as of the append that is being written. It becomes `durable` by
    /// [`synced`](Self::synced) and in no other way, so no answer and no shard can see it before.
    in_flight: Option<Arc<MetadataImage>>,
    failed: bool,
}

/// Records that go to disk together, and the image after them.
#[derive(Debug)]
struct Change {
    content: Content,
    at: Timestamp,
    bytes: usize,
    image: Arc<MetadataImage>,
}

#[derive(Debug)]
enum Content {
    Control(Vec<ControlRecord>),
    Data(Vec<Bytes>),
}

impl MetadataLog {
    /// Takes the leadership of a log that was read, in a new epoch, and queues what a new epoch begins with.
    ///
    /// The returned state must be on disk as `quorum-state` before the first append is written.
    ///
    /// # Errors
    /// The log is not this node's alone.
    pub fn lead(
        recovered: RecoveredMetadata,
        quorum_state: Option<QuorumState>,
        node: NodeIdentity,
        now: Timestamp,
    ) -> Result<(Self, QuorumState), LeadError> {
        check_voters(&recovered.voters, &node)?;
        let is_new = recovered.image.position.end_offset == Offset(0);
        let last = quorum_state.map_or(LeaderEpoch(0), |state| state.epoch).max(recovered.image.position.epoch);
        let epoch = LeaderEpoch(last.0.checked_add(1).ok_or(LeadError::EpochsUsedUp)?);
        let voters = if is_new { vec![node.voter()] } else { recovered.voters };

        let mut begin = vec![ControlRecord::LeaderChange {
            leader: node.id,
            voters: vec![node.id],
            granting_voters: vec![node.id],
        }];
        if is_new {
            begin.push(ControlRecord::KraftVersion(KRAFT_VERSION_DYNAMIC));
            begin.push(ControlRecord::Voters(voters.clone()));
        }
        let image = Arc::new(recovered.image);
        let mut log = Self {
            voters,
            epoch,
            durable: Arc::clone(&image),
            proposed: image,
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight: None,
            failed: false,
            node,
        };
        let records = begin.len();
        log.enqueue(Content::Control(begin), records, 0, MetadataImage::clone(&log.proposed), now);
        if recovered.in_transaction {
            let reason = Some("the broker stopped before the transaction ended".to_owned());
            if let Ok(value) = encode_record(&MetadataRecord::AbortTransaction { reason }) {
                log.enqueue(Content::Data(vec![value]), 1, 0, MetadataImage::clone(&log.proposed), now);
            }
        }
        let state = QuorumState::leading(log.node.id, epoch);
        Ok((log, state))
    }

    /// Queues what this node's broker changes by starting: the first records of all if the log is empty, and its
    /// registration.
    ///
    /// # Errors
    /// As [`propose`](Self::propose).
    pub fn start_broker(&mut self, broker: &StartingBroker, now: Timestamp) -> Result<Offset, ProposeError> {
        if self.proposed.features.is_empty() {
            self.propose(&bootstrap_records(), now)?;
        }
        // As many partitions as there are may get a new leader; each stands for itself.
        let records = register_broker(&self.proposed, broker, self.end_offset());
        for part in records.chunks(METADATA_CHANGE_RECORDS_MAX) {
            self.propose(part, now)?;
        }
        Ok(self.end_offset())
    }

    /// What is on disk.
    #[must_use]
    pub fn durable(&self) -> &Arc<MetadataImage> {
        &self.durable
    }

    /// What decisions are made on.
    #[must_use]
    pub fn proposed(&self) -> &Arc<MetadataImage> {
        &self.proposed
    }

    /// Where the next record will stand.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.proposed.position.end_offset
    }

    /// The epoch that this node leads.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The voters that are in the log; none if they are in the configuration.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.voters
    }

    /// Queues a change, which takes effect as a whole, and returns the offset from which on it is durable.
    ///
    /// # Errors
    /// It was not taken.
    pub fn propose(&mut self, records: &[MetadataRecord], now: Timestamp) -> Result<Offset, ProposeError> {
        if self.failed {
            return Err(ProposeError::Failed);
        }
        if records.is_empty() {
            return Ok(self.end_offset());
        }
        let mut image = MetadataImage::clone(&self.proposed);
        let mut values = Vec::with_capacity(records.len());
        for record in records {
            apply(&mut image, record).map_err(ProposeError::Contradiction)?;
            values.push(encode_record(record).map_err(ProposeError::Encode)?);
        }
        let bytes = values.iter().map(|value| value.len() + RECORD_FRAME_BYTES_MAX).sum::<usize>();
        if bytes > METADATA_BATCH_BYTES_MAX || values.len() > METADATA_CHANGE_RECORDS_MAX {
            return Err(ProposeError::TooLarge);
        }
        if self.queued_bytes + bytes > METADATA_QUEUE_BYTES_MAX {
            return Err(ProposeError::QueueFull);
        }
        let count = values.len();
        self.enqueue(Content::Data(values), count, bytes, image, now);
        Ok(self.end_offset())
    }

    /// The next batch to write, if none is being written and something is queued.
    ///
    /// # Errors
    /// The batch cannot be built, which is a defect of ours: the log takes nothing more.
    pub fn next_append(&mut self) -> Result<Option<Append>, EncodeBatchError> {
        if self.in_flight.is_some() || self.failed {
            return Ok(None);
        }
        let Some(first) = self.queue.pop_front() else { return Ok(None) };
        let base_offset = self.durable.position.end_offset;
        let (mut image, mut bytes) = (first.image, first.bytes);
        let batch = match first.content {
            Content::Control(records) => control_batch(base_offset, self.epoch, first.at, &records),
            Content::Data(values) => {
                let mut values: Vec<(Timestamp, Bytes)> = values.into_iter().map(|value| (first.at, value)).collect();
                while self.next_joins(values.len(), bytes)
                    && let Some(next) = self.queue.pop_front()
                {
                    (bytes, image) = (bytes + next.bytes, next.image);
                    if let Content::Data(more) = next.content {
                        values.extend(more.into_iter().map(|value| (next.at, value)));
                    }
                }
                data_batch(base_offset, self.epoch, values.iter().map(|(at, value)| (*at, value)))
            }
        };
        self.queued_bytes -= bytes;
        let batch = batch.inspect_err(|_| self.failed = true)?;
        let end_offset = image.position.end_offset;
        assert_eq!(
            batch.header().last_offset().plus(1),
            end_offset,
            "a batch of our own making ends where its image does"
        );
        self.in_flight = Some(image);
        Ok(Some(Append { base_offset, end_offset, leader_epoch: self.epoch, bytes: batch.bytes().clone() }))
    }

    /// The append in progress is on disk: returns the image that all shards get.
    ///
    /// # Panics
    /// No append is in progress.
    pub fn synced(&mut self) -> Arc<MetadataImage> {
        let Some(image) = self.in_flight.take() else { panic!("no append of the metadata log is in progress") };
        self.durable = image;
        Arc::clone(&self.durable)
    }

    /// The append in progress failed. What is on disk is unknown until the log is read again, so nothing is taken any
    /// more and nothing that was not durable ever becomes it.
    pub fn fail(&mut self) {
        self.failed = true;
        self.in_flight = None;
        self.queue.clear();
        self.queued_bytes = 0;
        self.proposed = Arc::clone(&self.durable);
    }

    /// Whether the next change fits into a batch that holds so many records and bytes already.
    fn next_joins(&self, records: usize, bytes: usize) -> bool {
        self.queue.front().is_some_and(|next| match &next.content {
            Content::Control(_) => false,
            Content::Data(more) => {
                records + more.len() <= METADATA_CHANGE_RECORDS_MAX && bytes + next.bytes <= METADATA_BATCH_BYTES_MAX
            }
        })
    }

    fn enqueue(&mut self, content: Content, records: usize, bytes: usize, mut image: MetadataImage, at: Timestamp) {
        let end_offset = self.end_offset().plus(i64::try_from(records).unwrap_or(i64::MAX));
        image.position = MetadataPosition { end_offset, epoch: self.epoch, appended_at: at };
        self.proposed = Arc::new(image);
        self.queued_bytes += bytes;
        self.queue.push_back(Change { content, at, bytes, image: Arc::clone(&self.proposed) });
    }
}

/// What a record's frame in a batch adds to its value: length, attributes, two deltas, two lengths, header count.
const RECORD_FRAME_BYTES_MAX: usize = 32;

fn check_voters(voters: &[Voter], node: &NodeIdentity) -> Result<(), LeadError> {
    match voters {
        [] => Ok(()),
        [voter] if voter.id == node.id && voter.directory_id == node.directory_id => Ok(()),
        [voter] if voter.id == node.id => Err(LeadError::OtherDirectory(voter.directory_id)),
        voters => Err(LeadError::OtherVoters(voters.iter().map(|voter| voter.id).collect())),
    }
}
