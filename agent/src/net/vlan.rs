//! A VLAN that the kernel arguments ask for: `vlan=5` on every card, or as dracut has it, `vlan=eth0.5:eth0`.

use std::io;
use std::path::Path;

use fog::KernelArgs;

use super::dhcp;
use super::nic::Nic;

/// Which frames are for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vlan {
    id: u16,
    /// The only card that carries it; the others are used without.
    card: Option<String>,
}

/// The argument makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "kernel argument vlan={value:?} is not usable: expected a number from 1 to 4094, or NAME:CARD with such a number \
     at the end of NAME (for example vlan=5 or vlan=eth0.5:eth0)"
)]
pub(crate) struct VlanError {
    value: String,
}

impl Vlan {
    /// What the kernel arguments say; `None` without a VLAN.
    ///
    /// # Errors
    /// They say it in another way.
    pub(crate) fn of(args: &KernelArgs) -> Result<Option<Self>, VlanError> {
        let Some(value) = args.value("vlan") else {
            return Ok(None);
        };
        let (name, card) = match value.split_once(':') {
            Some((name, card)) => (name, Some(card)),
            None => (value, None),
        };
        // dracut's names: vlan0005, vlan5, eth0.0005, eth0.5.
        let digits = match card {
            None => name,
            Some(_) => match name.rsplit_once('.') {
                Some((_, digits)) => digits,
                None => name.strip_prefix("vlan").unwrap_or_default(),
            },
        };
        let is_number = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
        let id = digits.parse().ok().filter(|id| (1..=4094).contains(id));
        let is_card = |card: &str| {
            let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
            !card.is_empty() && card.bytes().all(is_plain)
        };
        match id {
            Some(id) if is_number && card.is_none_or(is_card) => Ok(Some(Self {
                id,
                card: card.map(str::to_owned),
            })),
            _ => Err(VlanError {
                value: fog::encoding::printable(value, 60),
            }),
        }
    }

    /// The card as it is seen in the VLAN; itself if another one carries it.
    ///
    /// # Errors
    /// The kernel cannot do that. The reason is for people.
    pub(super) fn enter(&self, card: &Nic, class: &Path) -> Result<Nic, String> {
        if self.card.as_ref().is_some_and(|only| *only != card.name) {
            return Ok(card.clone());
        }
        let inner = card.within(class, &self.name_on(card));
        let fail = |error: io::Error| {
            format!(
                "VLAN {} cannot be used ({error}); the boot image needs a kernel with VLANs (its module 8021q)",
                self.id
            )
        };
        if !inner.exists() {
            let id = self.id.to_string();
            let link = ["link", "add", "link", &card.name, "name", &inner.name];
            let kind = ["type", "vlan", "id", &id];
            dhcp::ip(&[&link[..], &kind].concat()).map_err(fail)?;
        }
        dhcp::ip(&["link", "set", "dev", &inner.name, "up"]).map_err(fail)?;
        Ok(inner)
    }

    /// At most 15 characters, which is what the kernel takes; another one on each card.
    fn name_on(&self, card: &Nic) -> String {
        let name = format!("{}.{}", card.name, self.id);
        if name.len() <= NAME_MAX {
            return name;
        }
        format!("v{}.{:x}", self.id, card.index())
    }
}

/// `IFNAMSIZ` without the zero at the end (`include/uapi/linux/if.h`).
const NAME_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::super::nic;
    use super::*;

    fn of(line: &str) -> Result<Option<Vlan>, VlanError> {
        Vlan::of(&KernelArgs::parse(line))
    }

    #[test]
    fn a_vlan_is_a_number_or_a_name_and_a_card() {
        let vlan = |id, card: Option<&str>| {
            let card = card.map(str::to_owned);
            Ok(Some(Vlan { id, card }))
        };
        assert_eq!(of("quiet vlan= web=http://a/"), Ok(None));
        assert_eq!(of("vlan=5"), vlan(5, None));
        assert_eq!(of("vlan=4094"), vlan(4094, None));
        for name in ["vlan5", "vlan0005", "eth0.5", "eth0.0005"] {
            assert_eq!(of(&format!("vlan={name}:eth0")), vlan(5, Some("eth0")));
        }
    }

    #[test]
    fn what_is_no_vlan_is_refused() {
        for value in [
            "0",
            "4095",
            "99999",
            "-1",
            "+5",
            "eth0.5",
            "five",
            "vlan5",
            "eth0.5:",
            "lab:eth0",
            "5:eth0",
            "vlan:eth0",
            "vlan5:eth0;reboot",
            "vlan5:../x",
            "vlan5:eth0:eth1",
        ] {
            let error = of(&format!("vlan={value}")).unwrap_err();
            assert_eq!(error.value, value);
        }
    }

    #[test]
    fn the_interface_has_a_name_that_the_kernel_takes_and_no_other_card_has() {
        let vlan = Vlan {
            id: 4094,
            card: None,
        };
        let name = |name, index| vlan.name_on(&nic::tests::numbered(name, index));
        assert_eq!(name("eth0", 2), "eth0.4094");
        assert_eq!(name("enx0050b6abcdef", 3), "v4094.3");
        assert_eq!(name("enx0050b6abcdee", 27), "v4094.1b");
        assert!(name("enx0050b6abcdef", u32::MAX).len() <= NAME_MAX);
    }
}
