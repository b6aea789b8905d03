//! What a service depends on, and whether it is there.
//!
//! Checks are made when somebody asks, all at once, and never last longer than [`LIMIT`]: a
//! dependency that hangs does not hang whoever asks about it. Their answer stands for a while, so
//! that many who ask cost no more than one.

mod calls;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub use calls::{answers, tell_callers};

/// How long one check may take. Probes give up after three to five seconds.
const LIMIT: Duration = Duration::from_secs(1);

/// How long an answer stands.
const FRESH: Duration = Duration::from_secs(1);

/// A service's dependencies. Clones share them.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    checks: Vec<Check>,
    draining: CancellationToken,
    limit: Duration,
    fresh: Duration,
    // Held while the checks are made, so that all others wait for their answer.
    last: Mutex<Option<(Instant, Arc<[Found]>)>>,
}

/// A way to find out whether a dependency is there.
pub struct Check {
    name: &'static str,
    is_needed: bool,
    probe: Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What was looked for, such as `store`.
    pub name: &'static str,
    /// Whether the service can do nothing without it.
    pub is_needed: bool,
    /// Whether it is there.
    pub is_there: bool,
}

impl Check {
    /// For something without which the service can do nothing.
    pub fn needed<W, E>(name: &'static str, probe: impl Fn() -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        let probe = move || {
            let asked = probe();
            async move { asked.await.map_err(|error| error.to_string()) }.boxed()
        };
        Self {
            name,
            is_needed: true,
            probe: Box::new(probe),
        }
    }

    /// For something without which the service can do part of its work.
    pub fn helpful<W, E>(name: &'static str, probe: impl Fn() -> W + Send + Sync + 'static) -> Self
    where
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        Self {
            is_needed: false,
            ..Self::needed(name, probe)
        }
    }

    async fn make(&self, limit: Duration) -> Found {
        let outcome = timeout(limit, (self.probe)()).await;
        let outcome = outcome.unwrap_or_else(|_late| Err("no answer in time".to_owned()));
        if let Err(error) = &outcome {
            debug!(check = self.name, error, "a dependency is not there");
        }
        Found {
            name: self.name,
            is_needed: self.is_needed,
            is_there: outcome.is_ok(),
        }
    }
}

impl Health {
    /// Of a service with these dependencies, which takes no new work once it is `draining`.
    #[must_use]
    pub fn new(checks: Vec<Check>, draining: CancellationToken) -> Self {
        Self::timed(checks, draining, LIMIT, FRESH)
    }

    fn timed(
        checks: Vec<Check>,
        draining: CancellationToken,
        limit: Duration,
        fresh: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            checks,
            draining,
            limit,
            fresh,
            last: Mutex::default(),
        }))
    }

    /// How the checks go, in the order in which they were given; at most a second ago.
    pub async fn look(&self) -> Arc<[Found]> {
        let mut last = self.0.last.lock().await;
        if let Some((at, found)) = &*last
            && at.elapsed() < self.0.fresh
        {
            return Arc::clone(found);
        }
        let checks = self.0.checks.iter();
        let found = join_all(checks.map(|check| check.make(self.0.limit))).await;
        let found: Arc<[Found]> = found.into();
        *last = Some((Instant::now(), Arc::clone(&found)));
        found
    }

    /// Whether the service takes no new work any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}
