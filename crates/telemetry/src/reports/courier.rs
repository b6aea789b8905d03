//! Carries events away without ever holding up who hands them over.
//!
//! The crate's own transport has no time limit for a request, waits without one for a place in
//! its queue when asked to empty it, and again for its thread when dropped. With an address that
//! takes connections and says nothing, the first panic would stop its thread for good.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sentry::transports::{ReqwestHttpTransport, ReqwestHttpTransportOptions};
use sentry::{Envelope, Transport, TransportFactory, TransportOptions};

/// For one event. Longer than a slow network takes, short enough to try the next one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends couriers out, all with one HTTP client.
pub(super) struct Couriers(reqwest::Client);

impl Couriers {
    pub(super) fn hire() -> reqwest::Result<Self> {
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        Ok(Self(client.build()?))
    }
}

impl TransportFactory for Couriers {
    fn create_transport_with_options(&self, options: TransportOptions) -> Arc<dyn Transport> {
        let options = ReqwestHttpTransportOptions::from(options).with_client(self.0.clone());
        Arc::new(Courier {
            carries: Some(Arc::new(options.build())),
            emptying: Arc::default(),
        })
    }
}

struct Courier {
    /// Only taken out when dropped.
    carries: Option<Arc<ReqwestHttpTransport>>,
    emptying: Arc<Emptying>,
}

/// Whether a thread waits for the queue to be empty, and how that ended.
#[derive(Default)]
struct Emptying {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_under_way: bool,
    was_emptied: bool,
}

impl Transport for Courier {
    fn send_envelope(&self, envelope: Envelope) {
        if let Some(carries) = &self.carries {
            carries.send_envelope(envelope);
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let Some(carries) = &self.carries else {
            return true;
        };
        let emptying = &self.emptying;
        let lock = || {
            emptying
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        // One thread waits for all, so that no number of panics makes more of them.
        if !std::mem::replace(&mut lock().is_under_way, true) {
            let (carries, emptying) = (Arc::clone(carries), Arc::clone(emptying));
            apart("sentry-flush", move || {
                // Of the transport: what the crate makes of an `Arc` of one says yes at once.
                let was_emptied = carries.as_ref().flush(timeout);
                drop(carries);
                emptying.end(was_emptied);
            });
        }
        let wait = emptying
            .changed
            .wait_timeout_while(lock(), timeout, |state| state.is_under_way);
        let (state, wait) = wait.unwrap_or_else(PoisonError::into_inner);
        !wait.timed_out() && state.was_emptied
    }
}

impl Emptying {
    fn end(&self, was_emptied: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_under_way = false;
        state.was_emptied = was_emptied;
        self.changed.notify_all();
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        let carries = self.carries.take();
        apart("sentry-end", move || drop(carries));
    }
}

/// Does `work` on a thread of its own. Without threads to be had it is not done at all: it would
/// hold up the caller.
pub(super) fn apart(name: &str, work: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .ok();
}
