//! Group coordinators: who belongs to a group, who reads what, and how far each has come.
//!
//! The shard that leads a partition of `__consumer_offsets` coordinates the groups that map to it
//! ([`offsets_partition`]). One `GroupCoordinator` is one such partition: everything it must remember is a record
//! there, in Kafka's own format, so that Kafka's tools read ours and we read theirs.
//!
//! The machine does no I/O. Requests, instants and the fate of appends go in; answers and appends come out, as
//! [`Effect`]s in order. An answer that promises durability leaves only after its append was acknowledged.
//!
//! | in | when |
//! | --- | --- |
//! | `GroupLoader`, batch by batch, then `finish` | the partition was opened, or this broker became its leader |
//! | `handle` | a request came |
//! | `on_append` | the high watermark passed an append, or it failed |
//! | `on_time` | `next_deadline` is over |
//! | `on_end_marker` | the end of a transaction was written to the partition |
//! | `on_topics_deleted` | topics are gone |
//! | `resign` | the partition is led elsewhere, or its log is fenced |

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation))]

mod log_record;
mod message;
mod settings;
mod versions;

pub use log_record::{
    CommittedOffset, DecodedRecord, LogRecord, LogRecordError, OffsetKey, OtherKind, OtherPart, decode_log_record,
    group_record, group_tombstone, offset_record, offset_tombstone,
};
pub use message::{Answer, Append, AppendId, Effect, Now, Request, RequestContext, RequestId};
pub use settings::GroupSettings;
pub use versions::{offset_fetch_groups, offset_fetch_response};

use crate::base::PartitionIndex;

/// Name of the topic that holds what coordinators must remember.
pub const OFFSETS_TOPIC_NAME: &str = "__consumer_offsets";

/// The partition of `__consumer_offsets`, of `partitions` in all, whose leader coordinates the group `group_id`.
///
/// Every broker and some tools compute it alone, as Java's `hashCode` without its sign.
#[must_use]
pub fn offsets_partition(group_id: &str, partitions: i32) -> PartitionIndex {
    let hash = group_id.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex((hash & i32::MAX).checked_rem(partitions).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_partition_that_java_computes() {
        // Values of String.hashCode: "" 0, "a" 97, "hello" 99162322, "polygenelubricants" i32::MIN, "é𝄞" in three units.
        for (group, partition) in
            [("", 0), ("a", 47), ("hello", 22), ("polygenelubricants", 0), ("console-consumer", 8)]
        {
            assert_eq!(offsets_partition(group, 50), PartitionIndex(partition), "{group}");
        }
        assert_eq!(offsets_partition("é𝄞", i32::MAX), PartitionIndex((233 * 31 + 0xd834) * 31 + 0xdd1e));
        assert_eq!(offsets_partition("any", 1), PartitionIndex(0));
    }
}
