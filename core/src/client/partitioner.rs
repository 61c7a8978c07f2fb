//! Which partition a record goes to: by the hash of its key, as every Kafka client does it, or the one that is being
//! filled.

use crate::base::PartitionIndex;

/// The 32-bit murmur2 hash with Kafka's seed, on which all clients agree.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ (key.len() as u32);
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0, |k, &byte| (k << 8) | u32::from(byte));
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        hash ^= tail.iter().rev().fold(0, |k, &byte| (k << 8) | u32::from(byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition among `count` that records with `key` go to.
#[must_use]
pub fn partition_of_key(key: &[u8], count: i32) -> PartitionIndex {
    let positive = (murmur2(key) & 0x7fff_ffff).cast_signed();
    PartitionIndex(positive.checked_rem(count).unwrap_or(0))
}

/// Chooses a partition for records without a key: one is kept until its batch is full, so that batches are large
/// (KIP-480).
#[derive(Clone, Copy, Debug, Default)]
pub struct StickyPartition {
    current: Option<PartitionIndex>,
}

impl StickyPartition {
    /// The partition among `count` that is being filled; `random` chooses one when there is none.
    pub fn choose(&mut self, count: i32, random: u32) -> PartitionIndex {
        match self.current {
            Some(partition) if partition.0 < count => partition,
            _ => {
                let chosen = PartitionIndex((random & 0x7fff_ffff).cast_signed().checked_rem(count).unwrap_or(0));
                self.current = Some(chosen);
                chosen
            }
        }
    }

    /// The batch is full: the next record chooses again.
    pub fn batch_is_full(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures that Kafka's Java client gives.
    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("", 275_646_681),
            ("a", -1_563_381_124),
            ("ab", 316_155_434),
            ("abc", 479_470_107),
            ("abcd", -1_323_649_548),
            ("abcde", 461_995_741),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_key_stays_with_its_partition() {
        for count in 1..50 {
            let partition = partition_of_key(b"foobar", count);
            assert!((0..count).contains(&partition.0));
            assert_eq!(partition.0, (-790_332_482_i32 & 0x7fff_ffff) % count);
        }
    }

    #[test]
    fn a_sticky_partition_is_kept_until_its_batch_is_full() {
        let mut sticky = StickyPartition::default();
        assert_eq!(sticky.choose(4, 6), PartitionIndex(2));
        assert_eq!(sticky.choose(4, 7), PartitionIndex(2));
        sticky.batch_is_full();
        assert_eq!(sticky.choose(4, 7), PartitionIndex(3));
        assert_eq!(sticky.choose(2, 0xffff_ffff), PartitionIndex(1), "the topic was created again, smaller");
    }
}
