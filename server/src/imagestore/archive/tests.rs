use std::io::Read as _;

use image_writer::Recipe;
use tar::{Builder, EntryType, Header};

use super::*;
use crate::domain::Timestamp;
use crate::imagestore::{MissingStreams, Wanted, examine};

/// A member of a hostile archive.
enum Member<'a> {
    File(&'a str, &'a [u8]),
    Kind(&'a str, EntryType),
}

fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for member in members {
        let (name, kind, bytes) = match member {
            Member::File(name, bytes) => (*name, EntryType::Regular, *bytes),
            Member::Kind(name, kind) => (*name, *kind, &b""[..]),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        // Names as they are: the builder refuses some.
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn none(_: &str, _: u64, _: u64) {}

fn unpacked(root: &Path, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
    unpack(bytes, root, None, &mut none)
}

/// An MBR with a partition of 2048 sectors.
fn boot_area() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[450] = 0x83;
    sector[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    sector[458..462].copy_from_slice(&2048_u32.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// An image directory with a partition in two pieces.
fn image(root: &Path) -> About {
    let dir = root.join("lab");
    std::fs::create_dir_all(&dir).unwrap();
    let recipe = Recipe::v2(512, (0..64).map(|block| block % 3 != 0).collect());
    let stream = recipe.write(|_| vec![7; 512]);
    let (first, second) = stream.split_at(stream.len() / 2);
    std::fs::write(dir.join("d1p1.img.000"), first).unwrap();
    std::fs::write(dir.join("d1p1.img.001"), second).unwrap();
    std::fs::write(dir.join("d1.mbr"), boot_area()).unwrap();
    let wanted = Wanted {
        path: "lab".into(),
        os_id: 50,
        image_type: ImageType::SingleDisk,
        is_full: true,
        missing: MissingStreams::Allow,
    };
    let found = examine(root, &wanted, Timestamp(1_790_000_000), &mut none).unwrap();
    About {
        version: VERSION,
        name: "Lab 1".parse().unwrap(),
        path: "lab".into(),
        image_type: ImageType::SingleDisk,
        os_id: 50,
        facts: Some(found.facts),
    }
}

fn packed(root: &Path, about: &About) -> Result<Vec<u8>, PackError> {
    let mut bytes = Vec::new();
    pack(root, about, &mut bytes, &mut none).map(|()| bytes)
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}

#[test]
fn an_image_comes_out_as_it_went_in() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let about = image(here.path());
    let bytes = packed(here.path(), &about).unwrap();
    let found = unpacked(there.path(), &bytes).unwrap();
    assert_eq!(found.about.as_ref(), Some(&about));
    assert!(!there.path().join("lab").exists());
    assert_eq!(found.partial(), "lab.importing");
    // The place has one import at a time.
    let second = unpacked(there.path(), &bytes).unwrap_err();
    assert!(matches!(second, UnpackError::InWork(_)), "{second}");
    found.keep().unwrap();
    assert_eq!(
        files(&there.path().join("lab")),
        files(&here.path().join("lab"))
    );
    let again = unpacked(there.path(), &bytes).unwrap_err();
    assert!(matches!(again, UnpackError::Exists(_)), "{again}");
    let other = unpack(bytes.as_slice(), there.path(), Some("other"), &mut none).unwrap();
    drop(other);
    assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_packed_that_is_not_what_was_verified() {
    for (file, at) in [("d1p1.img.001", 100), ("d1.mbr", 3)] {
        let root = tempfile::tempdir().unwrap();
        let about = image(root.path());
        let path = root.path().join("lab").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = packed(root.path(), &about).unwrap_err();
        assert!(matches!(error, PackError::OtherBytes(_)), "{file}: {error}");
        // Nothing is known of it, so it is taken as it is.
        let unknown = About {
            facts: None,
            ..about
        };
        packed(root.path(), &unknown).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let about = image(root.path());
    std::fs::remove_file(root.path().join("lab/d1p1.img.001")).unwrap();
    let error = packed(root.path(), &about).unwrap_err();
    assert!(matches!(error, PackError::OtherBytes(_)), "{error}");
}

#[test]
fn an_archive_that_is_cut_off_anywhere_leaves_nothing() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bytes = packed(here.path(), &image(here.path())).unwrap();
    // Without the two empty blocks at its end, which nothing needs.
    let end = bytes.len() - 1024;
    for len in (0..end).step_by(511).chain([end - 1]) {
        match unpacked(there.path(), &bytes[..len]) {
            Ok(found) => {
                // A cut between two members shows when the image is verified.
                assert_eq!(len % 512, 0, "{len}");
                drop(found);
            }
            Err(error) => assert!(
                matches!(error, UnpackError::Archive(_) | UnpackError::Empty),
                "{len}: {error}"
            ),
        }
        assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 0, "{len}");
    }
}

#[test]
fn a_hostile_archive_writes_nothing_outside_of_its_directory() {
    use Member::{File, Kind};

    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("store");
    std::fs::create_dir(&store).unwrap();
    let good = File("lab/d1.mbr", b"x");
    let cases: [(&str, Vec<Member<'_>>); 17] = [
        ("leads out", vec![File("../d1.mbr", b"x")]),
        ("leads out", vec![File("lab/../../d1.mbr", b"x")]),
        ("leads out", vec![File("/etc/d1.mbr", b"x")]),
        ("a link", vec![Kind("lab/d1.mbr", EntryType::Symlink)]),
        ("a link", vec![Kind("lab/d1.mbr", EntryType::Link)]),
        ("a device", vec![Kind("lab/d1.mbr", EntryType::Fifo)]),
        ("a device", vec![Kind("lab/d1.mbr", EntryType::Block)]),
        ("not in the directory", vec![File("d1.mbr", b"x")]),
        ("not in the directory", vec![File("lab/sub/d1.mbr", b"x")]),
        (
            "not in the directory",
            vec![Kind("lab/sub", EntryType::Directory)],
        ),
        ("another directory", vec![good, File("other/d1.mbr", b"x")]),
        (
            "there twice",
            vec![File("lab/a", b"x"), File("./lab/a", b"y")],
        ),
        ("not a directory name", vec![File("$(reboot)/d1.mbr", b"x")]),
        ("not a directory name", vec![File(".hidden/d1.mbr", b"x")]),
        ("cannot be used", vec![File(ABOUT, b"{}")]),
        ("version 7", vec![File(ABOUT, br#"{"version": 7}"#)]),
        (
            "not the first",
            vec![File("lab/a", b"x"), File(ABOUT, b"{}")],
        ),
    ];
    for (said, members) in cases {
        let error = unpacked(&store, &tar(&members)).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
        assert!(!error.contains('\u{1b}'));
        assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0, "{said}");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "{said}");
    }
    // What tar itself makes of a directory.
    let plain = [
        Kind("./lab/", EntryType::Directory),
        File("./lab/d1.mbr", b"x"),
    ];
    let found = unpacked(&store, &tar(&plain)).unwrap();
    assert_eq!((found.about.as_ref(), found.path.as_str()), (None, "lab"));
    drop(found);
    // A path in the description leads nowhere else.
    let about = br#"{"version": 1, "name": "x", "path": "../x", "image_type": 1, "os_id": 50, "facts": null}"#;
    let error = unpacked(
        &store,
        &tar(&[File(ABOUT, about), File("lab/d1.mbr", b"x")]),
    );
    assert!(error.is_err());
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0);
}

#[test]
fn garbage_is_no_archive() {
    let root = tempfile::tempdir().unwrap();
    let mut noise = Vec::new();
    blake3::Hasher::new()
        .finalize_xof()
        .take(10_000)
        .read_to_end(&mut noise)
        .unwrap();
    for bytes in [&b""[..], b"x", &noise, &[0; 2048]] {
        assert!(unpacked(root.path(), bytes).is_err());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
