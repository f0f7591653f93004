//! `fos-agent receive` behind the original `udp-sender`, in network namespaces: what is on the target
//! afterwards, the exit status, and what people and programs are told.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::corpus::LoopDevice;
use fos_tests::netns::{Lab, Running, wait_for};
use fos_tests::site::program;
use fos_tests::target::left_by_restore;
use image::Compression;
use image_writer::{PartimageRecipe, Recipe, wrap};
use serde_json::Value;

const BLOCK: usize = 4096;
const FILL: u8 = 0xA5;

/// A network of a sender (host 1) and receivers, and a place for files.
struct Scene {
    lab: Lab,
    directory: tempfile::TempDir,
    count: usize,
}

impl Scene {
    /// `None`: skipped, and told so.
    fn new(receivers: u8) -> Option<Self> {
        Some(Self {
            lab: Lab::new(receivers + 1, &["udp-sender"])?,
            directory: tempfile::tempdir().unwrap(),
            count: 0,
        })
    }

    fn path(&mut self, what: &str) -> PathBuf {
        self.count += 1;
        self.directory.path().join(format!("{}-{what}", self.count))
    }

    fn file(&mut self, what: &str, content: &[u8]) -> PathBuf {
        let path = self.path(what);
        fs::write(&path, content).unwrap();
        path
    }

    /// A file full of `FILL`, to be restored to.
    fn target(&mut self, len: usize) -> PathBuf {
        self.file("target", &vec![FILL; len])
    }

    /// The agent on host `host` (2 and up), asking the sender's host.
    fn agent(&mut self, host: usize, options: &[&str], target: Option<&Path>) -> Running {
        let rdv = self.lab.host(1).addr().to_string();
        let mut command = self.lab.host(host).command(program("fos-agent"));
        command
            .args(["receive", "--rdv", &rdv])
            .args(options)
            .args(target);
        let output = self.path("agent");
        let running = Running::start("fos-agent receive", &mut command, &output);
        self.lab.host(host).wait_for_port(9000);
        running
    }

    /// Datagrams that host 2 has taken in so far.
    fn datagrams(&self) -> u64 {
        let mut command = self.lab.host(2).command("cat");
        let output = command.arg("/proc/net/snmp").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let names = lines.next().unwrap().split(' ');
        let mut counts = names.zip(lines.next().unwrap().split(' '));
        let (_, count) = counts.find(|(name, _)| *name == "InDatagrams").unwrap();
        count.parse().unwrap()
    }

    /// The original sender, which waits for so many receivers.
    fn sender(&mut self, file: &Path, receivers: u8) -> Running {
        let mut command = self.lab.host(1).command("udp-sender");
        command
            .args(["--nokbd", "--rexmit-hello-interval", "200"])
            .args(["--min-receivers", &receivers.to_string()])
            .arg("--file")
            .arg(file);
        let output = self.path("sender");
        Running::start("udp-sender", &mut command, &output)
    }

    /// One stream to one agent, with `--json`; answers its exit status, its JSON and its messages.
    #[track_caller]
    fn transfer(&mut self, stream: &[u8], options: &[&str], target: Option<&Path>) -> End {
        let stream = self.file("stream", stream);
        let options = [options, &["--json"]].concat();
        let mut agent = self.agent(2, &options, target);
        let mut sender = self.sender(&stream, 1);
        let code = agent.wait().code().unwrap();
        let (output, messages) = (agent.output(), agent.messages());
        // What becomes of it depends on whether the agent was there to the end.
        sender.wait();
        let mut lines = output.lines();
        let json = serde_json::from_str(lines.next().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {output:?}\n{messages}"));
        assert_eq!(lines.next(), None, "one object, and nothing else");
        End {
            code,
            json,
            messages,
        }
    }
}

struct End {
    code: i32,
    json: Value,
    messages: String,
}

impl End {
    #[track_caller]
    fn succeeded(&self) -> &Value {
        assert_eq!(
            (self.code, &self.json["ok"]),
            (0, &Value::Bool(true)),
            "{}",
            self.messages
        );
        &self.json
    }

    /// It failed in this way, and says so in words that hold `words`, to people and to programs.
    #[track_caller]
    fn failed(&self, kind: &str, words: &str) {
        assert_eq!((self.code, &self.json["ok"]), (1, &Value::Bool(false)));
        assert_eq!(self.json["kind"], kind, "{}", self.json);
        let told = self.json["error"].as_str().unwrap();
        assert!(told.contains(words), "{told}");
        assert!(self.messages.contains(words), "{}", self.messages);
        assert!(self.messages.contains("error: "), "{}", self.messages);
        let is_told = self.messages.contains(" is partly overwritten: ");
        assert_eq!(self.json["target_touched"], is_told, "{}", self.messages);
    }
}

/// Blocks that differ, and do not compress to nothing.
fn block(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3] & 0x3F
    })
    .take(BLOCK)
    .collect()
}

/// 4 MiB, two thirds of them used, in strips of 64 blocks.
fn recipe() -> Recipe {
    Recipe {
        strip_blocks: 64,
        ..Recipe::v2(
            u32::try_from(BLOCK).unwrap(),
            (0..1024).map(|n| n % 3 != 1).collect(),
        )
    }
}

#[track_caller]
fn assert_holds(target: &Path, expected: &[u8]) {
    let found = fs::read(target).unwrap();
    let same = found
        .iter()
        .zip(expected)
        .take_while(|(a, b)| a == b)
        .count();
    let lens = (found.len(), expected.len());
    assert_eq!((same, lens.0), (lens.1, lens.1), "the target differs");
}

#[test]
fn partclone_images_are_restored_to_files_and_devices() {
    let Some(mut scene) = Scene::new(2) else {
        return;
    };
    let recipe = recipe();
    let size = 1024 * BLOCK;
    let expected = left_by_restore(|fill| recipe.restored(block, size, fill), FILL);
    let stream = wrap(Compression::Zstd, &recipe.write(block));

    let target = scene.target(size);
    let end = scene.transfer(&stream, &[], Some(&target));
    let json = end.succeeded();
    assert_holds(&target, &expected);
    assert_eq!(json["image"]["format"], "partclone 0002");
    assert_eq!(json["image"]["compression"], "zstd");
    assert_eq!(json["image"]["used_blocks"], recipe.used_blocks().count());
    assert_eq!(json["stored_bytes"], stream.len());
    assert_eq!(json["checksum_errors"], 0);
    assert!(json["checksums"].as_u64().unwrap() > 5);
    assert!(
        end.messages.contains("written and synced"),
        "{}",
        end.messages
    );
    assert!(
        end.messages.contains("asking 10.99.0.1"),
        "{}",
        end.messages
    );

    // Two at once: one writes a device, the other only verifies.
    let file = scene.target(size);
    let Some(device) = LoopDevice::new(&file) else {
        return;
    };
    let stored = scene.file("stream", &stream);
    let device_path = PathBuf::from(device.path());
    let mut writer = scene.agent(2, &["--quiet"], Some(&device_path));
    let mut checker = scene.agent(3, &["--quiet", "--check"], None);
    let mut sender = scene.sender(&stored, 2);
    assert!(writer.succeed().is_empty() && checker.succeed().is_empty());
    sender.succeed();
    device.flush();
    assert_holds(&file, &expected);
    let told = checker.messages();
    assert!(
        told.contains("is complete") && told.contains("verified"),
        "{told}"
    );
}

#[test]
fn other_formats_are_restored() {
    let Some(mut scene) = Scene::new(1) else {
        return;
    };
    let used: Vec<bool> = (0..300).map(|n| n % 5 != 2).collect();
    let size = used.len() * BLOCK;

    let recipe = PartimageRecipe::new(BLOCK as u64, used.clone());
    let stream = wrap(Compression::Gzip, &recipe.write(block));
    let target = scene.target(size);
    let end = scene.transfer(&stream, &["--quiet"], Some(&target));
    assert_holds(
        &target,
        &left_by_restore(|fill| recipe.restored(block, size, fill), FILL),
    );
    assert_eq!(end.succeeded()["image"]["format"], "partimage 0.6");

    let recipe = Recipe::v1(u32::try_from(BLOCK).unwrap(), used);
    let target = scene.target(size);
    let end = scene.transfer(&recipe.write(block), &["--quiet"], Some(&target));
    assert_holds(
        &target,
        &left_by_restore(|fill| recipe.restored(block, size, fill), FILL),
    );
    assert_eq!(end.succeeded()["image"]["compression"], "uncompressed");

    // A disk as it is, into a file that is made; behind a record that names the stream.
    let disk: Vec<u8> = (0..200).flat_map(block).chain([7; 100]).collect();
    let record = fog::record::emit(&fog::store::StreamName::of_file("d1.img")).unwrap();
    let stream = [&record[..], &wrap(Compression::Lz4, &disk)].concat();
    let target = scene.path("new");
    let options = ["--quiet", "--raw", "--create"];
    let end = scene.transfer(&stream, &options, Some(&target));
    assert_holds(&target, &disk);
    let json = end.succeeded();
    assert_eq!(json["record"], "d1.img");
    assert_eq!(json["written_bytes"], disk.len());
}

#[test]
fn damage_is_found_and_told() {
    let Some(mut scene) = Scene::new(1) else {
        return;
    };
    let size = 1024 * BLOCK;
    let spoilt = Recipe {
        spoil_block: Some(900),
        ..recipe()
    };
    let image = spoilt.write(block);

    // A block: its strip is not written, and the front of the target is not either.
    let target = scene.target(size);
    let end = scene.transfer(&wrap(Compression::Zstd, &image), &[], Some(&target));
    end.failed("block-checksum", "checksum");
    assert_eq!(end.json["target_touched"], true);
    let found = fs::read(&target).unwrap();
    // All of so small a target was cleared.
    assert!(found[900 * BLOCK..].iter().all(|octet| *octet == 0));
    assert!(found[..BLOCK] != block(0)[..], "it must not look whole");

    // The same with the original's option: restored, and loudly so.
    let target = scene.target(size);
    let end = scene.transfer(&image, &["--ignore_crc"], Some(&target));
    assert_eq!(end.succeeded()["checksum_errors"], 1);
    assert!(end.messages.contains("WARNING"), "{}", end.messages);

    // Its compression, and its header: nothing is written.
    let mut stream = wrap(Compression::Gzip, &recipe().write(block));
    let middle = stream.len() / 2;
    stream[middle] ^= 0x10;
    let end = scene.transfer(&stream, &["--check"], None);
    assert_eq!(end.code, 1, "{}", end.messages);
    let header = Recipe {
        spoil_header: 1,
        ..recipe()
    };
    let target = scene.target(size);
    let end = scene.transfer(&header.write(block), &[], Some(&target));
    end.failed("header-checksum", "header");
    assert_holds(&target, &vec![FILL; size]);

    // Too small a target.
    let target = scene.target(size - BLOCK);
    let end = scene.transfer(&recipe().write(block), &[], Some(&target));
    end.failed("beyond-target", "target");
    assert_holds(&target, &vec![FILL; size - BLOCK]);

    // No image at all.
    let end = scene.transfer(b"not an image, but a letter", &["--check"], None);
    end.failed("bad-magic", "partclone");
}

#[test]
fn a_stream_that_ends_early_is_no_success() {
    let Some(mut scene) = Scene::new(1) else {
        return;
    };
    let size = 1024 * BLOCK;
    let image = recipe().write(block);
    let stored = wrap(Compression::Zstd, &image);
    // The transfer ends well, but not all was put in.
    for (stream, words) in [
        (&stored[..stored.len() - 1], "zstd"),
        (&stored[..stored.len() / 2], "zstd"),
        (&image[..image.len() - 1], "ends"),
        (&image[..50], "header"),
        (&[][..], "0 there"),
    ] {
        let target = scene.target(size);
        let end = scene.transfer(stream, &["--quiet"], Some(&target));
        end.failed("truncated", words);
        let found = fs::read(&target).unwrap();
        assert!(found[..BLOCK] != block(0)[..], "it must not look whole");
    }
}

#[test]
fn a_sender_that_dies_is_told() {
    let Some(mut scene) = Scene::new(1) else {
        return;
    };
    let image = recipe().write(block);
    let target = scene.target(1024 * BLOCK);
    for (is_flowing, limit) in [(true, "--receive-timeout"), (false, "--start-timeout")] {
        let pipe = scene.path("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        // Opened for both, so that nobody waits for the other side.
        let both = OpenOptions::new().read(true).write(true).open(&pipe);
        let mut writer: File = both.unwrap();

        let options = ["--json", "--quiet", limit, "2"];
        let mut agent = scene.agent(2, &options, Some(&target));
        let before = scene.datagrams();
        let mut sender = scene.sender(&pipe, 1);
        sender.wait_for_message("Starting transfer");
        if is_flowing {
            for piece in image.chunks(16 << 10).take(40) {
                writer.write_all(piece).unwrap();
            }
            wait_for("two slices to arrive", || scene.datagrams() > before + 240);
        }
        sender.kill();
        assert_eq!(agent.wait().code(), Some(1));
        let json: Value = serde_json::from_str(&agent.output()).unwrap();
        assert_eq!(json["ok"], false);
        let told = agent.messages();
        assert!(
            told.contains("10.99.0.1") && told.contains("for 2 s"),
            "{told}"
        );
        let found = fs::read(&target).unwrap();
        assert!(found[..BLOCK] != block(0)[..], "it must not look whole");
    }
}

/// Our sender, which ends with 1 when no receiver has everything.
fn our_sender(scene: &mut Scene, file: &Path) -> Running {
    let mut command = scene.lab.host(1).command(program("fos-agent"));
    command
        .args(["udp-sender", "--nokbd", "--rexmit-hello-interval", "200"])
        .args(["--min-receivers", "1", "--file"])
        .arg(file);
    let output = scene.path("sender");
    Running::start("udp-sender", &mut command, &output)
}

#[test]
fn a_sender_reports_no_success_for_a_disk_that_was_full() {
    let Some(mut scene) = Scene::new(1) else {
        return;
    };
    // Short: all of it is in the receiver's memory before anything fails.
    let stored = scene.file("stream", &(0..75).flat_map(block).collect::<Vec<u8>>());
    let rdv = scene.lab.host(1).addr().to_string();
    let agent = program("fos-agent");
    let (made, full) = (scene.path("new"), Path::new("/dev/full"));
    for (name, arguments, target) in [
        ("receive", &["--rdv", &rdv, "--raw", "--create"][..], &*made),
        ("udp-receiver", &["--nokbd", "-M", &rdv, "--file"], full),
    ] {
        let mut command = scene.lab.host(2).command("sh");
        // No file may be longer than 64 KiB: as if the disk were full.
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$@\"", "sh"])
            .arg(&agent)
            .arg(name)
            .args(arguments)
            .arg(target);
        let output = scene.path(name);
        let mut receiver = Running::start(name, &mut command, &output);
        scene.lab.host(2).wait_for_port(9000);
        let mut sender = our_sender(&mut scene, &stored);
        assert_eq!(receiver.wait().code(), Some(1), "{}", receiver.messages());
        assert_eq!(sender.wait().code(), Some(1), "{}", sender.messages());
    }
}

#[test]
fn senders_wait_while_the_end_of_a_stream_is_being_written() {
    let Some(mut scene) = Scene::new(1) else {
        return;
    };
    let content: Vec<u8> = (0..75).flat_map(block).collect();
    let stored = scene.file("stream", &content);
    let rdv = scene.lab.host(1).addr().to_string();
    for is_original in [true, false] {
        let (target, go) = (scene.path("target"), scene.path("go"));
        // Takes everything, and ends when it is allowed to.
        let text = format!(
            "cat\nwhile [ ! -e '{}' ]; do sleep 0.1; done\n",
            go.display()
        );
        let script = scene.file("slow.sh", text.as_bytes());
        let mut command = scene.lab.host(2).command(program("fos-agent"));
        command
            .args(["udp-receiver", "--nokbd", "-M", &rdv, "--pipe"])
            .arg(format!("sh {}", script.display()))
            .arg("--file")
            .arg(&target);
        let output = scene.path("udp-receiver");
        let mut receiver = Running::start("udp-receiver", &mut command, &output);
        scene.lab.host(2).wait_for_port(9000);
        let mut sender = if is_original {
            scene.sender(&stored, 1)
        } else {
            our_sender(&mut scene, &stored)
        };
        wait_for("all to arrive", || {
            fs::metadata(&target).is_ok_and(|found| found.len() == content.len() as u64)
        });
        // Rounds behind the eleventh, whose deadlines are longer.
        let before = scene.datagrams();
        wait_for("requests for the end", || scene.datagrams() > before + 30);
        assert!(scene.lab.host(1).has_port(9001), "the sender must not end");
        fs::write(&go, b"").unwrap();
        receiver.succeed();
        sender.succeed();
        assert_holds(&target, &content);
    }
}
