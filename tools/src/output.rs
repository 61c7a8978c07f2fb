//! Printing rows: as a table for people and scripts that know Kafka's tools, or as one JSON value a line.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use crate::failure::Failure;

/// How a command prints.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArguments {
    /// Print one JSON object a line.
    #[arg(long, short = 'J')]
    pub(crate) json: bool,
}

/// Prints each row as JSON on a line of its own.
pub(crate) fn print_json<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for row in rows {
        serde_json::to_writer(&mut out, &row).map_err(|error| Failure::from(std::io::Error::from(error)))?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints one line.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Tells of something on the standard error that is no failure.
pub(crate) fn note(text: impl std::fmt::Display) {
    // Nobody is left to tell if it is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// A table: each column as wide as its widest cell, but at least as wide as told; the last one unpadded.
pub(crate) fn table(header: &[&str], widths_min: &[usize], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        let own = header.get(column).map_or(0, |name| name.chars().count());
        cells.chain([own, widths_min.get(column).copied().unwrap_or(0)]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["longer than".to_owned(), "1".to_owned()], vec!["x".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["A", "B"], &[3, 5], &rows), ["A           B", "longer than 1", "x           22"]);
        assert_eq!(table(&["A", "B"], &[3], &[]), ["A   B"]);
    }
}
