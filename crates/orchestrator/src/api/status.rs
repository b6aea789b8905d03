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

use crate::checkpoint::CheckpointError;
use crate::datasets::import::ImportError;
use crate::datasets::shards::ShardsError;
use crate::datasets::table::TableError;
use crate::datasets::text::TextError;
use crate::generate::GenerateError;
use crate::lineage::LineageError;
use crate::replay::ReplayError;
use crate::retention::{CollectError, NoRoom};
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
        SubmitError::NoRoom(error) => no_room(error),
    }
}

pub(super) fn no_room(error: NoRoom) -> Status {
    let message = error.to_string();
    match error {
        NoRoom::Full { used, budget } => {
            let metadata = [
                ("used_bytes", used.to_string()),
                ("budget_bytes", budget.to_string()),
            ];
            status(Code::ResourceExhausted, "OVER_BUDGET", message, &metadata)
        }
        NoRoom::Collect(error) => collect(error),
    }
}

pub(super) fn collect(error: CollectError) -> Status {
    match error {
        CollectError::Store(error) => store(error),
        CollectError::Blob(error) => blob(error),
        CollectError::Uploads(_) => {
            let message = error.to_string();
            status(Code::Unavailable, "ARTIFACTS_UNAVAILABLE", message, &[])
        }
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
        ImportError::Text {
            source: TextError::Context { .. },
            ..
        } => invalid_field("text.context", &message),
        ImportError::Text { .. } => status(Code::InvalidArgument, "INVALID_TEXT", message, &[]),
        ImportError::Table { .. } => status(Code::InvalidArgument, "INVALID_TABLE", message, &[]),
        ImportError::Spool(_) | ImportError::Examples(_) => {
            status(Code::Internal, "ARTIFACTS_FAILED", message, &[])
        }
        ImportError::Store(error) => store(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn generate(error: GenerateError) -> Status {
    let message = error.to_string();
    let refused = |reason| status(Code::FailedPrecondition, reason, message.clone(), &[]);
    match error {
        GenerateError::NoVocabulary { .. } => refused("NO_VOCABULARY"),
        GenerateError::NotCausal { .. } => refused("NOT_CAUSAL"),
        GenerateError::NoPrompt | GenerateError::Character(_) => invalid_field("prompt", &message),
        GenerateError::Length { .. } => invalid_field("length", &message),
        GenerateError::Temperature { .. } => invalid_field("temperature", &message),
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

pub(super) fn checkpoint(error: CheckpointError) -> Status {
    match error {
        CheckpointError::Blob(error) => blob(error),
        error => {
            let message = error.to_string();
            status(Code::DataLoss, "CHECKPOINT_CORRUPT", message, &[])
        }
    }
}

pub(super) fn lineage(error: LineageError) -> Status {
    match error {
        LineageError::Store(error) => store(error),
        LineageError::Checkpoint(error) => checkpoint(error),
    }
}

pub(super) fn replay(error: ReplayError) -> Status {
    let message = error.to_string();
    let refused = |reason, metadata: &[_]| {
        status(Code::FailedPrecondition, reason, message.clone(), metadata)
    };
    match error {
        ReplayError::NotCommitted { committed, .. } => refused(
            "ROUND_NOT_COMMITTED",
            &[("committed", committed.to_string())],
        ),
        ReplayError::Gone {
            keep_rounds,
            replayable,
            ..
        } => {
            let replayable: Vec<_> = replayable.iter().map(ToString::to_string).collect();
            let metadata = [
                ("keep_rounds", keep_rounds.to_string()),
                ("replayable", replayable.join(",")),
            ];
            refused("ROUND_NOT_KEPT", &metadata)
        }
        ReplayError::Damaged { client, .. } => {
            let metadata = [("client", client.to_string())];
            status(Code::DataLoss, "UPDATE_DAMAGED", message, &metadata)
        }
        ReplayError::Record { .. } | ReplayError::Key(_) => {
            status(Code::DataLoss, "RECORD_CORRUPT", message, &[])
        }
        ReplayError::Store(error) => store(error),
        ReplayError::Checkpoint(error) => checkpoint(error),
        ReplayError::Blob(error) => blob(error),
        ReplayError::Spool(_) => status(Code::Unavailable, "ARTIFACTS_UNAVAILABLE", message, &[]),
        ReplayError::Aggregate(_) => status(Code::Internal, "AGGREGATION_FAILED", message, &[]),
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
