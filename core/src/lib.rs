//! What the broker *means*: formats, arithmetic and state machines.
//!
//! Pure and deterministic. Nothing here does I/O, reads a clock, starts a thread or draws a random number; time and
//! random bits come in as arguments. Dependencies point one way: the server performs what this crate decides.

pub mod base;
pub mod client;
pub mod config;
pub mod coordinator;
pub mod group;
pub mod limits;
pub mod log;
pub mod metadata;
pub mod partition;
pub mod pattern;
pub mod record;
pub use corelane_ring as ring;
pub mod session;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
pub mod transaction;

pub use corelane_protocol as protocol;
