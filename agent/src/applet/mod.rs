//! Programs that the agent stands in for, called by their names.

mod messages;
mod partclone;
mod partimage;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub(crate) use partclone::{
    partclone_chkimg, partclone_filesystem, partclone_info, partclone_restore,
};
pub(crate) use partimage::partimage;

/// Runs `udp-receiver` with `args` (without the program's name).
pub(crate) fn udp_receiver(args: &[OsString]) -> ExitCode {
    udpcast_cli::udp_receiver(args, "fos-agent")
}

/// Runs `udp-sender` with `args` (without the program's name).
pub(crate) fn udp_sender(args: &[OsString]) -> ExitCode {
    udpcast_cli::udp_sender(args, "fos-agent")
}

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
