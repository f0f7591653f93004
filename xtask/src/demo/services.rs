//! What runs beside the clients: the server under test, and dnsmasq for DHCP and TFTP.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::{
    client::Firmware,
    lab::{BRIDGE, Lab, SERVER},
};
use crate::{
    process::{Cmd, Running},
    setup::{SHIM, SIGNED_GRUB},
    signals::wait_for,
};

/// Below the server's address, as FOG has it.
pub(crate) const WEB: &str = "/fog/";

/// `fos-server`: the running service and its command line.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Running,
    program: PathBuf,
    data: PathBuf,
    namespace: String,
    pub(crate) log: PathBuf,
}

/// How the service is started.
#[derive(Debug)]
pub(crate) struct ServerOptions<'a> {
    pub(crate) program: &'a Path,
    /// Directory of this run: the data directory and the log go below it.
    pub(crate) run_dir: &'a Path,
    pub(crate) images: &'a Path,
    pub(crate) boot: &'a Path,
    pub(crate) kernel_args: &'a str,
    pub(crate) max_bitrate: Option<&'a str>,
    /// The file with the password of the debug menu.
    pub(crate) debug_menu: Option<&'a Path>,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(crate) fn start(lab: &Lab, options: &ServerOptions<'_>) -> Result<Self> {
        let data = options.run_dir.join("server");
        let log = options.run_dir.join("server.log");
        let mut command = Cmd::new(options.program)
            .arg("--data")
            .arg(&data)
            .args(["serve", "--listen", &format!("{SERVER}:80")])
            .args(["--address", &SERVER.to_string(), "--interface", BRIDGE])
            .arg("--images")
            .arg(options.images)
            .arg("--boot")
            .arg(options.boot)
            .arg(format!("--kernel-args={}", options.kernel_args));
        if let Some(rate) = options.max_bitrate {
            command = command.args(["--max-bitrate", rate]);
        }
        if let Some(file) = options.debug_menu {
            command = command.arg("--debug-menu").arg(file);
        }
        let process = command.in_namespace(lab.name()).spawn("fos-server", &log)?;
        let mut server = Self {
            process,
            program: options.program.to_owned(),
            data,
            namespace: lab.name().to_owned(),
            log,
        };
        wait_for("fos-server to answer", Duration::from_secs(60), || {
            server.process.must_run()?;
            Ok(fetch(&server.namespace, "service/getversion.php").ok())
        })
        .with_context(|| server.process.log_tail())?;
        Ok(server)
    }

    /// The file with the address at which the first account is made.
    pub(crate) fn setup_link(&self) -> PathBuf {
        self.data.join("setup-link")
    }

    /// Runs a command of its command line; answers what that prints.
    pub(crate) fn command(&self, args: &[&str]) -> Result<String> {
        Cmd::new(&self.program)
            .arg("--data")
            .arg(&self.data)
            .args(args)
            .in_namespace(&self.namespace)
            .output()
    }

    /// What it says of itself.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        let text = self.command(&["status", "--json"])?;
        serde_json::from_str(&text).context("reading the answer of `fos-server status --json`")
    }
}

/// `GET path` below the server's address, asked from inside a namespace; answers the body.
///
/// # Errors
///
/// The server does not answer, or not with 200.
pub(crate) fn fetch(namespace: &str, path: &str) -> Result<String> {
    let name = Path::new("/run/netns").join(namespace);
    let request = format!("GET {WEB}{path} HTTP/1.0\r\nHost: {SERVER}\r\n\r\n");
    // A namespace is a thread's own matter, and this thread ends with the request.
    let worker = thread::spawn(move || -> Result<Vec<u8>> {
        let namespace = File::open(&name).with_context(|| format!("opening {}", name.display()))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
        let limit = Duration::from_secs(10);
        let mut stream = TcpStream::connect_timeout(&(SERVER, 80).into(), limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    });
    let Ok(answer) = worker.join() else {
        bail!("asking for {path} panicked");
    };
    let answer = answer.with_context(|| format!("asking for {path}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{path}: no HTTP answer"))?;
    if head.split_whitespace().nth(1) != Some("200") {
        bail!("{path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// DHCP and TFTP for PXE.
#[derive(Debug)]
pub(crate) struct Dnsmasq {
    pub(crate) process: Running,
    pub(crate) log: PathBuf,
}

impl Dnsmasq {
    /// For machines with this firmware.
    pub(crate) fn start(lab: &Lab, firmware: Firmware, run_dir: &Path) -> Result<Self> {
        let tftp = run_dir.join("tftp");
        fs::create_dir_all(tftp.join("grub"))?;
        if firmware == Firmware::SecureBoot {
            for (from, to) in [(SHIM, "shimx64.efi"), (SIGNED_GRUB, "grubx64.efi")] {
                fs::copy(from, tftp.join(to)).with_context(|| format!("copying {from}"))?;
            }
            fs::write(tftp.join("grub/grub.cfg"), grub_config())?;
        }
        fs::write(tftp.join("default.ipxe"), chain_script())?;
        let config = run_dir.join("dnsmasq.conf");
        let leases = run_dir.join("leases");
        fs::write(&config, dnsmasq_config(&tftp, &leases))?;
        let log = run_dir.join("dnsmasq.log");
        let process = Cmd::new("dnsmasq")
            .arg("--keep-in-foreground")
            .arg(format!("--conf-file={}", config.display()))
            .in_namespace(lab.name())
            .spawn("dnsmasq", &log)?;
        let mut dnsmasq = Self { process, log };
        wait_for("dnsmasq to start", Duration::from_secs(30), || {
            dnsmasq.process.must_run()?;
            let text = fs::read_to_string(&dnsmasq.log).unwrap_or_default();
            Ok(text.contains("started").then_some(()))
        })?;
        Ok(dnsmasq)
    }
}

/// What the client's console says when the server gave it no kernel.
pub(crate) const NOTHING_TO_BOOT: &str = "The server has nothing to boot";

/// The client's iPXE asks the server, as FOG's own `default.ipxe` lets it: iPXE for BIOS calls itself
/// `i386`, whatever the processor can do.
fn chain_script() -> String {
    format!(
        "#!ipxe\n\
         cpuid --ext 29 && set arch x86_64 || set arch ${{buildarch}}\n\
         :again\n\
         chain http://{SERVER}{WEB}service/ipxe/boot.php?mac0=${{net0/mac}}&arch=${{arch}}\
         &platform=${{platform}} ||\n\
         echo {NOTHING_TO_BOOT} for ${{net0/mac}} (${{arch}}); asking again\n\
         sleep 3\n\
         goto again\n"
    )
}

/// What shim's GRUB reads by TFTP, which is all that the signed one knows: the script of the machine, as
/// [`Client::boot`](super::client::Client::boot) leaves it there.
fn grub_config() -> String {
    format!(
        "source \"/grub/$net_default_mac.cfg\"\n\
         echo {NOTHING_TO_BOOT} for $net_default_mac\n\
         sleep 30\n"
    )
}

fn dnsmasq_config(tftp: &Path, leases: &Path) -> String {
    // Every network card of QEMU comes with an iPXE in its ROM, which gives option 175.
    // The router advertisements keep that iPXE from waiting for IPv6; without `no-ping` dnsmasq
    // probes every address for three seconds.
    format!(
        "port=0\n\
         interface={BRIDGE}\n\
         bind-interfaces\n\
         except-interface=lo\n\
         user=root\n\
         log-facility=-\n\
         log-dhcp\n\
         no-ping\n\
         dhcp-range=10.77.0.50,10.77.0.90,255.255.255.0,1h\n\
         dhcp-leasefile={}\n\
         enable-ra\n\
         dhcp-range=fd00:77::,ra-only\n\
         ra-param={BRIDGE},10,600\n\
         enable-tftp\n\
         tftp-root={}\n\
         dhcp-match=set:ipxe,175\n\
         dhcp-match=set:efi64,option:client-arch,7\n\
         dhcp-match=set:efi64,option:client-arch,9\n\
         dhcp-boot=tag:ipxe,default.ipxe\n\
         dhcp-boot=tag:efi64,tag:!ipxe,shimx64.efi\n",
        leases.display(),
        tftp.display()
    )
}
