//! An orchestrator, a compute-core and some workers, each a process, in a folder of their own.

use client::{Address, Client, v1};
use tempfile::TempDir;
use tokio::time::timeout;

use super::service::{Kind, LOOK, PATIENCE, Service, Setting};

/// How the processes reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    UnixSockets,
}

/// What a fleet is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) workers: usize,
    pub(crate) carrier: Carrier,
    pub(crate) lease_ttl: &'static str,
}

impl Default for Shape {
    /// Leases are short, so that tests need not wait long for those of the dead.
    fn default() -> Self {
        Self {
            workers: 2,
            carrier: Carrier::Tcp,
            lease_ttl: "1s",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Fleet {
    // Before the folder, so that nothing writes there when it goes.
    pub(crate) workers: Vec<Service>,
    pub(crate) orchestrator: Service,
    pub(crate) compute: Service,
    shape: Shape,
    environment: Vec<Setting>,
    folder: TempDir,
}

impl Fleet {
    /// Starts the processes; they may still be finding each other.
    pub(crate) async fn start(shape: Shape) -> Self {
        Self::start_in(shape, Vec::new()).await
    }

    /// Starts the processes with some variables set for all of them.
    pub(crate) async fn start_in(shape: Shape, environment: Vec<Setting>) -> Self {
        Self::start_with(shape, environment, Vec::new()).await
    }

    /// Starts the processes with an orchestrator that keeps things elsewhere.
    pub(crate) async fn start_on(shape: Shape, backends: Vec<Setting>) -> Self {
        Self::start_with(shape, Vec::new(), backends).await
    }

    async fn start_with(shape: Shape, environment: Vec<Setting>, backends: Vec<Setting>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let compute = start_compute(&folder, shape, &environment).await;
        let settings = [environment.clone(), backends].concat();
        let orchestrator = start_orchestrator(&folder, shape, &compute, &settings).await;
        let mut fleet = Self {
            workers: Vec::new(),
            orchestrator,
            compute,
            shape,
            environment,
            folder,
        };
        for number in 1..=shape.workers {
            let worker = fleet.start_worker(number).await;
            fleet.workers.push(worker);
        }
        fleet
    }

    async fn start_worker(&self, number: usize) -> Service {
        let id = format!("worker-{number}");
        let log = self.folder.path().join(format!("{id}.log"));
        let mut settings = vec![
            ("ID", id),
            ("ORCHESTRATOR", self.address_of(&self.orchestrator)),
            ("COMPUTE", self.address_of(&self.compute)),
            ("HTTP__LISTEN", free_port()),
            ("LEASE__TTL", self.shape.lease_ttl.to_owned()),
        ];
        settings.extend(self.environment.clone());
        Service::start(Kind::TrainingWorker, settings, log).await
    }

    /// Ends all processes as a supervisor does, workers first.
    pub(crate) async fn end(&mut self) {
        for worker in &self.workers {
            worker.ask_to_end();
        }
        for worker in &mut self.workers {
            worker.ended().await;
        }
        for service in [&mut self.orchestrator, &mut self.compute] {
            service.ask_to_end();
            service.ended().await;
        }
    }

    fn address_of(&self, service: &Service) -> String {
        match self.shape.carrier {
            Carrier::Tcp => service.grpc().to_string(),
            Carrier::UnixSockets if service.grpc() == self.compute.grpc() => {
                format!("unix:{}", socket(&self.folder, "compute"))
            }
            Carrier::UnixSockets => format!("unix:{}", socket(&self.folder, "orchestrator")),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let address: Address = self
            .address_of(&self.orchestrator)
            .parse()
            .expect("an address");
        Client::connect(&address)
    }

    /// Runs a statement on the run store, behind the orchestrator's back.
    pub(crate) fn change_store(&self, statement: &str) {
        const SCRIPT: &str = "import sqlite3, sys
store = sqlite3.connect(sys.argv[1], timeout=20)
store.execute(sys.argv[2])
store.commit()";
        let store = self.folder.path().join("data/runs.sqlite");
        let mut python = std::process::Command::new("python3");
        python.args(["-c", SCRIPT]).arg(store).arg(statement);
        assert!(python.status().expect("python3 runs").success());
    }

    /// Returns when the worker with this index says that it is in the middle of a task.
    pub(crate) async fn until_busy(&self, worker: usize) {
        let name = format!("worker-{}", worker + 1);
        self.until_listed(|listed| listed.worker == name && !listed.tasks.is_empty())
            .await;
    }

    /// Returns when the orchestrator lists a worker that is as wanted.
    pub(crate) async fn until_listed(&self, wanted: impl Fn(&v1::Worker) -> bool) {
        let client = self.client();
        let listed = async {
            while !client.workers().await.expect("workers").iter().any(&wanted) {
                tokio::time::sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, listed).await.expect("a worker as wanted");
    }
}

impl Drop for Fleet {
    #[expect(clippy::print_stderr, reason = "a failed test shows what was logged")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in [&self.orchestrator, &self.compute]
                .into_iter()
                .chain(&self.workers)
            {
                eprintln!("{}", service.log());
            }
        }
    }
}

/// A listening address with any port that is free.
pub(crate) fn free_port() -> String {
    "127.0.0.1:0".to_owned()
}

fn socket(folder: &TempDir, name: &str) -> String {
    let path = folder.path().join(format!("{name}.sock"));
    path.to_str().expect("a path that is text").to_owned()
}

fn listening(folder: &TempDir, shape: Shape, name: &str) -> Vec<Setting> {
    let mut settings = vec![("GRPC__LISTEN", free_port()), ("HTTP__LISTEN", free_port())];
    if shape.carrier == Carrier::UnixSockets {
        settings.push(("GRPC__UNIX_SOCKET", socket(folder, name)));
    }
    settings
}

async fn start_compute(folder: &TempDir, shape: Shape, environment: &[Setting]) -> Service {
    let mut settings = listening(folder, shape, "compute");
    settings.extend_from_slice(environment);
    let log = folder.path().join("compute.log");
    Service::start(Kind::ComputeCore, settings, log).await
}

async fn start_orchestrator(
    folder: &TempDir,
    shape: Shape,
    compute: &Service,
    environment: &[Setting],
) -> Service {
    let mut settings = listening(folder, shape, "orchestrator");
    let compute = match shape.carrier {
        Carrier::Tcp => compute.grpc().to_string(),
        Carrier::UnixSockets => format!("unix:{}", socket(folder, "compute")),
    };
    let data = folder.path().join("data").display().to_string();
    settings.extend([("COMPUTE", compute), ("DATA_DIR", data)]);
    settings.extend_from_slice(environment);
    let log = folder.path().join("orchestrator.log");
    Service::start(Kind::Orchestrator, settings, log).await
}
