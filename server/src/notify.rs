//! What systemd is told: that the server is ready, alive, and ending (`sd_notify`). Nothing where it did not ask.

use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The way to whoever started the server.
#[derive(Debug)]
pub struct Notifier(Option<Manager>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// To the manager that the environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        let named = std::env::var_os("NOTIFY_SOCKET");
        Self::to(named.as_deref().unwrap_or_default())
    }

    /// To this socket: a path, or with `@` in front an abstract name.
    fn to(name: &OsStr) -> Self {
        let address = match name.as_bytes() {
            [] => return Self(None),
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(name),
        };
        let manager = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // A manager that takes nothing must not stop the server.
            socket.set_nonblocking(true)?;
            Ok(Manager { socket, address })
        });
        match manager {
            Ok(manager) => Self(Some(manager)),
            Err(error) => {
                tracing::warn!("server: NOTIFY_SOCKET cannot be used: {error}");
                Self(None)
            }
        }
    }

    /// Clients are answered from now on; `status` is shown by `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=ending");
    }

    fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, state: &str) {
        let Some(Manager { socket, address }) = &self.0 else {
            return;
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!("server: telling systemd {state:?}: {error}");
        }
    }
}

/// How often systemd wants a sign of life of this process.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    let text = |name| std::env::var(name).ok();
    period(
        text("WATCHDOG_USEC").as_deref(),
        text("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )
}

/// Half of what systemd waits, if it waits for this process.
fn period(wait: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    let wait = wait?.parse().ok().filter(|wait| *wait > 0)?;
    is_ours.then(|| Duration::from_micros(wait) / 2)
}

/// Gives signs of life, as long as the server answers at its socket for commands. It does so on the runtime that answers
/// clients, too: a server that hangs gives none, and is started again.
pub async fn watch(notifier: &Notifier, socket: PathBuf, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let socket = socket.clone();
        let limit = period.max(LEAST_LIMIT);
        let asked = tokio::task::spawn_blocking(move || answers(&socket, limit)).await;
        match asked {
            Ok(Ok(())) => notifier.alive(),
            Ok(Err(error)) => tracing::warn!("server: it does not answer itself: {error}"),
            Err(error) => tracing::warn!("server: asking it: {error}"),
        }
    }
}

/// A busy machine is not a server that hangs.
const LEAST_LIMIT: Duration = Duration::from_secs(5);

/// Whether a server answers a request at all.
fn answers(socket: &Path, limit: Duration) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(b"GET /alive HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut first = [0; 5];
    stream.read_exact(&mut first)?;
    match &first {
        b"HTTP/" => Ok(()),
        other => Err(io::Error::other(format!(
            "its answer begins with {other:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn heard(manager: &UnixDatagram) -> String {
        manager
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut bytes = [0; 200];
        let len = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_that_the_server_is_ready_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str());
        notifier.ready("one\nline");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=one line");
        notifier.stopping();
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=ending");
        // Whether it is gone or not there at all: the server goes on.
        drop(manager);
        notifier.stopping();
        Notifier::to("".as_ref()).stopping();
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("fos-server-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(format!("@{name}").as_ref()).ready("x");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=x");
    }

    #[test]
    fn only_the_process_that_is_watched_gives_signs() {
        let second = Some(Duration::from_millis(500));
        assert_eq!(period(Some("1000000"), None, 7), second);
        assert_eq!(period(Some("1000000"), Some("7"), 7), second);
        for (wait, process) in [
            (None, None),
            (Some("1000000"), Some("8")),
            (Some("0"), None),
            (Some("soon"), None),
        ] {
            assert_eq!(period(wait, process, 7), None, "{wait:?} {process:?}");
        }
    }

    #[tokio::test]
    async fn signs_of_life_come_only_from_a_server_that_answers() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, notify) = (dir.path().join("server"), dir.path().join("notify"));
        let manager = UnixDatagram::bind(&notify).unwrap();
        let server = UnixListener::bind(&socket).unwrap();
        let asked = std::thread::spawn(move || {
            // The first question is left without an answer, the second is answered.
            drop(server.accept().unwrap());
            let (mut stream, _) = server.accept().unwrap();
            let mut bytes = [0; 16];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").unwrap();
        });
        let notifier = Notifier::to(notify.as_os_str());
        let watching = tokio::spawn({
            let socket = socket.clone();
            async move { watch(&notifier, socket, Duration::from_millis(20)).await }
        });
        let said = tokio::task::spawn_blocking(move || heard(&manager)).await;
        assert_eq!(said.unwrap(), "WATCHDOG=1");
        asked.join().unwrap();
        watching.abort();
    }
}
