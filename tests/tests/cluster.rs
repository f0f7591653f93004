//! Three servers, each with the database node of its own machine, in one Galera cluster: a database node is killed, or cut
//! off from the others, in the middle of a session.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use fos_tests::need;
use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{DISK_LEN, Site, assert_deployed, mac, program};
use serde_json::Value;

#[path = "../../server/tests/harness/mariadb.rs"]
mod mariadb;

/// Servers, each with a database node: on the first hosts. Clients are on those behind.
const SERVERS: u8 = 3;

/// The network of the database nodes.
fn database_address(number: u8) -> String {
    format!("10.98.7.{number}")
}

/// A site whose servers and database nodes run.
struct World {
    servers: Vec<Server>,
    cluster: mariadb::Cluster,
    /// Dropped last: the others run in its network.
    site: Site,
}

struct Server {
    running: Running,
    data: String,
}

impl World {
    /// With two clients. `nodes` says which database nodes a server is told, its own first.
    fn new(nodes: fn(u8) -> Vec<u8>) -> Option<Self> {
        if !need::root_and_tools(&["mariadbd", "mariadb", "mariadb-install-db", "mount", "nft"]) {
            return None;
        }
        if !mariadb::has_galera() && !need::skip("needs galera-4") {
            return None;
        }
        // Host 1 is no client.
        let site = Site::without_image(SERVERS + 1)?;
        let place = |number: u8| {
            let host = site.lab().host(number.into());
            let address = database_address(number);
            host.ip(&format!("addr add {address}/24 dev eth0\n"));
            let before = ["ip", "netns", "exec", host.namespace()];
            mariadb::Place {
                before: before.map(ToOwned::to_owned).into(),
                address: format!("{address}:4567"),
                options: vec![
                    format!("--bind-address={address}"),
                    "--port=3306".to_owned(),
                ],
            }
        };
        let cluster = mariadb::Cluster::new((1..=SERVERS).map(place).collect());
        let made = cluster.sql(
            "CREATE DATABASE fos; CREATE USER fos IDENTIFIED BY 'geheim'; GRANT ALL ON fos.* TO fos",
        );
        made.unwrap();
        let mut world = Self {
            servers: Vec::new(),
            cluster,
            site,
        };
        for number in 1..=SERVERS {
            let server = world.start(number, &nodes(number));
            world.servers.push(server);
        }
        for client in world.clients() {
            let ran = world.cli(1, &["host", "add", &format!("pc{client}"), &mac(client)]);
            assert!(ran.contains(&format!("pc{client}")), "{ran}");
        }
        world.cli(1, &["image", "add", "small"]);
        Some(world)
    }

    fn clients(&self) -> [u8; 2] {
        [SERVERS, SERVERS + 1]
    }

    fn start(&self, number: u8, nodes: &[u8]) -> Server {
        let site = &self.site;
        let path = |name: &str| site.path(name).display().to_string();
        let own = path(&format!("images-of-{number}"));
        // With their dates: by these a file is known to be what was verified.
        let mut copy = Command::new("cp");
        let copied = copy.args(["-a", &path("images"), &own]).status().unwrap();
        assert!(copied.success());
        let data = path(&format!("data-of-{number}"));
        let nodes: Vec<String> = nodes.iter().map(|node| database_address(*node)).collect();
        let database = format!("mysql://fos@{}/fos", nodes.join(","));
        let mut command = site.lab().host(number.into()).command("sh");
        command
            .args([
                "-c",
                r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#,
                "sh",
            ])
            .args([&own, &path("images")])
            .arg(program("fos-server"))
            .args(["--data", &data, "--database", &database, "serve"])
            .args(["--listen", "0.0.0.0:80", "--address", "10.99.0.1"])
            .args(["--interface", "eth0", "--node", &format!("server{number}")])
            .args(["--max-bitrate", "20m"])
            .args(["--boot", &path("boot"), "--images", &path("images")])
            .env("FOS_DATABASE_PASSWORD", "geheim");
        let output = site.path(&format!("server{number}.out"));
        let running = Running::start(&format!("server{number}"), &mut command, &output);
        let server = Server { running, data };
        wait_for("an answer of the server", || server.status("").is_ok());
        server
    }

    /// What a command says that is run beside a server.
    #[track_caller]
    fn cli(&self, number: usize, args: &[&str]) -> String {
        let server = &self.servers[number - 1];
        let host = self.site.lab().host(number);
        let mut command = host.command(program("fos-server"));
        let command = command
            .args(["--data", &server.data])
            .arg("--images")
            .arg(self.site.path("images"))
            .args(args);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Deploys to both clients; their agents receive.
    fn deploy(&self) -> (String, Vec<(Running, std::path::PathBuf)>) {
        let names = self.clients().map(|client| format!("pc{client}"));
        let said = self.cli(1, &["deploy", "small", &names[0], &names[1]]);
        let digits = said.split(|c: char| !c.is_ascii_digit());
        let mut digits = digits.filter(|word| !word.is_empty());
        let session = digits.next().unwrap().to_owned();
        let agents = self.clients().map(|client| {
            let disk = self.site.empty_disk(&format!("{client}.raw"), DISK_LEN);
            (self.site.start_agent(client, &disk), disk)
        });
        wait_for("data", || {
            let found = self.servers[0].session(&session);
            found["stream"]["acked"].as_u64() >= Some(1 << 20)
        });
        (session, agents.into())
    }

    /// The address of the servers moves, as keepalived would do it.
    fn move_address(&self, from: usize, to: usize) {
        let lab = self.site.lab();
        lab.host(from).ip("addr del 10.99.0.1/24 dev eth0\n");
        lab.host(to).ip("addr add 10.99.0.1/24 dev eth0\n");
        // In place of gratuitous ARP.
        for client in self.clients() {
            lab.host(usize::from(client) + 1)
                .ip("neigh flush dev eth0\n");
        }
    }
}

impl Server {
    fn status(&self, session: &str) -> Result<Value, String> {
        let mut command = Command::new(program("fos-server"));
        command.args(["--data", &self.data, "status", "--json"]);
        if !session.is_empty() {
            command.arg(session);
        }
        let output = command.output().unwrap();
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(said());
        }
        let status: Value = serde_json::from_slice(&output.stdout).map_err(|_| said())?;
        let is_running = status["version"]
            .as_str()
            .is_some_and(|version| !version.is_empty());
        if is_running { Ok(status) } else { Err(said()) }
    }

    fn session(&self, session: &str) -> Value {
        let status = self.status(session).unwrap_or_default();
        status["sessions"][0].clone()
    }

    fn log(&self) -> String {
        fs::read_to_string(Path::new(&self.data).join("log/multicast.log")).unwrap()
    }

    /// Codes of what its doctor finds.
    fn findings(&self) -> Vec<String> {
        let mut command = Command::new(program("fos-server"));
        command.args(["--data", &self.data, "doctor", "--json"]);
        let output = command.output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let findings = found["findings"].as_array().cloned().unwrap_or_default();
        findings
            .iter()
            .map(|finding| finding["code"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

fn deployed(agents: &mut [(Running, std::path::PathBuf)]) {
    for (agent, disk) in agents {
        agent.succeed();
        assert_deployed(disk);
    }
}

#[test]
fn a_session_goes_on_where_it_is_when_the_database_node_of_its_server_is_killed() {
    let all = |number: u8| {
        let others = (1..=SERVERS).filter(move |other| *other != number);
        std::iter::once(number).chain(others).collect()
    };
    let Some(mut world) = World::new(all) else {
        return;
    };
    let (session, mut agents) = world.deploy();
    world.cluster.nodes[0].stop();
    deployed(&mut agents);
    let first = &world.servers[0];
    wait_for("the end of the session", || {
        first.session(&session)["state"] == "complete"
    });
    for other in &world.servers[1..] {
        assert_eq!(other.session(&session)["state"], "complete");
    }
    // Nobody else had it meanwhile.
    let fences = world.cluster.nodes[1]
        .sql("SELECT fence FROM fos.fos_claims")
        .unwrap();
    assert_eq!(fences.trim(), "1");
    let found = first.findings();
    assert!(
        found.contains(&"database-few-nodes".to_owned()),
        "{found:?}"
    );
    let said = first.running.messages();
    assert!(said.contains("from now on it is"), "{said}");
}

#[test]
fn a_server_whose_database_node_is_cut_off_stops_and_says_so_and_another_one_goes_on() {
    // Its own node and no other.
    let Some(mut world) = World::new(|number| vec![number]) else {
        return;
    };
    let (session, mut agents) = world.deploy();
    // The nodes of the database do not reach it any more; everybody else does.
    world.site.lab().host(1).nft(
        "add table inet cut
         add chain inet cut in { type filter hook input priority 0; }
         add chain inet cut out { type filter hook output priority 0; }
         add rule inet cut in tcp sport 4567 drop
         add rule inet cut in tcp dport 4567 drop
         add rule inet cut out tcp sport 4567 drop
         add rule inet cut out tcp dport 4567 drop\n",
    );
    let first = &world.servers[0];
    wait_for("the doctor to name it", || {
        first
            .findings()
            .contains(&"database-node-cut-off".to_owned())
    });
    wait_for("the status to name it", || {
        let said = first.status("").err().unwrap_or_default();
        said.contains("cut off")
    });
    wait_for("the server to stop", || {
        first.log().contains("another server may run it now")
    });
    world.move_address(1, 2);
    deployed(&mut agents);
    let second = &world.servers[1];
    wait_for("the end of the session", || {
        second.session(&session)["state"] == "complete"
    });
    let sql = "SELECT holder = (SELECT holder FROM fos.fos_nodes WHERE name = 'server2'), fence FROM fos.fos_claims";
    let claim = world.cluster.nodes[1].sql(sql).unwrap();
    assert!(claim.starts_with("1\t"), "{claim}");
    let third = &world.servers[2];
    assert_eq!(third.session(&session)["state"], "complete");
    let log = first.log();
    assert!(
        log.contains("the claims of the sessions cannot be renewed"),
        "{log}"
    );
    // What was cut off comes back, and knows what has become of it.
    world.site.lab().host(1).nft("delete table inet cut\n");
    let first = &world.servers[0];
    wait_for("the node to be one of them again", || {
        first.session(&session)["state"] == "complete"
    });
    for server in &mut world.servers {
        assert!(!server.running.has_ended());
    }
}
