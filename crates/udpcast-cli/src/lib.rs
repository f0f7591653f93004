//! The command lines of udpcast's programs, `udp-sender` and `udp-receiver`, over `cast-net`.
//!
//! Options, statuses and the occasions of messages are theirs. Where theirs would call a broken
//! transfer a success (everybody gone, no data at all, a failed pipe program at the sender), these
//! programs fail; a sender that some receivers have left still ends with 0, as theirs does, and names
//! them. Numbers that are none are refused instead of being read as 0.

#![warn(missing_docs)]

mod daemon;
mod host;
mod keyboard;
mod messages;
mod numbers;
mod pipe;
mod receiver;
mod sender;
mod signals;
mod syslog;
mod waits;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser;

use cast_net::Interface;
use cast_net::udpcast::Ignored;

use messages::say;

pub use host::{rendezvous, sender_choice};
pub use keyboard::restore_terminal;
pub use messages::notice_text;
pub use receiver::udp_receiver;
pub use sender::udp_sender;
pub use signals::{Reaction, Signals};
pub use waits::{Link, ReceiverWaits};

/// Options whose contradiction or mistake udpcast answers with status 255.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// An address, and no name.
    #[error("\"{text}\" of {option} is no IPv4 address")]
    Address {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
    },
    /// A name for which there is no address.
    #[error("{option} {text}: this host is not known; give its IPv4 address if there is no DNS")]
    Host {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A name that has addresses of another kind only.
    #[error("{option} {text}: this host has no IPv4 address, and udpcast knows no other")]
    NoIpv4 {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
    },
    /// There is no address to send to.
    #[error(
        "--async and --pointopoint contradict each other, unless --mcast-data-address is given"
    )]
    AsynchronousPointToPoint,
}

/// Parses `arguments` (without program name). On a mistake, and for `--help`, the text goes to
/// standard error, as standard output may be the stream; the status is then the one to end with.
fn parse<T: Parser>(arguments: &[OsString]) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| {
        say(error.render().to_string().trim_end());
        match error.kind() {
            clap::error::ErrorKind::DisplayHelp => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    })
}

/// The address given with `option`, in any form that the C library takes.
fn address(
    option: &'static str,
    given: Option<&str>,
) -> Result<Option<std::net::Ipv4Addr>, Refusal> {
    let parse = |text: &str| {
        numbers::address(text).ok_or_else(|| Refusal::Address {
            option,
            text: text.to_owned(),
        })
    };
    given.map(parse).transpose()
}

/// The interface that is wanted by option, or else by the variable `IFNAME`.
fn interface(wanted: Option<&str>) -> Result<Interface, cast_net::InterfaceError> {
    let from_environment = std::env::var("IFNAME").ok().filter(|name| !name.is_empty());
    let list = Interface::list()?;
    Interface::choose(&list, wanted.or(from_environment.as_deref())).cloned()
}

/// What to say of datagrams that others sent, or that somebody spoiled; `None` if there were none.
fn strays(ignored: &Ignored) -> Option<String> {
    let Ignored {
        malformed,
        stranger,
        inconsistent,
        ..
    } = ignored;
    let is_quiet = [malformed, stranger, inconsistent]
        .iter()
        .all(|count| **count == 0);
    (!is_quiet).then(|| {
        format!(
            "ignored stray datagrams: {stranger} of strangers, {malformed} malformed, {inconsistent} \
             that contradict others"
        )
    })
}

/// Answers `--license`.
fn print_license(program: &str) -> ExitCode {
    say(&format!(
        "{program} may be used under the MIT license, which follows, or the Apache License, \
         Version 2.0 (http://www.apache.org/licenses/LICENSE-2.0), as you choose.\n"
    ));
    say(include_str!("../../../LICENSE-MIT").trim_end());
    ExitCode::SUCCESS
}
