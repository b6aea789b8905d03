//! Data sets: registering a file, and looking at what is registered.

use std::path::Path;

use federation::job::PartitionDraft;
use proto::transport::Outgoing;
use proto::v1;
use proto::v1::datasets_client::DatasetsClient;
use proto::v1::import_dataset_request::Part;

use crate::upload::Upload;
use crate::{Client, ClientError, PAGE_SIZE};

/// How a file becomes a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportOptions {
    /// Under which name.
    pub name: String,
    /// What the file holds.
    pub content: Content,
    /// Share of the rows that is held out, above 0 and below 1.
    pub test_fraction: f64,
    /// Decides which rows those are.
    pub seed: u64,
    /// Give the name to this file even when another data set has it.
    pub replace: bool,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A CSV table with a heading.
    Table {
        /// The column that holds the class.
        label: String,
        /// What is done to the numbers.
        scaling: v1::Scaling,
    },
    /// A CSV table with a heading, for a regression.
    Targets {
        /// The column that holds the number to learn.
        target: String,
        /// What is done to the other numbers.
        scaling: v1::Scaling,
    },
    /// A text, to be learnt character by character.
    Text {
        /// Characters of a row.
        context: u32,
    },
}

impl Client {
    /// Registers the file at `path`.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; a file that cannot be read to its end registers nothing.
    pub async fn import_dataset(
        &self,
        path: &Path,
        options: &ImportOptions,
    ) -> Result<v1::Dataset, ClientError> {
        let upload = Upload::open(path).await?;
        let content = match &options.content {
            Content::Table { label, scaling } => v1::ImportOptions {
                label: label.clone(),
                scaling: (*scaling).into(),
                ..v1::ImportOptions::default()
            },
            Content::Targets { target, scaling } => v1::ImportOptions {
                target: target.clone(),
                scaling: (*scaling).into(),
                ..v1::ImportOptions::default()
            },
            Content::Text { context } => v1::ImportOptions {
                text: Some(v1::TextOptions { context: *context }),
                ..v1::ImportOptions::default()
            },
        };
        let options = v1::ImportOptions {
            name: options.name.clone(),
            test_fraction: options.test_fraction,
            seed: options.seed,
            replace: options.replace,
            file_name: file_name(path),
            ..content
        };
        let request = |part| v1::ImportDatasetRequest { part: Some(part) };
        let (messages, mut reading) = upload.messages(request(Part::Options(options)), |data| {
            v1::ImportDatasetRequest {
                part: Some(Part::Data(data)),
            }
        });
        let mut datasets = self.datasets_service();
        let answer = reading.and(self, datasets.import(messages)).await?;
        Ok(answer.into_inner())
    }

    /// Every data set.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn datasets(&self) -> Result<Vec<v1::Dataset>, ClientError> {
        let mut datasets = Vec::new();
        let mut request = v1::ListDatasetsRequest {
            page_size: PAGE_SIZE,
            page_token: String::new(),
        };
        loop {
            let answer = self.datasets_service().list(request.clone()).await;
            let page = answer.map_err(|status| self.failed(&status))?.into_inner();
            datasets.extend(page.datasets);
            if page.next_page_token.is_empty() {
                return Ok(datasets);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One data set; with a partition, also the rows of each class that each client would hold.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn dataset(
        &self,
        name: &str,
        partition: Option<PartitionDraft>,
    ) -> Result<(v1::Dataset, Vec<v1::ClientHistogram>), ClientError> {
        let request = v1::ShowDatasetRequest {
            name: name.to_owned(),
            partition: partition.map(Into::into),
        };
        let answer = self.datasets_service().show(request).await;
        let answer = answer.map_err(|status| self.failed(&status))?.into_inner();
        let what = "data set";
        let dataset = answer.dataset.ok_or(ClientError::Incomplete { what })?;
        Ok((dataset, answer.clients))
    }

    fn datasets_service(&self) -> DatasetsClient<Outgoing> {
        DatasetsClient::new(self.channel.clone())
    }
}

/// The name of a file without its folders, for messages about it.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
