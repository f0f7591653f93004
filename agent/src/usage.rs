//! Wrong usage.

use std::process::ExitCode;

/// A usage error in the same form as clap's.
#[expect(clippy::print_stderr, reason = "there is no screen yet")]
pub(crate) fn complain(text: &str) -> ExitCode {
    eprintln!("error: {text}");
    ExitCode::from(2)
}
