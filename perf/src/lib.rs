//! Load on any Kafka-compatible broker, and what it felt like.
//!
//! [`driver`] moves the bytes of the client in `corelane_core::client` over blocking sockets; the `corelane` command
//! uses it too. [`producer`] is the load that `corelane perf producer` puts on.

pub mod driver;
pub mod producer;
