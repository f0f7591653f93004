//! What is on disks: every file system, swap space and logical volume, as a machine sees them that mounts them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::super::scripted::{Drive, Scripted};
use crate::process::Cmd;

/// What is on a disk.
#[derive(Debug)]
pub(super) struct Listing {
    /// A line for each partition and volume, each file with its checksum, and the owner, mode and time of everything.
    pub(super) text: String,
    pub(super) sizes: Vec<FileSystemSize>,
}

/// How large a file system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileSystemSize {
    /// `partition 1`, or `volume demo-root`.
    pub(super) place: String,
    /// As `blkid` calls it.
    pub(super) kind: String,
    /// Bytes from its beginning to its end, as it says; of FAT and the like only what it has for files.
    pub(super) len: u64,
    /// Bytes of its partition or volume.
    pub(super) place_len: u64,
}

impl Listing {
    /// Fails at the first difference of content; sizes may differ.
    pub(super) fn must_have_content_of(&self, other: &Self) -> Result<()> {
        let difference = other
            .text
            .lines()
            .map(Some)
            .chain(std::iter::repeat(None))
            .zip(self.text.lines().map(Some).chain(std::iter::repeat(None)))
            .take_while(|pair| *pair != (None, None))
            .find(|(want, have)| want != have);
        match difference {
            None => Ok(()),
            Some((want, have)) => bail!(
                "what is on the disk differs:\n  {}\ninstead of\n  {}",
                have.unwrap_or("nothing"),
                want.unwrap_or("nothing")
            ),
        }
    }

    /// The lines of partitions and volumes.
    pub(super) fn places(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| line.starts_with("== "))
    }

    /// How many regular files there are.
    pub(super) fn file_count(&self) -> usize {
        let lines = self.text.lines();
        lines.filter(|line| line.starts_with("sha256 ")).count()
    }
}

/// Looks at disks, which are only read. Files go into `dir`.
///
/// # Errors
/// Something on a disk cannot be mounted.
pub(super) fn list(disks: &[&Path], name: &str, dir: &Path) -> Result<Vec<Listing>> {
    let output = dir.join(format!("{name}.out"));
    File::create(&output)
        .and_then(|file| file.set_len(OUTPUT_LEN))
        .with_context(|| format!("making {}", output.display()))?;
    let mut drives: Vec<Drive<'_>> = disks.iter().map(|disk| Drive::Kept(disk)).collect();
    drives.push(Drive::Written(&output));
    Scripted {
        name,
        script: &script(disks.len())?,
        modules: &[
            "dm_mod",
            "ext4",
            "btrfs",
            "vfat",
            "nls_cp437",
            "nls_ascii",
            "nls_iso8859-1",
            "fuse",
            "crc32c_generic",
        ],
        programs: &["blkid", "dumpe2fs", "lvm", "ntfs-3g"],
        disks: &drives,
        memory_mib: 512,
    }
    .run(dir)?;
    let lists = dir.join(format!("{name}.lists"));
    fs::create_dir_all(&lists)?;
    Cmd::new("tar")
        .arg("-xf")
        .arg(&output)
        .arg("-C")
        .arg(&lists)
        .quiet()
        .context("unpacking what the machine has listed")?;
    (0..disks.len())
        .map(|index| {
            let read = |end: &str| {
                let path: PathBuf = lists.join(format!("{index}{end}"));
                fs::read(&path)
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .with_context(|| format!("reading {}", path.display()))
            };
            Ok(Listing {
                text: read("")?,
                sizes: sizes(&read(".sizes")?)?,
            })
        })
        .collect()
}

/// `PLACE|KIND|LEN|LEN OF PLACE`
fn sizes(text: &str) -> Result<Vec<FileSystemSize>> {
    text.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            let [place, kind, len, place_len] = fields[..] else {
                bail!("a line of sizes: {line}");
            };
            Ok(FileSystemSize {
                place: place.to_owned(),
                kind: kind.to_owned(),
                len: len.parse().with_context(|| format!("a size in {line}"))?,
                place_len: place_len
                    .parse()
                    .with_context(|| format!("a size in {line}"))?,
            })
        })
        .collect()
}

/// The disk behind those that are looked at takes the lists, as an archive.
fn script(disks: usize) -> Result<String> {
    let letters = ('a'..='z').take(disks).map(String::from);
    let output = ('a'..='z').nth(disks).context("too many disks")?;
    let list: Vec<String> = letters.collect();
    Ok(format!(
        "disks='{}'\noutput=/dev/vd{output}\n{LIST}",
        list.join(" ")
    ))
}

const OUTPUT_LEN: u64 = 64 << 20;

/// Of a directory of ext4's own, and of what a mounted NTFS shows of itself, the content is no files.
const LIST: &str = r#"
mkdir -p /lists
tag() { blkid -p -s $2 -o value $1 || true; }
place() { # DEVICE NAME
    kind=$(tag $1 TYPE)
    echo "== $2: ${kind:-nothing known} $(tag $1 UUID) $(tag $1 LABEL)" >> $list
    case $kind in
        ''|swap) return 0 ;;
        LVM2_member) volumes $1; return 0 ;;
        ntfs) ntfs-3g -o ro $1 /mnt ;;
        *) mount -t $kind -o ro $1 /mnt ;;
    esac
    (cd /mnt
        find . -xdev -type f ! -path './lost+found/*' -exec sha256sum {} + | sed 's/^/sha256 /' | LC_ALL=C sort -k 3
        find . -xdev ! -path './lost+found*' -exec stat -c '%N %f %u %g %Y' {} + | LC_ALL=C sort
    ) >> $list
    echo "$2|$kind|$(len $1 $kind)|$(($(cat /sys/class/block/$(basename $(readlink -f $1))/size) * 512))" >> $list.sizes
    umount /mnt
}
len() { # DEVICE KIND
    case $2 in
        ext*) dumpe2fs -h $1 2> /dev/null | sed -n 's/^Block count: *//p; s/^Block size: *//p' ;;
        *) stat -f -c '%b %S' /mnt ;;
    esac | tr '\n' ' ' | (read count size; echo $((count * size)))
}
volumes() { # DEVICE
    lvm="lvm"
    config="devices { filter=[\"a|^$1\$|\",\"r|.*|\"] use_devicesfile=0 hints=\"none\" }
        backup { backup=0 archive=0 } activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 }"
    group=$($lvm pvs --nolocking --noheadings -o vg_name --config "$config" $1 | tr -d ' ')
    $lvm vgchange -ay --nolocking --config "$config" $group
    for volume in /dev/mapper/$group-*; do place $volume "volume ${volume##*/}"; done
    $lvm vgchange -an --nolocking --config "$config" $group
}
index=0
for letter in $disks; do
    list=/lists/$index
    : > $list
    : > $list.sizes
    for number in 1 2 3 4 5 6 7 8; do
        [ -b /dev/vd$letter$number ] || continue
        # An extended partition holds others.
        [ $(cat /sys/class/block/vd$letter$number/size) -gt 2 ] || continue
        place /dev/vd$letter$number "partition $number"
    done
    index=$((index + 1))
done
tar -cf - -C /lists . > $output
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Listing {
        Listing {
            text: text.to_owned(),
            sizes: Vec::new(),
        }
    }

    #[test]
    fn any_difference_of_content_is_found() {
        let whole = listing("== partition 1: ext4 x y\nsha256 aa  ./a\n'./a' 81a4 0 0 1\n");
        assert_eq!(whole.file_count(), 1);
        assert_eq!(whole.places().count(), 1);
        assert!(whole.must_have_content_of(&whole).is_ok());
        for other in [
            "",
            "== partition 1: ext4 x y\nsha256 aa  ./a\n",
            "== partition 1: ext4 x y\nsha256 ab  ./a\n'./a' 81a4 0 0 1\n",
            "== partition 1: ext4 x y\nsha256 aa  ./a\n'./a' 81a4 0 0 1\nmore\n",
        ] {
            assert!(listing(other).must_have_content_of(&whole).is_err());
            assert!(whole.must_have_content_of(&listing(other)).is_err());
        }
    }

    #[test]
    fn sizes_are_read() {
        let found = sizes("partition 1|ext4|1000|2000\n").unwrap();
        assert_eq!(found[0].place, "partition 1");
        assert_eq!((found[0].len, found[0].place_len), (1000, 2000));
        assert!(sizes("partition 1|ext4|1000\n").is_err());
        assert!(sizes("partition 1|ext4|x|1\n").is_err());
    }

    #[test]
    fn the_lists_go_to_the_disk_behind_those_that_are_looked_at() {
        let text = script(3).unwrap();
        assert!(text.starts_with("disks='a b c'\noutput=/dev/vdd\n"));
        assert!(script(26).is_err());
    }
}
