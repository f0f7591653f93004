//! The command line.

mod account;
mod boot_files;
mod cancel;
mod capture;
mod client;
mod configuration;
mod database;
mod deploy;
mod doctor;
mod generate;
mod group;
mod host;
mod image;
mod import;
mod nodes;
mod packs;
mod rival;
mod schedule;
mod selftest;
mod senders;
mod serve;
mod setup;
mod start;
mod status;
mod wake;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::domain::follow_up::MAX_FOLLOW_UPS;
use crate::ops;
use crate::store::Store;

pub use self::configuration::{FileError, Unusable};

/// Deploys disk images to many machines at once by multicast, speaking the protocols of FOG.
#[derive(Debug, Parser)]
#[command(
    name = "fos-server",
    version,
    after_help = "A first deploy:\n  \
        fos-server serve --images /images --boot /srv/boot &\n  \
        fos-server host add LAB-01 00:1b:21:aa:bb:cc\n  \
        fos-server host add LAB-02 00:1b:21:aa:bb:cd\n  \
        fos-server image add win11lab --os 10 --type n\n  \
        fos-server deploy win11lab LAB-01 LAB-02 --wait\n\n\
        A single stream without the server, with the options of udpcast's program:\n  \
        fos-server udp-sender --help\n\n\
        Exit status: 0 done, 1 failed, 2 wrong usage, 3 deploy --wait was interrupted and the session \
        goes on, or selftest or doctor found something that does not work."
)]
pub struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

/// Where everything is.
#[derive(Debug, Clone, clap::Args)]
struct Places {
    /// Configuration file; options win over it [default: /etc/fos-server/config.toml, where it is there]
    #[arg(long, global = true, value_name = "FILE", env = "FOS_SERVER_CONFIG")]
    config: Option<PathBuf>,
    /// Directory of database, logs and run-time files
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "FOS_SERVER_DATA",
        default_value = "/var/lib/fos-server"
    )]
    data: PathBuf,
    /// Directory of the images, one directory each; kept for later commands [default: DATA/images]
    #[arg(long, global = true, value_name = "DIR", env = "FOS_SERVER_IMAGES")]
    images: Option<PathBuf>,
    #[command(flatten)]
    database: database::DatabaseArgs,
    #[command(flatten)]
    pack: packs::PackArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: HTTP for clients, multicast sessions
    Serve(Box<serve::Serve>),
    /// Register machines
    #[command(subcommand)]
    Host(host::HostCommand),
    /// Groups of machines, as those of a room
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Register and verify images
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Create a multicast session for some hosts, or a task for each; prints its number, or theirs
    Deploy(deploy::Deploy),
    /// Capture the disk of a host into an image; prints the number of the task
    Capture(capture::Capture),
    /// Deploys that begin later
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Show sessions and what every host does or waits for
    Status(status::Status),
    /// Show servers and storage nodes: who serves which host, and since when
    Nodes(nodes::Nodes),
    /// Start a session with the hosts that are connected, without those that are missing
    Start(start::Start),
    /// Switch machines on (Wake-on-LAN)
    Wake(wake::Wake),
    /// Cancel a session, one host of it, or the task of a host that is deployed alone
    Cancel(cancel::Cancel),
    /// Send a test by multicast to `fos-agent selftest` or `udp-receiver`, and say what works and what does not
    Selftest(selftest::Selftest),
    /// Accounts of people who may use the page and the API
    #[command(subcommand)]
    User(account::UserCommand),
    /// Tokens of programs that may use the API
    #[command(subcommand)]
    Token(account::TokenCommand),
    /// Write the configuration, make the boot files, start the service, and say what is left to do
    Setup(setup::Setup),
    /// Make the files that clients boot, from the kernel of this machine
    BootFiles(boot_files::BootFiles),
    /// Find out what keeps this server from deploying, and say what to do
    Doctor(doctor::Doctor),
    /// List the programs udp-sender that run here, or end them
    Senders(senders::Senders),
    /// Print a commented configuration file with the defaults, or check one
    Config(configuration::ConfigCommand),
    /// Print a script by which a shell completes these commands
    Completions(generate::Completions),
    /// Write manual pages of these commands
    Man(generate::Man),
}

/// How a command ended that has said everything itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Done.
    Done,
    /// It failed, and has said why.
    Failed,
    /// A person does not wait any longer; what was begun goes on.
    Interrupted,
    /// A test found something that does not work.
    Found,
}

impl From<bool> for Outcome {
    fn from(is_done: bool) -> Self {
        match is_done {
            true => Self::Done,
            false => Self::Failed,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Interrupted | Outcome::Found => Self::from(3),
        }
    }
}

impl Cli {
    /// Carries the command out.
    ///
    /// # Errors
    /// With a text that says what went wrong and what to do.
    pub fn run(self) -> anyhow::Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let result = runtime.block_on(self.run_async());
        // A blocked reader of a stopped stream must not keep the program.
        runtime.shutdown_background();
        result
    }

    async fn run_async(self) -> anyhow::Result<Outcome> {
        let places = self.places;
        let is_done = match self.command {
            Command::Serve(serve) => serve.run(&places).await,
            Command::Host(host) => host.run(&places).await,
            Command::Group(group) => group.run(&places).await,
            Command::Image(image) => image.run(&places).await,
            Command::Deploy(deploy) => return deploy.run(&places).await,
            Command::Capture(capture) => capture.run(&places).await,
            Command::Status(status) => status.run(&places).await,
            Command::Nodes(nodes) => nodes.run(&places).await,
            Command::Schedule(schedule) => schedule.run(&places).await,
            Command::Wake(wake) => wake.run(&places).await,
            Command::Start(start) => start.run(&places).await,
            Command::User(user) => user.run(&places).await,
            Command::Token(token) => token.run(&places).await,
            Command::Config(config) => config.run(),
            Command::Setup(setup) => setup.run(&places).await,
            Command::BootFiles(files) => files.run(&places).await,
            Command::Doctor(doctor) => return doctor.run(&places).await,
            Command::Senders(senders) => senders.run().await,
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
            Command::Cancel(cancel) => cancel.run(&places).await,
            Command::Selftest(selftest) => return selftest.run(&places).await,
        };
        is_done.map(Outcome::from)
    }
}

impl Places {
    /// Where a running server is asked.
    fn socket(&self) -> PathBuf {
        self.data.join("server.sock")
    }

    /// The image directory as a person gave it.
    fn given_root(&self) -> anyhow::Result<Option<String>> {
        let Some(given) = &self.images else {
            return Ok(None);
        };
        let root = std::path::absolute(given)
            .with_context(|| format!("the image directory {}", given.display()))?;
        // `..` and links stay as they are; double and last slashes go.
        let root: PathBuf = root.components().collect();
        text(&root).map(Some)
    }

    fn default_root(&self) -> anyhow::Result<String> {
        text(&std::path::absolute(self.data.join("images"))?)
    }

    /// The image root: as given now (and remembered), as given before, or the default.
    async fn root_of(&self, store: &dyn Store) -> anyhow::Result<PathBuf> {
        let root = ops::image_root(store, self.given_root()?, self.default_root()?).await?;
        Ok(root.into())
    }
}

/// The number of a session.
fn session_number(text: &str) -> Result<i64, String> {
    number(text).map_err(|_| "expected its number; fos-server status lists the sessions".to_owned())
}

/// The number of a task.
fn task_number(text: &str) -> Result<i64, String> {
    number(text).map_err(|_| "expected its number; fos-server status lists the tasks".to_owned())
}

/// An image as it is typed: a shell that completes the name of its directory adds a slash.
fn image(text: &str) -> Result<String, String> {
    Ok(text.trim_end_matches('/').to_owned())
}

/// Seconds, or minutes with an `m`.
fn wait_seconds(text: &str) -> Result<u64, String> {
    let seconds = match text.strip_suffix('m') {
        Some(minutes) => minutes.parse::<u64>().ok().and_then(|m| m.checked_mul(60)),
        None => text.strip_suffix('s').unwrap_or(text).parse::<u64>().ok(),
    };
    seconds
        .filter(|seconds| (1..=86400).contains(seconds))
        .ok_or_else(|| {
            "expected seconds such as 90, or minutes such as 10m, up to a day".to_owned()
        })
}

/// How often hosts of one deploy are deployed once more.
fn follow_ups(text: &str) -> Result<u32, String> {
    let times = number::<u32>(text).ok();
    let times = times.filter(|times| *times <= MAX_FOLLOW_UPS);
    times.ok_or_else(|| format!("expected a number, 0 to {MAX_FOLLOW_UPS}"))
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    let number = text.parse();
    number.map_err(|_| "expected a whole number".to_owned())
}

fn text(path: &std::path::Path) -> anyhow::Result<String> {
    let text = path.to_str();
    let text = text.with_context(|| format!("{} is no UTF-8 text", path.display()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// A person who mistypes a number reads what is expected, not what a parser met.
    #[test]
    fn numbers_are_asked_for_in_plain_words() {
        fn walk(command: &clap::Command, path: &[&str], checked: &mut usize) {
            for option in command.get_arguments() {
                let Some(name) = option.get_long().map(|name| format!("--{name}=x")) else {
                    continue;
                };
                let line = [path, &[name.as_str()]].concat();
                check(&line, checked);
            }
            for below in command.get_subcommands() {
                walk(below, &[path, &[below.get_name()]].concat(), checked);
            }
        }
        fn check(line: &[&str], checked: &mut usize) {
            if let Err(error) = Cli::try_parse_from(line) {
                let text = error.to_string();
                assert!(!text.contains("invalid digit"), "{line:?}: {text}");
                *checked += 1;
            }
        }
        let mut checked = 0;
        walk(&Cli::command(), &["fos-server"], &mut checked);
        check(&["fos-server", "status", "x"], &mut checked);
        check(&["fos-server", "cancel", "x"], &mut checked);
        assert!(checked > 20, "{checked}");
    }

    #[test]
    fn the_example_is_that_of_the_readme() {
        let readme = include_str!("../../../README.md");
        let help = Cli::command().get_after_help().unwrap().to_string();
        let lines: Vec<&str> = help
            .lines()
            .filter(|line| line.starts_with("  fos-server"))
            .collect();
        assert_eq!(lines.len(), 6, "{help}");
        // The last is for the sender alone.
        for line in &lines[..5] {
            assert!(readme.contains(line.trim()), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_told_apart() {
        for arguments in [
            &["fos-server"][..],
            &["fos-server", "deploy", "image"],
            &["fos-server", "host", "add", "A", "nonsense"],
            &["fos-server", "serve", "--stream-records", "sometimes"],
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
