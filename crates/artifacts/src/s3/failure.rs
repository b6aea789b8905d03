//! What S3's refusals mean.

use std::error::Error;
use std::fmt::Debug;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use telemetry::Causes;

use crate::{BlobError, Key};

/// What can be told from an answer, whichever request it was to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The object is not there.
    NoObject,
    /// The bucket is not there.
    NoBucket,
    /// The upload in parts is not there: completed or aborted.
    NoUpload,
    /// A condition of the request does not hold.
    Condition,
    /// Anything else, or no answer.
    Other,
}

pub(super) fn refusal<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Refusal {
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.as_service_error().and_then(E::code);
    match (code, status) {
        (Some("NoSuchBucket"), _) => Refusal::NoBucket,
        (Some("NoSuchUpload"), _) => Refusal::NoUpload,
        (Some("NoSuchKey" | "NotFound"), _) => Refusal::NoObject,
        (Some("PreconditionFailed" | "ConditionalRequestConflict"), _) | (_, Some(412)) => {
            Refusal::Condition
        }
        // A look has no body, so its answer has no code.
        (None, Some(404)) => Refusal::NoObject,
        _ => Refusal::Other,
    }
}

/// Says what failed, with all that the SDK knows of why.
pub(super) fn unavailable<E>(doing: &str, error: &SdkError<E>) -> BlobError
where
    E: Error + Debug + 'static,
{
    BlobError::Unavailable {
        message: format!("S3 cannot {doing}: {}", Causes(error)),
    }
}

/// The same for an object that the request is about.
pub(super) fn failed<E>(doing: &str, key: &Key, error: &SdkError<E>) -> BlobError
where
    E: Error + ProvideErrorMetadata + Debug + 'static,
{
    match refusal(error) {
        Refusal::NoObject => BlobError::NotFound { key: key.clone() },
        _ => unavailable(&format!("{doing} {key}"), error),
    }
}
