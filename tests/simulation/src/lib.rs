//! The world outside the broker, imitated: one seed is one course of events, to the last byte.
//!
//! [`sys::SimulatedSys`] is the second implementation of [`corelane_server::sys::Sys`], on a [`machine::Machine`] with
//! a [`disk`] that can lose power and a memory [`network`], under an [`executor`] with a virtual clock. So the broker's
//! own flows run here, can be cut short at each disk operation, and what the clients were told can be compared with
//! what is left. A failing seed is the bug report.

mod administrator;
pub mod case;
pub mod client;
pub mod disk;
pub mod executor;
pub mod machine;
pub mod mailbox;
mod member;
pub mod network;
pub mod plans;
mod producer;
pub mod promises;
pub mod random;
mod reading;
pub mod signal;
pub mod sys;
pub mod trace;

mod transactor;
pub mod workload;
