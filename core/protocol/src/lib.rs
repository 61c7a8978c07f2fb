//! Kafka's wire format.
//!
//! Everything that the network or a disk hands to the broker is decoded here, by bounded readers that check every
//! length against what is left before anything is allocated.

pub mod wire;
