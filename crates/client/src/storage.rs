//! What the orchestrator's artifact store holds.

use std::time::Duration;

use proto::transport::Outgoing;
use proto::v1;
use proto::v1::storage_client::StorageClient;

use crate::{Client, ClientError};

impl Client {
    /// What no run, model, replay or data set needs, removed if `remove` says so. A run must have
    /// ended for as long as `grace`; for an hour, if that is not said.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; what was removed until then stays removed.
    pub async fn collect_garbage(
        &self,
        remove: bool,
        grace: Option<Duration>,
    ) -> Result<v1::CollectGarbageResponse, ClientError> {
        let millis = |grace: Duration| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let request = v1::CollectGarbageRequest {
            remove,
            grace_ms: grace.map(millis),
        };
        let answer = self.storage_service().collect_garbage(request).await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    fn storage_service(&self) -> StorageClient<Outgoing> {
        StorageClient::new(self.channel.clone())
    }
}
