//! Packs: made by `fos-server` of FOG's images, written by `fos-agent restore` on all processors, and refused where
//! something is not right.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fos_tests::need::root_and_tools;
use fos_tests::shell::sh;
use fos_tests::site::{
    DISK_LEN, assert_deployed, assert_does_not_boot, assert_untouched, program, search_path, source,
};
use serde_json::Value;

/// A data directory of a server that does not run, and an image.
struct Server {
    dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Option<Self> {
        let needed = [
            "sgdisk",
            "sfdisk",
            "partclone.extfs",
            "partclone.vfat",
            "mcopy",
            "zstd",
        ];
        if !root_and_tools(&needed) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "mkdir -p images data && cp -r {}/store images/img",
            source().display()
        );
        sh(dir.path(), &script);
        Some(Self { dir })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(program("fos-server"))
            .arg("--data")
            .arg(self.path("data"))
            .arg("--images")
            .arg(self.path("images"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn packs(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("data/packs")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }

    fn manifest(&self) -> PathBuf {
        let names = self.packs();
        let manifests: Vec<&String> = names
            .iter()
            .filter(|name| name.ends_with("manifest"))
            .collect();
        assert_eq!(manifests.len(), 1, "{names:?}");
        self.path("data/packs").join(manifests[0])
    }

    fn key(&self) -> String {
        self.path("data/keys/server.pub").display().to_string()
    }

    fn empty_disk(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(DISK_LEN).unwrap();
        path
    }

    /// A disk that is full of something else.
    fn disk(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, vec![0xa5; usize::try_from(DISK_LEN).unwrap()]).unwrap();
        path
    }
}

fn restore(args: &[&str], paths: &[&Path]) -> Output {
    Command::new(program("fos-agent"))
        .args(["restore", "--json"])
        .args(args)
        .args(paths)
        .stdin(Stdio::null())
        .env("PATH", search_path())
        .output()
        .unwrap()
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said + &String::from_utf8_lossy(&output.stdout)
}

#[track_caller]
fn bad(output: &Output, expected: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(expected), "{said}");
    said
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_pack_is_made_while_an_image_is_added_and_restores_the_same_disk() {
    let Some(server) = Server::new() else { return };
    let said = good(&server.run(&["image", "add", "img", "--type", "n", "--packs"]));
    assert!(said.contains("its pack has"), "{said}");
    let manifest = server.manifest();
    let said = good(&server.run(&["image", "pack", "img"]));
    assert!(said.contains("has its pack already"), "{said}");
    let said = good(&server.run(&["image", "verify", "img"]));
    assert!(said.contains("its pack is good"), "{said}");

    let key = server.key();
    let disk = server.empty_disk("a.raw");
    let restored = restore(&["--trust", &key], &[&manifest, &disk]);
    good(&restored);
    assert_deployed(&disk);
    let report = json(&restored);
    assert_eq!(report["authenticated"], true, "{report}");
    assert_eq!(report["streams"][1]["name"], "d1p2.img");
    // A directory with one pack names it; without a key nobody knows who made it.
    let packs = server.path("data/packs");
    let disk = server.empty_disk("b.raw");
    let restored = restore(&[], &[&packs, &disk]);
    let said = good(&restored);
    assert!(said.contains("not authenticated"), "{said}");
    assert_eq!(json(&restored)["authenticated"], false);
    assert_deployed(&disk);
    let checked = restore(&["--check", "--trust", &key], &[&manifest]);
    good(&checked);
    assert_eq!(json(&checked)["target"], Value::Null);
}

/// 1.1, 3.8, 4.3: what is not right is refused, before a disk is touched where that can be known.
#[test]
fn a_pack_that_is_not_right_is_refused() {
    let Some(server) = Server::new() else { return };
    good(&server.run(&["image", "add", "img", "--type", "n"]));
    good(&server.run(&["image", "pack", "img"]));
    let manifest = server.manifest();
    let key = server.key();
    let disk = server.disk("a.raw");

    // Somebody else's key, and no signature.
    let other = server.path("other.key");
    sh(
        server.dir.path(),
        "openssl genpkey -algorithm ed25519 -out other.key 2>/dev/null",
    );
    let other = other.display().to_string();
    good(&server.run(&["image", "sign", "img", "--key", &other]));
    let refused = restore(&["--trust", &key], &[&manifest, &disk]);
    bad(
        &refused,
        "is not signed by a key that this initramfs trusts",
    );
    assert_eq!(json(&refused)["kind"], "untrusted");
    fs::remove_file(manifest.with_extension("signature")).unwrap();
    bad(
        &restore(&["--trust", &key], &[&manifest, &disk]),
        "signed by no key",
    );
    good(&server.run(&["image", "sign", "img"]));
    good(&restore(&["--check", "--trust", &key], &[&manifest]));

    // A changed manifest, under another name so that the name does not give it away.
    let changed = server.path("changed.manifest");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[100] ^= 1;
    fs::write(&changed, &bytes).unwrap();
    for ending in ["frames", "signature"] {
        fs::copy(
            manifest.with_extension(ending),
            changed.with_extension(ending),
        )
        .unwrap();
    }
    bad(
        &restore(&["--trust", &key], &[&changed, &disk]),
        "the signature by the key",
    );
    // Frames that are cut.
    let cut = server.path("cut.manifest");
    fs::copy(&manifest, &cut).unwrap();
    let frames = fs::read(manifest.with_extension("frames")).unwrap();
    fs::write(cut.with_extension("frames"), &frames[..frames.len() - 1]).unwrap();
    let said = bad(&restore(&[], &[&cut, &disk]), "copy them again");
    assert!(said.contains("nothing was written"), "{said}");
    assert_untouched(&disk);

    // A rotten byte in the middle shows only there; the disk does not boot.
    let file = File::options()
        .write(true)
        .open(manifest.with_extension("frames"))
        .unwrap();
    let at = frames.len() - 1000;
    file.write_all_at(&[!frames[at]], at as u64).unwrap();
    let refused = restore(&["--trust", &key], &[&manifest, &disk]);
    bad(&refused, "BLAKE3 differs");
    assert_eq!(json(&refused)["kind"], "chunk-hash");
    assert_does_not_boot(&disk);
    let said = server.run(&["image", "verify", "img"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("is damaged: chunk"));
    good(&server.run(&["image", "repack", "img", "--level", "1"]));
    good(&restore(
        &["--check", "--trust", &key],
        &[&server.manifest()],
    ));
}

/// 3.2: a pack of files that were changed is void, and made anew.
#[test]
fn a_pack_of_other_files_is_void() {
    let Some(server) = Server::new() else { return };
    good(&server.run(&["image", "add", "img", "--type", "n", "--packs"]));
    let first = server.manifest();
    sh(
        server.dir.path(),
        "zstd -dc images/img/d1p1.img | zstd -q -1 > x && mv x images/img/d1p1.img",
    );
    let said = server.run(&["image", "pack", "img"]);
    bad(&said, "d1p1.img was changed after the image was verified");
    good(&server.run(&["image", "update", "img"]));
    let said = good(&server.run(&["image", "pack", "img"]));
    assert!(said.contains("has a new pack"), "{said}");
    assert!(server.manifest() != first && !first.exists());
    // Files that are not what the server knows make none.
    sh(server.dir.path(), "touch -d yesterday images/img/d1p2.img");
    let said = bad(
        &server.run(&["image", "repack", "img"]),
        "fos-server image update",
    );
    assert!(said.contains("d1p2.img was changed"), "{said}");
}

/// 3.3, E10: without room an image is added all the same, and nothing is left of the pack.
#[test]
fn without_room_there_is_no_pack_and_nothing_else_fails() {
    let Some(server) = Server::new() else { return };
    let said = good(&server.run(&[
        "image",
        "add",
        "img",
        "--type",
        "n",
        "--packs",
        "--pack-quota",
        "1M",
    ]));
    assert!(said.contains("no room for the pack of img"), "{said}");
    assert_eq!(server.packs(), [""; 0]);
    bad(
        &server.run(&["image", "pack", "img", "--pack-quota", "1M"]),
        "no room for the pack of img",
    );
    assert_eq!(server.packs(), [""; 0]);
    // A file system that is full.
    let full = server.path("data/packs");
    sh(&full, "mount -t tmpfs -o size=4m none .");
    let said = server.run(&["image", "pack", "img", "--pack-quota", "1G"]);
    let names = server.packs();
    // What is free is known, so it is filled only now.
    sh(&full, "head -c 3M /dev/zero > filler");
    let filled = server.run(&["image", "pack", "img", "--pack-quota", "1G"]);
    let after = server.packs();
    sh(server.dir.path(), "umount data/packs");
    bad(&said, "no room for the pack of img");
    bad(&filled, "no room for the pack of img");
    assert_eq!((names, after), (vec![], vec!["filler".to_owned()]));
}
