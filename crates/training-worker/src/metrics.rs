//! Every metric of this crate.

use telemetry::metrics::{Each, Histogram, IntCounter, IntGauge, LivingGauge};

/// How tasks end here: the orchestrator has judged them; they mean nothing, or their run is over;
/// somebody who is needed was not there; another worker has them.
const OUTCOMES: [&str; 4] = ["judged", "dropped", "given_back", "lost"];

/// What becomes of a task's update: it counts, it does not, there is none.
const UPDATES: [&str; 3] = ["accepted", "refused", "failed"];

/// The parts of a task, in their order.
const PHASES: [&str; 4] = ["fetch", "train", "store", "report"];

/// Which way bytes go between the orchestrator and workers, in the orchestrator's words too.
const DIRECTIONS: [&str; 2] = ["to_workers", "from_workers"];

/// What becomes of an attempt to keep a task for longer.
const EXTENSIONS: [&str; 3] = ["extended", "failed", "lost"];

/// What is tried again after a pause.
const RETRIED: [&str; 3] = ["lease", "session", "upload"];

/// Seconds of a task or a part of it, from its lease to its verdict.
const TASK_BUCKETS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 2.5, 10.0, 60.0, 300.0];

/// Seconds of a step: from ten rows of a softmax regression to a second of a wide model.
const STEP_BUCKETS: [f64; 9] = [
    0.000_01, 0.000_05, 0.000_2, 0.001, 0.005, 0.02, 0.1, 0.5, 2.5,
];

telemetry::metrics! {
    /// The metrics of a training-worker.
    pub struct Metrics {
        /// Batches trained on, those of trainings that came to nothing included.
        pub batches: IntCounter = "training_batches_total", rows: "S0-30";
        /// Complete passes over shards, of trainings that ended in a delta.
        pub epochs: IntCounter = "training_epochs_total", rows: "S0-31";
        /// Mean cross-entropy on training rows, in nats, by run: of the last batch told of, and
        /// after a task, of its last pass. Ends five minutes after the last word.
        pub loss: LivingGauge = "training_loss" {job}, rows: "S0-32 S1-6";
        /// Share of training rows classified right, by run; of the same rows as the loss.
        pub accuracy: LivingGauge = "training_accuracy" {job}, rows: "S0-33";
        /// Parameters of the model that was trained last.
        pub model_parameters: IntGauge = "model_parameters_count",
            aka: ["model_parameters_total"], rows: "S0-34 S1-12";
        /// Updates by what became of them; a task that could not be done has none.
        pub updates: Each<IntCounter> = "gradient_updates_total" {outcome in UPDATES},
            rows: "S0-35";
        /// Time of one training step, in seconds; each observation is the mean over the steps
        /// between two words of compute-core.
        pub step_seconds: Histogram = "training_step_duration_seconds", buckets: STEP_BUCKETS;
        /// Bytes of models, shards and updates, as this worker took and sent them.
        pub bytes: Each<IntCounter> = "federated_bytes_sent_total" {direction in DIRECTIONS},
            rows: "S2-13";
        /// Tasks in work.
        pub tasks_running: IntGauge = "pangea_worker_tasks_running";
        /// Tasks by how they ended.
        pub tasks: Each<IntCounter> = "pangea_worker_tasks_total" {outcome in OUTCOMES};
        /// Duration of tasks that ended in a verdict, in seconds.
        pub task_seconds: Histogram = "pangea_worker_task_duration_seconds",
            buckets: TASK_BUCKETS;
        /// Duration of the parts of tasks that succeeded, in seconds: fetch where compute-core was
        /// asked what it lacks, store where an update was uploaded before its report.
        pub phase_seconds: Each<Histogram> = "pangea_worker_phase_duration_seconds"
            {phase in PHASES}, buckets: TASK_BUCKETS;
        /// Attempts to keep a task for longer while it is in work.
        pub lease_extensions: Each<IntCounter> = "pangea_worker_lease_extensions_total"
            {outcome in EXTENSIONS};
        /// What was tried again after a pause.
        pub retries: Each<IntCounter> = "pangea_worker_retries_total" {operation in RETRIED};
        /// Whether the orchestrator's session stands.
        pub connected: IntGauge = "pangea_worker_connected";
    }
}
