//! The command lines of the originals: GNU rules, with joined short options, abbreviated long ones and
//! values that may look like options.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `partclone.restore`.
    Restore,
    /// `partclone.ext4` and the like, which restore with `-r`.
    FileSystem,
    /// `partclone.chkimg`.
    Check,
    /// `partclone.info`.
    Info,
}

/// What a command line asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// To do what the program is for.
    Work(Box<Options>),
    Help,
    Version,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
pub(super) struct Options {
    /// The image; `None` for standard input.
    pub(super) source: Option<PathBuf>,
    pub(super) target: TargetName,
    /// Bytes added to every position.
    pub(super) offset: u64,
    pub(super) is_size_unchecked: bool,
    pub(super) is_crc_ignored: bool,
    pub(super) is_skipping_write_errors: bool,
    pub(super) is_forced: bool,
    pub(super) is_quiet: bool,
    pub(super) has_block_detail: bool,
    /// Least time between two progress displays.
    pub(super) interval: Duration,
    pub(super) note: Option<String>,
    pub(super) log: PathBuf,
}

/// Where the data goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetName {
    /// `-o`: a file must not exist.
    New(PathBuf),
    /// `-O`: a file may exist and keeps what it has.
    Existing(PathBuf),
    /// `-W`: a file that is made or emptied.
    Plain(PathBuf),
    StandardOutput,
}

impl TargetName {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::New(path) | Self::Existing(path) | Self::Plain(path) => Some(path),
            Self::StandardOutput => None,
        }
    }
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Program {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Restore => "partclone.restore",
            Self::FileSystem => "partclone.FS",
            Self::Check => "partclone.chkimg",
            Self::Info => "partclone.info",
        }
    }

    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Restore | Self::FileSystem => RESTORE_HELP,
            Self::Check => CHECK_HELP,
            Self::Info => INFO_HELP,
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Restore => RESTORE,
            Self::FileSystem => FILE_SYSTEM,
            Self::Check => CHECK,
            Self::Info => INFO,
        }
    }
}

const RESTORE_HELP: &str = "\
Usage: partclone.restore [-s IMAGE] -O TARGET [OPTIONS]
   or: partclone.FS -r [-s IMAGE] -O TARGET [OPTIONS]
Writes the used blocks of an image (also a compressed one) to a target.

  -s, --source FILE        image; - or nothing: standard input
  -o, --output FILE        target; a file must not exist
  -O, --overwrite FILE     target; a file may exist; -: standard output
  -W, --restore_raw_file   the target is a plain file, made or emptied
  -E, --offset=N           add N bytes to every position
  -C, --no_check           do not check the target's size or free space
  -i, --ignore_crc         report wrong block checksums, do not stop at them
      --skip_write_error   go on after write errors; the exit status is 1 then
  -F, --force              accepted; a failure stays a failure
  -L, --logfile FILE       log file (default /var/log/partclone.log)
  -n, --note TEXT          text to be shown
  -f, --UI-fresh N         seconds between two progress displays (default 2)
  -B, --no_block_detail    one line of progress
  -q, --quiet              no progress
  -N, --ncurses            no full screen here, but progress as without it.
                           With and without -N, progress (not with -q) is also
                           left for FOG's reporter in status.fog in the
                           directory of $TMPDIR, or else /tmp
  -v, --version; -h, --help
Accepted and of no effect: -d[N] -z N -I --binary-prefix --prog-second
  --write-direct-io --read-direct-io
Exit status: 0 restored and synced, 1 failed, 2 wrong usage.";

const CHECK_HELP: &str = "\
Usage: partclone.chkimg -s IMAGE [OPTIONS]
Reads a whole image (also a compressed one) and verifies everything that can be.

  -s, --source FILE        image; -: standard input
  -i, --ignore_crc         report wrong block checksums, do not fail for them
  -L, --logfile FILE       log file (default /var/log/partclone.log)
  -n, --note TEXT          text to be shown
  -f, --UI-fresh N         seconds between two progress displays (default 2)
  -B, --no_block_detail    one line of progress
  -N, --ncurses            no full screen here, but progress as without it.
                           With and without -N, progress is also
                           left for FOG's reporter in status.fog in the
                           directory of $TMPDIR, or else /tmp
  -v, --version; -h, --help
Accepted and of no effect: -C -F -d[N] -z N
Exit status: 0 the image is good, 1 it is not, 2 wrong usage.";

const INFO_HELP: &str = "\
Usage: partclone.info IMAGE
   or: partclone.info -s IMAGE [OPTIONS]
Shows what the header of an image (also a compressed one) says; the bitmap is verified.

  -s, --source FILE        image; -: standard input
  -L, --logfile FILE       log file (default /var/log/partclone.log)
  -v, --version; -h, --help
Accepted and of no effect: -q -d[N]
Exit status: 0 shown, 1 the image is bad, 2 wrong usage.";

/// An option of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Source,
    Output,
    Overwrite,
    RawFile,
    Offset,
    NoCheck,
    IgnoreCrc,
    SkipWriteError,
    Force,
    LogFile,
    Note,
    Fresh,
    NoBlockDetail,
    Quiet,
    BufferSize,
    BtFiles,
    /// `-r` of the programs for file systems.
    RestoreMode,
    /// What those programs do beside restoring.
    OtherMode,
    Version,
    Help,
    Debug,
    /// Accepted, of no effect.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    No,
    /// The rest of the argument, or the next one.
    Required,
    /// The rest of the argument, if there is any.
    Optional,
}

/// An option: short name, long name, what it is, whether it takes a value, which programs have it.
type Known = (Option<u8>, &'static str, Name, Value, u8);

const RESTORE: u8 = 1;
const FILE_SYSTEM: u8 = 2;
const CHECK: u8 = 4;
const INFO: u8 = 8;
const WRITING: u8 = RESTORE | FILE_SYSTEM;
const ALL: u8 = WRITING | CHECK | INFO;

#[rustfmt::skip]
const TABLE: [Known; 31] = [
    (Some(b's'), "source", Name::Source, Value::Required, ALL),
    (Some(b'o'), "output", Name::Output, Value::Required, WRITING),
    (Some(b'O'), "overwrite", Name::Overwrite, Value::Required, WRITING),
    (Some(b'W'), "restore_raw_file", Name::RawFile, Value::No, WRITING),
    (Some(b'E'), "offset", Name::Offset, Value::Required, WRITING),
    (Some(b'C'), "no_check", Name::NoCheck, Value::No, WRITING | CHECK),
    (Some(b'i'), "ignore_crc", Name::IgnoreCrc, Value::No, WRITING | CHECK),
    (Some(b'w'), "skip_write_error", Name::SkipWriteError, Value::No, WRITING),
    (Some(b'F'), "force", Name::Force, Value::No, WRITING | CHECK),
    (Some(b'L'), "logfile", Name::LogFile, Value::Required, ALL),
    (Some(b'n'), "note", Name::Note, Value::Required, WRITING | CHECK),
    (Some(b'f'), "UI-fresh", Name::Fresh, Value::Required, WRITING | CHECK),
    (Some(b'B'), "no_block_detail", Name::NoBlockDetail, Value::No, WRITING | CHECK),
    (Some(b'q'), "quiet", Name::Quiet, Value::No, WRITING | INFO),
    (Some(b'z'), "buffer_size", Name::BufferSize, Value::Required, WRITING | CHECK),
    (Some(b't'), "btfiles_torrent", Name::BtFiles, Value::No, WRITING),
    (Some(b'T'), "btfiles", Name::BtFiles, Value::No, WRITING),
    (Some(b'r'), "restore", Name::RestoreMode, Value::No, FILE_SYSTEM),
    (Some(b'c'), "clone", Name::OtherMode, Value::No, FILE_SYSTEM),
    (Some(b'b'), "dev-to-dev", Name::OtherMode, Value::No, FILE_SYSTEM),
    (Some(b'D'), "domain", Name::OtherMode, Value::No, FILE_SYSTEM),
    (Some(b'R'), "rescue", Name::OtherMode, Value::No, FILE_SYSTEM),
    (Some(b'v'), "version", Name::Version, Value::No, ALL),
    (Some(b'h'), "help", Name::Help, Value::No, ALL),
    (Some(b'd'), "debug", Name::Debug, Value::Optional, ALL),
    (Some(b'N'), "ncurses", Name::Nothing, Value::No, WRITING | CHECK),
    (Some(b'I'), "ignore_fschk", Name::Nothing, Value::No, WRITING),
    (None, "binary-prefix", Name::Nothing, Value::No, WRITING | CHECK),
    (None, "prog-second", Name::Nothing, Value::No, WRITING | CHECK),
    (None, "write-direct-io", Name::Nothing, Value::No, WRITING),
    (None, "read-direct-io", Name::Nothing, Value::No, WRITING | CHECK),
];

/// Most bytes of a note that are shown.
const NOTE_LEN: usize = 127;
/// Least buffer that the original takes.
const LEAST_BUFFER: u64 = 512;
const LOG: &str = "/var/log/partclone.log";

/// Reads the command line of a program (without its name).
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(program: Program, args: &[OsString]) -> Result<Request, UsageError> {
    let mut found = Found::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            if let Some(rest) = args.next() {
                found.argument(program, rest)?;
            }
        } else if let Some(long) = bytes.strip_prefix(b"--") {
            let mut parts = long.splitn(2, |byte| *byte == b'=');
            let given = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let attached = parts.next().map(|value| OsString::from_vec(value.to_vec()));
            let (name, value) = by_long_name(program, &given)?;
            let value = match (value, attached) {
                (Value::No, Some(_)) => {
                    return Err(UsageError(format!("--{given} takes no value")));
                }
                (Value::Required, None) => Some(next_value(&mut args, &format!("--{given}"))?),
                (_, attached) => attached,
            };
            found.take(name, value)?;
        } else if bytes.len() > 1 && bytes[0] == b'-' {
            let mut letters = &bytes[1..];
            while let [letter, rest @ ..] = letters {
                let (name, value) = by_letter(program, *letter)?;
                letters = rest;
                let attached = OsStr::from_bytes(rest).to_owned();
                let value = match value {
                    Value::No => None,
                    Value::Optional if rest.is_empty() => None,
                    Value::Required if rest.is_empty() => {
                        let name = format!("-{}", char::from(*letter));
                        Some(next_value(&mut args, &name)?)
                    }
                    _ => {
                        letters = &[];
                        Some(attached)
                    }
                };
                found.take(name, value)?;
            }
        } else {
            found.argument(program, arg)?;
        }
        if let Some(request) = found.at_once.take() {
            return Ok(request);
        }
    }
    found.finish(program)
}

fn unexpected(arg: &OsStr) -> UsageError {
    UsageError(format!(
        "unexpected argument {:?}: images are given with -s, targets with -O",
        arg.to_string_lossy()
    ))
}

fn next_value<'a>(
    args: &mut impl Iterator<Item = &'a OsString>,
    name: &str,
) -> Result<OsString, UsageError> {
    args.next()
        .cloned()
        .ok_or_else(|| UsageError(format!("{name} needs a value")))
}

/// The options of a program.
fn options(program: Program) -> impl Iterator<Item = &'static Known> {
    TABLE
        .iter()
        .filter(move |(.., programs)| programs & program.bit() != 0)
}

fn by_letter(program: Program, letter: u8) -> Result<(Name, Value), UsageError> {
    options(program)
        .find(|(short, ..)| *short == Some(letter))
        .map(|(_, _, name, value, _)| (*name, *value))
        .ok_or_else(|| UsageError(format!("unknown option -{}", char::from(letter))))
}

/// The option with this name, or the only one that begins so.
fn by_long_name(program: Program, given: &str) -> Result<(Name, Value), UsageError> {
    let exact = options(program).find(|(_, long, ..)| *long == given);
    let mut fitting = options(program).filter(|(_, long, ..)| long.starts_with(given));
    match (exact, fitting.next(), fitting.next()) {
        (Some(option), ..) | (None, Some(option), None) => Ok((option.2, option.3)),
        (None, None, _) => Err(UsageError(format!("unknown option --{given}"))),
        (None, Some(a), Some(b)) => Err(UsageError(format!(
            "--{given} is ambiguous: --{} or --{}",
            a.1, b.1
        ))),
    }
}

/// The options found so far.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
struct Found {
    source: Option<PathBuf>,
    /// Path and whether it may exist.
    target: Option<(PathBuf, bool)>,
    is_raw_file: bool,
    offset: u64,
    is_size_unchecked: bool,
    is_crc_ignored: bool,
    is_skipping_write_errors: bool,
    is_forced: bool,
    is_quiet: bool,
    has_no_block_detail: bool,
    interval: Option<Duration>,
    note: Option<String>,
    log: Option<PathBuf>,
    is_restore_chosen: bool,
    /// Nothing else matters.
    at_once: Option<Request>,
}

impl Found {
    /// Only `partclone.info` takes one: the image.
    fn argument(&mut self, program: Program, argument: &OsStr) -> Result<(), UsageError> {
        if program == Program::Info && self.source.is_none() {
            self.source = Some(argument.into());
            return Ok(());
        }
        Err(unexpected(argument))
    }

    fn take(&mut self, name: Name, value: Option<OsString>) -> Result<(), UsageError> {
        let value = value.unwrap_or_default();
        match name {
            Name::Source => self.source = Some(value.into()),
            Name::Output => self.target = Some((value.into(), false)),
            Name::Overwrite => self.target = Some((value.into(), true)),
            Name::RawFile => self.is_raw_file = true,
            Name::Offset => {
                self.offset = number(&value)
                    .ok_or_else(|| bad_number("--offset", &value, "a number of bytes"))?;
            }
            Name::NoCheck => self.is_size_unchecked = true,
            Name::IgnoreCrc => self.is_crc_ignored = true,
            Name::SkipWriteError => self.is_skipping_write_errors = true,
            Name::Force => self.is_forced = true,
            Name::LogFile => self.log = Some(value.into()),
            Name::Note => {
                let bytes = value.as_bytes();
                let shown = &bytes[..bytes.len().min(NOTE_LEN)];
                self.note = Some(String::from_utf8_lossy(shown).into_owned());
            }
            Name::Fresh => {
                // Whatever is no number is one second.
                let seconds = number(&value).unwrap_or_default().clamp(1, 3600);
                self.interval = Some(Duration::from_secs(seconds));
            }
            Name::NoBlockDetail => self.has_no_block_detail = true,
            Name::Quiet => self.is_quiet = true,
            Name::BufferSize => {
                number(&value)
                    .filter(|size| *size >= LEAST_BUFFER)
                    .ok_or_else(|| {
                        bad_number("--buffer_size", &value, "a number of bytes, at least 512")
                    })?;
            }
            Name::BtFiles => {
                return Err(UsageError(
                    "writing files for BitTorrent (-t, -T) is not supported; use the original \
                     partclone for that"
                        .to_owned(),
                ));
            }
            Name::RestoreMode => self.is_restore_chosen = true,
            Name::OtherMode => {
                return Err(UsageError(
                    "only restoring (-r) is supported; use the original partclone for this"
                        .to_owned(),
                ));
            }
            Name::Version => self.at_once = Some(Request::Version),
            Name::Help => self.at_once = Some(Request::Help),
            Name::Debug | Name::Nothing => {}
        }
        Ok(())
    }

    fn finish(self, program: Program) -> Result<Request, UsageError> {
        if program == Program::FileSystem && !self.is_restore_chosen {
            return Err(UsageError(
                "-r is missing: only restoring is supported; use the original partclone for anything \
                 else"
                    .to_owned(),
            ));
        }
        if self.source.is_none() && matches!(program, Program::Check | Program::Info) {
            return Err(UsageError("no image is given (-s)".to_owned()));
        }
        if self.source.is_none() && self.target.is_none() {
            return Err(UsageError(
                "neither an image (-s) nor a target (-O) is given".to_owned(),
            ));
        }
        let target = match self.target {
            None => TargetName::StandardOutput,
            Some((path, _)) if path == Path::new("-") => TargetName::StandardOutput,
            Some((path, _)) if self.is_raw_file => TargetName::Plain(path),
            Some((path, true)) => TargetName::Existing(path),
            Some((path, false)) => TargetName::New(path),
        };
        Ok(Request::Work(Box::new(Options {
            source: self.source.filter(|path| path != Path::new("-")),
            target,
            offset: self.offset,
            is_size_unchecked: self.is_size_unchecked,
            is_crc_ignored: self.is_crc_ignored,
            is_skipping_write_errors: self.is_skipping_write_errors,
            is_forced: self.is_forced,
            is_quiet: self.is_quiet,
            has_block_detail: !self.has_no_block_detail,
            interval: self.interval.unwrap_or(Duration::from_secs(2)),
            note: self.note,
            log: self.log.unwrap_or_else(|| LOG.into()),
        })))
    }
}

fn number(value: &OsStr) -> Option<u64> {
    value.to_str()?.trim().parse().ok()
}

fn bad_number(option: &str, value: &OsStr, wanted: &str) -> UsageError {
    UsageError(format!(
        "{option} is {:?}, expected {wanted}",
        value.to_string_lossy()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &[&str]) -> Result<Request, UsageError> {
        parse_for(Program::Restore, line)
    }

    fn parse_for(program: Program, line: &[&str]) -> Result<Request, UsageError> {
        parse(
            program,
            &line.iter().map(OsString::from).collect::<Vec<_>>(),
        )
    }

    #[track_caller]
    fn options(line: &[&str]) -> Box<Options> {
        match parse_line(line).unwrap() {
            Request::Work(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_of_the_field_parse() {
        let found = options(&["--ignore_crc", "-O", "/dev/sda1", "-N", "-f", "1"]);
        assert!(found.is_crc_ignored && found.source.is_none());
        assert_eq!(found.target, TargetName::Existing("/dev/sda1".into()));
        assert_eq!(found.interval, Duration::from_secs(1));

        let note = "Storage Location s, Image name i";
        let found = options(&["-n", note, "--ignore_crc", "-O", "/dev/sda1", "-Nf", "1"]);
        assert_eq!(found.note.as_deref(), Some(note));
        assert_eq!(found.interval, Duration::from_secs(1));
    }

    #[test]
    fn gnu_rules_hold() {
        let found = options(&[
            "--over=x",
            "--ignore_c",
            "--source",
            "-",
            "-d5",
            "-Ld",
            "-qFC",
        ]);
        assert_eq!(found.target, TargetName::Existing("x".into()));
        assert!(found.is_crc_ignored && found.is_quiet && found.is_forced);
        assert!(found.is_size_unchecked && found.source.is_none());
        assert_eq!(found.log, Path::new("d"));
        // The value of -f may look like an option, which then is none.
        let found = options(&["-f", "-i", "-Oout"]);
        assert!(!found.is_crc_ignored);
        assert_eq!(found.interval, Duration::from_secs(1));
        assert_eq!(found.target, TargetName::Existing("out".into()));
        // -d takes attached values only.
        assert!(parse_line(&["-d", "5", "-O", "x"]).is_err());
        assert_eq!(
            options(&["-W", "-o", "x"]).target,
            TargetName::Plain("x".into())
        );
        assert_eq!(options(&["-s", "x"]).target, TargetName::StandardOutput);
        assert_eq!(options(&["-O", "-"]).target, TargetName::StandardOutput);
        assert_eq!(options(&["-O", "x", "--offset=4096"]).offset, 4096);
        assert!(options(&["-O", "x", "-w"]).is_skipping_write_errors);
    }

    #[test]
    fn wrong_lines_are_explained() {
        for (line, part) in [
            (&[][..], "neither an image"),
            (&["-q"], "neither an image"),
            (&["/dev/sda1"], "unexpected argument \"/dev/sda1\""),
            (&["-O", "x", "--", "y"], "unexpected argument \"y\""),
            (&["-O"], "-O needs a value"),
            (&["-r", "-O", "x"], "unknown option -r"),
            (&["--nonsense"], "unknown option --nonsense"),
            (&["--ignore", "-O", "x"], "ambiguous"),
            (&["--quiet=1", "-O", "x"], "takes no value"),
            (&["-O", "x", "-z", "100"], "--buffer_size"),
            (&["-O", "x", "-E", "-5"], "--offset"),
            (&["-O", "x", "-T"], "BitTorrent"),
        ] {
            let text = parse_line(line).unwrap_err().to_string();
            assert!(text.contains(part), "{line:?}: {text}");
        }
    }

    #[test]
    fn every_program_has_options_of_its_own() {
        use Program::{Check, FileSystem, Info};

        for (program, line) in [
            (FileSystem, &["-r", "-s", "x", "-O", "y", "-N"][..]),
            (FileSystem, &["--restore", "-Oy"]),
            (Check, &["-s", "-", "-iN", "-f", "1", "-C"]),
            (Info, &["x"]),
            (Info, &["-q", "-s", "-"]),
        ] {
            assert!(
                matches!(parse_for(program, line), Ok(Request::Work(_))),
                "{program:?} {line:?}"
            );
        }
        for (program, line, part) in [
            (FileSystem, &["-s", "x", "-O", "y"][..], "-r is missing"),
            (FileSystem, &["-c", "-s", "x", "-O", "y"], "only restoring"),
            (FileSystem, &["-b", "-s", "x", "-O", "y"], "only restoring"),
            (Check, &["-s", "x", "-O", "y"], "unknown option -O"),
            (Check, &["-s", "x", "-q"], "unknown option -q"),
            (Check, &["x"], "unexpected argument"),
            (Check, &[], "no image"),
            (Info, &["x", "y"], "unexpected argument \"y\""),
            (Info, &[], "no image"),
            (Info, &["-i", "x"], "unknown option -i"),
        ] {
            let text = parse_for(program, line).unwrap_err().to_string();
            assert!(text.contains(part), "{program:?} {line:?}: {text}");
        }
    }

    #[test]
    fn help_and_version_come_first() {
        assert!(matches!(
            parse_line(&["-h", "--nonsense"]),
            Ok(Request::Help)
        ));
        assert!(matches!(parse_line(&["--version"]), Ok(Request::Version)));
    }
}
