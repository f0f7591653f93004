//! What commands print: results on standard output, explanations on standard error. Names come from databases that
//! others write to, so whatever is printed can neither command a terminal nor turn a line.

use std::borrow::Cow;
use std::io::{self, Write as _};

/// Prints a result line. A reader that has gone away is no error.
pub fn result(line: &str) {
    drop(writeln!(io::stdout().lock(), "{}", harmless(line)));
}

/// Prints a line for the person at the terminal.
pub fn explain(line: &str) {
    drop(writeln!(io::stderr().lock(), "{}", harmless(line)));
}

/// A text of several lines as it can be shown: only ends of lines and tabs are left of what is no character to see.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmless =
        |c: char| matches!(c, '\n' | '\t') || (!c.is_control() && !fog::encoding::is_invisible(c));
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|c| match is_harmless(c) {
        true => c,
        false => fog::encoding::printable_char(c),
    });
    Cow::Owned(shown.collect())
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
    fn no_name_commands_the_terminal_or_turns_a_line() {
        let plain = "a\tb\nc \u{e4}";
        assert!(matches!(harmless(plain), Cow::Borrowed(text) if text == plain));
        assert_eq!(
            harmless("x\u{1b}[2J\u{9b}m\r\u{202e}y"),
            "x [2J m \u{fffd}y"
        );
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
