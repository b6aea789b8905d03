//! A house of processes that reach each other over relays alone.

use std::path::PathBuf;

use client::{Address, Client, v1};
use tempfile::TempDir;
use tokio::time::timeout;

use super::fleet::free_port;
use super::relay::Relay;
use super::service::{Kind, LOOK, PATIENCE, Service, Setting};

/// What a house is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    pub(crate) workers: usize,
    pub(crate) lease_ttl: &'static str,
    pub(crate) drain: &'static str,
    pub(crate) idle_timeout: &'static str,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            workers: 2,
            lease_ttl: "1s",
            drain: "10s",
            idle_timeout: "20s",
        }
    }
}

/// The lines of one worker.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) orchestrator: Relay,
    pub(crate) compute: Relay,
}

#[derive(Debug)]
pub(crate) struct Linked {
    // Before the folder, so that nothing writes there when it goes.
    pub(crate) workers: Vec<Service>,
    pub(crate) orchestrator: Service,
    compute: Service,
    /// The users' line to the orchestrator.
    pub(crate) users: Relay,
    /// The orchestrator's line to compute-core.
    pub(crate) engine: Relay,
    pub(crate) lines: Vec<Lines>,
    habits: Habits,
    folder: TempDir,
}

impl Linked {
    /// Starts the processes; they may still be finding each other.
    pub(crate) async fn start(habits: Habits) -> Self {
        Self::start_by(habits, |_data| Vec::new()).await
    }

    /// Starts the processes, the orchestrator by a program that becomes it: `before`, which is told
    /// where it keeps its data.
    pub(crate) async fn start_by(habits: Habits, before: impl FnOnce(&str) -> Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data").display().to_string();
        std::fs::create_dir(&data).expect("a folder");
        let idle = || ("IDLE_TIMEOUT", habits.idle_timeout.to_owned());
        let listen = || vec![("HTTP__LISTEN", free_port()), idle()];
        let mut settings = listen();
        settings.push(("GRPC__LISTEN", free_port()));
        let log = folder.path().join("compute.log");
        let compute = Service::start(Kind::ComputeCore, settings, log).await;
        let engine = Relay::to(compute.grpc());
        let mut settings = listen();
        settings.extend([
            ("GRPC__LISTEN", free_port()),
            ("DATA_DIR", data.clone()),
            ("COMPUTE", engine.address.to_string()),
            ("WORKERS__HEARTBEAT", "100ms".to_owned()),
        ]);
        let log = folder.path().join("orchestrator.log");
        let orchestrator = Service::start_by(before(&data), Kind::Orchestrator, settings, log);
        let orchestrator = orchestrator.await;
        let users = Relay::to(orchestrator.grpc());
        let mut this = Self {
            workers: Vec::new(),
            orchestrator,
            compute,
            users,
            engine,
            lines: Vec::new(),
            habits,
            folder,
        };
        for number in 1..=habits.workers {
            this.add_worker(number, listen()).await;
        }
        this
    }

    async fn add_worker(&mut self, number: usize, mut settings: Vec<Setting>) {
        let lines = Lines {
            orchestrator: Relay::to(self.orchestrator.grpc()),
            compute: Relay::to(self.compute.grpc()),
        };
        let name = format!("worker-{number}");
        let log = self.folder.path().join(format!("{name}.log"));
        settings.extend([
            ("ID", name),
            ("ORCHESTRATOR", lines.orchestrator.address.to_string()),
            ("COMPUTE", lines.compute.address.to_string()),
            ("LEASE__TTL", self.habits.lease_ttl.to_owned()),
            ("LEASE__DRAIN", self.habits.drain.to_owned()),
            ("LOG__FILTER", "info,training_worker=debug".to_owned()),
        ]);
        let worker = Service::start(Kind::TrainingWorker, settings, log).await;
        self.workers.push(worker);
        self.lines.push(lines);
    }

    /// Every line of the house.
    pub(crate) fn all_lines(&self) -> impl Iterator<Item = &Relay> {
        let workers = self.lines.iter();
        let workers = workers.flat_map(|lines| [&lines.orchestrator, &lines.compute]);
        [&self.users, &self.engine].into_iter().chain(workers)
    }

    /// Where the orchestrator keeps its data.
    pub(crate) fn data_dir(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// The same, through the eyes of the orchestrator, which may see another disk there.
    pub(crate) fn seen_data_dir(&self) -> PathBuf {
        format!("/proc/{}/root{}", self.orchestrator.id(), self.data_dir()).into()
    }

    /// Somebody at the end of the users' line.
    pub(crate) fn distant_client(&self) -> Client {
        let address: Address = self.users.address.to_string().parse().expect("an address");
        Client::connect(&address)
    }

    /// Somebody beside the orchestrator.
    pub(crate) fn client(&self) -> Client {
        let address: Address = self
            .orchestrator
            .grpc()
            .to_string()
            .parse()
            .expect("an address");
        Client::connect(&address)
    }

    /// Returns when all workers are connected.
    pub(crate) async fn until_complete(&self) {
        let complete = |workers: &[v1::Worker]| workers.len() == self.habits.workers;
        self.until_listed(complete).await;
    }

    /// Returns when the worker of this name is in this state.
    pub(crate) async fn until_state(&self, name: &str, state: v1::WorkerState) {
        let is_so = |worker: &v1::Worker| worker.worker == name && worker.state() == state;
        self.until_listed(|workers| workers.iter().any(is_so)).await;
    }

    async fn until_listed(&self, wanted: impl Fn(&[v1::Worker]) -> bool) {
        let client = self.client();
        let listed = async {
            while !wanted(&client.workers().await.expect("workers")) {
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, listed).await.expect("workers as wanted");
    }
}

impl Drop for Linked {
    #[expect(clippy::print_stderr, reason = "a failed test shows what was logged")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let services = [&self.orchestrator, &self.compute];
            for service in services.into_iter().chain(&self.workers) {
                eprintln!("{}", service.log());
            }
        }
    }
}
