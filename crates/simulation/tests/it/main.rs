//! The simulation, and the parts of it that fail.

mod contracts;
mod patient;
mod seeds;
