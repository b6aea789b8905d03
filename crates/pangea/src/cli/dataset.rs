//! `pangea dataset`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use client::{Content, ImportOptions, PartitionDraft, SchemeDraft, v1};
use thiserror::Error;

use super::Session;
use crate::human::{ago, bytes, count};
use crate::json;
use crate::table::Side::{Left, Right};
use crate::table::{Table, bar, facts};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a CSV file with a heading, or a text
    Import(Import),
    /// List data sets
    List,
    /// Show a data set and, with a partition, what each client would hold
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The CSV file, or the text
    file: PathBuf,
    /// The column that holds the class
    #[arg(long, value_name = "COLUMN", required_unless_present_any = ["text", "target"])]
    label: Option<String>,
    /// The column that holds the number to learn, for a regression
    #[arg(long, value_name = "COLUMN", conflicts_with = "label")]
    target: Option<String>,
    /// The file is a text in UTF-8: a row is a window of its characters, labelled with the
    /// character after it, where the next row begins
    #[arg(long, requires = "context", conflicts_with_all = ["label", "target", "scaling"])]
    text: bool,
    /// Characters of a row of a text
    #[arg(long, value_name = "CHARACTERS", requires = "text")]
    context: Option<u32>,
    /// Share of the rows that is held out for tests
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    test_fraction: f64,
    /// Decides which rows those are
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// The data set's name [default: the file's, without its ending]
    #[arg(long)]
    name: Option<String>,
    /// What is done to the numbers
    #[arg(long, value_enum, default_value_t = Scaling::Standard)]
    scaling: Scaling,
    /// Take the name from the data set that has it
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scaling {
    /// Zero mean and unit deviation over the training rows
    Standard,
    /// Nothing
    None,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The data set
    name: String,
    /// iid, dirichlet:ALPHA, labels-per-client:LABELS or quantity-skew:ALPHA
    #[arg(long, requires = "clients")]
    partition: Option<Scheme>,
    /// How many clients there are
    #[arg(long, requires = "partition")]
    clients: Option<u32>,
    /// Of the partition
    #[arg(long, requires = "partition", default_value_t = 0)]
    seed: u64,
}

/// A partition's scheme as written on a command line.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scheme(SchemeDraft);

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is none of iid, dirichlet:ALPHA, labels-per-client:LABELS and quantity-skew:ALPHA"
)]
struct InvalidScheme {
    text: String,
}

impl FromStr for Scheme {
    type Err = InvalidScheme;

    fn from_str(text: &str) -> Result<Self, InvalidScheme> {
        let invalid = || InvalidScheme {
            text: text.to_owned(),
        };
        let number = |text: &str| text.parse().map_err(|_not_a_number| invalid());
        let scheme = match text.split_once(':') {
            None if text == "iid" => SchemeDraft::Iid,
            Some(("dirichlet", alpha)) => SchemeDraft::Dirichlet {
                alpha: number(alpha)?,
            },
            Some(("labels-per-client", labels)) => SchemeDraft::LabelsPerClient {
                labels: labels.parse().map_err(|_not_a_count| invalid())?,
            },
            Some(("quantity-skew", alpha)) => SchemeDraft::QuantitySkew {
                alpha: number(alpha)?,
            },
            _ => return Err(invalid()),
        };
        Ok(Self(scheme))
    }
}

impl Command {
    pub(super) async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        match self {
            Self::Import(import) => import.run(session).await,
            Self::List => list(session).await,
            Self::Show(show) => show.run(session).await,
        }
    }
}

impl Import {
    async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let name = match self.name {
            Some(name) => name,
            None => {
                let stem = self.file.file_stem().and_then(|stem| stem.to_str());
                stem.context("the file's name is no name for a data set; give one with --name")?
                    .to_owned()
            }
        };
        let scaling = match self.scaling {
            Scaling::Standard => v1::Scaling::Standard,
            Scaling::None => v1::Scaling::None,
        };
        let options = ImportOptions {
            name,
            content: match (self.label, self.target) {
                (Some(label), _) => Content::Table { label, scaling },
                (None, Some(target)) => Content::Targets { target, scaling },
                (None, None) => Content::Text {
                    context: self.context.unwrap_or_default(),
                },
            },
            test_fraction: self.test_fraction,
            seed: self.seed,
            replace: self.replace,
        };
        let dataset = session
            .client()
            .import_dataset(&self.file, &options)
            .await?;
        let classes = dataset.classes.len();
        let (width, answers) = match (&dataset.vocabulary, dataset.has_targets) {
            (Some(_), _) => (
                "characters in each",
                format!("{classes} different characters"),
            ),
            (None, true) => ("features", format!("target {}", dataset.label)),
            (None, false) => ("features", format!("{classes} classes")),
        };
        let text = format!(
            "imported {}: {} training rows, {} test rows, {} {width}, {answers}",
            dataset.name,
            count(dataset.train_rows),
            count(dataset.test_rows),
            dataset.features,
        );
        session.output.show(text, &json::Dataset::from(&dataset))?;
        Ok(())
    }
}

async fn list(session: &mut Session) -> anyhow::Result<()> {
    let datasets = session.client().datasets().await?;
    let mut table = Table::new([
        ("NAME", Left),
        ("TRAIN", Right),
        ("TEST", Right),
        ("FEATURES", Right),
        ("CLASSES", Right),
        ("SIZE", Right),
        ("IMPORTED", Left),
    ]);
    for dataset in &datasets {
        table.row([
            dataset.name.clone(),
            count(dataset.train_rows),
            count(dataset.test_rows),
            dataset.features.to_string(),
            dataset.classes.len().to_string(),
            bytes(dataset.bytes),
            ago(session.now, dataset.created_at_ms),
        ]);
    }
    let shapes: Vec<_> = datasets.iter().map(json::Dataset::from).collect();
    session.output.show(table, &shapes)?;
    Ok(())
}

impl Show {
    async fn run(self, session: &mut Session) -> anyhow::Result<()> {
        let partition = self.partition.zip(self.clients);
        let partition = partition.map(|(Scheme(scheme), clients)| PartitionDraft {
            scheme,
            clients,
            seed: Some(self.seed),
        });
        let (dataset, clients) = session.client().dataset(&self.name, partition).await?;
        let answers = match dataset.has_targets {
            true => "target",
            false => "label",
        };
        let mut known = vec![
            ("data set", dataset.name.clone()),
            ("digest", dataset.digest.clone()),
            ("training rows", count(dataset.train_rows)),
            ("test rows", count(dataset.test_rows)),
            ("features", dataset.features.to_string()),
            (answers, dataset.label.clone()),
            ("size", bytes(dataset.bytes)),
            ("imported", ago(session.now, dataset.created_at_ms)),
        ];
        if let Some(vocabulary) = &dataset.vocabulary {
            known.push(("vocabulary", format!("{vocabulary:?}")));
        }
        let mut text = facts(known);
        let table = match (partition, dataset.has_targets) {
            (Some(_), _) => Some(client_table(&dataset, &clients)),
            (None, false) => Some(class_table(&dataset)),
            (None, true) => None,
        };
        if let Some(table) = table {
            text.push_str(&format!("\n\n{table}"));
        }
        let shown = json::Shown {
            dataset: (&dataset).into(),
            clients: partition.map(|_asked| clients.iter().map(json::Histogram::from).collect()),
        };
        session.output.show(text, &shown)?;
        Ok(())
    }
}

/// The classes as a person reads them: characters in quotes, as some of them move the cursor.
fn classes(dataset: &v1::Dataset) -> impl Iterator<Item = String> {
    let is_text = dataset.vocabulary.is_some();
    let shown = move |class: &String| match is_text {
        true => format!("{class:?}"),
        false => class.clone(),
    };
    dataset.classes.iter().map(shown)
}

fn class_table(dataset: &v1::Dataset) -> Table {
    let most = dataset.class_rows.iter().copied().max().unwrap_or(0);
    let mut table = Table::new([("CLASS", Left), ("TRAINING ROWS", Right)]);
    for (class, &rows) in classes(dataset).zip(&dataset.class_rows) {
        table.row([class, with_bar(rows, most)]);
    }
    table
}

/// A row for each client, a column for each class; bars compare over the whole table, those of the
/// totals among themselves.
fn client_table(dataset: &v1::Dataset, clients: &[v1::ClientHistogram]) -> Table {
    let total = |client: &v1::ClientHistogram| client.rows.iter().sum::<u64>();
    let rows = || {
        clients
            .iter()
            .flat_map(|client| client.rows.iter().copied())
    };
    let most = rows().max().unwrap_or(0);
    let most_total = clients.iter().map(total).max().unwrap_or(0);

    let classes = classes(dataset).map(|class| (class, Right));
    let columns = [("CLIENT".to_owned(), Left)].into_iter().chain(classes);
    let mut table = Table::new(columns.chain([("ROWS".to_owned(), Right)]));
    for client in clients {
        let of_classes = &client.rows[..dataset.classes.len().min(client.rows.len())];
        let cells = of_classes.iter().map(|&rows| with_bar(rows, most));
        let cells = [client.client.clone()].into_iter().chain(cells);
        table.row(cells.chain([with_bar(total(client), most_total)]));
    }
    table
}

fn with_bar(rows: u64, most: u64) -> String {
    format!("{} {}", count(rows), bar(rows, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Scheme>().unwrap().0;
        assert_eq!(read("iid"), SchemeDraft::Iid);
        assert_eq!(read("dirichlet:0.5"), SchemeDraft::Dirichlet { alpha: 0.5 });
        assert_eq!(
            read("labels-per-client:2"),
            SchemeDraft::LabelsPerClient { labels: 2 }
        );
        assert_eq!(
            read("quantity-skew:1"),
            SchemeDraft::QuantitySkew { alpha: 1.0 }
        );
        for text in [
            "",
            "iid:1",
            "dirichlet",
            "dirichlet:a",
            "labels-per-client:0.5",
        ] {
            let error = text.parse::<Scheme>().unwrap_err().to_string();
            assert!(error.contains("dirichlet:ALPHA"), "{text}: {error}");
        }
    }

    #[test]
    fn clients_show_their_rows_of_each_class_with_bars() {
        let dataset = v1::Dataset {
            classes: vec!["no".into(), "yes".into()],
            ..v1::Dataset::default()
        };
        let client = |index: usize, rows: [u64; 2]| v1::ClientHistogram {
            client: format!("client-{index:04}"),
            rows: rows.to_vec(),
        };
        let table = client_table(&dataset, &[client(0, [80, 0]), client(1, [10, 1200])]);
        assert_eq!(
            table.to_string(),
            "\
CLIENT         no      yes     ROWS
client-0000  80 ▁      0       80 ▁
client-0001  10 ▁  1,200 █  1,210 █"
        );
    }
}
