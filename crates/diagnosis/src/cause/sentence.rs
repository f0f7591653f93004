//! The cause in a sentence, for people.

use std::fmt;

use super::{Cause, list};

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCard => f.write_str("this machine has no wired network card that works"),
            Self::NoLink { card, .. } => write!(f, "{card} has no link"),
            Self::UnsteadyLink { card, .. } => write!(f, "the link of {card} comes and goes"),
            Self::SilentPort { card, .. } => {
                write!(f, "{card} has a link, but no machine is heard by it")
            }
            Self::HungCard { card, .. } => {
                write!(f, "{card} hangs: it has a link, and does not send what it is given")
            }
            Self::LateAnswer { .. } => {
                f.write_str("the switch port forwards nothing for a while after the link is up")
            }
            Self::NoDhcp { .. } => f.write_str("no DHCP server answers"),
            Self::NoAddress { card, offers } if offers.is_empty() => {
                write!(f, "{card} has no address")
            }
            Self::NoAddress { card, .. } => {
                write!(f, "{card} has no address, although a DHCP server offers one")
            }
            Self::SecondDhcp { .. } => {
                f.write_str("several DHCP servers answer, and they contradict each other")
            }
            Self::NoName { host, .. } => {
                write!(f, "the server's name {host} cannot be resolved (DNS)")
            }
            Self::NoRoute { to, .. } => write!(f, "there is no route to the server {to}"),
            Self::WrongCard { by, wanted, .. } => {
                write!(f, "the server is reached by {by}, but {wanted} is to receive")
            }
            Self::NoServer { address, .. } => {
                write!(f, "no machine in this network has the server's address {address}")
            }
            Self::NoRouter { router, address, .. } => {
                write!(f, "the router {router}, which leads to the server {address}, does not answer")
            }
            Self::NoWebServer { address, port } => {
                write!(f, "the machine {address} is there, but no web server runs at port {port}")
            }
            Self::WebBlocked { address, port, .. } => {
                write!(f, "a firewall blocks the web port {port} of the server {address}")
            }
            Self::ServerSilent { address, .. } => write!(
                f,
                "the server {address} does not answer: it is off, or a firewall drops everything"
            ),
            Self::Redirect { .. } => {
                f.write_str("the server sends this machine to another page instead of answering")
            }
            Self::ServerFails { .. } => f.write_str("the web server fails by itself"),
            Self::NotFog { .. } => f.write_str("what answers at web= is no FOG server"),
            Self::NoStore { address, .. } => {
                write!(f, "the image store {address} cannot be reached by NFS")
            }
            Self::NoSender { .. } => f.write_str("the server has no sender where it should be"),
            Self::RendezvousBlocked { .. } => {
                f.write_str("a firewall blocks the port of the multicast session")
            }
            Self::NotRouted { .. } => f.write_str(
                "multicast does not reach this machine: the sender is in another network",
            ),
            Self::NoQuerier { .. } => f.write_str(
                "multicast does not reach this machine: a switch filters it (IGMP snooping without a querier)",
            ),
            Self::Filtered { .. } => {
                f.write_str("multicast does not reach this machine: something on the way filters it")
            }
            Self::SmallOnly { .. } => {
                f.write_str("small datagrams of the sender come, large ones do not")
            }
            Self::BlackHole { passed, .. } => {
                write!(f, "the network loses datagrams larger than {passed} bytes")
            }
            Self::SmallMtu { card, .. } => {
                write!(f, "{card} takes no datagrams of 1500 bytes, as senders send them")
            }
            Self::HalfDuplex { card, .. } => write!(f, "{card} runs in half duplex"),
            Self::SlowLink { card, .. } => write!(f, "the link of {card} is slow"),
            Self::CardErrors { card, .. } => write!(f, "{card} receives or sends damaged frames"),
            Self::ClockOff { .. } => f.write_str("the clock of this machine is wrong"),
            Self::NoDisk => f.write_str("this machine has no disk that works"),
            Self::DiskGone { name } => write!(f, "the disk {name} no longer answers"),
            Self::DiskUnreadable { name, .. } => write!(f, "the disk {name} cannot be read"),
            Self::DiskErrors { name, .. } => write!(f, "the disk {name} has errors"),
            Self::DiskFailing { name, .. } => write!(f, "the disk {name} is defective, as it says itself"),
            Self::SlowDisk { name, .. } => write!(f, "the disk {name} is very slow"),
            Self::NoEfiPartition { disk } => write!(
                f,
                "this machine was started by UEFI, and there is no EFI system partition on {disk} to start from"
            ),
            Self::NoBootEntry { disk, .. } => {
                write!(f, "the firmware of this machine would not start from {disk}")
            }
            Self::LittleMemory { .. } => f.write_str("this machine has too little memory"),
            Self::MemoryErrors { .. } => f.write_str("the memory of this machine is defective"),
            Self::NoTestSender { address, .. } => {
                write!(f, "no test is sent by {address}")
            }
            Self::RequestsLost { address, .. } => write!(
                f,
                "the sender {address} is heard, but does not hear this machine"
            ),
            Self::NoTestAnswer { address, .. } => write!(
                f,
                "nothing answers at {address}: a firewall on the way drops what is asked, or the answers"
            ),
            Self::TestRefused { address } => write!(f, "the sender {address} refuses this machine"),
            Self::TestStoodStill { .. } => f.write_str("the transfer stood still"),
            Self::TestCut { .. } => f.write_str("the sender ended the test before its end"),
            Self::ForeignStream { .. } => f.write_str("what came is no test stream"),
            Self::TestDamaged { .. } => {
                f.write_str("other bytes came than were sent, and no checksum of the network noticed")
            }
            Self::TestFailed { .. } => f.write_str("the test could not be carried out"),
            Self::HighLoss { .. } => f.write_str("many datagrams are lost on the way"),
            Self::SlowTransfer { .. } => f.write_str("multicast is slow here"),
            Self::OwnWeb { .. } => f.write_str("the web server of this machine does not answer"),
            Self::OtherCard { card, .. } => {
                write!(f, "receivers ask at another card than {card}, by which the test is sent")
            }
            Self::NoReceiver { .. } => f.write_str("no receiver has asked for the test"),
            Self::FewReceivers { have, wanted, .. } => {
                write!(f, "{have} of {wanted} receivers have come")
            }
            Self::GroupUnheard { receivers, .. } => write!(
                f,
                "multicast does not reach {}, or no answer comes from there",
                list(receivers)
            ),
            Self::LargeLost { receivers, .. } => {
                write!(f, "large datagrams do not reach {}", list(receivers))
            }
            Self::ReceiversLeft { receivers } => {
                write!(f, "{} had data, and then not all of it", list(receivers))
            }
        }
    }
}
