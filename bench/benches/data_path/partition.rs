//! A group of batches through the partition machine, as one write takes them: admitted one after another, then written.

use std::hint::black_box;

use corelane_core::base::{LeaderEpoch, Offset};
use corelane_core::limits::APPEND_GROUP_BATCHES_MAX;
use corelane_core::log::{IndexBuilder, IndexOptions, LeaderEpochs, ProducerStates, RetentionRules, RollRules};
use corelane_core::partition::{Admission, LogSettings, Partition, Recovered, Segment};
use corelane_core::record::{Codec, ValidBatch};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

use crate::samples::{NOW, batch, compressed_by, sequenced};

const RECORDS: usize = 10;

pub(crate) fn benches(criterion: &mut Criterion) {
    let plain = |_| compressed_by(Codec::None);
    let idempotent = |sent: usize| sequenced(9, (sent * RECORDS) as i32);
    let mut group = criterion.benchmark_group("admit batches");
    for batches in [1, APPEND_GROUP_BATCHES_MAX] {
        let of_group = |options: &dyn Fn(usize) -> _| -> Vec<_> {
            (0..batches).map(|sent| ValidBatch::internal(batch(RECORDS, options(sent)))).collect()
        };
        for (name, sent) in [("plain", of_group(&plain)), ("idempotent", of_group(&idempotent))] {
            let mut partition = empty_partition();
            append(&mut partition, &sent);
            let end = Offset((batches * RECORDS) as i64);
            assert_eq!((partition.log_end(), partition.high_watermark()), (end, end));
            let bytes: usize = sent.iter().map(ValidBatch::size_bytes).sum();
            assert_eq!(partition.active().bytes, bytes as u64);
            group.throughput(Throughput::Elements(batches as u64));
            group.bench_function(BenchmarkId::new(name, batches), |bencher| {
                let append = |partition: &mut Partition| append(partition, black_box(&sent));
                bencher.iter_batched_ref(empty_partition, append, BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

fn append(partition: &mut Partition, batches: &[ValidBatch]) {
    for batch in batches {
        let admission = partition.admit(batch, NOW);
        assert!(matches!(admission, Admission::Admitted(_)), "{admission:?}");
        // What is to be written, which the server would hand to the kernel.
        black_box(admission);
    }
    partition.wrote();
}

/// A partition without records and with Kafka's default settings.
fn empty_partition() -> Partition {
    let settings = LogSettings {
        roll: RollRules::default(),
        segment_jitter_ms: 0,
        index: IndexOptions::default(),
        log_append_time: false,
        flush_messages: i64::MAX,
        flush_ms: i64::MAX,
        retention: RetentionRules::default(),
        file_delete_delay_ms: 0,
        compaction: None,
        producer_expiration_ms: 86_400_000,
        verifies_transactions: false,
    };
    let recovered = Recovered {
        segments: vec![Segment::new(Offset(0), NOW)],
        index: IndexBuilder::new(Offset(0), settings.index),
        log_start: Offset(0),
        log_end: Offset(0),
        durable: Offset(0),
        producers: ProducerStates::new(),
        epochs: LeaderEpochs::default(),
    };
    Partition::new(settings, LeaderEpoch(0), recovered, 0)
}
