//! What the broker's configuration says about classic groups and their offsets.

use crate::limits::{GROUP_STATE_BYTES_MAX, OFFSETS_BATCH_BYTES_MAX};

/// Settings of a coordinator; the default has Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Shortest session timeout that a member may ask for (`group.min.session.timeout.ms`).
    pub session_timeout_ms_min: i32,
    /// Longest session timeout that a member may ask for (`group.max.session.timeout.ms`).
    pub session_timeout_ms_max: i32,
    /// Time that the first rebalance of an empty group waits for more members (`group.initial.rebalance.delay.ms`).
    pub initial_rebalance_delay_ms: u64,
    /// Members of one group (`group.max.size`); [`GROUP_MEMBERS_MAX`](crate::limits::GROUP_MEMBERS_MAX) bounds it too.
    pub group_size_max: usize,
    /// Length of the text that a member may leave with an offset (`offset.metadata.max.bytes`), counted as Java does,
    /// in UTF-16 units.
    pub offset_metadata_length_max: usize,
    /// Time for which offsets outlive their readers (`offsets.retention.minutes`).
    pub offsets_retention_ms: i64,
    /// Time between two looks for offsets that have expired (`offsets.retention.check.interval.ms`).
    pub retention_check_interval_ms: u64,
    /// Bytes of one batch of `__consumer_offsets` (its `max.message.bytes`).
    pub batch_bytes_max: usize,
    /// Bytes of groups and offsets that this coordinator holds in memory; beyond it what would add some is refused.
    pub state_bytes_max: usize,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            group_size_max: usize::MAX,
            offset_metadata_length_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            retention_check_interval_ms: 600_000,
            batch_bytes_max: OFFSETS_BATCH_BYTES_MAX,
            state_bytes_max: GROUP_STATE_BYTES_MAX,
        }
    }
}
