//! What the artifact store holds, and what of it goes.

use std::time::Duration;

use proto::v1::storage_server::Storage;
use proto::v1::{
    CollectGarbageRequest, CollectGarbageResponse, collect_garbage_response as response,
};
use tonic::{Request, Response, Status};

use super::{Api, status};
use crate::retention::{GRACE, Garbage, Held, Wanted, collect};

#[tonic::async_trait]
impl Storage for Api {
    async fn collect_garbage(
        &self,
        request: Request<CollectGarbageRequest>,
    ) -> Result<Response<CollectGarbageResponse>, Status> {
        let CollectGarbageRequest { remove, grace_ms } = request.into_inner();
        let wanted = Wanted {
            remove,
            grace: grace_ms.map_or(GRACE, Duration::from_millis),
            unknown_runs: true,
        };
        let found = collect(&self.study, wanted).await;
        let found = found.map_err(status::collect)?;
        let held = Held::ALL.iter().zip(found.held);
        let garbage = Garbage::ALL.iter().zip(found.garbage);
        Ok(Response::new(CollectGarbageResponse {
            held: held
                .map(|(kind, sum)| response::Held {
                    kind: kind.as_str().to_owned(),
                    objects: sum.objects,
                    bytes: sum.bytes,
                })
                .collect(),
            garbage: garbage
                .map(|(kind, sum)| response::Garbage {
                    kind: kind.as_str().to_owned(),
                    objects: sum.objects,
                    bytes: sum.bytes,
                })
                .collect(),
            removed: remove,
            budget_bytes: self.study.keeping.budget,
        }))
    }
}
