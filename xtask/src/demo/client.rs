//! The machines that are deployed: virtual ones that boot from the network, or agents in namespaces
//! that write to files.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    hardware::{Hardware, Kind},
    lab::{CLIENT_INTERFACE, Lab},
    services::fetch,
};
use crate::{
    process::{Cmd, Running},
    toolchain::Arch,
};

/// What firmware the virtual machines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Firmware {
    Bios,
    Uefi,
    /// UEFI that starts only what is signed: Debian's shim, GRUB and kernel
    SecureBoot,
}

/// A machine and the disk it gets.
#[derive(Debug)]
pub(crate) struct Client {
    /// Counted from 1.
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) mac: String,
    pub(crate) disk: PathBuf,
    pub(crate) disk_len: u64,
    pub(crate) hardware: Hardware,
    /// Whether writes in the middle of its second partition fail.
    pub(crate) is_bad: bool,
    /// The serial console, or the agent's output.
    pub(crate) log: PathBuf,
    /// Where a virtual machine can be worked at.
    pub(crate) sockets: Option<Sockets>,
    /// Whether its firmware talks to the serial line although it has a screen.
    boots_on_serial_line: bool,
}

/// The sockets of a virtual machine with a keyboard and a screen.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    /// The other end of its serial line.
    pub(crate) serial: PathBuf,
    /// QEMU's monitor.
    pub(crate) monitor: PathBuf,
}

impl Client {
    /// Describes client `number` and makes its empty disk: each larger than the one before.
    pub(crate) fn new(number: usize, source_len: u64, run_dir: &Path) -> Result<Self> {
        const STEP: u64 = 160 << 20;
        let disk_len = source_len + STEP * u64::try_from(number - 1)?;
        Self::of(number, disk_len, run_dir)
    }

    /// Describes client `number` and makes its empty disk.
    pub(crate) fn of(number: usize, disk_len: u64, run_dir: &Path) -> Result<Self> {
        let name = format!("pc{number}");
        let disk = run_dir.join(format!("{name}.raw"));
        File::create(&disk)
            .and_then(|file| file.set_len(disk_len))
            .with_context(|| format!("making {}", disk.display()))?;
        Ok(Self {
            number,
            mac: format!("52:54:00:f0:05:{number:02x}"),
            log: run_dir.join(format!("{name}.log")),
            name,
            disk,
            disk_len,
            hardware: Hardware::of(Kind::Virtual, number),
            is_bad: false,
            sockets: None,
            boots_on_serial_line: false,
        })
    }

    /// Gives a virtual machine a screen, and a serial line that can be typed on.
    pub(crate) fn with_sockets(mut self, run_dir: &Path) -> Self {
        self.sockets = Some(Sockets {
            serial: run_dir.join(format!("{}.serial", self.name)),
            monitor: run_dir.join(format!("{}.monitor", self.name)),
        });
        self
    }

    /// Its firmware and iPXE talk to the serial line, too.
    pub(crate) fn with_boot_on_serial_line(mut self) -> Self {
        self.boots_on_serial_line = true;
        self
    }

    /// Gives the disk an old partition table.
    pub(crate) fn partition(&self) -> Result<()> {
        Cmd::new("sgdisk")
            .args(["--clear", "--new=1:2048:+64M"])
            .arg(&self.disk)
            .quiet()
            .with_context(|| format!("partitioning {}", self.disk.display()))
    }

    /// QEMU's block device: the raw file, behind a layer that fails if that is wanted.
    fn drive(&self) -> String {
        let disk = self.disk.display();
        if !self.is_bad {
            return format!("if=none,id=disk,format=raw,file={disk},cache=unsafe,discard=unmap");
        }
        format!(
            "if=none,id=disk,driver=raw,file.driver=blkdebug,file.image.driver=file,\
             file.image.filename={disk},file.inject-error.0.event=none,\
             file.inject-error.0.iotype=write,file.inject-error.0.errno=5,\
             file.inject-error.0.sector={BAD_SECTOR},file.inject-error.0.once=off"
        )
    }

    /// Bytes that its disk really holds so far.
    pub(crate) fn written(&self) -> u64 {
        fs::metadata(&self.disk).map_or(0, |meta| meta.blocks() * 512)
    }

    /// The serial number of its disk.
    pub(crate) fn disk_serial(&self) -> String {
        format!("FOSDEMO{:04}", self.number)
    }

    /// Switches on a virtual machine that boots from the network. Its end is its reboot.
    pub(crate) fn boot(
        &self,
        lab: &mut Lab,
        firmware: Firmware,
        run_dir: &Path,
    ) -> Result<Running> {
        let rom = match firmware {
            // Without the iPXE of QEMU's cards, which is not signed: the firmware fetches shim by itself.
            Firmware::SecureBoot => ",romfile=",
            Firmware::Bios | Firmware::Uefi => "",
        };
        if firmware == Firmware::SecureBoot {
            self.leave_for_grub(lab, run_dir)?;
        }
        let mut qemu = self.machine(lab, "qemu-system-x86_64", rom)?;
        qemu = match firmware {
            Firmware::Bios if self.sockets.is_some() && !self.boots_on_serial_line => {
                qemu.args(["-machine", "pc"])
            }
            // graphics=off: SeaBIOS and iPXE talk to the serial port.
            Firmware::Bios => qemu.args(["-machine", "pc,graphics=off"]),
            Firmware::Uefi => self.uefi(qemu, run_dir)?,
            // The keys of Microsoft are in the variables, which only system management mode can write.
            Firmware::SecureBoot => self
                .flash(
                    qemu.args(["-machine", "q35,smm=on"]),
                    "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
                    "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
                    run_dir,
                )?
                .args(["-global", "driver=cfi.pflash01,property=secure,value=on"])
                .args(["-global", "ICH9-LPC.disable_s3=1"])
                .args(["-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]),
        };
        // QEMU's own messages apart from the guest's.
        qemu.in_namespace(lab.name())
            .spawn(&self.name, &run_dir.join(format!("{}.qemu.log", self.name)))
    }

    /// Switches on a virtual machine that has its disk and no card, and boots from it. `log` is its serial console.
    pub(crate) fn boot_from_disk(
        &self,
        firmware: Firmware,
        log: &Path,
        run_dir: &Path,
    ) -> Result<Running> {
        let qemu = Cmd::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-m", "512", "-name", &self.name])
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .arg("-drive")
            .arg(self.drive());
        let qemu = match firmware {
            Firmware::Bios => qemu.args(["-machine", "pc,graphics=off"]),
            Firmware::Uefi => self.uefi(qemu, run_dir)?,
            Firmware::SecureBoot => bail!("no system of a demonstration is signed"),
        };
        let qemu = self.hardware.add_boot_disk(qemu, &self.disk_serial());
        qemu.spawn(
            &self.name,
            &run_dir.join(format!("{}.boot.qemu.log", self.name)),
        )
    }

    /// A machine with UEFI firmware that has no entries of its own.
    fn uefi(&self, qemu: Cmd, run_dir: &Path) -> Result<Cmd> {
        self.flash(
            qemu.args(["-machine", "q35"]),
            "/usr/share/OVMF/OVMF_CODE_4M.fd",
            "/usr/share/OVMF/OVMF_VARS_4M.fd",
            run_dir,
        )
    }

    /// Switches on a virtual machine that boots the kernel at once, with the arguments that the server has for it: where
    /// there is no iPXE for it in Debian (arm64), or it does not know the way to the server.
    pub(crate) fn boot_directly(
        &self,
        lab: &mut Lab,
        arch: Arch,
        boot: &Path,
        run_dir: &Path,
    ) -> Result<Running> {
        let (name, program) = match arch {
            Arch::X86_64 => ("x86_64", "qemu-system-x86_64"),
            Arch::Arm64 => ("arm64", "qemu-system-aarch64"),
        };
        let query = format!("mac0={}&arch={name}&platform=efi", self.mac);
        let script = fetch(lab.name(), &format!("service/ipxe/boot.php?{query}"))
            .context("asking the server what to boot")?;
        let arguments = kernel_arguments(&script)
            .with_context(|| format!("the server boots nothing for {}:\n{script}", self.mac))?;
        let mut qemu = self.machine(lab, program, "")?;
        qemu = match arch {
            Arch::X86_64 => qemu.args(["-machine", "pc"]),
            // Not `max`: its pointer authentication is very slow here.
            Arch::Arm64 => qemu.args(["-machine", "virt", "-cpu", "cortex-a57"]),
        };
        let (kernel, init) = boot_names(arch);
        let qemu = qemu
            .arg("-kernel")
            .arg(boot.join(kernel))
            .arg("-initrd")
            .arg(boot.join(init))
            .args(["-append", arguments]);
        qemu.in_namespace(lab.name())
            .spawn(&self.name, &run_dir.join(format!("{}.qemu.log", self.name)))
    }

    /// Puts what GRUB reads by TFTP there: the server's script for this machine, and the files that it names.
    fn leave_for_grub(&self, lab: &Lab, run_dir: &Path) -> Result<()> {
        let tftp = run_dir.join("tftp");
        let query = format!("mac0={}&arch=x86_64", self.mac);
        let script = fetch(lab.name(), &format!("service/grub/boot.php?{query}"))
            .context("asking the server what to boot")?;
        fs::write(tftp.join(format!("grub/{}.cfg", self.mac)), script)?;
        let files = tftp.join("fog/service/ipxe");
        fs::create_dir_all(&files)?;
        for name in <[&str; 2]>::from(boot_names(Arch::X86_64)) {
            let from = run_dir.join("boot").join(name);
            fs::copy(&from, files.join(name))
                .with_context(|| format!("copying {}", from.display()))?;
        }
        Ok(())
    }

    /// UEFI firmware, with variables of its own.
    fn flash(&self, qemu: Cmd, code: &str, variables: &str, run_dir: &Path) -> Result<Cmd> {
        let own = run_dir.join(format!("{}.vars", self.name));
        fs::copy(variables, &own).with_context(|| format!("copying {variables}"))?;
        Ok(qemu
            .arg("-drive")
            .arg(format!(
                "if=pflash,format=raw,unit=0,readonly=on,file={code}"
            ))
            .arg("-drive")
            .arg(format!(
                "if=pflash,format=raw,unit=1,file={}",
                own.display()
            )))
    }

    /// What all virtual machines have: a card (with further options), a disk, a console.
    fn machine(&self, lab: &mut Lab, program: &str, card: &str) -> Result<Cmd> {
        let tap = lab.add_tap(self.number)?;
        let mut qemu = Cmd::new(program)
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-m", "512", "-name", &self.name])
            .arg("-netdev")
            .arg(format!("tap,id=net,ifname={tap},script=no,downscript=no"))
            .arg("-drive")
            .arg(self.drive());
        qemu = match &self.sockets {
            None => qemu
                .arg("-serial")
                .arg(format!("file:{}", self.log.display())),
            Some(Sockets { serial, monitor }) => qemu
                .args(["-vga", "std", "-chardev"])
                .arg(format!(
                    "socket,id=serial,path={},server=on,wait=off,logfile={}",
                    serial.display(),
                    self.log.display()
                ))
                .args(["-serial", "chardev:serial", "-monitor"])
                .arg(format!("unix:{},server=on,wait=off", monitor.display())),
        };
        let serial = self.disk_serial();
        Ok(self.hardware.add(qemu, &self.mac, &serial, card))
    }

    /// Starts the agent in a namespace of its own, with the kernel command line that the server would
    /// boot it with.
    pub(crate) fn start_agent(&self, lab: &mut Lab, agent: &Path) -> Result<Running> {
        let namespace = lab.add_client(self.number, &self.mac)?;
        let script = fetch(
            &namespace,
            &format!(
                "service/ipxe/boot.php?mac0={}&arch=x86_64&platform=pcbios",
                self.mac
            ),
        )
        .context("asking the server what to boot")?;
        let cmdline = kernel_arguments(&script)
            .with_context(|| format!("the server boots nothing for {}:\n{script}", self.mac))?;
        Cmd::new(agent)
            .arg("deploy")
            .arg(format!("--cmdline={cmdline}"))
            .arg("--target")
            .arg(&self.disk)
            .args(["--interface", CLIENT_INTERFACE, "--no-reboot"])
            .in_namespace(&namespace)
            .spawn(&self.name, &self.log)
    }
}

/// FOG's names of kernel and initramfs.
pub(crate) const fn boot_names(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::X86_64 => ("bzImage", "init.xz"),
        Arch::Arm64 => ("arm_Image", "arm_init.cpio.gz"),
    }
}

/// In the inode table or data of the second partition, which begins at 65 MiB.
const BAD_SECTOR: u64 = (65 + 40) << 11;

/// The arguments of the `kernel` command in an iPXE script.
fn kernel_arguments(script: &str) -> Option<&str> {
    script.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("kernel ")?.trim_start();
        let (_file, arguments) = rest.split_once(char::is_whitespace)?;
        Some(arguments.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_what_follows_the_kernel_file() {
        let script = "#!ipxe\nset x y\nkernel bzImage loglevel=4 initrd=init.xz  mc=yes\nboot\n";
        assert_eq!(
            kernel_arguments(script),
            Some("loglevel=4 initrd=init.xz  mc=yes")
        );
        assert_eq!(kernel_arguments("#!ipxe\nexit\n"), None);
    }
}
