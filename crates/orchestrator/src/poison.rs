//! Tasks that nobody finished, however often they were delivered: each is a failure of its round.

use std::num::NonZeroUsize;
use std::time::Duration;

use federation::{TaskId, WorkerId};
use proto::v1::TrainTask;
use task_queue::{Delivery, TaskQueue};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::reconciler::{Reconciler, TaskFailure};
use crate::study::Study;

/// Dead tasks that are taken at once.
const AT_ONCE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9);

/// How long a failure may take to be kept, before the task is handed out again.
const LEASE: Duration = Duration::from_secs(30);

/// Who is said to have failed.
const NOBODY: &str = "nobody";

/// What happened, for a person.
const UNANSWERED: &str = "delivered as often as the queue allows and never answered; workers that \
                          took it died or gave it back";

/// Reports dead tasks to their runs until `closing`, and brings what is shown of the queue up to date
/// where that has to be asked for.
pub async fn bury(study: &Study, reconciler: &Reconciler, closing: &CancellationToken) {
    loop {
        match study.queue.receive_dead(AT_ONCE, LEASE).await {
            Ok(dead) => {
                for delivery in dead {
                    report(study, reconciler, &delivery).await;
                }
            }
            Err(error) => warn!(error = %error, "the queue does not say which tasks are dead"),
        }
        // A broker that does not answer now is asked again.
        drop(study.queue.depth().await);
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = study.clock.sleep(study.interval) => {}
        }
    }
}

async fn report(study: &Study, reconciler: &Reconciler, delivery: &Delivery) {
    match task_of(delivery) {
        Some(task) => {
            let failure = TaskFailure {
                task,
                worker: WorkerId(NOBODY.to_owned()),
                message: UNANSWERED.to_owned(),
                retryable: true,
            };
            if let Err(error) = reconciler.failed(failure).await {
                warn!(%task, error = %error, "a dead task is reported again later");
                return;
            }
        }
        None => warn!("a dead task means nothing and is dropped"),
    }
    if let Err(error) = study.queue.acknowledge(&delivery.handle).await {
        warn!(error = %error, "a dead task was not buried and comes again");
    }
}

fn task_of(delivery: &Delivery) -> Option<TaskId> {
    let task = TrainTask::from_bytes(delivery.body.clone()).ok()?;
    task.task.parse().ok()
}
