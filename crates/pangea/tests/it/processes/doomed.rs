//! A service as a process that ends itself, without a word, before one of its calls.
//!
//! It is this test program, started again to run the one test here that is no test.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clock::SystemClock;
use seams::{Call, Listener, Seams, Waiting};
use telemetry::config::environment::Environment;
use telemetry::logs::Output;
use telemetry::process::asked_to_end;
use telemetry::{Host, Household, Telemetry};
use tokio::process::Command;

use super::service::{Kind, Setting};

/// The process, by the name of its test.
const NAME: &str = "processes::doomed::process";

const SERVICE: &str = "PANGEA_DOOMED_SERVICE";
const CALLS: &str = "PANGEA_DOOMED_CALLS";
const BEFORE: &str = "PANGEA_DOOMED_BEFORE";

/// What becomes of a process.
#[derive(Debug, Clone)]
pub(crate) struct Doom {
    /// Where it writes down its calls, a line for each.
    pub(crate) calls: PathBuf,
    /// The call, from 1, that it does not live to make.
    pub(crate) before: Option<u64>,
}

/// The process, not started yet. It sees nothing of this one's environment.
pub(crate) fn command(kind: Kind, settings: &[Setting], doom: &Doom) -> Command {
    let itself = std::env::current_exe().expect("this program");
    let mut command = Command::new(itself);
    command
        .args([NAME, "--exact", "--ignored", "--nocapture"])
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .env(SERVICE, kind.binary())
        .env(CALLS, &doom.calls);
    if let Some(before) = doom.before {
        command.env(BEFORE, before.to_string());
    }
    kind.set(&mut command, settings);
    command
}

/// Counts calls, and ends the process before the one that it waits for.
#[derive(Debug)]
struct Listening {
    calls: File,
    heard: AtomicU64,
    before: Option<u64>,
}

impl Listener for Listening {
    fn hear(&self, call: Call<'_>) -> Option<Waiting> {
        let number = 1 + self.heard.fetch_add(1, Ordering::Relaxed);
        if Some(number) == self.before {
            // Nothing is flushed, closed or said: as `kill -9`, on the dot.
            std::process::abort();
        }
        let line = format!("{:?} {}\n", call.seam, call.operation);
        let mut calls = &self.calls;
        calls.write_all(line.as_bytes()).expect("a line");
        None
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what it is told stands in variables"
)]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn seams(calls: &Path) -> Seams {
    let calls = OpenOptions::new().append(true).create(true).open(calls);
    Seams::heard_by(Arc::new(Listening {
        calls: calls.expect("a file"),
        heard: AtomicU64::new(0),
        before: told(BEFORE).map(|number| number.parse().expect("a number")),
    }))
}

#[test]
#[ignore = "the process that other tests start and end"]
fn process() {
    let (Some(service), Some(calls)) = (told(SERVICE), told(CALLS)) else {
        return;
    };
    let seams = seams(calls.as_ref());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let lived = runtime.block_on(async {
        match service.as_str() {
            "pangea-orchestrator" => orchestrate(seams).await,
            "pangea-compute-core" => compute(seams).await,
            _ => work(seams).await,
        }
    });
    lived.expect("a life");
}

fn begin(service: &'static str, log: &telemetry::config::LogConfig) -> anyhow::Result<Telemetry> {
    let mut host = Host::begin(service, Household::Alone, Environment::read(|_| None))?;
    host.write_logs(log, Output::Stdout)?;
    Ok(host.telemetry())
}

async fn orchestrate(seams: Seams) -> anyhow::Result<()> {
    let config = orchestrator::Config::load(None)?;
    let wiring = orchestrator::Wiring {
        telemetry: begin(orchestrator::app::SERVICE, &config.log)?,
        clock: Arc::new(SystemClock::default()),
        compute: config.compute.parse()?,
        pipe: None,
        queue: None,
        seams,
    };
    let ended = asked_to_end()?;
    let _service = orchestrator::Orchestrator::start(config, wiring).await?;
    ended.await;
    Ok(())
}

async fn compute(seams: Seams) -> anyhow::Result<()> {
    let config = compute_core::Config::load(None)?;
    let wiring = compute_core::Wiring {
        telemetry: begin(compute_core::app::SERVICE, &config.log)?,
        pipe: None,
        clock: Arc::new(SystemClock::default()),
        seams,
    };
    let ended = asked_to_end()?;
    let _service = compute_core::ComputeCore::start(config, wiring).await?;
    ended.await;
    Ok(())
}

async fn work(seams: Seams) -> anyhow::Result<()> {
    let config = training_worker::Config::load(None)?;
    let wiring = training_worker::Wiring {
        telemetry: begin(training_worker::app::SERVICE, &config.log)?,
        clock: Arc::new(SystemClock::default()),
        orchestrator: config.orchestrator.parse()?,
        compute: config.compute.parse()?,
        seams,
    };
    let ended = asked_to_end()?;
    let _service = training_worker::TrainingWorker::start(config, wiring).await?;
    ended.await;
    Ok(())
}
