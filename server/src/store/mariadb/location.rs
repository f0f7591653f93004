//! Where a database is, and who uses it.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use super::fog_config::FogConfig;

/// A database that a server answers for, or the nodes of a cluster that has it. Its password comes by another way.
#[derive(Debug, Clone)]
pub struct Location {
    /// In the order in which they are tried; never empty.
    nodes: Vec<MySqlConnectOptions>,
    database: String,
}

/// A database with the password for it.
#[derive(Clone)]
pub struct Database {
    pub(super) location: Location,
    pub(super) password: Option<String>,
}

impl Database {
    /// The one that a person names: by its location, or by the path of FOG's configuration file. The password
    /// is that of the file, else the given one, else the one in FOG's file.
    ///
    /// # Errors
    /// If it is no location, or a file cannot be read.
    pub fn find(
        named: &str,
        password_file: Option<&Path>,
        password: Option<String>,
    ) -> anyhow::Result<Self> {
        let path = Path::new(named);
        let (location, of_fog) = if path.is_absolute() {
            let text = read(path).with_context(|| format!("reading {named}"))?;
            let config = FogConfig::parse(&text);
            let config = config.with_context(|| {
                format!(
                    "{named} names no database of FOG's; it should be /opt/fog/.fogsettings, or \
                     lib/fog/config.class.php of FOG's web application"
                )
            })?;
            (config.location(), Some(config.password))
        } else {
            // What was typed is not shown: there may be a password in it.
            (named.parse().context("--database")?, None)
        };
        let of_file = password_file.map(|path| {
            let text = read(path);
            let text =
                text.with_context(|| format!("reading the password in {}", path.display()))?;
            Ok::<_, anyhow::Error>(text.lines().next().unwrap_or_default().to_owned())
        });
        Ok(Self {
            location,
            password: of_file.transpose()?.or(password).or(of_fog),
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database")
            .field(&self.location.shown())
            .finish()
    }
}

/// A small file.
fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    let is_small = u64::try_from(text.len()).is_ok_and(|len| len <= MAX_FILE);
    ensure!(is_small, "it has more than {MAX_FILE} bytes");
    Ok(text)
}

/// Bytes of a file with a configuration or a password.
const MAX_FILE: u64 = 1 << 20;

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// It is something else.
    #[error(
        "expected mysql://USER@HOST:PORT/NAME, for example mysql://fogmaster@localhost/fog; the nodes of a cluster \
         are separated by commas (mysql://USER@HOST,HOST,HOST/NAME)"
    )]
    Form,
    /// More than a cluster has.
    #[error("there are more than {MAX_NODES} addresses; name those of the nodes that are nearest")]
    Many,
    /// Others on this machine see command lines.
    #[error(
        "a password does not belong there: other users of this machine see it. Put it into the environment \
         variable FOS_DATABASE_PASSWORD, or into a file (--database-password-file)"
    )]
    Password,
    /// Something is asked for that does not exist.
    #[error("{0:?} cannot be set here; socket=PATH can")]
    Option(String),
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = ["mysql://", "mariadb://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .ok_or(BadLocation::Form)?;
        let (authority, place) = rest.split_once('/').ok_or(BadLocation::Form)?;
        let (user, hosts) = authority.rsplit_once('@').ok_or(BadLocation::Form)?;
        if user.contains(':') {
            return Err(BadLocation::Password);
        }
        if let Some((_, query)) = place.split_once('?') {
            let mut keys = query.split('&').map(|pair| pair.split('=').next());
            let odd = keys.find_map(|key| key.filter(|key| *key != "socket"));
            if let Some(odd) = odd {
                return Err(BadLocation::Option(fog::encoding::printable(odd, 40)));
            }
        }
        let mut nodes: Vec<MySqlConnectOptions> = Vec::new();
        for host in hosts.split(',') {
            if nodes.len() >= MAX_NODES {
                return Err(BadLocation::Many);
            }
            // Without a name it is this machine, which nobody means in a list.
            if host.is_empty() && hosts.contains(',') {
                return Err(BadLocation::Form);
            }
            let url = format!("mysql://{user}@{host}/{place}");
            nodes.push(url.parse().map_err(|_| BadLocation::Form)?);
        }
        let first = nodes.first().ok_or(BadLocation::Form)?;
        let database = first.get_database().unwrap_or_default().to_owned();
        if user.is_empty() || database.is_empty() || database.contains('/') {
            return Err(BadLocation::Form);
        }
        Ok(Self::new(nodes, database))
    }
}

impl Location {
    fn new(nodes: Vec<MySqlConnectOptions>, database: String) -> Self {
        // Not compiled in.
        let plain = |options: MySqlConnectOptions| options.ssl_mode(MySqlSslMode::Disabled);
        Self {
            nodes: nodes.into_iter().map(plain).collect(),
            database,
        }
    }

    /// Of these parts.
    #[must_use]
    pub fn of_parts(host: &str, user: &str, database: &str) -> Self {
        let (host, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
            _ => (host, None),
        };
        let options = MySqlConnectOptions::new().host(host).username(user);
        let options = options.port(port.unwrap_or(PORT)).database(database);
        Self::new(vec![options], database.to_owned())
    }

    /// Its name at the server.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The nodes of these, one after the other; the name of the first.
    #[cfg(test)]
    pub(super) fn joined(locations: &[&Self]) -> Self {
        let nodes = locations.iter().flat_map(|location| location.nodes.clone());
        Self::new(nodes.collect(), locations[0].database.clone())
    }

    /// What it is called in messages.
    pub(super) fn shown(&self) -> String {
        let nodes: Vec<String> = self.nodes.iter().map(shown_node).collect();
        let database = fog::encoding::printable(&self.database, 64);
        format!("MariaDB at {}, database {database}", nodes.join(" or "))
    }

    /// Its nodes, in the order in which they are tried, each with what it is called in messages; never empty.
    pub(super) fn nodes(&self, password: Option<&str>) -> Vec<(String, MySqlConnectOptions)> {
        let database = fog::encoding::printable(&self.database, 64);
        let node = |options: &MySqlConnectOptions| {
            let shown = format!("MariaDB at {}, database {database}", shown_node(options));
            (shown, with_password(options, password))
        };
        self.nodes.iter().map(node).collect()
    }
}

/// Address or socket of a node.
fn shown_node(options: &MySqlConnectOptions) -> String {
    match socket(options) {
        Some(socket) => socket.display().to_string(),
        None => {
            let host = fog::encoding::printable(options.get_host(), 100);
            format!("{host}:{}", options.get_port())
        }
    }
}

/// The options of a connection.
fn with_password(options: &MySqlConnectOptions, password: Option<&str>) -> MySqlConnectOptions {
    let socket = socket(options);
    let mut options = options.clone().timezone(Some("+00:00".to_owned()));
    if let Some(socket) = socket {
        options = options.socket(socket);
    }
    if let Some(password) = password {
        options = options.password(password);
    }
    options.pipes_as_concat(false).no_engine_substitution(false)
}

/// The socket, where "localhost" means one as it does for every other program.
fn socket(options: &MySqlConnectOptions) -> Option<PathBuf> {
    if let Some(socket) = options.get_socket() {
        return Some(socket.clone());
    }
    let is_local = options.get_host() == "localhost" && options.get_port() == PORT;
    let mut known = SOCKETS.iter().map(Path::new);
    let found = known.find(|path| is_local && path.exists());
    found.map(Path::to_owned)
}

/// Addresses of one database; some 500 bytes each.
const MAX_NODES: usize = 16;

/// MariaDB's.
const PORT: u16 = 3306;

/// Where distributions have MariaDB's socket.
const SOCKETS: [&str; 3] = [
    "/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
];

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_user_server_and_database() {
        let location: Location = "mysql://fog%40master@10.0.0.5:3307/fog".parse().unwrap();
        assert_eq!(location.nodes[0].get_username(), "fog@master");
        assert_eq!(
            location.to_string(),
            "MariaDB at 10.0.0.5:3307, database fog"
        );
        let location: Location = "mariadb://u@h/fog?socket=/a/b.sock".parse().unwrap();
        assert_eq!(location.to_string(), "MariaDB at /a/b.sock, database fog");
        let location = Location::of_parts("db:3308", "u", "fog");
        assert_eq!(location.to_string(), "MariaDB at db:3308, database fog");
    }

    #[test]
    fn the_nodes_of_a_cluster_are_separated_by_commas() {
        let location: Location = "mysql://u@a,10.0.0.2:3307,[::1]/fos".parse().unwrap();
        let nodes = location.nodes(None);
        let hosts: Vec<_> = nodes
            .iter()
            .map(|(_, node)| (node.get_host(), node.get_port(), node.get_database()))
            .collect();
        let database = Some("fos");
        assert_eq!(
            hosts[..2],
            [("a", 3306, database), ("10.0.0.2", 3307, database)]
        );
        assert_eq!(nodes.len(), 3);
        assert!(nodes[1].0.contains("10.0.0.2:3307"), "{}", nodes[1].0);
        for text in ["mysql://u@a,,b/fos", "mysql://u@,a/fos", "mysql://u@a,/fos"] {
            assert_eq!(text.parse::<Location>().unwrap_err(), BadLocation::Form);
        }
        let many = format!("mysql://u@{}/fos", ["h"; 17].join(","));
        assert_eq!(many.parse::<Location>().unwrap_err(), BadLocation::Many);
        let secret = "mysql://u:geheim@a,b/fos".parse::<Location>().unwrap_err();
        assert_eq!(secret, BadLocation::Password);
    }

    #[test]
    fn a_password_comes_by_a_file_the_environment_or_fogs_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let fogs = write(
            ".fogsettings",
            "snmysqluser='fogmaster'\nsnmysqlpass='fogs'\n",
        );
        let fogs = fogs.to_str().unwrap();
        let file = write("password", "of the file\nmore\n");
        let environment = || Some("of the environment".to_owned());
        let found = |named: &str, file: Option<&Path>, given| {
            let database = Database::find(named, file, given).unwrap();
            assert!(!format!("{database:?}").contains("fogs\""));
            database.password
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found(fogs, None, None), text("fogs"));
        assert_eq!(found(fogs, None, environment()), environment());
        assert_eq!(found(fogs, Some(&file), environment()), text("of the file"));
        assert_eq!(found("mysql://u@h/fog", None, None), None);
        let location = Database::find(fogs, None, None).unwrap().location;
        assert_eq!(location.nodes[0].get_username(), "fogmaster");

        let error = Database::find("mysql://u:geheim@h/fog", None, None).unwrap_err();
        assert!(!format!("{error:#}").contains("geheim"), "{error:#}");
        let missing = dir.path().join("missing");
        let error = Database::find(missing.to_str().unwrap(), None, None).unwrap_err();
        assert!(format!("{error:#}").contains("missing"), "{error:#}");
        let other = write("other", "nothing");
        let error = Database::find(other.to_str().unwrap(), None, None).unwrap_err();
        assert!(
            format!("{error:#}").contains("names no database"),
            "{error:#}"
        );
        let large = write("large", &"x".repeat(2 << 20));
        let error = Database::find("mysql://u@h/fog", Some(&large), None).unwrap_err();
        assert!(format!("{error:#}").contains("1048576 bytes"), "{error:#}");
    }

    #[test]
    fn what_is_no_location_is_named() {
        for text in [
            "",
            "fog",
            "postgres://u@h/fog",
            "mysql://u@h",
            "mysql://h/fog",
            "mysql://@h/fog",
            "mysql://u@h/",
        ] {
            assert_eq!(text.parse::<Location>().unwrap_err(), BadLocation::Form);
        }
        let secret = "mysql://u:geheim@h/fog".parse::<Location>().unwrap_err();
        assert_eq!(secret, BadLocation::Password);
        assert!(!secret.to_string().contains("geheim"));
        let odd = "mysql://u@h/fog?ssl-mode=off".parse::<Location>();
        assert_eq!(odd.unwrap_err(), BadLocation::Option("ssl-mode".into()));
    }
}
