//! Workers.

use client::v1;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Worker {
    worker: String,
    state: &'static str,
    slots: u32,
    version: String,
    host: String,
    connected_at_ms: u64,
    last_heard_ms: u64,
    tasks: Vec<Task>,
    updates_accepted: u64,
    updates_refused: u64,
    tasks_failed: u64,
    kernel_classes: Vec<String>,
    memory_bytes: u64,
}

impl From<&v1::Worker> for Worker {
    fn from(worker: &v1::Worker) -> Self {
        Self {
            worker: worker.worker.clone(),
            state: state(worker.state()),
            slots: worker.slots,
            version: worker.version.clone(),
            host: worker.host.clone(),
            connected_at_ms: worker.connected_at_ms,
            last_heard_ms: worker.last_heard_ms,
            tasks: worker.tasks.iter().map(Task::from).collect(),
            updates_accepted: worker.updates_accepted,
            updates_refused: worker.updates_refused,
            tasks_failed: worker.tasks_failed,
            kernel_classes: worker.kernel_classes.clone(),
            memory_bytes: worker.memory_bytes,
        }
    }
}

/// How far a worker is with a task.
#[derive(Debug, Serialize)]
struct Task {
    task: String,
    step: u32,
    steps_total: u32,
    loss: f32,
}

impl From<&v1::worker_message::Progress> for Task {
    fn from(progress: &v1::worker_message::Progress) -> Self {
        Self {
            task: progress.task.clone(),
            step: progress.step,
            steps_total: progress.steps_total,
            loss: progress.loss,
        }
    }
}

/// The word for a state; `unknown` for one of a newer orchestrator.
pub(crate) fn state(state: v1::WorkerState) -> &'static str {
    match state {
        v1::WorkerState::Healthy => "healthy",
        v1::WorkerState::Suspect => "suspect",
        v1::WorkerState::Lost => "lost",
        v1::WorkerState::Draining => "draining",
        v1::WorkerState::Unspecified => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_worker_shows_what_it_does_and_did() {
        let worker = v1::Worker {
            worker: "ada".into(),
            state: v1::WorkerState::Suspect.into(),
            slots: 2,
            version: "0.1.0".into(),
            host: "h".into(),
            connected_at_ms: 1,
            last_heard_ms: 2,
            tasks: vec![v1::worker_message::Progress {
                task: "r/1/client-0000/1".into(),
                step: 3,
                steps_total: 9,
                loss: 0.5,
            }],
            updates_accepted: 3,
            updates_refused: 4,
            tasks_failed: 5,
            kernel_classes: vec!["x86-64-v3".into(), "portable".into()],
            memory_bytes: 1 << 30,
        };
        assert_eq!(
            serde_json::to_value(Worker::from(&worker)).unwrap(),
            json!({
                "worker": "ada", "state": "suspect", "slots": 2, "version": "0.1.0", "host": "h",
                "connected_at_ms": 1, "last_heard_ms": 2, "tasks": [{"task": "r/1/client-0000/1", "step": 3, "steps_total": 9, "loss": 0.5}],
                "updates_accepted": 3, "updates_refused": 4, "tasks_failed": 5,
                "kernel_classes": ["x86-64-v3", "portable"], "memory_bytes": 1_073_741_824_u64,
            })
        );
    }
}
