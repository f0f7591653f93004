//! What disks say of their own health: the log of NVMe, SMART of SATA.

/// What a disk says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// A SATA disk.
    Ata {
        /// It expects to fail soon, where it answers that.
        is_failing: Option<bool>,
        /// Sectors that could not be read and wait to be written, where it counts them.
        pending: Option<u64>,
        /// Sectors that were replaced, where it counts them.
        replaced: Option<u64>,
    },
    /// An NVMe disk.
    Nvme {
        /// Its critical warnings, a bit each.
        warning: u8,
        /// How much of its life is used up; may be more than 100.
        used_percent: u8,
        /// Data that was lost, in its count of errors.
        media_errors: u64,
    },
}

impl Health {
    /// Reads the log page "SMART / Health Information" of NVMe (NVM Express base specification, log
    /// identifier 02h).
    #[must_use]
    pub fn of_nvme(page: &[u8]) -> Option<Self> {
        let media_errors = page.get(160..168)?.try_into().ok()?;
        // 128 bits; what is above 64 is more than any disk has.
        let is_more = page.get(168..176)?.iter().any(|&byte| byte != 0);
        Some(Self::Nvme {
            warning: *page.first()?,
            used_percent: *page.get(5)?,
            media_errors: match is_more {
                true => u64::MAX,
                false => u64::from_le_bytes(media_errors),
            },
        })
    }

    /// Reads what a SATA disk answers to "SMART return status" (the sense data of the pass-through command) and to
    /// "SMART read data" (a sector). `None` if both say nothing.
    #[must_use]
    pub fn of_ata(sense: Option<&[u8]>, data: Option<&[u8]>) -> Option<Self> {
        let is_failing = sense.and_then(ata_status);
        let data = data.filter(|data| has_checksum(data));
        let pending = data.and_then(|data| attribute(data, PENDING));
        let replaced = data.and_then(|data| attribute(data, REPLACED));
        let is_known = is_failing.is_some() || pending.is_some() || replaced.is_some();
        is_known.then_some(Self::Ata {
            is_failing,
            pending,
            replaced,
        })
    }

    /// Whether the disk is to be replaced.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        match *self {
            Self::Ata {
                is_failing,
                pending,
                ..
            } => is_failing == Some(true) || pending.is_some_and(|pending| pending > 0),
            // A worn disk that works is none that has to be replaced today, and warmth passes.
            Self::Nvme { warning, .. } => warning & (SPARE | RELIABILITY | READ_ONLY) != 0,
        }
    }

    /// What it says, a phrase each.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        match *self {
            Self::Ata {
                is_failing,
                pending,
                replaced,
            } => {
                match is_failing {
                    Some(true) => words.push("it expects to fail soon (SMART)".to_owned()),
                    Some(false) => words.push("SMART status good".to_owned()),
                    None => {}
                }
                let sectors = |count| readable::Count(count, "sector");
                if let Some(pending) = pending.filter(|count| *count > 0) {
                    words.push(format!("{} cannot be read", sectors(pending)));
                }
                if let Some(replaced) = replaced.filter(|count| *count > 0) {
                    words.push(format!("{} replaced", sectors(replaced)));
                }
            }
            Self::Nvme {
                warning,
                used_percent,
                media_errors,
            } => {
                for (bit, text) in WARNINGS {
                    if warning & bit != 0 {
                        words.push(text.to_owned());
                    }
                }
                if warning == 0 {
                    words.push("no critical warning".to_owned());
                }
                words.push(format!("{used_percent} % of its life used"));
                if media_errors > 0 {
                    words.push(readable::Count(media_errors, "media error").to_string());
                }
            }
        }
        words
    }
}

/// What comes back in the registers of the disk: 4Fh and C2h, or F4h and 2Ch (ATA8-ACS, SMART RETURN STATUS). They
/// are in a descriptor or in the fixed fields of the sense data (SAT-4, section 12.2.2).
fn ata_status(sense: &[u8]) -> Option<bool> {
    let registers = match sense.first()? & 0x7f {
        0x72 => {
            let descriptor = sense.get(8..)?;
            let is_return = descriptor.first() == Some(&0x09);
            (
                *descriptor.get(9).filter(|_| is_return)?,
                *descriptor.get(11)?,
            )
        }
        0x70 => (*sense.get(10)?, *sense.get(11)?),
        _ => return None,
    };
    match registers {
        (0x4f, 0xc2) => Some(false),
        (0xf4, 0x2c) => Some(true),
        _ => None,
    }
}

/// The bytes of the sector add up to nothing.
fn has_checksum(data: &[u8]) -> bool {
    data.len() == 512 && data.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

/// The raw value of an attribute. The upper two of its six bytes have other meanings at some vendors.
fn attribute(data: &[u8], wanted: u8) -> Option<u64> {
    let (attributes, _) = data.get(2..362)?.as_chunks::<12>();
    let [_, _, _, _, _, raw @ ..] = attributes.iter().find(|entry| entry[0] == wanted)?;
    let raw: [u8; 4] = raw.get(..4)?.try_into().ok()?;
    Some(u64::from(u32::from_le_bytes(raw)))
}

const REPLACED: u8 = 5;
const PENDING: u8 = 197;
const SPARE: u8 = 1;
const RELIABILITY: u8 = 4;
const READ_ONLY: u8 = 8;
const WARNINGS: [(u8, &str); 5] = [
    (SPARE, "its spare is used up"),
    (2, "it is too hot, or too cold"),
    (RELIABILITY, "it has become unreliable"),
    (READ_ONLY, "it takes no more writes"),
    (16, "its memory backup has failed"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_log_of_nvme_is_read() {
        let mut page = [0; 512];
        // As QEMU gives it: warm, spare 100 %, threshold 0.
        page[1..6].copy_from_slice(&[0x43, 0x01, 100, 0, 0]);
        let fine = Health::of_nvme(&page).unwrap();
        assert!(!fine.is_bad());
        assert_eq!(
            fine.words(),
            ["no critical warning", "0 % of its life used"]
        );
        page[5] = 130;
        page[0] = 2;
        assert!(!Health::of_nvme(&page).unwrap().is_bad());
        for (warning, word) in [
            (1, "its spare is used up"),
            (4, "it has become unreliable"),
            (8, "it takes no more writes"),
        ] {
            page[0] = warning;
            page[160] = 7;
            let bad = Health::of_nvme(&page).unwrap();
            assert!(bad.is_bad());
            assert_eq!(
                bad.words(),
                [word, "130 % of its life used", "7 media errors"]
            );
        }
        page[170] = 1;
        let most = Health::of_nvme(&page).unwrap();
        assert!(matches!(
            most,
            Health::Nvme {
                media_errors: u64::MAX,
                ..
            }
        ));
        assert_eq!(Health::of_nvme(&page[..175]), None);
    }

    /// A sector of attributes with its checksum.
    fn data(attributes: &[(u8, u64)]) -> [u8; 512] {
        let mut data = [0; 512];
        for (entry, (id, raw)) in data[2..362].chunks_mut(12).zip(attributes) {
            entry[0] = *id;
            entry[5..11].copy_from_slice(&raw.to_le_bytes()[..6]);
        }
        let sum = data.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
        data[511] = sum.wrapping_neg();
        data
    }

    #[test]
    fn smart_of_sata_is_read_in_both_forms() {
        let descriptor = |mid, high| {
            let mut sense = [0; 22];
            sense[..2].copy_from_slice(&[0x72, 1]);
            sense[7] = 14;
            sense[8..10].copy_from_slice(&[9, 12]);
            (sense[17], sense[19]) = (mid, high);
            sense
        };
        let fixed = |mid, high| {
            let mut sense = [0; 18];
            sense[0] = 0x70;
            (sense[10], sense[11]) = (mid, high);
            sense
        };
        let of = |sense: &[u8], attributes: &[(u8, u64)]| {
            Health::of_ata(Some(sense), Some(&data(attributes)))
        };
        let healthy = of(&descriptor(0x4f, 0xc2), &[(5, 0), (197, 0)]).unwrap();
        assert!(!healthy.is_bad());
        assert_eq!(healthy.words(), ["SMART status good"]);
        let failing = of(&fixed(0xf4, 0x2c), &[(5, 3)]).unwrap();
        assert!(failing.is_bad());
        assert_eq!(
            failing.words(),
            ["it expects to fail soon (SMART)", "3 sectors replaced"]
        );
        // Above 32 bits vendors have other things.
        let pending = of(&descriptor(0x4f, 0xc2), &[(1, 9), (197, 8 | 5 << 40)]).unwrap();
        assert!(pending.is_bad());
        assert_eq!(
            pending.words(),
            ["SMART status good", "8 sectors cannot be read"]
        );
        // Nothing is made of what is no answer.
        assert_eq!(Health::of_ata(Some(&descriptor(0, 0)), None), None);
        assert_eq!(Health::of_ata(None, Some(&[1; 512])), None);
        assert_eq!(Health::of_ata(Some(&[]), Some(&[])), None);
        let mut broken = data(&[(197, 8)]);
        broken[20] ^= 1;
        assert_eq!(Health::of_ata(None, Some(&broken)), None);
    }

    proptest! {
        #[test]
        fn no_answer_does_harm(sense in proptest::collection::vec(any::<u8>(), 0..40),
                               page in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Health::of_ata(Some(&sense), Some(&page)), Health::of_nvme(&page));
        }
    }
}
