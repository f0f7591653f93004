//! A booted machine at one of FOG's own servers: the kernel's NFS client, and a real NFS server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use fos_tests::machine::{switch_on, switch_on_with_bash};
use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{assert_deployed, assert_untouched, mac};
use fos_tests::stock::{self, STREAMS, Version, job};

const TOOLS: &[&str] = &[
    "qemu-system-x86_64",
    "ganesha.nfsd",
    "rpcbind",
    "dnsmasq",
    "strip",
    "cpio",
];

/// An emulated machine is slow, and the computer that emulates it may be busy. Not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(600);

/// A room with the other servers that a booted machine needs.
struct Room {
    // Dropped first.
    programs: Vec<Running>,
    room: stock::Room,
}

impl Deref for Room {
    type Target = stock::Room;

    fn deref(&self) -> &stock::Room {
        &self.room
    }
}

impl Room {
    fn new(job: &str) -> Option<Self> {
        let mut room = Self {
            programs: Vec::new(),
            room: stock::Room::new(1, TOOLS, Version::Old, job)?,
        };
        room.start_dhcp();
        Some(room)
    }

    fn start(&mut self, name: &str, program: &str, args: &[&str]) {
        let mut command = self.lab().host(1).command(program);
        command.args(args);
        let output = self.path(&format!("{name}.out"));
        self.programs
            .push(Running::start(name, &mut command, &output));
    }

    fn start_dhcp(&mut self) {
        let leases = format!("--dhcp-leasefile={}", self.path("leases").display());
        let args = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--interface=eth0",
            "--bind-interfaces",
            "--no-ping",
            "--user=root",
            "--dhcp-range=10.99.0.100,10.99.0.150,1h",
            &leases,
        ];
        self.start("dnsmasq", "dnsmasq", &args);
    }

    /// The export of FOG's installer: read-only, and its root another one in version 4.
    fn start_nfs(&mut self) {
        let config = self.path("ganesha.conf");
        let text = format!(
            "NFS_CORE_PARAM {{ Protocols = 3; Bind_addr = 10.99.0.1; MNT_Port = 20048; mount_path_pseudo = true;\n\
             Enable_NLM = false; Enable_RQUOTA = false; }}\n\
             EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /images; Protocols = 3; Transports = TCP;\n\
             Access_Type = RO; Squash = No_root_squash; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
            self.share().display()
        );
        fs::write(&config, text).unwrap();
        // Both leave files in /run, which is a directory of their own here.
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/ganesha /run/rpcbind && {{ rpcbind -f & }} && \
             until rpcinfo -p 10.99.0.1 > /dev/null 2>&1; do :; done && \
             exec ganesha.nfsd -F -L {log} -f {config} -p /run/ganesha/pid",
            log = self.path("ganesha.log").display(),
            config = config.display(),
        );
        self.start("NFS server", "sh", &["-c", &script]);
        wait_for("the NFS server to be registered", || {
            let mut asked = self.lab().host(1).command("rpcinfo");
            let output = asked.args(["-p", "10.99.0.1"]).output().unwrap();
            let list = String::from_utf8_lossy(&output.stdout).into_owned();
            list.contains("mountd") && list.contains("nfs")
        });
    }

    /// Waits until the machine has said one of these, in a line that is complete: it writes letter by letter.
    fn wait_for_machine(machine: &mut Running, console: &Path, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let has_ended = machine.has_ended();
            let said = fs::read(console).unwrap_or_default();
            let said = String::from_utf8_lossy(&said).into_owned();
            let lines = said.rfind('\n').map_or("", |end| &said[..end]);
            if words.iter().any(|words| lines.contains(words)) {
                return said;
            }
            let is_late = has_ended || Instant::now() > deadline;
            assert!(!is_late, "the machine said:\n{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_machine_is_deployed_with_the_share_of_a_real_nfs_server() {
    let multicast = job("mc=yes");
    let Some(mut room) = Room::new(&multicast) else {
        return;
    };
    room.start_nfs();
    for (name, job) in [("multicast", multicast), ("alone", job(""))] {
        room.server().change(Version::Old, &job);
        let chain = (name == "multicast").then(|| room.start_chain(&STREAMS, false));
        let disk = room.empty_disk(&format!("{name}.raw"));
        let console = room.path(&format!("{name}.console"));
        let mut machine = switch_on(room.lab(), &mac(1), &disk, &job, &console);
        let said = Room::wait_for_machine(&mut machine, &console, &["fos-agent: result", "FAILED"]);
        assert!(said.contains("fos-agent: result ok"), "{said}");
        drop((machine, chain));
        assert_deployed(&disk);
        assert!(room.server().is_complete(), "{said}");
    }
}

#[test]
fn a_machine_runs_the_scripts_of_the_share() {
    let Some(mut room) = Room::new(&job("")) else {
        return;
    };
    room.start_nfs();
    // The kernel's own files are seen, the share where FOG's client has it, and the disk with its new table.
    let scripts = [
        (
            "dev/postinitscripts/fog.postinit",
            "#!/bin/bash\necho \"init of $img: ${hd:-no disk}, $(cat /images/.mntcheck | wc -c) bytes\"\n",
        ),
        (
            "postdownloadscripts/fog.postdownload",
            "#!/bin/bash\n. ${postdownpath}own.functions\nshow\n",
        ),
        (
            "postdownloadscripts/own.functions",
            "show() {\n\
             local parts=(/sys/class/block/${hd##*/}?)\n\
             echo \"$hostname: ${#parts[@]} partitions of $disks, $(ls /images/$img/d1.mbr)\"\n\
             mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && exec 3<> ${hd}1 && echo all is well\n\
             }\n",
        ),
    ];
    for (name, text) in scripts {
        let path = room.share().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let disk = room.empty_disk("scripts.raw");
    let console = room.path("scripts.console");
    let mut machine = switch_on_with_bash(room.lab(), &mac(1), &disk, &job(""), &console);
    let said = Room::wait_for_machine(&mut machine, &console, &["fos-agent: result", "FAILED"]);
    for words in [
        "| init of lab: no disk, ",
        "| LAB-01: 2 partitions of /dev/vda, /images/lab/d1.mbr",
        "| all is well",
        "fos-agent: result ok",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    drop(machine);
    assert_deployed(&disk);
    assert!(room.server().is_complete(), "{said}");
}

#[test]
fn a_share_that_hangs_is_named_and_waited_for() {
    let Some(mut room) = Room::new(&job("")) else {
        return;
    };
    room.start_nfs();
    // The last program that was started: the shell has become the NFS server.
    let nfs = room.programs.len() - 1;
    room.programs[nfs].signal("STOP");
    let disk = room.empty_disk("hanging.raw");
    let console = room.path("hanging.console");
    let mut machine = switch_on(room.lab(), &mac(1), &disk, &job(""), &console);
    Room::wait_for_machine(&mut machine, &console, &["the server does not answer"]);
    // The data take seconds.
    let mut slow = room.lab().host(1).command("tc");
    let tbf = "qdisc replace dev eth0 root tbf rate 8mbit burst 32kb latency 400ms";
    assert!(slow.args(tbf.split(' ')).status().unwrap().success());
    room.programs[nfs].signal("CONT");
    // Again, when half of the disk is written.
    Room::wait_for_machine(&mut machine, &console, &["phase stream:d1p2.img start"]);
    room.programs[nfs].signal("STOP");
    let waits = ["waiting for the image share 10.99.0.1:/images (stream 2)"];
    Room::wait_for_machine(&mut machine, &console, &waits);
    room.programs[nfs].signal("CONT");
    let said = Room::wait_for_machine(&mut machine, &console, &["fos-agent: result", "FAILED"]);
    assert!(said.contains("fos-agent: result ok"), "{said}");
    drop(machine);
    assert_deployed(&disk);
}

#[test]
fn a_share_that_is_not_exported_or_not_there_is_named_and_nothing_is_written() {
    let Some(mut room) = Room::new(&job("")) else {
        return;
    };
    room.start_nfs();
    let other = job("storage=10.99.0.1:/other/");
    room.server().change(Version::Old, &job(""));
    let disk = room.patterned_disk("refused.raw");
    let console = room.path("refused.console");
    let mut machine = switch_on(room.lab(), &mac(1), &disk, &other, &console);
    let said = Room::wait_for_machine(&mut machine, &console, &["FAILED", "fos-agent: result"]);
    assert!(said.contains("mounting 10.99.0.1:/other by NFS"), "{said}");
    drop(machine);
    assert_untouched(&disk);
    assert!(room.server().count("service/blame.php") > 0);
}
