//! The only place where an error of the engine becomes a gRPC code.

use federation::Digest;
use federation::local::LocalTraining;
use federation::model::Architecture;
use proto::body::BodyError;
use proto::convert::{InvalidMessage, maybe_kernel_class};
use proto::engine::GENERATED_MAX;
use proto::fault::{BODY_NOT_HELD, DIGEST_MISMATCH, INVALID_MESSAGE, KERNELS_UNAVAILABLE, status};
use proto::v1;
use tonic::{Code, Status};

use crate::engine::{EvaluateError, ExamplesError, GenerateError, Kernels, PlanError, TrainError};

/// Reason of a training whose loss is no number any more.
const DIVERGED: &str = "DIVERGED";

/// Reason of tensors that do not fit the model.
const SHAPE_MISMATCH: &str = "SHAPE_MISMATCH";

fn missing(field: &str) -> Status {
    invalid(InvalidMessage::missing(field))
}

pub(super) fn invalid(error: InvalidMessage) -> Status {
    let message = error.to_string();
    status(
        Code::InvalidArgument,
        INVALID_MESSAGE,
        message,
        &[("field", error.field)],
    )
}

pub(super) fn architecture(model: Option<&v1::Architecture>) -> Result<Architecture, Status> {
    model
        .ok_or_else(|| missing("model"))?
        .try_into()
        .map_err(invalid)
}

pub(super) fn local(told: Option<&v1::LocalTraining>) -> Result<LocalTraining, Status> {
    let told = told.ok_or_else(|| missing("local"))?;
    LocalTraining::try_from(told).map_err(invalid)
}

pub(super) fn digest(field: &str, text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error| invalid(InvalidMessage::new(field, error)))
}

/// The kernels of the class that a field names, or those in use where it names none.
pub(super) fn kernels(name: &str) -> Result<Kernels, Status> {
    let Some(class) = maybe_kernel_class(name).map_err(invalid)? else {
        return Ok(Kernels::native());
    };
    Kernels::of(class).ok_or_else(|| {
        let own = Kernels::available().map(|kernels| kernels.class().as_str());
        let own: Vec<_> = own.collect();
        let message = format!(
            "this processor cannot run kernels of class {class}; it has {}",
            own.join(", ")
        );
        let class = class.to_string();
        status(
            Code::FailedPrecondition,
            KERNELS_UNAVAILABLE,
            message,
            &[("kernel_class", class)],
        )
    })
}

pub(super) fn not_held(digest: &str) -> Status {
    let message = format!("body {digest} is not held; put it and ask again");
    status(
        Code::NotFound,
        BODY_NOT_HELD,
        message,
        &[("digest", digest.to_owned())],
    )
}

pub(super) fn shape(message: String) -> Status {
    status(Code::InvalidArgument, SHAPE_MISMATCH, message, &[])
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn body(error: BodyError) -> Status {
    let reason = match error {
        BodyError::Changed { .. } | BodyError::Length { .. } => DIGEST_MISMATCH,
        _ => INVALID_MESSAGE,
    };
    status(Code::InvalidArgument, reason, error.to_string(), &[])
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn examples(error: ExamplesError) -> Status {
    shape(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn evaluate(error: EvaluateError) -> Status {
    shape(error.to_string())
}

pub(super) fn generate(error: GenerateError) -> Status {
    let message = error.to_string();
    match error {
        GenerateError::NotFinite => status(Code::FailedPrecondition, DIVERGED, message, &[]),
        GenerateError::Temperature { .. } => invalid(InvalidMessage::new("temperature", error)),
        _ => shape(message),
    }
}

pub(super) fn length(length: u32) -> Status {
    let problem = format!("is {length}; must be from 1 to {GENERATED_MAX}");
    invalid(InvalidMessage::new("length", problem))
}

pub(super) fn plan(error: PlanError) -> Status {
    let field = match error {
        PlanError::NoRows => "rows",
        _ => "local",
    };
    invalid(InvalidMessage::new(field, error))
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
pub(super) fn train(error: TrainError) -> Status {
    match error {
        TrainError::Cancelled { .. } => {
            status(Code::Cancelled, "CANCELLED", error.to_string(), &[])
        }
        TrainError::Diverged { .. } => {
            status(Code::FailedPrecondition, DIVERGED, error.to_string(), &[])
        }
        _ => shape(error.to_string()),
    }
}

/// compute-core ends; the same call may be answered when it is back.
pub(super) fn closing() -> Status {
    status(
        Code::Unavailable,
        "CLOSING",
        "compute-core is shutting down",
        &[],
    )
}

/// A computation panicked.
pub(super) fn broken(error: &tokio::task::JoinError) -> Status {
    status(
        Code::Internal,
        "INTERNAL",
        format!("a computation broke: {error}"),
        &[],
    )
}
