//! Tables of figures as text.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// What a row of a table shows of what was measured, behind its label.
pub type Figure<M> = (&'static str, fn(&M) -> u64);

/// A number with a comma between each three digits.
#[derive(Clone, Copy, Debug)]
pub struct Grouped(pub u64);

impl fmt::Display for Grouped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        out.pad(&text)
    }
}

/// A quotient with a fixed number of decimals, rounded; `-` if there is nothing to divide by. The kernel has no floating point.
#[derive(Clone, Copy, Debug)]
pub struct Quotient {
    /// What is divided.
    pub of: u64,
    /// By what.
    pub by: u64,
    /// Digits behind the point.
    pub decimals: u32,
}

impl fmt::Display for Quotient {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.by == 0 {
            return out.pad("-");
        }
        let scale = 10_u128.pow(self.decimals);
        let scaled = (u128::from(self.of) * scale * 2 + u128::from(self.by)) / (2 * u128::from(self.by));
        let whole = Grouped((scaled / scale) as u64);
        if self.decimals == 0 {
            return out.pad(&whole.to_string());
        }
        let width = self.decimals as usize;
        out.pad(&alloc::format!("{whole}.{:0width$}", scaled % scale))
    }
}

enum Line {
    Row(String, Vec<String>),
    Rule(String),
}

/// A table: a head, rows of a label and a cell for each column, and notes below.
pub struct Grid {
    title: String,
    columns: Vec<String>,
    lines: Vec<Line>,
    notes: Vec<String>,
}

impl Grid {
    /// A table without rows.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.into()).collect();
        Self { title: title.into(), columns, lines: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row. Columns that it has no cell for stay empty.
    pub fn row(&mut self, label: &str, cells: Vec<String>) {
        self.lines.push(Line::Row(label.into(), cells));
    }

    /// Begins a part with its own heading.
    pub fn part(&mut self, heading: &str) {
        self.lines.push(Line::Rule(heading.into()));
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: &str) {
        self.notes.push(note.into());
    }

    /// The table's lines, to be printed one by one.
    pub fn lines(&self) -> Vec<String> {
        let rows = || {
            self.lines
                .iter()
                .filter_map(|line| if let Line::Row(label, cells) = line { Some((label, cells)) } else { None })
        };
        let label = rows().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (self.columns.iter().enumerate())
            .map(|(index, head)| {
                let cells = rows().filter_map(|(_, cells)| cells.get(index)).map(|cell| cell.chars().count());
                cells.chain([head.chars().count()]).max().unwrap_or(0)
            })
            .collect();
        let format = |name: &str, cells: &[String]| {
            let cells = cells.iter().zip(&widths).map(|(cell, &width)| alloc::format!("  {cell:>width$}"));
            alloc::format!("  {name:<label$}{}", cells.collect::<String>())
        };
        let mut lines = Vec::new();
        lines.push(self.title.clone());
        lines.push(format("", &self.columns));
        for line in &self.lines {
            lines.push(match line {
                Line::Row(name, cells) => format(name, cells),
                Line::Rule(heading) => alloc::format!(" {heading}"),
            });
        }
        lines.extend(self.notes.iter().map(|note| alloc::format!("  {note}")));
        lines.iter().map(|line| line.trim_end().into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(
            [0, 999, 1000, 1234567].map(|number| Grouped(number).to_string()),
            ["0", "999", "1,000", "1,234,567"]
        );
        let quotient = |of, by, decimals| Quotient { of, by, decimals }.to_string();
        assert_eq!(quotient(286_202_000, 65_536, 0), "4,367");
        assert_eq!(quotient(37_401_913, 17_420_282, 3), "2.147");
        assert_eq!(quotient(1999, 1000, 1), "2.0");
        assert_eq!(quotient(5, 100, 1), "0.1");
        assert_eq!(quotient(5, 0, 1), "-");
        assert_eq!(quotient(u64::MAX, 1, 2), "18,446,744,073,709,551,615.00");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new("Title", &["a", "long head"]);
        grid.row("first", alloc::vec!["12345".into(), "6".into()]);
        grid.part("Part");
        grid.row("no", alloc::vec!["1".into()]);
        grid.note("a note");
        let expected =
            ["Title", "             a  long head", "  first  12345          6", " Part", "  no         1", "  a note"];
        assert_eq!(grid.lines(), expected);
    }
}
