//! The header and the records of a file, with the line that each ends on.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};

use csv::ByteRecord;

use super::TableError;

/// Longest record, in bytes: the most features there may be, with 32 bytes for each. A quote that
/// is left open makes a record of the rest of the file.
pub(super) const RECORD_BYTES_MAX: u64 = 32 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The records after the header.
pub(super) struct Records<R> {
    reader: csv::Reader<Lines<R>>,
    record: ByteRecord,
}

impl<R: Read> Records<R> {
    pub(super) fn open(text: R) -> Result<(Header, Self), TableError> {
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            // Rows of another length get a refusal of ours.
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(Lines::new(text));
        let mut records = Self {
            reader,
            record: ByteRecord::new(),
        };
        if !records.advance()? {
            return Err(TableError::Empty);
        }
        let header = Header::read(&records.record)?;
        Ok((header, records))
    }

    /// The next record, if there is one; it has as many fields as the header.
    pub(super) fn next_of<'a>(
        &'a mut self,
        header: &'a Header,
    ) -> Result<Option<Record<'a>>, TableError> {
        if !self.advance()? {
            return Ok(None);
        }
        let line = self.reader.get_ref().number;
        if self.record.len() == header.len() {
            Ok(Some(Record {
                line,
                fields: &self.record,
                header,
            }))
        } else {
            Err(TableError::UnevenRow {
                line,
                expected: header.len(),
                actual: self.record.len(),
            })
        }
    }

    /// Reads one record, past blank lines.
    fn advance(&mut self) -> Result<bool, TableError> {
        loop {
            self.reader.get_mut().budget = BUDGET;
            let more = self.reader.read_byte_record(&mut self.record);
            let lines = self.reader.get_ref();
            if lines.budget == 0 {
                return Err(TableError::LineTooLong { line: lines.first });
            }
            let more = more.map_err(io::Error::from).map_err(TableError::Read)?;
            let is_blank = self.record.len() == 1 && self.record[0].is_empty();
            if !(more && is_blank) {
                return Ok(more);
            }
        }
    }
}

/// What a record may use up and have something left.
const BUDGET: u64 = RECORD_BYTES_MAX + 1;

/// Hands out one line with each read, so that the number of the current record's last line is
/// known. The positions that `csv` gives are those before it skips blank lines and the second half
/// of a CRLF.
struct Lines<R> {
    inner: BufReader<R>,
    line: io::Cursor<Vec<u8>>,
    /// Of the line handed out last, from 1.
    number: u64,
    /// Of the line on which the current record begins.
    first: u64,
    /// How many more bytes the current record may use up; zero when it is too long.
    budget: u64,
}

impl<R: Read> Lines<R> {
    fn new(text: R) -> Self {
        Self {
            inner: BufReader::new(text),
            line: io::Cursor::default(),
            number: 0,
            first: 0,
            budget: BUDGET,
        }
    }

    fn fetch(&mut self) -> io::Result<()> {
        self.line.set_position(0);
        let line = self.line.get_mut();
        line.clear();
        let mut bounded = self.inner.by_ref().take(self.budget);
        let read = bounded.read_until(b'\n', line)? as u64;
        if read == 0 {
            return Ok(());
        }
        self.number += 1;
        if self.budget == BUDGET {
            self.first = self.number;
        }
        // Blank lines before a record are no part of it.
        if self.number > self.first || !matches!(&line[..], b"\n" | b"\r\n") {
            self.budget -= read;
        }
        if self.budget == 0 {
            return Err(io::Error::other("the record is too long"));
        }
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(())
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.line.position() == self.line.get_ref().len() as u64 {
            self.fetch()?;
        }
        self.line.read(buffer)
    }
}

/// The names of the columns.
pub(super) struct Header(Vec<String>);

impl Header {
    fn read(record: &ByteRecord) -> Result<Self, TableError> {
        let names = record.iter().zip(1..).map(|(name, position)| {
            std::str::from_utf8(name)
                .map(str::to_owned)
                .map_err(|_not_utf8| TableError::NameNotUtf8 { position })
        });
        Ok(Self(names.collect::<Result<_, _>>()?))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn name(&self, column: usize) -> &str {
        &self.0[column]
    }

    pub(super) fn names(&self, columns: &[usize]) -> Vec<String> {
        columns
            .iter()
            .map(|column| self.0[*column].clone())
            .collect()
    }

    /// Every column must have a name of its own.
    pub(super) fn check_names(&self) -> Result<(), TableError> {
        let mut first_of: HashMap<&str, usize> = HashMap::new();
        for (name, position) in self.0.iter().zip(1..) {
            if name.is_empty() {
                return Err(TableError::UnnamedColumn { position });
            }
            if let Some(first) = first_of.insert(name, position) {
                return Err(TableError::DuplicateColumn {
                    name: name.clone(),
                    first,
                    second: position,
                });
            }
        }
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Result<usize, TableError> {
        let columns = self.find_all(&[name.to_owned()])?;
        Ok(columns[0])
    }

    /// Where the columns `names` stand. Others may have any names, and the same ones.
    pub(super) fn find_all(&self, names: &[String]) -> Result<Vec<usize>, TableError> {
        let mut columns_of: HashMap<&str, Vec<usize>> = HashMap::new();
        for (column, name) in self.0.iter().enumerate() {
            columns_of.entry(name).or_default().push(column);
        }
        let mut found = Vec::with_capacity(names.len());
        let mut missing = Vec::new();
        for name in names {
            match columns_of.get(name.as_str()).map(Vec::as_slice) {
                None => missing.push(name.clone()),
                Some([column]) => found.push(*column),
                Some(columns) => {
                    return Err(TableError::DuplicateColumn {
                        name: name.clone(),
                        first: columns[0] + 1,
                        second: columns[1] + 1,
                    });
                }
            }
        }
        if missing.is_empty() {
            Ok(found)
        } else {
            Err(TableError::MissingColumns {
                missing,
                present: self.0.clone(),
            })
        }
    }
}

/// One row of the file.
pub(super) struct Record<'a> {
    /// Its last line, from 1.
    pub(super) line: u64,
    fields: &'a ByteRecord,
    header: &'a Header,
}

impl Record<'_> {
    pub(super) fn number(&self, column: usize) -> Result<f32, TableError> {
        let text = self.text(column)?;
        let number: f32 = text.parse().map_err(|_malformed| TableError::NotANumber {
            line: self.line,
            column: self.header.name(column).to_owned(),
            text: text.to_owned(),
        })?;
        if number.is_finite() {
            Ok(number)
        } else {
            Err(TableError::NotFinite {
                line: self.line,
                column: self.header.name(column).to_owned(),
                text: text.to_owned(),
            })
        }
    }

    pub(super) fn label(&self, column: usize) -> Result<&str, TableError> {
        let text = self.text(column)?;
        if text.is_empty() {
            Err(TableError::EmptyLabel {
                line: self.line,
                column: self.header.name(column).to_owned(),
            })
        } else {
            Ok(text)
        }
    }

    pub(super) fn too_many_classes(&self, column: usize) -> TableError {
        TableError::TooManyClasses {
            line: self.line,
            column: self.header.name(column).to_owned(),
        }
    }

    fn text(&self, column: usize) -> Result<&str, TableError> {
        std::str::from_utf8(&self.fields[column]).map_err(|_not_utf8| TableError::NotUtf8 {
            line: self.line,
            column: self.header.name(column).to_owned(),
        })
    }
}
