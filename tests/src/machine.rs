//! A virtual machine on the switch of a [`Lab`], which boots the agent from an initramfs.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::netns::{Lab, Running};
use crate::site::program;

/// A kernel, and the initramfs for it.
#[derive(Debug)]
pub struct BootFiles {
    kernel: PathBuf,
    initramfs: PathBuf,
}

impl BootFiles {
    /// Of Debian's cloud kernel and the present agent, packed once for each test process.
    ///
    /// # Panics
    /// They cannot be made.
    #[must_use]
    pub fn of_workspace() -> &'static Self {
        static FILES: OnceLock<BootFiles> = OnceLock::new();
        FILES.get_or_init(make)
    }
}

fn make() -> BootFiles {
    let kernel = newest_cloud_kernel();
    // Made already, of the agent that is shipped.
    if let Some(made) = std::env::var_os("FOS_TEST_INITRAMFS") {
        let initramfs = made.into();
        return BootFiles { kernel, initramfs };
    }
    assert!(
        std::env::var_os("FOS_TEST_PROGRAMS").is_none(),
        "one of many test programs must not build: add it to WITH_MACHINES in xtask/src/test.rs"
    );
    // .../debug/fos-agent -> .../
    let target = program("fos-agent").ancestors().nth(2).unwrap().to_owned();
    let mut cargo = cargo();
    cargo
        .args(["build", "--quiet", "-p", "fos-agent", "--target", TRIPLE])
        .arg("--target-dir")
        .arg(&target)
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-Ctarget-feature=+crt-static",
        );
    succeed(&mut cargo);
    let built = target.join(TRIPLE).join("debug/fos-agent");
    let work = target.join("tests-machine");
    fs::create_dir_all(&work).unwrap();
    let unique = std::process::id();
    let agent = work.join(format!("agent-{unique}"));
    succeed(Command::new("strip").arg("-o").arg(&agent).arg(built));
    let initramfs = work.join(format!("initramfs-{unique}"));
    let mut pack = self::cargo();
    pack.args([
        "run",
        "--quiet",
        "-p",
        "xtask",
        "--",
        "initramfs",
        "--compression",
        "quick",
        "--agent",
    ])
    .arg(&agent)
    .arg("--out")
    .arg(&initramfs);
    succeed(&mut pack);
    fs::remove_file(agent).unwrap();
    // Another test process may have a machine that is just being switched on.
    let packed = work.join("initramfs");
    fs::rename(initramfs, &packed).unwrap();
    BootFiles {
        kernel,
        initramfs: packed,
    }
}

fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // Set for this test; see `site::program`.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

#[track_caller]
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}

fn newest_cloud_kernel() -> PathBuf {
    let entries = fs::read_dir("/boot").unwrap().flatten();
    let mut kernels: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64")
        })
        .collect();
    kernels.sort();
    kernels
        .pop()
        .expect("a cloud kernel in /boot (linux-image-cloud-amd64)")
}

/// Switches on a machine with one disk. What it says goes into the file `console`; its end is its reboot.
///
/// # Panics
/// QEMU or the network refuses.
#[must_use]
#[track_caller]
pub fn switch_on(lab: &Lab, mac: &str, disk: &Path, arguments: &str, console: &Path) -> Running {
    let initramfs = &BootFiles::of_workspace().initramfs;
    switch_on_with(lab, mac, disk, arguments, console, initramfs)
}

/// The same, with bash in the initramfs.
///
/// # Panics
/// QEMU or the network refuses, or a program is missing.
#[must_use]
#[track_caller]
pub fn switch_on_with_bash(
    lab: &Lab,
    mac: &str,
    disk: &Path,
    arguments: &str,
    console: &Path,
) -> Running {
    // The kernel unpacks archives one behind another, each at a multiple of four bytes.
    let script = "mkdir -p more/usr/sbin && cp $(command -v bash) more/usr/sbin/bash && \
        for library in $(ldd more/usr/sbin/bash | grep -o '/[^ ]*'); do \
        mkdir -p more${library%/*} && cp -L $library more$library; done && \
        (cd more && find . | cpio --quiet -o -H newc > ../more.cpio) && \
        cp \"$1\" initramfs && truncate -s %512 initramfs && cat more.cpio >> initramfs";
    let dir = console.with_extension("boot");
    fs::create_dir_all(&dir).unwrap();
    let mut made = Command::new("bash");
    made.args(["-ec", script, "bash"])
        .arg(&BootFiles::of_workspace().initramfs)
        .current_dir(&dir);
    succeed(&mut made);
    let initramfs = dir.join("initramfs");
    switch_on_with(lab, mac, disk, arguments, console, &initramfs)
}

fn switch_on_with(
    lab: &Lab,
    mac: &str,
    disk: &Path,
    arguments: &str,
    console: &Path,
    initramfs: &Path,
) -> Running {
    let files = BootFiles::of_workspace();
    let tap = lab.add_tap();
    let mut qemu = lab.on_switch("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-no-reboot", "-m", "512", "-serial"])
        .arg(format!("file:{}", console.display()))
        .arg("-netdev")
        .arg(format!("tap,id=net,ifname={tap},script=no,downscript=no"))
        .arg("-device")
        .arg(format!("virtio-net-pci,netdev=net,mac={mac}"))
        .arg("-drive")
        .arg(format!(
            "if=none,id=disk,format=raw,file={},cache=unsafe,discard=unmap",
            disk.display()
        ))
        .args(["-device", "virtio-blk-pci,drive=disk,serial=FOSTEST"])
        .arg("-kernel")
        .arg(&files.kernel)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        // On a busy computer the emulated timer may be too late for the kernel's check of it.
        .arg(format!(
            "console=ttyS0 quiet panic=-1 no_timer_check {arguments}"
        ));
    Running::start("QEMU", &mut qemu, &console.with_extension("qemu"))
}

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
