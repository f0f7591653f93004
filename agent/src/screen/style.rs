//! Rows of styled text, and what a terminal needs to show them.

/// How a piece of text looks. The codes are ECMA-48's (SGR), all of which a Linux console has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Style {
    #[default]
    Plain,
    Bold,
    /// What is of less interest now.
    Faint,
    /// The frame: first and last line.
    Frame,
    /// A cell of a large letter, or of the bar of the whole.
    Solid,
    /// A cell of the bar of a part, and of one that is done.
    Part,
    DonePart,
    Good,
    Warning,
    Bad,
    /// The whole line, for what must be seen from afar.
    GoodBar,
    WarningBar,
    BadBar,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "0;1",
            Self::Faint => "0;36",
            Self::Frame => "0;37;44",
            Self::Solid => "0;7",
            Self::Part => "0;30;46",
            Self::DonePart => "0;30;42",
            Self::Good => "0;1;32",
            Self::Warning => "0;1;33",
            Self::Bad => "0;1;31",
            Self::GoodBar => "0;30;42",
            Self::WarningBar => "0;30;43",
            Self::BadBar => "0;1;37;41",
        }
    }
}

/// One line of the terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Row(Vec<(Style, String)>);

impl Row {
    pub(super) fn new(style: Style, text: &str) -> Self {
        Self::default().with(style, text)
    }

    /// With a further piece. A character that moves the cursor is a blank.
    pub(super) fn with(mut self, style: Style, text: &str) -> Self {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if !text.is_empty() {
            self.0.push((style, text));
        }
        self
    }

    /// Both, one behind the other.
    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Exactly this wide: with blanks of the style, or cut.
    pub(super) fn filled(self, style: Style, width: usize) -> Self {
        let missing = width.saturating_sub(self.len());
        self.with(style, &" ".repeat(missing)).cut(width)
    }

    /// At most this wide.
    pub(super) fn cut(self, width: usize) -> Self {
        let mut room = width;
        let pieces = self.0.into_iter().map_while(|(style, text)| {
            let text: String = text.chars().take(room).collect();
            room -= text.chars().count();
            (!text.is_empty()).then_some((style, text))
        });
        Self(pieces.collect())
    }

    /// In the middle of a line of one style.
    pub(super) fn centred(style: Style, text: &str, width: usize) -> Self {
        let left = width.saturating_sub(text.chars().count()) / 2;
        Self::new(style, &format!("{}{text}", " ".repeat(left))).filled(style, width)
    }

    /// Columns.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The text and the codes around it.
    pub(super) fn to_ansi(&self) -> String {
        let mut all = String::new();
        for (style, text) in &self.0 {
            all.push_str(&format!("\x1b[{}m{text}", style.code()));
        }
        all.push_str("\x1b[0m");
        all
    }

    /// The text alone.
    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_as_wide_as_wanted_and_moves_no_cursor() {
        let row = Row::new(Style::Bold, "abc").with(Style::Plain, "d\x1b[2J\n");
        assert_eq!(row.text(), "abcd [2J ");
        assert_eq!(row.clone().filled(Style::Frame, 12).text(), "abcd [2J    ");
        let cut = row.filled(Style::Frame, 4);
        assert_eq!((cut.text().as_str(), cut.len()), ("abcd", 4));
        assert_eq!(cut.to_ansi(), "\x1b[0;1mabc\x1b[0md\x1b[0m");
        assert_eq!(Row::centred(Style::Bad, "no", 6).text(), "  no  ");
    }
}
