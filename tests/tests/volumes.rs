//! Deploys of volume groups that LVM's own programs made and partclone captured, looked at with the same programs.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fos_tests::need::root_and_tools;
use fos_tests::shell::sh;
use fos_tests::site::Site;

const MIB: u64 = 1 << 20;
/// Of the captured disk.
const DISK: u64 = 128 * MIB;

/// LVM's programs without its daemons and the device mapper, on one device.
const LVM: &str = r#"
export LVM_SUPPRESS_FD_WARNINGS=1 LVM_SYSTEM_DIR=""
lvm() {
    command=$1; shift
    /usr/bin/env -- lvm "$command" --driverloaded n --nolocking \
        --config "devices { filter=[\"a|^$loop\$|\", \"r|.*|\"] use_devicesfile=0 hints=\"none\" }
            backup { backup=0 archive=0 } activation { udev_sync=0 }" "$@" 2> lvm.log || { cat lvm.log >&2; return 1; }
}
release() { losetup -d "$loop"; }
"#;

/// `root` is in two pieces; the file systems are smaller than their volumes, as FOG's client shrinks them.
const MAKE: &str = r#"
truncate -s 128M disk.raw
sfdisk -q disk.raw <<'END'
label: gpt
start=2048, size=16384, type=L
start=18432, size=229376, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
END
loop=$(losetup -f --show -o $((18432 * 512)) --sizelimit $((229376 * 512)) disk.raw)
trap release EXIT
lvm pvcreate "$loop" > made.log
lvm vgcreate -s 1M --addtag room12 lab-vg.0 "$loop" >> made.log
for volume in root:40M swap:8M home:24M; do
    lvm lvcreate -an -Zn -Wn -L ${volume#*:} -n ${volume%:*} lab-vg.0 >> made.log
done
lvm lvextend -L +8M lab-vg.0/root >> made.log
lvm vgcfgbackup -f $store/d1p2.lvm.vgcfg lab-vg.0 >> made.log
values() { lvm "$1" --noheadings --nosuffix --units s -o "$2" | sed 's/^ *//'; }
{
    echo LVMFORMAT 2
    echo PV $(values pvs pv_uuid) /dev/sda2 229376 98304
    echo VG lab-vg.0 $(values vgs vg_uuid) 2048
    values lvs lv_name,lv_uuid,lv_size | while read name uuid size; do
        case $name in
            swap) echo LV $name $uuid $size $size swap - 8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d ;;
            *) echo LV $name $uuid $size 24576 ext4 d1p2.$name.img - ;;
        esac
    done
} > $store/d1p2.lvm
for file in p1:8M root:20M home:14M; do
    name=${file%:*}
    mkdir tree-$name && head -c 3000000 /dev/urandom > tree-$name/data
    mke2fs -q -t ext4 -d tree-$name $name.ext4 ${file#*:}
    partclone.extfs -c -s $name.ext4 -O $name.img -L log -q
done
zstd -q p1.img -o $store/d1p1.img
zstd -q root.img -o $store/d1p2.root.img
zstd -q home.img -o $store/d1p2.home.img
sfdisk -d disk.raw > $store/d1.partitions
sed 's/size= *229376/size=98304/' $store/d1.partitions > $store/d1.minimum.partitions
echo 1 > $store/d1.fixed_size_partitions
cp disk.raw shrunken.raw
sfdisk -q --wipe never shrunken.raw < $store/d1.minimum.partitions > made.log 2>&1
sgdisk -b $store/d1.mbr shrunken.raw > made.log
cp -r $store images/kept
sgdisk -b images/kept/d1.mbr disk.raw > made.log
rm images/kept/d1.minimum.partitions images/kept/d1.fixed_size_partitions
"#;

/// Prints what LVM says of the group on `$disk`, and takes out the content of its volumes.
const LOOK: &str = r#"
read start size < <(partx -rgb -o START,SECTORS -n 2:2 $disk)
loop=$(losetup -f --show -o $((start * 512)) --sizelimit $((size * 512)) $disk)
trap release EXIT
lvm vgck lab-vg.0
lvm pvs --noheadings -o pv_uuid,vg_uuid,vg_tags,vg_extent_size,pe_start,pv_mda_count
head=$(lvm pvs --noheadings --units b --nosuffix -o pe_start)
lvm lvs --noheadings -o lv_name,lv_uuid,lv_permissions,lv_tags
lvm lvs --segments --noheadings --units b --nosuffix -o lv_name,seg_start_pe,seg_pe_ranges,vg_extent_size > segments
rm -f volume-*
while read name first range extent; do
    first_extent=${range#*:}
    count=$((${first_extent#*-} - ${first_extent%-*} + 1))
    dd if=$loop of=volume-$name bs=$extent count=$count seek=$first iflag=skip_bytes \
        skip=$((head + ${first_extent%-*} * extent)) status=none conv=notrunc
done < segments
"#;

/// The images `n`, whose volumes may be fitted, and `kept`.
fn site() -> Option<Site> {
    let tools = [
        "lvm",
        "losetup",
        "sfdisk",
        "sgdisk",
        "partx",
        "partclone.extfs",
        "mke2fs",
        "e2fsck",
        "zstd",
    ];
    if !root_and_tools(&tools) {
        return None;
    }
    let mut site = Site::without_image(1)?;
    let store = site.path("images/n");
    fs::create_dir_all(&store).unwrap();
    let script = format!("store={}\n{LVM}{MAKE}", store.display());
    sh(&site.path(""), &script);
    site.start_server();
    Some(site)
}

/// What LVM says of the group on a disk. Its volumes are in the site's directory then.
#[track_caller]
fn look(site: &Site, disk: &Path) -> String {
    let script = format!("disk={}\n{LVM}{LOOK}", disk.display());
    sh(&site.path(""), &script)
}

/// The length of a volume that was looked at.
fn len(site: &Site, volume: &str) -> u64 {
    let path = site.path(&format!("volume-{volume}"));
    path.metadata().unwrap().len()
}

#[track_caller]
fn deploy(site: &Site, image: &str, disk: &Path) {
    let session = site.deploy_image(image, &["pc1"], &[]);
    site.start_agent(1, disk).succeed();
    site.wait_for_state(&session, "complete");
}

/// Both file systems fill their volumes and are good, and their files are those of the source.
#[track_caller]
fn assert_grown(site: &Site) {
    for name in ["root", "home"] {
        let script = format!(
            "e2fsck -fn volume-{name} > log 2>&1\n\
             debugfs -R 'cat /data' volume-{name} 2> log | cmp - tree-{name}/data\n\
             dumpe2fs -h volume-{name} 2> log | awk -F: '/^Block count/ {{ n = $2 }} /^Block size/ {{ print n * $2 }}'"
        );
        let filled = sh(&site.path(""), &script);
        assert_eq!(filled.trim(), len(site, name).to_string(), "{name}");
    }
    let swap = sh(&site.path(""), "blkid -p -s UUID -o value volume-swap");
    assert_eq!(swap.trim(), "8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d");
}

#[test]
fn volume_groups_are_what_lvm_and_partclone_restore() {
    let Some(site) = site() else { return };
    site.cli(&["image", "add", "kept", "--type", "mps"])
        .succeed();
    site.cli(&["image", "add", "n", "--type", "n", "--os", "50"])
        .succeed();
    let captured = look(&site, &site.path("disk.raw"));

    let disk = site.empty_disk("same.raw", DISK);
    deploy(&site, "kept", &disk);
    assert_eq!(look(&site, &disk), captured);
    for (name, size) in [("root", 48), ("home", 24)] {
        let script = format!(
            "truncate -s {size}M original\n\
             partclone.restore -C -s {name}.img -O original -L log -q\n\
             cmp original volume-{name}; rm original"
        );
        sh(&site.path(""), &script);
    }
    assert_eq!(len(&site, "swap"), 8 * MIB);

    // 4Kn disks need images of such; sizes follow the disk.
    let sizes = |disk: u64| {
        let megabytes = disk / MIB;
        let disk = site.patterned_disk("fitted.raw", disk);
        // What is left of an earlier life: at 64 KiB of each volume the name of a btrfs, which no stream overwrites.
        let file = fs::File::options().write(true).open(&disk).unwrap();
        for at in 0..megabytes {
            file.write_all_at(b"_BHRfS_M", at * MIB + (64 << 10) + 64)
                .unwrap();
        }
        deploy(&site, "n", &disk);
        assert_eq!(look(&site, &disk), captured);
        assert_grown(&site);
        ["root", "swap", "home"].map(|name| len(&site, name) / MIB)
    };
    let [root, swap, home] = sizes(256 * MIB);
    assert!(root > 48 && swap == 8 && home > 24 && root + home > 220);
    let [root, swap, home] = sizes(80 * MIB);
    assert!((20..48).contains(&root) && swap == 8 && (14..24).contains(&home));

    // 44 MiB are the least, of 58.
    let small = site.patterned_disk("small.raw", 50 * MIB);
    site.deploy_image("n", &["pc1"], &[]);
    let said = fos_tests::site::failed(site.start_agent(1, &small));
    assert!(said.contains("partition"), "{said}");
    fos_tests::site::assert_untouched(&small);
}

#[test]
fn what_is_not_one_group_of_linear_volumes_is_not_added() {
    let Some(site) = site() else { return };
    let backup = site.path("images/kept/d1p2.lvm.vgcfg");
    let text = fs::read_to_string(&backup).unwrap();
    fs::write(&backup, text.replacen("\"striped\"", "\"thin-pool\"", 1)).unwrap();
    let said = site.cli(&["image", "add", "kept", "--type", "mps"]).fail();
    assert!(said.contains("thin-pool"), "{said}");
    fs::write(&backup, text).unwrap();
    let image = site.path("images/kept/d1p2.home.img");
    fs::rename(&image, site.path("home.zst")).unwrap();
    let said = site.cli(&["image", "add", "kept", "--type", "mps"]).fail();
    assert!(said.contains("d1p2.home.img is missing"), "{said}");
}
