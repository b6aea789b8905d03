//! Health over gRPC: told to callers, and asked of others.

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::Body as HttpBody;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::StdError;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Told;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::health_reporter;

/// The name under which a caller asks for the whole process.
const WHOLE: &str = "";

/// Tells callers that `services` serve, until `draining`. The future that says so then is to be
/// spawned.
pub async fn tell_callers(
    services: &'static [&'static str],
    draining: CancellationToken,
) -> (
    HealthServer<impl Health>,
    impl Future<Output = ()> + Send + 'static,
) {
    let (reporter, server) = health_reporter();
    let names = || services.iter().copied().chain([WHOLE]);
    for name in names() {
        reporter
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    let end = async move {
        draining.cancelled().await;
        for name in names() {
            reporter
                .set_service_status(name, ServingStatus::NotServing)
                .await;
        }
    };
    (server, end)
}

/// Asks whether `service` at the other end of `channel` serves.
pub fn answers<T>(
    channel: T,
    service: &'static str,
) -> impl Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static
where
    T: GrpcService<Body> + Clone + Send + Sync + 'static,
    T::Error: Into<StdError>,
    T::Future: Send,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    move || {
        let mut client = HealthClient::new(channel.clone());
        Box::pin(async move {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            match client.check(request).await {
                Ok(answer) if answer.get_ref().status() == Told::Serving => Ok(()),
                Ok(_) => Err(format!("{service} does not serve")),
                Err(status) => Err(status.message().to_owned()),
            }
        })
    }
}
