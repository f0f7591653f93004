//! A stream to many receivers.

use std::{cell::Cell, path::Path};

use anyhow::{Context as _, Result};

use super::{
    Plan,
    room::{Measured, Room, Usage},
    table::{Report, Row},
};
use crate::{demo::lab::CLIENT_INTERFACE, signals};

/// Whose programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Original,
    Ours,
}

/// One transfer.
#[derive(Clone, Copy, Debug)]
struct Run<'a> {
    receivers: u8,
    file: &'a Path,
    len: u64,
}

/// What a transfer took.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// MB/s by the time from the sender's start to its end.
    rate: f64,
    /// CPU seconds of the sender for a GB.
    sender_cpu: f64,
    /// CPU seconds of one receiver for a GB.
    receiver_cpu: f64,
    /// Largest memory of the sender and of a receiver, in MB.
    sender_memory: f64,
    receiver_memory: f64,
    /// Seconds until the last program has ended.
    whole: f64,
}

pub(super) fn measure(
    agent: &Path,
    plan: &Plan,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    let room = Room::new(MOST)?;
    println!("==> streams in {}", room.name());
    let long = directory.join("long");
    super::random_file(&long, plan.size)?;
    let short = directory.join("short");
    super::random_file(&short, TINY)?;
    let bench = Bench {
        agent,
        plan,
        room: &room,
        directory,
        failures: Cell::new(0),
    };
    let long = |receivers| Run {
        receivers,
        file: &long,
        len: plan.size,
    };

    for receivers in [1, 4, MOST] {
        let [original, ours] = bench.both(&long(receivers))?;
        let title = format!("no rate limit, {}", people(receivers));
        report.add(Row::higher(
            &title,
            "MB/s",
            original.rate,
            ours.rate,
            Some(3.0),
        ));
        report.add(Row::lower(
            &format!("{title}: sender"),
            "CPU s/GB",
            original.sender_cpu,
            ours.sender_cpu,
            Some(1.0 / 3.0),
        ));
        report.add(Row::lower(
            &format!("{title}: a receiver"),
            "CPU s/GB",
            original.receiver_cpu,
            ours.receiver_cpu,
            None,
        ));
        report.add(Row::lower(
            &format!("{title}: sender"),
            "MB of memory",
            original.sender_memory,
            ours.sender_memory,
            None,
        ));
        report.add(Row::lower(
            &format!("{title}: a receiver"),
            "MB of memory",
            original.receiver_memory,
            ours.receiver_memory,
            None,
        ));
    }

    let tiny = Run {
        receivers: 1,
        file: &short,
        len: TINY,
    };
    let [original, ours] = bench.both(&tiny)?;
    let title = "4000 bytes, start of the sender to the end of both";
    report.add(Row::lower(title, "s", original.whole, ours.whole, None).limit_at_most(0.2));

    for receivers in [1, 4, MOST] {
        room.limit("1gbit")?;
        let figures = bench.both(&long(receivers));
        room.unlimit()?;
        let [original, ours] = figures?;
        let title = format!("cable of 1 Gbit/s, {}", people(receivers));
        let row = Row::higher(&title, "MB/s", original.rate, ours.rate, None);
        report.add(row.limit_at_least(0.97 * 118.3));
    }

    // What a lost datagram costs is told by the same cable without loss.
    let mut without = None;
    for (per_mille, share) in [(0, None), (10, Some(0.95)), (50, Some(0.7))] {
        room.limit("1gbit")?;
        room.lose(per_mille)?;
        let figures = bench.median(Kind::Ours, &long(MOST));
        room.lose_nothing()?;
        room.unlimit()?;
        let rate = figures?.rate;
        let without = *without.get_or_insert(rate);
        let loss = per_mille / 10;
        let title = format!("the same cable, {}, {loss} % loss", people(MOST));
        let row = Row::ours(&title, "MB/s", rate);
        report.add(match share {
            Some(share) => row.limit_at_least(share * without),
            None => row,
        });
    }
    report.note_failures(bench.failures.get());
    Ok(())
}

/// Receivers of the largest transfer.
const MOST: u8 = 8;

/// Bytes of the short stream.
const TINY: u64 = 4000;

fn people(receivers: u8) -> String {
    match receivers {
        1 => "1 receiver".into(),
        more => format!("{more} receivers"),
    }
}

/// How often a transfer of the originals may fail before that is an error.
const ORIGINAL_TRIES: u32 = 5;

struct Bench<'a> {
    agent: &'a Path,
    plan: &'a Plan,
    room: &'a Room,
    directory: &'a Path,
    /// Transfers of the originals that failed and were repeated.
    failures: Cell<u32>,
}

impl Bench<'_> {
    /// Originals and ours, alternately.
    fn both(&self, run: &Run<'_>) -> Result<[Figures; 2]> {
        let (mut originals, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..self.plan.rounds {
            originals.push(self.once(Kind::Original, run)?);
            ours.push(self.once(Kind::Ours, run)?);
        }
        Ok([Figures::median(&originals), Figures::median(&ours)])
    }

    fn median(&self, kind: Kind, run: &Run<'_>) -> Result<Figures> {
        let all: Result<Vec<_>> = (0..self.plan.rounds)
            .map(|_| self.once(kind, run))
            .collect();
        Ok(Figures::median(&all?))
    }

    fn once(&self, kind: Kind, run: &Run<'_>) -> Result<Figures> {
        let mut tries = 0;
        let figures = loop {
            let result = self
                .transfer(kind, run)
                .with_context(|| format!("{kind:?}, {}", people(run.receivers)));
            signals::check()?;
            tries += 1;
            match result {
                Ok(figures) => break figures,
                // Without loss, too, an original receiver may miss two slices and give up.
                Err(error) if kind == Kind::Original && tries < ORIGINAL_TRIES => {
                    self.failures.set(self.failures.get() + 1);
                    println!("    once more: {error:#}");
                }
                Err(error) => return Err(error),
            }
        };
        println!(
            "    {kind:?}, {}, {} bytes: {:.1} MB/s, {:.3} s until all had ended",
            people(run.receivers),
            run.len,
            figures.rate,
            figures.whole
        );
        Ok(figures)
    }

    fn transfer(&self, kind: Kind, run: &Run<'_>) -> Result<Figures> {
        let program = |name: &str| match kind {
            Kind::Original => vec![name.to_owned()],
            Kind::Ours => vec![self.agent.display().to_string(), name.to_owned()],
        };
        let with = |mut program: Vec<String>, options: &str| {
            program.extend(options.split_whitespace().map(str::to_owned));
            program
        };
        let mut receivers = Vec::new();
        for (number, host) in self.room.receivers(run.receivers).iter().enumerate() {
            let options = format!("--nokbd --interface {CLIENT_INTERFACE} --file /dev/null");
            let command = with(program("udp-receiver"), &options);
            let label = format!("receiver-{number}");
            let mut receiver = Measured::start(&label, Some(host), &command, self.directory)?;
            self.room.wait_for_receiver(host, &mut receiver)?;
            receivers.push(receiver);
        }
        let options = format!(
            "--nokbd --interface {CLIENT_INTERFACE} --full-duplex --nopointopoint \
             --min-receivers {} {} --file {}",
            run.receivers,
            // Without it the original waits for two seconds first: the short stream shows that.
            if run.len > TINY {
                "--rexmit-hello-interval 100"
            } else {
                ""
            },
            run.file.display()
        );
        let command = with(program("udp-sender"), &options);
        let host = Some(self.room.sender());
        let began = std::time::Instant::now();
        let mut all = vec![Measured::start("sender", host, &command, self.directory)?];
        all.append(&mut receivers);
        let usages = Measured::wait_all(all)?;
        Ok(Figures::new(
            run.len,
            &usages,
            began.elapsed().as_secs_f64(),
        ))
    }
}

impl Figures {
    /// The first of `usages` is the sender's.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn new(len: u64, usages: &[Usage], whole: f64) -> Self {
        let (sender, receivers) = match usages.split_first() {
            Some((sender, receivers)) => (*sender, receivers),
            None => (Usage::default(), usages),
        };
        let len = len as f64;
        let count = receivers.len().max(1) as f64;
        let cpu: f64 = receivers.iter().map(|usage| usage.cpu).sum();
        let memory = receivers.iter().map(|usage| usage.memory).max();
        Self {
            rate: len / 1e6 / sender.wall.as_secs_f64(),
            sender_cpu: sender.cpu / (len / 1e9),
            receiver_cpu: cpu / count / (len / 1e9),
            sender_memory: sender.memory as f64 / 1e6,
            receiver_memory: memory.unwrap_or(0) as f64 / 1e6,
            whole,
        }
    }

    /// Each figure's own median.
    fn median(all: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| super::table::median(all.iter().map(figure));
        Self {
            rate: of(|all| all.rate),
            sender_cpu: of(|all| all.sender_cpu),
            receiver_cpu: of(|all| all.receiver_cpu),
            sender_memory: of(|all| all.sender_memory),
            receiver_memory: of(|all| all.receiver_memory),
            whole: of(|all| all.whole),
        }
    }
}
