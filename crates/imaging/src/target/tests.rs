use std::fs;

use image_writer::Recipe;

use super::*;

fn place(path: &Path, creation: Creation) -> Place {
    Place::Path {
        path: path.to_owned(),
        creation,
        is_discarded: false,
        manner: Manner::Original,
    }
}

#[test]
fn nothing_unexpected_is_opened() {
    let open = |path: &str, creation| {
        let place = place(Path::new(path), creation);
        let error = Output::open(&place, &Demands::default(), &Trace::default());
        format!("{:#}", error.err().unwrap())
    };
    assert!(open("/dev/null", Creation::Never).contains("neither"));
    assert!(open("/dev/sd-misspelt", Creation::WhenNeeded).contains("no such device"));
    assert!(open("/dev/sd-misspelt", Creation::Emptied).contains("no such device"));
    assert!(open("/nonexistent/x", Creation::Never).contains("--create"));
    assert!(open("/dev/null", Creation::Emptied).contains("no plain file"));
}

/// The first extents, which make a disk bootable, are written last, whatever order they come in.
#[test]
fn extents_may_come_in_any_order() {
    let recipe = Recipe::v2(4096, vec![true; 1000]);
    let content = |number: u64| number.to_le_bytes().repeat(512);
    let image = recipe.write(content);
    let geometry = image_writer::verify(&image[..]).unwrap().geometry;
    let directory = tempfile::tempdir().unwrap();
    // Of whole sectors, of another length, and made as it is needed.
    for (name, len) in [("sectors", 4_096_000), ("odd", 4_096_001), ("new", 0)] {
        let path = directory.path().join(name);
        let creation = match len {
            0 => Creation::WhenNeeded,
            len => {
                fs::write(&path, vec![0xA5; len]).unwrap();
                Creation::Never
            }
        };
        let place = place(&path, creation);
        let mut output = Output::open(&place, &Demands::default(), &Trace::default()).unwrap();
        output.begin(&geometry).unwrap();
        // 7 and 1000 have no factor in common.
        for number in (0..1000).map(|n| n * 7 % 1000) {
            output.extent(number * 4096, &content(number)).unwrap();
        }
        output.commit(&geometry).unwrap();
        let expected = recipe.restored(content, len.max(4_096_000), 0xA5);
        assert!(fs::read(&path).unwrap() == expected, "{name}");
    }
}

#[test]
fn a_file_that_is_in_use_is_refused() {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    fs::write(&path, b"precious").unwrap();
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    for creation in [Creation::Never, Creation::AtOnce, Creation::Emptied] {
        let place = place(&path, creation);
        let error = Output::open(&place, &Demands::default(), &Trace::default());
        let text = format!("{:#}", error.err().unwrap());
        assert!(text.contains("locked"), "{creation:?}: {text}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}
