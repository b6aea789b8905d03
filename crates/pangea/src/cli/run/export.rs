//! `pangea run export`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use client::v1;

use super::verdicts;
use crate::cli::Session;
use crate::cli::model::wrote;
use crate::cli::whole_file::WholeFile;
use crate::json;
use crate::output::Format;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The run: its id, the beginning of one, or `latest`
    run: String,
    /// How rounds are written; JSON has every report too [default: csv, or as --output says]
    #[arg(long, value_enum)]
    format: Option<ExportFormat>,
    /// Where to [default: standard output]
    #[arg(long)]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Csv,
    Json,
}

impl Export {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client();
        let run = client.find_run(&self.run).await?;
        let rounds = client.rounds(&run.run).await?;
        let format = self.format.unwrap_or(match session.output.format() {
            Format::Text => ExportFormat::Csv,
            Format::Json => ExportFormat::Json,
        });
        let text = match format {
            ExportFormat::Csv => csv(&rounds),
            ExportFormat::Json => {
                let shapes: Vec<_> = rounds.iter().map(json::Round::from).collect();
                serde_json::to_string(&shapes)? + "\n"
            }
        };
        match self.file {
            Some(path) => {
                let mut file = WholeFile::create(&path)?;
                file.write_all(text.as_bytes())?;
                file.place()?;
                wrote(session, &path)
            }
            None => {
                session.output.write_all(text.as_bytes())?;
                Ok(session.output.flush()?)
            }
        }
    }
}

/// One line for each round. No cell needs quotes: they are numbers, digests and one word.
fn csv(rounds: &[v1::Round]) -> String {
    let mut text = String::from(
        "round,phase,cohort,quorum,accepted,refused,accuracy,loss,train_loss,update_bytes,\
         opened_at_ms,closed_at_ms,model_digest\n",
    );
    let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    for round in rounds {
        let (accepted, refused) = verdicts(round);
        let cells = [
            round.round.to_string(),
            round.phase.clone(),
            round.cohort.len().to_string(),
            round.quorum.to_string(),
            accepted.to_string(),
            refused.to_string(),
            number(round.accuracy),
            number(round.loss),
            number(round.train_loss),
            round.update_bytes.to_string(),
            round.opened_at_ms.to_string(),
            round.closed_at_ms.to_string(),
            round.model_digest.clone(),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_a_line_with_its_verdicts_counted() {
        let update = |accepted| v1::round::Update {
            accepted,
            ..v1::round::Update::default()
        };
        let round = v1::Round {
            round: 1,
            phase: "committed".into(),
            cohort: vec!["client-0000".into(), "client-0001".into()],
            quorum: 1,
            opened_at_ms: 5,
            closed_at_ms: 9,
            accuracy: Some(0.5),
            update_bytes: 8,
            model_digest: "blake3:00".into(),
            updates: vec![update(true), update(false)],
            ..v1::Round::default()
        };
        assert_eq!(
            csv(&[round]),
            "round,phase,cohort,quorum,accepted,refused,accuracy,loss,train_loss,update_bytes,\
             opened_at_ms,closed_at_ms,model_digest\n\
             1,committed,2,1,1,1,0.5,,,8,5,9,blake3:00\n"
        );
    }
}
