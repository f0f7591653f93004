//! The options of `udp-receiver`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use cast_net::ReceiveOptions;

use crate::numbers;

/// Receives a stream that a udpcast sender sends to many.
#[derive(Debug, Parser)]
#[command(
    name = "udp-receiver",
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true,
    disable_version_flag = true,
    after_help = "Exit status: 0 the stream is complete and written; 255 no sender was heard in time, or an \
    address is not valid; the status of the program of --pipe if that failed; 1 anything else (also wrong usage, and \
    a sender that lets us in and then sends nothing)."
)]
pub(super) struct Arguments {
    /// Write the stream there instead of standard output.
    #[arg(short, long, allow_hyphen_values = true)]
    pub(super) file: Option<PathBuf>,
    /// Give the stream to this program, whose output goes to the file; split at spaces, nothing quoted.
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub(super) pipe: Option<OsString>,
    /// UDP port of the receivers; the sender has the next.
    #[arg(short = 'P', long, alias = "port", default_value_t = 9000, value_parser = numbers::port)]
    pub(super) portbase: u16,
    /// Name or address of the network interface.
    #[arg(short, long)]
    pub(super) interface: Option<String>,
    /// TTL of multicast requests; other than 1 it also makes 224.0.0.1 the rendezvous address.
    #[arg(short, long, default_value_t = 1, value_parser = numbers::number::<u8>)]
    pub(super) ttl: u8,
    /// Where to ask for a sender: its name or address, or a group given to both sides.
    #[arg(short = 'M', long, aliases = ["mcast_rdv_address", "mcast-all-address", "mcast_all_address"], value_name = "HOST")]
    pub(super) mcast_rdv_address: Option<String>,
    /// The only sender to listen to, or "any": the first that answers (default: the one at the rendezvous
    /// address if that is one host's, else any). A sender with several addresses may need it.
    #[arg(long, value_name = "HOST", allow_hyphen_values = true)]
    pub(super) sender: Option<String>,
    /// Send nothing; listen to a transfer meant for others.
    #[arg(short = 'd', long)]
    pub(super) passive: bool,
    /// No synchronous writing (the default).
    #[arg(short, long)]
    pub(super) nosync: bool,
    /// Open the file for synchronous writing.
    #[arg(short = 'y', long, overrides_with = "nosync")]
    pub(super) sync: bool,
    /// Receive buffer of the sockets; suffixes k and m.
    #[arg(short = 'b', long, value_name = "BYTES", value_parser = numbers::size)]
    pub(super) rcvbuf: Option<usize>,
    /// Do not watch the keyboard.
    #[arg(short = 'k', long)]
    pub(super) nokbd: bool,
    /// How long to go on answering after the end.
    #[arg(
        short = 'w',
        long,
        alias = "exitWait",
        value_name = "MS",
        default_value_t = 500,
        value_parser = numbers::number::<u32>
    )]
    pub(super) exit_wait: u32,
    /// Fail if no sender is heard, or it sends no data, for so long; 0: wait for ever.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 0, value_parser = numbers::number::<u32>)]
    pub(super) start_timeout: u32,
    /// Fail if the sender falls silent for so long; 0: wait for ever.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = numbers::number::<u32>)]
    pub(super) receive_timeout: u32,
    /// Append messages there.
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    pub(super) log: Option<PathBuf>,
    /// No progress line.
    #[arg(long)]
    pub(super) no_progress: bool,
    /// Show the position in the output: 0 or 1 (default: with --pipe, if there is one).
    #[arg(short = 'x', long, value_name = "FLAG", value_parser = numbers::number::<u8>)]
    pub(super) print_uncompressed_position: Option<u8>,
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
    /// Put zeroes for lost data in transfers without acknowledgement.
    #[arg(short = 'Z', long)]
    pub(super) ignore_lost_data: bool,
    /// Print the license.
    #[arg(short = 'L', long)]
    pub(super) license: bool,
    /// Ignored, as in udpcast.
    #[arg(hide = true)]
    rest: Vec<OsString>,
}

impl Arguments {
    /// Everything about the transfer itself.
    ///
    /// # Errors
    /// An address is none, or there is no such interface.
    pub(super) fn options(&self) -> anyhow::Result<ReceiveOptions> {
        let rendezvous =
            crate::rendezvous("--mcast-rdv-address", self.mcast_rdv_address.as_deref())?;
        let seconds = |count: u32| (count > 0).then(|| Duration::from_secs(count.into()));
        let mut options = ReceiveOptions::new(crate::interface(self.interface.as_deref())?);
        options.port_base = self.portbase;
        options.rendezvous = rendezvous;
        options.sender = crate::sender_choice(self.sender.as_deref())?;
        options.ttl = self.ttl;
        options.transfer.passive = self.passive;
        options.transfer.start_timeout = seconds(self.start_timeout);
        options.transfer.receive_timeout = seconds(self.receive_timeout);
        options.transfer.exit_wait = Duration::from_millis(self.exit_wait.into());
        options.transfer.ignore_lost_data = self.ignore_lost_data;
        if let Some(size) = self.rcvbuf {
            options.receive_buffer = size;
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use cast_net::SenderChoice;

    use super::*;

    fn parsed(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_lines_of_the_field_are_understood() {
        let fog =
            parsed("-i lo --nokbd --portbase 9000 --ttl 32 --mcast-rdv-address 10.0.0.1").unwrap();
        assert!(fog.nokbd && fog.portbase == 9000 && fog.ttl == 32);
        let rendezvous = fog.options().unwrap().rendezvous;
        assert_eq!(rendezvous, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(fog.options().unwrap().sender, SenderChoice::Rendezvous);
        let sender = |text| parsed(text).unwrap().options().unwrap().sender;
        assert_eq!(sender("-i lo --sender any"), SenderChoice::First);
        let only = SenderChoice::Only(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(sender("-i lo -M 10.0.0.1 --sender 10.0.0.2"), only);
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
        for line in ["--portbase 0", "--portbase 65535", "--nonsense", "--ttl"] {
            assert!(parsed(line).is_err(), "{line}");
        }
        // No name has an empty label: no server is asked.
        for line in ["-i lo -M host..invalid", "-i lo --sender host..invalid"] {
            let error = parsed(line).unwrap().options().unwrap_err();
            assert!(error.is::<crate::Refusal>(), "{line}: {error}");
        }
    }
}
