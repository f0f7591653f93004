//! The lenient encodings of FOG's forms.
//!
//! FOG's client builds request bodies by joining strings: base64 text arrives with `+` turned
//! into a blank and with line feeds every 76 characters. Newer clients escape properly. Both
//! must be understood.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64 as it arrives from FOG's client: blanks stand for `+`, line feeds are skipped.
///
/// `None` if it is no base64 or not UTF-8 text after decoding. The final newline that the
/// client's `echo | base64` leaves in the text is removed.
#[must_use]
pub fn decode_base64_text(received: &str) -> Option<String> {
    let cleaned: String = received
        .trim_matches(['\r', '\n'])
        .chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .map(|c| if c == ' ' { '+' } else { c })
        .collect();
    let bytes = LENIENT.decode(cleaned).ok()?;
    let mut text = String::from_utf8(bytes).ok()?;
    if text.ends_with('\n') {
        text.pop();
    }
    Some(text)
}

/// Encodes a text and a newline as FOG's client does; without line breaks.
#[must_use]
pub fn encode_base64_line(text: &str) -> String {
    LENIENT.encode(format!("{text}\n"))
}

/// Replaces the HTML entities in which FOG 1.5.10 and later wrap their texts.
#[must_use]
pub fn unescape_html(text: &str) -> String {
    const ENTITIES: [(&str, char); 6] = [
        ("&amp;", '&'),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&quot;", '"'),
        ("&#039;", '\''),
        ("&#39;", '\''),
    ];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let (before, entity) = rest.split_at(at);
        out.push_str(before);
        if let Some((name, c)) = ENTITIES.iter().find(|(name, _)| entity.starts_with(name)) {
            out.push(*c);
            rest = &entity[name.len()..];
        } else {
            out.push('&');
            rest = &entity[1..];
        }
    }
    out.push_str(rest);
    out
}

/// Makes a text from the other side fit to show: control characters become blanks, cut at
/// `max_chars` characters.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(max_chars)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_stock_clients_is_understood() {
        assert_eq!(
            decode_base64_text("YWE6YmI6Y2M6ZGQ6ZWU6ZmYK").unwrap(),
            "aa:bb:cc:dd:ee:ff"
        );
        assert_eq!(
            decode_base64_text("QUE6QkI6Q0M6REQ6RUU6RkZ8MTE6MjI6MzM6NDQ6NTU6NjY=").unwrap(),
            "AA:BB:CC:DD:EE:FF|11:22:33:44:55:66"
        );
        let wrapped = "MTA4LjUzTUIvbWluQDAwOjAxOjIzQDAwOjA0OjE3QDEyLjUwIEdpQkA0NC4yMCBHaUJAIDI4LjI4\n\
                       QDQ3NDU4OTEwMjA4Cg==";
        let line = "108.53MB/min@00:01:23@00:04:17@12.50 GiB@44.20 GiB@ 28.28@47458910208";
        assert_eq!(decode_base64_text(wrapped).unwrap(), line);
        assert_eq!(encode_base64_line(line).len(), 96);
        // "~~~>" encodes to "fn5+Pg==", whose plus sign a form decoder has turned into a blank.
        assert_eq!(decode_base64_text("fn5 Pg==").unwrap(), "~~~>");
        assert_eq!(decode_base64_text("no base64!"), None);
        assert_eq!(decode_base64_text("/w=="), None);
    }

    #[test]
    fn entities_become_characters_once() {
        assert_eq!(
            unescape_html("host &#039;LAB&amp;lt;1&#039; &unknown; & &quot;x&quot;"),
            "host 'LAB&lt;1' &unknown; & \"x\""
        );
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(printable(" a\x1b[2Jb\r\nc ", 5), "a [2J");
    }
}
