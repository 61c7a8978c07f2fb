//! The shortest log that can be put together from core's parts, in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use corelane_core::base::{FilePosition, LeaderEpoch, Offset, Timestamp, Uuid};
use corelane_core::log::roll::{ActiveSegment, IncomingBatch};
use corelane_core::log::{
    IndexBuilder, IndexOptions, LeaderEpochs, PartitionMetadata, ProducerStates, ProducerVerdict, RollRules,
    SegmentFile, SegmentFileKind,
};
use corelane_core::record::validate::check_produce_version;
use corelane_core::record::{AppendRules, TimestampType, validate_produce};

use crate::judge::Outcome;

/// What decides about a log, for us and for the judge.
#[derive(Clone, Copy, Default)]
pub(crate) struct Rules {
    pub(crate) append: AppendRules,
    pub(crate) index: IndexOptions,
    pub(crate) roll: RollRules,
}

pub(crate) struct OurLog {
    rules: Rules,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    log: Vec<u8>,
    index: IndexBuilder,
    segment: ActiveSegment,
    end: Offset,
    pub(crate) producers: ProducerStates,
    epochs: LeaderEpochs,
}

impl OurLog {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            files: BTreeMap::new(),
            log: Vec::new(),
            index: IndexBuilder::new(Offset(0), rules.index),
            segment: empty_segment(Offset(0), Timestamp(0)),
            end: Offset(0),
            producers: ProducerStates::new(),
            epochs: LeaderEpochs::default(),
        }
    }

    pub(crate) fn append(&mut self, now: Timestamp, epoch: i32, version: i16, records: &Bytes) -> Outcome {
        let valid =
            check_produce_version(records, version).and_then(|()| validate_produce(records, &self.rules.append, now));
        let valid = match valid {
            Ok(valid) => valid,
            Err(rejection) => {
                let indexes = rejection.record_errors.iter().map(|fault| fault.index).collect();
                return Outcome::Refused(rejection.kind.code(), indexes);
            }
        };
        let append_time = (self.rules.append.timestamp_type == TimestampType::LogAppendTime).then_some(now);
        let max_timestamp = append_time.unwrap_or(valid.max_timestamp());
        let base = self.end;
        let last = base.plus(i64::from(valid.record_count()) - 1);
        let incoming = IncomingBatch { bytes: valid.size_bytes() as u64, last_offset: last, max_timestamp };
        self.segment.is_index_full = self.index.is_full();
        if self.rules.roll.decide(&self.segment, &incoming, now).is_some() {
            self.roll(now);
        }
        // Like Kafka, which rolls for a batch that it then does not append.
        self.epochs.assign(LeaderEpoch(epoch), base);
        match self.producers.check(valid.header()) {
            ProducerVerdict::Append => {}
            ProducerVerdict::Duplicate { base_offset, last_offset, timestamp } => {
                return Outcome::Stored(base_offset.0, last_offset.0, timestamp.0);
            }
            ProducerVerdict::Reject(rejection) => return Outcome::Refused(rejection.code(), Vec::new()),
        }
        self.producers.append(valid.header(), base, max_timestamp);
        let position = FilePosition(self.log.len() as u64);
        self.index.add_batch(position, incoming.bytes, last, max_timestamp);
        for part in valid.stamp(base, LeaderEpoch(epoch), append_time) {
            self.log.extend_from_slice(&part);
        }
        if self.segment.bytes == 0 {
            self.segment.first_timestamp = max_timestamp;
        }
        self.segment.bytes = self.log.len() as u64;
        self.end = last.plus(1);
        Outcome::Stored(base.0, last.0, append_time.map_or(-1, |at| at.0))
    }

    /// Writes the files of a clean stop.
    pub(crate) fn close(mut self) -> BTreeMap<String, Vec<u8>> {
        self.finish_segment();
        if self.end > Offset(0) {
            self.put(self.end, SegmentFileKind::ProducerSnapshot, self.producers.to_snapshot().to_vec());
        }
        let epochs = if self.epochs.entries().is_empty() { String::new() } else { self.epochs.to_text() };
        self.files.insert("leader-epoch-checkpoint".to_owned(), epochs.into_bytes());
        let id = Uuid(u128::to_be_bytes((1 << 64) | 2));
        let metadata = PartitionMetadata { topic_id: id }.to_text();
        self.files.insert("partition.metadata".to_owned(), metadata.into_bytes());
        self.files
    }

    fn roll(&mut self, now: Timestamp) {
        self.finish_segment();
        self.put(self.end, SegmentFileKind::ProducerSnapshot, self.producers.to_snapshot().to_vec());
        self.log.clear();
        self.index = IndexBuilder::new(self.end, self.rules.index);
        self.segment = empty_segment(self.end, now);
    }

    fn finish_segment(&mut self) {
        self.index.finish();
        let base = self.segment.base_offset;
        self.put(base, SegmentFileKind::Log, self.log.clone());
        self.put(base, SegmentFileKind::OffsetIndex, self.index.offsets().bytes().to_vec());
        self.put(base, SegmentFileKind::TimeIndex, self.index.times().bytes().to_vec());
    }

    fn put(&mut self, base: Offset, kind: SegmentFileKind, content: Vec<u8>) {
        self.files.insert(SegmentFile::live(base, kind).name(), content);
    }
}

fn empty_segment(base_offset: Offset, now: Timestamp) -> ActiveSegment {
    ActiveSegment { base_offset, bytes: 0, first_timestamp: Timestamp::NONE, created_at: now, is_index_full: false }
}
