//! Whole deploys at one of FOG's own servers: its endpoints from a thread, its sender on loopback, its image share in
//! a directory.

use std::path::Path;
use std::thread::JoinHandle;

use fog::checkin::caps;
use tempfile::{NamedTempFile, TempDir};

use super::test_room::{assert_image_is_on, disk, paths, port_base, sender, with_record};
use super::*;
use crate::control::test_server::{Reply, Request, TestServer};

/// What the four lines of FOG answer to `getversion.php?caps=1`.
const VERSIONS: [&str; 4] = ["1.5.8", "1.5.10", "1.5.10.2253", "mclvm mcstreamid"];

/// One server and one machine.
struct Room {
    server: TestServer,
    share: TempDir,
    disk: NamedTempFile,
    port: u16,
    runs_scripts: bool,
}

impl Room {
    fn new(answer: impl Fn(&Request) -> Option<Reply> + Send + 'static) -> Self {
        Self::of_version("1.5.8", answer)
    }

    /// A server that answers like this, and else as all versions do.
    fn of_version(
        version: &'static str,
        answer: impl Fn(&Request) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let port = port_base();
        let server = TestServer::start(move |request| {
            answer(request).unwrap_or_else(|| usual(version, request, port))
        });
        let share = tempfile::tempdir().unwrap();
        std::fs::write(share.path().join(".mntcheck"), "").unwrap();
        let image = share.path().join("lab");
        std::fs::create_dir(&image).unwrap();
        for (name, bytes) in samples::small_files() {
            std::fs::write(image.join(name), bytes).unwrap();
        }
        for (number, ..) in samples::PARTITIONS {
            let name = format!("d1p{number}.img");
            std::fs::write(image.join(name), samples::stored(number)).unwrap();
        }
        Self {
            server,
            share,
            disk: disk(),
            port,
            runs_scripts: false,
        }
    }

    fn image(&self) -> PathBuf {
        self.share.path().join("lab")
    }

    async fn deploy(&self) -> Result<Told, Failure> {
        self.deploy_as("mc=yes").await
    }

    async fn deploy_as(&self, more: &str) -> Result<Told, Failure> {
        self.deploy_on(more, &Board::default()).await
    }

    async fn deploy_on(&self, more: &str, board: &Board) -> Result<Told, Failure> {
        let line = format!("web={} {} {more}", self.server.web(), job_line(self.port));
        let job = Job {
            args: KernelArgs::parse(&line),
            target: TargetChoice::Paths(vec![self.disk.path().to_owned()]),
            interface: None,
            share: Some(self.share.path().to_owned()),
            runs_scripts: self.runs_scripts,
            patience: Patience {
                pause: Duration::from_millis(1),
                longest_pause: Duration::from_millis(1),
                silence: Duration::ZERO,
                ..Patience::default()
            },
        };
        run(job, &self.server.client(), board).await
    }

    fn send(&self, streams: Vec<Vec<u8>>) -> JoinHandle<()> {
        sender(self.port, streams)
    }

    #[track_caller]
    fn assert_deployed(&self) {
        assert_image_is_on(self.disk.path());
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let written = std::fs::read(self.disk.path()).unwrap();
        assert!(written.iter().all(|byte| *byte == 0));
    }
}

fn job_line(port: u16) -> String {
    format!(
        "mac=00:1b:21:aa:bb:cc storage=127.0.0.1:/images/ storageip=127.0.0.1 osid=50 img=lab imgType=mps \
         imgPartitionType=all imgid=1 imgFormat=3 port={port} type=down"
    )
}

fn usual(version: &str, request: &Request, port: u16) -> Reply {
    match request.path.trim_start_matches("/fog/") {
        "service/getversion.php" => Reply::text(version),
        "service/mc_checkin.php" | "service/Pre_Stage1.php" => Reply::text("##@GO"),
        "service/inventory.php" => Reply::text("Done"),
        "service/progress.php" => Reply::text(""),
        "service/Post_Stage3.php" | "service/blame.php" => Reply::text("##"),
        "service/taskerror.php" if version.contains("mclvm") => Reply::text("##"),
        "service/ipxe/boot.php" => {
            let line = job_line(port);
            Reply::text(&format!("#!ipxe\nkernel bzImage {line} mc=yes\nboot\n"))
        }
        // What a server of FOG answers to a path that it does not have.
        _ => Reply::redirect("http://127.0.0.1/fog/management/index.php"),
    }
}

fn plain() -> Vec<Vec<u8>> {
    vec![samples::stored(1), samples::stored(2)]
}

fn with_records() -> Vec<Vec<u8>> {
    let streams = (1..).zip(plain());
    streams
        .map(|(number, bytes)| with_record(number, &bytes))
        .collect()
}

fn asked(room: &Room, path: &str) -> usize {
    let paths = paths(&room.server);
    paths.iter().filter(|asked| *asked == path).count()
}

#[tokio::test]
async fn a_room_of_each_version_is_deployed() {
    for version in VERSIONS {
        let room = Room::of_version(version, |_| None);
        let streams = if version.contains(caps::STREAM_RECORD) {
            with_records()
        } else {
            plain()
        };
        let sending = room.send(streams);
        assert_eq!(room.deploy().await.unwrap(), Told::Yes, "{version}");
        sending.join().unwrap();
        room.assert_deployed();
        let paths = paths(&room.server);
        let at = |name: &str| paths.iter().position(|path| path == name).unwrap();
        assert!(at("getversion.php") < at("mc_checkin.php"));
        assert!(at("mc_checkin.php") < at("inventory.php"));
        assert_eq!(paths.last().unwrap(), "Post_Stage3.php");
        // Nothing is asked that only our own server has.
        assert!(!paths.iter().any(|path| path.contains("fos/")), "{paths:?}");
        assert!(!paths.contains(&"taskerror.php".to_owned()));
        for request in room.server.requests() {
            if request.path.ends_with("progress.php") {
                let status = request.field("status").unwrap();
                let line = fog::encoding::decode_base64_text(&status).unwrap();
                assert_eq!(line.split('@').nth(6), Some(""), "{line}");
            }
        }
    }
}

/// The chain begins again while this machine has the first stream only.
#[tokio::test]
async fn a_chain_that_is_started_again_is_followed() {
    let room = Room::new(|_| None);
    let [first, second] = plain().try_into().unwrap();
    let sending = room.send(vec![first.clone(), first, second]);
    assert_eq!(room.deploy().await.unwrap(), Told::Yes);
    sending.join().unwrap();
    room.assert_deployed();
}

#[tokio::test]
async fn a_stream_that_is_not_the_wanted_one_is_refused_before_the_first_write() {
    let [first, second] = plain().try_into().unwrap();
    // The file system of another machine: the same header, another content.
    let mut foreign = first;
    foreign[20_000] ^= 1;
    for (stream, words) in [
        (second, "but like d1p2.img"),
        (foreign, "does not begin like the file"),
        (
            b"<html>503 Service Unavailable</html>".repeat(9000),
            "does not begin like",
        ),
    ] {
        let room = Room::new(|_| None);
        let sending = room.send(vec![stream]);
        let failure = room.deploy().await.unwrap_err();
        sending.join().unwrap();
        assert!(failure.text.contains(words), "{}", failure.text);
        assert!(failure.text.contains("nothing"), "{}", failure.text);
        assert!(!failure.is_known_to_server, "1.5.8 takes no failures");
        room.assert_untouched();
        assert_eq!(asked(&room, "Post_Stage3.php"), 0);
    }
}

#[tokio::test]
async fn a_record_of_another_stream_or_none_where_it_was_promised_is_refused() {
    let [_, second] = with_records().try_into().unwrap();
    for (stream, words) in [
        (second, "out of step"),
        (samples::stored(1), "promised a record"),
    ] {
        let room = Room::of_version("mclvm mcstreamid", |_| None);
        let sending = room.send(vec![stream]);
        let failure = room.deploy().await.unwrap_err();
        sending.join().unwrap();
        assert!(failure.text.contains(words), "{}", failure.text);
        assert!(failure.is_known_to_server);
        room.assert_untouched();
    }
}

#[tokio::test]
async fn volumes_need_a_server_that_sends_them() {
    for (version, task, expected) in [
        ("1.5.10", "mc=yes", "does not announce mclvm"),
        ("1.5.10", "port=", "d1p2.lvm.vgcfg is missing"),
        ("mclvm mcstreamid", "mc=yes", "d1p2.lvm.vgcfg is missing"),
    ] {
        let room = Room::of_version(version, move |request| {
            let is_alone = task == "port=" && request.path.ends_with("boot.php");
            is_alone.then(|| {
                let line = job_line(0).replace("port=0 ", "");
                Reply::text(&format!("#!ipxe\nkernel bzImage {line}\nboot\n"))
            })
        });
        let sidecar =
            "LVMFORMAT 1\nPV a /dev/sda2 2048\nVG g b 8\nLV root c 8 ext4 d1p2.root.img -\n";
        std::fs::write(room.image().join("d1p2.lvm"), sidecar).unwrap();
        let [from, to] = ["d1p2.img", "d1p2.root.img"].map(|name| room.image().join(name));
        std::fs::rename(from, to).unwrap();
        let failure = room.deploy_as(task).await.unwrap_err();
        assert!(failure.text.contains(expected), "{}", failure.text);
        room.assert_untouched();
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_leaves_no_table() {
    let room = Room::new(|_| None);
    let [first, mut second] = plain().try_into().unwrap();
    second.truncate(second.len() - 4096);
    let sending = room.send(vec![first, second]);
    let failure = room.deploy().await.unwrap_err();
    sending.join().unwrap();
    assert!(
        failure.text.contains("the stream ended after"),
        "{}",
        failure.text
    );
    let written = std::fs::read(room.disk.path()).unwrap();
    assert!(written[..512].iter().all(|byte| *byte == 0));
    assert_eq!(asked(&room, "Post_Stage3.php"), 0);
}

/// What a server may answer to anything that has broken, or that is none of FOG's.
fn lies() -> Vec<Reply> {
    vec![
        Reply::text(&"#".repeat(1 << 20)),
        Reply::text("\0##\0@GO\0"),
        Reply::text("##@G"),
        Reply::text("## \n<br />"),
        Reply::half("##"),
        Reply::half("##@GO"),
        Reply::redirect("http://127.0.0.1/fog/management/index.php"),
        Reply::status(403, ""),
        Reply::status(500, "##"),
        Reply::text(""),
        Reply::none(),
        Reply::endless("##@GO"),
    ]
}

/// The first answers decide whether anything is written at all.
#[tokio::test]
async fn no_lie_before_the_first_byte_is_taken_for_a_go() {
    for lie in lies() {
        for path in ["getversion.php", "mc_checkin.php", "Pre_Stage1.php"] {
            let shown = format!("{path}: {lie:?}");
            if shown.contains("Never") && path != "mc_checkin.php" {
                // It takes 2 s until that is named.
                continue;
            }
            let answer = lie.clone();
            let room =
                Room::new(move |request| request.path.ends_with(path).then(|| answer.clone()));
            let board = Board::default();
            let more = match path {
                "Pre_Stage1.php" => "port=",
                _ => "mc=yes",
            };
            let named = async {
                while board.read(|state| state.wait.is_none()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                done = room.deploy_on(more, &board) => {
                    let failure = done.expect_err(&shown);
                    assert_eq!(path, "getversion.php", "{shown}: {}", failure.text);
                }
                () = named => {}
            }
            room.assert_untouched();
            assert_eq!(asked(&room, "inventory.php"), 0, "{shown}");
        }
    }
}

/// Whatever is answered afterwards: the disk is complete, and the server's word is needed for nothing but that it knows.
/// Any one machine that is done completes the session of FOG 1.5.8 and the tasks of all.
#[tokio::test]
async fn no_lie_after_the_go_is_a_success_at_the_server_or_a_failure_of_the_disk() {
    for lie in lies() {
        let shown = format!("{lie:?}");
        let is_endless = shown.contains("Never");
        let room = Room::new(move |request| {
            let has_lie = ["boot.php", "inventory.php", "progress.php", "taskerror.php"];
            let is_report = request.path.ends_with("Post_Stage3.php");
            // Each of these would take the time that an answer may.
            let is_waited_for = is_report || request.path.ends_with("boot.php");
            let is_lie = is_report || has_lie.iter().any(|path| request.path.ends_with(path));
            (is_lie && !(is_endless && is_waited_for)).then(|| lie.clone())
        });
        let sending = room.send(plain());
        let told = room.deploy().await.unwrap();
        sending.join().unwrap();
        assert_eq!(told == Told::Yes, is_endless, "{shown}: {told:?}");
        room.assert_deployed();
        assert!(asked(&room, "Post_Stage3.php") > 0);
        assert_eq!(asked(&room, "taskerror.php"), 0);
    }
}

#[tokio::test]
async fn a_share_that_is_not_usable_is_reported_and_nothing_is_written() {
    let room = Room::new(|_| None);
    std::fs::remove_file(room.share.path().join(".mntcheck")).unwrap();
    let failure = room.deploy().await.unwrap_err();
    assert!(failure.text.contains(".mntcheck"), "{}", failure.text);
    assert!(
        failure.text.contains("another storage node"),
        "{}",
        failure.text
    );
    assert!(failure.is_known_to_server);
    assert_eq!(asked(&room, "blame.php"), 1);
    room.assert_untouched();
}

#[tokio::test]
async fn an_image_that_is_missing_incomplete_or_foreign_is_refused() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 6] = [
        (
            |image| std::fs::remove_dir_all(image).unwrap(),
            "no directory lab",
        ),
        (
            |image| std::fs::remove_file(image.join("d1.mbr")).unwrap(),
            "d1.mbr",
        ),
        (
            |image| std::fs::write(image.join("d1p1.img"), "").unwrap(),
            "d1p1.img",
        ),
        (
            |image| std::fs::write(image.join("d1p1.img"), [7; 4096]).unwrap(),
            "d1p1.img",
        ),
        (
            |image| {
                for number in [1, 2] {
                    std::fs::remove_file(image.join(format!("d1p{number}.img"))).unwrap();
                }
            },
            "stream",
        ),
        (
            |image| {
                let from = image.join("d1p2.img");
                std::fs::rename(from, image.join("d1p3.img")).unwrap();
            },
            "d1p3.img",
        ),
    ];
    for (change, words) in changes {
        let room = Room::new(|_| None);
        change(&room.image());
        let failure = room.deploy().await.unwrap_err();
        assert!(failure.text.contains(words), "{words}: {}", failure.text);
        assert_eq!(asked(&room, "blame.php"), 0, "{words}");
        room.assert_untouched();
    }
}

/// Cancelled, and another image deployed, while the machine waited in the queue.
#[tokio::test]
async fn a_machine_that_is_let_in_for_another_image_restarts_untouched() {
    let room = Room::new(|request| {
        let is_script = request.path.ends_with("boot.php");
        is_script.then(|| {
            let line = format!("{} mc=yes img=other imgid=2", job_line(9000));
            Reply::text(&format!("#!ipxe\nkernel bzImage {line}\nboot\n"))
        })
    });
    let failure = room.deploy().await.unwrap_err();
    assert!(failure.needs_restart && failure.is_known_to_server);
    room.assert_untouched();
    // It is not the new task that has failed.
    assert_eq!(asked(&room, "taskerror.php"), 0);
}

#[tokio::test]
async fn one_machine_is_deployed_from_the_share() {
    for is_split in [false, true] {
        let room = Room::new(|request| {
            let is_script = request.path.ends_with("boot.php");
            is_script.then(|| {
                let line = job_line(0).replace("port=0 ", "");
                Reply::text(&format!("#!ipxe\nkernel bzImage {line}\nboot\n"))
            })
        });
        if is_split {
            let whole = samples::stored(2);
            let (one, other) = whole.split_at(70_000);
            std::fs::write(room.image().join("d1p2.img.000"), one).unwrap();
            std::fs::write(room.image().join("d1p2.img.001"), other).unwrap();
            std::fs::remove_file(room.image().join("d1p2.img")).unwrap();
        }
        assert_eq!(room.deploy_as("port=").await.unwrap(), Told::Yes);
        room.assert_deployed();
        assert_eq!(asked(&room, "Pre_Stage1.php"), 1);
        assert_eq!(asked(&room, "mc_checkin.php"), 0);
        assert_eq!(asked(&room, "Post_Stage3.php"), 1);
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_on_the_share_fails_and_leaves_no_table() {
    let room = Room::new(|request| {
        let is_script = request.path.ends_with("boot.php");
        is_script.then(|| {
            let line = job_line(0).replace("port=0 ", "");
            Reply::text(&format!("#!ipxe\nkernel bzImage {line}\nboot\n"))
        })
    });
    let path = room.image().join("d1p2.img");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 5000;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let failure = room.deploy_as("port=").await.unwrap_err();
    assert!(failure.text.contains("d1p2.img"), "{}", failure.text);
    let written = std::fs::read(room.disk.path()).unwrap();
    assert!(written[..512].iter().all(|byte| *byte == 0));
}

/// A machine that the server does not know neither checks in nor reports.
#[tokio::test]
async fn an_unregistered_machine_only_receives() {
    let room = Room::new(|_| None);
    let sending = room.send(plain());
    let told = room.deploy_as("mc=yes capone=1").await.unwrap();
    sending.join().unwrap();
    assert_eq!(told, Told::Yes);
    room.assert_deployed();
    for path in ["mc_checkin.php", "Post_Stage3.php"] {
        assert_eq!(asked(&room, path), 0, "{path}");
    }
}

impl Room {
    /// One that runs these scripts; each may be missing. `None` where the machine lacks something.
    fn with_scripts(init: Option<&str>, download: Option<&str>) -> Option<Self> {
        let is_root = samples::sh("id -u").trim() == "0";
        if !is_root || Tools::installed().find("bash").is_none() {
            let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
            assert!(!is_strict, "needs root and bash");
            return None;
        }
        let mut room = Self::of_version("mclvm mcstreamid", |_| None);
        room.runs_scripts = true;
        for (name, script) in fog::store::SCRIPTS.into_iter().zip([init, download]) {
            let path = room.share.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, script.unwrap_or("# nothing\n")).unwrap();
        }
        Some(room)
    }
}

#[tokio::test]
async fn the_scripts_of_the_share_are_run_at_their_moments() {
    let init = "echo init $img ${hd:-no disk} > ${postinitpath}../../log";
    let download = "echo download $hd $(od -An -tx1 -j510 -N2 $hd) >> ${postdownpath}../log";
    let Some(room) = Room::with_scripts(Some(init), Some(download)) else {
        return;
    };
    let sending = room.send(with_records());
    assert_eq!(room.deploy().await.unwrap(), Told::Yes);
    sending.join().unwrap();
    room.assert_deployed();
    // The disk is bootable by then.
    let log = std::fs::read_to_string(room.share.path().join("log")).unwrap();
    let disk = room.disk.path().display();
    assert_eq!(log, format!("init lab no disk\ndownload {disk} 55 aa\n"));
    assert_eq!(paths(&room.server).last().unwrap(), "Post_Stage3.php");
}

#[tokio::test]
async fn a_script_that_fails_is_named_and_the_task_is_not_complete() {
    let Some(room) = Room::with_scripts(Some("echo no network card\nexit 4"), None) else {
        return;
    };
    let failure = room.deploy().await.unwrap_err();
    for words in [
        "dev/postinitscripts/fog.postinit",
        "exit status 4",
        "no network card",
        "nothing was written",
    ] {
        assert!(failure.text.contains(words), "{}", failure.text);
    }
    room.assert_untouched();

    let room = Room::with_scripts(None, Some("handleError no drivers")).unwrap();
    let sending = room.send(with_records());
    let failure = room.deploy().await.unwrap_err();
    sending.join().unwrap();
    for words in [
        "everything is written and verified, but",
        "fog.postdownload",
        "no drivers",
    ] {
        assert!(failure.text.contains(words), "{}", failure.text);
    }
    assert!(!failure.text.contains("partly"), "{}", failure.text);
    room.assert_deployed();
    assert_eq!(asked(&room, "Post_Stage3.php"), 0);
}

#[tokio::test]
async fn a_script_that_is_not_run_is_said_on_the_screen_and_to_the_server() {
    let Some(mut room) = Room::with_scripts(None, Some("exit 1")) else {
        return;
    };
    room.runs_scripts = false;
    let sending = room.send(with_records());
    let board = Board::default();
    assert_eq!(room.deploy_on("mc=yes", &board).await.unwrap(), Told::Yes);
    sending.join().unwrap();
    let said = board.said().join("\n");
    assert!(
        said.contains("fog.postdownload of the image store is not run"),
        "{said}"
    );
    let requests = room.server.requests();
    let told = requests
        .iter()
        .filter(|request| request.path.ends_with("taskerror.php"));
    let told: Vec<String> = told.filter_map(|request| request.field("text")).collect();
    assert!(
        told.iter().any(|text| text.contains("fog.postdownload")),
        "{told:?}"
    );
}
