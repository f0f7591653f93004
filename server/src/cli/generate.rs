//! `completions` and `man`: made from the command line itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::output;

/// Completion for a shell, on standard output.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<bool> {
        let mut script = Vec::new();
        let mut command = Cli::command();
        clap_complete::generate(self.shell, &mut command, NAME, &mut script);
        output::result(String::from_utf8(script)?.trim_end());
        Ok(true)
    }
}

/// Manual pages.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Directory for the pages, one for each command; it is made where it is missing
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<bool> {
        let shown = self.directory.display();
        std::fs::create_dir_all(&self.directory).with_context(|| format!("making {shown}"))?;
        clap_mangen::generate_to(Cli::command(), &self.directory)
            .with_context(|| format!("writing the pages in {shown}"))?;
        output::result(&format!(
            "the pages are in {shown}; man {shown}/{NAME}.1 shows the first"
        ));
        Ok(true)
    }
}

const NAME: &str = "fos-server";

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), NAME, &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell}: {name}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let directory = dir.path().join("man/man1");
        assert!(
            Man {
                directory: directory.clone()
            }
            .run()
            .unwrap()
        );
        let page = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        for command in Cli::command().get_subcommands() {
            let name = format!("{NAME}-{}.1", command.get_name());
            assert!(page(&name).contains(".TH"), "{name}");
        }
        assert!(
            page("fos-server.1").contains("fos\\-server"),
            "{}",
            page("fos-server.1")
        );
        assert!(page("fos-server-host-add.1").contains("primary one"));
    }
}
