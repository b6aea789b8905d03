//! From accepted updates to the next model, tile by tile from the spool.

mod measured;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use aggregation::{Contribution, FileSource, FoldError, TensorSource, fold};
use artifacts::{BlobError, BlobRef, Key};
use federation::RunId;
use federation::digest::Digester;
use proto::body;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::admit::Work;
use crate::checkpoint::{self, Manifest, ModelFile};
use crate::store::Receipt;
use crate::study::Study;
use crate::trace::block;
use measured::Measured;

/// Updates whose files are kept open while they are folded. A process may often open no more than
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
    for receipt in receipts {
        let file = study.blobs.local_copy(&receipt.key.parse()?).await?;
        updates.push((receipt.client, receipt.weight, file));
    }
    let parameters = &base.model.parameters;
    let fold = Folding {
        run: base.run,
        round,
        header: checkpoint::header(&base.architecture)?,
        base: Base {
            path: study.blobs.local_copy(&parameters.key).await?,
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

struct Base {
    path: PathBuf,
    offset: u64,
}

struct Folding {
    run: RunId,
    round: u32,
    header: bytes::Bytes,
    base: Base,
    updates: Vec<(federation::ClientId, f64, PathBuf)>,
    parameters: usize,
    threads: NonZeroUsize,
    output: PathBuf,
    stop: CancellationToken,
}

impl Folding {
    fn run(self) -> Result<Aggregated, AggregateError> {
        let base = FileSource {
            file: open(&self.base.path)?,
            byte_offset: self.base.offset,
        };
        let mut contributions = Vec::with_capacity(self.updates.len());
        for (client, weight, path) in &self.updates {
            let source = if self.updates.len() > OPEN_FILES_MAX {
                Update::Closed(path.clone())
            } else {
                Update::Open(FileSource {
                    file: open(path)?,
                    byte_offset: 0,
                })
            };
            contributions.push(Contribution {
                client: *client,
                weight: *weight,
                source: Measured::new(source),
            });
        }
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
}

/// An update in the spool.
enum Update {
    Open(FileSource),
    // Opened for each tile.
    Closed(PathBuf),
}

impl TensorSource for Update {
    fn read(&self, offset: usize, out: &mut [f32]) -> io::Result<()> {
        match self {
            Self::Open(source) => source.read(offset, out),
            Self::Closed(path) => FileSource {
                file: File::open(path)?,
                byte_offset: 0,
            }
            .read(offset, out),
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

fn open(path: &Path) -> Result<File, AggregateError> {
    File::open(path).map_err(|error| at(path, error))
}

fn at(path: &Path, source: io::Error) -> AggregateError {
    AggregateError::File {
        path: path.to_owned(),
        source,
    }
}
