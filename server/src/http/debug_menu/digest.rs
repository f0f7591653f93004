//! HTTP's Digest authentication (RFC 7616) with MD5, as iPXE knows it: the password does not travel, and an answer that
//! somebody else has read opens nothing a second time.
//!
//! Pure: the caller has the clock and the key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use md5::{Digest as _, Md5};

use crate::domain::Timestamp;

/// What a client has said to prove that it knows the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof<'a> {
    user: &'a str,
    pub(super) nonce: &'a str,
    uri: &'a str,
    cnonce: &'a str,
    count: &'a str,
    response: &'a str,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Path and query, as they stand in the request.
    pub(super) target: &'a str,
}

impl<'a> Proof<'a> {
    /// Reads the header `Authorization`; `None` if it is another scheme, or not of the kind that was asked for.
    pub(super) fn parse(header: &'a str) -> Option<Self> {
        if header.len() > HEADER_MAX {
            return None;
        }
        let (scheme, rest) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let fields = fields(rest)?;
        let field = |name: &str| fields.get(name).copied();
        let is_ours = field("realm") == Some(REALM)
            && field("qop") == Some("auth")
            && field("algorithm").is_none_or(|name| name.eq_ignore_ascii_case("MD5"));
        if !is_ours {
            return None;
        }
        Some(Self {
            user: field("username")?,
            nonce: field("nonce")?,
            uri: field("uri")?,
            cnonce: field("cnonce")?,
            count: field("nc")?,
            response: field("response")?,
        })
    }

    /// Whether it is one for this request, by somebody who knows the password. The user's name does not matter.
    pub(super) fn is_of(&self, asked: Asked<'_>, password: &str) -> bool {
        let Self {
            user,
            nonce,
            uri,
            cnonce,
            count,
            response,
        } = self;
        if *uri != asked.target {
            return false;
        }
        let secret = hash(&format!("{user}:{REALM}:{password}"));
        let request = hash(&format!("{}:{uri}", asked.method));
        let expected = hash(&format!("{secret}:{nonce}:{count}:{cnonce}:auth:{request}"));
        // How much of it is right says nothing of the password, and each nonce is good once.
        expected.eq_ignore_ascii_case(response)
    }
}

/// The header `WWW-Authenticate` that asks for a proof with this nonce.
pub(super) fn challenge(nonce: &str) -> String {
    format!("Digest realm=\"{REALM}\", qop=\"auth\", algorithm=MD5, nonce=\"{nonce}\"")
}

/// A nonce for this client, which nobody without the key can make.
pub(super) fn nonce(key: &[u8; 32], client: IpAddr, now: Timestamp) -> String {
    let seal = blake3::keyed_hash(key, format!("{} {client}", now.0).as_bytes());
    format!("{:016x}{}", now.0, &seal.to_hex()[..32])
}

/// Whether a nonce is one of ours for this client, and young enough.
pub(super) fn is_fresh(text: &str, key: &[u8; 32], client: IpAddr, now: Timestamp) -> bool {
    let Some(made) = text
        .get(..16)
        .and_then(|digits| i64::from_str_radix(digits, 16).ok())
    else {
        return false;
    };
    let age = now.0.checked_sub(made);
    let is_young = age.is_some_and(|age| (0..=LIFETIME).contains(&age));
    is_young && text == nonce(key, client, Timestamp(made))
}

/// `a=b, c="d"`; `None` if it is anything else. iPXE puts no quotes into quotes.
fn fields(mut rest: &str) -> Option<BTreeMap<&str, &str>> {
    let mut fields = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return Some(fields);
        }
        let (name, more) = rest.split_once('=')?;
        let value;
        (value, rest) = match more.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => more.split_once(',').unwrap_or((more, "")),
        };
        // Said twice, it may mean either.
        if fields.insert(name.trim(), value.trim()).is_some() {
            return None;
        }
    }
}

fn hash(text: &str) -> String {
    let digest = Md5::digest(text.as_bytes());
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Shown to who is asked.
const REALM: &str = "fos-server";
/// Seconds from the question to the proof: no person is asked between.
pub(super) const LIFETIME: i64 = 30;
const HEADER_MAX: usize = 4096;

#[cfg(test)]
pub(in crate::http) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// The header of somebody who was asked with this challenge.
    pub(in crate::http) fn answer(
        challenge: &str,
        method: &str,
        uri: &str,
        password: &str,
    ) -> String {
        let (_, nonce) = challenge.split_once("nonce=\"").unwrap();
        let nonce = nonce.trim_end_matches('"');
        let secret = hash(&format!("fos:{REALM}:{password}"));
        let request = hash(&format!("{method}:{uri}"));
        let response = hash(&format!(
            "{secret}:{nonce}:00000001:0a4f113b:auth:{request}"
        ));
        format!(
            "Digest realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", username=\"fos\", qop=auth, \
             algorithm=MD5, cnonce=\"0a4f113b\", nc=00000001, response=\"{response}\""
        )
    }

    /// The example of RFC 2617, section 3.5, has another realm; so its parts are computed here.
    #[test]
    fn hashes_are_those_of_the_standard() {
        let secret = hash("Mufasa:testrealm@host.com:Circle Of Life");
        let request = hash("GET:/dir/index.html");
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let response = hash(&format!(
            "{secret}:{nonce}:00000001:0a4f113b:auth:{request}"
        ));
        assert_eq!(response, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn only_a_proof_for_this_request_by_who_has_the_password_counts() {
        let uri = "/fog/service/ipxe/boot.php?mac0=00:1b:21:aa:bb:cc&debug=1";
        let asked = Asked {
            method: "GET",
            target: uri,
        };
        let header = answer(&challenge("abc"), "GET", uri, "correct-horse");
        let proof = Proof::parse(&header).unwrap();
        assert_eq!(proof.nonce, "abc");
        assert!(proof.is_of(asked, "correct-horse"));
        assert!(!proof.is_of(asked, "correct-horsf"));
        let other = Asked {
            target: "/fog/service/ipxe/boot.php?mac0=00:1b:21:aa:bb:cd&debug=1",
            ..asked
        };
        assert!(!proof.is_of(other, "correct-horse"));
        let other = Asked {
            method: "POST",
            ..asked
        };
        assert!(!proof.is_of(other, "correct-horse"));
        for (what, by) in [
            ("qop=auth", "qop=auth-int"),
            ("algorithm=MD5", "algorithm=MD5-sess"),
            ("realm=\"fos-server\"", "realm=\"x\""),
            ("nc=00000001, ", ""),
            ("nc=00000001", "nc=1, nc=00000001"),
            ("uri=\"", "uri=\"\\\""),
            ("Digest ", "Basic "),
            ("response=\"", "response=\"0"),
        ] {
            let header = header.replace(what, by);
            let is_right = Proof::parse(&header).is_some_and(|it| it.is_of(asked, "correct-horse"));
            assert!(!is_right, "{header}");
        }
        assert_eq!(
            Proof::parse(&format!("Digest {}", "a=b,".repeat(2000))),
            None
        );
        assert_eq!(Proof::parse("Digest a=\"b"), None);
    }

    #[test]
    fn a_nonce_is_good_for_its_client_and_a_moment() {
        let (key, other_key) = ([7; 32], [8; 32]);
        let client = IpAddr::from(Ipv4Addr::new(10, 0, 0, 7));
        let now = Timestamp(1_800_000_000);
        let nonce = nonce(&key, client, now);
        let later = |seconds| Timestamp(now.0 + seconds);
        assert!(is_fresh(&nonce, &key, client, now));
        assert!(is_fresh(&nonce, &key, client, later(LIFETIME)));
        assert!(!is_fresh(&nonce, &key, client, later(LIFETIME + 1)));
        assert!(!is_fresh(&nonce, &key, client, later(-1)));
        assert!(!is_fresh(&nonce, &other_key, client, now));
        let other = IpAddr::from(Ipv4Addr::new(10, 0, 0, 8));
        assert!(!is_fresh(&nonce, &key, other, now));
        let forged = nonce.replacen('6', "7", 1);
        for bad in ["", "zz", &nonce[..20], &forged, "ü234567890123456"] {
            assert!(!is_fresh(bad, &key, client, now), "{bad}");
        }
    }
}
