//! `cargo xtask demo`: a whole deployment, from power-on to a verified disk.
//!
//! A disk image made by the original programs, our server and dnsmasq in a network namespace, and
//! clients: virtual machines that boot from the network, or (`--no-vm`) agents in namespaces that write
//! to files. Afterwards every byte of every partition is compared. With the fault switches the run is a
//! success when the deployment *fails* as it should.

mod cache;
mod capture;
mod client;
mod compare;
mod door;
mod hardware;
pub(crate) mod image;
pub(crate) mod lab;
mod phases;
mod report;
mod run_dir;
pub(crate) mod screens;
mod scripted;
mod services;
pub(crate) mod shell;
mod terminal;
mod vlan;
mod volumes;
mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::{capture::System, client::Firmware};
use self::{
    client::Client,
    door::Door,
    hardware::{Bus, Hardware, Kind},
    image::SourceImage,
    lab::Lab,
    report::Column,
    run_dir::RunDir,
    services::{Dnsmasq, Server, ServerOptions},
    watch::{Machine, Outcome, Watched},
};
use crate::{
    initramfs, paths,
    process::tail,
    programs::{self, Building, Profile},
    setup::{self, Purpose},
    signals::Interrupted,
    toolchain::{Arch, BuildOptions, Use},
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) clients: u8,
    /// Firmware of the virtual machines
    #[arg(long, value_enum, default_value_t = Firmware::Bios)]
    pub(crate) firmware: Firmware,
    /// Let the virtual machines' switch ports carry this VLAN, tagged, and nothing else; they boot the kernel at once
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094), conflicts_with = "no_vm")]
    pub(crate) vlan: Option<u16>,
    /// What the virtual machines are made of
    #[arg(long, value_enum, default_value_t = Kind::Virtual, conflicts_with = "no_vm")]
    pub(crate) hardware: Kind,
    /// No virtual machines: agents in network namespaces that write to files
    #[arg(long)]
    pub(crate) no_vm: bool,
    /// Leave logs, disks and the server's data behind
    #[arg(long)]
    pub(crate) keep: bool,
    /// Kill this client in the middle of a stream: the others must finish
    #[arg(long, value_name = "K", conflicts_with = "corrupt")]
    pub(crate) kill_client: Option<u8>,
    /// Damage the stored image behind the server's back: every client must refuse it
    #[arg(long)]
    pub(crate) corrupt: bool,
    /// Let this virtual machine's disk fail in the middle of the second partition: the others must finish
    #[arg(long, value_name = "K", conflicts_with_all = ["corrupt", "kill_client", "no_vm"])]
    pub(crate) bad_disk: Option<u8>,
    /// Remove the signature of the kernel: a machine with Secure Boot must not start it
    #[arg(long, conflicts_with_all = ["corrupt", "kill_client", "bad_disk"])]
    pub(crate) unsigned_kernel: bool,
    /// Deploy a volume group, too, and let a virtual machine activate it on the disks of the clients
    #[arg(long, conflicts_with_all = ["corrupt", "kill_client", "bad_disk", "no_vm"])]
    pub(crate) volumes: bool,
    /// Capture the disk of a virtual machine first, and deploy that, to a smaller and to larger disks
    #[arg(long, conflicts_with_all = [
        "corrupt", "kill_client", "bad_disk", "no_vm", "volumes", "unsigned_kernel", "vlan", "hardware"
    ])]
    pub(crate) capture: bool,
    /// Capture a Debian that boots by itself, and start it from the disks of the clients; without it a disk with ext4,
    /// swap and NTFS
    #[arg(long, value_enum, requires = "capture", conflicts_with = "firmware")]
    pub(crate) system: Option<System>,
    /// Limit of the server's sending rate, for example 80M
    #[arg(long, value_name = "RATE")]
    pub(crate) max_bitrate: Option<String>,
    /// Use this program as the server, and do not build it
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) build: BuildOptions,
    /// What the machines boot beside what they need
    #[arg(skip)]
    content: initramfs::Content,
}

impl Options {
    /// A run with one virtual machine.
    fn of_build(build: BuildOptions) -> Self {
        Self {
            clients: 1,
            firmware: Firmware::Bios,
            vlan: None,
            hardware: Kind::Virtual,
            no_vm: false,
            keep: false,
            kill_client: None,
            corrupt: false,
            bad_disk: None,
            unsigned_kernel: false,
            volumes: false,
            capture: false,
            system: None,
            max_bitrate: None,
            server: None,
            build,
            content: initramfs::Content::default(),
        }
    }
}

/// What a run is expected to come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    AllEqual,
    /// Client of this number is killed, all others are equal.
    OneKilled(usize),
    /// The disk of the client of this number fails, all others are equal.
    OneFails(usize),
    /// Every client refuses the image.
    AllRefuse,
    /// No machine starts the kernel.
    KernelRefused,
}

impl Expectation {
    fn of(options: &Options) -> Result<Self> {
        let one = |switch: &str, number: u8| {
            if number == 0 || number > options.clients {
                bail!(
                    "{switch} {number}: clients are numbered 1 to {}",
                    options.clients
                );
            }
            if options.clients < 2 {
                bail!("{switch} needs at least two clients");
            }
            Ok(usize::from(number))
        };
        if options.unsigned_kernel {
            if options.firmware != Firmware::SecureBoot {
                bail!("--unsigned-kernel is for --firmware secure-boot: others start it");
            }
            return Ok(Self::KernelRefused);
        }
        match (options.kill_client, options.bad_disk) {
            (Some(number), _) => Ok(Self::OneKilled(one("--kill-client", number)?)),
            (None, Some(number)) => Ok(Self::OneFails(one("--bad-disk", number)?)),
            (None, None) if options.corrupt => Ok(Self::AllRefuse),
            (None, None) => Ok(Self::AllEqual),
        }
    }

    /// Whether a client of this number is to refuse or fail.
    fn is_failure(self, number: usize) -> bool {
        match self {
            Self::AllRefuse => true,
            Self::OneFails(one) => one == number,
            Self::AllEqual | Self::OneKilled(_) | Self::KernelRefused => false,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.capture {
        return capture::run(options);
    }
    let expectation = Expectation::of(options)?;
    let mut options = options.clone();
    // Without LVM's program a client refuses volumes.
    options.content.has_resize_tools |= options.volumes;
    let options = &options;
    let (programs, source) = prepare(options)?;
    let mut run_dir = RunDir::new(options.keep)?;
    deploy(options, expectation, &programs, &source, run_dir.path())?;
    run_dir.succeeded();
    Ok(())
}

/// Installs what is missing, builds what is not given, and makes the image.
fn prepare(options: &Options) -> Result<(Programs, SourceImage)> {
    let building = begin(options)?;
    let source = image::prepare(if options.volumes {
        image::Recipe::Volumes
    } else {
        image::Recipe::Plain
    })?;
    let programs = Programs::finish(options, building)?;
    println!(
        "==> the source disk: {} MB, {}, {} MB in the store",
        source.disk_len / 1_000_000,
        match source.volumes {
            Some(_) => "three partitions and a volume group",
            None => "three partitions",
        },
        source.streams_len / 1_000_000
    );
    Ok((programs, source))
}

/// Begins to build what is not given, and installs what is missing.
fn begin(options: &Options) -> Result<Option<Building>> {
    let is_foreign = options.build.arch != Arch::X86_64;
    if is_foreign && options.no_vm {
        bail!("--no-vm runs the agent on this machine: leave out --arch");
    }
    if (is_foreign || options.vlan.is_some()) && options.firmware != Firmware::Bios {
        bail!("these machines boot the kernel at once: leave out --firmware");
    }
    if options.hardware == Kind::Pc && (is_foreign || options.firmware == Firmware::SecureBoot) {
        bail!("--hardware pc is for --firmware bios or uefi, and leave out --arch");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("this makes network namespaces: run it as root");
    }
    setup::install(&[Purpose::Build])?;
    // Compiling needs the processors, installing mostly the network and the disk: both at once.
    let building = begin_build(options)?;
    let mut purposes = vec![Purpose::Image, Purpose::Network];
    if !options.no_vm {
        purposes.extend([Purpose::Initramfs, Purpose::Machines]);
        if options.build.wants_musl_std(Use::Demo) {
            purposes.push(Purpose::MuslStd);
        }
        if options.firmware == Firmware::SecureBoot {
            purposes.push(Purpose::SecureBoot);
        }
        if is_foreign {
            purposes.push(Purpose::Arm64);
        }
    }
    if options.content.has_resize_tools {
        purposes.push(Purpose::ResizeTools);
    }
    if options.content.has_capture_tools {
        purposes.push(Purpose::CaptureTools);
    }
    setup::install(&purposes)?;
    Ok(building)
}

/// What is started.
#[derive(Debug)]
struct Programs {
    server: PathBuf,
    client: ClientProgram,
}

#[derive(Debug)]
enum ClientProgram {
    /// The agent itself.
    Agent(PathBuf),
    /// Kernel and initramfs, and for which processor they are.
    Boot(initramfs::BootFiles, Arch),
}

impl ClientProgram {
    /// Puts into the directory `boot` what virtual machines boot.
    fn write_boot_files(&self, boot: &Path) -> Result<()> {
        fs::create_dir_all(boot)?;
        match self {
            Self::Boot(files, arch) => {
                let (kernel, init) = client::boot_names(*arch);
                fs::copy(&files.kernel, boot.join(kernel))
                    .with_context(|| format!("copying {}", files.kernel.display()))?;
                files.initramfs.write(&boot.join(init))?;
                println!("==> initramfs: {}", files.initramfs.summary);
            }
            // Nobody boots them, but without them the server hands out no boot script.
            Self::Agent(_) => {
                for name in ["bzImage", "init.xz"] {
                    fs::write(boot.join(name), "not booted in this run\n")?;
                }
            }
        }
        Ok(())
    }
}

/// Begins to build what was not given.
fn begin_build(options: &Options) -> Result<Option<Building>> {
    let is_agent_missing = options.no_vm && options.build.agent.is_none();
    (options.server.is_none() || is_agent_missing)
        .then(|| programs::start(Profile::Dev))
        .transpose()
}

impl Programs {
    /// Waits for `building`, and makes what virtual machines boot.
    fn finish(options: &Options, building: Option<Building>) -> Result<Self> {
        let built = building.map(Building::finish).transpose()?;
        let given_or_built = |given: &Option<PathBuf>, built: Option<PathBuf>| {
            given
                .clone()
                .or(built)
                .context("neither given nor built: please report this")
        };
        let server = given_or_built(
            &options.server,
            built.as_ref().map(|built| built.server.clone()),
        )?;
        let client = if options.no_vm {
            ClientProgram::Agent(given_or_built(
                &options.build.agent,
                built.map(|built| built.agent),
            )?)
        } else {
            let kernel = match options.hardware {
                Kind::Virtual => initramfs::Which::Cloud,
                Kind::Pc => initramfs::Which::Full,
            };
            let files = initramfs::boot_files(&options.build, kernel, &options.content)?;
            ClientProgram::Boot(files, options.build.arch)
        };
        Ok(Self { server, client })
    }
}

/// Name of the image and of its directory in the store.
const IMAGE: &str = "demo";

fn deploy(
    options: &Options,
    expectation: Expectation,
    programs: &Programs,
    source: &SourceImage,
    run_dir: &Path,
) -> Result<()> {
    let images = run_dir.join("images");
    let store = images.join(IMAGE);
    image::copy_store(&source.store, &store)?;
    let boot = run_dir.join("boot");
    programs.client.write_boot_files(&boot)?;
    if expectation == Expectation::KernelRefused {
        unsign(&boot.join(client::boot_names(Arch::X86_64).0))?;
    }

    // Declared before what runs in it, so dropped after that.
    let mut lab = Lab::new()?;
    // A killed client must be killed within a stream, however fast this machine is.
    let slow = (expectation != Expectation::AllEqual && options.no_vm).then_some("200M");
    let mut server = Server::start(
        &lab,
        &ServerOptions {
            program: &programs.server,
            run_dir,
            images: &images,
            boot: &boot,
            kernel_args: &kernel_args(options),
            max_bitrate: options.max_bitrate.as_deref().or(slow),
            debug_menu: None,
        },
    )?;
    let door = Door::open(lab.name())?;
    println!(
        "==> the page of the server, until this ends: {}",
        door.link(&server)?
    );
    let mut dnsmasq = match programs.client {
        ClientProgram::Boot(..) => Some(Dnsmasq::start(&lab, options.firmware, run_dir)?),
        ClientProgram::Agent(_) => None,
    };

    let _switch = options
        .vlan
        .map(|id| vlan::Switch::start(&mut lab, id, run_dir))
        .transpose()?;
    let clients: Vec<Client> = (1..=usize::from(options.clients))
        .map(|number| {
            let mut client = Client::new(number, source.disk_len, run_dir)?;
            if !matches!(
                expectation,
                Expectation::AllEqual | Expectation::KernelRefused
            ) {
                // So that "it does not boot" says something.
                client.partition()?;
            }
            client.is_bad = expectation == Expectation::OneFails(number);
            client.hardware = Hardware::of(options.hardware, number);
            Ok(client)
        })
        .collect::<Result<_>>()?;
    server.command(&["image", "add", IMAGE, "--path", IMAGE, "--type", "mps"])?;
    let mut deploy = vec!["deploy", IMAGE];
    for client in &clients {
        let serial = client.disk_serial();
        let mut host = vec!["host", "add", &client.name, &client.mac, "--image", IMAGE];
        if client.hardware.bus == Bus::Usb {
            // Such a disk is used only when it is named.
            host.extend(["--device", &serial]);
        }
        server.command(&host)?;
        deploy.push(&client.name);
    }
    deploy.extend(["--max-wait", "10m"]);
    server.command(&deploy)?;
    if expectation == Expectation::AllRefuse {
        let damaged = image::corrupt(&store)?;
        println!("==> damaged {}", paths::short(&damaged));
    }

    let mut machines = Vec::new();
    for client in clients {
        let disk_mb = client.disk_len / 1_000_000;
        match &programs.client {
            ClientProgram::Boot(_, arch) => println!(
                "==> switching on {}: {arch:?}, {:?}, {}, an empty {} of {disk_mb} MB",
                client.name,
                options.firmware,
                client.hardware.card(),
                client.hardware.disk()
            ),
            ClientProgram::Agent(_) => println!(
                "==> starting {}: an empty file of {disk_mb} MB",
                client.name
            ),
        }
        let process = match &programs.client {
            ClientProgram::Boot(_, arch)
                if *arch != Arch::X86_64
                    || options.vlan.is_some()
                    || !client.hardware.boots_from_network() =>
            {
                client.boot_directly(&mut lab, *arch, &boot, run_dir)?
            }
            ClientProgram::Boot(..) => client.boot(&mut lab, options.firmware, run_dir)?,
            ClientProgram::Agent(agent) => client.start_agent(&mut lab, agent)?,
        };
        machines.push(Machine::new(client, process));
    }
    let watched = watch::until_the_end(
        &mut machines,
        &mut server,
        dnsmasq.as_mut(),
        expectation,
        Watched::Session,
    );
    let result = watched.and_then(|()| {
        if expectation == Expectation::KernelRefused {
            return machines.iter().try_for_each(must_not_have_started);
        }
        judge(&machines, &server, expectation, source)?;
        if let Some(list) = &source.volumes {
            let list = fs::read_to_string(list)?;
            let disks: Vec<&Path> = machines.iter().map(|one| &*one.client.disk).collect();
            volumes::look(&disks, &list, run_dir)?;
            println!(
                "==> a machine has activated the volume groups of {}: files and swap space are those of the image",
                readable_count(disks.len())
            );
        }
        match options.firmware {
            Firmware::SecureBoot => {
                machines.iter().try_for_each(must_be_locked_down)?;
                machines.iter().try_for_each(must_name_what_is_not_started)
            }
            Firmware::Uefi => machines.iter().try_for_each(must_name_what_is_not_started),
            Firmware::Bios => Ok(()),
        }
    });
    show(&machines, &programs.client);
    if let Err(error) = &result {
        let mut logs = vec![&*server.log];
        logs.extend(machines.iter().map(|machine| &*machine.client.log));
        logs.extend(dnsmasq.iter().map(|dnsmasq| &*dnsmasq.log));
        print!("{}", explain(error, &logs));
    }
    result
}

fn readable_count(disks: usize) -> String {
    match disks {
        1 => "1 disk".to_owned(),
        many => format!("{many} disks"),
    }
}

/// What the kernels of the machines get beside the server's own arguments.
fn kernel_args(options: &Options) -> String {
    let arguments = match (options.build.arch, options.firmware) {
        (Arch::Arm64, _) => "console=ttyAMA0 quiet panic=-1",
        // Not quiet: it shall say that it is locked down.
        (Arch::X86_64, Firmware::SecureBoot) => "console=ttyS0 loglevel=6 panic=-1",
        (Arch::X86_64, Firmware::Bios | Firmware::Uefi) => {
            "console=ttyS0 quiet panic=-1 no_timer_check"
        }
    };
    match options.vlan {
        Some(id) => format!("{arguments} vlan={id}"),
        None => arguments.to_owned(),
    }
}

/// A kernel says so if the firmware has told it that Secure Boot is on, and it then takes signed modules alone.
fn must_be_locked_down(machine: &Machine) -> Result<()> {
    let console = fs::read(&machine.client.log)?;
    if !String::from_utf8_lossy(&console).contains(LOCKED_DOWN) {
        bail!(
            "{}: the kernel does not say \"{LOCKED_DOWN}\"",
            machine.client.name
        );
    }
    println!("    {}: {LOCKED_DOWN}", machine.client.name);
    Ok(())
}

/// The image has an EFI system partition without a boot loader, and the firmware no entry for it.
fn must_name_what_is_not_started(machine: &Machine) -> Result<()> {
    let console = fs::read(&machine.client.log)?;
    if !String::from_utf8_lossy(&console).contains(NOT_STARTED) {
        bail!(
            "{}: the agent does not say \"{NOT_STARTED}\"",
            machine.client.name
        );
    }
    println!("    {}: {NOT_STARTED} ...", machine.client.name);
    Ok(())
}

const NOT_STARTED: &str = "the firmware of this machine would not start from /dev/";
const LOCKED_DOWN: &str = "Kernel is locked down from EFI Secure Boot";

/// The same firmware, shim and GRUB as of a machine that boots, and a kernel that is the same but for its signature.
fn must_not_have_started(machine: &Machine) -> Result<()> {
    machine.must_have(Outcome::KernelRefused)?;
    if machine.client.written() > 0 {
        bail!("{}: its disk was written to", machine.client.name);
    }
    println!(
        "    {}: {} (the kernel has no signature)",
        machine.client.name,
        watch::BAD_SIGNATURE
    );
    machine.verdict.replace("refused to boot".to_owned());
    Ok(())
}

/// Removes the signature from a kernel that UEFI firmware starts. All else of it stays.
fn unsign(kernel: &Path) -> Result<()> {
    let mut bytes = fs::read(kernel).with_context(|| format!("reading {}", kernel.display()))?;
    without_signature(&mut bytes)
        .with_context(|| format!("{} is no signed program for UEFI", kernel.display()))?;
    fs::write(kernel, bytes).with_context(|| format!("writing {}", kernel.display()))?;
    println!("==> removed the signature of the kernel");
    Ok(())
}

/// Removes the attribute certificates of a PE image of 64 bits, which are at its end (PE format, "Optional Header Data
/// Directories"). `None`: it has none.
fn without_signature(image: &mut Vec<u8>) -> Option<()> {
    let word = |at: usize| {
        let bytes = image.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let header = usize::try_from(word(0x3c)?).ok()?;
    let optional = header.checked_add(24)?;
    let is_pe = image.get(header..header.checked_add(4)?)? == b"PE\0\0";
    let is_64_bits = image.get(optional..optional.checked_add(2)?)? == [0x0b, 0x02];
    // The fifth of the directories, which follow 112 bytes.
    let entry = optional.checked_add(112 + 4 * 8)?;
    let at = usize::try_from(word(entry)?).ok()?;
    let len = usize::try_from(word(entry + 4)?).ok()?;
    if !is_pe || !is_64_bits || len == 0 || at.checked_add(len)? != image.len() {
        return None;
    }
    image.get_mut(entry..entry + 8)?.fill(0);
    image.truncate(at);
    Some(())
}

/// The ends of the logs of a run that failed. A run that was interrupted has nothing to explain.
fn explain(error: &anyhow::Error, logs: &[&Path]) -> String {
    if error.is::<Interrupted>() {
        return String::new();
    }
    logs.iter().map(|log| tail(log) + "\n").collect()
}

/// Compares what happened with what was expected, and fills in the machines' verdicts.
fn judge(
    machines: &[Machine],
    server: &Server,
    expectation: Expectation,
    source: &SourceImage,
) -> Result<()> {
    let session = watch::final_session(server)?;
    let mut problems = Vec::new();
    for machine in machines {
        let name = &machine.client.name;
        let state = session.state_of(name);
        let result = match (expectation, machine.client.number) {
            (Expectation::OneKilled(number), own) if own == number => killed(machine, state),
            (_, own) if expectation.is_failure(own) => refused(machine, state),
            _ => equal(machine, state, source),
        };
        let verdict = match result {
            Ok(text) => text,
            Err(error) => {
                problems.push(format!("{name}: {error:#}"));
                "WRONG".to_owned()
            }
        };
        machine.verdict.replace(verdict);
    }
    println!("==> the server says: {}", session.text);
    let is_complete = session.state == "complete";
    if is_complete != (expectation == Expectation::AllEqual) {
        problems.push(format!("the server calls the session {}", session.state));
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}", problems.join("\n"));
}

fn equal(machine: &Machine, state: &str, source: &SourceImage) -> Result<String> {
    machine.must_have(Outcome::Succeeded)?;
    if state != "complete" {
        bail!("the server calls its task {state}");
    }
    let bytes = compare::compare(&source.disk, &machine.client.disk)?;
    Ok(format!("{} MB equal", bytes / 1_000_000))
}

fn killed(machine: &Machine, state: &str) -> Result<String> {
    machine.must_have(Outcome::Killed)?;
    if state == "complete" {
        bail!("it was killed, and the server calls its task complete");
    }
    if !compare::has_no_table(&machine.client.disk)? {
        bail!("it was killed in the middle, and its disk looks bootable");
    }
    Ok(format!("killed; task {state}"))
}

fn refused(machine: &Machine, state: &str) -> Result<String> {
    machine.must_have(Outcome::Failed)?;
    if state == "complete" {
        bail!("it cannot have succeeded, and the server calls its task complete");
    }
    if !compare::has_no_table(&machine.client.disk)? {
        bail!("it failed in the middle, and its disk looks bootable");
    }
    let story = machine.story();
    let Some(reason) = story.failures.first() else {
        bail!("it failed without saying why");
    };
    println!("    {} says: {reason}", machine.client.name);
    Ok(format!("failed; task {state}"))
}

fn show(machines: &[Machine], program: &ClientProgram) {
    let columns: Vec<Column> = machines.iter().map(Machine::column).collect();
    println!("\n{}", report::table(&columns));
    if let ClientProgram::Boot(files, _) = program {
        println!(
            "agent {} bytes, initramfs {} bytes compressed",
            files.agent_len,
            files.initramfs.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_removed_and_nothing_else() {
        let mut image = vec![7; 600];
        image[0x3c..0x40].copy_from_slice(&64_u32.to_le_bytes());
        image[64..68].copy_from_slice(b"PE\0\0");
        image[88..90].copy_from_slice(&[0x0b, 0x02]);
        image[232..236].copy_from_slice(&500_u32.to_le_bytes());
        image[236..240].copy_from_slice(&100_u32.to_le_bytes());
        let mut expected = image[..500].to_vec();
        expected[232..240].fill(0);
        let mut kernel = image.clone();
        assert!(without_signature(&mut kernel).is_some());
        assert_eq!(kernel, expected);
        assert!(without_signature(&mut kernel).is_none(), "there is none");
        for cut in 0..image.len() {
            assert!(without_signature(&mut image[..cut].to_vec()).is_none());
        }
    }

    #[test]
    fn logs_explain_a_failure_and_not_an_interruption() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("dnsmasq.log");
        fs::write(&log, "dnsmasq-dhcp: DHCPDISCOVER(fosbr0)\n").unwrap();
        let failed = anyhow::anyhow!("LAB-01 failed");
        assert!(explain(&failed, &[&log]).contains("DHCPDISCOVER"));
        let interrupted = anyhow::Error::new(Interrupted { signal: 2 });
        assert_eq!(explain(&interrupted, &[&log]), "");
        let within = interrupted.context("waiting for the clients");
        assert_eq!(explain(&within, &[&log]), "");
    }
}
