use std::fs;

use image_writer::Recipe;

use super::*;
use crate::{Failure, Piece, Pieces};

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

/// A source that did not end well makes the whole a failure, but the target is what it should be.
#[test]
fn a_target_is_complete_though_its_source_fails_at_the_very_end() {
    struct Unconfirmed(Option<Vec<u8>>);
    impl Pieces for Unconfirmed {
        fn next(&mut self, _spare: Vec<u8>) -> io::Result<Piece> {
            Ok(self.0.take().map_or_else(Piece::end, Piece::from))
        }

        fn confirm(self) -> anyhow::Result<()> {
            bail!("the sender is gone")
        }
    }
    let recipe = Recipe {
        strip_blocks: 8,
        ..Recipe::v2(512, vec![true; 100])
    };
    let image = recipe.write(|number| vec![u8::try_from(number).unwrap(); 512]);
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    fs::write(&path, vec![0; 51_200]).unwrap();
    let restore = |image: Vec<u8>| {
        let trace = Trace::default();
        let place = place(&path, Creation::Never);
        let job = crate::Job {
            source: Unconfirmed(Some(image)),
            image: image::Options::default(),
            target: Output::open(&place, &Demands::default(), &trace).unwrap(),
            flow: std::sync::Arc::default(),
        };
        (crate::run(job, &mut ()).unwrap_err(), trace)
    };
    let mut cut = image.clone();
    cut.truncate(40_000);
    let (failure, trace) = restore(cut);
    assert!(matches!(failure, Failure::Image(_)), "{failure}");
    assert!(!trace.is_complete() && !trace.line("x").contains("complete"));
    let (failure, trace) = restore(image);
    assert!(matches!(failure, Failure::Confirm(_)), "{failure}");
    assert!(trace.is_complete() && trace.line("x").starts_with("x is complete"));
}
