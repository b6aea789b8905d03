//! Why a file is not a table.

use std::io;

use thiserror::Error;

use super::records::RECORD_BYTES_MAX;
use super::{CLASSES_MAX, FEATURES_MAX};

/// Lines and columns are counted from 1; line 1 is the header.
#[derive(Debug, Error)]
pub enum TableError {
    /// The source of the text failed.
    #[error("the file cannot be read: {0}")]
    Read(io::Error),
    /// Not even a header.
    #[error("the file is empty; a header line and rows are expected")]
    Empty,
    /// Nothing after the header.
    #[error("the file has a header but no rows")]
    NoRows,
    /// More than we hold of one record.
    #[error(
        "line {line} begins a row of more than {RECORD_BYTES_MAX} bytes; is a quote left open, or \
         is this no CSV file?"
    )]
    LineTooLong {
        /// Where the record begins.
        line: u64,
    },
    /// A name in another encoding.
    #[error("the name of column {position} is not UTF-8 text; save the file as UTF-8")]
    NameNotUtf8 {
        /// Which column.
        position: usize,
    },
    /// A field in another encoding.
    #[error("line {line}, column {}: is not UTF-8 text; save the file as UTF-8", shown(.column))]
    NotUtf8 {
        /// Which line.
        line: u64,
        /// Which column.
        column: String,
    },
    /// A column without a name.
    #[error("column {position} has no name; name it in the header, or remove it")]
    UnnamedColumn {
        /// Which column.
        position: usize,
    },
    /// One name twice.
    #[error("columns {first} and {second} are both named {}; names must differ", shown(.name))]
    DuplicateColumn {
        /// The name.
        name: String,
        /// A column with it.
        first: usize,
        /// And another.
        second: usize,
    },
    /// A column that is needed.
    #[error("the header lacks {}; its columns are {}", listed(.missing), listed(.present))]
    MissingColumns {
        /// The names that were looked for in vain.
        missing: Vec<String>,
        /// The header.
        present: Vec<String>,
    },
    /// A label without anything that it labels.
    #[error("the only column is the label {}; columns of numbers are expected beside it", shown(.label))]
    NoFeatures {
        /// The label column.
        label: String,
    },
    /// More than we train on.
    #[error("the file has {count} feature columns; at most {FEATURES_MAX} are accepted")]
    TooManyFeatures {
        /// How many there are.
        count: usize,
    },
    /// A row that is longer or shorter than the header.
    #[error("line {line} has {}; the header has {expected}", fields(*.actual))]
    UnevenRow {
        /// Which line.
        line: u64,
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        actual: usize,
    },
    /// A feature must be a number.
    #[error("line {line}, column {}: {} is not a number", shown(.column), shown(.text))]
    NotANumber {
        /// Which line.
        line: u64,
        /// Which column.
        column: String,
        /// What stands there.
        text: String,
    },
    /// A number we cannot train on.
    #[error(
        "line {line}, column {}: {} is not a finite number of 32 bits",
        shown(.column), shown(.text)
    )]
    NotFinite {
        /// Which line.
        line: u64,
        /// Which column.
        column: String,
        /// What stands there.
        text: String,
    },
    /// A row without a label.
    #[error("line {line}, column {}: is empty; every row needs a label", shown(.column))]
    EmptyLabel {
        /// Which line.
        line: u64,
        /// The label column.
        column: String,
    },
    /// Nothing to tell apart.
    #[error("label column {} holds only {}; at least 2 classes are needed", shown(.column), shown(.class))]
    OneClass {
        /// The label column.
        column: String,
        /// Its only value.
        class: String,
    },
    /// Probably no labels at all.
    #[error(
        "label column {} holds more than {CLASSES_MAX} different labels by line {line}; is it the \
         right column?",
        shown(.column)
    )]
    TooManyClasses {
        /// Where there were too many.
        line: u64,
        /// The label column.
        column: String,
    },
    /// A label that the model cannot give.
    #[error(
        "line {line}, column {}: {} is not a class of the model, which knows {}",
        shown(.column), shown(.text), listed(.classes)
    )]
    UnknownClass {
        /// Which line.
        line: u64,
        /// The label column.
        column: String,
        /// What stands there.
        text: String,
        /// The classes of the model.
        classes: Vec<String>,
    },
}

/// Longest piece of a file that a message repeats, in characters.
const SHOWN_MAX: usize = 40;

/// Most names that a message lists.
const LISTED_MAX: usize = 8;

fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN_MAX).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

fn listed(names: &[String]) -> String {
    let first: Vec<String> = names
        .iter()
        .take(LISTED_MAX)
        .map(|name| shown(name))
        .collect();
    let list = first.join(", ");
    match names.len() - first.len() {
        0 => list,
        more => format!("{list} and {more} more"),
    }
}

fn fields(count: usize) -> String {
    if count == 1 {
        "1 field".to_owned()
    } else {
        format!("{count} fields")
    }
}
