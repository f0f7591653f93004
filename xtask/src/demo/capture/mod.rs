//! `cargo xtask demo --capture`: the disk of a virtual machine is captured by a task of the server, and what was published is
//! deployed by multicast to empty disks, a smaller and a larger one. Then the content of all disks is compared; and a system
//! that can boot is started from each of them.

mod boot;
mod debian;
mod listing;
mod source;

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use self::listing::{FileSystemSize, Listing};
use self::source::Source;
pub(crate) use self::source::System;
use super::{
    Expectation, IMAGE, Options, Programs,
    client::Client,
    compare, explain, kernel_args,
    lab::Lab,
    run_dir::RunDir,
    services::{Dnsmasq, Server, ServerOptions},
    watch::{self, Machine, Outcome, Watched},
};
use crate::{
    process::Cmd,
    setup::{self, Purpose},
    toolchain::Arch,
};

pub(super) fn run(options: &Options) -> Result<()> {
    if options.build.arch != Arch::X86_64 {
        bail!("partclone's programs are those of this machine: leave out --arch");
    }
    let mut options = options.clone();
    if let Some(system) = options.system {
        options.firmware = system.firmware();
    }
    options.content.has_capture_tools = true;
    options.content.has_resize_tools = true;
    let options = &options;
    let building = super::begin(options)?;
    // Only what makes a system is not needed for the rest.
    if options.system.is_some() {
        setup::install(&[Purpose::Package])?;
    }
    let source = source::prepare(options.system)?;
    let programs = Programs::finish(options, building)?;
    println!(
        "==> the disk that is captured: {} MB, {}",
        source.len / 1_000_000,
        source.words
    );
    let mut run_dir = RunDir::new(options.keep)?;
    let mut room = Room::open(options, &programs, run_dir.path())?;
    let mut machines = Vec::new();
    let done = work(options, &source, &mut room, &mut machines, run_dir.path());
    super::show(&machines, &programs.client);
    if let Err(error) = &done {
        let mut logs = vec![&*room.server.log, &*room.dnsmasq.log];
        logs.extend(machines.iter().map(|machine| &*machine.client.log));
        print!("{}", explain(error, &logs));
    }
    done?;
    run_dir.succeeded();
    Ok(())
}

/// A server without an image, and a network with DHCP.
///
/// Fields are dropped in this order: what runs, then the network.
struct Room {
    server: Server,
    dnsmasq: Dnsmasq,
    lab: Lab,
}

impl Room {
    fn open(options: &Options, programs: &Programs, run_dir: &Path) -> Result<Self> {
        let images = run_dir.join("images");
        std::fs::create_dir_all(&images)?;
        let boot = run_dir.join("boot");
        programs.client.write_boot_files(&boot)?;
        let lab = Lab::new()?;
        let server = Server::start(
            &lab,
            &ServerOptions {
                program: &programs.server,
                run_dir,
                images: &images,
                boot: &boot,
                kernel_args: &kernel_args(options),
                max_bitrate: options.max_bitrate.as_deref(),
                debug_menu: None,
            },
        )?;
        let dnsmasq = Dnsmasq::start(&lab, options.firmware, run_dir)?;
        Ok(Self {
            server,
            dnsmasq,
            lab,
        })
    }

    fn switch_on(&mut self, client: Client, options: &Options, run_dir: &Path) -> Result<Machine> {
        println!(
            "==> switching on {}: {:?}, {}, a {} of {} MB",
            client.name,
            options.firmware,
            client.hardware.card(),
            client.hardware.disk(),
            client.disk_len / 1_000_000
        );
        let process = client.boot(&mut self.lab, options.firmware, run_dir)?;
        Ok(Machine::new(client, process))
    }

    /// Until all of these machines have ended.
    fn watch(&mut self, machines: &mut [Machine], what: Watched) -> Result<()> {
        let (server, dnsmasq) = (&mut self.server, &mut self.dnsmasq);
        watch::until_the_end(machines, server, Some(dnsmasq), Expectation::AllEqual, what)?;
        machines
            .iter()
            .try_for_each(|machine| machine.must_have(Outcome::Succeeded))
    }
}

fn work(
    options: &Options,
    source: &Source,
    room: &mut Room,
    machines: &mut Vec<Machine>,
    run_dir: &Path,
) -> Result<()> {
    capture(options, source, room, machines, run_dir)?;
    let captured = machines.len();
    deploy(options, source, room, machines, run_dir)?;
    let deployed = &machines[captured..];
    let disks: Vec<&Path> = std::iter::once(&*source.disk)
        .chain(deployed.iter().map(|machine| &*machine.client.disk))
        .collect();
    println!("==> a machine mounts what is on {} disks", disks.len());
    let listings = listing::list(&disks, "listing", run_dir)?;
    let Some((original, copies)) = listings.split_first() else {
        bail!("no disk was listed");
    };
    judge(original, copies, deployed)?;
    if options.system.is_some() {
        boot::all(deployed, options.firmware, run_dir)?;
    }
    Ok(())
}

/// The first machine: its disk becomes an image, and stays as it is.
fn capture(
    options: &Options,
    source: &Source,
    room: &mut Room,
    machines: &mut Vec<Machine>,
    run_dir: &Path,
) -> Result<()> {
    let client = Client::of(1, source.len, run_dir)?;
    Cmd::new("cp")
        .arg("--sparse=always")
        .arg(&source.disk)
        .arg(&client.disk)
        .quiet()?;
    let name = client.name.clone();
    room.server.command(&["host", "add", &name, &client.mac])?;
    println!("==> at the server: fos-server capture {name} {IMAGE} --type n --os 50");
    room.server
        .command(&["capture", &name, IMAGE, "--type", "n", "--os", "50"])?;
    machines.push(room.switch_on(client, options, run_dir)?);
    room.watch(machines, Watched::Capture)?;
    let task = watch::final_task(&room.server)?;
    println!("==> the server says: {}", task.text);
    if task.state != "complete" {
        bail!("the server calls the task {}", task.state);
    }
    let machine = machines.last().context("the machine that was captured")?;
    compare::must_be_equal(&source.disk, &machine.client.disk)
        .context("the disk that was captured has changed")?;
    println!("==> the disk that was captured is as it was");
    machine.verdict.replace("captured".to_owned());
    let shown = room.server.command(&["image", "show", IMAGE])?;
    for line in shown.lines() {
        println!("    {line}");
    }
    Ok(())
}

/// The others: empty disks, each larger than the one before, the first smaller than what was captured.
fn deploy(
    options: &Options,
    source: &Source,
    room: &mut Room,
    machines: &mut Vec<Machine>,
    run_dir: &Path,
) -> Result<()> {
    let mut clients = Vec::new();
    for number in 0..usize::from(options.clients) {
        let disk_len = match number {
            0 => source.smaller_len,
            _ => source.len + STEP * u64::try_from(number)?,
        };
        clients.push(Client::of(machines.len() + 1 + number, disk_len, run_dir)?);
    }
    let mut deploy = vec!["deploy", IMAGE];
    for client in &clients {
        room.server
            .command(&["host", "add", &client.name, &client.mac])?;
        deploy.push(&client.name);
    }
    println!("==> at the server: fos-server {}", deploy.join(" "));
    deploy.extend(["--max-wait", "10m"]);
    room.server.command(&deploy)?;
    let first = machines.len();
    for client in clients {
        machines.push(room.switch_on(client, options, run_dir)?);
    }
    room.watch(&mut machines[first..], Watched::Session)?;
    let session = watch::final_session(&room.server)?;
    println!("==> the server says: {}", session.text);
    if session.state != "complete" {
        bail!("the server calls the session {}", session.state);
    }
    Ok(())
}

/// Content is the same, and file systems fill their places.
fn judge(original: &Listing, copies: &[Listing], machines: &[Machine]) -> Result<()> {
    let files = original.file_count();
    if files == 0 || original.sizes.is_empty() {
        bail!("no file was found on the disk that was captured");
    }
    for place in original.places() {
        println!("    {place}");
    }
    for (machine, copy) in machines.iter().zip(copies) {
        let name = &machine.client.name;
        copy.must_have_content_of(original)
            .with_context(|| name.clone())?;
        for size in &copy.sizes {
            println!("    {name}: {}", words(size));
            must_be_full(size).with_context(|| name.clone())?;
        }
        machine.verdict.replace(format!("{files} files equal"));
    }
    println!(
        "==> {files} files with owners, modes and times, swap spaces and labels are those of the source"
    );
    Ok(())
}

fn words(size: &FileSystemSize) -> String {
    format!(
        "{} is {} MB, its {} has {} MB",
        size.place,
        size.place_len / 1_000_000,
        size.kind,
        size.len / 1_000_000
    )
}

/// A file system that was not grown ends far in front of the end of its place.
fn must_be_full(size: &FileSystemSize) -> Result<()> {
    if size.len < size.place_len / 100 * 95 {
        bail!("{}: it does not fill its place", words(size));
    }
    Ok(())
}

/// Bytes by which each disk is larger than the one before.
const STEP: u64 = 400 << 20;
