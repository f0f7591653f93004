//! The options of `udp-sender`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;

use cast_net::udpcast::MAX_BLOCKS_PER_SLICE;
use cast_net::udpcast::fec::FecParams;
use cast_net::udpcast::sender::{DataRouting, DropPolicy, Duplex, SlowPolicy};
use cast_net::{Interface, SendOptions};

use crate::Refusal;
use crate::messages::say;
use crate::numbers;
use crate::pipe::Line;

/// Sends a stream to many udpcast receivers at once.
#[derive(Debug, Parser)]
#[command(
    name = "udp-sender",
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true,
    disable_version_flag = true,
    after_help = "Exit status: 0 sent, and at least one receiver has all of it (also when others failed: standard \
    error names each one with what became of it); 1 no receiver has it, wrong usage, or anything else is wrong; 255 an \
    address is not valid, or --async with --pointopoint.\n\n\
    --json: every line is an object with `event`, and `receiver` (an address) where it is about one: connected, \
    refused (reason), started, silent (seconds, slice), no-progress, slow (the rate follows it), dropped (reason: \
    silent, not-listening, no-progress, holding, slow; seconds, acknowledged_bytes), left (outcome), result \
    (for each receiver at the end: outcome completed, left, dropped, removed); without receiver: progress (twice a \
    second), left-out (lines that are missing there, as they were not read in time), and last finished or failed \
    (reason). The transfer does not wait for the reader; the end does, for 10 s. Names of fields end with their unit; more may be added."
)]
pub(super) struct Arguments {
    /// Send this file instead of standard input; also as first argument without option.
    #[arg(short, long, allow_hyphen_values = true)]
    pub(super) file: Option<PathBuf>,
    /// Send what this program makes of the input; split at spaces, nothing quoted.
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub(super) pipe: Option<OsString>,
    /// UDP port of the receivers; the sender has the next.
    #[arg(short = 'P', long, alias = "port", default_value_t = 9000, value_parser = numbers::port)]
    portbase: u16,
    /// Name or address of the network interface.
    #[arg(short, long)]
    interface: Option<String>,
    /// TTL of multicast; other than 1 it also makes 224.0.0.1 the rendezvous address.
    #[arg(short, long, default_value_t = 1, value_parser = numbers::number::<u8>)]
    ttl: u8,
    /// Where to announce the transfer.
    #[arg(short = 'M', long, aliases = ["mcast_rdv_address", "mcast-all-address", "mcast_all_address"], value_name = "ADDRESS")]
    mcast_rdv_address: Option<String>,
    /// Group for the data.
    #[arg(short = 'm', long, aliases = ["mcast_data_address", "mcast-address", "mcast_address"], value_name = "ADDRESS")]
    pub(super) mcast_data_address: Option<String>,
    /// Exactly one receiver, by unicast.
    #[arg(short = '1', long, aliases = ["point-to-point", "point_to_point"], conflicts_with = "nopointopoint")]
    pub(super) pointopoint: bool,
    /// By multicast even to one receiver.
    #[arg(short = '2', long, aliases = ["nopoint-to-point", "nopoint_to_point"])]
    nopointopoint: bool,
    /// Data to the broadcast (or rendezvous) address.
    #[arg(short = 'B', long)]
    broadcast: bool,
    /// Send the next slice while the last one is being acknowledged (default: as the network card).
    #[arg(short = 'd', long, overrides_with = "half_duplex")]
    pub(super) full_duplex: bool,
    /// One slice at a time.
    #[arg(short = 'c', long, alias = "h", overrides_with = "full_duplex")]
    half_duplex: bool,
    /// Bytes of a block, rounded down to a multiple of 4.
    #[arg(short, long, value_name = "BYTES", default_value_t = 1456, value_parser = numbers::c_number::<u16>)]
    blocksize: u16,
    /// Least first slice size.
    #[arg(long, value_name = "BLOCKS", default_value_t = 16, value_parser = numbers::number::<u16>)]
    min_slice_size: u16,
    /// First slice size; 0: 112 in full, 130 in half duplex, 1024 asynchronously.
    #[arg(
        long,
        alias = "default-slice-size",
        value_name = "BLOCKS",
        default_value_t = 0,
        value_parser = numbers::number::<u16>
    )]
    slice_size: u16,
    /// Largest slice size.
    #[arg(long, value_name = "BLOCKS", default_value_t = 1024, value_parser = numbers::number::<u16>)]
    max_slice_size: u16,
    /// Without acknowledgements: receivers only listen, what is lost stays lost. Needs a rate limit.
    #[arg(short = 'a', long = "async")]
    pub(super) asynchronous: bool,
    /// Repair blocks: stripes (8), repair blocks per stripe, data blocks per stripe (128).
    #[arg(short = 'F', long, value_name = "[STRIPESx]REDUNDANCY[/SIZE]", value_parser = numbers::fec)]
    pub(super) fec: Option<FecParams>,
    /// Limit in bit/s; suffixes k, m and g.
    #[arg(short = 'r', long, alias = "max_bitrate", value_name = "RATE", value_parser = numbers::rate)]
    max_bitrate: Option<u64>,
    /// Keep at most half of the send buffer filled.
    #[arg(short = 'A', long)]
    autorate: bool,
    /// Not supported: modules for the original program.
    #[arg(short = 'g', long, value_name = "MODULE:PARAMETERS")]
    pub(super) rate_governor: Vec<OsString>,
    /// Period of announcements; 0: every second.
    #[arg(short = 'H', long, value_name = "MS", default_value_t = 0, value_parser = numbers::number::<u64>)]
    rexmit_hello_interval: u64,
    /// Start after so many repetitions of the announcement, and one.
    #[arg(short = 'S', long, value_name = "COUNT", default_value_t = 0, value_parser = numbers::number::<u32>)]
    pub(super) autostart: u32,
    /// Start when so many receivers are there.
    #[arg(
        short = 'C',
        long,
        alias = "min-clients",
        value_name = "COUNT",
        default_value_t = 0,
        value_parser = numbers::number::<u32>
    )]
    min_receivers: u32,
    /// Do not start earlier after the first receiver.
    #[arg(short = 'w', long, value_name = "SECONDS", default_value_t = 0, value_parser = numbers::number::<u32>)]
    min_wait: u32,
    /// Start then with those that are there.
    #[arg(short = 'W', long, value_name = "SECONDS", default_value_t = 0, value_parser = numbers::number::<u32>)]
    max_wait: u32,
    /// Give up if no receiver is heard for so long.
    #[arg(short = 'T', long, value_name = "SECONDS", default_value_t = 0, value_parser = numbers::number::<u32>)]
    start_timeout: u32,
    /// Do not watch the keyboard.
    #[arg(short = 'k', long)]
    pub(super) nokbd: bool,
    /// Give a silent receiver up after so many requests, and 3 s at least (default: after 4 s if
    /// it is one of ours while others are heard; else after a minute, as a slow disk may silence an original
    /// one). One whose host says that it has ended is given up at once.
    #[arg(short = 'R', long, alias = "retriesUntilDrop", value_name = "COUNT", value_parser = numbers::number::<u32>)]
    retries_until_drop: Option<u32>,
    /// What becomes of a receiver whose path is much slower than that of the others: all go at its pace, or
    /// it is dropped when they have waited for it half of the time, after a second.
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Slow::Wait)]
    slow: Slow,
    /// Write what happens to standard output, as a line of JSON for each receiver and event.
    #[arg(long)]
    pub(super) json: bool,
    /// Let receivers of an asynchronous transfer in at any time.
    #[arg(short = 'Z', long)]
    streaming: bool,
    /// With --streaming: announce so many blocks before the end of each slice.
    #[arg(short = 'Y', long, value_name = "BLOCKS", default_value_t = 50, value_parser = numbers::number::<u16>)]
    rehello_offset: u16,
    /// Send buffer of the socket; suffixes k and m.
    #[arg(short, long, value_name = "BYTES", value_parser = numbers::size)]
    sendbuf: Option<usize>,
    /// Append messages there.
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) log: Option<PathBuf>,
    /// Log the bandwidth that often; 0: never.
    #[arg(short = 'I', long, value_name = "SECONDS", default_value_t = 0, value_parser = numbers::number::<u32>)]
    pub(super) bw_period: u32,
    /// No progress line.
    #[arg(long)]
    pub(super) no_progress: bool,
    /// Least time between two progress lines.
    #[arg(
        short = 'z',
        long,
        alias = "statistics-period",
        value_name = "MS",
        default_value_t = 500,
        value_parser = numbers::number::<u64>
    )]
    pub(super) stat_period: u64,
    /// Show the position in the input: 0 or 1 (default: with --pipe, if there is one).
    #[arg(short = 'x', long, value_name = "FLAG", value_parser = numbers::number::<u8>)]
    pub(super) print_uncompressed_position: Option<u8>,
    /// Serve one transfer after the other; given twice: in the background.
    #[arg(short = 'D', long, action = clap::ArgAction::Count)]
    pub(super) daemon_mode: u8,
    /// Write the process number there when going to the background.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) pid_file: Option<PathBuf>,
    /// End the sender that is named in the pid file.
    #[arg(short = 'K', long)]
    pub(super) kill: bool,
    /// Print the license.
    #[arg(short = 'L', long)]
    pub(super) license: bool,
    /// The file, if there is no `--file`.
    #[arg(hide = true)]
    rest: Vec<PathBuf>,
}

/// How `--slow` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Slow {
    Wait,
    Leave,
}

impl Arguments {
    /// The first argument without option is the file, unless there is one already.
    pub(super) fn take_file(&mut self) {
        let mut rest = std::mem::take(&mut self.rest).into_iter();
        if self.file.is_none() {
            self.file = rest.next();
        }
        for ignored in rest {
            say(&format!("ignoring the argument {}", ignored.display()));
        }
    }

    /// Whether this process leaves its terminal.
    pub(super) fn is_background(&self) -> bool {
        self.daemon_mode >= 2
    }

    /// The program between the file and the network.
    pub(super) fn pipe_line(&self) -> anyhow::Result<Option<Line>> {
        self.pipe.as_deref().map(Line::new).transpose()
    }

    /// Everything about the transfer itself.
    ///
    /// # Errors
    /// The options contradict each other, or there is no such interface.
    pub(super) fn options(&self) -> anyhow::Result<SendOptions> {
        self.check()?;
        let rendezvous =
            crate::rendezvous("--mcast-rdv-address", self.mcast_rdv_address.as_deref())?;
        let data_group =
            crate::address("--mcast-data-address", self.mcast_data_address.as_deref())?;
        let interface = crate::interface(self.interface.as_deref())?;
        let seconds = |count: u32| (count > 0).then(|| Duration::from_secs(count.into()));
        let mut options = SendOptions::new(interface);
        options.port_base = self.portbase;
        options.ttl = self.ttl;
        options.rendezvous = rendezvous;
        options.data_group = data_group;
        options.send_buffer = self.sendbuf;
        options.is_send_queue_short = self.autorate;
        let is_full = self.asynchronous
            || self.full_duplex
            || (!self.half_duplex && is_full_duplex(&options.interface));
        let transfer = &mut options.transfer;
        transfer.duplex = if is_full { Duplex::Full } else { Duplex::Half };
        transfer.routing = self.routing();
        transfer.block_size = self.blocksize / 4 * 4;
        transfer.slice.min = self.min_slice_size.max(1);
        transfer.slice.max = self.max_slice_size.max(transfer.slice.min);
        transfer.slice.initial = (self.slice_size > 0).then_some(self.slice_size);
        transfer.asynchronous = self.asynchronous;
        transfer.fec = self.fec;
        transfer.streaming = self.streaming.then_some(self.rehello_offset);
        transfer.max_bitrate = self.max_bitrate;
        if self.asynchronous && self.autorate && self.max_bitrate.is_none() {
            // Held back by the send buffer alone, which no network outruns.
            transfer.max_bitrate = Some(UNLIMITED);
        }
        if self.rexmit_hello_interval > 0 {
            transfer.hello_interval = Some(Duration::from_millis(self.rexmit_hello_interval));
        }
        transfer.start.autostart = (self.autostart > 0).then_some(self.autostart);
        transfer.start.min_receivers = self.min_receivers;
        transfer.start.min_wait = seconds(self.min_wait);
        transfer.start.max_wait = seconds(self.max_wait);
        transfer.start.start_timeout = seconds(self.start_timeout);
        // As the original: a receiver may hold the sender for as long as it likes.
        for policy in [&mut transfer.drop, &mut transfer.drop_attentive] {
            policy.hold = None;
        }
        transfer.slow = match self.slow {
            Slow::Wait => SlowPolicy::Wait,
            Slow::Leave => SlowPolicy::Leave,
        };
        if let Some(retries) = self.retries_until_drop {
            transfer.drop = DropPolicy {
                retries,
                silence: LEAST_SILENCE,
                ..transfer.drop
            };
            transfer.drop_attentive = transfer.drop;
        }
        Ok(options)
    }

    fn check(&self) -> anyhow::Result<()> {
        if let Some(module) = self.rate_governor.first() {
            anyhow::bail!(
                "--rate-governor {}: this program cannot load modules; --max-bitrate limits the rate",
                module.display()
            );
        }
        if self.asynchronous && self.pointopoint && self.mcast_data_address.is_none() {
            return Err(Refusal::AsynchronousPointToPoint.into());
        }
        anyhow::ensure!(
            !self.asynchronous || self.autorate || self.max_bitrate.is_some(),
            "--async needs --max-bitrate (or --autorate), as no receiver can slow the sender down"
        );
        anyhow::ensure!(
            !self.json || !self.is_background(),
            "--json needs standard output, which a sender in the background has not"
        );
        anyhow::ensure!(
            self.blocksize >= 4,
            "--blocksize {}: at least 4 bytes",
            self.blocksize
        );
        for (option, size) in [("min", self.min_slice_size), ("max", self.max_slice_size)] {
            anyhow::ensure!(
                size <= MAX_BLOCKS_PER_SLICE,
                "--{option}-slice-size {size}: at most {MAX_BLOCKS_PER_SLICE} blocks"
            );
        }
        anyhow::ensure!(
            self.daemon_mode == 0 || self.file.is_some(),
            "--daemon-mode needs --file: standard input can be sent only once"
        );
        Ok(())
    }

    fn routing(&self) -> DataRouting {
        // Broadcast overrides the others; without participants there is nobody to be the one.
        if self.broadcast {
            DataRouting::Broadcast
        } else if self.nopointopoint || self.asynchronous {
            DataRouting::Multicast
        } else if self.pointopoint {
            DataRouting::PointToPoint
        } else {
            DataRouting::AutoPointToPoint
        }
    }
}

/// Few requests can pass within milliseconds on a fast network; a healthy receiver may pause that long.
const LEAST_SILENCE: Duration = Duration::from_secs(3);
/// In bit/s.
const UNLIMITED: u64 = 1_000_000_000_000;

/// What the driver of the network card says; loopback and others say nothing.
fn is_full_duplex(interface: &Interface) -> bool {
    let device = interface.name.split(':').next().unwrap_or_default();
    let path = Path::new("/sys/class/net").join(device).join("duplex");
    fs::read_to_string(path).is_ok_and(|duplex| duplex.trim() == "full")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    fn options(line: &str) -> SendOptions {
        let line = format!("-i lo {line}");
        parsed(&line).unwrap().options().unwrap()
    }

    #[test]
    fn the_lines_of_the_field_are_understood() {
        let options = options(
            "--max-bitrate 100m --rexmit-hello-interval 200 --min-receivers 2 --max-wait 10 \
             --mcast-data-address 239.1.1.1 --mcast-rdv-address 239.1.1.2 --portbase 9000 --half-duplex \
             --ttl 32 --nokbd --nopointopoint --file /dev/null",
        );
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
        let policy = options("-R 5").transfer.drop;
        assert_eq!(
            (policy.retries, policy.silence),
            (5, Duration::from_secs(3))
        );
        assert_eq!(policy.hold, None);
        assert_eq!(options("-b 02660").transfer.block_size, 1456);
    }

    #[test]
    fn asynchronous_options_arrive() {
        let transfer =
            options("-a -r 10m -F 8x2/64 -Z -Y 20 --autostart 2 -1 -m 239.1.1.1").transfer;
        assert!(transfer.asynchronous);
        assert_eq!(transfer.routing, DataRouting::Multicast);
        assert_eq!(transfer.fec.map(FecParams::slice_size), Some(512));
        assert_eq!(transfer.streaming, Some(20));
        assert_eq!(options("-Y 20").transfer.streaming, None);
        assert!(options("-a -A").is_send_queue_short);
    }

    #[test]
    fn contradictions_and_mistakes_are_refused() {
        for line in [
            "-1 -2",
            "--blocksize x",
            "--max-bitrate 12q",
            "--portbase 65535",
            "--min-rec -1",
            "--fec 0x0",
            "--max-wait 10s",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        for (line, words) in [
            ("-g mod.so:x", "cannot load modules"),
            ("--async", "--max-bitrate"),
            ("-b 3", "at least 4"),
            ("--min-slice-size 1025", "at most 1024"),
            ("--max-slice-size 1025", "at most 1024"),
            ("-D", "needs --file"),
            ("-DD --json --file x", "background"),
            ("-a -1 -r 1m", "contradict"),
            ("-M host..invalid", "not known"),
            ("--mcast-data-address host.name", "no IPv4 address"),
        ] {
            let error = parsed(line).unwrap().options().unwrap_err();
            assert!(error.to_string().contains(words), "{line}: {error}");
        }
    }
}
