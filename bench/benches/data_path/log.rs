//! Finding the way in a segment, and what is remembered of its producers.

use std::hint::black_box;

use corelane_core::base::{FilePosition, Offset, Timestamp};
use corelane_core::limits::PARTITION_PRODUCERS_MAX;
use corelane_core::log::read_plan::{ReadLimits, Walked, find_offset};
use corelane_core::log::{IndexBuilder, IndexOptions, ProducerStates, ProducerVerdict};
use corelane_core::record::BatchHeader;
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::samples::{NOW, batch, scattered, sequenced, stored_at};

/// Questions asked in one timed pass.
const LOOKUPS: usize = 1024;
/// Index entries: of a small segment, and of one of 1 GiB with Kafka's default interval.
const ENTRY_COUNTS: [usize; 2] = [1_000, 250_000];
const CHUNK_BYTES: usize = 1024 * 1024;

pub(crate) fn benches(criterion: &mut Criterion) {
    indexes(criterion);
    producer_check(criterion);
    walk(criterion);
}

/// A batch of the indexed segment: each but the first has an entry.
const INDEXED_BATCH_BYTES: u64 = 4097;
const INDEXED_BATCH_RECORDS: usize = 10;

fn indexes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index lookup");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for entries in ENTRY_COUNTS {
        let mut index = IndexBuilder::new(Offset(0), IndexOptions::default());
        for number in 0..=entries {
            let position = FilePosition(number as u64 * INDEXED_BATCH_BYTES);
            index.add_batch(position, INDEXED_BATCH_BYTES, last_offset(number), NOW + number as i64);
        }
        assert_eq!((index.offsets().len(), index.times().len()), (entries, entries));

        let records = scattered(LOOKUPS, entries * INDEXED_BATCH_RECORDS);
        let wanted: Vec<_> = records.iter().map(|record| Offset(*record as i64)).collect();
        for offset in &wanted {
            // The last batch that ends at or before the offset; the first batch has no entry.
            let batch = (offset.0 + 1) / INDEXED_BATCH_RECORDS as i64 - 1;
            let start = FilePosition(batch.max(0).unsigned_abs() * INDEXED_BATCH_BYTES);
            assert_eq!(index.offsets().walk_start(*offset), start);
        }
        group.bench_function(BenchmarkId::new("offset", entries), |bencher| {
            let ask = |offset: &Offset| index.offsets().walk_start(*offset).0;
            bencher.iter(|| black_box(&wanted).iter().map(ask).fold(0, u64::wrapping_add));
        });

        let wanted: Vec<_> = scattered(LOOKUPS, entries).into_iter().map(|number| NOW + number as i64).collect();
        for timestamp in &wanted {
            let number = (timestamp.0 - NOW.0).unsigned_abs() as usize;
            let start = if number == 0 { Offset(0) } else { last_offset(number) };
            assert_eq!(index.times().walk_start(*timestamp), start);
        }
        group.bench_function(BenchmarkId::new("time", entries), |bencher| {
            let ask = |timestamp: &Timestamp| index.times().walk_start(*timestamp).0;
            bencher.iter(|| black_box(&wanted).iter().map(ask).fold(0, i64::wrapping_add));
        });
    }
    group.finish();
}

fn last_offset(batch: usize) -> Offset {
    Offset(((batch + 1) * INDEXED_BATCH_RECORDS - 1) as i64)
}

fn producer_check(criterion: &mut Criterion) {
    let header = |producer: usize, sequence| *batch(1, sequenced(producer as i64, sequence)).header();
    let mut group = criterion.benchmark_group("check producer");
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    for producers in [1, PARTITION_PRODUCERS_MAX] {
        let mut states = ProducerStates::new();
        for producer in 0..producers {
            states.append(&header(producer, 0), Offset(producer as i64), NOW);
        }
        assert_eq!(states.len(), producers);
        let asked = scattered(LOOKUPS, producers);
        let next: Vec<_> = asked.iter().map(|producer| header(*producer, 1)).collect();
        let repeated: Vec<_> = asked.iter().map(|producer| header(*producer, 0)).collect();
        let missing = header(0, 2);
        assert!(matches!(states.check(&missing), ProducerVerdict::Reject(_)));
        for (name, headers, appends) in [("next", next, LOOKUPS), ("duplicate", repeated, 0)] {
            let count = |headers: &[BatchHeader]| {
                headers.iter().filter(|header| states.check(header) == ProducerVerdict::Append).count()
            };
            assert_eq!(count(&headers), appends);
            group.bench_function(BenchmarkId::new(name, producers), |bencher| {
                bencher.iter(|| count(black_box(&headers)));
            });
        }
    }
    group.finish();
}

fn walk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk 1 MiB");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    for records in [1, 10, 100] {
        let (mut chunk, mut last_start, mut base) = (Vec::new(), 0, Offset(0));
        while chunk.len() <= CHUNK_BYTES {
            last_start = chunk.len();
            chunk.extend_from_slice(batch(records, stored_at(base)).bytes());
            base = base.plus(records as i64);
        }

        // The last batch begins within the limit and ends behind it, so that a read ends where it begins.
        let limits = ReadLimits {
            start: FilePosition(0),
            bytes_max: CHUNK_BYTES as u64,
            readable_end: base,
            is_first_batch_whole: true,
        };
        let end = Ok(Walked::Found(FilePosition(last_start as u64)));
        assert_eq!(limits.find_end(&chunk, FilePosition(0)), end);
        group.bench_function(BenchmarkId::new("to the end of a read, records a batch", records), |bencher| {
            bencher.iter(|| limits.find_end(black_box(&chunk), FilePosition(0)));
        });

        let last = base.plus(-1);
        let find_last = |chunk: &[u8]| match find_offset(chunk, FilePosition(0), last) {
            Ok(Walked::Found(batch)) => batch,
            other => panic!("{other:?}"),
        };
        let found = find_last(&chunk);
        assert_eq!((found.position, found.last_offset), (FilePosition(last_start as u64), last));
        group.bench_function(BenchmarkId::new("to an offset, records a batch", records), |bencher| {
            bencher.iter(|| find_last(black_box(&chunk)));
        });
    }
    group.finish();
}
