//! The lines that are typed in the field, from the image's file to the device, with the programs at
//! their ends: each of them the original or ours, by a link of the original's name or by a word in
//! front.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::corpus::LoopDevice;
use fos_tests::need::root_and_tools;
use fos_tests::netns::{Lab, Running};
use fos_tests::site;
use fos_tests::stream::payload;
use fos_tests::terminal::Typist;
use image_writer::PartimageRecipe;

const TOOLS: [&str; 15] = [
    "bash",
    "gunzip",
    "gzip",
    "losetup",
    "mkfifo",
    "mkfs.ext4",
    "partclone.ext4",
    "partclone.restore",
    "partimage",
    "script",
    "setsid",
    "stty",
    "udp-receiver",
    "udp-sender",
    "zstdmt",
];

/// How ours is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A link with the original's name, found before the original.
    Link,
    /// `fos-agent NAME`.
    Word,
    /// `fos-server NAME`.
    Server,
}
use Way::{Link, Server, Word};

/// The programs that are ours in a line, and how they are called.
type Ours = (Way, &'static [&'static str]);

const NONE: Ours = (Link, &[]);
const SENDERS: [Ours; 4] = [
    NONE,
    (Link, &["udp-sender"]),
    (Word, &["udp-sender"]),
    (Server, &["udp-sender"]),
];

/// Host 1 has the image, the others the disks.
struct Field {
    directory: tempfile::TempDir,
    lab: Lab,
    /// Of every device.
    len: usize,
    count: usize,
}

const FILL: u8 = 0xa5;

impl Field {
    /// With a partclone image `ext4.img`, as it is stored, and the device that the original makes of it.
    fn new(receivers: u8) -> Option<(Self, Vec<u8>)> {
        if !root_and_tools(&TOOLS) {
            return None;
        }
        let field = Self {
            lab: Lab::new(receivers + 1, &[])?,
            directory: tempfile::tempdir().unwrap(),
            len: 16 << 20,
            count: 0,
        };
        let content = field.path("content");
        fs::create_dir(&content).unwrap();
        fs::write(content.join("file"), payload(5_000_000)).unwrap();
        for line in [
            "truncate -s 16M ext4.raw",
            "mkfs.ext4 -q -F -d content ext4.raw",
            "partclone.ext4 -L log -c -q -a1 -s ext4.raw -O ext4.img",
            "gzip -c ext4.img > ext4.img.gz && mv ext4.img.gz packed.img",
            "zstd -q ext4.img -o ext4.zst",
        ] {
            field.sh(line);
        }
        fs::write(field.path("expected"), vec![FILL; 16 << 20]).unwrap();
        field.sh("partclone.restore -L log -q -s ext4.img -O expected");
        let expected = fs::read(field.path("expected")).unwrap();
        Some((field, expected))
    }

    #[track_caller]
    fn sh(&self, line: &str) {
        let output = Command::new("bash")
            .args(["-c", line])
            .current_dir(self.directory.path())
            .env("PATH", path(None))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The line with ours in it: what the shell is to run.
    fn line(&self, line: &str, ours: Ours) -> String {
        let (way, names) = ours;
        let agent = site::program("fos-agent");
        match way {
            Link => {
                let links = self.path(&format!("links-{}", names.join("-")));
                if !links.exists() {
                    fs::create_dir(&links).unwrap();
                    for name in names {
                        symlink(&agent, links.join(name)).unwrap();
                    }
                }
                format!("export PATH={}; {line}", path(Some(&links)))
            }
            Word | Server => {
                let program = match way {
                    Server => site::program("fos-server"),
                    _ => agent,
                };
                let words: Vec<String> = line
                    .split(' ')
                    .map(|word| match names.contains(&word) {
                        true => format!("{} {word}", program.display()),
                        false => word.to_owned(),
                    })
                    .collect();
                format!("export PATH={}; {}", path(None), words.join(" "))
            }
        }
    }

    /// Runs a line on a host: without a terminal, standard input open and silent, and a failure of any
    /// program is the line's.
    fn start(&mut self, host: usize, line: &str, ours: Ours) -> Running {
        self.count += 1;
        let name = format!("line-{}", self.count);
        let quiet = format!("quiet-{}", self.count);
        self.sh(&format!("mkfifo {quiet}"));
        let line = format!("exec 0<>{quiet}; {}", self.line(line, ours));
        let mut command = self.lab.host(host).command("setsid");
        command
            .args(["--wait", "bash", "-o", "pipefail", "-c", &line])
            .current_dir(self.directory.path())
            .env("TERM", "linux");
        Running::start(&name, &mut command, &self.path(&name))
    }

    fn device(&self, host: usize) -> Option<Device> {
        let file = self.path(&format!("disk-{host}"));
        fs::write(&file, vec![FILL; self.len]).unwrap();
        let device = LoopDevice::new(&file)?;
        Some(Device { device, file })
    }
}

struct Device {
    device: LoopDevice,
    file: PathBuf,
}

impl Device {
    #[track_caller]
    fn check(self, expected: &[u8], what: &str) {
        self.device.flush();
        drop(self.device);
        let got = fs::read(self.file).unwrap();
        let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
        let is_whole = got.len() == expected.len() && same == got.len();
        assert!(is_whole, "{what}: equal up to {same} of {}", expected.len());
    }
}

fn path(first: Option<&Path>) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let first = first.map_or_else(String::new, |first| format!("{}:", first.display()));
    format!("{first}{path}:/usr/sbin:/sbin")
}

/// Two receivers of one sender, each with another mixture behind it.
#[test]
fn a_packed_image_is_sent_to_two_and_restored() {
    let Some((mut field, expected)) = Field::new(2) else {
        return;
    };
    let mixtures: [[Ours; 2]; 4] = [
        [(Link, &["udp-receiver"]), (Link, &["partclone.restore"])],
        [(Word, &["udp-receiver", "partclone.restore"]), NONE],
        [(Word, &["partclone.restore"]), (Word, &["udp-receiver"])],
        [(Link, &["udp-receiver", "partclone.restore"]), NONE],
    ];
    for (sender, mixture) in SENDERS.into_iter().zip(mixtures) {
        let (Some(first), Some(second)) = (field.device(2), field.device(3)) else {
            return;
        };
        let line = "gunzip -S \".img\" -c packed.img | udp-sender --min-receivers 2 --portbase 9000 \
                    --interface eth0 --half-duplex --ttl 32";
        let mut server = field.start(1, line, sender);
        field.lab.host(1).wait_for_port(9001);
        let mut clients: Vec<Running> = Vec::new();
        for ((host, device), ours) in [(2, &first), (3, &second)].into_iter().zip(mixture) {
            let line = format!(
                "udp-receiver --nokbd --portbase 9000 --ttl 32 --mcast-rdv-address 10.99.0.1 | \
                 partclone.restore --ignore_crc -O {} -N -f 1",
                device.device.path()
            );
            clients.push(field.start(host, &line, ours));
        }
        for client in &mut clients {
            client.succeed();
        }
        server.succeed();
        for (device, ours) in [first, second].into_iter().zip(mixture) {
            device.check(&expected, &format!("{sender:?} to {ours:?}"));
        }
    }
}

/// As FOG's client system calls them: the stream in a named pipe, the decompressor behind it.
#[test]
fn a_stream_of_fog_is_decompressed_and_restored() {
    let Some((mut field, expected)) = Field::new(1) else {
        return;
    };
    let mixtures: [Ours; 4] = [
        (Link, &["udp-receiver", "partclone.restore"]),
        (Link, &["partclone.restore"]),
        (Word, &["udp-receiver"]),
        (Word, &["udp-receiver", "partclone.restore"]),
    ];
    for (sender, ours) in SENDERS.into_iter().zip(mixtures) {
        let Some(device) = field.device(2) else {
            return;
        };
        let line = "udp-sender --interface eth0 --min-receivers 1 --max-wait 60 --portbase 9000 --full-duplex \
                    --ttl 32 --nokbd --nopointopoint --file ext4.zst";
        let mut server = field.start(1, line, sender);
        field.lab.host(1).wait_for_port(9001);
        field.sh("rm -f pigz1 && mkfifo pigz1");
        let line = format!(
            "udp-receiver --nokbd --portbase 9000 --ttl 32 --mcast-rdv-address 10.99.0.1 2>/dev/null >pigz1 & \
             zstdmt -dc <pigz1 | partclone.restore -n \"Storage Location 10.99.0.1:/images/, Image name x\" \
             --ignore_crc -O {} -Nf 1 && wait $!",
            device.device.path()
        );
        field.start(2, &line, ours).succeed();
        server.succeed();
        device.check(&expected, &format!("{sender:?} to {ours:?}"));
    }
}

/// FOG's own client, unchanged: it sources the post-init script of the storage node, as docs/stock-fos says, and then calls
/// by their names what it always calls.
#[test]
fn the_post_init_script_puts_the_agent_in_the_place_of_the_originals() {
    let Some((mut field, expected)) = Field::new(1) else {
        return;
    };
    let Some(device) = field.device(2) else {
        return;
    };
    let share = field.path("share");
    fs::create_dir(&share).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stock-fos/fos-agent.postinit");
    fs::copy(script, share.join("fos-agent.postinit")).unwrap();
    let line = ". \"$(dirname \"${BASH_SOURCE[0]}\")/fos-agent.postinit\"\n";
    fs::write(share.join("fog.postinit"), line).unwrap();
    let init = "export FOS_AGENT_DIR=$PWD/ram; . share/fog.postinit";
    // Without the program, and with one that does not run, all is as it was.
    for broken in [None, Some("no program")] {
        if let Some(content) = broken {
            fs::write(share.join("fos-agent"), content).unwrap();
        }
        field.sh(&format!(
            "before=$PATH; {init} | grep 'is not used'; {init}; [ \"$PATH\" = \"$before\" ]"
        ));
    }
    fs::copy(site::program("fos-agent"), share.join("fos-agent")).unwrap();
    let line = "udp-sender --interface eth0 --min-receivers 1 --max-wait 60 --portbase 9000 --full-duplex \
                --ttl 32 --nokbd --nopointopoint --file ext4.zst";
    let mut server = field.start(1, line, NONE);
    field.lab.host(1).wait_for_port(9001);
    let names =
        "udp-receiver udp-sender partclone.restore partclone.info partclone.chkimg partimage";
    let line = format!(
        "{init}; mv share gone; for name in {names}; do [ $(type -P $name) = $PWD/ram/$name ] || exit 9; done; \
         mkfifo pigz1; udp-receiver --nokbd --portbase 9000 --ttl 32 --mcast-rdv-address 10.99.0.1 2>/dev/null >pigz1 & \
         zstdmt -dc <pigz1 | partclone.restore -n \"Storage Location\" --ignore_crc -O {} -Nf 1 && wait $!",
        device.device.path()
    );
    field.start(2, &line, NONE).succeed();
    server.succeed();
    device.check(&expected, "ours in FOG's client");
}

/// Damage is passed over as asked, and told.
#[test]
fn ignored_damage_is_told() {
    let Some((field, _)) = Field::new(0) else {
        return;
    };
    let mut image = fs::read(field.path("ext4.img")).unwrap();
    let middle = image.len() / 2;
    image[middle] ^= 1;
    fs::write(field.path("damaged.img"), &image).unwrap();
    fs::write(field.path("target"), vec![FILL; 16 << 20]).unwrap();
    let line = "zstdmt -q -c damaged.img | zstdmt -dc | partclone.restore -n note --ignore_crc -O target -Nf 1 -L log";
    let line = field.line(line, (Link, &["partclone.restore"]));
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", &line])
        .current_dir(field.directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("WARNING: 1 checksums of the image were wrong and ignored"),
        "{said}"
    );
    assert!(said.contains("damaged blocks"), "{said}");
}

/// The sender waits for a key, which is pressed on either side.
#[test]
fn a_key_starts_the_transfer_to_partimage() {
    let Some((mut field, _)) = Field::new(1) else {
        return;
    };
    let content = |number: u64| (number * 77).to_le_bytes().repeat(128);
    let used = (0..4000).map(|n| n % 7 > 1 && n < 3990).collect();
    let recipe = PartimageRecipe::new(1024, used);
    fs::write(field.path("F"), recipe.write(content)).unwrap();
    field.len = 4000 * 1024 + 1536;
    let expected = recipe.restored(content, field.len, FILL);
    let mixtures: [Ours; 4] = [
        (Link, &["udp-receiver", "partimage"]),
        (Link, &["partimage"]),
        (Word, &["udp-receiver"]),
        (Word, &["udp-receiver", "partimage"]),
    ];
    let send = "udp-sender --file F --log L --ttl 1 --nopointopoint --portbase 9000";
    for (sender, ours) in SENDERS.into_iter().zip(mixtures) {
        let Some(device) = field.device(2) else {
            return;
        };
        let inside = |line: String| format!("cd {}; {line}", field.directory.path().display());
        let mut server = Typist::start(
            field.lab.host(1),
            &inside(field.line(send, sender)),
            field.path("screen"),
        );
        field.lab.host(1).wait_for_port(9001);
        let line = format!(
            "udp-receiver --portbase 9000 --mcast-rdv-address 10.99.0.1 | partimage -f3 -b restore {} stdin",
            device.device.path()
        );
        let mut client = field.start(2, &line, ours);
        server.wait_for("ress any key");
        assert!(
            !server.screen().contains("status 0"),
            "it waits for the key"
        );
        server.press("x");
        client.succeed();
        server.wait_for("status 0");
        server.wait_for("TERMINAL icanon echo");
        let log = fs::read_to_string(field.path("L")).unwrap();
        assert!(log.contains("Disconnecting #0 (10.99.0.2)"), "{log}");
        fs::remove_file(field.path("L")).unwrap();
        device.check(&expected, &format!("{sender:?} to {ours:?}"));
    }
    let expected = fs::read(field.path("F")).unwrap();
    for (sender, ours) in SENDERS.into_iter().zip([
        (Link, &["udp-receiver"][..]),
        NONE,
        (Word, &["udp-receiver"]),
        NONE,
    ]) {
        let inside = |line: String| format!("cd {}; {line}", field.directory.path().display());
        let mut server = Typist::start(
            field.lab.host(1),
            &inside(field.line(send, sender)),
            field.path("screen"),
        );
        field.lab.host(1).wait_for_port(9001);
        let receive = "udp-receiver --portbase 9000 --mcast-rdv-address 10.99.0.1 --file got";
        let mut client = Typist::start(
            field.lab.host(2),
            &inside(field.line(receive, ours)),
            field.path("screen-2"),
        );
        client.wait_for("ress any key");
        client.press(" ");
        client.wait_for("status 0");
        client.wait_for("TERMINAL icanon echo");
        server.wait_for("status 0");
        assert!(
            fs::read(field.path("got")).unwrap() == expected,
            "{sender:?} to {ours:?}"
        );
    }
}
