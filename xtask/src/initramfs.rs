//! `cargo xtask initramfs`: what a PXE booted client runs, in one file.
//!
//! `/init` is the agent. Beside it: busybox, the kernel modules that `initramfs/manifest.toml` names
//! (in load order in `/lib/modules/list`), the files of `initramfs/skeleton`, `/dev/console` and `/dev/null`,
//! without which `/init` would start without a console. The same input gives the same bytes.

mod archive;
mod modules;
mod programs;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use self::{archive::Tree, modules::Kernel, programs::Programs};
use crate::{
    paths,
    setup::{self, Purpose},
    toolchain::{self, BuildOptions, Use},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    build: BuildOptions,
    /// Version of the kernel whose modules are packed; without it the newest cloud kernel in /boot
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Where boot/vmlinuz-VERSION and lib/modules/VERSION are, for a kernel that is only unpacked
    #[arg(long, value_name = "DIR", default_value = "/")]
    kernel_root: PathBuf,
    /// Pack the programs that grow file systems, too: 10 MB more, for images of type n
    #[arg(long)]
    resize_tools: bool,
    /// Pack tcpdump, too: 7 MB more, for debug mode
    #[arg(long)]
    debug_tools: bool,
    /// Whoever stands before a client may open a root shell with s and Enter, unless it boots with fosshell=no
    #[arg(long)]
    shell: bool,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What is in an initramfs beside what every client needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Content {
    /// The programs that grow file systems.
    pub(crate) has_resize_tools: bool,
    /// Those for debug mode that busybox lacks.
    pub(crate) has_debug_tools: bool,
    /// A shell for whoever stands before the client.
    pub(crate) has_shell: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let content = Content {
        has_resize_tools: options.resize_tools,
        has_debug_tools: options.debug_tools,
        has_shell: options.shell,
    };
    let find = |version| Kernel::find(&options.kernel_root, version);
    // What is named is looked up before minutes are spent on packages and compilers. The default may be one of
    // the packages.
    let named = options.kernel.as_deref().map(|version| find(Some(version)));
    let named = named.transpose()?;
    if content.has_resize_tools {
        setup::install(&[Purpose::Initramfs, Purpose::ResizeTools])?;
    }
    if content.has_debug_tools {
        setup::install(&[Purpose::DebugTools])?;
    }
    setup::install(&[Purpose::Build, Purpose::Initramfs])?;
    if options.build.wants_musl_std(Use::Shipping) {
        setup::install(&[Purpose::MuslStd])?;
    }
    let kernel = named.map_or_else(|| find(None), Ok)?;
    let agent = toolchain::build_agent(&options.build, Use::Shipping)?;
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| paths::target().join("initramfs/initramfs.cpio.zst"));
    let packed = pack(&agent, &kernel, Use::Shipping, content)?;
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

/// A kernel and the initramfs made for it.
#[derive(Debug)]
pub(crate) struct BootFiles {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: Packed,
    pub(crate) agent_len: u64,
}

/// Builds the agent and packs it for the newest installed cloud kernel.
pub(crate) fn boot_files(build: &BuildOptions, content: Content) -> Result<BootFiles> {
    let kernel = Kernel::find(Path::new("/"), None)?;
    let agent = toolchain::build_agent(build, Use::Demo)?;
    Ok(BootFiles {
        initramfs: pack(&agent, &kernel, Use::Demo, content)?,
        kernel: kernel.image,
        agent_len: fs::metadata(&agent)?.len(),
    })
}

/// Packs twice, from the same agent, and fails if the bytes differ.
pub(crate) fn check_reproducible(agent: &Path) -> Result<()> {
    let kernel = Kernel::find(Path::new("/"), None)?;
    let (first, second) = (
        pack(agent, &kernel, Use::Shipping, Content::default())?,
        pack(agent, &kernel, Use::Shipping, Content::default())?,
    );
    if first.bytes != second.bytes {
        bail!("two initramfs made of the same files differ");
    }
    println!(
        "the initramfs is reproducible ({} bytes)",
        first.bytes.len()
    );
    Ok(())
}

/// A finished archive, compressed.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
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
    resize: Resize,
    /// Only with `--debug-tools`.
    debug: Debug,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Debug {
    /// Programs of the building machine, packed with their libraries.
    programs: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
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

fn pack(agent: &Path, kernel: &Kernel, purpose: Use, content: Content) -> Result<Packed> {
    let dir = paths::root().join("initramfs");
    let manifest_path = dir.join("manifest.toml");
    let text = fs::read_to_string(&manifest_path)
        .with_context(|| format!("reading {}", manifest_path.display()))?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("parsing {}", manifest_path.display()))?;

    let mut tree = Tree::default();
    for path in &manifest.directories {
        tree.directory(path, 0o755)?;
    }
    tree.directory("tmp", 0o1777)?;
    tree.character_device("dev/console", 0o600, 5, 1)?;
    // Rust's start-up code opens it in place of standard files that are closed, and aborts without it:
    // a kernel that cannot open its console closes all three, and `/init` would never get to mount /dev.
    tree.character_device("dev/null", 0o666, 1, 3)?;
    add_directory(&mut tree, &dir.join("skeleton"), "")?;

    let busybox = find_busybox()?;
    tree.file("bin/busybox", 0o755, read(&busybox)?)?;
    for applet in &manifest.busybox.links {
        tree.link(&format!("bin/{applet}"), "busybox")?;
    }
    let agent_bytes = read(agent)?;
    let agent_len = agent_bytes.len();
    tree.file("init", 0o755, agent_bytes)?;
    for (path, to) in &manifest.links {
        tree.link(path, to)?;
    }

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
    let programs_len = programs.len();
    for (path, bytes) in programs.files {
        tree.file(&path, 0o755, bytes)?;
    }
    let mut wanted: Vec<&str> = manifest
        .modules
        .iter()
        .flat_map(|group| &group.names)
        .map(String::as_str)
        .collect();
    if content.has_resize_tools {
        for (path, to) in &manifest.resize.links {
            tree.link(path, to)?;
        }
        wanted.extend(manifest.resize.modules.iter().map(String::as_str));
    }
    let set = kernel.modules(&wanted)?;
    let mut list = String::new();
    let mut modules_len = 0;
    for module in &set.in_load_order {
        let path = format!("lib/modules/{}/{}", kernel.version, module.path);
        modules_len += module.bytes.len();
        list.push_str(&format!("/{path}\n"));
        tree.file(&path, 0o644, module.bytes.clone())?;
    }
    tree.file("lib/modules/list", 0o644, list.into_bytes())?;

    let archive = tree.to_newc()?;
    let bytes = archive::compress(&archive, purpose)?;
    let mut summary = format!(
        "agent {}, busybox {}, further programs {}, {} modules of {} with {}; packed {}, \
         compressed {}",
        size(agent_len),
        size(fs::metadata(&busybox)?.len().try_into()?),
        size(programs_len),
        set.in_load_order.len(),
        kernel.version,
        size(modules_len),
        size(archive.len()),
        size(bytes.len()),
    );
    if !set.absent.is_empty() {
        summary.push_str(&format!(
            "\nnot in this kernel, left out: {}",
            set.absent.join(" ")
        ));
    }
    Ok(Packed { bytes, summary })
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
fn find_busybox() -> Result<PathBuf> {
    let busybox = setup::find_program("busybox").context("busybox is missing")?;
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
        let path = paths::root().join("initramfs/manifest.toml");
        toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    /// A link to an applet that this busybox does not have would be a program that fails.
    #[test]
    fn busybox_has_every_applet_that_is_linked() {
        let Ok(busybox) = find_busybox() else {
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
