//! What the broker has to bear: bytes that no honest client sends, clients that do not behave, and every version that
//! it advertises.
//!
//! [`fuzz`] runs the [`targets`], plain functions over bytes, on samples and seeded mutations of them, and watches
//! what they allocate. [`everyday`] has what an honest client asks. [`world`] starts the broker, unchanged, in the simulation, where hostile clients are as
//! deterministic as honest ones.

pub mod allocation;
pub mod everyday;
pub mod fuzz;
pub mod requests;
pub mod targets;
pub mod world;
