//! What the broker's configuration says about classic groups and their offsets.

use crate::config::BrokerConfig;
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

impl GroupSettings {
    /// The settings of coordinators on a broker. `batch_bytes_max` is the `max.message.bytes` of `__consumer_offsets`.
    #[must_use]
    pub fn of(broker: &BrokerConfig, batch_bytes_max: u64) -> Self {
        let long = |name: &str| broker.value(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
        let int = |name: &str| i32::try_from(long(name)).unwrap_or(i32::MAX);
        let not_negative = |name: &str| u64::try_from(long(name)).unwrap_or_default();
        let size = |name: &str| usize::try_from(long(name)).unwrap_or_default();
        Self {
            session_timeout_ms_min: int("group.min.session.timeout.ms"),
            session_timeout_ms_max: int("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: not_negative("group.initial.rebalance.delay.ms"),
            group_size_max: size("group.max.size"),
            offset_metadata_length_max: size("offset.metadata.max.bytes"),
            offsets_retention_ms: long("offsets.retention.minutes").saturating_mul(60_000),
            retention_check_interval_ms: not_negative("offsets.retention.check.interval.ms"),
            batch_bytes_max: usize::try_from(batch_bytes_max).unwrap_or(usize::MAX).min(OFFSETS_BATCH_BYTES_MAX),
            ..Self::default()
        }
    }
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
