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

/// A size for people, in binary units.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths of the unit, so that no floating point is needed.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for name in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = name;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A rate for people, in MB/s.
#[must_use]
pub fn rate(bytes_per_second: u64) -> String {
    // Tenths of a megabyte, so that no floating point is needed.
    let tenths = bytes_per_second / 100_000;
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
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
    fn sizes_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

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
