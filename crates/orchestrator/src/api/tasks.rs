//! The task queue, for workers that know one address.

use std::num::NonZeroUsize;
use std::time::Duration;

use federation::TaskId;
use proto::v1::tasks_server::Tasks;
use proto::v1::{
    AcknowledgeRequest, AcknowledgeResponse, Delivery, ExtendRequest, ExtendResponse,
    GiveBackRequest, GiveBackResponse, LeaseRequest, TrainTask,
};
use task_queue::{LeaseHandle, TaskQueue};
use tonic::{Request, Response, Status};
use tracing::warn;

use super::{Api, status};
use crate::metrics::fleet::TO_WORKERS;

/// Longest wait that one call may ask for.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Longest lease, as of SQS.
const LEASE_MAX: Duration = Duration::from_secs(12 * 60 * 60);

#[tonic::async_trait]
impl Tasks for Api {
    type LeaseStream = futures::stream::Iter<std::vec::IntoIter<Result<Delivery, Status>>>;

    async fn lease(
        &self,
        request: Request<LeaseRequest>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let request = request.into_inner();
        let max = NonZeroUsize::new(request.max as usize)
            .ok_or_else(|| status::invalid_field("max", "is 0; must be at least 1"))?;
        let wait = Duration::from_millis(request.wait_ms).min(WAIT_MAX);
        let lease_ttl = lease_ttl(request.lease_ttl_ms)?;
        let deliveries = tokio::select! {
            biased;
            deliveries = self.study.queue.receive(&request.kernel_classes, max, lease_ttl, wait) => {
                deliveries.map_err(status::queue)?
            }
            () = self.closing.cancelled() => Vec::new(),
        };
        let sent = self.study.metrics.fleet.bytes.of(TO_WORKERS);
        let message = |delivery: task_queue::Delivery| {
            sent.inc_by(delivery.body.len() as u64);
            Ok(Delivery {
                handle: delivery.handle.0,
                epoch: delivery.epoch,
                body: delivery.body,
                attributes: delivery.attributes.into_iter().collect(),
                sent_at_ms: delivery.sent_at.0,
            })
        };
        let mut messages = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            if self.is_wanted(&delivery) {
                messages.push(message(delivery));
            } else if let Err(error) = self.study.queue.acknowledge(&delivery.handle).await {
                // It comes back when its lease ends; the others are for who waits.
                warn!(error = %error, "a task of a run that has ended was not removed");
            }
        }
        Ok(Response::new(futures::stream::iter(messages)))
    }

    async fn extend(
        &self,
        request: Request<ExtendRequest>,
    ) -> Result<Response<ExtendResponse>, Status> {
        let ExtendRequest {
            handle,
            lease_ttl_ms,
        } = request.into_inner();
        let handle = LeaseHandle(handle);
        let extended = self.study.queue.extend(&handle, lease_ttl(lease_ttl_ms)?);
        extended.await.map_err(status::queue)?;
        Ok(Response::new(ExtendResponse {}))
    }

    async fn give_back(
        &self,
        request: Request<GiveBackRequest>,
    ) -> Result<Response<GiveBackResponse>, Status> {
        let GiveBackRequest { handle, delay_ms } = request.into_inner();
        let delay = Duration::from_millis(delay_ms).min(LEASE_MAX);
        let handle = LeaseHandle(handle);
        let given = self.study.queue.give_back(&handle, delay);
        given.await.map_err(status::queue)?;
        Ok(Response::new(GiveBackResponse {}))
    }

    async fn acknowledge(
        &self,
        request: Request<AcknowledgeRequest>,
    ) -> Result<Response<AcknowledgeResponse>, Status> {
        let handle = LeaseHandle(request.into_inner().handle);
        self.study
            .queue
            .acknowledge(&handle)
            .await
            .map_err(status::queue)?;
        Ok(Response::new(AcknowledgeResponse {}))
    }
}

impl Api {
    /// Whether the run of a task has not ended. What is no task goes to a worker, which says so.
    fn is_wanted(&self, delivery: &task_queue::Delivery) -> bool {
        let task = TrainTask::from_bytes(delivery.body.clone()).ok();
        let id = task.and_then(|task| task.task.parse::<TaskId>().ok());
        id.is_none_or(|id| self.reconciler.drives(id.run))
    }
}

fn lease_ttl(millis: u64) -> Result<Duration, Status> {
    let span = Duration::from_millis(millis);
    if span.is_zero() || span > LEASE_MAX {
        return Err(status::invalid_field(
            "lease_ttl_ms",
            "must be from 1 ms to 12 h",
        ));
    }
    Ok(span)
}
