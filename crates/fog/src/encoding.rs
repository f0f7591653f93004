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

/// Makes a text from the other side fit to show: control characters become blanks,
/// [invisible](is_invisible) ones U+FFFD, cut at `max_chars` characters.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    text.trim()
        .chars()
        .map(printable_char)
        .take(max_chars)
        .collect()
}

/// A character as [`printable`] shows it.
#[must_use]
pub fn printable_char(c: char) -> char {
    if c.is_control() {
        ' '
    } else if is_invisible(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// Whether a character is not seen but changes what is: it turns the direction of a line, ends it,
/// hides text, or makes two names look like one.
///
/// The categories Cf, Zl and Zp of Unicode 16, and what Unicode calls default ignorable, without the
/// variation selectors of the basic plane, which only choose how the character before is drawn.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    !c.is_ascii()
        && INVISIBLE
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&c))
}

const INVISIBLE: [(char, char); 24] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    // Ends of lines and paragraphs, and the five characters that turn the direction.
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    // Tags, and variation selectors of names.
    ('\u{e0000}', '\u{e0fff}'),
];

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
        assert_eq!(printable("a\u{9b}2Jb\u{85}", 9), "a 2Jb");
    }

    #[test]
    fn no_character_turns_or_hides_what_is_shown() {
        // "gnp.exe" would be read as "exe.png".
        assert_eq!(printable("\u{202e}gnp.exe", 20), "\u{fffd}gnp.exe");
        let invisible = [
            0xad..=0xad,
            0x61c..=0x61c,
            0x180e..=0x180e,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x2069,
            0xfeff..=0xfeff,
            0xfff9..=0xfffb,
            0xe0000..=0xe007f,
        ];
        for c in invisible.into_iter().flatten() {
            let text = format!("a{}b", char::from_u32(c).unwrap());
            assert_eq!(printable(&text, 9), "a\u{fffd}b", "{c:x}");
        }
        for text in [
            "Größe",
            "日本語",
            "עברית",
            "العربية",
            "na\u{308}iv",
            "❤\u{fe0f} 10\u{a0}%",
            "�",
        ] {
            assert_eq!(printable(text, 20), text);
        }
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(INVISIBLE.is_sorted());
        assert!(INVISIBLE.iter().all(|(from, to)| from <= to));
    }
}
