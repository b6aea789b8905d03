//! A worker of a test: it leases, trains and reports over the wire, and lies when it is told to.

use std::collections::HashMap;

use artifacts::{ArtifactStore, BlobRef, BlobStore, Key, fetch};
use bytes::Bytes;
use federation::{Digest, KernelClass, TaskId};
use proto::engine::{Engine, Input, Inputs, Loading, Pieces};
use proto::transport::Outgoing;
use proto::v1;
use proto::v1::orchestrator_message::{Kind as Told, Verdict};
use proto::v1::tasks_client::TasksClient;
use proto::v1::worker_message::{self, Done, Failed, Hello, Kind as Said};
use proto::v1::workers_client::WorkersClient;
use proto::v1::{AcknowledgeRequest, LeaseRequest, OrchestratorMessage, TrainTask, WorkerMessage};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::world::{PATIENCE, World};

/// A worker with an open session. Dropping it breaks the stream.
pub(crate) struct Worker {
    name: String,
    kernel_classes: Vec<String>,
    said: mpsc::Sender<WorkerMessage>,
    told: Streaming<OrchestratorMessage>,
    tasks: TasksClient<Outgoing>,
    engine: Engine,
    blobs: ArtifactStore,
}

/// A task in hand.
#[derive(Debug, Clone)]
pub(crate) struct Leased {
    pub(crate) id: TaskId,
    pub(crate) task: TrainTask,
    pub(crate) attributes: HashMap<String, String>,
    epoch: u32,
    handle: String,
}

impl Leased {
    /// What a worker says that cannot do it.
    pub(crate) fn failed(&self, message: &str, retryable: bool) -> Said {
        Said::Failed(Failed {
            task: self.task.task.clone(),
            message: message.to_owned(),
            retryable,
            ..Failed::default()
        })
    }

    /// What names the lease.
    pub(crate) fn handle(&self) -> &str {
        &self.handle
    }

    /// Where the update of this delivery goes.
    pub(crate) fn place(&self) -> Key {
        Key::update(&self.id, self.epoch)
    }
}

fn engine(kernels: &[KernelClass], memory_bytes: u64) -> worker_message::Capabilities {
    worker_message::Capabilities {
        kernel_classes: kernels.iter().map(ToString::to_string).collect(),
        memory_bytes,
    }
}

impl Worker {
    pub(crate) async fn connect(world: &World, name: &str) -> Self {
        Self::connect_with(world, name, &[]).await
    }

    /// A worker that says that its compute-core has these classes of kernels.
    pub(crate) async fn connect_with(world: &World, name: &str, kernels: &[KernelClass]) -> Self {
        Self::connect_over(world, name, engine(kernels, 0)).await
    }

    /// A worker that says that its compute-core has so much memory.
    pub(crate) async fn connect_within(world: &World, name: &str, memory_bytes: u64) -> Self {
        Self::connect_over(world, name, engine(&[], memory_bytes)).await
    }

    async fn connect_over(world: &World, name: &str, engine: worker_message::Capabilities) -> Self {
        let (said, messages) = mpsc::channel(16);
        let kernel_classes = engine.kernel_classes.clone();
        let hello = Hello {
            worker: name.to_owned(),
            slots: 1,
            engine: Some(engine),
            ..Hello::default()
        };
        said.send(message(Said::Hello(hello))).await.unwrap();
        let mut client = WorkersClient::new(world.channel.clone());
        let session = client.session(ReceiverStream::new(messages)).await;
        let mut worker = Self {
            name: name.to_owned(),
            kernel_classes,
            said,
            told: session.unwrap().into_inner(),
            tasks: TasksClient::new(world.channel.clone()),
            engine: world.study.engine.clone(),
            blobs: world.study.blobs.clone(),
        };
        let welcome = worker.told().await;
        assert!(matches!(welcome, Told::Welcome(_)), "{welcome:?}");
        worker
    }

    /// Says which classes of kernels its compute-core has.
    pub(crate) async fn tell_kernels(&mut self, kernels: &[KernelClass]) {
        let engine = engine(kernels, 0);
        self.kernel_classes = engine.kernel_classes.clone();
        self.say(Said::Engine(engine)).await;
    }

    /// The next thing that the orchestrator says.
    pub(crate) async fn told(&mut self) -> Told {
        let told = timeout(PATIENCE, self.told.message()).await;
        let told = told.expect("the orchestrator is silent").unwrap();
        told.unwrap().kind.unwrap()
    }

    /// The next task, which is bound to come.
    pub(crate) async fn lease(&mut self) -> Leased {
        self.lease_within(PATIENCE.as_millis())
            .await
            .expect("a task")
    }

    /// A task that is there already.
    pub(crate) async fn lease_now(&mut self) -> Option<Leased> {
        self.lease_within(0).await
    }

    async fn lease_within(&mut self, millis: u128) -> Option<Leased> {
        let request = LeaseRequest {
            worker: self.name.clone(),
            max: 1,
            lease_ttl_ms: 3_600_000,
            wait_ms: millis.try_into().unwrap(),
            kernel_classes: self.kernel_classes.clone(),
        };
        let mut stream = self.tasks.lease(request).await.unwrap().into_inner();
        let delivery = stream.message().await.unwrap()?;
        let task = TrainTask::from_bytes(delivery.body).unwrap();
        Some(Leased {
            id: task.task.parse().unwrap(),
            task,
            attributes: delivery.attributes,
            epoch: delivery.epoch,
            handle: delivery.handle,
        })
    }

    pub(crate) async fn acknowledge(&mut self, leased: &Leased) {
        let handle = leased.handle.clone();
        let request = AcknowledgeRequest { handle };
        self.tasks.acknowledge(request).await.unwrap();
    }

    /// Trains and stores the update; the report of it, for changes and for sending.
    pub(crate) async fn train(&self, leased: &Leased) -> Done {
        let task = &leased.task;
        let (parameters, shard) = (located(&task.parameters), located(&task.shard));
        let inputs = Inputs {
            parameters: self.input(&parameters),
            examples: self.input(&shard),
        };
        let model = task.model.as_ref().unwrap().try_into().unwrap();
        let local = task.local.as_ref().unwrap().try_into().unwrap();
        let mut on_word = |_| {};
        let class = task.kernel_class.parse().ok();
        let engine = self.engine.with_kernels(class);
        let trained = engine.train(&model, inputs, &local, task.seed, &mut on_word);
        let (result, delta) = trained.await.unwrap();
        self.store(leased, delta.into_bytes()).await;
        Done {
            task: task.task.clone(),
            lease_epoch: leased.epoch,
            update: Some(v1::BlobRef {
                key: leased.place().to_string(),
                offset_bytes: 0,
                body: result.delta,
            }),
            num_examples: result.num_examples,
            num_steps: result.num_steps,
            mean_loss: result.mean_loss,
            base_digest: parameters.0.digest,
            kernel_class: result.kernel_class,
            ..Done::default()
        }
    }

    /// Puts bytes in the place of the task's update.
    pub(crate) async fn store(&self, leased: &Leased, bytes: Bytes) {
        self.blobs.put(&leased.place(), bytes).await.unwrap();
    }

    /// Reports, and waits for the verdict.
    pub(crate) async fn report(&mut self, done: Done) -> Verdict {
        let task = done.task.clone();
        self.say(Said::Done(done)).await;
        self.verdict(&task).await
    }

    /// Says that the task cannot be done.
    pub(crate) async fn fail(&mut self, leased: &Leased, message: &str, retryable: bool) {
        self.say(leased.failed(message, retryable)).await;
        self.verdict(&leased.task.task).await;
    }

    pub(crate) async fn say(&self, kind: Said) {
        self.said.send(message(kind)).await.unwrap();
    }

    pub(crate) async fn verdict(&mut self, task: &str) -> Verdict {
        loop {
            match self.told().await {
                Told::Verdict(verdict) if verdict.task == task => return verdict,
                _ => {}
            }
        }
    }

    /// One task from its lease to its verdict.
    pub(crate) async fn work(&mut self) -> (Leased, Verdict) {
        let leased = self.lease().await;
        let done = self.train(&leased).await;
        let verdict = self.report(done).await;
        self.acknowledge(&leased).await;
        (leased, verdict)
    }

    /// Works on so many tasks, and has all of them accepted.
    pub(crate) async fn work_on(&mut self, tasks: usize) -> Vec<Leased> {
        let mut done = Vec::new();
        for _task in 0..tasks {
            let (leased, verdict) = self.work().await;
            assert!(verdict.accepted, "{verdict:?}");
            done.push(leased);
        }
        done
    }

    fn input<'a>(&'a self, (body, blob): &'a (v1::Body, BlobRef)) -> Input<'a> {
        let load = move || -> Loading<'a> {
            Box::pin(async move {
                let fetched = fetch(&self.blobs, blob).await;
                Ok(Pieces::from(fetched.map_err(Box::new)?))
            })
        };
        Input {
            body,
            load: Box::new(load),
        }
    }
}

fn located(message: &Option<v1::BlobRef>) -> (v1::Body, BlobRef) {
    let message = message.clone().unwrap();
    let body = message.body.unwrap();
    let blob = BlobRef {
        key: message.key.parse().unwrap(),
        offset: message.offset_bytes,
        len: body.length_bytes,
        digest: body.digest.parse().unwrap(),
    };
    (body, blob)
}

/// The body that a report announces, for changes.
pub(crate) fn announced(done: &mut Done) -> &mut v1::Body {
    done.update.as_mut().unwrap().body.as_mut().unwrap()
}

/// Announces other bytes than were trained.
pub(crate) fn announce(done: &mut Done, bytes: &[u8]) {
    let body = announced(done);
    body.digest = Digest::of(bytes).to_string();
    body.length_bytes = bytes.len() as u64;
}

fn message(kind: Said) -> WorkerMessage {
    WorkerMessage { kind: Some(kind) }
}
