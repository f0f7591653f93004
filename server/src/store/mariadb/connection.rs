//! A connection: statements, what their answers hold, and what their errors mean.

use std::sync::Arc;
use std::time::Instant;

use sqlx::mysql::{MySqlArguments, MySqlDatabaseError, MySqlRow, MySqlValueRef};
use sqlx::{
    Column as _, Connection as _, Decode, Executor as _, MySql, MySqlConnection, Row as _,
    TypeInfo as _, ValueRef as _,
};

use super::layout::Layout;
use super::zone::Zone;
use crate::store::sql::row::{Arg, Row, Value};
use crate::store::sql::tx::Done;
use crate::store::{Result, StoreError};

/// A connection to the database.
pub(in crate::store) struct Connection {
    inner: MySqlConnection,
    layout: Arc<Layout>,
    /// Its number at the server.
    pub(super) id: u64,
    /// The position of its node among those of the database.
    pub(super) at: usize,
    /// When it was last used.
    pub(super) used_at: Instant,
    /// Why the last statement that failed did so.
    pub(super) trouble: Option<Trouble>,
    #[cfg(test)]
    pub(super) fuse: Fuse,
}

/// Lets only so many statements through.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(super) struct Fuse(Arc<std::sync::Mutex<Option<(u32, Burns)>>>);

/// What happens at the statement that a fuse does not let through.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Burns {
    /// All of them fail from then on, as if the server had died.
    Dies,
    /// It alone is not run, as if the connection had broken before it.
    Loses,
    /// It is run, but its answer is lost.
    LosesAnswer,
}

#[cfg(test)]
impl Fuse {
    /// From now on; `None` for all.
    pub(super) fn set(&self, statements: Option<u32>) {
        *self.0.lock().unwrap() = statements.map(|statements| (statements, Burns::Dies));
    }

    /// The connection breaks once, after so many statements.
    pub(super) fn lose(&self, statements: u32, how: Burns) {
        *self.0.lock().unwrap() = Some((statements, how));
    }

    /// Lets all through until [`Self::go_on`] gets what this answers.
    pub(super) fn pause(&self) -> Option<(u32, Burns)> {
        self.0.lock().unwrap().take()
    }

    pub(super) fn go_on(&self, paused: Option<(u32, Burns)>) {
        *self.0.lock().unwrap() = paused;
    }

    /// Whether it was burnt that was to burn once.
    pub(super) fn has_lost(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }

    fn burn(&self) -> Option<Burns> {
        let mut fuse = self.0.lock().unwrap();
        match &mut *fuse {
            None => None,
            Some((0, Burns::Dies)) => Some(Burns::Dies),
            Some((0, how)) => {
                let how = *how;
                *fuse = None;
                Some(how)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
        }
    }
}

/// What an error of the database is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another transaction was in the way, and this one was undone: it may be tried again.
    Conflict,
    /// The connection is gone.
    Lost,
    /// The node of a cluster is cut off from the others, or joins them.
    NotReady,
    /// The database does not let the user in.
    Refused,
    /// The user may not do that.
    Forbidden,
    /// It takes no changes.
    ReadOnly,
    /// There is no room.
    Full,
    /// A table is damaged.
    Damaged,
    /// A table or column is not there any more.
    Altered,
    /// Another program stored the same at this moment.
    Duplicate,
    /// It cannot do it now, for another reason.
    Unavailable,
    /// A mistake of ours.
    Mistake,
}

impl Connection {
    pub(super) fn new(inner: MySqlConnection, layout: Arc<Layout>, at: usize) -> Self {
        Self {
            inner,
            layout,
            id: 0,
            at,
            used_at: Instant::now(),
            trouble: None,
            #[cfg(test)]
            fuse: Fuse::default(),
        }
    }

    /// The tables as they are.
    pub(in crate::store) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Other tables: they were not there before.
    pub(super) fn set_layout(&mut self, layout: Arc<Layout>) {
        self.layout = layout;
    }

    /// Runs statements that have no arguments and answer nothing.
    pub(super) async fn script(&mut self, place: &str, sql: &str) -> Result<()> {
        let done = self.inner.execute(sqlx::raw_sql(sql)).await;
        done.map(drop).map_err(|error| self.fault(place, &error))
    }

    /// The same, used just now.
    pub(super) fn used(mut self) -> Self {
        self.used_at = Instant::now();
        self
    }

    /// Tells the server good-bye.
    pub(super) async fn close(self) -> sqlx::Result<()> {
        self.inner.close().await
    }

    /// Whether the answer of the next statement is lost.
    ///
    /// # Errors
    /// If it is not run.
    #[cfg(test)]
    fn burn(&mut self) -> Result<bool> {
        let told = || StoreError::Unavailable("told to fail".into());
        match self.fuse.burn() {
            None => Ok(false),
            Some(Burns::LosesAnswer) => Ok(true),
            Some(Burns::Dies) => Err(told()),
            Some(Burns::Loses) => Err(self.lost()),
        }
    }

    #[cfg(test)]
    fn lost(&mut self) -> StoreError {
        self.trouble = Some(Trouble::Lost);
        StoreError::Unavailable("told to lose it".into())
    }

    fn fault(&mut self, place: &str, error: &sqlx::Error) -> StoreError {
        let trouble = Trouble::of(error);
        self.trouble = Some(trouble);
        trouble.fault(place, error)
    }
}

/// Runs a statement that answers no rows.
pub(in crate::store) async fn execute(
    connection: &mut Connection,
    place: &str,
    sql: &str,
    args: Vec<Arg>,
) -> Result<Done> {
    #[cfg(test)]
    let is_lost = connection.burn()?;
    let done = match args.is_empty() {
        // Old servers do not prepare what begins and ends transactions.
        true => connection.inner.execute(sqlx::raw_sql(sql)).await,
        false => bound(sql, args).execute(&mut connection.inner).await,
    };
    let done = done.map_err(|error| connection.fault(place, &error))?;
    #[cfg(test)]
    if is_lost {
        return Err(connection.lost());
    }
    Ok(Done {
        met: done.rows_affected(),
        inserted: i64::try_from(done.last_insert_id()).unwrap_or(i64::MAX),
    })
}

/// Runs a statement that answers rows.
pub(in crate::store) async fn fetch(
    connection: &mut Connection,
    place: &str,
    sql: &str,
    args: Vec<Arg>,
) -> Result<Vec<Row>> {
    #[cfg(test)]
    let is_lost = connection.burn()?;
    let rows = bound(sql, args).fetch_all(&mut connection.inner).await;
    let rows = rows.map_err(|error| connection.fault(place, &error))?;
    #[cfg(test)]
    if is_lost {
        return Err(connection.lost());
    }
    let zone = connection.layout.zone();
    Ok(rows.iter().map(|found| row(found, zone)).collect())
}

/// Runs a statement that answers names with values, as texts.
pub(super) async fn show(
    connection: &mut Connection,
    place: &str,
    sql: &str,
) -> Result<Vec<(String, String)>> {
    let rows = connection.inner.fetch_all(sqlx::raw_sql(sql)).await;
    let rows = rows.map_err(|error| connection.fault(place, &error))?;
    let text = |row: &MySqlRow, index: usize| {
        let raw = row.try_get_raw(index);
        raw.map_or_else(
            |_| String::new(),
            |raw| String::from_utf8_lossy(bytes(raw)).into_owned(),
        )
    };
    Ok(rows
        .iter()
        .map(|row| (text(row, 0), text(row, 1)))
        .collect())
}

fn bound(sql: &str, args: Vec<Arg>) -> sqlx::query::Query<'_, MySql, MySqlArguments> {
    let query = sqlx::query(sql);
    args.into_iter().fold(query, |query, arg| match arg {
        Arg::Null => query.bind(None::<i64>),
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
        // Our own tables have texts in UTC.
        Arg::Time(time) => query.bind(time.to_string()),
    })
}

fn row(row: &MySqlRow, zone: &Zone) -> Row {
    let value = |(index, column): (usize, &sqlx::mysql::MySqlColumn)| {
        let value = row
            .try_get_raw(index)
            .map_or(Value::Null, |raw| value(raw, zone));
        (column.name().to_owned(), value)
    };
    Row {
        columns: row.columns().iter().enumerate().map(value).collect(),
    }
}

/// A value; the zero date is none.
fn value(raw: MySqlValueRef<'_>, zone: &Zone) -> Value {
    if raw.is_null() {
        return Value::Null;
    }
    let kind = raw.type_info().name().to_owned();
    match kind.as_str() {
        "TINYINT" | "BOOLEAN" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "YEAR" => {
            Decode::<MySql>::decode(raw).map_or(Value::Null, Value::Int)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" => match <u64 as Decode<MySql>>::decode(raw).map(i64::try_from) {
            Ok(Ok(value)) => Value::Int(value),
            _ => Value::Null,
        },
        "DOUBLE" => Decode::<MySql>::decode(raw).map_or(Value::Null, Value::Real),
        "DATETIME" => time(bytes(raw), zone),
        // The session's zone is UTC.
        "TIMESTAMP" => time(bytes(raw), &Zone::UTC),
        // Sums are decimals.
        "DECIMAL" => {
            let text = String::from_utf8_lossy(bytes(raw)).into_owned();
            match text.parse() {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Text(text),
            }
        }
        _ => {
            let bytes = bytes(raw);
            match str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_owned()),
                Err(_) => Value::Bytes(bytes.to_owned()),
            }
        }
    }
}

fn bytes(raw: MySqlValueRef<'_>) -> &[u8] {
    <&[u8] as Decode<'_, MySql>>::decode(raw).unwrap_or_default()
}

/// A time as the protocol has it: how many octets follow, year (low octet first), month, day, hour, minute,
/// second; midnight has no hour.
fn time(bytes: &[u8], zone: &Zone) -> Value {
    let mut parts = [0; 7];
    let given = bytes.get(1..).unwrap_or_default();
    for (part, byte) in parts.iter_mut().zip(given) {
        *part = *byte;
    }
    let [low, high, month, day, hour, minute, second] = parts;
    let year = u16::from_le_bytes([low, high]);
    let shown = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    // What is no time is shown as it is.
    let text = zone.utc(&shown).map_or(shown, |time| time.to_string());
    Value::Text(text)
}

impl Trouble {
    /// What an error is about.
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let error = match error {
            sqlx::Error::Database(error) => error.try_downcast_ref::<MySqlDatabaseError>(),
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::PoolClosed => return Self::Lost,
            _ => None,
        };
        let Some(error) = error else {
            return Self::Mistake;
        };
        Self::of_number(error.number())
    }

    /// The same by its number.
    fn of_number(number: u16) -> Self {
        match number {
            // Waited too long for a lock, deadlock, changed since it was read; certification in a cluster. A table
            // that was altered meanwhile. The numbers of the storage engine come through, too.
            146 | 149 | 1020 | 1205 | 1213 | 1412 | 1615 => Self::Conflict,
            // Shutdown, killed, the network, too long idle in a transaction.
            1053 | 1077 | 1079 | 1080 | 1152 | 1158..=1161 | 1184 | 1927 | 4031 => Self::Lost,
            1047 => Self::NotReady,
            1044 | 1045 | 1049 | 1130 | 1251 | 1524 | 1698 | 1820 | 4151 => Self::Refused,
            1142 | 1143 | 1227 | 1370 | 1410 => Self::Forbidden,
            // --read-only, read only transaction, read only table.
            1036 | 1223 | 1290 | 1792 | 1836 => Self::ReadOnly,
            // Disk, table, storage engine's space.
            3 | 28 | 135 | 136 | 1021 | 1114 => Self::Full,
            // What a storage engine says: most often there is no room, or the disk fails. Files that cannot be opened,
            // locked, read or written; too many of them; no memory.
            5
            | 9
            | 12
            | 13
            | 23
            | 24
            | 122
            | 128
            | 147
            | 1015..=1019
            | 1023..=1028
            | 1030
            | 1135
            | 1180
            | 1181
            | 1206
            | 1297 => Self::Unavailable,
            126 | 127 | 130 | 131 | 134 | 141 | 144 | 145 | 1033 | 1034 | 1035 | 1194 | 1195
            | 1712 | 1877 => Self::Damaged,
            1054 | 1146 | 1932 => Self::Altered,
            121 | 1022 | 1062 | 1586 => Self::Duplicate,
            // Too many connections, interrupted, too slow, out of memory.
            1037 | 1038 | 1040 | 1041 | 1203 | 1226 | 1317 | 1969 => Self::Unavailable,
            _ => Self::Mistake,
        }
    }

    /// The error for the caller, with what to do.
    pub(super) fn fault(self, place: &str, error: &sqlx::Error) -> StoreError {
        let text = match error {
            sqlx::Error::Database(error) => error.message().to_owned(),
            error => error.to_string(),
        };
        let text = fog::encoding::printable(&text, MAX_TEXT);
        let hint = match self {
            Self::Mistake => return StoreError::Internal(format!("{place}: {text}")),
            Self::Conflict => "another program has locked what is to be stored",
            Self::Lost => "look whether it runs, and whether this machine reaches it",
            Self::NotReady => {
                "this node of the cluster is cut off from most of the others, or joins them just now; look whether it \
                 reaches them"
            }
            Self::Refused => {
                "check user, name of the database and password (FOS_DATABASE_PASSWORD or \
                 --database-password-file)"
            }
            Self::Forbidden => {
                "the user needs SELECT, INSERT, UPDATE, DELETE and, for the tables of fos-server, CREATE and \
                 ALTER on this database"
            }
            Self::ReadOnly => "it takes no changes; use the one that does, or switch read_only off",
            Self::Full => "make room on the disk of the database",
            Self::Damaged => "repair the table (mariadb-check --repair)",
            Self::Altered => {
                "its tables are not those that were there when this server was started; start it again, \
                 or bring them back"
            }
            Self::Duplicate => "another program stored the same at this moment; try again",
            Self::Unavailable => "look at its log and its disk",
        };
        StoreError::Unavailable(format!("{place}: {text}: {hint}"))
    }
}

/// Characters of what the database says.
const MAX_TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_no_mistake_of_ours() {
        // Tables of MyISAM that crashed, are locked, or are being repaired; files; a record file that is full.
        for number in [
            5, 9, 12, 13, 23, 24, 121, 122, 126, 127, 128, 134, 135, 141, 144, 145, 146, 147, 149,
            1015, 1016, 1017, 1018, 1023, 1024, 1027, 1030, 1034, 1035, 1158, 1160, 1180, 1194,
            1195, 1206, 1297, 1412, 1615, 1712, 1877,
        ] {
            assert_ne!(Trouble::of_number(number), Trouble::Mistake, "{number}");
        }
        // A syntax error, a table that does not have that many columns.
        for number in [1064, 1136] {
            assert_eq!(Trouble::of_number(number), Trouble::Mistake, "{number}");
        }
    }

    #[test]
    fn times_of_the_protocol_are_read() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let read = |bytes: &[u8]| match time(bytes, &berlin) {
            Value::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&[7, 0xea, 7, 7, 1, 14, 0, 5]), "2026-07-01 12:00:05");
        assert_eq!(read(&[4, 0xea, 7, 7, 1]), "2026-06-30 22:00:00");
        let with_fraction = [11, 0xea, 7, 7, 1, 14, 0, 5, 1, 0, 0, 0];
        assert_eq!(read(&with_fraction), "2026-07-01 12:00:05");
        // FOG allows such things; they are shown as they are.
        assert_eq!(read(&[4, 0xea, 7, 0, 0]), "2026-00-00 00:00:00");
        assert_eq!(read(&[]), "0000-00-00 00:00:00");
    }
}
