//! Our programs against the originals, as they are called: exit status, bytes on the target, the
//! lines that scripts read.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use fos_tests::corpus::{Corpus, Image, LoopDevice};
use fos_tests::site::program;
use fos_tests::target::left_by_restore;

#[test]
fn programs_do_what_the_originals_do() {
    let Some(corpus) = Corpus::new() else {
        return;
    };
    let scene = Scene {
        corpus,
        agent: program("fos-agent"),
    };
    scene.every_line_ends_as_with_the_original();
    scene.info_shows_what_the_original_shows();
    scene.partclone_restores_a_device();
    scene.partimage_restores_a_device();
    scene.restore_takes_what_the_original_makes();
    scene.restore_leaves_used_devices_alone();
}

/// `O_EXCL`, which holds a block device for one program (open(2)).
const EXCLUSIVE: i32 = 0o200;

/// How often the original may begin: that all fail by chance happens once in four billion times.
const TRIES: usize = 8;

struct Scene {
    corpus: Corpus,
    agent: PathBuf,
}

/// How a program ended and what it left in its target.
#[derive(Debug, PartialEq)]
struct Outcome {
    is_success: bool,
    target: Option<Vec<u8>>,
    standard_output: Vec<u8>,
    messages: String,
}

/// A command line; `IMAGE` and `TARGET` stand for files. The image is also on standard input.
struct Line {
    program: &'static str,
    arguments: &'static str,
    image: PathBuf,
    /// Bytes of the target; `None`: it does not exist.
    size: Option<u64>,
}

impl Scene {
    fn image(&self, name: &str) -> &Image {
        self.corpus.image(name)
    }

    /// The original and ours on the same line, each with a target of its own.
    fn both(&self, index: usize, line: &Line) -> [Outcome; 2] {
        let target = |who| self.corpus.path(&format!("target-{index}-{who}"));
        let original = || self.run_line(line, false, &target("original"));
        // Once in sixteen times the original takes a target that does not exist for a device, and does not make
        // it: by chance (the kernel's answers are the same), and never without randomized addresses.
        let makes_target = line.size.is_none() && line.arguments.contains("-o TARGET");
        let is_chance = |end: &Outcome| makes_target && !end.is_success && end.target.is_none();
        let mut outcomes = std::iter::repeat_with(original).take(TRIES);
        let original = outcomes.find(|end| !is_chance(end));
        let original = original.expect("the original makes its target");
        let ours = self.run_line(line, true, &target("ours"));
        [original, ours]
    }

    fn run_line(&self, line: &Line, is_ours: bool, target: &Path) -> Outcome {
        if let Some(size) = line.size {
            fs::write(target, vec![0xA5; usize::try_from(size).unwrap()]).unwrap();
        }
        let mut command = if is_ours {
            let mut command = Command::new(&self.agent);
            command.arg(line.program);
            command
        } else {
            Command::new(line.program)
        };
        for argument in line.arguments.split_whitespace() {
            match argument {
                "IMAGE" => command.arg(&line.image),
                "TARGET" => command.arg(target),
                other => command.arg(other),
            };
        }
        let output = surroundings(&mut command)
            .stdin(File::open(&line.image).unwrap())
            .current_dir(self.corpus.path(""))
            .output()
            .unwrap();
        Outcome {
            is_success: output.status.success(),
            target: fs::read(target).ok(),
            standard_output: output.stdout,
            messages: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn every_line_ends_as_with_the_original(&self) {
        let good = || self.image("ext4-a1").path.clone();
        let size = 24 << 20;
        let damaged = self.changed("ext4-a1", "damaged", |image| {
            let middle = image.len() / 2;
            image[middle] ^= 1;
        });
        let header = self.changed("ext4-a1", "header", |image| image[60] ^= 1);
        let cut = self.changed("ext4-a1", "cut", |image| image.truncate(image.len() / 2));
        let junk = self.changed("ext4-a1", "junk", |image| image.fill(7));
        let line = |program, arguments, image: PathBuf, size| Line {
            program,
            arguments,
            image,
            size,
        };
        let restore = "partclone.restore";
        let lines = [
            line(restore, "-L log -O TARGET -f 1", good(), Some(size)),
            line(
                restore,
                "-L log --ignore_crc -O TARGET -f 1",
                good(),
                Some(size),
            ),
            line(
                restore,
                "-L log -n note --ignore_crc -O TARGET -Bf 1",
                good(),
                Some(size),
            ),
            line(restore, "-L log -s IMAGE -O TARGET -q", good(), Some(size)),
            line(
                restore,
                "-L log -s IMAGE -O TARGET -q",
                good(),
                Some(size - 4096),
            ),
            line(
                restore,
                "-L log -s IMAGE -O TARGET -q -C",
                good(),
                Some(size - 4096),
            ),
            line(
                restore,
                "-L log -s IMAGE -O TARGET -q -E 4096",
                good(),
                Some(size + 4096),
            ),
            line(restore, "-L log -s IMAGE -o TARGET -q -C", good(), None),
            line(restore, "-L log -s IMAGE -o TARGET -q", good(), Some(size)),
            line(restore, "-L log -s IMAGE -o TARGET -q", good(), None),
            line(restore, "-L log -s IMAGE -W -o TARGET -q", good(), None),
            line(
                restore,
                "-L log -s IMAGE -q",
                self.image("one-block").path.clone(),
                None,
            ),
            line(restore, "-L log -O TARGET -q", damaged.clone(), Some(size)),
            line(
                restore,
                "-L log -O TARGET -q -i",
                damaged.clone(),
                Some(size),
            ),
            line(restore, "-L log -O TARGET -q", header.clone(), Some(size)),
            line(
                restore,
                "-L log -O TARGET -q -i",
                header.clone(),
                Some(size),
            ),
            line(restore, "-L log -O TARGET -q -i", cut.clone(), Some(size)),
            line(restore, "-L log -O TARGET -q", junk.clone(), Some(size)),
            line(
                "partclone.ext4",
                "-L log -r -s IMAGE -O TARGET -q",
                good(),
                Some(size),
            ),
            line(
                "partclone.ntfs",
                "-L log -r -O TARGET -q",
                good(),
                Some(size),
            ),
            line("partclone.chkimg", "-L log -s IMAGE", good(), None),
            line("partclone.chkimg", "-L log -s -", good(), None),
            line("partclone.chkimg", "-L log -s IMAGE", damaged.clone(), None),
            line(
                "partclone.chkimg",
                "-L log -s IMAGE -i",
                damaged.clone(),
                None,
            ),
            line("partclone.chkimg", "-L log -s IMAGE", cut.clone(), None),
            line("partclone.chkimg", "-L log -s IMAGE", junk.clone(), None),
            line("partclone.info", "IMAGE", good(), None),
            line("partclone.info", "-L log -s -", good(), None),
            line("partclone.info", "-L log -s IMAGE", header, None),
            line("partclone.info", "-L log -s IMAGE", damaged, None),
            line("partclone.info", "-L log -s IMAGE", junk, None),
        ];
        // The original takes three seconds for every failure.
        thread::scope(|scope| {
            for (index, line) in lines.iter().enumerate() {
                scope.spawn(move || {
                    let what = format!("{} {} {:?}", line.program, line.arguments, line.size);
                    let [original, ours] = self.both(index, line);
                    assert_eq!(
                        original.is_success, ours.is_success,
                        "{what}: original, ours; they said:\n{}\n{}",
                        original.messages, ours.messages
                    );
                    // After a failure less may have been written; after a success nothing else.
                    if ours.is_success {
                        assert!(original.target == ours.target, "{what}: other bytes");
                        assert!(
                            original.standard_output == ours.standard_output,
                            "{what}: other standard output"
                        );
                    }
                });
            }
        });
    }

    fn info_shows_what_the_original_shows(&self) {
        for name in [
            "ext4-a0",
            "ext4-a1",
            "ext4-a1-running",
            "ntfs-a0",
            "fat32-a0",
            "imager-a1",
            "holes-byte-map",
            "holes-no-map",
            "holes-0001",
        ] {
            let path = &self.image(name).path;
            let lines = |mut command: Command| -> Vec<String> {
                let output = run(command.args(["-L", "log-info", "-s"]).arg(path));
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                // Program and image are named in words of one's own.
                text.lines().skip(2).map(str::to_owned).collect()
            };
            let mut ours = Command::new(&self.agent);
            ours.arg("partclone.info").current_dir(self.corpus.path(""));
            let mut original = Command::new("partclone.info");
            original.current_dir(self.corpus.path(""));
            assert_eq!(lines(ours), lines(original), "{name}");
        }
    }

    /// Devices are written in whole sectors, whatever the offset; the rest of them stays as it was.
    fn partclone_restores_a_device(&self) {
        let image = self.image("ext4-a1");
        let plain = fs::read(&image.path).unwrap();
        let header = image::peek(&plain[..plain.len().min(image::PEEK_LEN)]);
        let size = header.unwrap().unwrap().device_size;
        let restored = self.corpus.restored_by_original(image, size, 0xA5);
        for (offset, option) in [
            (0, ""),
            (1000, "--offset=1000"),
            // A device that goes on after errors is written through the page cache.
            (1000, "--offset=1000 --skip_write_error"),
        ] {
            let mut expected = vec![0xA5; restored.len() + 4096];
            expected[offset..offset + restored.len()].copy_from_slice(&restored);
            let file = self.corpus.path("device");
            fs::write(&file, vec![0xA5; expected.len()]).unwrap();
            let device = LoopDevice::new(&file).expect("loop devices were there");
            let restore = || {
                let mut command = Command::new(&self.agent);
                command.args(["partclone.restore", "-q", "-O", device.path(), "-L"]);
                command.arg(self.corpus.path("partclone.log"));
                command.args(option.split_whitespace());
                surroundings(&mut command)
                    .stdin(File::open(&image.path).unwrap())
                    .output()
                    .unwrap()
            };
            let output = restore();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{option}: {text}");
            device.flush();
            assert!(fs::read(&file).unwrap() == expected, "{option}");
            // Held by somebody else, it is not touched.
            let holder = File::options()
                .read(true)
                .custom_flags(EXCLUSIVE)
                .open(device.path())
                .unwrap();
            let output = restore();
            drop(holder);
            assert_eq!(output.status.code(), Some(1), "{option}");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("in use"), "{option}: {text}");
        }
    }

    fn partimage_restores_a_device(&self) {
        let image = self.image("pi-ntfs");
        let size = 16 * 1024 * 1024 + 1536;
        let expected = self.corpus.restored_by_original(image, size, 0xA5);
        let file = self.corpus.path("device");
        fs::write(&file, vec![0xA5; expected.len()]).unwrap();
        let device = LoopDevice::new(&file).expect("loop devices were there");
        let mut command = Command::new(&self.agent);
        command.args(["partimage", "-f3", "-b", "restore", device.path(), "stdin"]);
        let output = surroundings(&mut command)
            .stdin(File::open(&image.path).unwrap())
            .env("FOGSTATS", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(
            text.lines().any(|line| line.split('@').count() == 6),
            "{text}"
        );
        device.flush();
        assert!(fs::read(&file).unwrap() == expected);
        let saved = Command::new(&self.agent)
            .args(["partimage", "save", device.path(), "x"])
            .output()
            .unwrap();
        assert!(!saved.status.success());
    }

    /// Split, compressed, with a record in front, from files and standard input, to devices and files.
    fn restore_takes_what_the_original_makes(&self) {
        for name in ["ext4-a0", "ntfs-a1", "imager-a1", "pi-ext3", "holes-0001"] {
            let image = self.image(name);
            let plain = fs::read(&image.path).unwrap();
            let header = image::peek(&plain[..plain.len().min(image::PEEK_LEN)]);
            let size = header.unwrap().unwrap().device_size;
            let mut expected = left_by_restore(
                |fill| self.corpus.restored_by_original(image, size, fill),
                0xA5,
            );
            if let Some(copies) = disk::boot_copies(&expected[..4096], Some(size)) {
                // Behind the last cluster, so that no image has them.
                for offset in copies.offsets {
                    let offset = usize::try_from(offset).unwrap();
                    expected[offset..][..copies.sector.len()].copy_from_slice(&copies.sector);
                }
            }
            for (index, wrapped) in self.corpus.wrapped(image).iter().enumerate() {
                let mut record = b"FOGMC1 d1p1.img".to_vec();
                record.resize(127, b' ');
                record.push(b'\n');
                let stored = [&record[..], &wrapped.bytes].concat();
                let pieces = self.split(&stored, stored.len() / 3 + 1);
                let file = self.corpus.path("restored");
                fs::write(&file, vec![0xA5; expected.len()]).unwrap();
                let what = format!("{name}, {}", wrapped.name);
                let mut command = Command::new(&self.agent);
                command.args(["restore", "--json", "--quiet"]);
                // A loop device has whole sectors.
                let device = (index % 2 == 0 && size.is_multiple_of(512))
                    .then(|| LoopDevice::new(&file).expect("loop devices were there"));
                let target = match &device {
                    Some(device) => Path::new(device.path()),
                    None => &file,
                };
                let output = if index % 3 == 0 {
                    fs::write(self.corpus.path("whole"), &stored).unwrap();
                    let input = File::open(self.corpus.path("whole")).unwrap();
                    let command = surroundings(command.arg("-").arg(target));
                    command.stdin(input).output().unwrap()
                } else {
                    run(command.args(pieces.iter().rev()).arg(target))
                };
                let text = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{what}: {text}");
                let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(json["ok"], true, "{what}");
                assert_eq!(json["record"], "d1p1.img", "{what}");
                assert_eq!(json["image"]["device_size"], size, "{what}");
                if let Some(device) = &device {
                    device.flush();
                }
                drop(device);
                assert!(fs::read(&file).unwrap() == expected, "{what}: other bytes");
                if pieces.len() > 2 {
                    let mut command = Command::new(&self.agent);
                    command.args(["restore", "--check", "--json"]);
                    let output = run(command.arg(&pieces[0]).arg(&pieces[2]));
                    assert_eq!(output.status.code(), Some(1), "{what}: a gap");
                    let text = String::from_utf8_lossy(&output.stdout);
                    assert!(text.contains("is missing"), "{what}: {text}");
                }
            }
        }
    }

    fn restore_leaves_used_devices_alone(&self) {
        let file = self.corpus.path("in-use");
        fs::copy(self.corpus.path("ext4.raw"), &file).unwrap();
        let device = LoopDevice::new(&file).expect("loop devices were there");
        let directory = self.corpus.path("mounted");
        fs::create_dir(&directory).unwrap();
        let mounted = run(Command::new("mount")
            .args(["-o", "ro", device.path()])
            .arg(&directory));
        assert!(mounted.status.success(), "{mounted:?}");
        let before = fs::read(&file).unwrap();
        let mut command = Command::new(&self.agent);
        command
            .args(["restore", "--json"])
            .arg(&self.image("ext4-a1").path);
        let output = run(command.arg(device.path()));
        let mut command = Command::new(&self.agent);
        command
            .args(["partclone.restore", "-q", "-L", "/dev/null", "-s"])
            .arg(&self.image("ext4-a1").path);
        let theirs = run(command.args(["-O", device.path()]));
        let mut command = Command::new(&self.agent);
        command
            .args(["restore", "--check"])
            .arg(&self.image("ext4-a1").path);
        let check = run(command.arg(device.path()));
        let unmounted = run(Command::new("umount").arg(&directory));
        assert!(unmounted.status.success(), "{unmounted:?}");
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("is in use"), "{text}");
        assert!(text.contains("\"target_touched\":false"), "{text}");
        let untouched = format!("nothing was written to {}\n", device.path());
        for output in [&output, &theirs] {
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.ends_with(&untouched), "{text}");
        }
        let text = String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.code(), Some(2), "{text}");
        assert!(text.contains("with --check there is no target"), "{text}");
        assert!(fs::read(&file).unwrap() == before);
        // Wrong usage is a status of its own.
        let mut command = Command::new(&self.agent);
        assert_eq!(run(command.arg("restore")).status.code(), Some(2));
    }

    /// Pieces named as FOG names them.
    fn split(&self, stored: &[u8], len: usize) -> Vec<PathBuf> {
        let pieces = stored.chunks(len).enumerate().map(|(number, piece)| {
            let name = match number {
                0 => "d1p1.img".to_owned(),
                number => format!("d1p1.img.{number:03}"),
            };
            let path = self.corpus.path(&name);
            fs::write(&path, piece).unwrap();
            path
        });
        pieces.collect()
    }

    /// A copy of an image, changed.
    fn changed(&self, of: &str, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut image = fs::read(&self.image(of).path).unwrap();
        change(&mut image);
        let path = self.corpus.path(&format!("changed-{name}"));
        fs::write(&path, image).unwrap();
        path
    }
}

fn run(command: &mut Command) -> Output {
    surroundings(command).stdin(Stdio::null()).output().unwrap()
}

/// The same for everybody, and nothing of the machine's temporary directory.
fn surroundings(command: &mut Command) -> &mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .env("TERM", "xterm")
}
