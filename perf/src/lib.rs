//! Load on any Kafka-compatible broker, and what it felt like.
//!
//! [`driver`] moves the bytes of the client in `corelane_core::client` over blocking sockets; the `corelane` command
//! uses it too, and [`reader`] with it. [`producer`], [`consumer`], [`end_to_end`] and [`groups`] are the loads that `corelane perf` puts on.
//! [`bare`] is what they can be put on to learn how much of a figure is theirs.

pub mod bare;
pub mod comparison;
pub mod consumer;
pub mod crew;
pub mod driver;
pub mod end_to_end;
pub mod groups;
pub mod hgrm;
pub mod host;
pub mod html;
mod outgoing;
pub mod payload;
pub mod producer;
pub mod reader;
pub mod report;
pub mod run_file;
pub mod slo;
