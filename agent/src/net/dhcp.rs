//! An address by DHCP: busybox' `udhcpc` with our script, which leaves the lease as a file.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running client. It renews the lease; dropping it ends it and leaves the address.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    lease: PathBuf,
    troubles: PathBuf,
}

/// What the DHCP server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
    pub(crate) router: Option<Ipv4Addr>,
    /// The DHCP server.
    pub(crate) server: Option<Ipv4Addr>,
}

impl Client {
    /// Starts a client on the card. It asks until it gets an answer.
    ///
    /// # Errors
    /// If busybox cannot be started.
    pub(crate) fn start(card: &str) -> io::Result<Self> {
        fs::create_dir_all(STATE_DIR)?;
        let lease = Path::new(STATE_DIR).join(format!("lease.{card}"));
        let troubles = Path::new(STATE_DIR).join(format!("trouble.{card}"));
        for old in [&lease, &troubles] {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let child = Command::new(BUSYBOX)
            .args(["udhcpc", "-f", "-i", card, "-s", SCRIPT])
            // Four requests three seconds apart, a second of pause, and again without end.
            .args(["-t", "4", "-T", "3", "-A", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            lease,
            troubles,
        })
    }

    /// What the script could not do with the last answer, for people.
    pub(crate) fn trouble(&self) -> Option<String> {
        let text = fs::read_to_string(&self.troubles).ok()?;
        let text = fog::encoding::printable(text.trim(), 400);
        (!text.is_empty()).then_some(text)
    }

    /// The lease, once there is one.
    ///
    /// # Errors
    /// If the client has ended, or the script left something unreadable.
    pub(crate) fn lease(&mut self) -> io::Result<Option<Lease>> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("udhcpc ended: {status}")));
        }
        match fs::read_to_string(&self.lease) {
            Ok(text) => parse(&text).map(Some).ok_or_else(|| {
                io::Error::other(format!("{} makes no sense: {text:?}", self.lease.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Leaves for [`first_answer`] how long after its link a card has had its first answer. It is only told to
/// people, so nothing depends on it.
pub(super) fn note_first_answer(card: &str, after: Duration) {
    let text = after.as_millis().to_string();
    drop(fs::write(first_answer_file(card), text));
}

/// How long after its link the card has had its first answer in this boot, if it has had one.
pub(crate) fn first_answer(card: &str) -> Option<Duration> {
    let text = fs::read_to_string(first_answer_file(card)).ok()?;
    text.trim().parse().ok().map(Duration::from_millis)
}

fn first_answer_file(card: &str) -> PathBuf {
    Path::new(STATE_DIR).join(format!("first-answer.{card}"))
}

/// Runs `busybox ip` with these words.
///
/// # Errors
/// If it cannot be started or fails; with its message.
pub(crate) fn ip(words: &[&str]) -> io::Result<()> {
    let output = Command::new(BUSYBOX)
        .arg("ip")
        .args(words)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!(
        "ip {}: {}",
        words.join(" "),
        text.trim()
    )))
}

/// Lines `name=value`, as the script writes them.
fn parse(text: &str) -> Option<Lease> {
    let value = |wanted: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.trim())
    };
    // Of several routers the first counts.
    let address = |name| value(name).and_then(|text| text.split(' ').next()?.parse().ok());
    Some(Lease {
        address: address("ip")?,
        prefix_len: value("mask")?.parse().ok().filter(|&len| len <= 32)?,
        router: address("router"),
        server: address("serverid"),
    })
}

const BUSYBOX: &str = "/bin/busybox";
const SCRIPT: &str = "/etc/udhcpc.script";
/// Where the script leaves leases (`lease.CARD`) and what it could not do (`trouble.CARD`), and we
/// `first-answer.CARD`.
const STATE_DIR: &str = "/run/fos-agent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_as_the_script_writes_them() {
        let text = "ip=10.0.0.7\nmask=24\nrouter=10.0.0.1 10.0.0.2\ndns=10.0.0.1\n\
                    serverid=10.0.0.5\nlease=3600\n";
        assert_eq!(
            parse(text).unwrap(),
            Lease {
                address: Ipv4Addr::new(10, 0, 0, 7),
                prefix_len: 24,
                router: Some(Ipv4Addr::new(10, 0, 0, 1)),
                server: Some(Ipv4Addr::new(10, 0, 0, 5)),
            }
        );
        let least = parse("ip=10.0.0.7\nmask=24\nrouter=\n").unwrap();
        assert_eq!((least.router, least.server), (None, None));
        for text in ["", "ip=10.0.0.7\n", "ip=10.0.0.7\nmask=33\n", "mask=24\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
