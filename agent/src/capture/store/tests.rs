use std::sync::{Arc, Mutex};
use std::time::Duration;

use fog::task::ImageType;
use fos_api::capture::{CaptureOffer, CaptureRefusal, CaptureRefusalCode, CaptureStage};

use super::super::double::{self, Double};
use super::*;
use crate::control::test_server::{Reply, TestServer};

const QUICK: Patience = Patience {
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
    limit: Duration::from_secs(60),
    look: Duration::from_millis(1),
};

fn offer() -> CaptureOffer {
    CaptureOffer {
        image_type: ImageType::SingleDisk,
        disks: Vec::new(),
        files: Vec::new(),
        at_most: 1,
        system: String::new(),
    }
}

/// Sends `bytes` and two small files to a double; answers what became of it, and what was waited for.
fn send(double: &Double, bytes: &[u8]) -> (anyhow::Result<()>, Vec<String>) {
    let served = double.clone();
    let server = TestServer::start(move |request| served.answer(request).unwrap());
    let client = server.client().with_token("token".into());
    let waits = Arc::new(Mutex::new(Vec::new()));
    let told: Told = {
        let waits = Arc::clone(&waits);
        Arc::new(move |wait: Option<(&str, String)>| {
            if let Some((what, _)) = wait {
                waits.lock().unwrap().push(what.to_owned());
            }
        })
    };
    let bytes = bytes.to_vec();
    let work = move || -> anyhow::Result<()> {
        let remote = Remote::offer(client, Some("lab".into()), &offer(), told, QUICK)?;
        let store = Store::Remote(remote);
        let sent = (|| {
            let mut sent = vec![store.small_file("d1.mbr", b"abc")?];
            sent.push(store.small_file("d1p2.ebr", b"")?);
            sent.push(store.small_file("d1p1.img", &bytes)?);
            anyhow::Ok(sent)
        })();
        match sent {
            Ok(files) => store.publish(&CaptureEnd {
                files,
                unreadable: Vec::new(),
            }),
            Err(error) => {
                store.abandon(&readable::chain(&*error));
                Err(error)
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async { tokio::task::spawn_blocking(work).await.unwrap() });
    for request in server.requests() {
        assert_eq!(request.field("image").as_deref(), Some("lab"));
        assert_eq!(request.field("mac"), None, "who has a token is no machine");
        assert_eq!(request.authorization.as_deref(), Some("bearer token"));
    }
    let waits = waits.lock().unwrap().clone();
    (done, waits)
}

fn data() -> Vec<u8> {
    (0..100_001_u32)
        .map(|at| u8::try_from(at % 251).unwrap())
        .collect()
}

#[test]
fn files_arrive_in_pieces_and_are_published_when_all_are_verified() {
    let double = Double::new(8192);
    let (done, waits) = send(&double, &data());
    done.unwrap();
    assert!(waits.contains(&"the server to verify the image".to_owned()));
    let arrived = double.arrived.lock().unwrap();
    assert_eq!(arrived.files["d1p1.img"], data());
    assert_eq!(arrived.files["d1.mbr"], b"abc");
    assert!(arrived.files["d1p2.ebr"].is_empty());
    assert_eq!(arrived.looks, 3);
    assert_eq!(arrived.abandoned, None);
}

#[test]
fn what_a_cut_has_lost_is_sent_again() {
    let mut count = 0;
    let double = Double::with(
        8192,
        Box::new(move |request, arrived| {
            count += 1;
            match count {
                // The server is killed, and restarted.
                4 | 9 => Some(Reply::none()),
                5 => Some(Reply::status(503, "starting")),
                // It has the piece, but its answer is lost.
                6 if request.method == "PUT" => {
                    drop(double::put(request, arrived, 8192));
                    Some(Reply::none())
                }
                _ => None,
            }
        }),
    );
    let (done, waits) = send(&double, &data());
    done.unwrap();
    assert!(waits.contains(&"the server to take data".to_owned()));
    assert_eq!(double.arrived.lock().unwrap().files["d1p1.img"], data());
}

#[test]
fn a_server_that_has_lost_what_it_had_stored_ends_the_capture() {
    let mut count = 0;
    let double = Double::with(
        8192,
        Box::new(move |request, _| {
            let is_piece = request.method == "PUT";
            count += usize::from(is_piece);
            (is_piece && count == 6).then(|| double::stored(409, 1000))
        }),
    );
    let (done, _) = send(&double, &data());
    let text = format!("{:#}", done.unwrap_err());
    assert!(
        text.contains("d1p1.img") && text.contains("begin the capture again"),
        "{text}"
    );
    let abandoned = double.arrived.lock().unwrap().abandoned.clone();
    assert!(abandoned.unwrap().contains("begin the capture again"));
}

#[test]
fn refusals_are_shown_with_their_text() {
    for (method, path) in [("POST", "capture"), ("PUT", "data"), ("POST", "end")] {
        let refusal = CaptureRefusal {
            code: CaptureRefusalCode::Room,
            text: "there is room for 3 MB, and 9 MB are needed".into(),
        };
        let double = Double::with(
            8192,
            Box::new(move |request, _| {
                let is_it = request.method == method && request.path.ends_with(path);
                is_it.then(|| Reply::status(507, &serde_json::to_string(&refusal).unwrap()))
            }),
        );
        let (done, waits) = send(&double, &data());
        let text = format!("{:#}", done.unwrap_err());
        assert!(text.contains("there is room for 3 MB"), "{text}");
        assert_eq!(waits, [""; 0]);
    }
}

#[test]
fn an_image_that_the_server_finds_bad_is_a_failure() {
    let double = Double::with(
        8192,
        Box::new(|request, _| {
            (request.method == "GET").then(|| double::view(&CaptureStage::Failed))
        }),
    );
    let (done, _) = send(&double, &data());
    let text = format!("{:#}", done.unwrap_err());
    assert!(text.contains("as a test"), "{text}");
}

/// The end was taken, and what comes back is something else: a proxy's page, or an answer of which half is missing.
#[test]
fn what_became_of_an_image_is_asked_before_it_is_called_not_published() {
    let double = Double::with(
        8192,
        Box::new(|request, arrived| {
            let is_end = request.path.ends_with("end");
            is_end.then(|| {
                arrived.end = Some(serde_json::from_slice(&request.body).unwrap());
                Reply::status(404, "no such page")
            })
        }),
    );
    let (done, _) = send(&double, &data());
    done.unwrap();
    assert_eq!(double.arrived.lock().unwrap().abandoned, None);

    // It was not taken: it never will be.
    let double = Double::with(
        8192,
        Box::new(|request, _| {
            let is_end = request.path.ends_with("end");
            is_end.then(|| Reply::status(404, "no such page"))
        }),
    );
    let (done, _) = send(&double, &data());
    let error = done.unwrap_err();
    assert!(!error.is::<Unsure>(), "{error:#}");
    let abandoned = double.arrived.lock().unwrap().abandoned.clone();
    assert!(abandoned.unwrap().contains("no such page"));
}

#[test]
fn what_is_not_known_is_not_said() {
    // The looks, and the retreat, that get no answer of the server's.
    for unanswered in [&["end", "capture"][..], &["end", "abandon"], &["capture"]] {
        let double = Double::with(
            8192,
            Box::new(move |request, _| {
                let is_offer = request.method == "POST" && request.path.ends_with("capture");
                let is_it = unanswered.iter().any(|end| request.path.ends_with(end));
                (is_it && !is_offer).then(|| Reply::status(404, "no such page"))
            }),
        );
        let (done, _) = send(&double, &data());
        let error = done.unwrap_err();
        assert!(error.is::<Unsure>(), "{unanswered:?}: {error:#}");
        assert!(format!("{error:#}").contains("not known"), "{error:#}");
    }
}

#[test]
fn a_directory_is_seen_when_it_is_whole_and_not_before() {
    let room = tempfile::tempdir().unwrap();
    let target = room.path().join("lab");
    let directory = Directory::new(&target).unwrap();
    let second = Directory::new(&target).err().unwrap().to_string();
    assert!(second.contains("another capture"), "{second}");
    let store = Store::Directory(directory);
    store.small_file("d1.mbr", b"abc").unwrap();
    store.small_file("d1.mbr", b"twice").unwrap_err();
    for bad in ["", "..", "a/b"] {
        store.small_file(bad, b"").unwrap_err();
    }
    assert!(!target.exists());
    let end = CaptureEnd {
        files: Vec::new(),
        unreadable: Vec::new(),
    };
    store.publish(&end).unwrap();
    assert_eq!(std::fs::read(target.join("d1.mbr")).unwrap(), b"abc");
    assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 1);
    let again = Directory::new(&target).err().unwrap().to_string();
    assert!(again.contains("is not empty"), "{again}");
}

#[test]
fn what_was_given_up_is_removed_and_what_came_meanwhile_is_kept() {
    let room = tempfile::tempdir().unwrap();
    let target = room.path().join("lab");
    let store = Store::Directory(Directory::new(&target).unwrap());
    store.small_file("d1.mbr", b"abc").unwrap();
    store.abandon("as a test");
    assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 0);
    // Somebody else makes the directory while the image is on its way.
    std::fs::create_dir(&target).unwrap();
    let store = Store::Directory(Directory::new(&target).unwrap());
    std::fs::write(target.join("mine"), "mine").unwrap();
    let end = CaptureEnd {
        files: Vec::new(),
        unreadable: Vec::new(),
    };
    store.publish(&end).unwrap_err();
    assert_eq!(std::fs::read(target.join("mine")).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(room.path()).unwrap().count(), 1);
}
