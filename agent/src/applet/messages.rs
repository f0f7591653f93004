//! What the drop-in programs say: on standard error, never on standard output.

use std::io::{self, Write};

/// A line on standard error. A closed one is no reason to end a transfer.
pub(super) fn say(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}
