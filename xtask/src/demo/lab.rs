//! A network of its own: a namespace with a bridge, where server and DHCP run, taps for virtual
//! machines, and further namespaces for clients without one. Nothing of it touches the host's network,
//! and dropping it removes it.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::process::Cmd;

/// Where server, DHCP and boot files are.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(crate) const BRIDGE: &str = "br0";
/// Where clients are that reach the server in a VLAN.
const TRUNK: &str = "trunk0";
/// Interface of a client that is a namespace.
pub(crate) const CLIENT_INTERFACE: &str = "eth0";
const PREFIX: &str = "fosdemo-";

/// The network. Drop it after everything that runs in it.
#[derive(Debug)]
pub(crate) struct Lab {
    name: String,
    /// Every namespace made, the server's first.
    namespaces: Vec<String>,
    /// Virtual machines hang on a bridge of their own.
    has_trunk: bool,
}

impl Lab {
    /// Makes the server's namespace and its bridge.
    pub(crate) fn new() -> Result<Self> {
        remove_stale();
        let name = format!("{PREFIX}{}", std::process::id());
        let mut lab = Self {
            name: name.clone(),
            namespaces: Vec::new(),
            has_trunk: false,
        };
        lab.add_namespace(&name)?;
        // With an address of its own: else it changes with the ports, and the clients' neighbour tables are wrong for
        // some seconds.
        let address = ["address", "02:00:0a:4d:00:01"];
        let made = ["link", "add", BRIDGE];
        lab.ip(&[&made[..], &address, &["type", "bridge"]].concat())?;
        // With a broadcast address, as every server has one: receivers ask there.
        let address = format!("{SERVER}/24");
        lab.ip(&["addr", "add", &address, "brd", "+", "dev", BRIDGE])?;
        lab.ip(&["-6", "addr", "add", "fd00:77::1/64", "dev", BRIDGE, "nodad"])?;
        lab.ip(&["link", "set", BRIDGE, "up"])?;
        Ok(lab)
    }

    /// The server's namespace.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Adds a tap for a virtual machine; answers its name.
    pub(crate) fn add_tap(&mut self, number: usize) -> Result<String> {
        let tap = format!("tap{number}");
        let bridge = if self.has_trunk { TRUNK } else { BRIDGE };
        self.plug_tap(&tap, bridge)?;
        Ok(tap)
    }

    /// From now on virtual machines hang on a bridge of their own, without a way to the server: what carries frames
    /// from one to the other has a tap on each. Answers their names, the server's first.
    pub(crate) fn add_trunk(&mut self) -> Result<[&'static str; 2]> {
        let taps = ["inner", "outer"];
        self.ip(&["link", "add", TRUNK, "type", "bridge"])?;
        self.ip(&["link", "set", TRUNK, "up"])?;
        self.plug_tap(taps[0], BRIDGE)?;
        self.plug_tap(taps[1], TRUNK)?;
        self.has_trunk = true;
        Ok(taps)
    }

    fn plug_tap(&self, tap: &str, bridge: &str) -> Result<()> {
        self.ip(&["tuntap", "add", tap, "mode", "tap"])?;
        self.ip(&["link", "set", tap, "master", bridge, "up"])
    }

    /// Adds a namespace with an interface on the bridge; answers its name.
    pub(crate) fn add_client(&mut self, number: usize, mac: &str) -> Result<String> {
        let name = format!("{}-c{number}", self.name);
        self.add_namespace(&name)?;
        let port = format!("port{number}");
        self.ip(&[
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            CLIENT_INTERFACE,
            "netns",
            &name,
        ])?;
        self.ip(&["link", "set", &port, "master", BRIDGE, "up"])?;
        let ip = |args: &[&str]| {
            Cmd::new("ip")
                .args(["-n", &name])
                .args(args)
                .quiet()
                .context("setting up a client's network")
        };
        ip(&["link", "set", CLIENT_INTERFACE, "address", mac, "up"])?;
        let addr = Ipv4Addr::new(10, 77, 0, u8::try_from(100 + number)?);
        ip(&[
            "addr",
            "add",
            &format!("{addr}/24"),
            "brd",
            "+",
            "dev",
            CLIENT_INTERFACE,
        ])?;
        ip(&["route", "add", "default", "via", &SERVER.to_string()])?;
        Ok(name)
    }

    fn add_namespace(&mut self, name: &str) -> Result<()> {
        Cmd::new("ip")
            .args(["netns", "add", name])
            .quiet()
            .context("making a network namespace (this needs root)")?;
        self.namespaces.push(name.to_owned());
        Cmd::new("ip")
            .args(["-n", name, "link", "set", "lo", "up"])
            .quiet()
    }

    /// `ip ARGS` in the server's namespace.
    fn ip(&self, args: &[&str]) -> Result<()> {
        Cmd::new("ip")
            .args(["-n", &self.name])
            .args(args)
            .quiet()
            .context("setting up the network")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The server's last: the clients' cables end in it.
        for name in self.namespaces.iter().rev() {
            remove(name);
        }
    }
}

fn remove(name: &str) {
    if let Err(error) = Cmd::new("ip").args(["netns", "del", name]).run_regardless() {
        eprintln!("xtask: removing network namespace {name}: {error:#}");
    }
}

/// Ends what still runs in a namespace whose maker is dead: dnsmasq outlives it, because a process that
/// changes its credentials loses its parent-death signal.
fn end_processes(name: &str) {
    let Ok(pids) = Cmd::new("ip").args(["netns", "pids", name]).output() else {
        return;
    };
    for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("xtask: ending process {pid} of {name}: {error}"),
        }
    }
}

/// Removes what a run left that was killed and could not clean up.
fn remove_stale() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let pid = rest.split('-').next().unwrap_or_default();
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            end_processes(&name);
            remove(&name);
        }
    }
}
