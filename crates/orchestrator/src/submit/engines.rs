//! Whether those who compute can compute a job. A compute-core that is away is not waited for.

use federation::KernelClass;
use federation::job::JobSpec;
use federation::model::Architecture;
use proto::engine::{Engine, EngineError};
use proto::fault;
use tonic::Code;

use super::{SubmitError, wrong};
use crate::study::Study;

const MIB: u64 = 1 << 20;

/// Whether models can be evaluated with the kernels that a job is pinned to.
pub(super) async fn check_kernels(engine: &Engine, class: KernelClass) -> Result<(), SubmitError> {
    let Ok(described) = engine.describe().await else {
        return Ok(());
    };
    let own = described.kernel_classes;
    if own.iter().any(|name| name == class.as_str()) {
        return Ok(());
    }
    let message = format!(
        "is {class}; the orchestrator's compute-core, which evaluates the models, has {}",
        own.join(", ")
    );
    Err(wrong("kernel_class", message))
}

/// Whether a job on `train_rows` rows has room: at one of the connected workers, if there is any, and
/// in the orchestrator's compute-core.
pub(super) async fn check_memory(
    study: &Study,
    spec: &JobSpec,
    architecture: &Architecture,
    train_rows: u64,
) -> Result<(), SubmitError> {
    // The client with the most rows has as many at least.
    let rows = train_rows.div_ceil(spec.partition.clients.get().into());
    let plan = match study.engine.plan(architecture, &spec.local, rows).await {
        Ok(plan) => plan,
        Err(EngineError::Call(status)) if status.code() == Code::InvalidArgument => {
            let field = fault::metadata(&status, "field").unwrap_or_else(|| "local".to_owned());
            let problem = status.message();
            let problem = problem
                .strip_prefix(&format!("{field}: "))
                .unwrap_or(problem);
            return Err(wrong(&field, problem.to_owned()));
        }
        Err(_away) => return Ok(()),
    };
    let takes = |bytes: u64| format!("takes {} MiB", bytes.div_ceil(MIB));
    if is_less(plan.memory_bytes, plan.parameters_bytes) {
        let message = format!(
            "{} by itself; the orchestrator's compute-core, which evaluates it, has {} MiB; make its layers narrower",
            takes(plan.parameters_bytes),
            plan.memory_bytes / MIB,
        );
        return Err(wrong("model", message));
    }
    let Some(most) = study.fleet.most_memory() else {
        return Ok(());
    };
    if is_less(most, plan.training_bytes) {
        let message = format!(
            "{} in training, with its gradient, what the optimizer remembers and batches of {} rows; \
             of the connected workers none has more than {} MiB; make its layers narrower or \
             local.batch_size smaller",
            takes(plan.training_bytes),
            spec.local.batch_size,
            most / MIB,
        );
        return Err(wrong("model", message));
    }
    Ok(())
}

/// Whether memory is known, and is less than what is needed.
fn is_less(memory_bytes: u64, needed: u64) -> bool {
    memory_bytes != 0 && memory_bytes < needed
}
