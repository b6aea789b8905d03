//! The study: jobs, rounds, aggregation.
