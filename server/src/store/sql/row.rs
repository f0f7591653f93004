//! Values on their way into the database and back. What comes back is checked: a value that makes no
//! sense is an error that names it, never a default.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use fog::task::State;

use crate::domain::handout::Ticket;
use crate::domain::reason::BrokenRow;
use crate::domain::time::NEVER;
use crate::domain::{HostId, ImageId, Reason, SessionId, TaskId, Timestamp};
use crate::store::{Result, StoreError};

/// An argument of a statement.
#[derive(Debug, Clone)]
pub(in crate::store) enum Arg {
    Null,
    Int(i64),
    Text(String),
    /// Written as each column has it.
    Time(Timestamp),
}

/// The arguments of a statement.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::sql::row::Arg::from($value)),*] };
}
pub(in crate::store) use args;

impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u16> for Arg {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<State> for Arg {
    fn from(value: State) -> Self {
        Self::Int(value.number())
    }
}

impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Arg {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Timestamp> for Arg {
    fn from(value: Timestamp) -> Self {
        Self::Time(value)
    }
}

impl From<HostId> for Arg {
    fn from(value: HostId) -> Self {
        Self::Int(value.0)
    }
}

impl From<ImageId> for Arg {
    fn from(value: ImageId) -> Self {
        Self::Int(value.0)
    }
}

impl From<TaskId> for Arg {
    fn from(value: TaskId) -> Self {
        Self::Int(value.0)
    }
}

impl From<SessionId> for Arg {
    fn from(value: SessionId) -> Self {
        Self::Int(value.0)
    }
}

impl<T: Into<Self>> From<Option<T>> for Arg {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A value as the database holds it: with SQLite any column can hold any kind. Times are texts in UTC.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::store) enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row of an answer.
#[derive(Debug, Clone)]
pub(in crate::store) struct Row {
    pub(in crate::store) columns: Vec<(String, Value)>,
}

impl Row {
    /// The columns that belong to `table`, whose key is `keys`.
    pub(in crate::store) fn of<'r>(
        &'r self,
        table: &'static str,
        keys: &'static [&'static str],
    ) -> Cells<'r> {
        Cells {
            row: self,
            table,
            keys,
        }
    }

    fn value(&self, column: &str) -> &Value {
        let found = self.columns.iter().find(|(name, _)| name == column);
        found.map_or(&Value::Null, |(_, value)| value)
    }
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Cells<'r> {
    row: &'r Row,
    table: &'static str,
    keys: &'static [&'static str],
}

impl Cells<'_> {
    pub(in crate::store) fn int(&self, column: &'static str) -> Result<i64> {
        self.number(column, "a whole number")
    }

    /// A number of a smaller range.
    pub(in crate::store) fn number<T: TryFrom<i64>>(
        &self,
        column: &'static str,
        expected: &str,
    ) -> Result<T> {
        match self.row.value(column) {
            Value::Int(value) => T::try_from(*value).ok(),
            _ => None,
        }
        .ok_or_else(|| self.broken(column, expected))
    }

    /// A number that refers to a row of another table: old versions of FOG write 0 for none, new ones nothing.
    pub(in crate::store) fn reference(&self, column: &'static str) -> Result<Option<i64>> {
        match self.row.value(column) {
            Value::Null => Ok(None),
            _ => Ok(Some(self.int(column)?).filter(|number| *number != 0)),
        }
    }

    /// A text, of which another program may have made a number.
    pub(in crate::store) fn text(&self, column: &'static str) -> Result<String> {
        match self.row.value(column) {
            Value::Text(text) => Ok(text.clone()),
            Value::Int(value) => Ok(value.to_string()),
            _ => Err(self.broken(column, "a text in UTF-8")),
        }
    }

    /// A text that may be absent.
    pub(in crate::store) fn optional_text(&self, column: &'static str) -> Result<String> {
        match self.row.value(column) {
            Value::Null => Ok(String::new()),
            _ => self.text(column),
        }
    }

    /// Reads a text; `None` if it is not what is expected.
    pub(in crate::store) fn parsed<T>(
        &self,
        column: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| self.broken(column, expected))
    }

    /// The same for a column that may be empty.
    pub(in crate::store) fn optional<T>(
        &self,
        column: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        if self.optional_text(column)?.is_empty() {
            return Ok(None);
        }
        self.parsed(column, expected, parse).map(Some)
    }

    /// FOG's `enum('0', '1')`; old versions write an empty text for "no".
    pub(in crate::store) fn flag(&self, column: &'static str) -> Result<bool> {
        match self.optional_text(column)?.as_str() {
            "1" => Ok(true),
            "0" | "" => Ok(false),
            _ => Err(self.broken(column, "0 or 1")),
        }
    }

    pub(in crate::store) fn state(&self, column: &'static str) -> Result<State> {
        let number = match self.row.value(column) {
            Value::Int(number) => State::from_number(*number),
            _ => None,
        };
        number.ok_or_else(|| self.broken(column, "a state from 0 to 6"))
    }

    pub(in crate::store) fn time(&self, column: &'static str) -> Result<Timestamp> {
        self.parsed(column, TIME, parse_time)
    }

    /// A time that may be "never".
    pub(in crate::store) fn optional_time(
        &self,
        column: &'static str,
    ) -> Result<Option<Timestamp>> {
        if self.optional_text(column)? == NEVER {
            return Ok(None);
        }
        self.optional(column, TIME, parse_time)
    }

    pub(in crate::store) fn address(&self, column: &'static str) -> Result<IpAddr> {
        self.parsed(column, "an IP address", |text| text.parse().ok())
    }

    pub(in crate::store) fn optional_ipv4(&self, column: &'static str) -> Result<Option<Ipv4Addr>> {
        self.optional(column, "an IPv4 address", |text| text.parse().ok())
    }

    pub(in crate::store) fn ticket(&self, column: &'static str) -> Result<Option<Ticket>> {
        self.optional(column, "32 hexadecimal digits", Ticket::parse)
    }

    /// `reasonCode` and `reasonDetails`.
    pub(in crate::store) fn reason(&self) -> Result<Option<Reason>> {
        let (code, details) = self.reason_parts()?;
        Ok(Reason::from_parts(&code, &details))
    }

    pub(in crate::store) fn reason_parts(&self) -> Result<(String, String)> {
        Ok((
            self.optional_text("reasonCode")?,
            self.optional_text("reasonDetails")?,
        ))
    }

    /// The error for a value that makes no sense.
    pub(in crate::store) fn broken(&self, column: &str, expected: &str) -> StoreError {
        let key = |name: &&str| format!("{name} {}", shown(self.row.value(name)));
        let keys: Vec<String> = self.keys.iter().map(key).collect();
        Box::new(BrokenRow {
            table: self.table.to_owned(),
            row: keys.join(", "),
            column: column.to_owned(),
            value: shown(self.row.value(column)),
            expected: expected.to_owned(),
        })
        .into()
    }
}

const TIME: &str = "a time such as 2026-03-12 17:35:39";

/// Only what is written the same again: no 31st of February.
fn parse_time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).filter(|time| time.to_string() == text)
}

fn shown(value: &Value) -> String {
    let cut = |value: &dyn Display| fog::encoding::printable(&value.to_string(), MAX_SHOWN);
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Real(value) => cut(value),
        Value::Text(text) => cut(text),
        Value::Bytes(bytes) => cut(&String::from_utf8_lossy(bytes)),
    }
}

/// Characters of a value that an error shows.
const MAX_SHOWN: usize = 80;

/// Takes the broken one out of what a list may do without, and says so in the log.
///
/// # Errors
/// Of every other kind.
pub(in crate::store) fn unless_broken<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Broken(broken)) => {
            tracing::error!("server: the database holds a value that makes no sense: {broken}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// States for an `IN` of a statement.
pub(in crate::store) fn in_states(states: &[State]) -> String {
    let numbers: Vec<String> = states
        .iter()
        .map(|state| state.number().to_string())
        .collect();
    format!("({})", numbers.join(", "))
}

/// States 0 to 3: what is still to be worked on.
pub(in crate::store) const ACTIVE: &str = "(0, 1, 2, 3)";

/// Codes with details that fit into a column of `max` bytes: long texts and lists are cut, the JSON
/// stays JSON.
pub(in crate::store) fn fit(details: String, max: usize) -> String {
    if details.len() <= max {
        return details;
    }
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(&details) else {
        return String::new();
    };
    let mut limit = max;
    while limit > 0 {
        limit /= 2;
        cut(&mut value, limit);
        let text = value.to_string();
        if text.len() <= max {
            return text;
        }
    }
    String::new()
}

/// Cuts texts to so many characters, and lists to a sixteenth of it: their items are names.
fn cut(value: &mut serde_json::Value, limit: usize) {
    match value {
        serde_json::Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(limit) {
                text.truncate(end);
            }
        }
        serde_json::Value::Array(items) => {
            items.truncate(limit.div_ceil(16));
            items.iter_mut().for_each(|item| cut(item, limit));
        }
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(|field| cut(field, limit));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        Row {
            columns: vec![("id".into(), Value::Int(7)), ("c".into(), value)],
        }
    }

    fn of(row: &Row) -> Cells<'_> {
        row.of("t", &["id"])
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let row = row(Value::Text("abc\n".into()));
        let Err(StoreError::Broken(broken)) = of(&row).state("c") else {
            panic!("not broken");
        };
        assert_eq!(
            broken.to_string(),
            "table t, row id 7: column c holds \"abc\", expected a state from 0 to 6"
        );
    }

    #[test]
    fn nothing_odd_is_read_as_something_else() {
        for value in [
            Value::Null,
            Value::Int(7),
            Value::Int(-1),
            Value::Real(1.5),
            Value::Text("3".into()),
            Value::Bytes(vec![3]),
        ] {
            assert!(of(&row(value)).state("c").is_err());
        }
        assert!(of(&row(Value::Int(-1))).number::<u32>("c", "").is_err());
        assert!(
            of(&row(Value::Int(1 << 32)))
                .number::<u32>("c", "")
                .is_err()
        );
        assert!(of(&row(Value::Bytes(vec![0xff]))).text("c").is_err());
        for text in ["2", "yes", " 1"] {
            assert!(of(&row(Value::Text(text.into()))).flag("c").is_err());
        }
    }

    #[test]
    fn times_are_real_or_never() {
        let read = |text: &str| of(&row(Value::Text(text.into()))).optional_time("c");
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read(NEVER).unwrap(), None);
        assert_eq!(of(&row(Value::Null)).optional_time("c").unwrap(), None);
        assert_eq!(read("1970-01-02 00:00:00").unwrap(), Some(Timestamp(86400)));
        for text in ["2026-02-31 00:00:00", "2026x01x01 00:00:00", "0000-00-00"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(of(&row(Value::Text(NEVER.into()))).time("c").is_err());
    }

    #[test]
    fn long_details_stay_json() {
        let text = "\u{1}ä".repeat(100_000);
        let names: Vec<String> = (0..10_000).map(|n| format!("pc{n}")).collect();
        let details = serde_json::json!({ "text": text, "missing": names }).to_string();
        let cut = fit(details, 8192);
        assert!(cut.len() <= 8192);
        let value: serde_json::Value = serde_json::from_str(&cut).unwrap();
        assert!(!value["text"].as_str().unwrap().is_empty());
        assert!(!value["missing"].as_array().unwrap().is_empty());
        assert_eq!(fit("{}".into(), 8192), "{}");
    }
}
