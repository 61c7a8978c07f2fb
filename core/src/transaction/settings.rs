//! What the broker's configuration says about transactions.

use super::message::TransactionVersion;
use crate::config::BrokerConfig;
use crate::limits::TRANSACTION_BATCH_BYTES_MAX;

/// Settings of a transaction coordinator; the default has Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionSettings {
    /// Longest time that a producer may let a transaction be open (`transaction.max.timeout.ms`).
    pub timeout_ms_max: i32,
    /// Time between two looks for transactions that are open for too long
    /// (`transaction.abort.timed.out.transaction.cleanup.interval.ms`).
    pub timeout_check_ms: u64,
    /// Time after which a transactional id that nobody uses is forgotten (`transactional.id.expiration.ms`).
    pub expiration_ms: i64,
    /// Time between two looks for those (`transaction.remove.expired.transaction.cleanup.interval.ms`).
    pub expiration_check_ms: u64,
    /// Transactions that somebody else coordinates are allowed (`transaction.two.phase.commit.enable`).
    pub two_phase: bool,
    /// The finalized level of `transaction.version`.
    pub version: TransactionVersion,
    /// Bytes of one batch of `__transaction_state` (its `max.message.bytes`).
    pub batch_bytes_max: usize,
}

impl TransactionSettings {
    /// The settings of coordinators on a broker. `batch_bytes_max` is the `max.message.bytes` of `__transaction_state`.
    #[must_use]
    pub fn of(broker: &BrokerConfig, version: TransactionVersion, batch_bytes_max: u64) -> Self {
        let long = |name: &str| broker.value(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
        let not_negative = |name: &str| u64::try_from(long(name)).unwrap_or_default();
        Self {
            timeout_ms_max: i32::try_from(long("transaction.max.timeout.ms")).unwrap_or(i32::MAX),
            timeout_check_ms: not_negative("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            expiration_ms: long("transactional.id.expiration.ms"),
            expiration_check_ms: not_negative("transaction.remove.expired.transaction.cleanup.interval.ms"),
            two_phase: broker.value("transaction.two.phase.commit.enable").is_some_and(|value| value == "true"),
            version,
            batch_bytes_max: usize::try_from(batch_bytes_max).unwrap_or(usize::MAX).min(TRANSACTION_BATCH_BYTES_MAX),
        }
    }
}

impl Default for TransactionSettings {
    fn default() -> Self {
        Self {
            timeout_ms_max: 15 * 60 * 1_000,
            timeout_check_ms: 10_000,
            expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            expiration_check_ms: 60 * 60 * 1_000,
            two_phase: false,
            version: TransactionVersion::V2,
            batch_bytes_max: TRANSACTION_BATCH_BYTES_MAX,
        }
    }
}
