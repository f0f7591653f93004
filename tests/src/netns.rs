//! Networks of namespaces: a bridge, and hosts that hang on it. No packet leaves them.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything here may take before the test is failed. Not a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A bridge in a namespace of its own, with hosts 10.99.0.1, 10.99.0.2 and so on, each a namespace
/// with one interface `eth0`. Everything goes when it is dropped, also when a test panics.
#[derive(Debug)]
pub struct Lab {
    switch: String,
    hosts: Vec<Host>,
}

/// A host of a [`Lab`].
#[derive(Debug)]
pub struct Host {
    namespace: String,
    addr: Ipv4Addr,
    /// The namespace with the other end of its cable, and the name of that end.
    port: (String, String),
}

impl Lab {
    /// Builds a network; `None` when this machine cannot, which has been told.
    ///
    /// # Panics
    /// Something is missing and nothing may be skipped, or the kernel refuses.
    #[must_use]
    #[track_caller]
    pub fn new(hosts: u8, tools: &[&str]) -> Option<Self> {
        if !crate::need::root_and_tools(&[&["ip"], tools].concat()) {
            return None;
        }
        remove_leftovers();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        // Exists from here on, so that a failure half way is cleaned up too.
        let mut lab = Self {
            switch: format!("{prefix}-sw"),
            hosts: Vec::new(),
        };
        ip(&format!("netns add {}", lab.switch));
        let switch = &lab.switch;
        ip_batch(
            switch,
            "link set lo up\nlink add br0 type bridge\nlink set br0 up\n",
        );
        for number in 1..=hosts {
            let host = Host {
                namespace: format!("{prefix}-h{number}"),
                addr: Ipv4Addr::new(10, 99, 0, number),
                port: (lab.switch.clone(), format!("p{number}")),
            };
            let namespace = host.namespace.clone();
            let addr = host.addr;
            lab.hosts.push(host);
            ip(&format!("netns add {namespace}"));
            let switch = &lab.switch;
            ip_batch(
                switch,
                &format!(
                    "link add p{number} type veth peer name eth0 netns {namespace}\n\
                     link set p{number} master br0 up\n"
                ),
            );
            ip_batch(
                &namespace,
                &format!("link set lo up\naddr add {addr}/24 brd + dev eth0\nlink set eth0 up\n"),
            );
        }
        Some(lab)
    }

    /// Moves the cable of host `number` to a second network: host 1 gets `eth1` with 10.98.0.1 there,
    /// the moved one has 10.98.0.`number`. Once for each lab.
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn move_to_second_network(&mut self, number: u8) {
        let server = self.host(1).namespace.clone();
        ip_batch(
            &self.switch,
            &format!(
                "link add br1 type bridge\nlink set br1 up\n\
                 link add q1 type veth peer name eth1 netns {server}\n\
                 link set q1 master br1 up\nlink set p{number} master br1\n"
            ),
        );
        ip_batch(
            &server,
            "addr add 10.98.0.1/24 brd + dev eth1\nlink set eth1 up\n",
        );
        let moved = &mut self.hosts[usize::from(number) - 1];
        moved.addr = Ipv4Addr::new(10, 98, 0, number);
        let addr = moved.addr;
        moved.ip(&format!(
            "addr flush dev eth0\naddr add {addr}/24 brd + dev eth0\n"
        ));
    }

    /// Gives host `number` another card of this name, with a cable to another switch, which is made if there is none of
    /// this name. It has no address, and is up.
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn add_cable(&self, number: u8, card: &str, switch: &str) {
        let host = &self.host(number.into()).namespace;
        let mut look = self.on_switch("ip");
        let known = look.args(["link", "show", "dev", switch]).output().unwrap();
        let make = match known.status.success() {
            true => String::new(),
            false => format!("link add {switch} type bridge\nlink set {switch} up\n"),
        };
        let port = format!("{switch}p{number}");
        ip_batch(
            &self.switch,
            &format!(
                "{make}link add {port} type veth peer name {card} netns {host}\n\
                 link set {port} master {switch} up\n"
            ),
        );
        ip_batch(host, &format!("link set {card} up\n"));
    }

    /// What the switch does with the port of host `number`: `forwarding`, `listening` and so on.
    ///
    /// # Panics
    /// There is no such port.
    #[must_use]
    #[track_caller]
    pub fn port_state(&self, number: u8) -> String {
        let mut command = self.on_switch("bridge");
        let output = command.args(["link", "show", "dev", &format!("p{number}")]);
        let output = output.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace().skip_while(|word| *word != "state");
        let state = words.nth(1);
        state
            .unwrap_or_else(|| panic!("a state in: {text}"))
            .to_owned()
    }

    /// Changes the settings of the switch, in the words that `ip` has for a bridge.
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn set_switch(&self, settings: &str) {
        ip_batch(
            &self.switch,
            &format!("link set br0 type bridge {settings}\n"),
        );
    }

    /// Ends what the switch says by its ports of itself (IPv6).
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn quiet_switch(&self) {
        let setting = "net.ipv6.conf.all.disable_ipv6=1";
        ip(&format!("netns exec {} sysctl -qw {setting}", self.switch));
    }

    /// A command that runs where the cables of all hosts end.
    #[must_use]
    pub fn on_switch(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.switch])
            .arg(program.as_ref());
        command
    }

    /// Adds a port for a virtual machine to the switch; answers its name there.
    ///
    /// # Panics
    /// The kernel refuses.
    #[must_use]
    #[track_caller]
    pub fn add_tap(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tap = format!("tap{}", COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&format!("-n {} tuntap add dev {tap} mode tap", self.switch));
        ip(&format!("-n {} link set {tap} master br0 up", self.switch));
        tap
    }

    /// The host 10.99.0.`number`, counted from 1.
    ///
    /// # Panics
    /// There are fewer.
    #[must_use]
    #[track_caller]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in self
            .hosts
            .iter()
            .map(|host| &host.namespace)
            .chain([&self.switch])
        {
            remove(namespace);
        }
    }
}

impl Host {
    /// Its address on `eth0`.
    #[must_use]
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// Name of its namespace, below `/run/netns`.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command that runs on this host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program.as_ref());
        command
    }

    /// Runs lines of `ip -batch` on this host.
    ///
    /// # Panics
    /// `ip` refuses them.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        ip_batch(&self.namespace, lines);
    }

    /// Puts the cable of `eth0` in, or pulls it out at the other end.
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn plug(&self, is_in: bool) {
        let (namespace, port) = &self.port;
        let state = if is_in { "up" } else { "down" };
        ip_batch(namespace, &format!("link set {port} {state}\n"));
    }

    /// Changes the settings of the switch's port that this host hangs on, in the words of `bridge link`.
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn set_port(&self, settings: &str) {
        let (switch, port) = &self.port;
        let mut command = Command::new("bridge");
        command.args(["-n", switch, "-batch", "-"]);
        feed(&mut command, &format!("link set dev {port} {settings}\n"));
    }

    /// Loads rules into this host's packet filter, in the words of `nft`.
    ///
    /// # Panics
    /// `nft` refuses them.
    #[track_caller]
    pub fn nft(&self, rules: &str) {
        let mut command = self.command("nft");
        feed(command.args(["-f", "-"]), rules);
    }

    /// Makes this host lose `per_mille` of a thousand UDP datagrams that match `what` (`udp dport
    /// 9000`) on their way in, at random, unseen by whoever sent them.
    ///
    /// # Panics
    /// `nft` refuses.
    #[track_caller]
    pub fn lose(&self, what: &str, per_mille: u16) {
        // Datagrams that left as segments of one would be lost together, as on no real network.
        let (switch, port) = &self.port;
        ip(&format!("-n {switch} link set {port} gso_max_segs 1"));
        self.nft(&format!(
            "add table inet loss
             add chain inet loss in {{ type filter hook input priority 0; }}
             add rule inet loss in {what} numgen random mod 1000 < {per_mille} counter drop\n"
        ));
    }

    /// Makes the port of the switch that this host hangs on pass so much (in the words of `tc`), with a queue
    /// of 64 KB before it.
    ///
    /// # Panics
    /// `tc` refuses.
    #[track_caller]
    pub fn limit(&self, rate: &str) {
        let (switch, port) = &self.port;
        // A switch sees no segments of many datagrams.
        ip(&format!("-n {switch} link set {port} gso_max_segs 1"));
        let line = format!(
            "netns exec {switch} tc qdisc replace dev {port} root tbf rate {rate} burst 16kb limit 64kb"
        );
        ip(&line);
    }

    /// Bytes that have left this host by `eth0`, with their headers.
    ///
    /// # Panics
    /// The namespace is gone.
    #[must_use]
    #[track_caller]
    pub fn sent_bytes(&self) -> u64 {
        let path = "/sys/class/net/eth0/statistics/tx_bytes";
        let output = self.command("cat").arg(path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim()
            .parse()
            .unwrap_or_else(|_| panic!("a number in {path}: {text}"))
    }

    /// How many packets [`lose`](Self::lose) has taken away.
    ///
    /// # Panics
    /// Without such rules.
    #[must_use]
    #[track_caller]
    pub fn lost(&self) -> u64 {
        self.packets("loss")
    }

    /// Counts from here on the datagrams that match `what` and reach this host, [`lose`](Self::lose)
    /// notwithstanding.
    ///
    /// # Panics
    /// `nft` refuses.
    #[track_caller]
    pub fn count(&self, what: &str) {
        self.nft(&format!(
            "add table inet arrival
             add chain inet arrival in {{ type filter hook input priority 10; }}
             add rule inet arrival in {what} counter\n"
        ));
    }

    /// How many packets [`count`](Self::count) has seen.
    ///
    /// # Panics
    /// Without such rules.
    #[must_use]
    #[track_caller]
    pub fn counted(&self) -> u64 {
        self.packets("arrival")
    }

    #[track_caller]
    fn packets(&self, table: &str) -> u64 {
        let output = self
            .command("nft")
            .args(["list", "table", "inet", table])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "table {table}: {said}");
        let counts = text.split("counter packets ").skip(1).map(|rest| {
            let digits = rest.split(' ').next().unwrap_or_default();
            digits
                .parse::<u64>()
                .unwrap_or_else(|_| panic!("a count in {text}"))
        });
        counts.sum()
    }

    /// Waits until a program on this host has opened UDP port `port`.
    ///
    /// # Panics
    /// None has within [`PATIENCE`].
    #[track_caller]
    pub fn wait_for_port(&self, port: u16) {
        wait_for(&format!("UDP port {port} on {}", self.addr), || {
            self.has_port(port)
        });
    }

    /// Whether a program on this host has UDP port `port` open.
    ///
    /// # Panics
    /// The namespace is gone.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        let output = self.command("cat").arg("/proc/net/udp").output().unwrap();
        let wanted = format!(":{port:04X}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().skip(1).any(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|local| local.ends_with(&wanted))
        })
    }
}

/// A program that runs beside the test; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: PathBuf,
    messages: PathBuf,
}

impl Running {
    /// Starts `command`, standard input empty, standard output into `output`, messages beside it.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command, output: &Path) -> Self {
        Self::start_fed(name, command, Stdio::null(), output)
    }

    /// The same with this standard input.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start_fed(
        name: &str,
        command: &mut Command,
        input: impl Into<Stdio>,
        output: &Path,
    ) -> Self {
        let messages = output.with_extension("stderr");
        let child = command
            .stdin(input)
            .stdout(File::create(output).unwrap())
            .stderr(File::create(&messages).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            output: output.to_owned(),
            messages,
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It has not ended within [`PATIENCE`]; its messages are in the panic.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            let name = &self.name;
            assert!(
                Instant::now() < deadline,
                "{name} does not end; it said:\n{}",
                self.messages()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// The kernel does not say.
    #[must_use]
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, which must be status 0; answers what it wrote on standard output.
    ///
    /// # Panics
    /// It fails or does not end.
    #[track_caller]
    pub fn succeed(&mut self) -> Vec<u8> {
        let status = self.wait();
        assert!(
            status.success(),
            "{} ended with {status}; it said:\n{}",
            self.name,
            self.messages()
        );
        fs::read(&self.output).unwrap()
    }

    /// Waits until `words` appear in its messages.
    ///
    /// # Panics
    /// They do not within [`PATIENCE`], or it ends without having said them.
    #[track_caller]
    pub fn wait_for_message(&mut self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let has_ended = self.child.try_wait().unwrap().is_some();
            let messages = self.messages();
            if messages.contains(words) {
                return;
            }
            let is_late = has_ended || Instant::now() > deadline;
            assert!(
                !is_late,
                "{} never said \"{words}\" but:\n{messages}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has said on standard error so far.
    ///
    /// # Panics
    /// The file is gone.
    #[must_use]
    pub fn messages(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.messages).unwrap()).into_owned()
    }

    /// What it has written on standard output so far, as text.
    ///
    /// # Panics
    /// The file is gone.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap()).into_owned()
    }

    /// Bytes it has written on standard output so far.
    ///
    /// # Panics
    /// The file is gone.
    #[must_use]
    pub fn output_len(&self) -> u64 {
        fs::metadata(&self.output).unwrap().len()
    }

    /// Tells how it stood when the test failed: the fault may be in another program than the one
    /// that was waited for.
    #[expect(clippy::print_stderr, reason = "for whoever reads the failure")]
    fn tell(&mut self, messages: &str) {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "still running".into(),
        };
        eprintln!("--- {} ({state}) had said:\n{messages}", self.name);
    }

    /// Number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by the name that `kill` has for it.
    ///
    /// # Panics
    /// The kernel refuses.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.id().to_string()])
            .status();
        assert!(status.unwrap().success(), "signal {name} to {}", self.name);
    }

    /// Ends it at once, as a power failure would.
    ///
    /// # Panics
    /// The kernel refuses.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(messages) = fs::read(&self.messages)
        {
            self.tell(&String::from_utf8_lossy(&messages));
        }
        // It may have ended; and after a panic nothing more can be done about a failure here.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until `is_true`, which is asked again and again.
///
/// # Panics
/// It is not within [`PATIENCE`].
#[track_caller]
pub fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names of all namespaces begin so; the number of the owning process follows.
const PREFIX: &str = "foslab-";

#[track_caller]
fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {arguments}: {said}");
}

#[track_caller]
fn ip_batch(namespace: &str, lines: &str) {
    feed(
        Command::new("ip").args(["-n", namespace, "-batch", "-"]),
        lines,
    );
}

#[track_caller]
fn feed(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?} with\n{input}: {said}");
}

/// Deletes a namespace with what still runs in it.
fn remove(namespace: &str) {
    if let Ok(output) = Command::new("ip")
        .args(["netns", "pids", namespace])
        .output()
    {
        let pids = String::from_utf8_lossy(&output.stdout).into_owned();
        for pid in pids.split_whitespace() {
            drop(Command::new("kill").args(["-KILL", pid]).status());
        }
    }
    drop(
        Command::new("ip")
            .args(["netns", "del", namespace])
            .stderr(Stdio::null())
            .status(),
    );
}

/// Removes namespaces of test processes that were killed.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if let Some(owner) = owner.and_then(|digits| digits.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{owner}")).exists()
        {
            remove(&name);
        }
    }
}
