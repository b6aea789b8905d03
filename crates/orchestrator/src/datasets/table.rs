//! Reads comma-separated text: a header, then rows of numbers and a label or a target.
//!
//! Streams: no more of the text is held than one row. Every refusal names the line and the column,
//! and what would be accepted. A row that spans lines is named by its last one.

use std::collections::HashMap;
use std::io::Read;

mod records;
mod refusal;

pub use refusal::TableError;

use records::{Header, Record, Records};

/// Most features of a row. A model's first layer has a weight for each and every unit.
pub const FEATURES_MAX: usize = 1_000_000;

/// Most classes. More of them mean a wrong label column, such as one of numbers or of row ids.
pub const CLASSES_MAX: usize = 10_000;

/// A data set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// `[n]`, in the order of the header.
    pub feature_names: Vec<String>,
    /// The different labels: by number when all are whole numbers, else by text.
    pub classes: Vec<String>,
    /// `[rows, n]`.
    pub features: Vec<f32>,
    /// `[rows]`, indices into `classes`.
    pub labels: Vec<u32>,
}

/// A data set of a regression, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// `[n]`, in the order of the header.
    pub feature_names: Vec<String>,
    /// `[rows, n]`.
    pub features: Vec<f32>,
    /// `[rows]`.
    pub targets: Vec<f32>,
}

/// Rows for a model that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// `[rows, n]`, in the order of the model's features.
    pub features: Vec<f32>,
    /// `[rows]`, indices into the model's classes, if they were asked for.
    pub labels: Option<Vec<u32>>,
}

/// Where labels stand in a file, and what they may be.
#[derive(Debug, Clone, Copy)]
pub struct KnownLabels<'a> {
    /// The label column.
    pub column: &'a str,
    /// The classes of the model.
    pub classes: &'a [String],
}

/// Reads a data set whose labels stand in the column `label`; every other column is a feature.
///
/// # Errors
///
/// [`TableError`] names the first thing that is wrong.
pub fn read_table(text: impl Read, label: &str) -> Result<Table, TableError> {
    let (header, mut records) = Records::open(text)?;
    let (label, features) = columns(&header, label)?;
    let mut table = Table {
        feature_names: header.names(&features),
        classes: Vec::new(),
        features: Vec::new(),
        labels: Vec::new(),
    };
    let mut seen = HashMap::new();
    while let Some(record) = records.next_of(&header)? {
        for &column in &features {
            table.features.push(record.number(column)?);
        }
        table.labels.push(class_of(&record, label, &mut seen)?);
    }
    if table.labels.is_empty() {
        return Err(TableError::NoRows);
    }
    sort_classes(&mut table, seen);
    if let [only] = &table.classes[..] {
        return Err(TableError::OneClass {
            column: header.name(label).to_owned(),
            class: only.clone(),
        });
    }
    Ok(table)
}

/// Reads a data set whose targets stand in the column `target`; every other column is a feature.
///
/// # Errors
///
/// [`TableError`] names the first thing that is wrong.
pub fn read_targets(text: impl Read, target: &str) -> Result<Targets, TableError> {
    let (header, mut records) = Records::open(text)?;
    let (target, features) = columns(&header, target)?;
    let mut table = Targets {
        feature_names: header.names(&features),
        features: Vec::new(),
        targets: Vec::new(),
    };
    while let Some(record) = records.next_of(&header)? {
        for &column in &features {
            table.features.push(record.number(column)?);
        }
        table.targets.push(record.number(target)?);
    }
    match table.targets.is_empty() {
        true => Err(TableError::NoRows),
        false => Ok(table),
    }
}

/// Reads the columns `features`, in this order, and ignores others; with `labels`, also the labels.
///
/// # Errors
///
/// [`TableError`] names the first thing that is wrong.
pub fn read_rows(
    text: impl Read,
    features: &[String],
    labels: Option<KnownLabels<'_>>,
) -> Result<Rows, TableError> {
    let (header, mut records) = Records::open(text)?;
    let columns = header.find_all(features)?;
    let labels = labels
        .map(|known| header.find(known.column).map(|column| (column, known)))
        .transpose()?;
    let index_of: HashMap<&str, u32> = labels
        .iter()
        .flat_map(|(_, known)| known.classes)
        .map(String::as_str)
        .zip(0..)
        .collect();

    let mut rows = Rows {
        features: Vec::new(),
        labels: labels.map(|_| Vec::new()),
    };
    let mut is_empty = true;
    while let Some(record) = records.next_of(&header)? {
        is_empty = false;
        for &column in &columns {
            rows.features.push(record.number(column)?);
        }
        if let (Some((column, known)), Some(indices)) = (labels, &mut rows.labels) {
            let class = record.label(column)?;
            let index = index_of
                .get(class)
                .ok_or_else(|| TableError::UnknownClass {
                    line: record.line,
                    column: known.column.to_owned(),
                    text: class.to_owned(),
                    classes: known.classes.to_vec(),
                })?;
            indices.push(*index);
        }
    }
    if is_empty {
        Err(TableError::NoRows)
    } else {
        Ok(rows)
    }
}

/// Where the label stands, and where all the features, which are the other columns.
fn columns(header: &Header, label: &str) -> Result<(usize, Vec<usize>), TableError> {
    let count = header.len() - 1;
    if count > FEATURES_MAX {
        return Err(TableError::TooManyFeatures { count });
    }
    header.check_names()?;
    let label = header.find(label)?;
    let features: Vec<usize> = (0..header.len())
        .filter(|column| *column != label)
        .collect();
    match features.is_empty() {
        true => Err(TableError::NoFeatures {
            label: header.name(label).to_owned(),
        }),
        false => Ok((label, features)),
    }
}

/// The number of the record's class, counted in the order of first appearance.
fn class_of(
    record: &Record<'_>,
    column: usize,
    seen: &mut HashMap<String, u32>,
) -> Result<u32, TableError> {
    let class = record.label(column)?;
    if let Some(number) = seen.get(class) {
        return Ok(*number);
    }
    let number = u32::try_from(seen.len())
        .ok()
        .filter(|_| seen.len() < CLASSES_MAX)
        .ok_or_else(|| record.too_many_classes(column))?;
    seen.insert(class.to_owned(), number);
    Ok(number)
}

/// Sorts the classes that were seen, and renumbers the labels to match.
fn sort_classes(table: &mut Table, seen: HashMap<String, u32>) {
    let mut classes: Vec<(String, u32)> = seen.into_iter().collect();
    let numbers: Option<HashMap<u32, i64>> = classes
        .iter()
        .map(|(class, seen)| Some((*seen, class.parse().ok()?)))
        .collect();
    classes.sort_by_cached_key(|(class, seen)| {
        let number = numbers.as_ref().map(|numbers| numbers[seen]);
        (number, class.clone())
    });

    let mut sorted = vec![0; classes.len()];
    for (to, (_, from)) in (0..).zip(&classes) {
        sorted[*from as usize] = to;
    }
    for label in &mut table.labels {
        *label = sorted[*label as usize];
    }
    table.classes = classes.into_iter().map(|(class, _)| class).collect();
}

#[cfg(test)]
mod tests;
