//! `udp-receiver`: receives one stream into a file or to standard output.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use nix::fcntl::OFlag;

use cast_net::udpcast::receiver::ReceiveFailure;
use cast_net::{
    Interface, ReceiveError, ReceiveOptions, ReceivePhase, ReceiveStatus, ReceivedStream, Stop,
};

use super::keyboard::{Key, Keyboard};
use super::messages::{Messages, say};
use super::numbers;

/// Receives a stream that a udpcast sender sends to many.
#[derive(Debug, Parser)]
#[command(
    name = "udp-receiver",
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true,
    disable_version_flag = true
)]
struct Arguments {
    /// Write the stream there instead of standard output.
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
    /// TTL of multicast requests; other than 1 it also makes 224.0.0.1 the rendezvous address.
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    ttl: u8,
    /// Where to ask for a sender: its address, or a group given to both sides.
    #[arg(short = 'M', long, aliases = ["mcast_rdv_address", "mcast-all-address", "mcast_all_address"], value_name = "ADDRESS")]
    mcast_rdv_address: Option<Ipv4Addr>,
    /// Send nothing; listen to a transfer meant for others.
    #[arg(short = 'd', long)]
    passive: bool,
    /// No synchronous writing (the default).
    #[arg(short, long)]
    nosync: bool,
    /// Open the file for synchronous writing.
    #[arg(short = 'y', long, overrides_with = "nosync")]
    sync: bool,
    /// Receive buffer of the sockets; suffixes k and m.
    #[arg(short = 'b', long, value_name = "BYTES", value_parser = numbers::size)]
    rcvbuf: Option<usize>,
    /// Do not watch the keyboard.
    #[arg(short = 'k', long)]
    nokbd: bool,
    /// How long to go on answering after the end.
    #[arg(
        short = 'w',
        long,
        alias = "exitWait",
        value_name = "MS",
        default_value_t = 500
    )]
    exit_wait: u64,
    /// Fail if no sender is heard, or it sends no data, for so long; 0: wait for ever.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 0)]
    start_timeout: u64,
    /// Fail if the sender falls silent for so long; 0: wait for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    receive_timeout: u64,
    /// Append messages there.
    #[arg(short, long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// No progress line.
    #[arg(long)]
    no_progress: bool,
    #[arg(short = 'x', long, hide = true)]
    print_uncompressed_position: Option<u8>,
    /// Least time between two progress lines.
    #[arg(
        short = 'z',
        long,
        alias = "statistics-period",
        value_name = "MS",
        default_value_t = 500
    )]
    stat_period: u64,
    /// Put zeroes for lost data in transfers without acknowledgement.
    #[arg(short = 'Z', long)]
    ignore_lost_data: bool,
    #[arg(short = 'L', long, hide = true)]
    license: bool,
    /// Ignored, as in udpcast.
    #[arg(hide = true)]
    rest: Vec<OsString>,
}

/// Runs `udp-receiver` with `args` (without the program's name).
pub(crate) fn udp_receiver(args: &[OsString]) -> ExitCode {
    let arguments: Arguments = match super::parse(args) {
        Ok(arguments) => arguments,
        Err(status) => return status,
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("udp-receiver: {}", super::chain(&error)));
            status_of(&error)
        }
    }
}

/// 255 when no sender was found in time, as udpcast does; 1 for everything else. Unlike udpcast, no
/// data at all is a failure too.
fn status_of(error: &anyhow::Error) -> ExitCode {
    let receive = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match receive.and_then(|inner| inner.downcast_ref::<ReceiveError>()) {
        Some(ReceiveError::Failed(ReceiveFailure::NoSender(..))) => ExitCode::from(255),
        _ => ExitCode::FAILURE,
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    super::refuse_unsupported(&[
        ("--pipe", arguments.pipe.is_some()),
        (
            "--print-uncompressed-position",
            arguments
                .print_uncompressed_position
                .is_some_and(|x| x != 0),
        ),
        ("--license", arguments.license),
    ])?;
    say(&format!(
        "Udp-receiver {} (fos-agent)",
        env!("CARGO_PKG_VERSION")
    ));
    let period = (!arguments.no_progress).then(|| Duration::from_millis(arguments.stat_period));
    let mut messages = Messages::new(arguments.log.as_deref(), period)?;
    let options = options(arguments)?;
    // Opened first: a sender shall not wait for somebody who cannot write.
    let mut output = Output::open(arguments.file.as_deref(), arguments.sync)?;
    let Interface { name, addr, .. } = &options.interface;
    say(&format!("receiving {} at {addr} on {name}", output.name));
    let stop = Stop::new()?;
    let mut stream = cast_net::receive(options, stop.clone())?;
    let status = stream.status();
    let keyboard = if arguments.nokbd || arguments.passive {
        None
    } else {
        watch_keyboard(&stream, stop)
    };
    let result = thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        let messages = &mut messages;
        let reporter = move || report(&status, &is_done, keyboard, messages);
        thread::Builder::new()
            .name("report".into())
            .spawn_scoped(scope, reporter)?;
        let result = copy(&mut stream, &mut output);
        drop(done);
        result
    });
    let result = result.and_then(|()| {
        let report = stream.finish()?;
        let time = report.transfer_time.unwrap_or_default();
        messages.progress(true, progress(report.bytes, time));
        Ok(())
    });
    if result.is_ok() {
        messages.tell("Transfer complete.\x07");
    }
    result
}

fn options(arguments: &Arguments) -> anyhow::Result<ReceiveOptions> {
    let seconds = |count| (count > 0).then(|| Duration::from_secs(count));
    let mut options = ReceiveOptions::new(super::interface(arguments.interface.as_deref())?);
    options.port_base = arguments.portbase;
    options.rendezvous = arguments.mcast_rdv_address;
    options.ttl = arguments.ttl;
    options.passive = arguments.passive;
    options.start_timeout = seconds(arguments.start_timeout);
    options.receive_timeout = seconds(arguments.receive_timeout);
    options.exit_wait = Duration::from_millis(arguments.exit_wait);
    options.ignore_lost_data = arguments.ignore_lost_data;
    if let Some(size) = arguments.rcvbuf {
        options.receive_buffer = size;
    }
    Ok(options)
}

/// Any key asks the sender to start, `q` ends the program.
fn watch_keyboard(stream: &ReceivedStream, stop: Stop) -> Option<Keyboard> {
    let control = stream.control();
    let pressed = move |key| match key {
        Key::Any => {
            say("Asking the sender to start.");
            control.go();
        }
        Key::Quit => stop.stop(),
    };
    match Keyboard::on_stdin(pressed) {
        Ok(keyboard) => {
            say("Press any key to start the transfer once connected, q to quit.");
            Some(keyboard)
        }
        Err(error) => {
            say(&format!("no keyboard ({error}); going on without"));
            None
        }
    }
}

/// Tells of the connection and shows progress until the other end of `is_done` goes.
fn report(
    status: &ReceiveStatus,
    is_done: &mpsc::Receiver<()>,
    mut keyboard: Option<Keyboard>,
    messages: &mut Messages,
) {
    let mut told = None;
    while is_done.recv_timeout(LOOK_PERIOD) == Err(RecvTimeoutError::Timeout) {
        let now = status.snapshot();
        let (ReceivePhase::Connected { sender, client, .. }
        | ReceivePhase::Receiving { sender, client, .. }) = now.phase
        else {
            continue;
        };
        if told.replace(sender) != Some(sender) {
            messages.note(&format!("connected as {client} to {}", sender.ip()));
        }
        if let ReceivePhase::Receiving { since, .. } = now.phase {
            keyboard = None;
            messages.progress(false, progress(now.bytes, since.elapsed()));
        }
    }
    drop(keyboard);
}

const LOOK_PERIOD: Duration = Duration::from_millis(100);

fn progress(bytes: u64, time: Duration) -> String {
    let hundredths = u128::from(bytes) * 800 / time.as_micros().max(1);
    let rate = match time.is_zero() {
        true => "***.**".to_owned(),
        false => format!("{:3}.{:02}", hundredths / 100, hundredths % 100),
    };
    format!("bytes={} ({rate} Mbps)", numbers::grouped(bytes))
}

fn copy(stream: &mut ReceivedStream, output: &mut Output) -> anyhow::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return output.finish();
        }
        output.write(&buffer[..count])?;
    }
}

/// Where the stream goes.
struct Output {
    name: String,
    file: File,
    /// A regular file keeps what it held until the stream has begun.
    is_to_be_truncated: bool,
}

impl Output {
    fn open(path: Option<&Path>, is_synchronous: bool) -> anyhow::Result<Self> {
        let Some(path) = path else {
            // Not through the line buffer of the standard library.
            let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            return Ok(Self {
                name: "(stdout)".into(),
                file,
                is_to_be_truncated: false,
            });
        };
        let name = path.display().to_string();
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o644);
        if is_synchronous {
            options.custom_flags(OFlag::O_SYNC.bits());
        }
        let open = || {
            let file = options.open(path)?;
            let is_to_be_truncated = file.metadata()?.is_file();
            io::Result::Ok((file, is_to_be_truncated))
        };
        let (file, is_to_be_truncated) =
            open().with_context(|| format!("opening {name} for writing"))?;
        Ok(Self {
            name,
            file,
            is_to_be_truncated,
        })
    }

    fn truncate(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.is_to_be_truncated) {
            true => self.file.set_len(0),
            false => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let result = self.truncate().and_then(|()| self.file.write_all(bytes));
        result.with_context(|| format!("writing to {}", self.name))
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let flush = |file: &File| match file.metadata()?.file_type() {
            kind if kind.is_file() || kind.is_block_device() => file.sync_all(),
            _ => Ok(()),
        };
        let result = self.truncate().and_then(|()| flush(&self.file));
        result.with_context(|| format!("flushing {} to disk", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_lines_of_the_field_are_understood() {
        let fog = parsed("--nokbd --portbase 9000 --ttl 32 --mcast-rdv-address 10.0.0.1").unwrap();
        assert!(fog.nokbd && fog.portbase == 9000 && fog.ttl == 32);
        assert_eq!(fog.mcast_rdv_address, Some(Ipv4Addr::new(10, 0, 0, 1)));
        let short =
            parsed("-k -P 9002 -t2 -M 239.0.0.1 -f out -w 0 -s 5 -b 64k -z 100 extra").unwrap();
        assert_eq!(
            (short.portbase, short.exit_wait, short.start_timeout),
            (9002, 0, 5)
        );
        assert_eq!(short.rcvbuf, Some(65_536));
        let other =
            parsed("--port=9004 --mcast_all_address 239.0.0.1 --exitWait 10 --recei 7").unwrap();
        assert_eq!(
            (other.portbase, other.exit_wait, other.receive_timeout),
            (9004, 10, 7)
        );
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            "--portbase 0",
            "--portbase 65535",
            "--nonsense",
            "--ttl",
            "-M host.name",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn progress_looks_as_in_udpcast() {
        let line = progress(300_000, Duration::from_micros(506_329));
        assert_eq!(line, "bytes=     300 000  (  4.74 Mbps)");
        assert_eq!(
            progress(0, Duration::ZERO),
            format!("bytes={} (***.** Mbps)", " ".repeat(15))
        );
    }

    #[test]
    fn a_file_keeps_its_content_until_the_stream_begins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        std::fs::write(&path, "before, and longer").unwrap();
        let mut output = Output::open(Some(&path), false).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before, and longer");
        output.write(b"after").unwrap();
        output.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        Output::open(Some(&path), false).unwrap().finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
