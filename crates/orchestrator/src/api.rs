//! What the orchestrator answers over gRPC, one file for each service.

mod blobs;
mod datasets;
mod jobs;
mod models;
mod page;
mod rounds;
mod status;
mod storage;
mod tasks;
mod upload;
mod workers;

use std::sync::Arc;

use proto::v1::blobs_server::BlobsServer;
use proto::v1::datasets_server::DatasetsServer;
use proto::v1::jobs_server::JobsServer;
use proto::v1::models_server::ModelsServer;
use proto::v1::storage_server::StorageServer;
use proto::v1::tasks_server::TasksServer;
use proto::v1::workers_server::WorkersServer;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::{Routes, RoutesBuilder};

use crate::reconciler::Reconciler;
use crate::study::Study;

/// What every service works with.
#[derive(Debug, Clone)]
pub struct Api {
    /// The orchestrator.
    pub study: Arc<Study>,
    /// Its runs.
    pub reconciler: Reconciler,
    /// Ends every stream when the orchestrator does.
    pub closing: CancellationToken,
}

impl Api {
    /// The names of the services, for health checks.
    pub const SERVICES: [&'static str; 7] = [
        DatasetsServer::<Self>::NAME,
        JobsServer::<Self>::NAME,
        WorkersServer::<Self>::NAME,
        TasksServer::<Self>::NAME,
        BlobsServer::<Self>::NAME,
        ModelsServer::<Self>::NAME,
        StorageServer::<Self>::NAME,
    ];

    /// All services, ready to be served.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let mut routes = RoutesBuilder::default();
        routes.add_service(DatasetsServer::new(self.clone()));
        routes.add_service(JobsServer::new(self.clone()));
        routes.add_service(WorkersServer::new(self.clone()));
        routes.add_service(TasksServer::new(self.clone()));
        routes.add_service(BlobsServer::new(self.clone()));
        routes.add_service(ModelsServer::new(self.clone()));
        routes.add_service(StorageServer::new(self.clone()));
        routes.routes()
    }
}
