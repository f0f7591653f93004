//! The command line of `capture`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use capture::{Content, Method};
use clap::Args;
use fog::task::ImageType;
use readable::{Count, Rate, Size, Time};
use serde_json::{Value, json};

use super::job::{Audience, Captured, Job, Prepared, room_warning};
use super::progress::Look;
use super::store::{Directory, Patience, Remote, Store, Told};
use super::stream::Compression;
use super::view::Manner;
use crate::control::{Identity, Server, Trust};
use crate::usage;

/// What `--help` says last.
const AFTER_HELP: &str = "The image is made beside the directory, and takes its name when it is whole; a directory that \
    holds something is refused. The disk is only read: file systems of a resizable image (type n) are made smaller in \
    memory.\n\
    Exit status: 0 the image is published (with --dry-run: it could be made), 1 failed, 2 wrong usage.\n\
    --json prints \"ok\": true with image, type, disks (path, size, sector_size), streams (name, partition, content, method, \
    device_bytes, image_bytes, at_most and, once they are stored, stored_bytes and blake3), files, at_most, warnings, \
    unreadable (file, offset, len), stored_bytes and elapsed_ms; or \"ok\": false with error.";

/// `fos-agent capture`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct CaptureArgs {
    /// The disk, or a file that stands for one, and the directory of the image; several disks for an image of the
    /// type mpa, in their order. With --to there is no directory
    #[arg(required = true, value_name = "DISK... DIRECTORY")]
    paths: Vec<PathBuf>,
    /// Type of the image: n (one disk, fitted to the size of others), mps (one disk), mpa (several disks), dd (every byte)
    #[arg(long = "type", value_name = "n|mps|mpa|dd", default_value = "n")]
    image_type: ImageType,
    /// Send the image to this fos-server (http://SERVER/fog/)
    #[arg(long, value_name = "URL", requires = "image", requires = "token_file")]
    to: Option<String>,
    /// Name of the image; of a directory it is its own name
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// A file with a token of the server's API, with the role admin
    #[arg(long, value_name = "FILE", requires = "to")]
    token_file: Option<PathBuf>,
    /// Level of compression: 1 is fast, 19 is small. With --to the server says it
    #[arg(long, value_name = "1..19", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    zstd: i32,
    /// FOG's number of the operating system (9: Windows 10, 10: Windows 11, 50: Linux); without it the content decides
    #[arg(long, value_name = "NUMBER")]
    os: Option<i64>,
    /// Say what would be read, how, and how large it may become; store nothing
    #[arg(long)]
    dry_run: bool,
    /// Read on where the disk cannot be read: such places are zero in the image, and are listed
    #[arg(long)]
    rescue: bool,
    /// Room that is left in file systems that are made smaller (type n), in percent of what they need
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1000))]
    shrink_room: u32,
    /// Most memory for what has to be moved to make file systems smaller (type n), in MB. What does not fit keeps more of its
    /// size
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    shrink_memory: u64,
    /// Print the result, or the failure, as one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(long, short)]
    quiet: bool,
}

/// Runs `capture`.
pub(crate) fn run(args: &CaptureArgs) -> ExitCode {
    let (disks, directory) = match (&args.to, args.paths.split_last()) {
        (Some(_), _) => (args.paths.as_slice(), None),
        (None, Some((directory, disks))) if !disks.is_empty() => (disks, Some(directory.as_path())),
        (None, _) => {
            return usage::complain("a disk and the directory of its image are needed, or --to");
        }
    };
    let line = Line::new(args.quiet);
    let result = capture(args, disks, directory, &line);
    drop(line.end());
    let status = match &result {
        Ok(done) => {
            for text in done.lines() {
                tell(&text);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&format!("error: {}", readable::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    };
    if args.json {
        let object = match &result {
            Ok(done) => done.json(),
            Err(error) => json!({ "ok": false, "error": readable::chain(error.as_ref()) }),
        };
        if writeln!(io::stdout(), "{object}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    status
}

fn capture(
    args: &CaptureArgs,
    disks: &[PathBuf],
    directory: Option<&Path>,
    line: &Line,
) -> anyhow::Result<Done> {
    let image = match (&args.image, directory.and_then(Path::file_name)) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => bail!("the image needs a name: --image"),
    };
    check_name(&image)?;
    // Found out before anything is read.
    let directory = match directory {
        Some(path) if !args.dry_run => Some(Directory::new(path)?),
        _ => None,
    };
    let job = Job {
        disks: disks.to_vec(),
        image_type: args.image_type,
        image: image.clone(),
        os_id: args.os,
        manner: if args.rescue {
            Manner::Rescue
        } else {
            Manner::Strict
        },
        percent: args.shrink_room,
        shrink_memory: args.shrink_memory.saturating_mul(1_000_000),
    };
    let prepared = Prepared::new(&job, line)?;
    let mut done = Done::of(&prepared, &job);
    for warning in &done.warnings {
        line.warns(warning);
    }
    if args.dry_run {
        return Ok(done);
    }
    let captured = match (directory, &args.to) {
        (Some(directory), _) => {
            if let Some(warning) = room_warning(directory.room(), done.at_most) {
                line.warns(&warning);
            }
            let compression = Compression::new(args.zstd);
            prepared.carry_out(Store::Directory(directory), compression, line)?
        }
        (None, Some(web)) => {
            let server = server(web, args.token_file.as_deref())?;
            send(prepared, server, image, line)?
        }
        (None, None) => bail!("there is nowhere to put the image"),
    };
    done.captured = Some(captured);
    Ok(done)
}

/// One name, as that of a directory.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_name = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control);
    ensure!(
        is_name,
        "{name:?} cannot be the name of an image: it has 1 to 100 characters, no slash, and does not begin with a dot"
    );
    Ok(())
}

fn server(web: &str, token_file: Option<&Path>) -> anyhow::Result<Server> {
    ensure!(
        web.starts_with("http://") || web.starts_with("https://"),
        "--to needs the address of the server, as http://SERVER/fog/"
    );
    let slash = if web.ends_with('/') { "" } else { "/" };
    let path = token_file.context("a token is needed: --token-file")?;
    let token = std::fs::read_to_string(path)
        .with_context(|| format!("reading the token in {}", path.display()))?;
    let identity = Identity {
        mac: String::new(),
        sysuuid: None,
        ticket: None,
    };
    let trust = Trust::of_boot(&fog::KernelArgs::default())?;
    let server = Server::new(format!("{web}{slash}"), identity, &trust)?;
    ensure!(
        !server.is_believed_unseen(),
        "nothing here says which certificate {web} has, and a token is only for that server: put the certificate of its \
         authority into /etc/fos-agent/ca.pem"
    );
    Ok(server.with_token(token.trim().to_owned()))
}

/// Sends the image from a thread, while this one makes the calls.
fn send(
    prepared: Prepared,
    server: Server,
    image: String,
    line: &Line,
) -> anyhow::Result<Captured> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("setting up the network")?;
    let line = line.clone();
    let work = move || -> anyhow::Result<Captured> {
        let told: Told = {
            let line = line.clone();
            Arc::new(move |wait: Option<(&str, String)>| line.waits(wait))
        };
        let offer = prepared.offer(String::new());
        let remote = Remote::offer(server, Some(image), &offer, told, Patience::default())?;
        let compression = Compression::new(remote.zstd_level());
        prepared.carry_out(Store::Remote(remote), compression, &line)
    };
    runtime.block_on(async {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|_| anyhow!("the capturing thread has panicked"))?
    })
}

/// What was, or would be, captured.
struct Done {
    image: String,
    image_type: ImageType,
    disks: Vec<Value>,
    streams: Vec<Planned>,
    files: Vec<String>,
    at_most: u64,
    warnings: Vec<String>,
    captured: Option<Captured>,
}

/// A stream, for people and programs.
struct Planned {
    name: String,
    partition: Option<u32>,
    content: String,
    method: String,
    device_len: u64,
    image_len: u64,
    at_most: u64,
}

impl Done {
    fn of(prepared: &Prepared, job: &Job) -> Self {
        let offer = prepared.offer(String::new());
        let plan = &prepared.plan;
        let disks = plan.disks.iter().map(|disk| {
            json!({
                "path": disk.name,
                "size": disk.shape.size,
                "sector_size": disk.shape.logical_sector,
            })
        });
        let streams = plan.streams.iter().zip(&prepared.sources);
        let streams = streams.map(|(stream, source)| {
            let number = stream.place.as_ref().map(|which| which.partition.number);
            let found = plan.disks.get(stream.disk).zip(number);
            let found = found.and_then(|(disk, number)| disk.contents.get(&number));
            let volume = stream
                .place
                .as_ref()
                .and_then(|which| which.volume.as_ref());
            let content = match (found.map(|found| &found.content), volume) {
                (Some(Content::Group(group)), Some(name)) => {
                    let mut volumes = group.volumes.iter();
                    volumes
                        .find(|volume| volume.name == *name)
                        .map(|volume| &volume.content)
                }
                (content, _) => content,
            };
            Planned {
                name: stream.name.to_string(),
                partition: number,
                content: content.map_or_else(|| "all of the disk".into(), Content::to_string),
                method: match stream.method {
                    Method::Program(kind) => kind.program().to_owned(),
                    Method::Raw => "every byte".to_owned(),
                },
                device_len: source.device_len(),
                image_len: source.image_len(),
                at_most: capture::compressed_bound(source.image_len()),
            }
        });
        Self {
            image: job.image.clone(),
            image_type: job.image_type,
            disks: disks.collect(),
            streams: streams.collect(),
            files: prepared.files.keys().cloned().collect(),
            at_most: offer.at_most,
            warnings: prepared.warnings.iter().map(ToString::to_string).collect(),
            captured: None,
        }
    }

    fn lines(&self) -> Vec<String> {
        let Some(captured) = &self.captured else {
            let mut lines: Vec<String> = self.streams.iter().map(ToString::to_string).collect();
            lines.push(format!(
                "{} would have up to {}, and {}",
                self.image,
                Size(self.at_most),
                self.files.join(", ")
            ));
            return lines;
        };
        let mut lines = Vec::new();
        if !captured.unreadable.is_empty() {
            lines.push(format!(
                "WARNING: {} could not be read and are zero in the image: its data is damaged",
                Count(captured.unreadable.len() as u64, "place")
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for display")]
        let rate = captured.image_len as f64 / captured.elapsed.as_secs_f64().max(0.001);
        lines.push(format!(
            "{} captured: {} read and verified, {} stored, in {} ({})",
            self.image,
            Size(captured.image_len),
            Size(captured.stored_len()),
            format_args!("{:.1}", Time(captured.elapsed)),
            Rate(rate)
        ));
        lines
    }

    fn json(&self) -> Value {
        let stored = |name: &str| {
            let captured = self.captured.as_ref()?;
            captured.files.iter().find(|file| file.name == name)
        };
        let streams = self.streams.iter().map(|stream| {
            let stored = stored(&stream.name);
            json!({
                "name": stream.name,
                "partition": stream.partition,
                "content": stream.content,
                "method": stream.method,
                "device_bytes": stream.device_len,
                "image_bytes": stream.image_len,
                "at_most": stream.at_most,
                "stored_bytes": stored.map(|file| file.len),
                "blake3": stored.map(|file| file.blake3.to_string()),
            })
        });
        let captured = self.captured.as_ref();
        json!({
            "ok": true,
            "image": self.image,
            "type": self.image_type.word(),
            "disks": self.disks,
            "streams": streams.collect::<Vec<_>>(),
            "files": self.files,
            "at_most": self.at_most,
            "warnings": self.warnings,
            "unreadable": captured.map(|captured| &captured.unreadable),
            "stored_bytes": captured.map(Captured::stored_len),
            "elapsed_ms": captured.map(|captured| {
                u64::try_from(captured.elapsed.as_millis()).unwrap_or(u64::MAX)
            }),
        })
    }
}

impl std::fmt::Display for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} of {}, by {}: {} to read, at most {} to store",
            self.name,
            self.content,
            Size(self.device_len),
            self.method,
            Size(self.image_len),
            Size(self.at_most)
        )
    }
}

/// Standard error: a line that overwrites itself on a terminal, else one now and then.
#[derive(Clone)]
struct Line(Arc<Mutex<LineState>>);

struct LineState {
    is_quiet: bool,
    is_terminal: bool,
    last: Option<Instant>,
    has_line: bool,
    wait: Option<String>,
}

impl Line {
    fn new(is_quiet: bool) -> Self {
        Self(Arc::new(Mutex::new(LineState {
            is_quiet,
            is_terminal: io::stderr().is_terminal(),
            last: None,
            has_line: false,
            wait: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, LineState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves what stands on the terminal.
    fn end(&self) -> io::Result<()> {
        let mut state = self.lock();
        if std::mem::take(&mut state.has_line) {
            writeln!(io::stderr())?;
        }
        Ok(())
    }

    fn stay(&self, text: &str) {
        drop(self.end());
        tell(text);
    }

    fn waits(&self, wait: Option<(&str, String)>) {
        let text = wait.map(|(what, why)| format!("waiting for {what}: {why}"));
        let mut state = self.lock();
        if state.wait == text {
            return;
        }
        state.wait.clone_from(&text);
        let is_quiet = state.is_quiet;
        drop(state);
        if !is_quiet {
            self.stay(text.as_deref().unwrap_or("it goes on"));
        }
    }
}

impl Audience for Line {
    fn does(&self, what: &str) {
        if !self.lock().is_quiet {
            self.stay(what);
        }
    }

    fn looks(&self, look: &Look<'_>) {
        let mut state = self.lock();
        if state.is_quiet || state.wait.is_some() {
            return;
        }
        if state.is_terminal {
            state.has_line = true;
            // Erased to its end: lines have different lengths.
            drop(write!(io::stderr(), "\r{}\x1b[K", look.line()));
            return;
        }
        let last = *state.last.get_or_insert_with(Instant::now);
        if last.elapsed() >= LINE_PERIOD {
            state.last = Some(Instant::now());
            drop(writeln!(io::stderr(), "{}", look.line()));
        }
    }

    fn warns(&self, text: &str) {
        self.stay(&format!("warning: {text}"));
    }
}

fn tell(text: &str) {
    // A closed standard error is no reason to fail.
    drop(writeln!(io::stderr(), "{text}"));
}

/// Least time between two lines that stay.
const LINE_PERIOD: Duration = Duration::from_secs(10);
