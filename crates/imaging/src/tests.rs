//! The pipeline, with sources and targets from memory.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use image::{Geometry, Sink, SinkError, Summary};
use image_writer::Recipe;

use crate::{Failure, Job, Piece, Pieces, Target, Watch, run};

/// What happened, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<&'static str>>>);

impl Events {
    fn note(&self, event: &'static str) {
        self.0.lock().unwrap().push(event);
    }

    fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

struct Memory {
    pieces: VecDeque<io::Result<Vec<u8>>>,
    events: Events,
    is_refusing: bool,
}

impl Pieces for Memory {
    fn next(&mut self, _spare: Vec<u8>) -> io::Result<Piece> {
        self.pieces.pop_front().map_or_else(
            || {
                self.events.note("read to the end");
                Ok(Piece::end())
            },
            |piece| piece.map(Piece::from),
        )
    }

    fn confirm(self) -> anyhow::Result<()> {
        self.events.note("confirmed");
        anyhow::ensure!(!self.is_refusing, "the sender is gone");
        Ok(())
    }
}

#[derive(Default)]
struct Disk {
    events: Events,
    is_full: bool,
    is_lost: bool,
}

impl Sink for Disk {
    fn begin(&mut self, _geometry: &Geometry) -> Result<(), SinkError> {
        self.events.note("begun");
        Ok(())
    }

    fn extent(&mut self, _offset: u64, _data: &[u8]) -> Result<(), SinkError> {
        match self.is_full {
            true => Err("no space is left".into()),
            false => Ok(()),
        }
    }
}

impl Target for Disk {
    fn commit(self, _geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        self.events.note("committed");
        anyhow::ensure!(!self.is_lost, "the sync failed");
        Ok(vec!["it is slow".into()])
    }
}

struct Look(Events);

impl Watch for Look {
    fn decoded(&mut self, _summary: &Summary) {
        self.0.note("decoded");
    }
}

fn image() -> Vec<u8> {
    let used = (0..500).map(|n| n % 4 != 1).collect();
    Recipe::v2(512, used).write(|number| number.to_le_bytes().repeat(64))
}

fn job(
    change: impl FnOnce(&mut Job<Memory, Disk>),
) -> (Result<crate::Done, Failure>, Vec<&'static str>) {
    let events = Events::default();
    let mut job = Job {
        source: Memory {
            pieces: image()
                .chunks(1000)
                .map(|piece| Ok(piece.to_vec()))
                .collect(),
            events: events.clone(),
            is_refusing: false,
        },
        image: image::Options::default(),
        target: Disk {
            events: events.clone(),
            ..Disk::default()
        },
        flow: Arc::default(),
    };
    change(&mut job);
    let flow = Arc::clone(&job.flow);
    let done = run(job, &mut Look(events.clone()));
    if done.is_ok() {
        let used = image_writer::verify(&image()[..]).unwrap();
        assert_eq!(flow.progress(), (used.input_len, used.output_len));
    }
    (done, events.all())
}

#[test]
fn the_source_is_confirmed_last() {
    let (done, events) = job(|_| {});
    assert_eq!(done.unwrap().warnings, ["it is slow"]);
    let in_order = ["decoded", "committed", "confirmed"];
    assert!(events.ends_with(&in_order), "{events:?}");
}

#[test]
fn what_failed_is_neither_committed_nor_confirmed() {
    let (done, events) = job(|job| job.target.is_full = true);
    assert!(matches!(done, Err(Failure::Image(_))), "{done:?}");
    assert!(!events.contains(&"committed") && !events.contains(&"confirmed"));

    // One byte of a block, and one byte less.
    let (done, events) = job(|job| {
        let last = job.source.pieces.back_mut().unwrap().as_mut().unwrap();
        last[0] ^= 1;
    });
    assert!(matches!(done, Err(Failure::Image(_))), "{done:?}");
    assert!(!events.contains(&"committed") && !events.contains(&"confirmed"));
    let (done, events) = job(|job| {
        let last = job.source.pieces.back_mut().unwrap().as_mut().unwrap();
        last.pop();
    });
    assert!(matches!(done, Err(Failure::Image(_))), "{done:?}");
    assert!(!events.contains(&"committed") && !events.contains(&"confirmed"));

    let (done, events) = job(|job| {
        let error = io::Error::other("the cable was pulled");
        job.source.pieces.insert(20, Err(error));
    });
    assert!(matches!(done, Err(Failure::Read(_))), "{done:?}");
    assert!(!events.contains(&"committed") && !events.contains(&"confirmed"));
}

#[test]
fn a_target_that_fails_at_the_end_is_not_confirmed() {
    let (done, events) = job(|job| job.target.is_lost = true);
    let failure = done.unwrap_err();
    assert!(matches!(failure, Failure::Commit(_)), "{failure:?}");
    assert_eq!(failure.into_error().to_string(), "the sync failed");
    assert!(!events.contains(&"confirmed"));

    let (done, events) = job(|job| job.source.is_refusing = true);
    assert!(matches!(done, Err(Failure::Confirm(_))), "{done:?}");
    assert!(events.contains(&"committed"));
}

/// A panic in the reader is not the end of the stream.
#[test]
fn a_source_that_panics_is_a_failure() {
    struct Panics(Memory);
    impl Pieces for Panics {
        fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
            let piece = self.0.next(spare)?;
            assert!(!piece.is_empty(), "as if by a programming error");
            Ok(piece)
        }
    }
    let events = Events::default();
    let source = Panics(Memory {
        pieces: [Ok(image())].into(),
        events: events.clone(),
        is_refusing: false,
    });
    let job = Job {
        source,
        image: image::Options::default(),
        target: Disk {
            events: events.clone(),
            ..Disk::default()
        },
        flow: Arc::default(),
    };
    let done = run(job, &mut Look(events.clone()));
    assert!(matches!(done, Err(Failure::Panic)), "{done:?}");
    assert!(!events.all().contains(&"committed"));
}
