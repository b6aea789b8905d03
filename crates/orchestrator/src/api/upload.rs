//! A file that a user streams up, kept in the spool while it is read.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tempfile::NamedTempFile;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
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
        let spool = study.spool.display();
        let message = format!("the file cannot be kept in {spool}: {error}");
        proto::fault::status(Code::ResourceExhausted, "SPOOL_FAILED", message, &[])
    };
    let file = NamedTempFile::new_in(&study.spool).map_err(failed)?;
    let mut writer = File::from_std(file.as_file().try_clone().map_err(failed)?);
    while let Some(message) = messages.next().await {
        let Some(bytes) = data(message?) else {
            return Err(status::invalid_field(
                "part",
                "options come once, at the beginning",
            ));
        };
        writer.write_all(&bytes).await.map_err(failed)?;
    }
    writer.flush().await.map_err(failed)?;
    Ok(file)
}
