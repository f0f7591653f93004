//! The network cards of this machine, from sysfs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fog::Mac;

/// One Ethernet card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nic {
    /// Name in the kernel, such as `eth0`.
    pub(crate) name: String,
    /// Its address when it was first seen.
    pub(crate) mac: Mac,
    /// The kernel's number for it: another one after it was plugged in again.
    index: u32,
    dir: PathBuf,
}

impl Nic {
    /// Whether there is a link; `false` also while the card is switched off.
    pub(crate) fn has_carrier(&self) -> bool {
        // Reading the file of a card that is down fails with EINVAL.
        read(&self.dir.join("carrier")).is_ok_and(|text| text == "1")
    }

    /// An interface on top of this card, which has its address.
    pub(super) fn within(&self, class: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: class.join(name),
            ..self.clone()
        }
    }

    /// The kernel's number for it.
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Whether the kernel has it.
    pub(super) fn exists(&self) -> bool {
        self.dir.exists()
    }
}

/// Lists the Ethernet cards below `class` (`/sys/class/net`), by name.
///
/// Left out: what is no Ethernet, what has no device behind it (loopback, bridges, VLANs), and
/// wireless cards, which cannot join a network without a key.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn list(class: &Path) -> io::Result<Vec<Nic>> {
    let mut cards = Vec::new();
    for entry in fs::read_dir(class)? {
        let dir = entry?.path();
        let Some(name) = dir.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let is_ethernet = read(&dir.join("type")).is_ok_and(|kind| kind == ARPHRD_ETHER);
        let is_wireless = dir.join("phy80211").exists() || dir.join("wireless").exists();
        let is_card = dir.join("device").exists();
        if !is_ethernet || is_wireless || !is_card {
            continue;
        }
        if let Some(mac) = read(&dir.join("address"))
            .ok()
            .and_then(|text| text.parse().ok())
        {
            let index = read(&dir.join("ifindex")).ok();
            cards.push(Nic {
                name: name.to_owned(),
                mac,
                index: index.and_then(|text| text.parse().ok()).unwrap_or_default(),
                dir,
            });
        }
    }
    cards.sort_by(|a, b| fog::store::natural_cmp(&a.name, &b.name));
    Ok(cards)
}

/// Puts the card that the server knows first.
pub(crate) fn prefer(cards: &mut [Nic], wanted: &[Mac]) {
    cards.sort_by_key(|card| !wanted.contains(&card.mac));
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim().to_owned())
}

/// `include/uapi/linux/if_arp.h`
const ARPHRD_ETHER: &str = "1";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn at(name: &str, mac: &str) -> Nic {
        Nic {
            name: name.into(),
            mac: mac.parse().unwrap(),
            index: 0,
            dir: PathBuf::from("/nonexistent"),
        }
    }

    pub(in super::super) fn numbered(name: &str, index: u32) -> Nic {
        Nic {
            index,
            ..at(name, "02:00:00:00:00:01")
        }
    }

    pub(in super::super) fn card(class: &Path, name: &str, files: &[(&str, &str)]) {
        let dir = class.join(name);
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in files {
            fs::write(dir.join(file), text).unwrap();
        }
    }

    #[test]
    fn only_wired_cards_are_listed_and_the_known_one_is_first() {
        let class = tempfile::tempdir().unwrap();
        let at = class.path();
        let wired = |mac| [("type", "1\n"), ("address", mac), ("device", "")];
        card(at, "eth10", &wired("00:00:00:00:00:10\n"));
        card(at, "eth2", &wired("00:00:00:00:00:02\n"));
        card(at, "eth0", &wired("00:00:00:00:00:00\n"));
        card(
            at,
            "lo",
            &[("type", "772\n"), ("address", "00:00:00:00:00:00\n")],
        );
        card(
            at,
            "br0",
            &[("type", "1\n"), ("address", "00:00:00:00:00:0b\n")],
        );
        card(at, "wlan0", &wired("00:00:00:00:00:0c\n"));
        fs::create_dir(at.join("wlan0/phy80211")).unwrap();

        let mut cards = list(at).unwrap();
        let names =
            |cards: &[Nic]| -> Vec<String> { cards.iter().map(|card| card.name.clone()).collect() };
        assert_eq!(names(&cards), ["eth0", "eth2", "eth10"]);
        prefer(&mut cards, &["00:00:00:00:00:10".parse().unwrap()]);
        assert_eq!(names(&cards), ["eth10", "eth0", "eth2"]);

        assert!(!cards[0].has_carrier());
        fs::write(at.join("eth10/carrier"), "1\n").unwrap();
        assert!(cards[0].has_carrier());
    }
}
