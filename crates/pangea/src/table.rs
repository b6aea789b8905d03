//! Tables in plain text: columns apart by two spaces, numbers to the right.

use std::fmt;

use crate::human::printable;

/// To which side a column's cells go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    sides: Vec<Side>,
    /// The heading is the first.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: impl IntoIterator<Item = (impl Into<String>, Side)>) -> Self {
        let (heading, sides): (Vec<String>, _) = columns
            .into_iter()
            .map(|(name, side)| (printable(&name.into()), side))
            .unzip();
        Self {
            sides,
            rows: vec![heading],
        }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter().map(|cell| printable(&cell)).collect();
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let width_of = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.sides.len()).map(width_of).collect()
    }
}

impl fmt::Display for Table {
    /// Without a line break after the last row.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, side), &width) in row.iter().zip(&self.sides).zip(&widths) {
                match side {
                    Side::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Side::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

/// `names` and what belongs to each, the latter in line; what is empty is left out.
pub(crate) fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let facts: Vec<_> = facts
        .into_iter()
        .filter(|(_, fact)| !fact.is_empty())
        .collect();
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = facts
        .iter()
        .map(|(name, fact)| format!("{name:<width$}  {}", printable(fact)))
        .collect();
    lines.join("\n")
}

/// A bar of one character for `part` of `most`; a blank for nothing.
pub(crate) fn bar(part: u64, most: u64) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if part == 0 || most == 0 {
        return ' ';
    }
    let eighths = u128::from(part) * 8 / u128::from(most);
    BARS[usize::try_from(eighths).unwrap_or(8).clamp(1, 8) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("NAME", Side::Left), ("ROWS", Side::Right)]);
        table.row(["digits".to_owned(), "7".to_owned()]);
        table.row(["é".to_owned(), "12,345".to_owned()]);
        assert_eq!(
            table.to_string(),
            "\
NAME      ROWS
digits       7
é       12,345"
        );
    }

    #[test]
    fn a_line_does_not_end_in_blanks() {
        let mut table = Table::new([("NAME", Side::Left), ("WHY", Side::Left)]);
        table.row(["digits".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME    WHY\ndigits");
    }

    #[test]
    fn facts_are_in_line_and_empty_ones_left_out() {
        let told = facts([
            ("run", "a".into()),
            ("why", String::new()),
            ("state", "b".into()),
        ]);
        assert_eq!(told, "run    a\nstate  b");
    }

    #[test]
    fn a_bar_shows_its_part_and_something_for_little() {
        assert_eq!(
            [0, 1, 50, 100].map(|part| bar(part, 100)),
            [' ', '▁', '▄', '█']
        );
        assert_eq!(bar(0, 0), ' ');
        assert_eq!(bar(u64::MAX, u64::MAX), '█');
    }
}
