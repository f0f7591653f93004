//! The boot menu: `m` while a machine boots that has no task, where there is more to choose than the local disk.
//!
//! A session that people join is named by an operator, who says with it that machines of this network may join it. They
//! have to be registered, and without another task.

use std::time::Duration;

use fog::Mac;

use super::super::debug_menu::{self, Envelope};
use super::super::request::Form;
use super::loader::{Script, safe};
use super::{first_card, registration};
use crate::config::Registration;
use crate::domain::host::Host;
use crate::ops::{ClientError, Joined, Known, Ops};
use crate::store::OpenSession;

/// FOG's fields: a session is to be joined, and its name.
pub(super) const FIELD_JOIN: &str = "sessionJoin";
pub(super) const FIELD_NAME: &str = "sessname";

/// FOG's name of the memory test in the boot directory, and the one for UEFI.
pub(in super::super) const MEMORY_TESTS: [&str; 2] = ["memtest.bin", "memtest.efi"];

/// What can be chosen besides the local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Entry {
    Join,
    /// With this file.
    MemoryTest(&'static str),
    /// A shell for the password, at a server that the machine reaches like this.
    Shell(String),
    Register,
}

/// Whether somebody at the machine wants to join a session, and by which name; FOG before 1.5.10 says the name alone.
pub(super) fn asked(form: &Form) -> Option<&str> {
    let name = form.get(FIELD_NAME).trim();
    (form.get(FIELD_JOIN) == "1" || !name.is_empty()).then_some(name)
}

/// `script`, which boots the local disk, with the menu in front of it, if there is anything to choose that has no key of
/// its own.
///
/// # Errors
/// If the database fails.
pub(super) async fn offered(
    ops: &Ops,
    script: Script,
    host: Option<&Host>,
    form: &Form,
    envelope: &Envelope,
) -> Result<Script, ClientError> {
    let Some(mac) = first_card(&form.request().macs) else {
        return Ok(script);
    };
    let mut entries = Vec::new();
    if host.is_some() && !ops.joinable().await?.is_empty() {
        entries.push(Entry::Join);
    }
    let [bios, efi] = MEMORY_TESTS;
    let file = match form.get("platform") {
        "efi" => efi,
        _ => bios,
    };
    if ops.has_boot_file(file).await {
        entries.push(Entry::MemoryTest(file));
    }
    if entries.is_empty() {
        return Ok(script);
    }
    if host.is_none() && ops.config().registration != Registration::Off {
        entries.push(Entry::Register);
    }
    if ops.config().debug_password.is_some()
        && let Some(host) = debug_menu::reached(envelope)
    {
        entries.push(Entry::Shell(host));
    }
    Ok(Script::Menu {
        script: Box::new(script),
        mac,
        arch: form.get("arch").to_owned(),
        title: host.map_or_else(|| mac.to_string(), |host| host.name.clone()),
        entries,
    })
}

/// The menu in iPXE's words. `arch` is fit for a question.
pub(super) fn commands(mac: Mac, arch: &str, title: &str, entries: &[Entry]) -> String {
    let again = question(mac, arch);
    let mut text = format!(
        "prompt --key 0x6d --timeout 3000 Press m for the boot menu || goto nomenu\n\
         :fosmenu\n\
         menu fos-server: {}\n\
         item nomenu Boot from the local disk\n",
        safe(title)
    );
    for entry in entries {
        let (label, line) = entry.line();
        text.push_str(&format!("item {label} {line}\n"));
    }
    text.push_str(&format!(
        "choose --default nomenu --timeout {} choice || goto nomenu\n\
         goto ${{choice}}\n",
        PATIENCE.as_millis()
    ));
    for entry in entries {
        text.push_str(&format!(":{}\n", entry.line().0));
        text.push_str(&match entry {
            Entry::Join => format!("chain --replace {again}&{FIELD_JOIN}=1 ||\n"),
            Entry::MemoryTest(file) => format!("imgfree\nkernel {file} && boot ||\n"),
            Entry::Shell(host) => debug_menu::login(mac, arch, host, "fosmenu"),
            Entry::Register => registration::wish(mac, arch),
        });
        text.push_str("goto fosmenu\n");
    }
    text.push_str(":nomenu\n");
    text
}

impl Entry {
    fn line(&self) -> (&'static str, &'static str) {
        match self {
            Self::Join => ("fosjoin", "Join a multicast session by its name"),
            Self::MemoryTest(_) => ("fosmemtest", "Test the memory"),
            Self::Shell(_) => ("fosshell", "A shell, which takes a password"),
            Self::Register => ("fosregister", "Register this machine"),
        }
    }
}

/// How long the menu stays open without a key.
const PATIENCE: Duration = Duration::from_secs(60);

/// The script of a host that joins a session by this name; `None` if it is in one now and can be booted.
///
/// # Errors
/// If the database fails.
pub(super) async fn join(
    ops: &Ops,
    known: &Known,
    name: &str,
    form: &Form,
) -> Result<Option<Script>, ClientError> {
    let first = match name {
        "" => "A multicast session is joined by its name.".to_owned(),
        name => match ops.join(known, name).await? {
            Joined::Yes(_) => return Ok(None),
            Joined::No(why) => format!("{} has not joined: {why}.", known.host.name),
            Joined::NoSuch(_) => format!("There is no session {name} that can be joined."),
        },
    };
    let lines = [first, listed(&ops.joinable().await?)];
    Ok(Some(Script::AskName {
        lines: lines.to_vec(),
        mac: known.mac,
        arch: form.get("arch").to_owned(),
    }))
}

fn listed(open: &[OpenSession]) -> String {
    if open.is_empty() {
        return "No session can be joined now. On the server one is made with fos-server deploy IMAGE --join N \
             --name NAME"
            .to_owned();
    }
    let shown = open.iter().take(MAX_SHOWN);
    let mut names: Vec<String> = shown
        .map(|open| {
            format!(
                "{} ({}, {} of {} hosts)",
                open.name, open.image_name, open.joined, open.expected
            )
        })
        .collect();
    if open.len() > MAX_SHOWN {
        names.push(format!("and {} more", open.len() - MAX_SHOWN));
    }
    format!("There are: {}", names.join(", "))
}

/// Sessions that a screen has room for.
const MAX_SHOWN: usize = 10;

/// The question for a name, in iPXE's words. What was typed before would stand in the field.
pub(super) fn ask_name(mac: Mac, arch: &str) -> String {
    let again = question(mac, arch);
    format!(
        "clear {FIELD_NAME} ||\n\
         echo -n Name of the session, or nothing to go back: \n\
         read {FIELD_NAME} ||\n\
         isset ${{{FIELD_NAME}}} || goto fosback\n\
         chain --replace {again}&{FIELD_JOIN}=1&{FIELD_NAME}=${{{FIELD_NAME}:uristring}} ||\n\
         :fosback\n\
         chain --replace {again} ||\n"
    )
}

fn question(mac: Mac, arch: &str) -> String {
    format!("boot.php?mac0={mac}&arch={arch}&platform=${{platform}}")
}
