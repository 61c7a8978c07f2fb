//! The log of a partition as arithmetic: file names and formats, index entries, when to roll, what a producer may
//! append, what a restart may trust.
//!
//! Files, formats and names are Apache Kafka's, so that either can start on the other's directory. Nothing here
//! touches a file; the server reads and writes what these functions say.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::cast_possible_truncation))]

pub mod aborted;
pub mod blocks;
pub mod checkpoint;
pub mod clean_shutdown;
pub mod compaction;
pub mod epochs;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzz;
pub mod index;
pub mod meta_properties;
pub mod names;
pub mod partition_metadata;
pub mod producers;
pub mod read_plan;
pub mod recovery;
pub mod retention;
pub mod roll;
pub mod segment_offsets;

pub use blocks::{Block, BlockTail};
pub use checkpoint::{OffsetCheckpoint, TextError};
pub use clean_shutdown::CleanShutdown;
pub use compaction::CompactionRules;
pub use epochs::{EpochEntry, LeaderEpochs};
pub use index::{IndexBuilder, IndexOptions, OffsetEntry, TimeEntry};
pub use meta_properties::MetaProperties;
pub use names::{PartitionDirectory, SegmentFile, SegmentFileKind};
pub use partition_metadata::PartitionMetadata;
pub use producers::{ProducerStates, ProducerVerdict};
pub use recovery::{LogPlan, PreviousRun, SegmentFacts, SegmentPlan, SegmentScan};
pub use retention::{RetainedSegment, RetentionRules};
pub use roll::{RollReason, RollRules};
