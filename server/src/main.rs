//! `fos-server`: deploys disk images by multicast, speaking the protocols of FOG.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use fos_server::cli::{Cli, Unusable};
use fos_server::output;

/// A connection for each question of a waiting client is many short-lived buffers: glibc's allocator has a sixth of
/// the processor time of a server whose rooms wait.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(options) = sender_options(&args) {
        return udpcast_cli::udp_sender(options, "fos-server");
    }
    let cli = match Cli::read(&args) {
        Ok(cli) => cli,
        Err(Unusable::Line(error)) => error.exit(),
        Err(Unusable::File(error)) => {
            output::explain(&format!("fos-server: {}", readable::chain(&error)));
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match cli.run() {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            output::explain(&format!("fos-server: {}", readable::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

/// The options of `udp-sender`, if the program was called so, by a link or its first argument. They
/// follow udpcast's rules, not those of the other commands.
fn sender_options(args: &[OsString]) -> Option<&[OsString]> {
    let (program, rest) = args.split_first()?;
    if Path::new(program).file_name()? == UDP_SENDER {
        return Some(rest);
    }
    let (first, options) = rest.split_first()?;
    (first == UDP_SENDER).then_some(options)
}

const UDP_SENDER: &str = "udp-sender";

/// As for a wrong command line: starting again does not help.
const WRONG_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_goes_by_its_name_or_the_first_argument() {
        let options = |line: &[&str]| {
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            sender_options(&args).map(<[OsString]>::to_vec)
        };
        for line in [
            &["/bin/udp-sender", "--nokbd"][..],
            &["fos-server", "udp-sender", "--nokbd"],
        ] {
            assert_eq!(options(line).unwrap(), ["--nokbd"]);
        }
        assert_eq!(options(&["fos-server", "status", "udp-sender"]), None);
        assert_eq!(options(&["fos-server"]), None);
    }
}
