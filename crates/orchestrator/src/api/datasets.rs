//! Data sets.

use federation::ClientId;
use federation::job::PartitionDraft;
use federation::partition::{PartitionSpec, histogram};
use proto::v1;
use proto::v1::datasets_server::Datasets;
use proto::v1::{
    ClientHistogram, Dataset, ImportDatasetRequest, ListDatasetsRequest, ListDatasetsResponse,
    ShowDatasetRequest, ShowDatasetResponse, import_dataset_request,
};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::{Api, page, status, upload};
use crate::datasets::examples::Answers;
use crate::datasets::import::{Content, ImportOptions, import};
use crate::datasets::shards::deal;
use crate::retention::require_room;
use crate::store::DatasetRow;

/// Counts in the histogram of a partition: an answer of a few megabytes.
const HISTOGRAM_MAX: usize = 500_000;

#[tonic::async_trait]
impl Datasets for Api {
    async fn import(
        &self,
        request: Request<Streaming<ImportDatasetRequest>>,
    ) -> Result<Response<Dataset>, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.part);
        let Some(import_dataset_request::Part::Options(options)) = first else {
            return Err(status::invalid_field("part", "the options must come first"));
        };
        let options = import_options(options)?;
        let room = require_room(&self.study).await;
        room.map_err(status::no_room)?;
        let data = |message: ImportDatasetRequest| match message.part {
            Some(import_dataset_request::Part::Data(data)) => Some(data),
            _ => None,
        };
        let file = upload::receive(&self.study, messages, data).await?;
        let study = &self.study;
        let row = import(
            &study.store,
            &study.blobs,
            options,
            file.path(),
            study.now(),
        );
        let row = row.await.map_err(status::import)?;
        info!(
            dataset = row.manifest.name,
            rows = row.manifest.train.rows,
            "data set imported"
        );
        Ok(Response::new(dataset(&row)))
    }

    async fn list(
        &self,
        request: Request<ListDatasetsRequest>,
    ) -> Result<Response<ListDatasetsResponse>, Status> {
        let ListDatasetsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        let size = page::size(page_size);
        let rows = self
            .study
            .store
            .datasets(&page_token, size)
            .await
            .map_err(status::store)?;
        let next_page_token = page::next(&rows, size, |row| row.manifest.name.clone());
        let datasets = rows.iter().map(dataset).collect();
        Ok(Response::new(ListDatasetsResponse {
            datasets,
            next_page_token,
        }))
    }

    async fn show(
        &self,
        request: Request<ShowDatasetRequest>,
    ) -> Result<Response<ShowDatasetResponse>, Status> {
        let ShowDatasetRequest { name, partition } = request.into_inner();
        let row = self
            .study
            .store
            .dataset(&name)
            .await
            .map_err(status::store)?;
        let hint = "`pangea dataset list` lists those there are";
        let row = row.ok_or_else(|| status::not_found("dataset", &name, hint))?;
        let clients = match partition {
            Some(partition) => self.clients(&row, &partition).await?,
            None => Vec::new(),
        };
        Ok(Response::new(ShowDatasetResponse {
            dataset: Some(dataset(&row)),
            clients,
        }))
    }
}

impl Api {
    async fn clients(
        &self,
        row: &DatasetRow,
        partition: &v1::Partition,
    ) -> Result<Vec<ClientHistogram>, Status> {
        let draft = PartitionDraft::try_from(partition).map_err(status::invalid)?;
        let partition = PartitionSpec::try_from(draft)
            .map_err(|invalid| status::invalid_field("partition", &invalid.to_string()))?;
        let classes = row.manifest.classes.len();
        if partition.clients.get() as usize * classes > HISTOGRAM_MAX {
            let problem = format!(
                "{} clients of {classes} classes are too many to show; at most {HISTOGRAM_MAX} \
                 counts are",
                partition.clients
            );
            return Err(status::invalid_field("partition.clients", &problem));
        }
        let (examples, assignment) = deal(&self.study.blobs, &row.manifest, &partition)
            .await
            .map_err(status::shards)?;
        let classes = u32::try_from(classes).unwrap_or(u32::MAX);
        let counts = match &examples.answers {
            Answers::Labels(labels) => histogram(&assignment, labels, classes),
            Answers::Targets(_) => {
                let count = |rows: &Vec<u32>| vec![rows.len() as u64];
                assignment.iter().map(count).collect()
            }
        };
        let client = |(number, rows)| ClientHistogram {
            client: ClientId(number).to_string(),
            rows,
        };
        Ok((0..).zip(counts).map(client).collect())
    }
}

fn import_options(options: v1::ImportOptions) -> Result<ImportOptions, Status> {
    let standardize = options.scaling() != v1::Scaling::None;
    let content = match options.text {
        None if options.target.is_empty() => Content::Table {
            standardize,
            label: options.label,
        },
        None if !options.label.is_empty() => {
            return Err(status::invalid_field(
                "target",
                "is of a regression, which has no label; give one of the two",
            ));
        }
        None => Content::Targets {
            standardize,
            target: options.target,
        },
        Some(_) if !options.target.is_empty() => {
            return Err(status::invalid_field(
                "target",
                "is of a table; a text has none",
            ));
        }
        Some(_) if !options.label.is_empty() => {
            return Err(status::invalid_field(
                "label",
                "is of a table; a text has none",
            ));
        }
        Some(_) if options.scaling() == v1::Scaling::Standard => {
            return Err(status::invalid_field(
                "scaling",
                "is of a table; a text has no numbers",
            ));
        }
        Some(v1::TextOptions { context }) => Content::Text {
            context: context as usize,
        },
    };
    Ok(ImportOptions {
        content,
        name: options.name,
        test_fraction: options.test_fraction,
        seed: options.seed,
        replace: options.replace,
        file_name: options.file_name,
    })
}

fn dataset(row: &DatasetRow) -> Dataset {
    let manifest = &row.manifest;
    let scaling = if manifest.scaled {
        v1::Scaling::Standard
    } else {
        v1::Scaling::None
    };
    Dataset {
        name: manifest.name.clone(),
        digest: row.digest.to_string(),
        train_rows: manifest.train.rows,
        test_rows: manifest.test.rows,
        features: u32::try_from(manifest.features.len()).unwrap_or(u32::MAX),
        classes: manifest.classes.clone(),
        class_rows: manifest.class_rows.clone(),
        bytes: manifest.train.blob.len + manifest.test.blob.len,
        created_at_ms: row.created_at.0,
        label: manifest.label.clone(),
        scaling: scaling.into(),
        vocabulary: manifest.vocabulary().map(|own| own.as_text()),
        has_targets: manifest.has_targets,
    }
}
