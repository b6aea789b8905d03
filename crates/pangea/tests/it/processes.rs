//! The house as separate processes: the same models, whoever dies; answers, refusals, endings.
//!
//! The binaries must be there: `cargo build --workspace --bins`, which `make test` does first.

mod backends;
mod backends_away;
mod calls;
mod clock_jumps;
mod disk;
pub(crate) mod doomed;
mod endings;
mod endpoints;
mod every_call;
pub(crate) mod fleet;
mod full_disk;
mod kills;
mod linked;
mod memory;
mod network;
mod outages;
mod power;
mod refusals;
mod relay;
mod same;
pub(crate) mod service;
mod supervised;
mod training;

pub(crate) use kills::long_form;
