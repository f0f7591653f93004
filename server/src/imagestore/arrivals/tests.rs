use super::*;
use crate::domain::ImageId;
use crate::domain::image::Facts;
use crate::domain::image::tests::sample_facts;

fn facts(at: i64) -> Facts {
    Facts {
        checked_at: Timestamp(at),
        ..sample_facts(&["d1p1.img"])
    }
}

/// An image root with an image, and another one that has arrived.
struct World {
    root: tempfile::TempDir,
    dir: PathBuf,
}

impl World {
    fn new(is_known: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = arriving(root.path(), "id");
        std::fs::create_dir_all(files(&dir)).unwrap();
        std::fs::write(files(&dir).join("x"), b"new").unwrap();
        if is_known {
            std::fs::create_dir(root.path().join("img")).unwrap();
            std::fs::write(root.path().join("img/x"), b"former").unwrap();
        }
        Self { root, dir }
    }

    fn prepare(&self) -> Swap {
        let is_known = self.root.path().join("img").exists();
        let former = is_known.then(|| VersionAbout {
            facts: Some(facts(1)),
            origin: None,
            replaced_at: Timestamp(5),
        });
        let prepared = Prepared {
            image: ImageId(1),
            path: "img".into(),
            facts: facts(2),
            origin: Some(Origin {
                host: "LAB-01".into(),
                ..Origin::default()
            }),
            former,
            task: None,
        };
        prepare(&self.dir, prepared).unwrap()
    }

    fn public(&self) -> Option<Vec<u8>> {
        std::fs::read(self.root.path().join("img/x")).ok()
    }

    fn assert_done(&self, has_former: bool) {
        assert_eq!(self.public().unwrap(), b"new");
        let versions = versions(self.root.path(), "img").unwrap();
        assert_eq!(versions.len(), usize::from(has_former));
        if let [version] = versions.as_slice() {
            assert_eq!(
                std::fs::read(files(&version.dir).join("x")).unwrap(),
                b"former"
            );
            assert_eq!(version.about.facts, Some(facts(1)));
        }
        assert!(interrupted(self.root.path()).unwrap().is_empty());
        let found = origin(self.root.path(), "img", Timestamp(2)).unwrap();
        assert_eq!(found.host, "LAB-01");
        assert_eq!(origin(self.root.path(), "img", Timestamp(1)), None);
    }
}

#[test]
fn an_image_comes_to_its_place_and_the_former_one_is_a_version() {
    for way in [Way::AtOnce, Way::InTurn] {
        for is_known in [true, false] {
            let world = World::new(is_known);
            let swap = world.prepare();
            exchange(world.root.path(), &world.dir, &swap, way).unwrap();
            finish(world.root.path(), &world.dir, &swap).unwrap();
            world.assert_done(is_known);
        }
    }
}

/// The server dies between any two steps, and what is found is done to its end.
#[test]
fn what_was_cut_off_is_finished() {
    type Cut = fn(&World, &Swap);
    let cuts: [Cut; 6] = [
        |_, _| {},
        // Between the two renames.
        |world, _| {
            std::fs::rename(world.root.path().join("img"), world.dir.join("former")).unwrap();
        },
        |world, _| {
            std::fs::rename(world.root.path().join("img"), world.dir.join("former")).unwrap();
            std::fs::rename(files(&world.dir), world.root.path().join("img")).unwrap();
        },
        |world, swap| exchange(world.root.path(), &world.dir, swap, Way::AtOnce).unwrap(),
        // A version was made, and got no files.
        |world, swap| {
            exchange(world.root.path(), &world.dir, swap, Way::AtOnce).unwrap();
            let torn = world.root.path().join(HIDDEN).join("versions/img/1");
            std::fs::create_dir_all(&torn).unwrap();
            std::fs::write(torn.join("about.json"), b"{}").unwrap();
        },
        // The version is there, the note as well.
        |world, swap| {
            exchange(world.root.path(), &world.dir, swap, Way::AtOnce).unwrap();
            finish(world.root.path(), &world.dir, swap).unwrap();
            std::fs::create_dir_all(&world.dir).unwrap();
            write(&world.dir, "swap.json", swap).unwrap();
        },
    ];
    for cut in cuts {
        for way in [Way::AtOnce, Way::InTurn] {
            let world = World::new(true);
            let swap = world.prepare();
            cut(&world, &swap);
            let found = interrupted(world.root.path()).unwrap();
            let [(dir, found)] = found.as_slice() else {
                panic!("{found:?}");
            };
            assert_eq!(found, &swap);
            exchange(world.root.path(), dir, found, way).unwrap();
            finish(world.root.path(), dir, found).unwrap();
            keep_only(world.root.path(), "img", at_most(5)).unwrap();
            world.assert_done(true);
        }
    }
}

#[test]
fn what_nobody_knew_is_not_replaced() {
    let world = World::new(false);
    let swap = world.prepare();
    std::fs::create_dir(world.root.path().join("img")).unwrap();
    std::fs::write(world.root.path().join("img/x"), b"somebody's").unwrap();
    let found = exchange(world.root.path(), &world.dir, &swap, Way::AtOnce);
    assert!(matches!(found, Err(SwapError::Taken(_))), "{found:?}");
    assert_eq!(world.public().unwrap(), b"somebody's");
    std::fs::remove_dir_all(files(&world.dir)).unwrap();
    std::fs::remove_dir_all(world.root.path().join("img")).unwrap();
    let found = exchange(world.root.path(), &world.dir, &swap, Way::AtOnce);
    assert!(matches!(found, Err(SwapError::Gone(_))), "{found:?}");
}

fn at_most(count: usize) -> Most {
    Most { count, size: None }
}

/// An image root with four versions of so many bytes each, the oldest first.
fn with_versions(sizes: [usize; 4]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    make_dir(&root.path().join(HIDDEN)).unwrap();
    for (number, size) in (0..).zip(sizes) {
        let former = root.path().join("former");
        std::fs::create_dir(&former).unwrap();
        std::fs::write(former.join("x"), vec![1; size / 2]).unwrap();
        std::fs::write(former.join("y"), vec![1; size - size / 2]).unwrap();
        let about = VersionAbout {
            facts: None,
            origin: None,
            replaced_at: Timestamp(number),
        };
        versions::keep(root.path(), "img", &former, &about).unwrap();
    }
    root
}

fn numbers(root: &Path) -> Vec<u32> {
    let left = versions(root, "img").unwrap();
    left.iter().map(|version| version.number).collect()
}

#[test]
fn the_oldest_versions_go() {
    let root = with_versions([1; 4]);
    assert_eq!(keep_only(root.path(), "img", at_most(2)).unwrap(), 2);
    assert_eq!(numbers(root.path()), [3, 4]);
    assert_eq!(keep_only(root.path(), "img", at_most(0)).unwrap(), 2);
    assert!(numbers(root.path()).is_empty());
}

#[test]
fn the_oldest_versions_go_that_are_too_large_together() {
    for (count, size, left) in [
        (9, 1000, vec![1, 2, 3, 4]),
        (9, 100, vec![1, 2, 3, 4]),
        (9, 99, vec![2, 3, 4]),
        (9, 30, vec![4]),
        (9, 29, vec![]),
        (2, 99, vec![3, 4]),
        (0, 99, vec![]),
        // One that would fit does not stay when a newer one has gone.
        (9, 69, vec![4]),
    ] {
        let root = with_versions([20, 10, 40, 30]);
        let most = Most {
            count,
            size: Some(size),
        };
        let removed = keep_only(root.path(), "img", most).unwrap();
        assert_eq!(numbers(root.path()), left, "{most:?}");
        assert_eq!(removed, 4 - left.len(), "{most:?}");
        assert_eq!(keep_only(root.path(), "img", most).unwrap(), 0);
    }
}

#[test]
fn a_piece_is_there_as_soon_as_it_counts() {
    let world = World::new(false);
    let piece = |offset, bytes: &[u8]| Piece {
        name: "y".into(),
        offset,
        bytes: bytes.to_vec(),
    };
    let store = |piece: Piece, stored| store_piece(&world.dir, &piece, stored);
    assert_eq!(store(piece(0, b"abcd"), 0).unwrap(), 4);
    assert!(matches!(store(piece(5, b"x"), 4), Err(PieceError::Gap)));
    assert_eq!(store(piece(1, b"bc"), 4).unwrap(), 4, "it is there");
    assert_eq!(store(piece(4, b"ef"), 4).unwrap(), 6);
    let path = files(&world.dir).join("y");
    assert_eq!(std::fs::read(&path).unwrap(), b"abcdef");
    // What was there is another one: an earlier life was cut off in its middle.
    assert_eq!(store(piece(2, b"XY"), 6).unwrap(), 4);
    assert_eq!(std::fs::read(&path).unwrap(), b"abXY");
    // A link that somebody put there leads nowhere.
    std::os::unix::fs::symlink("/dev/null", files(&world.dir).join("link")).unwrap();
    let linked = Piece {
        name: "link".into(),
        ..piece(0, b"x")
    };
    assert!(matches!(store(linked, 0), Err(PieceError::File(_))));
    assert_eq!(lengths(&world.dir).unwrap()["y"], 4);
}

#[test]
fn one_server_at_a_time_takes_captures() {
    let root = tempfile::tempdir().unwrap();
    let first = Lock::take(root.path()).unwrap();
    assert!(first.is_some());
    assert!(Lock::take(root.path()).unwrap().is_none());
    drop(first);
    assert!(Lock::take(root.path()).unwrap().is_some());
}

/// It could not be exchanged with what arrives, and then the database would have said so already.
#[test]
fn a_file_system_of_its_own_is_no_place() {
    let refused = check_place(Path::new("/"), "proc").unwrap_err();
    assert!(
        refused.starts_with("/proc: it is a file system"),
        "{refused}"
    );
}

/// The former files are where the new ones were, once both have changed places.
#[test]
fn what_is_removed_with_a_capture_is_what_arrived_and_not_the_former_image() {
    let world = World::new(true);
    let root = world.root.path();
    let mut record = Record {
        image: ImageId(1),
        image_name: "lab".into(),
        path: "img".into(),
        image_type: fog::task::ImageType::SingleDisk,
        os_id: 50,
        owner: Owner::Token {
            name: "desk".into(),
        },
        offer: fos_api::capture::CaptureOffer {
            image_type: fog::task::ImageType::SingleDisk,
            disks: Vec::new(),
            files: Vec::new(),
            at_most: 0,
            system: String::new(),
        },
        origin: Origin::default(),
        stage: Stage::Receiving,
        inode: None,
    };
    let dir = begin(root, "other", &mut record).unwrap();
    remove_files(root, &dir, &record, Timestamp(9)).unwrap();
    assert!(!files(&dir).exists());
    remove_files(root, &dir, &record, Timestamp(9)).unwrap();

    record.inode = inode(&files(&world.dir)).unwrap();
    let swap = world.prepare();
    assert!(!is_begun(root, &world.dir, &swap).unwrap());
    exchange(root, &world.dir, &swap, Way::AtOnce).unwrap();
    assert!(is_begun(root, &world.dir, &swap).unwrap());
    remove_files(root, &world.dir, &record, Timestamp(9)).unwrap();
    assert_eq!(world.public().unwrap(), b"new");
    let kept = versions(root, "img").unwrap();
    let [version] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    assert_eq!(
        std::fs::read(files(&version.dir).join("x")).unwrap(),
        b"former"
    );
}

#[test]
fn a_note_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::new(true);
    let swap = world.prepare();
    let torn = world.root.path().join(HIDDEN).join("versions/other/1");
    std::fs::create_dir_all(&torn).unwrap();
    std::fs::write(torn.join("swap.json"), b"{").unwrap();
    let found = interrupted(world.root.path()).unwrap();
    assert_eq!(found, [(world.dir.clone(), swap)]);
    assert!(torn.join("swap.json").exists());
}
