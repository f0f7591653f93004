//! Programs that the agent stands in for, called by their names.

mod keyboard;
mod messages;
mod numbers;
mod partclone;
mod partimage;
mod udp_receiver;
mod udp_sender;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use cast_net::Interface;

pub(crate) use partclone::{
    partclone_chkimg, partclone_filesystem, partclone_info, partclone_restore,
};
pub(crate) use partimage::partimage;
pub(crate) use udp_receiver::udp_receiver;
pub(crate) use udp_sender::udp_sender;

/// Parses `arguments` (without program name). On a mistake, and for `--help`, the text goes to
/// standard error, as standard output may be the stream; the status is then the one to end with.
fn parse<T: Parser>(arguments: &[OsString]) -> Result<T, ExitCode> {
    T::try_parse_from(arguments).map_err(|error| {
        messages::say(error.render().to_string().trim_end());
        match error.kind() {
            clap::error::ErrorKind::DisplayHelp => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    })
}

/// The interface that is wanted by option, or else by the variable `IFNAME`.
fn interface(wanted: Option<&str>) -> Result<Interface, cast_net::InterfaceError> {
    let from_environment = std::env::var("IFNAME").ok().filter(|name| !name.is_empty());
    let list = Interface::list()?;
    Interface::choose(&list, wanted.or(from_environment.as_deref())).cloned()
}

/// Says which of `options` (name, given or not) cannot be served.
fn refuse_unsupported(options: &[(&str, bool)]) -> anyhow::Result<()> {
    let given: Vec<&str> = options
        .iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| *name)
        .collect();
    anyhow::ensure!(
        given.is_empty(),
        "{} is not supported by this program; leave it out, or use the original udpcast for this transfer",
        given.join(", ")
    );
    Ok(())
}

/// The error with its causes, on one line.
fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_options_are_named() {
        assert!(refuse_unsupported(&[("--async", false)]).is_ok());
        let error = refuse_unsupported(&[("--async", true), ("--fec", false), ("--pipe", true)]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("--async, --pipe is not supported"),
            "{text}"
        );
    }
}
