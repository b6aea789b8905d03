//! A file that a user streams up, kept in the spool while it is read.

use std::io::Write;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tempfile::NamedTempFile;
use tonic::{Code, Status};

use super::status;
use crate::study::Study;

/// Receives a file: the bytes that `data` finds in each message.
pub(super) async fn receive<M>(
    study: &Study,
    mut messages: impl Stream<Item = Result<M, Status>> + Unpin,
    data: impl Fn(M) -> Option<Bytes>,
) -> Result<NamedTempFile, Status> {
    let failed = |error: std::io::Error| {
        let message = format!("the file cannot be kept: {error}");
        proto::fault::status(Code::ResourceExhausted, "SPOOL_FAILED", message, &[])
    };
    let mut file = NamedTempFile::new_in(&study.spool).map_err(failed)?;
    while let Some(message) = messages.next().await {
        let Some(bytes) = data(message?) else {
            return Err(status::invalid_field(
                "part",
                "options come once, at the beginning",
            ));
        };
        tokio::task::block_in_place(|| file.write_all(&bytes)).map_err(failed)?;
    }
    Ok(file)
}
