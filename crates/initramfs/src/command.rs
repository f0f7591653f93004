//! Programs that are run, with their errors as texts.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// What a program printed; it fails with the program's own words.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let (status, output, errors) = capture(command)?;
    if !status.success() {
        bail!("{}: {status}: {}", name(command), errors.trim());
    }
    Ok(output)
}

/// How a program ended, what it printed, and what it complained about.
pub(crate) fn capture(command: &mut Command) -> Result<(ExitStatus, String, String)> {
    let output = ended(command.stdin(Stdio::null()).output(), command)?;
    Ok((
        output.status,
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

/// Writes what a program prints to a file.
pub(crate) fn output_to(command: &mut Command, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let run = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::piped())
        .spawn();
    let output = ended(run.and_then(|child| child.wait_with_output()), command)?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", name(command), output.status, errors.trim());
    }
    Ok(())
}

fn ended(output: std::io::Result<Output>, command: &Command) -> Result<Output> {
    output.with_context(|| format!("running {}", name(command)))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_words_of_the_program() {
        let mut shell = Command::new("sh");
        let error = output(shell.args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        let error = output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
