//! The text format of LVM's metadata (lvm.conf(5)): sections of values.

use std::fmt;

/// Why a text is not of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LvmTextError {
    /// Something else than what has to come at this place.
    #[error("line {line}: expected {expected}")]
    Expected {
        /// Counted from 1.
        line: usize,
        /// What had to come.
        expected: &'static str,
    },
    /// More than any volume group has.
    #[error("line {line}: more than {limit} {what}")]
    TooMuch {
        /// Counted from 1.
        line: usize,
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

/// Most values and sections of a text; each costs some 100 bytes of memory.
const MAX_ENTRIES: usize = 65_536;
/// Deepest section. LVM's metadata has four.
const MAX_DEPTH: usize = 8;

/// Named values and sections, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section(pub(super) Vec<(String, Node)>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Section(Section),
    Value(Value),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Self>),
}

impl Section {
    pub(super) fn parse(text: &str) -> Result<Self, LvmTextError> {
        let mut parser = Parser {
            rest: text,
            len: text.len(),
            text,
            entries: 0,
        };
        let section = parser.section(0)?;
        match parser.peek() {
            None => Ok(section),
            Some(_) => Err(parser.expected("a name")),
        }
    }

    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        self.0.iter().find_map(|(found, node)| match node {
            Node::Section(section) if found == name => Some(section),
            _ => None,
        })
    }

    pub(super) fn section_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.0.iter_mut().find_map(|(found, node)| match node {
            Node::Section(section) if found == name => Some(section),
            _ => None,
        })
    }

    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(name, node)| match node {
            Node::Section(section) => Some((name.as_str(), section)),
            Node::Value(_) => None,
        })
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find_map(|(found, node)| match node {
            Node::Value(value) if found == name => Some(value),
            _ => None,
        })
    }

    /// A number that counts something.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether a list has this text.
    pub(super) fn lists(&self, name: &str, word: &str) -> bool {
        matches!(self.value(name), Some(Value::List(list))
            if list.iter().any(|value| matches!(value, Value::Text(text) if text == word)))
    }

    /// Gives a value that is there another content, or adds it.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let node = Node::Value(value);
        match self.0.iter_mut().find(|(found, _)| found == name) {
            Some((_, old)) => *old = node,
            None => self.0.push((name.to_owned(), node)),
        }
    }

    fn write(&self, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, node) in &self.0 {
            let indent = "\t".repeat(depth);
            match node {
                Node::Section(section) => {
                    writeln!(f, "{indent}{name} {{")?;
                    section.write(depth + 1, f)?;
                    writeln!(f, "{indent}}}")?;
                }
                Node::Value(value) => writeln!(f, "{indent}{name} = {value}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(0, f)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "\"{text}\"")
            }
            Self::List(list) => {
                let values: Vec<String> = list.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    text: &'a str,
    len: usize,
    entries: usize,
}

impl<'a> Parser<'a> {
    /// Entries up to the end of the section, or of the text.
    fn section(&mut self, depth: usize) -> Result<Section, LvmTextError> {
        let mut section = Section::default();
        while let Some(next) = self.peek() {
            if next == '}' {
                break;
            }
            self.count()?;
            let name = self.name()?.to_owned();
            let node = match self.peek() {
                Some('{') => {
                    if depth >= MAX_DEPTH {
                        return Err(self.too_much("sections in each other", MAX_DEPTH));
                    }
                    self.skip('{');
                    let inner = self.section(depth + 1)?;
                    self.want('}', "} at the end of a section")?;
                    Node::Section(inner)
                }
                Some('=') => {
                    self.skip('=');
                    Node::Value(self.value(depth)?)
                }
                _ => return Err(self.expected("= or { behind a name")),
            };
            section.0.push((name, node));
        }
        Ok(section)
    }

    fn value(&mut self, depth: usize) -> Result<Value, LvmTextError> {
        self.count()?;
        match self.peek() {
            Some('"') => self.quoted().map(Value::Text),
            Some('[') => {
                if depth >= MAX_DEPTH {
                    return Err(self.too_much("lists in each other", MAX_DEPTH));
                }
                self.skip('[');
                let mut list = Vec::new();
                while self.peek() != Some(']') {
                    list.push(self.value(depth + 1)?);
                    match self.peek() {
                        Some(',') => self.skip(','),
                        Some(']') => {}
                        _ => return Err(self.expected(", or ] behind a value of a list")),
                    }
                }
                self.skip(']');
                Ok(Value::List(list))
            }
            _ => {
                let is_of_number = |c: char| c.is_ascii_digit() || c == '-';
                let end = self.rest.find(|c| !is_of_number(c));
                let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                let number = digits.parse();
                let number = number.map_err(|_| self.expected("a number, a text or a list"))?;
                self.rest = rest;
                Ok(Value::Number(number))
            }
        }
    }

    fn quoted(&mut self) -> Result<String, LvmTextError> {
        self.skip('"');
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return Ok(text);
                }
                '\\' => text.extend(chars.next().map(|(_, c)| c)),
                c => text.push(c),
            }
        }
        Err(self.expected("\" at the end of a text"))
    }

    fn name(&mut self) -> Result<&'a str, LvmTextError> {
        let end = self.rest.find(|c: char| !is_of_name(c));
        let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return Err(self.expected("a name"));
        }
        self.rest = rest;
        Ok(name)
    }

    /// The next character that is neither blank nor of a comment.
    fn peek(&mut self) -> Option<char> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return self.rest.chars().next();
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.rest = self.rest.get(end..).unwrap_or_default();
        }
    }

    fn skip(&mut self, c: char) {
        self.rest = self.rest.strip_prefix(c).unwrap_or(self.rest);
    }

    fn want(&mut self, c: char, expected: &'static str) -> Result<(), LvmTextError> {
        if self.peek() != Some(c) {
            return Err(self.expected(expected));
        }
        self.skip(c);
        Ok(())
    }

    fn count(&mut self) -> Result<(), LvmTextError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(self.too_much("values", MAX_ENTRIES));
        }
        Ok(())
    }

    fn expected(&self, expected: &'static str) -> LvmTextError {
        LvmTextError::Expected {
            line: self.line(),
            expected,
        }
    }

    fn too_much(&self, what: &'static str, limit: usize) -> LvmTextError {
        LvmTextError::TooMuch {
            line: self.line(),
            what,
            limit,
        }
    }

    fn line(&self) -> usize {
        let before = self.text.get(..self.len - self.rest.len());
        1 + before.unwrap_or_default().matches('\n').count()
    }
}

/// Names of groups and volumes have these, and LVM's own words.
pub(super) fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '.' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_and_read_again() {
        let text = r#"# a comment
            contents = "Text \"Format\" \\ Group" # another
            version = 1
            empty = []
            vg-0.x+ { id = "a" status = ["READ", "WRITE",] n { x = -5 } }"#;
        let section = Section::parse(text).unwrap();
        let group = section.section("vg-0.x+").unwrap();
        assert_eq!(section.text("contents"), Some(r#"Text "Format" \ Group"#));
        assert!(group.lists("status", "WRITE") && !group.lists("status", "X"));
        assert_eq!(section.count("version"), Some(1));
        assert_eq!(group.section("n").unwrap().count("x"), None);
        assert_eq!(Section::parse(&section.to_string()).unwrap(), section);
    }

    #[test]
    fn what_is_no_such_text_is_refused_with_its_line() {
        for (text, line) in [
            ("a = 1\n}", 2),
            ("a {\n", 2),
            ("a", 1),
            ("a = \"x", 1),
            ("a = [1 2]", 1),
            ("\n\n= 3", 3),
            ("a = 99999999999999999999", 1),
            ("a = x", 1),
            ("{}", 1),
        ] {
            let found = Section::parse(text).unwrap_err();
            assert!(
                matches!(found, LvmTextError::Expected { line: found, .. } if found == line),
                "{text}: {found}"
            );
        }
        let deep = format!("{}{}", "a {".repeat(9), "}".repeat(9));
        let lists = format!("a = {}{}", "[".repeat(9), "]".repeat(9));
        for text in [deep, lists, "a = 1\n".repeat(40_000)] {
            let found = Section::parse(&text).unwrap_err();
            assert!(matches!(found, LvmTextError::TooMuch { .. }), "{found}");
        }
    }
}
