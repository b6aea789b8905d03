//! A worker's report, understood and looked at.

use artifacts::{BlobRef, Key};
use bytes::Bytes;
use federation::acceptance::{Refusal, Report};
use federation::job::{Strategy, Weighting};
use federation::{Digest, TaskId, WorkerId};
use proto::body;
use proto::convert::{InvalidMessage, maybe_kernel_class};
use proto::v1::worker_message::Done;

use crate::store::Receipt;
use crate::study::Study;
use crate::updates;

/// A report as it came in.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Who reports.
    pub worker: WorkerId,
    /// What it says.
    pub report: Report,
    /// Where the worker says that the update stands.
    pub update: BlobRef,
    /// The update itself, if it came with the report.
    pub data: Bytes,
    /// Why the update that came with the report does not count.
    pub refusal: Option<Refusal>,
    /// Which delivery of the task.
    pub lease_epoch: u32,
    /// Optimiser steps behind it.
    pub num_steps: u32,
}

impl Incoming {
    /// Understands a worker's message.
    ///
    /// # Errors
    ///
    /// [`InvalidMessage`] names the field.
    pub fn new(worker: WorkerId, done: Done) -> Result<Self, InvalidMessage> {
        let invalid = |field: &'static str| {
            move |error: &dyn std::fmt::Display| InvalidMessage::new(field, error)
        };
        let task: TaskId = done.task.parse().map_err(|error| invalid("task")(&error))?;
        let update = done
            .update
            .as_ref()
            .ok_or_else(|| InvalidMessage::missing("update"))?;
        let body = update
            .body
            .as_ref()
            .ok_or_else(|| InvalidMessage::missing("update.body"))?;
        let digest = body
            .digest
            .parse()
            .map_err(|error| invalid("update.body.digest")(&error))?;
        let update = BlobRef {
            key: update
                .key
                .parse()
                .map_err(|error| invalid("update.key")(&error))?,
            offset: update.offset_bytes,
            len: body.length_bytes,
            digest,
        };
        let report = Report {
            task,
            base: done
                .base_digest
                .parse()
                .map_err(|error| invalid("base_digest")(&error))?,
            digest,
            bytes: body.length_bytes,
            num_examples: done.num_examples,
            mean_loss: done.mean_loss,
            kernel_class: maybe_kernel_class(&done.kernel_class)?,
        };
        if done.data.len() > body::UPDATE_WITH_REPORT_MAX {
            let problem = format!(
                "has {} bytes; an update of more than {} is uploaded before it is reported",
                done.data.len(),
                body::UPDATE_WITH_REPORT_MAX
            );
            return Err(invalid("data")(&problem));
        }
        let (lease_epoch, num_steps) = (done.lease_epoch, done.num_steps);
        Ok(Self {
            worker,
            report,
            update,
            data: done.data,
            refusal: None,
            lease_epoch,
            num_steps,
        })
    }

    /// Looks at the update that came with the report, if one did: it must be the bytes that were
    /// announced, and finite numbers. What is found is judged with the report.
    pub fn look(&mut self) {
        let BlobRef { len, digest, .. } = &self.update;
        let problem = match self.data.len() as u64 {
            0 => return,
            actual if actual != *len => {
                format!("{actual} bytes came where {len} were announced")
            }
            _ => match Digest::of(&self.data) {
                actual if actual != *digest => {
                    format!("what came has digest {actual} where {digest} was announced")
                }
                _ if updates::are_finite(&self.data) => return,
                _ => {
                    self.refusal = Some(updates::not_finite());
                    return;
                }
            },
        };
        self.refusal = Some(Refusal::Damaged { problem });
    }

    /// Where the update of this delivery belongs.
    pub(super) fn place(&self) -> Key {
        Key::update(&self.report.task, self.lease_epoch)
    }

    /// Its receipt, as long as it is neither accepted nor refused.
    pub(super) fn receipt(&self, study: &Study, strategy: Strategy) -> Receipt {
        let Strategy::FedAvg { weighting } = strategy;
        let task = &self.report.task;
        Receipt {
            round: task.round,
            client: task.client,
            attempt: task.attempt,
            lease_epoch: self.lease_epoch,
            worker: self.worker.clone(),
            num_examples: self.report.num_examples,
            num_steps: self.num_steps,
            kernel_class: self.report.kernel_class,
            weight: weight(self.report.num_examples, weighting),
            mean_loss: self.report.mean_loss,
            bytes: self.report.bytes,
            digest: self.report.digest,
            key: self.update.key.to_string(),
            offset: self.update.offset,
            accepted: false,
            reason: String::new(),
            message: String::new(),
            received_at: study.now(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of rows are far below 2^53"
)]
fn weight(num_examples: u64, weighting: Weighting) -> f64 {
    match weighting {
        Weighting::Examples => num_examples as f64,
        Weighting::Uniform => 1.0,
    }
}
