//! Several servers with one MariaDB, with the real programs: the one that sends is killed, and another one goes on.
//!
//! Clients know one address, which moves to the server that is left, as keepalived would do it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::need;
use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{DISK_LEN, Site, assert_deployed, mac, program};
use serde_json::Value;

#[path = "../../server/tests/harness/mariadb.rs"]
mod mariadb;

/// Runs statements as MariaDB's own client does; answers their rows.
#[track_caller]
fn sql(process: &mariadb::Process, sql: &str) -> String {
    process
        .sql(sql)
        .unwrap_or_else(|said| panic!("{sql}: {said}"))
}

/// A server on host 2 or above, with images of its own at the same path.
struct Second {
    running: Running,
    data: String,
}

impl Second {
    #[track_caller]
    fn start(site: &Site, host: usize, name: &str, database: &str) -> Self {
        Self::start_at(site, host, name, database, "10.99.0.1", &[])
    }

    /// The same with another address for clients, and further options.
    #[track_caller]
    fn start_at(
        site: &Site,
        host: usize,
        name: &str,
        database: &str,
        address: &str,
        options: &[&str],
    ) -> Self {
        let path = |name: &str| site.path(name).display().to_string();
        let own = path(&format!("images-of-{name}"));
        if !Path::new(&own).exists() {
            // With their dates: by these a file is known to be what was verified.
            let mut copy = Command::new("cp");
            let copied = copy.args(["-a", &path("images"), &own]).status().unwrap();
            assert!(copied.success());
        }
        let data = path(&format!("data-of-{name}"));
        let mut command = site.lab().host(host).command("sh");
        command
            .args([
                "-c",
                r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#,
                "sh",
            ])
            .args([&own, &path("images")])
            .arg(program("fos-server"))
            .args(["--data", &data, "--database", database, "serve"])
            .args(["--listen", "0.0.0.0:80", "--address", address])
            .args([
                "--interface",
                "eth0",
                "--node",
                name,
                "--max-bitrate",
                "20m",
            ])
            .args(["--boot", &path("boot"), "--images", &path("images")])
            .args(options);
        let output = site.path(&format!("{name}.out"));
        let running = Running::start(name, &mut command, &output);
        let second = Self { running, data };
        wait_for("an answer of the second server", || {
            second.status("").is_some()
        });
        second
    }

    fn status(&self, session: &str) -> Option<Value> {
        let mut command = Command::new(program("fos-server"));
        command.args(["--data", &self.data, "status", "--json"]);
        if !session.is_empty() {
            command.arg(session);
        }
        let output = command.output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        let is_running = status["version"]
            .as_str()
            .is_some_and(|version| !version.is_empty());
        is_running.then_some(status)
    }

    fn session(&self, session: &str) -> Value {
        let status = self.status(session).unwrap_or_default();
        status["sessions"][0].clone()
    }
}

/// The address of the servers moves from one host to another.
fn move_address(site: &Site, from: usize, to: usize, clients: &[usize]) {
    site.lab().host(from).ip("addr del 10.99.0.1/24 dev eth0\n");
    site.lab().host(to).ip("addr add 10.99.0.1/24 dev eth0\n");
    // In place of gratuitous ARP.
    for client in clients {
        site.lab().host(*client).ip("neigh flush dev eth0\n");
    }
}

fn databases() -> Option<mariadb::Process> {
    if !need::root_and_tools(&["mariadbd", "mariadb", "mariadb-install-db", "mount"]) {
        return None;
    }
    let process = mariadb::Process::new();
    sql(
        &process,
        &format!(
            "CREATE DATABASE fos; CREATE DATABASE fog; USE fog; {}; {}",
            mariadb::FOG_268,
            mariadb::FOG_268_ROWS
        ),
    );
    Some(process)
}

/// So many servers, of which all but the last are killed while they send, one after the other.
fn goes_on(process: &mariadb::Process, database: &str, servers: u8) -> Option<()> {
    let socket = process.socket();
    let socket = socket.display();
    let url = format!("mysql://root@localhost/{database}?socket={socket}");
    // Servers are on the first hosts, two clients on those behind. Host 1 is no client.
    let clients = [servers, servers + 1];
    let settings = settings(process, database);
    let mut site = Site::without_image(servers + 1)?;
    let options = [
        "--database",
        &url,
        "--node",
        "server1",
        "--max-bitrate",
        "20m",
    ];
    site.start_server_with(&options);
    let names = clients.map(|client| format!("pc{client}"));
    for (name, client) in names.iter().zip(clients) {
        site.cli(&["host", "add", name, &mac(client)]).succeed();
    }
    site.cli(&["image", "add", "small"]).succeed();
    let mut others: Vec<Second> = (2..=servers)
        .map(|host| Second::start(&site, host.into(), &format!("server{host}"), &url))
        .collect();
    let session = site.deploy(&[&names[0], &names[1]], &[]);
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut agents: Vec<Running> = clients
        .iter()
        .zip(&disks)
        .map(|(client, disk)| site.start_agent(*client, disk))
        .collect();
    site.wait_for_data(&session, 2, 1 << 20);
    for other in &others {
        wait_for("the others to know who sends", || {
            let text = other.session(&session)["text"].to_string();
            text.contains("another server, server1")
        });
    }
    let hosts = clients.map(|client| usize::from(client) + 1);
    site.server().kill();
    move_address(&site, 1, 2, &hosts);
    for (number, other) in others.iter_mut().enumerate().rev().skip(1).rev() {
        wait_for("data of the next server", || {
            let session = other.session(&session);
            session["stream"]["acked"].as_u64() >= Some(1 << 20)
        });
        other.running.kill();
        move_address(&site, number + 2, number + 3, &hosts);
    }
    for (agent, disk) in agents.iter_mut().zip(&disks) {
        agent.succeed();
        assert_deployed(disk);
    }
    let last = others.last_mut().unwrap();
    wait_for("the end of the session", || {
        last.session(&session)["state"] == "complete"
    });
    let fence = sql(process, &format!("SELECT fence FROM {database}.fos_claims"));
    assert!(fence.trim().parse::<u8>().unwrap() >= servers, "{fence}");
    assert!(!last.running.has_ended());
    let log = fs::read_to_string(Path::new(&last.data).join("log/multicast.log")).unwrap();
    assert!(log.contains("is run by another server, server1"), "{log}");
    assert_eq!(self::settings(process, database), settings);
    Some(())
}

/// What a person has set in FOG, or FOG's installer, which is not ours to change; nothing where there is no FOG.
fn settings(process: &mariadb::Process, database: &str) -> Option<String> {
    let tables = [
        "globalSettings",
        "nfsGroups",
        "nfsGroupMembers",
        "imageTypes",
        "imagePartitionTypes",
        "os",
        "taskStates",
        "taskTypes",
        "schemaVersion",
    ];
    let rows = |table| sql(process, &format!("SELECT * FROM fog.{table} ORDER BY 1"));
    let all = (database == "fog").then(|| tables.map(rows).concat());
    assert!(all.as_ref().is_none_or(|all| all.contains("FOG_TZ_INFO")));
    all
}

#[test]
fn a_session_goes_on_at_the_third_server_when_two_are_killed_while_they_send() {
    let Some(process) = databases() else { return };
    goes_on(&process, "fos", 3);
}

#[test]
fn a_session_goes_on_in_fogs_database_when_its_server_is_killed_while_it_sends() {
    let Some(process) = databases() else { return };
    goes_on(&process, "fog", 2);
}

/// Two servers serve one storage node that has one slot: those who wait have one line, whichever server they ask.
fn have_one_line(process: &mariadb::Process, database: &str) -> Option<()> {
    let socket = process.socket();
    let socket = socket.display();
    let url = format!("mysql://root@localhost/{database}?socket={socket}");
    let settings = settings(process, database);
    let mut site = Site::without_image(5)?;
    let slots = ["--slots", "1"];
    let options = ["--database", &url, "--node", "server1"];
    site.start_server_with(&[&options[..], &slots].concat());
    for client in 2..=5 {
        let name = format!("pc{client}");
        site.cli(&["host", "add", &name, &mac(client)]).succeed();
    }
    site.cli(&["image", "add", "small"]).succeed();
    let (one, two) = ("10.99.0.1", "10.99.0.2");
    let mut second = Second::start_at(&site, 2, "server2", &url, two, &slots);
    let deploy = ["deploy", "small", "--unicast", "pc2", "pc3", "pc4", "pc5"];
    site.cli(&deploy).succeed();
    let say = |server, client, what: &str| {
        let form = format!("mac={}&type=down", mac(client));
        site.post_at(server, client, &format!("service/{what}.php"), &form)
    };
    let ask = |server, client| say(server, client, "Pre_Stage1");
    let wait = |server, client, answer: &str| {
        wait_for(&format!("pc{client} to be told {answer}"), || {
            ask(server, client).starts_with(answer)
        });
    };
    let behind = |before: u8| format!("No open slots, There are {before} before me");
    let is_behind = |server, client, before| {
        let said = ask(server, client);
        assert!(said.starts_with(&behind(before)), "pc{client}: {said}");
    };
    assert_eq!(ask(one, 2), "##@GO");
    is_behind(two, 3, 0);
    is_behind(one, 4, 1);
    is_behind(two, 5, 2);
    // Its end is good at any server, and does not let one pass who came later.
    assert_eq!(say(two, 2, "Post_Stage3"), "##");
    wait(one, 4, "There are open slots, but 1 before me");
    assert_eq!(ask(two, 3), "##@GO");
    wait(one, 4, &behind(0));
    is_behind(two, 5, 1);
    // What a server sends that is killed takes no slot, and those who waited there keep their places.
    second.running.kill();
    wait(one, 4, "##@GO");
    wait(one, 5, &behind(0));
    // That machine had read all of it, and comes to the other server.
    assert_eq!(say(one, 3, "Post_Stage3"), "##");
    is_behind(one, 5, 0);
    assert_eq!(say(one, 4, "Post_Stage3"), "##");
    assert_eq!(ask(one, 5), "##@GO");
    assert_eq!(self::settings(process, database), settings);
    Some(())
}

#[test]
fn machines_that_ask_two_servers_wait_in_one_line_for_one_slot() {
    let Some(process) = databases() else { return };
    have_one_line(&process, "fos");
}

#[test]
fn machines_that_ask_two_servers_wait_in_one_line_in_fogs_database() {
    let Some(process) = databases() else { return };
    have_one_line(&process, "fog");
}

/// Host 1 has the first server, with an image; host 2 is for the second one, host 3 and 4 are clients.
fn two_clients(url: &str) -> Option<Site> {
    two_clients_with(url, &[])
}

/// The same with further options of the first server.
fn two_clients_with(url: &str, more: &[&str]) -> Option<Site> {
    let mut site = Site::without_image(3)?;
    let options = [
        "--database",
        url,
        "--node",
        "server1",
        "--max-bitrate",
        "20m",
    ];
    site.start_server_with(&[&options[..], more].concat());
    for client in [2, 3] {
        let name = format!("pc{client}");
        site.cli(&["host", "add", &name, &mac(client)]).succeed();
    }
    site.cli(&["image", "add", "small"]).succeed();
    Some(site)
}

/// The first server is killed in mid-stream: all the same both machines are deployed, by the second one.
#[track_caller]
fn the_second_ends_it(
    site: &mut Site,
    second: &Second,
    session: &str,
    agents: &mut [Running],
    disks: &[PathBuf],
) {
    site.wait_for_data(session, 2, 1 << 20);
    wait_for("the other server to know who sends", || {
        let text = second.session(session)["text"].to_string();
        text.contains("another server, server1")
    });
    site.server().kill();
    for (agent, disk) in agents.iter_mut().zip(disks) {
        agent.succeed();
        assert_deployed(disk);
    }
    wait_for("the end of the session", || {
        second.session(session)["state"] == "complete"
    });
}

/// Where clients know no common address, one that runs already finds the server that goes on with its session.
#[test]
fn a_running_agent_finds_the_server_that_goes_on_at_another_address() {
    let Some(process) = databases() else { return };
    let socket = process.socket();
    let url = format!("mysql://root@localhost/fos?socket={}", socket.display());
    let Some(mut site) = two_clients(&url) else {
        return;
    };
    let second = Second::start_at(&site, 2, "server2", &url, "10.99.0.2", &[]);
    let session = site.deploy(&["pc2", "pc3"], &[]);
    // Clients are told of servers that are known; the first one looks for others every few seconds.
    let view = format!("service/fos/session?mac={}", mac(2));
    wait_for("the first server to know of the other one", || {
        site.get(3, &view)
            .is_some_and(|view| view.contains("10.99.0.2"))
    });
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut agents: Vec<Running> = [2, 3]
        .into_iter()
        .zip(&disks)
        .map(|(client, disk)| site.start_agent(client, disk))
        .collect();
    the_second_ends_it(&mut site, &second, &session, &mut agents, &disks);
}

/// The same where clients are led to HTTPS: they know the keys of all servers from their boot script.
#[test]
fn a_running_agent_finds_the_next_server_by_https() {
    let Some(process) = databases() else { return };
    let socket = process.socket();
    let url = format!("mysql://root@localhost/fos?socket={}", socket.display());
    let https = |address| ["--https-listen", address, "--https-clients"];
    let Some(mut site) = two_clients_with(&url, &https("10.99.0.1:443")) else {
        return;
    };
    let more = https("10.99.0.2:443");
    let second = Second::start_at(&site, 2, "server2", &url, "10.99.0.2", &more);
    let session = site.deploy(&["pc2", "pc3"], &[]);
    let view = format!("service/fos/session?mac={}", mac(2));
    wait_for("the first server to know of the other one", || {
        site.get(3, &view)
            .is_some_and(|view| view.contains("https://10.99.0.2/fog/"))
    });
    let arguments = [2, 3].map(|client| site.kernel_arguments(client));
    for arguments in &arguments {
        let pins = arguments
            .split(' ')
            .find_map(|word| word.strip_prefix("fospin="));
        assert_eq!(
            pins.map(|pins| pins.split(',').count()),
            Some(2),
            "{arguments}"
        );
    }
    // What they ask from here on they ask by HTTPS.
    for host in [3, 4] {
        let mut filter = site.lab().host(host).command("nft");
        filter.arg(
            "add table inet web; add chain inet web out { type filter hook output priority 0; }; \
             add rule inet web out tcp dport 80 drop",
        );
        assert!(filter.status().unwrap().success());
    }
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut agents: Vec<Running> = [2, 3]
        .into_iter()
        .zip(&arguments)
        .zip(&disks)
        .map(|((client, arguments), disk)| site.start_agent_with(client, disk, arguments))
        .collect();
    the_second_ends_it(&mut site, &second, &session, &mut agents, &disks);
}

/// An image that only one server has is copied to the other one, cut off in the middle and gone on with.
#[test]
fn an_image_is_copied_to_another_server_which_then_goes_on_with_its_session() {
    let Some(process) = databases() else { return };
    let socket = process.socket();
    let url = format!("mysql://root@localhost/fos?socket={}", socket.display());
    let Some(mut site) = two_clients(&url) else {
        return;
    };
    // It has no images yet.
    let own = site.path("images-of-server2");
    fs::create_dir(&own).unwrap();
    let rate = |rate| ["--peer-address", "10.99.0.2:80", "--replicate-rate", rate];
    let slow = rate("4m");
    let mut second = Second::start_at(&site, 2, "server2", &url, "10.99.0.2", &slow);
    let replicas = |site: &Site| {
        let shown = site.cli(&["image", "replicate", "small", "--show", "--json"]);
        serde_json::from_str::<Value>(&shown.succeed()).unwrap()
    };
    assert_eq!(replicas(&site)[0]["state"], "held");
    wait_for("the other server to be known", || {
        replicas(&site)[1]["state"] == "absent"
    });
    // Killed in the middle of the copy.
    let mut copy = site.lab().host(1).command(program("fos-server"));
    copy.args(["--data".as_ref(), site.path("data").as_os_str()]);
    copy.args(["image", "replicate", "small", "--to", "server2"]);
    let mut copy = Running::start("image replicate", &mut copy, &site.path("copy.out"));
    let partial = own.join("small.replicating");
    let has_some = |least: u64| {
        let files = fs::read_dir(&partial).into_iter().flatten().flatten();
        let sizes = files.map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
        sizes.sum::<u64>() >= least
    };
    // Whoever asks the server that copies sees how far it is.
    let mut shown = Value::Null;
    wait_for("some of the image", || {
        shown = second.status("").unwrap()["copies"]["small"].clone();
        shown["state"] == "copying" && shown["done"].as_u64() >= Some(1 << 20)
    });
    assert_eq!(shown["from"], "server1", "{shown}");
    assert!(shown["total"].as_u64() > shown["done"].as_u64(), "{shown}");
    let mut list = Command::new(program("fos-server"));
    let list = list.args(["--data", &second.data, "image", "list"]);
    let list = String::from_utf8(list.output().unwrap().stdout).unwrap();
    assert!(list.contains("\nimage small is copied, "), "{list}");
    assert!(list.contains(" comes from server1; since 20"), "{list}");
    second.running.kill();
    copy.wait();
    assert!(!own.join("small").exists());
    let quick = rate("20m");
    let second = Second::start_at(&site, 2, "server2", &url, "10.99.0.2", &quick);
    assert!(has_some(1 << 20));
    let said = site.cli(&["image", "replicate", "small", "--to", "server2"]);
    assert!(said.succeed().contains("held"));
    assert!(!partial.exists());
    for file in fs::read_dir(site.path("images/small")).unwrap() {
        let file = file.unwrap();
        let copied = fs::read(own.join("small").join(file.file_name())).unwrap();
        assert_eq!(copied, fs::read(file.path()).unwrap());
    }
    // Nobody else is answered.
    let other = site.get_at("10.99.0.2", 3, "../peer/file?image=1&name=d1.mbr");
    assert_eq!(other, None);
    let session = site.deploy(&["pc2", "pc3"], &[]);
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut agents: Vec<Running> = [2, 3]
        .into_iter()
        .zip(&disks)
        .map(|(client, disk)| site.start_agent(client, disk))
        .collect();
    site.wait_for_data(&session, 2, 1 << 20);
    site.server().kill();
    for (agent, disk) in agents.iter_mut().zip(&disks) {
        agent.succeed();
        assert_deployed(disk);
    }
    wait_for("the end of the session", || {
        second.session(&session)["state"] == "complete"
    });
}

/// The disk of a server has changed a byte of an image. Its date and size say nothing of it.
#[test]
fn an_image_is_copied_from_the_server_whose_copy_is_good() {
    use std::os::unix::fs::FileExt as _;

    let Some(process) = databases() else { return };
    let socket = process.socket();
    let url = format!("mysql://root@localhost/fos?socket={}", socket.display());
    let Some(site) = two_clients(&url) else {
        return;
    };
    let third = ["--peer-address", "10.99.0.3:80"];
    let _third = Second::start_at(&site, 3, "server3", &url, "10.99.0.3", &third);
    let own = site.path("images-of-server2");
    fs::create_dir(&own).unwrap();
    let second = ["--peer-address", "10.99.0.2:80"];
    let _second = Second::start_at(&site, 2, "server2", &url, "10.99.0.2", &second);
    let good = site.path("images-of-server3/small");
    // The first one that is asked.
    let rotten = site.path("images/small/d1p2.img");
    let file = fs::File::options().write(true).open(&rotten).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(&[0; 8], 100_000).unwrap();
    file.set_modified(modified).unwrap();
    drop(file);
    let replicate = ["image", "replicate", "small", "--to", "server2"];
    wait_for("the servers to know each other", || {
        let shown = site.cli(&["image", "replicate", "small", "--show", "--json"]);
        let shown = serde_json::from_str::<Value>(&shown.succeed()).unwrap();
        let states: Vec<&str> = shown
            .as_array()
            .unwrap()
            .iter()
            .map(|server| server["state"].as_str().unwrap())
            .collect();
        states.contains(&"absent") && states.iter().filter(|state| **state == "held").count() == 2
    });
    let said = site.cli(&replicate);
    assert!(said.succeed().contains("held"));
    for file in fs::read_dir(good).unwrap() {
        let file = file.unwrap();
        let copied = fs::read(own.join("small").join(file.file_name())).unwrap();
        assert_eq!(copied, fs::read(file.path()).unwrap());
    }
    let log = fs::read_to_string(site.path("data-of-server2/log/multicast.log")).unwrap();
    assert!(
        log.contains("what came from server server1 of d1p2.img"),
        "{log}"
    );
}
