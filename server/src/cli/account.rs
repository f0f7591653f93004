//! `user` and `token`.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::Places;
use super::client::Client;
use crate::api::{AccountRow, TokenAdd, UserAdd, UserChange};
use crate::domain::account::{AccountName, NewPassword, Role};
use crate::output;

/// People who may use the page and the API.
#[derive(Debug, clap::Subcommand)]
pub(super) enum UserCommand {
    /// Make an account for a person; asks for the password
    Add {
        /// Name, at most 40 small letters, digits, or the signs . _ - @
        name: AccountName,
        /// viewer sees everything, operator also deploys and registers hosts, admin does everything
        #[arg(long, value_name = "ROLE", default_value = "viewer")]
        role: Role,
        #[command(flatten)]
        from: PasswordFrom,
    },
    /// List the accounts of people
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Change role or password of a person; a new password ends every login of it
    Change {
        /// Name of the account
        name: String,
        /// Another role
        #[arg(long, value_name = "ROLE")]
        role: Option<Role>,
        /// Another password; asks for it
        #[arg(long, required_unless_present_any = ["role", "password_file"])]
        password: bool,
        #[command(flatten)]
        from: PasswordFrom,
    },
    /// Remove the account of a person, who is logged out at once
    Remove {
        /// Name of the account
        name: String,
    },
}

/// Programs that may use the API.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token for a program and print it; nobody can find it out later
    Add {
        /// Name, at most 40 small letters, digits, or the signs . _ - @
        name: AccountName,
        /// viewer sees everything, operator also deploys and registers hosts, admin does everything
        #[arg(long, value_name = "ROLE", default_value = "viewer")]
        role: Role,
    },
    /// List the tokens by name
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a token, which is good for nothing from now on
    Remove {
        /// Name of the token
        name: String,
    },
}

/// Never on the command line, where all users of the machine can see it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PasswordFrom {
    /// Read the password from the first line of a file, or of standard input (-), and do not ask for it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl UserCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let text = match self {
            Self::Add { name, role, from } => {
                let password = from.password().await?;
                let client = Client::connect_or_create(places).await?;
                let request = UserAdd {
                    name,
                    role,
                    password,
                };
                let added = client.api().user_add(request).await;
                client.close().await;
                format!("user {}: {role}", added?.name)
            }
            Self::List { json } => {
                let client = Client::connect(places).await?;
                let rows = client.api().user_list().await;
                client.close().await;
                list(&rows?, json)?
            }
            Self::Change {
                name,
                role,
                password,
                from,
            } => {
                let is_new = password || from.password_file.is_some();
                let password = match is_new {
                    true => Some(from.password().await?),
                    false => None,
                };
                let client = Client::connect(places).await?;
                let request = UserChange { role, password };
                let changed = client.api().user_change(&name, request).await;
                client.close().await;
                format!("user {} is changed", changed?.name)
            }
            Self::Remove { name } => {
                let client = Client::connect(places).await?;
                let removed = client.api().user_remove(&name).await;
                client.close().await;
                format!("user {} is removed", removed?.name)
            }
        };
        output::result(&text);
        Ok(true)
    }
}

impl TokenCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let text = match self {
            Self::Add { name, role } => {
                let client = Client::connect_or_create(places).await?;
                let added = client.api().token_add(TokenAdd { name, role }).await;
                client.close().await;
                let added = added?;
                output::explain(&format!(
                    "token {}: {role}. Programs show it as Authorization: Bearer TOKEN. It is not kept, so \
                     note it now:",
                    added.name
                ));
                added.token
            }
            Self::List { json } => {
                let client = Client::connect(places).await?;
                let rows = client.api().token_list().await;
                client.close().await;
                list(&rows?, json)?
            }
            Self::Remove { name } => {
                let client = Client::connect(places).await?;
                let removed = client.api().token_remove(&name).await;
                client.close().await;
                format!("token {} is removed", removed?.name)
            }
        };
        output::result(&text);
        Ok(true)
    }
}

fn list(rows: &[AccountRow], json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(rows)?);
    }
    let lines = rows.iter().map(|row| {
        let role = row.role.to_string();
        vec![row.name.clone(), role, row.created_at.clone()]
    });
    let lines: Vec<_> = lines.collect();
    Ok(output::table(&["NAME", "ROLE", "MADE (UTC)"], &lines))
}

impl PasswordFrom {
    async fn password(&self) -> anyhow::Result<NewPassword> {
        let text = match &self.password_file {
            Some(path) if path == Path::new("-") => first_line(io::stdin().lock(), path)?,
            Some(path) => {
                let file = std::fs::File::open(path);
                let file = file.with_context(|| format!("reading {}", path.display()))?;
                first_line(file, path)?
            }
            None if io::stdin().is_terminal() => asked().await?,
            None => bail!(
                "there is no terminal to ask for a password; name a file that holds it with --password-file, \
                 or - for standard input"
            ),
        };
        Ok(NewPassword::try_from(text)?)
    }
}

fn first_line(from: impl io::Read, path: &Path) -> anyhow::Result<String> {
    let mut line = String::new();
    // Longer than any password.
    let mut from = io::BufReader::new(from.take(10_000));
    let read = from.read_line(&mut line);
    read.with_context(|| format!("reading the password in {}", path.display()))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

async fn asked() -> anyhow::Result<String> {
    let silence = Silence::begin()?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        typed = tokio::task::spawn_blocking(typed) => typed?,
        // The thread still waits for a line; the process ends without it, and the terminal is as it was.
        _ = interrupt.recv() => silence.end_with(INTERRUPTED),
        _ = terminate.recv() => silence.end_with(TERMINATED),
    }
}

/// What a shell calls a program that a signal has ended.
const INTERRUPTED: i32 = 128 + 2;
const TERMINATED: i32 = 128 + 15;

fn typed() -> anyhow::Result<String> {
    let first = line_after("Password: ")?;
    if line_after("The same again: ")? != first {
        bail!("the two passwords differ; nothing was changed");
    }
    Ok(first)
}

fn line_after(prompt: &str) -> anyhow::Result<String> {
    output::ask(prompt);
    let line = first_line(io::stdin().lock(), Path::new("the terminal"));
    // The end of the line was not shown either.
    output::explain("");
    line
}

/// The terminal does not show what is typed, until this is dropped.
struct Silence {
    before: Termios,
}

impl Silence {
    fn begin() -> anyhow::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).context("asking the terminal for its settings")?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &silent).context("switching the echo off")?;
        Ok(Self { before })
    }

    fn end_with(self, status: i32) -> ! {
        drop(self);
        output::explain("\nnothing was changed");
        std::process::exit(status)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // There is nothing else to be done with it.
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.before).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        let read = |text: &str| first_line(text.as_bytes(), Path::new("x")).unwrap();
        assert_eq!(read("correct horse\r\nmore\n"), "correct horse");
        assert_eq!(read(" blanks stay "), " blanks stay ");
        assert_eq!(read(""), "");
        assert_eq!(read(&"x".repeat(1 << 20)).len(), 10_000);
    }
}
