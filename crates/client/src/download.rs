//! A model on its way down: written beside its place, verified, then put there.

use std::fs::Permissions;
use std::num::NonZeroU32;
use std::path::Path;

use federation::Digest;
use federation::digest::Digester;
use proto::v1;
use tempfile::TempPath;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::{Client, ClientError, ModelRef};

impl Client {
    /// Writes the safetensors file of `model` to `to`, in place of a file that is there.
    ///
    /// The file appears whole and verified or not at all.
    ///
    /// # Errors
    ///
    /// [`ClientError::Changed`] when other bytes came than the model's.
    pub async fn download(
        &self,
        model: &ModelRef,
        to: &Path,
    ) -> Result<v1::PublishedModel, ClientError> {
        let published = self.model(model).await?;
        let what = "digest of the model";
        let expected: Digest = published
            .digest
            .parse()
            .map_err(|_malformed| ClientError::Incomplete { what })?;
        // The version that was found, even when a newer one is published meanwhile.
        let exact = ModelRef {
            name: published.name.clone(),
            version: NonZeroU32::new(published.version),
        };

        let (file, beside) = create_beside(to).map_err(cannot_write(to))?;
        let actual = self.receive(&exact, File::from_std(file), to).await?;
        if actual != expected {
            return Err(ClientError::Changed {
                model: exact,
                expected,
                actual,
            });
        }
        let placed = beside.persist(to).map_err(|failed| failed.error);
        placed.map_err(cannot_write(to))?;
        Ok(published)
    }

    /// Writes what comes, and gives its digest.
    async fn receive(
        &self,
        model: &ModelRef,
        mut file: File,
        to: &Path,
    ) -> Result<Digest, ClientError> {
        let answer = self
            .models_service()
            .download(v1::GetModelRequest::from(model))
            .await;
        let mut chunks = answer.map_err(|status| self.failed(&status))?.into_inner();
        let mut digester = Digester::default();
        while let Some(chunk) = chunks
            .message()
            .await
            .map_err(|status| self.failed(&status))?
        {
            digester.update(&chunk.data);
            file.write_all(&chunk.data)
                .await
                .map_err(cannot_write(to))?;
        }
        file.sync_all().await.map_err(cannot_write(to))?;
        Ok(digester.finish())
    }
}

fn cannot_write(path: &Path) -> impl FnOnce(std::io::Error) -> ClientError + '_ {
    |cause| ClientError::file("write", path, cause)
}

/// A file in the same folder, so that renaming it is one step. Removed when dropped.
fn create_beside(path: &Path) -> std::io::Result<(std::fs::File, TempPath)> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".download-");
    #[cfg(unix)]
    builder.permissions(shared_as_usual());
    let file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    Ok(file.into_parts())
}

/// What a newly created file has; temporary ones are otherwise for their owner only.
#[cfg(unix)]
fn shared_as_usual() -> Permissions {
    use std::os::unix::fs::PermissionsExt;
    Permissions::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic::Status;

    use super::*;
    use crate::server::{Script, Server};

    fn client(chunks: Vec<Result<Bytes, Status>>) -> Client {
        let model = v1::PublishedModel {
            name: "digits".into(),
            version: 3,
            digest: Digest::of(b"safetensors").to_string(),
            ..v1::PublishedModel::default()
        };
        let script = Script {
            model,
            model_chunks: chunks,
            ..Script::default()
        };
        Server::new(script).models()
    }

    async fn download(client: &Client, to: &Path) -> Result<v1::PublishedModel, ClientError> {
        client.download(&"digits".parse().unwrap(), to).await
    }

    fn files_in(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[tokio::test]
    async fn a_model_arrives_whole_in_place_of_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("digits.safetensors");
        std::fs::write(&to, "old").unwrap();
        let chunks = vec![
            Ok(Bytes::from_static(b"safe")),
            Ok(Bytes::from_static(b"tensors")),
        ];
        let model = download(&client(chunks), &to).await.unwrap();
        assert_eq!(model.version, 3);
        assert_eq!(std::fs::read(&to).unwrap(), b"safetensors");
        assert_eq!(files_in(folder.path()), 1);
    }

    #[tokio::test]
    async fn a_tampered_download_is_refused_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let chunks = vec![Ok(Bytes::from_static(b"safeTensors"))];
        let to = folder.path().join("digits.safetensors");
        let error = download(&client(chunks), &to).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("model digits@3 arrived as blake3:"),
            "{error}"
        );
        assert_eq!(files_in(folder.path()), 0);
    }

    #[tokio::test]
    async fn a_broken_download_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("digits.safetensors");
        std::fs::write(&to, "old").unwrap();
        let broken = Err(Status::unavailable("shutting down"));
        let chunks = vec![Ok(Bytes::from_static(b"safe")), broken];
        let error = download(&client(chunks), &to).await.unwrap_err();
        assert_eq!(error.to_string(), "shutting down");
        assert_eq!(std::fs::read(&to).unwrap(), b"old");
        assert_eq!(files_in(folder.path()), 1);
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_named() {
        let error = download(&client(vec![]), Path::new("/nowhere/m"))
            .await
            .unwrap_err();
        assert!(
            error.to_string().starts_with("cannot write /nowhere/m: "),
            "{error}"
        );
    }
}
