//! Which database the commands use.

use std::path::PathBuf;

use super::Places;
use crate::domain::node::NodeName;
use crate::served::{Served, StoredIn};
use crate::store::{self, Database, SharedStore};

/// A database that is no file in the data directory.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DatabaseArgs {
    /// MariaDB in place of a file in DATA: mysql://USER@HOST:PORT/NAME with FOG's database or an empty one, or
    /// the path of FOG's own configuration (/opt/fog/.fogsettings). The password comes from
    /// FOS_DATABASE_PASSWORD, --database-password-file or FOG's configuration. Kept for later commands
    #[arg(
        long,
        global = true,
        value_name = "URL|FILE",
        env = "FOS_SERVER_DATABASE"
    )]
    database: Option<String>,
    /// A file whose first line is the password of the database
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "FOS_DATABASE_PASSWORD_FILE"
    )]
    database_password_file: Option<PathBuf>,
}

impl DatabaseArgs {
    /// As it was named.
    pub(super) fn named(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The file with its password.
    pub(super) fn password_file(&self) -> Option<&std::path::Path> {
        self.database_password_file.as_deref()
    }
}

impl Places {
    /// Opens the store that was named, else the one that the last server had.
    pub(super) async fn store(&self, served: Option<&Served>) -> anyhow::Result<SharedStore> {
        self.store_of(served, &NodeName::default()).await
    }

    /// The same of a server with this name.
    pub(super) async fn store_of(
        &self,
        served: Option<&Served>,
        node: &NodeName,
    ) -> anyhow::Result<SharedStore> {
        let stored_in = match self.stored_in()? {
            Some(named) => Some(named),
            None => served.and_then(|served| served.stored_in().cloned()),
        };
        let database = stored_in.map(|place| place.find()).transpose()?;
        store::open(&self.data, database.as_ref(), node).await
    }

    /// The database that was named.
    pub(super) fn stored_in(&self) -> anyhow::Result<Option<StoredIn>> {
        let args = &self.database;
        let Some(named) = &args.database else {
            return Ok(None);
        };
        let password_file = args.database_password_file.as_ref();
        let password_file = password_file.map(std::path::absolute).transpose()?;
        Ok(Some(StoredIn {
            database: named.clone(),
            password_file,
        }))
    }
}

impl StoredIn {
    fn find(&self) -> anyhow::Result<Database> {
        let password = std::env::var("FOS_DATABASE_PASSWORD").ok();
        Database::find(&self.database, self.password_file.as_deref(), password)
    }
}
