//! From the log to a coordinator.
//!
//! The log is read once from its start, batch by batch. What is held meanwhile is the state that the records so far
//! amount to, not the records: memory is bounded by [`GROUP_LOAD_FACTOR`] times what a coordinator may hold, and one batch, whatever the log's length;
//! the time is that of reading the log.
//!
//! Records of groups of other protocols (KIP-932, KIP-1071) stay in the log untouched. Of these groups is known
//! that they exist and who is a member; their offsets are served, and whatever would need to know more is refused.

use std::sync::Arc;

use bytes::Bytes;

use super::classic::ClassicGroup;
use super::consumer::{ConsumerGroup, Part};
use super::coordinator::{Group, GroupCoordinator, Kind};
use super::log_record::{
    CommittedOffset, DecodedRecord, LogRecordError, OffsetKey, OtherKind, OtherPart, decode_log_record,
};
use super::message::detached_text;
use super::offsets::Stored;
use super::settings::GroupSettings;
use crate::base::{Monotonic, Offset, ProducerId, Timestamp};
use crate::coordinator::{self, Now};
use crate::limits::GROUP_LOAD_FACTOR;
use crate::metadata::MetadataImage;
use crate::protocol::KafkaString;
use crate::protocol::records::GroupMetadataValue;
use crate::record::{Batch, EndMarker};

/// Why a partition of `__consumer_offsets` cannot be loaded. Nothing of it is served then: an offset that is passed over is lost
/// to its group.
pub type LoadError = coordinator::LoadError<LogRecordError>;

/// How too much is mended.
const TOO_MUCH: &str = "delete groups or offsets that nobody uses with the broker that wrote them";

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Records read.
    pub records: u64,
    /// Records of types that nobody knows, which were passed over.
    pub unknown_records: u64,
    /// Groups that there are.
    pub groups: usize,
    /// Of these, groups of protocols that this broker does not speak.
    pub other_groups: usize,
    /// Offsets that there are, those of open transactions included.
    pub offsets: usize,
}

/// A coordinator that is being loaded.
#[derive(Debug)]
pub struct GroupLoader {
    coordinator: GroupCoordinator,
    report: LoadReport,
}

impl GroupLoader {
    /// Nothing read yet.
    #[must_use]
    pub fn new(settings: GroupSettings, metadata: Arc<MetadataImage>) -> Self {
        let mut coordinator = GroupCoordinator::new(settings, Monotonic(0));
        coordinator.set_metadata(metadata);
        Self { coordinator, report: LoadReport::default() }
    }

    /// Takes the next batch of the partition, in the order of the log, up to the high watermark. Nothing of its bytes
    /// is kept.
    ///
    /// # Errors
    /// The batch cannot be understood, or there is too much; the loader is of no use any more.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), LoadError> {
        let header = batch.header();
        let base = header.base_offset();
        let payload = coordinator::open(batch)?;
        let producer = header.attributes().is_transactional().then_some(header.producer_id());
        if header.attributes().is_control() {
            if let (Some(producer), Some(marker)) = (producer, EndMarker::parse(&payload)) {
                self.coordinator.on_end_marker(producer, marker.committed, base);
            }
            return Ok(());
        }
        coordinator::each_record(batch, &payload, |offset, key, value| self.record(offset, producer, key, value))
    }

    fn record(
        &mut self,
        offset: Offset,
        producer: Option<ProducerId>,
        key: Option<Bytes>,
        value: Option<Bytes>,
    ) -> Result<(), LoadError> {
        self.report.records += 1;
        match decode_log_record(key, value).map_err(|error| LoadError::Record(offset, error))? {
            DecodedRecord::Offset(key, committed) => self.coordinator.replay_offset(offset, producer, &key, committed),
            DecodedRecord::Group(id, value) => self.coordinator.replay_group(&id, value.as_ref()),
            DecodedRecord::Consumer(id, part) => self.coordinator.replay_consumer(&id, part),
            DecodedRecord::Other { kind, group, part, exists } => {
                self.coordinator.replay_other(kind, &group, part, exists);
            }
            DecodedRecord::Unknown(_) => self.report.unknown_records += 1,
        }
        if self.coordinator.bytes / GROUP_LOAD_FACTOR > self.coordinator.settings.state_bytes_max {
            return Err(LoadError::TooMuch(offset, TOO_MUCH));
        }
        Ok(())
    }

    /// The log is read: from now on its groups are coordinated here. Sessions of members begin anew.
    #[must_use]
    pub fn finish(self, now: Now) -> (GroupCoordinator, LoadReport) {
        let Self { mut coordinator, mut report } = self;
        report.groups = coordinator.groups.len();
        report.other_groups =
            coordinator.groups.values().filter(|group| matches!(group.kind, Kind::Other { .. })).count();
        report.offsets = coordinator.offset_count;
        coordinator.resume(now);
        (coordinator, report)
    }
}

impl GroupCoordinator {
    fn replay_offset(
        &mut self,
        record_offset: Offset,
        producer: Option<ProducerId>,
        key: &OffsetKey,
        committed: Option<CommittedOffset>,
    ) {
        let Some(committed) = committed else {
            self.with_offsets(&key.group, |offsets| offsets.remove(&key.topic, key.partition));
            return;
        };
        if !self.groups.contains_key(&key.group) {
            self.replay_new(&key.group);
        }
        let committed = CommittedOffset { metadata: detached_text(&committed.metadata), ..committed };
        let stored = Stored { committed, record_offset };
        let topic = detached_text(&key.topic);
        match producer {
            None => {
                self.with_offsets(&key.group, |offsets| offsets.put(&topic, key.partition, stored));
            }
            Some(producer) => {
                self.transactions.entry(producer).or_default().insert(detached_text(&key.group));
                self.with_offsets(&key.group, |offsets| {
                    offsets.put_transactional(&topic, key.partition, producer, stored);
                });
            }
        }
    }

    /// A group of which nothing but offsets is known yet.
    fn replay_new(&mut self, id: &KafkaString) {
        let group = ClassicGroup::new(detached_text(id), Timestamp::NONE);
        self.replay_kind(id, Kind::Classic(Box::new(group)), false);
    }

    fn replay_kind(&mut self, id: &KafkaString, kind: Kind, is_recorded: bool) {
        match self.groups.get_mut(id) {
            Some(group) => {
                let before = group.bytes();
                group.kind = kind;
                group.is_recorded = is_recorded;
                self.bytes = self.bytes - before + group.bytes();
            }
            None => {
                let mut group = Group::new(kind);
                group.is_recorded = is_recorded;
                self.bytes += group.bytes();
                self.groups.insert(detached_text(id), group);
            }
        }
    }

    fn replay_group(&mut self, id: &KafkaString, value: Option<&GroupMetadataValue>) {
        match value {
            Some(value) => {
                let group = ClassicGroup::loaded(detached_text(id), value);
                self.replay_kind(id, Kind::Classic(Box::new(group)), true);
            }
            None => self.replay_end(id, |kind| matches!(kind, Kind::Classic(_))),
        }
    }

    /// A group is no more. Offsets that it still has are those of a group that only has offsets.
    fn replay_end(&mut self, id: &KafkaString, is_meant: impl FnOnce(&Kind) -> bool) {
        match self.groups.get(id) {
            Some(group) if !is_meant(&group.kind) => {}
            Some(group) if group.offsets.is_empty() => self.remove_group(id),
            Some(_) => self.replay_new(id),
            None => {}
        }
    }

    fn replay_consumer(&mut self, id: &KafkaString, part: Part) {
        let is_it = |kind: &Kind| matches!(kind, Kind::Consumer(_));
        if part == Part::Group(None) {
            return self.replay_end(id, is_it);
        }
        if !self.groups.get(id).is_some_and(|group| is_it(&group.kind)) {
            if part.is_gone() {
                // What is left of a group that is gone, or has become another.
                return;
            }
            let group = ConsumerGroup::new(detached_text(id));
            self.replay_kind(id, Kind::Consumer(Box::new(group)), true);
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        let Kind::Consumer(consumer) = &mut group.kind else { return };
        let before = consumer.bytes();
        consumer.replay(part);
        self.bytes = self.bytes - before + consumer.bytes();
    }

    fn replay_other(&mut self, other: OtherKind, id: &KafkaString, part: OtherPart, exists: bool) {
        let is_it = |kind: &Kind| matches!(kind, Kind::Other { kind, .. } if *kind == other);
        if exists && !self.groups.get(id).is_some_and(|group| is_it(&group.kind)) {
            // Parts of a group that is gone are gone themselves: what comes with a value belongs to one that is there.
            let kind = Kind::Other { kind: other, members: Default::default() };
            self.replay_kind(id, kind, true);
        }
        let Some(group) = self.groups.get_mut(id) else { return };
        let Kind::Other { kind, members } = &mut group.kind else { return };
        if *kind != other {
            return;
        }
        match part {
            OtherPart::Group if !exists => self.replay_end(id, is_it),
            OtherPart::Member(member) => {
                let bytes = 64 + member.len();
                if exists && members.insert(detached_text(&member)) {
                    self.bytes += bytes;
                } else if !exists && members.remove(&member) {
                    self.bytes -= bytes;
                }
            }
            OtherPart::Group | OtherPart::Detail => {}
        }
    }

    fn resume(&mut self, now: Now) {
        self.expiry_at = now.monotonic.plus_ms(self.settings.retention_check_interval_ms);
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with_kind(now, &id, |kind, turn| match kind {
                Kind::Classic(group) => {
                    group.resume(turn.now);
                    if group.members.len() > turn.settings.group_size_max {
                        // `group.max.size` is lower than it was: everybody joins again, and the last ones are refused.
                        group.prepare_rebalance(turn);
                    }
                }
                Kind::Consumer(group) => group.resume(turn),
                Kind::Other { .. } => {}
            });
        }
        assert_eq!(self.append_count(), 0, "members that were just loaded have not joined again");
    }
}
