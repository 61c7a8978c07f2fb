//! What happens to a batch before its partition sees it, and to its header after.

use std::hint::black_box;

use corelane_core::base::{LeaderEpoch, Offset};
use corelane_core::record::{AppendRules, Batch, Codec, ValidBatch, validate_produce};
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::samples::{NOW, batch, compressed_by};

const RECORD_COUNTS: [usize; 3] = [1, 100, 10_000];
const CHECKSUM_BYTES: [usize; 4] = [128, 1024, 16 * 1024, 1024 * 1024];

pub(crate) fn benches(criterion: &mut Criterion) {
    validation(criterion);
    stamping(criterion);
    checksum(criterion);
}

fn validation(criterion: &mut Criterion) {
    // 10,000 records are a little more than the default of max.message.bytes.
    let plain = AppendRules { max_message_bytes: 1 << 30, ..AppendRules::default() };
    let compacted = AppendRules { compacted: true, ..plain };
    let cases = [
        ("uncompressed", Codec::None, plain),
        // The header's word is taken for the records: checksum and nothing else.
        ("lz4", Codec::Lz4, plain),
        // Opened, because each record must have a key.
        ("lz4, compacted topic", Codec::Lz4, compacted),
    ];
    let mut group = criterion.benchmark_group("validate batch");
    for (name, codec, rules) in cases {
        for records in RECORD_COUNTS {
            let batch = batch(records, compressed_by(codec));
            let valid = validate_produce(batch.bytes(), &rules, NOW).expect("a good batch");
            assert_eq!(valid.record_count().unsigned_abs() as usize, records);
            assert_eq!((valid.codec(), valid.size_bytes()), (codec, batch.bytes().len()));
            assert_eq!(valid.max_timestamp(), NOW + (records as i64 - 1));
            assert_refuses_damage(&batch, &rules);
            group.throughput(Throughput::Elements(records as u64));
            group.bench_function(BenchmarkId::new(name, records), |bencher| {
                bencher.iter(|| validate_produce(black_box(batch.bytes()), &rules, NOW));
            });
        }
    }
    group.finish();
}

/// A validation that skips the checksum would be fast.
fn assert_refuses_damage(batch: &Batch, rules: &AppendRules) {
    let mut bytes = batch.bytes().to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    validate_produce(&bytes.into(), rules, NOW).expect_err("a damaged batch");
}

fn stamping(criterion: &mut Criterion) {
    let cases = [
        // Offset and leader epoch, which no checksum covers: the same for any size.
        ("place", None),
        // The time as well, and so the checksum over all of it.
        ("place and append time", Some(NOW + 1)),
    ];
    let mut group = criterion.benchmark_group("stamp batch");
    for (name, append_time) in cases {
        for records in RECORD_COUNTS {
            let valid = ValidBatch::internal(batch(records, compressed_by(Codec::None)));
            let stamp = |valid: &ValidBatch| valid.stamp(Offset(42), LeaderEpoch(3), append_time);
            let mut stored = stamp(&valid).concat().into();
            let stored = Batch::split_from(&mut stored).expect("a batch");
            assert!(stored.is_crc_valid());
            assert_eq!((stored.header().base_offset(), stored.header().leader_epoch()), (Offset(42), LeaderEpoch(3)));
            assert_eq!(stored.header().max_timestamp(), append_time.unwrap_or(valid.max_timestamp()));
            group.throughput(Throughput::Bytes(valid.size_bytes() as u64));
            group.bench_function(BenchmarkId::new(name, records), |bencher| {
                bencher.iter(|| stamp(black_box(&valid)));
            });
        }
    }
    group.finish();
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("CRC-32C");
    for length in CHECKSUM_BYTES {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
        assert_eq!(crc32c::crc32c(&bytes), checksum_bit_by_bit(&bytes));
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("bytes", length), |bencher| {
            bencher.iter(|| crc32c::crc32c(black_box(&bytes)));
        });
    }
    group.finish();
}

/// The definition: Castagnoli's polynomial, reflected.
fn checksum_bit_by_bit(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |checksum: u32, byte| {
        (0..8).fold(checksum ^ u32::from(*byte), |rest, _| (rest >> 1) ^ if rest & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}
