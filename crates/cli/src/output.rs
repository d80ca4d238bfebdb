//! What commands print on standard output: a table for people or JSON for programs.
//!
//! Owns: the choice of form, the layout of tables, and writing to standard output.
//!
//! Invariant: standard output carries the result and nothing else; remarks and errors go to standard error. A reader of
//! the output that went away (`highwater … | head`) is no failure.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::error::CliError;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// Columns for people.
    Table,
    /// JSON for programs; its keys are stable.
    Json,
}

/// The option that every command with a result has.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct OutputArgs {
    /// How to print the result
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "table")]
    pub(crate) output: OutputForm,
}

/// Something that can be printed both ways; its JSON is what `Serialize` makes of it.
pub(crate) trait Report: Serialize {
    /// The form for people, ending with a newline.
    fn table(&self) -> String;
}

impl OutputArgs {
    /// Prints a result.
    pub(crate) fn print(self, report: &impl Report) -> Result<(), CliError> {
        let text = match self.output {
            OutputForm::Table => report.table(),
            OutputForm::Json => {
                let mut text = serde_json::to_string(report).map_err(CliError::Json)?;
                text.push('\n');
                text
            }
        };
        write_stdout(text.as_bytes())
    }
}

/// Writes to standard output, all of it, now.
pub(crate) fn write_stdout(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Stdout(error)),
        _ => Ok(()),
    }
}

/// Columns, as wide as their widest cell, two spaces apart.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a line of headings.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// A table without headings.
    pub(crate) fn plain() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The table as text, ending with a newline unless it has no rows.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
            .map(Option::unwrap_or_default)
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(["TOPIC", "PARTITIONS"]);
        table.row(["orders".to_owned(), "3".to_owned()]);
        table.row(["größe".to_owned(), "12".to_owned()]);
        assert_eq!(table.render(), "TOPIC   PARTITIONS\norders  3\ngröße   12\n");
    }

    #[test]
    fn a_table_without_rows_is_empty() {
        assert_eq!(Table::plain().render(), "");
    }
}
