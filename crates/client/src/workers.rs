//! Workers, as the orchestrator sees them.

use proto::v1;
use proto::v1::workers_client::WorkersClient;

use crate::{Client, ClientError};

impl Client {
    /// Every worker the orchestrator knows.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn workers(&self) -> Result<Vec<v1::Worker>, ClientError> {
        let mut workers = WorkersClient::new(self.channel.clone());
        let answer = workers.list(v1::ListWorkersRequest {}).await;
        let answer = answer.map_err(|status| self.failed(&status))?;
        Ok(answer.into_inner().workers)
    }

    /// Has a worker finish what it has, lease nothing new, and end.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] when no worker of this name is connected.
    pub async fn drain(&self, worker: &str) -> Result<v1::Worker, ClientError> {
        let mut workers = WorkersClient::new(self.channel.clone());
        let answer = workers
            .drain(v1::DrainWorkerRequest {
                worker: worker.to_owned(),
            })
            .await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        Ok(answer.worker.unwrap_or_default())
    }
}
