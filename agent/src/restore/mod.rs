//! `restore` and `receive`: an image, stored or from the network, to a disk or file in one process.

mod display;
mod engine;
mod notices;
mod report;
mod silence;
mod waits;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use cast_net::{Interface, ReceiveOptions, SenderChoice, Stop};
use clap::Args;
use image::Verify;
use imaging::source::Cast;
use imaging::{Manner, Output, Place, Source, Trace};

use self::display::Display;
pub(crate) use self::engine::{Job, run};
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
    target_touched (false: nothing was written to the target; true: it is partly overwritten).";

/// `fos-agent restore`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The image, or all pieces of a split one in any order (- is standard input), and then the target:
    /// a block device that is not in use, or a file
    #[arg(required = true, value_name = "IMAGE... TARGET")]
    paths: Vec<PathBuf>,
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
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<SenderChoice>,
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
    let target = if common.check { None } else { paths.pop() };
    if paths.is_empty() {
        return crate::cli::complain("an image and a target are needed, or --check and an image");
    }
    if let Some(device) = paths.get(1..).and_then(<[_]>::last)
        && common.check
        && is_block_device(device)
    {
        return crate::cli::complain(&format!(
            "with --check there is no target; leave out {}",
            device.display()
        ));
    }
    conclude(&common, target.as_deref(), |trace| {
        let source = Source::open(&paths)?;
        work(&common, source, target.as_deref(), trace)
    })
}

/// Runs `receive`, with the same ends.
pub(crate) fn receive(args: &ReceiveArgs) -> ExitCode {
    conclude(&args.common, args.target.as_deref(), |trace| {
        let options = args.options()?;
        let name = format!("the stream on port {}", options.port_base);
        let stop = Stop::new()?;
        // Looked at first: a sender shall not wait for somebody who cannot write.
        let place = args.common.place(args.target.as_deref());
        drop(Output::open(&place, &Trace::default())?);
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
        let stream = cast_net::receive(options, stop.clone()).context("receiving")?;
        let _watching = (!args.common.quiet).then(|| Watching::start(stream.status(), &interface));
        let target = args.target.as_deref();
        notices::printed(&stream.status(), || {
            let source = Source::cast(Cast::new(stream, stop, timeout), name)?;
            work(&args.common, source, target, trace)
        })
    })
}

fn is_block_device(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.file_type().is_block_device())
}

impl ReceiveArgs {
    fn options(&self) -> anyhow::Result<ReceiveOptions> {
        let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
        let rendezvous = self.rdv.as_deref().map(address_of).transpose()?;
        let by_route = rendezvous.filter(|address| !address.is_multicast());
        let interface = match (&self.interface, by_route) {
            (None, Some(peer)) => Interface::towards(peer)?,
            (wanted, _) => Interface::choose(&Interface::list()?, wanted.as_deref())?.clone(),
        };
        let mut options = ReceiveOptions::new(interface);
        options.port_base = self.portbase;
        options.rendezvous = rendezvous;
        options.sender = self.sender.unwrap_or_default();
        options.ttl = self.ttl;
        options.transfer.start_timeout = seconds(self.start_timeout);
        options.transfer.receive_timeout = seconds(self.receive_timeout);
        Ok(options)
    }
}

/// The first IPv4 address of a host.
fn address_of(host: &str) -> anyhow::Result<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let advice =
        || format!("looking up the address of --rdv {host}; give the address if there is no DNS");
    let found = (host, 0).to_socket_addrs().with_context(advice)?;
    let v4 = found.filter_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    });
    let first = v4.into_iter().next();
    first.with_context(|| format!("--rdv {host} has no IPv4 address, and udpcast knows no other"))
}

impl CommonArgs {
    fn place(&self, target: Option<&Path>) -> Place {
        match target {
            None => Place::Nowhere,
            Some(path) => Place::Path {
                path: path.to_owned(),
                is_created: self.create,
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

/// Tells the result and turns it into an exit status.
fn conclude(
    common: &CommonArgs,
    target: Option<&Path>,
    work: impl FnOnce(&Trace) -> anyhow::Result<report::Done>,
) -> ExitCode {
    let trace = Trace::default();
    let result = work(&trace);
    let (lines, status) = match &result {
        Ok(done) => (done.lines(), ExitCode::SUCCESS),
        Err(error) => {
            let fate = target.map(|path| trace.line(&path.display().to_string()));
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
    status
}

/// Whether a line could be written. A closed standard error is no reason to fail.
fn tell(output: &mut dyn io::Write, line: &str) -> bool {
    writeln!(output, "{line}").is_ok()
}

#[cfg(test)]
mod rendezvous_tests {
    use super::address_of;

    #[test]
    fn a_sender_may_be_given_by_name() {
        assert_eq!(address_of("10.0.0.5").unwrap().to_string(), "10.0.0.5");
        assert_eq!(address_of("localhost").unwrap().to_string(), "127.0.0.1");
        // No label may be that long, so no server is asked.
        let error = address_of(&"x".repeat(300)).unwrap_err();
        assert!(format!("{error:#}").contains("--rdv"), "{error:#}");
    }
}
