//! `cargo xtask shell`: a virtual machine that boots to a shell, and what FOG's wiki says to type there.
//!
//! The lines are typed on its serial line as a person would, and the next one when the answer is there. At the
//! server the original programs run.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    IMAGE, Programs,
    client::{Client, Firmware},
    compare, image,
    image::SourceImage,
    lab::{BRIDGE, Lab, SERVER},
    run_dir::RunDir,
    services::{Dnsmasq, Server, ServerOptions},
    terminal::{PROMPT, Terminal},
    watch,
};
use crate::{
    process::{Cmd, Running, tail},
    setup::{self, Purpose},
    signals::wait_for,
    toolchain::BuildOptions,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave logs, disks and the server's data behind
    #[arg(long)]
    pub(crate) keep: bool,
    /// Use this program as the server, and do not build it
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install(&[Purpose::DebugTools])?;
    let mut demo = super::Options::of_build(options.build.clone());
    demo.server.clone_from(&options.server);
    demo.content.has_debug_tools = true;
    let (programs, source) = super::prepare(&demo)?;
    setup::install(&[Purpose::Tests])?;
    let mut run_dir = RunDir::new(options.keep)?;
    let kernel_args = "console=ttyS0 quiet panic=-1 no_timer_check fosshell=yes";
    let firmware = Firmware::Bios;
    let mut room = Room::open(
        &programs,
        &source,
        run_dir.path(),
        kernel_args,
        None,
        firmware,
    )?;
    let done = in_debug_mode(&mut room, &source, run_dir.path())
        .and_then(|()| two_clients(&mut room, &source, run_dir.path()))
        .and_then(|()| beside_a_deploy(&mut room, &source, run_dir.path()))
        .and_then(|()| from_the_boot_menu(&mut room, &source, run_dir.path()));
    if done.is_err() {
        for log in [&room.server.log, &room.dnsmasq.log] {
            println!("{}", tail(log));
        }
    }
    done?;
    run_dir.succeeded();
    Ok(())
}

/// A machine that boots to a shell, and is deployed to from there.
fn in_debug_mode(room: &mut Room, source: &SourceImage, run_dir: &Path) -> Result<()> {
    let (client, mut machine) = room.switch_on(1, source, run_dir, "--debug")?;
    work(&client, room, source, run_dir, &mut machine)
}

/// Two machines at their shells.
fn two_clients(room: &mut Room, source: &SourceImage, run_dir: &Path) -> Result<()> {
    let pair = [3, 4].map(|number| room.switch_on(number, source, run_dir, "--debug"));
    let mut terminals = Vec::new();
    let mut machines = Vec::new();
    for switched_on in pair {
        let (client, machine) = switched_on?;
        // At once: what the serial line says before is lost.
        terminals.push(serial_line(&client)?);
        machines.push(machine);
    }
    terminals.iter_mut().try_for_each(wait_for_shell)?;
    text_scrolls(&mut terminals, room, run_dir)
}

fn serial_line(client: &Client) -> Result<Terminal> {
    let sockets = client.sockets.as_ref().context("a machine with sockets")?;
    Terminal::connect(&sockets.serial)
}

/// Waits for the prompt of a machine that boots in debug mode.
fn wait_for_shell(terminal: &mut Terminal) -> Result<()> {
    terminal.expect("Debug mode. The network is up.", BOOT)?;
    terminal.expect("type=down", SHORT)?;
    terminal.expect(PROMPT, SHORT)?;
    Ok(())
}

/// A shell on a machine that is deployed to by itself meanwhile.
fn beside_a_deploy(room: &mut Room, source: &SourceImage, run_dir: &Path) -> Result<()> {
    let (client, mut machine) = room.switch_on(2, source, run_dir, "--shutdown")?;
    let mut terminal = serial_line(&client)?;
    terminal.expect("s and Enter opens a shell", BOOT)?;
    println!("    at the client: s and Enter, while it is deployed to");
    // More than one: the first one must have left the console as it was.
    for _ in 0..2 {
        terminal.press("s\n")?;
        terminal.expect(PROMPT, SHORT)?;
        terminal.succeed("ip addr show eth0", SHORT)?;
        terminal.press("exit\n")?;
        // The screen is back.
        terminal.expect("fos-agent: phase ", TRANSFER)?;
    }
    terminal.expect("fos-agent: result ok", TRANSFER)?;
    wait_for("the machine to switch itself off", BOOT, || machine.ended())?;
    must_be_equal(source, &client)
}

/// A machine without a task, that nobody has registered: `d` and the password, at iPXE.
fn from_the_boot_menu(room: &mut Room, source: &SourceImage, run_dir: &Path) -> Result<()> {
    let client = Client::new(5, source.disk_len, run_dir)?
        .with_sockets(run_dir)
        .with_boot_on_serial_line();
    println!("==> switching on {}, without a task", client.name);
    let mut machine = client.boot(&mut room.lab, Firmware::Bios, run_dir)?;
    let mut terminal = serial_line(&client)?;
    // The first password is wrong: it asks the server again, and again there is the entry.
    for password in ["wrong-horse", PASSWORD] {
        terminal.expect("Press d for a shell", BOOT)?;
        terminal.press("d")?;
        terminal.expect("Password", SHORT)?;
        println!("    at iPXE: d, and a password");
        // The user's name is left empty.
        terminal.press(&format!("\n{password}\n"))?;
        if password != PASSWORD {
            terminal.expect("That is not the password.", BOOT)?;
            // It goes on to the local disk, which has nothing to boot; `default.ipxe` of this network asks again.
            continue;
        }
        let shown = terminal.expect("Debug mode. The network is up.", BOOT)?;
        if shown.contains(PASSWORD) {
            bail!("the password is on the screen:\n{shown}");
        }
    }
    terminal.expect(PROMPT, SHORT)?;
    terminal.succeed("grep -q isdebug=yes /proc/cmdline", SHORT)?;
    terminal.press("poweroff\n")?;
    wait_for("the machine to switch itself off", BOOT, || machine.ended())?;
    println!("==> a machine without a task has a shell, for the password");
    Ok(())
}

fn must_be_equal(source: &SourceImage, client: &Client) -> Result<()> {
    let bytes = compare::compare(&source.disk, &client.disk)?;
    println!(
        "==> the disk is that of the image: {} MB equal",
        bytes / 1_000_000
    );
    Ok(())
}

fn work(
    client: &Client,
    room: &Room,
    source: &SourceImage,
    run_dir: &Path,
    machine: &mut Running,
) -> Result<()> {
    let mut terminal = serial_line(client)?;
    wait_for_shell(&mut terminal)?;
    tools(&mut terminal)?;
    text_scrolls(std::slice::from_mut(&mut terminal), room, run_dir)?;
    whole_pipe(&mut terminal, room, source, client)?;
    by_steps(&mut terminal)?;

    let session = watch::final_session(&room.server)?;
    if session.state != "complete" {
        bail!(
            "the server calls the session {}: {}",
            session.state,
            session.text
        );
    }
    terminal.press("poweroff\n")?;
    wait_for("the machine to switch itself off", BOOT, || machine.ended())?;
    must_be_equal(source, client)
}

/// What people use in FOG's own shell is there.
fn tools(terminal: &mut Terminal) -> Result<()> {
    for tool in [
        "gzip",
        "gunzip",
        "fdisk",
        "ip",
        "ping",
        "mount",
        "dmesg",
        "udp-receiver",
        "udp-sender",
        "tcpdump",
        "partclone.restore",
        "partclone.info",
        "partclone.chkimg",
        "partimage",
        "fos-agent",
    ] {
        terminal.succeed(&format!("command -v {tool}"), SHORT)?;
    }
    terminal.succeed(&format!("ping -c 1 {SERVER}"), SHORT)?;
    terminal.succeed("fdisk -l /dev/vda", SHORT)?;
    let line = format!("ping -c 5 {SERVER} > /dev/null & tcpdump -n -c 1 -i eth0 icmp");
    let heard = terminal.succeed(&line, SHORT)?;
    if !heard.contains("ICMP echo") {
        bail!("tcpdump heard no ping:\n{heard}");
    }
    // A key that stops a program does so.
    terminal.press("sh -c 'echo begun $((1+1)); exec sleep 1000'\n")?;
    terminal.expect("begun 2", SHORT)?;
    terminal.press("\x03")?;
    terminal.expect(PROMPT, SHORT)?;
    println!("==> the tools are there");
    Ok(())
}

/// "Multicasting": a file's text scrolls over the screens of all clients, after a key at one of them.
fn text_scrolls(clients: &mut [Terminal], room: &Room, run_dir: &Path) -> Result<()> {
    let file = run_dir.join(".fogsettings");
    let lines: Vec<String> = (1..=300)
        .map(|number| format!("setting{number}='value'\n"))
        .collect();
    fs::write(&file, lines.concat())?;
    // The original looks for eth0 by itself, which a server has and a bridge is not.
    let line = format!(
        "udp-sender --file {} --log {} --ttl 32 --nopointopoint --interface {BRIDGE}",
        file.display(),
        run_dir.join("multicast.log").display()
    );
    println!("==> at the server: {line}");
    let count = clients.len();
    let sender = room.sender(&line, run_dir, &format!("text-{count}"))?;
    println!("    at {count} clients: udp-receiver, and a key");
    for client in clients.iter_mut() {
        client.press("udp-receiver\n")?;
        client.expect("Connected as", BOOT)?;
    }
    if let Some(client) = clients.first_mut() {
        client.press("\n")?;
    }
    for client in clients {
        client.expect("setting1='value'", BOOT)?;
        client.expect("setting300='value'", BOOT)?;
        client.expect(PROMPT, BOOT)?;
    }
    sender.finish()
}

/// The same with a real image, written to the disk.
fn whole_pipe(
    terminal: &mut Terminal,
    room: &Room,
    source: &SourceImage,
    client: &Client,
) -> Result<()> {
    let store = source.store.join("d1p1.img");
    let line = format!(
        "zstd -dc {} | udp-sender --min-receivers 1 --portbase 9000 --interface {BRIDGE} --half-duplex --ttl 32",
        store.display()
    );
    println!("==> at the server: {line}");
    let run_dir = client.log.parent().context("a directory of the run")?;
    let sender = room.sender(&line, run_dir, "whole-pipe")?;
    let line = format!(
        "udp-receiver --nokbd --portbase 9000 --ttl 32 --mcast-rdv-address {SERVER} | \
         partclone.restore --ignore_crc -O /dev/vda -N -f 1"
    );
    println!("    at the client: {line}");
    terminal.succeed(&line, TRANSFER)?;
    sender.finish()?;
    terminal.succeed("sync", SHORT)?;
    must_begin_with_partition(&client.disk, &source.disk)?;
    println!("    the disk has the partition's bytes");
    // For what comes next it is to be as new.
    terminal.succeed("busybox blkdiscard /dev/vda", SHORT)?;
    Ok(())
}

/// The first partition of the image was written to the beginning of the client's disk.
fn must_begin_with_partition(disk: &Path, source: &Path) -> Result<()> {
    const OFFSET: u64 = 1 << 20;
    const LEN: u64 = 64 << 20;
    let open =
        |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (disk, source) = (open(disk)?, open(source)?);
    let (mut have, mut want) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..LEN).step_by(have.len()) {
        disk.read_exact_at(&mut have, at)?;
        source.read_exact_at(&mut want, OFFSET + at)?;
        if have != want {
            bail!("the disk differs from the partition in the MiB that begins at byte {at}");
        }
    }
    Ok(())
}

/// The machine's own task, each step let go with Enter.
fn by_steps(terminal: &mut Terminal) -> Result<()> {
    println!("==> at the client: fos-agent run --step, and Enter for each step");
    terminal.press("fos-agent run --step\n")?;
    for step in [
        "connect to the network",
        "check in",
        "read the image's description and check the disk",
        "receive the image and write it to the disk",
        "write the partition table",
        "report the completion",
    ] {
        terminal.expect(&format!("before this step: {step}"), TRANSFER)?;
        terminal.press("\n")?;
    }
    terminal.expect("fos-agent: result ok", TRANSFER)?;
    terminal.expect(PROMPT, BOOT)?;
    Ok(())
}

/// A server with an image, and a network with DHCP.
///
/// Fields are dropped in this order: what runs, then the network.
pub(super) struct Room {
    pub(super) server: Server,
    pub(super) dnsmasq: Dnsmasq,
    pub(super) lab: Lab,
}

impl Room {
    pub(super) fn open(
        programs: &Programs,
        source: &SourceImage,
        run_dir: &Path,
        kernel_args: &str,
        max_bitrate: Option<&str>,
        firmware: Firmware,
    ) -> Result<Self> {
        let images = run_dir.join("images");
        image::copy_store(&source.store, &images.join(IMAGE))?;
        let boot = run_dir.join("boot");
        programs.client.write_boot_files(&boot)?;
        let password = run_dir.join("password");
        fs::write(&password, format!("{PASSWORD}\n"))?;
        let lab = Lab::new()?;
        let server = Server::start(
            &lab,
            &ServerOptions {
                program: &programs.server,
                run_dir,
                images: &images,
                boot: &boot,
                kernel_args,
                max_bitrate,
                debug_menu: Some(&password),
            },
        )?;
        let dnsmasq = Dnsmasq::start(&lab, firmware, run_dir)?;
        server.command(&["image", "add", IMAGE, "--path", IMAGE, "--type", "mps"])?;
        Ok(Self {
            server,
            dnsmasq,
            lab,
        })
    }

    /// Registers and boots a machine that is deployed to with this option of `deploy`.
    fn switch_on(
        &mut self,
        number: usize,
        source: &SourceImage,
        run_dir: &Path,
        option: &str,
    ) -> Result<(Client, Running)> {
        let client = Client::new(number, source.disk_len, run_dir)?.with_sockets(run_dir);
        let Client { name, mac, .. } = &client;
        self.server
            .command(&["host", "add", name, mac, "--image", IMAGE])?;
        self.server.command(&["deploy", IMAGE, name, option])?;
        println!("==> switching on {name}, for deploy {option}");
        let machine = client.boot(&mut self.lab, Firmware::Bios, run_dir)?;
        Ok((client, machine))
    }

    /// Starts an original sender at the server, at whose keyboard nobody types.
    fn sender(&self, line: &str, run_dir: &Path, name: &str) -> Result<Running> {
        // The end of its input would be a key.
        let typed = format!("set -o pipefail; {{ {line}; }} < <(sleep 3600)");
        Cmd::new("bash")
            .args(["-c", &typed])
            .in_namespace(self.lab.name())
            .spawn("udp-sender", &run_dir.join(format!("{name}.log")))
    }
}

/// Of the debug menu. With Enter before and after it, it goes into the 16 bytes that a serial port keeps.
const PASSWORD: &str = "a:horse/99%";
/// For what takes no time.
const SHORT: Duration = Duration::from_secs(30);
/// For what takes seconds where nothing else runs.
const BOOT: Duration = Duration::from_secs(180);
const TRANSFER: Duration = Duration::from_secs(600);
