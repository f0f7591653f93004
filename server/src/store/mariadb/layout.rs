//! The tables as they are: those of FOG differ from step to step of its schema.
//!
//! Columns are looked up when the database is opened. A row that is added has the columns that its table has,
//! and a value in each that needs one: FOG's columns mostly have neither default nor NULL.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};

use super::connection::{Connection, fetch};
use super::zone::Zone;
use crate::domain::time::NEVER;
use crate::store::sql::row::{Arg, Cells, Row};

/// Tables and columns of a database.
#[derive(Debug, Clone)]
pub(in crate::store) struct Layout {
    tables: BTreeMap<String, Table>,
    owner: Owner,
    zone: Zone,
    knows_failed: bool,
}

/// Whose database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Ours: there is no FOG.
    Ours,
    /// FOG's, with the step of its schema.
    Fog(i64),
}

#[derive(Debug, Clone)]
struct Table {
    columns: Vec<Column>,
    is_transactional: bool,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: Kind,
    /// The type as MariaDB names it.
    type_name: String,
    /// No row is added without it.
    needs_value: bool,
    /// Characters that it takes.
    max: Option<usize>,
    /// The last character that its character set is sure to have.
    last: char,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Choice,
    /// A time on the clock of the place.
    Local,
    /// A point in time.
    Instant,
    Other,
}

impl Layout {
    /// Of a connection that has looked at nothing yet.
    pub(super) fn unknown() -> Self {
        Self {
            tables: BTreeMap::new(),
            owner: Owner::Ours,
            zone: Zone::UTC,
            knows_failed: true,
        }
    }

    /// Looks at the database.
    ///
    /// # Errors
    /// If it is neither FOG's in a layout that is known, nor ours, nor empty.
    pub(super) async fn read(connection: &mut Connection, place: &str) -> anyhow::Result<Self> {
        let tables = tables(connection, place).await?;
        let mut layout = Self {
            tables,
            ..Self::unknown()
        };
        if !layout.has_table(VERSION) {
            layout.check_ours()?;
            return Ok(layout);
        }
        let sql = "SELECT MAX(vValue) AS step FROM schemaVersion";
        let row = first(fetch(connection, place, sql, Vec::new()).await?);
        let step = row.and_then(|row| row.of(VERSION, &[]).int("step").ok());
        let step = step.context("its table schemaVersion says no step of FOG's schema")?;
        layout.owner = Owner::Fog(step);
        layout.check_fogs(step)?;
        layout.zone = zone(connection, place).await?;
        let sql = "SELECT COUNT(*) AS found FROM taskStates WHERE tsID = 6";
        let row = first(fetch(connection, place, sql, Vec::new()).await?);
        let found = row.and_then(|row| row.of("taskStates", &[]).int("found").ok());
        layout.knows_failed = found.is_some_and(|found| found > 0);
        Ok(layout)
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether the database is FOG's.
    pub(in crate::store) fn is_fogs(&self) -> bool {
        self.owner != Owner::Ours
    }

    /// Whether there is a row for failed tasks in `taskStates`.
    pub(in crate::store) fn knows_failed(&self) -> bool {
        self.knows_failed
    }

    /// Whether a transaction that fails leaves FOG's tables as they were.
    pub(in crate::store) fn is_transactional(&self) -> bool {
        let mut tables = self.fogs_tables().filter_map(|name| self.tables.get(name));
        tables.all(|table| table.is_transactional)
    }

    /// The tables of FOG's that statements name.
    pub(super) fn fogs_tables(&self) -> impl Iterator<Item = &'static str> {
        let names = NEEDED.iter().map(|(name, _)| *name);
        let names = names.chain(["imagingLog"]);
        names.filter(|name| self.has_table(name))
    }

    pub(in crate::store) fn has_table(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    pub(in crate::store) fn has(&self, table: &str, column: &str) -> bool {
        self.column(table, column).is_some()
    }

    fn column(&self, table: &str, column: &str) -> Option<&Column> {
        let columns = self.tables.get(table)?.columns.iter();
        // As MariaDB compares them.
        columns
            .into_iter()
            .find(|found| found.name.eq_ignore_ascii_case(column))
    }

    /// Those of the columns that a table has, with values that fit.
    pub(in crate::store) fn columns(
        &self,
        table: &str,
        columns: Vec<(&'static str, Arg)>,
    ) -> Vec<(&'static str, Arg)> {
        let fitted = columns.into_iter().filter_map(|(name, value)| {
            let column = self.column(table, name)?;
            Some((name, column.fit(value, &self.zone)))
        });
        fitted.collect()
    }

    /// A whole row of a table: others of its columns that need a value get one that says nothing.
    pub(in crate::store) fn row<'l>(
        &'l self,
        table: &str,
        columns: Vec<(&'static str, Arg)>,
    ) -> Vec<(&'l str, Arg)> {
        let mut row: Vec<(&'l str, Arg)> = self.columns(table, columns);
        let all = self.tables.get(table).map(|table| table.columns.as_slice());
        for column in all.unwrap_or_default() {
            let is_given = row
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(&column.name));
            if column.needs_value && !is_given {
                row.push((&column.name, column.neutral()));
            }
        }
        row
    }

    fn check_ours(&self) -> anyhow::Result<()> {
        let mut strangers = self.tables.keys().filter(|name| !name.starts_with("fos_"));
        match strangers.next() {
            Some(name) if !self.has_table(OURS) => bail!(
                "it holds the table {name}, but neither FOG's tables nor those of fos-server; name FOG's \
                 database, or an empty one"
            ),
            _ => Ok(()),
        }
    }

    fn check_fogs(&self, step: i64) -> anyhow::Result<()> {
        ensure!(
            KNOWN_STEPS.contains(&step) || step >= FIRST_STEP_OF_1_6,
            "FOG's schema is at step {step}; this version knows the steps 268 to 279 (FOG 1.5.8 to 1.5.10) \
             and from {FIRST_STEP_OF_1_6} on (FOG 1.6). Update FOG, or use a database of its own"
        );
        for &(name, columns) in NEEDED {
            let table = self.tables.get(name).with_context(|| {
                format!("FOG's schema is at step {step}, but there is no table {name}")
            })?;
            for &(column, needed) in columns {
                let found = table.columns.iter().find(|found| found.name == column);
                let found = found.with_context(|| {
                    format!(
                        "FOG's schema is at step {step}, but table {name} has no column {column}"
                    )
                })?;
                ensure!(
                    needed.is_met_by(found.kind),
                    "FOG's schema is at step {step}, but column {column} of table {name} is {}, which is not \
                     {needed}",
                    found.type_name
                );
            }
        }
        Ok(())
    }
}

impl Column {
    /// A value as the column takes it.
    fn fit(&self, value: Arg, zone: &Zone) -> Arg {
        match (self.kind, value) {
            (Kind::Local, Arg::Time(time)) => Arg::Text(zone.local(time)),
            // The session's zone is UTC.
            (_, Arg::Time(time)) => Arg::Text(time.to_string()),
            (Kind::Number, Arg::Text(text)) if text.is_empty() => Arg::Int(0),
            (Kind::Text, Arg::Text(text)) => Arg::Text(self.fit_text(text)),
            (_, value) => value,
        }
    }

    fn fit_text(&self, mut text: String) -> String {
        if text.chars().any(|found| found > self.last) {
            let substitute = char::REPLACEMENT_CHARACTER;
            let substitute = Some(substitute).filter(|substitute| *substitute <= self.last);
            let known = |found| match found > self.last {
                true => substitute.unwrap_or('?'),
                false => found,
            };
            text = text.chars().map(known).collect();
        }
        if let Some((end, _)) = self.max.and_then(|max| text.char_indices().nth(max)) {
            text.truncate(end);
        }
        text
    }

    /// A value that says nothing.
    fn neutral(&self) -> Arg {
        match self.kind {
            Kind::Number => Arg::Int(0),
            Kind::Local | Kind::Instant => Arg::Text(NEVER.to_owned()),
            // All of FOG's are '0' and '1'; the number of a choice begins with 1.
            Kind::Choice => Arg::Int(1),
            Kind::Text | Kind::Other => Arg::Text(String::new()),
        }
    }
}

async fn tables(
    connection: &mut Connection,
    place: &str,
) -> anyhow::Result<BTreeMap<String, Table>> {
    let sql = "SELECT table_name AS name, engine AS engine_name FROM information_schema.tables \
        WHERE table_schema = DATABASE()";
    let mut tables = BTreeMap::new();
    for row in fetch(connection, place, sql, Vec::new()).await? {
        let cells = of(&row);
        let engine = cells.optional_text("engine_name")?;
        let table = Table {
            columns: Vec::new(),
            is_transactional: engine.eq_ignore_ascii_case("InnoDB"),
        };
        tables.insert(cells.text("name")?, table);
    }
    let sql = "SELECT table_name AS owner, column_name AS name, data_type AS kind, \
        column_type AS whole, is_nullable AS nullable, column_default AS preset, extra AS more, \
        character_maximum_length AS longest, character_set_name AS letters \
        FROM information_schema.columns WHERE table_schema = DATABASE() \
        ORDER BY table_name, ordinal_position";
    for row in fetch(connection, place, sql, Vec::new()).await? {
        let cells = of(&row);
        if let Some(table) = tables.get_mut(&cells.text("owner")?) {
            table.columns.push(column(&cells)?);
        }
    }
    Ok(tables)
}

fn of(row: &Row) -> Cells<'_> {
    row.of("information_schema", &[])
}

fn first(rows: Vec<Row>) -> Option<Row> {
    rows.into_iter().next()
}

fn column(cells: &Cells<'_>) -> anyhow::Result<Column> {
    let kind = match cells.text("kind")?.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Kind::Number,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Kind::Text,
        "enum" => Kind::Choice,
        "datetime" => Kind::Local,
        "timestamp" => Kind::Instant,
        _ => Kind::Other,
    };
    let is_nullable = cells.text("nullable")?.eq_ignore_ascii_case("YES");
    let has_preset = !cells.optional_text("preset")?.is_empty();
    let extra = cells.optional_text("more")?.to_ascii_lowercase();
    let is_given = extra.contains("auto_increment") || extra.contains("generated");
    let charset = cells.optional_text("letters")?;
    let max = cells.optional("longest", "a number of characters", |text| {
        text.parse().ok()
    })?;
    Ok(Column {
        name: cells.text("name")?,
        kind,
        type_name: cells.text("whole")?,
        needs_value: !is_nullable && !has_preset && !is_given,
        // Of texts without a limit it is octets.
        max: max.filter(|_| kind == Kind::Text),
        last: match charset.as_str() {
            "" | "utf8mb4" => char::MAX,
            "utf8" | "utf8mb3" => '\u{ffff}',
            _ => '\u{7f}',
        },
    })
}

/// The zone in which FOG writes times.
async fn zone(connection: &mut Connection, place: &str) -> anyhow::Result<Zone> {
    let sql = "SELECT settingValue FROM globalSettings WHERE settingKey = 'FOG_TZ_INFO'";
    let row = first(fetch(connection, place, sql, Vec::new()).await?);
    let name = row.map(|row| row.of("globalSettings", &[]).optional_text("settingValue"));
    let name = name.transpose()?.unwrap_or_default();
    let name = name.trim();
    Zone::named(name).with_context(|| {
        format!(
            "FOG's setting FOG_TZ_INFO is {}, which is no time zone; correct it in FOG's settings (General, \
             TZ Info)",
            fog::encoding::printable(name, 80)
        )
    })
}

/// The table that says the step of FOG's schema.
const VERSION: &str = "schemaVersion";

/// The table that says the steps of ours.
pub(super) const OURS: &str = "fos_schema";

/// Steps of FOG 1.5.
const KNOWN_STEPS: std::ops::RangeInclusive<i64> = 268..=279;

/// What FOG 1.6 had when its tables were looked at.
const FIRST_STEP_OF_1_6: i64 = 386;

/// What a column has to be.
#[derive(Debug, Clone, Copy)]
enum Need {
    Number,
    Text,
    Flag,
    Time,
}

impl Need {
    fn is_met_by(self, kind: Kind) -> bool {
        match self {
            Self::Number => kind == Kind::Number,
            Self::Text => kind == Kind::Text,
            Self::Flag => matches!(kind, Kind::Choice | Kind::Number | Kind::Text),
            Self::Time => matches!(kind, Kind::Local | Kind::Instant),
        }
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Number => "a whole number",
            Self::Text => "a text",
            Self::Flag => "'0' or '1'",
            Self::Time => "a time",
        })
    }
}

use Need::{Flag, Number, Text, Time};

/// Columns of FOG's tables that statements name, but for those that are left out where they are missing.
const NEEDED: &[(&str, &[(&str, Need)])] = &[
    (
        "hosts",
        &[
            ("hostID", Number),
            ("hostName", Text),
            ("hostIP", Text),
            ("hostImage", Number),
            ("hostCreateDate", Time),
            ("hostLastDeploy", Time),
            ("hostKernelArgs", Text),
            ("hostDevice", Text),
            ("hostPending", Flag),
            ("hostPubKey", Text),
            ("hostSecToken", Text),
        ],
    ),
    (
        "hostMAC",
        &[
            ("hmID", Number),
            ("hmHostID", Number),
            ("hmMAC", Text),
            ("hmPrimary", Flag),
            ("hmPending", Flag),
            ("hmIgnoreImaging", Flag),
        ],
    ),
    (
        "images",
        &[
            ("imageID", Number),
            ("imageName", Text),
            ("imagePath", Text),
            ("imageDateTime", Time),
            ("imageSize", Text),
            ("imageTypeID", Number),
            ("imageOSID", Number),
            ("imageFormat", Flag),
            ("imageLastDeploy", Time),
            ("imageServerSize", Number),
        ],
    ),
    (
        "imageGroupAssoc",
        &[
            ("igaID", Number),
            ("igaImageID", Number),
            ("igaStorageGroupID", Number),
            ("igaPrimary", Flag),
        ],
    ),
    (
        "tasks",
        &[
            ("taskID", Number),
            ("taskName", Text),
            ("taskCreateTime", Time),
            ("taskCheckIn", Time),
            ("taskHostID", Number),
            ("taskImageID", Number),
            ("taskStateID", Number),
            ("taskTypeID", Number),
            ("taskIsDebug", Number),
            ("taskScheduledStartTime", Time),
            ("taskPCT", Number),
            ("taskShutdown", Flag),
        ],
    ),
    (
        "multicastSessions",
        &[
            ("msID", Number),
            ("msName", Text),
            ("msBasePort", Number),
            ("msLogPath", Text),
            ("msImage", Text),
            ("msClients", Number),
            ("msStartDateTime", Time),
            ("msPercent", Number),
            ("msState", Number),
            ("msCompleteDateTime", Time),
            ("msIsDD", Number),
            ("msNFSGroupID", Number),
        ],
    ),
    (
        "multicastSessionsAssoc",
        &[("msID", Number), ("tID", Number)],
    ),
    ("taskLog", &[("taskStateID", Number), ("ip", Text)]),
    ("taskStates", &[("tsID", Number)]),
    ("inventory", &[("iID", Number), ("iHostID", Number)]),
    (
        "nfsGroupMembers",
        &[
            ("ngmID", Number),
            ("ngmIsMasterNode", Flag),
            ("ngmGroupID", Number),
            ("ngmRootPath", Text),
        ],
    ),
    (
        "globalSettings",
        &[("settingKey", Text), ("settingValue", Text)],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn column(kind: Kind, max: Option<usize>, last: char) -> Column {
        Column {
            name: "c".into(),
            kind,
            type_name: String::new(),
            needs_value: true,
            max,
            last,
        }
    }

    #[track_caller]
    fn is_text(found: Arg, expected: &str) {
        assert!(
            matches!(&found, Arg::Text(text) if text == expected),
            "{found:?}"
        );
    }

    #[test]
    fn texts_fit_their_columns() {
        let text = || Arg::from("Räume 😀 中");
        let zone = Zone::UTC;
        let fit = |max, last| column(Kind::Text, max, last).fit(text(), &zone);
        is_text(fit(None, char::MAX), "Räume 😀 中");
        is_text(fit(Some(7), char::MAX), "Räume 😀");
        is_text(fit(None, '\u{ffff}'), "Räume \u{fffd} 中");
        is_text(fit(Some(8), '\u{7f}'), "R?ume ? ");
        is_text(fit(Some(0), char::MAX), "");
    }

    #[test]
    fn times_and_nothing_are_written_as_the_column_has_them() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        let time = || Arg::from(Timestamp(1_790_000_000));
        let fit = |kind, value| column(kind, None, char::MAX).fit(value, &berlin);
        is_text(fit(Kind::Local, time()), "2026-09-21 16:13:20");
        is_text(fit(Kind::Instant, time()), "2026-09-21 14:13:20");
        is_text(fit(Kind::Text, time()), "2026-09-21 14:13:20");
        assert!(matches!(fit(Kind::Number, Arg::from("")), Arg::Int(0)));
        for (kind, expected) in [
            (Kind::Text, ""),
            (Kind::Local, NEVER),
            (Kind::Instant, NEVER),
        ] {
            is_text(column(kind, None, char::MAX).neutral(), expected);
        }
    }
}
