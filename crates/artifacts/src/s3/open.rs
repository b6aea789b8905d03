//! From a place to a store that answers.

use std::error::Error;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_bucket::HeadBucketError;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_types::SdkConfig;
use thiserror::Error;
use tracing::{info, warn};

use telemetry::Causes;

use super::failure::unavailable;
use super::multipart::ABANDONED;
use super::{S3Place, S3Store};
use crate::BlobError;

/// Where S3 says in which region a bucket is.
const REGION: &str = "x-amz-bucket-region";

/// The region whose name must not be said when a bucket is made:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html>.
const UNSAID: &str = "us-east-1";

/// Why a bucket cannot be used.
#[derive(Debug, Error)]
pub enum S3OpenError {
    /// It is not there.
    #[error("bucket {bucket} does not exist; make it, or let the store make it (create)")]
    NoBucket {
        /// Which one.
        bucket: String,
    },
    /// It is in another region than the one that was asked.
    #[error("bucket {bucket} is in region {region}; configure that region instead of {asked}")]
    OtherRegion {
        /// Which one.
        bucket: String,
        /// Where it is.
        region: String,
        /// Who was asked.
        asked: String,
    },
    /// Nothing to sign requests with.
    #[error(
        "bucket {bucket} cannot be asked without credentials; set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, a profile or a role: {message}"
    )]
    NoCredentials {
        /// Which one.
        bucket: String,
        /// What the SDK said.
        message: String,
    },
    /// The credentials do not suffice.
    #[error(
        "bucket {bucket} refuses these credentials; they need s3:ListBucket on it, and \
         s3:GetObject, s3:PutObject and s3:DeleteObject on its objects: {message}"
    )]
    Refused {
        /// Which one.
        bucket: String,
        /// What S3 said.
        message: String,
    },
    /// Nobody answers.
    #[error("bucket {bucket} cannot be reached at {endpoint}; is the endpoint right? {message}")]
    Unreachable {
        /// Which one.
        bucket: String,
        /// Who was asked.
        endpoint: String,
        /// What the connection said.
        message: String,
    },
    /// Anything else.
    #[error("bucket {bucket} cannot be used: {message}")]
    Other {
        /// Which one.
        bucket: String,
        /// What S3 said.
        message: String,
    },
}

impl S3Store {
    /// Opens the store at `place`, and aborts uploads that a process which died left there.
    ///
    /// # Errors
    ///
    /// [`S3OpenError`] says what would be right.
    pub async fn open(aws: &SdkConfig, place: S3Place) -> Result<Self, S3OpenError> {
        // Without any, the SDK would ask as nobody.
        if aws.credentials_provider().is_none() {
            return Err(S3OpenError::NoCredentials {
                bucket: place.bucket,
                message: "none are configured".to_owned(),
            });
        }
        let store = Self::new(aws, place);
        match store.probe().await {
            Err(S3OpenError::NoBucket { bucket }) if store.place.create => {
                let created = store.create_bucket().await;
                created.map_err(|error| S3OpenError::Other {
                    bucket,
                    message: error.to_string(),
                })?;
            }
            probed => probed?,
        }
        if let Err(error) = store.sweep(ABANDONED).await {
            // They take up room and do no other harm; the next start tries again.
            warn!(bucket = store.bucket(), error = %error, "unfinished uploads were not aborted");
        }
        Ok(store)
    }

    /// Asks whether the bucket is there.
    ///
    /// # Errors
    ///
    /// [`S3OpenError`] says what would be right.
    pub async fn probe(&self) -> Result<(), S3OpenError> {
        let probed = self.client.head_bucket().bucket(self.bucket()).send().await;
        probed
            .map(|_there| ())
            .map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &SdkError<HeadBucketError>) -> S3OpenError {
        let bucket = self.bucket().to_owned();
        let message = Causes(error).to_string();
        let answer = error.raw_response();
        let region = answer.and_then(|answer| answer.headers().get(REGION));
        let asked = self.region();
        match (answer.map(|answer| answer.status().as_u16()), region) {
            (Some(301 | 400), Some(region)) if region != asked => S3OpenError::OtherRegion {
                bucket,
                region: region.to_owned(),
                asked,
            },
            (Some(404), _) => S3OpenError::NoBucket { bucket },
            (Some(401 | 403), _) => S3OpenError::Refused { bucket, message },
            (Some(_), _) => S3OpenError::Other { bucket, message },
            (None, _) if lacks_credentials(error) => S3OpenError::NoCredentials { bucket, message },
            (None, _) => S3OpenError::Unreachable {
                bucket,
                endpoint: self.endpoint.to_string(),
                message,
            },
        }
    }

    fn region(&self) -> String {
        let region = self.client.config().region();
        region.map_or_else(|| "none".to_owned(), ToString::to_string)
    }

    /// Makes the bucket. That another process has just made it is fine.
    pub(super) async fn create_bucket(&self) -> Result<(), BlobError> {
        let region = self.region();
        let elsewhere = (region != UNSAID).then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region.as_str()))
                .build()
        });
        let created = self
            .client
            .create_bucket()
            .bucket(self.bucket())
            .set_create_bucket_configuration(elsewhere)
            .send()
            .await;
        match created {
            Ok(_created) => {
                info!(bucket = self.bucket(), "bucket made");
                Ok(())
            }
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_bucket_already_owned_by_you()) =>
            {
                Ok(())
            }
            Err(error) => {
                let doing = format!("make bucket {}", self.bucket());
                Err(unavailable(&doing, &error))
            }
        }
    }
}

/// Whether a request could not be signed. The SDK has no variant for that.
fn lacks_credentials(error: &SdkError<HeadBucketError>) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        let message = error.to_string();
        if message.contains("credential") || message.contains("identity") {
            return true;
        }
        cause = error.source();
    }
    false
}
