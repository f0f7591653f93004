//! What the virtual machines are made of.

use crate::process::Cmd;

/// Kinds of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Cards and disks that only virtual machines have: what Debian's cloud kernel has drivers for
    Virtual,
    /// As ordinary PCs have them, each another one; with Debian's full kernel
    Pc,
}

/// Network card and disk of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hardware {
    /// QEMU's name of the card.
    card: &'static str,
    pub(crate) bus: Bus,
}

/// How the disk hangs on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    VirtioBlk,
    /// SCSI, behind this controller of QEMU's.
    Scsi(&'static str),
    Nvme,
    Ahci,
    Usb,
}

/// Those of Debian's cloud kernel.
const VIRTUAL: [Hardware; 3] = [
    virtio(Bus::VirtioBlk),
    virtio(Bus::Scsi("virtio-scsi-pci")),
    virtio(Bus::Nvme),
];

/// A card on the mainboard and a SATA disk; both on USB; an older card and an NVMe disk.
const PCS: [Hardware; 3] = [
    with("e1000e", Bus::Ahci),
    with("usb-net", Bus::Usb),
    with("rtl8139", Bus::Nvme),
];

const fn virtio(bus: Bus) -> Hardware {
    with("virtio-net-pci", bus)
}

const fn with(card: &'static str, bus: Bus) -> Hardware {
    Hardware { card, bus }
}

impl Hardware {
    /// That of machine `number`, counted from 1: they take turns.
    pub(crate) fn of(kind: Kind, number: usize) -> Self {
        let all: &[Self] = match kind {
            Kind::Virtual => &VIRTUAL,
            Kind::Pc => &PCS,
        };
        all[(number - 1) % all.len()]
    }

    /// The disk, in words.
    pub(crate) fn disk(self) -> &'static str {
        match self.bus {
            Bus::VirtioBlk => "virtio-blk",
            Bus::Scsi(controller) => controller,
            Bus::Nvme => "nvme",
            Bus::Ahci => "SATA disk (AHCI)",
            Bus::Usb => "USB disk",
        }
    }

    /// The card, in words.
    pub(crate) fn card(self) -> &'static str {
        self.card
    }

    /// Whether the firmware can boot over this card: it knows none on USB.
    pub(crate) fn boots_from_network(self) -> bool {
        !self.is_on_usb()
    }

    fn is_on_usb(self) -> bool {
        self.card == "usb-net"
    }

    /// Adds the card for QEMU's network `net` and the disk of its drive `disk`. `options` are more of the card's.
    pub(crate) fn add(self, qemu: Cmd, mac: &str, serial: &str, options: &str) -> Cmd {
        let mut devices = Vec::new();
        if self.is_on_usb() || self.bus == Bus::Usb {
            devices.push(USB.to_owned());
        }
        let card = self.card;
        devices.push(if self.is_on_usb() {
            format!("{card},bus=usb.0,netdev=net,mac={mac}")
        } else {
            format!("{card},netdev=net,mac={mac},bootindex=1{options}")
        });
        devices.extend(self.disk_devices(serial, ""));
        with_devices(qemu, devices)
    }

    /// Adds the disk of QEMU's drive `disk` alone, to boot from.
    pub(crate) fn add_boot_disk(self, qemu: Cmd, serial: &str) -> Cmd {
        let mut devices = Vec::new();
        if self.bus == Bus::Usb {
            devices.push(USB.to_owned());
        }
        devices.extend(self.disk_devices(serial, ",bootindex=1"));
        with_devices(qemu, devices)
    }

    /// The disk, and its own controller. `options` are more of the disk's.
    fn disk_devices(self, serial: &str, options: &str) -> Vec<String> {
        let disk = format!("drive=disk,serial={serial}{options}");
        match self.bus {
            Bus::VirtioBlk => vec![format!("virtio-blk-pci,{disk},werror=report")],
            Bus::Scsi(controller) => vec![
                format!("{controller},id=controller"),
                format!("scsi-hd,bus=controller.0,{disk},werror=report"),
            ],
            Bus::Nvme => vec![format!("nvme,{disk}")],
            Bus::Ahci => vec![
                "ich9-ahci,id=controller".to_owned(),
                format!("ide-hd,bus=controller.0,{disk},werror=report"),
            ],
            Bus::Usb => vec![format!("usb-storage,bus=usb.0,{disk},werror=report")],
        }
    }
}

/// What all on USB hangs on.
const USB: &str = "qemu-xhci,id=usb";

fn with_devices(qemu: Cmd, devices: Vec<String>) -> Cmd {
    devices.into_iter().fold(qemu, |qemu, device| {
        qemu.args(["-device".to_owned(), device])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_take_turns() {
        let buses = |kind| [1, 2, 3, 4].map(|number| Hardware::of(kind, number).bus);
        assert_eq!(
            buses(Kind::Virtual),
            [
                Bus::VirtioBlk,
                Bus::Scsi("virtio-scsi-pci"),
                Bus::Nvme,
                Bus::VirtioBlk
            ]
        );
        assert_eq!(buses(Kind::Pc), [Bus::Ahci, Bus::Usb, Bus::Nvme, Bus::Ahci]);
    }
}
