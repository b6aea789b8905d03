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
    |source| ClientError::file("write", path, source)
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
