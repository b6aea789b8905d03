//! Error events, for a service that speaks Sentry's protocol: what went wrong, where in a trace,
//! and what was said before; panics too.
//!
//! Of other events only the last few are known, and go along as breadcrumbs. Nothing is sent that
//! names a secret; nothing that names a host unless that is allowed; no spans.

mod allowance;
mod courier;
mod desk;
mod scrub;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use sentry::integrations::backtrace::ProcessStacktraceIntegration;
use sentry::integrations::contexts::ContextIntegration;
use sentry::integrations::panic::PanicIntegration;
use sentry::integrations::tracing::{BreadcrumbLayer, ErrorLayer};
use sentry::types::{Dsn, ParseDsnError};
use sentry::{Client, ClientOptions, Hub};
use thiserror::Error;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::logs::{is_ours, is_sending_thread};
use allowance::Allowance;
use courier::{Couriers, apart};
use desk::Desk;

/// How long a panic waits for its event to be sent, before the thread goes on.
const PANIC_WAITS: Duration = Duration::from_secs(2);

/// Who is told of errors, and what they may know.
#[derive(Clone)]
pub struct Errors {
    /// Where to: `https://KEY@HOST/PROJECT`.
    pub dsn: String,
    /// Whether events may name the host.
    pub send_default_pii: bool,
    /// Such as `production`.
    pub environment: Option<String>,
    /// Which version of the program this is.
    pub release: String,
    /// Who went wrong where no piece of work says so.
    pub service: &'static str,
    /// Texts that never leave.
    pub secrets: Vec<String>,
}

/// Why nobody is told of errors.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is not one. It may hold a key, so the message does not repeat it.
    #[error("the Sentry DSN cannot be read: {0}; must be like https://KEY@HOST/PROJECT")]
    Dsn(#[from] ParseDsnError),
    /// No connection can be made from this host.
    #[error("no HTTPS client for Sentry")]
    Http(#[from] reqwest::Error),
}

/// Errors are told as long as this lives.
pub struct Guard {
    /// Only taken out at the end.
    client: Option<Arc<Client>>,
}

/// Tells of errors from now on, and of every panic of this process.
///
/// To be called on a thread that lives as long as the process, before others log anything.
///
/// # Errors
///
/// [`StartError`] when the DSN cannot be read or no HTTPS client can be made.
pub fn start(errors: Errors) -> Result<Guard, StartError> {
    let dsn: Dsn = errors.dsn.parse()?;
    let couriers = Couriers::hire()?;
    let desk = Arc::new(Desk::new(
        errors.service,
        errors.send_default_pii,
        &errors.secrets,
    ));
    let trail = Arc::clone(&desk);
    let mut options = ClientOptions::new()
        .release(errors.release)
        .send_default_pii(errors.send_default_pii)
        .default_integrations(false)
        .add_integration(ContextIntegration::new())
        .add_integration(PanicIntegration::new())
        .add_integration(ProcessStacktraceIntegration)
        .before_breadcrumb(move |crumb| trail.note(crumb))
        .before_send(move |event| Some(desk.finish(event)))
        .transport(couriers)
        .shutdown_timeout(PANIC_WAITS);
    options.dsn = Some(dsn);
    options.environment = errors.environment.map(Cow::Owned);
    let client = Arc::new(Client::with_options(options));
    // Each thread takes its client from the main hub when it first has something to tell.
    Hub::main().bind_client(Some(Arc::clone(&client)));
    Hub::current().bind_client(Some(Arc::clone(&client)));
    Ok(Guard {
        client: Some(client),
    })
}

impl Guard {
    /// What listens to events: errors are told, warnings and information remembered.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let worth_it = FilterFn::new(|about| {
            about.is_event()
                && (*about.level() <= Level::WARN
                    || (*about.level() == Level::INFO && is_ours(about)))
        });
        let reporter = Reporter {
            errors: ErrorLayer::new(),
            breadcrumbs: BreadcrumbLayer::new(),
            allowance: Allowance::default(),
        };
        let worth_it = worth_it.with_max_level_hint(LevelFilter::INFO);
        reporter.with_filter(worth_it).boxed()
    }

    /// Sends what waits, for at most as long as `patience`; whether that was all. Nothing is told
    /// after this.
    #[must_use]
    pub fn close(mut self, patience: Duration) -> bool {
        self.end(patience)
    }

    fn end(&mut self, patience: Duration) -> bool {
        let Some(client) = self.client.take() else {
            return true;
        };
        let (done, wait) = sync_channel(1);
        // The crate first waits for panics that are being sent, with their patience.
        apart("sentry-close", move || {
            // Nobody waits any more if this took too long.
            done.send(client.close(Some(patience))).ok();
        });
        wait.recv_timeout(patience).unwrap_or(false)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end(PANIC_WAITS);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl fmt::Debug for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errors")
            .field("service", &self.service)
            .field("release", &self.release)
            .field("environment", &self.environment)
            .field("send_default_pii", &self.send_default_pii)
            .finish_non_exhaustive()
    }
}

struct Reporter {
    errors: ErrorLayer,
    breadcrumbs: BreadcrumbLayer,
    allowance: Allowance,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Reporter {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // An error in sending is no news for whoever it could not be sent to.
        if is_sending_thread() {
            return;
        }
        if *event.metadata().level() == Level::ERROR && self.allowance.one_more() {
            self.errors.on_event(event, context);
        } else {
            self.breadcrumbs.on_event(event, context);
        }
    }
}
