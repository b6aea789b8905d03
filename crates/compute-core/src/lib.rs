//! The engine room: numbers into numbers.
//!
//! Holds parameters and examples by digest for as long as there is room, trains on them, evaluates
//! and predicts. It keeps nothing that could be lost and knows neither runs nor rounds.

pub mod app;
mod arrivals;
pub mod cache;
pub mod config;
pub mod engine;
mod memory;
pub mod metrics;
pub mod service;
pub mod steps;

pub use app::{ComputeCore, Wiring};
pub use config::Config;
