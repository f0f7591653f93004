//! A dump as `sfdisk -d` writes it, which `sfdisk` also takes as its input.

use std::fmt;

use super::{Dump, DumpLabel, DumpPartition};
use crate::table::{Kind, Label, PlannedPartition, TablePlan};

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device.as_deref().unwrap_or(DEVICE);
        if let Some(label) = self.label {
            writeln!(f, "label: {label}")?;
        }
        if let Some(id) = &self.label_id {
            writeln!(f, "label-id: {id}")?;
        }
        writeln!(f, "device: {device}\nunit: sectors")?;
        let numbers = [
            ("first-lba", self.first_lba),
            ("last-lba", self.last_lba),
            ("sector-size", self.sector_size.map(u64::from)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                writeln!(f, "{name}: {number}")?;
            }
        }
        writeln!(f)?;
        let infix = if device.ends_with(|c: char| c.is_ascii_digit()) {
            "p"
        } else {
            ""
        };
        for partition in &self.partitions {
            writeln!(f, "{device}{infix}{} : {partition}", partition.number)?;
        }
        Ok(())
    }
}

impl fmt::Display for DumpPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, size, .. } = self;
        write!(f, "start={start:>12}, size={size:>12}, type={}", self.kind)?;
        if let Some(uuid) = &self.uuid {
            write!(f, ", uuid={uuid:X}")?;
        }
        for (field, text) in [("name", &self.name), ("attrs", &self.attrs)] {
            if let Some(text) = text {
                write!(f, ", {field}=\"{}\"", quoted(text))?;
            }
        }
        if self.is_bootable {
            f.write_str(", bootable")?;
        }
        Ok(())
    }
}

/// What sfdisk writes between quotes: octets with a meaning to it or to a shell, and those that are not
/// printable ASCII, as `\xNN`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'"' | b'\\' | b'`' | b'$' => out.push_str(&format!("\\x{octet:02x}")),
            b' '..=b'~' => out.push(octet.into()),
            _ => out.push_str(&format!("\\x{octet:02x}")),
        }
    }
    out
}

impl TablePlan {
    /// The table as `sfdisk -d` would print it of this disk once the plan was carried out.
    #[must_use]
    pub fn dump(&self, device: Option<&str>) -> Dump {
        let sector = u64::from(self.shape.logical_sector.max(1));
        let (label, label_id) = match self.label {
            Label::Gpt { disk_guid } => (DumpLabel::Gpt, format!("{disk_guid:X}")),
            Label::Mbr { disk_id } => (DumpLabel::Dos, format!("{disk_id:#010x}")),
        };
        Dump {
            label: Some(label),
            label_id: Some(label_id),
            device: device.map(str::to_owned),
            first_lba: self.usable.as_ref().map(|usable| *usable.start()),
            last_lba: self.usable.as_ref().map(|usable| *usable.end()),
            sector_size: Some(self.shape.logical_sector),
            partitions: self
                .partitions
                .iter()
                .map(|partition| line(partition, sector))
                .collect(),
        }
    }
}

/// A partition as a line of a dump of a disk with such sectors.
pub(in crate::table) fn line(partition: &PlannedPartition, sector: u64) -> DumpPartition {
    let attributes = attributes(partition.attributes);
    DumpPartition {
        number: partition.number,
        start: partition.offset / sector,
        size: partition.len / sector,
        kind: match partition.kind {
            Kind::Gpt(guid) => format!("{guid:X}"),
            Kind::Mbr(code) => format!("{code:x}"),
        },
        uuid: partition.guid,
        name: Some(partition.name.clone()).filter(|name| !name.is_empty()),
        attrs: Some(attributes).filter(|attributes| !attributes.is_empty()),
        is_bootable: partition.is_bootable,
    }
}

/// The attribute bits of a GPT entry in sfdisk's words. Bits that have none are left out, as sfdisk does.
fn attributes(bits: u64) -> String {
    let is_set = |bit: u32| bits >> bit & 1 == 1;
    let named = (0_u32..).zip(ATTRIBUTES).filter(|(bit, _)| is_set(*bit));
    let mut words: Vec<String> = named.map(|(_, name)| name.to_owned()).collect();
    let others: Vec<String> = (48..64)
        .filter(|bit| is_set(*bit))
        .map(|bit| bit.to_string())
        .collect();
    if !others.is_empty() {
        words.push(format!("GUID:{}", others.join(",")));
    }
    words.join(" ")
}

/// Of bits 0, 1 and 2 (UEFI specification 2.10, table 5-8).
const ATTRIBUTES: [&str; 3] = [
    "RequiredPartition",
    "NoBlockIOProtocol",
    "LegacyBIOSBootable",
];
/// Where nothing is known of the disk.
const DEVICE: &str = "/dev/sda";
