use super::*;
use crate::probe::{InUse, Transport};

fn disk(name: &str, size: u64) -> Disk {
    Disk {
        path: format!("/dev/{name}").into(),
        name: name.to_owned(),
        major: 8,
        minor: 0,
        size,
        logical_sector: 512,
        physical_sector: 512,
        is_removable: false,
        is_read_only: false,
        transport: Transport::Ata,
        model: Some("QEMU HARDDISK".to_owned()),
        serial: Some(format!("SN-{name}")),
        wwn: Some(format!("0x5000{name}")),
        in_use: Vec::new(),
    }
}

fn usb(name: &str, size: u64) -> Disk {
    Disk {
        is_removable: true,
        transport: Transport::Usb,
        ..disk(name, size)
    }
}

fn mounted(name: &str, size: u64) -> Disk {
    Disk {
        in_use: vec![InUse::Mounted {
            device: format!("{name}1"),
            at: "/mnt".into(),
        }],
        ..disk(name, size)
    }
}

fn fdrive(text: &str) -> Wish {
    Wish {
        fdrive: Some(text.to_owned()),
        ..Wish::default()
    }
}

fn links(path: &Path) -> Option<PathBuf> {
    (path == Path::new("/dev/disk/by-id/x")).then(|| "/dev/sdb".into())
}

#[track_caller]
fn chosen(disks: &[Disk], wish: &Wish) -> String {
    choose(disks, wish, &links).unwrap().disk.name.clone()
}

#[test]
fn without_a_wish_the_first_fixed_disk_is_taken() {
    let disks = [
        usb("sda", 9),
        disk("sdb", 0),
        mounted("sdc", 9),
        disk("sdd", 5),
        disk("sde", 7),
    ];
    let choice = choose(&disks, &Wish::default(), &links).unwrap();
    assert_eq!(choice.disk.name, "sdd");
    assert_eq!(choice.reason, "the first of 2 disks");
    // The stick and the mounted disk are named, the empty reader is not worth a word.
    assert_eq!(choice.warnings.len(), 2, "{:?}", choice.warnings);
}

#[test]
fn largest_and_smallest_prefer_the_first_of_equals() {
    let disks = [
        disk("sda", 5),
        disk("sdb", 9),
        disk("sdc", 9),
        disk("sdd", 5),
        usb("sde", 99),
    ];
    let largest = Wish {
        largest: true,
        ..Wish::default()
    };
    let smallest = Wish {
        smallest: true,
        ..Wish::default()
    };
    assert_eq!(chosen(&disks, &largest), "sdb");
    assert_eq!(chosen(&disks, &smallest), "sda");
}

#[test]
fn every_form_of_name_is_understood() {
    let disks = [disk("sda", 500), disk("sdb", 700)];
    for wanted in [
        "/dev/sdb",
        "/dev/disk/by-id/x",
        "700",
        "0x5000SDB",
        "sn-sdb",
        "sdb",
        " nonsense , /dev/sdb ",
    ] {
        assert_eq!(chosen(&disks, &fdrive(wanted)), "sdb", "{wanted}");
    }
    assert_eq!(chosen(&disks, &fdrive("")), "sda");
    let choice = choose(&disks, &fdrive("nonsense,sdb"), &links).unwrap();
    assert_eq!(choice.warnings, ["\"nonsense\" matches no disk"]);
}

#[test]
fn a_named_disk_is_never_replaced() {
    let disks = [disk("sda", 500)];
    let error = choose(&disks, &fdrive("/dev/nvme0n1"), &links).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ChooseError::NoMatch { .. }));
    for part in ["/dev/nvme0n1", "QEMU HARDDISK", "SN-sda", "500 bytes"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_name_for_two_disks_is_refused() {
    let disks = [disk("sda", 500), disk("sdb", 500)];
    let error = choose(&disks, &fdrive("500"), &links).unwrap_err();
    assert!(matches!(error, ChooseError::Ambiguous { count: 2, .. }));
}

#[test]
fn removable_disks_are_used_when_named_and_disks_in_use_never() {
    let disks = [usb("sda", 5), mounted("sdb", 5)];
    let choice = choose(&disks, &fdrive("sda"), &links).unwrap();
    assert_eq!(choice.warnings.len(), 1);
    let error = choose(&disks, &fdrive("sdb"), &links).unwrap_err();
    assert!(
        error.to_string().contains("sdb1 is mounted on /mnt"),
        "{error}"
    );
    let error = choose(&disks, &Wish::default(), &links).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("removable (USB)"), "{text}");
    assert!(text.contains("in use"), "{text}");
}

#[test]
fn no_disk_at_all_suggests_a_driver() {
    let error = choose(&[], &Wish::default(), &links).unwrap_err();
    assert!(error.to_string().contains("driver"), "{error}");
}

#[track_caller]
fn several(disks: &[Disk], wish: &Wish, wanted: &[(u32, Option<u64>)]) -> Vec<String> {
    let chosen = choose_several(disks, wish, wanted, &links).unwrap();
    let names = chosen.iter().map(|choice| choice.disk.name.clone());
    names.collect()
}

#[test]
fn an_image_of_several_disks_takes_them_in_their_order() {
    let disks = [
        usb("sda", 9),
        disk("sdb", 30),
        disk("sdc", 20),
        disk("sdd", 10),
    ];
    let two = [(1, None), (2, None)];
    assert_eq!(several(&disks, &Wish::default(), &two), ["sdb", "sdc"]);
    // Of an image that has no second disk the third one is still the third.
    let gap = [(1, None), (3, None)];
    assert_eq!(several(&disks, &Wish::default(), &gap), ["sdb", "sdd"]);
    assert_eq!(several(&disks, &fdrive("/dev/sdd"), &two), ["sdd", "sdb"]);
    let named = fdrive("SN-sdd,/dev/sdd, sda");
    assert_eq!(several(&disks, &named, &two), ["sdd", "sda"]);
}

#[test]
fn recorded_sizes_decide_if_each_is_that_of_one_disk() {
    let disks = [disk("sda", 30), disk("sdb", 20), disk("sdc", 20)];
    let turned = [(1, Some(20)), (2, Some(30))];
    // Two disks have 20 bytes.
    assert_eq!(several(&disks, &Wish::default(), &turned), ["sda", "sdb"]);
    let chosen = choose_several(&disks, &Wish::default(), &turned, &links).unwrap();
    assert!(chosen[0].warnings[0].contains("2 disks have the recorded size"));
    assert_eq!(
        several(&disks[..2], &Wish::default(), &turned),
        ["sdb", "sda"]
    );
    for wanted in [
        [(1, Some(20)), (2, None)],
        [(1, Some(20)), (2, Some(20))],
        [(1, Some(20)), (2, Some(31))],
    ] {
        assert_eq!(
            several(&disks[..2], &Wish::default(), &wanted),
            ["sda", "sdb"]
        );
    }
    // A name counts more than a size.
    assert_eq!(
        several(&disks[..2], &fdrive("sda"), &turned),
        ["sda", "sdb"]
    );
}

#[test]
fn a_disk_that_is_missing_is_not_replaced() {
    let disks = [disk("sda", 30), mounted("sdb", 20), usb("sdc", 10)];
    let two = [(1, None), (2, None)];
    let refused = |wish: &Wish| choose_several(&disks, wish, &two, &links).unwrap_err();
    let error = refused(&Wish::default());
    let is_missing = matches!(
        error,
        ChooseError::TooFew {
            needed: 2,
            usable: 1,
            ..
        }
    );
    assert!(is_missing, "{error}");
    assert!(matches!(
        refused(&fdrive("sda,sdx")),
        ChooseError::NoMatch { .. }
    ));
    assert!(matches!(
        refused(&fdrive("sda,sdb")),
        ChooseError::Refused { .. }
    ));
    assert!(matches!(
        refused(&fdrive("QEMU,sda")),
        ChooseError::NoMatch { .. }
    ));
}
