//! Real NTFS with a real hive: made by mkntfs, ntfs-3g and hivexsh, changed by what a deploy runs, read by hivexsh.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use deploy_plan::WhichDisk;
use disk::{Kind, PlannedPartition, Shape};

use super::super::ending::Ending;
use super::super::grow::Tools;
use super::super::samples::sh;
use super::*;

const OFFSET: u64 = 4 << 20;
const LEN: u64 = 48 << 20;
const SHAPE: Shape = Shape {
    size: OFFSET + LEN + (1 << 20),
    logical_sector: 512,
};

/// What hivexsh adds to an empty hive.
const MASTER: &str = r"
add ControlSet001
cd ControlSet001
add Control
cd Control
add ComputerName
cd ComputerName
add ComputerName
cd ComputerName
setval 2
@
string:mnmsrvc
ComputerName
string:MASTER
cd \ControlSet001
add services
cd services
add Tcpip
cd Tcpip
add Parameters
cd Parameters
setval 4
NV Hostname
string:MASTER
HostName
string:master
DataBasePath
expandstring:%SystemRoot%\System32\drivers\etc
EnableICMPRedirect
dword:1
commit
";

/// A file that stands for a disk with one NTFS, and a directory for all else.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    /// `None` where the machine lacks something.
    fn new(hive: Option<&[u8]>) -> Option<Self> {
        let programs = [
            &PROGRAMS[..],
            &["mkntfs", "ntfs-3g", "hivexsh", "ntfsfix", "umount"],
        ]
        .concat();
        let tools = Tools::installed();
        let lacks: Vec<_> = programs
            .iter()
            .filter(|name| tools.find(name).is_none())
            .collect();
        if sh("id -u").trim() != "0" || !lacks.is_empty() {
            let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
            assert!(!is_strict, "needs root and {lacks:?}");
            return None;
        }
        let disk = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        File::create(disk.path("part"))
            .unwrap()
            .set_len(LEN)
            .unwrap();
        disk.sh("mkntfs -qFf part; mkdir mount");
        if let Some(hive) = hive {
            fs::write(disk.path("hive"), hive).unwrap();
            disk.sh(
                "ntfs-3g part mount && mkdir -p mount/Windows/System32/config && \
                 cp hive mount/Windows/System32/config/SYSTEM; umount mount",
            );
        }
        File::create(disk.path("disk"))
            .unwrap()
            .set_len(SHAPE.size)
            .unwrap();
        disk.sh("dd if=part of=disk bs=1M seek=4 conv=notrunc,sparse status=none");
        Some(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    fn sh(&self, line: &str) -> String {
        sh(&format!(
            "cd {} && {{ {line}; }}",
            self.dir.path().display()
        ))
    }

    fn set(&self, name: &str, tools: &Tools) -> Result<Named, Cause> {
        let target = Target::open(&self.path("disk"), &SHAPE).unwrap();
        let partition = PlannedPartition {
            number: 2,
            offset: OFFSET,
            len: LEN,
            original_len: LEN,
            kind: Kind::Mbr(7),
            guid: None,
            attributes: 0,
            name: String::new(),
            is_bootable: false,
            is_extended: false,
            is_swap: false,
            swap_uuid: None,
        };
        let place = Place {
            disk: WhichDisk::ONLY,
            partition: &partition,
            volume: None,
        };
        let ending = Ending::default();
        let programs = Programs::new(tools, &ending, &|_| {});
        set(place, &ComputerName::new(name).unwrap(), &target, &programs)
    }

    /// The NTFS as it is now, which has to be sound.
    #[track_caller]
    fn ntfs(&self) -> Vec<u8> {
        self.sh("dd if=disk of=part bs=1M skip=4 count=48 status=none && ntfsfix -n part");
        fs::read(self.path("part")).unwrap()
    }

    /// What hivexsh prints of a key's value.
    fn value(&self, key: &str, name: &str) -> String {
        self.ntfs();
        self.sh("ntfscat part Windows/System32/config/SYSTEM > now");
        fs::write(self.path("ask"), format!("cd {key}\nlsval {name}\n")).unwrap();
        self.sh("hivexsh -f ask now").trim().to_owned()
    }
}

/// A hive with nothing but its root, as documented for the format `regf` 1.3.
fn empty_hive() -> Vec<u8> {
    const NONE: u32 = u32::MAX;
    let mut bin = vec![0; 4096];
    let put = |bin: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        bin[at..at + bytes.len()].copy_from_slice(bytes)
    };
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect::<Vec<_>>()
    };
    put(&mut bin, 0, b"hbin");
    put(&mut bin, 8, &words(&[4096]));
    // The root, in a cell of 88 octets, and its security in one of 96.
    put(&mut bin, 0x20, &words(&[88u32.wrapping_neg()]));
    put(&mut bin, 0x24, b"nk\x2c\0");
    put(
        &mut bin,
        0x34,
        &words(&[NONE, 0, 0, NONE, NONE, 0, NONE, 0x78, NONE]),
    );
    put(&mut bin, 0x6c, &words(&[4]));
    put(&mut bin, 0x70, b"ROOT");
    put(&mut bin, 0x78, &words(&[96u32.wrapping_neg()]));
    put(&mut bin, 0x7c, b"sk\0\0");
    put(&mut bin, 0x80, &words(&[0x78, 0x78, 1, 60]));
    put(&mut bin, 0x90, &words(&[0x8004_0001, 20, 36, 0, 52]));
    put(&mut bin, 0xa4, &words(&[0x201, 0x0500_0000, 32, 0x220]));
    put(&mut bin, 0xb4, &words(&[0x201, 0x0500_0000, 32, 0x220]));
    put(&mut bin, 0xc4, &words(&[0x0008_0002, 0]));
    put(&mut bin, 0xd8, &words(&[4096 - 0xd8]));
    let mut head = vec![0; 4096];
    put(&mut head, 0, b"regf");
    put(&mut head, 4, &words(&[1, 1]));
    put(&mut head, 0x14, &words(&[1, 3, 0, 1, 0x20, 4096, 1]));
    let sum = head[..508].chunks(4).fold(0, |sum, word| {
        sum ^ u32::from_le_bytes(word.try_into().unwrap())
    });
    put(&mut head, 508, &words(&[sum]));
    [head, bin].concat()
}

/// A hive to which hivexsh has added something.
fn hive(added: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (hive, script) = (dir.path().join("hive"), dir.path().join("script"));
    fs::write(&hive, empty_hive()).unwrap();
    fs::write(&script, added.trim_start()).unwrap();
    sh(&format!(
        "hivexsh -w -f {} {}",
        script.display(),
        hive.display()
    ));
    fs::read(hive).unwrap()
}

/// As large as that of a Windows in use: with bins that are free.
fn large(mut hive: Vec<u8>) -> Vec<u8> {
    while hive.len() < 20 << 20 {
        let at = u32::try_from(hive.len() - HEADER).unwrap();
        let mut bin = vec![0; 4096];
        bin[..4].copy_from_slice(b"hbin");
        bin[4..8].copy_from_slice(&at.to_le_bytes());
        bin[8..12].copy_from_slice(&4096_u32.to_le_bytes());
        bin[32..36].copy_from_slice(&4064_u32.to_le_bytes());
        hive.extend(bin);
    }
    let bins = u32::try_from(hive.len() - HEADER).unwrap();
    hive[0x28..0x2c].copy_from_slice(&bins.to_le_bytes());
    let sum = hive[..508].chunks(4).fold(0, |sum, word| {
        sum ^ u32::from_le_bytes(word.try_into().unwrap())
    });
    hive[508..512].copy_from_slice(&sum.to_le_bytes());
    hive
}

#[test]
fn a_windows_gets_its_name() {
    let Some(disk) = Disk::new(Some(&large(hive(MASTER)))) else {
        return;
    };
    let (computer, network) = (
        r"\ControlSet001\Control\ComputerName\ComputerName",
        r"\ControlSet001\services\Tcpip\Parameters",
    );
    assert_eq!(disk.value(computer, "ComputerName"), "MASTER");
    let tools = Tools::installed();
    // Longer than the old one, and shorter.
    for name in ["LAB-01234567890", "PC1"] {
        assert_eq!(disk.set(name, &tools).unwrap(), Named::Done);
        assert_eq!(disk.value(computer, "ComputerName"), name);
        assert_eq!(disk.value(computer, "@"), "mnmsrvc");
        assert_eq!(disk.value(network, "HostName"), name);
        assert_eq!(disk.value(network, "NV Hostname"), name);
        assert_eq!(disk.value(network, "EnableICMPRedirect"), "1");
    }
    let before = disk.ntfs();
    assert_eq!(disk.set("PC1", &tools).unwrap(), Named::Done);
    assert!(disk.ntfs() == before, "it had the name");
}

#[test]
fn what_has_no_name_is_left_as_it_is() {
    let tools = Tools::installed();
    let closed = empty_hive();
    let mut open = closed.clone();
    open[4] += 1;
    let cut = &closed[..closed.len() - 512];
    let damaged = [&closed[..100], &[0xa5; 9000]].concat();
    let cases: [(Option<&[u8]>, Named); 6] = [
        (None, Named::NoWindows),
        (Some(b""), Named::Left(Why::NoHive)),
        (Some(&open), Named::Left(Why::NoHive)),
        (Some(cut), Named::Left(Why::NoHive)),
        (Some(&closed), Named::Left(Why::NoValue)),
        (Some(&damaged), Named::Left(Why::NoValue)),
    ];
    for (hive, expected) in cases {
        let Some(disk) = Disk::new(hive) else {
            return;
        };
        let before = disk.ntfs();
        assert_eq!(disk.set("LAB-01", &tools).unwrap(), expected);
        assert!(disk.ntfs() == before, "{expected:?}");
    }
}

#[test]
fn a_hive_that_was_put_back_in_part_is_a_failure() {
    let Some(disk) = Disk::new(Some(&hive(MASTER))) else {
        return;
    };
    let programs = disk.path("programs");
    fs::create_dir(&programs).unwrap();
    let fake = |text: &str| {
        let path = programs.join(PUT_BACK);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let tools = Tools::with(&programs);
    fake("exit 0");
    assert_eq!(
        disk.set("LAB-01", &tools).unwrap(),
        Named::Left(Why::NotTaken)
    );
    fake("kill -9 $$");
    let failure = disk.set("LAB-01", &tools).unwrap_err();
    assert!(failure.to_string().contains("half written"), "{failure}");
    let real = Tools::installed().find(PUT_BACK).unwrap();
    let half = disk.path("half").display().to_string();
    fake(&format!(
        "head -c 5000 $2 > {half} && exec {} $1 {half} $3",
        real.display()
    ));
    let failure = disk.set("LAB-01", &tools).unwrap_err();
    assert!(
        failure.to_string().contains("neither its old content"),
        "{failure}"
    );
}
