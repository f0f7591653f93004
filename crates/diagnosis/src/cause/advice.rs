//! What to do, for people.

use super::Cause;

impl Cause {
    /// What to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoCard => {
                "switch the card on in the firmware setup, or plug in a USB adapter; a driver or firmware may be \
                 missing from this boot image"
            }
            Self::NoLink { .. } => {
                "check the cable at both ends and the switch port; remove power and cable for 10 s, which wakes a \
                 hung card"
            }
            Self::UnsteadyLink { .. } => "replace the cable, then try another switch port",
            Self::SilentPort { .. } => {
                "check the VLAN of the switch port, 802.1X and port security; wait a minute for spanning tree; \
                 remove power and cable for 10 s, which wakes a hung card"
            }
            Self::HungCard { .. } => {
                "switch the machine off, remove power and cable for 10 s, and start it again; try another card if \
                 it hangs again"
            }
            Self::LateAnswer { .. } => {
                "the switch port waits for spanning tree: switch PortFast (edge port) or RSTP on for it"
            }
            Self::NoDhcp { .. } => {
                "check that a DHCP server serves this network segment and has free addresses, and the VLAN of \
                 the switch port"
            }
            Self::NoAddress { .. } => {
                "start this machine again; look at the messages of the DHCP client on this console"
            }
            Self::SecondDhcp { .. } => {
                "find the server that does not belong here (a home router, a test machine) and switch its \
                 DHCP off"
            }
            Self::NoName { .. } => {
                "let the DHCP server give a name server that knows this name, or use an address in web="
            }
            Self::NoRoute { .. } => {
                "let the DHCP server give a router, or correct the network mask or the server's address in web="
            }
            Self::WrongCard { .. } => {
                "plug the cable into the card that leads to the server, or name that card with --interface"
            }
            Self::NoServer { .. } => {
                "check that the server is switched on, that web= has its address, and that it is in this VLAN"
            }
            Self::NoRouter { .. } => {
                "check the router's address in the settings of the DHCP server, and the router"
            }
            Self::NoWebServer { .. } => {
                "start the web server (fos-server, or FOG's) there, and check address and port in web="
            }
            Self::WebBlocked { .. } => {
                "open the port in the firewall of the server and of the networks between"
            }
            Self::ServerSilent { .. } => {
                "check that the server is switched on and that web= has its address; then look for a firewall"
            }
            Self::Redirect { .. } => {
                "correct web= in the kernel arguments: protocol (http or https), host and FOG's directory"
            }
            Self::ServerFails { .. } => "look into the error log of the web server",
            Self::NotFog { .. } => {
                "check that web= is the server and directory of FOG, and that no proxy or log-in page is between"
            }
            Self::NoStore { .. } => {
                "start the NFS server there and open TCP port 2049 in its firewall"
            }
            Self::NoSender { .. } => {
                "look at the session with `fos-server status` and at its log; cancel it and deploy again"
            }
            Self::RendezvousBlocked { .. } => {
                "open the UDP ports of the sessions (63100 and up) in the firewall of the server"
            }
            Self::NotRouted { .. } => {
                "put a sender into this network, or let the router route multicast (PIM, IGMP) and give the \
                 sender a TTL above 1"
            }
            Self::NoQuerier { .. } => {
                "switch an IGMP querier on in this VLAN (switch or router), or switch IGMP snooping off"
            }
            Self::Filtered { .. } => {
                "look for a multicast filter or storm control on the switch ports, a firewall, and a sender on \
                 another card of the server"
            }
            Self::SmallOnly { .. } | Self::BlackHole { .. } => {
                "find the part with the small MTU (tunnel, VLAN, virtual switch) and raise it to 1500 bytes"
            }
            Self::SmallMtu { .. } => {
                "correct the MTU that the DHCP server gives, or 1500 bytes do not come in"
            }
            Self::HalfDuplex { .. } => {
                "set card and switch port both to automatic; a port with a fixed speed makes the other end use \
                 half duplex"
            }
            Self::SlowLink { .. } => {
                "replace the cable (all eight wires are needed for 1000 Mbit/s), then look at the settings of the \
                 switch port: one slow machine sets the pace of a whole room"
            }
            Self::CardErrors { .. } => {
                "replace the cable, then try another switch port and another card"
            }
            Self::ClockOff { .. } => {
                "set the clock in the firmware setup; if it is wrong again tomorrow, replace the battery of the \
                 mainboard"
            }
            Self::NoDisk => {
                "check cable and power of the disk; set the controller to AHCI in the firmware setup (not RAID)"
            }
            Self::DiskGone { .. } => {
                "check cable and power of the disk, start the machine again; replace the disk if it is gone again"
            }
            Self::DiskUnreadable { .. } | Self::DiskErrors { .. } => {
                "check its cable; replace the disk if errors stay"
            }
            Self::DiskFailing { .. } => "replace the disk",
            Self::SlowDisk { .. } => {
                "check its cable; a disk that is this slow is mostly about to fail: replace it"
            }
            Self::NoEfiPartition { .. } => {
                "switch the firmware to BIOS (legacy, CSM) and start from the network that way, or take an image of a \
                 machine that starts by UEFI"
            }
            Self::NoBootEntry { .. } => {
                "make an entry for the boot loader in that partition, in the firmware setup or with efibootmgr \
                 (Windows: \\EFI\\Microsoft\\Boot\\bootmgfw.efi); or copy the boot loader to the place that is missing, in \
                 the machine that is captured"
            }
            Self::LittleMemory { .. } => "give the machine more memory; FOG's minimum is 512 MB",
            Self::MemoryErrors { .. } => {
                "test the memory modules one by one and replace the defective one"
            }
            Self::NoTestSender { .. } => {
                "start `fos-server selftest` there; if it runs, it sends by another card: name that card with its \
                 option --interface, or give the address of its card here"
            }
            Self::RequestsLost { .. } => {
                "open this UDP port in the firewall of the server; `fos-server selftest` says if a request came"
            }
            Self::NoTestAnswer { .. } => {
                "open this UDP port in the firewall of the server and of the networks between, in both directions"
            }
            Self::TestRefused { .. } => {
                "the test had begun already: start both commands again, this one first"
            }
            Self::TestStoodStill { .. } => {
                "compare with what `fos-server selftest` says: if it lacks answers, they are lost on their way to the \
                 server; then look at the counters of the cards (`fos-agent doctor`)"
            }
            Self::TestCut { .. } => "see what `fos-server selftest` says, and start both again",
            Self::ForeignStream { .. } => {
                "another sender uses this port: end it, or give another --port to both commands"
            }
            Self::TestDamaged { .. } => {
                "try another card, cable and switch port; test the memory of both machines"
            }
            Self::TestFailed { .. } => "correct that and start the command again",
            Self::HighLoss { .. } => {
                "look for a slow switch port, half duplex, a bad cable (`fos-agent doctor`) and storm control of \
                 the switch; limit the rate with --max-bitrate of `fos-server serve`"
            }
            Self::SlowTransfer { .. } => {
                "look for a slow link of one machine, which sets the pace of all, and for a rate limit of the \
                 switch on multicast"
            }
            Self::OwnWeb { .. } => {
                "look at the log of `fos-server serve`, and if it listens on this address (--listen)"
            }
            Self::OtherCard { .. } => {
                "start `fos-server selftest` again: name the card at which they ask with --interface, or leave the \
                 option out"
            }
            Self::NoReceiver { .. } => {
                "start `fos-agent selftest` (or `udp-receiver > /dev/null`) on the client; if it runs, see what it \
                 says, and open this UDP port in the firewall of this machine"
            }
            Self::FewReceivers { .. } => {
                "see what `fos-agent selftest` says on those that are missing"
            }
            Self::GroupUnheard { .. } => {
                "switch an IGMP querier on in this VLAN, or IGMP snooping off; behind a router multicast has to be \
                 routed; `fos-agent selftest` there says which it is"
            }
            Self::LargeLost { .. } => {
                "find the part with the small MTU (tunnel, VLAN, virtual switch) and raise it to 1500 bytes"
            }
            Self::ReceiversLeft { .. } => {
                "see what `fos-agent selftest` says there; check cable and switch port"
            }
        }
    }
}
