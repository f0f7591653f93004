//! `fos-agent doctor`: causes that are provoked in a network of namespaces are named, and nothing else is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod machine;
mod multicast;
mod network;
mod selftest;
mod server;
mod web;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fos_tests::netns::{Lab, Running};
use fos_tests::site::program;
use serde_json::Value;
use tempfile::TempDir;

use web::{Answer, Chatter, Web};

/// A server on host 1, the machine that is examined on host 2, and host 3.
struct Clinic {
    /// Ends before the network goes.
    running: Vec<Running>,
    web: Option<Web>,
    chatter: Option<Chatter>,
    lab: Lab,
    dir: TempDir,
}

/// So little that nothing is said of its speed: this machine may be busy.
const DISK_LEN: usize = 512 << 10;

/// The kernel arguments of a machine whose server is on host 1.
const WEB: &str = "web=http://10.99.0.1/fog/ mac=02:00:00:00:00:02";

impl Clinic {
    /// With a web server that answers so; `None` when this machine cannot, which was said.
    #[track_caller]
    fn with(answer: impl Fn(&str) -> Answer + Send + 'static) -> Option<Self> {
        let mut clinic = Self::without_web()?;
        clinic.web = Some(Web::start(clinic.lab.host(1).namespace(), 80, answer));
        Some(clinic)
    }

    #[track_caller]
    fn without_web() -> Option<Self> {
        let lab = Lab::new(3, &["nft", "dnsmasq"])?;
        lab.quiet_switch();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("disk"), vec![7; DISK_LEN]).unwrap();
        Some(Self {
            running: Vec::new(),
            web: None,
            chatter: None,
            lab,
            dir,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The doctor on host 2, with these kernel arguments and further options.
    fn command(&self, cmdline: &str, options: &[&str]) -> Command {
        let mut command = self.lab.host(2).command(program("fos-agent"));
        command.args(["doctor", "--json", "--cmdline", cmdline]);
        command.args(options);
        command
    }

    /// What it prints. A healthy file stands for the disk; nothing is looked at twice.
    #[track_caller]
    fn examine(&self, cmdline: &str, options: &[&str]) -> Value {
        let disk = self.path("disk").display().to_string();
        let mut command = self.command(cmdline, &["--patience", "0", "--disk", &disk]);
        report(&mut Running::start(
            "doctor",
            command.args(options),
            &self.path("report"),
        ))
    }

    /// Codes of what it finds.
    #[track_caller]
    fn find(&self, cmdline: &str, options: &[&str]) -> Vec<String> {
        codes(&self.examine(cmdline, options))
    }

    /// Keeps a program running.
    fn run(&mut self, name: &str, command: &mut Command) {
        let output = self.path(&format!("{name}.out"));
        self.running.push(Running::start(name, command, &output));
    }

    /// Frames that a network always has: without them a card that hears nothing may be sound.
    fn chatter(&mut self) {
        self.chatter = Some(Chatter::start(self.lab.host(3).namespace()));
    }
}

/// The report of a doctor, whose exit status must fit.
#[track_caller]
fn report(doctor: &mut Running) -> Value {
    let status = doctor.wait();
    let output = doctor.output();
    let report: Value = serde_json::from_str(&output)
        .unwrap_or_else(|error| panic!("{error}: {output}\n{}", doctor.messages()));
    let is_ok = report["findings"].as_array().unwrap().is_empty();
    assert_eq!(report["ok"], is_ok, "{report:#}");
    assert_eq!(status.code(), Some(if is_ok { 0 } else { 3 }), "{report:#}");
    report
}

#[track_caller]
fn codes(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    let codes = findings.iter().map(|finding| {
        let is_whole = !finding["evidence"].as_array().unwrap().is_empty()
            && !finding["text"].as_str().unwrap().is_empty()
            && !finding["advice"].as_str().unwrap().is_empty();
        assert!(is_whole, "{report:#}");
        finding["code"].as_str().unwrap().to_owned()
    });
    codes.collect()
}

/// One check of a report: its result and what was seen.
#[track_caller]
fn check(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == name);
    let check = check.unwrap_or_else(|| panic!("{name} in {report:#}"));
    let text = |field: &str| check[field].as_str().unwrap().to_owned();
    (text("result"), text("text"))
}

/// What a `fos-server` says of itself.
fn native(path: &str) -> Answer {
    match path {
        "/fog/service/getversion.php" => Answer::text("mcstreamid fosnative1"),
        _ => Answer::status(404),
    }
}

/// What a stock server says.
fn stock(path: &str) -> Answer {
    match path {
        "/fog/service/getversion.php" => Answer::text("1.5.10"),
        _ => Answer::redirect("/fog/management/index.php"),
    }
}
