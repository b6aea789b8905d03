//! A file on its way up, in pieces.

use std::future::pending;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use proto::body::CHUNK_BYTES;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tonic::Status;

use crate::{Client, ClientError};

/// A file that is open for reading.
#[derive(Debug)]
pub(crate) struct Upload {
    file: File,
    path: PathBuf,
}

/// Tells when the file of an upload cannot be read to its end.
#[derive(Debug)]
pub(crate) struct Reading(Option<oneshot::Receiver<ClientError>>);

impl Upload {
    pub(crate) async fn open(path: &Path) -> Result<Self, ClientError> {
        let file = File::open(path)
            .await
            .map_err(|cause| ClientError::file("read", path, cause))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// `first`, then the file in messages of at most [`CHUNK_BYTES`].
    ///
    /// When reading fails the messages do not end, since the other side would take an end for the
    /// file's; [`Reading`] tells, and dropping the call tells the other side.
    pub(crate) fn messages<M: Send + 'static>(
        self,
        first: M,
        message: fn(Bytes) -> M,
    ) -> (impl Stream<Item = M> + Send + 'static, Reading) {
        let (failed, reading) = oneshot::channel();
        let pieces = stream::unfold((self, failed), move |(mut upload, failed)| async move {
            match upload.next_piece().await {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => Some((message(piece), (upload, failed))),
                Err(error) => {
                    // Nobody listens when the call was given up already.
                    let _unheard = failed.send(error);
                    pending().await
                }
            }
        });
        let messages = stream::iter([first]).chain(pieces);
        (messages, Reading(Some(reading)))
    }

    async fn next_piece(&mut self) -> Result<Bytes, ClientError> {
        let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
        let mut file = (&mut self.file).take(CHUNK_BYTES as u64);
        while piece.len() < CHUNK_BYTES {
            let read = file.read_buf(&mut piece).await;
            if read.map_err(|cause| ClientError::file("read", &self.path, cause))? == 0 {
                break;
            }
        }
        Ok(piece.freeze())
    }
}

impl Reading {
    /// What `call` answers, unless the file cannot be read.
    pub(crate) async fn and<T>(
        &mut self,
        client: &Client,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        tokio::select! {
            biased;
            error = self.failure() => Err(error),
            answer = call => answer.map_err(|status| client.failed(&status)),
        }
    }

    /// Waits for a failure, forever when the file was read to its end.
    async fn failure(&mut self) -> ClientError {
        if let Some(reading) = &mut self.0
            && let Ok(error) = reading.await
        {
            return error;
        }
        self.0 = None;
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::server::Server;
    use crate::{Content, ImportOptions};

    fn options() -> ImportOptions {
        ImportOptions {
            name: "digits".into(),
            content: Content::Table {
                label: "digit".into(),
                scaling: proto::v1::Scaling::Standard,
            },
            test_fraction: 0.2,
            seed: 7,
            replace: false,
        }
    }

    /// A file of two whole pieces and a bit.
    fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(2 * CHUNK_BYTES + 5).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        (file, bytes)
    }

    #[tokio::test]
    async fn a_file_arrives_as_it_is_with_its_name() {
        let server = Server::default();
        let (file, bytes) = file();
        server
            .datasets()
            .import_dataset(file.path(), &options())
            .await
            .unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap();
        server.script(|script| {
            assert_eq!(script.uploaded, bytes);
            assert_eq!(script.file_name, name);
        });
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let client = Server::default().datasets();
        let missing = Path::new("/nowhere/digits.csv");
        let error = client
            .import_dataset(missing, &options())
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nowhere/digits.csv: "),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_registers_nothing_and_is_named() {
        // A folder opens as a file does; reading it fails.
        let folder = tempfile::tempdir().unwrap();
        let server = Server::default();
        let error = server
            .datasets()
            .import_dataset(folder.path(), &options())
            .await
            .unwrap_err();
        assert!(
            matches!(error, ClientError::File { action: "read", .. }),
            "{error}"
        );
        assert!(!server.script(|script| script.uploaded_whole));
    }

    #[tokio::test]
    async fn predictions_come_down_while_rows_go_up() {
        let (file, bytes) = file();
        let client = Server::default().models();
        let answer = client
            .predict(&"digits".parse().unwrap(), file.path())
            .await
            .unwrap();
        let pieces: Vec<Bytes> = answer.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), bytes);
    }
}
