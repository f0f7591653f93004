//! What a physical volume of LVM says of its group: the text that LVM's own backup has, too.
//!
//! A label in one of the first four sectors of 512 bytes leads to areas of metadata, and the head of such an area to the
//! present text, which may go round the end of its area.

/// A physical volume, as its label and its metadata describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// The text of the volume group.
    pub metadata: String,
}

impl PhysicalVolume {
    /// Reads the label and the metadata of a partition. `read` gives `len` bytes at an offset, or fails. `None` if
    /// there is no group, or its text is nowhere whole.
    #[must_use]
    pub fn read(read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>) -> Option<Self> {
        let front = read(0, FRONT)?;
        let header = (0..FRONT / SECTOR).find_map(|sector| {
            let label = front.get(sector * SECTOR..)?;
            let is_label = label.starts_with(b"LABELONE") && label.get(24..32)? == b"LVM2 001";
            let offset = usize::try_from(u32_at(label, 20)?).ok()?;
            is_label.then(|| label.get(offset..)).flatten()
        })?;
        // UUID and size, then two lists of places: data, and metadata. An empty place ends each.
        let mut at = 40;
        while place_at(header, at)?.1 != 0 || place_at(header, at)?.0 != 0 {
            at += 16;
        }
        at += 16;
        let areas = std::iter::from_fn(|| {
            let place = place_at(header, at)?;
            at += 16;
            (place != (0, 0)).then_some(place)
        });
        let areas: Vec<(u64, u64)> = areas.take(AREAS_MAX).collect();
        areas
            .into_iter()
            .find_map(|area| text_in(area, read))
            .map(|metadata| Self { metadata })
    }
}

/// The present text in an area.
fn text_in(
    (start, len): (u64, u64),
    read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>,
) -> Option<String> {
    let head = read(start, SECTOR)?;
    if head.get(4..20)? != AREA_MAGIC {
        return None;
    }
    // The first of its places is of the present text.
    let (offset, text_len) = place_at(&head, 40)?;
    let is_ignored = u32_at(&head, 60)? & 1 != 0;
    let sector = SECTOR as u64;
    let is_within = (sector..len).contains(&offset) && text_len <= len.checked_sub(sector)?;
    if is_ignored || !is_within || !(1..=TEXT_MAX).contains(&text_len) {
        return None;
    }
    let before = text_len.min(len - offset);
    let mut bytes = read(start.checked_add(offset)?, usize::try_from(before).ok()?)?;
    let around = usize::try_from(text_len - before).ok()?;
    if around > 0 {
        // It goes on behind the head.
        bytes.extend(read(start.checked_add(sector)?, around)?);
    }
    let text = bytes.split(|octet| *octet == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*octets))
}

/// Offset and length in bytes.
fn place_at(bytes: &[u8], at: usize) -> Option<(u64, u64)> {
    let number = |at: usize| {
        let octets = bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*octets))
    };
    Some((number(at)?, number(at.checked_add(8)?)?))
}

const SECTOR: usize = 512;
/// The label is in the first four sectors, and its areas in the same sector.
const FRONT: usize = 4 * SECTOR;
const AREA_MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
/// LVM itself makes two at most.
const AREAS_MAX: usize = 4;
/// Bytes of a text; one of a hundred volumes has 50 kB.
const TEXT_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// A physical volume whose text begins at `offset` of an area of 4 KiB.
    fn volume(text: &str, offset: usize) -> Vec<u8> {
        let mut bytes = vec![0; 16 << 10];
        bytes[512..520].copy_from_slice(b"LABELONE");
        bytes[532..536].copy_from_slice(&32_u32.to_le_bytes());
        bytes[536..544].copy_from_slice(b"LVM2 001");
        let header = 544;
        let mut place = |at: usize, offset: u64, len: u64| {
            bytes[at..at + 8].copy_from_slice(&offset.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&len.to_le_bytes());
        };
        place(header + 40, 1 << 20, 0);
        place(header + 72, 4096, 4096);
        place(4096 + 40, offset as u64, text.len() as u64 + 1);
        bytes[4100..4116].copy_from_slice(AREA_MAGIC);
        for (index, octet) in text.bytes().enumerate() {
            let at = offset + index;
            let at = if at < 4096 { at } else { at - 4096 + 512 };
            bytes[4096 + at] = octet;
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<String> {
        let found = PhysicalVolume::read(&mut |offset, len| {
            let at = usize::try_from(offset).ok()?;
            Some(bytes.get(at..at.checked_add(len)?)?.to_vec())
        });
        found.map(|found| found.metadata)
    }

    #[test]
    fn the_text_is_found_also_around_the_end_of_its_area() {
        let text = "vg0 {\n}\n";
        for offset in [512, 1024, 4090, 4095] {
            assert_eq!(
                read(&volume(text, offset)).as_deref(),
                Some(text),
                "{offset}"
            );
        }
    }

    #[test]
    fn whatever_is_there_ends() {
        let good = volume("vg0 {}", 1024);
        assert_eq!(read(&vec![0; 16 << 10]), None);
        for at in (512..640).chain(4096..4180) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                read(&bad);
            }
        }
        for len in [0, 511, 2047, 4000, 4200, 5121] {
            assert_eq!(read(&good[..len]), None, "{len}");
        }
    }
}
