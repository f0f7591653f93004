//! Messages: those that a client sends, and what servers answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use fog::Mac;
use fog::encoding::printable;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it means.
    pub kind: ReplyKind,
    /// The server, as it calls itself (option 54); if it does not, who sent the answer.
    pub server: Ipv4Addr,
    /// For this machine. Of a [`Nak`](ReplyKind::Nak) it means nothing.
    pub address: Ipv4Addr,
    /// The mask of the network, which may have gaps.
    pub mask: Option<Ipv4Addr>,
    /// At most eight.
    pub routers: Vec<Ipv4Addr>,
    /// At most eight.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain; only characters of names are in it.
    pub domain: Option<String>,
    /// Bytes of the largest packet.
    pub mtu: Option<u16>,
    /// Where to boot from (`siaddr`).
    pub next_server: Option<Ipv4Addr>,
    /// What to boot, printable, at most 80 characters.
    pub boot_file: Option<String>,
    /// How long the address may be used; without it there is no end.
    pub lease: Option<Duration>,
}

/// The kind of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// An address is offered.
    Offer,
    /// The address may be used.
    Ack,
    /// It may not.
    Nak,
}

impl Reply {
    /// Length of the network prefix in bits; `None` where no mask is said. Of a mask with gaps the bits at the
    /// front count, as `udhcpc` has it; there may be none.
    #[must_use]
    pub fn prefix_len(&self) -> Option<u8> {
        let ones = self.mask?.to_bits().leading_ones();
        u8::try_from(ones).ok()
    }

    /// The first router.
    #[must_use]
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.routers.first().copied()
    }
}

/// The network that an address is in.
#[must_use]
pub fn network(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(u32::from(prefix_len));
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// Asks all servers for offers. It reserves nothing for good.
#[must_use]
pub fn discover(xid: u32, mac: Mac) -> Vec<u8> {
    Writer::new(xid, mac, Ipv4Addr::UNSPECIFIED, Answer::Broadcast)
        .option(KIND, &[DISCOVER])
        .finish()
}

/// Takes an offer.
#[must_use]
pub fn request(xid: u32, mac: Mac, offer: &Reply) -> Vec<u8> {
    Writer::new(xid, mac, Ipv4Addr::UNSPECIFIED, Answer::Broadcast)
        .option(KIND, &[REQUEST])
        .option(REQUESTED_ADDRESS, &offer.address.octets())
        .option(SERVER, &offer.server.octets())
        .finish()
}

/// Asks for more time for an address in use.
#[must_use]
pub fn renewal(xid: u32, mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    Writer::new(xid, mac, address, Answer::ToAddress)
        .option(KIND, &[REQUEST])
        .finish()
}

/// Reads an answer to the exchange `xid` of this card; `from`: who sent it. `None` for anything else, also for an
/// offer without an address (a proxy, which only says where to boot from).
#[must_use]
pub fn parse(bytes: &[u8], xid: u32, mac: Mac, from: Ipv4Addr) -> Option<Reply> {
    let (fixed, options) = bytes.split_at_checked(OPTIONS_AT)?;
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(fixed.get(at..at + 4)?.try_into().ok()?))
    };
    let is_answer = fixed.first() == Some(&BOOTREPLY)
        && number(4)? == xid
        && fixed.get(28..34)? == mac.0
        && fixed.ends_with(&MAGIC);
    if !is_answer {
        return None;
    }
    let fields = Fields::of(fixed, options)?;
    let addresses = |wanted| -> Vec<Ipv4Addr> {
        let octets = fields.option(wanted).unwrap_or_default();
        let (addresses, _) = octets.as_chunks::<4>();
        addresses
            .iter()
            .take(ADDRESSES_MAX)
            .map(|octets| Ipv4Addr::from_octets(*octets))
            .collect()
    };
    let kind = match fields.option(KIND)? {
        [OFFER] => ReplyKind::Offer,
        [ACK] => ReplyKind::Ack,
        [NAK] => ReplyKind::Nak,
        _ => return None,
    };
    let address = Ipv4Addr::from(number(16)?);
    if kind != ReplyKind::Nak && !is_usable(address) {
        return None;
    }
    let seconds = fields
        .option(LEASE)
        .and_then(|octets| Some(u32::from_be_bytes(octets.try_into().ok()?)));
    Some(Reply {
        kind,
        server: known(addresses(SERVER).first().copied()).unwrap_or(from),
        address,
        mask: addresses(MASK).first().copied(),
        routers: addresses(ROUTERS),
        name_servers: addresses(NAME_SERVERS),
        domain: fields.option(DOMAIN).and_then(domain),
        mtu: fields
            .option(MTU)
            .and_then(|octets| Some(u16::from_be_bytes(octets.try_into().ok()?))),
        next_server: known(number(20).map(Ipv4Addr::from)),
        boot_file: fields.boot_file(),
        lease: seconds
            .filter(|seconds| *seconds != ENDLESS)
            .map(|seconds| Duration::from_secs(seconds.into())),
    })
}

/// Where options may be, in their order (RFC 2131, section 4.1).
struct Fields<'a> {
    options: &'a [u8],
    /// The field `file`, if it holds options, and the field `sname`.
    overloaded: [Option<&'a [u8]>; 2],
    /// The field `file`, if it names a file.
    file: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(fixed: &'a [u8], options: &'a [u8]) -> Option<Self> {
        let name = fixed.get(44..108)?;
        let file = fixed.get(108..FIXED_LEN)?;
        let overload = match option(options, OVERLOAD) {
            Some([bits]) => *bits,
            _ => 0,
        };
        let has_options = |bit: u8| overload & bit != 0;
        Some(Self {
            options,
            overloaded: [
                has_options(1).then_some(file),
                has_options(2).then_some(name),
            ],
            file: (!has_options(1)).then_some(file),
        })
    }

    /// The first option of this number.
    fn option(&self, wanted: u8) -> Option<&'a [u8]> {
        let further = self.overloaded.iter().flatten().copied();
        std::iter::once(self.options)
            .chain(further)
            .find_map(|octets| option(octets, wanted))
    }

    fn boot_file(&self) -> Option<String> {
        let file = self.option(BOOT_FILE).or(self.file)?;
        let file = file.split(|&byte| byte == 0).next()?;
        let file = printable(&String::from_utf8_lossy(file), BOOT_FILE_MAX);
        (!file.is_empty()).then_some(file)
    }
}

/// The first option of this number. What is longer than the field does not count.
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

fn known(address: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    address.filter(|address| !address.is_unspecified())
}

fn is_usable(address: Ipv4Addr) -> bool {
    !(address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_loopback())
}

/// A domain name, which goes into a file that the resolver reads; `None` if it has other characters.
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
        bytes.extend(MAGIC);
        // The identity that `udhcpc` uses, so that a server does not set a second address aside.
        let identity: Vec<u8> = std::iter::once(ETHERNET).chain(mac.0).collect();
        Self(bytes).option(CLIENT_ID, &identity)
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
        bytes.resize(bytes.len().max(MIN_LEN), PAD);
        bytes
    }
}

const FIXED_LEN: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Behind the magic number.
const OPTIONS_AT: usize = FIXED_LEN + MAGIC.len();
const MIN_LEN: usize = 300;
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
const OVERLOAD: u8 = 52;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const CLIENT_ID: u8 = 61;
const BOOT_FILE: u8 = 67;
const END: u8 = 255;
const WANTED: [u8; 6] = [MASK, ROUTERS, NAME_SERVERS, DOMAIN, MTU, BOOT_FILE];
/// Of a kind, in one answer.
const ADDRESSES_MAX: usize = 8;
/// Characters.
const BOOT_FILE_MAX: usize = 80;
/// Seconds of a lease without an end (RFC 2132, section 9.2).
const ENDLESS: u32 = u32::MAX;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    pub(crate) fn mac() -> Mac {
        "02:00:00:00:00:07".parse().unwrap()
    }

    /// What a server answers, with these options and then usual ones.
    pub(crate) fn answer_with(
        xid: u32,
        kind: u8,
        server: [u8; 4],
        address: [u8; 4],
        options: &[(u8, &[u8])],
    ) -> Vec<u8> {
        let mut bytes = discover(xid, mac());
        bytes.truncate(OPTIONS_AT);
        bytes[0] = BOOTREPLY;
        bytes[16..20].copy_from_slice(&address);
        bytes[20..24].copy_from_slice(&server);
        let usual = [
            (KIND, &[kind][..]),
            (SERVER, &server),
            (LEASE, &[0, 0, 14, 16]),
            (MASK, &[255, 255, 255, 0]),
            (PAD, &[]),
            (ROUTERS, &[10, 0, 0, 1, 10, 0, 0, 2]),
            (NAME_SERVERS, &server),
            (DOMAIN, b"lab.example"),
        ];
        for (number, value) in options.iter().chain(&usual) {
            bytes.push(*number);
            if *number != PAD {
                bytes.push(u8::try_from(value.len()).unwrap());
            }
            bytes.extend(*value);
        }
        bytes.push(END);
        bytes
    }

    pub(crate) fn answer(xid: u32, kind: u8, server: [u8; 4], address: [u8; 4]) -> Vec<u8> {
        answer_with(xid, kind, server, address, &[])
    }

    #[test]
    fn an_offer_is_read() {
        let mut bytes = answer(7, OFFER, [10, 0, 0, 5], [10, 0, 0, 77]);
        bytes[108..112].copy_from_slice(b"a.0\0");
        let offer = parse(&bytes, 7, mac(), FROM).unwrap();
        let expected = Reply {
            kind: ReplyKind::Offer,
            server: Ipv4Addr::new(10, 0, 0, 5),
            address: Ipv4Addr::new(10, 0, 0, 77),
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            routers: vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)],
            name_servers: vec![Ipv4Addr::new(10, 0, 0, 5)],
            domain: Some("lab.example".into()),
            mtu: None,
            next_server: Some(Ipv4Addr::new(10, 0, 0, 5)),
            boot_file: Some("a.0".into()),
            lease: Some(Duration::from_secs(3600)),
        };
        assert_eq!(offer, expected);
        assert_eq!(offer.prefix_len(), Some(24));
        // Of another exchange, and of another machine.
        assert_eq!(parse(&bytes, 8, mac(), FROM), None);
        let other = "02:00:00:00:00:08".parse().unwrap();
        assert_eq!(parse(&bytes, 7, other, FROM), None);
    }

    #[test]
    fn a_server_that_does_not_say_its_name_is_who_sent_the_offer() {
        let mut bytes = answer(7, OFFER, [0; 4], [10, 0, 0, 77]);
        let offer = parse(&bytes, 7, mac(), FROM).unwrap();
        assert_eq!((offer.server, offer.next_server), (FROM, None));
        bytes.truncate(OPTIONS_AT);
        bytes.extend([KIND, 1, OFFER]);
        let least = parse(&bytes, 7, mac(), FROM).unwrap();
        assert_eq!((least.server, least.router()), (FROM, None));
        assert_eq!((least.lease, least.prefix_len()), (None, None));
    }

    #[test]
    fn a_mask_with_gaps_ends_before_them_and_a_lease_may_have_no_end() {
        let options: [(u8, &[u8]); 2] = [(MASK, &[255, 0, 255, 0]), (LEASE, &[255; 4])];
        let bytes = answer_with(7, ACK, [10, 0, 0, 5], [10, 0, 0, 77], &options);
        let ack = parse(&bytes, 7, mac(), FROM).unwrap();
        assert_eq!((ack.prefix_len(), ack.lease), (Some(8), None));
    }

    #[test]
    fn options_may_go_on_in_the_fields_for_names() {
        let server = [10, 0, 0, 5];
        let mut bytes = answer_with(7, OFFER, server, [10, 0, 0, 77], &[(OVERLOAD, &[3])]);
        bytes[108..115].copy_from_slice(&[BOOT_FILE, 3, b'x', b'.', b'0', END, 9]);
        bytes[44..49].copy_from_slice(&[MTU, 2, 5, 0xdc, END]);
        let offer = parse(&bytes, 7, mac(), FROM).unwrap();
        assert_eq!(offer.boot_file.as_deref(), Some("x.0"));
        assert_eq!(offer.mtu, Some(1500));
        // Without the option they are names.
        let mut bytes = answer(7, OFFER, server, [10, 0, 0, 77]);
        bytes[44..49].copy_from_slice(&[MTU, 2, 5, 0xdc, END]);
        assert_eq!(parse(&bytes, 7, mac(), FROM).unwrap().mtu, None);
    }

    #[test]
    fn what_is_cut_or_false_is_no_answer() {
        let whole = answer(7, ACK, [10, 0, 0, 5], [10, 0, 0, 77]);
        for len in 0..OPTIONS_AT + 3 {
            assert_eq!(parse(&whole[..len], 7, mac(), FROM), None, "{len}");
        }
        for len in 0..whole.len() {
            // Whatever is cut off: no panic, and nothing invented.
            if let Some(reply) = parse(&whole[..len], 7, mac(), FROM) {
                assert!(reply.server == Ipv4Addr::new(10, 0, 0, 5) || reply.server == FROM);
            }
        }
        for address in [[0; 4], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
            let bytes = answer(7, OFFER, [10, 0, 0, 5], address);
            assert_eq!(parse(&bytes, 7, mac(), FROM), None, "{address:?}");
        }
        for kind in [1, 3, 7] {
            let bytes = answer(7, kind, [10, 0, 0, 5], [10, 0, 0, 77]);
            assert_eq!(parse(&bytes, 7, mac(), FROM), None, "{kind}");
        }
        // What a client sends is no answer.
        assert_eq!(parse(&discover(7, mac()), 7, mac(), FROM), None);
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
        assert!(bytes[12..28].iter().all(|&byte| byte == 0));
        assert_eq!(bytes[28..34], mac().0);
        assert!(bytes[34..236].iter().all(|&byte| byte == 0));
        assert_eq!(
            bytes[236..261],
            [
                99, 130, 83, 99, 61, 7, 1, 2, 0, 0, 0, 0, 7, 53, 1, 1, 55, 6, 1, 3, 6, 15, 26, 67,
                255
            ]
        );
        let bytes = answer(7, OFFER, [10, 0, 0, 5], [10, 0, 0, 77]);
        let offer = parse(&bytes, 7, mac(), FROM).unwrap();
        let bytes = request(7, mac(), &offer);
        assert_eq!(option(&bytes[240..], KIND), Some(&[REQUEST][..]));
        assert_eq!(option(&bytes[240..], SERVER), Some(&[10, 0, 0, 5][..]));
        let wanted = option(&bytes[240..], REQUESTED_ADDRESS);
        assert_eq!(wanted, Some(&[10, 0, 0, 77][..]));
        let bytes = renewal(7, mac(), offer.address);
        assert_eq!(bytes[10..16], [0, 0, 10, 0, 0, 77]);
        assert_eq!(option(&bytes[240..], SERVER), None);
    }

    #[test]
    fn networks_of_any_length() {
        let address = Ipv4Addr::new(10, 1, 2, 200);
        for (len, expected) in [
            (0, [0, 0, 0, 0]),
            (8, [10, 0, 0, 0]),
            (25, [10, 1, 2, 128]),
            (32, [10, 1, 2, 200]),
            (255, [10, 1, 2, 200]),
        ] {
            assert_eq!(network(address, len), Ipv4Addr::from(expected), "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_does_harm(options in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut bytes = answer(7, OFFER, [10, 0, 0, 5], [10, 0, 0, 77]);
            bytes.truncate(OPTIONS_AT);
            bytes.extend(&options);
            if let Some(offer) = parse(&bytes, 7, mac(), FROM) {
                prop_assert!(offer.prefix_len().is_none_or(|len| len <= 32));
                prop_assert!(!offer.server.is_unspecified());
            }
            prop_assert_eq!(parse(&options, 7, mac(), FROM), None);
        }
    }
}
