//! Deployed disks are booted: firmware, boot loader, kernel, and the system to its login prompt.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::super::{client::Firmware, phases::plain, watch::Machine};
use super::debian::{HOST, REPORT};
use crate::{
    process::{Running, tail},
    signals,
};

/// Switches machines on without a network, all at once, until each asks for a login and has said what it is.
pub(super) fn all(machines: &[Machine], firmware: Firmware, run_dir: &Path) -> Result<()> {
    let mut started: Vec<Started<'_>> = Vec::new();
    for machine in machines {
        let client = &machine.client;
        println!(
            "==> switching on {} from its disk, without a network",
            client.name
        );
        let log = run_dir.join(format!("{}.boot.log", client.name));
        started.push(Started {
            machine,
            process: client.boot_from_disk(firmware, &log, run_dir)?,
            log,
            said: None,
        });
    }
    let begin = Instant::now();
    while started.iter().any(|one| one.said.is_none()) {
        signals::check()?;
        for one in &mut started {
            one.look(begin)?;
        }
        std::thread::sleep(signals::POLL);
    }
    for one in &started {
        let said = one.said.as_ref().map_or(&[][..], Vec::as_slice);
        judge(&one.machine.client.name, said)?;
        let verdict = one.machine.verdict.borrow().clone();
        one.machine.verdict.replace(format!("{verdict}, boots"));
    }
    println!("==> each has started its own system, to the login prompt");
    Ok(())
}

struct Started<'a> {
    machine: &'a Machine,
    process: Running,
    log: PathBuf,
    /// Its report, when it has asked for a login.
    said: Option<Vec<String>>,
}

impl Started<'_> {
    fn look(&mut self, begin: Instant) -> Result<()> {
        if self.said.is_some() {
            return Ok(());
        }
        let name = &self.machine.client.name;
        let is_running = self.process.ended()?.is_none();
        let bytes = fs::read(&self.log).unwrap_or_default();
        let console = String::from_utf8_lossy(&bytes);
        if let Some(said) = report(&console) {
            println!(
                "    {name}: {HOST} login: after {} s",
                begin.elapsed().as_secs()
            );
            for line in &said {
                println!("    {name}: {line}");
            }
            self.said = Some(said);
            return Ok(());
        }
        if !is_running || begin.elapsed() > LIMIT {
            bail!(
                "{name} has not come to its login prompt within {} s\n{}",
                begin.elapsed().as_secs(),
                tail(&self.log)
            );
        }
        Ok(())
    }
}

/// What a system has said of itself, if it has said all, and asks for a login.
fn report(console: &str) -> Option<Vec<String>> {
    let mut said = Vec::new();
    let mut is_whole = false;
    let mut asks = false;
    // The prompt has no end of a line.
    for line in console.split('\n') {
        let line = plain(line);
        asks |= line.trim_end().ends_with(&format!("{HOST} login:"));
        if let Some((_, rest)) = line.split_once(REPORT) {
            let rest = rest.trim();
            match rest {
                "end" => is_whole = true,
                _ => said.push(rest.to_owned()),
            }
        }
    }
    (asks && is_whole).then_some(said)
}

/// Swap space is used, and nothing has failed to start.
fn judge(name: &str, said: &[String]) -> Result<()> {
    for (begins, ends) in [("root /dev/", ""), ("swap /dev/", ""), ("failed ", "none")] {
        if !said
            .iter()
            .any(|line| line.starts_with(begins) && line.ends_with(ends))
        {
            bail!("{name}: its report has no line \"{begins}{ends}\": {said:?}");
        }
    }
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_whole_when_its_end_is_there_and_a_login_is_asked_for() {
        let text = format!(
            "[ OK ] x\r\n{REPORT} root /dev/vda1 ext4\r\n{REPORT} end\r\n\r\n{HOST} login: "
        );
        assert_eq!(report(&text).unwrap(), ["root /dev/vda1 ext4"]);
        for cut in 0..text.len() - 1 {
            assert!(report(&text[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn a_system_without_swap_or_with_failures_is_not_good() {
        let good = ["root /dev/vda1", "swap /dev/vda5", "failed none"].map(String::from);
        assert!(judge("pc2", &good).is_ok());
        assert!(judge("pc2", &good[..2]).is_err());
        assert!(judge("pc2", &good[1..]).is_err());
        let bad = ["root /dev/vda1", "swap /dev/vda5", "failed x.service"].map(String::from);
        assert!(judge("pc2", &bad).is_err());
    }
}
