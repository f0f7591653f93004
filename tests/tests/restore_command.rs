//! `fos-agent restore` from outside: what it tells while it works and when it is done, for people and
//! for programs.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use fos_tests::need::root_and_tools;
use fos_tests::netns::Running;
use fos_tests::site::program;
use fos_tests::target::left_by_restore;
use fos_tests::terminal::Typist;
use image_writer::{PartimageRecipe, Recipe};
use serde_json::Value;

/// Blocks of 4096 bytes of the device.
const BLOCKS: u64 = 4000;
const DEVICE_LEN: usize = 4096 * 4000;
const FILL: u8 = 0xa5;

/// An image of a device that is mostly used, stored in one way or another.
struct Store {
    directory: tempfile::TempDir,
    agent: PathBuf,
    recipe: Recipe,
}

fn content(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(4096).collect()
}

impl Store {
    /// With the image `d1p1.img`.
    fn new() -> Self {
        let used = (0..BLOCKS).map(|block| block % 5 > 0).collect();
        let store = Self {
            directory: tempfile::tempdir().unwrap(),
            agent: program("fos-agent"),
            recipe: Recipe::v2(4096, used),
        };
        store.put("d1p1.img", &store.recipe.write(content));
        store
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn get(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// `fos-agent restore`, where the files are.
    fn restore(&self, line: &str) -> Output {
        Command::new(&self.agent)
            .arg("restore")
            .args(line.split_whitespace())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// With `--json`: the status and the object.
    #[track_caller]
    fn json(&self, line: &str) -> (Option<i32>, Value) {
        let output = self.restore(&format!("--json {line}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let result = serde_json::from_slice(&output.stdout);
        let result: Value = result.unwrap_or_else(|error| panic!("{line}: {error}; {said}"));
        assert_eq!(
            result["ok"] == true,
            output.status.success(),
            "{line}: {said}"
        );
        // People are told the same.
        let text = result["error"].as_str().unwrap_or_default();
        assert!(said.contains(text), "{text} in {said}");
        (output.status.code(), result)
    }

    /// What a target full of `FILL` holds afterwards.
    fn expected(&self) -> Vec<u8> {
        left_by_restore(|fill| self.recipe.restored(content, DEVICE_LEN, fill), FILL)
    }

    /// Pieces as FOG cuts them.
    fn split(&self, name: &str, len: usize) -> Vec<String> {
        let whole = self.get(name);
        let pieces = whole.chunks(len).enumerate().map(|(number, piece)| {
            let piece_name = match number {
                0 => format!("split-{name}"),
                number => format!("split-{name}.{number:03}"),
            };
            self.put(&piece_name, piece);
            piece_name
        });
        pieces.collect()
    }

    #[track_caller]
    fn sh(&self, line: &str) {
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .env("AGENT", &self.agent)
            .current_dir(self.directory.path());
        assert!(command.status().unwrap().success(), "{line}");
    }
}

#[test]
fn a_check_tells_whether_an_image_is_good_and_why_not() {
    let store = Store::new();
    let image = store.get("d1p1.img");
    let middle = image.len() / 2;
    store.put("cut", &image[..middle]);
    store.put("empty", b"");
    store.put("junk", &content(7));
    let change = |name: &str, offset: usize| {
        let mut image = image.clone();
        image[offset] ^= 0x20;
        store.put(name, &image);
    };
    change("damaged", middle);
    change("header", 60);
    change("bitmap", 130);
    let (status, result) = store.json("--check d1p1.img");
    assert_eq!(status, Some(0));
    assert_eq!(result["target"], Value::Null);
    assert_eq!(result["image"]["device_size"], BLOCKS * 4096);
    assert_eq!(result["image"]["used_blocks"], BLOCKS / 5 * 4);
    assert_eq!(result["written_bytes"], BLOCKS / 5 * 4 * 4096);
    assert_eq!(result["stored_bytes"], image.len());
    assert!(result["checksums"].as_u64().unwrap() > 0);
    for (name, kind, words) in [
        ("cut", "truncated", "incomplete"),
        ("empty", "truncated", "incomplete"),
        ("junk", "bad-magic", "not a partclone or partimage image"),
        ("damaged", "block-checksum", "offset"),
        ("header", "header-checksum", "header"),
        ("bitmap", "bitmap-checksum", "bitmap"),
        ("there-is-none", "other", "opening there-is-none"),
    ] {
        let (status, result) = store.json(&format!("--check {name}"));
        assert_eq!(status, Some(1), "{name}");
        assert_eq!(result["kind"], kind, "{name}: {result}");
        assert!(
            result["error"].as_str().unwrap().contains(words),
            "{result}"
        );
    }
    // Passed over as asked, but told.
    let (status, result) = store.json("--check --ignore-crc damaged");
    assert_eq!(
        (status, &result["checksum_errors"]),
        (Some(0), &Value::from(1))
    );
    assert_eq!(store.restore("--check").status.code(), Some(2));
    assert_eq!(
        store.restore("--check --nonsense d1p1.img").status.code(),
        Some(2)
    );
}

#[test]
fn a_check_writes_nothing_and_a_failure_says_what_is_lost() {
    let store = Store::new();
    store.put("target", &vec![FILL; DEVICE_LEN - 4096]);
    let before = store.get("target");
    let (status, result) = store.json("d1p1.img target");
    assert_eq!(status, Some(1));
    assert_eq!(result["kind"], "beyond-target");
    assert!(
        result["error"]
            .as_str()
            .unwrap()
            .contains("4096 bytes missing"),
        "{result}"
    );
    assert!(
        store.get("target") == before,
        "nothing is written before that is known"
    );
    assert_eq!(result["target_touched"], false);
    let fate = |line: &str| {
        let said = store.restore(line).stderr;
        String::from_utf8_lossy(&said).trim_end().to_owned()
    };
    let untouched = "\nnothing was written to target";
    for image in ["d1p1.img", "/etc/passwd", "missing"] {
        let said = fate(&format!("{image} target"));
        assert!(said.ends_with(untouched), "{image}: {said}");
    }
    // Of a damaged image all before the damage is written.
    store.put("target", &vec![FILL; DEVICE_LEN]);
    let mut cut = store.get("d1p1.img");
    cut.truncate(cut.len() - 5_000);
    store.put("cut", &cut);
    let (status, result) = store.json("cut target");
    assert_eq!((status, &result["target_touched"]), (Some(1), &true.into()));
    let said = fate("cut target");
    let (_, fate) = said.rsplit_once("target is partly overwritten: ").unwrap();
    let written = fate.strip_suffix(" bytes written; restore again").unwrap();
    assert!(written.parse::<usize>().unwrap() > 1 << 20, "{said}");
    assert!(!said.contains("nothing was written"), "{said}");
    // Without a target there is nothing to say, and none is taken.
    let (_, result) = store.json("--check cut");
    assert_eq!(result["target_touched"], false);
    let (status, result) = store.json("d1p1.img there-is-none");
    assert_eq!(status, Some(1));
    assert!(
        result["error"].as_str().unwrap().contains("--create"),
        "{result}"
    );
    let (status, _) = store.json("--create d1p1.img there-is-none");
    assert_eq!(status, Some(0));
    assert!(store.get("there-is-none") == store.recipe.restored(content, DEVICE_LEN, 0));
}

/// Whatever the order on the command line; a missing, doubled or foreign piece is named.
#[test]
fn pieces_are_put_in_order_and_gaps_are_told() {
    let store = Store::new();
    let pieces = store.split("d1p1.img", 2_000_000);
    assert!(pieces.len() > 5);
    let mut shuffled = pieces.clone();
    shuffled.reverse();
    shuffled.swap(0, 2);
    store.put("target", &vec![FILL; DEVICE_LEN]);
    let (status, result) = store.json(&format!("{} target", shuffled.join(" ")));
    assert_eq!(status, Some(0), "{result}");
    assert!(store.get("target") == store.expected());
    let without = |number: usize| {
        let mut some = pieces.clone();
        some.remove(number);
        some.join(" ")
    };
    let last = pieces.len() - 1;
    for (line, words) in [
        (
            without(3),
            "split-d1p1.img.003 of split-d1p1.img is missing",
        ),
        (without(0), "is missing"),
        (without(last), "belongs to this image as well"),
        (format!("{} {}", pieces.join(" "), pieces[1]), "given twice"),
        (
            format!("{} d1p1.img", pieces.join(" ")),
            "not the pieces of one image",
        ),
    ] {
        let (status, result) = store.json(&format!("--check {line}"));
        assert_eq!(status, Some(1), "{line}");
        assert!(
            result["error"].as_str().unwrap().contains(words),
            "{line}: {result}"
        );
    }
}

#[test]
fn lettered_pieces_make_an_image_and_a_first_piece_alone_overwrites_nothing() {
    let store = Store::new();
    store.sh("split -a 2 -b 3000000 d1p1.img d1p1.img.");
    store.put("target", &vec![FILL; DEVICE_LEN]);
    for line in ["d1p1.img.aa target", "d1p1.img.aa d1p1.img.ab target"] {
        let (status, result) = store.json(line);
        assert_eq!(status, Some(1), "{result}");
        assert_eq!(result["target_touched"], false, "{result}");
        let text = result["error"].as_str().unwrap();
        assert!(text.contains("belongs to this image as well"), "{text}");
    }
    assert!(store.get("target") == vec![FILL; DEVICE_LEN]);
    store.sh("$AGENT restore $(ls -r d1p1.img.a?) target");
    assert!(store.get("target") == store.expected());
}

/// The 128 octets that a server may put in front of a stream.
#[test]
fn a_stream_record_is_told_and_is_no_part_of_the_image() {
    let store = Store::new();
    let image = store.get("d1p1.img");
    let mut record = b"FOGMC1 d1p1.img".to_vec();
    record.resize(127, b' ');
    record.push(b'\n');
    store.put("stream", &[&record[..], &image].concat());
    store.put("target", &vec![FILL; DEVICE_LEN]);
    let (status, result) = store.json("stream target");
    assert_eq!(status, Some(0), "{result}");
    assert_eq!(result["record"], "d1p1.img");
    assert!(store.get("target") == store.expected());
    // One that is cut, or spoiled, is no image either.
    store.put("stream", &record[..100]);
    assert_eq!(store.json("--check stream").0, Some(1));
}

#[test]
fn every_format_is_told_by_its_first_bytes() {
    if !root_and_tools(&["gzip", "zstd", "xz", "bzip2", "lz4"]) {
        return;
    }
    let store = Store::new();
    let old = Recipe::v1(4096, (0..100).map(|block| block % 3 > 0).collect());
    store.put("old", &old.write(content));
    let other = PartimageRecipe::new(4096, (0..100).map(|block| block % 3 > 0).collect());
    store.put("other", &other.write(content));
    for name in ["d1p1.img", "old", "other"] {
        for (line, compression) in [
            ("cat", "uncompressed"),
            ("gzip -c", "gzip"),
            ("zstd -q -c --long=27", "zstd"),
            ("xz -0 -c", "xz"),
            ("bzip2 -1 -c", "bzip2"),
            ("lz4 -q -c", "lz4"),
        ] {
            store.sh(&format!("{line} < {name} > stored"));
            let (status, result) = store.json("--check stored");
            assert_eq!(status, Some(0), "{name}, {line}: {result}");
            assert_eq!(result["image"]["compression"], compression, "{name}");
        }
    }
    // Several frames, one behind the other.
    store.sh(
        "(head -c 1000000 d1p1.img | zstd -q -c; tail -c +1000001 d1p1.img | zstd -q -c) > stored",
    );
    assert_eq!(store.json("--check stored").0, Some(0));
    store.put("raw", &content(3));
    let (status, result) = store.json("--raw --check raw");
    assert_eq!(
        (status, &result["written_bytes"]),
        (Some(0), &Value::from(4096))
    );
}

/// A stream that stands still is held against the source, on a terminal and without one.
#[test]
fn progress_tells_share_and_what_is_waited_for() {
    if !root_and_tools(&["mkfifo", "script", "stty"]) {
        return;
    }
    let store = Store::new();
    let image = store.get("d1p1.img");
    store.sh("mkfifo stream");
    let feed = |until_shown: &mut dyn FnMut()| {
        let mut stream = OpenOptions::new()
            .write(true)
            .open(store.path("stream"))
            .unwrap();
        let (first, rest) = image.split_at(image.len() / 2);
        stream.write_all(first).unwrap();
        until_shown();
        stream.write_all(rest).unwrap();
    };
    store.put("target", &vec![FILL; DEVICE_LEN]);
    let line = format!(
        "cd {}; {} restore - target < stream",
        store.directory.path().display(),
        store.agent.display()
    );
    let mut typist = Typist::here(&line, store.path("screen"));
    let words = [" %  ", " written, ", "nothing from standard input for "];
    feed(&mut || {
        for words in words {
            typist.wait_for(words);
        }
    });
    typist.wait_for("status 0");
    assert!(store.get("target") == store.expected());

    store.put("target", &vec![FILL; DEVICE_LEN]);
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let mut restore = Running::start("restore", &mut command, &store.path("output"));
    feed(&mut || {
        for words in words {
            restore.wait_for_message(words);
        }
    });
    restore.succeed();
    assert!(store.get("target") == store.expected());
    assert_no_escapes(&restore.messages());

    // Nobody is told.
    let line = line.replace("restore -", "restore --quiet -");
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let mut restore = Running::start("quiet", &mut command, &store.path("output"));
    feed(&mut || {});
    restore.succeed();
    assert!(!restore.messages().contains(" left"));
}

#[track_caller]
fn assert_no_escapes(text: &str) {
    assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
}

/// The end of a stream that ends too early is no success, whoever looks at it.
#[test]
fn an_aborted_stream_leaves_a_failure() {
    let store = Store::new();
    let image = store.get("d1p1.img");
    store.put("cut", &image[..image.len() / 3]);
    store.put("target", &vec![FILL; DEVICE_LEN]);
    let output = Command::new(&store.agent)
        .args(["restore", "--json", "-", "target"])
        .current_dir(store.directory.path())
        .stdin(open(&store.path("cut")))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["kind"], "truncated", "{result}");
}

/// A named pipe that somebody holds open never ends: a failure is told all the same.
#[test]
fn a_failure_does_not_wait_for_a_pipe() {
    if !root_and_tools(&["mkfifo"]) {
        return;
    }
    let store = Store::new();
    // The first strip, of 1 MiB, is damaged; the second never ends.
    let mut image = store.get("d1p1.img");
    image[5000] ^= 0x20;
    image.truncate(1_100_000);
    store.put("target", &vec![FILL; DEVICE_LEN]);
    for line in ["stream target", "--check stream"] {
        store.sh("rm -f stream; mkfifo stream");
        let restore = Command::new(&store.agent)
            .args(["restore", "--json"])
            .args(line.split(' '))
            .current_dir(store.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stream = OpenOptions::new()
            .write(true)
            .open(store.path("stream"))
            .unwrap();
        let (sender, ended) = channel();
        let waiting = thread::spawn(move || sender.send(restore.wait_with_output().unwrap()));
        // It may be gone before it has taken all.
        drop(stream.write_all(&image));
        let output = ended.recv_timeout(Duration::from_secs(60));
        drop(stream);
        waiting.join().unwrap().ok();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["kind"], "block-checksum", "{result}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("error: stream: "), "{said}");
    }
}

fn open(path: &Path) -> File {
    File::open(path).unwrap()
}

/// A file system that takes nothing, until told to.
struct Frozen(PathBuf);

impl Frozen {
    /// Mounts the file system in `file` on `place`, with a target in it, and freezes it.
    fn new(store: &Store, place: &str) -> Self {
        store.sh("truncate -s 48M disk && mkfs.ext4 -q -F disk");
        store.sh(&format!("mkdir {place} && mount -o loop disk {place}"));
        let frozen = Self(store.path(place));
        store.sh(&format!("truncate -s {DEVICE_LEN} {place}/target"));
        store.sh(&format!("fsfreeze -f {place}"));
        frozen
    }

    fn thaw(&self) -> bool {
        let mut command = Command::new("fsfreeze");
        let status = command
            .arg("-u")
            .arg(&self.0)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been thawed.
        self.thaw();
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_disk_that_stands_still_is_told() {
    if !root_and_tools(&["fsfreeze", "losetup", "mkfs.ext4", "script", "stty"]) {
        return;
    }
    let store = Store::new();
    let frozen = Frozen::new(&store, "frozen");
    let line = format!(
        "cd {}; {} restore d1p1.img frozen/target",
        store.directory.path().display(),
        store.agent.display()
    );
    let mut typist = Typist::here(&line, store.path("screen"));
    typist.wait_for("bottleneck: disk");
    assert!(frozen.thaw());
    typist.wait_for("status 0");
    assert!(store.get("frozen/target") == store.recipe.restored(content, DEVICE_LEN, 0));
}
