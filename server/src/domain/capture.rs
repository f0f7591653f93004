//! What a client may send of a disk that it captures: names, sizes, and where the image comes from.

use std::collections::BTreeSet;

use fog::store::{PartitionId, StreamName, is_small_file};
use fog::task::ImageType;
use fos_api::MAX_SMALL_FILE;
use fos_api::capture::{CaptureOffer, CapturedDisk, Unreadable};
use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Files of a captured image: 300 bytes of memory each while they arrive.
pub const MAX_FILES: usize = 1024;

/// Disks of a captured image.
const MAX_DISKS: usize = 32;

/// Largest file, and image: what databases and file systems count.
const MAX_SIZE: u64 = 1 << 60;

/// Characters of what a client says in words.
const MAX_WORDS: usize = 200;

/// Places that could not be read of which the image says where they are.
const MAX_UNREADABLE: usize = 1000;

/// Where an image comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the host; empty if it was captured by hand.
    #[serde(default)]
    pub host: String,
    /// Address that it came from.
    #[serde(default)]
    pub address: String,
    /// Whose token it was sent with; empty for a task.
    #[serde(default)]
    pub account: String,
    /// What the client calls the captured system.
    #[serde(default)]
    pub system: String,
    /// The captured disks.
    #[serde(default)]
    pub disks: Vec<CapturedDisk>,
    /// When it began.
    #[serde(default)]
    pub began_at: Timestamp,
    /// When it was published.
    #[serde(default)]
    pub published_at: Timestamp,
    /// What could not be read and is zero in the image.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

/// Why an offer is not taken, or a file not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Of another type than the image.
    #[error(
        "the client would send an image of type {offered}, and image {image} is of type {wanted}; capture into \
         another image, or with --type {wanted}"
    )]
    Type {
        /// Its.
        offered: ImageType,
        /// The image's.
        wanted: ImageType,
        /// Name of the image.
        image: String,
    },
    /// No disk, or too many for the type.
    #[error("the client would send {0} disks, and an image of type {1} holds {2}")]
    Disks(usize, ImageType, &'static str),
    /// A disk that cannot be.
    #[error("disk {0} has {1} bytes in sectors of {2} bytes, which no disk has")]
    Shape(usize, u64, u32),
    /// Too many files.
    #[error("the client would send {0} files, and an image has at most {MAX_FILES}")]
    TooMany(usize),
    /// A name that no file of such an image has.
    #[error("{0:?} is not the name of a file of an image of type {1}")]
    Name(String, ImageType),
    /// A name that comes twice.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// A size that cannot be.
    #[error("{0} would have {1} bytes; at most {2} are possible")]
    Size(String, u64, u64),
}

/// Whether an image of this type may have a file of this name, of one of so many disks.
#[must_use]
pub fn is_name(name: &str, image_type: ImageType, disks: usize) -> bool {
    let is_plain = (1..=200).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && c != '/' && c != '\\');
    if !is_plain {
        return false;
    }
    let is_disk =
        |number: u32| usize::try_from(number).is_ok_and(|number| (1..=disks).contains(&number));
    if image_type == ImageType::Raw {
        return is_raw_name(name);
    }
    if is_small_file(name) {
        return small_disk(name).is_some_and(is_disk);
    }
    let stream = StreamName::of_file(name);
    // A captured stream is one file.
    if stream.as_str() != name {
        return false;
    }
    let partition = stream.partition().or_else(|| PartitionId::of_volume(name));
    partition.is_some_and(|partition| is_disk(partition.disk))
}

/// Whether a file of this name is a table, a boot area or the like.
#[must_use]
pub fn is_small(name: &str, image_type: ImageType) -> bool {
    image_type != ImageType::Raw && is_small_file(name)
}

/// An image of a whole disk has one file, of any name.
fn is_raw_name(name: &str) -> bool {
    !name.starts_with('.')
        && StreamName::of_file(name).as_str() == name
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn small_disk(name: &str) -> Option<u32> {
    let digits = name.strip_prefix('d')?;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok()
}

/// Most bytes that a file can have of which the offer says nothing.
#[must_use]
pub fn most_of(offer: &CaptureOffer, name: &str) -> u64 {
    let mut offered = offer.files.iter();
    let small = is_small(name, offer.image_type);
    let most = match offered.find(|file| file.name == name) {
        Some(file) => file.at_most,
        // Lists that are made on the way; a stream has to be offered.
        None if small => MAX_SMALL_FILE,
        None => 0,
    };
    most.min(offer.at_most)
}

/// Checks an offer for an image of this name and type.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(offer: &CaptureOffer, image: &str, wanted: ImageType) -> Result<(), OfferError> {
    let offered = offer.image_type;
    if offered != wanted {
        let image = fog::encoding::printable(image, 60);
        return Err(OfferError::Type {
            offered,
            wanted,
            image,
        });
    }
    let disks = offer.disks.len();
    match (offered, disks) {
        (ImageType::AllDisks, 1..=MAX_DISKS) | (_, 1) => {}
        (ImageType::AllDisks, _) => return Err(OfferError::Disks(disks, offered, "1 to 32")),
        _ => return Err(OfferError::Disks(disks, offered, "1")),
    }
    for (number, disk) in (1..).zip(&offer.disks) {
        let is_sector =
            disk.sector_size.is_power_of_two() && (512..=65536).contains(&disk.sector_size);
        let is_size = (1..=MAX_SIZE).contains(&disk.size);
        if !is_sector || !is_size {
            return Err(OfferError::Shape(number, disk.size, disk.sector_size));
        }
    }
    if offer.files.is_empty() || offer.files.len() > MAX_FILES {
        return Err(OfferError::TooMany(offer.files.len()));
    }
    let mut names = BTreeSet::new();
    for file in &offer.files {
        let shown = || fog::encoding::printable(&file.name, 80);
        if !is_name(&file.name, offered, disks) {
            return Err(OfferError::Name(shown(), offered));
        }
        if !names.insert(file.name.as_str()) {
            return Err(OfferError::Twice(shown()));
        }
        let most = match is_small(&file.name, offered) {
            true => MAX_SMALL_FILE,
            false => MAX_SIZE,
        };
        if file.at_most > most {
            return Err(OfferError::Size(shown(), file.at_most, most));
        }
    }
    if offer.at_most > MAX_SIZE {
        return Err(OfferError::Size(
            "the image".to_owned(),
            offer.at_most,
            MAX_SIZE,
        ));
    }
    Ok(())
}

/// The same offer with words that can be shown.
#[must_use]
pub fn harmless(mut offer: CaptureOffer) -> CaptureOffer {
    let words = |text: &str| fog::encoding::printable(text, MAX_WORDS);
    offer.system = words(&offer.system);
    for disk in &mut offer.disks {
        disk.model = words(&disk.model);
        disk.serial = words(&disk.serial);
    }
    offer
}

/// The places that are kept of those that could not be read.
#[must_use]
pub fn unreadable(mut places: Vec<Unreadable>) -> Vec<Unreadable> {
    places.truncate(MAX_UNREADABLE);
    for place in &mut places {
        place.file = fog::encoding::printable(&place.file, 80);
    }
    places
}

#[cfg(test)]
mod tests {
    use fos_api::capture::OfferedFile;

    use super::*;

    fn offer(names: &[&str]) -> CaptureOffer {
        CaptureOffer {
            image_type: ImageType::SingleDisk,
            disks: vec![CapturedDisk {
                size: 1 << 30,
                sector_size: 512,
                model: String::new(),
                serial: String::new(),
            }],
            files: names
                .iter()
                .map(|name| OfferedFile {
                    name: (*name).to_owned(),
                    at_most: 1000,
                })
                .collect(),
            at_most: 1 << 20,
            system: String::new(),
        }
    }

    #[test]
    fn files_have_the_names_of_an_image() {
        let is_name = |name| is_name(name, ImageType::SingleDisk, 1);
        for good in [
            "d1p1.img",
            "d1p12.img",
            "d1.mbr",
            "d1.partitions",
            "d1.fixed_size_partitions",
            "d1p5.ebr",
            "d1p3.lvm",
            "d1p3.root.img",
        ] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../d1p1.img",
            "d1p1.img/",
            "/d1p1.img",
            "d1p1.img\0",
            "d1p1.img.000",
            "d2p1.img",
            "d2.mbr",
            "d0p1.img",
            "d1p1.img\n",
            "d1p3.ro/ot.img",
            "record.json",
            "d1p3.ro ot.img",
            &format!("d1p1.{}.img", "x".repeat(200)),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(super::is_name("d2p1.img", ImageType::AllDisks, 2));
        for good in ["sda.img", "d1.img", "win11"] {
            assert!(super::is_name(good, ImageType::Raw, 1), "{good}");
        }
        for bad in [".img", "sda.img.000", "../x.img", "a b"] {
            assert!(!super::is_name(bad, ImageType::Raw, 1), "{bad}");
        }
    }

    #[test]
    fn an_offer_that_cannot_be_is_refused() {
        let good = offer(&["d1.mbr", "d1p1.img"]);
        let check = |offer: &CaptureOffer| check(offer, "win", ImageType::SingleDisk);
        assert_eq!(check(&good), Ok(()));
        let with = |change: &dyn Fn(&mut CaptureOffer)| {
            let mut offer = good.clone();
            change(&mut offer);
            check(&offer).unwrap_err()
        };
        let found = with(&|offer| offer.image_type = ImageType::Resizable);
        assert!(matches!(found, OfferError::Type { .. }), "{found}");
        let found = with(&|offer| offer.disks.clear());
        assert!(matches!(found, OfferError::Disks(0, ..)), "{found}");
        let found = with(&|offer| offer.disks.push(offer.disks[0].clone()));
        assert!(matches!(found, OfferError::Disks(2, ..)), "{found}");
        for (size, sector) in [(0, 512), (u64::MAX, 512), (1, 0), (1, 513), (1, 1 << 20)] {
            let found = with(&|offer| {
                offer.disks[0].size = size;
                offer.disks[0].sector_size = sector;
            });
            assert!(matches!(found, OfferError::Shape(1, ..)), "{found}");
        }
        let found = with(&|offer| offer.files.clear());
        assert_eq!(found, OfferError::TooMany(0));
        let found = with(&|offer| offer.files = vec![offer.files[0].clone(); MAX_FILES + 1]);
        assert_eq!(found, OfferError::TooMany(MAX_FILES + 1));
        let found = with(&|offer| offer.files.push(offer.files[0].clone()));
        assert_eq!(found, OfferError::Twice("d1.mbr".into()));
        let found = with(&|offer| offer.files[0].name = "../../etc/passwd".into());
        assert!(matches!(found, OfferError::Name(..)), "{found}");
        let found = with(&|offer| offer.files[0].at_most = MAX_SMALL_FILE + 1);
        assert!(matches!(found, OfferError::Size(..)), "{found}");
        let found = with(&|offer| offer.at_most = u64::MAX);
        assert!(matches!(found, OfferError::Size(..)), "{found}");
    }

    #[test]
    fn a_file_has_a_bound_whether_it_was_offered_or_not() {
        let offer = offer(&["d1p1.img"]);
        assert_eq!(most_of(&offer, "d1p1.img"), 1000);
        assert_eq!(most_of(&offer, "d1p2.img"), 0);
        assert_eq!(most_of(&offer, "d1.minimum.partitions"), 1 << 20);
    }
}
