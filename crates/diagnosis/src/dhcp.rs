//! DHCP, as far as it takes to find out which servers there are: a DISCOVER, and OFFERs (RFC 2131, 2132).

use std::net::Ipv4Addr;

use fog::encoding::printable;

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The server, as it calls itself.
    pub server: Ipv4Addr,
    /// The offered address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits, where it is said.
    pub prefix_len: Option<u8>,
    /// The first router.
    pub router: Option<Ipv4Addr>,
    /// Where to boot from (`siaddr`).
    pub next_server: Option<Ipv4Addr>,
    /// What to boot, printable.
    pub boot_file: Option<String>,
}

/// The number of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionId(pub u32);

/// A DISCOVER of the card `mac`, which asks for an answer by broadcast. It reserves nothing for good.
#[must_use]
pub fn discover(id: TransactionId, mac: [u8; 6]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MIN_LEN);
    bytes.extend_from_slice(&[BOOTREQUEST, ETHERNET, 6, 0]);
    bytes.extend_from_slice(&id.0.to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&BROADCAST.to_be_bytes());
    // ciaddr, yiaddr, siaddr, giaddr
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend_from_slice(&mac);
    // The rest of chaddr, sname, file.
    bytes.resize(OPTIONS_AT - MAGIC.len(), 0);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[MESSAGE_TYPE, 1, DISCOVER]);
    // The identity that udhcpc uses, so that a server does not set a second address aside.
    bytes.extend_from_slice(&[CLIENT_ID, 7, ETHERNET]);
    bytes.extend_from_slice(&mac);
    bytes.extend_from_slice(&[WANTED, 4, MASK, ROUTER, SERVER_ID, BOOT_FILE, END]);
    // Some servers drop what is shorter than BOOTP's message.
    bytes.resize(MIN_LEN.max(bytes.len()), 0);
    bytes
}

/// The offer in a datagram; `None` if it is something else, of another exchange, or without an address (a
/// proxy, which only says where to boot from). `from`: who sent it.
#[must_use]
pub fn parse_offer(datagram: &[u8], id: TransactionId, from: Ipv4Addr) -> Option<Offer> {
    let fixed = datagram.get(..OPTIONS_AT)?;
    let is_ours = fixed.first() == Some(&BOOTREPLY)
        && fixed.get(4..8)? == id.0.to_be_bytes()
        && fixed.ends_with(&MAGIC);
    if !is_ours {
        return None;
    }
    let options = datagram.get(OPTIONS_AT..)?;
    if option(options, MESSAGE_TYPE) != Some(&[OFFER]) {
        return None;
    }
    let address = known(ipv4(fixed.get(16..20)?)?)?;
    let file = option(options, BOOT_FILE).or_else(|| fixed.get(108..236));
    let file = file.and_then(|file| file.split(|&byte| byte == 0).next());
    let file = file.map(|file| printable(&String::from_utf8_lossy(file), 80));
    let server = option(options, SERVER_ID).and_then(ipv4).and_then(known);
    Some(Offer {
        server: server.unwrap_or(from),
        address,
        prefix_len: option(options, MASK).and_then(ipv4).and_then(prefix_len),
        router: option(options, ROUTER).and_then(ipv4).and_then(known),
        next_server: fixed.get(20..24).and_then(ipv4).and_then(known),
        boot_file: file.filter(|file| !file.is_empty()),
    })
}

/// The network that an address is in.
#[must_use]
pub fn network(address: Ipv4Addr, prefix_len: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(u32::from(prefix_len));
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

/// The first value of an option.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (&code, rest) = options.split_first()?;
        options = match code {
            PAD => rest,
            END => return None,
            _ => {
                let (&len, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(usize::from(len))?;
                if code == wanted {
                    return Some(value);
                }
                rest
            }
        };
    }
}

/// The first address in a value.
fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = value.get(..4)?.try_into().ok()?;
    Some(octets.into())
}

fn known(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

/// `None` for a mask with gaps.
fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let ones = mask.to_bits().leading_ones();
    let is_mask = mask.to_bits().count_ones() == ones;
    u8::try_from(ones).ok().filter(|_| is_mask)
}

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const BROADCAST: u16 = 0x8000;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Behind the magic number.
const OPTIONS_AT: usize = 240;
const MIN_LEN: usize = 300;

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const WANTED: u8 = 55;
const CLIENT_ID: u8 = 61;
const BOOT_FILE: u8 = 67;
const END: u8 = 255;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: TransactionId = TransactionId(0x1234_5678);
    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    /// An answer to [`discover`] with these options, and addresses from octet 16 on.
    fn answer(options: &[u8]) -> Vec<u8> {
        let mut bytes = discover(ID, [2, 0, 0, 0, 0, 1]);
        bytes[0] = BOOTREPLY;
        bytes[16..24].copy_from_slice(&[10, 0, 0, 77, 10, 0, 0, 5]);
        bytes[108..112].copy_from_slice(b"a.0\0");
        bytes.truncate(OPTIONS_AT);
        bytes.extend_from_slice(options);
        bytes
    }

    const OPTIONS: [u8; 29] = [
        0, 53, 1, 2, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 254, 0, 3, 8, 10, 0, 0, 2, 10, 0, 0, 3,
        255, 1, 1,
    ];

    #[test]
    fn a_discover_is_as_rfc_2131_has_it() {
        let bytes = discover(ID, [2, 0, 0, 0, 0, 1]);
        assert_eq!(bytes.len(), 300);
        assert_eq!(
            bytes[..34],
            [
                1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1
            ]
        );
        assert!(bytes[34..236].iter().all(|&byte| byte == 0));
        assert_eq!(
            bytes[236..259],
            [
                99, 130, 83, 99, 53, 1, 1, 61, 7, 1, 2, 0, 0, 0, 0, 1, 55, 4, 1, 3, 54, 67, 255
            ]
        );
    }

    #[test]
    fn an_offer_is_read() {
        let offer = parse_offer(&answer(&OPTIONS), ID, FROM).unwrap();
        let expected = Offer {
            server: Ipv4Addr::new(10, 0, 0, 1),
            address: Ipv4Addr::new(10, 0, 0, 77),
            prefix_len: Some(23),
            router: Some(Ipv4Addr::new(10, 0, 0, 2)),
            next_server: Some(Ipv4Addr::new(10, 0, 0, 5)),
            boot_file: Some("a.0".into()),
        };
        assert_eq!(offer, expected);
        // What is least.
        let least = parse_offer(&answer(&[53, 1, 2]), ID, FROM).unwrap();
        assert_eq!((least.server, least.router), (FROM, None));
        let gaps = parse_offer(&answer(&[53, 1, 2, 1, 4, 255, 0, 255, 0]), ID, FROM).unwrap();
        assert_eq!(gaps.prefix_len, None);
    }

    #[test]
    fn what_is_no_offer_of_this_exchange_is_none() {
        let whole = answer(&OPTIONS);
        assert_eq!(parse_offer(&whole, TransactionId(1), FROM), None);
        assert_eq!(
            parse_offer(&discover(ID, [2, 0, 0, 0, 0, 1]), ID, FROM),
            None
        );
        for other in [&[53, 1, 5][..], &[53, 2, 2, 0], &[53], &[]] {
            assert_eq!(parse_offer(&answer(other), ID, FROM), None, "{other:?}");
        }
        // A proxy offers no address.
        let mut proxy = whole.clone();
        proxy[16..20].fill(0);
        assert_eq!(parse_offer(&proxy, ID, FROM), None);
        // Cut anywhere, it is either not read or has nothing that was not there.
        for len in 0..whole.len() {
            let cut = parse_offer(&whole[..len], ID, FROM);
            assert!(cut.is_none() || len > OPTIONS_AT, "{len}");
        }
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
            if let Some(offer) = parse_offer(&answer(&options), ID, FROM) {
                prop_assert!(offer.prefix_len.is_none_or(|len| len <= 32));
            }
            prop_assert_eq!(parse_offer(&options, ID, FROM).is_some(), false);
        }
    }
}
