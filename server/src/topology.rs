//! Which shard owns what.
//!
//! Ownership is a function of the identity and the number of shards, so that every shard computes it alone and a
//! broker may be started with another number of cores: a partition's files say nothing about shards.

use corelane_core::base::ShardId;

use crate::storage::PartitionKey;

/// Where metadata is decided.
pub(crate) const CONTROLLER_SHARD: ShardId = ShardId(0);

/// The shard that owns a partition. Neighbouring partitions of a topic lie on neighbouring shards, so that the load of
/// a topic spreads evenly whatever its id is.
pub(crate) fn owner_of(partition: PartitionKey, shards: u16) -> ShardId {
    let mut low = [0; 8];
    low.copy_from_slice(&partition.topic.0[8..]);
    let index = u64::from(partition.index.0.unsigned_abs());
    let shard = u64::from_be_bytes(low).wrapping_add(index) % u64::from(shards.max(1));
    ShardId(u16::try_from(shard).expect("less than the number of shards"))
}

#[cfg(test)]
mod tests {
    use corelane_core::base::{PartitionIndex, Uuid};

    use super::*;

    #[test]
    fn partitions_of_a_topic_spread_evenly() {
        for shards in [1, 2, 3, 7] {
            let mut counts = vec![0; usize::from(shards)];
            for index in 0..i32::from(shards) * 4 {
                let key = PartitionKey { topic: Uuid([0xab; 16]), index: PartitionIndex(index) };
                counts[usize::from(owner_of(key, shards).0)] += 1;
            }
            assert!(counts.iter().all(|count| *count == 4), "{counts:?}");
        }
    }
}
