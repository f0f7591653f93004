//! `cargo xtask initramfs`: what a PXE booted client runs, in one file.
//!
//! The crate `initramfs` packs. Here agent and kernel are made or found, and packages installed.

#[cfg(test)]
mod buildroot;
pub(crate) mod sizes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
pub(crate) use initramfs::{Content, Packed};
use initramfs::{Kernel, Manifest, Programs, add_modules, authorities, compress, newest};

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
    /// Pack partclone's programs and those that make file systems smaller, too: 2 MB more, to capture disks
    #[arg(long)]
    capture: bool,
    /// Certificates (PEM) of the authorities that a server must have its own from, where it is asked over HTTPS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A public key that clients trust, DATA/keys/server.pub of the server (may be given several times)
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
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

/// How the archive is compressed. FOG's kernels and those of distributions know both programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Compression {
    /// The smallest; a machine needs some tenths of a second more to unpack it
    Xz,
    /// 13 % larger than xz
    Zstd,
    /// For tests: made in a second, a third larger
    Quick,
}

impl From<Compression> for initramfs::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Xz => Self::Xz,
            Compression::Zstd => Self::Zstd,
            Compression::Quick => Self::Quick,
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let arch = options.build.arch;
    let content = Content {
        has_resize_tools: options.resize_tools,
        has_debug_tools: options.debug_tools,
        has_script_tools: options.scripts,
        has_capture_tools: options.capture,
        modules: options.modules.clone(),
        authorities: options.ca.as_deref().map(authorities).transpose()?,
        trusted: initramfs::trusted(&options.trust)?,
        has_shell: options.shell,
    };
    let has_programs = content.has_resize_tools
        || content.has_debug_tools
        || content.has_script_tools
        || content.has_capture_tools;
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
        (Some(root), Some(version)) => Some(find(root, arch, Some(version))?),
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
    if content.has_capture_tools {
        setup::install(&[Purpose::Initramfs, Purpose::CaptureTools])?;
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
        (None, Some(root)) => find(&root, arch, None)?,
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
            bytes: compress(&archive, Compression::Quick.into())?,
            parts: Vec::new(),
            summary: String::new(),
        },
        agent_len: 0,
    })
}

/// The kernel `version`, or the newest cloud kernel for this processor, below `root`.
fn find(root: &Path, arch: Arch, version: Option<&str>) -> Result<Kernel> {
    Kernel::find(root, &format!("-cloud-{}", arch.debian()), version)
}

/// Packs an agent with the busybox for this processor.
fn pack(
    agent: &Path,
    kernel: &Kernel,
    arch: Arch,
    compression: Compression,
    content: &Content,
) -> Result<Packed> {
    let busybox = find_busybox(arch)?;
    initramfs::pack(agent, &busybox, kernel, compression.into(), content)
}

/// The one that is installed; for another processor it is fetched.
fn cloud_kernel(arch: Arch, version: Option<&str>) -> Result<Kernel> {
    let root = match arch {
        Arch::X86_64 => PathBuf::from("/"),
        Arch::Arm64 => foreign::kernel(arch, "linux-image-cloud-arm64")?,
    };
    find(&root, arch, version)
}

/// Debian's kernel for all PCs: the one that is installed, else it is fetched and unpacked.
fn full_kernel() -> Result<Kernel> {
    let arch = Arch::X86_64;
    let is_full = |version: &String| !version.contains("cloud");
    let installed = newest("/boot".as_ref(), "-amd64").ok();
    if let Some(version) = installed.filter(is_full) {
        return find("/".as_ref(), arch, Some(&version));
    }
    let root: PathBuf = foreign::kernel(arch, "linux-image-amd64")?;
    let version = newest(&root.join("boot"), "-amd64")?;
    find(&root, arch, Some(&version))
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
}
