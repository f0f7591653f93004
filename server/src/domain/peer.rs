//! Servers that ask each other: a request carries a token that only who knows the secret of the site can make, for this
//! request and for some minutes.

use std::fmt;

/// What all servers with one database know, and nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteSecret([u8; 32]);

/// A request as it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Where the server that is asked says that others reach it: `http://ADDRESS:PORT`.
    pub server: &'a str,
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path with what is behind the question mark.
    pub path: &'a str,
    /// The header `Range`, or nothing.
    pub range: &'a str,
}

/// Another server of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Name.
    pub name: String,
    /// Where other servers reach it: `http://ADDRESS:PORT`.
    pub url: String,
    /// Whether it was seen a moment ago.
    pub is_there: bool,
}

/// Why a request is not from another server of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no token, or none that makes sense.
    #[error("this is for other servers of the site alone")]
    Unreadable,
    /// It was made at another time.
    #[error(
        "the clocks of the two servers differ by more than {} s; set them (timedatectl set-ntp true)",
        LIFE
    )]
    Clock,
    /// It was made with another secret, or for another request.
    #[error("the token is not of this site: do both servers have the same database?")]
    Wrong,
}

/// Seconds that a token is good for, before and after it was made: clocks differ.
const LIFE: u64 = 300;

/// Of the protocol between servers.
const CONTEXT: &str = "fos-server peer 1";

impl SiteSecret {
    /// Of 64 hexadecimal digits, as it is stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(text.trim()).ok()?;
        Some(Self(*hash.as_bytes()))
    }

    /// The token for a request that is made now: seconds since 1970, and a number that does not come again.
    #[must_use]
    pub fn sign(&self, asked: Asked<'_>, now: u64, number: u64) -> String {
        let mac = self.mac(asked, now, number);
        format!("{now} {number} {}", mac.to_hex())
    }

    /// Whether a token was made for this request, by who knows the secret.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, asked: Asked<'_>, now: u64, token: &str) -> Result<(), TokenError> {
        let mut words = token.split(' ');
        let mut next = || words.next().ok_or(TokenError::Unreadable);
        let (made, number, mac) = (next()?, next()?, next()?);
        let made: u64 = made.parse().map_err(|_| TokenError::Unreadable)?;
        let number: u64 = number.parse().map_err(|_| TokenError::Unreadable)?;
        let mac = blake3::Hash::from_hex(mac).map_err(|_| TokenError::Unreadable)?;
        // Compared in constant time.
        if self.mac(asked, made, number) != mac {
            return Err(TokenError::Wrong);
        }
        match made.abs_diff(now) <= LIFE {
            true => Ok(()),
            false => Err(TokenError::Clock),
        }
    }

    fn mac(&self, asked: Asked<'_>, made: u64, number: u64) -> blake3::Hash {
        let Asked {
            server,
            method,
            path,
            range,
        } = asked;
        // None of these has a line feed in it: HTTP allows none there.
        let text = format!("{CONTEXT}\n{server}\n{method}\n{path}\n{range}\n{made}\n{number}");
        blake3::keyed_hash(&self.0, text.as_bytes())
    }
}

impl fmt::Debug for SiteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked {
        server: "http://10.0.0.2:80",
        method: "GET",
        path: "/peer/file?image=1&name=d1.mbr",
        range: "bytes=5-",
    };

    fn secret(digit: &str) -> SiteSecret {
        SiteSecret::parse(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_request_for_some_minutes() {
        let token = secret("a").sign(ASKED, 1000, 7);
        let check = |secret: SiteSecret, asked, now| secret.check(asked, now, &token);
        for now in [700, 1000, 1300] {
            assert_eq!(check(secret("a"), ASKED, now), Ok(()));
        }
        for now in [699, 1301] {
            assert_eq!(check(secret("a"), ASKED, now), Err(TokenError::Clock));
        }
        assert_eq!(check(secret("b"), ASKED, 1000), Err(TokenError::Wrong));
        let others = [
            Asked {
                server: "http://10.0.0.3:80",
                ..ASKED
            },
            Asked {
                method: "POST",
                ..ASKED
            },
            Asked {
                path: "/peer/file?image=2&name=d1.mbr",
                ..ASKED
            },
            Asked { range: "", ..ASKED },
        ];
        for other in others {
            assert_eq!(check(secret("a"), other, 1000), Err(TokenError::Wrong));
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = secret("a").sign(ASKED, 1000, 7);
        for token in ["", " ", "1000", "1000 7", "x 7 00", "1000 7 zz", "-1 7 00"] {
            let found = secret("a").check(ASKED, 1000, token);
            assert_eq!(found, Err(TokenError::Unreadable), "{token:?}");
        }
        let other_time = good.replacen("1000", "1001", 1);
        let found = secret("a").check(ASKED, 1000, &other_time);
        assert_eq!(found, Err(TokenError::Wrong));
        assert_eq!(SiteSecret::parse("abc"), None);
        assert_eq!(format!("{:?}", secret("a")), "SiteSecret");
    }
}
