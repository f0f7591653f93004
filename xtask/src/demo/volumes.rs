//! A partition with a volume group: how it is captured, and whether it is there on a client's disk.
//!
//! LVM's own programs make it without the device mapper, which the kernel of this machine may not have. A virtual machine
//! activates what was deployed, mounts the volumes, and says what is in them.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::scripted::{Drive, Scripted};
use crate::process::Cmd;

/// Length of the partition.
pub(super) const MIB: u64 = 112;

/// Where the volume group is.
pub(super) struct Place<'a> {
    pub(super) disk: &'a Path,
    /// Of the partition, in bytes.
    pub(super) offset: u64,
    /// Number of the partition.
    pub(super) number: u32,
}

/// Makes a volume group, and of it what FOG's client captures. `fill` makes a directory with so many bytes of files.
/// Answers what [`look`] is to find.
pub(super) fn make(
    place: &Place<'_>,
    work: &Path,
    store: &Path,
    fill: impl Fn(&Path, u64, u64) -> Result<()>,
) -> Result<String> {
    for (seed, (volume, _, mib)) in (10..).zip(WITH_FILES) {
        fill(&work.join(volume), mib << 20, seed)?;
    }
    let script = format!("set -e -o pipefail\n{MAKE}");
    let number = place.number.to_string();
    let (offset, len) = (place.offset.to_string(), (MIB << 20).to_string());
    Cmd::new("bash")
        .args(["-c", &script, "bash"])
        .arg(place.disk)
        .args([&offset, &len, &number])
        .arg(work)
        .arg(store)
        .quiet()
        .context("making a volume group")?;
    let mut list = String::new();
    for (volume, _, _) in WITH_FILES {
        let listed = Cmd::new("sh")
            .args(["-c", &format!("cd \"$1\" && {LIST}"), "sh"])
            .arg(work.join(volume))
            .output()?;
        list.push_str(&lines_of(volume, &listed));
    }
    list.push_str(&format!("swap {SWAP_UUID}\n"));
    Ok(list)
}

/// Volumes with files: name, MiB of the volume, MiB of the files. Swap is between them.
const WITH_FILES: [(&str, u64, u64); 2] = [("root", 48, 20), ("home", 32, 10)];
const SWAP_UUID: &str = "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d";

/// The checksums of all files, in an order of its own.
const LIST: &str =
    "find . -type f ! -path './lost+found/*' -exec sha256sum {} + | LC_ALL=C sort -k 2";

fn lines_of(volume: &str, listed: &str) -> String {
    let lines = listed.lines().map(|line| format!("{volume} {line}\n"));
    lines.collect()
}

/// Arguments: disk, offset and length of the partition, its number, directory to work in, directory of the image.
const MAKE: &str = r#"
disk=$1 offset=$2 len=$3 number=$4 work=$5 store=$6
loop=$(losetup -f --show -o $offset --sizelimit $len "$disk")
trap 'losetup -d "$loop"' EXIT
export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=""
lvm() {
    command=$1; shift
    env -- lvm "$command" --driverloaded n --nolocking \
        --config "devices { filter=[\"a|^$loop\$|\", \"r|.*|\"] use_devicesfile=0 hints=\"none\" }
            backup { backup=0 archive=0 } activation { udev_sync=0 }" "$@"
}
lvm pvcreate "$loop" > /dev/null
lvm vgcreate -s 1M lab "$loop" > /dev/null
for volume in root:48M swap:8M home:32M; do
    lvm lvcreate -an -Zn -Wn -L ${volume#*:} -n ${volume%:*} lab > /dev/null
done
part=d1p$number
lvm vgcfgbackup -f "$store/$part.lvm.vgcfg" lab > /dev/null
values() { lvm "$1" --noheadings --nosuffix --units s -o "$2" | sed 's/^ *//'; }
{
    echo LVMFORMAT 2
    echo PV $(values pvs pv_uuid) /dev/sda$number $((len / 512)) $((len / 512))
    echo VG lab $(values vgs vg_uuid) 2048
    values lvs lv_name,lv_uuid,lv_size | while read name uuid size; do
        case $name in
            swap) echo LV $name $uuid $size $size swap - 8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d ;;
            *) echo LV $name $uuid $size $size ext4 $part.$name.img - ;;
        esac
    done
} > "$store/$part.lvm"
for volume in root:48M home:32M; do
    name=${volume%:*}
    mke2fs -q -t ext4 -d "$work/$name" "$work/$name.ext4" ${volume#*:}
    TERM=linux partclone.extfs -c -a0 -L /dev/null -s "$work/$name.ext4" -o - | zstd -q > "$store/$part.$name.img"
    rm "$work/$name.ext4"
done
"#;

/// A machine that has these disks, which are only read, activates the volume group of each by itself and compares what is
/// in it with `list`.
pub(super) fn look(disks: &[&Path], list: &str, run_dir: &Path) -> Result<()> {
    let drives: Vec<Drive<'_>> = disks.iter().map(|disk| Drive::Kept(disk)).collect();
    let said = Scripted {
        name: "volumes",
        script: &script(),
        modules: &["dm_mod", "ext4", "crc32c_generic"],
        programs: &["lvm", "blkid"],
        disks: &drives,
        memory_mib: 256,
    }
    .run(run_dir)?;
    let mut found = said.split(BEGIN);
    // What the kernel says.
    found.next();
    let found: Vec<&str> = found
        .filter_map(|part| part.split_once(END).map(|(found, _)| found.trim_start()))
        .collect();
    if found.len() != disks.len() {
        bail!(
            "of {} disks {} were looked at:\n{said}",
            disks.len(),
            found.len()
        );
    }
    for (disk, found) in disks.iter().zip(found) {
        if found != list {
            bail!(
                "{}: the volumes are not those of the image:\n{found}\ninstead of:\n{list}",
                disk.display()
            );
        }
    }
    Ok(())
}

/// What it does.
fn script() -> String {
    let volumes: Vec<&str> = WITH_FILES.iter().map(|(volume, ..)| *volume).collect();
    format!(
        "for disk in /dev/vd?; do\n\
         config=\"devices {{ filter=[\\\"a|^$disk[0-9]|\\\",\\\"r|.*|\\\"] use_devicesfile=0 hints=\\\"none\\\" }}\n\
         backup {{ backup=0 archive=0 }} activation {{ udev_sync=0 udev_rules=0 verify_udev_operations=1 }}\"\n\
         lvm vgchange -ay --nolocking --config \"$config\" lab\n\
         echo {BEGIN}\n\
         for volume in {}; do\n\
         mount -t ext4 -o ro /dev/mapper/lab-$volume /mnt && (cd /mnt && {LIST}) | sed \"s/^/$volume /\"\n\
         umount /mnt\n\
         done\n\
         echo swap $(blkid -p -s UUID -o value -u other /dev/mapper/lab-swap)\n\
         echo {END}\n\
         lvm vgchange -an --nolocking --config \"$config\" lab\n\
         done",
        volumes.join(" ")
    )
}

const BEGIN: &str = "volumes-begin";
const END: &str = "volumes-end";
