//! What is set for the care of all logs at once: how often it is looked what can go, and what cleaning may take.

use super::broker::BrokerConfig;

/// Care of logs, as the broker's settings have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogCare {
    /// Milliseconds after a start before the first look (`log.initial.task.delay.ms`).
    pub initial_delay_ms: u64,
    /// Milliseconds between looks for segments that are too old, or too many (`log.retention.check.interval.ms`).
    pub retention_interval_ms: u64,
    /// Logs are cleaned at all (`log.cleaner.enable`).
    pub cleans: bool,
    /// Milliseconds between looks for logs to clean, if there was none (`log.cleaner.backoff.ms`).
    pub cleaner_backoff_ms: u64,
    /// Bytes of memory for keys, of all shards together (`log.cleaner.dedupe.buffer.size`).
    pub key_bytes: usize,
    /// Share of that which is used (`log.cleaner.io.buffer.load.factor`).
    pub key_load: f64,
    /// Bytes a second that may be read and written for it (`log.cleaner.io.max.bytes.per.second`).
    pub bytes_per_second: f64,
}

impl BrokerConfig {
    /// How logs are cared for, by the settings of now.
    #[must_use]
    pub fn log_care(&self) -> LogCare {
        let text = |name| self.value(name).unwrap_or_default();
        let ms = |name| text(name).parse().unwrap_or(0);
        let share = |name| text(name).parse().unwrap_or(f64::MAX);
        LogCare {
            initial_delay_ms: ms("log.initial.task.delay.ms"),
            retention_interval_ms: ms("log.retention.check.interval.ms").max(1),
            cleans: text("log.cleaner.enable") == "true",
            cleaner_backoff_ms: ms("log.cleaner.backoff.ms"),
            key_bytes: text("log.cleaner.dedupe.buffer.size").parse().unwrap_or(0),
            key_load: share("log.cleaner.io.buffer.load.factor"),
            bytes_per_second: share("log.cleaner.io.max.bytes.per.second"),
        }
    }
}
