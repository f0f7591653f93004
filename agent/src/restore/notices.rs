//! What people should know of a transfer, printed while it runs.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use cast_net::ReceiveStatus;

use super::tell;

/// How often is looked for something new.
const PERIOD: Duration = Duration::from_millis(200);

/// Prints the notices of a receiver on standard error while `work` runs.
///
/// # Errors
/// That of `work`; or there is no thread to be had.
pub(super) fn printed<T>(
    status: &ReceiveStatus,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // On a terminal the line of the progress is there, which is drawn again below.
    let start = if io::stderr().is_terminal() {
        "\r\x1b[K"
    } else {
        ""
    };
    thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let print = move || {
            let mut seen = 0;
            let mut is_over = false;
            while !is_over {
                is_over = is_done.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout);
                for notice in status.notices_after(seen) {
                    seen += 1;
                    tell(
                        &mut io::stderr(),
                        &format!("{start}{}", udpcast_cli::notice_text(&notice)),
                    );
                }
            }
        };
        thread::Builder::new()
            .name("notices".into())
            .spawn_scoped(scope, print)
            .context("starting a thread")?;
        let result = work();
        drop(done);
        result
    })
}
