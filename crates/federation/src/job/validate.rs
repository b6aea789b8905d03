//! From a draft to a spec: one function per part of the file, in its order.

use super::limits::{
    BATCH_SIZE_MAX, CLIENTS_MAX, CONVOLUTIONS_MAX, LOCAL_DURATION_MAX, ROUNDS_MAX,
};
use super::violation::Violations;
use super::{
    CohortDraft, InvalidJob, JobDraft, JobSpec, LocalDraft, ModelSource, PartitionDraft,
    SchemeDraft, StopDraft,
};
use crate::cohort::CohortSpec;
use crate::local::{LocalDuration, LocalTraining, Optimizer, Schedule};
use crate::model::{Architecture, ModelSpec};
use crate::partition::{PartitionSpec, Scheme};
use crate::stop::{Metric, StopRule};

impl TryFrom<JobDraft> for JobSpec {
    type Error = InvalidJob;

    fn try_from(draft: JobDraft) -> Result<Self, InvalidJob> {
        let mut violations = Violations::default();
        violations.name("name", &draft.name);
        check_model(&draft.model, &mut violations);
        violations.name("dataset.name", &draft.dataset.name);
        let partition = check_partition(draft.dataset.partition, draft.seed, &mut violations);
        let local = check_local(draft.local, &mut violations);
        let rounds = violations.count("rounds", draft.rounds, ROUNDS_MAX);
        let cohort = check_cohort(draft.cohort, draft.dataset.partition, &mut violations);
        let stop = check_stop(draft.stop, &mut violations);
        if let Some(name) = &draft.publish_as {
            violations.name("publish_as", name);
        }
        violations.or(())?;
        Ok(Self {
            name: draft.name.clone(),
            model: draft.model.clone(),
            dataset: draft.dataset.name.clone(),
            partition,
            local,
            strategy: draft.strategy,
            rounds,
            cohort,
            stop,
            seed: draft.seed,
            kernel_class: draft.kernel_class,
            publish_as: draft.publish_as.clone(),
            draft,
        })
    }
}

fn check_model(model: &ModelSource, violations: &mut Violations) {
    match model {
        ModelSource::Spec(spec) => check_shape(spec, violations),
        ModelSource::Published { name, version } => {
            violations.name("model.name", name);
            if let Some(version) = version {
                violations.at_least_one("model.version", *version);
            }
        }
    }
}

fn check_shape(spec: &ModelSpec, violations: &mut Violations) {
    let lists: &[(&str, &[usize])] = match spec {
        ModelSpec::Mlp { hidden, .. } => &[("hidden", hidden)],
        ModelSpec::Cnn {
            channels, hidden, ..
        } => &[("channels", channels), ("hidden", hidden)],
        _ => &[],
    };
    for (name, widths) in lists {
        if let Some(index) = widths.iter().position(|width| *width == 0) {
            violations.add(format!("model.{name}[{index}]"), "is 0; must be at least 1");
            return;
        }
    }
    // The narrowest data set there is for the model: what does not fit this one fits none.
    let (field, shape) = match spec {
        ModelSpec::SoftmaxRegression | ModelSpec::Mlp { .. } => {
            ("model.hidden", spec.architecture(1, 2))
        }
        ModelSpec::Gpt { .. } => ("model", spec.architecture(1, 2)),
        ModelSpec::Layers { layers } => ("model.layers", Architecture::new(layers.clone())),
        ModelSpec::Cnn {
            channels,
            kernel,
            image,
            ..
        } => {
            if kernel.is_multiple_of(2) {
                violations.add("model.kernel", format!("is {kernel}; must be odd"));
                return;
            }
            if channels.len() > CONVOLUTIONS_MAX {
                let count = channels.len();
                violations.add(
                    "model.channels",
                    format!("has {count} numbers; must have at most {CONVOLUTIONS_MAX}"),
                );
                return;
            }
            let features = match image {
                Some(sides) => sides
                    .iter()
                    .fold(1_usize, |len, side| len.saturating_mul(*side)),
                None => 1 << (2 * channels.len()),
            };
            ("model", spec.architecture(features, 2))
        }
    };
    if let Err(error) = shape {
        violations.add(field, error.to_string());
    }
}

impl TryFrom<PartitionDraft> for PartitionSpec {
    type Error = InvalidJob;

    /// A partition by itself; its seed is 0 where it names none.
    fn try_from(draft: PartitionDraft) -> Result<Self, InvalidJob> {
        let mut violations = Violations::default();
        let partition = check_partition(draft, 0, &mut violations);
        violations.or(partition)
    }
}

fn check_partition(
    draft: PartitionDraft,
    job_seed: u64,
    violations: &mut Violations,
) -> PartitionSpec {
    let alpha = "dataset.partition.alpha";
    let scheme = match draft.scheme {
        SchemeDraft::Iid => Scheme::Iid,
        SchemeDraft::Dirichlet { alpha: value } => Scheme::Dirichlet {
            alpha: violations.concentration(alpha, value),
        },
        SchemeDraft::LabelsPerClient { labels } => Scheme::LabelsPerClient {
            labels: violations.at_least_one("dataset.partition.labels", labels),
        },
        SchemeDraft::QuantitySkew { alpha: value } => Scheme::QuantitySkew {
            alpha: violations.concentration(alpha, value),
        },
    };
    PartitionSpec {
        scheme,
        clients: violations.count("dataset.partition.clients", draft.clients, CLIENTS_MAX),
        seed: draft.seed.unwrap_or(job_seed),
    }
}

fn check_local(draft: LocalDraft, violations: &mut Violations) -> LocalTraining {
    if let Some(epochs) = draft.epochs {
        violations.count("local.epochs", epochs, LOCAL_DURATION_MAX);
    }
    if let Some(steps) = draft.steps {
        violations.count("local.steps", steps, LOCAL_DURATION_MAX);
    }
    let duration = match (draft.epochs, draft.steps) {
        (Some(epochs), None) => LocalDuration::Epochs(epochs),
        (None, Some(steps)) => LocalDuration::Steps(steps),
        (Some(epochs), Some(_)) => {
            violations.add("local", "has both epochs and steps; must have one of them");
            LocalDuration::Epochs(epochs)
        }
        (None, None) => {
            violations.add(
                "local",
                "has neither epochs nor steps; must have one of them",
            );
            LocalDuration::Epochs(1)
        }
    };
    violations.count("local.batch_size", draft.batch_size, BATCH_SIZE_MAX);
    check_optimizer(draft.optimizer, violations);
    check_schedule(draft.schedule, violations);
    if let Some(norm) = draft.clip_norm {
        violations.positive("local.clip_norm", norm);
    }
    LocalTraining {
        duration,
        batch_size: draft.batch_size,
        optimizer: draft.optimizer,
        schedule: draft.schedule,
        clip_norm: draft.clip_norm,
    }
}

fn check_schedule(schedule: Schedule, violations: &mut Violations) {
    match schedule {
        Schedule::Constant => {}
        Schedule::Warmup { steps } => {
            violations.count("local.schedule.steps", steps, LOCAL_DURATION_MAX);
        }
        Schedule::Cosine {
            warmup_steps,
            floor,
        } => {
            let most = LOCAL_DURATION_MAX;
            if warmup_steps > most {
                violations.add(
                    "local.schedule.warmup_steps",
                    format!("is {warmup_steps}; must be from 0 to {most}"),
                );
            }
            if !(0.0..=1.0).contains(&floor) {
                violations.add(
                    "local.schedule.floor",
                    format!("is {floor:?}; must be from 0 to 1"),
                );
            }
        }
        Schedule::Staircase { every, factor } => {
            violations.count("local.schedule.every", every, LOCAL_DURATION_MAX);
            violations.positive("local.schedule.factor", factor);
        }
    }
}

fn check_optimizer(optimizer: Optimizer, violations: &mut Violations) {
    match optimizer {
        Optimizer::Sgd {
            learning_rate,
            momentum,
            weight_decay,
        } => {
            violations.positive("local.optimizer.learning_rate", learning_rate);
            violations.decay("local.optimizer.momentum", momentum);
            violations.not_negative("local.optimizer.weight_decay", weight_decay);
        }
        Optimizer::AdamW {
            learning_rate,
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } => {
            violations.positive("local.optimizer.learning_rate", learning_rate);
            violations.decay("local.optimizer.beta1", beta1);
            violations.decay("local.optimizer.beta2", beta2);
            violations.positive("local.optimizer.epsilon", epsilon);
            violations.not_negative("local.optimizer.weight_decay", weight_decay);
        }
    }
}

fn check_cohort(
    draft: CohortDraft,
    partition: PartitionDraft,
    violations: &mut Violations,
) -> CohortSpec {
    violations.fraction("cohort.fraction", draft.fraction);
    let min_clients = violations.at_least_one("cohort.min_clients", draft.min_clients);
    if draft.min_clients > partition.clients {
        violations.add(
            "cohort.min_clients",
            format!(
                "is {min_clients}; must be at most {}, the number of clients",
                partition.clients
            ),
        );
    }
    violations.fraction("cohort.quorum", draft.quorum);
    violations.deadline("cohort.deadline", draft.deadline);
    CohortSpec {
        fraction: draft.fraction,
        min_clients,
        quorum: draft.quorum,
        deadline: draft.deadline,
    }
}

fn check_stop(draft: StopDraft, violations: &mut Violations) -> StopRule {
    if let Some(target) = draft.target {
        match target.metric {
            Metric::Accuracy => violations.fraction("stop.target.value", target.value),
            Metric::Loss => violations.finite("stop.target.value", target.value),
        }
    }
    StopRule {
        target: draft.target,
        patience: draft
            .patience
            .map(|rounds| violations.at_least_one("stop.patience", rounds)),
    }
}
