//! For tests of this package and of others: random choices from a seed, and batches made of them.

use crate::base::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::record::legacy::{Format, down_convert};
use crate::record::{Batch, BatchBuilder, BatchOptions, Codec, Compression, Header};

/// Every codec.
pub const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// A sequence of random numbers that its seed determines (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins the sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.next_u64().checked_rem(end).unwrap_or(0)).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Up to `bytes_max` bytes, of few values so that they compress.
    pub fn bytes(&mut self, bytes_max: usize) -> Vec<u8> {
        let length = self.below(bytes_max.saturating_add(1));
        (0..length).map(|_| b"abcdefgh"[self.below(8)]).collect()
    }

    /// `None`, empty or some bytes.
    pub fn nullable_bytes(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        (!self.once_in(4)).then(|| self.bytes(bytes_max))
    }

    /// Changes a few bytes: flips, overwrites, cuts, doubles. What stays alike reaches deep into a parser.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match (self.below(6), bytes.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << self.below(8),
                (1, Some(byte)) => *byte = *self.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                (2, _) => bytes.truncate(at),
                (3, _) => bytes.extend_from_within(at..),
                (4, _) => bytes.extend_from_slice(&[0; 16]),
                (_, Some(byte)) => *byte = byte.wrapping_add(1),
                (_, None) => {}
            }
        }
    }
}

/// A batch of one to `records_max` random records with timestamps from `now` on.
pub fn random_batch(random: &mut Random, options: BatchOptions, records_max: usize, now: Timestamp) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for _ in 0..=random.below(records_max) {
        let key = random.nullable_bytes(20);
        let value = random.nullable_bytes(200);
        let names = [random.bytes(5), random.bytes(5)];
        let header_value = random.nullable_bytes(10);
        let headers: Vec<_> = names.iter().map(|key| Header { key, value: header_value.as_deref() }).collect();
        let count = random.below(3);
        let at = now + i64::try_from(random.below(1_000)).unwrap_or(0);
        builder.append(at, key.as_deref(), value.as_deref(), &headers[..count]);
    }
    builder.build().expect("a small batch can be built")
}

/// What an old client sends: some plain messages or a wrapper, of format 0 or 1.
pub fn random_message_set(random: &mut Random) -> Vec<u8> {
    let format = *random.pick(&[Format::V0, Format::V1]);
    let codec = *random.pick(&[Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4]);
    let compression = Compression { codec, level: None };
    let options = BatchOptions { compression, ..BatchOptions::default() };
    let batch = random_batch(random, options, 5, Timestamp(1_700_000_000_000));
    down_convert(batch.bytes(), format, Offset(0), 0).expect("a small batch can be converted").messages
}

/// Options for an ordinary batch at `base_offset` with a random codec.
pub fn random_options(random: &mut Random, base_offset: Offset) -> BatchOptions {
    let compression = Compression { codec: *random.pick(&CODECS), level: None };
    BatchOptions { base_offset, compression, ..BatchOptions::default() }
}

/// The same options for an idempotent producer.
#[must_use]
pub fn with_producer(options: BatchOptions, id: i64, epoch: i16, base_sequence: i32) -> BatchOptions {
    BatchOptions {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(base_sequence),
        ..options
    }
}
