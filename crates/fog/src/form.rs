//! Fields as FOG's clients send them: forms joined by hand, in the body or the query.

use crate::mac::{MAX_LIST, Mac, parse_list};

/// Most fields that are looked at.
const MAX_FIELDS: usize = 100;

/// The fields of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads fields out of query and body; those of the body win. Any bytes will do; of more than 100
    /// fields the rest is passed over.
    #[must_use]
    pub fn parse(query: &str, body: &[u8]) -> Self {
        let mut fields = Vec::new();
        for text in [body, query.as_bytes()] {
            for pair in text
                .split(|byte| *byte == b'&')
                .filter(|pair| !pair.is_empty())
            {
                if fields.len() == MAX_FIELDS {
                    break;
                }
                let at = pair
                    .iter()
                    .position(|byte| *byte == b'=')
                    .unwrap_or(pair.len());
                let value = pair.get(at + 1..).unwrap_or_default();
                fields.push((unescape(&pair[..at]), unescape(value)));
            }
        }
        Self(fields)
    }

    /// A field; the first of this name. Empty if absent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(have, _)| have == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// A field that holds base64 text; `None` if it is empty or no base64.
    #[must_use]
    pub fn base64(&self, name: &str) -> Option<String> {
        crate::encoding::decode_base64_text(self.get(name)).filter(|text| !text.is_empty())
    }

    /// The addresses in `mac`, `mac0`, `mac1`, ...: lists, plain or in base64.
    #[must_use]
    pub fn macs(&self) -> Vec<Mac> {
        let mut found: Vec<Mac> = Vec::new();
        for (name, value) in &self.0 {
            let is_mac = name.strip_prefix("mac").is_some_and(|rest| {
                rest.is_empty()
                    || rest == "boot"
                    || (rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
            });
            if !is_mac {
                continue;
            }
            let mut list = parse_list(value);
            if list.is_empty() {
                let text = crate::encoding::decode_base64_text(value).unwrap_or_default();
                list = parse_list(&text);
            }
            for mac in list {
                if !found.contains(&mac) && found.len() < MAX_LIST {
                    found.push(mac);
                }
            }
        }
        found
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Undoes form encoding where there is any: `+` is a blank, `%XX` an octet, everything else stands
/// for itself, line feeds too.
fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let hex = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, ..]) if hex(high).is_some() && hex(low).is_some() => {
                let value = hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0);
                bytes.push(value);
                rest = &after[2..];
            }
            _ => bytes.push(first),
        }
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Fields {
        Fields::parse("", body.as_bytes())
    }

    #[test]
    fn raw_and_escaped_bodies_are_the_same() {
        for body in [
            "mac=00:1b:21:aa:bb:cc&type=down&x=a b=c",
            "mac=00%3A1B%3a21%3Aaa%3Abb%3Acc&type=down&x=a+b%3dc",
        ] {
            let form = form(body);
            assert_eq!(form.macs()[0].to_string(), "00:1b:21:aa:bb:cc");
            assert_eq!((form.get("type"), form.get("x")), ("down", "a b=c"));
        }
        let odd = form("%=%zz&&=&a=%4&b=%ff");
        assert_eq!(
            (odd.get("%"), odd.get("a"), odd.get("b")),
            ("%zz", "%4", "\u{fffd}")
        );
    }

    #[test]
    fn the_query_counts_where_the_body_is_silent() {
        let form = Fields::parse("mac=1&x=query", b"mac=2");
        assert_eq!((form.get("mac"), form.get("x")), ("2", "query"));
    }

    #[test]
    fn base64_of_stock_clients_is_decoded() {
        let status = "status=MTA4LjUzTUIvbWluQDAwOjAxOjIzQDAwOjA0OjE3QDEyLjUwIEdpQkA0NC4yMCBHaUJAIDI4LjI4\n\
             QDQ3NDU4OTEwMjA4Cg==";
        assert_eq!(
            form(status).base64("status").unwrap(),
            "108.53MB/min@00:01:23@00:04:17@12.50 GiB@44.20 GiB@ 28.28@47458910208"
        );
        let macs = form("mac=QUE6QkI6Q0M6REQ6RUU6RkZ8MTE6MjI6MzM6NDQ6NTU6NjY=").macs();
        assert_eq!(macs.len(), 2);
        assert_eq!(
            form("mac=YWE6YmI6Y2M6ZGQ6ZWU6ZmYK").macs()[0].to_string(),
            "aa:bb:cc:dd:ee:ff"
        );
        // A plus sign of the alphabet arrives as a blank.
        let plus = crate::encoding::encode_base64_line("~~>>??");
        assert!(plus.contains('+'), "{plus}");
        assert_eq!(form(&format!("x={plus}")).base64("x").unwrap(), "~~>>??");
    }

    #[test]
    fn all_address_fields_are_merged() {
        let form =
            form("mac0=00:00:00:00:00:01&mac1=00:00:00:00:00:02|00:00:00:00:00:01&machine=x&mac=");
        assert_eq!(form.macs().len(), 2);
        assert!(Fields::parse("", b"mac=%00%ff").macs().is_empty());
    }

    #[test]
    fn fields_are_bounded() {
        let body = "a=1&".repeat(10_000);
        assert_eq!(form(&body).count(), MAX_FIELDS);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_odd(query in ".{0,200}", body in proptest::collection::vec(0_u8.., 0..400)) {
            let form = Fields::parse(&query, &body);
            assert!(form.macs().len() <= MAX_LIST);
            for name in ["mac", "status", "", "%"] {
                assert!(form.base64(name).is_none_or(|text| text.len() <= 400));
            }
        }

        #[test]
        fn what_is_escaped_comes_back(value in ".{0,60}") {
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let form = form(&format!("a=b&x={escaped}"));
            proptest::prop_assert_eq!(form.get("x"), value);
        }
    }
}
