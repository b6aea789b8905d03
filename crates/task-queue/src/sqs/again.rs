//! Queues that were there and are gone, with all that was in them.
//!
//! Somebody deleted them, or the server keeps nothing when it ends. They are made again where that is
//! allowed, and waited for where it is not; their addresses stay the same. Who sent what was in them
//! is told by a number.

use std::error::Error;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use tracing::warn;

use super::opening::Opening;
use super::{SqsQueue, unavailable};
use crate::QueueError;

/// What brings the queues back.
pub(super) struct Again {
    opening: Opening,
    /// Of several calls that find the queue gone, one makes it again.
    making: tokio::sync::Mutex<()>,
    is_gone: AtomicBool,
    losses: AtomicU64,
}

impl Again {
    pub(super) fn new(opening: Opening) -> Self {
        Self {
            opening,
            making: tokio::sync::Mutex::default(),
            is_gone: AtomicBool::new(false),
            losses: AtomicU64::new(0),
        }
    }

    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    /// A queue is gone. What it held counts as lost when it is back.
    pub(super) async fn gone(&self) {
        if !self.is_gone.swap(true, Ordering::SeqCst) {
            warn!("a queue of SQS is gone, with all that was in it");
        }
        let Ok(_alone) = self.making.try_lock() else {
            return;
        };
        if self.opening.creates()
            && let Err(error) = self.opening.pair().await
        {
            warn!(error = %error, "the queue of SQS is not made again");
        }
    }

    fn there(&self) {
        if self.is_gone.swap(false, Ordering::SeqCst) {
            self.losses.fetch_add(1, Ordering::SeqCst);
            warn!("the queue of SQS is there again, and empty; what is not done is sent again");
        }
    }
}

impl SqsQueue {
    /// Notes what an answer says about the queue. The call that finds it gone fails; the next one may
    /// find it.
    pub(super) async fn there<T, E, R>(
        &self,
        answer: Result<T, SdkError<E, R>>,
    ) -> Result<T, QueueError>
    where
        E: Error + ProvideErrorMetadata + 'static,
        R: Debug + 'static,
    {
        match answer {
            Ok(answer) => {
                self.again.there();
                Ok(answer)
            }
            Err(error) => {
                if is_gone(&error) {
                    self.again.gone().await;
                }
                Err(unavailable(&error))
            }
        }
    }
}

/// Whether a call was about a queue that does not exist.
pub(super) fn is_gone<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    let code = error.code().unwrap_or_default();
    code.contains("NonExistentQueue") || code == "QueueDoesNotExist"
}
