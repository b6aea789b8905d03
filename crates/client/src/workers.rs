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
}
