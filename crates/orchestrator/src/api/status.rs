//! The only place where an error of the orchestrator becomes a gRPC code.

use artifacts::BlobError;
use federation::ids::InvalidId;
use federation::run::NotAllowed;
use proto::convert::InvalidMessage;
use proto::engine::EngineError;
use proto::fault::{self, status};
use task_queue::QueueError;
use tonic::{Code, Status};
use tracing::error;

use crate::datasets::import::ImportError;
use crate::datasets::shards::ShardsError;
use crate::datasets::table::TableError;
use crate::store::StoreError;
use crate::submit::SubmitError;

pub(super) fn invalid_field(field: &str, problem: &str) -> Status {
    invalid(InvalidMessage::new(field, problem))
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn invalid(error: InvalidMessage) -> Status {
    let field = [("field", error.field.clone())];
    status(
        Code::InvalidArgument,
        fault::INVALID_MESSAGE,
        error.to_string(),
        &field,
    )
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn invalid_id(error: InvalidId) -> Status {
    let metadata = [("field", error.kind.to_owned())];
    status(
        Code::InvalidArgument,
        fault::INVALID_MESSAGE,
        error.to_string(),
        &metadata,
    )
}

/// A fault of ours. The server logs it, as it does all calls that end so.
pub(super) fn internal(problem: String) -> Status {
    status(Code::Internal, "INTERNAL", problem, &[])
}

/// `what` of the name `name` does not exist; `hint` says what does.
pub(super) fn not_found(what: &str, name: &str, hint: &str) -> Status {
    let reason = format!("{}_NOT_FOUND", what.to_uppercase().replace(' ', "_"));
    let message = format!("{what} {name} does not exist; {hint}");
    status(
        Code::NotFound,
        &reason,
        message,
        &[("name", name.to_owned())],
    )
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn store(error: StoreError) -> Status {
    if let StoreError::Corrupt { .. } = error {
        return status(Code::DataLoss, "STORE_CORRUPT", error.to_string(), &[]);
    }
    error!(error = %error, "the run store failed a call");
    status(
        Code::Unavailable,
        "STORE_UNAVAILABLE",
        error.to_string(),
        &[],
    )
}

pub(super) fn submit(error: SubmitError) -> Status {
    let message = error.to_string();
    match error {
        SubmitError::Invalid(invalid) => {
            let fields: Vec<_> = invalid
                .violations
                .iter()
                .map(|violation| violation.field.clone())
                .collect();
            let metadata = [("fields", fields.join(","))];
            status(Code::InvalidArgument, "INVALID_JOB", message, &metadata)
        }
        SubmitError::Key { .. } => invalid_field("idempotency_key", &message),
        SubmitError::KeyTaken { run, .. } => {
            let metadata = [("run", run.to_string())];
            status(
                Code::AlreadyExists,
                "IDEMPOTENCY_KEY_TAKEN",
                message,
                &metadata,
            )
        }
        SubmitError::Store(error) => store(error),
    }
}

pub(super) fn not_allowed(error: NotAllowed) -> Status {
    let metadata = [("state", error.state.to_string())];
    status(
        Code::FailedPrecondition,
        "NOT_ALLOWED",
        error.to_string(),
        &metadata,
    )
}

pub(super) fn import(error: ImportError) -> Status {
    let message = error.to_string();
    match error {
        ImportError::Name { .. } => invalid_field("name", &message),
        ImportError::Split(_) | ImportError::NothingHeldOut => {
            invalid_field("test_fraction", &message)
        }
        ImportError::NameTaken { name, .. } => status(
            Code::AlreadyExists,
            "DATASET_EXISTS",
            message,
            &[("name", name)],
        ),
        ImportError::Table { .. } => status(Code::InvalidArgument, "INVALID_TABLE", message, &[]),
        ImportError::Spool(_) | ImportError::Examples(_) => {
            status(Code::Internal, "ARTIFACTS_FAILED", message, &[])
        }
        ImportError::Store(error) => store(error),
    }
}

pub(super) fn table(file: &str, error: &TableError) -> Status {
    status(
        Code::InvalidArgument,
        "INVALID_TABLE",
        format!("{file}: {error}"),
        &[],
    )
}

pub(super) fn shards(error: ShardsError) -> Status {
    let message = error.to_string();
    match error {
        ShardsError::Partition(_) => invalid_field("partition", &message),
        ShardsError::Examples(_) => status(Code::Internal, "ARTIFACTS_FAILED", message, &[]),
        ShardsError::Store(error) => store(error),
    }
}

pub(super) fn blob(error: BlobError) -> Status {
    let message = error.to_string();
    match error {
        BlobError::NotFound { key } => status(
            Code::NotFound,
            fault::BLOB_NOT_FOUND,
            message,
            &[("key", key.to_string())],
        ),
        BlobError::DigestMismatch {
            expected, actual, ..
        } => {
            let metadata = [
                ("expected", expected.to_string()),
                ("actual", actual.to_string()),
            ];
            status(Code::DataLoss, fault::DIGEST_MISMATCH, message, &metadata)
        }
        BlobError::WrongLength {
            expected, actual, ..
        } => {
            let metadata = [
                ("expected", expected.to_string()),
                ("actual", actual.to_string()),
            ];
            status(Code::OutOfRange, fault::WRONG_LENGTH, message, &metadata)
        }
        BlobError::RangeOutside {
            start, end, len, ..
        } => {
            let metadata = [
                ("start", start.to_string()),
                ("end", end.to_string()),
                ("len", len.to_string()),
            ];
            status(Code::OutOfRange, fault::RANGE_OUTSIDE, message, &metadata)
        }
        BlobError::Io { .. } => {
            error!(error = message, "the artifact store failed a call");
            status(Code::Unavailable, "ARTIFACTS_UNAVAILABLE", message, &[])
        }
        BlobError::List { .. } | BlobError::Unavailable { .. } => {
            status(Code::Unavailable, "ARTIFACTS_UNAVAILABLE", message, &[])
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn queue(error: QueueError) -> Status {
    let message = error.to_string();
    match error {
        QueueError::LeaseLost { .. } => status(Code::NotFound, fault::LEASE_LOST, message, &[]),
        QueueError::BodyTooLarge { .. } => invalid_field("body", &message),
        QueueError::Full { .. } | QueueError::Unavailable { .. } => {
            status(Code::Unavailable, "QUEUE_UNAVAILABLE", message, &[])
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn engine(error: EngineError) -> Status {
    let code = if error.is_transient() {
        Code::Unavailable
    } else {
        Code::Internal
    };
    status(code, "COMPUTE_FAILED", error.to_string(), &[])
}
