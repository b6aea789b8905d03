//! The task queue at the orchestrator's address.

use std::num::NonZeroUsize;
use std::time::Duration;

use async_trait::async_trait;
use federation::Timestamp;
use proto::fault;
use proto::transport::Outgoing;
use proto::v1;
use proto::v1::tasks_client::TasksClient;
use task_queue::{Delivery, Depth, LeaseHandle, QueueError, TaskMessage, TaskQueue};
use tonic::Status;

/// Tasks as the orchestrator hands them out.
#[derive(Debug, Clone)]
pub struct RemoteQueue {
    worker: String,
    client: TasksClient<Outgoing>,
}

impl RemoteQueue {
    /// The queue at the other end of `channel`, for the worker of this name.
    #[must_use]
    pub fn new(worker: String, channel: Outgoing) -> Self {
        Self {
            worker,
            client: TasksClient::new(channel),
        }
    }
}

#[async_trait]
impl TaskQueue for RemoteQueue {
    async fn send(&self, _: Vec<TaskMessage>) -> Result<(), QueueError> {
        Err(QueueError::Unavailable {
            message: "only the orchestrator queues tasks".to_owned(),
        })
    }

    async fn receive(
        &self,
        pins: &[String],
        max: NonZeroUsize,
        lease_ttl: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, QueueError> {
        let request = v1::LeaseRequest {
            worker: self.worker.clone(),
            max: u32::try_from(max.get()).unwrap_or(u32::MAX),
            lease_ttl_ms: millis(lease_ttl),
            wait_ms: millis(wait),
            kernel_classes: pins.to_vec(),
        };
        let mut client = self.client.clone();
        let mut stream = client
            .lease(request)
            .await
            .map_err(unavailable)?
            .into_inner();
        let mut deliveries = Vec::new();
        while let Some(delivery) = stream.message().await.map_err(unavailable)? {
            deliveries.push(Delivery {
                body: delivery.body,
                attributes: delivery.attributes.into_iter().collect(),
                handle: LeaseHandle(delivery.handle),
                epoch: delivery.epoch,
                sent_at: Timestamp(delivery.sent_at_ms),
            });
        }
        Ok(deliveries)
    }

    async fn extend(&self, handle: &LeaseHandle, lease_ttl: Duration) -> Result<(), QueueError> {
        let request = v1::ExtendRequest {
            handle: handle.0.clone(),
            lease_ttl_ms: millis(lease_ttl),
        };
        let answer = self.client.clone().extend(request).await;
        answer
            .map(drop)
            .map_err(|status| lost_or_unavailable(&status, handle))
    }

    async fn give_back(&self, handle: &LeaseHandle, delay: Duration) -> Result<(), QueueError> {
        let request = v1::GiveBackRequest {
            handle: handle.0.clone(),
            delay_ms: millis(delay),
        };
        let answer = self.client.clone().give_back(request).await;
        answer
            .map(drop)
            .map_err(|status| lost_or_unavailable(&status, handle))
    }

    async fn acknowledge(&self, handle: &LeaseHandle) -> Result<(), QueueError> {
        let request = v1::AcknowledgeRequest {
            handle: handle.0.clone(),
        };
        let answer = self.client.clone().acknowledge(request).await;
        answer
            .map(drop)
            .map_err(|status| lost_or_unavailable(&status, handle))
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        Err(QueueError::Unavailable {
            message: "only the orchestrator knows the depth".to_owned(),
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn lost_or_unavailable(status: &Status, handle: &LeaseHandle) -> QueueError {
    if fault::reason(status).as_deref() == Some(fault::LEASE_LOST) {
        return QueueError::LeaseLost {
            handle: handle.clone(),
        };
    }
    QueueError::Unavailable {
        message: status.message().to_owned(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn unavailable(status: Status) -> QueueError {
    QueueError::Unavailable {
        message: status.message().to_owned(),
    }
}
