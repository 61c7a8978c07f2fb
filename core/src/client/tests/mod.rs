//! The client joined to a small broker in memory, under a virtual clock and with faults.

mod administration;
mod connections;
mod consuming;
mod fake_broker;
mod fake_group;
mod membership;
mod producing;
mod world;
