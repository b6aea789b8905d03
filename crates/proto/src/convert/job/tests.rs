use federation::KernelClass;
use federation::job::{PartitionDraft, SchemeDraft};
use federation::local::{Optimizer, Schedule};
use federation::model::Layer;
use prost::Message;

use super::*;

fn draft() -> JobDraft {
    JobDraft {
        name: "digits".into(),
        model: ModelSource::Spec(ModelSpec::Mlp {
            hidden: vec![64, 32],
            activation: Activation::Gelu,
        }),
        dataset: DatasetDraft {
            name: "digits".into(),
            partition: PartitionDraft {
                scheme: SchemeDraft::Dirichlet { alpha: 0.5 },
                clients: 8,
                seed: Some(3),
            },
        },
        local: LocalDraft {
            epochs: Some(2),
            steps: None,
            batch_size: 16,
            schedule: Schedule::Constant,
            clip_norm: None,
            optimizer: Optimizer::Sgd {
                learning_rate: 0.05,
                momentum: 0.9,
                weight_decay: 0.0,
            },
        },
        strategy: Strategy::FedAvg {
            weighting: Weighting::Uniform,
        },
        rounds: 20,
        cohort: CohortDraft {
            fraction: 0.25,
            min_clients: 2,
            quorum: 0.5,
            deadline: Duration::from_millis(90_500),
        },
        stop: StopDraft {
            target: Some(Target {
                metric: Metric::Accuracy,
                value: 0.97,
            }),
            patience: Some(5),
        },
        seed: u64::MAX,
        kernel_class: Some(KernelClass::X86_64V3),
        publish_as: Some("digits".into()),
    }
}

fn travel(draft: &JobDraft) -> JobDraft {
    let bytes = v1::Job::from(draft).encode_to_vec();
    JobDraft::try_from(&v1::Job::decode(&bytes[..]).unwrap()).unwrap()
}

/// One of each layer, in no order that fits.
fn layers() -> Vec<Layer> {
    vec![
        Layer::Linear {
            inputs: 1,
            outputs: 2,
        },
        Layer::Relu,
        Layer::Gelu,
        Layer::Image {
            channels: 1,
            height: 2,
            width: 3,
        },
        Layer::Convolution {
            inputs: 1,
            outputs: 2,
            kernel: 3,
            stride: 4,
            padding: 5,
        },
        Layer::MaxPool {
            kernel: 1,
            stride: 2,
        },
        Layer::AveragePool {
            kernel: 3,
            stride: 4,
        },
        Layer::Flatten,
        Layer::Embedding {
            vocabulary: 1,
            width: 2,
            context: 3,
        },
        Layer::LayerNorm { width: 1 },
        Layer::Attention { width: 1, heads: 2 },
        Layer::Fork,
        Layer::Join,
        Layer::TiedHead,
        Layer::Regression,
    ]
}

/// Every kind of every part, each in one draft.
fn variants() -> Vec<JobDraft> {
    let models = [
        ModelSource::Spec(ModelSpec::SoftmaxRegression),
        ModelSource::Spec(ModelSpec::Cnn {
            channels: vec![8, 16],
            kernel: 5,
            hidden: vec![32],
            image: Some([3, 8, 9]),
        }),
        ModelSource::Spec(ModelSpec::Gpt {
            blocks: 2,
            width: 12,
            heads: 3,
        }),
        ModelSource::Spec(ModelSpec::Layers { layers: layers() }),
        ModelSource::Published {
            name: "digits".into(),
            version: Some(3),
        },
        ModelSource::Published {
            name: "digits".into(),
            version: None,
        },
    ];
    let mut drafts: Vec<JobDraft> = models
        .into_iter()
        .map(|model| JobDraft { model, ..draft() })
        .collect();
    let mut other = draft();
    other.local.epochs = None;
    other.local.steps = Some(10);
    other.local.optimizer = Optimizer::AdamW {
        learning_rate: 0.001,
        beta1: 0.8,
        beta2: 0.9,
        epsilon: 1e-6,
        weight_decay: 0.1,
    };
    other.local.clip_norm = Some(0.5);
    other.strategy = Strategy::default();
    other.cohort = CohortDraft::default();
    other.stop = StopDraft {
        target: Some(Target {
            metric: Metric::Loss,
            value: 0.1,
        }),
        patience: None,
    };
    other.kernel_class = None;
    other.publish_as = None;
    drafts.push(other);
    for schedule in [
        Schedule::Warmup { steps: 3 },
        Schedule::Cosine {
            warmup_steps: 3,
            floor: 0.25,
        },
        Schedule::Staircase {
            every: 3,
            factor: 0.5,
        },
    ] {
        let mut other = draft();
        other.local.schedule = schedule;
        drafts.push(other);
    }
    drafts
}

#[test]
fn a_job_arrives_as_it_left() {
    assert_eq!(travel(&draft()), draft());
    for draft in variants() {
        assert_eq!(travel(&draft), draft);
    }
}

#[test]
fn absent_fields_take_the_defaults_of_the_file() {
    let mut job = v1::Job::from(&draft());
    job.strategy = None;
    job.cohort = None;
    job.stop = None;
    job.local.as_mut().unwrap().batch_size = None;
    let read = JobDraft::try_from(&job).unwrap();
    assert_eq!(read.strategy, Strategy::default());
    assert_eq!(read.cohort, CohortDraft::default());
    assert_eq!(read.stop, StopDraft::default());
    assert_eq!(read.local.batch_size, 32);

    job.cohort = Some(v1::Cohort::default());
    let read = JobDraft::try_from(&job).unwrap();
    assert_eq!(read.cohort, CohortDraft::default());
}

/// The field that is named when `change` was made to the job.
fn refused_field(change: impl FnOnce(&mut v1::Job)) -> String {
    let mut job = v1::Job::from(&draft());
    change(&mut job);
    JobDraft::try_from(&job).unwrap_err().field
}

#[test]
fn what_is_missing_is_named_by_its_path_in_the_file() {
    assert_eq!(refused_field(|job| job.model = None), "model");
    assert_eq!(
        refused_field(|job| job.model = Some(v1::Model::default())),
        "model.kind"
    );
    assert_eq!(refused_field(|job| job.dataset = None), "dataset");
    assert_eq!(
        refused_field(|job| job.dataset.as_mut().unwrap().partition = None),
        "dataset.partition"
    );
    assert_eq!(refused_field(|job| job.local = None), "local");
    assert_eq!(
        refused_field(|job| job.local.as_mut().unwrap().optimizer = None),
        "local.optimizer"
    );
    assert_eq!(
        refused_field(|job| job.strategy = Some(v1::Strategy::default())),
        "strategy.kind"
    );
    assert_eq!(
        refused_field(|job| {
            job.stop.as_mut().unwrap().target = Some(stop_rule::Target::default());
        }),
        "stop.target.metric"
    );
}

#[test]
fn a_job_with_two_durations_arrives_with_none() {
    let mut both = draft();
    both.local.steps = Some(3);
    let arrived = travel(&both).local;
    assert_eq!((arrived.epochs, arrived.steps), (None, None));
}
