//! `cargo xtask initramfs`: what a PXE booted client runs, in one file.
//!
//! `/init` is the agent. Beside it: busybox, the kernel modules that `initramfs/manifest.toml` names
//! (in load order in `/lib/modules/list`), the files of `initramfs/skeleton`, `/dev/console` and `/dev/null`,
//! without which `/init` would start without a console. The same input gives the same bytes.

mod archive;
#[cfg(test)]
mod buildroot;
mod modules;
mod programs;
pub(crate) mod sizes;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

pub(crate) use self::archive::Compression;
use self::{
    archive::Tree,
    modules::{Kernel, ModuleSet},
    programs::Programs,
};
use crate::{
    foreign, paths,
    setup::{self, Purpose},
    toolchain::{self, Arch, BuildOptions, Use},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    build: BuildOptions,
    /// Version of the kernel whose modules are packed; without it the newest cloud kernel in /boot
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Where boot/vmlinuz-VERSION and lib/modules/VERSION are, for a kernel that is only unpacked; without it those
    /// of this machine, and for another processor Debian's cloud kernel, which is fetched
    #[arg(long, value_name = "DIR")]
    kernel_root: Option<PathBuf>,
    /// Pack this kernel module, too, with what it depends on (may be given several times)
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Pack the programs that grow file systems, too: 6 MB more, for images of type n
    #[arg(long)]
    resize_tools: bool,
    /// Pack tcpdump, too: 7 MB more, for debug mode
    #[arg(long)]
    debug_tools: bool,
    /// Pack bash and programs for the post-init and post-download scripts of FOG's image shares, too: 3 MB more
    #[arg(long)]
    scripts: bool,
    /// Certificates (PEM) of the authorities that a server must have its own from, where it is asked over HTTPS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How to compress
    #[arg(long, value_enum, default_value_t = Compression::Xz)]
    compression: Compression,
    /// Whoever stands before a client may open a root shell with s and Enter, unless it boots with fosshell=no
    #[arg(long)]
    shell: bool,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What is in an initramfs beside what every client needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Content {
    /// The programs that grow file systems.
    pub(crate) has_resize_tools: bool,
    /// Those for debug mode that busybox lacks.
    pub(crate) has_debug_tools: bool,
    /// Those of scripts of an image share.
    pub(crate) has_script_tools: bool,
    /// Kernel modules beside those of the manifest.
    modules: Vec<String>,
    /// Certificates of authorities.
    authorities: Option<Vec<u8>>,
    /// A shell for whoever stands before the client.
    pub(crate) has_shell: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let arch = options.build.arch;
    let content = Content {
        has_resize_tools: options.resize_tools,
        has_debug_tools: options.debug_tools,
        has_script_tools: options.scripts,
        modules: options.modules.clone(),
        authorities: options.ca.as_deref().map(authorities).transpose()?,
        has_shell: options.shell,
    };
    let has_programs =
        content.has_resize_tools || content.has_debug_tools || content.has_script_tools;
    if arch != Arch::X86_64 && has_programs {
        bail!(
            "further programs are those of this machine, so they cannot be packed for {}; the external tree for \
             Buildroot (see buildroot/README.md) has them for it",
            arch.debian()
        );
    }
    let root = match (&options.kernel_root, arch) {
        (Some(root), _) => Some(root.clone()),
        (None, Arch::X86_64) => Some(PathBuf::from("/")),
        (None, Arch::Arm64) => None,
    };
    // What is named is looked up before minutes are spent on packages and compilers. The default may be one of
    // the packages.
    let named = match (&root, options.kernel.as_deref()) {
        (Some(root), Some(version)) => Some(Kernel::find(root, arch, Some(version))?),
        _ => None,
    };
    if content.has_resize_tools {
        setup::install(&[Purpose::Initramfs, Purpose::ResizeTools])?;
    }
    if content.has_debug_tools {
        setup::install(&[Purpose::DebugTools])?;
    }
    if content.has_script_tools {
        setup::install(&[Purpose::Initramfs, Purpose::ScriptTools])?;
    }
    setup::install(&[Purpose::Build, Purpose::Initramfs])?;
    if options.build.wants_musl_std(Use::Shipping) {
        setup::install(&[Purpose::MuslStd])?;
    }
    if arch == Arch::Arm64 {
        setup::install(&[Purpose::Arm64])?;
    }
    let kernel = match (named, root) {
        (Some(kernel), _) => kernel,
        (None, Some(root)) => Kernel::find(&root, arch, None)?,
        (None, None) => cloud_kernel(arch, options.kernel.as_deref())?,
    };
    let agent = toolchain::build_agent(&options.build, Use::Shipping)?;
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| paths::target().join("initramfs/initramfs.cpio"));
    let packed = pack(&agent, &kernel, arch, options.compression, &content)?;
    packed.write(&out)?;
    println!("{}", packed.summary);
    println!("kernel {}", kernel.image.display());
    if kernel.version.contains("cloud") {
        println!(
            "WARNING: a cloud kernel has drivers for virtual machines only. For ordinary PCs install \
             linux-image-amd64 and name its version with --kernel"
        );
    }
    println!("wrote {}", out.display());
    Ok(())
}

/// The certificates in a file, and nothing that must not go to every client.
fn authorities(file: &Path) -> Result<Vec<u8>> {
    let bytes = read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("PRIVATE KEY-----") {
        bail!(
            "{} has a private key: whoever boots from the network could read it; give a file with the certificate alone",
            file.display()
        );
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        bail!("{} has no certificate in PEM", file.display());
    }
    Ok(bytes)
}

/// A kernel and the initramfs made for it.
#[derive(Debug)]
pub(crate) struct BootFiles {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: Packed,
    pub(crate) agent_len: u64,
}

/// Which of Debian's kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// With the drivers of virtual machines.
    Cloud,
    /// With the drivers of PCs, too. It is fetched, and not installed.
    Full,
}

/// Builds the agent and packs it for this kernel.
pub(crate) fn boot_files(
    build: &BuildOptions,
    which: Which,
    content: &Content,
) -> Result<BootFiles> {
    let kernel = match which {
        Which::Cloud => cloud_kernel(build.arch, None)?,
        Which::Full => full_kernel()?,
    };
    let agent = toolchain::build_agent(build, Use::Demo)?;
    Ok(BootFiles {
        initramfs: pack(&agent, &kernel, build.arch, Compression::Quick, content)?,
        kernel: kernel.image,
        agent_len: fs::metadata(&agent)?.len(),
    })
}

/// A machine of x86_64 that runs this script of busybox' shell, with these kernel modules in `/lib/modules/list`, and
/// programs of this machine.
pub(crate) fn of_script(script: &str, modules: &[&str], programs: &[&str]) -> Result<BootFiles> {
    let manifest = Manifest::read()?;
    let kernel = cloud_kernel(Arch::X86_64, None)?;
    let mut tree = manifest.tree()?;
    tree.file("bin/busybox", 0o755, read(&find_busybox(Arch::X86_64)?)?)?;
    tree.file("init", 0o755, script.as_bytes().to_vec())?;
    let mut packed = Programs::default();
    packed.add_all(programs)?;
    for (path, bytes) in packed.files {
        tree.file(&path, 0o755, bytes)?;
    }
    let set = kernel.modules(modules)?;
    add_modules(&mut tree, &kernel, &set)?;
    let archive = tree.to_newc()?;
    Ok(BootFiles {
        kernel: kernel.image,
        initramfs: Packed {
            bytes: archive::compress(&archive, Compression::Quick)?,
            parts: Vec::new(),
            summary: String::new(),
        },
        agent_len: 0,
    })
}

/// Adds the modules, and the list of them; answers all their bytes.
fn add_modules(tree: &mut Tree, kernel: &Kernel, set: &ModuleSet) -> Result<Vec<u8>> {
    let mut list = String::new();
    let mut all = Vec::new();
    for module in &set.in_load_order {
        let path = format!("lib/modules/{}/{}", kernel.version, module.path);
        all.extend_from_slice(&module.bytes);
        list.push_str(&format!("/{path}\n"));
        tree.file(&path, 0o644, module.bytes.clone())?;
    }
    tree.file("lib/modules/list", 0o644, list.into_bytes())?;
    Ok(all)
}

/// The one that is installed; for another processor it is fetched.
fn cloud_kernel(arch: Arch, version: Option<&str>) -> Result<Kernel> {
    let root = match arch {
        Arch::X86_64 => PathBuf::from("/"),
        Arch::Arm64 => foreign::kernel(arch, "linux-image-cloud-arm64")?,
    };
    Kernel::find(&root, arch, version)
}

/// Debian's kernel for all PCs: the one that is installed, else it is fetched and unpacked.
fn full_kernel() -> Result<Kernel> {
    let arch = Arch::X86_64;
    let is_full = |version: &String| !version.contains("cloud");
    let installed = modules::newest("/boot".as_ref(), "-amd64").ok();
    if let Some(version) = installed.filter(is_full) {
        return Kernel::find("/".as_ref(), arch, Some(&version));
    }
    let root: PathBuf = foreign::kernel(arch, "linux-image-amd64")?;
    let version = modules::newest(&root.join("boot"), "-amd64")?;
    Kernel::find(&root, arch, Some(&version))
}

/// Fetches what [`Which::Full`] needs, if it is not there: tests do not fetch.
pub(crate) fn prepare_full() -> Result<()> {
    full_kernel().map(drop)
}

/// Packs twice, from the same agent, and fails if the bytes differ; writes the file `out`.
pub(crate) fn check_reproducible(agent: &Path, out: &Path) -> Result<()> {
    let kernel = cloud_kernel(Arch::X86_64, None)?;
    let make = || {
        let content = Content::default();
        pack(agent, &kernel, Arch::X86_64, Compression::Xz, &content)
    };
    let (first, second) = (make()?, make()?);
    if first.bytes != second.bytes {
        bail!("two initramfs made of the same files differ");
    }
    println!(
        "the initramfs is reproducible ({} bytes)",
        first.bytes.len()
    );
    first.write(out)
}

/// A finished archive, compressed.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    /// What is in it, by kind, uncompressed.
    parts: Vec<(&'static str, Vec<u8>)>,
    /// Sizes in words, for people.
    pub(crate) summary: String,
}

impl Packed {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the archive to `file`, making its directory.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        fs::write(file, &self.bytes).with_context(|| format!("writing {}", file.display()))
    }
}

/// `initramfs/manifest.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Directories that would otherwise not exist: mount points and the like.
    directories: Vec<String>,
    busybox: Busybox,
    /// Symbolic links: path and what it points to.
    links: BTreeMap<String, String>,
    /// Kernel modules, in the order wanted; their dependencies follow by themselves.
    modules: Vec<ModuleGroup>,
    /// Only with `--resize-tools`.
    resize: Part,
    /// Only with `--debug-tools`.
    debug: Debug,
    /// Only with `--scripts`.
    scripts: Part,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Debug {
    /// Programs of the building machine, packed with their libraries.
    programs: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Programs of the building machine, packed with their libraries.
    programs: Vec<String>,
    /// Symbolic links that they need.
    links: BTreeMap<String, String>,
    /// Kernel modules, loaded after the others.
    modules: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModuleGroup {
    #[expect(
        dead_code,
        reason = "for the reader of the manifest, and every group must have one"
    )]
    purpose: String,
    names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Busybox {
    /// Applets that get a link in /bin.
    links: Vec<String>,
}

/// The agent looks whether this is there.
const SHELL_FOR_ALL: &str = "etc/fos-agent/shell";

impl Manifest {
    fn read() -> Result<Self> {
        let path = paths::root().join("initramfs/manifest.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
    }

    /// What every initramfs has, without the programs themselves.
    fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for path in &self.directories {
            tree.directory(path, 0o755)?;
        }
        tree.directory("tmp", 0o1777)?;
        tree.character_device("dev/console", 0o600, 5, 1)?;
        // Rust's start-up code opens it in place of standard files that are closed, and aborts without it:
        // a kernel that cannot open its console closes all three, and `/init` would never get to mount /dev.
        tree.character_device("dev/null", 0o666, 1, 3)?;
        add_directory(&mut tree, &paths::root().join("initramfs/skeleton"), "")?;
        for applet in &self.busybox.links {
            tree.link(&format!("bin/{applet}"), "busybox")?;
        }
        for (path, to) in &self.links {
            tree.link(path, to)?;
        }
        Ok(tree)
    }
}

fn pack(
    agent: &Path,
    kernel: &Kernel,
    arch: Arch,
    compression: Compression,
    content: &Content,
) -> Result<Packed> {
    let manifest = Manifest::read()?;

    let mut tree = manifest.tree()?;
    if let Some(bytes) = &content.authorities {
        tree.file("etc/fos-agent/ca.pem", 0o644, bytes.clone())?;
    }
    let busybox_bytes = read(&find_busybox(arch)?)?;
    tree.file("bin/busybox", 0o755, busybox_bytes.clone())?;
    let agent_bytes = read(agent)?;
    tree.file("init", 0o755, agent_bytes.clone())?;

    if content.has_shell {
        tree.file(SHELL_FOR_ALL, 0o644, Vec::new())?;
    }
    let mut programs = Programs::default();
    if content.has_resize_tools {
        programs.add_all(&manifest.resize.programs)?;
    }
    if content.has_debug_tools {
        programs.add_all(&manifest.debug.programs)?;
    }
    if content.has_script_tools {
        programs.add_all(&manifest.scripts.programs)?;
    }
    let programs_len = programs.len();
    let all_programs = programs.files.values().flatten().copied().collect();
    for (path, bytes) in programs.files {
        tree.file(&path, 0o755, bytes)?;
    }
    let mut wanted: Vec<&str> = manifest
        .modules
        .iter()
        .flat_map(|group| &group.names)
        .map(String::as_str)
        .collect();
    let parts = [
        (content.has_resize_tools, &manifest.resize),
        (content.has_script_tools, &manifest.scripts),
    ];
    let mut links = BTreeMap::new();
    for (_, part) in parts.into_iter().filter(|(is_wanted, _)| *is_wanted) {
        links.extend(&part.links);
        wanted.extend(part.modules.iter().map(String::as_str));
    }
    for (path, to) in links {
        tree.link(path, to)?;
    }
    wanted.extend(content.modules.iter().map(String::as_str));
    let set = kernel.modules(&wanted)?;
    // Of the manifest's, kernels have what they have.
    if let Some(name) = content
        .modules
        .iter()
        .find(|name| set.absent.contains(name))
    {
        bail!("kernel {} has no module {name}", kernel.version);
    }
    let all_modules = add_modules(&mut tree, kernel, &set)?;

    let archive = tree.to_newc()?;
    let bytes = archive::compress(&archive, compression)?;
    let mut summary = format!(
        "agent {}, busybox {}, further programs {}, {} modules of {} with {}; packed {}, \
         compressed {}",
        size(agent_bytes.len()),
        size(busybox_bytes.len()),
        size(programs_len),
        set.in_load_order.len(),
        kernel.version,
        size(all_modules.len()),
        size(archive.len()),
        size(bytes.len()),
    );
    if !set.absent.is_empty() {
        summary.push_str(&format!(
            "\nnot in this kernel, left out: {}",
            set.absent.join(" ")
        ));
    }
    let parts = vec![
        ("agent", agent_bytes),
        ("busybox", busybox_bytes),
        ("kernel modules", all_modules),
        ("further programs", all_programs),
    ];
    Ok(Packed {
        bytes,
        parts,
        summary,
    })
}

/// Adds what is below `from` under the name `to`, executable where the file is.
fn add_directory(tree: &mut Tree, from: &Path, to: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("reading {}", from.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            bail!("{}: a name that is not UTF-8", path.display());
        };
        let inside = if to.is_empty() {
            name.to_owned()
        } else {
            format!("{to}/{name}")
        };
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            tree.directory(&inside, 0o755)?;
            add_directory(tree, &path, &inside)?;
        } else if meta.is_file() {
            let is_program = meta.permissions().mode() & 0o111 != 0;
            tree.file(
                &inside,
                if is_program { 0o755 } else { 0o644 },
                read(&path)?,
            )?;
        } else {
            bail!("{}: only files and directories here", path.display());
        }
    }
    Ok(())
}

/// busybox, which must be the static one.
fn find_busybox(arch: Arch) -> Result<PathBuf> {
    let busybox = match arch {
        Arch::X86_64 => setup::find_program("busybox").context("busybox is missing")?,
        Arch::Arm64 => foreign::unpacked(arch, "busybox-static")?.join("bin/busybox"),
    };
    toolchain::check_static(&busybox).context("package busybox-static is needed")?;
    Ok(busybox)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// A length in MB, as people say it.
pub(crate) fn size(len: usize) -> String {
    format!("{}.{:02} MB", len / 1_000_000, len % 1_000_000 / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cmd;

    fn manifest() -> Manifest {
        Manifest::read().unwrap()
    }

    /// A link to an applet that this busybox does not have would be a program that fails.
    #[test]
    fn busybox_has_every_applet_that_is_linked() {
        let Ok(busybox) = find_busybox(Arch::X86_64) else {
            assert!(std::env::var_os("FOS_TEST_REQUIRE_ALL").is_none());
            return;
        };
        let listed = Cmd::new(&busybox).arg("--list").output().unwrap();
        let applets: Vec<&str> = listed.lines().collect();
        for link in &manifest().busybox.links {
            assert!(applets.contains(&link.as_str()), "{link}");
        }
    }

    /// Somebody who stands before a machine can type, and switch it off.
    #[test]
    fn keyboards_and_the_power_button_have_their_drivers() {
        let manifest = manifest();
        let names: Vec<&String> = manifest
            .modules
            .iter()
            .flat_map(|group| &group.names)
            .collect();
        for wanted in ["usbhid", "hid_generic", "evdev", "button"] {
            assert!(names.iter().any(|name| *name == wanted), "{wanted}");
        }
    }

    /// As in FOG's kernel, which has them built in: another order would make another disk the first one.
    #[test]
    fn disks_are_found_in_the_order_of_a_kernel_that_has_all_drivers_built_in() {
        let manifest = manifest();
        let mut names = manifest.modules.iter().flat_map(|group| &group.names);
        for next in [
            "megaraid_sas",
            "mpt3sas",
            "virtio_scsi",
            "vmw_pvscsi",
            "hv_storvsc",
            "sd_mod",
            "ahci",
            "ata_piix",
            "ata_generic",
            "mptspi",
            "mptsas",
            "usb_storage",
            "uas",
        ] {
            assert!(
                names.any(|name| name == next),
                "{next} is missing, or too early"
            );
        }
    }
}
