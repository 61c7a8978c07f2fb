//! Load on any Kafka-compatible broker, and what it felt like.
//!
//! [`driver`] moves the bytes of the client in `corelane_core::client` over blocking sockets; the `corelane` command
//! uses it too. [`producer`] and [`groups`] are the loads that `corelane perf` puts on.

pub mod driver;
pub mod groups;
pub mod producer;
