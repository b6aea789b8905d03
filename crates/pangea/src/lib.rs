//! The command line of the house.
//!
//! Results go to standard output, progress and errors to standard error.

pub mod cli;
pub mod exit;
pub mod house;
pub mod output;
pub mod progress;

mod human;
mod json;
mod table;
