//! Batches and other input that several benches share. The same bytes in every run.

use corelane_core::base::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use corelane_core::record::{Batch, BatchBuilder, BatchOptions, Codec, Compression};

/// The broker's clock, and the time of the first record of each batch.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Length of each value: a small event, for which the work per record weighs most.
pub(crate) const VALUE_BYTES: usize = 100;

/// A batch of `records` with keys, as a client sends it.
pub(crate) fn batch(records: usize, options: BatchOptions) -> Batch {
    let mut builder = BatchBuilder::new(options);
    let mut value = [0; VALUE_BYTES];
    for record in 0..records {
        let key = format!("key-{record:06}");
        // Text-like: half of each value repeats, half differs from record to record, so that LZ4 has work to do.
        for (at, byte) in value.iter_mut().enumerate() {
            *byte = if at % 2 == 0 { b'a' } else { (record.wrapping_mul(31) + at * 7) as u8 };
        }
        builder.append(NOW + record as i64, Some(key.as_bytes()), Some(&value), &[]);
    }
    builder.build().expect("a batch of our own making")
}

/// Options of a batch from a producer without idempotence.
pub(crate) fn compressed_by(codec: Codec) -> BatchOptions {
    BatchOptions { compression: Compression { codec, level: None }, ..BatchOptions::default() }
}

/// Options of a batch from an idempotent producer.
pub(crate) fn sequenced(producer_id: i64, base_sequence: i32) -> BatchOptions {
    BatchOptions {
        producer_id: ProducerId(producer_id),
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(base_sequence),
        ..BatchOptions::default()
    }
}

/// Options of a batch that lies in a log at `base_offset`.
pub(crate) fn stored_at(base_offset: Offset) -> BatchOptions {
    BatchOptions { base_offset, ..BatchOptions::default() }
}

/// Numbers below `bound` in an order that no branch predictor learns.
pub(crate) fn scattered(count: usize, bound: usize) -> Vec<usize> {
    let mut state = 1_u64;
    let mut next = || {
        // Knuth's MMIX generator; its high bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    (0..count).map(|_| next() % bound).collect()
}
