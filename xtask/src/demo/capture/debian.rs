//! A Debian that boots by itself, with Debian's own boot loader and initramfs, on a disk of one file. A virtual machine puts it
//! there: whatever this machine's kernel can do, and as an installer does it.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::super::scripted::{Drive, Scripted};
use crate::debian::Root;

/// What the system calls itself.
pub(super) const HOST: &str = "captured";
/// Begins the lines in which it says at its start what it has.
pub(super) const REPORT: &str = "captured-system:";

const PACKAGES: &str = "btrfs-progs,dbus,e2fsprogs,grub-efi-amd64-bin,grub-pc-bin,grub2-common,initramfs-tools,kmod,\
    linux-image-cloud-amd64,lvm2,mount,systemd-sysv,udev,zstd";

const MIB: u64 = 1 << 20;
const DISK_MIB: u64 = 2400;

/// Bytes of a smaller disk that the image has to fit on.
pub(super) const SMALLER_LEN: u64 = 1400 * MIB;

/// The files of the system; fetched once.
fn archive() -> Result<PathBuf> {
    Root {
        name: "bootable",
        packages: PACKAGES,
        options: &[
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--dpkgopt=path-exclude=/usr/share/info/*",
        ],
        script: &customize(),
    }
    .archive()
}

/// In the root directory.
fn customize() -> String {
    format!(
        r#"
echo {HOST} > etc/hostname
cat > etc/default/grub << 'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="console=ttyS0 quiet no_timer_check"
GRUB_TERMINAL=console
GRUB_DISABLE_OS_PROBER=true
END
cat > usr/local/sbin/say-what-there-is << 'END'
#!/bin/sh
{{
    echo "{REPORT} root $(findmnt -n -o SOURCE,FSTYPE,SIZE /)"
    swapon --noheadings --show=NAME,SIZE | sed 's/^/{REPORT} swap /'
    failed=$(systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | tr '\n' ' ')
    echo "{REPORT} failed ${{failed:-none}}"
    echo "{REPORT} end"
}} > /dev/console
END
chmod 755 usr/local/sbin/say-what-there-is
cat > etc/systemd/system/say-what-there-is.service << 'END'
[Unit]
After=local-fs.target swap.target systemd-logind.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/say-what-there-is
END
mkdir -p etc/systemd/system/multi-user.target.wants
ln -s ../say-what-there-is.service etc/systemd/system/multi-user.target.wants/
"#
    )
}

/// Puts a system on a new disk.
pub(super) fn make(work: &Path, disk: &Path) -> Result<()> {
    let archive = archive()?;
    println!("==> a machine puts a Debian on the disk that is captured");
    File::create(disk)?.set_len(DISK_MIB * MIB)?;
    Scripted {
        name: "install",
        script: SCRIPT,
        modules: &["ext4", "crc32c_generic"],
        programs: &["blkid", "mke2fs", "mkswap", "sfdisk", "tar"],
        disks: &[Drive::Written(disk), Drive::Kept(&archive)],
        memory_mib: 768,
    }
    .run(work)
    .context("putting a Debian on a disk")
    .map(drop)
}

/// Partitions, makes file systems, unpacks, and installs the boot loader. The programs with a path are not busybox'.
const SCRIPT: &str = r#"
uuid() { blkid -p -s UUID -o value $1; }
sfdisk -q /dev/vda << 'TABLE'
label: dos
label-id: 0xf05c0001
start=1MiB, size=1900MiB, type=83, bootable
start=1901MiB, size=258MiB, type=5
/dev/vda5: start=1902MiB, size=256MiB, type=82
TABLE
root=/dev/vda1 swap=/dev/vda5
# As Debian has it: its GRUB does not know the two.
/usr/sbin/mke2fs -q -t ext4 -O ^metadata_csum_seed,^orphan_file $root
/usr/sbin/mkswap $swap
mount -t ext4 $root /mnt
/usr/sbin/tar --numeric-owner -xf /dev/vdb -C /mnt
echo 5f0c0004000040008000000000000001 > /mnt/etc/machine-id
cat > /mnt/etc/fstab << FSTAB
UUID=$(uuid $root) / ext4 errors=remount-ro 0 1
UUID=$(uuid $swap) none swap sw 0 0
FSTAB
mount -t proc proc /mnt/proc; mount -t sysfs sys /mnt/sys; mount -t tmpfs run /mnt/run
mount --bind /dev /mnt/dev
# As udev does it: else the boot loader would name the disk of this machine.
mkdir -p /dev/disk/by-uuid
for device in $root $swap; do ln -s $device /dev/disk/by-uuid/$(uuid $device); done
busybox chroot /mnt /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C sh -ec '
grub-install --target=i386-pc /dev/vda
update-grub
'
for place in dev run sys proc; do umount /mnt/$place; done
umount /mnt
sync
"#;
