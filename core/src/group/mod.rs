//! Group coordinators: who belongs to a group, who reads what, and how far each has come.
//!
//! The shard that leads a partition of `__consumer_offsets` coordinates the groups that map to it
//! ([`coordinator_partition`](crate::coordinator::coordinator_partition)). One [`GroupCoordinator`] is one such partition: everything it must remember is a record
//! there, in Kafka's own format, so that Kafka's tools read ours and we read theirs.
//!
//! The machine does no I/O. Requests, instants and the fate of appends go in; answers and appends come out, as
//! [`Effect`]s in order. An answer that promises durability leaves only after its append was acknowledged.
//!
//! | in | when |
//! | --- | --- |
//! | [`GroupLoader`], batch by batch, then [`finish`](GroupLoader::finish) | the partition was opened, or this broker became its leader |
//! | [`handle`](GroupCoordinator::handle) | a request came |
//! | [`on_append`](GroupCoordinator::on_append) | the high watermark passed an append, or it failed |
//! | [`on_time`](GroupCoordinator::on_time) | [`next_deadline`](GroupCoordinator::next_deadline) is over |
//! | [`on_end_marker`](GroupCoordinator::on_end_marker) | the end of a transaction was written to the partition |
//! | [`set_metadata`](GroupCoordinator::set_metadata) | there is another state of the metadata |
//! | [`on_topics_deleted`](GroupCoordinator::on_topics_deleted) | topics are gone |
//! | [`resign`](GroupCoordinator::resign) | the partition is led elsewhere, or its log is fenced |

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation))]

mod classic;
mod commit;
mod consumer;
mod coordinator;
mod load;
mod log_record;
mod message;
mod offsets;
mod removal;
mod settings;
mod turn;
mod versions;

pub use consumer::{Assignor, Part as ConsumerGroupPart};
pub use coordinator::GroupCoordinator;
pub use load::{GroupLoader, LoadError, LoadReport};
pub use log_record::{
    CommittedOffset, DecodedRecord, LogRecordError, OffsetKey, OtherKind, OtherPart, decode_log_record, group_record,
    group_tombstone, offset_record, offset_tombstone,
};
pub use message::{Answer, Effect, Request, RequestContext};
pub use settings::{ConsumerSettings, ConsumerTiming, GroupSettings, MigrationPolicy};
pub use versions::{offset_fetch_groups, offset_fetch_response};

/// Name of the topic that holds what coordinators must remember.
pub const OFFSETS_TOPIC_NAME: &str = "__consumer_offsets";

#[cfg(test)]
mod tests;
