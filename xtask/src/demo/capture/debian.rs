//! A Debian that boots by itself, with Debian's own boot loader and initramfs, on a disk of one file. A virtual machine puts it
//! there: whatever this machine's kernel can do, and as an installer does it.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::super::scripted::{Drive, Scripted};
use super::source::System;
use crate::debian::Root;

/// What the system calls itself.
pub(super) const HOST: &str = "captured";
/// Begins the lines in which it says at its start what it has.
pub(super) const REPORT: &str = "captured-system:";

const PACKAGES: &str = "btrfs-progs,dbus,e2fsprogs,grub-efi-amd64-bin,grub-pc-bin,grub2-common,initramfs-tools,kmod,\
    linux-image-cloud-amd64,lvm2,mount,systemd-sysv,udev,zstd";

const MIB: u64 = 1 << 20;
const DISK_MIB: u64 = 2400;

/// Bytes of a smaller disk that the image of a system has to fit on. File systems that are not made smaller need their room.
pub(super) const fn smaller_len(system: System) -> u64 {
    MIB * match system {
        System::Bios | System::Uefi => 1400,
        System::Btrfs => 1700,
        System::Lvm => 1800,
    }
}

/// The files of all these systems; fetched once.
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
pub(super) fn make(system: System, work: &Path, disk: &Path) -> Result<()> {
    let archive = archive()?;
    println!("==> a machine puts a Debian on the disk that is captured");
    File::create(disk)?.set_len(DISK_MIB * MIB)?;
    Scripted {
        name: "install",
        script: &script(system),
        modules: &[
            "ext4",
            "btrfs",
            "dm_mod",
            "vfat",
            "nls_cp437",
            "nls_ascii",
            "nls_iso8859-1",
            "crc32c_generic",
        ],
        programs: &[
            "blkid",
            "lvm",
            "mke2fs",
            "mkfs.btrfs",
            "mkfs.fat",
            "mkswap",
            "sfdisk",
            "tar",
        ],
        disks: &[Drive::Written(disk), Drive::Kept(&archive)],
        memory_mib: 768,
    }
    .run(work)
    .context("putting a Debian on a disk")
    .map(drop)
}

/// Partitions, makes file systems, unpacks, and installs the boot loader.
fn script(system: System) -> String {
    let table = match system {
        System::Bios | System::Btrfs => {
            let root = if system == System::Bios { 1900 } else { 1200 };
            format!(
                "label: dos\nlabel-id: 0xf05c0001\n\
                 start=1MiB, size={root}MiB, type=83, bootable\n\
                 start={}MiB, size=258MiB, type=5\n\
                 /dev/vda5: start={}MiB, size=256MiB, type=82\n",
                root + 1,
                root + 2
            )
        }
        System::Uefi => "label: gpt\nlabel-id: 5F0C0004-2D1A-4C0E-9A6B-0000000000FF\n\
             start=1MiB, size=64MiB, type=U, name=\"EFI System Partition\"\n\
             size=1900MiB, type=L\n\
             size=256MiB, type=S\n"
            .to_owned(),
        System::Lvm => "label: dos\nlabel-id: 0xf05c0002\n\
             start=1MiB, size=200MiB, type=83, bootable\n\
             size=1400MiB, type=8e\n"
            .to_owned(),
    };
    let (file_systems, fstab) = match system {
        System::Bios => (
            "root=/dev/vda1 swap=/dev/vda5\n\
             ext4 $root; /usr/sbin/mkswap $swap; mount -t ext4 $root /mnt",
            "UUID=$(uuid $root) / ext4 errors=remount-ro 0 1\nUUID=$(uuid $swap) none swap sw 0 0",
        ),
        System::Btrfs => (
            "root=/dev/vda1 swap=/dev/vda5\n\
             mkfs.btrfs -q $root; /usr/sbin/mkswap $swap; mount -t btrfs $root /mnt",
            "UUID=$(uuid $root) / btrfs defaults 0 0\nUUID=$(uuid $swap) none swap sw 0 0",
        ),
        System::Uefi => (
            "root=/dev/vda2 swap=/dev/vda3\n\
             ext4 $root; /usr/sbin/mkswap $swap; mount -t ext4 $root /mnt\n\
             mkfs.fat -F 32 /dev/vda1; mkdir -p /mnt/boot/efi; mount -t vfat /dev/vda1 /mnt/boot/efi",
            "UUID=$(uuid $root) / ext4 errors=remount-ro 0 1\nUUID=$(uuid $swap) none swap sw 0 0\n\
             UUID=$(uuid /dev/vda1) /boot/efi vfat umask=0077 0 1",
        ),
        System::Lvm => (
            "lvm() {\n\
             command=$1; shift\n\
             /usr/sbin/lvm $command --nolocking --config \"devices { use_devicesfile=0 hints=\\\"none\\\" }\n\
             backup { backup=0 archive=0 } activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 }\" \"$@\"\n\
             }\n\
             lvm pvcreate /dev/vda2; lvm vgcreate group /dev/vda2\n\
             lvm lvcreate -Zn -Wn -L 1100M -n root group; lvm lvcreate -Zn -Wn -L 200M -n swap group\n\
             root=/dev/mapper/group-root swap=/dev/mapper/group-swap\n\
             ext4 $root; /usr/sbin/mkswap $swap; mount -t ext4 $root /mnt\n\
             ext4 /dev/vda1; mkdir -p /mnt/boot; mount -t ext4 /dev/vda1 /mnt/boot",
            "$root / ext4 errors=remount-ro 0 1\n$swap none swap sw 0 0\n\
             UUID=$(uuid /dev/vda1) /boot ext4 defaults 0 2",
        ),
    };
    let grub = match system {
        System::Uefi => {
            "grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram"
        }
        System::Bios | System::Btrfs | System::Lvm => "grub-install --target=i386-pc /dev/vda",
    };
    format!(
        "uuid() {{ blkid -p -s UUID -o value $1; }}\n\
         # Not busybox'. As Debian has it: its GRUB does not know the two.\n\
         ext4() {{ /usr/sbin/mke2fs -q -t ext4 -O ^metadata_csum_seed,^orphan_file $1; }}\n\
         sfdisk -q /dev/vda << TABLE\n{table}TABLE\n\
         {file_systems}\n\
         /usr/sbin/tar --numeric-owner -xf /dev/vdb -C /mnt\n\
         echo 5f0c0004000040008000000000000001 > /mnt/etc/machine-id\n\
         cat > /mnt/etc/fstab << FSTAB\n{fstab}\nFSTAB\n\
         mount -t proc proc /mnt/proc; mount -t sysfs sys /mnt/sys; mount -t tmpfs run /mnt/run\n\
         mount --bind /dev /mnt/dev\n\
         # As udev does it: else the boot loader would name the disk of this machine.\n\
         mkdir -p /dev/disk/by-uuid\n\
         for device in /dev/vda[0-9]; do\n\
         uuid=$(uuid $device || true); [ -z \"$uuid\" ] || ln -sf $device /dev/disk/by-uuid/$uuid\n\
         done\n\
         busybox chroot /mnt /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C sh -ec '\n\
         {grub}\n\
         update-grub\n\
         '\n\
         for place in dev run sys proc boot/efi boot; do\n\
         ! grep -q \" /mnt/$place \" /proc/mounts || umount /mnt/$place\n\
         done\n\
         umount /mnt\n\
         sync\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_captured_is_larger_than_the_smaller_disk() {
        for system in [System::Bios, System::Uefi, System::Btrfs, System::Lvm] {
            assert!(smaller_len(system) < DISK_MIB * MIB);
            assert!(script(system).contains("grub-install"));
        }
    }
}
