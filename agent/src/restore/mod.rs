//! `restore` and `receive`: an image, stored or from the network, to a disk or file in one process.

mod directory;
mod display;
mod engine;
mod notices;
mod packed;
mod report;
mod silence;
mod waits;

#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use cast_net::{Interface, ReceiveOptions, Stop};
use clap::Args;
use image::Verify;
use imaging::source::Cast;
use imaging::{Creation, Demands, Manner, Output, Place, Source, Trace};
use nix::sys::signal::Signal;
use udpcast_cli::{Reaction, Signals};

use self::directory::Stored;
use self::display::Display;
pub(crate) use self::engine::{Job, run};
use self::report::Outcome;
use self::waits::Watching;

/// Options of both commands.
#[derive(Debug, Clone, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
pub(crate) struct CommonArgs {
    /// Only verify the image; there is no target
    #[arg(long)]
    check: bool,
    /// Print the result, or the failure, as one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// The data is a disk or partition as it is (perhaps compressed), and no image
    #[arg(long)]
    raw: bool,
    /// Report wrong checksums of blocks, but do not stop at them: the target will hold damaged data.
    /// Headers, bitmap, sizes and compression are verified all the same
    #[arg(long, alias = "ignore_crc")]
    ignore_crc: bool,
    /// Make the target, a file, if it does not exist
    #[arg(long)]
    create: bool,
    /// The target is a whole disk: overwrite it together with its partition table and all its partitions
    #[arg(long)]
    whole_disk: bool,
    /// Discard (TRIM) the whole target first. This does not promise zeroes
    /// where the image has free space
    #[arg(long)]
    discard: bool,
    /// Largest decompression window, as the power of two of its bytes. 31 (2 GiB) takes everything
    #[arg(long, value_name = "10..31", default_value_t = 27, value_parser = clap::value_parser!(u32).range(10..=31))]
    window_log: u32,
    /// No progress
    #[arg(long, short)]
    quiet: bool,
}

/// What `--help` says last, of both commands.
const AFTER_HELP: &str = "Exit status: 0 everything was verified, written and synced (with --check: \
    verified), 1 anything failed, 2 wrong usage (nothing is printed on standard output then).\n\
    --json prints \"ok\": true with source, target, image, stored_bytes, image_bytes, written_bytes, \
    checksums, checksum_errors, warnings, elapsed_ms, bottleneck and record; or \"ok\": false with error \
    (the text), kind (truncated, block-checksum, beyond-target, ...; other: the image is not to blame) and \
    target_touched (false: nothing was written to the target; true: it is partly overwritten, or complete) \
    and target_complete (true: the whole image is on the target, but its sender did not end well).";

/// `fos-agent restore`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The image, or all pieces of a split one in any order (- is standard input), and then the target:
    /// a block device that is not in use, or a file. Or the directory of an image in FOG's or Clonezilla's layout,
    /// and then the disk, or the disks in their order, that get its partition tables and partitions. Or the manifest
    /// of a pack (ROOT.manifest, with ROOT.frames beside it), or a directory with one, and then the disk or disks
    #[arg(required = true, value_name = "IMAGE... TARGET")]
    paths: Vec<PathBuf>,
    /// Of a pack: take it only if this key has signed it, a file as the server's DATA/keys/server.pub (may be given
    /// several times; default: the keys in /etc/fos/trust.d; without any key the pack is not authenticated)
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
}

/// `fos-agent receive`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// UDP port of the receivers; the sender has the next
    #[arg(long, short = 'P', default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1..65535))]
    portbase: u16,
    /// Where to ask for a sender: its name or address, or a group given to both sides
    #[arg(
        long,
        short = 'M',
        visible_alias = "mcast-rdv-address",
        value_name = "HOST"
    )]
    rdv: Option<String>,
    /// The only sender to listen to, or "any": the first that answers (default: the one at --rdv if that is
    /// one host's address, else any). A sender with several addresses may need it
    #[arg(long, value_name = "HOST")]
    sender: Option<String>,
    /// Name or address of the network interface (default: by the route to --rdv, or the first)
    #[arg(long, short, value_name = "INTERFACE")]
    interface: Option<String>,
    /// TTL of multicast requests; other than 1 it also makes 224.0.0.1 the rendezvous address
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Fail if no sender is heard, or it sends no data, for so long; 0: wait for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    start_timeout: u64,
    /// Fail if the sender falls silent for so long; 0: wait for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    receive_timeout: u64,
    /// A block device that is not in use, or a file
    #[arg(required_unless_present = "check", conflicts_with = "check")]
    target: Option<PathBuf>,
}

/// Runs `restore`. Ends with 0 when everything was verified, written and synced (or only verified), 1
/// when anything failed, 2 on wrong usage.
pub(crate) fn restore(args: RestoreArgs) -> ExitCode {
    let (common, mut paths) = (args.common, args.paths);
    let found = match paths.first().map(|path| packed::find(path)) {
        Some(Err(error)) => return crate::usage::complain(&error.to_string()),
        found => found.and_then(Result::ok).flatten(),
    };
    if let Some(manifest) = found {
        let stored = Stored::Pack(&manifest, &args.trust);
        return directory::restore(&common, &stored, &paths[1..]);
    }
    if !args.trust.is_empty() {
        return crate::usage::complain(
            "--trust is for packs; this is an image without a signature",
        );
    }
    if paths.first().is_some_and(|path| path.is_dir()) {
        let stored = Stored::Directory(&paths[0]);
        return directory::restore(&common, &stored, &paths[1..]);
    }
    let target = if common.check { None } else { paths.pop() };
    if paths.is_empty() {
        return crate::usage::complain("an image and a target are needed, or --check and an image");
    }
    if let Some(device) = paths.get(1..).and_then(<[_]>::last)
        && common.check
        && is_block_device(device)
    {
        return crate::usage::complain(&format!(
            "with --check there is no target; leave out {}",
            device.display()
        ));
    }
    let target = target.as_deref();
    conclude(&common, shown(target), OnSignal::EndNow, |trace, _| {
        let source = Source::open(&paths)?;
        work(&common, source, target, trace)
    })
}

/// Runs `receive`, with the same ends.
pub(crate) fn receive(args: &ReceiveArgs) -> ExitCode {
    let target = args.target.as_deref();
    conclude(
        &args.common,
        shown(target),
        OnSignal::Leave,
        |trace, stop| {
            let options = args.options()?;
            let name = format!("the stream on port {}", options.port_base);
            // Looked at first: a sender shall not wait for somebody who cannot write.
            let place = args.common.place(args.target.as_deref());
            drop(Output::open(
                &place,
                &Demands::default(),
                &Trace::default(),
            )?);
            if !args.common.quiet {
                // What is waited for, should nothing happen.
                let line = format!(
                    "receiving on {} ({}), port {}: asking {} for a sender",
                    options.interface.name,
                    options.interface.addr,
                    options.port_base,
                    options.control_address()
                );
                tell(&mut io::stderr(), &line);
            }
            let timeout = options.transfer.receive_timeout;
            let interface = options.interface.clone();
            let stream = cast_net::receive::open(options, stop.clone()).context("receiving")?;
            let _watching =
                (!args.common.quiet).then(|| Watching::start(stream.status(), &interface));
            notices::printed(&stream.status(), || {
                let source = Source::cast(Cast::new(stream, stop.clone(), timeout), name)?;
                work(&args.common, source, target, trace)
            })
        },
    )
}

fn shown(target: Option<&Path>) -> Option<String> {
    target.map(|path| path.display().to_string())
}

fn is_block_device(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.file_type().is_block_device())
}

impl ReceiveArgs {
    fn options(&self) -> anyhow::Result<ReceiveOptions> {
        let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
        let rendezvous = udpcast_cli::rendezvous("--rdv", self.rdv.as_deref())?;
        let by_route = rendezvous.filter(|address| !address.is_multicast());
        let interface = match (&self.interface, by_route) {
            (None, Some(peer)) => Interface::towards(peer)?,
            (wanted, _) => Interface::choose(&Interface::list()?, wanted.as_deref())?.clone(),
        };
        let mut options = ReceiveOptions::new(interface);
        options.port_base = self.portbase;
        options.rendezvous = rendezvous;
        options.sender = udpcast_cli::sender_choice(self.sender.as_deref())?;
        options.ttl = self.ttl;
        options.transfer.start_timeout = seconds(self.start_timeout);
        options.transfer.receive_timeout = seconds(self.receive_timeout);
        Ok(options)
    }
}

impl CommonArgs {
    fn place(&self, target: Option<&Path>) -> Place {
        match target {
            None => Place::Nowhere,
            Some(path) => Place::Path {
                path: path.to_owned(),
                creation: if self.create {
                    Creation::WhenNeeded
                } else {
                    Creation::Never
                },
                is_discarded: self.discard,
                manner: Manner::Complete {
                    may_destroy_table: self.whole_disk,
                },
            },
        }
    }
}

fn work(
    common: &CommonArgs,
    source: Source,
    target: Option<&Path>,
    trace: &Trace,
) -> anyhow::Result<report::Done> {
    let mut display = Display::new(common.quiet);
    let mut bottleneck = None;
    let job = Job {
        source,
        place: common.place(target),
        trace: trace.clone(),
        is_raw: common.raw,
        verify: if common.ignore_crc {
            Verify::Warn
        } else {
            Verify::Enforce
        },
        window_log: common.window_log,
        period: SHOW_PERIOD,
    };
    let report = run(job, |view| {
        bottleneck = view.reading.bottleneck.or(bottleneck);
        display.show(view);
    })?;
    drop(display);
    Ok(report::Done {
        report,
        target: target.map(|path| path.display().to_string()),
        bottleneck: bottleneck.map(display::word),
    })
}

const SHOW_PERIOD: Duration = Duration::from_millis(500);

/// What a signal that ends the program leads to.
#[derive(Clone, Copy, PartialEq)]
enum OnSignal {
    /// The transfer is left in order, so that its sender does not wait.
    Leave,
    EndNow,
}

/// Whoever interrupts this has to know what has become of the target.
fn watch_signals(
    reaction: OnSignal,
    stop: Stop,
    fate: impl Fn() -> Option<String> + Send + 'static,
) -> anyhow::Result<Signals> {
    let react = move |signal: Signal| match reaction {
        OnSignal::Leave => {
            let line = format!("interrupted ({signal}): leaving the transfer");
            tell(&mut io::stderr(), &line);
            stop.stop();
            Reaction::End
        }
        OnSignal::EndNow => {
            tell(&mut io::stderr(), &format!("interrupted ({signal})"));
            Reaction::EndNow
        }
    };
    let last_words = move || {
        if let Some(line) = fate() {
            tell(&mut io::stderr(), &line);
        }
    };
    Signals::watch(react, last_words).context("watching signals")
}

/// Shows the result and turns it into an exit status. `work` gets what ends a transfer.
fn conclude<T: Outcome>(
    common: &CommonArgs,
    target: Option<String>,
    on_signal: OnSignal,
    work: impl FnOnce(&Trace, &Stop) -> anyhow::Result<T>,
) -> ExitCode {
    let trace = Trace::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let name = target;
    let fate = {
        let (trace, name, is_over) = (trace.clone(), name.clone(), Arc::clone(&is_over));
        move || {
            let name = name
                .as_deref()
                .filter(|_| !is_over.load(Ordering::SeqCst))?;
            Some(trace.line(name))
        }
    };
    let prepared = || -> anyhow::Result<(Stop, Signals)> {
        let stop = Stop::new()?;
        let signals = watch_signals(on_signal, stop.clone(), fate)?;
        Ok((stop, signals))
    };
    let prepared = prepared();
    let result = match &prepared {
        Ok((stop, _)) => work(&trace, stop),
        Err(error) => Err(anyhow::anyhow!(readable::chain(error.as_ref()))),
    };
    is_over.store(true, Ordering::SeqCst);
    let (lines, status) = match &result {
        Ok(done) => (done.lines(), ExitCode::SUCCESS),
        Err(error) => {
            let fate = name.map(|name| trace.line(&name));
            let mut lines = vec![format!("error: {}", readable::chain(error.as_ref()))];
            lines.extend(fate);
            (lines, ExitCode::FAILURE)
        }
    };
    for line in lines {
        tell(&mut io::stderr(), &line);
    }
    if common.json
        && !tell(
            &mut io::stdout(),
            &report::json(&result, &trace).to_string(),
        )
    {
        return ExitCode::FAILURE;
    }
    if let (Err(_), Ok((_, signals))) = (&result, &prepared) {
        signals.obey();
    }
    status
}

/// Whether a line could be written. A closed standard error is no reason to fail.
fn tell(output: &mut dyn io::Write, line: &str) -> bool {
    writeln!(output, "{line}").is_ok()
}
