//! The study: jobs, rounds, aggregation.

pub mod datasets;
