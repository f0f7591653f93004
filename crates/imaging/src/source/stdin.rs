//! Standard input.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use nix::fcntl::{FcntlArg, fcntl};

/// Standard input, as a file that can be read by any thread. Of a pipe, as much as it may hold is
/// asked for: each turn between two programs then moves more.
///
/// # Errors
/// It is closed.
pub fn standard_input() -> io::Result<File> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    // It may be no pipe, or the system grants less.
    fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE_LEN)).ok();
    Ok(input.into())
}

/// What Linux grants anybody (`/proc/sys/fs/pipe-max-size`).
const PIPE_LEN: i32 = 1 << 20;
