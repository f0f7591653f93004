//! A real MariaDB for tests, and databases in it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, MySqlConnection};

use super::{Database, Location, MariaDb};
use crate::domain::node::NodeName;
use crate::store::SharedStore;
use crate::store::node::Node;

#[path = "../../../tests/harness/mariadb.rs"]
mod process;

/// A MariaDB that ends with this value.
pub(crate) struct Server {
    pub(crate) process: process::Process,
    databases: AtomicU32,
}

/// The server that tests share which run at the same time; `None` where there is no MariaDB.
#[track_caller]
pub(crate) fn server() -> Option<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    if !is_there() {
        return None;
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(Server::new()));
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// Whether MariaDB is installed; says so if it is not.
#[track_caller]
pub(crate) fn is_there() -> bool {
    let is_there = process::is_installed();
    let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|value| value != "0");
    assert!(
        is_there || !is_strict,
        "mariadb-server-core is not installed"
    );
    if !is_there {
        println!("skipped: mariadb-server-core is not installed");
    }
    is_there
}

impl Server {
    /// A server of its own, for tests that stop it.
    pub(crate) fn new() -> Self {
        Self {
            process: process::Process::new(),
            databases: AtomicU32::new(0),
        }
    }

    /// A database as this user sees it.
    pub(crate) fn location(&self, user: &str, database: &str) -> Location {
        let socket = self.process.socket();
        let socket = socket.display();
        let text = format!("mysql://{user}@localhost/{database}?socket={socket}");
        text.parse().unwrap()
    }

    /// A connection of the administrator's.
    pub(crate) async fn admin(&self) -> MySqlConnection {
        let socket = self.process.socket();
        let options = MySqlConnectOptions::new().socket(socket).username("root");
        let options = options.pipes_as_concat(false).no_engine_substitution(false);
        options.connect().await.unwrap()
    }

    /// The name of a new database, after these statements in it.
    pub(crate) async fn database(&self, sql: &[&str]) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.admin().await;
        let new = format!("CREATE DATABASE {name}; USE {name}");
        for sql in std::iter::once(new.as_str()).chain(sql.iter().copied()) {
            admin.execute(sqlx::raw_sql(sql)).await.unwrap();
        }
        name
    }

    /// The time of every lease is over.
    pub(crate) async fn end_leases(&self, location: &Location) {
        let sql = format!("UPDATE {}.fos_claims SET leaseEnd = 1", location.database());
        let mut admin = self.admin().await;
        admin.execute(sqlx::raw_sql(&sql)).await.unwrap();
    }

    /// A new and empty database.
    pub(crate) async fn empty(&self) -> Location {
        let name = self.database(&[]).await;
        self.location("root", &name)
    }

    /// A new database of FOG's at step 268, with these further statements.
    pub(crate) async fn fogs(&self, sql: &str) -> Location {
        let own = [process::FOG_268, process::FOG_268_ROWS, sql];
        let given: Vec<&str> = own.into_iter().filter(|sql| !sql.is_empty()).collect();
        let name = self.database(&given).await;
        self.location("root", &name)
    }
}

/// A database as a server of this name has it, that was not there before.
pub(crate) async fn store_of(location: &Location, name: &str) -> SharedStore {
    let name: NodeName = name.parse().unwrap();
    let database = Database {
        location: location.clone(),
        password: None,
    };
    let node = Node::passing(&name).unwrap();
    Arc::new(MariaDb::open(&database, node).await.unwrap())
}
