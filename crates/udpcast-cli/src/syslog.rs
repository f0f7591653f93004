//! The events that `udp-sender` also tells the machine's log.

use std::os::unix::net::UnixDatagram;

/// A sender's line to the log of the machine; without one there it says nothing.
#[derive(Debug)]
pub(crate) struct Syslog(Option<UnixDatagram>);

impl Syslog {
    /// Finds the log of the machine.
    pub(crate) fn open() -> Self {
        Self(connect().ok())
    }

    /// One event. Who keeps the log adds the time; a log that has no room now misses the event,
    /// as no transfer is to wait for it.
    pub(crate) fn tell(&self, text: &str) {
        if let Some(socket) = &self.0 {
            let line = format!("<{PRIORITY}>{IDENTITY}[{}]: {text}", std::process::id());
            drop(socket.send(line.as_bytes()));
        }
    }
}

/// Facility syslog (5), severity info (6), as udpcast has it.
const PRIORITY: u8 = 5 * 8 + 6;
const IDENTITY: &str = "udpcast";
/// Where `syslog(3)` looks for it.
const PATH: &str = "/dev/log";

fn connect() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(PATH)?;
    Ok(socket)
}
