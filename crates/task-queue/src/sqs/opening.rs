//! From a name to a pair of queues: one of tasks, one of dead tasks.

use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::config::{Config, ProvideCredentials};
use aws_sdk_sqs::error::SdkError;
use aws_sdk_sqs::types::QueueAttributeName;
use aws_types::SdkConfig;
use thiserror::Error;

use telemetry::Causes;

use super::message::MESSAGE_BYTES_NEEDED;
use super::{SqsQueue, again::Again, leases::Leases};

/// Longest wait for a connection. A server that is there takes one in milliseconds.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for an answer that SQS has not been asked to hold back.
const ATTEMPT: Duration = Duration::from_secs(5);
/// Longest time for a call with all its attempts.
const CALL: Duration = Duration::from_secs(15);
/// Most bytes of a message in a queue that is created here: what SQS allows.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// How long a queue of the dead that is created here keeps them: the 14 days that SQS allows. The
/// time in the queue of tasks counts, so it must be longer than that queue's, which is 4 days.
///
/// # Source
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html>
const DEAD_KEPT: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Which queue to open, and what to do where it is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsQueueConfig {
    /// The name of the queue of tasks, a standard queue. Dead tasks are in `NAME-dead`.
    pub name: String,
    /// Whether queues that do not exist are created. Those that do are left as they are.
    pub create: bool,
    /// How often a task is delivered before it is dead, from 1 to 1000, in a queue that is created.
    /// One that exists keeps to its own redrive policy.
    pub max_deliveries: NonZeroU32,
}

/// Why a queue of SQS cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// SQS has one address per region.
    #[error(
        "no AWS region is known; set it in AWS_REGION or in the profile, also for an endpoint of \
         one's own"
    )]
    NoRegion,
    /// Every call is signed.
    #[error(
        "no AWS credentials are found: {message}; give them in AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, in a profile, or by the role of the machine"
    )]
    NoCredentials {
        /// What the sources of credentials said.
        message: String,
    },
    /// Nothing answers.
    #[error("SQS cannot be reached at {endpoint}: {message}")]
    Unreachable {
        /// The address, or the region whose address it is.
        endpoint: String,
        /// What the connection said.
        message: String,
    },
    /// SQS answers, and says no.
    #[error("SQS refuses to {action} queue {name}: {message}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// Of which queue.
        name: String,
        /// What SQS said.
        message: String,
    },
    /// The queue is not there, and was not to be created.
    #[error(
        "queue {name} does not exist in {region}; it can be created together with its companion, \
         by opening the queue with `create`"
    )]
    NoQueue {
        /// The queue, of tasks or of the dead.
        name: String,
        /// Where it was looked for.
        region: String,
    },
    /// Tasks would be delivered without end.
    #[error(
        "queue {name} does not pass dead tasks on to {dead}; its RedrivePolicy must have {arn} as \
         deadLetterTargetArn"
    )]
    NoRedrive {
        /// The queue of tasks.
        name: String,
        /// The queue of the dead.
        dead: String,
        /// What names that to SQS.
        arn: String,
    },
    /// Large tasks would be refused later.
    #[error(
        "queue {name} takes messages of up to {bytes} bytes; its MaximumMessageSize must be at \
         least {needed}"
    )]
    SmallMessages {
        /// The queue of tasks.
        name: String,
        /// What it takes.
        bytes: usize,
        /// What the largest task needs.
        needed: usize,
    },
}

pub(super) async fn open(aws: &SdkConfig, queue: SqsQueueConfig) -> Result<SqsQueue, OpenError> {
    let region = aws.region().ok_or(OpenError::NoRegion)?;
    let mut timeouts = aws
        .timeout_config()
        .cloned()
        .unwrap_or_else(|| TimeoutConfig::builder().build());
    timeouts.take_defaults_from(
        &TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(CALL)
            .build(),
    );
    let mut config = aws_sdk_sqs::config::Builder::from(aws).timeout_config(timeouts.clone());
    if aws.retry_config().is_none() {
        config = config.retry_config(RetryConfig::standard());
    }
    let opening = Opening {
        aws: aws.clone(),
        region: region.to_string(),
        client: Client::from_conf(config.build()),
        queue,
    };
    let (tasks, dead) = opening.pair().await?;
    Ok(SqsQueue {
        client: opening.client.clone(),
        again: Again::new(opening),
        tasks,
        dead,
        attempt: timeouts.operation_attempt_timeout().unwrap_or(ATTEMPT),
        call: timeouts.operation_timeout().unwrap_or(CALL),
        leases: Leases::new(),
    })
}

/// From which a pair of queues is found or made, at the start and when it is gone.
pub(super) struct Opening {
    pub(super) aws: SdkConfig,
    pub(super) region: String,
    pub(super) client: Client,
    pub(super) queue: SqsQueueConfig,
}

impl Opening {
    /// Whether queues that are not there are made.
    pub(super) fn creates(&self) -> bool {
        self.queue.create
    }

    /// The addresses of both queues.
    pub(super) async fn pair(&self) -> Result<(String, String), OpenError> {
        let name = &self.queue.name;
        let dead_name = format!("{name}-dead");
        let tasks = self.find(name).await?;
        if tasks.is_none() && !self.queue.create {
            return Err(self.missing(name));
        }
        // The dead first, because the other one is told of them when it is created.
        let dead = match self.find(&dead_name).await? {
            Some(url) => url,
            None if self.queue.create => {
                let kept = DEAD_KEPT.as_secs().to_string();
                let kept = (QueueAttributeName::MessageRetentionPeriod, kept);
                self.create(&dead_name, [kept]).await?
            }
            None => return Err(self.missing(&dead_name)),
        };
        let dead_arn = self
            .attribute(&dead_name, &dead, QueueAttributeName::QueueArn)
            .await?;
        let tasks = if let Some(url) = tasks {
            self.check(&url, dead_name, dead_arn).await?;
            url
        } else {
            let max = self.queue.max_deliveries;
            let redrive =
                format!(r#"{{"deadLetterTargetArn":"{dead_arn}","maxReceiveCount":{max}}}"#);
            let redrive = (QueueAttributeName::RedrivePolicy, redrive);
            self.create(name, [redrive]).await?
        };
        Ok((tasks, dead))
    }

    /// Refuses a queue that exists and would fail later.
    async fn check(&self, url: &str, dead: String, arn: String) -> Result<(), OpenError> {
        let name = self.queue.name.clone();
        let redrive = self.attribute(&name, url, QueueAttributeName::RedrivePolicy);
        // An ARN has no character that would be escaped in JSON.
        if !redrive.await?.contains(&format!("\"{arn}\"")) {
            return Err(OpenError::NoRedrive { name, dead, arn });
        }
        let bytes = self.attribute(&name, url, QueueAttributeName::MaximumMessageSize);
        match bytes.await?.parse() {
            Ok(bytes) if bytes < MESSAGE_BYTES_NEEDED => Err(OpenError::SmallMessages {
                name,
                bytes,
                needed: MESSAGE_BYTES_NEEDED,
            }),
            _ => Ok(()),
        }
    }

    /// The address of a queue, if it exists.
    async fn find(&self, name: &str) -> Result<Option<String>, OpenError> {
        match self.client.get_queue_url().queue_name(name).send().await {
            Ok(found) => Ok(found.queue_url),
            Err(SdkError::ServiceError(error)) if error.err().is_queue_does_not_exist() => Ok(None),
            Err(error) => Err(self.failed("find", name, error).await),
        }
    }

    async fn create<const N: usize>(
        &self,
        name: &str,
        attributes: [(QueueAttributeName, String); N],
    ) -> Result<String, OpenError> {
        let mut creating = self.client.create_queue().queue_name(name).attributes(
            QueueAttributeName::MaximumMessageSize,
            MESSAGE_BYTES.to_string(),
        );
        for (attribute, value) in attributes {
            creating = creating.attributes(attribute, value);
        }
        match creating.send().await {
            Ok(created) => created.queue_url.ok_or_else(|| self.missing(name)),
            Err(error) => Err(self.failed("create", name, error).await),
        }
    }

    /// What SQS knows of a queue; empty where it knows nothing.
    async fn attribute(
        &self,
        name: &str,
        url: &str,
        attribute: QueueAttributeName,
    ) -> Result<String, OpenError> {
        let asking = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(attribute.clone());
        match asking.send().await {
            Ok(known) => {
                let value = known.attributes.and_then(|mut all| all.remove(&attribute));
                Ok(value.unwrap_or_default())
            }
            Err(error) => Err(self.failed("describe", name, error).await),
        }
    }

    fn missing(&self, name: &str) -> OpenError {
        OpenError::NoQueue {
            name: name.to_owned(),
            region: self.region.clone(),
        }
    }

    async fn failed<
        E: Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    >(
        &self,
        action: &'static str,
        name: &str,
        error: SdkError<E, R>,
    ) -> OpenError {
        let message = Causes(&error).to_string();
        if matches!(error, SdkError::ServiceError(_)) {
            return OpenError::Refused {
                action,
                name: name.to_owned(),
                message,
            };
        }
        // The client does not say in a type that it found no credentials.
        if let SdkError::DispatchFailure(failure) = &error
            && !failure.is_io()
            && !failure.is_timeout()
        {
            let Some(credentials) = self.aws.credentials_provider() else {
                let message = "no source of them is configured".to_owned();
                return OpenError::NoCredentials { message };
            };
            if let Err(error) = credentials.provide_credentials().await {
                let message = Causes(&error).to_string();
                return OpenError::NoCredentials { message };
            }
        }
        let endpoint = self.aws.endpoint_url();
        OpenError::Unreachable {
            endpoint: endpoint.map_or_else(|| self.region.clone(), str::to_owned),
            message,
        }
    }
}

/// What a call that SQS holds back for `poll` changes about the client.
pub(super) fn patient(
    poll: Duration,
    attempt: Duration,
    call: Duration,
) -> aws_sdk_sqs::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(poll + attempt)
        .operation_timeout(poll + call);
    Config::builder().timeout_config(timeouts.build())
}
