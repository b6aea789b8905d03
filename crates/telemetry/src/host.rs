//! One process: what the services in it share of telemetry, and how that begins and ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::Causes;
use crate::config::LogConfig;
use crate::config::environment::Environment;
use crate::export::{ExportMetrics, Exporter, Resource};
use crate::logs::{InstallError, Logs, Output};
use crate::metrics::{BadInput, Error, IntCounter, Registry, VERSION, process, runtime};
use crate::operations::MetricsEndpoint;
use crate::reports::{self, Errors};
use crate::service::Telemetry;
use crate::trace::Tracer;

/// How long what waits may take to leave when the process ends. A supervisor's patience is longer,
/// and a person's not much.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who lives in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Household {
    /// One service, which may be renamed from outside and may have a port for its metrics.
    Alone,
    /// Several services, each under its own name: the host's, and these.
    Shared(&'static [&'static str]),
}

/// A process whose telemetry is on. It wants to be [ended](Self::end), or else what waits to be
/// sent is lost.
#[derive(Debug)]
pub struct Host {
    environment: Environment,
    household: Household,
    registry: Registry,
    exporter: Option<Exporter>,
    lines_lost: IntCounter,
    errors: Option<reports::Guard>,
    // What was wrong with what we were given, until there is a log to tell it.
    untold: Vec<(BadInput, String)>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Host {
    /// Begins to count and to send, for `service` and for those that come as its
    /// [guests](Self::guest). What the environment says wrongly is left out, counted, and told
    /// once there is a [log](Self::write_logs).
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// What Prometheus says to a name that it does not take.
    pub fn begin(
        service: &'static str,
        household: Household,
        environment: Environment,
    ) -> Result<Self, Error> {
        let registry = Registry::new(service)?;
        process::register(&registry)?;
        let probe = runtime::watch(&registry, &Handle::current())?;
        let export_metrics = ExportMetrics::register(&registry)?;
        let problems = environment.problems.iter();
        let mut host = Self {
            lines_lost: export_metrics.lines_lost.clone(),
            untold: problems
                .map(|wrong| (wrong.kind(), wrong.to_string()))
                .collect(),
            environment,
            household,
            registry,
            exporter: None,
            errors: None,
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        host.start_exporter(export_metrics);
        host.start_errors(service);
        for (kind, _) in &host.untold {
            host.registry.count_bad(*kind);
        }
        let closing = host.closing.clone();
        host.tasks.spawn(async move {
            tokio::select! {
                () = probe => {}
                () = closing.cancelled() => {}
            }
        });
        Ok(host)
    }

    fn start_exporter(&mut self, metrics: ExportMetrics) {
        let Some(otlp) = &self.environment.otlp else {
            return;
        };
        let alone = self.household == Household::Alone;
        let resource = Resource {
            service_name: self.environment.service_name.clone().filter(|_| alone),
            attributes: self.environment.resource.clone(),
        };
        match Exporter::start(otlp, resource, metrics) {
            Ok(exporter) => self.exporter = Some(exporter),
            Err(error) => self.untold.push((BadInput::Endpoint, error.to_string())),
        }
    }

    fn start_errors(&mut self, service: &'static str) {
        let Some(sentry) = &self.environment.sentry else {
            return;
        };
        let started = reports::start(Errors {
            dsn: sentry.dsn.clone(),
            send_default_pii: sentry.send_default_pii,
            environment: sentry.environment.clone(),
            release: format!("{service}@{VERSION}"),
            service,
            secrets: self.environment.secrets.clone(),
        });
        match started {
            Ok(guard) => self.errors = Some(guard),
            Err(error) => self.untold.push((BadInput::Dsn, error.to_string())),
        }
    }

    /// Writes what happens in this process to `output`, and says where else it goes.
    ///
    /// # Errors
    ///
    /// [`InstallError`] names what is wrong with the filter or the directory.
    pub fn write_logs(&mut self, log: &LogConfig, output: Output) -> Result<(), InstallError> {
        let exported = self.exporter.as_ref().filter(|_| self.environment.logs);
        let filter = self.environment.filter.as_deref().unwrap_or(&log.filter);
        let to = |dir| Logs {
            service: self.registry.service(),
            guests: match self.household {
                Household::Alone => &[],
                Household::Shared(guests) => guests,
            },
            output,
            format: log.format,
            filter,
            dir,
            outbox: exported.map(|exporter| Arc::clone(&exporter.logs)),
            errors: self.errors.as_ref(),
            lost: Some(self.lines_lost.clone()),
        };
        let installed = to(self.environment.log_dir.as_deref()).install();
        if let Err(problem @ InstallError::Dir { .. }) = installed {
            to(None).install()?;
            self.registry.count_bad(BadInput::Setting);
            self.untold.push((BadInput::Setting, problem.to_string()));
        } else {
            installed?;
        }
        for (_, problem) in self.untold.drain(..) {
            warn!(problem, "a setting of telemetry is left out");
        }
        let otlp = self
            .environment
            .otlp
            .as_ref()
            .filter(|_| self.exporter.is_some());
        info!(
            otlp = otlp.map_or("off", |otlp| otlp.endpoint.as_str()),
            traces = self.environment.traces && otlp.is_some(),
            logs = self.environment.logs && otlp.is_some(),
            prometheus = self.environment.prometheus_enabled,
            sentry = self.errors.is_some(),
            datadog = through_collector(self.environment.datadog, otlp.is_some()),
            new_relic = through_collector(self.environment.new_relic, otlp.is_some()),
            "telemetry begins"
        );
        Ok(())
    }

    /// The telemetry of the service whose process this is.
    #[must_use]
    pub fn telemetry(&self) -> Telemetry {
        self.serving(self.registry.clone())
    }

    /// The telemetry of a service that shares the process, with numbers of its own.
    ///
    /// # Errors
    ///
    /// What Prometheus says to a name that it does not take.
    pub fn guest(&self, service: &'static str) -> Result<Telemetry, Error> {
        Ok(self.serving(Registry::new(service)?))
    }

    fn serving(&self, registry: Registry) -> Telemetry {
        let exported = self.exporter.as_ref().filter(|_| self.environment.traces);
        let spans = exported.map(|exporter| Arc::clone(&exporter.spans));
        let alone = self.household == Household::Alone;
        Telemetry {
            tracer: Tracer::new(registry.service(), self.environment.sampler, spans),
            metrics_endpoint: match self.environment.prometheus_port.filter(|_| alone) {
                _ if !self.environment.prometheus_enabled => MetricsEndpoint::Off,
                Some(port) => MetricsEndpoint::Port(port),
                None => MetricsEndpoint::Here,
            },
            registry,
        }
    }

    /// Does the work of the process, says so if it fails, and ends.
    ///
    /// # Errors
    ///
    /// Those of the work.
    pub async fn around<T>(
        self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let done = work.await;
        if let Err(error) = &done {
            let service = self.registry.service();
            error!(error = %Causes(error.as_ref()), "{service} cannot go on");
        }
        self.end().await;
        done
    }

    /// Sends what waits, for two seconds at most, and ends. To be called when the services have
    /// ended, as they have something to say until then.
    pub async fn end(self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let (exporter, errors) = (self.exporter, self.errors);
        // Both at once, and on threads that may block: this runtime may have only one.
        let sent =
            spawn_blocking(move || exporter.is_none_or(|exporter| exporter.finish(PATIENCE)));
        let told = spawn_blocking(move || errors.is_none_or(|errors| errors.close(PATIENCE)));
        let (sent, told) = tokio::join!(sent, told);
        if !(sent.unwrap_or(false) && told.unwrap_or(false)) {
            warn!("some telemetry could not be sent before the process ended");
        }
    }
}

/// Vendors are reached through a collector, which has their keys too.
fn through_collector(key: bool, otlp: bool) -> &'static str {
    match (key, otlp) {
        (true, true) => "through the collector",
        (true, false) => "no; set OTEL_EXPORTER_OTLP_ENDPOINT to a collector",
        (false, _) => "no",
    }
}
