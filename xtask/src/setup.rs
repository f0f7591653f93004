//! `cargo xtask setup`: the Debian packages that building, packing, demonstrating and testing need.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use crate::{deb, initramfs, process::Cmd, toolchain};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only say what is missing; fail if anything is
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.check {
        return install_all();
    }
    let missing = missing(&Purpose::ALL)?;
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    bail!("missing packages:\n{}", with_reasons(&missing));
}

/// What a package is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Compiling for the host.
    Build,
    /// Generating bindings from C headers.
    Bindings,
    /// Compiling libFuzzer.
    Fuzz,
    /// Compiling the standard library for musl. Not needed where rustup has that target.
    MuslStd,
    /// Packing the initramfs.
    Initramfs,
    /// Packing an initramfs that grows file systems.
    ResizeTools,
    /// Packing an initramfs with further programs for debug mode.
    DebugTools,
    /// Packing an initramfs that runs the scripts of an image share.
    ScriptTools,
    /// Making disk images with the original programs.
    Image,
    /// Debian's package, and a root of its own to try it.
    Package,
    /// Network namespaces.
    Network,
    /// Virtual machines that boot from the network.
    Machines,
    /// What only tests use.
    Tests,
    /// Virtual machines with Secure Boot.
    SecureBoot,
    /// Clients with another processor.
    Arm64,
}

impl Purpose {
    /// Of the commands that every run of the tests has. The others install what they need by themselves.
    const ALL: [Self; 14] = [
        Self::Build,
        Self::Bindings,
        Self::Fuzz,
        Self::MuslStd,
        Self::Initramfs,
        Self::ResizeTools,
        Self::DebugTools,
        Self::ScriptTools,
        Self::Image,
        Self::Package,
        Self::Network,
        Self::Machines,
        Self::Tests,
        Self::SecureBoot,
    ];
}

impl Purpose {
    /// Completes "packages " for people.
    const fn reason(self) -> &'static str {
        match self {
            Self::Build => "to compile for this machine",
            Self::Bindings => "to generate bindings from C headers",
            Self::Fuzz => "to compile libFuzzer",
            Self::MuslStd => {
                "to compile the static agent: a second compiler, because only Debian's comes with the \
                 source of a standard library for musl (`rustup target add x86_64-unknown-linux-musl` \
                 makes it unnecessary)"
            }
            Self::Initramfs => "to pack the initramfs",
            Self::ResizeTools => "to grow file systems on clients, and to test that",
            Self::DebugTools => "to look for faults on clients in debug mode, and to test that",
            Self::ScriptTools => {
                "to run scripts of FOG's image shares on clients, and to test that"
            }
            Self::Image => "to make disk images with the original programs",
            Self::Package => "to build Debian's package, and to try it",
            Self::Network => "for network namespaces",
            Self::Machines => "for virtual machines that boot from the network",
            Self::Tests => "for the tests",
            Self::SecureBoot => "for virtual machines with Secure Boot",
            Self::Arm64 => "to compile for arm64, and for virtual machines with that processor",
        }
    }
}

/// How to see that a package is there without asking dpkg about each.
enum Sign {
    /// A program in the search path.
    Program(&'static str),
    /// A file or directory.
    File(&'static str),
    /// A directory holding a name that begins with the first and ends with the second text.
    Like(&'static str, &'static str, &'static str),
    /// dpkg's own word, where a file might come from another package.
    Installed,
}

struct Need(Purpose, Sign, &'static str);

use Purpose::{
    Arm64, Bindings, Build, DebugTools, Fuzz, Image, Initramfs, Machines, MuslStd, Network,
    Package, ResizeTools, ScriptTools, SecureBoot, Tests,
};
use Sign::{File, Installed, Like, Program};

const NEEDS: &[Need] = &[
    Need(Build, Program("cc"), "gcc"),
    Need(Build, File("/usr/include/stdlib.h"), "libc6-dev"),
    Need(Build, Program("readelf"), "binutils"),
    Need(Bindings, Installed, "libclang-dev"),
    Need(Fuzz, Program("c++"), "g++"),
    Need(MuslStd, Program("musl-gcc"), "musl-tools"),
    Need(
        MuslStd,
        File("/usr/lib/x86_64-linux-musl/libc.a"),
        "musl-dev",
    ),
    Need(MuslStd, Installed, "rustc-web"),
    Need(MuslStd, Installed, "rust-web-src"),
    Need(MuslStd, Installed, "libstd-rust-web-dev"),
    Need(Initramfs, Installed, "busybox-static"),
    Need(Initramfs, Program("modprobe"), "kmod"),
    Need(Initramfs, Program("zstd"), "zstd"),
    Need(Initramfs, Program("xz"), "xz-utils"),
    Need(
        Initramfs,
        Like("/boot", "vmlinuz-", "-cloud-amd64"),
        "linux-image-cloud-amd64",
    ),
    Need(ResizeTools, Program("resize2fs"), "e2fsprogs"),
    Need(ResizeTools, Program("ntfsresize"), "ntfs-3g"),
    Need(ResizeTools, Program("btrfs"), "btrfs-progs"),
    Need(ResizeTools, Program("xfs_growfs"), "xfsprogs"),
    Need(ResizeTools, Program("lvm"), "lvm2"),
    Need(ResizeTools, Program("reged"), "chntpw"),
    Need(ResizeTools, Program("resize.f2fs"), "f2fs-tools"),
    Need(DebugTools, Program("tcpdump"), "tcpdump"),
    Need(ScriptTools, Program("bash"), "bash"),
    Need(ScriptTools, Program("blkid"), "util-linux"),
    Need(ScriptTools, Program("efibootmgr"), "efibootmgr"),
    Need(ScriptTools, Program("ntfs-3g"), "ntfs-3g"),
    Need(ScriptTools, Program("reged"), "chntpw"),
    Need(Image, Program("partclone.restore"), "partclone"),
    Need(Image, Program("zstd"), "zstd"),
    Need(Image, Program("sgdisk"), "gdisk"),
    Need(Image, Program("sfdisk"), "fdisk"),
    Need(Image, Program("mkfs.ext4"), "e2fsprogs"),
    Need(Image, Program("mkfs.vfat"), "dosfstools"),
    Need(Image, Program("mcopy"), "mtools"),
    Need(Image, Program("mkntfs"), "ntfs-3g"),
    Need(Package, Program("dpkg-deb"), "dpkg"),
    Need(Package, Program("gzip"), "gzip"),
    Need(Package, Program("mmdebstrap"), "mmdebstrap"),
    Need(Package, Program("systemd-analyze"), "systemd"),
    Need(Network, Program("ip"), "iproute2"),
    Need(Network, Program("nft"), "nftables"),
    Need(Machines, Program("qemu-system-x86_64"), "qemu-system-x86"),
    Need(
        Machines,
        Like("/usr/lib/ipxe/qemu", "", ".rom"),
        "ipxe-qemu",
    ),
    Need(Machines, File("/usr/share/OVMF/OVMF_CODE_4M.fd"), "ovmf"),
    Need(Machines, Program("dnsmasq"), "dnsmasq-base"),
    Need(Tests, Program("hivexsh"), "libhivex-bin"),
    Need(Tests, File("/usr/lib/ipxe/undionly.kpxe"), "ipxe"),
    Need(Tests, Program("udp-sender"), "udpcast"),
    Need(Tests, Program("time"), "time"),
    Need(Tests, Program("ganesha.nfsd"), "nfs-ganesha"),
    Need(
        Tests,
        Like("/usr/lib/x86_64-linux-gnu/ganesha", "libfsalvfs", ""),
        "nfs-ganesha-vfs",
    ),
    Need(Tests, Program("rpcbind"), "rpcbind"),
    Need(Tests, Program("partimage"), "partimage"),
    Need(Tests, Program("mkfs.xfs"), "xfsprogs"),
    Need(Tests, Program("mkfs.btrfs"), "btrfs-progs"),
    Need(Tests, Program("mkfs.exfat"), "exfatprogs"),
    Need(Tests, Program("pigz"), "pigz"),
    Need(Tests, Program("bzip2"), "bzip2"),
    Need(Tests, Program("lz4"), "lz4"),
    Need(Tests, Program("xz"), "xz-utils"),
    Need(Tests, Program("curl"), "curl"),
    Need(Tests, Program("cpio"), "cpio"),
    Need(Tests, Program("kill"), "procps"),
    Need(Tests, Program("mariadbd"), "mariadb-server-core"),
    Need(Tests, File("/usr/lib/galera/libgalera_smm.so"), "galera-4"),
    // It prints what the installer of a data directory asks for.
    Need(Tests, Program("my_print_defaults"), "mariadb-client-core"),
    Need(Tests, Program("losetup"), "mount"),
    Need(Tests, Program("mdadm"), "mdadm"),
    Need(Tests, Program("strace"), "strace"),
    Need(
        Tests,
        Program("chromium-headless-shell"),
        "chromium-headless-shell",
    ),
    Need(Tests, Program("npm"), "npm"),
    Need(SecureBoot, File(SHIM), "shim-signed"),
    Need(SecureBoot, File(SIGNED_GRUB), "grub-efi-amd64-signed"),
    Need(
        SecureBoot,
        File("/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
        "ovmf",
    ),
    Need(
        Arm64,
        Program("aarch64-linux-gnu-gcc"),
        "gcc-aarch64-linux-gnu",
    ),
    Need(
        Arm64,
        File("/usr/aarch64-linux-gnu/lib/libc.so.6"),
        "libc6-dev-arm64-cross",
    ),
    Need(Arm64, Program("qemu-system-aarch64"), "qemu-system-arm"),
];

/// What UEFI firmware starts: signed by Microsoft, it starts what Debian has signed.
pub(crate) const SHIM: &str = "/usr/lib/shim/shimx64.efi.signed";
/// GRUB for the network, signed by Debian.
pub(crate) const SIGNED_GRUB: &str = "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed";

/// Installs everything that anything here needs.
pub(crate) fn install_all() -> Result<()> {
    install(&Purpose::ALL)?;
    deb::prepare()?;
    initramfs::prepare_full().context("fetching the kernel of virtual PCs")
}

/// Installs what is missing for these purposes; quick and silent when nothing is. What a musl target
/// needs may be missing: the agent is then linked with glibc, unless musl was asked for.
///
/// # Errors
///
/// Packages are missing and this is not Debian, or we are not root, or apt-get fails.
pub(crate) fn install(purposes: &[Purpose]) -> Result<()> {
    let (optional, needed): (Vec<Purpose>, Vec<Purpose>) =
        purposes.iter().partition(|purpose| **purpose == MuslStd);
    install_needed(&needed)?;
    if needed.contains(&Tests) {
        provide_mtab()?;
        crate::axe::provide()?;
    }
    if let Err(error) = install_needed(&optional) {
        crate::signals::check()?;
        eprintln!("WARNING: what a musl target needs cannot be installed: {error:#}");
    }
    Ok(())
}

/// The original partimage refuses every disk on a machine without `/etc/mtab`, which minimal systems
/// lack. It is Debian's own link that is made, the one that systemd makes elsewhere.
fn provide_mtab() -> Result<()> {
    let mtab = Path::new("/etc/mtab");
    if mtab.exists() || !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    println!(
        "==> linking {} to the kernel's list of mounts",
        mtab.display()
    );
    std::os::unix::fs::symlink("../proc/self/mounts", mtab)
        .with_context(|| format!("linking {}", mtab.display()))
}

fn install_needed(purposes: &[Purpose]) -> Result<()> {
    let missing = missing(purposes)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = names(&missing).join(" ");
    if find_program("apt-get").is_none() {
        bail!(
            "these Debian packages are needed, and there is no apt-get here: {list}\n\
             install what corresponds to them on this system"
        );
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("these packages are missing: {list}\nrun as root: apt-get install {list}");
    }
    println!("==> installing packages\n{}", with_reasons(&missing));
    let apt = || {
        Cmd::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"])
    };
    apt().arg("update").run()?;
    let install = || {
        let how = ["install", "-y", "--no-install-recommends"];
        apt().args(how).args(names(&missing))
    };
    // A download may be interrupted, the work of dpkg must not.
    install().arg("--download-only").run()?;
    install().run_whole("the packages are installed: dpkg must not be interrupted")?;
    let missing = self::missing(purposes)?;
    if !missing.is_empty() {
        bail!(
            "apt-get was content, but these packages still seem to be missing: {}",
            names(&missing).join(" ")
        );
    }
    Ok(())
}

/// A package that is not installed, and what it is wanted for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    purpose: Purpose,
    package: &'static str,
}

fn names(missing: &[Missing]) -> Vec<&'static str> {
    missing.iter().map(|one| one.package).collect()
}

/// A line for each purpose.
fn with_reasons(missing: &[Missing]) -> String {
    let lines: Vec<String> = missing
        .chunk_by(|one, next| one.purpose == next.purpose)
        .map(|group| {
            let reason = group.first().map_or("", |one| one.purpose.reason());
            format!("    {reason}: {}", names(group).join(" "))
        })
        .collect();
    lines.join("\n")
}

fn missing(purposes: &[Purpose]) -> Result<Vec<Missing>> {
    let mut missing: Vec<Missing> = Vec::new();
    for &Need(purpose, ref sign, package) in NEEDS {
        let is_wanted =
            purposes.contains(&purpose) && (purpose != MuslStd || toolchain::wants_own_std()?);
        let is_listed = missing.iter().any(|one| one.package == package);
        if is_wanted && !is_listed && !is_there(sign, package)? {
            missing.push(Missing { purpose, package });
        }
    }
    Ok(missing)
}

fn is_there(sign: &Sign, package: &str) -> Result<bool> {
    Ok(match sign {
        Program(name) => find_program(name).is_some(),
        File(path) => Path::new(path).exists(),
        Like(dir, begin, end) => fs::read_dir(dir).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(begin) && name.ends_with(end)
            })
        }),
        Installed if find_program("dpkg-query").is_none() => false,
        Installed => {
            let (status, output, _) = Cmd::new("dpkg-query")
                .args(["-W", "-f", "${db:Status-Status}", package])
                .capture()
                .context("asking dpkg")?;
            status.success() && output == "installed"
        }
    })
}

/// Where `name` is in the search path, administrators' directories included.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_listed_with_what_they_are_for() {
        let missing = [(Build, "gcc"), (Build, "libc6-dev"), (MuslStd, "rustc-web")]
            .map(|(purpose, package)| Missing { purpose, package });
        let text = with_reasons(&missing);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0], "    to compile for this machine: gcc libc6-dev");
        assert!(lines[1].contains("a second compiler"), "{text}");
        assert!(lines[1].ends_with(": rustc-web"), "{text}");
    }
}
