//! Names in letters that are read from the other end of a room.

use super::style::{Row, Style};

/// `text` in large letters, in at most `width` columns and `height` lines. `None` where that is too little room,
/// or where there is no such letter.
pub(super) fn large(text: &str, width: usize, height: usize) -> Option<Vec<Row>> {
    let letters: Option<Vec<&[&str; HEIGHT]>> = text.chars().map(letter).collect();
    let letters = letters.filter(|letters| !letters.is_empty())?;
    let columns = letters.len() * (WIDTH + 1) - 1;
    // A cell is twice as high as it is wide.
    let (wide, high) = SCALES
        .into_iter()
        .find(|(wide, high)| columns * wide <= width && HEIGHT * high <= height)?;
    let rows = (0..HEIGHT).flat_map(|line| {
        let mut row = Row::default();
        for (index, letter) in letters.iter().enumerate() {
            if index > 0 {
                row = row.with(Style::Plain, &" ".repeat(wide));
            }
            for dot in letter[line].chars() {
                let style = if dot == ' ' {
                    Style::Plain
                } else {
                    Style::Solid
                };
                row = row.with(style, &" ".repeat(wide));
            }
        }
        std::iter::repeat_n(row, high)
    });
    Some(rows.collect())
}

/// How many columns and lines a dot may have.
const SCALES: [(usize, usize); 6] = [(6, 3), (4, 2), (3, 2), (2, 2), (2, 1), (1, 1)];
const WIDTH: usize = 5;
const HEIGHT: usize = 5;

fn letter(c: char) -> Option<&'static [&'static str; HEIGHT]> {
    let c = c.to_ascii_uppercase();
    LETTERS
        .iter()
        .find(|(known, _)| *known == c)
        .map(|(_, dots)| dots)
}

/// What host names and hardware addresses consist of.
#[rustfmt::skip]
const LETTERS: [(char, [&str; HEIGHT]); 40] = [
    ('A', [" ### ", "#   #", "#####", "#   #", "#   #"]),
    ('B', ["#### ", "#   #", "#### ", "#   #", "#### "]),
    ('C', [" ####", "#    ", "#    ", "#    ", " ####"]),
    ('D', ["#### ", "#   #", "#   #", "#   #", "#### "]),
    ('E', ["#####", "#    ", "#### ", "#    ", "#####"]),
    ('F', ["#####", "#    ", "#### ", "#    ", "#    "]),
    ('G', [" ####", "#    ", "#  ##", "#   #", " ####"]),
    ('H', ["#   #", "#   #", "#####", "#   #", "#   #"]),
    ('I', [" ### ", "  #  ", "  #  ", "  #  ", " ### "]),
    ('J', ["  ###", "    #", "    #", "#   #", " ### "]),
    ('K', ["#   #", "#  # ", "###  ", "#  # ", "#   #"]),
    ('L', ["#    ", "#    ", "#    ", "#    ", "#####"]),
    ('M', ["#   #", "## ##", "# # #", "#   #", "#   #"]),
    ('N', ["#   #", "##  #", "# # #", "#  ##", "#   #"]),
    ('O', [" ### ", "#   #", "#   #", "#   #", " ### "]),
    ('P', ["#### ", "#   #", "#### ", "#    ", "#    "]),
    ('Q', [" ### ", "#   #", "# # #", "#  # ", " ## #"]),
    ('R', ["#### ", "#   #", "#### ", "#  # ", "#   #"]),
    ('S', [" ####", "#    ", " ### ", "    #", "#### "]),
    ('T', ["#####", "  #  ", "  #  ", "  #  ", "  #  "]),
    ('U', ["#   #", "#   #", "#   #", "#   #", " ### "]),
    ('V', ["#   #", "#   #", "#   #", " # # ", "  #  "]),
    ('W', ["#   #", "#   #", "# # #", "## ##", "#   #"]),
    ('X', ["#   #", " # # ", "  #  ", " # # ", "#   #"]),
    ('Y', ["#   #", " # # ", "  #  ", "  #  ", "  #  "]),
    ('Z', ["#####", "   # ", "  #  ", " #   ", "#####"]),
    ('0', [" ### ", "#  ##", "# # #", "##  #", " ### "]),
    ('1', ["  #  ", " ##  ", "  #  ", "  #  ", " ### "]),
    ('2', ["#### ", "    #", " ### ", "#    ", "#####"]),
    ('3', ["#### ", "    #", " ### ", "    #", "#### "]),
    ('4', ["#   #", "#   #", "#####", "    #", "    #"]),
    ('5', ["#####", "#    ", "#### ", "    #", "#### "]),
    ('6', [" ### ", "#    ", "#### ", "#   #", " ### "]),
    ('7', ["#####", "    #", "   # ", "  #  ", "  #  "]),
    ('8', [" ### ", "#   #", " ### ", "#   #", " ### "]),
    ('9', [" ### ", "#   #", " ####", "    #", " ### "]),
    ('-', ["     ", "     ", " ### ", "     ", "     "]),
    ('_', ["     ", "     ", "     ", "     ", "#####"]),
    ('.', ["     ", "     ", "     ", "     ", "  #  "]),
    (':', ["     ", "  #  ", "     ", "  #  ", "     "]),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The dots of large letters, as text.
    fn dots(text: &str, width: usize, height: usize) -> Option<Vec<String>> {
        let rows = large(text, width, height)?;
        Some(rows.iter().map(Row::to_ansi).collect())
    }

    #[test]
    fn letters_are_as_large_as_the_room_allows() {
        let size = |width, height| {
            let rows = large("LAB-01", width, height)?;
            Some((rows[0].len(), rows.len()))
        };
        assert_eq!(size(80, 5), Some((70, 5)));
        assert_eq!(size(160, 10), Some((140, 10)));
        assert_eq!(size(60, 5), Some((35, 5)));
        assert_eq!(size(34, 5), None);
        assert_eq!(size(80, 4), None);
        assert_eq!(large("", 80, 5), None);
        assert_eq!(large("pc\u{fc}", 80, 5), None);
        // Upper and lower case look the same.
        assert_eq!(dots("pc1", 80, 5), dots("PC1", 80, 5));
        let one = dots("1", 5, 5).unwrap();
        assert_eq!(one[1].matches("\x1b[0;7m ").count(), 2, "{one:?}");
    }

    #[test]
    fn every_letter_is_itself() {
        for (index, (_, dots)) in LETTERS.iter().enumerate() {
            assert!(dots.iter().all(|line| line.len() == WIDTH));
            assert!(LETTERS[..index].iter().all(|(_, other)| other != dots));
        }
    }
}
