//! `pangea models`, `pangea model`, `pangea predict` and `pangea evaluate`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::{Args, Subcommand};
use client::ModelRef;
use futures::TryStreamExt;

use super::Session;
use super::whole_file::WholeFile;
use crate::human::{ago, bytes, count, counted, loss, measured, percent};
use crate::json;
use crate::output::Format;
use crate::table::Side::{Left, Right};
use crate::table::Table;

#[derive(Debug, Args)]
pub(super) struct List {
    /// A model, for all its versions
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Fetch a model's safetensors file and verify it
    Download(Download),
}

#[derive(Debug, Args)]
pub(super) struct Download {
    /// The newest version when none is said
    #[arg(value_name = "NAME[@VERSION]")]
    model: ModelRef,
    /// Where to [default: NAME-VERSION.safetensors]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Predict {
    /// The newest version when none is said
    #[arg(value_name = "NAME[@VERSION]")]
    model: ModelRef,
    /// The rows, as CSV with a heading
    #[arg(value_name = "FILE.csv")]
    rows: PathBuf,
    /// Where the classes go, as CSV [default: standard output]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// The newest version when none is said
    #[arg(value_name = "NAME[@VERSION]")]
    model: ModelRef,
    /// The rows with their classes, as CSV with a heading
    #[arg(value_name = "FILE.csv")]
    rows: PathBuf,
}

impl List {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let models = session.client().models(self.name.as_deref()).await?;
        let mut table = Table::new([
            ("MODEL", Left),
            ("ACCURACY", Right),
            ("LOSS", Right),
            ("PARAMETERS", Right),
            ("SIZE", Right),
            ("RUN", Left),
            ("ROUND", Right),
            ("PUBLISHED", Left),
        ]);
        for model in &models {
            table.row([
                format!("{}@{}", model.name, model.version),
                percent(model.accuracy),
                loss(Some(model.loss)),
                count(model.parameters),
                bytes(model.length_bytes),
                model.run.clone(),
                model.round.to_string(),
                ago(session.now, model.created_at_ms),
            ]);
        }
        let shapes: Vec<_> = models.iter().map(json::Model::from).collect();
        session.output.show(table, &shapes)?;
        Ok(())
    }
}

impl Command {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        match self {
            Self::Download(download) => download.run(session).await,
        }
    }
}

impl Download {
    async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let (model, to) = match self.to {
            Some(to) => (self.model, to),
            None => {
                // The file is named after the version that is fetched into it.
                let newest = client.model(&self.model).await?;
                let exact = format!("{}@{}", newest.name, newest.version);
                let to = format!("{exact}.safetensors");
                (exact.parse()?, file_in_this_folder(&to)?)
            }
        };
        let model = client.download(&model, &to).await?;
        let text = format!(
            "wrote {}: {}@{}, {}, {}",
            to.display(),
            model.name,
            model.version,
            bytes(model.length_bytes),
            model.digest
        );
        let mut shape = json::Model::from(&model);
        shape.file = Some(to.display().to_string());
        session.output.show(text, &shape)?;
        Ok(())
    }
}

/// `name` as a file here; the name came from elsewhere and may not lead out of this folder.
fn file_in_this_folder(name: &str) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(name);
    anyhow::ensure!(
        path.file_name().is_some_and(|file| file == name),
        "{name:?} is no name for a file; say where to with --to"
    );
    Ok(path)
}

impl Predict {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let mut pieces = pin!(client.predict(&self.model, &self.rows).await?);
        let Some(to) = self.to else {
            let mut csv = Vec::new();
            while let Some(piece) = pieces.try_next().await? {
                match session.output.format() {
                    Format::Text => session.output.write_all(&piece)?,
                    Format::Json => csv.extend_from_slice(&piece),
                }
            }
            if session.output.format() == Format::Json {
                session.output.json(&json::predictions(&csv)?)?;
            }
            return Ok(session.output.flush()?);
        };
        let mut file = WholeFile::create(&to)?;
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece)?;
        }
        file.place()?;
        wrote(session, &to)
    }
}

/// Says which file was written.
pub(super) fn wrote(session: &mut Session, file: &Path) -> anyhow::Result<()> {
    let text = format!("wrote {}", file.display());
    session.output.show(text, &json::Wrote::new(file))?;
    Ok(())
}

impl Evaluate {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let answer = session.client().evaluate(&self.model, &self.rows).await?;
        let model = match &answer.model {
            Some(model) => format!("{}@{}", model.name, model.version),
            None => self.model.to_string(),
        };
        let text = format!(
            "{model} on {}: {}",
            counted(answer.num_examples, "row"),
            measured(answer.accuracy, Some(answer.loss))
        );
        session
            .output
            .show(text, &json::Evaluation::from(&answer))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_cannot_lead_out_of_the_folder() {
        assert!(file_in_this_folder("digits-3.safetensors").is_ok());
        for name in ["../digits", "/etc/digits", "a/b", ".."] {
            assert!(file_in_this_folder(name).is_err(), "{name}");
        }
    }
}
