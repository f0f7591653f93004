use super::*;
use crate::labels::LabelKind;
use crate::probe::{InUse, Transport};

pub(super) fn disk(name: &str, size: u64) -> Disk {
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
        usb_serial: None,
        wwn: Some(format!("0x5000{name}")),
        in_use: Vec::new(),
        labels: Vec::new(),
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

fn label(kind: LabelKind, partition: Option<u32>, uuid: &str) -> DiskLabel {
    DiskLabel {
        kind,
        partition,
        uuid: Some(uuid.to_owned()),
    }
}

#[test]
fn the_uuid_of_a_file_system_on_the_whole_disk_names_it() {
    let uuid = "0aB0f5d2-0000-4000-8000-00000000cafe";
    let mut disks = [disk("sda", 500), disk("sdb", 700)];
    disks[1].labels = vec![label(LabelKind::FileSystem("ext2/3/4"), None, uuid)];
    for wanted in [
        uuid.to_owned(),
        uuid.to_uppercase(),
        format!("/dev/disk/by-uuid/{}", uuid.to_lowercase()),
    ] {
        assert_eq!(chosen(&disks, &fdrive(&wanted)), "sdb", "{wanted}");
    }
    // An array has it on each of its disks, a partition is not the disk.
    for other in [
        label(LabelKind::LinuxRaid, None, uuid),
        label(LabelKind::FileSystem("XFS"), Some(1), uuid),
    ] {
        disks[1].labels = vec![other];
        let error = choose(&disks, &fdrive(uuid), &links).unwrap_err();
        assert!(matches!(error, ChooseError::NoMatch { .. }), "{error}");
    }
}

/// Labels are read only where they matter: the order of the names does.
#[test]
fn a_name_that_no_disk_has_yet_is_noticed() {
    let uuid = "0ab0f5d2-0000-4000-8000-00000000cafe";
    let mut disks = [disk("sda", 500), disk("sdb", 700)];
    let wish = fdrive(&format!("{uuid},/dev/sda"));
    assert!(!knows_all_names(&disks, &wish, &links));
    disks[1].labels = vec![label(LabelKind::FileSystem("ext2/3/4"), None, uuid)];
    assert!(knows_all_names(&disks, &wish, &links));
    assert_eq!(chosen(&disks, &wish), "sdb");
    assert!(knows_all_names(&disks, &Wish::default(), &links));
}

#[test]
fn links_of_an_installed_system_are_understood_without_udev() {
    let disks = [disk("sda", 500), disk("sdb", 700)];
    let wanted = "/dev/disk/by-id/ata-QEMU_HARDDISK_SN-sda";
    assert_eq!(chosen(&disks, &fdrive(wanted)), "sda");
    let partition = format!("{wanted}-part1");
    choose(&disks, &fdrive(&partition), &links).unwrap_err();
    // Where there is such a link, it decides.
    let elsewhere = |_: &Path| Some(PathBuf::from("/dev/sdb"));
    let choice = choose(&disks, &fdrive(wanted), &elsewhere);
    assert_eq!(choice.unwrap().disk.name, "sdb");
}

#[test]
fn only_removable_disks_come_with_a_hint_how_to_name_one() {
    let mut stick = usb("sda", 5);
    let text = |disk: &Disk| {
        let disks = [disk.clone(), mounted("sdb", 5)];
        choose(&disks, &Wish::default(), &links)
            .unwrap_err()
            .to_string()
    };
    assert!(
        text(&stick).contains("--device SN-sda;"),
        "{}",
        text(&stick)
    );
    // A name that would have to be quoted is none to type.
    stick.serial = Some("two words".into());
    assert!(
        text(&stick).contains("fdrive=0x5000sda"),
        "{}",
        text(&stick)
    );
    stick.wwn = None;
    assert!(text(&stick).contains("fdrive=/dev/sda"), "{}", text(&stick));
    let text = choose(&[mounted("sdb", 5)], &Wish::default(), &links)
        .unwrap_err()
        .to_string();
    assert!(!text.contains("fdrive"), "{text}");
}

#[test]
fn what_is_on_the_first_of_several_disks_is_said_and_can_be_refused() {
    let mut disks = [disk("sda", 500), disk("sdb", 700)];
    disks[0].labels = vec![label(LabelKind::Zfs, Some(1), "1")];
    let choice = choose(&disks, &Wish::default(), &links).unwrap();
    let text = choice.overwrites.unwrap().to_string();
    assert!(
        text.contains("/dev/sda is overwritten") && text.contains("ZFS pool on partition 1"),
        "{text}"
    );
    assert!(choice.is_one_of_several);
    // The only disk, one that was named, and one without labels.
    assert!(
        choose(&disks[..1], &Wish::default(), &links)
            .unwrap()
            .overwrites
            .is_none()
    );
    assert!(
        choose(&disks, &fdrive("sda"), &links)
            .unwrap()
            .overwrites
            .is_none()
    );
    let largest = Wish {
        largest: true,
        ..Wish::default()
    };
    assert!(
        choose(&disks, &largest, &links)
            .unwrap()
            .overwrites
            .is_none()
    );

    let refuse = Wish {
        labelled: Labelled::Refuse,
        ..Wish::default()
    };
    for disks in [&disks[..], &disks[..1]] {
        let error = choose(disks, &refuse, &links).unwrap_err();
        assert!(matches!(error, ChooseError::Labelled { .. }), "{error}");
    }
    let named = Wish {
        fdrive: Some("sda".into()),
        ..refuse
    };
    assert_eq!(chosen(&disks, &named), "sda");
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
fn what_is_on_several_disks_is_said_and_can_be_refused() {
    let mut disks = [disk("sda", 500), disk("sdb", 700), disk("sdc", 900)];
    disks[1].labels = vec![label(LabelKind::Zfs, Some(1), "1")];
    let two = [(1, None), (2, None)];
    let chosen = choose_several(&disks, &Wish::default(), &two, &links).unwrap();
    assert!(chosen.iter().all(|choice| choice.is_one_of_several));
    let overwrites = chosen.iter().map(|choice| choice.overwrites.is_some());
    assert_eq!(overwrites.collect::<Vec<_>>(), [false, true]);
    let named = choose_several(&disks, &fdrive("sdc,sdb"), &two, &links).unwrap();
    assert!(named.iter().all(|choice| choice.overwrites.is_none()));
    let refuse = Wish {
        labelled: Labelled::Refuse,
        ..Wish::default()
    };
    let error = choose_several(&disks, &refuse, &two, &links).unwrap_err();
    assert!(matches!(error, ChooseError::Labelled { .. }), "{error}");
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
