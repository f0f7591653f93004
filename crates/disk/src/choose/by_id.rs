//! The names that udev gives to disks below `/dev/disk/by-id`. A boot image has no udev and no such links, but people
//! copy these names from an installed system.
//!
//! A name is a bus, `-`, and the world wide name, or model and serial number, in which everything unusual is `_`
//! (`60-persistent-storage.rules`). The kernel shows the first 16 characters of an ATA disk's model only, so the serial
//! number decides, and as much of the model as is known must fit.

use crate::probe::{Disk, Transport};

/// Whether `name`, without its directory, means this disk.
pub(super) fn means(name: &str, disk: &Disk) -> bool {
    let Some((bus, rest)) = name.split_once('-') else {
        return false;
    };
    let wwn = disk.wwn.as_deref().unwrap_or_default();
    let is_wwn = |text: &str| !text.is_empty() && text.eq_ignore_ascii_case(wwn);
    match bus {
        "wwn" => is_wwn(rest),
        // Of NVMe the name is the one that the kernel has, of SCSI the digits behind the kind of name.
        "nvme" if is_wwn(rest) => true,
        "scsi"
            if rest
                .strip_prefix('3')
                .is_some_and(|digits| is_wwn(&format!("0x{digits}"))) =>
        {
            true
        }
        "nvme" if disk.transport == Transport::Nvme => {
            is_model_and_serial(rest, disk)
                || without_number(rest, '_').is_some_and(|rest| is_model_and_serial(rest, disk))
        }
        "ata" | "scsi"
            if matches!(
                disk.transport,
                Transport::Ata | Transport::Scsi | Transport::Usb
            ) =>
        {
            is_model_and_serial(rest, disk)
        }
        // The number of a disk in its case is behind it: `-0:0`.
        "usb" if disk.transport == Transport::Usb => {
            let rest = rest.rsplit_once('-').map_or(rest, |(rest, _)| rest);
            is_model_and_serial(rest, disk)
        }
        "mmc" if matches!(disk.transport, Transport::Emmc | Transport::Sd) => {
            is_model_and_serial(rest, disk)
        }
        "virtio" if disk.transport == Transport::Virtio => {
            serials(disk).any(|serial| serial == rest)
        }
        _ => false,
    }
}

/// `MODEL_SERIAL`; the model as far as it is known.
fn is_model_and_serial(text: &str, disk: &Disk) -> bool {
    let known = disk.model.as_deref().map(plain).unwrap_or_default();
    serials(disk).any(|serial| {
        let model = text
            .strip_suffix(&serial)
            .and_then(|text| text.strip_suffix('_'));
        // SCSI may put a digit or "S" in front.
        model.is_some_and(|model| {
            let bare = model.strip_prefix(['0', '1', 'S']).unwrap_or(model);
            [model, bare].iter().any(|model| {
                model.starts_with(&known) || model.ends_with(&known) || known.ends_with(model)
            })
        })
    })
}

fn without_number(text: &str, before: char) -> Option<&str> {
    let (rest, number) = text.rsplit_once(before)?;
    number.parse::<u32>().is_ok().then_some(rest)
}

fn serials(disk: &Disk) -> impl Iterator<Item = String> {
    disk.serials().map(plain)
}

/// As udev writes a text: runs of blanks are one `_`, and so is everything that is not allowed.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join("_")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::disk;
    use super::*;

    fn of(transport: Transport, model: &str, serial: &str, wwn: Option<&str>) -> Disk {
        Disk {
            transport,
            model: Some(model.into()),
            serial: Some(serial.into()),
            wwn: wwn.map(str::to_owned),
            ..disk("sda", 500)
        }
    }

    #[test]
    fn names_of_every_bus_are_understood() {
        let ata = of(
            Transport::Ata,
            "Samsung SSD 870",
            "S5Y1NG0N123456",
            Some("0x5002538f41234567"),
        );
        let nvme = of(
            Transport::Nvme,
            "WDC SN730",
            "20123F800123",
            Some("eui.0025385b01234567"),
        );
        let usb = Disk {
            usb_serial: Some("070B4A33".into()),
            ..of(Transport::Usb, "SanDisk Ultra Fit", "1", None)
        };
        let scsi = of(Transport::Scsi, "QEMU QEMU HARDDISK", "FOS 1", None);
        let virtio = of(Transport::Virtio, "", "disk-one", None);
        let sd = of(Transport::Sd, "SD32G", "0x1234abcd", None);
        for (name, expected) in [
            ("ata-Samsung_SSD_870_EVO_500GB_S5Y1NG0N123456", &ata),
            ("wwn-0x5002538f41234567", &ata),
            ("scsi-35002538f41234567", &ata),
            ("scsi-SATA_Samsung_SSD_870_S5Y1NG0N123456", &ata),
            ("nvme-WDC_SN730_20123F800123", &nvme),
            ("nvme-WDC_SN730_20123F800123_1", &nvme),
            ("nvme-eui.0025385b01234567", &nvme),
            ("usb-SanDisk_Ultra_Fit_070B4A33-0:0", &usb),
            ("scsi-0QEMU_QEMU_HARDDISK_FOS_1", &scsi),
            ("virtio-disk-one", &virtio),
            ("mmc-SD32G_0x1234abcd", &sd),
        ] {
            for disk in [&ata, &nvme, &usb, &scsi, &virtio, &sd] {
                let is_expected = std::ptr::eq(disk, expected);
                assert_eq!(means(name, disk), is_expected, "{name} {disk}");
            }
        }
    }

    #[test]
    fn a_partition_another_model_and_half_a_serial_number_are_no_disk() {
        let ata = of(Transport::Ata, "Samsung SSD 870", "S5Y1NG0N123456", None);
        for name in [
            "ata-Samsung_SSD_870_EVO_500GB_S5Y1NG0N123456-part1",
            "ata-WDC_WD10EZEX_S5Y1NG0N123456",
            "ata-Samsung_SSD_870_EVO_500GB_NG0N123456",
            "usb-Samsung_SSD_870_S5Y1NG0N123456-0:0",
            "wwn-",
            "ata-",
            "S5Y1NG0N123456",
        ] {
            assert!(!means(name, &ata), "{name}");
        }
    }
}
