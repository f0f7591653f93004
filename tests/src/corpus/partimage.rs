//! Images of partimage: by the original, which takes block devices only, and by our writer where that
//! cannot be asked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use image_writer::PartimageRecipe;

use super::{Corpus, Image, LoopDevice, Reference, noise, succeed};

/// Makes the images; `false` where there are no loop devices.
pub(super) fn make(corpus: &mut Corpus) -> bool {
    for source in ["ext3", "ntfs", "fat16", "fat32"] {
        let path = corpus.path(&format!("pi-{source}.img"));
        if !save(corpus, source, &path, &["-z0", "-V0"]) {
            return false;
        }
        push(corpus, &format!("pi-{source}"), path, Reference::Partimage);
    }
    for (name, recipe, reference) in recipes() {
        let block_len = usize::try_from(recipe.block_size).unwrap();
        let image = recipe.write(|number| noise(number + 300, block_len));
        let path = corpus.path(&format!("{name}.img"));
        fs::write(&path, image).unwrap();
        push(corpus, name, path, reference);
    }
    true
}

/// The images of `ext3` that the original makes with its own compression, or in volumes.
pub(super) fn stored(corpus: &Corpus) -> Vec<(&'static str, Vec<PathBuf>)> {
    let mut stored = Vec::new();
    for (name, options) in [
        ("gzip", ["-z1", "-V0"]),
        ("bzip2", ["-z2", "-V0"]),
        ("volumes", ["-z0", "-V1"]),
        ("gzip, volumes", ["-z1", "-V1"]),
    ] {
        let first = corpus.path(&format!("pi-stored-{}", options.concat()));
        assert!(
            save(corpus, "ext3", &first, &options),
            "loop devices were there"
        );
        let volume = |number: u32| PathBuf::from(format!("{}.{number:03}", first.display()));
        let volumes: Vec<PathBuf> = (0..).map(volume).take_while(|path| path.exists()).collect();
        let files = if volumes.is_empty() {
            vec![first]
        } else {
            volumes
        };
        stored.push((name, files));
    }
    stored
}

/// What the original leaves in a target of `size` bytes full of `fill`.
pub(super) fn restored(corpus: &Corpus, image: &Image, size: u64, fill: u8) -> Vec<u8> {
    let target = corpus.path("pi-target");
    fs::write(&target, vec![fill; usize::try_from(size).unwrap()]).unwrap();
    let device = LoopDevice::new(&target).expect("loop devices were there");
    // Its own session: it draws on the terminal that it finds.
    let mut command = Command::new("setsid");
    command.args(["-w", "timeout", "60", "partimage", "restore"]);
    command.args([device.path(), "stdin", "-f3", "-b"]);
    super::succeed_with(&mut command, File::open(&image.path).unwrap());
    device.flush();
    drop(device);
    fs::read(&target).unwrap()
}

fn push(corpus: &mut Corpus, name: &str, path: PathBuf, reference: Reference) {
    corpus.images.push(Image {
        name: name.to_owned(),
        path,
        reference,
    });
}

/// Whether the machine could.
fn save(corpus: &Corpus, source: &str, path: &Path, options: &[&str]) -> bool {
    let Some(device) = LoopDevice::new(&corpus.path(&format!("{source}.raw"))) else {
        return false;
    };
    let mut command = Command::new("setsid");
    command.args([
        "-w",
        "timeout",
        "60",
        "partimage",
        "-o",
        "-d",
        "-c",
        "-M",
        "-b",
        "-f3",
    ]);
    command
        .args(options)
        .args(["save", device.path()])
        .arg(path);
    succeed(&mut command);
    true
}

/// Images with holes: the first block and the last ones are free.
fn recipes() -> Vec<(&'static str, PartimageRecipe, Reference)> {
    let used: Vec<bool> = (0..701)
        .map(|n| n % 7 > 1 && !(300..360).contains(&n) && n > 0 && n < 697)
        .collect();
    let holes = PartimageRecipe::new(1024, used);
    let mut extensions = holes.extensions.clone();
    extensions[3] = vec![7; 1000];
    vec![
        ("pi-holes", holes.clone(), Reference::Partimage),
        (
            "pi-holes-512",
            PartimageRecipe {
                block_size: 512,
                boot_records: 2,
                extensions,
                ..holes.clone()
            },
            Reference::Partimage,
        ),
        (
            "pi-holes-060",
            PartimageRecipe {
                version: "0.6.0".into(),
                bitmap_rest: 0,
                ..holes.clone()
            },
            Reference::Partimage,
        ),
        (
            "pi-blocks-256k",
            PartimageRecipe::new(262_144, vec![true, false, true, true, true]),
            Reference::Partimage,
        ),
        (
            "pi-long-runs",
            PartimageRecipe::new(4096, (0..500).map(|n| n % 130 != 129).collect()),
            Reference::Partimage,
        ),
    ]
}
