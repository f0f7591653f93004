//! A switch whose port to the clients carries a tagged VLAN and nothing else. The kernel of the machine that we run on may
//! have no VLANs, so a virtual machine is the switch.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::lab::Lab;
use crate::{
    initramfs,
    process::{Cmd, Running},
    signals::wait_for,
};

/// The switch. Dropping it switches it off.
#[derive(Debug)]
pub(crate) struct Switch {
    _machine: Running,
}

impl Switch {
    /// Switches it on, and waits until it forwards.
    pub(crate) fn start(lab: &mut Lab, id: u16, run_dir: &Path) -> Result<Self> {
        let files = initramfs::of_script(&script(id), &MODULES, &[])?;
        let archive = run_dir.join("switch.cpio");
        files.initramfs.write(&archive)?;
        let log = run_dir.join("switch.log");
        let mut qemu = Cmd::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-no-reboot", "-m", "256", "-serial"])
            .arg(format!("file:{}", log.display()))
            .arg("-kernel")
            .arg(&files.kernel)
            .arg("-initrd")
            .arg(&archive)
            .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check"]);
        for tap in lab.add_trunk()? {
            qemu = qemu
                .arg("-netdev")
                .arg(format!("tap,id={tap},ifname={tap},script=no,downscript=no"))
                .arg("-device")
                .arg(format!("virtio-net-pci,netdev={tap},romfile="));
        }
        let qemu_log = run_dir.join("switch.qemu.log");
        let mut machine = qemu
            .in_namespace(lab.name())
            .spawn("the switch", &qemu_log)?;
        wait_for("the switch to forward", BOOT, || {
            machine.must_run()?;
            let said = fs::read_to_string(&log).unwrap_or_default();
            Ok(said.contains(READY).then_some(()))
        })
        .with_context(|| crate::process::tail(&log))?;
        println!("==> the clients' ports carry VLAN {id}, tagged, and nothing else");
        Ok(Self { _machine: machine })
    }
}

/// Its first process.
fn script(id: u16) -> String {
    format!(
        "#!/bin/busybox sh\n\
         export PATH=/bin\n\
         mount -t devtmpfs dev /dev\n\
         mount -t sysfs sys /sys\n\
         for module in $(cat /lib/modules/list); do busybox insmod $module; done\n\
         ip link add link eth1 name vlan type vlan id {id}\n\
         busybox brctl addbr br0\n\
         for port in eth0 vlan; do busybox brctl addif br0 $port; done\n\
         for card in eth0 eth1 vlan br0; do ip link set $card up; done && echo {READY}\n\
         while true; do sleep 1000; done\n"
    )
}

const MODULES: [&str; 4] = ["virtio_pci", "virtio_net", "8021q", "bridge"];
const READY: &str = "the switch forwards";
const BOOT: Duration = Duration::from_secs(180);
