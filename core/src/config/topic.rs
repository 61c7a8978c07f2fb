//! The configuration of one topic: checks of what a client asks for, and the values that result.

use super::broker::BrokerConfig;
use super::definition::{Effect, find, nearest, normalize};
use super::topic_table::TOPIC;
use crate::log::{CompactionRules, RetentionRules};
use crate::record::{AppendRules, Codec, Compression, CompressionRule, TimestampType};
use std::collections::BTreeMap;
use std::fmt;

/// What was set for one topic, by name.
pub type TopicOverrides = BTreeMap<String, String>;

/// Why a topic configuration is refused; goes to the client with INVALID_CONFIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTopicConfig(String);

impl fmt::Display for InvalidTopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidTopicConfig {}

/// Checks one configuration that a client sets on a topic.
///
/// One that does not act yet is refused unless the value is Kafka's default, so that nobody relies on it by mistake.
///
/// # Errors
/// The name is unknown, the value does not fit, or the configuration does not act yet.
pub fn validate_topic_config(name: &str, value: &str) -> Result<(), InvalidTopicConfig> {
    let Some(definition) = find(TOPIC, name) else {
        let hint =
            nearest(TOPIC.iter().map(|d| d.name), name).map_or(String::new(), |n| format!("; did you mean {n}?"));
        return Err(InvalidTopicConfig(format!("Unknown topic config name: {name}{hint}")));
    };
    let value = definition.check(value).map_err(|expected| {
        InvalidTopicConfig(format!("Invalid value {value} for configuration {name}: must be {expected}"))
    })?;
    let at_default = definition.default.is_some_and(|default| normalize(definition, default) == value);
    if definition.effect == Effect::Acts || at_default {
        return Ok(());
    }
    let default = definition.default.unwrap_or("null");
    Err(InvalidTopicConfig(format!(
        "Configuration {name} does not act in this version of the broker; only its default {default} is accepted"
    )))
}

/// Checks what is set for a topic, each of which is good by itself, together and with what the broker's settings add.
///
/// # Errors
/// Two contradict each other.
pub fn validate_topic_configs(broker: &BrokerConfig, overrides: &TopicOverrides) -> Result<(), InvalidTopicConfig> {
    let config = TopicConfig::resolve(broker, overrides);
    let (least, most) = (config.compaction_lag_min_ms, config.compaction_lag_max_ms);
    if least > most {
        return Err(InvalidTopicConfig(format!(
            "Configuration min.compaction.lag.ms is {least}, more than max.compaction.lag.ms, which is {most}"
        )));
    }
    Ok(())
}

/// The values that hold for one topic: its overrides, else the broker's settings, else Kafka's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    // When a segment is full.
    /// Bytes at which a segment is full (`segment.bytes`, or `internal.segment.bytes`, which goes below its minimum).
    pub segment_bytes: u32,
    /// Milliseconds after which a segment is full (`segment.ms`).
    pub segment_ms: i64,
    /// At most this is taken off `segment_ms`, at random for each segment (`segment.jitter.ms`).
    pub segment_jitter_ms: i64,

    // Its indexes.
    /// Bytes appended between two index entries (`index.interval.bytes`).
    pub index_interval_bytes: u32,
    /// Bytes at which an index is full (`segment.index.bytes`).
    pub segment_index_bytes: u32,

    // What may be appended.
    /// Bytes of the largest batch, with the 12 bytes before its length ends (`max.message.bytes`).
    pub max_message_bytes: u32,
    /// Whose clock timestamps come from (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How far in the past a producer's timestamp may lie (`message.timestamp.before.max.ms`).
    pub timestamp_before_max_ms: i64,
    /// How far in the future a producer's timestamp may lie (`message.timestamp.after.max.ms`).
    pub timestamp_after_max_ms: i64,
    /// Codec that batches are stored with (`compression.type` and its level).
    pub compression: CompressionRule,
    /// Replicas in sync that acks=all needs (`min.insync.replicas`).
    pub min_insync_replicas: i32,

    // When an append is durable.
    /// Records after which the log is synced; 1 is before each acknowledgement (`flush.messages`).
    pub flush_messages: i64,
    /// Milliseconds after which what was appended is synced (`flush.ms`).
    pub flush_ms: i64,

    // What is deleted.
    /// Segments are deleted when the log is too large or old (`cleanup.policy`).
    pub cleanup_delete: bool,
    /// Only the last record of each key is kept (`cleanup.policy`).
    pub cleanup_compact: bool,
    /// Bytes that the log may have; −1 is no bound (`retention.bytes`).
    pub retention_bytes: i64,
    /// Milliseconds that records are kept; −1 is for ever (`retention.ms`).
    pub retention_ms: i64,
    /// Milliseconds between the renaming of a segment and its removal (`file.delete.delay.ms`).
    pub file_delete_delay_ms: u64,
    /// Share of a log that must be uncleaned before it is compacted (`min.cleanable.dirty.ratio`).
    pub dirty_ratio_min: f64,
    /// Milliseconds that a record is not compacted (`min.compaction.lag.ms`).
    pub compaction_lag_min_ms: i64,
    /// Milliseconds after which a record is (`max.compaction.lag.ms`).
    pub compaction_lag_max_ms: i64,
    /// Milliseconds that compaction keeps tombstones (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

impl TopicConfig {
    /// The values that hold for a topic with `overrides` on a broker with `broker`'s settings.
    ///
    /// An override that does not fit its definition, as another broker may have stored it, counts as absent.
    #[must_use]
    pub fn resolve(broker: &BrokerConfig, overrides: &TopicOverrides) -> Self {
        let text = |name: &str| effective(broker, overrides, name).unwrap_or_default();
        let long = |name: &str| text(name).parse::<i64>().unwrap_or_default();
        let int = |name: &str| i32::try_from(long(name)).unwrap_or_default();
        let bytes = |name: &str| u32::try_from(long(name)).unwrap_or_default();
        let cleanup = text("cleanup.policy");
        Self {
            segment_bytes: match bytes("internal.segment.bytes") {
                0 => bytes("segment.bytes"),
                internal => internal,
            },
            segment_ms: long("segment.ms"),
            segment_jitter_ms: long("segment.jitter.ms"),
            index_interval_bytes: bytes("index.interval.bytes"),
            segment_index_bytes: bytes("segment.index.bytes"),
            max_message_bytes: bytes("max.message.bytes"),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            compression: compression_rule(&text("compression.type"), int),
            min_insync_replicas: int("min.insync.replicas"),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            cleanup_delete: cleanup.split(',').any(|policy| policy == "delete"),
            cleanup_compact: cleanup.split(',').any(|policy| policy == "compact"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            file_delete_delay_ms: u64::try_from(long("file.delete.delay.ms")).unwrap_or(0),
            dirty_ratio_min: text("min.cleanable.dirty.ratio").parse().unwrap_or(1.0),
            compaction_lag_min_ms: long("min.compaction.lag.ms"),
            compaction_lag_max_ms: long("max.compaction.lag.ms"),
            delete_retention_ms: long("delete.retention.ms"),
        }
    }

    /// The values of a topic without overrides on a broker without settings.
    #[must_use]
    pub fn kafka_defaults() -> Self {
        Self::resolve(&BrokerConfig::default(), &TopicOverrides::new())
    }

    /// What decides about an append.
    #[must_use]
    pub fn append_rules(&self) -> AppendRules {
        AppendRules {
            max_message_bytes: self.max_message_bytes.into(),
            segment_bytes: self.segment_bytes.into(),
            timestamp_type: self.timestamp_type,
            timestamp_before_max_ms: self.timestamp_before_max_ms,
            timestamp_after_max_ms: self.timestamp_after_max_ms,
            compression: self.compression,
            compacted: self.cleanup_compact,
        }
    }

    /// Which segments need not be kept.
    #[must_use]
    pub fn retention_rules(&self) -> RetentionRules {
        RetentionRules {
            deletes: self.cleanup_delete,
            bytes_max: u64::try_from(self.retention_bytes).ok(),
            age_max_ms: Some(self.retention_ms).filter(|age_ms| *age_ms >= 0),
        }
    }

    /// How the log is compacted, if it is.
    #[must_use]
    pub fn compaction_rules(&self) -> Option<CompactionRules> {
        self.cleanup_compact.then_some(CompactionRules {
            dirty_ratio_min: self.dirty_ratio_min,
            lag_min_ms: self.compaction_lag_min_ms,
            lag_max_ms: self.compaction_lag_max_ms,
            delete_retention_ms: self.delete_retention_ms,
        })
    }

    /// Milliseconds that a segment spans at most: one that is appended to is not compacted.
    #[must_use]
    pub fn segment_span_ms(&self) -> i64 {
        if self.cleanup_compact { self.segment_ms.min(self.compaction_lag_max_ms) } else { self.segment_ms }
    }

    /// Every append is on disk before it is acknowledged or read.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.flush_messages == 1
    }
}

/// Codec by its name in `compression.type`, with the level that belongs to it.
fn compression_rule(name: &str, level: impl Fn(&str) -> i32) -> CompressionRule {
    let (codec, level) = match name {
        "uncompressed" => (Codec::None, None),
        "gzip" => (Codec::Gzip, Some(level("compression.gzip.level")).filter(|level| *level != -1)),
        "snappy" => (Codec::Snappy, None),
        "lz4" => (Codec::Lz4, Some(level("compression.lz4.level"))),
        "zstd" => (Codec::Zstd, Some(level("compression.zstd.level"))),
        _ => return CompressionRule::Producer,
    };
    CompressionRule::Topic(Compression { codec, level })
}

/// Text of the value that holds for a topic.
pub(super) fn effective(broker: &BrokerConfig, overrides: &TopicOverrides, name: &str) -> Option<String> {
    let definition = find(TOPIC, name)?;
    if let Some(value) = overrides.get(name).and_then(|text| definition.check(text).ok()) {
        return Some(value);
    }
    inherited(broker, definition.name).or_else(|| definition.default.map(str::to_owned))
}

/// Text of the value that a topic inherits from the broker's own settings, converted to the topic's unit.
fn inherited(broker: &BrokerConfig, name: &str) -> Option<String> {
    find(TOPIC, name)?
        .inherits
        .iter()
        .find_map(|synonym| broker.set(synonym).map(|value| in_milliseconds(synonym, value)))
}

/// A broker setting in the unit of the topic configuration that it supplies: hours and minutes become milliseconds.
fn in_milliseconds(synonym: &str, value: &str) -> String {
    let unit_ms = match synonym.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => return value.to_owned(),
    };
    match value.parse::<i64>() {
        // Kafka takes any negative retention for "for ever".
        Ok(n) if n < 0 => "-1".to_owned(),
        Ok(n) => n.saturating_mul(unit_ms).to_string(),
        Err(_) => value.to_owned(),
    }
}
