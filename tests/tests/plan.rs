//! `fos-agent plan` from outside, compared with the tables that FOG's client computes.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use disk::{Dump, DumpLabel, DumpPartition};
use fos_tests::need::root_and_tools;
use fos_tests::site::program;
use fos_tests::table::boot_area;
use image_writer::Recipe;
use serde_json::Value;

fn plan(directory: &Path, options: &str) -> Output {
    Command::new(program("fos-agent"))
        .arg("plan")
        .arg(directory)
        .args(options.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn json(directory: &Path, options: &str) -> (Option<i32>, Value) {
    let output = plan(directory, &format!("{options} --json"));
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), value)
}

/// An image directory in the making.
struct Image(tempfile::TempDir);

impl Image {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The small files of the image that FOG's client captured.
    fn real() -> Self {
        let image = Self::new();
        for entry in fs::read_dir(testdata("realgptn")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            if name == "d1.mbr.head" {
                bytes.resize(1 << 20, 0);
                image.put("d1.mbr", &bytes);
            } else if name.starts_with("d1.") {
                image.put(name, &bytes);
            }
        }
        image
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

#[test]
fn an_image_of_fogs_client_gets_the_tables_that_it_would_make() {
    let image = Image::real();
    for (size, expected) in [
        (2_306_867_200_u64, "expected-2306867200.sfdisk"),
        (2_306_867_200, "deployed-by-FOS-2306867200.sfdisk"),
        (3_221_225_472, "expected-3221225472.sfdisk"),
        (4_294_967_296, "expected-4294967296.sfdisk"),
    ] {
        let output = plan(image.path(), &format!("--disk-size {size} --sfdisk"));
        let expected = fs::read_to_string(testdata("realgptn").join(expected)).unwrap();
        assert_eq!(printed(&output), expected, "{size}");
    }
    let (status, refused) = json(image.path(), "--disk-size 1000000000");
    assert_eq!(status, Some(3));
    assert_eq!(refused["ok"], false);
    assert_eq!(refused["refusal"]["code"], "disk-too-small");
    assert_eq!(refused["refusal"]["disk"], true);
    let (status, refused) = json(image.path(), "--disk-size 4294967296 --sector-size 4096");
    assert_eq!(status, Some(3));
    assert_eq!(refused["refusal"]["code"], "sector-size");
}

/// Refused by both: a partition would begin behind the end of the disk.
const REFUSED_BY_BOTH: [&str; 6] = [
    "a3-gpt512-50000000",
    "fe5-unusable",
    "me5-too-small",
    "r026",
    "r038",
    "r064",
];
/// Refused, where FOG's client cuts a partition below what its content needs.
const REFUSED: [&str; 13] = [
    "a3-gpt512-61000000",
    "fe3-barely-fits-gpt",
    "h-gpt-all-fixed-smaller",
    "r028",
    "r052",
    "r056",
    "r089",
    "r100",
    "r110",
    "r184",
    "r193",
    "r225",
    "r278",
];
/// Another layout. FOG's client takes types 85 and F for partitions with data, lets an empty container
/// reach into the next partition, and rounds down what a partition needs.
const OTHER: [&str; 6] = [
    "h-mbr-ext-no-logicals",
    "h-mbr-ext85",
    "h-mbr-type0F-upper",
    "r042",
    "r163",
    "r165",
];

#[test]
fn all_layouts_are_those_of_fogs_client_or_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/disk/testdata/fill");
    let mut vectors: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    vectors.sort();
    assert_eq!(vectors.len(), 80);
    for vector in &vectors {
        let name = vector.file_name().unwrap().to_str().unwrap();
        let read = |file: &str| fs::read_to_string(vector.join(file)).ok();
        let image = Image::new();
        let original = read("original.sfdisk").unwrap();
        let minimum = read("minimum.sfdisk");
        let shrunken = minimum.as_ref().unwrap_or(&original);
        image.put("d1.mbr", &boot_area(&Dump::parse(shrunken).unwrap()));
        image.put("d1.partitions", original.as_bytes());
        if let Some(minimum) = &minimum {
            image.put("d1.minimum.partitions", minimum.as_bytes());
        }
        image.put(
            "d1.fixed_size_partitions",
            read("fixed.txt").unwrap().as_bytes(),
        );
        let disk = read("disk.txt").unwrap();
        let number = |key: &str| {
            let line = disk.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim().to_owned()
        };
        let options = format!(
            "--disk-size {} --sector-size {} --type n",
            number("bytes:"),
            number("sector-size:")
        );
        let output = plan(image.path(), &format!("{options} --sfdisk"));
        let expected = read("expected.sfdisk").map(|text| Dump::parse(&text).unwrap());
        let (status, report) = json(image.path(), &options);
        let lists = [&REFUSED_BY_BOTH[..], &REFUSED, &OTHER];
        let [by_both, by_us, other] = lists.map(|list| list.contains(&name));
        assert_eq!(expected.is_none(), by_both, "{name}");
        if by_both || by_us {
            assert_eq!(status, Some(3), "{name}: {report}");
            assert_eq!(
                report["refusal"]["code"], "disk-too-small",
                "{name}: {report}"
            );
            assert_eq!(output.status.code(), Some(3), "{name}");
            assert!(output.stdout.is_empty(), "{name}");
            continue;
        }
        assert_eq!(status, Some(0), "{name}: {report}");
        let ours = Dump::parse(&printed(&output)).unwrap();
        let is_same = is_same(&ours, &expected.unwrap());
        assert_eq!(is_same, !other, "{name}: {ours}");
    }
}

/// Whether two dumps are of one table. What the expected one does not say is not compared.
fn is_same(ours: &Dump, expected: &Dump) -> bool {
    fn used(dump: &Dump) -> impl Iterator<Item = &DumpPartition> {
        dump.partitions.iter().filter(|line| line.size > 0)
    }
    let is_gpt = ours.label == Some(DumpLabel::Gpt);
    used(ours).count() == used(expected).count()
        && used(ours).zip(used(expected)).all(|(ours, expected)| {
            let is_kind = if is_gpt {
                ours.gpt_kind() == expected.gpt_kind()
            } else {
                ours.mbr_kind() == expected.mbr_kind()
            };
            is_kind
                && (ours.number, ours.start, ours.size, ours.is_bootable)
                    == (
                        expected.number,
                        expected.start,
                        expected.size,
                        expected.is_bootable,
                    )
                && (expected.uuid.is_none() || ours.uuid == expected.uuid)
                && ours.name == expected.name
                && ours.attrs == expected.attrs
        })
}

/// Two partitions of an MBR disk, the first one with data.
fn with_data() -> Image {
    let dump = "label: dos\nlabel-id: 0x12345678\ndevice: /dev/sda\nunit: sectors\nsector-size: 512\n\n\
        /dev/sda1 : start=2048, size=20480, type=83, bootable\n\
        /dev/sda2 : start=22528, size=20480, type=82\n";
    let image = Image::new();
    image.put("d1.mbr", &boot_area(&Dump::parse(dump).unwrap()));
    image.put("d1.partitions", dump.as_bytes());
    image.put(
        "d1.original.swapuuids",
        b"2 0c0ffee0-0000-4000-8000-00000000abcd\n",
    );
    let stored =
        Recipe::v2(4096, vec![true; 2560]).write(|block| vec![block.to_le_bytes()[0]; 4096]);
    let (first, second) = stored.split_at(stored.len() / 2);
    image.put("d1p1.img.000", first);
    image.put("d1p1.img.001", second);
    image
}

#[test]
fn the_steps_are_those_of_a_deploy() {
    let image = with_data();
    let (status, report) = json(image.path(), "--disk-size 64000000");
    assert_eq!(status, Some(0), "{report}");
    assert_eq!(report["image"]["type"], "mps");
    assert_eq!(report["image"]["has_data"], true);
    let steps = report["steps"].as_array().unwrap();
    let codes: Vec<_> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["clear", "stream", "ntfs-copies", "swap", "table"]);
    let pieces = ["d1p1.img.000", "d1p1.img.001"];
    let lens = pieces.map(|name| fs::metadata(image.path().join(name)).unwrap().len());
    assert_eq!(steps[1]["stream"], "d1p1.img");
    assert_eq!(steps[1]["stored_len"], lens.iter().sum::<u64>());
    assert_eq!(
        (&steps[1]["partition"], &steps[3]["partition"]),
        (&1.into(), &2.into())
    );
    let partitions = report["table"]["partitions"].as_array().unwrap();
    assert_eq!(partitions[0]["offset"], 1 << 20);
    assert_eq!(
        partitions[1]["swap_uuid"],
        "0c0ffee0-0000-4000-8000-00000000abcd"
    );
    assert_eq!(report["warnings"], Value::Array(Vec::new()));

    let text = printed(&plan(image.path(), "--disk-size 64000000"));
    for step in steps {
        assert!(text.contains(step["text"].as_str().unwrap()), "{text}");
    }
    assert!(text.ends_with("Nothing was written.\n"), "{text}");
}

#[test]
fn what_a_deploy_would_refuse_has_a_status_of_its_own() {
    let code = |image: &Image, options: &str| {
        let (status, report) = json(image.path(), options);
        assert_eq!(status, Some(3), "{report}");
        report["refusal"]["code"].as_str().unwrap().to_owned()
    };
    let size = "--disk-size 64000000";
    // There is one file of a whole disk, or its pieces.
    assert_eq!(
        code(&with_data(), &format!("{size} --type dd")),
        "incomplete"
    );
    assert_eq!(code(&with_data(), &format!("{size} {size}")), "disks");
    assert_eq!(
        code(&with_data(), &format!("{size} --type n --os 3")),
        "operating-system"
    );
    let image = with_data();
    fs::remove_file(image.path().join("d1.mbr")).unwrap();
    assert_eq!(code(&image, size), "missing-file");
    let image = with_data();
    fs::remove_file(image.path().join("d1p1.img.000")).unwrap();
    assert_eq!(code(&image, size), "incomplete");
    let image = with_data();
    image.put("d1p1.img.000", b"no image");
    fs::remove_file(image.path().join("d1p1.img.001")).unwrap();
    assert_eq!(code(&image, size), "image");
    let image = with_data();
    image.put("d1p2.lvm", b"LVMFORMAT 2\n");
    assert_eq!(code(&image, size), "logical-volumes");
    let image = with_data();
    image.put("d1.original.swapuuids", &vec![0; 5 << 20]);
    assert_eq!(code(&image, size), "large-file");
}

#[test]
fn what_cannot_be_read_is_a_failure() {
    let (status, report) = json(Path::new("/nonexistent"), "--disk-size 64000000");
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report["refusal"], Value::Null);
    // A pipe with this name must not keep the command waiting for a writer.
    let image = with_data();
    let fifo = image.path().join("d1.minimum.partitions");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (status, report) = json(image.path(), "--disk-size 64000000");
    assert_eq!(status, Some(1), "{report}");
    let output = plan(image.path(), "--disk-size 0");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_disk_that_is_planned_for_is_not_written_to() {
    if !root_and_tools(&["losetup"]) {
        return;
    }
    let image = Image::real();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk");
    let content = vec![0xa5; 8 << 20];
    fs::write(&file, &content).unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(4 << 30)
        .unwrap();
    let options = format!("--disk {} --sfdisk", file.display());
    let text = printed(&plan(image.path(), &options));
    assert!(
        text.contains(&format!("\n{}3 : start=", file.display())),
        "{text}"
    );

    let losetup = |line: &str| {
        let output = Command::new("losetup")
            .args(line.split_whitespace())
            .output()
            .unwrap();
        printed(&output)
    };
    let device = losetup(&format!("--show -f -b 4096 {}", file.display()));
    let (status, report) = json(image.path(), &format!("--disk {}", device.trim()));
    losetup(&format!("-d {}", device.trim()));
    assert_eq!(status, Some(3), "{report}");
    assert_eq!(report["refusal"]["code"], "sector-size", "{report}");
    let device = losetup(&format!("--show -f {}", file.display()));
    let text = printed(&plan(image.path(), &format!("--disk {}", device.trim())));
    losetup(&format!("-d {}", device.trim()));
    assert!(text.contains("4.3 GB, 512-byte sectors"), "{text}");
    let mut after = fs::read(&file).unwrap();
    after.truncate(content.len());
    assert!(after == content, "it was written to");
}
