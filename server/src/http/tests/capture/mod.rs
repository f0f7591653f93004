//! Captures: a client of the contract (`fos_api::capture`) that sends the files of a real image, and everything that
//! can come between.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use fog::task::{ImageType, State};
use fos_api::capture::{
    CaptureEnd, CaptureOffer, CaptureRefusal, CaptureRefusalCode, CaptureStage, CaptureTerms,
    CaptureView, CapturedDisk, MAX_PIECE, OfferedFile, PieceStored, SentFile, Unreadable,
};

use super::assert_refused;
use super::boot::ticket;
use super::dropped::{MOST, polled};
use crate::api::Api as _;
use crate::domain::account::Role;
use crate::domain::handout::Ticket;
use crate::domain::unicast::{TaskKind, UnicastTask};
use crate::domain::{Reason, Refusal, TaskId};
use crate::ops::{CaptureRequest, CaptureTaskError, RevertError};
use crate::store::{ChangeError, CreateError, UnicastQuery};
use crate::testing::{
    Bench, bench, bench_with, ip, mac, name, text as body_of, wait_for, write_image_of,
};

mod races;
mod remains;

/// Files of an image.
type Files = BTreeMap<String, Vec<u8>>;

/// The files of an image of two partitions; another seed, other bytes. 1 is that of the image that is there at first.
fn image(seed: u64) -> Files {
    let dir = tempfile::tempdir().unwrap();
    write_image_of(dir.path(), seed);
    let mut files = files_in(dir.path());
    if seed != 1 {
        for name in ["d1p1.img", "d1p2.img"] {
            files.insert(name.into(), noise(seed));
        }
        files.insert("d1.mbr".into(), boot_area());
        files.remove("d1.partitions");
    }
    files
}

/// An MBR with the two partitions.
fn boot_area() -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (entry, start) in sector[446..510].chunks_mut(16).zip([2048_u32, 4096]) {
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&64_u32.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// An image of a partition whose blocks cannot be made smaller.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let used = (0..64).map(|block| block % 3 != 0).collect();
    let image = image_writer::Recipe::v2(512, used).write(|_| {
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..512).map(next).collect()
    });
    zstd::encode_all(&image[..], 3).unwrap()
}

fn files_in(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).unwrap();
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

fn offer(files: &Files) -> CaptureOffer {
    let len = |bytes: &Vec<u8>| bytes.len() as u64;
    CaptureOffer {
        image_type: ImageType::SingleDisk,
        disks: vec![CapturedDisk {
            size: 1 << 30,
            sector_size: 512,
            model: "Disk of Tests".into(),
            serial: "1".into(),
        }],
        files: files
            .iter()
            .map(|(name, bytes)| OfferedFile {
                name: name.clone(),
                at_most: len(bytes) + 100,
            })
            .collect(),
        at_most: files.values().map(len).sum::<u64>() + 1000,
        system: "Debian \u{1b}[2J 13".into(),
    }
}

fn end(files: &Files) -> CaptureEnd {
    let sent = |(name, bytes): (&String, &Vec<u8>)| SentFile {
        name: name.clone(),
        len: bytes.len() as u64,
        blake3: blake3::hash(bytes).into(),
    };
    CaptureEnd {
        files: files.iter().map(sent).collect(),
        unreadable: Vec::new(),
    }
}

/// Who sends.
#[derive(Clone)]
enum Who {
    Machine(u8, Ticket),
    Token(String, &'static str),
}

impl Who {
    fn address(&self) -> Ipv4Addr {
        match self {
            Self::Machine(host, _) => ip(*host),
            Self::Token(..) => ip(77),
        }
    }

    fn request(&self, method: &str, path: &str, query: &str, body: Vec<u8>) -> Request<Body> {
        let identity = match self {
            Self::Machine(host, ticket) => format!("mac={}&ticket={ticket}", mac(*host)),
            Self::Token(_, image) => format!("image={}", image.replace(' ', "%20")),
        };
        let uri = format!("/fog/service/fos/{path}?{identity}&{query}");
        let mut request = Request::builder().method(method).uri(uri);
        if let Self::Token(token, _) = self {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Body::from(body)).unwrap()
    }
}

/// What is answered.
struct Answer(StatusCode, String);

impl Answer {
    #[track_caller]
    fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.1).unwrap_or_else(|error| panic!("{error}: {}", self.1))
    }

    #[track_caller]
    fn ok<T: serde::de::DeserializeOwned>(&self) -> T {
        assert_eq!(self.0, StatusCode::OK, "{}", self.1);
        self.json()
    }

    #[track_caller]
    fn refused(&self, status: StatusCode) -> CaptureRefusalCode {
        assert_eq!(self.0, status, "{}", self.1);
        self.json::<CaptureRefusal>().code
    }
}

impl Bench {
    async fn asked(&self, who: &Who, request: Request<Body>) -> Answer {
        let answer = self.request(who.address(), request).await;
        Answer(answer.status(), body_of(answer).await)
    }

    async fn begin(&self, who: &Who, offer: &CaptureOffer) -> Answer {
        let body = serde_json::to_vec(offer).unwrap();
        self.asked(who, who.request("POST", "capture", "", body))
            .await
    }

    async fn put(&self, who: &Who, upload: &str, name: &str, at: usize, bytes: &[u8]) -> Answer {
        let hash = blake3::hash(bytes);
        let query = format!("upload={upload}&name={name}&offset={at}&blake3={hash}");
        self.asked(
            who,
            who.request("PUT", "capture/data", &query, bytes.to_vec()),
        )
        .await
    }

    /// Everything, in pieces of some hundred bytes.
    async fn put_all(&self, who: &Who, upload: &str, files: &Files) {
        for (name, bytes) in files {
            for (number, piece) in bytes.chunks(700).enumerate() {
                let at = number * 700;
                let stored: PieceStored = self.put(who, upload, name, at, piece).await.ok();
                assert_eq!(stored.stored, (at + piece.len()) as u64);
            }
        }
    }

    async fn end(&self, who: &Who, upload: &str, end: &CaptureEnd) -> Answer {
        let body = serde_json::to_vec(end).unwrap();
        let query = format!("upload={upload}");
        self.asked(who, who.request("POST", "capture/end", &query, body))
            .await
    }

    async fn look(&self, who: &Who, upload: &str) -> Answer {
        let query = format!("upload={upload}");
        self.asked(who, who.request("GET", "capture", &query, Vec::new()))
            .await
    }

    /// The end of an upload.
    async fn outcome(&self, who: &Who, upload: &str) -> CaptureView {
        wait_for("the end of an upload", async || {
            let view: CaptureView = self.look(who, upload).await.ok();
            let is_over = [CaptureStage::Published, CaptureStage::Failed].contains(&view.stage);
            is_over.then_some(view)
        })
        .await
    }

    async fn wish_capture(&self, host: u8, image: &str) -> Result<TaskId, CaptureTaskError> {
        self.ops.capture(&wanted(host, image)).await
    }

    /// A machine that was told to capture its disk.
    async fn machine(&self, host: u8, image: &str) -> (TaskId, Who) {
        let task = self.wish_capture(host, image).await.unwrap();
        (task, self.go(host).await)
    }

    async fn go(&self, host: u8) -> Who {
        let ticket = ticket(&self.boot(host).await);
        assert_eq!(self.ask_to_capture(host, ticket).await, "##@GO");
        Who::Machine(host, ticket)
    }

    async fn ask_to_capture(&self, host: u8, ticket: Ticket) -> String {
        let body = format!(
            "mac={}&type=up&agent=fos-agent/0.1.0&ticket={ticket}",
            mac(host)
        );
        self.post(ip(host), "Pre_Stage1.php", body).await
    }

    /// Sends all of an image; answers the upload.
    async fn send_image(&self, who: &Who, files: &Files) -> String {
        let terms: CaptureTerms = self.begin(who, &offer(files)).await.ok();
        self.put_all(who, &terms.upload, files).await;
        let _: CaptureView = self.end(who, &terms.upload, &end(files)).await.ok();
        terms.upload
    }

    async fn one_task(&self, task: TaskId) -> UnicastTask {
        let found = self.store.unicast(UnicastQuery::One(task)).await.unwrap();
        found.into_iter().next().unwrap()
    }

    async fn task_ended(&self, task: TaskId) -> UnicastTask {
        wait_for("the end of a task", async || {
            let task = self.one_task(task).await;
            (!task.state.is_active()).then_some(task)
        })
        .await
    }

    fn hidden(&self, path: &str) -> PathBuf {
        self.config.images.join(".fos").join(path)
    }

    fn arriving(&self) -> usize {
        std::fs::read_dir(self.hidden("arriving")).map_or(0, Iterator::count)
    }

    /// Image `img` is what it was at first, and can be deployed.
    async fn assert_former(&self) {
        assert_eq!(files_in(&self.config.images.join("img")), image(1));
        self.ops.check_image("lab image").await.unwrap();
    }
}

fn wanted(host: u8, image: &str) -> CaptureRequest {
    CaptureRequest {
        host: name(host),
        image: image.into(),
        image_type: None,
        os_id: None,
        level: None,
        is_shutdown: false,
        is_debug: false,
    }
}

#[tokio::test]
async fn a_disk_is_captured_into_a_new_image_that_can_be_deployed() {
    let bench = bench().await;
    let request = CaptureRequest {
        os_id: Some(50),
        level: Some(7),
        ..wanted(1, "fresh")
    };
    let task = bench.ops.capture(&request).await.unwrap();
    let script = bench.boot(1).await;
    for words in [
        " img=fresh imgType=mps ",
        " osid=50 ",
        " PIGZ_COMP=-7 ",
        "/images/dev/ ",
        " pct=5 ignorepg=1 type=up fosticket=",
    ] {
        assert!(script.contains(words), "{words}: {script}");
    }
    // There is nothing to deploy yet.
    assert!(bench.ops.check_image("fresh").await.is_err());
    let who = bench.go(1).await;
    let files = image(5);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    assert_eq!((terms.zstd_level, terms.piece), (7, MAX_PIECE / 2));
    bench.put_all(&who, &terms.upload, &files).await;
    let view: CaptureView = bench.look(&who, &terms.upload).await.ok();
    assert_eq!(view.stage, CaptureStage::Receiving);
    assert_eq!(
        view.done,
        files.values().map(|bytes| bytes.len() as u64).sum::<u64>()
    );
    let mut ended = end(&files);
    ended.unreadable = vec![Unreadable {
        file: "d1p2.img".into(),
        offset: 4096,
        len: 512,
    }];
    // The end of a capture that is not here counts for nothing.
    let Who::Machine(_, own) = &who else {
        panic!("it is a machine");
    };
    let done = format!("mac={}&type=up&ticket={own}", mac(1));
    let refused = bench.post(ip(1), "Post_Stage2.php", done.as_str()).await;
    assert_refused(&refused, &Refusal::NotCaptured);
    let _: CaptureView = bench.end(&who, &terms.upload, &ended).await.ok();
    let view = bench.outcome(&who, &terms.upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    let ended = bench.task_ended(task).await;
    assert_eq!(ended.kind, TaskKind::Capture);
    assert_eq!(
        (ended.state, ended.reason),
        (State::Complete, Some(Reason::Captured))
    );
    assert_eq!(
        bench.post(ip(1), "Post_Stage2.php", done.as_str()).await,
        "##"
    );
    // Asked again, for the answer was lost.
    let view: CaptureView = bench.look(&who, &terms.upload).await.ok();
    assert_eq!(view.stage, CaptureStage::Published);

    assert_eq!(files_in(&bench.config.images.join("fresh")), files);
    bench.ops.check_image("fresh").await.unwrap();
    bench.deploy_image("fresh", &[1, 2], None).await;
    let shown = bench.ops.image_show("fresh").await.unwrap();
    let facts = shown.facts.unwrap();
    assert!(facts.is_verified);
    assert_eq!(facts.streams.len(), 2);
    let versions = bench.ops.image_versions("fresh").await.unwrap();
    assert_eq!(versions.len(), 1);
    let origin = &versions[0].origin;
    for words in [
        "LAB-01",
        "10.0.0.1",
        "Disk of Tests",
        "Debian",
        "1 place of it could not be read",
    ] {
        assert!(origin.contains(words), "{words}: {origin}");
    }
    assert!(!origin.contains('\u{1b}'), "{origin:?}");
    let (hosts, _) = bench.store.hosts().await.unwrap();
    assert!(hosts[0].last_deploy.is_none(), "nothing was written to it");
}

#[tokio::test]
async fn a_capture_takes_the_place_of_an_image_and_a_version_comes_back() {
    let bench = bench().await;
    for seed in 11..=13 {
        let (task, who) = bench.machine(1, "lab image").await;
        let former = files_in(&bench.config.images.join("img"));
        let files = image(seed);
        let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
        bench.put_all(&who, &terms.upload, &files).await;
        assert_eq!(files_in(&bench.config.images.join("img")), former);
        bench.ops.check_image("lab image").await.unwrap();
        let _: CaptureView = bench.end(&who, &terms.upload, &end(&files)).await.ok();
        bench.outcome(&who, &terms.upload).await;
        assert_eq!(bench.task_ended(task).await.state, State::Complete);
        assert_eq!(files_in(&bench.config.images.join("img")), image(seed));
        bench.ops.check_image("lab image").await.unwrap();
    }
    // The first one had to go: two are kept.
    let versions = bench.ops.image_versions("lab image").await.unwrap();
    let numbers: Vec<_> = versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [None, Some(3), Some(2)]);
    let found = bench.store.find_image("lab image").await.unwrap().unwrap();
    let revert = async |version| bench.ops.revert_image(&found, version).await;
    assert!(matches!(
        revert(1).await,
        Err(RevertError::NoVersion { .. })
    ));

    let session = bench.deploy(&[1]).await;
    let refused = revert(2).await;
    assert!(
        matches!(refused, Err(RevertError::Change(ChangeError::InUse(id))) if id == session),
        "{refused:?}"
    );
    assert_eq!(files_in(&bench.config.images.join("img")), image(13));
    bench.ops.cancel(session, None).await.unwrap();
    bench.ended(session).await;

    revert(2).await.unwrap();
    assert_eq!(files_in(&bench.config.images.join("img")), image(11));
    bench.ops.check_image("lab image").await.unwrap();
    let versions = bench.ops.image_versions("lab image").await.unwrap();
    let numbers: Vec<_> = versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, [None, Some(4), Some(3)]);
    assert!(
        versions[0].origin.contains("LAB-01"),
        "{}",
        versions[0].origin
    );
    assert_eq!(bench.arriving(), 3, "what is left of uploads");
    for entry in std::fs::read_dir(bench.hidden("arriving")).unwrap() {
        let dir = entry.unwrap().path();
        assert_eq!(
            std::fs::read_dir(dir).unwrap().count(),
            1,
            "but for the record"
        );
    }
}

#[tokio::test]
async fn pieces_come_again_in_any_way_and_the_file_is_the_same() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(21);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    let upload = terms.upload;
    let bytes = &files["d1p1.img"];
    let name = "d1p1.img";
    let first: PieceStored = bench.put(&who, &upload, name, 0, &bytes[..300]).await.ok();
    assert_eq!(first.stored, 300);
    let again: PieceStored = bench.put(&who, &upload, name, 0, &bytes[..300]).await.ok();
    assert_eq!(again.stored, 300);
    let behind = bench.put(&who, &upload, name, 301, &bytes[301..400]).await;
    assert_eq!(behind.0, StatusCode::CONFLICT);
    assert_eq!(behind.json::<PieceStored>().stored, 300);
    // A wrong hash.
    let query = format!(
        "upload={upload}&name={name}&offset=300&blake3={}",
        blake3::hash(b"another")
    );
    let request = who.request("PUT", "capture/data", &query, bytes[300..400].to_vec());
    assert_eq!(bench.asked(&who, request).await.0, StatusCode::BAD_REQUEST);
    // Overlaps what is there.
    let next: PieceStored = bench
        .put(&who, &upload, name, 200, &bytes[200..500])
        .await
        .ok();
    assert_eq!(next.stored, 500);

    // A power cut in the middle of a piece: the file is longer than what was promised, and wrong there.
    let bench = bench.crash().await;
    let path = bench.hidden(&format!("arriving/{upload}/files/{name}"));
    let mut torn = bytes[..500].to_vec();
    torn.extend([0; 50]);
    std::fs::write(&path, torn).unwrap();
    bench.ops.begin_captures().await.unwrap();
    let view: CaptureView = bench.look(&who, &upload).await.ok();
    assert_eq!(view.stage, CaptureStage::Receiving);
    let next: PieceStored = bench
        .put(&who, &upload, name, 500, &bytes[500..550])
        .await
        .ok();
    assert_eq!(next.stored, 550);
    assert_eq!(std::fs::read(&path).unwrap(), bytes[..550]);
    for (name, bytes) in &files {
        let from = if name == "d1p1.img" { 550 } else { 0 };
        let _: PieceStored = bench
            .put(&who, &upload, name, from, &bytes[from..])
            .await
            .ok();
    }
    let _: CaptureView = bench.end(&who, &upload, &end(&files)).await.ok();
    let view = bench.outcome(&who, &upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(files_in(&bench.config.images.join("img")), files);
    // Its answer was lost; the file is not there any more, and it was stored.
    let last = bench
        .put(&who, &upload, "d1.mbr", 0, &files["d1.mbr"])
        .await;
    assert_eq!(last.ok::<PieceStored>().stored, 512);
}

/// Several pieces of a file may be on their way: one that overtakes another waits for it.
#[tokio::test]
async fn a_piece_that_overtakes_another_waits_for_it() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(25);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    let bytes = files["d1p1.img"].clone();
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let first = {
        let query = format!(
            "upload={}&name=d1p1.img&offset=0&blake3={}",
            terms.upload,
            blake3::hash(&bytes[..500])
        );
        let request = who.request("PUT", "capture/data", &query, Vec::new());
        // Its body comes when the other one is here.
        let body = bytes[..500].to_vec();
        let stream = async_body(receiver, body);
        let (parts, _) = request.into_parts();
        Request::from_parts(parts, stream)
    };
    let first = bench.asked(&who, first);
    let second = async {
        tokio::task::yield_now().await;
        bench
            .put(&who, &terms.upload, "d1p1.img", 500, &bytes[500..900])
            .await
    };
    let release = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        sender.send(()).unwrap();
    };
    let (first, second, ()) = tokio::join!(first, second, release);
    assert_eq!(first.ok::<PieceStored>().stored, 500);
    assert_eq!(second.ok::<PieceStored>().stored, 900);
}

/// A body that is there when it is told so.
fn async_body(ready: tokio::sync::oneshot::Receiver<()>, bytes: Vec<u8>) -> Body {
    struct Late(
        std::pin::Pin<Box<tokio::sync::oneshot::Receiver<()>>>,
        Option<Vec<u8>>,
    );
    impl axum::body::HttpBody for Late {
        type Data = axum::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            use std::future::Future as _;
            use std::task::Poll;

            if self.1.is_none() {
                return Poll::Ready(None);
            }
            match self.0.as_mut().poll(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(_) => {
                    let bytes = self.1.take().map(axum::body::Bytes::from);
                    Poll::Ready(bytes.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
                }
            }
        }
    }
    Body::new(Late(Box::pin(ready), Some(bytes)))
}

#[tokio::test]
async fn what_is_damaged_or_not_what_was_sent_is_not_published() {
    type Harm = fn(&mut Files);
    let harms: [(Harm, &str); 4] = [
        (
            |files| {
                let stream = files.get_mut("d1p2.img").unwrap();
                let middle = stream.len() / 2;
                stream[middle] ^= 1;
            },
            "d1p2.img",
        ),
        (|files| drop(files.remove("d1.mbr")), "d1.mbr"),
        (
            |files| drop(files.remove("d1p2.img")),
            "partition 2 of disk 1",
        ),
        (
            |files| drop(files.insert("d1p2.img".into(), b"no image".to_vec())),
            "d1p2.img",
        ),
    ];
    for (harm, named) in harms {
        let bench = bench().await;
        let (task, who) = bench.machine(1, "lab image").await;
        let mut files = image(31);
        harm(&mut files);
        let upload = bench.send_image(&who, &files).await;
        let view = bench.outcome(&who, &upload).await;
        assert_eq!(view.stage, CaptureStage::Failed, "{named}");
        assert!(view.text.contains(named), "{named}: {}", view.text);
        let ended = bench.task_ended(task).await;
        assert_eq!(ended.state, State::Failed);
        assert!(matches!(ended.reason, Some(Reason::CaptureFailed { .. })));
        bench.assert_former().await;
        let files = bench.hidden(&format!("arriving/{upload}/files"));
        assert!(!files.exists(), "what is of no use is removed");
        // The next one is another beginning.
        let (_, who) = bench.machine(1, "lab image").await;
        let upload = bench.send_image(&who, &image(32)).await;
        let view = bench.outcome(&who, &upload).await;
        assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    }
}

#[tokio::test]
async fn a_hash_that_is_not_that_of_the_file_is_found() {
    for name in ["d1p1.img", "d1.mbr"] {
        let bench = bench().await;
        let (_, who) = bench.machine(1, "lab image").await;
        let files = image(41);
        let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
        bench.put_all(&who, &terms.upload, &files).await;
        let mut lie = end(&files);
        let file = lie.files.iter_mut().find(|file| file.name == name).unwrap();
        file.blake3 = blake3::hash(b"what the disk had").into();
        let _: CaptureView = bench.end(&who, &terms.upload, &lie).await.ok();
        let view = bench.outcome(&who, &terms.upload).await;
        assert_eq!(view.stage, CaptureStage::Failed);
        assert!(
            view.text.contains(name) && view.text.contains("hash"),
            "{}",
            view.text
        );
        bench.assert_former().await;
    }
}

#[tokio::test]
async fn a_list_that_is_not_what_arrived_ends_nothing() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(51);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let good = end(&files);
    let with = |change: &dyn Fn(&mut CaptureEnd)| {
        let mut lie = good.clone();
        change(&mut lie);
        lie
    };
    for lie in [
        with(&|end| end.files.clear()),
        with(&|end| end.files[0].len += 1),
        with(&|end| drop(end.files.pop())),
        with(&|end| end.files.push(end.files[0].clone())),
        with(&|end| end.files[0].name = "../d1.mbr".into()),
        with(&|end| end.files[0].name = "d1p3.img".into()),
    ] {
        let answer = bench.end(&who, &terms.upload, &lie).await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{lie:?}: {}", answer.1);
    }
    let view: CaptureView = bench.look(&who, &terms.upload).await.ok();
    assert_eq!(view.stage, CaptureStage::Receiving);
    // An empty file, as the marker of an extended partition is, is in the list alone.
    let mut ended = good;
    ended.files.push(SentFile {
        name: "d1p4.ebr".into(),
        len: 0,
        blake3: blake3::hash(b"").into(),
    });
    let _: CaptureView = bench.end(&who, &terms.upload, &ended).await.ok();
    let _: CaptureView = bench.end(&who, &terms.upload, &ended).await.ok();
    let view = bench.outcome(&who, &terms.upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert!(bench.config.images.join("img/d1p4.ebr").exists());
}

#[tokio::test]
async fn names_lead_nowhere_and_sizes_have_bounds() {
    let bench = bench().await;
    let (_, who) = bench.machine(1, "lab image").await;
    let files = image(61);
    for name in [
        "../x.img",
        "d1p1.img%2F..%2Fx",
        "record.json",
        "d2p1.img",
        "",
    ] {
        let mut lie = offer(&files);
        lie.files[0].name = name.into();
        let answer = bench.begin(&who, &lie).await;
        assert_eq!(
            answer.refused(StatusCode::CONFLICT),
            CaptureRefusalCode::Unsupported
        );
    }
    let mut other = offer(&files);
    other.image_type = ImageType::Resizable;
    let answer = bench.begin(&who, &other).await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Unsupported
    );
    assert_eq!(bench.arriving(), 0);
    // No disk has so much room.
    let mut large = offer(&files);
    large.at_most = 1 << 60;
    let answer = bench.begin(&who, &large).await;
    assert_eq!(
        answer.refused(StatusCode::INSUFFICIENT_STORAGE),
        CaptureRefusalCode::Room
    );

    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    let upload = terms.upload.as_str();
    for name in [
        "..%2F..%2Fx.img",
        "%2Fetc%2Fpasswd",
        "record.json",
        "d1p1.img%00",
        "",
    ] {
        let answer = bench.put(&who, upload, name, 0, b"x").await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST, "{name}: {}", answer.1);
    }
    // More than was offered, of one file, of one that was not offered, and of all together.
    let small = files["d1.mbr"].len() + 101;
    for (name, len) in [("d1.mbr", small), ("d1p9.img", 1)] {
        let answer = bench.put(&who, upload, name, 0, &vec![7; len]).await;
        assert_eq!(
            answer.refused(StatusCode::CONFLICT),
            CaptureRefusalCode::Unsupported
        );
    }
    let most = usize::try_from(offer(&files).at_most).unwrap();
    let answer = bench.put(&who, upload, "d1.size", 0, &vec![7; most]).await;
    let _: PieceStored = answer.ok();
    let answer = bench.put(&who, upload, "d1.mbr", 0, b"x").await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Unsupported
    );
    // A piece is no larger than was said, whatever is in it.
    let long = vec![0; usize::try_from(MAX_PIECE).unwrap() + 1];
    let answer = bench.put(&who, upload, "d1p1.img", 0, &long).await;
    assert_eq!(answer.0, StatusCode::PAYLOAD_TOO_LARGE);
    for (query, what) in [
        (
            format!(
                "upload={upload}&name=d1.mbr&offset=x&blake3={}",
                "0".repeat(64)
            ),
            "offset",
        ),
        (
            format!("upload={upload}&name=d1.mbr&offset=0&blake3=0"),
            "blake3",
        ),
    ] {
        let request = who.request("PUT", "capture/data", &query, Vec::new());
        let answer = bench.asked(&who, request).await;
        assert_eq!(answer.0, StatusCode::BAD_REQUEST);
        assert!(answer.1.contains(what), "{}", answer.1);
    }
    let request = who.request("POST", "capture", "", b"{".to_vec());
    assert_eq!(bench.asked(&who, request).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nobody_else_sends_into_an_upload() {
    let bench = bench().await;
    let files = image(71);
    // It was not told to go.
    let task = bench.wish_capture(1, "lab image").await.unwrap();
    let own = ticket(&bench.boot(1).await);
    let early = Who::Machine(1, own);
    assert_eq!(
        bench.begin(&early, &offer(&files)).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(bench.ask_to_capture(1, own).await, "##@GO");
    let terms: CaptureTerms = bench.begin(&early, &offer(&files)).await.ok();
    let stranger = Who::Machine(1, Ticket([9; 16]));
    assert_eq!(
        bench.begin(&stranger, &offer(&files)).await.0,
        StatusCode::FORBIDDEN
    );
    let answer = bench.put(&stranger, &terms.upload, "d1.mbr", 0, b"x").await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Gone
    );
    let answer = bench.end(&stranger, &terms.upload, &end(&files)).await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Gone
    );
    let answer = bench.look(&early, "0123").await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Gone
    );
    assert_eq!(bench.one_task(task).await.state, State::InProgress);
}

#[tokio::test]
async fn one_capture_into_one_image_at_a_time() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let second = bench.wish_capture(2, "lab image").await;
    assert!(
        matches!(&second, Err(CaptureTaskError::Create(CreateError::Captured { task: first, .. })) if *first == task),
        "{second:?}"
    );
    let busy = bench.wish_capture(1, "other image").await;
    assert!(
        matches!(
            &busy,
            Err(CaptureTaskError::Create(CreateError::HostBusy { .. }))
        ),
        "{busy:?}"
    );
    let files = image(81);
    let first: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    let token = bench
        .ops
        .add_token("desk".parse().unwrap(), Role::Admin)
        .await
        .unwrap();
    let by_hand = Who::Token(token, "lab image");
    let answer = bench.begin(&by_hand, &offer(&files)).await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Busy
    );
    assert!(answer.1.contains("LAB-01"), "{}", answer.1);
    // The machine itself begins again as often as it likes: it was restarted.
    let _: PieceStored = bench.put(&who, &first.upload, "d1.mbr", 0, b"x").await.ok();
    let again: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    assert_ne!(first.upload, again.upload);
    let answer = bench.put(&who, &first.upload, "d1.mbr", 0, b"x").await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Gone
    );
    assert_eq!(bench.arriving(), 1);
    bench.put_all(&who, &again.upload, &files).await;
    let _: CaptureView = bench.end(&who, &again.upload, &end(&files)).await.ok();
    let view = bench.outcome(&who, &again.upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
}

#[tokio::test]
async fn an_image_is_captured_by_hand_with_the_token_of_an_administrator() {
    let bench = bench().await;
    let files = image(91);
    let operator = bench
        .ops
        .add_token("small".parse().unwrap(), Role::Operator)
        .await
        .unwrap();
    for (token, status) in [
        (operator, StatusCode::FORBIDDEN),
        ("fos_nothing".to_owned(), StatusCode::UNAUTHORIZED),
    ] {
        let who = Who::Token(token, "by hand");
        assert_eq!(bench.begin(&who, &offer(&files)).await.0, status);
    }
    let token = bench
        .ops
        .add_token("desk".parse().unwrap(), Role::Admin)
        .await
        .unwrap();
    for bad in ["", "a/b", "..", "win 11"] {
        let who = Who::Token(token.clone(), bad);
        let answer = bench.begin(&who, &offer(&files)).await;
        assert_eq!(
            answer.refused(StatusCode::CONFLICT),
            CaptureRefusalCode::Unsupported,
            "{bad}"
        );
    }
    // A directory of which nobody knows is not touched.
    std::fs::create_dir(bench.config.images.join("taken")).unwrap();
    let who = Who::Token(token.clone(), "taken");
    let answer = bench.begin(&who, &offer(&files)).await;
    assert_eq!(
        answer.refused(StatusCode::CONFLICT),
        CaptureRefusalCode::Unsupported
    );
    for seed in [91, 92] {
        let who = Who::Token(token.clone(), "hand");
        let files = image(seed);
        let upload = bench.send_image(&who, &files).await;
        let view = bench.outcome(&who, &upload).await;
        assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
        assert_eq!(files_in(&bench.config.images.join("hand")), files);
        bench.ops.check_image("hand").await.unwrap();
    }
    let versions = bench.ops.image_versions("hand").await.unwrap();
    assert_eq!(versions.len(), 2);
    assert!(
        versions[0].origin.contains("token desk"),
        "{}",
        versions[0].origin
    );
}

#[tokio::test]
async fn fogs_own_client_is_refused_and_nothing_is_half_done() {
    let bench = bench().await;
    let task = bench.wish_capture(1, "lab image").await.unwrap();
    let own = ticket(&bench.boot(1).await);
    let form = format!("sysuuid=&mac={}", mac(1));
    let stock = bench
        .post(ip(1), "Pre_Stage1.php", format!("{form}&type=up"))
        .await;
    assert_refused(&stock, &Refusal::CaptureNeedsAgent);
    let down = format!("{form}&type=down&agent=fos-agent/0.1.0&ticket={own}");
    let down = bench.post(ip(1), "Pre_Stage1.php", down).await;
    assert_refused(
        &down,
        &Refusal::CaptureNow {
            found: "down".into(),
        },
    );
    let done = bench
        .post(ip(1), "Post_Stage2.php", format!("{form}&type=up"))
        .await;
    assert_ne!(done, "##");
    assert_eq!(bench.one_task(task).await.state, State::Queued);
    bench.assert_former().await;
    // And the other way round: who captures is not deployed.
    bench.ops.cancel_task(task).await.unwrap();
    bench.deploy(&[1]).await;
    let up = format!("{form}&type=up&agent=fos-agent/0.1.0");
    let up = bench.post(ip(1), "Pre_Stage1.php", up).await;
    assert_refused(&up, &Refusal::OtherType { found: "up".into() });
}

#[tokio::test]
async fn a_cancelled_capture_leaves_nothing_but_the_former_image() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(101);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    bench.ops.cancel_task(task).await.unwrap();
    for answer in [
        bench
            .put(&who, &terms.upload, "d1.mbr", 0, &files["d1.mbr"])
            .await,
        bench.end(&who, &terms.upload, &end(&files)).await,
    ] {
        assert_eq!(
            answer.refused(StatusCode::CONFLICT),
            CaptureRefusalCode::Gone
        );
    }
    bench.ops.sweep_captures().await.unwrap();
    let dir = bench.hidden(&format!("arriving/{}/files", terms.upload));
    assert!(!dir.exists());
    let view: CaptureView = bench.look(&who, &terms.upload).await.ok();
    assert_eq!(view.stage, CaptureStage::Failed);
    bench.assert_former().await;

    // Given up by its client.
    let (_, who) = bench.machine(1, "lab image").await;
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let query = format!("upload={}&detail=disk%20broke", terms.upload);
    let request = who.request("POST", "capture/abandon", &query, Vec::new());
    let view: CaptureView = bench.asked(&who, request).await.ok();
    assert_eq!(view.stage, CaptureStage::Failed);
    assert!(view.text.contains("disk broke"), "{}", view.text);
    let dir = bench.hidden(&format!("arriving/{}/files", terms.upload));
    assert!(!dir.exists());
    bench.assert_former().await;
}

#[tokio::test]
async fn what_nobody_sends_any_more_is_removed_also_after_a_restart() {
    let bench = bench_with(|config| config.capture_keep = std::time::Duration::ZERO).await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(111);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    let bench = bench.crash().await;
    bench.ops.begin_captures().await.unwrap();
    let dir = bench.hidden(&format!("arriving/{}/files", terms.upload));
    assert!(dir.exists());
    bench.ops.sweep_captures().await.unwrap();
    assert!(!dir.exists());
    // The task is still to be done.
    assert!(bench.one_task(task).await.state.is_active());
    bench.assert_former().await;
    // What was cut off while it was made is no upload.
    let torn = bench.hidden("arriving/0000");
    std::fs::create_dir(&torn).unwrap();
    let bench = bench.crash().await;
    bench.ops.begin_captures().await.unwrap();
    assert!(!torn.exists());
}

#[tokio::test]
async fn an_image_that_a_session_sends_is_replaced_when_that_is_over() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let session = bench.deploy(&[2]).await;
    let files = image(121);
    let upload = bench.send_image(&who, &files).await;
    let waits = wait_for("that it waits", async || {
        let view: CaptureView = bench.look(&who, &upload).await.ok();
        view.text
            .contains(&format!("session {session}"))
            .then_some(view)
    })
    .await;
    assert_eq!(waits.stage, CaptureStage::Verifying);
    bench.assert_former().await;
    bench.ops.cancel(session, None).await.unwrap();
    bench.ended(session).await;
    let view = bench.outcome(&who, &upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(bench.task_ended(task).await.state, State::Complete);
    assert_eq!(files_in(&bench.config.images.join("img")), files);
}

#[tokio::test]
async fn a_database_that_is_gone_in_the_middle_holds_it_up_and_no_more() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(131);
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    bench.put_all(&who, &terms.upload, &files).await;
    bench.faults.fail();
    let _: CaptureView = bench.end(&who, &terms.upload, &end(&files)).await.ok();
    wait_for("that it waits", async || {
        let view: CaptureView = bench.look(&who, &terms.upload).await.ok();
        assert_eq!(view.stage, CaptureStage::Verifying);
        view.text.contains("told to fail").then_some(())
    })
    .await;
    bench.assert_former().await;
    bench.faults.release();
    let view = bench.outcome(&who, &terms.upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(bench.task_ended(task).await.state, State::Complete);
}

/// The server is killed at every step, each time as it stores something.
#[tokio::test]
async fn a_killed_server_goes_on_where_it_was() {
    for operation in ["create_capture", "replace_image", "apply_unicast"] {
        let bench = bench().await;
        let files = image(141);
        let (task, who) = bench.machine(1, "lab image").await;
        let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
        let upload = terms.upload;
        bench.put_all(&who, &upload, &files).await;
        bench.faults.hang_at(operation);
        let calls = bench.faults.calls(operation);
        let _: CaptureView = bench.end(&who, &upload, &end(&files)).await.ok();
        if operation != "create_capture" {
            wait_for("the operation", async || {
                (bench.faults.calls(operation) > calls).then_some(())
            })
            .await;
        }
        let bench = bench.crash().await;
        let public = files_in(&bench.config.images.join("img"));
        assert!(public == image(1) || public == files, "{operation}");
        bench.ops.begin_captures().await.unwrap();
        let view = bench.outcome(&who, &upload).await;
        assert_eq!(
            view.stage,
            CaptureStage::Published,
            "{operation}: {}",
            view.text
        );
        assert_eq!(bench.task_ended(task).await.state, State::Complete);
        assert_eq!(files_in(&bench.config.images.join("img")), files);
        bench.ops.check_image("lab image").await.unwrap();
        let versions = bench.ops.image_versions("lab image").await.unwrap();
        assert_eq!(versions.len(), 2, "{operation}");
        // Once more, and nothing is done twice.
        let bench = bench.crash().await;
        bench.ops.begin_captures().await.unwrap();
        let view = bench.outcome(&who, &upload).await;
        assert_eq!(view.stage, CaptureStage::Published);
        let versions = bench.ops.image_versions("lab image").await.unwrap();
        assert_eq!(versions.len(), 2, "{operation}");
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_at_any_await_can_be_sent_again() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let files = image(151);
    let offered = serde_json::to_vec(&offer(&files)).unwrap();
    let drop_all = async |bench: &Bench, make: &dyn Fn() -> Request<Body>| {
        for times in 0..MOST {
            let request = async {
                let answer = bench.asked(&who, make()).await;
                (answer.0, answer.1)
            };
            if polled(times, request).await {
                return;
            }
        }
        panic!("a request never ends");
    };
    drop_all(&bench, &|| {
        who.request("POST", "capture", "", offered.clone())
    })
    .await;
    // What is begun is finished, though nobody waits: the last one is the one that counts.
    let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
    let upload = terms.upload.clone();
    for (name, bytes) in &files {
        let half = bytes.len() / 2;
        for (at, piece) in [(0, &bytes[..half]), (half, &bytes[half..])] {
            let hash = blake3::hash(piece);
            let query = format!("upload={upload}&name={name}&offset={at}&blake3={hash}");
            drop_all(&bench, &|| {
                who.request("PUT", "capture/data", &query, piece.to_vec())
            })
            .await;
            let stored: PieceStored = bench.put(&who, &upload, name, at, piece).await.ok();
            assert_eq!(stored.stored, (at + piece.len()) as u64);
        }
    }
    let ended = serde_json::to_vec(&end(&files)).unwrap();
    let query = format!("upload={upload}");
    drop_all(&bench, &|| {
        who.request("POST", "capture/end", &query, ended.clone())
    })
    .await;
    drop_all(&bench, &|| {
        who.request("GET", "capture", &query, Vec::new())
    })
    .await;
    let view = bench.outcome(&who, &upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    assert_eq!(bench.task_ended(task).await.state, State::Complete);
    assert_eq!(files_in(&bench.config.images.join("img")), files);
    assert_eq!(bench.arriving(), 1);
}

#[tokio::test]
async fn an_image_lives_and_dies() {
    let bench = bench().await;
    let (task, who) = bench.machine(1, "lab image").await;
    let found = bench.store.find_image("lab image").await.unwrap().unwrap();
    // Not while a task uses it.
    let refused = bench.ops.delete_image(&found).await;
    assert!(
        matches!(refused, Err(RevertError::Change(ChangeError::InTask(id))) if id == task),
        "{refused:?}"
    );
    bench.assert_former().await;
    let upload = bench.send_image(&who, &image(161)).await;
    bench.outcome(&who, &upload).await;
    bench.task_ended(task).await;
    let describe = async |name: Option<&str>, note: Option<&str>| {
        let request = crate::api::ImageDescribe {
            name: name.map(|name| name.parse().unwrap()),
            note: note.map(ToOwned::to_owned),
        };
        let image = if name.is_some() {
            "lab image"
        } else {
            "room 12"
        };
        bench.ops.image_describe(image, request).await
    };
    assert!(describe(Some("other image"), None).await.is_err(), "taken");
    describe(Some("room 12"), None).await.unwrap();
    describe(None, Some("with the new driver")).await.unwrap();
    assert!(describe(None, Some("\u{202e}")).await.is_err());
    assert!(describe(None, Some(&"x".repeat(1001))).await.is_err());
    let shown = bench.ops.image_show("room 12").await.unwrap();
    assert_eq!(
        (shown.note.as_str(), shown.path.as_str()),
        ("with the new driver", "img")
    );
    bench.ops.check_image("room 12").await.unwrap();
    assert_eq!(bench.ops.image_versions("room 12").await.unwrap().len(), 2);
    bench.ops.image_delete("room 12").await.unwrap();
    assert!(bench.ops.image_show("room 12").await.is_err());
    assert!(!bench.config.images.join("img").exists());
    assert!(!bench.hidden("versions/img").exists());
    assert!(!bench.hidden("about/img.json").exists());
    assert!(bench.config.images.join("other").exists());
}

/// Rows are written by other programs, too.
#[tokio::test]
async fn a_row_that_leads_elsewhere_is_not_followed() {
    for path in ["../elsewhere", "/etc", ".fos", "img/", ""] {
        let bench = bench().await;
        let outside = bench.config.images.join("../elsewhere");
        std::fs::create_dir(&outside).unwrap();
        bench
            .sql(&format!(
                "UPDATE images SET imagePath = '{path}' WHERE imageName = 'lab image'"
            ))
            .await;
        let refused = bench.wish_capture(1, "lab image").await;
        assert!(
            matches!(refused, Err(CaptureTaskError::Place(_))),
            "{path}: {refused:?}"
        );
        let image = bench.store.find_image("lab image").await.unwrap().unwrap();
        let refused = bench.ops.revert_image(&image, 1).await;
        assert!(
            matches!(refused, Err(RevertError::NotHere(_))),
            "{path}: {refused:?}"
        );
        if path != "img/" {
            let refused = bench.ops.delete_image(&image).await;
            assert!(refused.is_err(), "{path}");
        }
        assert!(outside.exists(), "{path}");
    }
}

/// FOG's page takes a directory with a slash behind it, and the image is deployed from there.
#[tokio::test]
async fn a_directory_that_another_image_has_is_not_deleted_however_it_is_written() {
    for path in ["img/", "./img", "img"] {
        let bench = bench().await;
        bench
            .sql(&format!(
                "UPDATE images SET imagePath = '{path}' WHERE imageName = 'other image'"
            ))
            .await;
        let image = bench.store.find_image("lab image").await.unwrap().unwrap();
        let refused = bench.ops.delete_image(&image).await;
        assert!(
            matches!(&refused, Err(RevertError::Shared(other)) if other.name == "other image"),
            "{path}: {refused:?}"
        );
        bench.assert_former().await;
    }
}

/// What is done to the files of one would be done to the other's, of which its row says nothing.
#[tokio::test]
async fn a_directory_that_another_image_has_is_not_changed() {
    for path in ["img/", "img"] {
        let bench = bench().await;
        let share = async |path: &str| {
            let row = "WHERE imageName = 'other image'";
            bench
                .sql(&format!("UPDATE images SET imagePath = '{path}' {row}"))
                .await;
        };
        let (task, who) = bench.machine(1, "lab image").await;
        let upload = bench.send_image(&who, &image(171)).await;
        bench.outcome(&who, &upload).await;
        bench.task_ended(task).await;
        let published = files_in(&bench.config.images.join("img"));
        // It comes to be shared while another capture is under way.
        let (task, who) = bench.machine(1, "lab image").await;
        let files = image(172);
        let terms: CaptureTerms = bench.begin(&who, &offer(&files)).await.ok();
        bench.put_all(&who, &terms.upload, &files).await;
        share(path).await;
        let _: CaptureView = bench.end(&who, &terms.upload, &end(&files)).await.ok();
        let view = bench.outcome(&who, &terms.upload).await;
        assert_eq!(view.stage, CaptureStage::Failed, "{path}");
        assert!(view.text.contains("other image"), "{}", view.text);
        assert_eq!(bench.task_ended(task).await.state, State::Failed);

        let found = bench.store.find_image("lab image").await.unwrap().unwrap();
        let refused = bench.ops.revert_image(&found, 1).await;
        assert!(
            matches!(&refused, Err(RevertError::Shared(other)) if other.name == "other image"),
            "{path}: {refused:?}"
        );
        let refused = bench.wish_capture(1, "lab image").await;
        assert!(
            matches!(&refused, Err(CaptureTaskError::Place(text)) if text.contains("other image")),
            "{path}: {refused:?}"
        );
        let token = bench.ops.add_token("desk".parse().unwrap(), Role::Admin);
        let by_hand = Who::Token(token.await.unwrap(), "lab image");
        let answer = bench.begin(&by_hand, &offer(&files)).await;
        assert_eq!(
            answer.refused(StatusCode::CONFLICT),
            CaptureRefusalCode::Unsupported
        );
        assert_eq!(files_in(&bench.config.images.join("img")), published);
        // Each has its own again.
        share("other").await;
        bench.ops.revert_image(&found, 1).await.unwrap();
        assert_eq!(files_in(&bench.config.images.join("img")), image(1));
    }
}

#[tokio::test]
async fn an_image_may_be_called_as_another_one_is_numbered() {
    let bench = bench().await;
    let other = bench.store.find_image("lab image").await.unwrap().unwrap();
    let token = bench
        .ops
        .add_token("desk".parse().unwrap(), Role::Admin)
        .await
        .unwrap();
    let name: &'static str = other.id.0.to_string().leak();
    let who = Who::Token(token, name);
    let files = image(82);
    let upload = bench.send_image(&who, &files).await;
    let view = bench.outcome(&who, &upload).await;
    assert_eq!(view.stage, CaptureStage::Published, "{}", view.text);
    let found = bench.store.images().await.unwrap();
    let found = found.iter().find(|image| image.name == name).unwrap();
    assert_eq!(files_in(&bench.config.images.join(&found.path)), files);
    bench.assert_former().await;
}
