//! Disks, and the doctor that comes by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::corpus::LoopDevice;
use fos_tests::need::skip;
use fos_tests::netns::{Running, wait_for};
use fos_tests::site::program;

use super::{Clinic, WEB, codes, native, report};

#[test]
fn a_disk_that_cannot_be_read_is_named() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    let gone = clinic.path("gone").display().to_string();
    let report = clinic.examine(WEB, &["--disk", &gone]);
    assert_eq!(codes(&report), ["disk-unreadable"], "{report:#}");
    let text = report["findings"][0]["text"].to_string();
    assert!(text.contains("gone"), "{text}");
}

#[test]
fn a_disk_that_is_slow_is_named() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    let file = clinic.path("slow");
    fs::write(&file, vec![7; 16 << 20]).unwrap();
    let Some(disk) = LoopDevice::new(&file) else {
        return;
    };
    let Some(brake) = Brake::of(&disk, 2_000_000) else {
        return;
    };
    // The shell joins the group, and becomes the doctor.
    let doctor = clinic.command(WEB, &["--patience", "0", "--disk", disk.path()]);
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(brake.group.join("cgroup.procs"))
        .arg(doctor.get_program())
        .args(doctor.get_args());
    let mut doctor = Running::start("doctor", &mut command, &clinic.path("report"));
    let report = report(&mut doctor);
    assert_eq!(codes(&report), ["slow-disk"], "{report:#}");
}

/// A control group whose programs read a disk slowly.
struct Brake {
    group: PathBuf,
}

impl Brake {
    /// So many bytes per second; `None` where the kernel has no such thing, which was said.
    #[track_caller]
    fn of(disk: &LoopDevice, rate: u64) -> Option<Self> {
        let name = Path::new(disk.path()).file_name().unwrap();
        let number = Path::new("/sys/class/block").join(name).join("dev");
        let number = fs::read_to_string(number).unwrap();
        let number = number.trim();
        let (root, file, line) = if Path::new("/sys/fs/cgroup/blkio").is_dir() {
            let line = format!("{number} {rate}");
            (
                "/sys/fs/cgroup/blkio",
                "blkio.throttle.read_bps_device",
                line,
            )
        } else {
            let line = format!("{number} rbps={rate}");
            drop(fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+io"));
            ("/sys/fs/cgroup", "io.max", line)
        };
        let group = Path::new(root).join(format!("foslab-{}", std::process::id()));
        if fs::create_dir(&group).is_err() {
            let _said = skip("needs control groups");
            return None;
        }
        let brake = Self { group };
        if fs::write(brake.group.join(file), line).is_err() {
            let _said = skip("needs control groups that throttle disks");
            return None;
        }
        Some(brake)
    }
}

impl Drop for Brake {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.group));
    }
}

#[test]
fn a_wait_that_takes_long_shows_the_cause() {
    let Some(clinic) = Clinic::without_web() else {
        return;
    };
    let cmdline = format!("{WEB} type=down mc=yes port=63100 storageip=10.99.0.1 img=x imgType=n");
    let mut command = clinic.lab.host(2).command(program("fos-agent"));
    command.args(["deploy", "--cmdline", &cmdline, "--target"]);
    command.arg(clinic.path("disk"));
    let agent = Running::start("agent", &mut command, &clinic.path("agent"));
    wait_for("the cause to be shown", || {
        agent.output().contains("no web server runs at port 80")
    });
}
