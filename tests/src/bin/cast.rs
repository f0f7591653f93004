//! `cast send` and `cast receive`: the shortest way to our sender and receiver, for tests.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cast_net::udpcast::fec::FecParams;
use cast_net::udpcast::sender::{DataRouting, Duplex, Outcome, SenderEvent};
use cast_net::udpcast::wire::{Capabilities, ConnectReply, Message};
use cast_net::{
    Interface, ReceiveOptions, SendControl, SendError, SendEvent, SendOptions, SenderChoice, Stop,
};
use clap::{Args, Parser};

#[derive(Parser)]
enum Command {
    /// Sends a file, or standard input.
    Send(Send),
    /// Receives to standard output.
    Receive(Receive),
    /// Refuses every receiver of the network, whether it has asked or not, until killed.
    Refuse(Common),
}

#[derive(Args)]
struct Common {
    #[arg(long)]
    interface: Option<String>,
    #[arg(long, default_value_t = 9000)]
    portbase: u16,
    #[arg(long, default_value_t = 1)]
    ttl: u8,
    #[arg(long)]
    rendezvous: Option<Ipv4Addr>,
}

impl Common {
    fn interface(&self) -> anyhow::Result<Interface> {
        Ok(Interface::choose(&Interface::list()?, self.interface.as_deref())?.clone())
    }
}

#[derive(Args)]
struct Send {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    file: Option<PathBuf>,
    #[arg(long)]
    half_duplex: bool,
    #[arg(long, value_parser = ["multicast", "auto", "pointopoint", "broadcast"], default_value = "auto")]
    routing: String,
    #[arg(long, default_value_t = 0)]
    min_receivers: u32,
    /// Addresses that must be there, no others.
    #[arg(long)]
    expect: Vec<Ipv4Addr>,
    #[arg(long)]
    slice_size: Option<u16>,
    #[arg(long)]
    max_bitrate: Option<u64>,
    /// With repair blocks behind each slice.
    #[arg(long)]
    fec: bool,
    /// The source blocks for ever behind so many bytes.
    #[arg(long)]
    block_at: Option<u64>,
    /// Abort when so many bytes are acknowledged.
    #[arg(long)]
    abort_at: Option<u64>,
    /// Abort when so many blocks have been repeated.
    #[arg(long)]
    abort_repeated: Option<u64>,
    /// Abort when so many have joined.
    #[arg(long)]
    abort_joined: Option<u16>,
    /// Milliseconds of silence until a participant is dropped.
    #[arg(long)]
    silence: Option<u64>,
    /// Send as many streams one behind the other on the same port: the file again and again.
    #[arg(long, default_value_t = 1)]
    times: u32,
}

#[derive(Args)]
struct Receive {
    #[command(flatten)]
    common: Common,
    #[arg(long)]
    sender: Option<Ipv4Addr>,
    /// Seconds.
    #[arg(long)]
    start_timeout: Option<u64>,
    /// Seconds.
    #[arg(long)]
    receive_timeout: Option<u64>,
    /// Bytes per second at which the stream is taken.
    #[arg(long)]
    read_rate: Option<u64>,
    /// Receive so many streams one behind the other.
    #[arg(long, default_value_t = 1)]
    times: u32,
}

#[expect(
    clippy::print_stderr,
    reason = "a test program, watched through its messages"
)]
fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Send(options) => send(&options),
        Command::Receive(options) => receive(&options),
        Command::Refuse(options) => refuse(&options),
    };
    match result {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Gives so many bytes of a source, then blocks.
struct BlocksAt(io::Take<Box<dyn Read + std::marker::Send>>);

impl Read for BlocksAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        if count == 0 {
            loop {
                std::thread::park();
            }
        }
        Ok(count)
    }
}

/// Status 2: somebody did not get everything. 3: aborted, and the stream ended early; 4: only stopped.
#[expect(
    clippy::print_stderr,
    reason = "a test program, watched through its messages"
)]
fn send(arguments: &Send) -> anyhow::Result<ExitCode> {
    let mut options = SendOptions::new(arguments.common.interface()?);
    options.port_base = arguments.common.portbase;
    options.ttl = arguments.common.ttl;
    options.rendezvous = arguments.common.rendezvous;
    let transfer = &mut options.transfer;
    transfer.duplex = if arguments.half_duplex {
        Duplex::Half
    } else {
        Duplex::Full
    };
    transfer.routing = match arguments.routing.as_str() {
        "multicast" => DataRouting::Multicast,
        "pointopoint" => DataRouting::PointToPoint,
        "broadcast" => DataRouting::Broadcast,
        _ => DataRouting::AutoPointToPoint,
    };
    transfer.start.min_receivers = arguments.min_receivers;
    transfer.start.only_expected = !arguments.expect.is_empty();
    transfer.start.expected.clone_from(&arguments.expect);
    transfer.slice.initial = arguments.slice_size;
    transfer.max_bitrate = arguments.max_bitrate;
    transfer.fec = FecParams::new(8, 2, 16).filter(|_| arguments.fec);
    options.reports_slices = arguments.abort_at.is_some();
    let transfer = &mut options.transfer;
    if let Some(silence) = arguments.silence {
        transfer.drop.silence = Duration::from_millis(silence);
        transfer.drop_attentive = transfer.drop;
        transfer.drop_gone = transfer.drop;
    }
    let mut all_well = true;
    for _ in 0..arguments.times {
        let mut source: Box<dyn Read + std::marker::Send> = match &arguments.file {
            Some(path) => Box::new(File::open(path)?),
            None => Box::new(io::stdin()),
        };
        if let Some(bytes) = arguments.block_at {
            source = Box::new(BlocksAt(source.take(bytes)));
        }
        let control = SendControl::new()?;
        let mut joined = 0;
        let mut tell = |event: SendEvent| match event {
            SendEvent::Protocol(SenderEvent::SliceAcked { bytes, .. }) => {
                if arguments.abort_at.is_some_and(|at| bytes >= at) {
                    control.abort();
                }
            }
            SendEvent::Progress { statistics, .. } => {
                let repeated = statistics.blocks_repeated;
                if arguments.abort_repeated.is_some_and(|at| repeated >= at) {
                    control.abort();
                }
            }
            event => {
                eprintln!("{event:?}");
                if matches!(event, SendEvent::Protocol(SenderEvent::Joined { .. })) {
                    joined += 1;
                    if arguments.abort_joined == Some(joined) {
                        control.abort();
                    }
                }
            }
        };
        let mut sent = cast_net::send::open(options.clone(), source, control.clone())?;
        while let Some(event) = sent.next_event() {
            tell(event);
        }
        let report = match sent.finish() {
            Err(SendError::Aborted { ended, report, .. }) => {
                eprintln!("aborted, ended {ended}: {report:?}");
                return Ok(ExitCode::from(if ended { 3 } else { 4 }));
            }
            sent => sent?,
        };
        for participant in &report.participants {
            eprintln!("{participant:?}");
            all_well &= participant.outcome == Outcome::Completed;
        }
        eprintln!(
            "sent {} bytes in {:?}: {:?}",
            report.bytes, report.transfer_time, report.statistics
        );
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

#[expect(
    clippy::print_stderr,
    reason = "a test program, watched through its messages"
)]
fn receive(arguments: &Receive) -> anyhow::Result<ExitCode> {
    let mut options = ReceiveOptions::new(arguments.common.interface()?);
    options.port_base = arguments.common.portbase;
    options.ttl = arguments.common.ttl;
    options.rendezvous = arguments.common.rendezvous;
    options.sender = arguments.sender.map(SenderChoice::Only).unwrap_or_default();
    options.transfer.start_timeout = arguments.start_timeout.map(Duration::from_secs);
    options.transfer.receive_timeout = arguments.receive_timeout.map(Duration::from_secs);
    let mut output = io::stdout().lock();
    for _ in 0..arguments.times {
        let mut stream = cast_net::receive::open(options.clone(), Stop::new()?)?;
        let status = stream.status();
        watch(stream.status());
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            output.write_all(&buffer[..count])?;
            if let Some(rate) = arguments.read_rate {
                std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
            }
        }
        output.flush()?;
        let report = stream.finish()?;
        eprintln!("{} ({report:?})", status.snapshot());
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(
    clippy::print_stderr,
    reason = "a test program, watched through its messages"
)]
fn refuse(arguments: &Common) -> anyhow::Result<ExitCode> {
    let interface = arguments.interface()?;
    let to = interface.broadcast.unwrap_or(interface.addr);
    let socket = UdpSocket::bind((interface.addr, arguments.portbase + 1))?;
    socket.set_broadcast(true)?;
    let mut refusal = Vec::new();
    Message::ConnectReply(ConnectReply {
        client: None,
        block_size: 1456,
        capabilities: Capabilities::CURRENT,
        data_address: to,
    })
    .emit(&mut refusal);
    for count in 1_u64.. {
        socket.send_to(&refusal, (to, arguments.portbase))?;
        eprintln!("refused {count} times");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells where it stands whenever that changes, and every few seconds: for the log of a failed test.
#[expect(
    clippy::print_stderr,
    reason = "a test program, watched through its messages"
)]
fn watch(status: std::sync::Arc<cast_net::ReceiveStatus>) {
    std::thread::spawn(move || {
        let mut last = None;
        for tick in 0_u64.. {
            let now = status.snapshot();
            let phase = std::mem::discriminant(&now.phase);
            if last.replace(phase) != Some(phase) || tick % 200 == 0 {
                eprintln!("{now} [{now:?}]");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}
