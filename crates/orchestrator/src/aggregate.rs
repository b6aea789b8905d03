//! From accepted updates to the next model, tile by tile from the spool.

mod measured;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aggregation::{Contribution, FileSource, FoldError, TensorSource, fold};
use artifacts::{BlobError, BlobRef, Key};
use federation::digest::Digester;
use federation::{ClientId, RunId};
use proto::body;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::admit::Work;
use crate::checkpoint::{self, Manifest, ModelFile};
use crate::store::Receipt;
use crate::study::Study;
use crate::trace::block;
use measured::Measured;

/// Files of updates that are kept open while they are folded. A process may often open no more than
/// 1,024 files, and has others open too.
const OPEN_FILES_MAX: usize = 256;

/// Why there is no next model.
#[derive(Debug, Error)]
pub enum AggregateError {
    /// The updates cannot be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An update's key is none.
    #[error(transparent)]
    Key(#[from] artifacts::InvalidKey),
    /// The model cannot be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The model has no canonical file.
    #[error(transparent)]
    Tensors(#[from] artifacts::tensors::TensorError),
}

/// The next model.
#[derive(Debug, Clone)]
pub struct Aggregated {
    /// Where it is stored.
    pub model: ModelFile,
    /// Largest Euclidean distance between a client's parameters and those that it started from.
    pub divergence: f64,
}

/// Folds the updates into the base and stores the result as the model of `round`.
///
/// # Errors
///
/// [`AggregateError`].
pub async fn aggregate(
    study: &Study,
    work: &Work,
    round: u32,
    receipts: &[Receipt],
) -> Result<Aggregated, AggregateError> {
    let output = study
        .spool
        .join(format!("{}-{round}.safetensors", work.run));
    // What is aggregated is needed, whoever waits for it.
    let stop = CancellationToken::new();
    let aggregated = fold_into(study, &work.checkpoint, round, receipts, &output, &stop).await?;
    let ModelFile {
        digest, parameters, ..
    } = &aggregated.model;
    study.blobs.adopt(&parameters.key, output, *digest).await?;
    Ok(aggregated)
}

/// Folds the updates into the model of `base` and writes the result, the model of `round`, to
/// `output`, which becomes no object by this. Ends in an error when it is to `stop`.
///
/// # Errors
///
/// [`AggregateError`].
pub async fn fold_into(
    study: &Study,
    base: &Manifest,
    round: u32,
    receipts: &[Receipt],
    output: &Path,
    stop: &CancellationToken,
) -> Result<Aggregated, AggregateError> {
    let mut updates = Vec::with_capacity(receipts.len());
    let mut paths: HashMap<Key, Arc<Path>> = HashMap::new();
    for receipt in receipts {
        let update = receipt.update()?;
        let path = match paths.get(&update.key) {
            Some(path) => Arc::clone(path),
            None => {
                let path: Arc<Path> = study.blobs.local_copy(&update.key).await?.into();
                paths.insert(update.key, Arc::clone(&path));
                path
            }
        };
        let place = Place {
            path,
            offset: update.offset,
        };
        updates.push((receipt.client, receipt.weight, place));
    }
    let parameters = &base.model.parameters;
    let fold = Folding {
        run: base.run,
        round,
        header: checkpoint::header(&base.architecture)?,
        base: Place {
            path: study.blobs.local_copy(&parameters.key).await?.into(),
            offset: parameters.offset,
        },
        updates,
        parameters: base.architecture.num_parameters(),
        threads: study.threads,
        output: output.to_owned(),
        stop: stop.clone(),
    };
    let folded = block(move || fold.run()).await;
    folded.map_err(|panicked| at(output, io::Error::other(panicked)))?
}

/// Numbers in a file.
struct Place {
    path: Arc<Path>,
    /// In bytes.
    offset: u64,
}

impl Place {
    fn open(&self) -> io::Result<Arc<File>> {
        File::open(&self.path).map(Arc::new)
    }

    /// In the file, which is open.
    fn source(&self, file: Arc<File>) -> FileSource {
        FileSource {
            file,
            byte_offset: self.offset,
        }
    }
}

struct Folding {
    run: RunId,
    round: u32,
    header: bytes::Bytes,
    base: Place,
    updates: Vec<(ClientId, f64, Place)>,
    parameters: usize,
    threads: NonZeroUsize,
    output: PathBuf,
    stop: CancellationToken,
}

impl Folding {
    fn run(self) -> Result<Aggregated, AggregateError> {
        let base = self
            .base
            .open()
            .map_err(|error| at(&self.base.path, error))?;
        let base = self.base.source(base);
        let contributions = self.contributions()?;
        let file = File::create(&self.output).map_err(|error| at(&self.output, error))?;
        let mut out = Output {
            file: BufWriter::new(file),
            whole: Digester::default(),
        };
        out.write(&self.header)
            .map_err(|error| at(&self.output, error))?;
        let mut data = Digester::default();
        fold(
            &base,
            &contributions,
            self.parameters,
            self.threads,
            |_offset, tile| {
                if self.stop.is_cancelled() {
                    return Err(io::Error::other("nobody waits for it any more"));
                }
                let bytes = body::as_bytes(tile);
                data.update(bytes);
                out.write(bytes)
            },
        )
        .inspect_err(|_error| {
            // The error is what matters; the half-written file is overwritten by the next try.
            drop(fs::remove_file(&self.output));
        })?;
        out.file.flush().map_err(|error| at(&self.output, error))?;
        let offset = self.header.len() as u64;
        let len = self.parameters as u64 * 4;
        let digest = out.whole.finish();
        let parameters = BlobRef {
            key: Key::checkpoint_model(self.run, self.round, &digest),
            offset,
            len,
            digest: data.finish(),
        };
        let divergence = contributions
            .iter()
            .map(|contribution| contribution.source.norm())
            .fold(0.0, f64::max);
        let model = ModelFile {
            digest,
            len: offset + len,
            parameters,
        };
        Ok(Aggregated { model, divergence })
    }

    /// The updates, each file of which is open once, as far as that goes.
    fn contributions(&self) -> Result<Vec<Contribution<Measured<Update<'_>>>>, AggregateError> {
        let mut files: HashMap<&Path, Arc<File>> = HashMap::new();
        let mut contributions = Vec::with_capacity(self.updates.len());
        for (client, weight, place) in &self.updates {
            let path = &*place.path;
            if !files.contains_key(path) && files.len() < OPEN_FILES_MAX {
                let file = place.open().map_err(|error| at(path, error))?;
                files.insert(path, file);
            }
            let source = match files.get(path) {
                Some(file) => Update::Open(place.source(Arc::clone(file))),
                None => Update::Closed(place),
            };
            contributions.push(Contribution {
                client: *client,
                weight: *weight,
                source: Measured::new(source),
            });
        }
        Ok(contributions)
    }
}

/// An update in the spool.
enum Update<'a> {
    Open(FileSource),
    // Opened for each tile.
    Closed(&'a Place),
}

impl TensorSource for Update<'_> {
    fn read(&self, offset: usize, out: &mut [f32]) -> io::Result<()> {
        match self {
            Self::Open(source) => source.read(offset, out),
            Self::Closed(place) => place.source(place.open()?).read(offset, out),
        }
    }
}

struct Output {
    file: BufWriter<File>,
    whole: Digester,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        self.file.write_all(bytes)
    }
}

fn at(path: &Path, source: io::Error) -> AggregateError {
    AggregateError::File {
        path: path.to_owned(),
        source,
    }
}
