//! Whether a client's disk holds what the source disk holds.

use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{process::Cmd, signals};

/// A partition as sfdisk sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Partition {
    /// First sector.
    start: u64,
    /// Sectors.
    size: u64,
    #[serde(rename = "type")]
    kind: String,
    uuid: Option<String>,
    name: Option<String>,
    attrs: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Table {
    label: String,
    id: String,
    sectorsize: u64,
    partitions: Vec<Partition>,
}

#[derive(Debug, Deserialize)]
struct Dump {
    partitiontable: Table,
}

/// Fails at the first difference between the partition tables or in any byte of a partition; answers
/// how many bytes were compared. In a partition with a volume group LVM's own data have a time in them, and it is looked
/// at otherwise.
pub(crate) fn compare(source: &Path, client: &Path) -> Result<u64> {
    let (want, have) = (table(source)?, table(client)?);
    if (&want.label, &want.id) != (&have.label, &have.id) {
        bail!(
            "the table is {} {}, not {} {}",
            have.label,
            have.id,
            want.label,
            want.id
        );
    }
    if want.partitions != have.partitions {
        bail!(
            "the partitions differ: {:?} instead of {:?}",
            have.partitions,
            want.partitions
        );
    }
    // Both copies of the table, their checksums, and that the second is at the end of this disk.
    let verdict = Cmd::new("sgdisk").arg("--verify").arg(client).output()?;
    if !verdict.contains("No problems found") {
        bail!("sgdisk finds problems in the partition table:\n{verdict}");
    }
    let open =
        |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (source, client) = (open(source)?, open(client)?);
    let mut total = 0;
    for (number, part) in (1..).zip(&have.partitions) {
        let (offset, len) = (part.start * have.sectorsize, part.size * have.sectorsize);
        if part.kind == LVM {
            continue;
        }
        if let Some(at) = first_difference(&source, &client, offset, len)? {
            bail!(
                "partition {number} differs at byte {at} of {len} (disk offset {})",
                offset + at
            );
        }
        total += len;
    }
    Ok(total)
}

/// Type of a partition with a volume group.
const LVM: &str = "E6D6D379-F507-44C2-A23C-238F2A3DF928";

fn table(disk: &Path) -> Result<Table> {
    let text = Cmd::new("sfdisk")
        .arg("--json")
        .arg(disk)
        .output()
        .with_context(|| format!("reading the partition table of {}", disk.display()))?;
    let dump: Dump = serde_json::from_str(&text).context("reading sfdisk's answer")?;
    Ok(dump.partitiontable)
}

fn first_difference(one: &File, two: &File, offset: u64, len: u64) -> Result<Option<u64>> {
    const CHUNK: usize = 1 << 20;
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut done = 0;
    while done < len {
        signals::check()?;
        let count = CHUNK.min(usize::try_from(len - done).unwrap_or(CHUNK));
        one.read_exact_at(&mut a[..count], offset + done)
            .context("reading the source disk")?;
        two.read_exact_at(&mut b[..count], offset + done)
            .context("reading the client's disk")?;
        if a[..count] != b[..count] {
            let at = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
            return Ok(Some(done + u64::try_from(at)?));
        }
        done += u64::try_from(count)?;
    }
    Ok(None)
}

/// Fails at the first byte in which two disks differ.
pub(crate) fn must_be_equal(one: &Path, two: &Path) -> Result<()> {
    let open =
        |path: &Path| File::open(path).with_context(|| format!("opening {}", path.display()));
    let (one, two) = (open(one)?, open(two)?);
    let (len, other) = (one.metadata()?.len(), two.metadata()?.len());
    if len != other {
        bail!("the disk has {other} bytes, not {len}");
    }
    match first_difference(&one, &two, 0, len)? {
        None => Ok(()),
        Some(at) => bail!("the disks differ at byte {at} of {len}"),
    }
}

/// Whether the disk has no partition table at all: it plainly does not boot.
pub(crate) fn has_no_table(disk: &Path) -> Result<bool> {
    let file = File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let mut sectors = [0; 1024];
    file.read_exact_at(&mut sectors, 0)?;
    // The second copy of a GPT is in the last sector.
    let mut last = [0; 512];
    file.read_exact_at(&mut last, file.metadata()?.len() - 512)?;
    Ok(sectors[510..512] != [0x55, 0xaa]
        && &sectors[512..520] != b"EFI PART"
        && &last[..8] != b"EFI PART")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_first_different_byte_is_named() {
        let mut one = tempfile::tempfile().unwrap();
        let mut two = tempfile::tempfile().unwrap();
        let mut bytes = vec![3; 3 << 20];
        one.write_all(&bytes).unwrap();
        bytes[(2 << 20) + 77] = 4;
        two.write_all(&bytes).unwrap();
        let len = 3 << 20;
        assert_eq!(first_difference(&one, &one, 0, len).unwrap(), None);
        assert_eq!(
            first_difference(&one, &two, 0, len).unwrap(),
            Some((2 << 20) + 77)
        );
        assert_eq!(
            first_difference(&one, &two, 100, len - 100).unwrap(),
            Some((2 << 20) + 77 - 100)
        );
        assert_eq!(first_difference(&one, &two, 0, 2 << 20).unwrap(), None);
    }

    #[test]
    fn a_blank_disk_has_no_table() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[0; 4096]).unwrap();
        assert!(has_no_table(file.path()).unwrap());
        file.as_file().write_all_at(&[0x55, 0xaa], 510).unwrap();
        assert!(!has_no_table(file.path()).unwrap());
    }
}
