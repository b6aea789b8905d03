//! What is counted of rounds, and shown of a run's while it is in work and a little longer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use federation::event::RoundOutcome;
use federation::job::Strategy;
use federation::{RunId, Timestamp};
use telemetry::metrics::{
    Each, GaugeSeries, Histogram, IntCounter, IntGaugeSeries, LivingGauge, LivingIntGauge,
};

/// How updates can become the next model.
const STRATEGIES: [&str; 1] = ["fedavg"];

/// Why an update does not count: the reasons of the rules, then that of a report which does not
/// read.
pub const REASONS: [&str; 12] = [
    "run_not_running",
    "late",
    "not_in_cohort",
    "duplicate",
    "wrong_base",
    "wrong_size",
    "wrong_kernels",
    "no_examples",
    "too_many_examples",
    "not_finite",
    "damaged",
    INVALID_MESSAGE,
];

/// The reason for a report that does not read.
pub const INVALID_MESSAGE: &str = "invalid_message";

/// What the parts of a round are called.
const PHASES: [&str; 5] = [
    "training",
    "aggregating",
    "evaluating",
    "committing",
    "total",
];

/// Seconds of a round and its parts: from a softmax regression in one process to a night.
const ROUND_BUCKETS: [f64; 12] = [
    0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 2.5, 10.0, 60.0, 600.0, 3600.5, 14_400.0,
];

/// Seconds of a checkpoint: a few flushes of a disk.
const CHECKPOINT_BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.05, 0.2, 0.5, 2.5, 10.0];

/// Shares of a cohort. The first is for none at all, the last for more than three quarters.
const SHARE_BUCKETS: [f64; 6] = [0.0, 0.05, 0.1, 0.25, 0.5, 0.75];

/// How long a run's last numbers are shown after its end: for several scrapes, whoever scrapes.
const SHOWN_FOR: Duration = Duration::from_secs(5 * 60);

/// Most runs that are shown after their end; more would take the names of those in work.
const PARKED_MAX: usize = 100;

telemetry::metrics! {
    /// The metrics of rounds.
    pub struct Rounds {
        /// Aggregations of updates into a model, by strategy.
        pub aggregations: Each<IntCounter> = "gradient_aggregations_total"
            {strategy in STRATEGIES}, rows: "S0-29";
        /// Time of an aggregation, from reading the updates to the stored model, in seconds.
        pub aggregation_seconds: Each<Histogram> = "federated_aggregation_duration_seconds"
            {strategy in STRATEGIES}, buckets: ROUND_BUCKETS, rows: "S2-12";
        /// The round that a run is in; 0 before the first. Like all that is shown of a run, it goes
        /// five minutes after the run's end.
        pub current: LivingIntGauge = "federated_round_current" {run}, rows: "S2-10";
        /// Accuracy of a run's last committed model on the test rows, from 0 to 1, until five minutes
        /// after the run's end.
        pub accuracy: LivingGauge = "federated_model_accuracy" {run}, rows: "S2-11";
        /// Loss of a run's last committed model on the test rows: mean cross-entropy in nats, until
        /// five minutes after the run's end.
        pub loss: LivingGauge = "federated_model_loss" {run};
        /// Largest Euclidean distance, among the updates of a run's last aggregation, between a
        /// client's parameters and the global ones that it started from; until five minutes after
        /// the run's end.
        pub divergence: LivingGauge = "federation_parameter_divergence" {run}, rows: "S1-9";
        /// Time of the parts of a round, in seconds. Training ends when the round first closes; total
        /// is from opening a round to its model, and is counted once for each committed round.
        pub seconds: Each<Histogram> = "federated_round_duration_seconds" {phase in PHASES},
            buckets: ROUND_BUCKETS;
        /// Share of a committed round's cohort whose updates are not in its model.
        pub stragglers: Histogram = "federated_straggler_ratio", buckets: SHARE_BUCKETS;
        /// Time to make a round's checkpoint durable once its model is stored, in seconds.
        pub checkpoint_seconds: Histogram = "checkpoint_duration_seconds",
            buckets: CHECKPOINT_BUCKETS;
        /// Updates that do not count, by reason.
        pub refused: Each<IntCounter> = "pangea_updates_refused_total" {reason in REASONS};
        /// Tasks that workers could not do.
        pub tasks_failed: IntCounter = "pangea_tasks_failed_total";
    }
}

/// The word for a strategy in labels.
#[must_use]
pub fn word_of(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::FedAvg { .. } => "fedavg",
    }
}

/// What is shown of one run, for as long as this is held.
#[derive(Debug)]
pub struct Shown {
    family: Rounds,
    run: String,
    round: IntGaugeSeries,
    // None before there is something to show.
    accuracy: Option<GaugeSeries>,
    loss: Option<GaugeSeries>,
    divergence: Option<GaugeSeries>,
}

impl Shown {
    /// A run of which nothing is known yet.
    #[must_use]
    pub fn new(family: &Rounds, run: RunId) -> Self {
        let run = run.to_string();
        Self {
            round: family.current.of(&run),
            family: family.clone(),
            run,
            accuracy: None,
            loss: None,
            divergence: None,
        }
    }

    /// The run is in this round.
    pub fn round(&self, number: u32) {
        self.round.set(i64::from(number));
    }

    /// The last committed model is as good as this.
    pub fn model(&mut self, accuracy: Option<f64>, loss: f64) {
        let (family, run) = (&self.family, &self.run);
        if let Some(accuracy) = accuracy {
            let series = self.accuracy.get_or_insert_with(|| family.accuracy.of(run));
            series.set(accuracy);
        }
        let series = self.loss.get_or_insert_with(|| family.loss.of(run));
        series.set(loss);
    }

    /// The clients' parameters went this far from the global ones.
    pub fn divergence(&mut self, distance: f64) {
        let (family, run) = (&self.family, &self.run);
        let series = self
            .divergence
            .get_or_insert_with(|| family.divergence.of(run));
        series.set(distance);
    }
}

/// What was last shown of runs that ended, until it was scraped. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Parked(Arc<Mutex<VecDeque<(Timestamp, Shown)>>>);

impl Parked {
    /// Goes on showing a run that has ended.
    pub fn park(&self, shown: Shown, now: Timestamp) {
        let mut parked = self.parked();
        if parked.len() >= PARKED_MAX {
            parked.pop_front();
        }
        parked.push_back((now, shown));
    }

    /// Ends what has been shown for long enough.
    pub fn look(&self, now: Timestamp) {
        self.parked()
            .retain(|(ended_at, _)| now.since(*ended_at) < SHOWN_FOR);
    }

    fn parked(&self) -> MutexGuard<'_, VecDeque<(Timestamp, Shown)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rounds {
    /// A round of `cohort` clients stands.
    pub fn committed(&self, outcome: &RoundOutcome, cohort: usize) {
        let total = Duration::from_millis(outcome.duration_ms);
        self.seconds.of("total").observe_duration(total);
        let cohort = u32::try_from(cohort).unwrap_or(u32::MAX).max(1);
        let missing = cohort.saturating_sub(outcome.accepted);
        self.stragglers
            .observe(f64::from(missing) / f64::from(cohort));
    }
}

#[cfg(test)]
mod tests {
    use federation::acceptance::Refusal;
    use federation::{Digest, KernelClass};

    use super::*;

    /// One of each; a new one does not compile before it is listed.
    fn refusals() -> Vec<Refusal> {
        let all = vec![
            Refusal::RunNotRunning,
            Refusal::Late { current: 1 },
            Refusal::NotInCohort,
            Refusal::Duplicate,
            Refusal::WrongBase {
                expected: Digest::of(b""),
            },
            Refusal::WrongSize {
                expected: 1,
                actual: 2,
            },
            Refusal::WrongKernels {
                expected: KernelClass::Portable,
            },
            Refusal::NoExamples,
            Refusal::TooManyExamples {
                rows: 1,
                claimed: 2,
            },
            Refusal::NotFinite {
                what: String::new(),
            },
            Refusal::Damaged {
                problem: String::new(),
            },
        ];
        for refusal in &all {
            match refusal {
                Refusal::RunNotRunning
                | Refusal::Late { .. }
                | Refusal::NotInCohort
                | Refusal::Duplicate
                | Refusal::WrongBase { .. }
                | Refusal::WrongSize { .. }
                | Refusal::WrongKernels { .. }
                | Refusal::NoExamples
                | Refusal::TooManyExamples { .. }
                | Refusal::NotFinite { .. }
                | Refusal::Damaged { .. } => {}
            }
        }
        all
    }

    #[test]
    fn every_reason_has_a_series() {
        let mut words: Vec<_> = refusals().iter().map(Refusal::reason).collect();
        words.push(INVALID_MESSAGE);
        assert_eq!(words, REASONS);
    }
}
