//! The store in a MariaDB database: FOG's own, or one of ours.
//!
//! FOG's tables are used as they are found ([`layout`]), and never altered. What they have no room for is in
//! tables of ours beside them, whose names begin with `fos_`.

mod cluster;
mod connection;
mod engine;
mod fog_config;
mod layout;
mod location;
mod migrations;
mod open;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod watch;
mod zone;

pub(in crate::store) use self::connection::{Connection, execute, fetch};
pub(in crate::store) use self::layout::Layout;
pub use self::location::{BadLocation, Database, Location};
use super::sql::SqlStore;

/// An opened database. Clones are the same database.
pub(crate) type MariaDb = SqlStore<engine::Engine>;
