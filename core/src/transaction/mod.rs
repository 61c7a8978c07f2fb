//! Transaction coordinators: which producer may write for a transactional id, what its transaction has touched, and how it
//! ended (KIP-98, KIP-360, KIP-890).
//!
//! The shard that leads a partition of `__transaction_state` coordinates the transactional ids that map to it
//! ([`coordinator_partition`](crate::coordinator::coordinator_partition)). One [`TransactionCoordinator`] is one such
//! partition: what it must remember of an id is one record there, in Kafka's own format.
//!
//! The machine does no I/O. Requests, instants, the fate of appends and of markers go in; answers, appends and markers come
//! out, as [`Effect`]s in order. Nothing counts before its record is acknowledged: while one is on its way the id answers
//! CONCURRENT_TRANSACTIONS, as Kafka does, and what was decided is answered and told to partitions only afterwards.
//!
//! | in | when |
//! | --- | --- |
//! | [`TransactionLoader`], batch by batch, then [`finish`](TransactionLoader::finish) | the partition was opened, or this broker became its leader |
//! | [`handle`](TransactionCoordinator::handle) | a request came |
//! | [`on_append`](TransactionCoordinator::on_append) | the high watermark passed an append, or it failed |
//! | [`on_marked`](TransactionCoordinator::on_marked) | a partition has the end marker, or could not take it |
//! | [`on_time`](TransactionCoordinator::on_time) | [`next_deadline`](TransactionCoordinator::next_deadline) is over |
//! | [`resign`](TransactionCoordinator::resign) | the partition is led elsewhere, or its log is fenced |
//!
//! What a crash does to a transaction:
//!
//! | the log says | after a restart |
//! | --- | --- |
//! | nothing yet | the producer asks again, and gets an id |
//! | Ongoing | it goes on, or is aborted when its time is up |
//! | PrepareCommit, PrepareAbort | it is decided: markers are written, again where they were, and the end is recorded |
//! | CompleteCommit, CompleteAbort | it is over; the producer may begin another |

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation))]

mod claims;
mod coordinator;
mod load;
mod log_record;
mod message;
mod settings;
mod state;
#[cfg(test)]
mod tests;

pub use coordinator::TransactionCoordinator;
pub use load::{TransactionLoadError, TransactionLoadReport, TransactionLoader};
pub use message::{
    Answer, Effect, EndTxn, FreshIds, InitProducerId, ListFilter, Mark, Marked, ProducerIdAndEpoch, Request,
    TopicPartition, TransactionVersion,
};
pub use settings::TransactionSettings;
pub use state::TransactionState;

/// Name of the topic that holds what transaction coordinators must remember.
pub const TRANSACTION_TOPIC_NAME: &str = "__transaction_state";
