//! Output of `sfdisk -d`, of every age, read and written.
//!
//! Old dumps say `Id=` where newer ones say `type=`, and have no header but `unit: sectors`. Some images
//! carry dumps whose quoting was damaged on the way, so that attributes stand in the name.

use std::fmt;

use thiserror::Error;
use uuid::Uuid;

mod script;

pub(super) use script::line;

/// Most partitions of a dump. A GPT has 128 as a rule; what is made of a dump takes time in proportion to
/// the square of their number.
pub(super) const MAX_PARTITIONS: usize = 8192;

/// A partition table as `sfdisk -d` dumps it. All numbers are logical sectors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// `label:`; absent in old dumps.
    pub label: Option<DumpLabel>,
    /// `label-id:` as it stands: a GUID, or `0x` and eight digits.
    pub label_id: Option<String>,
    /// `device:`: the disk that the dump is of, as it stands.
    pub device: Option<String>,
    /// `first-lba:`.
    pub first_lba: Option<u64>,
    /// `last-lba:`.
    pub last_lba: Option<u64>,
    /// `sector-size:` in bytes; absent before util-linux 2.35.
    pub sector_size: Option<u32>,
    /// The partitions in the order of the dump.
    pub partitions: Vec<DumpPartition>,
}

/// `label:` of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpLabel {
    /// `gpt`.
    Gpt,
    /// `dos`.
    Dos,
}

impl fmt::Display for DumpLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpt => "gpt",
            Self::Dos => "dos",
        })
    }
}

/// One line of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpPartition {
    /// The digits at the end of the device name.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Length in sectors; 0 for an unused entry of an old dump.
    pub size: u64,
    /// `type=` or `Id=` as it stands: hexadecimal digits, or a GUID.
    pub kind: String,
    /// `uuid=`.
    pub uuid: Option<Uuid>,
    /// `name=`, unquoted.
    pub name: Option<String>,
    /// `attrs=`, unquoted.
    pub attrs: Option<String>,
    /// `bootable`.
    pub is_bootable: bool,
}

/// Why a dump cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {reason}: {text:?}")]
pub struct DumpError {
    /// Line number, from one.
    pub line: usize,
    /// The line, shortened.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Dump {
    /// Parses a dump. Unknown header lines and unknown fields are passed over.
    ///
    /// # Errors
    ///
    /// [`DumpError`] for a partition line without number, start or size, for figures that are none, for
    /// too many partitions, and for a unit other than sectors.
    pub fn parse(text: &str) -> Result<Self, DumpError> {
        let mut dump = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let result = if line.is_empty() || line.starts_with('#') {
                Ok(())
            } else if line.contains("start=") && dump.partitions.len() >= MAX_PARTITIONS {
                Err("more partitions than any table has")
            } else if line.contains("start=") {
                parse_partition(line).map(|partition| dump.partitions.push(partition))
            } else {
                dump.header(line)
            };
            result.map_err(|reason| DumpError {
                line: index + 1,
                text: line.chars().take(120).collect(),
                reason,
            })?;
        }
        for (index, partition) in dump.partitions.iter().enumerate() {
            let earlier = dump.partitions.get(..index).unwrap_or_default();
            if earlier.iter().any(|p| p.number == partition.number) {
                return Err(DumpError {
                    line: 0,
                    text: format!("partition {}", partition.number),
                    reason: "the number occurs twice",
                });
            }
        }
        Ok(dump)
    }

    /// The partition with this number.
    #[must_use]
    pub fn partition(&self, number: u32) -> Option<&DumpPartition> {
        self.partitions.iter().find(|p| p.number == number)
    }

    fn header(&mut self, line: &str) -> Result<(), &'static str> {
        let Some((key, value)) = line.split_once(':') else {
            return Ok(());
        };
        let value = value.trim();
        let number = || value.parse().map_err(|_| "not a number");
        match key.trim() {
            "label" => {
                self.label = match value {
                    "gpt" => Some(DumpLabel::Gpt),
                    "dos" => Some(DumpLabel::Dos),
                    _ => return Err("neither a gpt nor a dos table"),
                }
            }
            "label-id" => self.label_id = Some(value.to_owned()),
            "device" => self.device = Some(value.to_owned()),
            "unit" if value != "sectors" => return Err("the unit is not sectors"),
            "first-lba" => self.first_lba = Some(number()?),
            "last-lba" => self.last_lba = Some(number()?),
            "sector-size" => {
                let size = value.parse().map_err(|_| "not a number")?;
                self.sector_size = Some(size);
            }
            _ => {}
        }
        Ok(())
    }
}

impl DumpPartition {
    /// The type as an MBR system indicator.
    #[must_use]
    pub fn mbr_kind(&self) -> Option<u8> {
        u8::from_str_radix(self.kind.trim_start_matches("0x"), 16).ok()
    }

    /// The type as a GPT type GUID.
    #[must_use]
    pub fn gpt_kind(&self) -> Option<Uuid> {
        Uuid::try_parse(&self.kind).ok()
    }
}

/// `/dev/sda1 : start= 2048, size= 204800, type=7, bootable`
fn parse_partition(line: &str) -> Result<DumpPartition, &'static str> {
    let device = line.split_whitespace().next().unwrap_or_default();
    let device = device.trim_end_matches(':');
    let digits = device
        .rfind(|c: char| !c.is_ascii_digit())
        .map_or(device, |at| device.get(at + 1..).unwrap_or_default());
    let mut partition = DumpPartition {
        number: digits
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or("no partition number")?,
        ..DumpPartition::default()
    };
    // The device may contain a colon (by-path names), a field name cannot come before a blank.
    let fields = line
        .find(" start=")
        .or_else(|| line.find(":start=").map(|at| at + 1))
        .or_else(|| line.find(char::is_whitespace))
        .and_then(|at| line.get(at..))
        .ok_or("no fields")?;
    let (mut start, mut size) = (None, None);
    for field in split_fields(fields) {
        let field = field.trim();
        let Some((key, value)) = field.split_once('=') else {
            partition.is_bootable |= field == "bootable";
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "start" => start = value.parse().ok(),
            "size" => size = value.parse().ok(),
            "type" | "Id" => partition.kind = unquote(value).trim().to_owned(),
            "uuid" => partition.uuid = Uuid::try_parse(value).ok(),
            "name" => {
                let name = unquote(value);
                // The damage: `name="attrs=\x22RequiredPartition ...`.
                match name.strip_prefix("attrs=") {
                    Some(attrs) => partition.attrs = Some(attrs.trim_matches('"').to_owned()),
                    None => partition.name = Some(name),
                }
            }
            "attrs" => partition.attrs = Some(unquote(value)),
            _ => {}
        }
    }
    partition.start = start.ok_or("no start sector")?;
    partition.size = size.ok_or("no size")?;
    partition
        .start
        .checked_add(partition.size)
        .ok_or("its end cannot be a sector")?;
    Ok(partition)
}

/// Cuts at commas that are not within double quotes.
fn split_fields(text: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut is_quoted = false;
    let mut from = 0;
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                fields.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    fields.push(text.get(from..).unwrap_or_default());
    fields
}

/// Takes the quotes off and undoes `\xNN`, with which sfdisk writes octets that are not plain text.
fn unquote(value: &str) -> String {
    let value = value.strip_prefix('"').unwrap_or(value);
    let value = value.strip_suffix('"').unwrap_or(value);
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.extend_from_slice(before.as_bytes());
        match after.get(..2).and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(octet) => {
                out.push(octet);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.extend_from_slice(b"\\x");
                rest = after;
            }
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
