//! What a DHCP server must say so that PCs boot from here, with the real addresses.

use std::net::Ipv4Addr;

/// The server as PCs reach it.
#[derive(Debug, Clone, Copy)]
pub struct BootPlace<'a> {
    /// Its address.
    pub address: Ipv4Addr,
    /// Of its network, in bits.
    pub prefix_len: u8,
    /// Base URL, ending with `/`.
    pub web_url: &'a str,
}

/// For dnsmasq, which then gives addresses and serves TFTP.
#[must_use]
pub fn dnsmasq(place: BootPlace<'_>) -> String {
    let BootPlace { address, .. } = place;
    let network = dhcp::network(address, place.prefix_len);
    format!(
        "    enable-tftp\n    \
             tftp-root=/srv/tftp\n    \
             # the addresses that PCs may get, in {network}/{}:\n    \
             #dhcp-range=FIRST,LAST,1h\n    \
             dhcp-match=set:ipxe,175\n    \
             dhcp-match=set:bios,option:client-arch,0\n    \
             dhcp-match=set:efi64,option:client-arch,7\n    \
             dhcp-match=set:efi64,option:client-arch,9\n    \
             dhcp-boot=tag:ipxe,default.ipxe,,{address}\n    \
             dhcp-boot=tag:efi64,tag:!ipxe,snponly.efi,,{address}\n    \
             dhcp-boot=tag:bios,tag:!ipxe,undionly.kpxe,,{address}",
        place.prefix_len
    )
}

/// For ISC's server, inside its `subnet`.
#[must_use]
pub fn isc(place: BootPlace<'_>) -> String {
    let BootPlace { address, .. } = place;
    format!(
        "    # before all subnets:\n    \
             option arch code 93 = unsigned integer 16;\n    \
             # in the subnet of the PCs:\n    \
             next-server {address};\n    \
             if exists user-class and option user-class = \"iPXE\" {{\n      \
               filename \"default.ipxe\";\n    \
             }} elsif option arch = 00:07 or option arch = 00:09 {{\n      \
               filename \"snponly.efi\";\n    \
             }} else {{\n      \
               filename \"undionly.kpxe\";\n    \
             }}"
    )
}

/// The script that iPXE fetches first, which leads it to the boot script of the server.
#[must_use]
pub fn ipxe_script(web_url: &str) -> String {
    format!(
        "#!ipxe\n\
         cpuid --ext 29 && set arch x86_64 || set arch ${{buildarch}}\n\
         chain {web_url}service/ipxe/boot.php?mac0=${{net0/mac}}&arch=${{arch}}&platform=${{platform}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: BootPlace<'_> = BootPlace {
        address: Ipv4Addr::new(10, 0, 0, 5),
        prefix_len: 24,
        web_url: "http://10.0.0.5/fog/",
    };

    /// What the README says is what is printed.
    #[test]
    fn the_script_and_the_loaders_are_those_of_the_readme() {
        let readme = include_str!("../../../README.md");
        for line in ipxe_script(PLACE.web_url).lines() {
            assert!(readme.contains(line), "{line}");
        }
        for line in dnsmasq(PLACE).lines().map(str::trim) {
            let is_common = line.starts_with("dhcp-match") || line == "enable-tftp";
            assert!(!is_common || readme.contains(line), "{line}");
        }
    }

    #[test]
    fn both_servers_name_every_loader_and_the_real_address() {
        for text in [dnsmasq(PLACE), isc(PLACE)] {
            for name in ["undionly.kpxe", "snponly.efi", "default.ipxe", "10.0.0.5"] {
                assert!(text.contains(name), "{name}: {text}");
            }
        }
    }
}
