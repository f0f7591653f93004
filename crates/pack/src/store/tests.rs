use std::time::Duration;

use super::*;
use crate::keys::SecretKey;
use crate::testing::{Stream, image, noise, pack, stream_facts};
use crate::{Manifest, PackError, PackWriter, WriterOptions};

/// A store and a pack of its own in it, of about `len` bytes.
fn add(store: &Store, len: usize, seed: u64, quota: Option<u64>) -> Result<Pack, StoreError> {
    let new = store.create(len as u64, quota)?;
    let stream = Stream::new(64 << 20, vec![(0, noise(len, seed))]);
    let written = pack(&[stream], 1);
    let mut frames = new.frames()?;
    frames.write_all(&written.frames).unwrap();
    let written = Written {
        frames,
        manifest: written.manifest,
        root: written.root,
        frames_len: written.frames_len,
        raw_len: written.raw_len,
    };
    let key = SecretKey::from_seed(&[1; 32]);
    let signature = Signature::sign(&written.root, &key);
    new.keep(written, Some(&signature))
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("packs")).unwrap();
    (dir, store)
}

fn names(store: &Store) -> Vec<String> {
    let names = fs::read_dir(store.dir()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != LOCK).collect();
    names.sort();
    names
}

/// As if it had been used so long ago.
fn age(store: &Store, pack: &Pack, hours: u64) {
    let file = File::open(store.manifest(&pack.root)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - hours * 3600);
    file.set_modified(time).unwrap();
}

/// 3.3: the names are the root's.
#[test]
fn a_pack_has_its_names_and_is_opened_by_them() {
    let (_dir, store) = store();
    let pack = add(&store, 8192, 1, None).unwrap();
    let expected =
        ["frames", "manifest", "signature"].map(|ending| format!("{}.{ending}", pack.root));
    assert_eq!(names(&store), expected);
    assert_eq!(store.list().unwrap().len(), 1);
    let opened = store.open_pack(&pack.root).unwrap();
    let manifest = Manifest::parse(&opened.manifest).unwrap();
    assert_eq!(
        opened.frames.metadata().unwrap().len(),
        manifest.frames_len()
    );
    let key = SecretKey::from_seed(&[1; 32]);
    assert!(opened.signature.unwrap().is_by(key.public(), &opened.root));
}

#[test]
fn a_manifest_that_is_not_what_its_name_says_is_refused() {
    let (_dir, store) = store();
    let pack = add(&store, 8192, 1, None).unwrap();
    let path = store.manifest(&pack.root);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(OpenPack::at(&path), Err(StoreError::OtherRoot(_))));
    let signature = store.file(&pack.root, SIGNATURE);
    fs::write(&signature, b"short").unwrap();
    bytes[40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(OpenPack::at(&path), Err(StoreError::Signature(_))));
    fs::remove_file(&signature).unwrap();
    assert!(OpenPack::at(&path).unwrap().signature.is_none());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(MAX_MANIFEST_LEN + 1).unwrap();
    assert!(matches!(
        OpenPack::at(&path),
        Err(StoreError::Manifest { .. })
    ));
}

/// 3.3: the least recently used pack that nobody uses goes first.
#[test]
fn the_quota_evicts_what_was_used_longest_ago() {
    let (_dir, store) = store();
    let quota = Some(400_000);
    let packs = [1, 2, 3].map(|seed| add(&store, 100_000, seed, quota).unwrap());
    for (pack, hours) in packs.iter().zip([1, 3, 2]) {
        age(&store, pack, hours);
    }
    let reader = store.open_pack(&packs[0].root).unwrap();
    age(&store, &packs[0], 9);
    let new = add(&store, 150_000, 4, quota).unwrap();
    let roots: Vec<Root> = store.list().unwrap().iter().map(|pack| pack.root).collect();
    assert_eq!(roots, [packs[0].root, packs[2].root, new.root]);
    drop(reader);
    let new = add(&store, 350_000, 5, quota).unwrap();
    let left = store.list().unwrap();
    assert_eq!((left.len(), left[0].root), (1, new.root));
}

/// 3.3, E10: without room there is no pack, and nothing was left behind.
#[test]
fn without_room_it_says_what_is_needed() {
    let (_dir, store) = store();
    let found = add(&store, 100_000, 1, Some(50_000)).unwrap_err();
    let StoreError::NoRoom { needed, free, dir } = &found else {
        panic!("{found}");
    };
    assert_eq!(
        (*needed, *free, dir.as_path()),
        (100_000, 50_000, store.dir())
    );
    assert!(matches!(
        store.create(u64::MAX, None),
        Err(StoreError::NoRoom { .. })
    ));
    assert_eq!(names(&store), [""; 0]);
    let pack = add(&store, 100_000, 1, Some(200_000)).unwrap();
    let _reader = store.open_pack(&pack.root).unwrap();
    let new = store.create(50_000, Some(200_000)).unwrap();
    assert!(
        new.max_len() < 100_000,
        "what is read stays: {}",
        new.max_len()
    );
}

/// 3.3: whatever stops it, nothing stays but whole packs.
#[test]
fn what_is_not_complete_leaves_nothing_behind() {
    let (_dir, store) = store();
    let new = store.create(1, None).unwrap();
    assert!(matches!(store.create(1, None), Err(StoreError::Busy(_))));
    new.frames().unwrap().write_all(&noise(1000, 1)).unwrap();
    drop(new);
    assert_eq!(names(&store), [""; 0]);
    // As a program leaves it that was killed: in the middle, and between two renames.
    let killed = "ab".repeat(32);
    for name in [
        ".new-abc",
        &format!("{killed}.frames"),
        &format!("{killed}.signature"),
    ] {
        fs::write(store.dir().join(name), b"x").unwrap();
    }
    let pack = add(&store, 1000, 1, None).unwrap();
    assert!(
        names(&store)
            .iter()
            .all(|name| name.starts_with(&pack.root.to_string()))
    );
    // The same once more.
    let again = add(&store, 1000, 1, None).unwrap();
    assert_eq!((again.root, store.list().unwrap().len()), (pack.root, 1));
    assert!(store.remove(&pack.root).unwrap());
    assert_eq!(names(&store), [""; 0]);
}

/// A medium that is full is an error that says so, whether it shows early or late.
#[test]
fn a_full_disk_is_reported_as_such() {
    for len in [8192, 20 << 20] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let options = WriterOptions {
            threads: 2,
            ..WriterOptions::usual()
        };
        let mut writer = PackWriter::start(full, &options).unwrap();
        let stream = Stream::new(64 << 20, vec![(0, noise(len, 1))]);
        let made = write(&mut writer, &stream);
        let facts = vec![stream_facts(0, 64 << 20, 4096)];
        let error = match made {
            Ok(()) => writer.finish(image(), facts, &[]).unwrap_err(),
            Err(error) => *error.downcast::<PackError>().unwrap(),
        };
        let PackError::Write(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}

fn write(writer: &mut PackWriter<File>, stream: &Stream) -> Result<(), image::SinkError> {
    use image::Sink as _;

    let mut sink = writer.stream();
    sink.begin(&stream.geometry())?;
    for (offset, data) in &stream.extents {
        sink.extent(*offset, data)?;
    }
    Ok(sink.finish()?)
}
