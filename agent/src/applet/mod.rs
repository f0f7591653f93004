//! Programs that the agent stands in for, called by their names.

mod messages;
mod partclone;
mod partimage;
mod zstd;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use partclone::{
    partclone_chkimg, partclone_filesystem, partclone_info, partclone_restore,
};
pub(crate) use partimage::partimage;
pub(crate) use zstd::{unzstd, zstd, zstdcat};

use crate::panics;

/// Runs `udp-receiver` with `args` (without the program's name).
pub(crate) fn udp_receiver(args: &[OsString]) -> ExitCode {
    panics::before_end(|_| udpcast_cli::restore_terminal());
    udpcast_cli::udp_receiver(args, "fos-agent")
}

/// Runs `udp-sender` with `args` (without the program's name).
pub(crate) fn udp_sender(args: &[OsString]) -> ExitCode {
    panics::before_end(|_| udpcast_cli::restore_terminal());
    udpcast_cli::udp_sender(args, "fos-agent")
}
