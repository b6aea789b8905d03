//! A compute-core behind a pipe, and bodies to give it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use compute_core::cache::Cache;
use compute_core::engine::initial_parameters;
use compute_core::metrics::Metrics;
use compute_core::service::Service;
use federation::Digest;
use federation::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use federation::model::{Activation, Architecture, ModelSpec};
use proto::body;
use proto::engine::{Engine, Input, Inputs, Loading, Pieces};
use proto::transport::Outgoing;
use proto::transport::{Address, Incoming, Pipe, channel, server};
use proto::v1::compute_client::ComputeClient;
use proto::v1::compute_server::ComputeServer;
use proto::v1::{Body, Dtype, GenerateRequest, TensorMeta};

pub(crate) const MIB: usize = 1024 * 1024;

/// A service that is being served, and both ways to call it.
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) client: ComputeClient<Outgoing>,
    /// The service itself, without the wire.
    pub(crate) service: Service,
    pub(crate) metrics: Metrics,
}

/// Serves a compute-core on one thread.
pub(crate) fn serve(cache_bytes: usize, concurrency: usize) -> Core {
    let metrics = Metrics::register(&telemetry::metrics::Registry::new("test").unwrap()).unwrap();
    let concurrency = NonZeroUsize::new(concurrency).unwrap();
    let cache = Cache::new(cache_bytes);
    let service = Service::new(cache, concurrency, NonZeroUsize::MIN, metrics.clone());
    let pipe = Pipe::default();
    let incoming = Incoming::default().pipe(pipe.listen());
    let serving = server()
        .add_service(ComputeServer::new(service.clone()))
        .serve_with_incoming(incoming.connections());
    tokio::spawn(async move { serving.await.unwrap() });
    let address = Address::Pipe(pipe);
    Core {
        engine: Engine::over(channel(&address)),
        client: ComputeClient::new(channel(&address)),
        service,
        metrics,
    }
}

/// Bytes with what they are, counting how often they were asked for.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) body: Body,
    pub(crate) bytes: Bytes,
    loads: Arc<AtomicUsize>,
}

impl Held {
    fn new(tensors: Vec<TensorMeta>, bytes: Bytes) -> Self {
        let body = Body {
            digest: Digest::of(&bytes).to_string(),
            length_bytes: bytes.len() as u64,
            tensors,
        };
        let loads = Arc::default();
        Self { body, bytes, loads }
    }

    pub(crate) fn input(&self) -> Input<'_> {
        let load = || -> Loading<'_> {
            self.loads.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(Pieces::from(self.bytes.clone())) })
        };
        Input {
            body: &self.body,
            load: Box::new(load),
        }
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }
}

pub(crate) fn inputs<'a>(parameters: &'a Held, examples: &'a Held) -> Inputs<'a> {
    Inputs {
        parameters: parameters.input(),
        examples: examples.input(),
    }
}

pub(crate) fn mlp(inputs: usize, hidden: usize) -> Architecture {
    let spec = ModelSpec::Mlp {
        hidden: vec![hidden],
        activation: Activation::Relu,
    };
    spec.architecture(inputs, 3).unwrap()
}

/// A model of five tokens, of which it sees four.
pub(crate) fn gpt() -> Architecture {
    let spec = ModelSpec::Gpt {
        blocks: 1,
        width: 8,
        heads: 2,
    };
    spec.architecture(4, 5).unwrap()
}

/// A wish for `length` tokens after these.
pub(crate) fn prompt(tokens: &[u32], length: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: tokens.to_vec(),
        length,
        temperature: 1.0,
        seed: 3,
        ..GenerateRequest::default()
    }
}

pub(crate) fn parameters(model: &Architecture, seed: u64) -> Held {
    let bytes = body::into_bytes(initial_parameters(model, seed));
    Held::new(body::parameter_tensors(model), bytes)
}

/// Rows of three classes, bright at every third column from the label on. `shade` tells one shard
/// from another.
pub(crate) struct Rows {
    pub(crate) features: Vec<f32>,
    pub(crate) labels: Vec<u32>,
}

pub(crate) fn rows(count: usize, columns: usize, shade: f32) -> Rows {
    let labels: Vec<u32> = (0..3).cycle().take(count).collect();
    let bright = |row: usize, column: usize| column % 3 == row % 3;
    let value = |row: usize, column: usize| if bright(row, column) { 1.0 } else { shade };
    let features = (0..count * columns).map(|place| value(place / columns, place % columns));
    Rows {
        features: features.collect(),
        labels,
    }
}

pub(crate) fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> TensorMeta {
    TensorMeta {
        name: name.to_owned(),
        dtype: dtype.into(),
        shape: shape.iter().map(|&side| side as u64).collect(),
    }
}

/// Any numbers under any names.
pub(crate) fn labelled(tensors: Vec<TensorMeta>, labels: &[i64], features: &[f32]) -> Held {
    let parts = [body::as_bytes(labels), body::as_bytes(features)];
    Held::new(tensors, Bytes::from(parts.concat()))
}

pub(crate) fn examples(rows: &Rows) -> Held {
    let labels: Vec<i64> = rows.labels.iter().map(|&label| i64::from(label)).collect();
    let columns = rows.features.len() / labels.len();
    let tensors = vec![
        tensor("labels", Dtype::I64, &[labels.len()]),
        tensor("features", Dtype::F32, &[labels.len(), columns]),
    ];
    labelled(tensors, &labels, &rows.features)
}

pub(crate) fn sgd(steps: u32, learning_rate: f32) -> LocalTraining {
    LocalTraining {
        duration: LocalDuration::Steps(steps),
        batch_size: 16,
        schedule: Schedule::Constant,
        clip_norm: None,
        optimizer: Optimizer::Sgd {
            learning_rate,
            momentum: 0.0,
            weight_decay: 0.0,
        },
    }
}
