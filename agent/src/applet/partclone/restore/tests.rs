//! Whole runs, on files.

use std::fs;
use std::path::PathBuf;

use image_writer::Recipe;

use super::*;

/// A directory with an image of 50 blocks of 512 bytes, of which the last ones are free.
struct Scene {
    directory: tempfile::TempDir,
    recipe: Recipe,
}

const SIZE: usize = 50 * 512;

fn content(number: u64) -> Vec<u8> {
    vec![u8::try_from(number).unwrap() | 0x80; 512]
}

impl Scene {
    fn new(change: impl FnOnce(&mut Recipe)) -> Self {
        let used = (0..50).map(|n| n % 4 != 1 && n < 45).collect();
        let mut recipe = Recipe {
            strip_blocks: 8,
            ..Recipe::v2(512, used)
        };
        change(&mut recipe);
        let directory = tempfile::tempdir().unwrap();
        let scene = Self { directory, recipe };
        fs::write(scene.path("image"), scene.recipe.write(content)).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, options: &[&str]) -> ExitCode {
        let mut args: Vec<OsString> = vec!["-s".into(), self.path("image").into()];
        args.extend(["-L".into(), self.path("log").into(), "-q".into()]);
        args.extend(options.iter().map(|option| {
            // A leading @ stands for the directory.
            match option.strip_prefix('@') {
                Some(name) => self.path(name).into(),
                None => option.into(),
            }
        }));
        partclone_restore(&args)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    #[track_caller]
    fn says_untouched(&self, target: &str) {
        let line = format!(
            "failed: nothing was written to {}\n",
            self.path(target).display()
        );
        let log = self.log();
        assert!(log.ends_with(&line), "{log}");
        assert!(!log.contains("overwritten"), "{log}");
    }

    #[track_caller]
    fn says_overwritten(&self, target: &str, len: usize) {
        let line = format!(
            "failed: {} is partly overwritten: {len} bytes written; restore again\n",
            self.path(target).display()
        );
        let log = self.log();
        assert!(log.ends_with(&line), "{log}");
        assert!(!log.contains("nothing was written"), "{log}");
    }

    fn filled(&self, size: usize) {
        fs::write(self.path("target"), vec![0xA5; size]).unwrap();
    }

    fn target(&self) -> Vec<u8> {
        fs::read(self.path("target")).unwrap()
    }
}

#[track_caller]
fn succeeds(code: ExitCode) {
    assert_eq!(code, ExitCode::SUCCESS);
}

#[track_caller]
fn fails(code: ExitCode) {
    assert_eq!(code, ExitCode::FAILURE);
}

#[test]
fn existing_target_keeps_what_is_not_in_the_image() {
    let scene = Scene::new(|_| {});
    scene.filled(SIZE + 100);
    succeeds(scene.run(&["-O", "@target"]));
    assert_eq!(
        scene.target(),
        scene.recipe.restored(content, SIZE + 100, 0xA5)
    );
    assert!(
        scene.log().contains("written and synced"),
        "{}",
        scene.log()
    );
}

#[test]
fn too_small_a_target_is_refused_untouched_unless_unchecked() {
    let scene = Scene::new(|_| {});
    scene.filled(SIZE - 1);
    fails(scene.run(&["-O", "@target"]));
    assert_eq!(scene.target(), vec![0xA5; SIZE - 1]);
    scene.says_untouched("target");
    assert!(
        scene.log().contains(
            "needs a target of 25.6 kB (25600 bytes), this one has 25.6 kB (25599 bytes)"
        )
    );
    succeeds(scene.run(&["-C", "-O", "@target"]));
    assert_eq!(
        scene.target(),
        scene.recipe.restored(content, SIZE - 1, 0xA5)
    );
}

#[test]
fn new_target_must_not_exist() {
    let scene = Scene::new(|_| {});
    scene.filled(SIZE);
    fails(scene.run(&["-o", "@target"]));
    scene.says_untouched("target");
    assert_eq!(scene.target(), vec![0xA5; SIZE]);
    fs::remove_file(scene.path("target")).unwrap();
    succeeds(scene.run(&["-C", "-o", "@target"]));
    // It ends with the last used block.
    assert_eq!(scene.target(), scene.recipe.restored(content, 45 * 512, 0));
}

#[test]
fn plain_file_is_extended_if_its_end_is_free() {
    let scene = Scene::new(|_| {});
    scene.filled(2 * SIZE);
    succeeds(scene.run(&["-W", "-O", "@target"]));
    assert_eq!(scene.target(), scene.recipe.restored(content, SIZE, 0));

    let scene = Scene::new(|recipe| {
        recipe.used[49] = true;
        recipe.device_size = Some(SIZE as u64 + 300);
    });
    succeeds(scene.run(&["-W", "-o", "@target"]));
    assert_eq!(scene.target(), scene.recipe.restored(content, SIZE, 0));
}

#[test]
fn offset_moves_everything() {
    let scene = Scene::new(|_| {});
    scene.filled(SIZE + 4096);
    succeeds(scene.run(&["-O", "@target", "--offset=4096"]));
    let mut expected = vec![0xA5; 4096];
    expected.extend(scene.recipe.restored(content, SIZE, 0xA5));
    assert_eq!(scene.target(), expected);
}

#[test]
fn damage_is_an_error_or_a_loud_warning_and_never_forced() {
    let scene = Scene::new(|recipe| recipe.spoil_block = Some(0));
    scene.filled(SIZE);
    fails(scene.run(&["-O", "@target"]));
    assert_eq!(scene.target(), vec![0xA5; SIZE]);
    fails(scene.run(&["-F", "-O", "@target"]));
    assert!(scene.log().contains("--force does not"), "{}", scene.log());
    succeeds(scene.run(&["--ignore_crc", "-O", "@target"]));
    let log = scene.log();
    assert!(
        log.contains("checksum error in the 8 used blocks 0 to 10"),
        "{log}"
    );
    assert!(
        log.contains("WARNING: 1 checksums of the image were wrong"),
        "{log}"
    );
}

#[test]
fn truncated_image_fails_even_if_forced() {
    let scene = Scene::new(|_| {});
    let image = fs::read(scene.path("image")).unwrap();
    fs::write(scene.path("image"), &image[..image.len() - 1]).unwrap();
    scene.filled(SIZE);
    fails(scene.run(&["-F", "-i", "-C", "-O", "@target"]));
    assert!(
        scene
            .log()
            .contains("image ends in the middle of the checksum after block 44")
    );
    let written = scene.target().iter().filter(|&&byte| byte != 0xA5).count();
    assert!(written > 0);
    scene.says_overwritten("target", written);
    // Emptying a file is no less than writing to it.
    fs::write(scene.path("image"), b"junk").unwrap();
    fails(scene.run(&["-W", "-O", "@target"]));
    scene.says_overwritten("target", 0);
}

#[test]
fn missing_image_and_log_are_told_apart() {
    let scene = Scene::new(|_| {});
    scene.filled(SIZE);
    // Without a log there is nothing to fail for.
    succeeds(scene.run(&["-O", "@target", "-L", "@no/such/log"]));
    fails(scene.run(&["-O", "@target", "-s", "@nothing"]));
    assert!(scene.log().contains("opening the image"), "{}", scene.log());
    scene.says_untouched("target");
    fails(scene.run(&["-O", "@target", "-s", "/etc/passwd"]));
    scene.says_untouched("target");
}

#[test]
fn write_errors_are_reported_with_their_place() {
    let scene = Scene::new(|_| {});
    fails(scene.run(&["-C", "-O", "/dev/full"]));
    assert!(
        scene.log().contains("write error at byte 0"),
        "{}",
        scene.log()
    );
    fails(scene.run(&["-C", "-O", "/dev/full", "--skip_write_error"]));
    assert!(
        scene.log().contains("writes failed and were skipped"),
        "{}",
        scene.log()
    );
}

#[test]
fn no_file_is_made_where_a_device_is_missing() {
    let scene = Scene::new(|_| {});
    for options in [&["-O"][..], &["-o"], &["-W", "-O"], &["-C", "-O"]] {
        let options = [options, &["/dev/there-is-none1"]].concat();
        fails(scene.run(&options));
        let log = scene.log();
        assert!(log.contains("there is no such device"), "{log}");
        assert!(
            log.ends_with("nothing was written to /dev/there-is-none1\n"),
            "{log}"
        );
        assert!(!Path::new("/dev/there-is-none1").exists());
    }
}

#[test]
fn wrong_usage_is_status_2() {
    assert_eq!(partclone_restore(&["--nonsense".into()]), ExitCode::from(2));
    assert_eq!(partclone_restore(&["--help".into()]), ExitCode::SUCCESS);
}
