//! An address by DHCP: busybox' `udhcpc` with our script, which leaves the lease as a file. Where the server that
//! answers first is the wrong one, this program takes the place of `udhcpc`, with the same script.

mod socket;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fog::Mac;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(super) use socket::Listener;
pub(crate) use socket::{offers, serve};

/// A running client. It renews the lease; dropping it ends it and leaves the address.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    lease: PathBuf,
    troubles: PathBuf,
    /// It goes on when this is dropped, and when this program ends.
    is_kept: bool,
}

/// What the DHCP server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) name_servers: Vec<Ipv4Addr>,
    /// The DHCP server.
    pub(crate) server: Option<Ipv4Addr>,
}

impl Client {
    /// Starts a client on the card, in place of an earlier one. It takes the first answer, and asks until
    /// there is one.
    ///
    /// # Errors
    /// If busybox cannot be started.
    pub(crate) fn start(card: &str) -> io::Result<Self> {
        let mut command = Command::new(BUSYBOX);
        command
            .args([UDHCPC, "-f", "-i", card, "-s", SCRIPT])
            // Four requests three seconds apart, a second of pause, and again without end.
            .args(["-t", "4", "-T", "3", "-A", "1"]);
        Self::spawn(&mut command, card)
    }

    /// Starts one that takes answers of this server alone.
    ///
    /// # Errors
    /// If this program cannot be started again.
    pub(crate) fn start_with(card: &str, mac: Mac, server: Ipv4Addr) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("fos-agent")
            .args([OWN_COMMAND, "--interface", card])
            .args(["--mac", &mac.to_string()])
            .args(["--server", &server.to_string()]);
        Self::spawn(&mut command, card)
    }

    fn spawn(command: &mut Command, card: &str) -> io::Result<Self> {
        let dir = Path::new(STATE_DIR);
        fs::create_dir_all(dir)?;
        let number = dir.join(format!("client.{card}"));
        end_earlier(&number, card);
        let lease = dir.join(format!("lease.{card}"));
        let troubles = dir.join(format!("trouble.{card}"));
        for old in [&lease, &troubles] {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let client = Self {
            child,
            lease,
            troubles,
            is_kept: false,
        };
        fs::write(number, client.child.id().to_string())?;
        Ok(client)
    }

    /// From now on the lease is renewed also when this is dropped, and after the end of this program: whoever
    /// works in the shell needs the address, too. The next client on this card ends it.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
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
        if self.is_kept {
            return;
        }
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ends the client whose process number is in this file, if it still is a client on this card.
fn end_earlier(number: &Path, card: &str) {
    let pid = fs::read_to_string(number).ok();
    let Some(pid) = pid
        .and_then(|text| text.trim().parse::<i32>().ok())
        .filter(|pid| *pid > 1)
    else {
        return;
    };
    // The number may be another program's by now.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|octet| *octet == 0).collect();
    let has = |wanted: &str| words.contains(&wanted.as_bytes());
    if has(card) && (has(UDHCPC) || has(OWN_COMMAND)) {
        // It may end by itself just now.
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
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
        name_servers: value("dns")
            .unwrap_or_default()
            .split(' ')
            .filter_map(|text| text.parse().ok())
            .collect(),
        server: address("serverid"),
    })
}

const BUSYBOX: &str = "/bin/busybox";
const SCRIPT: &str = "/etc/udhcpc.script";
const UDHCPC: &str = "udhcpc";
/// Of this program, in place of `udhcpc`.
pub(crate) const OWN_COMMAND: &str = "dhcp-client";
/// Where the script leaves leases (`lease.CARD`) and what it could not do (`trouble.CARD`), and the process numbers
/// of clients are (`client.CARD`).
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
                name_servers: vec![Ipv4Addr::new(10, 0, 0, 1)],
                server: Some(Ipv4Addr::new(10, 0, 0, 5)),
            }
        );
        let least = parse("ip=10.0.0.7\nmask=24\nrouter=\n").unwrap();
        assert_eq!((least.router, least.server), (None, None));
        assert!(least.name_servers.is_empty());
        for text in ["", "ip=10.0.0.7\n", "ip=10.0.0.7\nmask=33\n", "mask=24\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_an_earlier_client_on_the_same_card_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let number = dir.path().join("client.eth9");
        end_earlier(&number, "eth9");
        fs::write(&number, "1").unwrap();
        end_earlier(&number, "eth9");
        // A process with these words on its command line; one that is spared ends with 7.
        let code = |words: &[&str]| {
            let mut command = Command::new("sh");
            command.args(["-c", "read line; exit 7"]).args(words);
            let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
            fs::write(&number, process.id().to_string()).unwrap();
            // It has a command line a little later than a number.
            let line = format!("/proc/{}/cmdline", process.id());
            while fs::read(&line).unwrap().is_empty() {
                std::thread::yield_now();
            }
            end_earlier(&number, "eth9");
            process.wait().unwrap().code()
        };
        assert_eq!(code(&[UDHCPC, "-f", "-i", "eth9"]), None);
        assert_eq!(code(&[OWN_COMMAND, "--interface", "eth9"]), None);
        assert_eq!(code(&[UDHCPC, "-f", "-i", "eth8"]), Some(7));
        assert_eq!(code(&["sleep", "eth9"]), Some(7));
    }
}
