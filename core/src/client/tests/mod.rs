//! The client joined to a small broker in memory, under a virtual clock and with faults.

mod connections;
mod consuming;
mod fake_broker;
mod producing;
mod world;
