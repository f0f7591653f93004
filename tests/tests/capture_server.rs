//! Captures: the real server, a real image (made by the original partclone, zstd and sfdisk) that a double of a client
//! sends with curl, and real agents that deploy it afterwards.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::need::root_and_tools;
use fos_tests::netns::{Running, wait_for};
use fos_tests::shell::sh;
use fos_tests::site::{DISK_LEN, Site, assert_deployed, mac, program, search_path, source};
use serde_json::{Value, json};

/// Files of the image that every site has: what a capture of its source disk sends.
fn files() -> BTreeMap<String, Vec<u8>> {
    in_dir(&source().join("store"))
}

/// A client of the contract on the host of machine 1.
struct Client<'a> {
    site: &'a Site,
    identity: String,
}

impl<'a> Client<'a> {
    /// Boots and is told to go.
    fn boot(site: &'a Site) -> Self {
        let arguments = site.kernel_arguments(1);
        assert!(arguments.contains(" type=up "), "{arguments}");
        let ticket = arguments.split("fosticket=").nth(1).unwrap();
        let ticket = ticket.split_whitespace().next().unwrap();
        let identity = format!("mac={}&ticket={ticket}", mac(1));
        let client = Self { site, identity };
        client.check_in();
        client
    }

    fn check_in(&self) {
        let form = format!("{}&type=up&agent=fos-agent/0.1.0", self.identity);
        assert_eq!(self.site.post(1, "service/Pre_Stage1.php", &form), "##@GO");
    }

    /// Status and body; nothing while no server runs. Asks again, as an agent does, when it is told to.
    fn ask(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: Option<&Path>,
    ) -> Option<(u16, String)> {
        let mut answer = None;
        wait_for("an answer to the client", || {
            answer = self.ask_once(method, path, query, body);
            !matches!(answer, Some((503, _)))
        });
        answer
    }

    fn ask_once(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: Option<&Path>,
    ) -> Option<(u16, String)> {
        let url = format!(
            "http://10.99.0.1/fog/service/fos/{path}?{}&{query}",
            self.identity
        );
        let mut command = self.site.lab().host(2).command("curl");
        command.args([
            "-s",
            "--max-time",
            "30",
            "-w",
            "\n%{http_code}",
            "-X",
            method,
        ]);
        if let Some(body) = body {
            command.arg("-H").arg("expect:");
            command
                .arg("--data-binary")
                .arg(format!("@{}", body.display()));
        }
        let output = command.arg(url).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n')?;
        match status.parse().unwrap() {
            0 => None,
            status => Some((status, body.to_owned())),
        }
    }

    fn json(&self, method: &str, path: &str, query: &str, body: Option<&Value>) -> Option<Value> {
        let file = self.site.path("body.json");
        if let Some(body) = body {
            fs::write(&file, body.to_string()).unwrap();
        }
        let (status, text) = self.ask(method, path, query, body.map(|_| file.as_path()))?;
        assert_eq!(status, 200, "{text}");
        Some(serde_json::from_str(&text).unwrap())
    }

    fn begin(&self, files: &BTreeMap<String, Vec<u8>>) -> String {
        let sizes: usize = files.values().map(Vec::len).sum();
        let offered: Vec<Value> = files
            .iter()
            .map(|(name, bytes)| json!({"name": name, "at_most": bytes.len()}))
            .collect();
        let offer = json!({
            "image_type": "single-disk",
            "disks": [{"size": DISK_LEN, "sector_size": 512, "model": "A disk"}],
            "files": offered,
            "at_most": sizes,
        });
        let terms = self.json("POST", "capture", "", Some(&offer)).unwrap();
        terms["upload"].as_str().unwrap().to_owned()
    }

    /// Sends a piece; how many bytes of the file are on the server's disk. Nothing while no server runs.
    fn put(&self, upload: &str, name: &str, at: usize, piece: &[u8]) -> Option<u64> {
        let file = self.site.path("piece");
        fs::write(&file, piece).unwrap();
        let hash = blake3::hash(piece);
        let query = format!("upload={upload}&name={name}&offset={at}&blake3={hash}");
        let (status, text) = self.ask("PUT", "capture/data", &query, Some(&file))?;
        let stored: Value =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        assert!(status == 200 || status == 409, "{text}");
        let stored = stored["stored"].as_u64();
        Some(stored.unwrap_or_else(|| panic!("{status}: {text}")))
    }

    fn end(&self, upload: &str, files: &BTreeMap<String, Vec<u8>>) -> Option<Value> {
        let sent: Vec<Value> = files
            .iter()
            .map(|(name, bytes)| {
                json!({"name": name, "len": bytes.len(), "blake3": blake3::hash(bytes).to_string()})
            })
            .collect();
        let query = format!("upload={upload}");
        self.json(
            "POST",
            "capture/end",
            &query,
            Some(&json!({ "files": sent })),
        )
    }

    fn look(&self, upload: &str) -> Option<Value> {
        self.json("GET", "capture", &format!("upload={upload}"), None)
    }
}

fn assert_same(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in files {
        assert!(fs::read(dir.join(name)).unwrap() == *bytes, "{name}");
    }
}

/// Deploys an image to machine 2, by its agent.
fn assert_can_be_deployed(site: &Site, image: &str) {
    site.cli(&["deploy", image, "pc2", "--unicast"]).succeed();
    let disk = site.empty_disk("deployed.raw", DISK_LEN);
    let mut agent = site.start_agent(2, &disk);
    agent.succeed();
    assert_deployed(&disk);
}

#[test]
fn what_was_captured_is_deployed_though_the_server_is_killed_at_every_piece() {
    let Some(mut site) = Site::new(2) else { return };
    site.cli(&["capture", "pc1", "fresh"]).succeed();
    let files = files();
    let upload = {
        let client = Client::boot(&site);
        client.begin(&files)
    };
    let identity = Client::boot(&site).identity;
    // Each file in three pieces; the server is killed while each is on its way, or just after.
    let mut kills = 0;
    for (name, bytes) in &files {
        let step = bytes.len().div_ceil(3).max(1);
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + step).min(bytes.len());
            if kills < 8 {
                kills += 1;
                // In the middle of the piece: half of it is sent by a client that nobody answers.
                let pid = site.server().id();
                let client = Client {
                    site: &site,
                    identity: identity.clone(),
                };
                std::thread::scope(|scope| {
                    scope.spawn(|| client.put(&upload, name, at, &bytes[at..end]));
                    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
                    assert!(killed.unwrap().success());
                });
                site.start_server();
            }
            let client = Client {
                site: &site,
                identity: identity.clone(),
            };
            let stored = client.put(&upload, name, at, &bytes[at..end]).unwrap();
            let stored = usize::try_from(stored).unwrap();
            assert!(stored >= end || stored <= at, "{name}: {stored}");
            at = stored;
        }
    }
    let client = Client {
        site: &site,
        identity: identity.clone(),
    };
    let view = client.end(&upload, &files).unwrap();
    assert_ne!(view["stage"], "receiving");
    // Killed while it verifies and publishes, again and again.
    for _ in 0..6 {
        site.server().kill();
        let place = site.path("images/fresh");
        if place.exists() {
            assert_same(&place, &files);
        }
        site.start_server();
    }
    let client = Client {
        site: &site,
        identity,
    };
    wait_for("the image to be published", || {
        let view = client.look(&upload).unwrap();
        assert_ne!(view["stage"], "failed", "{view}");
        view["stage"] == "published"
    });
    assert_same(&site.path("images/fresh"), &files);
    let done = format!("{}&type=up", client.identity);
    wait_for("the end of the task", || {
        site.post(1, "service/Post_Stage2.php", &done) == "##"
    });
    assert_can_be_deployed(&site, "fresh");
    assert_left(&site.path("images"));
}

/// Of uploads only their records are left.
fn assert_left(images: &Path) {
    let arriving = images.join(".fos/arriving");
    for entry in fs::read_dir(arriving).unwrap() {
        let dir: PathBuf = entry.unwrap().path();
        let names: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["record.json"], "{}", dir.display());
    }
}

#[test]
fn a_capture_replaces_an_image_and_the_former_one_comes_back() {
    let Some(site) = Site::new(2) else { return };
    let former = files();
    site.cli(&["capture", "pc1", "small", "--zstd", "9"])
        .succeed();
    let busy = site.cli(&["capture", "pc2", "small"]);
    assert!(busy.fail().contains("is being captured already"));
    let client = Client::boot(&site);
    // The same file systems, packed otherwise.
    let mut files = former.clone();
    for (name, bytes) in &mut files {
        if name.ends_with(".img") {
            *bytes = packed_again(&site.path("stream"), bytes);
        }
    }
    let upload = client.begin(&files);
    for (name, bytes) in &files {
        for (number, piece) in bytes.chunks(1 << 20).enumerate() {
            let at = number << 20;
            let stored = client.put(&upload, name, at, piece).unwrap();
            assert_eq!(stored, (at + piece.len()) as u64);
        }
    }
    assert_same(&site.path("images/small"), &former);
    client.end(&upload, &files).unwrap();
    wait_for("the image to be published", || {
        client.look(&upload).unwrap()["stage"] == "published"
    });
    assert_same(&site.path("images/small"), &files);
    assert_can_be_deployed(&site, "small");
    let versions = site.cli(&["image", "versions", "small"]).succeed();
    assert!(versions.contains("captured from pc1"), "{versions}");
    site.cli(&["image", "revert", "small", "1"]).succeed();
    assert_same(&site.path("images/small"), &former);
    site.cli(&["image", "verify", "small"]).succeed();
    let unasked = site.cli(&["image", "delete", "small"]).fail();
    assert!(unasked.contains("--yes"), "{unasked}");
    site.cli(&["image", "rename", "small", "tiny"]).succeed();
    site.cli(&["image", "note", "tiny", "of the tests"])
        .succeed();
    site.cli(&["image", "delete", "tiny", "--yes"]).succeed();
    assert!(!site.path("images/small").exists());
}

/// The same stream, compressed with another level by the original program.
fn packed_again(file: &Path, bytes: &[u8]) -> Vec<u8> {
    fs::write(file, bytes).unwrap();
    let script = "zstd -dc \"$0\" | zstd -c -9";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_full_disk_stops_a_capture_and_harms_no_image() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    let images = site.path("images");
    let _small = SmallDisk::over(&images);
    site.start_server();
    site.cli(&["image", "add", "small"]).succeed();
    site.cli(&["capture", "pc1", "small"]).succeed();
    let former = files();
    let client = Client::boot(&site);
    // Too little room from the beginning.
    let offer = json!({
        "image_type": "single-disk",
        "disks": [{"size": DISK_LEN, "sector_size": 512}],
        "files": [{"name": "d1p1.img", "at_most": 1_u64 << 40}],
        "at_most": 1_u64 << 40,
    });
    let file = site.path("offer.json");
    fs::write(&file, offer.to_string()).unwrap();
    let (status, text) = client.ask("POST", "capture", "", Some(&file)).unwrap();
    assert_eq!(status, 507, "{text}");
    assert!(text.contains("\"room\""), "{text}");
    // The room is taken by somebody else in the middle.
    let upload = client.begin(&former);
    let filler = images.join("filler");
    fill(&filler);
    let piece = site.path("piece");
    fs::write(&piece, &former["d1p1.img"]).unwrap();
    let hash = blake3::hash(&former["d1p1.img"]);
    let query = format!("upload={upload}&name=d1p1.img&offset=0&blake3={hash}");
    let (status, text) = client
        .ask("PUT", "capture/data", &query, Some(&piece))
        .unwrap();
    assert_eq!(status, 507, "{text}");
    assert_same(&images.join("small"), &former);
    site.cli(&["image", "verify", "small"]).succeed();
    // There is room again, and it goes on.
    fs::remove_file(&filler).unwrap();
    for (name, bytes) in &former {
        for (number, piece) in bytes.chunks(1 << 20).enumerate() {
            let end = (number << 20) + piece.len();
            let stored = client.put(&upload, name, number << 20, piece);
            assert_eq!(stored, Some(end as u64));
        }
    }
    client.end(&upload, &former).unwrap();
    wait_for("the image to be published", || {
        let view = client.look(&upload).unwrap();
        assert_ne!(view["stage"], "failed", "{view}");
        view["stage"] == "published"
    });
}

/// Takes all the room that there is.
fn fill(path: &Path) {
    use std::io::Write as _;

    let mut file = fs::File::create(path).unwrap();
    for len in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
}

/// A file system of 160 MiB, in memory, with what was in a directory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn over(path: &Path) -> Self {
        let kept = path.with_extension("kept");
        fs::rename(path, &kept).unwrap();
        fs::create_dir(path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
            .arg(path)
            .status();
        assert!(mounted.unwrap().success());
        let disk = Self(path.to_owned());
        let copied = Command::new("cp")
            .arg("-a")
            .arg(kept.join("."))
            .arg(path)
            .status();
        assert!(copied.unwrap().success());
        disk
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may use it until the site is gone, a moment later.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// The whole way with our own two programs: a disk is captured by hand, with a token; what arrived is deployed to
/// another machine, and the disk was only read.
#[test]
fn our_agent_captures_by_hand() {
    let Some(site) = Site::new(2) else { return };
    let disk = site.path("master.raw");
    fs::copy(source().join("disk.raw"), &disk).unwrap();
    let before = fs::read(&disk).unwrap();
    capture_by_hand(&site, &disk, "by-hand", "mps");
    assert_can_be_deployed(&site, "by-hand");
    assert!(fs::read(&disk).unwrap() == before, "the disk was changed");
    assert_left(&site.path("images"));
}

/// With a token, on machine 1.
#[track_caller]
fn capture_by_hand(site: &Site, disk: &Path, image: &str, image_type: &str) {
    let token = site
        .cli(&["token", "add", "shell", "--role", "admin"])
        .succeed();
    let token_file = site.path("token");
    fs::write(&token_file, token.trim()).unwrap();
    let mut command = site.lab().host(2).command(program("fos-agent"));
    command
        .arg("capture")
        .arg(disk)
        .args(["--to", "http://10.99.0.1/fog/", "--image", image])
        .args(["--type", image_type, "--token-file"])
        .arg(&token_file)
        .env("PATH", search_path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// NTFS, swap, and an ext4 at the end.
const RESIZABLE: &str = "
truncate -s 340M master.raw
sfdisk -q master.raw <<'END'
label: gpt
2048,204800,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
206848,32768,S
239616,409600,L
END
seq 1 300000 > text
mkdir tree
cp text tree/
head -c 5000000 /dev/urandom > tree/noise
truncate -s 100M p1; mkfs.ntfs -q -F -f p1 > log 2>&1; ntfscp -q p1 text text
truncate -s 16M p2; mkswap -q -U 0c0ffee0-0000-4000-8000-00000000abcd p2 > log
truncate -s 200M p3; mkfs.ext4 -q -F -d tree p3
part() { dd if=$1 of=master.raw bs=512 seek=$2 conv=notrunc,sparse status=none; rm $1; }
part p1 2048; part p2 206848; part p3 239616";

/// As FOG's own client does it, on a smaller disk: the table by `sfdisk` from the smallest one of the image, with its last
/// partition up to the end; each stream by `udp-receiver | zstd -dc | partclone.restore`; and then the file systems are grown.
#[test]
fn a_resizable_capture_is_deployed_by_the_original_programs() {
    let tools = [
        "mkfs.ntfs",
        "ntfscp",
        "ntfscat",
        "ntfsresize",
        "resize2fs",
        "debugfs",
        "mkswap",
        "sfdisk",
    ];
    if !root_and_tools(&tools) {
        return;
    }
    let Some(site) = Site::new(2) else { return };
    let here = site.path("");
    sh(&here, RESIZABLE);
    // The image is to have an operating system, which a task says.
    let task = site.cli(&["capture", "pc1", "original", "--type", "n", "--os", "50"]);
    let task = task.succeed();
    site.cli(&["cancel", "--task", task.trim()]).succeed();
    capture_by_hand(&site, &site.path("master.raw"), "original", "n");
    let sizes = sh(
        &here,
        "truncate -s 240M to.raw
         sed '/^first-lba/d; /^last-lba/d; $s/ size= *[0-9]*,//' images/original/d1.minimum.partitions |
             sfdisk -q to.raw
         sfdisk -d to.raw | sed -n 's/.*[13] : start=.*size= *\\([0-9]*\\),.*/\\1/p'",
    );
    let lens: Vec<u64> = sizes
        .lines()
        .map(|sectors| sectors.parse::<u64>().unwrap() * 512)
        .collect();
    assert_eq!(lens.len(), 2, "{sizes}");
    // So small an NTFS keeps its size; the second has what is left of the disk.
    assert_eq!(lens[0], 100 << 20, "{sizes}");
    assert!((100 << 20..200 << 20).contains(&lens[1]), "{sizes}");
    let session = site.deploy_image("original", &["pc2"], &[]);
    site.start_stock_client_onto(2, &lens).succeed();
    site.wait_for_state(&session, "complete");
    sh(
        &here,
        "ntfsresize -f -i -P pc2-stock1.raw > log
         ntfscat pc2-stock1.raw text | cmp - text
         e2fsck -f -n pc2-stock2.raw > log
         resize2fs pc2-stock2.raw > log 2>&1
         e2fsck -f -n pc2-stock2.raw > log
         mkdir out
         debugfs -R 'rdump / out' pc2-stock2.raw 2> log
         rmdir out/lost+found
         diff -r tree out
         grep -qx '2 0c0ffee0-0000-4000-8000-00000000abcd' images/original/d1.original.swapuuids",
    );
    // It has grown to what there is of its partition.
    let blocks = sh(
        &here,
        "dumpe2fs -h pc2-stock2.raw 2> log | sed -n 's/^Block count: *//p; s/^Block size: *//p'",
    );
    let len: u64 = blocks.lines().map(|n| n.parse::<u64>().unwrap()).product();
    assert!(len > lens[1] - (1 << 20), "{len} of {}", lens[1]);
}

/// Where an agent is killed.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// It looks at the disk; the server knows nothing yet.
    Looking,
    /// The server has agreed to take the image.
    Offered,
    /// One stream is on the server's disk, and the next one is half read.
    Half,
    /// Everything is read, and not all is sent.
    Read,
    /// The server has all of it, and has taken the end.
    Sent,
}

/// An agent that captures a disk by hand, and can be held at one of its programs.
struct ByHand<'a> {
    site: &'a Site,
    disk: PathBuf,
    /// The number of a program that waits for ever.
    held: PathBuf,
}

impl<'a> ByHand<'a> {
    fn new(site: &'a Site) -> Self {
        let disk = site.path("master.raw");
        fs::copy(source().join("disk.raw"), &disk).unwrap();
        let token = site
            .cli(&["token", "add", "shell", "--role", "admin"])
            .succeed();
        fs::write(site.path("token"), token.trim()).unwrap();
        let bin = site.path("held-programs");
        fs::create_dir(&bin).unwrap();
        let real = Command::new("sh")
            .args(["-c", "command -v partclone.extfs"])
            .env("PATH", search_path())
            .output()
            .unwrap();
        let real = String::from_utf8(real.stdout).unwrap();
        let held = site.path("held.pid");
        let program_text = format!(
            "#!/bin/sh\n\
             {} \"$@\" | head -c \"$FOS_TEST_HOLD\"\n\
             echo $$ > {held}.new; mv {held}.new {held}\n\
             exec sleep infinity\n",
            real.trim(),
            held = held.display()
        );
        let stand_in = bin.join("partclone.extfs");
        fs::write(&stand_in, program_text).unwrap();
        let made = Command::new("chmod").arg("+x").arg(&stand_in).status();
        assert!(made.unwrap().success());
        Self::known(site)
    }

    /// The same, made before.
    fn known(site: &'a Site) -> Self {
        Self {
            site,
            disk: site.path("master.raw"),
            held: site.path("held.pid"),
        }
    }

    /// With `hold`, partclone goes on for so many bytes, and no further.
    fn start(&self, hold: Option<u64>) -> Running {
        let mut command = self.site.lab().host(2).command(program("fos-agent"));
        command
            .arg("capture")
            .arg(&self.disk)
            .args(["--to", "http://10.99.0.1/fog/", "--image", "by-hand"])
            .args(["--type", "mps", "--token-file"])
            .arg(self.site.path("token"));
        let bin = self.site.path("held-programs");
        match hold {
            Some(bytes) => command
                .env("FOS_TEST_HOLD", bytes.to_string())
                .env("PATH", format!("{}:{}", bin.display(), search_path())),
            None => command.env("PATH", search_path()),
        };
        Running::start("agent", &mut command, &self.site.path("agent.out"))
    }

    /// Directories of what arrives, or has arrived.
    fn arrivals(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.site.path("images/.fos/arriving"));
        let entries = entries.into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// How far one of them is; nothing if that is gone.
    fn record(&self, dir: &Path) -> Value {
        // It is replaced by a rename, and may be gone with its directory.
        let text = fs::read(dir.join("record.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn has_reached(&self, stage: Stage) -> bool {
        let arrivals = self.arrivals();
        let is_held = self.held.exists();
        match stage {
            Stage::Looking => is_held && arrivals.is_empty(),
            Stage::Offered => arrivals.iter().any(|dir| dir.join("record.json").exists()),
            Stage::Half => {
                let half = |dir: &PathBuf| {
                    let found = fs::metadata(dir.join("files/d1p1.img"));
                    found.is_ok_and(|found| found.len() > 0)
                };
                is_held && arrivals.iter().any(half)
            }
            Stage::Read => is_held && !arrivals.is_empty(),
            Stage::Sent => arrivals.iter().any(|dir| {
                let stage = &self.record(dir)["stage"];
                stage != "receiving" && !stage.is_null()
            }),
        }
    }

    /// What was held goes.
    fn let_go(&self) {
        if let Ok(pid) = fs::read_to_string(&self.held) {
            let killed = Command::new("kill").args(["-9", pid.trim()]).status();
            assert!(killed.unwrap().success());
            fs::remove_file(&self.held).unwrap();
        }
    }

    /// Whoever has killed an agent comes back ten minutes later: what arrived is as old.
    fn ten_minutes_pass(&self) {
        for dir in self.arrivals() {
            let files = fs::read_dir(dir.join("files")).into_iter().flatten();
            for file in files {
                let touched = Command::new("touch")
                    .args(["-d", "10 minutes ago"])
                    .arg(file.unwrap().path())
                    .status();
                assert!(touched.unwrap().success());
            }
        }
    }
}

/// The server sees an agent no more; what was there before is whole, and nothing is left of it after the next one.
#[test]
fn a_killed_agent_harms_no_image_and_no_disk_and_the_next_capture_leaves_nothing_of_it() {
    for (stage, hold) in [
        (Stage::Looking, Some(0)),
        (Stage::Offered, None),
        (Stage::Half, Some(7_000_000)),
        (Stage::Read, Some(1 << 40)),
        (Stage::Sent, None),
    ] {
        let Some(mut site) = Site::new(2) else { return };
        let images = site.path("images");
        let place = images.join("by-hand");
        let (before, former) = {
            let by_hand = ByHand::new(&site);
            by_hand.start(None).succeed();
            let before = fs::read(&by_hand.disk).unwrap();
            (before, in_dir(&place))
        };
        for dir in fs::read_dir(images.join(".fos/arriving")).unwrap() {
            fs::remove_dir_all(dir.unwrap().path()).unwrap();
        }
        site.server().kill();
        site.start_server();
        {
            let by_hand = ByHand::known(&site);
            let mut agent = by_hand.start(hold);
            wait_for(&format!("{stage:?}"), || {
                let has_ended = agent.has_ended();
                let has_reached = by_hand.has_reached(stage);
                assert!(
                    has_reached || !has_ended,
                    "it ended before {stage:?}: {}",
                    agent.messages()
                );
                has_reached
            });
            agent.kill();
            by_hand.let_go();
            assert!(fs::read(&by_hand.disk).unwrap() == before, "{stage:?}");
            assert_same(&place, &former);
            if matches!(stage, Stage::Sent) {
                // The server needs nobody for what is left to do.
                wait_for("the image to be published", || {
                    let arrivals = by_hand.arrivals();
                    arrivals
                        .iter()
                        .all(|dir| by_hand.record(dir)["stage"]["published"].is_object())
                });
            }
            site.cli(&["image", "check", "by-hand"]).succeed();
            by_hand.ten_minutes_pass();
        }
        site.server().kill();
        site.start_server();
        let by_hand = ByHand::known(&site);
        by_hand.start(None).succeed();
        assert!(fs::read(&by_hand.disk).unwrap() == before, "{stage:?}");
        assert_left(&images);
        site.cli(&["image", "verify", "by-hand"]).succeed();
        if matches!(stage, Stage::Sent) {
            assert_can_be_deployed(&site, "by-hand");
        }
    }
}

fn in_dir(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    fs::read_dir(dir).unwrap().map(read).collect()
}

/// Before anybody goes to the machine: the boot files, and what no deploy would take.
#[test]
fn who_begins_a_capture_hears_what_would_fail() {
    if !root_and_tools(&["cpio", "xz", "zstd"]) {
        return;
    }
    let Some(site) = Site::new(2) else { return };
    let programs = "mkdir -p root/usr/sbin; cd root
        for name in apfs btrfs exfat extfs f2fs fat hfsp ntfs xfs; do echo > usr/sbin/partclone.$name; done
        cd ..; pack() { (cd root; find . | cpio --quiet -o -H newc) | $1 > boot/init.xz; }";
    let mut number = 0;
    let mut said = |packing: &str| {
        sh(&site.path(""), &format!("{programs}; {packing}"));
        number += 1;
        let image = format!("image{number}");
        let (task, said) = site.cli(&["capture", "pc1", &image]).both();
        site.cli(&["cancel", "--task", task.trim()]).succeed();
        said
    };
    for packer in ["xz --check=crc32", "zstd", "cat"] {
        let all = said(&format!("pack '{packer}'"));
        assert!(!all.contains("warning"), "{packer}: {all}");
        let lacking = said(&format!("rm root/usr/sbin/partclone.ntfs; pack '{packer}'"));
        assert!(
            lacking.contains("(partclone.ntfs)") && lacking.contains("boot-files --capture"),
            "{packer}: {lacking}"
        );
    }
    // What cannot be looked into is no reason to warn.
    let unknown = said("echo something else > boot/init.xz");
    assert!(!unknown.contains("warning"), "{unknown}");
    let missing = said("rm boot/init.xz");
    assert!(missing.contains("is missing"), "{missing}");

    let refused = site.cli(&["capture", "pc2", "fitted", "--type", "n"]);
    assert!(refused.fail().contains("--os"));
    let list = site.cli(&["image", "list"]).succeed();
    assert!(!list.contains("fitted"), "{list}");
    site.cli(&["capture", "pc2", "fitted", "--type", "n", "--os", "50"])
        .succeed();
}
