//! `cargo xtask bench server`: what many hosts that ask over HTTP cost `fos-server`, and how long each
//! waits for its answer.
//!
//! Everything happens in a network namespace of our own, which has only a loopback interface: each host
//! has an address of 127.0.0.0/8. No data is sent: the session waits for receivers that never join.

mod load;
mod site;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, unshare};

use self::load::{Habit, Host, Style, Tally};
use crate::{
    demo::image,
    process::{Cmd, Running},
    programs::{self, Profile},
    setup::{self, Purpose},
    signals::{self, wait_for},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Hosts that check in, report and poll in one session
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=4000))]
    hosts: u16,
    /// Hosts that only wait
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=4000))]
    waiting: u16,
    /// Seconds that each case is measured
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=7200))]
    seconds: u64,
    /// Measure a whole site instead: 2000 hosts in 64 sessions, and the server on one processor, with SQLite and then
    /// with MariaDB
    #[arg(long)]
    site: bool,
    /// Take this program for the server, build none
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("this makes a network namespace: run it as root");
    }
    setup::install(&[Purpose::Build, Purpose::Image, Purpose::Network])?;
    if options.site {
        setup::install(&[Purpose::Tests])?;
    }
    let program = match &options.server {
        Some(server) => {
            fs::canonicalize(server).with_context(|| format!("looking for {}", server.display()))?
        }
        None => programs::build(Profile::Release)?.server,
    };
    super::before_others()?;
    // A namespace is a thread's own matter; programs and threads started from it inherit it.
    let options = options.clone();
    let work = thread::spawn(move || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        for command in [
            "link set lo up",
            "link set lo multicast on",
            "route add 224.0.0.0/4 dev lo",
        ] {
            Cmd::new("ip").args(command.split(' ')).quiet()?;
        }
        measure(&options, &program)
    });
    match work.join() {
        Ok(result) => result,
        Err(_) => bail!("measuring panicked"),
    }
}

fn measure(options: &Options, program: &Path) -> Result<()> {
    let image = image::prepare(image::Recipe::Plain)?;
    if options.site {
        return site::measure(options, program, &image.store);
    }
    let directory = super::directory_in_memory()?;
    let server = Server::start(program, directory.path(), &image.store, &Setup::default())?;
    let most = options.hosts.max(options.waiting);
    println!("==> registering {most} hosts");
    let mut hosts: Vec<Host> = (0..most).map(Host::new).collect();
    for host in &hosts {
        server.command(&["host", "add", &host.name, &host.mac])?;
    }

    let all = [Habit::CHECK_IN, Habit::PROGRESS, Habit::SESSION];
    let session = server.deploy(&mut hosts[..options.hosts.into()])?;
    let case = Case {
        title: format!(
            "{} hosts check in every 5 s, report every 3 s, poll every 2 s",
            options.hosts
        ),
        style: Style::Agent,
        habits: &all,
        goal: Goal {
            share: 15.0,
            p99: Some(Duration::from_millis(100)),
        },
    };
    let mut missed = Vec::new();
    let mut load = |hosts: &[Host], case: &Case<'_>| -> Result<()> {
        if server.load(hosts, case, options)? == Verdict::Missed {
            missed.push(case.title.clone());
        }
        Ok(())
    };
    load(&hosts[..options.hosts.into()], &case)?;
    server.command(&["cancel", &session])?;

    let session = server.deploy(&mut hosts[..options.waiting.into()])?;
    let waiting = &hosts[..options.waiting.into()];
    let goal = Goal {
        share: 2.0,
        p99: None,
    };
    let agents = Case {
        title: format!(
            "{} agents wait: they poll every 2 s or as the server says, report every 30 s",
            options.waiting
        ),
        style: Style::Agent,
        habits: &[Habit::SESSION, Habit::RARE_PROGRESS],
        goal,
    };
    // An agent waits after its check-in.
    load::check_in_once(waiting, server.address)?;
    load(waiting, &agents)?;
    let again = Case {
        title: format!(
            "{} stock clients check in again and again, 5 s after each answer, a connection each time",
            options.waiting
        ),
        style: Style::Stock,
        habits: &[Habit::CHECK_IN],
        goal,
    };
    load(waiting, &again)?;
    server.command(&["cancel", &session])?;
    let refused = Case {
        title: format!("{} stock clients do so and are not let in", options.waiting),
        habits: &[Habit::CHECK_IN_VAIN],
        ..again
    };
    load(waiting, &refused)?;
    if !missed.is_empty() {
        bail!("goals that were missed: {}", missed.join("; "));
    }
    Ok(())
}

/// Whether a case reached its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
}

impl Verdict {
    /// A request that failed costs little, and is quick.
    fn of(goal: Goal, share: f64, p99: Duration, failed: u64) -> Self {
        let is_late = goal.p99.is_some_and(|goal| p99 > goal);
        if is_late || share > goal.share || failed > 0 {
            Self::Missed
        } else {
            Self::Met
        }
    }
}

/// One measurement.
struct Case<'a> {
    title: String,
    style: Style,
    habits: &'a [Habit],
    goal: Goal,
}

#[derive(Clone, Copy)]
struct Goal {
    /// Percent of the machine.
    share: f64,
    p99: Option<Duration>,
}

struct Server {
    process: Running,
    program: PathBuf,
    data: PathBuf,
    address: SocketAddr,
    database: Option<String>,
}

/// What a server is started with.
#[derive(Default)]
struct Setup {
    /// The only processor that it runs on.
    core: Option<usize>,
    /// A database in place of its own file.
    database: Option<String>,
}

impl Server {
    fn start(program: &Path, directory: &Path, store: &Path, setup: &Setup) -> Result<Self> {
        let [data, boot, images] = ["data", "boot", "images"].map(|name| directory.join(name));
        for made in [&boot, &images] {
            fs::create_dir(made).with_context(|| format!("making {}", made.display()))?;
        }
        for file in ["bzImage", "init.xz"] {
            fs::write(boot.join(file), "not booted here").context("writing boot files")?;
        }
        image::copy_store(store, &images.join(IMAGE))?;
        let address = SocketAddr::from((ADDRESS, 80));
        let command = match setup.core {
            Some(core) => Cmd::new("taskset")
                .args(["-c", &core.to_string()])
                .arg(program),
            None => Cmd::new(program),
        };
        let process = with_database(command, setup.database.as_deref())
            .arg("--data")
            .arg(&data)
            .args(["serve", "--listen", &address.to_string()])
            .args(["--address", &ADDRESS.to_string(), "--images"])
            .arg(&images)
            .arg("--boot")
            .arg(&boot)
            .spawn("fos-server", &directory.join("server.log"))?;
        let mut server = Self {
            process,
            program: program.to_owned(),
            data,
            address,
            database: setup.database.clone(),
        };
        wait_for("fos-server to answer", Duration::from_secs(60), || {
            server.process.must_run()?;
            Ok(load::is_there(address).then_some(()))
        })
        .with_context(|| server.process.log_tail())?;
        server.command(&["image", "add", IMAGE, "--type", "mps"])?;
        Ok(server)
    }

    fn command(&self, args: &[&str]) -> Result<String> {
        with_database(Cmd::new(&self.program), self.database.as_deref())
            .arg("--data")
            .arg(&self.data)
            .args(args)
            .output()
    }

    /// A session of these hosts, which then ask for their boot scripts; answers its number.
    fn deploy(&self, hosts: &mut [Host]) -> Result<String> {
        let names = hosts.iter().map(|host| host.name.as_str());
        let mut args = vec!["deploy", IMAGE, "--max-wait", "120m"];
        args.extend(names);
        let printed = self.command(&args)?;
        let number = printed.lines().next().unwrap_or_default().trim();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            bail!("`fos-server deploy` printed no number of a session: {printed}");
        }
        for host in hosts {
            signals::check()?;
            host.boot(self.address)
                .with_context(|| format!("the boot script of {}", host.name))?;
        }
        Ok(number.to_owned())
    }

    /// Lets the hosts ask for a while, and prints what it cost.
    fn load(&self, hosts: &[Host], case: &Case<'_>, options: &Options) -> Result<Verdict> {
        println!("==> {}", case.title);
        let warm_up = match case.style {
            Style::Agent => WARM_UP,
            Style::Stock => WARM_UP_STOCK,
        };
        let begin = Instant::now() + warm_up;
        let end = begin + Duration::from_secs(options.seconds);
        let asking = load::start(hosts, self.address, case.style, case.habits, begin..end)?;
        let pid = self.process.id();
        sleep_until(begin)?;
        let before = cpu_seconds(pid)?;
        let first = memory(pid, "VmRSS:")?;
        sleep_until(end)?;
        let used = cpu_seconds(pid)? - before;
        let last = memory(pid, "VmRSS:")?;
        let tally = asking.finish()?;
        let verdict = print(&tally, case, used / end.duration_since(begin).as_secs_f64())?;
        println!(
            "    memory {} MB at the beginning, {} MB at the end, at most {} MB",
            first / 1000,
            last / 1000,
            memory(pid, "VmHWM:")? / 1000
        );
        Ok(verdict)
    }
}

fn with_database(command: Cmd, database: Option<&str>) -> Cmd {
    match database {
        Some(database) => command.env("FOS_SERVER_DATABASE", database),
        None => command,
    }
}

/// Cores that were in use, on average.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print(tally: &Tally, case: &Case<'_>, cores: f64) -> Result<Verdict> {
    let machine = thread::available_parallelism().context("counting processors")?;
    let share = cores * 100.0 / machine.get() as f64;
    for (name, times) in &tally.times {
        println!("    {name:<9} {}", line(times));
    }
    let whole = tally.all();
    println!("    {:<9} {}", "all", line(&whole));
    println!(
        "    server: {:.1} % of a core, {share:.1} % of the machine ({machine} cores)",
        cores * 100.0
    );
    let verdict = Verdict::of(case.goal, share, percentile(&whole, 99), tally.failed);
    let met = match verdict {
        Verdict::Missed => "MISSED",
        Verdict::Met => "met",
    };
    let p99 = case.goal.p99.map_or_else(String::new, |goal| {
        format!(", p99 at most {} ms", goal.as_millis())
    });
    println!(
        "    goal: at most {} % of the machine{p99}: {met}",
        case.goal.share
    );
    if tally.failed > 0 {
        println!(
            "    {} requests FAILED, the first: {}",
            tally.failed, tally.first_failure
        );
    }
    Ok(verdict)
}

/// What became of some requests.
fn line(sorted: &[Duration]) -> String {
    let [p50, p99, most] = [50, 99, 100].map(|percent| percentile(sorted, percent));
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    format!(
        "{:>6} answers: p50 {}, p99 {}, max {}",
        sorted.len(),
        ms(p50),
        ms(p99),
        ms(most)
    )
}

/// The time within which so many per cent were answered.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

fn sleep_until(time: Instant) -> Result<()> {
    loop {
        signals::check()?;
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(signals::POLL));
    }
}

/// User and system time of a process with all its threads.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let ticks = cpu_ticks(&text).with_context(|| format!("{path} is odd: {text}"))?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Fields 14 and 15. The second one is the program's name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// `USER_HZ`, part of the kernel's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// A line of a process's status that is a size, in kB: its resident memory, or the most that it had.
fn memory(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("{path} has no {field}"))
}

const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
const IMAGE: &str = "bench";

/// Until all hosts have asked at least once.
const WARM_UP: Duration = Duration::from_secs(6);

/// The same, and until the server knows that they ask again and again.
const WARM_UP_STOCK: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 100), Duration::from_millis(200));
        assert_eq!(percentile(&times[..1], 50), Duration::from_millis(1));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn a_goal_is_missed_by_time_work_or_failure() {
        let goal = Goal {
            share: 15.0,
            p99: Some(Duration::from_millis(100)),
        };
        let of = |share, ms, failed| Verdict::of(goal, share, Duration::from_millis(ms), failed);
        assert_eq!(of(15.0, 100, 0), Verdict::Met);
        for missed in [of(15.1, 100, 0), of(15.0, 101, 0), of(1.0, 1, 1)] {
            assert_eq!(missed, Verdict::Missed);
        }
    }

    #[test]
    fn cpu_time_is_found_whatever_the_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 123 456 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(579));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }
}
