//! Malformed and odd images: what is accepted, what is refused, and with which kind of error.

use image::{BitmapMode, ChecksumMode, ErrorKind, Verify};
use image_writer::{PartimageRecipe, Recipe};

use crate::{FILL, block, decode};

/// What must become of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    /// It is restored.
    Accept,
    /// It is refused before anything is written, whatever the options.
    Early(ErrorKind),
    /// It is refused in the middle, whatever the options.
    Late(ErrorKind),
    /// It is refused, but every block is restored if checksum errors are ignored.
    Checksum,
    /// The same, for the sum over a whole partimage image.
    Total,
}

use ErrorKind as Kind;
use Verdict::{Accept, Checksum, Early, Late, Total};

/// What a decoder must find, and in which formats: 0002, 0001, partimage. The magic and the version of
/// a partclone image stand at the same place in both formats.
const ROWS: [(ErrorKind, &[&str]); 25] = [
    (Kind::Truncated, &["v2", "v1", "pi"]),
    (Kind::BadMagic, &["v2", "pi"]),
    (Kind::UnsupportedVersion, &["v2", "pi"]),
    (Kind::HeaderChecksum, &["v2", "pi"]),
    (Kind::WrongEndian, &["v2"]),
    (Kind::BadBlockSize, &["v2", "v1", "pi"]),
    (Kind::NoBlocks, &["v2", "v1", "pi"]),
    (Kind::TooManyBlocks, &["v2", "v1", "pi"]),
    (Kind::UsedExceedsTotal, &["v2", "v1"]),
    (Kind::FilesystemLargerThanDevice, &["v2", "pi"]),
    (Kind::BeyondTarget, &["v2", "v1", "pi"]),
    (Kind::UnknownChecksumMode, &["v2"]),
    (Kind::ChecksumSize, &["v2"]),
    (Kind::ZeroStrip, &["v2"]),
    (Kind::UnknownBitmapMode, &["v2"]),
    (Kind::BitmapChecksum, &["v2"]),
    (Kind::BitmapMagic, &["v2", "v1"]),
    (Kind::BlockChecksum, &["v2", "v1", "pi"]),
    (Kind::Encrypted, &["pi"]),
    (Kind::SectionMagic, &["pi"]),
    (Kind::BadHeader, &["pi"]),
    (Kind::BadBitmapSize, &["pi"]),
    (Kind::NotFirstVolume, &["pi"]),
    (Kind::MissingVolume, &["pi"]),
    (Kind::TotalChecksum, &["pi"]),
];

const BLOCK: usize = 1024;
const TOTAL: u64 = 200;
/// Like an NTFS partition: somewhat larger than its blocks.
const DEVICE: usize = 200 * BLOCK + 700;

struct Case {
    name: &'static str,
    image: Vec<u8>,
    verdict: Verdict,
    target: usize,
    restored: Vec<u8>,
}

fn content(number: u64) -> Vec<u8> {
    block(BLOCK)(number)
}

fn v2() -> Recipe {
    let used = (0..TOTAL)
        .map(|n| n % 5 != 3 && !(90..120).contains(&n) && n < 197)
        .collect();
    Recipe {
        strip_blocks: 16,
        device_size: Some(DEVICE as u64),
        ..Recipe::v2(1024, used)
    }
}

fn v1() -> Recipe {
    Recipe {
        is_v1: true,
        ..v2()
    }
}

impl Verdict {
    /// Whether there is a way to have all blocks.
    fn is_restored(self) -> bool {
        matches!(self, Accept | Checksum | Total)
    }

    /// How it is refused.
    fn kind(self) -> Option<ErrorKind> {
        match self {
            Accept => None,
            Early(kind) | Late(kind) => Some(kind),
            Checksum => Some(Kind::BlockChecksum),
            Total => Some(Kind::TotalChecksum),
        }
    }
}

/// The table being built.
#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn add(&mut self, name: &'static str, recipe: &Recipe, image: Vec<u8>, verdict: Verdict) {
        self.add_sized(name, recipe, image, verdict, DEVICE);
    }

    fn add_sized(
        &mut self,
        name: &'static str,
        recipe: &Recipe,
        image: Vec<u8>,
        verdict: Verdict,
        target: usize,
    ) {
        let restored = if verdict.is_restored() {
            recipe.restored(content, target, FILL)
        } else {
            Vec::new()
        };
        self.0.push(Case {
            name,
            image,
            verdict,
            target,
            restored,
        });
    }

    fn recipe(&mut self, name: &'static str, verdict: Verdict, change: impl FnOnce(&mut Recipe)) {
        let mut recipe = if name.starts_with("v1") { v1() } else { v2() };
        change(&mut recipe);
        let image = recipe.write(content);
        self.add(name, &recipe, image, verdict);
    }

    fn header2(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        change: impl FnOnce(&mut partclone_sys::Header0002),
    ) {
        let image = v2().write_v2(content, change);
        self.add(name, &v2(), image, verdict);
    }

    fn header1(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        change: impl FnOnce(&mut partclone_sys::Header0001),
    ) {
        let image = v1().write_v1(content, change);
        self.add(name, &v1(), image, verdict);
    }

    fn bytes(&mut self, name: &'static str, verdict: Verdict, change: impl FnOnce(&mut Vec<u8>)) {
        let recipe = if name.starts_with("v1") { v1() } else { v2() };
        let mut image = recipe.write(content);
        change(&mut image);
        self.add(name, &recipe, image, verdict);
    }
}

/// Where the data of the 0002 images begins.
const DATA2: usize = 110 + 25 + 4;
/// Where the data of the 0001 images begins.
const DATA1: usize = 4160 + 200 + 8;

fn odd_0002(table: &mut Table) {
    table.recipe("v2-good", Accept, |_| {});
    table.recipe("v2-no-sums", Accept, |r| r.checksum = ChecksumMode::None);
    table.recipe("v2-xxh64", Accept, |r| r.checksum = ChecksumMode::Xxh64);
    table.recipe("v2-xxh128", Accept, |r| r.checksum = ChecksumMode::Xxh128);
    table.recipe("v2-running-sum", Accept, |r| r.is_reseeded = false);
    table.recipe("v2-strip-1", Accept, |r| r.strip_blocks = 1);
    table.recipe("v2-strip-huge", Accept, |r| r.strip_blocks = u32::MAX);
    table.recipe("v2-spare-bits", Accept, |r| {
        r.used.truncate(197);
        r.has_odd_bitmap = true;
    });
    table.header2("v2-used-zero", Accept, |h| {
        h.used_blocks_super = 0.into();
        h.used_blocks_bitmap = 0.into();
    });
    table.header2("v2-used-low", Accept, |h| h.used_blocks_bitmap = 9.into());
    table.header2("v2-used-super-wild", Accept, |h| {
        h.used_blocks_super = u64::MAX.into()
    });
    table.bytes("v2-trailing", Accept, |image| {
        image.extend(b"junk".repeat(500))
    });
    table.header2("v2-feature-size", Accept, |h| {
        h.feature_size = u32::MAX.into()
    });
    table.header2("v2-image-version", Accept, |h| h.image_version = 77.into());
    table.header2("v2-cpu-32", Accept, |h| h.cpu_bits = 32.into());
    table.header2("v2-full-names", Accept, |h| {
        h.writer = *b"9.9.9-abcdefgh";
        h.filesystem = *b"ABCDEFGHIJKLMNOP";
    });
    table.header2("v2-reseed-2", Accept, |h| h.reseed = 2);
    table.header2("v2-magic-16", Accept, |h| h.magic = *b"partclone-imageX");
    table.recipe("v2-no-bitmap", Accept, |r| r.bitmap = BitmapMode::None);
    table.recipe("v2-byte-map", Accept, |r| r.bitmap = BitmapMode::Byte);
    table.recipe("v2-byte-map-odd", Accept, |r| {
        r.bitmap = BitmapMode::Byte;
        r.has_odd_bitmap = true;
    });
    table.recipe("v2-no-used-block", Accept, |r| r.used.fill(false));
}

fn bad_0002(table: &mut Table) {
    for (name, len) in [
        ("v2-empty", 0),
        ("v2-3-bytes", 3),
        ("v2-16-bytes", 16),
        ("v2-109-bytes", 109),
        ("v2-header-only", 110),
        ("v2-bitmap-cut", 120),
        ("v2-bitmap-crc-cut", DATA2 - 2),
        ("v2-no-data", DATA2),
    ] {
        table.bytes(name, Early(Kind::Truncated), |image| image.truncate(len));
    }
    table.bytes("v2-magic", Early(Kind::BadMagic), |image| image[0] = b'P');
    table.bytes("v2-zlib", Early(Kind::BadMagic), |image| {
        image.splice(..0, [0x78, 0x9C]);
    });
    table.bytes("v2-zeros", Early(Kind::BadMagic), |image| image.fill(0));
    table.bytes("v2-short-junk", Early(Kind::BadMagic), |image| {
        *image = b"ju".to_vec()
    });
    table.header2("v2-version-0003", Early(Kind::UnsupportedVersion), |h| {
        h.version = *b"0003"
    });
    table.header2("v2-version-junk", Early(Kind::UnsupportedVersion), |h| {
        h.version = *b"zzzz"
    });
    table.bytes("v2-header-bit", Early(Kind::HeaderChecksum), |image| {
        image[60] ^= 1
    });
    table.recipe("v2-header-crc", Early(Kind::HeaderChecksum), |r| {
        r.spoil_header = 1
    });
    table.header2("v2-big-endian", Early(Kind::WrongEndian), |h| {
        h.endian_mark = 0xDEC0.into()
    });
    table.header2("v2-endian-0", Early(Kind::WrongEndian), |h| {
        h.endian_mark = 0.into()
    });
    table.header2("v2-block-0", Early(Kind::BadBlockSize), |h| {
        h.block_size = 0.into()
    });
    table.header2("v2-block-65m", Early(Kind::BadBlockSize), |h| {
        h.block_size = (65 << 20).into()
    });
    table.header2("v2-block-max", Early(Kind::BadBlockSize), |h| {
        h.block_size = u32::MAX.into()
    });
    table.header2("v2-total-0", Early(Kind::NoBlocks), |h| {
        h.total_blocks = 0.into();
        h.used_blocks_bitmap = 0.into();
    });
    for (name, total) in [
        ("v2-total-max", u64::MAX),
        ("v2-total-63", 1 << 63),
        ("v2-total-44", 1 << 44),
        // Times the block size this wraps to 1024.
        ("v2-total-wraps", (1 << 54) + 1),
    ] {
        table.header2(name, Early(Kind::TooManyBlocks), |h| {
            h.total_blocks = total.into()
        });
    }
    table.header2("v2-total-40", Early(Kind::BeyondTarget), |h| {
        h.total_blocks = (1 << 40).into();
        h.device_size = (1 << 50).into();
    });
    table.header2("v2-used-above-total", Early(Kind::UsedExceedsTotal), |h| {
        h.used_blocks_bitmap = (TOTAL + 1).into();
    });
    for (name, size) in [("v2-device-small", 12_345), ("v2-device-0", 0)] {
        table.header2(name, Early(Kind::FilesystemLargerThanDevice), |h| {
            h.device_size = size.into();
        });
    }
    for (name, mode) in [("v2-sum-unknown", 0x40), ("v2-sum-of-0001", 0xFF)] {
        table.header2(name, Early(Kind::UnknownChecksumMode), |h| {
            h.checksum_mode = mode.into()
        });
    }
    for (name, size) in [
        ("v2-sum-size-0", 0),
        ("v2-sum-size-8", 8),
        ("v2-sum-size-max", u16::MAX),
    ] {
        table.header2(name, Early(Kind::ChecksumSize), |h| {
            h.checksum_size = size.into()
        });
    }
    table.header2("v2-no-sum-size-4", Early(Kind::ChecksumSize), |h| {
        h.checksum_mode = 0.into()
    });
    table.header2("v2-strip-0", Early(Kind::ZeroStrip), |h| {
        h.blocks_per_checksum = 0.into()
    });
    table.header2("v2-bitmap-mode-2", Early(Kind::UnknownBitmapMode), |h| {
        h.bitmap_mode = 2
    });
    table.recipe("v2-bitmap-crc", Early(Kind::BitmapChecksum), |r| {
        r.spoil_bitmap = 1
    });
    table.bytes("v2-bitmap-bit", Early(Kind::BitmapChecksum), |image| {
        image[112] ^= 1
    });
    table.recipe("v2-byte-map-magic", Early(Kind::BitmapMagic), |r| {
        r.bitmap = BitmapMode::Byte;
        r.spoil_bitmap = 0x20;
    });
    table.bytes("v2-cut-block", Late(Kind::Truncated), |image| {
        image.truncate(DATA2 + 20 * BLOCK + 4 + 100);
    });
    // The first strip's blocks are there, but not to be believed.
    table.bytes("v2-cut-sum", Early(Kind::Truncated), |image| {
        image.truncate(DATA2 + 16 * BLOCK + 2);
    });
    for (name, short) in [("v2-cut-last-block", 100), ("v2-cut-last-sum", 2)] {
        table.bytes(name, Late(Kind::Truncated), |image| {
            image.truncate(image.len() - short)
        });
    }
    table.recipe("v2-data-bit", Checksum, |r| r.spoil_block = Some(40));
    table.bytes("v2-sum-bit", Checksum, |image| {
        image[DATA2 + 16 * BLOCK] ^= 1
    });
    table.bytes("v2-last-sum-bit", Checksum, |image| {
        *image.last_mut().unwrap() ^= 1
    });
    for (name, target) in [
        ("v2-target-half", DEVICE / 2),
        ("v2-target-short", DEVICE - 1),
    ] {
        let verdict = Early(Kind::BeyondTarget);
        table.add_sized(name, &v2(), v2().write(content), verdict, target);
    }
}

fn images_0001(table: &mut Table) {
    table.recipe("v1-good", Accept, |_| {});
    table.recipe("v1-device-wrong", Accept, |r| r.device_size = Some(12_345));
    table.recipe("v1-device-max", Accept, |r| r.device_size = Some(u64::MAX));
    table.recipe("v1-odd-bitmap", Accept, |r| r.has_odd_bitmap = true);
    table.header1("v1-used-low", Accept, |h| h.used_blocks = 3.into());
    table.recipe("v1-wide", Accept, |r| r.is_wide = true);
    table.header1("v1-padding", Accept, |h| h.padding = *b"\xFFA");
    table.header1("v1-padding-digits", Accept, |h| h.padding = *b"99");
    table.bytes("v1-trailing", Accept, |image| image.extend([0; 999]));
    for (name, len) in [
        ("v1-cut-header", 3000),
        ("v1-cut-bitmap", 4160 + 50),
        ("v1-no-magic", 4160 + 200),
    ] {
        table.bytes(name, Early(Kind::Truncated), |image| image.truncate(len));
    }
    table.recipe("v1-bad-magic", Early(Kind::BitmapMagic), |r| {
        r.spoil_bitmap = 1
    });
    for (name, size) in [
        ("v1-block-0", 0),
        ("v1-block-negative", -1024),
        ("v1-block-65m", 65 << 20),
    ] {
        table.header1(name, Early(Kind::BadBlockSize), |h| {
            h.block_size = size.into()
        });
    }
    table.header1("v1-total-0", Early(Kind::NoBlocks), |h| {
        h.total_blocks = 0.into();
        h.used_blocks = 0.into();
    });
    for (name, total, kind) in [
        ("v1-total-max", u64::MAX, Kind::TooManyBlocks),
        ("v1-total-63", 1 << 63, Kind::TooManyBlocks),
        ("v1-total-40", 1 << 40, Kind::BeyondTarget),
    ] {
        table.header1(name, Early(kind), |h| h.total_blocks = total.into());
    }
    table.header1("v1-used-above-total", Early(Kind::UsedExceedsTotal), |h| {
        h.used_blocks = (TOTAL + 1).into();
    });
    // The second must not be taken for the wide layout.
    for (name, index) in [
        ("v1-sum-first", 0),
        ("v1-sum-second", 1),
        ("v1-sum-late", 70),
    ] {
        table.recipe(name, Checksum, |r| r.spoil_sum = Some(index));
    }
    table.recipe("v1-first-byte", Checksum, |r| r.spoil_block = Some(50));
    table.recipe("v1-wide-sum-late", Checksum, |r| {
        r.is_wide = true;
        r.spoil_sum = Some(70);
    });
    table.bytes("v1-cut-block", Late(Kind::Truncated), |image| {
        image.truncate(DATA1 + 30 * (BLOCK + 4) + 77);
    });
    table.bytes("v1-cut-sum", Late(Kind::Truncated), |image| {
        image.truncate(image.len() - 3)
    });
    table.add_sized(
        "v1-target-half",
        &v1(),
        v1().write(content),
        Early(Kind::BeyondTarget),
        DEVICE / 2,
    );
    // The device size field says more, but it is not to be trusted.
    table.add_sized(
        "v1-target-exact",
        &v1(),
        v1().write(content),
        Accept,
        200 * BLOCK,
    );
}

/// Whole sectors of the device.
const PARTITION: usize = DEVICE / 512 * 512;

fn partimage() -> PartimageRecipe {
    PartimageRecipe {
        partition_size: Some(PARTITION as u64),
        ..PartimageRecipe::new(1024, v2().used)
    }
}

impl Table {
    fn partimage(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        change: impl FnOnce(&mut PartimageRecipe),
    ) {
        self.partimage_bytes(name, verdict, PARTITION, change, |_| {});
    }

    fn partimage_bytes(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        target: usize,
        change: impl FnOnce(&mut PartimageRecipe),
        spoil: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut recipe = partimage();
        change(&mut recipe);
        let mut image = recipe.write(content);
        spoil(&mut image);
        let restored = if verdict.is_restored() {
            recipe.restored(content, target, FILL)
        } else {
            Vec::new()
        };
        self.0.push(Case {
            name,
            image,
            verdict,
            target,
            restored,
        });
    }
}

fn images_partimage(table: &mut Table) {
    table.partimage("pi-good", Accept, |_| {});
    table.partimage("pi-0.6.0", Accept, |r| r.version = "0.6.0".into());
    table.partimage("pi-boot-records", Accept, |r| r.boot_records = 3);
    table.partimage("pi-extensions", Accept, |r| {
        r.extensions[0] = vec![b'x'; 70_000];
        r.extensions[7] = b"yz".to_vec();
    });
    table.partimage("pi-bitmap-exact", Accept, |r| r.bitmap_rest = 0);
    table.partimage("pi-bitmap-long", Accept, |r| r.bitmap_rest = 200_000);
    table.partimage("pi-raw", Accept, |r| r.filesystem = "raw".into());
    table.partimage("pi-unsigned", Accept, |r| r.has_unsigned_sums = true);
    table.partimage("pi-used-wrong", Accept, |r| r.local = Some(|n| n[1] = 5));
    table.partimage("pi-no-used-block", Accept, |r| r.used.fill(false));
    table.partimage_bytes(
        "pi-trailing",
        Accept,
        PARTITION,
        |_| {},
        |image| {
            image.extend(b"more");
        },
    );
    table.partimage("pi-data-bit", Checksum, |r| r.spoil_block = Some(30));
    table.partimage("pi-record-mark", Checksum, |r| {
        r.record = Some((0, |mark, _, _| mark.reverse()));
    });
    table.partimage("pi-record-block", Checksum, |r| {
        r.record = Some((0, |_, _, block| *block += 1));
    });
    table.partimage("pi-record-crc", Checksum, |r| {
        r.record = Some((1, |_, crc, _| *crc ^= 1));
    });
}

fn bad_partimage(table: &mut Table) {
    table.partimage("pi-magic", Early(Kind::BadMagic), |r| r.magic[0] = b'p');
    for (name, version) in [
        ("pi-old", "0.5.9"),
        ("pi-new", "0.6.2"),
        ("pi-junk", "0.6.1x"),
    ] {
        table.partimage(name, Early(Kind::UnsupportedVersion), |r| {
            r.version = version.into();
        });
    }
    table.partimage("pi-volume-1", Early(Kind::NotFirstVolume), |r| r.volume = 1);
    table.partimage("pi-encrypted", Early(Kind::Encrypted), |r| r.encryption = 1);
    for (name, spoil_sums) in [
        ("pi-main-sum", [1, 0, 0]),
        ("pi-local-sum", [0, 1, 0]),
        ("pi-info-sum", [0, 0, 1]),
    ] {
        table.partimage(name, Early(Kind::HeaderChecksum), |r| {
            r.spoil_sums = spoil_sums;
        });
    }
    let early = Early(Kind::HeaderChecksum);
    table.partimage_bytes(
        "pi-main-bit",
        early,
        PARTITION,
        |_| {},
        |image| {
            image[512 + 20] ^= 1;
        },
    );
    for (name, section, other) in [
        ("pi-boot-magic", "MBRBACKUP", "MBRBACKUX"),
        ("pi-extension-magic", "EXT005", "EXT00X"),
        ("pi-local-magic", "LOCALHEADER", "LOCALHEADEX"),
        ("pi-bitmap-magic", "BITMAP", "BITMAX"),
        ("pi-info-magic", "INFO", "INFX"),
        ("pi-data-magic", "DATABLOCKS", "DATABLOCKX"),
    ] {
        table.partimage(name, Early(Kind::SectionMagic), |r| {
            r.spoil_magic = Some((section, other));
        });
    }
    table.partimage("pi-tail-magic", Late(Kind::SectionMagic), |r| {
        r.spoil_magic = Some(("TAIL", "TAIX"));
    });
    table.partimage("pi-boot-count", Early(Kind::SectionMagic), |r| {
        r.claimed_boot_records = Some(5);
    });
    table.partimage("pi-boot-count-max", Early(Kind::BadHeader), |r| {
        r.claimed_boot_records = Some(u32::MAX);
    });
    for (name, change) in [
        ("pi-block-0", (|n| n[0] = 0) as fn(&mut [u64; 4])),
        ("pi-block-big", |n| n[0] = 262_144 + 512),
        ("pi-block-max", |n| n[0] = u64::MAX),
    ] {
        table.partimage(name, Early(Kind::BadBlockSize), |r| r.local = Some(change));
    }
    table.partimage("pi-count-0", Early(Kind::NoBlocks), |r| {
        r.local = Some(|n| n[2] = 0);
    });
    table.partimage("pi-count-max", Early(Kind::TooManyBlocks), |r| {
        r.local = Some(|n| n[2] = u64::MAX);
    });
    table.partimage(
        "pi-count-big",
        Early(Kind::FilesystemLargerThanDevice),
        |r| {
            r.local = Some(|n| n[2] = 1 << 40);
        },
    );
    for (name, change) in [
        ("pi-bitmap-short", (|n| n[3] = 10) as fn(&mut [u64; 4])),
        ("pi-bitmap-huge", |n| n[3] = 1 << 40),
    ] {
        table.partimage(name, Early(Kind::BadBitmapSize), |r| r.local = Some(change));
    }
    let early = Early(Kind::BeyondTarget);
    table.partimage_bytes("pi-target-half", early, PARTITION / 2, |_| {}, |_| {});
    // In the first record, and in the first block: nothing is there that could be believed.
    for (name, behind_data) in [("pi-cut-record", 65536 + 5), ("pi-cut-block", 700)] {
        table.partimage_bytes(
            name,
            Early(Kind::Truncated),
            PARTITION,
            |_| {},
            |image| {
                let magic = b"MAGIC-BEGIN-DATABLOCKS";
                let at = image.windows(magic.len()).position(|w| w == magic);
                image.truncate(at.unwrap() + magic.len() + behind_data);
            },
        );
    }
    for (name, verdict, len) in [
        ("pi-cut-volume", Early(Kind::Truncated), 100),
        ("pi-cut-header", Early(Kind::Truncated), 9000),
        ("pi-cut-bitmap", Early(Kind::Truncated), 512 + 33_100),
        ("pi-cut-data", Late(Kind::Truncated), 150_000),
        ("pi-cut-tail", Late(Kind::Truncated), 200_000),
    ] {
        table.partimage_bytes(
            name,
            verdict,
            PARTITION,
            |_| {},
            |image| image.truncate(len),
        );
    }
    // One block less than there are, which no record tells: its bytes stand where the tail should.
    table.partimage("pi-bitmap-bit", Late(Kind::SectionMagic), |r| {
        r.spoil_bitmap = 2;
    });
    table.partimage("pi-tail-sum", Total, |r| r.spoil_tail = 1);
    table.partimage("pi-tail-volume", Late(Kind::MissingVolume), |r| {
        r.tail_volume = 2;
    });
}

#[test]
fn every_case_gets_its_verdict() {
    let mut table = Table::default();
    odd_0002(&mut table);
    bad_0002(&mut table);
    images_0001(&mut table);
    images_partimage(&mut table);
    bad_partimage(&mut table);
    for (kind, formats) in ROWS {
        for format in formats {
            let is_here = |case: &Case| case.name.starts_with(format);
            assert!(
                table
                    .0
                    .iter()
                    .any(|case| is_here(case) && case.verdict.kind() == Some(kind)),
                "no case of {kind:?} in {format}"
            );
        }
    }
    for case in &table.0 {
        for verify in [Verify::Enforce, Verify::Warn] {
            check(case, verify);
        }
    }
}

fn check(case: &Case, verify: Verify) {
    let name = case.name;
    let (result, sink) = decode(&case.image, case.target, verify);
    let found = result
        .as_ref()
        .map_err(|error| (error.kind(), error.to_string()));
    match (case.verdict, verify) {
        (Accept, _) => {
            found.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(sink.target == case.restored, "{name}: other bytes");
        }
        (Early(kind), _) => {
            assert_eq!(found.expect_err(name).0, kind, "{name}");
            assert_eq!(sink.extents, 0, "{name}");
        }
        (Late(kind), _) => {
            assert_eq!(found.expect_err(name).0, kind, "{name}");
            assert!(sink.extents > 0, "{name}");
        }
        (Checksum | Total, Verify::Enforce) => {
            assert_eq!(
                Some(found.expect_err(name).0),
                case.verdict.kind(),
                "{name}"
            );
        }
        (Checksum | Total, Verify::Warn) => {
            let summary = found.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(summary.checksum_errors > 0, "{name}");
            assert_eq!(sink.extents as u64, summary.extents, "{name}");
            // One byte at most differs: the spoilt one.
            let wrong = sink
                .target
                .iter()
                .zip(&case.restored)
                .filter(|(a, b)| a != b)
                .count();
            assert!(wrong <= 1, "{name}: {wrong} bytes differ");
        }
    }
}
