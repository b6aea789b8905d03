//! The library for users of the orchestrator: data sets in, jobs, events, models out.
//!
//! A [`Client`] knows one address and answers in the messages of [`v1`]. Files are streamed both
//! ways and never held whole; a watch outlives broken connections.

pub mod failure;
pub mod job_file;

mod datasets;
mod download;
mod jobs;
mod models;
mod storage;
mod upload;
mod watch;
mod workers;

#[cfg(test)]
mod server;

use std::sync::Arc;
use std::time::Duration;

use clock::{Clock, SystemClock};
use proto::transport;
use proto::transport::Outgoing;
use seams::Seams;

pub use datasets::{Content, ImportOptions};
pub use failure::ClientError;
pub use federation::job::{JobDraft, JobSpec, PartitionDraft, SchemeDraft};
pub use federation::run::RunState;
pub use federation::time::Timestamp;
pub use jobs::{Submitted, random_key};
pub use models::{Generation, InvalidModelRef, ModelRef};
pub use proto::transport::{Address, InvalidAddress};
pub use proto::v1;
pub use watch::Patience;

/// Items asked for in one page of a list; the server may give fewer.
const PAGE_SIZE: u32 = 500;

/// Speaks to one orchestrator. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    address: Address,
    channel: Outgoing,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// A client of the orchestrator at `address`. Connects when first used, and again whenever
    /// the connection is lost.
    ///
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn connect(address: &Address) -> Self {
        Self::connect_within(address, transport::IDLE_TIMEOUT)
    }

    /// A client that takes a connection for lost which is silent for `idle_timeout`.
    ///
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn connect_within(address: &Address, idle_timeout: Duration) -> Self {
        Self {
            address: address.clone(),
            channel: transport::channel_within(address, idle_timeout),
            clock: Arc::new(SystemClock::default()),
        }
    }

    /// The same client, on whose waits `clock` decides.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same client, whose calls pass through `seams`.
    #[must_use]
    pub fn through(self, seams: Seams) -> Self {
        Self {
            channel: self.channel.through(seams),
            ..self
        }
    }

    /// Where the orchestrator is.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}
