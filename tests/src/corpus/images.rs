//! Images: by partclone's own programs, and by our writer where these cannot be asked.

use std::fs;
use std::process::Command;

use image::{BitmapMode, ChecksumMode};
use image_writer::Recipe;

use super::{Corpus, Image, Reference, noise, succeed};

/// Image, source, program, options of the cloning.
const CLONES: [(&str, &str, &str, &[&str]); 21] = [
    ("ext4-a0", "ext4", "ext4", &["-a0"]),
    ("ext4-a1", "ext4", "ext4", &["-a1"]),
    ("ext4-a1-k1", "ext4", "ext4", &["-a1", "-k1"]),
    ("ext4-a1-k7", "ext4", "ext4", &["-a1", "-k7"]),
    ("ext4-a1-k1000", "ext4", "ext4", &["-a1", "-k1000"]),
    ("ext4-a1-k100000", "ext4", "ext4", &["-a1", "-k100000"]),
    ("ext4-a1-running", "ext4", "ext4", &["-a1", "-k64", "-K"]),
    ("ext4-a1-z16k", "ext4", "ext4", &["-a1", "-z", "16384"]),
    ("ext4-1k-a0", "ext4-1k", "ext4", &["-a0"]),
    ("ext4-1k-a1", "ext4-1k", "ext4", &["-a1"]),
    ("ext3-a1", "ext3", "ext3", &["-a1"]),
    ("ntfs-a0", "ntfs", "ntfs", &["-a0"]),
    ("ntfs-a1", "ntfs", "ntfs", &["-a1"]),
    ("fat16-a1", "fat16", "fat16", &["-a1"]),
    ("fat32-a0", "fat32", "fat32", &["-a0"]),
    ("exfat-a1", "exfat", "exfat", &["-a1"]),
    ("xfs-a0", "xfs", "xfs", &["-a0"]),
    ("btrfs-a0", "btrfs", "btrfs", &["-a0"]),
    ("btrfs-a1-k5", "btrfs", "btrfs", &["-a1", "-k5"]),
    ("imager-a0", "plain", "imager", &["-a0"]),
    ("imager-a1", "plain", "imager", &["-a1"]),
];

/// Makes all images.
pub(super) fn make(corpus: &mut Corpus) {
    for (name, source, program, options) in CLONES {
        let path = corpus.path(&format!("{name}.img"));
        let mut command = Command::new(format!("partclone.{program}"));
        command
            .arg("-c")
            .arg("-s")
            .arg(corpus.path(&format!("{source}.raw")));
        command.arg("-O").arg(&path);
        command.arg("-L").arg(corpus.path("log"));
        command.args(["-q", "-f", "0"]).args(options);
        succeed(&mut command);
        corpus.images.push(Image {
            name: name.to_owned(),
            path,
            reference: Reference::Verifies,
        });
    }
    for (name, recipe) in recipes() {
        let block_len = usize::try_from(recipe.block_size).unwrap();
        let image = recipe.write(|number| noise(number + 100, block_len));
        let path = corpus.path(&format!("{name}.img"));
        fs::write(&path, image).unwrap();
        let is_unknown = matches!(recipe.checksum, ChecksumMode::Xxh64 | ChecksumMode::Xxh128);
        corpus.images.push(Image {
            name: name.to_owned(),
            path,
            reference: if is_unknown && !recipe.is_v1 {
                Reference::IgnoresChecksums
            } else {
                Reference::Verifies
            },
        });
    }
}

/// Images with holes: the first block and the last ones are free.
fn recipes() -> Vec<(&'static str, Recipe)> {
    let used: Vec<bool> = (0..701)
        .map(|n| n % 7 > 1 && !(300..360).contains(&n) && n > 0 && n < 697)
        .collect();
    let holes = Recipe {
        strip_blocks: 100,
        device_size: Some(701 * 1024 + 700),
        ..Recipe::v2(1024, used)
    };
    let variant = |change: &dyn Fn(&mut Recipe)| {
        let mut recipe = holes.clone();
        change(&mut recipe);
        recipe
    };
    vec![
        ("holes-crc32", holes.clone()),
        ("holes-none", variant(&|r| r.checksum = ChecksumMode::None)),
        ("holes-spare-bits", variant(&|r| r.has_odd_bitmap = true)),
        ("holes-byte-map", variant(&|r| r.bitmap = BitmapMode::Byte)),
        ("holes-no-map", variant(&|r| r.bitmap = BitmapMode::None)),
        ("holes-running", variant(&|r| r.is_reseeded = false)),
        ("holes-one-strip", variant(&|r| r.strip_blocks = 100_000)),
        (
            "holes-xxh64",
            variant(&|r| r.checksum = ChecksumMode::Xxh64),
        ),
        (
            "holes-xxh128",
            variant(&|r| r.checksum = ChecksumMode::Xxh128),
        ),
        ("holes-0001", variant(&|r| r.is_v1 = true)),
        (
            "holes-0001-odd",
            variant(&|r| {
                r.is_v1 = true;
                r.has_odd_bitmap = true;
            }),
        ),
        (
            "blocks-256k",
            Recipe {
                strip_blocks: 4,
                ..Recipe::v2(
                    256 << 10,
                    vec![true, false, true, true, false, true, true, true],
                )
            },
        ),
        (
            "one-block",
            Recipe::v2(1024, (0..64).map(|n| n == 5).collect()),
        ),
        ("one-block-0001", Recipe::v1(512, vec![false, true, false])),
    ]
}
