//! Metadata snapshots, as Kafka writes them: a header, what an image says in as few records as possible, a footer.
//!
//! `bootstrap.checkpoint` and the snapshot that a fresh metadata log begins with have the same form.

use bytes::Bytes;

use super::batches::{EncodeBatchError, control_batch, data_batch};
use super::broker::bootstrap_records;
use super::control::{ControlRecord, KRAFT_VERSION_DYNAMIC, Voter};
use super::image::{BrokerEpoch, ConfigResource, ConfigResourceKind, MetadataImage};
use super::record_codec::encode_record;
use super::records::{BrokerId, MetadataRecord};
use crate::base::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerId, Timestamp};
use crate::limits::{METADATA_BATCH_BYTES_MAX, SNAPSHOT_BATCH_RECORDS_MAX};
use crate::record::Batch;

/// A snapshot of an image, in the batches of which the file consists; its name is that of the image's position.
///
/// `voters` are those in the log, none if they are in the configuration.
///
/// # Errors
/// A text is longer than the format can carry; no image that was decided about has one.
pub fn encode_snapshot(
    image: &MetadataImage,
    voters: &[Voter],
    now: Timestamp,
) -> Result<Vec<Bytes>, EncodeBatchError> {
    encode(image_records(image), image.position.appended_at, voters, now)
}

/// The file `bootstrap.checkpoint`: what Kafka begins a metadata log with, and insists on at every start.
///
/// # Errors
/// None in practice.
pub fn bootstrap_checkpoint(now: Timestamp) -> Result<Bytes, EncodeBatchError> {
    encode(bootstrap_records().into_iter(), Timestamp(0), &[], now).map(|batches| batches.concat().into())
}

/// The snapshot at offset 0, epoch 0, that tells the voters of a fresh metadata log.
///
/// # Errors
/// A host name is longer than the format can carry.
pub fn voters_snapshot(voters: &[Voter], now: Timestamp) -> Result<Bytes, EncodeBatchError> {
    encode(std::iter::empty(), Timestamp(0), voters, now).map(|batches| batches.concat().into())
}

/// When the last record was appended that a snapshot contains, as its header says; `beginning` holds at least its first
/// batch. `None` if that is no snapshot's.
#[must_use]
pub fn last_contained_timestamp(mut beginning: Bytes) -> Option<Timestamp> {
    let batch = Batch::split_from(&mut beginning).ok().filter(Batch::is_crc_valid)?;
    let payload = batch.open(METADATA_BATCH_BYTES_MAX).ok()?;
    let header = batch.records(&payload).next()?.ok()?;
    match ControlRecord::decode(header.key?, header.value?).ok()? {
        ControlRecord::SnapshotHeader { last_contained_log_timestamp } => Some(last_contained_log_timestamp),
        _ => None,
    }
}

/// The fewest records that make an image out of nothing.
pub fn image_records(image: &MetadataImage) -> impl Iterator<Item = MetadataRecord> {
    let features =
        image.features.iter().map(|(name, level)| MetadataRecord::FeatureLevel { name: name.clone(), level: *level });
    let brokers = image.brokers.values().map(|broker| MetadataRecord::RegisterBroker((**broker).clone()));
    let topics = image.topics().flat_map(|topic| {
        let id = topic.id;
        let partition = move |(index, partition): (&PartitionIndex, &std::sync::Arc<_>)| MetadataRecord::Partition {
            topic_id: id,
            index: *index,
            partition: super::image::Partition::clone(partition),
        };
        std::iter::once(MetadataRecord::Topic { name: topic.name.to_string(), id })
            .chain(topic.partitions.iter().map(partition))
    });
    let topic_configs = image.topics().filter_map(|topic| {
        let resource = ConfigResource { kind: ConfigResourceKind::TOPIC, name: topic.name.to_string() };
        Some((resource, image.topic_config(&topic.name)?))
    });
    let other_configs = image.other_configs().iter().map(|(resource, overrides)| (resource.clone(), overrides));
    let configs = topic_configs.chain(other_configs).flat_map(|(resource, overrides)| {
        overrides.iter().map(move |(name, value)| MetadataRecord::Config {
            resource: resource.clone(),
            name: name.clone(),
            value: Some(value.clone()),
        })
    });
    let nobody = BrokerId { id: NodeId(-1), broker_epoch: BrokerEpoch(-1) };
    let next_producer_id = image.next_producer_id;
    let producer_ids =
        (next_producer_id > ProducerId(0)).then_some(MetadataRecord::ProducerIds { broker: nobody, next_producer_id });
    features.chain(brokers).chain(topics).chain(configs).chain(producer_ids)
}

fn encode(
    records: impl Iterator<Item = MetadataRecord>,
    last_contained_log_timestamp: Timestamp,
    voters: &[Voter],
    now: Timestamp,
) -> Result<Vec<Bytes>, EncodeBatchError> {
    // All batches of a snapshot stand in epoch 0, whatever the log's is, and count offsets from 0.
    let epoch = LeaderEpoch(0);
    let mut next_offset = Offset(0);
    let mut file = Vec::new();
    let mut put = |batch: Batch| {
        file.push(batch.bytes().clone());
        batch.header().last_offset().plus(1)
    };
    let mut head = vec![ControlRecord::SnapshotHeader { last_contained_log_timestamp }];
    if !voters.is_empty() {
        head.push(ControlRecord::KraftVersion(KRAFT_VERSION_DYNAMIC));
        head.push(ControlRecord::Voters(voters.to_vec()));
    }
    next_offset = put(control_batch(next_offset, epoch, now, &head)?);
    let mut records = records.peekable();
    while records.peek().is_some() {
        let values: Vec<Bytes> = records
            .by_ref()
            .take(SNAPSHOT_BATCH_RECORDS_MAX)
            .map(|record| encode_record(&record).map_err(EncodeBatchError::Record))
            .collect::<Result<_, _>>()?;
        next_offset = put(data_batch(next_offset, epoch, values.iter().map(|value| (now, value)))?);
    }
    put(control_batch(next_offset, epoch, now, &[ControlRecord::SnapshotFooter])?);
    Ok(file)
}
