//! A transaction: statements, whatever database runs them.
//!
//! FOG's tables are not the same everywhere: steps of its schema lack columns, want values, keep local
//! time. Whoever writes them uses [`Tx::add`] and [`Tx::set`], which know the tables as they are. Our own
//! tables are the same everywhere.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use fog::task::State;

use super::row::{Arg, Row, Value};
use crate::store::mariadb::{self, Layout};
use crate::store::sqlite;
use crate::store::{Change, Result};

/// A future that an operation consists of.
pub(in crate::store) type Boxed<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// What runs the statements.
pub(in crate::store) enum Link {
    Sqlite(sqlite::Connection),
    MariaDb(mariadb::Connection),
}

/// What a statement did that answers no rows.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Done {
    /// Rows that it met.
    pub(in crate::store) met: u64,
    /// The number of the row that it inserted.
    pub(in crate::store) inserted: i64,
}

/// Values of columns.
pub(super) type Columns = Vec<(&'static str, Arg)>;

/// A transaction.
pub(crate) struct Tx {
    link: Link,
    place: Arc<str>,
    changes: Vec<Change>,
    /// How many statements have been run.
    statements: u32,
    /// Whether a try before this one may have left something.
    is_again: bool,
}

impl Tx {
    /// On a connection to the database that is called this in errors.
    pub(in crate::store) fn new(link: Link, place: Arc<str>) -> Self {
        Self {
            link,
            place,
            changes: Vec::new(),
            statements: 0,
            is_again: false,
        }
    }

    /// The same for one more try.
    pub(in crate::store) fn again(mut self, is_again: bool) -> Self {
        self.is_again = is_again;
        self
    }

    /// Whether a try before this one may have left something: it failed, and what it did is not undone.
    pub(super) fn has_left_something(&self) -> bool {
        self.is_again && !self.is_undone()
    }

    /// The connection, with the changes to be told once they are stored.
    pub(in crate::store) fn into_parts(self) -> (Link, Vec<Change>) {
        (self.link, self.changes)
    }

    /// How many statements have been run.
    pub(in crate::store) fn statements(&self) -> u32 {
        self.statements
    }

    /// Tells a change, once it is stored.
    pub(in crate::store) fn changed(&mut self, change: Change) {
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    async fn execute(&mut self, sql: &str, args: Vec<Arg>) -> Result<Done> {
        self.statements = self.statements.saturating_add(1);
        match &mut self.link {
            Link::Sqlite(connection) => sqlite::execute(connection, &self.place, sql, args).await,
            Link::MariaDb(connection) => mariadb::execute(connection, &self.place, sql, args).await,
        }
    }

    /// Runs a statement; the number of rows that it met.
    pub(in crate::store) async fn run(&mut self, sql: &str, args: Vec<Arg>) -> Result<u64> {
        self.execute(sql, args).await.map(|done| done.met)
    }

    /// All rows.
    pub(in crate::store) async fn rows(&mut self, sql: &str, args: Vec<Arg>) -> Result<Vec<Row>> {
        self.statements = self.statements.saturating_add(1);
        match &mut self.link {
            Link::Sqlite(connection) => sqlite::fetch(connection, &self.place, sql, args).await,
            Link::MariaDb(connection) => mariadb::fetch(connection, &self.place, sql, args).await,
        }
    }

    /// The only row. The statement goes to its end: one that does not keeps the state of the database that it sees.
    pub(in crate::store) async fn row(&mut self, sql: &str, args: Vec<Arg>) -> Result<Option<Row>> {
        let rows = self.rows(sql, args).await?;
        Ok(rows.into_iter().next())
    }

    /// The only number; `None` if there is no row, no value, or no number.
    pub(in crate::store) async fn number(
        &mut self,
        sql: &str,
        args: Vec<Arg>,
    ) -> Result<Option<i64>> {
        let row = self.row(sql, args).await?;
        Ok(row.and_then(|row| match row.columns.first() {
            Some((_, Value::Int(number))) => Some(*number),
            _ => None,
        }))
    }

    // FOG's tables.

    /// Adds a row to a table of FOG's; its number. Columns that the table lacks are left out, others that
    /// need a value get one that says nothing.
    pub(super) async fn add(&mut self, table: &'static str, columns: Columns) -> Result<i64> {
        let columns = match self.layout() {
            Some(layout) => layout.row(table, columns),
            None => columns,
        };
        let (names, values): (Vec<&str>, Vec<Arg>) = columns.into_iter().unzip();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES ({marks})",
            names.join(", ")
        );
        self.execute(&sql, values).await.map(|done| done.inserted)
    }

    /// Sets columns of rows of a table of FOG's, as far as it has them; the number of rows that meet the
    /// condition, 0 if the table has none of the columns.
    pub(super) async fn set(
        &mut self,
        table: &'static str,
        columns: Columns,
        condition: &str,
        args: Vec<Arg>,
    ) -> Result<u64> {
        let columns = match self.layout() {
            Some(layout) => layout.columns(table, columns),
            None => columns,
        };
        if columns.is_empty() {
            return Ok(0);
        }
        let (names, mut values): (Vec<&str>, Vec<Arg>) = columns.into_iter().unzip();
        values.extend(args);
        let sets: Vec<String> = names.iter().map(|name| format!("{name} = ?")).collect();
        let sql = format!("UPDATE {table} SET {} WHERE {condition}", sets.join(", "));
        self.run(&sql, values).await
    }

    /// Those of the columns that a table of FOG's has, for a `SELECT`.
    pub(super) fn list(&self, table: &'static str, columns: &[&'static str]) -> String {
        let found = columns.iter().copied();
        let found: Vec<&str> = found.filter(|column| !self.lacks(table, column)).collect();
        found.join(", ")
    }

    /// Whether a table of FOG's lacks a column that ours has.
    pub(super) fn lacks(&self, table: &'static str, column: &str) -> bool {
        self.layout()
            .is_some_and(|layout| !layout.has(table, column))
    }

    /// Whether a table of FOG's has a column that ours does without.
    pub(super) fn has(&self, table: &'static str, column: &str) -> bool {
        self.layout()
            .is_some_and(|layout| layout.has(table, column))
    }

    /// Whether the database has a table of FOG's that ours does without.
    pub(super) fn has_table(&self, table: &'static str) -> bool {
        self.layout().is_some_and(|layout| layout.has_table(table))
    }

    /// Whether the database is FOG's: what other programs go by is not to be changed.
    pub(super) fn is_fogs(&self) -> bool {
        self.layout().is_some_and(Layout::is_fogs)
    }

    /// Whether the number of a session can be given to another one later: `TRUNCATE` begins anew.
    pub(super) fn numbers_come_again(&self) -> bool {
        self.layout().is_some()
    }

    /// Whether FOG's tables know the state "failed", which is younger than the others.
    pub(super) fn knows_failed(&self) -> bool {
        self.layout().is_none_or(Layout::knows_failed)
    }

    /// A state as FOG's tables hold it: where they know no failed tasks, these are cancelled ones.
    pub(super) fn fogs_state(&self, state: State) -> State {
        match state {
            State::Failed if !self.knows_failed() => State::Cancelled,
            state => state,
        }
    }

    /// Whether what was stored in FOG's tables is undone if the operation fails.
    pub(super) fn is_undone(&self) -> bool {
        self.layout().is_none_or(Layout::is_transactional)
    }

    /// Stores what was done so far, where FOG's tables do that by themselves.
    pub(super) async fn checkpoint(&mut self) -> Result<()> {
        if !self.is_undone() {
            self.run("COMMIT", Vec::new()).await?;
            self.run("START TRANSACTION", Vec::new()).await?;
        }
        Ok(())
    }

    /// The connection, if it is one to MariaDB.
    pub(in crate::store) fn mariadb(&self) -> Option<&mariadb::Connection> {
        match &self.link {
            Link::Sqlite(_) => None,
            Link::MariaDb(connection) => Some(connection),
        }
    }

    fn layout(&self) -> Option<&Layout> {
        match &self.link {
            Link::Sqlite(_) => None,
            Link::MariaDb(connection) => Some(connection.layout()),
        }
    }
}
