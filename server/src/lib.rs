//! What the broker does: performs, on shards, sockets and files, what `corelane_core` decides.

pub mod hop;
pub mod sys;
