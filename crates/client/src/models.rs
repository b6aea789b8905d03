//! Published models: what there is, what they say about rows, how they go on with a text.

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use proto::transport::Outgoing;
use proto::v1;
use proto::v1::generate_text_chunk::Part as Chunk;
use proto::v1::model_input::{Options, Part};
use proto::v1::models_client::ModelsClient;
use thiserror::Error;

use crate::datasets::file_name;
use crate::upload::Upload;
use crate::{Client, ClientError, PAGE_SIZE};

/// A published model as people write it: `NAME`, or `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// Its name.
    pub name: String,
    /// Counted from 1; the newest when absent.
    pub version: Option<NonZeroU32>,
}

/// A text that names no model.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("model {text:?} is neither NAME nor NAME@VERSION with a version from 1")]
pub struct InvalidModelRef {
    /// What was given.
    pub text: String,
}

impl FromStr for ModelRef {
    type Err = InvalidModelRef;

    fn from_str(text: &str) -> Result<Self, InvalidModelRef> {
        let invalid = || InvalidModelRef {
            text: text.to_owned(),
        };
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let version = version.parse().map_err(|_not_a_version| invalid())?;
                (name, Some(version))
            }
            None => (text, None),
        };
        if name.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

/// What a model is to go on from, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// What the text begins with: characters of the model's vocabulary.
    pub prompt: String,
    /// How many characters to add.
    pub length: u32,
    /// 1 draws by the model's own probabilities, less prefers the likely characters, 0 takes the
    /// likeliest.
    pub temperature: f64,
    /// The same one gives the same text.
    pub seed: u64,
}

impl From<&ModelRef> for v1::GetModelRequest {
    fn from(model: &ModelRef) -> Self {
        Self {
            name: model.name.clone(),
            version: model.version.map(NonZeroU32::get),
        }
    }
}

impl Client {
    /// The newest version of each model; with a name, all its versions.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn models(&self, name: Option<&str>) -> Result<Vec<v1::PublishedModel>, ClientError> {
        let mut models = Vec::new();
        let mut request = v1::ListModelsRequest {
            name: name.map(ToOwned::to_owned),
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        loop {
            let answer = self.models_service().list(request.clone()).await;
            let page = answer.map_err(|status| self.failed(&status))?.into_inner();
            models.extend(page.models);
            if page.next_page_token.is_empty() {
                return Ok(models);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One model.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn model(&self, model: &ModelRef) -> Result<v1::PublishedModel, ClientError> {
        let answer = self
            .models_service()
            .get(v1::GetModelRequest::from(model))
            .await;
        Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// What `model` says about the rows of a CSV file: CSV again, in pieces, once all rows are classified.
    ///
    /// # Errors
    ///
    /// [`ClientError`], at once or in the stream.
    pub async fn predict(
        &self,
        model: &ModelRef,
        rows: &Path,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + Send + 'static, ClientError> {
        let (first, wrap) = model_input(model, rows);
        let (messages, mut reading) = Upload::open(rows).await?.messages(first, wrap);
        let mut models = self.models_service();
        let answer = reading.and(self, models.predict(messages)).await?;
        // The file may still be on its way up while predictions come down.
        let state = (answer.into_inner(), reading, self.clone());
        Ok(stream::try_unfold(
            state,
            |(mut answer, mut reading, client)| async move {
                let chunk = reading.and(&client, answer.message()).await?;
                Ok(chunk.map(|chunk| (chunk.data, (answer, reading, client))))
            },
        ))
    }

    /// How well `model` does on the rows of a CSV file with their classes.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn evaluate(
        &self,
        model: &ModelRef,
        rows: &Path,
    ) -> Result<v1::EvaluateModelResponse, ClientError> {
        let (first, wrap) = model_input(model, rows);
        let (messages, mut reading) = Upload::open(rows).await?.messages(first, wrap);
        let mut models = self.models_service();
        let answer = reading.and(self, models.evaluate(messages)).await?;
        Ok(answer.into_inner())
    }

    /// How `model` goes on with a text: the version that does, and what follows the prompt, as it
    /// comes.
    ///
    /// # Errors
    ///
    /// [`ClientError`], at once or in the stream.
    pub async fn generate(
        &self,
        model: &ModelRef,
        generation: &Generation,
    ) -> Result<
        (
            v1::PublishedModel,
            impl Stream<Item = Result<String, ClientError>> + Send + 'static + use<>,
        ),
        ClientError,
    > {
        let request = v1::GenerateTextRequest {
            model: Some(model.into()),
            prompt: generation.prompt.clone(),
            length: generation.length,
            temperature: generation.temperature,
            seed: generation.seed,
        };
        let answer = self.models_service().generate(request).await;
        let mut chunks = answer.map_err(|status| self.failed(&status))?.into_inner();
        let first = chunks.message().await;
        let first = first.map_err(|status| self.failed(&status))?;
        let Some(Chunk::Model(model)) = first.and_then(|chunk| chunk.part) else {
            return Err(ClientError::Incomplete { what: "model" });
        };
        let client = self.clone();
        let text = chunks.map(move |chunk| {
            let chunk = chunk.map_err(|status| client.failed(&status))?;
            match chunk.part {
                Some(Chunk::Text(text)) => Ok(text),
                _ => Err(ClientError::Incomplete { what: "text" }),
            }
        });
        Ok((model, text))
    }

    pub(crate) fn models_service(&self) -> ModelsClient<Outgoing> {
        ModelsClient::new(self.channel.clone())
    }
}

/// The message that goes before the rows, and how a piece of them becomes one.
fn model_input(model: &ModelRef, rows: &Path) -> (v1::ModelInput, fn(Bytes) -> v1::ModelInput) {
    let options = Options {
        model: Some(model.into()),
        file_name: file_name(rows),
    };
    let first = v1::ModelInput {
        part: Some(Part::Options(options)),
    };
    let wrap = |data| v1::ModelInput {
        part: Some(Part::Data(data)),
    };
    (first, wrap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reads_back_what_it_wrote() {
        for text in ["digits", "digits@3"] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_text_that_names_no_model_is_refused() {
        for text in ["", "@3", "digits@", "digits@0", "digits@new", "digits@1@2"] {
            let error = text.parse::<ModelRef>().unwrap_err().to_string();
            assert!(error.contains("NAME@VERSION"), "{text}: {error}");
        }
    }
}
