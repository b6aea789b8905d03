//! Jobs for which nobody has the memory.

use federation::job::{JobDraft, JobSpec, ModelSource};
use federation::local::Optimizer;
use federation::model::{Activation, Layer, ModelSpec};
use orchestrator::submit::{check, submit};

use crate::worker::Worker;
use crate::world::{Rules, World, job};

const MIB: u64 = 1 << 20;

/// A model of 2-1024-1024-3: 1,055,747 parameters, 4.03 MiB.
fn wide(optimizer: Optimizer) -> JobDraft {
    let mut job = job(2, 1);
    job.model = ModelSource::Spec(ModelSpec::Mlp {
        hidden: vec![1024, 1024],
        activation: Activation::Relu,
    });
    job.local.optimizer = optimizer;
    job
}

const DESCENT: Optimizer = Optimizer::Sgd {
    learning_rate: 0.1,
    momentum: 0.0,
    weight_decay: 0.0,
};

const ADAM_W: Optimizer = Optimizer::AdamW {
    learning_rate: 0.001,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.0,
};

async fn refusal(world: &World, job: &JobDraft) -> Option<String> {
    let spec = JobSpec::try_from(job.clone()).unwrap();
    let refused = check(&world.study, spec).await.err();
    refused.map(|error| error.to_string())
}

#[tokio::test]
async fn a_model_for_which_no_connected_worker_has_the_memory_is_refused() {
    let world = World::new(Rules::default()).await;
    let (small, large) = (wide(DESCENT), wide(ADAM_W));
    assert_eq!(refusal(&world, &large).await, None, "nobody is connected");
    let _tight = Worker::connect_within(&world, "tight", 2 * MIB).await;
    let told = refusal(&world, &small).await.unwrap();
    assert!(told.contains("none has more than 2 MiB"), "{told}");
    let _roomy = Worker::connect_within(&world, "roomy", 16 * MIB).await;
    assert_eq!(refusal(&world, &small).await, None);
    let told = "model: takes 21 MiB in training, with its gradient, what the optimizer remembers \
                and batches of 8 rows; of the connected workers none has more than 16 MiB; make \
                its layers narrower or local.batch_size smaller";
    assert_eq!(refusal(&world, &large).await.as_deref(), Some(told));
    let submitted = submit(&world.study, large.clone(), "key".to_owned()).await;
    assert_eq!(submitted.unwrap_err().to_string(), told);

    let _silent = Worker::connect(&world, "silent").await;
    assert_eq!(refusal(&world, &large).await, None, "one has not said");
}

#[tokio::test]
async fn a_model_that_the_orchestrators_compute_core_cannot_hold_is_refused() {
    let world = World::new(Rules {
        memory_bytes: 4 * MIB,
        ..Rules::default()
    })
    .await;
    let told = "model: takes 5 MiB by itself; the orchestrator's compute-core, which evaluates it, \
                has 4 MiB; make its layers narrower";
    assert_eq!(refusal(&world, &wide(DESCENT)).await.as_deref(), Some(told));
    assert_eq!(refusal(&world, &job(2, 1)).await, None);
}

#[tokio::test]
async fn a_batch_for_which_no_step_is_planned_is_refused() {
    let width = 1 << 24;
    let mut layers = vec![Layer::Linear {
        inputs: 2,
        outputs: width,
    }];
    layers.extend(vec![Layer::LayerNorm { width }; 20]);
    layers.push(Layer::Linear {
        inputs: width,
        outputs: 3,
    });
    let mut job = job(2, 1);
    job.model = ModelSource::Spec(ModelSpec::Layers { layers });
    let world = World::new(Rules::default()).await;
    let told = refusal(&world, &job).await.unwrap();
    assert!(told.starts_with("local: a step on 8 rows holds "), "{told}");
    assert!(told.ends_with("; choose a smaller batch"), "{told}");
}
