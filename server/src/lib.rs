//! What the broker does: performs, on shards, sockets and files, what `corelane_core` decides.

mod answers;
mod api;
mod budget;
mod care;
mod catalog;
mod connection;
mod controller;
mod coordination;
pub mod hop;
mod local;
pub mod logging;
mod mail;
pub mod node;
mod placement;
pub mod process;
mod remedy;
pub mod settings;
mod shard;
mod snapshots;
mod stages;
mod storage;
pub mod sys;
mod topology;
mod view;

pub use api::SERVED;
