//! What facts, bytes and tasks are kept in, as the configuration has it.

use std::fs;
use std::io;
use std::sync::Arc;

use artifacts::{ArtifactStore, LocalStore, S3OpenError, S3Place, S3Store};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use clock::Clock;
use seams::Seams;
use task_queue::{MemoryQueue, OpenError as SqsOpenError, SqsQueue, SqsQueueConfig, TaskQueue};
use thiserror::Error;
use uuid::Uuid;

use crate::config::Config;
use crate::data_dir::DataDir;
use crate::leading::Lease;
use crate::metrics::Metrics;
use crate::store::{Place, PlaceError, Store, StoreError};

/// The access key by which LocalStack is tried.
const TRIAL_KEY: &str = "test";

/// Why a backend cannot be used. What names a setting says its cause, and has no other one.
#[derive(Debug, Error)]
pub enum BackendError {
    /// The run store's address is none.
    #[error("store.url: {0}")]
    Place(PlaceError),
    /// The run store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory of the artifacts cannot be used.
    #[error(transparent)]
    Directory(#[from] artifacts::OpenError),
    /// The bucket cannot be used.
    #[error("artifacts.bucket: {0}")]
    Bucket(S3OpenError),
    /// The queue cannot be used.
    #[error("queue.name: {0}")]
    Queue(SqsOpenError),
    /// What is kept would be gone when LocalStack ends.
    #[error(
        "APP_ENV is production, and the access key `{TRIAL_KEY}` is one that only LocalStack takes; \
         set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of a real account, or unset APP_ENV \
         for a trial"
    )]
    Trial,
    /// The name of this orchestrator cannot be kept.
    #[error("this orchestrator's name cannot be kept in its data directory: {0}")]
    Holder(io::Error),
}

/// All backends of one orchestrator.
pub(crate) struct Backends {
    pub(crate) store: Store,
    /// Under which this orchestrator leads, where others could.
    pub(crate) lease: Option<Lease>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) queue: Arc<dyn TaskQueue>,
}

impl Backends {
    pub(crate) async fn open(
        config: &Config,
        data_dir: &DataDir,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        seams: &Seams,
    ) -> Result<Self, BackendError> {
        let place = Place::read(&config.store.url, data_dir.store());
        let place = place.map_err(BackendError::Place)?;
        let aws = Box::pin(aws(config)).await;
        if config.aws.refuses_trials {
            refuse_trial(&aws).await?;
        }
        Ok(Self {
            lease: lease(&place, config, data_dir)?,
            store: Store::open(&place, metrics.store.clone())
                .await?
                .through(seams.clone()),
            artifacts: artifacts(config, data_dir, &aws, metrics, seams).await?,
            queue: queue(config, clock, &aws).await?,
        })
    }
}

/// In one process for one directory nobody else could lead.
fn lease(
    place: &Place,
    config: &Config,
    data_dir: &DataDir,
) -> Result<Option<Lease>, BackendError> {
    Ok(match place {
        Place::Sqlite(_) => None,
        Place::Postgres(_) => Some(Lease {
            holder: holder(data_dir).map_err(BackendError::Holder)?,
            ttl: config.store.lease,
        }),
    })
}

/// A name that is this data directory's own, so that an orchestrator that is started again need not
/// wait for its own lease to run out.
fn holder(data_dir: &DataDir) -> io::Result<String> {
    let file = data_dir.holder();
    if let Ok(name) = fs::read_to_string(&file)
        && !name.is_empty()
    {
        return Ok(name);
    }
    let name = format!("orchestrator-{}", Uuid::new_v4().simple());
    fs::write(&file, &name)?;
    Ok(name)
}

async fn artifacts(
    config: &Config,
    data_dir: &DataDir,
    aws: &SdkConfig,
    metrics: &Metrics,
    seams: &Seams,
) -> Result<ArtifactStore, BackendError> {
    let local = LocalStore::open(data_dir.artifacts())?
        .counted(metrics.artifacts.clone())
        .through(seams.clone());
    let wanted = &config.artifacts;
    if wanted.bucket.is_empty() {
        return Ok(ArtifactStore::local(local));
    }
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let place = S3Place {
        bucket: wanted.bucket.clone(),
        prefix: wanted.prefix.clone(),
        path_style: wanted.path_style,
        storage_class: given(&wanted.storage_class),
        kms_key: given(&wanted.kms_key),
        create: wanted.create,
    };
    let remote = S3Store::open(aws, place)
        .await
        .map_err(BackendError::Bucket)?
        .counted(metrics.artifacts.clone())
        .through(seams.clone());
    Ok(ArtifactStore::on_s3(local, remote))
}

async fn queue(
    config: &Config,
    clock: &Arc<dyn Clock>,
    aws: &SdkConfig,
) -> Result<Arc<dyn TaskQueue>, BackendError> {
    let wanted = &config.queue;
    if wanted.name.is_empty() {
        let queue = MemoryQueue::new(Arc::clone(clock));
        return Ok(Arc::new(queue.with_max_deliveries(wanted.max_deliveries)));
    }
    let queue = SqsQueueConfig {
        name: wanted.name.clone(),
        max_deliveries: wanted.max_deliveries,
        create: wanted.create,
    };
    let queue = SqsQueue::open(aws, queue).await;
    Ok(Arc::new(queue.map_err(BackendError::Queue)?))
}

/// How Amazon is reached. Where nothing is kept there, nobody is asked: away from its machines, the
/// region's source of last resort is waited for in vain.
async fn aws(config: &Config) -> SdkConfig {
    if config.artifacts.bucket.is_empty() && config.queue.name.is_empty() {
        return SdkConfig::builder().build();
    }
    let config = &config.aws;
    let mut loader = aws_config::defaults(BehaviorVersion::latest());
    if !config.endpoint.is_empty() {
        loader = loader.endpoint_url(&config.endpoint);
    }
    if !config.region.is_empty() {
        loader = loader.region(Region::new(config.region.clone()));
    }
    loader.load().await
}

async fn refuse_trial(aws: &SdkConfig) -> Result<(), BackendError> {
    let Some(provider) = aws.credentials_provider() else {
        return Ok(());
    };
    match provider.provide_credentials().await {
        Ok(credentials) if credentials.access_key_id() == TRIAL_KEY => Err(BackendError::Trial),
        // That there are none, whoever needs them says.
        Ok(_) | Err(_) => Ok(()),
    }
}
