//! The same appends make the same files, byte for byte.

use bytes::Bytes;
use corelane_core::base::{Offset, Sequence, Timestamp};
use corelane_core::log::{
    IndexOptions, LeaderEpochs, PartitionMetadata, ProducerStates, RollRules, SegmentFile, SegmentFileKind,
};
use corelane_core::record::header::TimestampType;
use corelane_core::record::{AppendRules, Batch, BatchOptions, Batches, Codec, Compression, CompressionRule};
use corelane_core::test_support::{Random, random_batch, random_options, with_producer};

use crate::judge::{Judge, Outcome, files_of};
use crate::our_log::{OurLog, Rules};
use crate::verdicts::configs;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What a client might send next: fresh batches, repeated ones, gaps, new epochs.
pub(crate) struct Clients {
    sequences: Vec<(i16, i32)>,
    sent: Vec<Bytes>,
}

impl Clients {
    pub(crate) fn new() -> Self {
        Self { sequences: vec![(0, 0), (3, 0), (0, i32::MAX - 20)], sent: Vec::new() }
    }

    pub(crate) fn next(&mut self, random: &mut Random, now: Timestamp) -> Bytes {
        if !self.sent.is_empty() && random.once_in(6) {
            let back = random.below(self.sent.len().min(12));
            return self.sent[self.sent.len() - 1 - back].clone();
        }
        let options = random_options(random, Offset(0));
        let id = random.below(self.sequences.len() + 2);
        let batch = match self.sequences.get_mut(id) {
            None => random_batch(random, options, 6, now),
            Some((epoch, next)) => {
                if random.once_in(15) {
                    (*epoch, *next) = (*epoch + 1, if random.once_in(4) { 3 } else { 0 });
                }
                let gap = if random.once_in(12) { 2 } else { 0 };
                let sequence = Sequence(*next).plus(gap).0;
                let options = with_producer(options, i64::try_from(id).expect("few"), *epoch, sequence);
                let batch = random_batch(random, options, 6, now);
                if gap == 0 {
                    *next = Sequence(sequence).plus(batch.header().record_count()).0;
                }
                batch
            }
        };
        self.sent.push(batch.bytes().clone());
        batch.bytes().clone()
    }
}

#[test]
fn the_same_appends_make_the_same_files() {
    let Some(mut judge) = Judge::start("files") else { return };
    let (mut stored, mut refused, mut files, mut entries) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let segment_bytes = *random.pick(&[2_000, 8_000, 1 << 20]);
        let rules = Rules {
            append: AppendRules {
                segment_bytes,
                timestamp_type: *random.pick(&[TimestampType::CreateTime, TimestampType::LogAppendTime]),
                ..AppendRules::default()
            },
            index: IndexOptions {
                interval_bytes: *random.pick(&[0, 300, 1_000, 4_096]),
                file_bytes_max: *random.pick(&[100, 240, 1 << 16]),
            },
            roll: RollRules { segment_bytes, segment_ms: *random.pick(&[20_000, 1 << 40]), jitter_ms: 0 },
        };
        let directory = judge.open(&format!("seed-{seed}"), &configs(&rules));
        let mut ours = OurLog::new(rules);
        let mut clients = Clients::new();
        let (mut now, mut epoch) = (NOW, 0);
        for step in 0..120 {
            now = now + i64::try_from(random.below(500)).expect("small");
            epoch += i32::from(random.once_in(20));
            let records = clients.next(&mut random, now);
            let theirs = judge.append(now, epoch, 9, &records);
            assert_eq!(ours.append(now, epoch, 9, &records), theirs, "seed {seed}, step {step}");
            match theirs {
                Outcome::Stored(..) => stored += 1,
                Outcome::Refused(..) => refused += 1,
            }
        }
        judge.close();
        let (mut ours, theirs) = (ours.close(), files_of(&directory));
        // Kafka makes index files when they are first needed; an empty last segment has none.
        ours.retain(|name, content| !(name.ends_with("index") && content.is_empty() && !theirs.contains_key(name)));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "seed {seed}");
        for (name, content) in &ours {
            assert_eq!(content, &theirs[name], "seed {seed}, {name}");
            files += 1;
            entries += if name.ends_with("index") { content.len() / 8 } else { 0 };
        }
        read_back(&theirs);
    }
    assert!(stored > 2_000 && refused > 200 && files > 500 && entries > 1_000, "{stored} {refused} {files} {entries}");
}

/// Kafka's own files through our readers.
fn read_back(files: &std::collections::BTreeMap<String, Vec<u8>>) {
    for (name, content) in files {
        let text = || std::str::from_utf8(content).expect("text");
        if name.ends_with(".snapshot") {
            let states = ProducerStates::from_snapshot(content, Offset(0)).expect("a snapshot");
            assert_eq!(states.to_snapshot(), content);
        } else if name == "leader-epoch-checkpoint" {
            assert_eq!(LeaderEpochs::parse(text()).expect("epochs").to_text(), text());
        } else if name == "partition.metadata" {
            assert_eq!(PartitionMetadata::parse(text()).expect("metadata").to_text(), text());
        } else if name.ends_with(".log") {
            let mut run = Bytes::copy_from_slice(content);
            while !run.is_empty() {
                assert!(Batch::split_from(&mut run).expect("a batch").is_crc_valid());
            }
        }
    }
}

#[test]
fn we_open_what_kafka_compresses() {
    let Some(mut judge) = Judge::start("codecs") else { return };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let compression = CompressionRule::Topic(Compression { codec, level: None });
        let rules = Rules { append: AppendRules { compression, ..AppendRules::default() }, ..Rules::default() };
        let directory = judge.open(codec.name(), &configs(&rules));
        let mut random = Random::new(7);
        let mut sent = Vec::new();
        for records_max in [1, 5, 100, 5_000] {
            let batch = random_batch(&mut random, BatchOptions::default(), records_max, NOW);
            assert!(matches!(judge.append(NOW, 0, 9, batch.bytes()), Outcome::Stored(..)));
            sent.push(batch);
        }
        judge.close();
        let log = SegmentFile::live(Offset(0), SegmentFileKind::Log).name();
        let stored: Vec<_> = Batches::new(files_of(&directory)[&log].clone().into()).map(Result::unwrap).collect();
        assert_eq!(stored.len(), sent.len());
        for (stored, sent) in stored.iter().zip(&sent) {
            assert_eq!(stored.header().attributes().codec(), Some(codec));
            assert_eq!(stored.open(1 << 24).expect("it opens"), sent.payload(), "{codec:?}");
        }
    }
}
