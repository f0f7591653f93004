//! What commands print: results on standard output, explanations on standard error.

use std::io::{self, Write as _};

/// Prints a result line. A reader that has gone away is no error.
pub fn result(line: &str) {
    drop(writeln!(io::stdout().lock(), "{line}"));
}

/// Prints a line for the person at the terminal.
pub fn explain(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Prints what a person at the terminal is asked; the answer follows in the same line.
pub fn ask(prompt: &str) {
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "{prompt}").and_then(|()| stderr.flush()));
}

/// A table with aligned columns; the last one is not padded.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(head.get(column).map(|cell| cell.len()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![
            vec!["a".into(), "long text".into()],
            vec!["bcd".into(), "x".into()],
        ];
        assert_eq!(
            table(&["N", "TEXT"], &rows),
            "N    TEXT\na    long text\nbcd  x"
        );
    }
}
