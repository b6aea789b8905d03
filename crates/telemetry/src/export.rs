//! What leaves the process: spans and log lines, in batches, by a thread of their own.

mod outbox;

pub use outbox::Outbox;
