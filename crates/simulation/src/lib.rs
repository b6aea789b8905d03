//! The house in one thread: the production services, their users, faults by a seed, and time that
//! passes only when everybody waits for it.
//!
//! Every process is an event loop of its own that is driven by hand, one after the other, until all
//! of them rest. Then one call that waits at a seam is let go, the seed decides which; when none
//! waits, the clock goes on to the next moment that somebody sleeps for. So an hour of timeouts takes
//! a second, two simulations with the same seed are the same call for call, and a defect that one seed
//! finds is found again by that seed. A process is killed by dropping its event loop.
//!
//! After each commit of the run store the [invariants](mod@invariants) are looked at.

mod chance;
mod faults;
mod faulty_queue;
mod faulty_store;
mod gate;
mod ground;
mod host;
pub mod invariants;
mod log;
mod process;
mod services;
mod user;
mod world;

use std::fmt;

pub use faults::Faults;
pub use faulty_queue::{FaultyQueue, QueueFaults};
pub use faulty_store::{FaultyStore, StoreFaults};
pub use ground::{DATASET, Ground};
pub use world::{Ending, Scenario, simulate};

/// Something that must not happen did, or what must happen did not.
#[derive(Debug)]
pub struct Broken {
    /// What.
    pub what: String,
}

impl Broken {
    fn because(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
        }
    }

    fn start(error: impl fmt::Display) -> Self {
        Self::because(format_args!("a simulation cannot begin: {error}"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Broken {}
