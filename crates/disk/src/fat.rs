//! Whether a FAT file system has a file: as much of it as is needed to see what UEFI firmware would start.
//!
//! Structures: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03; UEFI specification, section 13.3. Only
//! short names are looked at. Nothing is read beyond the file system, and of a directory at most [`DIRECTORY_MAX`] bytes.

#![warn(clippy::indexing_slicing)]

use std::io;

/// Reads `len` octets at a place in bytes from the start of the file system.
pub type ReadAt<'a> = dyn FnMut(u64, usize) -> io::Result<Vec<u8>> + 'a;

/// Whether there is a file at `path`: the names of its directories and its own, each with at most eight letters and an
/// extension of three. Case does not matter. `Ok(None)`: it is no FAT file system.
///
/// # Errors
/// Of `read`.
pub fn fat_has_file(path: &[&str], read: &mut ReadAt<'_>) -> io::Result<Option<bool>> {
    let Some(fat) = Fat::of_boot_sector(&read(0, 512)?) else {
        return Ok(None);
    };
    let Some((file, directories)) = path.split_last() else {
        return Ok(Some(false));
    };
    let mut at = fat.root;
    for name in directories {
        let found = fat.find(at, name, read)?;
        let Some(directory) = found.filter(|entry| entry.is_directory) else {
            return Ok(Some(false));
        };
        at = Directory::At(directory.cluster);
    }
    let found = fat.find(at, file, read)?;
    Ok(Some(
        found.is_some_and(|entry| !entry.is_directory && entry.len > 0),
    ))
}

/// Where a directory is.
#[derive(Clone, Copy)]
enum Directory {
    /// From this cluster on.
    At(u32),
    /// The root of FAT12 and FAT16: place and length in bytes.
    Fixed(u64, u64),
}

#[derive(Clone, Copy)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

struct Fat {
    width: Width,
    /// Of the first table, in bytes.
    table: u64,
    /// Of cluster 2, in bytes.
    data: u64,
    cluster_len: u64,
    clusters: u64,
    root: Directory,
}

struct Entry {
    is_directory: bool,
    cluster: u32,
    len: u32,
}

impl Fat {
    fn of_boot_sector(boot: &[u8]) -> Option<Self> {
        let word = |at| word(boot, at);
        let long = |at| long(boot, at);
        let byte = |at: usize| boot.get(at).copied().map(u64::from);
        let sector = u64::from(word(11)?);
        let per_cluster = byte(13)?;
        let is_fat = word(510)? == 0xaa55
            && sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && per_cluster.is_power_of_two();
        let (reserved, tables) = (u64::from(word(14)?), byte(16)?);
        if !is_fat || reserved == 0 || !(1..=2).contains(&tables) {
            return None;
        }
        let either = |short: u16, long: u32| match short {
            0 => u64::from(long),
            short => u64::from(short),
        };
        let total = either(word(19)?, long(32)?);
        let table_len = either(word(22)?, long(36)?);
        let root_len = u64::from(word(17)?) * 32;
        let root_sectors = root_len.div_ceil(sector);
        // All are below 2^32, and so is what they make below 2^64.
        let before = reserved + tables * table_len + root_sectors;
        let clusters = total.checked_sub(before)? / per_cluster;
        let width = match clusters {
            ..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let root = match width {
            Width::Fat32 => Directory::At(long(44)?),
            _ => Directory::Fixed((reserved + tables * table_len) * sector, root_len),
        };
        (table_len > 0 && clusters > 0).then_some(Self {
            width,
            table: reserved * sector,
            data: before * sector,
            cluster_len: per_cluster * sector,
            clusters,
            root,
        })
    }

    /// The entry with this name.
    fn find(
        &self,
        directory: Directory,
        name: &str,
        read: &mut ReadAt<'_>,
    ) -> io::Result<Option<Entry>> {
        let Some(wanted) = short_name(name) else {
            return Ok(None);
        };
        match directory {
            Directory::Fixed(at, len) => {
                let len = usize::try_from(len).unwrap_or(0).min(DIRECTORY_MAX);
                Ok(match search(&read(at, len)?, &wanted) {
                    Search::Found(entry) => Some(entry),
                    Search::End | Search::GoesOn => None,
                })
            }
            Directory::At(first) => {
                let len = usize::try_from(self.cluster_len).unwrap_or(DIRECTORY_MAX);
                let mut cluster = first;
                let mut left = DIRECTORY_MAX;
                // A chain that is damaged may be a ring.
                while let (Some(at), Some(rest)) = (self.place(cluster), left.checked_sub(len)) {
                    left = rest;
                    match search(&read(at, len)?, &wanted) {
                        Search::Found(entry) => return Ok(Some(entry)),
                        Search::End => return Ok(None),
                        Search::GoesOn => cluster = self.next(cluster, read)?,
                    }
                }
                Ok(None)
            }
        }
    }

    /// Of a cluster that there is.
    fn place(&self, cluster: u32) -> Option<u64> {
        let index = u64::from(cluster).checked_sub(2)?;
        (index < self.clusters).then(|| self.data + index * self.cluster_len)
    }

    /// The cluster behind this one; a number that no cluster has at the end.
    fn next(&self, cluster: u32, read: &mut ReadAt<'_>) -> io::Result<u32> {
        let cluster = u64::from(cluster);
        Ok(match self.width {
            Width::Fat12 => {
                let bytes = read(self.table + cluster + cluster / 2, 2)?;
                let both = u32::from(word(&bytes, 0).unwrap_or(u16::MAX));
                match cluster % 2 {
                    0 => both & 0x0fff,
                    _ => both >> 4,
                }
            }
            Width::Fat16 => {
                let bytes = read(self.table + cluster * 2, 2)?;
                u32::from(word(&bytes, 0).unwrap_or(u16::MAX))
            }
            Width::Fat32 => {
                let bytes = read(self.table + cluster * 4, 4)?;
                long(&bytes, 0).unwrap_or(u32::MAX) & 0x0fff_ffff
            }
        })
    }
}

enum Search {
    Found(Entry),
    /// It is not there.
    End,
    /// It may be in the next cluster.
    GoesOn,
}

fn search(directory: &[u8], wanted: &[u8; 11]) -> Search {
    let (entries, _) = directory.as_chunks::<32>();
    for entry in entries {
        let [first, ..] = entry;
        if *first == 0 {
            return Search::End;
        }
        let attributes = entry.get(11).copied().unwrap_or(VOLUME);
        // A deleted one has another first letter. The volume's name, and parts of long names.
        if attributes & VOLUME != 0 || !entry.starts_with(wanted) {
            continue;
        }
        let parts = (word(entry, 20), word(entry, 26), long(entry, 28));
        if let (Some(high), Some(low), Some(len)) = parts {
            return Search::Found(Entry {
                is_directory: attributes & DIRECTORY != 0,
                cluster: u32::from(high) << 16 | u32::from(low),
                len,
            });
        }
    }
    Search::GoesOn
}

/// As a directory has it: `BOOTX64.EFI` is `BOOTX64 EFI`.
fn short_name(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    if !fits || !name.is_ascii() {
        return None;
    }
    let text = format!("{base:<8}{extension:<3}").to_ascii_uppercase();
    text.as_bytes().try_into().ok()
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// The most that a directory of FAT has.
const DIRECTORY_MAX: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    const BOOT: [&str; 3] = ["EFI", "BOOT", "BOOTX64.EFI"];

    fn look(image: &[u8], path: &[&str]) -> Option<bool> {
        let mut read = |at: u64, len: usize| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = image.get(at..).and_then(|rest| rest.get(..len));
            bytes
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        fat_has_file(path, &mut read).unwrap_or(None)
    }

    fn succeed(command: &mut Command) {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
    }

    /// A file system of the original programs with this file among many others; `None` where they are missing.
    fn image(kib: u64, options: &[&str]) -> Option<Vec<u8>> {
        let found = |name: &str| {
            ["/usr/sbin", "/usr/bin", "/sbin"]
                .iter()
                .any(|dir| Path::new(dir).join(name).exists())
        };
        if !found("mkfs.vfat") || !found("mcopy") {
            let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
            assert!(!is_strict, "needs mkfs.vfat and mcopy");
            return None;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(kib << 10).unwrap();
        let sbin = "/usr/sbin:/sbin:/usr/bin:/bin";
        succeed(
            Command::new("mkfs.vfat")
                .env("PATH", sbin)
                .args(options)
                .arg(file.path()),
        );
        let tree = tempfile::tempdir().unwrap();
        let boot = tree.path().join("EFI/Boot");
        std::fs::create_dir_all(&boot).unwrap();
        // More than a cluster of entries before the one that is looked for.
        for number in 0..200 {
            let name = format!("EFI/Boot/a long name of number {number}.txt");
            std::fs::write(tree.path().join(name), "x").unwrap();
        }
        std::fs::write(tree.path().join("empty.efi"), "").unwrap();
        std::fs::write(boot.join("zz.efi"), "x").unwrap();
        let copy = |from: &Path, to: &str| {
            succeed(
                Command::new("mcopy")
                    .args(["-s", "-Q", "-i"])
                    .args([file.path(), from])
                    .arg(to),
            );
        };
        copy(&tree.path().join("EFI"), "::");
        copy(&tree.path().join("empty.efi"), "::");
        // As Windows and Linux write it: in small letters.
        std::fs::write(tree.path().join("bootx64.efi"), "MZ").unwrap();
        copy(&tree.path().join("bootx64.efi"), "::EFI/Boot/bootx64.efi");
        Some(std::fs::read(file.path()).unwrap())
    }

    #[test]
    fn files_are_found_in_all_kinds_of_fat() {
        for (kib, options) in [
            (2 << 10, &["-F", "12", "-s", "1"][..]),
            (16 << 10, &["-F", "16", "-s", "1"]),
            (64 << 10, &["-F", "32", "-s", "1"]),
            (300 << 10, &["-F", "32", "-S", "4096", "-s", "1"]),
        ] {
            let Some(image) = image(kib, options) else {
                return;
            };
            assert_eq!(look(&image, &BOOT), Some(true), "{options:?}");
            assert_eq!(look(&image, &["efi", "boot", "zz.efi"]), Some(true));
            for missing in [
                &["EFI", "BOOT", "BOOTAA64.EFI"][..],
                &["EFI", "BOOT"],
                &["EFI", "BOOTX64.EFI"],
                &["EMPTY.EFI"],
                &["EMPTY.EFI", "X"],
                &["EFI", "a name that is too long"],
                &[],
            ] {
                assert_eq!(look(&image, missing), Some(false), "{missing:?}");
            }
        }
    }

    #[test]
    fn what_is_no_fat_is_none() {
        assert_eq!(look(&[0; 4096], &BOOT), None);
        assert_eq!(look(&[0xff; 4096], &BOOT), None);
        assert_eq!(look(&[], &BOOT), None);
    }

    #[test]
    fn a_chain_that_is_a_ring_has_an_end() {
        let Some(mut image) = image(64 << 10, &["-F", "32", "-s", "1"]) else {
            return;
        };
        // Each cluster leads to the one before, in both tables.
        let table = 32 * 512;
        for (number, entry) in (0_u32..).zip(image[table..table + 4096].chunks_mut(4)) {
            entry.copy_from_slice(&number.saturating_sub(1).max(2).to_le_bytes());
        }
        look(&image, &BOOT);
    }

    proptest! {
        #[test]
        fn no_content_does_harm(mut boot in proptest::collection::vec(any::<u8>(), 4096),
                                per_cluster in 0..8_u32, tables in 0..3_u8) {
            boot[510..512].copy_from_slice(&[0x55, 0xaa]);
            boot[11..13].copy_from_slice(&512_u16.to_le_bytes());
            boot[13] = 1 << per_cluster;
            boot[16] = tables;
            look(&boot, &BOOT);
        }
    }
}
