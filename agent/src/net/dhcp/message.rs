//! DHCP messages (RFC 2131, options of RFC 2132): those that a client sends, and what servers answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use fog::Mac;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: ReplyKind,
    /// Which server it is, by its own word (option 54).
    pub(crate) server: Ipv4Addr,
    /// For this machine.
    pub(crate) address: Ipv4Addr,
    pub(crate) mask: Option<Ipv4Addr>,
    pub(crate) routers: Vec<Ipv4Addr>,
    pub(crate) name_servers: Vec<Ipv4Addr>,
    pub(crate) domain: Option<String>,
    /// Bytes of the largest packet.
    pub(crate) mtu: Option<u16>,
    /// Where the next file is to be had.
    pub(crate) next_server: Ipv4Addr,
    /// How long the address may be used.
    pub(crate) lease: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyKind {
    Offer,
    Ack,
    Nak,
}

/// Asks all servers for offers.
pub(crate) fn discover(xid: u32, mac: Mac) -> Vec<u8> {
    Writer::new(xid, mac, Ipv4Addr::UNSPECIFIED, Answer::Broadcast)
        .option(KIND, &[DISCOVER])
        .finish()
}

/// Takes an offer.
pub(crate) fn request(xid: u32, mac: Mac, offer: &Reply) -> Vec<u8> {
    Writer::new(xid, mac, Ipv4Addr::UNSPECIFIED, Answer::Broadcast)
        .option(KIND, &[REQUEST])
        .option(REQUESTED_ADDRESS, &offer.address.octets())
        .option(SERVER, &offer.server.octets())
        .finish()
}

/// Asks for more time for an address in use.
pub(crate) fn renewal(xid: u32, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    Writer::new(xid, mac, address, Answer::ToAddress)
        .option(KIND, &[REQUEST])
        .finish()
}

/// Reads an answer to the exchange `xid` of this card; `None` for anything else.
pub(crate) fn parse(bytes: &[u8], xid: u32, mac: Mac) -> Option<Reply> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let is_answer = bytes.first() == Some(&BOOTREPLY)
        && number(4)? == xid
        && bytes.get(28..34)? == mac.0
        && number(FIXED_LEN)? == MAGIC;
    if !is_answer {
        return None;
    }
    let options = bytes.get(FIXED_LEN + 4..)?;
    let find = |wanted| option(options, wanted);
    let addresses = |wanted| -> Vec<Ipv4Addr> {
        let octets = find(wanted).unwrap_or_default();
        let (addresses, _) = octets.as_chunks::<4>();
        addresses
            .iter()
            .take(ADDRESSES_MAX)
            .map(|octets| Ipv4Addr::from_octets(*octets))
            .collect()
    };
    let kind = match find(KIND)? {
        [OFFER] => ReplyKind::Offer,
        [ACK] => ReplyKind::Ack,
        [NAK] => ReplyKind::Nak,
        _ => return None,
    };
    let address = Ipv4Addr::from(number(16)?);
    if kind != ReplyKind::Nak && !is_usable(address) {
        return None;
    }
    let seconds = find(LEASE).and_then(|octets| Some(u32::from_be_bytes(octets.try_into().ok()?)));
    Some(Reply {
        kind,
        server: *addresses(SERVER).first()?,
        address,
        mask: addresses(MASK).first().copied(),
        routers: addresses(ROUTERS),
        name_servers: addresses(NAME_SERVERS),
        domain: find(DOMAIN).and_then(domain),
        mtu: find(MTU).and_then(|octets| Some(u16::from_be_bytes(octets.try_into().ok()?))),
        next_server: Ipv4Addr::from(number(20)?),
        lease: seconds.map(|seconds| Duration::from_secs(seconds.into())),
    })
}

fn is_usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback())
}

/// The first option of this number. What is longer than the message is none.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [PAD, rest @ ..] => options = rest,
            [number, len, rest @ ..] if *number != END => {
                let (value, rest) = rest.split_at_checked(usize::from(*len))?;
                if *number == wanted {
                    return Some(value);
                }
                options = rest;
            }
            _ => return None,
        }
    }
}

/// A domain name, which goes into a file that the resolver reads; `None` if it is none.
fn domain(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    let text = text.trim_end_matches('\0');
    let is_name = (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'));
    is_name.then(|| text.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The card has no address yet.
    Broadcast,
    ToAddress,
}

/// A message of a client.
struct Writer(Vec<u8>);

impl Writer {
    fn new(xid: u32, mac: Mac, address: Ipv4Addr, answer: Answer) -> Self {
        let mut bytes = vec![BOOTREQUEST, ETHERNET, 6, 0];
        bytes.extend(xid.to_be_bytes());
        let flags: u16 = match answer {
            Answer::Broadcast => 0x8000,
            Answer::ToAddress => 0,
        };
        // No seconds.
        bytes.extend([0, 0]);
        bytes.extend(flags.to_be_bytes());
        bytes.extend(address.octets());
        bytes.resize(28, 0);
        bytes.extend(mac.0);
        bytes.resize(FIXED_LEN, 0);
        bytes.extend(MAGIC.to_be_bytes());
        Self(bytes)
    }

    fn option(mut self, number: u8, value: &[u8]) -> Self {
        self.0.push(number);
        self.0.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.0.extend(value.iter().take(u8::MAX.into()));
        self
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = self.option(PARAMETERS, &WANTED).0;
        bytes.push(END);
        // The length of BOOTP, which relays may insist on (RFC 1542, section 2.1).
        bytes.resize(bytes.len().max(300), PAD);
        bytes
    }
}

/// Where the options begin, without their magic number.
const FIXED_LEN: usize = 236;
const MAGIC: u32 = 0x6382_5363;
const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTERS: u8 = 3;
const NAME_SERVERS: u8 = 6;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const END: u8 = 255;
const WANTED: [u8; 5] = [MASK, ROUTERS, NAME_SERVERS, DOMAIN, MTU];
/// Of a kind, in one answer.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const MAC: &str = "02:00:00:00:00:07";

    pub(in super::super) fn mac() -> Mac {
        MAC.parse().unwrap()
    }

    /// What a server answers.
    pub(in super::super) fn answer(
        xid: u32,
        kind: u8,
        server: [u8; 4],
        address: [u8; 4],
    ) -> Vec<u8> {
        let mut bytes = Writer::new(xid, mac(), Ipv4Addr::UNSPECIFIED, Answer::Broadcast).0;
        bytes[0] = BOOTREPLY;
        bytes[16..20].copy_from_slice(&address);
        bytes[20..24].copy_from_slice(&server);
        for (number, value) in [
            (KIND, &[kind][..]),
            (SERVER, &server),
            (LEASE, &[0, 0, 14, 16]),
            (MASK, &[255, 255, 255, 0]),
            (PAD, &[]),
            (ROUTERS, &[10, 0, 0, 1, 10, 0, 0, 2]),
            (NAME_SERVERS, &server),
            (DOMAIN, b"lab.example"),
        ] {
            bytes.push(number);
            if number != PAD {
                bytes.push(u8::try_from(value.len()).unwrap());
            }
            bytes.extend(value);
        }
        bytes.push(END);
        bytes
    }

    #[test]
    fn an_offer_is_read() {
        let bytes = answer(7, OFFER, [10, 0, 0, 5], [10, 0, 0, 77]);
        let offer = parse(&bytes, 7, mac()).unwrap();
        assert_eq!(offer.kind, ReplyKind::Offer);
        assert_eq!(offer.server, Ipv4Addr::new(10, 0, 0, 5));
        assert_eq!(offer.address, Ipv4Addr::new(10, 0, 0, 77));
        assert_eq!(offer.mask, Some(Ipv4Addr::new(255, 255, 255, 0)));
        assert_eq!(offer.routers.len(), 2);
        assert_eq!(offer.domain.as_deref(), Some("lab.example"));
        assert_eq!(offer.lease, Some(Duration::from_secs(3600)));
        // Of another exchange, and of another machine.
        assert_eq!(parse(&bytes, 8, mac()), None);
        assert_eq!(parse(&bytes, 7, "02:00:00:00:00:08".parse().unwrap()), None);
    }

    #[test]
    fn what_is_cut_or_false_is_no_answer() {
        let whole = answer(7, ACK, [10, 0, 0, 5], [10, 0, 0, 77]);
        for len in 0..FIXED_LEN + 4 + 3 {
            assert_eq!(parse(&whole[..len], 7, mac()), None, "{len}");
        }
        for len in 0..whole.len() {
            // Whatever is cut off: no panic, and nothing invented.
            if let Some(reply) = parse(&whole[..len], 7, mac()) {
                assert_eq!(reply.server, Ipv4Addr::new(10, 0, 0, 5));
            }
        }
        for address in [[0; 4], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
            let bytes = answer(7, OFFER, [10, 0, 0, 5], address);
            assert_eq!(parse(&bytes, 7, mac()), None, "{address:?}");
        }
        // What a client sends is no answer.
        assert_eq!(parse(&discover(7, mac()), 7, mac()), None);
    }

    #[test]
    fn a_domain_cannot_become_another_line_of_a_file() {
        assert_eq!(domain(b"lab.example\0").as_deref(), Some("lab.example"));
        for bad in [
            &b""[..],
            b"a b",
            b"a\nnameserver 6.6.6.6",
            &[0xff; 4],
            &[b'a'; 254],
        ] {
            assert_eq!(domain(bad), None);
        }
    }

    #[test]
    fn messages_have_the_octets_of_the_standard() {
        let bytes = discover(0x0102_0304, mac());
        assert_eq!(bytes.len(), 300);
        assert_eq!(bytes[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0x80, 0]);
        assert_eq!(bytes[28..34], mac().0);
        assert_eq!(bytes[236..243], [99, 130, 83, 99, 53, 1, 1]);
        let offer = parse(&answer(7, OFFER, [10, 0, 0, 5], [10, 0, 0, 77]), 7, mac()).unwrap();
        let bytes = request(7, mac(), &offer);
        assert_eq!(option(&bytes[240..], KIND), Some(&[REQUEST][..]));
        assert_eq!(option(&bytes[240..], SERVER), Some(&[10, 0, 0, 5][..]));
        let wanted = option(&bytes[240..], REQUESTED_ADDRESS);
        assert_eq!(wanted, Some(&[10, 0, 0, 77][..]));
        let bytes = renewal(7, mac(), offer.address);
        assert_eq!(bytes[10..16], [0, 0, 10, 0, 0, 77]);
        assert_eq!(option(&bytes[240..], SERVER), None);
    }
}
