//! The options of `partclone.restore`, `partclone.chkimg` and `partimage`, as they are written in the
//! field, given to the original program and to ours: what the original works with, ours does, with the
//! same bytes on the target. What the original answers with its help, and status 0 without having done
//! anything, ours refuses with a status that tells.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use fos_tests::corpus::LoopDevice;
use fos_tests::need::root_and_tools;
use fos_tests::site::program;
use image_writer::{PartimageRecipe, Recipe};

/// How a line is to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Both do the work.
    Works,
    /// The original does not do the work and ends with 0 (most often, with its help); ours ends with
    /// 2, and says what is wrong.
    Wrong,
    /// The original does the work; ours ends with 2.
    NotOurs,
    /// Only ours knows it in this version, and does the work.
    Newer,
    /// Both show something, and end with 0.
    Shows,
}
use Verdict::{Newer, NotOurs, Shows, Works, Wrong};

/// Behind `-L log -O TARGET`, with the image on standard input. Lines are separated by `;`.
const RESTORE: &[(Verdict, &str)] = &[
    (
        Works,
        "-q; -f 1; -f1; -Nf 1; -Nf1; -f1 -Nf 1; -N -f 1; -f x; --UI-fresh 1; --UI-fresh=1; --UI 1; -B; --no_block_detail; \
         --no_b; -qB; -Bqf1",
    ),
    (
        Works,
        "-n note -q; -qn note; -qnnote; --note note -q; --note=note -q; -n note --ignore_crc -Nf 1; -qi; --ignore_crc -q; \
         --ignore_c -q; --ignore_fschk -q; -qI; -qC; --no_check -q; --no_c -q; -qF; --force -q; -iqf1",
    ),
    (
        Works,
        "-q -d; -q -d1; -q --debug; -q --debug=1; -q -z 1048576; -q -z4096; -q --buffer_size 65536; -q -E 0; -q --offset=0; \
         -q -E4096; --skip_write_error -q; --ncurses -q; -q -L other; --logfile=other -q; --quiet",
    ),
    (
        Wrong,
        "-f; -n; -z; -E; --nonsense; -r; -c; -b; -k; --no note; --ignore; -d 1; more; --quiet=1; -q -t; -z 100; -z x; --source",
    ),
    // Passed over by the original. Whoever writes it means something by it.
    (NotOurs, "-q -- more"),
    (
        Newer,
        "-q --prog-second; -q --binary-prefix; -q --write-direct-io; -q --read-direct-io; -qw",
    ),
    (Shows, "--version; -v; --help; -h; --he"),
];

/// Behind `-L log -s IMAGE`.
const CHECK: &[(Verdict, &str)] = &[
    (
        Works,
        "-B; -f 1; -Nf 1; -f1 -Bf 1; -n note; --note=note; -i; --ignore_crc; -C; --no_check; -F; -d1; -z 4096; --logfile other",
    ),
    (Wrong, "-O x; -q; -E 0; -w; -I; --nonsense; more; -f"),
    (Shows, "--version; --help"),
];

struct Scene {
    directory: tempfile::TempDir,
    agent: PathBuf,
}

/// How a program ended: status, words, bytes of its target.
#[derive(Debug)]
struct End {
    code: Option<i32>,
    said: String,
    target: Vec<u8>,
}

const TARGET_LEN: usize = 3 << 20;
const FILL: u8 = 0xa5;

fn content(number: u64) -> Vec<u8> {
    (number * 77 + 5).to_le_bytes().repeat(128)
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            directory: tempfile::tempdir().unwrap(),
            agent: program("fos-agent"),
        };
        let used: Vec<bool> = (0..2000)
            .map(|block| block % 5 > 1 && block < 1990)
            .collect();
        let image = Recipe::v2(1024, used.clone()).write(content);
        fs::write(scene.path("image"), image).unwrap();
        let image = PartimageRecipe::new(1024, used).write(content);
        fs::write(scene.path("other"), image).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// In a directory of its own. The original asks the terminal for its size, and draws when told to.
    fn end(&self, is_ours: bool, line: &str, image: &Path) -> End {
        let place = tempfile::tempdir_in(self.directory.path()).unwrap();
        let target = place.path().join("target");
        fs::write(&target, vec![FILL; TARGET_LEN]).unwrap();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", "30", "setsid", "--wait"]);
        if is_ours {
            command.arg(&self.agent);
        }
        for word in line.split_whitespace() {
            match word {
                "IMAGE" => command.arg(image),
                "TARGET" => command.arg(&target),
                word => command.arg(word),
            };
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let output = command
            .current_dir(place.path())
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("TERM", "linux")
            .env("LC_ALL", "C")
            .stdin(File::open(image).unwrap())
            .output()
            .unwrap();
        let said = [output.stderr, output.stdout].concat();
        End {
            code: output.status.code(),
            said: String::from_utf8_lossy(&said).into_owned(),
            target: fs::read(&target).unwrap(),
        }
    }
}

impl End {
    /// What the line was for has been done.
    fn has_worked(&self, is_check: bool) -> bool {
        let is_done = match is_check {
            true => self.said.contains("Checked successfully."),
            false => self.target.iter().any(|byte| *byte != FILL),
        };
        is_done && self.code == Some(0)
    }
}

fn is_met(verdict: Verdict, original: &End, ours: &End, is_check: bool) -> bool {
    let works = |end: &End| end.has_worked(is_check);
    let is_idle = |end: &End, code| {
        end.code == Some(code)
            && end.target.iter().all(|byte| *byte == FILL)
            && !end.said.is_empty()
    };
    match verdict {
        Works => works(original) && works(ours) && original.target == ours.target,
        Wrong => is_idle(original, 0) && is_idle(ours, 2),
        NotOurs => works(original) && is_idle(ours, 2),
        Newer => is_idle(original, 0) && works(ours),
        Shows => is_idle(original, 0) && is_idle(ours, 0),
    }
}

#[test]
fn options_of_partclone_do_what_they_do_in_the_original() {
    if !root_and_tools(&["partclone.restore", "partclone.chkimg", "setsid", "timeout"]) {
        return;
    }
    let scene = Scene::new();
    let mut work = Vec::new();
    for (front, is_check, table) in [
        ("partclone.restore -L log -O TARGET", false, RESTORE),
        ("partclone.chkimg -L log -s IMAGE", true, CHECK),
    ] {
        for (verdict, lines) in table {
            for line in lines.split(';') {
                work.push((*verdict, format!("{front} {}", line.trim()), is_check));
            }
        }
    }
    let (work, wrong) = (Mutex::new(work), Mutex::new(Vec::new()));
    let image = scene.path("image");
    // The original takes three seconds for a failure.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some((verdict, line, is_check)) = work.lock().unwrap().pop() else {
                        return;
                    };
                    let [original, ours] = [false, true].map(|is_ours| scene.end(is_ours, &line, &image));
                    if !is_met(verdict, &original, &ours, is_check) {
                        wrong.lock().unwrap().push(format!(
                            "{line}: {verdict:?}, same target: {}\n original: {:?} {}\n ours: {:?} {}",
                            original.target == ours.target,
                            original.code,
                            original.said,
                            ours.code,
                            ours.said
                        ));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Good and bad images, in the ways in which the options are written.
#[test]
fn partimage_ends_as_the_original_does() {
    if !root_and_tools(&["partimage", "losetup", "setsid", "timeout"]) {
        return;
    }
    let scene = Scene::new();
    let image = fs::read(scene.path("other")).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(scene.path(name), bytes).unwrap();
    put("cut", &image[..image.len() / 2]);
    put("junk", &content(3));
    let mut damaged = image.clone();
    damaged[image.len() / 2] ^= 1;
    put("damaged", &damaged);
    let expected = |name: &str| name == "other";
    for (line, name) in [
        ("-f3 -b restore DEVICE stdin", "other"),
        ("restore DEVICE stdin -f3 -b", "other"),
        ("-bf3 restore DEVICE stdin", "other"),
        ("-b -f 3 restore DEVICE stdin", "other"),
        ("--batch --finish=3 restore DEVICE stdin", "other"),
        ("-f3 -b restore DEVICE IMAGE", "other"),
        ("-f3 -b restore DEVICE stdin", "cut"),
        ("-f3 -b restore DEVICE stdin", "junk"),
        ("-f3 -b restore DEVICE stdin", "damaged"),
    ] {
        let image = scene.path(name);
        let mut targets = Vec::new();
        for is_ours in [false, true] {
            let file = scene.path("disk");
            fs::write(&file, vec![FILL; TARGET_LEN]).unwrap();
            let Some(device) = LoopDevice::new(&file) else {
                return;
            };
            let line = format!("partimage {}", line.replace("DEVICE", device.path()));
            let end = scene.end(is_ours, &line, &image);
            device.flush();
            drop(device);
            let is_success = end.code == Some(0);
            assert_eq!(
                is_success,
                expected(name),
                "ours {is_ours}: {line} {name}: {}",
                end.said
            );
            targets.push(fs::read(&file).unwrap());
        }
        assert!(
            !expected(name) || targets[0] == targets[1],
            "{line}: other bytes"
        );
    }
    // A terminal is not needed.
    let output = Command::new(&scene.agent)
        .args(["partimage", "--help"])
        .env_remove("TERM")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
}

#[test]
fn wrong_usage_has_one_status_and_that_of_the_original_where_one_is_replaced() {
    let lines = [
        ("fos-agent nonsense", 2),
        ("fos-agent restore", 2),
        ("fos-agent restore only-one", 2),
        ("fos-agent receive --nonsense", 2),
        ("fos-agent plan --nonsense", 2),
        ("fos-agent deploy", 2),
        ("fos-server nonsense", 2),
        ("fos-server deploy", 2),
        ("fos-server deploy lab LAB-01 --max-wait 1h", 2),
        ("fos-agent partclone.restore --nonsense", 2),
        ("fos-agent partclone.info --nonsense", 2),
        ("fos-agent partclone.chkimg --nonsense", 2),
        ("fos-agent partimage --nonsense", 1),
        ("fos-agent udp-receiver --nonsense", 1),
        ("fos-agent udp-sender --nonsense", 1),
        ("fos-server udp-sender --nonsense", 1),
    ];
    for (line, status) in lines {
        let mut words = line.split(' ');
        let output = Command::new(program(words.next().unwrap()))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{line}: {said}");
        assert_eq!(output.stdout, b"", "{line}");
    }
}
