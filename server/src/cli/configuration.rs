//! The configuration file, and `config`, which prints one.
//!
//! Its keys are the long options of `serve` and those of all commands, taken from the command line's own description:
//! what is an option is a key, with the same values, text and default. A value of the file takes the place of the
//! default, so options and environment variables win over it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use toml::de::{DeTable, DeValue};

use super::Cli;
use crate::output;

/// The file that is read where no other is named, if it is there.
pub(super) const USUAL: &str = "/etc/fos-server/config.toml";

/// Why a command line does not say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is wrong itself, or only asks for help.
    #[error(transparent)]
    Line(#[from] clap::Error),
    /// The configuration file is wrong.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("reading the configuration {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No file that a person wrote is so large.
    #[error("{} has more than {} bytes: it is no configuration", .path.display(), LARGEST)]
    Large {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML.
    #[error("{}, line {line}: {text}", .path.display())]
    NoToml {
        /// The file.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// What was expected.
        text: String,
    },
    /// A key that there is not.
    #[error("{}, line {line}: {}", .path.display(), unknown(.key, .nearest.as_deref()))]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// As it was written.
        key: String,
        /// What may have been meant.
        nearest: Option<String>,
    },
    /// A value that the option does not take.
    #[error("{}, line {line}: {key}: {text}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The first line is 1.
        line: usize,
        /// The key.
        key: String,
        /// What was expected.
        text: String,
    },
}

fn unknown(key: &str, nearest: Option<&str>) -> String {
    let meant = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
    format!("there is no setting {key}{meant} `fos-server config` lists all")
}

/// A configuration has some kilobytes.
const LARGEST: u64 = 1 << 20;

impl Cli {
    /// What a command line says, and the configuration file for what it leaves open.
    ///
    /// # Errors
    /// If one of them is wrong, or only help is asked for.
    pub fn read(arguments: &[OsString]) -> Result<Self, Unusable> {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let Some(path) = named(&matches) else {
            return Ok(Self::from_arg_matches(&matches)?);
        };
        let Some(values) = Values::read(&path)? else {
            return Ok(Self::from_arg_matches(&matches)?);
        };
        let matches = values
            .applied(Self::command())
            .try_get_matches_from(arguments)?;
        Ok(Self::from_arg_matches(&matches)?)
    }
}

/// Where the configuration of this command is.
struct Place {
    path: PathBuf,
    /// Without it there is an error.
    is_needed: bool,
}

/// The file that counts; none for commands that concern no server.
fn named(matches: &ArgMatches) -> Option<Place> {
    if matches!(
        matches.subcommand_name(),
        Some("completions" | "man" | "config" | "setup" | "senders")
    ) {
        return None;
    }
    Some(match matches.get_one::<PathBuf>("config") {
        Some(path) => Place {
            path: path.clone(),
            is_needed: true,
        },
        None => Place {
            path: USUAL.into(),
            is_needed: false,
        },
    })
}

/// The checked values of a file, as they would be typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Values(BTreeMap<String, String>);

impl Values {
    /// `None` if there is no file, and none is needed.
    fn read(place: &Place) -> Result<Option<Self>, FileError> {
        let path = place.path.clone();
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == ErrorKind::NotFound && !place.is_needed => {
                return Ok(None);
            }
            Err(source) => return Err(FileError::Unreadable { path, source }),
            Ok(_) if bytes.len() as u64 > LARGEST => return Err(FileError::Large { path }),
            Ok(_) => {}
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..at).unwrap_or_default();
            FileError::NoToml {
                path: path.clone(),
                line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
                text: "this is no UTF-8 text".to_owned(),
            }
        })?;
        Self::parse(&path, &text).map(Some)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let line = |at: usize| {
            let before = text.as_bytes().get(..at).unwrap_or_default();
            1 + before.iter().filter(|byte| **byte == b'\n').count()
        };
        let table = DeTable::parse(text).map_err(|error| FileError::NoToml {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line(span.start)),
            text: error.message().to_owned(),
        })?;
        let known = settings();
        let mut values = BTreeMap::new();
        for (key, value) in table.get_ref() {
            let name: &str = key.get_ref();
            let line = line(key.span().start);
            let Some(setting) = known.iter().find(|setting| setting.key() == name) else {
                return Err(FileError::Unknown {
                    path: path.to_owned(),
                    line,
                    key: shown(name),
                    nearest: nearest(name, &known),
                });
            };
            let text = setting
                .typed(value.get_ref())
                .map_err(|text| FileError::Value {
                    path: path.to_owned(),
                    line,
                    key: name.to_owned(),
                    text,
                })?;
            values.insert(name.to_owned(), text);
        }
        Ok(Self(values))
    }

    /// The command line with these defaults.
    fn applied(&self, mut command: Command) -> Command {
        for setting in settings() {
            let Some(value) = self.0.get(setting.key()) else {
                continue;
            };
            // The command line keeps its texts until the program ends, and the file is read once.
            let value: &'static str = value.clone().leak();
            let id = setting.arg.get_id().clone();
            command = match setting.scope {
                Scope::All => command.mut_arg(id, |arg| arg.default_value(value)),
                Scope::Serve => command.mut_subcommand(SERVE, |serve| {
                    serve.mut_arg(id, |arg| arg.default_value(value))
                }),
            };
        }
        command
    }
}

const SERVE: &str = "serve";

/// Of which command an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Serve,
}

/// A key of the file.
#[derive(Debug)]
struct Setting {
    scope: Scope,
    arg: Arg,
}

/// Every key, in the order of the help.
fn settings() -> Vec<Setting> {
    let command = Cli::command();
    let of = |command: &Command, scope: Scope| -> Vec<Setting> {
        let named = command.get_arguments().filter(|arg| {
            arg.get_long().is_some() && arg.get_id() != "config" && !is_of_the_line(arg)
        });
        named
            .map(|arg| Setting {
                scope,
                arg: arg.clone(),
            })
            .collect()
    };
    let mut settings = of(&command, Scope::All);
    if let Some(serve) = command.find_subcommand(SERVE) {
        settings.extend(of(serve, Scope::Serve));
    }
    settings
}

/// Such as `--help`.
fn is_of_the_line(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    )
}

impl Setting {
    fn key(&self) -> &str {
        self.arg.get_long().unwrap_or_default()
    }

    fn is_flag(&self) -> bool {
        matches!(self.arg.get_action(), ArgAction::SetTrue)
    }

    /// A value as it would be typed, if the option takes it.
    fn typed(&self, value: &DeValue<'_>) -> Result<String, String> {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Integer(_) => return Err("expected a decimal number".to_owned()),
            DeValue::Boolean(flag) if self.is_flag() => return Ok(flag.to_string()),
            DeValue::Boolean(_) => return Err("true and false are no values of it".to_owned()),
            other => {
                let kind = other.type_str();
                return Err(format!(
                    "expected a text or a whole number, and this is: {kind}"
                ));
            }
        };
        if self.is_flag() {
            return Err("expected true or false".to_owned());
        }
        let default = self.arg.get_default_values().first();
        if text.is_empty() && default.is_none_or(|default| !default.is_empty()) {
            return Err("the value is empty; remove the line for the default".to_owned());
        }
        let line = format!("--{}={text}", self.key());
        match Cli::command().try_get_matches_from(["fos-server", SERVE, &line]) {
            Ok(_) => Ok(text),
            Err(error) => Err(told(&error)),
        }
    }

    /// Its lines in a file: what it is, and its value, or its default as a comment.
    fn lines(&self, chosen: Option<&str>) -> String {
        let help = self.arg.get_long_help().or_else(|| self.arg.get_help());
        let mut help = help.map(ToString::to_string).unwrap_or_default();
        let possible = self.arg.get_possible_values();
        if !possible.is_empty() && !self.is_flag() {
            let names: Vec<&str> = possible.iter().map(|value| value.get_name()).collect();
            help.push_str(&format!(". One of: {}", names.join(", ")));
        }
        let mut lines: String = wrapped(&help, WIDTH)
            .iter()
            .map(|line| format!("# {line}\n"))
            .collect();
        let key = self.key();
        let default = self.arg.get_default_values().first();
        lines.push_str(&match (chosen, default) {
            (Some(chosen), _) => format!("{key} = {}\n", self.written(chosen)),
            (None, _) if self.is_flag() => format!("#{key} = false\n"),
            (None, Some(default)) => {
                format!("#{key} = {}\n", self.written(&default.to_string_lossy()))
            }
            (None, None) => {
                let names = self.arg.get_value_names().unwrap_or_default();
                let name = names.first().map_or("VALUE", |name| name.as_str());
                format!("#{key} = {}\n", self.written(name))
            }
        });
        lines
    }

    fn written(&self, value: &str) -> String {
        if self.is_flag() || value.parse::<u64>().is_ok() {
            return value.to_owned();
        }
        toml::Value::from(value).to_string()
    }
}

/// What clap has against a value, in one line.
fn told(error: &clap::Error) -> String {
    let text = error.to_string();
    let (text, _) = text.split_once("\n\nFor more").unwrap_or((&text, ""));
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

/// A key for a terminal.
fn shown(key: &str) -> String {
    let short: String = key.chars().take(60).collect();
    short.escape_debug().to_string()
}

/// The key that was most likely meant.
fn nearest(key: &str, known: &[Setting]) -> Option<String> {
    let key: String = key.chars().take(60).collect();
    let key = key.to_lowercase().replace('_', "-");
    let alike = |setting: &&Setting| strsim::jaro_winkler(&key, setting.key());
    let best = known
        .iter()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))
        .filter(|best| alike(best) > 0.7)?;
    Some(best.key().to_owned())
}

/// A file with every setting as a comment, and `chosen` ones that count.
pub(super) fn commented(chosen: &BTreeMap<&str, String>) -> String {
    let mut text = format!(
        "# Configuration of fos-server, read from {USUAL} or from the file of --config.\n\
         # What is commented out is the default; capitals stand for a value that has none. Options of the command line\n\
         # and environment variables win over this file. After a change: systemctl restart fos-server\n"
    );
    let mut heading: Option<String> = None;
    for setting in settings() {
        let now = match (setting.scope, setting.arg.get_help_heading()) {
            (_, Some(heading)) => heading.to_owned(),
            (Scope::All, None) => "Places, for all commands".to_owned(),
            (Scope::Serve, None) => "The server".to_owned(),
        };
        if heading.as_ref() != Some(&now) {
            text.push_str(&format!("\n### {now}\n"));
            heading = Some(now);
        }
        let chosen = chosen.get(setting.key()).map(String::as_str);
        text.push_str(&format!("\n{}", setting.lines(chosen)));
    }
    text
}

/// Columns of a comment.
const WIDTH: usize = 100;

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A commented configuration file with the defaults, on standard output; or is a file right?
#[derive(Debug, clap::Args)]
pub(super) struct ConfigCommand {
    /// Read this file, and say what is wrong with it
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

impl ConfigCommand {
    pub(super) fn run(&self) -> anyhow::Result<bool> {
        let Some(path) = &self.check else {
            output::result(commented(&BTreeMap::new()).trim_end());
            return Ok(true);
        };
        let place = Place {
            path: path.clone(),
            is_needed: true,
        };
        let values = Values::read(&place)?.unwrap_or_default();
        output::result(&format!("{}: {} settings", path.display(), values.0.len()));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Values, FileError> {
        Values::parse(Path::new("c.toml"), text)
    }

    fn read(line: &[&str], text: &str) -> Result<String, Unusable> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let mut line: Vec<OsString> = line.iter().map(OsString::from).collect();
        line.extend([OsString::from("--config"), file.clone().into()]);
        let cli = Cli::read(&line)?;
        Ok(format!("{cli:?}").replace(&format!("{:?}", file), "FILE"))
    }

    fn without_file(line: &[&str]) -> String {
        read(line, "").unwrap()
    }

    /// The printed file says what holds without it, and every option of the server is in it.
    #[test]
    fn every_setting_is_listed_with_the_default_that_holds() {
        let text = commented(&BTreeMap::new());
        assert_eq!(parse(&text).unwrap(), Values::default());
        let known = settings();
        let (mut defaults, mut listed) = (String::new(), 0);
        for line in text.lines() {
            let Some(setting) = known.iter().find(|setting| {
                line.strip_prefix('#')
                    .and_then(|line| line.strip_prefix(setting.key()))
                    .is_some_and(|rest| rest.starts_with(" = "))
            }) else {
                continue;
            };
            listed += 1;
            if setting.is_flag() || !setting.arg.get_default_values().is_empty() {
                defaults.push_str(&line[1..]);
                defaults.push('\n');
            }
        }
        assert_eq!(listed, known.len(), "{text}");
        assert!(listed > 25, "{text}");
        assert_eq!(
            read(&["fos-server", "serve"], &defaults).unwrap(),
            without_file(&["fos-server", "serve"])
        );
        for key in [
            "data",
            "images",
            "database",
            "listen",
            "grace",
            "http-connections",
        ] {
            assert!(known.iter().any(|setting| setting.key() == key), "{key}");
        }
    }

    #[test]
    fn what_is_chosen_is_read_back() {
        let chosen = BTreeMap::from([
            ("images", "/srv/\"images\"".to_owned()),
            ("grace", "70".to_owned()),
        ]);
        let values = parse(&commented(&chosen)).unwrap();
        assert_eq!(values.0["images"], "/srv/\"images\"");
        assert_eq!(values.0["grace"], "70");
        assert_eq!(values.0.len(), 2);
    }

    #[test]
    fn the_file_takes_the_place_of_the_default_and_the_line_wins() {
        let file =
            "images = '/srv/images'\ngrace = 70\nlisten = '0.0.0.0:8080'\nhttp-connections = 7\n";
        assert_eq!(
            read(&["fos-server", "serve"], file).unwrap(),
            without_file(&[
                "fos-server",
                "serve",
                "--images=/srv/images",
                "--grace=70",
                "--listen=0.0.0.0:8080",
                "--http-connections=7",
            ])
        );
        assert_eq!(
            read(&["fos-server", "serve", "--grace", "80"], "grace = 70").unwrap(),
            without_file(&["fos-server", "serve", "--grace=80"])
        );
        // Other commands have what concerns them.
        assert_eq!(
            read(&["fos-server", "status"], "data = '/srv/fos'\ngrace = 70").unwrap(),
            without_file(&["fos-server", "status", "--data=/srv/fos"])
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest() {
        for (key, meant) in [
            ("intreface", Some("interface")),
            ("stream_records", Some("stream-records")),
            ("HTTP-Connections", Some("http-connections")),
            ("zzz", None),
            ("config", None),
        ] {
            match parse(&format!("# first\n\n{key} = 'x'\n")) {
                Err(FileError::Unknown { line, nearest, .. }) => {
                    assert_eq!(line, 3);
                    if let Some(meant) = meant {
                        assert_eq!(nearest.as_deref(), Some(meant));
                    }
                }
                other => panic!("{key}: {other:?}"),
            }
        }
        assert!(matches!(
            parse("[serve]\ngrace = 7\n"),
            Err(FileError::Unknown { line: 1, .. })
        ));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        for value in [
            "grace = 'soon'",
            "grace = 1.5",
            "grace = true",
            "grace = [1]",
            "grace = 0x10",
            "grace = ''",
            "http-hold = 16",
            "stream-records = 'sometimes'",
            "listen = 80",
        ] {
            let error = parse(&format!("\n{value}\n")).unwrap_err();
            assert!(
                matches!(error, FileError::Value { line: 2, .. }),
                "{value}: {error:?}"
            );
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        for broken in ["grace = ", "grace", "grace = 1\ngrace = 2", "\u{0}"] {
            let error = parse(broken).unwrap_err();
            assert!(
                matches!(error, FileError::NoToml { .. }),
                "{broken}: {error:?}"
            );
        }
    }

    #[test]
    fn a_file_that_is_named_has_to_be_there() {
        let line = [
            "fos-server",
            "status",
            "--config",
            "/nonexistent/config.toml",
        ];
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        assert!(matches!(
            Cli::read(&line),
            Err(Unusable::File(FileError::Unreadable { .. }))
        ));
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large");
        std::fs::File::create(&large)
            .unwrap()
            .set_len(LARGEST + 1)
            .unwrap();
        let place = Place {
            path: large,
            is_needed: true,
        };
        assert!(matches!(Values::read(&place), Err(FileError::Large { .. })));
    }
}
