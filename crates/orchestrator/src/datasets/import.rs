//! From a table or a text to a data set: parse, split, scale, store.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use artifacts::{BlobStore, Key, Kind};
use bytes::Bytes;
use federation::{Digest, Timestamp};
use thiserror::Error;

use super::Manifest;
use super::examples::{Answers, Examples, ExamplesError};
use super::scaling::Scaling;
use super::split::{SplitError, split};
use super::table::{Table, TableError, Targets, read_table, read_targets};
use super::text::{self, Survey, TextError};
use crate::store::{DatasetRow, Store, StoreError};
use crate::trace::block;

/// How a file becomes a data set.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// What it will be called.
    pub name: String,
    /// What the file holds.
    pub content: Content,
    /// Share of the rows that is held out.
    pub test_fraction: f64,
    /// Of the split.
    pub seed: u64,
    /// Take the name from the data set that has it.
    pub replace: bool,
    /// What the file is called in messages.
    pub file_name: String,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Columns of numbers, and one of classes.
    Table {
        /// The column that holds the class.
        label: String,
        /// Whether numbers are brought to zero mean and unit deviation.
        standardize: bool,
    },
    /// Columns of numbers, one of which a regression learns.
    Targets {
        /// The column that it learns.
        target: String,
        /// Whether the others are brought to zero mean and unit deviation.
        standardize: bool,
    },
    /// Characters.
    Text {
        /// Characters of a row.
        context: usize,
    },
}

/// Why a file did not become a data set. No name has changed its owner then.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The name cannot stand in a job file.
    #[error(
        "data set name {name:?} is not accepted; it must begin with a-z or 0-9, then have up to 62 of a-z 0-9 . _ -"
    )]
    Name {
        /// What was given.
        name: String,
    },
    /// The name belongs to other data.
    #[error(
        "there is another data set named {name:?} ({digest}); choose another name, or replace it with --replace"
    )]
    NameTaken {
        /// Which name.
        name: String,
        /// Whose it is.
        digest: Digest,
    },
    /// The table is not one.
    #[error("{file}: {source}")]
    Table {
        /// Which file.
        file: String,
        /// What is wrong with it.
        source: TableError,
    },
    /// The text is not one.
    #[error("{file}: {source}")]
    Text {
        /// Which file.
        file: String,
        /// What is wrong with it.
        source: TextError,
    },
    /// The rows cannot be split as asked.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Nothing would be held out.
    #[error(
        "test fraction is 0; must be above 0 and below 1, since rounds are measured on the rows that are held out"
    )]
    NothingHeldOut,
    /// The file that was received cannot be read back.
    #[error("the received file cannot be read: {0}")]
    Spool(std::io::Error),
    /// The rows cannot be stored.
    #[error(transparent)]
    Examples(#[from] ExamplesError),
    /// The manifest cannot be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a data set of the file at `path`.
///
/// # Errors
///
/// [`ImportError`].
pub async fn import(
    store: &Store,
    blobs: &dyn BlobStore,
    options: ImportOptions,
    path: &Path,
    now: Timestamp,
) -> Result<DatasetRow, ImportError> {
    if !federation::job::is_name(&options.name) {
        return Err(ImportError::Name { name: options.name });
    }
    if options.test_fraction == 0.0 {
        return Err(ImportError::NothingHeldOut);
    }
    let prepared = {
        let (path, options) = (path.to_owned(), options.clone());
        block(move || prepare(&path, &options)).await
    };
    let prepared = prepared.map_err(|panicked| ImportError::Spool(panicked.into()))??;
    let replace = options.replace;
    let row = keep(blobs, options, prepared, now).await?;
    let digest = row.digest;
    let named = store.put_dataset(row, replace).await?;
    if named.digest == digest {
        return Ok(named);
    }
    Err(ImportError::NameTaken {
        name: named.manifest.name,
        digest: named.digest,
    })
}

struct Prepared {
    label: String,
    features: Vec<String>,
    classes: Vec<String>,
    scaling: Scaling,
    scaled: bool,
    is_text: bool,
    train: Examples,
    test: Examples,
}

fn prepare(path: &Path, options: &ImportOptions) -> Result<Prepared, ImportError> {
    match &options.content {
        Content::Table { label, standardize } => prepare_table(path, options, label, *standardize),
        Content::Targets {
            target,
            standardize,
        } => prepare_targets(path, options, target, *standardize),
        Content::Text { context } => prepare_text(path, options, *context),
    }
}

fn open(path: &Path) -> Result<File, ImportError> {
    File::open(path).map_err(ImportError::Spool)
}

fn prepare_table(
    path: &Path,
    options: &ImportOptions,
    label: &str,
    standardize: bool,
) -> Result<Prepared, ImportError> {
    let table =
        read_table(BufReader::new(open(path)?), label).map_err(|source| ImportError::Table {
            file: options.file_name.clone(),
            source,
        })?;
    let Table {
        feature_names,
        classes,
        features,
        labels,
    } = table;
    let all = Examples {
        features,
        answers: Answers::Labels(labels),
    };
    let scaled = Scaled::new(&all, feature_names.len(), options, standardize)?;
    Ok(scaled.prepared(label, feature_names, classes))
}

fn prepare_targets(
    path: &Path,
    options: &ImportOptions,
    target: &str,
    standardize: bool,
) -> Result<Prepared, ImportError> {
    let table =
        read_targets(BufReader::new(open(path)?), target).map_err(|source| ImportError::Table {
            file: options.file_name.clone(),
            source,
        })?;
    let Targets {
        feature_names,
        features,
        targets,
    } = table;
    let all = Examples {
        features,
        answers: Answers::Targets(targets),
    };
    let scaled = Scaled::new(&all, feature_names.len(), options, standardize)?;
    Ok(scaled.prepared(target, feature_names, Vec::new()))
}

/// The rows of a table on their two sides, scaled as the training rows ask for.
struct Scaled {
    train: Examples,
    test: Examples,
    scaling: Scaling,
    scaled: bool,
}

impl Scaled {
    fn new(
        all: &Examples,
        width: usize,
        options: &ImportOptions,
        standardize: bool,
    ) -> Result<Self, SplitError> {
        let rows = split(all.answers.len(), options.test_fraction, options.seed)?;
        let (mut train, mut test) = (all.select(&rows.train), all.select(&rows.test));
        let scaling = if standardize {
            Scaling::standard(&train.features, width)
        } else {
            Scaling::identity(width)
        };
        if standardize {
            scaling.apply(&mut train.features);
            scaling.apply(&mut test.features);
        }
        Ok(Self {
            train,
            test,
            scaling,
            scaled: standardize,
        })
    }

    fn prepared(self, label: &str, features: Vec<String>, classes: Vec<String>) -> Prepared {
        Prepared {
            label: label.to_owned(),
            features,
            classes,
            scaling: self.scaling,
            scaled: self.scaled,
            is_text: false,
            train: self.train,
            test: self.test,
        }
    }
}

fn prepare_text(
    path: &Path,
    options: &ImportOptions,
    context: usize,
) -> Result<Prepared, ImportError> {
    let wrong = |source| ImportError::Text {
        file: options.file_name.clone(),
        source,
    };
    let survey = Survey::of(open(path)?).map_err(wrong)?;
    let rows = survey.rows(context).map_err(wrong)?;
    let rows = split(rows, options.test_fraction, options.seed)?;
    let empty = |rows: &[u32]| {
        let features = Vec::with_capacity(rows.len() * context);
        (features, Vec::with_capacity(rows.len()))
    };
    let (mut train, mut test) = (empty(&rows.train), empty(&rows.test));
    let mut held_out = rows.test.iter().peekable();
    let mut number = 0;
    text::read_rows(open(path)?, &survey.vocabulary, context, |row, label| {
        let (features, labels) = match held_out.next_if_eq(&&number) {
            Some(_) => &mut test,
            None => &mut train,
        };
        features.extend_from_slice(row);
        labels.push(label);
        number += 1;
    })
    .map_err(wrong)?;
    let examples = |(features, labels)| Examples {
        features,
        answers: Answers::Labels(labels),
    };
    Ok(Prepared {
        label: text::LABEL.to_owned(),
        features: (0..context).map(|place| format!("token_{place}")).collect(),
        classes: survey.vocabulary.classes(),
        scaling: Scaling::identity(context),
        scaled: false,
        is_text: true,
        train: examples(train),
        test: examples(test),
    })
}

async fn keep(
    blobs: &dyn BlobStore,
    options: ImportOptions,
    prepared: Prepared,
    now: Timestamp,
) -> Result<DatasetRow, ImportError> {
    let Prepared {
        label,
        features,
        classes,
        scaling,
        scaled,
        is_text,
        train,
        test,
    } = prepared;
    let mut class_rows = vec![0; classes.len()];
    let has_targets = match &train.answers {
        Answers::Labels(labels) => {
            for &label in labels {
                class_rows[label as usize] += 1;
            }
            false
        }
        Answers::Targets(_) => true,
    };
    let width = features.len();
    let manifest = Manifest {
        name: options.name,
        label,
        train: train.store(blobs, Kind::Dataset, width).await?,
        test: test.store(blobs, Kind::Dataset, width).await?,
        features,
        classes,
        scaling,
        scaled,
        class_rows,
        test_fraction: options.test_fraction,
        seed: options.seed,
        is_text,
        has_targets,
    };
    let json = Bytes::from(crate::store::encoded(&manifest)?);
    let digest = Digest::of(&json);
    let key = Key::content(Kind::Dataset, &digest);
    blobs.put(&key, json).await.map_err(ExamplesError::from)?;
    Ok(DatasetRow {
        digest,
        manifest,
        created_at: now,
    })
}
