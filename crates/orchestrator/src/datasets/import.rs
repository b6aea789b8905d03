//! From a table to a data set: parse, split, scale, store.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use artifacts::{BlobStore, Key, Kind};
use bytes::Bytes;
use federation::{Digest, Timestamp};
use thiserror::Error;

use super::Manifest;
use super::examples::{Examples, ExamplesError};
use super::scaling::Scaling;
use super::split::{SplitError, split};
use super::table::{Table, TableError, read_table};
use crate::store::{DatasetRow, Store, StoreError};
use crate::trace::block;

/// How a table becomes a data set.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// What it will be called.
    pub name: String,
    /// The column that holds the class.
    pub label: String,
    /// Share of the rows that is held out.
    pub test_fraction: f64,
    /// Of the split.
    pub seed: u64,
    /// Whether numbers are brought to zero mean and unit deviation.
    pub standardize: bool,
    /// Take the name from the data set that has it.
    pub replace: bool,
    /// What the table is called in messages.
    pub file_name: String,
}

/// Why a table did not become a data set. No name has changed its owner then.
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
    /// The table cannot be split as asked.
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

/// Makes a data set of the table at `path`.
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
    features: Vec<String>,
    classes: Vec<String>,
    scaling: Scaling,
    train: Examples,
    test: Examples,
}

fn prepare(path: &Path, options: &ImportOptions) -> Result<Prepared, ImportError> {
    let file = File::open(path).map_err(ImportError::Spool)?;
    let table =
        read_table(BufReader::new(file), &options.label).map_err(|source| ImportError::Table {
            file: options.file_name.clone(),
            source,
        })?;
    let Table {
        feature_names,
        classes,
        features,
        labels,
    } = table;
    let width = feature_names.len();
    let rows = split(labels.len(), options.test_fraction, options.seed)?;
    let all = Examples { features, labels };
    let (mut train, mut test) = (all.select(&rows.train), all.select(&rows.test));
    drop(all);
    let scaling = if options.standardize {
        Scaling::standard(&train.features, width)
    } else {
        Scaling::identity(width)
    };
    if options.standardize {
        scaling.apply(&mut train.features);
        scaling.apply(&mut test.features);
    }
    Ok(Prepared {
        features: feature_names,
        classes,
        scaling,
        train,
        test,
    })
}

async fn keep(
    blobs: &dyn BlobStore,
    options: ImportOptions,
    prepared: Prepared,
    now: Timestamp,
) -> Result<DatasetRow, ImportError> {
    let Prepared {
        features,
        classes,
        scaling,
        train,
        test,
    } = prepared;
    let mut class_rows = vec![0; classes.len()];
    for &label in &train.labels {
        class_rows[label as usize] += 1;
    }
    let width = features.len();
    let manifest = Manifest {
        name: options.name,
        label: options.label,
        train: train.store(blobs, Kind::Dataset, width).await?,
        test: test.store(blobs, Kind::Dataset, width).await?,
        features,
        classes,
        scaling,
        scaled: options.standardize,
        class_rows,
        test_fraction: options.test_fraction,
        seed: options.seed,
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
