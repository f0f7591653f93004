//! A dnsmasq that answers the boot questions of PCs beside the DHCP server that gives them addresses (proxy DHCP), and
//! serves iPXE by TFTP. It is a child of the server: watched, started again, and ended with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cast_net::Interface;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::runfile::write_whole;
use crate::text::dhcp::ipxe_script;

/// What PCs are told, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyDhcp {
    /// Where dnsmasq's files are: `dnsmasq.conf` and the directory `tftp`.
    directory: PathBuf,
    interface: Interface,
    /// Base URL for clients, ending with `/`.
    web_url: String,
}

/// Debian's package `ipxe` has them: for BIOS and for UEFI.
const LOADERS: [&str; 2] = ["undionly.kpxe", "snponly.efi"];

/// Where that package has them.
const IPXE: &str = "/usr/lib/ipxe";

impl ProxyDhcp {
    /// On the card with this address; files are made below `data`.
    #[must_use]
    pub fn new(data: &Path, interface: Interface, web_url: String) -> Self {
        Self {
            directory: data.join("proxy-dhcp"),
            interface,
            web_url,
        }
    }

    fn tftp(&self) -> PathBuf {
        self.directory.join("tftp")
    }

    fn configuration_file(&self) -> PathBuf {
        self.directory.join("dnsmasq.conf")
    }

    /// dnsmasq's own configuration.
    #[must_use]
    pub fn configuration(&self) -> String {
        let Interface {
            name,
            addr,
            prefix_len,
            ..
        } = &self.interface;
        let network = dhcp::network(*addr, *prefix_len);
        format!(
            "# Written by fos-server at each start.\n\
             port=0\n\
             # {name}\n\
             listen-address={addr}\n\
             bind-dynamic\n\
             dhcp-range={network},proxy\n\
             dhcp-leasefile={}\n\
             dhcp-userclass=set:ipxe,iPXE\n\
             dhcp-boot=tag:ipxe,{SCRIPT},{addr},{addr}\n\
             pxe-prompt=\"fos\",0\n\
             pxe-service=tag:!ipxe,x86PC,\"fos\",undionly.kpxe,{addr}\n\
             pxe-service=tag:!ipxe,BC_EFI,\"fos\",snponly.efi,{addr}\n\
             pxe-service=tag:!ipxe,X86-64_EFI,\"fos\",snponly.efi,{addr}\n\
             pxe-service=tag:ipxe,x86PC,\"fos\",{SCRIPT},{addr}\n\
             pxe-service=tag:ipxe,BC_EFI,\"fos\",{SCRIPT},{addr}\n\
             pxe-service=tag:ipxe,X86-64_EFI,\"fos\",{SCRIPT},{addr}\n\
             enable-tftp\n\
             tftp-root={}\n\
             log-dhcp\n",
            self.directory.join("leases").display(),
            self.tftp().display()
        )
    }

    /// Writes everything that dnsmasq reads.
    ///
    /// # Errors
    /// iPXE is not installed, or the directory is not writable.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let tftp = self.tftp();
        fs::create_dir_all(&tftp).with_context(|| format!("making {}", tftp.display()))?;
        for name in LOADERS {
            let from = Path::new(IPXE).join(name);
            let bytes = fs::read(&from).with_context(|| {
                format!(
                    "reading {} (package ipxe), which PCs begin with",
                    from.display()
                )
            })?;
            write_whole(&tftp.join(name), &bytes)?;
        }
        write_whole(&tftp.join(SCRIPT), ipxe_script(&self.web_url).as_bytes())?;
        write_whole(&self.configuration_file(), self.configuration().as_bytes())
    }

    /// Runs dnsmasq, again whenever it ends. Never returns; ends dnsmasq when it is dropped.
    pub async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let begin = tokio::time::Instant::now();
            match self.run_once().await {
                Ok(status) => tracing::error!(
                    "proxy DHCP: dnsmasq has ended ({status}): PCs find no loader until it runs again; next try in {} s",
                    pause.as_secs()
                ),
                Err(error) => tracing::error!(
                    "proxy DHCP: {}; next try in {} s",
                    readable::chain(error.as_ref()),
                    pause.as_secs()
                ),
            }
            if begin.elapsed() > LONG {
                pause = FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn run_once(&self) -> anyhow::Result<std::process::ExitStatus> {
        let mut child = self.start()?;
        tracing::info!("proxy DHCP: dnsmasq answers on {}", self.interface);
        let words = child.stderr.take();
        let (status, ()) = tokio::join!(child.wait(), follow(words));
        status.context("waiting for dnsmasq")
    }

    fn start(&self) -> anyhow::Result<Child> {
        let program = initramfs::find_program("dnsmasq")
            .context("there is no dnsmasq (package dnsmasq-base)")?;
        let file = self.configuration_file();
        end_leftover(Path::new("/proc"), &file);
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten();
        let mut command = Command::new(program);
        command
            .arg("--keep-in-foreground")
            .arg(format!("--conf-file={}", file.display()))
            .args(["--log-facility=-", "--pid-file="]);
        // It would become another user, who may not read the files.
        if let Some(user) = user {
            command.arg(format!("--user={}", user.name));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command.spawn().context("starting dnsmasq")
    }

    /// Whether dnsmasq takes the configuration.
    ///
    /// # Errors
    /// With dnsmasq's own words.
    pub async fn check(&self) -> anyhow::Result<()> {
        let program = initramfs::find_program("dnsmasq")
            .context("there is no dnsmasq (package dnsmasq-base)")?;
        let mut command = Command::new(program);
        let file = format!("--conf-file={}", self.configuration_file().display());
        let output = command.args(["--test", &file]).output().await?;
        if !output.status.success() {
            bail!(
                "dnsmasq: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }
}

/// The first pause between two tries, and the last.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// After so long the next end is a new fault.
const LONG: Duration = Duration::from_secs(60);

/// The script that iPXE fetches first.
const SCRIPT: &str = "default.ipxe";

/// Puts dnsmasq's words into the log.
async fn follow(words: Option<impl AsyncRead + Unpin>) {
    let Some(words) = words else { return };
    let mut words = BufReader::new(words);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A longer line is cut into several.
        let read = (&mut words).take(LINE).read_until(b'\n', &mut line).await;
        match read {
            Ok(1..) => {
                let text = String::from_utf8_lossy(&line);
                tracing::info!(
                    "proxy DHCP: {}",
                    fog::encoding::printable(text.trim_end(), 500)
                );
            }
            Ok(0) | Err(_) => return,
        }
    }
}

const LINE: u64 = 1000;

/// Ends a dnsmasq of ours that a killed server has left, which would have the ports.
fn end_leftover(processes: &Path, file: &Path) {
    for pid in leftovers(processes, file) {
        tracing::warn!("proxy DHCP: ending a dnsmasq (pid {pid}) that an earlier server has left");
        let pid = nix::unistd::Pid::from_raw(pid);
        if let Err(error) = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM) {
            tracing::warn!("proxy DHCP: ending it: {error}");
        }
    }
}

/// Processes with this configuration file among their arguments.
fn leftovers(processes: &Path, file: &Path) -> Vec<i32> {
    let wanted = format!("--conf-file={}", file.display());
    let entries = fs::read_dir(processes).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let mut words = line.split(|byte| *byte == 0);
            let is_dnsmasq = words.next()?.ends_with(b"dnsmasq");
            (is_dnsmasq && words.any(|word| word == wanted.as_bytes())).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn proxy(data: &Path) -> ProxyDhcp {
        let interface = Interface {
            name: "eth0".into(),
            index: 2,
            addr: Ipv4Addr::new(10, 0, 77, 5),
            prefix_len: 20,
            broadcast: None,
            is_up: true,
            is_loopback: false,
        };
        ProxyDhcp::new(data, interface, "http://10.0.77.5/fog/".to_owned())
    }

    #[test]
    fn no_address_is_given_and_names_are_not_served() {
        let text = proxy("/var/lib/fos-server".as_ref()).configuration();
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "port=0",
            "dhcp-range=10.0.64.0,proxy",
            "tftp-root=/var/lib/fos-server/proxy-dhcp/tftp",
        ] {
            assert!(lines.contains(&line), "{text}");
        }
        let ranges = lines.iter().filter(|line| line.starts_with("dhcp-range"));
        assert_eq!(ranges.count(), 1);
    }

    #[tokio::test]
    async fn dnsmasq_takes_the_configuration() {
        if initramfs::find_program("dnsmasq").is_none() {
            assert!(std::env::var_os("FOS_TEST_REQUIRE_ALL").is_none());
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let proxy = proxy(dir.path());
        fs::create_dir_all(proxy.tftp()).unwrap();
        fs::write(proxy.configuration_file(), proxy.configuration()).unwrap();
        proxy.check().await.unwrap();
        fs::write(proxy.configuration_file(), "nonsense=1\n").unwrap();
        let error = proxy.check().await.unwrap_err().to_string();
        assert!(
            error.contains("nonsense") || error.contains("bad option"),
            "{error}"
        );
    }

    #[test]
    fn only_a_dnsmasq_with_our_file_is_a_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let process = |number: &str, words: &[&str]| {
            let place = dir.path().join(number);
            fs::create_dir(&place).unwrap();
            fs::write(place.join("cmdline"), words.join("\0") + "\0").unwrap();
        };
        process("4", &["/usr/sbin/dnsmasq", "--conf-file=/etc/dnsmasq.conf"]);
        process("5", &["vi", "--conf-file=/x/dnsmasq.conf"]);
        process(
            "6",
            &["/usr/sbin/dnsmasq", "-k", "--conf-file=/x/dnsmasq.conf"],
        );
        assert_eq!(leftovers(dir.path(), "/x/dnsmasq.conf".as_ref()), [6]);
    }
}
