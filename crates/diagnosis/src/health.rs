//! What disks say of their own health: the log of NVMe, SMART of SATA, log pages of SCSI and SAS.

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
    /// A SCSI or SAS disk.
    Scsi {
        /// It expects to fail soon, where it answers that.
        is_failing: Option<bool>,
        /// Reads that failed in its life, where it counts them.
        lost_reads: Option<u64>,
        /// Writes that failed in its life, where it counts them.
        lost_writes: Option<u64>,
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

    /// Reads log pages of a SCSI disk (SPC-5, LOG SENSE): [`SCSI_EXCEPTIONS`], [`SCSI_WRITE_ERRORS`] and
    /// [`SCSI_READ_ERRORS`], each if the disk has it. `None` if all say nothing.
    #[must_use]
    pub fn of_scsi(
        exceptions: Option<&[u8]>,
        write_errors: Option<&[u8]>,
        read_errors: Option<&[u8]>,
    ) -> Option<Self> {
        // Additional sense code, qualifier, temperature.
        let exceptions = exceptions.and_then(|page| parameter(page, SCSI_EXCEPTIONS, 0));
        let is_failing = exceptions.and_then(|value| match value {
            // "Failure prediction threshold exceeded"; with FFh it is only a test of the message.
            [0x5d, qualifier, ..] => Some(*qualifier != 0xff),
            [_, _, ..] => Some(false),
            _ => None,
        });
        let uncorrected = |page: Option<&[u8]>, code| {
            let value = parameter(page?, code, UNCORRECTED)?;
            // Of any length; what is above 64 bits is more than any disk has.
            let (above, count) = value.split_last_chunk::<8>().unwrap_or((&[], &[0; 8]));
            match value.len() {
                0 => None,
                1..8 => Some(
                    value
                        .iter()
                        .fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
                ),
                _ if above.iter().any(|&byte| byte != 0) => Some(u64::MAX),
                _ => Some(u64::from_be_bytes(*count)),
            }
        };
        let lost_reads = uncorrected(read_errors, SCSI_READ_ERRORS);
        let lost_writes = uncorrected(write_errors, SCSI_WRITE_ERRORS);
        let is_known = is_failing.is_some() || lost_reads.is_some() || lost_writes.is_some();
        is_known.then_some(Self::Scsi {
            is_failing,
            lost_reads,
            lost_writes,
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
            // What was lost in years may be long overwritten.
            Self::Scsi { is_failing, .. } => is_failing == Some(true),
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
            Self::Scsi {
                is_failing,
                lost_reads,
                lost_writes,
            } => {
                match is_failing {
                    Some(true) => words.push("it expects to fail soon".to_owned()),
                    Some(false) => words.push("it expects no failure".to_owned()),
                    None => {}
                }
                for (count, what) in [(lost_reads, "read"), (lost_writes, "write")] {
                    if let Some(count) = count.filter(|count| *count > 0) {
                        words.push(format!(
                            "{} failed in its life",
                            readable::Count(count, what)
                        ));
                    }
                }
                if words.is_empty() {
                    words.push("no read and no write failed in its life".to_owned());
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

/// "Informational exceptions".
pub const SCSI_EXCEPTIONS: u8 = 0x2f;
/// "Write error counters".
pub const SCSI_WRITE_ERRORS: u8 = 0x02;
/// "Read error counters".
pub const SCSI_READ_ERRORS: u8 = 0x03;
/// Of both: "total uncorrected errors".
const UNCORRECTED: u16 = 6;

/// The value of a parameter of a log page. A page has a header of four bytes with its length behind it, and so has each
/// parameter, with one byte for the length.
fn parameter(page: &[u8], code: u8, wanted: u16) -> Option<&[u8]> {
    let [first, _, high, low, rest @ ..] = page else {
        return None;
    };
    // With the bit for subpages another page is meant.
    if first & 0x7f != code {
        return None;
    }
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    let mut rest = rest.get(..len.min(rest.len()))?;
    while let [high, low, _, len, behind @ ..] = rest {
        let value = behind.get(..usize::from(*len))?;
        if u16::from_be_bytes([*high, *low]) == wanted {
            return Some(value);
        }
        rest = behind.get(usize::from(*len)..)?;
    }
    None
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

    /// A log page of these parameters.
    fn log_page(code: u8, parameters: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (number, value) in parameters {
            body.extend(number.to_be_bytes());
            body.extend([0x03, u8::try_from(value.len()).unwrap()]);
            body.extend_from_slice(value);
        }
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[code, 0, len[0], len[1]], body.as_slice()].concat()
    }

    #[test]
    fn log_pages_of_scsi_are_read() {
        let exceptions = |code, qualifier| log_page(0x2f, &[(0, &[code, qualifier, 38, 0])]);
        let errors = |code, count: &[u8]| log_page(code, &[(0, &[9]), (3, &[0, 7]), (6, count)]);
        let good = exceptions(0, 0);
        let none = [errors(2, &[0; 4]), errors(3, &[0; 8])];
        let healthy = Health::of_scsi(Some(&good), Some(&none[0]), Some(&none[1])).unwrap();
        assert!(!healthy.is_bad());
        assert_eq!(healthy.words(), ["it expects no failure"]);
        // Too hot is no failure.
        assert!(
            !Health::of_scsi(Some(&exceptions(0x0b, 1)), None, None)
                .unwrap()
                .is_bad()
        );
        assert!(
            !Health::of_scsi(Some(&exceptions(0x5d, 0xff)), None, None)
                .unwrap()
                .is_bad()
        );
        let writes = errors(2, &[1]);
        let reads = errors(3, &[0, 0, 0, 0, 0, 0, 1, 2]);
        let failing = Health::of_scsi(Some(&exceptions(0x5d, 0x10)), Some(&writes), Some(&reads));
        let failing = failing.unwrap();
        assert!(failing.is_bad());
        assert_eq!(
            failing.words(),
            [
                "it expects to fail soon",
                "258 reads failed in its life",
                "1 write failed in its life"
            ]
        );
        let counts = Health::of_scsi(None, None, Some(&none[1])).unwrap();
        assert_eq!(counts.words(), ["no read and no write failed in its life"]);
        let most = Health::of_scsi(None, Some(&errors(2, &[1, 0, 0, 0, 0, 0, 0, 0, 0])), None);
        let Some(Health::Scsi { lost_writes, .. }) = most else {
            panic!("{most:?}");
        };
        assert_eq!(lost_writes, Some(u64::MAX));
        // Another page than the one asked for, one that is cut, a counter without a value.
        assert_eq!(
            Health::of_scsi(Some(&writes), Some(&reads), Some(&good)),
            None
        );
        for cut in 0..reads.len() {
            assert_eq!(
                Health::of_scsi(None, None, Some(&reads[..cut])),
                None,
                "{cut}"
            );
        }
        assert_eq!(Health::of_scsi(None, Some(&errors(2, &[])), None), None);
    }

    proptest! {
        #[test]
        fn no_answer_does_harm(sense in proptest::collection::vec(any::<u8>(), 0..40),
                               page in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = (Health::of_ata(Some(&sense), Some(&page)), Health::of_nvme(&page));
            for code in [SCSI_EXCEPTIONS, SCSI_WRITE_ERRORS, SCSI_READ_ERRORS] {
                let page = [&[code], page.as_slice()].concat();
                let _ = (code, Health::of_scsi(Some(&page), Some(&page), Some(&page)));
            }
        }
    }
}
