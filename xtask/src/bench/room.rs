//! A sender and its receivers, each in a network namespace of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    demo::lab::{CLIENT_INTERFACE, Lab},
    process::{Cmd, Running},
    signals::{self, wait_for},
};

/// The network. The first of `hosts` sends.
#[derive(Debug)]
pub(super) struct Room {
    lab: Lab,
    hosts: Vec<String>,
}

/// What a program has used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// From its start to its end.
    pub(super) wall: Duration,
    /// User and system time in seconds.
    pub(super) cpu: f64,
    /// Largest resident memory in bytes.
    pub(super) memory: u64,
}

/// A program under measurement. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Measured {
    label: String,
    running: Running,
    began: Instant,
    usage: PathBuf,
}

impl Room {
    pub(super) fn new(receivers: u8) -> Result<Self> {
        let mut lab = Lab::new()?;
        let mut hosts = Vec::new();
        for number in 0..=usize::from(receivers) {
            let mac = format!("52:54:00:be:00:{number:02x}");
            hosts.push(lab.add_client(number, &mac)?);
        }
        Ok(Self { lab, hosts })
    }

    pub(super) fn sender(&self) -> &str {
        self.hosts.first().map_or("", String::as_str)
    }

    /// Namespaces of the first `count` receivers.
    pub(super) fn receivers(&self, count: u8) -> &[String] {
        self.hosts.get(1..=usize::from(count)).unwrap_or_default()
    }

    /// A cable of `rate` bit/s behind the sender: tbf, with the 24 octets of an Ethernet frame
    /// that the kernel does not count. Datagrams leave one by one, as on most real cards.
    pub(super) fn limit(&self, rate: &str) -> Result<()> {
        self.single_datagrams_from_sender()?;
        Cmd::new("tc")
            .args(["qdisc", "replace", "dev", CLIENT_INTERFACE, "root", "tbf"])
            .args(["rate", rate, "burst", "64k", "latency", "50ms"])
            .args(["overhead", "24"])
            .in_namespace(self.sender())
            .quiet()
            .context("limiting the rate")
    }

    pub(super) fn unlimit(&self) -> Result<()> {
        Cmd::new("tc")
            .args(["qdisc", "del", "dev", CLIENT_INTERFACE, "root"])
            .in_namespace(self.sender())
            .quiet()?;
        self.segments_from_sender(64)
    }

    fn single_datagrams_from_sender(&self) -> Result<()> {
        self.segments_from_sender(1)
    }

    fn segments_from_sender(&self, count: u32) -> Result<()> {
        Cmd::new("ip")
            .args(["-n", self.sender(), "link", "set", CLIENT_INTERFACE])
            .args(["gso_max_segs", &count.to_string()])
            .quiet()
    }

    /// Each receiver loses `per_mille` of a thousand datagrams at random, by itself. They arrive one
    /// by one, as they would otherwise be lost in runs.
    pub(super) fn lose(&self, per_mille: u32) -> Result<()> {
        self.single_datagrams_from_sender()?;
        for host in self.hosts.iter().skip(1) {
            lose_at(host, PORT, per_mille)?;
        }
        Ok(())
    }

    /// The sender loses as much of what receivers say.
    pub(super) fn lose_answers(&self, per_mille: u32) -> Result<()> {
        lose_at(self.sender(), PORT + 1, per_mille)
    }

    /// Ends all loss.
    pub(super) fn lose_nothing(&self) -> Result<()> {
        for host in &self.hosts {
            // Adding it first makes deleting right whether it was there or not.
            Cmd::new("nft")
                .arg("add table inet loss; delete table inet loss")
                .in_namespace(host)
                .quiet()?;
        }
        self.segments_from_sender(64)
    }

    /// Pulls the cable of receiver `number` out of the switch.
    pub(super) fn unplug(&self, number: u8) -> Result<()> {
        self.set_port(number, "down")
    }

    pub(super) fn plug(&self, number: u8) -> Result<()> {
        self.set_port(number, "up")
    }

    fn set_port(&self, number: u8, state: &str) -> Result<()> {
        let port = format!("port{}", u32::from(number) + 1);
        Cmd::new("ip")
            .args(["-n", self.lab.name(), "link", "set", &port, state])
            .quiet()
    }

    /// Waits until a program in that namespace listens for a sender.
    pub(super) fn wait_for_receiver(&self, host: &str, process: &mut Measured) -> Result<()> {
        let port = format!(":{PORT:04X} ");
        wait_for("a receiver to listen", PATIENCE, || {
            process.running.must_run()?;
            let table = Cmd::new("cat")
                .arg("/proc/net/udp")
                .in_namespace(host)
                .output()?;
            Ok(table.contains(&port).then_some(()))
        })
    }

    /// A name for messages.
    pub(super) fn name(&self) -> &str {
        self.lab.name()
    }
}

fn lose_at(host: &str, port: u16, per_mille: u32) -> Result<()> {
    let rules = format!(
        "add table inet loss; \
         add chain inet loss in {{ type filter hook input priority 0; }}; \
         add rule inet loss in udp dport {port} numgen random mod 1000 < {per_mille} drop"
    );
    Cmd::new("nft")
        .arg(&rules)
        .in_namespace(host)
        .quiet()
        .context("making a host lose datagrams")
}

/// UDP port of the receivers; the sender's is the next.
const PORT: u16 = 9000;

/// Longer than anything here lasts that has no limit of its own, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

impl Measured {
    /// Starts `command` (program and arguments) in a namespace, or here.
    pub(super) fn start(
        label: &str,
        namespace: Option<&str>,
        command: &[String],
        directory: &Path,
    ) -> Result<Self> {
        let usage = directory.join(format!("{label}.usage"));
        let log = directory.join(format!("{label}.log"));
        for file in [&usage, &log] {
            fs::write(file, "").with_context(|| format!("writing {}", file.display()))?;
        }
        let mut cmd = Cmd::new("time")
            .args(["--quiet", "-f", "%U %S %M", "-o"])
            .arg(&usage)
            .arg("--")
            .args(command);
        if let Some(namespace) = namespace {
            cmd = cmd.in_namespace(namespace);
        }
        let began = Instant::now();
        let running = cmd.spawn(label, &log)?;
        Ok(Self {
            label: label.to_owned(),
            running,
            began,
            usage,
        })
    }

    /// When it was started.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Fails if it has ended.
    pub(super) fn must_run(&mut self) -> Result<()> {
        self.running.must_run()
    }

    /// Kills it at once.
    pub(super) fn kill(mut self) -> Result<()> {
        self.running.kill()
    }

    /// [`Self::wait_within`] the time that nothing here takes.
    pub(super) fn wait_all(all: Vec<Self>) -> Result<Vec<Usage>> {
        Self::wait_within(all, PATIENCE)
    }

    /// Waits for all of them, for `limit` at most; answers what each has used, in their order.
    ///
    /// # Errors
    ///
    /// One ended otherwise than with 0, or some had not ended after `limit`: with the last lines of
    /// their logs. The others are ended then.
    pub(super) fn wait_within(mut all: Vec<Self>, limit: Duration) -> Result<Vec<Usage>> {
        let begin = Instant::now();
        let mut ended: Vec<Option<Instant>> = vec![None; all.len()];
        while ended.contains(&None) {
            signals::check()?;
            for (measured, ended) in all.iter_mut().zip(&mut ended) {
                if ended.is_none()
                    && let Some(status) = measured.running.ended()?
                {
                    *ended = Some(Instant::now());
                    if !status.success() {
                        let log = measured.running.log_tail();
                        bail!("{} ended with {status}\n{log}", measured.label);
                    }
                }
            }
            if begin.elapsed() > limit {
                let waiting = all.iter().zip(&ended).filter(|(_, ended)| ended.is_none());
                let (names, logs): (Vec<&str>, String) = waiting
                    .map(|(measured, _)| (measured.label.as_str(), measured.running.log_tail()))
                    .unzip();
                let seconds = limit.as_secs();
                bail!("not ended after {seconds} s: {}\n{logs}", names.join(", "));
            }
            thread::sleep(LOOK);
        }
        all.iter()
            .zip(ended)
            .map(|(measured, ended)| {
                let wall = ended.map(|ended| ended.duration_since(measured.began));
                read_usage(&measured.usage, wall.unwrap_or_default())
            })
            .collect()
    }
}

/// How often ends are looked for: the error of short times.
const LOOK: Duration = Duration::from_millis(1);

fn read_usage(path: &Path, wall: Duration) -> Result<Usage> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let last = text.lines().last().unwrap_or_default();
    let numbers: Vec<f64> = last
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [user, system, kilobytes] = numbers[..] else {
        bail!("`time` wrote \"{last}\"");
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number of kilobytes that fits memory"
    )]
    let memory = kilobytes as u64 * 1024;
    Ok(Usage {
        wall,
        cpu: user + system,
        memory,
    })
}
