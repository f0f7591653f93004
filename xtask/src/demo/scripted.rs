//! A virtual machine that carries out a script and switches itself off: for what the kernel of this machine may not be able
//! to do (device mapper, file systems), and for what has to see a disk as a machine does.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{
    initramfs,
    process::{Cmd, tail},
    signals::wait_for,
};

/// What is carried out, and what for.
#[derive(Debug)]
pub(super) struct Scripted<'a> {
    /// Names the machine, and its files.
    pub(super) name: &'a str,
    /// Of busybox' shell, which ends at the first command that fails.
    pub(super) script: &'a str,
    /// Kernel modules beside those of virtio disks.
    pub(super) modules: &'a [&'a str],
    /// Programs of this machine.
    pub(super) programs: &'a [&'a str],
    /// In this order `/dev/vda`, `/dev/vdb`, ...
    pub(super) disks: &'a [Drive<'a>],
    pub(super) memory_mib: u32,
}

/// A disk of the machine, in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drive<'a> {
    Written(&'a Path),
    /// What is written is forgotten: a file system that is mounted may have to be put in order.
    Kept(&'a Path),
}

impl Scripted<'_> {
    /// Runs it; answers what it said, the kernel's lines among it. Files go into `dir`.
    ///
    /// # Errors
    /// A command of the script fails, or the machine does not end.
    pub(super) fn run(&self, dir: &Path) -> Result<String> {
        let name = self.name;
        let modules: Vec<&str> = BASE.iter().chain(self.modules).copied().collect();
        let files = initramfs::of_script(&init(self.script), &modules, self.programs)?;
        let archive = dir.join(format!("{name}.cpio"));
        files.initramfs.write(&archive)?;
        let log = dir.join(format!("{name}.log"));
        let mut qemu = Cmd::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-m", &self.memory_mib.to_string()])
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .arg("-kernel")
            .arg(&files.kernel)
            .arg("-initrd")
            .arg(&archive)
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
        for disk in self.disks {
            let (path, how) = match disk {
                Drive::Written(path) => (path, "cache=unsafe,discard=unmap"),
                Drive::Kept(path) => (path, "snapshot=on"),
            };
            qemu = qemu.arg("-drive").arg(format!(
                "if=virtio,format=raw,{how},file={}",
                path.display()
            ));
        }
        let mut machine = qemu.spawn(name, &dir.join(format!("{name}.qemu.log")))?;
        let what = format!("the machine \"{name}\" to end");
        wait_for(&what, LIMIT, || machine.ended()).with_context(|| tail(&log))?;
        fs::remove_file(&archive)?;
        let said = String::from_utf8_lossy(&fs::read(&log)?).replace('\r', "");
        if !said.lines().any(|line| line == SUCCEEDED) {
            bail!(
                "the script of the machine \"{name}\" failed\n{}",
                tail(&log)
            );
        }
        Ok(said)
    }
}

/// The first process: a failure of the script itself does not keep the machine running.
fn init(script: &str) -> String {
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin:/usr/sbin LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=\n\
         mount -t devtmpfs dev /dev\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         for module in $(cat /lib/modules/list); do busybox insmod $module; done\n\
         cat > /script << '{END}'\n{script}\n{END}\n\
         sh -e /script && echo && echo {SUCCEEDED}\n\
         poweroff -f\n"
    )
}

const BASE: [&str; 2] = ["virtio_pci", "virtio_blk"];
const END: &str = "script-ends";
const SUCCEEDED: &str = "script-succeeded";
const LIMIT: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_carried_as_it_is() {
        let script = "echo \"$HOME\" 'a b' `true`";
        assert!(init(script).contains(&format!("\n{script}\n{END}\n")));
    }
}
