//! Published models: listed, downloaded, asked.

mod rows;

use std::fs::File;

use artifacts::{BlobError, BlobStore};
use bytes::Bytes;
use federation::model::Loss;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use proto::engine::{Input, Inputs};
use proto::v1::generate_text_chunk::Part;
use proto::v1::models_server::Models;
use proto::v1::{
    Body, DownloadChunk, EvaluateModelResponse, GenerateTextChunk, GenerateTextRequest,
    GetModelRequest, ListModelsRequest, ListModelsResponse, ModelInput, PredictChunk,
    PublishedModel, model_input,
};
use proto::{body, engine};
use tempfile::NamedTempFile;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, page, status, upload};
use crate::evaluate::stored;
use crate::generate;
use crate::store::ModelRow;
use crate::trace::block;
use rows::{Known, Prepared, answer, values};

#[tonic::async_trait]
impl Models for Api {
    async fn list(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let ListModelsRequest {
            name,
            page_size,
            page_token,
        } = request.into_inner();
        let size = page::size(page_size);
        let store = &self.study.store;
        let (rows, next_page_token) = match name {
            None => {
                let rows = store
                    .newest_models(&page_token, size)
                    .await
                    .map_err(status::store)?;
                let next = page::next(&rows, size, |row| row.name.clone());
                (rows, next)
            }
            Some(name) => {
                let before = page::start(&page_token)?.unwrap_or(u32::MAX);
                let rows = store
                    .versions(&name, before, size)
                    .await
                    .map_err(status::store)?;
                let next = page::next(&rows, size, |row| row.version.to_string());
                (rows, next)
            }
        };
        let models = rows.iter().map(published).collect();
        Ok(Response::new(ListModelsResponse {
            models,
            next_page_token,
        }))
    }

    async fn get(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<PublishedModel>, Status> {
        let row = self.model(&request.into_inner()).await?;
        Ok(Response::new(published(&row)))
    }

    type DownloadStream = BoxStream<'static, Result<DownloadChunk, Status>>;

    async fn download(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let row = self.model(&request.into_inner()).await?;
        let key = &row.manifest.model.parameters.key;
        let chunks = self
            .study
            .blobs
            .get(key, None)
            .await
            .map_err(status::blob)?;
        let message = |chunk: Result<Bytes, BlobError>| {
            chunk
                .map(|data| DownloadChunk { data })
                .map_err(status::blob)
        };
        Ok(Response::new(chunks.map(message).boxed()))
    }

    type PredictStream = BoxStream<'static, Result<PredictChunk, Status>>;

    async fn predict(
        &self,
        request: Request<Streaming<ModelInput>>,
    ) -> Result<Response<Self::PredictStream>, Status> {
        let asked = self.asked(request.into_inner()).await?;
        let rows = asked.rows(false).await?;
        let model = &asked.model.manifest;
        let examples = rows.body(model.features.len());
        let probabilities = {
            let inputs = asked.inputs(&self.study.blobs, &examples);
            self.study.engine.predict(&model.architecture, inputs).await
        };
        let probabilities = probabilities.map_err(status::engine)?;
        let numbers = body::as_numbers(&probabilities);
        let text = match model.architecture.loss() {
            Loss::Regression => values(&numbers),
            Loss::Classification | Loss::NextToken => answer(&model.classes, &numbers),
        };
        let chunks: Vec<_> = body::chunks(text.into())
            .map(|data| Ok(PredictChunk { data }))
            .collect();
        Ok(Response::new(stream::iter(chunks).boxed()))
    }

    async fn evaluate(
        &self,
        request: Request<Streaming<ModelInput>>,
    ) -> Result<Response<EvaluateModelResponse>, Status> {
        let asked = self.asked(request.into_inner()).await?;
        let rows = asked.rows(true).await?;
        let model = &asked.model.manifest;
        let examples = rows.body(model.features.len());
        let evaluated = {
            let inputs = asked.inputs(&self.study.blobs, &examples);
            self.study
                .engine
                .evaluate(&model.architecture, inputs)
                .await
        };
        let evaluation = evaluated.map_err(status::engine)?;
        Ok(Response::new(EvaluateModelResponse {
            model: Some(published(&asked.model)),
            num_examples: evaluation.num_examples,
            loss: evaluation.loss,
            accuracy: evaluation.accuracy,
        }))
    }

    type GenerateStream = BoxStream<'static, Result<GenerateTextChunk, Status>>;

    async fn generate(
        &self,
        request: Request<GenerateTextRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let asked = request.into_inner();
        let model = self.model(&asked.model.clone().unwrap_or_default()).await?;
        let (vocabulary, request) = generate::plan(&model, asked).map_err(status::generate)?;
        let manifest = &model.manifest;
        let parameters = manifest.model.body(&manifest.architecture);
        let tokens = {
            let study = &self.study;
            let input = stored(&study.blobs, &parameters, &manifest.model.parameters);
            let engine = &study.engine;
            engine
                .generate(&manifest.architecture, &input, request)
                .await
        };
        let first = Part::Model(published(&model));
        let text = tokens.map_err(status::engine)?.map(move |tokens| {
            let tokens = tokens.map_err(status::engine)?;
            Ok(Part::Text(vocabulary.text(&tokens)))
        });
        let chunk =
            |part: Result<Part, Status>| part.map(|part| GenerateTextChunk { part: Some(part) });
        let parts = stream::once(async { Ok(first) }).chain(text);
        Ok(Response::new(parts.map(chunk).boxed()))
    }
}

/// A model and the file that it is asked about.
struct Asked {
    model: ModelRow,
    parameters: Body,
    file: NamedTempFile,
    file_name: String,
}

impl Api {
    async fn model(&self, asked: &GetModelRequest) -> Result<ModelRow, Status> {
        let found = self.study.store.model(&asked.name, asked.version).await;
        let version = asked
            .version
            .map_or_else(String::new, |version| format!("@{version}"));
        found.map_err(status::store)?.ok_or_else(|| {
            let name = format!("{}{version}", asked.name);
            status::not_found("model", &name, "`pangea models` lists those there are")
        })
    }

    async fn asked(&self, mut messages: Streaming<ModelInput>) -> Result<Asked, Status> {
        let first = messages.message().await?.and_then(|message| message.part);
        let Some(model_input::Part::Options(options)) = first else {
            return Err(status::invalid_field("part", "the options must come first"));
        };
        let wanted = options.model.unwrap_or_default();
        let model = self.model(&wanted).await?;
        let data = |message: ModelInput| match message.part {
            Some(model_input::Part::Data(data)) => Some(data),
            _ => None,
        };
        let file = upload::receive(&self.study, messages, data).await?;
        let parameters = model.manifest.model.body(&model.manifest.architecture);
        Ok(Asked {
            model,
            parameters,
            file,
            file_name: options.file_name,
        })
    }
}

impl Asked {
    async fn rows(&self, labelled: bool) -> Result<Known, Status> {
        let manifest = self.model.manifest.clone();
        let path = self.file.path().to_owned();
        let read = block(move || {
            let file = File::open(&path).map_err(|error| Err(error.to_string()))?;
            let mut rows = Known::read(file, &manifest, labelled).map_err(Ok)?;
            manifest.scaling.apply(&mut rows.features);
            Ok(rows)
        });
        match read.await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(Ok(error))) => Err(status::table(&self.file_name, &error)),
            Ok(Err(Err(problem))) => Err(status::internal(problem)),
            Err(panicked) => Err(status::internal(panicked.to_string())),
        }
    }

    fn inputs<'a>(
        &'a self,
        blobs: &'a artifacts::ArtifactStore,
        examples: &'a Prepared,
    ) -> Inputs<'a> {
        let bytes = &examples.bytes;
        let load = move || -> engine::Loading<'a> {
            Box::pin(async move { Ok(engine::Pieces::from(bytes.clone())) })
        };
        Inputs {
            parameters: stored(
                blobs,
                &self.parameters,
                &self.model.manifest.model.parameters,
            ),
            examples: Input {
                body: &examples.body,
                load: Box::new(load),
            },
        }
    }
}

fn published(row: &ModelRow) -> PublishedModel {
    let manifest = &row.manifest;
    PublishedModel {
        name: row.name.clone(),
        version: row.version,
        digest: manifest.model.digest.to_string(),
        length_bytes: manifest.model.len,
        run: row.run.to_string(),
        round: manifest.round,
        accuracy: manifest.accuracy,
        loss: manifest.loss,
        created_at_ms: row.created_at.0,
        architecture: Some((&manifest.architecture).into()),
        parameters: manifest.architecture.num_parameters() as u64,
        features: manifest.features.clone(),
        classes: manifest.classes.clone(),
        dataset_digest: manifest.dataset_digest.to_string(),
        job_digest: manifest.job_digest.to_string(),
        vocabulary: manifest.vocabulary().map(|own| own.as_text()),
    }
}
