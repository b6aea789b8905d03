//! The rounds of a run: opened, closed, abandoned, and all of them written before the run ends.

use std::sync::Arc;

use federation::round::{Effect, Plan, Round};
use federation::run::RunState;
use federation::{cohort, stop};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Driver, Next};
use crate::admit::Work;
use crate::problem::Problem;
use crate::publish::publish;
use crate::store::RunRow;
use crate::trace::attempt;

impl Driver {
    pub(super) async fn open_or_finish(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let Some(work) = &self.work else {
            return Ok(Next::Step);
        };
        let committed = work.checkpoint.round;
        let stopped = stop::decide(&work.spec.stop, &work.history).map(|why| why.to_string());
        let done = (committed >= work.spec.rounds.get()).then(|| "all rounds are done".to_owned());
        if let Some(reason) = stopped.or(done) {
            if !self.write_all().await? {
                return Ok(Next::Step);
            }
            self.changes();
            let Some(work) = &self.work else {
                return Ok(Next::Step);
            };
            return match &work.spec.publish_as {
                Some(name) => self.publish(work, name, &reason).await,
                None => self.move_to(row, RunState::Completed, &reason).await,
            };
        }
        self.open().await
    }

    /// Waits for the checkpoint that is being written; says whether all rounds are committed.
    pub(super) async fn write_all(&mut self) -> Result<bool, Problem> {
        let study = Arc::clone(&self.study);
        let Some(work) = &mut self.work else {
            return Ok(false);
        };
        let written = work.written(&study).await;
        // A run that fails is still told of.
        if !matches!(written, Err(Problem::Fatal { .. })) {
            self.give_up_lost();
        }
        written
    }

    /// Is cancelled when it is known what became of the checkpoint that is being written.
    pub(super) fn end_of_writing(&self) -> Option<CancellationToken> {
        let writing = self.work.as_ref()?.writing.as_ref()?;
        Some(writing.ended().clone())
    }

    /// Lets go of what is known of a run whose checkpoint could not be written. It is admitted
    /// again, which finds what was.
    pub(super) fn give_up_lost(&mut self) {
        if self.work.take_if(|work| work.is_lost).is_some() {
            self.changes();
        }
    }

    async fn publish(&self, work: &Work, name: &str, reason: &str) -> Result<Next, Problem> {
        let (checkpoint, dataset) = (&work.checkpoint, &work.dataset);
        let span = self.begin("publish");
        let publishing = publish(&self.study, name, checkpoint, dataset, reason);
        if let Some(model) = attempt(&span, publishing).await? {
            let version = model.version;
            if span.is_kept() {
                span.set("model", model.name.clone());
                span.set("version", version);
            }
            info!(
                run = %self.run,
                model = model.name,
                version,
                "run completed, model published"
            );
        }
        Ok(Next::Step)
    }

    async fn open(&mut self) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        let (Some(work), Some(trace)) = (&mut self.work, &mut self.trace) else {
            return Ok(Next::Step);
        };
        let committed = work.checkpoint.round;
        let spec = &work.spec;
        let number = committed + 1;
        let cohort = cohort::sample(
            spec.seed,
            number,
            spec.partition.clients.get(),
            &spec.cohort,
        );
        let plan = Plan {
            number,
            quorum: spec.cohort.quorum_of(cohort.len()),
            cohort,
            base: work.checkpoint.model.parameters.digest,
            update_bytes: work.checkpoint.model.parameters.len,
            opened_at: study.now(),
            deadline: study.steady().after(spec.cohort.deadline),
        };
        if !study.store.open_round(self.run, &plan).await? {
            return Ok(Next::Step);
        }
        work.span = trace.round(number, plan.cohort.len());
        work.shown.round(number);
        let (round, effect) = Round::open(plan);
        work.round = Some(round);
        self.apply(effect).await
    }

    pub(super) async fn train(&mut self, row: &RunRow) -> Result<Next, Problem> {
        let study = Arc::clone(&self.study);
        let now = study.steady();
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        let Some(round) = &mut work.round else {
            return Ok(Next::Step);
        };
        // A deadline is for workers that are slow, not for those that are not there.
        if row.state != RunState::Running {
            return Ok(Next::Wait);
        }
        // Nor is it for a fleet that has nothing to train with.
        if self.idle
            && let Err(error) = study.engine.describe().await
        {
            round.postpone(study.steady().after(work.spec.cohort.deadline));
            return Err(error.into());
        }
        match round.tick(now) {
            Some(effect) => self.apply(effect).await,
            None => Ok(Next::Wait),
        }
    }

    pub(super) async fn apply(&mut self, effect: Effect) -> Result<Next, Problem> {
        let Some(work) = &mut self.work else {
            return Ok(Next::Step);
        };
        match effect {
            Effect::Dispatch(tasks) => work.to_dispatch.extend(tasks),
            Effect::Aggregate => self.count_training(),
            Effect::Abandon => return self.abandon().await,
        }
        Ok(Next::Step)
    }

    /// Counts how long the round that closes was open, when it closes for the first time.
    fn count_training(&mut self) {
        let round = self.work.as_ref().and_then(|work| work.round.as_ref());
        if let Some(round) = round.filter(|round| round.number() > self.trained) {
            self.trained = round.number();
            let open = self.study.now().since(round.plan().opened_at);
            let metrics = &self.study.metrics.rounds;
            metrics.seconds.of("training").observe_duration(open);
        }
    }

    pub(super) async fn abandon(&mut self) -> Result<Next, Problem> {
        // The run keeps the model that stands.
        if !self.write_all().await? {
            return Ok(Next::Step);
        }
        let round = self.work.as_ref().and_then(|work| work.round.as_ref());
        let Some((round, why)) = round.and_then(|round| Some((round, round.abandoned()?))) else {
            return Ok(Next::Step);
        };
        let (number, reason) = (round.number(), why.to_string());
        if let Some(work) = &self.work {
            work.span.fail(&reason);
        }
        self.changes();
        self.study
            .store
            .abandon_round(self.run, number, &reason, self.study.now())
            .await?;
        // Its run has failed with it.
        Ok(Next::Step)
    }
}
