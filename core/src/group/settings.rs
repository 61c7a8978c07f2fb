//! What the broker's configuration says about groups and their offsets.

use super::consumer::Assignor;
use crate::config::BrokerConfig;
use crate::limits::{GROUP_STATE_BYTES_MAX, OFFSETS_BATCH_BYTES_MAX};
use crate::metadata::{ConfigResource, ConfigResourceKind, MetadataImage};

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
    /// Those of groups of the consumer protocol.
    pub consumer: ConsumerSettings,
}

/// Settings of groups of the consumer protocol (KIP-848); the default has Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// What a group has that sets nothing of its own.
    pub timing: ConsumerTiming,
    /// Least that a group may set.
    pub timing_min: ConsumerTiming,
    /// Most that a group may set.
    pub timing_max: ConsumerTiming,
    /// Members of one group (`group.consumer.max.size`).
    pub group_size_max: usize,
    /// The assignors that members may ask for; the first one is the default (`group.consumer.assignors`).
    pub assignors: Vec<Assignor>,
    /// Which way a group may change its protocol while it is at work (`group.consumer.migration.policy`).
    pub migration: MigrationPolicy,
}

/// Which way a group may change its protocol while it is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// From the classic to the consumer protocol.
    pub upgrades: bool,
    /// Back.
    pub downgrades: bool,
}

impl MigrationPolicy {
    /// By its name, in any case.
    fn of_name(name: &str) -> Self {
        let is = |policy: &str| name.trim().eq_ignore_ascii_case(policy);
        let both = is("BIDIRECTIONAL");
        Self { upgrades: both || is("UPGRADE"), downgrades: both || is("DOWNGRADE") }
    }
}

/// Times of a group of the consumer protocol, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTiming {
    /// After which a member that is not heard of is out (`consumer.session.timeout.ms`).
    pub session_timeout_ms: u64,
    /// Between two heartbeats (`consumer.heartbeat.interval.ms`).
    pub heartbeat_interval_ms: i32,
    /// Least time between two assignments (`consumer.assignment.interval.ms`).
    pub assignment_interval_ms: i64,
}

impl ConsumerSettings {
    /// The times of a group: those that it sets, within what the broker allows.
    #[must_use]
    pub fn of_group(&self, metadata: &MetadataImage, group_id: &str) -> ConsumerTiming {
        let resource = ConfigResource { kind: ConfigResourceKind::GROUP, name: group_id.to_owned() };
        let Some(set) = metadata.config(&resource) else { return self.timing };
        fn pick<T: std::str::FromStr + Ord>(set: Option<&String>, (or, min, max): (T, T, T)) -> T {
            set.and_then(|text| text.trim().parse().ok()).map_or(or, |value: T| value.max(min).min(max))
        }
        let Self { timing, timing_min: min, timing_max: max, .. } = self;
        ConsumerTiming {
            session_timeout_ms: pick(
                set.get("consumer.session.timeout.ms"),
                (timing.session_timeout_ms, min.session_timeout_ms, max.session_timeout_ms),
            ),
            heartbeat_interval_ms: pick(
                set.get("consumer.heartbeat.interval.ms"),
                (timing.heartbeat_interval_ms, min.heartbeat_interval_ms, max.heartbeat_interval_ms),
            ),
            assignment_interval_ms: pick(
                set.get("consumer.assignment.interval.ms"),
                (timing.assignment_interval_ms, min.assignment_interval_ms, max.assignment_interval_ms),
            ),
        }
    }

    pub(super) fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or_default()
    }
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        let timing = |session_timeout_ms, heartbeat_interval_ms, assignment_interval_ms| ConsumerTiming {
            session_timeout_ms,
            heartbeat_interval_ms,
            assignment_interval_ms,
        };
        Self {
            timing: timing(45_000, 5_000, 1_000),
            timing_min: timing(45_000, 5_000, 0),
            timing_max: timing(60_000, 15_000, 15_000),
            group_size_max: usize::MAX,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: MigrationPolicy { upgrades: true, downgrades: true },
        }
    }
}

impl GroupSettings {
    /// The settings of coordinators on a broker. `batch_bytes_max` is the `max.message.bytes` of `__consumer_offsets`.
    #[must_use]
    pub fn of(broker: &BrokerConfig, batch_bytes_max: u64) -> Self {
        let long = |name: &str| broker.value(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
        let int = |name: &str| i32::try_from(long(name)).unwrap_or(i32::MAX);
        let not_negative = |name: &str| u64::try_from(long(name)).unwrap_or_default();
        let size = |name: &str| usize::try_from(long(name)).unwrap_or_default();
        let timing = |bound: &str| ConsumerTiming {
            session_timeout_ms: not_negative(&format!("group.consumer.{bound}session.timeout.ms")),
            heartbeat_interval_ms: int(&format!("group.consumer.{bound}heartbeat.interval.ms")),
            assignment_interval_ms: long(&format!("group.consumer.{bound}assignment.interval.ms")),
        };
        let assignors = broker.value("group.consumer.assignors").unwrap_or_default();
        let assignors = assignors.split(',').filter_map(|name| Assignor::of_name(name.trim())).collect();
        Self {
            session_timeout_ms_min: int("group.min.session.timeout.ms"),
            session_timeout_ms_max: int("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: not_negative("group.initial.rebalance.delay.ms"),
            group_size_max: size("group.max.size"),
            offset_metadata_length_max: size("offset.metadata.max.bytes"),
            offsets_retention_ms: long("offsets.retention.minutes").saturating_mul(60_000),
            retention_check_interval_ms: not_negative("offsets.retention.check.interval.ms"),
            consumer: ConsumerSettings {
                timing: timing(""),
                timing_min: timing("min."),
                timing_max: timing("max."),
                group_size_max: size("group.consumer.max.size"),
                assignors,
                migration: MigrationPolicy::of_name(
                    broker.value("group.consumer.migration.policy").unwrap_or_default(),
                ),
            },
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
            consumer: ConsumerSettings::default(),
        }
    }
}
