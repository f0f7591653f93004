//! One transfer between programs that may be ours or the originals.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::room::{Measured, Room, Usage};
use crate::demo::lab::CLIENT_INTERFACE;

/// Whose programs take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Pair {
    /// Ours at both ends
    Ours,
    /// Our sender, original receivers
    OurSender,
    /// Original sender, our receivers
    OurReceivers,
    /// The originals at both ends
    Originals,
    /// An earlier version of ours at both ends
    #[value(skip)]
    Former,
}

/// A stream for some receivers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    pub(super) pair: Pair,
    pub(super) receivers: u8,
    pub(super) file: &'a Path,
    /// Bytes of `file`.
    pub(super) len: u64,
    /// The first so many receivers write to files, the others to `/dev/null`.
    pub(super) kept: u8,
    /// Further options of the sender.
    pub(super) options: &'a str,
    /// It must have ended after that time.
    pub(super) limit: Duration,
}

/// Where transfers take place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage<'a> {
    pub(super) agent: &'a Path,
    /// An earlier version of it, to compare with.
    pub(super) former: Option<&'a Path>,
    pub(super) room: &'a Room,
    /// For files, logs and figures.
    pub(super) directory: &'a Path,
}

/// A transfer under way. Dropping it kills its programs.
#[derive(Debug)]
pub(super) struct Transfer {
    began: Instant,
    len: u64,
    limit: Duration,
    /// The sender, then the receivers.
    programs: Vec<Measured>,
}

/// What a transfer took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// MB/s by the time from the sender's start to its end.
    pub(super) rate: f64,
    /// CPU seconds of the sender for a GB.
    pub(super) sender_cpu: f64,
    /// CPU seconds of one receiver for a GB.
    pub(super) receiver_cpu: f64,
    /// Largest memory of the sender and of a receiver, in MB.
    pub(super) sender_memory: f64,
    pub(super) receiver_memory: f64,
    /// Seconds from the sender's start until the last receiver has ended.
    pub(super) receivers_ended: f64,
    /// Seconds until the last program has ended.
    pub(super) whole: f64,
}

impl Pair {
    /// Those between programs of today.
    pub(super) const ALL: [Self; 4] = [
        Self::Ours,
        Self::OurSender,
        Self::OurReceivers,
        Self::Originals,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OurSender => "our sender, original receivers",
            Self::OurReceivers => "original sender, our receivers",
            Self::Originals => "originals",
            Self::Former => "former",
        }
    }

    fn sender(self) -> Maker {
        match self {
            Self::Ours | Self::OurSender => Maker::Us,
            Self::OurReceivers | Self::Originals => Maker::Others,
            Self::Former => Maker::UsBefore,
        }
    }

    fn receivers(self) -> Maker {
        match self {
            Self::Ours | Self::OurReceivers => Maker::Us,
            Self::OurSender | Self::Originals => Maker::Others,
            Self::Former => Maker::UsBefore,
        }
    }
}

/// Whose program it is.
#[derive(Clone, Copy, Debug)]
enum Maker {
    Us,
    UsBefore,
    Others,
}

impl<'a> Run<'a> {
    /// A stream that nobody keeps.
    pub(super) fn new(pair: Pair, receivers: u8, file: &'a Path, len: u64) -> Self {
        Self {
            pair,
            receivers,
            file,
            len,
            kept: 0,
            options: "",
            limit: Duration::from_secs(60 + len / 5_000_000),
        }
    }
}

impl Stage<'_> {
    /// Runs it to its end, which must be a success of every program.
    pub(super) fn run(&self, run: &Run<'_>) -> Result<Figures> {
        let figures = self.start(run)?.wait()?;
        println!(
            "    {}, {}, {} bytes: {:.1} MB/s, {:.3} s until all had ended",
            run.pair.name(),
            people(run.receivers),
            run.len,
            figures.rate,
            figures.whole
        );
        Ok(figures)
    }

    /// Starts the receivers, waits until they listen, and starts the sender.
    pub(super) fn start(&self, run: &Run<'_>) -> Result<Transfer> {
        let hosts = self.room.receivers(run.receivers);
        let mut receivers = Vec::new();
        for (number, host) in (0..).zip(hosts) {
            let file = if number < run.kept {
                self.received(number)
            } else {
                "/dev/null".into()
            };
            let options = format!(
                "--nokbd --interface {CLIENT_INTERFACE} --file {}",
                file.display()
            );
            let command = self.command("udp-receiver", run.pair.receivers(), &options)?;
            let label = format!("receiver-{number}");
            receivers.push(Measured::start(
                &label,
                Some(host),
                &command,
                self.directory,
            )?);
        }
        for (host, receiver) in hosts.iter().zip(&mut receivers) {
            self.room.wait_for_receiver(host, receiver)?;
        }
        let options = format!(
            "--nokbd --interface {CLIENT_INTERFACE} --full-duplex --nopointopoint \
             --min-receivers {} {} --file {}",
            run.receivers,
            run.options,
            run.file.display()
        );
        let command = self.command("udp-sender", run.pair.sender(), &options)?;
        let host = Some(self.room.sender());
        let began = Instant::now();
        let mut programs = vec![Measured::start("sender", host, &command, self.directory)?];
        programs.append(&mut receivers);
        Ok(Transfer {
            began,
            len: run.len,
            limit: run.limit,
            programs,
        })
    }

    /// What receiver `number` writes if it is one of those who keep the stream.
    pub(super) fn received(&self, number: u8) -> PathBuf {
        self.directory.join(format!("received-{number}"))
    }

    fn command(&self, name: &str, maker: Maker, options: &str) -> Result<Vec<String>> {
        let agent = match maker {
            Maker::Us => Some(self.agent),
            Maker::UsBefore => Some(self.former.context("no former agent is given")?),
            Maker::Others => None,
        };
        let agent = agent.map(|agent| agent.display().to_string());
        let words = options.split_whitespace().map(str::to_owned);
        let command = agent.into_iter().chain([name.to_owned()]).chain(words);
        Ok(command.collect())
    }

    /// The pairs whose programs are there.
    pub(super) fn pairs(&self) -> Vec<Pair> {
        let former = self.former.map(|_| Pair::Former);
        Pair::ALL.into_iter().chain(former).collect()
    }
}

impl Transfer {
    /// Waits for all programs.
    pub(super) fn wait(self) -> Result<Figures> {
        let begins: Vec<Instant> = self.programs.iter().map(Measured::began).collect();
        let usages = Measured::wait_within(self.programs, self.limit)?;
        let ends: Vec<f64> = begins
            .iter()
            .zip(&usages)
            .map(|(began, usage)| {
                (*began + usage.wall)
                    .duration_since(self.began)
                    .as_secs_f64()
            })
            .collect();
        Figures::new(self.len, &usages, &ends).context("no program took part")
    }

    /// The sender must still be there.
    pub(super) fn must_run(&mut self) -> Result<()> {
        self.programs.first_mut().map_or(Ok(()), Measured::must_run)
    }

    /// Kills a receiver (SIGKILL); the transfer is one of the others from then on.
    pub(super) fn kill_receiver(&mut self, number: u8) -> Result<()> {
        let position = usize::from(number) + 1;
        if position >= self.programs.len() {
            bail!("there is no receiver {number}");
        }
        self.programs.remove(position).kill()
    }
}

impl Figures {
    /// The first of `usages` and `ends` is the sender's; the latter are seconds since its start.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn new(len: u64, usages: &[Usage], ends: &[f64]) -> Option<Self> {
        let (sender, receivers) = usages.split_first()?;
        let (sender_end, receiver_ends) = ends.split_first()?;
        let last = |ends: &[f64]| ends.iter().copied().fold(0.0, f64::max);
        let len = len as f64;
        let count = receivers.len().max(1) as f64;
        let cpu: f64 = receivers.iter().map(|usage| usage.cpu).sum();
        let memory = receivers.iter().map(|usage| usage.memory).max();
        Some(Self {
            rate: len / 1e6 / sender.wall.as_secs_f64(),
            sender_cpu: sender.cpu / (len / 1e9),
            receiver_cpu: cpu / count / (len / 1e9),
            sender_memory: sender.memory as f64 / 1e6,
            receiver_memory: memory.unwrap_or(0) as f64 / 1e6,
            receivers_ended: last(receiver_ends),
            whole: sender_end.max(last(receiver_ends)),
        })
    }

    /// Each figure's own median.
    pub(super) fn median(all: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| super::table::median(all.iter().map(figure));
        Self {
            rate: of(|all| all.rate),
            sender_cpu: of(|all| all.sender_cpu),
            receiver_cpu: of(|all| all.receiver_cpu),
            sender_memory: of(|all| all.sender_memory),
            receiver_memory: of(|all| all.receiver_memory),
            receivers_ended: of(|all| all.receivers_ended),
            whole: of(|all| all.whole),
        }
    }
}

pub(super) fn people(receivers: u8) -> String {
    match receivers {
        1 => "1 receiver".into(),
        more => format!("{more} receivers"),
    }
}
