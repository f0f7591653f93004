//! `udp-sender`: sends a file or standard input to many receivers.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use cast_net::udpcast::sender::{
    DataRouting, DropPolicy, Duplex, Outcome, Participant, SenderEvent, SenderStatistics,
    StartReason,
};
use cast_net::{Interface, SendControl, SendError, SendEvent, SendOptions, SendReport};

use super::keyboard::{Key, Keyboard};
use super::messages::{Messages, say};
use super::numbers;

/// Sends a stream to many udpcast receivers at once.
#[derive(Debug, Parser)]
#[command(
    name = "udp-sender",
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true,
    disable_version_flag = true
)]
struct Arguments {
    /// Send this file instead of standard input; also as first argument without option.
    #[arg(short, long)]
    file: Option<PathBuf>,
    #[arg(short, long, hide = true)]
    pipe: Option<OsString>,
    /// UDP port of the receivers; the sender has the next.
    #[arg(short = 'P', long, alias = "port", default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1..65535))]
    portbase: u16,
    /// Name or address of the network interface.
    #[arg(short, long)]
    interface: Option<String>,
    /// TTL of multicast; other than 1 it also makes 224.0.0.1 the rendezvous address.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Where to announce the transfer.
    #[arg(short = 'M', long, aliases = ["mcast_rdv_address", "mcast-all-address", "mcast_all_address"], value_name = "ADDRESS")]
    mcast_rdv_address: Option<Ipv4Addr>,
    /// Group for the data.
    #[arg(short = 'm', long, aliases = ["mcast_data_address", "mcast-address", "mcast_address"], value_name = "ADDRESS")]
    mcast_data_address: Option<Ipv4Addr>,
    /// Exactly one receiver, by unicast.
    #[arg(short = '1', long, aliases = ["point-to-point", "point_to_point"], conflicts_with = "nopointopoint")]
    pointopoint: bool,
    /// By multicast even to one receiver.
    #[arg(short = '2', long, aliases = ["nopoint-to-point", "nopoint_to_point"])]
    nopointopoint: bool,
    /// Data to the broadcast (or rendezvous) address.
    #[arg(short = 'B', long)]
    broadcast: bool,
    /// Send the next slice while the last one is being acknowledged (default: as the network card).
    #[arg(short = 'd', long, overrides_with = "half_duplex")]
    full_duplex: bool,
    /// One slice at a time.
    #[arg(short = 'c', long, overrides_with = "full_duplex")]
    half_duplex: bool,
    /// Bytes of a block, rounded down to a multiple of 4.
    #[arg(short, long, value_name = "BYTES", default_value_t = 1456)]
    blocksize: u16,
    /// Least first slice size.
    #[arg(long, value_name = "BLOCKS", default_value_t = 16)]
    min_slice_size: u16,
    /// First slice size; 0: 112 in full, 130 in half duplex.
    #[arg(
        long,
        alias = "default-slice-size",
        value_name = "BLOCKS",
        default_value_t = 0
    )]
    slice_size: u16,
    /// Largest slice size.
    #[arg(long, value_name = "BLOCKS", default_value_t = 1024)]
    max_slice_size: u16,
    #[arg(short = 'a', long = "async", hide = true)]
    asynchronous: bool,
    #[arg(short = 'F', long, hide = true)]
    fec: Option<OsString>,
    /// Limit in bit/s; suffixes k, m and g.
    #[arg(short = 'r', long, alias = "max_bitrate", value_name = "RATE", value_parser = numbers::rate)]
    max_bitrate: Option<u64>,
    #[arg(short = 'A', long, hide = true)]
    autorate: bool,
    #[arg(short = 'g', long, hide = true)]
    rate_governor: Option<OsString>,
    /// Period of announcements; 0: every second.
    #[arg(short = 'H', long, value_name = "MS", default_value_t = 0)]
    rexmit_hello_interval: u64,
    /// Start after so many repetitions of the announcement, and one.
    #[arg(short = 'S', long, value_name = "COUNT", default_value_t = 0)]
    autostart: u32,
    /// Start when so many receivers are there.
    #[arg(
        short = 'C',
        long,
        alias = "min-clients",
        value_name = "COUNT",
        default_value_t = 0
    )]
    min_receivers: u32,
    /// Do not start earlier after the first receiver.
    #[arg(short = 'w', long, value_name = "SECONDS", default_value_t = 0)]
    min_wait: u64,
    /// Start then with those that are there.
    #[arg(short = 'W', long, value_name = "SECONDS", default_value_t = 0)]
    max_wait: u64,
    /// Give up if no receiver is heard for so long.
    #[arg(short = 'T', long, value_name = "SECONDS", default_value_t = 0)]
    start_timeout: u64,
    /// Do not watch the keyboard.
    #[arg(short = 'k', long)]
    nokbd: bool,
    /// Give a silent receiver up after so many requests, and 3 s at least (default: after 30 s).
    #[arg(short = 'R', long, alias = "retriesUntilDrop", value_name = "COUNT")]
    retries_until_drop: Option<u32>,
    #[arg(short = 'Z', long, hide = true)]
    streaming: bool,
    #[arg(short = 'Y', long, hide = true)]
    rehello_offset: Option<u32>,
    #[arg(short, long, hide = true)]
    sendbuf: Option<OsString>,
    /// Append messages there.
    #[arg(short, long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[arg(short = 'I', long, hide = true)]
    bw_period: Option<u64>,
    /// No progress line.
    #[arg(long)]
    no_progress: bool,
    /// Least time between two progress lines.
    #[arg(
        short = 'z',
        long,
        alias = "statistics-period",
        value_name = "MS",
        default_value_t = 500
    )]
    stat_period: u64,
    #[arg(short = 'x', long, hide = true)]
    print_uncompressed_position: Option<u8>,
    #[arg(short = 'D', long, action = clap::ArgAction::Count, hide = true)]
    daemon_mode: u8,
    #[arg(long, hide = true)]
    pid_file: Option<PathBuf>,
    #[arg(short = 'K', long, hide = true)]
    kill: bool,
    #[arg(short = 'L', long, hide = true)]
    license: bool,
    /// The file, if there is no `--file`.
    #[arg(hide = true)]
    rest: Vec<PathBuf>,
}

/// Runs `udp-sender` with `args` (without the program's name).
pub(crate) fn udp_sender(args: &[OsString]) -> ExitCode {
    let mut arguments: Arguments = match super::parse(args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    arguments.take_file();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("udp-sender: {}", super::chain(&error)));
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    /// The first argument without option is the file, unless there is one already.
    fn take_file(&mut self) {
        let mut rest = std::mem::take(&mut self.rest).into_iter();
        if self.file.is_none() {
            self.file = rest.next();
        }
        for ignored in rest {
            say(&format!("ignoring the argument {}", ignored.display()));
        }
    }

    fn refuse_unsupported(&self) -> anyhow::Result<()> {
        super::refuse_unsupported(&[
            ("--pipe", self.pipe.is_some()),
            ("--async", self.asynchronous),
            ("--fec", self.fec.is_some()),
            ("--autorate", self.autorate),
            ("--rate-governor", self.rate_governor.is_some()),
            ("--streaming", self.streaming),
            ("--rehello-offset", self.rehello_offset.is_some()),
            ("--sendbuf", self.sendbuf.is_some()),
            (
                "--bw-period",
                self.bw_period.is_some_and(|period| period > 0),
            ),
            (
                "--print-uncompressed-position",
                self.print_uncompressed_position.is_some_and(|x| x != 0),
            ),
            ("--daemon-mode", self.daemon_mode > 0),
            ("--pid-file", self.pid_file.is_some()),
            ("--kill", self.kill),
            ("--license", self.license),
        ])
    }

    fn options(&self) -> anyhow::Result<SendOptions> {
        let interface = super::interface(self.interface.as_deref())?;
        let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
        let mut options = SendOptions::new(interface);
        options.port_base = self.portbase;
        options.ttl = self.ttl;
        options.rendezvous = self.mcast_rdv_address;
        options.data_group = self.mcast_data_address;
        let is_full = self.full_duplex || (!self.half_duplex && is_full_duplex(&options.interface));
        let transfer = &mut options.transfer;
        transfer.duplex = if is_full { Duplex::Full } else { Duplex::Half };
        transfer.routing = self.routing();
        transfer.block_size = self.blocksize / 4 * 4;
        transfer.slice.min = self.min_slice_size.max(1);
        transfer.slice.max = self.max_slice_size.max(transfer.slice.min);
        transfer.slice.initial = (self.slice_size > 0).then_some(self.slice_size);
        transfer.max_bitrate = self.max_bitrate;
        if self.rexmit_hello_interval > 0 {
            transfer.hello_interval = Some(Duration::from_millis(self.rexmit_hello_interval));
        }
        transfer.start.autostart = (self.autostart > 0).then_some(self.autostart);
        transfer.start.min_receivers = self.min_receivers;
        transfer.start.min_wait = seconds(self.min_wait);
        transfer.start.max_wait = seconds(self.max_wait);
        transfer.start.start_timeout = seconds(self.start_timeout);
        if let Some(retries) = self.retries_until_drop {
            transfer.drop = DropPolicy {
                retries,
                silence: LEAST_SILENCE,
            };
        }
        Ok(options)
    }

    fn routing(&self) -> DataRouting {
        // Broadcast overrides the others.
        if self.broadcast {
            DataRouting::Broadcast
        } else if self.pointopoint {
            DataRouting::PointToPoint
        } else if self.nopointopoint {
            DataRouting::Multicast
        } else {
            DataRouting::AutoPointToPoint
        }
    }
}

/// Few requests can pass within milliseconds on a fast network; a healthy receiver may pause that long.
const LEAST_SILENCE: Duration = Duration::from_secs(3);

/// What the driver of the network card says; loopback and others say nothing.
fn is_full_duplex(interface: &Interface) -> bool {
    let device = interface.name.split(':').next().unwrap_or_default();
    let path = Path::new("/sys/class/net").join(device).join("duplex");
    fs::read_to_string(path).is_ok_and(|duplex| duplex.trim() == "full")
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.refuse_unsupported()?;
    say(&format!(
        "Udp-sender {} (fos-agent)",
        env!("CARGO_PKG_VERSION")
    ));
    let period = (!arguments.no_progress).then(|| Duration::from_millis(arguments.stat_period));
    let mut messages = Messages::new(arguments.log.as_deref(), period)?;
    let options = arguments.options()?;
    // Opened first: receivers shall not wait for a file that cannot be read.
    let (source, name) = open(arguments.file.as_deref())?;
    introduce(arguments, &options, &name, &mut messages);
    let control = SendControl::new()?;
    let has_quit = Arc::new(AtomicBool::new(false));
    let mut keyboard = (!arguments.nokbd)
        .then(|| watch_keyboard(arguments.file.is_some(), &control, &has_quit))
        .flatten();
    let mut tell = |event: &SendEvent<'_>| {
        if let SendEvent::Protocol(event) = event
            && matches!(event, SenderEvent::Joined { .. })
            && keyboard.is_some()
        {
            messages.tell("Press any key to start, q to quit.");
        }
        match event {
            SendEvent::Protocol(SenderEvent::Started { .. }) => keyboard = None,
            SendEvent::Progress {
                statistics,
                participants,
            } => {
                let line = progress(statistics, participants, options.transfer.block_size);
                messages.progress(false, line);
            }
            _ => {}
        }
        narrate(event, &mut messages);
    };
    let result = cast_net::send(&options, source, &control, &mut tell);
    drop(keyboard);
    match result {
        Ok(report) => {
            conclude(&report, &options, &mut messages);
            messages.tell("Transfer complete.\x07");
            Ok(())
        }
        Err(SendError::Stopped { .. }) if has_quit.load(Ordering::SeqCst) => anyhow::bail!("quit"),
        Err(error) => {
            if let SendError::GaveUp { report, .. } = &error {
                conclude(report, &options, &mut messages);
            }
            Err(error.into())
        }
    }
}

fn open(path: Option<&Path>) -> anyhow::Result<(File, String)> {
    match path {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).with_context(|| format!("opening {name}"))?;
            anyhow::ensure!(!file.metadata()?.is_dir(), "{name} is a directory");
            Ok((file, name))
        }
        None => Ok((
            io::stdin().as_fd().try_clone_to_owned()?.into(),
            "(stdin)".into(),
        )),
    }
}

fn introduce(arguments: &Arguments, options: &SendOptions, name: &str, messages: &mut Messages) {
    let is_full = options.transfer.duplex == Duplex::Full;
    if is_full && !arguments.full_duplex {
        messages.note("the network card is full duplex, so is the transfer");
    }
    if arguments.mcast_data_address.is_none() && !arguments.pointopoint {
        messages.note(&format!("data goes to group {}", options.data_group()));
    }
    let Interface {
        name: interface,
        addr,
        ..
    } = &options.interface;
    say(&format!("sending {name} at {addr} on {interface}"));
    messages.note(&format!("announcing at {}", options.control_address()));
}

fn watch_keyboard(
    is_stdin_free: bool,
    control: &SendControl,
    has_quit: &Arc<AtomicBool>,
) -> Option<Keyboard> {
    let (control, has_quit) = (control.clone(), Arc::clone(has_quit));
    let pressed = move |key| match key {
        Key::Any => control.start_now(),
        Key::Quit => {
            has_quit.store(true, Ordering::SeqCst);
            control.stop();
        }
    };
    let keyboard = match is_stdin_free {
        true => Keyboard::on_stdin(pressed),
        false => Keyboard::on_terminal(pressed),
    };
    match keyboard {
        Ok(keyboard) => Some(keyboard),
        Err(error) => {
            say(&format!("no keyboard ({error}); going on without"));
            None
        }
    }
}

fn narrate(event: &SendEvent<'_>, messages: &mut Messages) {
    let event = match event {
        SendEvent::Protocol(event) => event,
        SendEvent::Trouble(trouble) => {
            messages.note(&trouble.to_string());
            return;
        }
        SendEvent::Progress { .. } => return,
    };
    match event {
        SenderEvent::Joined {
            client,
            addr,
            capabilities,
        } => {
            messages.tell(&format!(
                "New connection from {addr} ({client}) {:08x}",
                capabilities.0
            ));
        }
        SenderEvent::Refused { addr, reason } => {
            messages.note(&format!("refused {addr}: {reason:?}"));
        }
        SenderEvent::Started {
            reason,
            data,
            participants,
        } => {
            let reason = match reason {
                StartReason::Operator => "a key was pressed".to_owned(),
                StartReason::Go(addr) => format!("{addr} asked for it"),
                StartReason::Complete => "all are there".to_owned(),
                StartReason::MaxWait => "the longest wait is over".to_owned(),
                StartReason::Autostart => "announced often enough".to_owned(),
            };
            messages.note(&format!(
                "starting with {participants} receivers to {data}: {reason}"
            ));
        }
        SenderEvent::Left { addr, outcome } => {
            messages.note(&format!("disconnecting {addr}: {}", fate(*outcome)));
        }
        SenderEvent::Dropped {
            addr,
            silent_for,
            slice,
        } => {
            let silent = silent_for.as_secs_f64();
            messages.note(&format!(
                "dropping {addr}: silent for {silent:.1} s, lacks slice {slice}"
            ));
        }
        SenderEvent::SlowRound {
            slice,
            round,
            waiting_for,
        } => {
            let names: Vec<String> = waiting_for
                .iter()
                .map(|(addr, _)| addr.to_string())
                .collect();
            messages.note(&format!(
                "slice {slice}, round {round}: waiting for {}",
                names.join(", ")
            ));
        }
        SenderEvent::SliceAcked { .. } | SenderEvent::Finished | SenderEvent::GaveUp(_) => {}
    }
}

fn fate(outcome: Outcome) -> String {
    let after = |last| match last {
        Some(slice) => format!("after slice {slice}"),
        None => "before the first slice".to_owned(),
    };
    match outcome {
        Outcome::Connected => "still connected".into(),
        Outcome::Completed => "has everything".into(),
        Outcome::Left { last_slice } => format!("left {}", after(last_slice)),
        Outcome::Dropped { last_slice } => format!("given up {}", after(last_slice)),
        Outcome::Removed { last_slice } => format!("removed {}", after(last_slice)),
    }
}

fn conclude(report: &SendReport, options: &SendOptions, messages: &mut Messages) {
    messages.progress(
        true,
        progress(&report.statistics, &[], options.transfer.block_size),
    );
    for participant in &report.participants {
        messages.note(&format!(
            "{}: {}",
            participant.addr,
            fate(participant.outcome)
        ));
    }
}

fn progress(
    statistics: &SenderStatistics,
    participants: &[Participant],
    block_size: u16,
) -> String {
    let blocks = statistics
        .bytes_acked
        .div_ceil(u64::from(block_size.max(1)))
        .max(1);
    let repeated = statistics.blocks_repeated;
    let per_mille = repeated.saturating_mul(1000) / blocks;
    let last = participants
        .iter()
        .max_by_key(|participant| participant.last_heard);
    format!(
        "bytes={} re-xmits={repeated:07} ({:3}.{}%) slice={:04} - {:3}",
        numbers::grouped(statistics.bytes_acked),
        per_mille / 10,
        per_mille % 10,
        statistics.slice_size,
        last.map_or(0, |participant| participant.client.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_lines_of_the_field_are_understood() {
        let fog = parsed(
            "--max-bitrate 100m --rexmit-hello-interval 200 --interface lo --min-receivers 2 --max-wait 10 \
             --mcast-data-address 239.1.1.1 --mcast-rdv-address 239.1.1.2 --portbase 9000 --half-duplex \
             --ttl 32 --nokbd --nopointopoint --file /dev/null",
        );
        let options = fog.unwrap().options().unwrap();
        assert_eq!(options.transfer.duplex, Duplex::Half);
        assert_eq!(options.transfer.routing, DataRouting::Multicast);
        assert_eq!(options.transfer.max_bitrate, Some(100_000_000));
        assert_eq!(options.transfer.start.min_receivers, 2);
        assert_eq!(
            options.transfer.start.max_wait,
            Some(Duration::from_secs(10))
        );
        assert_eq!(options.ttl, 32);
        assert_eq!(options.control_address(), Ipv4Addr::new(239, 1, 1, 2));
        assert_eq!(options.data_group(), Ipv4Addr::new(239, 1, 1, 1));
    }

    #[test]
    fn short_names_aliases_and_a_file_without_option_work() {
        let mut short =
            parsed("-1 -k -b 1001 -S3 --min-clients 1 --point-to-point image extra").unwrap();
        short.take_file();
        assert_eq!(short.file.as_deref(), Some(Path::new("image")));
        assert!(short.pointopoint && short.min_receivers == 1 && short.autostart == 3);
        assert_eq!(short.routing(), DataRouting::PointToPoint);
        assert_eq!(parsed("-2 -B").unwrap().routing(), DataRouting::Broadcast);
        let retries = parsed("-i lo -R 5")
            .unwrap()
            .options()
            .unwrap()
            .transfer
            .drop;
        assert_eq!(
            retries,
            DropPolicy {
                retries: 5,
                silence: Duration::from_secs(3)
            }
        );
    }

    #[test]
    fn contradictions_and_mistakes_are_refused() {
        for line in [
            "-1 -2",
            "--blocksize x",
            "--max-bitrate 12q",
            "--portbase 65535",
            "--min-rec -1",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        for line in [
            "--async",
            "--fec 8x8",
            "-D -D",
            "--pipe cat",
            "-Y 5",
            "--kill",
        ] {
            assert!(
                parsed(line).unwrap().refuse_unsupported().is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn progress_looks_as_in_udpcast() {
        let statistics = SenderStatistics {
            bytes_acked: 5_000,
            slice_size: 112,
            ..Default::default()
        };
        let line = progress(&statistics, &[], 1456);
        assert_eq!(
            line,
            "bytes=       5 000  re-xmits=0000000 (  0.0%) slice=0112 -   0"
        );
    }
}
