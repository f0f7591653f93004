//! A school in a box: a server with a small real image, and clients, each on a host of a [`Lab`].

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::netns::{Lab, Running, wait_for};

/// Sector of the first partition's start and length in sectors, by number.
pub const PARTITIONS: [(u64, u64); 2] = [(2048, 32768), (34816, 49152)];
/// Length of the source disk in bytes.
pub const DISK_LEN: u64 = 42 << 20;

const TOOLS: &[&str] = &[
    "sgdisk",
    "sfdisk",
    "mkfs.ext4",
    "mkfs.vfat",
    "partclone.extfs",
    "partclone.vfat",
    "partclone.restore",
    "mcopy",
    "zstd",
    "udp-sender",
    "udp-receiver",
    "curl",
    "nft",
];

/// A server on host 1 and a number of clients on the hosts after it.
///
/// Invariant: fields are dropped in this order: programs, network, files.
#[derive(Debug)]
pub struct Site {
    server: Option<Running>,
    lab: Lab,
    /// The server's, as the clients of `get` and `post` know it.
    address: &'static str,
    dir: TempDir,
}

impl Site {
    /// Registers clients `pc1`, `pc2`, ... and the image `small`; the server runs. `None` when this
    /// machine cannot do that, which has been told.
    ///
    /// # Panics
    /// Something fails, or is missing and nothing may be skipped.
    #[must_use]
    #[track_caller]
    pub fn new(clients: u8) -> Option<Self> {
        let mut site = Self::without_image(clients)?;
        site.start_server();
        site.cli(&["image", "add", "small"]).succeed();
        Some(site)
    }

    /// The same with the image's files in place but not registered, and no server running.
    ///
    /// # Panics
    /// As [`Site::new`].
    #[must_use]
    #[track_caller]
    pub fn without_image(clients: u8) -> Option<Self> {
        let lab = Lab::new(clients + 1, TOOLS)?;
        let dir = tempfile::Builder::new()
            .prefix("fos-site-")
            .tempdir()
            .unwrap();
        let store = dir.path().join("images/small");
        fs::create_dir_all(&store).unwrap();
        // Nothing boots them here, but a job without boot files is refused.
        fs::create_dir_all(dir.path().join("boot")).unwrap();
        for name in ["bzImage", "init.xz"] {
            fs::write(dir.path().join("boot").join(name), name).unwrap();
        }
        for file in fs::read_dir(source().join("store")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), store.join(file.file_name())).unwrap();
        }
        let site = Self {
            server: None,
            lab,
            address: "10.99.0.1",
            dir,
        };
        for number in 1..=clients {
            let name = format!("pc{number}");
            site.cli(&["host", "add", &name, &mac(number)]).succeed();
        }
        Some(site)
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// It does not.
    #[track_caller]
    pub fn start_server(&mut self) {
        self.start_server_with(&[]);
    }

    /// The same with further options of `serve`.
    ///
    /// # Panics
    /// It does not answer.
    #[track_caller]
    pub fn start_server_with(&mut self, options: &[&str]) {
        let network = ["--listen", "10.99.0.1:80", "--interface", "eth0"];
        self.start_server_at("10.99.0.1", &[&network, options].concat());
    }

    /// The same with nothing but these options, which make it answer at `address`.
    ///
    /// # Panics
    /// It does not answer.
    #[track_caller]
    pub fn start_server_at(&mut self, address: &'static str, options: &[&str]) {
        self.address = address;
        let mut command = self.lab.host(1).command(program("fos-server"));
        command
            .arg("--data")
            .arg(self.path("data"))
            .arg("serve")
            .arg("--images")
            .arg(self.path("images"))
            .arg("--boot")
            .arg(self.path("boot"))
            .args(options);
        self.server = Some(Running::start(
            "fos-server",
            &mut command,
            &self.path("server.out"),
        ));
        wait_for("an answer of the server", || {
            self.get(1, "index.php").is_some()
        });
    }

    /// The server's process.
    ///
    /// # Panics
    /// It was not started.
    #[track_caller]
    pub fn server(&mut self) -> &mut Running {
        self.server.as_mut().expect("the server was started")
    }

    /// The network, to be changed.
    pub fn lab_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// The network.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A path in the site's own directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file of the image `small` in the store.
    #[must_use]
    pub fn stored(&self, name: &str) -> PathBuf {
        self.path("images/small").join(name)
    }

    /// Runs `fos-server` with `args` on the server's host.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Ran {
        let mut command = self.lab.host(1).command(program("fos-server"));
        command
            .arg("--data")
            .arg(self.path("data"))
            .arg("--images")
            .arg(self.path("images"))
            .args(args);
        Ran::new(&mut command)
    }

    /// Deploys `small` to `hosts`; answers the session's number.
    ///
    /// # Panics
    /// The server refuses.
    #[track_caller]
    pub fn deploy(&self, hosts: &[&str], options: &[&str]) -> String {
        self.deploy_image("small", hosts, options)
    }

    /// Deploys another image; answers the session's number.
    ///
    /// # Panics
    /// The server refuses.
    #[track_caller]
    pub fn deploy_image(&self, image: &str, hosts: &[&str], options: &[&str]) -> String {
        let args = [&["deploy", image], hosts, options].concat();
        let said = self.cli(&args).succeed();
        let digits = said
            .lines()
            .find_map(|line| {
                line.split(|c: char| !c.is_ascii_digit())
                    .find(|word| !word.is_empty())
            })
            .unwrap_or_else(|| panic!("a session number in {said:?}"));
        digits.to_owned()
    }

    /// Body of `http://server/fog/PATH` as client `number` (or the server's host) gets it; `None`
    /// without an answer of status 200.
    ///
    /// # Panics
    /// `curl` cannot be started.
    #[must_use]
    pub fn get(&self, host: usize, path: &str) -> Option<String> {
        self.get_at(self.address, host, path)
    }

    /// The same from another address of the server.
    ///
    /// # Panics
    /// `curl` cannot be started.
    #[must_use]
    pub fn get_at(&self, address: &str, host: usize, path: &str) -> Option<String> {
        let url = format!("http://{address}/fog/{path}");
        let output = self
            .lab
            .host(host)
            .command("curl")
            .args(["-sf", "--max-time", "5", &url])
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Body of a POST of `form` as client `client` sends it.
    ///
    /// # Panics
    /// `curl` cannot be started.
    #[must_use]
    pub fn post(&self, client: u8, path: &str, form: &str) -> String {
        self.post_at(self.address, client, path, form)
    }

    /// The same to another address of the server.
    ///
    /// # Panics
    /// `curl` cannot be started.
    #[must_use]
    pub fn post_at(&self, address: &str, client: u8, path: &str, form: &str) -> String {
        let url = format!("http://{address}/fog/{path}");
        let output = self
            .lab
            .host(usize::from(client) + 1)
            .command("curl")
            .args(["-s", "--max-time", "5", "--data-raw", form, &url])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kernel arguments that the boot script has for a client.
    ///
    /// # Panics
    /// There is no job for it.
    #[must_use]
    #[track_caller]
    pub fn kernel_arguments(&self, client: u8) -> String {
        self.kernel_arguments_at(self.address, client)
    }

    /// The same from another address of the server.
    ///
    /// # Panics
    /// There is no job for it.
    #[must_use]
    #[track_caller]
    pub fn kernel_arguments_at(&self, address: &str, client: u8) -> String {
        let path = format!(
            "service/ipxe/boot.php?mac0={}&arch=x86_64&platform=pcbios",
            mac(client)
        );
        let script = self
            .get_at(address, usize::from(client) + 1, &path)
            .unwrap();
        let line = script
            .lines()
            .find_map(|line| line.trim().strip_prefix("kernel "))
            .unwrap_or_else(|| panic!("a job for pc{client} in:\n{script}"));
        line.split_once(' ').unwrap().1.to_owned()
    }

    /// Starts the agent on a client with the job of the boot script, onto a file or disk.
    ///
    /// # Panics
    /// There is no job for it.
    #[track_caller]
    pub fn start_agent(&self, client: u8, target: &Path) -> Running {
        let arguments = self.kernel_arguments(client);
        self.start_agent_with(client, target, &arguments)
    }

    /// The same with kernel arguments of one's own.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start_agent_with(&self, client: u8, target: &Path, arguments: &str) -> Running {
        self.start_agent_onto(client, &[target], arguments)
    }

    /// The same onto several disks.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn start_agent_onto(&self, client: u8, targets: &[&Path], arguments: &str) -> Running {
        let mut command = self
            .lab
            .host(usize::from(client) + 1)
            .command(program("fos-agent"));
        command.args(["deploy", "--no-reboot", "--cmdline", arguments]);
        for target in targets {
            command.arg("--target").arg(target);
        }
        let first = targets.first().copied().unwrap_or_else(|| Path::new(""));
        Running::start(
            &format!("agent of pc{client}"),
            &mut command,
            &self.path(&format!("pc{client}-{}.out", target_name(first))),
        )
    }

    /// Does on a client what FOG's own client does: check-in until told to go, `udp-receiver | zstd |
    /// partclone.restore` for each partition into `pcN-stock1.raw` and so on, report until that is
    /// accepted. It fails where FOG's client would report an error and restart.
    ///
    /// # Panics
    /// There is no job for it.
    #[track_caller]
    pub fn start_stock_client(&self, client: u8) -> Running {
        self.start_stock_client_onto(client, &[16 << 20, 24 << 20])
    }

    /// The same onto empty partitions of these lengths in bytes, one for each stream.
    ///
    /// # Panics
    /// There is no job for it.
    #[track_caller]
    pub fn start_stock_client_onto(&self, client: u8, lens: &[u64]) -> Running {
        let lens: Vec<String> = lens.iter().map(u64::to_string).collect();
        let script = format!(
            r###"
set -euo pipefail
web=http://10.99.0.1/fog/
post() {{ curl -Lks --data "sysuuid=&mac={mac}&type=down" ${{web}}service/$1; }}
[ "$(curl -sI ${{web}}/index.php | head -c 12)" = "HTTP/1.1 200" ]
tries=0
until [ "$(post mc_checkin.php)" = "##@GO" ]; do
    tries=$((tries + 1)); [ $tries -lt 20 ]; sleep 0.5
done
port=$(sed 's/.*port=\([0-9]*\).*/\1/' <<< "{arguments}")
n=0
for size in {lens}; do
    n=$((n + 1))
    truncate -s $size pc{client}-stock$n.raw
    udp-receiver --nokbd --portbase $port --ttl 32 --mcast-rdv-address 10.99.0.1 |
        zstd -dc | partclone.restore --ignore_crc -O pc{client}-stock$n.raw -L pc{client}-stock.log -f 1
done
tries=0
until [ "$(post Post_Stage3.php)" = "##" ]; do
    tries=$((tries + 1)); [ $tries -lt 20 ]; sleep 0.5
done
"###,
            mac = mac(client),
            lens = lens.join(" "),
            arguments = self.kernel_arguments(client),
        );
        let mut command = self.lab.host(usize::from(client) + 1).command("bash");
        command
            .args(["-c", &script])
            .current_dir(self.path(""))
            .env("PATH", search_path())
            .env("TERM", "xterm");
        let output = self.path(&format!("pc{client}-stock.out"));
        Running::start(&format!("stock client pc{client}"), &mut command, &output)
    }

    /// A file that stands for an empty disk.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    #[track_caller]
    pub fn empty_disk(&self, name: &str, len: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    }

    /// A disk full of `0xa5`, to see that nothing was written to it.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    #[track_caller]
    pub fn patterned_disk(&self, name: &str, len: u64) -> PathBuf {
        let path = self.path(name);
        let whole = usize::try_from(len).unwrap();
        fs::write(&path, vec![PATTERN; whole]).unwrap();
        path
    }

    /// The session's entry in `fos-server status --json`.
    ///
    /// # Panics
    /// It has none.
    #[must_use]
    #[track_caller]
    pub fn status(&self, session: &str) -> Value {
        let said = self.cli(&["status", "--json", session]).succeed();
        let status: Value = serde_json::from_str(&said).unwrap();
        status["sessions"][0].clone()
    }

    /// State and text of a host in a session.
    ///
    /// # Panics
    /// The host is not in it.
    #[must_use]
    #[track_caller]
    pub fn host_status(&self, session: &str, host: &str) -> (String, String) {
        let status = self.status(session);
        let hosts = status["hosts"].as_array().unwrap();
        let entry = hosts
            .iter()
            .find(|entry| entry["name"] == host)
            .unwrap_or_else(|| panic!("{host} in {status}"));
        (text(&entry["state"]), text(&entry["text"]))
    }

    /// Code of the reason why a host's part in a session is over.
    ///
    /// # Panics
    /// The host is not in it.
    #[must_use]
    #[track_caller]
    pub fn host_reason(&self, session: &str, host: &str) -> String {
        let status = self.status(session);
        let mut hosts = status["hosts"].as_array().unwrap().iter();
        let entry = hosts.find(|entry| entry["name"] == host);
        text(&entry.unwrap_or_else(|| panic!("{host} in {status}"))["reason"])
    }

    /// The session and its events as people see them.
    ///
    /// # Panics
    /// The server does not say.
    #[must_use]
    #[track_caller]
    pub fn report(&self, session: &str) -> String {
        self.cli(&["status", session]).succeed()
    }

    /// Waits until so many octets of stream `number` are acknowledged, or a later one is sent.
    ///
    /// # Panics
    /// It does not get there.
    #[track_caller]
    pub fn wait_for_data(&self, session: &str, number: u64, octets: u64) {
        wait_for("data to flow", || {
            let status = self.status(session);
            let stream = &status["stream"];
            let at = stream["number"].as_u64();
            status["stage"] == "ended"
                || at > Some(number)
                || at == Some(number) && stream["acked"].as_u64() >= Some(octets)
        });
    }

    /// Waits until a session is in `state`; answers its text.
    ///
    /// # Panics
    /// It does not get there.
    #[track_caller]
    pub fn wait_for_state(&self, session: &str, state: &str) -> String {
        let mut last = Value::Null;
        wait_for(&format!("session {session} to be {state}"), || {
            last = self.status(session);
            last["state"] == state
        });
        text(&last["text"])
    }

    /// What the server has said, and its logs.
    ///
    /// # Panics
    /// They cannot be read.
    #[must_use]
    #[track_caller]
    pub fn logs(&self) -> String {
        let mut logs = fs::read_to_string(self.path("server.stderr")).unwrap_or_default();
        if let Ok(files) = fs::read_dir(self.path("data/log")) {
            for file in files {
                logs += &String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap());
            }
        }
        logs
    }
}

/// Checks a disk against the source: both partitions octet by octet, the table with `sgdisk`.
///
/// # Panics
/// Something differs.
#[track_caller]
pub fn assert_deployed(disk: &Path) {
    let verified = Command::new("sgdisk").arg("-v").arg(disk).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(said.contains("No problems found"), "{said}");
    let (found, source) = (
        File::open(disk).unwrap(),
        File::open(source().join("disk.raw")).unwrap(),
    );
    for (start, len) in PARTITIONS {
        let bytes = |file: &File| {
            let mut bytes = vec![0; usize::try_from(len * 512).unwrap()];
            file.read_exact_at(&mut bytes, start * 512).unwrap();
            bytes
        };
        let (found, expected) = (bytes(&found), bytes(&source));
        let differing = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!(differing, None, "first differing octet of the partition");
    }
}

/// Checks that not a single octet of a [`Site::patterned_disk`] was changed.
///
/// # Panics
/// One was.
#[track_caller]
pub fn assert_untouched(disk: &Path) {
    let bytes = fs::read(disk).unwrap();
    let changed = bytes.iter().position(|byte| *byte != PATTERN);
    assert_eq!(changed, None, "first octet written");
}

/// Waits for the end of an agent that must fail; answers all that it said.
///
/// # Panics
/// It does not end so.
#[track_caller]
pub fn failed(mut agent: Running) -> String {
    let status = agent.wait();
    let said = agent.output() + &agent.messages();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("result failed"), "{said}");
    said
}

/// Checks that a firmware would find nothing to boot: no boot sector, no table.
///
/// # Panics
/// It would.
#[track_caller]
pub fn assert_does_not_boot(disk: &Path) {
    let mut head = vec![0; 34 * 512];
    File::open(disk)
        .unwrap()
        .read_exact_at(&mut head, 0)
        .unwrap();
    assert!(head.iter().all(|byte| *byte == 0), "a boot sector or table");
}

/// A program that has ended.
#[derive(Debug)]
pub struct Ran(Output);

impl Ran {
    #[track_caller]
    fn new(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).output().unwrap())
    }

    /// Its standard output.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn succeed(self) -> String {
        let said = String::from_utf8_lossy(&self.0.stderr).into_owned();
        assert!(self.0.status.success(), "{}: {said}", self.0.status);
        String::from_utf8(self.0.stdout).unwrap()
    }

    /// Its standard output, and its messages.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    pub fn both(self) -> (String, String) {
        let said = String::from_utf8_lossy(&self.0.stderr).into_owned();
        (self.succeed(), said)
    }

    /// Its messages.
    ///
    /// # Panics
    /// It did not fail with status 1.
    #[track_caller]
    pub fn fail(self) -> String {
        let said = String::from_utf8_lossy(&self.0.stderr).into_owned();
        assert_eq!(self.0.status.code(), Some(1), "{said}");
        said
    }
}

/// Hardware address of a client.
#[must_use]
pub fn mac(client: u8) -> String {
    format!("02:00:00:00:00:{client:02x}")
}

/// A binary of this workspace, built when the first test asks for it.
///
/// # Panics
/// It cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let dir = DIR.get_or_init(|| {
        // Built already, by whoever runs several test programs at a time.
        if let Some(built) = std::env::var_os("FOS_TEST_PROGRAMS") {
            return built.into();
        }
        let mut cargo = Command::new(env!("CARGO"));
        // Set for this test. Build scripts that look at them (ring's does) would run again, and what depends
        // on those would be compiled once more.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&name);
            }
        }
        let built = cargo
            .args(["build", "--quiet", "-p", "fos-agent", "-p", "fos-server"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .unwrap();
        assert!(built.success(), "building fos-agent and fos-server");
        // .../debug/deps/TEST -> .../debug
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).unwrap().to_owned()
    });
    dir.join(name)
}

/// The source disk and its image in FOG's store layout, made by the original programs and kept
/// beside the tests' binaries.
///
/// # Panics
/// One of them fails.
#[must_use]
pub fn source() -> &'static Path {
    static SOURCE: OnceLock<PathBuf> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let built = test.ancestors().nth(2).unwrap();
        let mut hasher = DefaultHasher::new();
        RECIPE.hash(&mut hasher);
        let kept = built.join(format!("fos-tests-source-{:016x}", hasher.finish()));
        if !kept.exists() {
            let work = tempfile::tempdir_in(built).unwrap();
            let made = work.path().join("made");
            fs::create_dir(&made).unwrap();
            make_source(&made);
            // Another test process may have been faster.
            assert!(fs::rename(&made, &kept).is_ok() || kept.exists());
        }
        kept
    })
}

const PATTERN: u8 = 0xa5;

/// FAT16 without checksums, as FOG captures today; ext4 with CRC32, as older installations have it.
const RECIPE: &str = r#"
set -euo pipefail
export LC_ALL=C E2FSPROGS_FAKE_TIME=1700000000
mkdir store tree
truncate -s 42M disk.raw
sgdisk -o -n 1:2048:+16M -t 1:ef00 -n 2:0:+24M -t 2:8300 disk.raw
head -c 9000000 /dev/urandom > tree/random.bin
seq 1 200000 > tree/text.txt
truncate -s 16M p1.raw
mkfs.vfat -F 16 p1.raw
mcopy -i p1.raw tree/text.txt ::
truncate -s 24M p2.raw
mkfs.ext4 -q -F -b 4096 -d tree p2.raw
partclone.vfat -c -a0 -s p1.raw -O - -L log | zstd -q > store/d1p1.img
partclone.extfs -c -a1 -s p2.raw -O - -L log | zstd -q > store/d1p2.img
for n in 1 2; do
    case $n in 1) start=2048;; 2) start=34816;; esac
    truncate -s $(stat -c %s p$n.raw) r$n.raw
    zstd -dc store/d1p$n.img | partclone.restore -s - -O r$n.raw -L log
    dd if=r$n.raw of=disk.raw bs=512 seek=$start conv=notrunc,sparse status=none
done
sgdisk -b store/d1.mbr disk.raw
sfdisk -d disk.raw > store/d1.partitions
cp store/d1.partitions store/d1.minimum.partitions
printf '1:2\n' > store/d1.fixed_size_partitions
: > store/d1.original.swapuuids
"#;

fn make_source(dir: &Path) {
    let output = Command::new("bash")
        .args(["-c", RECIPE])
        .current_dir(dir)
        .env("TERM", "xterm")
        .env("PATH", search_path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "making the source disk: {said}");
}

/// Where root's programs are too.
#[must_use]
pub fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}

fn target_name(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
