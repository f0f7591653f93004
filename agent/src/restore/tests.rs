//! Whole restores, on files.

use std::fs;

use image_writer::{PartimageRecipe, Recipe};

use super::*;

const SIZE: usize = 500 * 512;

fn content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(64)
}

fn recipe() -> Recipe {
    Recipe {
        strip_blocks: 8,
        ..Recipe::v2(512, (0..500).map(|n| n % 4 != 1 && n < 470).collect())
    }
}

struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn job(&self, images: &[PathBuf], target: Option<&str>) -> Job {
        Job {
            source: Source::open(images).unwrap(),
            place: match target {
                None => Place::Nowhere,
                Some(name) => Place::Path {
                    path: self.path(name),
                    creation: Creation::Never,
                    is_discarded: true,
                    manner: Manner::Original,
                },
            },
            trace: Trace::default(),
            is_raw: false,
            verify: Verify::Enforce,
            window_log: 27,
            period: Duration::from_millis(1),
        }
    }
}

fn restored(job: Job) -> anyhow::Result<report::Done> {
    let report = run(job, |_| {})?;
    Ok(report::Done {
        report,
        target: Some("target".into()),
        bottleneck: None,
    })
}

#[test]
fn split_compressed_image_is_restored_and_the_rest_left_alone() {
    let scene = Scene::new();
    let stored = {
        use std::io::Write as _;
        let image = recipe().write(content);
        let mut frame = vec![0x04, 0x22, 0x4D, 0x18];
        // One LZ4 frame with an uncompressed block: nothing but the format is needed to make it.
        frame.extend([0x60, 0x70, 0x73]);
        let len = u32::try_from(image.len()).unwrap() | 1 << 31;
        frame.write_all(&len.to_le_bytes()).unwrap();
        frame.extend(&image);
        frame.extend([0; 4]);
        frame
    };
    let third = stored.len() / 3;
    let pieces: Vec<PathBuf> = stored
        .chunks(third + 1)
        .enumerate()
        .map(|(number, piece)| scene.write(&format!("d1p1.img.{number:03}"), piece))
        .rev()
        .collect();
    // Whole sectors, and not.
    for spare in [0, 512, 77] {
        scene.write("target", &vec![0xA5; SIZE + spare]);
        let done = restored(scene.job(&pieces, Some("target"))).unwrap();
        let found = fs::read(scene.path("target")).unwrap();
        assert!(found == recipe().restored(content, SIZE + spare, 0xA5));
        assert!(done.lines().last().unwrap().contains("written and synced"));
        let json = report::json(&Ok(done), &Trace::default());
        assert_eq!(json["ok"], true);
        assert_eq!(json["image"]["compression"], "lz4");
        assert_eq!(json["written_bytes"], recipe().used_blocks().count() * 512);
    }
}

#[test]
fn failures_leave_the_target_alone_and_have_a_kind() {
    let scene = Scene::new();
    let good = recipe().write(content);
    let mut damaged = good.clone();
    damaged[60] ^= 1;
    let kind_of = |job: Job| {
        let trace = job.trace.clone();
        let result = restored(job);
        let json = report::json(&result, &trace);
        assert_eq!(json["target_touched"], false);
        assert_eq!(trace.line("x"), "nothing was written to x");
        assert_eq!(json["ok"], false);
        json["kind"].clone()
    };
    let image = scene.write("image", &good);
    let bad = scene.write("bad", &damaged);
    let junk = scene.write("junk", b"something else");
    // A zstd frame of a block that is not compressed, with a window of 256 MiB.
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0, (28 - 10) << 3];
    let block = u32::try_from(good.len()).unwrap() << 3 | 1;
    frame.extend(&block.to_le_bytes()[..3]);
    frame.extend(&good);
    let windowed = scene.write("windowed", &frame);
    scene.write("target", &vec![0xA5; SIZE]);
    scene.write("small", &vec![0xA5; SIZE - 512]);
    for (image, target, kind) in [
        (&image, Some("small"), "beyond-target"),
        (&bad, Some("target"), "header-checksum"),
        (&bad, None, "header-checksum"),
        (&junk, Some("target"), "bad-magic"),
        (&windowed, Some("target"), "window-too-large"),
        (&image, Some("nothing"), "other"),
    ] {
        assert_eq!(
            kind_of(scene.job(std::slice::from_ref(image), target)),
            kind
        );
    }
    assert!(
        fs::read(scene.path("target"))
            .unwrap()
            .iter()
            .all(|&byte| byte == 0xA5)
    );
    assert!(
        fs::read(scene.path("small"))
            .unwrap()
            .iter()
            .all(|&byte| byte == 0xA5)
    );
    assert!(!scene.path("nothing").exists());
}

#[test]
fn damage_is_an_error_or_a_warning() {
    let scene = Scene::new();
    let recipe = Recipe {
        spoil_block: Some(40),
        ..recipe()
    };
    let image = [scene.write("image", &recipe.write(content))];
    scene.write("target", &vec![0xA5; SIZE]);
    let error = restored(scene.job(&image, Some("target"))).err().unwrap();
    assert!(format!("{error:#}").contains("checksum error"), "{error:#}");
    let job = Job {
        verify: Verify::Warn,
        ..scene.job(&image, Some("target"))
    };
    let done = restored(job).unwrap();
    let text = done.lines().join("\n");
    assert!(text.contains("WARNING: 1 checksums were wrong"), "{text}");
    assert_eq!(
        report::json(&Ok(done), &Trace::default())["checksum_errors"],
        1
    );
}

#[test]
fn files_are_made_only_when_asked_and_for_good_images() {
    let scene = Scene::new();
    let image = [scene.write("image", &recipe().write(content))];
    let created = |images: &[PathBuf], name: &str| Job {
        place: Place::Path {
            path: scene.path(name),
            creation: Creation::WhenNeeded,
            is_discarded: false,
            manner: Manner::Original,
        },
        ..scene.job(images, None)
    };
    restored(created(&image, "new")).unwrap();
    let found = fs::read(scene.path("new")).unwrap();
    assert!(found == recipe().restored(content, SIZE, 0));
    let junk = [scene.write("junk", b"junk")];
    assert!(restored(created(&junk, "never")).is_err());
    assert!(!scene.path("never").exists());
}

#[test]
fn raw_data_is_written_whole() {
    let scene = Scene::new();
    let mut data = vec![0; 10_000];
    data[5000] = 1;
    let raw = |images: &[PathBuf], target| Job {
        is_raw: true,
        ..scene.job(images, Some(target))
    };
    let image = [scene.write("disk.raw", &data)];
    scene.write("target", &[0xA5; 10_240]);
    let done = restored(raw(&image, "target")).unwrap();
    let found = fs::read(scene.path("target")).unwrap();
    assert!(found[..10_000] == data && found[10_000..] == [0xA5; 240]);
    assert_eq!(
        report::json(&Ok(done), &Trace::default())["image"]["format"],
        "raw"
    );
    // Known to be too long, so nothing is written.
    scene.write("small", &[0xA5; 9_999]);
    assert!(restored(raw(&image, "small")).is_err());
    assert_eq!(fs::read(scene.path("small")).unwrap(), [0xA5; 9_999]);
    let image = [scene.write("image", &recipe().write(content))];
    let error = restored(raw(&image, "target")).err().unwrap();
    assert!(format!("{error:#}").contains("leave the raw mode out"));
}

#[test]
fn a_disk_whose_image_turns_out_bad_does_not_boot() {
    let scene = Scene::new();
    let len = 12 << 20;
    let packed = image_writer::wrap(image::Compression::Zstd, &vec![0x5A; len]);
    let image = [scene.write("disk.zst", &packed[..packed.len() - 4])];
    scene.write("target", &vec![0xA5; len]);
    let job = Job {
        is_raw: true,
        ..scene.job(&image, Some("target"))
    };
    let trace = job.trace.clone();
    assert!(restored(job).is_err());
    assert!(trace.is_touched());
    let line = trace.line("/dev/sdx");
    assert!(
        line.starts_with("/dev/sdx is partly overwritten: "),
        "{line}"
    );
    assert!(!line.contains(": 0 bytes"), "{line}");
    let found = fs::read(scene.path("target")).unwrap();
    assert!(found[..1 << 20].iter().all(|&byte| byte == 0));
    assert!(found.contains(&0x5A), "data was written before the end");
}

#[test]
fn volumes_of_partimage_are_pieces_too() {
    let scene = Scene::new();
    let recipe = PartimageRecipe::new(512, recipe().used);
    let pieces: Vec<PathBuf> = recipe
        .write_volumes(content, &[60_000, 50_000])
        .iter()
        .enumerate()
        .map(|(number, volume)| scene.write(&format!("x.{number:03}"), volume))
        .collect();
    scene.write("target", &vec![0xA5; SIZE]);
    restored(scene.job(&pieces, Some("target"))).unwrap();
    let found = fs::read(scene.path("target")).unwrap();
    assert!(found == recipe.restored(content, SIZE, 0xA5));
}

#[test]
fn progress_is_shown_to_the_end() {
    let scene = Scene::new();
    let image = [scene.write("image", &recipe().write(content))];
    let mut last = None;
    let summary = run(scene.job(&image, None), |view| last = Some(view.clone())).unwrap();
    let last = last.unwrap();
    assert_eq!(last.progress.input_len, summary.summary.input_len);
    assert_eq!(
        last.geometry.unwrap().used_blocks,
        last.progress.blocks_total
    );
    assert_eq!(last.source_len, Some(last.progress.input_len));
}
