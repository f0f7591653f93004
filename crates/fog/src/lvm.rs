//! The sidecar of a partition that was captured volume by volume: `dNpM.lvm`.

use crate::store::PartitionId;

/// What a sidecar says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// Version of the format.
    pub format: Format,
    /// The physical volume.
    pub physical: Physical,
    /// The volume group.
    pub group: Group,
    /// The volumes, in the order in which their images are sent.
    pub volumes: Vec<Volume>,
}

/// Version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `LVMFORMAT 1`: sizes as captured.
    One,
    /// `LVMFORMAT 2`: with the sizes that things may be shrunk to.
    Two,
}

/// The line `PV`. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Physical {
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Its size.
    pub size: u64,
    /// What it may be shrunk to; its size in format 1.
    pub minimum: u64,
}

/// The line `VG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Bytes of an extent.
    pub extent_len: u64,
}

/// A line `LV`. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Its size.
    pub size: u64,
    /// What it may be shrunk to; its size in format 1.
    pub minimum: u64,
    /// Its file system, in the words of the capturing client.
    pub filesystem: String,
    /// Name of the file with its content, if there is one.
    pub image: Option<String>,
    /// UUID of the swap space, if it is one and that was recorded.
    pub swap_uuid: Option<String>,
}

impl Volume {
    /// Whether it is swap space, which is made anew.
    #[must_use]
    pub fn is_swap(&self) -> bool {
        self.filesystem == "swap"
    }
}

/// Why a sidecar cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SidecarError {
    /// It is of another version.
    #[error(
        "it is of format {found}, this version knows 1 and 2: the image is newer than this program"
    )]
    Newer {
        /// What it says.
        found: String,
    },
    /// A line is not what it has to be.
    #[error("line {line}: expected {expected}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What had to come.
        expected: &'static str,
    },
    /// A line is missing.
    #[error("it has no line {0}")]
    Missing(&'static str),
    /// More volumes than any group has that FOG captures.
    #[error("it has more than {MAX_VOLUMES} volumes")]
    TooMany,
}

/// Most volumes of a group.
pub const MAX_VOLUMES: usize = 256;
/// All sizes are counted in these.
const SECTOR: u64 = 512;

impl Sidecar {
    /// Reads `dNpM.lvm` of a partition.
    ///
    /// # Errors
    /// If it is of another format, or a line or field is missing or impossible.
    pub fn parse(partition: PartitionId, text: &str) -> Result<Self, SidecarError> {
        let mut lines = (1..).zip(text.lines().map(str::trim));
        let mut lines = lines.by_ref().filter(|(_, line)| !line.is_empty());
        let first = lines.next().ok_or(SidecarError::Missing(FORMAT_LINE))?;
        let format = match first.1.split_whitespace().collect::<Vec<_>>()[..] {
            [FORMAT_LINE, "1"] => Format::One,
            [FORMAT_LINE, "2"] => Format::Two,
            [FORMAT_LINE, found] => {
                return Err(SidecarError::Newer {
                    found: crate::encoding::printable(found, 16),
                });
            }
            _ => return Err(expected(first.0, "LVMFORMAT and its number")),
        };
        let (mut physical, mut group, mut volumes) = (None, None, Vec::new());
        for (number, line) in lines {
            let mut fields = Fields {
                words: line.split_whitespace(),
                line: number,
                format,
            };
            match fields.words.next() {
                Some("PV") if physical.is_none() => physical = Some(fields.physical()?),
                Some("VG") if group.is_none() => group = Some(fields.group()?),
                Some("LV") if volumes.len() >= MAX_VOLUMES => return Err(SidecarError::TooMany),
                Some("LV") => {
                    let volume = fields.volume(partition)?;
                    let is_known = |other: &Volume| {
                        other.name == volume.name
                            || (other.image.is_some() && other.image == volume.image)
                    };
                    if volumes.iter().any(is_known) {
                        return Err(expected(number, "another volume, with another image"));
                    }
                    volumes.push(volume);
                }
                _ => return Err(expected(number, "one line PV, one line VG, and lines LV")),
            }
        }
        Ok(Self {
            format,
            physical: physical.ok_or(SidecarError::Missing("PV"))?,
            group: group.ok_or(SidecarError::Missing("VG"))?,
            volumes,
        })
    }

    /// Names of the files with the contents of volumes, in the order of sending.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let volumes = self.volumes.iter().filter(|volume| !volume.is_swap());
        volumes.filter_map(|volume| volume.image.as_deref())
    }
}

/// The words of a line.
struct Fields<'a> {
    words: std::str::SplitWhitespace<'a>,
    line: usize,
    format: Format,
}

impl<'a> Fields<'a> {
    fn physical(&mut self) -> Result<Physical, SidecarError> {
        let uuid = self.word("the UUID of the physical volume")?.to_owned();
        self.word("the device of the physical volume")?;
        let (size, minimum) = self.sizes()?;
        self.end(Physical {
            uuid,
            size,
            minimum,
        })
    }

    fn group(&mut self) -> Result<Group, SidecarError> {
        let name = self.word("the name of the volume group")?.to_owned();
        let uuid = self.word("the UUID of the volume group")?.to_owned();
        let extent_len = self.bytes("the extent size in sectors")?;
        self.end(Group {
            name,
            uuid,
            extent_len,
        })
    }

    fn volume(&mut self, partition: PartitionId) -> Result<Volume, SidecarError> {
        let name = self.word("the name of the volume")?.to_owned();
        let uuid = self.word("the UUID of the volume")?.to_owned();
        let (size, minimum) = self.sizes()?;
        let filesystem = self.word("the file system of the volume")?.to_owned();
        let image = self.or_none("the image of the volume, or -")?;
        if let Some(image) = image
            && PartitionId::of_volume(image) != Some(partition)
        {
            return Err(expected(
                self.line,
                "the image of a volume of this partition (dNpM.NAME.img)",
            ));
        }
        let swap_uuid = self.or_none("the UUID of the swap space, or -")?;
        self.end(Volume {
            name,
            uuid,
            size,
            minimum,
            filesystem,
            image: image.map(str::to_owned),
            swap_uuid: swap_uuid.map(str::to_owned),
        })
    }

    /// Size and minimum.
    fn sizes(&mut self) -> Result<(u64, u64), SidecarError> {
        let size = self.bytes("a size in sectors")?;
        let minimum = match self.format {
            Format::One => size,
            Format::Two => self.bytes("the smallest size in sectors")?,
        };
        Ok((size, minimum))
    }

    fn bytes(&mut self, what: &'static str) -> Result<u64, SidecarError> {
        let sectors: Option<u64> = self.word(what)?.parse().ok();
        let bytes = sectors.and_then(|sectors| sectors.checked_mul(SECTOR));
        bytes.ok_or_else(|| expected(self.line, what))
    }

    fn or_none(&mut self, what: &'static str) -> Result<Option<&'a str>, SidecarError> {
        Ok(Some(self.word(what)?).filter(|word| *word != "-"))
    }

    fn word(&mut self, what: &'static str) -> Result<&'a str, SidecarError> {
        self.words.next().ok_or_else(|| expected(self.line, what))
    }

    fn end<T>(&mut self, done: T) -> Result<T, SidecarError> {
        match self.words.next() {
            None => Ok(done),
            Some(_) => Err(expected(self.line, "the end of the line")),
        }
    }
}

fn expected(line: usize, expected: &'static str) -> SidecarError {
    SidecarError::Line { line, expected }
}

const FORMAT_LINE: &str = "LVMFORMAT";

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId {
        disk: 1,
        partition: 3,
    };
    const TEXT: &str = "LVMFORMAT 2\n\
        PV mV1gsO-RiAg /dev/sda3 4194304 1000000\n\
        VG vg0 CkSU3a-dsN9 8192\n\
        LV root QFrLeQ-1ZST 819200 204800 ext4 d1p3.root.img -\n\
        LV swap pfpLad-uGnc 262144 262144 swap - 8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d\n\
        LV data 66dGdd-GwJB 409600 409600 unknown - -\n";

    fn refused(text: &str) -> SidecarError {
        Sidecar::parse(PARTITION, text).unwrap_err()
    }

    #[test]
    fn the_lines_are_read() {
        let sidecar = Sidecar::parse(PARTITION, TEXT).unwrap();
        assert_eq!(sidecar.format, Format::Two);
        assert_eq!(sidecar.physical.minimum, 1_000_000 * 512);
        assert_eq!(sidecar.group.extent_len, 4 << 20);
        let [root, swap, data] = &sidecar.volumes[..] else {
            panic!("{sidecar:?}")
        };
        assert_eq!((root.size, root.minimum), (400 << 20, 100 << 20));
        assert!(swap.is_swap() && swap.swap_uuid.is_some() && swap.image.is_none());
        assert!(!data.is_swap() && data.swap_uuid.is_none());
        assert_eq!(sidecar.images().collect::<Vec<_>>(), ["d1p3.root.img"]);
    }

    #[test]
    fn the_first_format_has_no_smaller_sizes() {
        let text = "LVMFORMAT 1\nPV a /dev/sda3 2048\nVG g b 8\nLV l c 16 ext4 d1p3.l.img -\n";
        let sidecar = Sidecar::parse(PARTITION, text).unwrap();
        assert_eq!(sidecar.format, Format::One);
        assert_eq!(sidecar.volumes[0].minimum, 16 * 512);
        assert_eq!(sidecar.physical.minimum, 2048 * 512);
    }

    #[test]
    fn a_newer_format_is_called_that() {
        let newer = refused(&TEXT.replace("LVMFORMAT 2", "LVMFORMAT 3"));
        assert!(newer.to_string().contains("newer than this program"));
    }

    #[test]
    fn other_lines_are_refused_with_their_number() {
        for (from, to, line) in [
            ("LVMFORMAT 2", "FORMAT 2", 1),
            (" 1000000", "", 2),
            ("4194304", "-1", 2),
            ("4194304", "99999999999999999999", 2),
            ("4194304", "18446744073709551615", 2),
            ("8192", "8192 8192", 3),
            ("LV root", "XX root", 4),
            ("LV root", "VG root", 4),
            ("d1p3.root.img", "d1p2.root.img", 4),
            ("d1p3.root.img", "../d1p3.root.img", 4),
            ("d1p3.root.img", "d1p3.img", 4),
            ("LV swap", "LV root", 5),
            ("unknown -", "unknown d1p3.root.img", 6),
        ] {
            let found = refused(&TEXT.replacen(from, to, 1));
            assert!(
                matches!(found, SidecarError::Line { line: found, .. } if found == line),
                "{to}: {found}"
            );
        }
        let without = |start: &str| {
            let lines = TEXT.lines().filter(|line| !line.starts_with(start));
            refused(&lines.collect::<Vec<_>>().join("\n"))
        };
        assert_eq!(without("PV"), SidecarError::Missing("PV"));
        assert_eq!(without("VG"), SidecarError::Missing("VG"));
        assert_eq!(refused("\n"), SidecarError::Missing("LVMFORMAT"));
        let many: String = (0..300)
            .map(|number| format!("LV v{number} u 8 8 ext4 - -\n"))
            .collect();
        assert_eq!(refused(&format!("{TEXT}{many}")), SidecarError::TooMany);
    }
}
