//! What shards say to each other.

use crate::sys::Sys;

/// A message from one shard to another.
pub enum Mail<S: Sys> {
    /// A connection for the receiving shard to adopt.
    Adopt(S::Socket),
}
