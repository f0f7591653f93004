//! The store in an SQLite file: FOG's tables and a few of our own.

mod connection;
mod engine;
mod migrations;
mod open;
#[cfg(test)]
mod tests;

pub(in crate::store) use self::connection::Connection;
pub(in crate::store) use self::engine::{execute, fetch};
pub(crate) use self::open::{DATABASE, make_directory};
use super::sql::SqlStore;

/// An opened database, its tables up to date. Clones are the same database.
pub(crate) type Sqlite = SqlStore<engine::Engine>;
