//! Programs that run beside each other. Most tests wait most of the time: for a lease, a time-out, a
//! machine that boots. Others begin then, as many as the processors have time for. The output of each is printed
//! whole when it has ended.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::load::Load;
use crate::{
    process::{self, Cmd, Running},
    signals,
    steps::{self, Ended},
};

/// A program to run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) command: Cmd,
    pub(crate) prints: Prints,
    /// Begins when the job of this name has succeeded.
    pub(crate) after: Option<&'static str>,
}

/// What of a job is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prints {
    /// The results are in its output.
    Results,
    /// Only how it ends.
    Nothing,
}

/// When more may begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many run at any time.
    pub(crate) least: usize,
    /// So many run if the processors have time.
    pub(crate) most: usize,
    /// What is still running then is ended, and has failed; with fillers the patience is greater.
    pub(crate) time: Duration,
}

/// Runs `jobs` in this order and, one after the other, those that are only to fill the gaps.
///
/// # Errors
///
/// A program cannot be started, or a signal tells us to end. A job that fails is no error.
pub(crate) fn run(jobs: Vec<Job>, fillers: Vec<Job>, limits: Limits) -> Result<Vec<Ended>> {
    let outputs = tempfile::tempdir().context("making a directory for outputs")?;
    let mut pool = Pool {
        outputs: outputs.path().to_owned(),
        running: Vec::new(),
        ended: Vec::new(),
        limits,
    };
    let result = pool.work(jobs.into(), fillers.into());
    if result.is_err() {
        // Whoever has interrupted this wants to know what it was waiting for.
        for job in &pool.running {
            println!("==> still running: {}", job.line());
            println!("{}", process::tail(&job.output));
        }
    }
    result.map(|()| pool.ended)
}

#[derive(Debug)]
struct Pool {
    outputs: PathBuf,
    running: Vec<Begun>,
    ended: Vec<Ended>,
    limits: Limits,
}

#[derive(Debug)]
struct Begun {
    name: String,
    prints: Prints,
    is_filler: bool,
    since: Instant,
    output: PathBuf,
    program: Running,
}

impl Pool {
    fn work(&mut self, mut jobs: VecDeque<Job>, mut fillers: VecDeque<Job>) -> Result<()> {
        let mut load = Load::start()?;
        let mut said = Instant::now();
        loop {
            signals::check()?;
            if self.collect()? {
                said = Instant::now();
            }
            let fillers_count = self.running.iter().filter(|job| job.is_filler).count();
            let count = self.running.len() - fillers_count;
            if fillers_count == 0
                && let Some(job) = fillers.pop_front()
            {
                self.begin(job, true)?;
            }
            self.give_up(&mut jobs);
            let next = jobs.iter().position(|job| self.may_begin(job));
            if let Some(next) = next
                && (count < self.limits.least || count < self.limits.most && load.is_low()?)
                && let Some(job) = jobs.remove(next)
            {
                self.begin(job, false)?;
                load = Load::start()?;
            }
            if jobs.is_empty() && fillers.is_empty() && self.running.is_empty() {
                return Ok(());
            }
            if said.elapsed() > SILENCE {
                let running: Vec<String> = self.running.iter().map(Begun::line).collect();
                println!("==> running: {}", running.join(", "));
                said = Instant::now();
            }
            thread::sleep(signals::POLL);
        }
    }

    fn may_begin(&self, job: &Job) -> bool {
        let is_over = |name: &str| self.ended.iter().any(|ended| ended.name == name);
        job.after.is_none_or(is_over)
    }

    /// Notes those as failed that cannot begin any more.
    fn give_up(&mut self, jobs: &mut VecDeque<Job>) {
        let failed: Vec<&str> = self
            .ended
            .iter()
            .filter(|ended| !ended.is_success)
            .map(|ended| &ended.name[..])
            .collect();
        let mut given_up = Vec::new();
        jobs.retain(|job| match job.after.filter(|name| failed.contains(name)) {
            None => true,
            Some(after) => {
                given_up.push(Ended {
                    name: job.name.clone(),
                    is_success: false,
                    wall: Duration::ZERO,
                    cpu: None,
                });
                println!("xtask: {} is not tried: it needs \"{after}\"", job.name);
                false
            }
        });
        for ended in &given_up {
            println!("{}", ended.end_line());
        }
        self.ended.extend(given_up);
    }

    fn begin(&mut self, job: Job, is_filler: bool) -> Result<()> {
        let number = self.ended.len() + self.running.len();
        let output = self.outputs.join(number.to_string());
        let command = if is_filler {
            job.command.in_background()
        } else {
            job.command
        };
        self.running.push(Begun {
            program: command.spawn(&job.name, &output)?,
            name: job.name,
            prints: job.prints,
            is_filler,
            since: Instant::now(),
            output,
        });
        Ok(())
    }

    /// Prints and notes what has ended; whether anything has.
    fn collect(&mut self) -> Result<bool> {
        let mut has_ended = false;
        let mut number = 0;
        while let Some(job) = self.running.get_mut(number) {
            // It may have had the processors for a small part of the time.
            let limit = self.limits.time * if job.is_filler { 3 } else { 1 };
            let mut complaint = None;
            let is_success = match job.program.ended()? {
                Some(status) if status.success() => true,
                Some(status) => {
                    complaint = Some(format!("{}: {status}", job.name));
                    false
                }
                None if job.since.elapsed() > limit => {
                    job.program.kill()?;
                    let limit = limit.as_secs();
                    complaint = Some(format!("{}: ended by us after {limit} s", job.name));
                    false
                }
                None => {
                    number += 1;
                    continue;
                }
            };
            let job = self.running.remove(number);
            has_ended = true;
            let ended = Ended {
                name: job.name,
                is_success,
                wall: job.since.elapsed(),
                cpu: job.program.cpu(),
            };
            print(&job.output, job.prints, &ended, complaint)?;
            self.ended.push(ended);
        }
        Ok(has_ended)
    }
}

impl Begun {
    fn line(&self) -> String {
        format!("{} ({} s)", self.name, self.since.elapsed().as_secs())
    }
}

fn print(output: &Path, prints: Prints, ended: &Ended, complaint: Option<String>) -> Result<()> {
    let text = fs::read(output).with_context(|| format!("reading {}", output.display()))?;
    let text = String::from_utf8_lossy(&text);
    match prints {
        Prints::Results => println!("==> {}", ended.name),
        Prints::Nothing => println!("{}", steps::begin_line(&ended.name)),
    }
    println!("{}", text.trim_end());
    if let Some(complaint) = complaint {
        println!("xtask: {complaint}");
    }
    if prints == Prints::Nothing {
        println!("{}", ended.end_line());
    }
    fs::remove_file(output).with_context(|| format!("removing {}", output.display()))
}

/// After so long without an output the running jobs are named.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        least: 3,
        most: 3,
        time: Duration::from_secs(60),
    };

    fn job(name: &str, dir: &Path, script: &str) -> Job {
        Job {
            name: name.to_owned(),
            command: Cmd::new("bash").args(["-c", script]).dir(dir),
            prints: Prints::Nothing,
            after: None,
        }
    }

    fn names(ended: &[Ended]) -> Vec<(&str, bool)> {
        let names = ended.iter().map(|job| (&job.name[..], job.is_success));
        names.collect()
    }

    #[test]
    fn jobs_run_beside_each_other_and_all_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let pipe = Cmd::new("mkfifo").arg(dir.join("pipe"));
        pipe.run().unwrap();
        // Neither ends without the other; the filler waits for both.
        let jobs = vec![
            job("writes", dir, "echo word > pipe; touch written"),
            job("reads", dir, "read word < pipe; test $word = word"),
            job("fails", dir, "exit 3"),
            job("last", dir, "touch last"),
        ];
        let script = "until [ -e written -a -e last ]; do sleep 0.01; done";
        let ended = run(jobs, vec![job("fills", dir, script)], LIMITS).unwrap();
        let mut names = names(&ended);
        names.sort_unstable();
        let all = [
            ("fails", false),
            ("fills", true),
            ("last", true),
            ("reads", true),
            ("writes", true),
        ];
        assert_eq!(names, all);
    }

    #[test]
    fn what_needs_something_waits_for_it_and_is_not_tried_without() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let after = |after, job| Job {
            after: Some(after),
            ..job
        };
        let jobs = vec![
            after("makes", job("uses", dir, "test -e made")),
            after("fails", job("never", dir, "touch never")),
            job("makes", dir, "sleep 0.1; touch made"),
            job("fails", dir, "exit 1"),
        ];
        let ended = run(jobs, Vec::new(), LIMITS).unwrap();
        let mut names = names(&ended);
        names.sort_unstable();
        let all = [
            ("fails", false),
            ("makes", true),
            ("never", false),
            ("uses", true),
        ];
        assert_eq!(names, all);
        assert!(!dir.join("never").exists());
    }

    #[test]
    fn what_does_not_end_is_ended_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = "sleep 1000 & echo $! > child; wait";
        let limits = Limits {
            time: Duration::from_millis(1),
            ..LIMITS
        };
        let jobs = vec![job("hangs", dir.path(), script)];
        let ended = run(jobs, Vec::new(), limits).unwrap();
        assert_eq!(names(&ended), [("hangs", false)]);
    }
}
