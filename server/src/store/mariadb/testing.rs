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

/// A cluster of three nodes on this machine.
pub(crate) struct Cluster {
    pub(crate) processes: process::Cluster,
    databases: AtomicU32,
}

/// The cluster that tests share which run at the same time; `None` where there is none.
#[track_caller]
pub(crate) fn cluster() -> Option<Arc<Cluster>> {
    static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    if !has_clusters() {
        return None;
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = shared.upgrade().unwrap_or_else(|| Arc::new(Cluster::new()));
    *shared = Arc::downgrade(&cluster);
    Some(cluster)
}

/// Whether there can be clusters; says so if not.
#[track_caller]
pub(crate) fn has_clusters() -> bool {
    let is_there = process::has_galera();
    let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|value| value != "0");
    assert!(is_there || !is_strict, "galera-4 is not installed");
    if !is_there {
        println!("skipped: galera-4 is not installed");
    }
    is_there
}

impl Cluster {
    /// One of its own, for tests that stop nodes.
    pub(crate) fn new() -> Self {
        let mut places = Vec::new();
        // Each needs two ports that follow each other; all are looked for before one is given back.
        let mut held = Vec::new();
        while places.len() < 3 {
            let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port));
            let first = bind(0).unwrap();
            let port = first.local_addr().unwrap().port();
            let second = port.checked_add(1).and_then(|next| bind(next).ok());
            if second.is_some() {
                places.push(process::Place {
                    before: Vec::new(),
                    address: format!("127.0.0.1:{port}"),
                    options: vec!["--skip-networking".to_owned()],
                });
            }
            held.push((first, second));
        }
        drop(held);
        Self {
            processes: process::Cluster::new(places),
            databases: AtomicU32::new(0),
        }
    }

    /// A new database after these statements in it, as each of the nodes has it.
    pub(crate) fn database(&self, sql: &str) -> Vec<Location> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let sql = format!("CREATE DATABASE {name}; USE {name}; {sql}");
        self.processes.sql(&sql).unwrap();
        let location = |node: &process::Process| {
            let socket = node.socket();
            let text = format!("mysql://root@localhost/{name}?socket={}", socket.display());
            text.parse().unwrap()
        };
        self.processes.nodes.iter().map(location).collect()
    }

    /// A new database of FOG's at step 268, with these further statements.
    pub(crate) fn fogs(&self, sql: &str) -> Vec<Location> {
        let own = [process::FOG_268, process::FOG_268_ROWS, sql];
        self.database(&own.join(";"))
    }
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
